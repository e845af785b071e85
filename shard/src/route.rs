//! The way from one shard to the others: a lane for messages and a lane for answers to each peer.
//!
//! A message or answer that finds its lane full waits here, in order; what may wait is bounded by the
//! requests that connections may have in flight.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use crate::io::Io;
use crate::limits::LANE_SLOTS;
use crate::mailbox::{self, Receiver, Sender};
use crate::message::{Message, Reply};
use crate::signal::{self, Answer, Promise};

/// What travels. Answers carry the number of their message.
pub enum Letter<I: Io> {
    Message { call: u64, message: Message },
    Reply { call: u64, reply: Reply<I> },
}

/// Both directions between this shard and one peer.
pub struct Lanes<I: Io> {
    pub to_peer: Sender<Letter<I>>,
    pub from_peer: Receiver<Letter<I>>,
}

/// The lanes between `count` shards: one entry for each shard, with its lanes to each peer.
#[must_use]
pub fn lanes<I: Io>(count: usize) -> Vec<Vec<Option<Lanes<I>>>> {
    let mut senders: Vec<Vec<Option<Sender<Letter<I>>>>> = Vec::new();
    let mut receivers: Vec<Vec<Option<Receiver<Letter<I>>>>> =
        (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
    for from in 0..count {
        let mut row = Vec::with_capacity(count);
        for (to, inbox) in receivers.iter_mut().enumerate() {
            row.push((from != to).then(|| {
                let (sender, receiver) = mailbox::channel(LANE_SLOTS);
                inbox[from] = Some(receiver);
                sender
            }));
        }
        senders.push(row);
    }
    let rows = senders.into_iter().zip(receivers);
    rows.map(|(to, from)| {
        let both = to.into_iter().zip(from);
        both.map(|(to, from)| Some(Lanes { to_peer: to?, from_peer: from? })).collect()
    })
    .collect()
}

struct Peer<I: Io> {
    lanes: Lanes<I>,
    /// Letters that found the lane full.
    waiting: VecDeque<Letter<I>>,
}

/// Where an answer goes.
pub enum ReplyTo<I: Io> {
    Here(Promise<Reply<I>>),
    Peer { shard: usize, call: u64 },
}

/// One per shard.
pub struct Route<I: Io> {
    io: I,
    /// By shard; `None` is this one.
    peers: RefCell<Vec<Option<Peer<I>>>>,
    /// Messages sent and not answered.
    calls: RefCell<BTreeMap<u64, Promise<Reply<I>>>>,
    next_call: Cell<u64>,
    sent_count: Cell<u64>,
    full_count: Cell<u64>,
}

impl<I: Io> Route<I> {
    pub fn new(io: I, lanes: Vec<Option<Lanes<I>>>) -> Self {
        let peers = lanes
            .into_iter()
            .map(|lanes| lanes.map(|lanes| Peer { lanes, waiting: VecDeque::new() }))
            .collect();
        Self {
            io,
            peers: RefCell::new(peers),
            calls: RefCell::default(),
            next_call: Cell::new(0),
            sent_count: Cell::new(0),
            full_count: Cell::new(0),
        }
    }

    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.peers.borrow().len()
    }

    /// Sends `message` to another shard.
    pub fn call(&self, peer: usize, message: Message) -> Answer<Reply<I>> {
        let call = self.next_call.get();
        self.next_call.set(call + 1);
        let (promise, answer) = signal::promise();
        self.calls.borrow_mut().insert(call, promise);
        self.push(peer, Letter::Message { call, message });
        answer
    }

    pub fn reply(&self, to: ReplyTo<I>, reply: Reply<I>) {
        match to {
            ReplyTo::Here(promise) => promise.keep(reply),
            ReplyTo::Peer { shard, call } => self.push(shard, Letter::Reply { call, reply }),
        }
    }

    /// Takes back the promise of an answered call.
    pub fn on_reply(&self, call: u64, reply: Reply<I>) {
        let promise = self.calls.borrow_mut().remove(&call);
        promise.expect("a peer answers each message once").keep(reply);
    }

    /// Up to `limit` letters of `peer`, in order.
    pub fn take(&self, peer: usize, limit: usize, letters: &mut Vec<Letter<I>>) {
        if let Some(peer) = &mut self.peers.borrow_mut()[peer] {
            while letters.len() < limit
                && let Some(letter) = peer.lanes.from_peer.pop()
            {
                letters.push(letter);
            }
        }
    }

    /// Moves waiting letters into their lanes. False while some still wait.
    pub fn push_waiting(&self) -> bool {
        let mut is_empty = true;
        for (index, peer) in self.peers.borrow_mut().iter_mut().enumerate() {
            let Some(peer) = peer else { continue };
            while let Some(letter) = peer.waiting.pop_front() {
                if let Err(letter) = peer.lanes.to_peer.push(letter) {
                    peer.waiting.push_front(letter);
                    is_empty = false;
                    break;
                }
                self.io.wake(index);
            }
        }
        is_empty
    }

    /// Letters sent so far, and how many of them found their lane full.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.sent_count.get(), self.full_count.get())
    }

    fn push(&self, index: usize, letter: Letter<I>) {
        self.sent_count.set(self.sent_count.get() + 1);
        let mut peers = self.peers.borrow_mut();
        let peer = peers[index].as_mut().expect("only to other shards");
        if peer.waiting.is_empty() {
            match peer.lanes.to_peer.push(letter) {
                Ok(()) => self.io.wake(index),
                Err(letter) => {
                    self.full_count.set(self.full_count.get() + 1);
                    peer.waiting.push_back(letter);
                }
            }
        } else {
            peer.waiting.push_back(letter);
        }
    }
}
