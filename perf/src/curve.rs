//! What the steps of a workload say together of each target: the highest rate that it sustains, and its
//! knee.
//!
//! It measures nothing and shows nothing: the table and the report say the same, from here. Only runs
//! that count have a say.

use crate::benchmark::reference;
use crate::results::{Results, Run, Step, Workload};
use crate::table::runs;
use crate::workload::step::ONLY;

/// Of p99.9, at a rate that a target sustains.
const SUSTAINED_US_MAX: f64 = 10_000.0;

/// A rate that every target is asked for.
#[derive(Debug)]
pub(crate) struct Highest {
    /// With its unit.
    pub(crate) title: String,
    /// In the order of the results' targets.
    pub(crate) of_targets: Vec<Found>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// No run counts.
    Unknown,
    /// Not even the lowest rate.
    Nothing,
    Rate {
        per_second: f64,
        /// Of what the same target reached in the workload that its rates are shares of.
        share: Option<Share>,
    },
}

#[derive(Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) percent: f64,
    /// `W4`.
    pub(crate) of: String,
}

impl Found {
    pub(crate) fn words(&self, written: impl Fn(f64) -> String) -> String {
        match self {
            Self::Unknown => "unknown".to_owned(),
            Self::Nothing => "none".to_owned(),
            Self::Rate { per_second, share: None } => written(*per_second),
            Self::Rate { per_second, share: Some(Share { percent, of }) } => {
                format!("{} ({percent:.0} % of {of})", written(*per_second))
            }
        }
    }
}

/// For each curve that is offered given rates what is sustained; then the knee. What nobody has is left
/// out.
pub(crate) fn all(results: &Results, workload: &Workload) -> Vec<Highest> {
    let mut all: Vec<Highest> =
        curves(workload).iter().filter_map(|curve| sustained(results, workload, curve)).collect();
    all.extend(knee(results, workload));
    all.retain(|it| it.of_targets.iter().any(|found| *found != Found::Unknown));
    all
}

/// The word of a curve, unless it is the only one.
pub(crate) fn word(curve: &str) -> Option<&str> {
    (!curve.is_empty() && curve != ONLY).then_some(curve)
}

/// In the order of their first steps.
fn curves(workload: &Workload) -> Vec<&str> {
    let mut curves: Vec<&str> = Vec::new();
    for step in &workload.steps {
        if !curves.contains(&step.curve.as_str()) {
            curves.push(&step.curve);
        }
    }
    curves
}

/// The highest rate at which every run that counts kept its p99.9 below the limit.
fn sustained(results: &Results, workload: &Workload, curve: &str) -> Option<Highest> {
    let of_curve = |step: &&Step| step.curve == *curve && step.offered.is_some();
    let steps: Vec<&Step> = workload.steps.iter().filter(of_curve).collect();
    if steps.len() < 2 {
        return None;
    }
    let of_targets = results.targets.iter().map(|target| {
        let counting = |step| counting(results, workload, step, &target.key);
        if steps.iter().all(|step| counting(step).is_empty()) {
            return Found::Unknown;
        }
        let kept = steps.iter().filter(|step| keeps(&counting(step)));
        let highest = kept.filter_map(|step| step.offered).max_by(f64::total_cmp);
        highest.map_or(Found::Nothing, |per_second| Found::Rate { per_second, share: None })
    });
    let of_targets = of_targets.collect();
    let before = word(curve).map(|it| format!("{it}: ")).unwrap_or_default();
    let limit_ms = SUSTAINED_US_MAX / 1_000.0;
    let title = format!("{before}records/s with p99.9 below {limit_ms} ms");
    Some(Highest { title, of_targets })
}

/// Of a workload that varies nothing but its rate.
fn knee(results: &Results, workload: &Workload) -> Option<Highest> {
    if workload.steps.len() < 2 || 1 < curves(workload).len() {
        return None;
    }
    let shared = workload.steps.iter().find_map(|step| step.share_of.as_deref());
    let of_targets = results.targets.iter().map(|target| {
        let steps = workload.steps.iter();
        let counting = steps.flat_map(|step| counting(results, workload, step, &target.key));
        let points = reference::points(&counting.collect::<Vec<_>>());
        let Some(per_second) = reference::knee(&points).filter(|_| 1 < points.len()) else {
            return Found::Unknown;
        };
        let share = shared.and_then(|of| {
            let whole = reference::reached(&results.runs, of, &target.key)?;
            (0.0 < whole).then(|| Share { percent: 100.0 * per_second / whole, of: of.to_owned() })
        });
        Found::Rate { per_second, share }
    });
    let of_targets = of_targets.collect();
    let title =
        format!("MB/s at the knee: p99 at most {} times the lowest rate's", reference::KNEE);
    Some(Highest { title, of_targets })
}

fn counting<'a>(
    results: &'a Results,
    workload: &'a Workload,
    step: &'a Step,
    target: &str,
) -> Vec<&'a Run> {
    runs(results, workload, step).filter(|it| it.target == target && it.void.is_empty()).collect()
}

/// Whether there are runs, and all of them stay below the limit.
fn keeps(counting: &[&Run]) -> bool {
    let p999 = |run: &&Run| run.numbers.get("p99.9_us").copied();
    !counting.is_empty()
        && counting.iter().all(|it| p999(it).is_some_and(|us| us < SUSTAINED_US_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::testing::{results, run};

    /// Of `steps` with what is offered, and runs of `odradek` and `kafka` at them.
    fn curve(steps: &[(&str, f64)], runs: Vec<Run>) -> Results {
        let mut results = results(runs);
        let workload = &mut results.workloads[0];
        let step = |(key, offered): &(&str, f64)| Step {
            key: (*key).to_owned(),
            offered: Some(*offered),
            ..workload.steps[0].clone()
        };
        workload.steps = steps.iter().map(step).collect();
        results
    }

    fn at(step: &str, target: &str, numbers: &[(&str, f64)], void: &[&str]) -> Run {
        let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Run { step: step.to_owned(), numbers, ..run(target, 1, 1.0, void) }
    }

    const STEPS: [(&str, f64); 2] = [("low", 5_000.0), ("high", 10_000.0)];

    #[track_caller]
    fn check(results: &Results, want: &[(&str, &[&str])]) {
        let found = all(results, &results.workloads[0]);
        let words = |it: &Highest| -> Vec<String> {
            it.of_targets.iter().map(|found| found.words(|it| format!("{it}"))).collect()
        };
        let found: Vec<_> = found.iter().map(|it| (it.title.as_str(), words(it))).collect();
        let want: Vec<(&str, Vec<String>)> = want
            .iter()
            .map(|(title, words)| (*title, words.iter().map(|it| (*it).to_owned()).collect()))
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_rate_is_sustained_if_every_run_that_counts_is_fast_enough() {
        let p999 = |us| [("p99.9_us", us)];
        let runs = vec![
            at("low", "odradek", &p999(900.0), &[]),
            at("high", "odradek", &p999(9_999.0), &[]),
            at("low", "kafka", &p999(900.0), &[]),
            at("low", "kafka", &p999(10_000.0), &[]),
            at("high", "kafka", &p999(900.0), &["late"]),
        ];
        let title = "1 KiB: records/s with p99.9 below 10 ms";
        check(&curve(&STEPS, runs), &[(title, &["10000", "none"])]);
        let void = vec![at("low", "odradek", &p999(900.0), &["late"])];
        check(&curve(&STEPS, void), &[]);
    }

    #[test]
    fn a_knee_is_a_share_of_what_rates_are_shares_of() {
        let numbers = |mb, p99_us| [("mb_per_second", mb), ("p99_us", p99_us)];
        let mut runs = vec![
            at("low", "odradek", &numbers(10.0, 100.0), &[]),
            at("high", "odradek", &numbers(40.0, 500.0), &[]),
            at("low", "kafka", &numbers(10.0, 100.0), &[]),
            at("high", "kafka", &numbers(40.0, 501.0), &[]),
        ];
        let most = at("only", "odradek", &[("mb_per_second", 50.0)], &[]);
        runs.push(Run { workload: "W4".to_owned(), ..most });
        let mut results = curve(&STEPS, runs);
        for step in &mut results.workloads[0].steps {
            step.offered = None;
            step.share_of = Some("W4".to_owned());
        }
        let title = "MB/s at the knee: p99 at most 5 times the lowest rate's";
        check(&results, &[(title, &["40 (80 % of W4)", "10"])]);
        results.workloads[0].steps[1].curve = "another".to_owned();
        check(&results, &[]);
    }
}
