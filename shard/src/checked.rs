//! What is known of the bytes of sealed segments: which were found sound, and where damage was seen.
//!
//! A range that was found sound is sent from the page cache without another look, as long as its pages
//! stay there. A page that is gone comes back unchecked, alone or with its neighbours: so whoever finds
//! one gone says so (`Loads`), and the whole segment is checked anew.
//! Invariant: at most `SEGMENTS_MAX` segments with at most `RANGES_MAX` ranges each; ranges of one
//! segment neither overlap nor touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::id::{FilePos, PartitionId};
use engine::segment::SegmentName;

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

#[derive(Default)]
struct Sound {
    /// End by beginning.
    ranges: BTreeMap<FilePos, FilePos>,
    loads: Loads,
    used_at: u64,
}

impl Sound {
    fn add(&mut self, mut from: FilePos, mut end: FilePos) {
        if let Some((before, until)) = self.ranges.range(..=from).next_back()
            && from <= *until
        {
            from = *before;
        }
        let inside: Vec<FilePos> = self.ranges.range(from..=end).map(|it| *it.0).collect();
        for start in inside {
            end = end.max(self.ranges.remove(&start).expect("listed above"));
        }
        if self.ranges.len() == RANGES_MAX {
            self.ranges.clear();
        }
        self.ranges.insert(from, end);
    }
}

/// One per shard, for the segments of its partitions.
#[derive(Default)]
pub struct Checked {
    segments: BTreeMap<Key, Sound>,
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
        let sound = self.segments.get_mut(&(partition, segment))?;
        if sound.loads.take_gone() {
            sound.ranges.clear();
        }
        self.clock += 1;
        sound.used_at = self.clock;
        let (_, end) = sound.ranges.range(..=pos).next_back()?;
        (pos < *end).then(|| (*end, sound.loads.clone()))
    }

    /// `[from, end)` was read from the device, or from pages that were, and is sound.
    pub fn on_sound(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        from: FilePos,
        end: FilePos,
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
        let sound = self.segments.entry(key).or_default();
        if sound.loads.take_gone() {
            sound.ranges.clear();
        }
        sound.used_at = self.clock;
        sound.add(from, end);
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
    use super::{Checked, RANGES_MAX, SEGMENTS_MAX};
    use engine::id::{FilePos, Offset, PartitionId, PartitionIndex, TopicId};
    use engine::segment::SegmentName;

    const PARTITION: PartitionId =
        PartitionId { topic: TopicId::ZERO, index: PartitionIndex::new(0) };
    const SEGMENT: SegmentName = SegmentName { base: Offset::ZERO, revision: 0 };

    fn on_sound(checked: &mut Checked, from: u64, end: u64) {
        checked.on_sound(PARTITION, SEGMENT, FilePos::new(from), FilePos::new(end));
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
            checked.on_sound(PARTITION, segment, FilePos::ZERO, FilePos::new(1));
        }
        assert_eq!(checked.segments.len(), SEGMENTS_MAX);
        assert!(checked.segments.values().all(|it| it.ranges.len() <= RANGES_MAX));
        assert!(checked.on_damage(PARTITION, SEGMENT, FilePos::ZERO));
        assert!(!checked.on_damage(PARTITION, SEGMENT, FilePos::ZERO));
    }
}
