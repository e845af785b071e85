//! Sends closed batches to the partitions' leaders, and again if a leader moved or was lost.
//!
//! Blocking. Invariant: batches of one partition are sent in the order they were closed; after a
//! failure everything in flight to that broker comes back before anything else leaves.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use kafka_protocol::protocol::StrBytes;

use net::error_code::ErrorCode;
use net::produce::{ProducePartition, ProduceRequest, ProduceTopic, ProducedPartition};
use net::topic::TopicRef;

use crate::cluster::{Cluster, Creation, explain, is_retriable, now, pause};
use crate::connection::Pending;
use crate::failure::Failure;
use crate::produce::outbox::{Closed, Outbox};

/// As many as a broker keeps the sequences of.
const IN_FLIGHT_IDEMPOTENT_MAX: usize = 5;
/// Batches of several partitions share a request up to this.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const TIMEOUT_MS: i32 = 30_000;
/// How long one batch may fail before the command gives up.
const FAILING_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a broker must have done before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Acks {
    /// All in-sync replicas have it
    All,
    /// The leader has it
    #[value(name = "1")]
    Leader,
    /// Nothing: there is no answer, and loss goes unnoticed
    #[value(name = "0")]
    None,
}

impl Acks {
    /// What is known of a record that counts.
    pub(crate) const fn done(self) -> &'static str {
        match self {
            Self::All | Self::Leader => "stored",
            Self::None => "sent",
        }
    }

    const fn wire(self) -> i16 {
        match self {
            Self::All => -1,
            Self::Leader => 1,
            Self::None => 0,
        }
    }
}

/// One request without its answer.
struct Sent {
    pending: Pending,
    batches: Vec<(i32, Closed)>,
}

/// What the answer to one batch means.
enum Outcome {
    Stored,
    /// Worth another try; why the last one failed.
    Again(String),
    Refused(String),
}

/// A batch that was sent again may have been stored the first time.
fn is_stored(error: ErrorCode) -> bool {
    error == ErrorCode::NONE || error == ErrorCode::DUPLICATE_SEQUENCE_NUMBER
}

pub(crate) struct Sender {
    cluster: Cluster,
    topic: String,
    acks: Acks,
    in_flight_max: usize,
    /// Leader by partition.
    leaders: BTreeMap<i32, i32>,
    in_flight: BTreeMap<i32, VecDeque<Sent>>,
    failing_since: Option<Instant>,
    stored_count: u64,
}

impl Sender {
    pub(crate) fn new(
        cluster: Cluster,
        topic: &str,
        acks: Acks,
        is_idempotent: bool,
        leaders: BTreeMap<i32, i32>,
    ) -> Self {
        let in_flight_max = if is_idempotent { IN_FLIGHT_IDEMPOTENT_MAX } else { 1 };
        Self {
            cluster,
            topic: topic.to_owned(),
            acks,
            in_flight_max,
            leaders,
            in_flight: BTreeMap::new(),
            failing_since: None,
            stored_count: 0,
        }
    }

    /// Records that a broker has acknowledged; with acks=0, that were sent.
    pub(crate) const fn stored_count(&self) -> u64 {
        self.stored_count
    }

    /// Sends all closed batches. Returns once they are on their way.
    pub(crate) fn send(&mut self, outboxes: &mut [Outbox]) -> Result<(), Failure> {
        while let Some(outbox) = outboxes.iter().find(|it| it.has_closed()) {
            let leader = self.leader(outbox.partition())?;
            if self.in_flight.get(&leader).map_or(0, VecDeque::len) >= self.in_flight_max {
                self.receive(leader, outboxes)?;
                continue;
            }
            let batches = self.gather(leader, outboxes);
            self.send_one(leader, batches, outboxes)?;
        }
        Ok(())
    }

    /// Sends all closed batches and waits until every one is answered.
    pub(crate) fn drain(&mut self, outboxes: &mut [Outbox]) -> Result<(), Failure> {
        loop {
            self.send(outboxes)?;
            let busy = self.in_flight.iter().find(|(_, sent)| !sent.is_empty());
            let Some((leader, _)) = busy else { return Ok(()) };
            self.receive(*leader, outboxes)?;
        }
    }

    fn leader(&self, partition: i32) -> Result<i32, Failure> {
        self.leaders.get(&partition).copied().ok_or_else(|| {
            Failure::failed(format!("{}[{partition}] is gone: was the topic deleted?", self.topic))
        })
    }

    /// At most one batch of each partition, as Kafka wants it.
    fn gather(&self, leader: i32, outboxes: &mut [Outbox]) -> Vec<(i32, Closed)> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        for outbox in outboxes {
            let is_theirs = self.leaders.get(&outbox.partition()) == Some(&leader);
            if is_theirs
                && bytes < REQUEST_BYTES_MAX
                && let Some(closed) = outbox.take()
            {
                bytes += closed.bytes.len();
                batches.push((outbox.partition(), closed));
            }
        }
        batches
    }

    fn send_one(
        &mut self,
        leader: i32,
        batches: Vec<(i32, Closed)>,
        outboxes: &mut [Outbox],
    ) -> Result<(), Failure> {
        let partitions = batches
            .iter()
            .map(|(partition, closed)| ProducePartition {
                index: *partition,
                records: Some(closed.bytes.clone()),
            })
            .collect();
        let topic = TopicRef::Name(StrBytes::from_string(self.topic.clone()));
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.acks.wire(),
            timeout_ms: TIMEOUT_MS,
            topics: vec![ProduceTopic { topic, partitions }],
        };
        let sent = self.cluster.broker(leader).and_then(|it| it.send_produce(&request));
        match sent {
            Ok(_) if self.acks == Acks::None => {
                self.stored_count += batches.iter().map(|(_, it)| it.record_count).sum::<u64>();
                Ok(())
            }
            Ok(pending) => {
                let in_flight = self.in_flight.entry(leader).or_default();
                in_flight.push_back(Sent { pending, batches });
                Ok(())
            }
            Err(failure) => {
                let mut failed = self.lose(leader);
                failed.extend(batches);
                self.recover(failed, outboxes, &failure.to_string())
            }
        }
    }

    /// Waits for the oldest answer of one broker, and deals with what it says.
    fn receive(&mut self, leader: i32, outboxes: &mut [Outbox]) -> Result<(), Failure> {
        let mut failed = Vec::new();
        let mut why = self.receive_one(leader, &mut failed)?;
        if failed.is_empty() {
            self.failing_since = None;
            return Ok(());
        }
        // The batches behind it may have been refused for its sake: their sequences had a gap.
        while self.in_flight.get(&leader).is_some_and(|it| !it.is_empty()) {
            why = self.receive_one(leader, &mut failed)?.or(why);
        }
        self.recover(failed, outboxes, &why.unwrap_or_default())
    }

    /// Adds to `failed` what must be sent again, and says why.
    fn receive_one(
        &mut self,
        leader: i32,
        failed: &mut Vec<(i32, Closed)>,
    ) -> Result<Option<String>, Failure> {
        let in_flight = self.in_flight.entry(leader).or_default();
        let Some(Sent { pending, batches }) = in_flight.pop_front() else { return Ok(None) };
        let response = match self.cluster.broker(leader).and_then(|it| it.receive_produce(pending))
        {
            Ok(response) => response,
            Err(failure) => {
                failed.extend(batches);
                failed.extend(self.lose(leader));
                return Ok(Some(failure.to_string()));
            }
        };
        let (mut why, mut refusal) = (None, None);
        let results: Vec<&ProducedPartition> =
            response.topics.iter().flat_map(|topic| &topic.partitions).collect();
        for (partition, closed) in batches {
            let result = results.iter().find(|it| it.index == partition).ok_or_else(|| {
                let topic = &self.topic;
                Failure::failed(format!(
                    "the broker said nothing of a batch for {topic}[{partition}]"
                ))
            })?;
            let is_behind_a_failure = failed.iter().any(|(failed, _)| *failed == partition);
            match self.outcome(result, is_behind_a_failure) {
                Outcome::Stored => self.stored_count += closed.record_count,
                Outcome::Again(reason) => {
                    why = Some(reason);
                    failed.push((partition, closed));
                }
                Outcome::Refused(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        match refusal {
            Some(reason) => Err(Failure::Failed(format!("not stored: {reason}"))),
            None => Ok(why),
        }
    }

    /// Counts what else is stored, before the command ends with a failure.
    pub(crate) fn settle(&mut self) {
        for (leader, in_flight) in std::mem::take(&mut self.in_flight) {
            for Sent { pending, batches } in in_flight {
                let answer = self.cluster.broker(leader).and_then(|it| it.receive_produce(pending));
                let Ok(response) = answer else { break }; // Nobody knows what became of the rest.
                let results = response.topics.iter().flat_map(|topic| &topic.partitions);
                for result in results.filter(|it| is_stored(it.error)) {
                    let batch = batches.iter().find(|(partition, _)| *partition == result.index);
                    self.stored_count += batch.map_or(0, |(_, closed)| closed.record_count);
                }
            }
        }
    }

    fn outcome(&self, result: &ProducedPartition, is_behind_a_failure: bool) -> Outcome {
        let error = result.error;
        if is_stored(error) {
            return Outcome::Stored;
        }
        let explained = explain(error.get(), result.error_message.as_ref());
        let reason = format!("{}[{}]: {explained}", self.topic, result.index);
        let is_gap = is_behind_a_failure && error == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        if is_gap || is_retriable(error.get()) {
            Outcome::Again(reason)
        } else {
            Outcome::Refused(reason)
        }
    }

    /// Forgets the connection; what was in flight on it, the oldest first.
    fn lose(&mut self, leader: i32) -> Vec<(i32, Closed)> {
        self.cluster.forget(leader);
        let lost = self.in_flight.remove(&leader).unwrap_or_default();
        lost.into_iter().flat_map(|sent| sent.batches).collect()
    }

    /// Puts failed batches back in front, waits, and asks who leads now.
    fn recover(
        &mut self,
        failed: Vec<(i32, Closed)>,
        outboxes: &mut [Outbox],
        why: &str,
    ) -> Result<(), Failure> {
        for (partition, closed) in failed.into_iter().rev() {
            let outbox = outboxes.iter_mut().find(|it| it.partition() == partition);
            outbox.expect("every partition has its outbox").put_back(closed);
        }
        let since = *self.failing_since.get_or_insert_with(now);
        loop {
            if now().duration_since(since) > FAILING_MAX {
                let seconds = FAILING_MAX.as_secs();
                return Err(Failure::failed(format!("not stored for {seconds} s: {why}")));
            }
            pause(RETRY_PAUSE);
            match self.cluster.topic(&self.topic, Creation::Never) {
                Ok(topic) => {
                    let leaders = topic.partitions.iter();
                    self.leaders = leaders.map(|it| (it.partition_index, it.leader_id.0)).collect();
                    return Ok(());
                }
                Err(failure) => tracing::debug!(%failure, "the leaders are unknown for now"),
            }
        }
    }
}
