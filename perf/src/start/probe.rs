//! A connection that asks partitions whether they take a record: one record each, some at a time.
//!
//! It measures nothing. A broker that is not there, or closes the connection, is a failure like any other.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use bytes::Bytes;
use net::api::ApiKey;
use net::client;

use crate::batch::{ProducerId, Stamp};
use crate::broker::{self, Broker};
use crate::clock::{Moment, wall_ms};
use crate::failure::Failure;
use crate::frame::{Acks, PRODUCE_LAST, ProduceFrame, Shape};
use crate::payload::{Origin, Random};

const VALUE_BYTES: usize = 100;
/// Requests without an answer: few enough for every broker's patience.
const IN_FLIGHT_MAX: usize = 50;

pub(super) struct Probe {
    stream: TcpStream,
    version: i16,
    frame: ProduceFrame,
    answer: Vec<u8>,
    correlation_id: i32,
}

impl Probe {
    pub(super) fn connect(address: SocketAddr, topic: &str) -> Result<Self, Failure> {
        let broker = Broker::connect(address)?;
        let version = broker.version(ApiKey::Produce, PRODUCE_LAST)?;
        let shape = Shape {
            version,
            topic,
            acks: Acks::All,
            record_count: 1,
            value_bytes: VALUE_BYTES,
            producer: ProducerId::NONE,
            origin: Origin::default(),
        };
        let frame = ProduceFrame::new(&shape, &mut Random::from_seed(1));
        let (stream, answer) = (broker.into_stream(), Vec::new());
        Ok(Self { stream, version, frame, answer, correlation_id: 0 })
    }

    /// Those of the partitions that did not take it.
    pub(super) fn refused(&mut self, partitions: &[i32]) -> Result<Vec<i32>, Failure> {
        let mut refused = Vec::new();
        for some in partitions.chunks(IN_FLIGHT_MAX) {
            for partition in some {
                self.send(*partition)?;
            }
            for partition in some {
                if self.answer()? != 0 {
                    refused.push(*partition);
                }
            }
        }
        Ok(refused)
    }

    fn send(&mut self, partition: i32) -> Result<(), Failure> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let stamp = Stamp {
            intended_ns: Moment::now().ns(),
            first_nth: 0,
            wall_ms: wall_ms(),
            base_sequence: -1,
        };
        self.frame.stamp(self.correlation_id, partition, stamp);
        let sent = self.stream.write_all(self.frame.bytes());
        sent.map_err(|error| Failure::io("produce one record", error))
    }

    /// Kafka's code of the next answer.
    fn answer(&mut self) -> Result<i16, Failure> {
        let lost = |error| Failure::io("produce one record", error);
        broker::read_frame(&mut self.stream, &mut self.answer).map_err(lost)?;
        let body = Bytes::copy_from_slice(&self.answer);
        let answer = client::split_response(ApiKey::Produce, self.version, &body)
            .and_then(|(_, body)| client::decode_produce(self.version, &body))
            .map_err(|error| Failure::new(format!("the answer makes no sense: {error:?}")))?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let only = partitions.next().map(|partition| partition.error.get());
        only.ok_or_else(|| Failure::new("the answer has no partition"))
    }
}

/// Partitions that are to take a record each, asked again and again on one connection until they have.
pub(super) struct Round {
    waiting: Vec<i32>,
    probe: Option<Probe>,
}

impl Round {
    pub(super) fn of(partitions: Range<i32>) -> Self {
        Self { waiting: partitions.collect(), probe: None }
    }

    /// One attempt with the first that waits.
    pub(super) fn take_first(&mut self, address: SocketAddr, topic: &str) -> Option<()> {
        let first = *self.waiting.first().expect("a topic has a partition");
        let refused = self.attempt(address, topic, &[first])?;
        if refused.is_empty() {
            self.waiting.remove(0);
        }
        refused.is_empty().then_some(())
    }

    /// One attempt with all that wait.
    pub(super) fn take_all(&mut self, address: SocketAddr, topic: &str) -> Option<()> {
        let asked = std::mem::take(&mut self.waiting);
        self.waiting = self.attempt(address, topic, &asked).unwrap_or(asked);
        self.waiting.is_empty().then_some(())
    }

    fn attempt(&mut self, address: SocketAddr, topic: &str, asked: &[i32]) -> Option<Vec<i32>> {
        if self.probe.is_none() {
            self.probe = Probe::connect(address, topic).ok();
        }
        let refused = self.probe.as_mut()?.refused(asked);
        if refused.is_err() {
            self.probe = None;
        }
        refused.ok()
    }
}
