//! One partition on the shard that owns it: its log's bookkeeping, its newest bytes, who waits for it.
//!
//! Every method is one synchronous step: nothing here awaits, and no borrow leaves a method.
//! Invariant: what is answered as stored lies below the log's durable end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::batch::HEADER_BYTES;
use engine::bug::Bug;
use engine::extent::Extent;
use engine::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use engine::log::{Checkpointing, Flush, Journaling, Log, Point, Rules, Seal};
use engine::producers::Verdict;
use engine::retention::Retention;
use engine::segment::SegmentName;
use replication::config::topic::{Clock, Durability, TopicConfig};

use crate::buffer::{Block, DiskRange};
use crate::io::{Io, Nanos};
use crate::limits::DIRECT_BYTES_MIN;
use crate::message::{Appended, ProduceError, ProduceItem, Produced};
use crate::produce::{Stalled, Tally};
use crate::recovery::METADATA;
use crate::signal::{Answer, Bell, Promise};
use crate::tail::Tail;

/// What may be done with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Open,
    /// A write failed: what is on disk past the durable end is unknown. Reads below it go on.
    Fenced,
    /// Its topic was deleted.
    Removed,
}

/// A batch that is in the tail, and that the journal or a segment write shall take.
#[derive(Clone, Copy)]
pub struct Pending {
    pub segment: Offset,
    pub pos: FilePos,
    pub bytes: usize,
    pub end: Point,
    /// The first of its segment.
    pub rolled: bool,
}

/// A produce request that waits until the log is durable up to `end`.
struct Waiting<I: Io> {
    end: Offset,
    slot: usize,
    appended: Appended,
    tally: Rc<Tally<I>>,
}

/// A long poll: rung once, when bytes past what it saw can be read.
pub struct Watch {
    pub from: Offset,
    pub promise: Promise<()>,
}

/// What of a topic with `write.caching` is acknowledged from memory.
/// Invariant: `since` has one entry for each batch that is not durable, oldest first.
#[derive(Default)]
struct Cached {
    end: Option<Point>,
    since: VecDeque<(Offset, Nanos)>,
}

impl Cached {
    /// Goes on to the log's end, unless more records or older ones than allowed are not durable.
    fn advance(&mut self, log: &Log, (records_max, ms_max): (i64, i64), now: Nanos) {
        let (durable, end) = (log.durable_end().offset, log.log_end());
        while self.since.front().is_some_and(|(end, _)| *end <= durable) {
            self.since.pop_front();
        }
        let age = self.since.front().map_or(Duration::ZERO, |(_, at)| now.since(*at));
        let is_young = i64::try_from(age.as_millis()).is_ok_and(|age_ms| age_ms < ms_max);
        if end.offset.get() - durable.get() < records_max && is_young {
            self.end = Some(end);
        }
    }
}

struct State<I: Io> {
    log: Log,
    cached: Cached,
    tail: Tail,
    config: Arc<TopicConfig>,
    condition: Condition,
    pending: VecDeque<Pending>,
    waiting: VecDeque<Waiting<I>>,
    watches: Vec<Watch>,
    /// In the shard's commit queue.
    is_queued: bool,
    /// A task writes its segments.
    is_writing: bool,
    /// Produce requests that came while the tail was being read back, in order.
    cold: Option<Stalled<I>>,
    /// End of the disk space reserved for the segment that is written.
    allocated: (Offset, u64),
}

/// One per partition, on its owner, shared by the tasks that work for it.
pub struct Partition<I: Io> {
    id: PartitionId,
    state: RefCell<State<I>>,
    /// Rings when a segment write has ended, well or not.
    written: Bell,
}

/// What became of a batch.
pub enum Produce {
    /// Ordered, or refused: the tally knows.
    Settled { wants_commit: bool },
    /// No memory for it now: nothing has changed.
    NoMemory(ProduceItem),
    /// The block in which the log ends must be read first.
    Cold(ProduceItem),
}

/// What the commit loop shall do with a partition.
pub enum Commit {
    /// Batches for the journal, with where each lies.
    Journal {
        batches: Vec<Pending>,
        journaling: Journaling,
    },
    /// So much that it goes straight to the segment.
    Direct,
    Nothing,
}

impl<I: Io> Partition<I> {
    #[must_use]
    pub fn new(log: Log, config: Arc<TopicConfig>) -> Rc<Self> {
        let id = log.id();
        let state = State {
            log,
            cached: Cached::default(),
            tail: Tail::default(),
            config,
            condition: Condition::Open,
            pending: VecDeque::new(),
            waiting: VecDeque::new(),
            watches: Vec::new(),
            is_queued: false,
            is_writing: false,
            cold: None,
            allocated: (Offset::ZERO, 0),
        };
        Rc::new(Self { id, state: RefCell::new(state), written: Bell::default() })
    }

    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    #[must_use]
    pub fn condition(&self) -> Condition {
        self.state.borrow().condition
    }

    /// Looks at the log's bookkeeping.
    pub fn with_log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.state.borrow().log)
    }

    /// Changes the log's bookkeeping in a way that neither tail nor waiters must know of.
    pub fn change_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        change(&mut self.state.borrow_mut().log)
    }

    #[must_use]
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.state.borrow().config)
    }

    pub fn set_config(&self, config: Arc<TopicConfig>) {
        self.state.borrow_mut().config = config;
    }

    /// Where readers may read to.
    #[must_use]
    pub fn readable_end(&self) -> Point {
        self.state.borrow().readable_end()
    }

    // Produce.

    /// Orders one batch: assigns its offset and copies it into the tail.
    pub fn produce(
        &self,
        item: ProduceItem,
        tally: &Rc<Tally<I>>,
        now: Timestamp,
        at: Nanos,
        allocate: impl Fn(usize) -> Option<Block>,
    ) -> Produce {
        let state = &mut *self.state.borrow_mut();
        if let Some(refusal) = state.refusal() {
            tally.settle(state.refused(item.slot, refusal), at);
            return Produce::Settled { wants_commit: false };
        }
        if state.cold.is_some() {
            return Produce::Cold(item);
        }
        match state.log.sequence_verdict(&item.admitted.summary) {
            Err(error) => {
                let refused = state.refused(item.slot, ProduceError::Sequence(error));
                tally.settle(refused, at);
                return Produce::Settled { wants_commit: false };
            }
            Ok(Verdict::Duplicate { base_offset, timestamp }) => {
                let end = base_offset.plus(item.admitted.summary.offset_count().into());
                let appended = Appended { base_offset, append_time: timestamp };
                state.wait(item.slot, end, appended, tally, at);
                return Produce::Settled { wants_commit: false };
            }
            Ok(Verdict::Fresh) => {}
        }
        state.append(item, tally, now, at, allocate)
    }

    /// The batch that met a cold tail waits here. True if nobody reads it back yet.
    pub fn wait_for_tail(&self, item: ProduceItem, tally: &Rc<Tally<I>>) -> bool {
        let mut state = self.state.borrow_mut();
        let is_first = state.cold.is_none();
        state.cold.get_or_insert_default().push_back((item, Rc::clone(tally)));
        is_first
    }

    /// The block in which the log ends: segment, block start and end.
    #[must_use]
    pub fn cold_block(&self) -> (Offset, FilePos, FilePos) {
        let state = self.state.borrow();
        let end = state.log.log_end();
        let start = end.pos.get() - end.pos.get() % u64_of(crate::limits::BLOCK_BYTES);
        (end.segment, FilePos::new(start), end.pos)
    }

    /// Whether the batch would be stored, and not only found again.
    #[must_use]
    pub fn is_fresh(&self, item: &ProduceItem) -> bool {
        let verdict = self.with_log(|log| log.sequence_verdict(&item.admitted.summary));
        matches!(verdict, Ok(Verdict::Fresh))
    }

    /// The tail's last block cannot be read now. Gives back what waited for it.
    pub fn on_tail_unread(&self) -> Stalled<I> {
        self.state.borrow_mut().cold.take().expect("a read of the tail was begun")
    }

    /// The tail's last block was read (`None`: it could not be). Gives back what waited for it.
    pub fn on_tail_read(&self, block: Option<Block>) -> Stalled<I> {
        let (segment, start, _) = self.cold_block();
        let mut state = self.state.borrow_mut();
        let waiting = state.cold.take().expect("a read of the tail was begun");
        match block {
            Some(block) => state.tail.warm(segment, start, block),
            None if state.condition == Condition::Open => state.condition = Condition::Fenced,
            None => {}
        }
        waiting
    }

    // Commit.

    /// Notes that the partition stands in the commit queue. False if it already does.
    pub fn enqueue(&self) -> bool {
        !std::mem::replace(&mut self.state.borrow_mut().is_queued, true)
    }

    /// Takes from what is not committed: all of it for a direct write, or batches of at most
    /// `bytes_max` bytes for the journal. Leaves the queue.
    pub fn begin_commit(&self, bytes_max: usize, entry_bytes: impl Fn(usize) -> usize) -> Commit {
        let state = &mut *self.state.borrow_mut();
        state.is_queued = false;
        if state.condition != Condition::Open {
            return Commit::Nothing;
        }
        if state.log.uncommitted_bytes() >= DIRECT_BYTES_MIN {
            return Commit::Direct;
        }
        let mut left = bytes_max;
        let mut batches = Vec::with_capacity(state.pending.len());
        while let Some(pending) = state.pending.front() {
            let Some(rest) = left.checked_sub(entry_bytes(pending.bytes)) else { break };
            left = rest;
            batches.push(*pending);
            state.pending.pop_front();
        }
        let Some(last) = batches.last() else { return Commit::Nothing };
        let journaling = state.log.begin_journal(last.end);
        Commit::Journal { batches, journaling }
    }

    #[must_use]
    pub fn has_pending(&self) -> bool {
        let state = self.state.borrow();
        !state.pending.is_empty() && state.condition == Condition::Open
    }

    /// Copies a batch's bytes from the tail.
    pub fn copy_batch(&self, batch: &Pending, target: &mut [u8]) {
        self.state.borrow().tail.copy_to(batch.segment, batch.pos, target);
    }

    /// The journal holds what it took durably.
    pub fn on_journaled(&self, journaling: Journaling, at: Nanos) {
        let state = &mut *self.state.borrow_mut();
        if state.condition != Condition::Removed {
            state.log.on_journaled(journaling);
            state.on_durable(at);
        }
    }

    // Segment writes.

    /// Makes the caller the one task that writes this partition's segments.
    pub fn begin_writing(&self) -> bool {
        !std::mem::replace(&mut self.state.borrow_mut().is_writing, true)
    }

    pub fn end_writing(&self) {
        self.state.borrow_mut().is_writing = false;
        self.written.ring();
    }

    /// The end of the next segment write.
    #[must_use]
    pub fn next_written(&self) -> Answer<()> {
        self.written.next()
    }

    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.state.borrow().is_writing
    }

    /// The next write of what is not in the segments yet, of so many bytes or a batch. No intent may be needed.
    pub fn begin_write(&self, bytes_max: u64) -> Option<Flush> {
        let state = &mut *self.state.borrow_mut();
        if state.condition != Condition::Open {
            return None;
        }
        let flush = state.log.begin_flush(Some(bytes_max))?;
        let end = flush.end().offset;
        while state.pending.front().is_some_and(|it| it.end.offset <= end) {
            state.pending.pop_front();
        }
        Some(flush)
    }

    /// The bytes of a write that was begun: they stay until it has ended.
    #[must_use]
    pub fn ranges(&self, flush: &Flush) -> Vec<DiskRange> {
        let state = self.state.borrow();
        state.tail.disk(flush.segment(), flush.from(), flush.end().pos)
    }

    /// The segment holds what the write carried.
    pub fn on_written(&self, flush: Flush, at: Nanos) {
        let state = &mut *self.state.borrow_mut();
        if state.condition == Condition::Removed {
            return;
        }
        state.log.on_flushed(flush);
        state.on_durable(at);
    }

    pub fn begin_seal(&self) -> Option<Seal> {
        self.state.borrow_mut().log.begin_seal()
    }

    pub fn on_sealed(&self, seal: Seal) {
        let state = &mut *self.state.borrow_mut();
        state.log.on_sealed(seal);
    }

    /// Closes the active segment if it is old, or if nothing of it is kept. True if it was closed.
    /// Not while its end is read back: the block that comes is where the log ends.
    pub fn roll_idle(&self, now: Timestamp) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.condition != Condition::Open || state.cold.is_some() {
            return false;
        }
        let (log, rules) = (&state.log, state.rules());
        let end = log.log_end();
        let kept_from = state.retention().and_then(|it| log.retained_from(now, &it));
        let is_spent = kept_from.unwrap_or_else(|| log.log_start()) == end.offset;
        let is_due = log.is_roll_due(now, &rules) || (is_spent && end.pos > FilePos::ZERO);
        if is_due && end.segment < end.offset {
            state.log.roll_idle(now);
        }
        state.log.log_end().segment != end.segment
    }

    /// Where the log shall start by its policy. `None`: where it does.
    #[must_use]
    pub fn retained_from(&self, now: Timestamp) -> Option<Offset> {
        let state = self.state.borrow();
        if state.condition != Condition::Open {
            return None;
        }
        state.retention().and_then(|it| state.log.retained_from(now, &it))
    }

    /// Disk space is reserved for `segment` up to the answer.
    #[must_use]
    pub fn allocated(&self, segment: Offset) -> u64 {
        let (of, end) = self.state.borrow().allocated;
        if of == segment { end } else { 0 }
    }

    pub fn on_allocated(&self, segment: Offset, end: u64) {
        self.state.borrow_mut().allocated = (segment, end);
    }

    // Faults and removal.

    /// What is to be stored finds no room: whoever waits for it is told to come again. Not for the
    /// metadata, whose commands must know what came of them.
    pub fn refuse_waiting(&self, at: Nanos) {
        if self.id == METADATA {
            return;
        }
        let mut state = self.state.borrow_mut();
        let log_start = state.log.log_start();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waiting in waiting {
            let result = Err(ProduceError::Stuck);
            let refused = Produced { slot: waiting.slot, log_start: Some(log_start), result };
            waiting.tally.settle(refused, at);
        }
    }

    /// A disk operation failed: nothing more is stored, who waits is told.
    pub fn fence(&self, at: Nanos) {
        self.close(Condition::Fenced, ProduceError::Fenced, at);
    }

    /// The topic is gone.
    pub fn remove(&self, at: Nanos) {
        self.close(Condition::Removed, ProduceError::UnknownPartition, at);
    }

    fn close(&self, condition: Condition, error: ProduceError, at: Nanos) {
        let mut state = self.state.borrow_mut();
        if state.condition == Condition::Removed {
            return;
        }
        state.condition = condition;
        state.pending.clear();
        let log_start = state.log.log_start();
        for waiting in std::mem::take(&mut state.waiting) {
            let refused =
                Produced { slot: waiting.slot, log_start: Some(log_start), result: Err(error) };
            waiting.tally.settle(refused, at);
        }
        drop(state);
        self.dismiss();
    }

    // Reads.

    /// Rings when something past `from` can be read, at once if it already can; or the partition goes.
    pub fn watch(&self, watch: Watch) {
        let mut state = self.state.borrow_mut();
        let has_news = state.readable_end().offset > watch.from;
        match state.condition {
            Condition::Removed => {
                watch.promise.offer(());
                return;
            }
            Condition::Open | Condition::Fenced if has_news => {
                watch.promise.offer(());
                return;
            }
            Condition::Fenced => return, // Nothing will come: whoever waits has a deadline.
            Condition::Open => {}
        }
        state.watches.retain(|it| it.promise.is_wanted());
        state.watches.push(watch);
    }

    /// The batches that only the journal has: with a closed partition they stay where they are.
    #[must_use]
    pub fn journaled_only(&self) -> Vec<Pending> {
        let state = self.state.borrow();
        let (flushed, durable) = (state.log.flushed(), state.log.durable_end());
        let mut batches = Vec::new();
        if state.condition != Condition::Fenced {
            return batches; // Its topic was deleted, and its tail with it.
        }
        for segment in state.log.segments().iter().filter(|it| flushed.segment <= it.base()) {
            let base = segment.base();
            let mut pos = if base == flushed.segment { flushed.pos } else { FilePos::ZERO };
            let end = if base == durable.segment { durable.pos } else { segment.end_pos() };
            while base <= durable.segment && pos < end {
                let mut header = [0; HEADER_BYTES];
                state.tail.copy_to(base, pos, &mut header);
                let extent = Extent::parse(&header).expect("the tail holds what was appended");
                let (rolled, next) = (pos == FilePos::ZERO, pos.plus(u64_of(extent.len_bytes)));
                let end = Point { offset: extent.end, segment: base, pos: next };
                batches.push(Pending { segment: base, pos, bytes: extent.len_bytes, end, rolled });
                pos = next;
            }
        }
        batches
    }

    /// Whoever waits for news is told to look: none will come.
    pub fn dismiss(&self) {
        for watch in std::mem::take(&mut self.state.borrow_mut().watches) {
            watch.promise.offer(());
        }
    }

    /// The end of what the file of `segment` holds for sure.
    #[must_use]
    pub fn file_end(&self, segment: SegmentName) -> FilePos {
        let state = self.state.borrow();
        let flushed = state.log.flushed();
        if segment.base == flushed.segment {
            flushed.pos
        } else if segment.base < flushed.segment {
            state.log.segment_end(segment).map_or(FilePos::ZERO, |end| end.pos)
        } else {
            FilePos::ZERO
        }
    }

    /// `[pos, end)` of `segment` without a copy, if the tail still holds it.
    #[must_use]
    pub fn tail_bytes(&self, segment: Offset, pos: FilePos, end: FilePos) -> Option<Vec<Bytes>> {
        let state = self.state.borrow();
        state.tail.holds(segment, pos, end).then(|| state.tail.bytes(segment, pos, end))
    }

    /// Copies what the tail holds at `pos`; false if it does not hold all of it.
    pub fn tail_copy(&self, segment: Offset, pos: FilePos, target: &mut [u8]) -> bool {
        let state = self.state.borrow();
        let is_here = state.tail.holds(segment, pos, pos.plus(u64_of(target.len())));
        if is_here {
            state.tail.copy_to(segment, pos, target);
        }
        is_here
    }

    // Memory.

    /// Gives back up to `wanted` bytes of what is safely on disk, but not the block in which the log
    /// ends. Returns what was freed.
    pub fn trim_old(&self, wanted: usize) -> usize {
        let state = &mut *self.state.borrow_mut();
        if state.condition == Condition::Fenced {
            return 0; // The journal may be told again what the tail holds.
        }
        let flushed = state.log.flushed();
        state.tail.trim(flushed.segment, flushed.pos, wanted)
    }

    /// Gives back up to `wanted` bytes of what is safely on disk. Returns what was freed.
    pub fn trim(&self, wanted: usize) -> usize {
        let state = &mut *self.state.borrow_mut();
        let flushed = state.log.flushed();
        if state.condition == Condition::Fenced {
            return 0;
        }
        if flushed.offset == state.log.log_end().offset && !state.is_writing {
            return state.tail.clear();
        }
        state.tail.trim(flushed.segment, flushed.pos, wanted)
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.state.borrow().tail.memory_bytes()
    }

    /// Nothing happens: gives back all but the block in which the log ends.
    pub fn rest(&self, allocate: impl Fn(usize) -> Option<Block>) {
        let state = &mut *self.state.borrow_mut();
        let (flushed, end) = (state.log.flushed(), state.log.log_end());
        if flushed.offset == end.offset && !state.is_writing {
            state.tail.shrink(end.segment, end.pos, allocate);
        }
    }

    /// Forgets all bytes of a partition that is gone.
    pub fn forget(&self) {
        let mut state = self.state.borrow_mut();
        assert_eq!(state.condition, Condition::Removed);
        state.tail.clear();
    }

    /// Begins a checkpoint: the manifest as of now, to be used once all is flushed up to the point.
    pub fn begin_checkpoint(&self) -> Checkpointing {
        self.state.borrow_mut().log.begin_checkpoint()
    }
}

impl<I: Io> State<I> {
    fn refusal(&self) -> Option<ProduceError> {
        match self.condition {
            Condition::Open => None,
            Condition::Fenced => Some(ProduceError::Fenced),
            Condition::Removed => Some(ProduceError::UnknownPartition),
        }
    }

    fn refused(&self, slot: usize, error: ProduceError) -> Produced {
        Produced { slot, log_start: Some(self.log.log_start()), result: Err(error) }
    }

    /// `None`: its records are kept for ever.
    fn retention(&self) -> Option<Retention> {
        let replication::config::topic::Retention { bytes_max, age_ms_max } = self.config.retention;
        let deletes = self.config.cleanup.deletes() && self.log.id() != METADATA;
        deletes.then_some(Retention { age_ms_max, bytes_max })
    }

    fn rules(&self) -> Rules {
        let segment = &self.config.segment;
        Rules {
            segment_bytes_max: segment.bytes_max.into(),
            segment_ms_max: match self.config.cleanup {
                // What is not closed is not compacted.
                it if it.compacts() => segment.age_ms_max.min(self.config.compaction.lag_ms_max),
                _ => segment.age_ms_max,
            },
            segment_jitter_ms_max: segment.jitter_ms_max,
            index_interval_bytes: segment.index_interval_bytes.into(),
        }
    }

    fn append(
        &mut self,
        item: ProduceItem,
        tally: &Rc<Tally<I>>,
        now: Timestamp,
        at: Nanos,
        allocate: impl Fn(usize) -> Option<Block>,
    ) -> Produce {
        let rules = self.rules();
        let admitted = &item.admitted;
        let (segment, pos) = self.log.next_place(&admitted.summary, now, &rules);
        if !self.tail.is_warm(segment, pos) {
            return Produce::Cold(item);
        }
        let bytes = admitted.batch.len();
        let Some(reserved) = self.tail.reserve(segment, pos, bytes, allocate) else {
            return Produce::NoMemory(item);
        };

        let append = self.log.begin_append(&admitted.summary, now, &rules);
        assert_eq!((append.segment, append.pos), (segment, pos));
        let header = self.log.stamp(&append, &admitted.batch, admitted.patch.as_ref());
        let body = &admitted.batch[header.len()..];
        self.tail.append(segment, pos, &[&header, body], reserved);

        let (end, rolled) = (append.end, append.rolled);
        self.pending.push_back(Pending { segment, pos, bytes, end, rolled });
        let append_time = match self.config.timestamps.clock {
            Clock::Producer => Timestamp::NONE,
            Clock::Broker => admitted.summary.max_timestamp,
        };
        let appended = Appended { base_offset: append.base_offset, append_time };
        self.wait(item.slot, end.offset, appended, tally, at);
        if self.caching().is_some() {
            self.cached.since.push_back((end.offset, at));
            self.on_durable(at);
        }
        Produce::Settled { wants_commit: true }
    }

    /// Answers now if `end` is already where readers and producers may see it, else when it is.
    fn wait(
        &mut self,
        slot: usize,
        end: Offset,
        appended: Appended,
        tally: &Rc<Tally<I>>,
        at: Nanos,
    ) {
        tally.on_appended(at);
        let waiting = Waiting { end, slot, appended, tally: Rc::clone(tally) };
        if self.readable_end().offset >= end {
            waiting.settle(self.log.log_start(), at);
            return;
        }
        let place = self.waiting.partition_point(|it| it.end <= end);
        self.waiting.insert(place, waiting);
    }

    fn on_durable(&mut self, at: Nanos) {
        if let Some(bounds) = self.caching() {
            self.cached.advance(&self.log, bounds, at);
        }
        let end = self.readable_end().offset;
        let log_start = self.log.log_start();
        while self.waiting.front().is_some_and(|it| it.end <= end) {
            let waiting = self.waiting.pop_front().expect("looked at above");
            waiting.settle(log_start, at);
            if Bug::WaiterForgottenOnWake.is_on() {
                break;
            }
        }
        if self.watches.iter().any(|it| it.from < end) {
            for watch in self.watches.extract_if(.., |it| it.from < end) {
                watch.promise.offer(());
            }
        }
    }

    fn readable_end(&self) -> Point {
        if Bug::HighWatermarkAhead.is_on() {
            return self.log.log_end();
        }
        let durable = self.log.durable_end();
        match self.cached.end {
            Some(end) if self.caching().is_some() && end.offset > durable.offset => end,
            Some(_) | None => durable,
        }
    }

    /// How many records, and for how many milliseconds, may be acknowledged from memory.
    fn caching(&self) -> Option<(i64, i64)> {
        match self.config.durability {
            Durability::Memory { records_max, ms_max } => Some((records_max, ms_max)),
            Durability::Device => None,
        }
    }
}

impl<I: Io> Waiting<I> {
    fn settle(self, log_start: Offset, at: Nanos) {
        let result = Ok(self.appended);
        self.tally.settle(Produced { slot: self.slot, log_start: Some(log_start), result }, at);
    }
}

fn u64_of(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

/// The epoch in which this node leads every partition: it is alone, so there is never another.
pub const LEADER_EPOCH: LeaderEpoch = LeaderEpoch::ZERO;
