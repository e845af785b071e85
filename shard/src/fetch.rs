//! A fetch at the owner of its partitions: what is there now, or a wait for what comes.
//!
//! The newest bytes leave as references to the tail. What comes from the disk is checked first; of a
//! sealed segment, what was checked before leaves as a file and a range.

use std::rc::Rc;
use std::time::Duration;

use engine::id::{FilePos, LeaderEpoch, Offset, PartitionId};
use engine::scrub::{Mark, Scrub, Stretch};

use crate::files::Use;
use crate::io::{Class, Io, Nanos};
use crate::limits::{BLOCK_BYTES, READ_BYTES_MAX, READ_MEMORY_WAIT, READ_SLICE_BYTES};
use crate::message::{
    FetchItem, FetchOrder, FetchTimes, Fetched, FetchedLog, FileRange, Part, ReadError, Reader,
    Reply,
};
use crate::partition::{Condition, LEADER_EPOCH, Partition, Watch};
use crate::reader::{self, Found, Look};
use crate::room::Shortage;
use crate::route::ReplyTo;
use crate::shard::Shard;
use crate::signal::{self, Promise};
use crate::timer::Deadline;

/// The client's idea of the leader's epoch; negative ones are not checked.
pub fn check_epoch(epoch: LeaderEpoch) -> Result<(), ReadError> {
    match epoch.get() {
        ..0 => Ok(()),
        known if known > LEADER_EPOCH.get() => Err(ReadError::UnknownEpoch),
        known if known < LEADER_EPOCH.get() => Err(ReadError::FencedEpoch),
        _ => Ok(()),
    }
}

impl<I: Io> Shard<I> {
    pub fn on_fetch(self: &Rc<Self>, order: FetchOrder, reply_to: ReplyTo<I>) {
        let taken_at = self.io.now();
        if let Some(logs) = self.fetch_from_memory(&order)
            && (order.wait.is_zero() || is_enough(&order, &logs))
        {
            let found_at = self.io.now();
            let times = FetchTimes { taken_at, looked_at: taken_at, found_at };
            self.route.reply(reply_to, Reply::Fetched { logs, times });
            return;
        }
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            let (logs, times) = shard.fetch(&order, taken_at).await;
            shard.route.reply(reply_to, Reply::Fetched { logs, times });
        });
    }

    /// Answers when one of the partitions can be read past its offset, or when the time is over.
    pub fn on_watch(
        self: &Rc<Self>,
        reader: Reader,
        partitions: &[(PartitionId, Offset)],
        wait: Duration,
        reply_to: ReplyTo<I>,
    ) {
        let (promise, news) = signal::promise();
        if let Some(earlier) = self.readers.borrow_mut().insert(reader, promise.clone()) {
            earlier.offer(()); // It was answered by another owner meanwhile.
        }
        let deadline = self.begin_watch(partitions, wait, &promise);
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            news.wait().await;
            shard.timers.forget(&deadline);
            shard.end_watch(reader);
            shard.route.reply(reply_to, Reply::Done);
        });
    }

    /// The answer comes with news past one of the offsets, or after `wait`.
    pub fn watch(
        &self,
        partitions: &[(PartitionId, Offset)],
        wait: Duration,
    ) -> (signal::Answer<()>, Deadline) {
        let (promise, answer) = signal::promise();
        let deadline = self.begin_watch(partitions, wait, &promise);
        (answer, deadline)
    }

    /// The reader's wait is over, unless it has begun another one.
    fn end_watch(&self, reader: Reader) {
        let mut readers = self.readers.borrow_mut();
        if readers.get(&reader).is_some_and(|latest| !latest.is_wanted()) {
            readers.remove(&reader);
        }
    }

    fn begin_watch(
        &self,
        partitions: &[(PartitionId, Offset)],
        wait: Duration,
        promise: &Promise<()>,
    ) -> Deadline {
        let deadline = self.timers.add(self.io.now().plus(wait), promise.clone());
        for (id, from) in partitions {
            match self.partition(*id) {
                Some(it) => it.watch(Watch { from: *from, promise: promise.clone() }),
                None => {
                    promise.offer(());
                }
            }
        }
        deadline
    }

    async fn fetch(&self, order: &FetchOrder, taken_at: Nanos) -> (Vec<Fetched<I>>, FetchTimes) {
        let deadline = taken_at.plus(order.wait);
        let mut looked_at = taken_at;
        loop {
            // What comes while the disk is read is news already.
            let seen = self.readable_ends(order);
            let fetched = self.fetch_now(order).await;
            let now = self.io.now();
            if now >= deadline || is_enough(order, &fetched) || self.is_stopping() {
                return (fetched, FetchTimes { taken_at, looked_at, found_at: now });
            }
            drop(fetched); // Who waits holds nothing.
            let (news, alarm) = self.watch(&seen, deadline.since(now));
            news.wait().await;
            self.timers.forget(&alarm);
            looked_at = self.io.now();
        }
    }

    fn readable_ends(&self, order: &FetchOrder) -> Vec<(PartitionId, Offset)> {
        let end = |item: &FetchItem| {
            let partition = self.partition(item.partition)?;
            Some((item.partition, partition.readable_end().offset))
        };
        order.items.iter().filter_map(end).collect()
    }

    /// `None` if something must be read from disk.
    fn fetch_from_memory(&self, order: &FetchOrder) -> Option<Vec<Fetched<I>>> {
        let mut left = Left::of(order);
        let mut fetched = Vec::with_capacity(order.items.len());
        for item in &order.items {
            let result = match self.begin_fetch(item) {
                Err(error) => Err(error),
                Ok((partition, mut log)) => {
                    match reader::look(&partition, Offset::new(item.offset)) {
                        Look::OnDisk(_) => return None,
                        Look::Nothing => {}
                        Look::Found(found) => {
                            let left = left.of_item(item);
                            let bytes = share(&found, left);
                            let end = found.pos.plus(bytes);
                            let parts = partition.tail_bytes(found.segment.base, found.pos, end)?;
                            log.first_bytes = u64_of(found.extent.len_bytes);
                            log.parts = parts.into_iter().map(Part::Memory).collect();
                            log.is_cut = is_cut(&partition, &found, bytes, left);
                        }
                    }
                    Ok(log)
                }
            };
            left.count(&result);
            fetched.push(Fetched { slot: item.slot, result });
        }
        Some(fetched)
    }

    async fn fetch_now(&self, order: &FetchOrder) -> Vec<Fetched<I>> {
        let mut left = Left::of(order);
        let mut fetched = Vec::with_capacity(order.items.len());
        for item in &order.items {
            let result = self.fetch_one(item, left.of_item(item)).await;
            left.count(&result);
            fetched.push(Fetched { slot: item.slot, result });
        }
        fetched
    }

    async fn fetch_one(&self, item: &FetchItem, left: Left) -> Result<FetchedLog<I>, ReadError> {
        loop {
            match self.try_fetch(item, left).await {
                Err(ReadError::Moved) => {} // A look at where it is now.
                other => return other,
            }
        }
    }

    async fn try_fetch(&self, item: &FetchItem, left: Left) -> Result<FetchedLog<I>, ReadError> {
        let (partition, mut log) = self.begin_fetch(item)?;
        let Some(found) = self.find(&partition, Offset::new(item.offset)).await? else {
            return Ok(log);
        };
        // The search may have waited for the disk, and found what came meanwhile.
        log.high_watermark = partition.readable_end().offset.max(log.high_watermark);
        let bytes = share(&found, left);
        log.first_bytes = u64_of(found.extent.len_bytes);
        if bytes > 0 {
            log.parts = self.parts(&partition, &found, bytes, left).await?;
        }
        log.is_cut = is_cut(&partition, &found, log.bytes(), left);
        Ok(log)
    }

    async fn parts(
        &self,
        partition: &Rc<Partition<I>>,
        found: &Found,
        bytes: u64,
        left: Left,
    ) -> Result<Vec<Part<I>>, ReadError> {
        let end = found.pos.plus(bytes);
        if found.segment.revision == 0
            && let Some(parts) = partition.tail_bytes(found.segment.base, found.pos, end)
        {
            return Ok(parts.into_iter().map(Part::Memory).collect());
        }
        if let Some(range) = self.sound_range(partition, found, end).await? {
            return Ok(vec![Part::File(range)]);
        }
        self.checked_parts(partition, found, end, left).await
    }

    /// What was found sound of a sealed segment, if that is a batch at least.
    async fn sound_range(
        &self,
        partition: &Rc<Partition<I>>,
        found: &Found,
        end: FilePos,
    ) -> Result<Option<FileRange<I>>, ReadError> {
        let (id, segment) = (partition.id(), found.segment);
        if !found.is_sealed {
            return Ok(None);
        }
        let sound = self.checked.borrow_mut().sound_from(id, segment, found.pos);
        let Some((sound_end, loads)) = sound else { return Ok(None) };
        let end = end.min(sound_end);
        if end < found.pos.plus(u64_of(found.extent.len_bytes)) {
            return Ok(None);
        }
        let file = self.files.get(id, segment, Use::Sealed).await;
        let file = file.map_err(|error| match Shortage::of(&error) {
            Some(_) => ReadError::Short,
            None => reader::gone(partition, segment),
        })?;
        let start = Mark { pos: found.pos, offset: found.extent.base };
        let (partition, bytes) = (id, end.since(found.pos));
        Ok(Some(FileRange { file, partition, segment, start, end: found.end, bytes, loads }))
    }

    /// Reads from the disk, and gives what is sound: whole batches, about `READ_BYTES_MAX` of them.
    /// Nothing if there is no memory for the first.
    async fn checked_parts(
        &self,
        partition: &Rc<Partition<I>>,
        found: &Found,
        end: FilePos,
        left: Left,
    ) -> Result<Vec<Part<I>>, ReadError> {
        let first_end = found.pos.plus(u64_of(found.extent.len_bytes));
        let end = end.min(first_end.max(found.pos.plus(u64_of(READ_BYTES_MAX))));
        let mut scrub = Scrub::new(Stretch {
            start: Mark { pos: found.pos, offset: found.extent.base },
            end: found.end,
            marks: Vec::new(),
            epochs: partition.with_log(|log| log.epochs().clone()),
        });
        let source = self.source(partition, found.segment, found.is_sealed, found.pos);
        let mut parts = Vec::new();
        let mut pos = found.pos;
        while pos < end {
            let until = end.min(slice_end(pos));
            let wanted = usize::try_from(until.since(block_start(pos))).expect("a slice");
            let block = if pos < first_end {
                self.block_within(wanted, left.memory_wait()).await
            } else {
                self.io.block(wanted) // More than one batch is taken from nobody.
            };
            let Some(block) = block else {
                if pos < first_end {
                    return Ok(Vec::new());
                }
                break;
            };
            let reading = self.begin_cold_read().await;
            let place = (found.segment, pos, until);
            let part = self.read_into(partition, place, source, Some(block)).await?;
            drop(reading);
            self.io.yield_long().await;
            pos = pos.plus(u64_of(part.len()));
            scrub.feed(&part);
            parts.push(part);
            if !scrub.damages().is_empty() {
                break;
            }
        }
        let sound_end = scrub.sound_end().pos;
        if let Some(damage) = scrub.damages().first() {
            self.on_damage(partition.id(), found.segment, damage);
            if sound_end == found.pos {
                return Err(ReadError::Damaged);
            }
        }
        if let Some((pos, extent)) = scrub.begun() {
            self.ahead.borrow_mut().remember(partition.id(), Found { pos, extent, ..*found });
        }
        if found.is_sealed {
            let mut checked = self.checked.borrow_mut();
            checked.on_sound(partition.id(), found.segment, (found.pos, sound_end), source);
        }
        let mut left = sound_end.since(found.pos);
        for part in &mut parts {
            let bytes = u64_of(part.len()).min(left);
            part.truncate(usize::try_from(bytes).expect("no more than it has"));
            left -= bytes;
        }
        parts.retain(|part| !part.is_empty());
        Ok(parts.into_iter().map(Part::Memory).collect())
    }

    /// Checks that the item can be fetched at all, and notes the log's ends.
    fn begin_fetch(
        &self,
        item: &FetchItem,
    ) -> Result<(Rc<Partition<I>>, FetchedLog<I>), ReadError> {
        let partition = self.partition(item.partition).ok_or(ReadError::UnknownPartition)?;
        if partition.condition() == Condition::Removed {
            return Err(ReadError::UnknownPartition);
        }
        check_epoch(item.leader_epoch)?;
        let (log_start, log_end) =
            partition.with_log(|log| (log.log_start(), log.log_end().offset));
        if item.offset < log_start.get() || item.offset > log_end.get() {
            return Err(ReadError::OutOfRange);
        }
        let high_watermark = partition.readable_end().offset;
        let log = FetchedLog {
            high_watermark,
            log_start,
            first_bytes: 0,
            is_cut: false,
            parts: Vec::new(),
        };
        Ok((partition, log))
    }
}

/// What an answer may still get.
#[derive(Clone, Copy)]
struct Left {
    bytes: u64,
    /// Its first batch, whatever `bytes` says; 0 once there is one.
    first_bytes_max: u64,
}

impl Left {
    fn of(order: &FetchOrder) -> Self {
        Self { bytes: order.bytes_max, first_bytes_max: order.first_bytes_max }
    }

    fn of_item(self, item: &FetchItem) -> Self {
        Self { bytes: item.bytes_max.min(self.bytes), ..self }
    }

    /// How long a read for the first batch may wait for memory. Who has a part of a batch and waits for the
    /// rest keeps others from theirs: without a place in the line it goes there, and holds nothing until then.
    fn memory_wait(self) -> Duration {
        if self.first_bytes_max == u64::MAX { READ_MEMORY_WAIT } else { Duration::ZERO }
    }

    fn count<I: Io>(&mut self, result: &Result<FetchedLog<I>, ReadError>) {
        let bytes = result.as_ref().map_or(0, FetchedLog::bytes);
        if bytes > 0 {
            *self = Self { bytes: self.bytes.saturating_sub(bytes), first_bytes_max: 0 };
        }
    }
}

/// The end of what is read at once from `pos` on: whole blocks hold no more than a slice.
fn slice_end(pos: FilePos) -> FilePos {
    block_start(pos).plus(u64_of(READ_SLICE_BYTES))
}

fn block_start(pos: FilePos) -> FilePos {
    FilePos::new(pos.get() - pos.get() % u64_of(BLOCK_BYTES))
}

/// Bytes that a fetch gets from `found` on: what is left, but the first batch of an answer whole.
/// A batch after it may be cut; a batch that is cut alone is not sent.
fn share(found: &Found, left: Left) -> u64 {
    let there = found.end.since(found.pos);
    let first = u64_of(found.extent.len_bytes);
    if left.bytes >= first {
        there.min(left.bytes)
    } else if left.first_bytes_max >= first {
        first.min(there)
    } else {
        0
    }
}

/// Whether there is more that the client would take: an answer with less than it wants is due now.
/// So it is if there is no room for its first batch.
fn is_cut<I: Io>(partition: &Partition<I>, found: &Found, bytes: u64, left: Left) -> bool {
    let end = partition.readable_end();
    let is_at_end = found.segment.base == end.segment && end.pos <= found.pos.plus(bytes);
    let is_refused = bytes == 0 && left.first_bytes_max > 0;
    is_refused || (0 < bytes && bytes < left.bytes && !is_at_end)
}

fn is_enough<I: Io>(order: &FetchOrder, fetched: &[Fetched<I>]) -> bool {
    let bytes: u64 =
        fetched.iter().filter_map(|it| it.result.as_ref().ok()).map(FetchedLog::bytes).sum();
    let is_due = |it: &Fetched<I>| it.result.as_ref().map_or(true, |log| log.is_cut);
    bytes >= order.bytes_min || fetched.iter().any(is_due)
}

fn u64_of(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}
