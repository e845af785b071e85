//! RabbitMQ's streams over their own protocol, as a scene speaks it: a request publishes its values to
//! the stream of their partition, and chunks of a stream are sent to who reads it as it has credit.
//!
//! The publisher of a connection to a partition's stream has the partition's number; a subscription, the
//! number of the partition among those of the connection.

use std::net::{SocketAddr, TcpStream};

use crate::failure::Failure;
use crate::payload::{self, HEAD_BYTES, NTH_AT, Random, TIME_BYTES};
use crate::protocol::partition_name;
use crate::rabbit_stream::{self, Published, RabbitStream, Said};
use crate::scene::plan::Topic;
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
        let values = (0..producers.record_count)
            .map(|_| payload::value(random, producers.value_bytes, origin))
            .collect::<Vec<_>>();
        let has_nth = HEAD_BYTES <= producers.value_bytes;
        let published = rabbit_stream::publish(&values);
        let publisher = Publisher { published, has_nth };
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
        let subscriber = Subscriber::new(stream, feed, partitions, continuity)
            .map_err(|error| Failure::io("prepare a connection", error))?;
        Ok(Box::new(subscriber))
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
