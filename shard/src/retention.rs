//! Retention: looks at every partition of a shard from time to time, closes segments that are old, and
//! deletes records that their topic's policy does not keep.
//!
//! Which ones is the log's own decision (`engine/src/retention.rs`). They are deleted as DeleteRecords
//! does it: the new log start is durable before anybody sees it, and a file goes after that, when a
//! checkpoint does not need it. One task for all partitions: who is idle costs no timer.

use std::rc::Rc;
use std::time::Duration;

use crate::io::Io;
use crate::limits::CLEANED_PER_TURN_MAX;
use crate::metrics::Metric;
use crate::partition::Partition;
use crate::shard::{Phase, Shard};
use crate::writer;

/// Until the shard stops.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.is_stopping() {
        let pause_ms = shard.image().broker_config().retention_check_interval_ms;
        let pause = Duration::from_millis(u64::try_from(pause_ms).unwrap_or(1));
        shard.pause(pause).await;
        if shard.phase.get() != Phase::Serving {
            continue; // The journal has no file yet: nothing may be written.
        }
        for (count, partition) in shard.partitions().iter().enumerate() {
            if shard.is_stopping() {
                return; // The last checkpoint may be made without what would follow.
            }
            look_at(&shard, partition).await;
            if count % CLEANED_PER_TURN_MAX == 0 {
                shard.io.yield_now().await;
            }
        }
    }
}

async fn look_at<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>) {
    let now = shard.io.wall();
    if partition.roll_idle(now) {
        // In the background of this one: on a full disk it waits for the room that others may give.
        writer::start(shard, partition);
        writer::seal_next(shard, partition);
        shard.commit.ask_checkpoint();
    }
    let Some(to) = partition.retained_from(now) else { return };
    let bytes = partition.with_log(|log| log.bytes());
    match shard.raise_log_start(partition, to).await {
        Ok(log_start) => {
            let left = partition.with_log(|log| log.bytes());
            shard.recorder.borrow_mut().add(Metric::RetentionDeletions, 1);
            tracing::debug!(
                partition = ?partition.id(), %log_start, freed_bytes = bytes.saturating_sub(left),
                "records were deleted by their topic's policy"
            );
        }
        // Some of it is not durable yet, or the partition is closed: the next look finds out.
        Err(error) => {
            tracing::debug!(partition = ?partition.id(), ?error, "no records were deleted");
        }
    }
}
