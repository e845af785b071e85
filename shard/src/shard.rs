//! One shard: one thread's share of the broker. Everything that its tasks share, and its inbox.
//!
//! Only its own tasks touch it. Every change is one synchronous call: no borrow crosses an await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::id::PartitionId;
use engine::log::Log;
use net::fetch_session::FetchSessions;
use replication::cluster::Cluster;
use replication::config::node::NodeConfig;
use replication::image::Image;
use replication::placement::Placement;

use crate::accounts::Accounts;
use crate::answers::Answers;
use crate::commit::Commit;
use crate::compactor::Compacting;
use crate::connections::Connections;
use crate::controller::Controller;
use crate::door::Door;
use crate::files::Files;
use crate::groups::Groups;
use crate::io::{Class, Io};
use crate::lane::Lane;
use crate::limits::{
    ANSWER_SHARE, GROUP_SHARE, MESSAGES_PER_TURN_MAX, RECOMPRESSION_SHARE, TRIM_PARTITIONS_MAX,
};
use crate::message::{Message, ReadError, Reader, Reply};
use crate::metrics::Recorder;
use crate::partition::{Condition, LEADER_EPOCH, Partition};
use crate::permits::Permits;
use crate::produce::Stalled;
use crate::reader::Indexing;
use crate::reader::ahead::Ahead;
use crate::reader::checked::Checked;
use crate::removal;
use crate::room::Room;
use crate::route::{Lanes, Letter, ReplyTo, Route};
use crate::signal::{self, Answer, Bell, Promise};
use crate::timer::Timers;
use crate::turnstile::Turnstile;
use crate::way::Way;

/// What the shard does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Serving,
    Stopping,
    /// The tasks of the shard end when they next look.
    Ended,
}

/// Bounds that a broker's configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub request_bytes_max: u64,
    pub fetch_bytes_max: u64,
    /// `None`: a connection may be idle for ever.
    pub idle_max: Option<Duration>,
}

/// One per core, shared by the tasks of its thread.
pub struct Shard<I: Io> {
    pub io: I,
    pub index: usize,
    pub config: Arc<NodeConfig>,
    pub route: Rc<Route<I>>,
    pub files: Files<I>,
    pub indexing: Indexing,
    /// For what decompresses to much.
    pub lane: Lane,
    pub compacting: Compacting,
    /// What is known of the bytes of sealed segments.
    pub checked: RefCell<Checked>,
    pub ahead: RefCell<Ahead>,
    pub cold_reads: Way,
    /// What a checkpoint carries to segments.
    pub carries: Way,
    pub timers: Rc<Timers<I>>,
    pub commit: Commit<I>,
    /// One checkpoint is made at a time.
    pub checkpoints: Turnstile,
    pub recorder: RefCell<Recorder>,
    /// What the disk has left.
    pub room: Room,
    pub stalled: RefCell<Stalled<I>>,
    /// Readers of other shards' connections that wait for news here, one wait each.
    pub readers: RefCell<BTreeMap<Reader, Promise<()>>>,
    /// Rings when memory was freed.
    pub freed: Bell,
    /// Rings when the phase changes.
    pub phased: Bell,
    pub groups: Groups<I>,
    /// On shard 0: the owner of the cluster's metadata.
    pub controller: Controller<I>,
    pub connections: Connections<I>,
    /// On shard 0: who counts the connections of the node.
    pub door: RefCell<Door<ReplyTo<I>>>,
    pub sessions: RefCell<FetchSessions>,
    /// Of clients with quotas.
    pub accounts: Accounts,
    /// Memory of requests.
    pub permits: Permits,
    /// Memory of batches that are being compressed anew.
    pub recompressing: Permits,
    /// Memory of answers.
    pub answers: Answers,
    /// Until the shard serves.
    pub listeners: RefCell<Vec<I::Listener>>,
    /// Rings when another shard or thread woke this one.
    pub knocked: Bell,
    pub cluster_id: RefCell<String>,
    pub placement: Placement,
    pub partitions: RefCell<BTreeMap<PartitionId, Rc<Partition<I>>>>,
    /// Where the search for memory to give back goes on.
    pub trim_from: Cell<Option<PartitionId>>,
    pub image: RefCell<Arc<Image>>,
    pub phase: Cell<Phase>,
}

impl<I: Io> Shard<I> {
    pub fn new(
        io: I,
        index: usize,
        config: Arc<NodeConfig>,
        lanes: Vec<Option<Lanes<I>>>,
        listeners: Vec<I::Listener>,
        request_memory_bytes: u64,
    ) -> Rc<Self> {
        let nothing = Cluster::new(config.node, Arc::clone(&config.file));
        let image = Arc::clone(nothing.image());
        let cores = u16::try_from(lanes.len()).expect("cores are few");
        let session_count_max = session_share(&image, lanes.len());
        let one_in = |share| u64::try_from(io.block_bytes_max() / share).expect("usize fits");
        let (answer_bytes, group_bytes) = (one_in(ANSWER_SHARE), one_in(GROUP_SHARE));
        Rc::new(Self {
            index,
            config,
            route: Rc::new(Route::new(io.clone(), lanes)),
            files: Files::new(io.clone()),
            indexing: Indexing::default(),
            lane: Lane::default(),
            compacting: Compacting::default(),
            checked: RefCell::default(),
            ahead: RefCell::default(),
            cold_reads: Way::default(),
            carries: Way::default(),
            timers: Timers::new(io.clone()),
            commit: Commit::default(),
            checkpoints: Turnstile::default(),
            recorder: RefCell::new(Recorder::new(index)),
            room: Room::default(),
            stalled: RefCell::default(),
            readers: RefCell::default(),
            freed: Bell::default(),
            phased: Bell::default(),
            groups: Groups::new(group_bytes),
            controller: Controller::default(),
            connections: Connections::default(),
            door: RefCell::default(),
            sessions: RefCell::new(FetchSessions::new(session_count_max)),
            accounts: Accounts::default(),
            permits: Permits::new(request_memory_bytes),
            recompressing: Permits::new((request_memory_bytes / RECOMPRESSION_SHARE).max(1)),
            answers: Answers::new(answer_bytes),
            listeners: RefCell::new(listeners),
            knocked: Bell::default(),
            cluster_id: RefCell::default(),
            placement: Placement::new(cores),
            partitions: RefCell::default(),
            trim_from: Cell::new(None),
            image: RefCell::new(image),
            phase: Cell::new(Phase::Starting),
            io,
        })
    }

    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.route.shard_count()
    }

    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> usize {
        usize::from(self.placement.core_of(partition))
    }

    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    #[must_use]
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase.get(), Phase::Stopping | Phase::Ended)
    }

    pub fn serve(&self) {
        assert_eq!(self.phase.get(), Phase::Starting);
        self.phase.set(Phase::Serving);
        self.phased.ring();
    }

    pub fn begin_stop(&self) {
        self.phase.set(Phase::Stopping);
        self.phased.ring();
        self.commit.press();
        self.room.try_again();
        self.partitions().iter().for_each(|partition| partition.dismiss());
        self.dismiss_groups();
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.phase.get() == Phase::Ended
    }

    /// Until the broker has stopped.
    pub async fn ended(&self) {
        loop {
            let phased = self.phased.next();
            if self.has_ended() {
                return;
            }
            phased.wait().await;
        }
    }

    /// For so long, or until the broker begins to stop.
    pub async fn pause(&self, duration: Duration) {
        let phased = self.phased.next();
        if !self.is_stopping() {
            signal::either(phased, self.timers.at(self.io.now().plus(duration))).await;
        }
    }

    #[must_use]
    pub fn cluster_id(&self) -> String {
        self.cluster_id.borrow().clone()
    }

    /// The name of the listener with this index in the configuration.
    #[must_use]
    pub fn listener_name(&self, index: usize) -> &str {
        self.config.listeners.get(index).map_or("", |listener| &listener.name)
    }

    /// What bounds requests and connections now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let image = self.image.borrow();
        let config = image.broker_config();
        let idle_ms = config.connections.idle_ms_max.and_then(|ms| u64::try_from(ms).ok());
        Limits {
            request_bytes_max: config.requests.request_bytes_max.into(),
            fetch_bytes_max: config.requests.fetch_bytes_max.into(),
            idle_max: idle_ms.map(Duration::from_millis),
        }
    }

    pub fn end(&self) {
        self.phase.set(Phase::Ended);
        self.phased.ring();
    }

    // Partitions.

    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<Rc<Partition<I>>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// A partition that may be read.
    pub fn readable(&self, id: PartitionId) -> Result<Rc<Partition<I>>, ReadError> {
        let partition = self.partition(id).ok_or(ReadError::UnknownPartition)?;
        match partition.condition() {
            Condition::Removed => Err(ReadError::UnknownPartition),
            Condition::Open | Condition::Fenced => Ok(partition),
        }
    }

    #[must_use]
    pub fn partitions(&self) -> Vec<Rc<Partition<I>>> {
        self.partitions.borrow().values().cloned().collect()
    }

    pub fn add_partition(&self, partition: Rc<Partition<I>>) {
        let replaced = self.partitions.borrow_mut().insert(partition.id(), partition);
        assert!(replaced.is_none(), "a partition is made once");
    }

    /// The cluster's metadata has changed: partitions come, go, and get other configs.
    pub fn on_image(self: &Rc<Self>, image: Arc<Image>) {
        let before = std::mem::replace(&mut *self.image.borrow_mut(), Arc::clone(&image));
        for id in removal::gone(&before, &image) {
            if let Some(partition) = self.partitions.borrow_mut().remove(&id) {
                partition.remove(self.io.now());
                removal::start(self, partition);
                self.room.try_again(); // Its writer may wait for room.
            }
        }
        for topic in removal::changed(&before, &image) {
            for id in removal::partition_ids(topic) {
                if self.owner(id) != self.index {
                    continue;
                }
                match self.partition(id) {
                    Some(partition) => partition.set_config(Arc::clone(topic.config())),
                    None => {
                        let log = Log::new(id, self.io.wall(), LEADER_EPOCH);
                        self.add_partition(Partition::new(log, Arc::clone(topic.config())));
                    }
                }
            }
        }
        self.seat_coordinators(&before);
        self.open_door(); // There may be room for more than before.
    }

    /// Nothing can be committed any more: every partition is closed until the next start.
    pub fn fence_all(self: &Rc<Self>) {
        let now = self.io.now();
        self.partitions().iter().for_each(|partition| partition.fence(now));
        self.on_freed();
    }

    // Memory.

    /// Gives back up to `wanted` bytes of log that is safely on disk, least recently looked for first.
    pub fn trim(&self, wanted: usize) -> usize {
        self.trim_each(usize::MAX, wanted, Partition::trim)
    }

    /// As `trim`, of a few partitions, and nothing that the next append needs.
    pub fn trim_old(&self, wanted: usize) -> usize {
        self.trim_each(TRIM_PARTITIONS_MAX, wanted, Partition::trim_old)
    }

    fn trim_each(
        &self,
        partitions_max: usize,
        wanted: usize,
        trim: impl Fn(&Partition<I>, usize) -> usize,
    ) -> usize {
        let partitions = self.partitions.borrow();
        let start = self.trim_from.get().map_or(Bound::Unbounded, Bound::Excluded);
        let round = partitions.range((start, Bound::Unbounded)).chain(partitions.iter());
        let mut freed = 0;
        for (id, partition) in round.take(partitions_max) {
            if freed >= wanted {
                break;
            }
            freed += trim(partition, wanted - freed);
            self.trim_from.set(Some(*id));
        }
        freed
    }

    // Messages.

    /// Sends `message` to `shard`, which may be this one.
    pub fn call(self: &Rc<Self>, shard: usize, message: Message) -> Answer<Reply<I>> {
        if shard != self.index {
            return self.route.call(shard, message);
        }
        let (promise, answer) = signal::promise();
        self.on_message(message, ReplyTo::Here(promise));
        answer
    }

    pub fn on_message(self: &Rc<Self>, message: Message, reply_to: ReplyTo<I>) {
        match message {
            Message::Produce(items) => self.on_produce(items, reply_to),
            Message::Fetch(order) => self.on_fetch(order, reply_to),
            Message::Watch { reader, partitions, wait } => {
                self.on_watch(reader, &partitions, wait, reply_to);
            }
            Message::ListOffsets(queries) => self.on_list_offsets(queries, reply_to),
            Message::DeleteRecords(items) => self.on_delete_records(items, reply_to),
            Message::EpochEnds(queries) => self.on_epoch_ends(queries, reply_to),
            Message::Producers(queries) => self.on_producers(queries, reply_to),
            Message::LogBytes => {
                let bytes = |it: &Rc<Partition<I>>| (it.id(), it.with_log(|log| log.bytes()));
                let all = self.partitions.borrow().values().map(bytes).collect();
                self.route.reply(reply_to, Reply::LogBytes(all));
            }
            Message::Image(image) => {
                self.on_image(image);
                self.route.reply(reply_to, Reply::Done);
            }
            Message::Command(command) => self.on_command(command, reply_to),
            Message::Group { partition, request } => self.on_group(partition, *request, reply_to),
            Message::Enter(address) => self.on_enter(address, reply_to),
            Message::Leave(address) => self.on_leave(address, reply_to),
            Message::Used { from, report } => self.on_used(from, &report, reply_to),
            Message::Metrics => self.on_metrics(reply_to),
            Message::LookAtRoom => {
                self.on_look_at_room();
                self.route.reply(reply_to, Reply::Done);
            }
            Message::FoundNoRoom => {
                self.on_found_no_room();
                self.route.reply(reply_to, Reply::Done);
            }
            Message::Room(notice) => {
                self.on_notice(notice);
                self.route.reply(reply_to, Reply::Done);
            }
            Message::Adopt(adoption) => self.on_adopt(*adoption, reply_to),
            Message::Serve => self.on_serve(reply_to),
            Message::Stop => self.on_stop(reply_to),
            Message::End => {
                self.end();
                self.route.reply(reply_to, Reply::Done);
            }
        }
    }
}

/// Fetch sessions of one shard, of those of the node.
fn session_share(image: &Image, shard_count: usize) -> usize {
    let all = image.broker_config().requests.fetch_sessions_max;
    usize::try_from(all).expect("usize fits").div_ceil(shard_count)
}

/// Takes letters of the other shards, for ever.
pub async fn run_inbox<I: Io>(shard: Rc<Shard<I>>) {
    let mut letters = Vec::new();
    while !shard.has_ended() {
        let mut is_idle = true;
        for peer in 0..shard.shard_count() {
            shard.route.take(peer, MESSAGES_PER_TURN_MAX, &mut letters);
            is_idle &= letters.is_empty();
            for letter in letters.drain(..) {
                match letter {
                    Letter::Message { call, message } => {
                        shard.on_message(message, ReplyTo::Peer { shard: peer, call });
                    }
                    Letter::Reply { call, reply } => shard.route.on_reply(call, reply),
                }
            }
        }
        let is_sent = shard.route.push_waiting();
        if is_idle && is_sent {
            shard.io.woken().await;
            shard.knocked.ring();
        } else {
            shard.io.yield_now().await;
        }
    }
}

/// Starts the tasks that every shard runs.
pub fn start_tasks<I: Io>(shard: &Rc<Shard<I>>) {
    let io = &shard.io;
    io.spawn(Class::Foreground, run_inbox(Rc::clone(shard)));
    io.spawn(Class::Foreground, crate::commit::run(Rc::clone(shard)));
    io.spawn(Class::Foreground, crate::commit::silence::watch(Rc::clone(shard)));
    io.spawn(Class::Foreground, crate::checkpoint::run(Rc::clone(shard)));
    io.spawn(Class::Background, crate::scrubber::run(Rc::clone(shard)));
    io.spawn(Class::Background, crate::retention::run(Rc::clone(shard)));
    io.spawn(Class::Background, crate::compactor::run(Rc::clone(shard)));
}
