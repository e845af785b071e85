//! Zstandard (RFC 8878) in slices: frames one after the other.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::{Buf, Bytes};
use zstd::stream::raw::{DParameter, Decoder, Operation};
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, SafeResult};

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

/// Of what is written here. It bounds the memory of the highest levels, and any reader has room for it.
const WINDOW_LOG_WRITTEN_MAX: u32 = 23;

/// Writes one frame that says how long its content is.
pub(super) struct ZstdEncoder {
    context: CCtx<'static>,
    ends_blocks: bool,
    output: Vec<u8>,
}

impl ZstdEncoder {
    /// From this level on a whole block takes so long that it is ended with each piece that is written.
    pub(super) const SLOW_LEVEL: i32 = 10;

    /// Exactly `input_bytes` are going to be written.
    pub(super) fn new(level: i32, input_bytes: usize, output: Vec<u8>) -> Self {
        let mut context = CCtx::create();
        let mut set = |parameter| sound(context.set_parameter(parameter));
        set(CParameter::CompressionLevel(level));
        if 1 << WINDOW_LOG_WRITTEN_MAX < input_bytes && level > 19 {
            // What the level below these asks for.
            set(CParameter::WindowLog(WINDOW_LOG_WRITTEN_MAX));
            set(CParameter::ChainLog(WINDOW_LOG_WRITTEN_MAX.saturating_add(1)));
            set(CParameter::HashLog(WINDOW_LOG_WRITTEN_MAX.saturating_sub(1)));
        }
        let pledged = u64::try_from(input_bytes).ok();
        sound(context.set_pledged_src_size(pledged));
        Self { context, ends_blocks: level >= Self::SLOW_LEVEL, output }
    }

    /// At most, of an encoder for so many bytes: window, tables, and buffers.
    pub(super) fn memory_bytes(input_bytes: usize) -> usize {
        let window_bytes = input_bytes.checked_next_power_of_two().unwrap_or(usize::MAX);
        let window_bytes = window_bytes.clamp(1 << 10, 1 << WINDOW_LOG_WRITTEN_MAX);
        window_bytes.saturating_mul(17).saturating_add(4 << 20)
    }

    pub(super) fn write(&mut self, input: &[u8]) {
        let mut input = InBuffer::around(input);
        while input.pos() < input.src.len() {
            let (context, mut output) = (&mut self.context, with_room(&mut self.output));
            sound(context.compress_stream(&mut output, &mut input));
        }
        if self.ends_blocks {
            self.drain(CCtx::flush_stream);
        }
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.drain(CCtx::end_stream);
        self.output
    }

    /// What it holds once it has begun.
    #[cfg(test)]
    pub(super) fn held_bytes(level: i32, input_bytes: usize) -> usize {
        let mut encoder = Self::new(level, input_bytes, Vec::new());
        encoder.write(&[0]);
        encoder.context.sizeof()
    }

    fn drain(
        &mut self,
        step: impl Fn(&mut CCtx<'static>, &mut OutBuffer<'_, Vec<u8>>) -> SafeResult,
    ) {
        while sound(step(&mut self.context, &mut with_room(&mut self.output))) > 0 {}
    }
}

/// The end of `output`, which is made longer.
fn with_room(output: &mut Vec<u8>) -> OutBuffer<'_, Vec<u8>> {
    output.reserve(SLICE_BYTES);
    let end = output.len();
    OutBuffer::around_pos(output, end)
}

fn sound(result: SafeResult) -> usize {
    result.unwrap_or_else(|code| panic!("{TO_MEMORY}: {}", zstd_safe::get_error_name(code)))
}
