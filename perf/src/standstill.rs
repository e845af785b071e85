//! How long cores of this machine stood still: a thread on each sleeps a little, again and again, ahead of
//! all others, and what it oversleeps there nobody ran (the idea of Gil Tene's jHiccup).
//!
//! On a virtual machine that is the host. The kernel counts it as stolen only if somebody was to run: a core
//! that does not wake up for a disk's interrupt stands still and nothing is stolen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::clock::{Moment, pause};
use crate::pin;

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
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    began: Moment,
    threads: Vec<JoinHandle<Stood>>,
}

impl Watch {
    /// Of some cores; `None` is whichever the kernel picks.
    pub(crate) fn begin(cores: [Option<usize>; 2]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let cores: BTreeSet<Option<usize>> = cores.into_iter().collect();
        let watched = cores.into_iter().map(|core| {
            let is_over = Arc::clone(&is_over);
            start(move || watch(core, &is_over))
        });
        let threads = watched.collect();
        Self { is_over, began: Moment::now(), threads }
    }

    /// Names and numbers, of the core that stood longest.
    pub(crate) fn end(self) -> [(String, f64); 2] {
        // Nothing else is read because of it.
        self.is_over.store(true, Ordering::Relaxed);
        let all = self.threads.into_iter().filter_map(|it| it.join().ok());
        let most = all.max_by_key(|it| it.total).unwrap_or_default();
        let elapsed = Moment::now().since(self.began).as_secs_f64();
        [
            (PERCENT.to_owned(), 100.0 * most.total.as_secs_f64() / elapsed),
            ("stood_still_longest_ms".to_owned(), 1e3 * most.longest.as_secs_f64()),
        ]
    }
}

#[expect(clippy::disallowed_methods, reason = "no shard runs in this process")]
fn start(body: impl FnOnce() -> Stood + Send + 'static) -> JoinHandle<Stood> {
    thread::spawn(body)
}

pub(crate) const PERCENT: &str = "stood_still_percent";

fn watch(core: Option<usize>, is_over: &AtomicBool) -> Stood {
    let mut stood = Stood::default();
    if core.is_some_and(|core| pin::to_core(core).is_err()) {
        return stood;
    }
    // Where that is refused, a busy core looks as if it stood still for a scheduler's slice at most.
    _ = setpriority_process(None, NICE);
    while !is_over.load(Ordering::Relaxed) {
        let due = Moment::now().plus(SLEEP);
        pause(SLEEP);
        stood.add(Moment::now().since(due));
    }
    stood
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
    fn a_watch_ends_when_it_is_asked() {
        let watch = Watch::begin([Some(0), None]);
        let is_over = Arc::clone(&watch.is_over);
        let numbers = watch.end();
        assert!(is_over.load(Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&is_over), 1, "both threads have ended");
        assert!(numbers.iter().all(|(_, it)| it.is_finite()), "{numbers:?}");
    }
}
