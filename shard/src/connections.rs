//! The connections of a shard: their number, and the sweep that closes idle ones.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::connection::Connection;
use crate::io::Io;
use crate::shard::Shard;
use crate::signal::{self, Bell};

/// One per shard.
pub struct Connections<I: Io> {
    open: RefCell<BTreeMap<u64, Weak<Connection<I>>>>,
    next_id: Cell<u64>,
    changed: Bell,
}

impl<I: Io> Default for Connections<I> {
    fn default() -> Self {
        Self { open: RefCell::default(), next_id: Cell::new(0), changed: Bell::default() }
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
        self.changed.ring();
    }

    pub fn remove(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
        self.changed.ring();
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Rc<Connection<I>>> {
        self.open.borrow().values().filter_map(Weak::upgrade).collect()
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
}

/// Closes connections that are idle for longer than `connections.max.idle.ms`.
/// Sleeps while there is no connection.
pub async fn sweep<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.has_ended() {
        let changed = shard.connections.changed.next();
        if shard.connections.count() == 0 {
            changed.wait().await;
            continue;
        }
        let idle = shard.limits().idle_max.unwrap_or(Duration::from_secs(3600));
        let (over, done) = signal::promise();
        shard.timers.add(shard.io.now().plus((idle / 8).max(Duration::from_millis(100))), over);
        done.wait().await;
        if shard.limits().idle_max.is_none() {
            continue;
        }
        let now = shard.io.now();
        for connection in shard.connections.all() {
            if connection.idle_since().is_some_and(|since| now.since(since) >= idle) {
                connection.end(&shard);
            }
        }
    }
}
