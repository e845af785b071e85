//! What clients are answered in the corners: requests to a simulated broker, and what must come back.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use net::api::ApiKey;
use shard::io::{Class, Io};
use shard::sim::wire::Wire;
use shard::sim::{Ended, SimIo, World, broker};

const SHARD_COUNT: usize = 2;
const ARENA_BYTES: usize = 64 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Plays `scene` with a fresh broker, whose file says `settings` too.
#[track_caller]
fn play<F: Future<Output = ()> + 'static>(
    settings: &[(&str, &str)],
    scene: impl FnOnce(Client) -> F,
) {
    let mut world = World::new(1);
    let node = world.node(SHARD_COUNT, ARENA_BYTES);
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let settings: Vec<(String, String)> = settings.iter().map(owned).collect();
    let started = broker::start_with(&world, node, SHARD_COUNT, broker::config(&settings));
    let io = world.outside();
    let is_done = Rc::new(Cell::new(false));
    let (scene, done) = (scene(Client { io: io.clone(), node }), Rc::clone(&is_done));
    io.spawn(Class::Foreground, async move {
        scene.await;
        done.set(true);
    });
    let ended = world.run(HOUR, || is_done.get() || started.stopped().is_some());
    assert_eq!((ended, started.stopped()), (Ended::Done, None));
}

/// Has a connection for each request, so that nothing of one is left for the next.
struct Client {
    io: SimIo,
    node: usize,
}

impl Client {
    async fn ask<T: Decodable>(&self, api: ApiKey, version: i16, request: &impl Encodable) -> T {
        let mut wire = Wire::connect(&self.io, self.node).await;
        wire.call(api, version, request).await.expect("the broker answers")
    }

    /// Name, code and number of partitions of each topic in the answer.
    async fn metadata(&self, names: &[&str]) -> Vec<(String, i16, usize)> {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(names.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(true);
        let answer: MetadataResponse = self.ask(ApiKey::Metadata, 12, &request).await;
        let topics = answer.topics.into_iter();
        topics
            .map(|it| (it.name.unwrap().to_string(), it.error_code, it.partitions.len()))
            .collect()
    }

    /// The topic's id.
    async fn create(&self, name: &str, partition_count: i32) -> [u8; 16] {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partition_count)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let answer: CreateTopicsResponse = self.ask(ApiKey::CreateTopics, 7, &request).await;
        assert_eq!(answer.topics[0].error_code, 0);
        *answer.topics[0].topic_id.as_bytes()
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn owned(rows: &[(&str, i16, usize)]) -> Vec<(String, i16, usize)> {
    rows.iter().map(|(name, code, count)| ((*name).to_owned(), *code, *count)).collect()
}

#[test]
fn no_metadata_request_creates_more_than_the_cluster_holds() {
    let settings = [("auto.create.topics.enable", "true"), ("num.partitions", "10000")];
    play(&settings, async |client: Client| {
        let names: Vec<String> = (0..21).map(|it| format!("t{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let want: Vec<_> = names.iter().map(|name| (*name, 3, 0)).collect();
        assert_eq!(client.metadata(&names).await, owned(&want));
        client.create("after", 1).await;
    });
}

#[test]
fn asking_for_metadata_creates_what_a_client_may_create() {
    play(&[("auto.create.topics.enable", "true")], async |client: Client| {
        let names = ["x_y", "x_y", "__consumer_offsets", "__cluster_metadata", "a b", "", "mine"];
        let want = [
            ("x_y", 0, 1),
            ("x_y", 0, 1),
            ("__consumer_offsets", 3, 0),
            ("__cluster_metadata", 3, 0),
            ("a b", 17, 0),
            ("", 17, 0),
            ("mine", 0, 1),
        ];
        assert_eq!(client.metadata(&names).await, owned(&want));
        // What metrics would confuse with another topic cannot be made: it stays unknown.
        assert_eq!(client.metadata(&["x.y"]).await, owned(&[("x.y", 3, 0)]));
    });
    let settings = [("auto.create.topics.enable", "true"), ("default.replication.factor", "3")];
    play(&settings, async |client: Client| {
        assert_eq!(client.metadata(&["r"]).await, owned(&[("r", 3, 0)]));
    });
}
