//! Where the frames of one shard's journal go: files of fixed size, filled in turn and recycled.
//!
//! Pure placement: it knows no bytes and no file system.
//! A frame is placed only into a file that is made already: whoever has a place needs no more room of
//! the disk, and a journal that cannot grow goes on with the files that it has.
//! Invariant: a file is reused only when every frame in it lies before the last checkpoint.

use crate::id::FilePos;
use crate::journal::BLOCK_BYTES;

/// Sizes of a journal. The files' blocks are written once, when a file is made, and then recycled.
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    pub file_bytes: u64,
    pub file_count_max: usize,
}

impl JournalLimits {
    pub const DEFAULT: Self = Self { file_bytes: 8 << 20, file_count_max: 8 };

    /// Files that are no larger than this part of the file system, all shards' together.
    const FILE_SHARE: u64 = 256;
    /// Several frames fit into any file.
    const FILE_BYTES_MIN: u64 = 1 << 20;

    /// For one of `shard_count` journals on a file system of `total_bytes`: smaller files on a small one.
    #[must_use]
    pub fn on(total_bytes: u64, shard_count: u64) -> Self {
        let journals = Self::FILE_SHARE.saturating_mul(shard_count.max(1));
        let share = total_bytes.checked_div(journals).unwrap_or(0);
        let share = share.saturating_sub(share % Self::FILE_BYTES_MIN);
        let file_bytes = share.clamp(Self::FILE_BYTES_MIN, Self::DEFAULT.file_bytes);
        Self { file_bytes, ..Self::DEFAULT }
    }

    /// Of all files.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.file_bytes.saturating_mul(u64::try_from(self.file_count_max).unwrap_or(u64::MAX))
    }
}

/// Where one frame goes, and its number. The frame must be written: the next one lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Place {
    pub file: usize,
    pub pos: FilePos,
    pub sequence: u64,
}

/// Every file that is made is full: only a checkpoint, or a file more, helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFull;

/// What batches still find in a journal before its reserve, of what they find when a checkpoint is due.
/// Both are 0 if they find nothing then. The end of each file that no frame fitted into is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    pub left_bytes: u64,
    pub due_bytes: u64,
}

/// Whether files are made as they are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Free,
    /// No more than those that are made.
    Stopped,
}

/// One per shard.
///
/// Invariant: `current` is an index into `files`, if there are any, and all sequences lie below
/// `next_sequence`.
#[derive(Debug)]
pub struct JournalPlan {
    limits: JournalLimits,
    /// Those that are made.
    files: Vec<File>,
    growth: Growth,
    current: usize,
    next_sequence: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct File {
    used_bytes: u64,
    /// Of the last frame in it; meaningless while it is unused.
    last_sequence: u64,
}

impl JournalPlan {
    /// With fewer files no batch is placed: one fills, and one is the reserve.
    pub const FILE_COUNT_MIN: usize = 2;
    /// So many files are kept free of frames, if more can be made.
    const FREE_COUNT: usize = 2;

    /// A journal of a new generation: nothing in the `file_count` files on disk is needed any more.
    ///
    /// # Panics
    /// If the limits are no multiple of a block.
    #[must_use]
    pub fn new(limits: JournalLimits, file_count: usize) -> Self {
        assert!(
            limits.file_count_max > Self::FILE_COUNT_MIN,
            "one more fills while one is checkpointed"
        );
        assert!(limits.file_bytes > 0 && limits.file_bytes.is_multiple_of(block_bytes()));
        let files = vec![File::default(); file_count.min(limits.file_count_max)];
        let plan = Self { limits, files, growth: Growth::Free, current: 0, next_sequence: 0 };
        plan.check();
        plan
    }

    #[must_use]
    pub const fn limits(&self) -> JournalLimits {
        self.limits
    }

    /// The file that should be made now, with all its blocks written, and its name durable.
    #[must_use]
    pub fn next_unmade(&self) -> Option<usize> {
        let free_count = self.files.iter().filter(|it| it.used_bytes == 0).count();
        let is_wanted = free_count < Self::FREE_COUNT
            && self.files.len() < self.limits.file_count_max
            && self.growth == Growth::Free;
        is_wanted.then_some(self.files.len())
    }

    /// # Panics
    /// If it is not the next one.
    pub fn on_made(&mut self, file: usize) {
        assert!(file == self.files.len(), "files are made in turn");
        self.files.push(File::default());
        self.check();
    }

    /// A file could not be made: those that are there must do.
    pub const fn stop_growth(&mut self) {
        self.growth = Growth::Stopped;
    }

    /// It is worth trying again.
    pub const fn resume_growth(&mut self) {
        self.growth = Growth::Free;
    }

    /// The sequence of the frame that is placed next: where a checkpoint begun now lets replay start.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether the last free file stays free. It is for the Intent entries that a checkpoint cannot
    /// do without: batches must wait for the checkpoint.
    #[must_use]
    pub fn leaves_reserve(&self, frame_bytes: u64) -> bool {
        self.room(frame_bytes).is_some_and(|index| !self.is_last_room(index))
    }

    /// Whether `place` has one.
    #[must_use]
    pub fn has_room(&self, frame_bytes: u64) -> bool {
        self.room(frame_bytes).is_some()
    }

    /// # Panics
    /// If `frame_bytes` is no multiple of a block, or larger than a file.
    pub fn place(&mut self, frame_bytes: u64) -> Result<Place, JournalFull> {
        let index = self.room(frame_bytes).ok_or(JournalFull)?;
        let Some(file) = self.files.get_mut(index) else { unreachable!("it was found") };
        let sequence = self.next_sequence;
        let pos = FilePos::new(file.used_bytes);
        file.used_bytes = file.used_bytes.saturating_add(frame_bytes);
        file.last_sequence = sequence;
        self.current = index;
        self.next_sequence = sequence.saturating_add(1);
        self.check();
        Ok(Place { file: index, pos, sequence })
    }

    /// A checkpoint that makes every frame before `sequence` needless is durable.
    ///
    /// # Panics
    /// If `sequence` was never reached.
    pub fn on_checkpoint(&mut self, sequence: u64) {
        assert!(sequence <= self.next_sequence);
        for file in &mut self.files {
            if file.last_sequence < sequence {
                file.used_bytes = 0;
            }
        }
        self.check();
    }

    /// Bytes in files that the next checkpoint may free.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.files.iter().map(|it| it.used_bytes).sum()
    }

    /// Half of the journal is used: there is as much left for what comes while the checkpoint runs.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        let used_bytes = self.used_bytes();
        used_bytes > 0 && used_bytes >= self.due_bytes()
    }

    /// How much time a checkpoint has, in bytes.
    #[must_use]
    pub fn slack(&self) -> Slack {
        let bytes = self.attainable().bytes_max().saturating_sub(self.limits.file_bytes);
        Slack {
            left_bytes: bytes.saturating_sub(self.used_bytes()),
            due_bytes: bytes.saturating_sub(self.due_bytes()),
        }
    }

    /// Used bytes at which a checkpoint is due.
    fn due_bytes(&self) -> u64 {
        self.attainable().bytes_max() / 2
    }

    /// With as many files as there can be.
    fn attainable(&self) -> JournalLimits {
        let file_count_max = match self.growth {
            Growth::Free => self.limits.file_count_max,
            Growth::Stopped => self.files.len(),
        };
        JournalLimits { file_count_max, ..self.limits }
    }

    /// The file for the next frame.
    fn room(&self, frame_bytes: u64) -> Option<usize> {
        assert!(frame_bytes > 0 && frame_bytes.is_multiple_of(block_bytes()));
        assert!(frame_bytes <= self.limits.file_bytes, "a frame fits into a file");
        let fits = |it: &File| it.used_bytes.saturating_add(frame_bytes) <= self.limits.file_bytes;
        if self.files.get(self.current).is_some_and(fits) {
            return Some(self.current);
        }
        self.files.iter().position(|it| it.used_bytes == 0)
    }

    fn is_last_room(&self, index: usize) -> bool {
        let used_count =
            self.files.iter().enumerate().filter(|(at, it)| *at != index && it.used_bytes > 0);
        used_count.count().saturating_add(1) == self.files.len()
    }

    fn check(&self) {
        assert!(self.files.len() <= self.limits.file_count_max);
        assert!(self.current < self.files.len() || self.current == 0);
        for file in &self.files {
            assert!(file.used_bytes <= self.limits.file_bytes);
            assert!(file.used_bytes == 0 || file.last_sequence < self.next_sequence);
        }
    }
}

fn block_bytes() -> u64 {
    u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{JournalFull, JournalLimits, JournalPlan, Place, Slack};
    use crate::id::FilePos;

    const LIMITS: JournalLimits = JournalLimits { file_bytes: 3 * 4096, file_count_max: 3 };

    fn plan(file_count: usize) -> JournalPlan {
        JournalPlan::new(LIMITS, file_count)
    }

    #[track_caller]
    fn check(plan: &mut JournalPlan, blocks: u64, want: Result<(usize, u64, u64), JournalFull>) {
        let want = want.map(|(file, block, sequence)| Place {
            file,
            pos: FilePos::new(block * 4096),
            sequence,
        });
        assert_eq!(plan.place(blocks * 4096), want);
    }

    #[test]
    fn files_are_recycled_after_a_checkpoint() {
        let mut plan = plan(3);
        check(&mut plan, 2, Ok((0, 0, 0)));
        check(&mut plan, 1, Ok((0, 2, 1)));
        assert!(!plan.wants_checkpoint());
        let start = plan.next_sequence();
        check(&mut plan, 2, Ok((1, 0, 2)));
        assert!(plan.wants_checkpoint());
        check(&mut plan, 2, Ok((2, 0, 3)));
        check(&mut plan, 2, Err(JournalFull));
        assert_eq!(plan.next_sequence(), 4, "a refused frame has no number");
        plan.on_checkpoint(start);
        assert_eq!(plan.used_bytes(), 4 * 4096);
        check(&mut plan, 2, Ok((0, 0, 4)));
        check(&mut plan, 2, Err(JournalFull));
        check(&mut plan, 1, Ok((0, 2, 5)));
        plan.on_checkpoint(plan.next_sequence());
        assert_eq!(plan.used_bytes(), 0);
        check(&mut plan, 3, Ok((0, 0, 6)));
    }

    #[test]
    fn a_frame_is_placed_only_into_a_file_that_is_made() {
        let mut plan = plan(0);
        assert!(!plan.leaves_reserve(4096));
        check(&mut plan, 1, Err(JournalFull));
        for file in 0..2 {
            assert_eq!(plan.next_unmade(), Some(file));
            plan.on_made(file);
        }
        assert_eq!(plan.next_unmade(), None, "two files are free");
        check(&mut plan, 3, Ok((0, 0, 0)));
        assert_eq!(plan.next_unmade(), Some(2));
        assert!(!plan.leaves_reserve(4096), "the second one is the reserve until there is a third");
        plan.on_made(2);
        assert!(plan.leaves_reserve(4096));
        check(&mut plan, 1, Ok((1, 0, 1)));
        assert_eq!(plan.next_unmade(), None, "there are no more");
    }

    #[test]
    fn a_journal_that_cannot_grow_is_checkpointed_when_half_of_it_is_used() {
        let mut plan = plan(2);
        assert!(!plan.wants_checkpoint());
        check(&mut plan, 3, Ok((0, 0, 0)));
        assert!(!plan.wants_checkpoint());
        plan.stop_growth();
        assert_eq!(plan.next_unmade(), None);
        assert!(plan.wants_checkpoint());
        plan.on_checkpoint(plan.next_sequence());
        assert!(!plan.wants_checkpoint());
        assert!(plan.leaves_reserve(4096));
        check(&mut plan, 1, Ok((0, 0, 1)));
        plan.resume_growth();
        assert_eq!(plan.next_unmade(), Some(2));
    }

    #[test]
    fn slack_is_what_lies_before_the_reserve() {
        let block = |count: u64| count * 4096;
        let slack = |left, due| Slack { left_bytes: block(left), due_bytes: block(due) };
        let limits = JournalLimits { file_bytes: block(4), file_count_max: 4 };
        let mut plan = JournalPlan::new(limits, 2);
        // Of 16 blocks 4 are the reserve, and a checkpoint is due with 8.
        assert_eq!(plan.slack(), slack(12, 4));
        check(&mut plan, 4, Ok((0, 0, 0)));
        assert_eq!(plan.slack(), slack(8, 4));
        plan.stop_growth();
        assert!(plan.wants_checkpoint());
        assert_eq!(plan.slack(), slack(0, 0), "it never has more than two files");
        plan.resume_growth();
        (2..4).for_each(|file| plan.on_made(file));
        for file in 1..4 {
            let sequence = u64::try_from(file).unwrap();
            check(&mut plan, 4, Ok((file, 0, sequence)));
        }
        assert_eq!(plan.slack(), slack(0, 4), "the reserve is in use");
    }

    #[test]
    fn the_last_file_is_a_reserve_also_if_others_are_not_filled_to_the_end() {
        let mut plan = plan(3);
        for file in 0..2 {
            assert!(plan.leaves_reserve(2 * 4096));
            check(&mut plan, 2, Ok((file, 0, u64::try_from(file).unwrap())));
        }
        assert!(plan.leaves_reserve(4096));
        assert!(!plan.leaves_reserve(2 * 4096));
        check(&mut plan, 2, Ok((2, 0, 2)));
        assert!(!plan.leaves_reserve(2 * 4096));
    }

    #[test]
    fn a_file_with_one_needed_frame_is_kept() {
        let mut plan = plan(1);
        check(&mut plan, 1, Ok((0, 0, 0)));
        check(&mut plan, 1, Ok((0, 1, 1)));
        plan.on_checkpoint(1);
        assert_eq!(plan.used_bytes(), 2 * 4096);
    }

    #[test]
    fn files_are_smaller_on_a_small_file_system() {
        let file_mib = |total_mib: u64, shard_count| {
            JournalLimits::on(total_mib << 20, shard_count).file_bytes >> 20
        };
        assert_eq!(file_mib(64, 2), 1);
        assert_eq!(file_mib(256, 1), 1);
        assert_eq!(file_mib(1024, 1), 4);
        assert_eq!(file_mib(1024, 2), 2);
        assert_eq!(file_mib(10 << 20, 64), 8);
    }
}
