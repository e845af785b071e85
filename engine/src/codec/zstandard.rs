//! Zstandard (RFC 8878) in slices: frames one after the other.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::{Buf, Bytes};
use zstd::stream::raw::{DParameter, Decoder, Operation};

use crate::codec::{CodecError, Decoded, SLICE_BYTES, TO_MEMORY};

/// What Kafka's own broker and clients accept: 128 MiB, which the highest level asks for. The
/// system gives the memory of a window only where output was written into it.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) struct ZstdDecoder {
    input: Bytes,
    decoder: Decoder<'static>,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// No frame, or none whole, was read yet.
    Inside,
    /// A frame has just ended.
    FrameEnd,
}

impl ZstdDecoder {
    pub(super) fn new(input: Bytes) -> Result<Self, CodecError> {
        // It fails where memory is refused.
        let mut decoder = Decoder::new().map_err(|_refused| CodecError::TooLarge)?;
        let bounded = decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX));
        bounded.map_err(|_refused| CodecError::TooLarge)?;
        Ok(Self { input, decoder, at: At::Inside })
    }

    pub(super) fn read(&mut self, output: &mut [u8]) -> Result<Decoded, CodecError> {
        if self.input.is_empty() && self.at == At::FrameEnd {
            return Ok(Decoded::End);
        }
        let slice_bytes = self.input.len().min(SLICE_BYTES);
        let slice = self.input.get(..slice_bytes).unwrap_or_default();
        let status = self.decoder.run_on_buffers(slice, output);
        let status = status.map_err(|_corrupt| CodecError::Corrupt)?;
        if status.bytes_read == 0 && status.bytes_written == 0 && status.remaining != 0 {
            return Err(CodecError::Corrupt);
        }
        self.input.advance(status.bytes_read);
        self.at = if status.remaining == 0 { At::FrameEnd } else { At::Inside };
        Ok(Decoded::Bytes(status.bytes_written))
    }
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let packed = zstd::stream::encode_all(input, zstd::DEFAULT_COMPRESSION_LEVEL);
    packed.unwrap_or_else(|error| panic!("{TO_MEMORY}: {error}"))
}
