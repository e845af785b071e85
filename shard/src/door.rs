//! How many connections the node has, in all and from each address, and who waits to be let in.
//! Shard 0's counts; the others ask it before they serve a connection.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use replication::config::broker::ConnectionLimits;

use crate::cause::Cause;
use crate::io::Io;
use crate::message::{Message, Reply};
use crate::route::ReplyTo;
use crate::shard::Shard;

/// The address has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

/// `W` is who waits for a verdict.
#[derive(Debug)]
pub struct Door<W> {
    count: u32,
    /// No entry is 0.
    by_address: BTreeMap<IpAddr, u32>,
    /// In the order in which they came.
    waiting: VecDeque<(IpAddr, W)>,
}

impl<W> Default for Door<W> {
    fn default() -> Self {
        Self { count: 0, by_address: BTreeMap::new(), waiting: VecDeque::new() }
    }
}

impl<W> Door<W> {
    /// It waits for its turn.
    pub fn enter(&mut self, address: IpAddr, waiter: W) {
        self.waiting.push_back((address, waiter));
    }

    /// # Panics
    /// If nobody from there was let in.
    pub fn leave(&mut self, address: IpAddr) {
        let count = self.by_address.get_mut(&address).expect("who leaves was let in");
        *count -= 1;
        if *count == 0 {
            self.by_address.remove(&address);
        }
        self.count -= 1;
    }

    /// Whoever is the next, and its verdict. `None`: nobody waits, or all places are taken.
    pub fn next(&mut self, limits: &ConnectionLimits) -> Option<(W, Result<(), Crowded>)> {
        let (address, _) = self.waiting.front()?;
        let count = self.by_address.get(address).copied().unwrap_or(0);
        let is_crowded = address_max(limits, *address) <= count;
        if !is_crowded && limits.count_max <= self.count {
            return None;
        }
        let (address, waiter) = self.waiting.pop_front()?;
        if is_crowded {
            return Some((waiter, Err(Crowded)));
        }
        *self.by_address.entry(address).or_default() += 1;
        self.count += 1;
        Some((waiter, Ok(())))
    }
}

/// Connections that there may be from this address.
fn address_max(limits: &ConnectionLimits, address: IpAddr) -> u32 {
    let own = limits.per_address_overrides.iter().rev().find(|(it, _)| *it == address);
    own.map_or(limits.per_address_max, |(_, count)| *count)
}

impl<I: Io> Shard<I> {
    /// Until the connection may be served, or must be closed. Then `leave` says that it has ended.
    pub async fn enter(self: &Rc<Self>, address: IpAddr) -> Result<(), Crowded> {
        match self.call(0, Message::Enter(address)).wait().await {
            Reply::Entered(verdict) => verdict,
            _ => unreachable!("who enters gets a verdict"),
        }
    }

    /// A connection that was let in has ended.
    pub fn leave(self: &Rc<Self>, address: IpAddr) {
        drop(self.call(0, Message::Leave(address))); // Nothing is waiting for it here.
    }

    pub fn on_enter(&self, address: IpAddr, reply_to: ReplyTo<I>) {
        self.door.borrow_mut().enter(address, reply_to);
        self.open_door();
        let is_full = !self.door.borrow().waiting.is_empty();
        if is_full && let Some(untold) = self.connections.on_close(self, Cause::Full) {
            tracing::warn!(untold, "a connection waits: {}", Cause::Full);
        }
    }

    pub fn on_leave(&self, address: IpAddr, reply_to: ReplyTo<I>) {
        self.door.borrow_mut().leave(address);
        self.open_door();
        self.route.reply(reply_to, Reply::Done);
    }

    /// Lets in who waits, as far as there are places.
    pub fn open_door(&self) {
        let image = self.image();
        let limits = &image.broker_config().connections;
        loop {
            let next = self.door.borrow_mut().next(limits);
            let Some((reply_to, verdict)) = next else { return };
            self.route.reply(reply_to, Reply::Entered(verdict));
        }
    }
}

/// Of a peer as the operating system writes it. One that is gone already has none of its own.
#[must_use]
pub fn address_of(peer: &str) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    peer.parse::<SocketAddr>().map_or(unknown, |it| it.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use replication::config::broker::{BrokerConfig, ConnectionLimits, Layers};

    use super::{Crowded, Door, address_of};

    fn limits(count_max: u32, per_address_max: u32) -> ConnectionLimits {
        let own = (address_of("10.0.0.9:1"), 1);
        let defaults = BrokerConfig::resolve(&Layers::default()).connections;
        let per_address_overrides = vec![own];
        ConnectionLimits { count_max, per_address_max, per_address_overrides, ..defaults }
    }

    fn verdicts(
        door: &mut Door<u32>,
        limits: &ConnectionLimits,
    ) -> Vec<(u32, Result<(), Crowded>)> {
        std::iter::from_fn(|| door.next(limits)).collect()
    }

    #[test]
    fn who_finds_no_place_waits_for_one_and_keeps_its_turn() {
        let mut door = Door::default();
        let limits = limits(2, 9);
        for (waiter, peer) in (0..).zip(["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"]) {
            door.enter(address_of(peer), waiter);
        }
        assert_eq!(verdicts(&mut door, &limits), [(0, Ok(())), (1, Ok(()))]);
        door.leave(address_of("10.0.0.2:7"));
        assert_eq!(verdicts(&mut door, &limits), [(2, Ok(()))]);
        assert_eq!(verdicts(&mut door, &super::tests::limits(9, 9)), [(3, Ok(()))]);
    }

    #[test]
    fn an_address_has_no_more_places_than_its_own_bound() {
        let mut door = Door::default();
        let limits = limits(9, 2);
        for (waiter, peer) in (0..).zip(["[::1]:1", "[::1]:2", "[::1]:3", "10.0.0.9:1"]) {
            door.enter(address_of(peer), waiter);
        }
        door.enter(address_of("[::ffff:10.0.0.9]:2"), 4);
        let want = [(0, Ok(())), (1, Ok(())), (2, Err(Crowded)), (3, Ok(())), (4, Err(Crowded))];
        assert_eq!(verdicts(&mut door, &limits), want);
        door.leave(address_of("10.0.0.9:1"));
        door.enter(address_of("10.0.0.9:3"), 5);
        assert_eq!(verdicts(&mut door, &limits), [(5, Ok(()))]);
    }

    #[test]
    fn a_crowd_from_one_address_does_not_keep_others_waiting() {
        let mut door = Door::default();
        let limits = limits(2, 1);
        door.enter(address_of("10.0.0.1:1"), 0);
        door.enter(address_of("10.0.0.2:1"), 1);
        door.enter(address_of("10.0.0.1:2"), 2);
        door.enter(address_of("10.0.0.3:1"), 3);
        assert_eq!(verdicts(&mut door, &limits), [(0, Ok(())), (1, Ok(())), (2, Err(Crowded))]);
        door.leave(address_of("10.0.0.1:1"));
        assert_eq!(verdicts(&mut door, &limits), [(3, Ok(()))]);
    }
}
