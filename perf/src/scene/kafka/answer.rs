//! What an answer to Fetch says of each partition, taken from the frame without a copy.
//!
//! Topics are named, so versions up to 12. Bytes come from a broker that may be wrong: nothing here
//! panics on them, and nothing allocates.

use crate::slice::{Slice, Truncated};

/// The newest version that names topics.
pub(super) const FETCH_LAST: i16 = 12;
const LOG_START_FROM: i16 = 5;
const SESSIONS_FROM: i16 = 7;
const RACK_FROM: i16 = 11;
const FLEXIBLE_FROM: i16 = 12;
const ABORTED_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetched<'a> {
    pub(super) partition: i32,
    /// Kafka's, 0 is none.
    pub(super) error_code: i16,
    pub(super) high_watermark: i64,
    pub(super) records: &'a [u8],
}

/// The partitions of one answer, one after the other.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    version: i16,
    rest: Slice<'a>,
    pub(super) correlation_id: i32,
    /// Of the whole answer.
    pub(super) error_code: i16,
    topics_left: usize,
    partitions_left: usize,
    is_in_topic: bool,
}

impl<'a> Answer<'a> {
    /// The frame without its length.
    pub(super) fn read(version: i16, frame: &'a [u8]) -> Result<Self, Truncated> {
        let mut rest = Slice::new(frame);
        let correlation_id = rest.i32()?;
        end_struct(version, &mut rest)?;
        rest.i32()?; // Throttle time.
        let mut error_code = 0;
        if version >= SESSIONS_FROM {
            error_code = rest.i16()?;
            rest.i32()?; // Session.
        }
        let topics_left = count(version, &mut rest)?;
        Ok(Self {
            version,
            rest,
            correlation_id,
            error_code,
            topics_left,
            partitions_left: 0,
            is_in_topic: false,
        })
    }

    /// `None` after the last: then there is no more to ask for.
    pub(super) fn next(&mut self) -> Result<Option<Fetched<'a>>, Truncated> {
        while self.partitions_left == 0 {
            if self.is_in_topic {
                end_struct(self.version, &mut self.rest)?;
                self.is_in_topic = false;
            }
            if self.topics_left == 0 {
                end_struct(self.version, &mut self.rest)?;
                return Ok(None);
            }
            self.topics_left -= 1;
            self.is_in_topic = true;
            let name_bytes = if self.version >= FLEXIBLE_FROM {
                count(self.version, &mut self.rest)?
            } else {
                usize::try_from(self.rest.i16()?).map_err(|_negative| Truncated)?
            };
            self.rest.take(name_bytes)?;
            self.partitions_left = count(self.version, &mut self.rest)?;
        }
        self.partitions_left -= 1;
        self.partition().map(Some)
    }

    fn partition(&mut self) -> Result<Fetched<'a>, Truncated> {
        let (version, rest) = (self.version, &mut self.rest);
        let (partition, error_code, high_watermark) = (rest.i32()?, rest.i16()?, rest.i64()?);
        rest.i64()?; // Last stable offset.
        if version >= LOG_START_FROM {
            rest.i64()?;
        }
        for _ in 0..count(version, rest)? {
            rest.take(ABORTED_BYTES)?;
            end_struct(version, rest)?;
        }
        if version >= RACK_FROM {
            rest.i32()?; // Preferred replica.
        }
        let record_bytes = count(version, rest)?;
        let records = rest.take(record_bytes)?;
        end_struct(version, rest)?;
        Ok(Fetched { partition, error_code, high_watermark, records })
    }
}

/// Of elements or bytes; none if it is null.
fn count(version: i16, rest: &mut Slice<'_>) -> Result<usize, Truncated> {
    if version >= FLEXIBLE_FROM {
        let count = rest.uvarint()?.saturating_sub(1);
        return usize::try_from(count).map_err(|_too_many| Truncated);
    }
    Ok(usize::try_from(rest.i32()?).unwrap_or(0))
}

/// Skips tagged fields.
fn end_struct(version: i16, rest: &mut Slice<'_>) -> Result<(), Truncated> {
    if version >= FLEXIBLE_FROM {
        for _ in 0..rest.uvarint()? {
            rest.uvarint()?;
            let byte_count = usize::try_from(rest.uvarint()?).map_err(|_too_many| Truncated)?;
            rest.take(byte_count)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::{FetchResponse, ProducerId, ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

    use super::*;

    /// Encoded by another implementation.
    fn frame(version: i16) -> Vec<u8> {
        let partition = |index: i32, records: &'static [u8]| {
            let transaction =
                AbortedTransaction::default().with_producer_id(ProducerId(5)).with_first_offset(6);
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(i16::try_from(index).unwrap())
                .with_high_watermark(i64::from(index) + 1_000)
                .with_last_stable_offset(3)
                .with_aborted_transactions((index == 1).then(|| vec![transaction]))
                .with_records(Some(Bytes::from_static(records)))
        };
        let topic = |name: &'static str, partitions| {
            FetchableTopicResponse::default()
                .with_topic(TopicName(StrBytes::from_static_str(name)))
                .with_partitions(partitions)
        };
        let topics = vec![
            topic("one", vec![partition(0, b"abc"), partition(1, b"")]),
            topic("none", Vec::new()),
            topic("two", vec![partition(2, b"defg")]),
        ];
        let response = FetchResponse::default().with_responses(topics);
        let mut frame = Vec::new();
        let header = ResponseHeader::default().with_correlation_id(77);
        header.encode(&mut frame, FetchResponse::header_version(version)).unwrap();
        response.encode(&mut frame, version).unwrap();
        frame
    }

    fn read(version: i16, frame: &[u8]) -> Result<Vec<Fetched<'_>>, Truncated> {
        let mut answer = Answer::read(version, frame)?;
        assert_eq!((answer.correlation_id, answer.error_code), (77, 0));
        let mut all = Vec::new();
        while let Some(fetched) = answer.next()? {
            all.push(fetched);
        }
        assert_eq!(answer.rest.rest(), b"");
        Ok(all)
    }

    #[test]
    fn every_version_reads_as_it_was_meant() {
        let want = [(0, 0, 1_000, &b"abc"[..]), (1, 1, 1_001, b""), (2, 2, 1_002, b"defg")];
        let want = want.map(|(partition, error_code, high_watermark, records)| Fetched {
            partition,
            error_code,
            high_watermark,
            records,
        });
        for version in 4..=FETCH_LAST {
            assert_eq!(read(version, &frame(version)), Ok(want.to_vec()), "version {version}");
        }
    }

    #[test]
    fn every_prefix_is_truncated() {
        for version in [4, FETCH_LAST] {
            let frame = frame(version);
            for end in 0..frame.len() {
                assert_eq!(read(version, &frame[..end]), Err(Truncated), "{version} {end}");
            }
        }
    }
}
