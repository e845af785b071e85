//! Damage below a broker: bits that flip at rest, writes that land elsewhere, reads of what was there
//! before. It is put where a written rule says that something is stored, and what a broker may then do
//! is read off the files as they were written: a refused start that names the file, or refused reads of
//! the damaged batches, and nothing else.
//!
//! It knows the formats of `engine`, and no broker. Where nobody could tell the damage from a write that
//! a crash cut short, or from what an earlier life left, there is none: `RELIABILITY.md` lists that.

use std::collections::BTreeMap;
use std::ops::Range;

use engine::batch::{self, Batch, HEADER_BYTES};
use engine::checkpoint::Checkpoint;
use engine::id::{Offset, PartitionId};
use engine::journal::{BLOCK_BYTES, Frame, Generation};
use engine::log::Log;
use engine::segment::Segment;
use engine::sidecar::Sidecar;
use engine::superblock::{Shutdown, Superblock};

use crate::checkpoint::checkpoint_path;
use crate::commit::{journal_dir, journal_path};
use crate::files::{partition_dir, segment_path, sidecar_path};
use crate::recovery::METADATA;
use crate::sim::chance::Chance;
use crate::sim::content::{SECTOR_BYTES, Tells};
use crate::sim::disk::Disk;
use crate::sim::names::Ino;

/// Places that are tried until one can be damaged so that it shows.
const TRIES: usize = 8;

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Batches of a partition's segment, below what a checkpoint saw, or sealed.
    Segment,
    Sidecar,
    Checkpoint,
    /// A frame that the next start needs, before the last one.
    Journal,
    /// Batches of the cluster's metadata, below what a checkpoint saw.
    Metadata,
}

/// How it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Flipped,
    /// What was written elsewhere landed here; its own place keeps what it had.
    Misdirected,
    /// Reads get what was there before the last write.
    Stale,
    /// Only the next read does.
    StaleOnce,
}

/// When it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While no broker runs.
    Down,
    /// Below a running broker.
    Running,
}

/// A damage of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub place: Place,
    pub how: How,
    pub moment: Moment,
    /// So many moments pass before.
    pub skips: usize,
    pub salt: u64,
}

impl Damage {
    #[must_use]
    pub fn pick(chance: &mut Chance) -> Self {
        let (place, moment) = match chance.below(8) {
            0 | 1 => (Place::Segment, Moment::Running),
            2 | 3 => (Place::Segment, Moment::Down),
            4 => {
                let moments = [Moment::Down, Moment::Running];
                (Place::Sidecar, moments[chance.index(2)])
            }
            5 => (Place::Checkpoint, Moment::Down),
            6 => (Place::Journal, Moment::Down),
            _ => (Place::Metadata, Moment::Down),
        };
        let how = [How::Flipped, How::Misdirected, How::Stale, How::StaleOnce][chance.index(4)];
        Self { place, how, moment, skips: chance.index(3), salt: chance.next() }
    }

    /// Damages the disk. False: it holds nothing that this damage could be seen in.
    pub fn inflict(&self, disk: &mut Disk, partitions: &[PartitionId]) -> bool {
        let Some(stored) = Stored::read(disk) else { return false };
        let mut chance = Chance::new(self.salt);
        let spots = |disk: &Disk, place| match (place, self.moment) {
            (Place::Segment, Moment::Running) => sealed_spots(disk, partitions),
            (Place::Segment, Moment::Down) => stored.segment_spots(disk, |id| id != METADATA),
            (Place::Metadata, _) => stored.segment_spots(disk, |id| id == METADATA),
            (Place::Sidecar, _) => sidecar_spots(disk, partitions),
            (Place::Checkpoint, _) => stored.checkpoint_spots(),
            (Place::Journal, _) => stored.journal_spots(),
        };
        let here = spots(disk, self.place);
        // What a running broker writes to may not be damaged where it does not look again.
        let elsewhere = match (self.moment, chance.below(3)) {
            (Moment::Down, 0) => spots(disk, Place::Checkpoint),
            (Moment::Down, 1) => spots(disk, Place::Journal),
            _ => spots(disk, Place::Segment),
        };
        (0..TRIES).any(|_| {
            let Some(spot) = pick(&mut chance, &here) else { return false };
            match self.how {
                How::Flipped => flip(disk, &mut chance, spot),
                How::Stale => stale(disk, &mut chance, spot, Tells::Always),
                How::StaleOnce => stale(disk, &mut chance, spot, Tells::Once),
                How::Misdirected => {
                    let from = pick(&mut chance, &elsewhere).unwrap_or(spot);
                    misdirect(disk, &mut chance, from, spot);
                }
            }
            let due = Due::of(disk, partitions);
            let is_here = match self.place {
                Place::Segment => !due.unreadable.is_empty(),
                Place::Sidecar => due.is_damaged,
                Place::Checkpoint | Place::Journal | Place::Metadata => !due.refused_for.is_empty(),
            };
            let shows = is_here && due.is_noticeable;
            if !shows {
                disk.end_all_lies();
            }
            shows
        })
    }
}

/// Bytes of a file that are stored for good.
#[derive(Clone, Copy, Debug)]
struct Spot {
    ino: Ino,
    from: u64,
    end: u64,
}

fn pick(chance: &mut Chance, spots: &[Spot]) -> Option<Spot> {
    (!spots.is_empty()).then(|| spots[chance.index(spots.len())])
}

fn flip(disk: &mut Disk, chance: &mut Chance, spot: Spot) {
    let pos = chance.between(spot.from, spot.end);
    let (sector, within) = (pos / SECTOR, usize_of(pos % SECTOR));
    let (mut bytes, _) = disk.sector(spot.ino, sector);
    bytes[within] ^= 1 << chance.below(8);
    disk.lie(spot.ino, sector, bytes, Tells::Always);
}

fn stale(disk: &mut Disk, chance: &mut Chance, spot: Spot, tells: Tells) {
    for sector in sectors(chance, spot) {
        let (is, was) = disk.sector(spot.ino, sector);
        if is != was {
            disk.lie(spot.ino, sector, was, tells);
        }
    }
}

fn misdirect(disk: &mut Disk, chance: &mut Chance, from: Spot, to: Spot) {
    let own: Vec<u64> = sectors(chance, from).collect();
    for (own, other) in own.into_iter().zip(sectors(chance, to)) {
        let (is, was) = disk.sector(from.ino, own);
        disk.lie(to.ino, other, is, Tells::Always);
        if is != was {
            disk.lie(from.ino, own, was, Tells::Always);
        }
    }
}

/// Some sectors in a row, of those that a spot fills or begins or ends in.
fn sectors(chance: &mut Chance, spot: Spot) -> Range<u64> {
    let (first, end) = (spot.from / SECTOR, spot.end.div_ceil(SECTOR));
    let count = [1, 2, 8, 16][chance.index(4)].min(end - first);
    let start = chance.between(first, end - count + 1);
    start..start + count
}

/// What the next start reads, as it was written.
struct Stored {
    generation: Generation,
    shutdown: Shutdown,
    shards: Vec<StoredShard>,
    logs: BTreeMap<PartitionId, Log>,
}

struct StoredShard {
    checkpoint: String,
    checkpoint_spot: Spot,
    journal: Vec<JournalFile>,
    /// The first frame that is needed.
    first_sequence: u64,
}

struct JournalFile {
    path: String,
    is_first: bool,
    ino: Ino,
    bytes: Vec<u8>,
}

impl JournalFile {
    /// What a replay gets of it. Every start looks at the first block of a journal before, for its
    /// generation: that look is told what is told only once.
    fn replayed(&self, disk: &Disk) -> Vec<u8> {
        let mut seen = disk.seen(self.ino);
        let is_told = |sector: u64| self.is_first && sector < wide(BLOCK_BYTES) / SECTOR;
        let lies = disk.lies(self.ino);
        for (sector, _) in lies.filter(|(sector, tells)| *tells == Tells::Once && is_told(*sector))
        {
            let at = usize_of(sector * SECTOR)..usize_of((sector + 1) * SECTOR).min(seen.len());
            seen[at.clone()].copy_from_slice(&self.bytes[at]);
        }
        seen
    }
}

/// A whole frame: its sequence, and where it lies.
struct Whole {
    sequence: u64,
    spot: Spot,
}

impl Stored {
    /// `None`: nothing is promised yet.
    fn read(disk: &Disk) -> Option<Self> {
        let (_, bytes) = disk.find("superblock")?;
        let Superblock { generation, shard_count, shutdown, .. } =
            Superblock::choose(&bytes).ok()?;
        let mut stored = Self { generation, shutdown, shards: Vec::new(), logs: BTreeMap::new() };
        for shard in 0..usize::try_from(shard_count).ok()? {
            let path = checkpoint_path(shard, generation.number());
            let (ino, bytes) = disk.find(&path)?;
            let checkpoint = Checkpoint::parse(&bytes).ok()?;
            for manifest in checkpoint.manifests() {
                let manifest = manifest.ok()?;
                stored.logs.insert(manifest.id(), Log::restore(manifest));
            }
            let dir = journal_dir(shard);
            let paths = disk.list(&dir).ok()?.into_iter().map(|name| format!("{dir}/{name}"));
            let first = journal_path(shard, 0);
            let file = |path: String| {
                let (ino, bytes) = disk.find(&path)?;
                Some(JournalFile { is_first: path == first, path, ino, bytes })
            };
            stored.shards.push(StoredShard {
                checkpoint: path,
                checkpoint_spot: Spot { ino, from: 0, end: wide(bytes.len()) },
                journal: paths.filter_map(file).collect(),
                first_sequence: checkpoint.header().sequence,
            });
        }
        Some(stored)
    }

    fn checkpoint_spots(&self) -> Vec<Spot> {
        self.shards.iter().map(|shard| shard.checkpoint_spot).collect()
    }

    fn journal_spots(&self) -> Vec<Spot> {
        let needed = self.shards.iter().flat_map(|shard| self.needed(shard));
        needed.map(|(_, frame)| frame.spot).collect()
    }

    /// Frames that are missed if they are not there: one that is whole comes later.
    fn needed<'a>(&self, shard: &'a StoredShard) -> Vec<(&'a JournalFile, Whole)> {
        if self.shutdown == Shutdown::Clean {
            return Vec::new();
        }
        let of = |file: &'a JournalFile| {
            let frames = frames(file.ino, &file.bytes, self.generation);
            frames.into_iter().map(move |frame| (file, frame))
        };
        let mut frames: Vec<_> = shard.journal.iter().flat_map(of).collect();
        let last = frames.iter().map(|(_, frame)| frame.sequence).max().unwrap_or(0);
        frames.retain(|(_, it)| (shard.first_sequence..last).contains(&it.sequence));
        frames
    }

    /// Batches below what the checkpoints saw. The block that the log goes on in is written again.
    fn segment_spots(&self, disk: &Disk, is_meant: impl Fn(PartitionId) -> bool) -> Vec<Spot> {
        let mut spots = Vec::new();
        for (id, log) in self.logs.iter().filter(|(id, _)| is_meant(**id)) {
            for segment in log.segments() {
                let Some((ino, bytes)) = disk.find(&segment_path(*id, segment.base())) else {
                    continue;
                };
                let end = stored_end(log, segment);
                let batches = spots_of(ino, &bytes);
                spots.extend(batches.filter(|it| it.end <= end));
            }
        }
        spots
    }

    /// Ends the lies behind what is stored for good: there nobody can tell.
    fn end_deniable_lies(&self, disk: &mut Disk, partitions: &[PartitionId]) {
        for id in partitions {
            for (base, path) in segments_of(disk, *id) {
                let log = self.logs.get(id);
                let segment = log.into_iter().flat_map(Log::segments).find(|it| it.base() == base);
                let end = log.zip(segment).map_or(0, |(log, segment)| stored_end(log, segment));
                if let Some((ino, _)) = disk.find(&path) {
                    disk.end_lies(ino, end / SECTOR);
                }
            }
        }
    }
}

/// The end of what is never written again.
fn stored_end(log: &Log, segment: &Segment) -> u64 {
    let end = segment.end_pos().get();
    let is_last = log.log_end().segment == segment.base();
    if is_last { end / wide(BLOCK_BYTES) * wide(BLOCK_BYTES) } else { end }
}

/// The whole frames in a file of the journal.
fn frames(ino: Ino, bytes: &[u8], generation: Generation) -> Vec<Whole> {
    let (mut at, mut frames) = (0, Vec::new());
    while at < bytes.len() {
        at += match Frame::parse(&bytes[at..], generation) {
            Ok(frame) => {
                let (from, frame_bytes) = (wide(at), frame.frame_bytes());
                let spot = Spot { ino, from, end: from + wide(frame_bytes) };
                frames.push(Whole { sequence: frame.sequence(), spot });
                frame_bytes
            }
            Err(_) => BLOCK_BYTES,
        };
    }
    frames
}

fn spots_of(ino: Ino, bytes: &[u8]) -> impl Iterator<Item = Spot> {
    batch::walk_headers(bytes).map(move |(pos, batch)| {
        let from = wide(pos);
        Spot { ino, from, end: from + wide(batch.len_bytes()) }
    })
}

/// The segment files of a partition, by base offset.
fn segments_of(disk: &Disk, id: PartitionId) -> Vec<(Offset, String)> {
    let names = disk.list(&partition_dir(id)).unwrap_or_default();
    let bases = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok());
    let bases = bases.filter_map(Offset::checked);
    bases.map(|base| (base, segment_path(id, base))).collect()
}

/// The sidecar of a segment, if there is a sound one.
fn sidecar(disk: &Disk, id: PartitionId, base: Offset) -> Option<(Spot, Sidecar)> {
    let (ino, bytes) = disk.find(&sidecar_path(id, base))?;
    let sidecar = Sidecar::decode(&bytes).ok()?;
    Some((Spot { ino, from: 0, end: wide(bytes.len()) }, sidecar))
}

/// Batches of segments with a sidecar: they are sealed.
fn sealed_spots(disk: &Disk, partitions: &[PartitionId]) -> Vec<Spot> {
    let mut spots = Vec::new();
    for id in partitions {
        for (base, path) in segments_of(disk, *id) {
            if let (Some(_), Some((ino, bytes))) = (sidecar(disk, *id, base), disk.find(&path)) {
                spots.extend(spots_of(ino, &bytes));
            }
        }
    }
    spots
}

fn sidecar_spots(disk: &Disk, partitions: &[PartitionId]) -> Vec<Spot> {
    let bases = |id: &PartitionId| {
        let id = *id;
        segments_of(disk, id).into_iter().map(move |(base, _)| (id, base))
    };
    let sidecars = partitions.iter().flat_map(bases);
    sidecars.filter_map(|(id, base)| sidecar(disk, id, base)).map(|(spot, _)| spot).collect()
}

/// Offsets `[first, end)` of a partition, reads of which may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub partition: PartitionId,
    pub first: Offset,
    pub end: Offset,
    /// Whether reads of `first` must be refused, as long as it is stored.
    pub is_lasting: bool,
}

/// What a broker may do, as the files are now.
#[derive(Debug, Default)]
pub struct Due {
    /// A start is refused, and names one of these files. None: it is not refused.
    pub refused_for: Vec<String>,
    pub unreadable: Vec<Unreadable>,
    pub is_damaged: bool,
    /// Everything that is damaged shows that it is.
    pub is_noticeable: bool,
}

impl Due {
    /// After a crash. Damage that nobody could tell from what the crash did is undone.
    #[must_use]
    pub fn after_crash(disk: &mut Disk, partitions: &[PartitionId]) -> Self {
        if let Some(stored) = Stored::read(disk) {
            stored.end_deniable_lies(disk, partitions);
        }
        Self::of(disk, partitions)
    }

    /// The same, but that a crash may yet undo the damage.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.unreadable.iter_mut().for_each(|it| it.is_lasting = false);
        self
    }

    #[must_use]
    pub fn of(disk: &Disk, partitions: &[PartitionId]) -> Self {
        let mut due = Self { is_noticeable: true, ..Self::default() };
        if !disk.has_lies() {
            return due;
        }
        for id in partitions {
            for (base, path) in segments_of(disk, *id) {
                due.on_segment(disk, *id, base, &path);
            }
        }
        for (_, path) in segments_of(disk, METADATA) {
            if due.has_damaged_batches(disk, &path) {
                due.refused_for.push(path);
            }
        }
        if let Some(stored) = Stored::read(disk) {
            due.on_stored(disk, &stored);
        }
        due
    }

    fn on_segment(&mut self, disk: &Disk, id: PartitionId, base: Offset, path: &str) {
        let Some((ino, bytes)) = disk.find(path) else { return };
        let Some((seen, lasting)) = Self::seen(disk, ino) else {
            self.on_sidecar(disk, id, base);
            return;
        };
        self.on_sidecar(disk, id, base);
        let batches: Vec<(usize, Batch<'_>)> = batch::walk_headers(&bytes).collect();
        let end = batches.last().and_then(|(_, batch)| batch.next_offset().ok()).unwrap_or(base);
        for (pos, batch) in batches {
            let range = pos..pos + batch.len_bytes();
            let (Some(first), Ok(next)) =
                (Offset::checked(batch.base_offset()), batch.next_offset())
            else {
                continue;
            };
            if bytes[range.clone()] == seen[range.clone()] {
                continue;
            }
            self.is_damaged = true;
            self.is_noticeable &= is_noticeable(&seen[pos..], first);
            let (own, rest) = (first..next, next..end);
            self.push(id, own, lasting);
            // Past a header that cannot be read the way goes on at the next place that the index names:
            // one that a start had to make anew may name none.
            let header = pos..pos + HEADER_BYTES;
            if bytes[header.clone()] != seen[header] {
                self.push(id, rest, false);
            }
        }
    }

    fn push(&mut self, partition: PartitionId, range: Range<Offset>, is_lasting: bool) {
        if range.start < range.end {
            let Range { start: first, end } = range;
            self.unreadable.push(Unreadable { partition, first, end, is_lasting });
        }
    }

    fn on_sidecar(&mut self, disk: &Disk, id: PartitionId, base: Offset) {
        let Some((spot, _)) = sidecar(disk, id, base) else { return };
        if let Some((seen, _)) = Self::seen(disk, spot.ino) {
            self.is_damaged = true;
            self.is_noticeable &= Sidecar::decode(&seen).is_err();
        }
    }

    fn has_damaged_batches(&mut self, disk: &Disk, path: &str) -> bool {
        let Some((ino, bytes)) = disk.find(path) else { return false };
        let Some((seen, _)) = Self::seen(disk, ino) else { return false };
        let mut is_damaged = false;
        for (pos, batch) in batch::walk_headers(&bytes) {
            let range = pos..pos + batch.len_bytes();
            if bytes[range.clone()] != seen[range] {
                is_damaged = true;
                let base = Offset::checked(batch.base_offset()).unwrap_or(Offset::ZERO);
                self.is_noticeable &= is_noticeable(&seen[pos..], base);
            }
        }
        self.is_damaged |= is_damaged;
        is_damaged
    }

    fn on_stored(&mut self, disk: &Disk, stored: &Stored) {
        for shard in &stored.shards {
            if Self::seen(disk, shard.checkpoint_spot.ino).is_some() {
                self.is_damaged = true;
                self.refused_for.push(shard.checkpoint.clone());
            }
            for (file, frame) in stored.needed(shard) {
                let seen = file.replayed(disk);
                let at = usize_of(frame.spot.from)..usize_of(frame.spot.end);
                if seen[at.clone()] == file.bytes[at.clone()] {
                    continue;
                }
                let is_whole = Frame::parse(&seen[at.start..], stored.generation)
                    .is_ok_and(|it| it.sequence() == frame.sequence);
                if !is_whole {
                    self.is_damaged = true;
                    self.refused_for.push(file.path.clone());
                }
            }
        }
    }

    /// What the device gives for a file, and whether for good. `None`: what was written.
    fn seen(disk: &Disk, ino: Ino) -> Option<(Vec<u8>, bool)> {
        let mut lies = disk.lies(ino).peekable();
        lies.peek()?;
        let is_lasting = lies.all(|(_, tells)| tells == Tells::Always);
        Some((disk.seen(ino), is_lasting))
    }
}

/// Whether no sound batch of that offset begins there.
fn is_noticeable(seen: &[u8], base: Offset) -> bool {
    Batch::parse(seen).and_then(|batch| batch.check_stored(base)).is_err()
}

const SECTOR: u64 = 512;
const _: () = assert!(SECTOR_BYTES == 512, "a sector is counted in both widths");

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits in 64 bits")
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).expect("the file fits in memory")
}
