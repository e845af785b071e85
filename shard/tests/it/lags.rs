//! How far groups are behind, as the metrics tell it.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest,
    OffsetCommitResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use shard::io::Io;

use crate::answers::{Client, play};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Makes topic `t`, and the coordinators.
async fn prepare(client: &Client) {
    client.create("t", 2).await;
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let _found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request).await;
}

/// Commits an offset for a group without members. Asks again while the coordinator is made.
async fn commit(client: &Client, group: &str, partition: i32, offset: i64) {
    let row = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![row]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    loop {
        let answer: OffsetCommitResponse = client.ask(ApiKey::OffsetCommit, 8, &request).await;
        match answer.topics[0].partitions[0].error_code {
            0 => return,
            14..=16 => client.io.sleep(std::time::Duration::from_millis(50)).await,
            code => panic!("{code}"),
        }
    }
}

/// Group, partition, offsets, and since when: the time of the first record that is not read.
async fn lags(client: &Client) -> (Vec<(String, u32, u64, Option<u64>)>, u64) {
    let counted = client.counted().await;
    let now = u64::try_from(client.io.wall().get()).expect("after 1970");
    let row = |row: &shard::groups::lag::Lag| {
        let is_read = row.offsets == 0;
        // The clocks of nodes and clients differ by less than the seconds that are cut off.
        let since = row.time_ms.map(|age| if is_read { age } else { (now - age) / 3_600_000 });
        (row.group.to_string(), row.partition.get(), row.offsets, since)
    };
    let mut rows: Vec<_> = counted.lags().rows.iter().map(row).collect();
    rows.sort();
    (rows, counted.lags().left_out_count)
}

#[test]
fn a_group_is_behind_by_what_it_has_not_committed_and_by_its_age() {
    play(&[], async |client: Client| {
        prepare(&client).await;
        assert_eq!(lags(&client).await, (vec![], 0));
        // Records of the first millisecond of 1970.
        client.append("t", 0, &[b"a", b"b"]).await;
        client.append("t", 0, &[b"c"]).await;
        commit(&client, "g", 0, 1).await;
        commit(&client, "g", 1, 0).await;
        commit(&client, "h", 0, 3).await;
        let row =
            |group: &str, partition, offsets, since| (group.to_owned(), partition, offsets, since);
        let rest = [row("g", 1, 0, Some(0)), row("h", 0, 0, Some(0))];
        let want = |offsets| [&[row("g", 0, offsets, Some(0))], &rest[..]].concat();
        assert_eq!(lags(&client).await, (want(2), 0));
        client.append("t", 0, &[b"d"]).await;
        commit(&client, "h", 0, 4).await;
        assert_eq!(lags(&client).await, (want(3), 0));
        commit(&client, "g", 0, 9).await;
        assert_eq!(lags(&client).await, (want(0), 0), "past the end there is nothing to read");
    });
}

#[test]
fn there_are_no_more_rows_than_are_asked_for() {
    let key = "odradek.metrics.lag.partitions.max";
    for (max, want) in [("0", (0, 0)), ("2", (2, 4))] {
        play(&[(key, max)], async move |client: Client| {
            prepare(&client).await;
            // Two shards have coordinators, and half of the rows each.
            for group in ["a", "b", "c", "d", "e", "f"] {
                commit(&client, group, 0, 0).await;
            }
            let (rows, left_out_count) = lags(&client).await;
            assert_eq!((rows.len(), left_out_count), want);
        });
    }
}
