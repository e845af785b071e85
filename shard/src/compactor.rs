//! The compactor: goes through the compacted logs of a shard, one at a time, and writes what is left of
//! their sealed segments into files that take their place.
//!
//! What stays and why a crash loses nothing is said in `engine/src/compaction.rs`; this carries it out.
//! It reads past the page cache and writes straight to the disk, a piece at a time, in the lowest class.
//! While clients are served it rests for most of the time, so that their requests wait for one piece at most.
//! A log that cannot be read, or whose batches are too large, is left alone until the next start.

mod output;
mod source;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::batch::{Batch, BatchError};
use engine::bug::Bug;
use engine::compaction::filter::{Filter, Keys, Left, Noted, Pass};
use engine::compaction::map::OffsetMap;
use engine::compaction::rewrite::Rewrite;
use engine::compaction::{Compaction, Source, Work};
use engine::id::{FilePos, Offset, PartitionId};
use engine::records::RecordsError;

use crate::compactor::output::Output;
use crate::compactor::source::Batches;
use crate::files::{partition_dir, segment_of};
use crate::io::{Io, Nanos};
use crate::limits::{
    ADMISSION_SLICE_BYTES, COMPACTION_PAUSE_MIN, COMPACTION_REST, COMPACTION_REST_MAX,
};
use crate::metrics::Metric;
use crate::partition::{Condition, Partition};
use crate::recovery::METADATA;
use crate::room::StoreError;
use crate::shard::{Phase, Shard};
use crate::signal::Bell;

/// What the compactor of a shard is at.
#[derive(Default)]
pub struct Compacting {
    at: Cell<Option<PartitionId>>,
    /// Rings when it has left a partition.
    ended: Bell,
    given_up: RefCell<BTreeSet<PartitionId>>,
}

impl Compacting {
    /// Until it does not work on the partition. It leaves one that was removed soon.
    pub async fn wait_for_end(&self, partition: PartitionId) {
        while self.at.get() == Some(partition) {
            self.ended.next().wait().await;
        }
    }

    /// Partitions that are not compacted although their topics say so.
    #[must_use]
    pub fn given_up_count(&self) -> usize {
        self.given_up.borrow().len()
    }
}

/// Why a pass ended early.
enum Stopped {
    /// The broker stops, or the partition is closed, or what was read is not the log's any more.
    Gone,
    Damaged {
        source: Source,
        pos: FilePos,
        error: BatchError,
    },
    Records {
        source: Source,
        offset: i64,
        error: RecordsError,
    },
    Disk(StoreError),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.into())
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Disk(error)
    }
}

/// Until the shard stops.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    let mut tidied = BTreeSet::new();
    while !shard.is_stopping() {
        let backoff_ms = shard.image().broker_config().cleaner.backoff_ms;
        let backoff = Duration::from_millis(u64::try_from(backoff_ms).unwrap_or(0));
        shard.pause(backoff.max(COMPACTION_PAUSE_MIN)).await;
        if shard.phase.get() != Phase::Serving {
            continue; // A crash would begin with the files of the last generation.
        }
        for partition in shard.partitions() {
            if shard.is_stopping() || !shard.image().broker_config().cleaner.is_enabled {
                break;
            }
            if !partition.config().cleanup.compacts() || partition.id() == METADATA {
                continue;
            }
            shard.compacting.at.set(Some(partition.id()));
            if tidied.insert(partition.id()) {
                remove_strangers(&shard, &partition).await;
            }
            look_at(&shard, &partition).await;
            shard.compacting.at.set(None);
            shard.compacting.ended.ring();
            shard.io.yield_now().await;
        }
    }
}

/// Removes files of a partition that its log does not know: those of compactions that a crash cut short.
async fn remove_strangers<I: Io>(shard: &Shard<I>, partition: &Rc<Partition<I>>) {
    let dir = partition_dir(partition.id());
    let Ok(names) = shard.io.list(&dir) else { return }; // Nothing was written to it yet.
    let is_known = |name| partition.with_log(|log| log.knows_file(name));
    let strangers =
        names.into_iter().filter(|it| segment_of(it).is_some_and(|name| !is_known(name)));
    for name in strangers.collect::<Vec<_>>() {
        if let Err(error) = shard.io.unlink(&format!("{dir}/{name}")).await {
            tracing::warn!(%dir, %name, %error, "a file of an interrupted compaction stays");
        }
    }
}

async fn look_at<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>) {
    let id = partition.id();
    while let Some(work) = due(shard, partition) {
        let began = shard.io.now();
        match compact(shard, partition, &work).await {
            Ok(is_done) => {
                let spent = shard.io.now().since(began);
                let millis = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
                let mut recorder = shard.recorder.borrow_mut();
                recorder.add(Metric::CompactionPasses, 1);
                recorder.set(Metric::CompactionPassMillis, millis);
                tracing::debug!(partition = ?id, millis, "a log was compacted");
                if is_done {
                    return;
                }
            }
            Err(Stopped::Gone) => return,
            Err(Stopped::Disk(StoreError::Short(shortage, error))) => {
                tracing::warn!(partition = ?id, %error, "a compaction found no room; it begins anew");
                shard.on_shortage(shortage);
                return;
            }
            Err(stopped) => return give_up(shard, id, &stopped),
        }
    }
}

fn give_up<I: Io>(shard: &Shard<I>, partition: PartitionId, stopped: &Stopped) {
    let why = match stopped {
        Stopped::Damaged { source, pos, error } => {
            format!("{:?} is damaged at {}: {error:?}", source.name, pos.get())
        }
        Stopped::Records { source, offset, error } => {
            format!("the batch at offset {offset} of {:?} cannot be opened: {error:?}", source.name)
        }
        Stopped::Disk(error) => format!("a file cannot be read or written: {error:?}"),
        Stopped::Gone => return,
    };
    if let Stopped::Disk(_) = stopped {
        shard.recorder.borrow_mut().add(Metric::DiskErrors, 1);
    }
    tracing::error!(?partition, %why, "a log is not compacted any more until the next start");
    shard.compacting.given_up.borrow_mut().insert(partition);
}

fn due<I: Io>(shard: &Shard<I>, partition: &Partition<I>) -> Option<Work> {
    let is_given_up = shard.compacting.given_up.borrow().contains(&partition.id());
    if is_given_up || shard.is_stopping() || partition.condition() != Condition::Open {
        return None;
    }
    let now = shard.io.wall();
    partition.with_log(|log| log.compaction_due(now, &rules(partition)))
}

fn rules<I: Io>(partition: &Partition<I>) -> Compaction {
    let config = partition.config();
    Compaction {
        lag_ms_min: config.compaction.lag_ms_min,
        lag_ms_max: config.compaction.lag_ms_max,
        tombstone_ms: config.compaction.tombstone_ms,
        dirty_ratio_min: config.compaction.dirty_ratio_min,
    }
}

/// One pass. False if the map was full before the end of what there is to do.
async fn compact<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    work: &Work,
) -> Result<bool, Stopped> {
    let mut pace = Pace::new(shard);
    let (map, full_at) = note(shard, partition, work, &mut pace).await?;
    let end = work.sources.last().map_or(Offset::ZERO, |it| it.end);
    let map_end = full_at.unwrap_or(end);
    let now = shard.io.wall();
    let tombstone_ms = rules(partition).tombstone_ms;
    let newest_batches = &partition.with_log(|log| log.producers().newest_batches());
    let pass = Pass { map: &map, map_end, now, tombstone_ms, newest_batches };
    let bytes_max = u64::from(partition.config().segment.bytes_max);
    for group in work.groups(map_end, bytes_max) {
        rewrite(shard, partition, &group, &pass, &mut pace).await?;
    }
    partition.change_log(|log| log.on_compacted_to(map_end));
    shard.commit.ask_checkpoint();
    Ok(full_at.is_none())
}

/// The last offset of each key in what is dirty, and where the map was full before its end.
async fn note<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    work: &Work,
    pace: &mut Pace,
) -> Result<(OffsetMap, Option<Offset>), Stopped> {
    let shard_count = u64::try_from(shard.shard_count()).expect("cores are few");
    let bytes_max = shard.image().broker_config().cleaner.map_bytes_max / shard_count;
    let keys = work.dirty().map(|it| it.end.get() - it.name.base.get()).sum::<i64>();
    let secret = [shard.io.random(), shard.io.random()];
    let mut map = OffsetMap::new(secret, u64::try_from(keys).unwrap_or(0), bytes_max);
    for source in work.dirty() {
        let mut batches = Batches::new(partition, *source);
        while let Some(batch) = batches.next(shard, pace).await? {
            let view = Batch::parse(&batch).expect("it was checked");
            if view.next_offset().is_ok_and(|next| next <= work.dirty_from) {
                continue;
            }
            let offset = view.base_offset();
            let failed = |error| Stopped::Records { source: *source, offset, error };
            let mut keys = Keys::begin(&batch, work.dirty_from, &map).map_err(failed)?;
            loop {
                match keys.step(&mut map, ADMISSION_SLICE_BYTES).map_err(failed)? {
                    Noted::More => pace.rest(shard).await,
                    Noted::All => break,
                    Noted::Until(offset) => return Ok((map, Some(offset))),
                }
            }
        }
    }
    Ok((map, None))
}

/// Writes what is left of some segments into one, which takes their place.
async fn rewrite<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    group: &[Source],
    pass: &Pass<'_>,
    pace: &mut Pace,
) -> Result<(), Stopped> {
    let interval = u64::from(partition.config().segment.index_interval_bytes);
    let rewrite = Rewrite::new(group, interval);
    let name = rewrite.name();
    let written = write(shard, partition, rewrite, pass, pace).await;
    if !matches!(written, Ok(true)) {
        shard.unlink_segment(partition.id(), name).await;
    }
    written.map(|_| ())
}

/// False if nothing has changed.
async fn write<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    mut rewrite: Rewrite,
    pass: &Pass<'_>,
    pace: &mut Pace,
) -> Result<bool, Stopped> {
    let (id, name) = (partition.id(), rewrite.name());
    let sources = rewrite.sources().to_vec();
    let mut output = Output::create(shard, id, name).await?;
    let mut gone_count = 0;
    for source in &sources {
        let mut batches = Batches::new(partition, *source);
        while let Some(batch) = batches.next(shard, pace).await? {
            let left = filter(shard, source, &batch, pass, pace).await?;
            let view = Batch::parse(&batch).expect("it was checked");
            gone_count += record_count(&batch);
            match left {
                Left::Whole => {
                    gone_count -= record_count(&batch);
                    rewrite.keep(&batch, true, output.buffer());
                }
                Left::Nothing => rewrite.on_gone(&view),
                Left::Some(bytes) => {
                    gone_count -= record_count(&bytes);
                    rewrite.keep(&bytes, false, output.buffer());
                }
            }
            output.write_some(shard, pace).await?;
        }
    }
    let epochs = partition.with_log(|log| log.epochs().clone());
    let last = sources.last().expect("something is rewritten");
    let producers = source::producers(shard, id, last.name).await;
    let Some((segment, sidecar)) = rewrite.finish(&epochs, producers.as_ref(), output.buffer())
    else {
        return Ok(false);
    };
    let (read_bytes, bytes) = (sources.iter().map(|it| it.bytes.get()).sum(), segment.end_pos());
    output.finish(shard, pace, bytes, sidecar).await?;
    let names: Vec<_> = sources.iter().map(|it| it.name).collect();
    let is_open = partition.condition() == Condition::Open && !shard.is_stopping();
    if !is_open || !partition.change_log(|log| log.on_compacted(&names, segment)) {
        return Err(Stopped::Gone);
    }
    count(shard, read_bytes, bytes.get(), gone_count);
    if Bug::ReplacedFileDroppedEarly.is_on() {
        shard.drop_segments(partition).await;
    }
    Ok(true)
}

fn count<I: Io>(shard: &Shard<I>, read_bytes: u64, left_bytes: u64, gone_count: u64) {
    let mut recorder = shard.recorder.borrow_mut();
    recorder.add(Metric::CompactedBytes, read_bytes);
    recorder.add(Metric::CompactedBytesLeft, left_bytes);
    recorder.add(Metric::CompactedRecordsGone, gone_count);
}

async fn filter<I: Io>(
    shard: &Rc<Shard<I>>,
    source: &Source,
    batch: &Bytes,
    pass: &Pass<'_>,
    pace: &mut Pace,
) -> Result<Left, Stopped> {
    let offset = Batch::parse(batch).expect("it was checked").base_offset();
    let failed = |error| Stopped::Records { source: *source, offset, error };
    let mut filter = Filter::begin(batch, pass).map_err(failed)?;
    loop {
        if let Some(left) = filter.step(pass, ADMISSION_SLICE_BYTES).map_err(failed)? {
            return Ok(left);
        }
        pace.rest(shard).await;
    }
}

fn record_count(batch: &[u8]) -> u64 {
    let count = Batch::parse(batch).map_or(0, |it| it.record_count());
    u64::try_from(count).unwrap_or(0)
}

/// Lets clients go first: while they are served, work takes one in so many parts of the time.
struct Pace {
    worked_from: Nanos,
    served: u64,
}

impl Pace {
    fn new<I: Io>(shard: &Shard<I>) -> Self {
        Self { worked_from: shard.io.now(), served: served(shard) }
    }

    /// After a piece of work.
    async fn rest<I: Io>(&mut self, shard: &Shard<I>) {
        let served_now = served(shard);
        if served_now == self.served && !shard.commit.has_work() {
            shard.io.yield_now().await;
        } else {
            let worked = shard.io.now().since(self.worked_from);
            shard.pause((worked * COMPACTION_REST).min(COMPACTION_REST_MAX)).await;
        }
        *self = Self { worked_from: shard.io.now(), served: served_now };
    }
}

/// Counts what clients are served.
fn served<I: Io>(shard: &Shard<I>) -> u64 {
    let recorder = shard.recorder.borrow();
    recorder.metric(Metric::Batches) + recorder.metric(Metric::BytesSent)
}
