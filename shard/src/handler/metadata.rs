//! Metadata and DescribeCluster: who the brokers are, which topics there are, where their partitions live.

use std::rc::Rc;

use engine::id::TopicId;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use net::metadata::{Broker, Head, Partition, Topic as TopicHead, Topics};
use replication::image::{Image, Topic};
use replication::node::NodeId;
use replication::topic_name;
use uuid::Uuid;

use crate::accounts::toll::{Asker, Strictness};
use crate::cause::Cause;
use crate::connection::{Connection, Frame, Request};
use crate::controller::Command;
use crate::handler::{Close, charge_time, text, throttle_ms};
use crate::io::Io;
use crate::lane::{Lane, Sliced};
use crate::limits::{ANSWER_SLICE_BYTES, SHORT_ENTRIES_MAX};
use crate::shard::Shard;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

/// A slice at a time: all topics may be many megabytes.
pub async fn answer<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Rc<Connection<I>>,
    request: &mut Request,
    body: MetadataRequest,
) -> Result<Frame<I>, Close> {
    let version = request.header.version;
    let topics = Topics::new(request.header.reply());
    let is_all = body.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    let asked = body.topics.unwrap_or_default();
    let is_odd = |topic: &MetadataRequestTopic| topic.name.is_none() && topic.topic_id.is_nil();
    let (topics, is_sound) = if is_all {
        let image = shard.image();
        let entries = image.topics().map(|topic| Entry::There(topic));
        (list(shard, Listing::new(entries, topics)).await, true)
    } else if asked.iter().any(is_odd) {
        // Kafka fails the whole answer for a topic with neither name nor id.
        let odd = Entry::missing(ErrorCode::UNKNOWN_SERVER_ERROR, Some(text("")), Uuid::nil());
        (list(shard, Listing::new(std::iter::once(odd), topics)).await, false)
    } else {
        let image = shard.image();
        let may_create = body.allow_auto_topic_creation || version < 4;
        if may_create && image.broker_config().topics.auto_create {
            let named = asked.iter().filter(|topic| topic.topic_id.is_nil());
            let names = named.filter_map(|it| it.name.as_ref()).map(|it| it.0.as_str());
            let client = request.header.client_id.as_deref().unwrap_or_default();
            create_missing(shard, &image, names, client).await;
        }
        let image = shard.image();
        let entries = asked.into_iter().map(|topic| found(&image, topic));
        (list(shard, Listing::new(entries, topics)).await, true)
    };
    charge_time(shard, connection, request);
    finish(shard, connection, request, topics, is_sound)
}

/// Whether the answer is of many topics, or of a topic with many partitions.
pub fn may_be_long(image: &Image, body: &MetadataRequest) -> bool {
    let Some(topics) = body.topics.as_ref().filter(|it| !it.is_empty()) else {
        return image.partition_count() > SHORT_ENTRIES_MAX;
    };
    let partitions = |it: &MetadataRequestTopic| {
        let name = it.name.as_ref().filter(|_| it.topic_id.is_nil());
        let topic = match name {
            Some(name) => image.topic(name),
            None => image.topic_by_id(TopicId::new(*it.topic_id.as_bytes())),
        };
        topic.map_or(1, |it| it.partitions().len())
    };
    topics.len() > SHORT_ENTRIES_MAX
        || topics.iter().map(partitions).sum::<usize>() > SHORT_ENTRIES_MAX
}

/// What stands around the topics.
fn finish<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &Request,
    topics: Topics,
    is_sound: bool,
) -> Result<Frame<I>, Close> {
    let image = shard.image();
    let throttle_ms = throttle_ms(request);
    if !is_sound {
        let error = ErrorCode::UNKNOWN_SERVER_ERROR;
        shard.recorder.borrow_mut().on_error(error.get());
        let (brokers, cluster_id, controller_id) = (Vec::new(), None, -1);
        let head = Head { throttle_ms, brokers, cluster_id, controller_id, error };
        return topics.answer(&head).map_err(|_error| Close(Cause::Answer));
    }
    let brokers = image.brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(shard.listener_name(connection.listener()))?;
        Some(Broker {
            id: broker.id.get(),
            host: &endpoint.host,
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref(),
        })
    });
    let cluster_id = shard.cluster_id();
    let head = Head {
        throttle_ms,
        brokers: brokers.collect(),
        cluster_id: Some(&cluster_id),
        controller_id: image.node().get(),
        error: ErrorCode::NONE,
    };
    topics.answer(&head).map_err(|_error| Close(Cause::Answer))
}

async fn list<'a, I: Io>(
    shard: &Shard<I>,
    listing: Listing<'a, impl Iterator<Item = Entry<'a>>>,
) -> Topics {
    let (topics, errors) = write_all(&shard.io, &shard.lane, listing).await;
    let mut recorder = shard.recorder.borrow_mut();
    errors.iter().for_each(|code| recorder.on_error(code.get()));
    topics
}

/// As long work is done. Also gives the errors that topics have.
async fn write_all<'a, I: Io>(
    io: &I,
    lane: &Lane,
    mut listing: Listing<'a, impl Iterator<Item = Entry<'a>>>,
) -> (Topics, Vec<ErrorCode>) {
    let mut sliced = Sliced::new(io, lane);
    let mut rest = Rest::Some;
    while rest == Rest::Some {
        rest = sliced.next(|| listing.write_slice()).await;
    }
    (listing.topics, listing.errors)
}

/// Topics on their way into an answer.
struct Listing<'a, E> {
    entries: E,
    /// A topic that is not written to its end, and its next partition.
    open: Option<(&'a Topic, usize)>,
    topics: Topics,
    errors: Vec<ErrorCode>,
}

/// What an answer says of a topic.
enum Entry<'a> {
    There(&'a Topic),
    Missing { error: ErrorCode, name: Option<StrBytes>, id: Uuid },
}

/// What is left to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Some,
    None,
}

impl Entry<'_> {
    const fn missing(error: ErrorCode, name: Option<StrBytes>, id: Uuid) -> Self {
        Self::Missing { error, name, id }
    }
}

impl<'a, E: Iterator<Item = Entry<'a>>> Listing<'a, E> {
    const fn new(entries: E, topics: Topics) -> Self {
        Self { entries, open: None, topics, errors: Vec::new() }
    }

    /// As many topics and partitions as a slice holds. A chunk of the answer is a slice, but for the last.
    fn write_slice(&mut self) -> Rest {
        while self.topics.chunks().open_bytes() < ANSWER_SLICE_BYTES {
            if let Some((topic, next)) = self.open.take() {
                self.go_on(topic, next);
                continue;
            }
            match self.entries.next() {
                None => return Rest::None,
                Some(Entry::There(topic)) => {
                    self.topics.begin(&head_of(topic), topic.partitions().len());
                    self.open = Some((topic, 0));
                }
                Some(Entry::Missing { error, name, id }) => {
                    let (name, id, is_internal) = (name.as_deref(), *id.as_bytes(), false);
                    self.topics.begin(&TopicHead { error, name, id, is_internal }, 0);
                    self.topics.end();
                    self.errors.push(error);
                }
            }
        }
        self.topics.chunks().end_chunk();
        Rest::Some
    }

    fn go_on(&mut self, topic: &'a Topic, next: usize) {
        let Some(partition) = topic.partitions().get(next) else { return self.topics.end() };
        let nodes = |nodes: &'a [NodeId]| nodes.iter().map(|node| node.get());
        self.topics.partition(Partition {
            index: i32::try_from(next).expect("partitions are few"),
            leader: partition.leader().get(),
            leader_epoch: partition.leader_epoch().get(),
            replicas: nodes(partition.replicas()),
            in_sync: nodes(partition.in_sync()),
        });
        self.open = Some((topic, next + 1));
    }
}

fn head_of(topic: &Topic) -> TopicHead<'_> {
    TopicHead {
        error: ErrorCode::NONE,
        name: Some(topic.name().as_str()),
        id: topic.id().get(),
        is_internal: topic.name().is_internal(),
    }
}

/// Makes topics that are asked for and not there, as far as it may.
async fn create_missing<'a, I: Io>(
    shard: &Rc<Shard<I>>,
    image: &Image,
    names: impl Iterator<Item = &'a str>,
    client: &str,
) {
    let is_missing =
        |name: &&str| image.topic(name).is_none() && topic_name::TopicName::checked(name).is_ok();
    let missing: Vec<String> = names.filter(is_missing).map(str::to_owned).collect();
    if !missing.is_empty() {
        // As in Kafka nobody is told of a refusal, nor how long to wait: it sees no topic, and asks again.
        let asker = Asker { client: client.to_owned(), strictness: Strictness::Refuse };
        shard.command(Command::AutoCreate(missing, asker)).await;
    }
}

fn found(image: &Image, asked: MetadataRequestTopic) -> Entry<'_> {
    match asked.name {
        // Java's client sends an empty name with an id.
        Some(name) if asked.topic_id.is_nil() => by_name(image, name.0),
        Some(_) | None => by_id(image, asked.topic_id),
    }
}

/// A topic that could not be created is one that is not there: clients ask again.
fn by_name(image: &Image, name: StrBytes) -> Entry<'_> {
    if let Some(topic) = image.topic(&name) {
        return Entry::There(topic);
    }
    let code = if topic_name::TopicName::checked(&name).is_err() {
        ErrorCode::INVALID_TOPIC_EXCEPTION
    } else {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    };
    Entry::missing(code, Some(name), Uuid::nil())
}

fn by_id(image: &Image, id: Uuid) -> Entry<'_> {
    match image.topic_by_id(TopicId::new(*id.as_bytes())) {
        Some(topic) => Entry::There(topic),
        None => Entry::missing(ErrorCode::UNKNOWN_TOPIC_ID, None, id),
    }
}

pub fn describe_cluster<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let refused = |code: ErrorCode, message: &str| {
        DescribeClusterResponse::default()
            .with_error_code(code.get())
            .with_error_message(Some(text(message)))
            .with_endpoint_type(1)
            .with_cluster_authorized_operations(NO_OPERATIONS)
    };
    if version >= 1 {
        match request.endpoint_type {
            1 => {}
            2 => {
                let message = "The request was sent to an endpoint of the wrong type.";
                return refused(ErrorCode::MISMATCHED_ENDPOINT_TYPE, message);
            }
            _ => {
                let message = "The endpoint type is not supported.";
                return refused(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, message);
            }
        }
    }
    let image = shard.image();
    let brokers = image.brokers().filter_map(|broker| {
        let endpoint = broker.endpoint(shard.listener_name(connection.listener()))?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.id.get()))
                .with_host(text(&*endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(broker.rack.as_deref().map(text)),
        )
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(1)
        .with_cluster_id(text(shard.cluster_id()))
        .with_controller_id(BrokerId(image.node().get()))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(NO_OPERATIONS)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::pin::pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use engine::id::TopicId;
    use kafka_protocol::protocol::StrBytes;
    use net::api::ApiKey;
    use net::error_code::ErrorCode;
    use net::header::Reply;
    use net::metadata::{Head, Topics};
    use net::outgoing::Piece;
    use replication::cluster::Cluster;
    use replication::config::broker::Configs;
    use replication::event::Event;
    use replication::node::{Broker as Registered, NodeId};
    use replication::topics::{NewTopic, create_topics};
    use uuid::Uuid;

    use super::{Entry, Listing, Rest, write_all};
    use crate::io::{Class, Io};
    use crate::lane::Lane;
    use crate::limits::{ANSWER_SLICE_BYTES, LONG_PAUSE, SHORT_SLICES};
    use crate::sim::{Ended, World};

    const ENTRY_COUNT: usize = 12_000;
    const NAME_BYTES: usize = 300;

    const fn reply() -> Reply {
        Reply { api: ApiKey::Metadata, version: 12, correlation_id: 1 }
    }

    fn missing(index: usize) -> Entry<'static> {
        let name = StrBytes::from_string(format!("{index:0NAME_BYTES$}"));
        Entry::missing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(name), Uuid::nil())
    }

    /// Bytes of the parts of an answer with so many topics.
    fn parts(topics: Topics) -> Vec<usize> {
        let (brokers, error) = (Vec::new(), ErrorCode::NONE);
        let head = Head { throttle_ms: 0, brokers, cluster_id: None, controller_id: 1, error };
        let bytes = |piece: Piece<Bytes>| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Records(_) => panic!("topics are no records"),
        };
        topics.answer(&head).expect("some megabytes").into_iter().map(bytes).collect()
    }

    #[test]
    fn a_long_answer_is_written_a_slice_at_a_turn_and_soon_in_the_slow_lane() {
        let mut world = World::new(1);
        let (io, lane) = (world.outside(), Lane::default());
        // Of each topic, in which turn of its writer it was written.
        let (turn, written) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let (this_turn, seen) = (Rc::clone(&turn), Rc::clone(&written));
        let answer: Rc<RefCell<Option<Topics>>> = Rc::default();
        let done = Rc::clone(&answer);
        let began = io.now();
        io.clone().spawn(Class::Foreground, async move {
            let entries = (0..ENTRY_COUNT).map(|index| {
                seen.borrow_mut().push(this_turn.get());
                missing(index)
            });
            let listing = Listing::new(entries, Topics::new(reply()));
            let mut writing = pin!(write_all(&io, &lane, listing));
            let polled = poll_fn(|context| {
                turn.set(turn.get() + 1);
                writing.as_mut().poll(context)
            });
            let (topics, errors) = polled.await;
            assert_eq!(errors.len(), ENTRY_COUNT);
            done.borrow_mut().replace(topics);
        });
        assert_eq!(world.run(Duration::from_secs(1), || false), Ended::Idle);

        let written = written.take();
        let in_turns: Vec<&[i32]> = written.chunk_by(|one, other| one == other).collect();
        let entries_max = ANSWER_SLICE_BYTES / NAME_BYTES + 1;
        assert!(in_turns.iter().all(|entries| entries.len() <= entries_max));
        let slow_count = in_turns.len() - SHORT_SLICES;
        assert!(slow_count > SHORT_SLICES, "the answer is long");
        let pauses = LONG_PAUSE * u32::try_from(slow_count).expect("some dozens");
        assert!(world.now().since(began) >= pauses);
        let parts = parts(answer.take().expect("it was written"));
        assert!(parts.iter().sum::<usize>() > ENTRY_COUNT * NAME_BYTES);
        let part_max = ANSWER_SLICE_BYTES + 2 * NAME_BYTES;
        assert!(parts.iter().all(|bytes| *bytes < part_max), "{parts:?}");
    }

    /// A cluster with one topic.
    fn cluster(partition_count: i32) -> Cluster {
        let node = NodeId::checked(1).expect("an id");
        let mut cluster = Cluster::new(node, Arc::new(Configs::new()));
        let broker = Registered { id: node, rack: None, endpoints: vec![] };
        cluster.apply(&Event::BrokerRegistered(broker)).expect("the first broker");
        let topic = NewTopic {
            name: "t",
            partition_count,
            replication_factor: 1,
            assignments: vec![],
            configs: vec![],
            id: TopicId::new([9; 16]),
        };
        let creation = create_topics(cluster.image(), &[topic]).remove(0);
        let creation = creation.result.expect("a topic that can be created");
        cluster.apply(&creation.event).expect("a command's event applies");
        cluster
    }

    #[test]
    fn a_topic_of_many_partitions_is_more_than_a_slice() {
        let cluster = cluster(10_000);
        let entries = cluster.image().topics().map(|topic| Entry::There(topic));
        let mut listing = Listing::new(entries, Topics::new(reply()));
        let mut slice_count = 1;
        while listing.write_slice() == Rest::Some {
            slice_count += 1;
        }
        let parts = parts(listing.topics);
        assert_eq!(slice_count, parts.iter().sum::<usize>().div_ceil(ANSWER_SLICE_BYTES));
        assert!(slice_count > 3);
        assert!(parts.iter().all(|bytes| *bytes < ANSWER_SLICE_BYTES + NAME_BYTES), "{parts:?}");
    }
}
