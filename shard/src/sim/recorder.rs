//! Where simulated clients write down what they did and saw: the checker judges it at once.
//!
//! One per world, shared by its clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use engine::id::{Offset, PartitionId, PartitionIndex, TopicId};

use crate::io::Io;
use crate::sim::SimIo;
use crate::sim::checker::{Checker, Tally, Violation};
use crate::sim::failure::{Check, Failure};
use crate::sim::history::{Durability, Event, LogId, ReaderId, Retries, WriterId};
use crate::sim::policy::{Made, Policies, Policy};

/// A partition, as clients address it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub topic: String,
    pub topic_id: [u8; 16],
    pub partition: i32,
    pub log: LogId,
    pub durability: Durability,
    pub policy: Policy,
}

struct Book {
    io: SimIo,
    run: u32,
    checker: RefCell<Checker>,
    policies: RefCell<Policies>,
    failure: RefCell<Option<Failure>>,
    next_id: Cell<u32>,
    ending: RefCell<BTreeSet<LogId>>,
    producer_ids: RefCell<BTreeSet<i64>>,
    /// Of every topic that was ever made.
    targets: RefCell<Vec<Target>>,
    /// Clients that still have something to do.
    busy_count: Cell<u32>,
    is_closing: Cell<bool>,
}

#[derive(Clone)]
pub struct Recorder(Rc<Book>);

impl Target {
    #[must_use]
    pub fn id(&self) -> PartitionId {
        let index = u32::try_from(self.partition).expect("it is not negative");
        PartitionId { topic: TopicId::new(self.topic_id), index: PartitionIndex::new(index) }
    }
}

impl Recorder {
    #[must_use]
    pub fn new(io: SimIo, run: u32) -> Self {
        Self(Rc::new(Book {
            io,
            run,
            checker: RefCell::new(Checker::new(run)),
            policies: RefCell::default(),
            failure: RefCell::default(),
            next_id: Cell::new(1),
            ending: RefCell::default(),
            producer_ids: RefCell::default(),
            targets: RefCell::default(),
            busy_count: Cell::new(0),
            is_closing: Cell::new(false),
        }))
    }

    #[must_use]
    pub fn run(&self) -> u32 {
        self.0.run
    }

    pub fn record(&self, event: &Event) {
        let before = self.0.policies.borrow_mut().before(event, self.0.io.wall());
        if let Some(before) = before {
            self.judge(&before);
        }
        self.judge(event);
    }

    fn judge(&self, event: &Event) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        let numbers = [40, u64::from(crc32c::crc32c(&bytes)), 0];
        self.0.io.tell(numbers, || format!("client: {}", brief(event)));
        if let Event::LogEnding { log } = event {
            self.0.ending.borrow_mut().insert(*log);
        }
        if let Err(violation) = self.0.checker.borrow_mut().on(event) {
            self.fail(Check::History, format!("{violation} at {}", brief(event)));
        }
    }

    /// Something is wrong; the first failure is kept.
    pub fn fail(&self, check: Check, what: String) {
        let failure = check.failed(what);
        self.0.io.tell([41, 0, 0], || format!("FAILURE: {failure}"));
        self.0.failure.borrow_mut().get_or_insert(failure);
    }

    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let unanswered = || self.0.io.unanswered().map(|what| Check::Patience.failed(what));
        self.0.failure.borrow().clone().or_else(unanswered)
    }

    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.failure.borrow().is_some() || self.0.io.has_unanswered()
    }

    /// The history is over.
    pub fn finish(&self) -> Result<(), Violation> {
        self.0.checker.borrow().finish()
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.checker.borrow().tally()
    }

    #[must_use]
    pub fn log(&self, durability: Durability, policy: Policy) -> LogId {
        let log = LogId(self.issue());
        self.0.policies.borrow_mut().on_log(log, policy);
        self.record(&Event::LogMade { log, durability });
        if policy.tombstone_ms.is_some() {
            self.record(&Event::Compacted { log });
        }
        log
    }

    /// A topic was made: its partitions.
    pub fn on_targets(&self, targets: &[Target]) {
        self.0.targets.borrow_mut().extend_from_slice(targets);
    }

    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.0.targets.borrow().clone()
    }

    #[must_use]
    pub fn writer(&self, retries: Retries) -> WriterId {
        let writer = WriterId(self.issue());
        self.record(&Event::WriterMade { writer, retries });
        writer
    }

    #[must_use]
    pub fn reader(&self) -> ReaderId {
        ReaderId(self.issue())
    }

    /// Records that the last whole reading of a compacted log has found.
    #[must_use]
    pub fn count_left(&self, log: LogId) -> Option<usize> {
        self.0.checker.borrow().count_left(log)
    }

    /// A batch that will be sent.
    pub fn on_made(&self, made: Made) {
        self.0.policies.borrow_mut().on_made(made);
    }

    #[must_use]
    pub fn known_end(&self, log: LogId) -> Offset {
        self.0.checker.borrow().known_end(log)
    }

    /// Whether somebody has asked for the log's deletion.
    #[must_use]
    pub fn is_ending(&self, log: LogId) -> bool {
        self.0.ending.borrow().contains(&log)
    }

    /// A broker gives every producer an id of its own, crashes or not.
    pub fn on_producer_id(&self, id: i64) {
        if !self.0.producer_ids.borrow_mut().insert(id) {
            self.fail(Check::Answer, format!("producer id {id} was given twice"));
        }
    }

    pub fn begin_work(&self) {
        self.0.busy_count.set(self.0.busy_count.get() + 1);
    }

    pub fn end_work(&self) {
        self.0.busy_count.set(self.0.busy_count.get() - 1);
    }

    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.busy_count.get() > 0
    }

    /// Readers, who have no end of their own, stop.
    pub fn close(&self) {
        self.0.is_closing.set(true);
    }

    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.is_closing.get()
    }

    fn issue(&self) -> u32 {
        self.0.next_id.replace(self.0.next_id.get() + 1)
    }
}

/// As a line of the story.
fn brief(event: &Event) -> String {
    match event {
        Event::Read { reader, log, log_start, high_watermark, seen, next, .. } => {
            let first = seen.first().map_or(-1, |seen| seen.offset.get());
            let count = seen.len();
            format!(
                "Read {{ reader: {}, log: {}, start: {log_start}, high watermark: {high_watermark}, \
                 {count} records from {first}, next: {next} }}",
                reader.0, log.0
            )
        }
        other => format!("{other:?}"),
    }
}
