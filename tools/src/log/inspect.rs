//! What one file of a data directory holds, in readable form: a line for each batch, index entry,
//! journal entry, slot or manifest. What a file is, its name says.
//!
//! It goes on as far as the bytes make sense, whatever their checksums say, and says where they do not.

use std::path::Path;

use bytes::Bytes;
use engine::batch::{self, Batch, Stop, TimestampType};
use engine::checkpoint::Checkpoint;
use engine::codec::Codec;
use engine::id::Offset;
use engine::journal::{BLOCK_BYTES, Entry, Frame, Generation};
use engine::log::Log;
use engine::records::{Record, Records};
use engine::sidecar::Sidecar;
use engine::superblock::Superblock;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::table::printable;

/// What one record may decompress to here.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// Which lines of a segment are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Depth {
    Batches,
    Records,
}

/// One line of what is shown: names and values.
pub(crate) type Line = Map<String, Value>;

/// `offset_min`: batches that end at or before it are left out.
pub(crate) fn inspect(
    path: &Path,
    file: &Bytes,
    depth: Depth,
    offset_min: i64,
) -> Result<Vec<Line>, Failure> {
    let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name).map(|it| it.to_string_lossy());
    if name.ends_with(".log") {
        return Ok(segment(file, depth, offset_min));
    }
    if name.ends_with(".idx") {
        return Ok(sidecar(file));
    }
    if name.ends_with(".journal") {
        return Ok(journal(file));
    }
    if name == "superblock" {
        return Ok(superblock(file));
    }
    if folder.as_deref() == Some("checkpoint") {
        return Ok(checkpoint(file));
    }
    Err(Failure::usage(format!(
        "{}: a segment (.log), an index (.idx), a journal (.journal), the superblock or a file of \
         the folder `checkpoint` can be shown",
        path.display()
    )))
}

/// `name: value` pairs, as Kafka's own tool writes them.
pub(crate) fn to_text(line: &Line) -> String {
    let pairs = line.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}: {}", printable(text)),
        other => format!("{name}: {other}"),
    });
    pairs.collect::<Vec<_>>().join(" ")
}

fn line(value: Value) -> Line {
    match value {
        Value::Object(line) => line,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

fn segment(file: &Bytes, depth: Depth, offset_min: i64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut walk = batch::walk_headers(file);
    for (position, batch) in walk.by_ref() {
        let end = batch.next_offset().map_or_else(|_error| batch.base_offset(), Offset::get);
        if end <= offset_min {
            continue;
        }
        lines.push(line(batch_value(position, &batch)));
        if let Depth::Records = depth {
            let bytes = file.slice(position..position + batch.len_bytes());
            lines.extend(records(&bytes));
        }
    }
    let position = walk.position();
    if walk.stop() != Some(Stop::End) {
        let left_bytes = file.len() - position;
        let is_blank = file.iter().skip(position).all(|it| *it == 0);
        let what = if is_blank { "reserved space" } else { "no batch" };
        lines.push(line(json!({ "position": position, "size": left_bytes, "what": what })));
    }
    lines
}

/// The names are those of Kafka's tool.
fn batch_value(position: usize, batch: &Batch<'_>) -> Value {
    let time = match batch.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let last = batch.base_offset().checked_add(i64::from(batch.last_offset_delta()));
    let last_sequence = batch.summary().ok().and_then(|it| it.producer).map(|it| it.last.get());
    json!({
        "baseOffset": batch.base_offset(), "lastOffset": last, "count": batch.record_count(),
        "baseSequence": batch.base_sequence(), "lastSequence": last_sequence.unwrap_or(-1),
        "producerId": batch.producer_id(), "producerEpoch": batch.producer_epoch(),
        "partitionLeaderEpoch": batch.leader_epoch().get(),
        "isTransactional": batch.is_transactional(), "isControl": batch.is_control(),
        "position": position, time: batch.max_timestamp().get(), "size": batch.len_bytes(),
        "magic": batch::MAGIC, "compresscodec": batch.codec().map_or("unknown", Codec::name),
        "isvalid": batch.crc_holds(),
    })
}

fn records(batch: &Bytes) -> Vec<Line> {
    let Ok(records) = Records::new(batch, DECOMPRESSED_BYTES_MAX) else {
        return vec![line(json!({ "what": "its records cannot be read" }))];
    };
    let shown = records.map(|record| match record {
        Ok(record) => line(record_value(&record)),
        Err(error) => line(json!({ "what": format!("a record cannot be read: {error:?}") })),
    });
    shown.collect()
}

fn record_value(record: &Record) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|it| json!([text(&it.key), it.value.as_ref().map(text)]))
        .collect();
    json!({
        "offset": record.offset.get(), "timestamp": record.timestamp.get(), "headers": headers,
        "key": record.key.as_ref().map(text), "payload": record.value.as_ref().map(text),
    })
}

fn sidecar(file: &[u8]) -> Vec<Line> {
    let sidecar = match Sidecar::decode(file) {
        Ok(sidecar) => sidecar,
        Err(error) => return vec![line(json!({ "what": format!("no index: {error:?}") }))],
    };
    let mut lines = vec![line(json!({
        "baseOffset": sidecar.base.get(), "endOffset": sidecar.end.get(),
        "size": sidecar.bytes.get(), "createdAt": sidecar.created_at.get(),
        "maxTimestamp": sidecar.max_timestamp.map(|it| it.timestamp.get()),
        "checksum": sidecar.chain_crc, "complete": sidecar.index.is_complete(),
        "producers": sidecar.producers.count(),
    }))];
    for epoch in sidecar.epochs.entries() {
        lines.push(line(json!({ "epoch": epoch.epoch.get(), "startOffset": epoch.start.get() })));
    }
    for entry in sidecar.index.entries() {
        lines.push(line(json!({
            "offset": entry.offset.get(), "position": entry.pos.get(),
            "maxTimestampBefore": entry.max_timestamp_before.get(),
        })));
    }
    lines
}

fn journal(file: &[u8]) -> Vec<Line> {
    let (mut lines, mut position) = (Vec::new(), 0);
    while let Some(rest) = file.get(position..).filter(|it| !it.is_empty()) {
        let frame = Generation::of_frame(rest).map(|it| (it, Frame::parse(rest, it)));
        let frame_bytes = match frame {
            None => BLOCK_BYTES,
            Some((generation, Err(error))) => {
                let generation = generation.number();
                let what = format!("{error:?}");
                lines.push(line(json!({
                    "position": position, "generation": generation, "what": what,
                })));
                BLOCK_BYTES
            }
            Some((generation, Ok(frame))) => {
                let entries = frame.entries().map(|entry| match entry {
                    Ok(entry) => line(entry_value(position, generation, frame.sequence(), &entry)),
                    Err(error) => {
                        line(json!({ "position": position, "what": format!("{error:?}") }))
                    }
                });
                lines.extend(entries);
                frame.frame_bytes()
            }
        };
        position += frame_bytes;
    }
    lines
}

fn entry_value(position: usize, generation: Generation, sequence: u64, entry: &Entry<'_>) -> Value {
    let mut value = json!({
        "position": position, "generation": generation.number(), "sequence": sequence,
        "topicId": entry.partition().topic.to_string(), "partition": entry.partition().index.get(),
    });
    let more = match entry {
        Entry::Append { segment, pos, durable_end, batch, .. } => {
            let parsed = Batch::parse(batch).ok();
            json!({
                "entry": "append", "segment": segment.get(), "segmentPosition": pos.get(),
                "durableEnd": durable_end.get(), "size": batch.len(),
                "baseOffset": parsed.map(|it| it.base_offset()),
                "count": parsed.map(|it| it.record_count()),
            })
        }
        Entry::Intent { segment, durable_end, .. } => json!({
            "entry": "intent", "segment": segment.get(), "durableEnd": durable_end.get(),
        }),
        Entry::Roll { segment, created_at, .. } => json!({
            "entry": "roll", "segment": segment.get(), "createdAt": created_at.get(),
        }),
        Entry::LogStart { log_start, .. } => {
            json!({ "entry": "logStart", "logStart": log_start.get() })
        }
        Entry::Created { created_at, epoch, .. } => json!({
            "entry": "created", "createdAt": created_at.get(), "epoch": epoch.get(),
        }),
        Entry::Removed { .. } => json!({ "entry": "removed" }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn superblock(file: &[u8]) -> Vec<Line> {
    let slots = Superblock::slots(file).into_iter().enumerate();
    let shown = slots.map(|(index, slot)| match slot {
        Ok(slot) => line(json!({
            "slot": index, "sequence": slot.sequence, "nodeId": slot.node_id,
            "generation": slot.generation.number(), "shards": slot.shard_count,
            "shutdown": format!("{:?}", slot.shutdown),
        })),
        Err(error) => line(json!({ "slot": index, "what": format!("{error:?}") })),
    });
    shown.collect()
}

fn checkpoint(file: &[u8]) -> Vec<Line> {
    let checkpoint = match Checkpoint::parse(file) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return vec![line(json!({ "what": format!("no checkpoint: {error:?}") }))],
    };
    let header = checkpoint.header();
    let mut lines = vec![line(json!({
        "shard": header.shard, "generation": header.generation, "sequence": header.sequence,
    }))];
    for manifest in checkpoint.manifests() {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                lines.push(line(json!({ "what": format!("no manifest: {error:?}") })));
                break;
            }
        };
        let log = Log::restore(manifest);
        let (topic, partition) = (log.id().topic.to_string(), log.id().index.get());
        for segment in log.segments() {
            lines.push(line(json!({
                "topicId": topic, "partition": partition, "logStart": log.log_start().get(),
                "segment": segment.base().get(), "revision": segment.name().revision,
                "endOffset": segment.end().get(),
                "size": segment.end_pos().get(), "sealed": segment.is_sealed(),
                "checksum": segment.chain_crc(),
            })));
        }
    }
    lines
}
