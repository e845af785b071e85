//! Clients whose use of the broker is bounded: what is set, and how it holds them.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::error_code::ErrorCode;
use net::fetch::{FetchRequest, FetchResponse};
use shard::io::{Io, Nanos};
use shard::sim::wire::Wire;

use crate::answers::{Client, batch, by_name, fetch, play, produce, topic_name};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Parts of an entity: type and name, or the default's.
pub(crate) type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

pub(crate) fn entry(parts: Parts<'_>, key: &str, value: Option<f64>) -> EntryData {
    let part = |(kind, name): &(&str, Option<&str>)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    };
    let operation = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    EntryData::default().with_entity(parts.iter().map(part).collect()).with_ops(vec![operation])
}

/// The code and whether there is a message, of each entry.
pub(crate) async fn alter(
    client: &Client,
    version: i16,
    entries: Vec<EntryData>,
) -> Vec<(i16, bool)> {
    alter_if(client, version, entries, false).await
}

async fn alter_if(
    client: &Client,
    version: i16,
    entries: Vec<EntryData>,
    validate_only: bool,
) -> Vec<(i16, bool)> {
    let request =
        AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(validate_only);
    let answer: AlterClientQuotasResponse =
        client.ask(ApiKey::AlterClientQuotas, version, &request).await;
    answer.entries.iter().map(|it| (it.error_code, it.error_message.is_some())).collect()
}

/// Sets one quota.
pub(crate) async fn set(client: &Client, parts: Parts<'_>, key: &str, value: f64) {
    assert_eq!(alter(client, 1, vec![entry(parts, key, Some(value))]).await, [(0, false)]);
}

/// The code, and each entity with its values.
async fn describe(
    client: &Client,
    version: i16,
    filter: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> (i16, Option<Vec<String>>) {
    let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(*match_type)
            .with_match(name.map(text))
    };
    let request = DescribeClientQuotasRequest::default()
        .with_components(filter.iter().map(component).collect())
        .with_strict(strict);
    let answer: DescribeClientQuotasResponse =
        client.ask(ApiKey::DescribeClientQuotas, version, &request).await;
    let entries = answer.entries.map(|entries| {
        entries
            .iter()
            .map(|entry| {
                let name = |it: &Option<StrBytes>| {
                    it.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string)
                };
                let parts = entry.entity.iter();
                let parts: Vec<String> = parts
                    .map(|it| format!("{}:{}", &*it.entity_type, name(&it.entity_name)))
                    .collect();
                let values = entry.values.iter();
                let values: Vec<String> =
                    values.map(|it| format!("{}={}", &*it.key, it.value)).collect();
                format!("{} {}", parts.join("/"), values.join(" "))
            })
            .collect()
    });
    (answer.error_code, entries)
}

#[test]
fn what_is_set_is_described_and_what_is_only_validated_is_not() {
    play(&[], async |client: Client| {
        let user: Parts<'_> = &[("user", Some("alice"))];
        let both: Parts<'_> = &[("user", None), ("client-id", Some("app"))];
        let rate = "producer_byte_rate";
        for version in [0, 1] {
            assert_eq!(describe(&client, version, &[], false).await, (0, Some(vec![])));
            let entries = vec![
                entry(user, rate, Some(1_000.0)),
                entry(both, "request_percentage", Some(12.5)),
                entry(user, "consumer_byte_rate", Some(1.0)),
                entry(&[("user", Some("bob"))], rate, Some(-1.0)),
                entry(&[("group", Some("g"))], rate, Some(1.0)),
            ];
            let want = [(0, false), (0, false), (42, true), (42, true), (42, true)];
            assert_eq!(alter_if(&client, version, entries.clone(), true).await, want);
            assert_eq!(describe(&client, version, &[], false).await, (0, Some(vec![])));
            assert_eq!(alter(&client, version, entries).await, want);
            let alice = "user:alice producer_byte_rate=1000".to_owned();
            let app = "user:*/client-id:app request_percentage=12.5".to_owned();
            let all = (0, Some(vec![alice.clone(), app.clone()]));
            assert_eq!(describe(&client, version, &[], false).await, all);
            let of_users = [("user", 2, None)];
            assert_eq!(describe(&client, version, &of_users, true).await, (0, Some(vec![alice])));
            let of_default = [("user", 1, None)];
            assert_eq!(describe(&client, version, &of_default, false).await, (0, Some(vec![app])));
            // Kafka's codes for a filter that makes no sense: no list at all.
            assert_eq!(describe(&client, version, &[("user", 0, None)], false).await, (42, None));
            assert_eq!(describe(&client, version, &[("group", 2, None)], false).await, (35, None));
            let entries = vec![entry(user, rate, None), entry(both, "request_percentage", None)];
            assert_eq!(alter(&client, version, entries).await, [(0, false), (0, false)]);
        }
        set(&client, user, rate, 5.0).await;
    });
}

const RATE: u32 = 1_000;
/// What a client may use at once: ten windows of a second.
const CREDIT: u64 = 10 * 1_000;

/// A connection of a client with this name.
struct Link {
    client: Client,
    wire: Wire,
    name: &'static str,
}

impl Link {
    async fn new(client: &Client, name: &'static str) -> Self {
        let wire = Wire::connect(&client.io, client.node).await;
        Self { client: client.clone(), wire, name }
    }

    fn envelope(&mut self, version: i16) -> Envelope {
        let client_id = StrBytes::from_static_str(self.name);
        Envelope { client_id, ..self.wire.envelope(version) }
    }

    /// Sends a produce request of so many bytes of values. What must be given to `produced`, and its size.
    async fn produce(&mut self, bytes: usize) -> (Envelope, u64) {
        let envelope = self.envelope(9);
        let request = produce(&[("t", &[(0, batch(&[&vec![7; bytes]]))])]);
        let frame = client::encode_produce(&envelope, &request);
        let sent = u64::try_from(frame.len()).unwrap();
        self.wire.send(frame).await.unwrap();
        (envelope, sent)
    }

    /// How long the client is asked to wait.
    async fn produced(&mut self, envelope: &Envelope) -> Duration {
        let body = self.wire.receive(ApiKey::Produce, envelope).await.unwrap();
        let answer = client::decode_produce(9, &body).unwrap();
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::NONE);
        millis(answer.throttle_ms)
    }

    async fn fetch(&mut self, request: &FetchRequest) -> FetchResponse<Bytes> {
        let envelope = self.envelope(12);
        self.wire.send(client::encode_fetch(&envelope, request)).await.unwrap();
        let body = self.wire.receive(ApiKey::Fetch, &envelope).await.unwrap();
        client::decode_fetch(12, &body).unwrap()
    }

    fn now(&self) -> Nanos {
        self.client.io.now()
    }
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap())
}

/// What the rate allows in so long, besides the credit.
fn allowed(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap() * u64::from(RATE) / 1_000
}

/// A broker with topic `t` and a quota of `RATE` for the client `app`.
fn scene<F: Future<Output = ()> + 'static>(
    key: &'static str,
    scene: impl FnOnce(Client) -> F + 'static,
) {
    play(&[], async move |client: Client| {
        client.create("t", 1).await;
        set(&client, &[("client-id", Some("app"))], key, RATE.into()).await;
        scene(client).await;
    });
}

#[test]
fn a_producer_is_told_at_once_how_long_to_wait_and_is_held_at_its_rate() {
    scene("producer_byte_rate", async |client: Client| {
        let mut link = Link::new(&client, "app").await;
        let (began, mut sent) = (link.now(), 0);
        for index in 0..30 {
            let (envelope, bytes) = link.produce(900).await;
            let asked_at = link.now();
            let wait = link.produced(&envelope).await;
            assert!(link.now().since(asked_at) < Duration::from_millis(500), "answers do not wait");
            sent += bytes;
            assert_eq!(wait > Duration::ZERO, sent > CREDIT + allowed(link.now().since(began)));
            assert!(index > 8 || wait == Duration::ZERO);
            client.io.sleep(wait).await; // As clients do.
        }
        let most = CREDIT + allowed(link.now().since(began));
        assert!(sent <= most && most < sent + 200, "{sent} of {most}");

        let waits = client.counted().await;
        let (_, waits) = waits.throttled().next().unwrap();
        assert!(waits.count > 15 && waits.millis > 10_000, "{waits:?}");
        // Others are free, also on the same connection.
        link.name = "other";
        let (envelope, _) = link.produce(50_000).await;
        assert_eq!(link.produced(&envelope).await, Duration::ZERO);
    });
}

#[test]
fn who_does_not_wait_is_not_read() {
    scene("producer_byte_rate", async |client: Client| {
        let mut link = Link::new(&client, "app").await;
        let (began, mut sent) = (link.now(), 0);
        for _ in 0..10 {
            let mut asked = Vec::new();
            for _ in 0..3 {
                let (envelope, bytes) = link.produce(900).await;
                asked.push(envelope);
                sent += bytes;
            }
            for envelope in &asked {
                link.produced(envelope).await;
            }
        }
        // The last answer left when it was due, and the one before had been waited for.
        let most = CREDIT + allowed(link.now().since(began));
        assert!(sent <= most + 1_100, "{sent} of {most}");
    });
}

#[test]
fn connections_on_several_shards_share_one_quota() {
    scene("producer_byte_rate", async |client: Client| {
        let mut links = Vec::new();
        for _ in 0..8 {
            links.push(Link::new(&client, "app").await);
        }
        let (began, mut sent) = (links[0].now(), 0);
        for _ in 0..20 {
            let mut asked = Vec::new();
            for link in &mut links {
                let (envelope, bytes) = link.produce(400).await;
                asked.push(envelope);
                sent += bytes;
            }
            let mut longest = Duration::ZERO;
            for (link, envelope) in links.iter_mut().zip(&asked) {
                longest = longest.max(link.produced(envelope).await);
            }
            client.io.sleep(longest).await;
        }
        let most = CREDIT + allowed(links[0].now().since(began));
        // One round may pass before shards hear of each other.
        assert!(sent <= most + 8 * 500, "{sent} of {most}");
        assert!(most < sent + 8 * 500, "no more is held back: {sent} of {most}");
    });
}

#[test]
fn a_quota_that_is_changed_or_taken_away_holds_at_once() {
    scene("producer_byte_rate", async |client: Client| {
        let mut link = Link::new(&client, "app").await;
        let ask = async |link: &mut Link, bytes| {
            let (envelope, _) = link.produce(bytes).await;
            link.produced(&envelope).await
        };
        let wait = ask(&mut link, 15_000).await;
        assert!((5_000..6_000).contains(&wait.as_millis()), "{wait:?}");
        // The user's rule is stronger than the client's, and an account of its own.
        let user: Parts<'_> = &[("user", Some("ANONYMOUS"))];
        set(&client, user, "producer_byte_rate", 100.0).await;
        let wait = ask(&mut link, 2_000).await;
        assert!((10_000..12_000).contains(&wait.as_millis()), "{wait:?}");
        let entries = vec![entry(user, "producer_byte_rate", None)];
        assert_eq!(alter(&client, 1, entries).await, [(0, false)]);
        client.io.sleep(Duration::from_secs(60)).await;
        assert_eq!(ask(&mut link, 5_000).await, Duration::ZERO);
        let entries = vec![entry(&[("client-id", Some("app"))], "producer_byte_rate", None)];
        assert_eq!(alter(&client, 1, entries).await, [(0, false)]);
        assert_eq!(ask(&mut link, 100_000).await, Duration::ZERO);
    });
}

#[test]
fn a_consumer_over_its_quota_gets_nothing_until_it_has_waited() {
    scene("consumer_byte_rate", async |client: Client| {
        for _ in 0..40 {
            client.append("t", 0, &[&[7; 900]]).await;
        }
        let mut link = Link::new(&client, "app").await;
        let (began, mut read, mut empty_count) = (link.now(), 0, 0);
        let mut request = fetch(&[(by_name("t"), &[0])]);
        request.max_bytes = 4_000;
        (request.session_epoch, request.max_wait_ms) = (0, 500);
        let mut next = 0;
        while next < 40 {
            request.topics[0].partitions[0].fetch_offset = next;
            let answer = link.fetch(&request).await;
            assert_eq!(answer.error, ErrorCode::NONE);
            let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
            let records: Vec<Bytes> = partitions
                .filter_map(|it| it.records.as_ref().map(|it| it.handle().clone()))
                .collect();
            let bytes: usize = records.iter().map(Bytes::len).sum();
            read += u64::try_from(bytes).unwrap();
            next += i64::try_from(bytes / 900).unwrap();
            empty_count += u64::from(bytes == 0);
            assert_eq!(bytes == 0, answer.throttle_ms > 0, "{answer:?}");
            // A session that began goes on, whether its answers were empty or not.
            if answer.session_id != 0 {
                request.session_id = answer.session_id;
                request.session_epoch += 1;
            }
            client.io.sleep(millis(answer.throttle_ms)).await;
        }
        let most = CREDIT + allowed(link.now().since(began));
        assert!(read > 36_000 && empty_count > 3);
        assert!(read <= most && most < read + 4_000, "{read} of {most}");
    });
}

#[test]
fn a_batch_that_is_too_large_for_any_time_is_read_and_waited_for() {
    scene("consumer_byte_rate", async |client: Client| {
        client.append("t", 0, &[&vec![7; 30_000]]).await;
        let mut link = Link::new(&client, "app").await;
        let request = fetch(&[(by_name("t"), &[0])]);
        let answer = link.fetch(&request).await;
        assert!(answer.topics[0].partitions[0].record_bytes() > 30_000);
        assert!((20_000..21_000).contains(&answer.throttle_ms));
        // It was not told to wait, so it is not read; then it may have it again when all is paid off.
        let asked_at = link.now();
        let answer = link.fetch(&request).await;
        assert!(link.now().since(asked_at) >= Duration::from_secs(19));
        assert!(answer.topics.is_empty() && (29_000..31_000).contains(&answer.throttle_ms));
        client.io.sleep(millis(answer.throttle_ms)).await;
        assert!(link.fetch(&request).await.topics[0].partitions[0].record_bytes() > 30_000);
    });
}

/// Of one request for a topic of so many partitions: the code, and how long to wait.
async fn create(
    client: &Client,
    version: i16,
    name: &str,
    partition_count: i32,
) -> (i16, Duration) {
    create_if(client, version, name, partition_count, false).await
}

async fn create_if(
    client: &Client,
    version: i16,
    name: &str,
    partition_count: i32,
    validate_only: bool,
) -> (i16, Duration) {
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partition_count)
        .with_replication_factor(1);
    let request =
        CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(validate_only);
    let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, version, &request).await;
    let topic = &answer.topics[0];
    let is_explained = topic.error_message.as_ref().is_some_and(|it| !it.is_empty());
    assert_eq!(is_explained, topic.error_code != 0);
    (topic.error_code, millis(answer.throttle_time_ms))
}

const EXCEEDED: i16 = 89;
const NO_WAIT: Duration = Duration::ZERO;

/// The client of `Client` makes two partitions a second, and 22 at once.
fn changes<F: Future<Output = ()> + 'static>(scene: impl FnOnce(Client) -> F + 'static) {
    play(&[], async move |client: Client| {
        client.create("old", 4).await;
        set(&client, &[("client-id", Some("sim"))], "controller_mutation_rate", 2.0).await;
        scene(client).await;
    });
}

/// Nearly so long: the clock goes on while a request is on its way.
#[track_caller]
fn nearly(got: Duration, want_ms: u64) {
    let want = Duration::from_millis(want_ms);
    assert!(got <= want && want - got < Duration::from_millis(500), "{got:?} of {want:?}");
}

#[test]
fn who_makes_too_many_partitions_is_refused_until_it_has_waited() {
    changes(async |client: Client| {
        // All windows at once, and as many as are asked for while anything is left.
        assert_eq!(create(&client, 7, "a", 20).await, (0, NO_WAIT));
        assert_eq!(create(&client, 7, "b", 10).await, (0, NO_WAIT));
        let (code, wait) = create(&client, 7, "c", 1).await;
        assert_eq!(code, EXCEEDED);
        nearly(wait, 4_000);
        client.io.sleep(wait).await;
        assert_eq!(create(&client, 7, "c", 1).await, (0, NO_WAIT));
        assert_eq!(client.metadata(&["b", "c"]).await.len(), 2);
        let waits = client.counted().await;
        let (_, waits) =
            waits.throttled().find(|(it, _)| it.key() == "controller_mutation_rate").unwrap();
        assert_eq!(waits.count, 1);
    });
}

#[test]
fn who_cannot_be_refused_is_served_and_waits_afterwards() {
    changes(async |client: Client| {
        assert_eq!(create(&client, 5, "a", 22).await, (0, NO_WAIT));
        let (code, wait) = create(&client, 5, "b", 10).await;
        assert_eq!(code, 0);
        nearly(wait, 5_000);
    });
}

#[test]
fn deletions_and_more_partitions_are_paid_for_too() {
    changes(async |client: Client| {
        let grow = async |count| {
            let topic = CreatePartitionsTopic::default()
                .with_name(topic_name("old"))
                .with_count(count)
                .with_assignments(None);
            let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
            let answer: CreatePartitionsResponse =
                client.ask(ApiKey::CreatePartitions, 3, &request).await;
            (answer.results[0].error_code, millis(answer.throttle_time_ms))
        };
        let delete = async |version| {
            let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("old")]);
            let answer: DeleteTopicsResponse =
                client.ask(ApiKey::DeleteTopics, version, &request).await;
            (answer.responses[0].error_code, millis(answer.throttle_time_ms))
        };
        assert_eq!(grow(26).await, (0, NO_WAIT));
        assert_eq!(grow(28).await, (0, NO_WAIT));
        let (code, wait) = grow(29).await;
        assert_eq!(code, EXCEEDED);
        nearly(wait, 1_000);
        let (code, wait) = delete(5).await;
        assert_eq!(code, EXCEEDED);
        nearly(wait, 1_000);
        let (code, wait) = delete(4).await;
        assert_eq!(code, 0);
        nearly(wait, 15_000);
        let (code, wait) = create(&client, 7, "old", 1).await;
        assert_eq!(code, EXCEEDED);
        nearly(wait, 15_000);
    });
}

#[test]
fn what_is_refused_anyway_or_only_validated_costs_nothing_and_others_are_free() {
    changes(async |client: Client| {
        for _ in 0..30 {
            assert_eq!(create(&client, 7, "old", 20).await, (36, NO_WAIT));
            assert_eq!(create_if(&client, 7, "new", 20, true).await, (0, NO_WAIT));
        }
        let nobody = entry(&[("client-id", Some("sim"))], "controller_mutation_rate", None);
        assert_eq!(alter(&client, 1, vec![nobody]).await, [(0, false)]);
        set(&client, &[("client-id", Some("other"))], "controller_mutation_rate", 0.1).await;
        for name in ["a", "b", "c"] {
            assert_eq!(create(&client, 7, name, 100).await, (0, NO_WAIT));
        }
    });
}

#[test]
fn topics_that_are_made_as_somebody_asks_for_them_are_paid_for_too() {
    let settings = [("auto.create.topics.enable", "true"), ("num.partitions", "20")];
    play(&settings, async |client: Client| {
        set(&client, &[("client-id", Some("sim"))], "controller_mutation_rate", 2.0).await;
        let made = |name: &str| (name.to_owned(), 0, 20);
        assert_eq!(client.metadata(&["a"]).await, [made("a")]);
        // The first is within what may be used at once, so it is made; the second is not.
        let missing = |name: &str| (name.to_owned(), 3, 0);
        assert_eq!(client.metadata(&["b", "c"]).await, [made("b"), missing("c")]);
        let (code, wait) = create(&client, 7, "d", 1).await;
        assert_eq!(code, EXCEEDED);
        nearly(wait, 9_000);
        client.io.sleep(wait).await;
        assert_eq!(client.metadata(&["a", "c"]).await, [made("a"), made("c")]);
        let counted = client.counted().await;
        let (_, waits) =
            counted.throttled().find(|(it, _)| it.key() == "controller_mutation_rate").unwrap();
        assert_eq!(waits.count, 2);
    });
}
