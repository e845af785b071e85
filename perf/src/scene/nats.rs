//! JetStream, as a scene speaks it: each value is a message to the subject of its partition's stream,
//! acknowledged to an inbox of the connection, and streams are pushed to who reads them.
//!
//! Acknowledgements of different streams come in any order; the last word of their subject is the
//! value's number.

use std::net::{SocketAddr, TcpStream};

use crate::failure::Failure;
use crate::nats::{self, LINE_END, Message, Nats, PONG, Said};
use crate::payload::{self, HEAD_BYTES, NTH_AT, Origin, Random, TIME_BYTES};
use crate::protocol::{PARTITION_DIGITS, partition_name, put_digits};
use crate::scene::plan::Topic;
use crate::scene::subscriber::{Feed, Sink, Subscriber};
use crate::scene::wire::{self, Answer, Reading, Request, Writing};

/// A value's number, in hexadecimal digits.
const NUMBER_DIGITS: usize = 16;
/// Where answers that are no records come, to who reads.
const INBOX_SID: u64 = 0;

pub(super) struct Session {
    address: SocketAddr,
    nats: Nats,
}

impl Session {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { address, nats: Nats::connect(address)? })
    }
}

impl wire::Session for Session {
    fn ensure(&mut self, topic: &Topic) -> Result<(), Failure> {
        self.nats.ensure_streams(&topic.name, topic.partition_count)
    }

    fn publisher(
        &mut self,
        writing: &Writing<'_>,
        random: &mut Random,
    ) -> Result<(TcpStream, Box<dyn wire::Publisher>), Failure> {
        let publisher = Publisher::new(writing, random);
        let mut nats = Nats::connect(self.address)?;
        nats.say(format!("SUB {}.* 1\r\n", inbox(writing.origin)).as_bytes())?;
        nats.settle()?;
        Ok((nats.into_stream(), Box::new(publisher)))
    }

    fn consumer(&mut self, reading: Reading<'_>) -> Result<Box<dyn wire::Consumer>, Failure> {
        let Reading { topic, partitions, continuity, is_there_from_the_start, .. } = reading;
        let streams = partitions.all().map(|it| partition_name(&topic.name, it)).collect();
        let feed = StreamFeed { streams, has_all: is_there_from_the_start };
        let stream = Nats::connect(self.address)?.into_stream();
        let subscriber = Subscriber::new(stream, feed, partitions, continuity)
            .map_err(|error| Failure::io("prepare a connection", error))?;
        Ok(Box::new(subscriber))
    }

    fn ends(&mut self, _topic: &Topic) -> Result<Option<Vec<i64>>, Failure> {
        Ok(None)
    }
}

/// Of one connection of producers.
fn inbox(Origin { scene, producer }: Origin) -> String {
    format!("_INBOX.{scene:04x}{producer:04x}")
}

/// A request that is made once: a message for each value, in which numbers are stamped.
struct Publisher {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where in the bytes a value's changing parts are.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition_at: usize,
    number_at: usize,
    value_at: usize,
    has_nth: bool,
}

impl Publisher {
    fn new(writing: &Writing<'_>, random: &mut Random) -> Self {
        let Writing { topic, producers, origin } = *writing;
        let subject = partition_name(&topic.name, 0);
        let inbox = inbox(origin);
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for _ in 0..producers.record_count {
            let value_bytes = producers.value_bytes;
            bytes.extend(format!("PUB {subject}").bytes());
            let partition_at = bytes.len() - PARTITION_DIGITS;
            bytes.extend(format!(" {inbox}.{:0NUMBER_DIGITS$x}", 0).bytes());
            let number_at = bytes.len() - NUMBER_DIGITS;
            bytes.extend(format!(" {value_bytes}\r\n").bytes());
            let (value_at, has_nth) = (bytes.len(), HEAD_BYTES <= value_bytes);
            bytes.extend(payload::value(random, value_bytes, origin));
            bytes.extend(LINE_END);
            places.push(Place { partition_at, number_at, value_at, has_nth });
        }
        Self { bytes, places }
    }
}

impl wire::Publisher for Publisher {
    fn encode(&mut self, request: &Request) {
        let Request { number, partition, stamp } = *request;
        let count = u64::try_from(self.places.len()).expect("counts have at most 64 bits");
        let mut nth = stamp.first_nth;
        for (place, number) in self.places.iter().zip(number * count..) {
            let partition_end = place.partition_at + PARTITION_DIGITS;
            put_digits(&mut self.bytes[place.partition_at..partition_end], partition);
            put_number(&mut self.bytes[place.number_at..place.number_at + NUMBER_DIGITS], number);
            let value = &mut self.bytes[place.value_at..];
            value[..TIME_BYTES].copy_from_slice(&stamp.intended_ns.to_be_bytes());
            if place.has_nth {
                value[NTH_AT..HEAD_BYTES].copy_from_slice(&nth.to_be_bytes());
            }
            nth = nth.wrapping_add(1);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn decode(&mut self, received: &mut &[u8], answers: &mut Vec<Answer>) -> Result<(), Failure> {
        while let Some(said) = nats::take(received)? {
            match said {
                Said::Message(message) => answers.push(acknowledgement(&message)?),
                Said::Ping => answers.push(Answer::Wants(PONG)),
                Said::Pong | Said::Aside => {}
                Said::Error(why) => return Err(nats::refused(why)),
            }
        }
        Ok(())
    }
}

fn acknowledgement(message: &Message<'_>) -> Result<Answer, Failure> {
    let number = message.subject.rsplit(|byte| *byte == b'.').next().and_then(number_of);
    let why = "the server answers what was not asked";
    let number = number.ok_or_else(|| Failure::new(why))?;
    let error_code = match nats::status(message.headers) {
        Some(status) => status,
        // Every acknowledgement begins so; an error does not.
        None if message.payload.starts_with(b"{\"stream\":") => 0,
        None => nats::error_code(message.payload),
    };
    Ok(Answer::Value { number, error_code })
}

fn put_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::try_from(number % 16).expect("less than 16")];
        number /= 16;
    }
}

fn number_of(digits: &[u8]) -> Option<u64> {
    if digits.len() != NUMBER_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

/// A push consumer for each partition. The subscription's number is the partition's, from 1.
struct StreamFeed {
    streams: Vec<String>,
    has_all: bool,
}

impl Feed for StreamFeed {
    fn begin(&mut self) -> Result<Vec<u8>, Failure> {
        let inbox = nats::inbox();
        let mut said = format!("SUB {inbox}.api {INBOX_SID}\r\n");
        for (stream, sid) in self.streams.iter().zip(1..) {
            let deliver_to = format!("{inbox}.{sid}");
            let request = nats::consumer_request(stream, &deliver_to, self.has_all).to_string();
            let bytes = request.len();
            said += &format!(
                "SUB {deliver_to} {sid}\r\n\
                 PUB $JS.API.CONSUMER.CREATE.{stream} {inbox}.api {bytes}\r\n{request}\r\n"
            );
        }
        Ok(said.into_bytes())
    }

    fn decode(&mut self, received: &mut &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        while let Some(said) = nats::take(received)? {
            match said {
                Said::Message(message) => self.take(&message, sink)?,
                Said::Ping => sink.say(PONG),
                Said::Pong | Said::Aside => {}
                Said::Error(why) => return Err(nats::refused(why)),
            }
        }
        Ok(())
    }
}

impl StreamFeed {
    fn take(&self, message: &Message<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
        if !message.headers.is_empty() {
            return control(message, sink);
        }
        if message.sid == INBOX_SID {
            return match nats::error_code(message.payload) {
                0 => Ok(()),
                code => Err(Failure::new(format!("JetStream makes no consumer: error {code}"))),
            };
        }
        let nth = usize::try_from(message.sid - 1).unwrap_or(usize::MAX);
        if self.streams.len() <= nth {
            return Err(Failure::new("the server sends what was not asked for"));
        }
        sink.value(nth, message.payload);
        Ok(())
    }
}

/// The server asks how far one is, or says that it is there.
fn control(message: &Message<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    if nats::status(message.headers) != Some(100) {
        let why = String::from_utf8_lossy(message.headers);
        return Err(Failure::new(format!("the server ends a consumer: {}", why.trim())));
    }
    if !message.reply.is_empty() {
        pub_nothing(message.reply, sink);
    }
    let mut lines = message.headers.split(|byte| *byte == b'\n');
    let stalled = lines.find_map(|line| line.strip_prefix(b"Nats-Consumer-Stalled:"));
    if let Some(subject) = stalled {
        pub_nothing(subject.trim_ascii(), sink);
    }
    Ok(())
}

fn pub_nothing(subject: &[u8], sink: &mut Sink<'_>) {
    sink.say(b"PUB ");
    sink.say(subject);
    sink.say(b" 0\r\n\r\n");
}
