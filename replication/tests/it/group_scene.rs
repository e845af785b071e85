//! A coordinator with a cluster beside it, a clock that tests move, and a log from which it is replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::id::{Timestamp, TopicId};
use replication::cluster::Cluster;
use replication::config::broker::Configs;
use replication::event::Event;
use replication::group::answer::{Answer, Output};
use replication::group::assignor::Assignor;
use replication::group::coordinator::Coordinator;
use replication::group::record::GroupRecord;
use replication::group::request::Request;
use replication::group::{
    ConsumerLimits, ConsumerTiming, GroupLimits, Migration, Moment, Now, Ticket,
};
use replication::node::{Broker, NodeId};
use replication::topics::{
    MorePartitions, NewTopic, TopicRef, create_partitions, create_topics, delete_topics,
};

/// A long time after 1970, so that nothing is younger than its first millisecond.
const WALL_MS: i64 = 1_700_000_000_000;

pub(crate) const LIMITS: GroupLimits = GroupLimits {
    session_ms_min: 6_000,
    session_ms_max: 1_800_000,
    members_max: 1_000,
    initial_delay_ms: 0,
    metadata_bytes_max: 4_096,
    offsets_retention_ms: 604_800_000,
    retention_check_ms: 600_000,
    consumer: ConsumerLimits {
        members_max: 1_000,
        assignor: Assignor::Uniform,
        is_offered: true,
        offers_all_assignors: true,
        migration: Migration::Bidirectional,
        timing: ConsumerTiming {
            session_ms: 45_000,
            heartbeat_ms: 5_000,
            assignment_interval_ms: 0,
        },
    },
};

/// A key and its value; no value is a tombstone.
pub(crate) type Written = (Vec<u8>, Option<Vec<u8>>);

pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) coordinator: Coordinator,
    pub(crate) limits: GroupLimits,
    pub(crate) log: Vec<Written>,
    pub(crate) now_ms: u64,
    tickets: u64,
    topics: u128,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let node = NodeId::checked(1).expect("an id");
        let mut scene = Self {
            cluster: Cluster::new(node, Arc::new(Configs::new())),
            coordinator: Coordinator::default(),
            limits: LIMITS,
            log: Vec::new(),
            now_ms: 0,
            tickets: 0,
            topics: 1_000, // The first ids are reserved.
        };
        let broker = Broker { id: node, rack: None, endpoints: vec![] };
        scene.apply(&Event::BrokerRegistered(broker));
        scene.restart();
        scene
    }

    fn apply(&mut self, event: &Event) {
        self.cluster.apply(event).expect("a command's event applies");
    }

    pub(crate) fn now(&self) -> Now {
        let elapsed_ms = i64::try_from(self.now_ms).expect("a test is short");
        Now { moment: Moment::new(self.now_ms), wall: Timestamp::new(WALL_MS + elapsed_ms) }
    }

    // Topics.

    pub(crate) fn create(&mut self, name: &str, partition_count: i32) {
        self.topics += 1;
        let topic = NewTopic {
            name,
            partition_count,
            replication_factor: 1,
            assignments: vec![],
            configs: vec![],
            id: TopicId::new(self.topics.to_be_bytes()),
        };
        let creation = create_topics(self.cluster.image(), &[topic]).remove(0);
        self.apply(&creation.result.expect("a topic that can be created").event);
    }

    pub(crate) fn grow(&mut self, name: &str, partition_count: i32) {
        let more = MorePartitions { name, partition_count, assignments: None };
        let growth = create_partitions(self.cluster.image(), &[more]).remove(0);
        self.apply(&growth.result.expect("a topic that can grow"));
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let topic = TopicRef { name: Some(name), id: TopicId::ZERO };
        let deletion = delete_topics(self.cluster.image(), &[topic]).remove(0);
        self.apply(&deletion.result.expect("a topic that is there"));
    }

    pub(crate) fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.cluster.image().topic(name).map(|it| it.id())
    }

    /// Of a topic that is gone, its id.
    pub(crate) fn topic_name(&self, id: TopicId) -> String {
        let topic = self.cluster.image().topic_by_id(id);
        topic.map_or_else(|| "gone".to_owned(), |it| it.name().to_string())
    }

    // The coordinator.

    pub(crate) fn ask(&mut self, request: Request) -> (Answer, Vec<GroupRecord>) {
        let (mut answers, records) = self.send(request);
        assert_eq!(answers.len(), 1, "it is answered at once, and nobody else is");
        (answers.remove(0).1, records)
    }

    /// Of the request that is sent next.
    pub(crate) fn next_ticket(&self) -> Ticket {
        Ticket(self.tickets + 1)
    }

    /// Answers to anybody.
    pub(crate) fn send(&mut self, request: Request) -> (Vec<(Ticket, Answer)>, Vec<GroupRecord>) {
        self.tickets += 1;
        let mut output = Output::default();
        let (now, ticket) = (self.now(), Ticket(self.tickets));
        let image = self.cluster.image();
        self.coordinator.step(now, &self.limits, image, (ticket, request), &mut output);
        self.write(&output.records);
        (output.answers, output.records)
    }

    /// Time passes, and every time-out is looked at when it comes.
    pub(crate) fn wait(&mut self, ms: u64) -> (Vec<(Ticket, Answer)>, Vec<GroupRecord>) {
        let end = self.now_ms + ms;
        let mut output = Output::default();
        while let Some(at) = self.coordinator.next_deadline()
            && at.get() <= end
        {
            self.now_ms = self.now_ms.max(at.get());
            let image = self.cluster.image();
            self.coordinator.on_time(self.now(), &self.limits, image, &mut output);
        }
        self.now_ms = end;
        self.write(&output.records);
        (output.answers, output.records)
    }

    fn write(&mut self, records: &[GroupRecord]) {
        for record in records {
            let (key, value) = (record.key(), record.value());
            let read = GroupRecord::decode(&key, value.as_deref()).expect("it is read");
            assert_eq!(read.as_ref(), Some(record), "what is written is read");
            self.log.push((key, value));
        }
    }

    /// The coordinator is made anew from its log.
    pub(crate) fn restart(&mut self) {
        self.coordinator = Coordinator::default();
        for (key, value) in &self.log {
            let record = GroupRecord::decode(key, value.as_deref()).expect("it was written");
            self.coordinator.replay(record.expect("it is of a group"));
        }
        self.coordinator.begin(self.now(), &self.limits, self.cluster.image());
    }

    /// What is counted of memory is what a coordinator that has read its log counts, and goes when everybody
    /// and every offset has gone.
    pub(crate) fn check_memory(&mut self) {
        let lived = self.coordinator.bytes();
        self.restart();
        assert_eq!(self.coordinator.bytes(), lived);
        self.wait(u64::try_from(2 * self.limits.offsets_retention_ms).expect("it is positive"));
        assert_eq!((self.coordinator.group_count(), self.coordinator.bytes()), (0, 0));
        assert_eq!(self.coordinator.next_deadline(), None);
    }

    /// Of records with the same key the last stays, but for a tombstone with nothing before it; others stay if
    /// `keeps` says so, as in the part of a log that is not compacted yet.
    pub(crate) fn compact(&mut self, mut keeps: impl FnMut() -> bool) {
        let last: BTreeMap<Vec<u8>, usize> =
            self.log.iter().enumerate().map(|(at, it)| (it.0.clone(), at)).collect();
        let mut kept_keys = BTreeSet::new();
        let log = std::mem::take(&mut self.log);
        for (at, (key, value)) in log.into_iter().enumerate() {
            let is_last = last[&key] == at;
            let may_go = !is_last || (value.is_none() && !kept_keys.contains(&key));
            if !may_go || keeps() {
                kept_keys.insert(key.clone());
                self.log.push((key, value));
            }
        }
    }
}
