//! Lets one task of a shard wait for another: a one-shot value, and a bell that may ring often.
//!
//! Both live on one shard. Dropping the waiting side is fine: the value is then dropped too.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

enum Slot<T> {
    Empty(Option<Waker>),
    Full(T),
    Taken,
}

/// The side that gives the value.
pub struct Promise<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

/// The side that waits for it.
pub struct Answer<T> {
    slot: Rc<RefCell<Slot<T>>>,
}

#[must_use]
pub fn promise<T>() -> (Promise<T>, Answer<T>) {
    let slot = Rc::new(RefCell::new(Slot::Empty(None)));
    (Promise { slot: Rc::clone(&slot) }, Answer { slot })
}

impl<T> Promise<T> {
    pub fn keep(self, value: T) {
        self.offer(value);
    }

    /// As `keep`, but leaves the first value if there is one, and says whether this was the first.
    pub fn offer(&self, value: T) -> bool {
        let mut slot = self.slot.borrow_mut();
        let Slot::Empty(waker) = &mut *slot else { return false };
        let waker = waker.take();
        *slot = Slot::Full(value);
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Whether somebody still waits.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(&*self.slot.borrow(), Slot::Empty(_))
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        *self.slot.borrow_mut() = Slot::Taken;
    }
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self { slot: Rc::clone(&self.slot) }
    }
}

impl<T> Answer<T> {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&*self.slot.borrow(), Slot::Full(_))
    }

    /// The value, if it is there.
    #[must_use]
    pub fn take(&mut self) -> Option<T> {
        let mut slot = self.slot.borrow_mut();
        match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Full(value) => Some(value),
            other => {
                *slot = other;
                None
            }
        }
    }

    pub async fn wait(mut self) -> T {
        poll_fn(|context| {
            if let Some(value) = self.take() {
                return Poll::Ready(value);
            }
            self.watch(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Wakes `waker` when the value comes. The last one named counts.
    pub fn watch(&self, waker: &Waker) {
        if let Slot::Empty(slot) = &mut *self.slot.borrow_mut() {
            *slot = Some(waker.clone());
        }
    }
}

/// Ready when one of two answers is. The other is dropped.
pub async fn either(mut first: Answer<()>, mut second: Answer<()>) {
    poll_fn(|context| {
        if first.take().is_some() || second.take().is_some() {
            return Poll::Ready(());
        }
        first.watch(context.waker());
        second.watch(context.waker());
        Poll::Pending
    })
    .await;
}

/// Ready when one of several answers is. All are dropped.
pub async fn any<T>(mut answers: Vec<Answer<T>>) {
    poll_fn(|context| {
        if answers.is_empty() || answers.iter_mut().any(|it| it.is_ready()) {
            return Poll::Ready(());
        }
        answers.iter().for_each(|it| it.watch(context.waker()));
        Poll::Pending
    })
    .await;
}

/// Wakes every task that waits when it rings. Keeps no memory of past rings.
#[derive(Default)]
pub struct Bell {
    waiting: RefCell<VecDeque<Promise<()>>>,
}

impl Bell {
    pub fn ring(&self) {
        let mut waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for promise in waiting.drain(..) {
            promise.keep(());
        }
        // Its room is used again.
        let mut later = self.waiting.borrow_mut();
        if later.is_empty() {
            *later = waiting;
        }
    }

    /// The next ring. What was looked at before the call must be looked at again after it.
    #[must_use]
    pub fn next(&self) -> Answer<()> {
        let (promise, answer) = promise();
        let mut waiting = self.waiting.borrow_mut();
        if waiting.front().is_some_and(|it| !it.is_wanted()) {
            waiting.retain(Promise::is_wanted);
        }
        waiting.push_back(promise);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_promise_counts() {
        let (promise, mut answer) = promise();
        assert!(!answer.is_ready());
        assert!(promise.offer(1));
        assert!(!promise.offer(2));
        assert_eq!(answer.take(), Some(1));
        assert_eq!(answer.take(), None);
    }

    #[test]
    fn a_promise_is_wanted_until_it_is_kept_or_nobody_waits() {
        let (promise, answer) = promise();
        let copy = promise.clone();
        assert!(promise.is_wanted() && copy.is_wanted());
        drop(answer);
        assert!(!promise.is_wanted() && !copy.is_wanted());
        assert!(!copy.offer(1));
    }

    #[test]
    fn a_bell_wakes_all_that_wait_and_none_that_come_later() {
        let bell = Bell::default();
        let (first, second) = (bell.next(), bell.next());
        bell.ring();
        let third = bell.next();
        assert!(first.is_ready() && second.is_ready() && !third.is_ready());
    }
}
