//! The cluster's metadata on shard 0: commands one at a time, each durable before it is visible, and
//! visible on every shard before it is answered.
//!
//! What a command may do is decided by `replication`; here it is written, applied and spread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::admission::Admitted;
use engine::bug::Bug;
use engine::fullness::Level;
use engine::id::{ProducerId, TopicId};
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterConfigsRequest, AlterConfigsResponse,
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, InitProducerIdResponse,
};
use net::error_code::ErrorCode;
use replication::cluster::Cluster;
use replication::event::Event;
use replication::image::Image;
use replication::producer_ids::{ProducerIdBlock, ProducerIds};

use crate::accounts::toll::Asker;
use crate::handler::{admin, configs, quotas};
use crate::io::Io;
use crate::limits::{BATCH_SHARE, EVENTS_BYTES_MAX};
use crate::message::{Message, ProduceItem, Reply};
use crate::recovery::METADATA;
use crate::route::ReplyTo;
use crate::shard::Shard;
use crate::signal::Bell;

/// A request that changes the cluster's metadata, with its version where that matters.
pub enum Command {
    CreateTopics(CreateTopicsRequest, Asker),
    /// Names of topics that Metadata asked for.
    AutoCreate(Vec<String>, Asker),
    DeleteTopics(DeleteTopicsRequest, i16, Asker),
    CreatePartitions(CreatePartitionsRequest, Asker),
    AlterConfigs(AlterConfigsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    AlterClientQuotas(AlterClientQuotasRequest),
    InitProducerId,
    /// Unless it is there.
    OffsetsTopic,
}

/// What a command is answered; with a duration, for how long its client must wait then.
pub enum Outcome {
    CreateTopics(CreateTopicsResponse, Duration),
    AutoCreate,
    DeleteTopics(DeleteTopicsResponse, Duration),
    CreatePartitions(CreatePartitionsResponse, Duration),
    AlterConfigs(AlterConfigsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    AlterClientQuotas(AlterClientQuotasResponse),
    InitProducerId(InitProducerIdResponse),
    OffsetsTopic,
}

/// On every shard; only shard 0's has work.
pub struct Controller<I: Io> {
    queue: RefCell<VecDeque<(Command, ReplyTo<I>)>>,
    added: Bell,
    cluster: RefCell<Option<Cluster>>,
    producer_ids: RefCell<ProducerIds>,
}

impl<I: Io> Default for Controller<I> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            added: Bell::default(),
            cluster: RefCell::default(),
            producer_ids: RefCell::default(),
        }
    }
}

impl<I: Io> Controller<I> {
    pub fn begin(&self, cluster: Cluster) {
        *self.cluster.borrow_mut() = Some(cluster);
    }

    /// The next producer id of the block that was granted last, if it has one left.
    #[must_use]
    pub fn take_producer_id(&self) -> Option<ProducerId> {
        self.producer_ids.borrow_mut().take()
    }

    /// The metadata's log has granted `block`.
    pub fn refill_producer_ids(&self, block: ProducerIdBlock) {
        self.producer_ids.borrow_mut().refill(block);
    }

    /// The newest state: what commands are judged against.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(self.cluster().image())
    }

    fn cluster(&self) -> Cluster {
        self.cluster.borrow().clone().expect("the cluster is known before commands come")
    }
}

impl<I: Io> Shard<I> {
    pub fn on_command(&self, command: Command, reply_to: ReplyTo<I>) {
        assert_eq!(self.index, 0, "commands go to the first shard");
        self.controller.queue.borrow_mut().push_back((command, reply_to));
        self.controller.added.ring();
    }

    /// Sends a command to where it is carried out.
    pub async fn command(self: &Rc<Self>, command: Command) -> Outcome {
        match self.call(0, Message::Command(command)).wait().await {
            Reply::Commanded(outcome) => outcome,
            _ => unreachable!("a command is answered by its outcome"),
        }
    }

    /// A topic id that nobody has.
    #[must_use]
    pub fn draw_topic_id(&self) -> TopicId {
        let image = self.controller.image();
        let mut lowest = 0;
        loop {
            let (mut high, mut low) = (self.io.random(), self.io.random());
            if Bug::TopicIdReused.is_on() {
                (high, low) = (1, lowest);
                lowest += 1;
            }
            let raw = (u128::from(high) << 64) | u128::from(low);
            let id = TopicId::new(raw.to_be_bytes());
            // Below 2^64 lie Kafka's reserved ids.
            if high != 0 && image.topic_by_id(id).is_none() {
                return id;
            }
        }
    }

    /// As `commit_events`, for topics and partitions: none is made while the disk is nearly full.
    pub async fn commit_growth(self: &Rc<Self>, events: &[Event]) -> Result<(), ErrorCode> {
        if self.room.level() >= Level::NoGrowth && !events.is_empty() {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        self.commit_events(events).await
    }

    /// Makes `events` durable, then true, then known to every shard. What contradicts the state must
    /// not become durable: no start could read it.
    pub async fn commit_events(self: &Rc<Self>, events: &[Event]) -> Result<(), ErrorCode> {
        if events.is_empty() {
            return Ok(());
        }
        let mut next = self.controller.cluster();
        let version = next.image().version();
        for event in events {
            if let Err(conflict) = next.apply(event) {
                tracing::error!(?conflict, ?event, "a command contradicts the cluster's metadata");
                return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
            }
        }
        let admitted = self.pack(events).ok_or(ErrorCode::POLICY_VIOLATION)?;
        let item = ProduceItem { slot: 0, partition: METADATA, admitted };
        let Reply::Produced { items, .. } = self.call(0, Message::Produce(vec![item])).wait().await
        else {
            unreachable!("a produce message is answered by what was produced");
        };
        if items.iter().any(|item| item.result.is_err()) {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        let image = Arc::clone(next.image());
        let replaced = self.controller.cluster.borrow_mut().replace(next);
        let replaced = replaced.map(|it| it.image().version());
        assert_eq!(replaced, Some(version), "commands change the state one at a time");
        let calls: Vec<_> = (0..self.shard_count())
            .map(|shard| self.call(shard, Message::Image(Arc::clone(&image))))
            .collect();
        for call in calls {
            call.wait().await;
        }
        Ok(())
    }

    /// `None` if they are too many for one batch.
    fn pack(&self, events: &[Event]) -> Option<Admitted> {
        let bytes_max = EVENTS_BYTES_MAX.min(self.io.block_bytes_max() / BATCH_SHARE);
        let mut builder = BatchBuilder::new();
        for event in events {
            let mut value = Vec::new();
            event.encode(&mut value);
            if bytes_max < builder.len_bytes() + value.len() {
                return None;
            }
            builder.push(self.io.wall(), None, Some(&value), &[]);
        }
        Some(Admitted::built(builder))
    }
}

/// Carries out commands, in the order in which they came.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.has_ended() {
        let added = shard.controller.added.next();
        let next = shard.controller.queue.borrow_mut().pop_front();
        let Some((command, reply_to)) = next else {
            added.wait().await;
            continue;
        };
        let outcome = execute(&shard, command).await;
        shard.route.reply(reply_to, Reply::Commanded(outcome));
    }
}

async fn execute<I: Io>(shard: &Rc<Shard<I>>, command: Command) -> Outcome {
    match command {
        Command::CreateTopics(request, asker) => {
            let (response, wait) = admin::execute_create(shard, &request, &asker).await;
            Outcome::CreateTopics(response, wait)
        }
        Command::AutoCreate(names, asker) => {
            admin::execute_auto_create(shard, &names, &asker).await;
            Outcome::AutoCreate
        }
        Command::DeleteTopics(request, version, asker) => {
            let (response, wait) = admin::execute_delete(shard, &request, version, &asker).await;
            Outcome::DeleteTopics(response, wait)
        }
        Command::CreatePartitions(request, asker) => {
            let (response, wait) = admin::execute_create_partitions(shard, &request, &asker).await;
            Outcome::CreatePartitions(response, wait)
        }
        Command::AlterConfigs(request) => {
            Outcome::AlterConfigs(configs::execute_replace(shard, &request).await)
        }
        Command::IncrementalAlterConfigs(request) => {
            Outcome::IncrementalAlterConfigs(configs::execute_alter(shard, &request).await)
        }
        Command::AlterClientQuotas(request) => {
            Outcome::AlterClientQuotas(quotas::execute_alter(shard, &request).await)
        }
        Command::InitProducerId => {
            Outcome::InitProducerId(admin::execute_init_producer_id(shard).await)
        }
        Command::OffsetsTopic => {
            admin::execute_offsets_topic(shard).await;
            Outcome::OffsetsTopic
        }
    }
}
