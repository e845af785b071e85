//! Compression of one batch's records, piece by piece, at a level.
//!
//! What it writes, every Kafka client reads. It takes as long as codec and level want: who may not be
//! held up writes small pieces. Knows nothing of what the bytes mean.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use crate::codec::Codec;
use crate::codec::gzip::GzipEncoder;
use crate::codec::lz4::Lz4Encoder;
use crate::codec::snappy::SnappyEncoder;
use crate::codec::zstandard::ZstdEncoder;

/// A codec, and how hard it tries, in Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// 1 to 9; -1 is the usual one, which is 6.
    Gzip {
        level: i32,
    },
    Snappy,
    /// 1 to 17, of which those above 12 do what 12 does; but 9, Kafka's default, is the fast compressor.
    Lz4 {
        level: i32,
    },
    /// -131,072 to 22; 0 is the usual one, which is 3.
    Zstd {
        level: i32,
    },
}

impl Compression {
    /// At the level that Kafka takes if it is told none.
    #[must_use]
    pub const fn of(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip { level: -1 },
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4 { level: Lz4Encoder::FAST_LEVEL },
            Codec::Zstd => Self::Zstd { level: 3 },
        }
    }

    #[must_use]
    pub const fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip { .. } => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 { .. } => Codec::Lz4,
            Self::Zstd { .. } => Codec::Zstd,
        }
    }

    /// How many times longer it takes than a look at as many bytes of records, about; within reason: what
    /// is written in one go is not cut into ever smaller pieces for it.
    #[must_use]
    pub const fn slowness(self) -> usize {
        match self {
            Self::None | Self::Snappy | Self::Lz4 { level: Lz4Encoder::FAST_LEVEL } => 1,
            Self::Gzip { level: 1..=3 } | Self::Lz4 { .. } => 2,
            Self::Zstd { level } if level < ZstdEncoder::SLOW_LEVEL => 1,
            Self::Gzip { .. } | Self::Zstd { .. } => 8,
        }
    }

    /// The memory of an encoder for so many bytes, at most, without its output.
    #[must_use]
    pub fn memory_bytes(self, input_bytes: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Gzip { .. } => GzipEncoder::MEMORY_BYTES,
            Self::Snappy => SnappyEncoder::MEMORY_BYTES,
            Self::Lz4 { .. } => Lz4Encoder::MEMORY_BYTES,
            Self::Zstd { .. } => ZstdEncoder::memory_bytes(input_bytes),
        }
    }
}

/// One per batch that is being compressed.
pub struct Encoder {
    form: Form,
    input_bytes_left: usize,
}

enum Form {
    None(Vec<u8>),
    Gzip(GzipEncoder),
    Snappy(Box<SnappyEncoder>),
    Lz4(Box<Lz4Encoder>),
    Zstd(ZstdEncoder),
}

impl Encoder {
    /// Exactly `input_bytes` are going to be written. What they become is appended to `output`.
    #[must_use]
    pub fn new(compression: Compression, input_bytes: usize, output: Vec<u8>) -> Self {
        let form = match compression {
            Compression::None => Form::None(output),
            Compression::Gzip { level } => Form::Gzip(GzipEncoder::new(level, output)),
            Compression::Snappy => Form::Snappy(Box::new(SnappyEncoder::new(output))),
            Compression::Lz4 { level } => Form::Lz4(Box::new(Lz4Encoder::new(level, output))),
            Compression::Zstd { level } => Form::Zstd(ZstdEncoder::new(level, input_bytes, output)),
        };
        Self { form, input_bytes_left: input_bytes }
    }

    /// # Panics
    /// If more is written than was announced.
    pub fn write(&mut self, input: &[u8]) {
        assert!(input.len() <= self.input_bytes_left, "no more is written than was announced");
        self.input_bytes_left = self.input_bytes_left.saturating_sub(input.len());
        match &mut self.form {
            Form::None(output) => output.extend_from_slice(input),
            Form::Gzip(gzip) => gzip.write(input),
            Form::Snappy(snappy) => snappy.write(input),
            Form::Lz4(lz4) => lz4.write(input),
            Form::Zstd(zstd) => zstd.write(input),
        }
    }

    /// What was announced, and not written yet.
    #[must_use]
    pub fn input_bytes_left(&self) -> usize {
        self.input_bytes_left
    }

    /// The length of the output so far, with what it had before. Some of the input may still be held
    /// back.
    #[must_use]
    pub fn output_bytes(&self) -> usize {
        match &self.form {
            Form::None(output) => output.len(),
            Form::Gzip(gzip) => gzip.output_bytes(),
            Form::Snappy(snappy) => snappy.output_bytes(),
            Form::Lz4(lz4) => lz4.output_bytes(),
            Form::Zstd(zstd) => zstd.output_bytes(),
        }
    }

    /// # Panics
    /// If less was written than was announced.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        assert!(self.input_bytes_left == 0, "all that was announced is written");
        match self.form {
            Form::None(output) => output,
            Form::Gzip(gzip) => gzip.finish(),
            Form::Snappy(snappy) => snappy.finish(),
            Form::Lz4(lz4) => lz4.finish(),
            Form::Zstd(zstd) => zstd.finish(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use proptest::sample::select;

    use super::*;
    use crate::codec::{Decoded, Decoder, decompress};

    /// Each codec at its ends, and where what it does changes.
    fn every_compression() -> Vec<Compression> {
        let gzip = [-1, 1, 3, 4, 9].map(|level| Compression::Gzip { level });
        let lz4 = [1, 3, 9, 10, 12, 17].map(|level| Compression::Lz4 { level });
        let zstd = [-131_072, -1, 0, 1, 3, 9, 10, 19, 22].map(|level| Compression::Zstd { level });
        let plain = [Compression::None, Compression::Snappy];
        [&plain[..], &gzip, &lz4, &zstd].concat()
    }

    /// Lines that are alike.
    fn lines() -> Vec<u8> {
        let word = |number: u32| number.wrapping_mul(2_654_435_761) >> 22;
        let line =
            |it: u32| format!("{{\"user\":{},\"page\":\"/p/{}\"}}\n", word(it), word(it * it));
        (0..12_000).map(line).collect::<String>().into_bytes()
    }

    /// The same, and then bytes of which little is alike.
    fn sample() -> Vec<u8> {
        let noise = (0..50_000_u32).map(|it| it.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
        lines().into_iter().chain(noise).collect()
    }

    fn encode(compression: Compression, input: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(compression, input.len(), b"before".to_vec());
        for piece in input.chunks(piece_bytes) {
            encoder.write(piece);
        }
        let written_bytes = encoder.output_bytes();
        let output = encoder.finish();
        assert!(written_bytes <= output.len());
        output.strip_prefix(b"before").expect("it is appended").to_vec()
    }

    #[track_caller]
    fn check(compression: Compression, input: &[u8], piece_bytes: usize) {
        let packed = encode(compression, input, piece_bytes);
        let codec = compression.codec();
        let unpacked = decompress(codec, Bytes::from(packed), input.len());
        assert_eq!(unpacked.as_deref(), Ok(input), "{compression:?}, {piece_bytes}");
    }

    #[test]
    fn every_level_gives_back_what_it_was_given_in_pieces_of_any_length() {
        let sample = sample();
        for compression in every_compression() {
            for input in [&b""[..], b"x", &sample[..64 << 10], &sample] {
                for piece_bytes in [1_000, 32 << 10, 1 << 20] {
                    check(compression, input, piece_bytes);
                }
            }
        }
    }

    #[test]
    fn a_level_that_tries_harder_writes_less() {
        let sample = lines();
        let bytes = |compression| encode(compression, &sample, 16 << 10).len();
        let falls = |compressions: &[Compression]| {
            let bytes: Vec<_> = compressions.iter().map(|it| bytes(*it)).collect();
            assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        };
        falls(&[1, 6, 9].map(|level| Compression::Gzip { level }));
        falls(&[1, 4, 12].map(|level| Compression::Lz4 { level }));
        falls(&[-20, 1, 19].map(|level| Compression::Zstd { level }));
        assert_eq!(bytes(Compression::of(Codec::Gzip)), bytes(Compression::Gzip { level: 6 }));
        let lz4 = |level| bytes(Compression::Lz4 { level });
        assert!(lz4(9) > lz4(8), "9 is the fast one");
        assert_eq!(lz4(12), lz4(17));
        assert_eq!(bytes(Compression::Zstd { level: 0 }), bytes(Compression::of(Codec::Zstd)));
    }

    #[test]
    fn what_does_not_get_smaller_hardly_grows() {
        let noise: Vec<u8> = (0..200_000_u64)
            .map(|it| it.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(it | 1).to_be_bytes()[0])
            .collect();
        for compression in every_compression() {
            let packed = encode(compression, &noise, 16 << 10);
            assert!(packed.len() < noise.len() + 1_000, "{compression:?}: {}", packed.len());
        }
    }

    #[test]
    fn a_frame_of_zstd_says_how_long_its_content_is() {
        let input = sample();
        let packed = encode(Compression::of(Codec::Zstd), &input, 1_000);
        let length = zstd::zstd_safe::get_frame_content_size(&packed).expect("a frame");
        assert_eq!(length, Some(u64::try_from(input.len()).expect("short")));
    }

    #[test]
    fn the_slowest_of_zstd_asks_no_reader_for_a_larger_window_than_8_mib() {
        let input = vec![7; (8 << 20) + 1];
        let packed = encode(Compression::Zstd { level: 22 }, &input, 1 << 20);
        let mut reader = zstd::stream::raw::Decoder::new().expect("there is memory");
        let bound = zstd::stream::raw::DParameter::WindowLogMax(23);
        reader.set_parameter(bound).expect("it is in bounds");
        let mut output = vec![0; input.len()];
        let read = zstd::stream::raw::Operation::run_on_buffers(&mut reader, &packed, &mut output);
        assert_eq!(read.expect("the window is small enough").bytes_written, input.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_content_in_any_pieces_comes_back(
            seed: Vec<u8>, count in 1_usize..400, piece_bytes in 1_usize..40_000,
            compression in select(every_compression()), read_bytes in 1_usize..9_000,
        ) {
            let input = seed.repeat(count);
            let packed = Bytes::from(encode(compression, &input, piece_bytes));
            let decoder = Decoder::new(compression.codec(), packed, input.len());
            let (mut decoder, mut slice) = (decoder.expect("it begins well"), vec![0; read_bytes]);
            let mut output = Vec::new();
            while let Decoded::Bytes(count) = decoder.read(&mut slice).expect("it is sound") {
                output.extend_from_slice(&slice[..count]);
            }
            prop_assert_eq!(output, input);
        }

        #[test]
        fn no_more_memory_is_taken_than_was_said(level in -100..=22, log in 0_u32..25, less: u16) {
            let input_bytes = (1 << log) - usize::from(less).min((1 << log) - 1);
            let most = Compression::Zstd { level }.memory_bytes(input_bytes);
            let held = ZstdEncoder::held_bytes(level, input_bytes);
            assert!(held <= most, "{held} of {most}");
        }
    }
}
