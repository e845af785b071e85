//! The responses that a client decodes by generated code, as Kafka 4.3 defines them.

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
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs => &ALTER_CONFIGS,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
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
    Field::from(I32, 2), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),     // index
            Field::new(I16),     // error
            Field::new(I64),     // timestamp
            Field::new(I64),     // offset
            Field::from(I32, 4), // leader epoch
        ]))),
    ]))),
]);

const METADATA: Struct = Struct::new(&[
    Field::from(I32, 3), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I32),                         // node
        Field::new(Kind::String),                // host
        Field::new(I32),                         // port
        Field::from(Kind::String, 1).nullable(), // rack
    ]))),
    Field::from(Kind::String, 2).nullable(), // cluster
    Field::from(I32, 1),                     // controller
    Field::new(Kind::Structs(&METADATA_TOPIC)),
    Field::from(I32, 8).until(10), // cluster operations
    Field::from(I16, 13),          // error
]);

const METADATA_TOPIC: Struct = Struct::new(&[
    Field::new(I16), // error
    Field::new(Kind::String).nullable_from(12),
    Field::from(UUID, 10),
    Field::from(BYTE, 1), // internal
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                   // error
        Field::new(I32),                   // index
        Field::new(I32),                   // leader
        Field::from(I32, 7),               // leader epoch
        Field::new(Kind::Array(&I32)),     // replicas
        Field::new(Kind::Array(&I32)),     // in sync
        Field::from(Kind::Array(&I32), 5), // offline
    ]))),
    Field::from(I32, 8), // operations
]);

const API_VERSIONS: Struct = Struct {
    fields: &[
        Field::new(I16), // error
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I16), // key
            Field::new(I16), // first
            Field::new(I16), // last
        ]))),
        Field::from(I32, 1), // throttle
    ],
    tagged: &[
        (0, Kind::Structs(&FEATURE)), // supported
        (1, I64),                     // epoch of the finalized
        (2, Kind::Structs(&FEATURE)), // finalized
        (3, BYTE),                    // ready for migration
    ],
};

const FEATURE: Struct = Struct::new(&[Field::new(Kind::String), Field::new(I16), Field::new(I16)]);

const CREATE_TOPICS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct {
        fields: &[
            Field::new(Kind::String),
            Field::from(UUID, 7),
            Field::new(I16),                     // error
            Field::new(Kind::String).nullable(), // message
            Field::from(I32, 5),                 // partitions
            Field::from(I16, 5),                 // replication factor
            Field::from(
                Kind::Structs(&Struct::new(&[
                    Field::new(Kind::String),
                    Field::new(Kind::String).nullable(),
                    Field::new(BYTE), // read only
                    Field::new(BYTE), // source
                    Field::new(BYTE), // sensitive
                ])),
                5,
            )
            .nullable(),
        ],
        tagged: &[(0, I16)], // error of the configs
    })),
]);

const DELETE_TOPICS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String).nullable_from(6),
        Field::from(UUID, 6),
        Field::new(I16),                         // error
        Field::from(Kind::String, 5).nullable(), // message
    ]))),
]);

const DELETE_RECORDS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32), // index
            Field::new(I64), // low watermark
            Field::new(I16), // error
        ]))),
    ]))),
]);

const INIT_PRODUCER_ID: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(I16), // error
    Field::new(I64), // producer id
    Field::new(I16), // producer epoch
]);

const OFFSET_FOR_LEADER_EPOCH: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I16), // error
            Field::new(I32), // index
            Field::new(I32), // leader epoch
            Field::new(I64), // end
        ]))),
    ]))),
]);

const DESCRIBE_CONFIGS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
        Field::new(BYTE),                    // type
        Field::new(Kind::String),
        Field::new(Kind::Structs(&DESCRIBED_CONFIG)),
    ]))),
]);

const DESCRIBED_CONFIG: Struct = Struct::new(&[
    Field::new(Kind::String),
    Field::new(Kind::String).nullable(),
    Field::new(BYTE), // read only
    Field::new(BYTE), // source
    Field::new(BYTE), // sensitive
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::String).nullable(),
        Field::new(BYTE), // source
    ]))),
    Field::from(BYTE, 3),                    // type
    Field::from(Kind::String, 3).nullable(), // documentation
]);

const ALTER_CONFIGS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
        Field::new(BYTE),                    // type
        Field::new(Kind::String),
    ]))),
]);

const DESCRIBE_LOG_DIRS: Struct = Struct::new(&[
    Field::new(I32),     // throttle
    Field::from(I16, 3), // error
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),          // error
        Field::new(Kind::String), // directory
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),
            Field::new(Kind::Structs(&Struct::new(&[
                Field::new(I32),  // index
                Field::new(I64),  // bytes
                Field::new(I64),  // lag
                Field::new(BYTE), // future
            ]))),
        ]))),
        Field::from(I64, 4),  // bytes of the volume
        Field::from(I64, 4),  // usable bytes
        Field::from(BYTE, 5), // cordoned
    ]))),
]);

const CREATE_PARTITIONS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
    ]))),
]);

const DESCRIBE_CLUSTER: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::from(BYTE, 1),                // endpoint type
    Field::new(Kind::String),            // cluster
    Field::new(I32),                     // controller
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I32),                     // node
        Field::new(Kind::String),            // host
        Field::new(I32),                     // port
        Field::new(Kind::String).nullable(), // rack
        Field::from(BYTE, 2),                // fenced
    ]))),
    Field::new(I32), // operations
]);

const FIND_COORDINATOR: Struct = Struct::new(&[
    Field::from(I32, 1),                              // throttle
    Field::new(I16).until(3),                         // error
    Field::from(Kind::String, 1).until(3).nullable(), // message
    Field::new(I32).until(3),                         // node
    Field::new(Kind::String).until(3),                // host
    Field::new(I32).until(3),                         // port
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(Kind::String), // key
            Field::new(I32),          // node
            Field::new(Kind::String), // host
            Field::new(I32),          // port
            Field::new(I16),          // error
            Field::new(Kind::String).nullable(),
        ])),
        4,
    ),
]);

const JOIN_GROUP: Struct = Struct::new(&[
    Field::from(I32, 2),                       // throttle
    Field::new(I16),                           // error
    Field::new(I32),                           // generation
    Field::from(Kind::String, 7).nullable(),   // protocol type
    Field::new(Kind::String).nullable_from(7), // protocol
    Field::new(Kind::String),                  // leader
    Field::from(BYTE, 9),                      // skip assignment
    Field::new(Kind::String),                  // member
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),                // member
        Field::from(Kind::String, 5).nullable(), // instance
        Field::new(Kind::Bytes),                 // metadata
    ]))),
]);

const SYNC_GROUP: Struct = Struct::new(&[
    Field::from(I32, 1),                     // throttle
    Field::new(I16),                         // error
    Field::from(Kind::String, 5).nullable(), // protocol type
    Field::from(Kind::String, 5).nullable(), // protocol
    Field::new(Kind::Bytes),                 // assignment
]);

const HEARTBEAT: Struct = Struct::new(&[
    Field::from(I32, 1), // throttle
    Field::new(I16),     // error
]);

const LEAVE_GROUP: Struct = Struct::new(&[
    Field::from(I32, 1), // throttle
    Field::new(I16),     // error
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),            // member
            Field::new(Kind::String).nullable(), // instance
            Field::new(I16),                     // error
        ])),
        3,
    ),
]);

/// An error for each partition of each topic.
const TOPIC_CODES: Kind = Kind::Structs(&Struct::new(&[
    Field::new(Kind::String),
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I32), // index
        Field::new(I16), // error
    ]))),
]));

const OFFSET_COMMIT: Struct = Struct::new(&[
    Field::from(I32, 3), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String).until(9),
        Field::from(UUID, 10),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32), // index
            Field::new(I16), // error
        ]))),
    ]))),
]);

const FETCHED_OFFSETS: Kind = Kind::Structs(&Struct::new(&[
    Field::new(Kind::String).until(9),
    Field::from(UUID, 10),
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I32),                     // index
        Field::new(I64),                     // offset
        Field::from(I32, 5),                 // leader epoch
        Field::new(Kind::String).nullable(), // metadata
        Field::new(I16),                     // error
    ]))),
]));

const OFFSET_FETCH: Struct = Struct::new(&[
    Field::from(I32, 3), // throttle
    Field::new(FETCHED_OFFSETS).until(7),
    Field::from(I16, 2).until(7), // error
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(Kind::String), // group
            Field::new(FETCHED_OFFSETS),
            Field::new(I16), // error
        ])),
        8,
    ),
]);

const DESCRIBE_GROUPS: Struct = Struct::new(&[
    Field::from(I32, 1), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                         // error
        Field::from(Kind::String, 6).nullable(), // message
        Field::new(Kind::String),                // group
        Field::new(Kind::String),                // state
        Field::new(Kind::String),                // protocol type
        Field::new(Kind::String),                // protocol
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(Kind::String),                // member
            Field::from(Kind::String, 4).nullable(), // instance
            Field::new(Kind::String),                // client id
            Field::new(Kind::String),                // client host
            Field::new(Kind::Bytes),                 // metadata
            Field::new(Kind::Bytes),                 // assignment
        ]))),
        Field::from(I32, 3), // operations
    ]))),
]);

const LIST_GROUPS: Struct = Struct::new(&[
    Field::from(I32, 1), // throttle
    Field::new(I16),     // error
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::String),     // protocol type
        Field::from(Kind::String, 4), // state
        Field::from(Kind::String, 5), // type
    ]))),
]);

const DELETE_GROUPS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I16), // error
    ]))),
]);

const OFFSET_DELETE: Struct = Struct::new(&[
    Field::new(I16), // error
    Field::new(I32), // throttle
    Field::new(TOPIC_CODES),
]);

const ALTER_REPLICA_LOG_DIRS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(TOPIC_CODES),
]);

const ELECT_LEADERS: Struct = Struct::new(&[
    Field::new(I32),     // throttle
    Field::from(I16, 1), // error
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&PARTITION_RESULT)),
    ]))),
]);

const PARTITION_RESULT: Struct = Struct::new(&[
    Field::new(I32),                     // index
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
]);

const ALTER_PARTITION_REASSIGNMENTS: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::from(BYTE, 1),                // may change the number of replicas
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&PARTITION_RESULT)),
    ]))),
]);

const LIST_PARTITION_REASSIGNMENTS: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),               // index
            Field::new(Kind::Array(&I32)), // replicas
            Field::new(Kind::Array(&I32)), // to be added
            Field::new(Kind::Array(&I32)), // to be removed
        ]))),
    ]))),
]);

const DESCRIBE_CLIENT_QUOTAS: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::Structs(&QUOTA_ENTITY)),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(Kind::String), // key
            Field::new(I64),          // value
        ]))),
    ])))
    .nullable(),
]);

const ALTER_CLIENT_QUOTAS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
        Field::new(Kind::Structs(&QUOTA_ENTITY)),
    ]))),
]);

const QUOTA_ENTITY: Struct = Struct::new(&[
    Field::new(Kind::String),            // type
    Field::new(Kind::String).nullable(), // name
]);

const DESCRIBE_USER_SCRAM_CREDENTIALS: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),            // user
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(BYTE), // mechanism
            Field::new(I32),  // iterations
        ]))),
    ]))),
]);

const DESCRIBE_QUORUM: Struct = Struct::new(&[
    Field::new(I16),                         // error
    Field::from(Kind::String, 2).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),                         // index
            Field::new(I16),                         // error
            Field::from(Kind::String, 2).nullable(), // message
            Field::new(I32),                         // leader
            Field::new(I32),                         // leader epoch
            Field::new(I64),                         // high watermark
            Field::new(Kind::Structs(&QUORUM_REPLICA)),
            Field::new(Kind::Structs(&QUORUM_REPLICA)), // that have no vote
        ]))),
    ]))),
    Field::from(
        Kind::Structs(&Struct::new(&[
            Field::new(I32), // node
            Field::new(Kind::Structs(&Struct::new(&[
                Field::new(Kind::String), // listener
                Field::new(Kind::String), // host
                Field::new(I16),          // port
            ]))),
        ])),
        2,
    ),
]);

const QUORUM_REPLICA: Struct = Struct::new(&[
    Field::new(I32),      // node
    Field::from(UUID, 2), // directory
    Field::new(I64),      // log end
    Field::from(I64, 1),  // fetched at
    Field::from(I64, 1),  // caught up at
]);

const UPDATE_FEATURES: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
    ])))
    .until(1),
]);

const DESCRIBE_PRODUCERS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I32),                     // index
            Field::new(I16),                     // error
            Field::new(Kind::String).nullable(), // message
            Field::new(Kind::Structs(&Struct::new(&[
                Field::new(I64), // producer
                Field::new(I32), // epoch
                Field::new(I32), // last sequence
                Field::new(I64), // last timestamp
                Field::new(I32), // coordinator epoch
                Field::new(I64), // start of the transaction
            ]))),
        ]))),
    ]))),
]);

const LIST_CONFIG_RESOURCES: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(I16), // error
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(Kind::String),
        Field::from(BYTE, 1), // type
    ]))),
]);

const DESCRIBE_TOPIC_PARTITIONS: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16), // error
        Field::new(Kind::String).nullable(),
        Field::new(UUID),
        Field::new(BYTE), // internal
        Field::new(Kind::Structs(&Struct::new(&[
            Field::new(I16),                          // error
            Field::new(I32),                          // index
            Field::new(I32),                          // leader
            Field::new(I32),                          // leader epoch
            Field::new(Kind::Array(&I32)),            // replicas
            Field::new(Kind::Array(&I32)),            // in sync
            Field::new(Kind::Array(&I32)).nullable(), // may lead besides
            Field::new(Kind::Array(&I32)).nullable(), // could lead, when last known
            Field::new(Kind::Array(&I32)),            // offline
        ]))),
        Field::new(I32), // operations
    ]))),
    Field::new(Kind::Optional(&Struct::new(&[
        Field::new(Kind::String),
        Field::new(I32), // partition
    ]))),
]);

const CONSUMER_GROUP_HEARTBEAT: Struct = Struct::new(&[
    Field::new(I32),                     // throttle
    Field::new(I16),                     // error
    Field::new(Kind::String).nullable(), // message
    Field::new(Kind::String).nullable(), // member
    Field::new(I32),                     // epoch
    Field::new(I32),                     // interval
    Field::new(Kind::Optional(&Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[
        Field::new(UUID),
        Field::new(Kind::Array(&I32)), // partitions
    ])))]))),
]);

const CONSUMER_GROUP_DESCRIBE: Struct = Struct::new(&[
    Field::new(I32), // throttle
    Field::new(Kind::Structs(&Struct::new(&[
        Field::new(I16),                     // error
        Field::new(Kind::String).nullable(), // message
        Field::new(Kind::String),            // group
        Field::new(Kind::String),            // state
        Field::new(I32),                     // epoch
        Field::new(I32),                     // assignment epoch
        Field::new(Kind::String),            // assignor
        Field::new(Kind::Structs(&CONSUMER)),
        Field::new(I32), // operations
    ]))),
]);

const CONSUMER: Struct = Struct::new(&[
    Field::new(Kind::String),               // member
    Field::new(Kind::String).nullable(),    // instance
    Field::new(Kind::String).nullable(),    // rack
    Field::new(I32),                        // epoch
    Field::new(Kind::String),               // client id
    Field::new(Kind::String),               // client host
    Field::new(Kind::Array(&Kind::String)), // topics
    Field::new(Kind::String).nullable(),    // expression
    Field::new(Kind::Struct(&NAMED_ASSIGNMENT)),
    Field::new(Kind::Struct(&NAMED_ASSIGNMENT)), // target
    Field::from(BYTE, 1),                        // type
]);

const NAMED_ASSIGNMENT: Struct = Struct::new(&[Field::new(Kind::Structs(&Struct::new(&[
    Field::new(UUID),
    Field::new(Kind::String),
    Field::new(Kind::Array(&I32)), // partitions
])))]);
