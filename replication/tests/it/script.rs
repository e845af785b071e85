//! Runs a script: one command a line, its answers below it, each after `  -> `. It knows the
//! commands' words only.
//!
//! ```text
//! node [KEY=VALUE ...]                      a fresh node 1, whose file says so
//! broker ID                                 registers another broker
//! create TOPIC [+ TOPIC ...]                TOPIC: NAME [partitions=N] [factor=N]
//! [assign=P:N,N;P:N] [KEY[=VALUE] ...] validate TOPIC [+ ...]                    as create, and
//! nothing is created
//! auto NAME ...                             as Metadata for all of them
//! delete NAME|id:N|NAME/id:N [+ ...]        id:N is the id of the Nth topic created, id:0 the zero
//! id grow NAME TOTAL [N,N;N] [+ ...]
//! alter RESOURCE [OPERATION:KEY[=VALUE] ...] [+ ...]   OPERATION: set delete append subtract, or a
//! number replace RESOURCE [KEY[=VALUE] ...] [+ ...]
//! describe RESOURCE [KEY ...]               the entries of these keys, or how many there are
//! ```
//! RESOURCE is `topic:`, `broker:`, `logger:`, `metrics:`, `group:` or a number, and a name. Words
//! may be in quotes.

use std::fmt::Write;
use std::sync::Arc;

use engine::id::TopicId;
use replication::cluster::Cluster;
use replication::config::alter::{Alteration, Change, Replacement, alter, replace};
use replication::config::broker::Configs;
use replication::config::describe::{Entry, describe};
use replication::event::Event;
use replication::node::{Broker, NodeId};
use replication::refusal::Refusal;
use replication::topics::{
    MorePartitions, NewTopic, TopicRef, auto_create, create_partitions, create_topics,
    delete_topics,
};

pub(crate) fn run(script: &str) -> String {
    let mut scene = Scene::new(&[]);
    let mut out = String::new();
    for line in script.lines().filter(|it| !it.starts_with("  -> ")) {
        writeln!(out, "{line}").expect("a string takes all");
        let words = words(line);
        let Some((command, arguments)) = words.split_first() else { continue };
        for answer in scene.perform(command, arguments) {
            writeln!(out, "  -> {answer}").expect("a string takes all");
        }
    }
    out
}

struct Scene {
    cluster: Cluster,
    created: u128,
}

impl Scene {
    fn new(file: &[String]) -> Self {
        let file: Configs = file
            .iter()
            .map(|it| pair(it))
            .map(|(key, value)| (key.to_owned(), value.expect("a value").to_owned()))
            .collect();
        let mut scene = Self { cluster: Cluster::new(node(1), Arc::new(file)), created: 0 };
        scene.register(1);
        scene
    }

    fn register(&mut self, id: i32) {
        let broker = Broker { id: node(id), rack: None, endpoints: vec![] };
        self.apply(&Event::BrokerRegistered(broker));
    }

    fn apply(&mut self, event: &Event) {
        let mut bytes = vec![];
        event.encode(&mut bytes);
        let event = Event::decode(&bytes).expect("decodes");
        self.cluster.apply(&event).expect("a command's event applies");
    }

    fn perform(&mut self, command: &str, arguments: &[String]) -> Vec<String> {
        let parts: Vec<&[String]> = arguments.split(|it| it == "+").collect();
        match command {
            "#" => vec![],
            "node" => {
                *self = Self::new(arguments);
                vec![]
            }
            "broker" => {
                self.register(arguments[0].parse().expect("an id"));
                vec![]
            }
            "create" => self.create(&parts, true),
            "validate" => self.create(&parts, false),
            "auto" => self.auto(arguments),
            "delete" => self.delete(&parts),
            "grow" => self.grow(&parts),
            "alter" => self.alter(&parts),
            "replace" => self.replace(&parts),
            "describe" => self.describe(&arguments[0], &arguments[1..]),
            other => panic!("no such command: {other}"),
        }
    }

    /// Applies an event, and shows it.
    fn outcome(&mut self, name: &str, result: Result<Option<Event>, Refusal>) -> String {
        match result {
            Err(refusal) => refused(name, &refusal),
            Ok(None) => format!("{name}: nothing to change"),
            Ok(Some(event)) => {
                self.apply(&event);
                format!("{name}: {}", shown(&event))
            }
        }
    }

    fn create(&mut self, parts: &[&[String]], is_for_good: bool) -> Vec<String> {
        let topics: Vec<NewTopic<'_>> = parts
            .iter()
            .map(|words| {
                self.created += 1;
                new_topic(words, topic_id(self.created))
            })
            .collect();
        let creations = create_topics(self.cluster.image(), &topics);
        creations
            .into_iter()
            .map(|creation| match creation.result {
                Ok(created) if is_for_good => {
                    let answer = self.outcome(&creation.name, Ok(Some(created.event)));
                    format!("{answer} ({}x{})", created.partition_count, created.replication_factor)
                }
                result => result.map_or_else(
                    |refusal| refused(&creation.name, &refusal),
                    |_| format!("{}: could be created", creation.name),
                ),
            })
            .collect()
    }

    fn auto(&mut self, names: &[String]) -> Vec<String> {
        let draw_id = || {
            self.created += 1;
            topic_id(self.created)
        };
        let creations = auto_create(self.cluster.image(), names, draw_id);
        creations
            .into_iter()
            .map(|it| self.outcome(&it.name, it.result.map(|created| Some(created.event))))
            .collect()
    }

    fn delete(&mut self, parts: &[&[String]]) -> Vec<String> {
        let topics: Vec<TopicRef<'_>> = parts
            .iter()
            .map(|words| {
                let word = words[0].as_str();
                let (name, id) = match (word.strip_prefix("id:"), word.split_once("/id:")) {
                    (Some(id), _) => (None, id),
                    (None, Some((name, id))) => (Some(name), id),
                    (None, None) => (Some(word), "0"),
                };
                TopicRef { name, id: topic_id(id.parse().expect("a number")) }
            })
            .collect();
        let deletions = delete_topics(self.cluster.image(), &topics);
        deletions
            .into_iter()
            .map(|deletion| {
                let name = deletion.name.unwrap_or_else(|| "null".to_owned());
                let id = u128::from_be_bytes(deletion.id.get());
                self.outcome(&format!("{name}/id:{id}"), deletion.result.map(Some))
            })
            .collect()
    }

    fn grow(&mut self, parts: &[&[String]]) -> Vec<String> {
        let topics: Vec<MorePartitions<'_>> = parts
            .iter()
            .map(|words| MorePartitions {
                name: &words[0],
                partition_count: words[1].parse().expect("a number"),
                assignments: words
                    .get(2)
                    .map(|it| it.split(';').filter(|it| !it.is_empty()).map(nodes).collect()),
            })
            .collect();
        let growths = create_partitions(self.cluster.image(), &topics);
        growths.into_iter().map(|it| self.outcome(&it.name, it.result.map(Some))).collect()
    }

    fn alter(&mut self, parts: &[&[String]]) -> Vec<String> {
        let request: Vec<Alteration<'_>> = parts
            .iter()
            .map(|words| {
                let (resource_type, resource_name) = resource(&words[0]);
                let changes = words[1..]
                    .iter()
                    .map(|word| {
                        let (operation, rest) = word.split_once(':').expect("OPERATION:KEY=VALUE");
                        let (key, value) = pair(rest);
                        Change { key, operation: operation_id(operation), value }
                    })
                    .collect();
                Alteration { resource_type, resource_name, changes }
            })
            .collect();
        let outcomes = alter(self.cluster.image(), &request);
        parts
            .iter()
            .zip(outcomes)
            .map(|(words, outcome)| self.outcome(&words[0], outcome))
            .collect()
    }

    fn replace(&mut self, parts: &[&[String]]) -> Vec<String> {
        let request: Vec<Replacement<'_>> = parts
            .iter()
            .map(|words| {
                let (resource_type, resource_name) = resource(&words[0]);
                Replacement {
                    resource_type,
                    resource_name,
                    configs: words[1..].iter().map(|it| pair(it)).collect(),
                }
            })
            .collect();
        let outcomes = replace(self.cluster.image(), &request);
        parts
            .iter()
            .zip(outcomes)
            .map(|(words, outcome)| self.outcome(&words[0], outcome))
            .collect()
    }

    fn describe(&self, name: &str, keys: &[String]) -> Vec<String> {
        let (resource_type, resource_name) = resource(name);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match describe(self.cluster.image(), resource_type, resource_name, &keys) {
            Err(refusal) => vec![refused(name, &refusal)],
            Ok(entries) if keys.is_empty() => vec![format!("{} configs", entries.len())],
            Ok(entries) => entries.iter().map(entry).collect(),
        }
    }
}

fn new_topic(words: &[String], id: TopicId) -> NewTopic<'_> {
    let mut topic = NewTopic {
        name: &words[0],
        partition_count: -1,
        replication_factor: -1,
        assignments: vec![],
        configs: vec![],
        id,
    };
    for word in &words[1..] {
        match pair(word) {
            ("partitions", Some(count)) => topic.partition_count = count.parse().expect("a number"),
            ("factor", Some(factor)) => {
                topic.replication_factor = factor.parse().expect("a number");
            }
            ("assign", Some(text)) => {
                topic.assignments = text
                    .split(';')
                    .map(|it| {
                        let (partition, text) = it.split_once(':').expect("P:N,N");
                        (partition.parse().expect("a number"), nodes(text))
                    })
                    .collect();
            }
            config => topic.configs.push(config),
        }
    }
    topic
}

fn nodes(text: &str) -> Vec<i32> {
    text.split(',').filter(|it| !it.is_empty()).map(|it| it.parse().expect("a number")).collect()
}

fn node(id: i32) -> NodeId {
    NodeId::checked(id).expect("not negative")
}

/// Far from the metadata's own.
fn topic_id(number: u128) -> TopicId {
    let raw = if number == 0 { 0 } else { number << 64 };
    TopicId::new(raw.to_be_bytes())
}

fn operation_id(word: &str) -> i8 {
    match word {
        "set" => 0,
        "delete" => 1,
        "append" => 2,
        "subtract" => 3,
        number => number.parse().expect("a number"),
    }
}

fn resource(word: &str) -> (i8, &str) {
    let (kind, name) = word.split_once(':').expect("KIND:NAME");
    let id = match kind {
        "topic" => 2,
        "broker" => 4,
        "logger" => 8,
        "metrics" => 16,
        "group" => 32,
        number => number.parse().expect("a number"),
    };
    (id, name)
}

fn pair(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)))
}

fn refused(name: &str, refusal: &Refusal) -> String {
    format!("{name}: {:?} \"{}\"", refusal.reason, refusal.message)
}

fn shown(event: &Event) -> String {
    let nodes = |assignments: &[Vec<NodeId>]| {
        let each =
            |it: &Vec<NodeId>| it.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match assignments {
            many if 9 < many.len() => format!("{} partitions", many.len()),
            few => few.iter().map(each).collect::<Vec<_>>().join(";"),
        }
    };
    match event {
        Event::TopicCreated { configs, assignments, .. } => {
            format!("created on {} {configs:?}", nodes(assignments))
        }
        Event::TopicDeleted { .. } => "deleted".to_owned(),
        Event::PartitionsAdded { assignments, .. } => format!("added on {}", nodes(assignments)),
        Event::TopicConfigsChanged { changes, .. }
        | Event::BrokerConfigsChanged { changes, .. }
        | Event::GroupConfigsChanged { changes, .. } => {
            let change = |it: &replication::event::ConfigChange| match &it.value {
                Some(value) => format!("{}=\"{value}\"", it.key),
                None => format!("{} to its default", it.key),
            };
            changes.iter().map(change).collect::<Vec<_>>().join(", ")
        }
        other => format!("{other:?}"),
    }
}

fn entry(entry: &Entry) -> String {
    let value = |it: &Option<String>| {
        it.as_ref().map_or_else(|| "null".to_owned(), |it| format!("\"{it}\""))
    };
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|it| format!("{}={} {}", it.name, value(&it.value), it.source.id()))
        .collect();
    format!(
        "{}={} source {} type {}{}{} [{}] {}",
        entry.name,
        value(&entry.value),
        entry.source.id(),
        entry.kind_id(),
        if entry.is_read_only { " read-only" } else { "" },
        if entry.is_sensitive { " sensitive" } else { "" },
        synonyms.join(", "),
        entry.documentation(),
    )
}

fn words(line: &str) -> Vec<String> {
    if line.starts_with('#') {
        return vec!["#".to_owned()];
    }
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}
