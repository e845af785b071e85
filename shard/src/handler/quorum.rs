//! DescribeQuorum: who keeps the log of the cluster's metadata. It is this node, alone.

use std::rc::Rc;

use engine::id::{LeaderEpoch, Offset};
use kafka_protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName,
};
use net::error_code::ErrorCode;
use replication::image::Image;
use replication::topics::METADATA_TOPIC_NAME;

use crate::handler::{read_code, text};
use crate::io::Io;
use crate::message::{Message, OffsetQuery, OffsetSpec, Reply};
use crate::partition::LEADER_EPOCH;
use crate::recovery::METADATA;
use crate::shard::Shard;

pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let response = DescribeQuorumResponse::default();
    if !is_of_metadata(&request) {
        return response.with_topics(request.topics.into_iter().map(refused).collect());
    }
    let end = match metadata_end(shard).await {
        Ok(end) => end,
        Err(code) => return response.with_error_code(code.get()),
    };
    let image = shard.image();
    let now = shard.io.wall().get();
    let node = BrokerId(image.node().get());
    let voter = ReplicaState::default()
        .with_replica_id(node)
        .with_log_end_offset(end.get())
        .with_last_fetch_timestamp(now)
        .with_last_caught_up_timestamp(now);
    let partition = PartitionData::default()
        .with_leader_id(node)
        .with_leader_epoch(LEADER_EPOCH.get())
        .with_high_watermark(end.get())
        .with_current_voters(vec![voter]);
    let topic = TopicData::default()
        .with_topic_name(TopicName(text(METADATA_TOPIC_NAME)))
        .with_partitions(vec![partition]);
    response.with_topics(vec![topic]).with_nodes(voters(&image))
}

/// Nothing but the one partition of the metadata has a quorum.
fn is_of_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name.as_str() == METADATA_TOPIC_NAME && partition.partition_index == 0
}

fn refused(topic: AskedTopic) -> TopicData {
    let partition = |index: i32| {
        PartitionData::default()
            .with_partition_index(index)
            .with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.get())
            .with_error_message(Some(text("This partition has no quorum.")))
    };
    let partitions = topic.partitions.iter().map(|it| partition(it.partition_index)).collect();
    TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions)
}

/// Where the metadata's log ends that is durable.
async fn metadata_end<I: Io>(shard: &Rc<Shard<I>>) -> Result<Offset, ErrorCode> {
    let query = OffsetQuery {
        slot: 0,
        partition: METADATA,
        leader_epoch: LeaderEpoch::NONE,
        spec: OffsetSpec::Latest,
    };
    let Reply::Offsets(found) = shard.call(0, Message::ListOffsets(vec![query])).wait().await
    else {
        unreachable!("an offset was asked for");
    };
    let found = found.into_iter().next().expect("one was asked for").1.map_err(read_code)?;
    Ok(found.offset.expect("every log has an end"))
}

/// This node, with its listeners: there is no other for controllers.
fn voters(image: &Image) -> Vec<Node> {
    let Some(broker) = image.broker(image.node()) else { return vec![] };
    let listeners = broker.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(text(&*endpoint.listener))
            .with_host(text(&*endpoint.host))
            .with_port(endpoint.port)
    });
    vec![
        Node::default().with_node_id(BrokerId(broker.id.get())).with_listeners(listeners.collect()),
    ]
}
