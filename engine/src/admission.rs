//! What stands between a producer's bytes and the log: the checks that Kafka's broker makes of one
//! partition's records, in its order and with its answers.
//!
//! Call `begin`, then `step` until it is done, then `finish`. Each call does bounded work: `begin`
//! reads the batch once for its checksum, `step` as much as its budget says. Knows no log: offsets,
//! sequences and epochs are checked by the owner of the partition.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt;

use bytes::Bytes;

use crate::batch::{self, Batch, BatchError, Patch, Summary, TimestampType};
use crate::codec::Codec;
use crate::id::Timestamp;
use crate::records::{Advance, Clock, RecordHead, RecordStream, RecordsError};

/// How many offending records an answer names, at most.
pub const OFFENDERS_MAX: usize = 1000;

/// A partition's rules, as its topic's and the broker's configuration say, and the request's.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`, of a batch as it is sent.
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
    /// Whether the request has a transactional id.
    pub transactional: Permit,
    /// Produce before version 7 does not have zstd.
    pub zstd: Permit,
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
    /// The topic trusts its producers: records are not opened.
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
            Self::TooLarge => write!(f, "the batch is larger than max.message.bytes"),
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
    /// As sent, and nothing after it.
    pub batch: Bytes,
    /// As it will stand in the log, with the patch.
    pub summary: Summary,
    /// To be applied to the copy in the log.
    pub patch: Option<Patch>,
}

/// One partition's records on their way into the log. Allocates nothing for a sound batch that is
/// not compressed.
pub struct Admission {
    batch: Bytes,
    summary: Summary,
    stage: Stage,
    tally: Tally,
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
        let stage = match rules.validation {
            Validation::Full => {
                let stream = RecordStream::new(&batch, &view, rules.decompressed_bytes_max);
                Stage::Records(stream.map_err(refusal)?)
            }
            Validation::Headers => Stage::Done,
        };
        let tally = Tally::new(&view, rules, now);
        batch.truncate(framing.len_bytes);
        Ok(Self { batch, summary, stage, tally })
    }

    /// Looks at about so many bytes of the records, decompressed ones if they are compressed.
    /// After a refusal it must not be called again.
    pub fn step(&mut self, budget_bytes: usize) -> Result<Progress, Refusal> {
        let mut budget_bytes = budget_bytes.max(1);
        let Stage::Records(stream) = &mut self.stage else { return Ok(Progress::Done) };
        loop {
            match stream.advance(&mut budget_bytes, &mut |_part| {}).map_err(refusal)? {
                Advance::Record(head) => self.tally.add(&head)?,
                Advance::More => return Ok(Progress::More),
                Advance::End => break,
            }
        }
        self.stage = Stage::Done;
        self.tally.verdict()?;
        Ok(Progress::Done)
    }

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
    if len_bytes > rules.segment_bytes_max {
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
}

impl Tally {
    fn new(view: &Batch<'_>, rules: &Rules, now: Timestamp) -> Self {
        Self {
            now,
            clock: Clock::of(view),
            timestamp_type: rules.timestamp_type,
            timestamp_before_ms_max: rules.timestamp_before_ms_max,
            timestamp_after_ms_max: rules.timestamp_after_ms_max,
            keys: rules.keys,
            record_count: u32::try_from(view.record_count()).unwrap_or(0),
            records_seen: 0,
            max_timestamp: match rules.validation {
                Validation::Full => Timestamp::NONE,
                Validation::Headers => view.max_timestamp(),
            },
            offenders: Offenders::default(),
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
        let only_keys = offenders.first.iter().all(|it| it.fault == RecordFault::NullKey);
        Err(if only_keys {
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
