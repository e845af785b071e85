//! What is measured: a broker that is started here, or one that runs already.
//!
//! Invariant: what was started here has ended when its instance is dropped.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::resolve;
use crate::failure::Failure;
use crate::placement::Placement;
use crate::protocol::Protocol;
use crate::results::{self, Durability};
use crate::stop::Stop;
use crate::target::instance::Instance;
use crate::target::rabbitmq::Queues;
use crate::workload::form::Form;

mod fitness;
pub(crate) mod instance;
mod kafka;
mod nats;
mod odradek;
mod rabbitmq;

/// Below this in the repository lies what starts Kafka.
const KAFKA_SCRIPT: &str = "tools/suites/kafka.sh";

/// What ours and Apache Kafka are both told, keys and values.
const SHARED_CONFIGS: [(&str, &str); 3] = [
    ("auto.create.topics.enable", "false"),
    // A wait of 3 s and more by default, which Kafka's own example of a configuration turns off.
    ("group.initial.rebalance.delay.ms", "0"),
    // Every 10 s, where the default of both is five minutes, so that a run of minutes sees retention.
    ("log.retention.check.interval.ms", "10000"),
];

/// A topic of ours is then acknowledged from memory.
const WRITE_CACHING: (&str, &str) = ("write.caching", "true");

/// Targets that need nothing else to be named.
const NAMES: [&str; 8] = [
    "odradek",
    "odradek-caching",
    "kafka",
    "kafka-flush",
    "rabbitmq-quorum",
    "rabbitmq-stream",
    "nats",
    "nats-sync",
];

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// A build of ours, with or without `write.caching` of its topics. The key is `odradek`,
    /// `odradek-caching`, or a name of its own.
    Odradek { key: String, binary: Option<PathBuf>, flush: Flush },
    /// Apache Kafka, with its default durability.
    Kafka,
    /// Apache Kafka that flushes each message before it acknowledges it.
    KafkaFlush,
    /// NATS with JetStream: that of the package, or another build.
    Nats { binary: Option<PathBuf>, flush: Flush },
    /// RabbitMQ of the package.
    RabbitMq(Queues),
    /// HOST:PORT of one that somebody else started.
    Address(String),
}

/// Whether it flushes before it acknowledges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flush {
    Never,
    Always,
}

/// Where an instance lives for one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// Empty, of its own.
    pub(crate) folder: &'a Path,
    pub(crate) placement: &'a Placement,
    pub(crate) stop: &'a Stop,
}

impl Target {
    /// One of `NAMES`, `NAME=PATH` of a build of ours (of NATS, if the name is one of its), or `HOST:PORT`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let ours = |flush| Self::Odradek { key: text.to_owned(), binary: None, flush };
        match text {
            "odradek" => return Ok(ours(Flush::Always)),
            "odradek-caching" => return Ok(ours(Flush::Never)),
            "kafka" => return Ok(Self::Kafka),
            "kafka-flush" => return Ok(Self::KafkaFlush),
            "rabbitmq-quorum" => return Ok(Self::RabbitMq(Queues::Quorum)),
            "rabbitmq-stream" => return Ok(Self::RabbitMq(Queues::Stream)),
            "nats" => return Ok(Self::Nats { binary: None, flush: Flush::Never }),
            "nats-sync" => return Ok(Self::Nats { binary: None, flush: Flush::Always }),
            _ => {}
        }
        if let Some((name, path)) = text.split_once('=') {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
            if name.is_empty() || path.is_empty() || !name.chars().all(is_word) {
                return Err("write NAME=PATH, a name of letters, digits and -".to_owned());
            }
            let binary = Some(path.into());
            return Ok(match Self::parse(name) {
                Ok(Self::Nats { flush, .. }) => Self::Nats { binary, flush },
                Ok(Self::Odradek { key, flush, .. }) => Self::Odradek { key, binary, flush },
                Ok(_) | Err(_) => {
                    Self::Odradek { key: name.to_owned(), binary, flush: Flush::Always }
                }
            });
        }
        if text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return Ok(Self::Address(text.to_owned()));
        }
        let known = NAMES.join(", ");
        Err(format!(
            "there is no target `{text}`: give {known}, NAME=PATH of a build, or HOST:PORT"
        ))
    }

    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Odradek { key, .. } => key,
            Self::Kafka => "kafka",
            Self::KafkaFlush => "kafka-flush",
            Self::RabbitMq(Queues::Quorum) => "rabbitmq-quorum",
            Self::RabbitMq(Queues::Stream) => "rabbitmq-stream",
            Self::Nats { flush: Flush::Never, .. } => "nats",
            Self::Nats { flush: Flush::Always, .. } => "nats-sync",
            Self::Address(address) => address,
        }
    }

    pub(crate) const fn durability(&self) -> Durability {
        match self {
            Self::Odradek { flush: Flush::Never, .. } => Durability::D0,
            Self::Odradek { flush: Flush::Always, .. }
            | Self::KafkaFlush
            | Self::RabbitMq(Queues::Quorum)
            | Self::Nats { flush: Flush::Always, .. } => Durability::D2,
            Self::Kafka
            | Self::RabbitMq(Queues::Stream)
            | Self::Nats { flush: Flush::Never, .. } => Durability::D1,
            Self::Address(_) => Durability::Unknown,
        }
    }

    pub(crate) const fn protocol(&self) -> Protocol {
        match self {
            Self::Odradek { .. } | Self::Kafka | Self::KafkaFlush | Self::Address(_) => {
                Protocol::Kafka
            }
            Self::RabbitMq(queues) => queues.protocol(),
            Self::Nats { .. } => Protocol::Nats,
        }
    }

    /// Why a step cannot be done with it; `None` if it can.
    pub(crate) fn unfit(&self, form: &Form) -> Option<&'static str> {
        fitness::unfit(self.protocol(), form)
    }

    /// Of each of its topics, besides what a workload says.
    pub(crate) fn topic_configs(&self) -> Option<(String, String)> {
        let is_caching = matches!(self, Self::Odradek { flush: Flush::Never, .. });
        is_caching.then(|| (WRITE_CACHING.0.to_owned(), WRITE_CACHING.1.to_owned()))
    }

    /// Of Kafka.
    const fn flush(&self) -> Flush {
        if matches!(self, Self::KafkaFlush) { Flush::Always } else { Flush::Never }
    }

    /// Until it answers, and until it has ended, on a machine that does nothing else.
    pub(crate) const fn guessed_seconds(&self) -> u64 {
        match self {
            Self::Odradek { .. } | Self::Nats { .. } => 1,
            Self::Kafka | Self::KafkaFlush | Self::RabbitMq(_) => 12,
            Self::Address(_) => 0,
        }
    }

    /// What the results say of it.
    pub(crate) fn describe(&self, placement: &Placement) -> Result<results::Target, Failure> {
        let (title, version, configs) = match self {
            Self::Odradek { binary, .. } => {
                let version = odradek::version(&odradek::binary(binary.as_deref())?)?;
                let mut configs = odradek::configs(placement);
                configs.extend(self.topic_configs());
                ("Odradek".to_owned(), version, configs)
            }
            Self::Kafka | Self::KafkaFlush => {
                let configs = kafka::configs(self.flush());
                ("Apache Kafka".to_owned(), kafka::version(&repository()?)?, configs)
            }
            Self::RabbitMq(queues) => {
                let configs = rabbitmq::configs(*queues, placement);
                ("RabbitMQ".to_owned(), rabbitmq::version()?, configs)
            }
            Self::Nats { binary, flush } => {
                let version = nats::version(binary.as_deref(), *flush)?;
                ("NATS JetStream".to_owned(), version, nats::configs(*flush, placement))
            }
            Self::Address(address) => (format!("broker at {address}"), String::new(), Vec::new()),
        };
        Ok(results::Target {
            key: self.key().to_owned(),
            title,
            version,
            durability: self.durability(),
            configs,
            command: String::new(),
        })
    }

    /// Starts it in an empty folder, and returns when it answers.
    pub(crate) fn start(&self, site: Site<'_>) -> Result<Instance, Failure> {
        match self {
            Self::Odradek { binary, .. } => {
                odradek::start(&odradek::binary(binary.as_deref())?, site)
            }
            Self::Kafka | Self::KafkaFlush => kafka::start(&repository()?, self.flush(), site),
            Self::RabbitMq(queues) => rabbitmq::start(*queues, site),
            Self::Nats { binary, flush } => nats::start(binary.as_deref(), *flush, site),
            Self::Address(address) => Ok(Instance::elsewhere(resolve(address)?)),
        }
    }
}

/// Of this source: around the current folder, or around this program.
pub(crate) fn repository() -> Result<PathBuf, Failure> {
    let places = [env::current_dir(), env::current_exe()];
    let places: Vec<PathBuf> = places.into_iter().flatten().collect();
    let mut folders = places.iter().flat_map(|place| place.ancestors());
    let found = folders.find(|folder| folder.join(KAFKA_SCRIPT).exists());
    found.map(Path::to_owned).ok_or_else(|| {
        let why = format!("{KAFKA_SCRIPT} is neither around this folder nor around this program");
        Failure::new(why)
    })
}

/// The first line that a program prints.
fn first_line(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().display().to_string();
    let output =
        command.output().map_err(|error| Failure::io(format!("start {program}"), error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_words_builds_and_addresses() {
        let parsed = |text| Target::parse(text).ok();
        let build = |key: &str, binary: Option<&str>| {
            let (key, binary) = (key.to_owned(), binary.map(PathBuf::from));
            Some(Target::Odradek { key, binary, flush: Flush::Always })
        };
        assert_eq!(parsed("odradek"), build("odradek", None));
        assert_eq!(parsed("before=/tmp/odradek"), build("before", Some("/tmp/odradek")));
        assert_eq!(parsed("kafka-flush"), Some(Target::KafkaFlush));
        for name in NAMES {
            assert_eq!(parsed(name).as_ref().map(Target::key), Some(name));
        }
        let nats = |binary: Option<&str>, flush| {
            Some(Target::Nats { binary: binary.map(PathBuf::from), flush })
        };
        assert_eq!(parsed("nats"), nats(None, Flush::Never));
        assert_eq!(parsed("nats-sync=/tmp/n"), nats(Some("/tmp/n"), Flush::Always));
        let caching = Target::Odradek {
            key: "odradek-caching".to_owned(),
            binary: Some(PathBuf::from("/tmp/o")),
            flush: Flush::Never,
        };
        assert_eq!(parsed("odradek-caching=/tmp/o"), Some(caching));
        let address = "broker.example:9092";
        assert_eq!(parsed(address), Some(Target::Address(address.to_owned())));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for wrong in ["", "rabbit", "=x", "x=", "a b=x", ":9092", "host:port"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_durability_class_stands_beside_each() {
        let class = |text| Target::parse(text).expect("a target").durability();
        assert_eq!(class("odradek"), Durability::D2);
        assert_eq!(class("odradek-caching"), Durability::D0);
        assert_eq!(class("kafka"), Durability::D1);
        assert_eq!(class("kafka-flush"), Durability::D2);
        assert_eq!(class("rabbitmq-quorum"), Durability::D2);
        assert_eq!(class("rabbitmq-stream"), Durability::D1);
        assert_eq!((class("nats"), class("nats-sync")), (Durability::D1, Durability::D2));
        assert_eq!(class("127.0.0.1:9092"), Durability::Unknown);
    }
}
