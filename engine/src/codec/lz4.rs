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

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    let written = encoder.write_all(input);
    written.unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"));
    encoder.finish().unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"))
}
