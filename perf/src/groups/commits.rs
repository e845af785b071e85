//! Offsets committed in an open loop, each committer for a group of its own, as applications do that choose
//! their partitions themselves.

use std::num::NonZeroU64;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustix::thread::set_current_timer_slack;

use crate::broker::Broker;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::groups::member::Site;
use crate::latency::{Latency, OWN_SHARE_MAX};
use crate::report::float;

const COMMITTERS: u64 = 64;
const COMMIT_LAST: i16 = 8;
const SECOND_NS: u64 = 1_000_000_000;

/// Commits that are under way.
pub(super) struct Commits<'scope> {
    /// Each committer goes on while its end is held.
    ends: Vec<mpsc::Sender<()>>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Committed, Failure>>>,
}

pub(super) struct Committed {
    /// From the moment when it was to be sent to its answer.
    pub(super) latency: Latency,
    /// How late it was sent, though nothing was waited for.
    lateness: Latency,
    pub(super) error_count: u64,
    longest: Duration,
}

impl<'scope> Commits<'scope> {
    pub(super) fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        site: &'env Site<'env>,
        per_second: u64,
    ) -> Result<Self, Failure> {
        let count = COMMITTERS.min(per_second);
        let mut commits = Self { ends: Vec::new(), threads: Vec::new() };
        for number in 0..count {
            let broker = Broker::connect(site.address)?;
            let interval_ns = SECOND_NS * count / per_second;
            let (stay, end) = mpsc::channel();
            let mut committer = Committer { site, number, broker, end };
            let phase_ns = interval_ns * number / count;
            commits.ends.push(stay);
            commits.threads.push(scope.spawn(move || committer.run(interval_ns, phase_ns)));
        }
        Ok(commits)
    }

    pub(super) fn end(self) -> Result<Committed, Failure> {
        let mut all = Committed::none();
        drop(self.ends);
        for thread in self.threads {
            match thread.join() {
                Ok(committed) => all.add(&committed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    }
}

impl Committed {
    fn none() -> Self {
        let (latency, lateness) = (Latency::new(), Latency::new());
        Self { latency, lateness, error_count: 0, longest: Duration::ZERO }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        self.error_count += other.error_count;
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn per_second(&self) -> f64 {
        float(self.latency.count()) / self.longest.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The committers themselves were what was slow.
    pub(super) fn is_late(&self) -> bool {
        let at = |latency: &Latency| latency.at_percentile_ns(99.0).map(float);
        match (at(&self.lateness), at(&self.latency)) {
            (Some(lateness), Some(latency)) => latency * OWN_SHARE_MAX < lateness,
            (None, _) | (_, None) => false,
        }
    }
}

struct Committer<'a> {
    site: &'a Site<'a>,
    number: u64,
    broker: Broker,
    /// Nobody holds the other side any more: it is over.
    end: mpsc::Receiver<()>,
}

impl Committer<'_> {
    fn run(&mut self, interval_ns: u64, phase_ns: u64) -> Result<Committed, Failure> {
        // A wait ends when it is to end, not 50 us later. Where that is refused, lateness tells.
        _ = set_current_timer_slack(NonZeroU64::new(1));
        let mut committed = Committed::none();
        let began = Moment::now();
        let mut free_since = began;
        for nth in 0.. {
            let intended = began.plus_ns(phase_ns + nth * interval_ns);
            let wait = intended.since(Moment::now());
            if self.end.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            let sent_at = Moment::now();
            committed.lateness.record_ns(sent_at.ns_since(intended.max(free_since)));
            if !self.commit(i64::try_from(nth).expect("a run is short"))? {
                committed.error_count += 1;
            }
            free_since = Moment::now();
            committed.latency.record_ns(free_since.ns_since(intended));
        }
        committed.longest = Moment::now().since(began).max(Duration::from_nanos(interval_ns));
        Ok(committed)
    }

    fn commit(&mut self, offset: i64) -> Result<bool, Failure> {
        let count = u64::try_from(self.site.partition_count).expect("a topic has partitions");
        let index = i32::try_from(self.number % count).expect("an index of 32 bits");
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::default()));
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(self.site.topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&format!("{}-{}", self.site.group, self.number))))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let response = self.broker.call(&request, COMMIT_LAST)?;
        let codes = response.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error_code);
        let first = codes.into_iter().find_map(ResponseError::try_from_code);
        match first {
            None => Ok(true),
            Some(error) if error.is_retriable() => Ok(false),
            Some(error) => Err(Failure::new(format!("a commit is refused: {error:?}"))),
        }
    }
}
