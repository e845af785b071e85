//! Carries a partition's bytes from its tail to its segment files, one write at a time, and seals
//! segments that are complete.
//!
//! Every segment write is durable when it ends; a failed one fences the partition. One that found no
//! room does not: the bytes are in the tail, and the same write is made again until there is room.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use engine::bug::Bug;
use engine::fullness::Level;
use engine::id::Offset;
use engine::log::{Flush, Seal};

use crate::commit::Note;
use crate::files::{Use, partition_dir, sidecar_path};
use crate::io::{Class, Io, Open, Sync};
use crate::limits::{
    ALLOCATE_BYTES_MAX, ALLOCATE_BYTES_MIN, BLOCK_BYTES, DIRECT_BYTES_MIN, SEGMENT_WRITE_BYTES_MAX,
};
use crate::metrics::Metric;
use crate::partition::{Condition, Partition};
use crate::room::{Shortage, StoreError};
use crate::shard::Shard;

/// Writes what is pending, in the background of the caller, until little is left.
pub fn start<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>) {
    if !partition.begin_writing() {
        return;
    }
    let (shard, partition) = (Rc::clone(shard), Rc::clone(partition));
    let io = shard.io.clone();
    io.spawn(Class::Foreground, async move {
        while write_next(&shard, &partition, SEGMENT_WRITE_BYTES_MAX).await
            && partition.with_log(|log| log.uncommitted_bytes()) >= DIRECT_BYTES_MIN
        {}
        end(&shard, &partition);
    });
}

/// Waits until the segments hold everything below `target`, by writes of so many bytes. False if the
/// partition cannot be written.
pub async fn flush_to<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    target: Offset,
    bytes_max: impl Fn() -> u64,
) -> bool {
    while partition.with_log(|log| log.flushed().offset) < target {
        if partition.condition() != Condition::Open {
            return false;
        }
        let written = partition.next_written();
        if partition.begin_writing() {
            let is_written = write_next(shard, partition, bytes_max()).await;
            end(shard, partition);
            if !is_written {
                break;
            }
        } else {
            written.wait().await;
        }
    }
    partition.with_log(|log| log.flushed().offset) >= target
}

fn end<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>) {
    partition.end_writing();
    shard.commit.enqueue_pending(partition);
    shard.on_freed();
}

/// One write, if something is pending. The caller holds the partition's writing.
async fn write_next<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    bytes_max: u64,
) -> bool {
    // What only the segment will have is found again only if the journal says where to look.
    while let Some(intent) = partition.with_log(|log| log.intent_needed()) {
        let durable_end = partition.with_log(|log| log.durable_end().offset);
        let note =
            Note::Intent { partition: partition.id(), segment: intent.segment(), durable_end };
        if !Bug::IntentForgotten.is_on() && !shard.commit.note(note).wait().await {
            return false;
        }
        partition.change_log(|log| log.on_intent(&intent));
    }
    let Some(flush) = partition.begin_write(bytes_max) else { return false };
    let bytes = flush.end().pos.since(flush.from());
    match store_at_last(shard, partition, &flush).await {
        Ok(()) => {
            shard.on_stored();
            shard.commit.on_direct(bytes);
            shard.recorder.borrow_mut().add(Metric::SegmentWrites, 1);
            shard.recorder.borrow_mut().add(Metric::SegmentBytes, bytes);
            partition.on_written(flush, shard.io.now());
            seal_next(shard, partition);
            true
        }
        // The broker stops, or the topic is gone.
        Err(StoreError::Short(..)) => false,
        Err(StoreError::Failed(error)) => {
            shard.recorder.borrow_mut().add(Metric::DiskErrors, 1);
            tracing::error!(partition = ?partition.id(), %error, "a segment write failed: fenced");
            partition.fence(shard.io.now());
            false
        }
    }
}

/// Stores until there is room for it. `Short`: nobody waits for it any more.
async fn store_at_last<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Partition<I>,
    flush: &Flush,
) -> Result<(), StoreError> {
    loop {
        let stored = store(shard, partition, flush).await;
        let Err(StoreError::Short(shortage, _)) = &stored else { return stored };
        shard.on_shortage(*shortage);
        if shard.is_stopping() || partition.condition() != Condition::Open {
            return stored;
        }
        if partition.with_log(|log| log.durable_end().offset) < flush.end().offset {
            partition.refuse_waiting(shard.io.now());
        }
        shard.next_try().await;
    }
}

async fn store<I: Io>(
    shard: &Shard<I>,
    partition: &Partition<I>,
    flush: &Flush,
) -> Result<(), StoreError> {
    let (id, segment) = (partition.id(), flush.segment());
    let block = u64::try_from(BLOCK_BYTES).expect("4096 fits");
    let end = flush.end().pos.get().next_multiple_of(block);
    let allocated = partition.allocated(segment);
    let file = if allocated == 0 {
        shard.files.create(id, segment).await?
    } else {
        shard.files.get(id, segment, Use::Direct).await?
    };
    if end > allocated {
        let from = allocated.max(flush.from().get());
        let until = allocate(shard, &file, from, end).await?;
        partition.on_allocated(segment, until);
    }
    let from = flush.from().get();
    Ok(shard.io.write(&file, from, partition.ranges(flush), Sync::Durable).await?)
}

/// Reserves disk space from `from` to `end`, and ahead of it if there is much left. Answers up to where.
async fn allocate<I: Io>(shard: &Shard<I>, file: &I::File, from: u64, end: u64) -> io::Result<u64> {
    let block = u64::try_from(BLOCK_BYTES).expect("4096 fits");
    if shard.room.level() < Level::Throttle {
        let ahead = from.clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX);
        let until = (end + ahead).next_multiple_of(block);
        match shard.io.allocate(file, from, until - from).await {
            Err(error) if Shortage::of(&error) == Some(Shortage::Space) => {}
            other => return other.map(|()| until),
        }
    }
    shard.io.allocate(file, from, end - from).await.map(|()| end)
}

/// Seals the oldest segment that has got its last byte, beside the writes of the next one.
pub fn seal_next<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>) {
    if let Some(seal) = partition.begin_seal() {
        let (shard, partition) = (Rc::clone(shard), Rc::clone(partition));
        let io = shard.io.clone();
        io.spawn(Class::Background, async move {
            match store_seal_at_last(&shard, &partition, &seal).await {
                Ok(()) => {
                    partition.on_sealed(seal);
                    seal_next(&shard, &partition);
                }
                // The broker stops, or the topic is gone.
                Err(StoreError::Short(..)) => {}
                Err(StoreError::Failed(error)) => {
                    tracing::error!(partition = ?partition.id(), %error, "sealing failed: fenced");
                    partition.fence(shard.io.now());
                }
            }
        });
    }
}

/// As `store_at_last`.
async fn store_seal_at_last<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Partition<I>,
    seal: &Seal,
) -> Result<(), StoreError> {
    loop {
        let stored = store_seal(shard, partition, seal).await;
        let Err(StoreError::Short(shortage, _)) = &stored else { return stored };
        shard.on_shortage(*shortage);
        if shard.is_stopping() || partition.condition() == Condition::Removed {
            return stored;
        }
        shard.next_try().await;
    }
}

/// Cuts the segment to its bytes and writes its sidecar, which is what says that it is sealed.
async fn store_seal<I: Io>(
    shard: &Shard<I>,
    partition: &Partition<I>,
    seal: &Seal,
) -> Result<(), StoreError> {
    let (id, segment) = (partition.id(), seal.segment());
    let file = shard.files.get(id, segment, Use::Direct).await?;
    shard.io.truncate(&file, seal.bytes().get()).await?;
    shard.io.sync(&file).await.map_err(StoreError::of_sync)?;
    let path = sidecar_path(id, segment);
    let sidecar = Bytes::copy_from_slice(seal.sidecar());
    write_file(shard, &path, sidecar, &partition_dir(id)).await?;
    shard.files.forget(id, segment);
    Ok(())
}

/// Puts a whole small file in place: after it, either the old one or this one is there. One that found
/// no room leaves nothing behind that takes some.
pub async fn write_file<I: Io>(
    shard: &Shard<I>,
    path: &str,
    bytes: Bytes,
    dir: &str,
) -> Result<(), StoreError> {
    let part = format!("{path}.part");
    let file = shard.io.open(&part, Open::CreateBuffered).await?;
    if let Err(error) = shard.io.write_bytes(&file, 0, bytes).await {
        let error = StoreError::from(error);
        if let StoreError::Short(..) = &error {
            shard.io.unlink(&part).await?;
        }
        return Err(error);
    }
    if !Bug::CheckpointRenamedUnsynced.is_on() {
        let synced = shard.io.sync(&file).await;
        let synced = match synced {
            Err(_) if Bug::FailedSyncRetried.is_on() => shard.io.sync(&file).await,
            other => other,
        };
        synced.map_err(StoreError::of_sync)?;
    }
    shard.io.rename(&part, path).await?;
    shard.io.sync_dir(dir).await.map_err(StoreError::of_sync)
}
