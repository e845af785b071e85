//! The segments of one log, from its oldest file to the one that grows.
//!
//! Invariant: never empty; each begins where the one before ends; first the sealed ones, then the
//! closing ones, last the active one.

use crate::id::{Offset, Timestamp};
use crate::log::Point;
use crate::segment::{Phase, Segment, SegmentName};

#[derive(Debug)]
pub(crate) struct Segments {
    all: Vec<Segment>,
}

impl Segments {
    pub(crate) fn new(created_at: Timestamp) -> Self {
        Self::restore(vec![Segment::new(Offset::ZERO, created_at)])
    }

    pub(crate) fn restore(all: Vec<Segment>) -> Self {
        let segments = Self { all };
        segments.check();
        segments
    }

    pub(crate) fn all(&self) -> &[Segment] {
        &self.all
    }

    pub(crate) fn active(&self) -> &Segment {
        self.all.last().expect("a log has an active segment")
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment {
        self.all.last_mut().expect("a log has an active segment")
    }

    pub(crate) fn end(&self) -> Point {
        end_point(self.active())
    }

    pub(crate) fn get(&self, base: Offset) -> Option<&Segment> {
        self.find(base).map(|it| &self.all[it])
    }

    pub(crate) fn get_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        self.find(base).map(|it| &mut self.all[it])
    }

    /// Those that hold anything at or after `offset`.
    pub(crate) fn reaching(&self, offset: Offset) -> &[Segment] {
        &self.all[self.all.partition_point(|it| it.end() <= offset)..]
    }

    pub(crate) fn closing(&self) -> impl Iterator<Item = &Segment> {
        self.all.iter().rev().skip(1).take_while(|it| !it.is_sealed())
    }

    pub(crate) fn oldest_closing(&self) -> Option<&Segment> {
        self.closing().last()
    }

    /// Everything below lies in sealed segments.
    pub(crate) fn sealed_end(&self) -> Offset {
        self.oldest_closing().unwrap_or_else(|| self.active()).base()
    }

    /// The active segment closes, and a new one begins at its end.
    pub(crate) fn roll(&mut self, created_at: Timestamp, producers: Vec<u8>) {
        let base = self.end().offset;
        assert!(!self.active().is_empty(), "a segment has a record, and so a name of its own");
        self.active_mut().close(producers);
        self.all.push(Segment::new(base, created_at));
        self.check();
    }

    /// The oldest one is gone.
    pub(crate) fn remove_first(&mut self, base: Offset) {
        assert!(self.all.first().is_some_and(|it| it.base() == base && it.is_sealed()));
        self.all.remove(0);
        self.check();
    }

    /// `compacted` takes the place of those with these names. False if they are not all there.
    pub(crate) fn replace(&mut self, names: &[SegmentName], compacted: Segment) -> bool {
        let Some(first) = names.first().and_then(|it| self.find(it.base)) else { return false };
        let end = first + names.len();
        let Some(old) = self.all.get(first..end) else { return false };
        if !old.iter().map(Segment::name).eq(names.iter().copied()) {
            return false;
        }
        assert!(old.iter().all(Segment::is_sealed));
        assert!(old.first().is_some_and(|it| it.base() == compacted.base()));
        assert!(old.last().is_some_and(|it| it.end() == compacted.end()));
        self.all.splice(first..end, [compacted]);
        self.check();
        true
    }

    /// The same place, said as the beginning of the next segment if it is the end of one.
    pub(crate) fn forward(&self, point: Point) -> Point {
        let index = self.find(point.segment).expect("a point lies in a segment");
        let segment = &self.all[index];
        match self.all.get(index + 1) {
            Some(next) if segment.end() == point.offset => start_point(next),
            _ => point,
        }
    }

    pub(crate) fn bytes_between(&self, from: Point, end: Point) -> u64 {
        assert!(from.offset <= end.offset);
        if from.segment == end.segment {
            return end.pos.since(from.pos);
        }
        let first = self.find(from.segment).expect("a point lies in a segment");
        let last = self.find(end.segment).expect("a point lies in a segment");
        let between = &self.all[first..last];
        let whole: u64 = between.iter().map(|it| it.end_pos().get()).sum();
        whole - from.pos.get() + end.pos.get()
    }

    fn find(&self, base: Offset) -> Option<usize> {
        self.all.binary_search_by_key(&base, Segment::base).ok()
    }

    fn check(&self) {
        assert!(*self.active().phase() == Phase::Active);
        if let [.., before, active] = &self.all[..] {
            assert!(before.end() == active.base());
            assert!(*before.phase() != Phase::Active);
        }
    }
}

pub(crate) fn end_point(segment: &Segment) -> Point {
    Point { offset: segment.end(), segment: segment.base(), pos: segment.end_pos() }
}

fn start_point(segment: &Segment) -> Point {
    Point { offset: segment.base(), segment: segment.base(), pos: crate::id::FilePos::ZERO }
}
