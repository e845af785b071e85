//! Requests of OffsetCommit and OffsetFetch that name topics by id, version 10, by hand: the generated
//! code has their structs, and reads and writes them up to version 9 only. Their responses are generated.
//!
//! Bytes come from strangers, so nothing here can panic on them.
//!
//! ```text
//! OffsetCommit  group | generation or member epoch i32 | member | instance (nullable) | topics
//!   topic         id | partitions
//!   partition     index i32 | offset i64 | leader epoch i32 | metadata (nullable)
//! OffsetFetch   groups | require stable bool
//!   group         group | member (nullable) | member epoch i32 | topics (nullable)
//!   topic         id | indexes of partitions i32
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use uuid::Uuid;

use crate::codec::{DecodeError, Layout, Reader};
use crate::writer::Writer;

/// First version of both APIs that names topics by id.
pub const TOPIC_IDS_FROM: i16 = 10;

pub(crate) fn decode_commit(body: &Bytes) -> Result<OffsetCommitRequest, DecodeError> {
    let mut reader = Reader::new(body, Layout::Flexible);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(reader.string()?))
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(reader.string()?)
        .with_group_instance_id(reader.nullable_string()?)
        .with_topics(reader.list(read_committed_topic)?);
    reader.end_struct()?;
    Ok(request)
}

fn read_committed_topic(reader: &mut Reader<'_>) -> Result<OffsetCommitRequestTopic, DecodeError> {
    let topic = OffsetCommitRequestTopic::default()
        .with_topic_id(Uuid::from_bytes(reader.uuid()?))
        .with_partitions(reader.list(|reader| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(reader.i32()?)
                .with_committed_offset(reader.i64()?)
                .with_committed_leader_epoch(reader.i32()?)
                .with_committed_metadata(reader.nullable_string()?);
            reader.end_struct()?;
            Ok(partition)
        })?);
    reader.end_struct()?;
    Ok(topic)
}

/// Writes the body. The writer has the flexible layout.
pub fn encode_commit(writer: &mut Writer, request: &OffsetCommitRequest) {
    writer.string(&request.group_id.0);
    writer.i32(request.generation_id_or_member_epoch);
    writer.string(&request.member_id);
    writer.nullable_string(request.group_instance_id.as_deref());
    writer.count(request.topics.len());
    for topic in &request.topics {
        writer.uuid(topic.topic_id.into_bytes());
        writer.count(topic.partitions.len());
        for partition in &topic.partitions {
            writer.i32(partition.partition_index);
            writer.i64(partition.committed_offset);
            writer.i32(partition.committed_leader_epoch);
            writer.nullable_string(partition.committed_metadata.as_deref());
            writer.end_struct();
        }
        writer.end_struct();
    }
    writer.end_struct();
}

pub(crate) fn decode_fetch(body: &Bytes) -> Result<OffsetFetchRequest, DecodeError> {
    let mut reader = Reader::new(body, Layout::Flexible);
    let request = OffsetFetchRequest::default()
        .with_groups(reader.list(read_fetched_group)?)
        .with_require_stable(reader.bool()?);
    reader.end_struct()?;
    Ok(request)
}

fn read_fetched_group(reader: &mut Reader<'_>) -> Result<OffsetFetchRequestGroup, DecodeError> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(reader.string()?))
        .with_member_id(reader.nullable_string()?)
        .with_member_epoch(reader.i32()?)
        .with_topics(reader.nullable_list(|reader| {
            let topic = OffsetFetchRequestTopics::default()
                .with_topic_id(Uuid::from_bytes(reader.uuid()?))
                .with_partition_indexes(reader.list(Reader::i32)?);
            reader.end_struct()?;
            Ok(topic)
        })?);
    reader.end_struct()?;
    Ok(group)
}

/// Writes the body. The writer has the flexible layout.
pub fn encode_fetch(writer: &mut Writer, request: &OffsetFetchRequest) {
    writer.count(request.groups.len());
    for group in &request.groups {
        writer.string(&group.group_id.0);
        writer.nullable_string(group.member_id.as_deref());
        writer.i32(group.member_epoch);
        match &group.topics {
            None => writer.null_count(),
            Some(topics) => {
                writer.count(topics.len());
                for topic in topics {
                    writer.uuid(topic.topic_id.into_bytes());
                    writer.count(topic.partition_indexes.len());
                    topic.partition_indexes.iter().for_each(|index| writer.i32(*index));
                    writer.end_struct();
                }
            }
        }
        writer.end_struct();
    }
    writer.bool(request.require_stable);
    writer.end_struct();
}
