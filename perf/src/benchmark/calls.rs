//! How many system calls a broker makes, as strace counts them: in runs of their own, whose times say
//! nothing.
//!
//! Invariant: strace has let go of the broker when this is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::process::Process;
use crate::results::Run;
use crate::workload::script;
use crate::workload::step::Step;

/// Of the number that is told.
pub(super) const NAME: &str = "broker_calls_per_1000_records";
const SUMMARY_FILE: &str = "strace.summary";
/// Of a line of the summary: percent, seconds, microseconds a call, calls.
const CALLS: usize = 3;

pub(super) struct Tracer {
    child: Child,
    summary: PathBuf,
}

impl Tracer {
    /// Returns when it is attached.
    pub(super) fn attach(process: Process, folder: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io("start strace, which counts system calls", error);
        let summary = folder.join(SUMMARY_FILE);
        let mut child = Command::new("strace")
            .args(["-c", "-f", "-p", &process.id().to_string(), "-o"])
            .arg(&summary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let said = child.stderr.take().expect("it is piped");
        let tracer = Self { child, summary };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).map_err(failed)?;
        if line.contains("attached") {
            Ok(tracer)
        } else {
            Err(Failure::new(format!("strace could not attach: {}", line.trim())))
        }
    }

    /// Lets go; the calls since it was attached.
    pub(super) fn finish(mut self) -> Result<f64, Failure> {
        self.let_go();
        let path = self.summary.display();
        let text = fs::read_to_string(&self.summary)
            .map_err(|error| Failure::io(format!("read {path}"), error))?;
        total(&text).ok_or_else(|| Failure::new(format!("{path} has no total")))
    }

    fn let_go(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_ok())
            && self.child.wait().is_err()
        {
            // Nobody else waits for it, so that this cannot be; there is nothing to do about it.
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.let_go();
        }
    }
}

/// What was counted, by what was acknowledged meanwhile; and that the run says nothing else.
pub(super) fn add(run: &mut Run, step: &Step, calls: f64) {
    let records = acknowledged_records(step, run);
    if 0.0 < records {
        let per_1000 = 1_000.0 * calls / records;
        run.numbers.insert(NAME.to_owned(), per_1000);
    }
    run.void.push("strace counted the broker's system calls: nothing else counts".to_owned());
}

/// Of all phases, and of all producers.
fn acknowledged_records(step: &Step, run: &Run) -> f64 {
    let form = &step.form;
    let of_phase =
        |phase: &str| if form.phases.len() == 1 { String::new() } else { format!("{phase}_") };
    let each =
        form.phases.iter().flat_map(|phase| form.producers.iter().map(move |it| (phase, it)));
    let counts = each.filter_map(|(phase, producers)| {
        let stream =
            if form.producers.len() == 1 { String::new() } else { format!("{}_", producers.name) };
        let name = format!("{}{stream}acknowledged_request_count", of_phase(&phase.name));
        let records = f64::from(script::request(producers).record_count);
        Some(run.numbers.get(&name)? * records)
    });
    counts.sum()
}

fn total(summary: &str) -> Option<f64> {
    let line = summary.lines().rfind(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(CALLS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_in_the_last_line() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 93.33    1.210000          12    100000           io_uring_enter
  6.67    0.080000          40      2000        17 futex
------ ----------- ----------- --------- --------- ----------------
100.00    1.290000          12    102000        17 total
";
        assert_eq!(total(summary), Some(102_000.0));
        assert_eq!(total(""), None);
    }
}
