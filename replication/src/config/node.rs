//! One node's configuration, from its file and command line: typed, and with an opinion on every
//! key.
//!
//! It opens nothing and looks up no name. Either every key is sound, or the answer is the list of
//! all that are not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::broker::{Configs, Layers};
use crate::config::broker_keys::{broker_key, broker_keys, listener_key};
use crate::config::definition::{Treatment, split};
use crate::config::listener::{Address, Listener, ListenerSettings, address, listeners};
use crate::config::nearest::nearest;
use crate::config::properties::Property;
use crate::config::topic_keys::topic_key;
use crate::limits::{CORES_MAX, HOST_BYTES_MAX};
use crate::node::NodeId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub node: NodeId,
    pub rack: Option<Arc<str>>,
    /// `None`: drawn when the data directory is made.
    pub cluster_id: Option<String>,
    pub data_dir: String,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Of metrics and health. `None`: not served.
    pub http: Option<Address>,
    pub cores: Cores,
    /// `None`: a part of the machine's.
    pub memory_bytes: Option<u64>,
    /// Of the data directory's file system: with less nothing is appended. `None`: a part of it.
    pub free_bytes_min: Option<u64>,
    /// All that was set, for [`Layers::file`].
    pub file: Arc<Configs>,
    /// What was set and does nothing, to be said at start.
    pub without_effect: Vec<Idle>,
}

/// Which cores to run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All that the process may use.
    All,
    Count(u16),
    /// In ascending order.
    These(Vec<u16>),
}

/// A key that was accepted and does nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    pub key: String,
    pub reason: &'static str,
}

/// A key that keeps the node from starting. Its text names key and line, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    /// 0 for one from the command line, or a default.
    pub line: u32,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.key, self.message),
            line => write!(f, "line {line}: {}: {}", self.key, self.message),
        }
    }
}

/// What becomes of one line of a `server.properties`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Honoured,
    NoEffect(&'static str),
    /// Known, but turned away, or its value is wrong.
    Refused(String),
    /// No such key; the text may name the one that was meant.
    Unknown(String),
}

/// The verdict on one key and value, without regard to any other.
#[must_use]
pub fn judge(key: &str, value: &str) -> Verdict {
    if let Some(reason) = listener_key(key) {
        return Verdict::Refused(reason.to_owned());
    }
    let Some(definition) = broker_key(key) else { return Verdict::Unknown(stranger(key)) };
    match (definition.canonical(value), definition.treatment) {
        (Err(fault), _) => Verdict::Refused(fault.0),
        (Ok(_), Treatment::NoEffect(reason)) => Verdict::NoEffect(reason),
        (Ok(_), _) => Verdict::Honoured,
    }
}

impl NodeConfig {
    /// `overrides` (of the command line) beat the file; within each, the last of a repeated key
    /// holds.
    ///
    /// # Errors
    /// Every problem there is, in the order of the lines.
    pub fn from_properties(
        properties: &[Property],
        overrides: &[(String, String)],
    ) -> Result<Self, Vec<Problem>> {
        let mut winners: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
        winners.extend(properties.iter().map(|it| (it.key.as_str(), (it.value.as_str(), it.line))));
        winners.extend(overrides.iter().map(|(key, value)| (key.as_str(), (value.as_str(), 0))));

        let mut problems = vec![];
        let mut without_effect = vec![];
        let mut file = Configs::new();
        for (&key, &(value, line)) in &winners {
            match judge(key, value) {
                Verdict::Honoured => {}
                Verdict::NoEffect(reason) => {
                    without_effect.push(Idle { key: key.to_owned(), reason });
                }
                Verdict::Refused(message) | Verdict::Unknown(message) => {
                    problems.push(Problem { key: key.to_owned(), line, message });
                    continue;
                }
            }
            let definition = broker_key(key).expect("judged to be known");
            let canonical = definition.canonical(value).expect("judged to be sound");
            file.insert(key.to_owned(), canonical);
        }
        let layers = Layers { file: Arc::new(file), ..Layers::default() };
        let line = |key: &str| winners.get(key).map_or(0, |&(_, line)| line);
        let config = Self::typed(&layers, without_effect).map_err(|faults| {
            let problem = |(key, message): (&'static str, String)| Problem {
                key: key.to_owned(),
                line: line(key),
                message,
            };
            problems.extend(faults.into_iter().map(problem));
        });
        problems.sort_by_key(|it| it.line);
        config.ok().filter(|_| problems.is_empty()).ok_or(problems)
    }

    fn typed(
        layers: &Layers,
        without_effect: Vec<Idle>,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = vec![];
        let value = |key| layers.value(key).filter(|it| !it.is_empty());
        let listeners = listeners(ListenerSettings {
            listeners: value("listeners").unwrap_or_default(),
            advertised: value("advertised.listeners").unwrap_or_default(),
            protocols: value("listener.security.protocol.map").unwrap_or_default(),
            controllers: value("controller.listener.names").unwrap_or_default(),
        });
        let directories = split(value("log.dirs").or_else(|| value("log.dir")).unwrap_or_default());
        if directories.len() != 1 {
            let message =
                "exactly one data directory is supported: stripe the disks below it (RAID, LVM)";
            faults.push(("log.dirs", message.to_owned()));
        }
        if let (Some(id), Some(old)) = (layers.file.get("node.id"), layers.file.get("broker.id"))
            && id != old
        {
            faults.push((
                "broker.id",
                format!("it is {old}, but node.id is {id}: remove one of them"),
            ));
        }
        for key in ["broker.rack", "odradek.cluster.id"] {
            if value(key).is_some_and(|it| HOST_BYTES_MAX < it.len()) {
                faults.push((key, format!("it is longer than {HOST_BYTES_MAX} bytes")));
            }
        }
        let mut keep = |key, what: &str| {
            faults.push((key, format!("\"{}\" is not {what}", value(key).unwrap_or_default())));
        };
        let http = value("odradek.http.listener").map(|text| {
            address(text).or_else(|| {
                keep("odradek.http.listener", "host:port");
                None
            })
        });
        let cores = cores(value("odradek.cores").unwrap_or_default());
        if cores.is_none() {
            keep("odradek.cores", "a number of cores (4) or a list of them (0-3,6)");
        }
        let memory = value("odradek.memory").map(bytes);
        if memory == Some(None) {
            keep("odradek.memory", "a number of bytes, KiB, MiB or GiB, such as 2GiB");
        }
        let free = value("odradek.disk.free.min").map(bytes);
        if free == Some(None) {
            keep("odradek.disk.free.min", "a number of bytes, KiB, MiB or GiB, such as 2GiB");
        }
        let id = value("node.id").and_then(|it| it.parse().ok()).and_then(NodeId::checked);
        match (listeners, cores, id, directories.first()) {
            (Ok(listeners), Some(cores), Some(node), Some(data_dir)) if faults.is_empty() => {
                Ok(Self {
                    node,
                    rack: value("broker.rack").map(Arc::from),
                    cluster_id: value("odradek.cluster.id").map(str::to_owned),
                    data_dir: (*data_dir).to_owned(),
                    listeners,
                    http: http.flatten(),
                    cores,
                    memory_bytes: memory.flatten(),
                    free_bytes_min: free.flatten(),
                    file: Arc::clone(&layers.file),
                    without_effect,
                })
            }
            (listeners, ..) => {
                faults.extend(listeners.err());
                Err(faults)
            }
        }
    }
}

fn stranger(key: &str) -> String {
    if let Some(name) = topic_key(key).and_then(|it| it.synonyms.first()).map(|it| it.key) {
        return format!("this is a topic's config; the default for all topics is {name}");
    }
    if topic_key(key).is_some() {
        return "this is a topic's config: set it on the topic".to_owned();
    }
    match nearest(key, broker_keys().into_iter().map(|it| it.name)) {
        Some(name) => format!("there is no such config; did you mean {name}?"),
        None => "there is no such config".to_owned(),
    }
}

fn cores(text: &str) -> Option<Cores> {
    let number = |it: &str| it.trim().parse::<u16>().ok().filter(|&it| it < CORES_MAX);
    if text.is_empty() {
        return Some(Cores::All);
    }
    if let Some(count) = number(text) {
        return (0 < count).then_some(Cores::Count(count));
    }
    let mut these = vec![];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return None;
        }
        these.extend(first..=last);
    }
    these.sort_unstable();
    these.dedup();
    Some(Cores::These(these))
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|&it| 0 < it)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_oneof, proptest};
    use proptest::sample::Index;

    use super::{Cores, NodeConfig, Problem, Verdict, broker_keys, bytes, cores, judge};
    use crate::config::properties::parse_properties;

    fn load(text: &str, overrides: &[(&str, &str)]) -> Result<NodeConfig, Vec<Problem>> {
        let properties = parse_properties(text).expect("properties");
        let overrides: Vec<_> =
            overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NodeConfig::from_properties(&properties, &overrides)
    }

    #[track_caller]
    fn refused(text: &str, want: &[&str]) {
        let problems = load(text, &[]).expect_err("is refused");
        assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let config = load("", &[]).expect("loads");
        assert_eq!(config.node.get(), 1);
        assert_eq!(config.data_dir, "./kafka-logs");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].bind.port, 9_092);
        assert_eq!(config.http.map(|it| it.port), Some(9_644));
        assert_eq!(config.cores, Cores::All);
        assert!(config.without_effect.is_empty());
    }

    #[test]
    fn the_file_that_kafka_ships_is_understood() {
        let text = "process.roles=broker,controller\nnode.id=1\n\
            controller.quorum.bootstrap.servers=localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
            advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
            controller.listener.names=CONTROLLER\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
            SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
            num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
            socket.receive.buffer.bytes=102400\nsocket.request.max.bytes=104857600\n\
            log.dirs=/tmp/kraft-combined-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n\
            offsets.topic.replication.factor=1\nshare.coordinator.state.topic.replication.factor=1\n\
            share.coordinator.state.topic.min.isr=1\ntransaction.state.log.replication.factor=1\n\
            transaction.state.log.min.isr=1\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n\
            log.retention.check.interval.ms=300000\n";
        let config = load(text, &[]).expect("loads");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].advertised.host.as_deref(), Some("localhost"));
        assert_eq!(config.data_dir, "/tmp/kraft-combined-logs");
        assert!(config.without_effect.iter().any(|it| it.key == "num.io.threads"));
        let honoured = ["num.partitions", "controller.listener.names"];
        assert!(config.without_effect.iter().all(|it| !honoured.contains(&&*it.key)));
        assert_eq!(config.file.get("log.retention.hours").map(String::as_str), Some("168"));
    }

    #[test]
    fn the_command_line_wins_and_so_does_the_last_line() {
        let config =
            load("node.id=1\nnode.id=2\nlog.dirs=/a", &[("log.dirs", "/b")]).expect("loads");
        assert_eq!((config.node.get(), config.data_dir.as_str()), (2, "/b"));
    }

    #[test]
    fn problems_are_named_with_their_lines_and_all_at_once() {
        refused(
            "# nothing\nnum.partition=3\nlog.dirs=/a,/b\nretention.ms=1\nnum.partitions=0\nwrite.caching=true\nx.y=1",
            &[
                "line 2: num.partition: there is no such config; did you mean num.partitions?",
                "line 3: log.dirs: exactly one data directory is supported: stripe the disks \
                 below it (RAID, LVM)",
                "line 4: retention.ms: this is a topic's config; the default for all topics is \
                 log.retention.ms",
                "line 5: num.partitions: Invalid value 0 for configuration num.partitions: \
                 Value must be within 1 to 10000",
                "line 6: write.caching: this is a topic's config: set it on the topic",
                "line 7: x.y: there is no such config",
            ],
        );
        refused(
            "node.id=1\nbroker.id=2",
            &["line 2: broker.id: it is 2, but node.id is 1: remove one of them"],
        );
        refused(
            "odradek.cores=x\nodradek.memory=-1\nodradek.http.listener=9644",
            &[
                "line 1: odradek.cores: \"x\" is not a number of cores (4) or a list of them \
                 (0-3,6)",
                "line 2: odradek.memory: \"-1\" is not a number of bytes, KiB, MiB or GiB, such \
                 as 2GiB",
                "line 3: odradek.http.listener: \"9644\" is not host:port",
            ],
        );
    }

    #[test]
    fn security_is_never_silently_ignored() {
        let refused =
            |key, value| assert!(matches!(judge(key, value), Verdict::Refused(_)), "{key}");
        refused("ssl.keystore.location", "/k");
        refused("ssl.client.auth", "none");
        refused("sasl.enabled.mechanisms", "PLAIN");
        refused("listener.name.internal.ssl.keystore.location", "/k");
        refused("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        refused("super.users", "User:a");
        refused("allow.everyone.if.no.acl.found", "false");
        refused("create.topic.policy.class.name", "a.B");
        refused("security.inter.broker.protocol", "SSL");
        refused("remote.log.storage.system.enable", "true");
        refused("unclean.leader.election.enable", "true");
        refused("compression.gzip.level", "0");
        assert_eq!(judge("security.inter.broker.protocol", "PLAINTEXT"), Verdict::Honoured);
        assert!(matches!(judge("num.io.threads", "8"), Verdict::NoEffect(_)));
        assert_eq!(judge("log.cleanup.policy", "compact"), Verdict::Honoured);
        assert_eq!(judge("compression.type", "gzip"), Verdict::Honoured);
        assert_eq!(judge("compression.gzip.level", "9"), Verdict::Honoured);
        assert_eq!(judge("log.retention.hours", "5"), Verdict::Honoured);
        assert_eq!(judge("producer.id.expiration.ms", "5"), Verdict::Honoured);
        assert!(matches!(judge("num.io.threads", "many"), Verdict::Refused(_)));
    }

    #[test]
    fn cores_are_a_number_or_a_list() {
        assert_eq!(cores("4"), Some(Cores::Count(4)));
        assert_eq!(cores("0-2,6"), Some(Cores::These(vec![0, 1, 2, 6])));
        assert_eq!(cores("0"), None);
        assert_eq!(cores("3-1"), None);
        assert_eq!(cores("1,"), None);
        assert_eq!(cores("65536"), None);
    }

    #[test]
    fn memory_has_units() {
        assert_eq!(bytes("1024"), Some(1_024));
        assert_eq!(bytes("2 GiB"), Some(2 << 30));
        assert_eq!(bytes("512m"), Some(512 << 20));
        assert_eq!(bytes("0"), None);
        assert_eq!(bytes("2 apples"), None);
        assert_eq!(bytes("99999999999GiB"), None);
    }

    proptest! {
        #[test]
        fn any_value_of_any_key_is_a_configuration_or_a_problem(
            key in any::<Index>(),
            value in prop_oneof![any::<String>(), "-?[0-9]{0,20}", "[a-z]*://[^/]*:[0-9]{0,6}"],
        ) {
            let name = key.get(&broker_keys()).name;
            if let Err(problems) = load("", &[(name, &value)]) {
                assert!(!problems.is_empty());
            }
        }
    }
}
