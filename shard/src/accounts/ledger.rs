//! What all shards together use of quotas. Shard 0's: the others tell it what their clients used, and are
//! told what was used elsewhere, so that a client whose connections lie on several shards has one quota.
//!
//! Invariant: no shard was told of more than was used.

use std::collections::BTreeMap;

use replication::quota::Payer;

use crate::accounts::account::Account;
use crate::io::Nanos;
use crate::limits::LEDGER_TIDY;

/// What one shard's clients used since it last said so.
#[derive(Clone, Debug)]
pub struct Use {
    pub payer: Payer,
    /// What its quota allows.
    pub per_second: f64,
    pub amount: u64,
    pub since: Since,
}

/// From when on a shard knows of a payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It knows nothing of what is owed.
    Now,
    LastTime,
}

#[derive(Debug)]
struct Entry {
    account: Account,
    /// All that was ever used.
    used: u64,
    /// Of that, what each shard knows of.
    known: Vec<u64>,
}

/// One per node.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Payer, Entry>,
    tidied_at: Option<Nanos>,
}

impl Ledger {
    /// A shard's report. What others used of each since its last; if it is new to a payer, what is owed.
    pub fn on_report(&mut self, now: Nanos, shard: usize, report: &[Use]) -> Vec<u64> {
        self.tidy(now);
        let each = |reported: &Use| {
            let rate = reported.per_second;
            let entry = self.entries.entry(reported.payer.clone()).or_insert_with(|| Entry {
                account: Account::new(rate),
                used: 0,
                known: Vec::new(),
            });
            if entry.known.len() <= shard {
                entry.known.resize(shard + 1, 0);
            }
            entry.account.set_rate(now, rate);
            let by_others = match reported.since {
                Since::Now => entry.account.owed(now),
                Since::LastTime => entry.used - entry.known[shard],
            };
            entry.account.add(now, reported.amount);
            entry.used += reported.amount;
            entry.known[shard] = entry.used;
            assert!(entry.known.iter().all(|known| *known <= entry.used));
            by_others
        };
        report.iter().map(each).collect()
    }

    /// Forgets whoever owes nothing. What was used since a shard's last report is forgotten with it: too
    /// little to be owed.
    fn tidy(&mut self, now: Nanos) {
        if self.tidied_at.is_none_or(|at| now.since(at) >= LEDGER_TIDY) {
            self.tidied_at = Some(now);
            self.entries.retain(|_, entry| !entry.account.is_settled(now));
        }
    }

    #[must_use]
    pub fn payer_count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use replication::quota::{Payer, Quota};

    use super::{Ledger, Since, Use};
    use crate::io::Nanos;

    fn at(seconds: u64) -> Nanos {
        Nanos::new(5).plus(Duration::from_secs(seconds))
    }

    /// Ten a second.
    fn used(client: &str, amount: u64, since: Since) -> Use {
        let client = Some(client.into());
        let payer = Payer { quota: Quota::ProducerByteRate, user: None, client };
        Use { payer, per_second: 10.0, amount, since }
    }

    #[track_caller]
    fn check(ledger: &mut Ledger, now: Nanos, shard: usize, amount: u64, since: Since, want: u64) {
        assert_eq!(ledger.on_report(now, shard, &[used("a", amount, since)]), [want]);
    }

    #[test]
    fn each_shard_is_told_once_of_what_the_others_used() {
        let mut ledger = Ledger::default();
        check(&mut ledger, at(0), 0, 10, Since::Now, 0);
        check(&mut ledger, at(0), 2, 5, Since::Now, 10);
        check(&mut ledger, at(1), 0, 1, Since::LastTime, 5);
        check(&mut ledger, at(1), 0, 0, Since::LastTime, 0);
        check(&mut ledger, at(1), 2, 0, Since::LastTime, 1);
        check(&mut ledger, at(1), 2, 7, Since::LastTime, 0);
        check(&mut ledger, at(2), 0, 0, Since::LastTime, 7);
    }

    #[test]
    fn who_comes_late_is_told_of_what_is_still_owed() {
        let mut ledger = Ledger::default();
        check(&mut ledger, at(0), 0, 100, Since::Now, 0);
        check(&mut ledger, at(8), 0, 40, Since::LastTime, 0);
        check(&mut ledger, at(9), 1, 1, Since::Now, 50);
        check(&mut ledger, at(12), 0, 0, Since::LastTime, 1);
        check(&mut ledger, at(30), 1, 0, Since::Now, 0);
    }

    #[test]
    fn payers_are_apart_and_forgotten_when_they_owe_nothing() {
        let mut ledger = Ledger::default();
        let report = [used("a", 1, Since::Now), used("b", 900, Since::Now)];
        assert_eq!(ledger.on_report(at(0), 0, &report), [0, 0]);
        let report = ["b", "a", "c"].map(|client| used(client, 4, Since::Now));
        assert_eq!(ledger.on_report(at(0), 1, &report), [900, 1, 0]);
        assert_eq!(ledger.payer_count(), 3);
        check(&mut ledger, at(60), 1, 3, Since::LastTime, 0);
        assert_eq!(ledger.payer_count(), 2);
        check(&mut ledger, at(60), 0, 0, Since::LastTime, 3);
    }
}
