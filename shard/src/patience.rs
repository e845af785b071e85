//! How long a connection may keep the shard waiting: for its first request, for the rest of a request,
//! for its answers to be taken.
//!
//! The connection's tasks note what they wait for; the sweep of all connections looks about once a second
//! (`LOOK_PAUSE`) and judges. It counts looks, not time, so that a shard that stood still is not taken
//! for a slow peer. Knows no socket and reads no clock.

use std::cell::Cell;

use crate::cause::Cause;
use crate::limits::{
    FIRST_REQUEST_LOOKS_MAX, PROGRESS_BYTES_MIN, SLOW_LOOKS_MAX, SLOW_LOOKS_MAX_WHEN_SHORT,
};

/// How far something has come, and for how many looks it has hardly moved.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Whole requests or answers before it.
    steps: u64,
    bytes: u64,
    looks: u32,
}

impl Pace {
    /// One look more at what has come so far. For how many it has hardly moved.
    fn look(&mut self, steps: u64, bytes: u64) -> u32 {
        let has_moved = self.steps != steps || bytes >= self.bytes + PROGRESS_BYTES_MIN;
        if has_moved {
            *self = Self { steps, bytes, looks: 0 };
        } else {
            self.looks += 1;
        }
        self.looks
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Has asked nothing yet that could be answered.
    Stranger,
    Known,
}

/// What the task that reads does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Waits for bytes, or for memory to receive them into.
    Waits,
    /// Has a request in hand, and takes nothing.
    Rests,
}

/// What the task that sends does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Waits,
    Sends,
}

/// How a connection stands after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is awaited of the peer.
    Quiet,
    /// Something is, and there is time for it.
    Awaited,
    /// It hardly moves: enough to end the connection if memory is short, for this cause.
    Slow(Cause),
    /// The connection is to be ended.
    Overdue(Cause),
}

/// What only the socket knows. Asked for connections that are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    /// Bytes that have come and wait to be received.
    pub unread_bytes: u64,
    /// Bytes of answers that the peer has confirmed, of all that were sent.
    pub taken_bytes: u64,
}

/// One per connection.
#[derive(Debug)]
pub struct Patience {
    standing: Cell<Standing>,
    reading: Cell<Reading>,
    request_count: Cell<u64>,
    /// Of a request that is not whole.
    half_bytes: Cell<u64>,
    sending: Cell<Sending>,
    sent_count: Cell<u64>,
    inward: Cell<Pace>,
    outward: Cell<Pace>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            standing: Cell::new(Standing::Stranger),
            reading: Cell::new(Reading::Rests),
            request_count: Cell::new(0),
            half_bytes: Cell::new(0),
            sending: Cell::new(Sending::Waits),
            sent_count: Cell::new(0),
            inward: Cell::default(),
            outward: Cell::default(),
        }
    }
}

impl Patience {
    pub fn begin_read(&self) {
        self.reading.set(Reading::Waits);
    }

    /// So many requests became whole, and `half_bytes` of another one are there.
    pub fn on_read(&self, request_count: u64, half_bytes: u64) {
        self.reading.set(Reading::Rests);
        self.request_count.set(self.request_count.get() + request_count);
        self.half_bytes.set(half_bytes);
    }

    /// It has asked something that could be answered.
    pub fn on_answered(&self) {
        self.standing.set(Standing::Known);
    }

    pub fn begin_send(&self) {
        self.sending.set(Sending::Sends);
    }

    pub fn on_sent(&self) {
        self.sending.set(Sending::Waits);
        self.sent_count.set(self.sent_count.get() + 1);
    }

    /// A look. `outside` is called only if something is awaited.
    pub fn look(&self, outside: impl FnOnce() -> Outside) -> Verdict {
        let is_stranger = self.standing.get() == Standing::Stranger;
        let is_reading = self.reading.get() == Reading::Waits;
        let is_asked = is_reading && (is_stranger || self.half_bytes.get() > 0);
        let is_sending = self.sending.get() == Sending::Sends;
        if !is_asked && !is_sending {
            return Verdict::Quiet;
        }
        let outside = outside();
        let mut verdict = Verdict::Awaited;
        if is_asked && outside.unread_bytes == 0 {
            let (limit, cause) = if is_stranger && self.half_bytes.get() == 0 {
                (FIRST_REQUEST_LOOKS_MAX, Cause::NoRequest)
            } else if is_stranger {
                (FIRST_REQUEST_LOOKS_MAX, Cause::SlowRequest)
            } else {
                (SLOW_LOOKS_MAX, Cause::SlowRequest)
            };
            let looks = step(&self.inward, self.request_count.get(), self.half_bytes.get());
            verdict = judge(looks, limit, cause);
        }
        if is_sending && !matches!(verdict, Verdict::Overdue(_)) {
            let looks = step(&self.outward, self.sent_count.get(), outside.taken_bytes);
            match judge(looks, SLOW_LOOKS_MAX, Cause::SlowReader) {
                Verdict::Awaited => {}
                slow => verdict = slow,
            }
        }
        verdict
    }
}

fn step(pace: &Cell<Pace>, steps: u64, bytes: u64) -> u32 {
    let mut next = pace.get();
    let looks = next.look(steps, bytes);
    pace.set(next);
    looks
}

fn judge(looks: u32, limit: u32, cause: Cause) -> Verdict {
    if looks > limit {
        Verdict::Overdue(cause)
    } else if looks > SLOW_LOOKS_MAX_WHEN_SHORT {
        Verdict::Slow(cause)
    } else {
        Verdict::Awaited
    }
}

#[cfg(test)]
mod tests {
    use super::{Outside, Patience, Verdict};
    use crate::cause::Cause;
    use crate::limits::{
        FIRST_REQUEST_LOOKS_MAX, PROGRESS_BYTES_MIN, SLOW_LOOKS_MAX, SLOW_LOOKS_MAX_WHEN_SHORT,
    };

    const NOTHING: Outside = Outside { unread_bytes: 0, taken_bytes: 0 };

    fn known() -> Patience {
        let patience = Patience::default();
        patience.begin_read();
        patience.on_read(1, 0);
        patience.on_answered();
        patience
    }

    /// Looks until it is overdue: how many looks were fine, how many slow, and the cause.
    #[track_caller]
    fn check(patience: &Patience, outside: impl Fn() -> Outside, want: (u32, u32, Cause)) {
        let (mut fine, mut slow) = (0, 0);
        loop {
            match patience.look(&outside) {
                Verdict::Awaited => fine += 1,
                Verdict::Slow(_) => slow += 1,
                Verdict::Overdue(cause) => return assert_eq!((fine, slow, cause), want),
                Verdict::Quiet => panic!("something is awaited"),
            }
        }
    }

    #[test]
    fn who_is_known_and_asks_nothing_may_stay() {
        let patience = known();
        patience.begin_read();
        for _ in 0..1000 {
            assert_eq!(patience.look(|| panic!("nothing to ask the socket")), Verdict::Quiet);
        }
    }

    #[test]
    fn a_stranger_has_a_few_looks_and_a_known_client_many() {
        let slow_from = SLOW_LOOKS_MAX_WHEN_SHORT;
        let few = FIRST_REQUEST_LOOKS_MAX - slow_from;
        let stranger = Patience::default();
        stranger.begin_read();
        check(&stranger, || NOTHING, (slow_from, few, Cause::NoRequest));

        let stranger = Patience::default();
        stranger.on_read(0, 4);
        stranger.begin_read();
        check(&stranger, || NOTHING, (slow_from, few, Cause::SlowRequest));

        let client = known();
        client.on_read(0, PROGRESS_BYTES_MIN);
        client.begin_read();
        let many = SLOW_LOOKS_MAX - slow_from;
        check(&client, || NOTHING, (slow_from + 1, many, Cause::SlowRequest));

        let client = known();
        client.begin_send();
        check(&client, || NOTHING, (slow_from, many, Cause::SlowReader));
    }

    #[test]
    fn who_moves_enough_or_waits_for_us_is_never_slow() {
        let patience = known();
        for looks in 1..100 {
            patience.on_read(0, PROGRESS_BYTES_MIN * looks);
            patience.begin_read();
            assert_eq!(patience.look(|| NOTHING), Verdict::Awaited);
        }
        // The rest has come; it is the shard that does not take it.
        patience.begin_read();
        for _ in 0..100 {
            let unread = Outside { unread_bytes: 1, taken_bytes: 0 };
            assert_eq!(patience.look(|| unread), Verdict::Awaited);
        }
    }

    #[test]
    fn what_trickles_is_as_slow_as_what_stands_still() {
        let taken = std::cell::Cell::new(0);
        let trickle = || {
            taken.set(taken.get() + PROGRESS_BYTES_MIN / 100);
            Outside { unread_bytes: 0, taken_bytes: taken.get() }
        };
        let client = known();
        client.begin_send();
        let slow_from = SLOW_LOOKS_MAX_WHEN_SHORT;
        check(&client, trickle, (slow_from, SLOW_LOOKS_MAX - slow_from, Cause::SlowReader));
    }

    #[test]
    fn an_answer_that_was_sent_is_progress() {
        let client = known();
        for _ in 0..100 {
            client.begin_send();
            assert_eq!(client.look(|| NOTHING), Verdict::Awaited);
            client.on_sent();
        }
    }
}
