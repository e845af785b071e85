//! When each request of one stream of producers is meant to be sent, phase after phase.
//!
//! What one phase could not send in time is sent in the next, and stays late: an open loop forgets
//! nothing. A pure function of the plan and of when phases began and ended.

use crate::clock::Moment;
use crate::schedule::Schedule;

#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Of the phases that have begun.
    schedules: Vec<Schedule>,
    /// The first request, over all connections, that has not come due.
    issued: Place,
}

/// The next request: of a phase, and in it. Of one connection, or of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) phase: usize,
    nth: u64,
}

impl Place {
    pub(super) const fn advance(&mut self) {
        self.nth += 1;
    }

    const fn leave_phase(&mut self) {
        *self = Self { phase: self.phase + 1, nth: 0 };
    }
}

impl Agenda {
    /// The next phase has this schedule. The one before has ended.
    pub(super) fn begin(&mut self, schedule: Schedule) {
        self.schedules.push(schedule);
    }

    /// The last phase ends now, if it was not known before when it would.
    pub(super) fn end(&mut self, now: Moment) {
        if let Some(schedule) = self.schedules.last_mut() {
            schedule.end_by(now);
        }
    }

    /// When the request at a connection's place was meant to be sent, if that is not later than now.
    /// Moves the place on over phases that have nothing more for it.
    pub(super) fn due(&self, place: &mut Place, connection: u64, now: Moment) -> Option<Moment> {
        loop {
            let schedule = self.schedules.get(place.phase)?;
            match schedule.intended(connection, place.nth, now) {
                Some(intended) => return (intended <= now).then_some(intended),
                None if schedule.end() <= now => place.leave_phase(),
                None => return None,
            }
        }
    }

    /// The connection whose next request has come due by the clock; each once.
    pub(super) fn issue(&mut self, now: Moment) -> Option<usize> {
        if now < self.next() {
            return None;
        }
        let connection_count = self.schedules.get(self.issued.phase)?.connection_count();
        let connection = self.issued.nth % connection_count;
        self.issued.advance();
        Some(usize::try_from(connection).expect("less than a count of connections"))
    }

    /// When the clock makes the next request due; `NEVER` if that is not known.
    pub(super) fn next(&mut self) -> Moment {
        while let Some(schedule) = self.schedules.get(self.issued.phase) {
            match schedule.intended_overall(self.issued.nth) {
                Some(intended) => return intended,
                None if self.issued.phase + 1 < self.schedules.len() => self.issued.leave_phase(),
                None => break,
            }
        }
        Moment::NEVER
    }

    /// Whether a clock decides in the phase that runs.
    pub(super) fn is_open(&self) -> bool {
        self.schedules.last().is_some_and(Schedule::is_open)
    }

    /// Whether the clock decided when a request of this phase was due.
    pub(super) fn was_open(&self, phase: usize) -> bool {
        self.schedules[phase].is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::plan::Pace;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    fn open(start: u64, end: Moment) -> Schedule {
        Schedule::new(Pace::Open { records_per_second: 1_000 }, at(start), end, 1, 2)
    }

    #[test]
    fn what_a_phase_could_not_send_comes_before_the_next_phase() {
        let mut agenda = Agenda::default();
        agenda.begin(open(0, at(4)));
        agenda.begin(open(4, at(100)));
        let mut place = Place::default();
        let mut seen = Vec::new();
        while let Some(intended) = agenda.due(&mut place, 1, at(7)) {
            seen.push((place.phase, intended));
            place.advance();
        }
        assert_eq!(seen, [(0, at(1)), (0, at(3)), (1, at(5)), (1, at(7))]);
    }

    #[test]
    fn each_request_comes_due_once_and_in_turn() {
        let mut agenda = Agenda::default();
        agenda.begin(open(0, at(3)));
        let due: Vec<_> = std::iter::from_fn(|| agenda.issue(at(10))).collect();
        assert_eq!((due, agenda.next()), (vec![0, 1, 0], Moment::NEVER));
        agenda.begin(open(3, at(5)));
        assert_eq!(agenda.next(), at(3));
        assert_eq!(agenda.issue(at(3)), Some(0));
    }

    #[test]
    fn a_phase_of_unknown_length_ends_when_it_is_told() {
        let mut agenda = Agenda::default();
        agenda.begin(open(0, Moment::NEVER));
        let mut place = Place::default();
        assert_eq!(agenda.due(&mut place, 0, at(0)), Some(at(0)));
        agenda.end(at(2));
        place.advance();
        assert_eq!(agenda.due(&mut place, 0, at(9)), None);
        assert_eq!(place, Place { phase: 1, nth: 0 });
    }

    #[test]
    fn who_is_saturated_is_due_whenever_it_looks_until_the_end() {
        let mut agenda = Agenda::default();
        agenda.begin(Schedule::new(Pace::Saturated, at(1), at(5), 1, 1));
        let mut place = Place::default();
        assert_eq!(agenda.due(&mut place, 0, at(3)), Some(at(3)));
        assert_eq!((agenda.next(), agenda.issue(at(3))), (Moment::NEVER, None));
        assert_eq!(agenda.due(&mut place, 0, at(5)), None);
    }

    #[test]
    fn who_rests_is_never_due() {
        let mut agenda = Agenda::default();
        agenda.begin(Schedule::new(Pace::Rests, at(1), Moment::NEVER, 1, 1));
        assert_eq!(agenda.due(&mut Place::default(), 0, at(3)), None);
    }
}
