//! What is counted while a load runs: latencies, acknowledgements, and what broker, generator and
//! machine used in the window that counts.
//!
//! Latency counts requests that were meant to be sent in the window; rates count acknowledgements
//! that came in it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Moment, own_cpu};
use crate::failure::Failure;
use crate::latency::Latency;
use crate::process::{Machine, Process, Usage};

const SECOND_NS: u64 = 1_000_000_000;

/// The time that counts, after the warm-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Moment,
    pub(crate) end: Moment,
}

impl Window {
    fn contains(self, moment: Moment) -> bool {
        self.start <= moment && moment < self.end
    }
}

/// One look at everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Moment,
    pub(crate) own_cpu: Duration,
    pub(crate) machine: Machine,
    pub(crate) broker: Option<Usage>,
}

/// One second of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    pub(crate) acknowledged_count: u64,
    pub(crate) longest_ns: u64,
}

pub(crate) struct Meter {
    window: Window,
    broker: Option<Process>,
    samples: Vec<Sample>,
    last_acknowledged: Moment,
    pub(super) tally: Tally,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) latency: Latency,
    /// How late this generator sent what could have been sent in time.
    pub(crate) lateness: Latency,
    pub(crate) acknowledged_count: u64,
    pub(crate) unanswered_count: u64,
    /// By Kafka's codes, of the whole run.
    pub(crate) errors: BTreeMap<i16, u64>,
    pub(crate) gap_longest_ns: u64,
    pub(crate) seconds: Vec<Second>,
}

impl Meter {
    pub(crate) fn new(window: Window, broker: Option<Process>) -> Self {
        let seconds = window.end.ns_since(window.start).div_ceil(SECOND_NS);
        let seconds = usize::try_from(seconds).expect("a run is short");
        let tally = Tally {
            latency: Latency::new(),
            lateness: Latency::new(),
            acknowledged_count: 0,
            unanswered_count: 0,
            errors: BTreeMap::new(),
            gap_longest_ns: 0,
            seconds: vec![Second::default(); seconds],
        };
        Self { window, broker, samples: Vec::new(), last_acknowledged: window.start, tally }
    }

    /// Looks at everything when the window begins and when it ends. `spun` is processor time that was
    /// no work.
    pub(crate) fn on_time(&mut self, now: Moment, spun: Duration) -> Result<(), Failure> {
        let is_due = match self.samples.len() {
            0 => self.window.start <= now,
            1 => self.window.end <= now,
            _ => false,
        };
        if is_due {
            let broker = self.broker.map(Process::usage).transpose()?;
            let machine = Machine::now()?;
            let own_cpu = own_cpu().saturating_sub(spun);
            self.samples.push(Sample { at: now, own_cpu, machine, broker });
        }
        Ok(())
    }

    pub(crate) fn on_sent(&mut self, now: Moment, could: Moment) {
        if self.window.contains(could) {
            self.tally.lateness.record_ns(now.ns_since(could));
        }
    }

    pub(crate) fn on_acknowledged(&mut self, now: Moment, intended: Moment, error_code: i16) {
        if error_code != 0 {
            *self.tally.errors.entry(error_code).or_insert(0) += 1;
            return;
        }
        if self.window.contains(intended) {
            self.tally.latency.record_ns(now.ns_since(intended));
        }
        if self.window.contains(now) {
            self.tally.acknowledged_count += 1;
            let gap_ns = now.ns_since(self.last_acknowledged);
            self.tally.gap_longest_ns = self.tally.gap_longest_ns.max(gap_ns);
            self.last_acknowledged = now;
            let second = usize::try_from(now.ns_since(self.window.start) / SECOND_NS);
            let second = &mut self.tally.seconds[second.expect("a run is short")];
            second.acknowledged_count += 1;
            second.longest_ns = second.longest_ns.max(now.ns_since(intended));
        }
    }

    /// A request whose answer did not come in time counts with the time it has waited.
    pub(crate) fn on_unanswered(&mut self, now: Moment, intended: Moment) {
        self.tally.unanswered_count += 1;
        if self.window.contains(intended) {
            self.tally.latency.record_ns(now.ns_since(intended));
        }
    }

    /// What was counted, and the looks at the window's start and end.
    pub(crate) fn finish(
        mut self,
        now: Moment,
        spun: Duration,
    ) -> Result<(Tally, [Sample; 2]), Failure> {
        self.on_time(now, spun)?;
        let samples = <[Sample; 2]>::try_from(self.samples);
        let samples = samples.map_err(|_missing| Failure::new("the run ended before its time"))?;
        let tail_ns = self.window.end.ns_since(self.last_acknowledged);
        self.tally.gap_longest_ns = self.tally.gap_longest_ns.max(tail_ns);
        Ok((self.tally, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    fn meter() -> Meter {
        Meter::new(Window { start: at(1_000), end: at(3_000) }, None)
    }

    #[test]
    fn rates_count_by_answers_and_latency_by_intentions() {
        let mut meter = meter();
        meter.on_acknowledged(at(1_001), at(999), 0);
        meter.on_acknowledged(at(2_500), at(2_000), 0);
        meter.on_acknowledged(at(3_100), at(2_999), 0);
        assert_eq!(meter.tally.acknowledged_count, 2);
        assert_eq!(meter.tally.latency.count(), 2);
        assert_eq!(meter.tally.latency.longest_ns(), 500_000_000);
        assert_eq!(meter.tally.gap_longest_ns, 1_499_000_000);
        let counts: Vec<u64> =
            meter.tally.seconds.iter().map(|second| second.acknowledged_count).collect();
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn errors_are_no_acknowledgements() {
        let mut meter = meter();
        meter.on_acknowledged(at(2_000), at(1_999), 6);
        assert_eq!((meter.tally.acknowledged_count, meter.tally.latency.count()), (0, 0));
        assert_eq!(meter.tally.errors, BTreeMap::from([(6, 1)]));
    }

    #[test]
    fn what_was_never_answered_is_not_hidden() {
        let mut meter = meter();
        meter.on_unanswered(at(13_000), at(2_000));
        assert_eq!(meter.tally.latency.longest_ns(), 11_000_000_000);
        assert_eq!(meter.tally.unanswered_count, 1);
    }
}
