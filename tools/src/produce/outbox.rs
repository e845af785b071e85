//! Records on their way to one partition: the batch that still grows, and those that are closed.
//!
//! Pure: times come in. Invariant: sequences of closed batches follow each other without a gap, and
//! a batch is encoded once, so that one sent again is the same bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use engine::codec::Codec;
use engine::id::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use engine::records::builder::BatchBuilder;

/// Of a record: its length, attributes, two deltas and the count of its headers.
const RECORD_FIXED_BYTES_MAX: usize =
    VARINT_BYTES_MAX + 1 + 10 + VARINT_BYTES_MAX + VARINT_BYTES_MAX;
const VARINT_BYTES_MAX: usize = 5;

/// Headers are the same for all records of a command.
pub(crate) type Headers = Vec<(Bytes, Option<Bytes>)>;

/// How batches are made.
#[derive(Clone, Debug)]
pub(crate) struct Batching {
    pub(crate) codec: Codec,
    /// A batch is closed before it is larger than this, uncompressed. A record that is larger by
    /// itself has a batch of its own.
    pub(crate) batch_bytes: usize,
    /// Or once its first record has waited this long.
    pub(crate) linger: Duration,
    pub(crate) producer: Option<(ProducerId, ProducerEpoch)>,
    pub(crate) headers: Headers,
}

/// A batch as it is sent, however often.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) bytes: Bytes,
    pub(crate) record_count: u64,
}

pub(crate) struct Outbox {
    partition: i32,
    open: Option<(BatchBuilder, Instant)>,
    closed: VecDeque<Closed>,
    next: Sequence,
}

impl Outbox {
    pub(crate) const fn new(partition: i32) -> Self {
        Self { partition, open: None, closed: VecDeque::new(), next: Sequence::ZERO }
    }

    pub(crate) const fn partition(&self) -> i32 {
        self.partition
    }

    /// When the open batch has waited long enough.
    pub(crate) fn due(&self, batching: &Batching) -> Option<Instant> {
        self.open.as_ref().map(|(_, opened)| *opened + batching.linger)
    }

    pub(crate) fn push(
        &mut self,
        batching: &Batching,
        now: Instant,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            batching.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let record_bytes = record_bytes_max(key, value, &headers);
        let is_full =
            |builder: &BatchBuilder| builder.len_bytes() + record_bytes > batching.batch_bytes;
        if self.open.as_ref().is_some_and(|(builder, _)| is_full(builder)) {
            self.close(batching);
        }
        let (builder, _) = self.open.get_or_insert_with(|| (BatchBuilder::new(), now));
        builder.push(timestamp, key, value, &headers);
        if builder.len_bytes() >= batching.batch_bytes {
            self.close(batching);
        }
    }

    /// Ends the open batch, if there is one.
    pub(crate) fn close(&mut self, batching: &Batching) {
        let Some((mut builder, _)) = self.open.take() else { return };
        let count = u32::try_from(builder.record_count()).expect("a batch counts in 31 bits");
        if let Some((id, epoch)) = batching.producer {
            builder = builder.producer(id, epoch, self.next);
            self.next = self.next.plus(count);
        }
        let bytes = Bytes::from(builder.build_with(batching.codec));
        self.closed.push_back(Closed { bytes, record_count: u64::from(count) });
    }

    /// Ends the open batch if it is due.
    pub(crate) fn close_due(&mut self, batching: &Batching, now: Instant) {
        if self.due(batching).is_some_and(|due| due <= now) {
            self.close(batching);
        }
    }

    /// The oldest closed batch.
    pub(crate) fn take(&mut self) -> Option<Closed> {
        self.closed.pop_front()
    }

    /// To be sent again, before all others: give back the youngest first.
    pub(crate) fn put_back(&mut self, closed: Closed) {
        self.closed.push_front(closed);
    }

    pub(crate) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }
}

/// The most that a record adds to its batch: fields of variable length count with their longest.
fn record_bytes_max(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> usize {
    let field = |bytes: Option<&[u8]>| VARINT_BYTES_MAX + bytes.map_or(0, <[u8]>::len);
    let headers: usize = headers.iter().map(|(key, value)| field(Some(key)) + field(*value)).sum();
    RECORD_FIXED_BYTES_MAX + field(key) + field(value) + headers
}

#[cfg(test)]
mod tests {
    use super::{Batching, Outbox};
    use bytes::Bytes;
    use engine::batch::Batch;
    use engine::codec::Codec;
    use engine::id::{ProducerEpoch, ProducerId, Timestamp};
    use engine::records::Records;
    use std::time::{Duration, Instant};

    fn batching() -> Batching {
        Batching {
            codec: Codec::Lz4,
            batch_bytes: 150,
            linger: Duration::from_millis(5),
            producer: ProducerId::checked(7).zip(ProducerEpoch::checked(1)),
            headers: vec![(Bytes::from_static(b"h"), Some(Bytes::from_static(b"v")))],
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn sequences_follow_each_other_over_batches() {
        let (batching, now) = (batching(), now());
        let mut outbox = Outbox::new(0);
        for index in 0..10_i64 {
            let value = index.to_string().repeat(20);
            outbox.push(&batching, now, Timestamp::new(index), None, Some(value.as_bytes()));
        }
        outbox.close(&batching);
        let mut next = 0;
        let mut batches = 0;
        while let Some(closed) = outbox.take() {
            let batch = Batch::parse(&closed.bytes).unwrap();
            assert!(batch.crc_holds());
            assert_eq!(batch.base_sequence(), next);
            assert_eq!(
                Records::new(&closed.bytes, 1 << 20).unwrap().count(),
                usize::try_from(closed.record_count).unwrap()
            );
            next += batch.record_count();
            batches += 1;
        }
        assert_eq!(next, 10);
        assert!(batches > 1);
    }

    #[test]
    fn a_batch_is_closed_before_it_grows_too_large() {
        let (mut batching, now) = (batching(), now());
        batching.codec = Codec::None;
        let mut outbox = Outbox::new(0);
        for value_bytes in [10, 10, 100, 10, 1_000, 1_000, 10] {
            let value = vec![0; value_bytes];
            outbox.push(&batching, now, Timestamp::new(0), None, Some(&value));
        }
        outbox.close(&batching);
        let mut record_counts = Vec::new();
        while let Some(closed) = outbox.take() {
            assert!(closed.record_count == 1 || closed.bytes.len() <= batching.batch_bytes);
            record_counts.push(closed.record_count);
        }
        assert_eq!(record_counts, [2, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_batch_leaves_when_it_has_waited_long_enough() {
        let (batching, now) = (batching(), now());
        let mut outbox = Outbox::new(0);
        assert_eq!(outbox.due(&batching), None);
        outbox.push(&batching, now, Timestamp::new(0), Some(b"k"), None);
        outbox.close_due(&batching, now + Duration::from_millis(4));
        assert!(!outbox.has_closed());
        outbox.close_due(&batching, now + Duration::from_millis(5));
        assert!(outbox.has_closed());
    }

    #[test]
    fn what_is_put_back_is_the_next_to_be_taken() {
        let (batching, now) = (batching(), now());
        let mut outbox = Outbox::new(0);
        for _ in 0..2 {
            outbox.push(&batching, now, Timestamp::new(0), None, Some(b"v"));
            outbox.close(&batching);
        }
        let first = outbox.take().unwrap();
        let bytes = first.bytes.clone();
        outbox.put_back(first);
        assert_eq!(outbox.take().unwrap().bytes, bytes);
    }
}
