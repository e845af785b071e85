//! What a stranger can do by writing records of groups: whoever says that it is Kafka's admin client may.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::time::Duration;

use bytes::Bytes;
use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};
use engine::records::builder::BatchBuilder;
use net::error_code::ErrorCode;
use replication::group::partition_of;
use replication::group::record::{ClassicSnapshot, Committed, GroupRecord, MemberSnapshot};
use shard::io::Io;
use shard::metrics::Metric;

use crate::answers::{Client, play_twice, produce};
use crate::group_bounds::{begin, commit, join_code};

/// Of each of two shards. Groups may take an eighth of it, and four times as much when they are read.
const ARENA_BYTES: usize = 16 << 20;
const REPLAY_BYTES_MAX: u64 = 4 * (2 << 20);
/// As simulated brokers have them.
const PARTITION_COUNT: u32 = 3;
const TOPIC: &str = "__consumer_offsets";

/// Names of groups, one for each partition.
const GROUPS: [&str; 3] = ["a", "b", "c"];

type Row = (Vec<u8>, Option<Vec<u8>>);

/// Appends such records to a partition, as a stranger.
async fn write(client: &Client, partition: i32, rows: &[Row]) {
    let mut batch = BatchBuilder::new();
    for (key, value) in rows {
        batch.push(Timestamp::new(1), Some(key), value.as_deref(), &[]);
    }
    let request = produce(&[(TOPIC, &[(partition, Bytes::from(batch.build()))])]);
    let answer = client.produce("__admin_client", &request).await;
    assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::NONE);
}

fn offset(group: &str) -> Row {
    let committed = Committed {
        offset: 7,
        leader_epoch: LeaderEpoch::NONE,
        metadata: "".into(),
        committed_at: Timestamp::new(1),
        expires_at: None,
    };
    let record = GroupRecord::Offset {
        group: group.into(),
        topic: "t".into(),
        partition: PartitionIndex::new(0),
        to: Some(committed),
    };
    (record.key(), record.value())
}

/// A group that nobody could have written down: its leader is none, nor has it a protocol.
fn odd_group(group: &str) -> Row {
    let member = |id: &str, instance: &str| MemberSnapshot {
        id: id.into(),
        instance: Some(instance.into()),
        client_id: "".into(),
        client_host: "".into(),
        rebalance_ms: -1,
        session_ms: i32::MIN,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    let snapshot = ClassicSnapshot {
        protocol_type: "consumer".into(),
        generation: i32::MAX,
        protocol: Some("p".into()),
        leader: None,
        since: Timestamp::new(i64::MAX),
        members: vec![member("x", "i"), member("x", "j"), member("y", "j")],
    };
    let record = GroupRecord::Classic { group: group.into(), to: Some(snapshot) };
    (record.key(), record.value())
}

/// Keys and values that are nothing, that are cut, and that are of something else.
fn garbage() -> Vec<Row> {
    let (key, value) = offset("g");
    let value = value.unwrap();
    let mut rows = vec![(vec![], None), (vec![0], Some(vec![])), (b"what".to_vec(), None)];
    rows.extend((0..key.len()).map(|end| (key[..end].to_vec(), Some(value.clone()))));
    rows.extend((0..value.len()).map(|end| (key.clone(), Some(value[..end].to_vec()))));
    for kind in 0..20_i16 {
        let key = [&kind.to_be_bytes()[..], &[0, 1, b'g', 0, 1, b'm']].concat();
        for value in [&[][..], &[0; 40], &[0xff; 40], &[0, 0, 0x7f, 0xff, 0xff, 0xff]] {
            rows.push((key.clone(), Some(value.to_vec())));
        }
        rows.push((key, None));
    }
    rows
}

/// Of a commit of one partition, once the group's records have been read.
async fn committed(client: &Client, group: &str) -> ErrorCode {
    loop {
        match commit(client, group, 1, "").await {
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {
                client.io.sleep(Duration::from_millis(100)).await;
            }
            code => return code,
        }
    }
}

async fn begin_groups(client: Client) -> Client {
    begin(&client).await;
    let partitions = GROUPS.map(|it| partition_of(it, PARTITION_COUNT).wire());
    assert_eq!(partitions, [1, 2, 0]);
    for group in GROUPS {
        assert_eq!(committed(&client, group).await, ErrorCode::NONE);
    }
    client
}

#[test]
fn records_that_make_no_sense_keep_no_group_from_going_on() {
    let first = async |client: Client| {
        let client = begin_groups(client).await;
        for (group, partition) in GROUPS.into_iter().zip([1, 2, 0]) {
            let mut rows = garbage();
            rows.push(odd_group(&format!("odd-{group}")));
            rows.push(odd_group(group));
            write(&client, partition, &rows).await;
        }
    };
    play_twice(ARENA_BYTES, first, async |client: Client| {
        for group in GROUPS {
            // Its members, whoever wrote them, have a session's time; then it is as it was.
            client.io.sleep(Duration::from_secs(1)).await;
            for _ in 0..2 {
                let code = committed(&client, group).await;
                assert!(
                    [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID].contains(&code),
                    "{code:?}"
                );
            }
        }
        assert_eq!(committed(&client, "another").await, ErrorCode::NONE);
        join_code(&client, "odd-a").await;
        join_code(&client, "a").await;
    });
}

#[test]
fn records_that_say_more_than_there_is_memory_for_are_left_and_other_groups_are_served() {
    let first = async |client: Client| {
        let client = begin_groups(client).await;
        for part in 0..16 {
            let rows: Vec<Row> = (0..500).map(|it| offset(&format!("{part}-{it}"))).collect();
            write(&client, 1, &rows).await;
        }
    };
    play_twice(ARENA_BYTES, first, async |client: Client| {
        let codes = [committed(&client, "a").await, committed(&client, "b").await];
        assert_eq!(codes, [ErrorCode::COORDINATOR_NOT_AVAILABLE, ErrorCode::NONE]);
        let held = client.counted().await.metric(Metric::MemoryGroupBytes);
        assert!(held < REPLAY_BYTES_MAX, "{held}");
    });
}

#[test]
fn what_takes_all_memory_that_groups_may_have_is_read_again() {
    let names = |count: usize| (0..count).map(|it| format!("g{it}"));
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let filled = std::rc::Rc::clone(&count);
    let first = async move |client: Client| {
        let client = begin_groups(client).await;
        for (index, name) in names(usize::MAX).enumerate() {
            if commit(&client, &name, 64, &"m".repeat(4_000)).await != ErrorCode::NONE {
                filled.set(index);
                return;
            }
        }
    };
    play_twice(ARENA_BYTES, first, async move |client: Client| {
        assert!(count.get() > 4);
        for name in names(count.get()) {
            assert_eq!(committed(&client, &name).await, ErrorCode::NONE, "{name}");
        }
    });
}
