//! One partition's files become what its recovered log says.
//!
//! Done in two steps, so that many partitions share the device's flushes: `recover` reads, writes and
//! cuts; `settle` makes what it left durable.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use engine::id::{FilePos, Offset, PartitionId, Timestamp};
use engine::journal;
use engine::log::Log;
use engine::manifest::Manifest;
use engine::recovery::{Behind, Cut, Recovered, Recovery, RecoveryError, Scan, Write};

use crate::files::{partition_dir, segment_path, topic_dir};
use crate::io::{Io, Open};
use crate::limits::{BLOCK_BYTES, READ_BYTES_MAX};
use crate::parallel;
use crate::partition::LEADER_EPOCH;
use crate::recovery::disk::{Disk, Opened};
use crate::recovery::{StartError, failed};

/// Files that are synced at a time.
const SYNCS_MAX: usize = 64;

/// A partition whose files are right, and not yet durable.
pub(super) struct Mended<F> {
    pub log: Log,
    pub scanned_bytes: u64,
    /// What only the journal had.
    pub carried_bytes: u64,
    pub unsynced: Unsynced<F>,
}

/// What must be synced before a checkpoint counts on it.
pub(super) struct Unsynced<F> {
    files: Vec<F>,
    /// Names in these came, went, or may not be durable.
    dirs: BTreeSet<String>,
}

/// A partition, and what is known of it besides its files.
pub(super) struct Lead<'a> {
    pub id: PartitionId,
    pub manifest: Option<Manifest>,
    pub entries: Vec<journal::Entry<'a>>,
}

/// The segment files that were looked at. `None`: it does not exist.
type Files<F> = BTreeMap<Offset, Option<Opened<F>>>;

pub(super) async fn recover<I: Io>(
    disk: &Disk<'_, I>,
    lead: Lead<'_>,
    now: Timestamp,
) -> Result<Mended<I::File>, StartError> {
    let Lead { id, manifest, mut entries } = lead;
    if manifest.is_none() {
        // The cluster's metadata says that it exists; it is younger than the checkpoint.
        entries.insert(
            0,
            journal::Entry::Created { partition: id, created_at: now, epoch: LEADER_EPOCH },
        );
    }
    let damaged = |error: RecoveryError| {
        StartError(format!("partition {} of topic {}: {error:?}", id.index.get(), id.topic))
    };
    let recovery = Recovery::new(id, manifest, &entries, now).map_err(damaged)?;
    let Some(mut recovery) = recovery else {
        let log = Log::new(id, now, LEADER_EPOCH);
        let unsynced = Unsynced { files: Vec::new(), dirs: BTreeSet::new() };
        return Ok(Mended { log, scanned_bytes: 0, carried_bytes: 0, unsynced });
    };
    let mut files = Files::new();
    let mut scanned_bytes = 0;
    while let Some(scan) = recovery.next_scan() {
        let path = segment_path(id, scan.segment);
        let scanned = answer(disk, &path, &mut files, &mut recovery, scan).await;
        scanned_bytes += scanned.map_err(|error| failed(&path, &error))?.map_err(damaged)?;
    }
    let recovered = recovery.finish().map_err(damaged)?;
    let mended = mend(disk, id, &recovered, files).await;
    let unsynced = mended.map_err(|error| failed(&partition_dir(id), &error))?;
    let carried_bytes = recovered.writes.iter().map(|it| bytes_u64(it.bytes.len())).sum();
    Ok(Mended { log: recovered.log, scanned_bytes, carried_bytes, unsynced })
}

/// Makes durable what `mended` left in caches: files first, then their names.
pub(super) async fn settle<I: Io>(io: &I, mended: &[Mended<I::File>]) -> io::Result<()> {
    let files = mended.iter().flat_map(|it| &it.unsynced.files);
    parallel::try_all(files.map(|file| io.sync(file)), SYNCS_MAX).await?;
    // Partitions share those of their topics.
    let dirs: BTreeSet<&String> = mended.iter().flat_map(|it| &it.unsynced.dirs).collect();
    parallel::try_all(dirs.into_iter().map(|dir| io.sync_dir(dir)), SYNCS_MAX).await?;
    Ok(())
}

/// Reads what a scan asks for, and gives it to the recovery. Answers how many bytes that were.
async fn answer<I: Io>(
    disk: &Disk<'_, I>,
    path: &str,
    files: &mut Files<I::File>,
    recovery: &mut Recovery<'_>,
    scan: Scan,
) -> io::Result<Result<u64, RecoveryError>> {
    let opened = match files.entry(scan.segment) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => unknown.insert(disk.open(path, Open::Direct).await?),
    };
    let Some(opened) = opened else {
        return Ok(recovery.on_scanned(&[], 0).map(|()| 0));
    };
    let from = scan.from.get();
    let there = opened.bytes.saturating_sub(from).min(bytes_u64(scan.bytes));
    let bytes = usize::try_from(there).expect("a scan is as long as a batch at most");
    let scanned = if bytes == 0 {
        recovery.on_scanned(&[], opened.bytes)
    } else if bytes <= READ_BYTES_MAX - BLOCK_BYTES {
        let window = disk.window(opened, from, bytes).await?;
        opened.keep_first(from, &window);
        recovery.on_scanned(window.bytes(), opened.bytes)
    } else {
        recovery.on_scanned(&disk.read(opened, from, bytes).await?, opened.bytes)
    };
    Ok(scanned.map(|()| there))
}

async fn mend<I: Io>(
    disk: &Disk<'_, I>,
    id: PartitionId,
    recovered: &Recovered<'_>,
    mut files: Files<I::File>,
) -> io::Result<Unsynced<I::File>> {
    let Recovered { writes, cuts, unlinks, .. } = recovered;
    let mut unsynced = Unsynced { files: Vec::new(), dirs: BTreeSet::new() };
    // A file that the checkpoint does not know may have got its name from a run that was killed before
    // the name was durable; and so may one have lost it.
    let mut is_named = unlinks.is_empty();
    let mut touched: BTreeSet<Offset> = writes.iter().map(|it| it.segment).collect();
    touched.extend(cuts.iter().map(|it| it.segment));
    for segment in touched {
        let cut = cuts.iter().find(|it| it.segment == segment);
        let writes: Vec<&Write<'_>> = writes.iter().filter(|it| it.segment == segment).collect();
        let mut opened = match files.remove(&segment).flatten() {
            Some(opened) => opened,
            None if writes.is_empty() => {
                assert!(cut.is_none_or(|it| it.bytes == FilePos::ZERO), "bytes without a file");
                continue;
            }
            None => create(disk, id, segment, &mut unsynced.dirs).await?,
        };
        is_named &= cut.is_some_and(|it| it.checkpointed > FilePos::ZERO);
        let follows = |one: &&Write<'_>, next: &&Write<'_>| {
            one.pos.plus(bytes_u64(one.bytes.len())) == next.pos
        };
        for run in writes.chunk_by(follows) {
            let parts: Vec<&[u8]> = run.iter().map(|it| it.bytes).collect();
            disk.overwrite(&mut opened, run[0].pos.get(), &parts).await?;
        }
        if let Some(cut) = cut
            && !ends_well(disk, &opened, cut).await?
        {
            disk.io().truncate(&opened.file, cut.bytes.get()).await?;
        }
        unsynced.files.push(opened.file);
    }
    for segment in unlinks {
        files.remove(segment);
        match disk.io().unlink(&segment_path(id, *segment)).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    if !is_named {
        unsynced.dirs.insert(partition_dir(id));
    }
    Ok(unsynced)
}

/// Whether nothing is behind the log's end in its file but room, all zeros, for what comes next: to cut it
/// would cost more than all else that is done to most partitions.
async fn ends_well<I: Io>(
    disk: &Disk<'_, I>,
    opened: &Opened<I::File>,
    cut: &Cut,
) -> io::Result<bool> {
    let end = cut.bytes.get();
    match cut.behind {
        Behind::Block if end < opened.bytes => disk.is_zero_behind(opened, end).await,
        Behind::Block | Behind::Batches => Ok(opened.bytes == end),
    }
}

async fn create<I: Io>(
    disk: &Disk<'_, I>,
    id: PartitionId,
    segment: Offset,
    unsynced_dirs: &mut BTreeSet<String>,
) -> io::Result<Opened<I::File>> {
    let (io, path) = (disk.io(), segment_path(id, segment));
    let file = match io.open(&path, Open::CreateDirect).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            io.make_dir(&topic_dir(id.topic)).await?;
            io.make_dir(&partition_dir(id)).await?;
            unsynced_dirs.extend(["topics".to_owned(), topic_dir(id.topic)]);
            io.open(&path, Open::CreateDirect).await?
        }
        other => other?,
    };
    Ok(Opened::new(file, 0))
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}
