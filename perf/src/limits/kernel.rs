//! What it costs to ask the kernel, and to wake another core: what crossing from one shard to another
//! is made of.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{read, write};
use rustix::process::getppid;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::latency::Latency;
use crate::limits::Plan;
use crate::limits::aligned::Aligned;
use crate::limits::ring::{BATCH_MAX, Ring};
use crate::pin;
use crate::report::{Report, float_of};

/// Requests that a ring is given at once.
const BATCHES: [usize; 3] = [1, 8, BATCH_MAX];
/// Calls between two looks at the clock.
const CALLS_PER_LOOK: usize = 256;
const RING_MEMORY_BYTES: usize = 4 << 10;
/// Parts that the length of a measure is cut into, one for each thing that is done here.
pub(super) const PARTS: u32 = 5;

pub(super) fn measure(plan: &Plan<'_>, report: &mut Report) -> Result<(), Failure> {
    plan.broker_core.map_or(Ok(()), pin::to_core)?;
    let length = plan.length / PARTS;
    let per_second = rate(plan, length, || {
        black_box(getppid());
        Ok(1)
    })?;
    report.put("syscalls_per_second", per_second);
    let refused = |error| Failure::io("set up an io_uring", error);
    let mut ring = Ring::new(Aligned::of(RING_MEMORY_BYTES)).map_err(refused)?;
    for batch in BATCHES {
        let per_second = rate(plan, length, || {
            ring.do_nothing(batch).map_err(|error| Failure::io("ask a ring", error))?;
            Ok(batch)
        })?;
        report.put(format!("ring_nops_by_{batch}_per_second"), per_second);
    }
    report.put_latency("wake_", &wakes(plan, length)?);
    Ok(())
}

/// How often a second it is done; each call says how often it did it.
fn rate(
    plan: &Plan<'_>,
    length: Duration,
    mut work: impl FnMut() -> Result<usize, Failure>,
) -> Result<f64, Failure> {
    let (start, mut count) = (Moment::now(), 0);
    let end = start.plus(length);
    loop {
        for _ in 0..CALLS_PER_LOOK {
            count += work()?;
        }
        if !plan.goes_on(end) {
            return Ok(float_of(count) / Moment::now().since(start).as_secs_f64());
        }
    }
}

/// From the write of one thread until another, which slept, has read it: half of the way there and
/// back.
fn wakes(plan: &Plan<'_>, length: Duration) -> Result<Latency, Failure> {
    let [there, back] = [Bell::new()?, Bell::new()?];
    let is_over = AtomicBool::new(false);
    let answer = || -> Result<(), Failure> {
        plan.broker_core.map_or(Ok(()), pin::to_core)?;
        loop {
            there.wait()?;
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            back.ring()?;
        }
    };
    thread::scope(|scope| {
        let answering = scope.spawn(answer);
        plan.client_core.map_or(Ok(()), pin::to_core)?;
        let mut latency = Latency::new();
        let start = Moment::now();
        let mut before = start;
        while !plan.stop.is_asked() && before.since(start) < length {
            there.ring()?;
            back.wait()?;
            let after = Moment::now();
            latency.record_ns(after.ns_since(before) / 2);
            before = after;
        }
        is_over.store(true, Ordering::Relaxed);
        there.ring()?;
        answering.join().expect("neither thread panics")?;
        Ok(latency)
    })
}

struct Bell(OwnedFd);

impl Bell {
    fn new() -> Result<Self, Failure> {
        let made = eventfd(0, EventfdFlags::CLOEXEC);
        made.map(Self).map_err(|error| Failure::io("make an eventfd", error))
    }

    fn ring(&self) -> Result<(), Failure> {
        let written = write(&self.0, &[1, 0, 0, 0, 0, 0, 0, 0]);
        written.map(drop).map_err(|error| Failure::io("write to an eventfd", error))
    }

    fn wait(&self) -> Result<(), Failure> {
        let taken = read(&self.0, &mut [0_u8; 8]);
        taken.map(drop).map_err(|error| Failure::io("read an eventfd", error))
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;
    use crate::stop::Stop;

    #[test]
    fn every_cost_is_told() {
        let mut report = Report::new("");
        let plan = Plan {
            folder: &env::temp_dir(),
            broker_core: None,
            client_core: None,
            length: Duration::from_millis(100),
            stop: &Stop::default(),
        };
        measure(&plan, &mut report).expect("they are measured");
        let names = ["syscalls_per_second", "ring_nops_by_1_per_second", "wake_p50_us"];
        for name in names.into_iter().chain(["ring_nops_by_32_per_second"]) {
            assert!(report.number(name).is_some_and(|it| 0.0 < it), "{name}");
        }
    }
}
