//! How long a client is asked to wait with its next request, wherever its answer has a place for it.

use crate::response::Response;

impl<R> Response<R> {
    /// Milliseconds. Versions of an API that have no place for it leave it out.
    pub fn set_throttle_ms(&mut self, throttle_ms: i32) {
        *match self {
            Self::Produce(body) => &mut body.throttle_ms,
            Self::Fetch(body) => &mut body.throttle_ms,
            Self::ListOffsets(body) => &mut body.throttle_time_ms,
            Self::ApiVersions(body) => &mut body.throttle_time_ms,
            Self::CreateTopics(body) => &mut body.throttle_time_ms,
            Self::DeleteTopics(body) => &mut body.throttle_time_ms,
            Self::DeleteRecords(body) => &mut body.throttle_time_ms,
            Self::InitProducerId(body) => &mut body.throttle_time_ms,
            Self::OffsetForLeaderEpoch(body) => &mut body.throttle_time_ms,
            Self::AlterConfigs(body) => &mut body.throttle_time_ms,
            Self::DescribeLogDirs(body) => &mut body.throttle_time_ms,
            Self::CreatePartitions(body) => &mut body.throttle_time_ms,
            Self::IncrementalAlterConfigs(body) => &mut body.throttle_time_ms,
            Self::DescribeCluster(body) => &mut body.throttle_time_ms,
            Self::OffsetCommit(body) => &mut body.throttle_time_ms,
            Self::OffsetFetch(body) => &mut body.throttle_time_ms,
            Self::FindCoordinator(body) => &mut body.throttle_time_ms,
            Self::JoinGroup(body) => &mut body.throttle_time_ms,
            Self::Heartbeat(body) => &mut body.throttle_time_ms,
            Self::LeaveGroup(body) => &mut body.throttle_time_ms,
            Self::SyncGroup(body) => &mut body.throttle_time_ms,
            Self::DescribeGroups(body) => &mut body.throttle_time_ms,
            Self::ListGroups(body) => &mut body.throttle_time_ms,
            Self::DeleteGroups(body) => &mut body.throttle_time_ms,
            Self::OffsetDelete(body) => &mut body.throttle_time_ms,
            Self::DescribeClientQuotas(body) => &mut body.throttle_time_ms,
            Self::AlterClientQuotas(body) => &mut body.throttle_time_ms,
            Self::DescribeUserScramCredentials(body) => &mut body.throttle_time_ms,
            Self::AlterReplicaLogDirs(body) => &mut body.throttle_time_ms,
            Self::ElectLeaders(body) => &mut body.throttle_time_ms,
            Self::AlterPartitionReassignments(body) => &mut body.throttle_time_ms,
            Self::ListPartitionReassignments(body) => &mut body.throttle_time_ms,
            Self::DescribeQuorum(_) => return, // In no version.
            Self::UpdateFeatures(body) => &mut body.throttle_time_ms,
            Self::ConsumerGroupHeartbeat(body) => &mut body.throttle_time_ms,
            Self::ConsumerGroupDescribe(body) => &mut body.throttle_time_ms,
            Self::DescribeProducers(body) => &mut body.throttle_time_ms,
            Self::ListConfigResources(body) => &mut body.throttle_time_ms,
            Self::DescribeTopicPartitions(body) => &mut body.throttle_time_ms,
        } = throttle_ms;
    }
}
