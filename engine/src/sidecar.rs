//! The file beside a sealed segment: everything that reading it needs, and what its bytes must be.
//!
//! It knows bytes, not files. It is written to a temporary name and renamed when it is durable.
//! All integers are big endian.
//!
//! ```text
//!  0  u64  magic "ODRADEKI"
//!  8  u16  version
//! 10  u8   1 if the chained checksum is known, else 0
//! 11  u8   zero
//! 12  u32  chained checksum of the segment file (segment.rs)
//! 16  i64  base offset
//! 24  i64  end offset
//! 32  u64  bytes of the segment file
//! 40  i64  created at (ms)
//! 48  i64  max timestamp
//! 56  i64  base offset of the batch that has it
//! 64       index (index.rs), complete unless a restart came while the segment grew
//!          epochs of its records (epochs.rs)
//!          producers at its end (producers.rs)
//!  -4 u32  CRC-32C of everything before
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use bytes::BufMut;

use crate::epochs::Epochs;
use crate::fields::{Fields, Malformed};
use crate::id::{FilePos, Offset, Timestamp};
use crate::index::Index;
use crate::producers::Producers;
use crate::segment::{MaxTimestamp, Segment};

const MAGIC: u64 = 0x4f44_5241_4445_4b49;
const VERSION: u16 = 1;
const CRC_BYTES: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct Sidecar {
    pub base: Offset,
    pub end: Offset,
    pub bytes: FilePos,
    pub created_at: Timestamp,
    pub max_timestamp: Option<MaxTimestamp>,
    pub chain_crc: Option<u32>,
    pub index: Index,
    pub epochs: Epochs,
    pub producers: Producers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarError {
    /// Not a sidecar, cut short, or its checksum differs.
    Damaged,
    /// Written by a later version of the broker, which alone can read it.
    VersionTooNew {
        version: u16,
    },
    Malformed(Malformed),
}

impl From<Malformed> for SidecarError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// `producers` is the encoded state at the segment's end.
pub(crate) fn encode(segment: &Segment, epochs: &Epochs, producers: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64(MAGIC);
    bytes.put_u16(VERSION);
    bytes.put_u8(u8::from(segment.chain_crc().is_some()));
    bytes.put_u8(0);
    bytes.put_u32(segment.chain_crc().unwrap_or(0));
    bytes.put_i64(segment.base().get());
    bytes.put_i64(segment.end().get());
    bytes.put_u64(segment.end_pos().get());
    bytes.put_i64(segment.created_at().get());
    let max_timestamp = segment.max_timestamp();
    bytes.put_i64(max_timestamp.map_or(Timestamp::NONE, |it| it.timestamp).get());
    bytes.put_i64(max_timestamp.map_or_else(|| segment.base(), |it| it.batch).get());
    segment.index().encode(&mut bytes);
    epochs.before(segment.end()).encode(&mut bytes);
    bytes.put_slice(producers);
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32(crc);
    bytes
}

impl Sidecar {
    pub fn decode(file: &[u8]) -> Result<Self, SidecarError> {
        let crc_at = file.len().checked_sub(CRC_BYTES).ok_or(SidecarError::Damaged)?;
        let (covered, crc) = file.split_at_checked(crc_at).ok_or(SidecarError::Damaged)?;
        if Fields::new(crc).u32() != Ok(crc32c::crc32c(covered)) {
            return Err(SidecarError::Damaged);
        }
        let mut fields = Fields::new(covered);
        if fields.u64()? != MAGIC {
            return Err(SidecarError::Damaged);
        }
        let version = fields.u16()?;
        if version > VERSION {
            return Err(SidecarError::VersionTooNew { version });
        }
        let chained = fields.u8()? == 1;
        fields.u8()?;
        let chain_crc = fields.u32()?;
        let (base, end) = (fields.offset()?, fields.offset()?);
        let bytes = fields.pos()?;
        let created_at = fields.timestamp()?;
        let max_timestamp =
            MaxTimestamp { timestamp: fields.timestamp()?, batch: fields.offset()? };
        let index = Index::decode(&mut fields)?;
        let epochs = Epochs::decode(&mut fields)?;
        let producers = Producers::decode(&mut fields)?;
        fields.end()?;
        if base > end || index.end() != bytes {
            return Err(Malformed::Unordered.into());
        }
        Ok(Self {
            base,
            end,
            bytes,
            created_at,
            max_timestamp: (max_timestamp.timestamp > Timestamp::NONE).then_some(max_timestamp),
            chain_crc: chained.then_some(chain_crc),
            index,
            epochs,
            producers,
        })
    }
}
