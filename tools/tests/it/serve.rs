//! A whole broker: what its commands do, how it stops, and what is there after it starts again.

use std::process::Command;

use serde_json::Value;

use crate::broker::{Broker, End, Place};

const SIGTERM: i32 = 15;
const NOTHING_REPLAYED: &str = "0 journal frames, 0 bytes of records";

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every record of a topic, as one JSON object a line, in the order of partitions and offsets.
#[track_caller]
fn records(broker: &Broker<'_>, topic: &str) -> Vec<Value> {
    let text = broker.answer(&["consume", topic, "-e", "--json"], "");
    let mut records: Vec<Value> = text.lines().map(json).collect();
    records.sort_by_key(|it| (it["partition"].as_i64(), it["offset"].as_i64()));
    records
}

/// The command fails, and says `part`.
#[track_caller]
fn refused(broker: &Broker<'_>, arguments: &[&str], input: &str, part: &str) {
    let ended = broker.run(arguments, input);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains(part), "{part:?} in {ended:?}");
}

#[test]
fn topics_are_created_shown_changed_and_deleted() {
    let place = Place::new("topics");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");

    let created = broker.run(
        &["topic", "create", "events", "-p", "2", "-c", "preallocate=true", "-c", "segment.ms=99"],
        "",
    );
    assert_eq!(created.out, "events: created, 2 partitions, replication factor 1\n");
    let remark = "odradek: preallocate=true is stored but has no effect: they always do\n";
    assert_eq!(created.error, remark);
    refused(&broker, &["topic", "create", "events"], "", "TopicAlreadyExists");
    assert_eq!(
        answer(&["topic", "create", "events", "--if-not-exists"]),
        "events: exists already\n"
    );
    let cached = broker.run(&["topic", "create", "cached", "-c", "write.caching=true"], "");
    assert!(cached.error.contains("a crash or a power cut can lose them"), "{cached:?}");

    let listed = json(&answer(&["topic", "list", "--json"]));
    assert_eq!(listed[0]["name"], "cached");
    assert_eq!(listed[1]["name"], "events");
    assert_eq!(listed[1]["partitions"], 2);
    assert!(answer(&["topic", "list"]).starts_with("TOPIC "));

    assert_eq!(
        answer(&["topic", "alter", "events", "-p", "3", "-d", "segment.ms"]),
        "events: segment.ms has its default\nevents: has 3 partitions\n"
    );
    let described = &json(&answer(&["topic", "describe", "events", "--json"]))[0];
    assert_eq!(described["configs"], json(r#"{"preallocate": "true"}"#));
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(described["partitions"][2]["end"], 0);
    assert_eq!(described["acknowledged"], "when the records are on the device");
    let page = answer(&["topic", "describe", "cached"]);
    assert!(page.contains("from memory (write.caching=true)"), "{page}");

    refused(&broker, &["topic", "describe", "nothing"], "", "does not exist");
    assert_eq!(answer(&["topic", "delete", "events"]), "events: deleted\n");
    refused(&broker, &["topic", "delete", "events"], "", "UnknownTopicOrPartition");
    assert_eq!(answer(&["topic", "delete", "events", "--if-exists"]), "events: does not exist\n");
    assert_eq!(json(&answer(&["topic", "list", "--json"])).as_array().map(Vec::len), Some(1));
}

#[test]
fn records_are_read_as_they_were_written() {
    let place = Place::new("records");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");
    answer(&["topic", "create", "t", "-p", "2"]);

    let produced = broker.answer(
        &["produce", "t", "-p", "1", "-K", ":", "-Z", "-H", "h=1", "-H", "none", "--json"],
        "a:1\nb:\nno key\n",
    );
    assert_eq!(json(&produced), json(r#"{"topic": "t", "stored": 3}"#));
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        broker.answer(&["produce", "t", "-p", "0", "-z", codec], &format!("{codec}\n"));
    }
    broker.answer(&["produce", "t", "-p", "0", "-a", "0"], "unanswered\n");

    assert_eq!(
        answer(&["consume", "t", "-p", "1", "-e", "-f", "%t/%p/%o %k,%K %s,%S %h\\n"]),
        "t/1/0 a,1 1,1 h=1,none=NULL\nt/1/1 b,1 ,-1 h=1,none=NULL\nt/1/2 ,-1 no key,6 h=1,none=NULL\n"
    );
    assert_eq!(
        answer(&["consume", "t", "-p", "0", "-n", "5"]),
        "gzip\nsnappy\nlz4\nzstd\nunanswered\n"
    );
    assert_eq!(answer(&["consume", "t", "-p", "0", "-o", "1", "-n", "2"]), "snappy\nlz4\n");
    assert_eq!(answer(&["consume", "t", "-p", "0", "-o", "-1", "-e"]), "unanswered\n");
    assert_eq!(answer(&["consume", "t", "-o", "end", "-e"]), "");
    refused(
        &broker,
        &["consume", "t", "-p", "0", "-o", "9"],
        "",
        "it holds 0 up to, not including, 5",
    );
    refused(&broker, &["consume", "t", "-p", "2"], "", "t has no partition 2");

    let all = records(&broker, "t");
    assert_eq!(all.len(), 8);
    assert_eq!(all[5]["key"], "a");
    assert_eq!(all[6]["value"], Value::Null);
    assert_eq!(all[7]["headers"][1]["key"], "none");
    // Several records may share a millisecond; the first of them is where its time begins.
    let time = all[2]["timestamp"].as_i64().expect("a number");
    let first = all.iter().find(|it| it["timestamp"].as_i64() >= Some(time)).expect("itself");
    let from = ["consume", "t", "-p", "0", "--from-time", &time.to_string(), "-n", "1", "-f", "%o"];
    assert_eq!(answer(&from), first["offset"].to_string());
    assert_eq!(answer(&["consume", "t", "--from-time", "2100-01-01T00:00:00Z", "-e"]), "");
}

#[test]
fn a_refusal_says_how_many_records_are_stored() {
    let place = Place::new("refusal");
    let broker = place.serve();
    broker.answer(&["topic", "create", "t", "-c", "max.message.bytes=1000"], "");
    let input = format!("small\nsmall\n{}\n", "x".repeat(2_000));
    let arguments = ["produce", "t", "--batch-bytes", "500", "--json"];
    let ended = broker.run(&arguments, &input);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains("--batch-bytes"), "{ended:?}");
    assert!(ended.error.ends_with("odradek: 2 records were stored\n"), "{ended:?}");
    assert_eq!(json(&ended.out)["stored"], 2);
    assert_eq!(records(&broker, "t").len(), 2);

    // Large and small ones together: no batch grows past what the topic takes.
    let input = format!("{}\n{}\n", "x".repeat(700), "y".repeat(700));
    broker.answer(&["produce", "t", "--batch-bytes", "900"], &input);
    assert_eq!(records(&broker, "t").len(), 4);
}

#[test]
fn metrics_and_health_are_served() {
    let place = Place::new("http");
    let broker = place.serve();
    broker.answer(&["produce", "made-by-asking"], "one\ntwo\n");
    assert_eq!(broker.page("/health/live"), "live\n");
    assert_eq!(broker.page("/health/ready"), "ready\n");
    let metrics = broker.page("/metrics");
    for line in [
        "odradek_requests_total{shard=\"0\",api=\"Produce\"} 1\n",
        "# TYPE odradek_messages_sent_total counter\n",
        "# TYPE odradek_mailbox_full_total counter\n",
        "odradek_partitions_fenced{shard=\"0\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let latency = json(&broker.page("/debug/latency"));
    assert!(latency["slowest"].as_array().is_some_and(|it| !it.is_empty()), "{latency}");
}

#[test]
fn the_first_words_are_what_holds() {
    let place = Place::new("banner");
    let broker = place.serve();
    let address = place.address();
    let listening = format!("{address} (PLAINTEXT; clients are told {address})");
    assert_eq!(broker.said("listening"), listening);
    assert_eq!(broker.said("memory"), "96 MiB for buffers");
    assert_eq!(broker.said("replayed"), NOTHING_REPLAYED);
    assert!(broker.said("topics").contains("auto.create.topics.enable=true"));
}

#[test]
fn after_a_clean_stop_nothing_is_replayed_and_every_record_is_there() {
    let place = Place::new("stop");
    let mut want = Vec::new();
    for (life, signal) in ["TERM", "INT", "TERM"].into_iter().enumerate() {
        let broker = place.serve();
        assert_eq!(broker.said("replayed"), NOTHING_REPLAYED);
        if life == 0 {
            broker.answer(&["topic", "create", "t", "-p", "3"], "");
        }
        assert_eq!(records(&broker, "t"), want);
        let lines: String = (0..500).map(|index| format!("{life}-{index}:value\n")).collect();
        broker.answer(&["produce", "t", "-K", ":"], &lines);
        want = records(&broker, "t");
        assert_eq!(want.len(), 500 * (life + 1));
        assert_eq!(broker.end(signal), End::Code(0), "SIG{signal}");
        assert_eq!(place.get("/health/live"), None);
    }
}

#[test]
fn after_a_kill_the_journal_is_replayed_and_every_record_is_there() {
    let place = Place::new("kill");
    let broker = place.serve();
    broker.answer(&["topic", "create", "t"], "");
    broker.answer(&["produce", "t"], "one\ntwo\nthree\n");
    let want = records(&broker, "t");
    assert_eq!(broker.end("KILL"), End::Signal(9));
    let broker = place.serve();
    assert_ne!(broker.said("replayed"), NOTHING_REPLAYED);
    assert_eq!(records(&broker, "t"), want);
}

#[test]
fn a_signal_during_the_start_ends_it_at_once() {
    let place = Place::new("start");
    std::fs::create_dir_all(place.data_dir()).unwrap();
    // Recovery waits for what nobody writes.
    let pipe = place.data_dir().join("superblock");
    assert!(Command::new("mkfifo").arg(pipe).status().expect("there is mkfifo").success());
    let broker = place.spawn();
    let mut answer = None;
    while answer.is_none() {
        answer = place.get("/health/ready");
    }
    assert!(answer.is_some_and(|it| it.starts_with("HTTP/1.1 503 ")));
    assert_eq!(broker.page("/health/live"), "live\n");
    assert_eq!(broker.end("TERM"), End::Signal(SIGTERM));
}
