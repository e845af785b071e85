//! What generated decoders are not careful about, checked before they see a message.
//!
//! They make room for as many elements as are announced, take nothing but UTF-8, and know -1 as the
//! only null. So a message is walked along its schema and rewritten: lengths hold, strings are UTF-8,
//! nulls are where they may be, unknown tagged fields are gone. Then decoding it cannot fail.
//!
//! The schemas are tables, in `schema/`. Bytes come from strangers, so nothing here can panic on them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

pub mod request;
pub mod response;

use bytes::Bytes;

use crate::codec::{DecodeError, Layout, Reader};
use crate::writer::Writer;

/// What a field is made of.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number, a bool or a uuid.
    Fixed(usize),
    String,
    Bytes,
    Array(&'static Self),
    /// An array of structs.
    Structs(&'static Struct),
    Struct(&'static Struct),
    /// A struct that may be null.
    Optional(&'static Struct),
}

/// Before a struct that may be null: any negative byte means null, any other that it follows.
pub const ABSENT: [u8; 1] = [0xff];
pub const PRESENT: [u8; 1] = [1];

pub const BYTE: Kind = Kind::Fixed(1);
pub const I16: Kind = Kind::Fixed(2);
pub const I32: Kind = Kind::Fixed(4);
pub const I64: Kind = Kind::Fixed(8);
pub const UUID: Kind = Kind::Fixed(16);

#[derive(Clone, Copy, Debug)]
pub struct Struct {
    pub fields: &'static [Field],
    /// Those of the flexible layout that matter.
    pub tagged: &'static [(u32, Kind)],
}

/// A field and the versions that have it, both ends inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    kind: Kind,
    first: i16,
    last: i16,
    nullable_from: i16,
}

impl Struct {
    #[must_use]
    pub const fn new(fields: &'static [Field]) -> Self {
        Self { fields, tagged: &[] }
    }
}

impl Field {
    /// In every version, never null.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, first: i16::MIN, last: i16::MAX, nullable_from: i16::MAX }
    }

    #[must_use]
    pub const fn from(kind: Kind, first: i16) -> Self {
        Self { first, ..Self::new(kind) }
    }

    #[must_use]
    pub const fn until(self, last: i16) -> Self {
        Self { last, ..self }
    }

    #[must_use]
    pub const fn nullable(self) -> Self {
        self.nullable_from(i16::MIN)
    }

    #[must_use]
    pub const fn nullable_from(self, nullable_from: i16) -> Self {
        Self { nullable_from, ..self }
    }

    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    #[must_use]
    pub const fn is_nullable(&self, version: i16) -> bool {
        self.nullable_from <= version
    }

    #[must_use]
    pub const fn is_in(&self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    const fn null(&self, version: i16) -> Null {
        if self.is_nullable(version) { Null::Kept } else { Null::Refused }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Null {
    Refused,
    Kept,
}

/// The same message as `body`, sound in every length, and how many of `elements_max` it has. Trailing
/// bytes are ignored.
pub fn canonical(
    schema: &Struct,
    version: i16,
    layout: Layout,
    body: &Bytes,
    elements_max: usize,
) -> Result<(Bytes, usize), DecodeError> {
    let writer = Writer::with_capacity(layout, body.len());
    let mut reader = Reader::bounded(body, layout, elements_max);
    let elements_before = reader.elements_left();
    let mut rewrite = Rewrite { version, reader: &mut reader, writer };
    rewrite.copy_struct(schema)?;
    let sound = Bytes::from(rewrite.writer.into_bytes());
    Ok((sound, elements_before.saturating_sub(reader.elements_left())))
}

struct Rewrite<'r, 'a> {
    version: i16,
    reader: &'r mut Reader<'a>,
    writer: Writer,
}

impl Rewrite<'_, '_> {
    fn copy_struct(&mut self, schema: &Struct) -> Result<(), DecodeError> {
        let version = self.version;
        for field in schema.fields.iter().filter(|field| field.is_in(version)) {
            self.copy(&field.kind, field.null(version))?;
        }
        self.copy_tagged(schema)
    }

    fn copy(&mut self, kind: &Kind, null: Null) -> Result<(), DecodeError> {
        match kind {
            Kind::Fixed(byte_count) => self.writer.raw(self.reader.slice(*byte_count)?),
            Kind::String => match self.reader.string_slice()? {
                Some(raw) => self.writer.string(&String::from_utf8_lossy(raw)),
                None if null == Null::Kept => self.writer.nullable_string(None),
                None => return Err(DecodeError::UnexpectedNull),
            },
            Kind::Bytes => match self.reader.bytes()? {
                Some(raw) => self.writer.bytes(Some(&raw)),
                None => return Err(DecodeError::UnexpectedNull),
            },
            Kind::Array(element) => {
                for _ in 0..self.copy_count(null)? {
                    self.copy(element, Null::Refused)?;
                }
            }
            Kind::Structs(schema) => {
                for _ in 0..self.copy_count(null)? {
                    self.copy_struct(schema)?;
                }
            }
            Kind::Struct(schema) => self.copy_struct(schema)?,
            Kind::Optional(schema) => {
                let is_null = self.reader.slice(1)?.first().is_none_or(|mark| 0x80 <= *mark);
                self.writer.raw(if is_null { &ABSENT } else { &PRESENT });
                if !is_null {
                    self.copy_struct(schema)?;
                }
            }
        }
        Ok(())
    }

    fn copy_count(&mut self, null: Null) -> Result<usize, DecodeError> {
        match self.reader.nullable_count()? {
            Some(count) => {
                self.writer.count(count);
                Ok(count)
            }
            None if null == Null::Kept => {
                self.writer.null_count();
                Ok(0)
            }
            None => Err(DecodeError::UnexpectedNull),
        }
    }

    /// Of a tag that repeats, the last one counts.
    fn copy_tagged(&mut self, schema: &Struct) -> Result<(), DecodeError> {
        let mut kept: Vec<Option<Vec<u8>>> = vec![None; schema.tagged.len()];
        let version = self.version;
        self.reader.tagged(|tag, value| {
            let known = schema.tagged.iter().zip(&mut kept).find(|((known, _), _)| *known == tag);
            let Some(((_, kind), slot)) = known else { return Ok(()) };
            let writer = Writer::new(value.layout());
            let mut rewrite = Rewrite { version, reader: value, writer };
            rewrite.copy(kind, Null::Refused)?;
            *slot = Some(rewrite.writer.into_bytes());
            Ok(())
        })?;
        let kept = schema.tagged.iter().zip(kept);
        let kept: Vec<(u32, Vec<u8>)> =
            kept.filter_map(|((tag, _), value)| Some((*tag, value?))).collect();
        self.writer.tagged(&kept);
        Ok(())
    }
}
