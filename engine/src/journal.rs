//! The journal's frames: what one shard commits with one durable write.
//!
//! It knows the bytes of one frame, not where frames lie (`journal/plan.rs`) nor how a journal is
//! read back (`journal/replay.rs`). All integers are big endian.
//!
//! ```text
//! frame                                    padded with zeros to a multiple of BLOCK_BYTES
//!  0  u32  magic "ODRJ"
//!  4  u16  version
//!  6  u16  zero
//!  8  u64  generation number               counts the starts of the broker
//! 16  u64  generation salt                 random, so that no client can write bytes that pass
//! 24  u64  sequence                        counts the frames of a shard, never reused
//! 32  u32  payload bytes                   entries only: no header, no padding
//! 36  u32  entry count
//! 40  u32  zero
//! 44  u32  CRC-32C of bytes 0..44 and of the payload
//! 48       entries
//!
//! entry
//!  0  u8   kind
//!  1  16B  topic id
//! 17  u32  partition index
//! 21       by kind:
//!          1 Append    i64 segment, u64 file position, i64 durable end, u32 bytes, batch
//!          2 Intent    i64 segment, i64 durable end
//!          3 Roll      i64 segment, i64 created at (ms)
//!          4 LogStart  i64 log start
//!          5 Created   i64 created at (ms), i32 leader epoch
//!          6 Removed
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

pub mod plan;
pub mod replay;

use bytes::BufMut;

use crate::bug::Bug;
use crate::fields::{Fields, Malformed};
use crate::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};

/// The unit of direct I/O: frames begin and end on it.
pub const BLOCK_BYTES: usize = 4096;

const MAGIC: u32 = 0x4f44_524a;
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 48;
const CRC_AT: usize = 44;
const ENTRY_HEADER_BYTES: usize = 21;
const APPEND_HEADER_BYTES: usize = ENTRY_HEADER_BYTES + 28;

const KIND_APPEND: u8 = 1;
const KIND_INTENT: u8 = 2;
const KIND_ROLL: u8 = 3;
const KIND_LOG_START: u8 = 4;
const KIND_CREATED: u8 = 5;
const KIND_REMOVED: u8 = 6;

const _: () = assert!(HEADER_BYTES + APPEND_HEADER_BYTES < BLOCK_BYTES);

/// The largest batch that one frame of `frame_bytes` can hold in an Append entry.
#[must_use]
pub const fn append_batch_bytes_max(frame_bytes: usize) -> usize {
    frame_bytes.saturating_sub(HEADER_BYTES).saturating_sub(APPEND_HEADER_BYTES)
}

/// One life of the broker, from recovery to recovery. Journal frames of another one mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    number: u64,
    salt: u64,
}

impl Generation {
    /// `salt` is random and secret: a client that could guess it could forge a frame in a payload.
    #[must_use]
    pub const fn new(number: u64, salt: u64) -> Self {
        Self { number, salt }
    }

    /// That of the frame whose header `bytes` begin with, whole or not: for who looks at a journal
    /// without knowing whose it is.
    #[must_use]
    pub fn of_frame(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes.get(..HEADER_BYTES)?);
        let mut read = || -> Result<_, Malformed> {
            let (magic, version) = (fields.u32()?, fields.u16()?);
            fields.u16()?;
            let generation = Self { number: fields.u64()?, salt: fields.u64()? };
            Ok((magic == MAGIC && version == VERSION).then_some(generation))
        };
        read().ok().flatten()
    }

    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    #[must_use]
    pub const fn salt(self) -> u64 {
        self.salt
    }
}

/// One durable fact about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A batch, as it lies (or will lie) in its segment.
    Append {
        partition: PartitionId,
        segment: Offset,
        pos: FilePos,
        /// Everything below was durable when the entry was written: recovery must reach it.
        durable_end: Offset,
        batch: &'a [u8],
    },
    /// Bytes that no journal holds may be written to this segment from now on.
    Intent { partition: PartitionId, segment: Offset, durable_end: Offset },
    /// The partition's appends go to a new segment.
    Roll { partition: PartitionId, segment: Offset, created_at: Timestamp },
    /// Records below were deleted.
    LogStart { partition: PartitionId, log_start: Offset },
    /// The partition exists, empty.
    Created { partition: PartitionId, created_at: Timestamp, epoch: LeaderEpoch },
    /// The partition and its files are gone, or may be.
    Removed { partition: PartitionId },
}

impl<'a> Entry<'a> {
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        match *self {
            Self::Append { partition, .. }
            | Self::Intent { partition, .. }
            | Self::Roll { partition, .. }
            | Self::LogStart { partition, .. }
            | Self::Created { partition, .. }
            | Self::Removed { partition } => partition,
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let kind = fields.u8()?;
        let partition = fields.partition()?;
        Ok(match kind {
            KIND_APPEND => {
                let segment = fields.offset()?;
                let pos = fields.pos()?;
                let durable_end = fields.offset()?;
                Self::Append { partition, segment, pos, durable_end, batch: fields.blob()? }
            }
            KIND_INTENT => {
                let segment = fields.offset()?;
                Self::Intent { partition, segment, durable_end: fields.offset()? }
            }
            KIND_ROLL => {
                let segment = fields.offset()?;
                Self::Roll { partition, segment, created_at: fields.timestamp()? }
            }
            KIND_LOG_START => Self::LogStart { partition, log_start: fields.offset()? },
            KIND_CREATED => {
                let created_at = fields.timestamp()?;
                let epoch = fields.leader_epoch()?;
                if epoch < LeaderEpoch::ZERO {
                    return Err(Malformed::OutOfRange);
                }
                Self::Created { partition, created_at, epoch }
            }
            KIND_REMOVED => Self::Removed { partition },
            _ => return Err(Malformed::OutOfRange),
        })
    }
}

/// Bytes that `entry` takes in a frame.
#[must_use]
pub const fn entry_bytes(entry: &Entry<'_>) -> usize {
    let body = match entry {
        Entry::Append { batch, .. } => 28_usize.saturating_add(batch.len()),
        Entry::Intent { .. } | Entry::Roll { .. } => 16,
        Entry::LogStart { .. } => 8,
        Entry::Created { .. } => 12,
        Entry::Removed { .. } => 0,
    };
    body.saturating_add(ENTRY_HEADER_BYTES)
}

/// Bytes that an Append entry of a batch of `batch_bytes` takes in a frame.
#[must_use]
pub const fn append_entry_bytes(batch_bytes: usize) -> usize {
    APPEND_HEADER_BYTES.saturating_add(batch_bytes)
}

/// The entry does not fit: write this frame, put it into the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Everything of an Append entry but its bytes.
#[derive(Clone, Copy, Debug)]
pub struct AppendHeader {
    pub partition: PartitionId,
    pub segment: Offset,
    pub pos: FilePos,
    pub durable_end: Offset,
}

/// Builds one frame in a buffer of the caller's.
///
/// Invariant: `HEADER_BYTES + rest.len() + payload_bytes` is the buffer's length.
#[derive(Debug)]
pub struct FrameWriter<'b> {
    buffer: &'b mut [u8],
    filled: usize,
    entry_count: u32,
}

impl<'b> FrameWriter<'b> {
    /// # Panics
    /// If `buffer` is not a multiple of `BLOCK_BYTES`, or empty, or too large for the format.
    #[must_use]
    pub fn begin(buffer: &'b mut [u8]) -> Self {
        assert!(!buffer.is_empty() && buffer.len().is_multiple_of(BLOCK_BYTES));
        assert!(u32::try_from(buffer.len()).is_ok(), "the format counts bytes in 32 bits");
        Self { buffer, filled: HEADER_BYTES, entry_count: 0 }
    }

    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), Full> {
        let mut field = self.reserve(entry_bytes(entry))?;
        match *entry {
            Entry::Append { partition, segment, pos, durable_end, batch } => {
                let header = AppendHeader { partition, segment, pos, durable_end };
                put_append_header(&mut field, &header, batch.len());
                field.put_slice(batch);
            }
            Entry::Intent { partition, segment, durable_end } => {
                put_entry_header(&mut field, KIND_INTENT, partition);
                field.put_i64(segment.get());
                field.put_i64(durable_end.get());
            }
            Entry::Roll { partition, segment, created_at } => {
                put_entry_header(&mut field, KIND_ROLL, partition);
                field.put_i64(segment.get());
                field.put_i64(created_at.get());
            }
            Entry::LogStart { partition, log_start } => {
                put_entry_header(&mut field, KIND_LOG_START, partition);
                field.put_i64(log_start.get());
            }
            Entry::Created { partition, created_at, epoch } => {
                put_entry_header(&mut field, KIND_CREATED, partition);
                field.put_i64(created_at.get());
                field.put_i32(epoch.get());
            }
            Entry::Removed { partition } => {
                put_entry_header(&mut field, KIND_REMOVED, partition);
            }
        }
        assert!(field.is_empty(), "an entry fills what it asked for");
        Ok(())
    }

    /// An Append entry whose `batch_bytes` the caller must write into the slice it gets.
    pub fn push_append_header(
        &mut self,
        header: &AppendHeader,
        batch_bytes: usize,
    ) -> Result<&mut [u8], Full> {
        let mut field = self.reserve(APPEND_HEADER_BYTES.saturating_add(batch_bytes))?;
        put_append_header(&mut field, header, batch_bytes);
        Ok(field)
    }

    /// Bytes that the next entries may take.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.filled)
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// Bytes that the frame takes in the journal as it is now.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        self.filled.next_multiple_of(BLOCK_BYTES)
    }

    /// Completes the frame, zeroes the padding, and gives the bytes to write: `frame_bytes()`.
    pub fn finish(self, generation: Generation, sequence: u64) -> usize {
        let frame_bytes = self.frame_bytes();
        let payload_bytes = self.filled.saturating_sub(HEADER_BYTES);
        let payload_bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        let (frame, _) = self.buffer.split_at_mut(frame_bytes);
        let (filled, padding) = frame.split_at_mut(self.filled);
        padding.fill(0);
        let (mut header, payload) = filled.split_at_mut(HEADER_BYTES);
        let mut fields = &mut *header;
        fields.put_u32(MAGIC);
        fields.put_u16(VERSION);
        fields.put_u16(0);
        fields.put_u64(generation.number);
        fields.put_u64(generation.salt);
        fields.put_u64(sequence);
        fields.put_u32(payload_bytes);
        fields.put_u32(self.entry_count);
        fields.put_u32(0);
        let crc = frame_crc(header.split_at(CRC_AT).0, payload);
        header = header.split_at_mut(CRC_AT).1;
        header.put_u32(crc);
        frame_bytes
    }

    fn reserve(&mut self, bytes: usize) -> Result<&mut [u8], Full> {
        let end = self.filled.checked_add(bytes).ok_or(Full)?;
        let field = self.buffer.get_mut(self.filled..end).ok_or(Full)?;
        self.filled = end;
        self.entry_count = self.entry_count.saturating_add(1);
        Ok(field)
    }
}

fn put_entry_header(field: &mut &mut [u8], kind: u8, partition: PartitionId) {
    field.put_u8(kind);
    field.put_slice(&partition.topic.get());
    field.put_u32(partition.index.get());
}

fn put_append_header(field: &mut &mut [u8], header: &AppendHeader, batch_bytes: usize) {
    put_entry_header(field, KIND_APPEND, header.partition);
    field.put_i64(header.segment.get());
    field.put_u64(header.pos.get());
    field.put_i64(header.durable_end.get());
    field.put_u32(u32::try_from(batch_bytes).unwrap_or(u32::MAX));
}

fn frame_crc(header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), payload)
}

/// Why bytes are no frame of this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No frame at all, or one of another generation or version.
    Foreign,
    /// The header names this generation, but the bytes end before the frame does.
    Short { sequence: u64 },
    /// The header names this generation, but the checksum differs.
    Damaged { sequence: u64 },
}

/// A frame whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    sequence: u64,
    entry_count: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// `bytes` begin with the frame, and may go on behind it.
    pub fn parse(bytes: &'a [u8], generation: Generation) -> Result<Self, FrameError> {
        let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::Foreign)?;
        let mut fields = Fields::new(header);
        let mut parse_header = || -> Result<_, Malformed> {
            let magic = fields.u32()?;
            let version = fields.u16()?;
            fields.u16()?;
            let found = Generation { number: fields.u64()?, salt: fields.u64()? };
            let ours = magic == MAGIC
                && version == VERSION
                && (found == generation || Bug::GenerationNotChecked.is_on());
            let sequence = fields.u64()?;
            let payload_bytes = fields.u32()?;
            let entry_count = fields.u32()?;
            fields.u32()?;
            Ok((ours, sequence, payload_bytes, entry_count, fields.u32()?))
        };
        let Ok((true, sequence, payload_bytes, entry_count, crc)) = parse_header() else {
            return Err(FrameError::Foreign);
        };
        let damaged = FrameError::Damaged { sequence };
        let payload_bytes = usize::try_from(payload_bytes).or(Err(damaged))?;
        let end = HEADER_BYTES.checked_add(payload_bytes).ok_or(damaged)?;
        let payload = bytes.get(HEADER_BYTES..end).ok_or(FrameError::Short { sequence })?;
        let covered = header.get(..CRC_AT).ok_or(damaged)?;
        if frame_crc(covered, payload) != crc && !Bug::FrameCrcNotChecked.is_on() {
            return Err(damaged);
        }
        Ok(Self { sequence, entry_count, payload })
    }

    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// With header and padding.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        self.payload.len().saturating_add(HEADER_BYTES).next_multiple_of(BLOCK_BYTES)
    }

    /// In the order they were pushed. After an error there is nothing more.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, Malformed>> + use<'a> {
        let mut fields = Fields::new(self.payload);
        let mut left = self.entry_count;
        std::iter::from_fn(move || {
            if left == 0 {
                let trailing = fields.end();
                fields = Fields::new(&[]);
                return trailing.err().map(Err);
            }
            let entry = Entry::decode(&mut fields);
            left = if entry.is_ok() { left.saturating_sub(1) } else { 0 };
            if entry.is_err() {
                fields = Fields::new(&[]);
            }
            Some(entry)
        })
    }
}

/// A frame in memory of its own.
#[derive(Debug)]
pub struct StoredFrame {
    sequence: u64,
    entry_count: u32,
    payload: Vec<u8>,
}

impl StoredFrame {
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        let Self { sequence, entry_count, .. } = *self;
        Frame { sequence, entry_count, payload: &self.payload }
    }
}

impl From<Frame<'_>> for StoredFrame {
    fn from(frame: Frame<'_>) -> Self {
        let Frame { sequence, entry_count, payload } = frame;
        Self { sequence, entry_count, payload: payload.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AppendHeader, BLOCK_BYTES, Entry, Frame, FrameError, FrameWriter, Full, Generation,
        append_batch_bytes_max, entry_bytes,
    };
    use crate::fields::Malformed;
    use crate::id::{
        FilePos, LeaderEpoch, Offset, PartitionId, PartitionIndex, Timestamp, TopicId,
    };

    const GENERATION: Generation = Generation::new(3, 0xfeed);

    fn partition() -> PartitionId {
        PartitionId { topic: TopicId::new([7; 16]), index: PartitionIndex::new(5) }
    }

    fn every_kind() -> Vec<Entry<'static>> {
        let partition = partition();
        let segment = Offset::new(100);
        let durable_end = Offset::new(90);
        let created_at = Timestamp::new(-4);
        vec![
            Entry::Created { partition, created_at, epoch: LeaderEpoch::new(2) },
            Entry::Append {
                partition,
                segment,
                pos: FilePos::new(77),
                durable_end,
                batch: b"some batch",
            },
            Entry::Intent { partition, segment, durable_end },
            Entry::Roll { partition, segment, created_at },
            Entry::LogStart { partition, log_start: segment },
            Entry::Removed { partition },
        ]
    }

    fn frame_of(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut buffer = vec![0xaa; 2 * BLOCK_BYTES];
        let mut writer = FrameWriter::begin(&mut buffer);
        for entry in entries {
            assert_eq!(writer.push(entry), Ok(()));
        }
        let bytes = writer.finish(GENERATION, 9);
        buffer.truncate(bytes);
        buffer
    }

    #[test]
    fn a_frame_gives_back_its_entries() {
        let bytes = frame_of(&every_kind());
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let frame = Frame::parse(&bytes, GENERATION).expect("whole");
        assert_eq!(frame.sequence(), 9);
        assert_eq!(frame.frame_bytes(), bytes.len());
        let entries: Result<Vec<_>, _> = frame.entries().collect();
        assert_eq!(entries, Ok(every_kind()));
    }

    #[test]
    fn entry_bytes_are_what_an_entry_takes() {
        for entry in every_kind() {
            let one = frame_of(&[entry]);
            let frame = Frame::parse(&one, GENERATION).expect("whole");
            assert_eq!(frame.payload.len(), entry_bytes(&entry));
        }
    }

    #[test]
    fn an_entry_that_does_not_fit_changes_nothing() {
        let mut buffer = vec![0; BLOCK_BYTES];
        let batch = vec![1; append_batch_bytes_max(BLOCK_BYTES)];
        let (segment, pos, durable_end) = (Offset::ZERO, FilePos::ZERO, Offset::ZERO);
        let entry =
            Entry::Append { partition: partition(), segment, pos, durable_end, batch: &batch };
        let mut writer = FrameWriter::begin(&mut buffer);
        assert!(writer.is_empty());
        assert_eq!(writer.push(&entry), Ok(()));
        assert_eq!(writer.push(&Entry::Removed { partition: partition() }), Err(Full));
        assert_eq!(writer.frame_bytes(), BLOCK_BYTES);
        writer.finish(GENERATION, 0);
        let frame = Frame::parse(&buffer, GENERATION).expect("whole");
        assert_eq!(frame.entries().collect::<Vec<_>>(), vec![Ok(entry)]);
    }

    #[test]
    fn both_ways_to_push_an_append_are_the_same_bytes() {
        let append = every_kind()[1];
        let mut buffer = vec![0; 2 * BLOCK_BYTES];
        let mut writer = FrameWriter::begin(&mut buffer);
        let header = AppendHeader {
            partition: partition(),
            segment: Offset::new(100),
            pos: FilePos::new(77),
            durable_end: Offset::new(90),
        };
        writer.push_append_header(&header, 10).expect("fits").copy_from_slice(b"some batch");
        let bytes = writer.finish(GENERATION, 9);
        assert_eq!(buffer[..bytes], frame_of(&[append]));
    }

    #[test]
    fn every_flipped_byte_is_seen() {
        let whole = frame_of(&every_kind());
        let filled = whole.iter().rposition(|it| *it != 0).expect("not empty") + 1;
        for at in 0..filled {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            assert!(Frame::parse(&damaged, GENERATION).is_err(), "byte {at}");
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let whole = frame_of(&every_kind());
        let filled = whole.iter().rposition(|it| *it != 0).expect("not empty") + 1;
        for end in 0..filled {
            assert!(Frame::parse(&whole[..end], GENERATION).is_err());
        }
    }

    #[test]
    fn another_salt_is_foreign() {
        let whole = frame_of(&every_kind());
        let other = Generation::new(3, 0xbeef);
        assert_eq!(Frame::parse(&whole, other).map(|_| ()), Err(FrameError::Foreign));
    }

    #[test]
    fn an_unknown_kind_ends_the_entries() {
        let whole = frame_of(&every_kind());
        let mut frame = Frame::parse(&whole, GENERATION).expect("whole");
        let mut payload = frame.payload.to_vec();
        payload[0] = 99;
        frame.payload = &payload;
        assert_eq!(frame.entries().collect::<Vec<_>>(), vec![Err(Malformed::OutOfRange)]);
    }
}
