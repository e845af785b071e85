//! The committed offsets of one group.
//!
//! Knows no member.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::id::{PartitionIndex, Timestamp};

use crate::group::memory::{OFFSET_BYTES, len, of_topic};
use crate::group::record::Committed;

/// Invariant: no topic is without a partition.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    by_topic: BTreeMap<Arc<str>, BTreeMap<PartitionIndex, Committed>>,
    count: usize,
    /// What they take of memory, about.
    bytes: u64,
}

impl Offsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        self.by_topic.get(topic)?.get(&partition)
    }

    pub(crate) fn insert(&mut self, topic: Arc<str>, partition: PartitionIndex, to: Committed) {
        self.bytes += of_offset(&to);
        let of_topic = of_topic(&topic);
        let partitions = self.by_topic.entry(topic).or_default();
        if partitions.is_empty() {
            self.bytes += of_topic;
        }
        match partitions.insert(partition, to) {
            Some(replaced) => self.bytes -= of_offset(&replaced),
            None => self.count += 1,
        }
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        let Some(partitions) = self.by_topic.get_mut(topic) else { return false };
        let Some(removed) = partitions.remove(&partition) else { return false };
        self.count -= 1;
        self.bytes -= of_offset(&removed);
        if partitions.is_empty() {
            self.by_topic.remove(topic);
            self.bytes -= of_topic(topic);
        }
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, PartitionIndex, &Committed)> {
        self.by_topic.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(&partition, it)| (topic, partition, it))
        })
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.by_topic.contains_key(topic)
    }

    /// The partitions of `topic` that have one.
    pub(crate) fn of_topic(&self, topic: &str) -> Vec<PartitionIndex> {
        self.by_topic.get(topic).map(|it| it.keys().copied().collect()).unwrap_or_default()
    }

    /// Offsets that nobody has use for any more. `kept_since` gives the time from which an offset of a
    /// topic is kept for `retention_ms`, or nothing for one that is in use.
    pub(crate) fn expired(
        &self,
        now: Timestamp,
        retention_ms: i64,
        kept_since: impl Fn(&str, &Committed) -> Option<Timestamp>,
    ) -> Vec<(Arc<str>, PartitionIndex)> {
        let is_expired = |topic: &str, it: &Committed| {
            let Some(since) = kept_since(topic, it) else { return false };
            let until = it
                .expires_at
                .map_or_else(|| since.get().saturating_add(retention_ms), Timestamp::get);
            until <= now.get()
        };
        let expired = self.iter().filter(|(topic, _, it)| is_expired(topic, it));
        expired.map(|(topic, partition, _)| (Arc::clone(topic), partition)).collect()
    }
}

fn of_offset(committed: &Committed) -> u64 {
    OFFSET_BYTES + len(committed.metadata.len())
}
