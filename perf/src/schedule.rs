//! When each request is meant to be sent: a pure function of the plan, whatever the broker does.
//!
//! Requests are numbered over all connections, one after the other in turn.

use std::time::Duration;

use crate::clock::{Moment, duration_ns};

const SECOND_NS: u128 = 1_000_000_000;

/// What decides when a request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The clock: an open loop. Latency counts from the time that was meant.
    Open { records_per_second: u64 },
    /// The answer to the one before: a closed loop. Latency counts from the sending.
    Saturated,
}

/// Requests of one run, in `[start, end)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    start: Moment,
    end: Moment,
    request_records: u64,
    connection_count: u64,
}

impl Schedule {
    pub(crate) fn new(
        pace: Pace,
        start: Moment,
        length: Duration,
        request_records: u64,
        connection_count: u64,
    ) -> Self {
        assert!(0 < request_records && 0 < connection_count);
        assert!(pace != Pace::Open { records_per_second: 0 }, "a rate of nothing has no schedule");
        let end = start.plus_ns(duration_ns(length));
        Self { pace, start, end, request_records, connection_count }
    }

    pub(crate) const fn end(&self) -> Moment {
        self.end
    }

    /// When the `nth` request of a connection is meant to be sent; `None` if the run ends before it.
    pub(crate) fn intended(&self, connection: u64, nth: u64) -> Option<Moment> {
        assert!(connection < self.connection_count);
        match self.pace {
            Pace::Open { .. } => self.intended_overall(nth * self.connection_count + connection),
            Pace::Saturated => Some(self.start),
        }
    }

    /// The same by the number over all connections. `None` also if no clock decides.
    pub(crate) fn intended_overall(&self, number: u64) -> Option<Moment> {
        let Pace::Open { records_per_second } = self.pace else { return None };
        let records = u128::from(number) * u128::from(self.request_records);
        let ns = records * SECOND_NS / u128::from(records_per_second);
        let at = self.start.plus_ns(u64::try_from(ns).unwrap_or(u64::MAX));
        (at < self.end).then_some(at)
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.pace, Pace::Open { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::BOOT.plus_ns(1_000);

    fn open(records_per_second: u64, request_records: u64, connection_count: u64) -> Schedule {
        let pace = Pace::Open { records_per_second };
        Schedule::new(pace, START, Duration::from_secs(2), request_records, connection_count)
    }

    #[test]
    fn requests_are_evenly_apart_over_all_connections() {
        let schedule = open(1_000, 1, 4);
        let at = |connection, nth| schedule.intended(connection, nth).map(|it| it.ns_since(START));
        assert_eq!(at(0, 0), Some(0));
        assert_eq!(at(3, 0), Some(3_000_000));
        assert_eq!(at(0, 1), Some(4_000_000));
        assert_eq!(at(3, 499), Some(1_999_000_000));
        assert_eq!(at(0, 500), None);
    }

    #[test]
    fn a_run_has_as_many_records_as_the_rate_says() {
        for (rate, request_records) in [(5_000, 1), (3, 1), (7_777, 10), (1, 1)] {
            let schedule = open(rate, request_records, 1);
            let count = (0..).take_while(|nth| schedule.intended(0, *nth).is_some()).count();
            let records = u64::try_from(count).unwrap() * request_records;
            assert!((2 * rate..2 * rate + request_records).contains(&records), "{rate}: {records}");
        }
    }

    #[test]
    fn no_rounding_adds_up() {
        let schedule = open(3, 1, 1);
        let after = |nth| schedule.intended(0, nth).map(|it| it.ns_since(START));
        assert_eq!((after(1), after(3)), (Some(333_333_333), Some(1_000_000_000)));
    }

    #[test]
    fn a_saturated_run_is_always_due() {
        let schedule = Schedule::new(Pace::Saturated, START, Duration::from_secs(1), 1, 2);
        assert_eq!(schedule.intended(1, u64::MAX / 4), Some(START));
        assert_eq!(schedule.intended_overall(0), None);
    }
}
