//! What the disk does beside a run: a durable write of 4 KiB now and then, whose latency no broker has made.
//!
//! It shares the disk with the broker, and waits its turn behind it. What takes it tens of milliseconds while
//! little is written is the disk.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::id;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::pwrite;

use crate::beside::Beside;
use crate::clock::Moment;
use crate::latency::Latency;
use crate::limits::aligned::Aligned;
use crate::report::{Report, float};
use crate::stop::Stop;

/// How many writes it made.
pub(crate) const COUNT: &str = "disk_probe_write_count";

const INTERVAL: Duration = Duration::from_millis(50);
const WRITE_BYTES: usize = 4 << 10;
/// Written over and over: nothing is allocated for it.
const FILE_BYTES: u64 = 1 << 20;
/// What takes longer is a stall.
const STALL: Duration = Duration::from_millis(10);

/// It writes until it is asked what it saw.
#[derive(Debug)]
pub(crate) struct DiskProbe(Beside<Option<Seen>>);

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
        // Whatever ends the probe, nothing of it is left.
        fs::remove_file(&path).ok()?;
        Some(Self(Beside::begin(move |stop| probe(&file, stop))))
    }

    /// Names and numbers; none if a write failed.
    pub(crate) fn end(self) -> Vec<(String, f64)> {
        let (Some(Seen { latency, stalled }), lasted) = self.0.end() else { return Vec::new() };
        let mut report = Report::new("the disk beside a run");
        report.put_latency("disk_probe_", &latency);
        report.put(COUNT, float(latency.count()));
        let stalled_percent = 100.0 * stalled.as_secs_f64() / lasted.as_secs_f64();
        report.put("disk_probe_stalled_percent", stalled_percent);
        report.rows().to_vec()
    }
}

/// `None`: a write failed.
fn probe(file: &OwnedFd, stop: &Stop) -> Option<Seen> {
    let memory = Aligned::of(WRITE_BYTES);
    let blocks = || (0..FILE_BYTES).step_by(WRITE_BYTES);
    // Before anything counts, the file is as long as it will be.
    for at in blocks() {
        pwrite(file, memory.bytes(), at).ok()?;
    }
    let mut seen = Seen { latency: Latency::new(), stalled: Duration::ZERO };
    for at in blocks().cycle() {
        if stop.pause(INTERVAL).is_err() {
            break;
        }
        let start = Moment::now();
        pwrite(file, memory.bytes(), at).ok()?;
        let took_ns = Moment::now().ns_since(start);
        seen.latency.record_ns(took_ns);
        let took = Duration::from_nanos(took_ns);
        seen.stalled += if STALL < took { took } else { Duration::ZERO };
    }
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::pause;

    #[test]
    fn it_tells_what_its_writes_took_and_leaves_nothing() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/disk-probe-test");
        fs::create_dir_all(&folder).expect("a folder");
        let probe = DiskProbe::begin(&folder).expect("the disk takes durable direct writes");
        pause(Duration::from_secs(1));
        let numbers = probe.end();
        let of = |name: &str| numbers.iter().find(|(it, _)| it == name).map(|(_, value)| *value);
        assert!(of("disk_probe_max_us") > Some(0.0), "{numbers:?}");
        assert!(of(COUNT).is_some(), "{numbers:?}");
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0);
    }
}
