//! What is known of the bytes of sealed segments: which were read, which were found sound, and where
//! damage was seen.
//!
//! What is read for the first time is read past the page cache: most cold bytes have one reader, and pages
//! cost the core more than the bytes are worth. What is read again goes through the page cache, for all
//! who come later.
//! A range of it that was found sound is sent from there without another look, as long as its pages
//! stay. A page that is gone comes back unchecked, alone or with its neighbours: so whoever finds
//! one gone says so (`Loads`), and the whole segment is as if never read.
//! Invariant: at most `SEGMENTS_MAX` segments with at most `RANGES_MAX` ranges of a kind each; ranges of
//! one kind of one segment neither overlap nor touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::id::{FilePos, PartitionId};
use engine::segment::SegmentName;

use crate::files::Use;

/// Forgetting costs a second check.
const SEGMENTS_MAX: usize = 4096;
const RANGES_MAX: usize = 64;
/// Damaged places that were reported. Past it they are reported anew.
const DAMAGES_MAX: usize = 4096;

type Key = (PartitionId, SegmentName);

/// Shared by the owner of a segment and whoever sends its bytes: whether a page of it was found gone.
/// An atomic, as a sender on another shard finds it out, and the owner asks at the next fetch.
#[derive(Clone, Debug, Default)]
pub struct Loads {
    is_gone: Arc<AtomicBool>,
}

impl Loads {
    pub fn on_gone(&self) {
        // Relaxed: nothing else is told by it.
        self.is_gone.store(true, Ordering::Relaxed);
    }

    fn take_gone(&self) -> bool {
        self.is_gone.swap(false, Ordering::Relaxed)
    }
}

/// End by beginning.
#[derive(Default)]
struct Ranges(BTreeMap<FilePos, FilePos>);

impl Ranges {
    fn add(&mut self, mut from: FilePos, mut end: FilePos) {
        if let Some((before, until)) = self.0.range(..=from).next_back()
            && from <= *until
        {
            from = *before;
        }
        let inside: Vec<FilePos> = self.0.range(from..=end).map(|it| *it.0).collect();
        for start in inside {
            end = end.max(self.0.remove(&start).expect("listed above"));
        }
        if self.0.len() == RANGES_MAX {
            self.0.clear();
        }
        self.0.insert(from, end);
    }

    /// The end of the range that holds `pos`.
    fn end_of(&self, pos: FilePos) -> Option<FilePos> {
        self.0.range(..=pos).next_back().map(|(_, end)| *end).filter(|end| pos < *end)
    }
}

#[derive(Default)]
struct Known {
    /// Read past the page cache.
    read: Ranges,
    /// In the page cache, or so they were, and sound.
    sound: Ranges,
    loads: Loads,
    used_at: u64,
}

impl Known {
    fn look(&mut self, clock: u64) {
        if self.loads.take_gone() {
            self.read = Ranges::default();
            self.sound = Ranges::default();
        }
        self.used_at = clock;
    }
}

/// One per shard, for the segments of its partitions.
#[derive(Default)]
pub struct Checked {
    segments: BTreeMap<Key, Known>,
    clock: u64,
    damaged: BTreeSet<(Key, FilePos)>,
}

impl Checked {
    /// The end of the sound range that holds `pos`, and with whom to share what becomes of its pages.
    pub fn sound_from(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        pos: FilePos,
    ) -> Option<(FilePos, Loads)> {
        let known = self.look(partition, segment)?;
        Some((known.sound.end_of(pos)?, known.loads.clone()))
    }

    /// How what lies at `pos` is to be read.
    pub fn source(&mut self, partition: PartitionId, segment: SegmentName, pos: FilePos) -> Use {
        let known = self.look(partition, segment);
        let end = known.and_then(|it| it.sound.end_of(pos).or_else(|| it.read.end_of(pos)));
        end.map_or(Use::Direct, |_| Use::Sealed)
    }

    /// `[from, end)` was read as `source` says, and is sound.
    pub fn on_sound(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        (from, end): (FilePos, FilePos),
        source: Use,
    ) {
        if end <= from {
            return;
        }
        let key = (partition, segment);
        if self.segments.len() == SEGMENTS_MAX && !self.segments.contains_key(&key) {
            let oldest = self.segments.iter().min_by_key(|it| it.1.used_at).map(|it| *it.0);
            self.segments.remove(&oldest.expect("there are some"));
        }
        self.clock += 1;
        let known = self.segments.entry(key).or_default();
        known.look(self.clock);
        match source {
            Use::Direct => known.read.add(from, end),
            Use::Sealed => known.sound.add(from, end),
        }
    }

    fn look(&mut self, partition: PartitionId, segment: SegmentName) -> Option<&mut Known> {
        self.clock += 1;
        let known = self.segments.get_mut(&(partition, segment))?;
        known.look(self.clock);
        Some(known)
    }

    /// True if the damage was not seen before: clients ask for it again and again.
    pub fn on_damage(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        pos: FilePos,
    ) -> bool {
        if self.damaged.len() == DAMAGES_MAX {
            self.damaged.clear();
        }
        self.damaged.insert(((partition, segment), pos))
    }

    /// The file of a segment is gone.
    pub fn forget(&mut self, partition: PartitionId, segment: SegmentName) {
        self.segments.remove(&(partition, segment));
    }
}

#[cfg(test)]
mod tests {
    use super::{Checked, RANGES_MAX, SEGMENTS_MAX, Use};
    use engine::id::{FilePos, Offset, PartitionId, PartitionIndex, TopicId};
    use engine::segment::SegmentName;

    const PARTITION: PartitionId =
        PartitionId { topic: TopicId::ZERO, index: PartitionIndex::new(0) };
    const SEGMENT: SegmentName = SegmentName { base: Offset::ZERO, revision: 0 };

    fn on_sound(checked: &mut Checked, from: u64, end: u64) {
        let range = (FilePos::new(from), FilePos::new(end));
        checked.on_sound(PARTITION, SEGMENT, range, Use::Sealed);
    }

    #[track_caller]
    fn check(checked: &mut Checked, pos: u64, want: Option<u64>) {
        let found = checked.sound_from(PARTITION, SEGMENT, FilePos::new(pos));
        assert_eq!(found.map(|(end, _)| end.get()), want);
    }

    #[test]
    fn ranges_that_touch_or_overlap_are_one() {
        let mut checked = Checked::default();
        check(&mut checked, 0, None);
        on_sound(&mut checked, 100, 200);
        on_sound(&mut checked, 300, 400);
        check(&mut checked, 99, None);
        check(&mut checked, 100, Some(200));
        check(&mut checked, 200, None);
        on_sound(&mut checked, 200, 250);
        check(&mut checked, 100, Some(250));
        on_sound(&mut checked, 240, 300);
        check(&mut checked, 120, Some(400));
        on_sound(&mut checked, 0, 1000);
        check(&mut checked, 999, Some(1000));
    }

    #[test]
    fn what_was_read_before_is_read_through_the_page_cache_until_a_page_is_gone() {
        let mut checked = Checked::default();
        let source =
            |checked: &mut Checked, pos| checked.source(PARTITION, SEGMENT, FilePos::new(pos));
        assert_eq!(source(&mut checked, 0), Use::Direct);
        let range = (FilePos::ZERO, FilePos::new(100));
        checked.on_sound(PARTITION, SEGMENT, range, Use::Direct);
        check(&mut checked, 0, None);
        assert_eq!(source(&mut checked, 99), Use::Sealed);
        assert_eq!(source(&mut checked, 100), Use::Direct);
        on_sound(&mut checked, 0, 100);
        assert_eq!(source(&mut checked, 0), Use::Sealed);
        let (_, loads) = checked.sound_from(PARTITION, SEGMENT, FilePos::ZERO).expect("sound");
        loads.on_gone();
        assert_eq!(source(&mut checked, 0), Use::Direct);
    }

    #[test]
    fn a_page_that_is_gone_makes_all_of_its_segment_unchecked() {
        let mut checked = Checked::default();
        on_sound(&mut checked, 0, 200);
        let (_, loads) = checked.sound_from(PARTITION, SEGMENT, FilePos::ZERO).expect("sound");
        loads.on_gone();
        check(&mut checked, 0, None);
        on_sound(&mut checked, 0, 100);
        check(&mut checked, 0, Some(100));
        loads.on_gone();
        on_sound(&mut checked, 300, 400);
        check(&mut checked, 0, None);
        check(&mut checked, 300, Some(400));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut checked = Checked::default();
        for range in 0..1000 {
            on_sound(&mut checked, 10 * range, 10 * range + 5);
        }
        check(&mut checked, 9990, Some(9995));
        for segment in 1..10_000 {
            let segment = SegmentName::from(Offset::new(segment));
            checked.on_sound(PARTITION, segment, (FilePos::ZERO, FilePos::new(1)), Use::Sealed);
        }
        assert_eq!(checked.segments.len(), SEGMENTS_MAX);
        assert!(checked.segments.values().all(|it| it.sound.0.len() <= RANGES_MAX));
        assert!(checked.on_damage(PARTITION, SEGMENT, FilePos::ZERO));
        assert!(!checked.on_damage(PARTITION, SEGMENT, FilePos::ZERO));
    }
}
