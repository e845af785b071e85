//! OffsetCommit, OffsetFetch, OffsetDelete and FindCoordinator: what groups have read, and who knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use engine::id::{LeaderEpoch, PartitionIndex, TopicId};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use net::group_offsets::TOPIC_IDS_FROM;
use net::topic::TopicRef;
use replication::group::answer::{Answer, FoundOffset, GroupError};
use replication::group::request::{Commit, Fetch, OffsetToKeep, Request as Asked};
use replication::image::Image;
use uuid::Uuid;

use crate::connection::Connection;
use crate::controller::Command;
use crate::handler::groups::{Asking, group_name, identity, seat_of, short};
use crate::handler::{Pauses, absence_code, find_topic, group_code, text};
use crate::io::Io;
use crate::limits::SHORT_ENTRIES_MAX;
use crate::shard::Shard;

// OffsetCommit.

/// First version that says that a group is not there, where older ones hear of a wrong generation.
const COMMIT_NOT_FOUND_FROM: i16 = 9;

pub async fn commit<I: Io>(
    shard: &Rc<Shard<I>>,
    body: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let mut pauses = Pauses::new(&shard.io);
    let mut results: Vec<Vec<ErrorCode>> = Vec::with_capacity(body.topics.len());
    let mut offsets = Vec::new();
    let mut places = Vec::new();
    for (topic, at) in body.topics.iter().zip(0..) {
        let mut codes = Vec::with_capacity(topic.partitions.len());
        for (partition, place) in topic.partitions.iter().zip(0..) {
            pauses.next().await;
            match asked_offset(shard, topic, partition, version) {
                Ok(offset) => {
                    offsets.push(offset);
                    places.push((at, place));
                    codes.push(ErrorCode::NONE);
                }
                Err(code) => codes.push(code),
            }
        }
        results.push(codes);
    }
    let committed = commit_known(shard, &body, offsets, version).await;
    for (&(at, place), index) in places.iter().zip(0_usize..) {
        let row: &mut Vec<ErrorCode> = &mut results[at];
        row[place] = match &committed {
            Ok(codes) => codes[index],
            Err(code) => *code,
        };
    }
    let mut topics = Vec::with_capacity(body.topics.len());
    for (topic, codes) in body.topics.into_iter().zip(results) {
        let mut partitions = Vec::with_capacity(codes.len());
        for (partition, code) in topic.partitions.iter().zip(codes) {
            pauses.next().await;
            let result = OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index);
            partitions.push(result.with_error_code(code.get()));
        }
        if !partitions.is_empty() {
            let result = OffsetCommitResponseTopic::default().with_name(topic.name);
            topics.push(result.with_topic_id(topic.topic_id).with_partitions(partitions));
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

/// The codes of `offsets`, in order, or one for all of them.
async fn commit_known<I: Io>(
    shard: &Rc<Shard<I>>,
    body: &OffsetCommitRequest,
    offsets: Vec<OffsetToKeep>,
    version: i16,
) -> Result<Vec<ErrorCode>, ErrorCode> {
    if offsets.is_empty() {
        return Ok(Vec::new());
    }
    let commit = Commit {
        // A group without a name exists in Kafka, by committing to it.
        group: short(&body.group_id.0).or(Err(ErrorCode::INVALID_GROUP_ID))?,
        identity: identity(&body.member_id, body.group_instance_id.as_ref())?,
        generation: body.generation_id_or_member_epoch,
        offsets,
        retention_ms: Some(body.retention_time_ms).filter(|&ms| ms >= 0),
    };
    let name = Arc::clone(&commit.group);
    let code = |result: Result<(), GroupError>| match result {
        Ok(()) => ErrorCode::NONE,
        Err(GroupError::GroupNotFound) if version < COMMIT_NOT_FOUND_FROM => {
            ErrorCode::ILLEGAL_GENERATION
        }
        Err(error) => group_code(error),
    };
    match Asking::send(shard, &name, Asked::Commit(commit)).wait().await {
        Ok(Answer::Commit(results)) => Ok(results.into_iter().map(code).collect()),
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => Err(absence_code(absence)),
    }
}

fn asked_offset<I: Io>(
    shard: &Shard<I>,
    topic: &OffsetCommitRequestTopic,
    partition: &OffsetCommitRequestPartition,
    version: i16,
) -> Result<OffsetToKeep, ErrorCode> {
    let image = shard.image();
    let known = find_topic(&image, &reference(&topic.name, topic.topic_id, version))?;
    let index = PartitionIndex::checked(partition.partition_index)
        .filter(|index| known.partition(*index).is_some())
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
    Ok(OffsetToKeep {
        topic: known.name().as_str().into(),
        partition: index,
        offset: partition.committed_offset,
        leader_epoch: LeaderEpoch::new(partition.committed_leader_epoch),
        metadata: short(metadata).or(Err(ErrorCode::OFFSET_METADATA_TOO_LARGE))?,
        committed_at: None,
    })
}

/// How a request of `version` names a topic.
fn reference(name: &StrBytes, id: Uuid, version: i16) -> TopicRef {
    if version < TOPIC_IDS_FROM {
        TopicRef::Name(name.clone())
    } else {
        TopicRef::Id(id.into_bytes())
    }
}

// OffsetFetch.

/// First version that names several groups.
const FETCH_MANY_FROM: i16 = 8;
/// First version with an error of the whole group.
const FETCH_ERROR_FROM: i16 = 2;

/// Which partitions of a topic are asked for.
type Wanted = Option<Vec<(Arc<str>, Vec<i32>)>>;

/// Whether the answer is of all offsets of a group, or of many.
pub fn may_be_long(body: &OffsetFetchRequest) -> bool {
    let of_one = body.topics.iter().flatten().map(|it| it.partition_indexes.len());
    let topics = body.groups.iter().filter_map(|it| it.topics.as_ref()).flatten();
    let named: usize = of_one.chain(topics.map(|it| it.partition_indexes.len())).sum();
    let is_all = body.groups.is_empty() && body.topics.is_none()
        || body.groups.iter().any(|it| it.topics.is_none());
    is_all || named > SHORT_ENTRIES_MAX
}

/// A partition that is named twice is answered once, and a group that is named twice is refused the second time:
/// an answer is no larger than all there is.
pub async fn fetch<I: Io>(
    shard: &Rc<Shard<I>>,
    body: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    if version >= FETCH_MANY_FROM {
        return OffsetFetchResponse::default().with_groups(fetch_many(shard, body, version).await);
    }
    let wanted: Wanted = body.topics.as_ref().map(|topics| {
        let topics = topics.iter();
        topics.map(|it| (it.name.as_str().into(), it.partition_indexes.clone())).collect()
    });
    let call = send_fetch(shard, &body.group_id, None, wanted).await;
    match found_offsets(call).await {
        Ok(offsets) => {
            OffsetFetchResponse::default().with_topics(present_one(shard, offsets).await)
        }
        Err(code) if version >= FETCH_ERROR_FROM => {
            OffsetFetchResponse::default().with_error_code(code.get())
        }
        Err(code) => OffsetFetchResponse::default().with_topics(refused_offsets(&body, code)),
    }
}

async fn fetch_many<I: Io>(
    shard: &Rc<Shard<I>>,
    body: OffsetFetchRequest,
    version: i16,
) -> Vec<OffsetFetchResponseGroup> {
    let image = shard.image();
    let mut named = BTreeSet::new();
    let mut calls = Vec::with_capacity(body.groups.len());
    for group in &body.groups {
        calls.push(if named.insert(&group.group_id) {
            ask_group(shard, &image, group, version).await
        } else {
            Err(ErrorCode::INVALID_REQUEST)
        });
    }
    let mut groups = Vec::with_capacity(calls.len());
    for (group, call) in body.groups.iter().zip(calls) {
        let found = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
        groups.push(match found_offsets(call).await {
            Ok(offsets) if version >= TOPIC_IDS_FROM => {
                let wanted = group.topics.as_deref().unwrap_or_default();
                found.with_topics(present_by_id(shard, &image, offsets, wanted).await)
            }
            Ok(offsets) => found.with_topics(present_many(shard, offsets).await),
            Err(code) => found.with_error_code(code.get()),
        });
    }
    groups
}

async fn ask_group<I: Io>(
    shard: &Rc<Shard<I>>,
    image: &Image,
    group: &OffsetFetchRequestGroup,
    version: i16,
) -> Result<Asking<I>, ErrorCode> {
    // As Kafka: an epoch without a member is a mistake.
    if group.member_id.is_none() && group.member_epoch >= 0 {
        return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    let name = |topic: &OffsetFetchRequestTopics| match version {
        ..TOPIC_IDS_FROM => Some(topic.name.as_str().into()),
        _ => Some(image.topic_by_id(topic_id(topic.topic_id))?.name().as_str().into()),
    };
    let wanted: Wanted = group.topics.as_ref().map(|topics| {
        let topics = topics.iter();
        topics.filter_map(|it| Some((name(it)?, it.partition_indexes.clone()))).collect()
    });
    let member = group.member_id.as_ref().map(|id| (id.as_str().into(), group.member_epoch));
    send_fetch(shard, &group.group_id, member, wanted).await
}

async fn send_fetch<I: Io>(
    shard: &Rc<Shard<I>>,
    group: &GroupId,
    member: Option<(Arc<str>, i32)>,
    wanted: Wanted,
) -> Result<Asking<I>, ErrorCode> {
    let name = short(&group.0).or(Err(ErrorCode::INVALID_GROUP_ID))?;
    let partitions = match wanted {
        Some(topics) => Some(each_once(shard, topics).await),
        None => None,
    };
    let fetch = Fetch { group: Arc::clone(&name), member, partitions };
    Ok(Asking::send(shard, &name, Asked::Fetch(fetch)))
}

async fn each_once<I: Io>(
    shard: &Shard<I>,
    topics: Vec<(Arc<str>, Vec<i32>)>,
) -> Vec<(Arc<str>, PartitionIndex)> {
    let mut pauses = Pauses::new(&shard.io);
    let mut named = BTreeSet::new();
    let mut partitions = Vec::new();
    for (topic, indexes) in topics {
        for index in indexes.into_iter().filter_map(PartitionIndex::checked) {
            pauses.next().await;
            if named.insert((Arc::clone(&topic), index)) {
                partitions.push((Arc::clone(&topic), index));
            }
        }
    }
    partitions
}

async fn found_offsets<I: Io>(
    call: Result<Asking<I>, ErrorCode>,
) -> Result<Vec<FoundOffset>, ErrorCode> {
    match call?.wait().await {
        Ok(Answer::Fetch(offsets)) => offsets.map_err(group_code),
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => Err(absence_code(absence)),
    }
}

/// By topic, in order.
fn by_topic(offsets: Vec<FoundOffset>) -> BTreeMap<Arc<str>, Vec<FoundOffset>> {
    let mut topics: BTreeMap<Arc<str>, Vec<FoundOffset>> = BTreeMap::new();
    for offset in offsets {
        topics.entry(Arc::clone(&offset.topic)).or_default().push(offset);
    }
    topics
}

async fn present_many<I: Io>(
    shard: &Shard<I>,
    offsets: Vec<FoundOffset>,
) -> Vec<OffsetFetchResponseTopics> {
    let mut pauses = Pauses::new(&shard.io);
    let mut topics = Vec::new();
    for (topic, offsets) in by_topic(offsets) {
        let mut partitions = Vec::with_capacity(offsets.len());
        for it in offsets {
            pauses.next().await;
            let partition = OffsetFetchResponsePartitions::default()
                .with_partition_index(it.partition.wire())
                .with_committed_offset(-1)
                .with_metadata(Some(text("")));
            partitions.push(match it.committed {
                None => partition,
                Some(committed) => partition
                    .with_committed_offset(committed.offset)
                    .with_committed_leader_epoch(committed.leader_epoch.get())
                    .with_metadata(Some(text(&*committed.metadata))),
            });
        }
        let found = OffsetFetchResponseTopics::default().with_name(TopicName(text(&*topic)));
        topics.push(found.with_partitions(partitions));
    }
    topics
}

/// Topics that were asked for and are not there come last. What the group has of a topic that was deleted
/// since has no id to say it by, and is left out.
async fn present_by_id<I: Io>(
    shard: &Shard<I>,
    image: &Image,
    offsets: Vec<FoundOffset>,
    wanted: &[OffsetFetchRequestTopics],
) -> Vec<OffsetFetchResponseTopics> {
    let found = present_many(shard, offsets).await.into_iter().filter_map(|topic| {
        let id = image.topic(&topic.name)?.id();
        Some(topic.with_topic_id(Uuid::from_bytes(id.get())))
    });
    let unknown = wanted.iter().filter(|it| image.topic_by_id(topic_id(it.topic_id)).is_none());
    let unknown = unknown.map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|&index| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(-1)
                .with_metadata(Some(text("")))
                .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.get())
        });
        OffsetFetchResponseTopics::default()
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    found.chain(unknown).collect()
}

const fn topic_id(id: Uuid) -> TopicId {
    TopicId::new(id.into_bytes())
}

async fn present_one<I: Io>(
    shard: &Shard<I>,
    offsets: Vec<FoundOffset>,
) -> Vec<OffsetFetchResponseTopic> {
    let topics = present_many(shard, offsets).await.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|it| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(it.partition_index)
                .with_committed_offset(it.committed_offset)
                .with_committed_leader_epoch(it.committed_leader_epoch)
                .with_metadata(it.metadata)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

/// The oldest version has an error in each partition only.
fn refused_offsets(body: &OffsetFetchRequest, code: ErrorCode) -> Vec<OffsetFetchResponseTopic> {
    let topics = body.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|&index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(-1)
                .with_metadata(Some(text("")))
                .with_error_code(code.get())
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

// OffsetDelete.

pub async fn delete<I: Io>(
    shard: &Rc<Shard<I>>,
    body: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let refuse = |code: ErrorCode| OffsetDeleteResponse::default().with_error_code(code.get());
    let group = match group_name(&body.group_id.0) {
        Ok(group) => group,
        Err(code) => return refuse(code),
    };
    let image = shard.image();
    let is_known = |topic: &TopicName, index: i32| {
        let index = PartitionIndex::checked(index)?;
        image.topic(topic)?.partition(index).map(|_| index)
    };
    let mut pauses = Pauses::new(&shard.io);
    let mut partitions = Vec::new();
    for topic in &body.topics {
        for partition in &topic.partitions {
            pauses.next().await;
            if let Some(index) = is_known(&topic.name, partition.partition_index) {
                partitions.push((Arc::from(topic.name.as_str()), index));
            }
        }
    }
    let asked = Asked::DeleteOffsets { group: Arc::clone(&group), partitions };
    let mut deleted = match Asking::send(shard, &group, asked).wait().await {
        Ok(Answer::DeleteOffsets(Ok(deleted))) => deleted.into_iter(),
        Ok(Answer::DeleteOffsets(Err(error))) => return refuse(group_code(error)),
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => return refuse(absence_code(absence)),
    };
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in body.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            pauses.next().await;
            let index = partition.partition_index;
            let code = match is_known(&topic.name, index).and_then(|_| deleted.next()) {
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Some(Ok(())) => ErrorCode::NONE,
                Some(Err(error)) => group_code(error),
            };
            let result = OffsetDeleteResponsePartition::default().with_partition_index(index);
            partitions.push(result.with_error_code(code.get()));
        }
        let result = OffsetDeleteResponseTopic::default().with_name(topic.name);
        topics.push(result.with_partitions(partitions));
    }
    OffsetDeleteResponse::default().with_topics(topics)
}

// FindCoordinator.

/// First version that asks for several at once.
const FIND_MANY_FROM: i16 = 4;
/// What a key names.
const GROUP: i8 = 0;

pub async fn find_coordinator<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    body: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let is_many = version >= FIND_MANY_FROM;
    let keys = if is_many { body.coordinator_keys } else { vec![body.key] };
    let mut pauses = Pauses::new(&shard.io);
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        pauses.next().await;
        let found = find_one(shard, connection, body.key_type, &key).await;
        let coordinator = Coordinator::default().with_key(key).with_error_message(Some(text("")));
        coordinators.push(match found {
            Ok((node, host, port)) => {
                let coordinator = coordinator.with_node_id(BrokerId(node)).with_host(text(host));
                coordinator.with_port(port)
            }
            Err(code) => coordinator
                .with_error_code(code.get())
                .with_error_message(Some(text(code.to_string())))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
        });
    }
    if is_many {
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let one = coordinators.pop().expect("one was asked for");
    FindCoordinatorResponse::default()
        .with_error_code(one.error_code)
        .with_error_message(one.error_message)
        .with_node_id(one.node_id)
        .with_host(one.host)
        .with_port(one.port)
}

async fn find_one<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    key_type: i8,
    key: &str,
) -> Result<(i32, String, i32), ErrorCode> {
    if key_type != GROUP {
        // There are no transactions and no share groups yet.
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if seat_of(&shard.image(), key).is_none() {
        shard.command(Command::OffsetsTopic).await;
    }
    let image = shard.image();
    let seat = seat_of(&image, key).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    let leader = image.partition(seat).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?.leader();
    let broker = image.broker(leader).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    let endpoint = broker.endpoint(shard.listener_name(connection.listener()));
    let endpoint = endpoint.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    Ok((broker.id.get(), endpoint.host.to_string(), endpoint.port.into()))
}
