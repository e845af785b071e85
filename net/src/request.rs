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
        Self::decode_counted(header, body).map(|(request, _)| request)
    }

    /// As `decode`, with the elements of all its arrays: each takes memory far above its bytes.
    pub fn decode_counted(
        header: &RequestHeader,
        body: &Bytes,
    ) -> Result<(Self, usize), DecodeError> {
        if !header.api.speaks(header.version) {
            return match header.api {
                ApiKey::ApiVersions => Ok((Self::UnknownApiVersions, 0)),
                _ => Err(DecodeError::UnknownVersion),
            };
        }
        let mut element_count = 0;
        let request = match header.api {
            ApiKey::Produce => {
                let request = ProduceRequest::decode(body, header.version)?;
                element_count = request.element_count();
                Self::Produce(request)
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(body, header.version)?;
                element_count = request.element_count();
                Self::Fetch(request)
            }
            ApiKey::ListOffsets => Self::ListOffsets(generated(header, body, &mut element_count)?),
            ApiKey::Metadata => Self::Metadata(generated(header, body, &mut element_count)?),
            ApiKey::ApiVersions => Self::ApiVersions(generated(header, body, &mut element_count)?),
            ApiKey::CreateTopics => {
                Self::CreateTopics(generated(header, body, &mut element_count)?)
            }
            ApiKey::DeleteTopics => {
                Self::DeleteTopics(generated(header, body, &mut element_count)?)
            }
            ApiKey::DeleteRecords => {
                Self::DeleteRecords(generated(header, body, &mut element_count)?)
            }
            ApiKey::InitProducerId => {
                Self::InitProducerId(generated(header, body, &mut element_count)?)
            }
            ApiKey::OffsetForLeaderEpoch => {
                Self::OffsetForLeaderEpoch(generated(header, body, &mut element_count)?)
            }
            ApiKey::DescribeConfigs => {
                Self::DescribeConfigs(generated(header, body, &mut element_count)?)
            }
            ApiKey::AlterConfigs => {
                Self::AlterConfigs(generated(header, body, &mut element_count)?)
            }
            ApiKey::DescribeLogDirs => {
                Self::DescribeLogDirs(generated(header, body, &mut element_count)?)
            }
            ApiKey::CreatePartitions => {
                Self::CreatePartitions(generated(header, body, &mut element_count)?)
            }
            ApiKey::IncrementalAlterConfigs => {
                Self::IncrementalAlterConfigs(generated(header, body, &mut element_count)?)
            }
            ApiKey::DescribeCluster => {
                Self::DescribeCluster(generated(header, body, &mut element_count)?)
            }
        };
        Ok((request, element_count))
    }
}

/// The generated decoder, over bytes that it cannot trip over.
fn generated<T: Decodable>(
    header: &RequestHeader,
    body: &Bytes,
    element_count: &mut usize,
) -> Result<T, DecodeError> {
    let RequestHeader { api, version, .. } = *header;
    let schema = schema::request::schema(api).ok_or(DecodeError::UnknownApi)?;
    let (mut sound, count) = schema::canonical(schema, version, api.layout(version), body)?;
    *element_count = count;
    T::decode(&mut sound, api.generated_version(version)).or(Err(DecodeError::Truncated))
}
