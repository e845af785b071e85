//! What a commit is foreseen to take of memory, beside what it takes.

use engine::id::{LeaderEpoch, PartitionIndex};
use replication::group::answer::Answer;
use replication::group::request::{Commit, Identity, OffsetToKeep, Request};

use crate::group_scene::Scene;

fn commit(partitions: impl Iterator<Item = (&'static str, u32)>) -> Request {
    let offsets = partitions.map(|(topic, index)| OffsetToKeep {
        topic: topic.into(),
        partition: PartitionIndex::new(index),
        offset: 7,
        leader_epoch: LeaderEpoch::NONE,
        metadata: "some".into(),
        committed_at: None,
    });
    Request::Commit(Commit {
        group: "g".into(),
        identity: Identity { member: "".into(), instance: None },
        generation: -1,
        offsets: offsets.collect(),
        retention_ms: None,
    })
}

/// How much more it takes than before, as foreseen and in fact.
fn growths(scene: &mut Scene, request: Request) -> (u64, u64) {
    let foreseen = scene.coordinator.growth(&request);
    let before = scene.coordinator.bytes();
    let (answer, _) = scene.ask(request);
    assert!(matches!(answer, Answer::Commit(_)), "{answer:?}");
    (foreseen, scene.coordinator.bytes() - before)
}

#[test]
fn a_commit_of_many_partitions_takes_what_is_foreseen() {
    let mut scene = Scene::new();
    scene.create("t", 1_000);
    scene.create("u", 1);
    let all = || (0..1_000).map(|index| ("t", index));
    let (foreseen, found) = growths(&mut scene, commit(all()));
    assert_eq!(foreseen, found);
    let (foreseen, found) = growths(&mut scene, commit(all()));
    assert_eq!((foreseen, found), (0, 0));
    let (foreseen, found) = growths(&mut scene, commit(all().chain([("u", 0)])));
    assert_eq!(foreseen, found);
}

#[test]
fn a_partition_that_a_commit_names_often_is_not_foreseen_to_be_many_topics() {
    let mut scene = Scene::new();
    scene.create("t", 1);
    let (foreseen, found) = growths(&mut scene, commit((0..10_000).map(|_| ("t", 0))));
    assert!(found < 4_096, "{found}");
    assert!(foreseen < 2 << 20, "{foreseen}");
}
