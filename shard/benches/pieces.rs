//! What the pieces of the hot path cost, each by itself on one warm core: time and allocations.
//!
//! `cargo bench -p shard --bench pieces [WORD...]` measures those whose name has one of the words. Prints,
//! asserts nothing. Times are of this machine and this hour; allocations are not.
#![expect(clippy::print_stdout, reason = "a bench answers on stdout")]
#![expect(
    clippy::disallowed_methods,
    reason = "nothing here is simulated: the clock is the machine's"
)]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use engine::admission::{Admission, Keys, Permit, Progress, Rules, Validation};
use engine::batch::TimestampType;
use engine::id::{FilePos, Offset, PartitionId, PartitionIndex, Timestamp, TopicId};
use engine::journal::{AppendHeader, BLOCK_BYTES, FrameWriter, Generation};
use engine::records::builder::BatchBuilder;
use hdrhistogram::Histogram;
use net::api::ApiKey;
use net::codec::Layout;
use net::error_code::ErrorCode;
use net::fetch::{FetchResponse, FetchedPartition};
use net::header::Reply;
use net::outgoing::{Outgoing, Records};
use net::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use net::topic::TopicRef;
use net::writer::Writer;
use shard::mailbox;

const NOW: Timestamp = Timestamp::new(1_700_000_000_000);
/// One time is taken of so many, as a clock costs more than some pieces.
const OPERATIONS_PER_ROUND: u32 = 64;
const ROUNDS: u32 = 4_000;
const ROUNDS_WARMUP: u32 = 400;
const PRODUCE_VERSION: i16 = 13;
const FETCH_VERSION: i16 = 17;
/// Work on a batch's records is done in steps of so many bytes.
const STEP_BYTES: usize = 64 << 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let mut bench = Bench { words };
    println!(
        "{:44} {:>9} {:>9} {:>9}  allocations  bytes",
        "piece", "p50 ns", "p99 ns", "p99.9 ns"
    );
    for (records, value_bytes) in [(1, 100), (1, 1_024), (127, 1_024), (1_000, 100)] {
        check(&mut bench, records, value_bytes);
    }
    for (batches, bytes) in [(1, 1_100), (64, 1_100), (8, 131_072)] {
        journal(&mut bench, batches, bytes);
    }
    post(&mut bench);
    for partitions in [1, 16] {
        decode_produce(&mut bench, partitions);
    }
    for partitions in [1, 16, 1_000] {
        encode_fetch(&mut bench, partitions);
    }
}

struct Bench {
    words: Vec<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|it| name.contains(it.as_str()))
    }

    fn measure(&mut self, name: &str, mut piece: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for round in 0..ROUNDS_WARMUP + ROUNDS {
            let began = Instant::now();
            (0..OPERATIONS_PER_ROUND).for_each(|_| piece());
            let ns = began.elapsed().as_nanos() / u128::from(OPERATIONS_PER_ROUND);
            if round >= ROUNDS_WARMUP {
                let ns = u64::try_from(ns).expect("a round is short");
                histogram.record(ns).expect("it grows");
            }
        }
        let used = allocation_counter::measure(|| (0..OPERATIONS_PER_ROUND).for_each(|_| piece()));
        let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|it| histogram.value_at_percentile(it));
        let each = |total: u64| total / u64::from(OPERATIONS_PER_ROUND);
        let (count, bytes) = (each(used.count_total), each(used.bytes_total));
        println!("{name:44} {p50:9} {p99:9} {p999:9} {count:12} {bytes:6}");
    }
}

fn batch(record_count: usize, value_bytes: usize) -> Bytes {
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(value_bytes).collect();
    let mut builder = BatchBuilder::new();
    (0..record_count).for_each(|_| builder.push(NOW, None, Some(&value), &[]));
    Bytes::from(builder.build())
}

const RULES: Rules = Rules {
    batch_bytes_max: 1 << 20,
    segment_bytes_max: 1 << 30,
    decompressed_bytes_max: 64 << 20,
    timestamp_before_ms_max: i64::MAX,
    timestamp_after_ms_max: i64::MAX,
    timestamp_type: TimestampType::CreateTime,
    keys: Keys::Optional,
    validation: Validation::Full,
    compression: None,
    transactional: Permit::Refused,
    zstd: Permit::Allowed,
};

fn check(bench: &mut Bench, record_count: usize, value_bytes: usize) {
    let batch = batch(record_count, value_bytes);
    bench.measure(&format!("batch check, {record_count} x {value_bytes} B"), || {
        let admission = Admission::begin(Some(batch.clone()), &RULES, NOW);
        let mut admission = admission.expect("the batch is sound");
        while admission.step(STEP_BYTES).expect("the batch is sound") == Progress::More {}
        black_box(admission.finish());
    });
}

fn partition(index: u32) -> PartitionId {
    PartitionId { topic: TopicId::new([7; 16]), index: PartitionIndex::new(index) }
}

fn journal(bench: &mut Bench, batch_count: u32, batch_bytes: usize) {
    let batch = vec![7; batch_bytes];
    let mut buffer = vec![0; 512 * BLOCK_BYTES];
    let mut sequence = 0;
    bench.measure(&format!("journal frame, {batch_count} x {batch_bytes} B"), || {
        let mut frame = FrameWriter::begin(&mut buffer);
        for index in 0..batch_count {
            let (segment, durable_end) = (Offset::ZERO, Offset::new(1_000));
            let pos = FilePos::new(1 << 20);
            let header = AppendHeader { partition: partition(index), segment, pos, durable_end };
            let field = frame.push_append_header(&header, batch.len());
            field.expect("the buffer has room").copy_from_slice(&batch);
        }
        sequence += 1;
        black_box(frame.finish(Generation::new(1, 2), sequence));
    });
}

fn post(bench: &mut Bench) {
    let (mut sender, mut receiver) = mailbox::channel::<u64>(1_024);
    bench.measure("mailbox, one message on one thread", || {
        sender.push(7).expect("there is room");
        black_box(receiver.pop());
    });
    const ROUND_TRIP: &str = "mailbox, there and back between two threads";
    if bench.wants(ROUND_TRIP) {
        let (mut there, mut here) = mailbox::channel::<u64>(1_024);
        let (mut back, mut answers) = mailbox::channel::<u64>(1_024);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match here.pop() {
                        Some(message) => back.push(message).expect("there is room"),
                        None => spin_loop(),
                    }
                }
            });
            bench.measure(ROUND_TRIP, || {
                there.push(7).expect("there is room");
                while answers.pop().is_none() {
                    spin_loop();
                }
            });
            is_over.store(true, Ordering::Relaxed);
        });
    }
}

fn topic() -> TopicRef {
    TopicRef::Id([7; 16])
}

fn decode_produce(bench: &mut Bench, partition_count: i32) {
    let records = Some(batch(1, 1_024));
    let partitions = (0..partition_count)
        .map(|index| ProducePartition { index, records: records.clone() })
        .collect();
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic { topic: topic(), partitions }],
    };
    let mut writer = Writer::with_capacity(Layout::Flexible, 1 << 16);
    request.encode(&mut writer, PRODUCE_VERSION);
    let body = Bytes::from(writer.into_bytes());
    let _shared = body.clone(); // makes it count references, as a receive buffer does
    bench.measure(&format!("produce decode, {partition_count} partitions"), || {
        let request = ProduceRequest::decode(&body, PRODUCE_VERSION);
        black_box(request.expect("it was encoded"));
    });
}

fn encode_fetch(bench: &mut Bench, partition_count: i32) {
    let reply = Reply { api: ApiKey::Fetch, version: FETCH_VERSION, correlation_id: 7 };
    let topic = topic();
    bench.measure(&format!("fetch encode, {partition_count} partitions"), || {
        let mut response = FetchResponse::empty(ErrorCode::NONE, 0);
        for index in 0..partition_count {
            let records = Some(Records::new((), 1_100));
            let mut partition = FetchedPartition::refused(index, ErrorCode::NONE);
            partition.high_watermark = 1_000;
            partition.records = records;
            response.push(&topic, partition);
        }
        let mut frame = Outgoing::response(reply);
        response.encode(&mut frame, FETCH_VERSION);
        black_box(frame.finish().expect("its records are few"));
    });
}
