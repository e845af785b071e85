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
        Ok(Box::new(Subscriber::new(stream, feed, partitions, continuity)?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::testing::{bear, bear_feed, check_feed, request, writing};
    use crate::scene::wire::Publisher as _;

    fn published(number: u64) -> (Publisher, Vec<u8>) {
        let (topic, producers) = writing(2, 16);
        let origin = Origin { scene: 1, producer: 2 };
        let writing = Writing { topic: &topic, producers: &producers, origin };
        let mut publisher = Publisher::new(&writing, &mut Random::from_seed(1));
        publisher.encode(&request(number, 12));
        let bytes = publisher.bytes().to_vec();
        (publisher, bytes)
    }

    #[test]
    fn each_value_is_a_message_to_its_partition_with_its_number_in_the_inbox() {
        let (_, bytes) = published(0x100);
        let mut want = Vec::new();
        for (number, nth) in [("0000000000000200", 5_u32), ("0000000000000201", 6)] {
            want.extend(format!("PUB topic-00012 _INBOX.00010002.{number} 16\r\n").bytes());
            want.extend(7_u64.to_be_bytes());
            want.extend([0, 1, 0, 2]);
            want.extend(nth.to_be_bytes());
            want.extend(LINE_END);
        }
        assert_eq!(bytes, want);
    }

    #[track_caller]
    fn check(bytes: &[u8], want: &[Answer]) {
        let (mut publisher, _) = published(0);
        let (mut rest, mut answers) = (bytes, Vec::new());
        publisher.decode(&mut rest, &mut answers).unwrap();
        assert_eq!((answers.as_slice(), rest.len()), (want, 0));
    }

    #[test]
    fn acknowledgements_carry_the_number_back_and_errors_their_code() {
        let bytes =
            b"PING\r\nMSG _INBOX.a.00000000000000ff 1 26\r\n{\"stream\":\"a\", \"seq\":1234}\r\n";
        let acknowledged = Answer::Value { number: 255, error_code: 0 };
        check(bytes, &[Answer::Wants(PONG), acknowledged]);
        let bytes = b"MSG _INBOX.a.0000000000000001 1 28\r\n{\"error\":{\"err_code\":10077}}\r\n";
        check(bytes, &[Answer::Value { number: 1, error_code: 10_077 }]);
        let bytes = b"HMSG _INBOX.a.0000000000000001 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        check(bytes, &[Answer::Value { number: 1, error_code: 503 }]);
    }

    #[test]
    fn what_has_no_number_and_what_is_refused_are_failures() {
        for bytes in [
            &b"MSG _INBOX.a.1 1 2\r\n{}\r\n"[..],
            b"MSG _INBOX.a.000000000000000x 1 2\r\n{}\r\n",
            b"-ERR 'Maximum Payload Violation'\r\n",
        ] {
            let (mut publisher, _) = published(0);
            let mut rest = bytes;
            assert!(publisher.decode(&mut rest, &mut Vec::new()).is_err());
        }
    }

    fn feed() -> StreamFeed {
        StreamFeed { streams: vec!["a-00000".to_owned(), "a-00002".to_owned()], has_all: true }
    }

    fn message(sid: u64, value: &[u8]) -> Vec<u8> {
        let ack = "$JS.ACK.a.b.1.1.1.1.0";
        let head = format!("MSG in.{sid} {sid} {ack} {}\r\n", value.len());
        [head.as_bytes(), value, LINE_END].concat()
    }

    #[test]
    fn records_of_each_stream_are_delivered_and_flow_control_is_answered() {
        let value = 7_u64.to_be_bytes();
        let control = b"HMSG in.1 1 fc.x 36 36\r\nNATS/1.0 100 FlowControl Request\r\n\r\n\r\n";
        let stalled =
            b"HMSG in.1 1 68 68\r\nNATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: fc.y.0123456\r\n\r\n\r\n";
        let created = b"MSG in.api 0 2\r\n{}\r\n";
        let bytes =
            [&created[..], &message(1, &value), control, &message(2, &value), stalled].concat();
        let said = b"PUB fc.x 0\r\n\r\nPUB fc.y.0123456 0\r\n\r\n";
        check_feed(&mut feed(), &bytes, Ok((2, said)));
    }

    #[test]
    fn no_wrong_bit_panics() {
        let control = b"HMSG in.1 1 fc.x 36 36\r\nNATS/1.0 100 FlowControl Request\r\n\r\n\r\n";
        bear_feed(feed, &[&message(1, b"12345678")[..], control, b"PING\r\n"].concat());
        let acknowledged =
            b"MSG _INBOX.a.0000000000000001 1 23\r\n{\"stream\":\"a\", \"seq\":7}\r\n";
        bear(acknowledged, |rest| published(0).0.decode(rest, &mut Vec::new()));
    }

    #[test]
    fn a_consumer_that_is_not_made_or_ends_is_a_failure() {
        let refused = b"MSG in.api 0 28\r\n{\"error\":{\"err_code\":10059}}\r\n";
        check_feed(&mut feed(), refused, Err("error 10059"));
        let ended = b"HMSG in.1 1 33 33\r\nNATS/1.0 409 Consumer Deleted\r\n\r\n\r\n";
        check_feed(&mut feed(), ended, Err("409 Consumer Deleted"));
        check_feed(&mut feed(), &message(3, b"12345678"), Err("not asked for"));
    }

    #[test]
    fn who_reads_asks_for_a_consumer_of_each_stream() {
        let said = String::from_utf8(feed().begin().unwrap()).unwrap();
        for part in ["CREATE.a-00000 ", "CREATE.a-00002 ", ".1 1\r\n", ".2 2\r\n", "\"all\""] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}
