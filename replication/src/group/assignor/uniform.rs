//! As equal as can be, and as little moved as can be.
//!
//! Members that all want the same differ by one partition at most. Else the result is as equal as the wishes
//! allow, within a budget of steps: no chain of moves from a member to one with two partitions less is left.
//! (The theory: semi-matchings without cost-reducing paths are optimal; Harvey, Ladner, Lovasz and Tamir.)

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};

use crate::group::assignment::Assignment;
use crate::group::assignor::{Answer, Question, Seat};
use crate::limits::BALANCE_STEPS_MAX;

pub(super) fn assign(question: &Question) -> Answer {
    let mut table = Table::new(question);
    if wants_are_equal(question) {
        table.keep_equal_shares();
    } else {
        table.keep_all();
    }
    table.hand_out();
    if !wants_are_equal(question) {
        table.balance();
    }
    table.answer()
}

fn wants_are_equal(question: &Question) -> bool {
    let mut wants = question.members.values().map(|it| &it.topics);
    let Some(first) = wants.next() else { return true };
    wants.all(|it| Arc::ptr_eq(it, first) || it == first)
}

/// Members and topics by number, in the order of their ids.
struct Table<'a> {
    ids: Vec<&'a Arc<str>>,
    seats: Vec<&'a Seat>,
    topics: Vec<(TopicId, u32)>,
    /// Who wants each topic.
    readers: Vec<Vec<usize>>,
    /// Of each member, by topic. What it has been given last stands last.
    shares: Vec<BTreeMap<usize, Vec<u32>>>,
    loads: Vec<usize>,
    /// Of each topic: what nobody has. In order.
    free: Vec<BTreeSet<u32>>,
    steps: u64,
}

impl<'a> Table<'a> {
    fn new(question: &'a Question) -> Self {
        let topics: Vec<_> = question.topics.iter().map(|(&id, &count)| (id, count)).collect();
        let numbers: BTreeMap<_, _> =
            topics.iter().enumerate().map(|(number, it)| (it.0, number)).collect();
        let mut readers = vec![Vec::new(); topics.len()];
        for (member, seat) in question.members.values().enumerate() {
            for topic in seat.topics.iter().filter_map(|it| numbers.get(it)) {
                readers[*topic].push(member);
            }
        }
        let free = topics.iter().map(|&(_, count)| (0..count).collect()).collect();
        Self {
            ids: question.members.keys().collect(),
            seats: question.members.values().collect(),
            readers,
            shares: vec![BTreeMap::new(); question.members.len()],
            loads: vec![0; question.members.len()],
            free,
            steps: 0,
            topics,
        }
    }

    /// Everybody keeps what it had, up to an equal share; the shares that are larger by one go to those who
    /// had more.
    fn keep_equal_shares(&mut self) {
        let wanted = |(number, it): (usize, &(TopicId, u32))| {
            if self.readers[number].is_empty() { 0 } else { it.1 as usize }
        };
        let partition_count: usize = self.topics.iter().enumerate().map(wanted).sum();
        let member_count = self.ids.len().max(1);
        let least = partition_count / member_count;
        let mut more = partition_count % member_count;
        for member in 0..self.ids.len() {
            for (topic, partition) in self.kept(member) {
                let may_have_more = self.loads[member] == least && more > 0;
                if self.loads[member] < least || may_have_more {
                    more -= usize::from(may_have_more);
                    self.give(member, topic, partition);
                }
            }
        }
    }

    /// Everybody keeps what it had.
    fn keep_all(&mut self) {
        for member in 0..self.ids.len() {
            for (topic, partition) in self.kept(member) {
                self.give(member, topic, partition);
            }
        }
    }

    /// What a member had that is still there, that it still wants, and that nobody has.
    fn kept(&mut self, member: usize) -> Vec<(usize, u32)> {
        let seat = self.seats[member];
        let mut kept = Vec::new();
        for (topic, partition) in seat.before.iter().filter(|it| seat.topics.contains(&it.0)) {
            self.steps += 1;
            let Ok(number) = self.topics.binary_search_by_key(&topic, |it| it.0) else { continue };
            if self.free[number].contains(&partition.get()) {
                kept.push((number, partition.get()));
            }
        }
        kept
    }

    fn give(&mut self, member: usize, topic: usize, partition: u32) {
        self.steps += 1;
        let was_free = self.free[topic].remove(&partition);
        assert!(was_free, "a partition has one owner");
        self.shares[member].entry(topic).or_default().push(partition);
        self.loads[member] += 1;
    }

    /// What is free goes to those who have least; topics that few want first.
    fn hand_out(&mut self) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|&it| self.readers[it].len());
        for topic in order {
            if self.free[topic].is_empty() || self.readers[topic].is_empty() {
                continue;
            }
            let by_load = self.readers[topic].iter().map(|&it| Reverse((self.loads[it], it)));
            let mut waiting: BinaryHeap<_> = by_load.collect();
            self.steps += waiting.len() as u64;
            for partition in self.free[topic].clone() {
                let Some(Reverse((load, member))) = waiting.pop() else { break };
                self.give(member, topic, partition);
                waiting.push(Reverse((load + 1, member)));
            }
        }
    }

    /// Moves partitions along the shortest chains, from who has most, until no chain helps.
    fn balance(&mut self) {
        let loads = self.loads.iter().enumerate();
        let mut sources: BTreeSet<(usize, usize)> = loads.map(|(it, &load)| (load, it)).collect();
        let mut is_settled = vec![false; self.ids.len()];
        while let Some((load, source)) = sources.pop_last() {
            if is_settled[source] || self.steps >= BALANCE_STEPS_MAX {
                continue;
            }
            match self.find_chain(source, &is_settled) {
                Chain::Found(chain) => {
                    let end = chain.first().map_or(source, |it| it.to);
                    sources.remove(&(self.loads[end], end));
                    sources.insert((self.loads[end] + 1, end));
                    sources.insert((load - 1, source));
                    chain.into_iter().for_each(|link| self.pass_on(link));
                }
                // Nobody whom it reaches has much less, and no later chain can lead through them.
                Chain::None { reached } => {
                    reached.into_iter().for_each(|it| is_settled[it] = true);
                }
            }
        }
    }

    /// Breadth first, over topics that one has partitions of and another wants.
    fn find_chain(&mut self, source: usize, is_settled: &[bool]) -> Chain {
        let mut came_by: BTreeMap<usize, Link> = BTreeMap::new();
        let mut topic_is_seen = vec![false; self.topics.len()];
        let mut reached = vec![source];
        let mut next = 0;
        while let Some(&from) = reached.get(next) {
            next += 1;
            self.steps += self.shares[from].len() as u64;
            for &topic in self.shares[from].keys() {
                if std::mem::replace(&mut topic_is_seen[topic], true) {
                    continue;
                }
                self.steps += self.readers[topic].len() as u64;
                let is_new =
                    |it: &&usize| **it != source && !is_settled[**it] && !came_by.contains_key(it);
                let found: Vec<usize> =
                    self.readers[topic].iter().filter(is_new).copied().collect();
                came_by.extend(found.iter().map(|&to| (to, Link { from, topic, to })));
                let has_less = |it: &&usize| self.loads[**it] + 2 <= self.loads[source];
                if let Some(&end) = found.iter().find(has_less) {
                    return Chain::Found(chain(&came_by, source, end));
                }
                reached.extend(found);
            }
        }
        Chain::None { reached }
    }

    fn pass_on(&mut self, Link { from, topic, to }: Link) {
        let share = &mut self.shares[from];
        let partitions = share.get_mut(&topic).expect("a chain leads over what its members have");
        let partition = partitions.pop().expect("no topic is without a partition");
        if partitions.is_empty() {
            share.remove(&topic);
        }
        self.loads[from] -= 1;
        self.shares[to].entry(topic).or_default().push(partition);
        self.loads[to] += 1;
    }

    fn answer(self) -> Answer {
        let assignment = |share: BTreeMap<usize, Vec<u32>>| -> Assignment {
            let partitions = share.into_iter().flat_map(|(topic, partitions)| {
                let id = self.topics[topic].0;
                partitions.into_iter().map(move |it| (id, PartitionIndex::new(it)))
            });
            partitions.collect()
        };
        let by_member = self.ids.iter().zip(self.shares);
        let by_member = by_member.map(|(id, share)| (Arc::clone(id), assignment(share))).collect();
        Answer { by_member, steps: self.steps }
    }
}

/// One partition of `topic` goes from one member to another.
#[derive(Clone, Copy)]
struct Link {
    from: usize,
    topic: usize,
    to: usize,
}

enum Chain {
    /// From its end to the source, so that nobody gives what it has not.
    Found(Vec<Link>),
    None {
        reached: Vec<usize>,
    },
}

fn chain(came_by: &BTreeMap<usize, Link>, source: usize, end: usize) -> Vec<Link> {
    let mut links = Vec::new();
    let mut at = end;
    while at != source {
        let link = came_by[&at];
        links.push(link);
        at = link.from;
    }
    links
}
