//! A scene: producers and consumers beside each other on one thread, phase after phase, each request
//! at its time.
//!
//! One epoll instance, edge-triggered; once buffers have grown nothing on the path of a record
//! allocates. An open loop does not slow down for the broker: a request that has to wait for its
//! connection counts from the time it was meant. That time travels in the record, so that a consumer
//! knows how long it was under way. A connection that is lost ends the scene.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::thread::sched_yield;

use crate::clock::{Moment, thread_cpu, timespec, wall_ms};
use crate::failure::Failure;
use crate::results::{Sample, Series};
use crate::scene::agenda::Agenda;
use crate::scene::cast::{Cast, Who};
use crate::scene::course::Course;
use crate::scene::plan::{Plan, Until};
use crate::scene::producer::Acknowledged;
use crate::scene::silence::Silence;
use crate::scene::wire::{Delivered, Read};
use crate::schedule::Schedule;
use crate::stop::Stop;

mod account;
mod agenda;
mod amqp;
mod cast;
mod continuity;
mod course;
mod kafka;
mod nats;
mod outstanding;
pub(crate) mod plan;
mod producer;
mod rabbit_stream;
mod silence;
mod subscriber;
mod tally;
#[cfg(test)]
mod testing;
mod wire;

const EVENTS_MAX: usize = 256;
/// How long answers, and readers who are behind, are waited for after the last phase.
const DRAIN: Duration = Duration::from_secs(10);
/// The loop looks at the time at least this often.
const WAIT_NS_MAX: u64 = 50_000_000;
/// How often it is looked whether readers have caught up, while a phase waits for that.
const LAG_LOOK_NS: u64 = 10_000_000;
/// Readers have their turn until so long after the loop has looked for what arrived: then it looks
/// again, for acknowledgements must not wait for records.
const TURN_NS: u64 = 100_000;
/// A look that took less did not sleep: what it found may have been there before.
const AT_ONCE_NS: u64 = 20_000;
/// With a core of its own the loop does not sleep when a request is due so soon: to wake from sleep
/// takes as long as the latencies that are measured.
const SPIN_NS: u64 = 1_000_000;

/// What a scene found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Names carry the phase if several count, and the stream if there are several.
    pub(crate) numbers: Vec<(String, f64)>,
    pub(crate) series: Vec<Series>,
    pub(crate) samples: Vec<Sample>,
    /// Why it does not count.
    pub(crate) void: Vec<String>,
}

/// Plays it to its end, or until it is stopped: then with what was measured so far. Topics that are
/// missing are created.
pub(crate) fn run(plan: &Plan, stop: &Stop) -> Result<Outcome, Failure> {
    plan.check();
    let mut run = Run {
        cast: Cast::connect(plan)?,
        agendas: plan.producers.iter().map(|_| Agenda::default()).collect(),
        course: Course::new(plan),
        spun: Duration::ZERO,
        idle_since: None,
        acknowledged: Vec::with_capacity(EVENTS_MAX),
        delivered: Vec::with_capacity(EVENTS_MAX),
        unread: VecDeque::with_capacity(EVENTS_MAX),
        looked_at: Moment::now(),
        heard_since: Moment::now(),
        silence: Silence::new(),
        plan,
    };
    run.cast.enter(run.course.next_phase(), Moment::now())?;
    run.begin_phase(Moment::now())?;
    run.drive(stop)?;
    Ok(account::outcome(plan, &run.course))
}

struct Run<'a> {
    plan: &'a Plan,
    cast: Cast<'a>,
    /// Of each stream of producers.
    agendas: Vec<Agenda>,
    course: Course<'a>,
    /// Processor time of looks that found nothing: no work.
    spun: Duration,
    /// What this thread had used when it last had nothing to do but look. `None` if it has worked since.
    idle_since: Option<Duration>,
    acknowledged: Vec<Acknowledged>,
    delivered: Vec<Delivered>,
    /// Readers for whom something may have arrived.
    unread: VecDeque<usize>,
    /// When the loop last looked for what arrived, and since when what it found may have been there.
    looked_at: Moment,
    heard_since: Moment,
    /// Of producers' requests.
    silence: Silence,
}

impl Run<'_> {
    fn drive(&mut self, stop: &Stop) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut lag_looked_at = Moment::BOOT;
        while self.course.is_running() {
            let now = Moment::now();
            if stop.is_asked() {
                return self.stop(now);
            }
            if LAG_LOOK_NS <= now.ns_since(lag_looked_at) {
                (lag_looked_at, self.idle_since) = (now, None);
                self.look_at_lag(now);
                self.course.sample(now)?;
            }
            if let Some(end) = self.course.end_of_phase(now) {
                self.end_phase(end)?;
            } else {
                self.issue(now)?;
                self.wait(&mut events)?;
            }
        }
        let deadline = Moment::now().plus(DRAIN);
        let mut quiet_since = None;
        loop {
            let now = Moment::now();
            if quiet_since.is_none() && self.is_quiet() {
                quiet_since = Some(now);
            }
            let has_ended = quiet_since.is_some_and(|since| self.cast.have_read_all_of(since));
            if has_ended || deadline <= now || stop.is_asked() {
                self.settle(now, quiet_since);
                return Ok(());
            }
            self.issue(now)?;
            self.wait(&mut events)?;
        }
    }

    /// Until something has arrived, or a request is due.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> Result<(), Failure> {
        let next = self.agendas.iter_mut().map(Agenda::next).min().unwrap_or(Moment::NEVER);
        let looked_at = Moment::now();
        let due_ns = next.min(self.course.end()).ns_since(looked_at);
        let is_spinning = self.plan.spins
            && self.unread.is_empty()
            && !self.silence.is_long(looked_at)
            && self.agendas.iter().any(Agenda::is_open)
            && due_ns < SPIN_NS;
        let is_at_once = is_spinning || !self.unread.is_empty();
        let timeout_ns = if is_at_once { 0 } else { due_ns.min(self.look_ns_max()) };
        let timeout = timespec(timeout_ns);
        let idle_since = self.idle_since.take();
        let idle_since = is_spinning.then(|| idle_since.unwrap_or_else(thread_cpu));
        match epoll::wait(self.cast.epoll(), spare_capacity(events), Some(&timeout)) {
            Ok(0) if let Some(idle_since) = idle_since => {
                // The kernel's threads, which a broker may need, share this core.
                sched_yield();
                let used = thread_cpu();
                self.spun += used.saturating_sub(idle_since);
                self.idle_since = Some(used);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::io("wait for answers", error)),
        }
        let now = Moment::now();
        let has_slept = AT_ONCE_NS < now.ns_since(looked_at);
        self.heard_since = if has_slept { now } else { self.looked_at };
        self.looked_at = now;
        for event in events.drain(..) {
            let token = event.data;
            match self.cast.who(token.u64()) {
                Who::Producer(index) => self.on_producer(index)?,
                Who::Consumer(index) => self.queue(index, self.heard_since),
            }
        }
        while let Some(index) = self.unread.pop_front() {
            self.on_consumer(index)?;
            if TURN_NS < Moment::now().ns_since(self.looked_at) {
                break;
            }
        }
        Ok(())
    }

    fn queue(&mut self, index: usize, since: Moment) {
        let waits_since = &mut self.cast.readers[index].waits_since;
        if waits_since.is_none() {
            *waits_since = Some(since);
            self.unread.push_back(index);
        }
    }

    fn look_ns_max(&self) -> u64 {
        if self.course.waits_for_readers() { LAG_LOOK_NS } else { WAIT_NS_MAX }
    }

    fn begin_phase(&mut self, start: Moment) -> Result<(), Failure> {
        self.course.begin(start, self.spun)?;
        let phase = &self.plan.phases[self.course.phase()];
        let end = self.course.end();
        for ((agenda, pace), producers) in
            self.agendas.iter_mut().zip(&phase.paces).zip(&self.plan.producers)
        {
            let records = u64::try_from(producers.record_count).expect("at least one record");
            let count = u64::try_from(producers.count).expect("counts have at most 64 bits");
            agenda.begin(Schedule::new(*pace, start, end, records, count));
        }
        // Who is saturated has no clock that would wake it.
        let now = Moment::now();
        (0..self.cast.senders.len()).try_for_each(|index| self.send_due(index, now))
    }

    fn end_phase(&mut self, end: Moment) -> Result<(), Failure> {
        self.agendas.iter_mut().for_each(|agenda| agenda.end(end));
        for (stream, behind) in self.cast.behind(end).enumerate() {
            self.course.note_behind(stream, behind);
        }
        self.course.finish(end, self.spun)?;
        if self.course.is_running() {
            self.cast.enter(self.course.next_phase(), end)?;
            self.begin_phase(end)?;
        }
        Ok(())
    }

    /// Ends the phase that runs, and all that would come.
    fn stop(&mut self, now: Moment) -> Result<(), Failure> {
        self.course.stop(now, self.spun)
    }

    fn look_at_lag(&mut self, now: Moment) {
        let phase = &self.plan.phases[self.course.phase()];
        if let Until::Drained { lag, .. } = phase.until {
            let behind_ns = self.cast.behind(now).map(|it| it.ns).max().unwrap_or(0);
            if Duration::from_nanos(behind_ns) < lag {
                self.course.on_drained(now);
            }
        }
    }

    /// Wakes the connections whose next request has come due.
    fn issue(&mut self, now: Moment) -> Result<(), Failure> {
        for stream in 0..self.agendas.len() {
            while let Some(nth) = self.agendas[stream].issue(now) {
                self.send_due(self.cast.sender_index(stream, nth), now)?;
            }
        }
        Ok(())
    }

    fn on_producer(&mut self, index: usize) -> Result<(), Failure> {
        let now = Moment::now();
        let sender = &mut self.cast.senders[index];
        sender.producer.write(now)?;
        sender.producer.receive(now, &mut self.acknowledged)?;
        let delay_ns = now.ns_since(self.heard_since);
        for answer in self.acknowledged.drain(..) {
            self.silence.on_answered(now);
            self.course.on_answered(now, delay_ns, sender.stream, answer);
        }
        self.send_due(index, now)
    }

    /// Sends all that is due on one connection and that it may have in flight.
    fn send_due(&mut self, index: usize, mut now: Moment) -> Result<(), Failure> {
        let sender = &mut self.cast.senders[index];
        let agenda = &self.agendas[sender.stream];
        while let Some(free_since) = sender.producer.free_since()
            && let Some(intended) = agenda.due(&mut sender.producer.place, sender.nth, now)
        {
            self.idle_since = None;
            let phase = sender.producer.place.phase;
            let sent_at = Moment::now();
            let is_open = agenda.was_open(phase);
            let intended = if is_open { intended } else { sent_at };
            sender.producer.send(sent_at, intended, wall_ms())?;
            self.silence.on_sent(sent_at);
            let could = is_open.then(|| intended.max(free_since));
            self.course.on_sent(sent_at, sender.stream, phase, could);
            now = sent_at;
        }
        Ok(())
    }

    /// Reads are long beside requests: what came due meanwhile goes out before anything else.
    fn on_consumer(&mut self, index: usize) -> Result<(), Failure> {
        let reader = &mut self.cast.readers[index];
        let since = reader.waits_since.take().expect("who is queued waits");
        reader.consumer.write()?;
        let read = reader.consumer.receive(Moment::now, &mut self.delivered)?;
        let whole_at = match read {
            Read::All => return Ok(()),
            Read::Part => None,
            Read::PartWhole(now) | Read::Answer(now) => Some(now),
        };
        if let Some(now) = whole_at {
            self.course.on_read(now.ns_since(since), reader.seat);
            for delivered in self.delivered.drain(..) {
                self.course.on_delivered(now, reader.seat, delivered);
            }
        }
        if matches!(read, Read::Part | Read::PartWhole(_)) {
            self.queue(index, Moment::now());
        }
        self.issue(Moment::now())
    }

    /// Whether every request was sent and answered.
    fn is_quiet(&mut self) -> bool {
        let agendas = &self.agendas;
        self.cast.senders.iter_mut().all(|sender| {
            let place = &mut sender.producer.place;
            let due = agendas[sender.stream].due(place, sender.nth, Moment::NEVER);
            due.is_none() && sender.producer.outstanding().is_empty()
        })
    }

    /// Counts what was sent or should have been and has no answer, and what was not delivered.
    fn settle(&mut self, now: Moment, quiet_since: Option<Moment>) {
        for sender in &mut self.cast.senders {
            let stream = sender.stream;
            for sent in sender.producer.outstanding().requests() {
                self.course.on_unanswered(now, stream, sent.phase, sent.intended);
            }
            let place = &mut sender.producer.place;
            while let Some(intended) = self.agendas[stream].due(place, sender.nth, Moment::NEVER) {
                self.course.on_unanswered(now, stream, place.phase, intended);
                place.advance();
            }
        }
        self.course.delivery = self.cast.delivery(quiet_since);
    }
}
