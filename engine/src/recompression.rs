//! A batch on its way from the codec that its producer chose to the one that its topic wants.
//!
//! Comes after admission: the records are sound, and stay what they are, but for their numbers: as with
//! Kafka offsets count from 0, and times are told from the first record's. Call `step` until it is done,
//! then `finish`; each step does bounded work. What is needed besides the batch and what becomes of it
//! does not grow with the records, but for what the encoder says.
//! Knows no topic and no log.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;

use crate::admission::{Admitted, Progress, Refusal};
use crate::batch::{Batch, HEADER_BYTES, Recoding, TimestampType};
use crate::codec::encoder::{Compression, Encoder};
use crate::codec::{CodecError, Decoded, Decoder};
use crate::id::Timestamp;
use crate::records::renumbering::Renumbering;

/// What is wanted of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) compression: Compression,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    /// Of all records, renumbered, without any compression.
    pub(crate) record_bytes: usize,
    /// Of what the batch decompresses to.
    pub(crate) decompressed_bytes_max: usize,
    pub(crate) batch_bytes_max: u32,
    pub(crate) segment_bytes_max: u32,
}

/// One batch that is being compressed anew.
pub struct Recompression {
    batch: Bytes,
    wish: Wish,
    decoder: Decoder,
    stage: Stage,
}

enum Stage {
    /// It has taken no memory yet.
    New,
    Packing {
        encoder: Box<Encoder>,
        renumbering: Renumbering,
        /// What the decoder gives at a time, and what becomes of it.
        slice: Vec<u8>,
        renumbered: Vec<u8>,
    },
    /// The records, behind room for the header.
    Packed(Vec<u8>),
}

impl Recompression {
    /// What the decoder gives at a time.
    const SLICE_BYTES: usize = 16 << 10;

    /// The least that a read of compressed bytes is charged: it may give nothing.
    const READ_COST_BYTES: usize = 512;

    /// `batch` is one batch, and admitted.
    pub(crate) fn new(batch: Bytes, wish: Wish) -> Result<Self, Refusal> {
        let view = Batch::parse(&batch).map_err(|_bad_header| Refusal::Malformed)?;
        let codec = view.codec().map_err(|_unknown| Refusal::BadCodec)?;
        let decoder =
            Decoder::new(codec, batch.slice_ref(view.payload()), wish.decompressed_bytes_max);
        Ok(Self { decoder: decoder.map_err(refusal)?, stage: Stage::New, wish, batch })
    }

    /// The memory that it takes from its first step on, at most.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let encoder_bytes = self.wish.compression.memory_bytes(self.wish.record_bytes);
        encoder_bytes.saturating_add(4 * Self::SLICE_BYTES).saturating_add(self.output_bytes_max())
    }

    /// Of what comes out; a vector that grows may have twice as much for a moment.
    fn output_bytes_max(&self) -> usize {
        let batch_bytes_max = usize::try_from(self.wish.batch_bytes_max).unwrap_or(usize::MAX);
        self.wish.record_bytes.min(batch_bytes_max).saturating_mul(2)
    }

    /// Compresses about so many bytes of records, fewer if the codec is a slow one.
    /// After a refusal it must not be called again.
    pub fn step(&mut self, budget_bytes: usize) -> Result<Progress, Refusal> {
        if matches!(self.stage, Stage::New) {
            self.stage = self.packing();
        }
        let Stage::Packing { encoder, renumbering, slice, renumbered } = &mut self.stage else {
            return Ok(Progress::Done);
        };
        let Wish { compression, batch_bytes_max, segment_bytes_max, .. } = self.wish;
        let mut budget_bytes = budget_bytes.checked_div(compression.slowness()).unwrap_or(0);
        while let Decoded::Bytes(count) = self.decoder.read(slice).map_err(refusal)? {
            let read = slice.get(..count).unwrap_or_default();
            renumbering.rewrite(read, renumbered).map_err(|_error| Refusal::Malformed)?;
            if encoder.input_bytes_left() < renumbered.len() {
                return Err(Refusal::Malformed);
            }
            encoder.write(renumbered);
            renumbered.clear();
            check_bytes(encoder.output_bytes(), batch_bytes_max, Refusal::TooLarge)?;
            budget_bytes = budget_bytes.saturating_sub(count.max(Self::READ_COST_BYTES));
            if budget_bytes == 0 {
                return Ok(Progress::More);
            }
        }
        if encoder.input_bytes_left() > 0 {
            return Err(Refusal::Malformed);
        }
        if let Stage::Packing { encoder, .. } = std::mem::replace(&mut self.stage, Stage::New) {
            let packed = encoder.finish();
            check_bytes(packed.len(), batch_bytes_max, Refusal::TooLarge)?;
            check_bytes(packed.len(), segment_bytes_max, Refusal::LargerThanSegment)?;
            self.stage = Stage::Packed(packed);
        }
        Ok(Progress::Done)
    }

    fn packing(&self) -> Stage {
        let Wish { compression, record_bytes, .. } = self.wish;
        let encoder = Encoder::new(compression, record_bytes, vec![0; HEADER_BYTES]);
        Stage::Packing {
            encoder: Box::new(encoder),
            renumbering: Renumbering::default(),
            slice: vec![0; Self::SLICE_BYTES],
            renumbered: Vec::new(),
        }
    }

    /// The batch, to be stored as it is.
    ///
    /// # Panics
    /// If `step` has not said `Done`.
    #[must_use]
    pub fn finish(self) -> Admitted {
        let Stage::Packed(mut packed) = self.stage else {
            panic!("all records are compressed first")
        };
        let recoding = Recoding {
            codec: self.wish.compression.codec(),
            timestamp_type: self.wish.timestamp_type,
            base_timestamp: self.wish.base_timestamp,
            max_timestamp: self.wish.max_timestamp,
        };
        match Batch::parse(&self.batch) {
            Ok(view) => view.recode(&recoding, &mut packed),
            Err(error) => panic!("the batch was parsed before: {error:?}"),
        }
        let batch = Bytes::from(packed);
        match Batch::parse(&batch).and_then(|view| view.summary()) {
            Ok(summary) => Admitted { batch, summary, patch: None },
            Err(error) => panic!("what was admitted stays sound: {error:?}"),
        }
    }
}

fn check_bytes(bytes: usize, bytes_max: u32, refusal: Refusal) -> Result<(), Refusal> {
    if u32::try_from(bytes).is_ok_and(|it| it <= bytes_max) { Ok(()) } else { Err(refusal) }
}

fn refusal(error: CodecError) -> Refusal {
    match error {
        CodecError::Corrupt => Refusal::Undecodable,
        CodecError::TooLarge => Refusal::DecompressedTooLarge,
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::admission::{Admission, Keys, Permit, Rules, Validation};
    use crate::codec::Codec;
    use crate::id::{Offset, ProducerEpoch, ProducerId, Sequence};
    use crate::records::builder::BatchBuilder;
    use crate::records::{Record, Records};

    const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
    const UNPACKED_BYTES_MAX: usize = 1 << 20;

    /// Of a topic that wants `compression`.
    fn rules(compression: Compression) -> Rules {
        Rules {
            batch_bytes_max: 1_048_588,
            segment_bytes_max: 1 << 30,
            decompressed_bytes_max: UNPACKED_BYTES_MAX,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            timestamp_type: TimestampType::CreateTime,
            keys: Keys::Optional,
            validation: Validation::Full,
            compression: Some(compression),
            transactional: Permit::Refused,
            zstd: Permit::Allowed,
        }
    }

    /// As a shard does it.
    fn admit(sent: &[u8], rules: &Rules, budget_bytes: usize) -> Result<Admitted, Refusal> {
        let sent = Bytes::copy_from_slice(sent);
        let mut admission = Admission::begin(Some(sent), rules, NOW)?;
        while admission.step(budget_bytes)? == Progress::More {}
        let Some(mut recompression) = admission.recompression()? else {
            return Ok(admission.finish());
        };
        while recompression.step(budget_bytes)? == Progress::More {}
        Ok(recompression.finish())
    }

    fn records(batch: &[u8]) -> Vec<Record> {
        let records = Records::new(&Bytes::copy_from_slice(batch), 8 * UNPACKED_BYTES_MAX);
        records.and_then(Iterator::collect).expect("they are sound")
    }

    /// Records of an idempotent producer, with all that a record may have; the third is the latest.
    fn builder() -> BatchBuilder {
        let id = ProducerId::checked(77).expect("valid");
        let epoch = ProducerEpoch::checked(3).expect("valid");
        let first = Sequence::checked(i32::MAX - 1).expect("valid");
        let mut builder = BatchBuilder::new().producer(id, epoch, first);
        let headers = [(&b"h"[..], Some(&b"v"[..])), (b"h", None)];
        for (age_ms, key, value) in [
            (20, Some(&b"key"[..]), Some(&[b'v'; 3_000][..])),
            (30, None, Some(b"")),
            (10, Some(b""), None),
            (15, Some(b"key"), Some(b"value")),
        ] {
            builder.push(Timestamp::new(NOW.get() - age_ms), key, value, &headers);
        }
        builder
    }

    fn with(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut batch = batch.to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    #[test]
    fn every_codec_becomes_every_other_and_only_what_it_must_changes() {
        for from in Codec::ALL {
            let sent = builder().build_with(from);
            for to in Codec::ALL {
                let compression = Compression::of(to);
                let admitted = admit(&sent, &rules(compression), 1_000).expect("it is sound");
                let stored = &admitted.batch[..];
                let view = Batch::parse(stored).expect("it is a batch");
                assert_eq!(view.check_stored(Offset::ZERO), Ok(()), "{from:?} to {to:?}");
                assert_eq!((view.summary(), admitted.patch), (Ok(admitted.summary.clone()), None));
                assert_eq!(records(stored), records(&sent));
                assert_eq!(stored[21..23], to.bits().to_be_bytes());
                assert_eq!(stored[23..HEADER_BYTES], sent[23..HEADER_BYTES]);
                assert_eq!((&stored[..8], &stored[12..17]), (&sent[..8], &sent[12..17]));
                // It is what the producer would have sent itself; the other way round there is nothing to do.
                assert_eq!(stored, builder().build_with(to), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_batch_in_the_codec_of_its_topic_is_stored_as_sent_whatever_its_level() {
        let sent = Bytes::from(builder().build_with(Codec::Zstd));
        let rules = rules(Compression::Zstd { level: 19 });
        let admitted = admit(&sent, &rules, 1_000).expect("it is sound");
        assert_eq!((admitted.batch, admitted.patch), (sent, None));
    }

    #[test]
    fn the_level_of_the_topic_is_the_level_of_the_batch() {
        let text: String = (0_u32..5_000).map(|it| format!("{},", it * it % 7_919)).collect();
        let mut builder = BatchBuilder::new();
        builder.push(NOW, None, Some(text.as_bytes()), &[]);
        let sent = builder.build();
        let bytes = |compression| {
            let admitted = admit(&sent, &rules(compression), 1 << 20).expect("it is sound");
            assert_eq!(records(&admitted.batch), records(&sent));
            admitted.batch.len()
        };
        let gzip = |level| bytes(Compression::Gzip { level });
        let lz4 = |level| bytes(Compression::Lz4 { level });
        let zstd = |level| bytes(Compression::Zstd { level });
        assert!(gzip(9) < gzip(1) && lz4(12) < lz4(9) && zstd(19) < zstd(-50));
    }

    #[test]
    fn the_clock_of_the_broker_and_a_corrected_time_are_in_the_new_header() {
        let sent = builder().build();
        for to in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let own = rules(Compression::of(to));
            let wrong = with(&sent, 35, &5_i64.to_be_bytes());
            let admitted = admit(&wrong, &own, 1_000).expect("it is corrected");
            assert_eq!(admitted.summary.max_timestamp.get(), NOW.get() - 10);
            assert_eq!(admitted.batch, builder().build_with(to));

            let brokers = Rules { timestamp_type: TimestampType::LogAppendTime, ..own };
            let admitted = admit(&sent, &brokers, 1_000).expect("it is sound");
            let view = Batch::parse(&admitted.batch).expect("it is a batch");
            assert_eq!(view.check_stored(Offset::ZERO), Ok(()));
            assert_eq!(admitted.summary.timestamp_type, TimestampType::LogAppendTime);
            assert_eq!(admitted.summary.max_timestamp, NOW);
            assert!(records(&admitted.batch).iter().all(|it| it.timestamp == NOW));
        }
    }

    #[test]
    fn attributes_that_mean_nothing_are_cleared_and_the_rest_stays() {
        let sent = with(&builder().build(), 21, &[0xff, 0xd0]);
        let rules = Rules { transactional: Permit::Allowed, ..rules(Compression::Snappy) };
        let admitted = admit(&sent, &rules, 1_000).expect("Kafka takes it");
        assert_eq!(admitted.batch[21..23], [0, 0x12]);
        assert_eq!(
            admitted.summary.producer,
            Batch::parse(&sent).unwrap().summary().unwrap().producer
        );
    }

    #[test]
    fn records_are_renumbered_where_their_codec_changes_and_nowhere_else() {
        // Their offsets descend, the batch's base time is none of theirs, and they have attributes.
        let section = [[14, 255, 8, 2, 1, 2, b'a', 0], [14, 1, 2, 0, 1, 2, b'b', 0]].concat();
        let mut sent = BatchBuilder::new();
        sent.push(NOW, None, None, &[]);
        sent.push(NOW, None, None, &[]);
        let mut sent = sent.build();
        sent.truncate(HEADER_BYTES);
        sent.extend_from_slice(&section);
        let length = i32::try_from(sent.len() - 12).expect("short");
        sent[8..12].copy_from_slice(&length.to_be_bytes());
        let sent = with(&sent, 35, &(NOW.get() + 4).to_be_bytes());
        assert_eq!(
            admit(&sent, &rules(Compression::None), 1_000).map(|it| it.batch),
            Ok(sent.clone().into())
        );
        let packed = admit(&sent, &rules(Compression::Snappy), 1_000).expect("Kafka takes it");
        let plain = admit(&packed.batch, &rules(Compression::None), 1_000).expect("it is sound");
        let mut want = BatchBuilder::new();
        want.push(Timestamp::new(NOW.get() + 4), None, Some(b"a"), &[]);
        want.push(Timestamp::new(NOW.get() + 1), None, Some(b"b"), &[]);
        assert_eq!(plain.batch, want.build());
    }

    #[test]
    fn a_batch_is_opened_to_be_compressed_anew_also_where_producers_are_trusted() {
        let trusting =
            |compression| Rules { validation: Validation::Headers, ..rules(compression) };
        let sent = builder().build_with(Codec::Lz4);
        let admitted = admit(&sent, &trusting(Compression::None), 1_000).expect("it is sound");
        assert_eq!(admitted.batch, builder().build());
        let rubbish = with(&sent, HEADER_BYTES, b"this was never compressed");
        let refused = admit(&rubbish, &trusting(Compression::None), 1_000).err();
        assert_eq!(refused, Some(Refusal::Undecodable));
        let kept = admit(&rubbish, &trusting(Compression::of(Codec::Lz4)), 1_000);
        assert_eq!(kept.map(|it| it.batch), Ok(Bytes::from(rubbish)));
    }

    #[test]
    fn what_is_stored_has_the_limits_of_what_is_sent() {
        let mut builder = BatchBuilder::new();
        builder.push(NOW, None, Some(&vec![7; 100_000]), &[]);
        let (packed, plain) = (builder.clone().build_with(Codec::Gzip), builder.build());
        let limits = |compression, batch_bytes_max, segment_bytes_max| Rules {
            batch_bytes_max,
            segment_bytes_max,
            ..rules(compression)
        };
        let refused = |sent, rules| admit(sent, &rules, 1_000).err();
        let bytes = |batch: &[u8]| u32::try_from(batch.len()).expect("short");
        let (most, long) = (bytes(&plain), 1 << 30);
        let to_plain = |batch, segment| refused(&packed, limits(Compression::None, batch, segment));
        assert_eq!(to_plain(most, most), None);
        assert_eq!(to_plain(most - 1, long), Some(Refusal::TooLarge));
        assert_eq!(to_plain(long, most - 1), Some(Refusal::LargerThanSegment));
        assert_eq!(to_plain(bytes(&packed) - 1, long), Some(Refusal::TooLarge), "as it is sent");
        // A segment must hold what is stored, not what was sent.
        let gzip = Compression::of(Codec::Gzip);
        assert_eq!(refused(&plain, limits(gzip, long, bytes(&packed))), None);
        assert_eq!(refused(&plain, limits(gzip, most - 1, long)), Some(Refusal::TooLarge));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_compressed() {
        let mut builder = BatchBuilder::new();
        builder.push(NOW, None, Some(&vec![0; 8 << 20]), &[]);
        for from in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let bomb = builder.clone().build_with(from);
            let refused = |compression| admit(&bomb, &rules(compression), 100_000).err();
            for to in Codec::ALL.into_iter().filter(|to| *to != from) {
                assert_eq!(refused(Compression::of(to)), Some(Refusal::DecompressedTooLarge));
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_record_is_said_before_the_batch_is_too_large() {
        let mut builder = BatchBuilder::new();
        let late = Timestamp::new(NOW.get() + 3_600_001);
        builder.push(late, None, Some(&vec![7; 100_000]), &[]);
        let sent = builder.build_with(Codec::Gzip);
        let rules = Rules { batch_bytes_max: 1_000, ..rules(Compression::None) };
        assert!(matches!(admit(&sent, &rules, 1_000), Err(Refusal::BadTimestamps(_))));
    }

    proptest! {
        #[test]
        fn records_survive_any_way_through_two_topics(
            values: Vec<Vec<u8>>, ages: Vec<u32>, codecs in any::<[u8; 3]>(), level in 1..=9,
            budget_bytes in 1_usize..100_000,
        ) {
            let [from, over, to] = codecs.map(|it| Codec::ALL[usize::from(it) % 5]);
            let mut builder = BatchBuilder::new();
            builder.push(NOW, None, None, &[]);
            for (value, age_ms) in values.iter().zip(&ages) {
                let timestamp = Timestamp::new(NOW.get() - i64::from(*age_ms));
                builder.push(timestamp, Some(value), Some(value), &[(value, Some(value))]);
            }
            let sent = builder.build_with(from);
            let levels = |codec| match codec {
                Codec::Gzip => Compression::Gzip { level },
                Codec::Lz4 => Compression::Lz4 { level },
                Codec::Zstd => Compression::Zstd { level },
                Codec::None | Codec::Snappy => Compression::of(codec),
            };
            let between = admit(&sent, &rules(levels(over)), budget_bytes).expect("it is sound");
            let stored = admit(&between.batch, &rules(levels(to)), budget_bytes).expect("it is sound");
            prop_assert_eq!(records(&stored.batch), records(&sent));
            prop_assert_eq!(stored.summary.codec, to);
            let view = Batch::parse(&stored.batch).expect("it is a batch");
            prop_assert_eq!(view.check_stored(Offset::ZERO), Ok(()));
        }
    }
}
