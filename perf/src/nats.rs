//! NATS: its text protocol, and one blocking connection for everything around a measure.
//!
//! ```text
//! us     CONNECT {json} | PING | PONG | SUB subject sid | PUB subject [reply] bytes CRLF payload
//! them   INFO {json} | PING | PONG | +OK | -ERR 'why'
//!        MSG subject sid [reply] bytes CRLF payload
//!        HMSG subject sid [reply] header-bytes bytes CRLF headers payload        (each with a CRLF)
//! ```
//!
//! Nothing here panics on what a server says, and taking a message allocates nothing.

use std::net::{SocketAddr, TcpStream};
use std::process;
use std::str;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Moment;
use crate::conversation::Conversation;
use crate::failure::Failure;
use crate::protocol::partition_name;

/// Of a line; the longest says what the server is.
const LINE_BYTES_MAX: usize = 64 << 10;
const PAYLOAD_BYTES_MAX: usize = 64 << 20;
pub(crate) const LINE_END: &[u8] = b"\r\n";
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Message(Message<'a>),
    Ping,
    Pong,
    Error(&'a [u8]),
    /// What it is, or that all is well.
    Aside,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a [u8],
    /// The number of the subscription.
    pub(crate) sid: u64,
    /// Empty if none is wanted.
    pub(crate) reply: &'a [u8],
    /// With their first line; empty without any.
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// The bytes are nothing that a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Senseless;

impl From<Senseless> for Failure {
    fn from(_senseless: Senseless) -> Self {
        Self::new("what the server says is no NATS")
    }
}

/// Takes one thing off the front of what was received; `None` if it is not whole.
pub(crate) fn take<'a>(received: &mut &'a [u8]) -> Result<Option<Said<'a>>, Senseless> {
    let Some(line_bytes) = received.iter().position(|byte| *byte == b'\n') else {
        return if received.len() < LINE_BYTES_MAX { Ok(None) } else { Err(Senseless) };
    };
    let (line, rest) = received.split_at_checked(line_bytes + 1).ok_or(Senseless)?;
    let line = line.strip_suffix(LINE_END).ok_or(Senseless)?;
    let (verb, arguments) = match line.iter().position(|byte| *byte == b' ') {
        Some(at) => line.split_at_checked(at).ok_or(Senseless)?,
        None => (line, &line[..0]),
    };
    let said = match verb {
        b"MSG" | b"HMSG" => return message(verb == b"HMSG", arguments, rest, received),
        b"PING" => Said::Ping,
        b"PONG" => Said::Pong,
        b"-ERR" => Said::Error(arguments.trim_ascii()),
        b"INFO" | b"+OK" => Said::Aside,
        _ => return Err(Senseless),
    };
    *received = rest;
    Ok(Some(said))
}

/// The arguments of its line, and then what stands behind the line.
fn message<'a>(
    has_headers: bool,
    arguments: &'a [u8],
    body: &'a [u8],
    received: &mut &'a [u8],
) -> Result<Option<Said<'a>>, Senseless> {
    let mut words = arguments.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut found = [&arguments[..0]; 5];
    let mut count = 0;
    for word in words.by_ref().take(found.len()) {
        found[count] = word;
        count += 1;
    }
    let number_count = if has_headers { 2 } else { 1 };
    let with_reply = 2 + 1 + number_count;
    if words.next().is_some() || (count != with_reply && count != with_reply - 1) {
        return Err(Senseless);
    }
    let [subject, sid, ..] = found;
    let reply = if count == with_reply { found[2] } else { &arguments[..0] };
    let total_bytes = size(found[count - 1])?;
    let header_bytes = if has_headers { size(found[count - 2])? } else { 0 };
    let Some((whole, rest)) = body.split_at_checked(total_bytes + LINE_END.len()) else {
        return Ok(None);
    };
    let whole = whole.strip_suffix(LINE_END).ok_or(Senseless)?;
    let (headers, payload) = whole.split_at_checked(header_bytes).ok_or(Senseless)?;
    *received = rest;
    let sid = u64::try_from(number(sid)?).map_err(|_large| Senseless)?;
    Ok(Some(Said::Message(Message { subject, sid, reply, headers, payload })))
}

fn size(word: &[u8]) -> Result<usize, Senseless> {
    number(word).and_then(|it| if it <= PAYLOAD_BYTES_MAX { Ok(it) } else { Err(Senseless) })
}

fn number(word: &[u8]) -> Result<usize, Senseless> {
    let text = str::from_utf8(word).map_err(|_other| Senseless)?;
    text.parse().map_err(|_letters| Senseless)
}

/// JetStream's answer, as far as it says what went wrong.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

/// The code of the error that an answer of JetStream tells; 0 if it tells none.
pub(crate) fn error_code(payload: &[u8]) -> i16 {
    let answer = serde_json::from_slice::<Answer>(payload);
    let code = answer.map(|it| it.error.map_or(0, |error| error.err_code));
    code.map_or(-1, |code| i16::try_from(code).unwrap_or(i16::MAX))
}

/// The status of a message that has headers instead of a payload.
pub(crate) fn status(headers: &[u8]) -> Option<i16> {
    let rest = headers.strip_prefix(b"NATS/1.0 ")?;
    str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// What asks JetStream to send the records of a partition's stream to a subject. Flow control is what
/// keeps it from sending more than is taken.
pub(crate) fn consumer_request(stream: &str, deliver_to: &str, has_all: bool) -> Value {
    let config = json!({
        "deliver_subject": deliver_to,
        "deliver_policy": if has_all { "all" } else { "new" },
        "ack_policy": "none",
        "replay_policy": "instant",
        "flow_control": true,
        "idle_heartbeat": 5_000_000_000_u64,
        "mem_storage": true,
    });
    json!({ "stream_name": stream, "config": config })
}

pub(crate) struct Nats {
    conversation: Conversation,
}

impl Nats {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let mut nats = Self { conversation: Conversation::connect(address)? };
        let options = json!({
            "verbose": false,
            "pedantic": false,
            "headers": true,
            "no_responders": true,
            "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"),
            "name": "perf",
            "protocol": 1,
        });
        nats.say(format!("CONNECT {options}\r\n").as_bytes())?;
        nats.settle()?;
        Ok(nats)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.conversation.say(bytes)
    }

    /// Returns when the server has done all that was said.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        self.say(b"PING\r\n")?;
        self.until(|said| matches!(said, Said::Pong).then_some(()))
    }

    /// The connection, for other things.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.conversation.into_stream()
    }

    /// Fails if JetStream does not do its work.
    pub(crate) fn account(&mut self) -> Result<(), Failure> {
        self.request("$JS.API.INFO", "").map(|_| ())
    }

    /// A stream in a file for each partition of a topic, with one subject of the same name.
    pub(crate) fn ensure_streams(&mut self, topic: &str, count: i32) -> Result<(), Failure> {
        for partition in 0..usize::try_from(count).unwrap_or(0) {
            let name = partition_name(topic, partition);
            let config = json!({
                "name": name,
                "subjects": [name],
                "retention": "limits",
                "storage": "file",
                "discard": "old",
                "num_replicas": 1,
                "max_consumers": -1,
                "max_msgs": -1,
                "max_bytes": -1,
            });
            let subject = format!("$JS.API.STREAM.CREATE.{name}");
            let answer = self.request(&subject, &config.to_string())?;
            if let Some(ApiError { err_code, description }) = answer.error {
                let why = format!("cannot create stream {name}: {description} ({err_code})");
                return Err(Failure::new(why));
            }
        }
        Ok(())
    }

    fn request(&mut self, subject: &str, payload: &str) -> Result<Answer, Failure> {
        let inbox = inbox();
        let bytes = payload.len();
        let said =
            format!("SUB {inbox} 1\r\nPUB {subject} {inbox} {bytes}\r\n{payload}\r\nUNSUB 1 1\r\n");
        self.say(said.as_bytes())?;
        let answer = self.until(|said| match said {
            Said::Message(message) => Some(match status(message.headers) {
                Some(503) => Err(Failure::new("the server has no JetStream")),
                Some(_) | None => serde_json::from_slice(message.payload).map_err(|error| {
                    Failure::new(format!("JetStream's answer makes no sense: {error}"))
                }),
            }),
            Said::Ping | Said::Pong | Said::Error(_) | Said::Aside => None,
        });
        answer?
    }

    /// Waits for something in particular.
    fn until<T>(&mut self, mut wanted: impl FnMut(Said<'_>) -> Option<T>) -> Result<T, Failure> {
        loop {
            let heard = self.conversation.hear(|received| {
                let Some(said) = take(received)? else { return Ok(None) };
                match said {
                    Said::Error(why) => Err(refused(why)),
                    Said::Ping => Ok(Some(Heard::Ping)),
                    Said::Message(_) | Said::Pong | Said::Aside => {
                        Ok(Some(wanted(said).map_or(Heard::Aside, Heard::Wanted)))
                    }
                }
            })?;
            match heard {
                Heard::Wanted(wanted) => return Ok(wanted),
                Heard::Ping => self.say(PONG)?,
                Heard::Aside => {}
            }
        }
    }
}

/// What came while one waited for something in particular.
enum Heard<T> {
    Wanted(T),
    Ping,
    Aside,
}

/// A subject that nobody else has.
pub(crate) fn inbox() -> String {
    format!("_INBOX.{:x}{:x}", process::id(), Moment::now().ns())
}

/// The server's own words.
pub(crate) fn refused(why: &[u8]) -> Failure {
    Failure::new(format!("the server refuses: {}", String::from_utf8_lossy(why)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], want: Result<Option<Said<'_>>, Senseless>, rest_bytes: usize) {
        let mut rest = bytes;
        assert_eq!((take(&mut rest), rest.len()), (want, rest_bytes));
    }

    fn message() -> Message<'static> {
        Message { subject: b"a.b", sid: 9, payload: b"hi", ..Message::default() }
    }

    #[test]
    fn a_server_says_few_things() {
        check(b"PING\r\nPONG\r\n", Ok(Some(Said::Ping)), 6);
        check(b"PONG\r\n", Ok(Some(Said::Pong)), 0);
        check(b"INFO {\"a\":1} \r\n", Ok(Some(Said::Aside)), 0);
        check(b"+OK\r\n", Ok(Some(Said::Aside)), 0);
        check(b"-ERR 'Stale Connection'\r\n", Ok(Some(Said::Error(b"'Stale Connection'"))), 0);
        check(b"MSG a.b 9 2\r\nhi\r\nPI", Ok(Some(Said::Message(message()))), 2);
        let wanted = Message { reply: b"back", ..message() };
        check(b"MSG a.b 9 back 2\r\nhi\r\n", Ok(Some(Said::Message(wanted))), 0);
    }

    #[test]
    fn headers_stand_before_the_payload() {
        let headers = b"NATS/1.0 100 FlowControl Request\r\n\r\n";
        let mut bytes = format!("HMSG a.b 9 back {0} {0}\r\n", headers.len()).into_bytes();
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(LINE_END);
        let wanted = Message { reply: b"back", headers, payload: b"", ..message() };
        check(&bytes, Ok(Some(Said::Message(wanted))), 0);
        assert_eq!(status(headers), Some(100));
        check(
            b"HMSG a.b 9 2 4\r\nabhi\r\n",
            Ok(Some(Said::Message(Message { headers: b"ab", ..message() }))),
            0,
        );
        assert_eq!(
            (status(b""), status(b"NATS/1.0\r\n"), status(b"NATS/1.0 5")),
            (None, None, None)
        );
    }

    #[test]
    fn what_is_not_whole_is_left_alone() {
        for whole in [&b"MSG a.b 9 back 2\r\nhi\r\n"[..], b"HMSG a 9 2 4\r\nabhi\r\n", b"PING\r\n"]
        {
            for end in 0..whole.len() {
                check(&whole[..end], Ok(None), end);
            }
        }
    }

    #[test]
    fn what_no_server_says_is_senseless() {
        let long = vec![b'a'; LINE_BYTES_MAX];
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PING\n",
            b"MSG a 9\r\n",
            b"MSG a 9 b c 2\r\nhi\r\n",
            b"MSG a b c d e f g\r\n",
            b"MSG a x 2\r\nhi\r\n",
            b"MSG a 9 -2\r\n",
            b"MSG a 9 99999999999999999999\r\n",
            b"MSG a 9 67108865\r\n",
            b"MSG a 9 2\r\nhi!!",
            b"HMSG a 9 5 4\r\nabhi\r\n",
            &long,
        ] {
            let mut rest = bytes;
            assert_eq!(take(&mut rest), Err(Senseless), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn errors_of_jetstream_are_codes() {
        assert_eq!(error_code(br#"{"stream":"a","seq":7}"#), 0);
        let error = br#"{"error":{"code":503,"err_code":10077,"description":"full"}}"#;
        assert_eq!(error_code(error), 10_077);
        assert_eq!(error_code(br#"{"error":{"err_code":65535}}"#), i16::MAX);
        assert_eq!((error_code(b""), error_code(b"{\"error\":7}")), (-1, -1));
    }
}
