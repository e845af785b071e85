//! Results of a benchmark that nobody ran: made from a seed, with everything that a file of results can have.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Value, json};

/// What every word of a file may be, since nobody says that it may not.
pub(crate) const HOSTILE: &str = "</script><script>alert(1)</script>\"'>&";

/// Targets, in order; the second has more seconds of bad luck.
pub(crate) const TARGETS: [&str; 3] = ["odradek", "kafka", "kafka-flush"];

/// How large the results are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) steps: u32,
    pub(crate) pairs: u32,
    pub(crate) seconds: u32,
    /// Different values of each histogram.
    pub(crate) values: u32,
    /// What the second target is called, and other words that a file may choose.
    pub(crate) word: &'static str,
}

pub(crate) const SMALL: Size =
    Size { steps: 4, pairs: 5, seconds: 15, values: 2_000, word: HOSTILE };

/// Samples of each value: enough of them for every percentile.
const SAMPLES_OF_EACH: u64 = 50;

/// Numbers that follow from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From zero up to one.
    fn part(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).expect("32 bits")) / f64::from(u32::MAX)
    }
}

/// With W2 (two curves), W7 (phases and streams), W9 (numbers alone), and W13, which was not come to.
pub(crate) fn results(seed: u64, size: Size) -> Value {
    let mut dice = Dice::new(seed);
    let mut runs = Vec::new();
    for workload in ["W2", "W7", "W9"] {
        for step in 0..steps_of(workload, size) {
            for pair in 1..=size.pairs {
                for target in TARGETS {
                    runs.push(run(&mut dice, size, (workload, step, pair, target)));
                }
            }
        }
    }
    json!({
        "format": 1,
        "began_unix": 1_800_000_000,
        "ended_unix": 1_800_004_000,
        "is_complete": false,
        "profile": "smoke",
        "scale": 1.0,
        "placement": "split",
        "commit": "0123456789abcdef-dirty",
        "machine": [
            ["processor", "A processor with a long name, 2 cores of 4 threads at 3.7 GHz"],
            ["kernel", "6.18.1"],
            ["file system", "ext4 on /dev/vda"],
            [size.word, size.word],
        ],
        "targets": [
            target("odradek", "Odradek", "D2", json!([])),
            target("kafka", size.word, "D1", json!([["log.dirs", "/data"], [size.word, size.word]])),
            target("kafka-flush", "Kafka, flushing", "D2", json!([["flush.messages", "1"]])),
        ],
        "workloads": [
            workload("W2", "Many small producers", size, &["p50_us", "p99_us", "p99.9_us",
                "records_per_second", "broker_cpu_us_per_record", "limit_percent", size.word]),
            workload("W7", "Catch-up while writing", size, &["mb_per_second", "interference"]),
            workload("W9", "Many connections", size, &["resident_bytes_per_connection", "beside_p99_us"]),
            workload("W13", "Restart and recovery", size, &["ready_after_kill_ms"]),
        ],
        "limits": [
            { "durable_4k_p50_us": 88.5, "stream_128k_mb_per_second": 812.0, "echo_1k_p50_us": 21.0 },
            { "durable_4k_p50_us": 91.0, "stream_128k_mb_per_second": 790.0, size.word: 1.0 },
        ],
        "runs": runs,
    })
}

fn steps_of(workload: &str, size: Size) -> u32 {
    if workload == "W2" { size.steps } else { 1 }
}

fn target(key: &str, title: &str, durability: &str, configs: Value) -> Value {
    json!({
        "key": key,
        "title": title,
        "version": "4.3.1",
        "durability": durability,
        "configs": configs,
        "command": format!("{key} --with={} --and-so-on", "a-long-word".repeat(12)),
    })
}

fn workload(key: &str, title: &str, size: Size, shown: &[&str]) -> Value {
    let steps: Vec<Value> = (0..steps_of(key, size))
        .map(|step| {
            json!({
                "key": step_key(step),
                "title": format!("{} at {:.0} records/s", if step % 2 == 0 { "100 B" } else { "1 KiB" }, offered(step)),
                "offered": (key == "W2").then(|| offered(step)),
                "curve": if step % 2 == 0 { "100 B" } else { size.word },
            })
        })
        .collect();
    json!({
        "key": key,
        "title": title,
        "about": "What it is for and how it is done, in a sentence or two that are long enough to wrap.",
        "steps": steps,
        "shown": shown,
    })
}

pub(crate) fn step_key(step: u32) -> String {
    format!("step/{step}")
}

fn offered(step: u32) -> f64 {
    2_000.0 * 1.6_f64.powi(i32::try_from(step / 2 % 8).expect("few"))
}

type At<'a> = (&'a str, u32, u32, &'a str);

fn run(dice: &mut Dice, size: Size, at: At<'_>) -> Value {
    let (workload, step, pair, target) = at;
    let base_us = match target {
        "odradek" => 180.0,
        "kafka" => 900.0,
        _ => 2_600.0,
    } * (1.0 + 0.1 * f64::from(step))
        * (0.9 + 0.2 * dice.part());
    let mut numbers = json!({
        "p50_us": base_us,
        "p99_us": base_us * 4.0,
        "p99.9_us": base_us * 9.0,
        "records_per_second": offered(step),
        "mb_per_second": 1e5 / base_us,
        "interference": 1.0 + dice.part(),
        "beside_p99_us": base_us * 5.0,
        "resident_bytes_per_connection": base_us * 10.0,
        "broker_cpu_us_per_record": base_us / 40.0,
        "broker_cpu_ms_per_mb": base_us / 40.0,
        "broker_resident_mib": base_us,
        "broker_written_per_value_byte": 1.0 + base_us / 1_000.0,
        "own_cpu_percent": 30.0,
        "own_lateness_p99_us": 4.0,
        "steal_percent": 0.1,
        "limit_percent": 18_000.0 / base_us,
    });
    numbers[size.word] = json!(base_us);
    let is_void = dice.part() < 0.08;
    json!({
        "workload": workload,
        "step": step_key(step),
        "target": target,
        "pair": pair,
        "began_unix": 1_800_000_000 + u64::from(pair) * 100,
        "void": if is_void { json!(["the generator was late: p99 41 us", size.word]) } else { json!([]) },
        "numbers": numbers,
        "bound": "durable_4k_p50_us",
        "series": series(dice, size, at, base_us),
    })
}

/// W9 has none; W2 is consumed at every other step, which is one of its curves; W7 has two phases and two streams.
fn series(dice: &mut Dice, size: Size, at: At<'_>, base_us: f64) -> Vec<Value> {
    let (workload, step, ..) = at;
    let parts: &[(&str, &str, &str)] = match workload {
        "W2" if step % 2 == 1 => {
            &[("measured", "small", "publish"), ("measured", "small", "lateness")]
        }
        "W2" => &[
            ("measured", "small", "publish"),
            ("measured", "small", "end-to-end"),
            ("measured", "small", "lateness"),
        ],
        "W7" => &[
            ("before", "small", "publish"),
            ("drain", "small", "publish"),
            ("drain", "readers", "end-to-end"),
        ],
        _ => &[],
    };
    parts
        .iter()
        .map(|(phase, stream, measure)| {
            let base_us = if *measure == "lateness" { 3.0 } else { base_us };
            json!({
                "phase": phase,
                "stream": stream,
                "measure": measure,
                "histogram": text(&histogram(dice, size, base_us)),
                "seconds": seconds(dice, size, base_us),
            })
        })
        .collect()
}

/// A long tail.
fn histogram(dice: &mut Dice, size: Size, base_us: f64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)
        .expect("the bounds are far enough apart");
    for _ in 0..size.values {
        let tail = (1.0 - dice.part() * 0.999_9).recip().powf(0.6);
        let us = base_us * (0.6 + 0.5 * dice.part()) * tail;
        let ns = format!("{:.0}", us * 1_000.0).parse().expect("whole");
        histogram.saturating_record_n(ns, SAMPLES_OF_EACH);
    }
    histogram
}

fn seconds(dice: &mut Dice, size: Size, base_us: f64) -> Vec<Value> {
    (0..size.seconds)
        .map(|second| {
            let jitter = 0.8 + 0.5 * dice.part();
            let stall = if second == 9 { 30.0 } else { 1.0 };
            json!({
                "count": if second == 9 { 0 } else { 4_000 + dice.next() % 2_000 },
                "p50_us": base_us * jitter,
                "p99_us": base_us * 4.0 * jitter,
                "max_us": base_us * 15.0 * jitter * stall,
            })
        })
        .collect()
}

fn text(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a vector takes it");
    BASE64_STANDARD.encode(bytes)
}
