//! Metadata and DescribeCluster: who the brokers are, which topics there are, where their partitions live.

use std::rc::Rc;

use engine::id::TopicId;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse,
    TopicName,
};
use net::error_code::ErrorCode;
use replication::image::{Image, Topic};
use replication::node::NodeId;
use replication::topic_name;
use uuid::Uuid;

use crate::accounts::toll::{Asker, Strictness};
use crate::connection::Connection;
use crate::controller::Command;
use crate::handler::{Pauses, Request, text};
use crate::io::Io;
use crate::shard::Shard;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

pub async fn answer<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &Request,
    body: MetadataRequest,
) -> MetadataResponse {
    let (image, version) = (shard.image(), request.header.version);
    let is_all = body.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    let topics = if is_all {
        image.topics().map(|topic| described(topic)).collect()
    } else {
        let asked = body.topics.unwrap_or_default();
        if asked.iter().any(|topic| topic.name.is_none() && topic.topic_id.is_nil()) {
            return odd_id();
        }
        let may_create = body.allow_auto_topic_creation || version < 4;
        let named = asked.iter().filter(|topic| topic.topic_id.is_nil());
        let names = named.filter_map(|it| it.name.as_ref()).map(|it| it.0.as_str());
        if may_create && image.broker_config().topics.auto_create {
            let client = request.header.client_id.as_deref().unwrap_or_default();
            create_missing(shard, &image, names, client).await;
        }
        let image = shard.image();
        let mut pauses = Pauses::new(&shard.io);
        let mut topics = Vec::with_capacity(asked.len());
        for topic in asked {
            topics.push(match topic.name {
                // Java's client sends an empty name with an id.
                Some(name) if topic.topic_id.is_nil() => by_name(&image, name),
                Some(_) | None => by_id(&image, topic.topic_id),
            });
            pauses.next().await;
        }
        topics
    };
    let brokers = shard.image();
    let brokers = brokers.brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(shard.listener_name(connection.listener()))?;
        Some(
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.id.get()))
                .with_host(text(&*endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(broker.rack.as_deref().map(text)),
        )
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(shard.cluster_id())))
        .with_controller_id(BrokerId(image.node().get()))
        .with_topics(topics)
        .with_cluster_authorized_operations(NO_OPERATIONS)
}

/// Kafka fails the whole answer for a topic with neither name nor id.
fn odd_id() -> MetadataResponse {
    let topic = MetadataResponseTopic::default()
        .with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.get())
        .with_name(Some(TopicName(text(""))))
        .with_topic_authorized_operations(NO_OPERATIONS);
    MetadataResponse::default()
        .with_cluster_id(None)
        .with_controller_id(BrokerId(-1))
        .with_topics(vec![topic])
        .with_error_code(ErrorCode::UNKNOWN_SERVER_ERROR.get())
        .with_cluster_authorized_operations(NO_OPERATIONS)
}

/// Makes topics that are asked for and not there, as far as it may.
async fn create_missing<'a, I: Io>(
    shard: &Rc<Shard<I>>,
    image: &Image,
    names: impl Iterator<Item = &'a str>,
    client: &str,
) {
    let is_missing =
        |name: &&str| image.topic(name).is_none() && topic_name::TopicName::checked(name).is_ok();
    let missing: Vec<String> = names.filter(is_missing).map(str::to_owned).collect();
    if !missing.is_empty() {
        // As in Kafka nobody is told of a refusal, nor how long to wait: it sees no topic, and asks again.
        let asker = Asker { client: client.to_owned(), strictness: Strictness::Refuse };
        shard.command(Command::AutoCreate(missing, asker)).await;
    }
}

/// A topic that could not be created is one that is not there: clients ask again.
fn by_name(image: &Image, name: TopicName) -> MetadataResponseTopic {
    if let Some(topic) = image.topic(&name) {
        return described(topic);
    }
    let code = if topic_name::TopicName::checked(&name).is_err() {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    };
    MetadataResponseTopic::default()
        .with_error_code(code.get())
        .with_name(Some(name))
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn by_id(image: &Image, id: Uuid) -> MetadataResponseTopic {
    if let Some(topic) = image.topic_by_id(TopicId::new(*id.as_bytes())) {
        return described(topic);
    }
    MetadataResponseTopic::default()
        .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.get())
        .with_name(None)
        .with_topic_id(id)
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn described(topic: &Topic) -> MetadataResponseTopic {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.get())).collect();
    let partitions = topic.partitions().iter().zip(0..).map(|(partition, index)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(partition.leader().get()))
            .with_leader_epoch(partition.leader_epoch().get())
            .with_replica_nodes(nodes(partition.replicas()))
            .with_isr_nodes(nodes(partition.in_sync()))
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name().as_str()))))
        .with_topic_id(Uuid::from_bytes(topic.id().get()))
        .with_is_internal(topic.name().is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(NO_OPERATIONS)
}

pub fn describe_cluster<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let refused = |code: ErrorCode, message: &str| {
        DescribeClusterResponse::default()
            .with_error_code(code.get())
            .with_error_message(Some(text(message)))
            .with_endpoint_type(1)
            .with_cluster_authorized_operations(NO_OPERATIONS)
    };
    if version >= 1 {
        match request.endpoint_type {
            1 => {}
            2 => {
                let message = "The request was sent to an endpoint of the wrong type.";
                return refused(ErrorCode::MISMATCHED_ENDPOINT_TYPE, message);
            }
            _ => {
                let message = "The endpoint type is not supported.";
                return refused(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, message);
            }
        }
    }
    let image = shard.image();
    let brokers = image.brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(shard.listener_name(connection.listener()))?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id.get()))
                .with_host(text(&*endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(broker.rack.as_deref().map(text)),
        )
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(1)
        .with_cluster_id(text(shard.cluster_id()))
        .with_controller_id(BrokerId(image.node().get()))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(NO_OPERATIONS)
}
