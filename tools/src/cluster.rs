//! A cluster as a client sees it: topics, leaders, and a connection to each broker once it is needed.
//!
//! Blocking. Invariant: `leaders` is what the last metadata response said; whoever is told that a
//! leader moved asks for it again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use net::api::ApiKey;

use crate::connection::Connection;
use crate::failure::Failure;

/// Newest version of Metadata whose fields we use.
const METADATA_LAST: i16 = 12;
/// While a topic is being made its leaders are unknown: asked again this often, this long apart.
const ASK_COUNT_MAX: usize = 40;
const ASK_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Cluster {
    bootstrap: Connection,
    addresses: BTreeMap<i32, String>,
    controller: i32,
    connections: BTreeMap<i32, Connection>,
}

/// Kafka's name type from text.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// What a broker's error code means, and what to do about it where we know.
pub(crate) fn explain(code: i16, message: Option<&StrBytes>) -> String {
    let Some(error) = ResponseError::try_from_code(code) else {
        return "no error".to_owned();
    };
    let advice = match error {
        ResponseError::UnknownTopicOrPartition => {
            "no such topic or partition; `odradek topic list` shows what there is"
        }
        ResponseError::TopicAlreadyExists => "the topic exists already",
        ResponseError::MessageTooLarge => {
            "the batch is larger than the topic's max.message.bytes; raise it with \
             `odradek topic alter TOPIC --config max.message.bytes=N`, send smaller batches with \
             --batch-bytes, or compress with -z"
        }
        ResponseError::KafkaStorageError => {
            "the broker's disk failed for this partition; look at the broker's log"
        }
        ResponseError::InvalidReplicationFactor => {
            "the replication factor is larger than the number of brokers"
        }
        ResponseError::NonEmptyGroup => "the group has members; stop them first",
        ResponseError::GroupIdNotFound => "no such group; `odradek group list` shows what there is",
        ResponseError::UnsupportedVersion => "the broker does not support what was asked",
        _ => "",
    };
    let said = message.map(|it| it.as_str()).filter(|it| !it.is_empty());
    let detail = said.unwrap_or(advice);
    let name = format!("{error:?}");
    if detail.is_empty() { name } else { format!("{name}: {detail}") }
}

/// Whether the same request may succeed a little later.
pub(crate) fn is_retriable(code: i16) -> bool {
    ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable())
}

impl Cluster {
    pub(crate) fn connect(address: &str) -> Result<Self, Failure> {
        let bootstrap = Connection::open(address)?;
        let mut cluster = Self {
            bootstrap,
            addresses: BTreeMap::new(),
            controller: -1,
            connections: BTreeMap::new(),
        };
        cluster.metadata(Some(&[]), Creation::Never)?;
        Ok(cluster)
    }

    /// Any broker will do.
    pub(crate) fn call_any<R: Request>(
        &mut self,
        request: &R,
        version_last: i16,
    ) -> Result<R::Response, Failure> {
        self.bootstrap.call(request, version_last)
    }

    /// Whether the cluster answers this API at all.
    pub(crate) fn speaks(&self, api: ApiKey) -> bool {
        self.bootstrap.speaks(api)
    }

    /// The node that takes changes.
    pub(crate) const fn controller(&self) -> i32 {
        self.controller
    }

    /// The brokers that the last metadata named, in order.
    pub(crate) fn nodes(&self) -> Vec<i32> {
        self.addresses.keys().copied().collect()
    }

    /// Changes of topics go to the controller.
    pub(crate) fn call_controller<R: Request>(
        &mut self,
        request: &R,
        version_last: i16,
    ) -> Result<R::Response, Failure> {
        if self.addresses.contains_key(&self.controller) {
            let controller = self.controller;
            self.broker(controller)?.call(request, version_last)
        } else {
            self.bootstrap.call(request, version_last)
        }
    }

    /// The connection to one broker, opened at first use.
    pub(crate) fn broker(&mut self, node: i32) -> Result<&mut Connection, Failure> {
        if !self.connections.contains_key(&node) {
            let address = self.addresses.get(&node).ok_or_else(|| {
                Failure::failed(format!("the cluster told no address of broker {node}"))
            })?;
            let connection = Connection::open(address).map_err(|failure| {
                Failure::failed(format!(
                    "{failure} (the cluster advertises broker {node} at {address}: \
                     can it be reached from here? It is the broker's advertised.listeners)"
                ))
            })?;
            self.connections.insert(node, connection);
        }
        Ok(self.connections.get_mut(&node).expect("inserted above"))
    }

    /// Forgets a connection that failed.
    pub(crate) fn forget(&mut self, node: i32) {
        drop(self.connections.remove(&node));
    }

    /// `None` asks for all topics.
    pub(crate) fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        creation: Creation,
    ) -> Result<MetadataResponse, Failure> {
        let topics = topics.map(|names| {
            names
                .iter()
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(creation == Creation::IfMissing);
        let response = match self.bootstrap.call(&request, METADATA_LAST) {
            Ok(response) => response,
            Err(_) => {
                // The broker may have started again since: one new connection tells.
                self.bootstrap = Connection::open(self.bootstrap.address())?;
                self.bootstrap.call(&request, METADATA_LAST)?
            }
        };
        for broker in &response.brokers {
            let host = broker.host.as_str();
            let address = if host.contains(':') {
                format!("[{host}]:{}", broker.port)
            } else {
                format!("{host}:{}", broker.port)
            };
            self.addresses.insert(broker.node_id.0, address);
        }
        self.controller = response.controller_id.0;
        Ok(response)
    }

    /// One topic, all of whose partitions have a leader. Waits a little for a topic in the making.
    pub(crate) fn topic(
        &mut self,
        name: &str,
        creation: Creation,
    ) -> Result<MetadataResponseTopic, Failure> {
        let mut last_code = 0;
        for _ in 0..ASK_COUNT_MAX {
            let response = self.metadata(Some(&[name]), creation)?;
            let topic = response.topics.into_iter().next().ok_or_else(|| {
                Failure::failed(format!("the broker said nothing of topic {name}"))
            })?;
            let codes = std::iter::once(topic.error_code)
                .chain(topic.partitions.iter().map(|partition| partition.error_code));
            let worst = codes.filter(|code| *code != 0).max();
            match worst {
                None if !topic.partitions.is_empty() => return Ok(topic),
                None => last_code = ResponseError::LeaderNotAvailable.code(),
                Some(code) => last_code = code,
            }
            let is_missing = last_code == ResponseError::UnknownTopicOrPartition.code();
            if !is_retriable(last_code) || (is_missing && creation == Creation::Never) {
                break;
            }
            pause(ASK_PAUSE);
        }
        if last_code == ResponseError::UnknownTopicOrPartition.code() {
            return Err(Failure::TopicMissing(format!(
                "topic {name} does not exist; make it with `odradek topic create {name}`"
            )));
        }
        Err(Failure::failed(format!("topic {name}: {}", explain(last_code, None))))
    }
}

/// Whether asking for a topic may make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    Never,
    /// As Kafka's producers ask; the broker's `auto.create.topics.enable` decides.
    IfMissing,
}

/// Node numbers as people read them.
pub(crate) fn nodes(ids: &[BrokerId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
}

#[expect(clippy::disallowed_methods, reason = "a command waits on its own thread, no shard's")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[expect(clippy::disallowed_methods, reason = "a command's own clock; there is no shard here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "a command's own clock; there is no shard here")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
