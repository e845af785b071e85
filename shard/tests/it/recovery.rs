//! What a start makes of what earlier lives left on the disk.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use shard::io::{Class, Io, Open};
use shard::limits::JOURNAL_QUIET_BYTES;
use shard::recovery;
use shard::sim::broker::{self, Started};
use shard::sim::disk::Crash;
use shard::sim::{Ended, SimIo, World};

use crate::answers::Client;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn world(shard_count: usize) -> World {
    let mut world = World::new(1);
    assert_eq!(world.node(shard_count, 64 << 20), 0);
    world
}

/// Runs `task` to its end.
pub(crate) fn finish<T: 'static>(
    world: &mut World,
    io: &SimIo,
    task: impl Future<Output = T> + 'static,
) -> T {
    let done = Rc::new(RefCell::new(None));
    let result = Rc::clone(&done);
    io.spawn(Class::Foreground, async move {
        let value = task.await;
        *result.borrow_mut() = Some(value);
    });
    assert_eq!(world.run(HOUR, || done.borrow().is_some()), Ended::Done);
    done.take().expect("looked at above")
}

pub(crate) fn start(world: &mut World, shard_count: usize) -> Started {
    let started = broker::start(world, 0, shard_count);
    assert_eq!(world.run(HOUR, || started.ready().is_some()), Ended::Done);
    started
}

/// Lets the broker come to rest.
pub(crate) fn idle(world: &mut World) {
    let end = world.now().plus(Duration::from_secs(10));
    let io = world.outside();
    world.run(HOUR, || io.now() >= end);
}

pub(crate) async fn put(io: SimIo, path: String, bytes: Vec<u8>) {
    let file = io.open(&path, Open::CreateBuffered).await.expect("a good disk");
    io.write_bytes(&file, 0, Bytes::from(bytes)).await.expect("a good disk");
}

#[test]
fn a_blank_superblock_beside_topics_is_refused() {
    for blank in [Vec::new(), vec![0; 8192]] {
        let mut world = world(1);
        let io = world.io(0, 0);
        let text = finish(&mut world, &io.clone(), async move {
            if !blank.is_empty() {
                put(io.clone(), "superblock".to_owned(), blank).await;
            }
            assert!(recovery::recover(&io, &broker::config(&[]), 1).await.is_ok());
            io.make_dir("topics/00000000000000000000000000000007").await.expect("a good disk");
            let recovered = recovery::recover(&io, &broker::config(&[]), 1).await;
            recovered.err().map(|error| error.to_string())
        });
        let text = text.expect("refused");
        assert!(text.contains("no superblock"), "{text}");
    }
}

#[test]
fn files_of_older_generations_and_journals_of_gone_shards_are_removed() {
    let mut world = world(3);
    start(&mut world, 3);
    idle(&mut world);
    assert_eq!(world.io(0, 0).list("journal").unwrap(), ["0", "1", "2"]);
    world.crash(0, Crash::Process);
    let io = world.io(0, 0);
    finish(&mut world, &io.clone(), put(io, "checkpoint/0.1.bak".to_owned(), vec![1]));
    world.crash(0, Crash::Process);
    world.resize(0, 1);
    start(&mut world, 1);
    idle(&mut world);
    assert_eq!(world.io(0, 0).list("checkpoint").unwrap(), ["0.1.bak", "0.2"]);
    assert_eq!(world.io(0, 0).list("journal").unwrap(), ["0"]);
    world.crash(0, Crash::Power);
    world.resize(0, 2);
    start(&mut world, 2);
}

#[test]
fn a_checkpoint_that_was_written_over_another_ones_file_is_refused() {
    let mut world = world(2);
    start(&mut world, 2);
    idle(&mut world);
    world.crash(0, Crash::Process);
    let (_, other) = world.with_disk(0, |disk| disk.find("checkpoint/1.1")).expect("it is there");
    let io = world.io(0, 0);
    finish(&mut world, &io.clone(), put(io, "checkpoint/0.1".to_owned(), other));
    world.crash(0, Crash::Process);
    let started = broker::start(&world, 0, 2);
    let is_over = || started.ready().is_some() || started.stopped().is_some();
    assert_eq!(world.run(HOUR, is_over), Ended::Done);
    let reason = started.stopped().expect("refused");
    assert!(reason.contains("checkpoint/0.1: the checkpoint 1.1 stands there"), "{reason}");
}

/// Lets a client of a new broker do something to its end.
fn play<T: 'static, F: Future<Output = T> + 'static>(
    world: &mut World,
    started: Started,
    scene: impl FnOnce(Client) -> F,
) -> T {
    let io = world.outside();
    let scene = scene(Client { io: io.clone(), node: 0, started });
    finish(world, &io, scene)
}

#[test]
fn a_start_after_a_crash_reads_what_it_needs_of_the_journal_and_little_more() {
    const MIB: u64 = 1 << 20;
    let mut world = world(2);
    let started = start(&mut world, 2);
    play(&mut world, started, async |client| {
        client.create("t", 2).await;
        let value = vec![7; 30_000];
        for _ in 0..60 {
            client.append("t", 0, &[&value]).await;
            client.append("t", 1, &[&value]).await;
        }
    });
    let io = world.io(0, 0);
    let dirs = ["journal/0", "journal/1"];
    let paths = dirs
        .iter()
        .flat_map(|dir| io.list(dir).unwrap().into_iter().map(move |it| format!("{dir}/{it}")));
    let paths: Vec<String> = paths.collect();
    let bytes = |path: &String| world.with_disk(0, |disk| disk.find(path)).unwrap().1.len();
    let all: usize = paths.iter().map(bytes).sum();
    world.crash(0, Crash::Process);
    let report = start(&mut world, 2).ready().expect("it has started");
    assert!(report.journal_frames > 100, "{report:?}");
    // The beginning of each file; behind the frames that are needed, what a read and a look go too far.
    let beginnings = u64::try_from(paths.len()).unwrap() * MIB;
    let most = beginnings + report.journal_bytes + 2 * (MIB + JOURNAL_QUIET_BYTES);
    assert!(report.journal_read_bytes <= most, "{report:?}");
    assert!(most < u64::try_from(all).unwrap(), "{all} bytes are there");
}

#[test]
fn a_start_after_a_crash_reads_only_segments_that_were_written_since_the_checkpoint() {
    let mut world = world(1);
    let started = start(&mut world, 1);
    let client = play(&mut world, started, async |client| {
        client.create("t", 50).await;
        for partition in 0..50 {
            client.append("t", partition, &[b"before"]).await;
        }
        client
    });
    idle(&mut world);
    let io = client.io.clone();
    finish(&mut world, &io, async move { client.append("t", 7, &[b"since"]).await });
    world.crash(0, Crash::Process);
    let report = start(&mut world, 1).ready().expect("it has started");
    assert_eq!((report.journal_frames, report.partitions_scanned), (1, 1), "{report:?}");
    // Before what the journal has, and behind it.
    assert!(report.scanned_bytes <= 2 * (16 << 10), "{report:?}");
}
