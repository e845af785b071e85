//! A list of an answer that is being written: in chunks that are not moved again, however long it becomes.
//!
//! Knows no API and does not count what is in the list.

use bytes::Bytes;

use crate::codec::Layout;
use crate::outgoing::Outgoing;
use crate::writer::Writer;

#[derive(Debug)]
pub struct Chunks {
    whole: Vec<Bytes>,
    whole_bytes: usize,
    /// What comes after the whole ones.
    open: Writer,
}

impl Chunks {
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { whole: Vec::new(), whole_bytes: 0, open: Writer::new(layout) }
    }

    /// Where the list is written on.
    pub const fn writer(&mut self) -> &mut Writer {
        &mut self.open
    }

    /// What was written since the last chunk.
    #[must_use]
    pub const fn open_bytes(&self) -> usize {
        self.open.byte_count()
    }

    /// All that was written.
    #[must_use]
    pub const fn byte_count(&self) -> usize {
        self.whole_bytes + self.open.byte_count()
    }

    /// What was written becomes a chunk. The next one is about as large.
    pub fn end_chunk(&mut self) {
        let next = Writer::with_capacity(self.open.layout(), self.open.byte_count());
        let chunk = std::mem::replace(&mut self.open, next);
        self.whole_bytes += chunk.byte_count();
        self.whole.push(Bytes::from(chunk.into_bytes()));
    }

    /// The list comes here in `frame`: what is not in a chunk yet is copied into it.
    pub fn put_into<R>(self, frame: &mut Outgoing<R>) {
        self.whole.into_iter().for_each(|chunk| frame.chunk(chunk));
        frame.writer().raw(&self.open.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Chunks;
    use crate::api::ApiKey;
    use crate::codec::Layout;
    use crate::header::Reply;
    use crate::outgoing::{Outgoing, Piece};

    #[test]
    fn a_chunk_is_sent_from_where_it_was_written() {
        let mut chunks = Chunks::new(Layout::Flexible);
        chunks.writer().string(&"n".repeat(200));
        chunks.end_chunk();
        chunks.writer().string("rest");
        let chunk = chunks.whole[0].clone();
        let mut frame =
            Outgoing::response(Reply { api: ApiKey::Metadata, version: 12, correlation_id: 5 });
        chunks.put_into::<Bytes>(&mut frame);
        let pieces = frame.finish().unwrap();
        let is_same = |piece: &Piece<Bytes>| matches!(piece, Piece::Bytes(bytes) if bytes.as_ptr() == chunk.as_ptr());
        assert_eq!(pieces.iter().filter(|it| is_same(it)).count(), 1);
        assert_eq!(pieces.len(), 3);
    }
}
