//! Many lives of one consumer group, each from a seed: its members join, leave, die and come back, are slow to
//! give partitions up, lose answers and send requests twice, while topics come, grow and go, and the
//! coordinator is made anew from its log.
//!
//! What must hold at every moment: no two members read one partition; committed offsets never go back. And
//! when it is quiet again: all members have what they are to have, and all partitions have a reader.
//!
//! `SEED=17 cargo test -p replication lives` runs one life, `LIVES=1000` more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use engine::id::{LeaderEpoch, PartitionIndex, TopicId};
use replication::group::answer::{Answer, Beat, GroupError, GroupState};
use replication::group::assignment::Assignment;
use replication::group::request::{
    Commit, ConsumerHeartbeat, Fetch, Identity, Naming, OffsetToKeep, Request,
};

use crate::group_scene::Scene;

const LIVES: u64 = 40;
const TURNS: u32 = 200;
/// Far below the session and the time to revoke: a client that lives is never late.
const TURN_MS: u64 = 1_000;
const HEARTBEAT_TURNS: u32 = 5;
const REVOKE_TURNS_MAX: u64 = 15;
/// Longer than a session and a time to revoke.
const QUIET_TURNS: u32 = 130;
const TOPICS: [&str; 4] = ["a", "b", "ab", "c"];
const REGEXES: [&str; 3] = ["a.*", "[abc]", ".*"];

type Place = (TopicId, PartitionIndex);

#[test]
fn all_lives_of_a_consumer_group_end_well() {
    for seed in seeds(LIVES) {
        println!("SEED={seed}");
        Life::new(seed).live();
    }
}

/// From `SEED` on, so many as `LIVES` says; one if only the first is given.
pub(crate) fn seeds(count: u64) -> Range<u64> {
    let said = |key| std::env::var(key).ok().map(|it| it.parse().expect("a number"));
    let (seed, lives): (Option<u64>, Option<u64>) = (said("SEED"), said("LIVES"));
    let first = seed.unwrap_or(0);
    let count = lives.unwrap_or_else(|| if seed.is_some() { 1 } else { count });
    first..first + count
}

/// A generator of numbers that look drawn (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % end as u64).expect("below a usize")
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.draw().is_multiple_of(count)
    }
}

/// A process that consumes. It reads what it owns.
struct Client {
    id: Arc<str>,
    instance: Option<Arc<str>>,
    names: Vec<Arc<str>>,
    regex: &'static str,
    epoch: i32,
    previous_epoch: i32,
    is_joined: bool,
    /// It reads these, from these positions on.
    owned: BTreeMap<Place, i64>,
    /// What it was told to have, if it has not come there yet, and how many turns it takes to give up.
    told: Option<(Assignment, u64)>,
    /// It is to say all: what it owns has changed since it said so, or an answer did not come.
    has_news: bool,
    /// Turns until it sends a heartbeat.
    due: u32,
    last: Option<ConsumerHeartbeat>,
}

struct Life {
    dice: Dice,
    scene: Scene,
    clients: Vec<Client>,
    /// Lasting names that nobody has now.
    idle_instances: Vec<Arc<str>>,
    made: u32,
    readers: BTreeMap<Place, Arc<str>>,
    committed: BTreeMap<(String, PartitionIndex), i64>,
    /// Requests of those that are gone, or of an epoch that is over.
    old: Vec<ConsumerHeartbeat>,
    /// What readers committed, to be said again when another reads.
    old_commits: Vec<(Commit, Arc<str>, Place)>,
    is_quiet: bool,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            dice: Dice(seed),
            scene: Scene::new(),
            clients: Vec::new(),
            idle_instances: vec!["i1".into(), "i2".into()],
            made: 0,
            readers: BTreeMap::new(),
            committed: BTreeMap::new(),
            old: Vec::new(),
            old_commits: Vec::new(),
            is_quiet: false,
        };
        life.scene.create("a", 3);
        if life.dice.one_in(3) {
            life.scene.limits.consumer.timing.assignment_interval_ms = 1_000;
        }
        if life.dice.one_in(3) {
            life.scene.limits.consumer.assignor = replication::group::assignor::Assignor::Range;
        }
        life
    }

    fn live(mut self) {
        for _ in 0..TURNS {
            self.disturb();
            self.turn();
        }
        self.is_quiet = true;
        for _ in 0..QUIET_TURNS {
            self.turn();
        }
        self.check_quiet();
        self.scene.check_memory();
    }

    fn turn(&mut self) {
        self.scene.wait(TURN_MS);
        for at in 0..self.clients.len() {
            self.reconcile(at);
            self.read(at);
            let client = &mut self.clients[at];
            client.due = client.due.saturating_sub(1);
            if client.due == 0 || client.has_news {
                self.beat(at);
            }
        }
    }

    // What happens to the group from outside.

    fn disturb(&mut self) {
        match self.dice.below(40) {
            0..=4 => self.arrive(),
            5 => self.die(),
            6 => self.leave(),
            7 => self.change_mind(),
            8..=10 => self.change_topics(),
            11 => self.scene.restart(),
            12 => self.restart_compacted(),
            13..=15 => self.repeat(),
            _ => {}
        }
    }

    fn arrive(&mut self) {
        if self.clients.len() >= 6 {
            return;
        }
        self.made += 1;
        let instance = if self.dice.one_in(2) { self.idle_instances.pop() } else { None };
        let (names, regex) = self.wish();
        self.clients.push(Client {
            id: format!("m{}", self.made).into(),
            instance,
            names,
            regex,
            epoch: 0,
            previous_epoch: 0,
            is_joined: false,
            owned: BTreeMap::new(),
            told: None,
            has_news: false,
            due: 1,
            last: None,
        });
    }

    fn wish(&mut self) -> (Vec<Arc<str>>, &'static str) {
        if self.dice.one_in(3) {
            let regex = REGEXES[self.dice.below(REGEXES.len())];
            return (Vec::new(), regex);
        }
        let names = TOPICS.into_iter().filter(|_| self.dice.one_in(2)).map(Arc::from).collect();
        (names, "")
    }

    /// Without a word: the process is gone, and reads nothing.
    fn die(&mut self) {
        if let Some(client) = self.take_client() {
            self.stop_reading(&client);
            // Its name is free for another when its session is over.
            self.old.extend(client.last);
        }
    }

    fn take_client(&mut self) -> Option<Client> {
        let count = self.clients.len();
        if count == 0 { None } else { Some(self.clients.swap_remove(self.dice.below(count))) }
    }

    fn stop_reading(&mut self, client: &Client) {
        for place in client.owned.keys() {
            assert_eq!(self.readers.remove(place).as_ref(), Some(&client.id));
        }
    }

    fn leave(&mut self) {
        let Some(client) = self.take_client() else { return };
        self.stop_reading(&client);
        let is_for_a_while = client.instance.is_some() && self.dice.one_in(2);
        let mut last = heartbeat(&client, self.scene.limits.consumer.timing);
        last.epoch = if is_for_a_while { -2 } else { -1 };
        let written = self.scene.log.len();
        let (_, records) = self.scene.send(Request::ConsumerHeartbeat(last));
        if self.dice.one_in(4) {
            self.crash(written, records.len());
        }
        self.idle_instances.extend(client.instance);
    }

    fn change_mind(&mut self) {
        let (names, regex) = self.wish();
        let count = self.clients.len();
        if count > 0 {
            let at = self.dice.below(count);
            (self.clients[at].names, self.clients[at].regex) = (names, regex);
            self.clients[at].has_news = true;
        }
    }

    fn change_topics(&mut self) {
        let name = TOPICS[self.dice.below(TOPICS.len())];
        let image = self.scene.cluster.image();
        let count = image.topic(name).map(|it| it.partitions().len());
        match count {
            None => {
                let count = 1 + self.dice.below(5);
                self.scene.create(name, i32::try_from(count).expect("a few"));
            }
            Some(count) if count < 8 && self.dice.one_in(2) => {
                self.scene.grow(name, i32::try_from(count + 1).expect("a few"));
            }
            Some(_) if self.dice.one_in(3) => {
                self.scene.delete(name);
                self.scene.send(Request::ForgetTopics(vec![name.into()]));
                self.committed.retain(|it, _| it.0 != name);
            }
            Some(_) => {}
        }
    }

    /// The broker dies before all of a step is written, and so before it answers.
    fn crash(&mut self, written: usize, record_count: usize) {
        let end = written + self.dice.below(record_count + 1);
        self.scene.log.truncate(end);
        self.scene.restart();
    }

    fn restart_compacted(&mut self) {
        let seed = self.dice.draw();
        let mut dice = Dice(seed);
        self.scene.compact(|| dice.one_in(2));
        self.scene.restart();
    }

    /// Something old comes late. What a live member said in its present epoch, or in the one before, does not:
    /// its connection keeps the order.
    fn repeat(&mut self) {
        let is_over = |life: &Self, it: &ConsumerHeartbeat| {
            let client = life.clients.iter().find(|client| client.id == it.identity.member);
            client.is_none_or(|client| it.epoch != 0 && it.epoch < client.previous_epoch)
        };
        if !self.old.is_empty() {
            let at = self.dice.below(self.old.len());
            let old = self.old[at].clone();
            if is_over(self, &old) {
                self.scene.send(Request::ConsumerHeartbeat(old));
            }
        }
        if !self.old_commits.is_empty() {
            let at = self.dice.below(self.old_commits.len());
            let (commit, reader, place) = self.old_commits[at].clone();
            let is_read_by_another = self.readers.get(&place).is_some_and(|it| *it != reader);
            // In its present epoch a member may commit what it likes, as in Kafka.
            let is_present = self.epoch_of(&reader) == Some(commit.generation);
            if is_read_by_another && !is_present {
                self.commit(commit);
            }
        }
    }

    /// As the coordinator knows it.
    fn epoch_of(&mut self, member: &Arc<str>) -> Option<i32> {
        let describe = Request::DescribeConsumer { group: "g".into() };
        let Answer::DescribeConsumer(group) = self.scene.ask(describe).0 else {
            panic!("it is answered");
        };
        group?.members.iter().find(|it| it.id == *member).map(|it| it.epoch)
    }

    // What a client does.

    /// It gives up first, and takes what is new when it has.
    fn reconcile(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((told, turns)) = &mut client.told else { return };
        if *turns > 0 {
            *turns -= 1;
            return;
        }
        let told = std::mem::take(told);
        client.told = None;
        let before: BTreeSet<Place> = client.owned.keys().copied().collect();
        let after: BTreeSet<Place> = told.iter().collect();
        client.has_news = true; // Also if nothing changed: it is an acknowledgement.
        let id = Arc::clone(&client.id);
        for place in before.difference(&after) {
            client.owned.remove(place);
            self.readers.remove(place);
        }
        for place in after.difference(&before) {
            let other = self.readers.insert(*place, Arc::clone(&id));
            assert_eq!(other, None, "{id} reads what another reads: {place:?}");
            let position = self.position(*place);
            self.clients[at].owned.insert(*place, position);
        }
    }

    fn position(&mut self, (topic, partition): Place) -> i64 {
        let name: Arc<str> = self.scene.topic_name(topic).into();
        let partitions = Some(vec![(name, partition)]);
        let fetch = Fetch { group: "g".into(), member: None, partitions };
        let Answer::Fetch(Ok(found)) = self.scene.ask(Request::Fetch(fetch)).0 else {
            panic!("anybody may fetch");
        };
        found[0].committed.as_ref().map_or(0, |it| it.offset)
    }

    /// It gets on, and says now and then how far it has come.
    fn read(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let mut commits = Vec::new();
        for (&place, position) in &mut client.owned {
            *position += 1;
            let name = self.scene.topic_name(place.0);
            if self.dice.one_in(4) && name != "gone" {
                let commit = Commit {
                    group: "g".into(),
                    identity: Identity { member: Arc::clone(&client.id), instance: None },
                    generation: client.epoch,
                    offsets: vec![OffsetToKeep {
                        topic: name.into(),
                        partition: place.1,
                        offset: *position,
                        leader_epoch: LeaderEpoch::NONE,
                        metadata: "".into(),
                        committed_at: None,
                    }],
                    retention_ms: None,
                };
                commits.push((commit, Arc::clone(&client.id), place));
            }
        }
        for (commit, id, place) in commits {
            self.commit(commit.clone());
            self.old_commits.push((commit, id, place));
        }
    }

    fn commit(&mut self, commit: Commit) {
        let (topic, partition) = (commit.offsets[0].topic.to_string(), commit.offsets[0].partition);
        let (who, offset) = (Arc::clone(&commit.identity.member), commit.offsets[0].offset);
        let Answer::Commit(results) = self.scene.ask(Request::Commit(commit)).0 else {
            panic!("a commit is answered");
        };
        if results[0].is_ok() {
            let before = self.committed.insert((topic, partition), offset);
            assert!(before <= Some(offset), "{who} takes {before:?} back to {offset}");
        }
    }

    fn beat(&mut self, at: usize) {
        let timing = self.scene.limits.consumer.timing;
        let beat = heartbeat(&self.clients[at], timing);
        self.clients[at].due = HEARTBEAT_TURNS;
        self.clients[at].last = Some(beat.clone());
        let written = self.scene.log.len();
        let (answer, records) = self.scene.ask(Request::ConsumerHeartbeat(beat.clone()));
        let Answer::ConsumerHeartbeat(answer) = answer else { panic!("a heartbeat is answered") };
        if !self.is_quiet && self.dice.one_in(30) {
            self.crash(written, records.len());
            self.clients[at].has_news = true;
            return;
        }
        let is_lost = !self.is_quiet && self.dice.one_in(20);
        let is_sent_twice = !self.is_quiet && self.dice.one_in(20);
        if is_lost || is_sent_twice {
            self.clients[at].has_news = true;
            if is_sent_twice {
                self.scene.ask(Request::ConsumerHeartbeat(beat));
            }
            return;
        }
        self.clients[at].has_news = false;
        match answer {
            Ok(beat) => self.follow(at, beat),
            Err(GroupError::UnreleasedInstance) => {}
            Err(_) => self.start_over(at),
        }
    }

    fn follow(&mut self, at: usize, beat: Beat) {
        if self.dice.one_in(4) {
            self.old.extend(self.clients[at].last.clone());
        }
        let turns = if self.is_quiet { 0 } else { self.dice.draw() % REVOKE_TURNS_MAX };
        let client = &mut self.clients[at];
        client.is_joined = true;
        if client.epoch != beat.epoch {
            client.previous_epoch = client.epoch;
            client.epoch = beat.epoch;
        }
        if let Some(assignment) = beat.assignment {
            // What it was told before is void, but not the time that it has taken.
            let turns = client.told.as_ref().map_or(turns, |it| it.1);
            client.told = Some((assignment, turns));
        }
    }

    /// It is no member any more: it reads nothing, and joins again.
    fn start_over(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let owned = std::mem::take(&mut client.owned);
        client.told = None;
        client.is_joined = false;
        client.epoch = 0;
        client.previous_epoch = 0;
        client.due = 1;
        for place in owned.keys() {
            self.readers.remove(place);
        }
    }

    fn check_quiet(&mut self) {
        let Answer::DescribeConsumer(group) =
            self.scene.ask(Request::DescribeConsumer { group: "g".into() }).0
        else {
            panic!("it is answered");
        };
        let Some(group) = group else {
            return assert!(self.clients.is_empty(), "a group with members is there");
        };
        let state = if self.clients.is_empty() { GroupState::Empty } else { GroupState::Stable };
        assert_eq!(group.state, state, "{group:?}");
        assert_eq!(group.members.len(), self.clients.len(), "{group:?}");
        let image = self.scene.cluster.image();
        let mut wanted = BTreeSet::new();
        for member in &group.members {
            let client = self.clients.iter().find(|it| it.id == member.id).expect("a live one");
            let owned: Assignment = client.owned.keys().copied().collect();
            assert_eq!((&owned, client.epoch), (&member.assigned, group.epoch), "{group:?}");
            assert_eq!(member.assigned, member.target);
            let names = client.names.iter().map(|it| it.to_string());
            let names: BTreeSet<String> = names.chain(matched(client.regex, image)).collect();
            for topic in names.iter().filter_map(|it| image.topic(it)) {
                wanted.extend((0..topic.partitions().len()).map(|it| {
                    (topic.id(), PartitionIndex::new(u32::try_from(it).expect("a few")))
                }));
            }
        }
        let read: BTreeSet<Place> = self.readers.keys().copied().collect();
        assert_eq!(read, wanted, "all that is wanted is read");
    }
}

/// What our few expressions stand for, told without an engine.
fn matched(regex: &str, image: &replication::image::Image) -> Vec<String> {
    let names = image.topics().map(|it| it.name().to_string());
    let is_match = |name: &String| match regex {
        "a.*" => name.starts_with('a'),
        "[abc]" => name.len() == 1,
        ".*" => true,
        _ => false,
    };
    names.filter(is_match).collect()
}

fn heartbeat(client: &Client, timing: replication::group::ConsumerTiming) -> ConsumerHeartbeat {
    let is_join = !client.is_joined;
    let says_all = is_join || client.has_news;
    let owned: Assignment = client.owned.keys().copied().collect();
    ConsumerHeartbeat {
        group: "g".into(),
        identity: Identity { member: Arc::clone(&client.id), instance: client.instance.clone() },
        epoch: client.epoch,
        rack: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_ms: says_all.then_some(60_000),
        names: says_all.then(|| client.names.clone()),
        regex: says_all.then(|| client.regex.into()),
        assignor: None,
        owned: says_all.then_some(owned),
        naming: Naming::ByMember,
        timing,
        draw: 0,
    }
}
