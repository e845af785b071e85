//! Requests of one connection that have no answer, or not to all of their values.
//!
//! Answers come in any order: a protocol that has one checks that itself. Nothing allocates once it
//! is made. Invariant: a request leaves when its last value is answered, and each value is answered once.

use std::collections::VecDeque;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::scene::producer::Ticket;
use crate::scene::wire::Answer;

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) intended: Moment,
    /// In which it was intended.
    pub(super) phase: usize,
    pub(super) ticket: Ticket,
}

/// A request all of whose values are answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) request: InFlight,
    /// Of the last value that was refused; 0 if none was.
    pub(super) error_code: i16,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    waiting: VecDeque<Waiting>,
    request_values: u64,
    request_count_max: usize,
    next_number: u64,
    /// A flag for each value of each request that may wait.
    is_answered: Vec<bool>,
    free_slots: Vec<usize>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    request: InFlight,
    values_left: u64,
    error_code: i16,
    slot: usize,
}

impl Outstanding {
    pub(super) fn new(request_count_max: usize, request_values: u64) -> Self {
        assert!(0 < request_count_max && 0 < request_values, "a producer may send");
        let values = usize::try_from(request_values).expect("requests fit into memory");
        Self {
            waiting: VecDeque::with_capacity(request_count_max),
            request_values,
            request_count_max,
            next_number: 0,
            is_answered: vec![false; request_count_max * values],
            free_slots: (0..request_count_max).collect(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.request_count_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = InFlight> {
        self.waiting.iter().map(|it| it.request)
    }

    /// The number of the request, which is now waiting.
    pub(super) fn begin(&mut self, request: InFlight) -> u64 {
        let slot = self.free_slots.pop().expect("only who has room begins");
        self.flags(slot).fill(false);
        let (number, values_left) = (self.next_number, self.request_values);
        self.next_number += 1;
        self.waiting.push_back(Waiting { number, request, values_left, error_code: 0, slot });
        number
    }

    /// Takes in what a peer said; `answered` is told of each request that it completes.
    pub(super) fn take(
        &mut self,
        answer: Answer,
        answered: &mut impl FnMut(Answered),
    ) -> Result<(), Failure> {
        match answer {
            Answer::Request { number, error_code } => {
                let index = self.index(number)?;
                self.leave(index, error_code, answered);
            }
            Answer::Value { number, error_code } => {
                let index = self.index(number / self.request_values)?;
                if !self.mark(index, number % self.request_values) {
                    return Err(not_asked());
                }
                self.settle(index, error_code, answered);
            }
            Answer::Before { end, error_code } => self.take_before(end, error_code, answered)?,
            Answer::Wants(_) => {}
        }
        Ok(())
    }

    fn take_before(
        &mut self,
        end: u64,
        error_code: i16,
        answered: &mut impl FnMut(Answered),
    ) -> Result<(), Failure> {
        if self.next_number * self.request_values < end {
            return Err(not_asked());
        }
        while let Some(front) = self.waiting.front()
            && let first = front.number * self.request_values
            && first < end
        {
            for value in 0..(end - first).min(self.request_values) {
                self.mark(0, value);
            }
            if !self.settle(0, error_code, answered) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the request is complete, and has left.
    fn settle(
        &mut self,
        index: usize,
        error_code: i16,
        answered: &mut impl FnMut(Answered),
    ) -> bool {
        let waiting = &mut self.waiting[index];
        if error_code != 0 {
            waiting.error_code = error_code;
        }
        let is_complete = waiting.values_left == 0;
        if is_complete {
            self.leave(index, 0, answered);
        }
        is_complete
    }

    fn leave(&mut self, index: usize, error_code: i16, answered: &mut impl FnMut(Answered)) {
        let left = self.waiting.remove(index).expect("it was just found");
        self.free_slots.push(left.slot);
        let error_code = if error_code == 0 { left.error_code } else { error_code };
        answered(Answered { request: left.request, error_code });
    }

    /// Whether the value had no answer. It has one now.
    fn mark(&mut self, index: usize, value: u64) -> bool {
        let slot = self.waiting[index].slot;
        let value = usize::try_from(value).expect("less than a request has");
        let is_first = !std::mem::replace(&mut self.flags(slot)[value], true);
        self.waiting[index].values_left -= u64::from(is_first);
        is_first
    }

    fn flags(&mut self, slot: usize) -> &mut [bool] {
        let values = self.is_answered.len() / self.request_count_max;
        &mut self.is_answered[slot * values..][..values]
    }

    fn index(&self, number: u64) -> Result<usize, Failure> {
        self.waiting.iter().position(|it| it.number == number).ok_or_else(not_asked)
    }
}

fn not_asked() -> Failure {
    Failure::new("the broker answers what was not asked, or not in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of `request_values`, three in flight; which are complete after each answer, by phase.
    fn check(request_values: u64, answers: &[(Answer, &[(usize, i16)])]) -> Outstanding {
        let mut outstanding = Outstanding::new(3, request_values);
        for phase in 0..3 {
            let request = InFlight { intended: Moment::BOOT, phase, ticket: Ticket::default() };
            outstanding.begin(request);
        }
        for (answer, want) in answers {
            let mut seen = Vec::new();
            let mut note = |it: Answered| seen.push((it.request.phase, it.error_code));
            outstanding.take(*answer, &mut note).unwrap();
            assert_eq!(seen, *want, "{answer:?}");
        }
        outstanding
    }

    const fn value(number: u64) -> Answer {
        Answer::Value { number, error_code: 0 }
    }

    const fn before(end: u64) -> Answer {
        Answer::Before { end, error_code: 0 }
    }

    #[test]
    fn a_request_leaves_with_its_last_value_whatever_the_order() {
        let answers: [(Answer, &[(usize, i16)]); 4] =
            [(value(3), &[]), (value(0), &[]), (value(2), &[(1, 0)]), (value(1), &[(0, 0)])];
        let mut outstanding = check(2, &answers);
        assert!(outstanding.has_room() && !outstanding.is_empty());
        let request = InFlight { intended: Moment::BOOT, phase: 9, ticket: Ticket::default() };
        assert_eq!(outstanding.begin(request), 3);
        let phases: Vec<_> = outstanding.requests().map(|it| it.phase).collect();
        assert_eq!(phases, [2, 9]);
    }

    #[test]
    fn an_answer_to_many_leaves_out_what_was_answered_alone() {
        let answers: [(Answer, &[(usize, i16)]); 4] = [
            (value(2), &[]),
            (before(2), &[(0, 0)]),
            (before(5), &[(1, 0)]),
            (before(6), &[(2, 0)]),
        ];
        assert!(check(2, &answers).is_empty());
        check(2, &[(value(1), &[]), (before(1), &[(0, 0)])]);
    }

    #[test]
    fn one_value_that_is_refused_refuses_its_request() {
        let refused = Answer::Value { number: 0, error_code: 7 };
        check(2, &[(refused, &[]), (value(1), &[(0, 7)])]);
        let all = Answer::Before { end: 6, error_code: 9 };
        check(2, &[(all, &[(0, 9), (1, 9), (2, 9)])]);
        check(1, &[(Answer::Request { number: 1, error_code: 5 }, &[(1, 5)])]);
    }

    #[test]
    fn what_was_not_asked_or_was_answered_is_a_failure() {
        let mut outstanding = check(2, &[(value(1), &[])]);
        let request = |number| Answer::Request { number, error_code: 0 };
        for answer in [value(1), value(6), value(u64::MAX), before(7), request(3)] {
            assert!(outstanding.take(answer, &mut |_| ()).is_err(), "{answer:?}");
        }
    }
}
