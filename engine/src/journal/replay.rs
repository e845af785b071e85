//! Reads one shard's journal back: the frames of one generation in order, or where it is damaged.
//!
//! It knows frames, not partitions.
//! One frame is in flight at a time, so only the last one can be torn: anything else missing is damage.
//! No crash leaves a gap, then: sequences are compared for the sake of disks that lose or damage a block.
//!
//! A file is filled from its first byte on, frame behind frame, and what lies behind the last one is
//! older. So not all of it need be read: `reads_on` says when the rest holds nothing that is needed,
//! unless the disk lost more in a row than the caller looks beyond the last frame.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use std::collections::BTreeMap;

use crate::bug::Bug;
use crate::id::FilePos;
use crate::journal::{BLOCK_BYTES, Frame, FrameError, Generation, StoredFrame};

/// A byte of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// As the caller numbers them.
    pub file: usize,
    pub pos: FilePos,
}

/// A frame that is needed is not there, or is there twice: the broker must not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalDamaged {
    /// Of the frame that is missing or doubled.
    pub sequence: u64,
    /// Its damaged remains, or where it must have been: between the frames that were written before and
    /// after it.
    pub at: Location,
    /// In the same file.
    pub end: FilePos,
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// After a whole frame, or without any.
    End,
    /// In a frame whose write was cut short. Nobody was told that it is durable.
    Torn(Location),
}

/// The frames to replay, in order of their sequence.
#[derive(Debug)]
pub struct Replayed {
    pub frames: Vec<StoredFrame>,
    pub verdict: Verdict,
}

/// Whether a part of a file is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Last,
    /// More follows, and this one has room for the largest frame.
    More,
}

/// Collects the frames of a generation from `first_sequence` on, from the files in any order.
///
/// Holds copies of just these frames.
#[derive(Debug)]
pub struct Replay {
    generation: Generation,
    first_sequence: u64,
    whole: BTreeMap<u64, StoredFrame>,
    damaged: BTreeMap<u64, Location>,
    doubled: Vec<JournalDamaged>,
    /// Of every whole frame of the generation, needed or not.
    places: BTreeMap<u64, Place>,
    files: BTreeMap<usize, Looked>,
}

/// What was looked at of a file, from its first byte on.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    end: FilePos,
    /// Of the frame that the file begins with. Zero: none that is whole, so any may be behind.
    first_sequence: u64,
    /// Of all frames, whole or not.
    newest_sequence: Option<u64>,
    /// The end of the last one that is not older than the first, as far as it is known.
    filled_end: FilePos,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Location,
    end: FilePos,
}

impl Replay {
    #[must_use]
    pub const fn new(generation: Generation, first_sequence: u64) -> Self {
        Self {
            generation,
            first_sequence,
            whole: BTreeMap::new(),
            damaged: BTreeMap::new(),
            doubled: Vec::new(),
            places: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    pub fn on_file(&mut self, file: usize, bytes: &[u8]) {
        self.on_part(file, FilePos::ZERO, bytes, Part::Last);
    }

    /// Looks at every block of the `bytes` that lie at `from`, as the remains of older frames lie
    /// behind the newer ones. Returns how many bytes are done with: there the next part begins.
    pub fn on_part(&mut self, file: usize, from: FilePos, bytes: &[u8], part: Part) -> usize {
        let mut at = 0_usize;
        let part_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.files.entry(file).or_default().end =
            FilePos::new(from.get().saturating_add(part_bytes));
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
        {
            let pos = from.get().saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
            let location = Location { file, pos: FilePos::new(pos) };
            let step = match Frame::parse(rest, self.generation) {
                Ok(frame) => {
                    self.on_frame(location, frame);
                    frame.frame_bytes()
                }
                // It goes on in the next part, unless not even a whole one has room for what it says.
                Err(FrameError::Short { sequence }) if part == Part::More && at > 0 => {
                    self.look(location, sequence, bytes.len().saturating_sub(at));
                    return at;
                }
                Err(FrameError::Short { sequence } | FrameError::Damaged { sequence }) => {
                    self.damaged.entry(sequence).or_insert(location);
                    self.look(location, sequence, BLOCK_BYTES);
                    BLOCK_BYTES
                }
                Err(FrameError::Foreign) => BLOCK_BYTES,
            };
            at = at.saturating_add(step);
        }
        at.min(bytes.len())
    }

    /// Whether what was not looked at of `file` may be needed, once the beginning of every file was looked
    /// at: its frames go on to less than `quiet_bytes` before, and it is not of those that were full, and
    /// needless, before another one was begun.
    ///
    /// `quiet_bytes` have room for the largest frame: then one that the disk lost hides none of those
    /// behind it.
    #[must_use]
    pub fn reads_on(&self, file: usize, quiet_bytes: u64) -> bool {
        let Some(looked) = self.files.get(&file) else { return true };
        let is_quiet = looked.filled_end.get().saturating_add(quiet_bytes) <= looked.end.get();
        !is_quiet && self.may_go_on(looked)
    }

    /// Whether frames that are needed may lie behind the known ones of a file.
    fn may_go_on(&self, looked: &Looked) -> bool {
        let needed = Some(self.first_sequence);
        if looked.newest_sequence >= needed {
            return true;
        }
        // The first one that is needed lies behind the newest of all that are not, if it is not known yet.
        let before = self.files.values().map(|it| it.newest_sequence).filter(|it| *it < needed);
        let is_known = self.places.contains_key(&self.first_sequence);
        !is_known
            && looked.newest_sequence.is_some()
            && before.max() == Some(looked.newest_sequence)
    }

    fn look(&mut self, at: Location, sequence: u64, frame_bytes: usize) {
        let looked = self.files.entry(at.file).or_default();
        looked.newest_sequence = looked.newest_sequence.max(Some(sequence));
        if looked.first_sequence <= sequence {
            let frame_bytes = u64::try_from(frame_bytes).unwrap_or(u64::MAX);
            looked.filled_end = FilePos::new(at.pos.get().saturating_add(frame_bytes));
        }
    }

    /// Everything that keeps the journal from being replayed: both places of each frame that is there
    /// twice, and the first of each run of frames that are missing.
    #[must_use]
    pub fn damages(&self) -> Vec<JournalDamaged> {
        let mut damages = self.doubled.clone();
        let mut next_sequence = self.first_sequence;
        for sequence in self.whole.keys() {
            if *sequence != next_sequence {
                damages.push(self.missing(next_sequence, *sequence));
            }
            next_sequence = sequence.saturating_add(1);
        }
        damages
    }

    pub fn finish(self) -> Result<Replayed, JournalDamaged> {
        if let Some(damaged) = self.damages().first() {
            return Err(*damaged);
        }
        let frame_count = u64::try_from(self.whole.len()).unwrap_or(u64::MAX);
        let next_sequence = self.first_sequence.saturating_add(frame_count);
        let verdict = self.damaged.get(&next_sequence).copied().map_or(Verdict::End, Verdict::Torn);
        Ok(Replayed { frames: self.whole.into_values().collect(), verdict })
    }

    fn on_frame(&mut self, at: Location, frame: Frame<'_>) {
        if at.pos == FilePos::ZERO {
            self.files.entry(at.file).or_default().first_sequence = frame.sequence();
        }
        self.look(at, frame.sequence(), frame.frame_bytes());
        let sequence = if Bug::FrameSequenceNotChecked.is_on() {
            self.first_sequence.saturating_add(u64::try_from(self.whole.len()).unwrap_or(u64::MAX))
        } else {
            frame.sequence()
        };
        let frame_bytes = u64::try_from(frame.frame_bytes()).unwrap_or(u64::MAX);
        let end = FilePos::new(at.pos.get().saturating_add(frame_bytes));
        let earlier = self.places.insert(sequence, Place { at, end });
        if sequence < self.first_sequence {
            return;
        }
        self.whole.insert(sequence, frame.into());
        if let Some(earlier) = earlier {
            for Place { at, end } in [Place { at, end }, earlier] {
                self.doubled.push(JournalDamaged { sequence, at, end });
            }
        }
    }

    /// Where the frame `sequence` must have been, the next whole one being `later`.
    fn missing(&self, sequence: u64, later: u64) -> JournalDamaged {
        let remains = self.damaged.get(&sequence).map(|at| (*at, self.next_in_file(*at)));
        let before_later = || {
            let Place { at, .. } = *self.places.get(&later)?;
            let ends = self.places.values().filter(|it| it.at.file == at.file && it.end <= at.pos);
            let from = ends.map(|it| it.end).max().unwrap_or(FilePos::ZERO);
            (from < at.pos).then_some((Location { pos: from, ..at }, at.pos))
        };
        let behind_earlier = || {
            let Place { at, end } = *self.places.get(&sequence.checked_sub(1)?)?;
            let from = Location { pos: end, ..at };
            let until = self.next_in_file(from);
            (end < until).then_some((from, until))
        };
        let found = remains.or_else(before_later).or_else(behind_earlier);
        let at_later = || self.places.get(&later).map(|it| (it.at, it.end));
        let nowhere = (Location { file: 0, pos: FilePos::ZERO }, FilePos::ZERO);
        let (at, end) = found.or_else(at_later).unwrap_or(nowhere);
        JournalDamaged { sequence, at, end }
    }

    /// The beginning of the next whole frame behind `at`, or the end of the file.
    fn next_in_file(&self, at: Location) -> FilePos {
        let behind = self.places.values().filter(|it| it.at.file == at.file && at.pos < it.at.pos);
        let end = self.files.get(&at.file).map_or(at.pos, |it| it.end);
        behind.map(|it| it.at.pos).min().unwrap_or(end)
    }
}

#[cfg(test)]
mod tests {
    use super::{JournalDamaged, Location, Part, Replay, Verdict};
    use crate::id::{FilePos, PartitionId, PartitionIndex, TopicId};
    use crate::journal::{BLOCK_BYTES, Entry, FrameWriter, Generation};

    const NOW: Generation = Generation::new(3, 30);
    const OLD: Generation = Generation::new(2, 20);

    fn frame(generation: Generation, sequence: u64, blocks: usize) -> Vec<u8> {
        let mut bytes = vec![0; blocks * BLOCK_BYTES];
        let mut writer = FrameWriter::begin(&mut bytes);
        let partition = PartitionId { topic: TopicId::ZERO, index: PartitionIndex::new(0) };
        while writer.push(&Entry::Removed { partition }).is_ok() {}
        assert_eq!(writer.finish(generation, sequence), blocks * BLOCK_BYTES);
        bytes
    }

    fn at(file: usize, block: usize) -> Location {
        Location { file, pos: FilePos::new(u64::try_from(block * BLOCK_BYTES).unwrap()) }
    }

    fn damaged(sequence: u64, from: Location, end_block: usize) -> JournalDamaged {
        JournalDamaged { sequence, at: from, end: at(from.file, end_block).pos }
    }

    #[track_caller]
    fn check(files: &[Vec<Vec<u8>>], want: Result<(&[u64], Verdict), JournalDamaged>) {
        let files: Vec<Vec<u8>> = files.iter().map(|it| it.concat()).collect();
        let mut replay = Replay::new(NOW, 5);
        for (index, bytes) in files.iter().enumerate() {
            replay.on_file(index, bytes);
        }
        let found = replay.finish().map(|it| {
            let sequences = it.frames.iter().map(|it| it.frame().sequence());
            (sequences.collect::<Vec<u64>>(), it.verdict)
        });
        assert_eq!(in_parts(&files), found);
        assert_eq!(found, want.map(|(sequences, verdict)| (sequences.to_vec(), verdict)));
    }

    /// The same, from parts of three blocks, which hold the largest frame here.
    fn in_parts(files: &[Vec<u8>]) -> Result<(Vec<u64>, Verdict), JournalDamaged> {
        let mut replay = Replay::new(NOW, 5);
        for (index, bytes) in files.iter().enumerate() {
            let mut from = 0;
            while from < bytes.len() {
                let end = bytes.len().min(from + 3 * BLOCK_BYTES);
                let part = if end == bytes.len() { Part::Last } else { Part::More };
                let pos = FilePos::new(from.try_into().unwrap());
                from += replay.on_part(index, pos, &bytes[from..end], part);
            }
        }
        let replayed = replay.finish()?;
        let sequences = replayed.frames.iter().map(|it| it.frame().sequence());
        Ok((sequences.collect(), replayed.verdict))
    }

    /// Which of the files are read on, when two blocks of each were looked at, beyond two quiet ones.
    #[track_caller]
    fn check_reads_on(files: &[Vec<Vec<u8>>], want: &[usize]) {
        let mut replay = Replay::new(NOW, 5);
        for (index, file) in files.iter().enumerate() {
            replay.on_part(index, FilePos::ZERO, &file.concat()[..2 * BLOCK_BYTES], Part::More);
        }
        let quiet_bytes = u64::try_from(2 * BLOCK_BYTES).unwrap();
        let reads_on = (0..files.len()).filter(|index| replay.reads_on(*index, quiet_bytes));
        assert_eq!(reads_on.collect::<Vec<usize>>(), want);
    }

    fn torn(generation: Generation, sequence: u64, blocks: usize) -> Vec<u8> {
        let mut bytes = frame(generation, sequence, blocks);
        let at = bytes.len() - 600;
        bytes[at] ^= 1;
        bytes
    }

    #[test]
    fn frames_come_in_order_whatever_the_files() {
        check(&[], Ok((&[], Verdict::End)));
        check(
            &[vec![frame(NOW, 7, 1), frame(OLD, 6, 1)], vec![frame(NOW, 5, 2), frame(NOW, 6, 1)]],
            Ok((&[5, 6, 7], Verdict::End)),
        );
    }

    #[test]
    fn frames_before_the_checkpoint_are_left_out() {
        check(
            &[vec![frame(NOW, 5, 1), frame(NOW, 6, 1), frame(NOW, 3, 1), frame(NOW, 4, 1)]],
            Ok((&[5, 6], Verdict::End)),
        );
    }

    #[test]
    fn a_torn_last_frame_is_the_end() {
        check(&[vec![frame(NOW, 5, 1), torn(NOW, 6, 2)]], Ok((&[5], Verdict::Torn(at(0, 1)))));
        check(&[vec![torn(NOW, 5, 1)]], Ok((&[], Verdict::Torn(at(0, 0)))));
    }

    #[test]
    fn a_bad_frame_before_a_whole_one_is_damage() {
        check(
            &[vec![frame(NOW, 5, 1), torn(NOW, 6, 2), frame(NOW, 7, 1)]],
            Err(damaged(6, at(0, 1), 3)),
        );
        check(
            &[vec![frame(NOW, 5, 1), vec![0; BLOCK_BYTES], frame(NOW, 7, 1)]],
            Err(damaged(6, at(0, 1), 2)),
        );
        check(&[vec![frame(NOW, 6, 1)]], Err(damaged(5, at(0, 0), 1)));
    }

    #[test]
    fn a_missing_frame_is_looked_for_between_those_before_and_after_it() {
        let hole = || vec![0; 2 * BLOCK_BYTES];
        check(
            &[vec![frame(NOW, 4, 1), frame(NOW, 5, 1), hole()], vec![frame(NOW, 7, 1)]],
            Err(damaged(6, at(0, 2), 4)),
        );
        check(
            &[vec![frame(NOW, 4, 1), hole()], vec![frame(NOW, 6, 1)]],
            Err(damaged(5, at(0, 1), 3)),
        );
        check(
            &[vec![frame(NOW, 7, 1)], vec![frame(NOW, 5, 1), hole(), frame(OLD, 2, 1)]],
            Err(damaged(6, at(1, 1), 4)),
        );
    }

    #[test]
    fn a_frame_that_announces_too_much_is_damage_and_hides_nothing() {
        let mut long = frame(NOW, 6, 1);
        long[34] = 1; // 64 KiB of payload: more than a part, or the file, has.
        check(
            &[vec![frame(NOW, 5, 1), long.clone(), frame(NOW, 7, 2), frame(OLD, 1, 3)]],
            Err(damaged(6, at(0, 1), 2)),
        );
        check(
            &[vec![frame(NOW, 5, 2), frame(OLD, 1, 2), long]],
            Ok((&[5], Verdict::Torn(at(0, 4)))),
        );
    }

    #[test]
    fn the_same_sequence_twice_is_damage() {
        check(&[vec![frame(NOW, 5, 1)], vec![frame(NOW, 5, 1)]], Err(damaged(5, at(1, 0), 1)));
    }

    #[test]
    fn the_inside_of_an_overwritten_frame_is_no_frame() {
        let mut old = frame(NOW, 3, 3);
        old[..BLOCK_BYTES].copy_from_slice(&frame(NOW, 5, 1));
        check(&[vec![old]], Ok((&[5], Verdict::End)));
    }

    #[test]
    fn a_file_is_read_on_until_so_much_behind_its_last_frame_is_older() {
        check_reads_on(&[vec![frame(NOW, 5, 1), frame(NOW, 6, 1)]], &[0]);
        check_reads_on(&[vec![frame(NOW, 5, 1), frame(OLD, 9, 1)]], &[0]);
        check_reads_on(&[vec![frame(OLD, 5, 1), frame(OLD, 6, 1)]], &[]);
        let mut replay = Replay::new(NOW, 5);
        let file = [frame(NOW, 5, 1), frame(NOW, 2, 1), frame(NOW, 3, 1)].concat();
        assert!(replay.reads_on(0, 4096), "nothing is known of it");
        replay.on_part(0, FilePos::ZERO, &file, Part::More);
        assert!(replay.reads_on(0, 3 * 4096));
        assert!(!replay.reads_on(0, 2 * 4096));
    }

    #[test]
    fn of_the_files_before_the_checkpoint_only_the_newest_is_read_on() {
        let file = |first, second| vec![frame(NOW, first, 1), frame(NOW, second, 1)];
        check_reads_on(&[file(3, 4), file(1, 2)], &[0]);
        check_reads_on(&[file(3, 4), file(7, 8), file(1, 2)], &[0, 1]);
        // The first that is needed begins another file: nothing is behind those before it.
        check_reads_on(&[file(3, 4), file(5, 6), file(1, 2)], &[1]);
    }

    #[test]
    fn a_frame_that_is_lost_or_not_whole_keeps_its_file_read_on() {
        check_reads_on(&[vec![torn(NOW, 5, 1), frame(NOW, 6, 1)]], &[0]);
        check_reads_on(&[vec![vec![0; BLOCK_BYTES], frame(NOW, 6, 1)]], &[0]);
        check_reads_on(&[vec![frame(NOW, 1, 1), frame(NOW, 6, 1)]], &[0]);
        check_reads_on(&[vec![frame(NOW, 5, 1), torn(NOW, 6, 1)]], &[0]);
        check_reads_on(&[vec![frame(OLD, 1, 1), frame(NOW, 5, 2)]], &[0]);
    }
}
