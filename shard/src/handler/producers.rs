//! DescribeProducers: who has written to a partition with a producer id, and how far.

use std::collections::BTreeSet;
use std::rc::Rc;

use engine::producers::ActiveProducer;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use net::error_code::ErrorCode;
use replication::topic_name::TopicName;

use crate::handler::offsets::{ByOwner, find};
use crate::handler::{Pauses, read_code, text};
use crate::io::Io;
use crate::message::{Message, ProducersQuery, Reply};
use crate::shard::Shard;

/// "There is none": no coordinator and no transaction.
const NONE: i32 = -1;

/// A partition that is named twice is described once: an answer is no larger than all there is.
pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics: Vec<TopicResponse> = Vec::with_capacity(request.topics.len());
    let mut places = Vec::new();
    let mut orders = ByOwner::new();
    let mut named = BTreeSet::new();
    let mut pauses = Pauses::new(&shard.io);
    for topic in request.topics {
        let fault = TopicName::checked(&topic.name).err();
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            pauses.next().await;
            let response = PartitionResponse::default().with_partition_index(index);
            let refused = |code: ErrorCode| response.clone().with_error_code(code.get());
            match (&fault, find(shard, &topic.name, index)) {
                (Some(fault), _) => partitions.push(
                    refused(ErrorCode::INVALID_TOPIC_EXCEPTION)
                        .with_error_message(Some(text(fault.message()))),
                ),
                (None, Err(code)) => partitions.push(refused(code).with_error_message(None)),
                (None, Ok(partition)) if named.insert(partition) => {
                    let slot = places.len();
                    places.push((topics.len(), partitions.len()));
                    orders.add(shard, partition, ProducersQuery { slot, partition });
                    partitions.push(response.with_error_message(None));
                }
                (None, Ok(_)) => {}
            }
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    for reply in orders.ask(shard, Message::Producers).await {
        let Reply::Producers(found) = reply else { unreachable!("producers were asked for") };
        for (slot, result) in found {
            pauses.next().await;
            let (topic, partition) = places[slot];
            let target = &mut topics[topic].partitions[partition];
            match result {
                Ok(producers) => {
                    target.active_producers = producers.iter().map(described).collect();
                }
                Err(error) => target.error_code = read_code(error).get(),
            }
        }
    }
    DescribeProducersResponse::default().with_topics(topics)
}

fn described(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id.get()))
        .with_producer_epoch(producer.epoch.get().into())
        .with_last_sequence(producer.last_sequence.get())
        .with_last_timestamp(producer.last_timestamp.get())
        .with_coordinator_epoch(NONE)
        .with_current_txn_start_offset(NONE.into())
}
