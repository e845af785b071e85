//! The newest bytes of a partition, in memory as they are (or will be) in its segment files.
//!
//! A chunk is write buffer, cache and fetch source at once.
//! Invariant: the chunks of one segment follow each other without a gap, each starts at a block,
//! and all but the last of a segment are full.

use std::collections::VecDeque;

use bytes::Bytes;
use engine::id::{FilePos, Offset};

use crate::buffer::{Block, DiskRange};
use crate::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

struct Chunk {
    /// Names the segment file.
    segment: Offset,
    /// Where in the file the block's first byte is. A multiple of the block size.
    start: u64,
    block: Block,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + bytes_u64(self.block.filled())
    }

    fn is_full(&self) -> bool {
        self.block.filled() == self.block.capacity()
    }
}

/// One per partition, on its owner.
#[derive(Default)]
pub struct Tail {
    chunks: VecDeque<Chunk>,
}

impl Tail {
    /// Whether `pos` of `segment`, where the next append goes, is ready to be written to.
    /// It is not after a restart, or when the memory was given back, in the middle of a block.
    #[must_use]
    pub fn is_warm(&self, segment: Offset, pos: FilePos) -> bool {
        let is_block_start = pos.get().is_multiple_of(bytes_u64(BLOCK_BYTES));
        is_block_start || self.last_of(segment).is_some_and(|chunk| chunk.end() == pos.get())
    }

    /// Takes the block in which the log ends, as read from the file.
    pub fn warm(&mut self, segment: Offset, start: FilePos, block: Block) {
        assert!(start.get().is_multiple_of(bytes_u64(BLOCK_BYTES)));
        assert!(self.last_of(segment).is_none());
        self.chunks.push_back(Chunk { segment, start: start.get(), block });
    }

    /// Bytes that the next append to `segment` finds room for without a new chunk.
    fn room(&self, segment: Offset) -> usize {
        self.last_of(segment).map_or(0, |chunk| chunk.block.capacity() - chunk.block.filled())
    }

    /// Gets the memory for an append of `bytes` at `pos`: after it, `append` cannot fail.
    /// `None` from `allocate` is passed on as false, with nothing changed.
    pub fn reserve(
        &mut self,
        segment: Offset,
        pos: FilePos,
        bytes: usize,
        allocate: impl Fn(usize) -> Option<Block>,
    ) -> Option<Reserved> {
        assert!(self.is_warm(segment, pos));
        let room = self.room(segment);
        let mut blocks = VecDeque::new();
        let mut missing = bytes.saturating_sub(room);
        let mut previous = self.last_of(segment).map_or(0, |chunk| chunk.block.capacity());
        while missing > 0 {
            let wanted = missing.max(previous * 4).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
            let block = allocate(wanted)?;
            previous = block.capacity();
            missing = missing.saturating_sub(block.capacity());
            blocks.push_back(block);
        }
        Some(Reserved { blocks, bytes })
    }

    /// Copies `parts` to `pos` of `segment`.
    pub fn append(
        &mut self,
        segment: Offset,
        pos: FilePos,
        parts: &[&[u8]],
        mut reserved: Reserved,
    ) {
        assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), reserved.bytes);
        let mut at = pos.get();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if self.room(segment) == 0 {
                    let block = reserved.blocks.pop_front().expect("reserved for these bytes");
                    assert!(at.is_multiple_of(bytes_u64(BLOCK_BYTES)));
                    self.chunks.push_back(Chunk { segment, start: at, block });
                }
                let chunk = self.chunks.back_mut().expect("a chunk with room");
                assert_eq!(chunk.end(), at);
                let taken = rest.len().min(chunk.block.capacity() - chunk.block.filled());
                chunk.block.append(&rest[..taken]);
                rest = &rest[taken..];
                at += bytes_u64(taken);
            }
        }
    }

    /// Whether `[pos, end)` of `segment` is all here.
    #[must_use]
    pub fn holds(&self, segment: Offset, pos: FilePos, end: FilePos) -> bool {
        let first = self.chunks.iter().find(|it| it.segment == segment);
        first.is_some_and(|it| it.start <= pos.get())
            && self.last_of(segment).is_some_and(|it| it.end() >= end.get())
    }

    /// The bytes `[pos, end)` of `segment`, without a copy.
    #[must_use]
    pub fn bytes(&self, segment: Offset, pos: FilePos, end: FilePos) -> Vec<Bytes> {
        assert!(self.holds(segment, pos, end));
        self.overlapping(segment, pos.get(), end.get())
            .map(|chunk| {
                let from = pos.get().max(chunk.start) - chunk.start;
                let to = end.get().min(chunk.end()) - chunk.start;
                chunk.block.bytes(usize_of(from)..usize_of(to))
            })
            .collect()
    }

    /// Copies the bytes from `pos` of `segment` until `target` is full.
    pub fn copy_to(&self, segment: Offset, pos: FilePos, target: &mut [u8]) {
        let end = pos.get() + bytes_u64(target.len());
        let mut filled = 0;
        for chunk in self.overlapping(segment, pos.get(), end) {
            let from = usize_of(pos.get().max(chunk.start) - chunk.start);
            let to = usize_of(end.min(chunk.end()) - chunk.start);
            target[filled..filled + (to - from)].copy_from_slice(&chunk.block.as_slice()[from..to]);
            filled += to - from;
        }
        assert_eq!(filled, target.len(), "the caller asked for what `holds` promised");
    }

    /// The blocks that hold `[from, end)` of `segment`, for a direct write at `from`.
    /// `from` is a block's start; the last block is padded by what the memory holds.
    #[must_use]
    pub fn disk(&self, segment: Offset, from: FilePos, end: FilePos) -> Vec<DiskRange> {
        assert!(self.holds(segment, from, end));
        self.overlapping(segment, from.get(), end.get())
            .map(|chunk| {
                let start = usize_of(from.get().max(chunk.start) - chunk.start);
                let end = usize_of(end.get().min(chunk.end()) - chunk.start);
                chunk.block.disk(start..end.next_multiple_of(BLOCK_BYTES))
            })
            .collect()
    }

    /// Gives back chunks that lie wholly before `flushed` of `segment`, the oldest first, and all of
    /// older segments; stops when `wanted` bytes are free. Returns what was freed.
    pub fn trim(&mut self, segment: Offset, flushed: FilePos, wanted: usize) -> usize {
        let mut freed = 0;
        while freed < wanted
            && let Some(chunk) = self.chunks.front()
            && (chunk.segment < segment
                || (chunk.segment == segment && chunk.is_full() && chunk.end() <= flushed.get()))
        {
            freed += chunk.block.capacity();
            self.chunks.pop_front();
        }
        freed
    }

    /// Gives back everything. Only for a partition whose every byte is in its segment.
    pub fn clear(&mut self) -> usize {
        let freed = self.memory_bytes();
        self.chunks.clear();
        freed
    }

    /// Keeps only the block in which the log ends, at `end` of `segment`. Only for a partition whose
    /// every byte is in its segment.
    pub fn shrink(
        &mut self,
        segment: Offset,
        end: FilePos,
        allocate: impl Fn(usize) -> Option<Block>,
    ) {
        let start = end.get() - end.get() % bytes_u64(BLOCK_BYTES);
        if self.memory_bytes() <= BLOCK_BYTES || !self.holds(segment, FilePos::new(start), end) {
            return;
        }
        let last = self.bytes(segment, FilePos::new(start), end);
        let Some(mut block) = allocate(BLOCK_BYTES) else { return };
        last.iter().for_each(|part| block.append(part));
        self.chunks.clear();
        if end.get() > start {
            self.chunks.push_back(Chunk { segment, start, block });
        }
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.block.capacity()).sum()
    }

    fn last_of(&self, segment: Offset) -> Option<&Chunk> {
        self.chunks.iter().rev().find(|it| it.segment == segment)
    }

    fn overlapping(&self, segment: Offset, from: u64, end: u64) -> impl Iterator<Item = &Chunk> {
        let first = self.chunks.partition_point(|it| {
            it.segment < segment || (it.segment == segment && it.end() <= from)
        });
        self.chunks.range(first..).take_while(move |it| it.segment == segment && it.start < end)
    }
}

/// Memory that an append was promised.
#[must_use]
pub struct Reserved {
    blocks: VecDeque<Block>,
    bytes: usize,
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a chunk's positions fit")
}
