//! Runs a script of one coordinator's groups: one command a line, its answers and records below it.
//!
//! ```text
//! limits KEY=VALUE ...                             members, delay, retention-min, metadata
//! time MS                                          that much later; time-outs come one by one
//! restart                                          a coordinator of the records so far
//! join NAME [WHO] [KEY=VALUE ...]                  NAME is the client's id; WHO the member, if it has an id
//!   in=INSTANCE session=MS rebalance=MS type=T can=P,P:METADATA at-once old group=G
//! sync WHO GENERATION [in=I] [WHO:ASSIGNMENT ...]
//! beat WHO GENERATION [in=I]
//! leave WHO[/INSTANCE] ...
//! commit WHO GENERATION TOPIC/P=OFFSET[:METADATA] ... [keep=MS] [in=I]
//! fetch [TOPIC/P ...]
//! list [state=S] [type=T]   describe   delete   forget TOPIC   drop TOPIC/P ...
//! ```
//! All are of group `g` unless `group=` says otherwise. WHO is `NAME#N`, N the number of the join
//! without WHO that drew its id; `-` is nobody.

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};
use replication::cluster::Cluster;
use replication::config::broker::Configs;
use replication::group::answer::{Answer, JoinRefusal, Joined, Output};
use replication::group::coordinator::Coordinator;
use replication::group::record::{Committed, GroupRecord};
use replication::group::request::{
    Commit, Fetch, Filter, Heartbeat, Identity, Join, LeaderAgain, Leave, OffsetToKeep, Protocol,
    Request, Sync, Welcome,
};
use replication::group::{GroupLimits, Moment, Now, Ticket};
use replication::node::NodeId;

use crate::group_scene::LIMITS;

/// Where the wall clock stands when the other one stands at zero.
const WALL_START_MS: i64 = 1_000_000;

pub(crate) fn run(script: &str) -> String {
    let mut scene = Scene::new();
    let mut out = String::new();
    for line in script.lines().filter(|it| !it.starts_with("  ")) {
        writeln!(out, "{line}").expect("a string takes all");
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((command, rest)) = words.split_first() else { continue };
        if *command != "#" {
            scene.perform(command, &Words(rest));
        }
        out.push_str(&std::mem::take(&mut scene.said));
    }
    out
}

/// The words after a command: plain ones, and those with a key.
struct Words<'a>(&'a [&'a str]);

impl<'a> Words<'a> {
    fn plain(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied().filter(|it| !it.contains('=') || it.contains('/'))
    }

    fn key(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.0.iter().filter_map(|it| it.split_once('='));
        pairs.find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    fn number(&self, key: &str, default: i32) -> i32 {
        self.key(key).map_or(default, |it| it.parse().expect("a number"))
    }

    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn group(&self) -> Arc<str> {
        self.key("group").unwrap_or("g").into()
    }
}

struct Scene {
    /// Without topics: classic groups know none.
    cluster: Cluster,
    coordinator: Coordinator,
    limits: GroupLimits,
    now_ms: u64,
    draws: u128,
    /// Of each ticket, what was asked.
    asked: Vec<String>,
    records: Vec<GroupRecord>,
    said: String,
}

impl Scene {
    fn new() -> Self {
        let limits = GroupLimits {
            session_ms_min: 6_000,
            session_ms_max: 1_800_000,
            members_max: 100,
            initial_delay_ms: 3_000,
            metadata_bytes_max: 20,
            offsets_retention_ms: 60_000,
            retention_check_ms: 10_000,
            consumer: LIMITS.consumer,
        };
        let node = NodeId::checked(1).expect("an id");
        Self {
            cluster: Cluster::new(node, Arc::new(Configs::new())),
            coordinator: Coordinator::default(),
            limits,
            now_ms: 0,
            draws: 0,
            asked: vec![],
            records: vec![],
            said: String::new(),
        }
    }

    fn now(&self) -> Now {
        let wall = WALL_START_MS + i64::try_from(self.now_ms).expect("a short script");
        Now { moment: Moment::new(self.now_ms), wall: Timestamp::new(wall) }
    }

    fn perform(&mut self, command: &str, words: &Words<'_>) {
        let request = match command {
            "limits" => return self.set_limits(words),
            "time" => return self.pass(words.plain().next().expect("a time")),
            "restart" => return self.restart(),
            "join" => self.join(words),
            "sync" => Self::sync(words),
            "beat" => Request::Heartbeat(Heartbeat {
                group: words.group(),
                identity: identity(words),
                generation: generation(words),
            }),
            "leave" => Request::Leave(Leave {
                group: words.group(),
                members: words.plain().map(leaver).collect(),
            }),
            "commit" => Self::commit(words),
            "fetch" => {
                let all: Vec<_> = words.plain().map(topic_partition).collect();
                let partitions = (!all.is_empty()).then_some(all);
                Request::Fetch(Fetch { group: words.group(), member: None, partitions })
            }
            "list" => {
                let filter = |key| words.key(key).map(str::to_owned).into_iter().collect();
                Request::List(Filter { states: filter("state"), types: filter("type") })
            }
            "describe" => Request::Describe { group: words.group() },
            "delete" => Request::Delete { group: words.group() },
            "forget" => Request::ForgetTopics(words.plain().map(Arc::from).collect()),
            "drop" => Request::DeleteOffsets {
                group: words.group(),
                partitions: words.plain().map(topic_partition).collect(),
            },
            other => panic!("no such command: {other}"),
        };
        let name = words.plain().next().unwrap_or(command);
        self.asked.push(format!("{command} {name}"));
        let ticket = Ticket(u64::try_from(self.asked.len()).expect("a short script"));
        let mut output = Output::default();
        let (now, image) = (self.now(), self.cluster.image());
        self.coordinator.step(now, &self.limits, image, (ticket, request), &mut output);
        self.tell(output);
    }

    fn set_limits(&mut self, words: &Words<'_>) {
        self.limits.members_max = usize::try_from(words.number("members", 100)).expect("a count");
        self.limits.initial_delay_ms = words.number("delay", self.limits.initial_delay_ms);
    }

    /// Time-outs come at their own time, not all at the end.
    fn pass(&mut self, ms: &str) {
        let end = self.now_ms + ms.parse::<u64>().expect("a time");
        while let Some(at) = self.coordinator.next_deadline()
            && at.get() <= end
        {
            self.now_ms = self.now_ms.max(at.get());
            let mut output = Output::default();
            let (now, image) = (self.now(), self.cluster.image());
            self.coordinator.on_time(now, &self.limits, image, &mut output);
            if !output.answers.is_empty() || !output.records.is_empty() {
                writeln!(self.said, "  at {} ms", self.now_ms).expect("a string takes all");
            }
            self.tell(output);
        }
        self.now_ms = end;
    }

    /// Through the bytes of all records.
    fn restart(&mut self) {
        self.coordinator = Coordinator::default();
        for record in &self.records {
            let decoded = GroupRecord::decode(&record.key(), record.value().as_deref());
            let decoded = decoded.expect("our own records can be read").expect("and are known");
            assert_eq!(&decoded, record);
            self.coordinator.replay(decoded);
        }
        self.coordinator.begin(self.now(), &self.limits, self.cluster.image());
    }

    fn join(&mut self, words: &Words<'_>) -> Request {
        let mut plain = words.plain();
        let name = plain.next().expect("a client");
        let who = plain.next().filter(|it| it.contains('#'));
        self.draws += u128::from(who.is_none());
        let protocols = words.key("can").unwrap_or("range").split(',');
        let protocols = protocols.filter(|it| !it.is_empty()).map(|it| {
            let (name, metadata) = it.split_once(':').unwrap_or((it, ""));
            Protocol { name: name.into(), metadata: subscription(metadata) }
        });
        Request::Join(Join {
            group: words.group(),
            identity: Identity {
                member: who.map(member_id).unwrap_or_default().into(),
                instance: words.key("in").map(Arc::from),
            },
            client_id: name.into(),
            client_host: "/h".into(),
            session_ms: words.number("session", 10_000),
            rebalance_ms: words.number("rebalance", 60_000),
            protocol_type: words.key("type").unwrap_or("consumer").into(),
            protocols: protocols.collect(),
            welcome: if words.has("at-once") { Welcome::AtOnce } else { Welcome::IdFirst },
            leader_again: if words.has("old") {
                LeaderAgain::IsNotTold
            } else {
                LeaderAgain::Skips
            },
            draw: self.draws,
        })
    }

    fn sync(words: &Words<'_>) -> Request {
        let assignments = words.plain().skip(2).map(|it| {
            let (who, assignment) = it.split_once(':').expect("WHO:ASSIGNMENT");
            (member_id(who).into(), Bytes::copy_from_slice(assignment.as_bytes()))
        });
        Request::Sync(Sync {
            group: words.group(),
            identity: identity(words),
            generation: generation(words),
            protocol_type: words.key("type").map(Arc::from),
            protocol: words.key("protocol").map(Arc::from),
            assignments: assignments.collect(),
        })
    }

    fn commit(words: &Words<'_>) -> Request {
        let offsets = words.plain().skip(2).map(|it| {
            let (place, value) = it.split_once('=').expect("TOPIC/P=OFFSET");
            let (topic, partition) = topic_partition(place);
            let (offset, metadata) = value.split_once(':').unwrap_or((value, ""));
            OffsetToKeep {
                topic,
                partition,
                offset: offset.parse().expect("an offset"),
                leader_epoch: LeaderEpoch::new(0),
                metadata: metadata.into(),
                committed_at: None,
            }
        });
        Request::Commit(Commit {
            group: words.group(),
            identity: identity(words),
            generation: generation(words),
            offsets: offsets.collect(),
            retention_ms: words.key("keep").map(|it| it.parse().expect("a time")),
        })
    }

    fn tell(&mut self, output: Output) {
        for record in output.records {
            writeln!(self.said, "  ++ {}", shown_record(&record)).expect("a string takes all");
            self.records.push(record);
        }
        for (ticket, answer) in output.answers {
            let asked = &self.asked[usize::try_from(ticket.0).expect("a small number") - 1];
            for line in shown_answer(answer) {
                writeln!(self.said, "  -> {asked}: {line}").expect("a string takes all");
            }
        }
    }
}

/// `NAME#N` is the Nth id that was drawn, for NAME.
fn member_id(who: &str) -> String {
    let Some((name, draw)) = who.split_once('#') else {
        return if who == "-" { String::new() } else { who.to_owned() };
    };
    let draw: u128 = draw.parse().expect("a number");
    format!("{name}-00000000-0000-0000-0000-{draw:012x}")
}

fn short_id(id: &str) -> String {
    match id.split_once("-00000000-0000-0000-0000-") {
        Some((name, draw)) => {
            format!("{name}#{}", u128::from_str_radix(draw, 16).expect("hexadecimal"))
        }
        None => id.to_owned(),
    }
}

fn identity(words: &Words<'_>) -> Identity {
    Identity {
        member: member_id(words.plain().next().expect("a member")).into(),
        instance: words.key("in").map(Arc::from),
    }
}

fn leaver(word: &str) -> Identity {
    let (who, instance) = match word.split_once('/') {
        Some((who, instance)) => (who, Some(instance.into())),
        None => (word, None),
    };
    Identity { member: member_id(who).into(), instance }
}

fn generation(words: &Words<'_>) -> i32 {
    words.plain().nth(1).expect("a generation").parse().expect("a number")
}

fn topic_partition(text: &str) -> (Arc<str>, PartitionIndex) {
    let (topic, index) = text.split_once('/').expect("TOPIC/P");
    (topic.into(), PartitionIndex::new(index.parse().expect("a number")))
}

/// `ConsumerProtocolSubscription` of these topics, joined by `+`.
fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split('+').filter(|it| !it.is_empty()).collect();
    let mut bytes = vec![0, 1];
    bytes.extend(i32::try_from(topics.len()).expect("a few").to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).expect("short").to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.into()
}

fn shown_answer(answer: Answer) -> Vec<String> {
    let one = |result: &Result<(), _>| format!("{result:?}");
    match answer {
        Answer::Join(Ok(joined)) => vec![shown_joined(&joined)],
        Answer::Join(Err(JoinRefusal { error, member })) => {
            vec![format!("{error:?} {}", short_id(&member))]
        }
        Answer::Sync(Ok(synced)) => {
            vec![format!("{} {:?}", synced.protocol, synced.assignment)]
        }
        Answer::Sync(Err(error)) => vec![format!("{error:?}")],
        Answer::Heartbeat(result) | Answer::Delete(result) => vec![one(&result)],
        Answer::Leave(results) | Answer::Commit(results) => results.iter().map(one).collect(),
        Answer::DeleteOffsets(Ok(results)) => results.iter().map(one).collect(),
        Answer::DeleteOffsets(Err(error)) => vec![format!("{error:?}")],
        Answer::Fetch(Ok(found)) => {
            let shown = found.iter().map(|it| {
                let place = format!("{}/{}", it.topic, it.partition.get());
                format!(
                    "{place} {}",
                    it.committed.as_ref().map_or_else(|| "none".into(), shown_committed)
                )
            });
            shown.collect()
        }
        Answer::List(listed) => {
            let shown = listed
                .iter()
                .map(|it| format!("{} {} {:?}", it.group, it.state.name(), &*it.protocol_type));
            shown.collect()
        }
        Answer::Describe(None) => vec!["none".into()],
        Answer::Describe(Some(it)) => {
            let mut lines = vec![format!("{} {:?}", it.state.name(), &*it.protocol)];
            lines.extend(it.members.iter().map(|member| {
                let instance = member.instance.as_deref().unwrap_or("-");
                format!("{} {instance} {:?}", short_id(&member.id), member.assignment)
            }));
            lines
        }
        Answer::ForgetTopics => vec![],
        Answer::Fetch(Err(_)) | Answer::ConsumerHeartbeat(_) | Answer::DescribeConsumer(_) => {
            panic!("of the other protocol")
        }
    }
}

fn shown_joined(joined: &Joined) -> String {
    let members: Vec<String> = joined.members.iter().map(|it| short_id(&it.id)).collect();
    let skips = if joined.skips_assignment { " skips" } else { "" };
    format!(
        "generation {} of {} as {}, leader {}, members [{}]{skips}",
        joined.generation,
        joined.protocol,
        short_id(&joined.member),
        short_id(&joined.leader),
        members.join(" ")
    )
}

fn shown_committed(committed: &Committed) -> String {
    let until = committed.expires_at.map(|it| format!(" until {}", it.get() - WALL_START_MS));
    format!("{} {:?}{}", committed.offset, &*committed.metadata, until.unwrap_or_default())
}

fn shown_record(record: &GroupRecord) -> String {
    match record {
        GroupRecord::Offset { group, topic, partition, to } => {
            let to = to.as_ref().map_or_else(|| "gone".into(), shown_committed);
            format!("{group}: {topic}/{} {to}", partition.get())
        }
        GroupRecord::Consumer { .. } => panic!("of the other protocol"),
        GroupRecord::Classic { group, to: None } => format!("{group}: gone"),
        GroupRecord::Classic { group, to: Some(it) } => {
            let members: Vec<String> = it
                .members
                .iter()
                .map(|member| format!("{} {:?}", short_id(&member.id), member.assignment))
                .collect();
            let leader = it.leader.as_deref().map_or_else(|| "nobody".into(), short_id);
            format!(
                "{group}: generation {}, leader {leader}, [{}]",
                it.generation,
                members.join(", ")
            )
        }
    }
}
