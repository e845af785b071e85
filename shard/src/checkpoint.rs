//! Checkpoints: after one, the journal that was written before it is not needed any more.
//!
//! A checkpoint is made when the journal is half full, when much went straight to segments, when a
//! dirty shard is quiet, and at a clean stop. One at a time.
//! What it carries to segments makes way for commits, as far as the journal has room for them meanwhile.
//! Invariant: a manifest enters it only when the segments hold everything that the manifest tells.
//! Of a partition that a disk fault closed, that is the manifest of the checkpoint before; the journal
//! is told again what came after it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use engine::bug::Bug;
use engine::checkpoint::{Checkpoint, CheckpointHeader, CheckpointWriter};
use engine::id::{Offset, PartitionId};
use engine::journal::plan::Slack;
use engine::log::Checkpointing;

use crate::io::{Class, Io};
use crate::limits::{
    CHECKPOINT_FLUSHES_MAX, CHECKPOINT_FLUSHES_MIN, CHECKPOINT_IDLE, CHECKPOINT_WRITE_BYTES,
    SEGMENT_WRITE_BYTES_MAX,
};
use crate::metrics::Metric;
use crate::partition::{Condition, Partition};
use crate::recovery;
use crate::room::StoreError;
use crate::shard::Shard;
use crate::signal::{self, Bell};
use crate::writer;

/// Manifests encoded before other tasks run.
const MANIFESTS_PER_TURN: usize = 128;

#[must_use]
pub fn checkpoint_path(shard: usize, generation: u64) -> String {
    format!("checkpoint/{shard}.{generation}")
}

/// Makes a checkpoint whenever one is due.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    // One was due, and found no room.
    let mut is_owed = false;
    loop {
        let (pressed, committed) = (shard.commit.next_pressed(), shard.commit.next_committed());
        if shard.is_stopping() {
            return; // The last checkpoint is the stop's own.
        }
        if !shard.commit.wants_checkpoint() && !is_owed {
            signal::either(pressed, committed).await;
            if !shard.commit.wants_checkpoint() {
                wait_for_quiet(&shard).await;
            }
        }
        if shard.is_stopping() {
            return;
        }
        let is_quiet = !shard.commit.wants_checkpoint();
        let made = make(&shard).await;
        if is_quiet {
            for partition in shard.partitions() {
                partition.rest(|bytes| shard.io.block(bytes));
            }
        }
        is_owed = matches!(made, Err(StoreError::Short(..)));
        if let Err(error) = made {
            on_failed(&shard, error).await;
        }
    }
}

async fn on_failed<I: Io>(shard: &Rc<Shard<I>>, error: StoreError) {
    match error {
        StoreError::Short(shortage, error) => {
            tracing::warn!(%error, "a checkpoint found no room; it is made when there is some");
            shard.on_shortage(shortage);
            if !shard.commit.takes_batches() {
                let now = shard.io.now();
                shard.partitions().iter().for_each(|partition| partition.refuse_waiting(now));
            }
            shard.next_try().await;
        }
        StoreError::Failed(error) => {
            tracing::error!(%error, "a checkpoint failed; the journal grows until one succeeds");
            if shard.commit.wants_checkpoint() {
                // Refused is better than never answered: soon the journal has no room.
                shard.fence_all();
            }
            shard.io.sleep(CHECKPOINT_IDLE).await;
        }
    }
}

/// Until no frame was written for a while, or a checkpoint is wanted anyway.
async fn wait_for_quiet<I: Io>(shard: &Rc<Shard<I>>) {
    loop {
        let (pressed, committed) = (shard.commit.next_pressed(), shard.commit.next_committed());
        let (quiet, over) = signal::promise();
        shard.timers.add(shard.io.now().plus(CHECKPOINT_IDLE), quiet);
        signal::either(pressed, over).await;
        if shard.commit.wants_checkpoint() || shard.is_stopping() || !committed.is_ready() {
            return;
        }
    }
}

struct Work<I: Io> {
    left: RefCell<Vec<Rc<Partition<I>>>>,
    taken: RefCell<Vec<(Rc<Partition<I>>, Checkpointing)>>,
    fenced: RefCell<Vec<Rc<Partition<I>>>>,
    running: Cell<usize>,
    failed: Cell<bool>,
    done: Bell,
}

/// Makes a checkpoint now, or as soon as another one is made.
pub async fn make<I: Io>(shard: &Rc<Shard<I>>) -> Result<(), StoreError> {
    shard.checkpoints.enter().await;
    let made = make_alone(shard).await;
    shard.checkpoints.leave();
    made
}

/// Makes checkpoints until the last one holds everything: nothing was journaled since it began. Of a
/// closed partition the journal has what no checkpoint holds, so this fails.
pub async fn make_last<I: Io>(shard: &Rc<Shard<I>>) -> io::Result<()> {
    loop {
        let sequence = shard.commit.next_sequence();
        make(shard).await.map_err(StoreError::into_error)?;
        if shard.partitions().iter().any(|it| it.condition() == Condition::Fenced) {
            return Err(io::Error::other("a partition is closed by a disk fault"));
        }
        if shard.commit.next_sequence() == sequence && !shard.commit.has_work() {
            return Ok(());
        }
    }
}

async fn make_alone<I: Io>(shard: &Rc<Shard<I>>) -> Result<(), StoreError> {
    let sequence = shard.commit.begin_checkpoint();
    if Bug::JournalRecycledEarly.is_on() {
        shard.commit.on_checkpoint(sequence);
    }
    let work = Rc::new(Work {
        left: RefCell::new(shard.partitions()),
        taken: RefCell::default(),
        fenced: RefCell::default(),
        running: Cell::new(CHECKPOINT_FLUSHES_MAX),
        failed: Cell::new(false),
        done: Bell::default(),
    });
    for _ in 0..CHECKPOINT_FLUSHES_MAX {
        let (shard, work) = (Rc::clone(shard), Rc::clone(&work));
        let io = shard.io.clone();
        io.spawn(Class::Foreground, async move { gather(&shard, &work).await });
    }
    while work.running.get() > 0 {
        work.done.next().wait().await;
    }
    if work.failed.get() {
        return Err(io::Error::other("a partition could not be flushed").into());
    }
    let mut taken = work.taken.take();
    if Bug::ProducersSavedAhead.is_on() {
        for (partition, checkpointing) in &mut taken {
            partition.with_log(|log| checkpointing.retell_producers(log));
        }
    }
    let old_manifests = carry_fenced(shard, &work.fenced.take()).await?;
    store(shard, sequence, &taken, &old_manifests).await?;
    shard.commit.on_checkpoint(sequence);
    shard.recorder.borrow_mut().add(Metric::Checkpoints, 1);
    for (partition, checkpointing) in taken {
        partition.change_log(|log| log.on_checkpointed(checkpointing.into_checkpointed()));
        shard.drop_segments(&partition).await;
    }
    Ok(())
}

/// The last manifests of closed partitions. What came after them is journaled again.
async fn carry_fenced<I: Io>(
    shard: &Rc<Shard<I>>,
    fenced: &[Rc<Partition<I>>],
) -> io::Result<Vec<Vec<u8>>> {
    if fenced.is_empty() || Bug::ClosedPartitionForgotten.is_on() {
        return Ok(Vec::new());
    }
    let generation = shard.commit.generation().number();
    let path = checkpoint_path(shard.index, generation);
    let last = recovery::read_checkpoint(&shard.io, &path).await?;
    let last = last.ok_or(io::ErrorKind::NotFound)?;
    let damaged = |_| io::Error::other("the last checkpoint cannot be read");
    let checkpoint = Checkpoint::parse(&last).map_err(damaged)?;
    let CheckpointHeader { shard: whose, generation: when, .. } = checkpoint.header();
    if (usize::try_from(whose), when) != (Ok(shard.index), generation) {
        return Err(io::Error::other("the last checkpoint is another one"));
    }
    let ids: BTreeSet<PartitionId> = fenced.iter().map(|it| it.id()).collect();
    let mut manifests = Vec::new();
    for manifest in checkpoint.manifests() {
        let manifest = manifest.map_err(damaged)?;
        if ids.contains(&manifest.id()) {
            manifests.push(manifest.encode());
        }
    }
    for partition in fenced {
        if !shard.commit.carry(partition).await {
            return Err(io::Error::other("a closed partition's batches cannot be journaled again"));
        }
    }
    Ok(manifests)
}

async fn gather<I: Io>(shard: &Rc<Shard<I>>, work: &Rc<Work<I>>) {
    let mut count = 0;
    let now = shard.io.wall();
    let expiration_ms = shard.image().broker_config().producer_id_expiration_ms;
    loop {
        let Some(partition) = work.left.borrow_mut().pop() else { break };
        if partition.condition() == Condition::Removed {
            continue;
        }
        partition.change_log(|log| log.expire_producers(now, expiration_ms));
        let checkpointing = partition.begin_checkpoint();
        if carry(shard, &partition, checkpointing.target().offset).await {
            writer::seal_next(shard, &partition);
            work.taken.borrow_mut().push((Rc::clone(&partition), checkpointing));
        } else if partition.condition() == Condition::Fenced {
            work.fenced.borrow_mut().push(partition);
        } else if partition.condition() == Condition::Open {
            work.failed.set(true); // Its intent could not be journaled.
        }
        count += 1;
        if count % MANIFESTS_PER_TURN == 0 {
            shard.io.yield_now().await;
        }
    }
    work.running.set(work.running.get() - 1);
    work.done.ring();
}

/// As `flush_to`, when it is this partition's turn.
async fn carry<I: Io>(shard: &Rc<Shard<I>>, partition: &Rc<Partition<I>>, target: Offset) -> bool {
    if partition.with_log(|log| log.flushed().offset) >= target {
        return true;
    }
    let count_max = || {
        let is_steady = shard.commit.is_steady(shard.io.now()) && !shard.is_stopping();
        carries_max(shard.commit.slack(), is_steady)
    };
    let _place = shard.carries.enter(count_max).await;
    writer::flush_to(shard, partition, target, || write_bytes_max(count_max())).await
}

/// How many partitions a checkpoint carries at a time: the more, the less room the journal has left.
/// While commits come it begins with the fewest. When half of the slack is used up that a journal has when
/// a checkpoint is due, it is as fast as it can be: the other half is for what comes until it is done.
fn carries_max(slack: Slack, is_steady: bool) -> usize {
    let Slack { left_bytes, due_bytes } = slack;
    let half_bytes = due_bytes / 2;
    if !is_steady || left_bytes <= half_bytes {
        return CHECKPOINT_FLUSHES_MAX;
    }
    let gone_bytes = due_bytes.saturating_sub(left_bytes);
    let more = u64::try_from(CHECKPOINT_FLUSHES_MAX - CHECKPOINT_FLUSHES_MIN).expect("few");
    let more = more.saturating_mul(gone_bytes) / half_bytes.max(1);
    let count = CHECKPOINT_FLUSHES_MIN.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
    count.min(CHECKPOINT_FLUSHES_MAX)
}

/// How many bytes a checkpoint writes at a time that carries so many partitions: few, unless it is as fast as
/// it can be.
const fn write_bytes_max(count_max: usize) -> u64 {
    if count_max < CHECKPOINT_FLUSHES_MAX {
        CHECKPOINT_WRITE_BYTES
    } else {
        SEGMENT_WRITE_BYTES_MAX
    }
}

async fn store<I: Io>(
    shard: &Shard<I>,
    sequence: u64,
    taken: &[(Rc<Partition<I>>, Checkpointing)],
    old_manifests: &[Vec<u8>],
) -> Result<(), StoreError> {
    let generation = shard.commit.generation().number();
    let index = u32::try_from(shard.index).expect("shards are few");
    let header = CheckpointHeader { shard: index, generation, sequence };
    let mut file = CheckpointWriter::new(&header);
    for (count, (_, checkpointing)) in taken.iter().enumerate() {
        file.push(checkpointing.manifest());
        if count % MANIFESTS_PER_TURN == 0 {
            shard.io.yield_now().await;
        }
    }
    old_manifests.iter().for_each(|manifest| file.push(manifest));
    let path = checkpoint_path(shard.index, generation);
    writer::write_file(shard, &path, Bytes::from(file.finish()), "checkpoint").await
}

#[cfg(test)]
mod tests {
    use super::{
        CHECKPOINT_FLUSHES_MAX, CHECKPOINT_FLUSHES_MIN, CHECKPOINT_WRITE_BYTES,
        SEGMENT_WRITE_BYTES_MAX, Slack, carries_max, write_bytes_max,
    };

    const DUE_BYTES: u64 = 24 << 20;

    fn at(left_bytes: u64) -> usize {
        carries_max(Slack { left_bytes, due_bytes: DUE_BYTES }, true)
    }

    #[test]
    fn nobody_makes_way_when_nobody_commits() {
        for left_bytes in [0, 1, DUE_BYTES / 2, DUE_BYTES, u64::MAX] {
            let slack = Slack { left_bytes, due_bytes: DUE_BYTES };
            assert_eq!(carries_max(slack, false), CHECKPOINT_FLUSHES_MAX);
        }
    }

    #[test]
    fn the_less_room_the_journal_has_the_more_are_carried_at_once() {
        assert_eq!(at(u64::MAX), CHECKPOINT_FLUSHES_MIN);
        assert_eq!(at(DUE_BYTES), CHECKPOINT_FLUSHES_MIN);
        assert_eq!(at(DUE_BYTES / 2), CHECKPOINT_FLUSHES_MAX);
        assert_eq!(at(0), CHECKPOINT_FLUSHES_MAX);
        let middle = at(DUE_BYTES / 4 * 3);
        assert_eq!(middle, (CHECKPOINT_FLUSHES_MIN + CHECKPOINT_FLUSHES_MAX) / 2);
        let mut last = CHECKPOINT_FLUSHES_MIN;
        for step in 0..=1_000 {
            let count = at(DUE_BYTES / 1_000 * (1_000 - step));
            assert!((last..=CHECKPOINT_FLUSHES_MAX).contains(&count), "{step}: {count}");
            last = count;
        }
    }

    #[test]
    fn writes_are_small_until_half_of_the_room_is_gone() {
        assert_eq!(write_bytes_max(at(DUE_BYTES)), CHECKPOINT_WRITE_BYTES);
        assert_eq!(write_bytes_max(at(DUE_BYTES / 4 * 3)), CHECKPOINT_WRITE_BYTES);
        assert_eq!(write_bytes_max(at(DUE_BYTES / 2)), SEGMENT_WRITE_BYTES_MAX);
    }

    #[test]
    fn a_journal_without_slack_is_freed_as_fast_as_can_be() {
        assert_eq!(
            carries_max(Slack { left_bytes: 0, due_bytes: 0 }, true),
            CHECKPOINT_FLUSHES_MAX
        );
        // A tiny one has bounds as well.
        for (left_bytes, due_bytes) in [(1, 1), (1, 2), (2, 3), (u64::MAX, 0), (u64::MAX, u64::MAX)]
        {
            let count = carries_max(Slack { left_bytes, due_bytes }, true);
            assert!((CHECKPOINT_FLUSHES_MIN..=CHECKPOINT_FLUSHES_MAX).contains(&count), "{count}");
        }
    }
}
