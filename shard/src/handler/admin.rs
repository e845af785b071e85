//! Topics made, deleted and grown, producer ids, and what the log directory holds.
//!
//! `execute_…` runs on the controller; its counterpart sends the request there. A duration beside an answer is
//! for how long its client must wait then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use engine::bug::Bug;
use engine::id::{PartitionId, TopicId};
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use replication::config::describe;
use replication::event::Event;
use replication::image::Image;
use replication::producer_ids;
use replication::refusal::{Reason, Refusal};
use replication::topics::{self, Creation, Deletion, MorePartitions, NewTopic, TopicRef};
use uuid::Uuid;

use crate::accounts::toll::{Asker, Strictness, Toll};
use crate::controller::{Command, Outcome};
use crate::handler::{Pauses, reason_code, text};
use crate::io::{Io, Space};
use crate::message::{Message, Reply};
use crate::shard::Shard;

// First versions that know that a client has made too many changes.
const CREATION_THROTTLED_FROM: i16 = 6;
const DELETION_THROTTLED_FROM: i16 = 5;
const GROWTH_THROTTLED_FROM: i16 = 3;

fn asker(client: &str, version: i16, throttled_from: i16) -> Asker {
    let strictness =
        if version < throttled_from { Strictness::Throttle } else { Strictness::Refuse };
    Asker { client: client.to_owned(), strictness }
}

pub async fn create_topics<I: Io>(
    shard: &Rc<Shard<I>>,
    request: CreateTopicsRequest,
    version: i16,
    client: &str,
) -> (CreateTopicsResponse, Duration) {
    let asker = asker(client, version, CREATION_THROTTLED_FROM);
    match shard.command(Command::CreateTopics(request, asker)).await {
        Outcome::CreateTopics(response, wait) => (response, wait),
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

pub async fn execute_create<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &CreateTopicsRequest,
    asker: &Asker,
) -> (CreateTopicsResponse, Duration) {
    let mut pauses = Pauses::new(&shard.io);
    let mut asked = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        pauses.next().await;
        asked.push(NewTopic {
            name: &topic.name,
            partition_count: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic
                .assignments
                .iter()
                .map(|it| (it.partition_index, it.broker_ids.iter().map(|id| id.0).collect()))
                .collect(),
            configs: topic
                .configs
                .iter()
                .map(|it| (it.name.as_str(), it.value.as_ref().map(StrBytes::as_str)))
                .collect(),
            id: shard.draw_topic_id(),
        });
    }
    let image = shard.controller.image();
    let mut created = topics::create_topics(&image, &asked);
    let mut toll = Toll::new(shard, &image, asker);
    for creation in created.iter_mut().filter(|_| !request.validate_only) {
        if let Ok(topic) = &creation.result
            && let Err(refusal) = toll.pay(&image, &topic.event)
        {
            creation.result = Err(refusal);
        }
    }
    let wait = toll.wait();
    let events: Vec<Event> =
        created.iter().filter_map(|it| Some(it.result.as_ref().ok()?.event.clone())).collect();
    let committed = if request.validate_only { Ok(()) } else { shard.commit_growth(&events).await };
    let mut results = Vec::with_capacity(created.len());
    for created in created {
        pauses.next().await;
        results.push(creation_result(&image, created, committed));
    }
    (CreateTopicsResponse::default().with_topics(results), wait)
}

fn creation_result(
    image: &Image,
    created: Creation,
    committed: Result<(), ErrorCode>,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default()
        .with_name(TopicName(text(created.name)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()));
    match (created.result, committed) {
        (Err(refusal), _) => result
            .with_error_code(reason_code(refusal.reason).get())
            .with_error_message(message(&refusal)),
        (Ok(_), Err(code)) => result.with_error_code(code.get()),
        (Ok(topic), Ok(())) => {
            let entries = describe::topic_entries(image, &topic.overrides);
            let configs = entries.into_iter().map(|entry| {
                CreatableTopicConfigs::default()
                    .with_name(text(entry.name))
                    .with_value(entry.value.map(text))
                    .with_read_only(entry.is_read_only)
                    .with_config_source(entry.source.id())
                    .with_is_sensitive(entry.is_sensitive)
            });
            result
                .with_topic_id(Uuid::from_bytes(topic.id.get()))
                .with_num_partitions(i32::try_from(topic.partition_count).unwrap_or(i32::MAX))
                .with_replication_factor(
                    i16::try_from(topic.replication_factor).unwrap_or(i16::MAX),
                )
                .with_configs(Some(configs.collect()))
        }
    }
}

/// What is said with a refusal; nothing where Kafka says nothing.
fn message(refusal: &Refusal) -> Option<StrBytes> {
    (!refusal.message.is_empty()).then(|| text(refusal.message.clone()))
}

/// Makes what can be made. Clients are not told what cannot: they see topics that are not there.
pub async fn execute_auto_create<I: Io>(shard: &Rc<Shard<I>>, names: &[String], asker: &Asker) {
    let image = shard.controller.image();
    let mut created = topics::auto_create(&image, names, || shard.draw_topic_id());
    let mut toll = Toll::new(shard, &image, asker);
    for creation in &mut created {
        if let Ok(topic) = &creation.result
            && let Err(refusal) = toll.pay(&image, &topic.event)
        {
            creation.result = Err(refusal);
        }
    }
    toll.wait();
    let refused = created.iter().find_map(|it| Some((&it.name, it.result.as_ref().err()?)));
    if let Some((topic, refusal)) = refused {
        let why = &refusal.message;
        tracing::info!(topic, %why, "a topic that was asked for is not created, maybe others too");
    }
    let events: Vec<Event> =
        created.into_iter().filter_map(|it| Some(it.result.ok()?.event)).collect();
    if let Err(code) = shard.commit_growth(&events).await {
        tracing::warn!(?code, "topics that were asked for are not created");
    }
}

/// Makes the topic that groups are written down in. Who needs it asks again until it is there.
pub async fn execute_offsets_topic<I: Io>(shard: &Rc<Shard<I>>) {
    let image = shard.controller.image();
    if image.topic(topics::OFFSETS_TOPIC_NAME).is_some() {
        return;
    }
    let created = topics::create_offsets_topic(&image, shard.draw_topic_id());
    match created.result {
        Ok(topic) => {
            if let Err(code) = shard.commit_growth(&[topic.event]).await {
                tracing::warn!(?code, "the topic of groups' offsets is not created");
            }
        }
        Err(refusal) => {
            let why = refusal.message;
            tracing::warn!(%why, "the topic of groups' offsets is not created");
        }
    }
}

pub async fn delete_topics<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DeleteTopicsRequest,
    version: i16,
    client: &str,
) -> (DeleteTopicsResponse, Duration) {
    let asker = asker(client, version, DELETION_THROTTLED_FROM);
    match shard.command(Command::DeleteTopics(request, version, asker)).await {
        Outcome::DeleteTopics(response, wait) => (response, wait),
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

/// First version that names or identifies each topic in a struct of its own.
const DELETE_BY_ID_FROM: i16 = 6;
/// First version that knows that deletion can be disabled.
const DELETION_DISABLED_FROM: i16 = 3;

pub async fn execute_delete<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &DeleteTopicsRequest,
    version: i16,
    asker: &Asker,
) -> (DeleteTopicsResponse, Duration) {
    let asked: Vec<TopicRef<'_>> = if version >= DELETE_BY_ID_FROM {
        let topics = request.topics.iter();
        topics
            .map(|topic| TopicRef {
                name: topic.name.as_ref().map(|name| name.0.as_str()),
                id: TopicId::new(*topic.topic_id.as_bytes()),
            })
            .collect()
    } else {
        let names = request.topic_names.iter();
        names.map(|name| TopicRef { name: Some(name.0.as_str()), id: TopicId::ZERO }).collect()
    };
    let image = shard.controller.image();
    let mut deletions = if image.broker_config().topics.deletable {
        topics::delete_topics(&image, &asked)
    } else {
        asked.iter().map(|topic| deletion_disabled(topic, version)).collect()
    };
    let mut toll = Toll::new(shard, &image, asker);
    deletions.iter_mut().for_each(|it| toll.pay_if(&image, &mut it.result));
    let wait = toll.wait();
    let events: Vec<Event> = deletions.iter().filter_map(|it| it.result.clone().ok()).collect();
    let committed = shard.commit_events(&events).await;
    let responses = deletions.into_iter().map(|deletion| {
        let result = DeletableTopicResult::default()
            .with_name(deletion.name.map(|name| TopicName(text(name))))
            .with_topic_id(if version >= DELETE_BY_ID_FROM {
                Uuid::from_bytes(deletion.id.get())
            } else {
                Uuid::nil()
            });
        match (deletion.result, committed) {
            (Ok(_), Ok(())) => result,
            (Ok(_), Err(code)) => result.with_error_code(code.get()),
            (Err(refusal), _) => {
                let result = result.with_error_code(reason_code(refusal.reason).get());
                if version >= 5 { result.with_error_message(message(&refusal)) } else { result }
            }
        }
    });
    (DeleteTopicsResponse::default().with_responses(responses.collect()), wait)
}

fn deletion_disabled(topic: &TopicRef<'_>, version: i16) -> Deletion {
    let reason = if version < DELETION_DISABLED_FROM {
        Reason::InvalidRequest
    } else {
        Reason::TopicDeletionDisabled
    };
    Deletion {
        name: topic.name.map(str::to_owned),
        id: topic.id,
        result: Err(Refusal::new(reason, "Topic deletion is disabled: delete.topic.enable=false.")),
    }
}

pub async fn create_partitions<I: Io>(
    shard: &Rc<Shard<I>>,
    request: CreatePartitionsRequest,
    version: i16,
    client: &str,
) -> (CreatePartitionsResponse, Duration) {
    let asker = asker(client, version, GROWTH_THROTTLED_FROM);
    match shard.command(Command::CreatePartitions(request, asker)).await {
        Outcome::CreatePartitions(response, wait) => (response, wait),
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

pub async fn execute_create_partitions<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &CreatePartitionsRequest,
    asker: &Asker,
) -> (CreatePartitionsResponse, Duration) {
    let asked: Vec<MorePartitions<'_>> = request
        .topics
        .iter()
        .map(|topic| MorePartitions {
            name: &topic.name,
            partition_count: topic.count,
            assignments: topic.assignments.as_ref().map(|assignments| {
                let nodes = assignments.iter();
                nodes.map(|it| it.broker_ids.iter().map(|id| id.0).collect()).collect()
            }),
        })
        .collect();
    let image = shard.controller.image();
    let mut grown = topics::create_partitions(&image, &asked);
    let mut toll = Toll::new(shard, &image, asker);
    if !request.validate_only {
        grown.iter_mut().for_each(|it| toll.pay_if(&image, &mut it.result));
    }
    let wait = toll.wait();
    let events: Vec<Event> = grown.iter().filter_map(|it| it.result.clone().ok()).collect();
    let committed = if request.validate_only { Ok(()) } else { shard.commit_growth(&events).await };
    let results = grown.into_iter().map(|growth| {
        let result = CreatePartitionsTopicResult::default().with_name(TopicName(text(growth.name)));
        match (growth.result, committed) {
            (Ok(_), Ok(())) => result,
            (Ok(_), Err(code)) => result.with_error_code(code.get()),
            (Err(refusal), _) => result
                .with_error_code(reason_code(refusal.reason).get())
                .with_error_message(message(&refusal)),
        }
    });
    (CreatePartitionsResponse::default().with_results(results.collect()), wait)
}

/// Idempotent producers only: a transactional id is refused, as there are no transactions yet.
pub async fn init_producer_id<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return no_producer_id(ErrorCode::INVALID_REQUEST);
    }
    // A producer that has an id has an epoch. What it has counts for transactions only.
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return no_producer_id(ErrorCode::INVALID_REQUEST);
    }
    match shard.command(Command::InitProducerId).await {
        Outcome::InitProducerId(response) => response,
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

fn no_producer_id(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.get())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

pub async fn execute_init_producer_id<I: Io>(shard: &Rc<Shard<I>>) -> InitProducerIdResponse {
    let id = match shard.controller.take_producer_id() {
        Some(id) => id,
        None => {
            let Some((event, block)) = producer_ids::allocate(&shard.controller.image()) else {
                return no_producer_id(ErrorCode::UNKNOWN_SERVER_ERROR);
            };
            if !Bug::ProducerIdsReused.is_on()
                && let Err(code) = shard.commit_events(&[event]).await
            {
                return no_producer_id(code);
            }
            shard.controller.refill_producer_ids(block);
            shard.controller.take_producer_id().expect("a block has ids")
        }
    };
    InitProducerIdResponse::default().with_producer_id(ProducerId(id.get())).with_producer_epoch(0)
}

pub async fn describe_log_dirs<I: Io>(
    shard: &Rc<Shard<I>>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let calls: Vec<_> =
        (0..shard.shard_count()).map(|owner| shard.call(owner, Message::LogBytes)).collect();
    let mut log_bytes: BTreeMap<PartitionId, u64> = BTreeMap::new();
    for call in calls {
        let Reply::LogBytes(bytes) = call.wait().await else {
            unreachable!("bytes were asked for");
        };
        log_bytes.extend(bytes);
    }
    let mut pauses = Pauses::new(&shard.io);
    let mut wanted: Option<BTreeMap<StrBytes, BTreeSet<i32>>> =
        request.topics.is_some().then(BTreeMap::new);
    for topic in request.topics.into_iter().flatten() {
        let indexes = wanted.get_or_insert_default().entry(topic.topic.0).or_default();
        for index in topic.partitions {
            pauses.next().await;
            indexes.insert(index);
        }
    }
    let image = shard.image();
    let mut topics = Vec::new();
    for topic in image.topics() {
        pauses.next().await;
        let name = text(topic.name().as_str());
        let wanted = wanted.as_ref().map(|wanted| wanted.get(&name));
        if wanted.is_some_and(|it| it.is_none()) {
            continue;
        }
        let mut partitions = Vec::new();
        for id in crate::removal::partition_ids(topic) {
            pauses.next().await;
            let index = id.index.wire();
            let is_wanted = wanted.flatten().is_none_or(|it| it.contains(&index));
            let Some(bytes) = log_bytes.get(&id).filter(|_| is_wanted) else { continue };
            let partition = DescribeLogDirsPartition::default().with_partition_index(index);
            let bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
            partitions.push(partition.with_partition_size(bytes));
        }
        if !partitions.is_empty() {
            let described = DescribeLogDirsTopic::default().with_name(TopicName(name));
            topics.push(described.with_partitions(partitions));
        }
    }
    let space = shard.io.space().await;
    let known = |bytes: fn(&Space) -> u64| {
        space.as_ref().map_or(-1, |space| i64::try_from(bytes(space)).unwrap_or(i64::MAX))
    };
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(&*shard.config.data_dir))
        .with_topics(topics)
        .with_total_bytes(known(|space| space.total_bytes))
        .with_usable_bytes(known(|space| space.usable_bytes));
    DescribeLogDirsResponse::default().with_results(vec![result])
}
