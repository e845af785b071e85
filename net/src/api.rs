//! The APIs of Kafka that we speak, in which versions, and what each version looks like from outside.
//!
//! One table: what is advertised is what is dispatched. An API that is not here is not spoken.

use crate::codec::{DecodeError, Layout};

/// Kafka's api keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiKey {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    JoinGroup,
    Heartbeat,
    LeaveGroup,
    SyncGroup,
    DescribeGroups,
    ListGroups,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    DeleteRecords,
    InitProducerId,
    OffsetForLeaderEpoch,
    DescribeConfigs,
    AlterConfigs,
    AlterReplicaLogDirs,
    DescribeLogDirs,
    CreatePartitions,
    DeleteGroups,
    ElectLeaders,
    IncrementalAlterConfigs,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    OffsetDelete,
    DescribeClientQuotas,
    AlterClientQuotas,
    DescribeUserScramCredentials,
    DescribeQuorum,
    UpdateFeatures,
    DescribeCluster,
    DescribeProducers,
    ConsumerGroupHeartbeat,
    ConsumerGroupDescribe,
    ListConfigResources,
    DescribeTopicPartitions,
}

/// One row of the table. Versions are inclusive, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    pub code: i16,
    /// What ApiVersions says.
    pub advertised_first: i16,
    /// What is answered; below it the connection is closed.
    pub working_first: i16,
    pub last: i16,
    /// First version with varint lengths and tagged fields.
    pub flexible_from: i16,
}

/// Produce 0-2 are advertised and not answered: without them older librdkafka turns off compression
/// and idempotence (KAFKA-18659).
pub const APIS: [Api; 41] = [
    Api { advertised_first: 0, ..row(ApiKey::Produce, 0, 3, 13, 9) },
    row(ApiKey::Fetch, 1, 4, 18, 12),
    row(ApiKey::ListOffsets, 2, 1, 11, 6),
    row(ApiKey::Metadata, 3, 0, 13, 9),
    row(ApiKey::OffsetCommit, 8, 2, 10, 8),
    row(ApiKey::OffsetFetch, 9, 1, 10, 6),
    row(ApiKey::FindCoordinator, 10, 0, 6, 3),
    row(ApiKey::JoinGroup, 11, 0, 9, 6),
    row(ApiKey::Heartbeat, 12, 0, 4, 4),
    row(ApiKey::LeaveGroup, 13, 0, 5, 4),
    row(ApiKey::SyncGroup, 14, 0, 5, 4),
    row(ApiKey::DescribeGroups, 15, 0, 6, 5),
    row(ApiKey::ListGroups, 16, 0, 5, 3),
    row(ApiKey::ApiVersions, 18, 0, 4, 3),
    row(ApiKey::CreateTopics, 19, 2, 7, 5),
    row(ApiKey::DeleteTopics, 20, 1, 6, 4),
    row(ApiKey::DeleteRecords, 21, 0, 2, 2),
    row(ApiKey::InitProducerId, 22, 0, 5, 2),
    row(ApiKey::OffsetForLeaderEpoch, 23, 2, 4, 4),
    row(ApiKey::DescribeConfigs, 32, 1, 4, 4),
    row(ApiKey::AlterConfigs, 33, 0, 2, 2),
    row(ApiKey::AlterReplicaLogDirs, 34, 1, 2, 2),
    row(ApiKey::DescribeLogDirs, 35, 1, 5, 2),
    row(ApiKey::CreatePartitions, 37, 0, 3, 2),
    row(ApiKey::DeleteGroups, 42, 0, 2, 2),
    row(ApiKey::ElectLeaders, 43, 0, 2, 2),
    row(ApiKey::IncrementalAlterConfigs, 44, 0, 1, 1),
    row(ApiKey::AlterPartitionReassignments, 45, 0, 1, 0),
    row(ApiKey::ListPartitionReassignments, 46, 0, 0, 0),
    row(ApiKey::OffsetDelete, 47, 0, 0, NEVER),
    row(ApiKey::DescribeClientQuotas, 48, 0, 1, 1),
    row(ApiKey::AlterClientQuotas, 49, 0, 1, 1),
    row(ApiKey::DescribeUserScramCredentials, 50, 0, 0, 0),
    row(ApiKey::DescribeQuorum, 55, 0, 2, 0),
    row(ApiKey::UpdateFeatures, 57, 0, 2, 0),
    row(ApiKey::DescribeCluster, 60, 0, 2, 0),
    row(ApiKey::DescribeProducers, 61, 0, 0, 0),
    row(ApiKey::ConsumerGroupHeartbeat, 68, 0, 1, 0),
    row(ApiKey::ConsumerGroupDescribe, 69, 0, 1, 0),
    row(ApiKey::ListConfigResources, 74, 0, 1, 0),
    row(ApiKey::DescribeTopicPartitions, 75, 0, 0, 0),
];

/// Of an API that has no flexible version.
const NEVER: i16 = i16::MAX;

const fn row(key: ApiKey, code: i16, first: i16, last: i16, flexible_from: i16) -> Api {
    Api { key, code, advertised_first: first, working_first: first, last, flexible_from }
}

impl ApiKey {
    /// The api key on the wire.
    pub fn from_code(code: i16) -> Result<Self, DecodeError> {
        let api = APIS.iter().find(|api| api.code == code).ok_or(DecodeError::UnknownApi)?;
        Ok(api.key)
    }

    #[must_use]
    pub const fn code(self) -> i16 {
        self.api().code
    }

    #[must_use]
    pub const fn api(self) -> &'static Api {
        match self {
            Self::Produce => &APIS[0],
            Self::Fetch => &APIS[1],
            Self::ListOffsets => &APIS[2],
            Self::Metadata => &APIS[3],
            Self::OffsetCommit => &APIS[4],
            Self::OffsetFetch => &APIS[5],
            Self::FindCoordinator => &APIS[6],
            Self::JoinGroup => &APIS[7],
            Self::Heartbeat => &APIS[8],
            Self::LeaveGroup => &APIS[9],
            Self::SyncGroup => &APIS[10],
            Self::DescribeGroups => &APIS[11],
            Self::ListGroups => &APIS[12],
            Self::ApiVersions => &APIS[13],
            Self::CreateTopics => &APIS[14],
            Self::DeleteTopics => &APIS[15],
            Self::DeleteRecords => &APIS[16],
            Self::InitProducerId => &APIS[17],
            Self::OffsetForLeaderEpoch => &APIS[18],
            Self::DescribeConfigs => &APIS[19],
            Self::AlterConfigs => &APIS[20],
            Self::AlterReplicaLogDirs => &APIS[21],
            Self::DescribeLogDirs => &APIS[22],
            Self::CreatePartitions => &APIS[23],
            Self::DeleteGroups => &APIS[24],
            Self::ElectLeaders => &APIS[25],
            Self::IncrementalAlterConfigs => &APIS[26],
            Self::AlterPartitionReassignments => &APIS[27],
            Self::ListPartitionReassignments => &APIS[28],
            Self::OffsetDelete => &APIS[29],
            Self::DescribeClientQuotas => &APIS[30],
            Self::AlterClientQuotas => &APIS[31],
            Self::DescribeUserScramCredentials => &APIS[32],
            Self::DescribeQuorum => &APIS[33],
            Self::UpdateFeatures => &APIS[34],
            Self::DescribeCluster => &APIS[35],
            Self::DescribeProducers => &APIS[36],
            Self::ConsumerGroupHeartbeat => &APIS[37],
            Self::ConsumerGroupDescribe => &APIS[38],
            Self::ListConfigResources => &APIS[39],
            Self::DescribeTopicPartitions => &APIS[40],
        }
    }

    /// Whether requests of this version are answered.
    #[must_use]
    pub const fn speaks(self, version: i16) -> bool {
        let api = self.api();
        api.working_first <= version && version <= api.last
    }

    /// The version by which generated code knows the same bytes: ListOffsets 11 differs from 10 only
    /// in which times may be asked for, and the generated messages end at 10. Those of DescribeLogDirs end at 4,
    /// whose requests are those of 5; `log_dirs` has what the answers have besides.
    #[must_use]
    pub const fn generated_version(self, version: i16) -> i16 {
        match (self, version) {
            (Self::ListOffsets, 11) => 10,
            (Self::DescribeLogDirs, 5) => 4,
            _ => version,
        }
    }

    #[must_use]
    pub const fn layout(self, version: i16) -> Layout {
        Layout::of(version, self.api().flexible_from)
    }

    /// Layout of the header before a response. ApiVersions is always plain, since a client that
    /// does not know our versions yet must be able to read it.
    #[must_use]
    pub const fn response_header_layout(self, version: i16) -> Layout {
        match self {
            Self::ApiVersions => Layout::Plain,
            Self::Produce
            | Self::Fetch
            | Self::ListOffsets
            | Self::Metadata
            | Self::OffsetCommit
            | Self::OffsetFetch
            | Self::FindCoordinator
            | Self::JoinGroup
            | Self::Heartbeat
            | Self::LeaveGroup
            | Self::SyncGroup
            | Self::DescribeGroups
            | Self::ListGroups
            | Self::CreateTopics
            | Self::DeleteTopics
            | Self::DeleteRecords
            | Self::InitProducerId
            | Self::OffsetForLeaderEpoch
            | Self::DescribeConfigs
            | Self::AlterConfigs
            | Self::AlterReplicaLogDirs
            | Self::DescribeLogDirs
            | Self::CreatePartitions
            | Self::DeleteGroups
            | Self::ElectLeaders
            | Self::IncrementalAlterConfigs
            | Self::AlterPartitionReassignments
            | Self::ListPartitionReassignments
            | Self::OffsetDelete
            | Self::DescribeClientQuotas
            | Self::AlterClientQuotas
            | Self::DescribeUserScramCredentials
            | Self::DescribeQuorum
            | Self::UpdateFeatures
            | Self::ConsumerGroupHeartbeat
            | Self::ConsumerGroupDescribe
            | Self::DescribeCluster
            | Self::DescribeProducers
            | Self::ListConfigResources
            | Self::DescribeTopicPartitions => self.layout(version),
        }
    }

    /// Kafka's name of the API, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Fetch => "Fetch",
            Self::ListOffsets => "ListOffsets",
            Self::Metadata => "Metadata",
            Self::OffsetCommit => "OffsetCommit",
            Self::OffsetFetch => "OffsetFetch",
            Self::FindCoordinator => "FindCoordinator",
            Self::JoinGroup => "JoinGroup",
            Self::Heartbeat => "Heartbeat",
            Self::LeaveGroup => "LeaveGroup",
            Self::SyncGroup => "SyncGroup",
            Self::DescribeGroups => "DescribeGroups",
            Self::ListGroups => "ListGroups",
            Self::ApiVersions => "ApiVersions",
            Self::CreateTopics => "CreateTopics",
            Self::DeleteTopics => "DeleteTopics",
            Self::DeleteRecords => "DeleteRecords",
            Self::InitProducerId => "InitProducerId",
            Self::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::AlterReplicaLogDirs => "AlterReplicaLogDirs",
            Self::DescribeLogDirs => "DescribeLogDirs",
            Self::CreatePartitions => "CreatePartitions",
            Self::DeleteGroups => "DeleteGroups",
            Self::ElectLeaders => "ElectLeaders",
            Self::IncrementalAlterConfigs => "IncrementalAlterConfigs",
            Self::AlterPartitionReassignments => "AlterPartitionReassignments",
            Self::ListPartitionReassignments => "ListPartitionReassignments",
            Self::OffsetDelete => "OffsetDelete",
            Self::DescribeClientQuotas => "DescribeClientQuotas",
            Self::AlterClientQuotas => "AlterClientQuotas",
            Self::DescribeUserScramCredentials => "DescribeUserScramCredentials",
            Self::DescribeQuorum => "DescribeQuorum",
            Self::UpdateFeatures => "UpdateFeatures",
            Self::DescribeCluster => "DescribeCluster",
            Self::DescribeProducers => "DescribeProducers",
            Self::ConsumerGroupHeartbeat => "ConsumerGroupHeartbeat",
            Self::ConsumerGroupDescribe => "ConsumerGroupDescribe",
            Self::ListConfigResources => "ListConfigResources",
            Self::DescribeTopicPartitions => "DescribeTopicPartitions",
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey as Generated;

    use super::{APIS, ApiKey};
    use crate::codec::{DecodeError, Layout};

    #[test]
    fn the_table_agrees_with_kafka() {
        for api in APIS {
            assert_eq!(api.key.api(), &api);
            assert_eq!(ApiKey::from_code(api.code), Ok(api.key));
            let generated = Generated::try_from(api.code).unwrap();
            assert_eq!(format!("{generated:?}").trim_end_matches("Key"), api.key.name());
            for version in api.working_first..=api.last {
                let known = api.key.generated_version(version);
                let flexible = generated.request_header_version(known) == 2;
                assert_eq!(api.key.layout(version) == Layout::Flexible, flexible, "{api:?}");
                let flexible = generated.response_header_version(known) == 1;
                let layout = api.key.response_header_layout(version);
                assert_eq!(layout == Layout::Flexible, flexible, "{api:?}");
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_not_spoken() {
        for code in [-1, 4, 5, 7, 51, 71, 76, i16::MAX, i16::MIN] {
            assert_eq!(ApiKey::from_code(code), Err(DecodeError::UnknownApi));
        }
        assert!(!ApiKey::Produce.speaks(2));
        assert!(ApiKey::Produce.speaks(3));
        assert!(ApiKey::Produce.speaks(13));
        assert!(!ApiKey::Produce.speaks(14));
        assert!(!ApiKey::Metadata.speaks(-1));
    }
}
