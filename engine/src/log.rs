//! The bookkeeping of one partition's log: where every batch goes, and how far it is durable.
//!
//! It holds no record and does no I/O: the shard keeps the bytes, writes them where this says, and
//! tells it what is on the device.
//! Invariant: `log_start <= log_end`, `flushed <= durable_end <= log_end`.
//!
//! Order of calls: `sequence_verdict`, `begin_append`, `stamp`; then either `begin_journal` and
//! `on_journaled`, or `intent_needed`, `on_intent`, `begin_flush` and `on_flushed`; a token that a
//! `begin_` gave is given back when its write is on the device. A failed write fences the partition:
//! its log is dropped, and recovery reads what is there.

mod commit;
mod compacted;
pub(crate) mod segments;

use crate::batch::{self, Batch, HEADER_BYTES, Patch, Summary};
use crate::bug::Bug;
use crate::epochs::{EpochEnd, Epochs};
use crate::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use crate::index::Index;
use crate::journal::BLOCK_BYTES;
use crate::log::commit::Commit;
use crate::log::compacted::Compacted;
use crate::log::segments::{Segments, end_point};
use crate::manifest::{Manifest, ManifestParts};
use crate::producers::{Producers, SequenceError, Verdict};
use crate::retention::Retention;
use crate::segment::{MaxTimestamp, Phase, Segment, SegmentName};
use crate::sidecar;

/// Rolled segments that are not yet sealed. With so many the active one grows past its limits
/// instead: the disk is behind.
pub const CLOSING_COUNT_MAX: usize = 4;

/// Of batches found by recovery, which knows no configuration.
const RECOVERED_INDEX_INTERVAL_BYTES: u64 = 4096;

/// A position known both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub offset: Offset,
    /// Base offset of the segment that `pos` lies in.
    pub segment: Offset,
    pub pos: FilePos,
}

/// The topic's configuration, as of now.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub segment_bytes_max: u64,
    pub segment_ms_max: i64,
    /// A segment closes up to so much earlier, each by another time.
    pub segment_jitter_ms_max: i64,
    pub index_interval_bytes: u64,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Append {
    pub base_offset: Offset,
    pub segment: Offset,
    pub pos: FilePos,
    pub leader_epoch: LeaderEpoch,
    /// Behind the batch.
    pub end: Point,
    /// It is the first of a new segment: a Roll entry goes into the journal before it.
    pub rolled: bool,
}

/// A journal write that will hold `[from, end)`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_journaled"]
pub struct Journaling {
    id: PartitionId,
    from: Offset,
    end: Point,
}

impl Journaling {
    #[must_use]
    pub const fn from(&self) -> Offset {
        self.from
    }

    #[must_use]
    pub const fn end(&self) -> Point {
        self.end
    }
}

/// A write to a segment file, of everything in `[from, end)`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_flushed"]
pub struct Flush {
    id: PartitionId,
    start: Point,
    end: Point,
}

impl Flush {
    #[must_use]
    pub const fn segment(&self) -> Offset {
        self.end.segment
    }

    /// The block that holds the first byte which is not in the file: where the write begins.
    #[must_use]
    pub fn from(&self) -> FilePos {
        let block_bytes = u64::try_from(BLOCK_BYTES).expect("a block is 4 KiB");
        FilePos::new(self.start.pos.get() / block_bytes * block_bytes)
    }

    /// The first byte that is not in the file.
    #[must_use]
    pub const fn start(&self) -> Point {
        self.start
    }

    #[must_use]
    pub const fn end(&self) -> Point {
        self.end
    }
}

/// An Intent entry that must be in the journal before the next flush.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_intent"]
pub struct Intent {
    id: PartitionId,
    segment: Offset,
    era: u64,
}

impl Intent {
    #[must_use]
    pub const fn segment(&self) -> Offset {
        self.segment
    }
}

/// A segment wholly in its file: cut the file to `bytes`, write the sidecar beside it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_sealed"]
pub struct Seal {
    id: PartitionId,
    segment: Offset,
    bytes: FilePos,
    sidecar: Vec<u8>,
}

impl Seal {
    #[must_use]
    pub const fn segment(&self) -> Offset {
        self.segment
    }

    #[must_use]
    pub const fn bytes(&self) -> FilePos {
        self.bytes
    }

    #[must_use]
    pub fn sidecar(&self) -> &[u8] {
        &self.sidecar
    }
}

/// The partition's part of a checkpoint: to be used once the log is flushed to `target`.
#[derive(Debug)]
#[must_use]
pub struct Checkpointing {
    manifest: Vec<u8>,
    target: Point,
    checkpointed: Checkpointed,
}

impl Checkpointing {
    #[must_use]
    pub const fn target(&self) -> Point {
        self.target
    }

    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// What no broker may do: tells of the producers as `log` knows them now, and of the rest as it was
    /// when the checkpoint began.
    ///
    /// # Panics
    /// Without `Bug::ProducersSavedAhead`.
    pub fn retell_producers(&mut self, log: &Log) {
        assert!(Bug::ProducersSavedAhead.is_on());
        let manifest = Manifest::decode(&self.manifest).expect("it was encoded here");
        let producers = log.producers.clone();
        self.manifest = Manifest { producers, ..manifest }.encode();
    }

    pub fn into_checkpointed(self) -> Checkpointed {
        self.checkpointed
    }
}

/// What the log may do once the checkpoint that holds its manifest is durable.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_checkpointed"]
pub struct Checkpointed {
    id: PartitionId,
    sealed_end: Offset,
    era: u64,
}

/// A LogStart entry that must be in the journal before it is answered or a file unlinked.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back to on_deleted"]
pub struct Deletion {
    id: PartitionId,
    log_start: Offset,
}

impl Deletion {
    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }
}

/// Records that may yet vanish cannot be deleted for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeyondDurable;

/// Where to begin to read: a batch begins at `scan_from`, at or before what is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub segment: SegmentName,
    pub scan_from: FilePos,
    /// The base offset of the batch at `scan_from`, which no checksum of its own covers.
    pub base: Offset,
    pub sealed: bool,
}

/// One per partition, on the shard that owns it.
#[derive(Debug)]
pub struct Log {
    id: PartitionId,
    start: LogStart,
    segments: Segments,
    commit: Commit,
    epochs: Epochs,
    producers: Producers,
    compacted: Compacted,
    since_checkpoint: SinceCheckpoint,
    /// The segment whose sidecar is being written.
    sealing: Option<Offset>,
}

/// Invariant: `durable <= offset`.
#[derive(Debug)]
struct LogStart {
    offset: Offset,
    durable: Offset,
}

#[derive(Debug)]
struct SinceCheckpoint {
    /// Counts the checkpoints begun.
    era: u64,
    /// The segment of the last Intent entry of this era.
    intent: Option<Offset>,
    dirty: bool,
    /// Segments below are sealed in the last durable checkpoint: recovery reads no byte of them.
    sealed_end: Offset,
}

impl Log {
    #[must_use]
    pub fn new(id: PartitionId, created_at: Timestamp, epoch: LeaderEpoch) -> Self {
        let mut epochs = Epochs::new();
        epochs.assign(epoch, Offset::ZERO);
        let segments = Segments::new(created_at);
        let compacted = Compacted::new(Offset::ZERO);
        Self::with(id, Offset::ZERO, segments, epochs, Producers::new(), compacted)
    }

    /// As it was at the checkpoint. Indexes are missing until they are rebuilt.
    #[must_use]
    pub fn restore(manifest: Manifest) -> Self {
        let Manifest { id, log_start, compacted_end, segments, epochs, mut producers } = manifest;
        if Bug::ProducersNotRestored.is_on() {
            producers = Producers::new();
        }
        let compacted = Compacted::new(compacted_end);
        Self::with(id, log_start, Segments::restore(segments), epochs, producers, compacted)
    }

    fn with(
        id: PartitionId,
        log_start: Offset,
        segments: Segments,
        epochs: Epochs,
        producers: Producers,
        compacted: Compacted,
    ) -> Self {
        let commit = Commit::new(segments.end());
        let start = LogStart { offset: log_start, durable: log_start };
        let sealed_end = segments.sealed_end();
        let since_checkpoint = SinceCheckpoint { era: 0, intent: None, dirty: true, sealed_end };
        let log = Self {
            id,
            start,
            segments,
            commit,
            epochs,
            producers,
            compacted,
            since_checkpoint,
            sealing: None,
        };
        log.check();
        log
    }

    #[must_use]
    pub const fn id(&self) -> PartitionId {
        self.id
    }

    #[must_use]
    pub const fn log_start(&self) -> Offset {
        self.start.durable
    }

    #[must_use]
    pub fn log_end(&self) -> Point {
        self.segments.end()
    }

    /// Everything below is in its segment file.
    #[must_use]
    pub fn flushed(&self) -> Point {
        self.commit.flushed()
    }

    /// Everything below survives a crash.
    #[must_use]
    pub fn durable_end(&self) -> Point {
        self.commit.durable_end()
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epochs.latest()
    }

    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    #[must_use]
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Oldest first; the last one is active.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.segments.all()
    }

    /// Those that the last durable checkpoint does not call sealed: recovery reads them.
    pub fn unsettled_segments(&self) -> impl Iterator<Item = Offset> {
        let bases = self.segments.all().iter().map(Segment::base);
        bases.filter(|base| self.since_checkpoint.sealed_end <= *base)
    }

    /// In all its segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.all().iter().map(|it| it.end_pos().get()).sum()
    }

    /// Appended, but neither durable nor on its way there.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> u64 {
        self.segments.bytes_between(self.commit.claimed(), self.log_end())
    }

    /// Where they begin: what the next journal entries must hold, if they are not flushed first.
    #[must_use]
    pub fn uncommitted_from(&self) -> Offset {
        self.commit.claimed().offset
    }

    /// Not in the segment files.
    #[must_use]
    pub fn unflushed_bytes(&self) -> u64 {
        self.segments.bytes_between(self.commit.flushed(), self.log_end())
    }

    /// Whether a checkpoint would say anything that the last one did not.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.since_checkpoint.dirty
    }

    /// A new leader: batches appended from now on carry its epoch.
    pub fn start_epoch(&mut self, epoch: LeaderEpoch) {
        if epoch != self.epochs.latest() {
            self.epochs.assign(epoch, self.log_end().offset);
            self.since_checkpoint.dirty = true;
        }
        self.check();
    }

    /// Where an epoch ends, for OffsetForLeaderEpoch. `None` is Kafka's -1.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs.end_of(epoch, self.start.offset, self.log_end().offset)
    }

    /// Whether the batch is the next of its producer. A batch without one always is.
    pub fn sequence_verdict(&self, summary: &Summary) -> Result<Verdict, SequenceError> {
        summary.producer.as_ref().map_or(Ok(Verdict::Fresh), |it| self.producers.check(it))
    }

    /// Forgets producers that have not written for `expiration_ms`.
    pub fn expire_producers(&mut self, now: Timestamp, expiration_ms: i64) {
        self.producers.expire(now, expiration_ms);
    }

    /// Where `begin_append` would put the batch: its segment, and the position there.
    #[must_use]
    pub fn next_place(
        &self,
        summary: &Summary,
        now: Timestamp,
        rules: &Rules,
    ) -> (Offset, FilePos) {
        let end = self.log_end();
        if self.must_roll(summary, now, rules) {
            (end.offset, FilePos::ZERO)
        } else {
            (end.segment, end.pos)
        }
    }

    /// Gives a batch its place. `summary` says what will be stored, patches included.
    ///
    /// # Panics
    /// If its sequence verdict is not `Fresh`.
    pub fn begin_append(&mut self, summary: &Summary, now: Timestamp, rules: &Rules) -> Append {
        assert!(self.sequence_verdict(summary) == Ok(Verdict::Fresh));
        if self.must_roll(summary, now, rules) {
            self.roll(now);
        }
        let at = self.log_end();
        let rolled = at.pos == FilePos::ZERO;
        let leader_epoch = self.epochs.latest();
        self.place(summary, leader_epoch, now, rules.index_interval_bytes);
        let Point { offset: base_offset, segment, pos } = at;
        Append { base_offset, segment, pos, leader_epoch, end: self.log_end(), rolled }
    }

    /// The header to store before the batch's records. Adds the batch to the segment's checksum.
    pub fn stamp(
        &mut self,
        append: &Append,
        batch: &[u8],
        patch: Option<&Patch>,
    ) -> [u8; HEADER_BYTES] {
        let header = batch::stamped_header(batch, append.base_offset, append.leader_epoch, patch);
        self.chain(append.segment, append.pos, &header, append.end.pos.since(append.pos));
        header
    }

    /// The journal takes everything up to `end` that is not yet durable or on its way.
    ///
    /// # Panics
    /// If that is nothing, or `end` is not the end of a batch of this log.
    pub fn begin_journal(&mut self, end: Point) -> Journaling {
        let from = self.commit.claimed().offset;
        assert!(from < end.offset && end.offset <= self.log_end().offset);
        self.commit.claim(end);
        Journaling { id: self.id, from, end }
    }

    pub fn on_journaled(&mut self, journaling: Journaling) {
        assert!(journaling.id == self.id, "a token of another partition");
        self.commit.on_journaled(journaling.from, journaling.end);
        self.check();
    }

    /// `Some`: an Intent entry must be durable before `begin_flush`, so that recovery looks for
    /// what only the segment has.
    #[must_use]
    pub fn intent_needed(&self) -> Option<Intent> {
        let (_, end) = self.next_flush(None)?;
        let needed = !self.may_flush(end);
        needed.then_some(Intent {
            id: self.id,
            segment: end.segment,
            era: self.since_checkpoint.era,
        })
    }

    /// The entry is durable. One that a checkpoint overtook does not count: its frame may be freed.
    pub fn on_intent(&mut self, intent: &Intent) {
        assert!(intent.id == self.id, "a token of another partition");
        if intent.era == self.since_checkpoint.era {
            self.since_checkpoint.intent = Some(intent.segment);
        }
    }

    /// The next write to the oldest segment that is not wholly in its file: all that it lacks, or,
    /// if that is more than `bytes_max`, less, if a boundary is known there.
    /// `None`: everything is flushed, or a flush is in flight.
    ///
    /// # Panics
    /// If an intent is needed.
    pub fn begin_flush(&mut self, bytes_max: Option<u64>) -> Option<Flush> {
        let (start, end) = self.next_flush(bytes_max)?;
        assert!(self.may_flush(end), "recovery would not look for these bytes");
        self.commit.begin_flush(start, end);
        self.check();
        Some(Flush { id: self.id, start, end })
    }

    pub fn on_flushed(&mut self, flush: Flush) {
        assert!(flush.id == self.id, "a token of another partition");
        self.commit.on_flushed(flush.end);
        self.commit.forward(&self.segments);
        self.check();
    }

    /// The oldest rolled segment, once its file is whole. Its index need not be, after a restart.
    pub fn begin_seal(&mut self) -> Option<Seal> {
        if self.sealing.is_some() {
            return None;
        }
        let segment = self.segments.oldest_closing()?;
        let Phase::Closing { producers } = segment.phase() else {
            unreachable!("closing segments alone are listed");
        };
        if self.commit.flushed().offset < segment.end() {
            return None;
        }
        let sidecar = sidecar::encode(segment, &self.epochs, producers);
        let (base, bytes) = (segment.base(), segment.end_pos());
        self.sealing = Some(base);
        Some(Seal { id: self.id, segment: base, bytes, sidecar })
    }

    /// The file is cut, and the sidecar durable under its name.
    pub fn on_sealed(&mut self, seal: Seal) {
        assert!(seal.id == self.id, "a token of another partition");
        assert!(self.sealing == Some(seal.segment));
        self.sealing = None;
        self.segments.get_mut(seal.segment).expect("a closing segment stays").seal();
        self.since_checkpoint.dirty = true;
        self.check();
    }

    /// Everything as of now, for a checkpoint that lets replay start at a frame not yet begun.
    /// Intents written before do not count for later flushes.
    pub fn begin_checkpoint(&mut self) -> Checkpointing {
        self.since_checkpoint.era += 1;
        self.since_checkpoint.intent = None;
        self.since_checkpoint.dirty = false;
        let parts = ManifestParts {
            id: self.id,
            log_start: self.start.offset,
            compacted_end: self.compacted.end(),
            segments: self.segments.all(),
            epochs: &self.epochs,
            producers: &self.producers,
        };
        let (sealed_end, era) = (self.segments.sealed_end(), self.since_checkpoint.era);
        let checkpointed = Checkpointed { id: self.id, sealed_end, era };
        Checkpointing { manifest: parts.encode(), target: self.log_end(), checkpointed }
    }

    /// The checkpoint is durable under its name.
    pub fn on_checkpointed(&mut self, checkpointed: Checkpointed) {
        assert!(checkpointed.id == self.id, "a token of another partition");
        assert!(self.since_checkpoint.sealed_end <= checkpointed.sealed_end);
        self.since_checkpoint.sealed_end = checkpointed.sealed_end;
        self.compacted.on_checkpointed(checkpointed.era);
        self.check();
    }

    /// Whether the active segment shall be closed although nothing is appended.
    #[must_use]
    pub fn is_roll_due(&self, now: Timestamp, rules: &Rules) -> bool {
        self.can_roll() && self.age_ms(now) >= self.age_ms_max(rules)
    }

    /// Closes the active segment if it has anything. What is appended next begins another one.
    pub fn roll_idle(&mut self, now: Timestamp) {
        if self.can_roll() {
            self.roll(now);
            self.since_checkpoint.dirty = true;
            self.check();
        }
    }

    /// Where the log would start if everything went that `retention` does not keep. `None`: all stays.
    #[must_use]
    pub fn retained_from(&self, now: Timestamp, retention: &Retention) -> Option<Offset> {
        let from = retention.kept_from(self.segments.reaching(self.start.offset), now);
        from.filter(|from| self.start.offset < *from)
    }

    /// Raises the log start, if `to` is above it: `None` if there is nothing to do. Nobody sees it
    /// before it is durable.
    pub fn begin_delete(&mut self, to: Offset) -> Result<Option<Deletion>, BeyondDurable> {
        if to > self.durable_end().offset {
            return Err(BeyondDurable);
        }
        if to <= self.start.durable {
            return Ok(None);
        }
        // One that is on its way may go further.
        let to = to.max(self.start.offset);
        self.start.offset = to;
        self.epochs.truncate_start(to);
        self.since_checkpoint.dirty = true;
        self.check();
        Ok(Some(Deletion { id: self.id, log_start: to }))
    }

    pub fn on_deleted(&mut self, deletion: Deletion) {
        assert!(deletion.id == self.id, "a token of another partition");
        self.start.durable = self.start.durable.max(deletion.log_start);
        self.check();
    }

    /// Segments wholly below the durable log start, and sealed in the last durable checkpoint: their
    /// files can go, oldest first. After a restart they may be gone already: ask before serving.
    pub fn expired_segments(&self) -> impl Iterator<Item = Offset> {
        let mut end = self.start.durable.min(self.since_checkpoint.sealed_end);
        if Bug::SegmentDroppedEarly.is_on() {
            end = self.start.durable;
        }
        let expired = move |it: &&Segment| it.is_sealed() && it.end() <= end;
        self.segments.all().iter().take_while(expired).map(Segment::base)
    }

    /// The files of the oldest segment are gone.
    ///
    /// # Panics
    /// If it has not expired.
    pub fn on_unlinked(&mut self, segment: Offset) {
        assert!(self.expired_segments().next() == Some(segment));
        self.segments.remove_first(segment);
        self.since_checkpoint.dirty = true;
        self.check();
    }

    /// `None`: outside of `[log_start, log_end)`.
    #[must_use]
    pub fn locate(&self, offset: Offset) -> Option<Located> {
        if offset < self.start.durable || self.log_end().offset <= offset {
            return None;
        }
        self.segments.reaching(offset).first().map(|it| locate_in(it, offset))
    }

    /// Where the first record at or after `timestamp` can be, at or after `from` and the log start.
    /// It need not be in that segment: ask again from the segment's end.
    #[must_use]
    pub fn locate_time(&self, timestamp: Timestamp, from: Offset) -> Option<Located> {
        let from = from.max(self.start.durable);
        let late_enough = |it: &&Segment| {
            it.max_timestamp().is_some_and(|largest| timestamp <= largest.timestamp)
        };
        let segment = self.segments.reaching(from).iter().find(late_enough)?;
        let by_offset = locate_in(segment, from);
        match segment.index().before_time(timestamp) {
            Some(by_time) if by_offset.scan_from < by_time.pos => {
                Some(Located { scan_from: by_time.pos, base: by_time.offset, ..by_offset })
            }
            Some(_) | None => Some(by_offset),
        }
    }

    /// The largest timestamp of all segments, and where to scan for its batch. It may lie below the
    /// log start, as long as its file is there.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<(MaxTimestamp, Located)> {
        let mut largest: Option<(MaxTimestamp, Located)> = None;
        for segment in self.segments.all() {
            if let Some(found) = segment.max_timestamp()
                && largest.is_none_or(|(it, _)| it.timestamp < found.timestamp)
            {
                largest = Some((found, locate_in(segment, found.batch)));
            }
        }
        largest
    }

    /// The end of a segment that is still there, and was not compacted meanwhile.
    #[must_use]
    pub fn segment_end(&self, segment: impl Into<SegmentName>) -> Option<Point> {
        self.named(segment.into()).map(end_point)
    }

    fn named(&self, name: SegmentName) -> Option<&Segment> {
        self.segments.get(name.base).filter(|it| it.name() == name)
    }

    /// The file of the segment that begins with `base`.
    #[must_use]
    pub fn segment_name(&self, base: Offset) -> Option<SegmentName> {
        self.segments.get(base).map(Segment::name)
    }

    /// `Some`: the index of the segment is unknown before this position, as after a restart.
    /// Lookups are right without it, and slow.
    #[must_use]
    pub fn index_missing(&self, segment: impl Into<SegmentName>) -> Option<FilePos> {
        let index = self.named(segment.into())?.index();
        (!index.is_complete()).then(|| index.from())
    }

    /// `rebuilt` is complete and reaches what was missing. A segment that is gone is no error.
    pub fn on_index_rebuilt(&mut self, segment: impl Into<SegmentName>, rebuilt: Index) {
        let name = segment.into();
        if let Some(segment) = self.segments.get_mut(name.base)
            && segment.name() == name
            && !segment.index().is_complete()
        {
            segment.on_index_rebuilt(rebuilt);
        }
    }

    /// Frees the memory of a sealed segment's index.
    pub fn forget_index(&mut self, segment: Offset) {
        if let Some(segment) = self.segments.get_mut(segment) {
            segment.forget_index();
        }
    }

    /// A batch that recovery found at the end of the log.
    pub(crate) fn append_recovered(
        &mut self,
        batch: &Batch<'_>,
        summary: &Summary,
        now: Timestamp,
    ) {
        let at = self.log_end();
        assert!(batch.base_offset() == at.offset.get(), "recovered batches follow each other");
        self.place(summary, batch.leader_epoch(), now, RECOVERED_INDEX_INTERVAL_BYTES);
        if let Some(header) = batch.bytes().first_chunk::<HEADER_BYTES>() {
            self.chain(at.segment, at.pos, header, u64::from(summary.len_bytes));
        }
    }

    pub(crate) fn roll_recovered(&mut self, created_at: Timestamp) {
        self.roll(created_at);
    }

    /// Recovery brings the files up to the log's end, and so everything is durable.
    pub(crate) fn finish_recovery(&mut self, log_start: Offset) {
        assert!(log_start <= self.log_end().offset);
        self.commit = Commit::new(self.log_end());
        if self.start.offset < log_start {
            self.start = LogStart { offset: log_start, durable: log_start };
            self.epochs.truncate_start(log_start);
        }
        self.check();
    }

    fn must_roll(&self, summary: &Summary, now: Timestamp, rules: &Rules) -> bool {
        let active = self.segments.active();
        if !self.can_roll() {
            return false;
        }
        let bytes = active.end_pos().get() + u64::from(summary.len_bytes);
        let newest = summary.max_timestamp;
        let span_ms = active.first_timestamp().map_or(0, |it| ms_since(it, newest));
        let age_ms = self.age_ms(now).max(span_ms);
        bytes > rules.segment_bytes_max || age_ms >= self.age_ms_max(rules)
    }

    fn can_roll(&self) -> bool {
        let is_behind = self.segments.closing().count() >= CLOSING_COUNT_MAX;
        !self.segments.active().is_empty() && !is_behind
    }

    /// By the broker's clock.
    fn age_ms(&self, now: Timestamp) -> i64 {
        ms_since(self.segments.active().created_at(), now)
    }

    /// Each segment has its own, the same at every look: not all that begin at once end at once.
    fn age_ms_max(&self, rules: &Rules) -> i64 {
        let jitter_ms_max = rules.segment_jitter_ms_max.min(rules.segment_ms_max);
        if jitter_ms_max <= 0 {
            return rules.segment_ms_max;
        }
        let crc = crc32c::crc32c(&self.id.topic.get());
        let crc = crc32c::crc32c_append(crc, &self.id.index.get().to_be_bytes());
        let base = self.segments.active().base();
        let crc = crc32c::crc32c_append(crc, &base.get().to_be_bytes());
        rules.segment_ms_max - i64::from(crc) % jitter_ms_max
    }

    fn roll(&mut self, created_at: Timestamp) {
        let mut producers = Vec::new();
        self.producers.encode(&mut producers);
        self.segments.roll(created_at, producers);
        self.commit.forward(&self.segments);
    }

    fn place(
        &mut self,
        summary: &Summary,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
        index_interval_bytes: u64,
    ) {
        let base_offset = self.log_end().offset;
        self.epochs.assign(leader_epoch, base_offset);
        self.segments.active_mut().append(summary, now, index_interval_bytes);
        if let Some(producer) = &summary.producer {
            self.producers.commit(producer, base_offset, summary.max_timestamp, now);
        }
        self.since_checkpoint.dirty = true;
        self.check();
    }

    fn chain(&mut self, segment: Offset, pos: FilePos, header: &[u8; HEADER_BYTES], bytes: u64) {
        let header = header.first_chunk().expect("the chained bytes are the first of the header");
        let segment = self.segments.get_mut(segment).expect("an append lies in a segment");
        segment.chain(pos, header, bytes);
    }

    fn may_flush(&self, end: Point) -> bool {
        self.since_checkpoint.intent == Some(end.segment) || self.commit.is_journaled_to(end)
    }

    fn next_flush(&self, bytes_max: Option<u64>) -> Option<(Point, Point)> {
        if self.commit.is_flushing() {
            return None;
        }
        let start = self.segments.forward(self.commit.flushed());
        let segment = self.segments.get(start.segment).expect("flushed lies in a segment");
        let mut end = end_point(segment);
        if start.pos == end.pos {
            return None;
        }
        if let Some(bytes_max) = bytes_max
            && let Some(entry) = segment.index().boundary(start.pos.plus(bytes_max))
            && start.pos < entry.pos
        {
            end = Point { offset: entry.offset, segment: segment.base(), pos: entry.pos };
        }
        Some((start, end))
    }

    fn check(&self) {
        let log_end = self.log_end().offset;
        assert!(self.start.durable <= self.start.offset);
        assert!(self.start.offset <= self.commit.durable_end().offset);
        assert!(self.commit.claimed().offset <= log_end);
    }
}

fn ms_since(earlier: Timestamp, now: Timestamp) -> i64 {
    now.get().saturating_sub(earlier.get())
}

fn locate_in(segment: &Segment, offset: Offset) -> Located {
    let start = (FilePos::ZERO, segment.base());
    let entry = segment.index().at_or_before(offset);
    let (scan_from, base) = entry.map_or(start, |it| (it.pos, it.offset));
    Located { segment: segment.name(), scan_from, base, sealed: segment.is_sealed() }
}

#[cfg(test)]
mod tests {
    use super::{Append, BeyondDurable, Log, Rules};
    use crate::batch::{Batch, Summary};
    use crate::id::{
        FilePos, LeaderEpoch, Offset, PartitionId, PartitionIndex, Timestamp, TopicId,
    };
    use crate::manifest::Manifest;
    use crate::records::builder::BatchBuilder;
    use crate::retention::Retention;
    use crate::sidecar::Sidecar;

    const RULES: Rules = Rules {
        segment_bytes_max: 1000,
        segment_ms_max: 5000,
        segment_jitter_ms_max: 0,
        index_interval_bytes: 0,
    };
    const BATCH_BYTES: u64 = 300;

    fn log() -> Log {
        let id = PartitionId { topic: TopicId::new([1; 16]), index: PartitionIndex::new(0) };
        Log::new(id, Timestamp::new(0), LeaderEpoch::ZERO)
    }

    fn summary(timestamp: i64) -> Summary {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(timestamp), None, Some(&[0; 228]), &[]);
        builder.push(Timestamp::new(timestamp), None, None, &[]);
        let bytes = builder.build();
        let mut summary = Batch::parse(&bytes).unwrap().summary().unwrap();
        summary.len_bytes = u32::try_from(BATCH_BYTES).unwrap();
        summary
    }

    /// A batch of two records and 300 bytes.
    fn append(log: &mut Log, now: i64) -> Append {
        log.begin_append(&summary(now), Timestamp::new(now), &RULES)
    }

    fn append_many(log: &mut Log, count: i64) {
        for now in 0..count {
            assert_eq!(append(log, now).base_offset, Offset::new(now * 2));
        }
    }

    fn intend(log: &mut Log) {
        if let Some(intent) = log.intent_needed() {
            log.on_intent(&intent);
        }
    }

    fn flush_all(log: &mut Log) {
        intend(log);
        while let Some(flush) = log.begin_flush(None) {
            log.on_flushed(flush);
            intend(log);
        }
    }

    fn checkpoint(log: &mut Log) -> Manifest {
        let checkpointing = log.begin_checkpoint();
        flush_all(log);
        let manifest = Manifest::decode(checkpointing.manifest()).expect("our own");
        log.on_checkpointed(checkpointing.into_checkpointed());
        manifest
    }

    fn seal_all(log: &mut Log) {
        while let Some(seal) = log.begin_seal() {
            assert!(log.begin_seal().is_none(), "one at a time");
            log.on_sealed(seal);
        }
    }

    #[test]
    fn segments_roll_by_bytes_and_by_age() {
        let mut log = log();
        let rolled: Vec<bool> = (0..4).map(|now| append(&mut log, now).rolled).collect();
        assert_eq!(rolled, [true, false, false, true]);
        assert!(!append(&mut log, 5002).rolled, "its first record came at 3");
        let append = append(&mut log, 5003);
        assert!(append.rolled);
        assert_eq!((append.segment, append.pos), (Offset::new(10), FilePos::ZERO));
    }

    #[test]
    fn segments_roll_by_the_time_that_their_records_span() {
        let mut log = log();
        let now = Timestamp::new(0);
        let mut is_rolled = |time| log.begin_append(&summary(time), now, &RULES).rolled;
        assert!(is_rolled(100_000), "the first of its segment");
        assert!(!is_rolled(104_999));
        assert!(is_rolled(105_000));
        assert!(!is_rolled(9), "what is older opens nothing");
    }

    #[test]
    fn jitter_closes_segments_earlier_each_by_its_own_time() {
        let rules = Rules { segment_jitter_ms_max: 1000, ..RULES };
        let mut ages = Vec::new();
        let mut log = log();
        for round in 0..10 {
            let begun = round * 100_000;
            let _append = log.begin_append(&summary(0), Timestamp::new(begun), &rules);
            let due = (0..=5000).find(|age| log.is_roll_due(Timestamp::new(begun + age), &rules));
            ages.push(due.expect("at the latest after segment.ms"));
            flush_all(&mut log);
            log.roll_idle(Timestamp::new(begun));
            seal_all(&mut log);
        }
        assert!(ages.iter().all(|age| (4001..=5000).contains(age)), "{ages:?}");
        ages.sort_unstable();
        ages.dedup();
        assert!(ages.len() > 5, "{ages:?}");
    }

    #[test]
    fn an_idle_segment_closes_and_the_next_append_begins_another() {
        let mut log = log();
        append_many(&mut log, 1);
        assert!(!log.is_roll_due(Timestamp::new(4999), &RULES));
        assert!(log.is_roll_due(Timestamp::new(5000), &RULES));
        log.roll_idle(Timestamp::new(5000));
        assert!(!log.is_roll_due(Timestamp::new(i64::MAX), &RULES), "an empty one stays");
        log.roll_idle(Timestamp::new(6000));
        assert_eq!(log.segments().len(), 2);
        flush_all(&mut log);
        seal_all(&mut log);
        let manifest = checkpoint(&mut log);
        assert_eq!(Log::restore(manifest).log_end(), log.log_end());
        let append = append(&mut log, 7000);
        assert_eq!((append.base_offset.get(), append.segment.get()), (2, 2));
        assert!(append.rolled, "the journal is told of the segment");
    }

    #[test]
    fn a_log_may_lose_all_of_its_segments_and_goes_on() {
        let mut log = log();
        append_many(&mut log, 2);
        let retention = Retention { age_ms_max: Some(10), bytes_max: None };
        assert_eq!(log.retained_from(Timestamp::new(11), &retention), None);
        assert_eq!(log.retained_from(Timestamp::new(12), &retention), Some(Offset::new(4)));
        flush_all(&mut log);
        log.roll_idle(Timestamp::new(12));
        let deletion = log.begin_delete(Offset::new(4)).expect("durable").expect("above");
        log.on_deleted(deletion);
        assert_eq!(log.retained_from(Timestamp::new(i64::MAX), &retention), None);
        seal_all(&mut log);
        let _manifest = checkpoint(&mut log);
        log.on_unlinked(Offset::ZERO);
        assert_eq!((log.segments().len(), log.unflushed_bytes()), (1, 0));
        let append = append(&mut log, 20);
        assert_eq!(append.base_offset, Offset::new(4));
        flush_all(&mut log);
        assert_eq!(log.durable_end(), log.log_end());
    }

    #[test]
    fn segments_stop_rolling_while_the_disk_is_behind() {
        let mut log = log();
        for _ in 0..100 {
            let _append = append(&mut log, 0);
        }
        assert_eq!(log.segments().len(), super::CLOSING_COUNT_MAX + 1);
        flush_all(&mut log);
        seal_all(&mut log);
        assert!(append(&mut log, 0).rolled);
    }

    #[test]
    fn a_flush_covers_only_what_was_there_when_it_began() {
        let mut log = log();
        append_many(&mut log, 1);
        assert_eq!((log.uncommitted_bytes(), log.unflushed_bytes()), (BATCH_BYTES, BATCH_BYTES));
        intend(&mut log);
        let flush = log.begin_flush(None).expect("one batch is pending");
        let later = append(&mut log, 1);
        assert_eq!((log.uncommitted_bytes(), log.unflushed_bytes()), (BATCH_BYTES, 600));
        assert!(log.begin_flush(None).is_none(), "one is in flight");
        assert_eq!(log.durable_end().offset, Offset::ZERO);
        log.on_flushed(flush);
        assert_eq!(log.durable_end().offset, later.base_offset);
        let flush = log.begin_flush(None).expect("the other batch is pending");
        assert_eq!((flush.from(), flush.start().pos), (FilePos::ZERO, later.pos));
    }

    #[test]
    fn a_closing_segment_is_flushed_before_the_next_one() {
        let mut log = log();
        append_many(&mut log, 4);
        for segment in [0, 6] {
            let intent = log.intent_needed().expect("nothing is journaled");
            assert_eq!(intent.segment(), Offset::new(segment));
            log.on_intent(&intent);
            let flush = log.begin_flush(None).expect("its bytes are pending");
            assert_eq!(flush.segment(), Offset::new(segment));
            log.on_flushed(flush);
        }
        assert!(log.begin_flush(None).is_none());
        assert!(log.intent_needed().is_none());
    }

    #[test]
    fn what_is_journaled_needs_no_intent() {
        let mut log = log();
        append_many(&mut log, 2);
        let journaling = log.begin_journal(log.log_end());
        assert_eq!(log.uncommitted_bytes(), 0);
        assert!(log.intent_needed().is_some(), "it is not durable yet");
        log.on_journaled(journaling);
        assert_eq!(log.durable_end(), log.log_end());
        assert!(log.intent_needed().is_none());
        let _later = append(&mut log, 2);
        assert!(log.intent_needed().is_some(), "the flush would take more than is journaled");
    }

    #[test]
    fn an_intent_that_a_checkpoint_overtook_does_not_count() {
        let mut log = log();
        append_many(&mut log, 1);
        let intent = log.intent_needed().expect("nothing is journaled");
        let _checkpointing = log.begin_checkpoint();
        log.on_intent(&intent);
        assert!(log.intent_needed().is_some());
    }

    #[test]
    fn a_limited_flush_ends_between_batches() {
        let mut log = log();
        append_many(&mut log, 3);
        intend(&mut log);
        let flush = log.begin_flush(Some(700)).expect("three batches are pending");
        assert_eq!(flush.end().pos, FilePos::new(600));
        assert_eq!(flush.end().offset, Offset::new(4));
        log.on_flushed(flush);
        let flush = log.begin_flush(Some(1)).expect("one batch is pending");
        assert_eq!(flush.end(), log.log_end(), "no boundary is nearer");
        log.on_flushed(flush);
    }

    #[test]
    fn files_go_only_when_the_log_start_and_a_checkpoint_are_durable() {
        let mut log = log();
        append_many(&mut log, 7);
        assert_eq!(log.begin_delete(Offset::new(1)).map(|_| ()), Err(BeyondDurable));
        flush_all(&mut log);
        let deletion =
            log.begin_delete(Offset::new(13)).expect("durable").expect("above the start");
        assert_eq!((log.log_start(), deletion.log_start()), (Offset::ZERO, Offset::new(13)));
        let lower = log.begin_delete(Offset::new(5)).expect("durable").expect("not durable yet");
        assert_eq!(lower.log_start(), Offset::new(13), "the journal never lowers a log start");
        seal_all(&mut log);
        let _manifest = checkpoint(&mut log);
        assert_eq!(log.expired_segments().count(), 0, "the deletion is not durable");
        assert!(log.locate(Offset::ZERO).is_some(), "nobody was told that it is gone");
        log.on_deleted(deletion);
        log.on_deleted(lower);
        assert_eq!(log.log_start(), Offset::new(13));
        assert_eq!(log.begin_delete(Offset::new(13)), Ok(None));
        let expired: Vec<Offset> = log.expired_segments().collect();
        assert_eq!(expired, [Offset::ZERO, Offset::new(6)]);
        log.on_unlinked(Offset::ZERO);
        assert_eq!(log.expired_segments().collect::<Vec<_>>(), [Offset::new(6)]);
        assert_eq!(log.bytes(), 4 * BATCH_BYTES);
        assert!(log.locate(Offset::new(12)).is_none());
        assert_eq!(log.locate(Offset::new(13)).map(|it| it.segment.base), Some(Offset::new(12)));
    }

    #[test]
    fn a_segment_that_no_checkpoint_calls_sealed_stays() {
        let mut log = log();
        append_many(&mut log, 4);
        flush_all(&mut log);
        let _manifest = checkpoint(&mut log);
        seal_all(&mut log);
        let deletion = log.begin_delete(Offset::new(7)).expect("durable").expect("above the start");
        log.on_deleted(deletion);
        assert_eq!(log.expired_segments().count(), 0);
        let _manifest = checkpoint(&mut log);
        assert_eq!(log.expired_segments().count(), 1);
    }

    #[test]
    fn a_restored_log_goes_on_where_the_checkpoint_was() {
        let mut log = log();
        append_many(&mut log, 4);
        assert!(log.is_dirty());
        let mut restored = Log::restore(checkpoint(&mut log));
        assert!(!log.is_dirty());
        assert_eq!(restored.log_end(), log.log_end());
        assert_eq!(restored.durable_end(), log.log_end());
        assert_eq!(
            restored.max_timestamp().map(|(it, _)| it),
            log.max_timestamp().map(|(it, _)| it)
        );
        assert_eq!(restored.index_missing(Offset::ZERO), Some(FilePos::new(900)));
        assert_eq!(restored.index_missing(Offset::new(6)), Some(FilePos::new(300)));
        let appended = append(&mut restored, 4);
        assert_eq!((appended.base_offset, appended.pos), (Offset::new(8), FilePos::new(300)));
        let seal = restored.begin_seal().expect("its file is whole");
        let sidecar = Sidecar::decode(seal.sidecar()).expect("our own");
        assert_eq!(sidecar.index.from(), FilePos::new(900), "a reader rebuilds what comes before");
        let found = restored.locate(Offset::new(8)).expect("in the log");
        assert_eq!(found.scan_from, FilePos::new(300), "the index of what came after is there");
        let index = log.segments()[0].index().clone();
        restored.on_index_rebuilt(Offset::ZERO, index);
        assert_eq!(restored.index_missing(Offset::ZERO), None);
    }

    #[test]
    fn the_largest_timestamp_is_that_of_the_first_batch_that_has_it() {
        let mut log = log();
        assert_eq!(log.max_timestamp(), None);
        for timestamp in [5, 9, 9, 9, 7] {
            let _append = log.begin_append(&summary(timestamp), Timestamp::new(0), &RULES);
        }
        let (largest, located) = log.max_timestamp().expect("records have times");
        assert_eq!((largest.timestamp, largest.batch), (Timestamp::new(9), Offset::new(2)));
        assert_eq!((located.segment.base, located.scan_from), (Offset::ZERO, FilePos::new(300)));
    }

    #[test]
    fn a_time_is_sought_from_the_log_start_on() {
        let mut log = log();
        for timestamp in [5, 9, 7, 8, 1] {
            let _append = log.begin_append(&summary(timestamp), Timestamp::new(0), &RULES);
        }
        let at = |timestamp, from| {
            let located = log.locate_time(Timestamp::new(timestamp), Offset::new(from))?;
            Some((located.segment.base.get(), located.scan_from.get()))
        };
        assert_eq!(at(0, 0), Some((0, 0)));
        assert_eq!(at(6, 0), Some((0, 300)));
        assert_eq!(at(8, 0), Some((0, 300)));
        assert_eq!(at(8, 4), Some((0, 600)), "not there: ask again from the segment's end");
        assert_eq!(at(8, 6), Some((6, 0)));
        assert_eq!(at(10, 0), None);
    }
}
