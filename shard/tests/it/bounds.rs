//! What strangers can make a broker hold, and for how long: clients that begin and do not end.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client;
use net::fetch::FetchRequest;
use shard::cause::Cause;
use shard::io::{Class, Io};
use shard::metrics::{Metric, Snapshot};
use shard::sim::SimSocket;
use shard::sim::wire::Wire;

use crate::answers::{Client, batch, by_name, fetch, play, play_in, play_twice, produce};

/// A size of 100 MiB, and four bytes.
const BEGINNING: &[u8] = b"\x06\x40\0\0abcd";
const ARENA_BYTES: usize = 64 << 20;
const MINUTE: Duration = Duration::from_secs(60);

/// ApiVersions of version 0, without a client id.
pub(crate) const ASK: &[u8] = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";

pub(crate) async fn connect(client: &Client) -> SimSocket {
    loop {
        if let Ok(socket) = client.io.connect(client.node).await {
            return socket;
        }
        client.io.sleep(Duration::from_millis(20)).await;
    }
}

/// Has asked something.
pub(crate) async fn known(client: &Client) -> SimSocket {
    let socket = connect(client).await;
    send(client, &socket, ASK).await;
    assert!(!client.io.receive(&socket).await.unwrap().is_empty());
    socket
}

pub(crate) async fn send(client: &Client, socket: &SimSocket, bytes: &'static [u8]) {
    client.io.send(socket, vec![Bytes::from_static(bytes)]).await.unwrap();
}

/// After how long the broker ends the connection.
pub(crate) async fn end_of(client: &Client, socket: &SimSocket) -> Duration {
    let before = client.io.now();
    while client.io.receive(socket).await.is_ok_and(|received| !received.is_empty()) {}
    client.io.now().since(before)
}

/// How many connections were closed for each cause that there was.
pub(crate) fn closed(counted: &Snapshot) -> BTreeMap<Cause, u64> {
    counted.closed().filter(|(_, count)| *count > 0).collect()
}

#[track_caller]
fn check_seconds(took: Duration, least: u64, most: u64) {
    let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
    assert!(least <= took && took <= most, "{took:?}");
}

#[test]
fn a_stranger_has_a_few_seconds_for_its_first_request() {
    play(&[], async |client: Client| {
        let silent = connect(&client).await;
        check_seconds(end_of(&client, &silent).await, 5, 8);
        let half = connect(&client).await;
        send(&client, &half, BEGINNING).await;
        check_seconds(end_of(&client, &half).await, 5, 8);
        let trickle = connect(&client).await;
        for byte in [b"\0", b"\x01", b"\0", b"\0"] {
            send(&client, &trickle, byte).await;
            client.io.sleep(Duration::from_secs(1)).await;
        }
        check_seconds(end_of(&client, &trickle).await, 1, 4);
        let want = BTreeMap::from([(Cause::NoRequest, 1), (Cause::SlowRequest, 2)]);
        assert_eq!(closed(&client.counted().await), want);
    });
}

#[test]
fn however_many_are_closed_others_run_between_them() {
    const STRANGERS: usize = 400;
    play(&[], async |client: Client| {
        let ended_count = Rc::new(Cell::new(0));
        for _ in 0..STRANGERS {
            let (client, ended) = (client.clone(), Rc::clone(&ended_count));
            client.io.clone().spawn(Class::Foreground, async move {
                let silent = connect(&client).await;
                while client.io.receive(&silent).await.is_ok_and(|received| !received.is_empty()) {}
                ended.set(ended.get() + 1);
            });
        }
        let (mut at_once_max, mut idle_turns) = (0, 0);
        while ended_count.get() < STRANGERS {
            let before = ended_count.get();
            if before == 0 || idle_turns > 100 {
                client.io.sleep(Duration::from_millis(1)).await;
            } else {
                client.io.yield_now().await;
            }
            let at_once = ended_count.get() - before;
            at_once_max = at_once_max.max(at_once);
            idle_turns = if at_once > 0 { 0 } else { idle_turns + 1 };
        }
        assert!(at_once_max < STRANGERS / 4, "{at_once_max} were ended before another task ran");
    });
}

#[test]
fn who_has_asked_something_may_be_idle_until_connections_max_idle_ms() {
    play(&[("connections.max.idle.ms", "120000")], async |client: Client| {
        let socket = known(&client).await;
        check_seconds(end_of(&client, &socket).await, 120, 140);
        assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::Idle, 1)]));
    });
}

#[test]
fn half_a_request_that_stands_still_ends_its_connection_and_a_slow_one_is_answered() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let half = known(&client).await;
        send(&client, &half, BEGINNING).await;
        check_seconds(end_of(&client, &half).await, 30, 34);

        // 300,000 bytes at 2,000 a second.
        let mut wire = Wire::connect(&client.io, client.node).await;
        let envelope = wire.envelope(12);
        let body = produce(&[("t", &[(0, batch(&[&vec![7; 300_000]]))])]);
        let frame = client::encode_produce(&envelope, &body);
        let socket = known(&client).await;
        for piece in frame.chunks(2_000) {
            client.io.send(&socket, vec![Bytes::copy_from_slice(piece)]).await.unwrap();
            client.io.sleep(Duration::from_secs(1)).await;
        }
        assert!(!client.io.receive(&socket).await.unwrap().is_empty());
    });
}

#[test]
fn half_requests_that_use_up_the_memory_are_ended_in_seconds_and_others_are_served() {
    static PIECE: [u8; 64 << 10] = [0; 64 << 10];
    play(&[], async |client: Client| {
        client.create("t", 4).await;
        // 16 MiB, where each of two shards has 4.
        let mut hostile = vec![];
        for _ in 0..256 {
            let socket = known(&client).await;
            let (io, sender) = (client.io.clone(), socket.clone());
            let half = Bytes::from([BEGINNING, &PIECE].concat());
            client.io.spawn(Class::Foreground, async move {
                drop(io.send(&sender, vec![half]).await); // It may be ended before.
            });
            hostile.push(socket);
        }
        for index in 0..4 {
            let before = client.io.now();
            client.append("t", index, &[&vec![7; 500_000]]).await;
            check_seconds(client.io.now().since(before), 0, 15);
        }
        let counted = client.counted().await;
        assert!(counted.metric(Metric::ConnectionsEvicted) > 0);
        for socket in &hostile {
            end_of(&client, socket).await;
        }
        client.io.sleep(MINUTE / 60).await; // The broker's own tasks end too.
        assert_eq!(client.counted().await.metric(Metric::MemoryRequestBytes), 0);
    });
}

/// Asks for the topic from its start, and takes nothing of the answer.
async fn ask_and_take_nothing(client: &Client) -> Wire {
    let mut wire = Wire::connect(&client.io, client.node).await;
    let envelope = wire.envelope(12);
    let body = fetch(&[(by_name("t"), &[0])]);
    wire.send(client::encode_fetch(&envelope, &body)).await.unwrap();
    wire
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..8 {
            client.append("t", 0, &[&vec![7; 500_000]]).await;
        }
        let reader = ask_and_take_nothing(&client).await;
        client.io.sleep(MINUTE / 4).await;
        let counted = client.counted().await;
        assert!(counted.metric(Metric::MemoryAnswerBytes) > 1_000_000);
        assert_eq!(closed(&counted), BTreeMap::new());
        client.io.sleep(MINUTE / 2).await;
        let counted = client.counted().await;
        assert_eq!(counted.metric(Metric::MemoryAnswerBytes), 0);
        assert_eq!(closed(&counted), BTreeMap::from([(Cause::SlowReader, 1)]));
        drop(reader);
    });
}

#[test]
fn what_an_ended_connection_asked_besides_holds_nothing() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..8 {
            client.append("t", 0, &[&vec![7; 500_000]]).await;
        }
        let mut reader = ask_and_take_nothing(&client).await;
        let envelope = reader.envelope(12);
        let again = client::encode_fetch(&envelope, &fetch(&[(by_name("t"), &[0])]));
        reader.send(again).await.unwrap();
        client.io.sleep(MINUTE * 3 / 4).await;
        let counted = client.counted().await;
        assert_eq!(closed(&counted), BTreeMap::from([(Cause::SlowReader, 1)]));
        assert_eq!(counted.metric(Metric::MemoryAnswerBytes), 0);
        drop(reader);
    });
}

#[test]
fn answers_that_nobody_takes_hold_a_bounded_part_of_memory_and_others_are_served() {
    play_in(ARENA_BYTES, &[], async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..16 {
            client.append("t", 0, &[&vec![7; 500_000]]).await;
        }
        // 8 MB each, where each of two shards has 16 MiB for answers.
        let most = Rc::new(Cell::new(0));
        let mut readers = vec![];
        for _ in 0..40 {
            readers.push(ask_and_take_nothing(&client).await);
            client.io.sleep(Duration::from_millis(5)).await;
            let used = client.counted().await.metric(Metric::MemoryAnswerBytes);
            most.set(used.max(most.get()));
        }
        // All of both budgets, and a first batch of the one that may always go on.
        let bound = u64::try_from(ARENA_BYTES / 4 * 2 + 2 * 600_000).unwrap();
        assert!(most.get() <= bound, "{}", most.get());
        let before = client.io.now();
        for _ in 0..4 {
            let body = FetchRequest { max_bytes: 1_000_000, ..fetch(&[(by_name("t"), &[0])]) };
            let answer = client.fetch(12, &body).await;
            assert!(answer.topics[0].partitions[0].record_bytes() > 0);
        }
        check_seconds(client.io.now().since(before), 0, 60);
        assert!(client.counted().await.metric(Metric::ConnectionsEvicted) > 0);
        drop(readers);
    });
}

#[test]
fn who_takes_nothing_of_large_answers_keeps_no_small_one_waiting() {
    play_in(ARENA_BYTES, &[], async |client: Client| {
        client.create("t", 1).await;
        client.create("small", 2).await;
        for _ in 0..16 {
            client.append("t", 0, &[&vec![7; 500_000]]).await;
        }
        // Far more than the memory for answers has batches.
        let mut readers = vec![];
        for _ in 0..200 {
            readers.push(ask_and_take_nothing(&client).await);
        }
        let mut slowest = Duration::ZERO;
        for turn in 0..100 {
            let partition = turn % 2;
            client.append("small", partition, &[b"news"]).await;
            let before = client.io.now();
            let answer = client.fetch(12, &fetch(&[(by_name("small"), &[partition])])).await;
            assert!(answer.topics[0].partitions[0].record_bytes() > 0);
            client.metadata(&["small"]).await;
            slowest = slowest.max(client.io.now().since(before));
        }
        check_seconds(slowest, 0, 1);
        drop(readers);
    });
}

/// A reader of large batches among many who take nothing waits for its turn, not for all of them to be closed.
#[test]
fn who_takes_large_answers_has_its_turn_among_many_who_do_not() {
    play_in(ARENA_BYTES, &[], async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..16 {
            client.append("t", 0, &[&vec![7; 500_000]]).await;
        }
        let mut readers = vec![];
        for _ in 0..200 {
            readers.push(ask_and_take_nothing(&client).await);
        }
        let before = client.io.now();
        for _ in 0..4 {
            let answer = client.fetch(12, &fetch(&[(by_name("t"), &[0])])).await;
            assert!(answer.topics[0].partitions[0].record_bytes() > 0);
        }
        check_seconds(client.io.now().since(before), 0, 20);
        // Alone again, it has large answers as before.
        client.io.sleep(MINUTE).await;
        let answer = client.fetch(12, &fetch(&[(by_name("t"), &[0])])).await;
        assert!(answer.topics[0].partitions[0].record_bytes() > 1_000_000);
        drop(readers);
    });
}

/// Each reads a batch slice by slice: none keeps its slices while it waits for more, or all of them would wait.
#[test]
fn readers_of_more_cold_batches_than_memory_holds_are_all_answered() {
    const COLD_ARENA_BYTES: usize = 16 << 20;
    let write = async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..8 {
            client.append("t", 0, &[&vec![7; 900_000]]).await;
        }
    };
    play_twice(COLD_ARENA_BYTES, write, async |client: Client| {
        let answered = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let (reader, answered) = (client.clone(), Rc::clone(&answered));
            client.io.spawn(Class::Foreground, async move {
                let body = fetch(&[(by_name("t"), &[0])]);
                let mut bytes = 0;
                while bytes == 0 {
                    bytes = reader.fetch(12, &body).await.topics[0].partitions[0].record_bytes();
                }
                answered.set(answered.get() + 1);
            });
        }
        let before = client.io.now();
        while answered.get() < 100 {
            client.io.sleep(Duration::from_millis(10)).await;
            check_seconds(client.io.now().since(before), 0, 60);
        }
    });
}

/// A request of version 1 for the metadata of so many topics.
fn ask_for_topics(count: u32) -> Bytes {
    let topics = (0..count).flat_map(|index| [&[0, 4][..], &index.to_be_bytes()].concat());
    let header = b"\0\x03\0\x01\0\0\0\x07\xff\xff";
    let body: Vec<u8> = count.to_be_bytes().into_iter().chain(topics).collect();
    let bytes = u32::try_from(header.len() + body.len()).unwrap();
    Bytes::from([&bytes.to_be_bytes()[..], header, &body].concat())
}

#[test]
fn a_request_for_far_more_than_there_is_closes_its_connection() {
    play(&[], async |client: Client| {
        client.create("t", 4).await;
        for (count, is_answered) in [(16_000, true), (17_000, false)] {
            let socket = known(&client).await;
            client.io.send(&socket, vec![ask_for_topics(count)]).await.unwrap();
            let received = client.io.receive(&socket).await;
            assert_eq!(received.is_ok_and(|it| !it.is_empty()), is_answered, "{count}");
        }
        assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::Request, 1)]));
    });
}

/// Each of its elements, and its answer, take more than the request.
#[test]
fn what_requests_are_made_of_counts_while_they_are_in_hand() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        // Waits for news, and names a thousand partitions that are there once.
        let mut wire = Wire::connect(&client.io, client.node).await;
        let envelope = wire.envelope(12);
        let indexes = [0; 1000];
        let body = fetch(&[(by_name("t"), &indexes)]);
        let body = FetchRequest { max_wait_ms: 10_000, ..body };
        let frame = client::encode_fetch(&envelope, &body);
        let bytes = u64::try_from(frame.len()).unwrap();
        wire.send(frame).await.unwrap();
        client.io.sleep(MINUTE / 60).await;
        let held = client.counted().await.metric(Metric::MemoryRequestBytes);
        assert_eq!(held, bytes + 1001 * 256);
        client.io.sleep(MINUTE / 3).await;
        assert_eq!(client.counted().await.metric(Metric::MemoryRequestBytes), 0);
    });
}

#[test]
fn what_is_no_request_is_closed_at_once_and_counted_by_its_kind() {
    play(&[], async |client: Client| {
        let attacks: [(&'static [u8], Cause); 8] = [
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Cause::Tls),
            (b"GET / HTTP/1.1\r\n\r\n", Cause::Http),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Cause::Ssh),
            (b"\x7f\xff\xff\xff", Cause::FrameBytes),
            (b"\xff\xff\xff\xff", Cause::FrameBytes),
            (b"\0\0\0\x07abcdefg", Cause::FrameBytes),
            (b"\0\0\0\x0a\x7f\xff\0\0\0\0\0\x01\xff\xff", Cause::Header),
            (b"\0\0\0\x0b\0\x03\0\x01\0\0\0\x01\xff\xff\x7f", Cause::Request),
        ];
        let mut want = BTreeMap::new();
        for (bytes, cause) in attacks {
            let socket = connect(&client).await;
            send(&client, &socket, bytes).await;
            check_seconds(end_of(&client, &socket).await, 0, 1);
            *want.entry(cause).or_insert(0) += 1;
            assert_eq!(closed(&client.counted().await), want);
        }
    });
}

#[test]
fn a_connection_past_max_connections_waits_until_there_is_a_place() {
    play(&[("max.connections", "2")], async |client: Client| {
        let first = known(&client).await;
        let mut second = Wire::connect(&client.io, client.node).await;
        let request = ApiVersionsRequest::default();
        let answer: Result<ApiVersionsResponse, _> =
            second.call(ApiKey::ApiVersions, 0, &request).await;
        assert_eq!(answer.unwrap().error_code, 0);
        let third = connect(&client).await;
        send(&client, &third, ASK).await;
        let (io, before) = (client.io.clone(), client.io.now());
        client.io.spawn(Class::Foreground, async move {
            io.sleep(MINUTE).await;
            io.shutdown(&first);
        });
        assert!(!client.io.receive(&third).await.unwrap().is_empty());
        check_seconds(client.io.now().since(before), 60, 61);
        let fourth = connect(&client).await;
        send(&client, &fourth, ASK).await;
        let before = client.io.now();
        raise(&mut second, "max.connections", "3").await;
        assert!(!client.io.receive(&fourth).await.unwrap().is_empty());
        check_seconds(client.io.now().since(before), 0, 1);
        assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::Full, 2)]));
    });
}

/// Sets a config of every broker.
pub(crate) async fn raise(wire: &mut Wire, key: &'static str, value: &'static str) {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(key))
        .with_value(Some(StrBytes::from_static_str(value)));
    let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer: Result<IncrementalAlterConfigsResponse, _> =
        wire.call(ApiKey::IncrementalAlterConfigs, 1, &request).await;
    assert_eq!(answer.unwrap().responses[0].error_code, 0);
}

#[test]
fn a_connection_past_those_of_its_address_is_closed_at_once() {
    for settings in [
        [("max.connections.per.ip", "2"), ("max.connections.per.ip.overrides", "10.1.1.1:9")],
        [("max.connections.per.ip", "9"), ("max.connections.per.ip.overrides", "127.0.0.1:2")],
    ] {
        play(&settings, async |client: Client| {
            let first = known(&client).await;
            let _second = known(&client).await;
            let third = connect(&client).await;
            check_seconds(end_of(&client, &third).await, 0, 1);
            assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::AddressFull, 1)]));
            client.io.shutdown(&first);
            client.io.sleep(Duration::from_secs(1)).await;
            known(&client).await;
        });
    }
}

#[test]
fn fetch_sessions_are_shared_out_over_the_cores() {
    // Two cores: each connection may begin one session on its own.
    for (slots, want) in [("0", [false, false]), ("2", [true, false])] {
        play(
            &[("max.incremental.fetch.session.cache.slots", slots)],
            async move |client: Client| {
                client.create("t", 1).await;
                let mut wire = Wire::connect(&client.io, client.node).await;
                for has_session in want {
                    let request =
                        FetchRequest { session_epoch: 0, ..fetch(&[(by_name("t"), &[0])]) };
                    let envelope = wire.envelope(12);
                    wire.send(client::encode_fetch(&envelope, &request)).await.unwrap();
                    let body = wire.receive(ApiKey::Fetch, &envelope).await.unwrap();
                    let answer = client::decode_fetch(12, &body).unwrap();
                    assert_eq!(answer.session_id != 0, has_session, "{slots}");
                }
            },
        );
    }
}

/// Bytes that a broker and its client allocate for so many requests, with so many other connections open.
fn bytes_of(request_count: usize, others_count: usize) -> u64 {
    let used = allocation_counter::measure(|| {
        play(&[], async move |client: Client| {
            let mut others = Vec::new();
            for _ in 0..others_count {
                others.push(known(&client).await);
            }
            let socket = known(&client).await;
            for _ in 0..request_count {
                send(&client, &socket, ASK).await;
                assert!(!client.io.receive(&socket).await.unwrap().is_empty());
            }
            drop(others);
        });
    });
    used.bytes_total
}

#[test]
fn an_answer_costs_the_same_however_many_connections_are_open() {
    const REQUEST_COUNT: usize = 200;
    let cost = |others_count| bytes_of(REQUEST_COUNT, others_count) - bytes_of(0, others_count);
    let (few, many) = (cost(2), cost(500));
    assert!(many < few + few / 2, "{few} bytes beside few, {many} beside many");
}
