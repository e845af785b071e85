//! Start-up: what the last run left on disk becomes logs again, whole, and independent of the number
//! of cores.
//!
//! Everything that only the journal has is carried to the segments first, so a new generation begins
//! with an empty journal. Repeating an interrupted recovery is harmless: until the superblock names the
//! new generation, nothing of the old one is overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use engine::batch;
use engine::checkpoint::Checkpoint;
use engine::id::{Offset, PartitionId, PartitionIndex, Timestamp, TopicId};
use engine::journal::replay::{Replay, Verdict};
use engine::journal::{Entry, Frame, Generation};
use engine::log::Log;
use engine::manifest::Manifest;
use engine::records::Records;
use engine::recovery::{Cut, Recovery, Write};
use engine::superblock::{SLOT_BYTES, Shutdown, Superblock};
use replication::cluster::Cluster;
use replication::config::node::NodeConfig;
use replication::event::{Event, METADATA_TOPIC_ID};

use crate::buffer::Block;
use crate::checkpoint::checkpoint_path;
use crate::commit::journal_dir;
use crate::files::{partition_dir, segment_path, topic_dir};
use crate::io::{Io, Open, Sync};
use crate::limits::{BLOCK_BYTES, DECOMPRESSED_BYTES_MAX, READ_BYTES_MAX};
use crate::parallel;
use crate::partition::LEADER_EPOCH;
use crate::removal;

const SUPERBLOCK: &str = "superblock";
/// Partitions that are recovered at a time.
const PARTITIONS_AT_ONCE: usize = 32;

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
    pub partitions_scanned: u64,
    pub carried_bytes: u64,
}

/// Reads everything. `shards` is the number of cores from now on.
pub async fn recover<I: Io>(
    io: &I,
    config: &NodeConfig,
    shards: usize,
) -> Result<Recovered, StartError> {
    for dir in ["journal", "checkpoint", "topics"] {
        io.make_dir(dir).await.map_err(|error| failed(dir, &error))?;
    }
    for shard in 0..shards {
        let dir = journal_dir(shard);
        io.make_dir(&dir).await.map_err(|error| failed(&dir, &error))?;
    }
    for dir in ["journal", "."] {
        io.sync_dir(dir).await.map_err(|error| failed(dir, &error))?;
    }
    let cluster = Cluster::new(config.node, Arc::clone(&config.file));
    let Some(last) = read_superblock(io).await? else {
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
    let stored = Stored::read(io, &last).await?;
    let mut recovered =
        Recovered { superblock, cluster, logs: Vec::new(), report: Report::default() };
    stored.recover(io, &mut recovered).await?;
    Ok(recovered)
}

fn failed(path: &str, error: &io::Error) -> StartError {
    StartError(format!("{path} in the data directory: {error}"))
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

async fn read_superblock<I: Io>(io: &I) -> Result<Option<Superblock>, StartError> {
    let Some(bytes) = read_whole(io, SUPERBLOCK).await.map_err(|it| failed(SUPERBLOCK, &it))?
    else {
        // A first start that was interrupted leaves checkpoints, but no record was stored before
        // there was a superblock.
        if !io.list("topics").map_err(|it| failed("topics", &it))?.is_empty() {
            return Err(StartError(
                "the data directory has topics but no superblock: restore the file `superblock`, \
                 or choose an empty directory"
                    .to_owned(),
            ));
        }
        return Ok(None);
    };
    match Superblock::choose(&bytes) {
        Ok(superblock) => Ok(Some(superblock)),
        Err(engine::superblock::SuperblockError::Blank) => Ok(None),
        Err(error) => Err(StartError(format!("the superblock cannot be read: {error:?}"))),
    }
}

/// Puts the superblock on disk, in the slot that does not hold the one before it.
pub async fn write_superblock<I: Io>(io: &I, superblock: &Superblock) -> io::Result<()> {
    let file = io.open(SUPERBLOCK, Open::CreateDirect).await?;
    let mut slot = [0; SLOT_BYTES];
    superblock.encode(&mut slot);
    let mut block = need(io, SLOT_BYTES)?;
    block.append(&slot);
    io.write(&file, superblock.slot_pos(), vec![block.disk(0..SLOT_BYTES)], Sync::Durable).await?;
    io.sync_dir(".").await
}

/// Everything that tells of the last generation, in memory.
struct Stored {
    manifests: BTreeMap<PartitionId, Manifest>,
    journals: Vec<Journal>,
}

/// The journal of one shard.
struct Journal {
    generation: Generation,
    first_sequence: u64,
    files: Vec<Vec<u8>>,
    dir: String,
}

impl Stored {
    async fn read<I: Io>(io: &I, last: &Superblock) -> Result<Self, StartError> {
        let mut stored = Self { manifests: BTreeMap::new(), journals: Vec::new() };
        for shard in 0..last.shard_count {
            let shard = usize::try_from(shard).expect("cores are few");
            let path = checkpoint_path(shard, last.generation.number());
            let bytes = read_whole(io, &path).await.map_err(|error| failed(&path, &error))?;
            let damaged = |what: String| StartError(format!("{path}: {what}"));
            let bytes = bytes.ok_or_else(|| damaged("the checkpoint is missing".to_owned()))?;
            let checkpoint = Checkpoint::parse(&bytes).map_err(|it| damaged(format!("{it:?}")))?;
            for manifest in checkpoint.manifests() {
                let manifest = manifest.map_err(|it| damaged(format!("{it:?}")))?;
                stored.manifests.insert(manifest.id(), manifest);
            }
            if last.shutdown != Shutdown::Clean {
                let first_sequence = checkpoint.header().sequence;
                let journal = Journal::read(io, shard, last.generation, first_sequence).await?;
                stored.journals.push(journal);
            }
        }
        Ok(stored)
    }

    async fn recover<I: Io>(mut self, io: &I, recovered: &mut Recovered) -> Result<(), StartError> {
        let now = io.wall();
        let journals = std::mem::take(&mut self.journals);
        let mut entries: BTreeMap<PartitionId, Vec<Entry<'_>>> = BTreeMap::new();
        for journal in &journals {
            for frame in journal.frames()? {
                recovered.report.journal_frames += 1;
                for entry in frame.entries() {
                    let entry =
                        entry.map_err(|it| StartError(format!("{}: {it:?}", journal.dir)))?;
                    entries.entry(entry.partition()).or_default().push(entry);
                }
            }
        }
        settle_dirs(io, entries.keys()).await?;
        let metadata = entries.remove(&METADATA).unwrap_or_default();
        let manifest = self.manifests.remove(&METADATA);
        let (log, _) = recover_partition(io, METADATA, manifest, metadata, now).await?;
        replay_metadata(io, &log, &mut recovered.cluster).await?;
        recovered.logs.push(log);

        let image = Arc::clone(recovered.cluster.image());
        let known: BTreeSet<PartitionId> =
            image.topics().flat_map(|topic| removal::partition_ids(topic)).collect();
        remove_strangers(io, &known).await?;
        let mut jobs = Vec::new();
        for id in known {
            match (entries.remove(&id), self.manifests.remove(&id)) {
                (None, Some(manifest)) => recovered.logs.push(Log::restore(manifest)),
                (None, None) => recovered.logs.push(Log::new(id, now, LEADER_EPOCH)),
                (Some(entries), manifest) => jobs.push((id, manifest, entries)),
            }
        }
        recovered.report.partitions_scanned = u64::try_from(jobs.len()).expect("usize fits");
        let jobs = jobs
            .into_iter()
            .map(|(id, manifest, entries)| recover_partition(io, id, manifest, entries, now));
        for (log, carried_bytes) in parallel::try_all(jobs, PARTITIONS_AT_ONCE).await? {
            recovered.logs.push(log);
            recovered.report.carried_bytes += carried_bytes;
        }
        Ok(())
    }
}

/// Makes the names of these partitions' directories durable: a run that was killed may have made them,
/// and not durably.
async fn settle_dirs<I: Io>(
    io: &I,
    partitions: impl Iterator<Item = &PartitionId>,
) -> Result<(), StartError> {
    let topics: BTreeSet<TopicId> = partitions.map(|id| id.topic).collect();
    let dirs = topics.into_iter().map(topic_dir);
    for dir in std::iter::once("topics".to_owned()).chain(dirs) {
        match io.sync_dir(&dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|error| failed(&dir, &error))?,
        }
    }
    Ok(())
}

impl Journal {
    async fn read<I: Io>(
        io: &I,
        shard: usize,
        generation: Generation,
        first_sequence: u64,
    ) -> Result<Self, StartError> {
        let dir = journal_dir(shard);
        let mut files = Vec::new();
        for name in io.list(&dir).map_err(|error| failed(&dir, &error))? {
            let path = format!("{dir}/{name}");
            let bytes = read_whole(io, &path).await.map_err(|error| failed(&path, &error))?;
            files.push(bytes.unwrap_or_default());
        }
        Ok(Self { generation, first_sequence, files, dir })
    }

    fn frames(&self) -> Result<Vec<Frame<'_>>, StartError> {
        let mut replay = Replay::new(self.generation, self.first_sequence);
        for (index, bytes) in self.files.iter().enumerate() {
            replay.on_file(index, bytes);
        }
        let replayed = replay.finish().map_err(|damaged| {
            StartError(format!(
                "the journal in {} is damaged: frame {} is missing or doubled, file {} at {}; \
                 acknowledged records may be lost, so the broker does not start",
                self.dir,
                damaged.sequence,
                damaged.at.file,
                damaged.at.pos.get()
            ))
        })?;
        if let Verdict::Torn(at) = replayed.verdict {
            tracing::info!(dir = %self.dir, file = at.file, pos = at.pos.get(),
                "the last journal frame was cut short: nobody was told that it is stored");
        }
        Ok(replayed.frames)
    }
}

/// One partition, its files mended. Also the bytes that only the journal had.
async fn recover_partition<I: Io>(
    io: &I,
    id: PartitionId,
    manifest: Option<Manifest>,
    mut entries: Vec<Entry<'_>>,
    now: Timestamp,
) -> Result<(Log, u64), StartError> {
    if manifest.is_none() {
        // The cluster's metadata says that it exists; it is younger than the checkpoint.
        entries.insert(0, Entry::Created { partition: id, created_at: now, epoch: LEADER_EPOCH });
    }
    let damaged = |what: String| {
        StartError(format!("partition {} of topic {}: {what}", id.index.get(), id.topic))
    };
    let recovery = Recovery::new(id, manifest, &entries, now);
    let recovery = recovery.map_err(|error| damaged(format!("{error:?}")))?;
    let Some(mut recovery) = recovery else {
        return Ok((Log::new(id, now, LEADER_EPOCH), 0));
    };
    while let Some(scan) = recovery.next_scan() {
        let path = segment_path(id, scan.segment);
        let read = read_range(io, &path, scan.from.get(), scan.bytes).await;
        let (bytes, file_bytes) = read.map_err(|error| failed(&path, &error))?;
        let scanned = recovery.on_scanned(&bytes, file_bytes);
        scanned.map_err(|error| damaged(format!("{error:?}")))?;
    }
    let recovered = recovery.finish().map_err(|error| damaged(format!("{error:?}")))?;
    let carried = recovered.writes.iter().map(|it| bytes_u64(it.bytes.len())).sum();
    let mended = mend(io, id, &recovered.writes, &recovered.cuts, &recovered.unlinks).await;
    mended.map_err(|error| failed(&partition_dir(id), &error))?;
    Ok((recovered.log, carried))
}

/// Makes the files what the recovered log says.
async fn mend<I: Io>(
    io: &I,
    id: PartitionId,
    writes: &[Write<'_>],
    cuts: &[Cut],
    unlinks: &[Offset],
) -> io::Result<()> {
    let mut touched: BTreeSet<Offset> = writes.iter().map(|it| it.segment).collect();
    touched.extend(cuts.iter().map(|it| it.segment));
    for segment in touched {
        let file = create(io, id, segment).await?;
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for write in writes.iter().filter(|it| it.segment == segment) {
            match runs.last_mut() {
                Some((pos, run)) if *pos + bytes_u64(run.len()) == write.pos.get() => {
                    run.extend_from_slice(write.bytes);
                }
                Some(_) | None => runs.push((write.pos.get(), write.bytes.to_vec())),
            }
        }
        for (pos, run) in runs {
            overwrite(io, &file, pos, &run).await?;
        }
        for cut in cuts.iter().filter(|it| it.segment == segment) {
            if io.file_bytes(&file).await? != cut.bytes.get() {
                io.truncate(&file, cut.bytes.get()).await?;
            }
        }
        io.sync(&file).await?;
    }
    for segment in unlinks {
        match io.unlink(&segment_path(id, *segment)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    match io.sync_dir(&partition_dir(id)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

async fn create<I: Io>(io: &I, id: PartitionId, segment: Offset) -> io::Result<I::File> {
    let path = segment_path(id, segment);
    match io.open(&path, Open::CreateDirect).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    io.make_dir(&topic_dir(id.topic)).await?;
    io.make_dir(&partition_dir(id)).await?;
    io.sync_dir("topics").await?;
    io.sync_dir(&topic_dir(id.topic)).await?;
    io.open(&path, Open::CreateDirect).await
}

/// Writes `bytes` at `pos`, whatever its alignment, keeping what else is in its first and last block:
/// a batch that only the file has may stand right behind one that only the journal had.
async fn overwrite<I: Io>(io: &I, file: &I::File, pos: u64, bytes: &[u8]) -> io::Result<()> {
    let skip = usize_of(pos % bytes_u64(BLOCK_BYTES));
    let end = pos + bytes_u64(bytes.len());
    let used = usize_of(end % bytes_u64(BLOCK_BYTES));
    let mut whole = vec![0; skip];
    if skip > 0 {
        let before = read_block(io, file, pos - bytes_u64(skip)).await?;
        let kept = before.len().min(skip);
        whole[..kept].copy_from_slice(&before[..kept]);
    }
    whole.extend_from_slice(bytes);
    if used > 0 {
        let after = read_block(io, file, end - bytes_u64(used)).await?;
        whole.extend_from_slice(after.get(used..).unwrap_or_default());
    }
    let mut start = pos - bytes_u64(skip);
    for part in whole.chunks(READ_BYTES_MAX) {
        let mut block = need(io, READ_BYTES_MAX)?;
        block.append(part);
        let end = part.len().next_multiple_of(BLOCK_BYTES);
        io.write(file, start, vec![block.disk(0..end)], Sync::Lazy).await?;
        start += bytes_u64(end);
    }
    Ok(())
}

/// One block of a file, or what it has of it.
async fn read_block<I: Io>(io: &I, file: &I::File, pos: u64) -> io::Result<Vec<u8>> {
    let (read, block) = io.read(file, pos, need(io, BLOCK_BYTES)?).await;
    let read = read?;
    Ok(block.as_slice()[..read].to_vec())
}

/// Applies every event of the metadata's log.
async fn replay_metadata<I: Io>(
    io: &I,
    log: &Log,
    cluster: &mut Cluster,
) -> Result<(), StartError> {
    let damaged = |what: &str| StartError(format!("the cluster's metadata is damaged: {what}"));
    for segment in log.segments() {
        let bytes = usize_of(segment.end_pos().get());
        let path = segment_path(METADATA, segment.base());
        let read = read_range(io, &path, 0, bytes).await;
        let (bytes, _) = read.map_err(|error| failed(&path, &error))?;
        let bytes = bytes::Bytes::from(bytes);
        let mut walk = batch::walk(&bytes, Some(segment.base()));
        for (pos, batch) in walk.by_ref() {
            let batch = bytes.slice(pos..pos + batch.len_bytes());
            let records = Records::new(&batch, DECOMPRESSED_BYTES_MAX);
            for record in records.map_err(|_malformed| damaged("a batch cannot be read"))? {
                let record = record.map_err(|_malformed| damaged("a record cannot be read"))?;
                let value = record.value.ok_or_else(|| damaged("a record is empty"))?;
                let event = Event::decode(&value).map_err(|it| damaged(&format!("{it:?}")))?;
                cluster.apply(&event).map_err(|it| damaged(&format!("{it:?}")))?;
            }
        }
        if walk.expected() != Some(segment.end()) && segment.end_pos().get() > 0 {
            return Err(damaged("a batch fails its checksum"));
        }
    }
    Ok(())
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

/// `None` if there is no such file.
pub async fn read_whole<I: Io>(io: &I, path: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match io.open(path, Open::Read).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let bytes = usize_of(io.file_bytes(&file).await?);
    read_at(io, &file, 0, bytes).await.map(Some)
}

/// Up to `bytes` bytes at `from`, and how many the file has; nothing of a file that is not there.
async fn read_range<I: Io>(
    io: &I,
    path: &str,
    from: u64,
    bytes: usize,
) -> io::Result<(Vec<u8>, u64)> {
    let file = match io.open(path, Open::Direct).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        other => other?,
    };
    let file_bytes = io.file_bytes(&file).await?;
    let there = file_bytes.saturating_sub(from).min(bytes_u64(bytes));
    Ok((read_at(io, &file, from, usize_of(there)).await?, file_bytes))
}

async fn read_at<I: Io>(io: &I, file: &I::File, from: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut skip = usize_of(from % bytes_u64(BLOCK_BYTES));
    let mut pos = from - bytes_u64(skip);
    let mut read = Vec::with_capacity(bytes);
    while read.len() < bytes {
        let wanted = (skip + bytes - read.len()).min(READ_BYTES_MAX);
        let (count, block) = io.read(file, pos, need(io, wanted)?).await;
        if count? <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = block.filled().min(skip + bytes - read.len());
        read.extend_from_slice(&block.as_slice()[skip..end]);
        pos += bytes_u64(block.filled());
        skip = 0;
    }
    Ok(read)
}

fn need<I: Io>(io: &I, bytes: usize) -> io::Result<Block> {
    io.block(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the target has 64 bits")
}
