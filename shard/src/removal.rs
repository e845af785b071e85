//! Removal of the files of deleted topics, in the background.
//!
//! The deletion itself is durable in the cluster's metadata before this begins: files that a crash
//! leaves behind are removed at the next start.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use engine::id::{PartitionId, PartitionIndex};
use replication::image::{Image, Topic};

use crate::files::{partition_dir, topic_dir};
use crate::io::{Class, Io};
use crate::partition::Partition;
use crate::shard::Shard;

/// Topics of `after` that `before` does not have in this form.
pub fn changed<'a>(before: &'a Image, after: &'a Image) -> impl Iterator<Item = &'a Arc<Topic>> {
    let is_same = |topic: &Arc<Topic>| {
        before.topic_by_id(topic.id()).is_some_and(|known| Arc::ptr_eq(known, topic))
    };
    after.topics().filter(move |topic| !is_same(topic))
}

/// Partitions of topics that were in `before` and are not in `after`.
#[must_use]
pub fn gone(before: &Image, after: &Image) -> Vec<PartitionId> {
    let gone = before.topics().filter(|topic| after.topic_by_id(topic.id()).is_none());
    gone.flat_map(|topic| partition_ids(topic)).collect()
}

pub fn partition_ids(topic: &Topic) -> impl Iterator<Item = PartitionId> {
    let count = u32::try_from(topic.partitions().len()).expect("partition counts are limited");
    let topic = topic.id();
    (0..count).map(move |index| PartitionId { topic, index: PartitionIndex::new(index) })
}

/// Removes the files of a partition that nobody finds any more.
pub fn start<I: Io>(shard: &Rc<Shard<I>>, partition: Rc<Partition<I>>) {
    let shard = Rc::clone(shard);
    let io = shard.io.clone();
    io.spawn(Class::Background, async move {
        while partition.is_writing() {
            partition.next_written().wait().await;
        }
        shard.compacting.wait_for_end(partition.id()).await;
        partition.forget();
        shard.on_freed();
        let segments: Vec<_> =
            partition.with_log(|log| log.segments().iter().map(|it| it.name()).collect());
        for segment in segments {
            shard.files.forget(partition.id(), segment);
        }
        if let Err(error) = remove(&shard.io, partition.id()).await {
            tracing::warn!(partition = ?partition.id(), %error, "files of a deleted topic stay");
        }
    });
}

/// Removes a partition's directory, and its topic's if it was the last.
pub async fn remove<I: Io>(io: &I, partition: PartitionId) -> io::Result<()> {
    let dir = partition_dir(partition);
    let names = match io.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for name in names {
        io.unlink(&format!("{dir}/{name}")).await?;
    }
    io.remove_dir(&dir).await?;
    match io.remove_dir(&topic_dir(partition.topic)).await {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
