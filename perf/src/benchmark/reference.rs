//! What a target reached in an earlier workload of the same benchmark: rates of later ones are shares
//! of it.
//!
//! Of a workload in an open loop it is the knee: the highest rate whose p99 is at most a few times
//! that of the lowest. Of one as fast as it goes, what came.

use crate::results::Run;
use crate::statistics::median;

/// So many times the p99 of the lowest rate.
pub(crate) const KNEE: f64 = 5.0;

/// What came at a step in megabytes a second, and its p99.
pub(crate) type Point = (f64, Option<f64>);

/// Megabytes a second; `None` if the target has no run of it. Runs that do not count are used only
/// if there are no others.
pub(crate) fn reached(runs: &[Run], workload: &str, target: &str) -> Option<f64> {
    let all = || runs.iter().filter(|run| run.workload == workload && run.target == target);
    let counting: Vec<&Run> = all().filter(|run| run.void.is_empty()).collect();
    let points = points(&if counting.is_empty() { all().collect() } else { counting });
    knee(&points).or_else(|| points.last().map(|point| point.0))
}

/// Of runs of one target at one workload, each step's, medians over runs, the slowest first.
pub(crate) fn points(runs: &[&Run]) -> Vec<Point> {
    let mut steps: Vec<&str> = runs.iter().map(|run| run.step.as_str()).collect();
    steps.sort_unstable();
    steps.dedup();
    let middle = |step: &str, name: &str| {
        let of_step = runs.iter().filter(|run| run.step == step);
        median(of_step.filter_map(|run| run.numbers.get(name).copied()).collect())
    };
    let mut points: Vec<Point> = steps
        .iter()
        .filter_map(|step| Some((middle(step, "mb_per_second")?, middle(step, "p99_us"))))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

/// `None` if no latency is told at the lowest rate.
pub(crate) fn knee(points: &[Point]) -> Option<f64> {
    let floor_us = points.first()?.1?;
    let before_the_knee = points
        .iter()
        .take_while(|(_, p99_us)| p99_us.is_some_and(|p99_us| p99_us <= KNEE * floor_us));
    before_the_knee.last().map(|point| point.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Steps with what came and its p99; a p99 of zero is none.
    fn runs(workload: &str, points: &[(f64, f64)], void: &[&str]) -> Vec<Run> {
        let run = |(index, (mb, p99_us)): (usize, &(f64, f64))| {
            let mut numbers = BTreeMap::from([("mb_per_second".to_owned(), *mb)]);
            if 0.0 < *p99_us {
                numbers.insert("p99_us".to_owned(), *p99_us);
            }
            Run {
                workload: workload.to_owned(),
                step: index.to_string(),
                target: "ours".to_owned(),
                pair: 1,
                began_unix: 0,
                void: void.iter().map(|it| (*it).to_owned()).collect(),
                numbers,
                bound: String::new(),
                series: Vec::new(),
                samples: Vec::new(),
            }
        };
        points.iter().enumerate().map(run).collect()
    }

    #[track_caller]
    fn check(runs: &[Run], want: Option<f64>) {
        assert_eq!(reached(runs, "W3", "ours"), want);
    }

    #[test]
    fn the_knee_is_the_last_rate_before_latency_leaves_the_floor() {
        check(
            &runs("W3", &[(10.0, 100.0), (40.0, 499.0), (20.0, 200.0), (80.0, 501.0)], &[]),
            Some(40.0),
        );
        check(&runs("W3", &[(10.0, 100.0), (20.0, 900.0), (40.0, 300.0)], &[]), Some(10.0));
    }

    #[test]
    fn what_came_counts_where_no_latency_is_told() {
        check(&runs("W3", &[(10.0, 0.0), (40.0, 0.0)], &[]), Some(40.0));
    }

    #[test]
    fn runs_that_do_not_count_are_the_last_resort() {
        let mut both = runs("W3", &[(10.0, 100.0)], &["late"]);
        check(&both, Some(10.0));
        both.extend(runs("W3", &[(30.0, 100.0)], &[]));
        check(&both, Some(30.0));
    }

    #[test]
    fn other_workloads_and_targets_have_no_say() {
        check(&runs("W4", &[(10.0, 100.0)], &[]), None);
        assert_eq!(reached(&runs("W3", &[(10.0, 1.0)], &[]), "W3", "theirs"), None);
    }
}
