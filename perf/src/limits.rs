//! What this machine can do at most, so that a broker's numbers are shares of something.
//!
//! Measured with the same placement as the broker and its clients, in the same run.

use std::path::Path;
use std::time::Duration;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::report::Report;
use crate::stop::Stop;

pub(crate) mod aligned;
mod disk;
mod kernel;
mod loopback;
mod memory;
pub(crate) mod requests;
mod ring;

/// Where to measure, and on which cores. A core that is not given is the scheduler's choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) broker_core: Option<usize>,
    pub(crate) client_core: Option<usize>,
    /// Of each measure.
    pub(crate) length: Duration,
    pub(crate) stop: &'a Stop,
}

impl Plan<'_> {
    /// Whether a measure that ends then goes on: what is stopped ends at once.
    fn goes_on(&self, end: Moment) -> bool {
        !self.stop.is_asked() && Moment::now() < end
    }
}

/// Fails if it is stopped.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("limits of this machine");
    disk::measure(plan, &mut report)?;
    kernel::measure(plan, &mut report)?;
    loopback::measure(plan, &mut report)?;
    requests::measure(plan, &mut report)?;
    plan.stop.check()?;
    memory::measure(&mut report);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn what_is_stopped_ends_and_leaves_nothing() {
        let folder = env::temp_dir().join(format!("perf-limits-stopped.{}", process::id()));
        let stop = Stop::default();
        stop.ask();
        let length = Duration::from_secs(3_600);
        let plan =
            Plan { folder: &folder, broker_core: None, client_core: None, length, stop: &stop };
        let failure = run(&plan).expect_err("it is stopped");
        assert_eq!(failure.to_string(), "it was stopped");
        fs::remove_dir(&folder).expect("it is empty");
        let mut report = Report::new("");
        kernel::measure(&plan, &mut report).expect("it ends early");
        loopback::measure(&Plan { folder: &env::temp_dir(), ..plan }, &mut report)
            .expect("it ends early");
        requests::measure(&plan, &mut report).expect("it ends early");
    }
}
