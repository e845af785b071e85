//! An audit: every byte of a data directory that a start or a reader would use is looked at.
//!
//! It does what a start does, but writes nothing: superblock, checkpoints, journal, and for each
//! partition the recovery that says what its log is. Then every segment of that log is scrubbed.
//! What a start does not use is free: journal frames before the checkpoint, and bytes behind the end of
//! a segment that still grows.

mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use engine::checkpoint::{Checkpoint, CheckpointHeader};
use engine::id::{FilePos, Offset, PartitionId};
use engine::journal::replay::{Part, Replay, Verdict};
use engine::journal::{Entry, Generation, StoredFrame};
use engine::log::Log;
use engine::manifest::Manifest;
use engine::scrub::Scrub;
use engine::superblock::{SLOT_BYTES, Shutdown, Superblock, SuperblockError};
use replication::cluster::Cluster;
use replication::node::NodeId;
use shard::checkpoint::checkpoint_path;
use shard::commit::{journal_dir, journal_path};
use shard::recovery::METADATA;
use shard::removal;

use crate::log::audit::partition::{Image, Recovered};
use crate::log::directory::Directory;
use crate::log::finding::Finding;

const SUPERBLOCK: &str = "superblock";
/// Files that hold nothing to check.
const BARE_FILES: [&str; 2] = ["lock", "reserve"];
/// A directory of such files.
const SPARES: &str = "reserve.inodes/";

/// What was found, and where.
pub(crate) struct Audited {
    pub(crate) findings: Vec<Finding>,
    pub(crate) partitions: Vec<Summary>,
}

/// One partition's log as a start would have it.
pub(crate) struct Summary {
    pub(crate) id: PartitionId,
    pub(crate) topic: String,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) segment_count: usize,
    pub(crate) batch_count: u64,
    pub(crate) bytes: u64,
    /// Over what its segments hold, in their order: two copies with the same one are the same.
    pub(crate) checksum: u32,
}

/// What the segments of a partition came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    batch_count: u64,
    checksum: u32,
}

impl Tally {
    fn add(&mut self, scrub: &Scrub) {
        self.batch_count += scrub.batch_count();
        let crc = scrub.chain_crc().unwrap_or_default();
        self.checksum = crc32c::crc32c_append(self.checksum, &crc.to_be_bytes());
    }
}

pub(crate) fn audit(directory: &Directory) -> Audited {
    let mut audit = Audit {
        directory,
        findings: Vec::new(),
        partitions: Vec::new(),
        used: BARE_FILES.iter().map(|it| (*it).to_owned()).collect(),
    };
    audit.run();
    Audited { findings: audit.findings, partitions: audit.partitions }
}

struct Audit<'a> {
    directory: &'a Directory,
    findings: Vec<Finding>,
    partitions: Vec<Summary>,
    /// Files that were looked at.
    used: BTreeSet<String>,
}

/// What the checkpoints and journals of all shards tell.
#[derive(Default)]
struct Stored {
    manifests: BTreeMap<PartitionId, Manifest>,
    frames: Vec<StoredFrame>,
    /// Some of it is damaged: what is not told of may be there all the same.
    is_partial: bool,
}

impl Audit<'_> {
    fn run(&mut self) {
        let superblock = self.superblock();
        let mut stored = superblock.map(|it| self.stored(&it)).unwrap_or_default();
        stored.is_partial |= superblock.is_none();
        let frames = std::mem::take(&mut stored.frames);
        let mut entries: BTreeMap<PartitionId, Vec<Entry<'_>>> = BTreeMap::new();
        for entry in frames.iter().flat_map(|it| it.frame().entries()).flatten() {
            entries.entry(entry.partition()).or_default().push(entry);
        }
        let node = superblock.and_then(|it| NodeId::checked(it.node_id));
        let known = self.metadata(node, &mut stored, &mut entries);
        let told = stored.manifests.keys().chain(entries.keys()).copied();
        let mut ids: BTreeMap<PartitionId, String> = told.map(|id| (id, String::new())).collect();
        match known {
            // What was deleted is not read again.
            Some(known) => ids = known,
            None => {
                ids.remove(&METADATA);
            }
        }
        for (id, topic) in ids {
            let manifest = stored.manifests.remove(&id);
            let entries = entries.remove(&id).unwrap_or_default();
            if manifest.is_none() && stored.is_partial {
                self.alone(id, topic);
            } else {
                self.partition(id, topic, manifest, entries);
            }
        }
        self.unused();
    }

    /// The partitions that the cluster's metadata tells of, and the names of their topics. `None`: it
    /// cannot be read.
    fn metadata(
        &mut self,
        node: Option<NodeId>,
        stored: &mut Stored,
        entries: &mut BTreeMap<PartitionId, Vec<Entry<'_>>>,
    ) -> Option<BTreeMap<PartitionId, String>> {
        let manifest = stored.manifests.remove(&METADATA);
        let entries = entries.remove(&METADATA).unwrap_or_default();
        let name = "the cluster's metadata".to_owned();
        if manifest.is_none() && stored.is_partial {
            self.alone(METADATA, name);
            return None;
        }
        let Recovered { log, writes, is_sound } =
            self.partition(METADATA, name, manifest, entries)?;
        if !is_sound {
            return None;
        }
        let mut cluster = Cluster::new(node?, Arc::default());
        for segment in log.segments() {
            let image = Image::of(self.directory, METADATA, segment.base(), &writes);
            let bytes = image.read(FilePos::ZERO, segment.end_pos()).ok()?.into();
            let (base, end) = (segment.base(), segment.end());
            if let Err(what) = shard::recovery::replay_segment(&bytes, base, end, &mut cluster) {
                let bytes = 0..segment.end_pos().get();
                let what = format!("the cluster's metadata contradicts itself: {what}");
                self.findings.push(Finding::damage(image.path(), bytes, what));
                return None;
            }
        }
        let mut known = BTreeMap::new();
        for topic in cluster.image().topics() {
            let ids = removal::partition_ids(topic);
            known.extend(ids.map(|id| (id, topic.name().as_str().to_owned())));
        }
        Some(known)
    }

    fn read(&mut self, path: &str) -> Option<Vec<u8>> {
        self.used.insert(path.to_owned());
        match self.directory.read_whole(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unreadable(path, &error);
                None
            }
        }
    }

    /// None if the directory cannot be read, which is a finding.
    fn names(&mut self, dir: &str) -> Vec<String> {
        self.directory.names(dir).unwrap_or_else(|error| {
            self.unreadable(dir, &error);
            Vec::new()
        })
    }

    fn unreadable(&mut self, path: &str, error: &io::Error) {
        let what = format!("cannot be read: {error}");
        self.findings.push(Finding::damage(path, 0..0, what));
    }

    fn superblock(&mut self) -> Option<Superblock> {
        let file = self.read(SUPERBLOCK).unwrap_or_default();
        let slots = Superblock::slots(&file);
        let last = slots.iter().flatten().map(|it| it.sequence).max();
        for (index, slot) in slots.iter().enumerate() {
            let what = match slot {
                Ok(slot) if slot.slot_pos() != slot_pos(index) => "this slot belongs elsewhere",
                Ok(slot) if last.is_some_and(|last| slot.sequence + 1 < last) => {
                    "this slot is older than the one before the other"
                }
                Err(SuperblockError::Blank) if last.is_none_or(|last| last > 1) => {
                    "this slot was written, and is blank"
                }
                Err(SuperblockError::Damaged | SuperblockError::FirstUnfinished) => {
                    "this slot is damaged, or its write was cut short; a start uses the other one"
                }
                Err(SuperblockError::VersionTooNew { .. }) => {
                    "this slot was written by a later version, which alone can read it"
                }
                Ok(_) | Err(SuperblockError::Blank) => continue,
            };
            let bytes = slot_pos(index)..slot_pos(index + 1);
            self.findings.push(Finding::spare(SUPERBLOCK, bytes, what));
        }
        let chosen = Superblock::choose(&file).ok()?;
        for (path, generation) in self.first_journaled() {
            if !chosen.is_last(std::iter::once(generation)) {
                let what = format!(
                    "{path} begins with a frame of generation {}, and the superblock names {}: no start \
                     is possible",
                    generation.number(),
                    chosen.generation.number()
                );
                self.findings.push(Finding::damage(SUPERBLOCK, 0..slot_pos(2), what));
            }
        }
        Some(chosen)
    }

    /// The generation of the frame that each shard's journal begins with.
    fn first_journaled(&mut self) -> Vec<(String, Generation)> {
        let mut found = Vec::new();
        for name in self.names("journal") {
            let Ok(shard) = name.parse() else { continue };
            let path = journal_path(shard, 0);
            let bytes = self.read(&path).unwrap_or_default();
            found.extend(Generation::of_frame(&bytes).map(|generation| (path, generation)));
        }
        found
    }

    fn stored(&mut self, superblock: &Superblock) -> Stored {
        let mut stored = Stored::default();
        for shard in 0..superblock.shard_count {
            let dir = journal_dir(usize::try_from(shard).unwrap_or(usize::MAX));
            let names = self.names(&dir);
            self.used.extend(names.iter().map(|name| format!("{dir}/{name}")));
            let Some(header) = self.checkpoint(superblock, shard, &mut stored.manifests) else {
                stored.is_partial = true;
                continue;
            };
            if superblock.shutdown == Shutdown::None {
                match self.journal(superblock, &header, &dir, &names) {
                    Some(frames) => stored.frames.extend(frames),
                    None => stored.is_partial = true,
                }
            }
        }
        stored
    }

    fn checkpoint(
        &mut self,
        superblock: &Superblock,
        shard: u32,
        manifests: &mut BTreeMap<PartitionId, Manifest>,
    ) -> Option<CheckpointHeader> {
        let generation = superblock.generation.number();
        let path = checkpoint_path(usize::try_from(shard).unwrap_or(usize::MAX), generation);
        let Some(file) = self.read(&path) else {
            let what = "a shard's checkpoint is missing: no start is possible";
            self.findings.push(Finding::damage(&path, 0..0, what));
            let others = self.names("checkpoint");
            if !others.is_empty() {
                let what = format!(
                    "it names generation {generation}, and the checkpoints are of another: a slot \
                     is older than what was written last, or they are gone"
                );
                self.findings.push(Finding::damage(SUPERBLOCK, 0..slot_pos(2), what));
            }
            return None;
        };
        let bytes = 0..len_u64(file.len());
        let checked = Checkpoint::parse(&file).and_then(|checkpoint| {
            let found: Result<Vec<Manifest>, _> = checkpoint.manifests().collect();
            Ok((checkpoint.header(), found?))
        });
        match checked {
            Ok((header, found)) if header.shard == shard && header.generation == generation => {
                manifests.extend(found.into_iter().map(|it| (it.id(), it)));
                Some(header)
            }
            Ok(_) => {
                let what = "a checkpoint of another shard or generation";
                self.findings.push(Finding::damage(&path, bytes, what));
                None
            }
            Err(error) => {
                let what = format!("the checkpoint is damaged ({error:?}): no start is possible");
                self.findings.push(Finding::damage(&path, bytes, what));
                None
            }
        }
    }

    /// `None` if the journal is damaged.
    fn journal(
        &mut self,
        superblock: &Superblock,
        header: &CheckpointHeader,
        dir: &str,
        names: &[String],
    ) -> Option<Vec<StoredFrame>> {
        let mut replay = Replay::new(superblock.generation, header.sequence);
        let paths: Vec<String> = names.iter().map(|name| format!("{dir}/{name}")).collect();
        for (index, path) in paths.iter().enumerate() {
            let file = self.read(path)?;
            replay.on_part(index, FilePos::ZERO, &file, Part::Last);
        }
        let path = |file: usize| paths.get(file).map_or(dir, String::as_str);
        for damaged in replay.damages() {
            let bytes = damaged.at.pos.get()..damaged.end.get();
            let what = format!(
                "journal frame {} is damaged, missing or doubled: no start is possible",
                damaged.sequence
            );
            self.findings.push(Finding::damage(path(damaged.at.file), bytes, what));
        }
        let replayed = replay.finish().ok()?;
        if let Verdict::Torn(at) = replayed.verdict {
            let bytes = at.pos.get()..at.pos.get() + len_u64(engine::journal::BLOCK_BYTES);
            let what = "the last journal frame is cut short or damaged: nobody was told of it";
            self.findings.push(Finding::torn(path(at.file), bytes, what));
        }
        for frame in &replayed.frames {
            if frame.frame().entries().any(|it| it.is_err()) {
                let what = format!("journal frame {} says nonsense", frame.frame().sequence());
                self.findings.push(Finding::damage(dir, 0..0, what));
                return None;
            }
        }
        Some(replayed.frames)
    }

    /// Names what nothing of the directory speaks of.
    fn unused(&mut self) {
        let files = match self.directory.files() {
            Ok(files) => files,
            Err(error) => return self.unreadable("", &error),
        };
        for path in files {
            if self.used.contains(&path) || path.starts_with(SPARES) {
                continue;
            }
            let what = if path.ends_with(".part") {
                "a file whose write did not come to its end"
            } else if path.starts_with("checkpoint/") || path.starts_with("journal/") {
                "of another generation or shard"
            } else if path.starts_with("topics/") {
                "of no log: of records or a topic that were deleted, or not of the broker"
            } else {
                "not a file of the broker"
            };
            self.findings.push(Finding::note(&path, what));
        }
    }

    fn summarize(&mut self, topic: String, log: &Log, tally: Tally) {
        self.partitions.push(Summary {
            id: log.id(),
            topic,
            log_start: log.log_start(),
            log_end: log.log_end().offset,
            segment_count: log.segments().len(),
            batch_count: tally.batch_count,
            bytes: log.bytes(),
            checksum: tally.checksum,
        });
    }
}

fn slot_pos(index: usize) -> u64 {
    len_u64(index) * len_u64(SLOT_BYTES)
}

fn len_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}
