//! AlterReplicaLogDirs: a replica can be moved to where it is, as there is one data directory.

use std::collections::BTreeMap;
use std::rc::Rc;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;

use crate::handler::Pauses;
use crate::handler::offsets::find;
use crate::io::Io;
use crate::shard::Shard;

/// Each partition is answered once; of two directories for it the last counts.
pub async fn alter<I: Io>(
    shard: &Rc<Shard<I>>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut pauses = Pauses::new(&shard.io);
    let mut codes: BTreeMap<StrBytes, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for directory in request.dirs {
        let is_ours = *directory.path == *shard.config.data_dir;
        for topic in directory.topics {
            for index in topic.partitions {
                pauses.next().await;
                let code = if is_ours {
                    find(shard, &topic.name, index).err().unwrap_or(ErrorCode::NONE)
                } else {
                    ErrorCode::LOG_DIR_NOT_FOUND
                };
                codes.entry(topic.name.0.clone()).or_default().insert(index, code);
            }
        }
    }
    let results = codes.into_iter().map(|(name, partitions)| {
        let partition = |(index, code): (i32, ErrorCode)| {
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(index)
                .with_error_code(code.get())
        };
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(TopicName(name))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
