//! Coordinators of groups: who is a member, who reads which partition, and which offsets are committed.
//!
//! A group lives on one partition of `__consumer_offsets`, and its coordinator with the partition's
//! owner. `coordinator` is the way in; the rest is what it is made of.
//!
//! The order in which to call it:
//! 1. `Coordinator::replay` with each record of the partition, from its log start to its end;
//! 2. `Coordinator::begin` once;
//! 3. `step` for each request, and `on_time` when `next_deadline` has come, both with the present image: a
//!    group sees at its members' next heartbeats what has become of its topics. Both change the state at
//!    once, and give records and answers: an answer leaves when all records that were given up to then are
//!    durable. If they cannot be made durable, the coordinator is thrown away, and replayed.
//!
//! Kafka's rules: KIP-62 (sessions), KIP-134 (first rebalance), KIP-345 (static members), KIP-394 (ids
//! before joining), KIP-814 (no needless assignment), KIP-848 (the consumer protocol, and the way from one
//! protocol to the other).

pub(crate) mod alarms;
pub mod answer;
pub mod assignment;
pub mod assignor;
pub(crate) mod classic;
pub(crate) mod consumer;
pub mod consumer_record;
pub mod coordinator;
pub(crate) mod embedded;
pub(crate) mod member;
pub(crate) mod members;
pub(crate) mod memory;
pub(crate) mod migration;
pub(crate) mod offsets;
pub mod primitive;
pub mod record;
pub mod request;
pub mod subscription;

use std::sync::Arc;

use engine::id::{PartitionIndex, Timestamp};

/// The partition of `__consumer_offsets` that a group lives on: as Kafka, by the hash that Java gives a
/// string.
///
/// # Panics
/// If there is no partition.
#[must_use]
pub fn partition_of(group: &str, partition_count: u32) -> PartitionIndex {
    let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(u32::from(unit));
    let hash = group.encode_utf16().fold(0, step);
    PartitionIndex::new((hash & 0x7fff_ffff) % partition_count)
}

use crate::group::assignor::Assignor;

/// Names a request to whoever sent it, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Milliseconds of a clock that never jumps. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A client's time-out: below zero is none at all.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(u64::try_from(ms).unwrap_or(0)))
    }

    /// Milliseconds from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> i64 {
        i64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(i64::MAX)
    }
}

/// Both clocks: one for time-outs, one for what is written down.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub moment: Moment,
    pub wall: Timestamp,
}

/// What the brokers' configuration says of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    pub session_ms_min: i32,
    pub session_ms_max: i32,
    /// Members of one group.
    pub members_max: usize,
    /// How long the first members of a group wait for others (KIP-134).
    pub initial_delay_ms: i32,
    pub metadata_bytes_max: usize,
    /// How long an offset of a group that is empty, or of a topic that it does not read, is kept.
    pub offsets_retention_ms: i64,
    pub retention_check_ms: i64,
    pub consumer: ConsumerLimits,
}

/// What it says of groups of the consumer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerLimits {
    /// Whether there may be any.
    pub is_offered: bool,
    /// Members of one group.
    pub members_max: usize,
    /// Of members of which nobody asks for one.
    pub assignor: Assignor,
    /// Whether the other one is offered too.
    pub offers_all_assignors: bool,
    pub migration: Migration,
    /// Of a group that has no configuration of its own.
    pub timing: ConsumerTiming,
}

impl ConsumerLimits {
    pub(crate) fn offers(&self, assignor: Assignor) -> bool {
        self.offers_all_assignors || assignor == self.assignor
    }
}

/// `group.consumer.migration.policy`: whether a group with members may change its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    Bidirectional,
    /// To the consumer protocol.
    Upgrade,
    /// To the classic protocol.
    Downgrade,
    Disabled,
}

impl Migration {
    pub(crate) fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    pub(crate) fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// How fast a group of the consumer protocol is: the broker's, or the group's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTiming {
    pub session_ms: i32,
    pub heartbeat_ms: i32,
    /// At least so long between two targets (KIP-1263).
    pub assignment_interval_ms: i32,
}

/// Something to look at when its time has come. A look finds out whether it still matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The join phase may be over.
    Join,
    /// Members that have not asked for their assignments are late.
    Sync,
    /// A member that was given an id, or that joined, may be gone.
    Member(Arc<str>),
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[track_caller]
    fn check(group: &str, want: u32) {
        assert_eq!(partition_of(group, 50).get(), want);
    }

    #[test]
    fn a_group_lives_where_kafka_would_have_it() {
        // What Java's String.hashCode comes to.
        check("", 0);
        check("a", 47);
        check("my-group", 36);
        check("connect-cluster", 13);
        check("\u{e9}\u{1f600}", 12);
        check("zzzzzzzzzzzzzzzz", 14);
    }
}
