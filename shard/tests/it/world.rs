//! The simulated world keeps its own promises: one story for a seed, and only what was made durable
//! survives.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use shard::io::{Class, Io, Open, Sync};
use shard::sim::disk::{Crash, Faults};
use shard::sim::net::Weather;
use shard::sim::{Ended, SimIo, World};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `task` on the only shard of node 0 to its end.
fn on_shard<F: Future<Output = ()> + 'static>(world: &mut World, task: impl FnOnce(SimIo) -> F) {
    let io = world.io(0, 0);
    let is_done = Rc::new(Cell::new(false));
    let (task, done) = (task(io.clone()), Rc::clone(&is_done));
    io.spawn(Class::Foreground, async move {
        task.await;
        done.set(true);
    });
    assert_eq!(world.run(HOUR, || is_done.get()), Ended::Done);
}

async fn write(io: &SimIo, path: &str, pos: u64, fill: u8, sync: Sync) -> std::io::Result<()> {
    let file = io.open(path, Open::CreateDirect).await?;
    let mut block = io.block(4096).expect("the budget holds a few blocks");
    block.append(&[fill; 4096]);
    io.write(&file, pos, vec![block.disk(0..4096)], sync).await
}

async fn first_byte(io: &SimIo, path: &str, pos: u64) -> Option<u8> {
    let file = io.open(path, Open::Direct).await.ok()?;
    let block = io.block(4096).expect("the budget holds a few blocks");
    let (read, block) = io.read(&file, pos, block).await;
    assert!(read.is_ok());
    block.as_slice().first().copied()
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    assert_eq!(world.node(2, 16 << 20), 0);
    world
}

#[test]
fn what_was_made_durable_survives_every_power_cut() {
    for seed in 0..200 {
        let mut world = world(seed);
        on_shard(&mut world, |io| async move {
            write(&io, "a", 0, 1, Sync::Durable).await.unwrap();
            io.sync_dir("").await.unwrap();
            write(&io, "a", 4096, 2, Sync::Lazy).await.unwrap();
            let file = io.open("a", Open::Direct).await.unwrap();
            io.sync(&file).await.unwrap();
            write(&io, "a", 8192, 3, Sync::Lazy).await.unwrap();
        });
        world.crash(0, Crash::Power);
        on_shard(&mut world, |io| async move {
            assert_eq!(first_byte(&io, "a", 0).await, Some(1));
            assert_eq!(first_byte(&io, "a", 4096).await, Some(2));
        });
    }
}

#[test]
fn what_was_not_made_durable_is_lost_by_some_and_kept_by_others() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut world = world(seed);
        on_shard(&mut world, |io| async move {
            write(&io, "a", 0, 1, Sync::Durable).await.unwrap();
            io.sync_dir("").await.unwrap();
            write(&io, "a", 0, 2, Sync::Lazy).await.unwrap();
            write(&io, "b", 0, 3, Sync::Durable).await.unwrap();
        });
        world.crash(0, Crash::Power);
        let result = Rc::new(Cell::new((None, None)));
        let found = Rc::clone(&result);
        on_shard(&mut world, |io| async move {
            found.set((first_byte(&io, "a", 0).await, first_byte(&io, "b", 0).await));
        });
        seen.insert(result.get());
    }
    let want = [(Some(1), None), (Some(1), Some(3)), (Some(2), None), (Some(2), Some(3))];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), want);
}

#[test]
fn a_killed_process_leaves_what_it_wrote() {
    let mut world = world(1);
    on_shard(&mut world, |io| async move {
        write(&io, "a", 0, 1, Sync::Lazy).await.unwrap();
    });
    world.crash(0, Crash::Process);
    on_shard(&mut world, |io| async move {
        assert_eq!(first_byte(&io, "a", 0).await, Some(1));
    });
}

#[test]
fn faults_come_by_plan() {
    let mut world = world(1);
    world.set_faults(0, Faults { write_fails: 1, ..Faults::none() });
    on_shard(&mut world, |io| async move {
        assert!(write(&io, "a", 0, 1, Sync::Durable).await.is_err());
    });
    world.set_faults(0, Faults { is_full: 1, ..Faults::none() });
    on_shard(&mut world, |io| async move {
        let error = write(&io, "b", 0, 1, Sync::Durable).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    });
}

/// Sends 100,000 bytes to an echo and back; what came back before the connection ended.
fn echo(seed: u64, weather: Weather) -> (Vec<u8>, u64) {
    let mut world = world(seed);
    world.set_weather(weather);
    for shard in 0..2 {
        let (io, listener) = (world.io(0, shard), world.listen(0, shard));
        io.clone().spawn(Class::Foreground, async move {
            let socket = io.accept(&listener).await.expect("the listener is open");
            while let Ok(received) = io.receive(&socket).await
                && !received.is_empty()
            {
                if io.send(&socket, vec![Bytes::copy_from_slice(&received)]).await.is_err() {
                    break;
                }
            }
        });
    }
    let client = world.outside();
    let (echoed, is_done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
    let (answer, done) = (Rc::clone(&echoed), Rc::clone(&is_done));
    client.clone().spawn(Class::Foreground, async move {
        let socket = client.connect(0).await.expect("the node listens");
        let (sender, other) = (client.clone(), socket.clone());
        client.spawn(Class::Foreground, async move {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
            if let Err(error) = sender.send(&other, vec![Bytes::from(bytes)]).await {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        });
        while answer.borrow().len() < 100_000
            && let Ok(received) = client.receive(&socket).await
            && !received.is_empty()
        {
            answer.borrow_mut().extend_from_slice(&received);
        }
        done.set(true);
    });
    assert_eq!(world.run(HOUR, || is_done.get()), Ended::Done);
    (echoed.take(), world.story_hash())
}

#[test]
fn bytes_arrive_in_order_and_whole_or_up_to_a_cut() {
    let whole: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    let mut cut_count = 0;
    for seed in 0..50 {
        assert_eq!(echo(seed, Weather::fair()).0, whole);
        let cut = echo(seed, Weather { cuts: 30, ..Weather::fair() }).0;
        assert!(whole.starts_with(&cut));
        cut_count += usize::from(cut.len() < whole.len());
    }
    assert!((10..50).contains(&cut_count));
}

#[test]
fn one_seed_gives_one_story() {
    let weather = Weather { cuts: 30, ..Weather::fair() };
    assert_eq!(echo(7, weather), echo(7, weather));
    assert_ne!(echo(7, weather).1, echo(8, weather).1);
}

#[test]
fn shards_wake_each_other_once() {
    let mut world = world(3);
    let (near, far) = (world.io(0, 0), world.io(0, 1));
    let woken_count = Rc::new(Cell::new(0));
    let count = Rc::clone(&woken_count);
    far.clone().spawn(Class::Foreground, async move {
        loop {
            far.woken().await;
            count.set(count.get() + 1);
        }
    });
    near.wake(1);
    assert_eq!(world.run(HOUR, || false), Ended::Idle);
    assert_eq!(woken_count.get(), 1);
}

#[test]
fn time_jumps_to_what_is_next() {
    let mut world = world(4);
    let before = world.now();
    on_shard(&mut world, |io| async move { io.sleep(HOUR / 2).await });
    let took = world.now().since(before);
    assert!(HOUR / 2 <= took && took < HOUR / 2 + Duration::from_secs(1));
}
