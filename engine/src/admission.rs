//! What stands between a producer's bytes and the log: the checks that Kafka's broker makes of one
//! partition's records, in its order and with its answers.
//!
//! Call `begin`, then `step` until it is done, then `finish`, or what `recompression` gives. Each call
//! does bounded work: `begin` reads the batch once for its checksum, `step` as much as its budget says.
//! Knows no log: offsets, sequences and epochs are checked by the owner of the partition.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt;

use bytes::Bytes;

use crate::batch::{self, Batch, BatchError, Patch, Summary, TimestampType};
use crate::codec::Codec;
use crate::codec::encoder::Compression;
use crate::id::Timestamp;
use crate::recompression::{Recompression, Wish};
use crate::records::builder::BatchBuilder;
use crate::records::renumbering::Renumbering;
use crate::records::{Advance, Clock, RecordHead, RecordStream, RecordsError};

/// How many offending records an answer names, at most.
pub const OFFENDERS_MAX: usize = 1000;

/// A partition's rules, as its topic's and the broker's configuration say, and the request's.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`, of a batch as it is sent, and as it is stored.
    pub batch_bytes_max: u32,
    /// `segment.bytes`.
    pub segment_bytes_max: u32,
    /// Of one batch's records. Ours: Kafka has no limit.
    pub decompressed_bytes_max: usize,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_ms_max: i64,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    pub keys: Keys,
    pub validation: Validation,
    /// `compression.type` with its level. `None`: as the producer compressed it.
    pub compression: Option<Compression>,
    /// Whether the request has a transactional id.
    pub transactional: Permit,
    /// Produce before version 7 does not have zstd.
    pub zstd: Permit,
}

impl Rules {
    /// How a batch in `codec` is to be compressed anew. Of the same codec any level will do.
    fn other_than(&self, codec: Codec) -> Option<Compression> {
        self.compression.filter(|it| it.codec() != codec)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    Optional,
    /// The topic is compacted.
    Required,
}

/// `odradek.records.validation`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    Full,
    /// The topic trusts its producers: records are not opened, unless they are to be compressed anew, or need
    /// keys, without which compaction would not keep them.
    Headers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    Allowed,
    Refused,
}

/// Why a batch is not taken. One variant for each of Kafka's answers to it; behind each stands the
/// error code that Kafka gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No records, or less than one batch of them. 87
    NoBatch,
    /// A message set of format 0 or 1. 87
    OldFormat,
    /// 87
    ManyBatches,
    /// No format has batches so short. 2, and Kafka gives it to the whole request.
    BadLength { length: i32 },
    /// 2, and Kafka gives it to the whole request.
    BadMagic { magic: i8 },
    /// The batch is transactional, the request is not. 53, and Kafka gives it to the whole request.
    Transactional,
    /// 76
    ZstdTooEarly,
    /// Larger than `max.message.bytes`. 10
    TooLarge,
    /// The checksum does not hold, or the batch is shorter than its header. 2
    Corrupt,
    /// Larger than a segment of the log. 18
    LargerThanSegment,
    /// Kafka has no such limit and would go on; 10 comes nearest.
    DecompressedTooLarge,
    /// Not 0. 87
    BadBaseOffset,
    /// Codec 5, 6 or 7. -1
    BadCodec,
    /// No records, or not as many as offsets. 87
    BadCount,
    /// Only brokers write control batches. 87
    Control,
    /// A producer id without a sequence. 87
    NoSequence,
    /// The records do not decompress. -1
    Undecodable,
    /// They are no records, or not as many as counted, or bytes follow them. 87
    Malformed,
    /// A record's offset lies outside its batch. 87
    BadOffsetDelta,
    /// At least one timestamp is out of range; other faults are listed too. 32
    BadTimestamps(Offenders),
    /// Only null keys where keys are required. 87
    NullKeys(Offenders),
}

/// What a response says of the log's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// -1: the fault was found before the log was looked at.
    Unknown,
    Known,
}

impl Refusal {
    #[must_use]
    pub fn log_start(&self) -> LogStart {
        match self {
            Self::NoBatch
            | Self::OldFormat
            | Self::ManyBatches
            | Self::BadLength { .. }
            | Self::BadMagic { .. }
            | Self::Transactional
            | Self::ZstdTooEarly
            | Self::TooLarge
            | Self::Corrupt
            | Self::LargerThanSegment
            | Self::DecompressedTooLarge => LogStart::Unknown,
            Self::BadBaseOffset
            | Self::BadCodec
            | Self::BadCount
            | Self::Control
            | Self::NoSequence
            | Self::Undecodable
            | Self::Malformed
            | Self::BadOffsetDelta
            | Self::BadTimestamps(_)
            | Self::NullKeys(_) => LogStart::Known,
        }
    }

    /// Those that ErrorRecords names.
    #[must_use]
    pub fn offenders(&self) -> &[Offender] {
        match self {
            Self::BadTimestamps(offenders) | Self::NullKeys(offenders) => &offenders.first,
            _ => &[],
        }
    }

    /// The response's ErrorMessage. Most refusals have none, though all can be displayed.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        match self {
            Self::BadLength { .. }
            | Self::BadMagic { .. }
            | Self::BadTimestamps(_)
            | Self::NullKeys(_) => Some(self.to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBatch => write!(f, "a partition's records must be exactly one batch"),
            Self::OldFormat => write!(f, "only record batches of version 2 are taken"),
            Self::ManyBatches => write!(f, "only one batch for each partition is taken"),
            Self::BadLength { length } => {
                write!(f, "a batch of length {length} is shorter than the least, {LENGTH_MIN}")
            }
            Self::BadMagic { magic } => write!(f, "invalid magic {magic}"),
            Self::Transactional => write!(f, "the batch is transactional, the request is not"),
            Self::ZstdTooEarly => write!(f, "this version of the request does not have zstd"),
            Self::TooLarge => write!(
                f,
                "the batch is larger than max.message.bytes, or than the broker has memory for"
            ),
            Self::Corrupt => write!(f, "the batch's checksum does not hold"),
            Self::LargerThanSegment => write!(f, "the batch is larger than segment.bytes"),
            Self::DecompressedTooLarge => write!(f, "the records decompress to too many bytes"),
            Self::BadBaseOffset => write!(f, "the base offset of a batch that is sent must be 0"),
            Self::BadCodec => write!(f, "unknown codec"),
            Self::BadCount => write!(f, "the counts of records and of offsets must be equal"),
            Self::Control => write!(f, "only brokers write control batches"),
            Self::NoSequence => write!(f, "a batch with a producer id needs a sequence"),
            Self::Undecodable => write!(f, "the records do not decompress"),
            Self::Malformed => write!(f, "the records are malformed, or not as many as counted"),
            Self::BadOffsetDelta => write!(f, "a record's offset lies outside its batch"),
            Self::BadTimestamps(offenders) => {
                write!(f, "{offenders}, for invalid timestamps among others")
            }
            Self::NullKeys(offenders) => write!(f, "{offenders}, for null keys"),
        }
    }
}

/// The records that a batch is refused for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offenders {
    /// At most `OFFENDERS_MAX`.
    first: Vec<Offender>,
    count: u32,
    null_key_count: u32,
}

impl Offenders {
    /// All of them.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    fn push(&mut self, offender: Offender) {
        if self.first.len() < OFFENDERS_MAX {
            self.first.push(offender);
        }
        self.count = self.count.saturating_add(1);
        if offender.fault == RecordFault::NullKey {
            self.null_key_count = self.null_key_count.saturating_add(1);
        }
    }
}

impl fmt::Display for Offenders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records are refused", self.count)?;
        match self.first.first() {
            Some(first) => write!(f, " (record {}: {})", first.record_index, first.fault),
            None => Ok(()),
        }
    }
}

/// Its display is the message that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Kafka calls it BatchIndex.
    pub record_index: u32,
    pub fault: RecordFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    NullKey,
    TimestampOutOfRange {
        timestamp: Timestamp,
        /// Both ends are allowed.
        allowed_first: Timestamp,
        allowed_last: Timestamp,
    },
    /// The producer claims to be the leader's clock.
    TimestampType,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullKey => write!(f, "Compacted topic cannot accept message without key."),
            Self::TimestampOutOfRange { timestamp, allowed_first, allowed_last } => write!(
                f,
                "Timestamp {} is out of range. The timestamp should be within [{}, {}]",
                timestamp.get(),
                allowed_first.get(),
                allowed_last.get()
            ),
            Self::TimestampType => {
                write!(f, "Producer should not set timestamp type to LogAppendTime.")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// A batch that may enter the log.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// As sent, or compressed anew, and nothing after it.
    pub batch: Bytes,
    /// As it will stand in the log, with the patch.
    pub summary: Summary,
    /// To be applied to the copy in the log.
    pub patch: Option<Patch>,
}

impl Admitted {
    /// A batch of the broker's own, with at least one record.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn built(builder: BatchBuilder) -> Self {
        let batch = Bytes::from(builder.build());
        let summary = Batch::parse(&batch).and_then(|batch| batch.summary());
        #[expect(clippy::expect_used, reason = "no stranger's bytes")]
        let summary = summary.expect("the builder makes sound batches");
        Self { batch, summary, patch: None }
    }
}

/// One partition's records on their way into the log. Allocates nothing for a sound batch that is
/// not compressed.
pub struct Admission {
    batch: Bytes,
    summary: Summary,
    stage: Stage,
    tally: Tally,
    /// In which codec it is to be stored, if it came in another one.
    compression: Option<Compression>,
    batch_bytes_max: u32,
    segment_bytes_max: u32,
    decompressed_bytes_max: usize,
}

enum Stage {
    Records(RecordStream),
    Done,
}

impl Admission {
    /// Looks at everything but the records.
    pub fn begin(records: Option<Bytes>, rules: &Rules, now: Timestamp) -> Result<Self, Refusal> {
        let mut batch = records.ok_or(Refusal::NoBatch)?;
        let framing = read_framing(&batch)?.ok_or(Refusal::NoBatch)?;
        if framing.magic != batch::MAGIC {
            return Err(Refusal::OldFormat);
        }
        let view = Batch::parse(&batch);
        if rules.transactional == Permit::Refused
            && view.as_ref().is_ok_and(Batch::is_transactional)
        {
            return Err(Refusal::Transactional);
        }
        if is_batch(batch.get(framing.len_bytes..).unwrap_or_default()) {
            return Err(Refusal::ManyBatches);
        }
        let view = view.map_err(|error| match error {
            BatchError::Truncated | BatchError::BadLength => Refusal::Corrupt,
            _ => Refusal::Malformed,
        })?;
        let summary = check_header(&view, rules)?;
        let compression = rules.other_than(summary.codec);
        let stage = match rules.validation {
            Validation::Headers if compression.is_none() && rules.keys == Keys::Optional => {
                Stage::Done
            }
            Validation::Full | Validation::Headers => {
                let stream = RecordStream::new(&batch, &view, rules.decompressed_bytes_max);
                Stage::Records(stream.map_err(refusal)?)
            }
        };
        let mut tally = Tally::new(&view, rules, now, &stage);
        tally.renumbered = compression.map(|_other| (Renumbering::default(), 0));
        batch.truncate(framing.len_bytes);
        Ok(Self {
            batch,
            summary,
            stage,
            tally,
            compression,
            batch_bytes_max: rules.batch_bytes_max,
            segment_bytes_max: rules.segment_bytes_max,
            decompressed_bytes_max: rules.decompressed_bytes_max,
        })
    }

    /// Looks at about so many bytes of the records, decompressed ones if they are compressed.
    /// After a refusal it must not be called again.
    pub fn step(&mut self, budget_bytes: usize) -> Result<Progress, Refusal> {
        let mut budget_bytes = budget_bytes.max(1);
        let Stage::Records(stream) = &mut self.stage else { return Ok(Progress::Done) };
        loop {
            match stream.skim(&mut budget_bytes).map_err(refusal)? {
                Advance::Record(head) => self.tally.add(&head)?,
                Advance::More => return Ok(Progress::More),
                Advance::End => break,
            }
        }
        self.stage = Stage::Done;
        self.tally.verdict()?;
        Ok(Progress::Done)
    }

    /// What makes the batch one in the codec of its topic. `None`: it is in that codec.
    ///
    /// # Panics
    /// If `step` has not said `Done`.
    pub fn recompression(&self) -> Result<Option<Recompression>, Refusal> {
        assert!(matches!(self.stage, Stage::Done), "all records are looked at first");
        let (Some(compression), Some((renumbering, record_bytes))) =
            (self.compression, &self.tally.renumbered)
        else {
            return Ok(None);
        };
        let (timestamp_type, max_timestamp) = self.tally.timestamps();
        let wish = Wish {
            compression,
            timestamp_type,
            base_timestamp: renumbering.base(self.summary.base_timestamp),
            max_timestamp,
            record_bytes: *record_bytes,
            decompressed_bytes_max: self.decompressed_bytes_max,
            batch_bytes_max: self.batch_bytes_max,
            segment_bytes_max: self.segment_bytes_max,
        };
        Recompression::new(self.batch.clone(), wish).map(Some)
    }

    /// The batch as it was sent.
    ///
    /// # Panics
    /// If `step` has not said `Done`.
    #[must_use]
    pub fn finish(mut self) -> Admitted {
        assert!(matches!(self.stage, Stage::Done), "all records are looked at first");
        let (timestamp_type, max_timestamp) = self.tally.timestamps();
        let patch = match Batch::parse(&self.batch) {
            Ok(view) => Patch::new(&view, timestamp_type, max_timestamp),
            Err(error) => panic!("the batch was parsed before: {error:?}"),
        };
        self.summary.timestamp_type = timestamp_type;
        self.summary.max_timestamp = max_timestamp;
        Admitted { batch: self.batch, summary: self.summary, patch }
    }
}

fn refusal(error: RecordsError) -> Refusal {
    match error {
        RecordsError::Malformed => Refusal::Malformed,
        RecordsError::Undecodable => Refusal::Undecodable,
        RecordsError::TooLarge => Refusal::DecompressedTooLarge,
    }
}

/// The least length of any format's message: one of format 0 with nothing in it.
const LENGTH_MIN: i32 = 14;

/// Where any format, old or new, has its magic.
const MAGIC_AT: usize = 16;

struct Framing {
    len_bytes: usize,
    magic: i8,
}

/// Of the first batch, whatever its format. `None`: it is cut.
fn read_framing(records: &[u8]) -> Result<Option<Framing>, Refusal> {
    let length = records.get(8..).and_then(|it| it.first_chunk());
    let Some(length) = length.copied().map(i32::from_be_bytes) else { return Ok(None) };
    let length_bytes = usize::try_from(length).ok().filter(|_| length >= LENGTH_MIN);
    let length_bytes = length_bytes.ok_or(Refusal::BadLength { length })?;
    let Some(magic) = records.get(MAGIC_AT).map(|it| it.cast_signed()) else { return Ok(None) };
    if !(0..=batch::MAGIC).contains(&magic) {
        return Err(Refusal::BadMagic { magic });
    }
    let len_bytes = length_bytes.saturating_add(batch::LENGTH_OVERHEAD_BYTES);
    Ok((len_bytes <= records.len()).then_some(Framing { len_bytes, magic }))
}

/// Rubbish after a batch, or a cut one, is not a batch.
fn is_batch(rest: &[u8]) -> bool {
    matches!(read_framing(rest), Ok(Some(_)))
}

/// In Kafka's order.
fn check_header(view: &Batch<'_>, rules: &Rules) -> Result<Summary, Refusal> {
    let codec = view.codec();
    if codec == Ok(Codec::Zstd) && rules.zstd == Permit::Refused {
        return Err(Refusal::ZstdTooEarly);
    }
    if view.base_offset() != 0 {
        return Err(Refusal::BadBaseOffset);
    }
    let len_bytes = u32::try_from(view.len_bytes()).unwrap_or(u32::MAX);
    if len_bytes > rules.batch_bytes_max {
        return Err(Refusal::TooLarge);
    }
    if !view.crc_holds() {
        return Err(Refusal::Corrupt);
    }
    codec.map_err(|_unknown| Refusal::BadCodec)?;
    let summary = view.summary().map_err(|_counts| Refusal::BadCount)?;
    if summary.offset_count() != summary.record_count {
        return Err(Refusal::BadCount);
    }
    if view.is_control() {
        return Err(Refusal::Control);
    }
    if view.producer_id() >= 0 && view.base_sequence() < 0 {
        return Err(Refusal::NoSequence);
    }
    if len_bytes > rules.segment_bytes_max && rules.other_than(summary.codec).is_none() {
        return Err(Refusal::LargerThanSegment);
    }
    Ok(summary)
}

/// What is gathered of the records.
struct Tally {
    now: Timestamp,
    clock: Clock,
    timestamp_type: TimestampType,
    timestamp_before_ms_max: i64,
    timestamp_after_ms_max: i64,
    keys: Keys,
    record_count: u32,
    records_seen: u32,
    /// Of the records, as Kafka counts it: never below `Timestamp::NONE`. The header's word if
    /// records are not looked at.
    max_timestamp: Timestamp,
    offenders: Offenders,
    /// Of a batch that is to be compressed anew: how many bytes its records then are.
    renumbered: Option<(Renumbering, usize)>,
}

impl Tally {
    fn new(view: &Batch<'_>, rules: &Rules, now: Timestamp, stage: &Stage) -> Self {
        Self {
            now,
            clock: Clock::of(view),
            timestamp_type: rules.timestamp_type,
            timestamp_before_ms_max: rules.timestamp_before_ms_max,
            timestamp_after_ms_max: rules.timestamp_after_ms_max,
            keys: rules.keys,
            record_count: u32::try_from(view.record_count()).unwrap_or(0),
            records_seen: 0,
            max_timestamp: match stage {
                Stage::Records(_) => Timestamp::NONE,
                Stage::Done => view.max_timestamp(),
            },
            offenders: Offenders::default(),
            renumbered: None,
        }
    }

    /// Deltas may come in any order, and twice: only their range is checked.
    fn add(&mut self, head: &RecordHead) -> Result<(), Refusal> {
        let offset_delta = u32::try_from(head.offset_delta);
        if offset_delta.is_ok_and(|it| it < self.record_count) {
            let timestamp = self.clock.of_record(head);
            self.max_timestamp = self.max_timestamp.max(timestamp);
            if let Some(fault) = self.fault(head, timestamp) {
                self.offenders.push(Offender { record_index: self.records_seen, fault });
            }
            self.records_seen = self.records_seen.saturating_add(1);
            if let Some((renumbering, bytes)) = &mut self.renumbered {
                *bytes = bytes.saturating_add(renumbering.count(head));
            }
            Ok(())
        } else {
            Err(Refusal::BadOffsetDelta)
        }
    }

    fn fault(&self, head: &RecordHead, timestamp: Timestamp) -> Option<RecordFault> {
        if self.keys == Keys::Required && head.key_bytes.is_none() {
            return Some(RecordFault::NullKey);
        }
        if self.timestamp_type == TimestampType::CreateTime && timestamp != Timestamp::NONE {
            self.is_out_of_range(timestamp).then(|| RecordFault::TimestampOutOfRange {
                timestamp,
                allowed_first: self.now_plus(self.timestamp_before_ms_max.wrapping_neg()),
                allowed_last: self.now_plus(self.timestamp_after_ms_max),
            })
        } else {
            // A claim that is cleared where the producer's clock counts, as Kafka does.
            matches!(self.clock, Clock::Appended(_)).then_some(RecordFault::TimestampType)
        }
    }

    /// Wraps, as Kafka's arithmetic does: a limit of 2^63-1 means that there is none.
    fn is_out_of_range(&self, timestamp: Timestamp) -> bool {
        let behind_ms = self.now.get().wrapping_sub(timestamp.get());
        let ahead_ms = behind_ms.wrapping_neg();
        behind_ms > self.timestamp_before_ms_max || ahead_ms > self.timestamp_after_ms_max
    }

    fn now_plus(&self, ms: i64) -> Timestamp {
        Timestamp::new(self.now.get().wrapping_add(ms))
    }

    fn verdict(&mut self) -> Result<(), Refusal> {
        if self.offenders.count == 0 {
            return Ok(());
        }
        let offenders = std::mem::take(&mut self.offenders);
        // Timestamps count for more, also of an offender that is not listed.
        Err(if offenders.null_key_count == offenders.count {
            Refusal::NullKeys(offenders)
        } else {
            Refusal::BadTimestamps(offenders)
        })
    }

    /// As they must stand in the log.
    fn timestamps(&self) -> (TimestampType, Timestamp) {
        match self.timestamp_type {
            TimestampType::CreateTime => (TimestampType::CreateTime, self.max_timestamp),
            TimestampType::LogAppendTime => (TimestampType::LogAppendTime, self.now),
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::batch::HEADER_BYTES;
    use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
    use crate::records::builder::BatchBuilder;

    const NOW: i64 = 1_700_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    /// Kafka's defaults.
    const RULES: Rules = Rules {
        batch_bytes_max: 1_048_588,
        segment_bytes_max: 1 << 30,
        decompressed_bytes_max: 1 << 20,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: HOUR_MS,
        timestamp_type: TimestampType::CreateTime,
        keys: Keys::Optional,
        validation: Validation::Full,
        compression: None,
        transactional: Permit::Refused,
        zstd: Permit::Allowed,
    };

    fn build(timestamps: &[i64]) -> BatchBuilder {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.push(Timestamp::new(*timestamp), Some(b"k"), Some(b"v"), &[]);
        }
        builder
    }

    /// Three records of now.
    fn sample() -> Vec<u8> {
        build(&[NOW, NOW + 1, NOW + 2]).build()
    }

    fn reseal(batch: &mut [u8]) {
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    /// The sample with other bytes at a position, and a checksum that holds.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut batch = sample();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        reseal(&mut batch);
        batch
    }

    /// A batch of `record_count` records around other bytes, its length and checksum right.
    fn with_section(record_count: i32, codec: Codec, section: &[u8]) -> Vec<u8> {
        let mut batch = build(&[NOW]).build();
        batch.truncate(HEADER_BYTES);
        batch.extend_from_slice(section);
        let length = i32::try_from(batch.len() - 12).expect("short");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[21..23].copy_from_slice(&codec.bits().to_be_bytes());
        batch[23..27].copy_from_slice(&(record_count - 1).to_be_bytes());
        batch[57..61].copy_from_slice(&record_count.to_be_bytes());
        reseal(&mut batch);
        batch
    }

    /// A record without key or value, at an offset delta below 64.
    fn record(offset_delta: u8) -> [u8; 7] {
        [12, 0, 0, offset_delta * 2, 1, 1, 0]
    }

    fn admit_in_steps(
        records: Bytes,
        rules: &Rules,
        budget_bytes: usize,
    ) -> Result<Admitted, Refusal> {
        let mut admission = Admission::begin(Some(records), rules, Timestamp::new(NOW))?;
        while admission.step(budget_bytes)? == Progress::More {}
        assert!(admission.recompression()?.is_none(), "these topics leave it to the producer");
        Ok(admission.finish())
    }

    /// With budgets of all sizes, which must agree.
    #[track_caller]
    fn admit(records: &[u8], rules: &Rules) -> Result<Admitted, Refusal> {
        let records = Bytes::copy_from_slice(records);
        let one_step = admit_in_steps(records.clone(), rules, usize::MAX);
        for budget_bytes in [0, 1, 3, 100] {
            let steps = admit_in_steps(records.clone(), rules, budget_bytes);
            assert_eq!(steps.as_ref().err(), one_step.as_ref().err(), "{budget_bytes}");
            let patches = (steps.as_ref().ok(), one_step.as_ref().ok());
            assert_eq!(patches.0.map(|it| it.patch), patches.1.map(|it| it.patch));
        }
        one_step
    }

    #[track_caller]
    fn check_refused(records: &[u8], want: &Refusal) {
        assert_eq!(admit(records, &RULES).err().as_ref(), Some(want));
    }

    /// The batch as it will stand in the log.
    fn stored(admitted: &Admitted) -> Vec<u8> {
        let mut batch = admitted.batch.to_vec();
        if let Some(patch) = &admitted.patch {
            patch.apply(&mut batch);
        }
        let view = Batch::parse(&batch).expect("it was admitted");
        assert_eq!(view.check_stored(Offset::ZERO), Ok(()));
        assert_eq!(view.summary().as_ref(), Ok(&admitted.summary));
        batch
    }

    #[track_caller]
    fn check_stored_as_sent(records: &[u8]) {
        let admitted = admit(records, &RULES).expect("Kafka takes it");
        assert_eq!((stored(&admitted), admitted.patch), (records.to_vec(), None));
    }

    #[test]
    fn a_sound_batch_is_stored_as_sent() {
        check_stored_as_sent(&sample());
        for codec in Codec::ALL {
            check_stored_as_sent(&build(&[NOW; 100]).build_with(codec));
        }
        check_stored_as_sent(&with(12, &77_i32.to_be_bytes())); // a leader epoch
    }

    #[test]
    fn records_are_exactly_one_batch() {
        let one = sample();
        let none = Admission::begin(None, &RULES, Timestamp::new(NOW)).err();
        assert_eq!(none, Some(Refusal::NoBatch));
        check_refused(b"", &Refusal::NoBatch);
        for end in 0..one.len() {
            check_refused(&one[..end], &Refusal::NoBatch);
        }
        check_refused(&[&one[..], &one].concat(), &Refusal::ManyBatches);
        check_refused(&[&one[..], &one, b"rubbish"].concat(), &Refusal::ManyBatches);
        for end in 0..one.len() {
            let cut = [&one[..], &one[..end]].concat();
            assert_eq!(admit(&cut, &RULES).map(|it| it.batch), Ok(Bytes::from(one.clone())));
        }
        for rubbish in [&b"rubbish"[..], &[0xff; 40], &[0; 40], &[b'x'; 100]] {
            let batch = admit(&[&one[..], rubbish].concat(), &RULES).map(|it| it.batch);
            assert_eq!(batch, Ok(Bytes::from(one.clone())));
        }
    }

    #[test]
    fn what_frames_no_batch_is_refused_with_a_message() {
        let check = |at, bytes: &[u8], want| {
            let mut batch = sample();
            batch[at..at + bytes.len()].copy_from_slice(bytes);
            check_refused(&batch, &want);
        };
        for length in [0, -1, i32::MIN, 13] {
            check(8, &length.to_be_bytes(), Refusal::BadLength { length });
        }
        check(8, &i32::MAX.to_be_bytes(), Refusal::NoBatch);
        check(8, &[0, 0, 1, 0], Refusal::NoBatch);
        for magic in [3_i8, -1, 127, -128] {
            check(16, &[magic.cast_unsigned()], Refusal::BadMagic { magic });
        }
        for magic in [0, 1] {
            check(16, &[magic], Refusal::OldFormat);
        }
        check_refused(&[0; 100], &Refusal::BadLength { length: 0 });
        // A length that is too short leaves a batch whose checksum is another's.
        let length = sample().len() - 12;
        for shorter in [14, 48, 49, length - 1] {
            check(8, &i32::try_from(shorter).expect("short").to_be_bytes(), Refusal::Corrupt);
        }
        check(sample().len() - 1, b"x", Refusal::Corrupt);
        check(17, &[1, 2, 3, 4], Refusal::Corrupt);
    }

    #[test]
    fn the_header_is_checked_against_what_a_producer_may_send() {
        let check = |at, bytes: &[u8], want| check_refused(&with(at, bytes), &want);
        check(0, &1_i64.to_be_bytes(), Refusal::BadBaseOffset);
        check(0, &(-1_i64).to_be_bytes(), Refusal::BadBaseOffset);
        for codec in [5, 6, 7] {
            check(21, &[0, codec], Refusal::BadCodec);
        }
        for count in [2, 4, 0, -1, i32::MAX, i32::MIN] {
            check(57, &count.to_be_bytes(), Refusal::BadCount);
        }
        for last_offset_delta in [1, 3, -1, i32::MAX, i32::MIN] {
            check(23, &last_offset_delta.to_be_bytes(), Refusal::BadCount);
        }
        check(21, &[0, 0x20], Refusal::Control);
        check(21, &[0, 0x10], Refusal::Transactional);
        check(21, &[0, 0x30], Refusal::Transactional);
        check(43, &7_i64.to_be_bytes(), Refusal::NoSequence);
        check_refused(&with_section(0, Codec::None, b""), &Refusal::BadCount);
    }

    #[test]
    fn a_transactional_batch_needs_a_transactional_request() {
        let allowed = Rules { transactional: Permit::Allowed, ..RULES };
        let batch = with(21, &[0, 0x10]);
        let kind = admit(&batch, &allowed).map(|it| it.summary.kind);
        assert_eq!(kind, Ok(batch::Kind::TransactionalData));
        assert_eq!(admit(&with(21, &[0, 0x30]), &allowed).err(), Some(Refusal::Control));
        assert_eq!(admit(&sample(), &allowed).map(|it| it.patch), Ok(None));
    }

    #[test]
    fn zstd_comes_with_version_7_of_the_request() {
        let batch = build(&[NOW]).build_with(Codec::Zstd);
        let refused = Rules { zstd: Permit::Refused, ..RULES };
        assert_eq!(admit(&batch, &refused).err(), Some(Refusal::ZstdTooEarly));
    }

    #[test]
    fn sizes_have_limits() {
        let batch = sample();
        let bytes = u32::try_from(batch.len()).expect("short");
        let check = |batch_bytes_max, segment_bytes_max, want| {
            let rules = Rules { batch_bytes_max, segment_bytes_max, ..RULES };
            assert_eq!(admit(&batch, &rules).err(), want);
        };
        check(bytes, bytes, None);
        check(bytes - 1, bytes, Some(Refusal::TooLarge));
        check(bytes, bytes - 1, Some(Refusal::LargerThanSegment));
        check(bytes - 1, bytes - 1, Some(Refusal::TooLarge));
    }

    #[test]
    fn what_an_idempotent_producer_says_is_handed_on() {
        let send = |id: i64, epoch: i16, sequence: i32| {
            let fields = [&id.to_be_bytes()[..], &epoch.to_be_bytes(), &sequence.to_be_bytes()];
            admit(&with(43, &fields.concat()), &RULES).map(|it| it.summary.producer)
        };
        let producer = |id, epoch, first, last| batch::ProducerBatch {
            id: ProducerId::checked(id).expect("valid"),
            epoch: ProducerEpoch::checked(epoch).expect("valid"),
            first: Sequence::checked(first).expect("valid"),
            last: Sequence::checked(last).expect("valid"),
        };
        assert_eq!(send(7, 0, 0), Ok(Some(producer(7, 0, 0, 2))));
        assert_eq!(send(7, 3, 2_147_483_646), Ok(Some(producer(7, 3, 2_147_483_646, 0))));
        assert_eq!(send(7, 0, -1), Err(Refusal::NoSequence));
        assert_eq!(send(7, -1, -1), Err(Refusal::NoSequence));
        assert_eq!(send(7, -1, 0), Ok(None));
        assert_eq!(send(-1, 5, 0), Ok(None));
        assert_eq!(send(-2, 0, 0), Ok(None));
        assert_eq!(send(-1, -1, -1), Ok(None));
    }

    #[test]
    fn records_are_as_many_as_counted_at_offsets_of_the_batch() {
        #[track_caller]
        fn check(record_count: i32, section: &[u8], want: Option<Refusal>) {
            for codec in Codec::ALL {
                let section = crate::codec::compress(codec, section);
                let mut batch = with_section(record_count, codec, &section);
                batch[35..43].copy_from_slice(&NOW.to_be_bytes());
                reseal(&mut batch);
                assert_eq!(admit(&batch, &RULES).err(), want, "{codec:?}");
                if want.is_none() {
                    check_stored_as_sent(&batch);
                }
            }
        }
        check(2, &[record(0), record(1)].concat(), None);
        check(2, &[record(1), record(0)].concat(), None);
        check(2, &[record(0), record(0)].concat(), None);
        check(2, &[record(0), record(2)].concat(), Some(Refusal::BadOffsetDelta));
        check(2, &[record(1), record(2)].concat(), Some(Refusal::BadOffsetDelta));
        check(1, &[12, 0, 0, 1, 1, 1, 0], Some(Refusal::BadOffsetDelta)); // -1
        check(1, &[record(0), record(1)].concat(), Some(Refusal::Malformed));
        check(1, &[record(0), record(0)].concat(), Some(Refusal::Malformed));
        check(3, &[record(0), record(1)].concat(), Some(Refusal::Malformed));
        check(1, &[&record(0)[..], b"\0"].concat(), Some(Refusal::Malformed));
        check(1, &[&record(0)[..], b"rubbish"].concat(), Some(Refusal::Malformed));
        check(1, b"rubbish", Some(Refusal::Malformed));
        check(1, &record(0)[..6], Some(Refusal::Malformed));
        check(1, b"", Some(Refusal::Malformed));
        check(1, &[12, 0xff, 0, 0, 1, 1, 0], None); // a record's attributes
    }

    #[test]
    fn compressed_bytes_must_decompress() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let rubbish = with_section(1, codec, b"this was never compressed");
            check_refused(&rubbish, &Refusal::Undecodable);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut builder = BatchBuilder::new();
            builder.push(Timestamp::new(NOW), None, Some(&vec![0; 8 << 20]), &[]);
            check_refused(&builder.build_with(codec), &Refusal::DecompressedTooLarge);
        }
    }

    #[test]
    fn a_wrong_max_timestamp_is_corrected_in_place() {
        #[track_caller]
        fn check(timestamps: &[i64], claimed: i64, want: i64) {
            let sent = {
                let mut batch = build(timestamps).build();
                batch[35..43].copy_from_slice(&claimed.to_be_bytes());
                reseal(&mut batch);
                batch
            };
            let admitted = admit(&sent, &RULES).expect("Kafka takes it");
            assert_eq!(admitted.summary.max_timestamp, Timestamp::new(want));
            assert_eq!(admitted.patch.is_some(), claimed != want);
            let stored = stored(&admitted);
            assert_eq!(stored[..17], sent[..17]);
            assert_eq!(stored[21..35], sent[21..35]);
            assert_eq!(stored[35..43], want.to_be_bytes());
            assert_eq!(stored[43..], sent[43..]);
        }
        check(&[NOW, NOW - 1], NOW, NOW);
        check(&[NOW, NOW - 1], NOW - 1, NOW);
        check(&[NOW, NOW - 1], i64::MAX, NOW);
        check(&[NOW, NOW - 1], i64::MIN, NOW);
        check(&[0], 0, 0);
        // Kafka counts from "none" up.
        check(&[-1], -1, -1);
        check(&[-1000], -1000, -1);
    }

    #[test]
    fn unused_bits_of_the_attributes_stay_unless_something_is_corrected() {
        for attributes in [[0, 0x40], [0, 0x80], [0xff, 0xc0]] {
            check_stored_as_sent(&with(21, &attributes));
        }
        let admitted = admit(&with(21, &[0xff, 0xc8]), &RULES).expect("Kafka takes it");
        assert_eq!(admitted.summary.timestamp_type, TimestampType::CreateTime);
        assert_eq!(stored(&admitted)[21..23], [0, 0x40]);
        // All records had the batch's max timestamp, by that bit.
        assert_eq!(admitted.summary.max_timestamp, Timestamp::new(NOW + 2));
    }

    #[track_caller]
    fn check_offenders(batch: &[u8], rules: &Rules, want: &[u32]) -> Refusal {
        let refusal = admit(batch, rules).expect_err("there are offenders");
        let indexes: Vec<_> = refusal.offenders().iter().map(|it| it.record_index).collect();
        assert_eq!(indexes, want);
        assert!(refusal.message().is_some());
        assert_eq!(refusal.log_start(), LogStart::Known);
        refusal
    }

    #[test]
    fn timestamps_have_bounds_and_each_offender_is_named() {
        let ok = |timestamps: &[i64], rules: &Rules| {
            assert_eq!(admit(&build(timestamps).build(), rules).err(), None);
        };
        let bad = |timestamps: &[i64], rules: &Rules, want: &[u32]| {
            for codec in Codec::ALL {
                let batch = build(timestamps).build_with(codec);
                let refusal = check_offenders(&batch, rules, want);
                assert!(matches!(refusal, Refusal::BadTimestamps(_)));
            }
        };
        ok(&[NOW + HOUR_MS, 0, -1, -1000, i64::MIN + NOW + 1], &RULES);
        bad(&[NOW + HOUR_MS + 1, NOW, i64::MAX], &RULES, &[0, 2]);
        bad(&[NOW, i64::MIN], &RULES, &[1]); // Java's arithmetic wraps there
        let behind = Rules { timestamp_before_ms_max: HOUR_MS, ..RULES };
        ok(&[NOW - HOUR_MS, -1], &behind);
        bad(&[NOW, NOW - HOUR_MS - 1, 0, -1000], &behind, &[1, 2, 3]);
        let any = Rules { timestamp_after_ms_max: i64::MAX, ..RULES };
        ok(&[i64::MAX], &any);
        let refusal = check_offenders(&build(&[NOW + 2 * HOUR_MS]).build(), &RULES, &[0]);
        let message = refusal.offenders().first().map(|it| it.fault.to_string());
        let want = format!(
            "Timestamp {} is out of range. The timestamp should be within [{}, {}]",
            NOW + 2 * HOUR_MS,
            NOW.wrapping_sub(i64::MAX),
            NOW + HOUR_MS
        );
        assert_eq!(message, Some(want));
    }

    #[test]
    fn a_compacted_topic_needs_keys() {
        let rules = Rules { keys: Keys::Required, ..RULES };
        let mut builder = BatchBuilder::new();
        for key in [Some(&b"k"[..]), None, Some(b""), None] {
            builder.push(Timestamp::new(NOW), key, None, &[]);
        }
        for codec in Codec::ALL {
            let refusal = check_offenders(&builder.clone().build_with(codec), &rules, &[1, 3]);
            assert!(matches!(refusal, Refusal::NullKeys(_)));
        }
        builder.push(Timestamp::new(i64::MAX), Some(b"k"), None, &[]);
        let refusal = check_offenders(&builder.build(), &rules, &[1, 3, 4]);
        assert!(matches!(refusal, Refusal::BadTimestamps(_)));
    }

    #[test]
    fn the_list_of_offenders_is_bounded() {
        let timestamps = vec![i64::MAX; OFFENDERS_MAX + 5];
        let refusal = admit(&build(&timestamps).build(), &RULES).expect_err("they are offenders");
        assert_eq!(refusal.offenders().len(), OFFENDERS_MAX);
        let Refusal::BadTimestamps(offenders) = refusal else { panic!("it is the timestamps") };
        assert_eq!(offenders.count(), 1005);

        let rules = Rules { keys: Keys::Required, ..RULES };
        let mut builder = BatchBuilder::new();
        for _ in 0..=OFFENDERS_MAX {
            builder.push(Timestamp::new(NOW), None, None, &[]);
        }
        let refusal = admit(&builder.clone().build(), &rules).expect_err("they are offenders");
        assert!(matches!(refusal, Refusal::NullKeys(_)));
        builder.push(Timestamp::new(i64::MAX), Some(b"k"), None, &[]);
        let refusal = admit(&builder.build(), &rules).expect_err("they are offenders");
        assert!(matches!(refusal, Refusal::BadTimestamps(_)));
    }

    #[test]
    fn the_leaders_clock_replaces_the_producers() {
        let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..RULES };
        let admitted = admit(&build(&[5, i64::MAX]).build(), &rules).expect("times do not matter");
        assert_eq!(admitted.summary.max_timestamp, Timestamp::new(NOW));
        assert_eq!(admitted.summary.timestamp_type, TimestampType::LogAppendTime);
        stored(&admitted);
        // A producer who claims to be that clock is refused, for each record.
        let refusal = check_offenders(&with(21, &[0, 8]), &rules, &[0, 1, 2]);
        assert!(matches!(refusal, Refusal::BadTimestamps(_)));
        // On a topic of the producers' clock too, where the claim comes without a time.
        let mut batch = with(21, &[0, 8]);
        batch[35..43].copy_from_slice(&(-1_i64).to_be_bytes());
        reseal(&mut batch);
        check_offenders(&batch, &RULES, &[0, 1, 2]);
    }

    #[test]
    fn a_topic_that_trusts_its_producers_has_headers_checked_only() {
        let rules = Rules { validation: Validation::Headers, ..RULES };
        let rubbish = with_section(1, Codec::Gzip, b"rubbish");
        let admitted = admit(&rubbish, &rules).expect("records are not opened");
        assert_eq!((stored(&admitted), admitted.patch), (rubbish, None));
        assert_eq!(admit(&with(21, &[0, 0x20]), &rules).err(), Some(Refusal::Control));
        assert_eq!(stored(&admit(&with(21, &[0, 8]), &rules).expect("sound"))[22], 0);
    }

    #[test]
    fn trusted_producers_need_keys_too() {
        let rules = Rules { validation: Validation::Headers, keys: Keys::Required, ..RULES };
        let mut builder = BatchBuilder::new();
        for key in [Some(&b"k"[..]), None] {
            builder.push(Timestamp::new(NOW), key, None, &[]);
        }
        let refusal = check_offenders(&builder.build(), &rules, &[1]);
        assert!(matches!(refusal, Refusal::NullKeys(_)));
    }

    #[test]
    fn each_refusal_says_what_goes_with_it() {
        let before = [
            (Refusal::NoBatch, false),
            (Refusal::OldFormat, false),
            (Refusal::ManyBatches, false),
            (Refusal::BadLength { length: 0 }, true),
            (Refusal::BadMagic { magic: 3 }, true),
            (Refusal::TooLarge, false),
            (Refusal::Corrupt, false),
            (Refusal::LargerThanSegment, false),
        ];
        for (refusal, has_message) in before {
            assert_eq!(refusal.log_start(), LogStart::Unknown, "{refusal}");
            assert_eq!(refusal.message().is_some(), has_message, "{refusal}");
        }
        let within = [Refusal::BadCount, Refusal::BadBaseOffset, Refusal::Control];
        for refusal in within.into_iter().chain([Refusal::NoSequence, Refusal::Undecodable]) {
            assert_eq!((refusal.log_start(), refusal.message()), (LogStart::Known, None));
        }
    }

    #[test]
    fn a_sound_batch_that_is_not_compressed_costs_no_allocation() {
        let sound = build(&[NOW; 1000]).build();
        let mut wrong = sound.clone();
        wrong[35..43].copy_from_slice(&5_i64.to_be_bytes());
        reseal(&mut wrong);
        for batch in [sound, wrong] {
            let records = Bytes::from(batch);
            let _shared = records.clone(); // makes it count references, as a receive buffer does
            let allocated = allocation_counter::measure(|| {
                assert!(admit_in_steps(records.clone(), &RULES, 4096).is_ok());
            });
            assert_eq!(allocated.count_total, 0);
        }
    }

    #[test]
    fn an_admitted_batch_is_stamped_without_a_copy() {
        let mut sent = sample();
        sent[35..43].copy_from_slice(&5_i64.to_be_bytes());
        reseal(&mut sent);
        let admitted = admit(&sent, &RULES).expect("it is corrected");
        let offset = Offset::new(1 << 40);
        let epoch = LeaderEpoch::new(9);
        let header = batch::stamped_header(&admitted.batch, offset, epoch, admitted.patch.as_ref());
        let log = [&header[..], &admitted.batch[HEADER_BYTES..]].concat();
        assert_eq!(Batch::parse(&log).and_then(|it| it.check_stored(offset)), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>) {
            let admitted = admit(&bytes, &RULES);
            prop_assert_eq!(admitted.is_err(), true);
        }

        #[test]
        fn any_damage_is_judged_alike_in_one_step_and_in_many(
            at: usize, to: u8, bits in 0_u16..5, budget_bytes in 1_usize..2000,
        ) {
            let codec = Codec::checked(bits).expect("in range");
            let timestamps: Vec<_> = (0..50).map(|it| NOW + it % 7).collect();
            let mut batch = build(&timestamps).build_with(codec);
            let at = 21 + at % (batch.len() - 21);
            batch[at] = to;
            reseal(&mut batch);
            let records = Bytes::from(batch);
            let one = admit_in_steps(records.clone(), &RULES, usize::MAX);
            let many = admit_in_steps(records, &RULES, budget_bytes);
            prop_assert_eq!(one.as_ref().err(), many.as_ref().err());
            if let Ok(admitted) = one {
                stored(&admitted);
            }
        }
    }
}
