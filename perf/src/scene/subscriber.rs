//! One connection that is sent records as they come, by a broker that keeps no more than a number or
//! two about it.
//!
//! What the protocol is, its feed knows. Memory grows to the largest message and stays. Where logs end
//! such brokers do not say: whoever counts compares with what was acknowledged.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::payload::Head;
use crate::scene::cast::Behind;
use crate::scene::continuity::Continuity;
use crate::scene::wire::{self, Consumer, Delivered, Partitions, Read};

const RECEIVED_BYTES_AT_FIRST: usize = 256 << 10;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a consumer says, and what it is sent, in one protocol.
pub(super) trait Feed {
    /// What asks for records.
    fn begin(&mut self) -> Result<Vec<u8>, Failure>;

    /// Takes all that is whole off the front of what was received.
    fn decode(&mut self, received: &mut &[u8], sink: &mut Sink<'_>) -> Result<(), Failure>;
}

/// Where values go, and answers to the broker come from.
pub(super) struct Sink<'a> {
    continuity: &'a mut Continuity,
    delivered: &'a mut Vec<Delivered>,
    /// To the broker.
    said: &'a mut Vec<u8>,
    /// Of the last record of each partition.
    last_intended: &'a mut [Moment],
    intended: Moment,
    count: u64,
    byte_count: usize,
}

pub(super) struct Subscriber<F> {
    stream: TcpStream,
    feed: F,
    partitions: Partitions,
    continuity: Continuity,
    received: Vec<u8>,
    filled: usize,
    said: Vec<u8>,
    /// Of the last record of each partition.
    last_intended: Vec<Moment>,
}

impl<'a> Sink<'a> {
    pub(super) const fn new(
        continuity: &'a mut Continuity,
        delivered: &'a mut Vec<Delivered>,
        said: &'a mut Vec<u8>,
        last_intended: &'a mut [Moment],
    ) -> Self {
        let (intended, count, byte_count) = (Moment::BOOT, 0, 0);
        Self { continuity, delivered, said, last_intended, intended, count, byte_count }
    }

    /// Whether there was a value.
    pub(super) fn finish(mut self) -> bool {
        self.end_run();
        let has_values = 0 < self.byte_count;
        if has_values {
            self.delivered.push(Delivered::Bytes(self.byte_count));
        }
        has_values
    }

    /// A record of the consumer's `nth` partition.
    pub(super) fn value(&mut self, nth_partition: usize, value: &[u8]) {
        self.head(nth_partition, value, value.len());
    }

    /// The same, of whose value only the front is here. Records of the same time are told as one.
    pub(super) fn head(&mut self, nth_partition: usize, front: &[u8], value_bytes: usize) {
        self.byte_count = self.byte_count.saturating_add(value_bytes);
        let Some(head) = Head::of(front) else { return };
        self.continuity.on_record(nth_partition, head);
        let moment = Moment::BOOT.plus_ns(head.intended_ns);
        if moment != self.intended {
            self.end_run();
        }
        self.intended = moment;
        self.last_intended[nth_partition] = moment;
        self.count += 1;
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
    }

    fn end_run(&mut self) {
        if 0 < self.count {
            let (intended, count) = (self.intended, self.count);
            self.delivered.push(Delivered::Records { intended, count });
            self.count = 0;
        }
    }
}

impl<F: Feed> Subscriber<F> {
    /// The stream is connected already, and has introduced itself.
    pub(super) fn new(
        stream: TcpStream,
        feed: F,
        partitions: Partitions,
        continuity: Continuity,
    ) -> Result<Self, Failure> {
        let prepared = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
        prepared.map_err(|error| Failure::io("prepare a connection", error))?;
        Ok(Self {
            stream,
            feed,
            partitions,
            continuity,
            received: vec![0; RECEIVED_BYTES_AT_FIRST],
            filled: 0,
            said: Vec::new(),
            last_intended: vec![Moment::BOOT; partitions.count],
        })
    }

    /// Bytes that came, and whether there was room for more.
    fn read(&mut self) -> Result<(usize, bool), Failure> {
        if self.filled == self.received.len() {
            if MESSAGE_BYTES_MAX <= self.filled {
                let why = "the broker sends a message that is longer than one can be";
                return Err(Failure::new(why));
            }
            self.received.resize(2 * self.filled, 0);
        }
        loop {
            let free = &mut self.received[self.filled..];
            match self.stream.read(free) {
                Ok(0) => {
                    return Err(Failure::new("the broker closed a connection: look at its log"));
                }
                Ok(count) => return Ok((count, count < free.len())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((0, true)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io("receive records", error)),
            }
        }
    }
}

impl<F: Feed> Consumer for Subscriber<F> {
    fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn partitions(&self) -> Partitions {
        self.partitions
    }

    fn continuity(&self) -> &Continuity {
        &self.continuity
    }

    fn continuity_mut(&mut self) -> &mut Continuity {
        &mut self.continuity
    }

    fn begin(&mut self, _now: Moment, _ends: Option<&[i64]>) -> Result<(), Failure> {
        let bytes = self.feed.begin()?;
        self.said.extend(bytes);
        self.write()
    }

    fn write(&mut self) -> Result<(), Failure> {
        let count = wire::write_some(&mut self.stream, &self.said)?;
        self.said.drain(..count);
        Ok(())
    }

    fn receive(
        &mut self,
        clock: fn() -> Moment,
        delivered: &mut Vec<Delivered>,
    ) -> Result<Read, Failure> {
        let (count, is_drained) = self.read()?;
        if count == 0 {
            return Ok(Read::All);
        }
        let now = clock();
        self.filled += count;
        let mut rest = &self.received[..self.filled];
        let Self { continuity, said, last_intended, .. } = self;
        let mut sink = Sink::new(continuity, delivered, said, last_intended);
        self.feed.decode(&mut rest, &mut sink)?;
        let has_values = sink.finish();
        let rest_bytes = rest.len();
        self.received.copy_within(self.filled - rest_bytes..self.filled, 0);
        self.filled = rest_bytes;
        self.write()?;
        Ok(match (has_values, is_drained) {
            (true, true) => Read::Answer(now),
            (true, false) => Read::PartWhole(now),
            (false, true) => Read::All,
            (false, false) => Read::Part,
        })
    }

    fn behind(&self, _now: Moment) -> Option<Behind> {
        None
    }

    fn has_read_all_of(&self, _moment: Moment) -> Option<bool> {
        None
    }

    fn last_intended(&self, nth_partition: usize) -> Moment {
        self.last_intended[nth_partition]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    const NOW: Moment = Moment::BOOT.plus_ns(99);

    /// A protocol of its own: each message is a byte with its length, and a value; it wants an `a` for
    /// each.
    struct Lengths;

    impl Feed for Lengths {
        fn begin(&mut self) -> Result<Vec<u8>, Failure> {
            Ok(b"begin".to_vec())
        }

        fn decode(&mut self, received: &mut &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
            while let Some((length, rest)) = received.split_first()
                && let Some((value, rest)) = rest.split_at_checked(usize::from(*length))
            {
                sink.value(0, value);
                sink.say(b"a");
                *received = rest;
            }
            Ok(())
        }
    }

    fn message(intended_ns: u64) -> Vec<u8> {
        [&[8][..], &intended_ns.to_be_bytes()].concat()
    }

    fn until_readable(stream: &TcpStream) {
        let mut watched = [PollFd::new(stream, PollFlags::IN)];
        assert_eq!(poll(&mut watched, None), Ok(1));
    }

    fn pair() -> (Subscriber<Lengths>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let partitions = Partitions { first: 0, stride: 1, count: 1 };
        let continuity = Continuity::new(1, 1, 1, Some(0));
        (Subscriber::new(stream, Lengths, partitions, continuity).unwrap(), peer)
    }

    #[test]
    fn what_comes_in_pieces_is_delivered_once_and_answered() {
        let (mut subscriber, mut peer) = pair();
        subscriber.begin(NOW, None).unwrap();
        let bytes = [message(5), message(5), message(6)].concat();
        let mut seen = Vec::new();
        for (piece, want) in [
            (&bytes[..4], Read::All),
            (&bytes[4..20], Read::Answer(NOW)),
            (&bytes[20..], Read::Answer(NOW)),
        ] {
            peer.write_all(piece).unwrap();
            until_readable(&subscriber.stream);
            assert_eq!(subscriber.receive(|| NOW, &mut seen).unwrap(), want);
        }
        let records = |ns, count| Delivered::Records { intended: Moment::BOOT.plus_ns(ns), count };
        let want = [records(5, 2), Delivered::Bytes(16), records(6, 1), Delivered::Bytes(8)];
        // The second piece ends within the third message.
        assert_eq!(seen, want);
        let mut said = [0; 8];
        peer.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"beginaaa");
        assert_eq!(subscriber.last_intended(0), Moment::BOOT.plus_ns(6));
        assert_eq!(subscriber.receive(|| NOW, &mut seen).unwrap(), Read::All);
    }

    #[test]
    fn a_connection_that_is_closed_is_a_failure() {
        let (mut subscriber, peer) = pair();
        drop(peer);
        until_readable(&subscriber.stream);
        let failure = subscriber.receive(|| NOW, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("closed a connection"));
    }
}
