//! The audit of one partition: what a start would make of its files, then each segment from its first
//! byte to its last.

use std::io;

use engine::epochs::Epochs;
use engine::extent::Extent;
use engine::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use engine::journal::Entry;
use engine::log::Log;
use engine::manifest::Manifest;
use engine::recovery::{Recovery, RecoveryError, Write};
use engine::scrub::{Mark, Scrub, Stretch};
use engine::segment::{Segment, SegmentName};
use engine::sidecar::Sidecar;
use shard::files::{partition_dir, segment_of, segment_path, sidecar_path};
use shard::partition::LEADER_EPOCH;

use crate::log::audit::{Audit, Summary, Tally, len_u64};
use crate::log::directory::Directory;
use crate::log::finding::Finding;

const READ_BYTES: u64 = 1 << 20;

/// A log as a start would have it.
pub(super) struct Recovered<'a> {
    pub(super) log: Log,
    pub(super) writes: Vec<Write<'a>>,
    pub(super) is_sound: bool,
}

/// A segment file as a start would leave it: with what only the journal has.
pub(super) struct Image<'a> {
    directory: &'a Directory,
    path: String,
    writes: Vec<Write<'a>>,
}

impl<'a> Image<'a> {
    pub(super) fn of(
        directory: &'a Directory,
        partition: PartitionId,
        segment: impl Into<SegmentName>,
        writes: &[Write<'a>],
    ) -> Self {
        let segment = segment.into();
        // Compacted segments were sealed before: the journal has nothing for them.
        let is_of = |it: &&Write<'_>| SegmentName::from(it.segment) == segment;
        let writes = writes.iter().filter(is_of).copied().collect();
        Self { directory, path: segment_path(partition, segment), writes }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What there is of `[from, end)`, up to a gap.
    pub(super) fn read(&self, from: FilePos, end: FilePos) -> io::Result<Vec<u8>> {
        let wanted = end.since(from);
        let mut bytes = match self.directory.read(&self.path, from.get(), wanted) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        for write in &self.writes {
            let write_end = write.pos.plus(len_u64(write.bytes.len()));
            let (first, last) = (write.pos.max(from), write_end.min(end));
            let have_end = from.plus(len_u64(bytes.len()));
            if last <= first || have_end < first {
                continue;
            }
            let at = |pos: FilePos, base: FilePos| usize::try_from(pos.since(base));
            let (first_at, last_at) = (at(first, from), at(last, from));
            let (Ok(first_at), Ok(last_at)) = (first_at, last_at) else { continue };
            let skip = at(first, write.pos).unwrap_or(0);
            bytes.resize(bytes.len().max(last_at), 0);
            bytes[first_at..last_at].copy_from_slice(&write.bytes[skip..][..last_at - first_at]);
        }
        Ok(bytes)
    }
}

impl Audit<'_> {
    /// `None` if the partition was removed.
    pub(super) fn partition<'e>(
        &mut self,
        id: PartitionId,
        topic: String,
        manifest: Option<Manifest>,
        mut entries: Vec<Entry<'e>>,
    ) -> Option<Recovered<'e>>
    where
        Self: 'e,
    {
        let now = Timestamp::NONE;
        if manifest.is_none() {
            // As a start does: the metadata says that it exists.
            let created = Entry::Created { partition: id, created_at: now, epoch: LEADER_EPOCH };
            entries.insert(0, created);
        }
        let before = self.findings.len();
        let at_checkpoint = manifest.as_ref().map(Manifest::encode);
        let recovered = self.recover(id, manifest, &entries, now);
        let (log, writes) = match recovered {
            Ok(None) => return None,
            Ok(Some(recovered)) => recovered,
            Err(error) => {
                self.on_recovery_error(id, error);
                let manifest = at_checkpoint.and_then(|it| Manifest::decode(&it).ok());
                let empty = || Log::new(id, now, LeaderEpoch::ZERO);
                (manifest.map_or_else(empty, Log::restore), Vec::new())
            }
        };
        let mut tally = Tally::default();
        for segment in log.segments() {
            tally.add(&self.segment(&log, segment, &writes));
        }
        self.summarize(topic, &log, tally);
        let is_sound = !self.findings.iter().skip(before).any(Finding::is_damage);
        Some(Recovered { log, writes, is_sound })
    }

    /// What a start would do, without its writes.
    fn recover<'e>(
        &mut self,
        id: PartitionId,
        manifest: Option<Manifest>,
        entries: &[Entry<'e>],
        now: Timestamp,
    ) -> Result<Option<(Log, Vec<Write<'e>>)>, RecoveryError> {
        let Some(mut recovery) = Recovery::new(id, manifest, entries, now)? else {
            return Ok(None);
        };
        while let Some(scan) = recovery.next_scan() {
            let path = segment_path(id, scan.segment);
            let file_bytes = self.directory.file_bytes(&path).ok().flatten().unwrap_or(0);
            let there = file_bytes.saturating_sub(scan.from.get()).min(len_u64(scan.bytes));
            let read = match there {
                0 => Ok(Vec::new()),
                there => self.directory.read(&path, scan.from.get(), there),
            };
            match read {
                Ok(bytes) => recovery.on_scanned(&bytes, file_bytes)?,
                Err(error) => {
                    self.unreadable(&path, &error);
                    recovery.on_scanned(&[], scan.from.get().min(file_bytes))?;
                }
            }
        }
        let recovered = recovery.finish()?;
        Ok(Some((recovered.log, recovered.writes)))
    }

    fn on_recovery_error(&mut self, id: PartitionId, error: RecoveryError) {
        let finding = match error {
            RecoveryError::NoOrigin => {
                let what = "the journal speaks of a partition that nothing else knows";
                Finding::damage(&partition_dir(id), 0..0, what)
            }
            RecoveryError::Short { segment, bytes, flushed } => {
                let what = "the file is cut short: no start is possible";
                let path = segment_path(id, segment);
                Finding::damage(&path, bytes..flushed.get(), what).of(id, segment, None)
            }
            RecoveryError::Journal { segment, pos } => {
                let what = "a journal entry does not fit to this place: no start is possible";
                let path = segment_path(id, segment);
                Finding::damage(&path, pos.get()..pos.get() + 1, what).of(id, segment, None)
            }
            RecoveryError::Lost { recovered_end, durable_end } => {
                let path = segment_path(id, recovered_end.segment);
                let pos = recovered_end.pos.get();
                let file_bytes = self.directory.file_bytes(&path).ok().flatten().unwrap_or(0);
                let what = "acknowledged records are not here any more: no start is possible";
                Finding::damage(&path, pos..file_bytes.max(pos + 1), what).of(
                    id,
                    recovered_end.offset,
                    Some(durable_end),
                )
            }
        };
        self.findings.push(finding);
    }

    fn segment(&mut self, log: &Log, segment: &Segment, writes: &[Write<'_>]) -> Scrub {
        let (id, base, end) = (log.id(), segment.base(), segment.end_pos());
        let image = Image::of(self.directory, id, segment.name(), writes);
        self.used.insert(image.path.clone());
        let before = self.findings.len();
        let sidecar = self.sidecar(id, segment);
        let marks = sidecar.as_ref().map_or_else(Vec::new, |it| Stretch::marks_of(&it.index));
        let start = Mark { pos: FilePos::ZERO, offset: base };
        let scrub =
            self.scrub(&image, id, Stretch { start, end, marks, epochs: log.epochs().clone() });
        if scrub.damages().is_empty()
            && (scrub.sound_end().offset != segment.end()
                || segment.chain_crc().is_some_and(|it| scrub.chain_crc() != Some(it)))
        {
            let what = "its batches are sound, but not those that were stored: of another place \
                        or time";
            let finding = Finding::damage(&image.path, 0..end.get(), what);
            self.findings.push(finding.of(id, base, Some(segment.end())));
        }
        if let Some(sidecar) = sidecar
            && !self.findings.iter().skip(before).any(Finding::is_damage)
        {
            self.index(&image, id, &sidecar);
        }
        self.behind(&image, segment);
        scrub
    }

    fn scrub(&mut self, image: &Image<'_>, id: PartitionId, stretch: Stretch) -> Scrub {
        let stretch_end = stretch.end;
        let mut scrub = Scrub::new(stretch);
        while let Some(at) = scrub.wants() {
            let end = stretch_end.min(at.plus(READ_BYTES));
            match image.read(at, end) {
                Ok(bytes) if bytes.is_empty() => scrub.cut(),
                Ok(bytes) => scrub.feed(&bytes),
                Err(error) => {
                    self.unreadable(&image.path, &error);
                    scrub.cut();
                }
            }
        }
        for damage in scrub.damages() {
            let what = format!("stored records are damaged ({:?})", damage.error);
            let bytes = damage.from.get()..damage.end.get();
            let finding = Finding::damage(&image.path, bytes, what);
            self.findings.push(finding.of(id, damage.first, damage.next));
        }
        scrub
    }

    /// The file beside a sealed segment, if it is what it must be.
    fn sidecar(&mut self, id: PartitionId, segment: &Segment) -> Option<Sidecar> {
        let path = sidecar_path(id, segment.name());
        let file = self.read(&path);
        if !segment.is_sealed() {
            if file.is_some() {
                let what = "younger than the checkpoint: a start writes it anew";
                self.findings.push(Finding::note(&path, what));
            }
            return None;
        }
        let Some(file) = file else {
            let what = "the index beside a sealed segment is missing; it is made again when used";
            self.findings.push(Finding::spare(&path, 0..0, what));
            return None;
        };
        let what = match Sidecar::decode(&file) {
            Ok(it)
                if (it.base, it.end, it.bytes)
                    == (segment.base(), segment.end(), segment.end_pos())
                    && it.chain_crc == segment.chain_crc()
                    && it.max_timestamp == segment.max_timestamp() =>
            {
                return Some(it);
            }
            Ok(_) => "this index is of another segment".to_owned(),
            Err(error) => format!("the index is damaged ({error:?}); it is made again when used"),
        };
        self.findings.push(Finding::spare(&path, 0..len_u64(file.len()), what));
        None
    }

    /// Every entry of the index of a sound segment is a batch.
    fn index(&mut self, image: &Image<'_>, id: PartitionId, sidecar: &Sidecar) {
        let path = image.path.replace(".log", ".idx");
        for entry in sidecar.index.entries() {
            let end = sidecar.bytes.min(entry.pos.plus(len_u64(engine::batch::HEADER_BYTES)));
            let header = image.read(entry.pos, end).unwrap_or_default();
            if Extent::parse(&header).is_ok_and(|it| it.base == entry.offset) {
                continue;
            }
            let what = format!("no batch begins where the index says, at {}", entry.pos.get());
            let finding = Finding::spare(&path, 0..0, what);
            self.findings.push(finding.of(id, entry.offset, None));
        }
    }

    /// What lies in the file behind the segment's end.
    fn behind(&mut self, image: &Image<'_>, segment: &Segment) {
        let file_bytes = match self.directory.file_bytes(&image.path) {
            Ok(file_bytes) => file_bytes.unwrap_or(0),
            Err(error) => return self.unreadable(&image.path, &error),
        };
        let end = segment.end_pos().get();
        if segment.is_sealed() && end < file_bytes {
            let what = "bytes behind the end of a sealed segment: nobody reads them";
            let finding = Finding::spare(&image.path, end..file_bytes, what);
            self.findings.push(finding);
            return;
        }
        let (mut pos, mut last) = (end, end);
        while pos < file_bytes {
            let read = match self.directory.read(&image.path, pos, READ_BYTES) {
                Ok(read) => read,
                Err(error) => return self.unreadable(&image.path, &error),
            };
            if let Some(at) = read.iter().rposition(|it| *it != 0) {
                last = pos + len_u64(at) + 1;
            }
            pos += READ_BYTES;
        }
        if end < last {
            let what = "bytes behind the end of the log: a start cuts them off";
            self.findings.push(Finding::torn(&image.path, end..last, what));
        }
    }

    /// A partition of which no checkpoint can be read: its segments, with the help of their sidecars.
    pub(super) fn alone(&mut self, id: PartitionId, topic: String) {
        let dir = partition_dir(id);
        let names = self.names(&dir);
        let logs = names.iter().filter(|name| name.ends_with(".log"));
        let segments: Vec<SegmentName> = logs.filter_map(|name| segment_of(name)).collect();
        let mut summary = Summary {
            id,
            topic,
            log_start: segments.iter().map(|it| it.base).min().unwrap_or(Offset::ZERO),
            log_end: Offset::ZERO,
            segment_count: segments.len(),
            batch_count: 0,
            bytes: 0,
            checksum: 0,
        };
        let mut tally = Tally::default();
        for segment in segments {
            let image = Image::of(self.directory, id, segment, &[]);
            self.used.insert(image.path.clone());
            let sidecar =
                self.read(&sidecar_path(id, segment)).and_then(|it| Sidecar::decode(&it).ok());
            let Some(sidecar) = sidecar else {
                let what = "not checked: neither a checkpoint nor an index says where it ends";
                self.findings.push(Finding::note(&image.path, what));
                continue;
            };
            let start = Mark { pos: FilePos::ZERO, offset: segment.base };
            let marks = Stretch::marks_of(&sidecar.index);
            let stretch = Stretch { start, end: sidecar.bytes, marks, epochs: Epochs::new() };
            tally.add(&self.scrub(&image, id, stretch));
            summary.bytes += sidecar.bytes.get();
            summary.log_end = sidecar.end;
        }
        let Tally { batch_count, checksum } = tally;
        self.partitions.push(Summary { batch_count, checksum, ..summary });
    }
}
