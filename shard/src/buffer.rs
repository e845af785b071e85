//! Aligned memory that the kernel may read and write: log chunks, journal frames, direct reads.
//!
//! A `Block` is written by its one owner, from the front; what is filled never changes again once a
//! `Bytes` or a `DiskRange` of it exists. Memory goes back to its shard when the last reference is
//! dropped, on whatever thread. This file knows nothing of budgets and classes: see `buffer/arena.rs`.
//!
//! Invariant: `filled <= zeroed_end <= capacity`, and `[filled, zeroed_end)` holds zeros.
#![expect(unsafe_code, reason = "memory shared with the kernel and with readers on other shards")]

pub mod arena;
mod returns;

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

use crate::buffer::returns::{Node, Returns};
use crate::limits::BLOCK_BYTES;

/// Aligned memory with one writer.
pub struct Block {
    slot: Arc<Slot>,
    zeroed_end: Cell<usize>,
}

impl Block {
    fn new(place: Place) -> Self {
        let zeroed_end = if place.is_zeros { place.bytes } else { 0 };
        let slot = Slot { place, filled: AtomicUsize::new(0) };
        Self { slot: Arc::new(slot), zeroed_end: Cell::new(zeroed_end) }
    }

    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slot.place.bytes
    }

    #[must_use]
    pub fn filled(&self) -> usize {
        // ORDERING: Relaxed, only this handle's owner stores it.
        self.slot.filled.load(Ordering::Relaxed)
    }

    /// Bytes that can still be appended.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.filled()
    }

    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.slot.filled_slice(0..self.filled())
    }

    /// Copies `bytes` behind what is filled. They must fit.
    pub fn append(&mut self, bytes: &[u8]) {
        let zeroed_end = self.zeroed_end.get();
        self.free_mut()[..bytes.len()].copy_from_slice(bytes);
        self.set_filled(self.filled() + bytes.len(), zeroed_end);
    }

    /// Lets `fill` write into the free part; it returns how many bytes, from its front, it wrote.
    pub fn append_with(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let appended = fill(self.free_mut());
        self.on_read(appended);
        appended
    }

    /// Changes filled bytes at `at`.
    ///
    /// # Panics
    /// If a `Bytes` or a `DiskRange` of this block exists, or the range is not filled.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        assert!(end <= self.filled());
        let slot = Arc::get_mut(&mut self.slot).expect("shared bytes never change");
        // SAFETY: `get_mut` proves that no other reference to the slot exists, `end <= capacity`.
        let target = unsafe { slot.slice_mut(at..end) };
        target.copy_from_slice(bytes);
    }

    /// A reference to filled bytes. It keeps the whole block's memory.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end);
        assert!(range.end <= self.filled());
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Filled { slot: Arc::clone(&self.slot), range })
    }

    /// Whole disk blocks, for the kernel to read. They may reach past the fill: the padding is zeros
    /// at the time of the call, and later appends may show up in it.
    #[must_use]
    pub fn disk(&self, range: Range<usize>) -> DiskRange {
        assert!(range.start <= range.end);
        assert!(range.start.is_multiple_of(BLOCK_BYTES));
        assert!(range.end.is_multiple_of(BLOCK_BYTES));
        assert!(range.end <= self.capacity());
        self.zero_to(range.end);
        DiskRange { slot: Arc::clone(&self.slot), range }
    }

    /// Where the kernel may write up to `room` bytes.
    pub(crate) fn free_ptr(&mut self) -> *mut u8 {
        self.free_mut().as_mut_ptr()
    }

    /// `count` bytes were written behind the fill, from its front.
    pub(crate) fn on_read(&mut self, count: usize) {
        assert!(count <= self.room(), "more was written than there was room for");
        // The writer may have touched more than it counted.
        self.set_filled(self.filled() + count, 0);
    }

    /// Where the memory is in the ring's table of registered memory, if it is.
    pub(crate) fn fixed_index(&self, home: HomeId) -> Option<u16> {
        self.slot.place.mapping.fixed_index(home)
    }

    fn free_mut(&mut self) -> &mut [u8] {
        let range = self.filled()..self.capacity();
        // SAFETY: references to the slot's memory end at the fill; behind it only the owner of this
        // block writes or reads, and it is borrowed mutably here.
        unsafe { self.slot.slice_mut(range) }
    }

    fn set_filled(&mut self, filled: usize, zeroed_end: usize) {
        assert!(self.filled() <= filled);
        assert!(filled <= self.capacity());
        self.zeroed_end.set(zeroed_end.max(filled));
        // ORDERING: Release, so that whoever sees the new fill sees the bytes before it.
        self.slot.filled.store(filled, Ordering::Release);
    }

    fn zero_to(&self, end: usize) {
        let zeroed_end = self.zeroed_end.get();
        if end <= zeroed_end {
            return;
        }
        // SAFETY: `[zeroed_end, end)` lies behind the fill: no reference to it exists. The block is not
        // `Sync`, so that its owner's thread is the only one here.
        let padding = unsafe { self.slot.slice_mut(zeroed_end..end) };
        padding.fill(0);
        self.zeroed_end.set(end);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Block({}/{})", self.filled(), self.capacity())
    }
}

/// Whole disk blocks of a `Block`, which they keep alive. The kernel only reads them.
pub struct DiskRange {
    slot: Arc<Slot>,
    range: Range<usize>,
}

impl DiskRange {
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// What a disk would read now: filled bytes, then zeros.
    #[must_use]
    pub fn copy_out(&self) -> Vec<u8> {
        // ORDERING: Acquire, so that the bytes before the fill are seen. They never change again.
        let filled = self.slot.filled.load(Ordering::Acquire).min(self.range.end);
        let mut copy = Vec::with_capacity(self.range.len());
        copy.extend_from_slice(self.slot.filled_slice(self.range.start.min(filled)..filled));
        copy.resize(self.range.len(), 0);
        copy
    }

    /// Gives up the first `count` bytes, whole disk blocks.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(count.is_multiple_of(BLOCK_BYTES));
        assert!(count <= self.len());
        self.range.start += count;
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.slot.place.ptr().wrapping_add(self.range.start).cast_const()
    }

    pub(crate) fn fixed_index(&self, home: HomeId) -> Option<u16> {
        self.slot.place.mapping.fixed_index(home)
    }
}

impl fmt::Debug for DiskRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DiskRange({:?})", self.range)
    }
}

/// What a `Bytes` of a block holds on to. `range` was filled when it was made.
struct Filled {
    slot: Arc<Slot>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.slot.filled_slice(self.range.clone())
    }
}

/// The memory of one block. Bytes before `filled` are immutable while the slot is shared.
struct Slot {
    place: Place,
    filled: AtomicUsize,
}

impl Slot {
    /// `range` must end at or before a fill that this thread has seen.
    fn filled_slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end);
        // ORDERING: Relaxed, the caller has seen a fill at least as large.
        assert!(range.end <= self.filled.load(Ordering::Relaxed));
        let start = self.place.ptr().wrapping_add(range.start);
        // SAFETY: the range lies in the place, is initialised (a mapping starts as zeros) and, being
        // filled, is not written while the slot is shared.
        unsafe { slice::from_raw_parts(start, range.len()) }
    }

    /// # Safety
    /// No other reference to the range exists, or is made while the result lives.
    #[expect(clippy::mut_from_ref, reason = "the free part belongs to the block's owner alone")]
    unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end);
        assert!(range.end <= self.place.bytes);
        let start = self.place.ptr().wrapping_add(range.start);
        // SAFETY: the range lies in the place, is initialised, and the caller is alone with it.
        unsafe { slice::from_raw_parts_mut(start, range.len()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.place.give_back();
    }
}

/// A part of a mapping, and the right to use it: no two places overlap.
struct Place {
    mapping: Arc<Mapping>,
    start: usize,
    bytes: usize,
    /// Never written to.
    is_zeros: bool,
}

impl Place {
    /// All of a fresh mapping. `None`: the operating system refused.
    fn map(home: &Arc<Home>, index: usize, bytes: usize) -> Option<Self> {
        let mapping = Arc::new(Mapping::new(home, index, bytes)?);
        Some(Self { mapping, start: 0, bytes, is_zeros: true })
    }

    /// All of a mapping, from all of its parts.
    fn join(parts: impl Iterator<Item = Self>) -> Option<Self> {
        parts.reduce(|whole, part| {
            assert!(Arc::ptr_eq(&whole.mapping, &part.mapping));
            let bytes = whole.bytes + part.bytes;
            Self { mapping: whole.mapping, start: 0, bytes, is_zeros: false }
        })
    }

    /// Takes the first `bytes`.
    fn split_front(&mut self, bytes: usize) -> Self {
        assert!(bytes.is_multiple_of(BLOCK_BYTES));
        assert!(bytes <= self.bytes);
        let front = Self { mapping: Arc::clone(&self.mapping), bytes, ..*self };
        self.start += bytes;
        self.bytes -= bytes;
        front
    }

    fn ptr(&self) -> *mut u8 {
        assert!(self.start + self.bytes <= self.mapping.mapped_bytes);
        self.mapping.start.as_ptr().wrapping_add(self.start)
    }

    /// Called once, by the last owner, which does not use the memory again.
    fn give_back(&self) {
        let returned = &self.mapping.home.returned;
        if returned.is_closed() {
            return;
        }
        let place = Self { mapping: Arc::clone(&self.mapping), is_zeros: false, ..*self };
        // SAFETY: the memory is ours alone, aligned to a disk block, no smaller than one, and mapped as
        // long as its place lives.
        unsafe { returned.push(self.ptr().cast(), place) };
    }
}

/// Which arena memory came from: its index in a ring's table means nothing to another ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HomeId(usize);

/// Where the memory of one arena returns to, from all threads. Once the arena is gone memory is
/// unmapped with its last reference.
struct Home {
    returned: Returns<Place>,
}

const _: () = assert!(size_of::<Node<Place>>() <= BLOCK_BYTES);
const _: () = assert!(align_of::<Node<Place>>() <= BLOCK_BYTES);

impl Home {
    fn new() -> Arc<Self> {
        Arc::new(Self { returned: Returns::new() })
    }

    fn id(self: &Arc<Self>) -> HomeId {
        HomeId(Arc::as_ptr(self).addr())
    }
}

/// Memory from the operating system. Unmapped when the last place in it is gone.
struct Mapping {
    home: Arc<Home>,
    /// In the arena's list, and in the ring's table of registered memory.
    index: usize,
    start: NonNull<u8>,
    mapped_bytes: usize,
    is_registered: AtomicBool,
}

// SAFETY: the memory belongs to the places in it, and each of them has one owner; nothing here reads or
// writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `None`: the operating system refused.
    fn new(home: &Arc<Home>, index: usize, mapped_bytes: usize) -> Option<Self> {
        assert!(mapped_bytes.is_multiple_of(BLOCK_BYTES));
        // SAFETY: a private anonymous mapping at an address that the kernel chooses.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = NonNull::new(start.cast())?;
        let is_registered = AtomicBool::new(false);
        Some(Self { home: Arc::clone(home), index, start, mapped_bytes, is_registered })
    }

    fn fixed_index(&self, home: HomeId) -> Option<u16> {
        // ORDERING: Relaxed, the one thread that acts on it, that of the ring, also stores it.
        let is_registered = self.is_registered.load(Ordering::Relaxed);
        (is_registered && self.home.id() == home)
            .then(|| u16::try_from(self.index).expect("only small indexes are registered"))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; no place in it is left, as each holds a reference to the mapping.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped_bytes) };
        assert_eq!(result, 0, "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;
    use std::os::fd::FromRawFd;

    use super::*;
    use crate::buffer::arena::Arena;

    /// A file that the kernel wrote from `range`.
    pub(crate) fn written(range: &DiskRange) -> File {
        // SAFETY: the name ends with a zero.
        let fd = unsafe { libc::memfd_create(c"range".as_ptr(), 0) };
        // SAFETY: just opened, owned by nobody else.
        let file = unsafe { File::from_raw_fd(fd) };
        // SAFETY: the range keeps its memory alive.
        let count = unsafe { libc::write(fd, range.as_ptr().cast(), range.len()) };
        assert_eq!(usize::try_from(count), Ok(range.len()));
        file
    }

    fn block() -> Block {
        Arena::new(1 << 20).allocate(4096).expect("within budget")
    }

    #[test]
    fn appends_follow_each_other() {
        let mut block = block();
        block.append(b"ab");
        block.append(b"");
        assert_eq!(
            block.append_with(|free| {
                free[..2].copy_from_slice(b"cd");
                2
            }),
            2
        );
        assert_eq!(block.as_slice(), b"abcd");
        assert_eq!(block.room(), 4092);
        assert_eq!(block.bytes(1..3), b"bc".as_slice());
        assert!(block.bytes(4..4).is_empty());
    }

    #[test]
    fn a_block_that_nobody_shares_can_be_patched() {
        let mut block = block();
        block.append(b"abcd");
        drop(block.bytes(0..4));
        block.patch(1, b"XY");
        assert_eq!(block.as_slice(), b"aXYd");
    }

    #[test]
    fn shared_bytes_cannot_be_patched() {
        let mut block = block();
        block.append(b"abcd");
        for shared in [true, false] {
            let bytes = shared.then(|| block.bytes(0..1));
            assert_eq!(Arc::get_mut(&mut block.slot).is_none(), shared);
            drop(bytes);
        }
    }
}
