//! The disk without a broker: durable writes, small ones and a stream of large ones, and reads.
//!
//! All go around the page cache, writes into blocks that were written before, as a log that reuses its
//! space does; the stream also into blocks that are only reserved, as a log that grows does. Invariant: the file is gone when the measure ends, however it ends.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, id};
use std::thread;

use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fdatasync, ftruncate, open};
use rustix::io::{pread, pwrite};
use serde_json::Value;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::latency::Latency;
use crate::limits::Plan;
use crate::limits::aligned::Aligned;
use crate::limits::ring::Ring;
use crate::pin;
use crate::report::{Report, float, float_of};

const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 128 << 10;
const FILE_BYTES: usize = 512 << 20;
const READ_BYTES: usize = 256 << 10;
/// Reads that are asked of the disk at once.
const READ_DEPTH: usize = 8;
/// Large writes that are under way at once, as a broker's are that carries several partitions.
const WRITE_DEPTH: usize = 8;
const MEGA: f64 = 1_000_000.0;

const _: () = {
    assert!(FILE_BYTES.is_multiple_of(LARGE_BYTES));
    assert!(FILE_BYTES.is_multiple_of(READ_BYTES * READ_DEPTH));
};

pub(super) fn measure(plan: &Plan<'_>, report: &mut Report) -> Result<(), Failure> {
    if let Some(core) = plan.broker_core {
        pin::to_core(core)?;
    }
    let file = Scratch::written(plan)?;
    small(plan, &file, report)?;
    small_by_ring(plan, &file, report)?;
    stream(plan, &file, report)?;
    read(plan, &file, report)?;
    for check in &CHECKS {
        fio(plan, &file, check, report);
    }
    fresh_stream(plan, &file, report)
}

/// A file of `FILE_BYTES` that was written once.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn written(plan: &Plan<'_>) -> Result<Self, Failure> {
        let folder = plan.folder;
        fs::create_dir_all(folder)
            .map_err(|error| Failure::io(format!("create {}", folder.display()), error))?;
        let scratch = Self { path: folder.join(format!("perf-limits.{}", id())) };
        let file = scratch.open(OFlags::CREATE | OFlags::DIRECT)?;
        let memory = Aligned::of(LARGE_BYTES);
        for position in (0..FILE_BYTES).step_by(LARGE_BYTES) {
            plan.stop.check()?;
            scratch.write(&file, memory.bytes(), position)?;
        }
        fdatasync(&file).map_err(|error| scratch.failed("sync", error.into()))?;
        Ok(scratch)
    }

    fn open(&self, flags: OFlags) -> Result<OwnedFd, Failure> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
        open(&self.path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("open", error.into()))
    }

    fn write(&self, file: &OwnedFd, bytes: &[u8], position: usize) -> Result<(), Failure> {
        let at = u64::try_from(position).expect("positions have at most 64 bits");
        match pwrite(file, bytes, at) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(count) => {
                Err(Failure::new(format!("{} took {count} bytes only", self.path.display())))
            }
            Err(error) => Err(self.failed("write", error.into())),
        }
    }

    fn failed(&self, attempt: &str, error: std::io::Error) -> Failure {
        Failure::io(format!("{attempt} {}", self.path.display()), error)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            // What was never created is gone as well.
            Ok(()) | Err(_) => {}
        }
    }
}

/// One write of 4 KiB after the other, each durable when it returns.
fn small(plan: &Plan<'_>, scratch: &Scratch, report: &mut Report) -> Result<(), Failure> {
    let file = scratch.open(OFlags::DIRECT | OFlags::DSYNC)?;
    let memory = Aligned::of(SMALL_BYTES);
    let write = |position| scratch.write(&file, memory.bytes(), position);
    one_by_one(plan, "durable_4k_", write, report)
}

/// The same as the broker's journal writes: by a ring, from registered memory, durable by a flag of the
/// write.
fn small_by_ring(plan: &Plan<'_>, scratch: &Scratch, report: &mut Report) -> Result<(), Failure> {
    let file = scratch.open(OFlags::DIRECT)?;
    let refused = |error| Failure::io("set up an io_uring", error);
    let mut ring = Ring::new(Aligned::of(SMALL_BYTES)).map_err(refused)?;
    let write = |position| {
        let at = u64::try_from(position).expect("positions have at most 64 bits");
        match ring.write_durably(&file, at) {
            Ok(SMALL_BYTES) => Ok(()),
            Ok(count) => {
                let path = scratch.path.display();
                Err(Failure::new(format!("{path} took {count} bytes only")))
            }
            Err(error) => Err(scratch.failed("write by a ring", error)),
        }
    };
    one_by_one(plan, "durable_ring_4k_", write, report)
}

fn one_by_one(
    plan: &Plan<'_>,
    prefix: &str,
    mut write: impl FnMut(usize) -> Result<(), Failure>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut latency = Latency::new();
    let start = Moment::now();
    let mut position = 0;
    let mut before = start;
    while !plan.stop.is_asked() && before.since(start) < plan.length {
        write(position)?;
        position = (position + SMALL_BYTES) % FILE_BYTES;
        let after = Moment::now();
        latency.record_ns(after.ns_since(before));
        before = after;
    }
    let per_second = float(latency.count()) / before.since(start).as_secs_f64();
    report.put(format!("{prefix}per_second"), per_second);
    report.put_latency(prefix, &latency);
    Ok(())
}

/// Writes of 128 KiB, some at once, each durable when it has come back, round and round the file.
fn stream(plan: &Plan<'_>, scratch: &Scratch, report: &mut Report) -> Result<(), Failure> {
    let places = (0..FILE_BYTES).step_by(LARGE_BYTES).cycle();
    stream_to(plan, scratch, "stream_128k_mb_per_second", places, report)
}

/// The same into blocks that are reserved and were never written, once from the file's start to its end.
fn fresh_stream(plan: &Plan<'_>, scratch: &Scratch, report: &mut Report) -> Result<(), Failure> {
    let file = scratch.open(OFlags::DIRECT)?;
    let byte_count = u64::try_from(FILE_BYTES).expect("sizes have at most 64 bits");
    let name = "stream_fresh_128k_mb_per_second";
    ftruncate(&file, 0).map_err(|error| scratch.failed("empty", error.into()))?;
    if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, byte_count) {
        report.put_void(format!("no {name}: the file system reserves nothing ({error})"));
        return Ok(());
    }
    fdatasync(&file).map_err(|error| scratch.failed("sync", error.into()))?;
    stream_to(plan, scratch, name, (0..FILE_BYTES).step_by(LARGE_BYTES), report)
}

fn stream_to(
    plan: &Plan<'_>,
    scratch: &Scratch,
    name: &str,
    places: impl Iterator<Item = usize>,
    report: &mut Report,
) -> Result<(), Failure> {
    let file = scratch.open(OFlags::DIRECT)?;
    let refused = |error| Failure::io("set up an io_uring", error);
    let mut ring = Ring::new(Aligned::of(LARGE_BYTES)).map_err(refused)?;
    let start = Moment::now();
    let end = start.plus(plan.length);
    let mut write_count = 0;
    let places = places
        .take_while(|_| plan.goes_on(end))
        .inspect(|_| write_count += 1)
        .map(|it| u64::try_from(it).expect("positions have at most 64 bits"));
    let written = ring.stream_durably(&file, WRITE_DEPTH, places);
    let byte_count = written.map_err(|error| scratch.failed("write by a ring", error))?;
    if byte_count != write_count * LARGE_BYTES {
        return Err(Failure::new(format!(
            "{} took {byte_count} bytes only",
            scratch.path.display()
        )));
    }
    let seconds = Moment::now().since(start).as_secs_f64();
    report.put(name, float_of(byte_count) / MEGA / seconds);
    Ok(())
}

/// Reads of 256 KiB, some at once, each thread its part of the file again and again.
fn read(plan: &Plan<'_>, scratch: &Scratch, report: &mut Report) -> Result<(), Failure> {
    let file = &scratch.open(OFlags::DIRECT)?;
    let start = Moment::now();
    let end = start.plus(plan.length);
    let part = |index: usize| -> Result<usize, Failure> {
        let mut memory = Aligned::of(READ_BYTES);
        let first = index * (FILE_BYTES / READ_DEPTH);
        let mut byte_count = 0;
        while plan.goes_on(end) {
            let position = first + byte_count % (FILE_BYTES / READ_DEPTH);
            let at = u64::try_from(position).expect("positions have at most 64 bits");
            match pread(file, memory.bytes_mut(), at) {
                Ok(READ_BYTES) => byte_count += READ_BYTES,
                Ok(count) => {
                    let path = scratch.path.display();
                    return Err(Failure::new(format!("{path} gave {count} bytes only")));
                }
                Err(error) => return Err(scratch.failed("read", error.into())),
            }
        }
        Ok(byte_count)
    };
    let byte_count = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READ_DEPTH).map(|index| scope.spawn(move || part(index))).collect();
        readers.into_iter().map(|it| it.join().expect("a reader does not panic")).sum()
    });
    let byte_count: Result<usize, Failure> = byte_count;
    let seconds = Moment::now().since(start).as_secs_f64();
    report.put("direct_read_mb_per_second", float_of(byte_count?) / MEGA / seconds);
    Ok(())
}

/// The same by fio, if it is installed.
struct Check {
    arguments: &'static [&'static str],
    figures: &'static [Figure],
}

struct Figure {
    name: &'static str,
    /// Where fio's answer has it (RFC 6901), and how many of its units one of ours has.
    place: &'static str,
    unit: f64,
}

const CHECKS: [Check; 3] = [
    Check {
        arguments: &["--rw=write", "--overwrite=1", "--bs=4k", "--iodepth=1", "--sync=dsync"],
        figures: &[
            Figure {
                name: "fio_durable_4k_p50_us",
                place: "/jobs/0/write/lat_ns/percentile/50.000000",
                unit: 1_000.0,
            },
            Figure {
                name: "fio_durable_4k_p99_us",
                place: "/jobs/0/write/lat_ns/percentile/99.000000",
                unit: 1_000.0,
            },
        ],
    },
    Check {
        arguments: &["--rw=write", "--overwrite=1", "--bs=128k", "--iodepth=8", "--fdatasync=8"],
        figures: &[Figure {
            name: "fio_stream_128k_mb_per_second",
            place: "/jobs/0/write/bw_bytes",
            unit: MEGA,
        }],
    },
    Check {
        arguments: &["--rw=read", "--bs=256k", "--iodepth=8"],
        figures: &[Figure {
            name: "fio_direct_read_mb_per_second",
            place: "/jobs/0/read/bw_bytes",
            unit: MEGA,
        }],
    },
];

fn fio(plan: &Plan<'_>, scratch: &Scratch, check: &Check, report: &mut Report) {
    if plan.stop.is_asked() {
        return;
    }
    let output = Command::new("fio")
        .args(["--name=check", "--direct=1", "--ioengine=io_uring", "--time_based"])
        .args(check.arguments)
        .arg(format!("--runtime={}", plan.length.as_secs().max(1)))
        .arg(format!("--size={FILE_BYTES}"))
        .arg(format!("--filename={}", scratch.path.display()))
        .args(["--lat_percentiles=1", "--output-format=json", "--eta=never"])
        .output();
    let answer = output.ok().and_then(|output| answer(&output.stdout));
    for Figure { name, place, unit } in check.figures {
        match answer.as_ref().and_then(|it| figure(it, place)) {
            Some(count) => report.put(*name, count / unit),
            None => {
                report.put_void(format!("no cross-check {name}: fio is not installed, or failed"));
            }
        }
    }
}

/// Lines before the JSON are warnings.
fn answer(output: &[u8]) -> Option<Value> {
    let start = output.iter().position(|byte| *byte == b'{')?;
    serde_json::from_slice(&output[start..]).ok()
}

fn figure(answer: &Value, place: &str) -> Option<f64> {
    answer.pointer(place)?.as_f64().filter(|it| *it > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fios_figures_are_found_after_its_warnings() {
        let output = br#"note: x
{"jobs":[{"write":{"bw_bytes":1234567,"lat_ns":{"percentile":{"50.000000":90500}}}}]}"#;
        let found = |place| figure(&answer(output).expect("JSON"), place);
        assert_eq!(found("/jobs/0/write/bw_bytes"), Some(1_234_567.0));
        assert_eq!(found("/jobs/0/write/lat_ns/percentile/50.000000"), Some(90_500.0));
        assert_eq!(found("/jobs/0/read/bw_bytes"), None);
        assert_eq!(answer(b"fio: failed"), None);
    }
}
