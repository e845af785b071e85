//! Commands on the cluster's metadata, and requests to groups, as scripts: `replication/tests/scripts/*.txt`.
//!
//! `REWRITE=1 cargo test -p replication` writes what the commands answer into the scripts: review
//! the difference.

mod assignors;
mod consumer_limits;
mod consumer_random;
mod consumer_script;
mod group_bytes;
mod group_scene;
mod group_script;
mod migration_random;
mod quota_script;
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
fn check_consumers(name: &str) {
    check_with(name, consumer_script::run);
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

#[test]
fn a_consumer_group_leads_its_members_to_what_they_are_to_have() {
    check_consumers("consumer_group.txt");
}

#[test]
fn a_heartbeat_is_refused_as_in_kafka() {
    check_consumers("consumer_refusals.txt");
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    check_consumers("consumer_static.txt");
}

#[test]
fn a_static_member_that_takes_another_lasting_name_gives_up_the_first() {
    check_consumers("consumer_renamed.txt");
}

#[test]
fn a_late_member_loses_its_place() {
    check_consumers("consumer_timeouts.txt");
}

#[test]
fn a_subscription_follows_the_topics_that_are_there() {
    check_consumers("consumer_topics.txt");
}

#[test]
fn offsets_of_a_consumer_group_are_its_members() {
    check_consumers("consumer_offsets.txt");
}

#[test]
fn a_step_that_a_crash_cut_short_is_made_up_for() {
    check_consumers("consumer_crash.txt");
}

#[test]
fn a_group_changes_its_protocol_while_it_runs() {
    check_consumers("consumer_migration.txt");
}

#[test]
fn quotas_change_and_are_described_as_in_kafka() {
    check_with("client_quotas.txt", quota_script::run);
}

#[test]
fn configs_of_groups_change_as_in_kafka() {
    check("group_configs.txt");
}
