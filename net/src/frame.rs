//! Whole frames out of whatever arrives: a size of 32 bits, then that many bytes.
//!
//! Knows no API. Bytes come from strangers, so nothing here can panic on them, and a frame takes at
//! most `GROWTH` times the memory of its bytes that have arrived, whatever size it announced.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::fmt;

use bytes::Bytes;

/// Bytes of the size before a frame.
pub const PREFIX_BYTES: usize = 4;

/// A smaller request has no room for a header.
pub const REQUEST_BYTES_MIN: usize = 8;

/// A smaller response has no room for a correlation id.
pub const RESPONSE_BYTES_MIN: usize = 4;

/// Kafka's default of `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 100 << 20;

/// How much more memory than what arrived a frame may take: fewer moves for more memory.
const GROWTH: usize = 4;

/// Why a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Negative, zero, or too small for a header.
    TooSmall,
    /// Larger than `socket.request.max.bytes`.
    TooLarge,
    /// The first bytes are those of another protocol.
    Foreign(Foreign),
}

impl fmt::Display for FrameError {
    /// For one log line when the connection is closed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooSmall => "a frame too small for a request",
            Self::TooLarge => "a frame larger than socket.request.max.bytes",
            Self::Foreign(Foreign::Tls) => "a TLS handshake, and this listener speaks plaintext",
            Self::Foreign(Foreign::Http) => "an HTTP request, and this listener speaks Kafka",
            Self::Foreign(Foreign::Ssh) => "an SSH banner, and this listener speaks Kafka",
        })
    }
}

/// What else connects to ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    Tls,
    Http,
    Ssh,
}

/// The frame of one connection that is arriving. One per connection.
#[derive(Debug)]
pub struct Assembler {
    frame_bytes_min: usize,
    frame_bytes_max: usize,
    arrival: Arrival,
    order: Order,
}

#[derive(Debug)]
enum Arrival {
    /// The first bytes of the size: fewer than four.
    Prefix(Vec<u8>),
    /// The size is known, `body` is what arrived after it.
    Body { announced: usize, body: Vec<u8> },
}

#[derive(Debug, PartialEq, Eq)]
enum Order {
    First,
    Later,
}

impl Assembler {
    /// Of requests.
    #[must_use]
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self::between(REQUEST_BYTES_MIN, frame_bytes_max)
    }

    #[must_use]
    pub const fn of_responses(frame_bytes_max: usize) -> Self {
        Self::between(RESPONSE_BYTES_MIN, frame_bytes_max)
    }

    const fn between(frame_bytes_min: usize, frame_bytes_max: usize) -> Self {
        let arrival = Arrival::Prefix(Vec::new());
        Self { frame_bytes_min, frame_bytes_max, arrival, order: Order::First }
    }

    /// Takes the size of the next frame from the front of `received`, unless it is known already.
    /// Give the size to a memory budget, then call `take`.
    pub fn announce(&mut self, received: &mut &[u8]) -> Result<Option<usize>, FrameError> {
        let Arrival::Prefix(known) = &mut self.arrival else { return Ok(self.announced_bytes()) };
        let prefix = if known.is_empty()
            && let Some((prefix, rest)) = received.split_first_chunk()
        {
            *received = rest;
            *prefix
        } else {
            let missing = PREFIX_BYTES.saturating_sub(known.len());
            known.extend_from_slice(split_front(received, missing));
            let Ok(prefix) = <[u8; PREFIX_BYTES]>::try_from(known.as_slice()) else {
                return Ok(None);
            };
            prefix
        };
        let announced = self.frame_bytes(prefix)?;
        self.order = Order::Later;
        self.arrival = Arrival::Body { announced, body: Vec::new() };
        Ok(Some(announced))
    }

    /// Size of the frame that is arriving, without its prefix, once that is known.
    #[must_use]
    pub const fn announced_bytes(&self) -> Option<usize> {
        match self.arrival {
            Arrival::Prefix(_) => None,
            Arrival::Body { announced, .. } => Some(announced),
        }
    }

    /// Bytes of the frame that is arriving, its size included.
    #[must_use]
    pub const fn arrived_bytes(&self) -> usize {
        match &self.arrival {
            Arrival::Prefix(known) => known.len(),
            Arrival::Body { body, .. } => PREFIX_BYTES.saturating_add(body.len()),
        }
    }

    /// Takes what belongs to the announced frame from the front of `received`; the frame, without
    /// its prefix, once it is whole.
    pub fn take(&mut self, received: &mut &[u8]) -> Option<Bytes> {
        let Arrival::Body { announced, body } = &mut self.arrival else { return None };
        let missing = announced.saturating_sub(body.len());
        let front = split_front(received, missing);
        let frame = if body.is_empty() && front.len() == *announced {
            Bytes::copy_from_slice(front)
        } else {
            keep(body, front, *announced);
            if body.len() < *announced {
                return None;
            }
            Bytes::from(std::mem::take(body))
        };
        self.arrival = Arrival::Prefix(Vec::new());
        Some(frame)
    }

    fn frame_bytes(&self, prefix: [u8; PREFIX_BYTES]) -> Result<usize, FrameError> {
        if self.order == Order::First
            && let Some(foreign) = foreign(prefix)
        {
            return Err(FrameError::Foreign(foreign));
        }
        let Ok(announced) = usize::try_from(i32::from_be_bytes(prefix)) else {
            return Err(FrameError::TooSmall);
        };
        if announced < self.frame_bytes_min {
            return Err(FrameError::TooSmall);
        }
        if announced > self.frame_bytes_max {
            return Err(FrameError::TooLarge);
        }
        Ok(announced)
    }
}

/// Appends, with room for `GROWTH` times what has arrived and no more than the frame needs.
fn keep(body: &mut Vec<u8>, front: &[u8], announced: usize) {
    let arrived = body.len().saturating_add(front.len());
    if arrived > body.capacity() {
        let capacity = arrived.saturating_mul(GROWTH).min(announced);
        body.reserve_exact(capacity.saturating_sub(body.len()));
    }
    body.extend_from_slice(front);
}

fn split_front<'a>(received: &mut &'a [u8], byte_count_max: usize) -> &'a [u8] {
    let (front, rest) = received.split_at_checked(byte_count_max).unwrap_or((received, &[]));
    *received = rest;
    front
}

/// As sizes, these are frames of more than 340 MiB: nobody begins with one.
fn foreign(prefix: [u8; PREFIX_BYTES]) -> Option<Foreign> {
    match &prefix {
        [0x16, 0x03, ..] => Some(Foreign::Tls),
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" => Some(Foreign::Http),
        b"SSH-" => Some(Foreign::Ssh),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{any, proptest};

    use super::{Arrival, Assembler, Foreign, FrameError, GROWTH};

    fn framed(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    fn feed(assembler: &mut Assembler, mut received: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = Vec::new();
        while assembler.announce(&mut received)?.is_some() {
            match assembler.take(&mut received) {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        assert!(received.is_empty(), "everything is taken");
        Ok(frames)
    }

    #[test]
    fn the_smallest_response_is_smaller_than_any_request() {
        // Heartbeat 0: a correlation id and an error code.
        let mut received = &b"\0\0\0\x06\0\0\0\x01\0\x19"[..];
        let mut assembler = Assembler::of_responses(1000);
        assert_eq!(assembler.announce(&mut received), Ok(Some(6)));
        assert_eq!(assembler.take(&mut received).as_deref(), Some(&b"\0\0\0\x01\0\x19"[..]));
        let mut short = &b"\0\0\0\x03"[..];
        assert_eq!(assembler.announce(&mut short), Err(FrameError::TooSmall));
    }

    #[track_caller]
    fn check_prefix(prefix: &[u8; 4], want: Result<Option<usize>, FrameError>) {
        assert_eq!(Assembler::new(1000).announce(&mut &prefix[..]), want);
    }

    #[test]
    fn sizes_have_bounds() {
        check_prefix(b"\0\0\0\x08", Ok(Some(8)));
        check_prefix(b"\0\0\x03\xe8", Ok(Some(1000)));
        check_prefix(b"\0\0\x03\xe9", Err(FrameError::TooLarge));
        check_prefix(b"\x7f\xff\xff\xff", Err(FrameError::TooLarge));
        check_prefix(b"\0\0\0\x07", Err(FrameError::TooSmall));
        check_prefix(b"\0\0\0\0", Err(FrameError::TooSmall));
        check_prefix(b"\xff\xff\xff\xff", Err(FrameError::TooSmall));
    }

    #[test]
    fn other_protocols_are_recognised_at_once() {
        check_prefix(b"\x16\x03\x01\x02", Err(FrameError::Foreign(Foreign::Tls)));
        check_prefix(b"GET ", Err(FrameError::Foreign(Foreign::Http)));
        check_prefix(b"SSH-", Err(FrameError::Foreign(Foreign::Ssh)));
        let mut assembler = Assembler::new(1000);
        feed(&mut assembler, &framed(&[0; 8])).unwrap();
        assert_eq!(feed(&mut assembler, b"GET "), Err(FrameError::TooLarge));
    }

    #[test]
    fn an_announced_size_allocates_nothing() {
        let mut assembler = Assembler::new(100 << 20);
        let mut received = &b"\x06\x40\0\0abcd"[..];
        assert_eq!(assembler.announce(&mut received), Ok(Some(100 << 20)));
        assert_eq!(assembler.take(&mut received), None);
        for _ in 0..1000 {
            assert_eq!(assembler.take(&mut &[7; 100][..]), None);
            let Arrival::Body { body, .. } = &assembler.arrival else { panic!("half a frame") };
            assert!(body.capacity() <= body.len() * GROWTH);
        }
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_they_arrive(
            bodies in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 8..300), 0..8),
            cuts in proptest::collection::vec(1_usize..200, 1..20),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let mut assembler = Assembler::new(1000);
            let mut frames = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (front, back) = rest.split_at((*cut).min(rest.len()));
                frames.extend(feed(&mut assembler, front).unwrap());
                rest = back;
                if rest.is_empty() {
                    break;
                }
            }
            assert_eq!(frames, bodies);
        }
    }
}
