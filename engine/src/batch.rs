//! Kafka's record batch, version 2: a checked view of one, and the walk over many.
//!
//! Knows the header and the checksum; what lies in the records is for [`crate::records`].
//! Bytes come from strangers and from disks, so nothing here can panic on them.
//!
//! ```text
//! position  bytes  field
//!        0      8  base offset             stamped by the leader, outside the checksum
//!        8      4  length                  of all that follows this field: at least 49
//!       12      4  partition leader epoch  stamped by the leader, outside the checksum
//!       16      1  magic                   2
//!       17      4  crc                     CRC-32C of everything from position 21 to the end
//!       21      2  attributes              bits 0-2 codec, 3 timestamp type, 4 transactional,
//!                                          5 control, 6 delete horizon, 7-15 unused
//!       23      4  last offset delta
//!       27      8  base timestamp
//!       35      8  max timestamp
//!       43      8  producer id             -1: none
//!       51      2  producer epoch          -1: none
//!       53      4  base sequence           -1: none
//!       57      4  record count
//!       61         records, compressed as one if the codec says so
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use crate::bug::Bug;
use crate::codec::Codec;
use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;

/// Bytes that the length field does not count: the base offset and itself.
pub const LENGTH_OVERHEAD_BYTES: usize = 12;

pub const MAGIC: i8 = 2;

const CHECKSUM_AT: usize = 17;
const CHECKED_AT: usize = 21;
const CHECKED_HEADER_BYTES: usize = 40;

const CODEC_BITS: u16 = 0b0000_0111;
const LOG_APPEND_TIME_BIT: u16 = 0b0000_1000;
const TRANSACTIONAL_BIT: u16 = 0b0001_0000;
const CONTROL_BIT: u16 = 0b0010_0000;
const DELETE_HORIZON_BIT: u16 = 0b0100_0000;

const _: () = {
    assert!(CHECKED_AT + CHECKED_HEADER_BYTES == HEADER_BYTES);
    assert!(LENGTH_OVERHEAD_BYTES < HEADER_BYTES);
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the header, or than the header announces.
    Truncated,
    BadLength,
    BadMagic,
    /// Not the offset that must stand here, or one past the last that can be.
    BadOffset,
    /// The leader epoch went back, or is none.
    BadEpoch,
    /// More records than offsets.
    BadCount,
    BadCodec,
    BadChecksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's clock, a time for each record.
    CreateTime,
    /// The leader's clock: the max timestamp holds for all records.
    LogAppendTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    TransactionalData,
    /// Written by brokers: the end of a transaction.
    Control,
}

/// What a log remembers of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Header included.
    pub len_bytes: u32,
    /// 0 where compaction took all records out.
    pub record_count: u32,
    /// `record_count - 1`, or more where compaction took records out.
    pub last_offset_delta: u32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub timestamp_type: TimestampType,
    pub kind: Kind,
    pub codec: Codec,
    pub producer: Option<ProducerBatch>,
}

impl Summary {
    /// How many offsets the batch takes.
    #[must_use]
    pub fn offset_count(&self) -> u32 {
        self.last_offset_delta.saturating_add(1)
    }
}

/// A batch's place among those of its idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub first: Sequence,
    /// Of the last record: lower than `first` where sequences wrap.
    pub last: Sequence,
}

/// A view of one batch. Holding it proves: all its bytes are there, as many as its header
/// announces, and its magic is 2. The rest is the header's word until a check says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: Header,
    bytes: &'a [u8],
    payload: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch that `bytes` begin with.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = Header::read(bytes).ok_or(BatchError::Truncated)?;
        let len_bytes = checked_len_bytes(header.length, header.magic)?;
        let (own, rest) = bytes.split_at_checked(len_bytes).ok_or(BatchError::Truncated)?;
        let payload = own.get(HEADER_BYTES..).ok_or(BatchError::BadLength)?;
        Ok(Self { header, bytes: own, payload, rest })
    }

    /// Header and records, as they are on the wire and on the disk.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, compressed or not.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What follows the batch in the bytes it was parsed from.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.header.base_offset
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.header.leader_epoch)
    }

    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta
    }

    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp::new(self.header.base_timestamp)
    }

    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::new(self.header.max_timestamp)
    }

    pub fn codec(&self) -> Result<Codec, BatchError> {
        Codec::checked(self.header.attributes & CODEC_BITS).ok_or(BatchError::BadCodec)
    }

    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.header.attributes & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header.attributes & TRANSACTIONAL_BIT != 0
    }

    #[must_use]
    pub fn is_control(&self) -> bool {
        self.header.attributes & CONTROL_BIT != 0
    }

    /// From when on its markers of deleted keys may go. The records' times are told from there.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        let has_horizon = self.header.attributes & DELETE_HORIZON_BIT != 0;
        has_horizon.then(|| self.base_timestamp())
    }

    /// The batch with what a compaction leaves of its records: same offsets, epoch and sequences.
    #[must_use]
    pub fn remainder(&self, left: &Remainder<'_>) -> Vec<u8> {
        let mut header = self.header;
        match left.horizon {
            _ if left.record_count == 0 => {
                header.attributes &= !(CODEC_BITS | DELETE_HORIZON_BIT);
                header.base_timestamp = Timestamp::NONE.get();
                header.max_timestamp = Timestamp::NONE.get();
            }
            Some(horizon) => {
                header.attributes |= DELETE_HORIZON_BIT;
                header.base_timestamp = horizon.get();
                header.max_timestamp = left.max_timestamp.get();
            }
            None => header.max_timestamp = left.max_timestamp.get(),
        }
        header.record_count = i32::try_from(left.record_count).unwrap_or(i32::MAX);
        header.write(left.payload)
    }

    /// The same records in another codec, renumbered: they stand in `bytes`, behind room for the header,
    /// which is written. Attributes that mean nothing to a broker are cleared, as Kafka clears them.
    ///
    /// # Panics
    /// If there is no room for a header.
    pub fn recode(&self, recoding: &Recoding, bytes: &mut [u8]) {
        let kept_bits = self.header.attributes & (TRANSACTIONAL_BIT | CONTROL_BIT);
        let header = Header {
            attributes: kept_bits | clock_bit(recoding.timestamp_type) | recoding.codec.bits(),
            base_timestamp: recoding.base_timestamp.get(),
            max_timestamp: recoding.max_timestamp.get(),
            ..self.header
        };
        header.seal(bytes);
    }

    #[must_use]
    pub fn producer_id(&self) -> i64 {
        self.header.producer_id
    }

    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        self.header.producer_epoch
    }

    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence
    }

    /// Reads the whole batch once.
    #[must_use]
    pub fn crc_holds(&self) -> bool {
        self.bytes.get(CHECKED_AT..).is_some_and(|it| crc32c::crc32c(it) == self.header.crc)
    }

    /// All that a reader of our own disk must check: the first fields of a batch lie outside its
    /// checksum, so a misdirected or stale write can look sound.
    pub fn check_stored(&self, expected: Offset) -> Result<(), BatchError> {
        if self.header.base_offset != expected.get() {
            return Err(BatchError::BadOffset);
        }
        self.next_offset()?;
        self.summary()?;
        if !self.crc_holds() && !Bug::CrcNotChecked.is_on() {
            return Err(BatchError::BadChecksum);
        }
        Ok(())
    }

    /// The offset after the batch's last.
    pub fn next_offset(&self) -> Result<Offset, BatchError> {
        let delta = u32::try_from(self.header.last_offset_delta);
        let delta = delta.map_err(|_negative| BatchError::BadCount)?;
        let base = Offset::checked(self.header.base_offset).ok_or(BatchError::BadOffset)?;
        let last = base.get().checked_add(i64::from(delta)).ok_or(BatchError::BadOffset)?;
        last.checked_add(1).and_then(Offset::checked).ok_or(BatchError::BadOffset)
    }

    /// Checks counts and codec, not the checksum.
    pub fn summary(&self) -> Result<Summary, BatchError> {
        let header = &self.header;
        let bad_count = |_negative| BatchError::BadCount;
        let record_count = u32::try_from(header.record_count).map_err(bad_count)?;
        let last_offset_delta = u32::try_from(header.last_offset_delta).map_err(bad_count)?;
        if last_offset_delta < record_count.saturating_sub(1) {
            return Err(BatchError::BadCount);
        }
        Ok(Summary {
            len_bytes: u32::try_from(self.bytes.len()).map_err(|_large| BatchError::BadLength)?,
            record_count,
            last_offset_delta,
            base_timestamp: self.base_timestamp(),
            max_timestamp: self.max_timestamp(),
            timestamp_type: self.timestamp_type(),
            kind: self.kind(),
            codec: self.codec()?,
            producer: self.producer(last_offset_delta),
        })
    }

    fn kind(&self) -> Kind {
        if self.is_control() {
            Kind::Control
        } else if self.is_transactional() {
            Kind::TransactionalData
        } else {
            Kind::Data
        }
    }

    /// A producer id without an epoch, or an epoch without an id, makes a plain batch.
    fn producer(&self, last_offset_delta: u32) -> Option<ProducerBatch> {
        let id = ProducerId::checked(self.header.producer_id)?;
        let epoch = ProducerEpoch::checked(self.header.producer_epoch)?;
        let first = Sequence::checked(self.header.base_sequence)?;
        Some(ProducerBatch { id, epoch, first, last: first.plus(last_offset_delta) })
    }
}

/// What another codec changes in a batch's header, besides its length and checksum.
#[derive(Clone, Copy, Debug)]
pub struct Recoding {
    pub codec: Codec,
    pub timestamp_type: TimestampType,
    /// From which the records' times are told.
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
}

/// What a compaction leaves of a batch's records; by default none.
#[derive(Clone, Copy, Debug)]
pub struct Remainder<'a> {
    pub record_count: usize,
    pub max_timestamp: Timestamp,
    /// Set for the first time; the records' times are told from it.
    pub horizon: Option<Timestamp>,
    /// The records, compressed as the batch is.
    pub payload: &'a [u8],
}

impl Default for Remainder<'_> {
    fn default() -> Self {
        Self { record_count: 0, max_timestamp: Timestamp::NONE, horizon: None, payload: &[] }
    }
}

/// A batch without records for the offsets from `base` to `base` + `last_offset_delta`.
#[must_use]
pub fn empty(base: Offset, last_offset_delta: i32, leader_epoch: LeaderEpoch) -> Vec<u8> {
    let header = Header {
        base_offset: base.get(),
        length: 0,
        leader_epoch: leader_epoch.get(),
        magic: MAGIC,
        crc: 0,
        attributes: 0,
        last_offset_delta,
        base_timestamp: Timestamp::NONE.get(),
        max_timestamp: Timestamp::NONE.get(),
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    header.write(&[])
}

/// How long the batch is that `bytes` begin with, though it need not be whole: 17 bytes are enough.
pub fn announced_len_bytes(bytes: &[u8]) -> Result<usize, BatchError> {
    let prefix = bytes.get(..CHECKSUM_AT).ok_or(BatchError::Truncated)?;
    let mut fields = prefix.get(8..).ok_or(BatchError::Truncated)?;
    let length = take(&mut fields).map(i32::from_be_bytes).ok_or(BatchError::Truncated)?;
    let _epoch: [u8; 4] = take(&mut fields).ok_or(BatchError::Truncated)?;
    let magic = take(&mut fields).map(i8::from_be_bytes).ok_or(BatchError::Truncated)?;
    checked_len_bytes(length, magic)
}

fn checked_len_bytes(length: i32, magic: i8) -> Result<usize, BatchError> {
    if magic != MAGIC {
        return Err(BatchError::BadMagic);
    }
    let length = usize::try_from(length).map_err(|_negative| BatchError::BadLength)?;
    let len_bytes = length.checked_add(LENGTH_OVERHEAD_BYTES).ok_or(BatchError::BadLength)?;
    if len_bytes < HEADER_BYTES { Err(BatchError::BadLength) } else { Ok(len_bytes) }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    base_offset: i64,
    length: i32,
    leader_epoch: i32,
    magic: i8,
    crc: u32,
    attributes: u16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    record_count: i32,
}

impl Header {
    /// `None` if the header is not whole.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = bytes.get(..HEADER_BYTES)?;
        Some(Self {
            base_offset: i64::from_be_bytes(take(&mut fields)?),
            length: i32::from_be_bytes(take(&mut fields)?),
            leader_epoch: i32::from_be_bytes(take(&mut fields)?),
            magic: i8::from_be_bytes(take(&mut fields)?),
            crc: u32::from_be_bytes(take(&mut fields)?),
            attributes: u16::from_be_bytes(take(&mut fields)?),
            last_offset_delta: i32::from_be_bytes(take(&mut fields)?),
            base_timestamp: i64::from_be_bytes(take(&mut fields)?),
            max_timestamp: i64::from_be_bytes(take(&mut fields)?),
            producer_id: i64::from_be_bytes(take(&mut fields)?),
            producer_epoch: i16::from_be_bytes(take(&mut fields)?),
            base_sequence: i32::from_be_bytes(take(&mut fields)?),
            record_count: i32::from_be_bytes(take(&mut fields)?),
        })
    }
}

impl Header {
    /// The batch with these records: length and checksum are made anew.
    fn write(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES.saturating_add(payload.len()));
        bytes.extend([0; HEADER_BYTES]);
        bytes.extend_from_slice(payload);
        self.seal(&mut bytes);
        bytes
    }

    /// Likewise, of records that stand behind room for a header.
    fn seal(&self, bytes: &mut [u8]) {
        let length = i32::try_from(bytes.len().saturating_sub(LENGTH_OVERHEAD_BYTES));
        let Some((header, payload)) = bytes.split_first_chunk_mut() else {
            panic!("{WHOLE_HEADER}")
        };
        let header: &mut [u8; HEADER_BYTES] = header;
        header[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        header[8..12].copy_from_slice(&length.unwrap_or(i32::MAX).to_be_bytes());
        header[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        header[16..17].copy_from_slice(&self.magic.to_be_bytes());
        header[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        header[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        header[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        header[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        header[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        header[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        header[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        header[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        let crc = crc32c::crc32c_append(checked_header_crc(header), payload);
        header[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

fn take<const N: usize>(fields: &mut &[u8]) -> Option<[u8; N]> {
    let (field, rest) = fields.split_first_chunk()?;
    *fields = rest;
    Some(*field)
}

/// What a leader changes in an admitted batch inside the checksum: the max timestamp, and the bit
/// that says whose clock it is. It clears the unused bits then, as Kafka does; everything else stays as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    attributes: u16,
    max_timestamp: Timestamp,
    crc: u32,
}

impl Patch {
    /// `None` if the batch says so already. The batch's checksum must hold: the new one is derived
    /// from it, without reading the records again.
    #[must_use]
    pub fn new(
        batch: &Batch<'_>,
        timestamp_type: TimestampType,
        max_timestamp: Timestamp,
    ) -> Option<Self> {
        if batch.timestamp_type() == timestamp_type && batch.max_timestamp() == max_timestamp {
            return None;
        }
        let known = CODEC_BITS | TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT;
        let attributes = batch.header.attributes & known | clock_bit(timestamp_type);
        let mut patch = Self { attributes, max_timestamp, crc: batch.header.crc };
        let before = *batch.bytes.first_chunk()?;
        let mut after = before;
        patch.write(&mut after);
        // The checksum is linear: the difference of two headers, shifted past the same records,
        // is the difference of the two batches.
        let difference = checked_header_crc(&before) ^ checked_header_crc(&after);
        let shifted = crc32c::crc32c_combine(difference, 0, batch.payload.len());
        patch.crc = shifted ^ batch.header.crc;
        Some(patch)
    }

    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// To the batch that it was made for.
    ///
    /// # Panics
    /// If `batch` is shorter than a header.
    pub fn apply(&self, batch: &mut [u8]) {
        let Some(header) = batch.first_chunk_mut() else { panic!("{WHOLE_HEADER}") };
        self.write(header);
    }

    fn write(&self, header: &mut [u8; HEADER_BYTES]) {
        header[17..21].copy_from_slice(&self.crc.to_be_bytes());
        header[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        header[35..43].copy_from_slice(&self.max_timestamp.get().to_be_bytes());
    }
}

const fn clock_bit(timestamp_type: TimestampType) -> u16 {
    match timestamp_type {
        TimestampType::CreateTime => 0,
        TimestampType::LogAppendTime => LOG_APPEND_TIME_BIT,
    }
}

const WHOLE_HEADER: &str = "only whole, admitted batches are changed";

fn checked_header_crc(header: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c(&header[CHECKED_AT..])
}

/// Gives an admitted batch its place in the log. Both fields lie outside the checksum.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    let Some(header) = batch.first_chunk_mut() else { panic!("{WHOLE_HEADER}") };
    write_stamp(header, base_offset, leader_epoch);
}

/// The header that replaces the first [`HEADER_BYTES`] of an admitted batch in the log: for a
/// writer who copies the records behind it, and so need not copy the batch to change it.
///
/// # Panics
/// If `batch` is shorter than a header.
#[must_use]
pub fn stamped_header(
    batch: &[u8],
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    patch: Option<&Patch>,
) -> [u8; HEADER_BYTES] {
    let Some(header) = batch.first_chunk() else { panic!("{WHOLE_HEADER}") };
    let mut header = *header;
    write_stamp(&mut header, base_offset, leader_epoch);
    if let Some(patch) = patch {
        patch.write(&mut header);
    }
    header
}

fn write_stamp(header: &mut [u8; HEADER_BYTES], base_offset: Offset, leader_epoch: LeaderEpoch) {
    header[0..8].copy_from_slice(&base_offset.get().to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.get().to_be_bytes());
}

/// Contiguous stored batches, each checked whole ([`Batch::check_stored`]) and in epoch order.
/// The first stands at `expected`; with `None` it may stand anywhere, the others follow it.
#[must_use]
pub fn walk(bytes: &[u8], expected: Option<Offset>) -> Walk<'_> {
    let check = Check::Stored { expected, leader_epoch: LeaderEpoch::NONE };
    Walk { rest: bytes, position: 0, check, stop: None }
}

/// Contiguous batches by the lengths in their headers; nothing else but the magic is looked at.
#[must_use]
pub fn walk_headers(bytes: &[u8]) -> Walk<'_> {
    Walk { rest: bytes, position: 0, check: Check::Framing, stop: None }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All bytes were walked over.
    End,
    /// The bytes end inside a batch: with more of them the walk may go on.
    Truncated,
    Invalid(BatchError),
}

/// Yields each batch with its position in the bytes, and stops for good at the first that is not
/// whole and sound.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    rest: &'a [u8],
    position: usize,
    check: Check,
    stop: Option<Stop>,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    Framing,
    Stored { expected: Option<Offset>, leader_epoch: LeaderEpoch },
}

impl<'a> Walk<'a> {
    /// The end of the last batch yielded.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// `None` while there may be more.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Where the batch after the last one yielded must stand. `None` if nothing says so.
    #[must_use]
    pub fn expected(&self) -> Option<Offset> {
        match self.check {
            Check::Framing => None,
            Check::Stored { expected, .. } => expected,
        }
    }

    fn step(&mut self) -> Result<Batch<'a>, BatchError> {
        let batch = Batch::parse(self.rest)?;
        if let Check::Stored { expected, leader_epoch } = &mut self.check {
            let base_offset = match *expected {
                Some(base_offset) => base_offset,
                None => Offset::checked(batch.base_offset()).ok_or(BatchError::BadOffset)?,
            };
            batch.check_stored(base_offset)?;
            if batch.leader_epoch() < LeaderEpoch::ZERO || batch.leader_epoch() < *leader_epoch {
                return Err(BatchError::BadEpoch);
            }
            *expected = Some(batch.next_offset()?);
            *leader_epoch = batch.leader_epoch();
        }
        Ok(batch)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (usize, Batch<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.stop.is_some() {
            return None;
        }
        if self.rest.is_empty() {
            self.stop = Some(Stop::End);
            return None;
        }
        match self.step() {
            Ok(batch) => {
                let position = self.position;
                self.position = position.saturating_add(batch.len_bytes());
                self.rest = batch.rest();
                Some((position, batch))
            }
            Err(BatchError::Truncated) => {
                self.stop = Some(Stop::Truncated);
                None
            }
            Err(error) => {
                self.stop = Some(Stop::Invalid(error));
                None
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::records::builder::BatchBuilder;

    fn sample(record_count: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new().producer(
            ProducerId::checked(7).expect("valid"),
            ProducerEpoch::checked(3).expect("valid"),
            Sequence::checked(i32::MAX).expect("valid"),
        );
        for index in 0..record_count {
            let timestamp = Timestamp::new(100 + i64::try_from(index).expect("few"));
            builder.push(timestamp, Some(b"key"), Some(b"value"), &[]);
        }
        builder.build()
    }

    /// Three batches of one, two and three records, from offset 5 on, each in its own epoch.
    fn log() -> Vec<u8> {
        let mut log = Vec::new();
        for (record_count, base_offset, leader_epoch) in [(1, 5, 0), (2, 6, 1), (3, 8, 2)] {
            let mut batch = sample(record_count);
            stamp(&mut batch, Offset::new(base_offset), LeaderEpoch::new(leader_epoch));
            log.extend(batch);
        }
        log
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut batch = sample(2);
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        batch
    }

    #[test]
    fn a_batch_says_what_was_built() {
        let bytes = sample(3);
        let batch = Batch::parse(&bytes).expect("it is sound");
        assert!(batch.crc_holds());
        assert_eq!((batch.base_offset(), batch.leader_epoch()), (0, LeaderEpoch::NONE));
        assert_eq!((batch.bytes(), batch.rest()), (&bytes[..], &b""[..]));
        let producer = ProducerBatch {
            id: ProducerId::checked(7).expect("valid"),
            epoch: ProducerEpoch::checked(3).expect("valid"),
            first: Sequence::checked(i32::MAX).expect("valid"),
            last: Sequence::checked(1).expect("valid"),
        };
        let summary = Summary {
            len_bytes: u32::try_from(bytes.len()).expect("short"),
            record_count: 3,
            last_offset_delta: 2,
            base_timestamp: Timestamp::new(100),
            max_timestamp: Timestamp::new(102),
            timestamp_type: TimestampType::CreateTime,
            kind: Kind::Data,
            codec: Codec::None,
            producer: Some(producer),
        };
        assert_eq!(batch.summary(), Ok(summary));
    }

    #[test]
    fn every_prefix_is_truncated() {
        let bytes = sample(2);
        for end in 0..bytes.len() {
            assert_eq!(Batch::parse(&bytes[..end]).err(), Some(BatchError::Truncated));
        }
        for end in 0..bytes.len() {
            let want = if end < 17 { Err(BatchError::Truncated) } else { Ok(bytes.len()) };
            assert_eq!(announced_len_bytes(&bytes[..end]), want);
        }
    }

    #[test]
    fn a_wrong_length_or_magic_is_seen() {
        #[track_caller]
        fn check(at: usize, bytes: &[u8], want: Option<BatchError>) {
            let batch = with(at, bytes);
            assert_eq!(Batch::parse(&batch).err(), want);
            let announced = announced_len_bytes(&batch).err();
            assert_eq!(announced, want.filter(|it| *it != BatchError::Truncated));
        }
        check(8, &48_i32.to_be_bytes(), Some(BatchError::BadLength));
        check(8, &49_i32.to_be_bytes(), None);
        check(8, &(-1_i32).to_be_bytes(), Some(BatchError::BadLength));
        check(8, &i32::MIN.to_be_bytes(), Some(BatchError::BadLength));
        check(8, &i32::MAX.to_be_bytes(), Some(BatchError::Truncated));
        for magic in [0, 1, 3, 255] {
            check(16, &[magic], Some(BatchError::BadMagic));
        }
    }

    #[test]
    fn a_reader_of_the_disk_checks_what_the_checksum_does_not_cover() {
        #[track_caller]
        fn check(at: usize, bytes: &[u8], expected: i64, want: Result<(), BatchError>) {
            let bytes = with(at, bytes);
            let batch = Batch::parse(&bytes).expect("it is whole");
            assert_eq!(batch.check_stored(Offset::new(expected)), want);
        }
        check(0, &9_i64.to_be_bytes(), 9, Ok(()));
        check(0, &9_i64.to_be_bytes(), 8, Err(BatchError::BadOffset));
        check(0, &(-9_i64).to_be_bytes(), 9, Err(BatchError::BadOffset));
        check(0, &i64::MAX.to_be_bytes(), i64::MAX, Err(BatchError::BadOffset));
        check(23, &2_i32.to_be_bytes(), 0, Err(BatchError::BadChecksum));
        check(23, &0_i32.to_be_bytes(), 0, Err(BatchError::BadCount));
        check(23, &(-1_i32).to_be_bytes(), 0, Err(BatchError::BadCount));
        check(57, &(-1_i32).to_be_bytes(), 0, Err(BatchError::BadCount));
        check(21, &[0, 5], 0, Err(BatchError::BadCodec));
        check(21, &[1, 0], 0, Err(BatchError::BadChecksum));
        check(70, b"x", 0, Err(BatchError::BadChecksum));
    }

    #[track_caller]
    fn check_walk(bytes: &[u8], expected: Option<i64>, batch_count: usize, stop: Stop) {
        let mut walk = walk(bytes, expected.map(Offset::new));
        assert_eq!(walk.stop(), None);
        let ends: Vec<_> = walk.by_ref().map(|(at, batch)| at + batch.len_bytes()).collect();
        assert_eq!((ends.len(), walk.stop()), (batch_count, Some(stop)));
        assert_eq!(walk.position(), ends.last().copied().unwrap_or(0));
        assert!(walk.next().is_none());
    }

    #[test]
    fn a_walk_goes_over_contiguous_batches() {
        let log = log();
        let second = Batch::parse(&log).expect("it is whole").len_bytes();
        check_walk(&log, Some(5), 3, Stop::End);
        check_walk(&log, None, 3, Stop::End);
        check_walk(b"", None, 0, Stop::End);
        check_walk(&log, Some(4), 0, Stop::Invalid(BatchError::BadOffset));
        check_walk(&log[second..], None, 2, Stop::End);
        check_walk(&log[second..], Some(5), 0, Stop::Invalid(BatchError::BadOffset));
        let zeros = [&log[..], &[0; 4096]].concat();
        check_walk(&zeros, Some(5), 3, Stop::Invalid(BatchError::BadMagic));
        // A stale batch, which is sound but stands where another must.
        let stale = [&log[..], &log[..second]].concat();
        check_walk(&stale, Some(5), 3, Stop::Invalid(BatchError::BadOffset));
        let mut older = log;
        stamp(&mut older[second..], Offset::new(6), LeaderEpoch::new(3));
        check_walk(&older, Some(5), 2, Stop::Invalid(BatchError::BadEpoch));
        stamp(&mut older[second..], Offset::new(6), LeaderEpoch::NONE);
        check_walk(&older, Some(5), 1, Stop::Invalid(BatchError::BadEpoch));
        assert_eq!(walk_headers(&older).count(), 3);
    }

    #[test]
    fn every_prefix_of_a_log_stops_at_a_batch() {
        let log = log();
        let ends: Vec<_> = walk_headers(&log).map(|(at, it)| at + it.len_bytes()).collect();
        for end in 0..log.len() {
            let whole = ends.iter().filter(|it| **it <= end).count();
            let stop = if end == 0 || ends.contains(&end) { Stop::End } else { Stop::Truncated };
            check_walk(&log[..end], Some(5), whole, stop);
        }
    }

    #[test]
    fn a_batch_without_records_is_patched_too() {
        let mut bytes = with(8, &49_i32.to_be_bytes());
        bytes.truncate(HEADER_BYTES);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let view = Batch::parse(&bytes).expect("it is whole");
        let time = Timestamp::new(5);
        let patch = Patch::new(&view, TimestampType::LogAppendTime, time).expect("it changes");
        patch.apply(&mut bytes);
        assert!(Batch::parse(&bytes).is_ok_and(|it| it.crc_holds()));
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>, expected: Option<u32>) {
            let expected = expected.map(|it| Offset::new(i64::from(it)));
            prop_assert!(walk(&bytes, expected).count() <= bytes.len() / HEADER_BYTES);
            prop_assert!(walk_headers(&bytes).count() <= bytes.len() / HEADER_BYTES);
            if let Ok(batch) = Batch::parse(&bytes) {
                prop_assert!(batch.len_bytes() <= bytes.len());
                prop_assert!(batch.summary().is_ok() || batch.check_stored(Offset::ZERO).is_err());
            }
        }

        #[test]
        fn a_damaged_log_is_walked_up_to_the_damage(at: usize, to: u8) {
            let mut log = log();
            let at = at % log.len();
            let before = std::mem::replace(&mut log[at], to);
            for (start, batch) in walk(&log, Some(Offset::new(5))) {
                // Only a leader epoch can change unseen, as long as they are in order.
                let header_at = at.wrapping_sub(start);
                let unseen = before == to || (12..16).contains(&header_at);
                let damaged = (start..start + batch.len_bytes()).contains(&at);
                prop_assert!(!damaged || unseen);
            }
        }

        #[test]
        fn a_patched_batch_is_sound_and_says_the_time(
            record_count in 1_usize..50, max_timestamp: i64, appended in any::<bool>(), unused: u8,
        ) {
            let mut bytes = sample(record_count);
            bytes[21] = unused;
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let view = Batch::parse(&bytes).expect("it is whole");
            let timestamp_type = match appended {
                true => TimestampType::LogAppendTime,
                false => TimestampType::CreateTime,
            };
            let max_timestamp = Timestamp::new(max_timestamp);
            let patch = Patch::new(&view, timestamp_type, max_timestamp).expect("it changes");
            let (offset, epoch) = (Offset::new(5), LeaderEpoch::new(6));
            let header = stamped_header(&bytes, offset, epoch, Some(&patch));
            patch.apply(&mut bytes);
            stamp(&mut bytes, offset, epoch);
            prop_assert_eq!(&header[..], &bytes[..HEADER_BYTES]);
            let batch = Batch::parse(&bytes).expect("it is whole");
            prop_assert_eq!(batch.check_stored(offset), Ok(()));
            prop_assert_eq!(batch.max_timestamp(), max_timestamp);
            prop_assert_eq!(batch.timestamp_type(), timestamp_type);
            prop_assert_eq!(batch.leader_epoch(), epoch);
            prop_assert_eq!(bytes[21], 0);
            let view = Batch::parse(&bytes).expect("it is whole");
            prop_assert_eq!(Patch::new(&view, timestamp_type, max_timestamp), None);
        }
    }
}
