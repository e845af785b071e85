//! The error codes that an answer carries, wherever its API has them. For who counts them.

use crate::error_code::ErrorCode;
use crate::response::Response;

impl<R> Response<R> {
    /// Gives every code in the answer, also that there was no error.
    pub fn codes(&self, mut each: impl FnMut(ErrorCode)) {
        let mut raw = |code: i16| each(ErrorCode::new(code));
        match self {
            Self::Produce(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| each(it.error));
            }
            Self::Fetch(body) => {
                each(body.error);
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| each(it.error));
            }
            Self::ListOffsets(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| raw(it.error_code));
            }
            Self::DeleteRecords(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| raw(it.error_code));
            }
            Self::OffsetForLeaderEpoch(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| raw(it.error_code));
            }
            Self::Metadata(body) => {
                raw(body.error_code);
                body.topics.iter().for_each(|it| raw(it.error_code));
            }
            Self::DescribeLogDirs(body) => {
                raw(body.error_code);
                body.results.iter().for_each(|it| raw(it.error_code));
            }
            Self::CreateTopics(body) => body.topics.iter().for_each(|it| raw(it.error_code)),
            Self::DeleteTopics(body) => body.responses.iter().for_each(|it| raw(it.error_code)),
            Self::CreatePartitions(body) => body.results.iter().for_each(|it| raw(it.error_code)),
            Self::DescribeConfigs(body) => body.results.iter().for_each(|it| raw(it.error_code)),
            Self::AlterConfigs(body) => body.responses.iter().for_each(|it| raw(it.error_code)),
            Self::IncrementalAlterConfigs(body) => {
                body.responses.iter().for_each(|it| raw(it.error_code));
            }
            Self::ApiVersions(body) => raw(body.error_code),
            Self::InitProducerId(body) => raw(body.error_code),
            Self::DescribeCluster(body) => raw(body.error_code),
            Self::JoinGroup(body) => raw(body.error_code),
            Self::SyncGroup(body) => raw(body.error_code),
            Self::Heartbeat(body) => raw(body.error_code),
            Self::ListGroups(body) => raw(body.error_code),
            Self::LeaveGroup(body) => {
                raw(body.error_code);
                body.members.iter().for_each(|it| raw(it.error_code));
            }
            Self::FindCoordinator(body) => {
                raw(body.error_code);
                body.coordinators.iter().for_each(|it| raw(it.error_code));
            }
            Self::DescribeGroups(body) => body.groups.iter().for_each(|it| raw(it.error_code)),
            Self::DeleteGroups(body) => body.results.iter().for_each(|it| raw(it.error_code)),
            Self::OffsetDelete(body) => {
                raw(body.error_code);
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| raw(it.error_code));
            }
            Self::OffsetCommit(body) => {
                let partitions = body.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|it| raw(it.error_code));
            }
            Self::OffsetFetch(body) => {
                raw(body.error_code);
                body.groups.iter().for_each(|it| raw(it.error_code));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
    use kafka_protocol::messages::{InitProducerIdResponse, ListOffsetsResponse, MetadataResponse};
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
        let topic = |code| MetadataResponseTopic::default().with_error_code(code);
        let body = MetadataResponse::default().with_topics(vec![topic(0), topic(17)]);
        check(&Response::Metadata(body), &[0, 0, 17]);
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
