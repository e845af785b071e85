//! `odradek log` on the files of a real broker.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{End, Place};
use crate::run::{odradek, refuses};

/// The lines that `inspect` says of a file.
#[track_caller]
fn inspect(file: &Path, more: &[&str]) -> Vec<Value> {
    let arguments = [&["log", "inspect", file.to_str().expect("ours"), "--json"], more].concat();
    let ended = odradek(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect()
}

/// The only entry of a folder.
fn only(folder: &Path, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let names = std::fs::read_dir(folder).expect("it is there");
    let mut names = names.map(|it| it.expect("it is there").path());
    names.find(|it| wanted(&it.file_name().expect("a name").to_string_lossy())).expect("one")
}

#[test]
fn what_the_files_of_a_broker_hold_is_shown() {
    let place = Place::new("inspect");
    let broker = place.serve();
    broker.answer(&["topic", "create", "events"], "");
    broker.answer(&["produce", "events", "-K", ":"], "a:first\nb:second\n");
    broker.answer(&["produce", "events", "-z", "zstd"], "third\n");
    assert_eq!(broker.end("KILL"), End::Signal(9));

    let data = place.data_dir();
    let mut journal = inspect(&data.join("journal/0/000.journal"), &[]);
    journal.extend(inspect(&data.join("journal/0/001.journal"), &[]));
    let appends: Vec<&Value> = journal.iter().filter(|it| it["entry"] == "append").collect();
    assert!(appends.iter().any(|it| it["baseOffset"] == 2 && it["count"] == 1), "{journal:?}");
    let slots = inspect(&data.join("superblock"), &[]);
    assert_eq!((&slots[1]["generation"], &slots[1]["shutdown"]), (&1.into(), &"None".into()));

    let broker = place.serve();
    assert_eq!(broker.end("TERM"), End::Code(0));
    let checkpoint = inspect(&data.join("checkpoint/0.2"), &[]);
    assert_eq!(checkpoint[0]["generation"], 2);
    assert!(checkpoint.iter().any(|it| it["endOffset"] == 3), "{checkpoint:?}");
    let topic = only(&data.join("topics"), |it| !it.starts_with("000000000"));
    let segment = topic.join("0/00000000000000000000.log");
    let batches = inspect(&segment, &[]);
    assert_eq!((&batches[0]["baseOffset"], &batches[0]["position"]), (&0.into(), &0.into()));
    assert!(batches.iter().any(|it| it["compresscodec"] == "zstd" && it["isvalid"] == true));
    let records = inspect(&segment, &["--records", "--offset", "1"]);
    let payloads: Vec<&str> = records.iter().filter_map(|it| it["payload"].as_str()).collect();
    assert_eq!(payloads, ["first", "second", "third"], "the batch of an offset is shown whole");
    let third = inspect(&segment, &["--records", "--offset", "2"]);
    assert_eq!((&third[0]["baseOffset"], &third[1]["payload"]), (&2.into(), &"third".into()));
    refuses(&["log", "inspect", data.join("lock").to_str().expect("ours")], 2, "can be shown");
}

#[test]
fn a_directory_in_use_is_not_verified() {
    let place = Place::new("in-use");
    let broker = place.serve();
    let data = place.data_dir();
    refuses(&["log", "verify", data.to_str().expect("ours")], 1, "a broker uses");
    assert_eq!(broker.end("TERM"), End::Code(0));
    let ended = odradek(&["log", "verify", data.to_str().expect("ours")]);
    assert_eq!((ended.code, &*ended.error), (Some(0), ""), "{ended:?}");
    refuses(&["log", "verify", "nowhere"], 1, "not a directory");
}
