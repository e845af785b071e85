//! `odradek produce`: lines from standard input become records.
//!
//! Idempotent wherever acks=all and the broker can: what is sent again is stored once.

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId as WireProducerId};
use serde_json::json;

use engine::codec::Codec;
use engine::id::{ProducerEpoch, ProducerId, Timestamp};
use net::api::ApiKey;

use crate::cluster::{Cluster, Creation, explain, is_retriable, now, pause, wall_ms};
use crate::command::{BrokerArguments, print};
use crate::failure::Failure;
use crate::format::escape;
use crate::partitioner;
use crate::produce::outbox::{Batching, Outbox};
use crate::produce::sender::{Acks, Sender};

pub(crate) mod lines;
pub(crate) mod outbox;
pub(crate) mod sender;

/// With nothing to wait for but input.
const IDLE_WAIT: Duration = Duration::from_secs(3600);
const PRODUCER_ID_TRY_COUNT_MAX: usize = 50;
const PRODUCER_ID_PAUSE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  echo 'hello' | odradek produce events
  printf 'user-1:login\\nuser-2:login\\n' | odradek produce events -K :
  odradek produce events -z zstd -H source=import < lines.txt
  odradek produce events -p 0 -Z -K '\\t' < keys-and-values.tsv      an empty value deletes its key

Records with a key go to the partition that Kafka's Java client chooses for it; others are spread,
a batch at a time.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    topic: String,
    /// Partition for all records
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// What separates key and value in a line; a line without it has no key
    #[arg(short = 'K', long, value_name = "SEPARATOR", value_parser = separator)]
    key_separator: Option<Bytes>,
    /// What separates records; one byte
    #[arg(short = 'D', long, value_name = "BYTE", default_value = "\\n", value_parser = delimiter)]
    delimiter: u8,
    /// Header of all records; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = header)]
    headers: Vec<(Bytes, Option<Bytes>)>,
    /// Empty values and empty keys are null
    #[arg(short = 'Z', long)]
    null: bool,
    /// Compress batches
    #[arg(short = 'z', long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// What the broker must have done before it answers
    #[arg(short, long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// A batch waits this long for more records
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u64,
    /// A batch is sent once it has this many bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128 * 1024,
        value_parser = clap::value_parser!(u32).range(1..=64 * 1024 * 1024)
    )]
    batch_bytes: u32,
    /// At the end, say how many records were stored, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    const fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

/// Text with the escapes that format strings have.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '\\' {
            bytes.push(escape(&mut rest).map_err(|error| error.to_string())?);
        } else {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(bytes)
}

fn separator(text: &str) -> Result<Bytes, String> {
    let bytes = unescape(text)?;
    if bytes.is_empty() {
        Err("an empty separator separates nothing".to_owned())
    } else {
        Ok(bytes.into())
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match unescape(text)?.as_slice() {
        [byte] => Ok(*byte),
        _ => Err("expected one byte, as \\n, \\0 or ;".to_owned()),
    }
}

/// `key=value`; `key` alone has a null value.
fn header(text: &str) -> Result<(Bytes, Option<Bytes>), String> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    match text.split_once('=') {
        Some((key, value)) => Ok((bytes(key), Some(bytes(value)))),
        None => Ok((bytes(text), None)),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut producer = Producer::start(arguments)?;
    let ended = send_all(&mut producer, arguments.delimiter);
    if ended.is_err() {
        producer.sender.settle();
    }
    let (count, done) = (producer.sender.stored_count(), arguments.acks.done());
    if arguments.json {
        let mut summary = json!({ "topic": arguments.topic, done: count });
        if let Err(failure) = &ended {
            summary["error"] = json!(failure.to_string());
        }
        print(format!("{summary}\n").as_bytes())?;
    }
    match ended {
        Err(Failure::Failed(why)) => {
            Err(Failure::failed(format!("{why}\nodradek: {count} records were {done}")))
        }
        other => other,
    }
}

/// Everything on standard input.
fn send_all(producer: &mut Producer<'_>, delimiter: u8) -> Result<(), Failure> {
    let lines = lines::read(delimiter);
    loop {
        match lines.recv_timeout(producer.patience()) {
            Ok(group) => {
                for line in group? {
                    producer.push(&line);
                }
                producer.send_due()?;
            }
            // No input for now: a good time to hear what became of what was sent.
            Err(RecvTimeoutError::Timeout) => producer.flush()?,
            Err(RecvTimeoutError::Disconnected) => return producer.flush(),
        }
    }
}

struct Producer<'a> {
    arguments: &'a Arguments,
    batching: Batching,
    outboxes: Vec<Outbox>,
    sender: Sender,
    /// Where records without a key go until their batch is closed.
    sticky: usize,
}

impl<'a> Producer<'a> {
    fn start(arguments: &'a Arguments) -> Result<Self, Failure> {
        let mut cluster = arguments.broker.connect()?;
        let topic = cluster.topic(&arguments.topic, Creation::IfMissing)?;
        let leaders: BTreeMap<i32, i32> =
            topic.partitions.iter().map(|it| (it.partition_index, it.leader_id.0)).collect();
        if let Some(partition) = arguments.partition
            && !leaders.contains_key(&partition)
        {
            let (topic, count) = (&arguments.topic, leaders.len());
            return Err(Failure::failed(format!(
                "{topic} has no partition {partition}: it has {count}, numbered from 0"
            )));
        }
        let producer = match arguments.acks {
            Acks::All => producer_id(&mut cluster)?,
            Acks::Leader | Acks::None => None,
        };
        let batching = Batching {
            codec: arguments.compression.codec(),
            batch_bytes: usize::try_from(arguments.batch_bytes).expect("at most 64 MiB"),
            linger: Duration::from_millis(arguments.linger_ms),
            producer,
            headers: arguments.headers.clone(),
        };
        let outboxes: Vec<Outbox> =
            leaders.keys().map(|partition| Outbox::new(*partition)).collect();
        // Commands that start one after another should not all begin with the same partition.
        let seed = usize::try_from(std::process::id()).unwrap_or(0);
        let sticky = seed % outboxes.len();
        let (topic, acks) = (&arguments.topic, arguments.acks);
        let sender = Sender::new(cluster, topic, acks, producer.is_some(), leaders);
        Ok(Self { arguments, batching, outboxes, sender, sticky })
    }

    /// How long to wait for input before a batch is due.
    fn patience(&self) -> Duration {
        let due = self.outboxes.iter().filter_map(|outbox| outbox.due(&self.batching)).min();
        due.map_or(IDLE_WAIT, |due| due.saturating_duration_since(now()))
    }

    fn push(&mut self, line: &Bytes) {
        let (key, value) = match &self.arguments.key_separator {
            Some(separator) => split(line, separator),
            None => (None, &line[..]),
        };
        let is_value = |bytes: &&[u8]| !(self.arguments.null && bytes.is_empty());
        let (key, value) = (key.filter(is_value), Some(value).filter(is_value));
        let index = self.choose(key);
        let outbox = &mut self.outboxes[index];
        outbox.push(&self.batching, now(), wall(), key, value);
        if key.is_none() && outbox.has_closed() {
            self.sticky = (self.sticky + 1) % self.outboxes.len();
        }
    }

    /// Partitions are numbered from 0 without a gap, and so are the outboxes.
    fn choose(&self, key: Option<&[u8]>) -> usize {
        let count = u32::try_from(self.outboxes.len()).expect("partitions count in 31 bits");
        match (self.arguments.partition, key) {
            (Some(partition), _) => usize::try_from(partition).expect("checked at start"),
            (None, Some(key)) => {
                usize::try_from(partitioner::of_key(key, count)).expect("below the count")
            }
            (None, None) => self.sticky,
        }
    }

    fn send_due(&mut self) -> Result<(), Failure> {
        let now = now();
        for outbox in &mut self.outboxes {
            outbox.close_due(&self.batching, now);
        }
        self.sender.send(&mut self.outboxes)
    }

    /// Everything leaves, and is answered.
    fn flush(&mut self) -> Result<(), Failure> {
        for outbox in &mut self.outboxes {
            outbox.close(&self.batching);
        }
        self.sender.drain(&mut self.outboxes)
    }
}

/// Key and value of a line.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

/// `None`: the broker knows no idempotent producers.
fn producer_id(cluster: &mut Cluster) -> Result<Option<(ProducerId, ProducerEpoch)>, Failure> {
    if !cluster.speaks(ApiKey::InitProducerId) {
        return Ok(None);
    }
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(WireProducerId(-1))
        .with_producer_epoch(-1);
    let mut code = 0;
    for _ in 0..PRODUCER_ID_TRY_COUNT_MAX {
        let response = cluster.call_any(&request, 4)?;
        code = response.error_code;
        if code == 0 {
            let id = ProducerId::checked(response.producer_id.0);
            let epoch = ProducerEpoch::checked(response.producer_epoch);
            return Ok(id.zip(epoch));
        }
        if !is_retriable(code) {
            break;
        }
        pause(PRODUCER_ID_PAUSE);
    }
    Err(Failure::failed(format!("no producer id: {}", explain(code, None))))
}

fn wall() -> Timestamp {
    Timestamp::new(wall_ms())
}

#[cfg(test)]
mod tests {
    use super::{delimiter, header, separator, split};

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split(b"k:v:w", b":"), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split(b":v", b":"), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"k=>v", b"=>"), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(split(b"v", b":"), (None, &b"v"[..]));
        assert_eq!(split(b"", b":"), (None, &b""[..]));
    }

    #[test]
    fn separators_and_delimiters_have_escapes() {
        assert_eq!(separator("\\t").as_deref(), Ok(&b"\t"[..]));
        assert!(separator("").is_err());
        assert_eq!(delimiter("\\0"), Ok(0));
        assert!(delimiter("ab").is_err());
    }

    #[test]
    fn a_header_may_have_no_value() {
        assert_eq!(header("k=v=w").map(|it| it.1.map(|it| it.to_vec())), Ok(Some(b"v=w".to_vec())));
        assert_eq!(header("k").map(|it| it.1), Ok(None));
    }
}
