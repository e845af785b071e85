//! Kafka's primitive types, written. Our own values only, so a value that does not fit is a bug.
//!
//! Knows no API. The same method writes both layouts of `codec.rs`.

use crate::codec::{Layout, STRING_BYTES_MAX};

/// A message being written.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    layout: Layout,
}

impl Writer {
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { bytes: Vec::new(), layout }
    }

    #[must_use]
    pub fn with_capacity(layout: Layout, byte_count: usize) -> Self {
        Self { bytes: Vec::with_capacity(byte_count), layout }
    }

    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Headers have a layout of their own, so it changes after them.
    pub const fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    #[must_use]
    pub const fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What generated encoders write to.
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    pub fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    pub fn uuid(&mut self, value: [u8; 16]) {
        self.raw(&value);
    }

    pub fn uvarint(&mut self, value: u32) {
        let mut rest = value;
        loop {
            let group = u8::try_from(rest & 0x7f).expect("seven bits fit");
            rest >>= 7;
            if rest == 0 {
                self.bytes.push(group);
                return;
            }
            self.bytes.push(group | 0x80);
        }
    }

    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// A text longer than any string may be is cut: only messages for people can be that long.
    pub fn nullable_string(&mut self, value: Option<&str>) {
        let value = value.map(|text| &text[..text.floor_char_boundary(STRING_BYTES_MAX)]);
        match (self.layout, value) {
            (Layout::Plain, None) => self.i16(-1),
            (Layout::Plain, Some(text)) => {
                self.i16(i16::try_from(text.len()).expect("cut to the limit above"));
                self.raw(text.as_bytes());
            }
            (Layout::Flexible, None) => self.uvarint(0),
            (Layout::Flexible, Some(text)) => {
                self.compact_length(text.len());
                self.raw(text.as_bytes());
            }
        }
    }

    /// The length that comes before bytes; the bytes themselves may be sent from elsewhere.
    pub fn bytes_length(&mut self, byte_count: usize) {
        self.count(byte_count);
    }

    pub fn bytes(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.null_count(),
            Some(value) => {
                self.bytes_length(value.len());
                self.raw(value);
            }
        }
    }

    /// The number of elements that follow.
    pub fn count(&mut self, count: usize) {
        match self.layout {
            Layout::Plain => self.i32(i32::try_from(count).expect("fewer than 2^31 elements")),
            Layout::Flexible => self.compact_length(count),
        }
    }

    /// A null array, or null bytes.
    pub fn null_count(&mut self) {
        match self.layout {
            Layout::Plain => self.i32(-1),
            Layout::Flexible => self.uvarint(0),
        }
    }

    /// The end of a struct without tagged fields.
    pub fn end_struct(&mut self) {
        if self.layout == Layout::Flexible {
            self.uvarint(0);
        }
    }

    /// The end of a struct with tagged fields, in ascending order of tags.
    pub fn tagged(&mut self, fields: &[(u32, Vec<u8>)]) {
        if self.layout == Layout::Plain {
            return;
        }
        self.uvarint(u32::try_from(fields.len()).expect("fewer than 2^31 fields"));
        for (tag, value) in fields {
            self.uvarint(*tag);
            self.uvarint(u32::try_from(value.len()).expect("fewer than 2^31 bytes"));
            self.raw(value);
        }
    }

    fn compact_length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("fewer than 2^31 bytes or elements");
        self.uvarint(length + 1);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Writer;
    use crate::codec::{Layout, Reader, STRING_BYTES_MAX};

    #[test]
    fn what_is_written_is_read() {
        for layout in [Layout::Plain, Layout::Flexible] {
            let mut writer = Writer::new(layout);
            writer.bool(true);
            writer.i64(-5);
            writer.uuid([7; 16]);
            writer.string("hi");
            writer.nullable_string(None);
            writer.bytes(Some(b"abc"));
            writer.bytes(None);
            writer.count(300);
            let frame = Bytes::from([writer.into_bytes(), vec![0; 300]].concat());

            let mut reader = Reader::new(&frame, layout);
            assert_eq!(reader.bool(), Ok(true));
            assert_eq!(reader.i64(), Ok(-5));
            assert_eq!(reader.uuid(), Ok([7; 16]));
            assert_eq!(reader.string().unwrap().as_str(), "hi");
            assert_eq!(reader.nullable_string(), Ok(None));
            assert_eq!(reader.bytes(), Ok(Some(Bytes::from_static(b"abc"))));
            assert_eq!(reader.bytes(), Ok(None));
            assert_eq!(reader.count(), Ok(300));
        }
    }

    #[test]
    fn varints_of_every_width() {
        for bits in 0..32 {
            for value in [(1_u32 << bits) - 1, 1 << bits, u32::MAX] {
                let mut writer = Writer::new(Layout::Flexible);
                writer.uvarint(value);
                let frame = Bytes::from(writer.into_bytes());
                assert_eq!(Reader::new(&frame, Layout::Flexible).uvarint(), Ok(value));
            }
        }
    }

    #[test]
    fn a_message_too_long_is_cut_at_a_character() {
        let long = "\u{e9}".repeat(STRING_BYTES_MAX);
        let mut writer = Writer::new(Layout::Plain);
        writer.string(&long);
        let frame = Bytes::from(writer.into_bytes());
        let got = Reader::new(&frame, Layout::Plain).string().unwrap();
        assert_eq!(got.len(), STRING_BYTES_MAX - 1);
    }
}
