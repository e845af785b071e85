//! What the disk does beside a run: a durable write of 4 KiB now and then, whose latency no broker has made.
//!
//! It shares the disk with the broker, and waits its turn behind it. What takes it tens of milliseconds while
//! little is written is the disk.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::pwrite;

use crate::clock::{Moment, pause};
use crate::latency::Latency;
use crate::limits::aligned::Aligned;
use crate::report::{Report, float};

const INTERVAL: Duration = Duration::from_millis(50);
const WRITE_BYTES: usize = 4 << 10;
/// Written over and over: nothing is allocated for it.
const FILE_BYTES: u64 = 1 << 20;
/// What takes longer is a stall.
const STALL: Duration = Duration::from_millis(10);

/// It writes until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct DiskProbe {
    is_over: Arc<AtomicBool>,
    began: Moment,
    path: PathBuf,
    thread: JoinHandle<Seen>,
}

#[derive(Debug)]
struct Seen {
    latency: Latency,
    stalled: Duration,
}

impl DiskProbe {
    /// On the disk of a folder. `None` if that takes no durable direct writes.
    pub(crate) fn begin(folder: &Path) -> Option<Self> {
        let path = folder.join(format!("disk-probe.{}", id()));
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
        let file = open(&path, flags | OFlags::DSYNC, Mode::RUSR | Mode::WUSR).ok()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = start(move || probe(&file, &over));
        Some(Self { is_over, began: Moment::now(), path, thread })
    }

    /// Names and numbers.
    pub(crate) fn end(self) -> Vec<(String, f64)> {
        // Nothing else is read because of it.
        self.is_over.store(true, Ordering::Relaxed);
        let seen = self.thread.join();
        if fs::remove_file(&self.path).is_err() {
            // Who empties the folder takes it along.
        }
        let Ok(Seen { latency, stalled }) = seen else { return Vec::new() };
        let mut report = Report::new("the disk beside a run");
        let elapsed = Moment::now().since(self.began).as_secs_f64();
        report.put_latency("disk_probe_", &latency);
        report.put(COUNT, float(latency.count()));
        report.put("disk_probe_stalled_percent", 100.0 * stalled.as_secs_f64() / elapsed);
        report.rows().to_vec()
    }
}

#[expect(clippy::disallowed_methods, reason = "no shard runs in this process")]
fn start(body: impl FnOnce() -> Seen + Send + 'static) -> JoinHandle<Seen> {
    thread::spawn(body)
}

/// How many writes it made.
pub(crate) const COUNT: &str = "disk_probe_write_count";

fn probe(file: &OwnedFd, is_over: &AtomicBool) -> Seen {
    let memory = Aligned::of(WRITE_BYTES);
    let blocks = || (0..FILE_BYTES).step_by(WRITE_BYTES);
    let mut seen = Seen { latency: Latency::new(), stalled: Duration::ZERO };
    // Before anything counts, the file is as long as it will be.
    if blocks().any(|at| pwrite(file, memory.bytes(), at).is_err()) {
        return seen;
    }
    for at in blocks().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let start = Moment::now();
        if pwrite(file, memory.bytes(), at).is_err() {
            break;
        }
        let took = Moment::now().since(start);
        seen.latency.record_ns(Moment::now().ns_since(start));
        seen.stalled += if STALL < took { took } else { Duration::ZERO };
        pause(INTERVAL);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_its_writes_took_and_leaves_nothing() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/disk-probe-test");
        fs::create_dir_all(&folder).expect("a folder");
        let probe = DiskProbe::begin(&folder).expect("the disk takes durable direct writes");
        pause(INTERVAL * 4);
        let numbers = probe.end();
        let of = |name: &str| numbers.iter().find(|(it, _)| it == name).map(|(_, value)| *value);
        assert!(of("disk_probe_max_us") > Some(0.0), "{numbers:?}");
        assert!(of(COUNT).is_some(), "{numbers:?}");
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0);
    }
}
