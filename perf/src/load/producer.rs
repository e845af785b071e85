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

/// Answers are short: this is many of them.
const RECEIVED_BYTES_MAX: usize = 4 << 10;

pub(crate) struct Producer {
    stream: TcpStream,
    frame: ProduceFrame,
    /// Bytes of `frame` that the socket took. All of them: the frame may become the next request.
    written_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    sent_count: u64,
    /// Since when nothing but the schedule kept the next request back.
    free_since: Moment,
    route: Route,
    received: Received,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) correlation_id: i32,
    pub(crate) intended: Moment,
}

/// An answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) intended: Moment,
    pub(crate) error_code: i16,
}

/// Which partition is next, and the next sequence in each.
#[derive(Debug)]
pub(crate) struct Route {
    next: usize,
    request_records: i32,
    /// Of each partition; `None` if the producer is not idempotent.
    sequences: Vec<Option<i32>>,
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
    pub(crate) fn new(
        first: usize,
        count: usize,
        base_sequence: Option<i32>,
        records: i32,
    ) -> Self {
        Self {
            next: first % count,
            request_records: records,
            sequences: vec![base_sequence; count],
        }
    }

    /// The partition, and the base sequence or -1.
    fn take(&mut self) -> (i32, i32) {
        let index = self.next;
        self.next = (index + 1) % self.sequences.len();
        let sequence = &mut self.sequences[index];
        let base_sequence = sequence.unwrap_or(-1);
        // Kafka's sequences go from the largest back to 0.
        *sequence = sequence.map(|it| it.wrapping_add(self.request_records) & i32::MAX);
        (i32::try_from(index).expect("partitions have an index of 32 bits"), base_sequence)
    }
}

impl Producer {
    /// The stream is connected already.
    pub(crate) fn new(
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
            sent_count: 0,
            free_since: Moment::BOOT,
            route,
            received,
        })
    }

    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) const fn sent_count(&self) -> u64 {
        self.sent_count
    }

    pub(crate) const fn in_flight(&self) -> &VecDeque<InFlight> {
        &self.in_flight
    }

    /// Since when the next request could have been sent; `None` while it cannot.
    pub(crate) fn free_since(&self) -> Option<Moment> {
        let is_free = self.is_written() && self.in_flight.len() < self.in_flight_max;
        is_free.then_some(self.free_since)
    }

    /// Begins the next request. The producer is free.
    pub(crate) fn send(
        &mut self,
        now: Moment,
        intended: Moment,
        wall_ms: i64,
    ) -> Result<(), Failure> {
        assert!(self.is_written() && self.in_flight.len() < self.in_flight_max);
        let correlation_id = i32::try_from(self.sent_count & 0x7fff_ffff).expect("31 bits");
        let (partition, base_sequence) = self.route.take();
        let stamp = Stamp { intended_ns: intended.ns(), wall_ms, base_sequence };
        self.frame.stamp(correlation_id, partition, stamp);
        self.in_flight.push_back(InFlight { correlation_id, intended });
        self.sent_count += 1;
        self.written_bytes = 0;
        self.write(now)
    }

    /// Goes on with a request that the socket did not take whole.
    pub(crate) fn write(&mut self, now: Moment) -> Result<(), Failure> {
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
    pub(crate) fn receive(
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
                acknowledged.push(Acknowledged { intended: sent.intended, error_code });
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

    #[test]
    fn partitions_take_turns_and_count_their_own_sequences() {
        let mut route = Route::new(1, 2, Some(0), 5);
        let taken: Vec<_> = (0..5).map(|_| route.take()).collect();
        assert_eq!(taken, [(1, 0), (0, 0), (1, 5), (0, 5), (1, 10)]);
    }

    #[test]
    fn sequences_go_round_as_kafkas() {
        let mut route = Route::new(0, 1, Some(i32::MAX), 2);
        assert_eq!((route.take(), route.take()), ((0, i32::MAX), (0, 1)));
    }

    #[test]
    fn no_producer_id_has_no_sequence() {
        let mut route = Route::new(0, 1, None, 2);
        assert_eq!((route.take(), route.take()), ((0, -1), (0, -1)));
    }
}
