//! The file that takes the place of some segments: what is left of their batches, and empty batches
//! where whole ones are gone.
//!
//! It knows bytes, not files: what it appends goes to the file in this order.
//! Invariant: the batches follow each other without a gap, from the first base offset to the last end.

use crate::batch::{self, Batch, HEADER_BYTES};
use crate::compaction::Source;
use crate::epochs::Epochs;
use crate::id::{FilePos, LeaderEpoch, Offset};
use crate::producers::Producers;
use crate::segment::{Segment, SegmentName};
use crate::sidecar;

/// One segment under construction.
#[derive(Debug)]
pub struct Rewrite {
    segment: Segment,
    sources: Vec<Source>,
    index_interval_bytes: u64,
    /// Of the first batch that is gone since the last one that was kept.
    gap_epoch: LeaderEpoch,
    has_changed: bool,
}

impl Rewrite {
    /// Of these segments, which touch each other.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn new(sources: &[Source], index_interval_bytes: u64) -> Self {
        let first = sources.first().expect("something is rewritten");
        Self {
            segment: Segment::new(first.name.base, first.created_at),
            sources: sources.to_vec(),
            index_interval_bytes,
            gap_epoch: LeaderEpoch::ZERO,
            has_changed: sources.len() > 1,
        }
    }

    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The file to write.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        let newest = self.sources.iter().map(|it| it.name.revision).max().unwrap_or(0);
        SegmentName { base: self.segment.base(), revision: newest + 1 }
    }

    /// How much was appended.
    #[must_use]
    pub fn bytes(&self) -> FilePos {
        self.segment.end_pos()
    }

    /// Nothing is left of the batch.
    pub fn on_gone(&mut self, batch: &Batch<'_>) {
        if batch.base_offset() == self.segment.end().get() {
            self.gap_epoch = batch.leader_epoch();
        }
        self.has_changed = true;
    }

    /// Appends what is left of a batch.
    pub fn keep(&mut self, bytes: &[u8], is_whole: bool, into: &mut Vec<u8>) {
        let view = Batch::parse(bytes).expect("it was read, or written, as a batch");
        let base = Offset::checked(view.base_offset()).expect("it is stored");
        self.fill(base, into);
        self.append(bytes, into);
        self.has_changed |= !is_whole;
    }

    /// All batches have been told of: the segment and its sidecar. `producers` is their state at its end,
    /// as far as it is known. `None`: nothing has changed, the sources stay.
    pub fn finish(
        mut self,
        epochs: &Epochs,
        producers: Option<&Producers>,
        into: &mut Vec<u8>,
    ) -> Option<(Segment, Vec<u8>)> {
        if !self.has_changed {
            return None;
        }
        let end = self.sources.last().expect("something is rewritten").end;
        self.fill(end, into);
        let name = self.name();
        self.segment.seal_as(name.revision);
        let mut encoded = Vec::new();
        producers.unwrap_or(&Producers::new()).encode(&mut encoded);
        let sidecar = sidecar::encode(&self.segment, epochs, &encoded);
        Some((self.segment, sidecar))
    }

    fn fill(&mut self, until: Offset, into: &mut Vec<u8>) {
        while self.segment.end() < until {
            let base = self.segment.end();
            let count = until.get() - base.get();
            let delta_last = i32::try_from(count - 1).unwrap_or(i32::MAX - 1);
            let empty = batch::empty(base, delta_last, self.gap_epoch);
            self.append(&empty, into);
        }
    }

    fn append(&mut self, bytes: &[u8], into: &mut Vec<u8>) {
        let view = Batch::parse(bytes).expect("it was read, or written, as a batch");
        assert!(view.base_offset() == self.segment.end().get(), "batches follow each other");
        let summary = view.summary().expect("it was read, or written, as a batch");
        let (pos, created_at) = (self.segment.end_pos(), self.segment.created_at());
        self.segment.append(&summary, created_at, self.index_interval_bytes);
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().expect("a batch has a header");
        let chained = header.first_chunk().expect("the chained bytes are the first of the header");
        self.segment.chain(pos, chained, u64::from(summary.len_bytes));
        into.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Rewrite;
    use crate::batch::{self, Batch, Stop};
    use crate::compaction::Source;
    use crate::epochs::Epochs;
    use crate::id::{FilePos, LeaderEpoch, Offset, Timestamp};
    use crate::records::builder::BatchBuilder;
    use crate::scrub::{Mark, Scrub, Stretch};
    use crate::segment::SegmentName;
    use crate::sidecar::Sidecar;

    fn stored(base: i64, epoch: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(base), Some(b"k"), Some(b"value"), &[]);
        builder.push(Timestamp::new(base), Some(b"k"), Some(b"value"), &[]);
        let mut bytes = builder.build();
        batch::stamp(&mut bytes, Offset::new(base), LeaderEpoch::new(epoch));
        bytes
    }

    fn source(base: i64, end: i64, revision: u32) -> Source {
        Source {
            name: SegmentName { base: Offset::new(base), revision },
            end: Offset::new(end),
            bytes: FilePos::new(999),
            created_at: Timestamp::new(5),
        }
    }

    /// Batches of two records, at these offsets and of these epochs, in a segment from 10 to 30.
    fn rewritten(kept: &[(i64, i32)], gone: &[(i64, i32)]) -> (Vec<u8>, Rewrite) {
        let mut rewrite = Rewrite::new(&[source(10, 20, 4), source(20, 30, 0)], 0);
        let mut file = Vec::new();
        let mut all: Vec<((i64, i32), bool)> = kept.iter().map(|it| (*it, true)).collect();
        all.extend(gone.iter().map(|it| (*it, false)));
        all.sort_unstable();
        for ((base, epoch), is_kept) in all {
            let bytes = stored(base, epoch);
            if is_kept {
                rewrite.keep(&bytes, true, &mut file);
            } else {
                rewrite.on_gone(&Batch::parse(&bytes).unwrap());
            }
        }
        (file, rewrite)
    }

    #[test]
    fn every_offset_of_the_file_belongs_to_a_batch_of_its_epoch() {
        let gone = [(10, 0), (12, 0), (16, 2), (18, 2), (20, 2), (24, 2), (26, 3), (28, 3)];
        let (mut file, rewrite) = rewritten(&[(14, 1), (22, 2)], &gone);
        let mut epochs = Epochs::new();
        for (epoch, start) in [(0, 0), (1, 14), (2, 16), (3, 26)] {
            epochs.assign(LeaderEpoch::new(epoch), Offset::new(start));
        }
        let finished = rewrite.finish(&epochs, None, &mut file);
        let (segment, sidecar) = finished.expect("something is gone");
        let walk = batch::walk(&file, Some(Offset::new(10)));
        let bases: Vec<i64> = walk.clone().map(|(_, it)| it.base_offset()).collect();
        assert_eq!(bases, [10, 14, 16, 22, 24]);
        let mut walk = walk;
        walk.by_ref().for_each(drop);
        assert_eq!((walk.stop(), walk.expected()), (Some(Stop::End), Some(Offset::new(30))));

        assert_eq!(segment.name(), SegmentName { base: Offset::new(10), revision: 5 });
        assert_eq!(segment.end(), Offset::new(30));
        assert_eq!(segment.end_pos().get(), u64::try_from(file.len()).unwrap());
        assert_eq!(segment.max_timestamp().map(|it| it.batch), Some(Offset::new(22)));
        let sidecar = Sidecar::decode(&sidecar).expect("our own");
        assert!(sidecar.index.is_complete());

        let start = Mark { pos: FilePos::ZERO, offset: Offset::new(10) };
        let (end, marks) = (segment.end_pos(), Vec::new());
        let mut scrub = Scrub::new(Stretch { start, end, marks, epochs });
        scrub.feed(&file);
        assert_eq!(scrub.damages(), []);
        assert_eq!(scrub.chain_crc(), segment.chain_crc());
    }

    #[test]
    fn segments_of_which_nothing_is_left_become_one_empty_batch() {
        let gone: Vec<(i64, i32)> = (5..15).map(|it| (2 * it, 0)).collect();
        let (mut file, rewrite) = rewritten(&[], &gone);
        let (segment, _) = rewrite.finish(&Epochs::new(), None, &mut file).expect("changed");
        assert_eq!(file.len(), batch::HEADER_BYTES);
        assert_eq!(segment.max_timestamp(), None);
    }

    #[test]
    fn one_segment_that_is_whole_stays() {
        let mut rewrite = Rewrite::new(&[source(10, 12, 0)], 0);
        let mut file = Vec::new();
        rewrite.keep(&stored(10, 0), true, &mut file);
        assert!(rewrite.finish(&Epochs::new(), None, &mut file).is_none());
    }
}
