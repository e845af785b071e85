//! The turns of one shard: completions in, tasks run until they are quiet, requests out, once each.
//!
//! The thread waits in its ring's one system call, not in the executor's: nothing but the ring wakes a shard.
//! A task must be woken on its shard; other threads use `WakeHandle`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::TaskQueueHandle;

use super::Core;
use crate::io::Class;
use crate::ring::Reaped;

/// Rounds of ready tasks before the kernel is asked again, though more are ready.
const ROUNDS_MAX: usize = 8;
/// Turns without rest after which a background task runs all the same.
const BACKGROUND_TURNS: u32 = 4;
/// How long the end of a shard waits at a time for the kernel.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

/// Starts a task on this shard. It first runs when its turn comes.
pub(super) fn spawn(core: &Rc<Core>, class: Class, task: impl Future<Output = ()> + 'static) {
    let (core, task) = (Rc::clone(core), Box::pin(task));
    let spawned = match class {
        Class::Foreground => {
            glommio::spawn_local_into(foreground(core, task), TaskQueueHandle::default())
        }
        Class::Background => {
            glommio::spawn_local_into(background(core, task), TaskQueueHandle::default())
        }
    };
    drop(spawned.expect("the default queue exists").detach());
}

/// The task is in a box, so that what is spawned holds it once: moved into a future that is pinned within
/// another, it would take its room twice.
async fn foreground(core: Rc<Core>, mut task: Pin<Box<impl Future<Output = ()>>>) {
    poll_fn(|context| {
        core.run_count.set(core.run_count.get() + 1);
        task.as_mut().poll(context)
    })
    .await;
}

async fn background(core: Rc<Core>, mut task: Pin<Box<impl Future<Output = ()>>>) {
    let gate = Rc::new(Gate::default());
    poll_fn(|context| {
        if !gate.is_granted.take() {
            gate.wait(&core.gates, context.waker());
            return Poll::Pending;
        }
        core.run_count.set(core.run_count.get() + 1);
        task.as_mut().poll(context)
    })
    .await;
}

/// Lets a background task run once when no other task is ready, or after a few turns.
#[derive(Default)]
pub(super) struct Gate {
    is_granted: Cell<bool>,
    /// `Some` while it stands among the waiting.
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    fn wait(self: &Rc<Self>, waiting: &RefCell<VecDeque<Rc<Self>>>, waker: &Waker) {
        let previous = self.waker.borrow_mut().replace(waker.clone());
        if previous.is_none() {
            waiting.borrow_mut().push_back(Rc::clone(self));
        }
    }

    fn grant(&self) {
        self.is_granted.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Lets every task that is ready now run first.
pub(super) async fn yield_once() {
    let mut is_done = false;
    poll_fn(|context| {
        if is_done {
            return Poll::Ready(());
        }
        is_done = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets what is ready run first, and what the kernel makes ready meanwhile, as a background task does.
pub(super) async fn yield_long(core: &Core) {
    let gate = Rc::new(Gate::default());
    poll_fn(|context| {
        if gate.is_granted.get() {
            return Poll::Ready(());
        }
        gate.wait(&core.gates, context.waker());
        Poll::Pending
    })
    .await;
}

/// Runs the shard until `is_over`.
pub(super) async fn drive(core: &Core, is_over: &Cell<bool>, spin: Duration) {
    let mut reaped = Reaped::default();
    let mut busy_turns = 0;
    let mut last_active = core.clock.now.get();
    while !is_over.get() {
        core.clock.tick();
        begin_turn(core, &mut reaped);
        let is_quiet = run_ready(core).await;
        busy_turns = if is_quiet { 0 } else { busy_turns + 1 };
        if (is_quiet || busy_turns % BACKGROUND_TURNS == 0) && grant_background(core) {
            last_active = core.clock.now.get();
            core.ring.submit();
            continue;
        }
        if reaped.count > 0 || !is_quiet {
            last_active = core.clock.now.get();
        }
        reaped.count = 0;
        core.ring.register(&mut core.arena.borrow_mut());
        if !is_quiet || core.clock.now.get().since(last_active) < spin {
            core.ring.submit();
        } else if !is_over.get() {
            wait(core);
        }
    }
}

/// Wakes whom the kernel or the clock has something for.
fn begin_turn(core: &Core, reaped: &mut Reaped) {
    core.ring.reap(reaped);
    core.timers.borrow_mut().expire(core.clock.now.get(), &mut reaped.wakers);
    if std::mem::take(&mut reaped.is_woken) {
        reaped.wakers.extend(core.wakeups.on_woken());
    }
    for waker in reaped.wakers.drain(..) {
        waker.wake();
    }
    reaped.requests.clear();
}

/// Whether no task is ready any more.
async fn run_ready(core: &Core) -> bool {
    for _ in 0..ROUNDS_MAX {
        let run_count = core.run_count.get();
        yield_once().await;
        if core.run_count.get() == run_count {
            return true;
        }
    }
    false
}

/// Whether a background task waited, and may now run.
fn grant_background(core: &Core) -> bool {
    let gate = core.gates.borrow_mut().pop_front();
    gate.inspect(|it| it.grant()).is_some()
}

/// Until the kernel has something for us, or a timer is due.
fn wait(core: &Core) {
    let mut arena = core.arena.borrow_mut();
    arena.reclaim();
    core.ring.register(&mut arena);
    drop(arena);
    let first = core.timers.borrow().first();
    core.clock.tick();
    let timeout = first.map(|it| it.since(core.clock.now.get()));
    if timeout == Some(Duration::ZERO) {
        core.ring.submit();
    } else {
        core.ring.submit_and_wait(timeout);
    }
}

/// Gives up what is under way and lets no task run again. The kernel has no memory of ours after it.
pub(super) fn close(core: &Core) {
    drop(core.ring.close());
    let timers = std::mem::take(&mut core.timers.borrow_mut().due);
    drop(timers);
    let gates = std::mem::take(&mut *core.gates.borrow_mut());
    drop(gates);
    let wakers = (core.wakeups.waker.take(), core.wakeups.bystanders.take());
    drop(wakers);
    while core.ring.busy_count() > 0 {
        core.ring.submit_and_wait(Some(CLOSE_WAIT));
        let mut reaped = Reaped::default();
        core.ring.reap(&mut reaped);
    }
}
