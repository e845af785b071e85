//! What a benchmark leaves behind: one JSON file that a report, and any other program, can be made from.
//!
//! It is written after each run, so a benchmark that was stopped leaves what it had. Times are
//! nanoseconds in histograms and microseconds in numbers. Names of numbers carry their unit last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of this form. A reader refuses another.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) format: u32,
    /// Seconds since 1970.
    pub(crate) began_unix: u64,
    pub(crate) ended_unix: u64,
    /// Whether all that was planned was run.
    pub(crate) is_complete: bool,
    /// `smoke`, `full` or `lab`.
    pub(crate) profile: String,
    /// What rates, sizes and counts of the workload files were multiplied with.
    pub(crate) scale: f64,
    /// `split`: the broker on one core, the load on another; `shared`: nobody is bound.
    pub(crate) placement: String,
    /// Of this repository; `-dirty` behind it if files differed.
    pub(crate) commit: String,
    /// Processor, cores, memory, kernel, file system, disk and so on, in words, in this order.
    pub(crate) machine: Vec<(String, String)>,
    pub(crate) targets: Vec<Target>,
    pub(crate) workloads: Vec<Workload>,
    /// What the machine can do without a broker, each time it was measured: names and numbers.
    pub(crate) limits: Vec<BTreeMap<String, f64>>,
    pub(crate) runs: Vec<Run>,
    /// Steps that make no sense for a target.
    #[serde(default)]
    pub(crate) left_out: Vec<LeftOut>,
}

/// A step that a target is not put through, and why.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) workload: String,
    pub(crate) step: String,
    pub(crate) target: String,
    pub(crate) reason: String,
}

impl Results {
    /// What is left out of a workload, a line for each target and reason. Steps are named unless it is
    /// all of them.
    pub(crate) fn left_out_of(&self, workload: &Workload) -> Vec<String> {
        let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for it in self.left_out.iter().filter(|it| it.workload == workload.key) {
            let found = groups
                .iter_mut()
                .find(|(target, reason, _)| *target == it.target && *reason == it.reason);
            match found {
                Some((_, _, steps)) => steps.push(&it.step),
                None => groups.push((&it.target, &it.reason, vec![&it.step])),
            }
        }
        let line = |(target, reason, steps): (&str, &str, Vec<&str>)| {
            let is_all = steps.len() == workload.steps.len();
            let of = if is_all { String::new() } else { format!(" at {}", steps.join(", ")) };
            format!("{target}{of}: {reason}")
        };
        groups.into_iter().map(line).collect()
    }

    pub(crate) fn is_left_out(&self, workload: &Workload, step: &Step, target: &Target) -> bool {
        self.left_out
            .iter()
            .any(|it| it.workload == workload.key && it.step == step.key && it.target == target.key)
    }
}

/// When an acknowledgement leaves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Durability {
    /// From the broker's memory.
    D0,
    /// After a write to the page cache.
    D1,
    /// After the device has flushed.
    D2,
    /// Of a broker that somebody else started.
    Unknown,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Target {
    /// As on the command line: `odradek`, `kafka`, `kafka-flush`, `nats`.
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) durability: Durability,
    /// What was set otherwise than by default: the broker's, then its topics'.
    pub(crate) configs: Vec<(String, String)>,
    /// Its command line.
    pub(crate) command: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Workload {
    /// `W2`.
    pub(crate) key: String,
    pub(crate) title: String,
    /// What it is for and how it is done, a sentence or two.
    pub(crate) about: String,
    /// In the order of the workload's file.
    pub(crate) steps: Vec<Step>,
    /// The numbers that its table shows, in this order.
    pub(crate) shown: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Step {
    /// Within its workload: `1KiB-5000`.
    pub(crate) key: String,
    pub(crate) title: String,
    /// Records a second that are offered, if they are given: where the step stands on a curve.
    pub(crate) offered: Option<f64>,
    /// Steps of one curve have the same word here.
    pub(crate) curve: String,
    /// The workload, if rates are shares of what each target reached in it: targets then have
    /// different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share_of: Option<String>,
}

/// One step of one workload against one target, once.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) workload: String,
    pub(crate) step: String,
    pub(crate) target: String,
    /// Runs of different targets with the same number stand beside each other in time. From 1.
    pub(crate) pair: u32,
    pub(crate) began_unix: u64,
    /// Why it does not count. It is shown all the same.
    pub(crate) void: Vec<String>,
    /// As in the reports of the single commands: `p99_us`, `mb_per_second`, `broker_cpu_us_per_record`,
    /// and `limit_percent`, how much of the limit that binds it reaches.
    pub(crate) numbers: BTreeMap<String, f64>,
    /// The limit that binds: a name of `limits`, or empty.
    pub(crate) bound: String,
    pub(crate) series: Vec<Series>,
    /// Of the broker, if it runs on this machine and what counts lasts long enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) samples: Vec<Sample>,
}

/// A share of the limit that binds: of two targets it may be another one.
pub(crate) const LIMIT_PERCENT: &str = "limit_percent";

impl Run {
    /// Whether a ratio of this number of two runs says anything.
    pub(crate) fn compares_with(&self, other: &Self, number: &str) -> bool {
        number != LIMIT_PERCENT || self.bound == other.bound
    }
}

impl Step {
    /// Whether a ratio of this number of two targets says anything: latencies and rates do not if each
    /// has the load of its own.
    pub(crate) fn compares(&self, number: &str) -> bool {
        let is_of_load = number.ends_with("_us") || number.ends_with("_per_second");
        self.share_of.is_none() || !is_of_load
    }
}

/// What a broker has at one moment.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// Since the first.
    pub(crate) seconds: f64,
    pub(crate) resident_mib: f64,
    pub(crate) fd_count: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// From the moment a request was meant to be sent until it is acknowledged.
    Publish,
    /// From there until a consumer has the record.
    EndToEnd,
    /// How late the generator was.
    Lateness,
}

/// One kind of latency of one stream of records in one phase.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Series {
    pub(crate) phase: String,
    /// Of producers or consumers: `small`, `bulk`, `readers`.
    pub(crate) stream: String,
    pub(crate) measure: Measure,
    /// All of the phase, in nanoseconds: HdrHistogram's V2 form, deflated, in base64.
    pub(crate) histogram: String,
    /// Each second of the phase.
    pub(crate) seconds: Vec<Second>,
    /// Each minute, for percentiles that no second has samples for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) minutes: Vec<Minute>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Second {
    /// Requests acknowledged, or records received.
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Minute {
    pub(crate) count: u64,
    /// `None` if too few samples lie above it.
    #[serde(rename = "p99.9_us")]
    pub(crate) p999_us: Option<f64>,
    pub(crate) max_us: f64,
}
