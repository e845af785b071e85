//! Groups of the consumer protocol with a configuration of their own.

use std::time::Duration;

use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use shard::io::Io;

use crate::answers::{Client, play};

const GROUP: i8 = 32;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sets a config of a group, or (`None`) takes it away.
async fn alter(client: &Client, group: &str, key: &str, value: Option<&str>) -> i16 {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer: IncrementalAlterConfigsResponse =
        client.ask(ApiKey::IncrementalAlterConfigs, 1, &request).await;
    answer.responses[0].error_code
}

/// The member's epoch, and how often it is to be heard of. Asks again while the coordinator is made.
async fn beat(client: &Client, group: &str, epoch: i32) -> (i32, i32) {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text("m"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(5_000)
        .with_subscribed_topic_names((epoch == 0).then(|| vec![topic("t")]))
        .with_topic_partitions((epoch == 0).then(Vec::new));
    loop {
        let answer: ConsumerGroupHeartbeatResponse =
            client.ask(ApiKey::ConsumerGroupHeartbeat, 1, &request).await;
        match answer.error_code {
            0 => return (answer.member_epoch, answer.heartbeat_interval_ms),
            14..=16 => client.io.sleep(Duration::from_millis(50)).await,
            code => panic!("{code} {:?}", answer.error_message),
        }
    }
}

fn topic(name: &str) -> kafka_protocol::messages::TopicName {
    kafka_protocol::messages::TopicName(text(name))
}

/// Makes topic `t`, and the coordinators.
async fn prepare(client: &Client) {
    client.create("t", 1).await;
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let _found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request).await;
}

async fn member_count(client: &Client, group: &str) -> usize {
    let request =
        ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
    let answer: ConsumerGroupDescribeResponse =
        client.ask(ApiKey::ConsumerGroupDescribe, 1, &request).await;
    answer.groups[0].members.len()
}

async fn listed(client: &Client) -> Vec<String> {
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
    let answer: ListConfigResourcesResponse =
        client.ask(ApiKey::ListConfigResources, 1, &request).await;
    answer.config_resources.iter().map(|it| it.resource_name.to_string()).collect()
}

const LOW: [(&str, &str); 3] = [
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.initial.rebalance.delay.ms", "0"),
];

#[test]
fn members_hear_of_their_groups_own_interval_at_their_next_heartbeat() {
    play(&LOW, async |client: Client| {
        prepare(&client).await;
        let (epoch, interval_ms) = beat(&client, "g", 0).await;
        assert_eq!(interval_ms, 5_000);
        let key = "consumer.heartbeat.interval.ms";
        assert_eq!(alter(&client, "g", key, Some("300")).await, 0);
        assert_eq!(alter(&client, "g", key, Some("99")).await, 40);
        assert_eq!(alter(&client, "", key, Some("300")).await, 42);
        assert_eq!(beat(&client, "g", epoch).await, (epoch, 300));
        assert_eq!(beat(&client, "other", 0).await.1, 5_000);
        assert_eq!(listed(&client).await, ["g"]);
        assert_eq!(alter(&client, "g", key, None).await, 0);
        assert_eq!(beat(&client, "g", epoch).await, (epoch, 5_000));
        assert!(listed(&client).await.is_empty());
    });
}

#[test]
fn a_silent_member_is_gone_after_its_groups_own_time() {
    play(&LOW, async |client: Client| {
        prepare(&client).await;
        let session = "consumer.session.timeout.ms";
        assert_eq!(alter(&client, "g", "consumer.heartbeat.interval.ms", Some("500")).await, 0);
        assert_eq!(alter(&client, "g", session, Some("2000")).await, 0);
        beat(&client, "g", 0).await;
        beat(&client, "other", 0).await;
        client.io.sleep(Duration::from_millis(1_500)).await;
        assert_eq!(member_count(&client, "g").await, 1);
        client.io.sleep(Duration::from_millis(1_500)).await;
        assert_eq!(
            (member_count(&client, "g").await, member_count(&client, "other").await),
            (0, 1)
        );
    });
}

#[test]
fn without_the_consumer_protocol_its_requests_are_refused() {
    const UNSUPPORTED_VERSION: i16 = 35;
    let settings = [("group.coordinator.rebalance.protocols", "classic")];
    play(&settings, async |client: Client| {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text("m"))
            .with_rebalance_timeout_ms(5_000)
            .with_subscribed_topic_names(Some(vec![topic("t")]))
            .with_topic_partitions(Some(Vec::new()));
        let answer: ConsumerGroupHeartbeatResponse =
            client.ask(ApiKey::ConsumerGroupHeartbeat, 1, &request).await;
        assert_eq!(answer.error_code, UNSUPPORTED_VERSION);
        let request =
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text("g"))]);
        let answer: ConsumerGroupDescribeResponse =
            client.ask(ApiKey::ConsumerGroupDescribe, 1, &request).await;
        assert_eq!(answer.groups[0].error_code, UNSUPPORTED_VERSION);
    });
}
