//! Starts the broker on this machine: its cores, its memory, its listeners, its data directory.
//!
//! Runs on the thread of whoever starts it, before and beside the shards; may block.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use replication::config::broker::{BrokerConfig, Layers};
use replication::config::listener::{Address, Listener};
use replication::config::node::{Cores, NodeConfig};

use crate::broker::{self, News, Order, Ready};
use crate::limits::RECEIVE_BYTES_MAX;
use crate::metrics::Snapshot;
use crate::reactor::RingIo;
use crate::reactor::descriptors;
use crate::reactor::launch::{self, Budget, Running};
use crate::recovery::StartError;
use crate::ring::WakeHandle;
use crate::route::{self, Lanes};
use crate::shard::Shard;
use crate::socket::SocketRules;

/// The part of the machine's memory that is taken if the configuration names none: one in so many.
const MEMORY_SHARE: u64 = 4;
/// Memory of a shard for requests: one in so many of its bytes; the rest holds logs.
const REQUEST_SHARE: u64 = 4;

/// How often, and after which pause, an address or a directory is tried that is in use: a broker that
/// was killed a moment ago may still have it. The kernel takes its rings down, with the listeners and the
/// lock that they hold, after the process has ended, when the disk has done its last request.
const PROBES_MAX: u32 = 1_000;
const PROBE_PAUSE: Duration = Duration::from_millis(2);

/// A broker that serves clients.
pub struct Server {
    running: Running,
    orders: mpsc::Sender<Order>,
    wake: WakeHandle,
    facts: Facts,
    told: mpsc::Receiver<News>,
    /// Held as long as the data directory is ours. So do the shards' rings.
    _lock: Arc<File>,
}

/// What is said at start.
#[derive(Clone, Debug)]
pub struct Facts {
    pub addresses: Vec<(String, SocketAddr)>,
    /// Where clients are sent, for each of the addresses; their hosts are known.
    pub advertised: Vec<Address>,
    pub cores: Vec<usize>,
    pub memory_bytes: u64,
    pub ready: Ready,
}

/// What every shard's thread takes with it.
#[derive(Clone)]
struct Common {
    config: Arc<NodeConfig>,
    binds: Vec<SocketAddr>,
    request_bytes: u64,
    news: mpsc::Sender<News>,
    lock: Arc<File>,
}

/// What one shard's thread takes with it.
struct Seat {
    lanes: Vec<Option<Lanes<RingIo>>>,
    orders: Option<mpsc::Receiver<Order>>,
    /// Of shard 0.
    news: Option<mpsc::Sender<News>>,
}

impl Server {
    /// Returns when clients are served.
    ///
    /// # Errors
    /// What is missing, and what to change.
    pub fn start(mut config: NodeConfig, directory: &Path) -> Result<Self, StartError> {
        let host_name = host_name();
        for listener in &mut config.listeners {
            advertise(listener, &host_name)?;
        }
        let lock = Arc::new(lock(directory)?);
        let addresses = addresses(&config.listeners)?;
        let advertised = config.listeners.iter().map(|it| it.advertised.clone()).collect();
        let cores = cores(&config.cores)?;
        let memory_bytes = config.memory_bytes.map_or_else(machine_share, Ok)?;
        let shard_count = u64::try_from(cores.len()).expect("cores are few");
        let share = memory_bytes / shard_count;
        let request_bytes = share / REQUEST_SHARE;
        let budget = Budget {
            arena_bytes: usize::try_from(share - request_bytes).expect("memory is addressable"),
            receive_bytes_max: RECEIVE_BYTES_MAX,
            descriptor_count: descriptors()?,
            spin: Duration::ZERO,
        };

        let (orders, taken_orders) = mpsc::channel();
        let (news, told) = mpsc::channel();
        let seats = seats(cores.len(), taken_orders, &news);
        let config = Arc::new(config);
        let binds: Vec<SocketAddr> = addresses.iter().map(|(_, address)| *address).collect();
        let common = Common { config, binds, request_bytes, news, lock: Arc::clone(&lock) };
        let main = move |index: usize, io: RingIo| {
            let seat = take(&seats, index);
            run_shard(index, io, seat, common.clone())
        };
        let running = launch::start(&cores, directory, &budget, main);
        let running = running.map_err(|error| StartError(error.to_string()))?;
        let wake = running.wake_handles()[0].clone();
        match told.recv() {
            Ok(News::Ready(ready)) => {
                let facts = Facts { addresses, advertised, cores, memory_bytes, ready };
                Ok(Self { running, orders, wake, facts, told, _lock: lock })
            }
            Ok(News::Failed(error) | News::Unclean(error)) => Err(error),
            Err(mpsc::RecvError) => Err(StartError("the first shard has ended".to_owned())),
        }
    }

    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// By which other threads ask the broker.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { orders: self.orders.clone(), wake: self.wake.clone() }
    }

    /// Until it has stopped.
    ///
    /// # Errors
    /// If a thread did not end well, or the stop was not clean.
    pub fn join(self) -> Result<(), StartError> {
        self.running.join().map_err(|error| StartError(error.to_string()))?;
        match self.told.try_recv() {
            Ok(News::Unclean(StartError(what))) => Err(StartError(format!(
                "not a clean stop, so the next start replays the journal: {what}"
            ))),
            Ok(News::Ready(_) | News::Failed(_)) | Err(_) => Ok(()),
        }
    }
}

/// Asks a running broker from any thread.
#[derive(Clone)]
pub struct Remote {
    orders: mpsc::Sender<Order>,
    wake: WakeHandle,
}

impl Remote {
    /// Begins a clean stop.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// What every shard has counted. `None` if there is no answer within `wait`.
    #[must_use]
    pub fn metrics(&self, wait: Duration) -> Option<Vec<Snapshot>> {
        let (sender, receiver) = mpsc::channel();
        self.order(Order::Metrics(sender));
        receiver.recv_timeout(wait).ok()
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::debug!("the broker has ended");
        }
        self.wake.wake();
    }
}

#[expect(clippy::disallowed_types, reason = "each thread takes its seat once, before it serves")]
type Seats = Arc<std::sync::Mutex<Vec<Option<Seat>>>>;

#[expect(clippy::disallowed_types, reason = "each thread takes its seat once, before it serves")]
fn seats(count: usize, orders: mpsc::Receiver<Order>, news: &mpsc::Sender<News>) -> Seats {
    let mut orders = Some(orders);
    let mut news = Some(news.clone());
    let lanes = route::lanes(count).into_iter();
    let seats = lanes.map(|lanes| Some(Seat { lanes, orders: orders.take(), news: news.take() }));
    Arc::new(std::sync::Mutex::new(seats.collect()))
}

fn take(seats: &Seats, index: usize) -> Seat {
    let mut seats = seats.lock().expect("no thread ends while it holds this");
    seats[index].take().expect("each seat is taken once")
}

async fn run_shard(index: usize, io: RingIo, seat: Seat, common: Common) {
    let Common { config, binds, request_bytes, news, lock } = common;
    if let Err(error) = io.keep(&lock) {
        let error = StartError(format!("the ring cannot hold the data directory's lock: {error}"));
        drop(news.send(News::Failed(error))); // Who waits for it may be gone by another failure.
        return;
    }
    let mut listeners = Vec::with_capacity(binds.len());
    let layers = Layers { file: Arc::clone(&config.file), ..Layers::default() };
    let rules = SocketRules::from(&BrokerConfig::resolve(&layers).connections);
    for address in binds {
        match io.listen(address, rules) {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                let error = StartError(format!("cannot listen on {address}: {error}"));
                drop(news.send(News::Failed(error))); // Who waits for it may be gone by another failure.
                return;
            }
        }
    }
    drop(news);
    let shard = Shard::new(io, index, config, seat.lanes, listeners, request_bytes);
    Box::pin(broker::run(shard, seat.orders, seat.news)).await;
}

/// Makes the data directory, and makes sure that no other broker has it, nor a write of one.
fn lock(directory: &Path) -> Result<File, StartError> {
    let failed = |error: io::Error| {
        StartError(format!("the data directory {}: {error}", directory.display()))
    };
    make_directory(directory).map_err(failed)?;
    let path = directory.join("lock");
    let options = File::options().write(true).create(true).truncate(false).open(path);
    let file = options.map_err(failed)?;
    match wait_for_lock(&file) {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    Err(StartError(format!(
        "the data directory {} is used by another broker, or the disk has not ended what one that was \
         killed has begun: stop it, wait, or set log.dirs to another directory",
        directory.display()
    )))
}

/// Takes the lock of a data directory. One of a broker that has just ended is waited for, two seconds at
/// most.
///
/// # Errors
/// `WouldBlock`: somebody has it.
#[expect(clippy::disallowed_methods, reason = "no shard runs on this thread")]
pub fn wait_for_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..PROBES_MAX {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PROBE_PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

/// Makes the directory, and its name durable before anything in it counts.
fn make_directory(directory: &Path) -> io::Result<()> {
    let is_missing = |it: &&Path| !it.as_os_str().is_empty() && !it.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    std::fs::create_dir_all(directory)?;
    for made in &missing {
        sync_above(made)?;
    }
    if missing.is_empty()
        && !directory.join("superblock").exists()
        && let Err(error) = sync_above(directory)
    {
        // Who made it before the first start may have seen to it, and need not let us look above.
        tracing::warn!(%error, "the data directory's name may not survive a power cut yet");
    }
    Ok(())
}

fn sync_above(path: &Path) -> io::Result<()> {
    let Some(above) = path.parent() else { return Ok(()) };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    File::options().read(true).open(above)?.sync_all()
}

/// Where to listen. Fails if somebody listens there already: shards share a port, brokers do not.
fn addresses(listeners: &[Listener]) -> Result<Vec<(String, SocketAddr)>, StartError> {
    listeners
        .iter()
        .map(|listener| {
            let Address { host, port } = &listener.bind;
            let cannot = |what: String| {
                let name = &listener.name;
                StartError(format!("cannot listen as {name} says, on port {port}: {what}"))
            };
            let host = host.as_deref().unwrap_or("0.0.0.0");
            let mut found =
                (host, *port).to_socket_addrs().map_err(|error| cannot(error.to_string()))?;
            let address = found.next().ok_or_else(|| cannot(format!("{host} has no address")))?;
            probe(address).map_err(|error| cannot(error.to_string()))?;
            Ok((listener.name.to_string(), address))
        })
        .collect()
}

/// Whether nobody else listens on `address`.
#[expect(clippy::disallowed_methods, reason = "no shard runs yet")]
fn probe(address: SocketAddr) -> io::Result<()> {
    for _ in 0..PROBES_MAX {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(PROBE_PAUSE);
            }
            other => return other.map(drop),
        }
    }
    TcpListener::bind(address).map(drop)
}

/// Clients are sent where the configuration says, or else to this machine's name. A host that is not
/// known here is nowhere for them to go.
fn advertise(listener: &mut Listener, host_name: &str) -> Result<(), StartError> {
    let Address { host, port } = &mut listener.advertised;
    let is_told = host.is_some();
    let host: &str = host.get_or_insert_with(|| host_name.into());
    let Err(error) = (host, *port).to_socket_addrs() else { return Ok(()) };
    let name = &listener.name;
    Err(StartError(if is_told {
        format!("advertised.listeners: clients of {name} are sent to {host}: {error}")
    } else {
        format!(
            "advertised.listeners: clients of {name} are sent to this machine's name, {host}, if it \
             is not set: {error}. Set it to a host name or address that clients can reach"
        )
    }))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_unknown| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn cores(wanted: &Cores) -> Result<Vec<usize>, StartError> {
    let allowed = affinity::get_thread_affinity()
        .map_err(|error| StartError(format!("the cores of this process are unknown: {error}")))?;
    let chosen: Vec<usize> = match wanted {
        Cores::All => allowed.clone(),
        Cores::Count(count) => allowed.iter().copied().take(usize::from(*count)).collect(),
        Cores::These(cores) => cores.iter().map(|core| usize::from(*core)).collect(),
    };
    let is_short = matches!(wanted, Cores::Count(count) if chosen.len() < usize::from(*count));
    if is_short || chosen.is_empty() || chosen.iter().any(|core| !allowed.contains(core)) {
        return Err(StartError(format!(
            "odradek.cores asks for cores that this process may not use; it may use {allowed:?}"
        )));
    }
    Ok(chosen)
}

fn descriptors() -> Result<u64, StartError> {
    descriptors::raise()
        .map_err(|error| StartError(format!("the limit of open files (RLIMIT_NOFILE): {error}")))
}

fn machine_share() -> Result<u64, StartError> {
    let unknown = || StartError("the machine's memory is unknown: set odradek.memory".to_owned());
    let table = std::fs::read_to_string("/proc/meminfo").map_err(|_no_proc| unknown())?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemTotal:")).ok_or_else(unknown)?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_odd| unknown())?;
    Ok(kib * 1024 / MEMORY_SHARE)
}

#[cfg(test)]
mod tests {
    use replication::config::listener::{Address, Listener};

    use super::{advertise, lock};

    /// `None` if it is refused.
    #[track_caller]
    fn check(advertised: Option<&str>, host_name: &str, want: Option<&str>) {
        let address = |host: Option<&str>| Address { host: host.map(Into::into), port: 9092 };
        let (bind, advertised) = (address(Some("::")), address(advertised));
        let mut listener = Listener { name: "PLAINTEXT".into(), bind, advertised };
        match advertise(&mut listener, host_name) {
            Ok(()) => assert_eq!(listener.advertised.host.as_deref(), want),
            Err(error) => {
                assert_eq!(None, want);
                assert!(error.to_string().starts_with("advertised.listeners: "));
            }
        }
    }

    /// No name server is asked for a name with an empty part.
    #[test]
    fn clients_are_sent_to_a_host_that_is_known() {
        check(Some("127.0.0.1"), "a..b", Some("127.0.0.1"));
        check(Some("::1"), "a..b", Some("::1"));
        check(None, "127.0.0.1", Some("127.0.0.1"));
        check(Some("a..b"), "127.0.0.1", None);
        check(None, "a..b", None);
    }

    #[test]
    fn a_data_directory_is_made_with_all_above_it_and_is_ours_alone() {
        let top = std::env::temp_dir().join(format!("odradek-lock-{}", std::process::id()));
        let directory = top.join("a/b");
        let held = lock(&directory).expect("nobody has it");
        let refused = lock(&directory).expect_err("we have it").to_string();
        assert!(refused.contains("log.dirs"), "{refused}");
        drop(held);
        drop(lock(&directory).expect("nobody has it any more"));
        std::fs::remove_dir_all(top).expect("ours");
    }
}
