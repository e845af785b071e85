//! Produce, versions 3 to 13, by hand: record bytes stay slices of the frame.
//!
//! Knows no record batch. Bytes come from strangers, so nothing here can panic on them.
//!
//! ```text
//! request   transactional id (nullable) | acks i16 | timeout i32 | topics
//!   topic     name (id from 13) | partitions
//!   partition index i32 | records (nullable bytes)
//! response  topics | throttle i32 | tag 0 from 10: endpoints of leaders (never sent)
//!   topic     name (id from 13) | partitions
//!   partition index i32 | error i16 | base offset i64 | append time i64 | log start i64 (from 5)
//!             | record errors (from 8) | message (nullable, from 8) | tag 0 from 10: leader (never sent)
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::api::ApiKey;
use crate::codec::{DecodeError, ELEMENTS_MAX, Reader};
use crate::error_code::ErrorCode;
use crate::topic::{TopicKind, TopicRef};
use crate::writer::Writer;

const TOPIC_IDS_FROM: i16 = 13;
const LOG_START_FROM: i16 = 5;
const RECORD_ERRORS_FROM: i16 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0, 1 or -1; anything else is to be refused.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    /// A slice of the frame, not looked at yet.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Of all its arrays.
    #[must_use]
    pub fn element_count(&self) -> usize {
        let topics = self.topics.iter().map(|topic| topic.partitions.len().saturating_add(1));
        topics.fold(0, usize::saturating_add)
    }

    /// Trailing bytes are ignored.
    pub fn decode(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::decode_bounded(body, version, ELEMENTS_MAX)
    }

    /// As `decode`, of a request with at most so many elements.
    pub fn decode_bounded(
        body: &Bytes,
        version: i16,
        elements_max: usize,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::bounded(body, ApiKey::Produce.layout(version), elements_max);
        let kind = TopicKind::of(version, TOPIC_IDS_FROM);
        let request = Self {
            transactional_id: reader.nullable_string()?,
            acks: reader.i16()?,
            timeout_ms: reader.i32()?,
            topics: reader.list(|reader| read_topic(reader, kind))?,
        };
        reader.end_struct()?;
        Ok(request)
    }

    /// Writes the body. The writer has the layout of `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        let kind = TopicKind::of(version, TOPIC_IDS_FROM);
        writer.nullable_string(self.transactional_id.as_deref());
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.count(self.topics.len());
        for topic in &self.topics {
            topic.topic.write(writer, kind);
            writer.count(topic.partitions.len());
            for partition in &topic.partitions {
                writer.i32(partition.index);
                writer.bytes(partition.records.as_deref());
                writer.end_struct();
            }
            writer.end_struct();
        }
        writer.end_struct();
    }
}

fn read_topic(reader: &mut Reader<'_>, kind: TopicKind) -> Result<ProduceTopic, DecodeError> {
    let topic = TopicRef::read(reader, kind)?;
    let partitions = reader.list(|reader| {
        let partition = ProducePartition { index: reader.i32()?, records: reader.bytes()? };
        reader.end_struct()?;
        Ok(partition)
    })?;
    reader.end_struct()?;
    Ok(ProduceTopic { topic, partitions })
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    pub topics: Vec<ProducedTopic>,
    pub throttle_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedTopic {
    pub topic: TopicRef,
    pub partitions: Vec<ProducedPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub index: i32,
    pub error: ErrorCode,
    /// -1 with an error.
    pub base_offset: i64,
    /// -1 unless the topic stamps the time of the append, or the batch is a duplicate.
    pub log_append_time_ms: i64,
    /// -1 if the partition was not reached.
    pub log_start_offset: i64,
    pub record_errors: Vec<RecordError>,
    pub error_message: Option<StrBytes>,
}

/// One record that made its batch be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Index in the batch.
    pub record_index: i32,
    pub message: Option<StrBytes>,
}

impl ProducedPartition {
    /// The answer for a partition that was not reached.
    #[must_use]
    pub const fn refused(index: i32, error: ErrorCode) -> Self {
        Self {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
        }
    }
}

impl ProduceResponse {
    /// Writes the body. The writer has the layout of `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        let kind = TopicKind::of(version, TOPIC_IDS_FROM);
        writer.count(self.topics.len());
        for topic in &self.topics {
            topic.topic.write(writer, kind);
            writer.count(topic.partitions.len());
            for partition in &topic.partitions {
                write_partition(writer, version, partition);
            }
            writer.end_struct();
        }
        writer.i32(self.throttle_ms);
        writer.end_struct();
    }

    pub fn decode(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, ApiKey::Produce.layout(version));
        let kind = TopicKind::of(version, TOPIC_IDS_FROM);
        let topics = reader.list(|reader| {
            let topic = TopicRef::read(reader, kind)?;
            let partitions = reader.list(|reader| read_partition(reader, version))?;
            reader.end_struct()?;
            Ok(ProducedTopic { topic, partitions })
        })?;
        let throttle_ms = reader.i32()?;
        reader.end_struct()?;
        Ok(Self { topics, throttle_ms })
    }
}

fn write_partition(writer: &mut Writer, version: i16, partition: &ProducedPartition) {
    writer.i32(partition.index);
    writer.i16(partition.error.get());
    writer.i64(partition.base_offset);
    writer.i64(partition.log_append_time_ms);
    if version >= LOG_START_FROM {
        writer.i64(partition.log_start_offset);
    }
    if version >= RECORD_ERRORS_FROM {
        writer.count(partition.record_errors.len());
        for record in &partition.record_errors {
            writer.i32(record.record_index);
            writer.nullable_string(record.message.as_deref());
            writer.end_struct();
        }
        writer.nullable_string(partition.error_message.as_deref());
    }
    writer.end_struct();
}

fn read_partition(reader: &mut Reader<'_>, version: i16) -> Result<ProducedPartition, DecodeError> {
    let mut partition = ProducedPartition {
        index: reader.i32()?,
        error: ErrorCode::new(reader.i16()?),
        base_offset: reader.i64()?,
        log_append_time_ms: reader.i64()?,
        log_start_offset: -1,
        record_errors: Vec::new(),
        error_message: None,
    };
    if version >= LOG_START_FROM {
        partition.log_start_offset = reader.i64()?;
    }
    if version >= RECORD_ERRORS_FROM {
        partition.record_errors = reader.list(|reader| {
            let record =
                RecordError { record_index: reader.i32()?, message: reader.nullable_string()? };
            reader.end_struct()?;
            Ok(record)
        })?;
        partition.error_message = reader.nullable_string()?;
    }
    reader.end_struct()?;
    Ok(partition)
}
