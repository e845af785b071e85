//! Which member may read which partition, so that no other does.
//!
//! Knows no epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};

use crate::group::consumer_record::Current;

#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<TopicId, BTreeMap<PartitionIndex, Arc<str>>>);

impl Owners {
    pub(super) fn is_others(&self, id: &str, topic: TopicId, partition: PartitionIndex) -> bool {
        let owner = self.0.get(&topic).and_then(|it| it.get(&partition));
        owner.is_some_and(|it| &**it != id)
    }

    /// A member owned what it had `before`, and owns what it has `now`.
    ///
    /// # Panics
    /// If somebody else owns some of it.
    pub(super) fn take(&mut self, id: &Arc<str>, before: &Current, now: &Current) {
        for (topic, partition) in before.owned() {
            if let Some(partitions) = self.0.get_mut(&topic) {
                let owner = partitions.remove(&partition);
                assert!(owner.as_ref() == Some(id), "only an owner gives up");
                if partitions.is_empty() {
                    self.0.remove(&topic);
                }
            }
        }
        for (topic, partition) in now.owned() {
            let owner = self.0.entry(topic).or_default().insert(partition, Arc::clone(id));
            assert!(owner.is_none(), "a partition has at most one owner");
        }
    }
}
