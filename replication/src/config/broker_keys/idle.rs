//! Broker configs of Kafka's that are accepted, shown and stored, and do nothing here. Each says
//! why.

use crate::config::definition::{Check, Definition, Kind, Treatment, Update};

const CORES: &str = "each core runs one thread that does everything";
const QUORUM: &str = "this node is its own quorum";
const ONE_NODE: &str = "this cluster has one node";
const CONSUMERS: &str =
    "a coordinator assigns by itself, and looks at expressions when topics change";
const STREAMS: &str = "groups of the streams protocol are not served yet";
const COORDINATORS: &str = "a coordinator is a part of the shard that owns its partition";
const SHARES: &str = "share groups are not served yet";
const TRANSACTIONS: &str = "transactions are not served yet";
const QUOTAS: &str = "the rates of copies are not bounded";
const COMPACTION: &str = "every core compacts its own logs, in the time that clients leave it";
const STORAGE: &str = "our storage needs no such setting";
const PURGATORY: &str = "waiting requests need no purging";
const METRICS: &str = "metrics are served over HTTP, see odradek.http.listener";
const TIERS: &str = "there is no remote storage yet";
const OLD: &str = "Kafka itself has no use for it any more";
const SECURITY_IDLE: &str = "there is nothing here that it could change";

pub(super) static IDLE: &[Definition] = &[
    idle("add.partitions.to.txn.retry.backoff.max.ms", Kind::Int, Some("100"), TRANSACTIONS),
    idle("add.partitions.to.txn.retry.backoff.ms", Kind::Int, Some("20"), TRANSACTIONS),
    idle("alter.log.dirs.replication.quota.window.num", Kind::Int, Some("11"), QUOTAS),
    idle("alter.log.dirs.replication.quota.window.size.seconds", Kind::Int, Some("1"), QUOTAS),
    idle("auto.include.jmx.reporter", Kind::Boolean, Some("true"), METRICS),
    idle("auto.leader.rebalance.enable", Kind::Boolean, Some("true"), ONE_NODE),
    idle("background.threads", Kind::Int, Some("10"), CORES).updated(Update::ClusterWide),
    idle("broker.heartbeat.interval.ms", Kind::Int, Some("2000"), QUORUM),
    idle("broker.id.generation.enable", Kind::Boolean, Some("true"), OLD),
    idle("broker.session.timeout.ms", Kind::Int, Some("9000"), QUORUM),
    idle("connection.failed.authentication.delay.ms", Kind::Int, Some("100"), SECURITY_IDLE),
    idle("controlled.shutdown.enable", Kind::Boolean, Some("true"), ONE_NODE),
    idle("controlled.shutdown.max.retries", Kind::Int, Some("3"), ONE_NODE),
    idle("controlled.shutdown.retry.backoff.ms", Kind::Long, Some("5000"), ONE_NODE),
    idle("controller.performance.always.log.threshold.ms", Kind::Long, Some("2000"), QUORUM),
    idle("controller.performance.sample.period.ms", Kind::Long, Some("60000"), QUORUM),
    idle("controller.quorum.append.linger.ms", Kind::Int, Some("25"), QUORUM),
    idle("controller.quorum.auto.join.enable", Kind::Boolean, Some("false"), QUORUM),
    idle("controller.quorum.bootstrap.servers", Kind::List, Some(""), QUORUM),
    idle("controller.quorum.election.backoff.max.ms", Kind::Int, Some("1000"), QUORUM),
    idle("controller.quorum.election.timeout.ms", Kind::Int, Some("1000"), QUORUM),
    idle("controller.quorum.fetch.max.bytes", Kind::Int, Some("8388608"), QUORUM),
    idle("controller.quorum.fetch.snapshot.max.bytes", Kind::Int, Some("8388608"), QUORUM),
    idle("controller.quorum.fetch.timeout.ms", Kind::Int, Some("2000"), QUORUM),
    idle("controller.quorum.request.timeout.ms", Kind::Int, Some("2000"), QUORUM),
    idle("controller.quorum.retry.backoff.ms", Kind::Int, Some("20"), QUORUM),
    idle("controller.quorum.voters", Kind::List, Some(""), QUORUM),
    idle("controller.socket.timeout.ms", Kind::Int, Some("30000"), QUORUM),
    idle("delete.records.purgatory.purge.interval.requests", Kind::Int, Some("1"), PURGATORY),
    idle("early.start.listeners", Kind::Text, None, QUORUM),
    idle("fetch.purgatory.purge.interval.requests", Kind::Int, Some("1000"), PURGATORY),
    idle("follower.fetch.last.tiered.offset.enable", Kind::Boolean, Some("false"), ONE_NODE)
        .updated(Update::ClusterWide),
    idle("follower.replication.throttled.rate", Kind::Long, Some("9223372036854775807"), ONE_NODE)
        .updated(Update::ClusterWide),
    idle("group.consumer.assignor.offload.enable", Kind::Boolean, Some("true"), CONSUMERS)
        .updated(Update::ClusterWide),
    idle("group.consumer.regex.refresh.interval.ms", Kind::Int, Some("600000"), CONSUMERS),
    idle("group.coordinator.append.linger.ms", Kind::Int, Some("-1"), COORDINATORS),
    idle("group.coordinator.background.threads", Kind::Int, Some("2"), COORDINATORS),
    idle("group.coordinator.cached.buffer.max.bytes", Kind::Int, Some("1048588"), COORDINATORS)
        .updated(Update::ClusterWide),
    idle("group.coordinator.new.enable", Kind::Boolean, Some("true"), COORDINATORS),
    idle("group.coordinator.threads", Kind::Int, Some("4"), COORDINATORS),
    idle("group.share.assignment.interval.ms", Kind::Int, Some("1000"), SHARES)
        .checked(Check::AtLeast(0))
        .updated(Update::ClusterWide),
    idle("group.share.assignor.offload.enable", Kind::Boolean, Some("true"), SHARES)
        .updated(Update::ClusterWide),
    idle("group.share.assignors", Kind::List, Some("simple"), SHARES),
    idle("group.share.delivery.count.limit", Kind::Int, Some("5"), SHARES),
    idle("group.share.enable", Kind::Boolean, Some("false"), SHARES),
    idle("group.share.heartbeat.interval.ms", Kind::Int, Some("5000"), SHARES),
    idle("group.share.initialize.retry.interval.ms", Kind::Int, Some("30000"), SHARES),
    idle("group.share.max.assignment.interval.ms", Kind::Int, Some("15000"), SHARES)
        .checked(Check::AtLeast(0)),
    idle("group.share.max.delivery.count.limit", Kind::Int, Some("10"), SHARES),
    idle("group.share.max.heartbeat.interval.ms", Kind::Int, Some("15000"), SHARES),
    idle("group.share.max.partition.max.record.locks", Kind::Int, Some("4000"), SHARES),
    idle("group.share.max.record.lock.duration.ms", Kind::Int, Some("60000"), SHARES),
    idle("group.share.max.session.timeout.ms", Kind::Int, Some("60000"), SHARES),
    idle("group.share.max.share.sessions", Kind::Int, Some("2000"), SHARES),
    idle("group.share.max.size", Kind::Int, Some("200"), SHARES),
    idle("group.share.min.assignment.interval.ms", Kind::Int, Some("0"), SHARES)
        .checked(Check::AtLeast(0)),
    idle("group.share.min.delivery.count.limit", Kind::Int, Some("2"), SHARES),
    idle("group.share.min.heartbeat.interval.ms", Kind::Int, Some("5000"), SHARES),
    idle("group.share.min.partition.max.record.locks", Kind::Int, Some("100"), SHARES),
    idle("group.share.min.record.lock.duration.ms", Kind::Int, Some("15000"), SHARES),
    idle("group.share.min.session.timeout.ms", Kind::Int, Some("45000"), SHARES),
    idle("group.share.partition.max.record.locks", Kind::Int, Some("2000"), SHARES),
    idle(
        "group.share.persister.class.name",
        Kind::Class,
        Some("org.apache.kafka.server.share.persister.DefaultStatePersister"),
        SHARES,
    ),
    idle("group.share.record.lock.duration.ms", Kind::Int, Some("30000"), SHARES),
    idle("group.share.session.timeout.ms", Kind::Int, Some("45000"), SHARES),
    idle("group.streams.assignment.interval.ms", Kind::Int, Some("1000"), STREAMS),
    idle("group.streams.assignor.offload.enable", Kind::Boolean, Some("true"), STREAMS)
        .updated(Update::ClusterWide),
    idle("group.streams.heartbeat.interval.ms", Kind::Int, Some("5000"), STREAMS),
    idle("group.streams.initial.rebalance.delay.ms", Kind::Int, Some("3000"), STREAMS),
    idle("group.streams.max.assignment.interval.ms", Kind::Int, Some("15000"), STREAMS)
        .checked(Check::AtLeast(0)),
    idle("group.streams.max.heartbeat.interval.ms", Kind::Int, Some("15000"), STREAMS),
    idle("group.streams.max.session.timeout.ms", Kind::Int, Some("60000"), STREAMS),
    idle("group.streams.max.size", Kind::Int, Some("2147483647"), STREAMS),
    idle("group.streams.max.standby.replicas", Kind::Int, Some("2"), STREAMS),
    idle("group.streams.min.assignment.interval.ms", Kind::Int, Some("0"), STREAMS)
        .checked(Check::AtLeast(0)),
    idle("group.streams.min.heartbeat.interval.ms", Kind::Int, Some("5000"), STREAMS),
    idle("group.streams.min.session.timeout.ms", Kind::Int, Some("45000"), STREAMS),
    idle("group.streams.num.standby.replicas", Kind::Int, Some("0"), STREAMS),
    idle("group.streams.session.timeout.ms", Kind::Int, Some("45000"), STREAMS),
    idle("initial.broker.registration.timeout.ms", Kind::Int, Some("60000"), QUORUM),
    idle("inter.broker.listener.name", Kind::Text, None, ONE_NODE),
    idle("inter.broker.protocol.version", Kind::Text, None, OLD),
    idle("internal.metadata.delete.delay.millis", Kind::Long, Some("60000"), QUORUM),
    idle("internal.metadata.log.segment.bytes", Kind::Int, None, QUORUM),
    idle("internal.metadata.max.batch.size.in.bytes", Kind::Int, Some("8388608"), QUORUM),
    idle("kafka.metrics.polling.interval.secs", Kind::Int, Some("10"), METRICS),
    idle("kafka.metrics.reporters", Kind::List, Some(""), METRICS),
    idle("leader.imbalance.check.interval.seconds", Kind::Long, Some("300"), ONE_NODE),
    idle("leader.imbalance.per.broker.percentage", Kind::Int, Some("10"), ONE_NODE),
    idle("leader.replication.throttled.rate", Kind::Long, Some("9223372036854775807"), ONE_NODE)
        .updated(Update::ClusterWide),
    idle("log.cleaner.io.buffer.load.factor", Kind::Double, Some("0.9"), COMPACTION)
        .updated(Update::ClusterWide),
    idle("log.cleaner.io.buffer.size", Kind::Int, Some("524288"), COMPACTION)
        .updated(Update::ClusterWide),
    idle(
        "log.cleaner.io.max.bytes.per.second",
        Kind::Double,
        Some("1.7976931348623157e308"),
        COMPACTION,
    )
    .updated(Update::ClusterWide),
    idle("log.cleaner.threads", Kind::Int, Some("1"), COMPACTION).updated(Update::ClusterWide),
    idle("log.dir.failure.timeout.ms", Kind::Long, Some("30000"), ONE_NODE),
    idle("log.flush.offset.checkpoint.interval.ms", Kind::Int, Some("60000"), STORAGE),
    idle("log.flush.start.offset.checkpoint.interval.ms", Kind::Int, Some("60000"), STORAGE),
    idle("log.index.size.max.bytes", Kind::Int, Some("10485760"), STORAGE)
        .updated(Update::ClusterWide),
    idle("log.initial.task.delay.ms", Kind::Long, Some("30000"), STORAGE),
    idle("log.local.retention.bytes", Kind::Long, Some("-2"), TIERS).updated(Update::ClusterWide),
    idle("log.local.retention.ms", Kind::Long, Some("-2"), TIERS).updated(Update::ClusterWide),
    idle("log.message.downconversion.enable", Kind::Boolean, Some("true"), STORAGE)
        .updated(Update::ClusterWide),
    idle("log.message.format.version", Kind::Text, Some("3.0-IV1"), STORAGE),
    idle("log.preallocate", Kind::Boolean, Some("false"), STORAGE).updated(Update::ClusterWide),
    idle("log.segment.delete.delay.ms", Kind::Long, Some("60000"), STORAGE)
        .updated(Update::ClusterWide),
    idle("metadata.log.dir", Kind::Text, None, QUORUM),
    idle("metadata.log.max.record.bytes.between.snapshots", Kind::Long, Some("20971520"), QUORUM),
    idle("metadata.log.max.snapshot.interval.ms", Kind::Long, Some("3600000"), QUORUM),
    idle("metadata.log.segment.bytes", Kind::Int, Some("1073741824"), QUORUM),
    idle("metadata.log.segment.ms", Kind::Long, Some("604800000"), QUORUM),
    idle("metadata.max.idle.interval.ms", Kind::Int, Some("500"), QUORUM),
    idle("metadata.max.retention.bytes", Kind::Long, Some("104857600"), QUORUM),
    idle("metadata.max.retention.ms", Kind::Long, Some("604800000"), QUORUM),
    idle("metric.reporters", Kind::List, Some(""), METRICS).updated(Update::ClusterWide),
    idle("metrics.num.samples", Kind::Int, Some("2"), METRICS),
    idle("metrics.recording.level", Kind::Text, Some("INFO"), METRICS),
    idle("metrics.sample.window.ms", Kind::Long, Some("30000"), METRICS),
    idle("num.io.threads", Kind::Int, Some("8"), CORES).updated(Update::ClusterWide),
    idle("num.network.threads", Kind::Int, Some("3"), CORES).updated(Update::ClusterWide),
    idle("num.recovery.threads.per.data.dir", Kind::Int, Some("2"), CORES)
        .updated(Update::ClusterWide),
    idle("num.replica.alter.log.dirs.threads", Kind::Int, None, CORES),
    idle("num.replica.fetchers", Kind::Int, Some("1"), CORES).updated(Update::ClusterWide),
    idle("offsets.commit.required.acks", Kind::Short, Some("-1"), COORDINATORS),
    idle("offsets.commit.timeout.ms", Kind::Int, Some("5000"), COORDINATORS),
    idle("offsets.load.buffer.size", Kind::Int, Some("5242880"), COORDINATORS),
    idle("offsets.topic.compression.codec", Kind::Int, Some("0"), COORDINATORS),
    idle("process.roles", Kind::List, Some(""), QUORUM),
    idle("producer.id.expiration.check.interval.ms", Kind::Int, Some("600000"), TRANSACTIONS),
    idle("producer.purgatory.purge.interval.requests", Kind::Int, Some("1000"), PURGATORY),
    idle("queued.max.request.bytes", Kind::Long, Some("-1"), CORES),
    idle("queued.max.requests", Kind::Int, Some("500"), CORES),
    idle("remote.fetch.max.wait.ms", Kind::Int, Some("500"), TIERS).updated(Update::ClusterWide),
    idle("remote.list.offsets.request.timeout.ms", Kind::Long, Some("30000"), TIERS)
        .updated(Update::ClusterWide),
    idle("remote.log.index.file.cache.total.size.bytes", Kind::Long, Some("1073741824"), TIERS)
        .updated(Update::ClusterWide),
    idle("remote.log.index.file.cache.ttl.ms", Kind::Long, Some("900000"), TIERS),
    idle("remote.log.manager.copier.thread.pool.size", Kind::Int, Some("10"), TIERS)
        .updated(Update::ClusterWide),
    idle(
        "remote.log.manager.copy.max.bytes.per.second",
        Kind::Long,
        Some("9223372036854775807"),
        TIERS,
    )
    .updated(Update::ClusterWide),
    idle("remote.log.manager.copy.quota.window.num", Kind::Int, Some("11"), TIERS),
    idle("remote.log.manager.copy.quota.window.size.seconds", Kind::Int, Some("1"), TIERS),
    idle("remote.log.manager.expiration.thread.pool.size", Kind::Int, Some("10"), TIERS)
        .updated(Update::ClusterWide),
    idle(
        "remote.log.manager.fetch.max.bytes.per.second",
        Kind::Long,
        Some("9223372036854775807"),
        TIERS,
    )
    .updated(Update::ClusterWide),
    idle("remote.log.manager.fetch.quota.window.num", Kind::Int, Some("11"), TIERS),
    idle("remote.log.manager.fetch.quota.window.size.seconds", Kind::Int, Some("1"), TIERS),
    idle("remote.log.manager.follower.thread.pool.size", Kind::Int, Some("2"), TIERS)
        .updated(Update::ClusterWide),
    idle("remote.log.manager.task.interval.ms", Kind::Long, Some("30000"), TIERS),
    idle("remote.log.manager.task.retry.backoff.max.ms", Kind::Long, Some("30000"), TIERS),
    idle("remote.log.manager.task.retry.backoff.ms", Kind::Long, Some("500"), TIERS),
    idle("remote.log.manager.task.retry.jitter", Kind::Double, Some("0.2"), TIERS),
    idle("remote.log.manager.thread.pool.size", Kind::Int, Some("2"), TIERS),
    idle("remote.log.metadata.custom.metadata.max.bytes", Kind::Int, Some("128"), TIERS),
    idle(
        "remote.log.metadata.manager.class.name",
        Kind::Class,
        Some(
            "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
        ),
        TIERS,
    ),
    idle("remote.log.metadata.manager.class.path", Kind::Text, None, TIERS),
    idle("remote.log.metadata.manager.impl.prefix", Kind::Text, Some("rlmm.config."), TIERS),
    idle("remote.log.metadata.manager.listener.name", Kind::Text, None, TIERS),
    idle("remote.log.reader.max.pending.tasks", Kind::Int, Some("100"), TIERS),
    idle("remote.log.reader.threads", Kind::Int, Some("10"), TIERS).updated(Update::ClusterWide),
    idle("remote.log.storage.manager.class.name", Kind::Class, None, TIERS),
    idle("remote.log.storage.manager.class.path", Kind::Text, None, TIERS),
    idle("remote.log.storage.manager.impl.prefix", Kind::Text, Some("rsm.config."), TIERS),
    idle(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        Kind::Long,
        Some("9223372036854775807"),
        ONE_NODE,
    )
    .updated(Update::ClusterWide),
    idle("replica.fetch.backoff.ms", Kind::Int, Some("1000"), ONE_NODE),
    idle("replica.fetch.max.bytes", Kind::Int, Some("1048576"), ONE_NODE),
    idle("replica.fetch.min.bytes", Kind::Int, Some("1"), ONE_NODE),
    idle("replica.fetch.response.max.bytes", Kind::Int, Some("10485760"), ONE_NODE),
    idle("replica.fetch.wait.max.ms", Kind::Int, Some("500"), ONE_NODE),
    idle("replica.high.watermark.checkpoint.interval.ms", Kind::Long, Some("5000"), ONE_NODE),
    idle("replica.lag.time.max.ms", Kind::Long, Some("30000"), ONE_NODE),
    idle("replica.socket.receive.buffer.bytes", Kind::Int, Some("65536"), ONE_NODE),
    idle("replica.socket.timeout.ms", Kind::Int, Some("30000"), ONE_NODE),
    idle("replication.quota.window.num", Kind::Int, Some("11"), QUOTAS),
    idle("replication.quota.window.size.seconds", Kind::Int, Some("1"), QUOTAS),
    idle("request.timeout.ms", Kind::Int, Some("30000"), ONE_NODE),
    idle("reserved.broker.max.id", Kind::Int, Some("1000"), OLD),
    idle("sasl.kerberos.min.time.before.relogin", Kind::Long, Some("60000"), SECURITY_IDLE)
        .updated(Update::ClusterWide),
    idle("sasl.kerberos.ticket.renew.jitter", Kind::Double, Some("0.05"), SECURITY_IDLE)
        .updated(Update::ClusterWide),
    idle("sasl.kerberos.ticket.renew.window.factor", Kind::Double, Some("0.8"), SECURITY_IDLE)
        .updated(Update::ClusterWide),
    idle("server.max.startup.time.ms", Kind::Long, Some("9223372036854775807"), QUORUM),
    idle("share.coordinator.append.linger.ms", Kind::Int, Some("5"), SHARES),
    idle("share.coordinator.cached.buffer.max.bytes", Kind::Int, Some("1048588"), SHARES)
        .updated(Update::ClusterWide),
    idle(
        "share.coordinator.cold.partition.snapshot.interval.ms",
        Kind::Int,
        Some("300000"),
        SHARES,
    ),
    idle("share.coordinator.load.buffer.size", Kind::Int, Some("5242880"), SHARES),
    idle("share.coordinator.snapshot.update.records.per.snapshot", Kind::Int, Some("500"), SHARES),
    idle("share.coordinator.state.topic.compression.codec", Kind::Int, Some("0"), SHARES),
    idle("share.coordinator.state.topic.min.isr", Kind::Short, Some("2"), SHARES),
    idle("share.coordinator.state.topic.num.partitions", Kind::Int, Some("50"), SHARES),
    idle("share.coordinator.state.topic.prune.interval.ms", Kind::Int, Some("300000"), SHARES),
    idle("share.coordinator.state.topic.replication.factor", Kind::Short, Some("3"), SHARES),
    idle("share.coordinator.state.topic.segment.bytes", Kind::Int, Some("104857600"), SHARES),
    idle("share.coordinator.threads", Kind::Int, Some("1"), SHARES),
    idle("share.coordinator.write.timeout.ms", Kind::Int, Some("5000"), SHARES),
    idle("share.fetch.purgatory.purge.interval.requests", Kind::Int, Some("1000"), SHARES),
    idle("socket.connection.setup.timeout.max.ms", Kind::Long, Some("30000"), ONE_NODE),
    idle("socket.connection.setup.timeout.ms", Kind::Long, Some("10000"), ONE_NODE),
    idle("telemetry.max.bytes", Kind::Int, Some("1048576"), METRICS),
    idle(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        Kind::Int,
        Some("10000"),
        TRANSACTIONS,
    ),
    idle("transaction.max.timeout.ms", Kind::Int, Some("900000"), TRANSACTIONS),
    idle("transaction.partition.verification.enable", Kind::Boolean, Some("true"), TRANSACTIONS)
        .updated(Update::ClusterWide),
    idle(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        Kind::Int,
        Some("3600000"),
        TRANSACTIONS,
    ),
    idle("transaction.state.log.load.buffer.size", Kind::Int, Some("5242880"), TRANSACTIONS),
    idle("transaction.state.log.min.isr", Kind::Int, Some("2"), TRANSACTIONS),
    idle("transaction.state.log.num.partitions", Kind::Int, Some("50"), TRANSACTIONS),
    idle("transaction.state.log.replication.factor", Kind::Short, Some("3"), TRANSACTIONS),
    idle("transaction.state.log.segment.bytes", Kind::Int, Some("104857600"), TRANSACTIONS),
    idle("transaction.two.phase.commit.enable", Kind::Boolean, Some("false"), TRANSACTIONS),
    idle("transactional.id.expiration.ms", Kind::Int, Some("604800000"), TRANSACTIONS),
    idle("unclean.leader.election.interval.ms", Kind::Long, Some("300000"), ONE_NODE),
    idle("unstable.api.versions.enable", Kind::Boolean, Some("false"), SECURITY_IDLE),
    idle("unstable.feature.versions.enable", Kind::Boolean, Some("false"), SECURITY_IDLE),
    idle("zookeeper.connect", Kind::Text, None, OLD),
    idle("zookeeper.connection.timeout.ms", Kind::Int, None, OLD),
    idle("zookeeper.max.in.flight.requests", Kind::Int, Some("10"), OLD),
    idle("zookeeper.metadata.migration.enable", Kind::Boolean, Some("false"), OLD),
    idle("zookeeper.session.timeout.ms", Kind::Int, Some("18000"), OLD),
    idle("zookeeper.set.acl", Kind::Boolean, Some("false"), OLD),
];

const fn idle(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    reason: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default,
        check: Check::Any,
        treatment: Treatment::NoEffect(reason),
        update: Update::ReadOnly,
        synonyms: &[],
        text: "A config of Kafka's.",
    }
}
