//! Where the frames of one shard's journal go: files of fixed size, filled in turn and recycled.
//!
//! Pure placement: it knows no bytes and no file system.
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
}

/// Where one frame goes, and its number. The frame must be written: the next one lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Place {
    pub file: usize,
    pub pos: FilePos,
    pub sequence: u64,
    /// The file does not exist: it must be made, with all its blocks written, and its name durable.
    pub new_file: bool,
}

/// Every file is full: only a checkpoint frees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFull;

/// One per shard.
///
/// Invariant: `current` is an index into `files`, and all sequences lie below `next_sequence`.
#[derive(Debug)]
pub struct JournalPlan {
    limits: JournalLimits,
    files: Vec<File>,
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
    /// A journal of a new generation: nothing in the `file_count` files on disk is needed any more.
    ///
    /// # Panics
    /// If the limits are no multiple of a block.
    #[must_use]
    pub fn new(limits: JournalLimits, file_count: usize) -> Self {
        assert!(limits.file_count_max >= 3, "one fills, one is checkpointed, one is the reserve");
        assert!(limits.file_bytes > 0 && limits.file_bytes.is_multiple_of(block_bytes()));
        let files = vec![File::default(); file_count.min(limits.file_count_max)];
        let plan = Self { limits, files, current: 0, next_sequence: 0 };
        plan.check();
        plan
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

    /// # Panics
    /// If `frame_bytes` is no multiple of a block, or larger than a file.
    pub fn place(&mut self, frame_bytes: u64) -> Result<Place, JournalFull> {
        let index = self.room(frame_bytes).ok_or(JournalFull)?;
        let new_file = index == self.files.len();
        if new_file {
            self.files.push(File::default());
        }
        let Some(file) = self.files.get_mut(index) else { unreachable!("it was found or made") };
        let sequence = self.next_sequence;
        let pos = FilePos::new(file.used_bytes);
        file.used_bytes = file.used_bytes.saturating_add(frame_bytes);
        file.last_sequence = sequence;
        self.current = index;
        self.next_sequence = sequence.saturating_add(1);
        self.check();
        Ok(Place { file: index, pos, sequence, new_file })
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
        let file_count_max = u64::try_from(self.limits.file_count_max).unwrap_or(u64::MAX);
        self.used_bytes() >= self.limits.file_bytes.saturating_mul(file_count_max) / 2
    }

    /// The file for the next frame; one past the last is a new one.
    fn room(&self, frame_bytes: u64) -> Option<usize> {
        assert!(frame_bytes > 0 && frame_bytes.is_multiple_of(block_bytes()));
        assert!(frame_bytes <= self.limits.file_bytes, "a frame fits into a file");
        let fits = |it: &File| it.used_bytes.saturating_add(frame_bytes) <= self.limits.file_bytes;
        if self.files.get(self.current).is_some_and(fits) {
            return Some(self.current);
        }
        let free = self.files.iter().position(|it| it.used_bytes == 0);
        let unmade = (self.files.len() < self.limits.file_count_max).then_some(self.files.len());
        free.or(unmade)
    }

    fn is_last_room(&self, index: usize) -> bool {
        let used_count =
            self.files.iter().enumerate().filter(|(at, it)| *at != index && it.used_bytes > 0);
        used_count.count().saturating_add(1) == self.limits.file_count_max
    }

    fn check(&self) {
        assert!(self.files.len() <= self.limits.file_count_max);
        assert!(self.current <= self.files.len());
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
    use super::{JournalFull, JournalLimits, JournalPlan, Place};
    use crate::id::FilePos;

    const LIMITS: JournalLimits = JournalLimits { file_bytes: 3 * 4096, file_count_max: 3 };

    #[track_caller]
    fn check(
        plan: &mut JournalPlan,
        blocks: u64,
        want: Result<(usize, u64, u64, bool), JournalFull>,
    ) {
        let want = want.map(|(file, block, sequence, new_file)| Place {
            file,
            pos: FilePos::new(block * 4096),
            sequence,
            new_file,
        });
        assert_eq!(plan.place(blocks * 4096), want);
    }

    #[test]
    fn files_are_made_lazily_and_recycled_after_a_checkpoint() {
        let mut plan = JournalPlan::new(LIMITS, 0);
        check(&mut plan, 2, Ok((0, 0, 0, true)));
        check(&mut plan, 1, Ok((0, 2, 1, false)));
        assert!(!plan.wants_checkpoint());
        let start = plan.next_sequence();
        check(&mut plan, 2, Ok((1, 0, 2, true)));
        assert!(plan.wants_checkpoint());
        check(&mut plan, 2, Ok((2, 0, 3, true)));
        check(&mut plan, 2, Err(JournalFull));
        assert_eq!(plan.next_sequence(), 4, "a refused frame has no number");
        plan.on_checkpoint(start);
        assert_eq!(plan.used_bytes(), 4 * 4096);
        check(&mut plan, 2, Ok((0, 0, 4, false)));
        check(&mut plan, 2, Err(JournalFull));
        check(&mut plan, 1, Ok((0, 2, 5, false)));
        plan.on_checkpoint(plan.next_sequence());
        assert_eq!(plan.used_bytes(), 0);
        check(&mut plan, 3, Ok((0, 0, 6, false)));
    }

    #[test]
    fn the_last_file_is_a_reserve_also_if_others_are_not_filled_to_the_end() {
        let mut plan = JournalPlan::new(LIMITS, 2);
        for file in 0..2 {
            assert!(plan.leaves_reserve(2 * 4096));
            check(&mut plan, 2, Ok((file, 0, u64::try_from(file).unwrap(), false)));
        }
        assert!(plan.leaves_reserve(4096));
        assert!(!plan.leaves_reserve(2 * 4096));
        check(&mut plan, 2, Ok((2, 0, 2, true)));
        assert!(!plan.leaves_reserve(2 * 4096));
    }

    #[test]
    fn a_file_with_one_needed_frame_is_kept() {
        let mut plan = JournalPlan::new(LIMITS, 0);
        check(&mut plan, 1, Ok((0, 0, 0, true)));
        check(&mut plan, 1, Ok((0, 1, 1, false)));
        plan.on_checkpoint(1);
        assert_eq!(plan.used_bytes(), 2 * 4096);
    }
}
