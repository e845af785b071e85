//! What one connection owes to whom: the accounts that pay for its client, and how long its tasks have run.
//!
//! Invariant: the accounts are those that the quotas it remembers name for the client it remembers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use replication::quota::{Quota, Quotas};

use crate::accounts::Shared;
use crate::io::{Io, Nanos};

/// One per connection. Looks accounts up when the quotas or the client's name change, so a request
/// allocates nothing.
#[derive(Default)]
pub struct Meter {
    payers: RefCell<Option<Payers>>,
    counts_time: Cell<bool>,
    worked: Cell<Duration>,
    /// Since when a task of the connection runs, in the present turn.
    running_since: Cell<Option<Nanos>>,
}

struct Payers {
    quotas: Arc<Quotas>,
    client: Box<str>,
    /// By the quota's index.
    accounts: [Option<Rc<Shared>>; Quota::ALL.len()],
}

impl Meter {
    /// The account of `client` for `quota`, which `find` finds if it is not remembered.
    pub fn account(
        &self,
        quotas: &Arc<Quotas>,
        client: &str,
        quota: Quota,
        find: impl Fn(Quota) -> Option<Rc<Shared>>,
    ) -> Option<Rc<Shared>> {
        let mut payers = self.payers.borrow_mut();
        let is_known = |it: &&mut Payers| Arc::ptr_eq(&it.quotas, quotas) && *it.client == *client;
        let payers = match payers.as_mut().filter(is_known) {
            Some(known) => known,
            None => payers.insert(Payers {
                quotas: Arc::clone(quotas),
                client: Box::from(client),
                accounts: Quota::ALL.map(find),
            }),
        };
        payers.accounts[quota.index()].clone()
    }

    /// Whether to look at a clock around each turn of its tasks.
    pub fn count_time(&self, counts: bool) {
        self.counts_time.set(counts);
    }

    /// Nanoseconds that the connection's tasks have run since it was asked last.
    pub fn take_time(&self, now: Nanos) -> u64 {
        let running = self.running_since.get().map_or(Duration::ZERO, |since| now.since(since));
        self.running_since.set(self.running_since.get().map(|_| now));
        u64::try_from((self.worked.take() + running).as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(&self, now: Nanos) {
        self.running_since.set(Some(now));
    }

    fn end(&self, now: Nanos) {
        if let Some(since) = self.running_since.take() {
            self.worked.set(self.worked.get() + now.since(since));
        }
    }
}

/// Runs a task of the connection, and counts its time if anybody pays for it. By reference: a task that is
/// handed over has room in both futures, and there are as many as connections.
pub fn metered<I: Io, T, F: Future<Output = T>>(
    io: &I,
    meter: &Meter,
    mut task: Pin<&mut F>,
) -> impl Future<Output = T> {
    poll_fn(move |context| {
        if !meter.counts_time.get() {
            return task.as_mut().poll(context);
        }
        meter.begin(io.stopwatch());
        let polled = task.as_mut().poll(context);
        meter.end(io.stopwatch());
        polled
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::pin::pin;

    use super::{Meter, metered};
    use crate::io::Nanos;
    use crate::sim::World;

    fn at(millis: u64) -> Nanos {
        Nanos::new(0).plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_task_has_room_once() {
        let (io, meter) = (World::new(1).outside(), Meter::default());
        let task = pin!(async {
            let large = [7_u8; 4_096];
            std::future::ready(()).await;
            large[0]
        });
        assert!(size_of_val(&*task) > 4_000);
        assert!(size_of_val(&metered(&io, &meter, task)) < 100);
    }

    #[test]
    fn time_is_taken_once_also_in_the_middle_of_a_turn() {
        let meter = Meter::default();
        assert_eq!(meter.take_time(at(5)), 0);
        meter.begin(at(10));
        assert_eq!(meter.take_time(at(13)), 3_000_000);
        meter.end(at(14));
        meter.begin(at(20));
        meter.end(at(22));
        assert_eq!(meter.take_time(at(30)), 3_000_000);
        assert_eq!(meter.take_time(at(40)), 0);
        meter.end(at(50)); // It began before time was counted.
        assert_eq!(meter.take_time(at(60)), 0);
    }
}
