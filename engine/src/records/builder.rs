//! Writes a batch: for our own logs, the command's producer, and tests. Checks nothing that a
//! broker checks.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "what it is given is ours, and what it writes is bounded by a batch's length"
)]

use crate::batch::HEADER_BYTES;
use crate::codec::{self, Codec};
use crate::id::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Gathers records; a batch comes out with base offset 0 and no leader epoch, as producers send it.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    record_count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            record_count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer: None,
        }
    }

    /// The batch is an idempotent producer's, its first record numbered `first`.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, first: Sequence) -> Self {
        self.producer = Some((id, epoch, first));
        self
    }

    /// `None` is null. Header keys may repeat.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let time_delta = timestamp.get().wrapping_sub(self.base_timestamp.get());
        let offset_delta = i64::from(self.record_count);
        let in_headers = |it: &(&[u8], Option<&[u8]>)| field_bytes(Some(it.0)) + field_bytes(it.1);
        let body_bytes = 1 // attributes
            + varlong_bytes(time_delta)
            + varlong_bytes(offset_delta)
            + field_bytes(key)
            + field_bytes(value)
            + length_bytes(headers.len())
            + headers.iter().map(in_headers).sum::<usize>();
        // A record may be large: it is copied once, to where it stays.
        self.bytes.reserve(length_bytes(body_bytes) + body_bytes);
        put_length(&mut self.bytes, body_bytes);
        let body_at = self.bytes.len();
        self.bytes.push(0);
        put_varlong(&mut self.bytes, time_delta);
        put_varlong(&mut self.bytes, offset_delta);
        put_field(&mut self.bytes, key);
        put_field(&mut self.bytes, value);
        put_length(&mut self.bytes, headers.len());
        for (key, value) in headers {
            put_field(&mut self.bytes, Some(key));
            put_field(&mut self.bytes, *value);
        }
        assert_eq!(self.bytes.len() - body_at, body_bytes);
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    #[must_use]
    pub fn record_count(&self) -> usize {
        usize::try_from(self.record_count).expect("it counts up from 0")
    }

    /// Of the batch as it stands, uncompressed.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// # Panics
    /// If there is no record, or 2 GiB of them.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.build_with(Codec::None)
    }

    /// Compressed.
    ///
    /// # Panics
    /// If there is no record, or 2 GiB of them.
    #[must_use]
    pub fn build_with(mut self, codec: Codec) -> Vec<u8> {
        assert!(self.record_count > 0, "a batch has a record");
        if codec != Codec::None {
            let packed = codec::compress(codec, &self.bytes[HEADER_BYTES..]);
            self.bytes.truncate(HEADER_BYTES);
            self.bytes.extend_from_slice(&packed);
        }
        let header = self.header(codec);
        self.bytes[..HEADER_BYTES].copy_from_slice(&header);
        self.bytes
    }

    /// The layout is drawn in [`crate::batch`].
    fn header(&self, codec: Codec) -> Vec<u8> {
        let length = i32::try_from(self.bytes.len() - 12).expect("a batch is shorter than 2 GiB");
        let (id, epoch, sequence) = match self.producer {
            Some((id, epoch, first)) => (id.get(), epoch.get(), first.get()),
            None => (-1, -1, -1),
        };
        let mut checked = Vec::with_capacity(HEADER_BYTES);
        checked.extend(codec.bits().to_be_bytes());
        checked.extend((self.record_count - 1).to_be_bytes());
        checked.extend(self.base_timestamp.get().to_be_bytes());
        checked.extend(self.max_timestamp.get().to_be_bytes());
        checked.extend(id.to_be_bytes());
        checked.extend(epoch.to_be_bytes());
        checked.extend(sequence.to_be_bytes());
        checked.extend(self.record_count.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&checked), &self.bytes[HEADER_BYTES..]);

        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(0_i64.to_be_bytes());
        header.extend(length.to_be_bytes());
        header.extend((-1_i32).to_be_bytes());
        header.extend(2_i8.to_be_bytes());
        header.extend(crc.to_be_bytes());
        header.extend(checked);
        header
    }
}

fn put_field(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varlong(bytes, -1),
        Some(field) => {
            put_length(bytes, field.len());
            bytes.extend_from_slice(field);
        }
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put_varlong(bytes, i64::from(i32::try_from(length).expect("a batch is shorter than 2 GiB")));
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or_else(|| varlong_bytes(-1), |field| length_bytes(field.len()) + field.len())
}

fn length_bytes(length: usize) -> usize {
    varlong_bytes(i64::from(i32::try_from(length).expect("a batch is shorter than 2 GiB")))
}

/// What `put_varlong` takes: seven bits a byte.
fn varlong_bytes(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63).cast_unsigned();
    let bit_count = u64::BITS - raw.leading_zeros();
    usize::try_from(bit_count.div_ceil(7).max(1)).expect("at most ten")
}

/// A varint is a varlong that is short.
pub(crate) fn put_varlong(bytes: &mut Vec<u8>, value: i64) {
    let mut raw = (value << 1 ^ value >> 63).cast_unsigned();
    loop {
        let [.., low] = raw.to_be_bytes();
        raw >>= 7;
        if raw == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}
