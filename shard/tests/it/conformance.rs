//! What every world behind the seam promises: the same scenes for the ring and for the simulation.
//!
//! `ring.rs` plays them on the real world, this file's tests on the simulated one.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use shard::buffer::Block;
use shard::io::{Class, Io, Open, Sync};
use shard::sim::{Ended, SimIo, World};

const BLOCK: usize = 4096;

/// One end of a connection, and the world that it belongs to.
pub(crate) struct Side<I: Io> {
    pub(crate) io: I,
    pub(crate) socket: I::Socket,
}

/// Bytes that are different at every place.
fn pattern(seed: u64, count: usize) -> Vec<u8> {
    let byte = |it: usize| {
        let mixed = (u64::try_from(it).unwrap() ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.to_be_bytes()[0]
    };
    (0..count).map(byte).collect()
}

fn filled(io: &impl Io, bytes: &[u8]) -> Block {
    let mut block = io.block(bytes.len()).expect("within the budget");
    block.append(bytes);
    block
}

async fn read(io: &impl Io, path: &str, how: Open, pos: u64, bytes: usize) -> Vec<u8> {
    let io = io.clone();
    let file = io.open(path, how).await.unwrap();
    let block = io.block(bytes).expect("within the budget");
    let (result, block) = io.read(&file, pos, block).await;
    assert_eq!(result.unwrap(), block.filled());
    block.as_slice().to_vec()
}

pub(crate) async fn files<I: Io>(io: I) {
    direct_files(&io).await;
    sizes(&io).await;
    buffered_files(&io).await;
    names(&io).await;
    many_parts(&io).await;
    let space = io.space().await.unwrap();
    assert!(0 < space.usable_bytes && space.usable_bytes <= space.total_bytes);
}

async fn direct_files(io: &impl Io) {
    let file = io.open("direct", Open::CreateDirect).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 0);
    let first = filled(io, &pattern(1, 2 * BLOCK));
    let second = filled(io, &pattern(2, 10_000));
    let parts = vec![first.disk(0..2 * BLOCK), second.disk(BLOCK..2 * BLOCK)];
    io.write(&file, 4096, parts, Sync::Durable).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 4 * 4096);

    // One part, not synced, over the last block: its padding is zeros.
    io.write(&file, 3 * 4096, vec![second.disk(2 * BLOCK..3 * BLOCK)], Sync::Lazy).await.unwrap();
    io.sync(&file).await.unwrap();

    let mut want = vec![0; BLOCK];
    want.extend(pattern(1, 2 * BLOCK));
    want.extend(&pattern(2, 10_000)[2 * BLOCK..]);
    want.resize(4 * BLOCK, 0);
    assert_eq!(read(io, "direct", Open::Direct, 0, 64 << 10).await, want);
    assert_eq!(read(io, "direct", Open::Direct, 8192, BLOCK).await, want[8192..12_288]);
    assert_eq!(read(io, "direct", Open::Direct, 65_536, BLOCK).await, []);

    // A read goes on where the block's fill ends.
    let file = io.open("direct", Open::Direct).await.unwrap();
    let block = filled(io, &want[..BLOCK]);
    assert_eq!(block.room(), 0);
    let mut block = io.block(16 << 10).unwrap();
    block.append(&want[..BLOCK]);
    let (result, block) = io.read(&file, 4096, block).await;
    assert_eq!(result.unwrap(), 3 * BLOCK);
    assert_eq!(block.as_slice(), want);
}

async fn sizes(io: &impl Io) {
    let file = io.open("sizes", Open::CreateDirect).await.unwrap();
    io.allocate(&file, 0, 64 << 10).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 64 << 10);
    assert_eq!(read(io, "sizes", Open::Direct, 0, 64 << 10).await, vec![0; 64 << 10]);
    let block = filled(io, &pattern(3, BLOCK));
    io.write(&file, 8192, vec![block.disk(0..BLOCK)], Sync::Durable).await.unwrap();
    io.truncate(&file, 8192 + 100).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 8292);
    assert_eq!(read(io, "sizes", Open::Direct, 8192, BLOCK).await, pattern(3, 100));
    io.truncate(&file, 12_288).await.unwrap();
    let mut want = pattern(3, 100);
    want.resize(BLOCK, 0);
    assert_eq!(read(io, "sizes", Open::Direct, 8192, BLOCK).await, want);
    // Space within the file changes nothing of it.
    io.allocate(&file, 0, 4096).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 12_288);
}

async fn buffered_files(io: &impl Io) {
    let file = io.open("buffered", Open::CreateBuffered).await.unwrap();
    let bytes = pattern(4, 100_001);
    io.write_bytes(&file, 0, Bytes::copy_from_slice(&bytes[..77])).await.unwrap();
    io.write_bytes(&file, 77, Bytes::copy_from_slice(&bytes[77..])).await.unwrap();
    io.sync(&file).await.unwrap();
    assert_eq!(read(io, "buffered", Open::Read, 0, 256 << 10).await, bytes);
    assert_eq!(read(io, "buffered", Open::Read, 99_999, BLOCK).await, bytes[99_999..]);
    // Opened again, it is empty again; opened to be read, it stays.
    drop(io.open("buffered", Open::Read).await.unwrap());
    let file = io.open("buffered", Open::CreateBuffered).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 0);
}

async fn names(io: &impl Io) {
    let missing = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::NotFound);
    io.make_dir("names").await.unwrap();
    io.make_dir("names").await.unwrap();
    io.make_dir("names/inner").await.unwrap();
    drop(io.open("names/b", Open::CreateDirect).await.unwrap());
    drop(io.open("names/a", Open::CreateBuffered).await.unwrap());
    assert_eq!(io.list("names").unwrap(), ["a", "b", "inner"]);
    io.rename("names/b", "names/inner/c").await.unwrap();
    // A name that is taken is replaced.
    io.rename("names/a", "names/inner/c").await.unwrap();
    io.sync_dir("names/inner").await.unwrap();
    io.sync_dir("names").await.unwrap();
    io.sync_dir(".").await.unwrap();
    assert_eq!(io.list("names").unwrap(), ["inner"]);
    assert_eq!(io.list("names/inner").unwrap(), ["c"]);
    assert!(io.remove_dir("names/inner").await.is_err());
    io.unlink("names/inner/c").await.unwrap();
    io.remove_dir("names/inner").await.unwrap();
    missing(io.unlink("names/inner/c").await.unwrap_err());
    missing(io.rename("names/none", "names/other").await.unwrap_err());
    missing(io.open("names/none", Open::Direct).await.map(drop).unwrap_err());
    missing(io.open("names/none", Open::Read).await.map(drop).unwrap_err());
    missing(io.open("none/none", Open::CreateDirect).await.map(drop).unwrap_err());
    missing(io.list("none").unwrap_err());
    // A file that is open outlives its name.
    let file = io.open("names/gone", Open::CreateDirect).await.unwrap();
    io.unlink("names/gone").await.unwrap();
    let block = filled(io, &pattern(5, BLOCK));
    io.write(&file, 0, vec![block.disk(0..BLOCK)], Sync::Durable).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 4096);
}

async fn many_parts(io: &impl Io) {
    let file = io.open("parts", Open::CreateDirect).await.unwrap();
    let bytes = pattern(6, BLOCK);
    let block = filled(io, &bytes);
    let parts = (0..1500).map(|_| block.disk(0..BLOCK)).collect();
    io.write(&file, 0, parts, Sync::Durable).await.unwrap();
    assert_eq!(io.file_bytes(&file).await.unwrap(), 1500 * 4096);
    assert_eq!(read(io, "parts", Open::Direct, 1499 * 4096, BLOCK).await, bytes);
}

/// Receives until `bytes` have come, or the end.
async fn receive<I: Io>(side: &Side<I>, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < bytes {
        let received = side.io.receive(&side.socket).await.unwrap();
        if received.is_empty() {
            break;
        }
        all.extend_from_slice(&received);
    }
    all
}

pub(crate) async fn echo<I: Io>(one: Side<I>, other: Side<I>) {
    one.io.spawn(Class::Foreground, async move {
        loop {
            let received = other.io.receive(&other.socket).await.unwrap();
            if received.is_empty() {
                return;
            }
            let bytes = Bytes::copy_from_slice(&received);
            drop(received);
            other.io.send(&other.socket, vec![bytes]).await.unwrap();
        }
    });
    assert!(!one.io.peer(&one.socket).is_empty());
    for bytes in [1, 100, 1000, 10_000] {
        let sent = pattern(7, bytes);
        one.io.send(&one.socket, vec![Bytes::copy_from_slice(&sent)]).await.unwrap();
        assert_eq!(receive(&one, bytes).await, sent);
    }
    one.io
        .send(&one.socket, vec![Bytes::new(), Bytes::from_static(b"x"), Bytes::new()])
        .await
        .unwrap();
    assert_eq!(receive(&one, 1).await, b"x");
}

/// More than the socket and the ring hold, in more parts than a request may have.
pub(crate) async fn much<I: Io>(one: Side<I>, other: Side<I>) {
    const PART: usize = 4321;
    const PARTS: usize = 3000;
    let bytes = Bytes::from(pattern(8, PART * PARTS));
    let parts = (0..PARTS).map(|it| bytes.slice(it * PART..(it + 1) * PART)).collect();
    let is_sent = Rc::new(Cell::new(false));
    let sent = Rc::clone(&is_sent);
    one.io.clone().spawn(Class::Foreground, async move {
        one.io.send(&one.socket, parts).await.unwrap();
        sent.set(true);
    });
    // Nobody receives: the sender must stop. Then a first look, and a pause again.
    other.io.sleep(Duration::from_millis(50)).await;
    assert!(!is_sent.get());
    let mut received = receive(&other, 1).await;
    other.io.sleep(Duration::from_millis(50)).await;
    assert!(!is_sent.get());
    received.extend(receive(&other, usize::MAX).await);
    assert!(is_sent.get());
    assert!(received == bytes, "what came is not what was sent");
}

/// The end of one side is the end of the other's bytes.
pub(crate) async fn close<I: Io>(one: Side<I>, other: Side<I>) {
    one.io.send(&one.socket, vec![Bytes::from_static(b"bye")]).await.unwrap();
    drop(one);
    assert_eq!(receive(&other, 10).await, b"bye");
    for _ in 0..2 {
        assert!(other.io.receive(&other.socket).await.unwrap().is_empty());
    }
}

/// A receive that waits ends; nothing can be sent any more.
pub(crate) async fn shutdown<I: Io>(one: Side<I>, other: Side<I>) {
    let has_ended = Rc::new(Cell::new(false));
    let (io, socket, ended) = (one.io.clone(), one.socket.clone(), Rc::clone(&has_ended));
    one.io.spawn(Class::Foreground, async move {
        if let Ok(received) = io.receive(&socket).await {
            assert!(received.is_empty());
        }
        ended.set(true);
    });
    one.io.sleep(Duration::from_millis(10)).await;
    assert!(!has_ended.get());
    one.io.shutdown(&one.socket);
    one.io.shutdown(&one.socket);
    assert!(one.io.send(&one.socket, vec![Bytes::from_static(b"x")]).await.is_err());
    if let Ok(received) = other.io.receive(&other.socket).await {
        assert!(received.is_empty());
    }
    one.io.sleep(Duration::from_millis(10)).await;
    assert!(has_ended.get());
}

pub(crate) async fn file_sending<I: Io>(one: Side<I>, other: Side<I>) {
    const BYTES: usize = 3_000_000;
    let bytes = pattern(9, BYTES);
    let file = one.io.open("sealed", Open::CreateBuffered).await.unwrap();
    one.io.write_bytes(&file, 0, Bytes::copy_from_slice(&bytes)).await.unwrap();
    one.io.sync(&file).await.unwrap();
    let ranges = [0..10, 0..BYTES, 4095..4097, 1_000_001..2_999_999, 70_000..70_000];
    let io = one.io.clone();
    let all = ranges.clone();
    let stored = Bytes::from(bytes.clone());
    one.io.spawn(Class::Foreground, async move {
        let file = io.open("sealed", Open::Read).await.unwrap();
        for range in all {
            let (pos, end) =
                (u64::try_from(range.start).unwrap(), u64::try_from(range.end).unwrap());
            let sent = io.send_file(&one.socket, &file, pos, end - pos).await.unwrap();
            assert!(sent <= end - pos);
            // What is not in the page cache is left to the caller.
            let unsent = range.start + usize::try_from(sent).unwrap();
            io.send(&one.socket, vec![stored.slice(unsent..range.end)]).await.unwrap();
        }
        let end = u64::try_from(BYTES).unwrap();
        assert!(io.send_file(&one.socket, &file, end - 1, 2).await.is_err());
    });
    for range in ranges {
        let received = receive_exactly(&other, range.len()).await;
        assert!(received == bytes[range.clone()], "{range:?} of the file came changed");
    }
}

thread_local! {
    /// Bytes that came with earlier ones.
    static REST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

async fn receive_exactly<I: Io>(side: &Side<I>, bytes: usize) -> Vec<u8> {
    let mut all = REST.take();
    let missing = bytes.saturating_sub(all.len());
    all.extend(receive(side, missing).await);
    assert!(bytes <= all.len());
    REST.set(all.split_off(bytes));
    all
}

/// Futures that are dropped before they are ready lose nothing, and free nothing too early.
pub(crate) async fn dropped_futures<I: Io>(one: Side<I>, other: Side<I>) {
    let io = &one.io;
    for _ in 0..3 {
        poll_once(other.io.receive(&other.socket)).await;
    }
    io.send(&one.socket, vec![Bytes::from_static(b"still here")]).await.unwrap();
    assert_eq!(receive(&other, 10).await, b"still here");

    let file = io.open("dropped", Open::CreateDirect).await.unwrap();
    let block = filled(io, &pattern(10, 64 << 10));
    poll_once(io.write(&file, 0, vec![block.disk(0..64 << 10)], Sync::Durable)).await;
    drop(block);
    // What takes its place would change the file, if the write did not own its memory.
    let taken = vec![0xee; 64 << 10];
    let others: Vec<Block> = (0..8).map(|_| filled(io, &taken)).collect();
    poll_once(io.read(&file, 0, io.block(64 << 10).expect("within the budget"))).await;
    poll_once(io.open("never seen", Open::CreateDirect)).await;
    poll_once(io.sleep(Duration::from_secs(3600))).await;
    io.sleep(Duration::from_millis(50)).await;
    let found = read(io, "dropped", Open::Direct, 0, 64 << 10).await;
    assert!(found.is_empty() || found == pattern(10, 64 << 10), "the write lost its memory");
    assert!(others.iter().all(|it| it.as_slice() == taken), "a read wrote to others");
}

async fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending(), "the kernel takes its time");
        Poll::Ready(())
    })
    .await;
}

pub(crate) async fn time_and_tasks<I: Io>(io: I) {
    let order = Rc::new(RefCell::new(Vec::new()));
    let begin = io.now();
    for ms in [30, 10, 20] {
        let (io, order) = (io.clone(), Rc::clone(&order));
        io.clone().spawn(Class::Foreground, async move {
            io.sleep(Duration::from_millis(ms)).await;
            order.borrow_mut().push(ms);
        });
    }
    io.sleep(Duration::from_millis(40)).await;
    assert_eq!(order.take(), [10, 20, 30]);
    assert!(io.now().since(begin) >= Duration::from_millis(40));
    io.sleep(Duration::ZERO).await;
    assert!(io.wall().get() > 0);
    assert_ne!(io.random(), io.random());

    // A task that only yields lets others run, background ones too.
    let is_done = Rc::new(Cell::new(false));
    let (inner, done) = (io.clone(), Rc::clone(&is_done));
    io.spawn(Class::Background, async move {
        inner.yield_now().await;
        inner.yield_now().await;
        done.set(true);
    });
    for _ in 0..10_000 {
        if is_done.get() {
            return;
        }
        io.yield_now().await;
    }
    panic!("the background task never ran");
}

fn on_sim<F: Future<Output = ()> + 'static>(scene: impl Fn(SimIo) -> F) {
    for seed in 0..10 {
        let mut world = World::new(seed);
        assert_eq!(world.node(1, 32 << 20), 0);
        play(&mut world, &scene);
    }
}

fn play<F: Future<Output = ()> + 'static>(world: &mut World, scene: &impl Fn(SimIo) -> F) {
    let io = world.io(0, 0);
    let is_done = Rc::new(Cell::new(false));
    let (scene, done) = (scene(io.clone()), Rc::clone(&is_done));
    io.spawn(Class::Foreground, async move {
        scene.await;
        done.set(true);
    });
    assert_eq!(world.run(Duration::from_secs(3600), || is_done.get()), Ended::Done);
}

fn on_sim_pair<F: Future<Output = ()> + 'static>(
    scene: impl Fn(Side<SimIo>, Side<SimIo>) -> F + Copy + 'static,
) {
    for seed in 0..3 {
        let mut world = World::new(seed);
        assert_eq!(world.node(1, 32 << 20), 0);
        let listener = Rc::new(world.listen(0, 0));
        let client = world.outside();
        play(&mut world, &move |io: SimIo| {
            let (client, listener) = (client.clone(), Rc::clone(&listener));
            async move {
                let socket = client.connect(0).await.expect("the node listens");
                let other = Side { socket, io: client };
                let socket = io.accept(&listener).await.expect("the listener is open");
                scene(Side { io, socket }, other).await;
            }
        });
    }
}

#[test]
fn simulated_files() {
    on_sim(files);
}

#[test]
fn simulated_time_and_tasks() {
    on_sim(time_and_tasks);
}

#[test]
fn simulated_echo() {
    on_sim_pair(echo);
}

#[test]
fn simulated_much() {
    on_sim_pair(much);
}

#[test]
fn simulated_close() {
    on_sim_pair(close);
}

#[test]
fn simulated_shutdown() {
    on_sim_pair(shutdown);
}

#[test]
fn simulated_file_sending() {
    on_sim_pair(file_sending);
}

#[test]
fn simulated_dropped_futures() {
    on_sim_pair(dropped_futures);
}
