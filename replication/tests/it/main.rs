//! Commands on the cluster's metadata, as scripts: `replication/tests/scripts/*.txt`.
//!
//! `REWRITE=1 cargo test -p replication` writes what the commands answer into the scripts: review
//! the difference.

mod assignors;
mod group_script;
mod script;

use std::path::Path;

#[track_caller]
fn check(name: &str) {
    check_with(name, script::run);
}

#[track_caller]
fn check_groups(name: &str) {
    check_with(name, group_script::run);
}

#[track_caller]
fn check_with(name: &str, run: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let want = std::fs::read_to_string(&path).expect("the script is there");
    let found = run(&want);
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &found).expect("the script can be written");
        return;
    }
    for (want, found) in want.lines().zip(found.lines()) {
        assert_eq!(want, found);
    }
    assert_eq!(want.lines().count(), found.lines().count());
}

#[test]
fn topics_are_created_and_refused_as_in_kafka() {
    check("create_topics.txt");
}

#[test]
fn topics_are_deleted_and_grow_as_in_kafka() {
    check("delete_and_grow.txt");
}

#[test]
fn configs_of_topics_change_as_in_kafka() {
    check("topic_configs.txt");
}

#[test]
fn configs_of_brokers_change_as_in_kafka() {
    check("broker_configs.txt");
}

#[test]
fn configs_are_described_as_in_kafka() {
    check("describe_configs.txt");
}

#[test]
fn members_join_and_leave_as_in_kafka() {
    check_groups("group_members.txt");
}

#[test]
fn static_members_come_back_as_in_kafka() {
    check_groups("group_static_members.txt");
}

#[test]
fn groups_keep_offsets_as_in_kafka() {
    check_groups("group_offsets.txt");
}
