//! What the bare reactor costs: asleep, as an echo, and as a group commit of small records.
//!
//! `cargo bench -p shard --bench ring -- idle|echo|append [connections] [seconds]`. Prints, asserts nothing.
//! Two shards: the first serves, the second plays the clients. CPU time is that of the serving thread.
#![expect(clippy::print_stdout, reason = "a bench answers on stdout")]
#![expect(clippy::unwrap_used, reason = "a bench that fails names the line")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use shard::io::{Class, Io, Nanos, Open, Sync};
use shard::reactor::RingIo;
use shard::reactor::launch::{Budget, launch};
use shard::socket::{RingSocket, SocketRules};

const RECORD_BYTES: usize = 1024;
const JOURNAL_BYTES: u64 = 64 << 20;

static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
static IS_OVER: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    Idle,
    Echo,
    Append,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let workload = match arguments.next().as_deref() {
        Some("idle") => Workload::Idle,
        Some("append") => Workload::Append,
        Some("echo") | None => Workload::Echo,
        Some(other) => panic!("no workload {other:?}"),
    };
    let connections = arguments.next().map_or(64, |it| it.parse().unwrap());
    let seconds = arguments.next().map_or(10, |it| it.parse().unwrap());
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("ring-bench");
    std::fs::create_dir_all(&directory).unwrap();
    let cores = affinity::get_thread_affinity().unwrap();
    let budget = Budget {
        arena_bytes: 64 << 20,
        receive_bytes_max: 8 << 20,
        descriptor_count: 1024,
        spin: Duration::ZERO,
    };
    launch(&cores[..2], &directory, &budget, move |index, io| async move {
        match (workload, index) {
            (Workload::Idle, 0) => idle(&io, seconds).await,
            (Workload::Idle, _) => over(&io).await,
            (_, 0) => serve(&io, workload).await,
            _ => play(&io, connections, seconds).await,
        }
    })
    .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Nanoseconds that a thread, or all of the process, has run. Threads of the kernel's count for the process.
fn cpu_nanos(path: &str) -> u64 {
    let stat = std::fs::read_to_string(path).unwrap();
    if path.ends_with("schedstat") {
        return stat.split(' ').next().unwrap().parse().unwrap();
    }
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10_000_000
}

fn resident_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|it| it.starts_with("VmRSS")).unwrap().to_owned()
}

async fn idle(io: &RingIo, seconds: u64) {
    io.sleep(Duration::from_secs(1)).await;
    let before = all_threads_nanos();
    let switches = context_switches();
    io.sleep(Duration::from_secs(seconds)).await;
    let after = all_threads_nanos();
    let switches = context_switches() - switches;
    println!(
        "idle: {} us of CPU in {seconds} s, {switches} wake-ups of the process",
        (after - before) / 1000
    );
    println!("{}", resident_kib());
    IS_OVER.store(true, Ordering::Release);
    io.wake(1);
}

fn all_threads_nanos() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|it| cpu_nanos(&format!("{}/schedstat", it.unwrap().path().display()))).sum()
}

fn context_switches() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find(|it| it.starts_with("voluntary_ctxt_switches")).unwrap();
        sum += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    }
    sum
}

async fn over(io: &RingIo) {
    while !IS_OVER.load(Ordering::Acquire) {
        io.woken().await;
    }
}

async fn serve(io: &RingIo, workload: Workload) {
    let listener =
        io.listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), SocketRules::PLAIN).unwrap();
    let journal = Rc::new(Journal::new(io).await);
    if workload == Workload::Append {
        let (io, journal) = (io.clone(), Rc::clone(&journal));
        io.clone().spawn(Class::Foreground, async move { journal.run(&io).await });
    }
    ADDRESS.set(listener.local_address().unwrap()).unwrap();
    io.wake(1);
    let inner = io.clone();
    io.spawn(Class::Foreground, async move {
        loop {
            let socket = inner.accept(&listener).await.unwrap();
            let (io, journal) = (inner.clone(), Rc::clone(&journal));
            inner.spawn(Class::Foreground, async move {
                answer(&io, &socket, workload, &journal).await;
            });
        }
    });
    over(io).await;
    println!("{}", resident_kib());
}

async fn answer(io: &RingIo, socket: &RingSocket, workload: Workload, journal: &Journal) {
    let mut missing = RECORD_BYTES;
    while let Ok(received) = io.receive(socket).await
        && !received.is_empty()
    {
        if received.len() < missing {
            missing -= received.len();
            continue;
        }
        assert_eq!(received.len(), missing);
        missing = RECORD_BYTES;
        if workload == Workload::Append {
            let end = journal.append(&received);
            drop(received);
            journal.durable(end).await;
        }
        if io.send(socket, vec![Bytes::from_static(&[1; 16])]).await.is_err() {
            return;
        }
    }
}

/// One write in flight; what comes meanwhile is the next.
struct Journal {
    file: <RingIo as Io>::File,
    pending: RefCell<Vec<u8>>,
    appended: Cell<u64>,
    durable: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
    writer: RefCell<Option<Waker>>,
    frames: Cell<u64>,
}

impl Journal {
    async fn new(io: &RingIo) -> Self {
        let file = io.open("journal", Open::CreateDirect).await.unwrap();
        let mut block = io.block(1 << 20).unwrap();
        block.append_with(|free| free.len());
        for pos in 0..JOURNAL_BYTES >> 20 {
            io.write(&file, pos << 20, vec![block.disk(0..1 << 20)], Sync::Lazy).await.unwrap();
        }
        io.sync(&file).await.unwrap();
        Self {
            file,
            pending: RefCell::default(),
            appended: Cell::new(0),
            durable: Cell::new(0),
            waiting: RefCell::default(),
            writer: RefCell::default(),
            frames: Cell::new(0),
        }
    }

    fn append(&self, bytes: &[u8]) -> u64 {
        self.pending.borrow_mut().extend_from_slice(bytes);
        self.appended.set(self.appended.get() + 1);
        self.writer.take().into_iter().for_each(Waker::wake);
        self.appended.get()
    }

    async fn durable(&self, end: u64) {
        poll_fn(|context| {
            if end <= self.durable.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn run(&self, io: &RingIo) {
        let mut pos = 0;
        while !IS_OVER.load(Ordering::Relaxed) {
            poll_fn(|context| {
                if !self.pending.borrow().is_empty() {
                    return Poll::Ready(());
                }
                *self.writer.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
            io.yield_now().await;
            let bytes = self.pending.take();
            let end = self.appended.get();
            let mut block = io.block(bytes.len()).unwrap();
            block.append(&bytes);
            let range = block.disk(0..bytes.len().next_multiple_of(4096));
            if JOURNAL_BYTES < pos + u64::try_from(range.len()).unwrap() {
                pos = 0;
            }
            let written = u64::try_from(range.len()).unwrap();
            io.write(&self.file, pos, vec![range], Sync::Durable).await.unwrap();
            pos += written;
            self.durable.set(end);
            self.frames.set(self.frames.get() + 1);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Every connection sends a record, waits for the answer, and sends the next.
async fn play(io: &RingIo, connections: usize, seconds: u64) {
    while ADDRESS.get().is_none() {
        io.woken().await;
    }
    let server = server_thread();
    let latencies = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..connections {
        let socket = io.connect(*ADDRESS.get().unwrap()).unwrap();
        let (io, latencies) = (io.clone(), Rc::clone(&latencies));
        io.clone().spawn(Class::Foreground, async move {
            let record = Bytes::from_static(&[7; RECORD_BYTES]);
            loop {
                let begin = io.now();
                io.send(&socket, vec![record.clone()]).await.unwrap();
                let mut missing = 16;
                while missing > 0 {
                    missing -= io.receive(&socket).await.unwrap().len();
                }
                latencies.borrow_mut().push(io.now().since(begin));
            }
        });
    }
    io.sleep(Duration::from_secs(1)).await;
    drop(latencies.take());
    let (begin, thread, all) = (io.now(), cpu_nanos(&server), cpu_nanos("/proc/self/stat"));
    io.sleep(Duration::from_secs(seconds)).await;
    let (thread, all) = (cpu_nanos(&server) - thread, cpu_nanos("/proc/self/stat") - all);
    report(&mut latencies.take(), (begin, io.now()), thread, all);
    IS_OVER.store(true, Ordering::Release);
    io.wake(0);
}

/// The schedstat of the first shard's thread.
fn server_thread() -> String {
    let mut tasks: Vec<_> =
        std::fs::read_dir("/proc/self/task").unwrap().map(|it| it.unwrap().path()).collect();
    tasks.sort();
    let is_shard = |it: &&std::path::PathBuf| {
        std::fs::read_to_string(it.join("comm")).unwrap().starts_with("shard")
    };
    let first = tasks.iter().find(is_shard).unwrap();
    format!("{}/schedstat", first.display())
}

fn report(latencies: &mut [Duration], (begin, end): (Nanos, Nanos), thread: u64, all: u64) {
    latencies.sort_unstable();
    let count = latencies.len();
    let nanos = u64::try_from(end.since(begin).as_nanos()).unwrap();
    let operations = u64::try_from(count).unwrap();
    let at = |thousandth: usize| latencies[(count * thousandth / 1000).min(count - 1)].as_micros();
    println!("{} operations/s", operations * 1_000_000_000 / nanos);
    println!(
        "CPU of the serving thread: {} ns each, {} % of its core; process with clients: {} ns each",
        thread / operations,
        thread * 100 / nanos,
        all / operations
    );
    println!("latency us: p50 {} p99 {} p99.9 {}", at(500), at(990), at(999));
}
