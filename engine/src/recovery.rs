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

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::batch::{self, Batch, BatchError, Stop};
use crate::bug::Bug;
use crate::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use crate::journal::{BLOCK_BYTES, Entry};
use crate::log::{Log, Point};
use crate::manifest::Manifest;
use crate::segment::Segment;

/// Asked for first, as most partitions have nothing to find; then `SCAN_BYTES`. Wherever a scan begins,
/// the blocks that hold it make a power of two, as buffers do.
const SCAN_BYTES_FIRST: usize = (16 << 10) - BLOCK_BYTES;
const SCAN_BYTES: usize = (1 << 20) - BLOCK_BYTES;

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

/// The file must have these many bytes, and what may lie behind them must go. A file that is missing has
/// none.
///
/// It must be synced also if nothing of it changes now. A scan finds what a killed run wrote, and a
/// recovery that was cut short may have written or cut the file: that it reads so does not say that it
/// is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub segment: Offset,
    pub bytes: FilePos,
    /// How much of it the checkpoint saw: so much is on the device. Zero: not even its name need be.
    pub checkpointed: FilePos,
    pub behind: Behind,
}

/// What a file may have behind the end of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Zeros but in the last block: only what the journal has was written, in whole blocks.
    Block,
    /// Batches of a direct write that nobody was told of, anywhere.
    Batches,
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
    Lost { recovered_end: Point, durable_end: Offset },
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
    /// Those that may have what the journal does not.
    intents: BTreeSet<Offset>,
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
        let recovered_end = self.log.log_end();
        let durable_end = self.entries.durable_end.max(self.entries.log_start);
        if recovered_end.offset < durable_end {
            return Err(RecoveryError::Lost { recovered_end, durable_end });
        }
        if Bug::LogStartLost.is_on() {
            self.entries.log_start = Offset::ZERO;
        }
        self.log.finish_recovery(self.entries.log_start);
        let (log, intents) = (&self.log, &self.entries.intents);
        let cuts = self.flushed.map_or_else(Vec::new, |flushed| cuts(log, flushed, intents));
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
        let may_go_on = self.entries.intents.contains(&end.segment);
        if may_go_on && end != scanned_end && end.pos.get() < self.file_bytes {
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
            intents: BTreeSet::new(),
            log_start: Offset::ZERO,
            durable_end: Offset::ZERO,
        };
        for entry in entries {
            sorted.push(entry)?;
        }
        // What a closed partition had is journaled again, behind a batch that was on its way.
        sorted.appends.make_contiguous().sort_by_key(|it| it.batch.base_offset());
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
                self.intents.insert(segment);
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
fn cuts(log: &Log, flushed: Point, intents: &BTreeSet<Offset>) -> Vec<Cut> {
    if Bug::TruncationForgotten.is_on() {
        return Vec::new();
    }
    let touched = log.segments().iter().filter(|it| flushed.segment <= it.base());
    let cut = |it: &Segment| {
        let (segment, bytes) = (it.base(), it.end_pos());
        let checkpointed = if segment == flushed.segment { flushed.pos } else { FilePos::ZERO };
        let behind = if intents.contains(&segment) { Behind::Batches } else { Behind::Block };
        Cut { segment, bytes, checkpointed, behind }
    };
    touched.map(cut).collect()
}

fn scan_at(point: Point, bytes: usize) -> Scan {
    Scan { segment: point.segment, from: point.pos, bytes }
}

fn len_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Recovered, Recovery, RecoveryError};
    use crate::batch;
    use crate::id::{
        FilePos, LeaderEpoch, Offset, PartitionId, PartitionIndex, Timestamp, TopicId,
    };
    use crate::journal::Entry;
    use crate::log::{Log, Point, Rules};
    use crate::manifest::Manifest;
    use crate::records::builder::BatchBuilder;

    const NOW: Timestamp = Timestamp::new(77);

    fn partition() -> PartitionId {
        PartitionId { topic: TopicId::new([1; 16]), index: PartitionIndex::new(0) }
    }

    /// The batches 0, 1, 2 ... of one record each; all have the same length.
    fn stored(offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let value = offset.to_be_bytes().repeat(20);
        builder.push(Timestamp::new(5), None, Some(&value), &[]);
        let mut bytes = builder.build();
        batch::stamp(&mut bytes, Offset::new(offset), LeaderEpoch::ZERO);
        bytes
    }

    fn file(offsets: &[i64]) -> Vec<u8> {
        offsets.iter().flat_map(|it| stored(*it)).collect()
    }

    fn pos(batch_count: usize) -> FilePos {
        FilePos::new(u64::try_from(batch_count * stored(0).len()).unwrap())
    }

    fn manifest(batch_count: i64) -> Manifest {
        let mut log = Log::new(partition(), NOW, LeaderEpoch::ZERO);
        let rules = Rules {
            segment_bytes_max: 9999,
            segment_ms_max: 9,
            segment_jitter_ms_max: 0,
            index_interval_bytes: 0,
        };
        for offset in 0..batch_count {
            let bytes = stored(offset);
            let summary = batch::Batch::parse(&bytes).unwrap().summary().unwrap();
            let append = log.begin_append(&summary, NOW, &rules);
            assert_eq!(append.base_offset, Offset::new(offset));
        }
        Manifest::decode(log.begin_checkpoint().manifest()).expect("our own")
    }

    fn created() -> Entry<'static> {
        let (partition, created_at, epoch) = (partition(), NOW, LeaderEpoch::ZERO);
        Entry::Created { partition, created_at, epoch }
    }

    fn intent(segment: i64) -> Entry<'static> {
        let (partition, durable_end) = (partition(), Offset::ZERO);
        Entry::Intent { partition, segment: Offset::new(segment), durable_end }
    }

    fn append(segment: i64, batch: &[u8], batch_index: usize) -> Entry<'_> {
        let (partition, durable_end, pos) = (partition(), Offset::ZERO, pos(batch_index));
        Entry::Append { partition, segment: Offset::new(segment), pos, durable_end, batch }
    }

    /// What of `[log end, written (segment, batches), cut (segment, batches), unlinked]` is found.
    #[derive(Debug, PartialEq, Eq)]
    struct Found {
        log_end: i64,
        writes: Vec<(i64, FilePos)>,
        cuts: Vec<(i64, FilePos)>,
        unlinks: Vec<i64>,
    }

    fn found(
        log_end: i64,
        writes: &[(i64, usize)],
        cuts: &[(i64, usize)],
        unlinks: &[i64],
    ) -> Found {
        Found {
            log_end,
            writes: writes.iter().map(|(segment, index)| (*segment, pos(*index))).collect(),
            cuts: cuts.iter().map(|(segment, count)| (*segment, pos(*count))).collect(),
            unlinks: unlinks.to_vec(),
        }
    }

    fn recover<'a>(
        manifest: Option<Manifest>,
        files: &[(i64, Vec<u8>)],
        entries: &[Entry<'a>],
    ) -> Result<Option<Recovered<'a>>, RecoveryError> {
        let Some(mut recovery) = Recovery::new(partition(), manifest, entries, NOW)? else {
            return Ok(None);
        };
        while let Some(scan) = recovery.next_scan() {
            let file = files.iter().find(|(base, _)| *base == scan.segment.get());
            let bytes = file.map_or(&[][..], |(_, bytes)| bytes);
            let from = usize::try_from(scan.from.get()).unwrap().min(bytes.len());
            let end = (from + scan.bytes).min(bytes.len());
            recovery.on_scanned(&bytes[from..end], bytes.len().try_into().unwrap())?;
        }
        recovery.finish().map(Some)
    }

    #[track_caller]
    fn check(
        manifest: Option<Manifest>,
        files: &[(i64, Vec<u8>)],
        entries: &[Entry<'_>],
        want: Result<Option<Found>, RecoveryError>,
    ) {
        let recovered = recover(manifest, files, entries).map(|it| {
            it.map(|it| Found {
                log_end: it.log.log_end().offset.get(),
                writes: it.writes.iter().map(|it| (it.segment.get(), it.pos)).collect(),
                cuts: it.cuts.iter().map(|it| (it.segment.get(), it.bytes)).collect(),
                unlinks: it.unlinks.iter().map(|it| it.get()).collect(),
            })
        });
        assert_eq!(recovered, want);
    }

    #[test]
    fn a_partition_without_entries_is_as_the_checkpoint_says() {
        check(Some(manifest(3)), &[], &[], Ok(Some(found(3, &[], &[], &[]))));
    }

    #[test]
    fn a_partition_needs_an_origin() {
        check(None, &[], &[created()], Ok(Some(found(0, &[], &[], &[]))));
        check(None, &[], &[intent(0)], Err(RecoveryError::NoOrigin));
    }

    #[test]
    fn a_removed_partition_is_none_whatever_else_is_said() {
        let removed = Entry::Removed { partition: partition() };
        check(Some(manifest(3)), &[], &[intent(0), removed], Ok(None));
        check(None, &[], &[removed], Ok(None));
    }

    #[test]
    fn an_intent_without_data_finds_nothing() {
        let files = [(0, file(&[0]))];
        check(Some(manifest(1)), &files, &[intent(0)], Ok(Some(found(1, &[], &[(0, 1)], &[]))));
        check(None, &[], &[created(), intent(0)], Ok(Some(found(0, &[], &[(0, 0)], &[]))));
    }

    #[test]
    fn direct_and_journaled_batches_continue_each_other() {
        let (one, three) = (stored(1), stored(3));
        let entries = [intent(0), append(0, &one, 1), append(0, &three, 3)];
        let files = [(0, file(&[0, 1, 2]))];
        check(Some(manifest(1)), &files, &entries, Ok(Some(found(4, &[(0, 3)], &[(0, 4)], &[]))));
    }

    #[test]
    fn batches_that_were_journaled_again_come_before_later_ones_that_were_not() {
        let [one, two, three] = [1, 2, 3].map(stored);
        let entries = [append(0, &three, 3), append(0, &one, 1), append(0, &two, 2)];
        let files = [(0, file(&[0]))];
        let writes = &[(0, 1), (0, 2), (0, 3)];
        check(Some(manifest(1)), &files, &entries, Ok(Some(found(4, writes, &[(0, 4)], &[]))));
    }

    #[test]
    fn what_lies_behind_a_gap_is_dropped() {
        let two = stored(2);
        let mut torn = file(&[0, 1, 2]);
        let at = stored(0).len() * 2 - 1;
        torn[at] ^= 1;
        let files = [(0, torn)];
        let entries = [intent(0), append(0, &two, 2)];
        check(Some(manifest(1)), &files, &entries, Ok(Some(found(1, &[], &[(0, 1)], &[]))));
    }

    #[test]
    fn a_torn_batch_that_the_journal_has_hides_nothing() {
        let one = stored(1);
        let mut torn = file(&[0, 1, 2]);
        torn[stored(0).len() + 70] ^= 1;
        let files = [(0, torn)];
        let entries = [intent(0), append(0, &one, 1)];
        check(Some(manifest(1)), &files, &entries, Ok(Some(found(3, &[(0, 1)], &[(0, 3)], &[]))));
    }

    #[test]
    fn a_segment_may_exist_in_the_journal_only() {
        let two = stored(2);
        let created_at = Timestamp::new(3);
        let roll = Entry::Roll { partition: partition(), segment: Offset::new(2), created_at };
        let files = [(0, file(&[0, 1]))];
        let want = found(3, &[(2, 0)], &[(0, 2), (2, 1)], &[]);
        check(Some(manifest(1)), &files, &[intent(0), roll, append(2, &two, 0)], Ok(Some(want)));
        let want = found(3, &[(2, 0)], &[(0, 2), (2, 1)], &[]);
        check(Some(manifest(1)), &files, &[intent(0), append(2, &two, 0)], Ok(Some(want)));
    }

    #[test]
    fn a_segment_may_exist_in_its_file_only() {
        let files = [(0, file(&[0, 1])), (2, file(&[2, 3]))];
        let want = found(4, &[], &[(0, 2), (2, 2)], &[]);
        check(Some(manifest(1)), &files, &[intent(0), intent(2)], Ok(Some(want)));
    }

    #[test]
    fn a_cut_says_what_the_checkpoint_saw_of_the_file() {
        let files = [(0, file(&[0, 1])), (2, file(&[2, 3]))];
        let recovered = recover(Some(manifest(1)), &files, &[intent(0), intent(2)]);
        let cuts = recovered.expect("sound").expect("there").cuts;
        let seen: Vec<_> = cuts.iter().map(|it| (it.segment.get(), it.checkpointed)).collect();
        assert_eq!(seen, [(0, pos(1)), (2, FilePos::ZERO)]);
    }

    #[test]
    fn a_segment_that_the_log_does_not_reach_is_unlinked() {
        let files = [(0, file(&[0])), (2, file(&[2, 3]))];
        let want = found(1, &[], &[(0, 1)], &[2]);
        check(Some(manifest(1)), &files, &[intent(0), intent(2)], Ok(Some(want)));
    }

    #[test]
    fn a_batch_that_is_larger_than_a_read_is_read_again() {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(5), None, Some(&vec![7; 3 << 20]), &[]);
        let mut large = builder.build();
        batch::stamp(&mut large, Offset::ZERO, LeaderEpoch::ZERO);
        let mut bytes = large.clone();
        bytes.extend(file(&[1, 2]));
        let recovered = recover(None, &[(0, bytes.clone())], &[created(), intent(0)]);
        let log_end = recovered.expect("sound").expect("there").log.log_end();
        assert_eq!(log_end.offset, Offset::new(3));
        bytes.truncate(large.len() - 1);
        let recovered = recover(None, &[(0, bytes)], &[created(), intent(0)]);
        assert_eq!(recovered.expect("sound").expect("there").log.log_end().offset, Offset::ZERO);
    }

    #[test]
    fn the_log_start_is_the_highest_that_was_journaled() {
        let start =
            |offset| Entry::LogStart { partition: partition(), log_start: Offset::new(offset) };
        let recovered = recover(Some(manifest(5)), &[], &[start(2), start(4)]);
        assert_eq!(recovered.expect("sound").expect("there").log.log_start(), Offset::new(4));
        check(Some(manifest(5)), &[], &[start(6)], Err(lost(5, 6)));
    }

    /// Of segment 0: batches of one record each.
    fn lost(recovered: i64, durable: i64) -> RecoveryError {
        let pos = pos(usize::try_from(recovered).unwrap());
        let recovered_end = Point { offset: Offset::new(recovered), segment: Offset::ZERO, pos };
        RecoveryError::Lost { recovered_end, durable_end: Offset::new(durable) }
    }

    #[test]
    fn what_was_durable_is_never_cut() {
        let two = stored(2);
        let entry = Entry::Append {
            partition: partition(),
            segment: Offset::ZERO,
            pos: pos(2),
            durable_end: Offset::new(2),
            batch: &two,
        };
        check(Some(manifest(1)), &[(0, file(&[0]))], &[intent(0), entry], Err(lost(1, 2)));
        let short =
            RecoveryError::Short { segment: Offset::ZERO, bytes: pos(1).get(), flushed: pos(2) };
        check(Some(manifest(2)), &[(0, file(&[0]))], &[intent(0)], Err(short));
    }

    #[test]
    fn an_entry_for_another_place_is_damage() {
        let one = stored(1);
        let files = [(0, file(&[0]))];
        let damage = |batch_index| {
            Err(RecoveryError::Journal { segment: Offset::ZERO, pos: pos(batch_index) })
        };
        check(Some(manifest(1)), &files, &[append(0, &one, 2)], damage(2));
        check(Some(manifest(1)), &files, &[append(0, &one[..99], 1)], damage(1));
        let mut wrong = stored(1);
        wrong[90] ^= 1;
        check(Some(manifest(1)), &files, &[append(0, &wrong, 1)], damage(1));
    }
}
