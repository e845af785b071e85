//! How often a broker allocates for a produce and for a fetch, once it is warm: the whole path, from the
//! socket to the disk and back, in a real broker of one shard in this process.
//!
//! `cargo bench -p shard --bench allocations` prints a number for each kind of request; with `-- --sites` it
//! writes where they come from to a `dhat-NAME.json` for each, for any viewer of DHAT files. Asserts nothing.
//! The client allocates nothing while it is counted: its frames are made before.
//!
//! What it finds is not none: 29 allocations (4.5 KB) for a produce to one partition and 54 for one to 16, 42
//! (6.7 KB) for a fetch of one record and 116 of one from each of 16 partitions, 65 for a produce and the fetch
//! that waits for it. All of them go back with the answer. They are, the most first:
//! - lists as long as a request makes them: its topics, partitions and batches, the same by shard, the results,
//!   the pieces of the answer;
//! - a cell for each thing that one task waits for of another: a frame, an answer, a read;
//! - what the ring is pointed to, which must not move, and the places of blocks;
//! - the request's own bytes, its client's name, and the futures of tasks besides the connection's own.
//!
//! Under 2,000 small requests a second, and 20 MB/s in large ones, malloc and free are 3.5 % of a shard's time
//! (`perf record` of W7's phase `before`): less than pools of our own would be worth.
#![expect(clippy::print_stdout, reason = "a bench answers on stdout")]
#![expect(clippy::unwrap_used, reason = "a bench that fails names the line")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use bytes::Bytes;
use engine::id::Timestamp;
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{
    Envelope, decode_fetch, decode_produce, encode_fetch, encode_produce, encode_request,
    split_response,
};
use net::error_code::ErrorCode;
use net::fetch::{FetchPartition, FetchRequest, FetchTopic, SESSIONLESS_EPOCH};
use net::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use net::topic::TopicRef;
use replication::config::node::NodeConfig;
use shard::server::Server;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TOPIC: &str = "t";
/// A topic for records that somebody waits for.
const NEXT: &str = "next";
const PARTITIONS: i32 = 16;
/// Stands nowhere else in a request.
const UNLIKELY_OFFSET: i64 = 0x0123_4567_89ab_cdef;
const WARMUP: u32 = 2_000;
const COUNTED: u32 = 2_000;
/// The last ones that name topics.
const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 12;
/// Of each place that allocates.
const FRAMES: usize = 48;
const ANSWER_BYTES_MAX: usize = 1 << 20;

fn main() {
    let wants_sites = std::env::args().any(|it| it == "--sites");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("allocations");
    drop(std::fs::remove_dir_all(&directory));
    std::fs::create_dir_all(&directory).unwrap();
    let listener = format!("PLAINTEXT://127.0.0.1:{}", free_port());
    let config: [(&str, &str); 4] = [
        ("listeners", &listener),
        ("log.dirs", directory.to_str().unwrap()),
        ("odradek.cores", "1"),
        ("odradek.memory", "64MiB"),
    ];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let server = Server::start(NodeConfig::from_properties(&[], &config).unwrap(), &directory);
    let server = server.unwrap();
    let address = server.facts().addresses[0].1;

    let mut scene = Scene::begin(address);
    let profiler = (!wants_sites).then(|| dhat::Profiler::builder().testing().build());
    println!("{:52} allocations  bytes", "request");
    for (name, kind) in KINDS {
        (0..WARMUP).for_each(|_| kind(&mut scene));
        let profiler =
            wants_sites.then(|| dhat::Profiler::builder().trim_backtraces(Some(FRAMES)).build());
        let before = dhat::HeapStats::get();
        (0..COUNTED).for_each(|_| kind(&mut scene));
        let after = dhat::HeapStats::get();
        let each = |total: u64| f64::from(u32::try_from(total).unwrap()) / f64::from(COUNTED);
        let count = each(after.total_blocks - before.total_blocks);
        let bytes = each(after.total_bytes - before.total_bytes);
        println!("{name:52} {count:11.2} {bytes:6.0}");
        drop(profiler);
        if wants_sites {
            std::fs::rename(
                "dhat-heap.json",
                format!("dhat-{}.json", name.replace([' ', ','], "-")),
            )
            .unwrap();
        }
    }
    drop(profiler);
    server.remote().stop();
    server.join().unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

type Kind = (&'static str, fn(&mut Scene));

const KINDS: [Kind; 5] = [
    ("produce, 1 KiB to one partition", |it| it.producer.ask(&it.to_one)),
    ("produce, 1 KiB to each of 16 partitions", |it| it.producer.ask(&it.to_all)),
    ("fetch, one record of one partition", |it| it.consumer.ask(&it.of_one)),
    ("fetch, one record of each of 16 partitions", |it| it.consumer.ask(&it.of_all)),
    ("produce, and the fetch that waits for it", Scene::pass_on),
];

/// A producer and a consumer, and what they ask.
struct Scene {
    producer: Client,
    consumer: Client,
    to_one: Bytes,
    to_all: Bytes,
    of_one: Bytes,
    of_all: Bytes,
    /// To a topic that gets nothing else.
    to_next: Bytes,
    /// A fetch of that, and where in it the offset stands.
    of_next: (Vec<u8>, usize),
    /// Records in it.
    passed_on: i64,
}

impl Scene {
    fn begin(address: SocketAddr) -> Self {
        let of_next = fetch(NEXT, 1, UNLIKELY_OFFSET).to_vec();
        let place = of_next.windows(8).position(|it| it == UNLIKELY_OFFSET.to_be_bytes()).unwrap();
        let mut scene = Self {
            producer: Client::connect(address),
            consumer: Client::connect(address),
            to_one: produce(TOPIC, 1),
            to_all: produce(TOPIC, PARTITIONS),
            of_one: fetch(TOPIC, 1, 0),
            of_all: fetch(TOPIC, PARTITIONS, 0),
            to_next: produce(NEXT, 1),
            of_next: (of_next, place),
            passed_on: 0,
        };
        scene.producer.create_topics();
        scene.producer.ask(&scene.to_all);
        assert_eq!(scene.producer.produced(), ErrorCode::NONE);
        scene.consumer.ask(&scene.of_one);
        assert!(scene.consumer.fetched_bytes() > 0);
        scene
    }

    /// A consumer that is up to date gets the record that comes.
    fn pass_on(&mut self) {
        let (frame, place) = &mut self.of_next;
        frame[*place..*place + 8].copy_from_slice(&self.passed_on.to_be_bytes());
        self.consumer.send(frame);
        self.producer.ask(&self.to_next);
        self.consumer.receive();
        self.passed_on += 1;
    }
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    answer_bytes: usize,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answer: vec![0; ANSWER_BYTES_MAX], answer_bytes: 0 }
    }

    fn ask(&mut self, frame: &[u8]) {
        self.send(frame);
        self.receive();
    }

    fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).unwrap();
    }

    fn receive(&mut self) {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).unwrap();
        self.answer_bytes = usize::try_from(i32::from_be_bytes(prefix)).unwrap();
        self.stream.read_exact(&mut self.answer[..self.answer_bytes]).unwrap();
    }

    fn body(&self, api: ApiKey, version: i16) -> Bytes {
        let frame = Bytes::copy_from_slice(&self.answer[..self.answer_bytes]);
        split_response(api, version, &frame).unwrap().1
    }

    fn create_topics(&mut self) {
        let topic = |name| {
            CreatableTopic::default()
                .with_name(TopicName(StrBytes::from_static_str(name)))
                .with_num_partitions(PARTITIONS)
                .with_replication_factor(1)
        };
        let topics = vec![topic(TOPIC), topic(NEXT)];
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
        self.ask(&encode_request(ApiKey::CreateTopics, &envelope(5), &request).unwrap());
    }

    fn produced(&self) -> ErrorCode {
        let body = self.body(ApiKey::Produce, PRODUCE_VERSION);
        decode_produce(PRODUCE_VERSION, &body).unwrap().topics[0].partitions[0].error
    }

    fn fetched_bytes(&self) -> usize {
        let body = self.body(ApiKey::Fetch, FETCH_VERSION);
        decode_fetch(FETCH_VERSION, &body).unwrap().topics[0].partitions[0].record_bytes()
    }
}

fn envelope(version: i16) -> Envelope {
    Envelope { version, correlation_id: 7, client_id: StrBytes::from_static_str("bench") }
}

fn produce(topic: &'static str, partition_count: i32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp::new(1_700_000_000_000), None, Some(&[7; 1_024]), &[]);
    let records = Some(Bytes::from(builder.build()));
    let partitions = (0..partition_count)
        .map(|index| ProducePartition { index, records: records.clone() })
        .collect();
    let topics = vec![ProduceTopic { topic: named(topic), partitions }];
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topics };
    encode_produce(&envelope(PRODUCE_VERSION), &request)
}

fn named(topic: &'static str) -> TopicRef {
    TopicRef::Name(StrBytes::from_static_str(topic))
}

fn fetch(topic: &'static str, partition_count: i32, fetch_offset: i64) -> Bytes {
    let partitions = (0..partition_count)
        .map(|index| FetchPartition {
            index,
            current_leader_epoch: -1,
            fetch_offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1, // one batch, as the first is always whole
        })
        .collect();
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 0,
        session_id: 0,
        session_epoch: SESSIONLESS_EPOCH,
        topics: vec![FetchTopic { topic: named(topic), partitions }],
        forgotten: Vec::new(),
        rack_id: StrBytes::new(),
    };
    encode_fetch(&envelope(FETCH_VERSION), &request)
}
