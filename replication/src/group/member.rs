//! A member of a consumer group, and its way from what it has to what it is to have (KIP-848).
//!
//! Knows no other member but as somebody who may own a partition.
//!
//! ```text
//! Stable -- the target changes --> Unrevoked (gives up first; its epoch stays)
//!    ^                                 | it has
//!    '--- all are free <-- Unreleased <' some are not free yet (its epoch is the target's)
//! ```

use std::collections::BTreeSet;

use engine::bug::Bug;
use engine::id::{PartitionIndex, TopicId};

use crate::group::Moment;
use crate::group::assignment::{Assignment, Tenure};
use crate::group::consumer_record::{Current, MemberState, Profile};

#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(crate) profile: Profile,
    pub(crate) current: Current,
    pub(crate) clocks: Clocks,
}

/// When a member is late. Nothing of it is written down.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    /// Without a sign of life until then, it is gone.
    pub(crate) session: Moment,
    /// It must have given up its partitions by then.
    pub(crate) revocation: Option<Moment>,
    /// A classic member that was told to join again must have done so by then.
    pub(crate) join: Option<Moment>,
    /// A classic member that has joined must have asked for its assignment by then.
    pub(crate) sync: Option<Moment>,
}

impl Clocks {
    pub(crate) fn deadline(&self) -> Moment {
        let others = [self.revocation, self.join, self.sync];
        others.into_iter().flatten().fold(self.session, Moment::min)
    }
}

/// Where a member is to go.
pub(crate) struct Goal<'a> {
    pub(crate) epoch: i32,
    pub(crate) target: &'a Assignment,
    /// Only these of the target's topics count: the member may have changed its mind since.
    pub(crate) wanted: &'a BTreeSet<TopicId>,
    /// What the member says it owns. `None` if it says nothing.
    pub(crate) owned: Option<&'a Assignment>,
}

impl Current {
    /// Whether the member comes with an epoch that it may have.
    pub(crate) fn accepts(&self, epoch: i32, owned: Option<&Assignment>) -> bool {
        let owns_no_more = || owned.is_some_and(|it| self.assigned.has_all(it));
        epoch == self.epoch
            || Bug::MemberEpochNotChecked.is_on()
            || (epoch < self.epoch && epoch == self.previous_epoch && owns_no_more())
    }

    pub(crate) fn is_at(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Every partition that nobody else may have.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let all = self.assigned.iter().chain(self.revoking.iter());
        all.map(|(topic, partition, _)| (topic, partition))
    }

    /// Since when it has a partition that it may commit.
    pub(crate) fn since(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        self.assigned.since(topic, partition).or_else(|| self.revoking.since(topic, partition))
    }

    /// The next step on the way. `is_others` says that somebody else owns a partition.
    pub(crate) fn advance(
        &self,
        goal: &Goal<'_>,
        is_others: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Self {
        match self.state {
            MemberState::Stable if self.epoch == goal.epoch => self.without_unwanted(goal),
            MemberState::Unrevoked if still_owns(goal, &self.revoking) => {
                self.without_unwanted(goal)
            }
            _ => self.toward(goal, is_others),
        }
    }

    /// Gives up topics that the member does not want any more; the rest stays as it is.
    fn without_unwanted(&self, goal: &Goal<'_>) -> Self {
        let mut next = self.clone();
        let (mut kept, mut unwanted) = (Tenure::default(), Tenure::default());
        for (topic, partition, epoch) in self.assigned.iter() {
            if goal.wanted.contains(&topic) {
                kept.insert(topic, partition, epoch);
            } else {
                unwanted.insert(topic, partition, epoch);
                next.revoking.insert(topic, partition, epoch);
            }
        }
        if unwanted.is_empty() {
            return next;
        }
        next.assigned = kept;
        next.previous_epoch = self.epoch;
        if still_owns(goal, &next.revoking) {
            next.state = MemberState::Unrevoked;
        } else {
            next.revoking = Tenure::default();
        }
        next
    }

    fn toward(&self, goal: &Goal<'_>, is_others: impl Fn(TopicId, PartitionIndex) -> bool) -> Self {
        let mut next = Self { previous_epoch: self.epoch, ..Self::default() };
        let is_goal = |topic, partition| {
            goal.wanted.contains(&topic) && goal.target.contains(topic, partition)
        };
        for (topic, partition, epoch) in self.assigned.iter() {
            let place =
                if is_goal(topic, partition) { &mut next.assigned } else { &mut next.revoking };
            place.insert(topic, partition, epoch);
        }
        if still_owns(goal, &next.revoking) && !Bug::OwnerNotAwaited.is_on() {
            next.epoch = self.epoch;
            next.state = MemberState::Unrevoked;
            return next;
        }
        next.epoch = goal.epoch;
        next.revoking = Tenure::default();
        for (topic, partition) in goal.target.iter().filter(|it| goal.wanted.contains(&it.0)) {
            if next.assigned.since(topic, partition).is_some() {
                continue;
            }
            if is_others(topic, partition) {
                next.state = MemberState::Unreleased;
            } else {
                next.assigned.insert(topic, partition, goal.epoch);
            }
        }
        next
    }
}

/// A member that does not say what it owns still owns what it had.
fn still_owns(goal: &Goal<'_>, revoking: &Tenure) -> bool {
    !revoking.is_empty() && goal.owned.is_none_or(|it| revoking.meets(it))
}
