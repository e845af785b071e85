//! The batches of a sealed segment, one after the other, each checked.

use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use engine::batch::{Batch, BatchError, announced_len_bytes};
use engine::compaction::Source;
use engine::id::{FilePos, Offset, PartitionId};
use engine::producers::Producers;
use engine::segment::SegmentName;
use engine::sidecar::Sidecar;

use crate::compactor::{Pace, Stopped};
use crate::files::{segment_path, sidecar_path};
use crate::io::{Io, Open};
use crate::limits::{BLOCK_BYTES, COMPACTION_BYTES};
use crate::partition::{Condition, Partition};
use crate::shard::Shard;

pub(super) struct Batches<I: Io> {
    partition: Rc<Partition<I>>,
    source: Source,
    /// Read, and not given yet.
    buffer: BytesMut,
    /// Of the first byte that was not read.
    read_to: FilePos,
    /// Of the next batch.
    pos: FilePos,
    next: Offset,
}

impl<I: Io> Batches<I> {
    pub(super) fn new(partition: &Rc<Partition<I>>, source: Source) -> Self {
        Self {
            partition: Rc::clone(partition),
            source,
            buffer: BytesMut::new(),
            read_to: FilePos::ZERO,
            pos: FilePos::ZERO,
            next: source.name.base,
        }
    }

    pub(super) async fn next(
        &mut self,
        shard: &Rc<Shard<I>>,
        pace: &mut Pace,
    ) -> Result<Option<Bytes>, Stopped> {
        if self.source.bytes <= self.pos {
            return Ok(None);
        }
        let len_bytes = loop {
            match announced_len_bytes(&self.buffer) {
                Ok(len_bytes) if self.source.bytes < self.pos.plus(len_u64(len_bytes)) => {
                    return Err(self.damaged(BatchError::BadLength));
                }
                Ok(len_bytes) if len_bytes <= self.buffer.len() => break len_bytes,
                Ok(_) | Err(BatchError::Truncated) if self.read_to < self.source.bytes => {
                    self.read(shard).await?;
                    pace.rest(shard).await;
                }
                Ok(_) => return Err(self.damaged(BatchError::Truncated)),
                Err(error) => return Err(self.damaged(error)),
            }
        };
        let batch = self.buffer.split_to(len_bytes).freeze();
        let checked = Batch::parse(&batch).and_then(|view| {
            view.check_stored(self.next)?;
            view.next_offset()
        });
        self.next = checked.map_err(|error| self.damaged(error))?;
        self.pos = self.pos.plus(len_u64(len_bytes));
        Ok(Some(batch))
    }

    async fn read(&mut self, shard: &Rc<Shard<I>>) -> Result<(), Stopped> {
        let is_there = self.partition.with_log(|log| log.segment_end(self.source.name).is_some());
        if shard.is_stopping() || self.partition.condition() != Condition::Open || !is_there {
            return Err(Stopped::Gone);
        }
        let block = shard.wait_for_spare_block(COMPACTION_BYTES).await.ok_or(Stopped::Gone)?;
        let path = segment_path(self.partition.id(), self.source.name);
        let file = shard.io.open(&path, Open::ReadDirect).await?;
        let skip = self.read_to.get() % len_u64(BLOCK_BYTES);
        let (read, block) = shard.io.read(&file, self.read_to.get() - skip, block).await;
        let there = usize_of(self.source.bytes.since(self.read_to).saturating_add(skip)).min(read?);
        let bytes = block.as_slice().get(usize_of(skip)..there).unwrap_or_default();
        if bytes.is_empty() {
            return Err(self.damaged(BatchError::Truncated));
        }
        self.buffer.extend_from_slice(bytes);
        self.read_to = self.read_to.plus(len_u64(bytes.len()));
        Ok(())
    }

    fn damaged(&self, error: BatchError) -> Stopped {
        Stopped::Damaged { source: self.source, pos: self.pos, error }
    }
}

/// The state of producers at the end of a segment, if the file beside it can be read.
pub(super) async fn producers<I: Io>(
    shard: &Shard<I>,
    partition: PartitionId,
    segment: SegmentName,
) -> Option<Producers> {
    let path = sidecar_path(partition, segment);
    match shard.read_small(&path).await {
        Ok(bytes) => Sidecar::decode(&bytes).ok().map(|it| it.producers),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%path, %error, "a sidecar cannot be read");
            None
        }
    }
}

fn len_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the target has 64 bits")
}
