//! Records as a broker numbers them: offsets count from 0, and times are told from the first record's.
//! Their attributes, which mean nothing, are 0.
//!
//! A batch that is compressed anew has its records so, as with Kafka; most are sent so. Records may come
//! in pieces of any size, cut anywhere. Knows neither codecs nor what a broker allows.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use crate::id::Timestamp;
use crate::records::builder::put_varlong;
use crate::records::{CARRY_BYTES, RecordHead, RecordsError, read_varint, read_varlong};

/// Walks through the records of one batch, in the order they were sent in: once by `count`, to see how
/// many bytes they will take, or once by `rewrite`.
#[derive(Clone, Debug, Default)]
pub struct Renumbering {
    /// What the batch's base was, seen from the first record.
    first_delta: Option<i64>,
    record_count: i64,
    /// The beginning of a record whose numbers end in a piece to come.
    carry: Vec<u8>,
    /// Of the record in hand, behind its numbers.
    rest_bytes: usize,
}

impl Renumbering {
    /// The bytes of the next record.
    pub fn count(&mut self, head: &RecordHead) -> usize {
        let rest_bytes = usize::try_from(head.rest_bytes).unwrap_or(usize::MAX);
        let (timestamp_delta, offset_delta) = self.number(head.timestamp_delta);
        let body_bytes = body_bytes(timestamp_delta, offset_delta, rest_bytes);
        let length = i64::try_from(body_bytes).unwrap_or(i64::MAX);
        body_bytes.saturating_add(varlong_bytes(length))
    }

    /// Appends the next bytes of the records to `into`, with other numbers.
    pub fn rewrite(&mut self, mut piece: &[u8], into: &mut Vec<u8>) -> Result<(), RecordsError> {
        loop {
            let (rest, behind) = piece.split_at(self.rest_bytes.min(piece.len()));
            into.extend_from_slice(rest);
            self.rest_bytes = self.rest_bytes.saturating_sub(rest.len());
            if behind.is_empty() {
                return Ok(());
            }
            let Some((numbers, used)) = self.take_numbers(behind)? else { return Ok(()) };
            piece = behind.get(used..).unwrap_or_default();
            let (timestamp_delta, offset_delta) = self.number(numbers.timestamp_delta);
            let body_bytes = body_bytes(timestamp_delta, offset_delta, numbers.rest_bytes);
            put_varlong(into, i64::try_from(body_bytes).map_err(|_large| RecordsError::Malformed)?);
            into.push(0);
            put_varlong(into, timestamp_delta);
            put_varlong(into, offset_delta);
            self.rest_bytes = numbers.rest_bytes;
        }
    }

    /// Of the batch, whose base was another before.
    #[must_use]
    pub fn base(&self, before: Timestamp) -> Timestamp {
        Timestamp::new(before.get().wrapping_add(self.first_delta.unwrap_or(0)))
    }

    /// The deltas of the next record. Wraps, as Kafka's arithmetic does.
    fn number(&mut self, timestamp_delta: i64) -> (i64, i64) {
        let first_delta = *self.first_delta.get_or_insert(timestamp_delta);
        let offset_delta = self.record_count;
        self.record_count = offset_delta.saturating_add(1);
        (timestamp_delta.wrapping_sub(first_delta), offset_delta)
    }

    /// The numbers that `piece` begins with, or goes on with, and how many of its bytes are theirs. `None`
    /// if they end in a later one.
    fn take_numbers(&mut self, piece: &[u8]) -> Result<Option<(Numbers, usize)>, RecordsError> {
        if self.carry.is_empty()
            && let Some(numbers) = Numbers::read(piece)?
        {
            return Ok(Some((numbers, numbers.bytes)));
        }
        let carried_bytes = self.carry.len();
        let taken_bytes = piece.len().min(CARRY_BYTES.saturating_sub(carried_bytes));
        self.carry.extend_from_slice(piece.get(..taken_bytes).unwrap_or_default());
        if let Some(numbers) = Numbers::read(&self.carry)? {
            self.carry.clear();
            return Ok(Some((numbers, numbers.bytes.saturating_sub(carried_bytes))));
        }
        if self.carry.len() < CARRY_BYTES { Ok(None) } else { Err(RecordsError::Malformed) }
    }
}

/// What a record begins with.
#[derive(Clone, Copy)]
struct Numbers {
    timestamp_delta: i64,
    /// Behind the numbers.
    rest_bytes: usize,
    /// Of the numbers.
    bytes: usize,
}

impl Numbers {
    /// `None` if they are cut.
    fn read(record: &[u8]) -> Result<Option<Self>, RecordsError> {
        let mut input = record;
        let Some(length) = read_varint(&mut input)? else { return Ok(None) };
        let body_bytes = input.len();
        let Some((_attributes, rest)) = input.split_first() else { return Ok(None) };
        input = rest;
        let Some(timestamp_delta) = read_varlong(&mut input)? else { return Ok(None) };
        let Some(_offset_delta) = read_varint(&mut input)? else { return Ok(None) };
        let read_bytes = body_bytes.saturating_sub(input.len());
        let rest_bytes = usize::try_from(length).ok().and_then(|it| it.checked_sub(read_bytes));
        let rest_bytes = rest_bytes.ok_or(RecordsError::Malformed)?;
        let bytes = record.len().saturating_sub(input.len());
        Ok(Some(Self { timestamp_delta, rest_bytes, bytes }))
    }
}

/// Attributes, both numbers, and the rest.
fn body_bytes(timestamp_delta: i64, offset_delta: i64, rest_bytes: usize) -> usize {
    let numbers_bytes = varlong_bytes(timestamp_delta).saturating_add(varlong_bytes(offset_delta));
    rest_bytes.saturating_add(numbers_bytes).saturating_add(1)
}

fn varlong_bytes(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63).cast_unsigned();
    let bits = u64::BITS.saturating_sub(raw.leading_zeros()).max(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::batch::{Batch, HEADER_BYTES};
    use crate::records::builder::BatchBuilder;
    use crate::records::{Advance, RecordStream};

    /// Numbers as long as a reader takes them.
    fn put_long(bytes: &mut Vec<u8>, value: i64, bytes_max: usize) {
        let start = bytes.len();
        put_varlong(bytes, value);
        while bytes.len() - start < bytes_max {
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push(0);
        }
    }

    /// A record with these numbers and so many bytes of value.
    fn record(attributes: u8, timestamp_delta: i64, offset_delta: i64, value: usize) -> Vec<u8> {
        let mut body = vec![attributes];
        put_long(&mut body, timestamp_delta, value % 11);
        put_long(&mut body, offset_delta, value % 6);
        put_varlong(&mut body, -1);
        put_varlong(&mut body, i64::try_from(value).unwrap());
        body.resize(body.len() + value, 7);
        body.push(0);
        let mut record = vec![];
        put_long(&mut record, i64::try_from(body.len()).unwrap(), value % 5);
        record.extend(body);
        record
    }

    fn rewritten(records: &[u8], piece_bytes: usize) -> (Vec<u8>, Renumbering) {
        let (mut renumbering, mut output) = (Renumbering::default(), vec![]);
        for piece in records.chunks(piece_bytes) {
            renumbering.rewrite(piece, &mut output).expect("they are sound");
        }
        (output, renumbering)
    }

    #[test]
    fn records_as_producers_send_them_stay_as_they_are() {
        let mut builder = BatchBuilder::new();
        for time in [5, 3, i64::MAX, i64::MIN] {
            builder.push(Timestamp::new(time), Some(b"key"), Some(&[7; 300]), &[(b"h", None)]);
        }
        let records = builder.build().split_off(HEADER_BYTES);
        for piece_bytes in [1, 2, 100, 10_000] {
            let (output, renumbering) = rewritten(&records, piece_bytes);
            assert_eq!(output, records);
            assert_eq!(renumbering.base(Timestamp::new(5)), Timestamp::new(5));
        }
    }

    #[test]
    fn offsets_count_from_0_and_times_from_the_first_record() {
        let sent = [record(255, 30, 2, 1), record(1, -5, 0, 100), record(0, 40, 1, 7)].concat();
        let want = [record(0, 0, 0, 0), record(0, -35, 1, 0), record(0, 10, 2, 0)];
        let (output, renumbering) = rewritten(&sent, 3);
        assert_eq!(renumbering.base(Timestamp::new(1_000)), Timestamp::new(1_030));
        let head = |record: &[u8]| Numbers::read(record).unwrap().unwrap().timestamp_delta;
        assert_eq!(head(&output), head(&want[0]));
        let plain = |value: usize, at: usize| {
            let mut body = want[at][1..4].to_vec();
            put_varlong(&mut body, -1);
            put_varlong(&mut body, i64::try_from(value).unwrap());
            body.resize(body.len() + value, 7);
            body.push(0);
            let mut record = vec![];
            put_varlong(&mut record, i64::try_from(body.len()).unwrap());
            [record, body].concat()
        };
        assert_eq!(output, [plain(1, 0), plain(100, 1), plain(7, 2)].concat());
    }

    #[test]
    fn a_number_is_as_long_as_it_is_said_to_be() {
        for shift in 0..64 {
            for value in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1), i64::MIN >> shift] {
                let mut bytes = vec![];
                put_varlong(&mut bytes, value);
                assert_eq!(varlong_bytes(value), bytes.len(), "{value}");
            }
        }
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        let check = |bytes: &[u8]| {
            let result = Renumbering::default().rewrite(bytes, &mut vec![]);
            assert_eq!(result, Err(RecordsError::Malformed));
        };
        check(&[0x80; CARRY_BYTES]);
        check(&[1, 0, 0, 0]); // A length of -1.
        check(&[4, 0, 0, 0]); // Shorter than its numbers.
    }

    proptest! {
        #[test]
        fn it_takes_as_many_bytes_as_were_counted_however_it_is_cut(
            numbers in proptest::collection::vec((any::<u8>(), any::<i64>(), 0_usize..300), 1..40),
            piece_bytes in 1_usize..400,
        ) {
            let count = i64::try_from(numbers.len()).unwrap();
            let each = numbers.iter().zip(0_i64..);
            let sent: Vec<u8> = each
                .flat_map(|((attributes, delta, value), at)| {
                    record(*attributes, *delta, count - 1 - at, *value)
                })
                .collect();
            let mut builder = BatchBuilder::new();
            (0..count).for_each(|_| builder.push(Timestamp::new(0), None, None, &[]));
            let mut batch = builder.build();
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&sent);
            let length = i32::try_from(batch.len() - 12).unwrap();
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            let batch = Bytes::from(batch);
            let view = Batch::parse(&batch).unwrap();
            let mut stream = RecordStream::new(&batch, &view, usize::MAX).unwrap();
            let (mut counting, mut counted) = (Renumbering::default(), 0);
            loop {
                match stream.skim(&mut piece_bytes.clone()).expect("they are sound") {
                    Advance::Record(head) => counted += counting.count(&head),
                    Advance::More => {}
                    Advance::End => break,
                }
            }
            let (output, renumbering) = rewritten(&sent, piece_bytes);
            prop_assert_eq!(output.len(), counted);
            prop_assert_eq!(renumbering.first_delta, counting.first_delta);
            prop_assert_eq!(rewritten(&output, 7).0, output);
        }
    }
}
