//! Runs a script of a group: one command a line, what it answers and writes below it, each after `  -> `.
//!
//! ```text
//! topic NAME COUNT | grow NAME COUNT | drop NAME
//! limits KEY=VALUE ...        members interval session assignor offers migration classic-members
//! wait MS                     time-outs come
//! name NAME                   the id that was made last is $NAME from now on
//! replay                      the coordinator is made anew from its records
//! cut COUNT                   a crash: the last records were not written
//! beat MEMBER EPOCH ...       names= regex= owned=a:0,1;b:2 instance= rack= rebalance= assignor= naming=broker
//!                             group= host=; a join has owned= and rebalance=300000 by itself
//! join MEMBER ...             topics= owned= protocols=range,cooperative client= instance= type= welcome=at-once
//! sync MEMBER GENERATION [gives=ID/a:0,1|ID/a:2] | heart MEMBER GENERATION | leave MEMBER [instance=]
//! commit MEMBER EPOCH TOPIC:PARTITION=OFFSET ... | fetch [MEMBER EPOCH]
//! describe | describe-classic | list [states=] [types=] | delete | delete-offsets TOPIC:PARTITION ...
//! ```
//! The member `_` has no id; `$` has the one that was made last. A value `!` is none at all.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use engine::id::{LeaderEpoch, PartitionIndex, TopicId};
use replication::group::answer::{Answer, Beat, ConsumerDescription, GroupError};
use replication::group::assignment::Assignment;
use replication::group::assignor::Assignor;
use replication::group::consumer_record::ConsumerRecord;
use replication::group::record::GroupRecord;
use replication::group::request::{
    Commit, ConsumerHeartbeat, Fetch, Filter, Heartbeat, Identity, Join, LeaderAgain, Leave,
    Naming, OffsetToKeep, Protocol, Request, Sync, Welcome,
};
use replication::group::{Migration, Ticket};

use crate::group_scene::Scene;

pub(crate) fn run(script: &str) -> String {
    let mut run = Run { scene: Scene::new(), last: "".into(), names: vec![], draws: 0 };
    let mut out = String::new();
    for line in script.lines().filter(|it| !it.starts_with("  -> ")) {
        writeln!(out, "{line}").expect("a string takes all");
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((command, arguments)) = words.split_first() else { continue };
        for answer in run.perform(command, arguments) {
            writeln!(out, "  -> {}", run.with_names(answer)).expect("a string takes all");
        }
    }
    out
}

struct Run {
    scene: Scene,
    last: Arc<str>,
    /// What the script calls an id that was made.
    names: Vec<(String, Arc<str>)>,
    draws: u128,
}

/// The words of a command after its first ones.
struct Options<'a>(&'a [&'a str]);

impl<'a> Options<'a> {
    /// `Some(None)` if it is said to be none.
    fn said(&self, key: &str) -> Option<Option<&'a str>> {
        let values = self.0.iter().filter_map(|it| it.split_once('='));
        let value = values.filter(|it| it.0 == key).map(|it| it.1).next()?;
        Some(Some(value).filter(|it| *it != "!"))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.said(key).flatten()
    }

    fn name(&self, key: &str) -> Option<Arc<str>> {
        self.text(key).map(Arc::from)
    }

    fn names(&self, key: &str) -> Option<Vec<Arc<str>>> {
        let text = self.text(key)?;
        Some(text.split(',').filter(|it| !it.is_empty()).map(Arc::from).collect())
    }

    fn number(&self, key: &str) -> Option<i32> {
        self.text(key).map(|it| it.parse().expect("a number"))
    }
}

fn number(text: &str) -> i32 {
    text.parse().expect("a number")
}

impl Run {
    fn perform(&mut self, command: &str, arguments: &[&str]) -> Vec<String> {
        match (command, arguments) {
            ("#", _) => {}
            ("topic", [name, count]) => self.scene.create(name, number(count)),
            ("grow", [name, count]) => self.scene.grow(name, number(count)),
            ("drop", [name]) => self.scene.delete(name),
            ("limits", options) => self.set_limits(&Options(options)),
            ("replay", _) => self.scene.restart(),
            ("cut", [count]) => {
                let end = self.scene.log.len() - usize::try_from(number(count)).expect("a count");
                self.scene.log.truncate(end);
                self.scene.restart();
            }
            ("name", [name]) => self.names.push((format!("${name}"), Arc::clone(&self.last))),
            ("wait", [ms]) => {
                let (answers, records) = self.scene.wait(ms.parse().expect("a number"));
                return self.shown(&answers, &records);
            }
            _ => {
                let request = self.request(command, arguments);
                let (answers, records) = self.scene.send(request);
                return self.shown(&answers, &records);
            }
        }
        vec![]
    }

    fn set_limits(&mut self, options: &Options<'_>) {
        let limits = &mut self.scene.limits;
        let consumer = &mut limits.consumer;
        let count = |key| options.number(key).map(|it| usize::try_from(it).expect("a count"));
        consumer.members_max = count("members").unwrap_or(consumer.members_max);
        limits.members_max = count("classic-members").unwrap_or(limits.members_max);
        let timing = &mut consumer.timing;
        timing.session_ms = options.number("session").unwrap_or(timing.session_ms);
        timing.assignment_interval_ms =
            options.number("interval").unwrap_or(timing.assignment_interval_ms);
        if let Some(name) = options.text("assignor") {
            consumer.assignor = Assignor::of_name(name).expect("an assignor");
        }
        if let Some(offers) = options.text("offers") {
            consumer.offers_all_assignors = offers == "all";
        }
        match options.text("migration") {
            Some("both") => consumer.migration = Migration::Bidirectional,
            Some("up") => consumer.migration = Migration::Upgrade,
            Some("down") => consumer.migration = Migration::Downgrade,
            Some("off") => consumer.migration = Migration::Disabled,
            _ => {}
        }
    }

    fn request(&mut self, command: &str, arguments: &[&str]) -> Request {
        let group: Arc<str> = "g".into();
        match (command, arguments) {
            ("beat", [member, epoch, options @ ..]) => {
                Request::ConsumerHeartbeat(self.beat(member, number(epoch), &Options(options)))
            }
            ("join", [member, options @ ..]) => Request::Join(self.join(member, &Options(options))),
            ("sync", [member, generation, options @ ..]) => Request::Sync(Sync {
                group,
                identity: self.identity(member, &Options(options)),
                generation: number(generation),
                protocol_type: Options(options).name("type"),
                protocol: Options(options).name("protocol"),
                assignments: self.given(Options(options).text("gives").unwrap_or_default()),
            }),
            ("heart", [member, generation, options @ ..]) => Request::Heartbeat(Heartbeat {
                group,
                identity: self.identity(member, &Options(options)),
                generation: number(generation),
            }),
            ("leave", [member, options @ ..]) => Request::Leave(Leave {
                group,
                members: vec![self.identity(member, &Options(options))],
            }),
            ("commit", [member, epoch, offsets @ ..]) => Request::Commit(Commit {
                group,
                identity: self.identity(member, &Options(&[])),
                generation: number(epoch),
                offsets: offsets.iter().map(|it| new_offset(it)).collect(),
                retention_ms: None,
            }),
            ("fetch", who) => Request::Fetch(Fetch {
                group,
                member: who.split_first().map(|(id, epoch)| (self.id(id), number(epoch[0]))),
                partitions: None,
            }),
            ("describe", _) => Request::DescribeConsumer { group },
            ("describe-classic", _) => Request::Describe { group },
            ("delete", _) => Request::Delete { group },
            ("delete-offsets", partitions) => Request::DeleteOffsets {
                group,
                partitions: partitions.iter().map(|it| partition(it)).collect(),
            },
            ("list", options) => {
                let wanted = |key| {
                    let names = Options(options).names(key).unwrap_or_default();
                    names.iter().map(|it| it.to_string()).collect()
                };
                Request::List(Filter { states: wanted("states"), types: wanted("types") })
            }
            _ => panic!("no such command: {command} {arguments:?}"),
        }
    }

    fn id(&self, word: &str) -> Arc<str> {
        match word {
            "_" => "".into(),
            "$" => Arc::clone(&self.last),
            id => {
                let named = self.names.iter().find(|it| it.0 == id);
                named.map_or_else(|| id.into(), |it| Arc::clone(&it.1))
            }
        }
    }

    fn with_names(&self, text: String) -> String {
        self.names.iter().fold(text, |text, (name, id)| text.replace(&**id, name))
    }

    fn identity(&self, member: &str, options: &Options<'_>) -> Identity {
        Identity { member: self.id(member), instance: options.name("instance") }
    }

    fn beat(&mut self, member: &str, epoch: i32, options: &Options<'_>) -> ConsumerHeartbeat {
        self.draws += 1;
        let is_join = epoch == 0;
        let owned = options.said("owned").unwrap_or_else(|| is_join.then_some(""));
        let rebalance = options.said("rebalance").unwrap_or_else(|| is_join.then_some("300000"));
        ConsumerHeartbeat {
            group: options.name("group").unwrap_or_else(|| "g".into()),
            identity: self.identity(member, options),
            epoch,
            rack: options.name("rack"),
            client_id: "c".into(),
            client_host: options.name("host").unwrap_or_else(|| "/h".into()),
            rebalance_ms: rebalance.map(number),
            names: options.names("names"),
            regex: options.name("regex"),
            assignor: options.name("assignor"),
            owned: owned.map(|it| self.assignment(it)),
            naming: match options.text("naming") {
                Some("broker") => Naming::ByBroker,
                _ => Naming::ByMember,
            },
            timing: self.scene.limits.consumer.timing,
            draw: self.draws,
        }
    }

    fn join(&mut self, member: &str, options: &Options<'_>) -> Join {
        self.draws += 1;
        let topics = options.names("topics").unwrap_or_default();
        let metadata = subscription(&topics, options.text("owned").unwrap_or(""));
        let names = options.names("protocols").unwrap_or_else(|| vec!["range".into()]);
        let protocol = |name| Protocol { name, metadata: metadata.clone() };
        Join {
            group: "g".into(),
            identity: self.identity(member, options),
            client_id: options.name("client").unwrap_or_else(|| "c".into()),
            client_host: "/h".into(),
            session_ms: 10_000,
            rebalance_ms: 60_000,
            protocol_type: options.name("type").unwrap_or_else(|| "consumer".into()),
            protocols: names.into_iter().map(protocol).collect(),
            welcome: match options.text("welcome") {
                Some("at-once") => Welcome::AtOnce,
                _ => Welcome::IdFirst,
            },
            leader_again: LeaderAgain::Skips,
            draw: self.draws,
        }
    }

    fn assignment(&self, text: &str) -> Assignment {
        let topics = text.split(';').filter(|it| !it.is_empty());
        let partitions = topics.flat_map(|it| {
            let (name, partitions) = it.split_once(':').expect("TOPIC:PARTITIONS");
            let id = self.scene.topic_id(name).unwrap_or(TopicId::new([0xff; 16]));
            partitions.split(',').map(move |it| (id, partition_index(it)))
        });
        partitions.collect()
    }

    /// What a classic leader gives: `ID/TOPIC:PARTITIONS|...`.
    fn given(&self, text: &str) -> Vec<(Arc<str>, Bytes)> {
        let members = text.split('|').filter_map(|it| it.split_once('/'));
        members.map(|(id, partitions)| (self.id(id), assignment_bytes(partitions))).collect()
    }

    // What is shown.

    fn shown(&mut self, answers: &[(Ticket, Answer)], records: &[GroupRecord]) -> Vec<String> {
        let mut shown: Vec<_> = answers.iter().flat_map(|it| self.answer(&it.1)).collect();
        if !records.is_empty() {
            let records: Vec<_> = records.iter().map(record).collect();
            shown.push(format!("writes {}", records.join(" ")));
        }
        shown
    }

    fn answer(&mut self, answer: &Answer) -> Vec<String> {
        let each = |it: &[Result<(), GroupError>]| it.iter().map(done).collect::<Vec<_>>();
        match answer {
            Answer::ConsumerHeartbeat(Ok(beat)) => vec![self.beaten(beat)],
            Answer::Join(Ok(joined)) => {
                self.last = Arc::clone(&joined.member);
                let leads = if joined.leader == joined.member { ", leads" } else { "" };
                let (id, generation) = (&joined.member, joined.generation);
                vec![format!("{id} joined, generation {generation}, {}{leads}", joined.protocol)]
            }
            Answer::Join(Err(refusal)) => {
                self.last = Arc::clone(&refusal.member);
                vec![format!("{:?} {}", refusal.error, refusal.member)]
            }
            Answer::Sync(Ok(synced)) => vec![format!("has {}", embedded(&synced.assignment))],
            Answer::Heartbeat(result) | Answer::Delete(result) => vec![done(result)],
            Answer::Leave(results)
            | Answer::Commit(results)
            | Answer::DeleteOffsets(Ok(results)) => each(results),
            Answer::Fetch(Ok(found)) => {
                let offsets = found.iter().filter_map(|it| {
                    let offset = it.committed.as_ref()?.offset;
                    Some(format!("{}:{}={offset}", it.topic, it.partition.get()))
                });
                vec![offsets.collect::<Vec<_>>().join(" ")]
            }
            Answer::ConsumerHeartbeat(Err(error))
            | Answer::Sync(Err(error))
            | Answer::DeleteOffsets(Err(error))
            | Answer::Fetch(Err(error)) => vec![format!("{error:?}")],
            Answer::List(listed) => {
                let shown = |it: &replication::group::answer::Listed| {
                    let (state, kind) = (it.state.name(), it.kind.name());
                    format!("{} {} {state} {kind}", it.group, it.protocol_type)
                };
                listed.iter().map(shown).collect()
            }
            Answer::Describe(None) | Answer::DescribeConsumer(None) => vec!["no such group".into()],
            Answer::Describe(Some(it)) => vec![format!("{} {}", it.state.name(), it.protocol)],
            Answer::DescribeConsumer(Some(group)) => self.description(group),
            Answer::ForgetTopics => vec![],
        }
    }

    fn beaten(&mut self, beat: &Beat) -> String {
        self.last = Arc::clone(&beat.member);
        let assignment = match &beat.assignment {
            None => "as before".to_owned(),
            Some(assignment) => format!("has {}", self.partitions(assignment)),
        };
        format!("{} at epoch {}, {assignment}", beat.member, beat.epoch)
    }

    fn partitions(&self, assignment: &Assignment) -> String {
        let topics = assignment.topics().map(|(topic, partitions)| {
            let partitions: Vec<_> = partitions.iter().map(|it| it.get().to_string()).collect();
            format!("{}:{}", self.scene.topic_name(topic), partitions.join(","))
        });
        let topics: Vec<_> = topics.collect();
        if topics.is_empty() { "nothing".to_owned() } else { topics.join(";") }
    }

    fn description(&self, group: &ConsumerDescription) -> Vec<String> {
        let (state, assignor) = (group.state.name(), group.assignor.name());
        let (epoch, target) = (group.epoch, group.target_epoch);
        let head = format!("{state}, epoch {epoch}, target of {target}, {assignor}");
        let members = group.members.iter().map(|it| {
            let (assigned, target) = (self.partitions(&it.assigned), self.partitions(&it.target));
            let kind = if it.profile.classic.is_some() { " classic" } else { "" };
            let instance = it.profile.instance.as_ref().map(|it| format!(" as {it}"));
            let instance = instance.unwrap_or_default();
            format!("{}{instance}{kind} at {}: {assigned} of {target}", it.id, it.epoch)
        });
        std::iter::once(head).chain(members).collect()
    }
}

fn done(result: &Result<(), GroupError>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |()| "done".to_owned())
}

fn record(record: &GroupRecord) -> String {
    let sign = if record.value().is_none() { "-" } else { "" };
    match record {
        GroupRecord::Offset { topic, partition, .. } => {
            format!("{sign}offset:{topic}:{}", partition.get())
        }
        GroupRecord::Classic { .. } => format!("{sign}classic"),
        GroupRecord::Consumer { record, .. } => match record {
            ConsumerRecord::Group(_) => format!("{sign}group"),
            ConsumerRecord::TargetEpoch(_) => format!("{sign}target-epoch"),
            ConsumerRecord::Member { member, .. } => format!("{sign}member:{member}"),
            ConsumerRecord::Target { member, .. } => format!("{sign}target:{member}"),
            ConsumerRecord::Current { member, .. } => format!("{sign}current:{member}"),
            ConsumerRecord::Regex { regex, .. } => format!("{sign}regex:{regex}"),
        },
    }
}

fn partition_index(text: &str) -> PartitionIndex {
    PartitionIndex::new(text.parse().expect("a partition"))
}

fn partition(text: &str) -> (Arc<str>, PartitionIndex) {
    let (topic, partition) = text.split_once(':').expect("TOPIC:PARTITION");
    (topic.into(), partition_index(partition))
}

fn new_offset(text: &str) -> OffsetToKeep {
    let (place, offset) = text.split_once('=').expect("TOPIC:PARTITION=OFFSET");
    let (topic, partition) = partition(place);
    OffsetToKeep {
        topic,
        partition,
        offset: offset.parse().expect("an offset"),
        leader_epoch: LeaderEpoch::NONE,
        metadata: "".into(),
        committed_at: None,
    }
}

/// `ConsumerProtocolSubscription`, version 3.
pub(crate) fn subscription(topics: &[Arc<str>], owned: &str) -> Bytes {
    let mut out = 3_i16.to_be_bytes().to_vec();
    put_count(&mut out, topics.len());
    topics.iter().for_each(|it| put_text(&mut out, it));
    out.extend((-1_i32).to_be_bytes());
    put_partitions(&mut out, owned);
    out.extend((-1_i32).to_be_bytes());
    out.extend((-1_i16).to_be_bytes());
    out.into()
}

fn put_partitions(out: &mut Vec<u8>, text: &str) {
    let topics: Vec<_> = text.split(';').filter_map(|it| it.split_once(':')).collect();
    put_count(out, topics.len());
    for (topic, partitions) in topics {
        put_text(out, topic);
        let partitions: Vec<_> = partitions.split(',').map(number).collect();
        put_count(out, partitions.len());
        partitions.iter().for_each(|it| out.extend(it.to_be_bytes()));
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(i32::try_from(count).expect("a few").to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
    out.extend(text.as_bytes());
}

/// `ConsumerProtocolAssignment`, version 3, of `TOPIC:PARTITIONS;...`.
pub(crate) fn assignment_bytes(partitions: &str) -> Bytes {
    let mut out = 3_i16.to_be_bytes().to_vec();
    put_partitions(&mut out, partitions);
    out.extend((-1_i32).to_be_bytes());
    out.into()
}

/// The partitions of a `ConsumerProtocolAssignment`, whatever their topics.
pub(crate) fn read_assignment(bytes: &[u8]) -> BTreeSet<u32> {
    let topics = topics_of(bytes);
    topics.into_iter().flat_map(|it| it.1).map(|it| u32::try_from(it).expect("small")).collect()
}

fn embedded(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "no bytes".to_owned();
    }
    let topics = topics_of(bytes).into_iter().map(|(name, partitions)| {
        let partitions: Vec<_> = partitions.iter().map(usize::to_string).collect();
        format!("{name}:{}", partitions.join(","))
    });
    let topics: Vec<_> = topics.collect();
    if topics.is_empty() { "nothing".to_owned() } else { topics.join(";") }
}

fn topics_of(mut bytes: &[u8]) -> Vec<(String, Vec<usize>)> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at(count);
        bytes = rest;
        taken.iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    take(2);
    let mut topics = Vec::new();
    for _ in 0..take(4) {
        let length = take(2);
        let name = (0..length).map(|_| char::from(take(1).to_be_bytes()[7])).collect();
        topics.push((name, (0..take(4)).map(|_| take(4)).collect()));
    }
    topics
}
