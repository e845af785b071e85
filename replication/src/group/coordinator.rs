//! All groups of one partition of `__consumer_offsets`.
//!
//! Promises: the same records give the same state; each ticket is answered once.
//! Knows no log: whoever calls it makes its records durable, in order, before its answers leave.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use engine::id::{PartitionIndex, Timestamp};

use crate::group::answer::{
    Answer, FoundOffset, GroupError, GroupKind, JoinRefusal, Listed, Output,
};
use crate::group::classic::{CONSUMER, ClassicGroup};
use crate::group::offsets::Offsets;
use crate::group::record::{Committed, GroupRecord};
use crate::group::request::{Commit, Fetch, Filter, Join, Leave, NewOffset, Request};
use crate::group::{Alarm, GroupLimits, Moment, Now, Ticket};

/// Offsets that are looked at in one go for those that have expired.
const EXPIRY_OFFSETS_MAX: usize = 10_000;

/// One per partition of `__consumer_offsets`, on the shard that owns it.
#[derive(Debug, Default)]
pub struct Coordinator {
    groups: BTreeMap<Arc<str>, Group>,
    alarms: Alarms,
    expiry: Expiry,
}

#[derive(Debug)]
struct Group {
    members: ClassicGroup,
    offsets: Offsets,
}

type Alarms = BTreeSet<(Moment, Arc<str>, Alarm)>;

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

    pub(crate) fn alarm(&mut self, at: Moment, group: &Arc<str>, alarm: Alarm) {
        self.alarms.insert((at, Arc::clone(group), alarm));
    }
}

impl Coordinator {
    /// The next record of the partition.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group, topic, partition, to: Some(committed) } => {
                self.group(&group, Timestamp::NONE).offsets.insert(topic, partition, committed);
            }
            GroupRecord::Offset { group, topic, partition, to: None } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.offsets.remove(&topic, partition);
                }
            }
            GroupRecord::Classic { group, to } => {
                let name = Arc::clone(&group);
                let members = match to {
                    Some(snapshot) => ClassicGroup::restore(name, snapshot),
                    None => ClassicGroup::new(name, Timestamp::NONE),
                };
                self.group(&group, Timestamp::NONE).members = members;
            }
        }
    }

    /// All records are replayed: sessions begin.
    pub fn begin(&mut self, now: Now, limits: &GroupLimits) {
        self.groups.retain(|_, group| !group.is_gone());
        let mut output = Output::default();
        let mut step = Step { now, limits, alarms: &mut self.alarms, output: &mut output };
        self.groups.values_mut().for_each(|group| group.members.begin(&mut step));
        self.expiry.at = now.moment.plus_ms(limits.retention_check_ms);
    }

    /// When `on_time` is due. `None` while there is nothing to look at.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let alarm = self.alarms.first().map(|it| it.0);
        let expiry = (!self.groups.is_empty()).then_some(self.expiry.at);
        alarm.into_iter().chain(expiry).min()
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
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
        (ticket, request): (Ticket, Request),
        output: &mut Output,
    ) {
        match request {
            Request::List(filter) => {
                let listed = self.list(&filter);
                output.answers.push((ticket, Answer::List(listed)));
            }
            Request::Fetch(fetch) => {
                let found = self.fetch(fetch);
                output.answers.push((ticket, Answer::Fetch(found)));
            }
            Request::Describe { group } => {
                let described = self.groups.get(&group).map(|it| it.members.describe());
                output.answers.push((ticket, Answer::Describe(described)));
            }
            Request::Delete { group } => {
                let deleted = self.delete(&group, output);
                output.answers.push((ticket, Answer::Delete(deleted)));
            }
            Request::DeleteOffsets { group, partitions } => {
                let deleted = self.delete_offsets(&group, &partitions, output);
                output.answers.push((ticket, Answer::DeleteOffsets(deleted)));
            }
            Request::ForgetTopics(topics) => {
                self.forget_topics(&topics, output);
                output.answers.push((ticket, Answer::ForgetTopics));
            }
            Request::Join(join) => self.join(now, limits, (ticket, join), output),
            Request::Commit(commit) => self.commit(now, limits, (ticket, commit), output),
            Request::Leave(leave) => self.leave(now, limits, (ticket, leave), output),
            Request::Sync(sync) => {
                let unknown = Answer::Sync(Err(GroupError::UnknownMember));
                let name = Arc::clone(&sync.group);
                self.with(&name, (now, limits, output), (ticket, unknown), |members, step| {
                    members.sync(step, ticket, sync);
                });
            }
            Request::Heartbeat(heartbeat) => {
                let unknown = Answer::Heartbeat(Err(GroupError::UnknownMember));
                let name = Arc::clone(&heartbeat.group);
                self.with(&name, (now, limits, output), (ticket, unknown), |members, step| {
                    let lives = members.heartbeat(step, &heartbeat);
                    step.answer(ticket, Answer::Heartbeat(lives));
                });
            }
        }
    }

    /// Time-outs that have come.
    pub fn on_time(&mut self, now: Now, limits: &GroupLimits, output: &mut Output) {
        while let Some((at, _, _)) = self.alarms.first()
            && *at <= now.moment
        {
            let (_, name, alarm) = self.alarms.pop_first().expect("it was just seen");
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let mut step = Step { now, limits, alarms: &mut self.alarms, output };
            group.members.on_alarm(&mut step, &alarm);
            self.drop_if_gone(&name);
        }
        if self.expiry.at <= now.moment {
            self.expire(now, limits, output);
        }
    }

    // Members.

    fn join(
        &mut self,
        now: Now,
        limits: &GroupLimits,
        (ticket, join): (Ticket, Join),
        output: &mut Output,
    ) {
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
        let group =
            self.groups.entry(Arc::clone(&name)).or_insert_with(|| Group::new(&name, now.wall));
        let mut step = Step { now, limits, alarms: &mut self.alarms, output };
        group.members.join(&mut step, ticket, join);
        self.drop_if_gone(&name);
    }

    fn leave(
        &mut self,
        now: Now,
        limits: &GroupLimits,
        (ticket, leave): (Ticket, Leave),
        output: &mut Output,
    ) {
        let unknown = vec![Err(GroupError::UnknownMember); leave.members.len()];
        let unknown = Answer::Leave(unknown);
        self.with(&leave.group, (now, limits, output), (ticket, unknown), |members, step| {
            let left = members.leave(step, &leave);
            step.answer(ticket, Answer::Leave(left));
        });
        self.drop_if_gone(&leave.group);
    }

    /// Of a group that is there; else `unknown` is the answer.
    fn with(
        &mut self,
        name: &Arc<str>,
        (now, limits, output): (Now, &GroupLimits, &mut Output),
        (ticket, unknown): (Ticket, Answer),
        act: impl FnOnce(&mut ClassicGroup, &mut Step<'_>),
    ) {
        let Some(group) = self.groups.get_mut(name) else {
            return output.answers.push((ticket, unknown));
        };
        let mut step = Step { now, limits, alarms: &mut self.alarms, output };
        act(&mut group.members, &mut step);
    }

    // Offsets.

    fn commit(
        &mut self,
        now: Now,
        limits: &GroupLimits,
        (ticket, commit): (Ticket, Commit),
        output: &mut Output,
    ) {
        let Commit { group: name, identity, generation, offsets, retention_ms } = commit;
        let is_made = !self.groups.contains_key(&name);
        if is_made && generation >= 0 {
            let refused = vec![Err(GroupError::GroupNotFound); offsets.len()];
            return output.answers.push((ticket, Answer::Commit(refused)));
        }
        let group =
            self.groups.entry(Arc::clone(&name)).or_insert_with(|| Group::new(&name, now.wall));
        let mut step = Step { now, limits, alarms: &mut self.alarms, output };
        let may = group.members.check_commit(&step, &identity, generation);
        let mut results = Vec::with_capacity(offsets.len());
        for new in offsets {
            let is_small = new.metadata.len() <= limits.metadata_bytes_max;
            results.push(match may {
                Ok(()) if !is_small => Err(GroupError::MetadataTooLarge),
                Ok(()) => {
                    group.commit(&mut step, &name, new, retention_ms);
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
        step.answer(ticket, Answer::Commit(results));
        self.drop_if_gone(&name);
    }

    fn fetch(&self, fetch: Fetch) -> Vec<FoundOffset> {
        let offsets = self.groups.get(&fetch.group).map(|it| &it.offsets);
        let Some(partitions) = fetch.partitions else {
            let all = offsets.into_iter().flat_map(Offsets::iter);
            let found = all.map(|(topic, partition, it)| FoundOffset {
                topic: Arc::clone(topic),
                partition,
                committed: Some(it.clone()),
            });
            return found.collect();
        };
        let found = partitions.into_iter().map(|(topic, partition)| {
            let committed = offsets.and_then(|it| it.get(&topic, partition)).cloned();
            FoundOffset { topic, partition, committed }
        });
        found.collect()
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
        self.drop_if_gone(name);
        Ok(results)
    }

    fn forget_topics(&mut self, topics: &[Arc<str>], output: &mut Output) {
        for (name, group) in &mut self.groups {
            for topic in topics {
                for partition in group.offsets.of_topic(topic) {
                    group.forget(name, topic, partition, output);
                }
            }
        }
        self.groups.retain(|_, group| !group.is_gone());
    }

    /// A part of the groups, and then the next, until all have been looked at.
    fn expire(&mut self, now: Now, limits: &GroupLimits, output: &mut Output) {
        let from = self.expiry.from.take();
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut seen: usize = 0;
        let mut gone = Vec::new();
        for (name, group) in self.groups.range_mut::<Arc<str>, _>((start, Bound::Unbounded)) {
            if seen > EXPIRY_OFFSETS_MAX {
                break;
            }
            seen += 1 + group.offsets.count();
            group.expire(name, now.wall, limits.offsets_retention_ms, output);
            if group.offsets.is_empty() && group.members.is_empty() {
                gone.push(Arc::clone(name));
            }
            self.expiry.from = Some(Arc::clone(name));
        }
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
            protocol_type: Arc::clone(group.members.protocol_type()),
            state: group.members.state(),
            kind: GroupKind::Classic,
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
        let group = self.groups.remove(name).expect("only groups that are there are removed");
        if !group.members.is_bare() {
            output.records.push(GroupRecord::Classic { group: Arc::clone(name), to: None });
        }
    }

    fn group(&mut self, name: &Arc<str>, since: Timestamp) -> &mut Group {
        self.groups.entry(Arc::clone(name)).or_insert_with(|| Group::new(name, since))
    }

    fn drop_if_gone(&mut self, name: &Arc<str>) {
        if self.groups.get(name).is_some_and(Group::is_gone) {
            self.groups.remove(name);
        }
    }
}

impl Group {
    fn new(name: &Arc<str>, since: Timestamp) -> Self {
        Self { members: ClassicGroup::new(Arc::clone(name), since), offsets: Offsets::default() }
    }

    /// Nothing is known of it, and nothing was written.
    fn is_gone(&self) -> bool {
        self.members.is_bare() && self.offsets.is_empty()
    }

    fn commit(
        &mut self,
        step: &mut Step<'_>,
        name: &Arc<str>,
        new: NewOffset,
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
    fn expire(&mut self, name: &Arc<str>, now: Timestamp, retention_ms: i64, output: &mut Output) {
        let is_empty = self.members.is_empty();
        let is_simple = self.members.protocol_type().is_empty();
        let since = Some(self.members.since()).filter(|&it| it != Timestamp::NONE);
        let is_consumer = &**self.members.protocol_type() == CONSUMER;
        let subscribed = (!is_empty && is_consumer).then(|| self.members.subscribed()).flatten();
        let kept_since = |topic: &str, it: &Committed| match (&subscribed, is_empty) {
            (_, true) if is_simple => Some(it.committed_at),
            (_, true) => since.or(Some(it.committed_at)),
            (Some(topics), false) => (!topics.contains(topic)).then_some(it.committed_at),
            (None, false) => None,
        };
        for (topic, partition) in self.offsets.expired(now, retention_ms, kept_since) {
            self.forget(name, &topic, partition, output);
        }
    }
}
