//! RabbitMQ's streams over their own protocol, as a scene speaks it: a request publishes its values to
//! the stream of their partition, and chunks of a stream are sent to who reads it as it has credit.
//!
//! The publisher of a connection to a partition's stream has the partition's number; a subscription, the
//! number of the partition among those of the connection.

use std::net::{SocketAddr, TcpStream};

use crate::failure::Failure;
use crate::payload::{self, HEAD_BYTES, NTH_AT, Origin, Random, TIME_BYTES};
use crate::protocol::partition_name;
use crate::rabbit_stream::{self, Published, RabbitStream, Said};
use crate::scene::plan::{Producers, Topic};
use crate::scene::subscriber::{Feed, Sink, Subscriber};
use crate::scene::wire::{self, Answer, Reading, Request, Writing};

const ID_BYTES: usize = 8;

pub(super) struct Session {
    address: SocketAddr,
    broker: RabbitStream,
}

impl Session {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { address, broker: RabbitStream::connect(address)? })
    }
}

impl wire::Session for Session {
    fn ensure(&mut self, topic: &Topic) -> Result<(), Failure> {
        self.broker.ensure_streams(&topic.name, topic.partition_count)
    }

    fn publisher(
        &mut self,
        writing: &Writing<'_>,
        random: &mut Random,
    ) -> Result<(TcpStream, Box<dyn wire::Publisher>), Failure> {
        let Writing { topic, producers, origin } = *writing;
        let publisher = Publisher::new(producers, origin, random);
        let mut broker = RabbitStream::connect(self.address)?;
        for number in 0..small(usize::try_from(topic.partition_count).unwrap_or(0))? {
            let stream = partition_name(&topic.name, usize::from(number));
            broker.declare_publisher(number, &stream)?;
        }
        Ok((broker.into_stream(), Box::new(publisher)))
    }

    fn consumer(&mut self, reading: Reading<'_>) -> Result<Box<dyn wire::Consumer>, Failure> {
        let Reading { topic, partitions, continuity, is_there_from_the_start, .. } = reading;
        small(partitions.count)?;
        let streams = partitions.all().map(|it| partition_name(&topic.name, it)).collect();
        let feed = StreamFeed { streams, has_all: is_there_from_the_start };
        let stream = RabbitStream::connect(self.address)?.into_stream();
        Ok(Box::new(Subscriber::new(stream, feed, partitions, continuity)?))
    }

    fn ends(&mut self, _topic: &Topic) -> Result<Option<Vec<i64>>, Failure> {
        Ok(None)
    }
}

/// A count of what is numbered with a byte.
fn small(count: usize) -> Result<u8, Failure> {
    let why = "a connection has publishers and subscriptions for 255 streams at most";
    u8::try_from(count).map_err(|_large| Failure::new(why))
}

/// A request that is made once, in which numbers are stamped.
struct Publisher {
    published: Published,
    has_nth: bool,
}

impl Publisher {
    fn new(producers: &Producers, origin: Origin, random: &mut Random) -> Self {
        let values = (0..producers.record_count)
            .map(|_| payload::value(random, producers.value_bytes, origin))
            .collect::<Vec<_>>();
        let has_nth = HEAD_BYTES <= producers.value_bytes;
        Self { published: rabbit_stream::publish(&values), has_nth }
    }
}

impl wire::Publisher for Publisher {
    fn encode(&mut self, request: &Request) {
        let Request { number, partition, stamp } = *request;
        let Published { bytes, publisher_at, places } = &mut self.published;
        bytes[*publisher_at] = u8::try_from(partition).expect("who connected has so few streams");
        let count = u64::try_from(places.len()).expect("counts have at most 64 bits");
        let mut nth = stamp.first_nth;
        for ((id_at, value_at), id) in places.iter().zip(number * count..) {
            bytes[*id_at..id_at + ID_BYTES].copy_from_slice(&id.to_be_bytes());
            let value = &mut bytes[*value_at..];
            value[..TIME_BYTES].copy_from_slice(&stamp.intended_ns.to_be_bytes());
            if self.has_nth {
                value[NTH_AT..HEAD_BYTES].copy_from_slice(&nth.to_be_bytes());
            }
            nth = nth.wrapping_add(1);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.published.bytes
    }

    fn decode(&mut self, received: &mut &[u8], answers: &mut Vec<Answer>) -> Result<(), Failure> {
        while let Some(said) = rabbit_stream::take(received)? {
            match said {
                Said::Confirmed { ids } => {
                    let (ids, _) = ids.as_chunks();
                    answers.extend(ids.iter().map(|id| answer(*id, 0)));
                }
                Said::Refused { ids } => {
                    let (ids, _) = ids.as_chunks();
                    answers.extend(ids.iter().map(|[id @ .., high, low]: &[u8; ID_BYTES + 2]| {
                        answer(*id, i16::from_be_bytes([*high, *low]))
                    }));
                }
                Said::Aside => {}
                Said::Deliver { .. } | Said::Response { .. } | Said::Tune(_) => {
                    return Err(not_asked());
                }
            }
        }
        Ok(())
    }
}

const fn answer(id: [u8; ID_BYTES], error_code: i16) -> Answer {
    Answer::Value { number: u64::from_be_bytes(id), error_code }
}

fn not_asked() -> Failure {
    Failure::new("the broker says what was not asked")
}

/// A subscription to each stream.
struct StreamFeed {
    streams: Vec<String>,
    has_all: bool,
}

impl Feed for StreamFeed {
    fn begin(&mut self) -> Result<Vec<u8>, Failure> {
        let asked = (0..=u8::MAX).zip(&self.streams);
        Ok(asked
            .flat_map(|(number, stream)| rabbit_stream::subscribe(number, stream, self.has_all))
            .collect())
    }

    fn decode(&mut self, received: &mut &[u8], sink: &mut Sink<'_>) -> Result<(), Failure> {
        while let Some(said) = rabbit_stream::take(received)? {
            match said {
                Said::Deliver { subscription, mut chunk } => {
                    let nth = usize::from(subscription);
                    if self.streams.len() <= nth {
                        return Err(not_asked());
                    }
                    while let Some(value) = chunk.next()? {
                        sink.value(nth, value);
                    }
                    sink.say(&rabbit_stream::credit(subscription));
                }
                Said::Response { key, code } => rabbit_stream::check(key, code)?,
                Said::Aside => {}
                Said::Confirmed { .. } | Said::Refused { .. } | Said::Tune(_) => {
                    return Err(not_asked());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Origin;
    use crate::scene::testing::{bear, bear_feed, check_feed, request, writing};
    use crate::scene::wire::Publisher as _;

    fn publisher() -> Publisher {
        let (_, producers) = writing(2, 16);
        let origin = Origin { scene: 1, producer: 2 };
        Publisher::new(&producers, origin, &mut Random::from_seed(1))
    }

    /// A frame of the broker: its key, and what comes behind its version.
    fn frame(key: u16, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + rest.len()).unwrap();
        [&length.to_be_bytes()[..], &key.to_be_bytes(), &[0, 1], rest].concat()
    }

    #[test]
    fn a_request_has_the_publisher_of_its_partition_and_numbers_values() {
        let mut publisher = publisher();
        publisher.encode(&request(0x100, 12));
        let mut want = vec![12, 0, 0, 0, 2];
        for (id, nth) in [(0x200_u64, 5_u32), (0x201, 6)] {
            want.extend(id.to_be_bytes());
            want.extend([0, 0, 0, 21, 0, 0x53, 0x75, 0xa0, 16]);
            want.extend(7_u64.to_be_bytes());
            want.extend([0, 1, 0, 2]);
            want.extend(nth.to_be_bytes());
        }
        assert_eq!(publisher.bytes(), frame(2, &want));
    }

    #[test]
    fn confirms_and_errors_are_of_values() {
        let ids = [4_u64.to_be_bytes(), 2_u64.to_be_bytes()].concat();
        let confirm = frame(3, &[&[0, 0, 0, 0, 2][..], &ids].concat());
        let error = frame(4, &[&[0, 0, 0, 0, 1][..], &ids[..8], &[0, 18]].concat());
        let bytes = [confirm, frame(23, &[]), error].concat();
        let (mut rest, mut answers) = (bytes.as_slice(), Vec::new());
        publisher().decode(&mut rest, &mut answers).unwrap();
        let value = |number, error_code| Answer::Value { number, error_code };
        assert_eq!(
            (answers.as_slice(), rest.len()),
            (&[value(4, 0), value(2, 0), value(4, 18)][..], 0)
        );
        let response = frame(0x8001, &[0, 0, 0, 0, 0, 1]);
        assert!(publisher().decode(&mut response.as_slice(), &mut answers).is_err());
    }

    fn feed() -> StreamFeed {
        StreamFeed { streams: vec!["a-00000".to_owned(), "a-00002".to_owned()], has_all: true }
    }

    fn deliver(subscription: u8, values: &[[u8; 8]]) -> Vec<u8> {
        let message =
            |value: &[u8; 8]| [&[0, 0, 0, 13, 0, 0x53, 0x75, 0xa0, 8][..], value].concat();
        let data: Vec<u8> = values.iter().flat_map(message).collect();
        let count = u16::try_from(values.len()).unwrap().to_be_bytes();
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        let crc = crc32fast::hash(&data).to_be_bytes();
        let head = [&[subscription, 0x50, 0][..], &count, &[0; 28], &crc, &length, &[0; 8]];
        frame(8, &[head.concat(), data].concat())
    }

    #[test]
    fn records_of_a_chunk_are_delivered_and_credit_is_given_back() {
        let value = 7_u64.to_be_bytes();
        let subscribed = frame(0x8007, &[0, 0, 0, 0, 0, 1]);
        let bytes = [subscribed, deliver(0, &[value, value]), deliver(1, &[value])].concat();
        let said = [rabbit_stream::credit(0), rabbit_stream::credit(1)].concat();
        check_feed(&mut feed(), &bytes, Ok((3, &said)));
    }

    #[test]
    fn no_wrong_bit_panics() {
        bear_feed(feed, &deliver(1, &[7_u64.to_be_bytes()]));
        let confirm = frame(3, &[&[0, 0, 0, 0, 1][..], &[7; 8]].concat());
        bear(&confirm, |rest| publisher().decode(rest, &mut Vec::new()));
    }

    #[test]
    fn a_subscription_that_is_refused_or_strange_is_a_failure() {
        check_feed(&mut feed(), &frame(0x8007, &[0, 0, 0, 0, 0, 2]), Err("code 2"));
        check_feed(&mut feed(), &deliver(2, &[]), Err("not asked"));
        check_feed(&mut feed(), &frame(3, &[0, 0, 0, 0, 0]), Err("not asked"));
    }

    #[test]
    fn more_streams_than_a_byte_counts_are_refused() {
        assert_eq!(small(255).ok(), Some(255));
        assert!(small(256).is_err());
    }
}
