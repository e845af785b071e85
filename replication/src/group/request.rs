//! What is asked of a coordinator.
//!
//! Knows no version of Kafka's wire; texts are already known to be short enough to be written down.

use std::sync::Arc;

use bytes::Bytes;
use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};

/// Each is answered once, by the variant of `Answer` with the same name.
#[derive(Clone, Debug)]
pub enum Request {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    Commit(Commit),
    Fetch(Fetch),
    List(Filter),
    Describe {
        group: Arc<str>,
    },
    Delete {
        group: Arc<str>,
    },
    DeleteOffsets {
        group: Arc<str>,
        partitions: Vec<(Arc<str>, PartitionIndex)>,
    },
    /// These topics are gone, and their offsets with them.
    ForgetTopics(Vec<Arc<str>>),
}

/// Who says that it is a member. The id is empty for one that has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub member: Arc<str>,
    /// KIP-345: the name that stays over restarts.
    pub instance: Option<Arc<str>>,
}

/// KIP-394: what a member without an id gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// An id, with which it comes again.
    IdFirst,
    /// Clients of before it join at once.
    AtOnce,
}

/// KIP-814: what the leader of a stable group gets when it was only restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderAgain {
    /// It is told that it leads, and that nothing is to be assigned.
    Skips,
    /// It would assign for nothing, so it is not told.
    IsNotTold,
}

#[derive(Clone, Debug)]
pub struct Join {
    pub group: Arc<str>,
    pub identity: Identity,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub protocol_type: Arc<str>,
    /// What it can do, the best first.
    pub protocols: Vec<Protocol>,
    pub welcome: Welcome,
    pub leader_again: LeaderAgain,
    /// A random number, for its id.
    pub draw: u128,
}

/// A way to assign partitions, and what the member says under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub group: Arc<str>,
    pub identity: Identity,
    pub generation: i32,
    /// What the client believes was chosen. Old clients do not say.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    /// From the leader only: who gets what.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: Arc<str>,
    pub identity: Identity,
    pub generation: i32,
}

#[derive(Clone, Debug)]
pub struct Leave {
    pub group: Arc<str>,
    pub members: Vec<Identity>,
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub group: Arc<str>,
    pub identity: Identity,
    /// -1 from who is no member: of a group that is managed elsewhere.
    pub generation: i32,
    pub offsets: Vec<NewOffset>,
    /// Of clients of before 2.1: how long the offsets are kept.
    pub retention_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct NewOffset {
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
    pub offset: i64,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    /// Of the oldest clients: when it was committed.
    pub committed_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Fetch {
    pub group: Arc<str>,
    /// `None`: every offset that the group has.
    pub partitions: Option<Vec<(Arc<str>, PartitionIndex)>>,
}

/// Which groups are listed. An empty list lets all through; upper and lower case are the same.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}
