//! Every config of a topic: Kafka's, and ours. In alphabetical order.

use crate::config::definition::{BrokerSynonym, Check, Definition, Kind, Treatment, Update};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

const NO_TIERS: &str = "there is no remote storage yet";
const ONE_REPLICA: &str = "partitions do not move between brokers yet";

/// What a topic answers for, and refuses to; the first are shown by DescribeConfigs.
pub static TOPIC_KEYS: &[Definition] = &[
    key(
        "cleanup.policy",
        Kind::List,
        "delete",
        &[same("log.cleanup.policy")],
        "What happens to old segments: delete drops them by age and size, compact keeps the \
         last record of each key, nothing at all keeps them for ever.",
    )
    .checked(Check::In(&["compact", "delete"])),
    key(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        &[same("compression.gzip.level")],
        "The level if compression.type is gzip: 1 is the fastest, 9 the best; -1 is 6.",
    )
    .checked(Check::GzipLevel),
    key(
        "compression.lz4.level",
        Kind::Int,
        "9",
        &[same("compression.lz4.level")],
        "The level if compression.type is lz4: 9 is the fast compressor; any other is the slow \
         one, from 1 to 12, the best.",
    )
    .checked(Check::Between(1, 17)),
    key(
        "compression.type",
        Kind::Text,
        "producer",
        &[same("compression.type")],
        "The codec that batches are stored with; producer keeps each as it came. A batch in \
         another codec is opened and compressed anew, which takes the broker's time.",
    )
    .checked(Check::In(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])),
    key(
        "compression.zstd.level",
        Kind::Int,
        "3",
        &[same("compression.zstd.level")],
        "The level if compression.type is zstd: the higher, the better and slower; 0 is 3.",
    )
    .checked(Check::Between(-131_072, 22)),
    key(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        &[same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps the marker of a deleted key.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "file.delete.delay.ms",
        Kind::Long,
        "60000",
        &[same("log.segment.delete.delay.ms")],
        "How long the file of a deleted segment stays.",
    )
    .checked(Check::AtLeast(0))
    .without_effect("files go as soon as nobody reads them"),
    key(
        "flush.messages",
        Kind::Long,
        "9223372036854775807",
        &[same("log.flush.interval.messages")],
        "With write.caching=true: at most so many records are in memory only. Otherwise every \
         acknowledged record is on the device.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "flush.ms",
        Kind::Long,
        "9223372036854775807",
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "With write.caching=true: a record is in memory only for at most so long. Otherwise \
         every acknowledged record is on the device.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "follower.replication.throttled.replicas",
        Kind::List,
        "",
        &[],
        "Replicas whose replication is throttled on the follower.",
    )
    .checked(Check::ThrottledReplicas)
    .without_effect(ONE_REPLICA),
    key(
        "index.interval.bytes",
        Kind::Int,
        "4096",
        &[same("log.index.interval.bytes")],
        "Bytes of log between two entries of the index, at first: a long segment's index is \
         thinned.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "leader.replication.throttled.replicas",
        Kind::List,
        "",
        &[],
        "Replicas whose replication is throttled on the leader.",
    )
    .checked(Check::ThrottledReplicas)
    .without_effect(ONE_REPLICA),
    key(
        "local.retention.bytes",
        Kind::Long,
        "-2",
        &[same("log.local.retention.bytes")],
        "Bytes that stay on this node's disk; -2 is retention.bytes.",
    )
    .checked(Check::AtLeast(-2))
    .without_effect(NO_TIERS),
    key(
        "local.retention.ms",
        Kind::Long,
        "-2",
        &[same("log.local.retention.ms")],
        "How long records stay on this node's disk; -2 is retention.ms.",
    )
    .checked(Check::AtLeast(-2))
    .without_effect(NO_TIERS),
    key(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        &[same("log.cleaner.max.compaction.lag.ms")],
        "A record is compacted after at most so long.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        &[same("message.max.bytes")],
        "The largest batch, after compression: as it is sent, and as it is stored.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "message.downconversion.enable",
        Kind::Boolean,
        "true",
        &[same("log.message.downconversion.enable")],
        "Whether batches are rewritten for very old consumers.",
    )
    .without_effect("batches are served as they are stored"),
    key(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record's time may be ahead of the broker's clock.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record's time may be behind the broker's clock.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "message.timestamp.type",
        Kind::Text,
        "CreateTime",
        &[same("log.message.timestamp.type")],
        "Whose clock a record's time is from: CreateTime the producer's, LogAppendTime the \
         broker's.",
    )
    .checked(Check::In(&["CreateTime", "LogAppendTime"])),
    key(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        &[same("log.cleaner.min.cleanable.ratio")],
        "The share of a log that must be new before it is compacted.",
    )
    .checked(Check::Ratio),
    key(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        &[same("log.cleaner.min.compaction.lag.ms")],
        "A record is not compacted before it is this old.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "min.insync.replicas",
        Kind::Int,
        "1",
        &[same("min.insync.replicas")],
        "Replicas that must hold a record before acks=all is answered; at most the replication \
         factor counts.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "odradek.records.validation",
        Kind::Text,
        "full",
        &[],
        "full opens every batch and checks each record, as Kafka does; headers trusts the \
         topic's producers and checks only the header and checksum of a batch that is in the \
         topic's codec. A compacted topic's are opened all the same, for their keys.",
    )
    .checked(Check::In(&["full", "headers"])),
    key(
        "preallocate",
        Kind::Boolean,
        "false",
        &[same("log.preallocate")],
        "Whether segment files get their space beforehand.",
    )
    .without_effect("they always do"),
    key("remote.log.copy.disable", Kind::Boolean, "false", &[], "Stops copying to remote storage.")
        .only(&["false"], NO_TIERS),
    key(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        &[],
        "Deletes remote data when remote storage is turned off.",
    )
    .only(&["false"], NO_TIERS),
    key(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        &[],
        "Moves old segments to remote \
         storage.",
    )
    .only(&["false"], NO_TIERS),
    key(
        "retention.bytes",
        Kind::Long,
        "-1",
        &[same("log.retention.bytes")],
        "Old segments are deleted while a partition (not the topic) is larger than this; -1 is \
         no limit.",
    ),
    key(
        "retention.ms",
        Kind::Long,
        "604800000",
        &[
            same("log.retention.ms"),
            scaled("log.retention.minutes", MINUTE_MS),
            scaled("log.retention.hours", HOUR_MS),
        ],
        "Segments are deleted once their last record is older than this; -1 is for ever.",
    )
    .checked(Check::AtLeast(-1)),
    key(
        "segment.bytes",
        Kind::Int,
        "1073741824",
        &[same("log.segment.bytes")],
        "The largest segment file. Only closed segments can be deleted.",
    )
    .checked(Check::AtLeast(1_048_576)),
    key(
        "segment.index.bytes",
        Kind::Int,
        "10485760",
        &[same("log.index.size.max.bytes")],
        "The largest index of a segment.",
    )
    .checked(Check::AtLeast(4))
    .without_effect("an index has at most 4096 entries"),
    key(
        "segment.jitter.ms",
        Kind::Long,
        "0",
        &[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", HOUR_MS)],
        "Segments close up to so much earlier than segment.ms, so that not all close at once.",
    )
    .checked(Check::AtLeast(0)),
    key(
        "segment.ms",
        Kind::Long,
        "604800000",
        &[same("log.roll.ms"), scaled("log.roll.hours", HOUR_MS)],
        "A segment is closed once its first record is this old.",
    )
    .checked(Check::AtLeast(1)),
    key(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        &[same("unclean.leader.election.enable")],
        "Whether a replica that lacks acknowledged records may become the leader.",
    )
    .only(&["false"], "acknowledged records are never given up"),
    key(
        "write.caching",
        Kind::Boolean,
        "false",
        &[],
        "true acknowledges records from memory, bounded by flush.messages and flush.ms: A CRASH \
         OR POWER CUT LOSES THEM. false: an acknowledged record is on the device.",
    ),
];

/// Keys of a Kafka newer than the one whose configs we show. They name what does not exist here.
pub static TOPIC_KEYS_REFUSED: &[(&str, &str)] = &[
    ("errors.deadletterqueue.group.enable", "there are no share groups yet"),
    ("remote.copy.lag.bytes", NO_TIERS),
    ("remote.copy.lag.ms", NO_TIERS),
];

/// The definition of `name`, if it is a topic's config.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static Definition> {
    let index = TOPIC_KEYS.binary_search_by(|it| it.name.cmp(name)).ok()?;
    TOPIC_KEYS.get(index)
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    synonyms: &'static [BrokerSynonym],
    text: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default: Some(default),
        check: Check::Any,
        treatment: Treatment::Honoured,
        update: Update::ClusterWide,
        synonyms,
        text,
    }
}

const fn same(key: &'static str) -> BrokerSynonym {
    scaled(key, 1)
}

const fn scaled(key: &'static str, factor: i64) -> BrokerSynonym {
    BrokerSynonym { key, factor }
}

#[cfg(test)]
mod tests {
    use super::{TOPIC_KEYS, TOPIC_KEYS_REFUSED, topic_key};
    use crate::config::broker_keys::broker_key;

    #[test]
    fn there_are_kafkas_34_keys_and_two_of_ours_in_order() {
        assert!(TOPIC_KEYS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(TOPIC_KEYS.len(), 34 + 2);
        assert!(
            TOPIC_KEYS
                .iter()
                .all(|it| topic_key(it.name).is_some_and(|found| std::ptr::eq(found, it)))
        );
        assert!(TOPIC_KEYS_REFUSED.iter().all(|(name, _)| topic_key(name).is_none()));
    }

    #[test]
    fn defaults_are_canonical_and_agree_with_the_brokers() {
        for key in TOPIC_KEYS {
            let default = key.default.expect("a topic's config always has one");
            assert_eq!(key.canonical(default).as_deref(), Ok(default), "{}", key.name);
            let defaults: Vec<_> = key
                .synonyms
                .iter()
                .filter_map(|synonym| {
                    let broker = broker_key(synonym.key)
                        .unwrap_or_else(|| panic!("{} is a broker's key", synonym.key));
                    Some((broker.default?, synonym.factor))
                })
                .collect();
            for (broker_default, factor) in defaults {
                let scaled = match broker_default.parse::<i64>() {
                    Ok(number) if factor != 1 => (number * factor).to_string(),
                    _ => broker_default.to_owned(),
                };
                assert_eq!(scaled, default, "{}", key.name);
            }
        }
    }
}
