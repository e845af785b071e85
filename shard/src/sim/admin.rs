//! A simulated administrator: topics made and deleted, records deleted, each until it is certain.
//!
//! What was answered stays so: it asks again after every failure, and compares with what it was told.

use std::time::Duration;

use engine::id::Offset;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::io::Io;
use crate::sim::SimIo;
use crate::sim::chance::Chance;
use crate::sim::failure::Check;
use crate::sim::history::{Durability, Event};
use crate::sim::policy::Policy;
use crate::sim::recorder::{Recorder, Target};
use crate::sim::wire::{Gone, Wire};

const RETRY_NANOS: u64 = 50_000_000;

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: String,
    pub partition_count: i32,
    pub durability: Durability,
    /// Segments roll by time: Kafka's smallest segment is larger than what a run writes.
    pub segment_ms: u64,
    /// `compression.type`, if batches do not stay as they come.
    pub compression: Option<&'static str>,
    pub policy: Policy,
}

/// A topic as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    pub topic_id: [u8; 16],
    pub partition_count: usize,
}

pub struct Admin {
    io: SimIo,
    node: usize,
    recorder: Recorder,
    chance: Chance,
    wire: Option<Wire>,
}

impl Admin {
    #[must_use]
    pub fn new(io: &SimIo, node: usize, recorder: &Recorder) -> Self {
        let (io, chance) = (io.clone(), Chance::new(io.random()));
        Self { io, node, recorder: recorder.clone(), chance, wire: None }
    }

    /// Makes the topic, and gives its partitions.
    pub async fn create(&mut self, wish: &Wish) -> Vec<Target> {
        let topic_id = loop {
            let (error, topic_id) = match self.try_create(wish).await {
                Ok(answer) => answer,
                Err(Gone) => continue,
            };
            match error {
                ErrorCode::NONE => break topic_id,
                ErrorCode::TOPIC_ALREADY_EXISTS => break self.id_of(&wish.name).await,
                other => self.on_error("create", other).await,
            }
        };
        let logs = (0..wish.partition_count).map(|partition| Target {
            topic: wish.name.clone(),
            topic_id,
            partition,
            log: self.recorder.log(wish.durability, wish.policy),
            durability: wish.durability,
            policy: wish.policy,
        });
        let targets: Vec<Target> = logs.collect();
        self.recorder.on_targets(&targets);
        targets
    }

    /// Deletes the topic with these partitions.
    pub async fn delete(&mut self, targets: &[Target]) {
        for target in targets {
            self.recorder.record(&Event::LogEnding { log: target.log });
        }
        let Some(topic_id) = targets.first().map(|target| target.topic_id) else { return };
        loop {
            match self.try_delete(topic_id).await {
                Ok(ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_ID) => return,
                Ok(other) => self.on_error("delete", other).await,
                Err(Gone) => {}
            }
        }
    }

    /// Deletes the records before `before`, once.
    pub async fn cut(&mut self, target: &Target, before: Offset) {
        let log = target.log;
        self.recorder.record(&Event::Cutting { log, before });
        match self.try_cut(target, before).await {
            Ok((ErrorCode::NONE, low_watermark)) => match Offset::checked(low_watermark) {
                Some(log_start) if log_start >= before => {
                    self.recorder.record(&Event::Cut { log, log_start });
                }
                _ => self.recorder.fail(
                    Check::Answer,
                    format!(
                        "records of log {} before {before} were deleted up to {low_watermark}",
                        log.0
                    ),
                ),
            },
            Ok((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, _)) if self.recorder.is_ending(log) => {}
            Ok((other, _)) => self.on_error("delete records", other).await,
            Err(Gone) => {}
        }
    }

    /// All topics.
    pub async fn describe(&mut self) -> Vec<Described> {
        loop {
            let request = MetadataRequest::default().with_topics(None);
            let answer: Result<MetadataResponse, Gone> =
                self.call(ApiKey::Metadata, 12, &request).await;
            if let Ok(response) = answer {
                return response.topics.iter().filter_map(described).collect();
            }
        }
    }

    async fn id_of(&mut self, name: &str) -> [u8; 16] {
        loop {
            let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            let request = MetadataRequest::default().with_topics(Some(vec![topic]));
            let answer: Result<MetadataResponse, Gone> =
                self.call(ApiKey::Metadata, 12, &request).await;
            let Ok(response) = answer else { continue };
            if let Some(found) = response.topics.iter().find_map(described) {
                return found.topic_id;
            }
            let error = response.topics.first().map_or(0, |topic| topic.error_code);
            self.on_error("describe", ErrorCode::new(error)).await;
        }
    }

    async fn try_create(&mut self, wish: &Wish) -> Result<(ErrorCode, [u8; 16]), Gone> {
        let config = |name: &'static str, value: String| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value)))
        };
        let mut configs = vec![config("segment.ms", wish.segment_ms.to_string())];
        if let Some(ms) = wish.policy.retention_ms {
            configs.push(config("retention.ms", ms.to_string()));
        }
        if let Some(bytes) = wish.policy.retention_bytes {
            configs.push(config("retention.bytes", bytes.to_string()));
        }
        if let Some(ms) = wish.policy.tombstone_ms {
            configs.push(config("cleanup.policy", "compact".to_owned()));
            configs.push(config("delete.retention.ms", ms.to_string()));
            configs.push(config("min.cleanable.dirty.ratio", "0".to_owned()));
        }
        if let Some(compression) = wish.compression {
            configs.push(config("compression.type", compression.to_owned()));
        }
        if wish.durability == Durability::Memory {
            configs.push(config("write.caching", "true".to_owned()));
        }
        let topic = CreatableTopic::default()
            .with_name(topic_name(&wish.name))
            .with_num_partitions(wish.partition_count)
            .with_replication_factor(1)
            .with_configs(configs);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response: CreateTopicsResponse = self.call(ApiKey::CreateTopics, 7, &request).await?;
        let answer = response.topics.first().expect("every topic asked for is answered");
        Ok((ErrorCode::new(answer.error_code), *answer.topic_id.as_bytes()))
    }

    async fn try_delete(&mut self, topic_id: [u8; 16]) -> Result<ErrorCode, Gone> {
        let topic = DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(uuid::Uuid::from_bytes(topic_id));
        let request =
            DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response: DeleteTopicsResponse = self.call(ApiKey::DeleteTopics, 6, &request).await?;
        let answer = response.responses.first().expect("every topic asked for is answered");
        Ok(ErrorCode::new(answer.error_code))
    }

    async fn try_cut(&mut self, target: &Target, before: Offset) -> Result<(ErrorCode, i64), Gone> {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(target.partition)
            .with_offset(before.get());
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(&target.topic))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let response: DeleteRecordsResponse = self.call(ApiKey::DeleteRecords, 2, &request).await?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.expect("every partition asked for is answered");
        Ok((ErrorCode::new(answer.error_code), answer.low_watermark))
    }

    async fn call<T: kafka_protocol::protocol::Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl kafka_protocol::protocol::Encodable,
    ) -> Result<T, Gone> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(&self.io, self.node).await,
        };
        let answer = wire.call(api, version, request).await;
        if answer.is_ok() {
            self.wire = Some(wire);
        }
        answer
    }

    /// A broker may be starting, or its disk failing: asks again later. Others are failures.
    async fn on_error(&mut self, what: &str, error: ErrorCode) {
        let is_usual = matches!(
            error,
            ErrorCode::KAFKA_STORAGE_ERROR
                | ErrorCode::NOT_CONTROLLER
                | ErrorCode::REQUEST_TIMED_OUT
                | ErrorCode::LEADER_NOT_AVAILABLE
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::OFFSET_OUT_OF_RANGE
        );
        if !is_usual {
            self.recorder.fail(Check::Answer, format!("{what}: error {error:?}"));
        }
        let nanos = self.chance.below(RETRY_NANOS);
        self.io.sleep(Duration::from_nanos(nanos)).await;
    }
}

fn described(
    topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic,
) -> Option<Described> {
    let name = topic.name.as_ref().filter(|_| topic.error_code == 0)?;
    Some(Described {
        name: name.0.to_string(),
        topic_id: *topic.topic_id.as_bytes(),
        partition_count: topic.partitions.len(),
    })
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
