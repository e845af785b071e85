//! Where readers of the disk go on: the batch after what they were given, whose header was read with it.
//!
//! Who asks for it next needs no search. Invariant: at most `FOUND_MAX` are remembered, and one is given once.

use std::collections::{BTreeMap, VecDeque};

use engine::id::{Offset, PartitionId};

use crate::reader::Found;

/// As many readers may be on their way through cold logs at a time without searching.
const FOUND_MAX: usize = 1024;

type Key = (PartitionId, Offset);

/// One per shard.
#[derive(Default)]
pub struct Ahead {
    found: BTreeMap<Key, Found>,
    /// The keys, the oldest first. Those that were given are in it too, and count.
    order: VecDeque<Key>,
}

impl Ahead {
    /// A reader of `partition` who goes on will ask for the batch `found`.
    pub fn remember(&mut self, partition: PartitionId, found: Found) {
        if self.order.len() == FOUND_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
        let key = (partition, found.extent.base);
        self.order.push_back(key);
        self.found.insert(key, found);
    }

    /// The batch that begins with `offset`, where it lay when it was seen.
    pub fn take(&mut self, partition: PartitionId, offset: Offset) -> Option<Found> {
        self.found.remove(&(partition, offset))
    }
}

#[cfg(test)]
mod tests {
    use engine::extent::Extent;
    use engine::id::{FilePos, Offset, PartitionId, PartitionIndex, Timestamp, TopicId};
    use engine::segment::SegmentName;

    use super::{Ahead, FOUND_MAX};
    use crate::reader::Found;

    fn partition(index: u32) -> PartitionId {
        PartitionId { topic: TopicId::ZERO, index: PartitionIndex::new(index) }
    }

    fn found(base: i64) -> Found {
        let (base, end) = (Offset::new(base), Offset::new(base + 1));
        Found {
            segment: SegmentName { base: Offset::ZERO, revision: 0 },
            pos: FilePos::new(4096),
            extent: Extent { base, end, len_bytes: 100, max_timestamp: Timestamp::NONE },
            end: FilePos::new(8192),
            is_sealed: true,
        }
    }

    #[test]
    fn a_batch_is_given_once_and_to_who_asks_for_its_first_offset() {
        let mut ahead = Ahead::default();
        ahead.remember(partition(0), found(7));
        assert!(ahead.take(partition(1), Offset::new(7)).is_none());
        assert!(ahead.take(partition(0), Offset::new(8)).is_none());
        assert!(ahead.take(partition(0), Offset::new(7)).is_some());
        assert!(ahead.take(partition(0), Offset::new(7)).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut ahead = Ahead::default();
        let count = i64::try_from(FOUND_MAX).unwrap() + 1;
        for base in 0..count {
            ahead.remember(partition(0), found(base));
        }
        assert!(ahead.take(partition(0), Offset::ZERO).is_none());
        assert!(ahead.take(partition(0), Offset::new(1)).is_some());
        for base in count..5 * count {
            ahead.remember(partition(0), found(base));
            assert!(ahead.take(partition(0), Offset::new(base)).is_some());
        }
        assert_eq!((ahead.order.len(), ahead.found.len()), (FOUND_MAX, 0));
    }
}
