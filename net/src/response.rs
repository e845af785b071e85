//! One response, whatever its API.
//!
//! Knows no request but what `Reply` says of it.

mod codes;
mod throttle;

use kafka_protocol::messages::{
    AlterClientQuotasResponse, AlterConfigsResponse, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsResponse, ApiVersionsResponse, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteGroupsResponse, DeleteRecordsResponse, DeleteTopicsResponse,
    DescribeClientQuotasResponse, DescribeClusterResponse, DescribeGroupsResponse,
    DescribeLogDirsResponse, DescribeProducersResponse, DescribeQuorumResponse,
    DescribeTopicPartitionsResponse, DescribeUserScramCredentialsResponse, ElectLeadersResponse,
    FindCoordinatorResponse, HeartbeatResponse, IncrementalAlterConfigsResponse,
    InitProducerIdResponse, JoinGroupResponse, LeaveGroupResponse, ListConfigResourcesResponse,
    ListGroupsResponse, ListOffsetsResponse, ListPartitionReassignmentsResponse,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse, OffsetForLeaderEpochResponse,
    SyncGroupResponse, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::fetch::FetchResponse;
use crate::header::Reply;
use crate::log_dirs;
use crate::outgoing::{Inexpressible, Outgoing, Piece};
use crate::produce::ProduceResponse;

/// All but those of Produce and Fetch are Kafka's generated structs. `R` is where records lie. Those of Metadata
/// and DescribeConfigs are not here: they are never in one piece (`metadata.rs`, `items.rs`).
#[derive(Clone, Debug, PartialEq)]
pub enum Response<R> {
    Produce(ProduceResponse),
    Fetch(FetchResponse<R>),
    ListOffsets(ListOffsetsResponse),
    ApiVersions(ApiVersionsResponse),
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    DeleteRecords(DeleteRecordsResponse),
    InitProducerId(InitProducerIdResponse),
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    AlterConfigs(AlterConfigsResponse),
    DescribeLogDirs(DescribeLogDirsResponse),
    CreatePartitions(CreatePartitionsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    DescribeCluster(DescribeClusterResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    FindCoordinator(FindCoordinatorResponse),
    JoinGroup(JoinGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    SyncGroup(SyncGroupResponse),
    DescribeGroups(DescribeGroupsResponse),
    ListGroups(ListGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    OffsetDelete(OffsetDeleteResponse),
    DescribeClientQuotas(DescribeClientQuotasResponse),
    AlterClientQuotas(AlterClientQuotasResponse),
    DescribeUserScramCredentials(DescribeUserScramCredentialsResponse),
    AlterReplicaLogDirs(AlterReplicaLogDirsResponse),
    ElectLeaders(ElectLeadersResponse),
    AlterPartitionReassignments(AlterPartitionReassignmentsResponse),
    ListPartitionReassignments(ListPartitionReassignmentsResponse),
    DescribeQuorum(DescribeQuorumResponse),
    UpdateFeatures(UpdateFeaturesResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(ConsumerGroupDescribeResponse),
    DescribeProducers(DescribeProducersResponse),
    ListConfigResources(ListConfigResourcesResponse),
    DescribeTopicPartitions(DescribeTopicPartitionsResponse),
}

impl<R> Response<R> {
    #[must_use]
    pub const fn api(&self) -> ApiKey {
        match self {
            Self::Produce(_) => ApiKey::Produce,
            Self::Fetch(_) => ApiKey::Fetch,
            Self::ListOffsets(_) => ApiKey::ListOffsets,
            Self::ApiVersions(_) => ApiKey::ApiVersions,
            Self::CreateTopics(_) => ApiKey::CreateTopics,
            Self::DeleteTopics(_) => ApiKey::DeleteTopics,
            Self::DeleteRecords(_) => ApiKey::DeleteRecords,
            Self::InitProducerId(_) => ApiKey::InitProducerId,
            Self::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
            Self::AlterConfigs(_) => ApiKey::AlterConfigs,
            Self::DescribeLogDirs(_) => ApiKey::DescribeLogDirs,
            Self::CreatePartitions(_) => ApiKey::CreatePartitions,
            Self::IncrementalAlterConfigs(_) => ApiKey::IncrementalAlterConfigs,
            Self::DescribeCluster(_) => ApiKey::DescribeCluster,
            Self::OffsetCommit(_) => ApiKey::OffsetCommit,
            Self::OffsetFetch(_) => ApiKey::OffsetFetch,
            Self::FindCoordinator(_) => ApiKey::FindCoordinator,
            Self::JoinGroup(_) => ApiKey::JoinGroup,
            Self::Heartbeat(_) => ApiKey::Heartbeat,
            Self::LeaveGroup(_) => ApiKey::LeaveGroup,
            Self::SyncGroup(_) => ApiKey::SyncGroup,
            Self::DescribeGroups(_) => ApiKey::DescribeGroups,
            Self::ListGroups(_) => ApiKey::ListGroups,
            Self::DeleteGroups(_) => ApiKey::DeleteGroups,
            Self::OffsetDelete(_) => ApiKey::OffsetDelete,
            Self::DescribeClientQuotas(_) => ApiKey::DescribeClientQuotas,
            Self::AlterClientQuotas(_) => ApiKey::AlterClientQuotas,
            Self::DescribeUserScramCredentials(_) => ApiKey::DescribeUserScramCredentials,
            Self::AlterReplicaLogDirs(_) => ApiKey::AlterReplicaLogDirs,
            Self::ElectLeaders(_) => ApiKey::ElectLeaders,
            Self::AlterPartitionReassignments(_) => ApiKey::AlterPartitionReassignments,
            Self::ListPartitionReassignments(_) => ApiKey::ListPartitionReassignments,
            Self::DescribeQuorum(_) => ApiKey::DescribeQuorum,
            Self::UpdateFeatures(_) => ApiKey::UpdateFeatures,
            Self::ConsumerGroupHeartbeat(_) => ApiKey::ConsumerGroupHeartbeat,
            Self::ConsumerGroupDescribe(_) => ApiKey::ConsumerGroupDescribe,
            Self::DescribeProducers(_) => ApiKey::DescribeProducers,
            Self::ListConfigResources(_) => ApiKey::ListConfigResources,
            Self::DescribeTopicPartitions(_) => ApiKey::DescribeTopicPartitions,
        }
    }

    /// The frame to send. Fields that the version does not have are left out.
    ///
    /// # Errors
    /// If a text is longer than the version can carry, or all than a frame can: close the connection.
    ///
    /// # Panics
    /// If it answers a request of another API.
    pub fn encode(self, reply: Reply) -> Result<Vec<Piece<R>>, Inexpressible> {
        assert!(self.api() == reply.api, "an answer is of the API that was asked");
        let mut frame = Outgoing::response(reply);
        match self {
            Self::Produce(body) => body.encode(frame.writer(), reply.version),
            Self::Fetch(body) => body.encode(&mut frame, reply.version),
            Self::ListOffsets(mut body) => {
                fit_list_offsets(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::CreateTopics(body) => generated(&mut frame, reply, &body)?,
            Self::DeleteTopics(mut body) => {
                fit_delete_topics(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::DescribeCluster(mut body) => {
                fit_describe_cluster(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::ApiVersions(body) => generated(&mut frame, reply, &body)?,
            Self::DeleteRecords(body) => generated(&mut frame, reply, &body)?,
            Self::InitProducerId(body) => generated(&mut frame, reply, &body)?,
            Self::OffsetForLeaderEpoch(body) => generated(&mut frame, reply, &body)?,
            Self::AlterConfigs(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeLogDirs(body) => log_dirs::encode(&body, &mut frame, reply)?,
            Self::CreatePartitions(body) => generated(&mut frame, reply, &body)?,
            Self::IncrementalAlterConfigs(body) => generated(&mut frame, reply, &body)?,
            Self::OffsetCommit(body) => generated(&mut frame, reply, &body)?,
            Self::OffsetFetch(body) => generated(&mut frame, reply, &body)?,
            Self::FindCoordinator(body) => generated(&mut frame, reply, &body)?,
            Self::JoinGroup(mut body) => {
                fit_join_group(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::Heartbeat(body) => generated(&mut frame, reply, &body)?,
            Self::LeaveGroup(body) => generated(&mut frame, reply, &body)?,
            Self::SyncGroup(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeGroups(body) => generated(&mut frame, reply, &body)?,
            Self::ListGroups(body) => generated(&mut frame, reply, &body)?,
            Self::DeleteGroups(body) => generated(&mut frame, reply, &body)?,
            Self::OffsetDelete(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeClientQuotas(body) => generated(&mut frame, reply, &body)?,
            Self::AlterClientQuotas(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeUserScramCredentials(body) => generated(&mut frame, reply, &body)?,
            Self::AlterReplicaLogDirs(body) => generated(&mut frame, reply, &body)?,
            Self::ElectLeaders(mut body) => {
                fit_elect_leaders(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::AlterPartitionReassignments(body) => generated(&mut frame, reply, &body)?,
            Self::ListPartitionReassignments(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeQuorum(mut body) => {
                fit_describe_quorum(&mut body, reply.version);
                generated(&mut frame, reply, &body)?;
            }
            Self::UpdateFeatures(body) => generated(&mut frame, reply, &body)?,
            Self::ConsumerGroupHeartbeat(body) => generated(&mut frame, reply, &body)?,
            Self::ConsumerGroupDescribe(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeProducers(body) => generated(&mut frame, reply, &body)?,
            Self::ListConfigResources(body) => generated(&mut frame, reply, &body)?,
            Self::DescribeTopicPartitions(body) => generated(&mut frame, reply, &body)?,
        }
        frame.finish()
    }
}

fn generated<R>(
    frame: &mut Outgoing<R>,
    reply: Reply,
    body: &impl Encodable,
) -> Result<(), Inexpressible> {
    let version = reply.api.generated_version(reply.version);
    body.encode(frame.writer().buffer(), version).or(Err(Inexpressible))
}

// The generated encoders refuse a field that is set and that the version does not have, and write a
// null where the version has none, which the Java client does not read.

fn fit_list_offsets(body: &mut ListOffsetsResponse, version: i16) {
    if version < 4 {
        let partitions = body.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.for_each(|partition| partition.leader_epoch = -1);
    }
}

fn fit_delete_topics(body: &mut DeleteTopicsResponse, version: i16) {
    if version < 6 {
        body.responses.iter_mut().for_each(|topic| {
            topic.name.get_or_insert_default();
        });
    }
}

fn fit_describe_cluster(body: &mut DescribeClusterResponse, version: i16) {
    if version < 1 {
        body.endpoint_type = 1;
    }
    if version < 2 {
        body.brokers.iter_mut().for_each(|broker| broker.is_fenced = false);
    }
}

fn fit_join_group(body: &mut JoinGroupResponse, version: i16) {
    if version < 7 {
        body.protocol_name.get_or_insert_default();
    }
    if version < 9 {
        body.skip_assignment = false;
    }
}

fn fit_elect_leaders(body: &mut ElectLeadersResponse, version: i16) {
    if version < 1 {
        body.error_code = 0;
    }
}

fn fit_describe_quorum(body: &mut DescribeQuorumResponse, version: i16) {
    if version < 2 {
        body.nodes.clear();
        let partitions = body.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for replica in
            partitions.flat_map(|it| it.current_voters.iter_mut().chain(&mut it.observers))
        {
            replica.replica_directory_id = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
    use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::messages::{
        DeleteTopicsResponse, DescribeClusterResponse, FindCoordinatorResponse, ListOffsetsResponse,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::Response;
    use crate::codec::ELEMENTS_MAX;
    use crate::header::{Reply, read_response};
    use crate::outgoing::{Inexpressible, Piece};
    use crate::schema;

    /// Encodes in every version, and reads it back as strictly as the strictest client.
    #[track_caller]
    fn check(response: &Response<Bytes>) {
        let api = response.api();
        for version in api.api().working_first..=api.api().last {
            let pieces = response.clone().encode(Reply { api, version, correlation_id: 5 });
            let pieces = pieces.expect("every version can say it");
            let [Piece::Bytes(frame)] = pieces.as_slice() else { panic!("one piece") };
            let (_, body) = read_response(&frame.slice(4..), api, version).unwrap();
            let schema = schema::response::schema(api).unwrap();
            let sound =
                schema::canonical(schema, version, api.layout(version), &body, ELEMENTS_MAX)
                    .map(|it| it.0);
            assert_eq!(sound.as_ref(), Ok(&body), "version {version}");
        }
    }

    #[test]
    fn fields_and_nulls_fit_every_version() {
        let topic = DeletableTopicResult::default().with_name(None);
        check(&Response::DeleteTopics(DeleteTopicsResponse::default().with_responses(vec![topic])));

        let partition = ListOffsetsPartitionResponse::default().with_leader_epoch(4);
        let topic = ListOffsetsTopicResponse::default().with_partitions(vec![partition]);
        check(&Response::ListOffsets(ListOffsetsResponse::default().with_topics(vec![topic])));

        let broker = DescribeClusterBroker::default().with_is_fenced(true);
        let body = DescribeClusterResponse::default();
        check(&Response::DescribeCluster(body.with_endpoint_type(2).with_brokers(vec![broker])));
    }

    #[test]
    fn a_text_too_long_for_its_version_is_no_crash() {
        let long = StrBytes::from_string("x".repeat(40_000));
        let body = FindCoordinatorResponse::default().with_error_message(Some(long));
        let response = Response::<Bytes>::FindCoordinator(body);
        let reply = Reply { api: response.api(), version: 1, correlation_id: 0 };
        assert_eq!(response.encode(reply), Err(Inexpressible));
    }
}
