//! One Produce request that is made once and sent many times, and where its answers tell errors.
//!
//! Topics are named, so versions up to 12. One topic, one partition, one batch a request.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use net::topic::TopicRef;

use crate::batch::{self, ProducerId, Stamp};
use crate::payload::{Origin, Random};

/// The newest version that names topics.
pub(crate) const PRODUCE_LAST: i16 = 12;
/// The first version with varint lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 9;
/// Tagged fields, none, at the end of partition, topic and request.
const FLEXIBLE_TAIL_BYTES: usize = 3;

const TIMEOUT_MS: i32 = 30_000;
pub(crate) const CLIENT_ID: &str = "perf";

const PREFIX_BYTES: usize = 4;
/// After the length, the api key and the version.
pub(crate) const CORRELATION_AT: usize = 8;

/// Who must have a record before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Acks {
    All,
    Leader,
}

/// What the requests of one connection look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) version: i16,
    pub(crate) topic: &'a str,
    pub(crate) acks: Acks,
    pub(crate) record_count: i32,
    pub(crate) value_bytes: usize,
    pub(crate) producer: ProducerId,
    pub(crate) origin: Origin,
}

/// A whole frame with its length. One per connection.
#[derive(Debug)]
pub(crate) struct ProduceFrame {
    bytes: Vec<u8>,
    partition_at: usize,
    batch_at: usize,
    batch_end: usize,
    layout: batch::Layout,
}

impl ProduceFrame {
    pub(crate) fn new(shape: &Shape<'_>, random: &mut Random) -> Self {
        assert!(shape.version <= PRODUCE_LAST, "topics are named");
        let Shape { record_count, value_bytes, producer, origin, .. } = *shape;
        let (batch, layout) = batch::encode(record_count, value_bytes, producer, origin, random);
        let batch_bytes = batch.len();
        let partition = ProducePartition { index: 0, records: Some(Bytes::from(batch)) };
        let name = StrBytes::from_string(shape.topic.to_owned());
        let topic = ProduceTopic { topic: TopicRef::Name(name), partitions: vec![partition] };
        let request = ProduceRequest {
            transactional_id: None,
            acks: match shape.acks {
                Acks::All => -1,
                Acks::Leader => 1,
            },
            timeout_ms: TIMEOUT_MS,
            topics: vec![topic],
        };
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        let envelope = Envelope { version: shape.version, correlation_id: 0, client_id };
        let bytes = client::encode_produce(&envelope, &request).to_vec();

        let is_flexible = shape.version >= FLEXIBLE_FROM;
        let tail_bytes = if is_flexible { FLEXIBLE_TAIL_BYTES } else { 0 };
        let length_bytes = if is_flexible { varint_bytes(batch_bytes + 1) } else { 4 };
        let batch_end = bytes.len() - tail_bytes;
        let batch_at = batch_end - batch_bytes;
        Self { bytes, partition_at: batch_at - length_bytes - 4, batch_at, batch_end, layout }
    }

    /// Makes the frame the next request.
    pub(crate) fn stamp(&mut self, correlation_id: i32, partition: i32, stamp: Stamp) {
        let mut put = |at: usize, value: i32| {
            self.bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        };
        put(CORRELATION_AT, correlation_id);
        put(self.partition_at, partition);
        self.layout.stamp(&mut self.bytes[self.batch_at..self.batch_end], stamp);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the answer to such a request says, without reading more of it than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) correlation_id: i32,
    /// Kafka's, 0 is none.
    pub(crate) error_code: i16,
}

/// Finds the error in answers about one topic. The same for all connections of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerLayout {
    error_at: usize,
}

impl AnswerLayout {
    pub(crate) const fn new(version: i16, topic: &str) -> Self {
        // correlation id | tags | topic count | name length | name | partition count | index | error
        let lengths = if version >= FLEXIBLE_FROM {
            1 + 1 + varint_bytes(topic.len() + 1) + 1
        } else {
            4 + 2 + 4
        };
        Self { error_at: 4 + lengths + topic.len() + 4 }
    }

    /// Takes whole frames off the front of `received`; `None` when none is whole.
    pub(crate) fn take(self, received: &mut &[u8]) -> Option<Answer> {
        let (prefix, rest) = received.split_first_chunk::<PREFIX_BYTES>()?;
        let frame_bytes = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
        let (frame, rest) = rest.split_at_checked(frame_bytes)?;
        *received = rest;
        // A frame that is too short is no answer to a Produce request.
        let correlation_id = frame.first_chunk().map_or(-1, |id| i32::from_be_bytes(*id));
        let error = frame.get(self.error_at..).and_then(<[u8]>::first_chunk);
        let error_code = error.map_or(-1, |error| i16::from_be_bytes(*error));
        Some(Answer { correlation_id, error_code })
    }
}

/// Bytes of an unsigned varint.
const fn varint_bytes(value: usize) -> usize {
    let mut rest = value >> 7;
    let mut bytes = 1;
    while rest > 0 {
        rest >>= 7;
        bytes += 1;
    }
    bytes
}

const _: () = assert!(ApiKey::Produce.api().flexible_from == FLEXIBLE_FROM);

#[cfg(test)]
mod tests {
    use net::codec::DecodeError;

    use super::*;

    const TOPIC: &str = "some-topic";

    fn shape(version: i16, value_bytes: usize) -> Shape<'static> {
        let producer = ProducerId { id: 5, epoch: 0 };
        let (topic, acks, origin) = (TOPIC, Acks::All, Origin::default());
        Shape { version, topic, acks, record_count: 1, value_bytes, producer, origin }
    }

    #[test]
    fn a_stamped_frame_is_a_produce_request_in_every_version() {
        for version in ApiKey::Produce.api().working_first..=PRODUCE_LAST {
            for value_bytes in [8, 40, 100, 16_300, 70_000] {
                let mut random = Random::from_seed(1);
                let mut frame = ProduceFrame::new(&shape(version, value_bytes), &mut random);
                let stamp = Stamp { intended_ns: 3, first_nth: 0, wall_ms: 4, base_sequence: 6 };
                frame.stamp(0x0102_0304, 77, stamp);
                let bytes = Bytes::copy_from_slice(&frame.bytes()[PREFIX_BYTES..]);
                let prefix = frame.bytes().first_chunk().map(|it| i32::from_be_bytes(*it));
                assert_eq!(prefix.map(usize::try_from), Some(Ok(bytes.len())));
                assert_eq!(bytes[4..8], [1, 2, 3, 4]);
                let header_bytes = 8 + 2 + CLIENT_ID.len() + usize::from(version >= FLEXIBLE_FROM);
                let request = ProduceRequest::decode(&bytes.slice(header_bytes..), version);
                let partition = &request.unwrap().topics[0].partitions[0];
                assert_eq!(partition.index, 77);
                let records = partition.records.as_ref().unwrap();
                assert_eq!(records.len(), frame.batch_end - frame.batch_at);
                assert_eq!(records[53..57], 6_i32.to_be_bytes());
            }
        }
    }

    /// The answer of a broker, by hand: this crate encodes none.
    fn answer(version: i16, error_code: i16) -> Vec<u8> {
        let mut body = 9_i32.to_be_bytes().to_vec();
        if version >= FLEXIBLE_FROM {
            body.extend_from_slice(&[0, 2, u8::try_from(TOPIC.len() + 1).unwrap()]);
        } else {
            body.extend_from_slice(&1_i32.to_be_bytes());
            body.extend_from_slice(&u16::try_from(TOPIC.len()).unwrap().to_be_bytes());
        }
        body.extend_from_slice(TOPIC.as_bytes());
        if version >= FLEXIBLE_FROM {
            body.push(2);
        } else {
            body.extend_from_slice(&1_i32.to_be_bytes());
        }
        body.extend_from_slice(&77_i32.to_be_bytes());
        body.extend_from_slice(&error_code.to_be_bytes());
        body.extend_from_slice(&[0; 24]); // Offsets and a time.
        if version >= FLEXIBLE_FROM {
            body.push(1); // No record errors.
        }
        body.extend_from_slice(&[0; 20]);
        let mut frame = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        frame
    }

    #[test]
    fn the_error_is_found_where_the_decoder_finds_it() {
        for version in ApiKey::Produce.api().working_first..=PRODUCE_LAST {
            let frame = answer(version, 7);
            let mut received = &frame[..];
            let layout = AnswerLayout::new(version, TOPIC);
            assert_eq!(
                layout.take(&mut received),
                Some(Answer { correlation_id: 9, error_code: 7 })
            );
            assert!(received.is_empty());
            let whole = Bytes::copy_from_slice(&frame[PREFIX_BYTES..]);
            let (_, body) = client::split_response(ApiKey::Produce, version, &whole).unwrap();
            let decoded: Result<_, DecodeError> = client::decode_produce(version, &body);
            assert_eq!(decoded.unwrap().topics[0].partitions[0].error.get(), 7);
        }
    }

    #[test]
    fn a_frame_that_is_not_whole_is_no_answer_yet() {
        let frame = answer(PRODUCE_LAST, 0);
        let layout = AnswerLayout::new(PRODUCE_LAST, TOPIC);
        for end in 0..frame.len() {
            let mut received = &frame[..end];
            assert_eq!(layout.take(&mut received), None);
            assert_eq!(received.len(), end);
        }
    }

    #[test]
    fn a_frame_too_short_for_an_answer_is_an_error() {
        let mut received: &[u8] = &[0, 0, 0, 2, 1, 1];
        let layout = AnswerLayout::new(PRODUCE_LAST, TOPIC);
        assert_eq!(layout.take(&mut received), Some(Answer { correlation_id: -1, error_code: -1 }));
    }
}
