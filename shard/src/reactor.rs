//! One shard's world: its ring, its clock, its tasks, behind the seam.
//!
//! `reactor/launch.rs` starts the threads, `reactor/driver.rs` runs one: only these two know the executor.
//! `file.rs` and `socket.rs` turn operations into requests to the ring.
//!
//! Invariant: nothing here is borrowed while a task runs.

pub mod descriptors;
pub mod launch;

mod driver;
mod surveyor;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::id::Timestamp;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::buffer::arena::Arena;
use crate::buffer::{Block, DiskRange};
use crate::file::{self, RingFile};
use crate::io::{Class, Io, Nanos, Open, Received as ReceivedBytes, Space, Sync};
use crate::limits::{DESCRIPTOR_LOOK, DESCRIPTOR_WAIT_MAX, WARM_BYTES};
use crate::mailbox::Slumber;
use crate::reactor::surveyor::Surveyor;
use crate::ring::pool::Received;
use crate::ring::{self, Ring, WakeHandle, system};
use crate::socket::{self, RingListener, RingSocket, SocketRules};
use descriptors::Share;

/// The real world of one shard. A clone is another handle to it.
#[derive(Clone)]
pub struct RingIo {
    core: Rc<Core>,
}

struct Core {
    ring: Ring,
    arena: RefCell<Arena>,
    directory: Arc<File>,
    share: Share,
    surveyor: Surveyor,
    clock: Clock,
    timers: RefCell<Timers>,
    wakeups: Wakeups,
    /// Background tasks that want to run, the first first.
    gates: RefCell<VecDeque<Rc<driver::Gate>>>,
    /// How often a task was run.
    run_count: Cell<u64>,
}

/// What the threads of a node agree on before they start.
struct Common {
    /// The clocks of all shards count from here.
    origin: Instant,
    directory: Arc<File>,
    share: Share,
    surveyor: Surveyor,
    slumbers: Arc<[Slumber]>,
    arena_bytes: usize,
    receive_bytes_max: usize,
}

impl RingIo {
    /// On the thread that will use it.
    fn new(common: &Common, shard_index: usize) -> io::Result<Self> {
        let arena = Arena::new(common.arena_bytes);
        let ring = Ring::new(&arena, common.receive_bytes_max)?;
        let core = Core {
            ring,
            arena: RefCell::new(arena),
            directory: Arc::clone(&common.directory),
            share: common.share,
            surveyor: common.surveyor.clone(),
            clock: Clock::new(common.origin),
            timers: RefCell::default(),
            wakeups: Wakeups::new(Arc::clone(&common.slumbers), shard_index),
            gates: RefCell::default(),
            run_count: Cell::new(0),
        };
        Ok(Self { core: Rc::new(core) })
    }

    /// Keeps `file` open as long as a write of this shard may reach the disk, also one of a process
    /// that was killed: a lock on it says so to the next. Called once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn keep(&self, file: &File) -> io::Result<()> {
        self.core.ring.keep(file)
    }

    /// Listens on `address`, together with other shards. Port 0 is any.
    ///
    /// # Errors
    /// As the operating system says, mostly that the address is in use.
    pub fn listen(
        &self,
        address: std::net::SocketAddr,
        rules: SocketRules,
    ) -> io::Result<RingListener> {
        socket::listen(&self.core.ring, address, rules)
    }

    /// Connects to `address`, blocking the thread: for tests and tools on this shard.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn connect(&self, address: std::net::SocketAddr) -> io::Result<RingSocket> {
        socket::connect(&self.core.ring, address)
    }

    /// By which any thread wakes this shard.
    #[must_use]
    pub fn wake_handle(&self) -> WakeHandle {
        self.core.ring.handle()
    }

    /// Tries again for as long as there is no descriptor left: that is a crowd, and no fault of the disk.
    async fn with_descriptor<T>(&self, attempt: impl AsyncFn() -> io::Result<T>) -> io::Result<T> {
        let until = self.now().plus(DESCRIPTOR_WAIT_MAX);
        loop {
            match attempt().await {
                Err(error) if descriptors::is_exhausted(&error) && self.now() < until => {
                    self.sleep(DESCRIPTOR_LOOK).await;
                }
                other => return other,
            }
        }
    }

    /// Memory for blocks: used, held from the operating system, and allowed.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let arena = self.core.arena.borrow();
        Memory {
            used_bytes: arena.used_bytes(),
            mapped_bytes: arena.mapped_bytes(),
            budget_bytes: arena.budget_bytes(),
        }
    }
}

/// How much block memory a shard has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub used_bytes: usize,
    pub mapped_bytes: usize,
    pub budget_bytes: usize,
}

impl ReceivedBytes for Received {}

impl Io for RingIo {
    type File = RingFile;
    type Socket = RingSocket;
    type Listener = RingListener;
    type Received = Received;

    fn now(&self) -> Nanos {
        self.core.clock.now.get()
    }

    fn stopwatch(&self) -> Nanos {
        Nanos::new(ring::monotonic_since(self.core.clock.origin))
    }

    fn wall(&self) -> Timestamp {
        self.core.clock.wall()
    }

    fn random(&self) -> u64 {
        // Some of it is public (ids of topics and of the cluster), and some secret (the salt of the
        // journal): none may be told from what came before or after it.
        let mut bytes = [0; 8];
        let filled = getrandom(&mut bytes, GetRandomFlags::empty());
        assert_eq!(filled, Ok(bytes.len()), "the kernel gives a few bytes whole");
        u64::from_be_bytes(bytes)
    }

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static) {
        driver::spawn(&self.core, class, task);
    }

    async fn sleep(&self, duration: Duration) {
        Sleep::new(Rc::clone(&self.core), self.now().plus(duration)).await;
    }

    async fn yield_now(&self) {
        driver::yield_once().await;
    }

    async fn yield_long(&self) {
        driver::yield_long(&self.core).await;
    }

    fn block(&self, bytes: usize) -> Option<Block> {
        self.core.arena.borrow_mut().allocate(bytes)
    }

    fn warm_block(&self, bytes: usize) -> Option<Block> {
        self.core.arena.borrow_mut().allocate_within(bytes, WARM_BYTES)
    }

    fn trim_heap(&self) {
        system::trim_heap();
    }

    fn block_bytes_max(&self) -> usize {
        self.core.arena.borrow().budget_bytes()
    }

    fn files_max(&self) -> usize {
        self.core.share.files_max
    }

    async fn open(&self, path: &str, how: Open) -> io::Result<RingFile> {
        let core = &self.core;
        self.with_descriptor(|| file::open(&core.ring, &core.directory, path, how)).await
    }

    async fn read(&self, file: &RingFile, pos: u64, block: Block) -> (io::Result<usize>, Block) {
        file::read(&self.core.ring, file, pos, block).await
    }

    async fn write(
        &self,
        file: &RingFile,
        pos: u64,
        parts: Vec<DiskRange>,
        sync: Sync,
    ) -> io::Result<()> {
        file::write(&self.core.ring, file, pos, parts, sync).await
    }

    async fn write_bytes(&self, file: &RingFile, pos: u64, bytes: Bytes) -> io::Result<()> {
        file::write_bytes(&self.core.ring, file, pos, bytes).await
    }

    async fn allocate(&self, file: &RingFile, pos: u64, bytes: u64) -> io::Result<()> {
        file::allocate(&self.core.ring, file, pos, bytes).await
    }

    async fn truncate(&self, file: &RingFile, bytes: u64) -> io::Result<()> {
        file::truncate(&self.core.ring, file, bytes).await
    }

    async fn sync(&self, file: &RingFile) -> io::Result<()> {
        file::sync(&self.core.ring, file).await
    }

    async fn file_bytes(&self, file: &RingFile) -> io::Result<u64> {
        file.bytes()
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        file::rename(&self.core.ring, &self.core.directory, from, to).await
    }

    async fn unlink(&self, path: &str) -> io::Result<()> {
        file::unlink(&self.core.ring, &self.core.directory, path).await
    }

    async fn make_dir(&self, path: &str) -> io::Result<()> {
        file::make_dir(&self.core.ring, &self.core.directory, path).await
    }

    async fn remove_dir(&self, path: &str) -> io::Result<()> {
        file::remove_dir(&self.core.ring, &self.core.directory, path).await
    }

    async fn sync_dir(&self, path: &str) -> io::Result<()> {
        let core = &self.core;
        self.with_descriptor(|| file::sync_dir(&core.ring, &core.directory, path)).await
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        file::list(&self.core.directory, path)
    }

    async fn space(&self) -> io::Result<Space> {
        let wakeups = &self.core.wakeups;
        let answer = self.core.surveyor.ask(self.wake_handle())?;
        poll_fn(|context| match answer.try_recv() {
            Ok(space) => Poll::Ready(space),
            Err(mpsc::TryRecvError::Empty) => {
                wakeups.add_bystander(context.waker());
                Poll::Pending
            }
            Err(mpsc::TryRecvError::Disconnected) => Poll::Ready(Err(surveyor::gone())),
        })
        .await
    }

    async fn accept(&self, listener: &RingListener) -> io::Result<RingSocket> {
        let mut socket = listener.accept().await?;
        let end = self.core.share.connections_end;
        if socket.as_raw_fd() >= end {
            tracing::warn!(end, "connections have all descriptors that they may have, and wait");
        }
        while socket.as_raw_fd() >= end {
            self.sleep(DESCRIPTOR_LOOK).await;
            socket = descriptors::lower(socket);
        }
        RingSocket::new(&self.core.ring, socket)
    }

    async fn receive(&self, socket: &RingSocket) -> io::Result<Received> {
        socket.receive().await
    }

    async fn send(&self, socket: &RingSocket, parts: Vec<Bytes>) -> io::Result<()> {
        socket::send(self, socket, parts).await
    }

    async fn send_file(
        &self,
        socket: &RingSocket,
        file: &RingFile,
        pos: u64,
        bytes: u64,
    ) -> io::Result<u64> {
        socket::send_file(self, socket, file, pos..pos + bytes).await
    }

    fn shutdown(&self, socket: &RingSocket) {
        socket.shutdown();
    }

    fn peer(&self, socket: &RingSocket) -> String {
        socket.peer()
    }

    fn unread_bytes(&self, socket: &RingSocket) -> u64 {
        socket.unread_bytes()
    }

    fn taken_bytes(&self, socket: &RingSocket) -> u64 {
        socket.taken_bytes()
    }

    fn wake(&self, peer: usize) {
        if self.core.wakeups.slumbers[peer].interrupt() {
            self.core.ring.wake(peer);
        }
    }

    async fn woken(&self) {
        let wakeups = &self.core.wakeups;
        poll_fn(|context| wakeups.poll(context.waker())).await;
    }
}

/// Read once a turn.
struct Clock {
    origin: Instant,
    now: Cell<Nanos>,
    wall: Cell<Option<Timestamp>>,
}

impl Clock {
    fn new(origin: Instant) -> Self {
        let now = Cell::new(Nanos::new(ring::monotonic_since(origin)));
        Self { origin, now, wall: Cell::new(None) }
    }

    fn tick(&self) {
        self.now.set(Nanos::new(ring::monotonic_since(self.origin)));
        self.wall.set(None);
    }

    fn wall(&self) -> Timestamp {
        let wall = self.wall.get().unwrap_or_else(|| Timestamp::new(ring::wall_ms()));
        self.wall.set(Some(wall));
        wall
    }
}

/// Who waits for which time.
#[derive(Default)]
struct Timers {
    due: BTreeMap<(Nanos, u64), Waker>,
    next_id: u64,
}

impl Timers {
    fn first(&self) -> Option<Nanos> {
        self.due.first_key_value().map(|it| it.0.0)
    }

    /// Whoever's time has come.
    fn expire(&mut self, now: Nanos, wakers: &mut Vec<Waker>) {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            wakers.push(entry.remove());
        }
    }
}

/// Ready at a time.
struct Sleep {
    core: Rc<Core>,
    deadline: Nanos,
    /// Its entry among the timers.
    id: Option<u64>,
}

impl Sleep {
    const fn new(core: Rc<Core>, deadline: Nanos) -> Self {
        Self { core, deadline, id: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.deadline <= self.core.clock.now.get() {
            return Poll::Ready(());
        }
        let mut timers = self.core.timers.borrow_mut();
        let id = self.id.unwrap_or(timers.next_id);
        timers.next_id = timers.next_id.max(id + 1);
        let previous = timers.due.insert((self.deadline, id), context.waker().clone());
        drop(timers);
        drop(previous);
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.core.timers.borrow_mut().due.remove(&(self.deadline, id));
            drop(waker);
        }
    }
}

/// How the task that serves the mailboxes learns that there is something in them.
///
/// It says that it sleeps (`Slumber`) before it looks at them for the last time: so the first wait after a
/// wake-up ends at once, and only the second lasts.
struct Wakeups {
    slumbers: Arc<[Slumber]>,
    shard_index: usize,
    is_woken: Cell<bool>,
    /// Whether the others were told that they must wake us.
    is_announced: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Who waits for an answer of a thread that is no shard.
    bystanders: RefCell<Vec<Waker>>,
}

impl Wakeups {
    fn new(slumbers: Arc<[Slumber]>, shard_index: usize) -> Self {
        Self {
            slumbers,
            shard_index,
            is_woken: Cell::new(false),
            is_announced: Cell::new(false),
            waker: RefCell::default(),
            bystanders: RefCell::default(),
        }
    }

    /// Wakes `waker`, too, the next time.
    fn add_bystander(&self, waker: &Waker) {
        self.bystanders.borrow_mut().push(waker.clone());
    }

    fn poll(&self, waker: &Waker) -> Poll<()> {
        if self.is_woken.take() {
            return Poll::Ready(());
        }
        if !self.is_announced.replace(true) {
            self.slumbers[self.shard_index].begin();
            return Poll::Ready(());
        }
        let previous = self.waker.borrow_mut().replace(waker.clone());
        drop(previous);
        Poll::Pending
    }

    /// Another shard or thread woke us.
    fn on_woken(&self) -> impl Iterator<Item = Waker> + use<> {
        self.slumbers[self.shard_index].end();
        self.is_announced.set(false);
        self.is_woken.set(true);
        let waker = self.waker.borrow_mut().take();
        waker.into_iter().chain(self.bystanders.take())
    }
}
