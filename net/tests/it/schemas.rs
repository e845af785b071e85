//! The schemas agree with the generated code, in both directions, for every API and version.

use bytes::Bytes;
use kafka_protocol::messages::{DescribeConfigsResponse, MetadataResponse};
use kafka_protocol::protocol::Encodable;
use net::api::ApiKey;
use net::client::decode_response as read;
use net::codec::{DecodeError, ELEMENTS_MAX, Layout};
use net::group_offsets::{self, TOPIC_IDS_FROM};
use net::header::{Reply, RequestHeader};
use net::log_dirs::CORDONED_FROM;
use net::outgoing::Piece;
use net::request::Request;
use net::response::Response;
use net::schema;
use net::writer::Writer;
use proptest::prelude::{any, proptest};

use crate::message::{Random, generated_versions, message};

pub(crate) fn header(api: ApiKey, version: i16) -> RequestHeader {
    RequestHeader { api, version, correlation_id: 1, client_id: None }
}

fn request_bytes(version: i16, request: &Request) -> Vec<u8> {
    match request {
        Request::Produce(_) | Request::Fetch(_) | Request::UnknownApiVersions => Vec::new(),
        Request::ListOffsets(body) => encoded(version, body),
        Request::Metadata(body) => encoded(version, body),
        Request::ApiVersions(body) => encoded(version, body),
        Request::CreateTopics(body) => encoded(version, body),
        Request::DeleteTopics(body) => encoded(version, body),
        Request::DeleteRecords(body) => encoded(version, body),
        Request::InitProducerId(body) => encoded(version, body),
        Request::OffsetForLeaderEpoch(body) => encoded(version, body),
        Request::DescribeConfigs(body) => encoded(version, body),
        Request::AlterConfigs(body) => encoded(version, body),
        Request::DescribeLogDirs(body) => encoded(version, body),
        Request::CreatePartitions(body) => encoded(version, body),
        Request::IncrementalAlterConfigs(body) => encoded(version, body),
        Request::DescribeCluster(body) => encoded(version, body),
        Request::OffsetCommit(body) if version >= TOPIC_IDS_FROM => {
            by_hand(|writer| group_offsets::encode_commit(writer, body))
        }
        Request::OffsetFetch(body) if version >= TOPIC_IDS_FROM => {
            by_hand(|writer| group_offsets::encode_fetch(writer, body))
        }
        Request::OffsetCommit(body) => encoded(version, body),
        Request::OffsetFetch(body) => encoded(version, body),
        Request::FindCoordinator(body) => encoded(version, body),
        Request::JoinGroup(body) => encoded(version, body),
        Request::Heartbeat(body) => encoded(version, body),
        Request::LeaveGroup(body) => encoded(version, body),
        Request::SyncGroup(body) => encoded(version, body),
        Request::DescribeGroups(body) => encoded(version, body),
        Request::ListGroups(body) => encoded(version, body),
        Request::DeleteGroups(body) => encoded(version, body),
        Request::OffsetDelete(body) => encoded(version, body),
        Request::DescribeClientQuotas(body) => encoded(version, body),
        Request::AlterClientQuotas(body) => encoded(version, body),
        Request::DescribeUserScramCredentials(body) => encoded(version, body),
        Request::AlterReplicaLogDirs(body) => encoded(version, body),
        Request::ElectLeaders(body) => encoded(version, body),
        Request::AlterPartitionReassignments(body) => encoded(version, body),
        Request::ListPartitionReassignments(body) => encoded(version, body),
        Request::DescribeQuorum(body) => encoded(version, body),
        Request::UpdateFeatures(body) => encoded(version, body),
        Request::ConsumerGroupHeartbeat(body) => encoded(version, body),
        Request::ConsumerGroupDescribe(body) => encoded(version, body),
        Request::DescribeProducers(body) => encoded(version, body),
        Request::ListConfigResources(body) => encoded(version, body),
        Request::DescribeTopicPartitions(body) => encoded(version, body),
    }
}

fn by_hand(encode: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(Layout::Flexible);
    encode(&mut writer);
    writer.into_bytes()
}

fn encoded(version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.encode(&mut bytes, version).expect("a decoded message is sound");
    bytes
}

/// A response as a client of ours decodes it. `None` of Metadata's and DescribeConfigs': the broker writes none
/// from a struct, and what it writes is compared with generated code in `net/src/{metadata,items}.rs`.
pub(crate) fn response(
    api: ApiKey,
    version: i16,
    body: &Bytes,
) -> Result<Option<Response<Bytes>>, DecodeError> {
    Ok(Some(match api {
        ApiKey::Produce => Response::Produce(net::client::decode_produce(version, body)?),
        ApiKey::Fetch => Response::Fetch(net::client::decode_fetch(version, body)?),
        ApiKey::ListOffsets => Response::ListOffsets(read(api, version, body)?),
        ApiKey::Metadata => return read::<MetadataResponse>(api, version, body).map(|_| None),
        ApiKey::ApiVersions => Response::ApiVersions(read(api, version, body)?),
        ApiKey::CreateTopics => Response::CreateTopics(read(api, version, body)?),
        ApiKey::DeleteTopics => Response::DeleteTopics(read(api, version, body)?),
        ApiKey::DeleteRecords => Response::DeleteRecords(read(api, version, body)?),
        ApiKey::InitProducerId => Response::InitProducerId(read(api, version, body)?),
        ApiKey::OffsetForLeaderEpoch => Response::OffsetForLeaderEpoch(read(api, version, body)?),
        ApiKey::DescribeConfigs => {
            return read::<DescribeConfigsResponse>(api, version, body).map(|_| None);
        }
        ApiKey::AlterConfigs => Response::AlterConfigs(read(api, version, body)?),
        // Generated code cannot read it: `log_dirs` has a test of its own.
        ApiKey::DescribeLogDirs if version == CORDONED_FROM => {
            let schema = schema::response::schema(api).expect("it is spoken");
            let layout = api.layout(version);
            return schema::canonical(schema, version, layout, body, ELEMENTS_MAX).map(|_| None);
        }
        ApiKey::DescribeLogDirs => Response::DescribeLogDirs(read(api, version, body)?),
        ApiKey::CreatePartitions => Response::CreatePartitions(read(api, version, body)?),
        ApiKey::IncrementalAlterConfigs => {
            Response::IncrementalAlterConfigs(read(api, version, body)?)
        }
        ApiKey::DescribeCluster => Response::DescribeCluster(read(api, version, body)?),
        ApiKey::OffsetCommit => Response::OffsetCommit(read(api, version, body)?),
        ApiKey::OffsetFetch => Response::OffsetFetch(read(api, version, body)?),
        ApiKey::FindCoordinator => Response::FindCoordinator(read(api, version, body)?),
        ApiKey::JoinGroup => Response::JoinGroup(read(api, version, body)?),
        ApiKey::Heartbeat => Response::Heartbeat(read(api, version, body)?),
        ApiKey::LeaveGroup => Response::LeaveGroup(read(api, version, body)?),
        ApiKey::SyncGroup => Response::SyncGroup(read(api, version, body)?),
        ApiKey::DescribeGroups => Response::DescribeGroups(read(api, version, body)?),
        ApiKey::ListGroups => Response::ListGroups(read(api, version, body)?),
        ApiKey::DeleteGroups => Response::DeleteGroups(read(api, version, body)?),
        ApiKey::OffsetDelete => Response::OffsetDelete(read(api, version, body)?),
        ApiKey::DescribeClientQuotas => Response::DescribeClientQuotas(read(api, version, body)?),
        ApiKey::AlterClientQuotas => Response::AlterClientQuotas(read(api, version, body)?),
        ApiKey::DescribeUserScramCredentials => {
            Response::DescribeUserScramCredentials(read(api, version, body)?)
        }
        ApiKey::AlterReplicaLogDirs => Response::AlterReplicaLogDirs(read(api, version, body)?),
        ApiKey::ElectLeaders => Response::ElectLeaders(read(api, version, body)?),
        ApiKey::AlterPartitionReassignments => {
            Response::AlterPartitionReassignments(read(api, version, body)?)
        }
        ApiKey::ListPartitionReassignments => {
            Response::ListPartitionReassignments(read(api, version, body)?)
        }
        ApiKey::DescribeQuorum => Response::DescribeQuorum(read(api, version, body)?),
        ApiKey::UpdateFeatures => Response::UpdateFeatures(read(api, version, body)?),
        ApiKey::ConsumerGroupHeartbeat => {
            Response::ConsumerGroupHeartbeat(read(api, version, body)?)
        }
        ApiKey::ConsumerGroupDescribe => Response::ConsumerGroupDescribe(read(api, version, body)?),
        ApiKey::DescribeProducers => Response::DescribeProducers(read(api, version, body)?),
        ApiKey::ListConfigResources => Response::ListConfigResources(read(api, version, body)?),
        ApiKey::DescribeTopicPartitions => {
            Response::DescribeTopicPartitions(read(api, version, body)?)
        }
    }))
}

/// What is sent after the header.
fn body(response: Response<Bytes>, version: i16) -> Bytes {
    let api = response.api();
    let pieces = response.encode(Reply { api, version, correlation_id: 7 }).expect("short texts");
    let [Piece::Bytes(frame)] = pieces.as_slice() else { panic!("one piece") };
    let (correlation_id, body) =
        net::client::split_response(api, version, &frame.slice(4..)).expect("a frame of ours");
    assert_eq!(correlation_id, 7);
    body
}

proptest! {
    #[test]
    fn a_request_is_what_the_generated_code_reads(seed in any::<u64>()) {
        let mut random = Random(seed);
        for (api, version) in generated_versions() {
            let schema = schema::request::schema(api).unwrap();
            let message = message(schema, version, api.layout(version), &mut random);
            let clean = Bytes::from(message.clean);

            let request = Request::decode(&header(api, version), &clean).unwrap();
            let known = api.generated_version(version);
            assert!(request_bytes(known, &request) == clean, "{api:?} {version}");

            let noisy = Bytes::from([message.noisy, b"and more".to_vec()].concat());
            let same = Request::decode(&header(api, version), &noisy).unwrap();
            assert!(request_bytes(known, &same) == clean, "{api:?} {version}");
        }
    }

    #[test]
    fn a_response_is_what_the_generated_code_writes(seed in any::<u64>()) {
        let mut random = Random(seed);
        for (api, version) in generated_versions() {
            let schema = schema::response::schema(api).unwrap();
            let message = message(schema, version, api.layout(version), &mut random);
            let clean = Bytes::from(message.clean);

            let decoded = response(api, version, &clean).unwrap();
            let same = response(api, version, &Bytes::from(message.noisy)).unwrap();
            let Some((mut decoded, same)) = decoded.zip(same) else { continue };
            assert!(body(decoded.clone(), version) == clean, "{api:?} {version}");
            assert!(body(same, version) == clean, "{api:?} {version}");
            decoded.set_throttle_ms(7);
            assert_eq!(body(decoded, version).len(), clean.len(), "{api:?} {version}");
        }
    }
}
