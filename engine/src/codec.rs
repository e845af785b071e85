//! The codecs of record batches: decompression in slices; compression is [`encoder`]'s.
//!
//! A decoder allocates in proportion to the bytes it was given, never to a length they announce,
//! and gives no more than its limit. Knows nothing of what the bytes mean.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

pub mod encoder;
mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use bytes::{Buf, Bytes};

use crate::codec::encoder::{Compression, Encoder};
use crate::codec::gzip::GzipDecoder;
use crate::codec::lz4::Lz4Decoder;
use crate::codec::snappy::SnappyDecoder;
use crate::codec::zstandard::ZstdDecoder;

/// Compressed bytes that one [`Decoder::read`] looks at, at most: a slice without output is short
/// too. A block of LZ4 is the exception; it is decompressed whole, and has at most 4 MiB.
const SLICE_BYTES: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// By its number in a batch's attributes.
    #[must_use]
    pub const fn checked(bits: u16) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its number in a batch's attributes.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// As topic configs and commands write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    Corrupt,
    /// More output than the limit.
    TooLarge,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// So many bytes; 0 says that only input was consumed, and there is more.
    Bytes(usize),
    End,
}

/// Decompresses one batch's records, slice by slice.
pub struct Decoder {
    form: Form,
    output_bytes_left: usize,
}

enum Form {
    None(Bytes),
    Gzip(Box<GzipDecoder>),
    Snappy(SnappyDecoder),
    Lz4(Lz4Decoder),
    Zstd(ZstdDecoder),
}

impl Decoder {
    pub fn new(codec: Codec, input: Bytes, output_bytes_max: usize) -> Result<Self, CodecError> {
        let form = match codec {
            Codec::None => Form::None(input),
            Codec::Gzip => Form::Gzip(Box::new(GzipDecoder::new(input))),
            Codec::Snappy => Form::Snappy(SnappyDecoder::new(input)),
            Codec::Lz4 => Form::Lz4(Lz4Decoder::new(input)),
            Codec::Zstd => Form::Zstd(ZstdDecoder::new(input)?),
        };
        Ok(Self { form, output_bytes_left: output_bytes_max })
    }

    /// Fills a part of `output`, which must have room. After an error it must not be called again.
    pub fn read(&mut self, output: &mut [u8]) -> Result<Decoded, CodecError> {
        assert!(!output.is_empty(), "a read without room would never end");
        let decoded = match &mut self.form {
            Form::None(input) => take(input, output),
            Form::Gzip(gzip) => gzip.read(output)?,
            Form::Snappy(snappy) => snappy.read(output, self.output_bytes_left)?,
            Form::Lz4(lz4) => lz4.read(output)?,
            Form::Zstd(zstd) => zstd.read(output)?,
        };
        if let Decoded::Bytes(count) = decoded {
            let left = self.output_bytes_left.checked_sub(count);
            self.output_bytes_left = left.ok_or(CodecError::TooLarge)?;
        }
        Ok(decoded)
    }
}

fn take(input: &mut Bytes, output: &mut [u8]) -> Decoded {
    let count = copy_prefix(input, output);
    if count == 0 {
        return Decoded::End;
    }
    input.advance(count);
    Decoded::Bytes(count)
}

/// As much as fits.
fn copy_prefix(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// Everything at once, for callers who may take their time.
pub fn decompress(
    codec: Codec,
    input: Bytes,
    output_bytes_max: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut decoder = Decoder::new(codec, input, output_bytes_max)?;
    let mut output = Vec::new();
    let mut slice = vec![0; SLICE_BYTES];
    while let Decoded::Bytes(count) = decoder.read(&mut slice)? {
        output.extend_from_slice(slice.get(..count).unwrap_or_default());
    }
    Ok(output)
}

/// At each codec's default level, in the form that every Kafka client reads.
///
/// # Panics
/// If `input` is longer than a batch can be: 2 GiB.
#[must_use]
pub fn compress(codec: Codec, input: &[u8]) -> Vec<u8> {
    assert!(i32::try_from(input.len()).is_ok(), "a batch is shorter than 2 GiB");
    let mut encoder = Encoder::new(Compression::of(codec), input.len(), Vec::new());
    encoder.write(input);
    encoder.finish()
}

const TO_MEMORY: &str = "compression into memory does not fail";

/// Hands on `input` in chunks of `chunk_bytes`; what fills none waits in `chunk`. No input is copied
/// that is a chunk by itself.
fn in_chunks(
    chunk: &mut Vec<u8>,
    chunk_bytes: usize,
    mut input: &[u8],
    mut put: impl FnMut(&[u8]),
) {
    while let Some(wanted) = chunk_bytes.checked_sub(chunk.len())
        && let Some((filling, rest)) = input.split_at_checked(wanted)
    {
        if chunk.is_empty() {
            put(filling);
        } else {
            chunk.extend_from_slice(filling);
            put(chunk);
            chunk.clear();
        }
        input = rest;
    }
    chunk.extend_from_slice(input);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    const MIB: usize = 1 << 20;

    /// Decompresses in reads of `read_bytes`, which bounds the test too.
    fn drain(
        codec: Codec,
        input: &[u8],
        output_bytes_max: usize,
        read_bytes: usize,
    ) -> Result<Vec<u8>, CodecError> {
        let mut decoder = Decoder::new(codec, Bytes::copy_from_slice(input), output_bytes_max)?;
        let (mut output, mut slice) = (Vec::new(), vec![0; read_bytes]);
        while let Decoded::Bytes(count) = decoder.read(&mut slice)? {
            output.extend_from_slice(&slice[..count]);
        }
        Ok(output)
    }

    fn check(codec: Codec, input: &[u8], want: Result<&[u8], CodecError>) {
        for read_bytes in [1, 7, 4096, MIB] {
            let got = drain(codec, input, MIB, read_bytes);
            assert_eq!(got.as_deref(), want.as_ref().map(|it| *it), "{codec:?} {read_bytes}");
        }
    }

    fn sample() -> Vec<u8> {
        (0_u32..100_000).flat_map(|it| (it / 7).wrapping_mul(2_654_435_761).to_be_bytes()).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        for codec in Codec::ALL {
            for input in [&b""[..], b"x", b"hello, hello, hello", &sample()] {
                check(codec, &compress(codec, input), Ok(input));
            }
        }
    }

    #[test]
    fn a_number_means_one_codec() {
        for bits in 0..=u16::MAX {
            assert_eq!(Codec::checked(bits).map_or(bits, Codec::bits), bits);
        }
        assert_eq!(Codec::checked(5), None);
    }

    #[test]
    fn no_prefix_is_taken_for_the_whole() {
        let input = b"hello, hello, hello, hello, hello";
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let whole = compress(codec, input);
            for end in 0..whole.len() {
                check(codec, &whole[..end], Err(CodecError::Corrupt));
            }
        }
        // Snappy's framed form has no end mark: it may stop after its header, as with Kafka.
        let whole = compress(Codec::Snappy, input);
        for end in (0..16).chain(17..whole.len()) {
            check(Codec::Snappy, &whole[..end], Err(CodecError::Corrupt));
        }
        check(Codec::Snappy, &whole[..16], Ok(b""));
    }

    #[test]
    fn snappy_comes_raw_too() {
        let input = sample();
        let raw = snap::raw::Encoder::new().compress_vec(&input).expect("it is short");
        check(Codec::Snappy, &raw, Ok(&input));
        for end in 0..64 {
            check(Codec::Snappy, &raw[..end], Err(CodecError::Corrupt));
        }
    }

    #[test]
    fn a_framed_snappy_stream_may_be_joined_to_another() {
        let mut joined = compress(Codec::Snappy, b"one ");
        joined.extend(compress(Codec::Snappy, b"two"));
        check(Codec::Snappy, &joined, Ok(b"one two"));
    }

    #[test]
    fn gzip_members_follow_each_other_and_rubbish_ends_them() {
        let mut joined = compress(Codec::Gzip, b"one ");
        joined.extend(compress(Codec::Gzip, b"two"));
        check(Codec::Gzip, &joined, Ok(b"one two"));
        joined.extend(b"rubbish");
        check(Codec::Gzip, &joined, Ok(b"one two"));
    }

    #[test]
    fn zstd_frames_follow_each_other_and_rubbish_is_corrupt() {
        let mut joined = compress(Codec::Zstd, b"one ");
        joined.extend(compress(Codec::Zstd, b"two"));
        check(Codec::Zstd, &joined, Ok(b"one two"));
        joined.extend(b"rubbish");
        check(Codec::Zstd, &joined, Err(CodecError::Corrupt));
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let zeros = vec![0; 64 * MIB];
        for codec in Codec::ALL {
            let bomb = compress(codec, &zeros);
            let mut decoder = Decoder::new(codec, Bytes::from(bomb), MIB).expect("it begins well");
            let mut slice = vec![0; 4096];
            let mut output_bytes = 0;
            let error = loop {
                match decoder.read(&mut slice) {
                    Ok(Decoded::Bytes(count)) => output_bytes += count,
                    Ok(Decoded::End) => panic!("{codec:?} gave all of it"),
                    Err(error) => break error,
                }
            };
            assert_eq!((error, output_bytes <= MIB), (CodecError::TooLarge, true), "{codec:?}");
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        // Raw snappy that announces 4 GiB, and a chunk of 2 GiB.
        check(Codec::Snappy, b"\xff\xff\xff\xff\x0f\x00\x61", Err(CodecError::Corrupt));
        let mut framed = compress(Codec::Snappy, b"");
        framed.truncate(16);
        framed.extend(b"\x7f\xff\xff\xff\x00");
        check(Codec::Snappy, &framed, Err(CodecError::Corrupt));
        // An LZ4 frame whose content is said to have 2^62 bytes, and zstd with a window of 2 GiB.
        check(Codec::Lz4, &lz4_frame(b"\x68\x70\0\0\0\0\0\0\0\x40", None), Ok(b""));
        check(Codec::Zstd, b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", Err(CodecError::Corrupt));
    }

    /// A frame without blocks.
    fn lz4_frame(descriptor: &[u8], checksum: Option<u8>) -> Vec<u8> {
        let hash = twox_hash::XxHash32::oneshot(0, descriptor).to_be_bytes();
        let mut frame = b"\x04\x22\x4d\x18".to_vec();
        frame.extend(descriptor);
        frame.push(checksum.unwrap_or(hash[2]));
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn what_kafka_refuses_in_lz4_is_corrupt() {
        let frame = |flags: u8, checksum| lz4_frame(&[flags, 0x40], checksum);
        check(Codec::Lz4, &frame(0x60, None), Ok(b""));
        check(Codec::Lz4, &frame(0x60, Some(0)), Err(CodecError::Corrupt));
        check(Codec::Lz4, &frame(0x40, None), Err(CodecError::Corrupt)); // linked blocks
        check(Codec::Lz4, &frame(0x61, None), Err(CodecError::Corrupt)); // a dictionary
        check(Codec::Lz4, &frame(0xa0, None), Err(CodecError::Corrupt)); // another version
    }

    #[test]
    fn lz4_comes_in_every_block_size_and_with_every_checksum() {
        use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
        let input = sample();
        let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
        for block_size in sizes {
            let frame = FrameInfo::new()
                .block_size(block_size)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(400_000));
            let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
            std::io::Write::write_all(&mut encoder, &input).expect("into memory");
            let mut packed = encoder.finish().expect("into memory");
            check(Codec::Lz4, &packed, Ok(&input));
            if let Some(last) = packed.last_mut() {
                *last ^= 1; // of the content's checksum
            }
            assert_eq!(drain(Codec::Lz4, &packed, MIB, 4096), Err(CodecError::Corrupt));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(input: Vec<u8>, bits in 0_u16..5) {
            let codec = Codec::checked(bits).expect("in range");
            if let Ok(output) = drain(codec, &input, MIB, 4096) {
                prop_assert_eq!(output.len() <= MIB, true);
            }
        }

        #[test]
        fn any_damage_does_no_harm(
            seed: Vec<u8>, bits in 0_u16..5, at in any::<usize>(), to in any::<u8>(),
        ) {
            let codec = Codec::checked(bits).expect("in range");
            let mut packed = compress(codec, &seed.repeat(40));
            if let Some(at) = at.checked_rem(packed.len()) {
                packed[at] = to;
            }
            if let Ok(output) = drain(codec, &packed, MIB, 4096) {
                prop_assert_eq!(output.len() <= MIB, true);
            }
        }

        #[test]
        fn any_content_comes_back(seed: Vec<u8>, count in 1_usize..2000, bits in 0_u16..5) {
            let codec = Codec::checked(bits).expect("in range");
            let input = seed.repeat(count);
            prop_assert_eq!(drain(codec, &compress(codec, &input), usize::MAX, 5000), Ok(input));
        }
    }
}
