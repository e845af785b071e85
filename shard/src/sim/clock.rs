//! What the wall clock of a simulated node shows: right or wrong, running, jumping or standing still.
//!
//! It is a function of the world's time alone, so that nobody has to move it. The monotonic clock is the
//! world's time, and none of this touches it.

use std::time::Duration;

use crate::io::Nanos;
use crate::sim::chance::mix;

/// How a wall clock goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gait {
    #[default]
    Steady,
    /// It shows the same time on and on.
    Still,
    /// Every `period_ms` it jumps, forward or backward, to somewhere within `span_ms` of the true time.
    Jumping { period_ms: u64, span_ms: u64, salt: u64 },
}

/// A wall clock that is off by `skew_ms`, and goes as its gait says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    pub skew_ms: i64,
    pub gait: Gait,
}

impl Clock {
    /// Milliseconds that it shows past the world's beginning, at `now`, when it was set at `set_at`.
    #[must_use]
    pub fn millis(self, set_at: Nanos, now: Nanos) -> i64 {
        let now_ms = now.get() / 1_000_000;
        let shown = match self.gait {
            Gait::Steady => signed(now_ms),
            Gait::Still => signed(set_at.get() / 1_000_000),
            Gait::Jumping { period_ms, span_ms, salt } => {
                let off = mix(salt ^ (now_ms / period_ms)) % (2 * span_ms + 1);
                signed(now_ms) + signed(off) - signed(span_ms)
            }
        };
        shown + self.skew_ms
    }

    /// Jumps of up to an hour, twice a second.
    #[must_use]
    pub fn jumping(salt: u64) -> Self {
        let span_ms = u64::try_from(Duration::from_secs(3600).as_millis()).expect("an hour");
        Self { skew_ms: 0, gait: Gait::Jumping { period_ms: 500, span_ms, salt } }
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).expect("a world does not last so long")
}

#[cfg(test)]
mod tests {
    use super::{Clock, Gait};
    use crate::io::Nanos;

    fn shown(clock: Clock) -> Vec<i64> {
        let seconds = (1..9).map(|second| Nanos::new(second * 1_000_000_000));
        seconds.map(|now| clock.millis(Nanos::new(1_000_000_000), now)).collect()
    }

    #[test]
    fn a_steady_clock_is_off_by_the_same() {
        let clock = Clock { skew_ms: -5, gait: Gait::Steady };
        assert_eq!(shown(clock)[..3], [995, 1995, 2995]);
    }

    #[test]
    fn a_clock_that_stands_still_shows_when_it_was_set() {
        let clock = Clock { skew_ms: 7, gait: Gait::Still };
        assert!(shown(clock).iter().all(|millis| *millis == 1007));
    }

    #[test]
    fn a_jumping_clock_goes_forward_and_backward() {
        let millis = shown(Clock::jumping(3));
        let jumps: Vec<i64> = millis.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(jumps.iter().any(|jump| *jump > 1000));
        assert!(jumps.iter().any(|jump| *jump < 0));
    }
}
