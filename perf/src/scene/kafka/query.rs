//! One Fetch request that is made once and sent many times, with other offsets each time.
//!
//! One topic, without a session: each request names all partitions, so each answer says of every one
//! where its log ends. The first is another one each time, as a broker fills an answer in their order.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;
use net::client::{self, Envelope};
use net::fetch::{FetchPartition, FetchRequest, FetchTopic, SESSIONLESS_EPOCH};
use net::topic::TopicRef;

use crate::frame::{CLIENT_ID, CORRELATION_AT};
use crate::scene::kafka::answer::FETCH_LAST;

const LOG_START_FROM: i16 = 5;
const SESSIONS_FROM: i16 = 7;
const LEADER_EPOCH_FROM: i16 = 9;
const RACK_FROM: i16 = 11;
const FLEXIBLE_FROM: i16 = 12;
/// Kafka's consumers ask for so much in all.
const ANSWER_BYTES_MAX: i32 = 50 << 20;

/// What all requests of one consumer say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) version: i16,
    pub(super) topic: &'a str,
    pub(super) partition_count: usize,
    pub(super) partition_bytes_max: i32,
    pub(super) wait_max: Duration,
}

/// A whole frame with its length.
#[derive(Debug)]
pub(super) struct Query {
    bytes: Vec<u8>,
    partitions_at: usize,
    partition_bytes: usize,
    offset_at: usize,
    partition_count: usize,
}

impl Query {
    pub(super) fn new(shape: &Shape<'_>) -> Self {
        let version = shape.version;
        assert!(version <= FETCH_LAST, "topics are named");
        let partition = FetchPartition {
            index: 0,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: shape.partition_bytes_max,
        };
        let count = i32::try_from(shape.partition_count).unwrap_or(i32::MAX);
        let sum = shape.partition_bytes_max.saturating_mul(count);
        let name = StrBytes::from_string(shape.topic.to_owned());
        let topic = TopicRef::Name(name);
        let partitions = vec![partition; shape.partition_count];
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(shape.wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: sum.min(ANSWER_BYTES_MAX.max(shape.partition_bytes_max)),
            isolation_level: 0,
            session_id: 0,
            session_epoch: SESSIONLESS_EPOCH,
            topics: vec![FetchTopic { topic, partitions }],
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        };
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        let envelope = Envelope { version, correlation_id: 0, client_id };
        let bytes = client::encode_fetch(&envelope, &request).to_vec();

        // index | leader epoch | offset | last epoch | log start | bytes | tags
        let from = |first: i16, byte_count| if version >= first { byte_count } else { 0 };
        let offset_at = 4 + from(LEADER_EPOCH_FROM, 4);
        let after_offset = from(FLEXIBLE_FROM, 4) + from(LOG_START_FROM, 8) + 4;
        let partition_bytes = offset_at + 8 + after_offset + from(FLEXIBLE_FROM, 1);
        // Tags of the topic | forgotten topics | rack | tags of the request
        let tail_bytes =
            if version >= FLEXIBLE_FROM { 4 } else { from(SESSIONS_FROM, 4) + from(RACK_FROM, 2) };
        let partitions_at = bytes.len() - tail_bytes - shape.partition_count * partition_bytes;
        let partition_count = shape.partition_count;
        Self { bytes, partitions_at, partition_bytes, offset_at, partition_count }
    }

    /// Makes the frame the next request: partitions and the offsets to read from.
    pub(super) fn stamp(
        &mut self,
        correlation_id: i32,
        partitions: impl ExactSizeIterator<Item = (i32, i64)>,
    ) {
        assert_eq!(partitions.len(), self.partition_count, "every partition is asked for");
        self.bytes[CORRELATION_AT..CORRELATION_AT + 4]
            .copy_from_slice(&correlation_id.to_be_bytes());
        let entries = self.bytes[self.partitions_at..].chunks_exact_mut(self.partition_bytes);
        for (entry, (partition, offset)) in entries.zip(partitions) {
            entry[..4].copy_from_slice(&partition.to_be_bytes());
            entry[self.offset_at..self.offset_at + 8].copy_from_slice(&offset.to_be_bytes());
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_stamped_query_is_a_fetch_request_in_every_version() {
        for version in 4..=FETCH_LAST {
            for partition_count in [1, 3, 200] {
                let mut query = Query::new(&Shape {
                    version,
                    topic: "some-topic",
                    partition_count,
                    partition_bytes_max: 1_000,
                    wait_max: Duration::from_millis(500),
                });
                let want: Vec<(i32, i64)> = (0..i32::try_from(partition_count).unwrap())
                    .map(|index| (index * 2 + 1, i64::from(index) << 33))
                    .collect();
                query.stamp(0x0102_0304, want.iter().copied());
                let bytes = Bytes::copy_from_slice(&query.bytes()[4..]);
                assert_eq!(bytes[4..8], [1, 2, 3, 4]);
                let header_bytes = 8 + 2 + CLIENT_ID.len() + usize::from(version >= FLEXIBLE_FROM);
                let request = FetchRequest::decode(&bytes.slice(header_bytes..), version).unwrap();
                let asked = &request.topics[0].partitions;
                let asked: Vec<_> = asked.iter().map(|it| (it.index, it.fetch_offset)).collect();
                assert_eq!(asked, want, "version {version}");
                assert_eq!(request.topics[0].partitions[0].max_bytes, 1_000);
                assert_eq!((request.max_wait_ms, request.min_bytes), (500, 1));
            }
        }
    }
}
