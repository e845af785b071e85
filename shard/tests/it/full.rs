//! A disk that is full, and then is not: what clients are answered, and what goes on by itself.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;
use shard::io::Io;
use shard::metrics::Metric;
use shard::sim::broker::{self, Started};
use shard::sim::disk::{Crash, Faults};
use shard::sim::{Ended, World};

use crate::answers::{Client, batch, produce};
use crate::recovery::{HOUR, finish, idle};

const SHARD_COUNT: usize = 2;
/// What the simulated disk has left, when others have taken the rest.
const LITTLE: Faults = Faults { room_bytes: 64 << 10, ..Faults::none() };
const READ_ONLY: u64 = 4;

/// A world with one broker, and a client of it.
pub(crate) struct Stage {
    pub(crate) world: World,
    client: Client,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::on(|_| {})
    }

    /// On a disk that has an end of inodes.
    fn counting_files() -> Self {
        Self::on(|world| world.count_files(0))
    }

    fn on(prepare: impl FnOnce(&mut World)) -> Self {
        let mut world = World::new(1);
        assert_eq!(world.node(SHARD_COUNT, 64 << 20), 0);
        prepare(&mut world);
        let client = Client { io: world.outside(), node: 0, started: start(&mut world) };
        Self { world, client }
    }

    fn restart(&mut self) {
        self.world.crash(0, Crash::Power);
        self.client.started = start(&mut self.world);
    }

    /// Lets the client do something to its end.
    pub(crate) fn play<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        scene: impl FnOnce(Client) -> F,
    ) -> T {
        let scene = scene(self.client.clone());
        finish(&mut self.world, &self.client.io, scene)
    }
}

fn start(world: &mut World) -> Started {
    let started = broker::start(world, 0, SHARD_COUNT);
    let ended = world.run(HOUR, || started.ready().is_some() || started.stopped().is_some());
    assert_eq!((ended, started.stopped()), (Ended::Done, None));
    started
}

impl Client {
    /// What an append of `bytes` is answered.
    pub(crate) async fn try_append(&self, topic: &str, bytes: usize) -> ErrorCode {
        let request = produce(&[(topic, &[(0, batch(&[&vec![7; bytes]]))])]);
        self.produce("sim", &request).await.topics[0].partitions[0].error
    }

    /// Appends until it is refused, which must come.
    async fn fill(&self, topic: &str) -> ErrorCode {
        for _ in 0..1_000 {
            let error = self.try_append(topic, 100_000).await;
            if error != ErrorCode::NONE {
                return error;
            }
        }
        panic!("a full disk takes whatever comes");
    }

    async fn append_at_last(&self, topic: &str) {
        while self.try_append(topic, 1_000).await != ErrorCode::NONE {
            self.io.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_create(&self, name: &str) -> ErrorCode {
        let topic = CreatableTopic::default().with_name(named(name)).with_num_partitions(1);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
        let answer: CreateTopicsResponse = self.ask(ApiKey::CreateTopics, 7, &request).await;
        ErrorCode::new(answer.topics[0].error_code)
    }

    async fn delete(&self, name: &str) -> ErrorCode {
        let topic = DeleteTopicState::default().with_name(Some(named(name)));
        let request = DeleteTopicsRequest::default().with_topics(vec![topic]);
        let answer: DeleteTopicsResponse = self.ask(ApiKey::DeleteTopics, 6, &request).await;
        ErrorCode::new(answer.responses[0].error_code)
    }

    /// The levels of all shards together.
    async fn level(&self) -> u64 {
        self.counted().await.metric(Metric::DiskLevel)
    }
}

fn named(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[test]
fn a_full_disk_refuses_appends_and_takes_them_again_by_itself() {
    let mut stage = Stage::new();
    stage.play(async |client: Client| {
        client.create("a", 1).await;
        client.create("b", 1).await;
        client.append("a", 0, &[b"x"]).await;
    });
    stage.world.set_faults(0, LITTLE);
    stage.play(async |client: Client| {
        client.fill("a").await;
        // All shards know: nothing is done with what is refused.
        while client.level().await < READ_ONLY * 2 {
            client.io.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(client.try_append("b", 1).await, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(client.try_create("c").await, ErrorCode::KAFKA_STORAGE_ERROR);
    });
    stage.world.set_faults(0, Faults::none());
    stage.play(async |client: Client| {
        client.append_at_last("a").await;
        client.append_at_last("b").await;
        assert_eq!(client.try_create("c").await, ErrorCode::NONE);
        let counted = client.counted().await;
        assert_eq!(counted.metric(Metric::PartitionsFenced), 0);
        assert!(counted.metric(Metric::DiskRefusals) > 0);
        assert!(counted.metric(Metric::Shortages) > 0);
    });
}

#[test]
fn topics_can_be_deleted_from_a_full_disk_also_after_a_restart() {
    let mut stage = Stage::new();
    stage.play(async |client: Client| {
        client.create("large", 1).await;
        client.create("small", 1).await;
        for _ in 0..30 {
            assert_eq!(client.try_append("large", 100_000).await, ErrorCode::NONE);
        }
    });
    stage.world.set_faults(0, LITTLE);
    stage.play(async |client: Client| {
        client.fill("small").await;
        assert_eq!(client.delete("large").await, ErrorCode::NONE);
    });
    // It is still far less than what shall stay free.
    stage.restart();
    stage.play(async |client: Client| {
        assert_eq!(client.try_append("small", 1).await, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(client.delete("small").await, ErrorCode::NONE);
    });
    stage.world.set_faults(0, Faults::none());
    stage.play(async |client: Client| {
        client.create_at_last("again").await;
        client.append_at_last("again").await;
    });
}

impl Client {
    async fn create_at_last(&self, name: &str) {
        while self.try_create(name).await != ErrorCode::NONE {
            self.io.sleep(Duration::from_millis(100)).await;
        }
    }
}

#[test]
fn a_broker_starts_on_a_disk_without_any_room_with_all_that_was_acknowledged() {
    for room_bytes in [1, 100_000] {
        let mut stage = Stage::new();
        stage.play(async |client: Client| {
            client.create("t", 1).await;
            for _ in 0..20 {
                assert_eq!(client.try_append("t", 10_000).await, ErrorCode::NONE);
            }
        });
        // Most of it is in the journal alone.
        stage.world.set_faults(0, Faults { room_bytes, ..Faults::none() });
        stage.restart();
        let end = stage.play(async |client: Client| client.end("t").await);
        assert_eq!(end, 20);
        stage.restart();
        let end = stage.play(async |client: Client| client.end("t").await);
        assert_eq!(end, 20);
    }
}

impl Client {
    /// The high watermark.
    pub(crate) async fn end(&self, topic: &str) -> i64 {
        let topic = (crate::answers::by_name(topic), &[0][..]);
        let answer = self.fetch(12, &crate::answers::fetch(&[topic])).await;
        answer.topics[0].partitions[0].high_watermark
    }
}

const NO_INODE: Faults = Faults { room_files: Some(0), ..Faults::none() };

impl Stage {
    /// Topics whose bytes only the journal has: their segments have no files yet.
    fn with_topics(mut self, count: i64) -> Self {
        self.play(async move |client: Client| {
            for topic in 0..count {
                let name = format!("t{topic}");
                client.create(&name, 1).await;
                assert_eq!(client.try_append(&name, 1_000).await, ErrorCode::NONE);
            }
        });
        self
    }

    /// Cuts the power when a start has come so far. False if it has come to its end before.
    fn interrupt(&mut self, step_count: u64) -> bool {
        self.world.crash(0, Crash::Power);
        let started = broker::start(&self.world, 0, SHARD_COUNT);
        let (steps, end) = (self.world.steps(0), self.world.step_count(0) + step_count);
        let has_come = || steps.count() >= end || started.ready().is_some();
        let ended = self.world.run(HOUR, || has_come() || started.stopped().is_some());
        assert_eq!((ended, started.stopped()), (Ended::Done, None));
        started.ready().is_none()
    }

    fn check_topics(&mut self, count: i64) {
        self.play(async move |client: Client| {
            for topic in 0..count {
                assert_eq!(client.end(&format!("t{topic}")).await, 1, "t{topic}");
            }
        });
    }
}

#[test]
fn a_broker_starts_again_and_again_without_any_inode_and_deletes_topics() {
    const TOPICS: i64 = 12;
    let mut stage = Stage::counting_files().with_topics(TOPICS);
    stage.world.set_faults(0, NO_INODE);
    for life in 0..4 {
        stage.restart();
        stage.check_topics(TOPICS);
        // Checkpoints find no room but the reserve's.
        idle(&mut stage.world);
        stage.play(async move |client: Client| {
            let more = format!("more{life}");
            assert_eq!(client.try_create(&more).await, ErrorCode::KAFKA_STORAGE_ERROR);
            assert_eq!(client.try_append("t0", 1).await, ErrorCode::KAFKA_STORAGE_ERROR);
        });
    }
    stage.play(async |client: Client| assert_eq!(client.delete("t0").await, ErrorCode::NONE));
    stage.world.set_faults(0, Faults::none());
    stage.play(async |client: Client| {
        client.create_at_last("again").await;
        client.append_at_last("again").await;
    });
}

#[test]
fn a_start_without_any_inode_may_be_cut_short_anywhere() {
    const TOPICS: i64 = 3;
    let mut step_count = 1;
    loop {
        let mut stage = Stage::counting_files().with_topics(TOPICS);
        stage.world.set_faults(0, NO_INODE);
        let is_short = stage.interrupt(step_count);
        stage.restart();
        stage.check_topics(TOPICS);
        if !is_short {
            break;
        }
        step_count += 37; // No divisor of what a start repeats.
    }
    assert!(step_count > 50, "a start gives up the reserve, and makes checkpoints");
}

#[test]
fn a_first_start_without_room_says_so_and_leaves_nothing_that_stops_a_later_one() {
    let bytes = [1, 9 << 20].map(|room_bytes| Faults { room_bytes, ..Faults::none() });
    let files = [0, 2, 5, 8, 11].map(|it| Faults { room_files: Some(it), ..Faults::none() });
    for faults in bytes.into_iter().chain(files) {
        let mut world = World::new(1);
        assert_eq!(world.node(SHARD_COUNT, 64 << 20), 0);
        world.count_files(0);
        world.set_faults(0, faults);
        let started = broker::start(&world, 0, SHARD_COUNT);
        let ended = world.run(HOUR, || started.ready().is_some() || started.stopped().is_some());
        assert_eq!(ended, Ended::Done);
        let reason = started.stopped().expect("there is too little room");
        assert!(reason.contains("make "), "{faults:?}: {reason}");
        world.set_faults(0, Faults::none());
        world.crash(0, Crash::Power);
        start(&mut world);
    }
}
