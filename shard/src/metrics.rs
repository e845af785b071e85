//! The flight recorder: what one shard counts, and how long its requests took in each stage.
//!
//! It reads no clock, knows no request and sends nothing: times come in, a `Snapshot` goes out.
//! Invariant: everything here is of fixed size, whatever the traffic; recording allocates only for
//! a request that is among the slowest of its ten seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::id::Timestamp;
use hdrhistogram::Histogram;
use replication::quota::Quota;

use crate::cause::Cause;
use crate::groups::lag::Lags;
use crate::io::Nanos;

/// Longer times are recorded as this one.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Two digits: every time is known to 1 %, at 30 KiB a histogram.
const LATENCY_DIGITS: u8 = 2;
/// Kafka numbers its APIs from 0; strangers' larger keys are counted together, at the end.
const API_KEY_END: usize = 128;
/// Error codes seen at most; Kafka has about 135.
const ERROR_CODE_COUNT_MAX: usize = 256;
/// The slowest requests are kept per slot, so that one slow second does not hide the next.
/// All slots together are the last minute.
const SLOW_SLOT_COUNT: usize = 6;
const SLOW_SLOT: Duration = Duration::from_secs(10);
const SLOW_PER_SLOT_MAX: usize = 8;
const CLIENT_BYTES_MAX: usize = 64;

/// The parts of a request's time, in order. A part a request does not have is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the first byte received to verified and routed.
    Parsed,
    /// Until the owner shard took it.
    Hopped,
    /// Until its batches have offsets, or its data is found.
    Appended,
    /// Until it is on the device.
    Committed,
    /// Until the kernel has the response.
    Sent,
}

impl Stage {
    pub const ALL: [Self; 5] =
        [Self::Parsed, Self::Hopped, Self::Appended, Self::Committed, Self::Sent];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parsed => "parsed",
            Self::Hopped => "hopped",
            Self::Appended => "appended",
            Self::Committed => "committed",
            Self::Sent => "sent",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Parsed => 0,
            Self::Hopped => 1,
            Self::Appended => 2,
            Self::Committed => 3,
            Self::Sent => 4,
        }
    }
}

/// Which histograms a request's times go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Produce,
    Fetch,
    Other,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Produce, Self::Fetch, Self::Other];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Other => "other",
        }
    }

    const fn of(api_key: i16) -> Self {
        match api_key {
            0 => Self::Produce,
            1 => Self::Fetch,
            _ => Self::Other,
        }
    }
}

/// The stop watch of one request; travels with it from shard to shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    started: Nanos,
    last: Nanos,
    spent: [Option<Duration>; Stage::ALL.len()],
}

impl Stages {
    #[must_use]
    pub const fn begin(now: Nanos) -> Self {
        Self { started: now, last: now, spent: [None; Stage::ALL.len()] }
    }

    /// The stage ends `now`; it began where the one before it ended.
    pub fn end(&mut self, stage: Stage, now: Nanos) {
        let spent = self.spent[stage.index()].unwrap_or_default();
        self.spent[stage.index()] = Some(spent + now.since(self.last));
        self.last = now.max(self.last);
    }

    /// The time since the last stage is the client's own wish (a long poll), so nobody's latency.
    pub fn skip(&mut self, now: Nanos) {
        self.last = now.max(self.last);
    }

    /// A request went to several shards: the one that came last decides.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if self.last < other.last { other } else { self }
    }

    #[must_use]
    pub const fn started(&self) -> Nanos {
        self.started
    }

    #[must_use]
    pub const fn spent(&self, stage: Stage) -> Option<Duration> {
        self.spent[stage.index()]
    }

    #[must_use]
    pub fn total(&self) -> Duration {
        self.spent.iter().flatten().sum()
    }
}

/// How a number behaves: a counter only grows, a gauge is what is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Counter,
    Gauge,
}

/// Everything a shard counts. To add one: a variant, and its row in `words`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    Batches,
    BatchesRecompressed,
    Records,
    BytesReceived,
    BytesSent,
    ConnectionsAccepted,
    ConnectionsOpen,
    ConnectionsEvicted,
    MemoryWaits,
    MemoryUsedBytes,
    MemoryRequestBytes,
    MemoryAnswerBytes,
    MemoryGroupBytes,
    GroupRefusals,
    JournalFrames,
    JournalSilences,
    JournalBytes,
    SegmentWrites,
    SegmentBytes,
    Checkpoints,
    DiskErrors,
    DamagesFound,
    DiskLevel,
    DiskFreeBytes,
    DiskRefusals,
    Shortages,
    ScrubbedBytes,
    RetentionDeletions,
    CompactedBytes,
    CompactedBytesLeft,
    CompactedRecordsGone,
    CompactionPasses,
    CompactionPassMillis,
    Partitions,
    PartitionsFenced,
    PartitionsCached,
    PartitionsUncompacted,
    MessagesSent,
    MailboxFull,
}

impl Metric {
    pub const ALL: [Self; 39] = [
        Self::Batches,
        Self::BatchesRecompressed,
        Self::Records,
        Self::BytesReceived,
        Self::BytesSent,
        Self::ConnectionsAccepted,
        Self::ConnectionsOpen,
        Self::ConnectionsEvicted,
        Self::MemoryWaits,
        Self::MemoryUsedBytes,
        Self::MemoryRequestBytes,
        Self::MemoryAnswerBytes,
        Self::MemoryGroupBytes,
        Self::GroupRefusals,
        Self::JournalFrames,
        Self::JournalSilences,
        Self::JournalBytes,
        Self::SegmentWrites,
        Self::SegmentBytes,
        Self::Checkpoints,
        Self::DiskErrors,
        Self::DamagesFound,
        Self::DiskLevel,
        Self::DiskFreeBytes,
        Self::DiskRefusals,
        Self::Shortages,
        Self::ScrubbedBytes,
        Self::RetentionDeletions,
        Self::CompactedBytes,
        Self::CompactedBytesLeft,
        Self::CompactedRecordsGone,
        Self::CompactionPasses,
        Self::CompactionPassMillis,
        Self::Partitions,
        Self::PartitionsFenced,
        Self::PartitionsCached,
        Self::PartitionsUncompacted,
        Self::MessagesSent,
        Self::MailboxFull,
    ];

    /// Name as Prometheus wants it (without prefix), behaviour, and what it says.
    #[must_use]
    pub fn describe(self) -> (&'static str, Behaviour, &'static str) {
        let (name, help) = self.words();
        let is_counter = name.ends_with("_total");
        (name, if is_counter { Behaviour::Counter } else { Behaviour::Gauge }, help)
    }

    /// The name of a counter ends in `_total`.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Batches => ("batches_total", "record batches appended"),
            Self::BatchesRecompressed => ("batches_recompressed_total", "batches compressed anew"),
            Self::Records => ("records_total", "records appended"),
            Self::BytesReceived => ("received_bytes_total", "bytes read from sockets"),
            Self::BytesSent => ("sent_bytes_total", "bytes written to sockets"),
            Self::ConnectionsAccepted => ("connections_accepted_total", "connections accepted"),
            Self::ConnectionsOpen => ("connections_open", "connections now"),
            Self::ConnectionsEvicted => (
                "connections_evicted_total",
                "connections closed because they were slow while memory was short",
            ),
            Self::MemoryWaits => ("memory_waits_total", "requests that waited for memory first"),
            Self::MemoryUsedBytes => ("memory_used_bytes", "bytes of the budget in use"),
            Self::MemoryRequestBytes => {
                ("memory_request_bytes", "bytes that requests hold until they are answered")
            }
            Self::MemoryAnswerBytes => {
                ("memory_answer_bytes", "bytes that answers hold until they are taken")
            }
            Self::MemoryGroupBytes => ("memory_group_bytes", "bytes that groups hold, about"),
            Self::GroupRefusals => ("group_refusals_total", "requests for more than they may hold"),
            Self::JournalFrames => ("journal_frames_total", "group commits to the journal"),
            Self::JournalSilences => ("journal_silences_total", "journal writes seen to last long"),
            Self::JournalBytes => ("journal_bytes_total", "bytes written to the journal"),
            Self::SegmentWrites => ("segment_writes_total", "writes to segment files"),
            Self::SegmentBytes => ("segment_bytes_total", "bytes written to segment files"),
            Self::Checkpoints => ("checkpoints_total", "checkpoints completed"),
            Self::DiskErrors => ("disk_errors_total", "failed operations on files of logs"),
            Self::DamagesFound => ("damages_found_total", "ranges of stored records found damaged"),
            Self::DiskLevel => (
                "disk_level",
                "0 ok, 1 warn, 2 throttle, 3 no topic or partition is made, 4 nothing is appended",
            ),
            Self::DiskFreeBytes => ("disk_free_bytes", "free bytes of the data directory's disk"),
            Self::DiskRefusals => {
                ("disk_refusals_total", "batches not appended as the disk was full")
            }
            Self::Shortages => (
                "shortages_total",
                "file operations that found no room or no descriptor, to be tried again",
            ),
            Self::ScrubbedBytes => ("scrubbed_bytes_total", "bytes read to check them"),
            Self::RetentionDeletions => {
                ("retention_deletions_total", "times that a policy deleted old records")
            }
            Self::CompactedBytes => {
                ("compacted_bytes_total", "bytes of segments that were compacted")
            }
            Self::CompactedBytesLeft => {
                ("compacted_bytes_left_total", "bytes that were left of them")
            }
            Self::CompactedRecordsGone => ("compacted_records_total", "records compacted away"),
            Self::CompactionPasses => ("compaction_passes_total", "compactions of a log"),
            Self::CompactionPassMillis => ("compaction_pass_milliseconds", "of the last pass"),
            Self::Partitions => ("partitions", "partitions on the shard"),
            Self::PartitionsFenced => {
                ("partitions_fenced", "partitions closed by a disk fault until restart")
            }
            Self::PartitionsCached => {
                ("partitions_write_caching", "partitions acknowledged from memory")
            }
            Self::PartitionsUncompacted => {
                ("partitions_uncompacted", "partitions whose compaction was given up; see the log")
            }
            Self::MessagesSent => ("messages_sent_total", "messages sent to other shards"),
            Self::MailboxFull => {
                ("mailbox_full_total", "times a shard waited for room in a mailbox")
            }
        }
    }
}

/// Times of one kind of request, per stage and in all.
#[derive(Clone, Debug)]
pub struct Latency {
    stages: [Histogram<u64>; Stage::ALL.len()],
    total: Histogram<u64>,
}

impl Latency {
    fn new() -> Self {
        Self { stages: [(); Stage::ALL.len()].map(|()| histogram()), total: histogram() }
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn stage(&self, stage: Stage) -> &Histogram<u64> {
        &self.stages[stage.index()]
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    fn record(&mut self, stages: &Stages) {
        for stage in Stage::ALL {
            if let Some(spent) = stages.spent(stage) {
                self.stages[stage.index()].saturating_record(nanos(spent));
            }
        }
        self.total.saturating_record(nanos(stages.total()));
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.total.add(&other.total).expect("all histograms have the same bounds");
    }
}

/// One finished request, as the recorder is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    pub api_key: i16,
    pub request_bytes: u64,
    /// The client's own name for itself; cut to 64 bytes.
    pub client: &'a str,
    pub stages: Stages,
}

/// A request among the slowest of the last minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    pub shard: usize,
    pub api_key: i16,
    pub request_bytes: u64,
    pub client: String,
    pub finished_at: Timestamp,
    pub stages: Stages,
}

/// Requests that ended within the same ten seconds.
#[derive(Clone, Debug, Default)]
struct SlowSlot {
    /// Number of the ten seconds since the clock's start.
    number: u64,
    /// The slowest first.
    slowest: Vec<Slow>,
}

impl SlowSlot {
    fn takes(&self, total: Duration) -> bool {
        self.slowest.len() < SLOW_PER_SLOT_MAX
            || self.slowest.last().is_some_and(|it| it.stages.total() < total)
    }

    fn insert(&mut self, slow: Slow) {
        let total = slow.stages.total();
        let index = self.slowest.partition_point(|it| it.stages.total() >= total);
        self.slowest.insert(index, slow);
        self.slowest.truncate(SLOW_PER_SLOT_MAX);
    }
}

/// How often clients were asked to wait, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    pub count: u64,
    pub millis: u64,
}

/// What one shard has counted so far. One per shard, never shared; costs about 600 KiB.
#[derive(Debug)]
pub struct Recorder {
    shard: usize,
    metrics: [u64; Metric::ALL.len()],
    requests: [u64; API_KEY_END + 1],
    closed: [u64; Cause::ALL.len()],
    throttled: [Waits; Quota::ALL.len()],
    errors: BTreeMap<i16, u64>,
    latency: [Latency; Kind::ALL.len()],
    commit: Histogram<u64>,
    slow: [SlowSlot; SLOW_SLOT_COUNT],
}

impl Recorder {
    #[must_use]
    pub fn new(shard: usize) -> Self {
        Self {
            shard,
            metrics: [0; Metric::ALL.len()],
            requests: [0; API_KEY_END + 1],
            closed: [0; Cause::ALL.len()],
            throttled: [Waits::default(); Quota::ALL.len()],
            errors: BTreeMap::new(),
            latency: [(); Kind::ALL.len()].map(|()| Latency::new()),
            commit: histogram(),
            slow: [(); SLOW_SLOT_COUNT].map(|()| SlowSlot::default()),
        }
    }

    pub fn add(&mut self, metric: Metric, count: u64) {
        self.metrics[index_of(metric)] += count;
    }

    /// As it stands.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> u64 {
        self.metrics[index_of(metric)]
    }

    pub fn set(&mut self, metric: Metric, value: u64) {
        assert!(metric.describe().1 == Behaviour::Gauge, "a counter only grows");
        self.metrics[index_of(metric)] = value;
    }

    /// A counter that is kept elsewhere, as it stands.
    pub fn copy(&mut self, metric: Metric, value: u64) {
        assert!(metric.describe().1 == Behaviour::Counter, "a gauge is set");
        assert!(self.metrics[index_of(metric)] <= value, "a counter only grows");
        self.metrics[index_of(metric)] = value;
    }

    /// How long one durable write took.
    pub fn on_commit(&mut self, took: Duration) {
        self.commit.saturating_record(nanos(took));
    }

    /// A response carried this error code; 0 is none.
    pub fn on_error(&mut self, code: i16) {
        if code != 0
            && (self.errors.len() < ERROR_CODE_COUNT_MAX || self.errors.contains_key(&code))
        {
            *self.errors.entry(code).or_default() += 1;
        }
    }

    /// A connection was closed, or not let in.
    pub fn on_closed(&mut self, cause: Cause) {
        self.closed[cause.index()] += 1;
    }

    /// A client was asked to wait, as it used more than its quota.
    pub fn on_throttled(&mut self, quota: Quota, wait: Duration) {
        let waits = &mut self.throttled[quota.index()];
        waits.count += 1;
        waits.millis += u64::try_from(wait.as_millis()).unwrap_or(u64::MAX >> 16);
    }

    /// `now` and `wall` are when the response left.
    pub fn on_finished(&mut self, now: Nanos, wall: Timestamp, finished: &Finished<'_>) {
        let key = usize::try_from(finished.api_key).unwrap_or(API_KEY_END).min(API_KEY_END);
        self.requests[key] += 1;
        let kind = kind_index(Kind::of(finished.api_key));
        self.latency[kind].record(&finished.stages);

        let number = slot_number(now);
        let slot = &mut self.slow[slot_index(number)];
        if slot.number != number {
            slot.number = number;
            slot.slowest.clear();
        }
        if slot.takes(finished.stages.total()) {
            slot.insert(Slow {
                shard: self.shard,
                api_key: finished.api_key,
                request_bytes: finished.request_bytes,
                client: prefix(finished.client, CLIENT_BYTES_MAX).to_owned(),
                finished_at: wall,
                stages: finished.stages,
            });
        }
    }

    /// A copy for another thread. Costs about 600 KiB: for a person or a scrape, not for a loop.
    #[must_use]
    pub fn snapshot(&self, now: Nanos) -> Snapshot {
        let number = slot_number(now);
        let oldest = number.saturating_sub(slot_count() - 1);
        let mut slowest: Vec<Slow> = self
            .slow
            .iter()
            .filter(|slot| (oldest..=number).contains(&slot.number))
            .flat_map(|slot| slot.slowest.iter().cloned())
            .collect();
        sort_slowest(&mut slowest);
        Snapshot {
            shard: self.shard,
            metrics: self.metrics,
            requests: self.requests,
            closed: self.closed,
            throttled: self.throttled,
            errors: self.errors.clone(),
            latency: self.latency.clone(),
            commit: self.commit.clone(),
            slowest,
            lags: Lags::default(),
        }
    }
}

/// What one shard had counted at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    shard: usize,
    metrics: [u64; Metric::ALL.len()],
    requests: [u64; API_KEY_END + 1],
    closed: [u64; Cause::ALL.len()],
    throttled: [Waits; Quota::ALL.len()],
    errors: BTreeMap<i16, u64>,
    latency: [Latency; Kind::ALL.len()],
    commit: Histogram<u64>,
    slowest: Vec<Slow>,
    lags: Lags,
}

impl Snapshot {
    #[must_use]
    pub fn with_lags(self, lags: Lags) -> Self {
        Self { lags, ..self }
    }

    /// How far groups are behind.
    #[must_use]
    pub const fn lags(&self) -> &Lags {
        &self.lags
    }

    /// The shard it is of; of several merged ones, the first.
    #[must_use]
    pub const fn shard(&self) -> usize {
        self.shard
    }

    #[must_use]
    pub fn metric(&self, metric: Metric) -> u64 {
        self.metrics[index_of(metric)]
    }

    /// Finished requests by API key; `None` counts keys beyond Kafka's. APIs never asked are left out.
    pub fn requests(&self) -> impl Iterator<Item = (Option<i16>, u64)> {
        self.requests
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(key, count)| (i16::try_from(key).ok().filter(|_| key < API_KEY_END), *count))
    }

    /// Connections that the broker closed, or did not let in, by cause.
    pub fn closed(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().zip(self.closed)
    }

    /// What clients were asked to wait, by quota.
    pub fn throttled(&self) -> impl Iterator<Item = (Quota, Waits)> {
        Quota::ALL.into_iter().zip(self.throttled)
    }

    /// Answers by Kafka error code.
    pub fn errors(&self) -> impl Iterator<Item = (i16, u64)> {
        self.errors.iter().map(|(code, count)| (*code, *count))
    }

    #[must_use]
    pub const fn latency(&self, kind: Kind) -> &Latency {
        &self.latency[kind_index(kind)]
    }

    /// Nanoseconds of each durable write.
    #[must_use]
    pub const fn commit(&self) -> &Histogram<u64> {
        &self.commit
    }

    /// Of the last minute, the slowest first.
    #[must_use]
    pub fn slowest(&self) -> &[Slow] {
        &self.slowest
    }

    /// Adds another shard's numbers: counters and gauges are sums.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.metrics.iter_mut().zip(other.metrics) {
            *mine += theirs;
        }
        for (mine, theirs) in self.requests.iter_mut().zip(other.requests) {
            *mine += theirs;
        }
        for (mine, theirs) in self.closed.iter_mut().zip(other.closed) {
            *mine += theirs;
        }
        for (mine, theirs) in self.throttled.iter_mut().zip(other.throttled) {
            mine.count += theirs.count;
            mine.millis += theirs.millis;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            mine.merge(theirs);
        }
        self.commit.add(&other.commit).expect("all histograms have the same bounds");
        self.slowest.extend(other.slowest.iter().cloned());
        sort_slowest(&mut self.slowest);
        self.lags.rows.extend(other.lags.rows.iter().cloned());
        self.lags.left_out_count += other.lags.left_out_count;
    }
}

const fn kind_index(kind: Kind) -> usize {
    match kind {
        Kind::Produce => 0,
        Kind::Fetch => 1,
        Kind::Other => 2,
    }
}

fn index_of(metric: Metric) -> usize {
    Metric::ALL.binary_search(&metric).expect("ALL lists every metric, in order")
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("the bounds are sound")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn sort_slowest(slowest: &mut [Slow]) {
    slowest.sort_by_key(|it| std::cmp::Reverse(it.stages.total()));
}

fn slot_number(now: Nanos) -> u64 {
    now.get() / nanos(SLOW_SLOT)
}

fn slot_count() -> u64 {
    u64::try_from(SLOW_SLOT_COUNT).expect("a handful")
}

fn slot_index(number: u64) -> usize {
    usize::try_from(number % slot_count()).expect("a handful")
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
fn prefix(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::{Behaviour, Finished, Kind, Metric, Recorder, Slow, Stage, Stages};
    use crate::io::Nanos;
    use engine::id::Timestamp;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn finish(recorder: &mut Recorder, at: u64, api_key: i16, took_ms: u64) {
        let mut stages = Stages::begin(Nanos::new(at));
        let now = Nanos::new(at).plus(Duration::from_millis(took_ms));
        stages.end(Stage::Committed, now);
        let finished = Finished { api_key, request_bytes: 9, client: "rdkafka", stages };
        recorder.on_finished(now, Timestamp::new(7), &finished);
    }

    fn took_ms(slowest: &[Slow]) -> Vec<u128> {
        slowest.iter().map(|it| it.stages.total().as_millis()).collect()
    }

    #[test]
    fn metrics_are_listed_in_order_with_names_of_their_behaviour() {
        assert!(Metric::ALL.is_sorted());
        for metric in Metric::ALL {
            let (name, behaviour, _) = metric.describe();
            assert_eq!(name.ends_with("_total"), behaviour == Behaviour::Counter, "{name}");
        }
    }

    #[test]
    fn stages_add_up_and_a_skipped_wait_is_in_none() {
        let mut stages = Stages::begin(Nanos::new(100));
        stages.end(Stage::Parsed, Nanos::new(150));
        stages.skip(Nanos::new(1_000));
        stages.end(Stage::Sent, Nanos::new(1_010));
        assert_eq!(stages.spent(Stage::Parsed), Some(Duration::from_nanos(50)));
        assert_eq!(stages.spent(Stage::Hopped), None);
        assert_eq!(stages.total(), Duration::from_nanos(60));
    }

    #[test]
    fn a_clock_of_another_shard_that_is_behind_costs_nothing() {
        let mut stages = Stages::begin(Nanos::new(100));
        stages.end(Stage::Hopped, Nanos::new(90));
        stages.end(Stage::Sent, Nanos::new(110));
        assert_eq!(stages.total(), Duration::from_nanos(10));
    }

    #[test]
    fn the_slowest_of_the_last_minute_and_not_older() {
        let mut recorder = Recorder::new(0);
        finish(&mut recorder, SECOND, 0, 900);
        finish(&mut recorder, 30 * SECOND, 1, 40);
        for took in 0..20 {
            finish(&mut recorder, 45 * SECOND, 18, took);
        }
        let now = Nanos::new(50 * SECOND);
        let expected = [900, 40, 19, 18, 17, 16, 15, 14, 13, 12];
        assert_eq!(took_ms(recorder.snapshot(now).slowest()), expected);
        let later = Nanos::new(70 * SECOND);
        assert_eq!(took_ms(recorder.snapshot(later).slowest()), expected[1..]);
        let much_later = Nanos::new(1_000 * SECOND);
        assert_eq!(took_ms(recorder.snapshot(much_later).slowest()), []);
    }

    #[test]
    fn merging_adds_counters_and_times() {
        let mut first = Recorder::new(0);
        let mut second = Recorder::new(1);
        first.add(Metric::Records, 3);
        second.add(Metric::Records, 4);
        second.set(Metric::ConnectionsOpen, 2);
        second.on_error(3);
        second.on_error(0);
        finish(&mut first, SECOND, 0, 5);
        finish(&mut second, SECOND, 0, 9);
        finish(&mut second, SECOND, -1, 1);
        let now = Nanos::new(2 * SECOND);
        let mut merged = first.snapshot(now);
        merged.merge(&second.snapshot(now));
        assert_eq!(merged.metric(Metric::Records), 7);
        assert_eq!(merged.metric(Metric::ConnectionsOpen), 2);
        assert_eq!(merged.errors().collect::<Vec<_>>(), [(3, 1)]);
        assert_eq!(merged.requests().collect::<Vec<_>>(), [(Some(0), 2), (None, 1)]);
        assert_eq!(merged.latency(Kind::Produce).total().len(), 2);
        assert_eq!(merged.latency(Kind::Produce).stage(Stage::Sent).len(), 0);
        assert_eq!(took_ms(merged.slowest()), [9, 5, 1]);
    }

    #[test]
    fn a_long_client_name_is_cut_between_characters() {
        let mut recorder = Recorder::new(0);
        let client = "é".repeat(100);
        let stages = Stages::begin(Nanos::new(1));
        let finished = Finished { api_key: 3, request_bytes: 1, client: &client, stages };
        recorder.on_finished(Nanos::new(1), Timestamp::new(0), &finished);
        let snapshot = recorder.snapshot(Nanos::new(1));
        assert_eq!(snapshot.slowest()[0].client, "é".repeat(32));
    }
}
