//! Reads stored bytes of a partition: from its tail, else from its segment files.
//!
//! Knows where batches begin and end, nothing of requests.
//! Nothing believed before an await is believed after it: positions stay right because stored bytes never move.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use engine::batch::{Batch, HEADER_BYTES};
use engine::extent::Extent;
use engine::id::{FilePos, Offset};
use engine::index::Index;
use engine::log::Located;

use crate::buffer::Block;
use crate::files::Use;
use crate::io::Io;
use crate::limits::{BLOCK_BYTES, READ_BYTES_MAX, SCAN_BYTES};
use crate::message::ReadError;
use crate::metrics::Metric;
use crate::partition::Partition;
use crate::shard::Shard;

/// A stored batch, and how far its segment can be read.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub segment: Offset,
    pub pos: FilePos,
    pub extent: Extent,
    /// The end of what readers may see of this segment.
    pub end: FilePos,
    pub is_sealed: bool,
}

/// How a look into memory ended.
pub enum Look {
    Found(Found),
    /// It is not in memory.
    OnDisk(Located),
    /// Nothing is stored there, though the log goes on or may go on.
    Nothing,
}

/// The end of what readers may see of `segment`.
fn readable_end<I: Io>(partition: &Partition<I>, segment: Offset) -> FilePos {
    let end = partition.readable_end();
    if end.segment == segment {
        end.pos
    } else {
        partition.with_log(|log| log.segment_end(segment)).map_or(FilePos::ZERO, |it| it.pos)
    }
}

/// Finds the batch that holds `offset` if the tail holds it.
pub fn look<I: Io>(partition: &Partition<I>, offset: Offset) -> Look {
    if offset >= partition.readable_end().offset {
        return Look::Nothing;
    }
    let Some(located) = partition.with_log(|log| log.locate(offset)) else { return Look::Nothing };
    let end = readable_end(partition, located.segment);
    let mut pos = located.scan_from;
    let mut header = [0; HEADER_BYTES];
    while pos < end {
        if !partition.tail_copy(located.segment, pos, &mut header) {
            return Look::OnDisk(located);
        }
        let Ok(extent) = Extent::parse(&header) else { return Look::OnDisk(located) };
        if extent.end > offset {
            let (segment, is_sealed) = (located.segment, located.sealed);
            return Look::Found(Found { segment, pos, extent, end, is_sealed });
        }
        pos = pos.plus(len_u64(extent.len_bytes));
    }
    Look::Nothing
}

impl<I: Io> Shard<I> {
    /// Finds the batch that holds `offset`, wherever it is. `None` if nothing can be read there.
    pub async fn find(
        &self,
        partition: &Rc<Partition<I>>,
        offset: Offset,
    ) -> Result<Option<Found>, ReadError> {
        match look(partition, offset) {
            Look::Found(found) => Ok(Some(found)),
            Look::Nothing => Ok(None),
            Look::OnDisk(located) => {
                self.index(partition, located).await?;
                let again = partition.with_log(|log| log.locate(offset)).unwrap_or(located);
                let want = |extent: &Extent| extent.end > offset;
                self.find_from(partition, again, want).await
            }
        }
    }

    /// The first batch from `located` on that `is_wanted`, in its segment.
    pub async fn find_from(
        &self,
        partition: &Rc<Partition<I>>,
        located: Located,
        is_wanted: impl Fn(&Extent) -> bool,
    ) -> Result<Option<Found>, ReadError> {
        let segment = located.segment;
        let end = readable_end(partition, segment);
        let mut pos = located.scan_from;
        while pos < end {
            let until = FilePos::new(end.get().min(pos.get() + len_u64(SCAN_BYTES)));
            let window = self.read(partition, segment, pos, until, located.sealed).await?;
            let mut at = 0;
            while let Some(Ok(extent)) = window.get(at..).map(Extent::parse) {
                let pos = pos.plus(len_u64(at));
                if is_wanted(&extent) {
                    let is_sealed = located.sealed;
                    return Ok(Some(Found { segment, pos, extent, end, is_sealed }));
                }
                at += extent.len_bytes;
            }
            if at == 0 {
                tracing::error!(
                    partition = ?partition.id(), segment = segment.get(), pos = pos.get(),
                    "no record batch where the index says there is one"
                );
                return Err(ReadError::Fenced);
            }
            pos = pos.plus(len_u64(at));
        }
        Ok(None)
    }

    /// The bytes `[pos, end)` of a segment, or fewer, at most `READ_BYTES_MAX`.
    pub async fn read(
        &self,
        partition: &Rc<Partition<I>>,
        segment: Offset,
        pos: FilePos,
        end: FilePos,
        is_sealed: bool,
    ) -> Result<Bytes, ReadError> {
        let skip = pos.get() % len_u64(BLOCK_BYTES);
        let limit = FilePos::new(pos.get() - skip + len_u64(READ_BYTES_MAX));
        let end = end.min(limit);
        if let Some(parts) = partition.tail_bytes(segment, pos, end) {
            return Ok(join(parts));
        }
        // What is not in the file yet is in the tail, and is read from there next.
        let end = end.min(partition.file_end(segment));
        if end <= pos {
            return Err(ReadError::UnknownPartition); // Its topic was deleted, and its tail with it.
        }
        let read = self.read_file(partition, segment, pos, end, is_sealed).await;
        read.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return ReadError::UnknownPartition; // Its topic was deleted meanwhile.
            }
            self.recorder.borrow_mut().add(Metric::DiskErrors, 1);
            tracing::error!(
                partition = ?partition.id(), segment = segment.get(), pos = pos.get(), %error,
                "a segment cannot be read"
            );
            ReadError::Fenced
        })
    }

    /// A whole stored batch, checked.
    pub async fn read_batch(
        &self,
        partition: &Rc<Partition<I>>,
        found: &Found,
    ) -> Result<Bytes, ReadError> {
        let end = found.pos.plus(len_u64(found.extent.len_bytes));
        let mut bytes = Vec::new();
        let mut pos = found.pos;
        while pos < end {
            let part = self.read(partition, found.segment, pos, end, found.is_sealed).await?;
            if bytes.is_empty() && part.len() == found.extent.len_bytes {
                return checked(part, found);
            }
            pos = pos.plus(len_u64(part.len()));
            bytes.extend_from_slice(&part);
        }
        checked(Bytes::from(bytes), found)
    }

    async fn read_file(
        &self,
        partition: &Rc<Partition<I>>,
        segment: Offset,
        pos: FilePos,
        end: FilePos,
        is_sealed: bool,
    ) -> io::Result<Bytes> {
        let use_ = if is_sealed { Use::Sealed } else { Use::Direct };
        let file = self.files.get(partition.id(), segment, use_).await?;
        let skip = pos.get() % len_u64(BLOCK_BYTES);
        let wanted = skip + end.since(pos);
        let block = self.wait_for_block(usize_of(wanted)).await;
        let (read, block) = self.io.read(&file, pos.get() - skip, block).await;
        let filled = usize_of(wanted).min(read?);
        let skip = usize_of(skip);
        if filled <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(block.bytes(skip..filled))
    }

    /// Memory, as soon as there is some.
    pub async fn wait_for_block(&self, bytes: usize) -> Block {
        loop {
            if let Some(block) = self.io.block(bytes) {
                return block;
            }
            if self.trim(bytes) < bytes {
                self.next_freed().await;
            }
        }
    }

    /// Rebuilds the index of a segment after a restart, on its first use.
    async fn index(&self, partition: &Rc<Partition<I>>, located: Located) -> Result<(), ReadError> {
        let segment = located.segment;
        let Some(missing) = partition.with_log(|log| log.index_missing(segment)) else {
            return Ok(());
        };
        let interval = u64::from(partition.config().segment.index_interval_bytes);
        let mut index = Index::new();
        while index.end() < missing {
            let until = missing.get().min(index.end().get() + len_u64(READ_BYTES_MAX));
            let until = FilePos::new(until.max(index.end().get() + len_u64(HEADER_BYTES)));
            let window = self.read(partition, segment, index.end(), until, located.sealed).await?;
            let mut at = 0;
            while let Some(Ok(extent)) = window.get(at..).map(Extent::parse) {
                let bytes = len_u64(extent.len_bytes);
                index.on_batch(extent.base, bytes, extent.max_timestamp, interval);
                at += extent.len_bytes;
            }
            if at == 0 {
                return Err(ReadError::Fenced);
            }
        }
        partition.change_log(|log| log.on_index_rebuilt(segment, index));
        Ok(())
    }
}

fn checked(bytes: Bytes, found: &Found) -> Result<Bytes, ReadError> {
    let sound = Batch::parse(&bytes).and_then(|batch| batch.check_stored(found.extent.base));
    if sound.is_err() {
        tracing::error!(
            segment = found.segment.get(),
            pos = found.pos.get(),
            "a stored batch is damaged"
        );
        return Err(ReadError::Fenced);
    }
    Ok(bytes)
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    Bytes::from(parts.concat())
}

fn len_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("reads are bounded far below 2^32")
}
