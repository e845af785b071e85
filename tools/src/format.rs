//! How `consume` shows a record: a format string like kcat's, or JSON.
//!
//! Pure: records go in, bytes come out. A format string is checked once, before the first record.

use std::fmt;

use engine::records::Record;
use serde_json::{Map, Value, json};

/// One record, and where it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) record: &'a Record,
}

/// A piece of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyBytes,
    Value,
    ValueBytes,
    ValueBytesBinary,
    Headers,
}

/// A checked format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

/// What is wrong with a format string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatError {
    UnknownToken(char),
    UnknownEscape(char),
    BadHex,
    EndsEarly,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownToken(token) => {
                write!(f, "unknown token %{token}; known are %t %p %o %k %K %s %S %R %T %h %%")
            }
            Self::UnknownEscape(escape) => {
                write!(f, "unknown escape \\{escape}; known are \\n \\r \\t \\0 \\\\ \\xHH")
            }
            Self::BadHex => f.write_str("\\x wants two hexadecimal digits"),
            Self::EndsEarly => f.write_str("% or \\ at the end; write %% or \\\\"),
        }
    }
}

impl std::error::Error for FormatError {}

impl std::str::FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '%' => match rest.next().ok_or(FormatError::EndsEarly)? {
                    '%' => literal.push(b'%'),
                    token => {
                        if !literal.is_empty() {
                            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::of_token(token)?);
                    }
                },
                '\\' => literal.push(escape(&mut rest)?),
                other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }
}

impl Piece {
    const fn of_token(token: char) -> Result<Self, FormatError> {
        Ok(match token {
            't' => Self::Topic,
            'p' => Self::Partition,
            'o' => Self::Offset,
            'T' => Self::Timestamp,
            'k' => Self::Key,
            'K' => Self::KeyBytes,
            's' => Self::Value,
            'S' => Self::ValueBytes,
            'R' => Self::ValueBytesBinary,
            'h' => Self::Headers,
            other => return Err(FormatError::UnknownToken(other)),
        })
    }
}

/// The byte that a backslash and what follows it stand for.
pub(crate) fn escape(rest: &mut std::str::Chars<'_>) -> Result<u8, FormatError> {
    Ok(match rest.next().ok_or(FormatError::EndsEarly)? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let digits = rest.as_str().get(..2).ok_or(FormatError::BadHex)?;
            if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
                return Err(FormatError::BadHex);
            }
            *rest = rest.as_str()[2..].chars();
            u8::from_str_radix(digits, 16).map_err(|_overflow| FormatError::BadHex)?
        }
        other => return Err(FormatError::UnknownEscape(other)),
    })
}

impl Format {
    /// Appends the record to `out`.
    pub(crate) fn render(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let record = message.record;
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(message.topic.as_bytes()),
                Piece::Partition => push(out, message.partition),
                Piece::Offset => push(out, record.offset),
                Piece::Timestamp => push(out, record.timestamp.get()),
                Piece::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
                Piece::KeyBytes => push(out, length(record.key.as_deref())),
                Piece::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
                Piece::ValueBytes => push(out, length(record.value.as_deref())),
                Piece::ValueBytesBinary => {
                    out.extend_from_slice(&length(record.value.as_deref()).to_be_bytes());
                }
                Piece::Headers => headers(record, out),
            }
        }
    }
}

fn push(out: &mut Vec<u8>, number: impl fmt::Display) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// -1 for null, as kcat says it.
fn length(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(-1, |it| i32::try_from(it.len()).expect("a record is smaller than 2 GiB"))
}

fn headers(record: &Record, out: &mut Vec<u8>) {
    for (index, header) in record.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&header.key);
        out.push(b'=');
        out.extend_from_slice(header.value.as_deref().unwrap_or(b"NULL"));
    }
}

/// One object a record. Bytes that are not UTF-8 go into a field `..._hex`.
pub(crate) fn json(message: &Message<'_>) -> Value {
    let record = message.record;
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(message.topic));
    object.insert("partition".to_owned(), json!(message.partition));
    object.insert("offset".to_owned(), json!(record.offset.get()));
    object.insert("timestamp".to_owned(), json!(record.timestamp.get()));
    put(&mut object, "key", record.key.as_deref());
    put(&mut object, "value", record.value.as_deref());
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|header| {
            let mut object = Map::new();
            put(&mut object, "key", Some(&header.key));
            put(&mut object, "value", header.value.as_deref());
            Value::Object(object)
        })
        .collect();
    object.insert("headers".to_owned(), Value::Array(headers));
    Value::Object(object)
}

fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        object.insert(name.to_owned(), Value::Null);
        return;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(digits))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Format, FormatError, Message, json};
    use engine::id::{Offset, Timestamp};
    use engine::records::{Record, RecordHeader};

    fn record() -> Record {
        Record {
            offset: Offset::new(42),
            timestamp: Timestamp::new(1_700_000_000_000),
            key: Some(b"k".to_vec()),
            value: Some(b"value".to_vec()),
            headers: vec![
                RecordHeader { key: b"a".to_vec(), value: Some(b"1".to_vec()) },
                RecordHeader { key: b"b".to_vec(), value: None },
            ],
        }
    }

    fn message(record: &Record) -> Message<'_> {
        Message { topic: "events", partition: 3, record }
    }

    #[track_caller]
    fn check(format: &str, want: Result<&[u8], FormatError>) {
        let got = format.parse::<Format>().map(|format| {
            let mut out = Vec::new();
            format.render(&message(&record()), &mut out);
            out
        });
        assert_eq!(got.as_deref(), want.as_ref().map(|it| *it));
    }

    #[test]
    fn every_token() {
        check("%t[%p]@%o: %s\\n", Ok(b"events[3]@42: value\n"));
        check("%T %k/%K %S %h", Ok(b"1700000000000 k/1 5 a=1,b=NULL"));
        check("%R%s", Ok(b"\0\0\0\x05value"));
    }

    #[test]
    fn literals_and_escapes() {
        check("100%% é\\x41\\t\\\\\\0", Ok("100% éA\t\\\0".as_bytes()));
        check("", Ok(b""));
    }

    #[test]
    fn mistakes_are_named() {
        check("%z", Err(FormatError::UnknownToken('z')));
        check("\\q", Err(FormatError::UnknownEscape('q')));
        check("\\x4", Err(FormatError::BadHex));
        check("\\x+1", Err(FormatError::BadHex));
        check("\\xé0", Err(FormatError::BadHex));
        check("50%", Err(FormatError::EndsEarly));
        check("\\", Err(FormatError::EndsEarly));
    }

    #[test]
    fn null_is_minus_one_and_empty() {
        let record = Record { key: None, value: None, headers: Vec::new(), ..record() };
        let mut out = Vec::new();
        "%k|%K|%s|%S|%h|".parse::<Format>().unwrap().render(&message(&record), &mut out);
        assert_eq!(out, b"|-1||-1||");
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal_in_json() {
        let record = Record { key: None, value: Some(b"\xff\0".to_vec()), ..record() };
        let object = json(&message(&record));
        assert_eq!(object["value_hex"], "ff00");
        assert!(object["key"].is_null());
        assert_eq!(object["headers"][0]["value"], "1");
    }
}
