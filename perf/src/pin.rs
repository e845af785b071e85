//! Which cores a thread runs on.

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::Failure;

/// Binds the calling thread, and what it starts from now on, to one core.
pub(crate) fn to_core(core: usize) -> Result<(), Failure> {
    to_cores(&[core])
}

/// The same, to any of some.
pub(crate) fn to_cores(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for core in cores {
        if CpuSet::MAX_CPU <= *core {
            return Err(Failure::new(format!("there is no core {core}")));
        }
        set.set(*core);
    }
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::io(format!("run on cores {cores:?}"), error))
}
