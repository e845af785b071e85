//! Load on a broker: many connections on one thread, each request at its time.
//!
//! One epoll instance, edge-triggered; nothing on the path of a request allocates. An open loop
//! does not slow down for the broker: a request that has to wait for its connection counts from the
//! time it was meant.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use net::api::ApiKey;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::thread::sched_yield;

use crate::batch::ProducerId;
use crate::broker::{Broker, Topic};
use crate::clock::{Moment, timespec, wall_ms};
use crate::failure::Failure;
use crate::frame::{Acks, AnswerLayout, PRODUCE_LAST, ProduceFrame, Shape};
use crate::load::meter::{Meter, Sample, Tally, Window};
use crate::load::producer::{Acknowledged, Producer, Route};
use crate::payload::Random;
use crate::process::Process;
use crate::schedule::{Pace, Schedule};

pub(crate) mod account;
pub(crate) mod meter;
pub(crate) mod producer;

const EVENTS_MAX: usize = 256;
/// How long answers are waited for after the last request was due.
const DRAIN: Duration = Duration::from_secs(10);
/// The loop looks at the time at least this often.
const WAIT_NS_MAX: u64 = 50_000_000;
/// With a core of its own the loop does not sleep when a request is due so soon: to wake from sleep
/// takes as long as the latencies that are measured.
const SPIN_NS: u64 = 1_000_000;

/// What the loop does until the next request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It has a core of its own.
    Spins,
    Sleeps,
}

/// What one run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) topic: Topic<'a>,
    pub(crate) requests: Requests,
    pub(crate) connection_count: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) pace: Pace,
    pub(crate) patience: Patience,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    pub(crate) broker: Option<Process>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub(crate) record_count: i32,
    pub(crate) value_bytes: usize,
    pub(crate) acks: Acks,
    pub(crate) idempotence: Idempotence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idempotence {
    On,
    Off,
}

/// What one run found.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// At the start of the window and at its end.
    pub(crate) samples: [Sample; 2],
}

/// Runs it to its end. The topic is created if it is missing.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Outcome, Failure> {
    let mut broker = Broker::connect(plan.address)?;
    broker.ensure_topic(&plan.topic)?;
    broker.until_served(&plan.topic)?;
    let version = broker.version(ApiKey::Produce, PRODUCE_LAST)?;
    let producers = connect(plan, &mut broker, version)?;

    let start = Moment::now();
    let window_start = start.plus(plan.warmup);
    let window = Window { start: window_start, end: window_start.plus(plan.measured) };
    let request_records = u64::try_from(plan.requests.record_count).expect("at least one record");
    let connection_count = u64::try_from(producers.len()).expect("counts have at most 64 bits");
    let length = plan.warmup + plan.measured;
    let schedule = Schedule::new(plan.pace, start, length, request_records, connection_count);
    let mut run = Run {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::io("create an epoll instance", error))?,
        producers,
        schedule,
        spins: plan.patience == Patience::Spins && matches!(plan.pace, Pace::Open { .. }),
        spun_ns: 0,
        issued_count: 0,
        layout: AnswerLayout::new(version, plan.topic.name),
        acknowledged: Vec::with_capacity(EVENTS_MAX),
        meter: Meter::new(window, plan.broker),
    };
    run.register()?;
    run.drive()?;
    let spun = Duration::from_nanos(run.spun_ns);
    let (tally, samples) = run.meter.finish(Moment::now(), spun)?;
    Ok(Outcome { tally, samples })
}

fn connect(plan: &Plan<'_>, broker: &mut Broker, version: i16) -> Result<Vec<Producer>, Failure> {
    let partition_count = usize::try_from(plan.topic.partition_count).expect("a positive count");
    let mut random = Random::from_seed(0x0d12_ade4);
    let mut producers = Vec::new();
    for connection in 0..plan.connection_count {
        let (producer, base_sequence) = match plan.requests.idempotence {
            Idempotence::On => (broker.producer_id()?, Some(0)),
            Idempotence::Off => (ProducerId::NONE, None),
        };
        let shape = Shape {
            version,
            topic: plan.topic.name,
            acks: plan.requests.acks,
            record_count: plan.requests.record_count,
            value_bytes: plan.requests.value_bytes,
            producer,
        };
        let frame = ProduceFrame::new(&shape, &mut random);
        let records = plan.requests.record_count;
        let route = Route::new(connection, partition_count, base_sequence, records);
        let lost = |error| Failure::io(format!("connect to {}", plan.address), error);
        let stream = TcpStream::connect(plan.address).map_err(lost)?;
        producers.push(Producer::new(stream, frame, route, plan.in_flight_max).map_err(lost)?);
    }
    Ok(producers)
}

struct Run {
    epoll: OwnedFd,
    producers: Vec<Producer>,
    schedule: Schedule,
    spins: bool,
    /// Spent with looks that found nothing: no work.
    spun_ns: u64,
    /// Requests that came due, over all connections.
    issued_count: u64,
    layout: AnswerLayout,
    acknowledged: Vec<Acknowledged>,
    meter: Meter,
}

impl Run {
    fn register(&self) -> Result<(), Failure> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        for (token, producer) in (0_u64..).zip(&self.producers) {
            let token = epoll::EventData::new_u64(token);
            epoll::add(&self.epoll, producer.stream(), token, flags)
                .map_err(|error| Failure::io("watch a connection", error))?;
        }
        Ok(())
    }

    /// Returns when every answer has come, or none is waited for any longer.
    fn drive(&mut self) -> Result<(), Failure> {
        let deadline = self.schedule.end().plus(DRAIN);
        let mut events = Vec::with_capacity(EVENTS_MAX);
        if !self.schedule.is_open() {
            let now = Moment::now();
            (0..self.producers.len()).try_for_each(|index| self.send_due(index, now))?;
        }
        loop {
            let now = Moment::now();
            self.meter.on_time(now, Duration::from_nanos(self.spun_ns))?;
            self.issue(now)?;
            if self.is_finished(now) {
                return Ok(());
            }
            if deadline <= now {
                self.give_up(now);
                return Ok(());
            }
            let next = self.schedule.intended_overall(self.issued_count).unwrap_or(Moment::NEVER);
            let looked_at = Moment::now();
            let due_ns = next.ns_since(looked_at).min(WAIT_NS_MAX);
            let is_spinning = self.spins && due_ns < SPIN_NS;
            let timeout = timespec(if is_spinning { 0 } else { due_ns });
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(0) if is_spinning => {
                    // The kernel's threads, which a broker may need, share this core.
                    sched_yield();
                    self.spun_ns += Moment::now().ns_since(looked_at);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Failure::io("wait for answers", error)),
            }
            for event in events.drain(..) {
                let token = event.data;
                self.on_ready(usize::try_from(token.u64()).expect("a token is an index"))?;
            }
        }
    }

    /// Wakes the connections whose next request has come due.
    fn issue(&mut self, now: Moment) -> Result<(), Failure> {
        while let Some(intended) = self.schedule.intended_overall(self.issued_count)
            && intended <= now
        {
            let connection_count = self.producers.len();
            let count = u64::try_from(connection_count).expect("counts have at most 64 bits");
            let index = usize::try_from(self.issued_count % count).expect("less than a count");
            self.issued_count += 1;
            self.send_due(index, now)?;
        }
        Ok(())
    }

    fn on_ready(&mut self, index: usize) -> Result<(), Failure> {
        let now = Moment::now();
        let producer = &mut self.producers[index];
        producer.write(now)?;
        producer.receive(now, self.layout, &mut self.acknowledged)?;
        for answer in self.acknowledged.drain(..) {
            self.meter.on_acknowledged(now, answer.intended, answer.error_code);
        }
        self.send_due(index, now)
    }

    /// Sends all that is due on one connection and that it may have in flight.
    fn send_due(&mut self, index: usize, now: Moment) -> Result<(), Failure> {
        let connection = u64::try_from(index).expect("counts have at most 64 bits");
        let producer = &mut self.producers[index];
        while let Some(free_since) = producer.free_since()
            && let Some(intended) = self.schedule.intended(connection, producer.sent_count())
            && intended <= now
        {
            let sent_at = Moment::now();
            if self.schedule.is_open() {
                producer.send(sent_at, intended, wall_ms())?;
                self.meter.on_sent(sent_at, intended.max(free_since));
            } else if sent_at < self.schedule.end() {
                producer.send(sent_at, sent_at, wall_ms())?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn is_finished(&self, now: Moment) -> bool {
        self.schedule.end() <= now
            && (0_u64..).zip(&self.producers).all(|(connection, producer)| {
                let next = self.schedule.intended(connection, producer.sent_count());
                producer.in_flight().is_empty() && (next.is_none() || !self.schedule.is_open())
            })
    }

    /// Counts what was sent or should have been, and has no answer.
    fn give_up(&mut self, now: Moment) {
        for (connection, producer) in (0_u64..).zip(&self.producers) {
            for sent in producer.in_flight() {
                self.meter.on_unanswered(now, sent.intended);
            }
            if self.schedule.is_open() {
                let unsent = (producer.sent_count()..)
                    .map_while(|nth| self.schedule.intended(connection, nth));
                unsent.for_each(|intended| self.meter.on_unanswered(now, intended));
            }
        }
    }
}
