//! Quotas as their commands set, show and take them away, and one as sockets meet it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, End, Place};
use crate::run::refuses;

#[track_caller]
fn listed(broker: &Broker<'_>, filter: &[&str]) -> Value {
    let text = broker.answer(&[&["quota", "list", "--json"], filter].concat(), "");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn quotas_are_set_listed_and_taken_away() {
    let place = Place::new("quota");
    let broker = place.serve();
    let answer = |arguments: &[&str]| broker.answer(arguments, "");
    assert_eq!(listed(&broker, &[]), json!([]));

    let etl = ["--client-id", "etl"];
    let set =
        [&["quota", "set", "producer_byte_rate=1048576", "request_percentage=12.5"], &etl[..]];
    let done = "producer_byte_rate=1048576, request_percentage=12.5";
    let checked = [&set.concat()[..], &["--validate-only"]].concat();
    assert_eq!(answer(&checked), format!("client-id etl: {done} (only checked)\n"));
    assert_eq!(listed(&broker, &[]), json!([]));
    assert_eq!(answer(&set.concat()), format!("client-id etl: {done}\n"));
    let both = ["--user-default", "--client-id", "etl"];
    let set = [&["quota", "set", "consumer_byte_rate=5"], &both[..]].concat();
    assert_eq!(answer(&set), "user (default), client-id etl: consumer_byte_rate=5\n");

    let of_client = json!({
        "entity": { "client-id": "etl" },
        "quotas": { "producer_byte_rate": 1_048_576.0, "request_percentage": 12.5 },
    });
    let of_both = json!({
        "entity": { "user": null, "client-id": "etl" }, "quotas": { "consumer_byte_rate": 5.0 },
    });
    assert_eq!(listed(&broker, &[]), json!([of_client, of_both]));
    assert_eq!(listed(&broker, &etl), json!([of_client, of_both]));
    assert_eq!(listed(&broker, &["--user-default"]), json!([of_both]));
    assert_eq!(listed(&broker, &["--user", "ana"]), json!([]));
    let page = answer(&["quota", "list"]);
    let want = "\
USER       CLIENT ID  IP  QUOTA               VALUE
-          etl        -   producer_byte_rate  1048576
-          etl        -   request_percentage  12.5
(default)  etl        -   consumer_byte_rate  5
";
    assert_eq!(page, want);

    let unset =
        [&["quota", "unset", "producer_byte_rate", "request_percentage"], &etl[..]].concat();
    let done = "producer_byte_rate is unset, request_percentage is unset";
    assert_eq!(answer(&unset), format!("client-id etl: {done}\n"));
    assert_eq!(listed(&broker, &[]), json!([of_both]));
}

#[test]
fn what_makes_no_sense_is_refused() {
    refuses(&["quota", "set", "producer_byte_rate=5"], 2, "whose quota?");
    refuses(&["quota", "set", "--user", "ana", "producer_byte_rate=fast"], 2, "no number");
    let twice = ["quota", "set", "--user", "ana", "--user-default", "producer_byte_rate=5"];
    refuses(&twice, 2, "cannot be used with");

    let place = Place::new("quota-refused");
    let broker = place.serve();
    for (quota, why) in [("nonsense=5", "nonsense"), ("producer_byte_rate=-1", "greater than 0")] {
        let ended = broker.run(&["quota", "set", "--user", "ana", quota], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.error.contains("user ana: InvalidRequest"), "{ended:?}");
        assert!(ended.error.contains(why), "{ended:?}");
    }
    assert_eq!(listed(&broker, &[]), json!([]));
}

/// ApiVersions of version 0, without a client id.
const ASK: &[u8] = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";

/// Of connections that are made together, those that are closed without an answer.
fn unanswered_count(address: &str, count: usize) -> usize {
    let connect = |_| TcpStream::connect(address).expect("the kernel takes the connection");
    let mut streams: Vec<TcpStream> = (0..count).map(connect).collect();
    let is_unanswered = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a duration");
        let asked = stream.write_all(ASK);
        asked.is_err() || !stream.read(&mut [0]).is_ok_and(|byte_count| 0 < byte_count)
    };
    streams.iter_mut().map(is_unanswered).filter(|it| *it).count()
}

#[test]
fn connections_past_the_rate_of_their_address_are_closed_also_after_a_restart() {
    let place = Place::new("quota-connections");
    let broker = place.serve();
    assert_eq!(unanswered_count(&place.address(), 64), 0);
    let set = ["quota", "set", "--ip", "127.0.0.1", "connection_creation_rate=1"];
    assert_eq!(broker.answer(&set, ""), "ip 127.0.0.1: connection_creation_rate=1\n");
    assert_eq!(broker.end("KILL"), End::Signal(9));

    let broker = place.serve();
    let page = broker.answer(&["quota", "list"], "");
    assert!(page.contains("127.0.0.1  connection_creation_rate  1\n"), "{page}");
    // However slow this machine is: of some that are made together more come than one in a second.
    let mut count = 0;
    while count == 0 {
        count = unanswered_count(&place.address(), 64);
    }
    let metrics = broker.page("/metrics");
    for name in [
        "odradek_throttled_total{shard=\"0\",quota=\"connection_creation_rate\"}",
        "odradek_connections_closed_total{shard=\"0\",cause=\"address_rate\"}",
    ] {
        assert!(metrics.contains(&format!("{name} {count}\n")), "{name} {count} in {metrics}");
    }
}
