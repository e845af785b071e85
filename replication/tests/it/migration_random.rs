//! Lives of one group in which members of both protocols come and go, so that it changes its protocol while it
//! runs. Classic members are eager: they give everything up before they join again.
//!
//! At every moment no two members read one partition; when it is quiet, every partition has a reader.
//!
//! `SEED=17 cargo test -p replication migration_random` runs one life, `LIVES=1000` more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use engine::id::PartitionIndex;
use replication::group::Ticket;
use replication::group::answer::{Answer, GroupError, Joined};
use replication::group::assignment::Assignment;
use replication::group::request::{
    ConsumerHeartbeat, Heartbeat, Identity, Join, LeaderAgain, Leave, Naming, Protocol, Request,
    Sync, Welcome,
};

use crate::consumer_random::{Dice, seeds};
use crate::consumer_script::{assignment_bytes, read_assignment, subscription};
use crate::group_scene::Scene;

const LIVES: u64 = 60;
const TURNS: u32 = 150;
const QUIET_TURNS: u32 = 150;
const TURN_MS: u64 = 1_000;
const MEMBERS_MAX: usize = 5;

#[test]
fn all_lives_of_a_group_that_changes_its_protocol_end_well() {
    for seed in seeds(LIVES) {
        println!("SEED={seed}");
        Life::new(seed).live();
    }
}

enum Speaks {
    Consumer {
        /// It is to say what it owns.
        has_news: bool,
    },
    Classic(Phase),
}

enum Phase {
    Outside,
    /// It has asked for this, and waits.
    Waits(Ticket),
    Joined(Joined),
    Reads,
}

/// A process that consumes the one topic.
struct Client {
    /// Empty for a classic one that has none yet.
    id: Arc<str>,
    number: u32,
    speaks: Speaks,
    /// Of a classic one its generation.
    epoch: i32,
    owned: BTreeSet<u32>,
    /// Turns until it sends a heartbeat.
    due: u32,
    /// How many partitions it has dealt out, if it leads.
    dealt: Option<u32>,
}

struct Life {
    dice: Dice,
    scene: Scene,
    clients: Vec<Client>,
    made: u32,
    /// By partition: the number of the client that reads it.
    readers: BTreeMap<u32, u32>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut scene = Scene::new();
        scene.create("a", 4);
        Self { dice: Dice::new(seed), scene, clients: vec![], made: 0, readers: BTreeMap::new() }
    }

    fn live(mut self) {
        for _ in 0..TURNS {
            self.disturb();
            self.turn();
        }
        for _ in 0..QUIET_TURNS {
            self.turn();
        }
        if !self.clients.is_empty() {
            let count = self.partition_count();
            assert!(self.readers.keys().copied().eq(0..count), "{:?} of {count}", self.readers);
        }
        self.scene.check_memory();
    }

    fn partition_count(&self) -> u32 {
        let topic = self.scene.cluster.image().topic("a").expect("it stays");
        u32::try_from(topic.partitions().len()).expect("a few")
    }

    fn turn(&mut self) {
        let (answers, _) = self.scene.wait(TURN_MS);
        self.deliver(answers);
        for at in 0..self.clients.len() {
            self.act(at);
        }
    }

    // What happens from outside.

    fn disturb(&mut self) {
        match self.dice.below(40) {
            0..=3 if self.clients.len() < MEMBERS_MAX => self.arrive(),
            4 => self.go(false),
            5 | 6 => self.go(true),
            7 if self.partition_count() < 8 => {
                let count = i32::try_from(self.partition_count() + 1).expect("a few");
                self.scene.grow("a", count);
            }
            8 | 9 => self.restart(),
            _ => {}
        }
    }

    fn arrive(&mut self) {
        self.made += 1;
        let is_classic = self.dice.one_in(2);
        self.clients.push(Client {
            id: if is_classic { "".into() } else { format!("n{}", self.made).into() },
            number: self.made,
            speaks: if is_classic {
                Speaks::Classic(Phase::Outside)
            } else {
                Speaks::Consumer { has_news: false }
            },
            epoch: 0,
            owned: BTreeSet::new(),
            due: 1,
            dealt: None,
        });
    }

    /// A client goes, and says so or not.
    fn go(&mut self, says_so: bool) {
        let count = self.clients.len();
        if count == 0 {
            return;
        }
        let mut client = self.clients.swap_remove(self.dice.below(count));
        self.readers.retain(|_, it| *it != client.number);
        client.owned.clear();
        let is_member = !client.id.is_empty();
        if !says_so || !is_member {
            return;
        }
        let identity = Identity { member: Arc::clone(&client.id), instance: None };
        let request = match client.speaks {
            Speaks::Classic(_) => {
                Request::Leave(Leave { group: "g".into(), members: vec![identity] })
            }
            Speaks::Consumer { .. } => {
                client.epoch = -1;
                Request::ConsumerHeartbeat(self.heartbeat(&client))
            }
        };
        self.send(request);
    }

    /// Who waits hears nothing, and asks again.
    fn restart(&mut self) {
        if self.dice.one_in(2) {
            let mut dice = Dice::new(u64::from(self.made));
            self.scene.compact(|| dice.one_in(2));
        }
        self.scene.restart();
        for at in 0..self.clients.len() {
            if matches!(self.clients[at].speaks, Speaks::Classic(Phase::Waits(_))) {
                self.clients[at].speaks = Speaks::Classic(Phase::Outside);
                self.give_all_up(at);
            }
        }
    }

    // What a client does.

    fn act(&mut self, at: usize) {
        let count = self.partition_count();
        if self.clients[at].dealt.is_some_and(|it| it != count) {
            // A leader sees by itself that there is more to deal out.
            self.clients[at].dealt = None;
            self.clients[at].speaks = Speaks::Classic(Phase::Outside);
            self.give_all_up(at);
        }
        let client = &mut self.clients[at];
        client.due = client.due.saturating_sub(1);
        let is_due = client.due == 0;
        match &client.speaks {
            Speaks::Consumer { has_news } => {
                if is_due || *has_news {
                    client.due = 5;
                    let beat = self.heartbeat(&self.clients[at]);
                    self.ask(at, Request::ConsumerHeartbeat(beat));
                }
            }
            Speaks::Classic(Phase::Outside) => {
                let join = self.join(at);
                self.ask(at, Request::Join(join));
            }
            Speaks::Classic(Phase::Joined(joined)) => {
                let joined = joined.clone();
                let sync = self.sync(&joined);
                let leads = joined.leader == joined.member;
                self.clients[at].dealt = leads.then_some(count);
                self.ask(at, Request::Sync(sync));
            }
            Speaks::Classic(Phase::Reads) if is_due => {
                client.due = 3;
                let identity = Identity { member: Arc::clone(&client.id), instance: None };
                let generation = client.epoch;
                let group = "g".into();
                self.ask(at, Request::Heartbeat(Heartbeat { group, identity, generation }));
            }
            Speaks::Classic(Phase::Waits(_) | Phase::Reads) => {}
        }
    }

    fn heartbeat(&self, client: &Client) -> ConsumerHeartbeat {
        let has_news = matches!(client.speaks, Speaks::Consumer { has_news: true });
        let says_all = has_news || client.epoch == 0;
        let topic = self.scene.topic_id("a").expect("it stays");
        let owned = client.owned.iter().map(|&it| (topic, PartitionIndex::new(it)));
        let owned: Assignment = owned.collect();
        ConsumerHeartbeat {
            group: "g".into(),
            identity: Identity { member: Arc::clone(&client.id), instance: None },
            epoch: client.epoch,
            rack: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_ms: says_all.then_some(60_000),
            names: says_all.then(|| vec!["a".into()]),
            regex: None,
            assignor: None,
            owned: says_all.then_some(owned),
            naming: Naming::ByMember,
            timing: self.scene.limits.consumer.timing,
            draw: 0,
        }
    }

    fn join(&mut self, at: usize) -> Join {
        let metadata = subscription(&["a".into()], "");
        Join {
            group: "g".into(),
            identity: Identity { member: Arc::clone(&self.clients[at].id), instance: None },
            client_id: "k".into(),
            client_host: "/h".into(),
            session_ms: 10_000,
            rebalance_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: "range".into(), metadata }],
            welcome: Welcome::IdFirst,
            leader_again: LeaderAgain::Skips,
            draw: u128::from(self.dice.draw()),
        }
    }

    /// A leader deals the partitions out.
    fn sync(&self, joined: &Joined) -> Sync {
        let mut hands: BTreeMap<&Arc<str>, Vec<u32>> = BTreeMap::new();
        for (partition, member) in (0..self.partition_count()).zip(joined.members.iter().cycle()) {
            hands.entry(&member.id).or_default().push(partition);
        }
        let given = |partitions: Vec<u32>| -> Bytes {
            let partitions: Vec<_> = partitions.iter().map(u32::to_string).collect();
            assignment_bytes(&format!("a:{}", partitions.join(",")))
        };
        Sync {
            group: "g".into(),
            identity: Identity { member: Arc::clone(&joined.member), instance: None },
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: hands.into_iter().map(|(id, it)| (Arc::clone(id), given(it))).collect(),
        }
    }

    // What is answered.

    fn send(&mut self, request: Request) {
        let (answers, _) = self.scene.send(request);
        self.deliver(answers);
    }

    fn ask(&mut self, at: usize, request: Request) {
        let ticket = self.scene.next_ticket();
        let (answers, _) = self.scene.send(request);
        if let Speaks::Classic(phase) = &mut self.clients[at].speaks
            && !matches!(phase, Phase::Reads)
        {
            *phase = Phase::Waits(ticket);
        }
        let (own, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.0 == ticket);
        for (_, answer) in own {
            self.hear(at, answer);
        }
        self.deliver(others);
    }

    fn deliver(&mut self, answers: Vec<(Ticket, Answer)>) {
        for (ticket, answer) in answers {
            let waits = |it: &Client| matches!(it.speaks, Speaks::Classic(Phase::Waits(awaited)) if awaited == ticket);
            if let Some(at) = self.clients.iter().position(waits) {
                self.hear(at, answer);
            }
        }
    }

    fn hear(&mut self, at: usize, answer: Answer) {
        let mut become_classic = |phase| self.clients[at].speaks = Speaks::Classic(phase);
        match answer {
            Answer::ConsumerHeartbeat(Ok(beat)) => {
                let client = &mut self.clients[at];
                client.speaks = Speaks::Consumer { has_news: false };
                client.epoch = beat.epoch;
                if let Some(assignment) = beat.assignment {
                    self.read(at, assignment.iter().map(|it| it.1.get()).collect());
                }
            }
            Answer::ConsumerHeartbeat(Err(_)) => {
                self.clients[at].epoch = 0;
                self.clients[at].due = 1;
                self.give_all_up(at);
            }
            Answer::Join(Ok(joined)) => {
                become_classic(Phase::Joined(joined.clone()));
                self.clients[at].epoch = joined.generation;
            }
            Answer::Join(Err(refusal)) => {
                become_classic(Phase::Outside);
                self.clients[at].id = match refusal.error {
                    GroupError::UnknownMember => "".into(),
                    _ => refusal.member,
                };
            }
            Answer::Sync(Ok(synced)) => {
                become_classic(Phase::Reads);
                self.clients[at].due = 3;
                self.read(at, read_assignment(&synced.assignment));
            }
            Answer::Heartbeat(Ok(())) => {}
            Answer::Sync(Err(error)) | Answer::Heartbeat(Err(error)) => {
                become_classic(Phase::Outside);
                self.give_all_up(at);
                if error == GroupError::UnknownMember {
                    self.clients[at].id = "".into();
                }
            }
            other => panic!("nobody asked for {other:?}"),
        }
    }

    fn read(&mut self, at: usize, partitions: BTreeSet<u32>) {
        let client = &mut self.clients[at];
        let before = std::mem::replace(&mut client.owned, partitions.clone());
        if let Speaks::Consumer { has_news } = &mut client.speaks {
            *has_news = before != partitions;
        }
        let number = client.number;
        before.difference(&partitions).for_each(|it| {
            self.readers.remove(it);
        });
        for partition in partitions.difference(&before) {
            let other = self.readers.insert(*partition, number);
            assert_eq!(other, None, "{number} reads what another reads");
        }
    }

    fn give_all_up(&mut self, at: usize) {
        self.read(at, BTreeSet::new());
    }
}
