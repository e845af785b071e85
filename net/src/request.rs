//! One request, whatever its API.
//!
//! Knows no answer. Bytes come from strangers, so nothing here can panic on them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::Decodable;

use crate::api::ApiKey;
use crate::codec::DecodeError;
use crate::fetch::FetchRequest;
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
    /// ApiVersions of a version that is not spoken: answered, where any other API is disconnected.
    UnknownApiVersions,
}

impl Request {
    /// Reads the body that came with `header`. Trailing bytes are ignored.
    pub fn decode(header: &RequestHeader, body: &Bytes) -> Result<Self, DecodeError> {
        if !header.api.speaks(header.version) {
            return match header.api {
                ApiKey::ApiVersions => Ok(Self::UnknownApiVersions),
                _ => Err(DecodeError::UnknownVersion),
            };
        }
        Ok(match header.api {
            ApiKey::Produce => Self::Produce(ProduceRequest::decode(body, header.version)?),
            ApiKey::Fetch => Self::Fetch(FetchRequest::decode(body, header.version)?),
            ApiKey::ListOffsets => Self::ListOffsets(generated(header, body)?),
            ApiKey::Metadata => Self::Metadata(generated(header, body)?),
            ApiKey::ApiVersions => Self::ApiVersions(generated(header, body)?),
            ApiKey::CreateTopics => Self::CreateTopics(generated(header, body)?),
            ApiKey::DeleteTopics => Self::DeleteTopics(generated(header, body)?),
            ApiKey::DeleteRecords => Self::DeleteRecords(generated(header, body)?),
            ApiKey::InitProducerId => Self::InitProducerId(generated(header, body)?),
            ApiKey::OffsetForLeaderEpoch => Self::OffsetForLeaderEpoch(generated(header, body)?),
            ApiKey::DescribeConfigs => Self::DescribeConfigs(generated(header, body)?),
            ApiKey::AlterConfigs => Self::AlterConfigs(generated(header, body)?),
            ApiKey::DescribeLogDirs => Self::DescribeLogDirs(generated(header, body)?),
            ApiKey::CreatePartitions => Self::CreatePartitions(generated(header, body)?),
            ApiKey::IncrementalAlterConfigs => {
                Self::IncrementalAlterConfigs(generated(header, body)?)
            }
            ApiKey::DescribeCluster => Self::DescribeCluster(generated(header, body)?),
        })
    }
}

/// The generated decoder, over bytes that it cannot trip over.
fn generated<T: Decodable>(header: &RequestHeader, body: &Bytes) -> Result<T, DecodeError> {
    let RequestHeader { api, version, .. } = *header;
    let schema = schema::request::schema(api).ok_or(DecodeError::UnknownApi)?;
    let mut sound = schema::canonical(schema, version, api.layout(version), body)?;
    T::decode(&mut sound, api.generated_version(version)).or(Err(DecodeError::Truncated))
}
