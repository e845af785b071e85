//! How fast connections may come, to the node and from each address (KIP-612).
//!
//! As many as all windows but one allow may come at once; past that, one each time that the rate has made
//! room for it. Knows no clock and no socket.
//! Invariant: whoever waits, waits a window at most.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::accounts::account::{Account, Windows};
use crate::io::Nanos;
use crate::limits::{PACES_MAX, PACES_TIDY};

/// Of the node, or of one address.
#[derive(Debug)]
pub struct Pace {
    account: Account,
}

impl Default for Pace {
    fn default() -> Self {
        Self { account: Account::new(1.0) }
    }
}

impl Pace {
    /// From now on it is `per_second`, but one in a window at least: so is a rate of 0 meant. What came
    /// under another rate keeps nobody waiting for longer than the credit.
    pub fn set(&mut self, now: Nanos, per_second: f64, windows: &Windows) {
        let per_second = per_second.max(1.0 / windows.span.as_secs_f64());
        self.account.set_rate(now, per_second);
        self.account.add_up_to(now, 0, windows.credit());
    }

    /// Until another may come.
    #[must_use]
    pub fn wait(&self, now: Nanos, windows: &Windows) -> Duration {
        let wait = self.account.wait(now, 1, windows.credit());
        assert!(wait <= windows.span, "the credit is a window at least, and so is room for one");
        wait
    }

    pub fn on_come(&mut self, now: Nanos) {
        self.account.add(now, 1);
    }
}

/// There are as many paces as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Those of addresses. Of an address from which nothing came for a while there is none: it would say
/// nothing.
#[derive(Debug, Default)]
pub struct Paces {
    by_address: BTreeMap<IpAddr, Pace>,
    tidied_at: Option<Nanos>,
}

impl Paces {
    /// That of `address`, which is `per_second` from now on.
    ///
    /// # Errors
    /// If there is none, and no room for it: strangers who come from everywhere make the node remember
    /// so many addresses, and no more.
    pub fn get(
        &mut self,
        now: Nanos,
        address: IpAddr,
        per_second: f64,
        windows: &Windows,
    ) -> Result<&mut Pace, TooMany> {
        if PACES_MAX <= self.by_address.len() && !self.by_address.contains_key(&address) {
            self.tidy(now);
            if PACES_MAX <= self.by_address.len() {
                return Err(TooMany);
            }
        }
        let pace = self.by_address.entry(address).or_default();
        pace.set(now, per_second, windows);
        Ok(pace)
    }

    /// Not with each connection of a flood: it looks at all of them.
    fn tidy(&mut self, now: Nanos) {
        if self.tidied_at.is_none_or(|at| now.since(at) >= PACES_TIDY) {
            self.tidied_at = Some(now);
            self.by_address.retain(|_, pace| !pace.account.is_settled(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv6Addr};
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::{Pace, Paces, TooMany};
    use crate::accounts::account::Windows;
    use crate::io::Nanos;
    use crate::limits::{PACES_MAX, PACES_TIDY};

    /// Two seconds' worth at once.
    const WINDOWS: Windows = Windows { count: 3, span: Duration::from_secs(1) };

    fn at(millis: u64) -> Nanos {
        Nanos::new(5).plus(Duration::from_millis(millis))
    }

    /// When each of so many comes in that come together, in milliseconds.
    #[track_caller]
    fn check(per_second: f64, count: usize, want_ms: &[u128]) {
        let (mut pace, mut now) = (Pace::default(), at(0));
        let came = (0..count).map(|_| {
            pace.set(now, per_second, &WINDOWS);
            now = now.plus(pace.wait(now, &WINDOWS));
            pace.on_come(now);
            now.since(at(0)).as_millis()
        });
        assert_eq!(came.collect::<Vec<_>>(), want_ms);
    }

    #[test]
    fn what_was_not_used_for_a_while_may_come_at_once_and_then_the_rate_holds() {
        check(2.0, 7, &[0, 0, 0, 0, 500, 1_000, 1_500]);
        check(1.0, 4, &[0, 0, 1_000, 2_000]);
    }

    #[test]
    fn a_rate_of_none_is_one_in_a_window() {
        check(0.0, 4, &[0, 0, 1_000, 2_000]);
    }

    #[test]
    fn a_lower_rate_does_not_count_what_came_before_it_for_long() {
        let mut pace = Pace::default();
        pace.set(at(0), 1_000.0, &WINDOWS);
        (0..2_000).for_each(|_| pace.on_come(at(0)));
        pace.set(at(0), 1.0, &WINDOWS);
        assert_eq!(pace.wait(at(0), &WINDOWS), WINDOWS.span);
        assert_eq!(pace.wait(at(1_000), &WINDOWS), Duration::ZERO);
    }

    #[test]
    fn addresses_are_remembered_up_to_a_bound_and_forgotten_when_they_are_quiet() {
        let address = |index: usize| {
            IpAddr::V6(Ipv6Addr::from_bits(u128::try_from(index).expect("it is unsigned")))
        };
        let mut paces = Paces::default();
        for index in 0..PACES_MAX {
            paces.get(at(0), address(index), 1.0, &WINDOWS).expect("below").on_come(at(0));
        }
        let refused = paces.get(at(999), address(PACES_MAX), 1.0, &WINDOWS);
        assert_eq!(refused.map(|_| ()), Err(TooMany));
        assert!(paces.get(at(999), address(7), 1.0, &WINDOWS).is_ok(), "it is known");
        // They are quiet by now, but it was looked at them just before.
        assert!(paces.get(at(1_000), address(PACES_MAX), 1.0, &WINDOWS).is_err());
        let later = at(999).plus(PACES_TIDY);
        assert!(paces.get(later, address(PACES_MAX), 1.0, &WINDOWS).is_ok());
        assert_eq!(paces.by_address.len(), 1);
    }

    proptest! {
        /// However they come: in any time no more than the rate and its credit allow, and nobody waits when
        /// it need not.
        #[test]
        fn no_more_come_than_may(
            pauses in vec(0_u64..700, 1..200), rate in 1_u32..40, count in 1_u32..5, span in 1_u64..4,
        ) {
            let windows = Windows { count, span: Duration::from_secs(span) };
            let (mut pace, mut now, mut came) = (Pace::default(), at(0), 0_u32);
            for pause_ms in pauses {
                now = now.plus(Duration::from_millis(pause_ms));
                pace.set(now, rate.into(), &windows);
                now = now.plus(pace.wait(now, &windows));
                pace.on_come(now);
                came += 1;
                let most = f64::from(rate) * (now.since(at(0)) + windows.credit()).as_secs_f64();
                prop_assert!(f64::from(came) <= most + 1e-3, "{came} of {most}");
            }
        }

        /// Whatever the rate becomes.
        #[test]
        fn nobody_waits_for_longer_than_a_window(
            comings in vec((0_u64..700, 0_u32..2_000), 1..200), count in 1_u32..5, span in 1_u64..4,
        ) {
            let windows = Windows { count, span: Duration::from_secs(span) };
            let (mut pace, mut now) = (Pace::default(), at(0));
            for (pause_ms, rate) in comings {
                now = now.plus(Duration::from_millis(pause_ms));
                pace.set(now, rate.into(), &windows);
                let wait = pace.wait(now, &windows);
                prop_assert!(wait <= windows.span);
                now = now.plus(wait);
                pace.on_come(now);
            }
        }
    }
}
