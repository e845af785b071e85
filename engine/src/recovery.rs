//! One partition after a crash: the log that its checkpoint, its files and its journal entries make.
//!
//! It reads nothing itself: it asks for segment bytes, and says what must be written, cut and
//! unlinked before the partition is served.
//! What it finds is a prefix of what was appended, and holds everything that was acknowledged: a
//! batch was acknowledged only when all before it were in a segment or in the journal.
//!
//! From the checkpoint's end on, three sources continue the log in turn until none can: the batches
//! that lie there in the segment file, the journal's Append entry for just that place, and the next
//! segment if one is known to begin there. Whatever lies behind a gap was never acknowledged. It is
//! cut off, as a later recovery must not find it behind batches that are yet to come.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use std::collections::BTreeMap;
use std::collections::VecDeque;

use crate::batch::{self, Batch, BatchError, Stop};
use crate::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use crate::journal::Entry;
use crate::log::{Log, Point};
use crate::manifest::Manifest;

/// Asked for first, as most partitions have little to find; then `SCAN_BYTES`.
const SCAN_BYTES_FIRST: usize = 64 << 10;
const SCAN_BYTES: usize = 1 << 20;

/// A header that announces more than any request can carry is damage.
const BATCH_BYTES_MAX: usize = 128 << 20;

/// Bytes that the caller must read next: all of them, or all up to the file's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    pub segment: Offset,
    pub from: FilePos,
    pub bytes: usize,
}

/// Bytes that the journal has and the segment may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    pub segment: Offset,
    pub pos: FilePos,
    pub bytes: &'a [u8],
}

/// The file must have just these many bytes. A file that is missing has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub segment: Offset,
    pub bytes: FilePos,
}

/// Everything here must be done and synced, in this order, before a checkpoint of the new
/// generation counts on it.
#[derive(Debug)]
pub struct Recovered<'a> {
    pub log: Log,
    pub writes: Vec<Write<'a>>,
    pub cuts: Vec<Cut>,
    /// Segments that the log does not reach: their files, if any, must go.
    pub unlinks: Vec<Offset>,
}

/// The partition must not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// The journal speaks of a partition that neither it nor a checkpoint knows.
    NoOrigin,
    /// A file has fewer bytes than the checkpoint saw in it.
    Short { segment: Offset, bytes: u64, flushed: FilePos },
    /// A journal entry is no batch, or not for the place that it names.
    Journal { segment: Offset, pos: FilePos },
    /// What was acknowledged goes on to `durable_end`, what can be read ends before.
    Lost { recovered_end: Offset, durable_end: Offset },
}

/// One partition's recovery: `next_scan` and `on_scanned` in turn, then `finish`.
#[derive(Debug)]
pub struct Recovery<'a> {
    now: Timestamp,
    log: Log,
    entries: Entries<'a>,
    /// Where the first scan begins: the file must reach it.
    flushed: Option<Point>,
    scan: Option<Scan>,
    /// Of the file of the active segment, as far as it is known.
    file_bytes: u64,
    writes: Vec<Write<'a>>,
}

/// The journal's entries, by what they are good for.
#[derive(Debug)]
struct Entries<'a> {
    created: Option<(Timestamp, LeaderEpoch)>,
    appends: VecDeque<JournaledBatch<'a>>,
    /// Segments that may exist, by base offset, and when they were made if that is known.
    segments: BTreeMap<Offset, Option<Timestamp>>,
    log_start: Offset,
    durable_end: Offset,
}

#[derive(Clone, Copy, Debug)]
struct JournaledBatch<'a> {
    segment: Offset,
    pos: FilePos,
    batch: Batch<'a>,
}

impl<'a> Recovery<'a> {
    /// `entries` are those of this partition, in the journal's order. `now` counts as the time at
    /// which recovered producers were seen. `None`: the partition was removed, its files must go.
    pub fn new(
        id: PartitionId,
        manifest: Option<Manifest>,
        entries: &[Entry<'a>],
        now: Timestamp,
    ) -> Result<Option<Self>, RecoveryError> {
        assert!(entries.iter().all(|it| it.partition() == id));
        assert!(manifest.as_ref().is_none_or(|it| it.id() == id));
        if entries.iter().any(|it| matches!(it, Entry::Removed { .. })) {
            return Ok(None);
        }
        let mut entries = Entries::new(entries)?;
        let log = match (manifest, entries.created) {
            (Some(manifest), _) => Log::restore(manifest),
            (None, Some((created_at, epoch))) => Log::new(id, created_at, epoch),
            (None, None) => return Err(RecoveryError::NoOrigin),
        };
        let flushed = log.log_end();
        let touched = !entries.segments.is_empty();
        entries.segments.retain(|base, _| *base > flushed.segment);
        let mut recovery = Self {
            now,
            log,
            entries,
            flushed: None,
            scan: None,
            file_bytes: 0,
            writes: Vec::new(),
        };
        if touched {
            recovery.flushed = Some(flushed);
            recovery.scan = Some(scan_at(flushed, SCAN_BYTES_FIRST));
        }
        Ok(Some(recovery))
    }

    /// `None`: `finish`.
    #[must_use]
    pub const fn next_scan(&self) -> Option<Scan> {
        self.scan
    }

    /// `bytes` are what the scan asked for, of a file of `file_bytes` (0: it does not exist).
    ///
    /// # Panics
    /// If nothing was asked for, or something else.
    pub fn on_scanned(&mut self, bytes: &[u8], file_bytes: u64) -> Result<(), RecoveryError> {
        let Some(scan) = self.scan.take() else { panic!("no scan was asked for") };
        let left_bytes = usize::try_from(file_bytes.saturating_sub(scan.from.get()));
        assert!(bytes.len() == scan.bytes.min(left_bytes.unwrap_or(usize::MAX)));
        if let Some(flushed) = self.flushed
            && scan.segment == flushed.segment
            && file_bytes < flushed.pos.get()
        {
            let Point { segment, pos, .. } = flushed;
            return Err(RecoveryError::Short { segment, bytes: file_bytes, flushed: pos });
        }
        self.file_bytes = file_bytes;
        self.scan = self.scan_batches(bytes);
        if self.scan.is_none() {
            self.replay()?;
        }
        Ok(())
    }

    /// # Panics
    /// If a scan is due.
    pub fn finish(mut self) -> Result<Recovered<'a>, RecoveryError> {
        assert!(self.scan.is_none(), "the files have not been read to their end");
        let recovered_end = self.log.log_end().offset;
        let durable_end = self.entries.durable_end.max(self.entries.log_start);
        if recovered_end < durable_end {
            return Err(RecoveryError::Lost { recovered_end, durable_end });
        }
        self.log.finish_recovery(self.entries.log_start);
        let cuts = self.flushed.map_or_else(Vec::new, |flushed| cuts(&self.log, flushed));
        let unlinks = self.entries.segments.into_keys().collect();
        Ok(Recovered { log: self.log, writes: self.writes, cuts, unlinks })
    }

    /// Takes the batches that continue the log. `Some`: there may be more behind `bytes`.
    fn scan_batches(&mut self, bytes: &[u8]) -> Option<Scan> {
        let from = self.log.log_end();
        let mut walk = batch::walk(bytes, Some(from.offset));
        for (_, batch) in walk.by_ref() {
            if !self.take(&batch) {
                return None;
            }
        }
        let end = self.log.log_end();
        let next = scan_at(end, SCAN_BYTES);
        let left_bytes = self.file_bytes.saturating_sub(end.pos.get());
        let unread_bytes = left_bytes
            .min(self.file_bytes.saturating_sub(from.pos.get()).saturating_sub(len_bytes(bytes)));
        match walk.stop()? {
            Stop::End => (unread_bytes > 0).then_some(next),
            Stop::Truncated if unread_bytes == 0 => None,
            Stop::Truncated => match batch::announced_len_bytes(bytes.get(walk.position()..)?) {
                Err(BatchError::Truncated) => Some(next),
                Err(_) => None,
                Ok(batch_bytes) => {
                    let whole = u64::try_from(batch_bytes).is_ok_and(|it| it <= left_bytes);
                    let bytes = batch_bytes.max(next.bytes);
                    (whole && batch_bytes <= BATCH_BYTES_MAX).then_some(Scan { bytes, ..next })
                }
            },
            Stop::Invalid(_) => None,
        }
    }

    /// Goes on with the journal and known segments, until there is another file to scan.
    fn replay(&mut self) -> Result<(), RecoveryError> {
        let scanned_end = self.log.log_end();
        loop {
            let end = self.log.log_end();
            if let Some(created_at) = self.entries.segments.remove(&end.offset) {
                self.log.roll_recovered(created_at.unwrap_or(self.now));
                self.file_bytes = 0;
                self.scan = Some(scan_at(self.log.log_end(), SCAN_BYTES_FIRST));
                return Ok(());
            }
            let Some(append) = self.entries.next_append(end.offset) else { break };
            let JournaledBatch { segment, pos, batch } = append;
            let sound = segment == end.segment
                && pos == end.pos
                && batch.check_stored(end.offset).is_ok()
                && self.take(&batch);
            if !sound {
                return Err(RecoveryError::Journal { segment, pos });
            }
            self.writes.push(Write { segment, pos, bytes: batch.bytes() });
        }
        let end = self.log.log_end();
        if end != scanned_end && end.pos.get() < self.file_bytes {
            // A damaged batch that the journal still has must not hide those behind it.
            self.scan = Some(scan_at(end, SCAN_BYTES_FIRST));
        }
        Ok(())
    }

    /// Whether the batch, which is sound in itself and follows the log's end, continues it.
    fn take(&mut self, batch: &Batch<'_>) -> bool {
        let (Ok(summary), Ok(next)) = (batch.summary(), batch.next_offset()) else {
            return false;
        };
        let end = self.log.log_end().offset;
        let roll_at = self.entries.segments.first_key_value().map(|(base, _)| *base);
        let crosses = roll_at.is_some_and(|it| it == end || (end < it && it < next));
        let epoch = batch.leader_epoch();
        if crosses || epoch < LeaderEpoch::ZERO || epoch < self.log.leader_epoch() {
            return false;
        }
        self.log.append_recovered(batch, &summary, self.now);
        true
    }
}

impl<'a> Entries<'a> {
    fn new(entries: &[Entry<'a>]) -> Result<Self, RecoveryError> {
        let mut sorted = Self {
            created: None,
            appends: VecDeque::new(),
            segments: BTreeMap::new(),
            log_start: Offset::ZERO,
            durable_end: Offset::ZERO,
        };
        for entry in entries {
            sorted.push(entry)?;
        }
        Ok(sorted)
    }

    fn push(&mut self, entry: &Entry<'a>) -> Result<(), RecoveryError> {
        match *entry {
            Entry::Append { segment, pos, durable_end, batch, .. } => {
                let damaged = RecoveryError::Journal { segment, pos };
                let parsed = Batch::parse(batch).or(Err(damaged))?;
                if !parsed.rest().is_empty() {
                    return Err(damaged);
                }
                self.appends.push_back(JournaledBatch { segment, pos, batch: parsed });
                self.durable_end = self.durable_end.max(durable_end);
                self.segments.entry(segment).or_insert(None);
            }
            Entry::Intent { segment, durable_end, .. } => {
                self.durable_end = self.durable_end.max(durable_end);
                self.segments.entry(segment).or_insert(None);
            }
            Entry::Roll { segment, created_at, .. } => {
                self.segments.insert(segment, Some(created_at));
            }
            Entry::LogStart { log_start, .. } => self.log_start = self.log_start.max(log_start),
            Entry::Created { created_at, epoch, .. } => self.created = Some((created_at, epoch)),
            Entry::Removed { .. } => {}
        }
        Ok(())
    }

    /// The batch that belongs at `end`. Those before it are in the log already.
    fn next_append(&mut self, end: Offset) -> Option<JournaledBatch<'a>> {
        while let Some(append) = self.appends.front() {
            if append.batch.base_offset() > end.get() {
                return None;
            }
            let append = self.appends.pop_front()?;
            if append.batch.base_offset() == end.get() {
                return Some(append);
            }
        }
        None
    }
}

/// Every segment from that of the first scan on.
fn cuts(log: &Log, flushed: Point) -> Vec<Cut> {
    if cfg!(bug = "no_truncation") {
        return Vec::new();
    }
    let touched = log.segments().iter().filter(|it| flushed.segment <= it.base());
    touched.map(|it| Cut { segment: it.base(), bytes: it.end_pos() }).collect()
}

fn scan_at(point: Point, bytes: usize) -> Scan {
    Scan { segment: point.segment, from: point.pos, bytes }
}

fn len_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
