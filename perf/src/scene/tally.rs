//! What is counted while a scene runs: latencies, acknowledgements, records that arrived, and what
//! broker, generator and machine used, phase by phase.
//!
//! Latency counts in the phase in which a request was meant to be sent; rates count in the phase in
//! which an acknowledgement or a record came. Everything is allocated before the scene begins.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Moment, own_cpu};
use crate::failure::Failure;
use crate::latency::{Latency, Timeline};
use crate::process::{Footprint, Machine, Process, Usage};
use crate::results::{Minute, Second};
use crate::scene::plan::{Phase, Plan, Until};
use crate::scene::wire::Delivered;

/// Room for the seconds of a phase whose length nobody knows.
const SECONDS_EXPECTED: usize = 600;

/// One look at everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) at: Moment,
    pub(super) own_cpu: Duration,
    pub(super) machine: Machine,
    pub(super) broker: Option<Usage>,
}

impl Look {
    /// `spun` is processor time that was no work.
    pub(super) fn take(
        at: Moment,
        broker: Option<Process>,
        spun: Duration,
    ) -> Result<Self, Failure> {
        let broker = broker.map(Process::usage).transpose()?;
        let own_cpu = own_cpu().saturating_sub(spun);
        Ok(Self { at, own_cpu, machine: Machine::now()?, broker })
    }
}

/// What the broker has at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Moment,
    pub(super) footprint: Footprint,
}

/// Of one phase that counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// Index in the plan's phases.
    pub(super) phase: usize,
    pub(super) producers: Vec<Published>,
    pub(super) consumers: Vec<Received>,
    /// At its start and at its end.
    pub(super) looks: Option<[Look; 2]>,
    /// Its end came because consumers had caught up. `None` if it did not wait for that.
    pub(super) is_drained: Option<bool>,
    began: Moment,
}

/// Of one stream of producers.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) latency: Latency,
    /// How late this generator sent what could have been sent in time.
    pub(super) lateness: Latency,
    /// How long answers may have waited for this generator, at most.
    pub(super) delay: Latency,
    /// Of requests.
    pub(super) acknowledged_count: u64,
    pub(super) unanswered_count: u64,
    /// By the codes of its protocol.
    pub(super) errors: BTreeMap<i16, u64>,
    pub(super) gap_longest_ns: u64,
    pub(super) seconds: Vec<Second>,
    pub(super) minutes: Vec<Minute>,
    timeline: Timeline,
    last_acknowledged: Moment,
}

/// Of one stream of consumers.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) latency: Latency,
    /// Of each consumer.
    pub(super) latencies: Vec<Latency>,
    /// How long answers may have waited for this generator, at most.
    pub(super) delay: Latency,
    pub(super) record_count: u64,
    /// Of record batches.
    pub(super) byte_count: u64,
    pub(super) errors: BTreeMap<i16, u64>,
    /// At the end: records that the broker has and that were not read, and since when they could be.
    pub(super) behind_count: u64,
    pub(super) behind_ns: u64,
    pub(super) seconds: Vec<Second>,
    pub(super) minutes: Vec<Minute>,
    timeline: Timeline,
}

impl Tally {
    pub(super) fn new(plan: &Plan, phase: usize) -> Self {
        let second_count = seconds_of(&plan.phases[phase]);
        let received = |count| Received::new(count, second_count);
        Self {
            phase,
            producers: plan.producers.iter().map(|_| Published::new(second_count)).collect(),
            consumers: plan.consumers.iter().map(|it| received(it.count)).collect(),
            looks: None,
            is_drained: None,
            began: Moment::BOOT,
        }
    }

    pub(super) fn begin(&mut self, now: Moment) {
        self.began = now;
        for published in &mut self.producers {
            published.last_acknowledged = now;
            published.timeline.begin(now);
        }
        self.consumers.iter_mut().for_each(|it| it.timeline.begin(now));
    }

    pub(super) fn end(&mut self, now: Moment, looks: [Look; 2]) {
        self.looks = Some(looks);
        self.producers.iter_mut().for_each(|it| it.end(now));
        for received in &mut self.consumers {
            (received.seconds, received.minutes) = received.timeline.finish(now);
        }
    }
}

fn seconds_of(phase: &Phase) -> usize {
    match phase.until {
        Until::Passed(length) => usize::try_from(length.as_secs() + 1).expect("a phase is short"),
        Until::Sent(_) | Until::Drained { .. } => SECONDS_EXPECTED,
    }
}

impl Published {
    fn new(second_count: usize) -> Self {
        Self {
            latency: Latency::new(),
            lateness: Latency::new(),
            delay: Latency::new(),
            acknowledged_count: 0,
            unanswered_count: 0,
            errors: BTreeMap::new(),
            gap_longest_ns: 0,
            seconds: Vec::new(),
            minutes: Vec::new(),
            timeline: Timeline::new(second_count),
            last_acknowledged: Moment::BOOT,
        }
    }

    pub(super) fn on_sent(&mut self, now: Moment, could: Moment) {
        self.lateness.record_ns(now.ns_since(could));
    }

    /// A request of this phase was acknowledged, in whatever phase.
    pub(super) fn on_latency(&mut self, now: Moment, intended: Moment) {
        self.latency.record_ns(now.ns_since(intended));
    }

    /// In this phase a request was acknowledged, of whatever phase.
    pub(super) fn on_acknowledged(&mut self, now: Moment, intended: Moment) {
        self.acknowledged_count += 1;
        let gap_ns = now.ns_since(self.last_acknowledged);
        self.gap_longest_ns = self.gap_longest_ns.max(gap_ns);
        self.last_acknowledged = now;
        self.timeline.record_many_ns(now, now.ns_since(intended), 1);
    }

    pub(super) fn on_refused(&mut self, error_code: i16) {
        *self.errors.entry(error_code).or_insert(0) += 1;
    }

    /// A request whose answer did not come in time counts with the time it has waited.
    pub(super) fn on_unanswered(&mut self, now: Moment, intended: Moment) {
        self.unanswered_count += 1;
        self.on_latency(now, intended);
    }

    fn end(&mut self, now: Moment) {
        let tail_ns = now.ns_since(self.last_acknowledged);
        self.gap_longest_ns = self.gap_longest_ns.max(tail_ns);
        (self.seconds, self.minutes) = self.timeline.finish(now);
    }

    pub(super) fn refused_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Received {
    fn new(consumer_count: usize, second_count: usize) -> Self {
        Self {
            latency: Latency::new(),
            latencies: (0..consumer_count).map(|_| Latency::new()).collect(),
            delay: Latency::new(),
            record_count: 0,
            byte_count: 0,
            errors: BTreeMap::new(),
            behind_count: 0,
            behind_ns: 0,
            seconds: Vec::new(),
            minutes: Vec::new(),
            timeline: Timeline::new(second_count),
        }
    }

    /// Records of this phase came to the `nth` consumer, in whatever phase.
    pub(super) fn on_latency(&mut self, nth: usize, now: Moment, intended: Moment, count: u64) {
        let ns = now.ns_since(intended);
        self.latency.record_many_ns(ns, count);
        self.latencies[nth].record_many_ns(ns, count);
    }

    /// In this phase something came, of whatever phase. The time of records that were there before
    /// the consumer was is no latency.
    pub(super) fn on_delivered(&mut self, now: Moment, delivered: Delivered, began: Moment) {
        match delivered {
            Delivered::Records { intended, count } => {
                self.record_count += count;
                if began <= intended {
                    self.timeline.record_many_ns(now, now.ns_since(intended), count);
                } else {
                    self.timeline.count(now, count);
                }
            }
            Delivered::Bytes(count) => {
                self.byte_count += u64::try_from(count).expect("counts have at most 64 bits");
            }
            Delivered::Refused(error_code) => {
                *self.errors.entry(error_code).or_insert(0) += 1;
            }
        }
    }

    /// Of the consumer that was the slowest.
    pub(super) fn slowest(&self) -> Option<&Latency> {
        self.latencies.iter().max_by_key(|it| it.rank_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    #[test]
    fn the_longest_gap_may_be_the_last() {
        let mut published = Published::new(4);
        published.last_acknowledged = at(1_000);
        published.timeline.begin(at(1_000));
        published.on_acknowledged(at(1_001), at(999));
        published.on_acknowledged(at(1_900), at(1_700));
        assert_eq!(published.gap_longest_ns, 899_000_000);
        published.end(at(3_000));
        assert_eq!(published.gap_longest_ns, 1_100_000_000);
        let counts: Vec<u64> = published.seconds.iter().map(|second| second.count).collect();
        assert_eq!((published.acknowledged_count, counts), (2, vec![2, 0]));
    }

    #[test]
    fn errors_are_no_acknowledgements() {
        let mut published = Published::new(1);
        published.on_refused(6);
        assert_eq!((published.acknowledged_count, published.latency.count()), (0, 0));
        assert_eq!((published.refused_count(), published.errors), (1, BTreeMap::from([(6, 1)])));
    }

    #[test]
    fn what_was_never_answered_is_not_hidden() {
        let mut published = Published::new(1);
        published.on_unanswered(at(13_000), at(2_000));
        assert_eq!(published.latency.longest_ns(), 11_000_000_000);
        assert_eq!(published.unanswered_count, 1);
    }

    #[test]
    fn the_slowest_consumer_stands_beside_all() {
        let mut received = Received::new(2, 1);
        received.on_latency(0, at(5), at(4), 100);
        received.on_latency(1, at(9), at(4), 1);
        assert_eq!(received.latency.count(), 101);
        assert_eq!(received.slowest().map(Latency::longest_ns), Some(5_000_000));
    }

    #[test]
    fn a_backlog_counts_as_records_and_not_as_latency() {
        let mut received = Received::new(1, 1);
        let records = |intended| Delivered::Records { intended, count: 3 };
        received.on_delivered(at(1_000), records(at(10)), at(900));
        received.on_delivered(at(1_000), records(at(950)), at(900));
        let (seconds, _) = received.timeline.finish(at(2_000));
        assert_eq!((received.record_count, seconds[1].count), (6, 6));
        assert_eq!(seconds[1].max_us, 50_000.0);
    }
}
