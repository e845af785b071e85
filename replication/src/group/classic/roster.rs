//! All members of a classic group, and what is asked of all of them at every request, counted as they change:
//! thousands that join would else be walked over thousands of times.
//!
//! Knows no phase. Nobody else changes a member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::classic::member::Member;
use crate::group::coordinator::Step;
use crate::group::memory::{of_bytes, of_text};

/// One per classic group. A change of a member costs the logarithm of their number, and of each name of a
/// protocol that the member can do.
///
/// Invariant: `counts` is what a walk over `members` comes to.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<Arc<str>, Member>,
    counts: Counts,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Members that wait to have joined.
    joining_count: usize,
    /// How many members can do a protocol, however often they name it. At least one.
    able_counts: BTreeMap<Arc<str>, usize>,
    /// How many members have a rebalance time-out. At least one.
    rebalance_ms_counts: BTreeMap<i32, usize>,
    bytes: u64,
    assignment_bytes: u64,
}

impl Roster {
    pub(super) const fn all(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many members wait to have joined.
    pub(super) const fn joining_count(&self) -> usize {
        self.counts.joining_count
    }

    pub(super) fn are_all_joining(&self) -> bool {
        self.counts.joining_count == self.members.len()
    }

    /// Whether every member can do the protocol; of nobody it is not known.
    pub(super) fn can_all(&self, protocol: &str) -> bool {
        self.counts.able_counts.get(protocol) == Some(&self.members.len())
    }

    /// Of all members, the longest. Zero if there is none.
    pub(super) fn rebalance_ms(&self) -> i32 {
        self.counts.rebalance_ms_counts.last_key_value().map_or(0, |it| *it.0)
    }

    /// What the members take of memory, about.
    pub(super) fn bytes(&self) -> u64 {
        debug_assert_eq!(self.counts, Counts::of(&self.members), "counted as a walk counts");
        self.counts.bytes
    }

    /// Likewise, of that what they were assigned.
    pub(super) const fn assignment_bytes(&self) -> u64 {
        self.counts.assignment_bytes
    }

    /// In place of one with the same id, if there is one.
    pub(super) fn insert(&mut self, id: Arc<str>, member: Member) {
        self.remove(&id);
        self.counts.add(&id, &member);
        self.members.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.counts.subtract(id, &member);
        Some(member)
    }

    /// Changes a member.
    ///
    /// # Panics
    /// If it is not there.
    pub(super) fn edit(&mut self, id: &str, edit: impl FnOnce(&mut Member)) {
        let member = self.members.get_mut(id).expect("only members are changed");
        self.counts.subtract(id, member);
        edit(member);
        self.counts.add(id, member);
    }

    pub(super) fn edit_all(&mut self, mut edit: impl FnMut(&Arc<str>, &mut Member)) {
        for (id, member) in &mut self.members {
            self.counts.subtract(id, member);
            edit(id, member);
            self.counts.add(id, member);
        }
    }

    /// A member, if it is there, has shown that it lives: nothing that is counted changes.
    pub(super) fn live(&mut self, step: &Step<'_>, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.live(step);
        }
    }
}

impl Counts {
    fn of(members: &BTreeMap<Arc<str>, Member>) -> Self {
        let mut counts = Self::default();
        members.iter().for_each(|(id, member)| counts.add(id, member));
        counts
    }

    fn add(&mut self, id: &str, member: &Member) {
        self.joining_count += usize::from(member.is_joining());
        for name in names(member) {
            *self.able_counts.entry(Arc::clone(name)).or_default() += 1;
        }
        *self.rebalance_ms_counts.entry(member.rebalance_ms).or_default() += 1;
        self.bytes += of_text(id) + member.bytes();
        self.assignment_bytes += of_bytes(&member.assignment);
    }

    fn subtract(&mut self, id: &str, member: &Member) {
        self.joining_count -= usize::from(member.is_joining());
        for name in names(member) {
            take_one(&mut self.able_counts, name);
        }
        take_one(&mut self.rebalance_ms_counts, &member.rebalance_ms);
        self.bytes -= of_text(id) + member.bytes();
        self.assignment_bytes -= of_bytes(&member.assignment);
    }
}

/// Of the protocols that a member can do, each once.
fn names(member: &Member) -> BTreeSet<&Arc<str>> {
    member.protocols.iter().map(|it| &it.name).collect()
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    let count = counts.get_mut(key).expect("it was counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Roster;
    use crate::group::classic::member::{Member, Waiting};
    use crate::group::memory::{of_bytes, of_text};
    use crate::group::request::Protocol;
    use crate::group::{Moment, Ticket};

    const NAMES: [&str; 4] = ["range", "roundrobin", "sticky", "unknown"];

    /// Small numbers from a seed (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).expect("small"))
                .expect("small")
        }

        /// So many bytes, or fewer.
        fn bytes(&mut self, end: usize) -> Bytes {
            vec![0_u8; self.below(end)].into()
        }

        /// The last name is never among them; some may be named twice.
        fn protocols(&mut self) -> Vec<Protocol> {
            let count = self.below(4);
            let protocol =
                |_| Protocol { name: NAMES[self.below(3)].into(), metadata: self.bytes(9) };
            (0..count).map(protocol).collect()
        }

        fn waiting(&mut self) -> Waiting {
            [Waiting::Nothing, Waiting::Join(Ticket(1)), Waiting::Sync(Ticket(2))][self.below(3)]
        }

        fn rebalance_ms(&mut self) -> i32 {
            [-1, 5, 5_000, 60_000][self.below(4)]
        }

        fn member(&mut self) -> Member {
            Member {
                instance: (self.below(2) == 0).then(|| "lasting".into()),
                client_id: "client".into(),
                client_host: "host".into(),
                session_ms: 6_000,
                rebalance_ms: self.rebalance_ms(),
                protocols: self.protocols(),
                assignment: self.bytes(20),
                expires: Moment::default(),
                is_new: true,
                has_synced: false,
                waiting: self.waiting(),
            }
        }

        fn change(&mut self, member: &mut Member) {
            match self.below(5) {
                0 => member.waiting = self.waiting(),
                1 => member.protocols = self.protocols(),
                2 => member.rebalance_ms = self.rebalance_ms(),
                3 => member.assignment = self.bytes(20),
                _ => *member = self.member(),
            }
        }
    }

    /// What it says of all is what a walk over all finds.
    fn check(roster: &Roster) {
        let all = || roster.all().values();
        let joining_count = all().filter(|it| matches!(it.waiting, Waiting::Join(_))).count();
        assert_eq!(roster.joining_count(), joining_count);
        assert_eq!(roster.are_all_joining(), all().all(Member::is_joining));
        let longest_ms = all().map(|it| it.rebalance_ms).max().unwrap_or(0);
        assert_eq!(roster.rebalance_ms(), longest_ms);
        for name in NAMES {
            let can = |it: &Member| it.protocols.iter().any(|it| &*it.name == name);
            assert_eq!(roster.can_all(name), !roster.is_empty() && all().all(can), "{name}");
        }
        let bytes: u64 = roster.all().iter().map(|(id, it)| of_text(id) + it.bytes()).sum();
        assert_eq!(roster.bytes(), bytes);
        let assignment_bytes: u64 = all().map(|it| of_bytes(&it.assignment)).sum();
        assert_eq!(roster.assignment_bytes(), assignment_bytes);
    }

    #[test]
    fn what_is_counted_of_all_members_is_what_a_walk_finds() {
        for seed in 0..200 {
            println!("seed {seed}");
            let (mut dice, mut roster) = (Dice(seed), Roster::default());
            check(&roster);
            for _ in 0..100 {
                let id = dice.below(6).to_string();
                match dice.below(8) {
                    0..=2 => roster.insert((&*id).into(), dice.member()),
                    3 => drop(roster.remove(&id)),
                    4..=6 if roster.all().contains_key(&*id) => {
                        roster.edit(&id, |it| dice.change(it));
                    }
                    _ => roster.edit_all(|_, it| dice.change(it)),
                }
                check(&roster);
            }
            while let Some(id) = roster.all().keys().next().cloned() {
                roster.remove(&id);
                check(&roster);
            }
            assert_eq!(roster.counts, super::Counts::default(), "nobody leaves anything behind");
        }
    }
}
