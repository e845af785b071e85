//! The connections of a shard: their number, and the sweep that ends those that keep it waiting.
//!
//! There is no timer per connection. While something is awaited of a peer the sweep looks at all of them
//! about once a second; while nothing is, it sleeps until the idle ones are due, or it is roused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use crate::cause::{Cause, Tellings};
use crate::connection::Connection;
use crate::footprint::{Footprint, Step};
use crate::io::Io;
use crate::limits::{
    CLOSED_PER_TURN_MAX, CONNECTION_BYTES, HELD_MAX, LOOK_PAUSE, LOOKED_PER_TURN_MAX,
};
use crate::metrics::Metric;
use crate::patience::Verdict;
use crate::shard::Shard;
use crate::signal::{self, Answer, Bell};

/// One per shard.
pub struct Connections<I: Io> {
    open: RefCell<BTreeMap<u64, Weak<Connection<I>>>>,
    next_id: Cell<u64>,
    /// The most that were open since the last look.
    most_count: Cell<usize>,
    /// Not served, and kept open for a while.
    held_count: Cell<usize>,
    changed: Bell,
    /// Whether the sweep is to be roused when something is awaited that it has not seen.
    is_drowsy: Cell<bool>,
    roused: Bell,
    tellings: RefCell<Tellings>,
    footprint: RefCell<Footprint>,
}

impl<I: Io> Default for Connections<I> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            next_id: Cell::new(0),
            most_count: Cell::new(0),
            held_count: Cell::new(0),
            changed: Bell::default(),
            is_drowsy: Cell::new(false),
            roused: Bell::default(),
            tellings: RefCell::default(),
            footprint: RefCell::default(),
        }
    }
}

impl<I: Io> Connections<I> {
    #[must_use]
    pub fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    pub fn add(&self, connection: &Rc<Connection<I>>) {
        self.open.borrow_mut().insert(connection.id(), Rc::downgrade(connection));
        self.most_count.set(self.most_count.get().max(self.count()));
        self.changed.ring();
        self.rouse();
    }

    pub fn remove(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
        self.changed.ring();
        self.rouse();
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Rc<Connection<I>>> {
        self.open.borrow().values().filter_map(Weak::upgrade).collect()
    }

    /// Whether one more may be kept open that is not served. Then `end_hold` says that it is closed.
    #[must_use]
    pub fn begin_hold(&self) -> bool {
        let count = self.held_count.get();
        self.held_count.set((count + 1).min(HELD_MAX));
        count < HELD_MAX
    }

    /// # Panics
    /// If none is held.
    pub fn end_hold(&self) {
        self.held_count.set(self.held_count.get() - 1);
    }

    /// Until none is open.
    pub async fn all_closed(&self) {
        loop {
            let changed = self.changed.next();
            if self.count() == 0 {
                return;
            }
            changed.wait().await;
        }
    }

    /// Something is awaited of a peer from now on. Cheap while the sweep knows.
    pub fn rouse(&self) {
        if self.is_drowsy.replace(false) {
            self.roused.ring();
        }
    }

    /// How many closings for this cause the log was not told of, if it is to be told of this one.
    pub fn on_close(&self, shard: &Shard<I>, cause: Cause) -> Option<u64> {
        shard.recorder.borrow_mut().on_closed(cause);
        self.tellings.borrow_mut().on_close(shard.io.now(), cause)
    }
}

/// How much a sweep does before other tasks run.
#[derive(Default)]
struct Pace {
    /// In looks.
    spent: usize,
}

impl Pace {
    async fn look(&mut self, io: &impl Io) {
        self.spend(io, 1).await;
    }

    /// Closing one takes as long as many looks.
    async fn close<I: Io>(&mut self, shard: &Shard<I>, connection: &Connection<I>, cause: Cause) {
        connection.close(shard, cause);
        self.spend(&shard.io, LOOKED_PER_TURN_MAX / CLOSED_PER_TURN_MAX).await;
    }

    async fn spend(&mut self, io: &impl Io, looks: usize) {
        self.spent += looks;
        if self.spent >= LOOKED_PER_TURN_MAX {
            self.spent = 0;
            io.yield_long().await;
        }
    }
}

/// Looks at all connections, as often as is needed, until the shard ends.
pub async fn sweep<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.has_ended() {
        let roused = shard.connections.roused.next();
        // What begins during the look, where it has passed already, rouses too.
        shard.connections.is_drowsy.set(true);
        let is_awaited = look(&shard).await > 0;
        if !trim(&shard) && !is_awaited {
            doze(&shard, roused).await;
        }
        shard.connections.is_drowsy.set(false);
        shard.timers.at(shard.io.now().plus(LOOK_PAUSE)).wait().await;
    }
}

/// Until the sweep is roused, or the idle ones may be due.
async fn doze<I: Io>(shard: &Shard<I>, roused: Answer<()>) {
    match shard.limits().idle_max.filter(|_| shard.connections.count() > 0) {
        Some(idle) => {
            let (over, done) = signal::promise();
            let pause = (idle / 8).max(LOOK_PAUSE);
            let alarm = shard.timers.add(shard.io.now().plus(pause), over);
            signal::either(roused, done).await;
            shard.timers.forget(&alarm);
        }
        None => roused.wait().await,
    }
}

/// Ends what is overdue, and if memory is short the slow ones that hold most of it. Of how many
/// connections something is awaited.
async fn look<I: Io>(shard: &Shard<I>) -> usize {
    let (now, idle) = (shard.io.now(), shard.limits().idle_max);
    let mut awaited_count = 0;
    let mut slow = Vec::new();
    let mut pace = Pace::default();
    for connection in shard.connections.all() {
        pace.look(&shard.io).await;
        match connection.look(shard) {
            Verdict::Quiet => {
                let since = connection.idle_since();
                if since.zip(idle).is_some_and(|(since, idle)| now.since(since) >= idle) {
                    pace.close(shard, &connection, Cause::Idle).await;
                }
            }
            Verdict::Awaited => awaited_count += 1,
            Verdict::Slow(cause) => {
                awaited_count += 1;
                slow.push((connection, cause));
            }
            Verdict::Overdue(cause) => pace.close(shard, &connection, cause).await,
        }
    }
    make_room(shard, slow, &mut pace).await;
    awaited_count
}

/// Gives memory back if much of what connections and groups held has gone. Whether to look again soon.
fn trim<I: Io>(shard: &Shard<I>) -> bool {
    let group_bytes = shard.groups.bytes();
    let most_bytes = shard.permits.take_most_bytes()
        + shard.recompressing.take_most_bytes()
        + shard.answers.take_most_bytes()
        + group_bytes;
    let held_bytes = shard.permits.used_bytes()
        + shard.recompressing.used_bytes()
        + shard.answers.used_bytes()
        + group_bytes;
    let count = shard.connections.count();
    let most_count = shard.connections.most_count.replace(count);
    let bytes = |count| u64::try_from(count).expect("usize fits") * CONNECTION_BYTES;
    let mut footprint = shard.connections.footprint.borrow_mut();
    let step = footprint.on_look(bytes(most_count) + most_bytes, bytes(count) + held_bytes);
    drop(footprint);
    if step == Step::Trim {
        shard.io.trim_heap();
    }
    step == Step::Look
}

/// Ends those that hold most, until enough of what is short comes back.
async fn make_room<I: Io>(
    shard: &Shard<I>,
    mut slow: Vec<(Rc<Connection<I>>, Cause)>,
    pace: &mut Pace,
) {
    let mut missing = [shard.permits.missing_bytes(), shard.answers.missing_bytes()];
    if missing == [0, 0] {
        return;
    }
    slow.sort_by_cached_key(|(connection, _)| {
        let [requests, answers] = connection.held_bytes();
        (std::cmp::Reverse(requests + answers), connection.id())
    });
    for (connection, cause) in slow {
        let held = connection.held_bytes();
        let is_helpful = missing.iter().zip(held).any(|(missing, held)| *missing > 0 && held > 0);
        if !is_helpful {
            continue;
        }
        for (missing, held) in missing.iter_mut().zip(held) {
            *missing = missing.saturating_sub(held);
        }
        shard.recorder.borrow_mut().add(Metric::ConnectionsEvicted, 1);
        pace.close(shard, &connection, cause).await;
    }
}
