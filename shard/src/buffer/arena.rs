//! One shard's budget of block memory: extents from the operating system, cut into size classes.
//!
//! An extent serves one class at a time, is made on demand, and is given back when it is empty, but for
//! a few spares. It asks to be registered with a ring and works without.
//!
//! Invariant: `mapped_bytes <= budget_bytes`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Block, Home, HomeId, Mapping, Place};

/// Sizes of blocks.
pub const CLASS_BYTES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Largest block. Also the size of an extent.
pub const EXTENT_BYTES: usize = CLASS_BYTES[CLASS_BYTES.len() - 1];
/// Extents that are kept for the next use though they are empty.
const SPARES_MAX: usize = 2;
/// The kernel's bound of a ring's table (`IORING_MAX_REG_BUFFERS`). Extents past it stay unregistered.
const REGISTERED_MAX: usize = 1 << 14;

/// One per shard. Its blocks may outlive it, and end on other threads.
pub struct Arena {
    home: Arc<Home>,
    budget_bytes: usize,
    /// By index. `None`: the index is free.
    extents: Vec<Option<Extent>>,
    free_indexes: BTreeSet<usize>,
    /// By class, the extents that have a free place. The lowest is used first, so that others drain.
    open: [BTreeSet<usize>; CLASS_BYTES.len()],
    spares: Vec<usize>,
    registrations: VecDeque<Registration>,
}

struct Extent {
    class: usize,
    used_count: usize,
    /// Given back; the last was used most recently, so its cache lines are warm.
    free: Vec<Place>,
    /// Not yet cut into blocks.
    rest: Place,
    is_registering: bool,
}

impl Arena {
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            home: Home::new(),
            budget_bytes,
            extents: Vec::new(),
            free_indexes: BTreeSet::new(),
            open: Default::default(),
            spares: Vec::new(),
            registrations: VecDeque::new(),
        }
    }

    /// A block with room for `bytes`, at least one class size. `None`: the budget is used up.
    pub fn allocate(&mut self, bytes: usize) -> Option<Block> {
        let class = class_of(bytes);
        self.reclaim();
        let index = match self.open[class].first() {
            Some(index) => *index,
            None => self.open_extent(class)?,
        };
        let extent = self.extents[index].as_mut().expect("an open extent exists");
        let place = extent.take();
        if !extent.has_free() {
            self.open[class].remove(&index);
        }
        Some(Block::new(place))
    }

    /// As `allocate`, but new memory is taken from the operating system only while it is less than
    /// `mapped_bytes_max`.
    pub fn allocate_within(&mut self, bytes: usize, mapped_bytes_max: usize) -> Option<Block> {
        self.reclaim();
        let class = class_of(bytes);
        let has_place = !self.open[class].is_empty() || !self.spares.is_empty();
        if !has_place && self.mapped_bytes() + EXTENT_BYTES > mapped_bytes_max {
            return None;
        }
        self.allocate(bytes)
    }

    /// Takes back what was dropped anywhere since the last call; `allocate` does so too.
    pub fn reclaim(&mut self) {
        for place in self.home.returned.take() {
            self.on_returned(place);
        }
    }

    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Memory held from the operating system.
    #[must_use]
    pub fn mapped_bytes(&self) -> usize {
        (self.extents.len() - self.free_indexes.len()) * EXTENT_BYTES
    }

    /// Memory in blocks that were not dropped at the last `reclaim`.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let extents = self.extents.iter().flatten();
        extents.map(|it| it.used_count * CLASS_BYTES[it.class]).sum()
    }

    /// Identifies this arena's memory among that of other shards.
    pub(crate) fn home_id(&self) -> HomeId {
        self.home.id()
    }

    /// Entries that a ring's table of registered memory needs.
    pub(crate) fn registered_max(&self) -> usize {
        (self.budget_bytes / EXTENT_BYTES).min(REGISTERED_MAX)
    }

    /// The next change to the ring's table of registered memory.
    pub(crate) fn poll_registration(&mut self) -> Option<Registration> {
        self.registrations.pop_front()
    }

    fn open_extent(&mut self, class: usize) -> Option<usize> {
        let index = match self.spares.pop() {
            Some(index) => index,
            None => self.map_extent()?,
        };
        let extent = self.extents[index].as_mut().expect("a spare or fresh extent exists");
        assert_eq!(extent.used_count, 0);
        extent.class = class;
        self.open[class].insert(index);
        Some(index)
    }

    fn map_extent(&mut self) -> Option<usize> {
        if self.mapped_bytes() + EXTENT_BYTES > self.budget_bytes {
            return None;
        }
        let index = self.free_indexes.first().copied().unwrap_or(self.extents.len());
        let rest = Place::map(&self.home, index, EXTENT_BYTES)?;
        let is_registering = index < self.registered_max();
        if is_registering {
            let memory = Some(Arc::clone(&rest.mapping));
            self.registrations.push_back(Registration { index, memory });
        }
        if !self.free_indexes.remove(&index) {
            self.extents.push(None);
        }
        self.extents[index] =
            Some(Extent { class: 0, used_count: 0, free: Vec::new(), rest, is_registering });
        Some(index)
    }

    fn on_returned(&mut self, place: Place) {
        let index = place.mapping.index;
        let extent = self.extents[index].as_mut().expect("an extent with used places exists");
        extent.give(place);
        if extent.used_count > 0 {
            self.open[extent.class].insert(index);
            return;
        }
        self.open[extent.class].remove(&index);
        extent.join();
        if self.spares.len() < SPARES_MAX {
            self.spares.push(index);
        } else {
            self.unmap_extent(index);
        }
    }

    fn unmap_extent(&mut self, index: usize) {
        let extent = self.extents[index].take().expect("an empty extent exists");
        assert_eq!(extent.used_count, 0);
        if extent.is_registering {
            self.registrations.push_back(Registration { index, memory: None });
        }
        self.free_indexes.insert(index);
    }
}

fn class_of(bytes: usize) -> usize {
    assert!(bytes <= EXTENT_BYTES);
    CLASS_BYTES.iter().position(|it| bytes <= *it).expect("checked above")
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.home.returned.close();
    }
}

impl Extent {
    fn has_free(&self) -> bool {
        !self.free.is_empty() || self.rest.bytes > 0
    }

    fn take(&mut self) -> Place {
        self.used_count += 1;
        let bytes = CLASS_BYTES[self.class];
        self.free.pop().unwrap_or_else(|| self.rest.split_front(bytes))
    }

    fn give(&mut self, place: Place) {
        assert_eq!(place.bytes, CLASS_BYTES[self.class]);
        assert!(self.used_count > 0);
        self.used_count -= 1;
        self.free.push(place);
    }

    /// Makes one place of all, ready for another class.
    fn join(&mut self) {
        assert_eq!(self.used_count, 0);
        let rest = self.rest.split_front(self.rest.bytes);
        let whole = Place::join(self.free.drain(..).chain([rest])).expect("at least the rest");
        assert_eq!(whole.bytes, EXTENT_BYTES);
        self.rest = whole;
        self.free = Vec::new();
    }
}

/// A change to the ring's table of registered memory. To be carried out in order.
pub(crate) struct Registration {
    index: usize,
    /// `None`: the entry becomes empty.
    memory: Option<Arc<Mapping>>,
}

impl Registration {
    pub(crate) fn index(&self) -> u32 {
        u32::try_from(self.index).expect("at most REGISTERED_MAX")
    }

    pub(crate) fn iovec(&self) -> libc::iovec {
        match &self.memory {
            Some(memory) => {
                libc::iovec { iov_base: memory.start.as_ptr().cast(), iov_len: memory.mapped_bytes }
            }
            None => libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
        }
    }

    /// The ring knows the memory. Called on the ring's thread.
    pub(crate) fn confirm(&self) {
        if let Some(memory) = &self.memory {
            // ORDERING: Relaxed, only this thread acts on it.
            memory.is_registered.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::any;
    use proptest::proptest;
    use proptest::test_runner::Config as ProptestConfig;

    use super::*;
    use crate::buffer::DiskRange;
    use crate::buffer::tests::written;
    use crate::limits::BLOCK_BYTES;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_block_has_the_smallest_class_that_fits() {
        let mut arena = Arena::new(16 * MIB);
        for (bytes, capacity) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 16 << 10), (MIB - 1, MIB), (MIB, MIB)]
        {
            assert_eq!(arena.allocate(bytes).unwrap().capacity(), capacity);
        }
    }

    #[test]
    fn memory_that_is_there_is_used_though_no_more_may_be_mapped() {
        let mut arena = Arena::new(16 * MIB);
        let first = arena.allocate_within(MIB, 2 * MIB).unwrap();
        let _second = arena.allocate_within(MIB, 2 * MIB).unwrap();
        assert!(arena.allocate_within(MIB, 2 * MIB).is_none());
        drop(first);
        let _third = arena.allocate_within(MIB, 2 * MIB).unwrap();
        let _fourth = arena.allocate(MIB).unwrap();
        assert_eq!(arena.mapped_bytes(), 3 * MIB);
    }

    #[test]
    fn the_budget_ends_and_comes_back() {
        let mut arena = Arena::new(2 * MIB + 5);
        let first = arena.allocate(MIB).unwrap();
        let small = arena.allocate(10).unwrap();
        assert!(arena.allocate(MIB).is_none());
        drop(first);
        drop(small);
        let blocks: Vec<_> = std::iter::from_fn(|| arena.allocate(64 << 10)).collect();
        assert_eq!(blocks.len(), 32);
        assert_eq!(arena.used_bytes(), 2 * MIB);
    }

    #[test]
    fn empty_extents_go_back_but_for_the_spares() {
        let mut arena = Arena::new(64 * MIB);
        let blocks: Vec<_> = (0..20).map(|_| arena.allocate(MIB).unwrap()).collect();
        assert_eq!(arena.mapped_bytes(), 20 * MIB);
        drop(blocks);
        arena.reclaim();
        assert_eq!(arena.mapped_bytes(), SPARES_MAX * MIB);
        assert_eq!(arena.used_bytes(), 0);
    }

    #[test]
    fn padding_is_zeros_also_in_used_memory() {
        let mut arena = Arena::new(MIB);
        let mut block = arena.allocate(16 << 10).unwrap();
        block.append(&[7; 16 << 10]);
        drop(block);
        let mut block = arena.allocate(16 << 10).unwrap();
        block.append(b"abc");
        let range = block.disk(0..8192);
        assert_eq!(raw(&range), [b"abc".as_slice(), &[0; 8189]].concat());
        block.append(b"def");
        assert_eq!(raw(&range), [b"abcdef".as_slice(), &[0; 8186]].concat());
        assert_eq!(range.copy_out(), raw(&range));
        block.append_with(|free| {
            free.fill(9);
            1
        });
        assert_eq!(raw(&block.disk(0..4096)), [b"abcdef\x09".as_slice(), &[0; 4089]].concat());
    }

    /// What the kernel reads.
    fn raw(range: &DiskRange) -> Vec<u8> {
        let mut copy = vec![0; range.len()];
        let file = written(range);
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut copy, 0).unwrap();
        copy
    }

    #[test]
    fn bytes_outlive_block_and_arena() {
        let mut arena = Arena::new(MIB);
        let mut block = arena.allocate(4096).unwrap();
        block.append(b"hello world");
        let bytes = block.bytes(6..11);
        let range = block.disk(0..4096);
        drop(block);
        drop(arena);
        assert_eq!(bytes, Bytes::from_static(b"world"));
        assert_eq!(&range.copy_out()[..12], b"hello world\0");
    }

    #[test]
    fn memory_dropped_on_other_threads_comes_back() {
        let mut arena = Arena::new(4 * MIB);
        for _ in 0..50 {
            let bytes: Vec<Bytes> = std::iter::from_fn(|| {
                let mut block = arena.allocate(64 << 10)?;
                block.append(b"x");
                Some(block.bytes(0..1))
            })
            .collect();
            assert_eq!(bytes.len(), 64);
            std::thread::scope(|scope| {
                for chunk in bytes.chunks(16) {
                    let chunk = chunk.to_vec();
                    scope.spawn(move || drop(chunk));
                }
                drop(bytes);
            });
        }
        arena.reclaim();
        assert_eq!(arena.used_bytes(), 0);
    }

    #[test]
    fn an_arena_may_close_while_memory_comes_back() {
        for _ in 0..200 {
            let mut arena = Arena::new(MIB);
            let blocks: Vec<_> = (0..16).map(|_| arena.allocate(4096).unwrap()).collect();
            std::thread::scope(|scope| {
                scope.spawn(move || drop(blocks));
                drop(arena);
            });
        }
    }

    #[test]
    fn registrations_name_each_extent_in_order() {
        let mut arena = Arena::new(8 * MIB);
        let home = arena.home_id();
        let blocks: Vec<_> = (0..3).map(|_| arena.allocate(MIB).unwrap()).collect();
        for (index, block) in blocks.iter().enumerate() {
            let registration = arena.poll_registration().unwrap();
            assert_eq!(registration.index(), u32::try_from(index).unwrap());
            assert_eq!(block.disk(0..BLOCK_BYTES).fixed_index(home), None);
            registration.confirm();
            let fixed = block.disk(0..BLOCK_BYTES).fixed_index(home);
            assert_eq!(fixed, Some(u16::try_from(index).unwrap()));
            assert_eq!(block.fixed_index(Arena::new(0).home_id()), None);
        }
        drop(blocks);
        arena.reclaim();
        let removed = arena.poll_registration().unwrap();
        assert_eq!(removed.iovec().iov_len, 0);
        assert!(arena.poll_registration().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn blocks_never_overlap(sizes in proptest::collection::vec((0usize..MIB, any::<bool>()), 1..80)) {
            let mut arena = Arena::new(16 * MIB);
            let mut live: Vec<(Block, u8)> = Vec::new();
            for (index, (bytes, is_dropping)) in sizes.into_iter().enumerate() {
                let mark = u8::try_from(index).unwrap();
                if is_dropping && !live.is_empty() {
                    live.swap_remove(index % live.len());
                }
                if let Some(mut block) = arena.allocate(bytes) {
                    let capacity = block.capacity();
                    block.append_with(|free| { free.fill(mark); capacity });
                    live.push((block, mark));
                }
                let used: usize = live.iter().map(|it| it.0.capacity()).sum();
                arena.reclaim();
                assert_eq!(arena.used_bytes(), used);
                assert!(arena.mapped_bytes() <= arena.budget_bytes());
            }
            for (block, mark) in &live {
                assert!(block.as_slice().iter().all(|it| it == mark));
            }
        }
    }
}
