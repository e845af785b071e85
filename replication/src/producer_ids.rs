//! Hands out producer ids from a block that the metadata log granted. Ids left in a block at a
//! crash are lost.
//!
//! Invariant: `next <= end`, and no id is handed out twice.

use std::ops::Range;

use engine::id::ProducerId;

use crate::event::Event;
use crate::image::Image;
use crate::limits::PRODUCER_IDS_PER_BLOCK;

/// One per shard that answers InitProducerId, or one per node.
#[derive(Debug, Default)]
pub struct ProducerIds {
    next: i64,
    end: i64,
}

/// Ids of one durable [`Event::ProducerIdsAllocated`]. May be given to one [`ProducerIds`], once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct ProducerIdBlock(Range<i64>);

impl ProducerIds {
    /// `None` if the block is used up: allocate another, then ask again.
    pub fn take(&mut self) -> Option<ProducerId> {
        if self.next == self.end {
            return None;
        }
        let id = ProducerId::checked(self.next);
        self.next += 1;
        assert!(self.next <= self.end);
        id
    }

    /// What remains of the present block is given up.
    ///
    /// # Panics
    /// If the block is older than the present one.
    pub fn refill(&mut self, block: ProducerIdBlock) {
        assert!(self.end <= block.0.start, "blocks are granted in ascending order");
        self.next = block.0.start;
        self.end = block.0.end;
    }
}

/// The next block, and the event that grants it: the block may be used once the event is durable
/// and applied.
/// `None` if there are no ids left.
#[must_use]
pub fn allocate(image: &Image) -> Option<(Event, ProducerIdBlock)> {
    let start = image.producer_ids_next().get();
    let end = start.checked_add(PRODUCER_IDS_PER_BLOCK)?;
    let next = ProducerId::checked(end)?;
    Some((Event::ProducerIdsAllocated { next }, ProducerIdBlock(start..end)))
}

#[cfg(test)]
mod tests {
    use super::{ProducerIds, allocate};
    use crate::cluster::tests::one_node;

    #[test]
    fn ids_ascend_over_blocks_and_are_never_given_twice() {
        let mut cluster = one_node();
        let mut ids = ProducerIds::default();
        let mut taken = vec![];
        for _block in 0..2 {
            assert_eq!(ids.take(), None);
            let (event, block) = allocate(cluster.image()).expect("ids are left");
            cluster.apply(&event).expect("applies");
            ids.refill(block);
            taken.extend(std::iter::from_fn(|| ids.take()).map(engine::id::ProducerId::get));
        }
        assert_eq!(taken, (0..2_000).collect::<Vec<i64>>());
    }
}
