//! How full a file system is, as what a broker may still do with it: a state machine over readings of
//! its free bytes and inodes, and over writes that found no room. The scarcer of the two decides.
//!
//! It goes to a stricter level at once, and comes back only when there is a quarter more than that level
//! asks for, so that a disk at an edge does not go to and fro.
//! Pure: it reads no file system, and knows neither clock nor file.

/// What may be done, the freest first. Each includes what those before it restrict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Ok,
    /// Somebody should look.
    Warn,
    /// Producers are slowed down, the more the less is free.
    Throttle,
    /// No topic and no partition is made.
    NoGrowth,
    /// Nothing is appended but what the cluster itself must know. Reads and deletions go on.
    ReadOnly,
}

impl Level {
    pub const ALL: [Self; 5] =
        [Self::Ok, Self::Warn, Self::Throttle, Self::NoGrowth, Self::ReadOnly];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Throttle => "throttle",
            Self::NoGrowth => "no growth",
            Self::ReadOnly => "read-only",
        }
    }

    /// For a gauge: 0 is `Ok`.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Ok => 0,
            Self::Warn => 1,
            Self::Throttle => 2,
            Self::NoGrowth => 3,
            Self::ReadOnly => 4,
        }
    }
}

/// One in so many bytes of the file system, if nobody said how many shall stay free.
const READ_ONLY_SHARE: u64 = 50;
const READ_ONLY_BYTES_MIN: u64 = 2 << 20;
const READ_ONLY_BYTES_MAX: u64 = 1 << 30;
/// A warning comes at one in so many bytes, but a large disk is no reason to warn early.
const WARN_SHARE: u64 = 10;
const WARN_BYTES_MAX: u64 = 64 << 30;

/// One in so many inodes, likewise; a segment wants one or two, a partition one, a topic one.
const READ_ONLY_FILES_MIN: u64 = 16;
const READ_ONLY_FILES_MAX: u64 = 1 << 10;
const WARN_FILES_MAX: u64 = 1 << 14;

/// Free bytes, or inodes, below which each level begins.
/// Invariant: `read_only < no_growth < throttle < warn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floors {
    read_only: u64,
    no_growth: u64,
    throttle: u64,
    warn: u64,
}

impl Floors {
    /// `free_bytes_min` shall stay free; `None`: a part of `total_bytes`.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn new(total_bytes: u64, free_bytes_min: Option<u64>) -> Self {
        let share = total_bytes / READ_ONLY_SHARE;
        let read_only =
            free_bytes_min.unwrap_or_else(|| share.clamp(READ_ONLY_BYTES_MIN, READ_ONLY_BYTES_MAX));
        assert!(read_only > 0, "a level begins below some free byte");
        let times = |count: u64| read_only.saturating_mul(count);
        let warn = (total_bytes / WARN_SHARE).min(WARN_BYTES_MAX).max(times(4));
        Self { read_only, no_growth: times(2), throttle: times(3), warn }
    }

    /// Of inodes. `None`: there is no end of them.
    #[must_use]
    pub fn of_files(total_files: u64) -> Option<Self> {
        let share = total_files / READ_ONLY_SHARE;
        let read_only = share.clamp(READ_ONLY_FILES_MIN, READ_ONLY_FILES_MAX);
        let warn = (total_files / WARN_SHARE).min(WARN_FILES_MAX).max(4 * read_only);
        let floors = Self { read_only, no_growth: 2 * read_only, throttle: 3 * read_only, warn };
        (total_files > 0).then_some(floors)
    }

    const fn level(&self, free_bytes: u64) -> Level {
        if free_bytes < self.read_only {
            Level::ReadOnly
        } else if free_bytes < self.no_growth {
            Level::NoGrowth
        } else if free_bytes < self.throttle {
            Level::Throttle
        } else if free_bytes < self.warn {
            Level::Warn
        } else {
            Level::Ok
        }
    }

    /// The levels on the way back.
    const fn raised(&self) -> Self {
        Self {
            read_only: raised(self.read_only),
            no_growth: raised(self.no_growth),
            throttle: raised(self.throttle),
            warn: raised(self.warn),
        }
    }
}

const fn raised(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 4)
}

/// Time in which producers would use up what is left before the disk is read-only, as they are slowed.
const THROTTLE_S: u64 = 20;
/// Slower than this is no help: it is what a broker writes for itself.
const RATE_MIN: u64 = 64 << 10;

/// What is left of bytes, or of inodes, and the level for it alone.
#[derive(Clone, Copy, Debug)]
struct Gauge {
    floors: Floors,
    level: Level,
    /// Of the last reading.
    free: u64,
}

impl Gauge {
    const fn new(floors: Floors) -> Self {
        Self { floors, level: Level::Ok, free: u64::MAX }
    }

    fn on_reading(&mut self, free: u64) {
        self.free = free;
        let strict = self.floors.level(free);
        let lenient = self.floors.raised().level(free);
        self.level = if strict > self.level { strict } else { self.level.min(lenient) };
    }
}

/// One per node.
#[derive(Clone, Copy, Debug)]
pub struct Fullness {
    bytes: Gauge,
    /// `None`: there is no end of inodes.
    files: Option<Gauge>,
    /// Since the last reading a write found no room, whatever the readings say: a quota, perhaps.
    is_refused: bool,
}

impl Fullness {
    #[must_use]
    pub fn new(bytes: Floors, files: Option<Floors>) -> Self {
        Self { bytes: Gauge::new(bytes), files: files.map(Gauge::new), is_refused: false }
    }

    #[must_use]
    pub fn level(&self) -> Level {
        self.files.map_or(self.bytes.level, |files| files.level.max(self.bytes.level))
    }

    /// Whether a write found no room since the last reading.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether both are enough for something to be appended, beside what is set aside of them.
    #[must_use]
    pub fn has_beside(&self, (bytes, files): (u64, u64), free_bytes: u64, free_files: u64) -> bool {
        let has =
            |floors: &Floors, aside: u64, free| floors.read_only.saturating_add(aside) <= free;
        let has_files = self.files.is_none_or(|it| has(&it.floors, files, free_files));
        has(&self.bytes.floors, bytes, free_bytes) && has_files
    }

    /// So much is there. After a write that found no room the level stays for one reading: if there is
    /// room now, the write succeeds until the next one.
    pub fn on_reading(&mut self, free_bytes: u64, free_files: u64) {
        if std::mem::take(&mut self.is_refused) {
            self.bytes.free = free_bytes;
            return;
        }
        self.bytes.on_reading(free_bytes);
        if let Some(files) = &mut self.files {
            files.on_reading(free_files);
        }
    }

    /// A write found no room.
    pub const fn on_no_room(&mut self) {
        self.is_refused = true;
        self.bytes.level = Level::ReadOnly;
    }

    /// Bytes that producers may write in a second, all together. `None`: as many as they like.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let left = self.bytes.free.saturating_sub(self.bytes.floors.read_only);
        (self.level() >= Level::Throttle).then(|| (left / THROTTLE_S).max(RATE_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::{Floors, Fullness, Level, RATE_MIN};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// What a machine comes to after each of some inputs. `None`: a write found no room.
    #[track_caller]
    fn check(steps: &[(Option<u64>, Level)]) {
        // Below 10 read-only, 20 no growth, 30 throttle, 100 warn.
        let mut fullness = Fullness::new(Floors::new(1_000, Some(10)), None);
        for (index, (input, want)) in steps.iter().enumerate() {
            match input {
                Some(free_bytes) => fullness.on_reading(*free_bytes, 0),
                None => fullness.on_no_room(),
            }
            assert_eq!(fullness.level(), *want, "after input {index}, {input:?}");
        }
    }

    #[test]
    fn each_level_begins_below_its_floor() {
        check(&[
            (Some(1_000), Level::Ok),
            (Some(100), Level::Ok),
            (Some(99), Level::Warn),
            (Some(30), Level::Warn),
            (Some(29), Level::Throttle),
            (Some(20), Level::Throttle),
            (Some(19), Level::NoGrowth),
            (Some(10), Level::NoGrowth),
            (Some(9), Level::ReadOnly),
            (Some(0), Level::ReadOnly),
        ]);
        check(&[(Some(5), Level::ReadOnly)]);
    }

    #[test]
    fn a_level_is_left_with_a_quarter_more_than_its_floor() {
        check(&[
            (Some(9), Level::ReadOnly),
            (Some(10), Level::ReadOnly),
            (Some(11), Level::ReadOnly),
            (Some(12), Level::NoGrowth),
            (Some(24), Level::NoGrowth),
            (Some(25), Level::Throttle),
            (Some(36), Level::Throttle),
            (Some(37), Level::Warn),
            (Some(124), Level::Warn),
            (Some(125), Level::Ok),
        ]);
        check(&[(Some(9), Level::ReadOnly), (Some(500), Level::Ok)]);
        check(&[(Some(99), Level::Warn), (Some(110), Level::Warn), (Some(99), Level::Warn)]);
    }

    #[test]
    fn who_found_no_room_is_believed_more_than_a_reading() {
        check(&[
            (Some(1_000), Level::Ok),
            (None, Level::ReadOnly),
            (Some(1_000), Level::ReadOnly),
            (None, Level::ReadOnly),
            (Some(1_000), Level::ReadOnly),
            (Some(1_000), Level::Ok),
        ]);
        check(&[(None, Level::ReadOnly), (Some(5), Level::ReadOnly), (Some(5), Level::ReadOnly)]);
    }

    #[test]
    fn producers_are_slower_the_less_is_left() {
        let mut fullness = Fullness::new(Floors::new(GIB, Some(10 * MIB)), None);
        let mut rate = |free_bytes| {
            fullness.on_reading(free_bytes, 0);
            fullness.rate()
        };
        assert_eq!(rate(500 * MIB), None);
        assert_eq!(rate(50 * MIB), None);
        assert_eq!(rate(29 * MIB), Some(19 * MIB / 20));
        assert_eq!(rate(20 * MIB), Some(MIB / 2));
        assert_eq!(rate(10 * MIB), Some(RATE_MIN));
        assert_eq!(rate(MIB), Some(RATE_MIN));
    }

    #[test]
    fn floors_suit_small_and_large_disks() {
        let floors = |total_bytes| {
            let Floors { read_only, no_growth, throttle, warn } = Floors::new(total_bytes, None);
            assert!(read_only < no_growth && no_growth < throttle && throttle < warn);
            (read_only, warn)
        };
        assert_eq!(floors(64 * MIB), (2 * MIB, 8 * MIB));
        assert_eq!(floors(200 * MIB), (4 * MIB, 20 * MIB));
        assert_eq!(floors(10 << 40), (GIB, 64 * GIB));
    }

    #[test]
    fn the_scarcer_of_bytes_and_inodes_decides() {
        let files = Floors::of_files(4_096);
        let mut fullness = Fullness::new(Floors::new(GIB, Some(MIB)), files);
        let mut level = |free_bytes, free_files| {
            fullness.on_reading(free_bytes, free_files);
            fullness.level()
        };
        assert_eq!(level(GIB, 4_096), Level::Ok);
        assert_eq!(level(GIB, 200), Level::Throttle);
        assert_eq!(level(GIB, 80), Level::ReadOnly);
        assert_eq!(level(GIB, 4_096), Level::Ok);
        assert_eq!(level(0, 4_096), Level::ReadOnly);
        assert_eq!(level(0, 0), Level::ReadOnly);
        assert_eq!(Floors::of_files(0), None, "there is no end of them");
    }

    #[test]
    fn what_is_set_aside_leaves_enough_of_bytes_and_of_inodes() {
        let fullness = Fullness::new(Floors::new(1_000, Some(10)), Floors::of_files(800));
        assert!(fullness.has_beside((90, 50), 100, 66));
        assert!(!fullness.has_beside((90, 50), 99, 66));
        assert!(!fullness.has_beside((90, 50), 100, 65));
    }

    #[test]
    fn levels_are_numbered_in_their_order() {
        let numbers = Level::ALL.map(Level::number);
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(Level::ALL.is_sorted());
    }
}
