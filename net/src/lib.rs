//! Kafka's wire.
//!
//! Bytes come in as arguments, frames go out as values: this crate never touches a file, a socket, a
//! clock or randomness, and it knows no log. At its edge are raw integers and `Bytes`; what they mean
//! is the business of its callers.
//!
//! Strangers' bytes can not panic here, and nothing is allocated because a length was announced.
//!
//! A server asks in this order: `frame` puts received bytes together, `header` and `request` read one
//! frame, `response` writes the answer.
//! A client uses `client`.

pub mod api;
pub mod api_versions;
pub mod chunks;
pub mod client;
pub mod codec;
pub mod error_code;
pub mod fetch;
pub mod fetch_session;
pub mod frame;
pub mod group_offsets;
pub mod header;
pub mod items;
pub mod log_dirs;
pub mod metadata;
pub mod outgoing;
pub mod produce;
pub mod request;
pub mod response;
pub mod schema;
pub mod topic;
pub mod writer;
