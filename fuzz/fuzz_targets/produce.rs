//! Produce as a client means it: whole requests of sound and slightly wrong batches, from the frame to
//! a log and back out of a checkpoint.
//!
//! The input is a scene, not bytes: so the fuzzer plays with sequences, codecs and versions instead of
//! losing its time in the framing.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use engine::admission::{Admission, Admitted, Keys, Permit, Progress, Rules, Validation};
use engine::batch::{self, Batch, TimestampType};
use engine::codec::Codec;
use engine::id::{
    LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicId,
};
use engine::log::{self, Log};
use engine::manifest::Manifest;
use engine::producers::{BATCHES_REMEMBERED, Verdict};
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::produce_request as generated;
use kafka_protocol::protocol::{Decodable, StrBytes};
use libfuzzer_sys::fuzz_target;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::frame::Assembler;
use net::header::RequestHeader;
use net::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use net::topic::TopicRef;

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
const FRAME_BYTES_MAX: usize = 1 << 20;
const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
const ID: PartitionId = PartitionId { topic: TopicId::new([9; 16]), index: PartitionIndex::new(0) };

#[derive(Arbitrary, Debug)]
struct Scene {
    version: u8,
    has_transactional_id: bool,
    acks: i16,
    timeout_ms: i32,
    /// The frame arrives in parts of so many bytes.
    part_bytes: u8,
    partitions: Vec<Vec<Words>>,
    small_segments: bool,
}

/// A batch, and what is wrong with it.
#[derive(Arbitrary, Debug)]
struct Words {
    codec: u8,
    producer: Option<(u8, u8, u8)>,
    timestamp: i64,
    records: Vec<RecordWords>,
    /// A byte of the batch becomes another one.
    flaw: Option<(u8, u8)>,
    is_sealed: bool,
}

#[derive(Arbitrary, Debug)]
struct RecordWords {
    timestamp_delta: i16,
    key: Option<u8>,
    value: Option<u8>,
    header_count: u8,
}

fuzz_target!(|scene: Scene| {
    let version = 3 + i16::from(scene.version % 11);
    let request = request(&scene, version);
    let frame = arrive(&request, version, scene.part_bytes);
    let (header, body) = RequestHeader::decode(&frame).expect("it is ours");
    assert_eq!((header.api, header.version), (ApiKey::Produce, version));
    let decoded = ProduceRequest::decode(&body, version).expect("it is ours");
    assert_eq!(decoded, request);
    agree(&decoded, &body, version);

    let rules = log_rules(&scene);
    let mut store = Store { log: Log::new(ID, NOW, LeaderEpoch::ZERO), appended: Vec::new() };
    for partition in decoded.topics.into_iter().flat_map(|topic| topic.partitions) {
        if let Some(admitted) = admit(partition.records) {
            store.append(&admitted, &rules);
        }
    }
    store.check();
});

fn request(scene: &Scene, version: i16) -> ProduceRequest {
    let topic = if version < 13 {
        TopicRef::Name(StrBytes::from_static_str("orders"))
    } else {
        TopicRef::Id([7; 16])
    };
    let partition = |(index, batches): (i32, &Vec<Words>)| {
        let batches = batches.iter().take(4).flat_map(build);
        let bytes: Vec<u8> = batches.collect();
        ProducePartition { index, records: (!bytes.is_empty()).then(|| Bytes::from(bytes)) }
    };
    ProduceRequest {
        transactional_id: scene.has_transactional_id.then(|| StrBytes::from_static_str("t")),
        acks: scene.acks,
        timeout_ms: scene.timeout_ms,
        topics: vec![ProduceTopic {
            topic,
            partitions: (0..).zip(scene.partitions.iter().take(32)).map(partition).collect(),
        }],
    }
}

fn build(words: &Words) -> Vec<u8> {
    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch, sequence)) = words.producer {
        let id = ProducerId::checked(i64::from(id % 3)).expect("not negative");
        let epoch = ProducerEpoch::checked(i16::from(epoch % 3)).expect("not negative");
        // Near both ends of the numbers, as they begin again at 0.
        let sequence = i32::from(sequence);
        let sequence = if sequence < 128 { sequence } else { i32::MAX - (255 - sequence) };
        builder = builder.producer(id, epoch, Sequence::checked(sequence).expect("not negative"));
    }
    let fill = |bytes: u8| vec![bytes; usize::from(bytes)];
    for record in words.records.iter().take(64) {
        let timestamp = words.timestamp.saturating_add(i64::from(record.timestamp_delta));
        let (key, value) = (record.key.map(fill), record.value.map(fill));
        let header: (&[u8], Option<&[u8]>) = (b"h", None);
        let headers = vec![header; usize::from(record.header_count % 4)];
        builder.push(Timestamp::new(timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    if builder.record_count() == 0 {
        return Vec::new();
    }
    let mut bytes = builder.build_with(CODECS[usize::from(words.codec) % CODECS.len()]);
    if let Some((at, byte)) = words.flaw {
        let at = usize::from(at) % bytes.len();
        bytes[at] = byte;
    }
    if words.is_sealed {
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// The frame, as the other side of a connection puts it together.
fn arrive(request: &ProduceRequest, version: i16, part_bytes: u8) -> Bytes {
    let client_id = StrBytes::from_static_str("fuzz");
    let sent = client::encode_produce(&Envelope { version, correlation_id: 1, client_id }, request);
    let mut assembler = Assembler::new(FRAME_BYTES_MAX);
    for mut received in sent.chunks(usize::from(part_bytes).max(1)) {
        if assembler.announce(&mut received).expect("within the limit").is_some()
            && let Some(frame) = assembler.take(&mut received)
        {
            return frame;
        }
    }
    panic!("the frame is whole");
}

/// The code that is generated from Kafka's definitions reads the same.
fn agree(ours: &ProduceRequest, body: &Bytes, version: i16) {
    let theirs =
        generated::ProduceRequest::decode(&mut body.clone(), version).expect("it is sound");
    assert_eq!((theirs.acks, theirs.timeout_ms), (ours.acks, ours.timeout_ms));
    let theirs: Vec<_> = theirs.topic_data.into_iter().flat_map(|it| it.partition_data).collect();
    let ours: Vec<_> = ours.topics.iter().flat_map(|it| &it.partitions).collect();
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(ours) {
        assert_eq!((theirs.index, theirs.records.as_ref()), (ours.index, ours.records.as_ref()));
    }
}

fn admit(records: Option<Bytes>) -> Option<Admitted> {
    let rules = Rules {
        batch_bytes_max: 1 << 20,
        segment_bytes_max: 1 << 20,
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        timestamp_before_ms_max: i64::MAX,
        timestamp_after_ms_max: i64::MAX,
        timestamp_type: TimestampType::CreateTime,
        keys: Keys::Optional,
        validation: Validation::Full,
        compression: None,
        transactional: Permit::Refused,
        zstd: Permit::Allowed,
    };
    let mut admission = Admission::begin(records, &rules, NOW).ok()?;
    while admission.step(usize::MAX).ok()? == Progress::More {}
    Some(admission.finish())
}

fn log_rules(scene: &Scene) -> log::Rules {
    log::Rules {
        segment_bytes_max: if scene.small_segments { 1000 } else { 1 << 30 },
        segment_ms_max: i64::MAX,
        segment_jitter_ms_max: 0,
        index_interval_bytes: 4096,
    }
}

/// A log, and every batch that went into it.
struct Store {
    log: Log,
    appended: Vec<(batch::Summary, Offset)>,
}

impl Store {
    fn append(&mut self, admitted: &Admitted, rules: &log::Rules) {
        match self.log.sequence_verdict(&admitted.summary) {
            Ok(Verdict::Fresh) => {}
            Ok(Verdict::Duplicate { base_offset, .. }) => {
                let of_it = |it: &&(batch::Summary, Offset)| it.1 == base_offset;
                let first = self.appended.iter().find(of_it).expect("it was stored once");
                let producer = admitted.summary.producer.expect("only producers repeat");
                assert_eq!(first.0.producer, Some(producer));
                return;
            }
            Err(_) => return,
        }
        let end = self.log.log_end().offset;
        let append = self.log.begin_append(&admitted.summary, NOW, rules);
        assert_eq!(append.base_offset, end);
        let header = self.log.stamp(&append, &admitted.batch, admitted.patch.as_ref());
        let mut stored = header.to_vec();
        stored.extend_from_slice(&admitted.batch[header.len()..]);
        let view = Batch::parse(&stored).expect("it was admitted");
        assert_eq!(view.check_stored(append.base_offset), Ok(()));
        assert_eq!(view.next_offset(), Ok(append.end.offset));
        self.appended.push((admitted.summary.clone(), append.base_offset));
    }

    /// Every batch is found, and a checkpoint remembers what the log does.
    fn check(mut self) {
        for (_, base) in &self.appended {
            let located = self.log.locate(*base).expect("it is in the log");
            assert!(located.segment.base <= *base);
        }
        let before = self.log.log_end();
        let checkpointing = self.log.begin_checkpoint();
        let manifest = Manifest::decode(checkpointing.manifest()).expect("it is ours");
        let restored = Log::restore(manifest);
        assert_eq!(restored.log_end(), before);
        for (summary, _) in self.appended.iter().rev().take(BATCHES_REMEMBERED) {
            let verdict = self.log.sequence_verdict(summary);
            assert_eq!(restored.sequence_verdict(summary), verdict);
        }
    }
}
