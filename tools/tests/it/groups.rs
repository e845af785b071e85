//! Groups as their commands show and change them, with a member of our own.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::broker::{Broker, Place};
use crate::member::Member;
use crate::run::command;

#[track_caller]
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The command fails, and says `part`.
#[track_caller]
fn refused(broker: &Broker<'_>, arguments: &[&str], part: &str) {
    let ended = broker.run(arguments, "");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains(part), "{part:?} in {ended:?}");
}

/// Topic t: five records in partition 0, three in partition 1.
fn fill(broker: &Broker<'_>) {
    broker.answer(&["topic", "create", "t", "-p", "2"], "");
    broker.answer(&["produce", "t", "-p", "0", "-z", "gzip"], "a\nb\nc\nd\ne\n");
    broker.answer(&["produce", "t", "-p", "1"], "a\nb\nc\n");
}

/// Committed offsets of partitions 0 and 1.
#[track_caller]
fn committed(broker: &Broker<'_>, group: &str) -> [Value; 2] {
    let described = read(&broker.answer(&["group", "describe", group, "--json"], ""));
    [0, 1].map(|index| described[0]["partitions"][index]["committed"].clone())
}

#[test]
fn a_group_with_a_member_is_listed_described_and_left_alone() {
    let place = Place::new("group-member");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");
    fill(&broker);
    let mut member = Member::join(&place.address(), "readers", "t", &[0, 1]);
    member.commit("t", 0, 2);

    let listed = read(&answer(&["group", "list", "--json"]));
    let want = json!([{
        "group": "readers", "state": "Stable", "type": "classic", "protocol_type": "consumer",
        "members": 1, "coordinator": listed[0]["coordinator"],
    }]);
    assert_eq!(listed, want);
    assert_eq!(read(&answer(&["group", "list", "--state", "Empty", "--json"])), json!([]));
    assert_eq!(read(&answer(&["group", "list", "--type", "consumer", "--json"])), json!([]));
    assert!(answer(&["group", "list"]).starts_with("GROUP "));

    let described = &read(&answer(&["group", "describe", "readers", "--json"]))[0];
    assert_eq!(described["protocol"], "range");
    assert_eq!(described["lag"], 3);
    let seen = &described["members"][0];
    assert_eq!(seen["id"], member.id());
    assert_eq!(seen["client_id"], "reader");
    assert_eq!(seen["subscribed"], json!(["t"]));
    let both = json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }]);
    assert_eq!(seen["assigned"], both);
    let first = json!({
        "topic": "t", "partition": 0, "committed": 2, "end": 5, "lag": 3, "member": member.id(),
    });
    assert_eq!(described["partitions"][0], first);
    assert_eq!(described["partitions"][1]["committed"], Value::Null);
    let page = answer(&["group", "describe", "readers"]);
    assert!(page.contains("t:0,1"), "{page}");

    let reset = ["group", "reset", "readers", "--topic", "t", "--to-earliest", "--execute"];
    refused(&broker, &reset, "stop them first");
    refused(&broker, &["group", "delete", "readers"], "NonEmptyGroup");
    assert_eq!(committed(&broker, "readers"), [json!(2), Value::Null]);

    member.leave();
    assert_eq!(read(&answer(&["group", "list", "--json"]))[0]["state"], "Empty");
    assert_eq!(answer(&["group", "delete", "readers"]), "readers: deleted\n");
    assert_eq!(read(&answer(&["group", "list", "--json"])), json!([]));
    refused(&broker, &["group", "describe", "readers"], "does not exist");
    refused(&broker, &["group", "delete", "readers"], "GroupIdNotFound");
}

#[test]
fn a_group_of_the_consumer_protocol_shows_epochs_and_targets() {
    let place = Place::new("group-consumer");
    let broker = place.serve();
    fill(&broker);
    let mut member = Member::join_assigned(&place.address(), "readers", "t");
    member.commit("t", 0, 2);

    let listed = &read(&broker.answer(&["group", "list", "--json"], ""))[0];
    assert_eq!((&listed["type"], &listed["members"]), (&json!("consumer"), &json!(1)));
    let described = &read(&broker.answer(&["group", "describe", "readers", "--json"], ""))[0];
    assert_eq!(
        (&described["state"], &described["protocol"]),
        (&json!("Stable"), &json!("uniform"))
    );
    assert_eq!(described["epoch"], described["target_epoch"]);
    assert_eq!(described["lag"], 3);
    let seen = &described["members"][0];
    assert_eq!((&seen["id"], &seen["epoch"]), (&json!(member.id()), &described["epoch"]));
    assert_eq!(seen["subscribed"], json!(["t"]));
    assert_eq!((&seen["subscribed_expression"], &seen["rack"]), (&Value::Null, &Value::Null));
    let both = json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }]);
    assert_eq!((&seen["assigned"], &seen["target"]), (&both, &both));
    assert_eq!(described["partitions"][0]["member"], member.id());

    let page = broker.answer(&["group", "describe", "readers"], "");
    assert!(page.contains(&format!("\ntarget epoch   {}\n", described["epoch"])), "{page}");
    assert!(page.lines().any(|line| line.ends_with("EPOCH  TARGET")), "{page}");
    let lag = &read(&broker.answer(&["group", "lag", "readers", "--json"], ""))[0];
    assert_eq!(lag["lag"], 3);
    refused(&broker, &["group", "delete", "readers"], "NonEmptyGroup");
}

#[test]
fn lag_is_counted_in_offsets_and_in_the_age_of_the_first_unread_record() {
    let place = Place::new("group-lag");
    let broker = place.serve();
    fill(&broker);
    let mut member = Member::join(&place.address(), "g", "t", &[0, 1]);
    member.commit("t", 0, 2);
    member.commit("t", 1, 3);
    let text = broker.answer(&["consume", "t", "-p", "0", "-o", "2", "-n", "1", "--json"], "");
    let unread_at = read(&text)["timestamp"].as_i64().expect("it has a time");

    let before = wall_ms();
    let lag = &read(&broker.answer(&["group", "lag", "g", "--json"], ""))[0];
    let after = wall_ms();
    assert_eq!(lag["lag"], 3);
    assert_eq!(lag["partitions"][1]["lag"], 0);
    assert_eq!(lag["partitions"][1]["time_lag_ms"], 0);
    let time_lag = lag["partitions"][0]["time_lag_ms"].as_i64().expect("it is behind");
    assert!((before - unread_at..=after - unread_at).contains(&time_lag), "{lag}");
    assert_eq!(lag["time_lag_ms"], time_lag);

    let page = broker.answer(&["group", "lag", "g"], "");
    assert!(page.contains("\nlag            3\n"), "{page}");
}

/// The clock that the command reads, too.
#[expect(clippy::disallowed_methods, reason = "the test's own clock; there is no shard here")]
fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("it is after 1970").as_millis()).expect("it fits")
}

#[test]
fn a_watch_asks_again_until_it_is_ended() {
    let place = Place::new("group-watch");
    let broker = place.serve();
    fill(&broker);
    let mut member = Member::join(&place.address(), "g", "t", &[0, 1]);
    member.commit("t", 0, 1);
    let mut watch = Watch::begin(&place, &["group", "lag", "g"]);
    assert_eq!(watch.next()[0]["lag"], 4);
    member.commit("t", 0, 5);
    while watch.next()[0]["lag"] != 0 {}
    drop(broker);
}

/// A command that asks again and again; ended when it is dropped.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn begin(place: &Place, arguments: &[&str]) -> Self {
        let mut child = command(&[arguments, &["--watch=0.05", "--json"]].concat())
            .env("ODRADEK_BROKER", place.address())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        read(&self.lines.next().expect("it goes on").expect("it says text"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.kill().expect("it runs until then");
        self.child.wait().expect("it is our child");
    }
}

#[test]
fn offsets_are_moved_when_it_is_said_aloud() {
    let place = Place::new("group-reset");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");
    fill(&broker);
    let reset = |more: &[&str]| {
        let arguments = [&["group", "reset", "g"], more].concat();
        let ended = broker.run(&arguments, "");
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended
    };

    // A group that nobody made yet.
    let dry = reset(&["--topic", "t", "--to-latest"]);
    assert_eq!(dry.error, "odradek: nothing was changed; --execute does it\n");
    assert!(dry.out.starts_with("TOPIC "), "{}", dry.out);
    assert_eq!(read(&answer(&["group", "list", "--json"])), json!([]));
    refused(&broker, &["group", "reset", "g", "--all-topics", "--to-latest"], "name topics");
    let done = reset(&["--topic", "t", "--to-latest", "--execute"]);
    assert_eq!(done.error, "");
    assert_eq!(committed(&broker, "g"), [json!(5), json!(3)]);

    reset(&["--all-topics", "--shift", "-4", "--execute"]);
    assert_eq!(committed(&broker, "g"), [json!(1), json!(0)], "-1 is before the start");
    reset(&["--topic", "t:0", "--to-offset", "99", "--execute"]);
    assert_eq!(committed(&broker, "g"), [json!(5), json!(0)]);
    reset(&["--all-topics", "--to-earliest", "--execute"]);
    assert_eq!(committed(&broker, "g"), [json!(0), json!(0)]);
    reset(&["--all-topics", "--to-time", "2100-01-01T00:00:00Z", "--execute"]);
    assert_eq!(committed(&broker, "g"), [json!(5), json!(3)]);
    reset(&["--topic", "t:1", "--by-duration", "P365D", "--execute"]);
    assert_eq!(committed(&broker, "g"), [json!(5), json!(0)]);

    let exported = reset(&["--all-topics", "--shift", "0", "--export"]);
    assert_eq!(exported.out, "t,0,5\nt,1,0\n");
    let file = place.data_dir().with_file_name("offsets.csv");
    std::fs::write(&file, "t,0,2\nt,1,1\n").unwrap();
    let file = file.display().to_string();
    let moved = read(&reset(&["--from-file", &file, "--execute", "--json"]).out);
    let want = json!({
        "group": "g", "executed": true, "partitions": [
            { "topic": "t", "partition": 0, "from": 5, "to": 2 },
            { "topic": "t", "partition": 1, "from": 0, "to": 1 },
        ],
    });
    assert_eq!(moved, want);
    assert_eq!(committed(&broker, "g"), [json!(2), json!(1)]);
    refused(&broker, &["group", "reset", "g", "--topic", "t:7", "--to-latest"], "no partition 7");
}

#[test]
fn configs_are_shown_set_and_given_their_default_again() {
    let place = Place::new("configs");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");
    answer(&["topic", "create", "t"]);

    let set = ["config", "set", "topic", "t", "max.message.bytes=5000"];
    let only_checked = [&set[..], &["--validate-only"]].concat();
    let said = "topic t: max.message.bytes=5000 (only checked)\n";
    assert_eq!(answer(&only_checked), said);
    let get = ["config", "get", "topic", "t", "max.message.bytes", "--json"];
    assert_eq!(read(&answer(&get))[0]["source"], "default");
    let mut watch = Watch::begin(&place, &get[..5]);
    assert_eq!(watch.next()[0]["source"], "default");
    assert_eq!(answer(&set), "topic t: max.message.bytes=5000\n");
    while watch.next()[0]["source"] != "topic" {}
    drop(watch);
    let shown = &read(&answer(&get))[0];
    assert_eq!((&shown["value"], &shown["source"]), (&json!("5000"), &json!("topic")));
    assert_eq!(shown["default"], "1048588");
    assert_eq!(
        answer(&["config", "unset", "topic", "t", "max.message.bytes"]),
        "topic t: max.message.bytes has its default\n"
    );
    assert_eq!(read(&answer(&get))[0]["source"], "default");

    let all = read(&answer(&["config", "get", "broker", "1", "--all", "--json"]));
    let cores = all.as_array().into_iter().flatten().find(|it| it["key"] == "odradek.cores");
    let cores = cores.expect("a broker has it");
    assert_eq!(cores["value"], "1");
    assert_eq!(cores["read_only"], true);
    assert!(cores["documentation"].as_str().is_some_and(|it| !it.is_empty()), "{cores}");
    let set_only = answer(&["config", "get", "broker", "1"]);
    assert!(set_only.contains("odradek.memory"), "{set_only}");
    assert!(!set_only.contains("num.partitions"), "{set_only}");
    refused(&broker, &["config", "get", "topic", "nothing"], "UnknownTopicOrPartition");
    refused(&broker, &["config", "get", "topic", "t", "nothing"], "no config nothing");
    refused(&broker, &["config", "set", "topic", "t", "retention.ms=soon"], "InvalidConfig");
}

#[test]
fn a_cluster_is_its_brokers_and_what_they_hold() {
    let place = Place::new("cluster");
    let broker = place.serve();
    fill(&broker);
    let described = read(&broker.answer(&["cluster", "describe", "--json"], ""));
    assert_eq!(described["topics"], 1);
    assert_eq!(described["partitions"], 2);
    assert_eq!(described["controller"], described["brokers"][0]["id"]);
    let only = &described["brokers"][0];
    assert_eq!(only["address"], place.address());
    assert_eq!((&only["leads"], &only["holds"]), (&json!(2), &json!(2)));
    let dir = &only["log_dirs"][0];
    assert_eq!(dir["path"], place.data_dir().display().to_string());
    assert!(dir["log_bytes"].as_i64().is_some_and(|it| it > 0), "{dir}");
    let page = broker.answer(&["cluster", "describe"], "");
    assert!(page.starts_with("cluster       "), "{page}");
    assert!(page.contains("\nBROKER  LOG DIRECTORY"), "{page}");
}
