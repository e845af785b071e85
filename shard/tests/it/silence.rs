//! A disk that keeps a write for long: it is told, once, and the write counts all the same.

use net::error_code::ErrorCode;
use shard::metrics::Metric;
use shard::sim::disk::Faults;

use crate::answers::Client;
use crate::full::Stage;

const SECOND_NANOS: u64 = 1_000_000_000;

/// How often it is told that the disk keeps an append, if a write takes so long.
fn told_of(write_nanos: u64) -> u64 {
    let mut stage = Stage::new();
    stage.play(async |client: Client| client.create("a", 1).await);
    stage.world.set_faults(0, Faults { write_nanos, ..Faults::none() });
    stage.play(async |client: Client| {
        assert_eq!(client.try_append("a", 1_000).await, ErrorCode::NONE);
        client.counted().await.metric(Metric::JournalSilences)
    })
}

#[test]
fn a_write_that_the_disk_keeps_for_long_is_told_once() {
    assert_eq!(told_of(3 * SECOND_NANOS), 1);
}

#[test]
fn a_write_that_is_only_slow_is_not_told() {
    assert_eq!(told_of(SECOND_NANOS / 4), 0);
}
