//! How a consumer group comes back from what was written down.
//!
//! A log shows its records in the order in which they were written, less those that later ones of the same
//! key replaced. So the parts of a group may come in any order, and only their last state counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::bug::Bug;

use crate::group::assignment::{Assignment, Tenure};
use crate::group::consumer::memory::Weighed;
use crate::group::consumer::{ConsumerGroup, Target};
use crate::group::consumer_record::{
    ConsumerRecord, Current, GroupEpoch, MemberState, Profile, ResolvedRegex, TargetEpoch,
};
use crate::group::coordinator::Step;
use crate::group::member::Member;
use crate::group::memory::{PART_BYTES, len};

/// What the records of one group say so far.
#[derive(Debug, Default)]
pub(crate) struct Written {
    epoch: Option<GroupEpoch>,
    target_epoch: TargetEpoch,
    targets: BTreeMap<Arc<str>, Assignment>,
    profiles: BTreeMap<Arc<str>, Profile>,
    currents: BTreeMap<Arc<str>, Current>,
    resolved: BTreeMap<Arc<str>, ResolvedRegex>,
    /// What they take of memory, about: each part by itself, also one whose member never shows up.
    bytes: u64,
}

impl Written {
    pub(crate) fn replay(&mut self, record: ConsumerRecord) {
        let bytes = &mut self.bytes;
        match record {
            ConsumerRecord::Group(to) => self.epoch = to,
            ConsumerRecord::TargetEpoch(to) => self.target_epoch = to.unwrap_or_default(),
            ConsumerRecord::Target { member, to } => set(&mut self.targets, bytes, member, to),
            ConsumerRecord::Member { member, to } => set(&mut self.profiles, bytes, member, to),
            ConsumerRecord::Current { member, to } => set(&mut self.currents, bytes, member, to),
            ConsumerRecord::Regex { regex, to } => set(&mut self.resolved, bytes, regex, to),
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// After all records. `None` if the group is not there, or is of the other protocol.
    pub(crate) fn into_group(mut self, name: Arc<str>) -> Option<ConsumerGroup> {
        let mut group = ConsumerGroup::new(name);
        group.epoch = self.epoch?;
        self.targets.retain(|id, _| self.profiles.contains_key(id));
        group.target = Target { epoch: self.target_epoch, by_member: self.targets };
        for (id, profile) in self.profiles {
            let mut current = self.currents.remove(&id).unwrap_or_default();
            // A log that lost its end may show two owners of a partition: one has it, the other is to come
            // again.
            let owners = &group.owners;
            let is_twice = |it: &(_, _)| current.revoking.since(it.0, it.1).is_some();
            let is_doubted = current.owned().any(|it| owners.is_others(&id, it.0, it.1))
                || current.assigned.to_assignment().iter().any(|it| is_twice(&it));
            if is_doubted || Bug::MemberEpochForgotten.is_on() {
                current = Current { assigned: Tenure::default(), ..Current::default() };
            }
            group.owners.take(&id, &Current::default(), &current);
            if let Some(instance) = &profile.instance {
                group.instances.insert(Arc::clone(instance), Arc::clone(&id));
            }
            if let Some(regex) = &profile.subscription.regex
                && let Some(resolved) = self.resolved.get(regex)
            {
                group.resolved.insert(Arc::clone(regex), resolved.clone());
            }
            group.members.insert(id, Member { profile, current, ..Member::default() });
        }
        Some(group)
    }
}

fn set<T: Weighed>(map: &mut BTreeMap<Arc<str>, T>, bytes: &mut u64, key: Arc<str>, to: Option<T>) {
    let of = |value: &T| PART_BYTES + 2 * len(key.len()) + value.bytes();
    *bytes += to.as_ref().map_or(0, of);
    *bytes -= map.get(&key).map_or(0, of);
    match to {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl ConsumerGroup {
    /// Sessions begin.
    pub(crate) fn begin(&mut self, step: &mut Step<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let session_ms = step.timing(&self.name).session_ms;
            let member = self.members.get_mut(&id).expect("a member's id");
            let classic = member.profile.classic.as_ref();
            let session_ms = classic.map_or(session_ms, |it| it.session_ms);
            if member.current.state == MemberState::Unrevoked && classic.is_none() {
                let until = step.now.moment.plus_ms(member.profile.rebalance_ms.into());
                member.clocks.revocation = Some(until);
            }
            self.live(step, &id, session_ms);
        }
    }

    /// Whether something of the target is missing: not all of a step may have been written when a crash
    /// ended it.
    pub(super) fn is_torn(&self, step: &Step<'_>) -> bool {
        let is_made = self.epoch.epoch == self.target.epoch.epoch;
        let names = self.subscribed();
        let topics = names.iter().filter_map(|it| step.image.topic(it));
        let wanted: usize = topics.map(|it| it.partitions().len()).sum();
        let given: usize = self.target.by_member.values().map(Assignment::count).sum();
        let has_target = |it: &Arc<str>| self.target.by_member.contains_key(it);
        is_made && (wanted != given || !self.members.keys().all(has_target))
    }
}
