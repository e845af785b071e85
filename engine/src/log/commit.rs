//! How far a log is durable, and by which of its two ways: the journal, or its segment files.
//!
//! Invariant: `flushed <= claimed`; a flush in flight ends at or before `claimed`; journaled ranges
//! ascend, do not touch each other, end behind `flushed` and at or before `claimed`.

use crate::id::Offset;
use crate::log::Point;
use crate::log::segments::Segments;

/// Ranges that the journal has and no contiguous prefix reaches yet. A flush covers all that is
/// pending, so there are hardly ever two.
const RANGES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Commit {
    /// Everything below is in its segment file.
    flushed: Point,
    /// Everything below is durable or on its way.
    claimed: Point,
    /// The end of the flush in flight.
    flushing: Option<Point>,
    journaled: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    from: Offset,
    end: Point,
}

impl Commit {
    pub(crate) fn new(end: Point) -> Self {
        Self { flushed: end, claimed: end, flushing: None, journaled: Vec::new() }
    }

    pub(crate) const fn flushed(&self) -> Point {
        self.flushed
    }

    pub(crate) const fn claimed(&self) -> Point {
        self.claimed
    }

    pub(crate) const fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    /// The end of what is contiguously durable.
    pub(crate) fn durable_end(&self) -> Point {
        self.journaled_from(self.flushed)
    }

    /// Whether the journal alone has all of `[flushed, end)`.
    pub(crate) fn is_journaled_to(&self, end: Point) -> bool {
        end.offset <= self.journaled_from(self.flushed).offset
    }

    pub(crate) fn claim(&mut self, end: Point) {
        assert!(self.claimed.offset <= end.offset);
        self.claimed = end;
        self.check();
    }

    pub(crate) fn on_journaled(&mut self, from: Offset, end: Point) {
        assert!(from < end.offset && end.offset <= self.claimed.offset);
        if end.offset > self.flushed.offset {
            match self.journaled.last_mut() {
                Some(last) if last.end.offset == from => last.end = end,
                _ => self.journaled.push(Range { from, end }),
            }
        }
        self.check();
    }

    pub(crate) fn begin_flush(&mut self, from: Point, end: Point) {
        assert!(self.flushing.is_none(), "one flush of a partition is in flight");
        assert!(self.flushed.offset == from.offset && from.offset < end.offset);
        self.flushed = from;
        if self.claimed.offset < end.offset {
            self.claimed = end;
        }
        self.flushing = Some(end);
        self.check();
    }

    pub(crate) fn on_flushed(&mut self, end: Point) {
        assert!(self.flushing == Some(end), "this flush is in flight");
        self.flushing = None;
        self.flushed = end;
        self.journaled.retain(|it| it.end.offset > end.offset);
        self.check();
    }

    /// What ends where a segment ends is said as the beginning of the next one: the file that holds the
    /// end may go, or be compacted.
    pub(crate) fn forward(&mut self, segments: &Segments) {
        self.flushed = segments.forward(self.flushed);
        self.claimed = segments.forward(self.claimed);
    }

    fn journaled_from(&self, start: Point) -> Point {
        let mut end = start;
        for range in &self.journaled {
            if range.from > end.offset {
                break;
            }
            end = range.end;
        }
        end
    }

    fn check(&self) {
        assert!(self.flushed.offset <= self.claimed.offset);
        if let Some(end) = self.flushing {
            assert!(self.flushed.offset < end.offset && end.offset <= self.claimed.offset);
        }
        assert!(self.journaled.len() <= RANGES_MAX);
        if let Some(first) = self.journaled.first() {
            assert!(self.flushed.offset < first.end.offset);
        }
        if let [.., before, last] = self.journaled[..] {
            assert!(before.end.offset < last.from);
        }
        if let Some(last) = self.journaled.last() {
            assert!(last.end.offset <= self.claimed.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Commit;
    use crate::id::{FilePos, Offset};
    use crate::log::Point;

    fn point(offset: u32) -> Point {
        Point {
            offset: Offset::new(offset.into()),
            segment: Offset::ZERO,
            pos: FilePos::new(offset.into()),
        }
    }

    #[test]
    fn what_is_journaled_behind_a_flush_counts_when_the_flush_is_done() {
        let mut commit = Commit::new(point(0));
        commit.begin_flush(point(0), point(10));
        commit.claim(point(12));
        commit.on_journaled(Offset::new(10), point(12));
        assert_eq!(commit.durable_end(), point(0));
        assert!(!commit.is_journaled_to(point(12)));
        commit.on_flushed(point(10));
        assert_eq!(commit.durable_end(), point(12));
        assert!(commit.is_journaled_to(point(12)));
    }

    #[test]
    fn a_journal_write_that_a_flush_overtook_adds_nothing() {
        let mut commit = Commit::new(point(0));
        commit.claim(point(5));
        commit.begin_flush(point(0), point(9));
        commit.on_flushed(point(9));
        commit.on_journaled(Offset::new(0), point(5));
        assert_eq!(commit.durable_end(), point(9));
    }

    #[test]
    fn journaled_ranges_join() {
        let mut commit = Commit::new(point(0));
        commit.claim(point(5));
        commit.on_journaled(Offset::new(0), point(5));
        commit.claim(point(7));
        commit.on_journaled(Offset::new(5), point(7));
        assert_eq!(commit.durable_end(), point(7));
        assert!(commit.is_journaled_to(point(6)));
        commit.begin_flush(point(0), point(6));
        commit.on_flushed(point(6));
        assert_eq!((commit.flushed(), commit.durable_end()), (point(6), point(7)));
    }
}
