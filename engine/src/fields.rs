//! Reads the big-endian fields of our own disk formats. The bytes may be damaged: nothing panics.
//!
//! It knows no format. Counts are limited by the bytes that are left before anything is allocated.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use crate::id::{
    FilePos, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicId,
};

/// Why bytes whose checksum may well be right are not what their format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside a field.
    Truncated,
    /// A field holds what its type never does.
    OutOfRange,
    /// Entries that must ascend do not, or contradict each other.
    Unordered,
    /// Bytes are left after the last field.
    Trailing,
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn offset(&mut self) -> Result<Offset, Malformed> {
        Offset::checked(self.i64()?).ok_or(Malformed::OutOfRange)
    }

    pub(crate) fn pos(&mut self) -> Result<FilePos, Malformed> {
        self.u64().map(FilePos::new)
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, Malformed> {
        self.i64().map(Timestamp::new)
    }

    pub(crate) fn leader_epoch(&mut self) -> Result<LeaderEpoch, Malformed> {
        self.i32().map(LeaderEpoch::new)
    }

    pub(crate) fn partition(&mut self) -> Result<PartitionId, Malformed> {
        let topic = TopicId::new(self.array()?);
        let index = PartitionIndex::new(self.u32()?);
        Ok(PartitionId { topic, index })
    }

    pub(crate) fn producer_id(&mut self) -> Result<ProducerId, Malformed> {
        ProducerId::checked(self.i64()?).ok_or(Malformed::OutOfRange)
    }

    pub(crate) fn producer_epoch(&mut self) -> Result<ProducerEpoch, Malformed> {
        ProducerEpoch::checked(self.i16()?).ok_or(Malformed::OutOfRange)
    }

    pub(crate) fn sequence(&mut self) -> Result<Sequence, Malformed> {
        Sequence::checked(self.i32()?).ok_or(Malformed::OutOfRange)
    }

    /// A byte string after its 32-bit length.
    pub(crate) fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = usize::try_from(self.u32()?).or(Err(Malformed::OutOfRange))?;
        self.take(bytes)
    }

    /// A 32-bit count of entries of at least `entry_bytes_min` each: never more than are left.
    pub(crate) fn count(&mut self, entry_bytes_min: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u32()?).or(Err(Malformed::OutOfRange))?;
        let bytes_min = count.checked_mul(entry_bytes_min).ok_or(Malformed::OutOfRange)?;
        if bytes_min <= self.rest.len() { Ok(count) } else { Err(Malformed::Truncated) }
    }

    pub(crate) const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Malformed};

    #[test]
    fn a_count_is_limited_by_the_bytes_that_are_left() {
        let mut fields = Fields::new(b"\x00\x00\x00\x02abcd");
        assert_eq!(fields.count(2), Ok(2));
        let mut fields = Fields::new(b"\x00\x00\x00\x03abcd");
        assert_eq!(fields.count(2), Err(Malformed::Truncated));
        let mut fields = Fields::new(b"\xff\xff\xff\xffabcd");
        assert_eq!(fields.count(usize::MAX), Err(Malformed::OutOfRange));
    }

    #[test]
    fn every_prefix_of_a_blob_is_truncated() {
        let whole = b"\x00\x00\x00\x03abc";
        for end in 0..whole.len() {
            assert_eq!(Fields::new(&whole[..end]).blob(), Err(Malformed::Truncated));
        }
        let mut fields = Fields::new(whole);
        assert_eq!(fields.blob(), Ok(b"abc".as_slice()));
        assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn a_negative_offset_is_out_of_range() {
        assert_eq!(Fields::new(&[0xff; 8]).offset(), Err(Malformed::OutOfRange));
    }
}
