//! A sparse index of one segment: where to begin to look for an offset, or for a time.
//!
//! It knows positions, not bytes. Looking up is exact to the batch at or before the one sought: the
//! reader walks on from there.
//! Invariant: at most `ENTRIES_MAX` entries, ascending in every column.

use bytes::BufMut;

use crate::bug::Bug;
use crate::fields::{Fields, Malformed};
use crate::id::{FilePos, Offset, Timestamp};

/// 96 KiB of memory. When they are used up, every other entry goes, and the interval grows to match.
pub const ENTRIES_MAX: usize = 4096;

const ENTRY_BYTES: usize = 24;

/// A batch, and the largest timestamp of the segment before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: Offset,
    pub pos: FilePos,
    pub max_timestamp_before: Timestamp,
}

/// The index of `[from, end)` of a segment's bytes; complete if it begins with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    from: FilePos,
    end: FilePos,
    max_timestamp: Timestamp,
    interval_bytes: u64,
    entries: Vec<Entry>,
}

impl Index {
    /// Of a segment whose batches will be fed from its first on.
    #[must_use]
    pub const fn new() -> Self {
        Self::starting_at(FilePos::ZERO, Timestamp::NONE)
    }

    /// Of what comes behind `from`, where the largest timestamp before is known.
    #[must_use]
    pub const fn starting_at(from: FilePos, max_timestamp: Timestamp) -> Self {
        Self { from, end: from, max_timestamp, interval_bytes: 0, entries: Vec::new() }
    }

    /// What comes next in the segment: a batch of `bytes` bytes.
    ///
    /// # Panics
    /// If the offset does not ascend.
    pub fn on_batch(
        &mut self,
        offset: Offset,
        bytes: u64,
        max_timestamp: Timestamp,
        interval_bytes: u64,
    ) {
        let interval_bytes = interval_bytes.max(self.interval_bytes);
        let due = self.entries.last().is_none_or(|last| {
            assert!(last.offset < offset);
            self.end.since(last.pos) >= interval_bytes
        });
        if due {
            if self.entries.len() == ENTRIES_MAX {
                self.thin(interval_bytes);
            }
            let max_timestamp_before = self.max_timestamp;
            self.entries.push(Entry { offset, pos: self.end, max_timestamp_before });
        }
        self.end = self.end.plus(bytes);
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        self.check();
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.from == FilePos::ZERO
    }

    /// Where its knowledge begins: a rebuilt index must reach it.
    #[must_use]
    pub const fn from(&self) -> FilePos {
        self.from
    }

    #[must_use]
    pub const fn end(&self) -> FilePos {
        self.end
    }

    /// Ascending.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last known batch that begins at or before `offset`.
    #[must_use]
    pub fn at_or_before(&self, offset: Offset) -> Option<Entry> {
        let after = self.entries.partition_point(|it| it.offset <= offset);
        let after = after + usize::from(Bug::IndexOffByOneBatch.is_on());
        let after = after.min(self.entries.len());
        after.checked_sub(1).map(|it| self.entries[it])
    }

    /// The last known batch before which every timestamp is smaller.
    #[must_use]
    pub fn before_time(&self, timestamp: Timestamp) -> Option<Entry> {
        let after = self.entries.partition_point(|it| it.max_timestamp_before < timestamp);
        after.checked_sub(1).map(|it| self.entries[it])
    }

    /// The last known boundary between batches at or before `pos`, if it is before the end.
    #[must_use]
    pub fn boundary(&self, pos: FilePos) -> Option<Entry> {
        if self.end <= pos {
            return None;
        }
        let after = self.entries.partition_point(|it| it.pos <= pos);
        after.checked_sub(1).map(|it| self.entries[it])
    }

    /// Puts the rebuilt index of what comes before in front of this one.
    ///
    /// # Panics
    /// If it is not complete, or does not reach this one.
    pub(crate) fn complete_with(&mut self, rebuilt: Self) {
        assert!(rebuilt.is_complete());
        assert!(self.from <= rebuilt.end, "a gap would be an entry missing");
        let tail = std::mem::replace(self, rebuilt);
        let known_end = self.end;
        self.entries.extend(tail.entries.iter().filter(|it| it.pos >= known_end));
        self.end = self.end.max(tail.end);
        self.max_timestamp = self.max_timestamp.max(tail.max_timestamp);
        self.interval_bytes = self.interval_bytes.max(tail.interval_bytes);
        if self.entries.len() > ENTRIES_MAX {
            self.thin(self.interval_bytes);
        }
        self.check();
    }

    /// ```text
    /// u64  from, u64 end, i64 max timestamp, u64 interval
    /// u32  entry count, then of each: i64 offset, u64 position, i64 max timestamp before
    /// ```
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.from.get());
        bytes.put_u64(self.end.get());
        bytes.put_i64(self.max_timestamp.get());
        bytes.put_u64(self.interval_bytes);
        bytes.put_u32(u32::try_from(self.entries.len()).expect("the count is limited"));
        for entry in &self.entries {
            bytes.put_i64(entry.offset.get());
            bytes.put_u64(entry.pos.get());
            bytes.put_i64(entry.max_timestamp_before.get());
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (from, end) = (fields.pos()?, fields.pos()?);
        if from > end {
            return Err(Malformed::Unordered);
        }
        let max_timestamp = fields.timestamp()?;
        let interval_bytes = fields.u64()?;
        let count = fields.count(ENTRY_BYTES)?;
        if count > ENTRIES_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let offset = fields.offset()?;
            let pos = fields.pos()?;
            let max_timestamp_before = fields.timestamp()?;
            let ascends = entries.last().is_none_or(|last| {
                last.offset < offset
                    && last.pos < pos
                    && last.max_timestamp_before <= max_timestamp_before
            });
            if !ascends || pos < from || pos >= end || max_timestamp_before > max_timestamp {
                return Err(Malformed::Unordered);
            }
            entries.push(Entry { offset, pos, max_timestamp_before });
        }
        Ok(Self { from, end, max_timestamp, interval_bytes, entries })
    }

    /// What is left is as dense as what will come.
    fn thin(&mut self, interval_bytes: u64) {
        let mut index = 0_usize;
        self.entries.retain(|_| {
            index += 1;
            !index.is_multiple_of(2)
        });
        let count = u64::try_from(self.entries.len()).expect("the count is limited");
        self.interval_bytes = interval_bytes.max(self.end.since(self.from).div_ceil(count));
    }

    fn check(&self) {
        assert!(self.from <= self.end);
        assert!(self.entries.len() <= ENTRIES_MAX);
        if let Some(last) = self.entries.last() {
            assert!(last.pos < self.end || self.from == self.end);
            assert!(last.max_timestamp_before <= self.max_timestamp);
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_MAX, Index};
    use crate::fields::{Fields, Malformed};
    use crate::id::{FilePos, Offset, Timestamp};

    /// Batches of ten offsets and 100 bytes each; the times go up and down.
    fn feed(index: &mut Index, batches: std::ops::Range<i64>, interval_bytes: u64) {
        for batch in batches {
            let timestamp = if batch % 2 == 0 { batch * 10 } else { 1 };
            index.on_batch(Offset::new(batch * 10), 100, Timestamp::new(timestamp), interval_bytes);
        }
    }

    fn index(batch_count: i64, interval_bytes: u64) -> Index {
        let mut index = Index::new();
        feed(&mut index, 0..batch_count, interval_bytes);
        index
    }

    #[track_caller]
    fn check_offset(index: &Index, offset: i64, want: i64) {
        let entry = index.at_or_before(Offset::new(offset)).expect("complete");
        assert_eq!((entry.offset.get(), entry.pos.get()), (want * 10, batch_pos(want)));
    }

    #[track_caller]
    fn check_time(index: &Index, timestamp: i64, want: i64) {
        let entry = index.before_time(Timestamp::new(timestamp)).expect("complete");
        assert_eq!((entry.offset.get(), entry.pos.get()), (want * 10, batch_pos(want)));
    }

    fn batch_pos(batch: i64) -> u64 {
        u64::try_from(batch).unwrap() * 100
    }

    #[test]
    fn an_offset_is_found_at_or_behind_its_entry() {
        let index = index(10, 300);
        check_offset(&index, 0, 0);
        check_offset(&index, 29, 0);
        check_offset(&index, 30, 3);
        check_offset(&index, 59, 3);
        check_offset(&index, 1000, 9);
        assert_eq!(Index::new().at_or_before(Offset::ZERO), None);
    }

    #[test]
    fn a_time_is_found_behind_smaller_ones_only() {
        let index = index(10, 0);
        check_time(&index, 0, 0);
        check_time(&index, 1, 1);
        check_time(&index, 20, 2);
        check_time(&index, 21, 4);
        check_time(&index, 1000, 9);
    }

    #[test]
    fn a_full_index_thins_and_still_finds_everything() {
        let count = i64::try_from(ENTRIES_MAX).unwrap() * 5;
        let index = index(count, 0);
        assert!(index.entries.len() <= ENTRIES_MAX && index.entries.len() > ENTRIES_MAX / 4);
        for batch in 0..count {
            let entry = index.at_or_before(Offset::new(batch * 10 + 3)).expect("complete");
            assert!(entry.offset.get() <= batch * 10);
            assert!(batch * 10 - entry.offset.get() < 10 * 17);
        }
    }

    #[test]
    fn a_rebuilt_beginning_completes_a_tail() {
        let mut tail = Index::starting_at(FilePos::new(500), Timestamp::new(40));
        feed(&mut tail, 5..9, 300);
        assert!(!tail.is_complete());
        assert_eq!(tail.at_or_before(Offset::new(10)), None);
        let mut overlapping = tail.clone();
        tail.complete_with(index(5, 300));
        overlapping.complete_with(index(7, 300));
        for index in [tail, overlapping] {
            assert!(index.is_complete());
            assert_eq!(index.end(), FilePos::new(900));
            check_offset(&index, 10, 0);
            check_offset(&index, 89, 8);
        }
    }

    #[test]
    fn an_encoded_index_comes_back_and_no_prefix_of_it() {
        let index = index(50, 300);
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        assert_eq!(Index::decode(&mut Fields::new(&bytes)), Ok(index));
        for end in 0..bytes.len() {
            let found = Index::decode(&mut Fields::new(&bytes[..end]));
            assert_eq!(found, Err(Malformed::Truncated));
        }
    }
}
