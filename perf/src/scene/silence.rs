//! How long a broker has said nothing though requests are under way.
//!
//! Who then waits without sleep may hold up what is waited for: the kernel's workers that end a durable write
//! run on the core that takes the disk's interrupts, and to yield that core is no promise that they run.

use crate::clock::Moment;

/// Longer than answers take while all is well, and short beside a stall.
const LONG_NS: u64 = 2_000_000;

#[derive(Debug)]
pub(super) struct Silence {
    unanswered_count: u64,
    /// When the last answer came, or the first request that it could be an answer to was sent.
    since: Moment,
}

impl Silence {
    pub(super) const fn new() -> Self {
        Self { unanswered_count: 0, since: Moment::BOOT }
    }

    pub(super) const fn on_sent(&mut self, at: Moment) {
        if self.unanswered_count == 0 {
            self.since = at;
        }
        self.unanswered_count += 1;
    }

    pub(super) fn on_answered(&mut self, at: Moment) {
        self.unanswered_count = self.unanswered_count.checked_sub(1).expect("a request was sent");
        self.since = at;
    }

    pub(super) const fn is_long(&self, now: Moment) -> bool {
        0 < self.unanswered_count && LONG_NS < now.ns_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(us: u64) -> Moment {
        Moment::BOOT.plus_ns(1_000 * us)
    }

    #[test]
    fn only_who_is_asked_can_be_silent() {
        let mut silence = Silence::new();
        assert!(!silence.is_long(at(9_000)));
        silence.on_sent(at(9_000));
        assert!(!silence.is_long(at(11_000)));
        assert!(silence.is_long(at(11_001)));
        silence.on_answered(at(11_002));
        assert!(!silence.is_long(at(99_000)));
    }

    #[test]
    fn every_answer_ends_it_and_no_request_does() {
        let mut silence = Silence::new();
        (0..3).for_each(|us| silence.on_sent(at(us)));
        silence.on_answered(at(1_000));
        silence.on_sent(at(2_500));
        assert!(!silence.is_long(at(3_000)));
        assert!(silence.is_long(at(3_001)));
        silence.on_answered(at(3_002));
        assert!(!silence.is_long(at(5_002)));
        assert!(silence.is_long(at(5_003)));
    }
}
