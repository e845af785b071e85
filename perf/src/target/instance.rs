//! A broker that runs, and how it ends.
//!
//! Invariant: what was started here has ended when this is dropped, however the measure ended.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Moment, pause};
use crate::failure::Failure;
use crate::process::Process;
use crate::protocol::Protocol;
use crate::stop::Stop;

/// A broker that does not answer after this time will not.
const READY_WAIT: Duration = Duration::from_secs(120);
/// What does not end when it is asked to is killed after this time.
const STOP_WAIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// Pairs of ports that are tried for one of which both are free.
const PORT_TRIES: usize = 100;
/// Below the ports that the kernel gives to those who connect: it keeps those of W9's for a minute.
const FIRST_PORT: u16 = 20_000;
const PAIRS: u32 = 5_000;
/// Of a log, in a failure.
const LOG_LINES_SHOWN: usize = 5;

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    running: Option<Running>,
    /// Behind `running`, so that it ends after it.
    companion: Option<Companion>,
    /// Nobody waits for a broker that shuts down in its own time once it was asked for.
    stop: Stop,
}

/// A process that a broker needs beside it. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Companion(Child);

#[derive(Debug)]
struct Running {
    pid: Pid,
    /// `None` if a script started it.
    child: Option<Child>,
}

impl Instance {
    /// Nobody here started it, so nobody here ends it.
    pub(crate) fn elsewhere(address: SocketAddr) -> Self {
        Self { address, running: None, companion: None, stop: Stop::default() }
    }

    /// A process whose parent we are.
    pub(crate) fn of_child(
        address: SocketAddr,
        child: Child,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let running = Running { pid: pid_of(child.id())?, child: Some(child) };
        let stop = stop.clone();
        Ok(Self { address, running: Some(running), companion: None, stop })
    }

    /// A process that a script left running.
    pub(crate) fn of_pid(address: SocketAddr, pid: u32, stop: &Stop) -> Result<Self, Failure> {
        let running = Running { pid: pid_of(pid)?, child: None };
        let stop = stop.clone();
        Ok(Self { address, running: Some(running), companion: None, stop })
    }

    /// The same, with a process that ends after it.
    pub(crate) fn with(mut self, companion: Companion) -> Self {
        self.companion = Some(companion);
        self
    }

    /// `None` of one that runs elsewhere.
    pub(crate) fn process(&self) -> Result<Option<Process>, Failure> {
        let pid = self.running.as_ref().map(|running| running.pid.as_raw_nonzero().get());
        pid.map(|pid| Process::of(u32::try_from(pid).expect("pids are positive"))).transpose()
    }

    /// The words it was started with.
    pub(crate) fn command(&self) -> Result<Vec<String>, Failure> {
        let Some(running) = &self.running else { return Ok(Vec::new()) };
        let path = format!("/proc/{}/cmdline", running.pid.as_raw_nonzero());
        let line = fs::read_to_string(&path)
            .map_err(|error| Failure::io(format!("read {path}"), error))?;
        Ok(line.split_terminator('\0').map(str::to_owned).collect())
    }

    /// Returns when it answers; `log` says why if it does not.
    pub(crate) fn until_ready(&mut self, protocol: Protocol, log: &Path) -> Result<(), Failure> {
        let deadline = Moment::now().plus(READY_WAIT);
        while !protocol.answers(self.address) {
            self.stop.check()?;
            let has_ended = self.running.as_mut().is_some_and(Running::has_ended);
            if has_ended || deadline <= Moment::now() {
                let (address, end) = (self.address, end_of(log));
                let why = format!("the broker at {address} does not answer: {end}");
                return Err(Failure::new(why));
            }
            pause(PAUSE);
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has; how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        let start = Moment::now();
        if let Some(mut running) = self.running.take() {
            running.end(&self.stop);
        }
        Moment::now().since(start)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.end(&self.stop);
        }
    }
}

impl Companion {
    pub(crate) const fn of(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        if self.0.kill().is_ok() && self.0.wait().is_err() {
            // Nobody else waits for it, so that this cannot be; there is nothing to do about it.
        }
    }
}

impl Running {
    fn end(&mut self, stop: &Stop) {
        self.signal(Signal::TERM);
        let deadline = Moment::now().plus(STOP_WAIT);
        while !self.has_ended() {
            if stop.is_asked() || deadline <= Moment::now() {
                self.signal(Signal::KILL);
            }
            pause(PAUSE);
        }
    }

    fn signal(&self, signal: Signal) {
        if kill_process(self.pid, signal).is_err() {
            // It has ended by itself: `has_ended` says so.
        }
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => is_gone(self.pid),
        }
    }
}

/// Also of a process that is a zombie for want of a parent that looks.
fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

fn pid_of(pid: u32) -> Result<Pid, Failure> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| Failure::new(format!("{pid} is no process")))
}

/// Two that are free, beside each other; the first. Kafka needs both.
pub(crate) fn free_port() -> Result<u16, Failure> {
    static PAIRS_TAKEN: AtomicU32 = AtomicU32::new(0);
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORT_TRIES {
        // ORDERING: Relaxed; nobody needs more of it than another number each time.
        let pair = std::process::id().wrapping_add(PAIRS_TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(pair % PAIRS).expect("below PAIRS") * 2;
        if is_free(port) && is_free(port + 1) {
            return Ok(port);
        }
    }
    Err(Failure::new(format!("no two ports of 127.0.0.1 from {FIRST_PORT} on are free")))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
    format!("the end of {}:\n{}", log.display(), lines[shown..].join("\n"))
}
