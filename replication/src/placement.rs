//! Which core of a node owns a partition: a function of the partition's id and the number of cores.
//!
//! It keeps no state and nothing on disk depends on it, so another number of cores needs no
//! migration.
//! Invariant: the shares of one topic on any two cores differ by at most one partition.

use engine::id::{PartitionId, TopicId};

use crate::event::METADATA_TOPIC_ID;
use crate::limits::CORES_MAX;

/// The cores that partitions are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    core_count: u16,
}

impl Placement {
    /// # Panics
    /// If there is no core, or more than the limit.
    #[must_use]
    pub const fn new(core_count: u16) -> Self {
        assert!(0 < core_count);
        assert!(core_count <= CORES_MAX);
        Self { core_count }
    }

    /// Index of the owning core, below the core count. Costs a hash of 16 bytes and a few
    /// divisions.
    ///
    /// The topic's id keys a permutation of the cores, `start + index * stride`, whose stride
    /// shares no factor with their number: so each run of `core_count` partitions meets every core
    /// once, and leaders and followers
    /// on nodes with as many cores meet core to core.
    #[must_use]
    pub fn core_of(self, partition: PartitionId) -> u16 {
        if partition.topic == METADATA_TOPIC_ID {
            return 0; // The node's metadata runs on the first shard.
        }
        let count = u64::from(self.core_count);
        let key = hash(partition.topic);
        let start = (key & 0xffff_ffff) % count;
        let stride = coprime((key >> 32) % count, count);
        let core = (start + u64::from(partition.index.get()) % count * stride) % count;
        u16::try_from(core).expect("a remainder of the core count")
    }
}

/// The first number from `at_least` (and 1) on that has no factor in common with `count`.
fn coprime(at_least: u64, count: u64) -> u64 {
    // `count + 1` is one, so the search ends.
    (at_least.max(1)..=count + 1)
        .find(|&stride| divisor(stride, count) == 1)
        .expect("count + 1 has no factor in common with count")
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Spreads ids that differ in one bit. Fixed: nodes agree on it.
fn hash(topic: TopicId) -> u64 {
    let raw = u128::from_be_bytes(topic.get());
    let fold = |part: u128| u64::try_from(part & u128::from(u64::MAX)).expect("masked to 64 bits");
    mix(mix(fold(raw >> 64)) ^ fold(raw))
}

/// The finaliser of splitmix64.
fn mix(seed: u64) -> u64 {
    let a = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests {
    use engine::id::{PartitionId, PartitionIndex, TopicId};
    use proptest::prelude::{any, prop_assert, proptest};

    use super::Placement;
    use crate::event::METADATA_TOPIC_ID;

    fn partition(topic: u128, index: u32) -> PartitionId {
        PartitionId { topic: TopicId::new(topic.to_be_bytes()), index: PartitionIndex::new(index) }
    }

    fn shares(core_count: u16, partitions: impl Iterator<Item = PartitionId>) -> Vec<u32> {
        let placement = Placement::new(core_count);
        let mut shares = vec![0; usize::from(core_count)];
        for partition in partitions {
            shares[usize::from(placement.core_of(partition))] += 1;
        }
        shares
    }

    proptest! {
        #[test]
        fn every_core_gets_the_same_share_of_each_topic(
            topic in any::<u128>(), core_count in 1_u16..130, partition_count in 0_u32..600,
        ) {
            let shares = shares(core_count, (0..partition_count).map(|it| partition(topic, it)));
            let (low, high) = (shares.iter().min(), shares.iter().max());
            prop_assert!(high.expect("a core") - low.expect("a core") <= 1);
        }
    }

    #[test]
    fn topics_of_one_partition_spread_over_the_cores() {
        let shares = shares(8, (2..8_002).map(|topic| partition(topic, 0)));
        assert!(shares.iter().all(|&share| (850..1_150).contains(&share)), "{shares:?}");
    }

    #[test]
    fn the_metadata_is_on_the_first_core() {
        let id = PartitionId { topic: METADATA_TOPIC_ID, index: PartitionIndex::new(0) };
        assert!((1..100).all(|count| Placement::new(count).core_of(id) == 0));
    }

    #[test]
    fn the_same_partition_stays_on_its_core() {
        let at = |topic, index| Placement::new(16).core_of(partition(topic, index));
        let found: Vec<u16> = (0..6).map(|it| at(0x1234_5678_9abc_def0, it)).collect();
        assert_eq!(found, [11, 8, 5, 2, 15, 12]);
    }
}
