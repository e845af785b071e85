//! The error codes that an answer carries, wherever its API has them. For who counts them.

use kafka_protocol::messages::ElectLeadersResponse;

use crate::error_code::ErrorCode;
use crate::fetch::FetchResponse;
use crate::produce::ProduceResponse;
use crate::response::Response;

/// The codes of a list.
macro_rules! codes {
    ($list:expr, $each:ident) => {
        $list.iter().for_each(|it| $each(it.error_code))
    };
}

/// The code of the whole answer, and those of a list in it.
macro_rules! all_codes {
    ($body:ident . $list:ident, $each:ident) => {{
        $each($body.error_code);
        codes!($body.$list, $each);
    }};
}

/// The codes of the partitions of topics.
macro_rules! partition_codes {
    ($topics:expr, $each:ident) => {
        $topics.iter().flat_map(|it| &it.partitions).for_each(|it| $each(it.error_code))
    };
}

impl<R> Response<R> {
    /// Gives every code in the answer, also that there was no error.
    pub fn codes(&self, mut each: impl FnMut(ErrorCode)) {
        let mut raw = |code: i16| each(ErrorCode::new(code));
        match self {
            Self::Produce(body) => produce_codes(body, each),
            Self::Fetch(body) => fetch_codes(body, each),
            Self::ListOffsets(body) => partition_codes!(body.topics, raw),
            Self::DeleteRecords(body) => partition_codes!(body.topics, raw),
            Self::OffsetForLeaderEpoch(body) => partition_codes!(body.topics, raw),
            Self::DescribeLogDirs(body) => all_codes!(body.results, raw),
            Self::CreateTopics(body) => codes!(body.topics, raw),
            Self::DeleteTopics(body) => codes!(body.responses, raw),
            Self::CreatePartitions(body) => codes!(body.results, raw),
            Self::AlterConfigs(body) => codes!(body.responses, raw),
            Self::IncrementalAlterConfigs(body) => codes!(body.responses, raw),
            Self::ApiVersions(body) => raw(body.error_code),
            Self::InitProducerId(body) => raw(body.error_code),
            Self::DescribeCluster(body) => raw(body.error_code),
            Self::JoinGroup(body) => raw(body.error_code),
            Self::SyncGroup(body) => raw(body.error_code),
            Self::Heartbeat(body) => raw(body.error_code),
            Self::ListGroups(body) => raw(body.error_code),
            Self::LeaveGroup(body) => all_codes!(body.members, raw),
            Self::FindCoordinator(body) => all_codes!(body.coordinators, raw),
            Self::DescribeGroups(body) => codes!(body.groups, raw),
            Self::DeleteGroups(body) => codes!(body.results, raw),
            Self::OffsetDelete(body) => {
                raw(body.error_code);
                partition_codes!(body.topics, raw);
            }
            Self::DescribeClientQuotas(body) => raw(body.error_code),
            Self::AlterClientQuotas(body) => codes!(body.entries, raw),
            Self::DescribeUserScramCredentials(body) => all_codes!(body.results, raw),
            Self::AlterReplicaLogDirs(body) => partition_codes!(body.results, raw),
            Self::ElectLeaders(body) => election_codes(body, raw),
            Self::AlterPartitionReassignments(body) => {
                raw(body.error_code);
                partition_codes!(body.responses, raw);
            }
            Self::ListPartitionReassignments(body) => raw(body.error_code),
            Self::DescribeQuorum(body) => {
                raw(body.error_code);
                partition_codes!(body.topics, raw);
            }
            Self::UpdateFeatures(body) => raw(body.error_code),
            Self::ConsumerGroupHeartbeat(body) => raw(body.error_code),
            Self::ConsumerGroupDescribe(body) => codes!(body.groups, raw),
            Self::DescribeProducers(body) => partition_codes!(body.topics, raw),
            Self::ListConfigResources(body) => raw(body.error_code),
            Self::DescribeTopicPartitions(body) => codes!(body.topics, raw),
            Self::OffsetCommit(body) => partition_codes!(body.topics, raw),
            Self::OffsetFetch(body) => all_codes!(body.groups, raw),
        }
    }
}

fn election_codes(body: &ElectLeadersResponse, mut raw: impl FnMut(i16)) {
    raw(body.error_code);
    let topics = body.replica_election_results.iter();
    topics.flat_map(|it| &it.partition_result).for_each(|it| raw(it.error_code));
}

fn produce_codes(body: &ProduceResponse, each: impl FnMut(ErrorCode)) {
    body.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error).for_each(each);
}

fn fetch_codes<R>(body: &FetchResponse<R>, mut each: impl FnMut(ErrorCode)) {
    each(body.error);
    body.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error).for_each(each);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::leave_group_response::MemberResponse;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::messages::{
        InitProducerIdResponse, LeaveGroupResponse, ListOffsetsResponse,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::Response;
    use crate::error_code::ErrorCode;
    use crate::fetch::{FetchResponse, FetchedPartition};
    use crate::topic::TopicRef;

    #[track_caller]
    fn check(response: &Response<Bytes>, want: &[i16]) {
        let mut codes = Vec::new();
        response.codes(|code| codes.push(code.get()));
        assert_eq!(codes, want);
    }

    #[test]
    fn a_code_is_found_wherever_it_is() {
        check(
            &Response::InitProducerId(InitProducerIdResponse::default().with_error_code(3)),
            &[3],
        );
        let member = |code| MemberResponse::default().with_error_code(code);
        let body = LeaveGroupResponse::default().with_members(vec![member(0), member(25)]);
        check(&Response::LeaveGroup(body), &[0, 0, 25]);
        let partition = ListOffsetsPartitionResponse::default().with_error_code(42);
        let topic = ListOffsetsTopicResponse::default().with_partitions(vec![partition]);
        let body = ListOffsetsResponse::default().with_topics(vec![topic.clone(), topic]);
        check(&Response::ListOffsets(body), &[42, 42]);
        let mut body = FetchResponse::empty(ErrorCode::NONE, 0);
        let topic = TopicRef::Name(StrBytes::from_static_str("t"));
        body.push(&topic, FetchedPartition::refused(0, ErrorCode::OFFSET_OUT_OF_RANGE));
        check(&Response::Fetch(body), &[0, 1]);
    }
}
