//! Compaction: of each key the last record is kept, and what it replaces goes.
//!
//! A pass reads the dirty segments, those that are not compacted yet, and notes the last offset of each
//! key (`map`). Then it reads all segments before the end of what it noted, from the oldest on, and
//! writes what is left of several of them into one file (`filter`, `rewrite`). If the map is full before
//! the dirty segments end, the next pass goes on from there: records behind it stay as they are.
//!
//! What holds, whatever is interrupted:
//! - Only sealed segments are read, and none is changed. What is left of them is a new file, of the next
//!   revision, which is durable with its sidecar before the log knows it.
//! - The log takes it in one step, in memory. A checkpoint made after that names the new files, one made
//!   before the old ones; so the checkpoint's own rename is the one moment in which a crash decides
//!   between them. Old files go when such a checkpoint is durable. A start finds all files that its
//!   checkpoint names, and removes others, whether they were not yet or not any more the log's.
//! - A crash may bring back records that were compacted away, never lose one that is the last of its
//!   key: the newer record that made another one superfluous lies in a sealed segment, on the device.
//! - A marker of a deleted key (a record without a value) goes only when every older record of its key is
//!   gone: segments are rewritten from the oldest on, and the time of a marker begins to count
//!   (`delete horizon`, in the batch) when it is rewritten itself, after all of them.
//!
//! Offsets do not change. Where whole batches are gone, an empty batch takes their offsets: so every
//! offset of a segment belongs to a batch, and a flipped bit in a base offset, which no checksum of a
//! batch covers, shows as a gap. A producer's last batch stays, empty, as long as it is the last.

pub mod filter;
pub mod map;
pub mod rewrite;

use crate::id::{FilePos, Offset, Timestamp};
use crate::segment::{Segment, SegmentName};

/// Parts of one.
const RATIO_ONE: u128 = 1_000_000;

/// A topic's rules, as its configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// `min.compaction.lag.ms`
    pub lag_ms_min: i64,
    /// `max.compaction.lag.ms`
    pub lag_ms_max: i64,
    /// `delete.retention.ms`
    pub tombstone_ms: i64,
    /// `min.cleanable.dirty.ratio`, in millionths.
    pub dirty_ratio_min: u64,
}

impl Compaction {
    /// Whether the newest record of the segment is old enough.
    pub(crate) fn is_ripe(&self, segment: &Segment, now: Timestamp) -> bool {
        let newest = segment.max_timestamp();
        let newest = newest.map_or_else(|| segment.created_at(), |it| it.timestamp);
        self.lag_ms_min <= 0 || now.get().saturating_sub(newest.get()) >= self.lag_ms_min
    }

    /// Whether enough of the log is not compacted.
    pub(crate) fn is_dirty(&self, clean_bytes: u64, dirty_bytes: u64) -> bool {
        let all = u128::from(clean_bytes) + u128::from(dirty_bytes);
        u128::from(dirty_bytes) * RATIO_ONE > all * u128::from(self.dirty_ratio_min)
    }

    /// Whether the oldest dirty segment has waited for too long.
    pub(crate) fn is_overdue(&self, oldest: &Segment, now: Timestamp) -> bool {
        let first = oldest.first_timestamp().unwrap_or_else(|| oldest.created_at());
        now.get().saturating_sub(first.get()) > self.lag_ms_max
    }
}

/// A segment to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: SegmentName,
    pub end: Offset,
    pub bytes: FilePos,
    pub created_at: Timestamp,
}

impl Source {
    pub(crate) fn of(segment: &Segment) -> Self {
        let (name, end, bytes) = (segment.name(), segment.end(), segment.end_pos());
        Self { name, end, bytes, created_at: segment.created_at() }
    }
}

/// What there is to do in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Touching each other, ascending: the compacted ones first.
    pub sources: Vec<Source>,
    /// Records from here on are not compacted.
    pub dirty_from: Offset,
}

impl Work {
    /// Those that hold records from `dirty_from` on.
    pub fn dirty(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|it| self.dirty_from < it.end)
    }

    /// Those with records below `end`, in runs that make a segment of at most `bytes_max`, unless one
    /// alone has more.
    #[must_use]
    pub fn groups(&self, end: Offset, bytes_max: u64) -> Vec<Vec<Source>> {
        let mut groups: Vec<Vec<Source>> = Vec::new();
        let mut bytes: u64 = 0;
        for source in self.sources.iter().filter(|it| it.name.base < end) {
            bytes = bytes.saturating_add(source.bytes.get());
            match groups.last_mut().filter(|_| bytes <= bytes_max) {
                Some(group) => group.push(*source),
                None => {
                    bytes = source.bytes.get();
                    groups.push(vec![*source]);
                }
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::{Compaction, Source, Work};
    use crate::id::{FilePos, Offset, Timestamp};
    use crate::segment::SegmentName;

    const RULES: Compaction = Compaction {
        lag_ms_min: 0,
        lag_ms_max: i64::MAX,
        tombstone_ms: 0,
        dirty_ratio_min: 500_000,
    };

    #[test]
    fn a_log_is_dirty_above_the_ratio_and_not_at_it() {
        assert!(!RULES.is_dirty(50, 50));
        assert!(RULES.is_dirty(50, 51));
        let all = Compaction { dirty_ratio_min: 0, ..RULES };
        assert!(all.is_dirty(u64::MAX, 1));
        assert!(!all.is_dirty(9, 0));
    }

    fn work(bytes: &[u64]) -> Work {
        let source = |(index, bytes): (i64, &u64)| Source {
            name: SegmentName::from(Offset::new(10 * index)),
            end: Offset::new(10 * index + 10),
            bytes: FilePos::new(*bytes),
            created_at: Timestamp::new(0),
        };
        Work { sources: (0..).zip(bytes).map(source).collect(), dirty_from: Offset::new(15) }
    }

    #[track_caller]
    fn check(bytes: &[u64], end: i64, want: &[usize]) {
        let groups = work(bytes).groups(Offset::new(end), 100);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), want);
    }

    #[test]
    fn small_segments_become_one_and_large_ones_stay_alone() {
        check(&[40, 60, 1, 200, 99, 1], 60, &[2, 1, 1, 2]);
        check(&[40, 60, 1, 200, 99, 1], 11, &[2]);
        check(&[40, 60, 1, 200, 99, 1], 10, &[1]);
        check(&[], 10, &[]);
    }

    #[test]
    fn dirty_is_what_reaches_past_the_compacted_end() {
        let bases: Vec<i64> = work(&[1, 1, 1]).dirty().map(|it| it.name.base.get()).collect();
        assert_eq!(bases, [10, 20]);
    }
}
