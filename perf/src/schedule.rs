//! When each request of a phase is meant to be sent: a pure function of the plan, whatever the broker
//! does.
//!
//! Requests are numbered over all connections, one after the other in turn.

use crate::clock::Moment;
use crate::scene::plan::Pace;

const SECOND_NS: u128 = 1_000_000_000;

/// Requests of one phase, in `[start, end)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    start: Moment,
    end: Moment,
    request_records: u64,
    connection_count: u64,
}

impl Schedule {
    /// The end is `NEVER` as long as nobody knows it.
    pub(crate) fn new(
        pace: Pace,
        start: Moment,
        end: Moment,
        request_records: u64,
        connection_count: u64,
    ) -> Self {
        assert!(0 < request_records && 0 < connection_count);
        assert!(pace != Pace::Open { records_per_second: 0 }, "a rate of nothing has no schedule");
        Self { pace, start, end, request_records, connection_count }
    }

    pub(crate) const fn end(&self) -> Moment {
        self.end
    }

    pub(crate) fn end_by(&mut self, end: Moment) {
        self.end = self.end.min(end);
    }

    pub(crate) const fn connection_count(&self) -> u64 {
        self.connection_count
    }

    /// When the `nth` request of a connection is meant to be sent; `None` if the phase has no such
    /// request. Without a clock that decides, that is whenever one looks.
    pub(crate) fn intended(&self, connection: u64, nth: u64, now: Moment) -> Option<Moment> {
        assert!(connection < self.connection_count);
        match self.pace {
            Pace::Open { .. } => self.intended_overall(nth * self.connection_count + connection),
            Pace::Saturated => (now < self.end).then_some(now),
            Pace::Rests => None,
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
    const NOW: Moment = START.plus_ns(5);

    fn open(records_per_second: u64, request_records: u64, connection_count: u64) -> Schedule {
        let pace = Pace::Open { records_per_second };
        let end = START.plus_ns(2_000_000_000);
        Schedule::new(pace, START, end, request_records, connection_count)
    }

    #[test]
    fn requests_are_evenly_apart_over_all_connections() {
        let schedule = open(1_000, 1, 4);
        let at =
            |connection, nth| schedule.intended(connection, nth, NOW).map(|it| it.ns_since(START));
        assert_eq!(at(0, 0), Some(0));
        assert_eq!(at(3, 0), Some(3_000_000));
        assert_eq!(at(0, 1), Some(4_000_000));
        assert_eq!(at(3, 499), Some(1_999_000_000));
        assert_eq!(at(0, 500), None);
    }

    #[test]
    fn a_phase_has_as_many_records_as_the_rate_says() {
        for (rate, request_records) in [(5_000, 1), (3, 1), (7_777, 10), (1, 1)] {
            let schedule = open(rate, request_records, 1);
            let count = (0..).take_while(|nth| schedule.intended(0, *nth, NOW).is_some()).count();
            let records = u64::try_from(count).unwrap() * request_records;
            assert!((2 * rate..2 * rate + request_records).contains(&records), "{rate}: {records}");
        }
    }

    #[test]
    fn no_rounding_adds_up() {
        let schedule = open(3, 1, 1);
        let after = |nth| schedule.intended(0, nth, NOW).map(|it| it.ns_since(START));
        assert_eq!((after(1), after(3)), (Some(333_333_333), Some(1_000_000_000)));
    }

    #[test]
    fn a_saturated_phase_is_due_until_it_ends() {
        let end = START.plus_ns(10);
        let schedule = Schedule::new(Pace::Saturated, START, end, 1, 2);
        assert_eq!(schedule.intended(1, u64::MAX / 4, NOW), Some(NOW));
        assert_eq!(schedule.intended(1, 0, end), None);
        assert_eq!(schedule.intended_overall(0), None);
    }
}
