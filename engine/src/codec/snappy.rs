//! Snappy in slices: the raw format (one block), and the framed one of `snappy-java`.
//!
//! ```text
//! raw     length of the output (varint), elements
//! framed  82 'S' 'N' 'A' 'P' 'P' 'Y' 00, version 4, oldest version 4
//!         { length 4 (big endian), raw block } ...    the 16-byte header may come again
//!
//! element, by the low two bits of its first byte:
//!   0  literal   length - 1 in the upper six bits, or (60 to 63) in the next 1 to 4 bytes
//!   1  copy      length - 4 in bits 2-4, offset: 3 + 8 bits
//!   2  copy      length - 1 in the upper six bits, offset: 16 bits, little endian
//!   3  copy      likewise, offset: 32 bits
//! ```
//! Decoded here and not by a library, since libraries decode only whole blocks: a raw one is a
//! whole batch, of up to 22 times its bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::{Buf, Bytes};

use crate::codec::{CodecError, Decoded, SLICE_BYTES, TO_MEMORY, copy_prefix};

const FRAME_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const FRAME_MAGIC_BYTES: usize = 8;

/// The first four bytes of a frame header, where a chunk's length may stand.
const FRAME_HEADER_AGAIN: i32 = i32::from_be_bytes(*b"\x82SNA");

/// As `snappy-java` cuts them.
const CHUNK_BYTES: usize = 32 << 10;

/// Three bytes of a copy give at most 64.
const RATIO_MAX: usize = 22;

pub(super) struct SnappyDecoder {
    form: Form,
    /// What follows the present block.
    input: Bytes,
    /// What the present block still has.
    block: Bytes,
    /// The present block's output so far, which its copies refer to; `given` bytes of it are out.
    output: Vec<u8>,
    given: usize,
    output_end: usize,
}

enum Form {
    /// Nothing was read yet.
    Unknown,
    Raw,
    Framed,
}

impl SnappyDecoder {
    pub(super) fn new(input: Bytes) -> Self {
        Self {
            form: Form::Unknown,
            input,
            block: Bytes::new(),
            output: Vec::new(),
            given: 0,
            output_end: 0,
        }
    }

    /// A block that announces more than `output_bytes_max` is refused at once.
    pub(super) fn read(
        &mut self,
        output: &mut [u8],
        output_bytes_max: usize,
    ) -> Result<Decoded, CodecError> {
        if self.given == self.output.len() {
            if self.output.len() < self.output_end {
                self.decode_slice()?;
            } else if !self.block.is_empty() {
                return Err(CodecError::Corrupt);
            } else if !self.begin_block(output_bytes_max)? {
                return Ok(Decoded::End);
            }
        }
        let ready = self.output.get(self.given..).unwrap_or_default();
        let count = copy_prefix(ready, output);
        self.given = self.given.saturating_add(count);
        Ok(Decoded::Bytes(count))
    }

    /// `false` at the end.
    fn begin_block(&mut self, output_bytes_max: usize) -> Result<bool, CodecError> {
        let magic = FRAME_HEADER.get(..FRAME_MAGIC_BYTES).unwrap_or_default();
        match self.form {
            Form::Unknown if self.input.starts_with(magic) => {
                self.form = Form::Framed;
                self.skip(FRAME_HEADER.len())?;
                return Ok(true);
            }
            Form::Unknown => {
                self.form = Form::Raw;
                self.block = std::mem::take(&mut self.input);
            }
            Form::Raw => return Ok(false),
            Form::Framed if self.input.is_empty() => return Ok(false),
            Form::Framed => {
                let length = self.input.try_get_i32().map_err(|_short| CodecError::Corrupt)?;
                if length == FRAME_HEADER_AGAIN {
                    self.skip(FRAME_HEADER.len().saturating_sub(4))?;
                    return Ok(true);
                }
                let length = usize::try_from(length).map_err(|_negative| CodecError::Corrupt)?;
                if self.input.len() < length {
                    return Err(CodecError::Corrupt);
                }
                self.block = self.input.split_to(length);
            }
        }
        let block_bytes = self.block.len();
        let announced_bytes = self.take_varint()?;
        if announced_bytes > block_bytes.saturating_mul(RATIO_MAX) {
            return Err(CodecError::Corrupt);
        }
        if announced_bytes > output_bytes_max {
            return Err(CodecError::TooLarge);
        }
        // Bounded by what the block has. To grow by doubling would copy all of it, again and again.
        self.output.clear();
        self.output.reserve_exact(announced_bytes);
        self.given = 0;
        self.output_end = announced_bytes;
        Ok(true)
    }

    /// Elements until a slice of output is ready, or the block is done.
    fn decode_slice(&mut self) -> Result<(), CodecError> {
        let slice_end = self.output.len().saturating_add(SLICE_BYTES).min(self.output_end);
        let mut block = &self.block[..];
        while self.output.len() < slice_end {
            let tag = take_le(&mut block, 1)?;
            let upper = tag >> 2;
            match tag & 3 {
                0 => literal(&mut block, upper, &mut self.output)?,
                1 => {
                    let low = take_le(&mut block, 1)?;
                    copy((upper >> 3) << 8 | low, (upper & 7).saturating_add(4), &mut self.output)?;
                }
                2 => copy(take_le(&mut block, 2)?, upper.saturating_add(1), &mut self.output)?,
                _ => copy(take_le(&mut block, 4)?, upper.saturating_add(1), &mut self.output)?,
            }
        }
        let used = self.block.len().saturating_sub(block.len());
        self.block.advance(used);
        if self.output.len() > self.output_end { Err(CodecError::Corrupt) } else { Ok(()) }
    }

    fn skip(&mut self, count: usize) -> Result<(), CodecError> {
        if self.input.len() < count {
            return Err(CodecError::Corrupt);
        }
        self.input.advance(count);
        Ok(())
    }

    fn take_varint(&mut self) -> Result<usize, CodecError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.block.try_get_u8().map_err(|_short| CodecError::Corrupt)?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CodecError::Corrupt)
    }
}

fn literal(block: &mut &[u8], upper: usize, output: &mut Vec<u8>) -> Result<(), CodecError> {
    let length_less_1 = match upper {
        0..60 => upper,
        _ => take_le(block, upper.saturating_sub(59))?,
    };
    let length = length_less_1.saturating_add(1);
    let (literal, rest) = block.split_at_checked(length).ok_or(CodecError::Corrupt)?;
    output.extend_from_slice(literal);
    *block = rest;
    Ok(())
}

fn copy(offset: usize, length: usize, output: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = output.len().checked_sub(offset).ok_or(CodecError::Corrupt)?;
    if offset == 0 {
        return Err(CodecError::Corrupt);
    }
    if length <= offset {
        output.extend_from_within(start..start.saturating_add(length));
    } else {
        // The copy reads what it writes: `offset` bytes, again and again.
        for at in start..start.saturating_add(length) {
            let byte = output.get(at).copied().ok_or(CodecError::Corrupt)?;
            output.push(byte);
        }
    }
    Ok(())
}

/// A little-endian integer of `count` bytes.
#[inline]
fn take_le(block: &mut &[u8], count: usize) -> Result<usize, CodecError> {
    let (bytes, rest) = block.split_at_checked(count).ok_or(CodecError::Corrupt)?;
    *block = rest;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

/// Writes the framed form.
pub(super) struct SnappyEncoder {
    encoder: snap::raw::Encoder,
    /// Less than a chunk.
    chunk: Vec<u8>,
    output: Vec<u8>,
}

impl SnappyEncoder {
    /// Room for a chunk and the table of its strings, about.
    pub(super) const MEMORY_BYTES: usize = 128 << 10;

    pub(super) fn new(mut output: Vec<u8>) -> Self {
        output.extend_from_slice(&FRAME_HEADER);
        Self { encoder: snap::raw::Encoder::new(), chunk: Vec::new(), output }
    }

    pub(super) fn write(&mut self, input: &[u8]) {
        super::in_chunks(&mut self.chunk, CHUNK_BYTES, input, |chunk| {
            put_chunk(&mut self.encoder, chunk, &mut self.output);
        });
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.chunk.is_empty() {
            put_chunk(&mut self.encoder, &self.chunk, &mut self.output);
        }
        self.output
    }
}

fn put_chunk(encoder: &mut snap::raw::Encoder, chunk: &[u8], output: &mut Vec<u8>) {
    let block = encoder.compress_vec(chunk);
    let block = block.unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"));
    let length = u32::try_from(block.len()).unwrap_or_else(|_large| panic!("{TO_MEMORY}"));
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(&block);
}
