//! Every config of a broker that does something here, and ours. What only gets accepted is in
//! `idle`, what is turned away in `refused`.

mod idle;
mod refused;

use crate::config::definition::{Check, Definition, Kind, Treatment, Update};

static HONOURED: &[Definition] = &[
    key(
        "advertised.listeners",
        Kind::List,
        None,
        "The addresses that clients are told to connect to, one for each listener. Default: the \
         listeners' own, or \
         this machine's host name where they have none.",
    ),
    key(
        "auto.create.topics.enable",
        Kind::Boolean,
        Some("true"),
        "Whether asking for the metadata of an unknown topic creates it.",
    ),
    key("broker.id", Kind::Int, None, "The old name of node.id.").checked(Check::AtLeast(0)),
    key("broker.rack", Kind::Text, None, "Where this node stands: told to clients."),
    key("compression.gzip.level", Kind::Int, Some("-1"), "The default of compression.gzip.level.")
        .checked(Check::GzipLevel)
        .updated(Update::ClusterWide),
    key("compression.lz4.level", Kind::Int, Some("9"), "The default of compression.lz4.level.")
        .checked(Check::Between(1, 17))
        .updated(Update::ClusterWide),
    key("compression.type", Kind::Text, Some("producer"), "The default of compression.type.")
        .checked(Check::In(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]))
        .updated(Update::ClusterWide),
    key("compression.zstd.level", Kind::Int, Some("3"), "The default of compression.zstd.level.")
        .checked(Check::Between(-131_072, 22))
        .updated(Update::ClusterWide),
    key(
        "connections.max.idle.ms",
        Kind::Long,
        Some("600000"),
        "A connection on which nothing happens for so long is closed.",
    ),
    key(
        "controller.listener.names",
        Kind::Text,
        None,
        "Listeners that are not opened, as no controller is on another node: NAME, ...",
    ),
    key("controller.quota.window.num", Kind::Int, Some("11"), "Windows of changes of topics that a client may make at once of its quota.")
    .checked(Check::Between(1, 10_000)),
    key("controller.quota.window.size.seconds", Kind::Int, Some("1"), "Length of each of these windows.")
    .checked(Check::Between(1, 100_000)),
    key(
        "default.replication.factor",
        Kind::Int,
        Some("1"),
        "Replicas of a topic that does not say.",
    )
    .checked(Check::AtLeast(1)),
    key("delete.topic.enable", Kind::Boolean, Some("true"), "Whether topics can be deleted."),
    // An answer's length has 31 bits, and what is not records stays far below half of that.
    key(
        "fetch.max.bytes",
        Kind::Int,
        Some("57671680"),
        "The most that one fetch is answered with.",
    )
    .checked(Check::Between(1_024, 1 << 30)),
    key(
        "group.consumer.assignment.interval.ms",
        Kind::Int,
        Some("1000"),
        "The time between two assignments of a group of the consumer protocol.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "group.consumer.assignors",
        Kind::List,
        Some("uniform,range"),
        "The assignors that members may ask for. The first is the default.",
    )
    .checked(Check::In(&["uniform", "range"])),
    key(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int,
        Some("5000"),
        "How often members of the consumer protocol are to be heard of.",
    )
    .checked(Check::AtLeast(1))
    .updated(Update::ClusterWide),
    key("group.consumer.max.assignment.interval.ms", Kind::Int, Some("15000"), "The most that a group's own consumer.assignment.interval.ms may be.")
    .checked(Check::AtLeast(1)),
    key("group.consumer.max.heartbeat.interval.ms", Kind::Int, Some("15000"), "The most that a group's own consumer.heartbeat.interval.ms may be.")
    .checked(Check::AtLeast(1)),
    key("group.consumer.max.session.timeout.ms", Kind::Int, Some("60000"), "The most that a group's own consumer.session.timeout.ms may be.")
    .checked(Check::AtLeast(1)),
    key(
        "group.consumer.max.size",
        Kind::Int,
        Some("2147483647"),
        "Members of one group of the consumer protocol.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "group.consumer.migration.policy",
        Kind::Text,
        Some("bidirectional"),
        "Whether a group that has members may change its protocol: disabled, upgrade (to the consumer \
         protocol), downgrade, or bidirectional.",
    )
    .checked(Check::In(&["bidirectional", "disabled", "downgrade", "upgrade"])),
    key("group.consumer.min.assignment.interval.ms", Kind::Int, Some("0"), "The least that a group's own consumer.assignment.interval.ms may be.")
    .checked(Check::AtLeast(0)),
    key("group.consumer.min.heartbeat.interval.ms", Kind::Int, Some("5000"), "The least that a group's own consumer.heartbeat.interval.ms may be.")
    .checked(Check::AtLeast(1)),
    key("group.consumer.min.session.timeout.ms", Kind::Int, Some("45000"), "The least that a group's own consumer.session.timeout.ms may be.")
    .checked(Check::AtLeast(1)),
    key(
        "group.consumer.session.timeout.ms",
        Kind::Int,
        Some("45000"),
        "The time after which a silent member of the consumer protocol is taken for gone.",
    )
    .checked(Check::AtLeast(1))
    .updated(Update::ClusterWide),
    key(
        "group.coordinator.rebalance.protocols",
        Kind::List,
        Some("classic,consumer,streams"),
        "The protocols of groups: without consumer, ConsumerGroupHeartbeat and ConsumerGroupDescribe are \
         refused (UNSUPPORTED_VERSION). Streams and share groups are not served yet, whether they are named or not.",
    )
    .checked(Check::InWith(&["classic", "consumer", "share", "streams"], "classic")),
    key("group.initial.rebalance.delay.ms", Kind::Int, Some("3000"), "How long the first member of an empty group waits for others.")
    .checked(Check::AtLeast(0)),
    key("group.max.session.timeout.ms", Kind::Int, Some("1800000"), "The longest time for which a member may be silent.")
    .checked(Check::AtLeast(1)),
    key("group.max.size", Kind::Int, Some("2147483647"), "Members of one group.")
    .checked(Check::AtLeast(1)),
    key("group.min.session.timeout.ms", Kind::Int, Some("6000"), "The shortest time after which a silent member may be taken for gone.")
    .checked(Check::AtLeast(1)),
    key(
        "listener.security.protocol.map",
        Kind::Text,
        None,
        "Listener names and their security protocols: NAME:PLAINTEXT, ...",
    ),
    key(
        "listeners",
        Kind::List,
        Some("PLAINTEXT://:9092"),
        "Where clients connect: NAME://host:port, ... No host is every address of the machine.",
    ),
    key(
        "log.cleaner.backoff.ms",
        Kind::Long,
        Some("15000"),
        "The pause between two looks for logs that shall be compacted.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "log.cleaner.dedupe.buffer.size",
        Kind::Long,
        Some("134217728"),
        "Memory for the last offsets of keys while logs are compacted, 24 bytes each, divided \
         among the cores. A log with more keys is compacted in several passes.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "log.cleaner.delete.retention.ms",
        Kind::Long,
        Some("86400000"),
        "The default of delete.retention.ms.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key("log.cleaner.enable", Kind::Boolean, Some("true"), "Whether logs are compacted at all."),
    key(
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long,
        Some("9223372036854775807"),
        "The default of max.compaction.lag.ms.",
    )
    .checked(Check::AtLeast(1))
    .updated(Update::ClusterWide),
    key(
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        Some("0.5"),
        "The default of min.cleanable.dirty.ratio.",
    )
    .checked(Check::Ratio)
    .updated(Update::ClusterWide),
    key(
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long,
        Some("0"),
        "The default of min.compaction.lag.ms.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key("log.cleanup.policy", Kind::List, Some("delete"), "The default of cleanup.policy.")
        .checked(Check::In(&["compact", "delete"]))
        .updated(Update::ClusterWide),
    key("log.dir", Kind::List, Some("./kafka-logs"), "The data directory, if log.dirs is not set."),
    key("log.dirs", Kind::List, None, "The data directory. Exactly one: stripe disks below it."),
    key(
        "log.flush.interval.messages",
        Kind::Long,
        Some("9223372036854775807"),
        "The default of flush.messages.",
    )
    .checked(Check::AtLeast(1))
    .updated(Update::ClusterWide),
    key("log.flush.interval.ms", Kind::Long, None, "The default of flush.ms.")
        .checked(Check::AtLeast(0))
        .updated(Update::ClusterWide),
    key(
        "log.flush.scheduler.interval.ms",
        Kind::Long,
        Some("9223372036854775807"),
        "The default of flush.ms, if log.flush.interval.ms is not set.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "log.index.interval.bytes",
        Kind::Int,
        Some("4096"),
        "The default of index.interval.bytes.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "log.message.timestamp.after.max.ms",
        Kind::Long,
        Some("3600000"),
        "The default of message.timestamp.after.max.ms.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "log.message.timestamp.before.max.ms",
        Kind::Long,
        Some("9223372036854775807"),
        "The default of message.timestamp.before.max.ms.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "log.message.timestamp.type",
        Kind::Text,
        Some("CreateTime"),
        "The default of message.timestamp.type.",
    )
    .checked(Check::In(&["CreateTime", "LogAppendTime"]))
    .updated(Update::ClusterWide),
    key("log.retention.bytes", Kind::Long, Some("-1"), "The default of retention.bytes.")
        .updated(Update::ClusterWide),
    key(
        "log.retention.check.interval.ms",
        Kind::Long,
        Some("300000"),
        "How often old segments are looked for.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "log.retention.hours",
        Kind::Int,
        Some("168"),
        "The default of retention.ms, in hours, if neither log.retention.ms nor \
         log.retention.minutes is set.",
    ),
    key(
        "log.retention.minutes",
        Kind::Int,
        None,
        "The default of retention.ms, in minutes, if log.retention.ms is not set.",
    ),
    key("log.retention.ms", Kind::Long, None, "The default of retention.ms.")
        .updated(Update::ClusterWide),
    key(
        "log.roll.hours",
        Kind::Int,
        Some("168"),
        "The default of segment.ms, in hours, if log.roll.ms is not set.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "log.roll.jitter.hours",
        Kind::Int,
        Some("0"),
        "The default of segment.jitter.ms, in hours, if log.roll.jitter.ms is not set.",
    )
    .checked(Check::AtLeast(0)),
    key("log.roll.jitter.ms", Kind::Long, None, "The default of segment.jitter.ms.")
        .checked(Check::AtLeast(0))
        .updated(Update::ClusterWide),
    key("log.roll.ms", Kind::Long, None, "The default of segment.ms.")
        .checked(Check::AtLeast(1))
        .updated(Update::ClusterWide),
    key("log.segment.bytes", Kind::Int, Some("1073741824"), "The default of segment.bytes.")
        .checked(Check::AtLeast(1_048_576))
        .updated(Update::ClusterWide),
    key(
        "max.connection.creation.rate",
        Kind::Int,
        Some("2147483647"),
        "Connections of this node that may begin in a second; more wait for their turn.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "max.connections",
        Kind::Int,
        Some("2147483647"),
        "Connections of this node; more wait until one has ended.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "max.connections.per.ip",
        Kind::Int,
        Some("2147483647"),
        "Connections from one address; more are closed.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key(
        "max.connections.per.ip.overrides",
        Kind::Text,
        Some(""),
        "Addresses with another max.connections.per.ip: address:count, ... Names are not looked up.",
    )
    .checked(Check::AddressCounts)
    .updated(Update::ClusterWide),
    key(
        "max.incremental.fetch.session.cache.slots",
        Kind::Int,
        Some("1000"),
        "Fetch sessions kept on this node, a share of them on each core.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "max.request.partition.size.limit",
        Kind::Int,
        Some("2000"),
        "The most partitions that one answer to DescribeTopicPartitions has.",
    )
    .checked(Check::AtLeast(1)),
    key("message.max.bytes", Kind::Int, Some("1048588"), "The default of max.message.bytes.")
        .checked(Check::AtLeast(0))
        .updated(Update::ClusterWide),
    key("min.insync.replicas", Kind::Int, Some("1"), "The default of min.insync.replicas.")
        .checked(Check::AtLeast(1))
        .updated(Update::ClusterWide),
    key("node.id", Kind::Int, Some("1"), "This node's number in the cluster.")
        .checked(Check::AtLeast(0)),
    key("num.partitions", Kind::Int, Some("1"), "Partitions of a topic that does not say.")
        .checked(Check::Between(1, 10_000)),
    key(
        "odradek.cluster.id",
        Kind::Text,
        None,
        "The cluster's id, given to clients. Default: drawn when the data directory is made.",
    ),
    key(
        "odradek.cores",
        Kind::Text,
        None,
        "The cores to run on: their number (4), or which (0-3,6). Default: all that this \
         process may use.",
    ),
    key(
        "odradek.disk.free.min",
        Kind::Text,
        None,
        "Free bytes of the data directory's disk below which nothing is appended, in bytes or with \
         KiB, MiB or GiB. Default: 2 % of it, from 2 MiB to 1 GiB.",
    ),
    key(
        "odradek.http.listener",
        Kind::Text,
        Some("127.0.0.1:9644"),
        "host:port of metrics and health over HTTP; empty for none.",
    ),
    key(
        "odradek.memory",
        Kind::Text,
        None,
        "Memory for buffers, in bytes or with KiB, MiB or GiB. Default: a part of the machine's.",
    ),
    key(
        "odradek.metrics.lag.partitions.max",
        Kind::Int,
        Some("1000"),
        "Partitions of groups whose lag is among the metrics; 0 for none.",
    )
    .checked(Check::Between(0, 1_000_000))
    .updated(Update::ClusterWide),
    key(
        "odradek.scrub.period.ms",
        Kind::Long,
        Some("604800000"),
        "Stored records are read back and checked within about so long; 0 for never.",
    )
    .checked(Check::AtLeast(0))
    .updated(Update::ClusterWide),
    key("offset.metadata.max.bytes", Kind::Int, Some("4096"), "The longest text that is kept with an offset.")
    .checked(Check::Between(0, 32_767)),
    key("offsets.retention.check.interval.ms", Kind::Long, Some("600000"), "How often offsets that have expired are looked for.")
    .checked(Check::AtLeast(1)),
    key("offsets.retention.minutes", Kind::Int, Some("10080"), "How long the offsets of a group are kept that has no members, or of topics that it does not read.")
    .checked(Check::AtLeast(1)),
    key("offsets.topic.num.partitions", Kind::Int, Some("50"), "Partitions of __consumer_offsets, when it is made.")
    .checked(Check::Between(1, 10_000)),
    key("offsets.topic.replication.factor", Kind::Short, Some("3"), "Replicas of __consumer_offsets, when it is made: at most one on each broker.")
    .checked(Check::AtLeast(1)),
    key("offsets.topic.segment.bytes", Kind::Int, Some("104857600"), "Bytes of a segment of __consumer_offsets.")
    .checked(Check::AtLeast(1_048_576)),
    key(
        "producer.id.expiration.ms",
        Kind::Int,
        Some("86400000"),
        "A producer that wrote nothing for so long is forgotten: its sequence may start anew.",
    )
    .checked(Check::AtLeast(1))
    .updated(Update::ClusterWide),
    key("quota.window.num", Kind::Int, Some("11"), "Windows over which a client's use is measured against its quota.")
    .checked(Check::Between(1, 10_000)),
    key("quota.window.size.seconds", Kind::Int, Some("1"), "Length of each of these windows.")
    .checked(Check::Between(1, 100_000)),
    key(
        "socket.listen.backlog.size",
        Kind::Int,
        Some("4096"),
        "Connections that wait to be accepted, on each core and listener. Kafka's default is 50.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "socket.receive.buffer.bytes",
        Kind::Int,
        Some("-1"),
        "The kernel's receive buffer of a connection; -1 lets the kernel choose.",
    )
    .checked(Check::AtLeast(-1)),
    key(
        "socket.request.max.bytes",
        Kind::Int,
        Some("104857600"),
        "The largest request; a larger one is cut off.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "socket.send.buffer.bytes",
        Kind::Int,
        Some("-1"),
        "The kernel's send buffer of a connection; -1 lets the kernel choose.",
    )
    .checked(Check::AtLeast(-1)),
    key(
        "unclean.leader.election.enable",
        Kind::Boolean,
        Some("false"),
        "Whether a replica that lacks acknowledged records may become the leader.",
    )
    .only(&["false"], "acknowledged records are never given up")
    .updated(Update::ClusterWide),
];

/// The names of one setting, the strongest first. A name that stands alone is not listed.
static SYNONYMS: &[&[&str]] = &[
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.roll.ms", "log.roll.hours"],
    &["node.id", "broker.id"],
];

/// The definition of `name`, if it is a broker's config.
#[must_use]
pub fn broker_key(name: &str) -> Option<&'static Definition> {
    tables().into_iter().find_map(|table| {
        let index = table.binary_search_by(|it| it.name.cmp(name)).ok()?;
        table.get(index)
    })
}

/// Every broker config, in alphabetical order.
#[must_use]
pub fn broker_keys() -> Vec<&'static Definition> {
    let mut keys: Vec<_> = tables().into_iter().flatten().collect();
    keys.sort_unstable_by_key(|it| it.name);
    keys
}

/// All names that mean the same setting as `name`, the strongest first; `name` alone if it has no
/// other.
#[must_use]
pub fn synonyms(name: &'static str) -> Vec<&'static str> {
    // The scheduler's interval has a life of its own: only the other one falls back to it.
    let is_fallback_only = name == "log.flush.scheduler.interval.ms";
    SYNONYMS
        .iter()
        .find(|names| names.contains(&name) && !is_fallback_only)
        .map_or_else(|| vec![name], |names| names.to_vec())
}

/// Why a key that belongs to one listener (`listener.name.NAME.KEY`) is refused. `None` for other
/// names.
#[must_use]
pub fn listener_key(name: &str) -> Option<&'static str> {
    name.starts_with("listener.name.").then_some(
        "settings of a single listener are not supported: ignoring one could open it to strangers",
    )
}

fn tables() -> [&'static [Definition]; 3] {
    [HONOURED, idle::IDLE, refused::REFUSED]
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    text: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default,
        check: Check::Any,
        treatment: Treatment::Honoured,
        update: Update::ReadOnly,
        synonyms: &[],
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::{SYNONYMS, broker_key, broker_keys, tables};
    use crate::config::definition::Treatment;

    const KAFKA_KEYS: usize = 363;

    #[test]
    fn each_table_is_in_order_and_no_name_is_in_two() {
        for table in tables() {
            let unordered = table.windows(2).find(|pair| pair[0].name >= pair[1].name);
            assert!(unordered.is_none(), "{:?}", unordered.map(|pair| pair[1].name));
        }
        let keys = broker_keys();
        assert!(keys.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(SYNONYMS.iter().copied().flatten().all(|name| broker_key(name).is_some()));
    }

    #[test]
    fn defaults_are_canonical_and_accepted() {
        for key in broker_keys() {
            let Some(default) = key.default else { continue };
            assert!(!matches!(key.treatment, Treatment::Refused(_)), "{}", key.name);
            assert_eq!(key.canonical(default).as_deref(), Ok(default), "{}", key.name);
        }
    }

    /// Those of Kafka 4.3.1: every name in `AbstractKafkaConfig.CONFIG_DEF` and in
    /// `DynamicBrokerConfig.ALL_DYNAMIC_CONFIGS`, also the internal ones, as its classes list them.
    #[test]
    fn every_key_of_kafka_is_known() {
        let names: Vec<&str> = include_str!("broker_keys/kafka_names.txt").lines().collect();
        assert_eq!(names.len(), KAFKA_KEYS);
        let strangers: Vec<_> = names.iter().filter(|it| broker_key(it).is_none()).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }

    #[test]
    fn every_key_is_documented() {
        assert!(broker_keys().iter().all(|it| !it.documentation().trim().is_empty()));
    }
}
