//! Memory that the kernel receives into: it takes a buffer when bytes arrive, so idle sockets hold none.
//!
//! Two per ring: what arrives before somebody asks for it fills only the buffers that are for that, so
//! that peers who send what nobody reads take none from those who are waited for.
//! Buffers are made in chunks, up to a bound; who finds none left waits for one to come back.
//!
//! Invariant: a buffer is either in the kernel's ring, or held by exactly one `Received`.
#![expect(unsafe_code, reason = "the kernel writes to the buffers, and reads the list of them")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Waker;

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::system::Pages;

/// Bytes of one buffer: no receive brings more.
pub(crate) const BUFFER_BYTES: usize = 32 * 1024;
/// Buffers made at a time.
const CHUNK_BUFFERS: u16 = 64;
/// Entries of the kernel's list, a power of two: more buffers than that are never made.
const ENTRIES: u16 = 2048;
/// Of all buffers, those for tasks that wait: one in so many.
const ASKED_SHARE: usize = 4;

/// What a receive brings, and into which buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// All that comes, until it is stopped, whether a task waits or not.
    Ahead,
    /// What a task waits for: it takes it when it next runs, so the buffer is back at once.
    Asked,
}

impl Supply {
    /// The name of its pool within the ring.
    pub(super) const fn group(self) -> u16 {
        match self {
            Self::Ahead => 0,
            Self::Asked => 1,
        }
    }
}

/// All buffers of a ring.
#[derive(Clone)]
pub(crate) struct Pools {
    ahead: Rc<Pool>,
    asked: Rc<Pool>,
}

impl Pools {
    /// Known to no ring yet.
    pub(super) fn new(bytes_max: usize) -> io::Result<Self> {
        let asked_bytes = bytes_max / ASKED_SHARE;
        let (ahead, asked) = (Pool::new(bytes_max - asked_bytes)?, Pool::new(asked_bytes)?);
        Ok(Self { ahead, asked })
    }

    /// # Safety
    /// The pools live as long as the ring.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        for supply in [Supply::Ahead, Supply::Asked] {
            // SAFETY: as the caller promises.
            unsafe { self.of(supply).register(submitter, supply.group()) }?;
        }
        Ok(())
    }

    pub(super) const fn of(&self, supply: Supply) -> &Rc<Pool> {
        match supply {
            Supply::Ahead => &self.ahead,
            Supply::Asked => &self.asked,
        }
    }

    /// All tasks that found no buffer.
    pub(super) fn take_starving(&self) -> impl Iterator<Item = Waker> {
        self.ahead.take_starving().into_iter().chain(self.asked.take_starving())
    }
}

/// Buffers of one supply.
pub(crate) struct Pool {
    buffers: RefCell<Buffers>,
    /// Tasks that found no buffer.
    starving: RefCell<VecDeque<Waker>>,
}

struct Buffers {
    /// The kernel's list: `ENTRIES` entries. It reads those before the tail.
    entries: Pages,
    tail: u16,
    chunks: Vec<Pages>,
    count_max: u16,
    /// Buffers that a `Received` holds.
    held_count: u16,
}

impl Pool {
    /// A pool of one chunk that may grow to `bytes_max`, and is known to no ring.
    fn new(bytes_max: usize) -> io::Result<Rc<Self>> {
        let entries = Pages::map(usize::from(ENTRIES) * size_of::<BufRingEntry>())?;
        let wanted = u16::try_from(bytes_max / BUFFER_BYTES).unwrap_or(ENTRIES);
        let count_max = wanted.clamp(CHUNK_BUFFERS, ENTRIES);
        let mut buffers =
            Buffers { entries, tail: 0, chunks: Vec::new(), count_max, held_count: 0 };
        assert!(buffers.grow()?);
        Ok(Rc::new(Self { buffers: RefCell::new(buffers), starving: RefCell::default() }))
    }

    /// # Safety
    /// The pool lives as long as the ring.
    unsafe fn register(&self, submitter: &Submitter<'_>, group: u16) -> io::Result<()> {
        let address = u64::try_from(self.buffers.borrow().entries.at(0).addr()).expect("64 bits");
        // SAFETY: the list has `ENTRIES` entries, is page-aligned, and the caller keeps it.
        unsafe { submitter.register_buf_ring_with_flags(address, ENTRIES, group, 0) }
    }

    /// More buffers, if the bound allows. Whether there are.
    pub(super) fn grow(&self) -> io::Result<bool> {
        self.buffers.borrow_mut().grow()
    }

    /// Whether the kernel has a buffer, or has told of one that is not yet taken note of.
    pub(super) fn has_free(&self) -> bool {
        let buffers = self.buffers.borrow();
        buffers.held_count < buffers.count()
    }

    /// Wakes `waker` when a buffer comes back.
    pub(crate) fn starve(&self, waker: Waker) {
        self.starving.borrow_mut().push_back(waker);
    }

    fn take_starving(&self) -> VecDeque<Waker> {
        std::mem::take(&mut *self.starving.borrow_mut())
    }

    /// The kernel filled `bytes` of buffer `id`, and told so once.
    pub(super) fn received(self: &Rc<Self>, id: u16, bytes: usize) -> Received {
        assert!(bytes <= BUFFER_BYTES);
        let mut buffers = self.buffers.borrow_mut();
        buffers.held_count += 1;
        let start = buffers.buffer(id).cast_const();
        Received { filled: Some(Filled { pool: Rc::clone(self), id, start, bytes }) }
    }

    fn give_back(&self, id: u16) {
        let mut buffers = self.buffers.borrow_mut();
        buffers.held_count -= 1;
        buffers.provide(id);
        drop(buffers);
        let waker = self.starving.borrow_mut().pop_front();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Buffers {
    fn grow(&mut self) -> io::Result<bool> {
        let count = self.count();
        if count + CHUNK_BUFFERS > self.count_max {
            return Ok(false);
        }
        self.chunks.push(Pages::map(usize::from(CHUNK_BUFFERS) * BUFFER_BYTES)?);
        for id in count..count + CHUNK_BUFFERS {
            self.provide(id);
        }
        Ok(true)
    }

    fn count(&self) -> u16 {
        u16::try_from(self.chunks.len()).expect("few chunks") * CHUNK_BUFFERS
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        let chunk = &self.chunks[usize::from(id / CHUNK_BUFFERS)];
        chunk.at(usize::from(id % CHUNK_BUFFERS) * BUFFER_BYTES)
    }

    /// Gives buffer `id` to the kernel.
    fn provide(&mut self, id: u16) {
        let address = u64::try_from(self.buffer(id).addr()).expect("64 bits");
        let index = usize::from(self.tail & (ENTRIES - 1));
        let entry: *mut BufRingEntry = self.entries.at(index * size_of::<BufRingEntry>()).cast();
        // SAFETY: the entry lies in the list, is behind the tail, so that the kernel does not read it,
        // and any bits are a value of it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(u32::try_from(BUFFER_BYTES).expect("small"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        let first: *const BufRingEntry = self.entries.at(0).cast_const().cast();
        // SAFETY: `first` is the list's first entry.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail lies in the list, aligned, and is only touched atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // ORDERING: Release, so that the kernel sees the entry before the tail.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Bytes that arrived on a socket. Its buffer goes back to the ring when it is dropped.
pub struct Received {
    /// `None`: the peer closed its side.
    filled: Option<Filled>,
}

struct Filled {
    pool: Rc<Pool>,
    id: u16,
    start: *const u8,
    bytes: usize,
}

impl Received {
    pub(crate) const fn end() -> Self {
        Self { filled: None }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Some(filled) = &self.filled else { return &[] };
        // SAFETY: the buffer is ours until it is given back; the kernel filled these bytes; the pool
        // keeps them mapped.
        unsafe { slice::from_raw_parts(filled.start, filled.bytes) }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.pool.give_back(self.id);
    }
}

const _: () = {
    assert!(ENTRIES.is_power_of_two());
    assert!(ENTRIES.is_multiple_of(CHUNK_BUFFERS));
    assert!(size_of::<BufRingEntry>() == 16);
};
