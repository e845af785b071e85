//! Produce: each batch is checked where its connection lives, ordered and stored where its partition
//! lives, and answered when it is on the device.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use engine::admission::{
    Admission, Admitted, Keys, LogStart, Permit, Progress, Refusal, Rules, Validation,
};
use engine::batch::TimestampType;
use engine::codec::encoder::Compression;
use engine::id::{LeaderEpoch, PartitionId, PartitionIndex};
use engine::recompression::Recompression;
use net::error_code::ErrorCode;
use net::outgoing::Outgoing;
use net::produce::{
    ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
    ProducedTopic, RecordError,
};
use net::topic::TopicRef;
use replication::config::topic::{self, Clock, TopicConfig};

use crate::cause::Cause;
use crate::connection::{Connection, Frame, Request};
use crate::handler::{self, Close, Pauses};
use crate::io::Io;
use crate::lane::Sliced;
use crate::limits::{
    ADMISSION_SLICE_BYTES, BATCH_SHARE, DECOMPRESSED_BYTES_MAX, EXPANDED_BYTES_FREE, EXPANSION_MAX,
};
use crate::message::{Message, OffsetQuery, OffsetSpec, ProduceItem, Produced, Reply};
use crate::metrics::{Metric, Stage};
use crate::shard::Shard;
use crate::signal::Answer;

/// Before it, clients do not know zstd.
const ZSTD_FROM: i16 = 7;
/// The client that may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";

/// A produce request whose batches are on their way.
pub struct Pending<I: Io> {
    acks: i16,
    response: ProduceResponse,
    /// Where in the response the result of each slot goes: topic and partition.
    places: Vec<(usize, usize)>,
    calls: Vec<Answer<Reply<I>>>,
}

/// Checks every batch and hands each to its owner.
pub async fn begin<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    body: &Bytes,
) -> Result<Pending<I>, Close> {
    let elements_max = handler::elements_max(shard, request);
    let decoded = ProduceRequest::decode_bounded(body, request.header.version, elements_max);
    let decoded = decoded.map_err(|_error| Close(Cause::Request))?;
    connection.hold_decoded(shard, request, decoded.element_count());
    let mut pending = Pending {
        acks: decoded.acks,
        response: ProduceResponse::default(),
        places: Vec::new(),
        calls: Vec::new(),
    };
    let mut orders: BTreeMap<usize, Vec<ProduceItem>> = BTreeMap::new();
    let mut pauses = Pauses::new(&shard.io);
    for topic in merged(decoded.topics) {
        let place = pending.response.topics.len();
        let mut produced = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let acks = decoded.acks;
            match check(shard, connection, request, acks, &topic.topic, &partition).await {
                Ok((id, admitted)) => {
                    let slot = pending.places.len();
                    pending.places.push((place, produced.len()));
                    let items = orders.entry(shard.owner(id)).or_default();
                    items.push(ProduceItem { slot, partition: id, admitted });
                    produced.push(ProducedPartition::refused(
                        partition.index,
                        ErrorCode::UNKNOWN_SERVER_ERROR,
                    ));
                }
                Err(refused) => produced.push(refused),
            }
            pauses.next().await;
        }
        pending.response.topics.push(ProducedTopic { topic: topic.topic, partitions: produced });
    }
    request.stages.end(Stage::Parsed, shard.io.now());
    for (owner, items) in orders {
        pending.calls.push(shard.call(owner, Message::Produce(items)));
    }
    Ok(pending)
}

/// Each topic once, and each of its partitions once: what is named twice is appended to once, and the
/// last one counts. A topic without partitions is left out.
fn merged(topics: Vec<ProduceTopic>) -> Vec<ProduceTopic> {
    let mut merged = topics;
    merged.retain(|topic| !topic.partitions.is_empty());
    if merged.len() > 1 {
        merged = together(merged);
    }
    // Clients that sort have named nothing twice.
    let is_sorted = |topic: &ProduceTopic| topic.partitions.is_sorted_by(|a, b| a.index < b.index);
    for topic in merged.iter_mut().filter(|topic| !is_sorted(topic)) {
        topic.partitions.reverse();
        let mut seen = BTreeSet::new();
        topic.partitions.retain(|partition| seen.insert(partition.index));
        topic.partitions.reverse();
    }
    merged
}

/// Each topic once, with all its partitions.
fn together(topics: Vec<ProduceTopic>) -> Vec<ProduceTopic> {
    let mut merged: Vec<ProduceTopic> = Vec::with_capacity(topics.len());
    let mut places: BTreeMap<TopicRef, usize> = BTreeMap::new();
    for topic in topics {
        match places.entry(topic.topic.clone()) {
            Entry::Occupied(place) => merged[*place.get()].partitions.extend(topic.partitions),
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(topic);
            }
        }
    }
    merged
}

async fn check<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    acks: i16,
    topic: &TopicRef,
    partition: &ProducePartition,
) -> Result<(PartitionId, Admitted), ProducedPartition> {
    let refused = |error| ProducedPartition::refused(partition.index, error);
    if !matches!(acks, -1..=1) {
        return Err(refused(ErrorCode::INVALID_REQUIRED_ACKS));
    }
    let image = shard.image();
    let found = handler::find_topic(&image, topic).map_err(refused)?;
    let is_admin = request.header.client_id.as_deref() == Some(ADMIN_CLIENT);
    if found.name().is_internal() && !is_admin {
        return Err(refused(ErrorCode::INVALID_TOPIC_EXCEPTION));
    }
    let index = PartitionIndex::checked(partition.index)
        .filter(|index| found.partition(*index).is_some())
        .ok_or_else(|| refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
    let id = PartitionId { topic: found.id(), index };
    let config = Arc::clone(found.config());
    match admit(shard, connection, request, &config, partition.records.clone()).await {
        Ok(admitted) => Ok((id, admitted)),
        Err(refusal) => Err(refuse(shard, id, partition.index, &refusal).await),
    }
}

/// Checks a batch as Kafka's broker does, and compresses it anew if its topic wants another codec: in slices
/// between which other tasks run.
async fn admit<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    config: &TopicConfig,
    records: Option<Bytes>,
) -> Result<Admitted, Refusal> {
    let mut rules = rules(config, request.header.version);
    let bytes_max = u32::try_from(shard.io.block_bytes_max() / BATCH_SHARE).unwrap_or(u32::MAX);
    rules.batch_bytes_max = rules.batch_bytes_max.min(bytes_max);
    rules.decompressed_bytes_max = decompressed_bytes_max(records.as_ref().map_or(0, Bytes::len));
    let mut admission = Admission::begin(records, &rules, shard.io.wall())?;
    let mut sliced = Sliced::new(&shard.io, &shard.lane);
    while sliced.next(|| admission.step(ADMISSION_SLICE_BYTES)).await? == Progress::More {}
    let Some(recompression) = admission.recompression()? else { return Ok(admission.finish()) };
    // Few connections need it, and each has room for all that is awaited here.
    let recompressing = Box::pin(recompress(shard, connection.id(), &mut sliced, recompression));
    let admitted = recompressing.await?;
    connection.hold_recompressed(shard, request, admitted.batch.len());
    Ok(admitted)
}

/// Waits for the memory that it takes. It comes, as nobody who has some waits for anything but the core.
async fn recompress<I: Io>(
    shard: &Shard<I>,
    connection: u64,
    sliced: &mut Sliced<'_, I>,
    mut recompression: Recompression,
) -> Result<Admitted, Refusal> {
    let memory_bytes = u64::try_from(recompression.memory_bytes()).unwrap_or(u64::MAX);
    shard.recompressing.wait(connection, || false).await;
    shard.recompressing.take(memory_bytes);
    let recompressed = loop {
        match sliced.next(|| recompression.step(ADMISSION_SLICE_BYTES)).await {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break Ok(recompression.finish()),
            Err(refusal) => {
                drop(recompression);
                break Err(refusal);
            }
        }
    };
    shard.recompressing.give_back(memory_bytes);
    shard.recompressing.retire(connection);
    shard.recorder.borrow_mut().add(Metric::BatchesRecompressed, u64::from(recompressed.is_ok()));
    recompressed
}

/// What a batch of so many bytes may decompress to: who wants a core to work must send something for it.
fn decompressed_bytes_max(batch_bytes: usize) -> usize {
    let expanded = batch_bytes.saturating_mul(EXPANSION_MAX).max(EXPANDED_BYTES_FREE);
    expanded.min(DECOMPRESSED_BYTES_MAX)
}

fn rules(config: &TopicConfig, version: i16) -> Rules {
    Rules {
        batch_bytes_max: config.batch_bytes_max,
        segment_bytes_max: config.segment.bytes_max,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        timestamp_before_ms_max: config.timestamps.before_ms_max,
        timestamp_after_ms_max: config.timestamps.after_ms_max,
        timestamp_type: match config.timestamps.clock {
            Clock::Producer => TimestampType::CreateTime,
            Clock::Broker => TimestampType::LogAppendTime,
        },
        keys: if config.cleanup.compacts() { Keys::Required } else { Keys::Optional },
        compression: match config.compression {
            topic::Compression::Producer => None,
            topic::Compression::Uncompressed => Some(Compression::None),
            topic::Compression::Gzip { level } => Some(Compression::Gzip { level }),
            topic::Compression::Snappy => Some(Compression::Snappy),
            topic::Compression::Lz4 { level } => Some(Compression::Lz4 { level }),
            topic::Compression::Zstd { level } => Some(Compression::Zstd { level }),
        },
        validation: match config.validation {
            topic::Validation::Headers if !config.cleanup.compacts() => Validation::Headers,
            // A record without a key is found only by who opens the batch.
            topic::Validation::Full | topic::Validation::Headers => Validation::Full,
        },
        transactional: Permit::Refused,
        zstd: if version < ZSTD_FROM { Permit::Refused } else { Permit::Allowed },
    }
}

async fn refuse<I: Io>(
    shard: &Rc<Shard<I>>,
    id: PartitionId,
    index: i32,
    refusal: &Refusal,
) -> ProducedPartition {
    let mut refused = ProducedPartition::refused(index, handler::refusal_code(refusal));
    refused.error_message = refusal.message().map(handler::text);
    if refusal.log_start() == LogStart::Known {
        refused.log_start_offset = log_start(shard, id).await;
    }
    refused.record_errors = refusal
        .offenders()
        .iter()
        .map(|record| RecordError {
            record_index: i32::try_from(record.record_index).unwrap_or(i32::MAX),
            message: Some(handler::text(record.fault.to_string())),
        })
        .collect();
    refused
}

/// As its owner knows it; -1 if it does not.
async fn log_start<I: Io>(shard: &Rc<Shard<I>>, partition: PartitionId) -> i64 {
    let spec = OffsetSpec::Earliest;
    let query = OffsetQuery { slot: 0, partition, leader_epoch: LeaderEpoch::NONE, spec };
    let call = shard.call(shard.owner(partition), Message::ListOffsets(vec![query]));
    let Reply::Offsets(found) = call.wait().await else { unreachable!("offsets were asked for") };
    let found = found.first().and_then(|(_, result)| result.as_ref().ok()?.offset);
    found.map_or(-1, |offset| offset.get())
}

impl<I: Io> Pending<I> {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.calls.iter().all(Answer::is_ready)
    }

    /// Wakes `waker` when another batch has its answer.
    pub fn watch(&self, waker: &Waker) {
        for call in &self.calls {
            call.watch(waker);
        }
    }

    /// Every batch has its answer: the frame to send.
    pub fn finish(mut self, shard: &Shard<I>, request: &mut Request) -> Result<Frame<I>, Close> {
        let parsed = request.stages;
        for mut call in std::mem::take(&mut self.calls) {
            let Some(Reply::Produced { items, times }) = call.take() else {
                unreachable!("a produce message is answered by what was produced");
            };
            let mut stages = parsed;
            stages.end(Stage::Hopped, times.taken_at);
            stages.end(Stage::Appended, times.appended_at);
            stages.end(Stage::Committed, times.committed_at);
            request.stages = request.stages.later(stages);
            for produced in items {
                self.place(&produced);
            }
        }
        let partitions = self.response.topics.iter().flat_map(|topic| &topic.partitions);
        let mut recorder = shard.recorder.borrow_mut();
        partitions.for_each(|it| recorder.on_error(it.error.get()));
        drop(recorder);
        if self.acks == 0 {
            let partitions = self.response.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.map(|it| it.error).any(ErrorCode::is_error) {
                return Err(Close(Cause::Unacknowledged));
            }
            return Ok(Vec::new());
        }
        let header = &request.header;
        self.response.throttle_ms = handler::throttle_ms(request);
        let mut frame = Outgoing::response(header.reply());
        self.response.encode(frame.writer(), header.version);
        frame.finish().map_err(|_error| Close(Cause::Answer))
    }

    fn place(&mut self, produced: &Produced) {
        let (topic, partition) = self.places[produced.slot];
        let target = &mut self.response.topics[topic].partitions[partition];
        target.log_start_offset = produced.log_start.map_or(-1, |it| it.get());
        match &produced.result {
            Ok(appended) => {
                target.error = ErrorCode::NONE;
                target.base_offset = appended.base_offset.get();
                target.log_append_time_ms = appended.append_time.get();
            }
            Err(error) => target.error = handler::produce_code(*error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decompressed_bytes_max;
    use crate::limits::{DECOMPRESSED_BYTES_MAX, EXPANDED_BYTES_FREE};

    #[test]
    fn who_sends_little_gets_little_work_done() {
        assert_eq!(decompressed_bytes_max(0), EXPANDED_BYTES_FREE);
        assert_eq!(decompressed_bytes_max(32 << 10), EXPANDED_BYTES_FREE);
        assert_eq!(decompressed_bytes_max(100 << 10), 1100 * (100 << 10));
        assert_eq!(decompressed_bytes_max(1 << 20), DECOMPRESSED_BYTES_MAX);
        assert_eq!(decompressed_bytes_max(usize::MAX), DECOMPRESSED_BYTES_MAX);
    }
}
