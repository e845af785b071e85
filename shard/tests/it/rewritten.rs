//! What a broker rewrites of a batch before it stores it, and what it refuses because of its times:
//! topics with a codec or a clock of their own, whose settings change while producers send.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::time::Duration;

use bytes::Bytes;
use engine::batch::{self, Batch, Stop, TimestampType};
use engine::codec::Codec;
use engine::id::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use engine::records::builder::BatchBuilder;
use engine::records::{Record, Records};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListOffsetsRequest,
    ListOffsetsResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client;
use net::error_code::ErrorCode;
use net::fetch::FetchRequest;
use net::produce::ProducedPartition;
use shard::io::{Class, Io};
use shard::metrics::Metric;
use shard::sim::admin::{Admin, Wish};
use shard::sim::broker::Started;
use shard::sim::consumer::{Consumer, Manners};
use shard::sim::disk::Crash;
use shard::sim::history::{Durability, Retries};
use shard::sim::policy::Policy;
use shard::sim::producer::{Habits, Producer};
use shard::sim::recorder::Recorder;
use shard::sim::wire::Wire;
use shard::sim::{Ended, SimIo, World, broker};

use crate::answers::{Client, by_name, fetch, play, play_in, produce, topic_name};
use crate::recovery::{HOUR, finish, world};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const NAMES: [(&str, Codec); 5] = [
    ("uncompressed", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

/// Sets configs of a topic, or (with an empty name) of every broker.
async fn set(client: &Client, kind: i8, name: &str, configs: &[(&str, &str)]) {
    alter(&client.io, client.node, kind, name, configs).await;
}

async fn alter(io: &SimIo, node: usize, kind: i8, name: &str, configs: &[(&str, &str)]) {
    let config = |(key, value): &(&str, &str)| {
        AlterableConfig::default()
            .with_name(StrBytes::from_string((*key).to_owned()))
            .with_value(Some(StrBytes::from_string((*value).to_owned())))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name.to_owned()))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut wire = Wire::connect(io, node).await;
    let answer: IncrementalAlterConfigsResponse =
        wire.call(ApiKey::IncrementalAlterConfigs, 1, &request).await.unwrap();
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

async fn send(client: &Client, batch: Vec<u8>) -> ProducedPartition {
    let request = produce(&[("t", &[(0, Bytes::from(batch))])]);
    client.produce("sim", &request).await.topics.remove(0).partitions.remove(0)
}

/// Sends a batch that is taken; its base offset.
async fn append(client: &Client, batch: Vec<u8>) -> i64 {
    let produced = send(client, batch).await;
    assert_eq!(produced.error, ErrorCode::NONE);
    produced.base_offset
}

/// The stored batches from `offset` on, each checked as a reader of the disk would. An answer ends with a
/// segment.
async fn stored(client: &Client, mut offset: i64) -> Vec<Bytes> {
    let mut batches = vec![];
    loop {
        let mut request: FetchRequest = fetch(&[(by_name("t"), &[0])]);
        request.topics[0].partitions[0].fetch_offset = offset;
        let mut answer = client.fetch(12, &request).await;
        let partition = answer.topics[0].partitions.remove(0);
        assert_eq!(partition.error, ErrorCode::NONE);
        let Some(bytes) = partition.records else { return batches };
        let bytes = bytes.into_handle();
        let mut walk = batch::walk(&bytes, Offset::checked(offset));
        let found: Vec<_> = walk.by_ref().map(|(_, it)| bytes.slice_ref(it.bytes())).collect();
        assert_eq!(walk.stop(), Some(Stop::End));
        batches.extend(found);
        offset = walk.expected().unwrap().get();
    }
}

fn records(batch: &Bytes) -> Vec<Record> {
    Records::new(batch, 1 << 26).unwrap().map(Result::unwrap).collect()
}

fn codec(batch: &Bytes) -> Codec {
    Batch::parse(batch).unwrap().codec().unwrap()
}

fn max_timestamp(batch: &Bytes) -> (TimestampType, i64) {
    let batch = Batch::parse(batch).unwrap();
    (batch.timestamp_type(), batch.max_timestamp().get())
}

/// Records with these times.
fn at(timestamps: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for timestamp in timestamps {
        let value = timestamp.to_string().repeat(20);
        let headers = [(&b"h"[..], None)];
        builder.push(Timestamp::new(*timestamp), Some(b"k"), Some(value.as_bytes()), &headers);
    }
    builder
}

/// Offset and time of what ListOffsets finds.
async fn find(client: &Client, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic =
        ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer: ListOffsetsResponse = client.ask(ApiKey::ListOffsets, 7, &request).await;
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

#[test]
fn batches_of_every_codec_are_stored_in_the_one_that_the_topic_has_at_that_moment() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        for (name, to) in NAMES {
            set(&client, TOPIC, "t", &[("compression.type", name)]).await;
            for from in Codec::ALL {
                let sent = at(&[3, 1, 2]).build_with(from);
                let base = append(&client, sent.clone()).await;
                let batch = stored(&client, base).await.remove(0);
                assert_eq!(codec(&batch), to, "{from:?}");
                let (mut want, found) = (records(&Bytes::from(sent)), records(&batch));
                want.iter_mut().for_each(|it| it.offset = it.offset.plus(base));
                assert_eq!(found, want);
                assert_eq!(max_timestamp(&batch), (TimestampType::CreateTime, 3));
            }
        }
        let recompressed = client.counted().await.metric(Metric::BatchesRecompressed);
        assert_eq!(recompressed, 20, "five of twenty-five came in the right codec");
    });
}

#[test]
fn codec_and_level_of_the_broker_hold_for_topics_without_their_own_and_change_while_it_runs() {
    play(
        &[("compression.type", "gzip"), ("compression.gzip.level", "1")],
        async |client: Client| {
            client.create("t", 1).await;
            let long: Vec<i64> = (0..3_000_i64).map(|it| it * it % 7_919).collect();
            let bytes = async |codec_wanted| {
                let base = append(&client, at(&long).build()).await;
                let batch = stored(&client, base).await.remove(0);
                assert_eq!((codec(&batch), records(&batch).len()), (codec_wanted, long.len()));
                batch.len()
            };
            let fast = bytes(Codec::Gzip).await;
            set(&client, BROKER, "", &[("compression.gzip.level", "9")]).await;
            assert!(bytes(Codec::Gzip).await < fast);
            set(&client, BROKER, "", &[("compression.type", "lz4")]).await;
            let fast = bytes(Codec::Lz4).await;
            set(&client, TOPIC, "t", &[("compression.lz4.level", "12")]).await;
            assert!(bytes(Codec::Lz4).await < fast);
            set(&client, TOPIC, "t", &[("compression.type", "producer")]).await;
            bytes(Codec::None).await;
        },
    );
}

#[test]
fn a_batch_that_gets_too_large_for_its_topic_is_refused_and_nothing_is_stored() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(1), None, Some(&vec![7; 100_000]), &[]);
        let most = builder.len_bytes().to_string();
        let configs = [("compression.type", "uncompressed"), ("max.message.bytes", "99999")];
        set(&client, TOPIC, "t", &configs).await;
        let refused = send(&client, builder.clone().build_with(Codec::Zstd)).await;
        assert_eq!((refused.error, refused.base_offset), (ErrorCode::MESSAGE_TOO_LARGE, -1));
        assert_eq!((refused.log_start_offset, refused.record_errors.len()), (-1, 0));
        set(&client, TOPIC, "t", &[("max.message.bytes", &most)]).await;
        assert_eq!(append(&client, builder.build_with(Codec::Zstd)).await, 0);
        assert_eq!(client.counted().await.metric(Metric::BatchesRecompressed), 1);
    });
}

#[test]
fn a_producer_that_repeats_itself_is_known_in_another_codec_too() {
    play(&[("compression.type", "zstd")], async |client: Client| {
        client.create("t", 1).await;
        let id = ProducerId::checked(5).unwrap();
        let epoch = ProducerEpoch::checked(0).unwrap();
        let numbered = |first: i32| {
            let mut builder =
                BatchBuilder::new().producer(id, epoch, Sequence::checked(first).unwrap());
            for _ in 0..3 {
                builder.push(Timestamp::new(1), None, Some(b"value"), &[]);
            }
            builder.build_with(Codec::Lz4)
        };
        for (first, code, base) in [(0, 0, 0), (3, 0, 3), (0, 0, 0), (9, 45, -1), (6, 0, 6)] {
            let produced = send(&client, numbered(first)).await;
            assert_eq!((produced.error.get(), produced.base_offset), (code, base), "{first}");
        }
        let batches = stored(&client, 0).await;
        assert!(batches.iter().all(|it| codec(it) == Codec::Zstd));
        assert_eq!(batches.iter().map(|it| records(it).len()).sum::<usize>(), 9);
    });
}

#[test]
fn many_who_have_large_batches_compressed_wait_for_memory_and_are_all_answered() {
    const COUNT: usize = 24;
    // A core has 4 MiB for requests; each of these takes far more than the quarter of it.
    play_in(64 << 20, &[("compression.type", "zstd")], async |client: Client| {
        client.create("t", 1).await;
        set(&client, TOPIC, "t", &[("compression.zstd.level", "12")]).await;
        let value: Vec<u8> = (0..900_000_u32).map(|it| (it / 3).to_be_bytes()[3]).collect();
        for _ in 0..COUNT {
            let (sender, value) = (client.clone(), value.clone());
            client.io.spawn(Class::Foreground, async move {
                let mut builder = BatchBuilder::new();
                builder.push(Timestamp::new(1), None, Some(&value), &[]);
                append(&sender, builder.build_with(Codec::Snappy)).await;
            });
        }
        while find(&client, -1).await.0 < i64::try_from(COUNT).unwrap() {
            client.io.sleep(Duration::from_millis(10)).await;
        }
        let batches = stored(&client, 0).await;
        assert!(batches.iter().all(|it| codec(it) == Codec::Zstd));
        assert!(batches.iter().all(|it| records(it)[0].value.as_ref() == Some(&value)));
    });
}

#[test]
fn who_leaves_while_its_batch_is_compressed_holds_nothing() {
    play(&[("compression.type", "gzip")], async |client: Client| {
        client.create("t", 1).await;
        let value: Vec<u8> = (0..900_000_u32).map(|it| (it / 3).to_be_bytes()[3]).collect();
        let mut large = BatchBuilder::new();
        large.push(Timestamp::new(1), None, Some(&value), &[]);
        let large = Bytes::from(large.build());
        let mut wire = Wire::connect(&client.io, client.node).await;
        let request = produce(&[("t", &[(0, large)])]);
        let frame = client::encode_produce(&wire.envelope(12), &request);
        for pause_us in (0..10_000).step_by(500) {
            let socket = client.io.connect(client.node).await.unwrap();
            // One is answered while the next is worked on; who takes the answer may be gone.
            client.io.send(&socket, vec![frame.clone(), frame.clone()]).await.unwrap();
            client.io.sleep(Duration::from_micros(pause_us)).await;
            client.io.shutdown(&socket);
        }
        client.io.sleep(Duration::from_secs(60)).await;
        assert_eq!(client.counted().await.metric(Metric::MemoryRequestBytes), 0);
    });
}

#[test]
fn the_brokers_clock_stamps_batches_of_every_codec_and_its_times_are_found() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        set(&client, TOPIC, "t", &[("message.timestamp.type", "LogAppendTime")]).await;
        let mut times = vec![];
        for (name, _) in NAMES {
            set(&client, TOPIC, "t", &[("compression.type", name)]).await;
            for from in [Codec::None, Codec::Gzip, Codec::Zstd] {
                client.io.sleep(Duration::from_millis(1)).await;
                let before = client.io.wall().get();
                // Far outside what the producer's clock may say; the broker's does not care.
                let produced = send(&client, at(&[i64::MAX, 5]).build_with(from)).await;
                assert_eq!(produced.error, ErrorCode::NONE);
                let time = produced.log_append_time_ms;
                assert!(before <= time && time <= client.io.wall().get());
                let batch = stored(&client, produced.base_offset).await.remove(0);
                assert_eq!(max_timestamp(&batch), (TimestampType::LogAppendTime, time));
                assert!(records(&batch).iter().all(|it| it.timestamp.get() == time));
                times.push((produced.base_offset, time));
            }
        }
        for (base, time) in &times {
            assert_eq!(find(&client, *time).await, (*base, *time));
        }
        let (base, time) = times.pop().unwrap();
        assert_eq!(find(&client, -3).await, (base, time));
        assert_eq!(find(&client, time + 1).await, (-1, -1));
    });
}

#[test]
fn retention_goes_by_the_brokers_clock_where_it_stamps() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let configs = [
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "20000"),
            ("segment.ms", "500"),
        ];
        set(&client, TOPIC, "t", &configs).await;
        // By the producers' clocks the first would be gone at once, and the second stay for ever.
        for (time, base) in [(1, 0), (i64::MAX, 1)] {
            assert_eq!(append(&client, at(&[time]).build_with(Codec::Gzip)).await, base);
            client.io.sleep(Duration::from_secs(6)).await;
            assert_eq!(find(&client, -2).await.0, 0);
        }
        let mut starts = vec![];
        for _ in 0..15 {
            client.io.sleep(Duration::from_secs(2)).await;
            starts.push(find(&client, -2).await.0);
        }
        starts.dedup();
        assert_eq!(starts, [0, 1, 2], "one after the other");
    });
}

#[test]
fn whose_clock_it_is_changes_with_the_next_batch() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let produced = send(&client, at(&[7]).build()).await;
        assert_eq!(produced.log_append_time_ms, -1);
        set(&client, BROKER, "", &[("log.message.timestamp.type", "LogAppendTime")]).await;
        let produced = send(&client, at(&[7]).build()).await;
        let time = produced.log_append_time_ms;
        assert!(time > 7);
        set(&client, TOPIC, "t", &[("message.timestamp.type", "CreateTime")]).await;
        let produced = send(&client, at(&[8]).build()).await;
        assert_eq!(produced.log_append_time_ms, -1);
        let found: Vec<_> = stored(&client, 0).await.iter().map(max_timestamp).collect();
        let (own, brokers) = (TimestampType::CreateTime, TimestampType::LogAppendTime);
        assert_eq!(found, [(own, 7), (brokers, time), (own, 8)]);
        assert_eq!(find(&client, 8).await, (1, time));
    });
}

#[test]
fn times_out_of_bounds_are_refused_record_by_record_and_the_bounds_change_while_it_runs() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let now = client.io.wall().get();
        let check = async |timestamps: &[i64], want: &[i32]| {
            let sent = at(timestamps).build_with(Codec::Lz4);
            let produced = send(&client, sent).await;
            let errors = produced.record_errors.iter();
            let indexes: Vec<_> = errors.clone().map(|it| it.record_index).collect();
            let code = if want.is_empty() { 0 } else { 32 };
            assert_eq!((produced.error.get(), &indexes[..]), (code, want), "{timestamps:?}");
            assert!(errors.clone().all(|it| it.message.is_some()));
            assert_eq!(produced.error_message.is_some(), !want.is_empty());
            // It is checked before anything is stored, but after the log was looked up.
            assert_eq!(produced.log_start_offset, 0);
        };
        let (hour, minute) = (3_600_000, 60_000);
        check(&[now, 0, now + hour - minute], &[]).await;
        check(&[now + hour + minute, now, now + 2 * hour], &[0, 2]).await;
        let bounds = [
            ("message.timestamp.before.max.ms", "60000"),
            ("message.timestamp.after.max.ms", "7200000"),
        ];
        set(&client, TOPIC, "t", &bounds).await;
        check(&[now + hour + minute, now - 2 * minute, 0, -1], &[1, 2]).await;
        set(&client, TOPIC, "t", &[("message.timestamp.type", "LogAppendTime")]).await;
        check(&[now + 9 * hour, 0], &[]).await;
        set(&client, TOPIC, "t", &[("message.timestamp.type", "CreateTime")]).await;
        // With a codec of its own a topic says the same.
        set(&client, TOPIC, "t", &[("compression.type", "gzip")]).await;
        check(&[now, now + 9 * hour, 0], &[1, 2]).await;
    });
}

/// It stops when what is given back is dropped.
fn started(world: &mut World) -> Started {
    let started = broker::start(world, 0, 2);
    assert_eq!(world.run(HOUR, || started.ready().is_some()), Ended::Done);
    started
}

/// The checker knows each record that was sent and acknowledged; the producers repeat what is not answered.
#[test]
fn what_is_acknowledged_in_another_codec_is_there_after_each_of_many_power_cuts() {
    let mut world = world(2);
    let mut broker = started(&mut world);
    let outside = world.outside();
    let recorder = Recorder::new(outside.clone(), 1);
    let wish = Wish {
        name: "t".to_owned(),
        partition_count: 3,
        durability: Durability::Device,
        segment_ms: 60_000,
        compression: None,
        policy: Policy::default(),
    };
    let mut admin = Admin::new(&outside, 0, &recorder);
    let targets = finish(&mut world, &outside, async move { admin.create(&wish).await });
    for (at, from) in Codec::ALL.into_iter().enumerate() {
        let (io, to) = (outside.clone(), NAMES[(at + 2) % NAMES.len()].0);
        let configs = [("compression.type", to), ("compression.zstd.level", "15")];
        finish(&mut world, &outside, async move { alter(&io, 0, TOPIC, "t", &configs).await });
        for depth in [1, 5] {
            let habits = Habits {
                retries: Retries::Deduplicated,
                acks: -1,
                depth,
                version: 12,
                request_count: 30,
                value_bytes_max: 5_000,
                batch_bytes: None,
                codec: from,
                pause_nanos: 1_000_000,
            };
            let producer = Producer::new(&outside, 0, &recorder, habits, targets.clone());
            recorder.begin_work();
            let busy = recorder.clone();
            outside.spawn(Class::Foreground, async move {
                producer.run().await;
                busy.end_work();
            });
        }
        // Half way: 30 requests, with pauses of half a millisecond on average.
        let cut_at = world.now().plus(Duration::from_millis(8));
        world.run(Duration::from_secs(60), || outside.now() >= cut_at);
        assert!(recorder.is_busy(), "something is on its way");
        world.crash(0, Crash::Power);
        broker = started(&mut world);
        assert_eq!(world.run(Duration::from_secs(600), || !recorder.is_busy()), Ended::Done);
        let (version, max_wait_ms, max_bytes) = (12, 0, 1 << 20);
        let manners =
            Manners { version, max_wait_ms, max_bytes, isolation_level: 0, pause_nanos: 1 };
        let consumer = Consumer::new(&outside, 0, &recorder, manners, targets.clone());
        finish(&mut world, &outside, consumer.read_whole());
        assert_eq!(recorder.failure(), None, "{from:?} to {to}");
    }
    drop(broker);
    assert!(recorder.finish().is_ok());
    assert!(recorder.tally().acked_count > 500, "{:?}", recorder.tally());
}
