//! Replicated state machines: what every node must agree on, as functions of events and inputs.
//!
//! Promises: the same events in the same order give the same [`cluster::Cluster`] on every node.
//! A command (`topics`, `config::alter`) reads an image and returns events or a refusal; it changes
//! nothing.
//!
//! Must never: do I/O, read a clock, draw a random number, await. Ids, times and host names are
//! arguments.
//! It knows no request and no response of Kafka's wire: refusals are closed enums, and `shard` has the
//! table to error codes. What groups write down, and what consumers say to each other through it, is
//! Kafka's own: other tools read it.
//!
//! The order in which to call it:
//! 1. a command on the present image gives events;
//! 2. the events are written to the metadata log, and are durable;
//! 3. [`cluster::Cluster::apply`] changes the state, and the image goes to every shard;
//! 4. the client is answered.
//!
//! `group` has an order of its own, for the coordinators of groups.
//!
//! At start the log's snapshot and events are applied in their order before anything is served.

pub mod cluster;
pub mod config;
pub mod event;
pub mod group;
pub mod image;
pub mod limits;
pub mod node;
pub mod placement;
pub mod producer_ids;
pub mod quota;
pub mod reassignment;
pub mod refusal;
pub mod topic_name;
pub mod topics;
