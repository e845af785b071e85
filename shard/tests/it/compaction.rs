//! A compacted topic, from its first record to a restart.

use std::cell::RefCell;
use std::rc::Rc;

use engine::codec::Codec;
use shard::io::Io;
use shard::sim::admin::{Admin, Wish};
use shard::sim::consumer::{Consumer, Manners};
use shard::sim::disk::{Crash, Faults};
use shard::sim::history::{Durability, KEY_COUNT, Retries};
use shard::sim::policy::Policy;
use shard::sim::producer::{Habits, Producer};
use shard::sim::recorder::{Recorder, Target};
use shard::sim::{SimIo, World};

use crate::recovery::{finish, idle, put, start, world};

fn names(io: &SimIo, dir: &str) -> Vec<String> {
    io.list(dir).expect("it is there")
}

/// A world with a compacted topic of short segments, not all of them compacted yet.
fn written() -> (World, Recorder, Vec<Target>) {
    let mut world = world(1);
    start(&mut world, 1);
    let outside = world.outside();
    let recorder = Recorder::new(outside.clone(), 1);
    let wish = Wish {
        name: "t".to_owned(),
        partition_count: 1,
        durability: Durability::Device,
        segment_ms: 500,
        compression: None,
        policy: Policy { tombstone_ms: Some(1_000_000), ..Policy::default() },
    };
    let mut admin = Admin::new(&outside, 0, &recorder);
    let targets = finish(&mut world, &outside, async move { admin.create(&wish).await });
    let habits = Habits {
        retries: Retries::Deduplicated,
        acks: -1,
        depth: 1,
        version: 12,
        request_count: 80,
        value_bytes_max: 2_000,
        batch_bytes: None,
        codec: Codec::Lz4,
        pause_nanos: 100_000_000,
    };
    let producer = Producer::new(&outside, 0, &recorder, habits, targets.clone());
    finish(&mut world, &outside, producer.run());
    (world, recorder, targets)
}

#[test]
fn nothing_is_compacted_before_a_start_is_durable() {
    let (mut world, _recorder, _targets) = written();
    world.crash(0, Crash::Process);
    let lines: Rc<RefCell<Vec<String>>> = Rc::default();
    let told = Rc::clone(&lines);
    world.tell_to(Box::new(move |line| told.borrow_mut().push(line.to_owned())));
    // A start that takes longer than the compactor's pauses.
    world.set_faults(0, Faults { stalls: 1, stall_nanos: 3_000_000_000, ..Faults::none() });
    start(&mut world, 1);
    world.set_faults(0, Faults::none());
    idle(&mut world);
    let lines = lines.borrow();
    let first = |is_it: &dyn Fn(&str) -> bool| lines.iter().position(|line| is_it(line));
    let begun = first(&|line| line.ends_with("open CreateDirect superblock"));
    let compacts = |path: &str| path.ends_with(".log") && path.split('.').count() == 3;
    let compacted = first(&|line| {
        line.split_once("open CreateDirect ").is_some_and(|(_, path)| compacts(path))
    });
    assert!(begun.is_some() && begun < compacted, "{begun:?}, {compacted:?}");
}

#[test]
fn a_compacted_log_has_one_record_of_each_key_and_no_other_file_also_after_a_power_cut() {
    let (mut world, recorder, targets) = written();
    let (outside, node) = (world.outside(), world.io(0, 0));
    idle(&mut world);
    let dir = format!("topics/{}/0", engine::id::TopicId::new(targets[0].topic_id));
    let compacted = names(&node, &dir);
    let (sealed, logs): (Vec<_>, Vec<_>) =
        compacted.iter().partition(|it| it.split('.').count() == 3);
    assert_eq!((sealed.len(), logs.len()), (2, 0), "one segment and its sidecar: {compacted:?}");

    // A compaction that a crash cut short: whole, half, and of a segment that is no more.
    for stray in ["00000000000000000000.99.log", "00000000000000000000.99.idx.part"] {
        let path = format!("{dir}/{stray}");
        finish(&mut world, &node.clone(), put(node.clone(), path, vec![7; 100]));
    }
    world.crash(0, Crash::Power);
    for stray in ["00000000000000000007.log", "00000000000000000000.99.log"] {
        let (io, path) = (world.io(0, 0), format!("{dir}/{stray}"));
        finish(&mut world, &io.clone(), put(io, path, vec![7; 100]));
    }
    start(&mut world, 1);
    idle(&mut world);
    assert_eq!(names(&world.io(0, 0), &dir), compacted);

    let (version, max_wait_ms, max_bytes) = (12, 0, 1 << 20);
    let manners = Manners { version, max_wait_ms, max_bytes, isolation_level: 0, pause_nanos: 1 };
    let consumer = Consumer::new(&outside, 0, &recorder, manners, targets.clone());
    finish(&mut world, &outside, consumer.read_whole());
    assert_eq!(recorder.failure(), None);
    let count = recorder.count_left(targets[0].log);
    assert!(count.is_some_and(|it| it > 3 && u64::try_from(it).unwrap() <= KEY_COUNT), "{count:?}");
}
