//! One frame to send: pieces in order. Bytes are written here, records stay where they lie.
//!
//! Knows no API. The size before the frame counts the records, so their length is known up front and
//! whoever sends them sends exactly that much.

use bytes::Bytes;

use crate::codec::Layout;
use crate::frame::PREFIX_BYTES;
use crate::header::{self, Reply, RequestHeader};
use crate::writer::Writer;

/// Enough for most answers and small requests.
const FRAME_BYTES_EXPECTED: usize = 256;

/// The message says something that its version cannot say, or more than one frame can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexpressible;

/// What the sender sends next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<R> {
    Bytes(Bytes),
    Records(Records<R>),
}

impl<R> Piece<R> {
    const fn byte_count(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Records(records) => records.byte_count,
        }
    }
}

/// Record bytes that lie elsewhere: a slice of memory, a range of a file, or several of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records<R> {
    handle: R,
    byte_count: usize,
}

impl<R> Records<R> {
    #[must_use]
    pub const fn new(handle: R, byte_count: usize) -> Self {
        Self { handle, byte_count }
    }

    /// What the sender has to send for `handle`, to the byte.
    #[must_use]
    pub const fn byte_count(&self) -> usize {
        self.byte_count
    }

    #[must_use]
    pub const fn handle(&self) -> &R {
        &self.handle
    }

    #[must_use]
    pub fn into_handle(self) -> R {
        self.handle
    }
}

impl Records<Bytes> {
    #[must_use]
    pub const fn from_bytes(bytes: Bytes) -> Self {
        let byte_count = bytes.len();
        Self { handle: bytes, byte_count }
    }
}

/// A frame being written.
#[derive(Debug)]
pub struct Outgoing<R> {
    writer: Writer,
    /// Where in the written bytes something else comes, in order.
    cuts: Vec<(usize, Piece<R>)>,
}

impl<R> Outgoing<R> {
    /// A response: the writer is left in the layout of its version, after the header.
    #[must_use]
    pub fn response(reply: Reply) -> Self {
        let mut frame = Self::prefixed();
        header::write_response(&mut frame.writer, reply);
        frame
    }

    /// A request: the writer is left in the layout of its version, after the header.
    #[must_use]
    pub fn request(header: &RequestHeader) -> Self {
        let mut frame = Self::prefixed();
        header::write_request(&mut frame.writer, header);
        frame
    }

    pub const fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Records come here.
    pub fn records(&mut self, records: Records<R>) {
        if records.byte_count > 0 {
            self.cuts.push((self.writer.byte_count(), Piece::Records(records)));
        }
    }

    /// Bytes that were written elsewhere come here, as they are.
    pub fn chunk(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.cuts.push((self.writer.byte_count(), Piece::Bytes(bytes)));
        }
    }

    /// # Errors
    /// If the frame has 2^31 bytes or more: close the connection.
    pub fn finish(self) -> Result<Vec<Piece<R>>, Inexpressible> {
        let cut_bytes: usize = self.cuts.iter().map(|(_, piece)| piece.byte_count()).sum();
        let mut bytes = self.writer.into_bytes();
        let frame_bytes = bytes.len() - PREFIX_BYTES + cut_bytes;
        let prefix = i32::try_from(frame_bytes).or(Err(Inexpressible))?;
        bytes[..PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());

        let bytes = Bytes::from(bytes);
        let mut pieces = Vec::with_capacity(self.cuts.len() * 2 + 1);
        let mut start = 0;
        for (end, piece) in self.cuts {
            if start < end {
                pieces.push(Piece::Bytes(bytes.slice(start..end)));
            }
            pieces.push(piece);
            start = end;
        }
        if start < bytes.len() {
            pieces.push(Piece::Bytes(bytes.slice(start..)));
        }
        Ok(pieces)
    }

    fn prefixed() -> Self {
        let mut writer = Writer::with_capacity(Layout::Plain, FRAME_BYTES_EXPECTED);
        writer.i32(0);
        Self { writer, cuts: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Inexpressible, Outgoing, Piece, Records};
    use crate::api::ApiKey;
    use crate::header::Reply;

    #[test]
    fn the_size_counts_the_records() {
        let mut frame =
            Outgoing::response(Reply { api: ApiKey::Fetch, version: 4, correlation_id: 1 });
        frame.writer().raw(b"ab");
        frame.records(Records::new("here", 1000));
        frame.records(Records::new("nothing", 0));
        frame.writer().raw(b"c");
        let want = vec![
            Piece::Bytes(Bytes::from_static(b"\0\0\x03\xef\0\0\0\x01ab")),
            Piece::Records(Records::new("here", 1000)),
            Piece::Bytes(Bytes::from_static(b"c")),
        ];
        assert_eq!(frame.finish(), Ok(want));
    }

    #[test]
    fn a_frame_that_its_size_cannot_say_is_none() {
        let mut frame =
            Outgoing::response(Reply { api: ApiKey::Fetch, version: 4, correlation_id: 1 });
        frame.records(Records::new("here", 1 << 31));
        assert_eq!(frame.finish(), Err(Inexpressible));
    }
}
