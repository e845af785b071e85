//! What partitions cost that nobody writes to: memory, descriptors, and the time to create them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::broker::{Broker, Topic};
use crate::clock::{Moment, pause};
use crate::failure::Failure;
use crate::process::Process;
use crate::report::{Report, float};

/// One request creates at most this many: Kafka's controller refuses 10,000 in one.
const TOPIC_PARTITIONS_MAX: i32 = 1_000;
/// Until what the creation left behind has been cleaned up.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) fn run(
    address: SocketAddr,
    prefix: &str,
    count: i32,
    process: Process,
) -> Result<Report, Failure> {
    let mut broker = Broker::connect(address)?;
    let before = process.usage()?;
    let start = Moment::now();
    for first in (0..count).step_by(usize::try_from(TOPIC_PARTITIONS_MAX).expect("positive")) {
        let name = format!("{prefix}-{first}");
        let partition_count = TOPIC_PARTITIONS_MAX.min(count - first);
        broker.ensure_topic(&Topic { name: &name, partition_count, configs: &[] })?;
    }
    let elapsed = Moment::now().since(start);
    pause(SETTLE);
    let after = process.usage()?;

    let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
    let mut report = Report::new(format!("{count} partitions that nobody writes to"));
    report.put("resident_bytes_per_partition", float(grown) / f64::from(count));
    report.put("fd_count", float(after.fd_count));
    report.put("fd_grown_count", float(after.fd_count.saturating_sub(before.fd_count)));
    report.put("create_seconds", elapsed.as_secs_f64());
    Ok(report)
}
