//! What a broker costs while nobody asks for anything.

use std::time::Duration;

use crate::clock::{Moment, pause};
use crate::failure::Failure;
use crate::process::Process;
use crate::report::{Report, float};

const MEBI: f64 = 1_048_576.0;

pub(crate) fn run(process: Process, watched: Duration) -> Result<Report, Failure> {
    let start = Moment::now();
    let before = process.thread_time()?;
    pause(watched);
    let after = process.thread_time()?;
    let elapsed = Moment::now().since(start);
    let usage = process.usage()?;
    let busy = after.saturating_sub(before).as_secs_f64();
    let mut report = Report::new(format!("idle for {} s", watched.as_secs()));
    report.put("cpu_percent", 100.0 * busy / elapsed.as_secs_f64());
    report.put("resident_mib", float(usage.resident_bytes) / MEBI);
    report.put("fd_count", float(usage.fd_count));
    report.put("thread_count", float(usage.thread_count));
    Ok(report)
}
