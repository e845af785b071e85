//! Sealed segments are read after a restart, by way of the files beside them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use engine::batch;
use engine::codec::Codec;
use engine::extent::Extent;
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client;
use net::error_code::ErrorCode;
use net::fetch::{FetchPartition, FetchRequest, FetchTopic, SESSIONLESS_EPOCH};
use net::topic::TopicRef;
use shard::io::{Class, Io, Open, Sync};
use shard::metrics::Metric;
use shard::sim::admin::{Admin, Wish};
use shard::sim::broker;
use shard::sim::consumer::{Consumer, Manners};
use shard::sim::content::{SECTOR_BYTES, Tells};
use shard::sim::disk::{Crash, Faults};
use shard::sim::history::{Durability, Retries};
use shard::sim::policy::Policy;
use shard::sim::producer::{Habits, Producer};
use shard::sim::recorder::{Recorder, Target};
use shard::sim::wire::Wire;
use shard::sim::{Ended, SimIo, World};

use crate::recovery::{HOUR, finish, idle, put, start, world};

/// A world whose broker was killed at rest, with a topic of several sealed segments.
fn segments() -> (World, Recorder, Target) {
    let (mut world, recorder, target) = produced(80);
    idle(&mut world);
    world.crash(0, Crash::Process);
    (world, recorder, target)
}

/// A world with a topic of short segments, the last of them not closed.
fn produced(request_count: usize) -> (World, Recorder, Target) {
    let mut world = world(1);
    start(&mut world, 1);
    let io = world.outside();
    let recorder = Recorder::new(io.clone(), 1);
    let wish = Wish {
        name: "t".to_owned(),
        partition_count: 1,
        durability: Durability::Device,
        segment_ms: 128,
        compression: None,
        policy: Policy::default(),
    };
    let mut admin = Admin::new(&io, 0, &recorder);
    let targets = finish(&mut world, &io, async move { admin.create(&wish).await });
    produce(&mut world, &recorder, &targets[0], Retries::Deduplicated, request_count);
    (world, recorder, targets[0].clone())
}

fn produce(
    world: &mut World,
    recorder: &Recorder,
    target: &Target,
    retries: Retries,
    request_count: usize,
) {
    let habits = Habits {
        retries,
        acks: -1,
        depth: 1,
        version: 12,
        request_count,
        value_bytes_max: 20_000,
        batch_bytes: None,
        codec: Codec::None,
        pause_nanos: 50_000_000,
    };
    let io = world.outside();
    let producer = Producer::new(&io, 0, recorder, habits, vec![target.clone()]);
    finish(world, &io, producer.run());
}

/// How often each file whose name ends so is opened to be read through the page cache while so many
/// consumers read the topic, each from its start to its end.
fn opened_by(
    reader_count: usize,
    suffix: &'static str,
    world: &mut World,
    recorder: &Recorder,
    target: &Target,
) -> BTreeMap<String, usize> {
    let opened: Rc<RefCell<BTreeMap<String, usize>>> = Rc::default();
    let count = Rc::clone(&opened);
    world.tell_to(Box::new(move |line| {
        if let Some((_, path)) = line.split_once("open Read ")
            && path.ends_with(suffix)
        {
            *count.borrow_mut().entry(path.to_owned()).or_default() += 1;
        }
    }));
    let (io, left) = (world.outside(), Rc::new(Cell::new(reader_count)));
    for _ in 0..reader_count {
        let manners = Manners {
            version: 12,
            max_wait_ms: 0,
            max_bytes: 10_000,
            isolation_level: 0,
            pause_nanos: 1,
        };
        let consumer = Consumer::new(&io, 0, recorder, manners, vec![target.clone()]);
        let left = Rc::clone(&left);
        io.spawn(Class::Foreground, async move {
            consumer.read_whole().await;
            left.set(left.get() - 1);
        });
    }
    let is_over = || left.get() == 0 || recorder.has_failed();
    assert_eq!(world.run(HOUR, is_over), Ended::Done);
    assert_eq!(recorder.failure(), None);
    opened.take()
}

#[test]
fn the_index_of_a_sealed_segment_is_loaded_once_for_all_readers() {
    let (mut world, recorder, target) = segments();
    start(&mut world, 1);
    let opened = opened_by(4, ".idx", &mut world, &recorder, &target);
    assert!(opened.len() > 3, "{opened:?}");
    assert!(opened.values().all(|it| *it == 1), "{opened:?}");
}

#[test]
fn only_what_is_read_again_goes_through_the_page_cache() {
    let (mut world, recorder, target) = segments();
    start(&mut world, 1);
    let mut opened = || opened_by(1, ".log", &mut world, &recorder, &target);
    assert_eq!(opened(), BTreeMap::new());
    assert!(opened().len() > 3);
}

#[test]
fn what_lies_on_a_file_system_that_became_read_only_is_read_to_its_end() {
    let (mut world, recorder, target) = segments();
    start(&mut world, 1);
    world.set_faults(0, Faults { is_read_only: true, ..Faults::none() });
    for _ in ["past the page cache", "through it"] {
        opened_by(1, ".log", &mut world, &recorder, &target);
    }
}

#[test]
fn segments_with_missing_and_damaged_sidecars_are_read_all_the_same() {
    let (mut world, recorder, target) = segments();
    let (io, topic_id) = (world.io(0, 0), target.topic_id);
    finish(&mut world, &io.clone(), async move {
        let topic = engine::id::TopicId::new(topic_id);
        let dir = format!("topics/{topic}/0");
        let names = io.list(&dir).expect("it is there");
        let sidecars = names.iter().filter(|it| it.ends_with(".idx"));
        for (index, name) in sidecars.enumerate() {
            let path = format!("{dir}/{name}");
            match index % 3 {
                0 => io.unlink(&path).await.expect("it is there"),
                1 => put(io.clone(), path, vec![7; 200]).await,
                _ => {}
            }
        }
    });
    world.crash(0, Crash::Process);
    start(&mut world, 1);
    let opened = opened_by(4, ".idx", &mut world, &recorder, &target);
    assert!(opened.len() > 3, "{opened:?}");
}

/// What a fetch at `offset` of the target is answered: an error, and which offsets its records end at.
async fn fetch(io: SimIo, target: Target, offset: i64) -> (ErrorCode, Option<i64>) {
    let partition = FetchPartition {
        index: target.partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 1 << 20,
    };
    let topic = TopicRef::Name(StrBytes::from_string(target.topic));
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 0,
        session_id: 0,
        session_epoch: SESSIONLESS_EPOCH,
        topics: vec![FetchTopic { topic, partitions: vec![partition] }],
        forgotten: Vec::new(),
        rack_id: StrBytes::new(),
    };
    let mut wire = Wire::connect(&io, 0).await;
    let envelope = wire.envelope(12);
    wire.send(client::encode_fetch(&envelope, &request)).await.expect("the broker lives");
    let body: Bytes = wire.receive(ApiKey::Fetch, &envelope).await.expect("the broker lives");
    let response = client::decode_fetch(envelope.version, &body).expect("a response");
    let partition = &response.topics[0].partitions[0];
    let end = partition.records.as_ref().and_then(|records| {
        let batches = batch::walk_headers(records.handle());
        batches.last().map(|(_, batch)| batch.next_offset().expect("sound").get())
    });
    (partition.error, end)
}

/// Flips a bit of the first file's second batch, `at` bytes behind its start. Gives the batch's offset.
async fn flip(io: SimIo, path: String, at: usize) -> i64 {
    let file = io.open(&path, Open::Direct).await.expect("it is there");
    let (read, block) = io.read(&file, 0, io.block(1 << 20).expect("room")).await;
    let mut bytes = block.as_slice()[..read.expect("a good disk")].to_vec();
    let file_bytes = u64::try_from(bytes.len()).expect("small");
    let first = Extent::parse(&bytes).expect("sound");
    bytes[first.len_bytes + at] ^= 1;
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    let mut block = io.block(bytes.len()).expect("room");
    block.append(&bytes);
    let ranges = vec![block.disk(0..bytes.len())];
    io.write(&file, 0, ranges, Sync::Durable).await.expect("a good disk");
    io.truncate(&file, file_bytes).await.expect("a good disk");
    io.sync(&file).await.expect("a good disk");
    first.end.get()
}

#[test]
fn a_flipped_bit_outside_of_the_checksum_is_an_error_and_stops_nothing_else() {
    for at in [0, 6, 7, 8, 9, 11] {
        let (mut world, _recorder, target) = segments();
        let (io, topic) = (world.io(0, 0), engine::id::TopicId::new(target.topic_id));
        let path = format!("topics/{topic}/0/{:020}", 0);
        let offset = finish(&mut world, &io.clone(), async move {
            io.unlink(&format!("{path}.idx")).await.expect("it is there");
            flip(io, format!("{path}.log"), at).await
        });
        world.crash(0, Crash::Process);
        start(&mut world, 1);
        let outside = world.outside();
        for (offset, want) in [
            (offset, ErrorCode::CORRUPT_MESSAGE),
            (0, ErrorCode::NONE),
            (200, ErrorCode::NONE),
            (offset, ErrorCode::CORRUPT_MESSAGE),
        ] {
            let task = fetch(outside.clone(), target.clone(), offset);
            assert_eq!(finish(&mut world, &outside, task).0, want, "byte {at}, offset {offset}");
        }
    }
}

#[test]
fn a_header_that_the_device_gives_wrong_once_keeps_no_index_from_being_made() {
    let (mut world, _recorder, target) = segments();
    let (io, topic) = (world.io(0, 0), engine::id::TopicId::new(target.topic_id));
    let path = format!("topics/{topic}/0/{:020}", 0);
    let sidecar = format!("{path}.idx");
    finish(&mut world, &io.clone(), async move { io.unlink(&sidecar).await.expect("it is there") });
    let second = world.with_disk(0, |disk| {
        let (ino, bytes) = disk.find(&format!("{path}.log")).expect("it is there");
        let first = Extent::parse(&bytes).expect("sound");
        let at = first.len_bytes / SECTOR_BYTES;
        let sector = u64::try_from(at).expect("small");
        let (mut wrong, _) = disk.sector(ino, sector);
        wrong[first.len_bytes % SECTOR_BYTES] ^= 1;
        disk.lie(ino, sector, wrong, Tells::Once);
        first.end.get()
    });
    world.crash(0, Crash::Process);
    start(&mut world, 1);
    let outside = world.outside();
    for offset in [0, second] {
        let task = fetch(outside.clone(), target.clone(), offset);
        let (error, end) = finish(&mut world, &outside, task);
        assert_eq!(error, ErrorCode::NONE, "offset {offset}");
        assert!(end.is_some_and(|end| offset < end), "offset {offset}: {end:?}");
    }
    assert!(!world.with_disk(0, |disk| disk.has_lies()), "the wrong bytes were read");
}

#[test]
fn a_flipped_bit_in_a_sealed_batch_refuses_reads_of_that_batch_alone() {
    // A byte of the epoch, of the checksum, of a timestamp, and of the records.
    for at in [15, 18, 30, 80] {
        let (mut world, _recorder, target) = segments();
        let (io, topic) = (world.io(0, 0), engine::id::TopicId::new(target.topic_id));
        let path = format!("topics/{topic}/0/{:020}.log", 0);
        let damaged = finish(&mut world, &io.clone(), flip(io, path, at));
        world.crash(0, Crash::Process);
        start(&mut world, 1);
        let outside = world.outside();
        let mut ask = |offset| {
            let task = fetch(outside.clone(), target.clone(), offset);
            finish(&mut world, &outside, task)
        };
        // Twice: the second answer comes from what is known to be sound.
        for _ in 0..2 {
            assert_eq!(ask(0), (ErrorCode::NONE, Some(damaged)), "byte {at}");
            assert_eq!(ask(damaged).0, ErrorCode::CORRUPT_MESSAGE, "byte {at}");
        }
        let mut offset = damaged;
        while ask(offset).0 == ErrorCode::CORRUPT_MESSAGE {
            offset += 1;
        }
        let (error, Some(end)) = ask(offset) else { panic!("byte {at}: no records behind it") };
        assert_eq!(error, ErrorCode::NONE);
        assert!(damaged < offset && offset < end, "byte {at}: {damaged} {offset} {end}");
        assert!(offset - damaged < 200, "byte {at}: the damage is one batch");
    }
}

#[test]
fn a_segment_whose_end_is_read_back_for_a_long_time_is_not_closed_meanwhile() {
    let (mut world, recorder, target) = produced(1);
    world.crash(0, Crash::Process);
    start(&mut world, 1);
    // Mostly longer than the pause between two looks for segments that are old.
    world.set_faults(0, Faults { stalls: 1, stall_nanos: 5_000_000_000, ..Faults::none() });
    // Who has no producer id needs nothing of the disk before its first request.
    produce(&mut world, &recorder, &target, Retries::Plain, 3);
    world.set_faults(0, Faults::none());
    world.crash(0, Crash::Process);
    start(&mut world, 1);
    opened_by(4, ".idx", &mut world, &recorder, &target);
}

/// What a broker that scrubs every two seconds has counted, once `is_over` holds for it.
fn scrubbed(world: &mut World, is_over: impl Fn(u64, u64) -> bool) -> (u64, u64) {
    let settings = [("odradek.scrub.period.ms".to_owned(), "2000".to_owned())];
    let started = broker::start_with(world, 0, 1, broker::config(&settings));
    assert_eq!(world.run(HOUR, || started.ready().is_some()), Ended::Done);
    loop {
        let metrics = started.order_metrics();
        let counted = Cell::new(None);
        let has_come = || {
            if let Ok(shards) = metrics.try_recv() {
                let [bytes, damages] = [Metric::ScrubbedBytes, Metric::DamagesFound];
                counted.set(Some((shards[0].metric(bytes), shards[0].metric(damages))));
            }
            counted.get().is_some()
        };
        assert_eq!(world.run(HOUR, has_come), Ended::Done);
        let (bytes, damages) = counted.get().expect("it has come");
        if is_over(bytes, damages) {
            return (bytes, damages);
        }
        idle(world);
    }
}

#[test]
fn the_scrubber_finds_what_nobody_reads() {
    for at in [6, 15, 18, 80] {
        let (mut world, _recorder, target) = segments();
        let (io, topic) = (world.io(0, 0), engine::id::TopicId::new(target.topic_id));
        let path = format!("topics/{topic}/0/{:020}.log", 0);
        finish(&mut world, &io.clone(), flip(io, path, at));
        world.crash(0, Crash::Process);
        let (_, damages) = scrubbed(&mut world, |_, damages| damages > 0);
        assert_eq!(damages, 1, "byte {at}");
    }
}

#[test]
fn the_scrubber_goes_around_and_finds_nothing_where_nothing_is_wrong() {
    let (mut world, _recorder, _target) = segments();
    let (_, damages) = scrubbed(&mut world, |bytes, _| bytes > 4_000_000);
    assert_eq!(damages, 0);
}
