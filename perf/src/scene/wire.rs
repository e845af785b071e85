//! The seam between a scene and the protocol of its target: what a connection says and hears.
//!
//! A scene knows times, requests and values; a protocol knows bytes. Bytes come from a peer that may
//! be wrong: what makes no sense is a failure in words, and nothing panics on it.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;

use crate::batch::Stamp;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::payload::{Origin, Random};
use crate::scene::cast::Behind;
use crate::scene::continuity::Continuity;
use crate::scene::plan::{Consumers, Producers, Topic};

/// What a scene asks of its target before it begins.
pub(super) trait Session {
    /// Creates what is missing, and returns when it serves.
    fn ensure(&mut self, topic: &Topic) -> Result<(), Failure>;

    /// A connection that introduced itself, and what will be said on it.
    fn publisher(
        &mut self,
        writing: &Writing<'_>,
        random: &mut Random,
    ) -> Result<(TcpStream, Box<dyn Publisher>), Failure>;

    fn consumer(&mut self, reading: Reading<'_>) -> Result<Box<dyn Consumer>, Failure>;

    /// Where the log of each partition ends; `None` if consumers find that themselves.
    fn ends(&mut self, topic: &Topic) -> Result<Option<Vec<i64>>, Failure>;
}

/// What one connection of producers will do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing<'a> {
    pub(super) topic: &'a Topic,
    pub(super) producers: &'a Producers,
    pub(super) origin: Origin,
}

/// What one connection of consumers will do.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) topic: &'a Topic,
    pub(super) consumers: &'a Consumers,
    pub(super) partitions: Partitions,
    pub(super) continuity: Continuity,
    /// Whether it misses nothing of what this scene writes.
    pub(super) is_there_from_the_start: bool,
}

/// Those that one consumer reads: `first`, `first + stride`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partitions {
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl Partitions {
    pub(super) const fn at(self, nth: usize) -> usize {
        self.first + self.stride * nth
    }

    pub(super) fn all(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |nth| self.at(nth))
    }
}

/// Requests of one connection as bytes, and answers from bytes.
pub(super) trait Publisher {
    /// Makes `bytes` the next request.
    fn encode(&mut self, request: &Request);

    fn bytes(&self) -> &[u8];

    /// Takes all that is whole off the front of what was received.
    fn decode(&mut self, received: &mut &[u8], answers: &mut Vec<Answer>) -> Result<(), Failure>;
}

/// Values that are sent together to one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Of this connection, from 0. Its values are numbered too, from 0 over all requests.
    pub(super) number: u64,
    pub(super) partition: usize,
    pub(super) stamp: Stamp,
}

/// One thing that a peer said to a producer. An error code is the protocol's own; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To all values of a request.
    Request {
        number: u64,
        error_code: i16,
    },
    Value {
        number: u64,
        error_code: i16,
    },
    /// To all values before this one that have no answer.
    Before {
        end: u64,
        error_code: i16,
    },
    /// It wants this to be said.
    Wants(&'static [u8]),
}

/// One connection that consumes. It knows no clock.
pub(super) trait Consumer {
    fn stream(&self) -> &TcpStream;

    fn partitions(&self) -> Partitions;

    fn continuity(&self) -> &Continuity;

    fn continuity_mut(&mut self) -> &mut Continuity;

    /// Begins to read, at `ends` (of all partitions of the topic) or where it was told when it was made.
    fn begin(&mut self, now: Moment, ends: Option<&[i64]>) -> Result<(), Failure>;

    /// Goes on with what the socket did not take whole.
    fn write(&mut self) -> Result<(), Failure>;

    /// Reads of what has arrived, and appends what it delivers to `delivered`. `clock` is looked at
    /// when something is whole.
    fn receive(
        &mut self,
        clock: fn() -> Moment,
        delivered: &mut Vec<Delivered>,
    ) -> Result<Read, Failure>;

    /// How far it has to go by what the broker said; `None` if a broker of this kind does not say.
    fn behind(&self, now: Moment) -> Option<Behind>;

    /// Whether everything has been read that was there at that time; `None` as above.
    fn has_read_all_of(&self, moment: Moment) -> Option<bool>;

    /// When the last record that it read of its `nth` partition was meant to be sent.
    fn last_intended(&self, nth_partition: usize) -> Moment;
}

/// Records that came together and were meant to be sent together; or errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    Records { intended: Moment, count: u64 },
    Bytes(usize),
    Refused(i16),
}

/// How much of what had arrived was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More may be there, and nothing is whole.
    Part,
    /// More may be there; something was whole at this time.
    PartWhole(Moment),
    All,
    /// All, and something was whole at this time.
    Answer(Moment),
}

/// Asks for records, as far as the socket takes the bytes now: how many it took.
pub(super) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Failure> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::io("ask for records", error)),
        }
    }
    Ok(written)
}
