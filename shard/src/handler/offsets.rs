//! ListOffsets, DeleteRecords and OffsetForLeaderEpoch: questions to the owners of partitions.

use std::collections::BTreeMap;
use std::rc::Rc;

use engine::id::{LeaderEpoch, PartitionId, PartitionIndex, Timestamp};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
};
use net::error_code::ErrorCode;
use net::topic::TopicRef;
use replication::config::topic::Cleanup;

use crate::handler::{self, Pauses, read_code};
use crate::io::Io;
use crate::message::{
    DeleteItem, EpochQuery, FoundOffset, Message, OffsetQuery, OffsetSpec, ReadError, Reply,
};
use crate::shard::Shard;

/// Groups what is asked by the shard that can answer.
pub(super) struct ByOwner<T> {
    orders: BTreeMap<usize, Vec<T>>,
}

impl<T> ByOwner<T> {
    pub(super) const fn new() -> Self {
        Self { orders: BTreeMap::new() }
    }

    pub(super) fn add<I: Io>(&mut self, shard: &Shard<I>, partition: PartitionId, item: T) {
        self.orders.entry(shard.owner(partition)).or_default().push(item);
    }

    /// The answers of all owners.
    pub(super) async fn ask<I: Io>(
        self,
        shard: &Rc<Shard<I>>,
        message: impl Fn(Vec<T>) -> Message,
    ) -> Vec<Reply<I>> {
        let calls: Vec<_> = self
            .orders
            .into_iter()
            .map(|(owner, items)| shard.call(owner, message(items)))
            .collect();
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            replies.push(call.wait().await);
        }
        replies
    }
}

/// The partition that a request means.
pub(super) fn find<I: Io>(
    shard: &Shard<I>,
    topic: &TopicName,
    index: i32,
) -> Result<PartitionId, ErrorCode> {
    let image = shard.image();
    let topic = handler::find_topic(&image, &TopicRef::Name(topic.0.clone()))?;
    let index = PartitionIndex::checked(index)
        .filter(|index| topic.partition(*index).is_some())
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok(PartitionId { topic: topic.id(), index })
}

/// Kafka's special times, and the first version that may ask with each.
fn spec(time: i64, version: i16) -> Result<OffsetSpec, ErrorCode> {
    let (spec, from) = match time {
        0.. => (OffsetSpec::At(Timestamp::new(time)), 0),
        -1 => (OffsetSpec::Latest, 0),
        -2 => (OffsetSpec::Earliest, 0),
        -3 => (OffsetSpec::MaxTimestamp, 7),
        -4 => (OffsetSpec::Earliest, 8),
        -5 => (OffsetSpec::Nowhere, 9),
        -6 => (OffsetSpec::Nowhere, 11),
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    if version < from { Err(ErrorCode::UNSUPPORTED_VERSION) } else { Ok(spec) }
}

pub async fn list<I: Io>(
    shard: &Rc<Shard<I>>,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let mut topics: Vec<ListOffsetsTopicResponse> = Vec::with_capacity(request.topics.len());
    let mut places = Vec::new();
    let mut orders = ByOwner::new();
    let mut counts: BTreeMap<(TopicName, i32), usize> = BTreeMap::new();
    let mut pauses = Pauses::new(&shard.io);
    for topic in &request.topics {
        for asked in &topic.partitions {
            *counts.entry((topic.name.clone(), asked.partition_index)).or_default() += 1;
            pauses.next().await;
        }
    }
    for topic in request.topics {
        let mut partitions: Vec<ListOffsetsPartitionResponse> = Vec::new();
        for asked in topic.partitions {
            pauses.next().await;
            let index = asked.partition_index;
            // What is asked twice is answered once. Without a count, it has been.
            match counts.remove(&(topic.name.clone(), index)) {
                Some(1) => {}
                Some(_) => {
                    partitions.push(refused_offset(index, ErrorCode::INVALID_REQUEST));
                    continue;
                }
                None => continue,
            }
            let query = find(shard, &topic.name, index).and_then(|partition| {
                if !matches!(request.isolation_level, 0 | 1) {
                    return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
                }
                Ok((partition, spec(asked.timestamp, version)?))
            });
            match query {
                Err(code) => partitions.push(refused_offset(index, code)),
                Ok((partition, spec)) => {
                    let slot = places.len();
                    places.push((topics.len(), partitions.len()));
                    let leader_epoch = LeaderEpoch::new(asked.current_leader_epoch);
                    let query = OffsetQuery { slot, partition, leader_epoch, spec };
                    orders.add(shard, partition, query);
                    partitions.push(refused_offset(index, ErrorCode::NONE));
                }
            }
        }
        if !partitions.is_empty() {
            let answer = ListOffsetsTopicResponse::default().with_name(topic.name);
            topics.push(answer.with_partitions(partitions));
        }
    }
    for reply in orders.ask(shard, Message::ListOffsets).await {
        let Reply::Offsets(found) = reply else { unreachable!("offsets were asked for") };
        for (slot, result) in found {
            let (topic, partition) = places[slot];
            place_offset(&mut topics[topic].partitions[partition], result);
        }
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn refused_offset(index: i32, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default().with_partition_index(index).with_error_code(code.get())
}

fn place_offset(target: &mut ListOffsetsPartitionResponse, result: Result<FoundOffset, ReadError>) {
    match result {
        Ok(found) => {
            target.timestamp = found.timestamp.get();
            target.offset = found.offset.map_or(-1, |offset| offset.get());
            target.leader_epoch = found.leader_epoch.get();
        }
        Err(error) => target.error_code = read_code(error).get(),
    }
}

pub async fn delete_records<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics: Vec<DeleteRecordsTopicResult> = Vec::with_capacity(request.topics.len());
    let mut places = Vec::new();
    let mut orders = ByOwner::new();
    let mut pauses = Pauses::new(&shard.io);
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pauses.next().await;
            let index = asked.partition_index;
            let refused = |code: ErrorCode| {
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(index)
                    .with_low_watermark(-1)
                    .with_error_code(code.get())
            };
            let found = find(shard, &topic.name, index);
            match found.and_then(|partition| deletable(shard, partition)) {
                Err(code) => partitions.push(refused(code)),
                Ok(partition) => {
                    let slot = places.len();
                    places.push((topics.len(), partitions.len()));
                    orders.add(shard, partition, DeleteItem { slot, partition, to: asked.offset });
                    partitions.push(refused(ErrorCode::NONE));
                }
            }
        }
        let answer = DeleteRecordsTopicResult::default().with_name(topic.name);
        topics.push(answer.with_partitions(partitions));
    }
    for reply in orders.ask(shard, Message::DeleteRecords).await {
        let Reply::Deleted(deleted) = reply else { unreachable!("deletions were asked for") };
        for (slot, result) in deleted {
            let (topic, partition) = places[slot];
            let target = &mut topics[topic].partitions[partition];
            match result {
                Ok(log_start) => target.low_watermark = log_start.get(),
                Err(error) => target.error_code = read_code(error).get(),
            }
        }
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Records of compacted and internal topics are not deleted by offset.
fn deletable<I: Io>(shard: &Shard<I>, partition: PartitionId) -> Result<PartitionId, ErrorCode> {
    let image = shard.image();
    let topic = image.topic_by_id(partition.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if topic.name().is_internal() {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if topic.config().cleanup == Cleanup::Compact {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    Ok(partition)
}

pub async fn epoch_ends<I: Io>(
    shard: &Rc<Shard<I>>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics: Vec<OffsetForLeaderTopicResult> = Vec::with_capacity(request.topics.len());
    let mut places = Vec::new();
    let mut orders = ByOwner::new();
    let mut pauses = Pauses::new(&shard.io);
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pauses.next().await;
            let index = asked.partition;
            let refused = |code: ErrorCode| {
                EpochEndOffset::default().with_partition(index).with_error_code(code.get())
            };
            match find(shard, &topic.topic, index) {
                Err(code) => partitions.push(refused(code)),
                Ok(partition) => {
                    let slot = places.len();
                    places.push((topics.len(), partitions.len()));
                    let query = EpochQuery {
                        slot,
                        partition,
                        current_epoch: LeaderEpoch::new(asked.current_leader_epoch),
                        epoch: LeaderEpoch::new(asked.leader_epoch),
                    };
                    orders.add(shard, partition, query);
                    partitions.push(refused(ErrorCode::NONE));
                }
            }
        }
        let answer = OffsetForLeaderTopicResult::default().with_topic(topic.topic);
        topics.push(answer.with_partitions(partitions));
    }
    for reply in orders.ask(shard, Message::EpochEnds).await {
        let Reply::EpochEnds(ends) = reply else { unreachable!("epoch ends were asked for") };
        for (slot, result) in ends {
            let (topic, partition) = places[slot];
            let target = &mut topics[topic].partitions[partition];
            match result {
                Ok((epoch, end)) => {
                    target.leader_epoch = epoch.get();
                    target.end_offset = end.map_or(-1, |end| end.get());
                }
                Err(error) => target.error_code = read_code(error).get(),
            }
        }
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}
