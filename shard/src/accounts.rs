//! The accounts of a shard: one for each payer of a quota whose connections are here.
//!
//! While any is in use a task tells the ledger, a few times a second, what was used here, and adds what
//! others used. Nothing runs, and nothing is looked up, while no quota is set.

pub mod account;
pub mod ledger;
pub mod meter;
pub mod toll;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use replication::quota::{ANONYMOUS, Bound, Payer, Quota};

use crate::accounts::account::{Account, Windows};
use crate::accounts::ledger::{Ledger, Since, Use};
use crate::connection::Connection;
use crate::io::{Class, Io, Nanos};
use crate::limits::{ACCOUNTS_TIDY_FROM, QUIET_REPORTS_MAX, REPORT_ACCOUNTS_MAX, REPORT_PAUSE};
use crate::message::{Message, Reply};
use crate::route::ReplyTo;
use crate::shard::Shard;

/// One per shard.
#[derive(Default)]
pub struct Accounts {
    open: RefCell<BTreeMap<Payer, Rc<Shared>>>,
    /// From how many on those are closed that nobody needs.
    tidy_from: Cell<usize>,
    is_reporting: Cell<bool>,
    /// On shard 0.
    ledger: RefCell<Ledger>,
}

/// An account, which several connections may use.
pub struct Shared {
    account: Cell<Account>,
    /// Used here since the ledger was told.
    untold: Cell<u64>,
    since: Cell<Since>,
}

impl Accounts {
    /// The account of this payer, from now on at this rate.
    fn open(&self, now: Nanos, payer: Payer, per_second: f64) -> Rc<Shared> {
        let mut open = self.open.borrow_mut();
        if open.len() >= self.tidy_from.get() {
            open.retain(|_, it| Rc::strong_count(it) > 1 || it.is_needed(now));
            self.tidy_from.set(2 * open.len().max(ACCOUNTS_TIDY_FROM));
        }
        let shared = open.entry(payer).or_insert_with(|| Rc::new(Shared::new(per_second)));
        shared.change(|account| account.set_rate(now, per_second));
        Rc::clone(shared)
    }

    /// Those of which the ledger is to hear.
    fn needed(&self, now: Nanos) -> Vec<(Payer, Rc<Shared>)> {
        let open = self.open.borrow();
        let mut needed = Vec::new();
        for (payer, shared) in open.iter() {
            if shared.is_needed(now) {
                needed.push((payer.clone(), Rc::clone(shared)));
            } else {
                shared.since.set(Since::Now); // What others use meanwhile is not followed.
            }
        }
        needed
    }
}

impl Shared {
    fn new(per_second: f64) -> Self {
        Self {
            account: Cell::new(Account::new(per_second)),
            untold: Cell::new(0),
            since: Cell::new(Since::Now),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Account)) {
        let mut account = self.account.get();
        change(&mut account);
        self.account.set(account);
    }

    fn is_needed(&self, now: Nanos) -> bool {
        self.untold.get() > 0 || !self.account.get().is_settled(now)
    }
}

/// What a payer's bound is in the units of its account: bytes, partitions, or nanoseconds of a core.
fn per_second(quota: Quota, bound: Bound) -> f64 {
    let per_second = match quota {
        Quota::ProducerByteRate
        | Quota::ConsumerByteRate
        | Quota::ControllerMutationRate
        | Quota::ConnectionCreationRate => bound.get(),
        Quota::RequestPercentage => bound.get() / 100.0 * 1e9,
    };
    per_second.clamp(1e-9, 1e18) // A bound may be any number.
}

/// Whether a client gets what it asked for, and how long it waits then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    Paid(Duration),
    Refused(Duration),
}

impl<I: Io> Shard<I> {
    /// The account that pays for this client, if its use is bounded.
    fn account(
        &self,
        connection: &Connection<I>,
        client: &str,
        quota: Quota,
    ) -> Option<Rc<Shared>> {
        let image = self.image.borrow();
        if image.quotas().is_empty() {
            return None;
        }
        connection.meter.account(image.quotas(), client, quota, |quota| {
            if matches!(quota, Quota::ControllerMutationRate | Quota::ConnectionCreationRate) {
                return None; // The controller has the one, the door the other.
            }
            let (payer, bound) = image.quotas().find(quota, ANONYMOUS, client)?;
            Some(self.accounts.open(self.io.now(), payer, per_second(quota, bound)))
        })
    }

    /// A client has sent so many bytes to be stored. How long it must wait before it sends more.
    pub fn charge_produce(
        self: &Rc<Self>,
        connection: &Connection<I>,
        client: &str,
        bytes: u64,
    ) -> Duration {
        let Some(shared) = self.account(connection, client, Quota::ProducerByteRate) else {
            return Duration::ZERO;
        };
        let now = self.io.now();
        shared.change(|account| account.add(now, bytes));
        self.note(&shared, bytes);
        let wait = shared.account.get().wait(now, 0, self.quota_windows().credit());
        self.throttled(Quota::ProducerByteRate, wait)
    }

    /// What an answer to a fetch may have at most: for more there is always a wait.
    #[must_use]
    pub fn fetch_bytes_max(&self, connection: &Connection<I>, client: &str) -> Option<u64> {
        let shared = self.account(connection, client, Quota::ConsumerByteRate)?;
        let mut full = Account::new(shared.account.get().per_second());
        let now = self.io.now();
        full.add_up_to(now, u64::MAX, self.quota_windows().credit());
        Some(full.owed(now))
    }

    /// A client is to get so many bytes. If it must wait for them it gets none, and pays for none; but
    /// what is too large for any time is given to who owes nothing, and paid for afterwards.
    pub fn charge_fetch(
        self: &Rc<Self>,
        connection: &Connection<I>,
        client: &str,
        bytes: u64,
    ) -> Charge {
        let Some(shared) = self.account(connection, client, Quota::ConsumerByteRate) else {
            return Charge::Paid(Duration::ZERO);
        };
        let now = self.io.now();
        let account = shared.account.get();
        let wait = account.wait(now, bytes, self.quota_windows().credit());
        let wait = self.throttled(Quota::ConsumerByteRate, wait);
        if wait > Duration::ZERO && !account.is_settled(now) {
            return Charge::Refused(wait);
        }
        shared.change(|account| account.add(now, bytes));
        self.note(&shared, bytes);
        Charge::Paid(wait)
    }

    /// A client's connection has worked for a request. How long it must wait before the next: as in Kafka
    /// at most a window; so a debt that grows faster than it can be paid off is cut to twice the credit.
    pub fn charge_time(self: &Rc<Self>, connection: &Connection<I>, client: &str) -> Duration {
        let account = self.account(connection, client, Quota::RequestPercentage);
        connection.meter.count_time(account.is_some());
        let Some(shared) = account else {
            return Duration::ZERO;
        };
        let (now, windows) = (self.io.now(), self.quota_windows());
        let nanos = connection.meter.take_time(self.io.stopwatch());
        shared.change(|account| account.add_up_to(now, nanos, 2 * windows.credit()));
        self.note(&shared, nanos);
        let wait = shared.account.get().wait(now, 0, windows.credit()).min(windows.span);
        self.throttled(Quota::RequestPercentage, wait)
    }

    fn quota_windows(&self) -> Windows {
        let image = self.image.borrow();
        Windows::of(&image.broker_config().quota_windows)
    }

    fn mutation_windows(&self) -> Windows {
        let image = self.image.borrow();
        Windows::of(&image.broker_config().mutation_windows)
    }

    /// Counts a wait that a client is told of, or has.
    pub fn throttled(&self, quota: Quota, wait: Duration) -> Duration {
        if wait > Duration::ZERO {
            self.recorder.borrow_mut().on_throttled(quota, wait);
        }
        wait
    }

    /// Sees to it that the ledger hears of what was used.
    fn note(self: &Rc<Self>, shared: &Shared, amount: u64) {
        if self.shard_count() == 1 {
            return; // There are no others.
        }
        shared.untold.set(shared.untold.get() + amount);
        if !self.accounts.is_reporting.replace(true) {
            self.io.spawn(Class::Foreground, run_reports(Rc::clone(self)));
        }
    }

    pub fn on_used(&self, from: usize, report: &[Use], reply_to: ReplyTo<I>) {
        assert_eq!(self.index, 0, "the ledger is the first shard's");
        let mut ledger = self.accounts.ledger.borrow_mut();
        let by_others = ledger.on_report(self.io.now(), from, report);
        drop(ledger);
        self.route.reply(reply_to, Reply::Used(by_others));
    }
}

/// Until nothing was used for a while.
async fn run_reports<I: Io>(shard: Rc<Shard<I>>) {
    let mut quiet_count = 0;
    while !shard.has_ended() && quiet_count < QUIET_REPORTS_MAX {
        quiet_count = if report(&shard).await { 0 } else { quiet_count + 1 };
        shard.timers.at(shard.io.now().plus(REPORT_PAUSE)).wait().await;
    }
    shard.accounts.is_reporting.set(false);
}

/// Tells the ledger of every account in use, and hears what others used. Whether there is any.
async fn report<I: Io>(shard: &Rc<Shard<I>>) -> bool {
    let needed = shard.accounts.needed(shard.io.now());
    for accounts in needed.chunks(REPORT_ACCOUNTS_MAX) {
        let told = |(payer, shared): &(Payer, Rc<Shared>)| Use {
            payer: payer.clone(),
            per_second: shared.account.get().per_second(),
            amount: shared.untold.take(),
            since: shared.since.replace(Since::LastTime),
        };
        let report = accounts.iter().map(told).collect();
        let call = shard.call(0, Message::Used { from: shard.index, report });
        let Reply::Used(by_others) = call.wait().await else {
            unreachable!("who tells of use hears of use");
        };
        let now = shard.io.now();
        for ((_, shared), amount) in accounts.iter().zip(by_others) {
            shared.change(|account| account.add(now, amount));
        }
    }
    !needed.is_empty()
}
