//! AMQP 0-9-1: its frames, and one blocking connection for everything around a measure.
//!
//! ```text
//! frame    kind u8 | channel u16 | length u32 | payload | 0xce
//! method   class u16 | method u16 | arguments          (kind 1)
//! header   class u16 | weight u16 | body bytes u64 | flags u16 | properties          (kind 2)
//! body     bytes                                       (kind 3)
//! ```
//!
//! One channel. Nothing here panics on what a broker says.

use std::net::{SocketAddr, TcpStream};

use crate::conversation::Conversation;
use crate::failure::Failure;
use crate::protocol::partition_name;
use crate::slice::{Slice, Truncated};

const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const HEAD_BYTES: usize = 7;
const FRAME_END: u8 = 0xce;
/// What the broker proposes, of a frame with its head and end.
const FRAME_BYTES_MAX: u32 = 131_072;
pub(crate) const BODY_BYTES_MAX: usize = 131_072 - HEAD_BYTES - 1;
const CHANNEL: u16 = 1;
const BASIC: u16 = 60;
/// Records that a reader may have without having said so.
const PREFETCH: u16 = 1_000;
/// Has a delivery mode, and no other property.
const FLAG_DELIVERY_MODE: u16 = 0x1000;
const PERSISTENT: u8 = 2;
/// Of Publish: what no queue takes comes back.
const MANDATORY: u8 = 1;
const DURABLE: u8 = 2;
const NO_WAIT: u8 = 8;

/// Class and method.
type MethodId = (u16, u16);

const CONNECTION_START: MethodId = (10, 10);
const CONNECTION_START_OK: MethodId = (10, 11);
const CONNECTION_TUNE: MethodId = (10, 30);
const CONNECTION_TUNE_OK: MethodId = (10, 31);
const CONNECTION_OPEN: MethodId = (10, 40);
const CONNECTION_OPEN_OK: MethodId = (10, 41);
const CONNECTION_CLOSE: MethodId = (10, 50);
const CHANNEL_OPEN: MethodId = (20, 10);
const CHANNEL_OPEN_OK: MethodId = (20, 11);
const CHANNEL_CLOSE: MethodId = (20, 40);
const QUEUE_DECLARE: MethodId = (50, 10);
const QUEUE_DECLARE_OK: MethodId = (50, 11);
const BASIC_QOS: MethodId = (60, 10);
const BASIC_QOS_OK: MethodId = (60, 11);
const BASIC_CONSUME: MethodId = (60, 20);
const BASIC_CANCEL: MethodId = (60, 30);
const BASIC_PUBLISH: MethodId = (60, 40);
const BASIC_RETURN: MethodId = (60, 50);
const BASIC_DELIVER: MethodId = (60, 60);
const BASIC_ACK: MethodId = (60, 80);
const BASIC_NACK: MethodId = (60, 120);
const CONFIRM_SELECT: MethodId = (85, 10);
const CONFIRM_SELECT_OK: MethodId = (85, 11);

/// What a broker says of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// It has the record of this number, from 1; or all up to it.
    Acknowledged {
        tag: u64,
        is_multiple: bool,
    },
    Refused {
        tag: u64,
        is_multiple: bool,
    },
    /// A record comes to the consumer of this name; its header and body follow.
    Deliver {
        consumer: &'a [u8],
        tag: u64,
    },
    Header {
        body_bytes: u64,
    },
    Body(&'a [u8]),
    /// Something in answer to what was asked.
    Other(u16, u16, &'a [u8]),
    Aside,
}

/// Takes a frame off the front of what was received; `None` if it is not whole. What ends a connection,
/// a channel or a consumer, or gives a record back, is a failure.
pub(crate) fn take<'a>(received: &mut &'a [u8]) -> Result<Option<Said<'a>>, Failure> {
    let Some((kind, payload)) = frame(received)? else { return Ok(None) };
    said(kind, payload).map(Some)
}

fn frame<'a>(received: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Failure> {
    let Some((head, rest)) = received.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [kind, _, _, length @ ..] = *head;
    // It greets who speaks another version in these letters.
    let is_known = matches!(kind, METHOD | HEADER | BODY | HEARTBEAT);
    let length = u32::from_be_bytes(length);
    if !is_known || FRAME_BYTES_MAX < length {
        return Err(senseless());
    }
    let length = usize::try_from(length).map_err(|_large| senseless())?;
    let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let Some((end, rest)) = rest.split_first() else { return Ok(None) };
    if *end != FRAME_END {
        return Err(senseless());
    }
    *received = rest;
    Ok(Some((kind, payload)))
}

fn said(kind: u8, payload: &[u8]) -> Result<Said<'_>, Failure> {
    let mut rest = Slice::new(payload);
    match kind {
        METHOD => method(&mut rest),
        HEADER => {
            rest.take(4)?; // Class and weight.
            Ok(Said::Header { body_bytes: rest.i64()?.cast_unsigned() })
        }
        BODY => Ok(Said::Body(payload)),
        _ => Ok(Said::Aside),
    }
}

fn method<'a>(rest: &mut Slice<'a>) -> Result<Said<'a>, Failure> {
    let (class, method) = (rest.i16()?.cast_unsigned(), rest.i16()?.cast_unsigned());
    Ok(match (class, method) {
        BASIC_ACK | BASIC_NACK => {
            let (tag, [bits]) = (rest.i64()?.cast_unsigned(), rest.array()?);
            let is_multiple = bits & 1 != 0;
            if (class, method) == BASIC_ACK {
                Said::Acknowledged { tag, is_multiple }
            } else {
                Said::Refused { tag, is_multiple }
            }
        }
        BASIC_DELIVER => {
            let consumer = short_text(rest)?;
            Said::Deliver { consumer, tag: rest.i64()?.cast_unsigned() }
        }
        CONNECTION_CLOSE | CHANNEL_CLOSE | BASIC_RETURN => {
            let (code, text) = (rest.i16()?, short_text(rest)?);
            let text = String::from_utf8_lossy(text);
            return Err(Failure::new(format!("the broker refuses: {text} ({code})")));
        }
        BASIC_CANCEL => return Err(Failure::new("the broker ends a consumer: look at its log")),
        _ => Said::Other(class, method, rest.rest()),
    })
}

fn short_text<'a>(rest: &mut Slice<'a>) -> Result<&'a [u8], Truncated> {
    let [length] = rest.array()?;
    rest.take(usize::from(length))
}

fn senseless() -> Failure {
    Failure::new("what the broker says is no AMQP 0-9-1")
}

/// What is said, as bytes.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn put(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("frames are short");
        self.0.push(kind);
        self.0.extend(channel.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(payload);
        self.0.push(FRAME_END);
    }

    fn put_method(&mut self, channel: u16, (class, method): MethodId, arguments: &[u8]) {
        let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.put(METHOD, channel, &[&ids, arguments].concat());
    }
}

fn put_short(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).expect("names are short"));
    bytes.extend(text.bytes());
}

fn put_long(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(u32::try_from(text.len()).expect("texts are short").to_be_bytes());
    bytes.extend(text);
}

/// A persistent record for a queue, as a client sends it: three frames, or more if the value is large.
/// With where its parts end and begin.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) bytes: Vec<u8>,
    /// The end of the queue's name.
    pub(crate) name_end: usize,
    /// Where the value begins; its first bytes are in one frame.
    pub(crate) value_at: usize,
}

pub(crate) fn publish(queue: &str, value: &[u8]) -> Published {
    let mut frames = Frames::default();
    let mut arguments = vec![0, 0];
    put_short(&mut arguments, ""); // The exchange that leads to the queue of a name.
    put_short(&mut arguments, queue);
    arguments.push(MANDATORY);
    frames.put_method(CHANNEL, BASIC_PUBLISH, &arguments);
    let name_end = frames.0.len() - 2;
    let body_bytes = u64::try_from(value.len()).expect("sizes have at most 64 bits");
    let mut header = [BASIC.to_be_bytes(), [0; 2]].concat();
    header.extend(body_bytes.to_be_bytes());
    header.extend(FLAG_DELIVERY_MODE.to_be_bytes());
    header.push(PERSISTENT);
    frames.put(HEADER, CHANNEL, &header);
    let value_at = frames.0.len() + HEAD_BYTES;
    for piece in value.chunks(BODY_BYTES_MAX) {
        frames.put(BODY, CHANNEL, piece);
    }
    Published { bytes: frames.0, name_end, value_at }
}

/// Asks for the records of a queue, under a name that each of them will carry.
pub(crate) fn consume(queue: &str, consumer: &str) -> Vec<u8> {
    let mut arguments = vec![0, 0];
    put_short(&mut arguments, queue);
    put_short(&mut arguments, consumer);
    arguments.push(NO_WAIT);
    put_long(&mut arguments, &[]);
    let mut frames = Frames::default();
    frames.put_method(CHANNEL, BASIC_CONSUME, &arguments);
    frames.0
}

/// All records up to this one have been taken.
pub(crate) fn taken(tag: u64) -> Vec<u8> {
    let mut frames = Frames::default();
    frames.put_method(CHANNEL, BASIC_ACK, &[&tag.to_be_bytes()[..], &[1]].concat());
    frames.0
}

pub(crate) struct Amqp {
    conversation: Conversation,
}

impl Amqp {
    /// As the user that every broker has for those who come over loopback.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let mut amqp = Self { conversation: Conversation::connect(address)? };
        amqp.conversation.say(GREETING)?;
        amqp.until(CONNECTION_START)?;
        let mut arguments = Vec::new();
        put_long(&mut arguments, &capabilities());
        put_short(&mut arguments, "PLAIN");
        put_long(&mut arguments, b"\x00guest\x00guest");
        put_short(&mut arguments, "en_US");
        amqp.say(0, CONNECTION_START_OK, &arguments)?;
        let proposed = amqp.until(CONNECTION_TUNE)?;
        let mut rest = Slice::new(&proposed);
        let (channels, frame_bytes) = (rest.i16()?, rest.i32()?.cast_unsigned());
        if frame_bytes != 0 && frame_bytes < FRAME_BYTES_MAX {
            let why = format!("the broker takes frames of {frame_bytes} bytes only");
            return Err(Failure::new(why));
        }
        let mut arguments = channels.to_be_bytes().to_vec();
        arguments.extend(FRAME_BYTES_MAX.to_be_bytes());
        arguments.extend([0; 2]); // No heartbeats.
        amqp.say(0, CONNECTION_TUNE_OK, &arguments)?;
        let mut arguments = Vec::new();
        put_short(&mut arguments, "/");
        arguments.extend([0; 2]);
        amqp.ask((0, CONNECTION_OPEN), &arguments, CONNECTION_OPEN_OK)?;
        amqp.ask((CHANNEL, CHANNEL_OPEN), &[0], CHANNEL_OPEN_OK)?;
        Ok(amqp)
    }

    /// A quorum queue for each partition of a topic.
    pub(crate) fn ensure_queues(&mut self, topic: &str, count: i32) -> Result<(), Failure> {
        let mut options = Vec::new();
        put_short(&mut options, "x-queue-type");
        options.push(b'S');
        put_long(&mut options, b"quorum");
        for partition in 0..usize::try_from(count).unwrap_or(0) {
            let mut arguments = vec![0, 0];
            put_short(&mut arguments, &partition_name(topic, partition));
            arguments.push(DURABLE);
            put_long(&mut arguments, &options);
            self.ask((CHANNEL, QUEUE_DECLARE), &arguments, QUEUE_DECLARE_OK)?;
        }
        Ok(())
    }

    /// From now on the broker says of each record that it has it.
    pub(crate) fn confirm(&mut self) -> Result<(), Failure> {
        self.ask((CHANNEL, CONFIRM_SELECT), &[0], CONFIRM_SELECT_OK).map(|_| ())
    }

    /// From now on the broker waits for who has not said what it took.
    pub(crate) fn prefetch(&mut self) -> Result<(), Failure> {
        let arguments = [&[0; 4][..], &PREFETCH.to_be_bytes(), &[0]].concat();
        self.ask((CHANNEL, BASIC_QOS), &arguments, BASIC_QOS_OK).map(|_| ())
    }

    /// The connection, for other things.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.conversation.into_stream()
    }

    fn say(&mut self, channel: u16, id: MethodId, arguments: &[u8]) -> Result<(), Failure> {
        let mut frames = Frames::default();
        frames.put_method(channel, id, arguments);
        self.conversation.say(&frames.0)
    }

    fn ask(
        &mut self,
        (channel, id): (u16, MethodId),
        arguments: &[u8],
        answer: MethodId,
    ) -> Result<Vec<u8>, Failure> {
        self.say(channel, id, arguments)?;
        self.until(answer)
    }

    /// The arguments of the method that is waited for.
    fn until(&mut self, id: MethodId) -> Result<Vec<u8>, Failure> {
        self.conversation.hear(|received| {
            while let Some(said) = take(received)? {
                if let Said::Other(class, method, arguments) = said
                    && (class, method) == id
                {
                    return Ok(Some(arguments.to_vec()));
                }
            }
            Ok(None)
        })
    }
}

/// What a client can do.
fn capabilities() -> Vec<u8> {
    let mut capabilities = Vec::new();
    for name in ["publisher_confirms", "basic.nack", "consumer_cancel_notify"] {
        put_short(&mut capabilities, name);
        capabilities.extend([b't', 1]);
    }
    let mut properties = Vec::new();
    put_short(&mut properties, "capabilities");
    properties.push(b'F');
    put_long(&mut properties, &capabilities);
    put_short(&mut properties, "product");
    properties.push(b'S');
    put_long(&mut properties, b"perf");
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method_frame(id: MethodId, arguments: &[u8]) -> Vec<u8> {
        let mut frames = Frames::default();
        frames.put_method(CHANNEL, id, arguments);
        frames.0
    }

    #[track_caller]
    fn check(bytes: &[u8], want: Said<'_>) {
        let mut rest = bytes;
        assert_eq!(take(&mut rest).unwrap(), Some(want));
        assert!(rest.is_empty());
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            assert_eq!(take(&mut rest).unwrap(), None, "{end}");
            assert_eq!(rest.len(), end);
        }
    }

    #[track_caller]
    fn check_failure(bytes: &[u8], want: &str) {
        let mut rest = bytes;
        let why = take(&mut rest).unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }

    #[test]
    fn acknowledgements_are_of_one_or_of_all_before() {
        let bytes =
            b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x07\x01\xce";
        check(bytes, Said::Acknowledged { tag: 7, is_multiple: true });
        let nack = method_frame(BASIC_NACK, &[0, 0, 0, 0, 0, 0, 0, 9, 0]);
        check(&nack, Said::Refused { tag: 9, is_multiple: false });
        assert_eq!(taken(7), bytes);
    }

    #[test]
    fn a_record_is_a_method_a_header_and_bodies() {
        let mut arguments = b"\x023x".to_vec();
        arguments.extend(5_u64.to_be_bytes());
        arguments.extend(b"\x00\x00\x01q");
        check(&method_frame(BASIC_DELIVER, &arguments), Said::Deliver { consumer: b"3x", tag: 5 });

        let published = publish("queue", b"value");
        let mut rest = published.bytes.as_slice();
        let Some(Said::Other(60, 40, arguments)) = take(&mut rest).unwrap() else { panic!() };
        assert_eq!(arguments, b"\x00\x00\x00\x05queue\x01");
        assert_eq!(take(&mut rest).unwrap(), Some(Said::Header { body_bytes: 5 }));
        assert_eq!(take(&mut rest).unwrap(), Some(Said::Body(b"value")));
        assert!(rest.is_empty());
        assert_eq!(&published.bytes[published.name_end - 5..published.name_end], b"queue");
        assert_eq!(&published.bytes[published.value_at..][..5], b"value");
    }

    #[test]
    fn a_value_larger_than_a_frame_has_several_bodies() {
        let value = vec![7; BODY_BYTES_MAX + 1];
        let published = publish("queue", &value);
        let mut rest = published.bytes.as_slice();
        let mut bodies = Vec::new();
        while let Some(said) = take(&mut rest).unwrap() {
            if let Said::Body(body) = said {
                bodies.push(body.len());
            }
        }
        assert_eq!((bodies, rest.len()), (vec![BODY_BYTES_MAX, 1], 0));
    }

    #[test]
    fn what_ends_things_is_told_in_the_brokers_words() {
        let close = method_frame(CHANNEL_CLOSE, b"\x01\x94\x09NOT_FOUND\x00\x00\x00\x00");
        check_failure(&close, "NOT_FOUND (404)");
        check_failure(&method_frame(BASIC_RETURN, b"\x01\x38\x08NO_ROUTE"), "NO_ROUTE (312)");
        check_failure(&method_frame(BASIC_CANCEL, b"\x010\x00"), "ends a consumer");
    }

    #[test]
    fn what_no_broker_says_is_a_failure() {
        check_failure(b"AMQP\x00\x00\x09\x01", "no AMQP");
        check_failure(b"\x03\x00\x01\x00\x00\x00\x01x\xcd", "no AMQP");
        check_failure(b"\x03\x00\x01\xff\xff\xff\xff", "no AMQP");
        check_failure(&method_frame(BASIC_ACK, &[0, 0]), "ends before");
        check_failure(&method_frame(BASIC_DELIVER, b"\x09a"), "ends before");
        check_failure(b"\x01\x00\x01\x00\x00\x00\x01\x00\xce", "ends before");
    }
}
