//! Where each leader epoch of a partition starts (KIP-101, KIP-279).
//!
//! Invariant: epochs and start offsets ascend strictly.

use bytes::BufMut;

use crate::fields::{Fields, Malformed};
use crate::id::{LeaderEpoch, Offset};

/// Entries kept. Past it the oldest go: a question about them is answered with a lower end, which
/// only makes a follower fetch more again.
pub const EPOCHS_COUNT_MAX: usize = 4096;

const ENTRY_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// The answer to OffsetForLeaderEpoch: the largest epoch not after the one asked for, and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    #[must_use]
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// `NONE` before the first leader.
    #[must_use]
    pub fn latest(&self) -> LeaderEpoch {
        self.entries.last().map_or(LeaderEpoch::NONE, |it| it.epoch)
    }

    /// That of the record at `offset`. `None`: it lies before all that is known.
    #[must_use]
    pub fn of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|it| it.start <= offset);
        after.checked_sub(1).map(|it| self.entries[it].epoch)
    }

    /// Records from `start` on belong to `epoch`. An epoch without a record leaves no entry.
    ///
    /// # Panics
    /// If the epoch, or its start, lies before the latest one.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(LeaderEpoch::ZERO <= epoch);
        assert!(self.latest() <= epoch, "leader epochs never go back");
        if self.latest() == epoch {
            return;
        }
        if let Some(last) = self.entries.last() {
            assert!(last.start <= start, "an epoch starts where the log ends");
        }
        self.entries.pop_if(|last| last.start == start);
        if self.entries.len() == EPOCHS_COUNT_MAX {
            self.entries.remove(0);
        }
        self.entries.push(EpochStart { epoch, start });
        self.check();
    }

    /// Where the requested epoch ends. `None`: no such epoch is known, Kafka's -1.
    #[must_use]
    pub fn end_of(
        &self,
        requested: LeaderEpoch,
        log_start: Offset,
        log_end: Offset,
    ) -> Option<EpochEnd> {
        assert!(log_start <= log_end);
        if requested == LeaderEpoch::NONE || requested > self.latest() {
            return None;
        }
        if requested == self.latest() {
            return Some(EpochEnd { epoch: requested, end: log_end });
        }
        let higher = self.entries.partition_point(|it| it.epoch <= requested);
        let end = self.entries[higher].start.max(log_start);
        let floor = higher.checked_sub(1).map(|it| self.entries[it].epoch);
        Some(EpochEnd { epoch: floor.unwrap_or(requested), end })
    }

    /// Records before `log_start` are gone: the epoch that holds it starts there.
    pub fn truncate_start(&mut self, log_start: Offset) {
        let kept = self.entries.partition_point(|it| it.start <= log_start).saturating_sub(1);
        self.entries.drain(..kept);
        if let Some(first) = self.entries.first_mut() {
            first.start = first.start.max(log_start);
        }
        self.check();
    }

    /// Those of the records before `end`.
    #[must_use]
    pub fn before(&self, end: Offset) -> Self {
        let count = self.entries.partition_point(|it| it.start < end);
        Self { entries: self.entries[..count].to_vec() }
    }

    /// ```text
    /// u32  entry count, then of each: i32 epoch, i64 start offset
    /// ```
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u32(u32::try_from(self.entries.len()).expect("the count is limited"));
        for entry in &self.entries {
            bytes.put_i32(entry.epoch.get());
            bytes.put_i64(entry.start.get());
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.count(ENTRY_BYTES)?;
        if count > EPOCHS_COUNT_MAX {
            return Err(Malformed::OutOfRange);
        }
        let mut entries: Vec<EpochStart> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = EpochStart { epoch: fields.leader_epoch()?, start: fields.offset()? };
            if entry.epoch < LeaderEpoch::ZERO {
                return Err(Malformed::OutOfRange);
            }
            if entries.last().is_some_and(|it| it.epoch >= entry.epoch || it.start >= entry.start) {
                return Err(Malformed::Unordered);
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    fn check(&self) {
        assert!(self.entries.len() <= EPOCHS_COUNT_MAX);
        if let [.., before, last] = self.entries[..] {
            assert!(before.epoch < last.epoch && before.start < last.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EpochEnd, Epochs};
    use crate::fields::{Fields, Malformed};
    use crate::id::{LeaderEpoch, Offset};

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::new();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch::new(*epoch), Offset::new(*start));
        }
        epochs
    }

    #[track_caller]
    fn check(epochs: &Epochs, requested: i32, want: Option<(i32, i64)>) {
        let found = epochs.end_of(LeaderEpoch::new(requested), Offset::new(5), Offset::new(90));
        let want = want
            .map(|(epoch, end)| EpochEnd { epoch: LeaderEpoch::new(epoch), end: Offset::new(end) });
        assert_eq!(found, want);
    }

    #[test]
    fn an_epoch_ends_where_the_next_known_one_starts() {
        let epochs = epochs(&[(2, 5), (4, 20), (7, 50)]);
        check(&epochs, 7, Some((7, 90)));
        check(&epochs, 4, Some((4, 50)));
        check(&epochs, 6, Some((4, 50)));
        check(&epochs, 2, Some((2, 20)));
        check(&epochs, 3, Some((2, 20)));
    }

    #[test]
    fn an_epoch_before_the_first_ends_at_the_log_start() {
        let epochs = epochs(&[(2, 5), (4, 20)]);
        check(&epochs, 1, Some((1, 5)));
        check(&epochs, -2, Some((-2, 5)));
    }

    #[test]
    fn none_and_later_epochs_are_unknown() {
        let known = epochs(&[(2, 5)]);
        check(&known, -1, None);
        check(&known, 3, None);
        check(&Epochs::new(), 0, None);
    }

    #[test]
    fn an_epoch_without_a_record_leaves_no_entry() {
        assert_eq!(epochs(&[(0, 0), (1, 0), (2, 3), (2, 9)]), epochs(&[(1, 0), (2, 3)]));
    }

    #[test]
    fn the_start_of_the_log_cuts_epochs() {
        let mut cut = epochs(&[(2, 5), (4, 20), (7, 50)]);
        cut.truncate_start(Offset::new(20));
        assert_eq!(cut, epochs(&[(4, 20), (7, 50)]));
        cut.truncate_start(Offset::new(30));
        assert_eq!(cut, epochs(&[(4, 30), (7, 50)]));
        cut.truncate_start(Offset::new(60));
        assert_eq!(cut, epochs(&[(7, 60)]));
    }

    #[test]
    fn encoded_epochs_come_back_and_unordered_ones_do_not() {
        let epochs = epochs(&[(2, 5), (4, 20)]);
        let mut bytes = Vec::new();
        epochs.encode(&mut bytes);
        assert_eq!(Epochs::decode(&mut Fields::new(&bytes)), Ok(epochs));
        for end in 0..bytes.len() {
            let found = Epochs::decode(&mut Fields::new(&bytes[..end]));
            assert_eq!(found, Err(Malformed::Truncated));
        }
        bytes[7] = 9;
        assert_eq!(Epochs::decode(&mut Fields::new(&bytes)), Err(Malformed::Unordered));
    }
}
