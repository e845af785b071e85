//! A record batch (version 2) that is made once and sent many times.
//!
//! Everything but times, sequence and checksum stays as it was made. No compression, no keys, no
//! headers. Invariant: after `stamp` the batch is whole, and its checksum right.
//!
//! ```text
//! base offset i64 | length i32 | leader epoch i32 | magic i8 | crc u32 | attributes i16
//! | last offset delta i32 | base time i64 | last time i64 | producer id i64 | epoch i16
//! | base sequence i32 | record count i32 | records
//! record   length | attributes i8 | time delta | offset delta | key length -1 | value length | value
//!          | header count 0                                  (numbers without a type are varints)
//! ```

use crate::payload::{self, HEAD_BYTES, NTH_AT, Origin, Random, TIME_BYTES};

const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const CRC_AT: usize = 17;
const CRC_END: usize = 21;
const BASE_TIME_AT: usize = 27;
const LAST_TIME_AT: usize = 35;
const SEQUENCE_AT: usize = 53;
const MAGIC: i8 = 2;
const UNKNOWN_EPOCH: i32 = -1;

/// Who produces, for the broker's memory of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl ProducerId {
    /// Not idempotent.
    pub(crate) const NONE: Self = Self { id: -1, epoch: -1 };
}

/// What changes from sending to sending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Goes into every value.
    pub(crate) intended_ns: u64,
    /// Of the first record; the next one's is one more, and after the largest comes 0.
    pub(crate) first_nth: u32,
    pub(crate) wall_ms: i64,
    /// -1 without a producer id.
    pub(crate) base_sequence: i32,
}

/// Where in the batch the changing parts are, so that it may lie anywhere, such as in a frame.
#[derive(Debug)]
pub(crate) struct Layout {
    value_starts: Vec<usize>,
    has_nth: bool,
}

/// A batch of `record_count` records of `value_bytes` each.
pub(crate) fn encode(
    record_count: i32,
    value_bytes: usize,
    producer: ProducerId,
    origin: Origin,
    random: &mut Random,
) -> (Vec<u8>, Layout) {
    assert!(0 < record_count, "a batch holds at least one record");
    assert!(TIME_BYTES <= value_bytes, "a value has room for its time");
    let mut batch = Vec::new();
    batch.extend_from_slice(&0_i64.to_be_bytes());
    batch.extend_from_slice(&0_i32.to_be_bytes()); // The length, once it is known.
    batch.extend_from_slice(&UNKNOWN_EPOCH.to_be_bytes());
    batch.extend_from_slice(&MAGIC.to_be_bytes());
    batch.extend_from_slice(&0_u32.to_be_bytes()); // The checksum, at each stamp.
    batch.extend_from_slice(&0_i16.to_be_bytes());
    batch.extend_from_slice(&(record_count - 1).to_be_bytes());
    batch.extend_from_slice(&[0; SEQUENCE_AT - BASE_TIME_AT - 10]); // Both times.
    batch.extend_from_slice(&producer.id.to_be_bytes());
    batch.extend_from_slice(&producer.epoch.to_be_bytes());
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.extend_from_slice(&record_count.to_be_bytes());

    let mut value_starts = Vec::new();
    for offset_delta in 0..record_count {
        let value = payload::value(random, value_bytes, origin);
        let value_length = i64::try_from(value.len()).expect("a value fits into memory");
        let mut body = vec![0, 0]; // Attributes, time delta.
        put_varint(&mut body, i64::from(offset_delta));
        put_varint(&mut body, -1);
        put_varint(&mut body, value_length);
        let body_bytes = body.len() + value.len() + 1;
        put_varint(&mut batch, i64::try_from(body_bytes).expect("a record fits into memory"));
        batch.extend_from_slice(&body);
        value_starts.push(batch.len());
        batch.extend_from_slice(&value);
        batch.push(0); // No headers.
    }
    let length = i32::try_from(batch.len() - LENGTH_END).expect("a batch is at most 2 GiB");
    batch[LENGTH_AT..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    (batch, Layout { value_starts, has_nth: HEAD_BYTES <= value_bytes })
}

impl Layout {
    /// Makes `batch`, that `encode` gave with this layout, ready to be sent.
    pub(crate) fn stamp(&self, batch: &mut [u8], stamp: Stamp) {
        let time = stamp.wall_ms.to_be_bytes();
        batch[BASE_TIME_AT..BASE_TIME_AT + 8].copy_from_slice(&time);
        batch[LAST_TIME_AT..LAST_TIME_AT + 8].copy_from_slice(&time);
        batch[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&stamp.base_sequence.to_be_bytes());
        let intended = stamp.intended_ns.to_be_bytes();
        let mut nth = stamp.first_nth;
        for start in &self.value_starts {
            batch[*start..start + TIME_BYTES].copy_from_slice(&intended);
            if self.has_nth {
                batch[start + NTH_AT..start + HEAD_BYTES].copy_from_slice(&nth.to_be_bytes());
                nth = nth.wrapping_add(1);
            }
        }
        let crc = crc32c::crc32c(&batch[CRC_END..]);
        batch[CRC_AT..CRC_END].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Zigzag, then seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::{Record, RecordBatchDecoder};

    use super::*;
    use crate::payload::Head;

    fn decode(batch: Vec<u8>) -> Vec<Record> {
        RecordBatchDecoder::decode(&mut Bytes::from(batch)).unwrap().records
    }

    #[test]
    fn a_batch_reads_as_it_was_meant() {
        for (record_count, value_bytes) in [(1, 8), (1, 1_024), (3, 63), (75, 100), (1_000, 100)] {
            let producer = ProducerId { id: 4_711, epoch: 3 };
            let origin = Origin { scene: 3, producer: 8 };
            let mut random = Random::from_seed(7);
            let (mut batch, layout) =
                encode(record_count, value_bytes, producer, origin, &mut random);
            for intended_ns in [1, u64::MAX] {
                let (wall_ms, first_nth) = (1_700_000_000_123, u32::MAX);
                let stamp = Stamp { intended_ns, first_nth, wall_ms, base_sequence: 9 };
                layout.stamp(&mut batch, stamp);
                // The decoder checks the CRC.
                let records = decode(batch.clone());
                assert_eq!(records.len(), usize::try_from(record_count).unwrap());
                for (index, record) in records.iter().enumerate() {
                    let index = i64::try_from(index).unwrap();
                    assert_eq!((record.offset, record.timestamp), (index, stamp.wall_ms));
                    assert_eq!((record.producer_id, record.producer_epoch), (4_711, 3));
                    assert_eq!(i64::from(record.sequence), 9 + index);
                    assert!(record.key.is_none() && record.headers.is_empty());
                    let value = record.value.as_ref().unwrap();
                    assert_eq!(value.len(), value_bytes);
                    let nth = first_nth.wrapping_add(u32::try_from(index).unwrap());
                    let origin = (HEAD_BYTES <= value_bytes).then_some((origin, nth));
                    assert_eq!(Head::of(value), Some(Head { intended_ns, origin }));
                }
            }
        }
    }

    #[test]
    fn varints_are_kafkas() {
        let check = |value, want: &[u8]| {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, want);
        };
        check(0, &[0]);
        check(-1, &[1]);
        check(63, &[126]);
        check(64, &[128, 1]);
        check(-65, &[129, 1]);
        check(i64::MIN, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }
}
