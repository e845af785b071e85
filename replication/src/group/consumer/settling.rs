//! How a consumer group begins with members that another protocol had, and how it is read when it ends so.

use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};

use crate::group::assignment::Assignment;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer_record::{ConsumerRecord, Current, GroupEpoch, TargetEpoch};
use crate::group::coordinator::Step;
use crate::group::member::Member;
use crate::group::subscription::topics_hash;

impl ConsumerGroup {
    pub(crate) fn epoch(&self) -> i32 {
        self.epoch.epoch
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    pub(crate) fn is_owned(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.owners.is_others("", topic, partition)
    }

    /// A member that has what it is to have.
    pub(crate) fn settle_in(
        &mut self,
        step: &mut Step<'_>,
        id: Arc<str>,
        target: Assignment,
        member: Member,
    ) {
        let session_ms = member.profile.classic.as_ref().map_or(0, |it| it.session_ms);
        let to = Some(member.profile.clone());
        self.record(step, ConsumerRecord::Member { member: Arc::clone(&id), to });
        let to = Some(target.clone());
        self.record(step, ConsumerRecord::Target { member: Arc::clone(&id), to });
        let to = Some(member.current.clone());
        self.record(step, ConsumerRecord::Current { member: Arc::clone(&id), to });
        if let Some(instance) = &member.profile.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.owners.take(&id, &Current::default(), &member.current);
        self.target.by_member.insert(Arc::clone(&id), target);
        self.members.insert(Arc::clone(&id), member);
        self.live(step, &id, session_ms);
    }

    /// All members are there, and this is the epoch of group and target. The target is of no time, so that
    /// the next is made at once.
    pub(crate) fn settle(&mut self, step: &mut Step<'_>, epoch: i32) {
        let topics_hash = topics_hash(step.image, self.subscribed().into_iter());
        self.epoch = GroupEpoch { epoch, topics_hash };
        self.target.epoch = TargetEpoch { epoch, ..TargetEpoch::default() };
        self.record(step, ConsumerRecord::TargetEpoch(Some(self.target.epoch)));
        self.record(step, ConsumerRecord::Group(Some(self.epoch)));
    }
}
