//! DescribeTopicPartitions: topics and their partitions, as many as fit, and where to go on.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::messages::describe_topic_partitions_request::Cursor as From;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use replication::image::{Image, Partition, Topic};
use replication::node::NodeId;
use replication::topic_name;
use uuid::Uuid;

use crate::handler::{Pauses, text};
use crate::io::Io;
use crate::shard::Shard;

/// What anybody may do to a topic where there are no rules: a bit for each operation of Kafka's, from
/// reading (3) to changing configs (11), but for those of the whole cluster.
const EVERY_OPERATION: i32 = 0b1101_1111_1000;
/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

/// Topics in the order of their names, each once. No name means all topics.
pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = shard.image();
    let is_all = request.topics.is_empty();
    if let Some(from) = &request.cursor
        && (from.partition_index < 0
            || !is_all && request.topics.iter().all(|topic| topic.name != from.topic_name))
    {
        return refuse(request);
    }
    let first = request.cursor.as_ref().map(|from| from.topic_name.0.clone()).unwrap_or_default();
    let names: BTreeSet<StrBytes> = if is_all {
        image.topics().map(|topic| text(topic.name().as_str())).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name.0).collect()
    };
    let bound = image.broker_config().requests.partitions_max;
    let asked = u32::try_from(request.response_partition_limit).unwrap_or(0);
    let mut page = Page {
        left: usize::try_from(asked.min(bound).max(1)).expect("usize fits"),
        response: DescribeTopicPartitionsResponse::default(),
    };
    let mut pauses = Pauses::new(&shard.io);
    for name in names.range(first..) {
        pauses.next().await;
        if !page.add(&image, name, request.cursor.as_ref()) {
            break;
        }
    }
    page.response
}

/// A cursor that leads nowhere refuses every topic.
fn refuse(request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |name: TopicName| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(name))
            .with_error_code(ErrorCode::INVALID_REQUEST.get())
            .with_topic_authorized_operations(NO_OPERATIONS)
    };
    let topics = request.topics.into_iter().map(|topic| refused(topic.name)).collect();
    DescribeTopicPartitionsResponse::default().with_topics(topics)
}

struct Page {
    /// Partitions that still fit.
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page {
    /// Whether there is room for more.
    fn add(&mut self, image: &Image, name: &StrBytes, from: Option<&From>) -> bool {
        if self.left == 0 {
            self.go_on_at(name, 0);
            return false;
        }
        let Some(topic) = image.topic(name) else {
            self.response.topics.push(missing(name));
            return true;
        };
        let start = from.filter(|from| from.topic_name.0 == *name);
        let start = start.map_or(0, |from| from.partition_index);
        let rest = usize::try_from(start).ok().and_then(|it| topic.partitions().get(it..));
        let rest = rest.unwrap_or_default();
        let taken = rest.get(..self.left).unwrap_or(rest);
        self.left -= taken.len();
        self.response.topics.push(described(topic, start, taken));
        if taken.len() < rest.len() {
            self.go_on_at(name, start + i32::try_from(taken.len()).expect("partitions are few"));
            return false;
        }
        true
    }

    fn go_on_at(&mut self, topic: &StrBytes, partition: i32) {
        let cursor = Cursor::default().with_topic_name(TopicName(topic.clone()));
        self.response.next_cursor = Some(cursor.with_partition_index(partition));
    }
}

/// Kafka fails every topic of the request for an empty name: ours is the code for a name that no topic has.
fn missing(name: &StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let checked = topic_name::TopicName::checked(name);
    let code = match &checked {
        Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.get())
        .with_name(Some(TopicName(name.clone())))
        .with_is_internal(checked.is_ok_and(|it| it.is_internal()))
        .with_topic_authorized_operations(EVERY_OPERATION)
}

fn described(
    topic: &Topic,
    first: i32,
    partitions: &[Partition],
) -> DescribeTopicPartitionsResponseTopic {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.get())).collect();
    let partitions = partitions.iter().zip(first..).map(|(partition, index)| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(partition.leader().get()))
            .with_leader_epoch(partition.leader_epoch().get())
            .with_replica_nodes(nodes(partition.replicas()))
            .with_isr_nodes(nodes(partition.in_sync()))
            // Java's client takes no null for either.
            .with_eligible_leader_replicas(Some(vec![]))
            .with_last_known_elr(Some(vec![]))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name().as_str()))))
        .with_topic_id(Uuid::from_bytes(topic.id().get()))
        .with_is_internal(topic.name().is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(EVERY_OPERATION)
}
