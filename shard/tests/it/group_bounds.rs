//! What groups can make a broker hold, and who is still served when they hold it.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;
use shard::io::{Class, Io};
use shard::metrics::Metric;

use crate::answers::{Client, play_in};

/// Of each of two shards; groups may take an eighth of it.
const ARENA_BYTES: usize = 64 << 20;
const GROUP_BYTES_MAX: u64 = 8 << 20;
const PARTITIONS: i32 = 64;
/// Of what a member says of itself.
const LONG_BYTES: u64 = 1 << 20;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A first group makes the topic of all of them.
pub(crate) async fn begin(client: &Client) {
    client.create("t", PARTITIONS).await;
    let request = FindCoordinatorRequest::default().with_key(text("any"));
    loop {
        let answer: FindCoordinatorResponse =
            client.ask(ApiKey::FindCoordinator, 3, &request).await;
        let code = commit(client, "any", 1, "").await;
        if answer.error_code == 0 && code == ErrorCode::NONE {
            return;
        }
        client.io.sleep(Duration::from_millis(100)).await;
    }
}

/// Commits the same offset of so many partitions.
pub(crate) async fn commit(
    client: &Client,
    group: &str,
    partition_count: i32,
    metadata: &str,
) -> ErrorCode {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(7)
            .with_committed_metadata(Some(text(metadata)))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions((0..partition_count).map(partition).collect());
    let request =
        OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    let answer: OffsetCommitResponse = client.ask(ApiKey::OffsetCommit, 8, &request).await;
    let codes = answer.topics[0].partitions.iter().map(|it| it.error_code);
    let first = answer.topics[0].partitions[0].error_code;
    assert!(codes.into_iter().all(|it| it == first), "all or none");
    ErrorCode::new(first)
}

fn join(group: &str, metadata_bytes: u64) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("p"))
        .with_metadata(Bytes::from(vec![7; usize::try_from(metadata_bytes).unwrap()]));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(1_800_000)
        .with_rebalance_timeout_ms(1_800_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Of a member that comes without an id.
pub(crate) async fn join_code(client: &Client, group: &str) -> ErrorCode {
    let answer: JoinGroupResponse = client.ask(ApiKey::JoinGroup, 5, &join(group, 1)).await;
    ErrorCode::new(answer.error_code)
}

#[test]
fn groups_that_use_up_their_memory_go_on_and_others_wait_until_there_is_some() {
    play_in(ARENA_BYTES, &[], async |client: Client| {
        begin(&client).await;
        let metadata = "m".repeat(4_000);
        let mut names = Vec::new();
        let refused = loop {
            let name = format!("g{}", names.len());
            match commit(&client, &name, PARTITIONS, &metadata).await {
                ErrorCode::NONE => names.push(name),
                code => break (name, code),
            }
        };
        assert_eq!(refused.1, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        let held = client.counted().await.metric(Metric::MemoryGroupBytes);
        assert!(held <= 2 * GROUP_BYTES_MAX && held > GROUP_BYTES_MAX / 2, "{held}");

        // What is known goes on, and nobody new gets in: where the last commit found no memory.
        let same = names.first().unwrap();
        assert_eq!(commit(&client, same, PARTITIONS, &metadata).await, ErrorCode::NONE);
        let answer: JoinGroupResponse =
            client.ask(ApiKey::JoinGroup, 5, &join(&refused.0, 300 << 10)).await;
        assert_eq!(answer.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.get());
        assert!(client.counted().await.metric(Metric::GroupRefusals) >= 2);

        let groups_names = names.iter().map(|it| GroupId(text(it))).collect();
        let request = DeleteGroupsRequest::default().with_groups_names(groups_names);
        let answer: DeleteGroupsResponse = client.ask(ApiKey::DeleteGroups, 2, &request).await;
        assert!(answer.results.iter().all(|it| it.error_code == 0), "{answer:?}");
        assert_eq!(commit(&client, &refused.0, PARTITIONS, &metadata).await, ErrorCode::NONE);
    });
}

#[test]
fn a_member_that_waits_for_others_holds_no_memory_of_requests() {
    play_in(
        ARENA_BYTES,
        &[("group.initial.rebalance.delay.ms", "60000")],
        async |client: Client| {
            begin(&client).await;
            for number in 0..4 {
                let (client, group) = (client.clone(), format!("g{number}"));
                client.io.clone().spawn(Class::Foreground, async move {
                    let request = join(&group, LONG_BYTES);
                    drop(client.ask::<JoinGroupResponse>(ApiKey::JoinGroup, 3, &request).await);
                });
            }
            loop {
                client.io.sleep(Duration::from_millis(10)).await;
                let counted = client.counted().await;
                if counted.metric(Metric::MemoryGroupBytes) > 4 * LONG_BYTES {
                    assert!(counted.metric(Metric::MemoryRequestBytes) < LONG_BYTES);
                    break;
                }
            }
        },
    );
}

#[test]
fn what_is_named_many_times_is_told_once() {
    const TIMES: usize = 3_000;
    play_in(ARENA_BYTES, &[], async |client: Client| {
        begin(&client).await;
        assert_eq!(commit(&client, "g", 2, &"m".repeat(4_000)).await, ErrorCode::NONE);
        let group = || GroupId(text("g"));

        let request = DescribeGroupsRequest::default().with_groups(vec![group(); TIMES]);
        let answer: DescribeGroupsResponse = client.ask(ApiKey::DescribeGroups, 5, &request).await;
        assert_eq!(answer.groups.len(), 1);
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(); TIMES]);
        let answer: ConsumerGroupDescribeResponse =
            client.ask(ApiKey::ConsumerGroupDescribe, 0, &request).await;
        assert_eq!(answer.groups.len(), 1);

        let indexes = [0, 1].repeat(TIMES);
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text("t")))
            .with_partition_indexes(indexes);
        let of_topic = OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_topics(Some(vec![topic.clone(), topic]));
        let of_all = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
        let mut groups = vec![of_all; TIMES];
        groups[0] = of_topic;
        let request = OffsetFetchRequest::default().with_groups(groups);
        let answer: OffsetFetchResponse = client.ask(ApiKey::OffsetFetch, 8, &request).await;
        let [first, others @ ..] = &*answer.groups else { panic!("an answer for each group") };
        let partitions = first.topics.iter().flat_map(|it| &it.partitions);
        let found: Vec<_> =
            partitions.map(|it| (it.partition_index, it.committed_offset)).collect();
        assert_eq!(found, [(0, 7), (1, 7)]);
        assert_eq!(others.len(), TIMES - 1);
        let is_refused = |it: &OffsetFetchResponseGroup| {
            it.error_code == ErrorCode::INVALID_REQUEST.get() && it.topics.is_empty()
        };
        assert!(others.iter().all(is_refused));
    });
}
