//! Which protocol a target's clients speak, and what is done through it around a measure.

use std::net::{SocketAddr, TcpStream};

use crate::amqp::Amqp;
use crate::broker::{Broker, Topic};
use crate::failure::Failure;
use crate::nats::Nats;
use crate::rabbit_stream::RabbitStream;
use crate::stop::Stop;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Kafka,
    /// JetStream over NATS's text protocol. A partition is a stream with one subject.
    Nats,
    /// AMQP 0-9-1. A partition is a quorum queue.
    Amqp,
    /// RabbitMQ's own for streams. A partition is a stream.
    RabbitStream,
}

impl Protocol {
    /// Whether a broker is there and does its work.
    pub(crate) fn answers(self, address: SocketAddr) -> bool {
        // A refused connection is the common case: it must cost little of the broker's core.
        if TcpStream::connect(address).is_err() {
            return false;
        }
        match self {
            Self::Kafka => Broker::connect(address)
                .and_then(|mut broker| broker.metadata(None))
                .is_ok_and(|metadata| !metadata.brokers.is_empty()),
            Self::Nats => Nats::connect(address).and_then(|mut nats| nats.account()).is_ok(),
            Self::Amqp => Amqp::connect(address).is_ok(),
            Self::RabbitStream => RabbitStream::connect(address).is_ok(),
        }
    }

    /// Creates what is missing, and waits until it is served. Fails soon after it is to stop.
    pub(crate) fn ensure_topics(
        self,
        address: SocketAddr,
        topics: &[Topic<'_>],
        stop: &Stop,
    ) -> Result<(), Failure> {
        match self {
            Self::Kafka => {
                let mut broker = Broker::connect(address)?.heeding(stop);
                topics.iter().try_for_each(|topic| broker.ensure_topic(topic))?;
                topics.iter().try_for_each(|topic| broker.until_served(topic))
            }
            Self::Nats => {
                let mut nats = Nats::connect(address)?;
                topics.iter().try_for_each(|it| {
                    stop.check()?;
                    nats.ensure_streams(it.name, it.partition_count)
                })
            }
            Self::Amqp => {
                let mut amqp = Amqp::connect(address)?;
                topics.iter().try_for_each(|it| {
                    stop.check()?;
                    amqp.ensure_queues(it.name, it.partition_count)
                })
            }
            Self::RabbitStream => {
                let mut broker = RabbitStream::connect(address)?;
                topics.iter().try_for_each(|it| {
                    stop.check()?;
                    broker.ensure_streams(it.name, it.partition_count)
                })
            }
        }
    }
}

/// What a partition of a topic is called where partitions are things of their own. All names of a
/// topic have one length, so that they can be stamped in place.
pub(crate) fn partition_name(topic: &str, partition: usize) -> String {
    format!("{topic}-{partition:0width$}", width = PARTITION_DIGITS)
}

pub(crate) const PARTITION_DIGITS: usize = 5;

/// Writes a partition's digits, as a name ends with them.
pub(crate) fn put_digits(digits: &mut [u8], mut number: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_place_are_those_of_a_name() {
        for partition in [0, 7, 12_345] {
            let mut name = partition_name("topic", 99).into_bytes();
            let digits_at = name.len() - PARTITION_DIGITS;
            put_digits(&mut name[digits_at..], partition);
            assert_eq!(name, partition_name("topic", partition).into_bytes());
        }
    }
}
