//! LZ4's frame format, as much of it as Kafka takes: version 1, independent blocks, no dictionary.
//!
//! ```text
//! magic 04 22 4d 18
//! flags   bits 7-6 version (1), 5 independent blocks, 4 block checksums, 3 content size,
//!         2 content checksum, 1-0 must be 0
//! blocks  bits 6-4 log of the largest block: 4 is 64 KiB, 7 is 4 MiB
//! [content size 8]  header checksum 1
//! { block length 4 (top bit: stored)  block  [block checksum 4] } ...
//! 0 0 0 0  [content checksum 4]
//! ```
//! All little endian. Bytes after the frame are ignored.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::hash::Hasher;
use std::io::Write;

use bytes::{Buf, Bytes};
use lz4::block::CompressionMode;
use lz4_flex::block::decompress_into;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use crate::codec::{CodecError, Decoded, TO_MEMORY, copy_prefix};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAGS_FIXED_BITS: u8 = 0b1110_0011;
const FLAGS_FIXED: u8 = 0b0110_0000;
const BLOCK_CHECKSUMS_BIT: u8 = 0b0001_0000;
const CONTENT_SIZE_BIT: u8 = 0b0000_1000;
const CONTENT_CHECKSUM_BIT: u8 = 0b0000_0100;
const STORED_BIT: u32 = 1 << 31;
const LENGTH_BYTES: usize = 4;

/// A byte of a block lengthens a match by at most 255.
const RATIO_MAX: usize = 255;

pub(super) struct Lz4Decoder {
    input: Bytes,
    at: At,
    flags: u8,
    block_bytes_max: usize,
    content_hash: XxHash32,
    /// The block being given out, in `block[given..end]`.
    block: Vec<u8>,
    given: usize,
    end: usize,
}

enum At {
    Header,
    Blocks,
    End,
}

impl Lz4Decoder {
    pub(super) fn new(input: Bytes) -> Self {
        Self {
            input,
            at: At::Header,
            flags: 0,
            block_bytes_max: 0,
            content_hash: XxHash32::with_seed(0),
            block: Vec::new(),
            given: 0,
            end: 0,
        }
    }

    pub(super) fn read(&mut self, output: &mut [u8]) -> Result<Decoded, CodecError> {
        if self.given == self.end {
            match self.at {
                At::Header => self.read_header()?,
                At::Blocks => self.read_block()?,
                At::End => return Ok(Decoded::End),
            }
        }
        let ready = self.block.get(self.given..self.end).unwrap_or_default();
        let count = copy_prefix(ready, output);
        self.given = self.given.saturating_add(count);
        Ok(Decoded::Bytes(count))
    }

    fn read_header(&mut self) -> Result<(), CodecError> {
        if self.take(MAGIC.len())? != MAGIC.as_slice() {
            return Err(CodecError::Corrupt);
        }
        let flags = self.input.first().copied().ok_or(CodecError::Corrupt)?;
        let descriptor_bytes = if flags & CONTENT_SIZE_BIT == 0 { 2 } else { 10 };
        let descriptor = self.take(descriptor_bytes)?;
        let checksum = self.take(1)?;
        let hash = XxHash32::oneshot(0, &descriptor).to_be_bytes();
        if flags & FLAGS_FIXED_BITS != FLAGS_FIXED || checksum.first() != hash.get(2) {
            return Err(CodecError::Corrupt);
        }
        self.block_bytes_max = match descriptor.get(1) {
            Some(0x40) => 64 << 10,
            Some(0x50) => 256 << 10,
            Some(0x60) => 1 << 20,
            Some(0x70) => 4 << 20,
            _ => return Err(CodecError::Corrupt),
        };
        self.flags = flags;
        self.at = At::Blocks;
        Ok(())
    }

    fn read_block(&mut self) -> Result<(), CodecError> {
        let length = self.take_u32()?;
        if length == 0 {
            return self.read_end();
        }
        let packed_bytes = usize::try_from(length & !STORED_BIT);
        let packed_bytes = packed_bytes.map_err(|_large| CodecError::Corrupt)?;
        if packed_bytes > self.block_bytes_max {
            return Err(CodecError::Corrupt);
        }
        let packed = self.take(packed_bytes)?;
        if self.flags & BLOCK_CHECKSUMS_BIT != 0
            && self.take_u32()? != XxHash32::oneshot(0, &packed)
        {
            return Err(CodecError::Corrupt);
        }
        self.given = 0;
        if length & STORED_BIT != 0 {
            self.block.clear();
            self.block.extend_from_slice(&packed);
            self.end = packed.len();
        } else {
            let room = packed_bytes.saturating_mul(RATIO_MAX).min(self.block_bytes_max);
            if self.block.len() < room {
                self.block.resize(room, 0);
            }
            let unpacked = decompress_into(&packed, &mut self.block);
            self.end = unpacked.map_err(|_corrupt| CodecError::Corrupt)?;
        }
        if self.flags & CONTENT_CHECKSUM_BIT != 0 {
            self.content_hash.write(self.block.get(..self.end).unwrap_or_default());
        }
        Ok(())
    }

    fn read_end(&mut self) -> Result<(), CodecError> {
        if self.flags & CONTENT_CHECKSUM_BIT != 0
            && self.take_u32()? != self.content_hash.finish_32()
        {
            return Err(CodecError::Corrupt);
        }
        self.at = At::End;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<Bytes, CodecError> {
        if self.input.len() < count {
            return Err(CodecError::Corrupt);
        }
        Ok(self.input.split_to(count))
    }

    fn take_u32(&mut self) -> Result<u32, CodecError> {
        self.input.try_get_u32_le().map_err(|_short| CodecError::Corrupt)
    }
}

/// Writes blocks of 64 KiB, as Kafka does, and no checksums but the header's.
pub(super) enum Lz4Encoder {
    Fast(FrameEncoder<Vec<u8>>),
    High(HighEncoder),
}

impl Lz4Encoder {
    /// Kafka compresses at its default level with the fast compressor, whatever the number.
    pub(super) const FAST_LEVEL: i32 = 9;

    /// Room for two blocks and the tables of the slower compressor, about.
    pub(super) const MEMORY_BYTES: usize = 512 << 10;

    pub(super) fn new(level: i32, output: Vec<u8>) -> Self {
        if level == Self::FAST_LEVEL {
            let frame = FrameInfo::new().block_size(BlockSize::Max64KB);
            let frame = frame.block_mode(BlockMode::Independent);
            Self::Fast(FrameEncoder::with_frame_info(frame, output))
        } else {
            Self::High(HighEncoder::new(level, output))
        }
    }

    pub(super) fn write(&mut self, input: &[u8]) {
        match self {
            Self::Fast(encoder) => {
                let written = encoder.write_all(input);
                written.unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"));
            }
            Self::High(encoder) => encoder.write(input),
        }
    }

    pub(super) fn output_bytes(&self) -> usize {
        match self {
            Self::Fast(encoder) => encoder.get_ref().len(),
            Self::High(encoder) => encoder.output.len(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Fast(encoder) => {
                encoder.finish().unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"))
            }
            Self::High(encoder) => encoder.finish(),
        }
    }
}

/// Compresses slowly and well.
pub(super) struct HighEncoder {
    level: i32,
    /// Less than a block, or one that nothing follows yet.
    block: Vec<u8>,
    output: Vec<u8>,
}

impl HighEncoder {
    const BLOCK_BYTES: usize = 64 << 10;
    const DESCRIPTOR: [u8; 2] = [FLAGS_FIXED, 0x40];

    fn new(level: i32, mut output: Vec<u8>) -> Self {
        let [_, _, checksum, _] = XxHash32::oneshot(0, &Self::DESCRIPTOR).to_be_bytes();
        output.extend(MAGIC);
        output.extend(Self::DESCRIPTOR);
        output.push(checksum);
        Self { level, block: Vec::new(), output }
    }

    fn write(&mut self, input: &[u8]) {
        super::in_chunks(&mut self.block, Self::BLOCK_BYTES, input, |block| {
            put_block(self.level, block, &mut self.output);
        });
    }

    fn finish(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            put_block(self.level, &self.block, &mut self.output);
        }
        self.output.extend([0; LENGTH_BYTES]);
        self.output
    }
}

/// Stores the block as it is where it does not get smaller.
fn put_block(level: i32, block: &[u8], output: &mut Vec<u8>) {
    let start = output.len();
    let packed_at = start.saturating_add(LENGTH_BYTES);
    output.resize(packed_at.saturating_add(block.len()), 0);
    let (_, room) = output.split_at_mut(packed_at);
    // It fails where there is no room for the result.
    let mode = CompressionMode::HIGHCOMPRESSION(level);
    let packed = lz4::block::compress_to_buffer(block, Some(mode), false, room);
    let (bytes, bit) = match packed {
        Ok(bytes) if bytes < block.len() => (bytes, 0),
        Ok(_) | Err(_) => {
            room.copy_from_slice(block);
            (block.len(), STORED_BIT)
        }
    };
    output.truncate(packed_at.saturating_add(bytes));
    let length = u32::try_from(bytes).unwrap_or_else(|_large| panic!("{TO_MEMORY}")) | bit;
    if let Some((_, tail)) = output.split_at_mut_checked(start)
        && let Some(field) = tail.first_chunk_mut()
    {
        *field = length.swap_bytes().to_be_bytes();
    }
}
