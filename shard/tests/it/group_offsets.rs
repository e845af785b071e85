//! Offsets of groups whose topics are named by id.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteTopicsRequest, DeleteTopicsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client;
use shard::io::Io;
use shard::sim::wire::Wire;
use uuid::Uuid;

use crate::answers::{Client, play, topic_name};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// The first with topic ids.
const VERSION: i16 = 10;
const NOBODY: Uuid = Uuid::from_bytes([9; 16]);

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

/// Of each partition, in the order of the answer: the id of its topic, its index, and what is said of it.
type Row<T> = (Uuid, i32, T);

/// Commits offset `10 + partition`. Asks again while the coordinator is made.
async fn commit(client: &Client, topics: &[(Uuid, &[i32])]) -> Vec<Row<i16>> {
    let topics = topics.iter().map(|(id, indexes)| {
        let partitions = indexes.iter().map(|&index| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(10 + i64::from(index))
                .with_committed_metadata(Some(StrBytes::from_static_str("mine")))
        });
        OffsetCommitRequestTopic::default().with_topic_id(*id).with_partitions(partitions.collect())
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect());
    loop {
        let mut wire = Wire::connect(&client.io, client.node).await;
        let envelope = wire.envelope(VERSION);
        wire.send(client::encode_offset_commit(&envelope, &request).unwrap()).await.unwrap();
        let body = wire.receive(ApiKey::OffsetCommit, &envelope).await.unwrap();
        let answer: OffsetCommitResponse =
            client::decode_response(ApiKey::OffsetCommit, VERSION, &body).unwrap();
        let rows = answer.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|it| (topic.topic_id, it.partition_index, it.error_code))
        });
        let rows: Vec<_> = rows.collect();
        if rows.iter().all(|(_, _, code)| !(14..=16).contains(code)) {
            return rows;
        }
        client.io.sleep(Duration::from_millis(50)).await;
    }
}

/// Code and offset of each partition.
async fn fetch(client: &Client, topics: Option<&[(Uuid, &[i32])]>) -> Vec<Row<(i16, i64)>> {
    let topic = |(id, indexes): &(Uuid, &[i32])| {
        OffsetFetchRequestTopics::default()
            .with_topic_id(*id)
            .with_partition_indexes(indexes.to_vec())
    };
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted]);
    let mut wire = Wire::connect(&client.io, client.node).await;
    let envelope = wire.envelope(VERSION);
    wire.send(client::encode_offset_fetch(&envelope, &request).unwrap()).await.unwrap();
    let body = wire.receive(ApiKey::OffsetFetch, &envelope).await.unwrap();
    let answer: OffsetFetchResponse =
        client::decode_response(ApiKey::OffsetFetch, VERSION, &body).unwrap();
    assert_eq!((answer.groups.len(), answer.groups[0].error_code), (1, 0));
    let rows = answer.groups[0].topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| {
            assert!(it.committed_offset < 0 || it.metadata.as_deref() == Some("mine"));
            (topic.topic_id, it.partition_index, (it.error_code, it.committed_offset))
        })
    });
    rows.collect()
}

/// Makes topic `t` of two partitions, and the coordinators. The id of the topic.
async fn prepare(client: &Client) -> Uuid {
    let id = Uuid::from_bytes(client.create("t", 2).await);
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group().0]);
    let _found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request).await;
    id
}

#[test]
fn offsets_are_committed_and_found_by_topic_id() {
    play(&[], async |client: Client| {
        let id = prepare(&client).await;
        let committed = commit(&client, &[(id, &[0, 1])]).await;
        assert_eq!(committed, [(id, 0, 0), (id, 1, 0)]);
        let found = [(id, 0, (0, 10)), (id, 1, (0, 11))];
        assert_eq!(fetch(&client, Some(&[(id, &[0, 1])])).await, found);
        assert_eq!(fetch(&client, None).await, found);
    });
}

#[test]
fn an_unknown_topic_id_is_refused_in_each_of_its_partitions() {
    play(&[], async |client: Client| {
        let id = prepare(&client).await;
        let committed = commit(&client, &[(NOBODY, &[0, 7]), (id, &[0, 2])]).await;
        let want = [
            (NOBODY, 0, UNKNOWN_TOPIC_ID),
            (NOBODY, 7, UNKNOWN_TOPIC_ID),
            (id, 0, 0),
            (id, 2, UNKNOWN_TOPIC_OR_PARTITION),
        ];
        assert_eq!(committed, want);
        let found = fetch(&client, Some(&[(NOBODY, &[7]), (id, &[0, 1])])).await;
        let want = [(id, 0, (0, 10)), (id, 1, (0, -1)), (NOBODY, 7, (UNKNOWN_TOPIC_ID, -1))];
        assert_eq!(found, want);
    });
}

#[test]
fn the_id_of_a_deleted_topic_is_not_that_of_its_successor() {
    play(&[], async |client: Client| {
        let old = prepare(&client).await;
        assert_eq!(commit(&client, &[(old, &[0])]).await, [(old, 0, 0)]);
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
        let deleted: DeleteTopicsResponse = client.ask(ApiKey::DeleteTopics, 5, &request).await;
        assert_eq!(deleted.responses[0].error_code, 0);
        let new = Uuid::from_bytes(client.create("t", 2).await);
        assert_eq!(commit(&client, &[(old, &[0])]).await, [(old, 0, UNKNOWN_TOPIC_ID)]);
        let found = fetch(&client, Some(&[(old, &[0])])).await;
        assert_eq!(found, [(old, 0, (UNKNOWN_TOPIC_ID, -1))]);
        assert_eq!(commit(&client, &[(new, &[1])]).await, [(new, 1, 0)]);
    });
}
