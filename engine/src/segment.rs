//! What is known of one segment file: its range, its times, its index, and how far its life has come.
//!
//! It knows no bytes of records and no file.
//! Invariant: `base <= end`, and a segment without bytes has no records.

use bytes::BufMut;

use crate::batch::Summary;
use crate::fields::{Fields, Malformed};
use crate::id::{FilePos, Offset, Timestamp};
use crate::index::Index;

/// Of the bytes of a batch that the chained checksum covers: they hold the checksum of the rest.
pub const CHAINED_BYTES: usize = 21;

const PHASE_ACTIVE: u8 = 0;
const PHASE_CLOSING: u8 = 1;
const PHASE_SEALED: u8 = 2;

/// CRC-32C over the first `CHAINED_BYTES` of every batch of a file, one after the other.
/// As those hold each batch's own checksum, it vouches for every byte of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    crc: u32,
    end: FilePos,
}

impl Chain {
    /// A batch that does not follow what is chained leaves the chain behind, for good.
    pub(crate) fn extend(&mut self, pos: FilePos, header: &[u8; CHAINED_BYTES], bytes: u64) {
        if pos == self.end {
            self.crc = crc32c::crc32c_append(self.crc, header);
            self.end = pos.plus(bytes);
        }
    }
}

/// How far the life of a segment has come. It goes on in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Appends go here: the last segment of a log, always.
    Active,
    /// Rolled, but not yet wholly in its file with a sidecar beside it.
    Closing {
        /// The producers' state at its end, encoded.
        producers: Vec<u8>,
    },
    /// Nothing will change it.
    Sealed,
}

/// Names the file of a segment among those of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub base: Offset,
    /// 0 as it was appended; one more with each compaction.
    pub revision: u32,
}

impl From<Offset> for SegmentName {
    /// As it was appended.
    fn from(base: Offset) -> Self {
        Self { base, revision: 0 }
    }
}

/// The largest timestamp of a segment, and the batch that has it: the first of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTimestamp {
    pub timestamp: Timestamp,
    /// Base offset.
    pub batch: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    base: Offset,
    revision: u32,
    end: Offset,
    end_pos: FilePos,
    created_at: Timestamp,
    /// The largest timestamp of its first batch.
    first_timestamp: Timestamp,
    max_timestamp: MaxTimestamp,
    chain: Chain,
    index: Index,
    phase: Phase,
}

impl Segment {
    pub(crate) const fn new(base: Offset, created_at: Timestamp) -> Self {
        Self {
            base,
            revision: 0,
            end: base,
            end_pos: FilePos::ZERO,
            created_at,
            first_timestamp: Timestamp::NONE,
            max_timestamp: MaxTimestamp { timestamp: Timestamp::NONE, batch: base },
            chain: Chain { crc: 0, end: FilePos::ZERO },
            index: Index::new(),
            phase: Phase::Active,
        }
    }

    #[must_use]
    pub const fn name(&self) -> SegmentName {
        SegmentName { base: self.base, revision: self.revision }
    }

    /// The offset it begins with.
    #[must_use]
    pub const fn base(&self) -> Offset {
        self.base
    }

    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    #[must_use]
    pub const fn end_pos(&self) -> FilePos {
        self.end_pos
    }

    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// `None` if its first batch has none.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<Timestamp> {
        (self.first_timestamp > Timestamp::NONE).then_some(self.first_timestamp)
    }

    /// `None` if no record has a timestamp.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<MaxTimestamp> {
        (self.max_timestamp.timestamp > Timestamp::NONE).then_some(self.max_timestamp)
    }

    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        matches!(self.phase, Phase::Sealed)
    }

    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end_pos == FilePos::ZERO
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The checksum of the whole file, if all of it went through `chain`.
    #[must_use]
    pub fn chain_crc(&self) -> Option<u32> {
        (self.chain.end == self.end_pos).then_some(self.chain.crc)
    }

    pub(crate) fn append(&mut self, summary: &Summary, now: Timestamp, index_interval_bytes: u64) {
        assert!(self.phase == Phase::Active, "only the active segment grows");
        if self.is_empty() {
            self.created_at = now; // Its age counts from its first record.
            self.first_timestamp = summary.max_timestamp.max(Timestamp::NONE);
        }
        let bytes = u64::from(summary.len_bytes);
        self.index.on_batch(self.end, bytes, summary.max_timestamp, index_interval_bytes);
        if self.max_timestamp.timestamp < summary.max_timestamp {
            self.max_timestamp = MaxTimestamp { timestamp: summary.max_timestamp, batch: self.end };
        }
        self.end = self.end.plus(i64::from(summary.offset_count()));
        self.end_pos = self.end_pos.plus(bytes);
        self.check();
    }

    pub(crate) fn chain(&mut self, pos: FilePos, header: &[u8; CHAINED_BYTES], bytes: u64) {
        self.chain.extend(pos, header, bytes);
        self.check();
    }

    pub(crate) fn close(&mut self, producers: Vec<u8>) {
        assert!(self.phase == Phase::Active);
        self.phase = Phase::Closing { producers };
    }

    pub(crate) fn seal(&mut self) {
        assert!(matches!(self.phase, Phase::Closing { .. }));
        self.phase = Phase::Sealed;
    }

    /// Of a compacted one that is whole.
    pub(crate) fn seal_as(&mut self, revision: u32) {
        assert!(self.phase == Phase::Active && 0 < revision);
        self.revision = revision;
        self.phase = Phase::Sealed;
    }

    pub(crate) fn on_index_rebuilt(&mut self, rebuilt: Index) {
        self.index.complete_with(rebuilt);
        assert!(self.index.end() == self.end_pos);
        self.check();
    }

    /// Gives the memory of a sealed segment's index back. It can be rebuilt from the sidecar.
    pub(crate) fn forget_index(&mut self) {
        assert!(self.is_sealed());
        self.index = Index::starting_at(self.end_pos, self.max_timestamp.timestamp);
    }

    /// ```text
    /// i64 base offset, u32 revision, i64 end offset, u64 bytes, i64 created at (ms)
    /// i64 first timestamp
    /// i64 max timestamp, i64 base offset of its batch
    /// u32 chained checksum, u64 where it ends
    /// u8  phase: 0 active, 1 closing, 2 sealed
    /// blob (u32 bytes, bytes): if closing, the producers at its end
    /// ```
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_i64(self.base.get());
        bytes.put_u32(self.revision);
        bytes.put_i64(self.end.get());
        bytes.put_u64(self.end_pos.get());
        bytes.put_i64(self.created_at.get());
        bytes.put_i64(self.first_timestamp.get());
        bytes.put_i64(self.max_timestamp.timestamp.get());
        bytes.put_i64(self.max_timestamp.batch.get());
        bytes.put_u32(self.chain.crc);
        bytes.put_u64(self.chain.end.get());
        match &self.phase {
            Phase::Active => bytes.put_u8(PHASE_ACTIVE),
            Phase::Sealed => bytes.put_u8(PHASE_SEALED),
            Phase::Closing { producers } => {
                bytes.put_u8(PHASE_CLOSING);
                bytes.put_u32(u32::try_from(producers.len()).expect("a snapshot is limited"));
                bytes.put_slice(producers);
            }
        }
    }

    /// Without its index, which is rebuilt when it is needed.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (base, revision, end) = (fields.offset()?, fields.u32()?, fields.offset()?);
        let end_pos = fields.pos()?;
        let created_at = fields.timestamp()?;
        let first_timestamp = fields.timestamp()?;
        let timestamp = fields.timestamp()?;
        let max_timestamp = MaxTimestamp { timestamp, batch: fields.offset()? };
        let chain = Chain { crc: fields.u32()?, end: fields.pos()? };
        let phase = match fields.u8()? {
            PHASE_ACTIVE => Phase::Active,
            PHASE_CLOSING => Phase::Closing { producers: fields.blob()?.to_vec() },
            PHASE_SEALED => Phase::Sealed,
            _ => return Err(Malformed::OutOfRange),
        };
        let empty = end_pos == FilePos::ZERO;
        let ordered = base <= end && (base == end) == empty && chain.end <= end_pos;
        let inside = base <= max_timestamp.batch && max_timestamp.batch <= end;
        if i64::try_from(end_pos.get()).is_err() {
            return Err(Malformed::OutOfRange);
        }
        if revision > 0 && phase != Phase::Sealed {
            return Err(Malformed::OutOfRange);
        }
        if !ordered || !inside || first_timestamp < Timestamp::NONE || timestamp < first_timestamp {
            return Err(Malformed::Unordered);
        }
        let index = Index::starting_at(end_pos, timestamp);
        Ok(Self {
            base,
            revision,
            end,
            end_pos,
            created_at,
            first_timestamp,
            max_timestamp,
            chain,
            index,
            phase,
        })
    }

    fn check(&self) {
        assert!(self.base <= self.end);
        assert!((self.base == self.end) == self.is_empty());
        assert!(self.chain.end <= self.end_pos);
        assert!(self.index.end() == self.end_pos);
    }
}
