//! A simulated producer: idempotent or plain, pipelined, with retries over every failure.
//!
//! After any trouble it sends again what was not answered, one request at a time and in order, as
//! Kafka's clients do: a broker that then still calls a sequence out of order has lost something.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use engine::codec::Codec;
use engine::id::{ProducerEpoch, ProducerId, Sequence};
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::error_code::ErrorCode;
use net::produce::{
    ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
};
use net::topic::TopicRef;

use crate::io::Io;
use crate::sim::SimIo;
use crate::sim::chance::Chance;
use crate::sim::failure::Check;
use crate::sim::history::{Durability, Event, Retries, Value, WriterId, is_tombstone, key_of};
use crate::sim::policy::Made;
use crate::sim::recorder::{Recorder, Target};
use crate::sim::wire::{Gone, Wire};

/// First version that names topics by id.
pub const TOPIC_IDS_FROM: i16 = 13;
/// Longest pause after the first trouble; it doubles with each that follows.
const RETRY_NANOS: u64 = 30_000_000;
const RETRY_DOUBLINGS_MAX: u32 = 5;

/// What kind of producer to be.
#[derive(Clone, Debug)]
pub struct Habits {
    pub retries: Retries,
    pub acks: i16,
    /// Requests in flight.
    pub depth: usize,
    pub version: i16,
    pub request_count: usize,
    /// Values are smaller than this.
    pub value_bytes_max: usize,
    /// Every batch is one record, and whole blocks of the disk: what stands after it on the disk from
    /// an earlier life then looks like its successor.
    pub batch_bytes: Option<usize>,
    pub codec: Codec,
    /// Longest pause between two rounds.
    pub pause_nanos: u64,
}

/// A batch until it is answered.
#[derive(Clone)]
struct Unanswered {
    target: usize,
    first: u64,
    count: u32,
    bytes: Bytes,
}

pub struct Producer {
    io: SimIo,
    node: usize,
    recorder: Recorder,
    chance: Chance,
    habits: Habits,
    targets: Vec<Target>,
    /// By target.
    next_sequences: Vec<u64>,
    /// By target: nothing can be written to it any more.
    is_dead: Vec<bool>,
    writer: WriterId,
    identity: Option<(ProducerId, ProducerEpoch)>,
    made_count: usize,
    /// What is to be sent again, by request.
    again: VecDeque<Vec<Unanswered>>,
    /// Requests in a row that did not do what they should, at most `RETRY_DOUBLINGS_MAX`.
    trouble_count: u32,
}

impl Producer {
    #[must_use]
    pub fn new(
        io: &SimIo,
        node: usize,
        recorder: &Recorder,
        habits: Habits,
        targets: Vec<Target>,
    ) -> Self {
        Self {
            io: io.clone(),
            node,
            recorder: recorder.clone(),
            chance: Chance::new(io.random()),
            writer: recorder.writer(habits.retries),
            habits,
            next_sequences: vec![0; targets.len()],
            is_dead: vec![false; targets.len()],
            targets,
            identity: None,
            made_count: 0,
            again: VecDeque::new(),
            trouble_count: 0,
        }
    }

    /// Sends all its requests, until each is answered.
    pub async fn run(mut self) {
        while self.made_count < self.habits.request_count || !self.again.is_empty() {
            let mut wire = Wire::connect(&self.io, self.node).await;
            while let Ok(()) = self.round(&mut wire).await {
                if self.made_count == self.habits.request_count && self.again.is_empty() {
                    return;
                }
                self.pause(self.habits.pause_nanos).await;
            }
        }
    }

    async fn round(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        if self.habits.retries == Retries::Deduplicated && self.identity.is_none() {
            return self.introduce(wire).await;
        }
        if let Some(batches) = self.again.pop_front() {
            return self.send_again(wire, batches).await;
        }
        let missing = self.habits.request_count - self.made_count;
        let made: Vec<Vec<Unanswered>> =
            (0..self.habits.depth.min(missing)).map(|_| self.make()).collect();
        self.made_count += made.len();
        let made = made.into_iter().filter(|batches| !batches.is_empty()).collect();
        self.send_pipelined(wire, made).await
    }

    async fn introduce(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let response: InitProducerIdResponse =
            wire.call(ApiKey::InitProducerId, 4, &request).await?;
        if response.error_code != 0 {
            self.back_off().await;
            return Ok(());
        }
        self.recorder.on_producer_id(response.producer_id.0);
        let id = ProducerId::checked(response.producer_id.0);
        let epoch = ProducerEpoch::checked(response.producer_epoch);
        self.identity = id.zip(epoch);
        assert!(self.identity.is_some(), "a producer id and an epoch are not negative");
        Ok(())
    }

    async fn send_again(&mut self, wire: &mut Wire, batches: Vec<Unanswered>) -> Result<(), Gone> {
        let sent = self.send(wire, &batches).await;
        let answer = match sent {
            Ok(envelope) => self.answer(wire, &envelope).await,
            Err(gone) => Err(gone),
        };
        let left = match &answer {
            Ok(response) => self.on_response(batches, response.as_ref(), Standing::Alone),
            Err(Gone) => batches,
        };
        if left.is_empty() {
            self.trouble_count = 0;
        } else {
            self.again.push_front(left);
            self.back_off().await;
        }
        answer.map(|_| ())
    }

    async fn send_pipelined(
        &mut self,
        wire: &mut Wire,
        made: Vec<Vec<Unanswered>>,
    ) -> Result<(), Gone> {
        let mut state = Ok(());
        let mut flying = Vec::new();
        for batches in made {
            let sent = match state {
                Ok(()) => self.send(wire, &batches).await,
                Err(gone) => Err(gone),
            };
            state = sent.as_ref().map(|_| ()).map_err(|gone| *gone);
            flying.push((sent.ok(), batches));
        }
        for (envelope, batches) in flying {
            let answer = match (&state, envelope) {
                (Ok(()), Some(envelope)) => self.answer(wire, &envelope).await,
                _ => Err(Gone),
            };
            let left = match &answer {
                Ok(response) => self.on_response(batches, response.as_ref(), Standing::Pipelined),
                Err(Gone) => batches,
            };
            state = state.and_then(|()| answer.map(|_| ()));
            if !left.is_empty() {
                self.again.push_back(left);
            }
        }
        state
    }

    /// A request of batches for some of the targets.
    fn make(&mut self) -> Vec<Unanswered> {
        let first = self.chance.index(self.targets.len());
        let count = 1 + self.chance.index(self.targets.len());
        let places = (0..count).map(|index| (first + index) % self.targets.len());
        let places: Vec<usize> = places.filter(|target| !self.is_dead[*target]).collect();
        places.into_iter().map(|target| self.make_batch(target)).collect()
    }

    fn make_batch(&mut self, target: usize) -> Unanswered {
        let first = self.next_sequences[target];
        let (count, bytes) = match self.habits.batch_bytes {
            Some(bytes) => (1, self.fill_batch(target, first, bytes)),
            None => {
                let count = 1 + self.chance.below(8);
                let few = if self.chance.one_in(4) { self.habits.value_bytes_max } else { 200 };
                let sizes: Vec<usize> = (0..count).map(|_| self.chance.index(few.max(1))).collect();
                (count, self.begin_batch(target, first, &sizes).build_with(self.habits.codec))
            }
        };
        self.next_sequences[target] += count;
        let count = u32::try_from(count).expect("a batch is small");
        self.recorder.on_made(Made {
            writer: self.writer,
            log: self.targets[target].log,
            first,
            count,
            timestamp: self.io.wall(),
            bytes: u64::try_from(bytes.len()).expect("a batch is small"),
        });
        Unanswered { target, first, count, bytes: Bytes::from(bytes) }
    }

    /// A batch of one record that is `bytes` long.
    fn fill_batch(&self, target: usize, first: u64, bytes: usize) -> Vec<u8> {
        let mut value_bytes = bytes / 2;
        loop {
            let builder = self.begin_batch(target, first, &[value_bytes]);
            if builder.len_bytes() == bytes {
                return builder.build();
            }
            value_bytes = value_bytes + bytes - builder.len_bytes();
        }
    }

    /// Records with values of these sizes.
    fn begin_batch(&self, target: usize, first: u64, sizes: &[usize]) -> BatchBuilder {
        let mut builder = BatchBuilder::new();
        if let Some((id, epoch)) = self.identity {
            let first = u32::try_from(first).expect("a simulated producer is soon done");
            builder = builder.producer(id, epoch, Sequence::ZERO.plus(first));
        }
        for (sequence, bytes) in (first..).zip(sizes) {
            let log = self.targets[target].log;
            let value = Value { run: self.recorder.run(), log, writer: self.writer, sequence };
            let now = self.io.wall();
            if self.targets[target].policy.tombstone_ms.is_none() {
                builder.push(now, None, Some(&value.encode(*bytes)), &[]);
                continue;
            }
            let key = format!("key-{}", key_of(self.writer, sequence));
            let encoded = value.encode(*bytes);
            if is_tombstone(self.writer, sequence) {
                builder.push(now, Some(key.as_bytes()), None, &[(b"id", Some(&encoded))]);
            } else {
                builder.push(now, Some(key.as_bytes()), Some(&encoded), &[]);
            }
        }
        builder
    }

    async fn send(&mut self, wire: &mut Wire, batches: &[Unanswered]) -> Result<Envelope, Gone> {
        let mut topics: Vec<ProduceTopic> = Vec::new();
        for batch in batches {
            let target = &self.targets[batch.target];
            let (writer, log) = (self.writer, target.log);
            let (first, count) = (batch.first, batch.count);
            self.recorder.record(&Event::Sent { writer, log, first, count });
            let topic = reference(target, self.habits.version);
            let partition =
                ProducePartition { index: target.partition, records: Some(batch.bytes.clone()) };
            match topics.iter_mut().find(|it| it.topic == topic) {
                Some(known) => known.partitions.push(partition),
                None => topics.push(ProduceTopic { topic, partitions: vec![partition] }),
            }
        }
        let envelope = wire.envelope(self.habits.version);
        let (acks, timeout_ms) = (self.habits.acks, 10_000);
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms, topics };
        wire.send(client::encode_produce(&envelope, &request)).await?;
        Ok(envelope)
    }

    /// `None`: nobody answers this kind of request.
    async fn answer(
        &self,
        wire: &mut Wire,
        envelope: &Envelope,
    ) -> Result<Option<ProduceResponse>, Gone> {
        if self.habits.acks == 0 {
            return Ok(None);
        }
        let body = wire.receive(ApiKey::Produce, envelope).await?;
        let response = client::decode_produce(envelope.version, &body);
        Ok(Some(response.unwrap_or_else(|error| panic!("a response to Produce: {error:?}"))))
    }

    /// What has to be sent again.
    fn on_response(
        &mut self,
        batches: Vec<Unanswered>,
        response: Option<&ProduceResponse>,
        standing: Standing,
    ) -> Vec<Unanswered> {
        let Some(response) = response else { return Vec::new() };
        let mut left = Vec::new();
        for batch in batches {
            let target = self.targets[batch.target].clone();
            let topic = reference(&target, self.habits.version);
            let topic = response.topics.iter().find(|it| it.topic == topic);
            let mut partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
            match partitions.find(|it| it.index == target.partition) {
                Some(answer) if self.on_answer(&batch, &target, answer, standing) => {
                    left.push(batch);
                }
                Some(_) => {}
                None => {
                    let failure = format!("no answer for {target:?} in a response to Produce");
                    self.recorder.fail(Check::Answer, failure);
                }
            }
        }
        left
    }

    /// Whether the batch has to be sent again.
    fn on_answer(
        &mut self,
        batch: &Unanswered,
        target: &Target,
        answer: &ProducedPartition,
        standing: Standing,
    ) -> bool {
        let (writer, log, count) = (self.writer, target.log, batch.count);
        match answer.error {
            ErrorCode::NONE => match engine::id::Offset::checked(answer.base_offset) {
                Some(base) => {
                    let first = batch.first;
                    self.recorder.record(&Event::Acked { writer, log, first, count, base });
                    false
                }
                None => {
                    self.recorder.fail(
                        Check::Answer,
                        format!("a batch of log {} was acknowledged nowhere", log.0),
                    );
                    false
                }
            },
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => {
                !self.recorder.is_ending(log)
            }
            ErrorCode::KAFKA_STORAGE_ERROR
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::LEADER_NOT_AVAILABLE
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NOT_ENOUGH_REPLICAS
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::THROTTLING_QUOTA_EXCEEDED => true,
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if standing == Standing::Pipelined => true,
            // A crash took what was acknowledged from memory: the writer cannot go on there.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if target.durability == Durability::Memory => {
                self.is_dead[batch.target] = true;
                false
            }
            other => {
                let first = batch.first;
                self.recorder.fail(
                    Check::Answer,
                    format!("log {}: batch at {first} got error {other:?}", log.0),
                );
                false
            }
        }
    }

    async fn back_off(&mut self) {
        let nanos = RETRY_NANOS << self.trouble_count;
        self.trouble_count = (self.trouble_count + 1).min(RETRY_DOUBLINGS_MAX);
        self.pause(nanos).await;
    }

    async fn pause(&mut self, nanos_max: u64) {
        let nanos = self.chance.below(nanos_max.max(1));
        self.io.sleep(Duration::from_nanos(nanos)).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Everything before it is answered well.
    Alone,
    Pipelined,
}

pub fn reference(target: &Target, version: i16) -> TopicRef {
    if version < TOPIC_IDS_FROM {
        TopicRef::Name(StrBytes::from_string(target.topic.clone()))
    } else {
        TopicRef::Id(target.topic_id)
    }
}
