//! Deadlines of a shard: one sleeping task serves them all, none when there is no deadline.
//!
//! Knows nothing of what waits. A deadline fires at most once, never early.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::io::{Class, Io, Nanos};
use crate::signal::{self, Answer, Promise};

/// Names one deadline.
pub struct Deadline(Nanos, u64);

/// One per shard.
pub struct Timers<I: Io> {
    io: I,
    due: RefCell<BTreeMap<(Nanos, u64), Promise<()>>>,
    next_id: Cell<u64>,
    /// The earliest time for which a task sleeps.
    armed: Cell<Option<Nanos>>,
}

impl<I: Io> Timers<I> {
    pub fn new(io: I) -> Rc<Self> {
        Rc::new(Self { io, due: RefCell::default(), next_id: Cell::new(0), armed: Cell::new(None) })
    }

    /// Ready at `deadline`. Dropping the answer forgets it.
    pub fn at(self: &Rc<Self>, deadline: Nanos) -> Answer<()> {
        let (promise, answer) = signal::promise();
        self.add(deadline, promise);
        answer
    }

    /// Gives `promise` its value at `deadline`, unless it has one by then.
    pub fn add(self: &Rc<Self>, deadline: Nanos, promise: Promise<()>) -> Deadline {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.due.borrow_mut().insert((deadline, id), promise);
        self.arm();
        Deadline(deadline, id)
    }

    /// Nobody waits for it any more. One that has passed is forgotten already.
    pub fn forget(&self, deadline: &Deadline) {
        self.due.borrow_mut().remove(&(deadline.0, deadline.1));
    }

    fn arm(self: &Rc<Self>) {
        let Some(first) = self.due.borrow().keys().next().map(|key| key.0) else { return };
        if self.armed.get().is_some_and(|armed| armed <= first) {
            return;
        }
        self.armed.set(Some(first));
        let timers = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            timers.io.sleep(first.since(timers.io.now())).await;
            timers.on_slept(first);
        });
    }

    fn on_slept(self: &Rc<Self>, armed: Nanos) {
        let now = self.io.now();
        loop {
            let mut due = self.due.borrow_mut();
            let Some(entry) = due.first_entry() else { break };
            if entry.key().0 > now && entry.get().is_wanted() {
                break;
            }
            let promise = entry.remove();
            drop(due);
            promise.keep(());
        }
        if self.armed.get() == Some(armed) {
            self.armed.set(None);
        }
        self.arm();
    }
}
