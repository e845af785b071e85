//! What partitions cost that nobody writes to: memory, descriptors, bytes on the disk, and the time to
//! create them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::broker::Topic;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::process::{Process, Usage};
use crate::protocol::Protocol;
use crate::report::{Report, float};
use crate::stop::Stop;

/// One request creates at most this many: Kafka's controller refuses 10,000 in one.
const TOPIC_PARTITIONS_MAX: i32 = 1_000;
/// Until what the creation of so many left behind has been cleaned up.
const SETTLE: Duration = Duration::from_secs(3);
const SETTLE_PARTITIONS: i32 = 1_000;
/// Of one partition, for the time that remains.
const CREATION: Duration = Duration::from_micros(500);
/// What a file takes on the disk is counted in these.
const DISK_BLOCK_BYTES: u64 = 512;

/// Of topics of `TOPIC_PARTITIONS_MAX` each, named by a prefix.
pub(crate) fn run(
    address: SocketAddr,
    prefix: &str,
    count: i32,
    process: Process,
    stop: &Stop,
) -> Result<Report, Failure> {
    let firsts = (0..count).step_by(usize::try_from(TOPIC_PARTITIONS_MAX).expect("positive"));
    let names: Vec<(String, i32)> = firsts
        .map(|first| (format!("{prefix}-{first}"), TOPIC_PARTITIONS_MAX.min(count - first)))
        .collect();
    let topics = names.iter().map(|(name, partition_count)| Topic {
        name,
        partition_count: *partition_count,
        configs: &[],
    });
    create((address, Protocol::Kafka), &topics.collect::<Vec<_>>(), Some(process), None, stop)
}

/// About how long it takes to create so many.
pub(crate) fn guessed_length(count: i32) -> Duration {
    let settle = if SETTLE_PARTITIONS <= count { SETTLE } else { Duration::ZERO };
    settle + CREATION * count.unsigned_abs()
}

/// Those that are missing. `folder` is the broker's data, if it is on this machine.
pub(crate) fn create(
    (address, protocol): (SocketAddr, Protocol),
    topics: &[Topic<'_>],
    process: Option<Process>,
    folder: Option<&Path>,
    stop: &Stop,
) -> Result<Report, Failure> {
    let count: i32 = topics.iter().map(|topic| topic.partition_count).sum();
    let look = || -> Result<(Option<Usage>, Option<u64>), Failure> {
        Ok((process.map(Process::usage).transpose()?, folder.map(disk_bytes)))
    };
    let (usage_before, bytes_before) = look()?;
    let start = Moment::now();
    protocol.ensure_topics(address, topics, stop)?;
    let elapsed = Moment::now().since(start);
    if SETTLE_PARTITIONS <= count {
        stop.pause(SETTLE)?;
    }
    let (usage_after, bytes_after) = look()?;

    let mut report = Report::new(format!("{count} partitions that nobody writes to"));
    report.put("create_seconds", elapsed.as_secs_f64());
    if let (Some(before), Some(after)) = (usage_before, usage_after) {
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        report.put("resident_bytes_per_partition", float(grown) / f64::from(count));
        report.put("fd_count", float(after.fd_count));
        report.put("fd_grown_count", float(after.fd_count.saturating_sub(before.fd_count)));
    }
    if let (Some(before), Some(after)) = (bytes_before, bytes_after) {
        let grown = after.saturating_sub(before);
        report.put("data_bytes_per_partition", float(grown) / f64::from(count));
    }
    Ok(report)
}

/// What files below a folder take. A file that goes away meanwhile takes nothing.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * DISK_BLOCK_BYTES,
        Err(_gone) => 0,
    });
    bytes.sum()
}
