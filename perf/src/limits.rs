//! What this machine can do at most, so that a broker's numbers are shares of something.
//!
//! Measured with the same placement as the broker and its clients, in the same run.

use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;
use crate::report::Report;

mod aligned;
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
}

pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("limits of this machine");
    disk::measure(plan, &mut report)?;
    kernel::measure(plan, &mut report)?;
    loopback::measure(plan, &mut report)?;
    requests::measure(plan, &mut report)?;
    memory::measure(&mut report);
    Ok(report)
}
