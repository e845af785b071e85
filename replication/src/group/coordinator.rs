//! All groups of one partition of `__consumer_offsets`.
//!
//! Promises: the same records give the same state; each ticket is answered once.
//! Knows no log: whoever calls it makes its records durable, in order, before its answers leave.

mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use engine::bug::Bug;
use engine::id::{PartitionIndex, Timestamp};

use crate::group::alarms::Alarms;
use crate::group::answer::{
    Answer, Beat, ConsumerDescription, FoundOffset, GroupError, JoinRefusal, Listed, Output,
};
use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer::begin::Written;
use crate::group::coordinator::memory::Counted;
use crate::group::embedded::CONSUMER;
use crate::group::members::Members;
use crate::group::migration::{downgrade, is_downgradable, upgrade};
use crate::group::offsets::Offsets;
use crate::group::record::{Committed, GroupRecord};
use crate::group::request::{
    Commit, ConsumerHeartbeat, Fetch, Filter, Heartbeat, Join, Leave, OffsetToKeep, Request, Sync,
};
use crate::group::{Alarm, ConsumerTiming, GroupLimits, Moment, Now, Ticket};
use crate::image::Image;

/// Offsets that are looked at in one go for those that have expired.
const EXPIRY_OFFSETS_MAX: usize = 10_000;
/// Time-outs that are looked at in one go.
const ALARMS_MAX: usize = 256;

/// One per partition of `__consumer_offsets`, on the shard that owns it.
#[derive(Debug, Default)]
pub struct Coordinator {
    groups: BTreeMap<Arc<str>, Group>,
    /// Of the consumer protocol, while records are replayed.
    written: BTreeMap<Arc<str>, Written>,
    alarms: Alarms,
    expiry: Expiry,
    /// What all groups take of memory, about.
    bytes: u64,
}

#[derive(Debug)]
struct Group {
    members: Members,
    offsets: Offsets,
    counted: Counted,
}

/// What holds outside the groups while one step is made.
#[derive(Clone, Copy)]
struct Scene<'a> {
    now: Now,
    limits: &'a GroupLimits,
    image: &'a Image,
}

impl<'a> Scene<'a> {
    fn step(self, alarms: &'a mut Alarms, output: &'a mut Output) -> Step<'a> {
        Step { now: self.now, limits: self.limits, image: self.image, alarms, output }
    }
}

/// Where the search for offsets that have expired goes on, and when.
#[derive(Debug, Default)]
struct Expiry {
    at: Moment,
    from: Option<Arc<str>>,
}

/// What one step sees, and what it gives.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) limits: &'a GroupLimits,
    pub(crate) image: &'a Image,
    alarms: &'a mut Alarms,
    output: &'a mut Output,
}

impl Step<'_> {
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.output.answers.push((ticket, answer));
    }

    pub(crate) fn record(&mut self, record: GroupRecord) {
        self.output.records.push(record);
    }

    /// How fast a group of the consumer protocol is.
    pub(crate) fn timing(&self, group: &str) -> ConsumerTiming {
        self.image.group(group).map_or(self.limits.consumer.timing, |it| it.timing)
    }

    pub(crate) fn alarm(&mut self, at: Moment, group: &Arc<str>, alarm: Alarm) {
        self.alarms.set(at, group, alarm);
    }

    pub(crate) fn forget_alarm(&mut self, group: &Arc<str>, alarm: &Alarm) {
        self.alarms.forget(group, alarm);
    }
}

impl Coordinator {
    /// The next record of the partition. It may say anything; what it takes is counted in `bytes` at once.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group: name, topic, partition, to: Some(committed) } => {
                self.group(&name, Timestamp::NONE).offsets.insert(topic, partition, committed);
                self.recount(&name);
            }
            GroupRecord::Offset { group: name, topic, partition, to: None } => {
                if let Some(group) = self.groups.get_mut(&name) {
                    group.offsets.remove(&topic, partition);
                    self.recount(&name);
                }
            }
            GroupRecord::Classic { group, to } => {
                let name = Arc::clone(&group);
                let members = match to {
                    Some(snapshot) => ClassicGroup::restore(name, snapshot.mended()),
                    None => ClassicGroup::new(name, Timestamp::NONE),
                };
                let name = group;
                let group = self.group(&name, Timestamp::NONE);
                group.members = Members::Classic(members);
                if Bug::GroupOffsetsNotRestored.is_on() {
                    group.offsets = Offsets::default();
                }
                self.recount_members(&name);
            }
            GroupRecord::Consumer { group, record } => self.replay_consumer(group, record),
        }
    }

    /// All records are replayed: sessions begin.
    pub fn begin(&mut self, now: Now, limits: &GroupLimits, image: &Image) {
        for (name, written) in std::mem::take(&mut self.written) {
            if let Some(group) = written.into_group(Arc::clone(&name)) {
                self.group(&name, Timestamp::NONE).members = Members::Consumer(group);
            }
        }
        self.groups.retain(|_, group| !group.is_gone());
        let mut output = Output::default();
        let mut step = Scene { now, limits, image }.step(&mut self.alarms, &mut output);
        self.groups.values_mut().for_each(|group| group.members.begin(&mut step));
        assert!(output.records.is_empty(), "what is there is written");
        self.recount_all();
        self.expiry.at = now.moment.plus_ms(limits.retention_check_ms);
    }

    /// When `on_time` is due. `None` while there is nothing to look at.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let alarm = self.alarms.next();
        let expiry = (!self.groups.is_empty()).then_some(self.expiry.at);
        alarm.into_iter().chain(expiry).min()
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many offsets they have committed.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.groups.values().map(|group| group.offsets.count()).sum()
    }

    /// Every committed offset, by group.
    pub fn offsets(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, PartitionIndex, &Committed)> {
        self.groups.iter().flat_map(|(name, group)| {
            group.offsets.iter().map(move |(topic, partition, it)| (name, topic, partition, it))
        })
    }

    pub fn step(
        &mut self,
        now: Now,
        limits: &GroupLimits,
        image: &Image,
        (ticket, request): (Ticket, Request),
        output: &mut Output,
    ) {
        let scene = Scene { now, limits, image };
        let answer = match request {
            Request::Join(join) => return self.join(scene, (ticket, join), output),
            Request::Sync(sync) => return self.sync(scene, (ticket, sync), output),
            Request::Heartbeat(heartbeat) => self.heartbeat(scene, &heartbeat, output),
            Request::Leave(leave) => self.leave(scene, &leave, output),
            Request::Commit(commit) => Answer::Commit(self.commit(scene, commit, output)),
            Request::Fetch(fetch) => Answer::Fetch(self.fetch(fetch)),
            Request::List(filter) => Answer::List(self.list(&filter)),
            Request::Describe { group } => {
                Answer::Describe(self.groups.get(&group).and_then(|it| it.members.describe()))
            }
            Request::ConsumerHeartbeat(beat) => {
                Answer::ConsumerHeartbeat(self.beat(scene, beat, output))
            }
            Request::DescribeConsumer { group } => {
                Answer::DescribeConsumer(self.describe_consumer(limits, &group))
            }
            Request::Delete { group } => Answer::Delete(self.delete(&group, output)),
            Request::DeleteOffsets { group, partitions } => {
                Answer::DeleteOffsets(self.delete_offsets(&group, &partitions, output))
            }
            Request::ForgetTopics(topics) => {
                self.forget_topics(&topics, output);
                Answer::ForgetTopics
            }
        };
        output.answers.push((ticket, answer));
    }

    /// Time-outs that have come, or the first of them if they are many.
    pub fn on_time(&mut self, now: Now, limits: &GroupLimits, image: &Image, output: &mut Output) {
        let scene = Scene { now, limits, image };
        let mut touched = BTreeSet::new();
        for _ in 0..ALARMS_MAX {
            let Some((name, alarm)) = self.alarms.take_due(now.moment) else { break };
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let mut step = scene.step(&mut self.alarms, output);
            group.members.on_alarm(&mut step, &alarm);
            touched.insert(name);
        }
        touched.iter().for_each(|name| self.settle(scene, name, output));
        if self.expiry.at <= now.moment {
            self.expire(now, limits, output);
        }
    }

    // Members of the classic protocol.

    fn join(&mut self, scene: Scene<'_>, (ticket, join): (Ticket, Join), output: &mut Output) {
        let limits = scene.limits;
        let refuse = |error| {
            let member = Arc::clone(&join.identity.member);
            (ticket, Answer::Join(Err(JoinRefusal { error, member })))
        };
        if !(limits.session_ms_min..=limits.session_ms_max).contains(&join.session_ms) {
            return output.answers.push(refuse(GroupError::InvalidSession));
        }
        if !self.groups.contains_key(&join.group) && !join.identity.member.is_empty() {
            return output.answers.push(refuse(GroupError::UnknownMember));
        }
        let name = Arc::clone(&join.group);
        let since = scene.now.wall;
        let group =
            self.groups.entry(Arc::clone(&name)).or_insert_with(|| Group::new(&name, since));
        let mut step = scene.step(&mut self.alarms, output);
        match &mut group.members {
            Members::Classic(members) => members.join(&mut step, ticket, join),
            Members::Consumer(members) => members.join(&mut step, ticket, join),
        }
        self.settle(scene, &name, output);
    }

    fn sync(&mut self, scene: Scene<'_>, (ticket, sync): (Ticket, Sync), output: &mut Output) {
        let Some(group) = self.groups.get_mut(&sync.group) else {
            let unknown = Answer::Sync(Err(GroupError::UnknownMember));
            return output.answers.push((ticket, unknown));
        };
        let (name, record_count) = (Arc::clone(&sync.group), output.records.len());
        let mut step = scene.step(&mut self.alarms, output);
        match &mut group.members {
            Members::Classic(members) => members.sync(&mut step, ticket, sync),
            Members::Consumer(members) => {
                let synced = members.sync(&mut step, &sync);
                step.answer(ticket, Answer::Sync(synced));
            }
        }
        if output.records.len() > record_count {
            self.recount_members(&name);
        }
    }

    fn heartbeat(
        &mut self,
        scene: Scene<'_>,
        heartbeat: &Heartbeat,
        output: &mut Output,
    ) -> Answer {
        let Some(group) = self.groups.get_mut(&heartbeat.group) else {
            return Answer::Heartbeat(Err(GroupError::UnknownMember));
        };
        let record_count = output.records.len();
        let mut step = scene.step(&mut self.alarms, output);
        let lives = match &mut group.members {
            Members::Classic(members) => members.heartbeat(&step, heartbeat),
            Members::Consumer(members) => members.classic_heartbeat(&mut step, heartbeat),
        };
        if output.records.len() > record_count {
            self.recount_members(&heartbeat.group);
        }
        Answer::Heartbeat(lives)
    }

    fn leave(&mut self, scene: Scene<'_>, leave: &Leave, output: &mut Output) -> Answer {
        let Some(group) = self.groups.get_mut(&leave.group) else {
            let unknown = vec![Err(GroupError::UnknownMember); leave.members.len()];
            return Answer::Leave(unknown);
        };
        let mut step = scene.step(&mut self.alarms, output);
        let left = match &mut group.members {
            Members::Classic(members) => members.leave(&mut step, leave),
            Members::Consumer(members) => members.classic_leave(&mut step, leave),
        };
        self.settle(scene, &leave.group, output);
        Answer::Leave(left)
    }

    // Members of the consumer protocol.

    fn beat(
        &mut self,
        scene: Scene<'_>,
        beat: ConsumerHeartbeat,
        output: &mut Output,
    ) -> Result<Beat, GroupError> {
        beat.check(&scene.limits.consumer)?;
        let (name, record_count) = (Arc::clone(&beat.group), output.records.len());
        let group = self.groups.get_mut(&name).map(|it| &mut it.members);
        let Some(Members::Consumer(group)) = group else {
            let is_join = beat.epoch == 0;
            return if is_join {
                self.found(scene, beat, output)
            } else {
                Err(GroupError::GroupNotFound)
            };
        };
        let mut step = scene.step(&mut self.alarms, output);
        if beat.epoch < 0 {
            let left = group.leave(&mut step, &beat.identity, beat.epoch)?;
            self.settle(scene, &name, output);
            return Ok(left);
        }
        let admission = group.admit(&step, &beat)?;
        let beat = group.heartbeat(&mut step, beat, admission);
        if output.records.len() > record_count {
            self.recount_members(&name); // What has changed was written down.
        }
        Ok(beat)
    }

    /// The first member of the consumer protocol founds its group, or turns a classic one into it. Nothing
    /// has changed if it is refused.
    fn found(
        &mut self,
        scene: Scene<'_>,
        beat: ConsumerHeartbeat,
        output: &mut Output,
    ) -> Result<Beat, GroupError> {
        let name = Arc::clone(&beat.group);
        let (mut alarms, mut draft) = (Alarms::default(), Output::default());
        let mut step = scene.step(&mut alarms, &mut draft);
        let present = self.groups.get(&name).map(|it| &it.members);
        present.into_iter().flat_map(|it| it.tombstones(&name)).for_each(|it| step.record(it));
        let mut group = match present {
            Some(Members::Classic(classic)) if !classic.is_empty() => {
                upgrade(&mut step, &name, classic)?
            }
            _ => ConsumerGroup::new(Arc::clone(&name)),
        };
        let admission = group.admit(&step, &beat)?;
        let joined = group.heartbeat(&mut step, beat, admission);
        self.alarms.append(alarms);
        output.records.append(&mut draft.records);
        let place = &mut self.group(&name, scene.now.wall).members;
        let before = std::mem::replace(place, Members::Consumer(group));
        if let Members::Classic(classic) = before {
            classic.send_away(&mut scene.step(&mut self.alarms, output));
        }
        self.recount_members(&name);
        Ok(joined)
    }

    fn describe_consumer(
        &self,
        limits: &GroupLimits,
        name: &Arc<str>,
    ) -> Option<ConsumerDescription> {
        match &self.groups.get(name)?.members {
            Members::Consumer(group) => Some(group.describe(&limits.consumer)),
            Members::Classic(_) => None,
        }
    }

    /// Members may be gone: a group of which only classic ones are left becomes a classic one, and one of
    /// which nothing is left is forgotten.
    fn settle(&mut self, scene: Scene<'_>, name: &Arc<str>, output: &mut Output) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Members::Consumer(members) = &group.members {
            let mut step = scene.step(&mut self.alarms, output);
            if is_downgradable(&step, members) {
                group.members = Members::Classic(downgrade(&mut step, name, members));
            }
        }
        self.recount_members(name);
        self.drop_if_gone(name);
    }

    // Offsets.

    fn commit(
        &mut self,
        scene: Scene<'_>,
        commit: Commit,
        output: &mut Output,
    ) -> Vec<Result<(), GroupError>> {
        let Commit { group: name, identity, generation, offsets, retention_ms } = commit;
        if !self.groups.contains_key(&name) && generation >= 0 {
            return vec![Err(GroupError::GroupNotFound); offsets.len()];
        }
        let since = scene.now.wall;
        let group =
            self.groups.entry(Arc::clone(&name)).or_insert_with(|| Group::new(&name, since));
        let mut step = scene.step(&mut self.alarms, output);
        let right = group.members.check_commit(&step, &identity, generation);
        let mut results = Vec::with_capacity(offsets.len());
        for new in offsets {
            let is_small = new.metadata.len() <= scene.limits.metadata_bytes_max;
            let may = right.as_ref().map_err(|error| *error).and_then(|right| {
                group.members.may_commit(right, scene.image, &new.topic, new.partition)
            });
            results.push(match may {
                Ok(()) if !is_small => Err(GroupError::MetadataTooLarge),
                Ok(()) => {
                    group.commit(&mut step, &name, new, retention_ms);
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
        self.recount(&name);
        self.drop_if_gone(&name);
        results
    }

    fn fetch(&self, fetch: Fetch) -> Result<Vec<FoundOffset>, GroupError> {
        let group = self.groups.get(&fetch.group);
        if let Some(group) = group {
            group.members.check_fetch(fetch.member.as_ref())?;
        }
        let offsets = group.map(|it| &it.offsets);
        let Some(partitions) = fetch.partitions else {
            let all = offsets.into_iter().flat_map(Offsets::iter);
            let found = all.map(|(topic, partition, it)| FoundOffset {
                topic: Arc::clone(topic),
                partition,
                committed: Some(it.clone()),
            });
            return Ok(found.collect());
        };
        let found = partitions.into_iter().map(|(topic, partition)| {
            let committed = offsets.and_then(|it| it.get(&topic, partition)).cloned();
            FoundOffset { topic, partition, committed }
        });
        Ok(found.collect())
    }

    fn delete_offsets(
        &mut self,
        name: &Arc<str>,
        partitions: &[(Arc<str>, PartitionIndex)],
        output: &mut Output,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let group = self.groups.get_mut(name).ok_or(GroupError::GroupNotFound)?;
        let is_empty = group.members.is_empty();
        let subscribed = group.members.subscribed();
        if !is_empty && subscribed.is_none() {
            return Err(GroupError::NotEmpty);
        }
        let mut results = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let is_read = subscribed.as_ref().is_some_and(|it| it.contains(&**topic));
            if !is_empty && is_read {
                results.push(Err(GroupError::StillSubscribed));
                continue;
            }
            group.forget(name, topic, *partition, output);
            results.push(Ok(()));
        }
        self.recount(name);
        self.drop_if_gone(name);
        Ok(results)
    }

    fn forget_topics(&mut self, topics: &[Arc<str>], output: &mut Output) {
        let mut touched = Vec::new();
        for (name, group) in &mut self.groups {
            for topic in topics {
                let partitions = group.offsets.of_topic(topic);
                if !partitions.is_empty() {
                    touched.push(Arc::clone(name));
                }
                for partition in partitions {
                    group.forget(name, topic, partition, output);
                }
            }
        }
        for name in touched {
            self.recount(&name);
            self.drop_if_gone(&name);
        }
    }

    /// A part of the groups, and then the next, until all have been looked at.
    fn expire(&mut self, now: Now, limits: &GroupLimits, output: &mut Output) {
        let from = self.expiry.from.take();
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut seen: usize = 0;
        let (mut touched, mut gone) = (Vec::new(), Vec::new());
        for (name, group) in self.groups.range_mut::<Arc<str>, _>((start, Bound::Unbounded)) {
            if seen > EXPIRY_OFFSETS_MAX {
                break;
            }
            seen += 1 + group.offsets.count();
            if group.expire(name, now.wall, limits.offsets_retention_ms, output) {
                touched.push(Arc::clone(name));
            }
            if group.offsets.is_empty() && group.members.is_empty() {
                gone.push(Arc::clone(name));
            }
            self.expiry.from = Some(Arc::clone(name));
        }
        touched.iter().for_each(|name| self.recount(name));
        for name in gone {
            self.remove(&name, output);
        }
        let is_done = seen <= EXPIRY_OFFSETS_MAX;
        if is_done {
            self.expiry.from = None;
        }
        let pause_ms = if is_done { limits.retention_check_ms } else { 1 };
        self.expiry.at = now.moment.plus_ms(pause_ms);
    }

    // Groups.

    fn list(&self, filter: &Filter) -> Vec<Listed> {
        let passes = |wanted: &[String], is: &str| {
            wanted.is_empty() || wanted.iter().any(|it| it.eq_ignore_ascii_case(is))
        };
        let listed = self.groups.iter().map(|(name, group)| Listed {
            group: Arc::clone(name),
            protocol_type: group.members.protocol_type(),
            state: group.members.state(),
            kind: group.members.kind(),
        });
        let is_wanted = |it: &Listed| {
            passes(&filter.states, it.state.name()) && passes(&filter.types, it.kind.name())
        };
        listed.filter(is_wanted).collect()
    }

    fn delete(&mut self, name: &Arc<str>, output: &mut Output) -> Result<(), GroupError> {
        let group = self.groups.get_mut(name).ok_or(GroupError::GroupNotFound)?;
        if !group.members.is_empty() {
            return Err(GroupError::NotEmpty);
        }
        let all: Vec<_> =
            group.offsets.iter().map(|(topic, index, _)| (Arc::clone(topic), index)).collect();
        for (topic, partition) in all {
            group.forget(name, &topic, partition, output);
        }
        self.remove(name, output);
        Ok(())
    }

    fn remove(&mut self, name: &Arc<str>, output: &mut Output) {
        let group = self.take_out(name).expect("only groups that are there are removed");
        output.records.append(&mut group.members.tombstones(name));
    }

    fn group(&mut self, name: &Arc<str>, since: Timestamp) -> &mut Group {
        self.groups.entry(Arc::clone(name)).or_insert_with(|| Group::new(name, since))
    }

    fn drop_if_gone(&mut self, name: &Arc<str>) {
        if self.groups.get(name).is_some_and(Group::is_gone) {
            self.take_out(name);
        }
    }
}

impl Group {
    fn new(name: &Arc<str>, since: Timestamp) -> Self {
        let members = Members::Classic(ClassicGroup::new(Arc::clone(name), since));
        Self { members, offsets: Offsets::default(), counted: Counted::default() }
    }

    /// Nothing is known of it, and nothing was written.
    fn is_gone(&self) -> bool {
        self.members.is_bare() && self.offsets.is_empty()
    }

    fn commit(
        &mut self,
        step: &mut Step<'_>,
        name: &Arc<str>,
        new: OffsetToKeep,
        retention_ms: Option<i64>,
    ) {
        let committed_at = new.committed_at.unwrap_or(step.now.wall);
        let until = |ms: i64| Timestamp::new(committed_at.get().saturating_add(ms));
        let committed = Committed {
            offset: new.offset,
            leader_epoch: new.leader_epoch,
            metadata: new.metadata,
            committed_at,
            expires_at: retention_ms.map(until),
        };
        self.offsets.insert(Arc::clone(&new.topic), new.partition, committed.clone());
        step.record(GroupRecord::Offset {
            group: Arc::clone(name),
            topic: new.topic,
            partition: new.partition,
            to: Some(committed),
        });
    }

    fn forget(
        &mut self,
        name: &Arc<str>,
        topic: &Arc<str>,
        partition: PartitionIndex,
        output: &mut Output,
    ) {
        if self.offsets.remove(topic, partition) {
            let (group, topic) = (Arc::clone(name), Arc::clone(topic));
            output.records.push(GroupRecord::Offset { group, topic, partition, to: None });
        }
    }

    /// Kafka's rules: of a group that is empty, since it is empty; of a consumer group, of topics that it
    /// does not read; of a group that only commits, since the commit.
    /// Whether any was.
    fn expire(
        &mut self,
        name: &Arc<str>,
        now: Timestamp,
        retention_ms: i64,
        output: &mut Output,
    ) -> bool {
        let is_empty = self.members.is_empty();
        let is_simple = self.members.protocol_type().is_empty();
        let since = Some(self.members.since()).filter(|&it| it != Timestamp::NONE);
        let is_consumer = *self.members.protocol_type() == *CONSUMER;
        let subscribed = (!is_empty && is_consumer).then(|| self.members.subscribed()).flatten();
        let kept_since = |topic: &str, it: &Committed| match (&subscribed, is_empty) {
            (_, true) if is_simple => Some(it.committed_at),
            (_, true) => since.or(Some(it.committed_at)),
            (Some(topics), false) => (!topics.contains(topic)).then_some(it.committed_at),
            (None, false) => None,
        };
        let expired = self.offsets.expired(now, retention_ms, kept_since);
        for (topic, partition) in &expired {
            self.forget(name, topic, *partition, output);
        }
        !expired.is_empty()
    }
}
