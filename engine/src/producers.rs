//! What a partition knows of its idempotent producers: the last five batches of each.
//!
//! The rules are those that Kafka's brokers show: an unknown producer may start anywhere, a new epoch
//! starts at 0, the last five batches are answered as they were, anything else is out of order.
//! It knows neither the log nor the clock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BufMut;

use crate::batch::ProducerBatch;
use crate::bug::Bug;
use crate::fields::{Fields, Malformed};
use crate::id::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Producers remembered in one partition. Past it those not seen for the longest time are forgotten,
/// and may then start anywhere, as after their expiry.
pub const PRODUCERS_COUNT_MAX: usize = 16_384;

/// Batches of a producer whose repetition is recognised: clients keep as many in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// Evicted at once, so that a partition that is always full does not search for each new producer.
const EVICTED_COUNT: usize = PRODUCERS_COUNT_MAX / 16;

const BATCH_BYTES: usize = 24;
const PRODUCER_BYTES_MIN: usize = 8 + 2 + 8 + 1 + BATCH_BYTES;

const _: () = assert!(EVICTED_COUNT > 0 && EVICTED_COUNT < PRODUCERS_COUNT_MAX);

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Fresh,
    /// It is in the log: answer with its place there.
    Duplicate { base_offset: Offset, timestamp: Timestamp },
}

/// What is known of a producer by its last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: Sequence,
    /// The largest of the batch's.
    pub last_timestamp: Timestamp,
}

/// Why a batch cannot be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// A gap, an overlap, or a repetition of what is forgotten.
    OutOfOrder,
    /// A later incarnation of the producer has written.
    InvalidEpoch,
}

/// One per partition. An empty one allocates nothing.
///
/// Invariant: every producer has one to `BATCHES_REMEMBERED` batches, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    seen_at: Timestamp,
    count: usize,
    batches: [Remembered; BATCHES_REMEMBERED],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    first: Sequence,
    last: Sequence,
    base_offset: Offset,
    timestamp: Timestamp,
}

impl Remembered {
    const NONE: Self = Self {
        first: Sequence::ZERO,
        last: Sequence::ZERO,
        base_offset: Offset::ZERO,
        timestamp: Timestamp::NONE,
    };
}

impl Producers {
    #[must_use]
    pub const fn new() -> Self {
        Self { by_id: BTreeMap::new() }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Every producer, ascending by id.
    pub fn active(&self) -> impl ExactSizeIterator<Item = ActiveProducer> {
        self.by_id.iter().map(|(id, producer)| ActiveProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.newest().last,
            last_timestamp: producer.newest().timestamp,
        })
    }

    /// The base offsets of the newest batch of each.
    #[must_use]
    pub fn newest_batches(&self) -> BTreeSet<Offset> {
        self.by_id.values().map(|it| it.newest().base_offset).collect()
    }

    pub fn check(&self, batch: &ProducerBatch) -> Result<Verdict, SequenceError> {
        let Some(producer) = self.by_id.get(&batch.id) else {
            return Ok(Verdict::Fresh);
        };
        if batch.epoch < producer.epoch {
            return Err(SequenceError::InvalidEpoch);
        }
        if batch.epoch > producer.epoch {
            let starts = batch.first == Sequence::ZERO;
            return if starts { Ok(Verdict::Fresh) } else { Err(SequenceError::OutOfOrder) };
        }
        let same = |it: &&Remembered| it.first == batch.first && it.last == batch.last;
        let forgotten = usize::from(Bug::SequenceWindowShort.is_on());
        let known = BATCHES_REMEMBERED - forgotten;
        if let Some(duplicate) = producer.remembered().iter().rev().take(known).find(same) {
            let Remembered { base_offset, timestamp, .. } = *duplicate;
            return Ok(Verdict::Duplicate { base_offset, timestamp });
        }
        let expected = producer.newest().last.plus(1);
        if batch.first == expected { Ok(Verdict::Fresh) } else { Err(SequenceError::OutOfOrder) }
    }

    /// The batch is in the log, with `timestamp` as its largest. The caller has checked it.
    pub fn commit(
        &mut self,
        batch: &ProducerBatch,
        base_offset: Offset,
        timestamp: Timestamp,
        now: Timestamp,
    ) {
        let ProducerBatch { id, epoch, first, last } = *batch;
        let remembered = Remembered { first, last, base_offset, timestamp };
        if let Some(producer) = self.by_id.get_mut(&id) {
            if producer.epoch != epoch {
                *producer = Producer::new(epoch);
            }
            producer.push(remembered, now);
        } else {
            if self.by_id.len() == PRODUCERS_COUNT_MAX {
                self.evict();
            }
            let mut producer = Producer::new(epoch);
            producer.push(remembered, now);
            self.by_id.insert(id, producer);
        }
        assert!(self.by_id.len() <= PRODUCERS_COUNT_MAX);
    }

    /// Forgets whoever has not written for `expiration_ms`.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        let limit = now.get().saturating_sub(expiration_ms);
        self.by_id.retain(|_, it| it.seen_at.get() > limit);
    }

    /// ```text
    /// u32  producer count, then of each, ascending by id
    ///      i64 id, i16 epoch, i64 seen at (ms), u8 batch count, then of each, oldest first
    ///          i32 first sequence, i32 last sequence, i64 base offset, i64 timestamp
    /// ```
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u32(u32::try_from(self.by_id.len()).expect("the count is limited"));
        for (id, producer) in &self.by_id {
            bytes.put_i64(id.get());
            bytes.put_i16(producer.epoch.get());
            bytes.put_i64(producer.seen_at.get());
            bytes.put_u8(u8::try_from(producer.count).expect("the count is limited"));
            for batch in producer.remembered() {
                bytes.put_i32(batch.first.get());
                bytes.put_i32(batch.last.get());
                bytes.put_i64(batch.base_offset.get());
                bytes.put_i64(batch.timestamp.get());
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.count(PRODUCER_BYTES_MIN)?;
        if count > PRODUCERS_COUNT_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut by_id = BTreeMap::new();
        for _ in 0..count {
            let id = fields.producer_id()?;
            let producer = Producer::decode(fields)?;
            if by_id.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(Malformed::Unordered);
            }
            by_id.insert(id, producer);
        }
        Ok(Self { by_id })
    }

    fn evict(&mut self) {
        let mut oldest: Vec<(Timestamp, ProducerId)> =
            self.by_id.iter().map(|(id, producer)| (producer.seen_at, *id)).collect();
        oldest.select_nth_unstable(EVICTED_COUNT);
        for (_, id) in &oldest[..EVICTED_COUNT] {
            self.by_id.remove(id);
        }
    }
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Self {
        let batches = [Remembered::NONE; BATCHES_REMEMBERED];
        Self { epoch, seen_at: Timestamp::NONE, count: 0, batches }
    }

    fn remembered(&self) -> &[Remembered] {
        &self.batches[..self.count]
    }

    fn newest(&self) -> &Remembered {
        self.remembered().last().expect("a producer is known by its first batch")
    }

    fn push(&mut self, batch: Remembered, now: Timestamp) {
        if self.count == BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
        self.seen_at = now;
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let mut producer = Self::new(fields.producer_epoch()?);
        let seen_at = fields.timestamp()?;
        let count = usize::from(fields.u8()?);
        if count == 0 || count > BATCHES_REMEMBERED {
            return Err(Malformed::OutOfRange);
        }
        for _ in 0..count {
            let (first, last) = (fields.sequence()?, fields.sequence()?);
            let base_offset = fields.offset()?;
            let timestamp = fields.timestamp()?;
            producer.push(Remembered { first, last, base_offset, timestamp }, seen_at);
        }
        Ok(producer)
    }
}

#[cfg(test)]
mod tests {
    use super::{PRODUCERS_COUNT_MAX, Producers, SequenceError, Verdict};
    use crate::batch::ProducerBatch;
    use crate::fields::{Fields, Malformed};
    use crate::id::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

    fn batch(id: i64, epoch: i16, first: i32, count: u32) -> ProducerBatch {
        let first = Sequence::checked(first).unwrap();
        ProducerBatch {
            id: ProducerId::checked(id).unwrap(),
            epoch: ProducerEpoch::checked(epoch).unwrap(),
            first,
            last: first.plus(count - 1),
        }
    }

    fn timestamp(offset: i64) -> Timestamp {
        Timestamp::new(offset * 10)
    }

    /// Appends batches of `(epoch, first, count)`, in order, and refuses what the rules refuse.
    fn after(batches: &[(i16, i32, u32)]) -> Producers {
        let mut producers = Producers::new();
        for (index, (epoch, first, count)) in batches.iter().enumerate() {
            let offset = i64::try_from(index).unwrap();
            let batch = batch(1, *epoch, *first, *count);
            assert_eq!(producers.check(&batch), Ok(Verdict::Fresh));
            producers.commit(&batch, Offset::new(offset), timestamp(offset), Timestamp::new(5));
        }
        producers
    }

    #[track_caller]
    fn check(
        batches: &[(i16, i32, u32)],
        next: (i16, i32, u32),
        want: Result<Option<i64>, SequenceError>,
    ) {
        let found = after(batches).check(&batch(1, next.0, next.1, next.2));
        let want = want.map(|it| {
            it.map_or(Verdict::Fresh, |offset| Verdict::Duplicate {
                base_offset: Offset::new(offset),
                timestamp: timestamp(offset),
            })
        });
        assert_eq!(found, want);
    }

    const SIX: [(i16, i32, u32); 6] =
        [(3, 0, 2), (3, 2, 2), (3, 4, 2), (3, 6, 2), (3, 8, 2), (3, 10, 2)];

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        check(&[], (7, 1234, 3), Ok(None));
    }

    #[test]
    fn the_next_sequence_is_fresh_and_every_other_out_of_order() {
        check(&SIX, (3, 12, 1), Ok(None));
        check(&SIX, (3, 13, 1), Err(SequenceError::OutOfOrder));
        check(&SIX, (3, 11, 1), Err(SequenceError::OutOfOrder));
        check(&SIX, (3, 10, 3), Err(SequenceError::OutOfOrder));
    }

    #[test]
    fn the_last_five_batches_are_duplicates_and_the_sixth_is_not() {
        check(&SIX, (3, 10, 2), Ok(Some(5)));
        check(&SIX, (3, 2, 2), Ok(Some(1)));
        check(&SIX, (3, 0, 2), Err(SequenceError::OutOfOrder));
    }

    #[test]
    fn a_later_epoch_starts_at_0_and_an_older_one_is_fenced() {
        check(&SIX, (4, 0, 2), Ok(None));
        check(&SIX, (9, 0, 2), Ok(None));
        check(&SIX, (4, 12, 2), Err(SequenceError::OutOfOrder));
        check(&SIX, (2, 12, 2), Err(SequenceError::InvalidEpoch));
        check(&[(3, 0, 2), (4, 0, 2)], (4, 0, 2), Ok(Some(1)));
        check(&[(3, 0, 2), (4, 0, 1)], (4, 0, 2), Err(SequenceError::OutOfOrder));
        check(&[(3, 0, 2), (4, 0, 1)], (3, 2, 2), Err(SequenceError::InvalidEpoch));
    }

    #[test]
    fn sequences_wrap() {
        let wrapping = [(0, i32::MAX - 1, 3)];
        check(&wrapping, (0, 1, 1), Ok(None));
        check(&wrapping, (0, 0, 1), Err(SequenceError::OutOfOrder));
        check(&wrapping, (0, i32::MAX - 1, 3), Ok(Some(0)));
        check(&[(0, i32::MAX, 1)], (0, 0, 1), Ok(None));
    }

    #[test]
    fn producers_expire_by_time() {
        let mut producers = after(&SIX);
        producers.expire(Timestamp::new(14), 10);
        assert_eq!(producers.count(), 1);
        producers.expire(Timestamp::new(15), 10);
        assert_eq!(producers.count(), 0);
    }

    #[test]
    fn past_the_limit_the_oldest_are_forgotten() {
        let mut producers = Producers::new();
        let count = i64::try_from(PRODUCERS_COUNT_MAX).unwrap();
        for id in 0..=count {
            producers.commit(&batch(id, 0, 0, 1), Offset::ZERO, timestamp(0), Timestamp::new(id));
        }
        assert!(producers.count() < PRODUCERS_COUNT_MAX);
        assert_eq!(producers.check(&batch(0, 0, 7, 1)), Ok(Verdict::Fresh));
        assert_eq!(producers.check(&batch(count, 0, 7, 1)), Err(SequenceError::OutOfOrder));
    }

    #[test]
    fn a_snapshot_gives_back_the_same_and_every_prefix_of_it_nothing() {
        let mut producers = after(&SIX);
        producers.commit(&batch(9, 0, 3, 1), Offset::new(70), timestamp(1), Timestamp::new(8));
        let mut bytes = Vec::new();
        producers.encode(&mut bytes);
        assert_eq!(Producers::decode(&mut Fields::new(&bytes)), Ok(producers));
        for end in 0..bytes.len() {
            let found = Producers::decode(&mut Fields::new(&bytes[..end]));
            assert_eq!(found, Err(Malformed::Truncated));
        }
    }
}
