//! A benchmark: workloads against targets, side by side, with the machine's limits in the same hour.
//!
//! One thing runs at a time. The results file is written after each turn, so that whatever ends a
//! benchmark leaves what was measured before. Invariant: no broker that was started here outlives it.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::benchmark::earlier::Earlier;
use crate::benchmark::order::Turn;
use crate::benchmark::progress::Progress;
use crate::clock::wall_ms;
use crate::device::Device;
use crate::failure::Failure;
use crate::limits;
use crate::machine;
use crate::placement::Placement;
use crate::results::{self, FORMAT, LeftOut, Results};
use crate::slate::Caches;
use crate::statistics::median;
use crate::stop::Stop;
use crate::target::{Target, repository};
use crate::workload::rate::Rate;
use crate::workload::step::Step;
use crate::workload::{Extent, Workload, script};

mod bound;
mod calls;
mod connections;
mod derived;
pub(crate) mod earlier;
mod groups;
pub(crate) mod guard;
pub(crate) mod order;
mod progress;
pub(crate) mod reference;
mod restart;
mod turn;

const RESULTS_FILE: &str = "results.json";
/// The limits are measured before the first turn, after the last, and after this many workloads.
const WORKLOADS_PER_LIMITS: usize = 6;
/// Of the time that turns are planned for, what steps may be repeated for that other machines disturbed: one
/// part in so many.
const SPARE_PART: u32 = 5;
/// Things that one measure of the limits does, each for its length.
const LIMIT_COUNT: u32 = 13;

/// Descriptors for what is no idle connection: producers, readers, segments, libraries.
const DESCRIPTORS_BESIDE: u64 = 4_000;

/// What runs are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Numbers,
    /// How many system calls a broker makes: everything else is void.
    Calls,
}

/// What is run, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Each after those that it needs.
    pub(crate) workloads: Vec<Workload>,
    pub(crate) extent: Extent,
    pub(crate) scale: f64,
    pub(crate) targets: Vec<Target>,
    pub(crate) placement: Placement,
    /// For the results, the brokers' logs and, while they run, their data.
    pub(crate) folder: PathBuf,
    /// Of the order of turns.
    pub(crate) seed: u64,
    pub(crate) caches: Caches,
    pub(crate) purpose: Purpose,
    /// What targets reached before this benchmark.
    pub(crate) earlier: Earlier,
    pub(crate) measures_limits: bool,
    /// A run that other machines took more from is void.
    pub(crate) steal_percent_max: f64,
}

/// A benchmark that is going on.
struct Benchmark<'a> {
    plan: &'a Plan,
    /// In the order of the plan's workloads.
    steps: Vec<Vec<Step>>,
    device: Option<Device>,
    progress: &'a Progress,
    stop: Stop,
    /// What is left of the time for steps that other machines disturbed.
    spare: Duration,
    results: Results,
}

/// What was done: all, or what a signal left.
pub(crate) fn run(plan: &Plan) -> Result<Results, Failure> {
    assert!(!plan.targets.is_empty() && !plan.workloads.is_empty());
    let folder = &plan.folder;
    fs::create_dir_all(folder)
        .map_err(|error| Failure::io(format!("create {}", folder.display()), error))?;
    let stop = Stop::by_signals()?;
    let results = begin(plan)?;
    let steps = plan.workloads.iter().map(|it| it.steps(plan.extent)).collect::<Result<_, _>>()?;
    let total = length(plan)?;
    progress::shown(total, |progress| {
        let device = Device::below(folder);
        let spare = Duration::ZERO;
        let mut benchmark = Benchmark { plan, steps, device, progress, stop, spare, results };
        benchmark.go_through()?;
        Ok(benchmark.results)
    })
}

/// Descriptors that a plan takes here, and of a broker: its connections, and files of other kinds.
pub(crate) fn descriptors(plan: &Plan) -> u64 {
    let idle = plan.workloads.iter();
    let idle = idle.map(|it| connections::descriptors(it.profile(plan.extent), plan.scale));
    idle.max().unwrap_or(0) + DESCRIPTORS_BESIDE
}

/// About how long a plan takes.
pub(crate) fn length(plan: &Plan) -> Result<Duration, Failure> {
    let mut total = Duration::ZERO;
    if plan.measures_limits {
        total += limits_length(plan.extent) * limits_count(plan.workloads.len());
    }
    for workload in &plan.workloads {
        for target in &plan.targets {
            let turn = turn::length(workload, target, plan)?;
            total += turn * workload.profile(plan.extent).pairs;
        }
    }
    Ok(total)
}

fn limits_count(workload_count: usize) -> u32 {
    let between = (workload_count.max(1) - 1) / WORKLOADS_PER_LIMITS;
    2 + u32::try_from(between).expect("workloads are few")
}

/// Of each measure.
const fn limit_length(extent: Extent) -> Duration {
    match extent {
        Extent::Smoke => Duration::from_millis(500),
        Extent::Full => Duration::from_secs(3),
        Extent::Lab => Duration::from_secs(15),
    }
}

fn limits_length(extent: Extent) -> Duration {
    LIMIT_COUNT * limit_length(extent) + Duration::from_secs(1)
}

/// Results without runs.
fn begin(plan: &Plan) -> Result<Results, Failure> {
    let folder = fs::canonicalize(&plan.folder)
        .map_err(|error| Failure::io(format!("find {}", plan.folder.display()), error))?;
    let mut machine = machine::words(&folder);
    machine.push(("seed of the order".to_owned(), plan.seed.to_string()));
    machine.push(("void by steal".to_owned(), format!("above {} %", plan.steal_percent_max)));
    machine.extend(plan.earlier.words().map(|it| ("reached before".to_owned(), it)));
    let targets = plan.targets.iter().map(|target| target.describe(&plan.placement));
    let workloads = plan.workloads.iter().map(|workload| describe(workload, plan));
    Ok(Results {
        format: FORMAT,
        began_unix: now_unix(),
        ended_unix: now_unix(),
        is_complete: false,
        profile: plan.extent.name().to_owned(),
        scale: plan.scale,
        placement: plan.placement.name().to_owned(),
        commit: repository()
            .map_or_else(|_missing| "unknown".to_owned(), |it| machine::commit(&it)),
        machine,
        targets: targets.collect::<Result<_, _>>()?,
        workloads: workloads.collect::<Result<_, _>>()?,
        limits: Vec::new(),
        runs: Vec::new(),
        left_out: left_out(plan)?,
    })
}

/// Each step that a target is not put through.
fn left_out(plan: &Plan) -> Result<Vec<LeftOut>, Failure> {
    let mut left_out = Vec::new();
    for workload in &plan.workloads {
        for step in workload.steps(plan.extent)? {
            for target in &plan.targets {
                let Some(reason) = target.unfit(&step.form) else { continue };
                left_out.push(LeftOut {
                    workload: workload.form().key.clone(),
                    step: step.key.clone(),
                    target: target.key().to_owned(),
                    reason: reason.to_owned(),
                });
            }
        }
    }
    Ok(left_out)
}

fn describe(workload: &Workload, plan: &Plan) -> Result<results::Workload, Failure> {
    let form = workload.form();
    let steps = workload.steps(plan.extent)?;
    let described = steps.into_iter().map(|step| results::Step {
        offered: script::offered(&step.form, plan.scale),
        share_of: share_of(&step, plan),
        key: step.key,
        title: step.title,
        curve: step.curve,
    });
    Ok(results::Workload {
        key: form.key.clone(),
        title: form.title.clone(),
        about: form.about.clone(),
        steps: described.collect(),
        shown: match plan.purpose {
            Purpose::Numbers => form.shown.clone(),
            Purpose::Calls => vec![calls::NAME.to_owned()],
        },
    })
}

/// The workload that rates of a step are shares of, each target's of what it reached there itself.
fn share_of(step: &Step, plan: &Plan) -> Option<String> {
    let of = script::rates(&step.form).find_map(Rate::needs)?;
    let is_run = plan.workloads.iter().any(|it| it.form().key == of);
    (is_run || !plan.earlier.says(of)).then(|| of.to_owned())
}

impl Benchmark<'_> {
    fn go_through(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let pairs: Vec<u32> =
            plan.workloads.iter().map(|it| it.profile(plan.extent).pairs).collect();
        let turns = order::turns(&pairs, plan.targets.len(), plan.seed);
        self.progress.note(format!("seed of the order: {}", plan.seed));
        self.measure_limits()?;
        let mut before = 0;
        for turn in turns {
            if turn.workload != before && turn.workload.is_multiple_of(WORKLOADS_PER_LIMITS) {
                self.measure_limits()?;
            }
            before = turn.workload;
            if self.is_stopped() {
                return self.write();
            }
            self.take(turn)?;
        }
        self.measure_limits()?;
        self.results.is_complete = !self.is_stopped();
        self.add_limit_shares();
        self.write()
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    fn measure_limits(&mut self) -> Result<(), Failure> {
        if self.is_stopped() || !self.plan.measures_limits {
            return Ok(());
        }
        let length = limit_length(self.plan.extent);
        self.progress.begins("limits of this machine".to_owned(), limits_length(self.plan.extent));
        let (broker_core, client_core) = self.plan.placement.cores();
        let (folder, stop) = (&self.plan.folder, &self.stop);
        let asked = limits::Plan { folder, broker_core, client_core, length, stop };
        let report = match limits::run(&asked) {
            // What was cut short is no limit.
            Ok(_) | Err(_) if self.is_stopped() => return self.write(),
            measured => measured?,
        };
        for reason in report.void() {
            let line = ("limits".to_owned(), reason.clone());
            if !self.results.machine.contains(&line) {
                self.results.machine.push(line);
            }
        }
        self.results.limits.push(report.rows().iter().cloned().collect());
        self.write()
    }

    /// One target at one workload, once.
    fn take(&mut self, turn: Turn) -> Result<(), Failure> {
        let (plan, pair) = (self.plan, turn.pair);
        let (workload, target) = (&plan.workloads[turn.workload], &plan.targets[turn.target]);
        if self.steps[turn.workload].iter().all(|step| target.unfit(&step.form).is_some()) {
            return Ok(());
        }
        let label = format!("{} on {}, run {pair}", workload.form().key, target.key());
        let length = turn::length(workload, target, plan)?;
        self.spare += length / SPARE_PART;
        self.progress.begins(label, length);
        let taken = turn::take(self, turn)?;
        self.spare = taken.spare;
        for run in &taken.runs {
            for reason in &run.void {
                let Self { progress, .. } = self;
                progress.note(format!("VOID: {} {}: {reason}", run.workload, run.step));
            }
        }
        let described = &mut self.results.targets[turn.target];
        if described.command.is_empty() {
            described.command = taken.command;
        }
        if pair == 1 && turn.workload == 0 {
            let line = ("before each run".to_owned(), taken.slate);
            if !self.results.machine.contains(&line) {
                self.results.machine.push(line);
            }
        }
        self.results.runs.extend(taken.runs);
        self.add_limit_shares();
        self.write()
    }

    /// From all measures of the limits so far, so that one that was disturbed weighs little.
    fn add_limit_shares(&mut self) {
        let mut limits: BTreeMap<String, f64> = BTreeMap::new();
        for name in self.results.limits.iter().flat_map(|it| it.keys()) {
            let values = self.results.limits.iter().filter_map(|it| it.get(name).copied());
            if let Some(middle) = median(values.collect()) {
                limits.insert(name.clone(), middle);
            }
        }
        let broker_core_count = self.plan.placement.broker_core_count();
        let broker_core_count = broker_core_count
            .unwrap_or_else(|| available_parallelism().map_or(1, NonZeroUsize::get));
        for run in &mut self.results.runs {
            let of_run = |it: &(&Workload, &Vec<Step>)| it.0.form().key == run.workload;
            let workload = self.plan.workloads.iter().zip(&self.steps).find(of_run);
            let step = workload.and_then(|(_, steps)| steps.iter().find(|it| it.key == run.step));
            let target = self.plan.targets.iter().find(|it| it.key() == run.target);
            let (Some(step), Some(target)) = (step, target) else { continue };
            let asked = bound::Asked {
                bound: step.form.bound,
                durability: target.durability(),
                request: step.form.producers.first().map(script::request),
                broker_core_count,
            };
            if let Some(reached) = bound::reached(&asked, &limits, &run.numbers) {
                run.numbers.insert("limit_percent".to_owned(), reached.percent);
                run.bound = reached.bound;
            }
        }
    }

    /// The whole file or the one before it, whatever happens.
    fn write(&mut self) -> Result<(), Failure> {
        self.results.ended_unix = now_unix();
        let path = self.plan.folder.join(RESULTS_FILE);
        let unfinished = self.plan.folder.join(format!("{RESULTS_FILE}.unfinished"));
        let failed = |error| Failure::io(format!("write {}", path.display()), error);
        let text = serde_json::to_string(&self.results).map_err(|error| failed(error.into()))?;
        fs::write(&unfinished, text).map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)
    }
}

fn now_unix() -> u64 {
    u64::try_from(wall_ms() / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(extent: Extent) -> f64 {
        let target = |text| Target::parse(text).expect("a target");
        let plan = Plan {
            workloads: Workload::ours().expect("ours are sound"),
            extent,
            scale: 1.0,
            targets: vec![target("odradek"), target("kafka")],
            placement: Placement::Shared,
            folder: PathBuf::new(),
            seed: 1,
            caches: Caches::Kept,
            purpose: Purpose::Numbers,
            earlier: Earlier::default(),
            measures_limits: true,
            steal_percent_max: 1.0,
        };
        length(&plan).expect("ours are sound").as_secs_f64() / 60.0
    }

    #[test]
    fn all_workloads_with_two_targets_take_as_long_as_their_profile_says() {
        let (smoke, full) = (minutes(Extent::Smoke), minutes(Extent::Full));
        assert!((4.0..=8.0).contains(&smoke), "{smoke} minutes");
        assert!((40.0..=80.0).contains(&full), "{full} minutes");
    }
}
