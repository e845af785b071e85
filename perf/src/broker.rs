//! One blocking connection to a broker, for everything around a measure: topics, offsets, ids.
//!
//! Not for what is measured. Responses come in the order of the requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreatePartitionsRequest,
    CreateTopicsRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, MetadataResponse, ProducerId as WireProducerId, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use net::api::ApiKey;
use net::client::{self, Envelope};

use crate::batch::ProducerId;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::frame::CLIENT_ID;
use crate::stop::Stop;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
const RESPONSE_WAIT: Duration = Duration::from_secs(120);
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// Versions whose fields are filled in here.
const METADATA_LAST: i16 = 12;
const CREATE_TOPICS_LAST: i16 = 7;
const CREATE_PARTITIONS_LAST: i16 = 3;
const LIST_OFFSETS_LAST: i16 = 7;
const INIT_PRODUCER_ID_LAST: i16 = 4;
const FIND_COORDINATOR_LAST: i16 = 3;

const TOPIC_WAIT: Duration = Duration::from_secs(120);
const TOPIC_PAUSE: Duration = Duration::from_millis(20);
const CREATE_TIMEOUT_MS: i32 = 120_000;
/// One request makes at most so many partitions: Kafka's controller refuses more than 10,000 records at once.
const CREATED_MAX: i32 = 5_000;
/// Asks ListOffsets for the end of the log, and for its start.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

pub(crate) struct Broker {
    address: SocketAddr,
    stream: TcpStream,
    versions: ApiVersionsResponse,
    correlation_id: i32,
    stop: Stop,
}

/// A topic that is to exist.
#[derive(Clone, Debug)]
pub(crate) struct Topic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partition_count: i32,
    pub(crate) configs: &'a [(String, String)],
}

pub(crate) fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| Failure::io(format!("resolve {address}"), error))?;
    found.next().ok_or_else(|| Failure::new(format!("{address} has no address: give HOST:PORT")))
}

impl Broker {
    /// Connects and asks for the versions.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let lost = |error| Failure::io(format!("connect to {address}"), error);
        Self::over(TcpStream::connect_timeout(&address, CONNECT_WAIT).map_err(lost)?, address)
    }

    /// Asks for the versions.
    pub(crate) fn over(stream: TcpStream, address: SocketAddr) -> Result<Self, Failure> {
        let lost = |error| Failure::io(format!("talk to {address}"), error);
        stream.set_nodelay(true).map_err(lost)?;
        stream.set_read_timeout(Some(RESPONSE_WAIT)).map_err(lost)?;
        let versions = ApiVersionsResponse::default();
        let stop = Stop::default();
        let mut broker = Self { address, stream, versions, correlation_id: 0, stop };
        // Every broker answers version 0.
        broker.versions = broker.call_as(&ApiVersionsRequest::default(), 0)?;
        Ok(broker)
    }

    /// It waits for nothing and asks for nothing more, once it was told to stop.
    pub(crate) fn heeding(self, stop: &Stop) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// The newest version that both sides speak, and `last` at most.
    pub(crate) fn version(&self, api: ApiKey, last: i16) -> Result<i16, Failure> {
        let common = client::common_version(api, &self.versions);
        common.map(|version| version.min(last)).ok_or_else(|| {
            Failure::new(format!("{} speaks no {} that we speak", self.address, api.name()))
        })
    }

    /// `None` asks for all topics.
    pub(crate) fn metadata(&mut self, topic: Option<&str>) -> Result<MetadataResponse, Failure> {
        let topics = topic
            .map(|name| vec![MetadataRequestTopic::default().with_name(Some(topic_name(name)))]);
        let request =
            MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        self.call(&request, METADATA_LAST)
    }

    /// Partitions of a topic, none if it does not exist.
    pub(crate) fn partition_count(&mut self, topic: &str) -> Result<i32, Failure> {
        let response = self.metadata(Some(topic))?;
        let count = response.topics.first().map_or(0, |it| it.partitions.len());
        Ok(i32::try_from(count).expect("a topic's partitions have an index of 32 bits"))
    }

    /// Creates what is missing, one replica each, and waits until every partition has a leader.
    pub(crate) fn ensure_topic(&mut self, topic: &Topic<'_>) -> Result<(), Failure> {
        let existing = self.partition_count(topic.name)?;
        if existing == 0 {
            self.create_topic(topic)?;
        } else if existing < topic.partition_count {
            return Err(Failure::new(format!(
                "topic {} exists with {existing} partitions: choose another name",
                topic.name
            )));
        }
        let deadline = Moment::now().plus(TOPIC_WAIT);
        while !self.has_leaders(topic.name)? {
            if deadline <= Moment::now() {
                return Err(Failure::new(format!("topic {} has no leaders", topic.name)));
            }
            self.stop.pause(TOPIC_PAUSE)?;
        }
        Ok(())
    }

    /// Waits until every partition answers for itself: a leader may be known before it serves.
    pub(crate) fn until_served(&mut self, topic: &Topic<'_>) -> Result<(), Failure> {
        let deadline = Moment::now().plus(TOPIC_WAIT);
        loop {
            match self.log_ends(topic.name, topic.partition_count) {
                Ok(_) => return Ok(()),
                Err(failure) if deadline <= Moment::now() => return Err(failure),
                Err(_) => self.stop.pause(TOPIC_PAUSE)?,
            }
        }
    }

    pub(crate) fn producer_id(&mut self) -> Result<ProducerId, Failure> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1);
        let deadline = Moment::now().plus(TOPIC_WAIT);
        loop {
            let response = self.call(&request, INIT_PRODUCER_ID_LAST)?;
            let failure = ResponseError::try_from_code(response.error_code);
            match failure {
                None => {
                    let (id, epoch) = (response.producer_id.0, response.producer_epoch);
                    return Ok(ProducerId { id, epoch });
                }
                Some(error) if error.is_retriable() && Moment::now() < deadline => {
                    self.stop.pause(TOPIC_PAUSE)?;
                }
                Some(error) => return Err(Failure::new(format!("no producer id: {error:?}"))),
            }
        }
    }

    /// The end of each partition's log, by its index.
    pub(crate) fn log_ends(&mut self, topic: &str, count: i32) -> Result<Vec<i64>, Failure> {
        self.offsets(topic, count, LATEST)
    }

    /// The start of each partition's log, by its index.
    pub(crate) fn log_starts(&mut self, topic: &str, count: i32) -> Result<Vec<i64>, Failure> {
        self.offsets(topic, count, EARLIEST)
    }

    /// The connection, for other requests: this one has introduced itself, as a client does.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn offsets(&mut self, topic: &str, count: i32, timestamp: i64) -> Result<Vec<i64>, Failure> {
        let partitions = (0..count).map(|index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        let named = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.collect());
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![named]);
        let response = self.call(&request, LIST_OFFSETS_LAST)?;
        let mut answers: Vec<_> =
            response.topics.into_iter().flat_map(|topic| topic.partitions).collect();
        answers.sort_by_key(|answer| answer.partition_index);
        if let Some(error) =
            answers.iter().find_map(|it| ResponseError::try_from_code(it.error_code))
        {
            return Err(Failure::new(format!("no offsets of topic {topic}: {error:?}")));
        }
        Ok(answers.iter().map(|answer| answer.offset).collect())
    }

    /// Waits until a group has a coordinator that answers: its topic may be made only now.
    pub(crate) fn until_coordinated(&mut self, group: &str) -> Result<(), Failure> {
        let request =
            FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let deadline = Moment::now().plus(TOPIC_WAIT);
        loop {
            let response = self.call(&request, FIND_COORDINATOR_LAST)?;
            match ResponseError::try_from_code(response.error_code) {
                None => return Ok(()),
                Some(error) if error.is_retriable() && Moment::now() < deadline => {
                    self.stop.pause(TOPIC_PAUSE)?;
                }
                Some(error) => {
                    return Err(Failure::new(format!("no coordinator of a group: {error:?}")));
                }
            }
        }
    }

    /// Not for Produce and Fetch.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        last: i16,
    ) -> Result<R::Response, Failure> {
        self.stop.check()?;
        let version = self.version(api_of::<R>(), last)?;
        self.call_as(request, version)
    }

    fn call_as<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Failure> {
        let api = api_of::<R>();
        let (address, name) = (self.address, api.name());
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        let envelope = Envelope { version, correlation_id: self.correlation_id, client_id };
        let frame = client::encode_request(api, &envelope, request).map_err(|_inexpressible| {
            Failure::new(format!("{address} is too old for this {name} request"))
        })?;
        let lost = |error| Failure::io(format!("ask {address} for {name}"), error);
        self.stream.write_all(&frame).map_err(lost)?;
        let mut frame = Vec::new();
        read_frame(&mut self.stream, &mut frame).map_err(lost)?;
        let answer = client::split_response(api, version, &Bytes::from(frame))
            .and_then(|(id, body)| Ok((id, client::decode_response(api, version, &body)?)));
        match answer {
            Ok((correlation_id, response)) if correlation_id == self.correlation_id => Ok(response),
            Ok(_) | Err(_) => {
                Err(Failure::new(format!("the answer of {address} to {name} makes no sense")))
            }
        }
    }

    fn create_topic(&mut self, topic: &Topic<'_>) -> Result<(), Failure> {
        let config = |(key, value): &(String, String)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        };
        let creatable = CreatableTopic::default()
            .with_name(topic_name(topic.name))
            .with_num_partitions(topic.partition_count.min(CREATED_MAX))
            .with_replication_factor(1)
            .with_configs(topic.configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(CREATE_TIMEOUT_MS);
        let response = self.call(&request, CREATE_TOPICS_LAST)?;
        for result in response.topics {
            let error = ResponseError::try_from_code(result.error_code);
            if let Some(error) = error.filter(|it| *it != ResponseError::TopicAlreadyExists) {
                let message = result.error_message.unwrap_or_default();
                let name = topic.name;
                return Err(Failure::new(format!(
                    "cannot create topic {name}: {error:?} {message}"
                )));
            }
        }
        let mut count = CREATED_MAX;
        while count < topic.partition_count {
            count = topic.partition_count.min(count + CREATED_MAX);
            self.grow_topic(topic.name, count)?;
        }
        Ok(())
    }

    /// A topic that was made just now may not be known everywhere yet.
    fn grow_topic(&mut self, name: &str, count: i32) -> Result<(), Failure> {
        let grown = CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![grown.with_assignments(None)])
            .with_timeout_ms(CREATE_TIMEOUT_MS);
        let deadline = Moment::now().plus(TOPIC_WAIT);
        loop {
            let response = self.call(&request, CREATE_PARTITIONS_LAST)?;
            let errors =
                response.results.iter().map(|it| ResponseError::try_from_code(it.error_code));
            match errors.flatten().next() {
                None | Some(ResponseError::InvalidPartitions) => return Ok(()), // It has them.
                Some(error) if error.is_retriable() && Moment::now() < deadline => {
                    self.stop.pause(TOPIC_PAUSE)?;
                }
                Some(error) => {
                    let why = format!("cannot give topic {name} {count} partitions: {error:?}");
                    return Err(Failure::new(why));
                }
            }
        }
    }

    fn has_leaders(&mut self, name: &str) -> Result<bool, Failure> {
        let response = self.metadata(Some(name))?;
        let topic = response.topics.first();
        Ok(topic.is_some_and(|topic| {
            let has_leader = |error_code: i16, leader: BrokerId| error_code == 0 && 0 <= leader.0;
            topic.error_code == 0
                && !topic.partitions.is_empty()
                && topic.partitions.iter().all(|it| has_leader(it.error_code, it.leader_id))
        }))
    }
}

/// A frame without its length, in place of what `frame` held.
pub(crate) fn read_frame(stream: &mut TcpStream, frame: &mut Vec<u8>) -> std::io::Result<()> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let frame_bytes = usize::try_from(i32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if frame_bytes > RESPONSE_BYTES_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    frame.resize(frame_bytes, 0);
    stream.read_exact(frame)
}

fn api_of<R: Request>() -> ApiKey {
    ApiKey::from_code(R::KEY).expect("we ask for nothing that net does not know")
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn who_is_stopped_creates_no_topic() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let answer = || {
            let (mut stream, _) = listener.accept().expect("a client");
            read_frame(&mut stream, &mut Vec::new()).expect("it asks for the versions");
            // The correlation id, no error, no API.
            stream.write_all(&[0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]).expect("it is there");
            stream
        };
        thread::scope(|scope| {
            let server = scope.spawn(answer);
            let stop = Stop::default();
            let mut broker = Broker::connect(address).expect("it answers").heeding(&stop);
            let topic = Topic { name: "t", partition_count: 1, configs: &[] };
            let failure = broker.ensure_topic(&topic).expect_err("it knows no API");
            assert!(failure.to_string().contains("Metadata"), "{failure}");
            stop.ask();
            let failure = broker.ensure_topic(&topic).expect_err("it is stopped");
            assert_eq!(failure.to_string(), "it was stopped");
            drop(server.join().expect("no panic"));
        });
    }
}
