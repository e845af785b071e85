//! What the payer of a quota owes for what it used, and how long it must wait when that is too much.
//!
//! A debt is paid off at the rate of the quota. It may grow to what all windows but one allow before there
//! is a wait, as Kafka lets who was quiet use so much at once; past that the rate is kept exactly, however
//! large a single use is. Units are the caller's. Knows no clock and no client.

use std::time::Duration;

use replication::config::broker::QuotaWindows;

use crate::io::Nanos;
use crate::limits::THROTTLE_MAX;

/// So many windows of so many seconds, as the broker's configuration has them for a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// At least one.
    pub count: u32,
    pub span: Duration,
}

impl Windows {
    #[must_use]
    pub fn of(windows: &QuotaWindows) -> Self {
        Self { count: windows.count, span: Duration::from_secs(windows.span_seconds.into()) }
    }

    /// What may be used at once of a quota that Kafka measures by a token bucket: all windows.
    #[must_use]
    pub fn burst(&self) -> Duration {
        self.span * self.count.max(1)
    }

    /// What may be used at once, as time at the rate of the quota.
    #[must_use]
    pub fn credit(&self) -> Duration {
        self.span * self.count.saturating_sub(1).max(1)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Account {
    per_second: f64,
    /// When everything that was used is paid off.
    settled_at: Nanos,
}

impl Account {
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        assert!(per_second > 0.0);
        Self { per_second, settled_at: Nanos::new(0) }
    }

    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// What is owed stays.
    pub fn set_rate(&mut self, now: Nanos, per_second: f64) {
        assert!(per_second > 0.0);
        let owed = self.debt(now).as_secs_f64() * self.per_second;
        self.per_second = per_second;
        self.settled_at = now.plus(time(owed / per_second));
    }

    pub fn add(&mut self, now: Nanos, amount: u64) {
        let more = time(as_f64(amount) / self.per_second);
        self.settled_at = self.settled_at.max(now).plus(more);
    }

    /// As `add`, and lets the rest go if more is owed than can be paid off in `debt_max`.
    pub fn add_up_to(&mut self, now: Nanos, amount: u64, debt_max: Duration) {
        self.add(now, amount);
        self.settled_at = self.settled_at.min(now.plus(debt_max));
    }

    /// Likewise, of what is owed in the account's units.
    #[must_use]
    pub fn owed(&self, now: Nanos) -> u64 {
        let amount = self.debt(now).as_secs_f64() * self.per_second;
        // As the nanoseconds of a duration it is rounded, and has an end.
        let billions = Duration::try_from_secs_f64(amount / 1e9).unwrap_or(Duration::MAX);
        u64::try_from(billions.as_nanos()).unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn is_settled(&self, now: Nanos) -> bool {
        self.settled_at <= now
    }

    /// How long nothing may be used, so that what is owed, and `more`, is within the credit.
    #[must_use]
    pub fn wait(&self, now: Nanos, more: u64, credit: Duration) -> Duration {
        let debt = self.debt(now) + time(as_f64(more) / self.per_second);
        debt.saturating_sub(credit).min(THROTTLE_MAX)
    }

    fn debt(&self, now: Nanos) -> Duration {
        self.settled_at.since(now)
    }
}

/// Longer ones are cut to the longest wait there is.
fn time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(THROTTLE_MAX).min(THROTTLE_MAX)
}

#[expect(clippy::cast_precision_loss, reason = "what is off is less than a billionth")]
const fn as_f64(amount: u64) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::{Account, Windows, as_f64};
    use crate::io::Nanos;

    /// Kafka's defaults.
    const WINDOWS: Windows = Windows { count: 11, span: Duration::from_secs(1) };

    fn at(millis: u64) -> Nanos {
        Nanos::new(5).plus(Duration::from_millis(millis))
    }

    /// The wait after each use of `(when, amount)`, in milliseconds.
    #[track_caller]
    fn check(per_second: f64, uses: &[(u64, u64)], want_ms: &[u128]) {
        let mut account = Account::new(per_second);
        let waits = uses.iter().map(|(when, amount)| {
            account.add(at(*when), *amount);
            account.wait(at(*when), 0, WINDOWS.credit()).as_millis()
        });
        assert_eq!(waits.collect::<Vec<_>>(), want_ms);
    }

    #[test]
    fn who_was_quiet_may_use_ten_windows_at_once_and_then_waits() {
        check(100.0, &[(0, 1_000)], &[0]);
        check(100.0, &[(0, 1_001)], &[10]);
        check(100.0, &[(0, 500), (0, 500), (0, 500)], &[0, 0, 5_000]);
        check(100.0, &[(0, 1_000), (5_000, 500), (5_000, 1), (99_000, 1_000)], &[0, 0, 10, 0]);
    }

    #[test]
    fn one_use_that_is_too_large_waits_for_all_of_it() {
        check(10.0, &[(0, 1_000), (500, 0)], &[90_000, 89_500]);
        check(10.0, &[(0, 1_000), (90_000, 100)], &[90_000, 10_000]);
        check(1.0, &[(0, u64::MAX)], &[super::THROTTLE_MAX.as_millis() - 10_000]);
    }

    #[test]
    fn what_would_be_used_counts_as_if_it_were() {
        let mut account = Account::new(100.0);
        account.add(at(0), 900);
        let wait = |more| account.wait(at(0), more, WINDOWS.credit());
        assert_eq!((wait(100), wait(200)), (Duration::ZERO, Duration::from_secs(1)));
        assert_eq!(account.owed(at(0)), 900);
        assert_eq!(account.owed(at(2_000)), 700);
        assert!(!account.is_settled(at(8_999)) && account.is_settled(at(9_000)));
    }

    #[test]
    fn another_rate_leaves_what_is_owed() {
        let mut account = Account::new(100.0);
        account.add(at(0), 2_000);
        account.set_rate(at(0), 50.0);
        assert_eq!(account.owed(at(0)), 2_000);
        assert_eq!(account.wait(at(0), 0, WINDOWS.credit()), Duration::from_secs(30));
        account.set_rate(at(60_000), 1.0);
        assert_eq!(account.owed(at(60_000)), 0);
    }

    #[test]
    fn a_bounded_debt_is_forgotten_past_its_bound() {
        let mut account = Account::new(1.0);
        let most = Duration::from_secs(21);
        account.add_up_to(at(0), 1_000, most);
        assert_eq!(account.wait(at(0), 0, WINDOWS.credit()), Duration::from_secs(11));
        account.add_up_to(at(11_000), 1, most);
        assert_eq!(account.wait(at(11_000), 0, WINDOWS.credit()), Duration::from_secs(1));
    }

    #[test]
    fn a_single_window_is_its_own_credit() {
        let windows = Windows { count: 1, span: Duration::from_secs(2) };
        assert_eq!(windows.credit(), Duration::from_secs(2));
        assert_eq!(windows.burst(), Duration::from_secs(2));
        assert_eq!(WINDOWS.burst(), Duration::from_secs(11));
    }

    proptest! {
        /// In any time it uses no more than the rate allows, ten windows' worth and its last use, whatever
        /// it does; and if it always wants more, no less.
        #[test]
        fn who_waits_as_told_keeps_to_the_rate(
            uses in vec((0_u64..3_000, 1_u64..50_000), 1..200), per_second in 50_u32..2_000,
        ) {
            let rate = f64::from(per_second);
            let mut account = Account::new(rate);
            let (mut now, mut all, mut paused_ms) = (at(0), 0, 0);
            for (pause_ms, amount) in uses {
                now = now.plus(Duration::from_millis(pause_ms));
                paused_ms += pause_ms;
                let allowed = rate * (now.since(at(0)).as_secs_f64() + 10.0);
                prop_assert!(as_f64(all) <= allowed + 1.0, "{all} of {allowed}");
                account.add(now, amount);
                all += amount;
                now = now.plus(account.wait(now, 0, WINDOWS.credit()));
            }
            let waited = now.since(at(paused_ms)).as_secs_f64();
            prop_assert!(rate * waited <= as_f64(all) + 1.0, "{waited} s for {all}");
        }
    }
}
