//! The memory that requests of one shard may hold, from their first received byte to their answer.
//!
//! Counts bytes that have arrived, never bytes that were announced.
//! When it is used up sockets are not read, but for one whose request has begun: so one can always end.

use std::cell::Cell;

use crate::signal::Bell;

pub struct Permits {
    bytes_max: u64,
    used_bytes: Cell<u64>,
    /// The connection that may read on although the memory is used up.
    elder: Cell<Option<u64>>,
    freed: Bell,
}

impl Permits {
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        assert!(bytes_max > 0);
        Self { bytes_max, used_bytes: Cell::new(0), elder: Cell::new(None), freed: Bell::default() }
    }

    /// Until `connection` may read, or `is_over`.
    pub async fn wait(&self, connection: u64, is_over: impl Fn() -> bool) {
        while self.used_bytes.get() >= self.bytes_max && !is_over() {
            if self.elder.get().is_none_or(|elder| elder == connection) {
                self.elder.set(Some(connection));
                return;
            }
            self.freed.next().wait().await;
        }
    }

    pub fn take(&self, bytes: u64) {
        self.used_bytes.set(self.used_bytes.get() + bytes);
    }

    pub fn give_back(&self, bytes: u64) {
        assert!(bytes <= self.used_bytes.get(), "only what was taken is given back");
        self.used_bytes.set(self.used_bytes.get() - bytes);
        if bytes > 0 {
            self.freed.ring();
        }
    }

    /// The connection has no request that is half here.
    pub fn end_frame(&self, connection: u64) {
        if self.elder.get() == Some(connection) {
            self.elder.set(None);
            self.freed.ring();
        }
    }

    /// A connection that waits may be over.
    pub fn look_again(&self) {
        self.freed.ring();
    }

    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.get()
    }
}
