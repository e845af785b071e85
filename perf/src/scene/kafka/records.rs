//! Record batches (version 2) of an answer, and the records in them, each looked at once.
//!
//! The checksum is verified, as Kafka's own consumer does. Keys and headers are passed over. A batch that is
//! compressed is refused: to open it would cost the generator more than all the rest. Layout:
//! `crate::batch`.

use crate::slice::{Slice, Truncated};

/// The last batch of an answer may be cut off within.
const HEADER_BYTES: usize = 61;
const LENGTH_END: usize = 12;
const MAGIC: u8 = 2;
const CODEC_MASK: i16 = 0x07;
const CONTROL: i16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchError {
    Senseless,
    Checksum,
    Compressed,
}

/// One whole batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) base_offset: i64,
    /// The offset after its last record.
    pub(super) end_offset: i64,
    pub(super) byte_count: usize,
    /// None if the batch is one of a transaction's control records.
    record_count: u32,
    records: Slice<'a>,
}

/// One record, in the batch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) offset: i64,
    pub(super) value: &'a [u8],
}

impl From<Truncated> for BatchError {
    fn from(_truncated: Truncated) -> Self {
        Self::Senseless
    }
}

impl<'a> Batch<'a> {
    /// Takes a batch off the front; `None` if no whole one is left.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Result<Option<Self>, BatchError> {
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let mut header = Slice::new(bytes);
        let (base_offset, length) = (header.i64()?, header.i32()?);
        let length = usize::try_from(length).map_err(|_negative| BatchError::Senseless)?;
        let byte_count = length.saturating_add(LENGTH_END);
        if byte_count < HEADER_BYTES {
            return Err(BatchError::Senseless);
        }
        let Some((whole, rest)) = bytes.split_at_checked(byte_count) else { return Ok(None) };
        *bytes = rest;

        let mut fields = Slice::new(&whole[LENGTH_END..]);
        fields.i32()?; // Leader epoch.
        let [magic] = fields.array()?;
        if magic != MAGIC {
            return Err(BatchError::Senseless);
        }
        let checksum = u32::from_be_bytes(fields.array()?);
        if checksum != crc32c::crc32c(fields.rest()) {
            return Err(BatchError::Checksum);
        }
        let attributes = fields.i16()?;
        if attributes & CODEC_MASK != 0 {
            return Err(BatchError::Compressed);
        }
        let last_delta = fields.i32()?;
        fields.take(8 + 8 + 8 + 2 + 4)?; // Times, producer and sequence.
        let record_count = u32::from_be_bytes(fields.array()?);
        Ok(Some(Self {
            base_offset,
            end_offset: base_offset.saturating_add(i64::from(last_delta)).saturating_add(1),
            byte_count,
            record_count: if attributes & CONTROL == 0 { record_count } else { 0 },
            records: fields,
        }))
    }

    /// Takes the next record; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Record<'a>>, BatchError> {
        if self.record_count == 0 {
            return Ok(None);
        }
        self.record_count -= 1;
        let byte_count = self.records.varint()?;
        let byte_count = usize::try_from(byte_count).map_err(|_negative| BatchError::Senseless)?;
        let mut body = Slice::new(self.records.take(byte_count)?);
        body.take(1)?; // Attributes.
        body.varint()?; // Time.
        let delta = body.varint()?;
        take_bytes(&mut body)?; // Key.
        let value = take_bytes(&mut body)?;
        Ok(Some(Record { offset: self.base_offset.saturating_add(delta), value }))
    }
}

/// Null is empty.
fn take_bytes<'a>(body: &mut Slice<'a>) -> Result<&'a [u8], Truncated> {
    let byte_count = usize::try_from(body.varint()?).unwrap_or(0);
    body.take(byte_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{ProducerId, Stamp, encode};
    use crate::payload::{Head, Origin, Random};

    const CODEC_AT: usize = 22;

    fn batch(base_offset: i64, record_count: i32, value_bytes: usize) -> Vec<u8> {
        let origin = Origin { scene: 1, producer: 2 };
        let (mut batch, layout) =
            encode(record_count, value_bytes, ProducerId::NONE, origin, &mut Random::from_seed(1));
        let stamp = Stamp { intended_ns: 9, first_nth: 5, wall_ms: 1, base_sequence: -1 };
        layout.stamp(&mut batch, stamp);
        batch[..8].copy_from_slice(&base_offset.to_be_bytes()); // Not under the checksum.
        batch
    }

    #[test]
    fn batches_read_as_they_were_written() {
        for (record_count, value_bytes) in [(1, 8), (3, 100), (1_000, 16)] {
            let mut bytes = batch(40, record_count, value_bytes);
            let first_bytes = bytes.len();
            bytes.extend(batch(40 + i64::from(record_count), 2, value_bytes));
            let mut rest = bytes.as_slice();
            let mut first = Batch::take(&mut rest).unwrap().unwrap();
            assert_eq!((first.byte_count, first.base_offset), (first_bytes, 40));
            assert_eq!(first.end_offset, 40 + i64::from(record_count));
            for index in 0..record_count {
                let record = first.next().unwrap().unwrap();
                assert_eq!(record.offset, 40 + i64::from(index));
                assert_eq!(record.value.len(), value_bytes);
                assert_eq!(Head::of(record.value).unwrap().intended_ns, 9);
            }
            assert_eq!(first.next(), Ok(None));
            assert!(Batch::take(&mut rest).unwrap().is_some() && rest.is_empty());
        }
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_alone() {
        let bytes = batch(0, 3, 50);
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            assert!(Batch::take(&mut rest).unwrap().is_none(), "{end}");
            assert_eq!(rest.len(), end);
        }
    }

    #[test]
    fn every_flipped_bit_under_the_checksum_is_found() {
        let bytes = batch(0, 2, 20);
        for bit in (17 * 8)..(bytes.len() * 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Batch::take(&mut flipped.as_slice()).err(), Some(BatchError::Checksum));
        }
    }

    #[test]
    fn lengths_and_counts_of_nonsense_are_errors() {
        let check = |at: usize, value: &[u8], want: BatchError| {
            let mut bytes = batch(0, 2, 20);
            bytes[at..at + value.len()].copy_from_slice(value);
            let checksum = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
            let all = || {
                let mut rest = bytes.as_slice();
                let mut batch = Batch::take(&mut rest)?.ok_or(BatchError::Checksum)?;
                while batch.next()?.is_some() {}
                Ok(())
            };
            assert_eq!(all(), Err(want), "{at}");
        };
        check(8, &[255; 4], BatchError::Senseless);
        check(8, &48_i32.to_be_bytes(), BatchError::Senseless);
        check(16, &[1], BatchError::Senseless);
        check(CODEC_AT, &[1], BatchError::Compressed);
        check(57, &3_i32.to_be_bytes(), BatchError::Senseless);
        check(HEADER_BYTES, &[1], BatchError::Senseless);
    }
}
