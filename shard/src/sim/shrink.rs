//! Makes a plan smaller, a removal at a time: what is still broken without something does not need it.
//!
//! A removal is a word, so that a smaller plan is its seed and a list of words, and is replayed bit for
//! bit. This file runs nothing: who shrinks says whether a smaller plan still fails in the same way.

use std::fmt;

use crate::sim::clock::Clock;
use crate::sim::net::Weather;
use crate::sim::plan::Plan;

/// One thing less. Indices are those of the plan that earlier removals have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Topic(usize),
    Producer(usize),
    Consumer(usize),
    /// Of the group.
    Member(usize),
    Phase(usize),
    /// The faults of a phase's disk; its speed stays.
    Faults(usize),
    Weather(usize),
    Clock(usize),
    /// The second half of a producer's requests.
    Requests(usize),
    /// All deletions of records.
    Cuts,
    /// All topics that are made again.
    Churn,
    /// Every start has one shard.
    Shards,
    Damage,
}

/// A removal of one kind, by its index.
type Make = fn(usize) -> Removal;

/// By kind, its letter in a word.
const LETTERS: [(char, Make); 13] = [
    ('f', Removal::Phase),
    ('t', Removal::Topic),
    ('p', Removal::Producer),
    ('c', Removal::Consumer),
    ('m', Removal::Member),
    ('h', |_| Removal::Churn),
    ('d', |_| Removal::Cuts),
    ('s', |_| Removal::Shards),
    ('g', |_| Removal::Damage),
    ('r', Removal::Requests),
    ('e', Removal::Faults),
    ('w', Removal::Weather),
    ('k', Removal::Clock),
];

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.index();
        let letter = LETTERS.iter().find(|(_, make)| make(index) == *self);
        let (letter, _) = letter.expect("every kind has its letter");
        write!(f, "{letter}{index}")
    }
}

impl Removal {
    /// As `Display` writes it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let mut rest = word.chars();
        let letter = rest.next()?;
        let (_, make) = LETTERS.iter().find(|(known, _)| *known == letter)?;
        rest.as_str().parse().ok().map(make)
    }

    /// All that can be taken from a plan, what saves most first.
    #[must_use]
    pub fn all(plan: &Plan) -> Vec<Self> {
        let counts = [plan.phases.len(), plan.topics.len(), plan.producers.len()];
        let clients = [plan.consumers.len(), plan.members.len(), 1];
        let end = counts.into_iter().chain(clients).max().unwrap_or(1);
        let kinds = LETTERS.iter().flat_map(|(_, make)| (0..end).rev().map(make));
        let mut all: Vec<Self> = kinds.filter(|it| it.apply(&mut plan.clone())).collect();
        all.dedup();
        all
    }

    /// Whether there was such a thing.
    pub fn apply(self, plan: &mut Plan) -> bool {
        match self {
            Self::Phase(index) => take(&mut plan.phases, index, 0),
            // Clients need something to write to.
            Self::Topic(index) => take(&mut plan.topics, index, 1),
            Self::Producer(index) => take(&mut plan.producers, index, 0),
            Self::Consumer(index) => take(&mut plan.consumers, index, 0),
            Self::Member(index) => take(&mut plan.members, index, 0),
            Self::Churn => std::mem::take(&mut plan.churn_count) > 0,
            Self::Cuts => std::mem::take(&mut plan.cut_count) > 0,
            Self::Shards => {
                let is_more =
                    plan.shard_count > 1 || plan.phases.iter().any(|it| it.shard_count > 1);
                plan.shard_count = 1;
                plan.phases.iter_mut().for_each(|phase| phase.shard_count = 1);
                is_more
            }
            Self::Damage => plan.damage.take().is_some(),
            Self::Requests(index) => plan.producers.get_mut(index).is_some_and(|habits| {
                let is_more = habits.request_count > 1;
                habits.request_count = habits.request_count.div_ceil(2);
                is_more
            }),
            Self::Faults(index) => plan.phases.get_mut(index).is_some_and(|phase| {
                let calm = phase.faults.only_slow();
                std::mem::replace(&mut phase.faults, calm) != calm
            }),
            Self::Weather(index) => plan.phases.get_mut(index).is_some_and(|phase| {
                std::mem::replace(&mut phase.weather, Weather::fair()) != Weather::fair()
            }),
            Self::Clock(index) => plan
                .phases
                .get_mut(index)
                .is_some_and(|phase| std::mem::take(&mut phase.clock) != Clock::default()),
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Topic(index)
            | Self::Producer(index)
            | Self::Consumer(index)
            | Self::Member(index)
            | Self::Phase(index)
            | Self::Faults(index)
            | Self::Weather(index)
            | Self::Clock(index)
            | Self::Requests(index) => index,
            Self::Cuts | Self::Churn | Self::Shards | Self::Damage => 0,
        }
    }
}

fn take<T>(list: &mut Vec<T>, index: usize, count_min: usize) -> bool {
    let is_there = index < list.len() && list.len() > count_min;
    if is_there {
        list.remove(index);
    }
    is_there
}

/// What kind of failure it is: its words, without numbers and what follows the first brace.
#[must_use]
pub fn kind(failure: &str) -> String {
    let words = failure.split(['{', ';']).next().unwrap_or_default();
    words.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>().trim().to_owned()
}

/// The smallest list of removals with which `plan` still fails, as far as `fails` says.
/// `fails` also ends the search, by answering no for ever.
pub fn shrink(plan: &Plan, mut fails: impl FnMut(&[Removal]) -> bool) -> Vec<Removal> {
    let mut removals = Vec::new();
    loop {
        let mut smaller = plan.clone();
        removals.iter().for_each(|removal: &Removal| assert!(removal.apply(&mut smaller)));
        let found = Removal::all(&smaller).into_iter().find(|removal| {
            removals.push(*removal);
            let does_fail = fails(&removals);
            removals.pop();
            does_fail
        });
        match found {
            Some(removal) => removals.push(removal),
            None => return removals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Removal, kind, shrink};
    use crate::sim::plan::Plan;

    #[test]
    fn a_removal_is_the_word_it_prints() {
        for removal in (0..40).flat_map(|seed| Removal::all(&Plan::long(seed))) {
            assert_eq!(Removal::parse(&removal.to_string()), Some(removal));
        }
    }

    #[test]
    fn what_a_failure_does_not_need_is_gone() {
        let plan = (0..).map(Plan::long).find(|it| it.producers.len() == 4 && it.phases.len() == 3);
        let plan = plan.expect("seeds are many");
        let version = plan.producers[2].version;
        let removals = shrink(&plan, |removals| {
            let mut smaller = plan.clone();
            removals.iter().all(|removal| removal.apply(&mut smaller))
                && smaller.producers.iter().any(|it| it.version == version)
                && !smaller.phases.is_empty()
        });
        let mut smallest = plan;
        assert!(removals.iter().all(|removal| removal.apply(&mut smallest)));
        assert_eq!((smallest.producers.len(), smallest.phases.len()), (1, 1));
        assert_eq!((smallest.topics.len(), smallest.consumers.len()), (1, 0));
        assert_eq!(smallest.producers[0].request_count, 1);
    }

    #[test]
    fn failures_that_differ_in_numbers_are_of_one_kind() {
        let lost = |offset| kind(&format!("at the end: Lost {{ offset: {offset} }}; replay"));
        assert_eq!(lost(1), lost(22));
        assert_eq!(lost(1), "at the end: Lost");
    }
}
