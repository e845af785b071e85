//! The log of a coordinator of groups after any damage, or as a stranger wrote it: each record is refused
//! or sound, and what a coordinator makes of all that are sound takes no more memory than the records are
//! worth, and goes on without a panic, with members that come and with those that the records name.
//!
//! The input is a row of records: a key behind its length in two bytes, then a value in the same way; the
//! length 0xffff is that of a tombstone.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use engine::id::{Timestamp, TopicId};
use libfuzzer_sys::fuzz_target;
use replication::cluster::Cluster;
use replication::config::broker::Configs;
use replication::event::Event;
use replication::group::answer::{Answer, Output};
use replication::group::assignment::Assignment;
use replication::group::assignor::Assignor;
use replication::group::coordinator::Coordinator;
use replication::group::record::GroupRecord;
use replication::group::request::{
    ConsumerHeartbeat, Fetch, Filter, Identity, Join, LeaderAgain, Naming, Protocol, Request, Sync,
    Welcome,
};
use replication::group::{
    ConsumerLimits, ConsumerTiming, GroupLimits, Migration, Moment, Now, Ticket,
};
use replication::node::{Broker, NodeId};
use replication::topics::{NewTopic, create_topics};

const WALL_MS: i64 = 1_700_000_000_000;
const TOMBSTONE: u16 = u16::MAX;
/// What a coordinator may count for a byte of its log, and for a record whatever its size.
const BYTES_PER_BYTE: u64 = 64;
const BYTES_PER_RECORD: u64 = 4_096;
/// Looks at the clock, each later than every time-out that is sound.
const ROUNDS: u64 = 8;
const ROUND_MS: u64 = 1 << 32;

const LIMITS: GroupLimits = GroupLimits {
    session_ms_min: 6_000,
    session_ms_max: 1_800_000,
    members_max: 1_000,
    initial_delay_ms: 0,
    metadata_bytes_max: 4_096,
    offsets_retention_ms: 604_800_000,
    retention_check_ms: 600_000,
    consumer: ConsumerLimits {
        is_offered: true,
        members_max: 1_000,
        assignor: Assignor::Uniform,
        offers_all_assignors: true,
        migration: Migration::Bidirectional,
        timing: ConsumerTiming {
            session_ms: 45_000,
            heartbeat_ms: 5_000,
            assignment_interval_ms: 0,
        },
    },
};

fuzz_target!(|input: &[u8]| {
    let cluster = cluster();
    let image = cluster.image();
    let log = records(input);
    let mut coordinator = Coordinator::default();
    let worth = |count| BYTES_PER_BYTE * size(input) + BYTES_PER_RECORD * count;
    for (record, count) in log.into_iter().zip(1..) {
        coordinator.replay(record);
        assert!(coordinator.bytes() <= worth(count), "{} of {}", coordinator.bytes(), worth(count));
    }
    coordinator.begin(now(0), &LIMITS, image);
    let mut life = Life { coordinator, cluster: &cluster, round: 0, ticket: 0 };
    life.look();
    for _ in 0..ROUNDS {
        life.act();
        life.round += 1;
        let mut output = Output::default();
        life.coordinator.on_time(now(life.round), &LIMITS, image, &mut output);
        output.records.iter().for_each(check);
    }
    life.look();
});

/// With topic `t` of three partitions, whose id is 1,001.
fn cluster() -> Cluster {
    let node = NodeId::checked(1).expect("not negative");
    let mut cluster = Cluster::new(node, Arc::new(Configs::new()));
    let broker = Broker { id: node, rack: None, endpoints: vec![] };
    cluster.apply(&Event::BrokerRegistered(broker)).expect("it is the first");
    let topic = NewTopic {
        name: "t",
        partition_count: 3,
        replication_factor: 1,
        assignments: vec![],
        configs: vec![],
        id: TopicId::new(1_001_u128.to_be_bytes()),
    };
    let creation = create_topics(cluster.image(), &[topic]).remove(0);
    cluster.apply(&creation.result.expect("it is sound").event).expect("it is the first");
    cluster
}

fn now(round: u64) -> Now {
    let elapsed_ms = round * ROUND_MS;
    let wall_ms = WALL_MS + i64::try_from(elapsed_ms).expect("there are few rounds");
    Now { moment: Moment::new(elapsed_ms), wall: Timestamp::new(wall_ms) }
}

/// Those that are sound.
fn records(input: &[u8]) -> Vec<GroupRecord> {
    let mut rest = input;
    let mut records = Vec::new();
    while let Some(key) = part(&mut rest) {
        let value = part(&mut rest).unwrap_or_default();
        let Some(key) = key else { continue };
        let Ok(Some(record)) = GroupRecord::decode(key, value) else { continue };
        check(&record);
        records.push(record);
    }
    records
}

/// The next key or value, `None` for a tombstone; or nothing at the end.
fn part<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, tail) = rest.split_first_chunk()?;
    let length = u16::from_be_bytes(*length);
    *rest = tail;
    if length == TOMBSTONE {
        return Some(None);
    }
    let (bytes, tail) = tail.split_at(usize::from(length).min(tail.len()));
    *rest = tail;
    Some(Some(bytes))
}

/// What is written is read.
fn check(record: &GroupRecord) {
    let (key, value) = (record.key(), record.value());
    let read = GroupRecord::decode(&key, value.as_deref());
    assert_eq!(read.as_ref().map(Option::as_ref), Ok(Some(record)));
}

/// What becomes of the groups.
struct Life<'a> {
    coordinator: Coordinator,
    cluster: &'a Cluster,
    round: u64,
    ticket: u64,
}

impl Life<'_> {
    /// The answer, if there is one at once.
    fn ask(&mut self, request: Request) -> (Option<Answer>, Vec<GroupRecord>) {
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        let mut output = Output::default();
        let image = self.cluster.image();
        assert!(self.coordinator.growth(&request) < 1 << 20, "a small request adds little");
        self.coordinator.step(now(self.round), &LIMITS, image, (ticket, request), &mut output);
        output.records.iter().for_each(check);
        let mut answers = output.answers.into_iter();
        let answer = answers.find(|(it, _)| *it == ticket).map(|(_, answer)| answer);
        (answer, output.records)
    }

    fn groups(&mut self) -> Vec<Arc<str>> {
        let (Some(Answer::List(listed)), _) = self.ask(Request::List(Filter::default())) else {
            panic!("a list is answered by a list");
        };
        listed.into_iter().map(|it| it.group).collect()
    }

    /// Everything that can be asked about a group without changing it.
    fn look(&mut self) {
        for group in self.groups() {
            for request in [
                Request::Describe { group: Arc::clone(&group) },
                Request::DescribeConsumer { group: Arc::clone(&group) },
                Request::Fetch(Fetch { group, member: None, partitions: None }),
            ] {
                let (answer, records) = self.ask(request);
                assert!(answer.is_some() && records.is_empty(), "a question changes nothing");
            }
        }
    }

    /// Members come, of both protocols; those that are there come again, and say what they said.
    fn act(&mut self) {
        for group in self.groups() {
            let describe = Request::Describe { group: Arc::clone(&group) };
            let mut joins = vec![
                join(&group, identity("", None), ("consumer", "p"), Bytes::new()),
                join(&group, identity("", Some("i")), ("consumer", "p"), Bytes::new()),
            ];
            if let (Some(Answer::Describe(Some(it))), _) = self.ask(describe) {
                let protocol = (&*it.protocol_type, &*it.protocol);
                joins.extend(it.members.into_iter().map(|member| {
                    let who = Identity { member: member.id, instance: member.instance };
                    join(&group, who, protocol, member.metadata)
                }));
            }
            for join in joins {
                let who = join.identity.clone();
                self.ask(Request::Join(join));
                self.ask(sync(&group, &who));
                self.ask(beat(&group, &who, 0));
                self.ask(beat(&group, &who, 1));
            }
        }
    }
}

fn identity(member: &str, instance: Option<&str>) -> Identity {
    Identity { member: member.into(), instance: instance.map(Into::into) }
}

fn join(
    group: &Arc<str>,
    identity: Identity,
    (protocol_type, protocol): (&str, &str),
    metadata: Bytes,
) -> Join {
    Join {
        group: Arc::clone(group),
        identity,
        client_id: "c".into(),
        client_host: "/h".into(),
        session_ms: 6_000,
        rebalance_ms: 6_000,
        protocol_type: protocol_type.into(),
        protocols: vec![Protocol { name: protocol.into(), metadata }],
        welcome: Welcome::AtOnce,
        leader_again: LeaderAgain::Skips,
        draw: 1,
    }
}

/// As the leader of the first generation, if it is that.
fn sync(group: &Arc<str>, identity: &Identity) -> Request {
    Request::Sync(Sync {
        group: Arc::clone(group),
        identity: identity.clone(),
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: vec![(Arc::clone(&identity.member), Bytes::from_static(b"a"))],
    })
}

fn beat(group: &Arc<str>, identity: &Identity, epoch: i32) -> Request {
    Request::ConsumerHeartbeat(ConsumerHeartbeat {
        group: Arc::clone(group),
        identity: identity.clone(),
        epoch,
        rack: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_ms: Some(6_000),
        names: Some(vec!["t".into()]),
        regex: None,
        assignor: None,
        owned: Some(Assignment::default()),
        naming: Naming::ByBroker,
        timing: LIMITS.consumer.timing,
        draw: 2,
    })
}

fn size<T>(slice: &[T]) -> u64 {
    u64::try_from(slice.len()).expect("it is in memory")
}
