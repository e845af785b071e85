//! Memory of one shard that its clients make it hold: of requests from their first received byte to their
//! answer, or of answers until they are taken.
//!
//! Counts bytes that are there, never bytes that were announced.
//! When it is used up who needs more waits, but for one: so one can always end.

use std::cell::Cell;

use crate::signal::Bell;

/// How much is to be free before nobody waits any more: one in so many bytes.
const ROOM_SHARE: u64 = 8;

pub struct Permits {
    bytes_max: u64,
    used_bytes: Cell<u64>,
    /// The most that were used since somebody asked.
    most_bytes: Cell<u64>,
    /// The connection that may go on although the memory is used up.
    elder: Cell<Option<u64>>,
    freed: Bell,
}

impl Permits {
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        assert!(bytes_max > 0);
        Self {
            bytes_max,
            used_bytes: Cell::new(0),
            most_bytes: Cell::new(0),
            elder: Cell::new(None),
            freed: Bell::default(),
        }
    }

    /// Until `connection` may hold more, or `is_over`.
    pub async fn wait(&self, connection: u64, is_over: impl Fn() -> bool) {
        // Who is over must not become the elder: it would be for ever.
        while !is_over() && !self.lets(connection) {
            self.freed.next().wait().await;
        }
    }

    /// Whether `connection` may hold more now.
    pub fn lets(&self, connection: u64) -> bool {
        self.used_bytes.get() < self.bytes_max || self.lead(connection)
    }

    /// Whether `connection` is the one that may go on although memory is used up. It is if no other is.
    pub fn lead(&self, connection: u64) -> bool {
        let leads = self.elder.get().is_none_or(|elder| elder == connection);
        if leads {
            self.elder.set(Some(connection));
        }
        leads
    }

    pub fn take(&self, bytes: u64) {
        self.used_bytes.set(self.used_bytes.get() + bytes);
        self.most_bytes.set(self.most_bytes.get().max(self.used_bytes.get()));
    }

    pub fn give_back(&self, bytes: u64) {
        assert!(bytes <= self.used_bytes.get(), "only what was taken is given back");
        self.used_bytes.set(self.used_bytes.get() - bytes);
        if bytes > 0 {
            self.freed.ring();
        }
    }

    /// The connection has ended what it needed memory for.
    pub fn retire(&self, connection: u64) {
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

    /// The most that were used at once since the last call.
    pub fn take_most_bytes(&self) -> u64 {
        self.most_bytes.replace(self.used_bytes.get())
    }

    /// What must come back while the memory is used up; 0 while it is not.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        if self.used_bytes.get() < self.bytes_max {
            return 0;
        }
        self.used_bytes.get() - (self.bytes_max - self.bytes_max / ROOM_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Permits;

    #[test]
    fn a_connection_that_is_over_does_not_become_the_elder() {
        let permits = Permits::new(100);
        permits.take(100);
        let mut context = Context::from_waker(Waker::noop());
        let waited = pin!(permits.wait(1, || true)).as_mut().poll(&mut context);
        assert_eq!(waited, Poll::Ready(()));
        assert!(permits.lead(2));
    }

    #[test]
    fn what_came_and_went_between_two_looks_is_known() {
        let permits = Permits::new(100);
        permits.take(70);
        permits.give_back(60);
        permits.take(20);
        assert_eq!(permits.take_most_bytes(), 70);
        assert_eq!(permits.take_most_bytes(), 30);
    }
}
