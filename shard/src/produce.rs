//! A produce message at the owner of its partitions: each batch is ordered at once, the answer leaves
//! when the last of them is durable or refused.

use std::cell::RefCell;
use std::rc::Rc;

use engine::id::FilePos;

use crate::files::Use;
use crate::io::{Class, Io, Nanos};
use crate::limits::BLOCK_BYTES;
use crate::message::{ProduceError, ProduceItem, ProduceTimes, Produced, Reply};
use crate::metrics::Metric;
use crate::partition::{Partition, Produce};
use crate::route::{ReplyTo, Route};
use crate::shard::Shard;
use crate::writer;

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
        for item in items {
            if self.stalled.borrow().is_empty() {
                self.produce_one(item, &tally);
            } else {
                self.stalled.borrow_mut().push_back((item, Rc::clone(&tally)));
            }
        }
    }

    fn produce_one(self: &Rc<Self>, item: ProduceItem, tally: &Rc<Tally<I>>) {
        if let Some((item, tally)) = self.try_produce(item, tally) {
            self.recorder.borrow_mut().add(Metric::MemoryWaits, 1);
            self.stalled.borrow_mut().push_back((item, tally));
            self.make_room();
        }
    }

    /// Gives back the batch if there is no memory for it.
    fn try_produce(
        self: &Rc<Self>,
        item: ProduceItem,
        tally: &Rc<Tally<I>>,
    ) -> Option<(ProduceItem, Rc<Tally<I>>)> {
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
        let bytes = item.admitted.batch.len();
        let records = u64::from(item.admitted.summary.record_count);
        match partition.produce(item, tally, self.io.wall(), at, |bytes| self.io.block(bytes)) {
            Produce::Settled { wants_commit } => {
                if wants_commit {
                    self.commit.enqueue(&partition);
                    let mut recorder = self.recorder.borrow_mut();
                    recorder.add(Metric::Batches, 1);
                    recorder.add(Metric::Records, records);
                }
                None
            }
            Produce::Cold(item) => {
                if partition.wait_for_tail(item, tally) {
                    let shard = Rc::clone(self);
                    self.io.spawn(Class::Foreground, async move {
                        shard.warm(partition).await;
                    });
                }
                None
            }
            Produce::NoMemory(item) => {
                if self.trim(bytes) >= bytes {
                    return self.try_produce(item, tally);
                }
                Some((item, Rc::clone(tally)))
            }
        }
    }

    /// Reads back the block in which a partition's log ends, then orders what waited for it.
    async fn warm(self: Rc<Self>, partition: Rc<Partition<I>>) {
        let (segment, start, end) = partition.cold_block();
        let block = self.read_block(&partition, segment, start, end).await;
        if block.is_none() {
            tracing::error!(partition = ?partition.id(), "the end of the log cannot be read: fenced");
        }
        for (item, tally) in partition.on_tail_read(block) {
            self.produce_one(item, &tally);
        }
    }

    async fn read_block(
        &self,
        partition: &Partition<I>,
        segment: engine::id::Offset,
        start: FilePos,
        end: FilePos,
    ) -> Option<crate::buffer::Block> {
        let file = self.files.get(partition.id(), segment, Use::Direct).await.ok()?;
        let block = self.wait_for_block(BLOCK_BYTES).await;
        let (read, whole) = self.io.read(&file, start.get(), block).await;
        let wanted = usize::try_from(end.since(start)).ok()?;
        if read.ok()? < wanted {
            return None;
        }
        let mut block = self.wait_for_block(BLOCK_BYTES).await;
        block.append(&whole.as_slice()[..wanted]);
        Some(block)
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
        loop {
            let Some((item, tally)) = self.stalled.borrow_mut().pop_front() else { return };
            if let Some(stalled) = self.try_produce(item, &tally) {
                self.stalled.borrow_mut().push_front(stalled);
                return;
            }
        }
    }
}
