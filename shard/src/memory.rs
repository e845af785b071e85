//! What memory that threads share is made of: here std's, in the tests of every interleaving loom's.
//!
//! Only `mailbox.rs` and `buffer/returns.rs` use it.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

/// A cell that is entered by a closure, as loom's is.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, enter: impl FnOnce(*const T) -> R) -> R {
        enter(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, enter: impl FnOnce(*mut T) -> R) -> R {
        enter(self.0.get())
    }
}
