//! A group of the consumer protocol: its members send heartbeats, and the coordinator shares the partitions
//! (KIP-848).
//!
//! Knows no offset. What it decides goes into the step that it is given.
//!
//! A change of members, of what they want, or of the topics that they want makes the group's epoch one
//! larger. The next heartbeat of any member then makes the target of that epoch, and each member is led to
//! its part of it by its own heartbeats, at its own pace.
//!
//! Invariant: a partition has at most one owner, and its owner is a member; `instances` names members. A
//! member that is asked to give a partition up is its owner until it has, or is gone.

pub(crate) mod begin;
mod classic_member;
mod memory;
mod owners;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};

use crate::group::answer::{Beat, ConsumerDescription, DescribedConsumer, GroupError, GroupState};
use crate::group::assignment::Assignment;
use crate::group::assignor::{Assignor, Question, Seat};
use crate::group::consumer::owners::Owners;
use crate::group::consumer_record::{
    ConsumerRecord, Current, GroupEpoch, MemberState, Profile, ResolvedRegex, TargetEpoch,
};
use crate::group::coordinator::Step;
use crate::group::member::{Clocks, Goal, Member};
use crate::group::migration::is_downgradable;
use crate::group::record::GroupRecord;
use crate::group::request::{ConsumerHeartbeat, Identity};
use crate::group::subscription::{Pattern, Subscription, topic_ids, topics_hash};
use crate::group::{Alarm, ConsumerLimits, Moment};
use crate::image::Image;
use crate::limits::REGEXES_PER_GROUP_MAX;

/// The epoch of a static member that has left and may come back under its lasting name.
const LEFT_FOR_A_WHILE: i32 = -2;

/// Between two readings of all topics for the group's regular expressions.
const REGEX_PAUSE_MS: i64 = 1_000;

#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    name: Arc<str>,
    epoch: GroupEpoch,
    target: Target,
    members: BTreeMap<Arc<str>, Member>,
    /// Static members, by their lasting names.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    owners: Owners,
    /// What members' regular expressions stand for.
    resolved: BTreeMap<Arc<str>, ResolvedRegex>,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Target {
    epoch: TargetEpoch,
    by_member: BTreeMap<Arc<str>, Assignment>,
}

/// Which topics the group has seen.
#[derive(Debug, Default)]
struct Seen {
    image_version: Option<u64>,
    /// The image with which regular expressions were resolved, and when.
    regexes: Option<(u64, Moment)>,
}

/// A heartbeat that may be followed.
pub(crate) struct Admission {
    place: Place,
    pattern: Option<Pattern>,
}

enum Place {
    New,
    Known,
    /// A static member that was restarted, or moved: this one was there before.
    Of(Arc<str>),
}

impl ConsumerGroup {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            epoch: GroupEpoch::default(),
            target: Target::default(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: Owners::default(),
            resolved: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    // What is seen from outside.

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn state(&self) -> GroupState {
        let is_there = |it: &Member| it.current.is_at(self.target.epoch.epoch);
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch.epoch > self.target.epoch.epoch {
            GroupState::Assigning
        } else if self.members.values().all(is_there) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    pub(crate) fn describe(&self, limits: &ConsumerLimits) -> ConsumerDescription {
        let members = self.members.iter().map(|(id, member)| DescribedConsumer {
            id: Arc::clone(id),
            epoch: member.current.epoch,
            profile: member.profile.clone(),
            assigned: member.current.assigned.to_assignment(),
            target: self.target.by_member.get(id).cloned().unwrap_or_default(),
        });
        ConsumerDescription {
            state: self.state(),
            epoch: self.epoch.epoch,
            target_epoch: self.target.epoch.epoch,
            assignor: self.assignor(limits),
            members: members.collect(),
        }
    }

    /// The topics that its members want, whether they are there or not.
    pub(crate) fn subscribed(&self) -> BTreeSet<&Arc<str>> {
        // Most members want the same: each wish is looked at once.
        let wishes: BTreeSet<_> =
            self.members.values().map(|it| &it.profile.subscription).collect();
        wishes.into_iter().flat_map(|it| self.names(it)).collect()
    }

    fn names<'a>(&'a self, subscription: &'a Subscription) -> impl Iterator<Item = &'a Arc<str>> {
        let resolved = subscription.regex.as_ref().and_then(|it| self.resolved.get(it));
        subscription.names.iter().chain(resolved.into_iter().flat_map(|it| &it.topics))
    }

    /// Since which epoch a member that says it is at `epoch` must have a partition that it commits (KIP-1251);
    /// `None` if it may commit all.
    pub(crate) fn check_commit(
        &self,
        identity: &Identity,
        epoch: i32,
    ) -> Result<Option<i32>, GroupError> {
        if epoch < 0 && self.is_empty() {
            return Ok(None);
        }
        let member = self.members.get(&identity.member).ok_or(GroupError::UnknownMember)?;
        if epoch > member.current.epoch {
            return Err(self.stale(&identity.member));
        }
        Ok((epoch < member.current.epoch).then_some(epoch))
    }

    /// Whether a member has had a partition since `epoch`, or longer.
    pub(crate) fn check_tenure(
        &self,
        member: &str,
        epoch: i32,
        partition: Option<(TopicId, PartitionIndex)>,
    ) -> Result<(), GroupError> {
        let current = &self.members.get(member).ok_or(GroupError::UnknownMember)?.current;
        let since = partition.and_then(|(topic, partition)| current.since(topic, partition));
        let has_had = since.is_some_and(|it| it <= epoch);
        if has_had { Ok(()) } else { Err(self.stale(member)) }
    }

    /// What a member of another epoch is told, in its protocol.
    fn stale(&self, member: &str) -> GroupError {
        let is_classic = self.members.get(member).is_some_and(|it| it.profile.classic.is_some());
        if is_classic { GroupError::IllegalGeneration } else { GroupError::StaleMemberEpoch }
    }

    /// A member that reads offsets must be in its present epoch.
    pub(crate) fn check_fetch(&self, member: &str, epoch: i32) -> Result<(), GroupError> {
        let known = self.members.get(member).ok_or(GroupError::UnknownMember)?;
        if known.current.epoch == epoch { Ok(()) } else { Err(self.stale(member)) }
    }

    // Heartbeats.

    /// Changes nothing: after it a heartbeat cannot fail.
    pub(crate) fn admit(
        &self,
        step: &Step<'_>,
        beat: &ConsumerHeartbeat,
    ) -> Result<Admission, GroupError> {
        let place = self.place(step, beat)?;
        let known = match &place {
            Place::New => None,
            Place::Known => self.members.get(&beat.identity.member),
            Place::Of(replaced) => self.members.get(replaced),
        };
        let present = known.and_then(|it| it.profile.subscription.regex.as_ref());
        let regex = beat.regex.as_ref().filter(|it| !it.is_empty() && Some(*it) != present);
        let pattern = match regex {
            None => None,
            Some(regex) => {
                let is_one_too_many = !self.resolved.contains_key(regex)
                    && self.resolved.len() >= REGEXES_PER_GROUP_MAX;
                let pattern = Pattern::checked(regex).filter(|_| !is_one_too_many);
                Some(pattern.ok_or(GroupError::InvalidRegex)?)
            }
        };
        Ok(Admission { place, pattern })
    }

    fn place(&self, step: &Step<'_>, beat: &ConsumerHeartbeat) -> Result<Place, GroupError> {
        let id = &beat.identity.member;
        let known = self.members.get(id);
        if beat.epoch != 0 {
            self.check_member(&beat.identity)?;
            let current = &known.ok_or(GroupError::UnknownMember)?.current;
            let is_accepted = current.accepts(beat.epoch, beat.owned.as_ref());
            return is_accepted.then_some(Place::Known).ok_or(GroupError::FencedMemberEpoch);
        }
        let instance = beat.identity.instance.as_ref();
        if let Some(replaced) = instance.and_then(|it| self.instances.get(it))
            && replaced != id
        {
            let member = &self.members[replaced];
            let has_left = member.current.epoch == LEFT_FOR_A_WHILE;
            let is_free = has_left || member.profile.classic.is_some();
            let may = is_free && known.is_none();
            return may
                .then(|| Place::Of(Arc::clone(replaced)))
                .ok_or(GroupError::UnreleasedInstance);
        }
        if known.is_some() {
            return Ok(Place::Known);
        }
        let has_place = self.members.len() < step.limits.consumer.members_max;
        has_place.then_some(Place::New).ok_or(GroupError::GroupFull)
    }

    pub(crate) fn check_member(&self, identity: &Identity) -> Result<(), GroupError> {
        identity.check(&self.instances, &self.members)
    }

    pub(crate) fn heartbeat(
        &mut self,
        step: &mut Step<'_>,
        beat: ConsumerHeartbeat,
        admission: Admission,
    ) -> Beat {
        let id = beat.name();
        if let Place::Of(replaced) = &admission.place {
            self.replace(step, replaced, &id);
        }
        let wants_else = self.hear(step, &id, &beat, admission.pattern.as_ref());
        let has_looked = self.follow_topics(step, wants_else);
        self.retarget(step, beat.timing.assignment_interval_ms);
        let is_there = self.members[&id].current.is_at(self.target.epoch.epoch);
        let is_settled = is_there && !has_looked;
        let has_changed = !is_settled && self.reconcile(step, &id, beat.owned.as_ref());
        let clocks = &mut self.members.get_mut(&id).expect("it was just heard").clocks;
        (clocks.join, clocks.sync) = (None, None);
        self.live(step, &id, beat.timing.session_ms);
        let current = &self.members[&id].current;
        let tells = beat.epoch == 0 || beat.is_full() || has_changed;
        Beat {
            epoch: current.epoch,
            assignment: tells.then(|| current.assigned.to_assignment()),
            heartbeat_ms: beat.timing.heartbeat_ms,
            member: id,
        }
    }

    /// Takes down what a member says of itself; true if it wants something else than it did.
    fn hear(
        &mut self,
        step: &mut Step<'_>,
        id: &Arc<str>,
        beat: &ConsumerHeartbeat,
        pattern: Option<&Pattern>,
    ) -> bool {
        let present = self.members.get(id).map(|it| &it.profile);
        if present.is_some_and(|it| says_nothing(it, beat)) {
            return false;
        }
        let profile = updated(present.cloned().unwrap_or_default(), beat);
        self.put(step, id, profile, pattern)
    }

    /// A static member has another id now. What was its predecessor's is its own, once it has caught up.
    fn replace(&mut self, step: &mut Step<'_>, replaced: &Arc<str>, id: &Arc<str>) {
        let mut member = self.take_out(step, replaced).expect("instances name members");
        let target = self.target.by_member.remove(replaced).unwrap_or_default();
        member.current.epoch = 0;
        member.current.previous_epoch = 0;
        member.clocks = Clocks::default();
        if let Some(instance) = &member.profile.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(id));
        }
        self.owners.take(id, &Current::default(), &member.current);
        let to = Some(member.profile.clone());
        self.record(step, ConsumerRecord::Member { member: Arc::clone(id), to });
        let to = Some(target.clone());
        self.record(step, ConsumerRecord::Target { member: Arc::clone(id), to });
        let to = Some(member.current.clone());
        self.record(step, ConsumerRecord::Current { member: Arc::clone(id), to });
        self.target.by_member.insert(Arc::clone(id), target);
        self.members.insert(Arc::clone(id), member);
    }

    /// What a member says of itself from now on; whether it wants something else than it did.
    pub(crate) fn put(
        &mut self,
        step: &mut Step<'_>,
        id: &Arc<str>,
        profile: Profile,
        pattern: Option<&Pattern>,
    ) -> bool {
        let is_new = !self.members.contains_key(id);
        let member = self.members.entry(Arc::clone(id)).or_default();
        if !is_new && member.profile == profile {
            return false;
        }
        if let Some(instance) = &profile.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(id));
        }
        let regex = profile.subscription.regex.clone();
        let present = std::mem::replace(&mut member.profile, profile.clone());
        if present.instance != profile.instance {
            self.forget_instance(present.instance.as_deref(), id);
        }
        self.record(step, ConsumerRecord::Member { member: Arc::clone(id), to: Some(profile) });
        if let (Some(regex), Some(pattern)) = (regex, pattern)
            && !self.resolved.contains_key(&regex)
        {
            self.resolve(step, &regex, pattern);
        }
        if let Some(regex) = &present.subscription.regex {
            self.forget_unused(step, regex);
        }
        let now = &self.members[id].profile.subscription;
        *now != present.subscription || self.epoch.epoch == 0
    }

    /// True if it stands for other topics than it did.
    fn resolve(&mut self, step: &mut Step<'_>, regex: &Arc<str>, pattern: &Pattern) -> bool {
        let topics = pattern.resolve(step.image);
        let is_same = self.resolved.get(regex).is_some_and(|it| it.topics == topics);
        if is_same {
            return false;
        }
        let image_version = i64::try_from(step.image.version()).unwrap_or(i64::MAX);
        let resolved = ResolvedRegex { topics, image_version, at: step.now.wall };
        let (regex, to) = (Arc::clone(regex), Some(resolved.clone()));
        self.resolved.insert(Arc::clone(&regex), resolved);
        self.record(step, ConsumerRecord::Regex { regex, to });
        true
    }

    fn forget_unused(&mut self, step: &mut Step<'_>, regex: &Arc<str>) {
        let wants = |it: &Member| it.profile.subscription.regex.as_ref() == Some(regex);
        if !self.members.values().any(wants) && self.resolved.remove(regex).is_some() {
            self.record(step, ConsumerRecord::Regex { regex: Arc::clone(regex), to: None });
        }
    }

    /// Looks whether there are other topics than there were; begins an epoch if so, or if it is due anyhow.
    /// True if it had to look.
    pub(crate) fn follow_topics(&mut self, step: &mut Step<'_>, is_due: bool) -> bool {
        let version = step.image.version();
        let has_other_topics = self.resolve_again(step);
        let is_due = is_due || (self.seen.image_version.is_none() && self.is_torn(step));
        if self.seen.image_version == Some(version) && !is_due && !has_other_topics {
            return false;
        }
        self.seen.image_version = Some(version);
        let hash = topics_hash(step.image, self.subscribed().into_iter());
        if is_due || has_other_topics || hash != self.epoch.topics_hash {
            // A group that begins with topics begins at 2, as Kafka's does.
            let is_first = self.epoch.epoch == 0 && hash != 0;
            self.begin_epoch(step, if is_first { 2 } else { 1 }, hash);
        }
        true
    }

    /// Regular expressions stand for what is there now. Not with every new topic: they may be many.
    fn resolve_again(&mut self, step: &mut Step<'_>) -> bool {
        let (version, now) = (step.image.version(), step.now.moment);
        let is_due = self
            .seen
            .regexes
            .is_none_or(|(seen, at)| seen != version && at.plus_ms(REGEX_PAUSE_MS) <= now);
        if self.resolved.is_empty() || !is_due {
            return false;
        }
        self.seen.regexes = Some((version, now));
        let regexes: Vec<_> = self.resolved.keys().cloned().collect();
        let mut has_changed = false;
        for regex in regexes {
            // Another broker's engine may have taken what ours does not: it then stands for nothing new.
            let Some(pattern) = Pattern::checked(&regex) else { continue };
            has_changed |= self.resolve(step, &regex, &pattern);
        }
        has_changed
    }

    fn begin_epoch(&mut self, step: &mut Step<'_>, more: i32, topics_hash: i64) {
        let epoch = self.epoch.epoch.checked_add(more).unwrap_or(1);
        self.epoch = GroupEpoch { epoch, topics_hash };
        self.record(step, ConsumerRecord::Group(Some(self.epoch)));
    }

    // The target.

    /// Makes the target of the group's epoch, if it is not made yet and the last is old enough (KIP-1263).
    pub(crate) fn retarget(&mut self, step: &mut Step<'_>, interval_ms: i32) {
        if self.epoch.epoch == self.target.epoch.epoch {
            return;
        }
        let (now, made_at) = (step.now.wall.get(), self.target.epoch.made_at.get());
        let age_ms = now.saturating_sub(made_at);
        if (0..i64::from(interval_ms)).contains(&age_ms) {
            return;
        }
        self.follow_members(step);
        let answer = self.assignor(&step.limits.consumer).assign(&self.question(step.image));
        for (id, target) in answer.by_member {
            let present = self.target.by_member.get(&id);
            if present != Some(&target) {
                let member = Arc::clone(&id);
                let to = Some(target.clone());
                self.record(step, ConsumerRecord::Target { member, to });
                self.target.by_member.insert(id, target);
            }
        }
        self.target.epoch = TargetEpoch { epoch: self.epoch.epoch, made_at: step.now.wall };
        self.record(step, ConsumerRecord::TargetEpoch(Some(self.target.epoch)));
    }

    /// Members may have gone since the group's topics were looked at. (Not when they go: it may be many.)
    fn follow_members(&mut self, step: &mut Step<'_>) {
        let topics_hash = topics_hash(step.image, self.subscribed().into_iter());
        if topics_hash != self.epoch.topics_hash {
            self.epoch.topics_hash = topics_hash;
            self.record(step, ConsumerRecord::Group(Some(self.epoch)));
        }
    }

    fn question(&self, image: &Image) -> Question {
        let mut wants: BTreeMap<&Subscription, Arc<BTreeSet<TopicId>>> = BTreeMap::new();
        let mut question = Question::default();
        for (id, member) in &self.members {
            let subscription = &member.profile.subscription;
            let topics = wants
                .entry(subscription)
                .or_insert_with(|| Arc::new(topic_ids(image, self.names(subscription))));
            let seat = Seat {
                instance: member.profile.instance.clone(),
                topics: Arc::clone(topics),
                before: self.target.by_member.get(id).cloned().unwrap_or_default(),
            };
            question.members.insert(Arc::clone(id), seat);
        }
        for topic in wants.values().flat_map(|it| it.iter()).filter_map(|it| image.topic_by_id(*it))
        {
            let partition_count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
            question.topics.insert(topic.id(), partition_count);
        }
        question
    }

    /// What most members ask for; what the broker prefers, if none asks.
    fn assignor(&self, limits: &ConsumerLimits) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for asked in self.members.values().filter_map(|it| it.profile.assignor.as_deref()) {
            let offered = Assignor::of_name(asked).filter(|&it| limits.offers(it));
            if let Some(assignor) = offered {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let most = votes.into_iter().max_by_key(|it| it.1);
        most.map_or(limits.assignor, |it| it.0)
    }

    // From what a member has to what it is to have.

    /// True if it may read other partitions than before.
    pub(crate) fn reconcile(
        &mut self,
        step: &mut Step<'_>,
        id: &Arc<str>,
        owned: Option<&Assignment>,
    ) -> bool {
        let nothing = Assignment::default();
        let member = &self.members[id];
        let wanted = topic_ids(step.image, self.names(&member.profile.subscription));
        let goal = Goal {
            epoch: self.target.epoch.epoch,
            target: self.target.by_member.get(id).unwrap_or(&nothing),
            wanted: &wanted,
            owned,
        };
        let owners = &self.owners;
        let next = member
            .current
            .advance(&goal, |topic, partition| owners.is_others(id, topic, partition));
        if next == member.current {
            return false;
        }
        let has_changed = !next.assigned.has_partitions_of(&member.current.assigned);
        self.owners.take(id, &member.current, &next);
        let until = step.now.moment.plus_ms(member.profile.rebalance_ms.into());
        let is_late_some_day =
            next.state == MemberState::Unrevoked && member.profile.classic.is_none();
        let to = Some(next.clone());
        let member = self.members.get_mut(id).expect("it was just looked at");
        member.clocks.revocation = is_late_some_day.then_some(until);
        member.current = next;
        self.watch(step, id);
        self.record(step, ConsumerRecord::Current { member: Arc::clone(id), to });
        has_changed
    }

    /// Whether somebody else still has what a member is to have.
    pub(crate) fn waits_for_others(&self, id: &Arc<str>) -> bool {
        let target = self.target.by_member.get(id);
        let mut partitions = target.into_iter().flat_map(Assignment::iter);
        partitions.any(|(topic, partition)| self.owners.is_others(id, topic, partition))
    }

    // Time.

    /// It has shown that it lives.
    pub(crate) fn live(&mut self, step: &mut Step<'_>, id: &Arc<str>, session_ms: i32) {
        let member = self.members.get_mut(id).expect("only members live");
        member.clocks.session = step.now.moment.plus_ms(session_ms.into());
        self.watch(step, id);
    }

    /// Sees to it that a member is looked at when it may be late.
    pub(crate) fn watch(&self, step: &mut Step<'_>, id: &Arc<str>) {
        let deadline = self.members[id].clocks.deadline();
        step.alarm(deadline, &self.name, Alarm::Member(Arc::clone(id)));
    }

    /// A member that is late is gone.
    pub(crate) fn on_member_time(&mut self, step: &mut Step<'_>, id: &Arc<str>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.clocks.deadline() <= step.now.moment {
            return self.fence(step, &[Arc::clone(id)]);
        }
        self.watch(step, id);
    }

    // Leaving.

    /// `epoch` says whether for good.
    pub(crate) fn leave(
        &mut self,
        step: &mut Step<'_>,
        identity: &Identity,
        epoch: i32,
    ) -> Result<Beat, GroupError> {
        self.check_member(identity)?;
        let member = Arc::clone(&identity.member);
        if epoch == LEFT_FOR_A_WHILE {
            self.leave_for_a_while(step, &member);
        } else {
            self.fence(step, &[Arc::clone(&member)]);
        }
        Ok(Beat { member, epoch, heartbeat_ms: 0, assignment: None })
    }

    /// A static member keeps its partitions until its session ends.
    fn leave_for_a_while(&mut self, step: &mut Step<'_>, id: &Arc<str>) {
        let member = self.members.get_mut(id).expect("it was checked");
        let mut next = member.current.clone();
        next.epoch = LEFT_FOR_A_WHILE;
        next.revoking = Default::default();
        self.owners.take(id, &member.current, &next);
        member.clocks.revocation = None;
        let to = Some(next.clone());
        member.current = next;
        self.record(step, ConsumerRecord::Current { member: Arc::clone(id), to });
    }

    /// These members own nothing any more.
    pub(crate) fn fence(&mut self, step: &mut Step<'_>, ids: &[Arc<str>]) {
        for id in ids {
            let Some(member) = self.take_out(step, id) else { continue };
            self.target.by_member.remove(id);
            if let Some(regex) = &member.profile.subscription.regex {
                self.forget_unused(step, regex);
            }
        }
        // Who is left goes on in a classic group, whose generation is this epoch: a member that is at it only joins again, and
        // loses nothing.
        if !is_downgradable(step, self) {
            self.begin_epoch(step, 1, self.epoch.topics_hash);
        }
    }

    fn take_out(&mut self, step: &mut Step<'_>, id: &Arc<str>) -> Option<Member> {
        let member = self.members.remove(id)?;
        step.forget_alarm(&self.name, &Alarm::Member(Arc::clone(id)));
        self.owners.take(id, &member.current, &Current::default());
        self.forget_instance(member.profile.instance.as_deref(), id);
        self.record(step, ConsumerRecord::Current { member: Arc::clone(id), to: None });
        self.record(step, ConsumerRecord::Target { member: Arc::clone(id), to: None });
        self.record(step, ConsumerRecord::Member { member: Arc::clone(id), to: None });
        Some(member)
    }

    /// Takes this lasting name from the member that is known under it, if that is `id`.
    fn forget_instance(&mut self, instance: Option<&str>, id: &Arc<str>) {
        if let Some(instance) = instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
    }

    /// The group is deleted: the tombstones of all that was written.
    pub(crate) fn tombstones(&self) -> Vec<GroupRecord> {
        let mut records = Vec::new();
        for member in self.members.keys() {
            let member = || Arc::clone(member);
            records.push(ConsumerRecord::Current { member: member(), to: None });
            records.push(ConsumerRecord::Target { member: member(), to: None });
            records.push(ConsumerRecord::Member { member: member(), to: None });
        }
        for regex in self.resolved.keys() {
            records.push(ConsumerRecord::Regex { regex: Arc::clone(regex), to: None });
        }
        records.push(ConsumerRecord::TargetEpoch(None));
        records.push(ConsumerRecord::Group(None));
        let of_group = |record| GroupRecord::Consumer { group: Arc::clone(&self.name), record };
        records.into_iter().map(of_group).collect()
    }

    fn record(&self, step: &mut Step<'_>, record: ConsumerRecord) {
        step.record(GroupRecord::Consumer { group: Arc::clone(&self.name), record });
    }
}

/// As most heartbeats: the member is what it was.
fn says_nothing(profile: &Profile, beat: &ConsumerHeartbeat) -> bool {
    let says = [&beat.rack, &beat.regex, &beat.assignor].into_iter().any(Option::is_some);
    !says
        && beat.names.is_none()
        && beat.rebalance_ms.is_none_or(|it| it == profile.rebalance_ms)
        && (beat.identity.instance.is_none() || beat.identity.instance == profile.instance)
        && (&beat.client_id, &beat.client_host) == (&profile.client_id, &profile.client_host)
        && profile.classic.is_none()
}

/// What a heartbeat leaves out stays as it is.
fn updated(mut profile: Profile, beat: &ConsumerHeartbeat) -> Profile {
    let keep = |new: &Option<Arc<str>>, present: Option<Arc<str>>| new.clone().or(present);
    profile.instance = keep(&beat.identity.instance, profile.instance);
    profile.rack = keep(&beat.rack, profile.rack);
    profile.assignor = keep(&beat.assignor, profile.assignor);
    profile.client_id = Arc::clone(&beat.client_id);
    profile.client_host = Arc::clone(&beat.client_host);
    profile.rebalance_ms = beat.rebalance_ms.unwrap_or(profile.rebalance_ms);
    if let Some(names) = &beat.names {
        profile.subscription.names = names.iter().cloned().collect();
    }
    if let Some(regex) = &beat.regex {
        profile.subscription.regex = Some(Arc::clone(regex)).filter(|it| !it.is_empty());
    }
    profile.classic = None;
    profile
}
