//! Kafka's protocol, as a scene speaks it: topics through a connection of its own, Produce and Fetch on
//! those of producers and consumers.

use std::net::{SocketAddr, TcpStream};

use net::api::ApiKey;

use crate::batch::ProducerId;
use crate::broker::{self, Broker};
use crate::failure::Failure;
use crate::frame::{PRODUCE_LAST, Shape};
use crate::payload::Random;
use crate::scene::kafka::answer::FETCH_LAST;
use crate::scene::kafka::consumer::{Consumer, Positions};
use crate::scene::kafka::publisher::Publisher;
use crate::scene::kafka::query::Query;
use crate::scene::plan::Topic;
use crate::scene::wire::{self, Reading, Writing};

mod answer;
mod consumer;
mod publisher;
mod query;
mod records;

pub(super) struct Session {
    address: SocketAddr,
    broker: Broker,
    produce_version: i16,
    fetch_version: i16,
}

impl Session {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let broker = Broker::connect(address)?;
        let produce_version = broker.version(ApiKey::Produce, PRODUCE_LAST)?;
        let fetch_version = broker.version(ApiKey::Fetch, FETCH_LAST)?;
        Ok(Self { address, broker, produce_version, fetch_version })
    }
}

impl wire::Session for Session {
    fn ensure(&mut self, topic: &Topic) -> Result<(), Failure> {
        let Topic { name, partition_count, configs } = topic;
        let topic = broker::Topic { name, partition_count: *partition_count, configs };
        self.broker.ensure_topic(&topic)?;
        self.broker.until_served(&topic)
    }

    fn publisher(
        &mut self,
        writing: &Writing<'_>,
        random: &mut Random,
    ) -> Result<(TcpStream, Box<dyn wire::Publisher>), Failure> {
        let Writing { topic, producers, origin } = *writing;
        let producer =
            if producers.is_idempotent { self.broker.producer_id()? } else { ProducerId::NONE };
        let shape = Shape {
            version: self.produce_version,
            topic: &topic.name,
            acks: producers.acks,
            record_count: producers.record_count,
            value_bytes: producers.value_bytes,
            producer,
            origin,
        };
        let publisher = Publisher::new(&shape, random);
        Ok((Broker::connect(self.address)?.into_stream(), Box::new(publisher)))
    }

    fn consumer(&mut self, reading: Reading<'_>) -> Result<Box<dyn wire::Consumer>, Failure> {
        let Reading { topic, consumers, partitions, continuity, .. } = reading;
        let starts = self.broker.log_starts(&topic.name, topic.partition_count)?;
        let starts = partitions.all().filter_map(|it| starts.get(it).copied());
        let positions = Positions::new(partitions, starts);
        let query = Query::new(&query::Shape {
            version: self.fetch_version,
            topic: &topic.name,
            partition_count: partitions.count,
            partition_bytes_max: consumers.partition_bytes_max,
            wait_max: consumers.wait_max,
        });
        let stream = Broker::connect(self.address)?.into_stream();
        let consumer = Consumer::new(stream, self.fetch_version, query, positions, continuity)
            .map_err(|error| Failure::io("prepare a connection", error))?;
        Ok(Box::new(consumer))
    }

    fn ends(&mut self, topic: &Topic) -> Result<Option<Vec<i64>>, Failure> {
        self.broker.log_ends(&topic.name, topic.partition_count).map(Some)
    }
}
