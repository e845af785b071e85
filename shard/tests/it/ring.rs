//! The real world keeps the seam's promises: the scenes of `conformance.rs`, and what only threads show.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use shard::io::{Class, Io, Open, Sync};
use shard::mailbox;
use shard::reactor::RingIo;
use shard::reactor::launch::{Budget, launch, start};
use shard::socket::{RingSocket, SocketRules};

use crate::conformance::{self, Side};

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("ring-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn budget() -> Budget {
    Budget {
        arena_bytes: 32 << 20,
        receive_bytes_max: 4 << 20,
        descriptor_count: 1024,
        spin: Duration::ZERO,
    }
}

/// As many cores as there are, at most `count`.
fn cores(count: usize) -> Vec<usize> {
    let mut cores = affinity::get_thread_affinity().unwrap();
    cores.truncate(count);
    cores
}

/// Plays `scene` on one shard to its end.
fn on_ring<F: Future<Output = ()> + 'static>(
    name: &str,
    scene: impl Fn(RingIo) -> F + Clone + Send + 'static,
) {
    let directory = Directory::new(name);
    let played = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&played);
    launch(&cores(1), &directory.0, &budget(), move |_, io| {
        let (scene, count) = (scene(io), Arc::clone(&count));
        async move {
            scene.await;
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert_eq!(played.load(Ordering::Relaxed), 1);
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn pair(io: &RingIo) -> (Side<RingIo>, Side<RingIo>) {
    let listener = io.listen(ANY_PORT, SocketRules::PLAIN).unwrap();
    let one = io.connect(listener.local_address().unwrap()).unwrap();
    let other = io.accept(&listener).await.unwrap();
    (Side { io: io.clone(), socket: one }, Side { io: io.clone(), socket: other })
}

fn on_ring_pair<F: Future<Output = ()> + 'static>(
    name: &str,
    scene: impl Fn(Side<RingIo>, Side<RingIo>) -> F + Clone + Send + 'static,
) {
    on_ring(name, move |io| {
        let scene = scene.clone();
        async move {
            let (one, other) = pair(&io).await;
            scene(one, other).await;
        }
    });
}

/// What SplitMix64 had as its state when it gave `mixed`.
fn unmixed(mixed: u64) -> u64 {
    let unshift = |it: u64, by: u32| it ^ (it >> by) ^ (it >> (2 * by));
    let mixed = unshift(mixed, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
    let mixed = unshift(mixed, 27).wrapping_mul(0x96de_1b17_3f11_9089);
    unshift(mixed, 30)
}

#[test]
fn what_was_drawn_does_not_tell_what_comes_next() {
    on_ring("random", |io| async move {
        let drawn: Vec<u64> = (0..16).map(|_| io.random()).collect();
        let steps = drawn.windows(2).map(|it| unmixed(it[1]).wrapping_sub(unmixed(it[0])));
        let distinct: std::collections::BTreeSet<u64> = steps.collect();
        assert_eq!(distinct.len(), drawn.len() - 1, "each step of a counter is the same");
    });
}

#[test]
fn files() {
    on_ring("files", conformance::files);
}

#[test]
fn time_and_tasks() {
    on_ring("time", conformance::time_and_tasks);
}

#[test]
fn echo() {
    on_ring_pair("echo", conformance::echo);
}

#[test]
fn much() {
    on_ring_pair("much", conformance::much);
}

#[test]
fn close() {
    on_ring_pair("close", conformance::close);
}

#[test]
fn shutdown() {
    on_ring_pair("shutdown", conformance::shutdown);
}

#[test]
fn file_sending() {
    on_ring_pair("sending", conformance::file_sending);
}

#[test]
fn dropped_futures() {
    on_ring_pair("dropped", conformance::dropped_futures);
}

#[test]
fn many_connections_share_the_buffers() {
    const COUNT: usize = 300;
    const BYTES: usize = 100_000;
    on_ring("many", |io| async move {
        let listener = io.listen(ANY_PORT, SocketRules::PLAIN).unwrap();
        let address = listener.local_address().unwrap();
        let done = Rc::new(Cell::new(0));
        for _ in 0..COUNT {
            let client = io.connect(address).unwrap();
            let server = io.accept(&listener).await.unwrap();
            let task_io = io.clone();
            io.spawn(Class::Foreground, async move {
                let bytes = Bytes::from(vec![7; BYTES]);
                task_io.send(&client, vec![bytes]).await.unwrap();
            });
            let (task_io, done) = (io.clone(), Rc::clone(&done));
            io.spawn(Class::Foreground, async move {
                hold_and_receive(&task_io, &server, BYTES).await;
                done.set(done.get() + 1);
            });
        }
        while done.get() < COUNT {
            io.sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Holds buffers for a while, so that others find none.
async fn hold_and_receive(io: &RingIo, socket: &RingSocket, bytes: usize) {
    let mut held = Vec::new();
    let mut count = 0;
    while count < bytes {
        let received = io.receive(socket).await.unwrap();
        assert!(!received.is_empty());
        count += received.len();
        held.push(received);
        if held.len() == 3 {
            io.sleep(Duration::from_millis(1)).await;
            held.clear();
        }
    }
}

/// Far more than all buffers together.
#[test]
fn what_nobody_reads_takes_no_buffer_from_who_waits() {
    const COUNT: usize = 100;
    on_ring("unread", |io| async move {
        let mut unread = Vec::new();
        for _ in 0..COUNT {
            let (one, other) = pair(&io).await;
            io.send(&one.socket, vec![Bytes::from_static(b"x")]).await.unwrap();
            assert_eq!(io.receive(&other.socket).await.unwrap().len(), 1);
            unread.push(other);
            io.spawn(Class::Foreground, async move {
                let rest = one.io.send(&one.socket, vec![Bytes::from(vec![7; 8 << 20])]).await;
                assert!(rest.is_err(), "nobody read it");
            });
        }
        for _ in 0..3 {
            io.sleep(Duration::from_millis(10)).await;
            let (one, other) = pair(&io).await;
            conformance::echo(one, other).await;
        }
        assert_eq!(unread.len(), COUNT);
    });
}

#[test]
#[expect(clippy::disallowed_types, reason = "hands each thread its ends, before anything runs")]
fn shards_wake_each_other() {
    const ROUNDS: usize = 2000;
    let directory = Directory::new("wake");
    let (to_one, from_zero) = mailbox::channel::<usize>(4);
    let (to_zero, from_one) = mailbox::channel::<usize>(4);
    let (sender, receiver) = mpsc::channel();
    sender.send((0, to_one, from_one)).unwrap();
    sender.send((1, to_zero, from_zero)).unwrap();
    let lanes = Arc::new(std::sync::Mutex::new(receiver.into_iter().take(2).collect::<Vec<_>>()));
    let cores = cores(2);
    if cores.len() < 2 {
        return;
    }
    launch(&cores, &directory.0, &budget(), move |index, io| {
        let mut all = lanes.lock().unwrap();
        let place = all.iter().position(|it| it.0 == index).unwrap();
        let (_, mut sender, mut receiver) = all.remove(place);
        async move {
            if index == 0 {
                sender.push(0).unwrap();
                io.wake(1);
            }
            loop {
                let Some(round) = receiver.pop() else {
                    io.woken().await;
                    continue;
                };
                if round >= ROUNDS {
                    break;
                }
                sender.push(round + 1).unwrap();
                io.wake(1 - index);
                if round + 1 >= ROUNDS {
                    break;
                }
            }
        }
    })
    .unwrap();
}

#[test]
fn other_threads_wake_a_shard() {
    let directory = Directory::new("handle");
    let stop = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stop);
    let running = start(&cores(1), &directory.0, &budget(), move |_, io| {
        let seen = Arc::clone(&seen);
        async move {
            while seen.load(Ordering::Acquire) == 0 {
                io.woken().await;
            }
        }
    })
    .unwrap();
    stop.store(1, Ordering::Release);
    running.wake_handles()[0].wake();
    running.join().unwrap();
}

/// Long work stands behind what is ready: of its slices there is at most one in several rounds of other
/// tasks, and the kernel is asked between two.
#[test]
fn who_yields_for_long_runs_seldom_beside_others_and_soon_without() {
    const ROUNDS: usize = 640;
    on_ring("long", |io| async move {
        let slice_count = Rc::new(Cell::new(0));
        let (tasks, count) = (io.clone(), Rc::clone(&slice_count));
        io.spawn(Class::Foreground, async move {
            loop {
                tasks.yield_long().await;
                count.set(count.get() + 1);
            }
        });
        for _ in 0..ROUNDS {
            io.yield_now().await;
        }
        let beside_count = slice_count.get();
        assert!((1..=ROUNDS / 16).contains(&beside_count), "{beside_count}");
        while slice_count.get() < beside_count + ROUNDS {
            io.sleep(Duration::from_millis(1)).await;
        }
    });
}

/// The end of a shard gives up what is under way, and waits for the kernel.
#[test]
fn a_shard_ends_with_operations_under_way() {
    on_ring("end", |io| async move {
        let (one, other) = pair(&io).await;
        let listener = io.listen(ANY_PORT, SocketRules::PLAIN).unwrap();
        let tasks = io.clone();
        io.spawn(Class::Foreground, async move {
            let received = tasks.receive(&other.socket).await;
            panic!("nobody sends, got {:?}", received.map(|it| it.len()));
        });
        let tasks = io.clone();
        io.spawn(Class::Background, async move {
            drop(tasks.accept(&listener).await);
            panic!("nobody connects");
        });
        let tasks = io.clone();
        io.spawn(Class::Foreground, async move {
            tasks.sleep(Duration::from_secs(3600)).await;
            drop(one);
        });
        let file = io.open("file", Open::CreateDirect).await.unwrap();
        let mut block = io.block(1 << 20).unwrap();
        block.append_with(|free| free.len());
        for pos in 0..4 {
            let (tasks, file, range) = (io.clone(), file.clone(), block.disk(0..1 << 20));
            io.spawn(Class::Foreground, async move {
                drop(tasks.write(&file, pos << 20, vec![range], Sync::Durable).await);
            });
        }
        for _ in 0..10 {
            io.yield_now().await;
        }
    });
}

/// Connections may take no descriptor at all: each waits, and files are opened all the same.
#[test]
fn connections_leave_descriptors_to_files() {
    let directory = Directory::new("descriptors");
    let budget = Budget { descriptor_count: 0, ..budget() };
    launch(&cores(1), &directory.0, &budget, |_, io| async move {
        let listener = io.listen(ANY_PORT, SocketRules::PLAIN).unwrap();
        let _waiting = io.connect(listener.local_address().unwrap()).unwrap();
        let served = Rc::new(Cell::new(false));
        let (at_the_door, is_served) = (io.clone(), Rc::clone(&served));
        io.spawn(Class::Foreground, async move {
            let accepted = at_the_door.accept(&listener).await;
            is_served.set(accepted.is_ok());
        });
        for index in 0..100 {
            io.open(&format!("file-{index}"), Open::CreateDirect).await.unwrap();
        }
        assert!(!served.get());
    })
    .unwrap();
}
