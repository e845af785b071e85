//! A simulated disk with its file system: operations that take time, fail by plan, and lose at a
//! crash what was not durable.
//!
//! It does not know who waits: an operation begins, finishes at the time that `begin` answered,
//! and its outcome is taken by its number. A write is durable when it finished with
//! `Sync::Durable`, or when a sync that began after its end succeeded; a name, when its directory
//! was synced after it. Everything else may be lost at a power cut, in any subset, torn at sectors.
//!
//! Two writes in flight on one block are a bug of the broker's, and panic here.

use std::collections::BTreeMap;
use std::io;
use std::task::Waker;

use crate::io::{Open, Space, Sync};
use crate::sim::chance::{Chance, mix};
use crate::sim::content::{
    Content, Kind, Mutation, Origin, PAGE_BYTES, SECTOR_BYTES, Tells, Version,
};
use crate::sim::names::{Ino, Names};

/// Where checkpoints are.
const CHECKPOINTS: &str = "checkpoint/";
/// What a disk says that it holds, unless it is told to say otherwise.
pub const ENDLESS_BYTES: u64 = 1 << 40;
/// Inodes of a disk that counts them.
const FILES_MAX: u64 = 1 << 16;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const BLOCK_BYTES: u64 = 4096;

/// What goes wrong, and how slow the device is. Odds are one in so many operations; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub read_fails: u64,
    pub write_fails: u64,
    pub sync_fails: u64,
    pub is_full: u64,
    /// The file system takes no change any more, as after an error of its device.
    pub is_read_only: bool,
    /// What can be stored from when these faults begin, until something is deleted; 0: without end.
    pub room_bytes: u64,
    /// Files and directories that can be made from when these faults begin, until some are deleted.
    /// `None`: as many as the disk has inodes.
    pub room_files: Option<u64>,
    pub stalls: u64,
    /// How long a stall is, at most.
    pub stall_nanos: u64,
    /// What a durable write takes, usually; a read takes half of it.
    pub write_nanos: u64,
    /// What each block of a write takes besides.
    pub block_nanos: u64,
}

impl Faults {
    /// A good disk.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            read_fails: 0,
            write_fails: 0,
            sync_fails: 0,
            is_full: 0,
            is_read_only: false,
            room_bytes: 0,
            room_files: None,
            stalls: 0,
            stall_nanos: 0,
            write_nanos: 100_000,
            block_nanos: 0,
        }
    }
}

impl Faults {
    /// The same disk without its faults: to be slow is none.
    #[must_use]
    pub fn only_slow(&self) -> Self {
        let Self { write_nanos, block_nanos, .. } = *self;
        Self { write_nanos, block_nanos, ..Self::none() }
    }

    /// Whether the disk has no other fault than to be full.
    #[must_use]
    pub const fn only_fill(&self) -> bool {
        !self.is_broken()
            && (self.is_full != 0 || self.room_bytes != 0 || self.room_files.is_some())
    }

    const fn is_broken(&self) -> bool {
        let Self { read_fails, write_fails, sync_fails, is_read_only, .. } = *self;
        is_read_only || read_fails != 0 || write_fails != 0 || sync_fails != 0
    }

    /// Whether a broker may refuse to start, or to go on.
    #[must_use]
    pub const fn may_stop_a_broker(&self) -> bool {
        self.is_broken() || self.is_full != 0
    }
}

/// What ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: caches stay, operations in flight end anyhow.
    Process,
    /// Volatile caches are gone too.
    Power,
}

/// What a power cut leaves of what was not durable.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Everything,
    Nothing,
    /// Everything after a moment.
    After(Mutation),
    /// Any subset of the writes.
    Writes(u64),
    /// Any subset of the blocks.
    Blocks(u64),
    /// All but a few blocks.
    Most(u64),
    /// Any subset of the sectors.
    Sectors(u64),
}

impl Loss {
    fn pick(chance: &mut Chance, first: Mutation, end: Mutation) -> Self {
        match chance.below(7) {
            0 => Self::Everything,
            1 => Self::Nothing,
            2 => Self::After(chance.between(first, end.max(first + 1))),
            3 => Self::Writes(chance.next()),
            4 => Self::Blocks(chance.next()),
            5 => Self::Most(chance.next()),
            _ => Self::Sectors(chance.next()),
        }
    }

    /// The sectors that are kept of one page of one write.
    fn sectors(self, page: u64, mutation: Mutation) -> u8 {
        let all = |kept| if kept { u8::MAX } else { 0 };
        match self {
            Self::Everything => 0,
            Self::Nothing => u8::MAX,
            Self::After(last) => all(mutation <= last),
            Self::Writes(salt) => all(mix(salt ^ mutation) & 1 == 0),
            Self::Blocks(salt) => all(mix(mix(salt ^ mutation) ^ page) & 1 == 0),
            Self::Most(salt) => all(!mix(mix(salt ^ mutation) ^ page).is_multiple_of(16)),
            Self::Sectors(salt) => mix(mix(salt ^ mutation) ^ page).to_be_bytes()[0],
        }
    }

    /// Whether a change of a name or of a size is kept.
    fn keeps(self, mutation: Mutation) -> bool {
        self.sectors(0, mutation) & 1 == 1
    }
}

pub enum Request {
    Open { path: String, how: Open },
    Read { ino: Ino, pos: u64, bytes: usize, kind: Kind },
    Write { ino: Ino, pos: u64, data: Vec<u8>, kind: Kind, sync: Sync },
    Allocate { ino: Ino, end: u64 },
    Truncate { ino: Ino, bytes: u64 },
    Sync { ino: Ino },
    FileBytes { ino: Ino },
    Rename { from: String, to: String },
    Unlink { path: String },
    MakeDir { path: String },
    RemoveDir { path: String },
    SyncDir { path: String },
}

impl Request {
    /// For the story: three numbers, and a line about them.
    pub fn summary(&self) -> ([u64; 3], String) {
        let path = |number: u64, name: &str, path: &str| {
            ([10 + number, wide(path.len()), 0], format!("{name} {path}"))
        };
        let file = |number: u64, name: &str, ino: Ino, at: u64| {
            ([10 + number, ino.get(), at], format!("{name} file {} at {at}", ino.get()))
        };
        match self {
            Self::Open { path: it, how } => path(0, &format!("open {how:?}"), it),
            Self::Rename { from, to } => path(1, &format!("rename {from}"), to),
            Self::Unlink { path: it } => path(2, "unlink", it),
            Self::MakeDir { path: it } => path(3, "make dir", it),
            Self::RemoveDir { path: it } => path(4, "remove dir", it),
            Self::SyncDir { path: it } => path(5, "sync dir", it),
            Self::Read { ino, pos, .. } => file(6, "read", *ino, *pos),
            Self::Write { ino, pos, data, sync, .. } => {
                file(7, &format!("write {sync:?} {} bytes", data.len()), *ino, *pos)
            }
            Self::Allocate { ino, end } => file(8, "allocate", *ino, *end),
            Self::Truncate { ino, bytes } => file(9, "truncate", *ino, *bytes),
            Self::Sync { ino } => file(10, "sync", *ino, 0),
            Self::FileBytes { ino } => file(11, "bytes", *ino, 0),
        }
    }

    /// Whether a file system that is read only refuses it.
    const fn needs_writing(&self) -> bool {
        match self {
            Self::Open { how, .. } => !matches!(how, Open::Read | Open::ReadDirect),
            _ => self.changes_something(),
        }
    }

    const fn changes_something(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::FileBytes { .. })
    }
}

#[derive(Debug)]
pub enum Outcome {
    Done,
    File(Ino),
    Data(Vec<u8>),
    Bytes(u64),
}

enum State {
    Running {
        request: Request,
        /// What a sync covers: what had finished when it began.
        covers: Mutation,
        waker: Option<Waker>,
    },
    Finished(io::Result<Outcome>),
}

pub struct Disk {
    chance: Chance,
    faults: Faults,
    /// What it says that it holds, whatever it does.
    total_bytes: u64,
    /// What all files may take.
    capacity: Option<u64>,
    /// Inodes that it says that it has. `None`: there is no end of them.
    files_max: Option<u64>,
    /// How many files and directories there can be.
    files_end: Option<u64>,
    names: Names,
    contents: BTreeMap<Ino, Content>,
    operations: BTreeMap<u64, State>,
    next_operation: u64,
    next_mutation: Mutation,
    /// Files as they were before a damage.
    copies: BTreeMap<Ino, Content>,
    /// How many mutating operations began or finished.
    step_count: u64,
    /// How often a checkpoint began to be stored, got its name, or was durable.
    checkpoint_count: u64,
}

impl Disk {
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self {
            chance,
            faults: Faults::none(),
            total_bytes: ENDLESS_BYTES,
            capacity: None,
            files_max: None,
            files_end: None,
            names: Names::default(),
            contents: BTreeMap::new(),
            operations: BTreeMap::new(),
            next_operation: 0,
            next_mutation: 1,
            copies: BTreeMap::new(),
            step_count: 0,
            checkpoint_count: 0,
        }
    }

    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.capacity = (faults.room_bytes > 0).then(|| self.used_bytes() + faults.room_bytes);
        let room_end = faults.room_files.map(|room| self.used_files() + room);
        self.files_end = room_end.or(self.files_max);
    }

    /// From now on it has an end of inodes, and says how many are free.
    pub const fn count_files(&mut self) {
        self.files_max = Some(FILES_MAX);
        self.files_end = self.files_max;
    }

    /// Whether anything goes wrong by itself.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        self.faults != self.faults.only_slow()
    }

    /// It says that it holds so much, and has no end all the same: a broker sizes its journal by that.
    pub const fn set_total_bytes(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
    }

    #[must_use]
    pub fn space(&self) -> Space {
        let free = |end: u64, used: u64| end.saturating_sub(used);
        let files_end = self.files_end.filter(|_| self.files_max.is_some());
        Space {
            total_bytes: self.total_bytes,
            usable_bytes: self
                .capacity
                .map_or(self.total_bytes, |end| free(end, self.used_bytes())),
            total_files: self.files_max.unwrap_or(0),
            usable_files: files_end.map_or(u64::MAX, |end| free(end, self.used_files())),
        }
    }

    /// Whatever has a name.
    fn used_files(&self) -> u64 {
        wide(self.names.current_count())
    }

    /// Of all files that have a name.
    fn used_bytes(&self) -> u64 {
        let contents = self.names.current_files().filter_map(|ino| self.contents.get(&ino));
        contents.map(|content| content.reserved_end().max(content.bytes())).sum()
    }

    /// How many mutating operations began or finished so far: the places for a crash.
    pub const fn step_count(&self) -> u64 {
        self.step_count
    }

    #[must_use]
    pub const fn checkpoint_count(&self) -> u64 {
        self.checkpoint_count
    }

    /// Whether no operation is under way.
    pub fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    /// Number of the operation, and how many nanoseconds it takes.
    pub fn begin(&mut self, request: Request) -> (u64, u64) {
        self.check(&request);
        let nanos = self.duration(&request);
        self.step_count += u64::from(request.changes_something());
        if let Request::Open { path, how: Open::CreateBuffered } = &request {
            self.checkpoint_count += u64::from(path.starts_with(CHECKPOINTS));
        }
        let number = self.next_operation;
        self.next_operation += 1;
        let covers = self.next_mutation - 1;
        self.operations.insert(number, State::Running { request, covers, waker: None });
        (number, nanos)
    }

    /// The time of an operation has come. Does nothing for one that a crash has ended.
    pub fn finish(&mut self, number: u64) {
        let Some(State::Running { request, covers, waker }) = self.operations.remove(&number)
        else {
            return;
        };
        self.step_count += u64::from(request.changes_something());
        let is_of_checkpoint = match &request {
            Request::Rename { to: path, .. } => path.starts_with(CHECKPOINTS),
            Request::SyncDir { path } => *path == CHECKPOINTS[..CHECKPOINTS.len() - 1],
            _ => false,
        };
        self.checkpoint_count += u64::from(is_of_checkpoint);
        let outcome = self.perform(request, covers);
        self.operations.insert(number, State::Finished(outcome));
        waker.into_iter().for_each(Waker::wake);
    }

    /// What came of it, once; leaves the new waker if it still runs.
    pub fn take(&mut self, number: u64, waker: &Waker) -> Option<io::Result<Outcome>> {
        match self.operations.get_mut(&number).expect("an outcome is taken once") {
            State::Running { waker: old, .. } => {
                *old = Some(waker.clone());
                None
            }
            State::Finished(_) => match self.operations.remove(&number) {
                Some(State::Finished(outcome)) => Some(outcome),
                Some(State::Running { .. }) | None => None,
            },
        }
    }

    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.names.list(path)
    }

    /// Ends all operations, and applies the loss.
    pub fn crash(&mut self, crash: Crash) {
        for (_, state) in std::mem::take(&mut self.operations) {
            if let State::Running { request, .. } = state {
                self.interrupt(request);
            }
        }
        if crash == Crash::Power {
            self.lose();
        }
        let named = self.names.files();
        self.contents.retain(|ino, _| named.contains(ino));
        self.contents.values_mut().for_each(Content::evict_all);
    }

    /// The file of that name, as far as nobody lies.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(Ino, Vec<u8>)> {
        let ino = self.names.file(path).ok()?;
        let content = self.contents.get(&ino)?;
        let bytes = usize::try_from(content.bytes()).expect("the file fits in memory");
        Some((ino, content.read(0, bytes)))
    }

    /// The same as the device gives it.
    #[must_use]
    pub fn seen(&self, ino: Ino) -> Vec<u8> {
        self.contents.get(&ino).map(Content::seen).unwrap_or_default()
    }

    /// A sector of a file, and what it held before it was last written.
    #[must_use]
    pub fn sector(&self, ino: Ino, sector: u64) -> ([u8; SECTOR_BYTES], [u8; SECTOR_BYTES]) {
        self.contents.get(&ino).map_or(([0; _], [0; _]), |content| content.sector(sector))
    }

    /// From now on the device gives these bytes for a sector.
    pub fn lie(&mut self, ino: Ino, sector: u64, bytes: [u8; SECTOR_BYTES], tells: Tells) {
        self.content(ino).lie(sector, bytes, tells);
    }

    /// The sectors of a file that lie, and how often.
    pub fn lies(&self, ino: Ino) -> impl Iterator<Item = (u64, Tells)> {
        self.contents.get(&ino).into_iter().flat_map(Content::lies)
    }

    /// Whether any sector lies.
    #[must_use]
    pub fn has_lies(&self) -> bool {
        self.contents.values().any(|content| content.lies().next().is_some())
    }

    /// Ends the lies of a file, from a sector on.
    pub fn end_lies(&mut self, ino: Ino, from: u64) {
        self.content(ino).end_lies(from);
    }

    /// Ends all lies.
    pub fn end_all_lies(&mut self) {
        self.contents.values_mut().for_each(|content| content.end_lies(0));
    }

    /// Copies the files that lie, as they were written.
    pub fn copy_liars(&mut self) {
        let liars = self.contents.iter().filter(|(_, content)| content.lies().next().is_some());
        self.copies = liars.map(|(ino, content)| (*ino, content.clone())).collect();
        self.copies.values_mut().for_each(|copy| copy.end_lies(0));
    }

    /// Puts the copies back: what a start on damaged files did to them is undone.
    pub fn restore_copies(&mut self) {
        self.contents.append(&mut self.copies);
    }

    /// The page cache forgets a part of a file.
    pub fn evict(&mut self, ino: Ino, pos: u64, end: u64) {
        self.content(ino).evict(pos, end);
    }

    /// What of an operation in flight reaches the caches.
    fn interrupt(&mut self, request: Request) {
        match request {
            Request::Write { ino, pos, data, kind, .. } => {
                let loss = Loss::pick(&mut self.chance, self.next_mutation, self.next_mutation + 1);
                self.land(ino, pos, &data, kind, loss);
            }
            Request::Sync { .. } | Request::SyncDir { .. } => {}
            other => {
                if self.chance.one_in(2) {
                    let faults = std::mem::replace(&mut self.faults, Faults::none());
                    let outcome = self.perform(other, 0);
                    drop(outcome); // Nobody is left to hear it.
                    self.faults = faults;
                }
            }
        }
    }

    fn lose(&mut self) {
        let names = self.names.unsynced();
        let first = names.chain(self.contents.values().filter_map(Content::first_unsynced)).min();
        let end = self.next_mutation;
        let loss = Loss::pick(&mut self.chance, first.unwrap_or(end - 1), end);
        self.names.cut(|mutation| loss.keeps(mutation));
        for content in self.contents.values_mut() {
            let sizes = content.unsynced_sizes();
            let metadata_last = sizes.filter(|mutation| loss.keeps(*mutation)).last().unwrap_or(0);
            content.cut(metadata_last, |page, version: &Version| {
                loss.sectors(page, version.origin().mutation)
            });
        }
    }

    fn perform(&mut self, request: Request, covers: Mutation) -> io::Result<Outcome> {
        if self.faults.is_read_only && request.needs_writing() {
            return Err(io::Error::from_raw_os_error(EROFS));
        }
        let mutation = self.next_mutation;
        self.next_mutation += 1;
        match request {
            Request::Open { path, how } => self.open(mutation, &path, how),
            Request::Read { ino, pos, bytes, kind } => self.read(ino, pos, bytes, kind),
            Request::Write { ino, pos, data, kind, sync } => {
                self.write(ino, pos, &data, kind, sync)
            }
            Request::Allocate { ino, end } => {
                let reserved_end = self.content(ino).reserved_end();
                self.fill(end.saturating_sub(reserved_end))?;
                let content = self.content(ino);
                content.set_bytes(mutation, end.max(content.bytes()));
                content.reserve(end);
                Ok(Outcome::Done)
            }
            Request::Truncate { ino, bytes } => {
                self.content(ino).set_bytes(mutation, bytes);
                Ok(Outcome::Done)
            }
            Request::Sync { ino } => {
                if self.chance.one_in(self.faults.sync_fails) {
                    self.content(ino).drop_unsynced(covers);
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                self.content(ino).sync(covers);
                Ok(Outcome::Done)
            }
            Request::FileBytes { ino } => Ok(Outcome::Bytes(self.content(ino).bytes())),
            Request::Rename { from, to } => {
                self.fill(0)?;
                self.names.rename(mutation, &from, &to).map(|()| Outcome::Done)
            }
            Request::Unlink { path } => self.names.unlink(mutation, &path).map(|()| Outcome::Done),
            Request::MakeDir { path } => {
                self.fill(0)?;
                if self.names.dir_ino(&path).is_err() {
                    self.take_inode()?;
                }
                self.names.make_dir(mutation, &path).map(|()| Outcome::Done)
            }
            Request::RemoveDir { path } => {
                self.names.remove_dir(mutation, &path).map(|()| Outcome::Done)
            }
            Request::SyncDir { path } => {
                let dir = self.names.dir_ino(&path)?;
                if self.chance.one_in(self.faults.sync_fails) {
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                self.names.sync(dir, covers);
                Ok(Outcome::Done)
            }
        }
    }

    fn open(&mut self, mutation: Mutation, path: &str, how: Open) -> io::Result<Outcome> {
        let ino = match how {
            Open::Read | Open::ReadDirect | Open::Direct => self.names.file(path)?,
            Open::CreateDirect | Open::CreateBuffered => {
                self.fill(0)?;
                if self.names.file(path).is_err() {
                    self.take_inode()?;
                }
                self.names.create(mutation, path)?
            }
        };
        let content = self.contents.entry(ino).or_default();
        if how == Open::CreateBuffered {
            content.set_bytes(mutation, 0);
        }
        Ok(Outcome::File(ino))
    }

    fn read(&mut self, ino: Ino, pos: u64, bytes: usize, kind: Kind) -> io::Result<Outcome> {
        if self.chance.one_in(self.faults.read_fails) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(Outcome::Data(self.content(ino).read_as(kind, pos, bytes)))
    }

    fn write(
        &mut self,
        ino: Ino,
        pos: u64,
        data: &[u8],
        kind: Kind,
        sync: Sync,
    ) -> io::Result<Outcome> {
        let reserved_end = self.content(ino).reserved_end();
        let end = pos + wide(data.len());
        if end > reserved_end {
            self.fill(end - reserved_end)?;
        }
        if self.chance.one_in(self.faults.write_fails) {
            let loss = Loss::pick(&mut self.chance, self.next_mutation, self.next_mutation + 1);
            self.land(ino, pos, data, kind, loss);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mutation = self.land(ino, pos, data, kind, Loss::Nothing);
        if sync == Sync::Durable {
            self.content(ino).sync_write(mutation);
        }
        Ok(Outcome::Done)
    }

    /// Writes what `loss` keeps.
    fn land(&mut self, ino: Ino, pos: u64, data: &[u8], kind: Kind, loss: Loss) -> Mutation {
        let mutation = self.next_mutation;
        self.next_mutation += 1;
        let content = self.content(ino);
        let mut end = content.bytes();
        content.write(Origin { mutation, kind }, pos, data, |sector_pos| {
            let page = sector_pos / BLOCK_BYTES;
            let sector = sector_pos % BLOCK_BYTES / wide(SECTOR_BYTES);
            let lands = loss.sectors(page, mutation) & (1 << sector) != 0;
            if lands {
                end = end.max(sector_pos + wide(SECTOR_BYTES));
            }
            lands
        });
        let end = end.min(content.bytes().max(pos + wide(data.len())));
        content.set_bytes(mutation, end);
        mutation
    }

    /// There must be one for what is made.
    fn take_inode(&self) -> io::Result<()> {
        if self.files_end.is_some_and(|end| self.used_files() >= end) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    /// Takes room for `bytes` more, or none but for a name. There is none now and then, or when the disk
    /// is full.
    fn fill(&mut self, bytes: u64) -> io::Result<()> {
        let is_full = match self.capacity {
            Some(capacity) => {
                let used = self.used_bytes();
                used >= capacity || capacity - used < bytes
            }
            None => false,
        };
        if is_full || self.chance.one_in(self.faults.is_full) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    fn duration(&mut self, request: &Request) -> u64 {
        let usual = match request {
            Request::Write { sync: Sync::Durable, .. }
            | Request::Sync { .. }
            | Request::SyncDir { .. } => self.faults.write_nanos,
            Request::Read { .. } | Request::Write { .. } => self.faults.write_nanos / 2,
            _ => self.faults.write_nanos / 8,
        };
        let blocks = match request {
            Request::Write { data, .. } => wide(data.len()).div_ceil(BLOCK_BYTES),
            _ => 0,
        };
        let usual = usual + blocks * self.faults.block_nanos;
        let stall = if self.chance.one_in(self.faults.stalls) {
            self.chance.below(self.faults.stall_nanos.max(1))
        } else {
            0
        };
        self.chance.around(usual) + stall
    }

    /// What a broker must never ask for.
    fn check(&self, request: &Request) {
        if let Request::Truncate { ino, bytes } = request {
            let is_in_flight = self.operations.values().any(|state| {
                matches!(state, State::Running { request: Request::Write { ino: other, pos, data, .. }, .. }
                    if other == ino && pos + wide(data.len()) > *bytes)
            });
            assert!(!is_in_flight, "a truncation below a write in flight: file {}", ino.get());
        }
        let Request::Write { ino, pos, data, kind, .. } = request else { return };
        let bytes = wide(data.len());
        assert!(bytes > 0, "an empty write");
        if *kind == Kind::Direct {
            assert!(pos.is_multiple_of(BLOCK_BYTES), "direct I/O writes whole blocks");
            assert!(data.len().is_multiple_of(PAGE_BYTES), "direct I/O writes whole blocks");
        }
        for state in self.operations.values() {
            let State::Running { request, .. } = state else { continue };
            match request {
                Request::Write { ino: other, pos: start, data, .. } if other == ino => {
                    let end = start + wide(data.len());
                    assert!(
                        pos + bytes <= *start || end <= *pos,
                        "two writes in flight overlap: file {} [{pos}, +{bytes}) and [{start}, {end})",
                        ino.get()
                    );
                }
                Request::Truncate { ino: other, bytes: end } if other == ino => {
                    assert!(pos + bytes <= *end, "a write past a truncation in flight");
                }
                _ => {}
            }
        }
    }

    fn content(&mut self, ino: Ino) -> &mut Content {
        self.contents.get_mut(&ino).expect("an open file has content")
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits in 64 bits")
}
