//! The scrubber: reads the sealed segments of a shard again and again, slowly, to see whether the device
//! still holds what was stored. Nobody may ask for them for years.
//!
//! It reads past the page cache, so that the device's bytes are checked and nobody's pages go for it.
//! It changes nothing: what is damaged is logged and counted; only reads of the damage are refused.
//! Every pass takes about `odradek.scrub.period.ms`, whatever there is to read, in the lowest class.

use std::io;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use engine::batch::BatchError;
use engine::id::{FilePos, Offset, PartitionId};
use engine::scrub::{Damage, Mark, Scrub, Stretch};
use engine::segment::{Segment, SegmentName};

use crate::files::segment_path;
use crate::io::{Io, Open};
use crate::limits::{BLOCK_BYTES, SCRUB_BYTES, SCRUB_LOOK, SCRUB_PAUSE_MIN};
use crate::metrics::Metric;
use crate::partition::Partition;
use crate::shard::Shard;

/// A sealed segment of one of the shard's partitions.
type Place = (PartitionId, Offset);

/// Until the shard stops.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    let mut last: Option<Place> = None;
    while !shard.is_stopping() {
        match next(&shard, last) {
            Some((partition, segment)) if pause(&shard).is_some() => {
                last = Some((partition.id(), segment));
                if let Err(error) = scrub(&shard, &partition, segment).await {
                    let path = segment_path(partition.id(), segment);
                    shard.recorder.borrow_mut().add(Metric::DiskErrors, 1);
                    tracing::error!(%path, %error, "a sealed segment cannot be read to be checked");
                }
            }
            Some(_) => shard.pause(SCRUB_LOOK).await, // It is switched off.
            None => {
                last = None;
                shard.pause(SCRUB_LOOK).await;
            }
        }
    }
}

/// The sealed segment after `last`, in the order of partitions and offsets.
fn next<I: Io>(shard: &Shard<I>, last: Option<Place>) -> Option<(Rc<Partition<I>>, Offset)> {
    let partitions = shard.partitions.borrow();
    let from = last.map_or(Bound::Unbounded, |it| Bound::Included(it.0));
    let partitions = partitions.range((from, Bound::Unbounded));
    let mut sealed = partitions.filter_map(|(id, partition)| {
        let after = last.filter(|it| it.0 == *id).map(|it| it.1);
        partition.with_log(|log| {
            let segments = log.segments().iter().filter(|it| it.is_sealed()).map(Segment::base);
            let mut segments = segments.filter(|base| after.is_none_or(|after| after < *base));
            segments.next().map(|base| (Rc::clone(partition), base))
        })
    });
    sealed.next()
}

/// Between two reads, so that a pass takes its period. `None`: there is no scrubbing.
fn pause<I: Io>(shard: &Shard<I>) -> Option<Duration> {
    let period_ms = shard.image().broker_config().scrub_period_ms;
    let period = Duration::from_millis(u64::try_from(period_ms).ok().filter(|ms| *ms > 0)?);
    let read_count = |partition: &Rc<Partition<I>>| -> u64 {
        partition.with_log(|log| {
            let sealed = log.segments().iter().filter(|it| it.is_sealed());
            sealed.map(|it| it.end_pos().get().div_ceil(u64_of(SCRUB_BYTES))).sum()
        })
    };
    let read_count: u64 = shard.partitions.borrow().values().map(read_count).sum();
    let read_count = u32::try_from(read_count).unwrap_or(u32::MAX).max(1);
    Some((period / read_count).max(SCRUB_PAUSE_MIN))
}

async fn scrub<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    base: Offset,
) -> io::Result<()> {
    let Some((name, stretch, whole, chain_crc)) = stretch(partition, base) else { return Ok(()) };
    let end = stretch.end;
    let path = segment_path(partition.id(), name);
    let pause = pause(shard).unwrap_or(SCRUB_LOOK);
    let mut scrub = Scrub::new(stretch);
    while let Some(at) = scrub.wants() {
        shard.pause(pause).await;
        let is_here = partition.with_log(|log| log.segment_end(name).is_some());
        if shard.is_stopping() || !is_here {
            return Ok(()); // Its records were deleted, or compacted.
        }
        // Who needs memory more urgently goes first.
        let Some(block) = shard.io.block(SCRUB_BYTES) else { continue };
        let file = match shard.io.open(&path, Open::ReadDirect).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let skip = at.get() % u64_of(BLOCK_BYTES);
        let (read, block) = shard.io.read(&file, at.get() - skip, block).await;
        let there = usize_of(end.since(at).saturating_add(skip)).min(read?);
        let bytes = block.as_slice().get(usize_of(skip)..there).unwrap_or_default();
        if bytes.is_empty() {
            scrub.cut();
        }
        scrub.feed(bytes);
        shard.recorder.borrow_mut().add(Metric::ScrubbedBytes, u64_of(bytes.len()));
    }
    for damage in scrub.damages() {
        shard.on_damage(partition.id(), name, damage);
    }
    let is_chained =
        scrub.chain_crc().is_none() || chain_crc.is_none_or(|it| scrub.chain_crc() == Some(it));
    if !is_chained {
        // Every batch is sound, but some are of another place or time.
        shard.on_damage(partition.id(), name, &whole);
    }
    Ok(())
}

/// What shall be read, all of it as a damage, and its chained checksum.
fn stretch<I: Io>(
    partition: &Partition<I>,
    base: Offset,
) -> Option<(SegmentName, Stretch, Damage, Option<u32>)> {
    partition.with_log(|log| {
        let segment = log.segments().iter().find(|it| it.base() == base && it.is_sealed())?;
        let (end, start) = (segment.end_pos(), Mark { pos: FilePos::ZERO, offset: base });
        let marks = Stretch::marks_of(segment.index());
        let whole = Damage {
            from: FilePos::ZERO,
            end,
            first: base,
            next: Some(segment.end()),
            error: BatchError::BadChecksum,
        };
        let stretch = Stretch { start, end, marks, epochs: log.epochs().clone() };
        Some((segment.name(), stretch, whole, segment.chain_crc()))
    })
}

fn u64_of(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the target has 64 bits")
}
