//! What one request pays for its changes of topics (KIP-599): each partition that is made or deleted.
//!
//! On shard 0, where all of them are carried out: no other shard has anything to tell of them.

use std::rc::Rc;
use std::time::Duration;

use replication::event::Event;
use replication::image::Image;
use replication::quota::{ANONYMOUS, Quota};
use replication::refusal::{Reason, Refusal};

use crate::accounts::{Shared, per_second};
use crate::io::Io;
use crate::shard::Shard;

/// What becomes of a request whose client owes too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Its changes are refused, one by one.
    Refuse,
    /// It is served, and its client waits afterwards: the request's version knows no such refusal.
    Throttle,
}

/// Who asks for changes of topics.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Empty if it does not say its name.
    pub client: String,
    pub strictness: Strictness,
}

/// One per request, while it is carried out.
pub struct Toll<'a, I: Io> {
    shard: &'a Shard<I>,
    /// If its use is bounded.
    account: Option<Rc<Shared>>,
    strictness: Strictness,
    wait: Duration,
}

impl<'a, I: Io> Toll<'a, I> {
    #[must_use]
    pub fn new(shard: &'a Shard<I>, image: &Image, asker: &Asker) -> Self {
        assert_eq!(shard.index, 0, "changes are carried out on the first shard");
        let quota = Quota::ControllerMutationRate;
        let found = image.quotas().find(quota, ANONYMOUS, &asker.client);
        let account = found.map(|(payer, bound)| {
            shard.accounts.open(shard.io.now(), payer, per_second(quota, bound))
        });
        Self { shard, account, strictness: asker.strictness, wait: Duration::ZERO }
    }

    /// Pays for a change that is about to be made. Who owes less than the credit may make any: what is too
    /// large for it is waited for afterwards.
    ///
    /// # Errors
    /// If the client must wait first. Nothing is paid then.
    pub fn pay(&mut self, image: &Image, change: &Event) -> Result<(), Refusal> {
        let Some(shared) = &self.account else { return Ok(()) };
        let now = self.shard.io.now();
        let burst = self.shard.mutation_windows().burst();
        let wait = || shared.account.get().wait(now, 0, burst);
        if self.strictness == Strictness::Refuse && wait() > Duration::ZERO {
            self.wait = wait();
            let millis = self.wait.as_millis();
            return Err(Refusal::new(
                Reason::ThrottlingQuotaExceeded,
                format!(
                    "The client has made more changes than its quota allows: wait {millis} ms."
                ),
            ));
        }
        shared.change(|account| account.add(now, partition_count(image, change)));
        if self.strictness == Strictness::Throttle {
            self.wait = wait();
        }
        Ok(())
    }

    /// As `pay`, unless it is refused already.
    pub fn pay_if(&mut self, image: &Image, result: &mut Result<Event, Refusal>) {
        if let Ok(change) = result
            && let Err(refusal) = self.pay(image, change)
        {
            *result = Err(refusal);
        }
    }

    /// How long the client must wait before its next request, which is counted.
    pub fn wait(self) -> Duration {
        self.shard.throttled(Quota::ControllerMutationRate, self.wait)
    }
}

/// Those that come or go.
fn partition_count(image: &Image, change: &Event) -> u64 {
    let count = match change {
        Event::TopicCreated { assignments, .. } | Event::PartitionsAdded { assignments, .. } => {
            assignments.len()
        }
        Event::TopicDeleted { id } => {
            image.topic_by_id(*id).map_or(0, |topic| topic.partitions().len())
        }
        _ => unreachable!("only changes of topics are paid for"),
    };
    u64::try_from(count).expect("a usize has at most 64 bits")
}
