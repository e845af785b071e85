//! What is asked of a coordinator.
//!
//! Knows no version of Kafka's wire; texts are already known to be short enough to be written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::bug::Bug;
use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};

use crate::group::answer::GroupError;
use crate::group::assignment::Assignment;
use crate::group::assignor::Assignor;
use crate::group::classic::hyphenated;
use crate::group::{ConsumerLimits, ConsumerTiming};
use crate::limits::{SUBSCRIBED_BYTES_MAX, SUBSCRIBED_NAMES_MAX};

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
    /// Of a group of the classic protocol.
    Describe {
        group: Arc<str>,
    },
    ConsumerHeartbeat(ConsumerHeartbeat),
    DescribeConsumer {
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

impl Identity {
    /// Whether it is one of `members`. KIP-345: a static member must be the one that the group knows
    /// under its lasting name.
    pub(crate) fn check<T>(
        &self,
        instances: &BTreeMap<Arc<str>, Arc<str>>,
        members: &BTreeMap<Arc<str>, T>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = &self.instance {
            let known = instances.get(instance).ok_or(GroupError::UnknownMember)?;
            if Bug::StaticIdNotChecked.is_on() {
                return Ok(());
            }
            if *known != self.member {
                return Err(GroupError::FencedInstance);
            }
        }
        let is_known = members.contains_key(&self.member);
        if is_known { Ok(()) } else { Err(GroupError::UnknownMember) }
    }
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
    pub offsets: Vec<OffsetToKeep>,
    /// Of clients of before 2.1: how long the offsets are kept.
    pub retention_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct OffsetToKeep {
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
    /// Who asks, and its epoch, if it says so: a member of a consumer group must be up to date.
    pub member: Option<(Arc<str>, i32)>,
    /// `None`: every offset that the group has.
    pub partitions: Option<Vec<(Arc<str>, PartitionIndex)>>,
}

/// Which groups are listed. An empty list lets all through; upper and lower case are the same.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

/// KIP-848. What is `None` has not changed since the member said it last.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub group: Arc<str>,
    pub identity: Identity,
    /// 0 to join, -1 to leave, -2 to leave for a while as a static member.
    pub epoch: i32,
    pub rack: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_ms: Option<i32>,
    pub names: Option<Vec<Arc<str>>>,
    /// Empty for none.
    pub regex: Option<Arc<str>>,
    pub assignor: Option<Arc<str>>,
    pub owned: Option<Assignment>,
    pub naming: Naming,
    pub timing: ConsumerTiming,
    /// A random number, for its id.
    pub draw: u128,
}

/// Who makes a member's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Version 0: a member that joins may have none yet.
    ByBroker,
    ByMember,
}

impl ConsumerHeartbeat {
    /// The member's id, made now if it has none.
    pub(crate) fn name(&self) -> Arc<str> {
        if self.identity.member.is_empty() {
            hyphenated(self.draw).into()
        } else {
            Arc::clone(&self.identity.member)
        }
    }

    /// Whether the member says everything: it has joined, or believes that something went wrong.
    pub(crate) fn is_full(&self) -> bool {
        let says_topics = self.names.is_some() || self.regex.is_some();
        self.rebalance_ms.is_some() && says_topics && self.owned.is_some()
    }

    /// What can be said of it without a look at its group.
    pub(crate) fn check(&self, limits: &ConsumerLimits) -> Result<(), GroupError> {
        let is_empty = |it: &Option<Arc<str>>| it.as_ref().is_some_and(|it| it.is_empty());
        let may_be_nameless = self.naming == Naming::ByBroker && matches!(self.epoch, 0 | -2);
        let is_sound = !self.group.is_empty()
            && (may_be_nameless || !self.identity.member.is_empty())
            && !is_empty(&self.identity.instance)
            && !is_empty(&self.rack)
            && match self.epoch {
                0 => self.is_join(),
                -2 => self.identity.instance.is_some(),
                epoch => epoch >= -1,
            }
            && self.names.as_ref().is_none_or(|it| are_few(it));
        if !is_sound {
            return Err(GroupError::InvalidRequest);
        }
        let is_offered =
            |it: &str| Assignor::of_name(it).is_some_and(|assignor| limits.offers(assignor));
        if self.assignor.as_deref().is_some_and(|it| !is_offered(it)) {
            return Err(GroupError::UnsupportedAssignor);
        }
        Ok(())
    }

    /// Whether it says what a member must say when it joins.
    fn is_join(&self) -> bool {
        let owns_nothing = self.owned.as_ref().is_some_and(Assignment::is_empty);
        let says_topics = self.names.is_some() || self.regex.is_some();
        self.rebalance_ms.is_some() && owns_nothing && says_topics
    }
}

fn are_few(names: &[Arc<str>]) -> bool {
    let bytes: usize = names.iter().map(|it| it.len()).sum();
    names.len() <= SUBSCRIBED_NAMES_MAX && bytes <= SUBSCRIBED_BYTES_MAX
}
