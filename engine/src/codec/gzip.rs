//! Gzip (RFC 1952) in slices: members one after the other, as Java's reader takes them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use crate::codec::{CodecError, Decoded, SLICE_BYTES, TO_MEMORY};

const MEMBER_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) struct GzipDecoder {
    /// `None` after the last member.
    member: Option<GzDecoder<Window>>,
}

impl GzipDecoder {
    pub(super) fn new(input: Bytes) -> Self {
        Self { member: Some(GzDecoder::new(Window { input, open_bytes: SLICE_BYTES })) }
    }

    pub(super) fn read(&mut self, output: &mut [u8]) -> Result<Decoded, CodecError> {
        let Some(member) = &mut self.member else { return Ok(Decoded::End) };
        member.get_mut().open_bytes = SLICE_BYTES;
        match member.read(output) {
            Ok(0) => {
                let input = self.member.take().map(|it| it.into_inner().input).unwrap_or_default();
                if !input.starts_with(&MEMBER_MAGIC) {
                    return Ok(Decoded::End);
                }
                *self = Self::new(input);
                Ok(Decoded::Bytes(0))
            }
            Ok(count) => Ok(Decoded::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Decoded::Bytes(0)),
            Err(_corrupt) => Err(CodecError::Corrupt),
        }
    }
}

/// The input, of which the decoder sees only so much in one read: then it "would block".
struct Window {
    input: Bytes,
    open_bytes: usize,
}

impl Read for Window {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(output)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Window {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.open_bytes == 0 && !self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.open_bytes.min(self.input.len());
        Ok(self.input.get(..count).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.input.advance(count);
        self.open_bytes = self.open_bytes.saturating_sub(count);
    }
}

pub(super) struct GzipEncoder(GzEncoder<Vec<u8>>);

impl GzipEncoder {
    /// Room for the compressor's tables and its window, about.
    pub(super) const MEMORY_BYTES: usize = 512 << 10;

    /// `level` is 1 to 9, anything else the usual one.
    pub(super) fn new(level: i32, output: Vec<u8>) -> Self {
        let level = u32::try_from(level).ok().filter(|it| (1..=9).contains(it));
        let level = level.map_or_else(Compression::default, Compression::new);
        Self(GzEncoder::new(output, level))
    }

    pub(super) fn write(&mut self, input: &[u8]) {
        let written = self.0.write_all(input);
        written.unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"));
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.0.get_ref().len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.finish().unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"))
    }
}
