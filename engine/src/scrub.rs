//! A scrub: stored batches are read from one end to the other, to see whether they are what was stored.
//!
//! It takes bytes in pieces of any length, so that no batch need be whole in memory, and goes on behind
//! what is damaged. It knows positions and offsets, no file.
//!
//! Base offset, length and leader epoch lie outside of a batch's checksum. They are checked by what
//! must stand there: the base offset follows the batch before, a wrong length breaks the checksum, and
//! the epoch is the one that began at or before the offset.
//!
//! Behind a damaged batch it trusts the length in its header if a batch that is sound, and has a higher
//! offset, begins there. Else it goes on at the next mark: a place where a batch is known to begin. It
//! never searches: a payload may hold bytes that look like a batch.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use crate::batch::{self, BatchError, HEADER_BYTES};
use crate::epochs::Epochs;
use crate::extent::Extent;
use crate::id::{FilePos, LeaderEpoch, Offset};
use crate::index::Index;
use crate::segment::CHAINED_BYTES;

const CHECKED_AT: usize = 21;

/// A place where a batch is known to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub pos: FilePos,
    pub offset: Offset,
}

/// What shall be read: the batches from `start` to `end` in the file of one segment.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub start: Mark,
    pub end: FilePos,
    /// Ascending; those outside of the stretch mean nothing.
    pub marks: Vec<Mark>,
    /// Those of the records, as far as they are known.
    pub epochs: Epochs,
}

impl Stretch {
    /// The entries of an index are marks.
    #[must_use]
    pub fn marks_of(index: &Index) -> Vec<Mark> {
        let mark = |it: &crate::index::Entry| Mark { pos: it.pos, offset: it.offset };
        index.entries().iter().map(mark).collect()
    }
}

/// Bytes of a segment that are not what was stored, and the offsets that cannot be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub from: FilePos,
    /// Where the next sound batch begins, or the stretch ends.
    pub end: FilePos,
    pub first: Offset,
    /// Of the next sound batch, if there is one.
    pub next: Option<Offset>,
    pub error: BatchError,
}

/// One scrub of one stretch. Costs a header's bytes, and what was found.
#[derive(Debug)]
pub struct Scrub {
    stretch: Stretch,
    /// Where the batch under way begins, and which offset it must have.
    pos: FilePos,
    next: Offset,
    leader_epoch: LeaderEpoch,
    state: State,
    damages: Vec<Damage>,
    /// The end of the sound batches that the stretch begins with.
    sound_end: Mark,
    /// As in `segment.rs`, while everything was sound.
    chain_crc: u32,
    batch_count: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header {
        filled: usize,
        header: [u8; HEADER_BYTES],
    },
    Body {
        extent: Extent,
        header: [u8; HEADER_BYTES],
        left_bytes: u64,
        crc: u32,
        /// What the header alone shows.
        error: Option<BatchError>,
    },
    Over,
}

const NO_HEADER: State = State::Header { filled: 0, header: [0; HEADER_BYTES] };

impl Scrub {
    #[must_use]
    pub fn new(stretch: Stretch) -> Self {
        let Stretch { start, end, .. } = stretch;
        let state = if start.pos < end { NO_HEADER } else { State::Over };
        Self {
            pos: start.pos,
            next: start.offset,
            leader_epoch: LeaderEpoch::ZERO,
            state,
            damages: Vec::new(),
            sound_end: start,
            chain_crc: 0,
            batch_count: 0,
            stretch,
        }
    }

    /// Where the bytes lie that it wants next; they may lie before those that it was given.
    /// `None`: it is over.
    #[must_use]
    pub fn wants(&self) -> Option<FilePos> {
        let given = match self.state {
            State::Header { filled, .. } => len_u64(filled),
            State::Body { extent, left_bytes, .. } => {
                len_u64(extent.len_bytes).saturating_sub(left_bytes)
            }
            State::Over => return None,
        };
        Some(FilePos::new(self.pos.get().saturating_add(given)))
    }

    /// Takes the bytes that lie at `wants()`, at least one. It may want others before they are used up.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(at) = self.wants() else { return };
            let rest = self.feed_some(bytes);
            let taken = len_u64(bytes.len().saturating_sub(rest.len()));
            if self.wants().is_none_or(|it| it.get() != at.get().saturating_add(taken)) {
                return;
            }
            bytes = rest;
        }
    }

    /// The file ends here, though the stretch does not.
    pub fn cut(&mut self) {
        if !matches!(self.state, State::Over) {
            self.damaged(BatchError::Truncated, self.stretch.end);
            self.state = State::Over;
        }
    }

    /// In order. The last one may grow until the scrub is over.
    #[must_use]
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// The end of the sound batches that the stretch begins with, and the offset after them.
    #[must_use]
    pub const fn sound_end(&self) -> Mark {
        self.sound_end
    }

    /// The batch that follows the sound ones, if its header was given and its end was not.
    #[must_use]
    pub fn begun(&self) -> Option<(FilePos, Extent)> {
        match self.state {
            State::Body { extent, error: None, .. } if self.pos == self.sound_end.pos => {
                Some((self.pos, extent))
            }
            State::Header { .. } | State::Body { .. } | State::Over => None,
        }
    }

    /// Sound ones, wherever they were.
    #[must_use]
    pub const fn batch_count(&self) -> u64 {
        self.batch_count
    }

    /// The segment's chained checksum, if the stretch began with the file, is over, and was sound.
    #[must_use]
    pub fn chain_crc(&self) -> Option<u32> {
        let is_whole = self.stretch.start.pos == FilePos::ZERO
            && matches!(self.state, State::Over)
            && self.damages.is_empty();
        is_whole.then_some(self.chain_crc)
    }

    /// Returns what it did not take.
    fn feed_some<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self.state {
            State::Over => &[],
            State::Header { mut filled, mut header } => {
                let there = bytes.len().min(HEADER_BYTES.saturating_sub(filled));
                let (taken, rest) = bytes.split_at(there);
                for (slot, byte) in header.iter_mut().skip(filled).zip(taken) {
                    *slot = *byte;
                }
                filled = filled.saturating_add(there);
                self.state = State::Header { filled, header };
                if filled == HEADER_BYTES {
                    self.on_header(header);
                } else if self.left_bytes() < len_u64(HEADER_BYTES) {
                    self.lost(BatchError::Truncated);
                }
                rest
            }
            State::Body { extent, header, left_bytes, crc, error } => {
                let there = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(bytes.len());
                let (taken, rest) = bytes.split_at(there);
                let crc = crc32c::crc32c_append(crc, taken);
                let left_bytes = left_bytes.saturating_sub(len_u64(there));
                self.state = State::Body { extent, header, left_bytes, crc, error };
                if left_bytes == 0 {
                    self.on_batch(&extent, &header, crc, error);
                }
                rest
            }
        }
    }

    /// Of the stretch, from the batch under way on.
    fn left_bytes(&self) -> u64 {
        self.stretch.end.get().saturating_sub(self.pos.get())
    }

    fn on_header(&mut self, header: [u8; HEADER_BYTES]) {
        let extent = match Extent::parse(&header) {
            Ok(extent) if len_u64(extent.len_bytes) <= self.left_bytes() => extent,
            Ok(_) => return self.lost(BatchError::BadLength),
            // Its length may be right all the same.
            Err(BatchError::BadOffset) => match self.extent_by_length(&header) {
                Some(extent) => extent,
                None => return self.lost(BatchError::BadOffset),
            },
            Err(error) => return self.lost(error),
        };
        let error = self.header_error(&extent, &header);
        let (_, checked) = header.split_at(CHECKED_AT);
        let crc = crc32c::crc32c(checked);
        let left_bytes = len_u64(extent.len_bytes.saturating_sub(HEADER_BYTES));
        self.state = State::Body { extent, header, left_bytes, crc, error };
        if left_bytes == 0 {
            self.on_batch(&extent, &header, crc, error);
        }
    }

    /// For a batch whose offsets are not worth anything.
    fn extent_by_length(&self, header: &[u8; HEADER_BYTES]) -> Option<Extent> {
        let len_bytes = batch::announced_len_bytes(header).ok()?;
        let is_inside = len_u64(len_bytes) <= self.left_bytes();
        let max_timestamp = crate::id::Timestamp::NONE;
        let (base, end) = (self.next, self.next);
        is_inside.then_some(Extent { base, end, len_bytes, max_timestamp })
    }

    /// What is wrong with the fields that no checksum covers.
    fn header_error(&self, extent: &Extent, header: &[u8; HEADER_BYTES]) -> Option<BatchError> {
        if extent.base == extent.end {
            return Some(BatchError::BadOffset);
        }
        let follows = match self.open_damage() {
            Some(damage) => damage.first < extent.base,
            None => extent.base == self.next,
        };
        if !follows {
            return Some(BatchError::BadOffset);
        }
        let epoch = header.get(12..16).and_then(|it| it.first_chunk().copied());
        let epoch = LeaderEpoch::new(epoch.map_or(-1, i32::from_be_bytes));
        let is_due = match self.stretch.epochs.of(extent.base) {
            Some(due) => epoch == due,
            None => self.leader_epoch <= epoch,
        };
        (!is_due).then_some(BatchError::BadEpoch)
    }

    fn on_batch(
        &mut self,
        extent: &Extent,
        header: &[u8; HEADER_BYTES],
        crc: u32,
        error: Option<BatchError>,
    ) {
        let stored = header.get(17..21).and_then(|it| it.first_chunk().copied());
        let crc_error =
            (stored.map(u32::from_be_bytes) != Some(crc)).then_some(BatchError::BadChecksum);
        let end = FilePos::new(self.pos.get().saturating_add(len_u64(extent.len_bytes)));
        if let Some(error) = error.or(crc_error) {
            if self.open_damage().is_some() {
                // The length that led here was wrong, or this one is damaged, too.
                self.lost(error);
                return;
            }
            self.damaged(error, end);
            self.pos = end;
        } else {
            self.on_sound(extent, header, end);
        }
        self.resume();
    }

    fn on_sound(&mut self, extent: &Extent, header: &[u8; HEADER_BYTES], end: FilePos) {
        let pos = self.pos;
        if let Some(damage) = self.open_damage_mut() {
            damage.end = pos;
            damage.next = Some(extent.base);
        }
        if self.damages.is_empty() {
            let (chained, _) = header.split_at(CHAINED_BYTES);
            self.chain_crc = crc32c::crc32c_append(self.chain_crc, chained);
            self.sound_end = Mark { pos: end, offset: extent.end };
        }
        let epoch = header.get(12..16).and_then(|it| it.first_chunk().copied());
        self.leader_epoch =
            epoch.map_or(self.leader_epoch, |it| LeaderEpoch::new(i32::from_be_bytes(it)));
        self.batch_count = self.batch_count.saturating_add(1);
        self.pos = end;
        self.next = extent.end;
    }

    /// The damage behind which no sound batch was found yet.
    fn open_damage(&self) -> Option<&Damage> {
        self.damages.last().filter(|it| it.next.is_none())
    }

    fn open_damage_mut(&mut self) -> Option<&mut Damage> {
        self.damages.last_mut().filter(|it| it.next.is_none())
    }

    /// The batch under way is damaged, and so is everything before `end`.
    fn damaged(&mut self, error: BatchError, end: FilePos) {
        if let Some(damage) = self.open_damage_mut() {
            damage.end = damage.end.max(end);
            return;
        }
        let (from, first) = (self.pos, self.next);
        self.damages.push(Damage { from, end, first, next: None, error });
    }

    /// Nothing says how long the batch under way is: the next mark is where it goes on.
    fn lost(&mut self, error: BatchError) {
        let from = self.open_damage().map_or(self.pos, |it| it.from);
        let end = self.stretch.end;
        let mark = self.stretch.marks.iter().find(|it| from < it.pos && it.pos < end).copied();
        self.damaged(error, mark.map_or(end, |it| it.pos));
        match mark {
            Some(mark) => {
                if let Some(damage) = self.open_damage_mut() {
                    damage.end = mark.pos;
                    damage.next = Some(mark.offset);
                }
                self.pos = mark.pos;
                self.next = mark.offset;
            }
            None => self.pos = end,
        }
        self.resume();
    }

    fn resume(&mut self) {
        let is_over = self.stretch.end <= self.pos;
        self.state = if is_over { State::Over } else { NO_HEADER };
    }
}

fn len_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Damage, Mark, Scrub, Stretch};
    use crate::batch::{self, BatchError};
    use crate::epochs::Epochs;
    use crate::id::{FilePos, LeaderEpoch, Offset, Timestamp};
    use crate::records::builder::BatchBuilder;

    const BATCH_COUNT: i64 = 6;

    fn pos(at: usize) -> FilePos {
        FilePos::new(at.try_into().unwrap())
    }

    fn stored(base: i64, epoch: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let value = vec![7; 30 * usize::try_from(base).unwrap()];
        builder.push(Timestamp::new(5), None, Some(&value), &[]);
        builder.push(Timestamp::new(6), None, Some(b"value"), &[]);
        let mut bytes = builder.build();
        batch::stamp(&mut bytes, Offset::new(base), LeaderEpoch::new(epoch));
        bytes
    }

    /// Batches of two records each, the first three of epoch 1, and where each begins.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut starts) = (Vec::new(), Vec::new());
        for batch in 0..BATCH_COUNT {
            starts.push(file.len());
            file.extend(stored(10 + 2 * batch, if batch < 3 { 1 } else { 4 }));
        }
        (file, starts)
    }

    fn stretch(file: &[u8], marks: Vec<Mark>) -> Stretch {
        let mut epochs = Epochs::new();
        epochs.assign(LeaderEpoch::new(1), Offset::new(10));
        epochs.assign(LeaderEpoch::new(4), Offset::new(16));
        let start = Mark { pos: FilePos::ZERO, offset: Offset::new(10) };
        Stretch { start, end: pos(file.len()), marks, epochs }
    }

    fn scrub(file: &[u8], marks: &[Mark], piece_bytes: usize) -> Scrub {
        let mut scrub = Scrub::new(stretch(file, marks.to_vec()));
        while let Some(at) = scrub.wants() {
            let at = usize::try_from(at.get()).unwrap();
            scrub.feed(&file[at..file.len().min(at + piece_bytes)]);
        }
        scrub
    }

    #[test]
    fn what_was_stored_is_sound_in_pieces_of_any_length() {
        let (file, _) = segment();
        let whole = scrub(&file, &[], file.len());
        assert!(whole.chain_crc().is_some());
        for piece_bytes in [1, 7, 60, 61, 62, 500] {
            let scrub = scrub(&file, &[], piece_bytes);
            assert_eq!((scrub.damages(), scrub.batch_count()), (&[][..], 6));
            assert_eq!(scrub.chain_crc(), whole.chain_crc());
            let end = Mark { pos: pos(file.len()), offset: Offset::new(22) };
            assert_eq!(scrub.sound_end(), end);
        }
    }

    #[test]
    fn every_flipped_bit_is_found_in_its_batch_and_hides_no_other_behind_a_mark() {
        let (file, starts) = segment();
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let batch = starts.iter().rposition(|start| *start <= bit / 8).unwrap();
            let offset = Offset::new(10 + 2 * i64::try_from(batch).unwrap());
            let marks: Vec<Mark> = starts.get(batch + 1).map_or_else(Vec::new, |start| {
                vec![Mark { pos: pos(*start), offset: offset.plus(2) }]
            });
            let scrub = scrub(&damaged, &marks, 333);
            let [damage] = scrub.damages() else { panic!("bit {bit}: {:?}", scrub.damages()) };
            let end = starts.get(batch + 1).copied().unwrap_or(file.len());
            assert_eq!((damage.from, damage.end), (pos(starts[batch]), pos(end)), "bit {bit}");
            assert_eq!(damage.first, offset);
            assert_eq!(scrub.sound_end(), Mark { pos: pos(starts[batch]), offset });
            assert_eq!((scrub.batch_count(), scrub.chain_crc()), (5, None));
        }
    }

    #[test]
    fn without_a_mark_a_sound_batch_behind_a_right_length_is_found() {
        let (mut file, starts) = segment();
        file[starts[2] + 100] ^= 1;
        let found = scrub(&file, &[], 100);
        let want = Damage {
            from: pos(starts[2]),
            end: pos(starts[3]),
            first: Offset::new(14),
            next: Some(Offset::new(16)),
            error: BatchError::BadChecksum,
        };
        assert_eq!((found.damages(), found.batch_count()), (&[want][..], 5));
        let (mut file, starts) = segment();
        file[starts[2] + 11] ^= 1;
        let found = scrub(&file, &[], 100);
        let [damage] = found.damages() else { panic!("{:?}", found.damages()) };
        assert_eq!((damage.from, damage.end), (pos(starts[2]), pos(file.len())));
    }

    #[test]
    fn batches_that_are_swapped_doubled_or_missing_are_found() {
        let (file, starts) = segment();
        let batch = |index: usize| &file[starts[index]..starts[index + 1]];
        for pieces in [[0, 2, 1, 3], [0, 1, 1, 2], [0, 2, 3, 4], [1, 2, 3, 4]] {
            let file = pieces.map(batch).concat();
            let found = scrub(&file, &[], 4096);
            let first = pieces.iter().enumerate().position(|(at, it)| at != *it).unwrap();
            let from = pieces[..first].iter().map(|it| batch(*it).len()).sum();
            assert_eq!(found.damages()[0].from, pos(from), "{pieces:?}");
        }
    }

    #[test]
    fn a_file_cut_short_is_damage_to_the_end() {
        let (file, starts) = segment();
        for end in 0..file.len() {
            let mut scrub = Scrub::new(stretch(&file, Vec::new()));
            scrub.feed(&file[..end]);
            scrub.cut();
            let [damage] = scrub.damages() else { panic!("{end}: {:?}", scrub.damages()) };
            let last = *starts.iter().rfind(|start| **start <= end).unwrap();
            assert_eq!((damage.from, damage.end), (pos(last), pos(file.len())));
            assert_eq!(scrub.wants(), None);
        }
    }
}
