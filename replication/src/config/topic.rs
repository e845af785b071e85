//! A topic's settings as they hold for it: its own over the broker's defaults, as numbers and
//! enums.

use crate::config::broker::{Configs, Layers, Setting, Source};
use crate::config::definition::{Definition, split};
use crate::config::topic_keys::TOPIC_KEYS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    pub segment: SegmentRules,
    pub retention: Retention,
    pub cleanup: Cleanup,
    pub compaction: CompactionRules,
    /// `max.message.bytes`: of a batch as it arrives, and as it is stored.
    pub batch_bytes_max: u32,
    pub compression: Compression,
    pub timestamps: TimestampRules,
    /// `min.insync.replicas`. Not more than the replication factor counts.
    pub in_sync_replicas_min: u32,
    pub durability: Durability,
    pub validation: Validation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRules {
    pub bytes_max: u32,
    pub age_ms_max: i64,
    /// A segment closes up to so much earlier, by chance.
    pub jitter_ms_max: i64,
    pub index_interval_bytes: u32,
    pub delete_delay_ms: i64,
}

/// `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    pub bytes_max: Option<u64>,
    pub age_ms_max: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// `cleanup.policy=` with nothing: everything is kept for ever.
    Keep,
    Delete,
    Compact,
    CompactAndDelete,
}

impl Cleanup {
    /// Whether records are dropped by age and size.
    #[must_use]
    pub const fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }

    /// Whether a record without a key is refused.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionRules {
    pub lag_ms_min: i64,
    pub lag_ms_max: i64,
    pub tombstone_ms: i64,
    /// The share of a log that must be new, in millionths.
    pub dirty_ratio_min: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampRules {
    pub clock: Clock,
    pub before_ms_max: i64,
    pub after_ms_max: i64,
}

/// Whose clock a record's time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `CreateTime`.
    Producer,
    /// `LogAppendTime`.
    Broker,
}

/// `compression.type`, with the level that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Batches stay as they come.
    Producer,
    Uncompressed,
    Gzip {
        level: i32,
    },
    Snappy,
    Lz4 {
        level: i32,
    },
    Zstd {
        level: i32,
    },
}

/// What an acknowledged record has survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the device.
    Device,
    /// It is in memory: `write.caching=true`. A crash loses at most so many records and so much
    /// time.
    Memory { records_max: i64, ms_max: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Every batch is opened and each record checked.
    Full,
    /// The batch's header and checksum only.
    Headers,
}

impl TopicConfig {
    /// `defaults` are [`defaults`].
    ///
    /// # Panics
    /// If a value is not canonical for its key.
    #[must_use]
    pub fn resolve(defaults: &Configs, overrides: &Configs) -> Self {
        let text = |name: &str| {
            let value = overrides.get(name).or_else(|| defaults.get(name));
            value.expect("every key has a default").as_str()
        };
        let number =
            |name| text(name).parse::<i64>().expect("canonical form: checked when it was set");
        let count = |name| u32::try_from(number(name)).expect("its least value is not negative");
        let limit = |name| Some(number(name)).filter(|&it| 0 <= it);
        let level = |name| i32::try_from(number(name)).expect("its bounds are those of an INT");
        let policies = split(text("cleanup.policy"));
        Self {
            segment: SegmentRules {
                bytes_max: count("segment.bytes"),
                age_ms_max: number("segment.ms"),
                jitter_ms_max: number("segment.jitter.ms"),
                index_interval_bytes: count("index.interval.bytes"),
                delete_delay_ms: number("file.delete.delay.ms"),
            },
            retention: Retention {
                bytes_max: limit("retention.bytes").and_then(|it| u64::try_from(it).ok()),
                age_ms_max: limit("retention.ms"),
            },
            cleanup: match (policies.contains(&"compact"), policies.contains(&"delete")) {
                (false, false) => Cleanup::Keep,
                (false, true) => Cleanup::Delete,
                (true, false) => Cleanup::Compact,
                (true, true) => Cleanup::CompactAndDelete,
            },
            compaction: CompactionRules {
                lag_ms_min: number("min.compaction.lag.ms"),
                lag_ms_max: number("max.compaction.lag.ms"),
                tombstone_ms: number("delete.retention.ms"),
                dirty_ratio_min: millionths(text("min.cleanable.dirty.ratio")),
            },
            batch_bytes_max: count("max.message.bytes"),
            compression: match text("compression.type") {
                "uncompressed" => Compression::Uncompressed,
                "gzip" => Compression::Gzip { level: level("compression.gzip.level") },
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4 { level: level("compression.lz4.level") },
                "zstd" => Compression::Zstd { level: level("compression.zstd.level") },
                _ => Compression::Producer,
            },
            timestamps: TimestampRules {
                clock: match text("message.timestamp.type") {
                    "LogAppendTime" => Clock::Broker,
                    _ => Clock::Producer,
                },
                before_ms_max: number("message.timestamp.before.max.ms"),
                after_ms_max: number("message.timestamp.after.max.ms"),
            },
            in_sync_replicas_min: count("min.insync.replicas"),
            durability: match text("write.caching") {
                "true" => Durability::Memory {
                    records_max: number("flush.messages"),
                    ms_max: number("flush.ms"),
                },
                _ => Durability::Device,
            },
            validation: match text("odradek.records.validation") {
                "headers" => Validation::Headers,
                _ => Validation::Full,
            },
        }
    }
}

/// Of a ratio in canonical form, from 0 to 1. What is so small that it has an exponent is nothing.
fn millionths(ratio: &str) -> u64 {
    let (whole, fraction) = ratio.split_once('.').unwrap_or((ratio, ""));
    if ratio.contains('e') {
        return 0;
    }
    let digits = fraction.chars().chain(std::iter::repeat('0')).take(6);
    let number: String = whole.chars().chain(digits).collect();
    number.parse().unwrap_or(0)
}

/// The broker's settings that `key` falls back to, the one that holds first.
#[must_use]
pub fn inherited<'a>(layers: &'a Layers, key: &'static Definition) -> Vec<Setting<'a>> {
    let names: Vec<_> = key.synonyms.iter().map(|it| it.key).collect();
    layers.settings(&names)
}

/// Every topic config as it holds for a topic that has none of its own.
#[must_use]
pub fn defaults(layers: &Layers) -> Configs {
    TOPIC_KEYS.iter().map(|key| (key.name.to_owned(), default(layers, key))).collect()
}

/// In the topic's unit.
fn default(layers: &Layers, key: &'static Definition) -> String {
    let default = || key.default.expect("a topic's config always has one").to_owned();
    let Some(setting) = inherited(layers, key).first().copied() else { return default() };
    if setting.source == Source::Default {
        return default(); // The tables' defaults agree: tested.
    }
    let factor = key.synonyms.iter().find(|it| it.key == setting.name).map_or(1, |it| it.factor);
    match setting.value.parse::<i64>() {
        Ok(count) if factor != 1 => scaled(count, factor).to_string(),
        _ => setting.value.to_owned(),
    }
}

/// A negative count is "no limit" in any unit.
fn scaled(count: i64, factor: i64) -> i64 {
    if count < 0 { -1 } else { count.saturating_mul(factor) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Cleanup, Clock, Compression, Durability, TopicConfig, Validation, defaults};
    use crate::config::broker::{Configs, Layers};

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn resolved(file: &[(&str, &str)], overrides: &[(&str, &str)]) -> TopicConfig {
        let layers = Layers { file: Arc::new(configs(file)), ..Layers::default() };
        TopicConfig::resolve(&defaults(&layers), &configs(overrides))
    }

    #[test]
    fn the_defaults_are_kafkas_and_durable() {
        let config = resolved(&[], &[]);
        assert_eq!(config.segment.bytes_max, 1 << 30);
        assert_eq!(config.segment.age_ms_max, 7 * 24 * 3_600_000);
        assert_eq!(config.retention.bytes_max, None);
        assert_eq!(config.retention.age_ms_max, Some(7 * 24 * 3_600_000));
        assert_eq!(config.cleanup, Cleanup::Delete);
        assert_eq!(config.batch_bytes_max, 1_048_588);
        assert_eq!(config.timestamps.clock, Clock::Producer);
        assert_eq!(config.timestamps.after_ms_max, 3_600_000);
        assert_eq!(config.durability, Durability::Device);
        assert_eq!(config.validation, Validation::Full);
    }

    #[test]
    fn brokers_units_become_the_topics() {
        assert_eq!(
            resolved(&[("log.retention.hours", "2")], &[]).retention.age_ms_max,
            Some(7_200_000)
        );
        assert_eq!(resolved(&[("log.retention.minutes", "-1")], &[]).retention.age_ms_max, None);
        assert_eq!(resolved(&[("log.roll.hours", "1")], &[]).segment.age_ms_max, 3_600_000);
        let own = resolved(&[("log.retention.hours", "2")], &[("retention.ms", "9")]);
        assert_eq!(own.retention.age_ms_max, Some(9));
    }

    #[test]
    fn every_compression_has_its_level_of_the_topic_or_the_broker() {
        let check = |file: &[(&str, &str)], own: &[(&str, &str)], want| {
            assert_eq!(resolved(file, own).compression, want);
        };
        check(&[], &[], Compression::Producer);
        check(&[], &[("compression.type", "producer")], Compression::Producer);
        check(&[], &[("compression.type", "uncompressed")], Compression::Uncompressed);
        check(&[], &[("compression.type", "snappy")], Compression::Snappy);
        check(&[], &[("compression.type", "gzip")], Compression::Gzip { level: -1 });
        check(&[], &[("compression.type", "lz4")], Compression::Lz4 { level: 9 });
        check(&[], &[("compression.type", "zstd")], Compression::Zstd { level: 3 });
        let broker = [("compression.type", "zstd"), ("compression.zstd.level", "-7")];
        check(&broker, &[], Compression::Zstd { level: -7 });
        check(&broker, &[("compression.zstd.level", "22")], Compression::Zstd { level: 22 });
        let own = [("compression.type", "gzip"), ("compression.gzip.level", "9")];
        check(&broker, &own, Compression::Gzip { level: 9 });
        check(&broker, &[("compression.type", "producer")], Compression::Producer);
    }

    #[test]
    fn every_cleanup_policy() {
        let cleanup = |policy| resolved(&[], &[("cleanup.policy", policy)]).cleanup;
        assert_eq!(cleanup(""), Cleanup::Keep);
        assert_eq!(cleanup("delete"), Cleanup::Delete);
        assert_eq!(cleanup("compact"), Cleanup::Compact);
        assert_eq!(cleanup("delete,compact"), Cleanup::CompactAndDelete);
        assert!(Cleanup::Compact.compacts() && !Cleanup::Compact.deletes());
    }

    #[test]
    fn the_dirty_ratio_is_counted_in_millionths() {
        let ratio = |ratio| {
            let own = [("min.cleanable.dirty.ratio", ratio)];
            resolved(&[], &own).compaction.dirty_ratio_min
        };
        assert_eq!(resolved(&[], &[]).compaction.dirty_ratio_min, 500_000);
        assert_eq!(ratio("0.0"), 0);
        assert_eq!(ratio("1.0"), 1_000_000);
        assert_eq!(ratio("0.0123456789"), 12_345);
        assert_eq!(ratio("1e-7"), 0);
    }

    #[test]
    fn write_caching_is_bounded_by_the_flush_settings() {
        let config = resolved(&[("log.flush.interval.ms", "50")], &[("write.caching", "true")]);
        assert_eq!(config.durability, Durability::Memory { records_max: i64::MAX, ms_max: 50 });
    }
}
