//! The broker's settings as they hold: its file, what was changed while it ran, and the defaults,
//! resolved.
//!
//! Strongest first: changed for this node, changed for every node, the file, the default.
//! Within one of these, the stronger of two names of one setting wins.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::broker_keys::{broker_key, synonyms};
use crate::config::definition::address_counts;
use crate::group::assignor::Assignor;
use crate::group::{ConsumerLimits, ConsumerTiming, GroupLimits, Migration};

/// Kafka's word for no bound of a rate: the largest that there is.
const RATE_UNBOUNDED: u32 = 0x7fff_ffff;

/// Keys and values, in canonical form if the key is known.
pub type Configs = BTreeMap<String, String>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic,
    Group,
    Broker,
    EveryBroker,
    File,
    Default,
}

impl Source {
    /// Kafka's number for it in DescribeConfigs and CreateTopics.
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Group => 8,
            Self::Broker => 2,
            Self::EveryBroker => 3,
            Self::File => 4,
            Self::Default => 5,
        }
    }
}

/// The values of each source. Cheap to clone: each layer is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub node: Arc<Configs>,
    pub every_node: Arc<Configs>,
    pub file: Arc<Configs>,
}

/// One value that is set, under the name that it is set with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<'a> {
    pub name: &'static str,
    pub value: &'a str,
    pub source: Source,
}

impl Layers {
    /// Every value that `names` have, the one that holds first. Null defaults are left out.
    #[must_use]
    pub fn settings(&self, names: &[&'static str]) -> Vec<Setting<'_>> {
        let layers = [
            (&self.node, Source::Broker),
            (&self.every_node, Source::EveryBroker),
            (&self.file, Source::File),
        ];
        let set = layers.into_iter().flat_map(|(layer, source)| {
            names.iter().filter_map(move |&name| {
                layer.get(name).map(|value| Setting { name, value, source })
            })
        });
        let defaults = names.iter().filter_map(|&name| {
            let value = broker_key(name)?.default?;
            Some(Setting { name, value, source: Source::Default })
        });
        set.chain(defaults).collect()
    }

    /// The value that holds for the broker's key `name`; `None` is null.
    #[must_use]
    pub fn value(&self, name: &'static str) -> Option<&str> {
        self.settings(&synonyms(name)).first().map(|setting| setting.value)
    }
}

/// What the node's own code asks of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    pub topics: TopicRules,
    pub connections: ConnectionLimits,
    pub requests: RequestLimits,
    pub groups: GroupLimits,
    pub offsets_topic: OffsetsTopic,
    pub quota_windows: QuotaWindows,
    /// Of changes of topics.
    pub mutation_windows: QuotaWindows,
    pub retention_check_interval_ms: i64,
    pub cleaner: CleanerRules,
    pub producer_id_expiration_ms: i64,
    /// Of one pass over everything that is sealed; 0 for none.
    pub scrub_period_ms: i64,
    /// Partitions of groups whose lag is measured.
    pub lag_rows_max: u32,
}

/// How compaction goes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanerRules {
    pub is_enabled: bool,
    /// Memory for the last offsets of keys, of all cores.
    pub map_bytes_max: u64,
    /// Pause when there is nothing to compact.
    pub backoff_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRules {
    pub partition_count_default: u32,
    pub replication_factor_default: u32,
    pub auto_create: bool,
    pub deletable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub count_max: u32,
    /// That begin in a second. `None`: as many as come.
    pub per_second_max: Option<u32>,
    pub per_address_max: u32,
    /// Addresses with a bound of their own; of one that is named twice the last holds.
    pub per_address_overrides: Vec<(IpAddr, u32)>,
    /// `None`: for ever.
    pub idle_ms_max: Option<i64>,
    pub backlog: u32,
    /// `None`: the kernel chooses.
    pub send_buffer_bytes: Option<u32>,
    pub receive_buffer_bytes: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    pub request_bytes_max: u32,
    pub fetch_bytes_max: u32,
    pub fetch_sessions_max: u32,
    /// Of one answer to DescribeTopicPartitions.
    pub partitions_max: u32,
}

/// How what clients use is measured against their quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaWindows {
    pub count: u32,
    pub span_seconds: u32,
}

/// How `__consumer_offsets` is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsTopic {
    pub partition_count: u32,
    /// More than there are brokers means one on each.
    pub replication_factor: u32,
    pub segment_bytes: u32,
}

impl BrokerConfig {
    #[must_use]
    pub fn resolve(layers: &Layers) -> Self {
        let number = |name| number(layers.value(name));
        let count = |name| u32::try_from(number(name)).unwrap_or(0);
        let holds = |name| layers.value(name) == Some("true");
        let some_if_set = |name| u32::try_from(number(name)).ok();
        Self {
            topics: TopicRules {
                partition_count_default: count("num.partitions"),
                replication_factor_default: count("default.replication.factor"),
                auto_create: holds("auto.create.topics.enable"),
                deletable: holds("delete.topic.enable"),
            },
            connections: ConnectionLimits {
                count_max: count("max.connections"),
                per_second_max: Some(count("max.connection.creation.rate"))
                    .filter(|&rate| rate < RATE_UNBOUNDED),
                per_address_max: count("max.connections.per.ip"),
                per_address_overrides: layers
                    .value("max.connections.per.ip.overrides")
                    .and_then(address_counts)
                    .unwrap_or_default(),
                idle_ms_max: Some(number("connections.max.idle.ms")).filter(|&it| 0 <= it),
                backlog: count("socket.listen.backlog.size"),
                send_buffer_bytes: some_if_set("socket.send.buffer.bytes"),
                receive_buffer_bytes: some_if_set("socket.receive.buffer.bytes"),
            },
            requests: RequestLimits {
                request_bytes_max: count("socket.request.max.bytes"),
                fetch_bytes_max: count("fetch.max.bytes"),
                fetch_sessions_max: count("max.incremental.fetch.session.cache.slots"),
                partitions_max: count("max.request.partition.size.limit"),
            },
            groups: groups(layers),
            offsets_topic: OffsetsTopic {
                partition_count: count("offsets.topic.num.partitions"),
                replication_factor: count("offsets.topic.replication.factor"),
                segment_bytes: count("offsets.topic.segment.bytes"),
            },
            quota_windows: QuotaWindows {
                count: count("quota.window.num"),
                span_seconds: count("quota.window.size.seconds"),
            },
            mutation_windows: QuotaWindows {
                count: count("controller.quota.window.num"),
                span_seconds: count("controller.quota.window.size.seconds"),
            },
            retention_check_interval_ms: number("log.retention.check.interval.ms"),
            cleaner: CleanerRules {
                is_enabled: holds("log.cleaner.enable"),
                map_bytes_max: u64::try_from(number("log.cleaner.dedupe.buffer.size")).unwrap_or(0),
                backoff_ms: number("log.cleaner.backoff.ms"),
            },
            producer_id_expiration_ms: number("producer.id.expiration.ms"),
            scrub_period_ms: number("odradek.scrub.period.ms"),
            lag_rows_max: count("odradek.metrics.lag.partitions.max"),
        }
    }
}

fn groups(layers: &Layers) -> GroupLimits {
    let number = |name| number(layers.value(name));
    let count = |name| usize::try_from(number(name)).unwrap_or(0);
    let int = |name| i32::try_from(number(name)).unwrap_or(i32::MAX);
    let assignors = layers.value("group.consumer.assignors").unwrap_or_default();
    let assignors: Vec<_> = assignors.split(',').filter_map(Assignor::of_name).collect();
    let protocols = layers.value("group.coordinator.rebalance.protocols").unwrap_or_default();
    let consumer = ConsumerLimits {
        is_offered: protocols.split(',').any(|it| it == "consumer"),
        members_max: count("group.consumer.max.size"),
        assignor: assignors.first().copied().unwrap_or(Assignor::Uniform),
        offers_all_assignors: assignors.len() > 1,
        migration: match layers.value("group.consumer.migration.policy") {
            Some("disabled") => Migration::Disabled,
            Some("upgrade") => Migration::Upgrade,
            Some("downgrade") => Migration::Downgrade,
            _ => Migration::Bidirectional,
        },
        timing: ConsumerTiming {
            session_ms: int("group.consumer.session.timeout.ms"),
            heartbeat_ms: int("group.consumer.heartbeat.interval.ms"),
            assignment_interval_ms: int("group.consumer.assignment.interval.ms"),
        },
    };
    GroupLimits {
        consumer,
        session_ms_min: int("group.min.session.timeout.ms"),
        session_ms_max: int("group.max.session.timeout.ms"),
        members_max: count("group.max.size"),
        initial_delay_ms: int("group.initial.rebalance.delay.ms"),
        metadata_bytes_max: count("offset.metadata.max.bytes"),
        offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
        retention_check_ms: number("offsets.retention.check.interval.ms"),
    }
}

/// # Panics
/// If the value is not the number that canonical form and a default of its own promise.
pub(super) fn number(value: Option<&str>) -> i64 {
    let text = value.expect("a number that is asked for has a default");
    text.parse().expect("canonical form: checked when it was set")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BrokerConfig, Configs, Layers, Source};

    fn layer(pairs: &[(&str, &str)]) -> Arc<Configs> {
        Arc::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn the_defaults_are_kafkas() {
        let config = BrokerConfig::resolve(&Layers::default());
        assert_eq!(config.topics.partition_count_default, 1);
        assert!(config.topics.auto_create && config.topics.deletable);
        assert_eq!(config.requests.request_bytes_max, 104_857_600);
        assert_eq!(config.requests.fetch_bytes_max, 55 << 20);
        assert_eq!(config.connections.idle_ms_max, Some(600_000));
        assert_eq!(config.connections.send_buffer_bytes, None);
        assert_eq!(config.connections.per_second_max, None);
        assert_eq!(config.producer_id_expiration_ms, 86_400_000);
    }

    #[test]
    fn a_stronger_layer_beats_a_stronger_name() {
        let layers = Layers {
            node: layer(&[]),
            every_node: layer(&[("log.retention.ms", "5")]),
            file: layer(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]),
        };
        let names = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
        let found: Vec<_> =
            layers.settings(&names).into_iter().map(|it| (it.name, it.value, it.source)).collect();
        let want = [
            ("log.retention.ms", "5", Source::EveryBroker),
            ("log.retention.minutes", "2", Source::File),
            ("log.retention.hours", "1", Source::File),
            ("log.retention.hours", "168", Source::Default),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn the_old_name_of_the_node_id_is_a_synonym() {
        let layers = Layers { file: layer(&[("broker.id", "7")]), ..Layers::default() };
        assert_eq!(layers.value("node.id"), Some("7"));
    }
}
