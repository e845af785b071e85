//! Which core a thread runs on.

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::failure::Failure;

/// Binds the calling thread, and what it starts from now on, to one core.
pub(crate) fn to_core(core: usize) -> Result<(), Failure> {
    let mut cores = CpuSet::new();
    if CpuSet::MAX_CPU <= core {
        return Err(Failure::new(format!("there is no core {core}")));
    }
    cores.set(core);
    sched_setaffinity(None, &cores)
        .map_err(|error| Failure::io(format!("run on core {core}"), error))
}
