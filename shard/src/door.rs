//! How many connections the node has, in all and from each address, how fast they come, and who waits to be
//! let in. Shard 0's counts; the others ask it before they serve a connection, so rates and bounds hold for
//! all shards together.

pub mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use replication::config::broker::ConnectionLimits;
use replication::image::Image;
use replication::quota::Quotas;

use crate::accounts::account::Windows;
use crate::cause::Cause;
use crate::door::pace::{Pace, Paces};
use crate::io::{Class, Io, Nanos};
use crate::message::{Message, Reply};
use crate::route::ReplyTo;
use crate::shard::Shard;

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its address has as many connections as it may have.
    Crowded,
    /// More came from its address than its quota allows: none is served for so long.
    Hasty(Duration),
}

/// What is decided at the door.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<W> {
    /// Of who came first.
    Verdict(W, Result<(), TurnedAway>),
    Nobody,
    /// All places are taken: somebody must leave.
    Full,
    /// More came to the node than may: the next is let in at this time.
    Early(Nanos),
}

/// What decides who is let in.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    pub limits: &'a ConnectionLimits,
    pub quotas: &'a Quotas,
    pub windows: Windows,
}

impl<'a> Rules<'a> {
    #[must_use]
    pub fn of(image: &'a Image) -> Self {
        let config = image.broker_config();
        let windows = Windows::of(&config.quota_windows);
        Self { limits: &config.connections, quotas: image.quotas(), windows }
    }
}

/// `W` is who waits for a verdict.
#[derive(Debug)]
pub struct Door<W> {
    count: u32,
    /// No entry is 0.
    by_address: BTreeMap<IpAddr, u32>,
    /// In the order in which they came: at most one of each listener of each shard.
    waiting: VecDeque<(IpAddr, W)>,
    pace: Pace,
    paces: Paces,
    /// Whether somebody will look when the next may be let in.
    is_timed: bool,
}

impl<W> Default for Door<W> {
    fn default() -> Self {
        Self {
            count: 0,
            by_address: BTreeMap::new(),
            waiting: VecDeque::new(),
            pace: Pace::default(),
            paces: Paces::default(),
            is_timed: false,
        }
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

    /// Decides of who came first. As in Kafka a connection that is closed for the number of its address's
    /// counts for the rate of its address, so that whoever tries again and again is slowed down; and one
    /// that comes too fast counts for nothing.
    pub fn next(&mut self, now: Nanos, rules: &Rules<'_>) -> Next<W> {
        let Rules { limits, quotas, windows } = rules;
        let Some((address, waiter)) = self.waiting.pop_front() else { return Next::Nobody };
        let own = if quotas.is_empty() { None } else { quotas.find_address(address) };
        let own = own.map(|bound| self.paces.get(now, address, bound.get(), windows)).transpose();
        let Ok(mut own) = own else {
            return Next::Verdict(waiter, Err(TurnedAway::Hasty(windows.span)));
        };
        let wait = own.as_ref().map_or(Duration::ZERO, |own| own.wait(now, windows));
        if wait > Duration::ZERO {
            return Next::Verdict(waiter, Err(TurnedAway::Hasty(wait)));
        }
        let count = self.by_address.get(&address).copied().unwrap_or(0);
        if address_max(limits, address) <= count {
            own.iter_mut().for_each(|own| own.on_come(now));
            return Next::Verdict(waiter, Err(TurnedAway::Crowded));
        }
        if limits.count_max <= self.count {
            self.waiting.push_front((address, waiter));
            return Next::Full;
        }
        if let Some(rate) = limits.per_second_max {
            self.pace.set(now, rate.into(), windows);
            let wait = self.pace.wait(now, windows);
            if wait > Duration::ZERO {
                self.waiting.push_front((address, waiter));
                return Next::Early(now.plus(wait));
            }
            self.pace.on_come(now);
        }
        own.iter_mut().for_each(|own| own.on_come(now));
        *self.by_address.entry(address).or_default() += 1;
        self.count += 1;
        Next::Verdict(waiter, Ok(()))
    }
}

/// Connections that there may be from this address.
fn address_max(limits: &ConnectionLimits, address: IpAddr) -> u32 {
    let own = limits.per_address_overrides.iter().rev().find(|(it, _)| *it == address);
    own.map_or(limits.per_address_max, |(_, count)| *count)
}

impl<I: Io> Shard<I> {
    /// Until the connection may be served, or must be closed. Then `leave` says that it has ended.
    pub async fn enter(self: &Rc<Self>, address: IpAddr) -> Result<(), TurnedAway> {
        match self.call(0, Message::Enter(address)).wait().await {
            Reply::Entered(verdict) => verdict,
            _ => unreachable!("who enters gets a verdict"),
        }
    }

    /// A connection that was let in has ended.
    pub fn leave(self: &Rc<Self>, address: IpAddr) {
        drop(self.call(0, Message::Leave(address))); // Nothing is waiting for it here.
    }

    pub fn on_enter(self: &Rc<Self>, address: IpAddr, reply_to: ReplyTo<I>) {
        self.door.borrow_mut().enter(address, reply_to);
        if let Some(cause) = self.open_door()
            && let Some(untold) = self.connections.on_close(self, cause)
        {
            tracing::warn!(untold, "a connection waits: {cause}");
        }
    }

    pub fn on_leave(self: &Rc<Self>, address: IpAddr, reply_to: ReplyTo<I>) {
        self.door.borrow_mut().leave(address);
        self.open_door();
        self.route.reply(reply_to, Reply::Done);
    }

    /// Lets in who waits, as far as may be. Why somebody still waits.
    pub fn open_door(self: &Rc<Self>) -> Option<Cause> {
        let image = self.image();
        let (rules, now) = (Rules::of(&image), self.io.now());
        loop {
            let next = self.door.borrow_mut().next(now, &rules);
            match next {
                Next::Verdict(reply_to, verdict) => {
                    self.route.reply(reply_to, Reply::Entered(verdict));
                }
                Next::Nobody => return None,
                Next::Full => return Some(Cause::Full),
                Next::Early(until) => {
                    self.open_door_at(until);
                    return Some(Cause::Rate);
                }
            }
        }
    }

    /// If the rate is raised meanwhile, who waits goes on waiting for its time, as in Kafka: a window at most.
    fn open_door_at(self: &Rc<Self>, until: Nanos) {
        if std::mem::replace(&mut self.door.borrow_mut().is_timed, true) {
            return;
        }
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            shard.timers.at(until).wait().await;
            shard.door.borrow_mut().is_timed = false;
            shard.open_door();
        });
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
    use std::sync::Arc;
    use std::time::Duration;

    use replication::cluster::Cluster;
    use replication::config::broker::{Configs, ConnectionLimits};
    use replication::event::Event;
    use replication::node::NodeId;
    use replication::quota::{Bound, Entity, Name, Quota, address_name};

    use super::{Door, Next, Rules, TurnedAway, address_of};
    use crate::io::Nanos;

    const CROWDED: Result<(), TurnedAway> = Err(TurnedAway::Crowded);

    /// A second after the other, so many may come from each address, and from one or the other more or fewer.
    fn cluster(rates: &[(&str, f64)]) -> Cluster {
        let node = NodeId::checked(1).expect("not negative");
        let file = [("quota.window.num".to_owned(), "2".to_owned())];
        let mut cluster = Cluster::new(node, Arc::new(Configs::from(file)));
        for (address, rate) in rates {
            let name = address_name(address).map_or(Name::Default, Name::Exact);
            let entity = Entity::Address(name);
            let changes = vec![(Quota::ConnectionCreationRate, Bound::checked(*rate))];
            cluster.apply(&Event::QuotasChanged { entity, changes }).expect("a sound event");
        }
        cluster
    }

    fn limits(count_max: u32, per_address_max: u32) -> ConnectionLimits {
        let own = (address_of("10.0.0.9:1"), 1);
        let defaults = cluster(&[]).image().broker_config().connections.clone();
        let per_address_overrides = vec![own];
        ConnectionLimits { count_max, per_address_max, per_address_overrides, ..defaults }
    }

    fn at(millis: u64) -> Nanos {
        Nanos::new(5).plus(Duration::from_millis(millis))
    }

    type Verdicts = Vec<(u32, Result<(), TurnedAway>)>;

    /// Those that there are now, and what keeps the next from one.
    fn verdicts_at(
        door: &mut Door<u32>,
        now: Nanos,
        (limits, cluster): (&ConnectionLimits, &Cluster),
    ) -> (Verdicts, Next<u32>) {
        let rules = Rules { limits, ..Rules::of(cluster.image()) };
        let mut verdicts = Vec::new();
        loop {
            match door.next(now, &rules) {
                Next::Verdict(waiter, verdict) => verdicts.push((waiter, verdict)),
                halt => return (verdicts, halt),
            }
        }
    }

    fn verdicts(door: &mut Door<u32>, limits: &ConnectionLimits) -> Verdicts {
        verdicts_at(door, at(0), (limits, &cluster(&[]))).0
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
        let want = [(0, Ok(())), (1, Ok(())), (2, CROWDED), (3, Ok(())), (4, CROWDED)];
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
        assert_eq!(verdicts(&mut door, &limits), [(0, Ok(())), (1, Ok(())), (2, CROWDED)]);
        door.leave(address_of("10.0.0.1:1"));
        assert_eq!(verdicts(&mut door, &limits), [(3, Ok(()))]);
    }

    #[test]
    fn whoever_comes_too_fast_for_the_node_waits_in_turn() {
        let mut door = Door::default();
        let cluster = cluster(&[]);
        let limits = ConnectionLimits { per_second_max: Some(2), ..limits(9, 9) };
        (0..4).for_each(|waiter| door.enter(address_of("10.0.0.1:1"), waiter));
        let mut check = |millis, want: &[u32], halt| {
            let want: Vec<_> = want.iter().map(|waiter| (*waiter, Ok(()))).collect();
            let got = verdicts_at(&mut door, at(millis), (&limits, &cluster));
            assert_eq!(got, (want, halt));
        };
        check(0, &[0, 1], Next::Early(at(500)));
        check(499, &[], Next::Early(at(500)));
        check(500, &[2], Next::Early(at(1_000)));
        check(1_500, &[3], Next::Nobody);
    }

    #[test]
    fn whoever_comes_too_fast_from_one_address_is_turned_away_and_counts_for_nothing() {
        let mut door = Door::default();
        let cluster = cluster(&[("default", 1.0), ("10.0.0.2", 3.0)]);
        let limits = ConnectionLimits { per_second_max: Some(5), ..limits(99, 99) };
        let peers =
            ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "10.0.0.2:1", "10.0.0.2:2", "[::1]:1"];
        for (waiter, peer) in (0..).zip(peers) {
            door.enter(address_of(peer), waiter);
        }
        let hasty = |millis| Err(TurnedAway::Hasty(Duration::from_millis(millis)));
        let (got, halt) = verdicts_at(&mut door, at(0), (&limits, &cluster));
        let mut want = vec![
            (0, Ok(())),
            (1, hasty(1_000)),
            (2, hasty(1_000)),
            (3, Ok(())),
            (4, Ok(())),
            (5, Ok(())),
        ];
        assert_eq!((got, halt), (want.clone(), Next::Nobody));
        // Four of the node's five have come.
        door.enter(address_of("10.0.0.1:4"), 6);
        door.enter(address_of("10.0.0.3:1"), 7);
        door.enter(address_of("10.0.0.4:1"), 8);
        let (got, halt) = verdicts_at(&mut door, at(0), (&limits, &cluster));
        want = vec![(6, hasty(1_000)), (7, Ok(()))];
        assert_eq!((got, halt), (want, Next::Early(at(200))));
        door.enter(address_of("10.0.0.1:5"), 9);
        let (got, _) = verdicts_at(&mut door, at(1_000), (&limits, &cluster));
        assert_eq!(got, [(8, Ok(())), (9, Ok(()))]);
    }

    #[test]
    fn who_is_turned_away_for_the_crowd_counts_for_the_rate_of_its_address_only() {
        let mut door = Door::default();
        let cluster = cluster(&[("10.0.0.1", 3.0)]);
        let limits = ConnectionLimits { per_second_max: Some(2), ..limits(9, 1) };
        (0..4).for_each(|waiter| door.enter(address_of("10.0.0.1:1"), waiter));
        door.enter(address_of("10.0.0.2:1"), 4);
        let hasty = Err(TurnedAway::Hasty(Duration::from_nanos(333_333_332)));
        let (got, _) = verdicts_at(&mut door, at(0), (&limits, &cluster));
        assert_eq!(got, [(0, Ok(())), (1, CROWDED), (2, CROWDED), (3, hasty), (4, Ok(()))]);
    }
}
