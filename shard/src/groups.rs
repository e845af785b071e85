//! The coordinators of groups on this shard: one for each partition of `__consumer_offsets` that lives
//! here. What they decide is `replication`'s; here it is made durable, and answered.
//!
//! An answer leaves when everything that its coordinator has written up to then is on the device, so
//! nobody is told what a crash could take back. A coordinator whose records cannot be stored is thrown
//! away with what waits for it, and read anew.

pub mod lag;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use engine::admission::Admitted;
use engine::bug::Bug;
use engine::id::{Offset, PartitionId, PartitionIndex};
use engine::records::Records;
use engine::records::builder::BatchBuilder;
use replication::group::answer::{Answer, Output};
use replication::group::coordinator::Coordinator;
use replication::group::record::GroupRecord;
use replication::group::request::Request;
use replication::group::{GroupLimits, Moment, Now, Ticket};
use replication::image::Image;
use replication::topics::OFFSETS_TOPIC_NAME;

use crate::groups::lag::Measure;
use crate::io::{Class, Io, Nanos};
use crate::limits::{
    DECOMPRESSED_BYTES_MAX, GROUP_BATCH_BYTES_MAX, GROUP_REPLAY_SHARES_MIN, GROUP_RETRY,
    GROUP_TELL_EVERY,
};
use crate::message::{Message, ProduceItem, ReadError, Reply};
use crate::metrics::Metric;
use crate::partition::{Condition, Partition};
use crate::removal;
use crate::route::ReplyTo;
use crate::shard::{Phase, Shard};
use crate::signal::{self, Bell};

/// Why a coordinator gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It does not live here, or the broker stops: ask where it lives.
    Elsewhere,
    /// Its records are being read.
    Loading,
    /// Its records cannot be read or written now.
    Unable,
}

/// One per shard.
pub struct Groups<I: Io> {
    seats: RefCell<BTreeMap<PartitionId, Seat<I>>>,
    /// Rings when a deadline may be earlier than before.
    changed: Bell,
    /// What all of them may take of memory. What is there goes on when it is used up.
    bytes_max: u64,
    /// When the log was told that it is.
    told_at: Cell<Option<Nanos>>,
    /// What those take whose records are being read.
    loading_bytes: Cell<u64>,
    lag: Measure,
}

/// What one coordinator takes while its records are read.
struct Loading<'a, I: Io> {
    groups: &'a Groups<I>,
    bytes: u64,
}

impl<I: Io> Loading<'_, I> {
    fn set(&mut self, bytes: u64) {
        let others = self.groups.loading_bytes.get() - self.bytes;
        self.groups.loading_bytes.set(others + bytes);
        self.bytes = bytes;
    }
}

impl<I: Io> Drop for Loading<'_, I> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// One partition's coordinator, and what waits for it.
struct Seat<I: Io> {
    sitter: Sitter,
    next_ticket: u64,
    waiting: BTreeMap<Ticket, ReplyTo<I>>,
    /// Batches given to the log, and those of them that are durable.
    given_count: u64,
    durable_count: u64,
    /// Answers, and how many batches must be durable before they leave.
    held: VecDeque<(u64, ReplyTo<I>, Answer)>,
    /// What the log has not answered, in order. Its task runs while there is any.
    writes: VecDeque<signal::Answer<Reply<I>>>,
    is_settling: bool,
}

enum Sitter {
    Present(Box<Coordinator>),
    Absent(Absence),
}

/// What one group has committed in one partition.
pub struct GroupOffset {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
    pub offset: i64,
}

impl<I: Io> Groups<I> {
    pub fn new(bytes_max: u64) -> Self {
        let (seats, changed, told_at) = (RefCell::default(), Bell::default(), Cell::default());
        let (loading_bytes, lag) = (Cell::new(0), Measure::default());
        Self { seats, changed, bytes_max, told_at, loading_bytes, lag }
    }

    /// What they take of memory, about; also those whose records are being read.
    pub fn bytes(&self) -> u64 {
        self.seats.borrow().values().map(Seat::bytes).sum::<u64>() + self.loading_bytes.get()
    }

    /// What they may take when records are read.
    ///
    /// A log has what coordinators of this broker wrote while all of them were within `bytes_max` of each
    /// shard, together within so much of all shards; and compaction leaves a part of that. At any record of
    /// it, what was read so far was so once, or is a part of what was. So whatever the number of cores was
    /// and is, all that was accepted is read again, and on few cores also with a quarter of the memory. What
    /// says more than that was not accepted by anybody: who says that it is Kafka's admin client may write
    /// any record, as many as there is disk for.
    fn replay_bytes_max(&self, shard_count: usize) -> u64 {
        let shares = u64::try_from(shard_count).expect("cores are few");
        self.bytes_max * shares.max(GROUP_REPLAY_SHARES_MIN)
    }

    /// Whether there is no memory for what a request would add.
    fn is_full_for(&self, partition: PartitionId, request: &Request) -> bool {
        let seats = self.seats.borrow();
        let Some(Sitter::Present(coordinator)) = seats.get(&partition).map(|it| &it.sitter) else {
            return false;
        };
        let growth = coordinator.growth(request);
        growth > 0 && self.bytes() + growth > self.bytes_max
    }
}

impl<I: Io> Seat<I> {
    fn new() -> Self {
        Self {
            sitter: Sitter::Absent(Absence::Loading),
            next_ticket: 0,
            waiting: BTreeMap::new(),
            given_count: 0,
            durable_count: 0,
            held: VecDeque::new(),
            writes: VecDeque::new(),
            is_settling: false,
        }
    }

    fn coordinator(&mut self) -> Result<&mut Coordinator, Absence> {
        match &mut self.sitter {
            Sitter::Present(coordinator) => Ok(coordinator),
            Sitter::Absent(absence) => Err(*absence),
        }
    }

    fn bytes(&self) -> u64 {
        match &self.sitter {
            Sitter::Present(coordinator) => coordinator.bytes(),
            Sitter::Absent(_) => 0,
        }
    }

    /// A number for a request that somebody waits for.
    fn draw_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Whoever waits is to be told that there is no coordinator.
    fn empty(&mut self, absence: Absence) -> Vec<ReplyTo<I>> {
        self.sitter = Sitter::Absent(absence);
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.chain(self.held.drain(..).map(|(_, reply_to, _)| reply_to)).collect()
    }
}

impl<I: Io> Shard<I> {
    pub fn on_group(
        self: &Rc<Self>,
        partition: PartitionId,
        request: Request,
        reply_to: ReplyTo<I>,
    ) {
        match self.begin_group(partition, request, reply_to) {
            Ok(output) => self.give(partition, output),
            Err((absence, reply_to)) => self.route.reply(reply_to, Reply::Group(Err(absence))),
        }
    }

    fn begin_group(
        &self,
        partition: PartitionId,
        request: Request,
        reply_to: ReplyTo<I>,
    ) -> Result<Output, (Absence, ReplyTo<I>)> {
        if self.phase.get() != Phase::Serving {
            return Err((Absence::Elsewhere, reply_to));
        }
        if self.groups.is_full_for(partition, &request) {
            self.on_group_refused();
            return Err((Absence::Unable, reply_to));
        }
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&partition) else {
            return Err((Absence::Elsewhere, reply_to));
        };
        if let Err(absence) = seat.coordinator() {
            return Err((absence, reply_to));
        }
        if self.room.refuses(partition) && writes(&request) {
            return Err((Absence::Unable, reply_to));
        }
        let ticket = seat.draw_ticket();
        seat.waiting.insert(ticket, reply_to);
        let mut output = Output::default();
        if let Ok(coordinator) = seat.coordinator() {
            coordinator.step(
                self.group_now(),
                &self.group_limits(),
                &self.image(),
                (ticket, request),
                &mut output,
            );
        }
        Ok(output)
    }

    fn on_group_refused(&self) {
        self.recorder.borrow_mut().add(Metric::GroupRefusals, 1);
        let now = self.io.now();
        let is_told = self.groups.told_at.get().is_some_and(|it| now.since(it) < GROUP_TELL_EVERY);
        if !is_told {
            self.groups.told_at.set(Some(now));
            let bytes_max = self.groups.bytes_max;
            tracing::warn!(bytes_max, "groups take all the memory that they may: nothing is added");
        }
    }

    /// Up to so many of the offsets that groups of this shard's coordinators have committed, and how many
    /// there are.
    #[must_use]
    pub fn committed(&self, count_max: usize) -> (Vec<GroupOffset>, usize) {
        let mut seats = self.groups.seats.borrow_mut();
        let (mut some, mut count) = (Vec::new(), 0);
        for coordinator in seats.values_mut().filter_map(|seat| seat.coordinator().ok()) {
            count += coordinator.offset_count();
            let left = count_max - some.len();
            some.extend(coordinator.offsets().take(left).map(|(group, topic, partition, it)| {
                let (group, topic) = (Arc::clone(group), Arc::clone(topic));
                GroupOffset { group, topic, partition, offset: it.offset }
            }));
        }
        (some, count)
    }

    fn group_now(&self) -> Now {
        Now { moment: Moment::new(self.io.now().get() / 1_000_000), wall: self.io.wall() }
    }

    fn group_limits(&self) -> GroupLimits {
        self.image.borrow().broker_config().groups
    }

    /// Stores what a step has decided, and answers when it is durable.
    fn give(self: &Rc<Self>, partition: PartitionId, output: Output) {
        let batches = self.pack_records(&output.records);
        let writes: Vec<_> = batches
            .into_iter()
            .map(|admitted| {
                let item = ProduceItem { slot: 0, partition, admitted };
                self.call(self.index, Message::Produce(vec![item]))
            })
            .collect();
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&partition) else { return };
        seat.given_count += u64::try_from(writes.len()).expect("usize fits");
        seat.writes.extend(writes);
        let mut ready = Vec::new();
        for (ticket, answer) in output.answers {
            // A ticket of the coordinator's own: nobody waits for it.
            let Some(reply_to) = seat.waiting.remove(&ticket) else { continue };
            if seat.given_count == seat.durable_count || Bug::GroupAnsweredEarly.is_on() {
                ready.push((reply_to, answer));
            } else {
                seat.held.push_back((seat.given_count, reply_to, answer));
            }
        }
        let settles = !seat.writes.is_empty() && !seat.is_settling;
        seat.is_settling |= settles;
        drop(seats);
        for (reply_to, answer) in ready {
            self.route.reply(reply_to, Reply::Group(Ok(answer)));
        }
        if settles {
            let shard = Rc::clone(self);
            self.io.spawn(Class::Foreground, async move { settle(&shard, partition).await });
        }
        self.groups.changed.ring();
    }

    fn pack_records(&self, records: &[GroupRecord]) -> Vec<Admitted> {
        let mut batches = Vec::new();
        let mut builder = BatchBuilder::new();
        for record in records {
            let (key, value) = (record.key(), record.value());
            builder.push(self.io.wall(), Some(&key), value.as_deref(), &[]);
            if builder.len_bytes() >= GROUP_BATCH_BYTES_MAX {
                batches.push(Admitted::built(std::mem::take(&mut builder)));
            }
        }
        if builder.record_count() > 0 {
            batches.push(Admitted::built(builder));
        }
        batches
    }

    /// Its records could not be stored: what it holds in memory is not so.
    fn lose_coordinator(&self, partition: PartitionId) {
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&partition) else { return };
        let waiting = seat.empty(Absence::Unable);
        drop(seats);
        for reply_to in waiting {
            self.route.reply(reply_to, Reply::Group(Err(Absence::Unable)));
        }
    }

    /// Partitions of `__consumer_offsets` came or went, or topics that have offsets.
    pub fn seat_coordinators(self: &Rc<Self>, before: &Image) {
        if self.phase.get() != Phase::Serving {
            return;
        }
        let image = self.image();
        let mut gone = Vec::new();
        let mut seats = self.groups.seats.borrow_mut();
        seats.retain(|partition, seat| {
            let stays = image.partition(*partition).is_some();
            if !stays {
                gone.extend(seat.empty(Absence::Elsewhere));
            }
            stays
        });
        let mut added = Vec::new();
        if let Some(topic) = image.topic(OFFSETS_TOPIC_NAME) {
            for partition in removal::partition_ids(topic) {
                if self.owner(partition) == self.index && !seats.contains_key(&partition) {
                    seats.insert(partition, Seat::new());
                    added.push(partition);
                }
            }
        }
        let seated: Vec<_> = seats.keys().copied().collect();
        drop(seats);
        for reply_to in gone {
            self.route.reply(reply_to, Reply::Group(Err(Absence::Elsewhere)));
        }
        for partition in added {
            self.begin_load(partition);
        }
        let deleted = before.topics().filter(|it| image.topic_by_id(it.id()).is_none());
        let deleted: Vec<Arc<str>> = deleted.map(|it| it.name().as_str().into()).collect();
        if !deleted.is_empty() {
            seated.into_iter().for_each(|it| self.forget_topics(it, deleted.clone()));
        }
    }

    fn forget_topics(self: &Rc<Self>, partition: PartitionId, topics: Vec<Arc<str>>) {
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&partition) else { return };
        let ticket = seat.draw_ticket();
        let Ok(coordinator) = seat.coordinator() else { return };
        let mut output = Output::default();
        let request = Request::ForgetTopics(topics);
        let (now, limits, image) = (self.group_now(), self.group_limits(), self.image());
        coordinator.step(now, &limits, &image, (ticket, request), &mut output);
        drop(seats);
        self.give(partition, output);
    }

    /// The broker stops: nobody waits for members any more.
    pub fn dismiss_groups(&self) {
        let mut seats = self.groups.seats.borrow_mut();
        let waiting: Vec<_> =
            seats.values_mut().flat_map(|seat| std::mem::take(&mut seat.waiting)).collect();
        drop(seats);
        for (_, reply_to) in waiting {
            self.route.reply(reply_to, Reply::Group(Err(Absence::Elsewhere)));
        }
    }

    fn begin_load(self: &Rc<Self>, partition: PartitionId) {
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            while !shard.is_stopping() && shard.load(partition).await.is_err() {
                shard.io.sleep(GROUP_RETRY).await;
            }
        });
    }

    /// Reads a coordinator's records. An error is worth another try.
    async fn load(self: &Rc<Self>, id: PartitionId) -> Result<(), ReadError> {
        let Ok(partition) = self.readable(id) else { return Ok(()) };
        let read = self.replay_groups(&partition).await;
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&id) else { return Ok(()) };
        match read {
            _ if partition.condition() != Condition::Open => {
                seat.sitter = Sitter::Absent(Absence::Unable);
                Ok(())
            }
            Ok(None) => {
                tracing::error!(
                    partition = ?id,
                    bytes_max = self.groups.replay_bytes_max(self.shard_count()),
                    "the records of groups say more than there is memory for, so these groups are not \
                     served; nothing is lost: raise odradek.memory and start again"
                );
                seat.sitter = Sitter::Absent(Absence::Unable);
                Ok(())
            }
            Ok(Some(mut coordinator)) => {
                coordinator.begin(self.group_now(), &self.group_limits(), &self.image());
                seat.sitter = Sitter::Present(Box::new(coordinator));
                drop(seats);
                self.groups.changed.ring();
                Ok(())
            }
            Err(error) => {
                tracing::error!(partition = ?id, ?error, "the records of groups cannot be read");
                seat.sitter = Sitter::Absent(Absence::Unable);
                Err(error)
            }
        }
    }

    /// `None` if there is no memory for what they say.
    async fn replay_groups(
        &self,
        partition: &Rc<Partition<I>>,
    ) -> Result<Option<Coordinator>, ReadError> {
        let mut coordinator = Coordinator::default();
        let mut loading = Loading { groups: &self.groups, bytes: 0 };
        let end = partition.readable_end().offset;
        let mut offset = partition.with_log(|log| log.log_start());
        while offset < end {
            let Some((batch, next)) = self.next_batch(partition, offset).await? else { break };
            let records = Records::new(&batch, DECOMPRESSED_BYTES_MAX);
            for record in records.map_err(|_error| ReadError::Damaged)? {
                let record = record.map_err(|_error| ReadError::Damaged)?;
                let (Some(key), at) = (&record.key, offset) else { continue };
                match GroupRecord::decode(key, record.value.as_deref()) {
                    Ok(Some(record)) => coordinator.replay(record),
                    Ok(None) => {}
                    Err(error) => skip(partition.id(), at, error),
                }
            }
            loading.set(coordinator.bytes());
            if self.groups.replay_bytes_max(self.shard_count()) < self.groups.bytes() {
                return Ok(None);
            }
            offset = next;
        }
        Ok(Some(coordinator))
    }

    /// The batch with `offset` or the first one after it, and where the next one begins.
    async fn next_batch(
        &self,
        partition: &Rc<Partition<I>>,
        offset: Offset,
    ) -> Result<Option<(Bytes, Offset)>, ReadError> {
        loop {
            match self.try_next_batch(partition, offset).await {
                Err(ReadError::Moved) => {} // A look at where it is now.
                other => return other,
            }
        }
    }

    async fn try_next_batch(
        &self,
        partition: &Rc<Partition<I>>,
        offset: Offset,
    ) -> Result<Option<(Bytes, Offset)>, ReadError> {
        let Some(found) = self.find(partition, offset).await? else { return Ok(None) };
        let batch = self.read_batch(partition, &found).await?;
        Ok(Some((batch, found.extent.end)))
    }
}

/// As Kafka: a record that nobody understands concerns nobody.
fn skip(partition: PartitionId, offset: Offset, error: impl std::fmt::Debug) {
    tracing::warn!(?partition, %offset, ?error, "a record of a group cannot be read, and is left out");
}

/// Whether it may need room on the disk.
fn writes(request: &Request) -> bool {
    match request {
        Request::Join(_) | Request::Sync(_) | Request::Leave(_) | Request::Commit(_) => true,
        // A member that only says that it is there must not be taken for gone on a full disk.
        Request::ConsumerHeartbeat(beat) => beat.epoch <= 0,
        Request::Heartbeat(_)
        | Request::Fetch(_)
        | Request::List(_)
        | Request::Describe { .. }
        | Request::DescribeConsumer { .. }
        | Request::Delete { .. }
        | Request::DeleteOffsets { .. }
        | Request::ForgetTopics(_) => false,
    }
}

/// Takes what the log says of a coordinator's records, until it has said everything.
async fn settle<I: Io>(shard: &Rc<Shard<I>>, partition: PartitionId) {
    let mut is_lost = false;
    while let Some(write) = shard.next_group_write(partition) {
        let Reply::Produced { items, .. } = write.wait().await else {
            unreachable!("a produce message is answered by what was produced");
        };
        if let Some(error) = items.iter().find_map(|item| item.result.err())
            && !is_lost
        {
            tracing::warn!(?partition, ?error, "records of groups cannot be stored");
            shard.lose_coordinator(partition);
            is_lost = true;
        }
        shard.on_group_written(partition);
    }
    if is_lost && !shard.is_stopping() {
        shard.begin_load(partition);
    }
}

impl<I: Io> Shard<I> {
    fn next_group_write(&self, partition: PartitionId) -> Option<signal::Answer<Reply<I>>> {
        let mut seats = self.groups.seats.borrow_mut();
        let seat = seats.get_mut(&partition)?;
        let next = seat.writes.pop_front();
        seat.is_settling = next.is_some();
        next
    }

    fn on_group_written(&self, partition: PartitionId) {
        let mut seats = self.groups.seats.borrow_mut();
        let Some(seat) = seats.get_mut(&partition) else { return };
        seat.durable_count += 1;
        let durable = seat.durable_count;
        let ready_count = seat.held.partition_point(|(needed, ..)| *needed <= durable);
        let ready: Vec<_> = seat.held.drain(..ready_count).collect();
        drop(seats);
        for (_, reply_to, answer) in ready {
            self.route.reply(reply_to, Reply::Group(Ok(answer)));
        }
    }
}

/// Looks after time-outs, for ever.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.is_stopping() {
        let changed = shard.groups.changed.next();
        let next = shard.next_group_deadline();
        let now = shard.group_now();
        match next {
            Some(at) if at <= now.moment => {
                shard.on_group_time(now);
                shard.io.yield_now().await;
            }
            Some(at) => {
                let wait = u64::try_from(at.ms_since(now.moment)).unwrap_or(0);
                let until = shard.io.now().plus(std::time::Duration::from_millis(wait));
                signal::either(changed, shard.timers.at(until)).await;
            }
            None => changed.wait().await,
        }
    }
}

impl<I: Io> Shard<I> {
    fn next_group_deadline(&self) -> Option<Moment> {
        let mut seats = self.groups.seats.borrow_mut();
        let deadlines = seats.values_mut().filter_map(|it| it.coordinator().ok()?.next_deadline());
        deadlines.min()
    }

    fn on_group_time(self: &Rc<Self>, now: Now) {
        let limits = self.group_limits();
        let mut outputs = Vec::new();
        for (partition, seat) in self.groups.seats.borrow_mut().iter_mut() {
            let Ok(coordinator) = seat.coordinator() else { continue };
            if coordinator.next_deadline().is_some_and(|at| at <= now.moment) {
                let mut output = Output::default();
                coordinator.on_time(now, &limits, &self.image(), &mut output);
                outputs.push((*partition, output));
            }
        }
        outputs.into_iter().for_each(|(partition, output)| self.give(partition, output));
    }
}

#[cfg(test)]
mod tests {
    use replication::group::ConsumerTiming;
    use replication::group::request::{ConsumerHeartbeat, Identity, Naming, Request};

    use super::writes;

    #[track_caller]
    fn check(epoch: i32, want: bool) {
        let beat = ConsumerHeartbeat {
            group: "g".into(),
            identity: Identity { member: "m".into(), instance: None },
            epoch,
            rack: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_ms: None,
            names: None,
            regex: None,
            assignor: None,
            owned: None,
            naming: Naming::ByMember,
            timing: ConsumerTiming {
                session_ms: 45_000,
                heartbeat_ms: 5_000,
                assignment_interval_ms: 0,
            },
            draw: 0,
        };
        assert_eq!(writes(&Request::ConsumerHeartbeat(beat)), want, "epoch {epoch}");
    }

    #[test]
    fn a_full_disk_lets_members_say_that_they_are_there_but_nobody_come_or_go() {
        check(1, false);
        check(7, false);
        check(0, true);
        check(-1, true);
        check(-2, true);
    }
}
