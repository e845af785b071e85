//! One shard's io_uring: all its files, sockets and wake-ups.
//!
//! Requests are collected and given to the kernel once a turn. A request owns its buffers until the kernel
//! is done with them, waited for or not. Belongs to one thread, and knows no executor: it hands out wakers.
#![expect(unsafe_code, reason = "what the kernel is pointed to; see the SAFETY comments")]

#[cfg(failpoints)]
mod failpoint;
pub(crate) mod inbox;
pub mod pool;
pub(crate) mod request;
pub(crate) mod slots;
pub(crate) mod system;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode};

use crate::buffer::HomeId;
use crate::buffer::arena::Arena;
use inbox::{Arrivals, Inbox};
use pool::Pools;
use request::Request;
use slots::{Key, Slots};

/// Entries of the submission queue; a turn that needs more submits in between.
const SUBMISSIONS: u32 = 512;
/// Entries of the completion queue; the kernel keeps what finds no room.
const COMPLETIONS: u32 = 4096;
/// Completions taken in a turn.
const REAPED_MAX: usize = 512;
/// Kernel threads for what cannot be done without blocking: bound to files, and others.
const WORKERS_MAX: [u32; 2] = [8, 8];

/// User data of a wake-up from another shard.
const WOKEN: u64 = u64::MAX;
/// User data of a wake-up for another shard, plus its index. Only a failure is told.
const WAKE_FAILED: u64 = Key::RESERVED;

/// Wakes a shard from any thread.
#[derive(Clone, Debug)]
pub struct WakeHandle {
    counter: Arc<File>,
}

impl WakeHandle {
    pub fn wake(&self) {
        // Any number but zero, and a small one on the machines of today.
        (&*self.counter).write_all(&[1, 0, 0, 0, 0, 0, 0, 0]).expect("the counter is ours");
    }
}

/// How one shard reaches another.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The other's ring, kept open by a descriptor of our own.
    ring: OwnedFd,
    handle: WakeHandle,
}

impl Peer {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { ring: self.ring.try_clone()?, handle: self.handle.clone() })
    }

    pub(crate) fn handle(&self) -> &WakeHandle {
        &self.handle
    }
}

/// A clone is another handle to the same ring.
#[derive(Clone)]
pub(crate) struct Ring {
    state: Rc<RefCell<State>>,
}

/// What a look at the completions brought. Emptied by the caller, outside of any borrow.
#[derive(Default)]
pub(crate) struct Reaped {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) requests: Vec<Request>,
    pub(crate) is_woken: bool,
    pub(crate) count: usize,
}

/// What the kernel can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    pub(crate) truncates: bool,
}

struct State {
    /// Dropped by hand, after the kernel gave back all requests, and before what it may point to.
    uring: ManuallyDrop<IoUring>,
    slots: Slots,
    pools: Pools,
    counter: Arc<File>,
    peers: Vec<Peer>,
    abilities: Abilities,
    home: HomeId,
    is_closing: bool,
    /// The kernel refused to lock more memory.
    is_lock_exhausted: bool,
    completions: Vec<(u64, i32, u32)>,
}

impl Ring {
    /// # Errors
    /// The kernel's refusal: no io_uring, or not enough memory.
    pub(crate) fn new(arena: &Arena, receive_bytes_max: usize) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let pools = Pools::new(receive_bytes_max)?;
        // SAFETY: the state below owns both, and its drop closes the ring first.
        unsafe { pools.register(&uring.submitter()) }?;
        let table = u32::try_from(arena.registered_max().max(1)).expect("bounded by the kernel");
        uring.submitter().register_buffers_sparse(table)?;
        uring.submitter().register_iowq_max_workers(&mut WORKERS_MAX.clone())?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let abilities = Abilities { truncates: probe.is_supported(opcode::Ftruncate::CODE) };
        let state = State {
            uring: ManuallyDrop::new(uring),
            slots: Slots::default(),
            pools,
            counter: Arc::new(File::from(system::eventfd()?)),
            peers: Vec::new(),
            abilities,
            home: arena.home_id(),
            is_closing: false,
            is_lock_exhausted: false,
            completions: Vec::with_capacity(REAPED_MAX),
        };
        let ring = Self { state: Rc::new(RefCell::new(state)) };
        ring.state.borrow_mut().wait_wake();
        Ok(ring)
    }

    /// Holds on to `file` until the kernel has given back the last request, also if the process is
    /// killed: its rings are taken down, and registered files let go, only then. Called once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn keep(&self, file: &File) -> io::Result<()> {
        self.state.borrow().uring.submitter().register_files(&[file.as_raw_fd()])
    }

    /// How other shards reach this one.
    pub(crate) fn as_peer(&self) -> io::Result<Peer> {
        let state = self.state.borrow();
        // SAFETY: the ring is open as long as `state`.
        let ring = unsafe { std::os::fd::BorrowedFd::borrow_raw(state.uring.as_raw_fd()) };
        let ring = ring.try_clone_to_owned()?;
        Ok(Peer { ring, handle: WakeHandle { counter: Arc::clone(&state.counter) } })
    }

    pub(crate) fn handle(&self) -> WakeHandle {
        WakeHandle { counter: Arc::clone(&self.state.borrow().counter) }
    }

    /// Once, before the first `wake`. By shard, this one included.
    pub(crate) fn set_peers(&self, peers: Vec<Peer>) {
        self.state.borrow_mut().peers = peers;
    }

    pub(crate) fn abilities(&self) -> Abilities {
        self.state.borrow().abilities
    }

    pub(crate) fn new_inbox(&self) -> Rc<Inbox> {
        Inbox::new(self.state.borrow().pools.clone())
    }

    /// Gives the kernel `request` with the next submission.
    pub(crate) fn start(&self, request: Request) -> Operation {
        let key = self.state.borrow_mut().start(request);
        Operation { ring: self.clone(), key: Some(key) }
    }

    pub(crate) fn receive(&self, socket: &Rc<OwnedFd>, inbox: &Rc<Inbox>) {
        let request = Request::Receive { socket: Rc::clone(socket), inbox: Rc::clone(inbox) };
        let key = self.state.borrow_mut().start(request);
        inbox.on_armed(key);
    }

    pub(crate) fn accept(&self, listener: &Rc<OwnedFd>, arrivals: &Rc<Arrivals>) {
        let (listener, arrivals) = (Rc::clone(listener), Rc::clone(arrivals));
        let request = Request::Accept { listener, arrivals: Rc::clone(&arrivals) };
        let key = self.state.borrow_mut().start(request);
        arrivals.on_armed(key);
    }

    pub(crate) fn cancel(&self, key: Key) {
        self.state.borrow_mut().start(Request::Cancel { key });
    }

    /// Wakes another shard with the next submission.
    pub(crate) fn wake(&self, peer: usize) {
        let mut state = self.state.borrow_mut();
        let fd = io_uring::types::Fd(state.peers[peer].ring.as_raw_fd());
        let index = u64::try_from(peer).expect("64 bits");
        let entry = opcode::MsgRingData::new(fd, 0, WOKEN, None)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(WAKE_FAILED + index);
        state.push(&entry);
    }

    /// Tells the kernel which memory is the arena's. Memory that it refuses works all the same.
    pub(crate) fn register(&self, arena: &mut Arena) {
        let mut state = self.state.borrow_mut();
        while let Some(registration) = arena.poll_registration() {
            let vectors = [registration.iovec()];
            if state.is_lock_exhausted && vectors[0].iov_len > 0 {
                continue;
            }
            let submitter = state.uring.submitter();
            // SAFETY: the kernel pins the pages, whatever becomes of the mapping; they are used only by
            // requests that own a place in it.
            let result =
                unsafe { submitter.register_buffers_update(registration.index(), &vectors, None) };
            match result {
                Ok(()) => registration.confirm(),
                Err(error) => {
                    tracing::info!(%error, "io_uring does not register more memory");
                    state.is_lock_exhausted = true;
                }
            }
        }
    }

    /// Gives the kernel what was started, lets it finish what it has, and does not wait.
    /// Costs nothing if there is nothing to do.
    pub(crate) fn submit(&self) {
        self.state.borrow_mut().submit();
    }

    /// As `submit`, and waits for a completion, or until `timeout` is over.
    pub(crate) fn submit_and_wait(&self, timeout: Option<Duration>) {
        self.state.borrow_mut().submit_and_wait(timeout);
    }

    /// Takes completions, a bounded number.
    pub(crate) fn reap(&self, reaped: &mut Reaped) {
        self.state.borrow_mut().reap(reaped);
    }

    /// Nothing is started from here on; what can be given up is. Who waited is returned, not woken.
    pub(crate) fn close(&self) -> Vec<Waker> {
        let mut state = self.state.borrow_mut();
        state.cancel_all();
        let mut wakers = state.slots.take_wakers();
        wakers.extend(state.pools.take_starving());
        wakers
    }

    /// Requests that the kernel still has.
    pub(crate) fn busy_count(&self) -> usize {
        self.state.borrow().slots.busy_count()
    }
}

impl State {
    fn start(&mut self, request: Request) -> Key {
        #[cfg(failpoints)]
        failpoint::pass(failpoint::Moment::Before, &request);
        let key = self.slots.insert(request);
        let entry = self.slots.request(key).entry(self.home).user_data(key.user_data());
        self.push(&entry);
        key
    }

    fn push(&mut self, entry: &Entry) {
        loop {
            // SAFETY: all that the entry points to is owned by its request, on the heap, and the request
            // stays in its slot until the kernel is done; `drop` waits for that too.
            let pushed = unsafe { self.uring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            self.submit();
        }
    }

    fn wait_wake(&mut self) {
        let counter = Arc::clone(&self.counter);
        self.start(Request::WaitWake { counter, value: Box::new([0; 8]) });
    }

    fn cancel_all(&mut self) {
        if !self.is_closing {
            self.is_closing = true;
            self.start(Request::CancelAll);
        }
    }

    fn submit(&mut self) {
        let queue = self.uring.submission();
        let is_needed = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        let count = u32::try_from(queue.len()).expect("at most SUBMISSIONS");
        drop(queue);
        if is_needed {
            let flags = EnterFlags::GETEVENTS.bits();
            let submitter = self.uring.submitter();
            // SAFETY: no argument is passed.
            let result = unsafe { submitter.enter::<libc::sigset_t>(count, 0, flags, None) };
            check_entered(result);
        }
    }

    fn submit_and_wait(&mut self, timeout: Option<Duration>) {
        let mut flags = EnterFlags::empty();
        if self.uring.params().is_feature_no_iowait() {
            // Waiting for a client is no waiting for a disk.
            flags |= EnterFlags::NO_IOWAIT;
        }
        let submitter = self.uring.submitter();
        let timespec = timeout.map(Timespec::from);
        let arguments = match &timespec {
            Some(timespec) => SubmitArgs::new().timespec(timespec),
            None => SubmitArgs::new(),
        };
        check_entered(submitter.submit_with_args_and_flags(1, &arguments, flags));
    }

    fn reap(&mut self, reaped: &mut Reaped) {
        let mut completions = std::mem::take(&mut self.completions);
        let taken = self.uring.completion().take(REAPED_MAX);
        completions.extend(taken.map(|it| (it.user_data(), it.result(), it.flags())));
        reaped.count += completions.len();
        for (user_data, result, flags) in completions.drain(..) {
            if user_data == WOKEN {
                reaped.is_woken = true;
            } else if user_data >= Key::RESERVED {
                let peer = usize::try_from(user_data - WAKE_FAILED).expect("64 bits");
                self.peers[peer].handle.wake();
            } else {
                self.on_completion(Key::from_user_data(user_data), result, flags, reaped);
            }
        }
        self.completions = completions;
    }

    fn on_completion(&mut self, key: Key, result: i32, flags: u32, reaped: &mut Reaped) {
        match self.slots.request(key) {
            Request::Receive { inbox, .. } => {
                let inbox = Rc::clone(inbox);
                self.on_received(key, &inbox, result, flags, reaped);
            }
            Request::Accept { arrivals, .. } => {
                let arrivals = Rc::clone(arrivals);
                reaped.requests.push(self.slots.remove(key));
                reaped.wakers.extend(arrivals.on_arrival(accepted(result)));
            }
            Request::WaitWake { .. } => {
                reaped.requests.push(self.slots.remove(key));
                reaped.is_woken = true;
                if !self.is_closing {
                    self.wait_wake();
                }
            }
            Request::Cancel { key: target } => {
                let target = *target;
                reaped.requests.push(self.slots.remove(key));
                if result < 0
                    && let Some(Request::Receive { inbox, .. }) = self.slots.find(target)
                {
                    inbox.on_stop_failed();
                }
            }
            Request::CancelAll => reaped.requests.push(self.slots.remove(key)),
            Request::Open { opened, .. } if 0 <= result => {
                *opened = Some(owned(result));
                self.complete(key, 0, reaped);
            }
            _ => self.complete(key, result, reaped),
        }
    }

    fn complete(&mut self, key: Key, result: i32, reaped: &mut Reaped) {
        #[cfg(failpoints)]
        failpoint::pass(failpoint::Moment::After, self.slots.request(key));
        let (waker, request) = self.slots.complete(key, result);
        reaped.wakers.extend(waker);
        reaped.requests.extend(request);
    }

    fn on_received(
        &mut self,
        key: Key,
        inbox: &Rc<Inbox>,
        result: i32,
        flags: u32,
        reaped: &mut Reaped,
    ) {
        if let Some(id) = cqueue::buffer_select(flags) {
            let bytes = usize::try_from(result).unwrap_or(0);
            reaped.wakers.extend(inbox.on_bytes(id, bytes));
        }
        if !cqueue::more(flags) {
            reaped.requests.push(self.slots.remove(key));
            reaped.wakers.extend(inbox.on_over(result));
        } else if let Some(key) = inbox.poll_stop() {
            self.start(Request::Cancel { key });
        }
    }
}

impl Drop for State {
    /// Waits until the kernel has given back every request: it writes to what they own.
    fn drop(&mut self) {
        self.cancel_all();
        while self.slots.busy_count() > 0 {
            self.submit_and_wait(None);
            let mut reaped = Reaped::default();
            self.reap(&mut reaped);
        }
        // SAFETY: once, and the ring is not used after it.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
    }
}

fn accepted(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(owned(result))
}

/// A descriptor that a completion told of.
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel just opened it for us, and told us once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// What is no failure: interrupted, timed out, or the kernel asks us to take completions first.
fn check_entered(result: io::Result<usize>) {
    let Err(error) = result else { return };
    let is_passing = matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN)
    );
    assert!(is_passing, "io_uring_enter: {error}");
}

/// A request under way. Dropping it gives up the result; the request keeps its buffers until it is done.
#[must_use]
pub(crate) struct Operation {
    ring: Ring,
    key: Option<Key>,
}

impl Future for Operation {
    type Output = (io::Result<usize>, Request);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("not polled after it was ready");
        let polled = self.ring.state.borrow_mut().slots.poll(key, context.waker());
        let Some((request, result)) = polled else { return Poll::Pending };
        self.key = None;
        let result =
            usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result));
        Poll::Ready((result, request))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let orphaned = self.ring.state.borrow_mut().slots.orphan(key);
            drop(orphaned);
        }
    }
}

/// Nanoseconds of the monotonic clock since `origin`.
pub(crate) fn monotonic_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).expect("shorter than 500 years")
}

#[expect(clippy::disallowed_methods, reason = "the clock that the shard asks")]
pub(crate) fn monotonic_origin() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the clock that the shard asks")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
