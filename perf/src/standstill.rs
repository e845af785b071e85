//! How long cores of this machine stood still: a thread on each sleeps a little, again and again, ahead of
//! all others, and what it oversleeps there nobody ran (the idea of Gil Tene's jHiccup).
//!
//! On a virtual machine that is the host. The kernel counts it as stolen only if somebody was to run: a core
//! that does not wake up for a disk's interrupt stands still and nothing is stolen.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::beside::Beside;
use crate::clock::{Moment, pause};
use crate::pin;
use crate::stop::Stop;

pub(crate) const PERCENT: &str = "stood_still_percent";

const SLEEP: Duration = Duration::from_millis(2);
/// Less is what a scheduler takes that has others to run.
const SHORTEST: Duration = Duration::from_millis(5);
/// Ahead of all that are not of a real-time class. Root may.
const NICE: i32 = -20;

/// Of one core.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stood {
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

/// It looks until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct Watch(Vec<Beside<Option<Stood>>>);

impl Watch {
    /// Of some cores; `None` is whichever the kernel picks.
    pub(crate) fn begin(cores: [Option<usize>; 2]) -> Self {
        let cores = BTreeSet::from(cores).into_iter();
        Self(cores.map(|core| Beside::begin(move |stop| watch(core, stop))).collect())
    }

    /// Names and numbers, of the core that stood longest. Of one that could not be watched there are none.
    pub(crate) fn end(self) -> Vec<(String, f64)> {
        let ended = self.0.into_iter().map(Beside::end);
        let seen = ended.filter_map(|(stood, lasted)| Some((stood?, lasted)));
        let most = seen.max_by_key(|(stood, _)| stood.total);
        let numbers = most.map(|(stood, lasted)| {
            let percent = 100.0 * stood.total.as_secs_f64() / lasted.as_secs_f64();
            let longest_ms = 1e3 * stood.longest.as_secs_f64();
            [(PERCENT.to_owned(), percent), ("stood_still_longest_ms".to_owned(), longest_ms)]
        });
        numbers.into_iter().flatten().collect()
    }
}

fn watch(core: Option<usize>, stop: &Stop) -> Option<Stood> {
    if let Some(core) = core {
        pin::to_core(core).ok()?;
    }
    // Where that is refused, a busy core looks as if it stood still for a scheduler's slice at most.
    _ = setpriority_process(None, NICE);
    let mut stood = Stood::default();
    while !stop.is_asked() {
        let due = Moment::now().plus(SLEEP);
        pause(SLEEP);
        stood.add(Moment::now().since(due));
    }
    Some(stood)
}

impl Stood {
    fn add(&mut self, overslept: Duration) {
        if SHORTEST <= overslept {
            self.total += overslept;
            self.longest = self.longest.max(overslept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scheduler_takes_is_no_standstill() {
        let mut stood = Stood::default();
        [1, 4, 7, 4, 30, 2].into_iter().for_each(|ms| stood.add(Duration::from_millis(ms)));
        let (total, longest) = (Duration::from_millis(37), Duration::from_millis(30));
        assert_eq!(stood, Stood { total, longest });
    }

    #[test]
    fn a_core_that_cannot_be_watched_has_no_numbers() {
        let names = |cores| {
            let numbers = Watch::begin(cores).end();
            assert!(numbers.iter().all(|(_, it)| it.is_finite()), "{numbers:?}");
            numbers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names([Some(0), None]), [PERCENT, "stood_still_longest_ms"]);
        let none = Some(usize::MAX);
        assert!(names([none, none]).is_empty());
    }
}
