//! Quorum queues over AMQP 0-9-1, as a scene speaks it: each value is a persistent message to the queue
//! of its partition, which the broker confirms; who reads says in one go what it took.
//!
//! Messages of a channel are numbered by both sides, from 1.

use std::net::{SocketAddr, TcpStream};

use crate::amqp::{self, Amqp, Said};
use crate::failure::Failure;
use crate::payload::{self, HEAD_BYTES, NTH_AT, Random, TIME_BYTES};
use crate::protocol::{PARTITION_DIGITS, partition_name, put_digits};
use crate::scene::plan::Topic;
use crate::scene::subscriber::{Feed, Sink, Subscriber};
use crate::scene::wire::{self, Answer, Reading, Request, Writing};

/// The broker refuses without a reason.
const REFUSED: i16 = -1;

pub(super) struct Session {
    address: SocketAddr,
    amqp: Amqp,
}

impl Session {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { address, amqp: Amqp::connect(address)? })
    }
}

impl wire::Session for Session {
    fn ensure(&mut self, topic: &Topic) -> Result<(), Failure> {
        self.amqp.ensure_queues(&topic.name, topic.partition_count)
    }

    fn publisher(
        &mut self,
        writing: &Writing<'_>,
        random: &mut Random,
    ) -> Result<(TcpStream, Box<dyn wire::Publisher>), Failure> {
        let publisher = Publisher::new(writing, random);
        let mut amqp = Amqp::connect(self.address)?;
        amqp.confirm()?;
        Ok((amqp.into_stream(), Box::new(publisher)))
    }

    fn consumer(&mut self, reading: Reading<'_>) -> Result<Box<dyn wire::Consumer>, Failure> {
        let Reading { topic, partitions, continuity, .. } = reading;
        let queues = partitions.all().map(|it| partition_name(&topic.name, it)).collect();
        let mut amqp = Amqp::connect(self.address)?;
        amqp.prefetch()?;
        let feed = QueueFeed { queues, coming: None };
        Ok(Box::new(Subscriber::new(amqp.into_stream(), feed, partitions, continuity)?))
    }

    fn ends(&mut self, _topic: &Topic) -> Result<Option<Vec<i64>>, Failure> {
        Ok(None)
    }
}

/// A request that is made once: a message for each value, in which numbers are stamped.
struct Publisher {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where in the bytes a value's changing parts are.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition_at: usize,
    value_at: usize,
    has_nth: bool,
}

impl Publisher {
    fn new(writing: &Writing<'_>, random: &mut Random) -> Self {
        let Writing { topic, producers, origin } = *writing;
        let queue = partition_name(&topic.name, 0);
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for _ in 0..producers.record_count {
            let value = payload::value(random, producers.value_bytes, origin);
            let published = amqp::publish(&queue, &value);
            places.push(Place {
                partition_at: bytes.len() + published.name_end - PARTITION_DIGITS,
                value_at: bytes.len() + published.value_at,
                has_nth: HEAD_BYTES <= value.len(),
            });
            bytes.extend(published.bytes);
        }
        Self { bytes, places }
    }
}

impl wire::Publisher for Publisher {
    fn encode(&mut self, request: &Request) {
        let Request { partition, stamp, .. } = *request;
        let mut nth = stamp.first_nth;
        for place in &self.places {
            let partition_end = place.partition_at + PARTITION_DIGITS;
            put_digits(&mut self.bytes[place.partition_at..partition_end], partition);
            let value = &mut self.bytes[place.value_at..];
            value[..TIME_BYTES].copy_from_slice(&stamp.intended_ns.to_be_bytes());
            if place.has_nth {
                value[NTH_AT..HEAD_BYTES].copy_from_slice(&nth.to_be_bytes());
            }
            nth = nth.wrapping_add(1);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn decode(&mut self, received: &mut &[u8], answers: &mut Vec<Answer>) -> Result<(), Failure> {
        while let Some(said) = amqp::take(received)? {
            let (tag, is_multiple, error_code) = match said {
                Said::Acknowledged { tag, is_multiple } => (tag, is_multiple, 0),
                Said::Refused { tag, is_multiple } => (tag, is_multiple, REFUSED),
                Said::Aside => continue,
                Said::Deliver { .. } | Said::Header { .. } | Said::Body(_) | Said::Other(..) => {
                    return Err(not_asked());
                }
            };
            answers.push(answer(tag, is_multiple, error_code));
        }
        Ok(())
    }
}

/// Values are numbered from 0, messages from 1.
fn answer(tag: u64, is_multiple: bool, error_code: i16) -> Answer {
    if is_multiple {
        Answer::Before { end: tag, error_code }
    } else {
        // There is no message 0: nobody has this number.
        Answer::Value { number: tag.wrapping_sub(1), error_code }
    }
}

fn not_asked() -> Failure {
    Failure::new("the broker says what was not asked")
}

/// A consumer for each queue, named by the partition's number among those of the connection.
struct QueueFeed {
    queues: Vec<String>,
    /// A message that has begun.
    coming: Option<Coming>,
}

#[derive(Clone, Copy, Debug)]
struct Coming {
    nth_partition: usize,
    tag: u64,
    /// `None` until its header is there.
    left_bytes: Option<u64>,
    is_counted: bool,
}

impl Feed for QueueFeed {
    fn begin(&mut self) -> Result<Vec<u8>, Failure> {
        let asked = self.queues.iter().enumerate();
        Ok(asked.flat_map(|(nth, queue)| amqp::consume(queue, &nth.to_string())).collect())
    }

    fn decode(&mut self, received: &mut &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        let mut taken = None;
        while let Some(said) = amqp::take(received)? {
            match said {
                Said::Deliver { consumer, tag } if self.coming.is_none() => {
                    let nth_partition = self.partition(consumer).ok_or_else(not_asked)?;
                    let (left_bytes, is_counted) = (None, false);
                    self.coming = Some(Coming { nth_partition, tag, left_bytes, is_counted });
                }
                Said::Header { body_bytes } => {
                    let coming = self.coming.as_mut().filter(|it| it.left_bytes.is_none());
                    coming.ok_or_else(not_asked)?.left_bytes = Some(body_bytes);
                }
                Said::Body(body) => self.take_body(body, sink)?,
                Said::Aside => {}
                Said::Deliver { .. }
                | Said::Acknowledged { .. }
                | Said::Refused { .. }
                | Said::Other(..) => return Err(not_asked()),
            }
            if let Some(whole) = self.coming.filter(|it| it.left_bytes == Some(0)) {
                taken = Some(whole.tag);
                self.coming = None;
            }
        }
        if let Some(tag) = taken {
            sink.say(&amqp::taken(tag));
        }
        Ok(())
    }
}

impl QueueFeed {
    /// The front of a value is in its first body.
    fn take_body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        let coming = self.coming.as_mut().ok_or_else(not_asked)?;
        let value_bytes = coming.left_bytes.ok_or_else(not_asked)?;
        let body_bytes = u64::try_from(body.len()).expect("sizes have at most 64 bits");
        coming.left_bytes = Some(value_bytes.checked_sub(body_bytes).ok_or_else(not_asked)?);
        if !coming.is_counted {
            coming.is_counted = true;
            let value_bytes = usize::try_from(value_bytes).map_err(|_large| not_asked())?;
            sink.head(coming.nth_partition, body, value_bytes);
        }
        Ok(())
    }

    fn partition(&self, consumer: &[u8]) -> Option<usize> {
        let nth: usize = std::str::from_utf8(consumer).ok()?.parse().ok()?;
        (nth < self.queues.len()).then_some(nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Origin;
    use crate::scene::testing::{bear, bear_feed, check_feed, request, writing};
    use crate::scene::wire::Publisher as _;

    fn publisher() -> Publisher {
        let (topic, producers) = writing(2, 16);
        let origin = Origin { scene: 1, producer: 2 };
        let writing = Writing { topic: &topic, producers: &producers, origin };
        Publisher::new(&writing, &mut Random::from_seed(1))
    }

    #[test]
    fn each_value_is_a_message_to_the_queue_of_its_partition() {
        let mut publisher = publisher();
        publisher.encode(&request(0, 12));
        let mut rest = publisher.bytes();
        for nth in [5_u32, 6] {
            let Some(Said::Other(_, _, arguments)) = amqp::take(&mut rest).unwrap() else {
                panic!("a method")
            };
            assert!(arguments.ends_with(b"topic-00012\x01"), "{arguments:?}");
            assert_eq!(amqp::take(&mut rest).unwrap(), Some(Said::Header { body_bytes: 16 }));
            let value = [&7_u64.to_be_bytes()[..], &[0, 1, 0, 2], &nth.to_be_bytes()].concat();
            assert_eq!(amqp::take(&mut rest).unwrap(), Some(Said::Body(&value)));
        }
        assert!(rest.is_empty());
    }

    fn method(class: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
        frame(1, &[&[0, class, 0, method][..], arguments].concat())
    }

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        [&[kind, 0, 1][..], &length.to_be_bytes(), payload, &[0xce]].concat()
    }

    #[test]
    fn confirms_are_of_values_counted_from_one() {
        let one = [&3_u64.to_be_bytes()[..], &[0]].concat();
        let all = [&5_u64.to_be_bytes()[..], &[1]].concat();
        let bytes = [method(60, 80, &one), method(60, 120, &all), frame(8, &[])].concat();
        let (mut rest, mut answers) = (bytes.as_slice(), Vec::new());
        publisher().decode(&mut rest, &mut answers).unwrap();
        let want = [
            Answer::Value { number: 2, error_code: 0 },
            Answer::Before { end: 5, error_code: REFUSED },
        ];
        assert_eq!((answers.as_slice(), rest.len()), (&want[..], 0));
        let deliver = frame(3, b"body");
        assert!(publisher().decode(&mut deliver.as_slice(), &mut answers).is_err());
    }

    fn feed() -> QueueFeed {
        QueueFeed { queues: vec!["a-00000".to_owned(), "a-00002".to_owned()], coming: None }
    }

    fn deliver(consumer: &[u8], tag: u64) -> Vec<u8> {
        let length = [u8::try_from(consumer.len()).unwrap()];
        method(60, 60, &[&length[..], consumer, &tag.to_be_bytes(), &[0, 0, 1, b'q']].concat())
    }

    fn header(body_bytes: u64) -> Vec<u8> {
        frame(2, &[&[0, 60, 0, 0][..], &body_bytes.to_be_bytes(), &[0, 0]].concat())
    }

    #[test]
    fn records_are_counted_once_and_taken_together() {
        let value = 7_u64.to_be_bytes();
        let bytes = [
            deliver(b"0", 1),
            header(8),
            frame(3, &value),
            deliver(b"1", 2),
            header(10),
            frame(3, &value),
            frame(3, b"ab"),
        ];
        check_feed(&mut feed(), &bytes.concat(), Ok((2, &amqp::taken(2))));
        check_feed(&mut feed(), &[deliver(b"0", 1), header(0)].concat(), Ok((0, &amqp::taken(1))));
    }

    #[test]
    fn a_record_may_come_in_two_reads() {
        let (value, mut feed) = (7_u64.to_be_bytes(), feed());
        check_feed(&mut feed, &[deliver(b"0", 1), header(8)].concat(), Ok((0, b"")));
        check_feed(&mut feed, &frame(3, &value), Ok((1, &amqp::taken(1))));
    }

    #[test]
    fn no_wrong_bit_panics() {
        bear_feed(feed, &[deliver(b"0", 1), header(8), frame(3, b"12345678")].concat());
        let acknowledged = method(60, 80, &[&3_u64.to_be_bytes()[..], &[1]].concat());
        bear(&acknowledged, |rest| publisher().decode(rest, &mut Vec::new()));
    }

    #[test]
    fn frames_out_of_place_are_failures() {
        for bytes in [
            deliver(b"2", 1),
            deliver(b"x", 1),
            [deliver(b"0", 1), deliver(b"0", 2)].concat(),
            header(8),
            frame(3, b"12345678"),
            [deliver(b"0", 1), frame(3, b"12345678")].concat(),
            [deliver(b"0", 1), header(8), header(8)].concat(),
            [deliver(b"0", 1), header(7), frame(3, b"12345678")].concat(),
            method(60, 80, &[0; 9]),
        ] {
            check_feed(&mut feed(), &bytes, Err("not asked"));
        }
    }
}
