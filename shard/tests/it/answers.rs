//! What clients are answered in the corners: requests to a simulated broker, and what must come back.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::id::Timestamp;
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::error_code::ErrorCode;
use net::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, SESSIONLESS_EPOCH};
use net::produce::{ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic};
use net::topic::TopicRef;
use shard::io::{Class, Io};
use shard::limits::ANSWER_SLICE_BYTES;
use shard::metrics::{Kind, Snapshot, Stage};
use shard::sim::broker::Started;
use shard::sim::disk::Crash;
use shard::sim::wire::Wire;
use shard::sim::{Ended, SimIo, World, broker};

const SHARD_COUNT: usize = 2;
const ARENA_BYTES: usize = 64 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// Plays `scene` with a fresh broker, whose file says `settings` too.
#[track_caller]
pub(crate) fn play<F: Future<Output = ()> + 'static>(
    settings: &[(&str, &str)],
    scene: impl FnOnce(Client) -> F,
) {
    play_in(ARENA_BYTES, settings, scene);
}

/// As `play`; each core has so much memory for logs.
#[track_caller]
pub(crate) fn play_in<F: Future<Output = ()> + 'static>(
    arena_bytes: usize,
    settings: &[(&str, &str)],
    scene: impl FnOnce(Client) -> F,
) {
    let mut world = World::new(1);
    let node = world.node(SHARD_COUNT, arena_bytes);
    live(&mut world, node, settings, scene);
}

/// As `play_in`; then the broker is killed, and the second scene is with what it left.
#[track_caller]
pub(crate) fn play_twice<F: Future<Output = ()> + 'static, G: Future<Output = ()> + 'static>(
    arena_bytes: usize,
    first: impl FnOnce(Client) -> F,
    second: impl FnOnce(Client) -> G,
) {
    let mut world = World::new(1);
    let node = world.node(SHARD_COUNT, arena_bytes);
    live(&mut world, node, &[], first);
    world.crash(node, Crash::Process);
    live(&mut world, node, &[], second);
}

#[track_caller]
fn live<F: Future<Output = ()> + 'static>(
    world: &mut World,
    node: usize,
    settings: &[(&str, &str)],
    scene: impl FnOnce(Client) -> F,
) {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let settings: Vec<(String, String)> = settings.iter().map(owned).collect();
    let started = broker::start_with(world, node, SHARD_COUNT, broker::config(&settings));
    let io = world.outside();
    let is_done = Rc::new(Cell::new(false));
    let (scene, done) =
        (scene(Client { io: io.clone(), node, started: started.clone() }), Rc::clone(&is_done));
    io.spawn(Class::Foreground, async move {
        scene.await;
        done.set(true);
    });
    let ended = world.run(HOUR, || is_done.get() || started.stopped().is_some());
    assert_eq!((ended, started.stopped()), (Ended::Done, None));
}

/// Has a connection for each request, so that nothing of one is left for the next.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) io: SimIo,
    pub(crate) node: usize,
    pub(crate) started: Started,
}

impl Client {
    pub(crate) async fn ask<T: Decodable>(
        &self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> T {
        let mut wire = Wire::connect(&self.io, self.node).await;
        wire.call(api, version, request).await.expect("the broker answers")
    }

    pub(crate) async fn produce(
        &self,
        client_id: &'static str,
        request: &ProduceRequest,
    ) -> ProduceResponse {
        let mut wire = Wire::connect(&self.io, self.node).await;
        let client_id = StrBytes::from_static_str(client_id);
        let envelope = Envelope { client_id, ..wire.envelope(12) };
        wire.send(client::encode_produce(&envelope, request)).await.unwrap();
        let body = wire.receive(ApiKey::Produce, &envelope).await.unwrap();
        client::decode_produce(12, &body).unwrap()
    }

    pub(crate) async fn fetch(&self, version: i16, request: &FetchRequest) -> FetchResponse<Bytes> {
        let mut wire = Wire::connect(&self.io, self.node).await;
        let envelope = wire.envelope(version);
        wire.send(client::encode_fetch(&envelope, request)).await.unwrap();
        let body = wire.receive(ApiKey::Fetch, &envelope).await.unwrap();
        client::decode_fetch(version, &body).unwrap()
    }

    /// Appends a batch with these values.
    pub(crate) async fn append(&self, topic: &str, partition: i32, values: &[&[u8]]) {
        let answer = self.produce("sim", &produce(&[(topic, &[(partition, batch(values))])])).await;
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::NONE);
    }

    /// Name, code and number of partitions of each topic in the answer.
    pub(crate) async fn metadata(&self, names: &[&str]) -> Vec<(String, i16, usize)> {
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

    /// By all shards so far.
    pub(crate) async fn counted(&self) -> Snapshot {
        let metrics = self.started.order_metrics();
        let mut snapshots = loop {
            match metrics.try_recv() {
                Ok(snapshots) => break snapshots.into_iter(),
                Err(_) => self.io.sleep(Duration::from_millis(1)).await,
            }
        };
        let mut all = snapshots.next().unwrap();
        snapshots.for_each(|it| all.merge(&it));
        all
    }

    /// The topic's id.
    pub(crate) async fn create(&self, name: &str, partition_count: i32) -> [u8; 16] {
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

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch for each partition.
type Batches<'a> = (&'a str, &'a [(i32, Bytes)]);

pub(crate) fn produce(topics: &[Batches<'_>]) -> ProduceRequest {
    let topic = |(topic, partitions): &Batches<'_>| ProduceTopic {
        topic: by_name(topic),
        partitions: partitions
            .iter()
            .map(|(index, batch)| ProducePartition { index: *index, records: Some(batch.clone()) })
            .collect(),
    };
    let topics = topics.iter().map(topic).collect();
    ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 1_000, topics }
}

pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    let mut batch = BatchBuilder::new();
    values.iter().for_each(|value| batch.push(Timestamp::new(1), None, Some(value), &[]));
    Bytes::from(batch.build())
}

/// Index and code of each partition, in the order of the answer.
fn produced(answer: &ProduceResponse) -> Vec<(i32, i16)> {
    let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
    partitions.map(|it| (it.index, it.error.get())).collect()
}

pub(crate) fn by_name(name: &str) -> TopicRef {
    TopicRef::Name(StrBytes::from_string(name.to_owned()))
}

/// From the beginning of these partitions, without a wait and with room for everything.
pub(crate) fn fetch(topics: &[(TopicRef, &[i32])]) -> FetchRequest {
    let partition = |index: &i32| FetchPartition {
        index: *index,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: i32::MAX,
    };
    let topic = |(topic, indexes): &(TopicRef, &[i32])| FetchTopic {
        topic: topic.clone(),
        partitions: indexes.iter().map(partition).collect(),
    };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: i32::MAX,
        isolation_level: 0,
        session_id: 0,
        session_epoch: SESSIONLESS_EPOCH,
        topics: topics.iter().map(topic).collect(),
        forgotten: vec![],
        rack_id: StrBytes::new(),
    }
}

/// Code, whether it is said what was aborted, and bytes of each partition.
fn fetched(answer: &FetchResponse<Bytes>) -> Vec<(i16, bool, usize)> {
    let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
    partitions.map(|it| (it.error.get(), it.aborted.is_some(), it.record_bytes())).collect()
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

#[test]
fn an_isolation_level_that_is_unknown_fails_the_whole_fetch() {
    play(&[], async |client: Client| {
        let id = TopicRef::Id(client.create("t", 2).await);
        for (version, topic) in [(4, by_name("t")), (12, by_name("t")), (13, id.clone()), (18, id)]
        {
            let body = FetchRequest { isolation_level: 5, ..fetch(&[(topic, &[0, 7])]) };
            let answer = client.fetch(version, &body).await;
            // There was no place for it before version 7.
            assert_eq!(answer.error.get(), if version < 7 { 0 } else { -1 }, "{version}");
            let want = if version < 13 { vec![(-1, true, 0); 2] } else { vec![] };
            assert_eq!(fetched(&answer), want, "{version}");
        }
    });
}

#[test]
fn only_a_log_says_nothing_of_aborted_transactions() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        client.append("t", 0, &[b"x"]).await;
        let body = fetch(&[(by_name("t"), &[0, 1, 2]), (by_name("u"), &[0])]);
        let bytes = batch(&[b"x"]).len();
        for (isolation_level, is_said) in [(0, false), (1, true)] {
            let body = FetchRequest { isolation_level, ..body.clone() };
            let want = [(0, is_said, bytes), (0, is_said, 0), (3, true, 0), (3, true, 0)];
            assert_eq!(fetched(&client.fetch(12, &body).await), want);
            let body = FetchRequest { max_bytes: -1, ..body };
            let want = [(-1, false, 0), (-1, false, 0), (3, true, 0), (3, true, 0)];
            assert_eq!(fetched(&client.fetch(12, &body).await), want);
        }
        let mut past = fetch(&[(by_name("t"), &[0])]);
        past.topics[0].partitions[0].fetch_offset = 9;
        assert_eq!(fetched(&client.fetch(12, &past).await), [(1, false, 0)]);
    });
}

#[test]
fn a_fetch_is_answered_with_no_more_than_the_broker_allows() {
    play(&[("fetch.max.bytes", "1024")], async |client: Client| {
        client.create("t", 1).await;
        for _ in 0..4 {
            client.append("t", 0, &[&[7; 500]]).await;
        }
        // Nobody waits for more than there can be.
        let all = fetch(&[(by_name("t"), &[0])]);
        let body = FetchRequest { max_wait_ms: 60_000, min_bytes: i32::MAX, ..all };
        let before = client.io.now();
        assert_eq!(fetched(&client.fetch(12, &body).await), [(0, false, 1024)]);
        assert!(client.io.now().since(before) < Duration::from_secs(1));
    });
}

#[test]
fn a_partition_that_is_named_twice_is_appended_to_once() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        client.create("u", 1).await;
        let (one, other) = (batch(&[b"lost", b"lost"]), batch(&[b"kept"]));
        let body = produce(&[
            ("t", &[(0, one.clone()), (1, one.clone()), (1, other.clone())]),
            ("u", &[(0, other.clone())]),
            ("t", &[(0, other.clone())]),
            ("v", &[]),
        ]);
        let answer = client.produce("sim", &body).await;
        assert_eq!(produced(&answer), [(1, 0), (0, 0), (0, 0)]);
        assert_eq!(answer.topics.len(), 2);
        let logs = client.fetch(12, &fetch(&[(by_name("t"), &[0, 1])])).await;
        assert_eq!(fetched(&logs), [(0, false, other.len()); 2]);
    });
}

#[test]
fn internal_topics_are_written_by_the_admin_client_only() {
    play(&[], async |client: Client| {
        client.create("__consumer_offsets", 1).await;
        for (client_id, code) in [("sim", 17), ("__admin_client", 0)] {
            let body = produce(&[("__consumer_offsets", &[(0, batch(&[b"x"]))])]);
            assert_eq!(produced(&client.produce(client_id, &body).await), [(0, code)]);
        }
    });
}

#[test]
fn a_refused_batch_is_told_where_the_log_starts_whichever_core_owns_it() {
    play(&[], async |client: Client| {
        client.create("t", 4).await;
        let mut good = vec![];
        let mut bad = vec![];
        for index in 0..4 {
            client.append("t", index, &[b"x", b"y"]).await;
            let cut = DeleteRecordsPartition::default().with_partition_index(index).with_offset(1);
            good.push(cut);
            // A base offset that is not 0.
            let mut batch = batch(&[b"x"]).to_vec();
            batch[7] = 1;
            bad.push((index, Bytes::from(batch)));
        }
        let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(good);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        let cut: DeleteRecordsResponse = client.ask(ApiKey::DeleteRecords, 2, &request).await;
        assert!(cut.topics[0].partitions.iter().all(|it| it.error_code == 0));
        let answer = client.produce("sim", &produce(&[("t", &bad)])).await;
        assert_eq!(produced(&answer), [(0, 87), (1, 87), (2, 87), (3, 87)]);
        assert!(answer.topics[0].partitions.iter().all(|it| it.log_start_offset == 1));
    });
}

#[test]
fn offsets_of_a_partition_that_is_asked_twice_are_refused_once() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        let topic = |indexes: &[i32]| {
            let partitions = indexes.iter();
            let partitions = partitions.map(|index| {
                ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(-1)
            });
            ListOffsetsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(partitions.collect())
        };
        let request = ListOffsetsRequest::default().with_topics(vec![topic(&[0, 1]), topic(&[0])]);
        let answer: ListOffsetsResponse = client.ask(ApiKey::ListOffsets, 7, &request).await;
        let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
        let codes: Vec<_> = partitions.map(|it| (it.partition_index, it.error_code)).collect();
        assert_eq!((answer.topics.len(), codes), (1, vec![(0, 42), (1, 0)]));
    });
}

#[test]
fn configs_that_are_asked_for_twice_are_answered_once() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let resource = |name: &'static str| {
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str(name))
                .with_configuration_keys(None)
        };
        let resources = ["t", "u", "t", "u"].map(resource).to_vec();
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let answer: DescribeConfigsResponse =
            client.ask(ApiKey::DescribeConfigs, 4, &request).await;
        let results: Vec<_> =
            answer.results.iter().map(|it| (it.resource_name.as_str(), it.error_code)).collect();
        assert_eq!(results, [("t", 0), ("u", 3)]);
    });
}

#[test]
fn configs_of_many_topics_come_in_one_answer_in_the_order_asked() {
    const TOPIC_COUNT: usize = 100;
    play(&[], async |client: Client| {
        let names: Vec<String> = (0..TOPIC_COUNT).map(|index| format!("t{index}")).collect();
        for name in &names {
            client.create(name, 1).await;
        }
        let resource = |name: &String| {
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_string(name.clone()))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_include_synonyms(true)
            .with_include_documentation(true)
            .with_resources(names.iter().map(resource).collect());
        let answer: DescribeConfigsResponse =
            client.ask(ApiKey::DescribeConfigs, 4, &request).await;
        let mut bytes = Vec::new();
        answer.encode(&mut bytes, 4).unwrap();
        assert!(bytes.len() > 4 * ANSWER_SLICE_BYTES, "it is in several chunks");
        let described: Vec<_> = answer.results.iter().map(|it| it.resource_name.as_str()).collect();
        assert_eq!(described, names);
        let configs = answer.results.iter().map(|it| &it.configs);
        assert!(configs.clone().all(|it| *it == answer.results[0].configs && it.len() > 30));
    });
}

#[test]
fn a_producer_has_an_id_and_an_epoch_or_neither() {
    play(&[], async |client: Client| {
        for (id, epoch, code) in [(-1, -1, 0), (5, 0, 0), (5, -1, 42), (-1, 0, 42)] {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(epoch);
            let answer: InitProducerIdResponse =
                client.ask(ApiKey::InitProducerId, 4, &request).await;
            assert_eq!(answer.error_code, code, "{id} {epoch}");
        }
    });
}

#[test]
fn errors_are_counted_and_waits_are_nobodys_latency() {
    const WAIT: Duration = Duration::from_secs(5);
    play(&[], async |client: Client| {
        client.create("t", 4).await;
        assert_eq!(client.metadata(&["a b", "u"]).await.len(), 2);
        let body = produce(&[("u", &[(0, batch(&[b"x"]))])]);
        assert_eq!(produced(&client.produce("sim", &body).await), [(0, 3)]);
        assert_eq!(fetched(&client.fetch(12, &fetch(&[(by_name("u"), &[0])])).await).len(), 1);

        // One owner waits by itself, several are watched.
        for indexes in [&[0][..], &[0, 1, 2, 3][..]] {
            let max_wait_ms = i32::try_from(WAIT.as_millis()).unwrap();
            let body = FetchRequest { max_wait_ms, ..fetch(&[(by_name("t"), indexes)]) };
            let before = client.io.now();
            assert_eq!(client.fetch(12, &body).await.error, ErrorCode::NONE);
            assert!(WAIT <= client.io.now().since(before));
        }

        let counted = client.counted().await;
        let errors: Vec<_> = counted.errors().collect();
        assert_eq!(errors, [(3, 3), (17, 1)]);
        let latency = counted.latency(Kind::Fetch);
        assert_eq!(latency.stage(Stage::Hopped).len(), 2);
        assert_eq!(latency.stage(Stage::Appended).len(), 3);
        assert!(u128::from(latency.total().max()) < WAIT.as_nanos() / 10);
    });
}

#[test]
fn log_directories_tell_their_space_in_versions_that_have_it() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        for version in [1, 4] {
            let request = DescribeLogDirsRequest::default().with_topics(None);
            let answer: DescribeLogDirsResponse =
                client.ask(ApiKey::DescribeLogDirs, version, &request).await;
            let [directory] = answer.results.as_slice() else { panic!("there is one") };
            assert_eq!(directory.topics[0].partitions.len(), 2);
            let space = (directory.total_bytes, directory.usable_bytes);
            assert_eq!(space, if version < 4 { (-1, -1) } else { (1 << 40, 1 << 40) });
        }
    });
}

#[test]
fn a_request_for_more_than_one_metadata_batch_is_refused_and_the_next_is_served() {
    play(&[], async |client: Client| {
        let replicas: Vec<String> = (0..4_500).map(|it| format!("{it}:1")).collect();
        let replicas = StrBytes::from_string(replicas.join(","));
        let config = |name| {
            let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str(name));
            config.with_value(Some(replicas.clone()))
        };
        let names =
            ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];
        let topics = (0..200).map(|it| {
            CreatableTopic::default()
                .with_name(topic_name(&format!("t{it}")))
                .with_num_partitions(1)
                .with_replication_factor(1)
                .with_configs(names.map(config).to_vec())
        });
        let request = CreateTopicsRequest::default().with_topics(topics.collect());
        let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 7, &request).await;
        assert!(answer.topics.iter().all(|it| it.error_code == 44));
        client.create("after", 1).await;
    });
}

#[test]
fn a_batch_that_memory_never_holds_is_refused_and_the_next_is_served() {
    play(&[("message.max.bytes", "100000000")], async |client: Client| {
        client.create("t", 4).await;
        let sizes = [(ARENA_BYTES, 1, 10), (ARENA_BYTES / 4, 4, 10), (ARENA_BYTES / 5, 4, 0)];
        for (bytes, count, code) in sizes {
            let batch = batch(&[&vec![7; bytes]]);
            let all: Vec<(i32, Bytes)> = (0..count).map(|index| (index, batch.clone())).collect();
            let answer = client.produce("sim", &produce(&[("t", &all)])).await;
            let want: Vec<(i32, i16)> = (0..count).map(|index| (index, code)).collect();
            assert_eq!(produced(&answer), want);
        }
        client.append("t", 0, &[b"x"]).await;
    });
}

/// A request and the answer to another one come on one connection, in the order of the requests.
#[test]
fn what_a_connection_asks_behind_a_produce_sees_its_records() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        for acks in [-1, 0] {
            let mut wire = Wire::connect(&client.io, client.node).await;
            let body = produce(&[("t", &[(0, batch(&[b"x", b"y"]))])]);
            let appended = wire.envelope(12);
            let body = ProduceRequest { acks, ..body };
            wire.send(client::encode_produce(&appended, &body)).await.unwrap();
            let asked = wire.envelope(7);
            let request = latest("t", -1);
            let frame = client::encode_request(ApiKey::ListOffsets, &asked, &request).unwrap();
            wire.send(frame).await.unwrap();
            if acks != 0 {
                wire.receive(ApiKey::Produce, &appended).await.unwrap();
            }
            let body = wire.receive(ApiKey::ListOffsets, &asked).await.unwrap();
            let answer: ListOffsetsResponse =
                client::decode_response(ApiKey::ListOffsets, 7, &body).unwrap();
            let want = if acks == 0 { 4 } else { 2 };
            assert_eq!(answer.topics[0].partitions[0].offset, want, "acks {acks}");
        }
    });
}

#[test]
fn the_largest_timestamp_is_found_while_more_is_written() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        client.append("t", 0, &[b"x"]).await;
        let mut writer = Wire::connect(&client.io, client.node).await;
        for _ in 0..20 {
            let body = produce(&[("t", &[(0, batch(&[b"x"]))])]);
            let envelope = writer.envelope(12);
            writer.send(client::encode_produce(&envelope, &body)).await.unwrap();
            let answer: ListOffsetsResponse =
                client.ask(ApiKey::ListOffsets, 7, &latest("t", -3)).await;
            assert_eq!(answer.topics[0].partitions[0].offset, 0);
            writer.receive(ApiKey::Produce, &envelope).await.unwrap();
        }
    });
}

#[test]
fn a_stop_answers_what_was_asked_and_wakes_who_waits() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let mut reader = Wire::connect(&client.io, client.node).await;
        let waiting = reader.envelope(12);
        let body = FetchRequest { max_wait_ms: 600_000, ..fetch(&[(by_name("t"), &[0])]) };
        reader.send(client::encode_fetch(&waiting, &body)).await.unwrap();
        client.metadata(&["t"]).await; // By now the fetch waits.

        let mut writer = Wire::connect(&client.io, client.node).await;
        let appended = writer.envelope(12);
        let body = produce(&[("t", &[(0, batch(&[b"x"]))])]);
        writer.send(client::encode_produce(&appended, &body)).await.unwrap();
        let counted = client.counted().await; // By now the batch is on its way.
        assert!(counted.latency(Kind::Produce).total().is_empty());
        let before = client.io.now();
        client.started.order_stop();
        writer.receive(ApiKey::Produce, &appended).await.unwrap();
        reader.receive(ApiKey::Fetch, &waiting).await.unwrap();
        assert!(client.io.now().since(before) < Duration::from_secs(1));
    });
}

#[test]
fn write_caching_is_bounded_by_flush_messages() {
    play(&[], async |client: Client| {
        for (name, records_max, is_early) in [("durable", "1", false), ("cached", "1000", true)] {
            let config = |name: &'static str, value: &'static str| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_value(Some(StrBytes::from_static_str(value)))
            };
            let topic = CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(1)
                .with_replication_factor(1)
                .with_configs(vec![
                    config("write.caching", "true"),
                    config("flush.messages", records_max),
                ]);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]);
            let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 7, &request).await;
            assert_eq!(answer.topics[0].error_code, 0);
            let before = client.io.now();
            client.append(name, 0, &[b"x"]).await;
            // Some 120 us are the network's; a durable write of the simulated disk takes 100 more.
            let took = client.io.now().since(before);
            assert_eq!(took < Duration::from_micros(170), is_early, "{took:?}");
        }
    });
}

#[test]
fn memory_that_slow_readers_held_serves_producers_when_they_are_gone() {
    const BATCH_COUNT: i64 = 400;
    play_in(6 << 20, &[], async |client: Client| {
        client.create("t", 1).await;
        let stored_count = Rc::new(Cell::new(0));
        let (writer, stored) = (client.clone(), Rc::clone(&stored_count));
        let value = vec![7; 200_000];
        client.io.spawn(Class::Foreground, async move {
            while stored.get() < BATCH_COUNT {
                writer.append("t", 0, &[&value]).await;
                stored.set(stored.get() + 1);
            }
        });
        // Each asks for the newest and takes nothing of it, until there is no memory for more.
        let mut readers = vec![];
        let mut seen_count = -1;
        while seen_count < stored_count.get() {
            seen_count = stored_count.get();
            let mut reader = Wire::connect(&client.io, client.node).await;
            let mut body = fetch(&[(by_name("t"), &[0])]);
            body.topics[0].partitions[0].fetch_offset = (seen_count - 3).max(0);
            let envelope = reader.envelope(12);
            reader.send(client::encode_fetch(&envelope, &body)).await.unwrap();
            readers.push(reader);
            client.io.sleep(Duration::from_millis(2)).await;
        }
        assert!(seen_count < BATCH_COUNT, "the memory never ended");
        drop(readers);
        let before = client.io.now();
        while stored_count.get() < BATCH_COUNT {
            client.io.sleep(Duration::from_millis(1)).await;
            assert!(client.io.now().since(before) < Duration::from_secs(5), "nobody woke up");
        }
    });
}

/// Of the topic's first partition.
fn latest(topic: &str, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic =
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_topics(vec![topic])
}
