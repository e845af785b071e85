//! Memory of one shard for answers that are not taken yet, and how much of it an answer may have.
//!
//! A part is kept for small answers, so that they need not wait for who takes nothing. Of the rest an answer
//! has a share of what is left. One whose first batch does not fit waits in a line, and while somebody waits
//! there an answer has one batch only: who takes answers gets one soon, however many do not.
//! What an answer holds is known when it is made: of those that may be long one is made at a time.
//! Invariant: who is let in from the line is counted from then on, so what is left is not given twice.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::limits::{ANSWER_PARTS, SMALL_ANSWER_BYTES, SMALL_ANSWERS_SHARE};
use crate::permits::Permits;
use crate::signal::{self, Promise};
use crate::turnstile::Turnstile;

/// One per shard.
pub struct Answers {
    permits: Permits,
    /// What large answers may hold together.
    large_bytes_max: u64,
    line: RefCell<VecDeque<Waiting>>,
    /// The long answer that is being made.
    long: Turnstile,
}

/// A connection that has room for the first batch of its answer when it is told so.
struct Waiting {
    connection: u64,
    first_bytes: u64,
    /// Whether it is let in, or leaves.
    called: Promise<bool>,
}

impl Answers {
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let large_bytes_max = bytes_max - bytes_max / SMALL_ANSWERS_SHARE;
        Self {
            permits: Permits::new(bytes_max),
            large_bytes_max,
            line: RefCell::default(),
            long: Turnstile::default(),
        }
    }

    /// Until an answer of `connection` can be made at all, or `is_over`.
    pub async fn wait(&self, connection: u64, is_over: impl Fn() -> bool) {
        self.permits.wait(connection, is_over).await;
    }

    /// Until an answer of `connection` that may be long can be made, alone, or `is_over`; `end_long` is called
    /// when it is made.
    pub async fn begin_long(&self, connection: u64, is_over: impl Fn() -> bool) {
        loop {
            self.permits.wait(connection, &is_over).await;
            self.long.enter().await;
            // The one before has its bytes now.
            if is_over() || self.permits.lets(connection) {
                return;
            }
            self.long.leave();
        }
    }

    pub fn end_long(&self) {
        self.long.leave();
    }

    /// What one answer may hold that is not of records.
    #[must_use]
    pub const fn long_bytes_max(&self) -> u64 {
        self.large_bytes_max
    }

    /// What one answer may have, besides the rest of its first batch.
    #[must_use]
    pub fn part_bytes(&self) -> u64 {
        if self.line.borrow().is_empty() {
            (self.large_room() / ANSWER_PARTS).max(SMALL_ANSWER_BYTES)
        } else {
            SMALL_ANSWER_BYTES
        }
    }

    /// The largest first batch of an answer that need not wait.
    #[must_use]
    pub fn first_bytes_max(&self) -> u64 {
        if self.line.borrow().is_empty() {
            self.large_room().max(SMALL_ANSWER_BYTES)
        } else {
            SMALL_ANSWER_BYTES
        }
    }

    /// Until there is room for the first batch of an answer, and all that came before have had theirs:
    /// its bytes are taken then. Not if the connection ends.
    pub async fn wait_in_line(&self, connection: u64, first_bytes: u64) -> bool {
        let (called, is_let_in) = signal::promise();
        self.line.borrow_mut().push_back(Waiting { connection, first_bytes, called });
        self.let_in();
        is_let_in.wait().await
    }

    pub fn take(&self, bytes: u64) {
        self.permits.take(bytes);
    }

    pub fn give_back(&self, bytes: u64) {
        self.permits.give_back(bytes);
        self.let_in();
    }

    /// All answers of the connection are taken.
    pub fn retire(&self, connection: u64) {
        self.permits.retire(connection);
        self.let_in();
    }

    /// The connection ends: it waits no more.
    pub fn leave(&self, connection: u64) {
        self.permits.look_again();
        self.line.borrow_mut().retain(|waiting| {
            let stays = waiting.connection != connection;
            if !stays {
                waiting.called.offer(false);
            }
            stays
        });
        self.let_in();
    }

    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.permits.used_bytes()
    }

    /// The most that were used at once since the last call.
    pub fn take_most_bytes(&self) -> u64 {
        self.permits.take_most_bytes()
    }

    /// What must come back while large answers find no room; 0 while they do. Half of the memory: who comes
    /// next shall not wait for the next look.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        if self.large_room() > 0 && self.line.borrow().is_empty() {
            return 0;
        }
        self.used_bytes().saturating_sub(self.large_bytes_max / 2)
    }

    fn large_room(&self) -> u64 {
        self.large_bytes_max.saturating_sub(self.used_bytes())
    }

    /// Lets in who waits, in their order, as far as there is room; the first may be the elder.
    fn let_in(&self) {
        let mut line = self.line.borrow_mut();
        while let Some(first) = line.front() {
            let fits = first.first_bytes <= self.large_room();
            if !fits && !self.permits.lead(first.connection) {
                return;
            }
            self.permits.take(first.first_bytes);
            first.called.offer(true);
            line.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::Answers;
    use crate::limits::{ANSWER_PARTS, SMALL_ANSWER_BYTES};

    const BYTES_MAX: u64 = 4 << 20;
    const LARGE_BYTES_MAX: u64 = 3 << 20;
    const BATCH: u64 = 1 << 20;

    /// Answers that hold all that large ones may.
    fn full() -> Answers {
        let answers = Answers::new(BYTES_MAX);
        answers.take(LARGE_BYTES_MAX);
        answers
    }

    #[test]
    fn each_answer_has_a_share_of_what_is_left_and_a_small_one_always() {
        let answers = Answers::new(BYTES_MAX);
        let mut left = LARGE_BYTES_MAX;
        for _ in 0..100 {
            let part = answers.part_bytes();
            assert_eq!(part, (left / ANSWER_PARTS).max(SMALL_ANSWER_BYTES));
            answers.take(part);
            left = left.saturating_sub(part);
        }
        assert_eq!(answers.first_bytes_max(), SMALL_ANSWER_BYTES);
    }

    #[test]
    fn who_waits_is_let_in_by_turn_and_counted_from_then_on() {
        let answers = full();
        let mut context = Context::from_waker(Waker::noop());
        // The first is the elder, for which there is always room.
        let mut elder = pin!(answers.wait_in_line(1, BATCH));
        assert_eq!(elder.as_mut().poll(&mut context), Poll::Ready(true));
        let mut second = pin!(answers.wait_in_line(2, BATCH));
        let mut third = pin!(answers.wait_in_line(3, BATCH));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(third.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(answers.first_bytes_max(), SMALL_ANSWER_BYTES);
        assert_eq!(answers.part_bytes(), SMALL_ANSWER_BYTES);

        answers.give_back(2 * BATCH);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(true));
        assert_eq!(third.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(answers.used_bytes(), LARGE_BYTES_MAX);
        answers.give_back(BATCH);
        assert_eq!(third.as_mut().poll(&mut context), Poll::Ready(true));
    }

    #[test]
    fn who_ends_leaves_the_line_and_takes_nothing() {
        let answers = full();
        let mut context = Context::from_waker(Waker::noop());
        let mut elder = pin!(answers.wait_in_line(1, BATCH));
        assert_eq!(elder.as_mut().poll(&mut context), Poll::Ready(true));
        let mut second = pin!(answers.wait_in_line(2, BATCH));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        answers.leave(2);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(false));
        assert_eq!(answers.used_bytes(), LARGE_BYTES_MAX + BATCH);
        assert!(answers.line.borrow().is_empty());
    }

    #[test]
    fn long_answers_are_made_one_after_the_other_each_when_the_one_before_is_counted() {
        let answers = Answers::new(BYTES_MAX);
        let mut context = Context::from_waker(Waker::noop());
        let is_ready = Poll::Ready(());
        let mut first = pin!(answers.begin_long(1, || false));
        let mut second = pin!(answers.begin_long(2, || false));
        let mut third = pin!(answers.begin_long(3, || false));
        assert_eq!(first.as_mut().poll(&mut context), is_ready);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        answers.end_long();
        answers.take(BYTES_MAX);
        // It is the elder: one can always go on, but only one.
        assert_eq!(second.as_mut().poll(&mut context), is_ready);
        answers.end_long();
        assert_eq!(third.as_mut().poll(&mut context), Poll::Pending);
        answers.give_back(BYTES_MAX);
        assert_eq!(third.as_mut().poll(&mut context), is_ready);
    }

    #[test]
    fn memory_is_missing_while_somebody_waits_for_it() {
        let answers = full();
        assert_eq!(answers.missing_bytes(), LARGE_BYTES_MAX / 2);
        answers.give_back(1);
        assert_eq!(answers.missing_bytes(), 0);
    }
}
