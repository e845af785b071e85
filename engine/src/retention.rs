//! Which of a log's oldest segments go because of their age or the log's size.
//!
//! Whole segments go, from the oldest on; one that must stay keeps all behind it. The active one goes,
//! too, if all of it may.
//! It knows no file and no clock: `Log` gives the segments, the caller the time.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use crate::bug::Bug;
use crate::id::{Offset, Timestamp};
use crate::segment::Segment;

/// What a log keeps. `None` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A segment goes once its largest timestamp is older than this.
    pub age_ms_max: Option<i64>,
    /// A segment goes if what is behind it has at least so many bytes.
    pub bytes_max: Option<u64>,
}

impl Retention {
    /// The end of the last segment that goes. `None`: all of them stay.
    pub(crate) fn kept_from(&self, segments: &[Segment], now: Timestamp) -> Option<Offset> {
        let old_count = self.old_count(segments, now);
        let (old, young) = segments.split_at_checked(old_count)?;
        let large_count = self.large_count(young);
        let last = large_count.checked_sub(1).and_then(|it| young.get(it)).or_else(|| old.last());
        last.map(Segment::end)
    }

    /// Of the oldest ones, those whose records are all too old.
    fn old_count(&self, segments: &[Segment], now: Timestamp) -> usize {
        let Some(age_ms_max) = self.age_ms_max else { return 0 };
        let followers = segments.iter().skip(1).map(Some).chain([None]);
        let is_old = |(segment, next): &(&Segment, Option<&Segment>)| {
            let newest = newest(segment, *next);
            newest.is_some_and(|it| now.get().saturating_sub(it.get()) > age_ms_max)
        };
        segments.iter().zip(followers).take_while(is_old).count()
    }

    /// Of the oldest ones, those without which the log is still as large as it may be.
    fn large_count(&self, segments: &[Segment]) -> usize {
        let Some(bytes_max) = self.bytes_max else { return 0 };
        let bytes: u64 = segments.iter().map(|it| it.end_pos().get()).sum();
        let mut spare_bytes = bytes.saturating_sub(bytes_max);
        if Bug::RetentionTakesOneMore.is_on() && spare_bytes > 0 {
            spare_bytes = bytes;
        }
        let is_spare = |segment: &&Segment| {
            let left = spare_bytes.checked_sub(segment.end_pos().get());
            spare_bytes = left.unwrap_or(spare_bytes);
            left.is_some() && !segment.is_empty()
        };
        segments.iter().take_while(is_spare).count()
    }
}

/// When the last record of a segment was written, as far as is known. `None`: it may be new.
fn newest(segment: &Segment, next: Option<&Segment>) -> Option<Timestamp> {
    if segment.is_empty() {
        return None;
    }
    if Bug::RetentionBySegmentAge.is_on() {
        return Some(segment.created_at());
    }
    // Records without a time: the next segment began after the last of them had come.
    segment.max_timestamp().map(|it| it.timestamp).or_else(|| next.map(Segment::created_at))
}

#[cfg(test)]
mod tests {
    use super::Retention;
    use crate::batch::{Batch, Summary};
    use crate::id::{Offset, Timestamp};
    use crate::records::builder::BatchBuilder;
    use crate::segment::Segment;

    const KEEP: Retention = Retention { age_ms_max: None, bytes_max: None };

    fn summary(timestamp: i64) -> Summary {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(timestamp), None, None, &[]);
        let bytes = builder.build();
        let summary = Batch::parse(&bytes).unwrap().summary().unwrap();
        Summary { len_bytes: 100, ..summary }
    }

    /// Segments of one batch of 100 bytes for each time; segment `i` begins at offset `i`, and the
    /// first record came to it at `1000 * i`.
    fn segments(times: &[&[i64]]) -> Vec<Segment> {
        let mut base = Offset::ZERO;
        let mut segments = Vec::new();
        for (index, times) in (0..).zip(times) {
            let mut segment = Segment::new(base, Timestamp::new(1000 * index));
            for time in *times {
                segment.append(&summary(*time), Timestamp::new(1000 * index), 0);
            }
            base = segment.end();
            segments.push(segment);
        }
        segments
    }

    #[track_caller]
    fn check(retention: Retention, times: &[&[i64]], now: i64, want: Option<i64>) {
        let found = retention.kept_from(&segments(times), Timestamp::new(now));
        assert_eq!(found.map(Offset::get), want);
    }

    #[test]
    fn a_segment_goes_when_its_newest_record_is_too_old() {
        let aged = Retention { age_ms_max: Some(50), ..KEEP };
        let times: &[&[i64]] = &[&[10, 30], &[20], &[90]];
        check(aged, times, 80, None);
        check(aged, times, 81, Some(3));
        check(aged, times, 140, Some(3));
        check(aged, times, 141, Some(4));
        check(KEEP, times, i64::MAX, None);
    }

    #[test]
    fn a_young_segment_keeps_all_behind_it() {
        let aged = Retention { age_ms_max: Some(50), ..KEEP };
        check(aged, &[&[900], &[10], &[10]], 940, None);
    }

    #[test]
    fn records_without_a_time_are_as_old_as_the_segment_behind_them() {
        let aged = Retention { age_ms_max: Some(50), ..KEEP };
        check(aged, &[&[-1], &[-1]], 1050, None);
        check(aged, &[&[-1], &[-1]], 1051, Some(1));
    }

    #[test]
    fn an_empty_segment_stays() {
        let aged = Retention { age_ms_max: Some(0), bytes_max: Some(0) };
        check(aged, &[&[]], 9999, None);
        check(aged, &[&[0], &[]], 9999, Some(1));
    }

    #[test]
    fn what_is_left_has_at_least_the_bytes_that_are_kept() {
        let times: &[&[i64]] = &[&[0, 0], &[0], &[0, 0]];
        let sized = |bytes| Retention { bytes_max: Some(bytes), ..KEEP };
        check(sized(500), times, 0, None);
        check(sized(301), times, 0, None);
        check(sized(300), times, 0, Some(2));
        check(sized(200), times, 0, Some(3));
        check(sized(1), times, 0, Some(3));
        check(sized(0), times, 0, Some(5));
    }

    #[test]
    fn bytes_count_what_age_has_left() {
        let both = Retention { age_ms_max: Some(50), bytes_max: Some(200) };
        check(both, &[&[0, 0], &[100], &[100, 100]], 60, Some(3));
        check(both, &[&[0, 0], &[100, 100]], 60, Some(2));
    }
}
