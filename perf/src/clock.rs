//! The time of this machine: one monotonic clock for every measure, and pauses on it.
//!
//! It knows nothing of what is measured. The same clock on the same host, in nanoseconds, may travel
//! in a record's payload and be compared by whoever reads it.

use std::time::Duration;

use rustix::thread::{ClockId as SleepClock, clock_nanosleep_absolute};
use rustix::time::{ClockId, Timespec, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Earlier than all that is measured.
    pub(crate) const BOOT: Self = Self(0);
    /// Later than all that is measured.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn now() -> Self {
        Self(nanos(clock_gettime(ClockId::Monotonic)))
    }

    pub(crate) const fn ns(self) -> u64 {
        self.0
    }

    /// Zero if `earlier` is not earlier.
    pub(crate) const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.ns_since(earlier))
    }

    pub(crate) const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        self.plus_ns(duration_ns(duration))
    }
}

/// Milliseconds since 1970, as record timestamps are.
pub(crate) fn wall_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// What this process has used of all cores.
pub(crate) fn own_cpu() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ProcessCPUTime)))
}

/// What the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)))
}

pub(crate) fn pause(duration: Duration) {
    let until = timespec(Moment::now().plus(duration).ns());
    // A signal wakes early: who is to end because of one looks at it between pauses.
    while clock_nanosleep_absolute(SleepClock::Monotonic, &until).is_err() {}
}

pub(crate) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / SECOND_NS).expect("fits: at most 2^64 / 10^9"),
        tv_nsec: i64::try_from(ns % SECOND_NS).expect("fits: less than 10^9"),
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).expect("clocks count up from zero");
    let rest = u64::try_from(time.tv_nsec).expect("clocks count up from zero");
    seconds * SECOND_NS + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_and_timespecs_are_the_same_time() {
        for ns in [0, 1, 999_999_999, 1_000_000_000, 12_345_678_901_234] {
            assert_eq!(nanos(timespec(ns)), ns);
        }
    }

    #[test]
    fn who_sleeps_uses_no_processor() {
        let (start, length) = (thread_cpu(), Duration::from_millis(50));
        pause(length);
        assert!(thread_cpu().saturating_sub(start) < length);
        let start = thread_cpu();
        while thread_cpu() == start {}
    }

    #[test]
    fn a_moment_that_is_not_later_is_zero_later() {
        let (early, late) = (Moment::BOOT.plus_ns(5), Moment::BOOT.plus_ns(7));
        assert_eq!((late.ns_since(early), early.ns_since(late)), (2, 0));
    }
}
