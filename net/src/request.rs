//! One request, whatever its API.
//!
//! Knows no answer. Bytes come from strangers, so nothing here can panic on them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, SyncGroupRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::Decodable;

use crate::api::ApiKey;
use crate::codec::{DecodeError, ELEMENTS_MAX};
use crate::fetch::FetchRequest;
use crate::group_offsets::{self, TOPIC_IDS_FROM};
use crate::header::RequestHeader;
use crate::produce::ProduceRequest;
use crate::schema;

/// A request of a version that is spoken. All but Produce and Fetch are Kafka's generated structs.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    ApiVersions(ApiVersionsRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DeleteRecords(DeleteRecordsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    DescribeConfigs(DescribeConfigsRequest),
    AlterConfigs(AlterConfigsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    CreatePartitions(CreatePartitionsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    DescribeCluster(DescribeClusterRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    DeleteGroups(DeleteGroupsRequest),
    OffsetDelete(OffsetDeleteRequest),
    DescribeClientQuotas(DescribeClientQuotasRequest),
    AlterClientQuotas(AlterClientQuotasRequest),
    DescribeUserScramCredentials(DescribeUserScramCredentialsRequest),
    AlterReplicaLogDirs(AlterReplicaLogDirsRequest),
    ElectLeaders(ElectLeadersRequest),
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
    DescribeQuorum(DescribeQuorumRequest),
    UpdateFeatures(UpdateFeaturesRequest),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
    DescribeProducers(DescribeProducersRequest),
    ListConfigResources(ListConfigResourcesRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    /// ApiVersions of a version that is not spoken: answered, where any other API is disconnected.
    UnknownApiVersions,
}

impl Request {
    /// Reads the body that came with `header`. Trailing bytes are ignored.
    pub fn decode(header: &RequestHeader, body: &Bytes) -> Result<Self, DecodeError> {
        Self::decode_bounded(header, body, ELEMENTS_MAX).map(|(request, _)| request)
    }

    /// As `decode`, of a request with at most so many elements; and how many it has, as each takes memory
    /// far above its bytes.
    pub fn decode_bounded(
        header: &RequestHeader,
        body: &Bytes,
        elements_max: usize,
    ) -> Result<(Self, usize), DecodeError> {
        if !header.api.speaks(header.version) {
            return match header.api {
                ApiKey::ApiVersions => Ok((Self::UnknownApiVersions, 0)),
                _ => Err(DecodeError::UnknownVersion),
            };
        }
        Ok(match header.api {
            ApiKey::Produce => {
                let request = ProduceRequest::decode_bounded(body, header.version, elements_max)?;
                let elements = request.element_count();
                (Self::Produce(request), elements)
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode_bounded(body, header.version, elements_max)?;
                let elements = request.element_count();
                (Self::Fetch(request), elements)
            }
            ApiKey::OffsetCommit if header.version >= TOPIC_IDS_FROM => {
                let mut elements = elements_max;
                let body = sound(header, body, &mut elements)?;
                (Self::OffsetCommit(group_offsets::decode_commit(&body)?), elements)
            }
            ApiKey::OffsetFetch if header.version >= TOPIC_IDS_FROM => {
                let mut elements = elements_max;
                let body = sound(header, body, &mut elements)?;
                (Self::OffsetFetch(group_offsets::decode_fetch(&body)?), elements)
            }
            _ => {
                let mut elements = elements_max;
                (Self::decode_generated(header, body, &mut elements)?, elements)
            }
        })
    }

    fn decode_generated(
        header: &RequestHeader,
        body: &Bytes,
        elements: &mut usize,
    ) -> Result<Self, DecodeError> {
        Ok(match header.api {
            ApiKey::Produce | ApiKey::Fetch => return Err(DecodeError::UnknownApi),
            ApiKey::ListOffsets => Self::ListOffsets(generated(header, body, elements)?),
            ApiKey::Metadata => Self::Metadata(generated(header, body, elements)?),
            ApiKey::ApiVersions => Self::ApiVersions(generated(header, body, elements)?),
            ApiKey::CreateTopics => Self::CreateTopics(generated(header, body, elements)?),
            ApiKey::DeleteTopics => Self::DeleteTopics(generated(header, body, elements)?),
            ApiKey::DeleteRecords => Self::DeleteRecords(generated(header, body, elements)?),
            ApiKey::InitProducerId => Self::InitProducerId(generated(header, body, elements)?),
            ApiKey::OffsetForLeaderEpoch => {
                Self::OffsetForLeaderEpoch(generated(header, body, elements)?)
            }
            ApiKey::DescribeConfigs => Self::DescribeConfigs(generated(header, body, elements)?),
            ApiKey::AlterConfigs => Self::AlterConfigs(generated(header, body, elements)?),
            ApiKey::DescribeLogDirs => Self::DescribeLogDirs(generated(header, body, elements)?),
            ApiKey::CreatePartitions => Self::CreatePartitions(generated(header, body, elements)?),
            ApiKey::IncrementalAlterConfigs => {
                Self::IncrementalAlterConfigs(generated(header, body, elements)?)
            }
            ApiKey::DescribeCluster => Self::DescribeCluster(generated(header, body, elements)?),
            ApiKey::OffsetCommit => Self::OffsetCommit(generated(header, body, elements)?),
            ApiKey::OffsetFetch => Self::OffsetFetch(generated(header, body, elements)?),
            ApiKey::FindCoordinator => Self::FindCoordinator(generated(header, body, elements)?),
            ApiKey::JoinGroup => Self::JoinGroup(generated(header, body, elements)?),
            ApiKey::Heartbeat => Self::Heartbeat(generated(header, body, elements)?),
            ApiKey::LeaveGroup => Self::LeaveGroup(generated(header, body, elements)?),
            ApiKey::SyncGroup => Self::SyncGroup(generated(header, body, elements)?),
            ApiKey::DescribeGroups => Self::DescribeGroups(generated(header, body, elements)?),
            ApiKey::ListGroups => Self::ListGroups(generated(header, body, elements)?),
            ApiKey::DeleteGroups => Self::DeleteGroups(generated(header, body, elements)?),
            ApiKey::OffsetDelete => Self::OffsetDelete(generated(header, body, elements)?),
            ApiKey::DescribeClientQuotas => {
                Self::DescribeClientQuotas(generated(header, body, elements)?)
            }
            ApiKey::AlterClientQuotas => {
                Self::AlterClientQuotas(generated(header, body, elements)?)
            }
            ApiKey::DescribeUserScramCredentials => {
                Self::DescribeUserScramCredentials(generated(header, body, elements)?)
            }
            ApiKey::AlterReplicaLogDirs => {
                Self::AlterReplicaLogDirs(generated(header, body, elements)?)
            }
            ApiKey::ElectLeaders => Self::ElectLeaders(generated(header, body, elements)?),
            ApiKey::AlterPartitionReassignments => {
                Self::AlterPartitionReassignments(generated(header, body, elements)?)
            }
            ApiKey::ListPartitionReassignments => {
                Self::ListPartitionReassignments(generated(header, body, elements)?)
            }
            ApiKey::DescribeQuorum => Self::DescribeQuorum(generated(header, body, elements)?),
            ApiKey::UpdateFeatures => Self::UpdateFeatures(generated(header, body, elements)?),
            ApiKey::ConsumerGroupHeartbeat => {
                Self::ConsumerGroupHeartbeat(generated(header, body, elements)?)
            }
            ApiKey::ConsumerGroupDescribe => {
                Self::ConsumerGroupDescribe(generated(header, body, elements)?)
            }
            ApiKey::DescribeProducers => {
                Self::DescribeProducers(generated(header, body, elements)?)
            }
            ApiKey::ListConfigResources => {
                Self::ListConfigResources(generated(header, body, elements)?)
            }
            ApiKey::DescribeTopicPartitions => {
                Self::DescribeTopicPartitions(generated(header, body, elements)?)
            }
        })
    }
}

/// The generated decoder, over bytes that it cannot trip over.
fn generated<T: Decodable>(
    header: &RequestHeader,
    body: &Bytes,
    elements: &mut usize,
) -> Result<T, DecodeError> {
    let version = header.api.generated_version(header.version);
    T::decode(&mut sound(header, body, elements)?, version).or(Err(DecodeError::Truncated))
}

/// The same message, sound in every length. `elements` is how many it may have, and then how many it has.
fn sound(header: &RequestHeader, body: &Bytes, elements: &mut usize) -> Result<Bytes, DecodeError> {
    let RequestHeader { api, version, .. } = *header;
    let schema = schema::request::schema(api).ok_or(DecodeError::UnknownApi)?;
    let (sound, count) = schema::canonical(schema, version, api.layout(version), body, *elements)?;
    *elements = count;
    Ok(sound)
}
