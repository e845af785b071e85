//! One thread-per-core broker: the only crate that touches the world.
//!
//! A shard is one pinned thread with its partitions, its ring and its memory. `broker` brings shards up
//! and down, `shard` is what the tasks of one share, `connection` and `handler` turn requests into
//! messages to the owners of partitions, `partition`, `commit`, `writer` and `checkpoint` make them
//! durable, `fetch` and `reader` find them again.
//! Everything outside is reached through `io`, so that `sim` can take the world's place.
//! No protocol rule and no log rule lives here: those are `net`'s, `engine`'s and `replication`'s.

pub mod accounts;
pub mod answers;
pub mod broker;
pub mod buffer;
pub mod cause;
pub mod checkpoint;
pub mod commit;
pub mod compactor;
pub mod connection;
pub mod connections;
pub mod controller;
pub mod door;
pub mod fetch;
pub mod file;
pub mod files;
pub mod footprint;
pub mod groups;
pub mod handler;
pub mod io;
pub mod lane;
pub mod limits;
pub mod mailbox;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod offsets;
pub mod parallel;
pub mod partition;
pub mod patience;
pub mod permits;
pub mod produce;
pub mod reactor;
pub mod reader;
pub mod recovery;
pub mod removal;
pub mod retention;
pub mod ring;
pub mod room;
pub mod route;
pub mod scrubber;
pub mod server;
pub mod shard;
pub mod signal;
pub mod sim;
pub mod socket;
pub mod tail;
pub mod timer;
pub mod turnstile;
pub mod way;
pub mod writer;
