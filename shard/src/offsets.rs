//! Questions about a log's offsets at its owner: by time, by epoch, its ends; and deletion of records.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use engine::bug::Bug;
use engine::extent::Extent;
use engine::id::{LeaderEpoch, Offset, PartitionId, Timestamp};
use engine::records::lookup::{Lookup, Progress, Wanted};
use engine::segment::SegmentName;

use crate::commit::Note;
use crate::fetch::check_epoch;
use crate::files::{partition_dir, segment_path, sidecar_path};
use crate::io::{Class, Io};
use crate::lane::Sliced;
use crate::limits::{ADMISSION_SLICE_BYTES, DECOMPRESSED_BYTES_MAX};
use crate::message::{
    DeleteItem, EpochQuery, FoundEpoch, FoundOffset, OffsetQuery, OffsetSpec, ProducersQuery,
    ReadError, Reply,
};
use crate::partition::{Condition, LEADER_EPOCH, Partition};
use crate::reader::Found;
use crate::route::ReplyTo;
use crate::shard::Shard;
use crate::signal;

/// Longest wait for a batch that is on its way to the disk.
const NEWEST_WAIT_MAX: Duration = Duration::from_secs(5);

const NONE: FoundOffset =
    FoundOffset { timestamp: Timestamp::NONE, offset: None, leader_epoch: LeaderEpoch::NONE };

impl<I: Io> Shard<I> {
    pub fn on_list_offsets(self: &Rc<Self>, queries: Vec<OffsetQuery>, reply_to: ReplyTo<I>) {
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            let mut found = Vec::with_capacity(queries.len());
            for query in queries {
                found.push((query.slot, shard.list_offset(&query).await));
            }
            shard.route.reply(reply_to, Reply::Offsets(found));
        });
    }

    async fn list_offset(&self, query: &OffsetQuery) -> Result<FoundOffset, ReadError> {
        loop {
            match self.try_list_offset(query).await {
                Err(ReadError::Moved) => {} // A look at where it is now.
                other => return other,
            }
        }
    }

    async fn try_list_offset(&self, query: &OffsetQuery) -> Result<FoundOffset, ReadError> {
        let partition = self.readable(query.partition)?;
        check_epoch(query.leader_epoch)?;
        match query.spec {
            OffsetSpec::Earliest => {
                let offset = partition.with_log(|log| log.log_start());
                Ok(at_end(&partition, offset))
            }
            OffsetSpec::Latest => Ok(at_end(&partition, partition.readable_end().offset)),
            OffsetSpec::Nowhere => Ok(NONE),
            OffsetSpec::MaxTimestamp => self.find_max_timestamp(&partition).await,
            OffsetSpec::At(timestamp) => {
                self.find_timestamp(&partition, timestamp, Offset::ZERO).await
            }
            OffsetSpec::From(offset) => {
                self.find_timestamp(&partition, Timestamp::new(i64::MIN), offset).await
            }
        }
    }

    async fn find_timestamp(
        &self,
        partition: &Rc<Partition<I>>,
        timestamp: Timestamp,
        offset_min: Offset,
    ) -> Result<FoundOffset, ReadError> {
        let mut from = offset_min;
        loop {
            let located = partition.with_log(|log| log.locate_time(timestamp, from));
            let Some(mut located) = located else { return Ok(NONE) };
            let first = partition.with_log(|log| log.log_start()).max(offset_min);
            let is_wanted =
                |extent: &Extent| extent.max_timestamp >= timestamp && extent.end > first;
            while let Some(batch) = self.find_from(partition, located, is_wanted).await? {
                let wanted = Wanted::AtLeast(timestamp);
                if let Some(found) = self.look_up(partition, &batch, wanted, first).await? {
                    return Ok(found);
                }
                let bytes = u64::try_from(batch.extent.len_bytes).expect("usize fits");
                located.scan_from = batch.pos.plus(bytes);
                located.base = batch.extent.end;
            }
            let end = partition.with_log(|log| log.segment_end(located.segment));
            match end {
                Some(end) if end.offset > from => from = end.offset,
                Some(_) => return Ok(NONE),
                None => return Err(ReadError::Moved),
            }
        }
    }

    async fn find_max_timestamp(
        &self,
        partition: &Rc<Partition<I>>,
    ) -> Result<FoundOffset, ReadError> {
        let Some((largest, located)) = partition.with_log(|log| log.max_timestamp()) else {
            return Ok(NONE);
        };
        self.wait_until_readable(partition, largest.batch).await;
        let is_wanted = |extent: &Extent| extent.end > largest.batch;
        let Some(batch) = self.find_from(partition, located, is_wanted).await? else {
            return Ok(NONE);
        };
        let found = self.look_up(partition, &batch, Wanted::Latest, Offset::ZERO).await?;
        Ok(found.unwrap_or(NONE))
    }

    /// The newest batch may be on its way to the disk. It comes, or the partition is closed.
    async fn wait_until_readable(&self, partition: &Partition<I>, offset: Offset) {
        if partition.readable_end().offset <= offset {
            let (news, alarm) = self.watch(&[(partition.id(), offset)], NEWEST_WAIT_MAX);
            news.wait().await;
            self.timers.forget(&alarm);
        }
    }

    /// Opens a stored batch, in slices between which other tasks run.
    async fn look_up(
        &self,
        partition: &Rc<Partition<I>>,
        batch: &Found,
        wanted: Wanted,
        offset_min: Offset,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let bytes = self.read_batch(partition, batch).await?;
        let lookup = Lookup::begin(&bytes, wanted, offset_min, DECOMPRESSED_BYTES_MAX);
        let mut lookup = lookup.map_err(|_damaged| ReadError::Damaged)?;
        let mut sliced = Sliced::new(&self.io, &self.lane);
        loop {
            let step = sliced.next(|| lookup.step(ADMISSION_SLICE_BYTES)).await;
            match step.map_err(|_damaged| ReadError::Damaged)? {
                Progress::More => {}
                Progress::Done(found) => {
                    return Ok(found.map(|it| FoundOffset {
                        timestamp: it.timestamp,
                        offset: Some(it.offset),
                        leader_epoch: LEADER_EPOCH,
                    }));
                }
            }
        }
    }

    pub fn on_epoch_ends(&self, queries: Vec<EpochQuery>, reply_to: ReplyTo<I>) {
        let ends = queries.into_iter().map(|query| (query.slot, self.epoch_end(&query))).collect();
        self.route.reply(reply_to, Reply::EpochEnds(ends));
    }

    fn epoch_end(&self, query: &EpochQuery) -> Result<FoundEpoch, ReadError> {
        let partition = self.readable(query.partition)?;
        check_epoch(query.current_epoch)?;
        let end = partition.with_log(|log| log.epoch_end(query.epoch));
        Ok(end.map_or((LeaderEpoch::NONE, None), |end| (end.epoch, Some(end.end))))
    }

    pub fn on_producers(&self, queries: Vec<ProducersQuery>, reply_to: ReplyTo<I>) {
        let producers = |query: ProducersQuery| {
            let partition = self.readable(query.partition);
            let active = partition.map(|it| it.with_log(|log| log.producers().active().collect()));
            (query.slot, active)
        };
        self.route.reply(reply_to, Reply::Producers(queries.into_iter().map(producers).collect()));
    }

    pub fn on_delete_records(self: &Rc<Self>, items: Vec<DeleteItem>, reply_to: ReplyTo<I>) {
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            let mut deleted = Vec::with_capacity(items.len());
            for item in items {
                deleted.push((item.slot, shard.delete_records(&item).await));
            }
            shard.route.reply(reply_to, Reply::Deleted(deleted));
        });
    }

    /// The answer is the log's start, durable.
    async fn delete_records(&self, item: &DeleteItem) -> Result<Offset, ReadError> {
        let partition = self.readable(item.partition)?;
        if partition.condition() == Condition::Fenced {
            return Err(ReadError::Fenced);
        }
        if self.is_stopping() {
            return Err(ReadError::Stopping); // The last checkpoint may have been made without it.
        }
        let high_watermark = partition.readable_end().offset;
        let to = match item.to {
            -1 => high_watermark,
            raw => Offset::checked(raw).ok_or(ReadError::OutOfRange)?,
        };
        if to > high_watermark {
            return Err(ReadError::OutOfRange);
        }
        self.wait_until_durable(&partition, to).await;
        self.raise_log_start(&partition, to).await
    }

    /// Everything before `to`, which must be durable, is deleted: the log's start is durable before
    /// anybody sees it, or a file goes. Answers where the log starts then.
    pub async fn raise_log_start(
        &self,
        partition: &Rc<Partition<I>>,
        to: Offset,
    ) -> Result<Offset, ReadError> {
        let deletion = partition.change_log(|log| log.begin_delete(to));
        let Some(deletion) = deletion.map_err(|_beyond| ReadError::OutOfRange)? else {
            return Ok(partition.with_log(|log| log.log_start()));
        };
        let log_start = deletion.log_start();
        let noted = self.commit.note(Note::LogStart { partition: partition.id(), log_start });
        if !Bug::DeleteRecordsEarly.is_on() && !noted.wait().await {
            return Err(ReadError::Fenced);
        }
        partition.change_log(|log| log.on_deleted(deletion));
        self.drop_segments(partition).await;
        Ok(log_start)
    }

    /// With `write.caching` clients see more than is durable.
    async fn wait_until_durable(&self, partition: &Partition<I>, offset: Offset) {
        loop {
            let (committed, written) = (self.commit.next_committed(), partition.next_written());
            let is_durable = partition.with_log(|log| log.durable_end().offset) >= offset;
            if is_durable || partition.condition() != Condition::Open {
                return;
            }
            signal::either(committed, written).await;
        }
    }

    /// Removes the files of segments that lie wholly before the log's start, and of those that compacted
    /// ones have replaced.
    pub async fn drop_segments(&self, partition: &Rc<Partition<I>>) {
        let id = partition.id();
        let (expired, replaced) = partition.with_log(|log| {
            let name = |base| log.segment_name(base).expect("it is one of the log's");
            let expired: Vec<SegmentName> = log.expired_segments().map(name).collect();
            (expired, log.droppable_files().collect::<Vec<_>>())
        });
        if expired.is_empty() && replaced.is_empty() {
            return;
        }
        for segment in expired.iter().chain(&replaced) {
            self.unlink_segment(id, *segment).await;
        }
        // A name that a power cut brings back would be nobody's.
        if let Err(error) = self.io.sync_dir(&partition_dir(id)).await {
            tracing::warn!(partition = ?id, %error, "deleted files may come back with a power cut");
        }
        partition.change_log(|log| {
            log.on_dropped(&replaced);
            for segment in expired {
                // Another deletion may have been faster.
                if log.expired_segments().next() == Some(segment.base) {
                    log.on_unlinked(segment.base);
                }
            }
        });
    }

    /// Removes the files of a segment that nobody finds any more.
    pub async fn unlink_segment(&self, partition: PartitionId, segment: SegmentName) {
        self.files.forget(partition, segment);
        self.checked.borrow_mut().forget(partition, segment);
        for path in [sidecar_path(partition, segment), segment_path(partition, segment)] {
            match self.io.unlink(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%path, %error, "the file of a segment that is gone stays");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

fn at_end<I: Io>(partition: &Partition<I>, offset: Offset) -> FoundOffset {
    let leader_epoch = partition.with_log(|log| log.leader_epoch());
    FoundOffset { timestamp: Timestamp::NONE, offset: Some(offset), leader_epoch }
}
