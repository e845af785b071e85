//! Whether somebody has asked for the end of a benchmark: whatever lasts looks at it now and then.
//!
//! It interrupts nothing by itself. Once it was asked for, it stays so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock::{Moment, pause};
use crate::failure::Failure;

/// Between two looks of one who waits for something else.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Nobody asks, unless signals do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// By Ctrl-C, or by SIGTERM.
    pub(crate) fn by_signals() -> Result<Self, Failure> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0))
                .map_err(|error| Failure::io("be told of signals", error))?;
        }
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        // Nothing else is read because of it.
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if it was asked for.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.is_asked() { Err(Failure::new("it was stopped")) } else { Ok(()) }
    }

    /// Waits so long; fails soon after it was asked for.
    pub(crate) fn pause(&self, length: Duration) -> Result<(), Failure> {
        let end = Moment::now().plus(length);
        loop {
            self.check()?;
            let left = end.since(Moment::now());
            if left.is_zero() {
                return Ok(());
            }
            pause(left.min(LOOK));
        }
    }

    /// As a signal does.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_pause_is_as_long_as_it_is_said_to_be() {
        let (stop, start) = (Stop::default(), Moment::now());
        let length = LOOK + LOOK / 2;
        stop.pause(length).expect("nobody asks");
        assert!(length <= Moment::now().since(start));
    }

    #[test]
    fn who_waits_hears_of_it() {
        let stop = Stop::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| stop.pause(Duration::from_secs(3_600)));
            stop.ask();
            waiting.join().expect("it does not panic").expect_err("it was asked for");
        });
    }
}
