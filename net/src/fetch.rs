//! Fetch, versions 4 to 18, by hand: an answer refers to record bytes, it does not hold them.
//!
//! Knows no log and no session. Bytes come from strangers, so nothing here can panic on them.
//!
//! ```text
//! request   replica i32 (to 14) | wait i32 | min bytes i32 | max bytes i32 | isolation i8
//!           | session i32, epoch i32 (from 7) | topics | forgotten (from 7) | rack (from 11)
//!           | tag 0 from 12: cluster id | tag 1 from 15: replica i32, its epoch i64
//!   topic     name (id from 13) | partitions
//!   partition index i32 | leader epoch i32 (from 9) | offset i64 | last epoch i32 (from 12)
//!             | log start i64 (from 5) | max bytes i32
//!             | tag 0 from 17: directory uuid | tag 1 from 18: high watermark i64
//!   forgotten name (id from 13) | indexes
//! response  throttle i32 | error i16, session i32 (from 7) | topics
//!   topic     name (id from 13) | partitions
//!   partition index i32 | error i16 | high watermark i64 | last stable i64 | log start i64 (from 5)
//!             | aborted (nullable) | preferred replica i32 (from 11) | records (bytes)
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::api::ApiKey;
use crate::codec::{DecodeError, ELEMENTS_MAX, Reader};
use crate::error_code::ErrorCode;
use crate::outgoing::{Outgoing, Records};
use crate::topic::{TopicKind, TopicRef};
use crate::writer::Writer;

const LOG_START_FROM: i16 = 5;
const SESSIONS_FROM: i16 = 7;
const LEADER_EPOCH_FROM: i16 = 9;
const RACK_FROM: i16 = 11;
const LAST_EPOCH_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const REPLICA_STATE_FROM: i16 = 15;
const REPLICA_STATE_TAG: u32 = 1;

/// Whether requests of `version` name topics, or give their ids.
#[must_use]
pub const fn topic_kind(version: i16) -> TopicKind {
    TopicKind::of(version, TOPIC_IDS_FROM)
}

/// The epoch of a request that belongs to no session.
pub const SESSIONLESS_EPOCH: i32 = -1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// -1 for a consumer.
    pub replica_id: i32,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed; anything else is to be refused.
    pub isolation_level: i8,
    pub session_id: i32,
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten: Vec<ForgottenTopic>,
    pub rack_id: StrBytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub index: i32,
    /// Negative: do not check.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    /// -1 for a consumer.
    pub last_fetched_epoch: i32,
    /// -1 for a consumer.
    pub log_start_offset: i64,
    pub max_bytes: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub topic: TopicRef,
    pub partitions: Vec<i32>,
}

impl FetchRequest {
    /// Of all its arrays.
    #[must_use]
    pub fn element_count(&self) -> usize {
        let topics = self.topics.iter().map(|topic| topic.partitions.len().saturating_add(1));
        let forgotten = self.forgotten.iter().map(|it| it.partitions.len().saturating_add(1));
        topics.chain(forgotten).fold(0, usize::saturating_add)
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
        let mut reader = Reader::bounded(body, ApiKey::Fetch.layout(version), elements_max);
        let replica_id = if version < REPLICA_STATE_FROM { reader.i32()? } else { -1 };
        let mut request = Self {
            replica_id,
            max_wait_ms: reader.i32()?,
            min_bytes: reader.i32()?,
            max_bytes: reader.i32()?,
            isolation_level: reader.i8()?,
            session_id: 0,
            session_epoch: SESSIONLESS_EPOCH,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        };
        if version >= SESSIONS_FROM {
            request.session_id = reader.i32()?;
            request.session_epoch = reader.i32()?;
        }
        request.topics = reader.list(|reader| read_topic(reader, version))?;
        if version >= SESSIONS_FROM {
            request.forgotten = reader.list(|reader| read_forgotten(reader, version))?;
        }
        if version >= RACK_FROM {
            request.rack_id = reader.string()?;
        }
        reader.tagged(|tag, value| {
            if tag == REPLICA_STATE_TAG && version >= REPLICA_STATE_FROM {
                request.replica_id = value.i32()?;
            }
            Ok(())
        })?;
        Ok(request)
    }

    /// Writes the body of a consumer's request. The writer has the layout of `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        let kind = topic_kind(version);
        if version < REPLICA_STATE_FROM {
            writer.i32(self.replica_id);
        }
        writer.i32(self.max_wait_ms);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i8(self.isolation_level);
        if version >= SESSIONS_FROM {
            writer.i32(self.session_id);
            writer.i32(self.session_epoch);
        }
        writer.count(self.topics.len());
        for topic in &self.topics {
            topic.topic.write(writer, kind);
            writer.count(topic.partitions.len());
            for partition in &topic.partitions {
                write_partition_request(writer, version, partition);
            }
            writer.end_struct();
        }
        if version >= SESSIONS_FROM {
            writer.count(self.forgotten.len());
            for forgotten in &self.forgotten {
                forgotten.topic.write(writer, kind);
                writer.count(forgotten.partitions.len());
                forgotten.partitions.iter().for_each(|index| writer.i32(*index));
                writer.end_struct();
            }
        }
        if version >= RACK_FROM {
            writer.string(&self.rack_id);
        }
        writer.end_struct();
    }
}

fn read_topic(reader: &mut Reader<'_>, version: i16) -> Result<FetchTopic, DecodeError> {
    let topic = TopicRef::read(reader, topic_kind(version))?;
    let partitions = reader.list(|reader| {
        let index = reader.i32()?;
        let current_leader_epoch = if version >= LEADER_EPOCH_FROM { reader.i32()? } else { -1 };
        let fetch_offset = reader.i64()?;
        let last_fetched_epoch = if version >= LAST_EPOCH_FROM { reader.i32()? } else { -1 };
        let log_start_offset = if version >= LOG_START_FROM { reader.i64()? } else { -1 };
        let max_bytes = reader.i32()?;
        reader.end_struct()?;
        Ok(FetchPartition {
            index,
            current_leader_epoch,
            fetch_offset,
            last_fetched_epoch,
            log_start_offset,
            max_bytes,
        })
    })?;
    reader.end_struct()?;
    Ok(FetchTopic { topic, partitions })
}

fn read_forgotten(reader: &mut Reader<'_>, version: i16) -> Result<ForgottenTopic, DecodeError> {
    let topic = TopicRef::read(reader, topic_kind(version))?;
    let partitions = reader.list(Reader::i32)?;
    reader.end_struct()?;
    Ok(ForgottenTopic { topic, partitions })
}

fn write_partition_request(writer: &mut Writer, version: i16, partition: &FetchPartition) {
    writer.i32(partition.index);
    if version >= LEADER_EPOCH_FROM {
        writer.i32(partition.current_leader_epoch);
    }
    writer.i64(partition.fetch_offset);
    if version >= LAST_EPOCH_FROM {
        writer.i32(partition.last_fetched_epoch);
    }
    if version >= LOG_START_FROM {
        writer.i64(partition.log_start_offset);
    }
    writer.i32(partition.max_bytes);
    writer.end_struct();
}

/// An answer whose records are `R`: handles while it is sent, bytes when it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse<R> {
    pub throttle_ms: i32,
    pub error: ErrorCode,
    pub session_id: i32,
    pub topics: Vec<FetchedTopic<R>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic<R> {
    pub topic: TopicRef,
    pub partitions: Vec<FetchedPartition<R>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition<R> {
    pub index: i32,
    pub error: ErrorCode,
    /// -1 with an error.
    pub high_watermark: i64,
    /// -1 with an error.
    pub last_stable_offset: i64,
    /// -1 with an error.
    pub log_start_offset: i64,
    /// `None` for a reader of uncommitted records.
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub preferred_replica: i32,
    /// `None`: no bytes. Never null on the wire.
    pub records: Option<Records<R>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

impl<R> FetchedPartition<R> {
    /// The answer for a partition that was not read.
    #[must_use]
    pub const fn refused(index: i32, error: ErrorCode) -> Self {
        Self {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            preferred_replica: -1,
            records: None,
        }
    }

    /// Bytes of the records.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.as_ref().map_or(0, Records::byte_count)
    }
}

impl<R> FetchResponse<R> {
    /// An answer without partitions: only an error, or nothing new.
    #[must_use]
    pub const fn empty(error: ErrorCode, session_id: i32) -> Self {
        Self { throttle_ms: 0, error, session_id, topics: Vec::new() }
    }

    /// Adds a partition; consecutive ones of the same topic share its entry.
    pub fn push(&mut self, topic: &TopicRef, partition: FetchedPartition<R>) {
        match self.topics.last_mut() {
            Some(last) if last.topic == *topic => last.partitions.push(partition),
            Some(_) | None => {
                let partitions = vec![partition];
                self.topics.push(FetchedTopic { topic: topic.clone(), partitions });
            }
        }
    }

    /// Writes the body. The frame has the layout of `version`.
    pub fn encode(self, frame: &mut Outgoing<R>, version: i16) {
        let writer = frame.writer();
        writer.i32(self.throttle_ms);
        if version >= SESSIONS_FROM {
            writer.i16(self.error.get());
            writer.i32(self.session_id);
        }
        writer.count(self.topics.len());
        for topic in self.topics {
            let writer = frame.writer();
            topic.topic.write(writer, topic_kind(version));
            writer.count(topic.partitions.len());
            for partition in topic.partitions {
                write_partition(frame, version, partition);
            }
            frame.writer().end_struct();
        }
        frame.writer().end_struct();
    }
}

impl FetchResponse<Bytes> {
    pub fn decode(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body, ApiKey::Fetch.layout(version));
        let throttle_ms = reader.i32()?;
        let (mut error, mut session_id) = (ErrorCode::NONE, 0);
        if version >= SESSIONS_FROM {
            error = ErrorCode::new(reader.i16()?);
            session_id = reader.i32()?;
        }
        let topics = reader.list(|reader| {
            let topic = TopicRef::read(reader, topic_kind(version))?;
            let partitions = reader.list(|reader| read_partition(reader, version))?;
            reader.end_struct()?;
            Ok(FetchedTopic { topic, partitions })
        })?;
        reader.end_struct()?;
        Ok(Self { throttle_ms, error, session_id, topics })
    }
}

fn write_partition<R>(frame: &mut Outgoing<R>, version: i16, partition: FetchedPartition<R>) {
    let writer = frame.writer();
    writer.i32(partition.index);
    writer.i16(partition.error.get());
    writer.i64(partition.high_watermark);
    writer.i64(partition.last_stable_offset);
    if version >= LOG_START_FROM {
        writer.i64(partition.log_start_offset);
    }
    match &partition.aborted {
        None => writer.null_count(),
        Some(aborted) => {
            writer.count(aborted.len());
            for transaction in aborted {
                writer.i64(transaction.producer_id);
                writer.i64(transaction.first_offset);
                writer.end_struct();
            }
        }
    }
    if version >= RACK_FROM {
        writer.i32(partition.preferred_replica);
    }
    match partition.records {
        None => writer.bytes_length(0),
        Some(records) => {
            writer.bytes_length(records.byte_count());
            frame.records(records);
        }
    }
    frame.writer().end_struct();
}

fn read_partition(
    reader: &mut Reader<'_>,
    version: i16,
) -> Result<FetchedPartition<Bytes>, DecodeError> {
    let index = reader.i32()?;
    let error = ErrorCode::new(reader.i16()?);
    let high_watermark = reader.i64()?;
    let last_stable_offset = reader.i64()?;
    let log_start_offset = if version >= LOG_START_FROM { reader.i64()? } else { -1 };
    let aborted = reader.nullable_list(|reader| {
        let transaction =
            AbortedTransaction { producer_id: reader.i64()?, first_offset: reader.i64()? };
        reader.end_struct()?;
        Ok(transaction)
    })?;
    let preferred_replica = if version >= RACK_FROM { reader.i32()? } else { -1 };
    let records = reader.bytes()?.filter(|bytes| !bytes.is_empty()).map(Records::from_bytes);
    reader.end_struct()?;
    Ok(FetchedPartition {
        index,
        error,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        aborted,
        preferred_replica,
        records,
    })
}
