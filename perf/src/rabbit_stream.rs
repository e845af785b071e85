//! RabbitMQ's stream protocol: its frames, and one blocking connection for everything around a measure.
//!
//! ```text
//! frame    length u32 | key u16 | version u16 | ...
//! request  ... | correlation id u32 | ...
//! response the key with its highest bit | ... | correlation id u32 | code u16 | ...
//! publish  ... | publisher u8 | count i32 | (publishing id u64 | bytes)...
//! deliver  ... | subscription u8 | chunk
//! chunk    magic u8 | kind u8 | entries u16 | records u32 | time i64 | epoch u64 | offset u64 | crc u32
//!          | data bytes u32 | trailer bytes u32 | reserved u32 | (bytes)... | trailer
//! text     length i16 | bytes          bytes    length i32 | bytes
//! ```
//!
//! A record is an AMQP 1.0 message with a body of bytes and nothing else. Nothing here panics on what a
//! broker says, and taking a frame allocates nothing.

use std::net::{SocketAddr, TcpStream};

use crate::conversation::Conversation;
use crate::failure::Failure;
use crate::protocol::partition_name;
use crate::slice::{Slice, Truncated};

const PREFIX_BYTES: usize = 4;
const FRAME_BYTES_MAX: u32 = 64 << 20;
const VERSION: u16 = 1;
const RESPONSE: u16 = 0x8000;
const OK: u16 = 1;
const STREAM_EXISTS: u16 = 5;

const DECLARE_PUBLISHER: u16 = 1;
const PUBLISH: u16 = 2;
const PUBLISH_CONFIRM: u16 = 3;
const PUBLISH_ERROR: u16 = 4;
const SUBSCRIBE: u16 = 7;
const DELIVER: u16 = 8;
const CREDIT: u16 = 9;
const CREATE: u16 = 13;
const METADATA_UPDATE: u16 = 16;
const PEER_PROPERTIES: u16 = 17;
const SASL_HANDSHAKE: u16 = 18;
const SASL_AUTHENTICATE: u16 = 19;
const TUNE: u16 = 20;
const OPEN: u16 = 21;
const CLOSE: u16 = 22;

/// Where a subscription begins.
const FIRST: u16 = 1;
const NEXT: u16 = 3;
/// Chunks that the broker may send before it hears that they came.
const CREDITS: u16 = 10;

const CHUNK_MAGIC: u8 = 0x50;
const CHUNK_HEADER_BYTES: usize = 48;
/// Of an entry's length: it holds several records, packed. We write none.
const PACKED: u32 = 1 << 31;
/// A section of a body that is bytes, with a length of one byte or of four.
const SECTION: [u8; 3] = [0x00, 0x53, 0x75];
const SHORT: u8 = 0xa0;
const LONG: u8 = 0xb0;

/// What a broker says of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// So many publishing ids follow, of records that it has.
    Confirmed {
        ids: &'a [u8],
    },
    /// The same of records that it refuses; each id has a code behind it.
    Refused {
        ids: &'a [u8],
    },
    Deliver {
        subscription: u8,
        chunk: Chunk<'a>,
    },
    /// To a request.
    Response {
        key: u16,
        code: u16,
    },
    Tune(&'a [u8]),
    Aside,
}

/// Records that were stored together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    left: u16,
    data: &'a [u8],
}

/// Takes a frame off the front of what was received; `None` if it is not whole. What ends a connection
/// or a stream is a failure.
pub(crate) fn take<'a>(received: &mut &'a [u8]) -> Result<Option<Said<'a>>, Failure> {
    let Some((prefix, rest)) = received.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix);
    if FRAME_BYTES_MAX < length {
        return Err(senseless());
    }
    let length = usize::try_from(length).map_err(|_large| senseless())?;
    let Some((frame, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *received = rest;
    said(&mut Slice::new(frame)).map(Some)
}

fn said<'a>(rest: &mut Slice<'a>) -> Result<Said<'a>, Failure> {
    let (key, version) = (number(rest)?, number(rest)?);
    Ok(match key {
        PUBLISH_CONFIRM => Said::Confirmed { ids: listed(rest, 8)? },
        PUBLISH_ERROR => Said::Refused { ids: listed(rest, 8 + 2)? },
        DELIVER if version == VERSION => {
            let [subscription] = rest.array()?;
            Said::Deliver { subscription, chunk: Chunk::read(rest)? }
        }
        TUNE => Said::Tune(rest.rest()),
        CLOSE => {
            rest.i32()?;
            let code = number(rest)?;
            return Err(refused(&String::from_utf8_lossy(text(rest)?), code));
        }
        METADATA_UPDATE => {
            let code = number(rest)?;
            return Err(refused(&String::from_utf8_lossy(text(rest)?), code));
        }
        // It carries no correlation id.
        _ if key == RESPONSE | CREDIT => Said::Response { key: CREDIT, code: number(rest)? },
        _ if key & RESPONSE != 0 => {
            rest.i32()?;
            Said::Response { key: key & !RESPONSE, code: number(rest)? }
        }
        _ => Said::Aside,
    })
}

fn number(rest: &mut Slice<'_>) -> Result<u16, Truncated> {
    rest.i16().map(i16::cast_unsigned)
}

fn text<'a>(rest: &mut Slice<'a>) -> Result<&'a [u8], Truncated> {
    let length = usize::try_from(rest.i16()?).unwrap_or(0);
    rest.take(length)
}

/// A count of things of one size, and they.
fn listed<'a>(rest: &mut Slice<'a>, size: usize) -> Result<&'a [u8], Truncated> {
    rest.take(1)?; // The publisher; ids are those of the connection.
    let count = usize::try_from(rest.i32()?).map_err(|_negative| Truncated)?;
    rest.take(count.checked_mul(size).ok_or(Truncated)?)
}

fn senseless() -> Failure {
    Failure::new("what the broker says is not RabbitMQ's stream protocol")
}

fn refused(what: &str, code: u16) -> Failure {
    Failure::new(format!("the broker refuses: {what} (code {code})"))
}

impl<'a> Chunk<'a> {
    fn read(rest: &mut Slice<'a>) -> Result<Self, Failure> {
        let header = rest.take(CHUNK_HEADER_BYTES)?;
        let mut header = Slice::new(header);
        let ([magic], [_kind]) = (header.array()?, header.array()?);
        let left = number(&mut header)?;
        header.take(4 + 8 + 8 + 8)?; // Records, time, epoch, offset.
        let crc = header.i32()?.cast_unsigned();
        let data_bytes = usize::try_from(header.i32()?).map_err(|_large| senseless())?;
        let data = rest.take(data_bytes)?;
        if magic != CHUNK_MAGIC {
            return Err(senseless());
        }
        if crc32fast::hash(data) != crc {
            return Err(Failure::new("a chunk of a stream has a wrong checksum"));
        }
        Ok(Self { left, data })
    }

    /// The value of the next record.
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut rest = Slice::new(self.data);
        let length = rest.i32()?.cast_unsigned();
        if length & PACKED != 0 {
            return Err(Failure::new("a stream has packed records, which nobody here wrote"));
        }
        let length = usize::try_from(length).map_err(|_large| Truncated)?;
        let message = rest.take(length)?;
        self.data = rest.rest();
        value(message).map(Some)
    }
}

/// The body of a message.
fn value(message: &[u8]) -> Result<&[u8], Failure> {
    let mut rest = Slice::new(message);
    let (section, [form]) = (rest.array()?, rest.array()?);
    let length = match form {
        _ if section != SECTION => None,
        SHORT => rest.array().ok().map(|[length]| usize::from(length)),
        LONG => usize::try_from(rest.i32()?).ok(),
        _ => None,
    };
    let why = "a record of a stream is no message of bytes";
    let length = length.ok_or_else(|| Failure::new(why))?;
    Ok(rest.take(length)?)
}

/// What is said: a frame whose length is put in at the end.
#[derive(Debug)]
struct Frame(Vec<u8>);

impl Frame {
    fn new(key: u16) -> Self {
        let mut bytes = vec![0; PREFIX_BYTES];
        bytes.extend(key.to_be_bytes());
        bytes.extend(VERSION.to_be_bytes());
        Self(bytes)
    }

    /// The correlation id is always 0: one request waits at a time, or none looks at its answer.
    fn request(key: u16) -> Self {
        Self::new(key).bytes(&[0; 4])
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        let length = i16::try_from(text.len()).expect("names are short");
        self.bytes(&length.to_be_bytes()).bytes(text.as_bytes())
    }

    fn long(self, bytes: &[u8]) -> Self {
        let length = i32::try_from(bytes.len()).expect("texts are short");
        self.bytes(&length.to_be_bytes()).bytes(bytes)
    }

    fn end(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - PREFIX_BYTES).expect("frames have 32 bits");
        self.0[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// A request to publish values, and where its changing parts stand.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) bytes: Vec<u8>,
    pub(crate) publisher_at: usize,
    /// Of each value its publishing id, and its beginning.
    pub(crate) places: Vec<(usize, usize)>,
}

pub(crate) fn publish(values: &[Vec<u8>]) -> Published {
    let mut frame = Frame::new(PUBLISH);
    let publisher_at = frame.0.len();
    let count = i32::try_from(values.len()).expect("values are counted in 32 bits");
    frame = frame.bytes(&[0]).bytes(&count.to_be_bytes());
    let mut places = Vec::new();
    for value in values {
        let id_at = frame.0.len();
        let length = value.len();
        let head = match u8::try_from(length) {
            Ok(length) => [&SECTION[..], &[SHORT, length]].concat(),
            Err(_long) => {
                let length = u32::try_from(length).expect("values are short");
                [&SECTION[..], &[LONG], &length.to_be_bytes()].concat()
            }
        };
        frame = frame.bytes(&[0; 8]).long(&[&head[..], value].concat());
        places.push((id_at, frame.0.len() - length));
    }
    Published { bytes: frame.end(), publisher_at, places }
}

/// Asks for the records of a stream, under a number that each chunk of them will carry.
pub(crate) fn subscribe(subscription: u8, stream: &str, has_all: bool) -> Vec<u8> {
    let from = if has_all { FIRST } else { NEXT };
    let frame = Frame::request(SUBSCRIBE).bytes(&[subscription]).text(stream);
    let frame = frame.bytes(&from.to_be_bytes()).bytes(&CREDITS.to_be_bytes());
    frame.bytes(&[0; 4]).end() // No properties.
}

/// A chunk came: another one may.
pub(crate) fn credit(subscription: u8) -> Vec<u8> {
    Frame::new(CREDIT).bytes(&[subscription]).bytes(&1_u16.to_be_bytes()).end()
}

/// What a response says, if it is not that all is well.
pub(crate) fn check(key: u16, code: u16) -> Result<(), Failure> {
    if code == OK { Ok(()) } else { Err(refused(&format!("request {key}"), code)) }
}

pub(crate) struct RabbitStream {
    conversation: Conversation,
}

impl RabbitStream {
    /// As the user that every broker has for those who come over loopback.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let mut broker = Self { conversation: Conversation::connect(address)? };
        let properties = Frame::request(PEER_PROPERTIES).bytes(&1_i32.to_be_bytes());
        broker.ask(PEER_PROPERTIES, properties.text("product").text("perf"))?;
        broker.ask(SASL_HANDSHAKE, Frame::request(SASL_HANDSHAKE))?;
        let authenticate = Frame::request(SASL_AUTHENTICATE).text("PLAIN");
        broker.ask(SASL_AUTHENTICATE, authenticate.long(b"\x00guest\x00guest"))?;
        let frame_bytes = broker.conversation.hear(|received| match take(received)? {
            Some(Said::Tune(tune)) => Ok(Some(Slice::new(tune).i32()?)),
            Some(_) | None => Ok(None),
        })?;
        let tune = Frame::new(TUNE).bytes(&frame_bytes.to_be_bytes());
        broker.conversation.say(&tune.bytes(&[0; 4]).end())?; // No heartbeats.
        broker.ask(OPEN, Frame::request(OPEN).text("/"))?;
        Ok(broker)
    }

    /// A stream for each partition of a topic.
    pub(crate) fn ensure_streams(&mut self, topic: &str, count: i32) -> Result<(), Failure> {
        for partition in 0..usize::try_from(count).unwrap_or(0) {
            let name = partition_name(topic, partition);
            let code = self.call(CREATE, Frame::request(CREATE).text(&name).bytes(&[0; 4]))?;
            if code != STREAM_EXISTS {
                check(CREATE, code)?;
            }
        }
        Ok(())
    }

    /// From now on the number stands for a publisher to the stream.
    pub(crate) fn declare_publisher(&mut self, number: u8, stream: &str) -> Result<(), Failure> {
        let frame = Frame::request(DECLARE_PUBLISHER).bytes(&[number]);
        self.ask(DECLARE_PUBLISHER, frame.text("").text(stream))
    }

    /// The connection, for other things.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.conversation.into_stream()
    }

    fn ask(&mut self, key: u16, frame: Frame) -> Result<(), Failure> {
        let code = self.call(key, frame)?;
        check(key, code)
    }

    /// The code of the answer.
    fn call(&mut self, key: u16, frame: Frame) -> Result<u16, Failure> {
        self.conversation.say(&frame.end())?;
        self.conversation.hear(|received| match take(received)? {
            Some(Said::Response { key: answered, code }) if answered == key => Ok(Some(code)),
            Some(_) | None => Ok(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk as the broker sends it, with these entries.
    fn deliver(entries: &[&[u8]]) -> Vec<u8> {
        let mut data = Vec::new();
        for entry in entries {
            data.extend(u32::try_from(entry.len()).unwrap().to_be_bytes());
            data.extend(*entry);
        }
        deliver_data(u16::try_from(entries.len()).unwrap(), &data, crc32fast::hash(&data))
    }

    fn deliver_data(entry_count: u16, data: &[u8], crc: u32) -> Vec<u8> {
        let mut frame = Frame::new(DELIVER).bytes(&[3, CHUNK_MAGIC, 0]);
        frame = frame.bytes(&entry_count.to_be_bytes()).bytes(&[0; 4 + 8 + 8 + 8]);
        frame = frame.bytes(&crc.to_be_bytes());
        frame = frame.bytes(&u32::try_from(data.len()).unwrap().to_be_bytes());
        frame.bytes(&[0; 8]).bytes(data).end()
    }

    fn values(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut rest = bytes;
        let Some(Said::Deliver { subscription: 3, mut chunk }) = take(&mut rest)? else {
            panic!("a chunk")
        };
        let mut values = Vec::new();
        while let Some(value) = chunk.next()? {
            values.push(value.to_vec());
        }
        Ok(values)
    }

    #[track_caller]
    fn check_failure(bytes: &[u8], want: &str) {
        let mut rest = bytes;
        let why = match take(&mut rest) {
            Err(failure) => failure.to_string(),
            Ok(_) => values(bytes).unwrap_err().to_string(),
        };
        assert!(why.contains(want), "{why}");
    }

    #[test]
    fn a_chunk_gives_the_values_that_were_published() {
        for length in [0, 16, 255, 256, 70_000] {
            let value = vec![7; length];
            let published = publish(&[value.clone(), b"other".to_vec()]);
            let (id_at, value_at) = published.places[0];
            let (next_at, _) = published.places[1];
            assert_eq!(&published.bytes[value_at..value_at + length], value.as_slice());
            let first = &published.bytes[id_at + 8 + 4..next_at];
            let bytes = deliver(&[first, b"\x00\x53\x75\xa0\x02hi"]);
            assert_eq!(values(&bytes).unwrap(), [value, b"hi".to_vec()]);
            for end in [0, 3, 7, bytes.len() - 1] {
                let mut rest = &bytes[..end];
                assert_eq!((take(&mut rest).unwrap(), rest.len()), (None, end));
            }
        }
    }

    #[test]
    fn a_request_to_publish_is_laid_out_as_it_is_drawn() {
        let published = publish(&[b"hi".to_vec()]);
        let want = b"\x00\x00\x00\x1c\x00\x02\x00\x01\x00\x00\x00\x00\x01\
            \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x53\x75\xa0\x02hi";
        assert_eq!(published.bytes, want);
        assert_eq!((published.publisher_at, published.places), (8, vec![(13, 30)]));
    }

    #[test]
    fn ids_are_listed_with_and_without_codes() {
        let ids = [1_u64.to_be_bytes(), 2_u64.to_be_bytes()].concat();
        let confirm = Frame::new(PUBLISH_CONFIRM).bytes(&[0, 0, 0, 0, 2]).bytes(&ids).end();
        assert_eq!(take(&mut confirm.as_slice()).unwrap(), Some(Said::Confirmed { ids: &ids }));
        let refused = [&ids[..8], &[0, 18]].concat();
        let bytes = Frame::new(PUBLISH_ERROR).bytes(&[0, 0, 0, 0, 1]).bytes(&refused).end();
        assert_eq!(take(&mut bytes.as_slice()).unwrap(), Some(Said::Refused { ids: &refused }));
        let cut = Frame::new(PUBLISH_CONFIRM).bytes(&[0, 0, 0, 0, 3]).bytes(&ids).end();
        check_failure(&cut, "ends before");
        let many = Frame::new(PUBLISH_CONFIRM).bytes(&[0, 255, 255, 255, 255]).end();
        check_failure(&many, "ends before");
    }

    #[test]
    fn responses_tell_a_code_and_what_ends_things_is_a_failure() {
        let response = Frame::new(RESPONSE | CREATE).bytes(&[0, 0, 0, 0, 0, 5]).end();
        let want = Said::Response { key: CREATE, code: STREAM_EXISTS };
        assert_eq!(take(&mut response.as_slice()).unwrap(), Some(want));
        let credit = Frame::new(RESPONSE | CREDIT).bytes(&[0, 4, 7]).end();
        let want = Said::Response { key: CREDIT, code: 4 };
        assert_eq!(take(&mut credit.as_slice()).unwrap(), Some(want));
        assert!(check(CREATE, OK).is_ok() && check(CREATE, 4).is_err());
        check_failure(&Frame::request(CLOSE).bytes(&[0, 1]).text("bye").end(), "bye (code 1)");
        check_failure(&Frame::new(METADATA_UPDATE).bytes(&[0, 6]).text("s").end(), "s (code 6)");
    }

    #[test]
    fn chunks_of_nonsense_are_failures() {
        let whole = deliver(&[b"\x00\x53\x75\xa0\x02hi"]);
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        check_failure(&flipped, "wrong checksum");
        let mut other = whole;
        other[9] = 0x51;
        check_failure(&other, "not RabbitMQ's");
        check_failure(&deliver(&[b"hi"]), "ends before");
        check_failure(&deliver(&[b"\x00\x53\x77\xa0\x02hi"]), "no message of bytes");
        check_failure(&deliver(&[b"\x00\x53\x75\xa0\x03hi"]), "ends before");
        let packed = PACKED.to_be_bytes();
        check_failure(&deliver_data(1, &packed, crc32fast::hash(&packed)), "packed");
        check_failure(&deliver_data(1, &[], crc32fast::hash(&[])), "ends before");
        check_failure(&[255; 8], "not RabbitMQ's");
    }
}
