//! Runs the tasks of a simulated world, one at a time, in an order that its seed chooses.
//!
//! Time stands still while a task runs, moves a little after each, and jumps to the next due event
//! when no task is ready. The executor knows neither disk nor network: what is due is a value that
//! its owner interprets.
//!
//! Invariant: a live task is in `ready` exactly once, or waits for its waker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use crate::io::Nanos;
use crate::sim::chance::Chance;

/// What a turn of a task costs, at most.
const TURN_NANOS_END: u64 = 4_000;

/// How often a task may look at the clock in one turn.
const LOOKS_MAX: u64 = 100_000;

/// Who a task belongs to: all tasks of an owner end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Clients: no crash ends them.
    Outside,
    Node(usize),
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    owner: Owner,
    /// `None` while the task runs.
    task: Option<Task>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Something that happens at a time.
pub enum Due {
    Wake(Waker),
    Event(Event),
}

/// What the world does when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation of the node's disk finishes.
    Disk { node: usize, operation: u64 },
    /// A shard of the node is to look at its mailbox.
    Bell { node: usize, shard: usize },
}

/// What `turn` did.
pub enum Turn {
    /// A task ran.
    Ran,
    /// Time came to this event.
    Event(Event),
    /// Nothing is ready, and nothing is due.
    Idle,
}

pub struct Executor {
    now: Cell<Nanos>,
    chance: RefCell<Chance>,
    slots: RefCell<BTreeMap<u64, Slot>>,
    next_task: Cell<u64>,
    ready: RefCell<Vec<u64>>,
    woken: mpsc::Receiver<u64>,
    wakes: mpsc::Sender<u64>,
    due: RefCell<BTreeMap<(Nanos, u64), Due>>,
    next_due: Cell<u64>,
    turn_count: Cell<u64>,
    /// How often the running task has looked at the clock.
    look_count: Cell<u64>,
}

impl Executor {
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        let (wakes, woken) = mpsc::channel();
        Self {
            now: Cell::new(Nanos::new(1_000_000_000)),
            chance: RefCell::new(chance),
            slots: RefCell::new(BTreeMap::new()),
            next_task: Cell::new(0),
            ready: RefCell::new(Vec::new()),
            woken,
            wakes,
            due: RefCell::new(BTreeMap::new()),
            next_due: Cell::new(0),
            turn_count: Cell::new(0),
            look_count: Cell::new(0),
        }
    }

    pub fn now(&self) -> Nanos {
        self.now.get()
    }

    /// The same, for a task.
    ///
    /// # Panics
    /// If one turn of a task asks without end: time does not move while it runs.
    pub fn look(&self) -> Nanos {
        self.look_count.set(self.look_count.get() + 1);
        assert!(self.look_count.get() < LOOKS_MAX, "a task waits for time without giving way");
        self.now.get()
    }

    pub fn turn_count(&self) -> u64 {
        self.turn_count.get()
    }

    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        let id = self.next_task.replace(self.next_task.get() + 1);
        let bell =
            Arc::new(Bell { id, is_ready: AtomicBool::new(true), wakes: self.wakes.clone() });
        let waker = Waker::from(Arc::clone(&bell));
        let slot = Slot { owner, task: Some(Box::pin(task)), bell, waker };
        self.slots.borrow_mut().insert(id, slot);
        self.ready.borrow_mut().push(id);
    }

    /// Ends every task of `owner`, in the order of their start. Not from within a task.
    pub fn end(&self, owner: Owner) {
        let ended: Vec<(u64, Slot)> =
            self.slots.borrow_mut().extract_if(.., |_, slot| slot.owner == owner).collect();
        assert!(ended.iter().all(|(_, slot)| slot.task.is_some()), "a task ends its own owner");
        drop(ended); // With no borrow held: what a task owns may come back to us.
    }

    /// Tasks of `owner` that have not ended.
    pub fn task_count(&self, owner: Owner) -> usize {
        self.slots.borrow().values().filter(|slot| slot.owner == owner).count()
    }

    /// The key takes the event back.
    pub fn schedule(&self, at: Nanos, due: Due) -> (Nanos, u64) {
        let number = self.next_due.replace(self.next_due.get() + 1);
        let key = (at.max(self.now.get()), number);
        self.due.borrow_mut().insert(key, due);
        key
    }

    pub fn cancel(&self, key: (Nanos, u64)) {
        let due = self.due.borrow_mut().remove(&key);
        drop(due);
    }

    /// Ready when the clock shows `at`.
    pub async fn sleep_until(&self, at: Nanos) {
        let mut alarm = Alarm { executor: self, key: None };
        std::future::poll_fn(|context| {
            if self.now.get() >= at {
                return Poll::Ready(());
            }
            if alarm.key.is_none() {
                alarm.key = Some(self.schedule(at, Due::Wake(context.waker().clone())));
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether some task can run now.
    pub fn is_ready(&self) -> bool {
        self.ready.borrow_mut().extend(self.woken.try_iter());
        !self.ready.borrow().is_empty()
    }

    /// Runs one task, or moves time to the next event.
    pub fn turn(&self) -> Turn {
        self.ready.borrow_mut().extend(self.woken.try_iter());
        if let Some(turn) = self.next_event() {
            return turn;
        }
        let Some(id) = self.pick() else { return Turn::Idle };
        let Some((mut task, waker)) = self.take(id) else { return Turn::Ran };
        self.look_count.set(0);
        let done = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let finished = if done {
            self.slots.borrow_mut().remove(&id).map(|_| task)
        } else {
            let mut slots = self.slots.borrow_mut();
            slots
                .get_mut(&id)
                .expect("only `end` takes slots, and it refuses a running task")
                .task = Some(task);
            None
        };
        drop(finished);
        self.turn_count.set(self.turn_count.get() + 1);
        let cost = self.chance.borrow_mut().below(TURN_NANOS_END);
        self.now.set(Nanos::new(self.now.get().get() + cost));
        Turn::Ran
    }

    /// What is due now; what is due next, if no task is ready.
    fn next_event(&self) -> Option<Turn> {
        let mut due = self.due.borrow_mut();
        let entry = due.first_entry()?;
        let at = entry.key().0;
        if at > self.now.get() {
            if !self.ready.borrow().is_empty() {
                return None;
            }
            self.now.set(at);
        }
        match entry.remove() {
            Due::Wake(waker) => {
                waker.wake();
                Some(Turn::Ran)
            }
            Due::Event(event) => Some(Turn::Event(event)),
        }
    }

    fn pick(&self) -> Option<u64> {
        let mut ready = self.ready.borrow_mut();
        if ready.is_empty() {
            return None;
        }
        let index = self.chance.borrow_mut().index(ready.len());
        Some(ready.swap_remove(index))
    }

    fn take(&self, id: u64) -> Option<(Task, Waker)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(&id)?; // A waker may outlive its task.
        // ORDERING: Relaxed; a bell never leaves its world's thread.
        slot.bell.is_ready.store(false, Ordering::Relaxed);
        let task = slot.task.take().expect("one task runs at a time");
        Some((task, slot.waker.clone()))
    }
}

/// Puts its task into the ready queue, once.
struct Bell {
    id: u64,
    is_ready: AtomicBool,
    wakes: mpsc::Sender<u64>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: Relaxed; a bell never leaves its world's thread.
        if !self.is_ready.swap(true, Ordering::Relaxed)
            && let Err(mpsc::SendError(_)) = self.wakes.send(self.id)
        {
            // The world is gone, and with it what the task was for.
        }
    }
}

/// Takes its event back when the sleeper goes.
struct Alarm<'executor> {
    executor: &'executor Executor,
    key: Option<(Nanos, u64)>,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.executor.cancel(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{Executor, Owner, Turn};
    use crate::sim::chance::Chance;

    /// The order in which ten tasks that sleep a little come to an end.
    fn order(seed: u64) -> Vec<usize> {
        let executor = Rc::new(Executor::new(Chance::new(seed)));
        let order = Rc::new(RefCell::new(Vec::new()));
        for index in 0..10 {
            let (sleeper, order) = (Rc::clone(&executor), Rc::clone(&order));
            executor.spawn(Owner::Outside, async move {
                sleeper.sleep_until(sleeper.now().plus(Duration::from_secs(1))).await;
                order.borrow_mut().push(index);
            });
        }
        while !matches!(executor.turn(), Turn::Idle) {}
        assert_eq!(executor.task_count(Owner::Outside), 0);
        order.take()
    }

    #[test]
    fn a_seed_chooses_the_order() {
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn an_owner_ends_with_all_its_tasks() {
        let executor = Rc::new(Executor::new(Chance::new(1)));
        let kept = Rc::new(());
        for owner in [Owner::Node(0), Owner::Node(0), Owner::Outside] {
            let (sleeper, kept) = (Rc::clone(&executor), Rc::clone(&kept));
            executor.spawn(owner, async move {
                sleeper.sleep_until(sleeper.now().plus(Duration::from_secs(1))).await;
                drop(kept);
            });
        }
        while executor.now().get() < 1_000_001_000 {
            executor.turn();
        }
        executor.end(Owner::Node(0));
        assert_eq!(Rc::strong_count(&kept), 2);
        while !matches!(executor.turn(), Turn::Idle) {}
        assert_eq!(Rc::strong_count(&kept), 1);
    }
}
