//! Starts one thread per core, each with its shard's world, and says what is missing if it cannot.
//!
//! All rings exist before any shard runs, so that each can wake the others.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use glommio::{
    CpuSet, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement, PoolPlacement,
};
use io_uring::IoUring;

use super::descriptors::Share;
use super::surveyor::Surveyor;
use super::{Common, RingIo, driver};
use crate::io::{Class, Io};
use crate::limits::{HEAP_ALLOCATION_BYTES_MAX, HEAP_KEPT_BYTES_MAX};
use crate::mailbox::Slumber;
use crate::ring::system::{self, MemoryLock};
use crate::ring::{self, Peer, WakeHandle};

/// Memory that the executor and the rings want locked, for each shard and at least.
const LOCKED_BYTES: u64 = 512 * 1024;
/// Memory of the executor's own rings, which carry nothing.
const EXECUTOR_BYTES: usize = 64 * 1024;
const EXECUTOR_RING_ENTRIES: usize = 8;
/// The executor interrupts long tasks by a timer that we have no use for.
const EXECUTOR_PREEMPTS: Duration = Duration::from_secs(3600);

/// What all shards share.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Block memory of each shard.
    pub arena_bytes: usize,
    /// Memory of each shard that sockets are received into.
    pub receive_bytes_max: usize,
    /// Descriptors that the process may have.
    pub descriptor_count: u64,
    /// How long a shard with nothing to do looks for work before it sleeps. Zero: not at all.
    pub spin: Duration,
}

/// Why no shard runs.
#[derive(Debug)]
pub enum LaunchError {
    /// The kernel, or what confines this process, refuses io_uring.
    RingRefused(io::Error),
    /// Too little memory may be locked.
    MemoryLock {
        limit_bytes: u64,
        needed_bytes: u64,
    },
    /// The data directory's file system has no direct I/O.
    NoDirectIo {
        directory: PathBuf,
        file_system: String,
    },
    DataDirectory {
        directory: PathBuf,
        error: io::Error,
    },
    /// A core that is not there, or a thread that cannot be started.
    Thread {
        core: usize,
        error: io::Error,
    },
}

impl fmt::Display for LaunchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RingRefused(error) if error.raw_os_error() == Some(libc::ENOMEM) => write!(
                formatter,
                "io_uring got no memory ({error}): raise LimitMEMLOCK (systemd) or `ulimit -l`"
            ),
            Self::RingRefused(error) if error.raw_os_error() == Some(libc::EINVAL) => write!(
                formatter,
                "this kernel's io_uring is too old ({error}): Linux 6.1 or later is needed"
            ),
            Self::RingRefused(error) => write!(
                formatter,
                "io_uring is refused ({error}): set the sysctl kernel.io_uring_disabled to 0 \
                 (2 forbids it, 1 allows it to kernel.io_uring_group only); in a container, let its \
                 seccomp profile allow io_uring_setup, io_uring_enter and io_uring_register"
            ),
            Self::MemoryLock { limit_bytes, needed_bytes } => write!(
                formatter,
                "only {limit_bytes} bytes of memory may be locked, {needed_bytes} are needed: set \
                 LimitMEMLOCK={needed_bytes} (systemd) or `ulimit -l {}`",
                needed_bytes.div_ceil(1024)
            ),
            Self::NoDirectIo { directory, file_system } => write!(
                formatter,
                "{} lies on {file_system}, which has no direct I/O (O_DIRECT): use a data directory \
                 on ext4 or xfs",
                directory.display()
            ),
            Self::DataDirectory { directory, error } => {
                write!(formatter, "the data directory {}: {error}", directory.display())
            }
            Self::Thread { core, error } => {
                write!(formatter, "no thread on core {core}: {error}")
            }
        }
    }
}

impl std::error::Error for LaunchError {}

/// Shards that run.
pub struct Running {
    shards: Vec<ExecutorJoinHandle<Result<(), io::Error>>>,
    handles: Vec<WakeHandle>,
    cores: Vec<usize>,
}

impl Running {
    /// By which other threads wake the shards.
    #[must_use]
    pub fn wake_handles(&self) -> &[WakeHandle] {
        &self.handles
    }

    /// Until all shards have ended.
    ///
    /// # Errors
    /// A thread that did not end well. A panic ends the process.
    pub fn join(self) -> Result<(), LaunchError> {
        for (shard, core) in self.shards.into_iter().zip(self.cores) {
            join(shard, core)?;
        }
        Ok(())
    }
}

/// Does what is cheap only while the process has one thread: the executors make the kernel promise
/// memory barriers, for which it otherwise waits until every thread of the machine has been elsewhere.
/// To be called first; what follows works without, some ten milliseconds later.
pub fn prepare() {
    glommio::early_init();
}

/// Starts `main` on every core, with the shard's index and its world, and waits until all have ended.
///
/// # Errors
/// What is missing; no shard has run then.
pub fn launch<F: Future<Output = ()> + 'static>(
    cores: &[usize],
    directory: &Path,
    budget: &Budget,
    main: impl Fn(usize, RingIo) -> F + Clone + Send + 'static,
) -> Result<(), LaunchError> {
    start(cores, directory, budget, main)?.join()
}

/// As `launch`, but returns when all shards run.
///
/// # Errors
/// What is missing; no shard has run then.
pub fn start<F: Future<Output = ()> + 'static>(
    cores: &[usize],
    directory: &Path,
    budget: &Budget,
    main: impl Fn(usize, RingIo) -> F + Clone + Send + 'static,
) -> Result<Running, LaunchError> {
    assert!(!cores.is_empty());
    check_memory_lock(cores.len())?;
    check_ring()?;
    system::bound_heap(HEAP_ALLOCATION_BYTES_MAX, HEAP_KEPT_BYTES_MAX);
    let directory = Arc::new(open_directory(directory)?);
    let surveyor = Surveyor::start(Arc::clone(&directory));
    let surveyor = surveyor.map_err(|error| LaunchError::Thread { core: cores[0], error })?;
    let common = Arc::new(Common {
        origin: ring::monotonic_origin(),
        share: Share::new(budget.descriptor_count, cores.len()),
        directory,
        surveyor,
        slumbers: cores.iter().map(|_| Slumber::default()).collect(),
        arena_bytes: budget.arena_bytes,
        receive_bytes_max: budget.receive_bytes_max,
    });
    // The executor would read it for each core, all of it.
    let machine = CpuSet::online().map_err(|error| launch_error(error, cores[0]))?;
    let mut seats = Vec::new();
    for (shard_index, core) in cores.iter().enumerate() {
        let seat = Seat { common: Arc::clone(&common), shard_index, spin: budget.spin };
        seats.push(begin(seat, &machine, *core, main.clone())?);
    }
    let mut peers = Vec::new();
    for (index, core) in cores.iter().enumerate() {
        let Ok(peer) = seats[index].peer.recv() else {
            // The thread has ended before it had a ring, and so will the others without their peers.
            let (first, core) = (seats.swap_remove(index), *core);
            join(first.shard, core)?;
            let error = io::Error::other("it ended at once");
            return Err(LaunchError::Thread { core, error });
        };
        peers.push(peer);
    }
    let handles = peers.iter().map(|it| it.handle().clone()).collect();
    for (seat, core) in seats.iter().zip(cores) {
        let all = peers.iter().map(Peer::try_clone).collect::<io::Result<Vec<_>>>();
        let all = all.map_err(|error| LaunchError::Thread { core: *core, error })?;
        // A thread that cannot take them has ended, which `join` tells.
        drop(seat.peers.send(all));
    }
    let shards = seats.into_iter().map(|it| it.shard).collect();
    Ok(Running { shards, handles, cores: cores.to_vec() })
}

struct Seat {
    common: Arc<Common>,
    shard_index: usize,
    spin: Duration,
}

/// A thread that has begun, as seen from outside.
struct Begun {
    shard: ExecutorJoinHandle<Result<(), io::Error>>,
    /// Its ring, once it has one.
    peer: mpsc::Receiver<Peer>,
    /// All rings, for which it waits.
    peers: mpsc::Sender<Vec<Peer>>,
}

fn begin<F: Future<Output = ()> + 'static>(
    seat: Seat,
    machine: &CpuSet,
    core: usize,
    main: impl Fn(usize, RingIo) -> F + Send + 'static,
) -> Result<Begun, LaunchError> {
    let place = machine.clone().filter(|it| it.cpu == core);
    let (peer_sender, peer) = mpsc::channel();
    let (peers, peers_receiver) = mpsc::channel();
    let shard = LocalExecutorBuilder::new(Placement::Fenced(place))
        .name("shard")
        .io_memory(EXECUTOR_BYTES)
        .ring_depth(EXECUTOR_RING_ENTRIES)
        .preempt_timer(EXECUTOR_PREEMPTS)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || run(seat, peer_sender, peers_receiver, main))
        .map_err(|error| launch_error(error, core))?;
    Ok(Begun { shard, peer, peers })
}

/// The whole life of a shard's thread.
async fn run<F: Future<Output = ()> + 'static>(
    seat: Seat,
    peer: mpsc::Sender<Peer>,
    peers: mpsc::Receiver<Vec<Peer>>,
    main: impl Fn(usize, RingIo) -> F,
) -> io::Result<()> {
    let io = RingIo::new(&seat.common, seat.shard_index)?;
    let ring = &io.core.ring;
    if peer.send(ring.as_peer()?).is_err() {
        return Ok(());
    }
    let Ok(peers) = peers.recv() else { return Ok(()) };
    ring.set_peers(peers);
    let is_over = Rc::new(Cell::new(false));
    let over = Rc::clone(&is_over);
    let main = main(seat.shard_index, io.clone());
    io.spawn(Class::Foreground, async move {
        main.await;
        over.set(true);
    });
    driver::drive(&io.core, &is_over, seat.spin).await;
    driver::close(&io.core);
    Ok(())
}

fn join(shard: ExecutorJoinHandle<Result<(), io::Error>>, core: usize) -> Result<(), LaunchError> {
    match shard.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LaunchError::RingRefused(error)),
        Err(error) => Err(launch_error(error, core)),
    }
}

fn launch_error(error: GlommioError<()>, core: usize) -> LaunchError {
    match error {
        GlommioError::IoError(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::ENOSYS | libc::ENOMEM | libc::EINVAL)
            ) =>
        {
            LaunchError::RingRefused(error)
        }
        other => LaunchError::Thread { core, error: io::Error::other(other.to_string()) },
    }
}

/// Raises what may be locked to what is allowed.
fn check_memory_lock(shard_count: usize) -> Result<(), LaunchError> {
    let refused = LaunchError::RingRefused;
    let mut lock = system::memory_lock().map_err(refused)?;
    if lock.soft_bytes < lock.hard_bytes {
        lock = MemoryLock { soft_bytes: lock.hard_bytes, ..lock };
        system::set_memory_lock(lock).map_err(refused)?;
    }
    let shard_count = u64::try_from(shard_count).expect("64 bits");
    let needed_bytes = LOCKED_BYTES * (1 + shard_count);
    if lock.soft_bytes < needed_bytes {
        return Err(LaunchError::MemoryLock { limit_bytes: lock.soft_bytes, needed_bytes });
    }
    Ok(())
}

/// Whether the kernel gives us a ring such as ours.
fn check_ring() -> Result<(), LaunchError> {
    let built: io::Result<IoUring> =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(4);
    built.map(drop).map_err(LaunchError::RingRefused)
}

/// The data directory, if files in it can be opened for direct I/O.
fn open_directory(path: &Path) -> Result<File, LaunchError> {
    let failed = |error| LaunchError::DataDirectory { directory: path.to_owned(), error };
    let options = |flags| {
        let mut options = File::options();
        options.read(true).custom_flags(flags);
        options
    };
    let directory = options(libc::O_DIRECTORY).open(path).map_err(failed)?;
    let probe = path.join(format!(".direct-io-{}", std::process::id()));
    let opened = options(libc::O_DIRECT).write(true).create(true).truncate(false).open(&probe);
    if let Err(error) = std::fs::remove_file(&probe)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    match opened {
        Ok(_) => Ok(directory),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            let file_system = system::file_system(&directory).map_err(failed)?;
            Err(LaunchError::NoDirectIo { directory: path.to_owned(), file_system })
        }
        // A full disk must still be readable.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Ok(directory),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &LaunchError, wanted: &[&str]) {
        let text = error.to_string();
        for word in wanted {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }

    #[test]
    fn errors_name_the_setting_to_change() {
        let refused = |errno| LaunchError::RingRefused(io::Error::from_raw_os_error(errno));
        check(&refused(libc::EPERM), &["kernel.io_uring_disabled", "seccomp"]);
        check(&refused(libc::ENOSYS), &["kernel.io_uring_disabled", "seccomp"]);
        check(&refused(libc::EINVAL), &["6.1"]);
        check(&refused(libc::ENOMEM), &["LimitMEMLOCK", "ulimit -l"]);
        let lock = LaunchError::MemoryLock { limit_bytes: 65536, needed_bytes: 1 << 20 };
        check(&lock, &["65536", "LimitMEMLOCK=1048576", "ulimit -l 1024"]);
        let directory = PathBuf::from("/data");
        let no_direct = LaunchError::NoDirectIo { directory, file_system: "tmpfs".into() };
        check(&no_direct, &["/data", "tmpfs", "O_DIRECT"]);
    }

    #[test]
    fn a_missing_data_directory_is_named() {
        let error = open_directory(Path::new("/nowhere/at/all")).unwrap_err();
        check(&error, &["/nowhere/at/all"]);
    }
}
