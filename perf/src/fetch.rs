//! How fast a topic is read from its start to its end, or to somewhere before that.
//!
//! One thread, one request in flight on each connection: while one answer is read, the broker works
//! on the others. Record bytes are received and skipped over, batch by batch.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::fetch::{FetchPartition, FetchRequest, FetchTopic, SESSIONLESS_EPOCH};
use net::topic::TopicRef;

use crate::broker::{self, Broker};
use crate::clock::{Moment, duration_ns, own_cpu};
use crate::failure::Failure;
use crate::frame::CLIENT_ID;
use crate::process::Process;
use crate::report::{Report, float, float_of, micros};

/// The newest version that names topics.
const FETCH_LAST: i16 = 12;
const WAIT_MS: i32 = 500;
const MEGA: f64 = 1_000_000.0;

/// Of a record batch.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const LAST_DELTA_AT: usize = 23;
const LAST_DELTA_END: usize = 27;

/// What to read, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) topic: &'a str,
    pub(crate) connection_count: usize,
    /// Of one answer.
    pub(crate) fetch_bytes: i32,
    /// How often it is read.
    pub(crate) pass_count: u32,
    /// Of each partition's offsets, from the first on.
    pub(crate) read_percent: i64,
    pub(crate) broker: Option<Process>,
}

pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut broker = Broker::connect(plan.address)?;
    let version = broker.version(ApiKey::Fetch, FETCH_LAST)?;
    let partition_count = broker.partition_count(plan.topic)?;
    if partition_count == 0 {
        return Err(Failure::new(format!("there is no topic {}", plan.topic)));
    }
    let mut ends = broker.log_ends(plan.topic, partition_count)?;
    for end in &mut ends {
        *end = *end * plan.read_percent / 100;
    }

    let before = plan.broker.map(Process::usage).transpose()?;
    let (start, own_before) = (Moment::now(), own_cpu());
    let (mut byte_count, mut record_count) = (0, 0);
    for _ in 0..plan.pass_count {
        let mut readers = readers(plan, version, &ends)?;
        readers.iter_mut().try_for_each(Reader::ask)?;
        while readers.iter().any(|reader| !reader.is_finished()) {
            for reader in readers.iter_mut().filter(|reader| !reader.is_finished()) {
                byte_count += reader.receive()?;
                reader.ask()?;
            }
        }
        record_count += ends.iter().sum::<i64>();
    }
    let elapsed = Moment::now().since(start);
    let own = own_cpu().saturating_sub(own_before);
    let after = plan.broker.map(Process::usage).transpose()?;

    let mega = float_of(byte_count) / MEGA;
    let seconds = elapsed.as_secs_f64();
    let mut report = Report::new(format!("fetch of {}, {} times", plan.topic, plan.pass_count));
    report.put("mb_per_second", mega / seconds);
    let records = u64::try_from(record_count).expect("offsets count up from 0");
    report.put("records_per_second", float(records) / seconds);
    report.put("mb", mega);
    report.put("own_cpu_percent", 100.0 * own.as_secs_f64() / seconds);
    if let (Some(before), Some(after)) = (before, after) {
        let cpu = after.cpu.saturating_sub(before.cpu);
        report.put("broker_cpu_percent", 100.0 * cpu.as_secs_f64() / seconds);
        let cpu_ms = micros(duration_ns(cpu)) / 1_000.0;
        report.put("broker_cpu_ms_per_mb", cpu_ms / mega.max(f64::MIN_POSITIVE));
    }
    if record_count == 0 {
        report.put_void("the topic is empty");
    }
    Ok(report)
}

/// Partitions are dealt out in turn.
fn readers(plan: &Plan<'_>, version: i16, ends: &[i64]) -> Result<Vec<Reader>, Failure> {
    let connect =
        || TcpStream::connect(plan.address).and_then(|it| it.set_nodelay(true).map(|()| it));
    let mut readers = Vec::new();
    for _ in 0..plan.connection_count.min(ends.len()) {
        let stream = connect().map_err(|error| Failure::io("connect", error))?;
        readers.push(Reader {
            stream,
            topic: TopicRef::Name(StrBytes::from_string(plan.topic.to_owned())),
            version,
            fetch_bytes: plan.fetch_bytes,
            cursors: Vec::new(),
            frame: Vec::new(),
        });
    }
    let reader_count = readers.len();
    for (index, (partition, end)) in (0_i32..).zip(ends).enumerate() {
        let cursor = Cursor { partition, next: 0, end: *end };
        if cursor.next < cursor.end {
            readers[index % reader_count].cursors.push(cursor);
        }
    }
    Ok(readers)
}

/// One connection and the partitions it has still to read; the last of them is asked for.
struct Reader {
    stream: TcpStream,
    topic: TopicRef,
    version: i16,
    fetch_bytes: i32,
    cursors: Vec<Cursor>,
    frame: Vec<u8>,
}

/// What is still to be read of one partition: offsets `[next, end)`.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    partition: i32,
    next: i64,
    end: i64,
}

impl Reader {
    const fn is_finished(&self) -> bool {
        self.cursors.is_empty()
    }

    fn ask(&mut self) -> Result<(), Failure> {
        let Some(cursor) = self.cursors.last() else { return Ok(()) };
        let partition = FetchPartition {
            index: cursor.partition,
            current_leader_epoch: -1,
            fetch_offset: cursor.next,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: self.fetch_bytes,
        };
        let topic = FetchTopic { topic: self.topic.clone(), partitions: vec![partition] };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: self.fetch_bytes,
            isolation_level: 0,
            session_id: 0,
            session_epoch: SESSIONLESS_EPOCH,
            topics: vec![topic],
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        };
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        let envelope = Envelope { version: self.version, correlation_id: 0, client_id };
        let frame = client::encode_fetch(&envelope, &request);
        self.stream.write_all(&frame).map_err(|error| Failure::io("ask for records", error))
    }

    /// Waits for the answer; the bytes of records in it.
    fn receive(&mut self) -> Result<usize, Failure> {
        broker::read_frame(&mut self.stream, &mut self.frame)
            .map_err(|error| Failure::io("receive records", error))?;
        let frame = Bytes::from(std::mem::take(&mut self.frame));
        let read = self.advance(&frame);
        self.frame = Vec::from(frame); // Nothing else holds it: the memory is kept.
        read
    }

    fn advance(&mut self, frame: &Bytes) -> Result<usize, Failure> {
        let senseless = |_error| Failure::new("an answer to Fetch makes no sense");
        let (_, body) =
            client::split_response(ApiKey::Fetch, self.version, frame).map_err(senseless)?;
        let response = client::decode_fetch(self.version, &body).map_err(senseless)?;
        let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let partition =
            partition.ok_or_else(|| Failure::new(format!("Fetch failed: {:?}", response.error)))?;
        if partition.error.get() != 0 {
            return Err(Failure::new(format!("Fetch failed: {:?}", partition.error)));
        }
        let cursor = self.cursors.last_mut().expect("what is received was asked for");
        let byte_count = partition.record_bytes();
        let records = partition.records.map(|records| records.into_handle()).unwrap_or_default();
        let next = next_offset(&records, cursor.next);
        if next == cursor.next {
            return Err(Failure::new(format!(
                "partition {} gives no whole batch at offset {next}: raise --fetch-bytes",
                cursor.partition
            )));
        }
        cursor.next = next;
        if cursor.end <= cursor.next {
            self.cursors.pop();
        }
        Ok(byte_count)
    }
}

/// The offset after the last whole batch; `next` if there is none.
fn next_offset(mut records: &[u8], mut next: i64) -> i64 {
    while let (Some(base), Some(length), Some(last_delta)) = (
        records.first_chunk().map(|it| i64::from_be_bytes(*it)),
        chunk(records, LENGTH_AT..LENGTH_END).map(i32::from_be_bytes),
        chunk(records, LAST_DELTA_AT..LAST_DELTA_END).map(i32::from_be_bytes),
    ) {
        let batch_bytes = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(LENGTH_END);
        let Some((_, rest)) = records.split_at_checked(batch_bytes) else { break };
        next = base + i64::from(last_delta) + 1;
        records = rest;
    }
    next
}

fn chunk(bytes: &[u8], range: std::ops::Range<usize>) -> Option<[u8; 4]> {
    bytes.get(range)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{ProducerId, encode};
    use crate::payload::{Origin, Random};

    #[test]
    fn offsets_go_on_after_the_last_whole_batch() {
        let batch = |base: i64, record_count| {
            let mut random = Random::from_seed(1);
            let (producer, origin) = (ProducerId::NONE, Origin::default());
            let (mut batch, _) = encode(record_count, 20, producer, origin, &mut random);
            batch[..8].copy_from_slice(&base.to_be_bytes());
            batch
        };
        let mut records = batch(10, 5);
        assert_eq!(next_offset(&records, 10), 15);
        let first_bytes = records.len();
        records.extend(batch(15, 2));
        for end in first_bytes..records.len() {
            assert_eq!(next_offset(&records[..end], 10), 15);
        }
        assert_eq!(next_offset(&records, 10), 17);
        assert_eq!(next_offset(&[], 10), 10);
    }
}
