//! What this crate says to the world, judged by Kafka's own definitions and by strangers' bytes.

mod message;
mod oracle;
mod schemas;
mod strangers;
