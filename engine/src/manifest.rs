//! Everything that a checkpoint remembers of one partition, as of one point of its log.
//!
//! It knows no journal: what came after the point is there.
//! Invariant: segments touch each other, the last one alone is active, and it ends at `end`.
//!
//! ```text
//! 16B  topic id, u32 partition index
//! i64  log start, i64 compacted end
//! u32  segment count, then the segments (segment.rs), ascending
//!      epochs (epochs.rs)
//!      producers (producers.rs)
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use bytes::BufMut;

use crate::epochs::Epochs;
use crate::fields::{Fields, Malformed};
use crate::id::{Offset, PartitionId};
use crate::producers::Producers;
use crate::segment::{Phase, Segment};

const SEGMENT_BYTES_MIN: usize = 73;

/// A decoded one; a log encodes its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) id: PartitionId,
    pub(crate) log_start: Offset,
    pub(crate) compacted_end: Offset,
    pub(crate) segments: Vec<Segment>,
    pub(crate) epochs: Epochs,
    pub(crate) producers: Producers,
}

impl Manifest {
    #[must_use]
    pub const fn id(&self) -> PartitionId {
        self.id
    }

    /// As it was when it was decoded.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { id, log_start, compacted_end, segments, epochs, producers } = self;
        let (id, log_start, compacted_end) = (*id, *log_start, *compacted_end);
        ManifestParts { id, log_start, compacted_end, segments, epochs, producers }.encode()
    }

    /// Whether a segment file has bytes: they are on the device, and so are the names that lead there.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        self.segments.iter().any(|it| !it.is_empty())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        let id = fields.partition()?;
        let (log_start, compacted_end) = (fields.offset()?, fields.offset()?);
        let count = fields.count(SEGMENT_BYTES_MIN)?;
        let mut segments: Vec<Segment> = Vec::with_capacity(count);
        for _ in 0..count {
            let segment = Segment::decode(&mut fields)?;
            let follows = segments.last().is_none_or(|last| {
                last.end() == segment.base() && !last.is_empty() && *last.phase() != Phase::Active
            });
            let sealed_before = segments.last().is_none_or(Segment::is_sealed);
            if !follows || (segment.is_sealed() && !sealed_before) {
                return Err(Malformed::Unordered);
            }
            segments.push(segment);
        }
        let active = segments.last().ok_or(Malformed::OutOfRange)?;
        if *active.phase() != Phase::Active
            || log_start > active.end()
            || compacted_end > active.base()
        {
            return Err(Malformed::Unordered);
        }
        let epochs = Epochs::decode(&mut fields)?;
        let latest = epochs.entries().last().ok_or(Malformed::OutOfRange)?;
        if latest.start > active.end() {
            return Err(Malformed::Unordered);
        }
        let producers = Producers::decode(&mut fields)?;
        fields.end()?;
        Ok(Self { id, log_start, compacted_end, segments, epochs, producers })
    }
}

/// The parts of a log that go into its manifest.
#[derive(Debug)]
pub(crate) struct ManifestParts<'a> {
    pub(crate) id: PartitionId,
    pub(crate) log_start: Offset,
    pub(crate) compacted_end: Offset,
    pub(crate) segments: &'a [Segment],
    pub(crate) epochs: &'a Epochs,
    pub(crate) producers: &'a Producers,
}

impl ManifestParts<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_slice(&self.id.topic.get());
        bytes.put_u32(self.id.index.get());
        bytes.put_i64(self.log_start.get());
        bytes.put_i64(self.compacted_end.get());
        bytes.put_u32(u32::try_from(self.segments.len()).unwrap_or(u32::MAX));
        for segment in self.segments {
            segment.encode(&mut bytes);
        }
        self.epochs.encode(&mut bytes);
        self.producers.encode(&mut bytes);
        bytes
    }
}
