//! Which partitions somebody has, by topic.
//!
//! Knows no member, and not whether a topic is there.

use std::collections::{BTreeMap, BTreeSet};

use engine::id::{PartitionIndex, TopicId};

/// A set of partitions. Invariant: no topic is without a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(BTreeMap<TopicId, BTreeSet<PartitionIndex>>);

impl Assignment {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.0.get(&topic).is_some_and(|it| it.contains(&partition))
    }

    pub fn insert(&mut self, topic: TopicId, partition: PartitionIndex) {
        self.0.entry(topic).or_default().insert(partition);
    }

    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        self.0.iter().flat_map(|(&topic, partitions)| partitions.iter().map(move |&it| (topic, it)))
    }

    /// Each topic with its partitions, both in order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &BTreeSet<PartitionIndex>)> {
        self.0.iter().map(|(&topic, partitions)| (topic, partitions))
    }
}

impl FromIterator<(TopicId, PartitionIndex)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionIndex)>>(partitions: I) -> Self {
        let mut assignment = Self::default();
        for (topic, partition) in partitions {
            assignment.insert(topic, partition);
        }
        assignment
    }
}

/// Partitions, and since which epoch their owner has had each (KIP-1251). Invariant: no topic is without a
/// partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenure(BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>);

impl Tenure {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Since which epoch.
    #[must_use]
    pub fn since(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        self.0.get(&topic)?.get(&partition).copied()
    }

    pub fn insert(&mut self, topic: TopicId, partition: PartitionIndex, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex, i32)> {
        self.0.iter().flat_map(|(&topic, partitions)| {
            partitions.iter().map(move |(&partition, &epoch)| (topic, partition, epoch))
        })
    }

    /// Each topic with its partitions and their epochs, both in order.
    pub fn topics(
        &self,
    ) -> impl ExactSizeIterator<Item = (TopicId, &BTreeMap<PartitionIndex, i32>)> {
        self.0.iter().map(|(&topic, partitions)| (topic, partitions))
    }

    #[must_use]
    pub fn to_assignment(&self) -> Assignment {
        self.iter().map(|(topic, partition, _)| (topic, partition)).collect()
    }

    /// Whether the two have a partition in common.
    pub(crate) fn meets(&self, other: &Assignment) -> bool {
        other.iter().any(|(topic, partition)| self.since(topic, partition).is_some())
    }

    pub(crate) fn has_all(&self, other: &Assignment) -> bool {
        other.iter().all(|(topic, partition)| self.since(topic, partition).is_some())
    }

    /// Whether the partitions are the same, whatever their epochs.
    pub(crate) fn has_partitions_of(&self, other: &Self) -> bool {
        let partitions = |it: &Self| it.to_assignment();
        self == other || partitions(self) == partitions(other)
    }
}
