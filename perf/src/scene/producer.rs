//! One connection that produces: a socket that never blocks, a request that is stamped again and
//! again, and what is in flight.
//!
//! It knows no clock and no schedule: it is told what the time is and when a request was meant.
//! Invariant: answers come in the order of the requests.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::batch::Stamp;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::frame::{AnswerLayout, ProduceFrame};
use crate::scene::agenda::Place;

/// Answers are short: this is many of them.
const RECEIVED_BYTES_MAX: usize = 4 << 10;

pub(super) struct Producer {
    stream: TcpStream,
    frame: ProduceFrame,
    /// Bytes of `frame` that the socket took. All of them: the frame may become the next request.
    written_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    next_correlation_id: i32,
    /// Where it is in the agenda of its stream.
    pub(super) place: Place,
    /// Since when nothing but the schedule kept the next request back.
    free_since: Moment,
    route: Route,
    received: Received,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    correlation_id: i32,
    pub(super) intended: Moment,
    /// In which it was intended.
    pub(super) phase: usize,
    ticket: Ticket,
}

/// Where the records of a request go: a partition, and their numbers there of this producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
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
    next: usize,
    request_records: i32,
    /// Of the first request to each partition; `None` if the producer is not idempotent.
    first_sequence: Option<i32>,
    lanes: Vec<Lane>,
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
    /// Starts at partition `first` of `count`; every request goes to the one after.
    pub(super) fn new(
        first: usize,
        count: usize,
        first_sequence: Option<i32>,
        request_records: i32,
    ) -> Self {
        let lanes = vec![Lane::default(); count];
        Self { next: first % count, request_records, first_sequence, lanes }
    }

    fn take(&mut self) -> Ticket {
        let partition = self.next;
        self.next = (partition + 1) % self.lanes.len();
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

impl Producer {
    /// The stream is connected already.
    pub(super) fn new(
        stream: TcpStream,
        frame: ProduceFrame,
        route: Route,
        in_flight_max: usize,
    ) -> io::Result<Self> {
        assert!(0 < in_flight_max, "a producer may send");
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let written_bytes = frame.bytes().len();
        let received = Received { bytes: vec![0; RECEIVED_BYTES_MAX].into(), filled: 0 };
        Ok(Self {
            stream,
            frame,
            written_bytes,
            in_flight: VecDeque::with_capacity(in_flight_max),
            in_flight_max,
            next_correlation_id: 0,
            place: Place::default(),
            free_since: Moment::BOOT,
            route,
            received,
        })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn in_flight(&self) -> &VecDeque<InFlight> {
        &self.in_flight
    }

    /// The number after that of the last record that a partition is known to hold.
    pub(super) fn acknowledged_nth(&self, partition: usize) -> u32 {
        self.route.lanes[partition].acknowledged_nth
    }

    /// Since when the next request could have been sent; `None` while it cannot.
    pub(super) fn free_since(&self) -> Option<Moment> {
        let is_free = self.is_written() && self.in_flight.len() < self.in_flight_max;
        is_free.then_some(self.free_since)
    }

    /// Begins the next request, of the phase that its place is in. The producer is free.
    pub(super) fn send(
        &mut self,
        now: Moment,
        intended: Moment,
        wall_ms: i64,
    ) -> Result<(), Failure> {
        assert!(self.is_written() && self.in_flight.len() < self.in_flight_max);
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        let ticket = self.route.take();
        let Ticket { partition, first_nth, base_sequence } = ticket;
        let partition = i32::try_from(partition).expect("partitions have an index of 32 bits");
        let stamp = Stamp { intended_ns: intended.ns(), first_nth, wall_ms, base_sequence };
        self.frame.stamp(correlation_id, partition, stamp);
        let phase = self.place.phase;
        self.in_flight.push_back(InFlight { correlation_id, intended, phase, ticket });
        self.place.advance();
        self.written_bytes = 0;
        self.write(now)
    }

    /// Goes on with a request that the socket did not take whole.
    pub(super) fn write(&mut self, now: Moment) -> Result<(), Failure> {
        while !self.is_written() {
            match self.stream.write(&self.frame.bytes()[self.written_bytes..]) {
                Ok(count) => self.written_bytes += count,
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
        layout: AnswerLayout,
        acknowledged: &mut Vec<Acknowledged>,
    ) -> Result<(), Failure> {
        loop {
            let drained = self.received.read(&mut self.stream)?;
            let mut rest = &self.received.bytes[..self.received.filled];
            while let Some(answer) = layout.take(&mut rest) {
                let sent = self.in_flight.pop_front();
                let sent = sent.filter(|sent| sent.correlation_id == answer.correlation_id);
                let Some(sent) = sent else {
                    return Err(Failure::new(
                        "the broker answers what was not asked, or not in order",
                    ));
                };
                self.free_since = now;
                let error_code = answer.error_code;
                if error_code == 0 {
                    self.route.on_acknowledged(sent.ticket);
                }
                let InFlight { intended, phase, .. } = sent;
                acknowledged.push(Acknowledged { intended, phase, error_code });
            }
            let rest_bytes = rest.len();
            self.received.keep_last(rest_bytes);
            if drained == Drained::Yes {
                return Ok(());
            }
        }
    }

    fn is_written(&self) -> bool {
        self.written_bytes == self.frame.bytes().len()
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
        check(Route::new(1, 2, Some(0), 5), &want);
    }

    #[test]
    fn sequences_go_round_as_kafkas() {
        check(Route::new(0, 1, Some(i32::MAX), 2), &[(0, 0, i32::MAX), (0, 2, 1)]);
    }

    #[test]
    fn no_producer_id_has_no_sequence() {
        check(Route::new(0, 1, None, 2), &[(0, 0, -1), (0, 2, -1)]);
    }
}
