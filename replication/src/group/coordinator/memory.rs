//! What a coordinator's groups take of memory, about.

use std::sync::Arc;

use crate::group::consumer::begin::Written;
use crate::group::consumer_record::ConsumerRecord;
use crate::group::coordinator::{Coordinator, Group};
use crate::group::members::Members;
use crate::group::memory::{
    GROUP_BYTES, OFFSET_BYTES, len, of_assignments, of_beat, of_join, of_text, of_topic,
};
use crate::group::request::{Commit, ConsumerHeartbeat, Join, Request, Sync};

/// What is counted of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    members: u64,
    all: u64,
}

impl Coordinator {
    /// What all groups take of memory, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// By how many bytes a request may make it more. Zero if it only goes on with what is there: members
    /// that say what they said before, offsets of partitions that have one.
    #[must_use]
    pub fn growth(&self, request: &Request) -> u64 {
        match request {
            Request::Join(join) => self.growth_by_join(join),
            Request::Sync(sync) => self.growth_by_sync(sync),
            Request::ConsumerHeartbeat(beat) => self.growth_by_beat(beat),
            Request::Commit(commit) => self.growth_by_commit(commit),
            Request::Heartbeat(_)
            | Request::Leave(_)
            | Request::Fetch(_)
            | Request::List(_)
            | Request::Describe { .. }
            | Request::DescribeConsumer { .. }
            | Request::Delete { .. }
            | Request::DeleteOffsets { .. }
            | Request::ForgetTopics(_) => 0,
        }
    }

    fn growth_by_join(&self, join: &Join) -> u64 {
        let Some(group) = self.groups.get(&join.group) else {
            return GROUP_BYTES + of_join(join);
        };
        let known = group.members.member_bytes(&join.identity.member);
        of_join(join).saturating_sub(known.unwrap_or(0))
    }

    fn growth_by_sync(&self, sync: &Sync) -> u64 {
        if sync.assignments.is_empty() {
            return 0; // As of all members but one: nobody is looked at for them.
        }
        let known = self.groups.get(&sync.group).map_or(0, |group| match &group.members {
            Members::Classic(classic) => classic.assignment_bytes(),
            Members::Consumer(_) => 0,
        });
        of_assignments(sync).saturating_sub(known)
    }

    fn growth_by_beat(&self, beat: &ConsumerHeartbeat) -> u64 {
        let is_leaving = beat.epoch < 0;
        let says_nothing = beat.names.is_none() && beat.regex.is_none();
        if is_leaving || (beat.epoch > 0 && says_nothing) {
            return 0;
        }
        let Some(group) = self.groups.get(&beat.group) else {
            return GROUP_BYTES + of_beat(beat);
        };
        let known = group.members.member_bytes(&beat.identity.member);
        of_beat(beat).saturating_sub(known.unwrap_or(0))
    }

    fn growth_by_commit(&self, commit: &Commit) -> u64 {
        let offsets = self.groups.get(&commit.group).map(|it| &it.offsets);
        let of_group = GROUP_BYTES + of_text(&commit.group);
        let mut growth = if offsets.is_some() { 0 } else { of_group };
        let mut last_topic = None;
        for new in &commit.offsets {
            // Requests name a topic once, and then its partitions.
            let is_next = last_topic != Some(&new.topic);
            last_topic = Some(&new.topic);
            if is_next && !offsets.is_some_and(|it| it.has_topic(&new.topic)) {
                growth += of_topic(&new.topic);
            }
            let of_metadata = len(new.metadata.len());
            let known = offsets.and_then(|it| it.get(&new.topic, new.partition));
            growth += known.map_or(OFFSET_BYTES + of_metadata, |known| {
                of_metadata.saturating_sub(len(known.metadata.len()))
            });
        }
        growth
    }

    /// Of a group of the consumer protocol, which is put together when all records are replayed.
    pub(super) fn replay_consumer(&mut self, group: Arc<str>, record: ConsumerRecord) {
        let of_group = GROUP_BYTES + of_text(&group);
        let written = self.written.entry(group).or_insert_with(|| {
            self.bytes += of_group;
            Written::default()
        });
        let before = written.bytes();
        written.replay(record);
        self.bytes = self.bytes + written.bytes() - before;
    }

    /// A group's members, or what they say, may be others than before.
    pub(super) fn recount_members(&mut self, name: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(name) {
            group.counted.members = group.members.bytes();
        }
        self.recount(name);
    }

    /// Its offsets may be others.
    pub(super) fn recount(&mut self, name: &Arc<str>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let before = group.counted.all;
        group.counted.all = group.bytes(name);
        self.bytes = self.bytes + group.counted.all - before;
    }

    pub(super) fn recount_all(&mut self) {
        self.bytes = 0;
        for (name, group) in &mut self.groups {
            group.counted.members = group.members.bytes();
            group.counted.all = group.bytes(name);
            self.bytes += group.counted.all;
        }
    }

    /// Nothing of a group is there any more.
    pub(super) fn take_out(&mut self, name: &Arc<str>) -> Option<Group> {
        let group = self.groups.remove(name)?;
        self.bytes -= group.counted.all;
        self.alarms.forget_group(name);
        Some(group)
    }
}

impl Group {
    fn bytes(&self, name: &str) -> u64 {
        GROUP_BYTES + of_text(name) + self.counted.members + self.offsets.bytes()
    }
}
