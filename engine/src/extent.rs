//! What a record batch's header alone says of its place in the log.
//!
//! For finding a way through stored bytes without having whole batches at hand; checks nothing inside them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use crate::batch::{BatchError, HEADER_BYTES, announced_len_bytes};
use crate::id::{FilePos, Offset, Timestamp};

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

/// A way over stored bytes, from header to header.
///
/// A batch's base offset and length lie outside of its checksum: that each follows the one before, and
/// none passes the end, is what vouches for them.
#[derive(Clone, Copy, Debug)]
pub struct Trail {
    pos: FilePos,
    next: Offset,
    end: FilePos,
}

impl Trail {
    /// The batch at `pos` has the base offset `next`, and the last one ends at `end` or before.
    #[must_use]
    pub const fn new(pos: FilePos, next: Offset, end: FilePos) -> Self {
        Self { pos, next, end }
    }

    /// Where the next batch begins.
    #[must_use]
    pub const fn pos(&self) -> FilePos {
        self.pos
    }

    /// The base offset of that batch.
    #[must_use]
    pub const fn next(&self) -> Offset {
        self.next
    }

    #[must_use]
    pub const fn end(&self) -> FilePos {
        self.end
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end <= self.pos
    }

    /// Steps over the batch whose header `bytes` begin with. After an error it stands where it stood;
    /// `Truncated`: the header is not whole.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Extent, BatchError> {
        let extent = Extent::parse(bytes)?;
        if extent.base != self.next {
            return Err(BatchError::BadOffset);
        }
        let len_bytes = u64::try_from(extent.len_bytes).or(Err(BatchError::BadLength))?;
        let pos = self.pos.get().checked_add(len_bytes).ok_or(BatchError::BadLength)?;
        if self.end.get() < pos {
            return Err(BatchError::BadLength);
        }
        *self = Self { pos: FilePos::new(pos), next: extent.end, end: self.end };
        Ok(extent)
    }
}

fn i64_at(header: &[u8], at: usize) -> Option<i64> {
    header.get(at..)?.first_chunk().copied().map(i64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::Trail;
    use crate::batch::{self, BatchError};
    use crate::id::{FilePos, LeaderEpoch, Offset, Timestamp};
    use crate::records::builder::BatchBuilder;

    fn stored(base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(5), None, Some(b"value"), &[]);
        builder.push(Timestamp::new(6), None, Some(b"value"), &[]);
        let mut bytes = builder.build();
        batch::stamp(&mut bytes, Offset::new(base), LeaderEpoch::ZERO);
        bytes
    }

    fn trail(file: &[u8]) -> Trail {
        let end = FilePos::new(file.len().try_into().unwrap());
        Trail::new(FilePos::ZERO, Offset::new(10), end)
    }

    /// How far a trail over `file`, which ends where it ends, leads, and why not further.
    fn walk(file: &[u8]) -> (u64, Option<BatchError>) {
        let mut trail = trail(file);
        while !trail.is_over() {
            let at = usize::try_from(trail.pos().get()).unwrap();
            if let Err(error) = trail.step(&file[at..]) {
                return (trail.pos().get(), Some(error));
            }
        }
        (trail.pos().get(), None)
    }

    #[test]
    fn sound_batches_lead_to_the_end() {
        let file = [stored(10), stored(12)].concat();
        assert_eq!(walk(&file), (file.len().try_into().unwrap(), None));
    }

    #[test]
    fn no_flipped_bit_of_a_base_offset_or_a_length_leads_past_its_batch() {
        let first = stored(10);
        let second_at: u64 = first.len().try_into().unwrap();
        let file = [first, stored(12)].concat();
        for bit in 0..96 {
            let mut damaged = file.clone();
            damaged[usize::try_from(second_at).unwrap() + bit / 8] ^= 1 << (bit % 8);
            let (pos, error) = walk(&damaged);
            assert!(pos < damaged.len().try_into().unwrap() || error.is_some(), "bit {bit}");
            assert!(pos == second_at || bit >= 64, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_of_another_place_and_one_that_is_too_long_are_refused() {
        let file = stored(11);
        assert_eq!(trail(&file).step(&file), Err(BatchError::BadOffset));
        let file = stored(10);
        assert_eq!(trail(&file[1..]).step(&file), Err(BatchError::BadLength));
        assert_eq!(trail(&file).step(&file[..60]), Err(BatchError::Truncated));
    }
}
