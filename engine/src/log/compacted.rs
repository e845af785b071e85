//! How far a log is compacted, and which files its compacted segments have replaced.
//!
//! Invariant: files replaced later stand later; none may go before a checkpoint is durable that was
//! begun after it was replaced, as a start would look for it.

use crate::bug::Bug;
use crate::compaction::{Compaction, Source, Work};
use crate::id::{Offset, Timestamp};
use crate::log::Log;
use crate::segment::{Segment, SegmentName};

#[derive(Debug)]
pub(crate) struct Compacted {
    /// Below it every key is there once, as far as it was written below.
    end: Offset,
    /// With the era in which each was replaced.
    replaced: Vec<(SegmentName, u64)>,
    /// The era of the last durable checkpoint.
    era: u64,
}

impl Compacted {
    pub(crate) const fn new(end: Offset) -> Self {
        Self { end, replaced: Vec::new(), era: 0 }
    }

    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn on_checkpointed(&mut self, era: u64) {
        self.era = self.era.max(era);
    }

    fn droppable(&self) -> impl Iterator<Item = SegmentName> {
        let is_free =
            |it: &&(SegmentName, u64)| it.1 < self.era || Bug::ReplacedFileDroppedEarly.is_on();
        self.replaced.iter().filter(is_free).map(|it| it.0)
    }
}

impl Log {
    /// What a compaction would do now. `None`: nothing, or not enough.
    #[must_use]
    pub fn compaction_due(&self, now: Timestamp, rules: &Compaction) -> Option<Work> {
        let there = self.segments.reaching(self.start.offset);
        let sealed = there.iter().take_while(|it| it.is_sealed());
        let is_ripe = |it: &&Segment| it.end() <= self.compacted.end || rules.is_ripe(it, now);
        let ripe: Vec<&Segment> = sealed.take_while(is_ripe).collect();
        let (clean, dirty) =
            ripe.split_at(ripe.partition_point(|it| it.end() <= self.compacted.end));
        let bytes = |of: &[&Segment]| -> u64 { of.iter().map(|it| it.end_pos().get()).sum() };
        let first = dirty.first()?;
        if !rules.is_dirty(bytes(clean), bytes(dirty)) && !rules.is_overdue(first, now) {
            return None;
        }
        let sources = ripe.iter().map(|it| Source::of(it)).collect();
        Some(Work { sources, dirty_from: self.compacted.end.max(first.base()) })
    }

    /// `segment` holds what is left of those with these names. False if one of them is gone: then it is
    /// of no use.
    ///
    /// # Panics
    /// If it does not have their range.
    pub fn on_compacted(&mut self, names: &[SegmentName], segment: Segment) -> bool {
        let is_replaced = self.segments.replace(names, segment);
        if is_replaced {
            let era = self.since_checkpoint.era;
            self.compacted.replaced.extend(names.iter().map(|it| (*it, era)));
            self.since_checkpoint.dirty = true;
            self.check();
        }
        is_replaced
    }

    /// Everything below `end` is compacted.
    pub fn on_compacted_to(&mut self, end: Offset) {
        assert!(end <= self.segments.sealed_end(), "only sealed segments are compacted");
        self.compacted.end = self.compacted.end.max(end);
        self.since_checkpoint.dirty = true;
        self.check();
    }

    /// Files that were replaced, and that no start looks for any more.
    pub fn droppable_files(&self) -> impl Iterator<Item = SegmentName> {
        self.compacted.droppable()
    }

    /// The files of these are gone.
    pub fn on_dropped(&mut self, names: &[SegmentName]) {
        self.compacted.replaced.retain(|it| !names.contains(&it.0));
    }

    /// Whether a file of this name belongs to the log, or did so at its last checkpoint.
    #[must_use]
    pub fn knows_file(&self, name: SegmentName) -> bool {
        let is_replaced = self.compacted.replaced.iter().any(|it| it.0 == name);
        is_replaced || self.segment_name(name.base) == Some(name)
    }
}
