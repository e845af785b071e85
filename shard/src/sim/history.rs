//! What clients did and saw, in the order in which they know it: the input of `checker.rs`.
//!
//! Independent of the simulation: a test of real processes records the same events in a file.
//! Everything is big endian.
//!
//! ```text
//! event   tag u8 | its integers | texts and lists with a u32 count before them
//! value   run u32 | log u32 | producer u32 | sequence u64 | crc u32 of all the other bytes | filler
//! ```

use engine::id::Offset;

use crate::sim::chance::mix;

/// Smallest record value that can be told from every other.
pub const VALUE_BYTES_MIN: usize = 24;
const CRC_AT: usize = 20;

/// Names one partition of one incarnation of a topic, for the recorder: it counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId(pub u32);

/// Names one incarnation of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriterId(pub u32);

/// Names one session of one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderId(pub u32);

/// What a record says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    pub run: u32,
    pub log: LogId,
    pub writer: WriterId,
    /// Counts the records of the writer for the log.
    pub sequence: u64,
}

impl Value {
    /// As the value of a record, `bytes` long.
    #[must_use]
    pub fn encode(&self, bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(bytes.max(VALUE_BYTES_MIN));
        for field in [self.run, self.log.0, self.writer.0] {
            value.extend_from_slice(&field.to_be_bytes());
        }
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend_from_slice(&[0; VALUE_BYTES_MIN - CRC_AT]);
        let mut filler = self.sequence;
        while value.len() < bytes {
            filler = filler.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let missing = bytes - value.len();
            value.extend_from_slice(&filler.to_be_bytes()[..missing.min(8)]);
        }
        let crc = crc(&value);
        value[CRC_AT..VALUE_BYTES_MIN].copy_from_slice(&crc.to_be_bytes());
        value
    }

    /// `None` if nobody ever encoded these bytes.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut fields = Fields(value.get(..VALUE_BYTES_MIN)?);
        let decoded = Self {
            run: fields.u32()?,
            log: LogId(fields.u32()?),
            writer: WriterId(fields.u32()?),
            sequence: fields.u64()?,
        };
        (fields.u32()? == crc(value)).then_some(decoded)
    }
}

/// Keys of a compacted log.
pub const KEY_COUNT: u64 = 7;

/// The key of a record in a compacted log.
#[must_use]
pub fn key_of(writer: WriterId, sequence: u64) -> u64 {
    mix(u64::from(writer.0) << 32 ^ sequence) % KEY_COUNT
}

/// Whether a record in a compacted log deletes its key: it says who it is in a header.
#[must_use]
pub fn is_tombstone(writer: WriterId, sequence: u64) -> bool {
    (mix(u64::from(writer.0) << 32 ^ sequence) / KEY_COUNT).is_multiple_of(4)
}

fn crc(value: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&value[..CRC_AT]);
    crc32c::crc32c_append(crc, &value[VALUE_BYTES_MIN..])
}

/// What an acknowledgement of a log's records promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the device.
    Device,
    /// In memory: a crash may lose the newest.
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// A record is written once, however often it is sent.
    Deduplicated,
    /// Once for each time it is sent.
    Plain,
}

/// A record as a reader got it. `None`: its value is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: Offset,
    pub value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A log is there. Its first offset is 0.
    LogMade {
        log: LogId,
        durability: Durability,
    },
    /// Of each key of the log only the last record must stay.
    Compacted {
        log: LogId,
    },
    /// The markers of deleted keys before `before` need not stay any more.
    Forgetting {
        log: LogId,
        before: Offset,
    },
    /// Somebody asked for its deletion: from now on it may be gone.
    LogEnding {
        log: LogId,
    },
    WriterMade {
        writer: WriterId,
        retries: Retries,
    },
    /// A batch was sent, for the first time or again.
    Sent {
        writer: WriterId,
        log: LogId,
        first: u64,
        count: u32,
    },
    Acked {
        writer: WriterId,
        log: LogId,
        first: u64,
        count: u32,
        base: Offset,
    },
    /// The broker said that it is not written, and never will be.
    Refused {
        writer: WriterId,
        log: LogId,
        first: u64,
        count: u32,
    },
    /// A read was sent.
    Asked {
        reader: ReaderId,
        log: LogId,
        position: Offset,
    },
    /// Its answer: records from `position` on, in order.
    Read {
        reader: ReaderId,
        log: LogId,
        log_start: Offset,
        /// As the answer has it: no simulated client has a transaction.
        last_stable: Offset,
        high_watermark: Offset,
        seen: Vec<Seen>,
        /// Where the reader goes on.
        next: Offset,
    },
    /// Its answer: there is nothing at the position, and never will be.
    OutOfRange {
        reader: ReaderId,
        log: LogId,
        position: Offset,
    },
    /// Its answer: where the log starts.
    FoundStart {
        reader: ReaderId,
        log: LogId,
        log_start: Offset,
    },
    /// Its answer: where what may be read ends.
    FoundEnd {
        reader: ReaderId,
        log: LogId,
        high_watermark: Offset,
    },
    /// Its answer never came.
    Unanswered {
        reader: ReaderId,
        log: LogId,
    },
    /// Somebody asked for the deletion of records before `before`.
    Cutting {
        log: LogId,
        before: Offset,
    },
    Cut {
        log: LogId,
        log_start: Offset,
    },
    /// The broker's process ended, with or without its disk's caches.
    Crashed,
    /// What is stored at the offsets `[first, end)` was damaged: reads of it may be refused.
    Damaged {
        log: LogId,
        first: Offset,
        end: Offset,
        /// Whether reads of `first` must be refused from now on.
        is_lasting: bool,
    },
    /// The answer to a read: what is stored there is damaged.
    Corrupt {
        reader: ReaderId,
        log: LogId,
    },
    /// The reader has read all of the log, from its start to its end, after everything else.
    Final {
        reader: ReaderId,
        log: LogId,
    },
}

impl Event {
    pub fn encode(&self, into: &mut Vec<u8>) {
        let mut row = Row(into);
        match self {
            Self::LogMade { log, durability } => {
                row.begin(0).u32(log.0).u32(u32::from(*durability == Durability::Memory));
            }
            Self::LogEnding { log } => {
                row.begin(1).u32(log.0);
            }
            Self::Compacted { log } => {
                row.begin(18).u32(log.0);
            }
            Self::Forgetting { log, before } => {
                row.begin(19).u32(log.0).offset(*before);
            }
            Self::WriterMade { writer, retries } => {
                row.begin(2).u32(writer.0).u32(u32::from(*retries == Retries::Plain));
            }
            Self::Sent { writer, log, first, count } => {
                row.begin(3).u32(writer.0).u32(log.0).u64(*first).u32(*count);
            }
            Self::Acked { writer, log, first, count, base } => {
                row.begin(4).u32(writer.0).u32(log.0).u64(*first).u32(*count).offset(*base);
            }
            Self::Refused { writer, log, first, count } => {
                row.begin(5).u32(writer.0).u32(log.0).u64(*first).u32(*count);
            }
            Self::Asked { reader, log, position } => {
                row.begin(6).u32(reader.0).u32(log.0).offset(*position);
            }
            Self::Read { reader, log, log_start, last_stable, high_watermark, seen, next } => {
                row.begin(7).u32(reader.0).u32(log.0).offset(*log_start).offset(*last_stable);
                row.offset(*high_watermark).seen(seen);
                row.offset(*next);
            }
            Self::OutOfRange { reader, log, position } => {
                row.begin(8).u32(reader.0).u32(log.0).offset(*position);
            }
            Self::FoundStart { reader, log, log_start } => {
                row.begin(14).u32(reader.0).u32(log.0).offset(*log_start);
            }
            Self::FoundEnd { reader, log, high_watermark } => {
                row.begin(15).u32(reader.0).u32(log.0).offset(*high_watermark);
            }
            Self::Unanswered { reader, log } => {
                row.begin(9).u32(reader.0).u32(log.0);
            }
            Self::Cutting { log, before } => {
                row.begin(10).u32(log.0).offset(*before);
            }
            Self::Cut { log, log_start } => {
                row.begin(11).u32(log.0).offset(*log_start);
            }
            Self::Crashed => {
                row.begin(12);
            }
            Self::Final { reader, log } => {
                row.begin(13).u32(reader.0).u32(log.0);
            }
            Self::Damaged { log, first, end, is_lasting } => {
                row.begin(16).u32(log.0).offset(*first).offset(*end).u32(u32::from(*is_lasting));
            }
            Self::Corrupt { reader, log } => {
                row.begin(17).u32(reader.0).u32(log.0);
            }
        }
    }

    /// Takes one event from the front. `None` if it is not whole, or is no event.
    pub fn decode(from: &mut &[u8]) -> Option<Self> {
        let mut fields = Fields(from);
        let tag = fields.u8()?;
        let event = match tag {
            0 => Self::LogMade { log: fields.log()?, durability: fields.durability()? },
            1 => Self::LogEnding { log: fields.log()? },
            2 => Self::WriterMade { writer: fields.writer()?, retries: fields.retries()? },
            3..=5 => fields.written(tag)?,
            6 => Self::Asked {
                reader: fields.reader()?,
                log: fields.log()?,
                position: fields.offset()?,
            },
            7..=9 | 13..=15 | 17 => fields.answer(tag)?,
            16 => Self::Damaged {
                log: fields.log()?,
                first: fields.offset()?,
                end: fields.offset()?,
                is_lasting: fields.u32()? == 1,
            },
            10 => Self::Cutting { log: fields.log()?, before: fields.offset()? },
            11 => Self::Cut { log: fields.log()?, log_start: fields.offset()? },
            12 => Self::Crashed,
            18 => Self::Compacted { log: fields.log()? },
            19 => Self::Forgetting { log: fields.log()?, before: fields.offset()? },
            _ => return None,
        };
        *from = fields.0;
        Some(event)
    }
}

/// An event that is being written.
struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    fn begin(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn u32(&mut self, field: u32) -> &mut Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    fn u64(&mut self, field: u64) -> &mut Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    fn offset(&mut self, field: Offset) -> &mut Self {
        self.0.extend_from_slice(&field.get().to_be_bytes());
        self
    }

    fn seen(&mut self, seen: &[Seen]) {
        self.u32(u32::try_from(seen.len()).expect("a read is smaller than 4 GiB"));
        for Seen { offset, value } in seen {
            self.offset(*offset).u32(u32::from(value.is_some()));
            if let Some(value) = value {
                self.u32(value.run).u32(value.log.0).u32(value.writer.0).u64(value.sequence);
            }
        }
    }
}

/// The rest of an event that is being read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (field, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*field))
    }

    fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*field))
    }

    fn offset(&mut self) -> Option<Offset> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Offset::checked(i64::from_be_bytes(*field))
    }

    fn log(&mut self) -> Option<LogId> {
        self.u32().map(LogId)
    }

    fn writer(&mut self) -> Option<WriterId> {
        self.u32().map(WriterId)
    }

    fn reader(&mut self) -> Option<ReaderId> {
        self.u32().map(ReaderId)
    }

    fn durability(&mut self) -> Option<Durability> {
        Some(if self.u32()? == 1 { Durability::Memory } else { Durability::Device })
    }

    fn retries(&mut self) -> Option<Retries> {
        Some(if self.u32()? == 1 { Retries::Plain } else { Retries::Deduplicated })
    }

    fn written(&mut self, tag: u8) -> Option<Event> {
        let (writer, log) = (self.writer()?, self.log()?);
        let (first, count) = (self.u64()?, self.u32()?);
        Some(match tag {
            3 => Event::Sent { writer, log, first, count },
            4 => Event::Acked { writer, log, first, count, base: self.offset()? },
            _ => Event::Refused { writer, log, first, count },
        })
    }

    fn answer(&mut self, tag: u8) -> Option<Event> {
        let (reader, log) = (self.reader()?, self.log()?);
        Some(match tag {
            7 => {
                let (log_start, last_stable) = (self.offset()?, self.offset()?);
                let high_watermark = self.offset()?;
                let seen = (0..self.u32()?).map(|_| self.seen()).collect::<Option<Vec<_>>>()?;
                let next = self.offset()?;
                Event::Read { reader, log, log_start, last_stable, high_watermark, seen, next }
            }
            8 => Event::OutOfRange { reader, log, position: self.offset()? },
            9 => Event::Unanswered { reader, log },
            13 => Event::Final { reader, log },
            14 => Event::FoundStart { reader, log, log_start: self.offset()? },
            17 => Event::Corrupt { reader, log },
            _ => Event::FoundEnd { reader, log, high_watermark: self.offset()? },
        })
    }

    fn seen(&mut self) -> Option<Seen> {
        let offset = self.offset()?;
        if self.u32()? == 0 {
            return Some(Seen { offset, value: None });
        }
        let (run, log, writer) = (self.u32()?, self.log()?, self.writer()?);
        let value = Some(Value { run, log, writer, sequence: self.u64()? });
        Some(Seen { offset, value })
    }
}

#[cfg(test)]
mod tests {
    use engine::id::Offset;

    use super::{
        Durability, Event, LogId, ReaderId, Retries, Seen, VALUE_BYTES_MIN, Value, WriterId,
    };

    const VALUE: Value = Value { run: 1, log: LogId(2), writer: WriterId(3), sequence: 4 };

    #[test]
    fn a_value_knows_itself() {
        for bytes in [0, VALUE_BYTES_MIN, 25, 1000] {
            assert_eq!(Value::decode(&VALUE.encode(bytes)), Some(VALUE));
        }
    }

    #[test]
    fn a_changed_value_is_nobodys() {
        let encoded = VALUE.encode(100);
        for index in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[index] ^= 1;
            assert_eq!(Value::decode(&changed), None);
            assert_eq!(Value::decode(&encoded[..index]), None);
        }
    }

    #[test]
    fn every_event_comes_back_from_its_bytes_and_from_no_prefix() {
        let (log, writer, reader) = (LogId(1), WriterId(2), ReaderId(3));
        let (log_start, high_watermark) = (Offset::ZERO, Offset::new(9));
        let seen = |value| Seen { offset: Offset::new(5), value };
        let events = [
            Event::LogMade { log, durability: Durability::Memory },
            Event::LogEnding { log },
            Event::WriterMade { writer, retries: Retries::Plain },
            Event::Sent { writer, log, first: 7, count: 2 },
            Event::Acked { writer, log, first: 7, count: 2, base: Offset::new(3) },
            Event::Refused { writer, log, first: 7, count: 2 },
            Event::Asked { reader, log, position: Offset::new(4) },
            Event::Read {
                reader,
                log,
                log_start,
                last_stable: Offset::new(8),
                high_watermark,
                seen: vec![seen(None), seen(Some(VALUE))],
                next: Offset::new(6),
            },
            Event::Compacted { log },
            Event::Forgetting { log, before: high_watermark },
            Event::OutOfRange { reader, log, position: high_watermark },
            Event::FoundStart { reader, log, log_start },
            Event::FoundEnd { reader, log, high_watermark },
            Event::Unanswered { reader, log },
            Event::Cutting { log, before: high_watermark },
            Event::Cut { log, log_start },
            Event::Crashed,
            Event::Final { reader, log },
            Event::Damaged { log, first: log_start, end: high_watermark, is_lasting: true },
            Event::Corrupt { reader, log },
        ];
        for event in events {
            let mut encoded = Vec::new();
            event.encode(&mut encoded);
            for end in 0..encoded.len() {
                assert_eq!(Event::decode(&mut &encoded[..end]), None);
            }
            let mut rest = &encoded[..];
            assert_eq!(Event::decode(&mut rest), Some(event));
            assert!(rest.is_empty());
        }
    }
}
