//! One batch in a compaction: which keys it has, and what is left of it.
//!
//! Both go in slices, as a batch may decompress to much more than its bytes. What is left keeps its
//! offsets, its times, its codec, and its producer's sequences.
//!
//! The first rewriting of a batch with markers of deleted keys sets bit 6 of its attributes and makes the
//! base timestamp the time from which on they may go, as Kafka does; the records' own times are told from
//! there.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::batch::{Batch, Remainder};
use crate::bug::Bug;
use crate::codec::{self, Codec, Decoded, Decoder};
use crate::compaction::map::{KeyHasher, MapFull, OffsetMap};
use crate::id::{Offset, Timestamp};
use crate::records::builder::put_varlong;
use crate::records::{
    Advance, Clock, Field, RecordHead, RecordStream, RecordsError, short_varint, short_varlong,
};

/// What one batch may decompress to, to be compacted: it is in memory as a whole.
pub const UNPACKED_BYTES_MAX: usize = 16 << 20;

const READ_BYTES: usize = 64 << 10;

/// Notes the keys of a batch.
pub struct Keys {
    stream: RecordStream,
    base_offset: i64,
    from: Offset,
    hasher: KeyHasher,
    has_key: bool,
}

/// How far a batch's keys are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    More,
    All,
    /// The map is full: the record at this offset, and all behind it, are not noted.
    Until(Offset),
}

impl Keys {
    /// `batch` is a stored one that is sound. Its records before `from` were noted by an earlier pass.
    pub fn begin(batch: &Bytes, from: Offset, map: &OffsetMap) -> Result<Self, RecordsError> {
        let view = Batch::parse(batch).map_err(|_bad_header| RecordsError::Malformed)?;
        Ok(Self {
            stream: RecordStream::new(batch, &view, UNPACKED_BYTES_MAX)?,
            base_offset: view.base_offset(),
            from,
            hasher: map.hasher(),
            has_key: false,
        })
    }

    /// Reads about as many bytes. After `All`, `Until` or an error it must not be called again.
    pub fn step(
        &mut self,
        map: &mut OffsetMap,
        mut budget_bytes: usize,
    ) -> Result<Noted, RecordsError> {
        loop {
            let Self { stream, hasher, has_key, .. } = self;
            let advance = stream.advance(&mut budget_bytes, &mut |part| {
                if part.field == Field::Key {
                    *has_key = true;
                    hasher.add(part.bytes);
                }
            })?;
            match advance {
                Advance::More => return Ok(Noted::More),
                Advance::End => return Ok(Noted::All),
                Advance::Record(head) => {
                    let key = std::mem::replace(&mut self.hasher, map.hasher()).finish();
                    let has_key = std::mem::take(&mut self.has_key);
                    let offset = offset_of(self.base_offset, head.offset_delta)?;
                    let is_new = has_key && self.from <= offset;
                    if is_new && map.insert(key, offset) == Err(MapFull) {
                        return Ok(Noted::Until(offset));
                    }
                }
            }
        }
    }
}

/// What a pass knows when it writes.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    pub map: &'a OffsetMap,
    /// Records from here on are not in the map, and stay.
    pub map_end: Offset,
    pub now: Timestamp,
    /// `delete.retention.ms`
    pub tombstone_ms: i64,
    /// Base offsets of the newest batches of their producers: they stay, as a header at least.
    pub newest_batches: &'a BTreeSet<Offset>,
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it, byte for byte.
    Whole,
    Nothing,
    /// Fewer records, or their markers' time was set.
    Some(Vec<u8>),
}

/// Finds out what is left of one batch.
pub struct Filter {
    batch: Bytes,
    codec: Codec,
    base_offset: i64,
    clock: Clock,
    horizon: Option<Timestamp>,
    /// The time of its markers has passed.
    is_past: bool,
    /// It may be that only the header is left.
    is_newest_of_producer: bool,
    stage: Stage,
}

enum Stage {
    Unpacking { decoder: Decoder, unpacked: Vec<u8> },
    Judging(Judging),
}

/// Records that are being looked at.
struct Judging {
    unpacked: Bytes,
    at: usize,
    /// Where those that stay lie.
    kept: Vec<Kept>,
    count: usize,
    has_tombstones: bool,
}

#[derive(Clone, Copy)]
struct Kept {
    start: usize,
    end: usize,
    timestamp: Timestamp,
}

/// A record's bytes, read as far as needed.
struct Raw<'a> {
    head: RecordHead,
    key: Option<&'a [u8]>,
    is_tombstone: bool,
    /// From the length on.
    bytes: usize,
}

impl Filter {
    /// `batch` is a stored one that is sound.
    pub fn begin(batch: &Bytes, pass: &Pass<'_>) -> Result<Self, RecordsError> {
        let view = Batch::parse(batch).map_err(|_bad_header| RecordsError::Malformed)?;
        let codec = view.codec().map_err(|_unknown| RecordsError::Undecodable)?;
        let horizon = view.delete_horizon();
        let payload = batch.slice_ref(view.payload());
        let stage = match codec {
            Codec::None => Stage::Judging(Judging::new(payload)),
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
                let decoder = Decoder::new(codec, payload, UNPACKED_BYTES_MAX)?;
                Stage::Unpacking { decoder, unpacked: Vec::new() }
            }
        };
        Ok(Self {
            batch: batch.clone(),
            codec,
            base_offset: view.base_offset(),
            clock: Clock::of(&view),
            horizon,
            is_past: horizon.is_some_and(|it| it <= pass.now) || Bug::TombstoneDroppedEarly.is_on(),
            is_newest_of_producer: Offset::checked(view.base_offset())
                .is_some_and(|it| pass.newest_batches.contains(&it)),
            stage,
        })
    }

    /// Reads about as many bytes. `None`: there is more to read.
    pub fn step(
        &mut self,
        pass: &Pass<'_>,
        budget_bytes: usize,
    ) -> Result<Option<Left>, RecordsError> {
        if let Stage::Unpacking { decoder, unpacked } = &mut self.stage {
            let goal = unpacked.len().saturating_add(budget_bytes);
            while unpacked.len() < goal {
                let start = unpacked.len();
                unpacked.resize(start.saturating_add(READ_BYTES), 0);
                let (_, free) = unpacked.split_at_mut(start);
                let read = decoder.read(free)?;
                let Decoded::Bytes(count) = read else {
                    unpacked.truncate(start);
                    let unpacked = Bytes::from(std::mem::take(unpacked));
                    self.stage = Stage::Judging(Judging::new(unpacked));
                    return Ok(None);
                };
                unpacked.truncate(start.saturating_add(count));
            }
            return Ok(None);
        }
        let Stage::Judging(judging) = &mut self.stage else { return Ok(None) };
        let goal = judging.at.saturating_add(budget_bytes.max(1));
        while judging.at < judging.unpacked.len() {
            if goal <= judging.at {
                return Ok(None);
            }
            judging.judge(self.base_offset, self.clock, self.is_past, pass)?;
        }
        self.finish(pass)
    }

    fn finish(&mut self, pass: &Pass<'_>) -> Result<Option<Left>, RecordsError> {
        let view = Batch::parse(&self.batch).map_err(|_bad_header| RecordsError::Malformed)?;
        let end = view.next_offset().map_err(|_bad_header| RecordsError::Malformed)?;
        let Stage::Judging(judging) = &self.stage else { return Ok(None) };
        if view.is_control() {
            return Ok(Some(Left::Whole));
        }
        // A batch that the map covers in part is rewritten again: its markers' time begins then.
        let sets_horizon = judging.has_tombstones && self.horizon.is_none() && end <= pass.map_end;
        let horizon =
            sets_horizon.then(|| Timestamp::new(pass.now.get().saturating_add(pass.tombstone_ms)));
        if judging.kept.is_empty() {
            let left = match (self.is_newest_of_producer, judging.count) {
                (true, 0) => Left::Whole,
                (true, _) => Left::Some(view.remainder(&Remainder::default())),
                (false, _) => Left::Nothing,
            };
            return Ok(Some(left));
        }
        if judging.kept.len() == judging.count && horizon.is_none() {
            return Ok(Some(Left::Whole));
        }
        let base = view.base_timestamp();
        let payload =
            judging.write(base, horizon.unwrap_or(base)).ok_or(RecordsError::Malformed)?;
        let payload =
            if self.codec == Codec::None { payload } else { codec::compress(self.codec, &payload) };
        let max_timestamp = judging.kept.iter().map(|it| it.timestamp).max();
        let remainder = Remainder {
            record_count: judging.kept.len(),
            max_timestamp: max_timestamp.unwrap_or(Timestamp::NONE),
            horizon,
            payload: &payload,
        };
        Ok(Some(Left::Some(view.remainder(&remainder))))
    }
}

impl Judging {
    fn new(unpacked: Bytes) -> Self {
        Self { unpacked, at: 0, kept: Vec::new(), count: 0, has_tombstones: false }
    }

    fn judge(
        &mut self,
        base_offset: i64,
        clock: Clock,
        is_past: bool,
        pass: &Pass<'_>,
    ) -> Result<(), RecordsError> {
        let rest = self.unpacked.get(self.at..).unwrap_or_default();
        let record = Raw::read(rest).ok_or(RecordsError::Malformed)?;
        let offset = offset_of(base_offset, record.head.offset_delta)?;
        let (start, end) = (self.at, self.at.saturating_add(record.bytes));
        let is_kept = pass.map_end <= offset || record.is_last(offset, pass.map, is_past);
        if is_kept {
            self.kept.push(Kept { start, end, timestamp: clock.of_record(&record.head) });
            self.has_tombstones |= record.is_tombstone;
        }
        self.at = end;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// The records that stay; their times, told from `old_base` on, are told from `new_base` on.
    /// `None`: they are not what was read, and nothing may be written.
    fn write(&self, old_base: Timestamp, new_base: Timestamp) -> Option<Vec<u8>> {
        let mut payload = Vec::with_capacity(self.unpacked.len());
        for Kept { start, end, .. } in &self.kept {
            let record = self.unpacked.get(*start..*end)?;
            if old_base == new_base {
                payload.extend_from_slice(record);
            } else {
                rebase(record, old_base.get().wrapping_sub(new_base.get()), &mut payload)?;
            }
        }
        Some(payload)
    }
}

impl<'a> Raw<'a> {
    /// The record that `bytes` begin with.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (length, rest) = short_varint(bytes)?;
        let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let (_attributes, body) = body.split_first()?;
        let (timestamp_delta, body) = short_varlong(body)?;
        let (offset_delta, body) = short_varint(body)?;
        let rest_bytes = u32::try_from(body.len()).ok()?;
        let (key_length, body) = short_varint(body)?;
        let key_bytes = u32::try_from(key_length).ok();
        let (key, body) = match usize::try_from(key_length) {
            Ok(length) => body.split_at_checked(length).map(|(key, rest)| (Some(key), rest))?,
            Err(_none) => (None, body),
        };
        let (value_length, _) = short_varint(body)?;
        Some(Self {
            head: RecordHead { timestamp_delta, offset_delta, key_bytes, rest_bytes },
            key,
            is_tombstone: value_length < 0,
            bytes: bytes.len().checked_sub(after.len())?,
        })
    }

    /// Whether it is the last of its key, and no marker whose time has passed. A record without a key is
    /// superfluous: the topic takes none.
    fn is_last(&self, offset: Offset, map: &OffsetMap, is_past: bool) -> bool {
        let Some(key) = self.key else { return false };
        let mut hasher = map.hasher();
        hasher.add(key);
        let last = map.last(hasher.finish());
        let is_old = last
            .is_some_and(|last| offset < last || (Bug::LastOfKeyDropped.is_on() && offset == last));
        !(is_old || self.is_tombstone && is_past)
    }
}

fn offset_of(base_offset: i64, delta: i32) -> Result<Offset, RecordsError> {
    let offset = base_offset.checked_add(i64::from(delta)).and_then(Offset::checked);
    offset.ok_or(RecordsError::Malformed)
}

/// Appends the record with `shift` added to its timestamp delta. `None`: it is none.
fn rebase(record: &[u8], shift: i64, into: &mut Vec<u8>) -> Option<()> {
    let (_length, body) = short_varint(record)?;
    let (attributes, body) = body.split_first()?;
    let (delta, rest) = short_varlong(body)?;
    let mut body = vec![*attributes];
    put_varlong(&mut body, delta.wrapping_add(shift));
    body.extend_from_slice(rest);
    put_varlong(into, i64::try_from(body.len()).ok()?);
    into.extend_from_slice(&body);
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::{Filter, Keys, Left, Noted, OffsetMap, Pass};
    use crate::batch::{self, Batch, Kind};
    use crate::codec::Codec;
    use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
    use crate::records::builder::BatchBuilder;
    use crate::records::{Record, Records};

    const NOBODYS: &BTreeSet<Offset> = &BTreeSet::new();

    /// Keys and values, one record each; the times are 100, 101, ...
    type Pairs<'a> = &'a [(&'a str, Option<&'a str>)];

    fn stored(base: i64, pairs: Pairs<'_>, codec: Codec) -> Bytes {
        let producer = (ProducerId::checked(7).unwrap(), ProducerEpoch::checked(0).unwrap());
        let mut builder = BatchBuilder::new().producer(producer.0, producer.1, Sequence::ZERO);
        for (time, (key, value)) in (100..).zip(pairs) {
            let key = (!key.is_empty()).then_some(key.as_bytes());
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"v"))];
            builder.push(Timestamp::new(time), key, value.map(str::as_bytes), headers);
        }
        let mut bytes = builder.build_with(codec);
        batch::stamp(&mut bytes, Offset::new(base), LeaderEpoch::ZERO);
        Bytes::from(bytes)
    }

    fn note(map: &mut OffsetMap, batch: &Bytes) -> Noted {
        let mut keys = Keys::begin(batch, Offset::ZERO, map).expect("sound");
        loop {
            match keys.step(map, 1).expect("sound") {
                Noted::More => {}
                noted => return noted,
            }
        }
    }

    fn filter(batch: &Bytes, pass: &Pass<'_>, is_newest: bool) -> Left {
        let base = Batch::parse(batch).expect("whole").base_offset();
        let newest_batches = BTreeSet::from_iter(is_newest.then_some(Offset::new(base)));
        let pass = &Pass { newest_batches: &newest_batches, ..*pass };
        let mut filter = Filter::begin(batch, pass).expect("sound");
        loop {
            if let Some(left) = filter.step(pass, 1).expect("sound") {
                return left;
            }
        }
    }

    fn records(batch: &[u8]) -> Vec<Record> {
        let view = Batch::parse(batch).expect("whole");
        let base = Offset::checked(view.base_offset()).unwrap();
        view.check_stored(base).expect("sound");
        let records = Records::new(&Bytes::copy_from_slice(batch), 1 << 20).expect("sound");
        records.map(|it| it.expect("sound")).collect()
    }

    /// What is left at offset 10 of `old`, when `new` was written at 20.
    fn left(old: Pairs<'_>, new: Pairs<'_>, codec: Codec) -> (Bytes, Left) {
        let (old, new) = (stored(10, old, codec), stored(20, new, codec));
        let mut map = OffsetMap::new([1, 2], 100, 1 << 20);
        assert_eq!(note(&mut map, &old), Noted::All);
        assert_eq!(note(&mut map, &new), Noted::All);
        let (map_end, now) = (Offset::new(30), Timestamp::new(5000));
        let newest_batches = NOBODYS;
        let pass = Pass { map: &map, map_end, now, tombstone_ms: 60, newest_batches };
        let left = filter(&old, &pass, false);
        (old, left)
    }

    #[test]
    fn the_last_records_of_their_keys_stay_as_they_are_in_every_codec() {
        let old: Pairs<'_> =
            &[("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("c", Some(""))];
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let (whole, left) = left(old, &[("b", Some("4"))], codec);
            let Left::Some(left) = left else { panic!("{left:?}") };
            let want: Vec<Record> = records(&whole)
                .into_iter()
                .filter(|it| [12, 13].contains(&it.offset.get()))
                .collect();
            assert_eq!(records(&left), want);
            let (before, after) = (Batch::parse(&whole).unwrap(), Batch::parse(&left).unwrap());
            assert_eq!(after.codec(), Ok(codec));
            assert_eq!(after.next_offset(), before.next_offset());
            assert_eq!(after.summary().unwrap().producer, before.summary().unwrap().producer);
            assert_eq!(after.max_timestamp(), Timestamp::new(103));
        }
    }

    #[test]
    fn a_batch_of_last_records_stays_byte_for_byte() {
        let (_, left) = left(&[("a", Some("1"))], &[("b", Some("2"))], Codec::None);
        assert_eq!(left, Left::Whole);
    }

    #[test]
    fn a_batch_without_last_records_goes_but_for_the_header_of_a_producers_newest() {
        let old: Pairs<'_> = &[("a", Some("1")), ("", Some("without a key"))];
        let (whole, left) = left(old, &[("a", Some("2"))], Codec::Zstd);
        assert_eq!(left, Left::Nothing);
        let mut map = OffsetMap::new([1, 2], 100, 1 << 20);
        note(&mut map, &stored(20, &[("a", Some("2"))], Codec::None));
        let pass = Pass {
            map: &map,
            map_end: Offset::new(30),
            now: Timestamp::new(0),
            tombstone_ms: 0,
            newest_batches: NOBODYS,
        };
        let Left::Some(empty) = filter(&whole, &pass, true) else { panic!("its producer's") };
        assert_eq!(records(&empty), []);
        let (before, after) = (Batch::parse(&whole).unwrap(), Batch::parse(&empty).unwrap());
        assert_eq!(after.next_offset(), before.next_offset());
        let (before, after) = (before.summary().unwrap(), after.summary().unwrap());
        assert_eq!((after.producer, after.kind), (before.producer, Kind::Data));
        let empty = Bytes::from(empty);
        assert_eq!(filter(&empty, &pass, true), Left::Whole);
        assert_eq!(filter(&empty, &pass, false), Left::Nothing);
    }

    #[test]
    fn a_marker_goes_when_its_time_has_passed_since_it_was_rewritten() {
        let old: Pairs<'_> = &[("a", None), ("b", Some("2"))];
        let (whole, left) = left(old, &[("c", None)], Codec::Gzip);
        let Left::Some(marked) = left else { panic!("the time of the marker is set") };
        assert_eq!(records(&marked), records(&whole), "their own times stay");
        let horizon = Batch::parse(&marked).unwrap().delete_horizon();
        assert_eq!(horizon, Some(Timestamp::new(5060)));
        let map = OffsetMap::new([1, 2], 100, 1 << 20);
        let pass = |now| Pass {
            map: &map,
            map_end: Offset::new(30),
            now: Timestamp::new(now),
            tombstone_ms: 60,
            newest_batches: NOBODYS,
        };
        let marked = Bytes::from(marked);
        assert_eq!(filter(&marked, &pass(5059), false), Left::Whole);
        let Left::Some(left) = filter(&marked, &pass(5060), false) else { panic!("it is time") };
        assert_eq!(records(&left), records(&whole)[1..]);
    }

    #[test]
    fn what_the_map_does_not_reach_stays() {
        let batch = stored(10, &[("a", Some("1")), ("a", Some("2")), ("b", None)], Codec::None);
        let mut map = OffsetMap::new([1, 2], 0, 0);
        assert_eq!(note(&mut map, &batch), Noted::Until(Offset::new(12)));
        let (now, tombstone_ms, newest_batches) = (Timestamp::new(9), 0, NOBODYS);
        let map_end = Offset::new(12);
        let pass = Pass { map: &map, map_end, now, tombstone_ms, newest_batches };
        let Left::Some(left) = filter(&batch, &pass, false) else { panic!("one is superfluous") };
        assert_eq!(records(&left), records(&batch)[1..]);
        assert_eq!(Batch::parse(&left).unwrap().delete_horizon(), None);
    }

    #[test]
    fn the_next_pass_goes_on_inside_of_a_batch() {
        let batch = stored(10, &[("a", Some("1")), ("b", Some("2")), ("c", None)], Codec::None);
        for from in 10..13 {
            let mut map = OffsetMap::new([1, 2], 0, 0);
            let mut keys = Keys::begin(&batch, Offset::new(from), &map).expect("sound");
            let noted = keys.step(&mut map, usize::MAX).expect("sound");
            let until = Offset::new(from + 1);
            assert_eq!(noted, if from < 12 { Noted::Until(until) } else { Noted::All });
        }
    }

    #[test]
    fn no_prefix_of_records_and_no_flipped_bit_is_more_than_an_error() {
        let batch = stored(10, &[("a", Some("1")), ("b", None)], Codec::None);
        let map = OffsetMap::new([1, 2], 9, 1 << 20);
        let (map_end, now, newest_batches) = (Offset::new(30), Timestamp::new(9), NOBODYS);
        let pass = Pass { map: &map, map_end, now, tombstone_ms: 0, newest_batches };
        for at in batch::HEADER_BYTES..batch.len() {
            for bit in 0..8 {
                let mut bytes = batch.to_vec();
                bytes[at] ^= 1 << bit;
                let bytes = Bytes::from(bytes);
                let mut filter = Filter::begin(&bytes, &pass).expect("its header is sound");
                while let Ok(None) = filter.step(&pass, 1) {}
            }
        }
    }
}
