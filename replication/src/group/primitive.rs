//! Kafka's primitive types, as its internal records carry them.
//!
//! Knows no record. Bytes come from a log that another broker may have written, so nothing here can
//! panic on them.
//!
//! ```text
//! plain     string   length i16 (-1: null) | UTF-8      bytes  length i32 | bytes     array  count i32 | items
//! flexible  string   length + 1 as a varint (0: null)   bytes  likewise                array  likewise
//!           and tags after each struct: count varint, then of each: tag varint | length varint | bytes
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

/// The longest text, but for names that are never written plainly: there is no room for more then, and what
/// is read may be written anew.
const TEXT_BYTES_MAX: i64 = 32_767;

/// How a version writes lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Plain,
    Flexible,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    Truncated,
    /// A length below what it may be, or more elements than bytes.
    OutOfRange,
    NotUtf8,
    /// A value of a version that is not known.
    UnknownVersion,
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    layout: Layout,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, layout: Layout::Plain }
    }

    /// From here on.
    pub(crate) fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        self.nullable_text()?.ok_or(RecordError::OutOfRange)
    }

    pub(crate) fn nullable_text(&mut self) -> Result<Option<&'a str>, RecordError> {
        self.text_up_to(TEXT_BYTES_MAX)
    }

    /// One that is never written plainly.
    pub(crate) fn long_text(&mut self) -> Result<&'a str, RecordError> {
        self.text_up_to(i64::MAX)?.ok_or(RecordError::OutOfRange)
    }

    fn text_up_to(&mut self, bytes_max: i64) -> Result<Option<&'a str>, RecordError> {
        let length = match self.layout {
            Layout::Plain => i64::from(self.i16()?),
            Layout::Flexible => self.compact_length()?,
        };
        if length > bytes_max {
            return Err(RecordError::OutOfRange);
        }
        let Some(bytes) = self.counted(length)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).or(Err(RecordError::NotUtf8))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        self.nullable_bytes()?.ok_or(RecordError::OutOfRange)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        let length = self.length()?;
        self.counted(length)
    }

    /// Elements in order; each takes at least a byte, so that no count is believed.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = usize::try_from(self.length()?).or(Err(RecordError::OutOfRange))?;
        if count > self.rest.len() {
            return Err(RecordError::OutOfRange);
        }
        (0..count).map(|_| element(self)).collect()
    }

    /// The tagged fields of a struct: what a later version added, each with its tag.
    pub(crate) fn tags(&mut self) -> Result<Vec<(u32, &'a [u8])>, RecordError> {
        if self.layout == Layout::Plain {
            return Ok(Vec::new());
        }
        let mut tags = Vec::new();
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let length = i64::from(self.varint()?);
            tags.push((tag, self.counted(length)?.ok_or(RecordError::OutOfRange)?));
        }
        Ok(tags)
    }

    fn length(&mut self) -> Result<i64, RecordError> {
        match self.layout {
            Layout::Plain => self.i32().map(i64::from),
            Layout::Flexible => self.compact_length(),
        }
    }

    /// -1 for null.
    fn compact_length(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from(self.varint()?).saturating_sub(1))
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(RecordError::OutOfRange);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::OutOfRange)
    }

    fn counted(&mut self, length: i64) -> Result<Option<&'a [u8]>, RecordError> {
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).or(Err(RecordError::OutOfRange))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(Some(bytes))
    }
}

pub(crate) struct Writer {
    out: Vec<u8>,
    layout: Layout,
}

impl Writer {
    /// `version` comes first, plainly.
    pub(crate) fn new(version: i16, layout: Layout) -> Self {
        Self { out: version.to_be_bytes().to_vec(), layout }
    }

    /// The value of a tag, which has no version.
    pub(crate) fn tagged() -> Self {
        Self { out: Vec::new(), layout: Layout::Flexible }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// # Panics
    /// If a plain one is above 32,767 bytes: requests with such texts are refused.
    pub(crate) fn text(&mut self, text: &str) {
        self.nullable_text(Some(text));
    }

    #[expect(clippy::expect_used, reason = "texts are bounded before they become records")]
    pub(crate) fn nullable_text(&mut self, text: Option<&str>) {
        match (self.layout, text) {
            (Layout::Plain, None) => self.raw(&(-1_i16).to_be_bytes()),
            (Layout::Plain, Some(text)) => {
                let length = i16::try_from(text.len()).expect("a text is at most 32,767 bytes");
                self.raw(&length.to_be_bytes());
            }
            (Layout::Flexible, None) => self.varint(0),
            (Layout::Flexible, Some(text)) => self.length(text.len()),
        }
        self.raw(text.unwrap_or_default().as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn list<T>(
        &mut self,
        elements: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.length(elements.len());
        elements.for_each(|element| write(self, element));
    }

    /// The end of a flexible struct: what later versions added, in the order of their tags.
    #[expect(clippy::expect_used, reason = "what is in memory is far below 4 GiB")]
    pub(crate) fn tags<const N: usize>(&mut self, tags: [(u32, Vec<u8>); N]) {
        self.varint(u32::try_from(N).expect("a few tags"));
        for (tag, value) in tags {
            self.varint(tag);
            self.varint(u32::try_from(value.len()).expect("at most 4 GiB"));
            self.raw(&value);
        }
    }

    #[expect(clippy::expect_used, reason = "what is in memory is far below 2 GiB")]
    fn length(&mut self, length: usize) {
        match self.layout {
            Layout::Plain => self.i32(i32::try_from(length).expect("at most 2 GiB")),
            Layout::Flexible => {
                let length = u32::try_from(length).expect("at most 4 GiB");
                self.varint(length.saturating_add(1));
            }
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value.to_be_bytes()[3] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_be_bytes()[3]);
    }
}
