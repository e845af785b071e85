//! Brokers of other protocols, where they are installed: a short scene on each, in which nothing is lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// A second of producers of single records and of batches, and of readers who share the partitions.
const WORKLOAD: &str = r#"
key = "peers"
title = "Peers"
about = "Whether a target does what it is asked."
shown = ["small_p50_us"]

[profiles]
smoke = { pairs = 1, warm_up_seconds = 1, seconds = 1 }
full = { pairs = 1, warm_up_seconds = 1, seconds = 1 }
lab = { pairs = 1, warm_up_seconds = 1, seconds = 1 }

[[topics]]
name = "events"
partitions = 3

[[producers]]
name = "small"
topic = "events"
connections = 2
in_flight = 3
record_bytes = 100
rate = 200

[[producers]]
name = "bulk"
topic = "events"
connections = 1
in_flight = 2
batch_bytes = 16384
rate = "max"

[[consumers]]
name = "readers"
topic = "events"
count = 2
share = "split"
"#;

/// What a run on another machine's time may be void for; it says nothing of the target.
const OF_THE_MACHINE: [&str; 2] = ["the generator", "other machines"];

/// Plays the scene; says why and returns if the target is not installed.
#[expect(clippy::print_stdout, reason = "who runs the tests sees what was skipped")]
fn check(target: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what an earlier run left");
    }
    fs::create_dir_all(&folder).expect("a folder");
    let workload = folder.join("peers.toml");
    fs::write(&workload, WORKLOAD).expect("the workload is written");
    let output = Command::new(env!("CARGO_BIN_EXE_perf"))
        .args(["run", "--targets", target, "--placement", "shared"])
        .args(["--keep-caches", "--skip-limits", "--out"])
        .args([&folder, &workload])
        .output()
        .expect("perf");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("install the package") {
        println!("skipped: {}", said.trim());
        return;
    }
    assert!(output.status.success(), "{said}");
    let results = fs::read_to_string(folder.join("results.json")).expect("results");
    let results: Value = serde_json::from_str(&results).expect("JSON");
    let run = &results["runs"][0];
    let void = run["void"].as_array().expect("reasons");
    let is_ours = |reason: &&Value| {
        let reason = reason.as_str().expect("words");
        !OF_THE_MACHINE.iter().any(|it| reason.starts_with(it))
    };
    assert_eq!(void.iter().find(is_ours), None);
    let number = |name: &str| run["numbers"][name].as_f64().unwrap_or(-1.0);
    for name in ["small_acknowledged_request_count", "bulk_acknowledged_request_count"] {
        assert!(0.0 < number(name), "{name}: {}", run["numbers"]);
    }
    assert!(0.0 < number("end_to_end_sample_count"), "{}", run["numbers"]);
    for name in ["error_count", "unanswered_count", "read_missing_count", "read_repeated_count"] {
        assert_eq!(number(name), 0.0, "{name}: {}", run["numbers"]);
    }
    assert_eq!(results["left_out"], json!([]));
    fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[test]
fn nats_acknowledges_and_delivers_every_record() {
    check("nats");
}

#[test]
fn quorum_queues_acknowledge_and_deliver_every_record() {
    check("rabbitmq-quorum");
}

#[test]
fn streams_of_rabbitmq_acknowledge_and_deliver_every_record() {
    check("rabbitmq-stream");
}
