//! Every interleaving of threads at what they share, by loom.
//!
//! A binary of its own, as it compiles these files on loom's memory instead of the processor's.

#[path = "../src/mailbox.rs"]
#[expect(unreachable_pub, reason = "the crate exports them, this binary does not")]
mod mailbox;

#[path = "../src/buffer/returns.rs"]
mod returns;

/// Stands where the crate has std's.
mod memory {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
}

#[path = "loom/giving_back.rs"]
mod giving_back;
#[path = "loom/messages.rs"]
mod messages;
