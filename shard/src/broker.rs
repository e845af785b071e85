//! The life of a broker: recovery, service, clean stop, told to each shard by shard 0.
//!
//! Order at start: recover, first checkpoint of the new generation on every shard, superblock, listen.
//! Order at stop: no more requests, answers sent, last checkpoints, superblock that says "clean".

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use engine::bug::Bug;
use engine::log::Log;
use engine::superblock::{Shutdown, Superblock};
use replication::config::listener::Listener;
use replication::config::topic::{Durability, TopicConfig};
use replication::event::Event;
use replication::image::Image;
use replication::node::{Broker, Endpoint};
use replication::quota::Quota;

use crate::cause::Cause;
use crate::door::{self, TurnedAway};
use crate::io::{Class, Io};
use crate::limits::{ACCEPTED_PER_TURN_MAX, STOP_WAIT_MAX};
use crate::message::{Adoption, Message, Reply};
use crate::metrics::{Metric, Snapshot};
use crate::partition::{Condition, Partition};
use crate::recovery::{self, METADATA, Recovered, Report, StartError};
use crate::room::{Shortage, StoreError};
use crate::route::ReplyTo;
use crate::shard::Shard;
use crate::{checkpoint, commit, connection, connections, controller, groups, parallel, room};

/// What a thread that is no shard asks of shard 0.
pub enum Order {
    /// What all shards have counted, merged.
    Metrics(mpsc::Sender<Vec<Snapshot>>),
    /// Stop cleanly.
    Stop,
}

/// What a broker knows of itself when it begins to serve.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    pub report: Report,
    /// Topics that are acknowledged from memory (`write.caching=true`).
    pub cached_topics: Vec<String>,
}

/// What shard 0 tells whoever started it.
pub enum News {
    /// Clients are served.
    Ready(Ready),
    Failed(StartError),
    /// It has stopped, and the next start will have something to replay.
    Unclean(StartError),
}

/// The whole life of one shard; ready when the broker has stopped, or could not start.
pub async fn run<I: Io>(
    shard: Rc<Shard<I>>,
    orders: Option<mpsc::Receiver<Order>>,
    news: Option<mpsc::Sender<News>>,
) {
    crate::shard::start_tasks(&shard);
    if let Some(news) = news {
        lead(&shard, orders, &news).await;
    } else {
        shard.ended().await;
    }
}

/// Shard 0: brings the broker up, serves orders, and takes it down.
async fn lead<I: Io>(
    shard: &Rc<Shard<I>>,
    orders: Option<mpsc::Receiver<Order>>,
    news: &mpsc::Sender<News>,
) {
    let tell = |it| {
        if news.send(it).is_err() {
            tracing::warn!("nobody waits for the broker to start");
        }
    };
    match bring_up(shard).await {
        Err(error) => {
            tell(News::Failed(error));
            end_all(shard).await;
        }
        Ok((superblock, report)) => {
            let image = shard.image();
            let cached = image.topics().filter(|topic| is_cached(topic.config()));
            let cached_topics = cached.map(|topic| topic.name().to_string()).collect();
            tell(News::Ready(Ready { report, cached_topics }));
            serve_orders(shard, orders).await;
            if let Err(error) = take_down(shard, superblock).await {
                tracing::error!(%error, "not a clean stop: the next start replays the journal");
                tell(News::Unclean(error));
            }
            end_all(shard).await;
        }
    }
}

fn is_cached(config: &TopicConfig) -> bool {
    matches!(config.durability, Durability::Memory { .. })
}

async fn bring_up<I: Io>(shard: &Rc<Shard<I>>) -> Result<(Superblock, Report), StartError> {
    let journal = room::begin(shard).await;
    let recovered = recovery::recover(&shard.io, &shard.config, shard.shard_count()).await?;
    let Recovered { superblock, cluster, logs, report } = recovered;
    let cluster_id = cluster_id(shard.config.cluster_id.as_deref(), superblock.cluster_id);
    let image = Arc::clone(cluster.image());
    shard.controller.begin(cluster);

    let mut shares: Vec<Vec<Log>> = (0..shard.shard_count()).map(|_| Vec::new()).collect();
    for log in logs {
        shares[shard.owner(log.id())].push(log);
    }
    let messages = shares.into_iter().map(|logs| {
        Message::Adopt(Box::new(Adoption {
            generation: superblock.generation,
            logs,
            image: Arc::clone(&image),
            cluster_id: cluster_id.clone(),
            journal,
        }))
    });
    ask_all(shard, messages).await?;
    let written = recovery::write_superblock(&shard.io, &superblock).await;
    written.map_err(|error| recovery::failed("the superblock", &error))?;
    recovery::remove_leftovers(&shard.io, &superblock);

    let registration = registration(shard);
    if image.broker(registration.id) != Some(&registration) {
        let registered = shard.commit_events(&[Event::BrokerRegistered(registration)]).await;
        registered
            .map_err(|code| StartError(format!("the metadata cannot be written: {code:?}")))?;
    }
    room::begin_service(shard).await;
    ask_all(shard, (0..shard.shard_count()).map(|_| Message::Serve)).await?;
    Ok((superblock, report))
}

/// Sends each shard its message, and waits for all.
async fn ask_all<I: Io>(
    shard: &Rc<Shard<I>>,
    messages: impl Iterator<Item = Message>,
) -> Result<(), StartError> {
    let calls: Vec<_> =
        messages.enumerate().map(|(index, message)| shard.call(index, message)).collect();
    let mut result = Ok(());
    for call in calls {
        if let Reply::Failed(message) = call.wait().await {
            result = Err(StartError(message));
        }
    }
    result
}

fn registration<I: Io>(shard: &Shard<I>) -> Broker {
    let endpoint = |listener: &Listener| Endpoint {
        listener: Arc::clone(&listener.name),
        host: listener.advertised.host.clone().unwrap_or_else(|| "localhost".into()),
        port: listener.advertised.port,
    };
    Broker {
        id: shard.config.node,
        rack: shard.config.rack.clone(),
        endpoints: shard.config.listeners.iter().map(endpoint).collect(),
    }
}

/// As Kafka shows ids: 16 bytes in the URL-safe base 64, without padding.
fn cluster_id(configured: Option<&str>, id: [u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if let Some(configured) = configured {
        return configured.to_owned();
    }
    // 22 digits of 6 bits: the last has two bits of the id and four zeros.
    let bits = u128::from_be_bytes(id);
    (0..22)
        .map(|digit| {
            let shifted = if digit < 21 { bits >> (122 - 6 * digit) } else { bits << 4 };
            let index = usize::try_from(shifted & 63).expect("six bits");
            char::from(DIGITS[index])
        })
        .collect()
}

/// Until an order says stop.
async fn serve_orders<I: Io>(shard: &Rc<Shard<I>>, orders: Option<mpsc::Receiver<Order>>) {
    let Some(orders) = orders else { return shard.ended().await };
    loop {
        let knocked = shard.knocked.next();
        match orders.try_recv() {
            Ok(Order::Metrics(to)) => {
                let snapshots = gather_metrics(shard).await;
                if to.send(snapshots).is_err() {
                    tracing::debug!("who asked for metrics is gone");
                }
            }
            Ok(Order::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
            Err(mpsc::TryRecvError::Empty) => knocked.wait().await,
        }
    }
}

async fn gather_metrics<I: Io>(shard: &Rc<Shard<I>>) -> Vec<Snapshot> {
    shard.on_look_at_room(); // Whoever asks again sees what is free now.
    let calls: Vec<_> =
        (0..shard.shard_count()).map(|index| shard.call(index, Message::Metrics)).collect();
    let mut snapshots = Vec::with_capacity(calls.len());
    for call in calls {
        if let Reply::Metrics(snapshot) = call.wait().await {
            snapshots.push(*snapshot);
        }
    }
    snapshots
}

async fn take_down<I: Io>(shard: &Rc<Shard<I>>, superblock: Superblock) -> Result<(), StartError> {
    let sequence = superblock.sequence + 1;
    let clean = Superblock { sequence, shutdown: Shutdown::Clean, ..superblock };
    if Bug::CleanFlagEarly.is_on() {
        recovery::write_superblock(&shard.io, &clean)
            .await
            .map_err(|it| StartError(it.to_string()))?;
    }
    ask_all(shard, (0..shard.shard_count()).map(|_| Message::Stop)).await?;
    let written = recovery::write_superblock(&shard.io, &clean).await;
    written.map_err(|error| StartError(format!("the superblock cannot be written: {error}")))
}

async fn end_all<I: Io>(shard: &Rc<Shard<I>>) {
    let calls: Vec<_> =
        (1..shard.shard_count()).map(|index| shard.call(index, Message::End)).collect();
    for call in calls {
        call.wait().await;
    }
    shard.end();
}

impl<I: Io> Shard<I> {
    pub fn on_adopt(self: &Rc<Self>, adoption: Adoption, reply_to: ReplyTo<I>) {
        let Adoption { generation, logs, image, cluster_id, journal } = adoption;
        *self.cluster_id.borrow_mut() = cluster_id;
        self.commit.begin_generation(generation, journal);
        for log in logs {
            let config = match image.topic_by_id(log.id().topic) {
                Some(topic) => Arc::clone(topic.config()),
                None => Arc::new(metadata_config(&image)),
            };
            self.add_partition(Partition::new(log, config));
        }
        if self.index == 0 && self.partition(METADATA).is_none() {
            let log = Log::new(METADATA, self.io.wall(), crate::partition::LEADER_EPOCH);
            self.add_partition(Partition::new(log, Arc::new(metadata_config(&image))));
        }
        self.on_image(image);
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            let reply = match begin(&shard).await {
                Ok(()) => Reply::Done,
                Err(StoreError::Short(Shortage::Space, error)) => Reply::Failed(format!(
                    "there is no room for what a start needs ({error}): make some on the disk of the \
                     data directory"
                )),
                Err(StoreError::Short(Shortage::Descriptors, error) | StoreError::Failed(error)) => {
                    Reply::Failed(format!("the first checkpoint or the journal failed: {error}"))
                }
            };
            shard.route.reply(reply_to, reply);
        });
    }

    pub fn on_serve(self: &Rc<Self>, reply_to: ReplyTo<I>) {
        self.serve();
        for (index, listener) in self.listeners.take().into_iter().enumerate() {
            let shard = Rc::clone(self);
            self.io.spawn(Class::Foreground, async move { accept(&shard, &listener, index).await });
        }
        self.io.spawn(Class::Background, connections::sweep(Rc::clone(self)));
        self.seat_coordinators(&self.image());
        self.io.spawn(Class::Foreground, groups::run(Rc::clone(self)));
        if self.index == 0 {
            self.io.spawn(Class::Foreground, controller::run(Rc::clone(self)));
            self.io.spawn(Class::Background, room::run(Rc::clone(self)));
        }
        self.route.reply(reply_to, Reply::Done);
    }

    pub fn on_stop(self: &Rc<Self>, reply_to: ReplyTo<I>) {
        self.begin_stop();
        let shard = Rc::clone(self);
        self.io.spawn(Class::Foreground, async move {
            let reply = match stop(&shard).await {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Failed(error.to_string()),
            };
            shard.route.reply(reply_to, reply);
        });
    }

    /// What this shard has counted, with what is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let partitions = self.partitions();
        let fenced = partitions.iter().filter(|it| it.condition() == Condition::Fenced).count();
        let used: usize = partitions.iter().map(|it| it.memory_bytes()).sum();
        let cached = partitions.iter().filter(|it| is_cached(&it.config())).count();
        let gauges = [
            (Metric::ConnectionsOpen, self.connections.count()),
            (Metric::Partitions, partitions.len()),
            (Metric::PartitionsFenced, fenced),
            (Metric::MemoryUsedBytes, used),
            (Metric::PartitionsCached, cached),
            (Metric::PartitionsUncompacted, self.compacting.given_up_count()),
        ];
        let mut recorder = self.recorder.borrow_mut();
        recorder.set(Metric::MemoryRequestBytes, self.permits.used_bytes());
        recorder.set(Metric::MemoryAnswerBytes, self.answers.used_bytes());
        recorder.set(Metric::MemoryGroupBytes, self.groups.bytes());
        for (metric, value) in gauges {
            recorder.set(metric, u64::try_from(value).expect("usize fits"));
        }
        recorder.set(Metric::DiskLevel, self.room.level().number());
        recorder.set(Metric::DiskFreeBytes, self.room.space().map_or(0, |it| it.usable_bytes));
        let (sent, full) = self.route.counts();
        recorder.copy(Metric::MessagesSent, sent);
        recorder.copy(Metric::MailboxFull, full);
        recorder.snapshot(self.io.now()).with_lags(self.lags())
    }
}

/// What a shard must have on disk before it may serve.
async fn begin<I: Io>(shard: &Rc<Shard<I>>) -> Result<(), StoreError> {
    let (checkpoint, journal) = (checkpoint::make(shard), commit::make_first_files(shard));
    let (checkpointed, made) = parallel::both(checkpoint, journal).await;
    checkpointed.and(made)
}

/// The metadata's log is like a topic without any config of its own, and never deletes.
fn metadata_config(image: &Image) -> TopicConfig {
    let configs = replication::config::broker::Configs::new();
    TopicConfig::resolve(image.topic_defaults(), &configs)
}

/// Takes connections until the broker stops.
async fn accept<I: Io>(shard: &Rc<Shard<I>>, listener: &I::Listener, index: usize) {
    let mut accepted_count: usize = 0;
    while !shard.is_stopping() {
        match shard.io.accept(listener).await {
            Ok(socket) => admit(shard, socket, index).await,
            Err(error) => {
                if let Some(untold) = shard.connections.on_close(shard, Cause::NotAccepted) {
                    tracing::warn!(%error, untold, "a connection could not be accepted");
                }
                shard.io.sleep(Duration::from_millis(100)).await;
            }
        }
        accepted_count += 1;
        if accepted_count.is_multiple_of(ACCEPTED_PER_TURN_MAX) {
            shard.io.yield_long().await;
        }
    }
}

/// Serves a connection when there is a place for it. Until then no other is accepted on this listener.
async fn admit<I: Io>(shard: &Rc<Shard<I>>, socket: I::Socket, listener: usize) {
    let address = door::address_of(&shard.io.peer(&socket));
    match shard.enter(address).await {
        Ok(()) if shard.is_stopping() => {
            shard.io.shutdown(&socket);
            shard.leave(address);
        }
        Ok(()) => connection::start(shard, socket, address, listener),
        Err(TurnedAway::Crowded) => {
            tell_turned_away(shard, address, Cause::AddressFull);
            shard.io.shutdown(&socket);
        }
        Err(TurnedAway::Hasty(wait)) => {
            tell_turned_away(shard, address, Cause::AddressRate);
            hold(shard, socket, shard.throttled(Quota::ConnectionCreationRate, wait));
        }
    }
}

fn tell_turned_away<I: Io>(shard: &Shard<I>, address: IpAddr, cause: Cause) {
    if let Some(untold) = shard.connections.on_close(shard, cause) {
        tracing::info!(%address, cause = cause.name(), untold, "connection closed: {cause}");
    }
}

/// Closes a connection of an address that may make none for so long when that is over, as Kafka does: a
/// client that is closed at once tries again at once. Nothing is read of it. Too many are closed now.
fn hold<I: Io>(shard: &Rc<Shard<I>>, socket: I::Socket, wait: Duration) {
    if !shard.connections.begin_hold() {
        shard.io.shutdown(&socket);
        return;
    }
    let shard = Rc::clone(shard);
    shard.io.clone().spawn(Class::Foreground, async move {
        shard.pause(wait).await;
        shard.io.shutdown(&socket);
        shard.connections.end_hold();
    });
}

/// Lets what was begun end, then makes the last checkpoint.
async fn stop<I: Io>(shard: &Rc<Shard<I>>) -> io::Result<()> {
    let deadline = shard.io.now().plus(STOP_WAIT_MAX);
    while shard.connections.count() > 0 && shard.io.now() < deadline {
        for connection in shard.connections.all() {
            if connection.idle_since().is_some() {
                connection.end(shard);
            }
        }
        shard.io.sleep(Duration::from_millis(10)).await;
    }
    for connection in shard.connections.all() {
        connection.end(shard);
    }
    checkpoint::make_last(shard).await
}
