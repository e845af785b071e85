//! The records inside a batch: a scanner over their bytes in pieces, and iteration over them.
//!
//! The section need not be whole in memory: what the scanner keeps of a piece is a few bytes.
//! Knows nothing of what a broker allows; see [`crate::admission`].
//!
//! ```text
//! length           varint   of what follows
//! attributes       1        unused, kept as sent
//! timestamp delta  varlong  from the batch's base timestamp
//! offset delta     varint   from the batch's base offset
//! key length       varint   -1: null
//! key
//! value length     varint   -1: null
//! value
//! header count     varint
//! { key length varint   key   value length varint (-1: null)   value } ...
//! ```
//! Varints are zigzag, seven bits a byte, the lowest first.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

pub mod builder;
pub mod lookup;
pub mod renumbering;

use bytes::Bytes;

use crate::batch::{Batch, HEADER_BYTES, TimestampType};
use crate::codec::{Codec, CodecError, Decoded, Decoder};
use crate::id::{Offset, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordsError {
    /// The bytes are no records, or not as many as the batch counts.
    Malformed,
    /// They do not decompress.
    Undecodable,
    /// They decompress to more than the limit.
    TooLarge,
}

impl From<CodecError> for RecordsError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Corrupt => Self::Undecodable,
            CodecError::TooLarge => Self::TooLarge,
        }
    }
}

/// What comes before a record's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHead {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// `None`: the key is null.
    pub key_bytes: Option<u32>,
    /// From the key's length on to the record's end.
    pub rest_bytes: u32,
}

/// One record, out of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<RecordHeader>,
}

/// Keys may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// Iterates over the records of one batch, in the order they were sent in.
/// Decompresses as it goes. After an error it yields nothing more.
pub struct Records {
    stream: RecordStream,
    clock: Clock,
    base_offset: i64,
    state: Iteration,
}

enum Iteration {
    Going,
    Over,
}

impl Records {
    /// `batch` begins with a batch; what follows it is not looked at.
    pub fn new(batch: &Bytes, decompressed_bytes_max: usize) -> Result<Self, RecordsError> {
        let view = Batch::parse(batch).map_err(|_bad_header| RecordsError::Malformed)?;
        Ok(Self {
            stream: RecordStream::new(batch, &view, decompressed_bytes_max)?,
            clock: Clock::of(&view),
            base_offset: view.base_offset(),
            state: Iteration::Going,
        })
    }

    fn read(&mut self) -> Result<Option<Record>, RecordsError> {
        let mut parts = Parts::default();
        let head = loop {
            let mut budget_bytes = usize::MAX;
            match self.stream.advance(&mut budget_bytes, &mut |part| parts.add(part))? {
                Advance::Record(head) => break head,
                Advance::More => {}
                Advance::End => return Ok(None),
            }
        };
        let offset = self.base_offset.checked_add(i64::from(head.offset_delta));
        Ok(Some(Record {
            offset: offset.and_then(Offset::checked).ok_or(RecordsError::Malformed)?,
            timestamp: self.clock.of_record(&head),
            key: parts.key,
            value: parts.value,
            headers: parts.headers,
        }))
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, Iteration::Over) {
            return None;
        }
        let record = self.read().transpose();
        if !matches!(record, Some(Ok(_))) {
            self.state = Iteration::Over;
        }
        record
    }
}

/// Gathers the parts of one record.
#[derive(Default)]
struct Parts {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<RecordHeader>,
}

impl Parts {
    fn add(&mut self, part: Part<'_>) {
        match part.field {
            Field::Key => self.key.get_or_insert_default().extend_from_slice(part.bytes),
            Field::Value => self.value.get_or_insert_default().extend_from_slice(part.bytes),
            Field::HeaderKey => {
                if part.begins {
                    self.headers.push(RecordHeader::default());
                }
                if let Some(header) = self.headers.last_mut() {
                    header.key.extend_from_slice(part.bytes);
                }
            }
            Field::HeaderValue => {
                if let Some(header) = self.headers.last_mut() {
                    header.value.get_or_insert_default().extend_from_slice(part.bytes);
                }
            }
        }
    }
}

/// Which time a batch's records have.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Each its own.
    PerRecord { base: Timestamp },
    /// The leader's, for all of them.
    Appended(Timestamp),
}

impl Clock {
    #[must_use]
    pub fn of(batch: &Batch<'_>) -> Self {
        match batch.timestamp_type() {
            TimestampType::CreateTime => Self::PerRecord { base: batch.base_timestamp() },
            TimestampType::LogAppendTime => Self::Appended(batch.max_timestamp()),
        }
    }

    /// Wraps, as Kafka's does: producers choose both numbers.
    #[must_use]
    pub fn of_record(self, head: &RecordHead) -> Timestamp {
        match self {
            Self::PerRecord { base } => {
                Timestamp::new(base.get().wrapping_add(head.timestamp_delta))
            }
            Self::Appended(timestamp) => timestamp,
        }
    }
}

/// A batch's records in slices of bounded work. Allocates nothing if they are not compressed.
pub struct RecordStream {
    source: Source,
    scanner: Scanner,
    /// Counted by the batch and not seen yet.
    records_left: u32,
}

enum Source {
    Plain { bytes: Bytes, position: usize },
    Packed(Box<Unpacking>),
}

/// Decompressed bytes wait in `buffer[start..end]`.
struct Unpacking {
    decoder: Decoder,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What one step of a stream gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// A record has ended.
    Record(RecordHead),
    /// The budget is used up.
    More,
    /// As many records as the batch counts, and no byte more.
    End,
}

impl RecordStream {
    const BUFFER_BYTES: usize = 16 << 10;

    /// The least that a read of compressed bytes is charged: it may give nothing.
    const READ_COST_BYTES: usize = 512;

    /// `view` is of the batch that `batch` begins with.
    pub fn new(
        batch: &Bytes,
        view: &Batch<'_>,
        decompressed_bytes_max: usize,
    ) -> Result<Self, RecordsError> {
        assert!(view.len_bytes() <= batch.len(), "the view is of these bytes");
        let payload = batch.slice(HEADER_BYTES..view.len_bytes());
        let codec = view.codec().map_err(|_unknown| RecordsError::Undecodable)?;
        let records_left = u32::try_from(view.record_count());
        let source = match codec {
            Codec::None => Source::Plain { bytes: payload, position: 0 },
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
                let decoder = Decoder::new(codec, payload, decompressed_bytes_max)?;
                let buffer = vec![0; Self::BUFFER_BYTES];
                Source::Packed(Box::new(Unpacking { decoder, buffer, start: 0, end: 0 }))
            }
        };
        Ok(Self {
            source,
            scanner: Scanner::new(),
            records_left: records_left.map_err(|_negative| RecordsError::Malformed)?,
        })
    }

    /// Goes on until a record has ended or the budget is used up, and takes what was read from the
    /// budget. `visit` sees each part of keys, values and headers that is not null.
    /// After `End` or an error it must not be called again.
    pub fn advance(
        &mut self,
        budget_bytes: &mut usize,
        visit: &mut impl FnMut(Part<'_>),
    ) -> Result<Advance, RecordsError> {
        self.scan(budget_bytes, |scanner, slice| scanner.next(slice, visit))
    }

    /// The same, for those who do not look at keys, values and headers.
    pub fn skim(&mut self, budget_bytes: &mut usize) -> Result<Advance, RecordsError> {
        self.scan(budget_bytes, Scanner::skim)
    }

    #[inline]
    fn scan(
        &mut self,
        budget_bytes: &mut usize,
        mut next: impl FnMut(&mut Scanner, &mut &[u8]) -> Result<Option<RecordHead>, RecordsError>,
    ) -> Result<Advance, RecordsError> {
        let head = match &mut self.source {
            Source::Plain { bytes, position } => {
                let rest = bytes.get(*position..).unwrap_or_default();
                let slice_bytes = rest.len().min(*budget_bytes);
                let mut slice = rest.get(..slice_bytes).unwrap_or_default();
                let head = next(&mut self.scanner, &mut slice)?;
                let used = slice_bytes.saturating_sub(slice.len());
                *position = position.saturating_add(used);
                *budget_bytes = budget_bytes.saturating_sub(used);
                if head.is_none() && used == rest.len() {
                    return self.end();
                }
                head
            }
            Source::Packed(unpacking) => loop {
                let ready = unpacking.buffer.get(unpacking.start..unpacking.end);
                let mut slice = ready.unwrap_or_default();
                let head = next(&mut self.scanner, &mut slice)?;
                unpacking.start = unpacking.end.saturating_sub(slice.len());
                if head.is_some() || *budget_bytes == 0 {
                    break head;
                }
                match unpacking.decoder.read(&mut unpacking.buffer)? {
                    Decoded::End => return self.end(),
                    Decoded::Bytes(count) => {
                        (unpacking.start, unpacking.end) = (0, count);
                        let cost = count.max(Self::READ_COST_BYTES);
                        *budget_bytes = budget_bytes.saturating_sub(cost);
                    }
                }
            },
        };
        let Some(head) = head else { return Ok(Advance::More) };
        let left = self.records_left.checked_sub(1).ok_or(RecordsError::Malformed)?;
        self.records_left = left;
        Ok(Advance::Record(head))
    }

    fn end(&self) -> Result<Advance, RecordsError> {
        if self.records_left == 0 && self.scanner.is_between_records() {
            Ok(Advance::End)
        } else {
            Err(RecordsError::Malformed)
        }
    }
}

/// A part of a key, a value or a header: in pieces, if the input comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub field: Field,
    /// The first piece of its field, which may be empty.
    pub begins: bool,
    pub bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Key,
    Value,
    HeaderKey,
    HeaderValue,
}

/// Reads records from bytes that come in pieces of any size.
///
/// Invariant: what is left of the field is never more than what is left of the record.
struct Scanner {
    at: At,
    head: RecordHead,
    record_bytes_left: u32,
    field_bytes_left: u32,
    headers_left: u32,
    /// The beginning of a number, or of a head, whose rest is in a piece to come.
    carry: [u8; CARRY_BYTES],
    carry_bytes: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Inside(Field),
    ValueLength,
    HeaderCount,
    HeaderKeyLength,
    HeaderValueLength,
}

const VARINT_BYTES_MAX: usize = 5;
const VARLONG_BYTES_MAX: usize = 10;

/// The length, the attributes, the timestamp, the offset, the length of the key.
const HEAD_BYTES_MAX: usize = VARINT_BYTES_MAX * 3 + 1 + VARLONG_BYTES_MAX;
const CARRY_BYTES: usize = 32;

const _: () = assert!(HEAD_BYTES_MAX <= CARRY_BYTES, "a head that is cut fits the carry");

impl Scanner {
    fn new() -> Self {
        Self {
            at: At::Head,
            head: RecordHead::default(),
            record_bytes_left: 0,
            field_bytes_left: 0,
            headers_left: 0,
            carry: [0; CARRY_BYTES],
            carry_bytes: 0,
        }
    }

    fn is_between_records(&self) -> bool {
        self.at == At::Head && self.carry_bytes == 0
    }

    /// Takes bytes from `input` until a record ends; `None` when all are taken.
    #[inline]
    fn skim(&mut self, input: &mut &[u8]) -> Result<Option<RecordHead>, RecordsError> {
        if self.is_between_records()
            && let Some((head, rest)) = read_whole_record(input)
        {
            *input = rest;
            return Ok(Some(head));
        }
        self.next(input, &mut |_part| {})
    }

    /// Takes bytes from `input` until a record ends; `None` when all are taken.
    fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        visit: &mut impl FnMut(Part<'a>),
    ) -> Result<Option<RecordHead>, RecordsError> {
        loop {
            let taken = match self.at {
                At::Head => self.take_head(input, visit)?,
                At::Inside(field) => self.take_field(field, input, visit),
                At::ValueLength => self.take_length(Field::Value, input, visit)?,
                At::HeaderCount => self.take_header_count(input)?,
                At::HeaderKeyLength => self.take_length(Field::HeaderKey, input, visit)?,
                At::HeaderValueLength => self.take_length(Field::HeaderValue, input, visit)?,
            };
            match taken {
                Taken::All => return Ok(None),
                Taken::Field => {}
                Taken::Record if self.record_bytes_left == 0 => {
                    self.at = At::Head;
                    return Ok(Some(self.head));
                }
                Taken::Record => return Err(RecordsError::Malformed),
            }
        }
    }

    fn take_head<'a>(
        &mut self,
        input: &mut &'a [u8],
        visit: &mut impl FnMut(Part<'a>),
    ) -> Result<Taken, RecordsError> {
        let Some((head, _)) = self.take_whole(input, read_head)? else { return Ok(Taken::All) };
        let body_bytes = u32::try_from(head.length).map_err(|_negative| RecordsError::Malformed)?;
        let left = body_bytes.checked_sub(head.body_bytes_read);
        self.record_bytes_left = left.ok_or(RecordsError::Malformed)?;
        let rest_bytes = body_bytes.checked_sub(head.number_bytes_read);
        self.head = RecordHead {
            timestamp_delta: head.timestamp_delta,
            offset_delta: head.offset_delta,
            key_bytes: self.begin_field(Field::Key, head.key_length, visit)?,
            rest_bytes: rest_bytes.ok_or(RecordsError::Malformed)?,
        };
        Ok(Taken::Field)
    }

    fn take_length<'a>(
        &mut self,
        field: Field,
        input: &mut &'a [u8],
        visit: &mut impl FnMut(Part<'a>),
    ) -> Result<Taken, RecordsError> {
        let Some(length) = self.take_number(input)? else { return Ok(Taken::All) };
        let field_bytes = self.begin_field(field, length, visit)?;
        match field {
            Field::HeaderKey if field_bytes.is_none() => Err(RecordsError::Malformed),
            Field::HeaderValue if self.at == At::HeaderKeyLength && self.headers_left == 0 => {
                Ok(Taken::Record)
            }
            _ => Ok(Taken::Field),
        }
    }

    fn take_header_count(&mut self, input: &mut &[u8]) -> Result<Taken, RecordsError> {
        let Some(count) = self.take_number(input)? else { return Ok(Taken::All) };
        let count = u32::try_from(count).map_err(|_negative| RecordsError::Malformed)?;
        if count > self.record_bytes_left {
            return Err(RecordsError::Malformed);
        }
        self.headers_left = count;
        self.at = At::HeaderKeyLength;
        Ok(if count == 0 { Taken::Record } else { Taken::Field })
    }

    /// A field of no bytes, null or empty, is over as soon as it begins.
    fn begin_field<'a>(
        &mut self,
        field: Field,
        length: i32,
        visit: &mut impl FnMut(Part<'a>),
    ) -> Result<Option<u32>, RecordsError> {
        let field_bytes = match length {
            -1 => None,
            _ => Some(u32::try_from(length).map_err(|_negative| RecordsError::Malformed)?),
        };
        self.field_bytes_left = field_bytes.unwrap_or(0);
        if self.field_bytes_left > self.record_bytes_left {
            return Err(RecordsError::Malformed);
        }
        if field_bytes.is_some() {
            visit(Part { field, begins: true, bytes: &[] });
        }
        self.at = At::Inside(field);
        if self.field_bytes_left == 0 {
            self.end_field(field);
        }
        Ok(field_bytes)
    }

    fn take_field<'a>(
        &mut self,
        field: Field,
        input: &mut &'a [u8],
        visit: &mut impl FnMut(Part<'a>),
    ) -> Taken {
        let available = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let count = self.field_bytes_left.min(available);
        let Some((bytes, rest)) =
            usize::try_from(count).ok().and_then(|it| input.split_at_checked(it))
        else {
            return Taken::All;
        };
        visit(Part { field, begins: false, bytes });
        *input = rest;
        self.field_bytes_left = self.field_bytes_left.saturating_sub(count);
        self.record_bytes_left = self.record_bytes_left.saturating_sub(count);
        if self.field_bytes_left > 0 {
            return Taken::All;
        }
        self.end_field(field);
        if self.at == At::HeaderKeyLength && self.headers_left == 0 {
            Taken::Record
        } else {
            Taken::Field
        }
    }

    fn end_field(&mut self, field: Field) {
        self.at = match field {
            Field::Key => At::ValueLength,
            Field::Value => At::HeaderCount,
            Field::HeaderKey => At::HeaderValueLength,
            Field::HeaderValue => {
                self.headers_left = self.headers_left.saturating_sub(1);
                At::HeaderKeyLength
            }
        };
    }

    /// A varint of the record's body.
    fn take_number(&mut self, input: &mut &[u8]) -> Result<Option<i32>, RecordsError> {
        let Some((number, used)) = self.take_whole(input, read_varint)? else { return Ok(None) };
        let left = self.record_bytes_left.checked_sub(used).ok_or(RecordsError::Malformed)?;
        self.record_bytes_left = left;
        Ok(Some(number))
    }

    /// What `read` reads, with the number of its bytes, though it may have begun in earlier
    /// pieces. `None` if it goes on in the next.
    fn take_whole<T>(
        &mut self,
        input: &mut &[u8],
        read: impl Fn(&mut &[u8]) -> Result<Option<T>, RecordsError>,
    ) -> Result<Option<(T, u32)>, RecordsError> {
        if self.carry_bytes == 0 {
            let before = input.len();
            let mut cursor = *input;
            if let Some(value) = read(&mut cursor)? {
                let used = before.saturating_sub(cursor.len());
                *input = cursor;
                return Ok(Some((value, u32::try_from(used).unwrap_or(u32::MAX))));
            }
        }
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            let slot = self.carry.get_mut(self.carry_bytes).ok_or(RecordsError::Malformed)?;
            *slot = *byte;
            self.carry_bytes = self.carry_bytes.saturating_add(1);
            let mut carried = self.carry.get(..self.carry_bytes).unwrap_or_default();
            if let Some(value) = read(&mut carried)? {
                let used = u32::try_from(self.carry_bytes).unwrap_or(u32::MAX);
                self.carry_bytes = 0;
                return Ok(Some((value, used)));
            }
        }
        Ok(None)
    }
}

enum Taken {
    /// All input there is.
    All,
    Field,
    /// The record's last field.
    Record,
}

/// A whole and sound record at the front of `input`, and what follows it. On anything else `None`:
/// the scanner then says what it is. This is only its shortcut, several times as fast.
#[inline]
fn read_whole_record(input: &[u8]) -> Option<(RecordHead, &[u8])> {
    let (length, input) = short_varint(input)?;
    let (body, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    let (_attributes, body) = body.split_first()?;
    let (timestamp_delta, body) = short_varlong(body)?;
    let (offset_delta, body) = short_varint(body)?;
    let rest_bytes = u32::try_from(body.len()).ok()?;
    let (key_length, body) = short_varint(body)?;
    let body = skip_field(body, key_length)?;
    let (value_length, body) = short_varint(body)?;
    let body = skip_field(body, value_length)?;
    let (header_count, mut body) = short_varint(body)?;
    for _ in 0..u32::try_from(header_count).ok()? {
        let (key_length, rest) = short_varint(body)?;
        let rest = rest.get(usize::try_from(key_length).ok()?..)?;
        let (value_length, rest) = short_varint(rest)?;
        body = skip_field(rest, value_length)?;
    }
    let key_bytes = u32::try_from(key_length).ok();
    let head = RecordHead { timestamp_delta, offset_delta, key_bytes, rest_bytes };
    body.is_empty().then_some((head, rest))
}

#[inline(always)]
fn skip_field(body: &[u8], length: i32) -> Option<&[u8]> {
    if length == -1 { Some(body) } else { body.get(usize::try_from(length).ok()?..) }
}

/// The number that `input` begins with, and what follows. `None`: it is cut, or malformed.
#[inline(always)]
pub(crate) fn short_varint(input: &[u8]) -> Option<(i32, &[u8])> {
    if let Some((raw, rest)) = short_raw(input) {
        return Some(((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg(), rest));
    }
    let mut rest = input;
    Some((read_varint(&mut rest).ok()??, rest))
}

/// Likewise, of 64 bits.
#[inline(always)]
pub(crate) fn short_varlong(input: &[u8]) -> Option<(i64, &[u8])> {
    if let Some((raw, rest)) = short_raw(input) {
        let raw = u64::from(raw);
        return Some(((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg(), rest));
    }
    let mut rest = input;
    Some((read_varlong(&mut rest).ok()??, rest))
}

/// A number of one or two bytes, as most are.
#[inline(always)]
fn short_raw(input: &[u8]) -> Option<(u32, &[u8])> {
    match *input {
        [low, ref rest @ ..] if low < 0x80 => Some((u32::from(low), rest)),
        [low, high, ref rest @ ..] if high < 0x80 => {
            Some((u32::from(low & 0x7f) | u32::from(high) << 7, rest))
        }
        _ => None,
    }
}

struct Head {
    length: i32,
    timestamp_delta: i64,
    offset_delta: i32,
    key_length: i32,
    /// Of those that `length` counts: up to the key's length, and with it.
    number_bytes_read: u32,
    body_bytes_read: u32,
}

/// `None` if it is cut.
fn read_head(input: &mut &[u8]) -> Result<Option<Head>, RecordsError> {
    let Some(length) = read_varint(input)? else { return Ok(None) };
    let body_bytes = input.len();
    let Some((_attributes, rest)) = input.split_first() else { return Ok(None) };
    *input = rest;
    let Some(timestamp_delta) = read_varlong(input)? else { return Ok(None) };
    let Some(offset_delta) = read_varint(input)? else { return Ok(None) };
    let read_bytes = |input: &[u8]| {
        let read_bytes = u32::try_from(body_bytes.saturating_sub(input.len()));
        read_bytes.map_err(|_large| RecordsError::Malformed)
    };
    let number_bytes_read = read_bytes(input)?;
    let Some(key_length) = read_varint(input)? else { return Ok(None) };
    let body_bytes_read = read_bytes(input)?;
    Ok(Some(Head {
        length,
        timestamp_delta,
        offset_delta,
        key_length,
        number_bytes_read,
        body_bytes_read,
    }))
}

/// `None` if it is cut; longer than five bytes is malformed, bits past the 32nd are lost.
fn read_varint(input: &mut &[u8]) -> Result<Option<i32>, RecordsError> {
    let Some(raw) = read_raw(input, VARINT_BYTES_MAX)? else { return Ok(None) };
    let raw = u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(0);
    Ok(Some((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg()))
}

fn read_varlong(input: &mut &[u8]) -> Result<Option<i64>, RecordsError> {
    let Some(raw) = read_raw(input, VARLONG_BYTES_MAX)? else { return Ok(None) };
    Ok(Some((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg()))
}

fn read_raw(input: &mut &[u8], bytes_max: usize) -> Result<Option<u64>, RecordsError> {
    if let Some((&byte, rest)) = input.split_first()
        && byte < 0x80
    {
        *input = rest;
        return Ok(Some(u64::from(byte)));
    }
    let (mut raw, mut shift) = (0_u64, 0_u32);
    for (index, byte) in input.iter().take(bytes_max).enumerate() {
        raw |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift = shift.saturating_add(7);
        if *byte < 0x80 {
            *input = input.get(index.saturating_add(1)..).unwrap_or_default();
            return Ok(Some(raw));
        }
    }
    if input.len() < bytes_max { Ok(None) } else { Err(RecordsError::Malformed) }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::builder::BatchBuilder;
    use super::lookup::{Found, Lookup, Progress, Wanted};
    use super::*;

    const LIMIT: usize = 1 << 20;

    type Raw = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn build(records: &[Raw], codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new();
        for (timestamp, key, value, headers) in records {
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
            builder.push(Timestamp::new(*timestamp), key.as_deref(), value.as_deref(), &headers);
        }
        Bytes::from(builder.build_with(codec))
    }

    fn sample() -> Vec<Raw> {
        vec![
            (1000, None, Some(b"value".to_vec()), vec![]),
            (1005, Some(b"key".to_vec()), None, vec![(b"h".to_vec(), Some(vec![7; 300]))]),
            (999, Some(vec![]), Some(vec![]), vec![(vec![], None), (b"h".to_vec(), Some(vec![]))]),
            (i64::MIN, Some(vec![1; 70_000]), Some(vec![2; 200]), vec![]),
        ]
    }

    fn want(records: &[Raw]) -> Vec<Record> {
        let record = |(offset, (timestamp, key, value, headers)): (i64, &Raw)| Record {
            offset: Offset::new(offset),
            timestamp: Timestamp::new(*timestamp),
            key: key.clone(),
            value: value.clone(),
            headers: (headers.iter().cloned())
                .map(|(key, value)| RecordHeader { key, value })
                .collect(),
        };
        (0..).zip(records).map(record).collect()
    }

    fn read(batch: &Bytes) -> Result<Vec<Record>, RecordsError> {
        Records::new(batch, LIMIT)?.collect()
    }

    /// All heads, with steps of `budget_bytes`.
    fn heads(batch: &Bytes, budget_bytes: usize) -> Result<Vec<RecordHead>, RecordsError> {
        let view = Batch::parse(batch).expect("it is whole");
        let mut stream = RecordStream::new(batch, &view, LIMIT)?;
        let mut heads = Vec::new();
        let mut left = budget_bytes;
        loop {
            match stream.skim(&mut left)? {
                Advance::Record(head) => heads.push(head),
                Advance::More => left = budget_bytes,
                Advance::End => return Ok(heads),
            }
        }
    }

    /// An uncompressed batch around `section`.
    fn batch_of(section: &[u8], record_count: i32) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp::new(0), None, None, &[]);
        let mut bytes = builder.build();
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(section);
        let length = i32::try_from(bytes.len() - 12).expect("it is short");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
        Bytes::from(bytes)
    }

    #[track_caller]
    fn check(section: &[u8], record_count: i32, want: Result<usize, RecordsError>) {
        let batch = batch_of(section, record_count);
        for budget_bytes in [1, 2, 5, usize::MAX] {
            assert_eq!(heads(&batch, budget_bytes).map(|it| it.len()), want, "{budget_bytes}");
        }
    }

    #[test]
    fn what_the_builder_writes_is_read() {
        let records = sample();
        for codec in Codec::ALL {
            let batch = build(&records, codec);
            assert!(Batch::parse(&batch).is_ok_and(|it| it.crc_holds()), "{codec:?}");
            assert_eq!(read(&batch), Ok(want(&records)), "{codec:?}");
        }
    }

    #[test]
    fn every_shape_of_a_record() {
        const MALFORMED: Result<usize, RecordsError> = Err(RecordsError::Malformed);
        let empty = b"\x0c\0\0\0\x01\x01\0"; // null key, null value, no headers
        check(empty, 1, Ok(1));
        check(&empty.repeat(3), 3, Ok(3));
        check(&empty.repeat(3), 2, MALFORMED);
        check(&empty.repeat(3), 4, MALFORMED);
        check(b"", 0, Ok(0));
        check(b"", 1, MALFORMED);
        check(b"\x0c\0\0\0\x01\x01\0\0", 1, MALFORMED); // a byte after the last
        check(b"\x0c\xff\0\0\x01\x01\0", 1, Ok(1)); // attributes are not looked at
        check(b"\x0e\0\0\0\x01\x01\0\0", 1, MALFORMED); // a byte in the record too many
        check(b"\x0a\0\0\0\x01\x01\0", 1, MALFORMED); // a byte too few
        check(b"\x01\0\0\0\x01\x01\0", 1, MALFORMED); // length -1
        check(b"\xfe\xff\xff\xff\x0f\0\0\0\x01\x01\0", 1, MALFORMED); // length 2^31-1
        check(b"\x0c\0\0\0\x03\x01\0", 1, MALFORMED); // key length -2
        check(b"\x0c\0\0\0\x01\x03\0", 1, MALFORMED); // value length -2
        check(b"\x0c\0\0\0\x04\x01\0", 1, MALFORMED); // a key longer than the record
        check(b"\x0c\0\0\0\x01\x04\0", 1, MALFORMED); // a value longer than the record
        check(b"\x0c\0\0\0\x01\x01\x01", 1, MALFORMED); // header count -1
        check(b"\x0c\0\0\0\x01\x01\x02", 1, MALFORMED); // a header that is not there
        check(b"\x10\0\0\0\x01\x01\x02\0\x01", 1, Ok(1)); // an empty key, a null value
        check(b"\x10\0\0\0\x01\x01\x02\x01\x01", 1, MALFORMED); // a null header key
        check(b"\x14\0\0\0\x01\x01\xfe\xff\xff\xff\x0f", 1, MALFORMED); // 2^31-1 headers
        check(b"\x80\x80\x80\x80\x80\x00", 1, MALFORMED); // a number of six bytes
        check(b"\x8c\x80\x80\x80\x00\0\0\0\x01\x01\0", 1, Ok(1)); // a needlessly long one
    }

    #[test]
    fn no_prefix_is_a_section() {
        let records = &sample()[..3];
        let batch = build(records, Codec::None);
        let section = &batch[HEADER_BYTES..];
        for end in 0..section.len() {
            check(&section[..end], 3, Err(RecordsError::Malformed));
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let records = [(0, None, Some(vec![0; 4 * LIMIT]), vec![])];
        for codec in Codec::ALL {
            let want = if codec == Codec::None { Ok(1) } else { Err(RecordsError::TooLarge) };
            assert_eq!(heads(&build(&records, codec), 4096).map(|it| it.len()), want);
        }
    }

    #[track_caller]
    fn look_up(batch: &Bytes, wanted: Wanted, offset_min: i64, want: Option<(i64, i64)>) {
        for budget_bytes in [0, 7, usize::MAX] {
            let mut lookup = Lookup::begin(batch, wanted, Offset::new(offset_min), LIMIT)
                .expect("it is a batch");
            let found = loop {
                if let Progress::Done(found) = lookup.step(budget_bytes).expect("it is sound") {
                    break found;
                }
            };
            let want = want.map(|(offset, timestamp)| Found {
                offset: Offset::new(offset),
                timestamp: Timestamp::new(timestamp),
            });
            assert_eq!(found, want);
        }
    }

    #[test]
    fn a_record_is_found_by_its_time() {
        let times = [10, 30, 20, 30, 5];
        let records: Vec<Raw> =
            times.iter().map(|it| (*it, None, Some(vec![9; 50]), vec![])).collect();
        for codec in Codec::ALL {
            let batch = build(&records, codec);
            let at_least = |timestamp| Wanted::AtLeast(Timestamp::new(timestamp));
            look_up(&batch, at_least(i64::MIN), 0, Some((0, 10)));
            look_up(&batch, at_least(10), 0, Some((0, 10)));
            look_up(&batch, at_least(11), 0, Some((1, 30)));
            look_up(&batch, at_least(11), 2, Some((2, 20)));
            look_up(&batch, at_least(31), 0, None);
            look_up(&batch, Wanted::Latest, 0, Some((1, 30)));
            look_up(&batch, Wanted::Latest, 2, Some((3, 30)));
            look_up(&batch, Wanted::Latest, 5, None);
        }
    }

    #[test]
    fn a_batch_of_the_leaders_clock_has_one_time() {
        let records = [(10, None, None, vec![]), (20, None, None, vec![])];
        let mut bytes = build(&records, Codec::None).to_vec();
        let view = Batch::parse(&bytes).expect("it is whole");
        let time = Timestamp::new(77);
        let patch = crate::batch::Patch::new(&view, TimestampType::LogAppendTime, time);
        patch.expect("it changes the batch").apply(&mut bytes);
        let batch = Bytes::from(bytes);
        let times = read(&batch).map(|it| it.iter().map(|it| it.timestamp).collect());
        assert_eq!(times, Ok(vec![time, time]));
        look_up(&batch, Wanted::Latest, 0, Some((0, 77)));
        look_up(&batch, Wanted::AtLeast(Timestamp::new(11)), 0, Some((0, 77)));
        look_up(&batch, Wanted::AtLeast(Timestamp::new(78)), 0, None);
    }

    proptest! {
        #[test]
        fn any_section_does_no_harm(section: Vec<u8>, count in -1_i32..50, budget in 1_usize..9) {
            let batch = batch_of(&section, count);
            prop_assert_eq!(heads(&batch, budget), heads(&batch, usize::MAX));
        }

        #[test]
        fn any_damage_does_no_harm(at: usize, to: u8, budget in 1_usize..9, bits in 0_u16..5) {
            let codec = Codec::checked(bits).expect("in range");
            let mut bytes = build(&sample()[..3], codec).to_vec();
            let section_bytes = bytes.len() - HEADER_BYTES;
            bytes[HEADER_BYTES + at % section_bytes] = to;
            let batch = Bytes::from(bytes);
            prop_assert_eq!(heads(&batch, budget), heads(&batch, usize::MAX));
        }

        #[test]
        fn any_records_come_back(
            records in proptest::collection::vec(
                any::<(i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>)>(),
                1..8,
            ),
            bits in 0_u16..5,
        ) {
            let batch = build(&records, Codec::checked(bits).expect("in range"));
            prop_assert_eq!(read(&batch), Ok(want(&records)));
        }
    }
}
