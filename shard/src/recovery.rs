//! Start-up: what the last run left on disk becomes logs again, whole, and independent of the number
//! of cores.
//!
//! Everything that only the journal has is carried to the segments first, so a new generation begins
//! with an empty journal. Repeating an interrupted recovery is harmless: until the superblock names the
//! new generation, nothing of the old one is overwritten.

mod disk;
mod mend;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::batch;
use engine::checkpoint::{Checkpoint, CheckpointHeader};
use engine::id::{FilePos, Offset, PartitionId, PartitionIndex, TopicId};
use engine::journal::replay::{Part, Replay, Verdict};
use engine::journal::{Entry, Generation, StoredFrame};
use engine::log::Log;
use engine::manifest::Manifest;
use engine::records::Records;
use engine::superblock::{SLOT_BYTES, Shutdown, Superblock, SuperblockError};
use replication::cluster::Cluster;
use replication::config::node::NodeConfig;
use replication::event::{Event, METADATA_TOPIC_ID};

use crate::checkpoint::checkpoint_path;
use crate::commit::{journal_dir, journal_path};
use crate::files::{segment_path, topic_dir};
use crate::io::{Class, Io, Nanos, Open, Sync};
use crate::limits::{BLOCK_BYTES, DECOMPRESSED_BYTES_MAX, JOURNAL_QUIET_BYTES, READ_BYTES_MAX};
use crate::parallel;
use crate::partition::LEADER_EPOCH;
use crate::recovery::disk::{Disk, Opened};
use crate::recovery::mend::Lead;
use crate::removal;
use crate::room::Shortage;

const SUPERBLOCK: &str = "superblock";
/// Partitions that are recovered at a time.
const PARTITIONS_AT_ONCE: usize = 64;
/// Journal files that are read at a time, each with one read under way.
const JOURNAL_FILES_AT_ONCE: usize = 8;

/// The log of the cluster's metadata.
pub const METADATA: PartitionId =
    PartitionId { topic: METADATA_TOPIC_ID, index: PartitionIndex::new(0) };

/// What keeps the broker from starting. The text says what to do.
#[derive(Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The node as it was, ready for a new generation.
pub struct Recovered {
    /// To be written when every shard has its first checkpoint.
    pub superblock: Superblock,
    pub cluster: Cluster,
    pub logs: Vec<Log>,
    pub report: Report,
}

/// What recovery had to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub journal_frames: u64,
    /// In these frames.
    pub journal_bytes: u64,
    /// Of the journal's files, to find them.
    pub journal_read_bytes: u64,
    /// To read the journal, and to find its frames.
    pub journal_time: Duration,
    pub partitions_scanned: u64,
    /// Of their segments, behind what the checkpoint saw.
    pub scanned_bytes: u64,
    /// What only the journal had.
    pub carried_bytes: u64,
    /// All of it.
    pub time: Duration,
}

/// Reads everything. `shards` is the number of cores from now on.
pub async fn recover<I: Io>(
    io: &I,
    config: &NodeConfig,
    shards: usize,
) -> Result<Recovered, StartError> {
    let began = io.now();
    let disk = Disk::new(io);
    let last = read_superblock(&disk).await?;
    make_dirs(io, last.as_ref(), shards).await?;
    let cluster = Cluster::new(config.node, Arc::clone(&config.file));
    let Some(last) = last else {
        let superblock = first_superblock(io, config, shards);
        return Ok(Recovered { superblock, cluster, logs: Vec::new(), report: Report::default() });
    };
    if last.node_id != config.node.get() {
        return Err(StartError(format!(
            "the data directory belongs to node {}, the configuration says node.id={}: \
             correct node.id or log.dirs",
            last.node_id,
            config.node.get()
        )));
    }
    let salt = io.random();
    let superblock = Superblock {
        sequence: last.sequence + 1,
        generation: Generation::new(last.generation.number() + 1, salt),
        shard_count: u32::try_from(shards).expect("cores are few"),
        shutdown: Shutdown::None,
        ..last
    };
    let stored = Stored::read(&disk, &last).await?;
    let mut recovered =
        Recovered { superblock, cluster, logs: Vec::new(), report: Report::default() };
    Box::pin(stored.recover(&disk, &mut recovered, began)).await?;
    recovered.report.time = io.now().since(began);
    Ok(recovered)
}

/// What the operator is told of `path`, which could not be read or written.
pub fn failed(path: &str, error: &io::Error) -> StartError {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return StartError("there is too little memory to start: raise odradek.memory".to_owned());
    }
    let advice = match Shortage::of(error) {
        Some(Shortage::Space) => ": make room on its disk (bytes, inodes, or what a quota allows)",
        Some(Shortage::Descriptors) | None => "",
    };
    StartError(format!("{path} in the data directory: {error}{advice}"))
}

/// Makes the directories that no run before has made: a superblock says that its own are there.
async fn make_dirs<I: Io>(
    io: &I,
    last: Option<&Superblock>,
    shards: usize,
) -> Result<(), StartError> {
    let made = last.map_or(0, |it| usize::try_from(it.shard_count).expect("cores are few"));
    if shards <= made {
        return Ok(());
    }
    let above = ["journal", "checkpoint", "topics"].map(str::to_owned);
    for dir in above.into_iter().chain((made..shards).map(journal_dir)) {
        io.make_dir(&dir).await.map_err(|error| failed(&dir, &error))?;
    }
    for dir in ["journal", "."] {
        io.sync_dir(dir).await.map_err(|error| failed(dir, &error))?;
    }
    Ok(())
}

fn first_superblock<I: Io>(io: &I, config: &NodeConfig, shards: usize) -> Superblock {
    let mut cluster_id = [0; 16];
    cluster_id[..8].copy_from_slice(&io.random().to_be_bytes());
    cluster_id[8..].copy_from_slice(&io.random().to_be_bytes());
    Superblock {
        sequence: 1,
        cluster_id,
        node_id: config.node.get(),
        generation: Generation::new(1, io.random()),
        shard_count: u32::try_from(shards).expect("cores are few"),
        shutdown: Shutdown::None,
    }
}

/// A shard's checkpoint while it serves. `None` if there is none yet.
pub async fn read_checkpoint<I: Io>(io: &I, path: &str) -> io::Result<Option<Vec<u8>>> {
    Disk::new(io).read_small(path).await
}

/// `None`: this is a first start, or follows one that a crash ended before anything was stored.
async fn read_superblock<I: Io>(disk: &Disk<'_, I>) -> Result<Option<Superblock>, StartError> {
    let bytes = disk.read_small(SUPERBLOCK).await.map_err(|it| failed(SUPERBLOCK, &it))?;
    let journaled = first_journaled(disk).await?;
    match Superblock::choose(&bytes.unwrap_or_default()) {
        Ok(superblock) if superblock.is_last(journaled.iter().copied()) => Ok(Some(superblock)),
        Ok(superblock) => Err(StartError(format!(
            "the superblock is damaged: it names generation {}, and the journal has frames of a later \
             one, which may be acknowledged; restore the file `superblock`",
            superblock.generation.number()
        ))),
        // A first start that was interrupted leaves checkpoints, but no record was stored before
        // there was a superblock.
        Err(error @ (SuperblockError::Blank | SuperblockError::FirstUnfinished)) => {
            if journaled.is_empty() && !has_topics(disk.io())? {
                return Ok(None);
            }
            let what = if error == SuperblockError::Blank {
                "the data directory has topics or a journal but no superblock"
            } else {
                "the superblock is damaged, and the data directory has topics or a journal"
            };
            Err(StartError(format!(
                "{what}: restore the file `superblock`, or choose an empty directory"
            )))
        }
        Err(error) => Err(StartError(format!("the superblock cannot be read: {error:?}"))),
    }
}

/// The generations of the frames that the shards' journals begin with. Every generation begins at the
/// first byte of the first file, so there are none of later ones.
async fn first_journaled<I: Io>(disk: &Disk<'_, I>) -> Result<Vec<Generation>, StartError> {
    let mut generations = Vec::new();
    for name in names_in(disk.io(), "journal")? {
        let Some(shard) = number(&name).and_then(|it| usize::try_from(it).ok()) else { continue };
        let path = journal_path(shard, 0);
        let read = async {
            let Some(opened) = disk.open(&path, Open::Direct).await? else { return Ok(Vec::new()) };
            let bytes = usize::try_from(opened.bytes).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            disk.read(&opened, 0, bytes).await
        };
        let block = read.await.map_err(|error| failed(&path, &error))?;
        generations.extend(Generation::of_frame(&block));
    }
    Ok(generations)
}

fn has_topics<I: Io>(io: &I) -> Result<bool, StartError> {
    names_in(io, "topics").map(|names| !names.is_empty())
}

/// None if there is no such directory.
fn names_in<I: Io>(io: &I, dir: &str) -> Result<Vec<String>, StartError> {
    match io.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| failed(dir, &error)),
    }
}

/// Puts the superblock on disk, in the slot that does not hold the one before it.
pub async fn write_superblock<I: Io>(io: &I, superblock: &Superblock) -> io::Result<()> {
    let file = io.open(SUPERBLOCK, Open::CreateDirect).await?;
    let mut slot = [0; SLOT_BYTES];
    superblock.encode(&mut slot);
    let mut block = io.block(SLOT_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
    block.append(&slot);
    let slot = vec![block.disk(0..SLOT_BYTES)];
    let written = io.write(&file, superblock.slot_pos(), slot, Sync::Durable);
    let (written, named) = parallel::both(written, io.sync_dir(".")).await;
    written.and(named)
}

/// Removes, beside service, what only older generations needed. `superblock` is durable: nothing can
/// ask for it again.
pub fn remove_leftovers<I: Io>(io: &I, superblock: &Superblock) {
    let (io, superblock) = (io.clone(), *superblock);
    io.clone().spawn(Class::Background, async move {
        if let Err(error) = try_remove_leftovers(&io, &superblock).await {
            tracing::warn!(%error, "files of older generations stay until the next start");
        }
    });
}

async fn try_remove_leftovers<I: Io>(io: &I, superblock: &Superblock) -> io::Result<()> {
    for name in io.list("checkpoint")? {
        if generation_of(&name).is_some_and(|it| it < superblock.generation.number()) {
            io.unlink(&format!("checkpoint/{name}")).await?;
        }
    }
    // Their journals were carried to the segments, and the superblock counts those shards no more.
    for name in io.list("journal")? {
        if number(&name).is_none_or(|it| it < u64::from(superblock.shard_count)) {
            continue;
        }
        let dir = format!("journal/{name}");
        for file in io.list(&dir)? {
            let number = file.strip_suffix(".journal").unwrap_or_default();
            if !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()) {
                io.unlink(&format!("{dir}/{file}")).await?;
            }
        }
        io.remove_dir(&dir).await?;
    }
    Ok(())
}

/// Whose checkpoint a file with this name is, whole or not.
fn generation_of(name: &str) -> Option<u64> {
    let (shard, generation) = name.strip_suffix(".part").unwrap_or(name).split_once('.')?;
    number(shard)?;
    number(generation)
}

/// A number in the one way in which we write it.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|it: &u64| it.to_string() == text)
}

/// Everything that tells of the last generation, in memory.
struct Stored {
    manifests: BTreeMap<PartitionId, Manifest>,
    journals: Vec<Journal>,
}

/// The journal of one shard.
struct Journal {
    dir: String,
    names: Vec<String>,
    replay: RefCell<Replay>,
    read_bytes: Cell<u64>,
}

/// A file of a journal that is being read.
struct JournalFile<'a, F> {
    journal: &'a Journal,
    index: usize,
    opened: Opened<F>,
    /// So much of it was looked at.
    pos: u64,
}

impl<F: Clone> JournalFile<'_, F> {
    async fn read_part<I: Io<File = F>>(&mut self, disk: &Disk<'_, I>) -> io::Result<()> {
        let left = usize::try_from(self.opened.bytes - self.pos).expect("the target has 64 bits");
        let part = if left <= READ_BYTES_MAX { Part::Last } else { Part::More };
        let bytes = left.min(READ_BYTES_MAX);
        let window = disk.window(&self.opened, self.pos, bytes).await?;
        let mut replay = self.journal.replay.borrow_mut();
        let done = replay.on_part(self.index, FilePos::new(self.pos), window.bytes(), part);
        self.pos += u64::try_from(done).expect("usize is at most 64 bits here");
        let bytes = u64::try_from(bytes).expect("usize is at most 64 bits here");
        self.journal.read_bytes.set(self.journal.read_bytes.get() + bytes);
        Ok(())
    }
}

impl Stored {
    async fn read<I: Io>(disk: &Disk<'_, I>, last: &Superblock) -> Result<Self, StartError> {
        let mut stored = Self { manifests: BTreeMap::new(), journals: Vec::new() };
        for index in 0..last.shard_count {
            let shard = usize::try_from(index).expect("cores are few");
            let path = checkpoint_path(shard, last.generation.number());
            let bytes = disk.read_small(&path).await.map_err(|error| failed(&path, &error))?;
            let damaged = |what: String| StartError(format!("{path}: {what}"));
            let bytes = bytes.ok_or_else(|| damaged("the checkpoint is missing".to_owned()))?;
            let checkpoint = Checkpoint::parse(&bytes).map_err(|it| damaged(format!("{it:?}")))?;
            // One that was written to the wrong place is sound in itself.
            let CheckpointHeader { shard: whose, generation, sequence } = checkpoint.header();
            if (whose, generation) != (index, last.generation.number()) {
                return Err(damaged(format!("the checkpoint {whose}.{generation} stands there")));
            }
            for manifest in checkpoint.manifests() {
                let manifest = manifest.map_err(|it| damaged(format!("{it:?}")))?;
                stored.manifests.insert(manifest.id(), manifest);
            }
            if last.shutdown != Shutdown::Clean {
                let dir = journal_dir(shard);
                let names = disk.io().list(&dir).map_err(|error| failed(&dir, &error))?;
                let replay = Replay::new(last.generation, sequence);
                let (replay, read_bytes) = (RefCell::new(replay), Cell::new(0));
                stored.journals.push(Journal { dir, names, replay, read_bytes });
            }
        }
        let all = |it| std::iter::repeat(it).zip(0..Journal::names(it).len());
        let files = stored.journals.iter().flat_map(all);
        let jobs = files.map(|(journal, file)| journal.begin(disk, file));
        let begun = parallel::try_all(jobs, JOURNAL_FILES_AT_ONCE).await?;
        // Which of them are read on is known when the beginnings of all are.
        let jobs = begun.into_iter().map(|file| file.journal.read_on(disk, file));
        parallel::try_all(jobs, JOURNAL_FILES_AT_ONCE).await?;
        Ok(stored)
    }

    async fn recover<I: Io>(
        self,
        disk: &Disk<'_, I>,
        recovered: &mut Recovered,
        began: Nanos,
    ) -> Result<(), StartError> {
        let (io, now) = (disk.io(), disk.io().wall());
        let report = &mut recovered.report;
        let mut frames = Vec::new();
        for journal in self.journals {
            report.journal_read_bytes += journal.read_bytes.get();
            frames.extend(journal.frames()?);
        }
        let mut leads = Leads { manifests: self.manifests, entries: BTreeMap::new() };
        for frame in frames.iter().map(StoredFrame::frame) {
            report.journal_frames += 1;
            report.journal_bytes += u64::try_from(frame.frame_bytes()).expect("64 bits");
            for entry in frame.entries() {
                let entry = entry.map_err(|it| StartError(format!("the journal: {it:?}")))?;
                leads.entries.entry(entry.partition()).or_default().push(entry);
            }
        }
        report.journal_time = io.now().since(began);
        settle_dirs(io, &leads).await?;
        let metadata = mend::recover(disk, leads.take(METADATA), now).await?;
        replay_metadata(disk, &metadata.log, &mut recovered.cluster).await?;
        let mut mended = vec![metadata];

        let image = Arc::clone(recovered.cluster.image());
        let known: BTreeSet<PartitionId> =
            image.topics().flat_map(|topic| removal::partition_ids(topic)).collect();
        remove_strangers(io, &known).await?;
        let mut jobs = Vec::new();
        for id in known {
            match leads.take(id) {
                Lead { manifest: Some(manifest), entries, .. } if entries.is_empty() => {
                    recovered.logs.push(Log::restore(manifest));
                }
                Lead { manifest: None, entries, .. } if entries.is_empty() => {
                    recovered.logs.push(Log::new(id, now, LEADER_EPOCH));
                }
                lead => jobs.push(lead),
            }
        }
        report.partitions_scanned = u64::try_from(jobs.len()).expect("usize fits");
        let mut jobs = jobs.into_iter().map(|lead| mend::recover(disk, lead, now));
        loop {
            let some =
                parallel::try_all(jobs.by_ref().take(PARTITIONS_AT_ONCE), PARTITIONS_AT_ONCE);
            // The device flushes what some left while others are read and written.
            let (settled, some) = parallel::both(mend::settle(io, &mended), some).await;
            settled.map_err(|error| failed("topics", &error))?;
            let settled = std::mem::replace(&mut mended, some?);
            for it in settled {
                recovered.logs.push(it.log);
                report.scanned_bytes += it.scanned_bytes;
                report.carried_bytes += it.carried_bytes;
            }
            if mended.is_empty() {
                return Ok(());
            }
        }
    }
}

/// What is known of every partition besides its files.
struct Leads<'a> {
    manifests: BTreeMap<PartitionId, Manifest>,
    entries: BTreeMap<PartitionId, Vec<Entry<'a>>>,
}

impl<'a> Leads<'a> {
    fn take(&mut self, id: PartitionId) -> Lead<'a> {
        let entries = self.entries.remove(&id).unwrap_or_default();
        Lead { id, manifest: self.manifests.remove(&id), entries }
    }
}

/// Makes the names of the directories of partitions that the journal tells of durable: a run that was
/// killed may have made them, and not durably. Those of a partition whose bytes the checkpoint knows
/// are: no byte is written to a segment before.
async fn settle_dirs<I: Io>(io: &I, leads: &Leads<'_>) -> Result<(), StartError> {
    let is_known = |id: &PartitionId| leads.manifests.get(id).is_some_and(Manifest::has_bytes);
    let unknown = leads.entries.keys().filter(|id| !is_known(id));
    let topics: BTreeSet<TopicId> = unknown.map(|id| id.topic).collect();
    let above = (!topics.is_empty()).then(|| "topics".to_owned());
    let dirs = above.into_iter().chain(topics.into_iter().map(topic_dir));
    let jobs = dirs.map(|dir| async move {
        match io.sync_dir(&dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| failed(&dir, &error)),
        }
    });
    parallel::try_all(jobs, PARTITIONS_AT_ONCE).await?;
    Ok(())
}

impl Journal {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn path(&self, file: usize) -> String {
        format!("{}/{}", self.dir, self.names[file])
    }

    /// Reads the beginning of a file.
    async fn begin<I: Io>(
        &self,
        disk: &Disk<'_, I>,
        index: usize,
    ) -> Result<JournalFile<'_, I::File>, StartError> {
        let path = self.path(index);
        let begin = async {
            let opened = disk.open(&path, Open::Direct).await?.ok_or(io::ErrorKind::NotFound)?;
            let mut file = JournalFile { journal: self, index, opened, pos: 0 };
            if file.pos < file.opened.bytes {
                file.read_part(disk).await?;
            }
            Ok(file)
        };
        begin.await.map_err(|error| failed(&path, &error))
    }

    /// Reads the rest of a file, as far as frames that are needed may lie there.
    async fn read_on<I: Io>(
        &self,
        disk: &Disk<'_, I>,
        mut file: JournalFile<'_, I::File>,
    ) -> Result<(), StartError> {
        let reads_on = |index| self.replay.borrow().reads_on(index, JOURNAL_QUIET_BYTES);
        while reads_on(file.index) && file.pos < file.opened.bytes {
            let read = file.read_part(disk).await;
            read.map_err(|error| failed(&self.path(file.index), &error))?;
        }
        Ok(())
    }

    /// What recovery needs of what was read.
    fn frames(self) -> Result<Vec<StoredFrame>, StartError> {
        let replay = self.replay.into_inner();
        let replayed = replay.finish().map_err(|damaged| {
            StartError(format!(
                "the journal is damaged: frame {} is missing or doubled, {}/{} at {}; \
                 acknowledged records may be lost, so the broker does not start",
                damaged.sequence,
                self.dir,
                self.names[damaged.at.file],
                damaged.at.pos.get()
            ))
        })?;
        if let Verdict::Torn(at) = replayed.verdict {
            tracing::info!(dir = %self.dir, file = %self.names[at.file], pos = at.pos.get(),
                "the last journal frame was cut short: nobody was told that it is stored");
        }
        Ok(replayed.frames)
    }
}

/// Applies every event of the metadata's log.
async fn replay_metadata<I: Io>(
    disk: &Disk<'_, I>,
    log: &Log,
    cluster: &mut Cluster,
) -> Result<(), StartError> {
    let damaged = |what: &str| StartError(format!("the cluster's metadata is damaged: {what}"));
    for segment in log.segments() {
        if segment.end_pos() == FilePos::ZERO {
            continue;
        }
        let bytes = usize::try_from(segment.end_pos().get()).expect("the target has 64 bits");
        let path = segment_path(METADATA, segment.base());
        let opened = disk.open(&path, Open::Direct).await.map_err(|error| failed(&path, &error))?;
        let opened = opened.ok_or_else(|| damaged("a segment is missing"))?;
        let read = disk.read(&opened, 0, bytes).await;
        let bytes = Bytes::from(read.map_err(|error| failed(&path, &error))?);
        let replayed = replay_segment(&bytes, segment.base(), segment.end(), cluster);
        replayed.map_err(|what| damaged(&format!("{path}: {what}")))?;
    }
    Ok(())
}

/// Applies every event of a segment of the metadata's log. The error says what is wrong with it.
pub fn replay_segment(
    bytes: &Bytes,
    base: Offset,
    end: Offset,
    cluster: &mut Cluster,
) -> Result<(), String> {
    let mut walk = batch::walk(bytes, Some(base));
    for (pos, batch) in walk.by_ref() {
        let batch = bytes.slice(pos..pos + batch.len_bytes());
        let records = Records::new(&batch, DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(|_malformed| "a batch cannot be read")? {
            let record = record.map_err(|_malformed| "a record cannot be read")?;
            let value = record.value.ok_or("a record is empty")?;
            let event = Event::decode(&value).map_err(|it| format!("{it:?}"))?;
            cluster.apply(&event).map_err(|it| format!("{it:?}"))?;
        }
    }
    if walk.expected() == Some(end) { Ok(()) } else { Err("a batch fails its checksum".to_owned()) }
}

/// Removes directories of topics that were deleted, as far as a crash left them.
async fn remove_strangers<I: Io>(io: &I, known: &BTreeSet<PartitionId>) -> Result<(), StartError> {
    let topics: BTreeSet<String> = known.iter().map(|id| id.topic.to_string()).collect();
    for name in io.list("topics").map_err(|error| failed("topics", &error))? {
        if topics.contains(&name) || name == METADATA_TOPIC_ID.to_string() {
            continue;
        }
        let Some(topic) = topic_of(&name) else { continue };
        let dir = topic_dir(topic);
        for partition in io.list(&dir).map_err(|error| failed(&dir, &error))? {
            if let Ok(index) = partition.parse() {
                let id = PartitionId { topic, index: PartitionIndex::new(index) };
                removal::remove(io, id).await.map_err(|error| failed(&dir, &error))?;
            }
        }
        match io.remove_dir(&dir).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&dir, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The id whose directory has this name.
fn topic_of(name: &str) -> Option<TopicId> {
    let mut id = [0; 16];
    if name.len() != 32 || !name.is_ascii() {
        return None;
    }
    for (index, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(name.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(TopicId::new(id))
}

#[cfg(test)]
mod tests {
    use super::generation_of;

    #[test]
    fn only_names_of_checkpoints_are_removed() {
        assert_eq!(generation_of("0.17"), Some(17));
        assert_eq!(generation_of("12.3.part"), Some(3));
        for name in ["0", "0.", ".3", "0.+3", "0.03", "0.3.bak", "a.3", "0.3.part.part", "-1.3"] {
            assert_eq!(generation_of(name), None, "{name}");
        }
    }
}
