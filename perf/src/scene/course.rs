//! Which phase runs, and what was counted in each.
//!
//! It knows no connection. Invariant: phases begin where those before them end.

use std::time::Duration;

use crate::clock::{Moment, duration_ns};
use crate::failure::Failure;
use crate::scene::cast::{Behind, Delivery, Seat};
use crate::scene::plan::{Phase, Plan, Until};
use crate::scene::producer::Acknowledged;
use crate::scene::tally::{Look, Sample, Tally};
use crate::scene::wire::Delivered;

/// Between two samples of the broker.
const SAMPLE_NS: u64 = 10_000_000_000;

pub(super) struct Course<'a> {
    plan: &'a Plan,
    /// When each phase began; the last of them runs, unless it is over.
    starts: Vec<Moment>,
    is_over: bool,
    /// Of the phase that runs; `NEVER` if nobody knows.
    end: Moment,
    look: Option<Look>,
    /// Of values, in the phase that runs.
    sent_bytes: u64,
    drained_at: Option<Moment>,
    /// Of each phase of the plan; `None` if it does not count.
    tallies: Vec<Option<Tally>>,
    /// Of the broker, in phases that count.
    samples: Vec<Sample>,
    /// What consumers got in all, once it is known.
    pub(super) delivery: Option<Delivery>,
    is_stopped: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let tallies = plan.phases.iter().enumerate();
        let tallies = tallies.map(|(index, it)| it.counts.then(|| Tally::new(plan, index)));
        Self {
            plan,
            starts: Vec::with_capacity(plan.phases.len()),
            is_over: false,
            end: Moment::NEVER,
            look: None,
            sent_bytes: 0,
            drained_at: None,
            tallies: tallies.collect(),
            samples: Vec::with_capacity(samples_of(plan)),
            delivery: None,
            is_stopped: false,
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        !self.is_over
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Index of the phase that runs; their count after the last.
    pub(super) const fn phase(&self) -> usize {
        if self.is_over { self.plan.phases.len() } else { self.starts.len().saturating_sub(1) }
    }

    /// Index of the phase that begins next.
    pub(super) const fn next_phase(&self) -> usize {
        self.starts.len()
    }

    pub(super) const fn end(&self) -> Moment {
        self.end
    }

    /// Whether the phase that runs ends when consumers have caught up.
    pub(super) fn waits_for_readers(&self) -> bool {
        let phase = self.plan.phases.get(self.phase());
        phase.is_some_and(|it| matches!(it.until, Until::Drained { .. }))
    }

    /// Of the phases that count and have begun.
    pub(super) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().flatten().filter(|it| it.looks.is_some())
    }

    /// The next phase begins. `spun` is processor time that was no work.
    pub(super) fn begin(&mut self, start: Moment, spun: Duration) -> Result<(), Failure> {
        self.starts.push(start);
        let phase = self.running();
        self.end = match phase.until {
            Until::Passed(length) => start.plus(length),
            Until::Sent(_) => Moment::NEVER,
            Until::Drained { at_most, .. } => start.plus(at_most),
        };
        (self.sent_bytes, self.drained_at) = (0, None);
        let index = self.phase();
        if let Some(tally) = &mut self.tallies[index] {
            tally.begin(start);
            self.look = Some(Look::take(start, self.plan.broker, spun)?);
        }
        Ok(())
    }

    /// When the phase ended, if it has.
    pub(super) fn end_of_phase(&self, now: Moment) -> Option<Moment> {
        match self.running().until {
            Until::Passed(_) => (self.end <= now).then_some(self.end),
            Until::Sent(bytes) => (bytes <= self.sent_bytes).then_some(now),
            Until::Drained { .. } => {
                self.drained_at.or_else(|| (self.end <= now).then_some(self.end))
            }
        }
    }

    /// The phase has ended, and the next one, if there is one, is to begin.
    pub(super) fn finish(&mut self, end: Moment, spun: Duration) -> Result<(), Failure> {
        self.close(end, spun)?;
        if self.starts.len() == self.plan.phases.len() {
            (self.is_over, self.end) = (true, Moment::NEVER);
        }
        Ok(())
    }

    /// No phase follows any more.
    pub(super) fn stop(&mut self, now: Moment, spun: Duration) -> Result<(), Failure> {
        self.close(now, spun)?;
        (self.is_over, self.is_stopped) = (true, true);
        Ok(())
    }

    fn close(&mut self, end: Moment, spun: Duration) -> Result<(), Failure> {
        let index = self.phase();
        let is_drained = match self.running().until {
            Until::Drained { .. } => Some(self.drained_at.is_some()),
            Until::Passed(_) | Until::Sent(_) => None,
        };
        if let (Some(tally), Some(look)) = (&mut self.tallies[index], self.look.take()) {
            tally.is_drained = is_drained;
            tally.end(end, [look, Look::take(end, self.plan.broker, spun)?]);
        }
        Ok(())
    }

    /// Looks at the broker if it is time to.
    pub(super) fn sample(&mut self, now: Moment) -> Result<(), Failure> {
        let is_due = self.samples.last().is_none_or(|it| SAMPLE_NS <= now.ns_since(it.at));
        let counts = self.tallies.get(self.phase()).is_some_and(Option::is_some);
        if let Some(broker) = self.plan.broker.filter(|_| is_due && counts) {
            self.samples.push(Sample { at: now, footprint: broker.footprint()? });
        }
        Ok(())
    }

    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(super) fn on_drained(&mut self, now: Moment) {
        self.drained_at.get_or_insert(now);
    }

    pub(super) fn note_behind(&mut self, stream: usize, behind: Behind) {
        let index = self.phase();
        if let Some(tally) = &mut self.tallies[index] {
            let received = &mut tally.consumers[stream];
            (received.behind_count, received.behind_ns) = (behind.record_count, behind.ns);
        }
    }

    /// A request of this phase was sent. `could` is when it could have been, in an open loop.
    pub(super) fn on_sent(
        &mut self,
        now: Moment,
        stream: usize,
        phase: usize,
        could: Option<Moment>,
    ) {
        let producers = &self.plan.producers[stream];
        let records = u64::try_from(producers.record_count).expect("at least one record");
        let value_bytes = u64::try_from(producers.value_bytes).expect("at most 64 bits");
        self.sent_bytes += records * value_bytes;
        if let (Some(tally), Some(could)) = (&mut self.tallies[phase], could) {
            tally.producers[stream].on_sent(now, could);
        }
    }

    /// A request was answered; the answer may have been there for so long.
    pub(super) fn on_answered(
        &mut self,
        now: Moment,
        delay_ns: u64,
        stream: usize,
        answer: Acknowledged,
    ) {
        let Acknowledged { intended, phase, error_code } = answer;
        if let Some(tally) = &mut self.tallies[phase] {
            let published = &mut tally.producers[stream];
            published.delay.record_ns(delay_ns);
            if error_code == 0 {
                published.on_latency(now, intended);
            } else {
                published.on_refused(error_code);
            }
        }
        let running = self.phase();
        if error_code == 0
            && let Some(Some(tally)) = self.tallies.get_mut(running)
        {
            tally.producers[stream].on_acknowledged(now, intended);
        }
    }

    pub(super) fn on_unanswered(
        &mut self,
        now: Moment,
        stream: usize,
        phase: usize,
        intended: Moment,
    ) {
        if let Some(tally) = &mut self.tallies[phase] {
            tally.producers[stream].on_unanswered(now, intended);
        }
    }

    /// An answer was read whole; its end may have been there for so long.
    pub(super) fn on_read(&mut self, delay_ns: u64, seat: Seat) {
        let running = self.phase();
        if let Some(Some(tally)) = self.tallies.get_mut(running) {
            tally.consumers[seat.stream].delay.record_ns(delay_ns);
        }
    }

    pub(super) fn on_delivered(&mut self, now: Moment, seat: Seat, delivered: Delivered) {
        let running = self.phase();
        if let Some(Some(tally)) = self.tallies.get_mut(running) {
            tally.consumers[seat.stream].on_delivered(now, delivered, seat.began);
        }
        if let Delivered::Records { intended, count } = delivered
            && seat.began <= intended
            && let Some(phase) = self.phase_of(intended)
            && let Some(tally) = &mut self.tallies[phase]
        {
            tally.consumers[seat.stream].on_latency(seat.nth, now, intended, count);
        }
    }

    fn phase_of(&self, moment: Moment) -> Option<usize> {
        self.starts.iter().rposition(|start| *start <= moment)
    }

    fn running(&self) -> &Phase {
        &self.plan.phases[self.phase()]
    }
}

/// That its phases have time for; of those whose length nobody knows there may be more.
fn samples_of(plan: &Plan) -> usize {
    let lengths = plan.phases.iter().filter(|it| it.counts).map(|it| match it.until {
        Until::Passed(length) => length,
        Until::Drained { at_most, .. } => at_most,
        Until::Sent(_) => Duration::ZERO,
    });
    let length: Duration = lengths.sum();
    usize::try_from(duration_ns(length) / SAMPLE_NS + 1).expect("a scene is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    fn plan(untils: &[(Until, bool)]) -> Plan {
        let phases = untils.iter().map(|(until, counts)| ("phase", *until, *counts));
        Plan::of_phases(&phases.collect::<Vec<_>>())
    }

    fn passed(ms: u64) -> Until {
        Until::Passed(Duration::from_millis(ms))
    }

    fn answer(phase: usize, intended: Moment) -> Acknowledged {
        Acknowledged { intended, phase, error_code: 0 }
    }

    #[test]
    fn rates_count_by_answers_and_latency_by_intentions() {
        let plan = plan(&[(passed(1_000), false), (passed(2_000), true)]);
        let mut course = Course::new(&plan);
        course.begin(at(0), NO_TIME).unwrap();
        course.on_answered(at(999), 0, 0, answer(0, at(998)));
        assert_eq!(course.end_of_phase(at(1_003)), Some(at(1_000)));
        course.finish(at(1_000), NO_TIME).unwrap();
        assert_eq!(course.next_phase(), 1);
        course.begin(at(1_000), NO_TIME).unwrap();
        course.on_answered(at(1_001), 0, 0, answer(0, at(999)));
        course.on_answered(at(2_500), 0, 0, answer(1, at(2_000)));
        course.finish(at(3_000), NO_TIME).unwrap();
        assert!(!course.is_running());
        course.on_answered(at(3_100), 0, 0, answer(1, at(2_999)));

        let tally = course.tallies().next().unwrap();
        let published = &tally.producers[0];
        assert_eq!((tally.phase, published.acknowledged_count), (1, 2));
        assert_eq!((published.latency.count(), published.latency.longest_ns()), (2, 500_000_000));
        assert_eq!(published.gap_longest_ns, 1_499_000_000);
    }

    #[test]
    fn records_count_where_they_come_and_their_latency_where_they_began() {
        let plan = plan(&[(passed(1_000), true), (passed(1_000), true)]);
        let mut course = Course::new(&plan);
        let seat = Seat { stream: 0, nth: 0, began: at(100) };
        let records = |intended| Delivered::Records { intended, count: 5 };
        course.begin(at(0), NO_TIME).unwrap();
        course.on_delivered(at(200), seat, records(at(50)));
        course.on_delivered(at(300), seat, records(at(200)));
        course.finish(at(1_000), NO_TIME).unwrap();
        course.begin(at(1_000), NO_TIME).unwrap();
        course.on_delivered(at(1_100), seat, records(at(900)));
        course.finish(at(2_000), NO_TIME).unwrap();

        let consumers: Vec<_> = course.tallies().map(|it| &it.consumers[0]).collect();
        let counts: Vec<_> = consumers.iter().map(|it| it.record_count).collect();
        assert_eq!(counts, [10, 5]);
        let latencies: Vec<_> = consumers.iter().map(|it| it.latency.count()).collect();
        assert_eq!(latencies, [10, 0]);
    }

    #[test]
    fn a_phase_may_end_with_its_bytes() {
        let plan = plan(&[(Until::Sent(200), true)]);
        let mut course = Course::new(&plan);
        course.begin(at(0), NO_TIME).unwrap();
        course.on_sent(at(1), 0, 0, None);
        assert_eq!(course.end_of_phase(at(1)), None);
        course.on_sent(at(2), 0, 0, None);
        assert_eq!(course.end_of_phase(at(3)), Some(at(3)));
    }

    #[test]
    fn a_phase_that_waits_for_readers_says_whether_they_came() {
        let until =
            Until::Drained { lag: Duration::from_secs(1), at_most: Duration::from_millis(500) };
        for (drained_at, end) in [(Some(at(20)), at(20)), (None, at(500))] {
            let plan = plan(&[(until, true)]);
            let mut course = Course::new(&plan);
            course.begin(at(0), NO_TIME).unwrap();
            assert_eq!(course.end_of_phase(at(10)), None);
            drained_at.into_iter().for_each(|it| course.on_drained(it));
            assert_eq!(course.end_of_phase(at(600)), Some(end));
            course.finish(end, NO_TIME).unwrap();
            let is_drained = course.tallies().next().unwrap().is_drained;
            assert_eq!(is_drained, Some(drained_at.is_some()));
        }
    }

    #[test]
    fn what_is_stopped_keeps_what_was_measured() {
        let plan = plan(&[(passed(1_000), true), (passed(1_000), true)]);
        let mut course = Course::new(&plan);
        course.begin(at(0), NO_TIME).unwrap();
        course.on_answered(at(10), 0, 0, answer(0, at(5)));
        course.stop(at(400), NO_TIME).unwrap();
        assert!(course.is_stopped() && !course.is_running());
        let counts: Vec<_> =
            course.tallies().map(|it| it.producers[0].acknowledged_count).collect();
        assert_eq!(counts, [1]);
    }
}
