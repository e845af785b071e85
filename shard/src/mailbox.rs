//! A bounded queue from one shard to another, and the flag by which a shard says that it sleeps.
//!
//! One thread pushes, one pops: the two handles cannot be copied. Nobody waits here; who finds the queue
//! full or empty decides what to do. Knows nothing of what it carries.
//! `tests/loom.rs` compiles this file on loom's memory and tries every interleaving.
//!
//! Invariant: `head <= tail <= head + capacity` (as counts that may wrap around), and exactly the slots
//! of `head..tail` hold values.
#![expect(unsafe_code, reason = "memory that two threads share; see SAFETY and ORDERING below")]

use std::mem::MaybeUninit;

use crate::memory::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence};

/// A queue for at most `capacity` messages.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0);
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let queue = Arc::new(Queue {
        slots: slots.collect(),
        capacity,
        head: Line(AtomicUsize::new(0)),
        tail: Line(AtomicUsize::new(0)),
    });
    let sender = Sender { queue: Arc::clone(&queue), tail: 0, head_seen: 0 };
    (sender, Receiver { queue, head: 0, tail_seen: 0 })
}

/// The pushing end.
pub struct Sender<T> {
    queue: Arc<Queue<T>>,
    /// What `queue.tail` holds: nobody else stores it.
    tail: usize,
    /// A past value of `queue.head`.
    head_seen: usize,
}

impl<T> Sender<T> {
    /// # Errors
    /// The queue is full: the message comes back.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        if self.room() == 0 {
            return Err(message);
        }
        self.queue.slot(self.tail).with_mut(|slot| {
            // SAFETY: the slot is outside `head..tail`, so the receiver does not touch it.
            unsafe { slot.write(MaybeUninit::new(message)) };
        });
        self.tail = self.tail.wrapping_add(1);
        // ORDERING: Release, so that the write above is seen by whoever sees the new tail.
        self.queue.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Messages that can be pushed now. More may be popped meanwhile, so the true number is no smaller.
    pub fn room(&mut self) -> usize {
        if self.tail.wrapping_sub(self.head_seen) == self.queue.capacity {
            // ORDERING: Acquire, so that the receiver's read of a slot happens before our write to it.
            self.head_seen = self.queue.head.0.load(Ordering::Acquire);
        }
        let used = self.tail.wrapping_sub(self.head_seen);
        assert!(used <= self.queue.capacity);
        self.queue.capacity - used
    }
}

/// The popping end.
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
    /// What `queue.head` holds: nobody else stores it.
    head: usize,
    /// A past value of `queue.tail`.
    tail_seen: usize,
}

impl<T> Receiver<T> {
    /// The oldest message.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let message = self.queue.slot(self.head).with(|slot| {
            // SAFETY: the slot is in `head..tail`: written, and not touched by the sender.
            unsafe { slot.read() }
        });
        // SAFETY: written by `push`, and read once, as the head moves on.
        let message = unsafe { message.assume_init() };
        self.head = self.head.wrapping_add(1);
        // ORDERING: Release, so that the read above happens before the sender reuses the slot.
        self.queue.head.0.store(self.head, Ordering::Release);
        Some(message)
    }

    /// At most `count_max` of the oldest messages.
    pub fn drain(&mut self, count_max: usize) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.pop()).take(count_max)
    }

    /// Whether nothing can be popped now.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            // ORDERING: Acquire, so that the sender's writes to the slots before the tail are seen.
            self.tail_seen = self.queue.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

/// Whether a shard waits to be woken. One per shard, shared with all who send to it.
///
/// The shard calls `begin`, looks at all its queues again, and only if they are empty waits; after it,
/// `end`. A sender pushes, then asks `interrupt` whether it must wake the shard.
///
/// No wake-up is lost: both sides store, pass a sequentially consistent fence, and load what the other
/// stored. Whichever fence is second, that side sees the other's store. Of all senders, one gets to wake.
pub struct Slumber {
    is_asleep: Line<AtomicBool>,
}

impl Default for Slumber {
    fn default() -> Self {
        Self { is_asleep: Line(AtomicBool::new(false)) }
    }
}

impl Slumber {
    /// What was pushed before this call must be looked for after it.
    pub fn begin(&self) {
        // ORDERING: AcqRel, as for all changes of the flag: each is ordered after those before it.
        self.is_asleep.0.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    pub fn end(&self) {
        // ORDERING: AcqRel, see `begin`.
        self.is_asleep.0.swap(false, Ordering::AcqRel);
    }

    /// Whether the caller, who has just pushed, must wake the shard.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed, the fence orders it after the push. A load, as it keeps the line shared
        // while the shard is awake.
        let is_asleep = self.is_asleep.0.load(Ordering::Relaxed);
        // ORDERING: AcqRel, see `begin`.
        is_asleep && self.is_asleep.0.swap(false, Ordering::AcqRel)
    }
}

struct Queue<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    capacity: usize,
    /// Popped so far. Stored by the receiver.
    head: Line<AtomicUsize>,
    /// Pushed so far. Stored by the sender.
    tail: Line<AtomicUsize>,
}

// SAFETY: the queue moves values from the sender's thread to the receiver's; a slot is touched by one of
// them at a time, and the counts order them.
unsafe impl<T: Send> Send for Queue<T> {}
// SAFETY: as above; there is one sender and one receiver, as neither can be cloned.
unsafe impl<T: Send> Sync for Queue<T> {}

impl<T> Queue<T> {
    fn slot(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        // ORDERING: Relaxed, both ends are gone, and dropping the last reference synchronised with them.
        let mut head = self.head.0.load(Ordering::Relaxed);
        // ORDERING: as above.
        let tail = self.tail.0.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: the slot is in `head..tail`, and nobody else is left.
                let slot = unsafe { &mut *slot };
                // SAFETY: written by `push`, not popped, and dropped once, as the head moves on.
                unsafe { slot.assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

/// A cache line of its own, and the neighbour that the processor fetches with it.
#[repr(align(128))]
struct Line<T>(T);
