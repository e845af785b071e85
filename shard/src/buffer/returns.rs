//! Where memory comes back to, from all threads: a list whose nodes lie in the memory itself.
//!
//! Many push, one takes all. A node is never taken off alone, so that an address that comes back
//! twice does no harm. `tests/loom.rs` compiles this file on loom's memory and tries every
//! interleaving.
//!
//! Invariant: a node in the list is written, and nobody's but the list's.
#![expect(unsafe_code, reason = "nodes lie in memory that several threads give back")]

use std::ptr;

use crate::memory::{AtomicPtr, Ordering};

/// One per arena.
pub(crate) struct Returns<T> {
    /// The rest of the list hangs on it.
    newest: AtomicPtr<Node<T>>,
}

/// Lies in the first bytes of memory that comes back.
pub(crate) struct Node<T> {
    next: *mut Self,
    value: T,
}

impl<T> Returns<T> {
    pub(crate) fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Stands for the list once nobody takes from it any more.
    fn closed() -> *mut Node<T> {
        ptr::without_provenance_mut(align_of::<Node<T>>())
    }

    /// Once closed it stays so.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Relaxed, the value is only compared.
        self.newest.load(Ordering::Relaxed) == Self::closed()
    }

    /// Nothing happens if it is closed, but that `value` is dropped.
    ///
    /// # Safety
    /// `node` can be written, is aligned, and is used by nobody until `value` was taken or dropped.
    pub(crate) unsafe fn push(&self, node: *mut Node<T>, value: T) {
        // ORDERING: Relaxed, the value is only compared, and stored in a node that is ours alone.
        let mut newest = self.newest.load(Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { node.write(Node { next: newest, value }) };
        loop {
            if newest == Self::closed() {
                // SAFETY: written above, and still ours alone, as no exchange succeeded.
                let Node { value, .. } = unsafe { node.read() };
                drop(value);
                return;
            }
            // SAFETY: as above.
            unsafe { (*node).next = newest };
            // ORDERING: Release, so that all use of the memory, and of the node, came before.
            let (done, seen) = (Ordering::Release, Ordering::Relaxed);
            match self.newest.compare_exchange_weak(newest, node, done, seen) {
                Ok(_) => return,
                Err(other) => newest = other,
            }
        }
    }

    /// All that was pushed since the last call, the newest first. Nothing if it is closed.
    pub(crate) fn take(&self) -> Taken<T> {
        // ORDERING: Relaxed, a node that is missed now is seen by a later call.
        let newest = self.newest.load(Ordering::Relaxed);
        if newest.is_null() || newest == Self::closed() {
            return Taken { next: ptr::null_mut() };
        }
        // ORDERING: Acquire, pairs with the Release of `push`.
        Taken { next: self.newest.swap(ptr::null_mut(), Ordering::Acquire) }
    }

    /// Drops what was pushed, and what will be. Called once, by the one who takes.
    pub(crate) fn close(&self) {
        // ORDERING: Acquire, pairs with the Release of `push`.
        drop(Taken { next: self.newest.swap(Self::closed(), Ordering::Acquire) });
    }
}

/// A list off its place, so that nobody else reaches its nodes.
pub(crate) struct Taken<T> {
    next: *mut Node<T>,
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: a node of the list that we own, written by `push`, there as long as its value lives,
        // and read once, as the list moves on.
        let Node { next, value } = unsafe { self.next.read() };
        self.next = next;
        Some(value)
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
