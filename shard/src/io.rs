//! The one seam between the broker and the world: files, sockets, time, randomness, tasks.
//!
//! Two things implement it: the ring (`ring.rs`, `reactor.rs`) and the seeded simulation (`sim.rs`).
//! It knows no Kafka and no log.
//!
//! A buffer given to an operation belongs to the operation until its future is ready, dropped or not.
#![expect(async_fn_in_trait, reason = "every future of a shard stays on its thread")]

use std::io;
use std::time::Duration;

use bytes::Bytes;
use engine::id::Timestamp;

use crate::buffer::{Block, DiskRange};

/// Nanoseconds of the monotonic clock of this process. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(u64);

impl Nanos {
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Of the file system that holds the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// Without what is kept for the administrator.
    pub usable_bytes: u64,
    /// Inodes, one for each file and directory. 0: there is no end of them.
    pub total_files: u64,
    pub usable_files: u64,
}

/// How a file is opened. Paths are relative to the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Must exist; reads go through the page cache.
    Read,
    /// Must exist; direct I/O, read only.
    ReadDirect,
    /// Must exist; direct I/O, read and write.
    Direct,
    /// Made if missing, kept if not; direct I/O, read and write.
    CreateDirect,
    /// Made, or emptied; through the page cache, write only.
    CreateBuffered,
}

/// Whether a write is on the device when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// `RWF_DSYNC`: the data, and what is needed to read it back.
    Durable,
    /// Left to a later sync.
    Lazy,
}

/// Scheduling class of a task, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Produce, commit, fetch.
    Foreground,
    /// Checkpoints, lazy segment writes, deletion.
    Background,
}

/// Bytes that arrived on a socket: one buffer of the ring's, given back when dropped.
/// Empty means that the peer closed its side.
pub trait Received: std::ops::Deref<Target = [u8]> {}

/// One shard's access to the world. A clone is another handle to the same.
pub trait Io: Clone + 'static {
    /// An open file, closed when the last clone is dropped. May be sent to another shard.
    type File: Clone + Send + 'static;
    /// A connection, closed when the last clone is dropped and no operation holds it.
    type Socket: Clone + 'static;
    type Listener: 'static;
    type Received: Received;

    /// Read once a turn, so cheap and steady within one.
    fn now(&self) -> Nanos;
    /// The same clock, read anew: for the time that a task takes within a turn.
    fn stopwatch(&self) -> Nanos;
    fn wall(&self) -> Timestamp;
    /// Nobody can tell it from others that were drawn. In a simulation the seed can.
    fn random(&self) -> u64;

    fn spawn(&self, class: Class, task: impl Future<Output = ()> + 'static);
    async fn sleep(&self, duration: Duration);
    /// Lets every other ready task run first.
    async fn yield_now(&self);
    /// Lets every other task run first that is ready now or made so by the kernel soon, as
    /// [`Class::Background`] does: when none is ready, or after a few turns.
    async fn yield_long(&self);

    /// Aligned memory for log chunks, journal frames and direct reads, from this shard's budget.
    /// `bytes` is rounded up to a class size (4 KiB * 4^n). `None`: the budget is used up.
    fn block(&self, bytes: usize) -> Option<Block>;
    /// As `block`, but past some hundred MiB only memory that was in use before: a page that nobody has
    /// touched yet costs more than the bytes that are copied into it.
    fn warm_block(&self, bytes: usize) -> Option<Block>;
    /// Gives memory that small things had back to the machine. Takes milliseconds if there is much.
    fn trim_heap(&self);
    /// The budget.
    fn block_bytes_max(&self) -> usize;

    /// Open files that this shard may keep for later use.
    fn files_max(&self) -> usize;
    async fn open(&self, path: &str, how: Open) -> io::Result<Self::File>;
    /// Reads up to `block.capacity() - block.filled()` bytes at `pos`; fewer only at the file's end.
    /// Appends them to `block`. `pos` and the block's fill are 4 KiB multiples for direct files.
    async fn read(&self, file: &Self::File, pos: u64, block: Block) -> (io::Result<usize>, Block);
    /// Writes all of `parts`, one after the other, at `pos`; part lengths and `pos` are 4 KiB multiples.
    async fn write(
        &self,
        file: &Self::File,
        pos: u64,
        parts: Vec<DiskRange>,
        sync: Sync,
    ) -> io::Result<()>;
    /// Appends to a buffered file (checkpoints, sidecars), at `pos`.
    async fn write_bytes(&self, file: &Self::File, pos: u64, bytes: Bytes) -> io::Result<()>;
    /// Reserves disk space for `[pos, pos + bytes)`; grows the file if it ends before.
    async fn allocate(&self, file: &Self::File, pos: u64, bytes: u64) -> io::Result<()>;
    /// Cuts or grows the file to `bytes`.
    async fn truncate(&self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// `fdatasync`.
    async fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Bytes in the file.
    async fn file_bytes(&self, file: &Self::File) -> io::Result<u64>;
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    async fn unlink(&self, path: &str) -> io::Result<()>;
    /// One level; existing is fine.
    async fn make_dir(&self, path: &str) -> io::Result<()>;
    async fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Makes created, renamed and removed names in `path` durable.
    async fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Names in a directory, sorted. Start-up and deletion only: the real one blocks.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Of the file system that holds the data directory.
    async fn space(&self) -> io::Result<Space>;

    async fn accept(&self, listener: &Self::Listener) -> io::Result<Self::Socket>;
    /// The next bytes of the peer. While nobody calls it, the socket is not read past a small bound.
    async fn receive(&self, socket: &Self::Socket) -> io::Result<Self::Received>;
    /// Sends all parts, in order.
    async fn send(&self, socket: &Self::Socket, parts: Vec<Bytes>) -> io::Result<()>;
    /// Sends `[pos, pos + bytes)` of a sealed file from the page cache. Stops where a page is not there:
    /// the answer is how many bytes were sent.
    async fn send_file(
        &self,
        socket: &Self::Socket,
        file: &Self::File,
        pos: u64,
        bytes: u64,
    ) -> io::Result<u64>;
    /// Ends both directions now: pending and later operations on the socket fail.
    fn shutdown(&self, socket: &Self::Socket);
    fn peer(&self, socket: &Self::Socket) -> String;
    /// Bytes of the peer that have come, and were not received.
    fn unread_bytes(&self, socket: &Self::Socket) -> u64;
    /// Bytes that the peer is known to have got, of all that were sent. Grows while it takes them.
    fn taken_bytes(&self, socket: &Self::Socket) -> u64;

    /// Makes shard `peer` look at its mailbox, after something was put there. Cheap if it is awake.
    fn wake(&self, peer: usize);
    /// Ready when another shard, or a thread outside the shards, woke this one since the last call; at
    /// times without. Who finds its mailboxes empty calls this, then looks at them again.
    async fn woken(&self);
}
