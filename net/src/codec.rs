//! Kafka's primitive types, read from a frame. Bytes come from strangers, so nothing here can panic
//! on them, and nothing is allocated because a length was announced.
//!
//! Knows no API. The same method reads both layouts: `Plain` has fixed-width lengths, `Flexible` has
//! varint lengths, one higher, and tagged fields at the end of each struct.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

/// Longest string of any API, in bytes: the plain layout has 16 bits for it.
pub const STRING_BYTES_MAX: usize = 32_767;

/// Elements of all arrays of one request, and its tagged fields. A request with more is refused, as each
/// costs time and memory.
pub const ELEMENTS_MAX: usize = 1 << 18;

/// Elements for which an array makes room before they are seen.
const ELEMENTS_EXPECTED: usize = 8;

/// Why bytes are not what they claim to be. Whoever sent them is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a field.
    Truncated,
    /// A length that no field may have.
    BadLength,
    /// A varint of more than 32 bits.
    BadVarint,
    /// A null in a field that has none.
    UnexpectedNull,
    /// More elements than one message may have.
    TooManyElements,
    /// An API that we do not speak.
    UnknownApi,
    /// A version of an API that we do not speak.
    UnknownVersion,
}

/// How lengths are written, and whether structs end with tagged fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Plain,
    Flexible,
}

impl Layout {
    /// The layout of `version` of an API whose first flexible version is `flexible_from`.
    #[must_use]
    pub const fn of(version: i16, flexible_from: i16) -> Self {
        if version < flexible_from { Self::Plain } else { Self::Flexible }
    }
}

/// A place in a frame. What it hands out are slices of the frame, never copies.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
    layout: Layout,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(frame: &'a Bytes, layout: Layout) -> Self {
        Self::bounded(frame, layout, ELEMENTS_MAX)
    }

    /// As `new`, for a message of at most so many elements.
    #[must_use]
    pub fn bounded(frame: &'a Bytes, layout: Layout, elements_max: usize) -> Self {
        Self { frame, rest: frame, layout, elements_left: elements_max.min(ELEMENTS_MAX) }
    }

    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// A header has a layout of its own, so it changes inside one.
    pub const fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Elements that may still come.
    #[must_use]
    pub const fn elements_left(&self) -> usize {
        self.elements_left
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything not read yet.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.frame.slice_ref(self.rest)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }

    /// Anything but 0 is true, as for Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.array()
    }

    /// At most five bytes, at most 32 bits. Leading zero groups are accepted, as Kafka does.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0_u32, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let group = u32::from(byte & 0x7f);
            if shift == 28 && group > 0x0f {
                return Err(DecodeError::BadVarint);
            }
            value |= group.checked_shl(shift).ok_or(DecodeError::BadVarint)?;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::BadVarint)
    }

    pub fn slice(&mut self, byte_count: usize) -> Result<&'a [u8], DecodeError> {
        let (field, rest) = self.rest.split_at_checked(byte_count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(field)
    }

    /// A slice of the frame: keeps the frame's memory for as long as it lives.
    pub fn bytes(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let byte_count = match self.layout {
            Layout::Plain => plain_length(self.i32()?)?,
            Layout::Flexible => compact_length(self.uvarint()?),
        };
        let Some(byte_count) = byte_count else { return Ok(None) };
        let field = self.slice(byte_count)?;
        Ok(Some(self.frame.slice_ref(field)))
    }

    /// The raw bytes of a string that may be null.
    pub fn string_slice(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let byte_count = match self.layout {
            Layout::Plain => plain_length(i32::from(self.i16()?))?,
            Layout::Flexible => compact_length(self.uvarint()?),
        };
        let Some(byte_count) = byte_count else { return Ok(None) };
        if byte_count > STRING_BYTES_MAX {
            return Err(DecodeError::BadLength);
        }
        self.slice(byte_count).map(Some)
    }

    /// Bytes that are not UTF-8 are replaced, as Kafka does; all others are a slice of the frame.
    pub fn string(&mut self) -> Result<StrBytes, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::UnexpectedNull)
    }

    pub fn nullable_string(&mut self) -> Result<Option<StrBytes>, DecodeError> {
        let Some(field) = self.string_slice()? else { return Ok(None) };
        let text = StrBytes::from_utf8(self.frame.slice_ref(field))
            .unwrap_or_else(|_| StrBytes::from_string(String::from_utf8_lossy(field).into_owned()));
        Ok(Some(text))
    }

    /// Announced elements of an array that may be null. Never more than bytes are left.
    pub fn nullable_count(&mut self) -> Result<Option<usize>, DecodeError> {
        let count = match self.layout {
            Layout::Plain => plain_length(self.i32()?)?,
            Layout::Flexible => compact_length(self.uvarint()?),
        };
        let Some(count) = count else { return Ok(None) };
        if count > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        self.count_elements(count)?;
        Ok(Some(count))
    }

    pub fn count(&mut self) -> Result<usize, DecodeError> {
        self.nullable_count()?.ok_or(DecodeError::UnexpectedNull)
    }

    /// An array, element by element. Memory grows with the elements that are really there.
    pub fn list<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_list(element)?.ok_or(DecodeError::UnexpectedNull)
    }

    pub fn nullable_list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.nullable_count()? else { return Ok(None) };
        let mut elements = Vec::with_capacity(count.min(ELEMENTS_EXPECTED));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// The end of a struct: skips its tagged fields, if the layout has them.
    pub fn end_struct(&mut self) -> Result<(), DecodeError> {
        self.tagged(|_, _| Ok(()))
    }

    /// The end of a struct whose tagged fields matter. Tags may repeat and come in any order.
    pub fn tagged(
        &mut self,
        mut on_tag: impl FnMut(u32, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.layout == Layout::Plain {
            return Ok(());
        }
        let count = usize::try_from(self.uvarint()?).or(Err(DecodeError::BadLength))?;
        self.count_elements(count)?;
        for _ in 0..count {
            let tag = self.uvarint()?;
            let byte_count = usize::try_from(self.uvarint()?).or(Err(DecodeError::BadLength))?;
            let field = self.slice(byte_count)?;
            let mut value = Self {
                frame: self.frame,
                rest: field,
                layout: self.layout,
                elements_left: self.elements_left,
            };
            on_tag(tag, &mut value)?;
            self.elements_left = value.elements_left;
        }
        Ok(())
    }

    fn count_elements(&mut self, count: usize) -> Result<(), DecodeError> {
        let left = self.elements_left.checked_sub(count);
        self.elements_left = left.ok_or(DecodeError::TooManyElements)?;
        Ok(())
    }
}

/// Every negative length is null, as for Kafka.
fn plain_length(length: i32) -> Result<Option<usize>, DecodeError> {
    if length < 0 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).or(Err(DecodeError::BadLength))
}

fn compact_length(length_plus_one: u32) -> Option<usize> {
    usize::try_from(length_plus_one.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::protocol::StrBytes;

    use super::{DecodeError, ELEMENTS_MAX, Layout, Reader};

    #[track_caller]
    fn check_string(
        layout: Layout,
        input: &'static [u8],
        want: Result<Option<&'static str>, DecodeError>,
    ) {
        let frame = Bytes::from_static(input);
        let got = Reader::new(&frame, layout).nullable_string();
        let want = want.map(|text| text.map(StrBytes::from_static_str));
        assert_eq!(got, want);
    }

    #[track_caller]
    fn check_uvarint(input: &'static [u8], want: Result<u32, DecodeError>) {
        let frame = Bytes::from_static(input);
        assert_eq!(Reader::new(&frame, Layout::Flexible).uvarint(), want);
    }

    #[track_caller]
    fn check_count(input: &'static [u8], want: Result<Option<usize>, DecodeError>) {
        let frame = Bytes::from_static(input);
        assert_eq!(Reader::new(&frame, Layout::Plain).nullable_count(), want);
    }

    #[test]
    fn plain_strings() {
        check_string(Layout::Plain, b"\x00\x02hi", Ok(Some("hi")));
        check_string(Layout::Plain, b"\x00\x00", Ok(Some("")));
        check_string(Layout::Plain, b"\xff\xff", Ok(None));
        check_string(Layout::Plain, b"\xff\xfe", Ok(None));
        check_string(Layout::Plain, b"\x00\x03hi", Err(DecodeError::Truncated));
        check_string(Layout::Plain, b"\x00", Err(DecodeError::Truncated));
        check_string(Layout::Plain, b"\x00\x02\xffa", Ok(Some("\u{fffd}a")));
    }

    #[test]
    fn compact_strings() {
        check_string(Layout::Flexible, b"\x03hi", Ok(Some("hi")));
        check_string(Layout::Flexible, b"\x01", Ok(Some("")));
        check_string(Layout::Flexible, b"\x00", Ok(None));
        check_string(Layout::Flexible, b"\x04hi", Err(DecodeError::Truncated));
        check_string(Layout::Flexible, b"\xff\xff\xff\xff\x0f", Err(DecodeError::BadLength));
    }

    #[test]
    fn varints_have_at_most_32_bits() {
        check_uvarint(b"\x00", Ok(0));
        check_uvarint(b"\xac\x02", Ok(300));
        check_uvarint(b"\x80\x00", Ok(0));
        check_uvarint(b"\xff\xff\xff\xff\x0f", Ok(u32::MAX));
        check_uvarint(b"\xff\xff\xff\xff\x1f", Err(DecodeError::BadVarint));
        check_uvarint(b"\x80\x80\x80\x80\x80\x00", Err(DecodeError::BadVarint));
        check_uvarint(b"\x80", Err(DecodeError::Truncated));
    }

    #[test]
    fn an_array_has_no_more_elements_than_bytes() {
        check_count(b"\x00\x00\x00\x01a", Ok(Some(1)));
        check_count(b"\x00\x00\x00\x02a", Err(DecodeError::Truncated));
        check_count(b"\x7f\xff\xff\xffa", Err(DecodeError::Truncated));
        check_count(b"\xff\xff\xff\xff", Ok(None));
    }

    #[test]
    fn a_message_has_a_bounded_number_of_elements() {
        for (count, want) in [
            (ELEMENTS_MAX, Ok(ELEMENTS_MAX)),
            (ELEMENTS_MAX + 1, Err(DecodeError::TooManyElements)),
        ] {
            let mut raw = u32::try_from(count).unwrap().to_be_bytes().to_vec();
            raw.resize(4 + count, 0);
            let frame = Bytes::from(raw);
            assert_eq!(Reader::new(&frame, Layout::Plain).count(), want);
        }
    }

    #[test]
    fn tagged_fields_are_elements_too() {
        let frame = Bytes::from_static(b"\x03\x05\0\x06\0\x07\0");
        for (elements_max, want) in [(3, Ok(())), (2, Err(DecodeError::TooManyElements))] {
            let mut reader = Reader::bounded(&frame, Layout::Flexible, elements_max);
            assert_eq!(reader.end_struct(), want);
        }
    }

    #[test]
    fn tagged_fields_are_skipped_in_any_order() {
        let frame = Bytes::from_static(b"\x03\x05\x01a\x01\x00\x05\x02bcX");
        let mut reader = Reader::new(&frame, Layout::Flexible);
        assert_eq!(reader.end_struct(), Ok(()));
        assert_eq!(reader.rest(), b"X");
        for end in 0..frame.len() - 1 {
            let cut = frame.slice(..end);
            let got = Reader::new(&cut, Layout::Flexible).end_struct();
            assert_eq!(got, Err(DecodeError::Truncated));
        }
    }
}
