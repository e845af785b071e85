//! `odradek consume`: reads partitions from a place or a time on, and writes records to standard
//! output.
//!
//! It is in no group and commits nothing.
//! Invariant: a record is written at most once, and in a partition in the order of the offsets.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use kafka_protocol::protocol::StrBytes;

use engine::batch::{Batch, walk_headers};
use engine::records::{Record, Records};
use net::error_code::ErrorCode;
use net::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition};
use net::topic::TopicRef;

use crate::cluster::{Cluster, Creation, explain, is_retriable, now, pause};
use crate::command::{BrokerArguments, print, remark};
use crate::failure::Failure;
use crate::format::{self, Format, Message};
use crate::offsets::{self, At, by_leader};

const FETCH_WAIT_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 50 * 1024 * 1024;
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;
/// A batch that unpacks to more is an attack, or needs a machine with more memory.
const UNPACKED_BYTES_MAX: usize = 1 << 30;
/// How long brokers may be gone before the command gives up.
const FAILING_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  odradek consume events                               from the beginning, then whatever comes
  odradek consume events -o end                        only what comes
  odradek consume events -p 0 -o -10 -e                the last ten records of partition 0
  odradek consume events --from-time 2026-01-31T12:00:00Z -n 100
  odradek consume events -f '%p/%o %T %k: %s\\n'
  odradek consume events --json -e | jq .value

Format:
  %t topic   %p partition   %o offset   %T timestamp (ms since 1970)
  %k key     %K its bytes   %s value    %S its bytes   %R its bytes, as a 32-bit integer
  %h headers (k=v,...)      %% percent  \\n \\r \\t \\0 \\\\ \\xHH";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    topic: String,
    /// Partitions to read, separated by commas; all if not given
    #[arg(short, long, value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where to begin in each partition: beginning, end, an offset, or -N for N before the end
    #[arg(
        short,
        long,
        value_name = "beginning|end|N|-N",
        allow_hyphen_values = true,
        default_value = "beginning"
    )]
    offset: Start,
    /// Begin at the first record of this time or later: RFC 3339, or ms since 1970
    #[arg(long, value_name = "TIME", value_parser = offsets::parse_time, conflicts_with = "offset")]
    from_time: Option<i64>,
    /// Exit after this many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Exit at the end: of each partition, as it was when the command began
    #[arg(short, long)]
    exit: bool,
    /// One JSON object a record
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to show a record; see below
    #[arg(short, long, value_name = "FORMAT", default_value = "%s\\n")]
    format: Format,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Beginning,
    End,
    At(i64),
    BeforeEnd(i64),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" | "earliest" | "start" => Ok(Self::Beginning),
            "end" | "latest" => Ok(Self::End),
            number => match number.parse::<i64>() {
                Ok(offset) if offset < 0 || number.starts_with('-') => {
                    Ok(Self::BeforeEnd(offset.checked_neg().unwrap_or(i64::MAX)))
                }
                Ok(offset) => Ok(Self::At(offset)),
                Err(_) => Err("expected beginning, end, an offset, or -N".to_owned()),
            },
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.count == Some(0) {
        return Ok(());
    }
    let mut cluster = arguments.broker.connect()?;
    let partitions = choose(&mut cluster, arguments)?;
    let mut reader = Reader::new(cluster, arguments, &partitions)?;
    while !reader.is_done() {
        reader.turn()?;
    }
    Ok(())
}

/// The partitions asked for, all of which exist.
fn choose(cluster: &mut Cluster, arguments: &Arguments) -> Result<Vec<i32>, Failure> {
    let topic = cluster.topic(&arguments.topic, Creation::Never)?;
    let mut existing: Vec<i32> = topic.partitions.iter().map(|it| it.partition_index).collect();
    existing.sort_unstable();
    if arguments.partition.is_empty() {
        return Ok(existing);
    }
    let mut chosen = arguments.partition.clone();
    chosen.sort_unstable();
    chosen.dedup();
    match chosen.iter().find(|it| !existing.contains(it)) {
        None => Ok(chosen),
        Some(missing) => {
            let (topic, count) = (&arguments.topic, existing.len());
            Err(Failure::failed(format!(
                "{topic} has no partition {missing}: it has {count}, numbered from 0"
            )))
        }
    }
}

/// How far one partition was read.
struct Position {
    partition: i32,
    /// The offset of the next record to write.
    next: i64,
    /// Where to stop.
    end: Option<i64>,
}

impl Position {
    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| end <= self.next)
    }
}

struct Reader<'a> {
    arguments: &'a Arguments,
    cluster: Cluster,
    leaders: BTreeMap<i32, Vec<i32>>,
    positions: Vec<Position>,
    /// Records still to write.
    left: u64,
    failing_since: Option<Instant>,
    out: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(
        mut cluster: Cluster,
        arguments: &'a Arguments,
        partitions: &[i32],
    ) -> Result<Self, Failure> {
        let topic = &arguments.topic;
        let ends = if arguments.exit {
            offsets::list(&mut cluster, topic, partitions, At::End)?
        } else {
            BTreeMap::new()
        };
        let starts = starts(&mut cluster, arguments, partitions)?;
        let leaders = by_leader(&mut cluster, topic, partitions)?;
        let positions = starts
            .into_iter()
            .map(|(partition, next)| Position {
                partition,
                next,
                end: ends.get(&partition).copied(),
            })
            .collect();
        let left = arguments.count.unwrap_or(u64::MAX);
        Ok(Self {
            arguments,
            cluster,
            leaders,
            positions,
            left,
            failing_since: None,
            out: Vec::new(),
        })
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.positions.iter().all(Position::is_done)
    }

    /// Asks every leader for what comes next, and writes what they have.
    fn turn(&mut self) -> Result<(), Failure> {
        let responses = match self.fetch_all() {
            Ok(responses) => responses,
            Err(failure) => {
                for leader in self.leaders.keys() {
                    self.cluster.forget(*leader);
                }
                return self.recover(failure);
            }
        };
        let mut trouble = None;
        for (leader, response) in responses {
            if response.error.is_error() {
                let why = explain(response.error.get(), None);
                return Err(Failure::failed(format!("broker {leader} refused the fetch: {why}")));
            }
            for data in response.topics.iter().flat_map(|topic| &topic.partitions) {
                trouble = self.take(data)?.or(trouble);
            }
            self.flush()?;
        }
        // The next request begins with another partition: a broker fills its answer in our order.
        self.positions.rotate_left(1);
        match trouble {
            Some(failure) => self.recover(failure),
            None => {
                self.failing_since = None;
                Ok(())
            }
        }
    }

    /// One request to each leader, all at the same time.
    fn fetch_all(&mut self) -> Result<Vec<(i32, FetchResponse<Bytes>)>, Failure> {
        let mut waiting = Vec::new();
        for (leader, partitions) in &self.leaders {
            let asked: Vec<FetchPartition> = self
                .positions
                .iter()
                .filter(|it| partitions.contains(&it.partition) && !it.is_done())
                .map(|it| FetchPartition {
                    index: it.partition,
                    current_leader_epoch: -1,
                    fetch_offset: it.next,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    max_bytes: PARTITION_BYTES_MAX,
                })
                .collect();
            if !asked.is_empty() {
                let request = fetch(&self.arguments.topic, asked);
                let pending = self.cluster.broker(*leader)?.send_fetch(&request)?;
                waiting.push((*leader, pending));
            }
        }
        let mut responses = Vec::new();
        for (leader, pending) in waiting {
            responses.push((leader, self.cluster.broker(leader)?.receive_fetch(pending)?));
        }
        Ok(responses)
    }

    /// A broker may start again, or another may lead: what was read stays read, and reading goes on.
    /// Trouble of one partition counts until a turn without any.
    fn recover(&mut self, failure: Failure) -> Result<(), Failure> {
        let since = *self.failing_since.get_or_insert_with(now);
        if now().duration_since(since) > FAILING_MAX {
            return Err(failure);
        }
        pause(RETRY_PAUSE);
        match self.find_leaders() {
            Ok(leaders) => self.leaders = leaders,
            Err(failure @ Failure::TopicMissing(_)) => return Err(failure),
            Err(failure) => tracing::debug!(%failure, "the leaders are unknown for now"),
        }
        Ok(())
    }

    fn find_leaders(&mut self) -> Result<BTreeMap<i32, Vec<i32>>, Failure> {
        let partitions: Vec<i32> = self.positions.iter().map(|it| it.partition).collect();
        by_leader(&mut self.cluster, &self.arguments.topic, &partitions)
    }

    /// Writes the records of one partition. A failure that is worth another try is returned as such.
    fn take(&mut self, data: &FetchedPartition<Bytes>) -> Result<Option<Failure>, Failure> {
        let index = data.index;
        let topic = &self.arguments.topic;
        if !self.positions.iter().any(|it| it.partition == index) {
            let what = format!("the broker sent {topic}[{index}], which nobody asked for");
            return Err(Failure::Failed(what));
        }
        if data.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            return self.out_of_range(index).map(|()| None);
        }
        if data.error.is_error() {
            let why = explain(data.error.get(), None);
            let failure = Failure::failed(format!("reading {topic}[{index}]: {why}"));
            return if is_retriable(data.error.get()) { Ok(Some(failure)) } else { Err(failure) };
        }
        if let Some(records) = &data.records {
            self.write_records(index, records.handle())?;
        }
        Ok(None)
    }

    /// The response may end in the middle of a batch; the next one begins with it.
    fn write_records(&mut self, partition: i32, records: &Bytes) -> Result<(), Failure> {
        for (pos, batch) in walk_headers(records) {
            let bytes = records.slice(pos..pos + batch.len_bytes());
            self.write_batch(partition, &batch, &bytes).map_err(|what| {
                let (topic, offset) = (&self.arguments.topic, batch.base_offset());
                Failure::failed(format!("{topic}[{partition}]: the batch at {offset} {what}"))
            })?;
            let position = self.position(partition);
            if position.is_done() || self.left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn write_batch(
        &mut self,
        partition: i32,
        batch: &Batch<'_>,
        bytes: &Bytes,
    ) -> Result<(), &'static str> {
        if !batch.crc_holds() {
            return Err("is damaged: its checksum is wrong");
        }
        let after = batch.next_offset().map_err(|_overflow| "has an impossible header")?.get();
        if !batch.is_control() {
            let records = Records::new(bytes, UNPACKED_BYTES_MAX)
                .map_err(|_unknown| "has a codec that this command does not know")?;
            for record in records {
                let record = record.map_err(|_damaged| "is damaged: its records do not unpack")?;
                self.write_record(partition, &record);
            }
        }
        let position = self.position(partition);
        position.next = position.next.max(after);
        Ok(())
    }

    fn write_record(&mut self, partition: i32, record: &Record) {
        let offset = record.offset.get();
        let is_over = self.left == 0;
        let position = self.position(partition);
        let is_wanted = position.next <= offset && position.end.is_none_or(|end| offset < end);
        if is_over || !is_wanted {
            return;
        }
        position.next = offset + 1;
        self.left -= 1;
        let message = Message { topic: &self.arguments.topic, partition, record };
        if self.arguments.json {
            self.out.extend_from_slice(format::json(&message).to_string().as_bytes());
            self.out.push(b'\n');
        } else {
            self.arguments.format.render(&message, &mut self.out);
        }
    }

    fn position(&mut self, partition: i32) -> &mut Position {
        self.positions
            .iter_mut()
            .find(|it| it.partition == partition)
            .expect("a response for another partition is refused on arrival")
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.out.is_empty() {
            print(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Retention may delete what a slow reader has not read yet: it goes on behind the gap, aloud.
    /// An offset past the end is a mistake.
    fn out_of_range(&mut self, partition: i32) -> Result<(), Failure> {
        let topic = &self.arguments.topic;
        let start = offsets::list(&mut self.cluster, topic, &[partition], At::Beginning)?;
        let end = offsets::list(&mut self.cluster, topic, &[partition], At::End)?;
        let start = start.get(&partition).copied().unwrap_or(0);
        let end = end.get(&partition).copied().unwrap_or(0);
        let position = self.position(partition);
        let next = position.next;
        if next >= start {
            return Err(Failure::failed(format!(
                "{topic}[{partition}] has no offset {next}: it holds {start} up to, not including, {end}"
            )));
        }
        position.next = start;
        remark(&format!(
            "{topic}[{partition}]: offsets {next} to {start} are deleted; going on at {start}"
        ));
        Ok(())
    }
}

/// In no session: each request says all it wants.
fn fetch(topic: &str, partitions: Vec<FetchPartition>) -> FetchRequest {
    let topic = TopicRef::Name(StrBytes::from_string(topic.to_owned()));
    FetchRequest {
        replica_id: -1,
        max_wait_ms: FETCH_WAIT_MS,
        min_bytes: 1,
        max_bytes: FETCH_BYTES_MAX,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic { topic, partitions }],
        forgotten: Vec::new(),
        rack_id: StrBytes::from_static_str(""),
    }
}

/// The first offset to read in each partition.
fn starts(
    cluster: &mut Cluster,
    arguments: &Arguments,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, Failure> {
    let topic = &arguments.topic;
    if let Some(time) = arguments.from_time {
        return offsets::list(cluster, topic, partitions, At::Time(time));
    }
    match arguments.offset {
        Start::Beginning => offsets::list(cluster, topic, partitions, At::Beginning),
        Start::End => offsets::list(cluster, topic, partitions, At::End),
        Start::At(offset) => Ok(partitions.iter().map(|it| (*it, offset)).collect()),
        Start::BeforeEnd(count) => {
            let beginnings = offsets::list(cluster, topic, partitions, At::Beginning)?;
            let mut starts = offsets::list(cluster, topic, partitions, At::End)?;
            for (partition, start) in &mut starts {
                let beginning = beginnings.get(partition).copied().unwrap_or(0);
                *start = start.saturating_sub(count).max(beginning);
            }
            Ok(starts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Start;

    #[test]
    fn places_to_begin_at() {
        for (text, start) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("0", Start::At(0)),
            ("42", Start::At(42)),
            ("-10", Start::BeforeEnd(10)),
            ("-0", Start::BeforeEnd(0)),
        ] {
            assert_eq!(text.parse(), Ok(start));
        }
        for wrong in ["", "middle", "1.5", "99999999999999999999"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong}");
        }
    }
}
