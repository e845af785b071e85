//! Kafka's configuration, name by name: what a value may be, where it comes from, and whether it
//! does anything here.
//!
//! Every key is honoured, accepted with "no effect" said aloud, or refused: nothing is silently
//! ignored.
//! The tables are `topic_keys` and `broker_keys`; what they resolve to is `topic::TopicConfig` and
//! `broker::BrokerConfig`.

pub mod alter;
pub mod broker;
pub mod broker_keys;
pub mod definition;
pub mod describe;
pub mod group;
pub mod listener;
pub mod nearest;
pub mod node;
pub mod other_keys;
pub mod properties;
pub mod topic;
pub mod topic_keys;
