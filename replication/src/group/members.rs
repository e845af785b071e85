//! The members of a group, in one of the two protocols.
//!
//! Knows no offset.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::id::{PartitionIndex, Timestamp};

use crate::group::Alarm;
use crate::group::answer::{Description, GroupError, GroupKind, GroupState};
use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerGroup;
use crate::group::coordinator::Step;
use crate::group::embedded::CONSUMER;
use crate::group::record::GroupRecord;
use crate::group::request::Identity;
use crate::image::Image;

#[derive(Debug)]
pub(crate) enum Members {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

/// What a member may commit.
#[derive(Debug)]
pub(crate) enum CommitRight {
    All,
    /// What it has had since this epoch, or longer (KIP-1251).
    HeldSince {
        member: Arc<str>,
        epoch: i32,
    },
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    /// What they take of memory, about.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Classic(group) => group.bytes(),
            Self::Consumer(group) => group.bytes(),
        }
    }

    /// Likewise, one of them; `None` if it is not there.
    pub(crate) fn member_bytes(&self, id: &str) -> Option<u64> {
        match self {
            Self::Classic(group) => group.member_bytes(id),
            Self::Consumer(group) => group.member_bytes(id),
        }
    }

    /// Nothing is known of it but offsets, if there are any.
    pub(crate) fn is_bare(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_bare(),
            Self::Consumer(_) => false,
        }
    }

    pub(crate) fn kind(&self) -> GroupKind {
        match self {
            Self::Classic(_) => GroupKind::Classic,
            Self::Consumer(_) => GroupKind::Consumer,
        }
    }

    pub(crate) fn protocol_type(&self) -> Arc<str> {
        match self {
            Self::Classic(group) => Arc::clone(group.protocol_type()),
            Self::Consumer(_) => CONSUMER.into(),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        match self {
            Self::Classic(group) => group.state(),
            Self::Consumer(group) => group.state(),
        }
    }

    /// When the group became what it is. Of a consumer group nobody writes it down.
    pub(crate) fn since(&self) -> Timestamp {
        match self {
            Self::Classic(group) => group.since(),
            Self::Consumer(_) => Timestamp::NONE,
        }
    }

    /// `None` of a consumer group.
    pub(crate) fn describe(&self) -> Option<Description> {
        match self {
            Self::Classic(group) => Some(group.describe()),
            Self::Consumer(_) => None,
        }
    }

    /// The topics that its members read; `None` if that cannot be known.
    pub(crate) fn subscribed(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Classic(group) => group.subscribed(),
            Self::Consumer(group) => {
                Some(group.subscribed().into_iter().map(|it| it.to_string()).collect())
            }
        }
    }

    pub(crate) fn begin(&mut self, step: &mut Step<'_>) {
        match self {
            Self::Classic(group) => group.begin(step),
            Self::Consumer(group) => group.begin(step),
        }
    }

    pub(crate) fn on_alarm(&mut self, step: &mut Step<'_>, alarm: &Alarm) {
        match (self, alarm) {
            (Self::Classic(group), alarm) => group.on_alarm(step, alarm),
            (Self::Consumer(group), Alarm::Member(id)) => group.on_member_time(step, id),
            // Of the classic group that it was.
            (Self::Consumer(_), Alarm::Join | Alarm::Sync) => {}
        }
    }

    /// Whether who commits may, and what.
    pub(crate) fn check_commit(
        &mut self,
        step: &Step<'_>,
        identity: &Identity,
        generation: i32,
    ) -> Result<CommitRight, GroupError> {
        match self {
            Self::Classic(group) => {
                group.check_commit(step, identity, generation).map(|()| CommitRight::All)
            }
            Self::Consumer(group) => {
                let since = group.check_commit(identity, generation)?;
                Ok(since.map_or(CommitRight::All, |epoch| CommitRight::HeldSince {
                    member: Arc::clone(&identity.member),
                    epoch,
                }))
            }
        }
    }

    pub(crate) fn may_commit(
        &self,
        right: &CommitRight,
        image: &Image,
        topic: &str,
        partition: PartitionIndex,
    ) -> Result<(), GroupError> {
        match (self, right) {
            (Self::Consumer(group), CommitRight::HeldSince { member, epoch }) => {
                let partition = image.topic(topic).map(|it| (it.id(), partition));
                group.check_tenure(member, *epoch, partition)
            }
            (Self::Classic(_) | Self::Consumer(_), _) => Ok(()),
        }
    }

    /// Classic groups do not ask who reads their offsets.
    pub(crate) fn check_fetch(&self, member: Option<&(Arc<str>, i32)>) -> Result<(), GroupError> {
        match (self, member) {
            (Self::Consumer(group), Some((id, epoch))) => group.check_fetch(id, *epoch),
            (Self::Classic(_), _) | (Self::Consumer(_), None) => Ok(()),
        }
    }

    /// What says that the group is gone.
    pub(crate) fn tombstones(&self, name: &Arc<str>) -> Vec<GroupRecord> {
        match self {
            Self::Classic(group) if group.is_bare() => Vec::new(),
            Self::Classic(_) => vec![GroupRecord::Classic { group: Arc::clone(name), to: None }],
            Self::Consumer(group) => group.tombstones(),
        }
    }
}
