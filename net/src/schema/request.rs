//! The requests that are held by generated structs, as Kafka 4.3 defines them.

use crate::api::ApiKey;
use crate::schema::{BYTE, Field, I16, I32, I64, Kind, Struct, UUID};

/// `None` for those that are decoded by hand.
#[must_use]
pub const fn schema(api: ApiKey) -> Option<&'static Struct> {
    Some(match api {
        ApiKey::Produce | ApiKey::Fetch => return None,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeClientQuotas => &DESCRIBE_CLIENT_QUOTAS,
        ApiKey::AlterClientQuotas => &ALTER_CLIENT_QUOTAS,
        ApiKey::DescribeUserScramCredentials => &DESCRIBE_USER_SCRAM_CREDENTIALS,
        ApiKey::AlterReplicaLogDirs => &ALTER_REPLICA_LOG_DIRS,
        ApiKey::ElectLeaders => &ELECT_LEADERS,
        ApiKey::AlterPartitionReassignments => &ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => &LIST_PARTITION_REASSIGNMENTS,
        ApiKey::DescribeQuorum => &DESCRIBE_QUORUM,
        ApiKey::UpdateFeatures => &UPDATE_FEATURES,
        ApiKey::ConsumerGroupHeartbeat => &CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::DescribeProducers => &DESCRIBE_PRODUCERS,
        ApiKey::ListConfigResources => &LIST_CONFIG_RESOURCES,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
    })
}

const LIST_OFFSETS: Struct = Struct::new(&[
    Field::new(I32),      // replica id
    Field::from(BYTE, 2), // isolation level
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),     // index
            Field::from(I32, 4), // current leader epoch
            Field::new(I64),     // timestamp
        ]))),
    ]))),
    Field::from(I32, 10), // timeout
]);

const METADATA: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::from(UUID, 10),
        Field::new(Kind::String).nullable_from(10),
    ])))
    .nullable_from(1),
    Field::from(BYTE, 4),           // allow auto creation
    Field::from(BYTE, 8).until(10), // include cluster operations
    Field::from(BYTE, 8),           // include topic operations
]);

const API_VERSIONS: Struct = Struct::new(&[
    Field::from(Kind::String, 3), // software name
    Field::from(Kind::String, 3), // software version
]);

const CREATE_TOPICS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I32), // partitions
        Field::new(I16), // replication factor
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),               // index
            Field::new(Kind::Array(&I32)), // brokers
        ]))),
        Field::new(Kind::Structs(&CONFIG)),
    ]))),
    Field::new(I32),  // timeout
    Field::new(BYTE), // validate only
]);

const CONFIG: Struct =
    Struct::new(&[Field::new(Kind::String), Field::new(Kind::String).nullable()]);

const DELETE_TOPICS: Struct = Struct::new(&[
    Field::from(
        Kind::Structs(&Struct::new(&[Field::new(Kind::String).nullable(), Field::new(UUID)])),
        6,
    ),
    Field::new(Kind::Array(&Kind::String)).until(5),
    Field::new(I32), // timeout
]);

const DELETE_RECORDS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32), // index
            Field::new(I64), // offset
        ]))),
    ]))),
    Field::new(I32), // timeout
]);

const INIT_PRODUCER_ID: Struct = Struct::new(&[
    Field::new(Kind::String).nullable(), // transactional id
    Field::new(I32),                     // timeout
    Field::from(I64, 3),                 // producer id
    Field::from(I16, 3),                 // producer epoch
]);

const OFFSET_FOR_LEADER_EPOCH: Struct = Struct::new(&[
    Field::from(I32, 3), // replica id
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32), // index
            Field::new(I32), // current leader epoch
            Field::new(I32), // leader epoch
        ]))),
    ]))),
]);

const DESCRIBE_CONFIGS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(BYTE), // type
        Field::new(Kind::String),
        Field::new(Kind::Array(&Kind::String)).nullable(),
    ]))),
    Field::new(BYTE),     // include synonyms
    Field::from(BYTE, 3), // include documentation
]);

const ALTER_CONFIGS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(BYTE), // type
        Field::new(Kind::String),
        Field::new(Kind::Structs(&CONFIG)),
    ]))),
    Field::new(BYTE), // validate only
]);

const DESCRIBE_LOG_DIRS: Struct = Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[
    Field::new(Kind::String),
    Field::new(Kind::Array(&I32)),
])))
.nullable()]);

const CREATE_PARTITIONS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I32), // count
        Field::new(Kind::Structs(&Struct::new(&[Field::new(Kind::Array(&I32))]))).nullable(),
    ]))),
    Field::new(I32),  // timeout
    Field::new(BYTE), // validate only
]);

const INCREMENTAL_ALTER_CONFIGS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(BYTE), // type
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),
            Field::new(BYTE), // operation
            Field::new(Kind::String).nullable(),
        ]))),
    ]))),
    Field::new(BYTE), // validate only
]);

const DESCRIBE_CLUSTER: Struct = Struct::new(&[
    Field::new(BYTE),     // include cluster operations
    Field::from(BYTE, 1), // endpoint type
    Field::from(BYTE, 2), // include fenced brokers
]);

const FIND_COORDINATOR: Struct = Struct::new(&[
    Field::new(Kind::String).until(3),
    Field::from(BYTE, 1), // type
    Field::from(Kind::Array(&Kind::String), 4),
]);

const JOIN_GROUP: Struct = Struct::new(&[
    Field::new(Kind::String),                // group
    Field::new(I32),                         // session timeout
    Field::from(I32, 1),                     // rebalance timeout
    Field::new(Kind::String),                // member
    Field::from(Kind::String, 5).nullable(), // instance
    Field::new(Kind::String),                // protocol type
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Bytes), // metadata
    ]))),
    Field::from(Kind::String, 8).nullable(), // reason
]);

const SYNC_GROUP: Struct = Struct::new(&[
    Field::new(Kind::String),                // group
    Field::new(I32),                         // generation
    Field::new(Kind::String),                // member
    Field::from(Kind::String, 3).nullable(), // instance
    Field::from(Kind::String, 5).nullable(), // protocol type
    Field::from(Kind::String, 5).nullable(), // protocol
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String), // member
        Field::new(Kind::Bytes),  // assignment
    ]))),
]);

const HEARTBEAT: Struct = Struct::new(&[
    Field::new(Kind::String),                // group
    Field::new(I32),                         // generation
    Field::new(Kind::String),                // member
    Field::from(Kind::String, 3).nullable(), // instance
]);

const LEAVE_GROUP: Struct = Struct::new(&[
    Field::new(Kind::String),          // group
    Field::new(Kind::String).until(2), // member
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),                // member
            Field::new(Kind::String).nullable(),     // instance
            Field::from(Kind::String, 5).nullable(), // reason
        ])),
        3,
    ),
]);

const OFFSET_COMMIT: Struct = Struct::new(&[
    Field::new(Kind::String),                // group
    Field::new(I32),                         // generation
    Field::new(Kind::String),                // member
    Field::from(Kind::String, 7).nullable(), // instance
    Field::new(I64).until(4),                // retention time
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String).until(9),
        Field::from(UUID, 10),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),                     // index
            Field::new(I64),                     // offset
            Field::from(I32, 6),                 // leader epoch
            Field::new(Kind::String).nullable(), // metadata
        ]))),
    ]))),
]);

const OFFSETS_WANTED: Kind = Kind::Structs(&Struct::new(&[
    Field::new(Kind::String).until(9),
    Field::from(UUID, 10),
    Field::new(Kind::Array(&I32)), // partitions
]));

const OFFSET_FETCH: Struct = Struct::new(&[
    Field::new(Kind::String).until(7),                    // group
    Field::new(OFFSETS_WANTED).until(7).nullable_from(2), // topics
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),                // group
            Field::from(Kind::String, 9).nullable(), // member
            Field::from(I32, 9),                     // member epoch
            Field::new(OFFSETS_WANTED).nullable(),
        ])),
        8,
    ),
    Field::from(BYTE, 7), // require stable
]);

const DESCRIBE_GROUPS: Struct = Struct::new(&[
    Field::new(Kind::Array(&Kind::String)),
    Field::from(BYTE, 3), // include operations
]);

const LIST_GROUPS: Struct = Struct::new(&[
    Field::from(Kind::Array(&Kind::String), 4), // states
    Field::from(Kind::Array(&Kind::String), 5), // types
]);

const DELETE_GROUPS: Struct = Struct::new(&[Field::new(Kind::Array(&Kind::String))]);

const OFFSET_DELETE: Struct = Struct::new(&[
    Field::new(Kind::String), // group
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[Field::new(I32)]))), // partitions
    ]))),
]);

/// Topics by name, and partitions of each.
const TOPIC_PARTITIONS: Kind = Kind::Structs(&Struct::new(&[
    Field::new(Kind::String),
    Field::new(Kind::Array(&I32)), // partitions
]));

const ALTER_REPLICA_LOG_DIRS: Struct = Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[
    Field::new(Kind::String), // directory
    Field::new(TOPIC_PARTITIONS),
])))]);

const ELECT_LEADERS: Struct = Struct::new(&[
    Field::from(BYTE, 1), // type
    Field::new(TOPIC_PARTITIONS).nullable(),
    Field::new(I32), // timeout
]);

const ALTER_PARTITION_REASSIGNMENTS: Struct = Struct::new(&[
    Field::new(I32),      // timeout
    Field::from(BYTE, 1), // may change the number of replicas
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),                          // index
            Field::new(Kind::Array(&I32)).nullable(), // replicas
        ]))),
    ]))),
]);

const LIST_PARTITION_REASSIGNMENTS: Struct = Struct::new(&[
    Field::new(I32), // timeout
    Field::new(TOPIC_PARTITIONS).nullable(),
]);

const DESCRIBE_CLIENT_QUOTAS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),            // type of entity
        Field::new(BYTE),                    // kind of match
        Field::new(Kind::String).nullable(), // name
    ]))),
    Field::new(BYTE), // strict
]);

const ALTER_CLIENT_QUOTAS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::Structs(&QUOTA_ENTITY)),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(Kind::String), // key
            Field::new(I64),          // value
            Field::new(BYTE),         // remove
        ]))),
    ]))),
    Field::new(BYTE), // validate only
]);

const QUOTA_ENTITY: Struct = Struct::new(&[
    Field::new(Kind::String),            // type
    Field::new(Kind::String).nullable(), // name
]);

const DESCRIBE_USER_SCRAM_CREDENTIALS: Struct =
    Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[Field::new(Kind::String)]))).nullable()]);

const DESCRIBE_QUORUM: Struct = Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[
    Field::new(Kind::String),
    Field::new(Kind::Structs(&Struct::new(&[Field::new(I32)]))), // partitions
])))]);

const UPDATE_FEATURES: Struct = Struct::new(&[
    Field::new(I32), // timeout
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I16),           // level
        Field::new(BYTE).until(0), // may go down
        Field::from(BYTE, 1),      // direction
    ]))),
    Field::from(BYTE, 1), // validate only
]);

const DESCRIBE_PRODUCERS: Struct = Struct::new(&[Field::new(TOPIC_PARTITIONS)]);

const LIST_CONFIG_RESOURCES: Struct = Struct::new(&[Field::from(Kind::Array(&BYTE), 1)]);

const DESCRIBE_TOPIC_PARTITIONS: Struct = Struct::new(&[
    Field::new(Kind::Structs(&Struct::new(&[Field::new(Kind::String)]))),
    Field::new(I32), // limit
    Field::new(Kind::Optional(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I32), // partition
    ]))),
]);

const CONSUMER_GROUP_HEARTBEAT: Struct = Struct::new(&[
    Field::new(Kind::String),                                 // group
    Field::new(Kind::String),                                 // member
    Field::new(I32),                                          // epoch
    Field::new(Kind::String).nullable(),                      // instance
    Field::new(Kind::String).nullable(),                      // rack
    Field::new(I32),                                          // rebalance timeout
    Field::new(Kind::Array(&Kind::String)).nullable(),        // topics
    Field::from(Kind::String, 1).nullable(),                  // expression
    Field::new(Kind::String).nullable(),                      // assignor
    Field::new(Kind::Structs(&ID_AND_PARTITIONS)).nullable(), // owned
]);

const ID_AND_PARTITIONS: Struct = Struct::new(&[
    Field::new(UUID),
    Field::new(Kind::Array(&I32)), // partitions
]);

const CONSUMER_GROUP_DESCRIBE: Struct = Struct::new(&[
    Field::new(Kind::Array(&Kind::String)),
    Field::new(BYTE), // include operations
]);
