//! ElectLeaders, and reassignments of partitions: where replicas are and who leads. The rules are
//! `replication`'s.

use std::rc::Rc;

use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use replication::reassignment;
use replication::refusal::Refusal;

use crate::handler::{Pauses, reason_code, text};
use crate::io::Io;
use crate::shard::Shard;

/// The preferred leader, or any that is there.
const ELECTION_TYPES: [i8; 2] = [0, 1];

pub async fn elect<I: Io>(
    shard: &Rc<Shard<I>>,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let is_known = ELECTION_TYPES.contains(&request.election_type);
    let code = if is_known { ErrorCode::NONE } else { ErrorCode::INVALID_REQUEST };
    let response = ElectLeadersResponse::default().with_error_code(code.get());
    let image = shard.image();
    let Some(asked) = request.topic_partitions else {
        // Of all partitions, those are named that have another leader now.
        let unchanged = |name: &str| {
            ReplicaElectionResult::default().with_topic(TopicName(text(name.to_owned())))
        };
        let topics = image.topics().filter(|_| is_known).map(|it| unchanged(it.name().as_str()));
        return response.with_replica_election_results(topics.collect());
    };
    let mut pauses = Pauses::new(&shard.io);
    let mut results = Vec::with_capacity(asked.len());
    for topic in asked {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for index in topic.partitions {
            pauses.next().await;
            let (code, message) = if is_known {
                explain(reassignment::elect(&image, &topic.topic, index))
            } else {
                let message = format!("Unknown election type {}", request.election_type);
                (ErrorCode::INVALID_REQUEST, Some(text(message)))
            };
            let result = PartitionResult::default().with_partition_id(index);
            partitions.push(result.with_error_code(code.get()).with_error_message(message));
        }
        let result = ReplicaElectionResult::default().with_topic(topic.topic);
        results.push(result.with_partition_result(partitions));
    }
    response.with_replica_election_results(results)
}

pub async fn reassign<I: Io>(
    shard: &Rc<Shard<I>>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = shard.image();
    let mut pauses = Pauses::new(&shard.io);
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pauses.next().await;
            let nodes: Option<Vec<i32>> =
                asked.replicas.map(|nodes| nodes.into_iter().map(|node| node.0).collect());
            let index = asked.partition_index;
            let result = reassignment::reassign(&image, &topic.name, index, nodes.as_deref());
            let (code, message) = result.map_or_else(explain, |()| (ErrorCode::NONE, None));
            let response = ReassignablePartitionResponse::default().with_partition_index(index);
            partitions.push(response.with_error_code(code.get()).with_error_message(message));
        }
        let response = ReassignableTopicResponse::default().with_name(topic.name);
        responses.push(response.with_partitions(partitions));
    }
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_message(None)
        .with_responses(responses)
}

/// None is ever under way.
#[must_use]
pub fn list_reassignments() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}

fn explain(refusal: Refusal) -> (ErrorCode, Option<StrBytes>) {
    let message = (!refusal.message.is_empty()).then(|| text(refusal.message));
    (reason_code(refusal.reason), message)
}
