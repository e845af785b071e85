//! What room the disk has left, and what that means: shard 0 watches, every shard obeys.
//!
//! Nothing is asked while nothing happens. A shard that writes has the room looked at once in a while;
//! when it runs short shard 0 looks every second, until there is enough again.
//! A write that finds no room loses nothing that was acknowledged, so it closes nothing: whoever wrote
//! waits here and writes the same again. Meanwhile nothing is appended.
//!
//! The reserve is files of this broker's that hold room and nothing else: one large file, and many that
//! are empty, for their inodes. It is given up when a write finds no room, or when the broker starts on a
//! full disk, so that what was acknowledged gets from the journal to its segments, a checkpoint is made,
//! topics are deleted and a start comes to its end. It is as large as all journals together, which bounds
//! the bytes that such a start must carry.
//!
//! A start makes, for each shard, a checkpoint beside the one before, and for a shard that was not there
//! a directory and two journal files; and the first segment of a partition, with directories, if only the
//! journal has its bytes. The number of these has no bound; the inodes that must be free for appends come
//! on top of the reserve.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use engine::fullness::{Floors, Fullness, Level};
use engine::id::PartitionId;
use engine::journal::plan::JournalLimits;

use crate::io::{Io, Nanos, Open, Space};
use crate::limits::{PAUSE_MAX, ROOM_LOOK, ROOM_RETRY};
use crate::message::Message;
use crate::metrics::Metric;
use crate::recovery::METADATA;
use crate::shard::Shard;
use crate::signal::{self, Bell};

const RESERVE: &str = "reserve";
/// What the reserve holds for checkpoints and metadata.
const RESERVE_BYTES_MIN: u64 = 4 << 20;
/// The reserve is at most one in so many bytes of the file system.
const RESERVE_SHARE: u64 = 8;
/// A directory with the files of the reserve that are empty.
const SPARES: &str = "reserve.inodes";
/// What they are for: segments, directories and sidecars; and of each shard.
const SPARES_MIN: u64 = 64;
const SPARES_PER_SHARD: u64 = 4;

/// What a file operation lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Bytes, inodes, or what a quota allows.
    Space,
    /// Of this process, or of the machine.
    Descriptors,
}

impl Shortage {
    /// `None`: it failed for another reason.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Some(Self::Space),
            Some(libc::EMFILE | libc::ENFILE) => Some(Self::Descriptors),
            _ => match error.kind() {
                // The kernel took less than a block of a direct write.
                io::ErrorKind::WriteZero => Some(Self::Space),
                _ => None,
            },
        }
    }
}

/// Why something could not be stored.
#[derive(Debug)]
pub enum StoreError {
    /// Nothing that was acknowledged is in doubt: the same may be written again.
    Short(Shortage, io::Error),
    /// What is on disk is unknown.
    Failed(io::Error),
}

impl StoreError {
    /// Of a sync: one that failed may have lost what it should have stored, whatever the reason, and is
    /// never tried again. Only one that could not begin is different.
    #[must_use]
    pub fn of_sync(error: io::Error) -> Self {
        match Shortage::of(&error) {
            Some(Shortage::Descriptors) => Self::Short(Shortage::Descriptors, error),
            Some(Shortage::Space) | None => Self::Failed(error),
        }
    }

    pub fn into_error(self) -> io::Error {
        match self {
            Self::Short(_, error) | Self::Failed(error) => error,
        }
    }
}

impl From<io::Error> for StoreError {
    /// Of anything but a sync.
    fn from(error: io::Error) -> Self {
        match Shortage::of(&error) {
            Some(shortage) => Self::Short(shortage, error),
            None => Self::Failed(error),
        }
    }
}

/// What shard 0 tells every shard.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    pub level: Level,
    /// Of the last look.
    pub space: Space,
    /// Bytes that producers of one shard may write in a second, if there is a limit.
    pub rate: Option<u64>,
}

/// One per shard.
pub struct Room {
    notice: Cell<Option<Notice>>,
    /// A write of this shard found none, and shard 0 has not looked since.
    is_refused: Cell<bool>,
    /// When this shard last had the room looked at.
    asked_at: Cell<Nanos>,
    /// Until then producers have used what they may write.
    paced_until: Cell<Nanos>,
    /// Rings when what found no room may be tried again.
    again: Bell,
    /// Of shard 0: rings when the room is to be looked at.
    asked: Bell,
    /// Of shard 0: the first look, which makes the reserve, can wait until clients are served.
    has_plenty: Cell<bool>,
    watch: RefCell<Option<Watch>>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            notice: Cell::new(None),
            is_refused: Cell::new(false),
            asked_at: Cell::new(Nanos::default()),
            paced_until: Cell::new(Nanos::default()),
            again: Bell::default(),
            asked: Bell::default(),
            has_plenty: Cell::new(false),
            watch: RefCell::default(),
        }
    }
}

/// What shard 0 knows.
struct Watch {
    fullness: Fullness,
    size: ReserveSize,
    reserve: Reserve,
}

/// What the reserve holds.
#[derive(Clone, Copy, Debug)]
struct ReserveSize {
    bytes: u64,
    /// Inodes.
    files: u64,
}

impl ReserveSize {
    fn on(space: Space, journal: JournalLimits, shard_count: u64) -> Self {
        let bytes = journal.bytes_max() * shard_count + RESERVE_BYTES_MIN;
        let files = SPARES_MIN + SPARES_PER_SHARD * shard_count;
        Self {
            bytes: bytes.min(space.total_bytes / RESERVE_SHARE),
            files: files.min(space.total_files / RESERVE_SHARE),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    /// Left by an earlier life, and perhaps of another size.
    Old,
    Held,
    Missing,
}

impl Room {
    #[must_use]
    pub fn level(&self) -> Level {
        if self.is_refused.get() {
            return Level::ReadOnly;
        }
        self.notice.get().map_or(Level::Ok, |notice| notice.level)
    }

    /// As of the last look. `None`: nobody could tell.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        self.notice.get().map(|notice| notice.space)
    }

    /// Whether nothing may be appended to `partition`.
    #[must_use]
    pub fn refuses(&self, partition: PartitionId) -> bool {
        self.level() == Level::ReadOnly && partition != METADATA
    }

    /// How long a client that has written `bytes` must wait before it writes again.
    pub fn pause(&self, bytes: u64, now: Nanos) -> Duration {
        let Some(rate) = self.notice.get().and_then(|notice| notice.rate) else {
            return Duration::ZERO;
        };
        let cost = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.max(1));
        let until = self.paced_until.get().max(now).plus(cost.min(PAUSE_MAX));
        let until = until.min(now.plus(PAUSE_MAX));
        self.paced_until.set(until);
        until.since(now)
    }

    /// Whoever waits for room looks whether there is some.
    pub fn try_again(&self) {
        self.again.ring();
    }
}

impl<I: Io> Shard<I> {
    /// Something was written: the room is looked at if that was not done for a while.
    pub fn on_stored(self: &Rc<Self>) {
        let now = self.io.now();
        if now.since(self.room.asked_at.get()) >= ROOM_LOOK {
            self.ask_for_look(Message::LookAtRoom);
        }
    }

    /// Something found no room, or no descriptor, and will be tried again.
    pub fn on_shortage(self: &Rc<Self>, shortage: Shortage) {
        self.recorder.borrow_mut().add(Metric::Shortages, 1);
        if shortage == Shortage::Space && !self.room.is_refused.replace(true) {
            self.ask_for_look(Message::FoundNoRoom);
        }
    }

    /// Nobody waits for the answer: it comes as a notice.
    fn ask_for_look(self: &Rc<Self>, message: Message) {
        self.room.asked_at.set(self.io.now());
        drop(self.call(0, message));
    }

    /// A while, or until it is worth trying again.
    pub async fn next_try(&self) {
        let later = self.timers.at(self.io.now().plus(ROOM_RETRY));
        signal::either(self.room.again.next(), later).await;
    }

    /// On shard 0.
    pub fn on_look_at_room(&self) {
        self.room.asked.ring();
    }

    /// On shard 0.
    pub fn on_found_no_room(&self) {
        if let Some(watch) = self.room.watch.borrow_mut().as_mut() {
            watch.fullness.on_no_room();
        }
        self.room.asked.ring();
    }

    pub fn on_notice(&self, notice: Notice) {
        self.room.notice.set(Some(notice));
        self.room.is_refused.set(false);
        self.room.try_again();
        if notice.level < Level::NoGrowth {
            self.commit.resume_growth();
        }
    }
}

/// Before recovery: looks for the first time, and gives up the reserve if it may be needed. Answers
/// what the shards' journals may take.
pub async fn begin<I: Io>(shard: &Rc<Shard<I>>) -> JournalLimits {
    let space = match shard.io.space().await {
        Ok(space) => space,
        Err(error) => {
            tracing::warn!(%error, "the free space of the data directory cannot be told");
            return JournalLimits::DEFAULT;
        }
    };
    let shard_count = u64::try_from(shard.shard_count()).expect("shards are few");
    let journal = JournalLimits::on(space.total_bytes, shard_count);
    let size = ReserveSize::on(space, journal, shard_count);
    let floors = Floors::new(space.total_bytes, shard.config.free_bytes_min);
    let fullness = Fullness::new(floors, Floors::of_files(space.total_files));
    let is_there = shard.io.open(RESERVE, Open::Direct).await.is_ok();
    let reserve = if is_there { Reserve::Old } else { Reserve::Missing };
    let watch = Watch { fullness, size, reserve };
    shard.room.has_plenty.set(watch.leaves_plenty(space));
    *shard.room.watch.borrow_mut() = Some(watch);
    if !fullness.has_beside((0, 0), space.usable_bytes, space.usable_files) {
        tracing::warn!(
            free_bytes = space.usable_bytes,
            free_inodes = space.usable_files,
            "the disk of the data directory is nearly full: this start uses the reserve"
        );
        give_up_reserve(shard).await;
    }
    journal
}

/// Looks for the first time before clients are served, if that may restrict what they do.
pub async fn begin_service<I: Io>(shard: &Rc<Shard<I>>) {
    if !shard.room.has_plenty.get() {
        look(shard).await;
    }
}

/// Watches the room. On shard 0, once clients are served.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    if shard.room.has_plenty.get() {
        look(&shard).await;
    }
    while !shard.has_ended() {
        let asked = shard.room.asked.next();
        if shard.room.level() == Level::Ok {
            asked.wait().await;
        } else {
            signal::either(asked, shard.timers.at(shard.io.now().plus(ROOM_LOOK))).await;
        }
        look(&shard).await;
    }
}

/// Looks at the room once, and tells every shard.
pub async fn look<I: Io>(shard: &Rc<Shard<I>>) {
    let Some((before, is_refused)) = shard.room.watch.borrow().as_ref().map(Watch::state) else {
        return;
    };
    let Ok(space) = shard.io.space().await else { return };
    if is_refused {
        give_up_reserve(shard).await;
    } else {
        take_reserve(shard, space).await;
    }
    let shard_count = shard.shard_count();
    let on_look = |watch: &mut Watch| watch.on_look(space, shard_count);
    let Some(notice) = shard.room.watch.borrow_mut().as_mut().map(on_look) else { return };
    if before != notice.level {
        tell(before, &notice);
    }
    let calls: Vec<_> =
        (0..shard.shard_count()).map(|index| shard.call(index, Message::Room(notice))).collect();
    for call in calls {
        call.wait().await;
    }
}

impl Watch {
    /// The level before a look, and whether a write found no room since the last one.
    fn state(&self) -> (Level, bool) {
        (self.fullness.level(), self.fullness.is_refused())
    }

    /// Whether nothing is restricted even when a whole reserve is taken of what is free.
    fn leaves_plenty(&self, space: Space) -> bool {
        let mut beside = self.fullness;
        let free_bytes = space.usable_bytes.saturating_sub(self.size.bytes);
        beside.on_reading(free_bytes, space.usable_files.saturating_sub(self.size.files));
        beside.level() == Level::Ok
    }

    /// The reserve, if it is to be made now.
    fn wanted(&self, space: Space) -> Option<ReserveSize> {
        let ReserveSize { bytes, files } = self.size;
        let is_wanted = match self.reserve {
            Reserve::Old => true,
            Reserve::Missing => {
                let (free_bytes, free_files) = (space.usable_bytes, space.usable_files);
                self.fullness.has_beside((bytes, files), free_bytes, free_files)
            }
            Reserve::Held => false,
        };
        is_wanted.then_some(self.size)
    }

    fn on_look(&mut self, space: Space, shard_count: usize) -> Notice {
        // Room that the reserve will take is not there for anybody else.
        let held = ReserveSize { bytes: 0, files: 0 };
        let missing = if self.reserve == Reserve::Held { held } else { self.size };
        let free_bytes = space.usable_bytes.saturating_sub(missing.bytes);
        self.fullness.on_reading(free_bytes, space.usable_files.saturating_sub(missing.files));
        let shard_count = u64::try_from(shard_count).expect("shards are few");
        let rate = self.fullness.rate().map(|rate| rate / shard_count);
        Notice { level: self.fullness.level(), space, rate }
    }
}

/// Makes the reserve, if it is not there and enough is left beside it.
async fn take_reserve<I: Io>(shard: &Rc<Shard<I>>, space: Space) {
    let Some(size) = shard.room.watch.borrow().as_ref().and_then(|watch| watch.wanted(space))
    else {
        return;
    };
    match make_reserve(shard, size).await {
        Ok(()) => set_reserve(shard, Reserve::Held),
        Err(error) => {
            tracing::warn!(%error, ?size, "there is no room for the reserve");
            give_up_reserve(shard).await;
        }
    }
}

fn set_reserve<I: Io>(shard: &Shard<I>, reserve: Reserve) {
    if let Some(watch) = shard.room.watch.borrow_mut().as_mut() {
        watch.reserve = reserve;
    }
}

async fn make_reserve<I: Io>(shard: &Shard<I>, size: ReserveSize) -> io::Result<()> {
    let (io, bytes) = (&shard.io, size.bytes);
    make_spares(io, size.files).await?;
    let file = io.open(RESERVE, Open::CreateDirect).await?;
    if io.file_bytes(&file).await? > bytes {
        io.truncate(&file, bytes).await?;
    }
    io.allocate(&file, 0, bytes).await?;
    io.sync(&file).await?;
    io.sync_dir(".").await
}

/// Makes the empty files that are missing. More than `count` are too many.
async fn make_spares<I: Io>(io: &I, count: u64) -> io::Result<()> {
    let names = spares(io)?;
    let wanted: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    if wanted.is_empty() && names.is_empty() {
        return Ok(());
    }
    io.make_dir(SPARES).await?;
    for name in names.iter().filter(|it| !wanted.contains(it)) {
        io.unlink(&format!("{SPARES}/{name}")).await?;
    }
    for name in wanted.iter().filter(|it| !names.contains(it)) {
        drop(io.open(&format!("{SPARES}/{name}"), Open::CreateDirect).await?);
    }
    if names.len() == wanted.len() { Ok(()) } else { io.sync_dir(SPARES).await }
}

/// The names of the reserve's empty files.
fn spares<I: Io>(io: &I) -> io::Result<Vec<String>> {
    match io.list(SPARES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

async fn remove_spares<I: Io>(io: &I) -> io::Result<()> {
    for name in spares(io)? {
        io.unlink(&format!("{SPARES}/{name}")).await?;
    }
    Ok(())
}

async fn give_up_reserve<I: Io>(shard: &Shard<I>) {
    if let Err(error) = remove_spares(&shard.io).await {
        tracing::error!(%error, "the inodes of the reserve cannot be given up");
    }
    match shard.io.unlink(RESERVE).await {
        Ok(()) => tracing::warn!("the reserve is given up, so that what is stored can be finished"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::error!(%error, "the reserve cannot be given up"),
    }
    set_reserve(shard, Reserve::Missing);
}

/// One line for people: what holds now, and what to do.
fn tell(before: Level, notice: &Notice) {
    let (free_bytes, total_bytes) = (notice.space.usable_bytes, notice.space.total_bytes);
    let free_inodes = notice.space.usable_files;
    let (level, before) = (notice.level.name(), before.name());
    match notice.level {
        Level::Ok => {
            tracing::info!(
                level,
                before,
                free_bytes,
                total_bytes,
                free_inodes,
                "the disk has room"
            );
        }
        Level::Warn => tracing::warn!(
            level,
            before,
            free_bytes,
            total_bytes,
            free_inodes,
            "the disk of the data directory fills up: make room or add some"
        ),
        Level::Throttle => tracing::warn!(
            level,
            before,
            free_bytes,
            total_bytes,
            free_inodes,
            "the disk of the data directory is nearly full: producers are slowed down; delete topics \
             or records, or add room"
        ),
        Level::NoGrowth => tracing::warn!(
            level,
            before,
            free_bytes,
            total_bytes,
            free_inodes,
            "the disk of the data directory is nearly full: producers are slowed down and no topic or \
             partition is made; delete topics or records, or add room"
        ),
        Level::ReadOnly => tracing::error!(
            level,
            before,
            free_bytes,
            total_bytes,
            free_inodes,
            "the disk of the data directory is full: nothing is appended, and producers are told to try \
             again; delete topics or records, or add room (bytes, inodes, or what a quota allows): it \
             goes on by itself"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use engine::fullness::Level;

    use super::{Notice, Room, Shortage, StoreError};
    use crate::io::{Nanos, Space};

    #[test]
    fn a_shortage_is_told_from_a_fault() {
        let of = |errno| Shortage::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ENOSPC), Some(Shortage::Space));
        assert_eq!(of(libc::EDQUOT), Some(Shortage::Space));
        assert_eq!(of(libc::EMFILE), Some(Shortage::Descriptors));
        assert_eq!(of(libc::ENFILE), Some(Shortage::Descriptors));
        assert_eq!(of(libc::EIO), None);
        assert_eq!(of(libc::EROFS), None);
    }

    #[test]
    fn a_sync_that_failed_is_a_fault_whatever_it_says() {
        let error = io::Error::from_raw_os_error;
        assert!(matches!(StoreError::from(error(libc::ENOSPC)), StoreError::Short(..)));
        assert!(matches!(StoreError::of_sync(error(libc::ENOSPC)), StoreError::Failed(_)));
        assert!(matches!(StoreError::of_sync(error(libc::EMFILE)), StoreError::Short(..)));
        assert!(matches!(StoreError::from(error(libc::EIO)), StoreError::Failed(_)));
    }

    #[test]
    fn producers_wait_for_what_they_wrote_and_for_each_other() {
        let room = Room::default();
        let now = Nanos::new(7);
        assert_eq!(room.pause(1 << 30, now), Duration::ZERO);
        let space =
            Space { total_bytes: 100, usable_bytes: 20, total_files: 0, usable_files: u64::MAX };
        room.notice.set(Some(Notice { level: Level::Throttle, space, rate: Some(1_000_000) }));
        assert_eq!(room.pause(1_000, now), Duration::from_millis(1));
        assert_eq!(room.pause(1_000, now), Duration::from_millis(2));
        let later = now.plus(Duration::from_millis(10));
        assert_eq!(room.pause(1_000, later), Duration::from_millis(1));
        assert_eq!(room.pause(1 << 30, later), crate::limits::PAUSE_MAX);
    }
}
