//! What members of both protocols have in common: a connection, what they own, and when they look.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::broker::Broker;
use crate::clock::Moment;
use crate::failure::Failure;

/// Where a group is.
pub(super) struct Site<'a> {
    pub(super) address: SocketAddr,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition_count: i32,
    /// Between heartbeats, if not as the protocol has it.
    pub(super) heartbeat: Option<Duration>,
}

/// What a member tells. It tells that it gave a partition before the broker can know.
pub(super) enum Event {
    Took { name: u32, partitions: Vec<i32>, at: Moment },
    Gave { name: u32, partitions: Vec<i32>, at: Moment },
    Failed(Failure),
}

pub(super) struct Member<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) broker: Broker,
    pub(super) name: u32,
    owned: BTreeSet<i32>,
    teller: mpsc::Sender<Event>,
    leave: mpsc::Receiver<()>,
}

impl<'a> Member<'a> {
    pub(super) fn begin(
        site: &'a Site<'a>,
        name: u32,
        teller: mpsc::Sender<Event>,
        leave: mpsc::Receiver<()>,
    ) -> Result<Self, Failure> {
        let broker = Broker::connect(site.address)?;
        Ok(Self { site, broker, name, owned: BTreeSet::new(), teller, leave })
    }

    pub(super) const fn owned(&self) -> &BTreeSet<i32> {
        &self.owned
    }

    pub(super) fn take(&mut self, partitions: Vec<i32>) {
        self.owned.extend(&partitions);
        self.tell(Event::Took { name: self.name, partitions, at: Moment::now() });
    }

    pub(super) fn give(&mut self, partitions: Vec<i32>) {
        partitions.iter().for_each(|it| _ = self.owned.remove(it));
        self.tell(Event::Gave { name: self.name, partitions, at: Moment::now() });
    }

    pub(super) fn give_all(&mut self) {
        let all = self.owned.iter().copied().collect();
        self.give(all);
    }

    /// Nobody listens any more when another member has failed: then this one ends soon.
    fn tell(&self, event: Event) {
        drop(self.teller.send(event));
    }

    /// Whether it is to stay, after so long.
    pub(super) fn stays_for(&self, pause: Duration) -> bool {
        matches!(self.leave.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }
}
