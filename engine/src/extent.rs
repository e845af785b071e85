//! What a record batch's header alone says of its place in the log.
//!
//! For finding a way through stored bytes without having whole batches at hand; checks nothing inside them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use crate::batch::{BatchError, HEADER_BYTES, announced_len_bytes};
use crate::id::{Offset, Timestamp};

/// Offsets `[base, end)` in `len_bytes` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub base: Offset,
    pub end: Offset,
    pub len_bytes: usize,
    pub max_timestamp: Timestamp,
}

impl Extent {
    /// Reads the header that `bytes` begin with; the records need not be there.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BatchError::Truncated)?;
        let len_bytes = announced_len_bytes(header)?;
        let base = i64_at(header, 0).and_then(Offset::checked).ok_or(BatchError::BadOffset)?;
        let delta = header.get(23..27).and_then(|it| it.first_chunk().copied());
        let delta = delta.map(i32::from_be_bytes).ok_or(BatchError::Truncated)?;
        let end = base.get().checked_add(i64::from(delta)).and_then(|last| last.checked_add(1));
        let end = end.and_then(Offset::checked).ok_or(BatchError::BadOffset)?;
        if end <= base {
            return Err(BatchError::BadOffset);
        }
        let max_timestamp = i64_at(header, 35).map(Timestamp::new).ok_or(BatchError::Truncated)?;
        Ok(Self { base, end, len_bytes, max_timestamp })
    }
}

fn i64_at(header: &[u8], at: usize) -> Option<i64> {
    header.get(at..)?.first_chunk().copied().map(i64::from_be_bytes)
}
