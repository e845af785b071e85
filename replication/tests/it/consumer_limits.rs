//! What one member, or one group, can make the broker hold: both sides of each bound.

use std::sync::Arc;

use replication::group::answer::{Answer, GroupError};
use replication::group::assignment::Assignment;
use replication::group::request::{ConsumerHeartbeat, Identity, Naming, Request};
use replication::limits::{
    REGEX_BYTES_MAX, REGEXES_PER_GROUP_MAX, SUBSCRIBED_BYTES_MAX, SUBSCRIBED_NAMES_MAX,
};

use crate::group_scene::{LIMITS, Scene};

fn join(member: &str, names: Vec<Arc<str>>, regex: Option<&str>) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        identity: Identity { member: member.into(), instance: None },
        epoch: 0,
        rack: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_ms: Some(60_000),
        names: Some(names),
        regex: regex.map(Arc::from),
        assignor: None,
        owned: Some(Assignment::default()),
        naming: Naming::ByMember,
        timing: LIMITS.consumer.timing,
        draw: 0,
    }
}

#[track_caller]
fn check(scene: &mut Scene, beat: ConsumerHeartbeat, want: Result<(), GroupError>) {
    let (answer, records) = scene.ask(Request::ConsumerHeartbeat(beat));
    let Answer::ConsumerHeartbeat(answer) = answer else { panic!("a heartbeat is answered") };
    assert_eq!(answer.map(|_| ()), want);
    assert_eq!(records.is_empty(), want.is_err(), "what is refused leaves nothing");
}

#[test]
fn a_member_names_so_many_topics() {
    let names = |count: usize| (0..count).map(|it| it.to_string().into()).collect();
    let mut scene = Scene::new();
    check(&mut scene, join("m1", names(SUBSCRIBED_NAMES_MAX), None), Ok(()));
    let too_many = join("m2", names(SUBSCRIBED_NAMES_MAX + 1), None);
    check(&mut scene, too_many, Err(GroupError::InvalidRequest));
}

#[test]
fn the_names_of_a_member_are_so_long() {
    let long = |length: usize| vec!["x".repeat(length).into()];
    let mut scene = Scene::new();
    check(&mut scene, join("m1", long(SUBSCRIBED_BYTES_MAX), None), Ok(()));
    let too_long = join("m2", long(SUBSCRIBED_BYTES_MAX + 1), None);
    check(&mut scene, too_long, Err(GroupError::InvalidRequest));
}

#[test]
fn a_regular_expression_is_so_long() {
    let mut scene = Scene::new();
    check(&mut scene, join("m1", vec![], Some(&"x".repeat(REGEX_BYTES_MAX))), Ok(()));
    let too_long = join("m2", vec![], Some(&"x".repeat(REGEX_BYTES_MAX + 1)));
    check(&mut scene, too_long, Err(GroupError::InvalidRegex));
}

#[test]
fn a_group_has_so_many_regular_expressions() {
    let mut scene = Scene::new();
    for number in 0..REGEXES_PER_GROUP_MAX {
        let beat = join(&format!("m{number}"), vec![], Some(&format!("x{number}")));
        check(&mut scene, beat, Ok(()));
    }
    check(&mut scene, join("n1", vec![], Some("y")), Err(GroupError::InvalidRegex));
    // One that is there costs nothing more, and one that goes makes room.
    check(&mut scene, join("n2", vec![], Some("x0")), Ok(()));
    check(&mut scene, join("m1", vec![], Some("")), Ok(()));
    check(&mut scene, join("n1", vec![], Some("y")), Ok(()));
}
