//! Who gets which partition: the server-side assignors (KIP-848).
//!
//! Promises: the same question gets the same answer; every partition of a topic that somebody wants is given
//! to exactly one of those who want it, whatever was so before.
//! Knows no epoch, and not how members get from what they have to what they are to have.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::id::TopicId;

use crate::group::assignment::Assignment;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As equal as can be, and as little moved as can be.
    Uniform,
    /// Of each topic a run of partitions; the same runs of topics with the same readers.
    Range,
}

impl Assignor {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|it| it.name() == name)
    }

    #[must_use]
    pub fn assign(self, question: &Question) -> Answer {
        match self {
            Self::Uniform => uniform::assign(question),
            Self::Range => range::assign(question),
        }
    }
}

/// What is to be shared, and by whom.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// How many partitions each topic has.
    pub topics: BTreeMap<TopicId, u32>,
    pub members: BTreeMap<Arc<str>, Seat>,
}

/// What an assignor knows of a member.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    pub instance: Option<Arc<str>>,
    /// The topics that it wants. Members that want the same may share the set.
    pub topics: Arc<BTreeSet<TopicId>>,
    /// What it was to have until now.
    pub before: Assignment,
}

/// How it is shared. Each member is named, also one that gets nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub by_member: BTreeMap<Arc<str>, Assignment>,
    /// How often something was looked at: what it cost.
    pub steps: u64,
}
