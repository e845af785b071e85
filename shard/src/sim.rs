//! A whole world on one thread from one seed: nodes with shards and disks, clients, a network, time.
//!
//! It implements the seam `io.rs`, so that the broker's own code runs in it. It knows no Kafka but in
//! `sim/client.rs` and what builds on that. A world never reads a real clock, file or socket: the same
//! seed gives the same story, hash for hash.
//!
//! Order of use: `World::new`, `node`, `io` for each shard and spawn its tasks, `outside` for clients,
//! `run`; `crash` ends a node's tasks and leaves what its disk kept, and the node is started again.

pub mod admin;
pub mod broker;
pub mod chance;
pub mod checker;
pub mod clock;
pub mod consumer;
pub mod content;
pub mod damage;
pub mod disk;
pub mod executor;
pub mod failure;
pub mod history;
pub mod member;
pub mod names;
pub mod net;
pub mod pick;
pub mod plan;
pub mod policy;
pub mod producer;
pub mod recorder;
pub mod roll;
pub mod scenario;
pub mod session;
pub mod shrink;
pub mod story;
pub mod wire;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::id::Timestamp;

use crate::buffer::arena::Arena;
use crate::buffer::{Block, DiskRange};
use crate::io::{Class, Io, Nanos, Open, Received, Space, Sync};
use crate::limits::{BLOCK_BYTES, FILES_OPEN_MAX};
use crate::sim::chance::Chance;
use crate::sim::clock::Clock;
use crate::sim::content::Kind;
use crate::sim::disk::{Crash, Disk, Faults, Outcome, Request};
use crate::sim::executor::{Due, Event, Executor, Owner, Turn};
use crate::sim::names::Ino;
use crate::sim::net::{End, Net, Progress, Weather};
use crate::sim::story::{Listener, Story};

/// The wall clock of a node that has not been moved, when the world begins.
const WALL_START_MS: i64 = 1_700_000_000_000;
/// One in so many ranges of a file is not in the page cache to its end.
const PAGE_GONE_ODDS: u64 = 8;
/// Turns in which nothing happens outside of the tasks: no operation, no connection, no client.
const SPIN_TURNS_MAX: u64 = 100_000;
/// Small, so that scenarios meet its end.
const WARM_BYTES: usize = 8 << 20;
/// What waking another shard takes.
const BELL_NANOS: u64 = 3_000;

struct Shard {
    chance: Chance,
    arena: Arena,
    is_woken: bool,
    waker: Option<Waker>,
}

struct Node {
    chance: Chance,
    disk: Disk,
    shards: Vec<Shard>,
    arena_bytes: usize,
    clock: Clock,
    clock_set_at: Nanos,
}

struct State {
    executor: Executor,
    nodes: RefCell<Vec<Node>>,
    net: RefCell<Net>,
    story: RefCell<Story>,
    outside: RefCell<Chance>,
    /// When a fault last began or ended.
    changed_at: Cell<Nanos>,
    /// A question without an answer, though no fault was active.
    unanswered: RefCell<Option<String>>,
}

/// What came of running a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was waited for came.
    Done,
    /// The time is over.
    Late,
    /// No task can ever run again.
    Idle,
    /// Tasks run on and on, and nothing comes of it.
    Spinning,
}

pub struct World {
    state: Rc<State>,
    idle: Duration,
}

impl World {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let state = State {
            executor: Executor::new(chance.fork()),
            nodes: RefCell::new(Vec::new()),
            net: RefCell::new(Net::new(chance.fork())),
            story: RefCell::new(Story::default()),
            outside: RefCell::new(chance.fork()),
            changed_at: Cell::default(),
            unanswered: RefCell::default(),
        };
        Self { state: Rc::new(state), idle: Duration::ZERO }
    }

    /// Adds a node with an empty disk. `arena_bytes` is the block memory of each shard.
    #[must_use]
    pub fn node(&mut self, shard_count: usize, arena_bytes: usize) -> usize {
        let mut chance = self.state.outside.borrow_mut().fork();
        let disk = Disk::new(chance.fork());
        let shards = (0..shard_count).map(|_| Shard::new(&mut chance, arena_bytes)).collect();
        let mut nodes = self.state.nodes.borrow_mut();
        let (clock, clock_set_at) = (Clock::default(), self.now());
        nodes.push(Node { chance, disk, shards, arena_bytes, clock, clock_set_at });
        nodes.len() - 1
    }

    #[must_use]
    pub fn io(&self, node: usize, shard: usize) -> SimIo {
        SimIo { state: Rc::clone(&self.state), place: Place::Shard { node, shard } }
    }

    /// For clients: it has time, tasks, chance and sockets, but no disk.
    #[must_use]
    pub fn outside(&self) -> SimIo {
        SimIo { state: Rc::clone(&self.state), place: Place::Outside }
    }

    /// The listener of a shard, which clients may connect to from now on.
    #[must_use]
    pub fn listen(&self, node: usize, shard: usize) -> SimListener {
        self.state.net.borrow_mut().listen(node, shard);
        SimListener { node, shard }
    }

    /// Runs until `is_done` says so, which is asked after every turn, or for `limit`.
    pub fn run(&mut self, limit: Duration, mut is_done: impl FnMut() -> bool) -> Ended {
        let end = self.now().plus(limit);
        let mut seen = (0, 0);
        while !is_done() {
            if self.now() >= end {
                return Ended::Late;
            }
            let lines = self.state.story.borrow().line_count();
            let turns = self.state.executor.turn_count();
            if seen.0 != lines {
                seen = (lines, turns);
            } else if turns > seen.1 + SPIN_TURNS_MAX {
                return Ended::Spinning;
            }
            let (began, is_idle) = (self.now(), self.is_idle());
            let turn = self.state.executor.turn();
            if is_idle {
                self.idle += self.now().since(began);
            }
            match turn {
                Turn::Ran => {}
                Turn::Idle => return Ended::Idle,
                Turn::Event(Event::Disk { node, operation }) => {
                    self.state.nodes.borrow_mut()[node].disk.finish(operation);
                }
                Turn::Event(Event::Bell { node, shard }) => {
                    let mut nodes = self.state.nodes.borrow_mut();
                    nodes[node].shards.get_mut(shard).into_iter().for_each(Shard::ring);
                }
            }
        }
        Ended::Done
    }

    /// Ends a node's process. Its disk keeps what it keeps; `io` and `listen` begin anew.
    pub fn crash(&mut self, node: usize, crash: Crash) {
        let now = self.now();
        self.state.changed_at.set(now);
        self.state.tell([1, wide(node), 0], || format!("node {node}: crash, {crash:?}"));
        self.state.net.borrow_mut().crash(now, node);
        self.state.executor.end(Owner::Node(node));
        let mut nodes = self.state.nodes.borrow_mut();
        let node = &mut nodes[node];
        node.disk.crash(crash);
        for shard in &mut node.shards {
            *shard = Shard::new(&mut node.chance, node.arena_bytes);
        }
    }

    /// The node comes back with another number of shards. Only while it is down.
    pub fn resize(&mut self, node: usize, shard_count: usize) {
        assert_eq!(self.state.executor.task_count(Owner::Node(node)), 0, "the node runs");
        let node = &mut self.state.nodes.borrow_mut()[node];
        node.shards =
            (0..shard_count).map(|_| Shard::new(&mut node.chance, node.arena_bytes)).collect();
    }

    pub fn set_faults(&mut self, node: usize, faults: Faults) {
        self.state.changed_at.set(self.now());
        self.state.tell([2, wide(node), 0], || format!("node {node}: {faults:?}"));
        self.state.nodes.borrow_mut()[node].disk.set_faults(faults);
    }

    /// The node's disk has an end of inodes from now on, and says so.
    pub fn count_files(&mut self, node: usize) {
        self.state.tell([2, wide(node), 1], || format!("node {node}: inodes are counted"));
        self.state.nodes.borrow_mut()[node].disk.count_files();
    }

    /// What the node's disk says that it holds. Before its first start.
    pub fn set_disk_bytes(&mut self, node: usize, total_bytes: u64) {
        self.state.nodes.borrow_mut()[node].disk.set_total_bytes(total_bytes);
    }

    pub fn set_weather(&mut self, weather: Weather) {
        self.state.changed_at.set(self.now());
        self.state.tell([3, weather.cuts, 0], || format!("network: {weather:?}"));
        self.state.net.borrow_mut().set_weather(weather);
    }

    /// Sets a node's wall clock right or wrong.
    pub fn set_clock(&mut self, node: usize, clock: Clock) {
        self.state.tell([4, wide(node), 0], || format!("node {node}: {clock:?}"));
        let now = self.now();
        self.state.changed_at.set(now);
        let node = &mut self.state.nodes.borrow_mut()[node];
        (node.clock, node.clock_set_at) = (clock, now);
    }

    /// For who damages what a node has stored.
    pub fn with_disk<T>(&self, node: usize, task: impl FnOnce(&mut Disk) -> T) -> T {
        task(&mut self.state.nodes.borrow_mut()[node].disk)
    }

    /// Places for a crash that the node's disk has passed.
    #[must_use]
    pub fn step_count(&self, node: usize) -> u64 {
        self.steps(node).count()
    }

    /// The same count, to be asked while the world runs.
    #[must_use]
    pub fn steps(&self, node: usize) -> Steps {
        Steps { state: Rc::clone(&self.state), node }
    }

    /// Tasks of a node that have not ended.
    #[must_use]
    pub fn task_count(&self, node: usize) -> usize {
        self.state.executor.task_count(Owner::Node(node))
    }

    #[must_use]
    pub fn now(&self) -> Nanos {
        self.state.executor.now()
    }

    /// Time in which no task was ready and no disk had an operation: only timers and answers under way
    /// were waited for.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }

    fn is_idle(&self) -> bool {
        !self.state.executor.is_ready()
            && self.state.nodes.borrow().iter().all(|it| it.disk.is_idle())
    }

    #[must_use]
    pub fn story_hash(&self) -> u64 {
        self.state.story.borrow().hash()
    }

    /// Gives every line of the story from now on to `listener`.
    pub fn tell_to(&mut self, listener: Listener) {
        self.state.story.borrow_mut().listen(listener);
    }
}

/// Counts the places for a crash that a node's disk has passed.
pub struct Steps {
    state: Rc<State>,
    node: usize,
}

impl Steps {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.nodes.borrow()[self.node].disk.step_count()
    }

    /// How often a checkpoint began to be stored, got its name, or was durable.
    #[must_use]
    pub fn checkpoint_count(&self) -> u64 {
        self.state.nodes.borrow()[self.node].disk.checkpoint_count()
    }
}

impl Drop for World {
    /// Tasks hold their world, so it ends them. Not if one of them has panicked: a second panic, of what
    /// it left half done, would hide the first, and end all other tests.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let node_count = self.state.nodes.borrow().len();
        for node in 0..node_count {
            self.state.executor.end(Owner::Node(node));
        }
        self.state.executor.end(Owner::Outside);
    }
}

impl Shard {
    fn new(chance: &mut Chance, arena_bytes: usize) -> Self {
        Self { chance: chance.fork(), arena: Arena::new(arena_bytes), is_woken: false, waker: None }
    }

    fn ring(&mut self) {
        self.is_woken = true;
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn tell(&self, numbers: [u64; 3], line: impl FnOnce() -> String) {
        self.story.borrow_mut().tell(self.executor.now(), numbers, line);
    }

    /// Whether no fault was active since then.
    fn is_calm_since(&self, then: Nanos) -> bool {
        let is_sound = |node: &Node| !node.disk.has_faults() && node.clock == Clock::default();
        self.changed_at.get() <= then
            && self.net.borrow().weather() == Weather::fair()
            && self.nodes.borrow().iter().all(is_sound)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Shard { node: usize, shard: usize },
}

impl Place {
    fn shard(self) -> (usize, usize) {
        match self {
            Self::Shard { node, shard } => (node, shard),
            Self::Outside => panic!("a client has no disk, no memory budget and no listener"),
        }
    }
}

/// One shard's, or the clients', access to their world.
#[derive(Clone)]
pub struct SimIo {
    state: Rc<State>,
    place: Place,
}

/// An open file of a node.
#[derive(Clone, Copy, Debug)]
pub struct SimFile {
    ino: Ino,
    how: Open,
}

pub struct SimListener {
    node: usize,
    shard: usize,
}

/// One end of a connection.
#[derive(Clone)]
pub struct SimSocket(Rc<OpenEnd>);

struct OpenEnd {
    state: Rc<State>,
    end: End,
}

impl Drop for OpenEnd {
    fn drop(&mut self) {
        self.state.net.borrow_mut().close(self.end);
    }
}

pub struct SimReceived(Bytes);

impl Deref for SimReceived {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Received for SimReceived {}

impl SimIo {
    /// A connection to some shard of the node.
    pub async fn connect(&self, node: usize) -> io::Result<SimSocket> {
        let wait = self.state.outside.borrow_mut().around(50_000);
        self.sleep(Duration::from_nanos(wait)).await;
        let end = self.state.net.borrow_mut().connect(node)?;
        self.tell([5, end.connection(), 0], || format!("connection {}: opened", end.connection()));
        Ok(self.socket(end))
    }

    /// Adds to the world's story.
    pub fn tell(&self, numbers: [u64; 3], line: impl FnOnce() -> String) {
        self.state.tell(numbers, line);
    }

    /// A client has given up the wait for an answer. It may only if something was wrong meanwhile.
    pub fn on_unanswered(&self, question: &str, asked_at: Nanos) {
        if self.state.is_calm_since(asked_at) {
            let waited = self.now().since(asked_at);
            let what = format!("no answer to {question} within {waited:?}, though all was well");
            self.state.unanswered.borrow_mut().get_or_insert(what);
        }
    }

    /// The first question that was not answered although it should have been.
    #[must_use]
    pub fn unanswered(&self) -> Option<String> {
        self.state.unanswered.borrow().clone()
    }

    #[must_use]
    pub fn has_unanswered(&self) -> bool {
        self.state.unanswered.borrow().is_some()
    }

    fn socket(&self, end: End) -> SimSocket {
        SimSocket(Rc::new(OpenEnd { state: Rc::clone(&self.state), end }))
    }

    async fn perform(&self, request: Request) -> io::Result<Outcome> {
        let (node, _) = self.place.shard();
        let (numbers, line) = request.summary();
        self.tell(numbers, || format!("node {node}: {line}"));
        let (operation, nanos) = self.state.nodes.borrow_mut()[node].disk.begin(request);
        let due = Due::Event(Event::Disk { node, operation });
        self.state.executor.schedule(Nanos::new(self.now().get() + nanos), due);
        let outcome = poll_fn(|context| {
            let outcome = self.state.nodes.borrow_mut()[node].disk.take(operation, context.waker());
            outcome.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        if let Err(error) = &outcome {
            self.tell([30, numbers[0], 0], || format!("node {node}: {line}: {error}"));
        }
        outcome
    }

    async fn perform_unit(&self, request: Request) -> io::Result<()> {
        self.perform(request).await.map(|outcome| assert!(matches!(outcome, Outcome::Done)))
    }

    /// Waits for the network: `step` is asked again at the time it answered, or when its waker is called.
    async fn wait<T>(&self, mut step: impl FnMut(&mut Net, Nanos, &Waker) -> Progress<T>) -> T {
        poll_fn(|context| {
            loop {
                let now = self.now();
                match step(&mut self.state.net.borrow_mut(), now, context.waker()) {
                    Progress::Done(done) => return Poll::Ready(done),
                    Progress::Blocked => return Poll::Pending,
                    Progress::At(at) if at > now => {
                        let due = Due::Wake(context.waker().clone());
                        self.state.executor.schedule(at, due);
                        return Poll::Pending;
                    }
                    Progress::At(_) => {}
                }
            }
        })
        .await
    }

    /// How many of the first `bytes` of a range of a file are in the page cache.
    fn cached_bytes(&self, bytes: usize) -> usize {
        let mut outside = self.state.outside.borrow_mut();
        let is_gone = bytes > 0 && outside.one_in(PAGE_GONE_ODDS);
        if is_gone { outside.index(bytes) } else { bytes }
    }

    /// The page cache forgets a part of a file.
    fn evict(&self, ino: Ino, pos: u64, end: u64) {
        let (node, _) = self.place.shard();
        self.state.nodes.borrow_mut()[node].disk.evict(ino, pos, end);
    }

    async fn send_all(&self, socket: &SimSocket, mut parts: Vec<Bytes>) -> io::Result<()> {
        for rest in &mut parts {
            self.wait(|net, now, waker| net.send(now, socket.0.end, rest, waker)).await?;
        }
        Ok(())
    }
}

impl Io for SimIo {
    type File = SimFile;
    type Socket = SimSocket;
    type Listener = SimListener;
    type Received = SimReceived;

    fn now(&self) -> Nanos {
        self.state.executor.look()
    }

    fn stopwatch(&self) -> Nanos {
        self.state.executor.now() // A turn takes no time.
    }

    fn wall(&self) -> Timestamp {
        let now = self.now();
        let millis = match self.place {
            Place::Outside => Clock::default().millis(now, now),
            Place::Shard { node, .. } => {
                let node = &self.state.nodes.borrow()[node];
                node.clock.millis(node.clock_set_at, now)
            }
        };
        Timestamp::new(WALL_START_MS + millis)
    }

    fn random(&self) -> u64 {
        match self.place {
            Place::Outside => self.state.outside.borrow_mut().next(),
            Place::Shard { node, shard } => {
                self.state.nodes.borrow_mut()[node].shards[shard].chance.next()
            }
        }
    }

    fn spawn(&self, _class: Class, task: impl Future<Output = ()> + 'static) {
        let owner = match self.place {
            Place::Outside => Owner::Outside,
            Place::Shard { node, .. } => Owner::Node(node),
        };
        self.state.executor.spawn(owner, task);
    }

    async fn sleep(&self, duration: Duration) {
        self.state.executor.sleep_until(self.now().plus(duration)).await;
    }

    async fn yield_now(&self) {
        let mut is_polled = false;
        poll_fn(|context| {
            if is_polled {
                return Poll::Ready(());
            }
            is_polled = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn yield_long(&self) {
        self.yield_now().await;
    }

    fn block(&self, bytes: usize) -> Option<Block> {
        let (node, shard) = self.place.shard();
        self.state.nodes.borrow_mut()[node].shards[shard].arena.allocate(bytes)
    }

    fn warm_block(&self, bytes: usize) -> Option<Block> {
        let (node, shard) = self.place.shard();
        let arena = &mut self.state.nodes.borrow_mut()[node].shards[shard].arena;
        arena.allocate_within(bytes, WARM_BYTES)
    }

    fn trim_heap(&self) {}

    fn block_bytes_max(&self) -> usize {
        self.state.nodes.borrow()[self.place.shard().0].arena_bytes
    }

    fn files_max(&self) -> usize {
        FILES_OPEN_MAX
    }

    async fn open(&self, path: &str, how: Open) -> io::Result<SimFile> {
        match self.perform(Request::Open { path: path.to_owned(), how }).await? {
            Outcome::File(ino) => Ok(SimFile { ino, how }),
            other => panic!("an open was answered with {other:?}"),
        }
    }

    async fn read(&self, file: &SimFile, pos: u64, mut block: Block) -> (io::Result<usize>, Block) {
        if matches!(file.how, Open::ReadDirect | Open::Direct | Open::CreateDirect) {
            assert!(pos.is_multiple_of(wide(BLOCK_BYTES)), "direct I/O reads whole blocks");
            assert!(block.filled().is_multiple_of(BLOCK_BYTES), "direct I/O reads whole blocks");
        }
        assert!(file.how != Open::CreateBuffered, "the file is open for writing only");
        let kind = if file.how == Open::Read { Kind::Buffered } else { Kind::Direct };
        let request = Request::Read { ino: file.ino, pos, bytes: block.room(), kind };
        match self.perform(request).await {
            Ok(Outcome::Data(data)) => {
                block.append(&data);
                (Ok(data.len()), block)
            }
            Ok(other) => panic!("a read was answered with {other:?}"),
            Err(error) => (Err(error), block),
        }
    }

    async fn write(
        &self,
        file: &SimFile,
        pos: u64,
        parts: Vec<DiskRange>,
        sync: Sync,
    ) -> io::Result<()> {
        assert!(matches!(file.how, Open::Direct | Open::CreateDirect), "the file is read only");
        let mut data = Vec::with_capacity(parts.iter().map(DiskRange::len).sum());
        parts.iter().for_each(|part| data.extend_from_slice(&part.copy_out()));
        let kind = Kind::Direct;
        self.perform_unit(Request::Write { ino: file.ino, pos, data, kind, sync }).await
    }

    async fn write_bytes(&self, file: &SimFile, pos: u64, bytes: Bytes) -> io::Result<()> {
        assert!(file.how == Open::CreateBuffered, "the file is not for buffered writes");
        let (data, kind, sync) = (bytes.to_vec(), Kind::Buffered, Sync::Lazy);
        self.perform_unit(Request::Write { ino: file.ino, pos, data, kind, sync }).await
    }

    async fn allocate(&self, file: &SimFile, pos: u64, bytes: u64) -> io::Result<()> {
        self.perform_unit(Request::Allocate { ino: file.ino, end: pos + bytes }).await
    }

    async fn truncate(&self, file: &SimFile, bytes: u64) -> io::Result<()> {
        self.perform_unit(Request::Truncate { ino: file.ino, bytes }).await
    }

    async fn sync(&self, file: &SimFile) -> io::Result<()> {
        self.perform_unit(Request::Sync { ino: file.ino }).await
    }

    async fn file_bytes(&self, file: &SimFile) -> io::Result<u64> {
        match self.perform(Request::FileBytes { ino: file.ino }).await? {
            Outcome::Bytes(bytes) => Ok(bytes),
            other => panic!("a size was answered with {other:?}"),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.perform_unit(Request::Rename { from: from.to_owned(), to: to.to_owned() }).await
    }

    async fn unlink(&self, path: &str) -> io::Result<()> {
        self.perform_unit(Request::Unlink { path: path.to_owned() }).await
    }

    async fn make_dir(&self, path: &str) -> io::Result<()> {
        self.perform_unit(Request::MakeDir { path: path.to_owned() }).await
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.perform_unit(Request::RemoveDir { path: path.to_owned() }).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.perform_unit(Request::SyncDir { path: path.to_owned() }).await
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.state.nodes.borrow()[self.place.shard().0].disk.list(path)
    }

    async fn space(&self) -> io::Result<Space> {
        Ok(self.state.nodes.borrow()[self.place.shard().0].disk.space())
    }

    async fn accept(&self, listener: &SimListener) -> io::Result<SimSocket> {
        let SimListener { node, shard } = *listener;
        let end = self.wait(|net, _, waker| net.accept(node, shard, waker)).await;
        let connection = end.connection();
        self.tell([6, connection, 0], || format!("connection {connection}: shard {shard} accepts"));
        Ok(self.socket(end))
    }

    async fn receive(&self, socket: &SimSocket) -> io::Result<SimReceived> {
        let end = socket.0.end;
        let received = self.wait(|net, now, waker| net.receive(now, end, waker)).await;
        received.map(SimReceived)
    }

    async fn send(&self, socket: &SimSocket, parts: Vec<Bytes>) -> io::Result<()> {
        let sent = self.send_all(socket, parts).await;
        if let Err(error) = &sent {
            let connection = socket.0.end.connection();
            self.tell([7, connection, 0], || format!("connection {connection}: {error}"));
        }
        sent
    }

    async fn send_file(
        &self,
        socket: &SimSocket,
        file: &SimFile,
        pos: u64,
        bytes: u64,
    ) -> io::Result<u64> {
        let bytes = usize::try_from(bytes).expect("a fetch fits in memory");
        let (ino, kind) = (file.ino, Kind::Buffered);
        match self.perform(Request::Read { ino, pos, bytes, kind }).await? {
            Outcome::Data(mut data) if data.len() == bytes => {
                data.truncate(self.cached_bytes(bytes));
                let sent = wide(data.len());
                self.evict(ino, pos + sent, pos + wide(bytes));
                self.send(socket, vec![Bytes::from(data)]).await?;
                Ok(sent)
            }
            Outcome::Data(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => panic!("a read was answered with {other:?}"),
        }
    }

    fn shutdown(&self, socket: &SimSocket) {
        self.state.net.borrow_mut().shutdown(socket.0.end);
    }

    fn peer(&self, socket: &SimSocket) -> String {
        format!("127.0.0.1:{}", socket.0.end.connection() % 65_536)
    }

    fn unread_bytes(&self, socket: &SimSocket) -> u64 {
        self.state.net.borrow().unread_bytes(self.now(), socket.0.end)
    }

    fn taken_bytes(&self, socket: &SimSocket) -> u64 {
        self.state.net.borrow().taken_bytes(socket.0.end)
    }

    fn wake(&self, peer: usize) {
        let (node, _) = self.place.shard();
        let nanos = self.state.outside.borrow_mut().around(BELL_NANOS);
        let due = Due::Event(Event::Bell { node, shard: peer });
        self.state.executor.schedule(Nanos::new(self.now().get() + nanos), due);
    }

    async fn woken(&self) {
        let (node, shard) = self.place.shard();
        poll_fn(|context| {
            let shard = &mut self.state.nodes.borrow_mut()[node].shards[shard];
            if std::mem::take(&mut shard.is_woken) {
                return Poll::Ready(());
            }
            shard.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits in 64 bits")
}
