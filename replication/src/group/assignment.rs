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
