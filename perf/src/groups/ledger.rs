//! Who owns which partition, as the members say, and how long nobody did.

use std::collections::BTreeMap;

use crate::clock::Moment;
use crate::latency::Latency;

pub(super) struct Ledger {
    seats: Vec<Seat>,
    /// Partitions of each member that has any.
    held: BTreeMap<u32, usize>,
    pauses: Latency,
    overlap_count: u64,
}

#[derive(Clone, Copy)]
struct Seat {
    owner: Option<u32>,
    /// `None`: nobody has ever had it.
    free_since: Option<Moment>,
}

impl Ledger {
    pub(super) fn new(partition_count: i32) -> Self {
        let count = usize::try_from(partition_count).expect("a topic has partitions");
        let seats = vec![Seat { owner: None, free_since: None }; count];
        Self { seats, held: BTreeMap::new(), pauses: Latency::new(), overlap_count: 0 }
    }

    pub(super) fn take(&mut self, name: u32, partitions: &[i32], at: Moment) {
        for partition in partitions {
            let seat = &mut self.seats[usize::try_from(*partition).expect("an index")];
            match (seat.owner.replace(name), seat.free_since.take()) {
                (Some(before), _) => {
                    self.overlap_count += u64::from(before != name);
                    Self::count(&mut self.held, before, -1);
                }
                (None, Some(since)) => self.pauses.record_ns(at.ns_since(since)),
                (None, None) => {}
            }
            Self::count(&mut self.held, name, 1);
        }
    }

    pub(super) fn give(&mut self, name: u32, partitions: &[i32], at: Moment) {
        for partition in partitions {
            let seat = &mut self.seats[usize::try_from(*partition).expect("an index")];
            if seat.owner == Some(name) {
                *seat = Seat { owner: None, free_since: Some(at) };
                Self::count(&mut self.held, name, -1);
            }
        }
    }

    fn count(held: &mut BTreeMap<u32, usize>, name: u32, by: isize) {
        let count = held.entry(name).or_default();
        *count = count.checked_add_signed(by).expect("who gives has");
        if *count == 0 {
            held.remove(&name);
        }
    }

    pub(super) fn owned_count(&self) -> usize {
        self.held.values().sum()
    }

    /// Every partition has an owner, nobody else than `members` has any, and no two have shares that differ
    /// by more than one.
    pub(super) fn is_balanced(&self, members: impl ExactSizeIterator<Item = u32>) -> bool {
        let least = self.seats.len() / members.len().max(1);
        let most = self.seats.len().div_ceil(members.len().max(1));
        let mut of_members = 0;
        for member in members {
            let share = self.held.get(&member).copied().unwrap_or(0);
            if share < least || most < share {
                return false;
            }
            of_members += share;
        }
        of_members == self.seats.len() && self.owned_count() == of_members
    }

    /// Of partitions that found a new owner, since the last call.
    pub(super) fn take_pauses(&mut self) -> Latency {
        std::mem::replace(&mut self.pauses, Latency::new())
    }

    pub(super) const fn overlap_count(&self) -> u64 {
        self.overlap_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    #[test]
    fn a_pause_lasts_from_one_owner_to_the_next() {
        let mut ledger = Ledger::new(4);
        ledger.take(1, &[0, 1, 2, 3], at(10));
        assert_eq!(ledger.take_pauses().count(), 0, "the first owner ends no pause");
        ledger.give(1, &[2, 3], at(20));
        assert!(!ledger.is_balanced([1, 2].into_iter()));
        ledger.take(2, &[2, 3], at(50));
        assert!(ledger.is_balanced([1, 2].into_iter()));
        let pauses = ledger.take_pauses();
        assert_eq!((pauses.count(), pauses.longest_ns()), (2, 30_000_000));
        assert_eq!(ledger.overlap_count(), 0);
    }

    #[test]
    fn two_owners_at_once_are_seen() {
        let mut ledger = Ledger::new(2);
        ledger.take(1, &[0, 1], at(10));
        ledger.take(2, &[1], at(20));
        assert_eq!(ledger.overlap_count(), 1);
        ledger.give(1, &[0, 1], at(30));
        assert_eq!(ledger.owned_count(), 1, "what another has taken is not given back");
    }

    #[test]
    fn balance_wants_every_partition_and_no_stranger() {
        let mut ledger = Ledger::new(5);
        ledger.take(1, &[0, 1, 2], at(1));
        ledger.take(2, &[3, 4], at(1));
        assert!(ledger.is_balanced([1, 2].into_iter()));
        assert!(!ledger.is_balanced([1, 2, 3].into_iter()), "the third has nothing");
        assert!(!ledger.is_balanced([1].into_iter()), "who left has some still");
    }
}
