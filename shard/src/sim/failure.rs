//! What ends a run badly: which check found it, and what it saw.

use std::fmt;
use std::panic::Location;

/// Who looks at a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `checker.rs`, at what clients were promised and shown.
    History,
    /// A client, at an answer: one that no sound broker gives.
    Answer,
    /// The roll of a group (`member.rs`), at what its members are told.
    Group,
    /// The administrator, at the topics that there should be.
    Topics,
    /// The scenario, at a broker that does not start, or ends by itself, on a good disk.
    Start,
    /// The scenario, at what a clean stop leaves.
    Stop,
    /// The scenario, at a start on damaged files.
    Damage,
    /// The scenario, at partitions that a full disk has closed.
    Room,
    /// The scenario, at records that should be gone.
    Retention,
    /// The scenario, at a compacted log that stays large.
    Compaction,
    /// The scenario, at the time it takes until all is well after the last fault.
    Liveness,
    /// A client, at an answer that does not come although no fault is active.
    Patience,
    /// The broker, at itself.
    Assertion,
    /// The simulated disk, at what it is asked; a connection, at the order of its answers.
    World,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub check: Check,
    pub what: String,
}

impl Check {
    /// Whose assertion stands there.
    #[must_use]
    pub fn of_panic(location: Option<&Location<'_>>) -> Self {
        let is_worlds = location.is_some_and(|it| it.file().starts_with("shard/src/sim"));
        if is_worlds { Self::World } else { Self::Assertion }
    }

    #[must_use]
    pub fn failed(self, what: impl Into<String>) -> Failure {
        Failure { check: self, what: what.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}
