//! The file of a compacted segment: written past the page cache, durable with its sidecar at the end.

use std::rc::Rc;

use bytes::Bytes;
use engine::bug::Bug;
use engine::id::{FilePos, PartitionId};
use engine::segment::SegmentName;

use crate::compactor::{Pace, Stopped};
use crate::files::{partition_dir, segment_path, sidecar_path};
use crate::io::{Io, Open, Sync};
use crate::limits::{BLOCK_BYTES, COMPACTION_BYTES};
use crate::room::StoreError;
use crate::shard::Shard;
use crate::writer;

pub(super) struct Output<I: Io> {
    partition: PartitionId,
    name: SegmentName,
    file: I::File,
    /// Not written yet.
    buffer: Vec<u8>,
    pos: u64,
}

impl<I: Io> Output<I> {
    /// One of the same name was left by a crash: its bytes are written over, and its end is cut.
    pub(super) async fn create(
        shard: &Shard<I>,
        partition: PartitionId,
        name: SegmentName,
    ) -> Result<Self, StoreError> {
        let file = shard.io.open(&segment_path(partition, name), Open::CreateDirect).await?;
        Ok(Self { partition, name, file, buffer: Vec::new(), pos: 0 })
    }

    /// What is appended to it goes to the file.
    pub(super) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes whole pieces.
    pub(super) async fn write_some(
        &mut self,
        shard: &Rc<Shard<I>>,
        pace: &mut Pace,
    ) -> Result<(), Stopped> {
        while COMPACTION_BYTES <= self.buffer.len() {
            self.write(shard, COMPACTION_BYTES).await?;
            pace.rest(shard).await;
        }
        Ok(())
    }

    /// Writes the rest, and makes the file of `bytes` and its sidecar durable.
    pub(super) async fn finish(
        mut self,
        shard: &Rc<Shard<I>>,
        pace: &mut Pace,
        bytes: FilePos,
        sidecar: Vec<u8>,
    ) -> Result<(), Stopped> {
        self.write_some(shard, pace).await?;
        if !self.buffer.is_empty() {
            self.write(shard, self.buffer.len()).await?;
        }
        shard.io.truncate(&self.file, bytes.get()).await?;
        if !Bug::CompactedUnsynced.is_on() {
            shard.io.sync(&self.file).await.map_err(StoreError::of_sync)?;
        }
        // With the sidecar's name the segment's becomes durable, too.
        let path = sidecar_path(self.partition, self.name);
        let dir = partition_dir(self.partition);
        Ok(writer::write_file(shard, &path, Bytes::from(sidecar), &dir).await?)
    }

    /// The first `bytes` of what is not written; the last block of the file is padded.
    async fn write(&mut self, shard: &Rc<Shard<I>>, bytes: usize) -> Result<(), Stopped> {
        let block = shard.wait_for_spare_block(bytes).await;
        let mut block = block.ok_or(Stopped::Gone)?;
        block.append(&self.buffer[..bytes]);
        let parts = vec![block.disk(0..bytes.next_multiple_of(BLOCK_BYTES))];
        shard.io.write(&self.file, self.pos, parts, Sync::Lazy).await?;
        self.buffer.drain(..bytes);
        self.pos += u64::try_from(bytes).expect("usize is at most 64 bits here");
        Ok(())
    }
}
