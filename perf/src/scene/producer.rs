//! One connection that produces: a socket that never blocks, requests in its protocol, and what is in
//! flight.
//!
//! It knows no clock and no schedule: it is told what the time is and when a request was meant.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::batch::Stamp;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::payload::Random;
use crate::scene::agenda::Place;
use crate::scene::outstanding::{Answered, InFlight, Outstanding};
use crate::scene::wire::{Answer, Publisher, Request};

/// Answers are short: this is many of them.
const RECEIVED_BYTES_MAX: usize = 4 << 10;
/// Of an answer that names each value.
const VALUE_ANSWER_BYTES_MAX: usize = 16;

pub(super) struct Producer {
    stream: TcpStream,
    publisher: Box<dyn Publisher>,
    /// Bytes of the publisher's request that the socket took. All of them: they may become the next.
    written_bytes: usize,
    /// What the peer wants to hear besides, behind the request.
    wanted: Vec<u8>,
    outstanding: Outstanding,
    /// Room for what was just heard.
    answers: Vec<Answer>,
    /// Where it is in the agenda of its stream.
    pub(super) place: Place,
    /// Since when nothing but the schedule kept the next request back.
    free_since: Moment,
    route: Route,
    received: Received,
}

/// Where the records of a request go: a partition, and their numbers there of this producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket {
    partition: usize,
    first_nth: u32,
    base_sequence: i32,
}

/// An answer to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) intended: Moment,
    pub(super) phase: usize,
    pub(super) error_code: i16,
}

/// Which partition is next, and what each was sent.
#[derive(Debug)]
pub(super) struct Route {
    choice: Choice,
    request_records: i32,
    /// Of the first request to each partition; `None` if the producer is not idempotent.
    first_sequence: Option<i32>,
    lanes: Vec<Lane>,
}

/// How the partition of a request is found.
#[derive(Debug)]
pub(super) enum Choice {
    /// From this one on, each in its turn.
    Turns { next: usize },
    /// Any, whatever the one before was.
    Random(Random),
}

/// What one partition was sent, in records; it begins again after 2^32.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    sent_nth: u32,
    /// Below which all that was not refused is acknowledged.
    acknowledged_nth: u32,
}

/// The front of an answer that has not all arrived.
struct Received {
    bytes: Box<[u8]>,
    filled: usize,
}

/// Whether a socket has more to read.
#[derive(PartialEq, Eq)]
enum Drained {
    Yes,
    No,
}

impl Route {
    /// Over `count` partitions.
    pub(super) fn new(
        choice: Choice,
        count: usize,
        first_sequence: Option<i32>,
        request_records: i32,
    ) -> Self {
        let lanes = vec![Lane::default(); count];
        Self { choice, request_records, first_sequence, lanes }
    }

    fn take(&mut self) -> Ticket {
        let partition = self.choice.take(self.lanes.len());
        let lane = &mut self.lanes[partition];
        let first_nth = lane.sent_nth;
        lane.sent_nth = first_nth.wrapping_add(self.request_records.cast_unsigned());
        // Kafka's sequences go from the largest back to 0.
        let sequence = |first: i32| first.wrapping_add(first_nth.cast_signed()) & i32::MAX;
        Ticket { partition, first_nth, base_sequence: self.first_sequence.map_or(-1, sequence) }
    }

    fn on_acknowledged(&mut self, ticket: Ticket) {
        let end = ticket.first_nth.wrapping_add(self.request_records.cast_unsigned());
        self.lanes[ticket.partition].acknowledged_nth = end;
    }
}

impl Choice {
    /// Of `count` partitions.
    fn take(&mut self, count: usize) -> usize {
        match self {
            Self::Turns { next } => {
                let partition = *next % count;
                *next = partition + 1;
                partition
            }
            Self::Random(random) => random.below(count),
        }
    }
}

impl Producer {
    /// The stream is connected already.
    pub(super) fn new(
        stream: TcpStream,
        publisher: Box<dyn Publisher>,
        route: Route,
        in_flight_max: usize,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let request_values = usize::try_from(route.request_records).expect("at least one record");
        let values = in_flight_max * request_values;
        let received_bytes = RECEIVED_BYTES_MAX + values * VALUE_ANSWER_BYTES_MAX;
        let received = Received { bytes: vec![0; received_bytes].into(), filled: 0 };
        let request_values = u64::try_from(request_values).expect("counts have at most 64 bits");
        Ok(Self {
            stream,
            written_bytes: publisher.bytes().len(),
            publisher,
            wanted: Vec::new(),
            outstanding: Outstanding::new(in_flight_max, request_values),
            answers: Vec::new(),
            place: Place::default(),
            free_since: Moment::BOOT,
            route,
            received,
        })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn outstanding(&self) -> &Outstanding {
        &self.outstanding
    }

    /// The number after that of the last record that a partition is known to hold.
    pub(super) fn acknowledged_nth(&self, partition: usize) -> u32 {
        self.route.lanes[partition].acknowledged_nth
    }

    /// Since when the next request could have been sent; `None` while it cannot.
    pub(super) fn free_since(&self) -> Option<Moment> {
        (self.is_written() && self.outstanding.has_room()).then_some(self.free_since)
    }

    /// Begins the next request, of the phase that its place is in. The producer is free.
    pub(super) fn send(
        &mut self,
        now: Moment,
        intended: Moment,
        wall_ms: i64,
    ) -> Result<(), Failure> {
        assert!(self.is_written() && self.outstanding.has_room());
        let ticket = self.route.take();
        let Ticket { partition, first_nth, base_sequence } = ticket;
        let stamp = Stamp { intended_ns: intended.ns(), first_nth, wall_ms, base_sequence };
        let phase = self.place.phase;
        let number = self.outstanding.begin(InFlight { intended, phase, ticket });
        self.publisher.encode(&Request { number, partition, stamp });
        self.place.advance();
        self.written_bytes = 0;
        self.write(now)
    }

    /// Goes on with what the socket did not take whole.
    pub(super) fn write(&mut self, now: Moment) -> Result<(), Failure> {
        while !self.is_written() {
            let request = &self.publisher.bytes()[self.written_bytes..];
            let is_request = !request.is_empty();
            match self.stream.write(if is_request { request } else { self.wanted.as_slice() }) {
                Ok(count) if is_request => self.written_bytes += count,
                Ok(count) => drop(self.wanted.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io("send a request", error)),
            }
            self.free_since = now;
        }
        Ok(())
    }

    /// Reads what has arrived; appends the answers in it to `acknowledged`.
    pub(super) fn receive(
        &mut self,
        now: Moment,
        acknowledged: &mut Vec<Acknowledged>,
    ) -> Result<(), Failure> {
        loop {
            let drained = self.received.read(&mut self.stream)?;
            let mut rest = &self.received.bytes[..self.received.filled];
            self.publisher.decode(&mut rest, &mut self.answers)?;
            let rest_bytes = rest.len();
            self.received.keep_last(rest_bytes);
            self.take_answers(now, acknowledged)?;
            if drained == Drained::Yes {
                return self.write(now);
            }
        }
    }

    fn take_answers(
        &mut self,
        now: Moment,
        acknowledged: &mut Vec<Acknowledged>,
    ) -> Result<(), Failure> {
        let Self { outstanding, route, free_since, .. } = self;
        let mut on_answered = |Answered { request, error_code }| {
            let InFlight { intended, phase, ticket } = request;
            *free_since = now;
            if error_code == 0 {
                route.on_acknowledged(ticket);
            }
            acknowledged.push(Acknowledged { intended, phase, error_code });
        };
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Wants(bytes) => self.wanted.extend_from_slice(bytes),
                _ => outstanding.take(answer, &mut on_answered)?,
            }
        }
        Ok(())
    }

    fn is_written(&self) -> bool {
        self.written_bytes == self.publisher.bytes().len() && self.wanted.is_empty()
    }
}

impl Received {
    fn read(&mut self, stream: &mut TcpStream) -> Result<Drained, Failure> {
        let free = &mut self.bytes[self.filled..];
        if free.is_empty() {
            return Err(Failure::new("the broker's answer is longer than an answer can be"));
        }
        match stream.read(free) {
            Ok(0) => Err(Failure::new("the broker closed a connection: look at its log")),
            Ok(count) => {
                let drained = if count < free.len() { Drained::Yes } else { Drained::No };
                self.filled += count;
                Ok(drained)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Drained::Yes),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Drained::No),
            Err(error) => Err(Failure::io("receive an answer", error)),
        }
    }

    fn keep_last(&mut self, count: usize) {
        self.bytes.copy_within(self.filled - count..self.filled, 0);
        self.filled = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut route: Route, want: &[(usize, u32, i32)]) {
        for (partition, first_nth, base_sequence) in want.iter().copied() {
            assert_eq!(route.take(), Ticket { partition, first_nth, base_sequence });
        }
    }

    #[test]
    fn partitions_take_turns_and_count_their_own_sequences() {
        let want = [(1, 0, 0), (0, 0, 0), (1, 5, 5), (0, 5, 5), (1, 10, 10)];
        check(Route::new(Choice::Turns { next: 1 }, 2, Some(0), 5), &want);
        // Of the fourth producer of two partitions.
        check(Route::new(Choice::Turns { next: 3 }, 2, Some(0), 5), &want);
    }

    #[test]
    fn a_seed_says_which_partitions_and_all_of_them_come() {
        let drawn = |seed| {
            let random = Choice::Random(Random::from_seed(seed));
            let mut route = Route::new(random, 10, Some(0), 1);
            let tickets: Vec<Ticket> = (0..1_000).map(|_| route.take()).collect();
            tickets
        };
        let tickets = drawn(1);
        assert_eq!(tickets, drawn(1));
        assert_ne!(tickets, drawn(2));
        let in_turn = |two: &[Ticket]| two[1].partition == (two[0].partition + 1) % 10;
        assert!(tickets.windows(2).filter(|two| in_turn(two)).count() < 200);
        for partition in 0..10 {
            let numbers = tickets.iter().filter(|it| it.partition == partition);
            let numbers: Vec<u32> = numbers.map(|it| it.first_nth).collect();
            assert!((50..200).contains(&numbers.len()), "{partition}: {}", numbers.len());
            let is_counted = numbers.iter().copied().zip(0..).all(|(nth, want)| nth == want);
            assert!(is_counted, "{numbers:?}");
        }
    }

    #[test]
    fn sequences_go_round_as_kafkas() {
        check(
            Route::new(Choice::Turns { next: 0 }, 1, Some(i32::MAX), 2),
            &[(0, 0, i32::MAX), (0, 2, 1)],
        );
    }

    #[test]
    fn no_producer_id_has_no_sequence() {
        check(Route::new(Choice::Turns { next: 0 }, 1, None, 2), &[(0, 0, -1), (0, 2, -1)]);
    }
}
