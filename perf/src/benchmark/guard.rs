//! Whether one build is slower than another: a number is worse if every pair of runs says so, and the
//! median by more than a threshold.

use crate::failure::Failure;
use crate::report::number;
use crate::results::{Results, Run};
use crate::statistics::{Better, Ratios, better};
use crate::table;

/// With fewer pairs, chance alone puts all of them on one side too often.
const PAIRS_MIN: usize = 3;

/// Compares the first target, the one to beat, with the second. Fails with a line for each number that
/// is worse, and for each step of which nothing could be compared; and if it was stopped.
pub(crate) fn judge(results: &Results, threshold_percent: f64) -> Result<(), Failure> {
    let [before, after] = results.targets.as_slice() else {
        return Err(Failure::new("a guard compares two targets"));
    };
    if !results.is_complete {
        return Err(Failure::new("it was stopped before its end: nothing was judged"));
    }
    let (mut worse, mut unjudged) = (Vec::new(), Vec::new());
    for workload in &results.workloads {
        for step in &workload.steps {
            let runs: Vec<&Run> = table::runs(results, workload, step).collect();
            let mut compared = 0;
            for name in &workload.shown {
                let ratios = table::ratios(&runs, name, &after.key, &before.key);
                let Some(ratios) = ratios.filter(|it| PAIRS_MIN <= it.count) else { continue };
                compared += 1;
                if is_worse(name, &ratios, threshold_percent) {
                    let (key, step) = (&workload.key, &step.key);
                    let (median, least) = (number(ratios.median), number(ratios.least));
                    let most = number(ratios.most);
                    worse.push(format!("{key} {step}: {name} {median} ({least} .. {most})"));
                }
            }
            if compared == 0 {
                unjudged.push(format!("{} {}", workload.key, step.key));
            }
        }
    }
    let (after, before) = (&after.key, &before.key);
    let found = [
        (format!("{after} is worse than {before} in:"), worse),
        (
            format!("fewer than {PAIRS_MIN} pairs of runs count, so nothing was judged, of:"),
            unjudged,
        ),
    ];
    let found = found.into_iter().filter(|(_, lines)| !lines.is_empty());
    let found: Vec<String> =
        found.map(|(head, lines)| format!("{head}\n  {}", lines.join("\n  "))).collect();
    if found.is_empty() { Ok(()) } else { Err(Failure::new(found.join("\n"))) }
}

fn is_worse(name: &str, ratios: &Ratios, threshold_percent: f64) -> bool {
    let threshold = threshold_percent / 100.0;
    match better(name) {
        Better::Lower => 1.0 < ratios.least && 1.0 + threshold < ratios.median,
        Better::Higher => ratios.most < 1.0 && ratios.median < 1.0 / (1.0 + threshold),
        Better::Neither => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::testing::{results, run};

    fn ratios(least: f64, median: f64, most: f64) -> Ratios {
        Ratios { median, least, most, count: 5 }
    }

    #[test]
    fn worse_is_beyond_the_spread_and_the_threshold() {
        assert!(is_worse("p99_us", &ratios(1.01, 1.2, 1.4), 10.0));
        assert!(!is_worse("p99_us", &ratios(0.99, 1.2, 1.4), 10.0), "a pair disagrees");
        assert!(!is_worse("p99_us", &ratios(1.01, 1.05, 1.4), 10.0), "below the threshold");
        assert!(!is_worse("p99_us", &ratios(0.5, 0.6, 0.7), 10.0), "better");
    }

    #[test]
    fn of_a_rate_less_is_worse() {
        assert!(is_worse("mb_per_second", &ratios(0.7, 0.8, 0.95), 10.0));
        assert!(!is_worse("mb_per_second", &ratios(1.1, 1.2, 1.3), 10.0));
        assert!(!is_worse("device_flushes_per_second", &ratios(0.1, 0.2, 0.3), 10.0));
    }

    #[test]
    fn what_was_not_judged_is_no_pass() {
        let runs = |void: &[&str]| {
            let pair = |pair| [run("odradek", pair, 90.0, &[]), run("kafka", pair, 90.0, void)];
            results((0..3).flat_map(pair).collect())
        };
        let said = |results: &Results| judge(results, 5.0).map_err(|failure| failure.to_string());
        assert_eq!(said(&runs(&[])), Ok(()));
        let unjudged = said(&runs(&["late"])).expect_err("no pair counts");
        assert!(unjudged.contains("W2 5000"), "{unjudged}");
        let stopped = Results { is_complete: false, ..runs(&[]) };
        assert!(said(&stopped).expect_err("it was stopped").contains("stopped"));
    }
}
