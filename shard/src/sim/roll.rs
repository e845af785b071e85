//! The roll of a group: what its members were told, and what they committed. It judges that at once: no id
//! is given twice, no partition has two owners in a generation, or at one time, and committed offsets never
//! go back.
//!
//! Sends nothing but the last look at what is committed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crate::io::{Io, Nanos};
use crate::sim::SimIo;
use crate::sim::failure::Check;
use crate::sim::member::{RETRY, fetch};
use crate::sim::recorder::{Recorder, Target};
use crate::sim::wire::{Gone, Wire};

/// Where a partition is of which nothing was committed.
const NOBODY: i64 = -1;

/// Who has shown itself so lately is a member, and owns what it did: neither its session nor a rebalance, nor
/// its time to give something up, can have ended without it.
pub const CERTAIN: Duration = Duration::from_secs(4);

/// What the members of a group were told, and what they committed. One per group and run.
#[derive(Clone)]
pub struct Roll(Rc<RefCell<Told>>);

struct Told {
    name: String,
    topic: String,
    topic_id: [u8; 16],
    partition_count: usize,
    recorder: Recorder,
    /// Every id that somebody was given.
    ids: BTreeSet<String>,
    /// Of each generation, who owns a partition.
    owners: BTreeMap<(i32, i32), String>,
    /// What each member reads.
    holds: BTreeMap<u32, Hold>,
    offsets: BTreeMap<i32, Known>,
    /// Members that have done enough, and what they own in which generation.
    settled: BTreeMap<u32, (i32, BTreeSet<i32>)>,
    member_count: u32,
    /// All have settled once: everybody may end.
    is_over: bool,
}

/// What a member reads.
struct Hold {
    partitions: BTreeSet<i32>,
    /// When it sent what was last answered as a member is answered.
    shown_at: Nanos,
}

/// What is known of a partition's committed offset.
#[derive(Clone, Debug)]
struct Known {
    /// It was acknowledged, or read.
    certain: i64,
    /// Sent since, and not answered: may be so, now or later.
    possible: BTreeSet<i64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { certain: NOBODY, possible: BTreeSet::new() }
    }
}

impl Roll {
    /// Of a group that reads the topic of `targets`.
    #[must_use]
    pub fn new(recorder: &Recorder, name: String, targets: &[Target]) -> Self {
        let topic = targets[0].topic.clone();
        let partition_count = targets.iter().filter(|it| it.topic == topic).count();
        Self(Rc::new(RefCell::new(Told {
            name,
            topic,
            topic_id: targets[0].topic_id,
            partition_count,
            recorder: recorder.clone(),
            ids: BTreeSet::new(),
            owners: BTreeMap::new(),
            holds: BTreeMap::new(),
            offsets: BTreeMap::new(),
            settled: BTreeMap::new(),
            member_count: 0,
            is_over: false,
        })))
    }

    /// Of the group, and of the topic that it reads.
    pub(super) fn names(&self) -> (String, String) {
        let told = self.0.borrow();
        (told.name.clone(), told.topic.clone())
    }

    pub(super) fn topic_id(&self) -> [u8; 16] {
        self.0.borrow().topic_id
    }

    pub(super) fn partition_count(&self) -> usize {
        self.0.borrow().partition_count
    }

    pub(super) fn enlist(&self) -> u32 {
        let mut told = self.0.borrow_mut();
        told.member_count += 1;
        told.member_count
    }

    /// A member is gone for good, and nobody takes its place.
    pub(super) fn strike(&self, member: u32) {
        let mut told = self.0.borrow_mut();
        told.member_count -= 1;
        told.settled.remove(&member);
        told.holds.remove(&member);
    }

    pub(super) fn fail(&self, what: String) {
        self.0.borrow().recorder.fail(Check::Group, what);
    }

    /// No id is given twice.
    pub(super) fn on_named(&self, id: &str) {
        let is_fresh = self.0.borrow_mut().ids.insert(id.to_owned());
        if !is_fresh {
            self.fail(format!("the id {id} is given to a second member"));
        }
    }

    /// At most one owner of a partition in a generation, whatever crashes.
    pub(super) fn on_assigned(&self, generation: i32, member: &str, partitions: &BTreeSet<i32>) {
        let mut told = self.0.borrow_mut();
        for &partition in partitions {
            let owner =
                told.owners.entry((generation, partition)).or_insert_with(|| member.to_owned());
            if owner != member {
                let what = format!(
                    "partition {partition} of generation {generation} belongs to {owner} and to {member}"
                );
                return told.recorder.fail(Check::Group, what);
            }
        }
    }

    /// A member reads these from `now` on, as an answer says to what it sent at `sent_at`.
    pub(super) fn own(&self, member: u32, partitions: &BTreeSet<i32>, sent_at: Nanos, now: Nanos) {
        let partitions = partitions.clone();
        self.0.borrow_mut().holds.insert(member, Hold { partitions, shown_at: sent_at });
        self.check_holds(member, now);
    }

    /// What a member sent at `sent_at` was answered as a member is answered.
    pub(super) fn show(&self, member: u32, sent_at: Nanos, now: Nanos) {
        if let Some(hold) = self.0.borrow_mut().holds.get_mut(&member) {
            hold.shown_at = sent_at;
        }
        self.check_holds(member, now);
    }

    /// A member reads only these any more.
    pub(super) fn give_up(&self, member: u32, kept: &BTreeSet<i32>) {
        if let Some(hold) = self.0.borrow_mut().holds.get_mut(&member) {
            hold.partitions.retain(|it| kept.contains(it));
        }
    }

    /// Two members that both are members for certain read nothing in common.
    fn check_holds(&self, member: u32, now: Nanos) {
        let told = self.0.borrow();
        let is_certain = |it: &Hold| now.since(it.shown_at) < CERTAIN;
        let Some(own) = told.holds.get(&member).filter(|it| is_certain(it)) else { return };
        for (other, hold) in told.holds.iter().filter(|it| *it.0 != member && is_certain(it.1)) {
            if let Some(partition) = own.partitions.intersection(&hold.partitions).next() {
                let what = format!("partition {partition} has two owners: {member} and {other}");
                return told.recorder.fail(Check::Group, what);
            }
        }
    }

    pub(super) fn on_commit(&self, partition: i32, offset: i64) {
        self.0.borrow_mut().offsets.entry(partition).or_default().possible.insert(offset);
    }

    pub(super) fn on_committed(&self, partition: i32, offset: i64) {
        let mut told = self.0.borrow_mut();
        let known = told.offsets.entry(partition).or_default();
        known.possible.remove(&offset);
        known.certain = offset;
    }

    /// What was refused was not done.
    pub(super) fn on_refused(&self, partition: i32, offset: i64) {
        self.0.borrow_mut().offsets.entry(partition).or_default().possible.remove(&offset);
    }

    /// By an owner, who then knows that no earlier owner's commit can come any more.
    pub(super) fn on_fetched(&self, partition: i32, offset: i64) {
        let mut told = self.0.borrow_mut();
        let known = told.offsets.entry(partition).or_default();
        if offset != known.certain && !known.possible.contains(&offset) {
            let what = format!("partition {partition} is at {offset}, it should be {known:?}");
            return told.recorder.fail(Check::Group, what);
        }
        known.certain = offset;
        known.possible.clear();
    }

    /// Whether everybody has settled, after `member` has, with what it owns.
    pub(super) fn settle(&self, member: u32, generation: i32, partitions: &BTreeSet<i32>) -> bool {
        let mut told = self.0.borrow_mut();
        told.settled.insert(member, (generation, partitions.clone()));
        let is_one = told.settled.values().all(|it| it.0 == generation);
        let owned: usize = told.settled.values().map(|it| it.1.len()).sum();
        let count = usize::try_from(told.member_count).expect("a few");
        told.is_over |= is_one && told.settled.len() == count && owned == told.partition_count;
        told.is_over
    }

    pub(super) fn is_over(&self) -> bool {
        let told = self.0.borrow();
        told.is_over || told.recorder.has_failed()
    }

    pub(super) fn unsettle(&self, member: u32) {
        self.0.borrow_mut().settled.remove(&member);
    }

    /// Reads what is committed, when nobody commits any more.
    pub async fn audit(&self, io: &SimIo, node: usize) {
        let (group, topic) = self.names();
        let partitions: BTreeSet<i32> = (0..).take(self.partition_count()).collect();
        loop {
            let mut wire = Wire::connect(io, node).await;
            match fetch(&mut wire, &group, &topic, &partitions).await {
                Ok(Some(found)) => {
                    found.into_iter().for_each(|(partition, at)| self.on_fetched(partition, at));
                    return;
                }
                Ok(None) => io.sleep(RETRY).await,
                Err(Gone) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Roll;
    use crate::io::Nanos;
    use crate::sim::World;
    use crate::sim::failure::Check;
    use crate::sim::history::{Durability, LogId};
    use crate::sim::policy::Policy;
    use crate::sim::recorder::{Recorder, Target};

    /// Whether the roll finds something wrong in what `tell` tells it, of a group that reads two partitions.
    #[track_caller]
    fn check(want: Result<(), &str>, tell: impl FnOnce(&Roll)) {
        let recorder = Recorder::new(World::new(1).outside(), 1);
        let target = |partition: u32| Target {
            topic: "t".to_owned(),
            topic_id: [7; 16],
            partition: i32::try_from(partition).expect("two"),
            log: LogId(partition),
            durability: Durability::Device,
            policy: Policy::default(),
        };
        tell(&Roll::new(&recorder, "g".to_owned(), &[target(0), target(1)]));
        let found = recorder.failure().map(|it| (it.check, it.to_string()));
        match (want, found) {
            (Ok(()), None) => {}
            (Err(want), Some((Check::Group, what))) if what.contains(want) => {}
            (want, found) => panic!("{want:?}, and the roll found {found:?}"),
        }
    }

    #[test]
    fn two_owners_at_one_time_are_found_unless_one_is_not_sure_any_more() {
        let at = |millis: u64| Nanos::new(millis * 1_000_000);
        check(Ok(()), |roll| {
            roll.own(1, &of(&[0, 1]), at(0), at(10));
            roll.give_up(1, &of(&[0]));
            roll.own(2, &of(&[1]), at(20), at(30));
            roll.own(3, &of(&[0]), at(4_000), at(4_010)); // The first has been silent.
        });
        check(Err("partition 1 has two owners: 2 and 1"), |roll| {
            roll.own(1, &of(&[0, 1]), at(0), at(10));
            roll.own(2, &of(&[1]), at(20), at(3_999));
        });
        check(Err("partition 0 has two owners: 1 and 2"), |roll| {
            roll.own(1, &of(&[0]), at(0), at(10));
            roll.own(2, &of(&[0]), at(4_000), at(5_000));
            roll.show(1, at(5_010), at(5_020)); // It was a member all the time.
        });
    }

    fn of(partitions: &[i32]) -> BTreeSet<i32> {
        partitions.iter().copied().collect()
    }

    #[test]
    fn an_id_that_is_given_twice_is_found() {
        check(Ok(()), |roll| ["a", "b"].iter().for_each(|it| roll.on_named(it)));
        check(Err("second member"), |roll| ["a", "a"].iter().for_each(|it| roll.on_named(it)));
    }

    #[test]
    fn two_owners_in_one_generation_are_found() {
        check(Ok(()), |roll| {
            roll.on_assigned(1, "a", &of(&[0, 1]));
            roll.on_assigned(1, "a", &of(&[0, 1])); // It asked again.
            roll.on_assigned(2, "a", &of(&[0]));
            roll.on_assigned(2, "b", &of(&[1]));
        });
        check(Err("belongs to a and to b"), |roll| {
            roll.on_assigned(1, "a", &of(&[0, 1]));
            roll.on_assigned(1, "b", &of(&[1]));
        });
    }

    #[test]
    fn an_offset_that_goes_back_or_comes_from_nowhere_is_found() {
        check(Ok(()), |roll| {
            roll.on_fetched(0, -1);
            roll.on_commit(0, 5);
            roll.on_committed(0, 5);
            roll.on_fetched(0, 5);
        });
        check(Err("partition 0 is at -1"), |roll| {
            roll.on_commit(0, 5);
            roll.on_committed(0, 5);
            roll.on_fetched(0, -1);
        });
        check(Err("partition 1 is at 9"), |roll| roll.on_fetched(1, 9));
    }

    #[test]
    fn a_commit_without_an_answer_may_be_so_once_and_one_that_was_refused_may_not() {
        for at in [5, 7] {
            check(Ok(()), |roll| {
                roll.on_commit(0, 5);
                roll.on_committed(0, 5);
                roll.on_commit(0, 7);
                roll.on_fetched(0, at);
            });
        }
        check(Err("partition 0 is at 7"), |roll| {
            roll.on_commit(0, 5);
            roll.on_committed(0, 5);
            roll.on_commit(0, 7);
            roll.on_refused(0, 7);
            roll.on_fetched(0, 7);
        });
        check(Err("partition 0 is at 7"), |roll| {
            roll.on_commit(0, 7);
            roll.on_fetched(0, -1); // Whoever had sent it is no owner any more.
            roll.on_fetched(0, 7);
        });
    }

    #[test]
    fn a_group_has_settled_when_all_members_have_all_partitions_in_one_generation() {
        check(Ok(()), |roll| {
            let [one, two] = [roll.enlist(), roll.enlist()];
            assert!(!roll.settle(one, 3, &of(&[0])), "the other has not");
            assert!(!roll.settle(two, 4, &of(&[1])), "two generations");
            assert!(!roll.settle(one, 4, &of(&[])), "nobody has partition 0");
            roll.unsettle(one);
            roll.strike(one);
            assert!(roll.settle(two, 5, &of(&[0, 1])));
            assert!(roll.is_over());
        });
    }
}
