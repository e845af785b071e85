//! A produce message at the owner of its partitions: each batch is ordered at once, the answer leaves
//! when the last of them is durable or refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use engine::bug::Bug;
use engine::id::FilePos;

use crate::files::Use;
use crate::io::{Class, Io, Nanos};
use crate::limits::{BLOCK_BYTES, CHUNK_BYTES_MAX, MEMORY_LOOK};
use crate::message::{ProduceError, ProduceItem, ProduceTimes, Produced, Reply};
use crate::metrics::Metric;
use crate::partition::{Partition, Produce};
use crate::room::Shortage;
use crate::route::{ReplyTo, Route};
use crate::shard::Shard;
use crate::signal;
use crate::writer;

/// Batches for which there is no memory, in order.
pub type Stalled<I> = VecDeque<(ProduceItem, Rc<Tally<I>>)>;

/// Where the memory for a batch comes from, the best first.
#[derive(Clone, Copy)]
enum Supply {
    Warm,
    /// Warm, after something on disk was given up for it.
    Trimmed,
    Any,
}

struct Count<I: Io> {
    missing: usize,
    items: Vec<Produced>,
    times: ProduceTimes,
    reply_to: Option<ReplyTo<I>>,
}

/// Collects the results of one produce message, and answers it once.
pub struct Tally<I: Io> {
    route: Rc<Route<I>>,
    count: RefCell<Count<I>>,
}

impl<I: Io> Tally<I> {
    fn new(route: Rc<Route<I>>, missing: usize, reply_to: ReplyTo<I>, now: Nanos) -> Rc<Self> {
        let items = Vec::with_capacity(missing);
        let times = ProduceTimes { taken_at: now, appended_at: now, committed_at: now };
        let count = Count { missing, items, times, reply_to: Some(reply_to) };
        Rc::new(Self { route, count: RefCell::new(count) })
    }

    pub fn on_appended(&self, at: Nanos) {
        self.count.borrow_mut().times.appended_at = at;
    }

    /// One of the batches has its result.
    pub fn settle(&self, produced: Produced, at: Nanos) {
        let mut count = self.count.borrow_mut();
        assert!(count.missing > 0, "each batch is settled once");
        count.missing -= 1;
        count.items.push(produced);
        if count.missing == 0 {
            let items = std::mem::take(&mut count.items);
            let reply_to = count.reply_to.take().expect("answered once");
            let times = ProduceTimes { committed_at: at, ..count.times };
            drop(count);
            self.route.reply(reply_to, Reply::Produced { items, times });
        }
    }
}

impl<I: Io> Shard<I> {
    pub fn on_produce(self: &Rc<Self>, items: Vec<ProduceItem>, reply_to: ReplyTo<I>) {
        let now = self.io.now();
        let tally = Tally::new(Rc::clone(&self.route), items.len(), reply_to, now);
        let items: VecDeque<_> = items.into_iter().map(|item| (item, Rc::clone(&tally))).collect();
        if self.stalled.borrow().is_empty() {
            let left = self.produce_all(items);
            self.stall(left);
        } else {
            self.stalled.borrow_mut().extend(items);
        }
    }

    /// Orders batches as far as there is memory. Gives back the rest.
    fn produce_all(self: &Rc<Self>, mut items: Stalled<I>) -> Stalled<I> {
        while let Some((item, tally)) = items.pop_front() {
            if let Some(item) = self.try_produce(item, &tally) {
                items.push_front((item, tally));
                break;
            }
        }
        items
    }

    /// `items` wait for memory, before all that wait already.
    fn stall(self: &Rc<Self>, mut items: Stalled<I>) {
        if items.is_empty() {
            return;
        }
        self.recorder.borrow_mut().add(Metric::MemoryWaits, 1);
        let mut later = self.stalled.take();
        let is_first = later.is_empty();
        items.append(&mut later);
        *self.stalled.borrow_mut() = items;
        if is_first {
            let shard = Rc::clone(self);
            self.io.spawn(Class::Foreground, async move { shard.resume_until_done().await });
        }
    }

    async fn resume_until_done(self: Rc<Self>) {
        while !self.stalled.borrow().is_empty() && !self.has_ended() {
            self.make_room();
            self.next_freed().await;
            self.resume();
        }
    }

    /// Gives back the batch if there is no memory for it.
    fn try_produce(
        self: &Rc<Self>,
        mut item: ProduceItem,
        tally: &Rc<Tally<I>>,
    ) -> Option<ProduceItem> {
        let at = self.io.now();
        let refuse = |slot, error| {
            tally.settle(Produced { slot, log_start: None, result: Err(error) }, at);
        };
        if self.is_stopping() {
            refuse(item.slot, ProduceError::Stopping);
            return None;
        }
        let Some(partition) = self.partition(item.partition) else {
            refuse(item.slot, ProduceError::UnknownPartition);
            return None;
        };
        if self.room.refuses(partition.id()) && partition.is_fresh(&item) {
            self.recorder.borrow_mut().add(Metric::DiskRefusals, 1);
            refuse(item.slot, ProduceError::Full);
            return None;
        }
        let bytes = item.admitted.batch.len();
        let records = u64::from(item.admitted.summary.record_count);
        let mut supply = Supply::Warm;
        loop {
            let block = |bytes| match supply {
                Supply::Warm | Supply::Trimmed => self.io.warm_block(bytes),
                Supply::Any => self.io.block(bytes),
            };
            match partition.produce(item, tally, self.io.wall(), at, block) {
                Produce::Settled { wants_commit } => {
                    if wants_commit {
                        self.commit.enqueue(&partition);
                        let mut recorder = self.recorder.borrow_mut();
                        recorder.add(Metric::Batches, 1);
                        recorder.add(Metric::Records, records);
                    }
                    return None;
                }
                Produce::Cold(item) => {
                    if partition.wait_for_tail(item, tally) {
                        let warm = Rc::clone(self).warm(partition);
                        self.io.spawn(Class::Foreground, warm);
                    }
                    return None;
                }
                Produce::NoMemory(refused) => {
                    item = refused;
                    match supply {
                        Supply::Warm => {
                            self.trim_old(CHUNK_BYTES_MAX);
                            supply = Supply::Trimmed;
                        }
                        Supply::Trimmed => supply = Supply::Any,
                        Supply::Any if self.trim(bytes) >= bytes => {}
                        Supply::Any => return Some(item),
                    }
                }
            }
        }
    }

    /// Reads back the block in which a partition's log ends, then orders what waited for it.
    async fn warm(self: Rc<Self>, partition: Rc<Partition<I>>) {
        let (segment, start, end) = partition.cold_block();
        let block = match self.read_block(&partition, segment, start, end).await {
            Ok(block) => Some(block),
            Err(error) => {
                if let Some(shortage) = Shortage::of(&error) {
                    self.on_shortage(shortage);
                    self.refuse_all(partition.on_tail_unread());
                    return;
                }
                let partition = partition.id();
                tracing::error!(?partition, %error, "the end of the log cannot be read: fenced");
                None
            }
        };
        // They came before all that wait for memory now.
        let left = self.produce_all(partition.on_tail_read(block));
        self.stall(left);
    }

    async fn read_block(
        &self,
        partition: &Partition<I>,
        segment: engine::id::Offset,
        start: FilePos,
        end: FilePos,
    ) -> io::Result<crate::buffer::Block> {
        let file = self.files.get_to_read(partition.id(), segment, Use::Direct).await?;
        let block = self.wait_for_block(BLOCK_BYTES).await;
        let (read, whole) = self.io.read(&file, start.get(), block).await;
        let wanted = usize::try_from(end.since(start)).expect("less than a block");
        if read? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut block = self.wait_for_block(BLOCK_BYTES).await;
        let there = if Bug::TailNotReadBack.is_on() { &[0; BLOCK_BYTES] } else { whole.as_slice() };
        block.append(&there[..wanted]);
        Ok(block)
    }

    /// Nothing was done for them.
    fn refuse_all(&self, items: Stalled<I>) {
        let at = self.io.now();
        for (item, tally) in items {
            let result = Err(ProduceError::Full);
            tally.settle(Produced { slot: item.slot, log_start: None, result }, at);
        }
    }

    /// Starts to carry journaled bytes to their segments, so that memory can be given back.
    fn make_room(self: &Rc<Self>) {
        for partition in self.partitions() {
            if partition.with_log(|log| log.unflushed_bytes()) > 0 {
                writer::start(self, &partition);
            }
        }
    }

    /// Memory was freed: orders what waited for it, as far as it goes.
    pub fn on_freed(self: &Rc<Self>) {
        self.freed.ring();
        self.resume();
    }

    fn resume(self: &Rc<Self>) {
        let items = self.stalled.take();
        let left = self.produce_all(items);
        *self.stalled.borrow_mut() = left;
    }

    /// Until there may be more memory. Blocks that an answer held come back silently, when its last
    /// byte is sent: so a look now and then is part of it.
    pub async fn next_freed(&self) {
        let again = self.timers.at(self.io.now().plus(MEMORY_LOOK));
        signal::either(self.freed.next(), again).await;
    }
}
