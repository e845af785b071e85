//! The table of a benchmark: for each step its numbers, target beside target, medians with the worst
//! run, ratios with their range, and all that does not count.
//!
//! It measures nothing: it is the results file as text. The first target is compared with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::curve::{self, Highest};
use crate::failure::Failure;
use crate::report::number;
use crate::results::{Durability, FORMAT, LIMIT_PERCENT, Results, Run, Step, Target, Workload};
use crate::statistics::{Ratios, median, worst};

/// Pairs of runs that a claim needs.
pub(crate) const PAIRS_FOR_A_CLAIM: usize = 5;

/// Reads a results file.
pub(crate) fn read(path: &Path) -> Result<Results, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("read {}", path.display()), error))?;
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{} is no results file: {error}", path.display())))?;
    if results.format == FORMAT {
        Ok(results)
    } else {
        let (path, format) = (path.display(), results.format);
        Err(Failure::new(format!("{path} has format {format}, and this program reads {FORMAT}")))
    }
}

pub(crate) fn text(results: &Results) -> String {
    let mut text = head(results);
    for workload in &results.workloads {
        let ran = |step: &&Step| runs(results, workload, step).next().is_some();
        let steps: Vec<&Step> = workload.steps.iter().filter(ran).collect();
        let left_out = results.left_out_of(workload);
        if steps.is_empty() && left_out.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{}  {}\n", workload.key, workload.title));
        for line in left_out {
            text.push_str(&format!("  LEFT OUT: {line}\n"));
        }
        for step in steps {
            if step.title != workload.title {
                text.push_str(&format!("\n  {} ({})\n", step.title, step.key));
            }
            for line in aligned(&rows(results, workload, step)).lines() {
                text.push_str(&format!("  {line}\n"));
            }
            text.push_str(&notes(results, workload, step));
        }
        text.push_str(&highest(results, workload));
    }
    text
}

/// The runs of a step.
pub(crate) fn runs<'a>(
    results: &'a Results,
    workload: &'a Workload,
    step: &'a Step,
) -> impl Iterator<Item = &'a Run> {
    let runs = results.runs.iter();
    runs.filter(|run| run.workload == workload.key && run.step == step.key)
}

/// Ratios of one number between two targets, over the pairs in which both count.
pub(crate) fn ratios(runs: &[&Run], name: &str, one: &str, other: &str) -> Option<Ratios> {
    let counting = || runs.iter().filter(|it| it.void.is_empty());
    let pairs = counting().filter(|it| it.target == one).filter_map(|run| {
        let beside = counting().find(|it| it.target == other && it.pair == run.pair)?;
        let values = (*run.numbers.get(name)?, *beside.numbers.get(name)?);
        run.compares_with(beside, name).then_some(values)
    });
    Ratios::of(&pairs.collect::<Vec<_>>())
}

fn head(results: &Results) -> String {
    let Results { profile, scale, placement, commit, .. } = results;
    let mut text = format!("commit {commit}, profile {profile}, placement {placement}");
    if (scale - 1.0).abs() > f64::EPSILON {
        text.push_str(&format!(", scale {scale}"));
    }
    text.push('\n');
    for (name, value) in &results.machine {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if !results.is_complete {
        text.push_str("INCOMPLETE: not all that was planned was run\n");
    }
    for (name, values) in limits(results) {
        if let Some(middle) = median(values) {
            text.push_str(&format!("limit {name}: {}\n", number(middle)));
        }
    }
    text
}

/// Each limit with all its measures.
fn limits(results: &Results) -> Vec<(&String, Vec<f64>)> {
    let mut names: Vec<&String> = results.limits.iter().flat_map(|it| it.keys()).collect();
    names.sort();
    names.dedup();
    let values = |name| results.limits.iter().filter_map(|it| it.get(name).copied()).collect();
    names.into_iter().map(|name| (name, values(name))).collect()
}

fn rows(results: &Results, workload: &Workload, step: &Step) -> Vec<Vec<String>> {
    let runs: Vec<&Run> = runs(results, workload, step).collect();
    let mut heading = vec![String::new()];
    for target in &results.targets {
        heading.push(format!("{} {}", target.key, class(target.durability)));
        heading.push("worst".to_owned());
    }
    let (first, others) = results.targets.split_first().expect("a benchmark has targets");
    for other in others {
        heading.push(format!("to {}", other.key));
        heading.push("range".to_owned());
    }
    let mut rows = vec![heading];
    for name in &workload.shown {
        if !runs.iter().any(|run| run.numbers.contains_key(name)) {
            continue;
        }
        let mut row = vec![name.clone()];
        for target in &results.targets {
            row.extend(median_and_worst(&runs, name, target));
        }
        for other in others {
            let ratios = ratios(&runs, name, &first.key, &other.key);
            row.extend(ratio_and_range(ratios.filter(|_| step.compares(name))));
        }
        rows.push(row);
    }
    rows
}

/// In parentheses if no run of the target counts.
fn median_and_worst(runs: &[&Run], name: &str, target: &Target) -> [String; 2] {
    let of_target = runs.iter().filter(|run| run.target == target.key);
    let (counting, void): (Vec<&Run>, Vec<&Run>) =
        of_target.copied().partition(|run| run.void.is_empty());
    let values = |runs: &[&Run]| -> Vec<f64> {
        runs.iter().filter_map(|run| run.numbers.get(name).copied()).collect()
    };
    let counted = values(&counting);
    if counted.is_empty() {
        let middle = median(values(&void)).map(|it| format!("({})", number(it)));
        return [middle.unwrap_or_default(), String::new()];
    }
    let worst = worst(name, &counted).map(number).unwrap_or_default();
    [median(counted).map(number).unwrap_or_default(), worst]
}

fn ratio_and_range(ratios: Option<Ratios>) -> [String; 2] {
    let Some(ratios) = ratios else { return [String::new(), String::new()] };
    let range = format!("{} .. {}", number(ratios.least), number(ratios.most));
    let mark = if ratios.count < 2 || ratios.agree() { "" } else { "?" };
    let range = if ratios.count < 2 { String::new() } else { range };
    [format!("{}{mark}", number(ratios.median)), range]
}

/// What does not count, and what is no claim.
fn notes(results: &Results, workload: &Workload, step: &Step) -> String {
    let mut text = String::new();
    let mut pairs_min = usize::MAX;
    let taken = results.targets.iter().filter(|it| !results.is_left_out(workload, step, it));
    for target in taken {
        let of_target = runs(results, workload, step).filter(|run| run.target == target.key);
        let (counting, void): (Vec<&Run>, Vec<&Run>) = of_target.partition(|it| it.void.is_empty());
        pairs_min = pairs_min.min(counting.len());
        for run in void {
            for reason in &run.void {
                text.push_str(&format!("  VOID: {} run {}: {reason}\n", target.key, run.pair));
            }
        }
    }
    text.push_str(&bounds(results, workload, step));
    if let Some(of) = step.share_of.as_ref().filter(|_| 1 < results.targets.len()) {
        text.push_str(&format!(
            "  each target at its own rate, a share of its {of}: latencies and rates have no ratio\n"
        ));
    }
    if pairs_min < PAIRS_FOR_A_CLAIM {
        text.push_str(&format!("  no claim: {pairs_min} of {PAIRS_FOR_A_CLAIM} runs that count\n"));
    }
    text
}

/// Which limits `limit_percent` is of, if they are several: then there is no ratio of it.
fn bounds(results: &Results, workload: &Workload, step: &Step) -> String {
    let counting = || runs(results, workload, step).filter(|it| it.void.is_empty());
    let bounds: BTreeSet<&str> =
        counting().map(|it| it.bound.as_str()).filter(|it| !it.is_empty()).collect();
    if bounds.len() < 2 {
        return String::new();
    }
    let of_target = |target: &Target| {
        let of_target = counting().filter(|run| run.target == target.key && !run.bound.is_empty());
        let names: BTreeSet<&str> = of_target.map(|run| run.bound.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        (!names.is_empty()).then(|| format!("{} of {}", target.key, names.join(" and ")))
    };
    let of_targets: Vec<String> = results.targets.iter().filter_map(of_target).collect();
    format!("  {LIMIT_PERCENT}: {}: no ratio of two limits\n", of_targets.join(", "))
}

/// What all steps together say.
fn highest(results: &Results, workload: &Workload) -> String {
    let mut text = String::new();
    for Highest { title, of_targets } in curve::all(results, workload) {
        let targets = results.targets.iter().zip(&of_targets);
        let words = targets.map(|(target, it)| format!("{} {}", target.key, it.words(number)));
        text.push_str(&format!("\n  {title}: {}\n", words.collect::<Vec<_>>().join(", ")));
    }
    text
}

const fn class(durability: Durability) -> &'static str {
    match durability {
        Durability::D0 => "D0",
        Durability::D1 => "D1",
        Durability::D2 => "D2",
        Durability::Unknown => "D?",
    }
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let column_count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..column_count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.push_str(&format!("{cell:width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::LeftOut;

    fn run(target: &str, pair: u32, numbers: &[(&str, f64)], void: &[&str]) -> Run {
        let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value));
        Run {
            workload: "W2".to_owned(),
            step: "5000".to_owned(),
            target: target.to_owned(),
            pair,
            began_unix: 0,
            void: void.iter().map(|it| (*it).to_owned()).collect(),
            numbers: numbers.collect(),
            bound: String::new(),
            series: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn results(targets: &[(&str, Durability)], runs: Vec<Run>) -> Results {
        let target = |(key, durability): &(&str, Durability)| Target {
            key: (*key).to_owned(),
            title: String::new(),
            version: String::new(),
            durability: *durability,
            configs: Vec::new(),
            command: String::new(),
        };
        let step = |key: &str| Step {
            key: key.to_owned(),
            title: format!("{key}/s"),
            offered: None,
            curve: String::new(),
            share_of: None,
        };
        Results {
            format: FORMAT,
            began_unix: 0,
            ended_unix: 0,
            is_complete: true,
            profile: "smoke".to_owned(),
            scale: 1.0,
            placement: "split".to_owned(),
            commit: "abc".to_owned(),
            machine: Vec::new(),
            targets: targets.iter().map(target).collect(),
            workloads: vec![Workload {
                key: "W2".to_owned(),
                title: "Small".to_owned(),
                about: String::new(),
                steps: vec![step("5000"), step("10000")],
                shown: vec!["p99_us".to_owned(), "mb_per_second".to_owned(), "none".to_owned()],
            }],
            limits: vec![BTreeMap::from([("echo".to_owned(), 3.0)])],
            runs,
            left_out: Vec::new(),
        }
    }

    #[track_caller]
    fn check(results: &Results, want: &str) {
        assert_eq!(text(results), want);
    }

    const BOTH: [(&str, Durability); 2] = [("ours", Durability::D2), ("theirs", Durability::D1)];

    #[test]
    fn medians_stand_beside_the_worst_run_and_ratios_beside_their_range() {
        let runs = vec![
            run("ours", 1, &[("p99_us", 10.0), ("mb_per_second", 4.0)], &[]),
            run("theirs", 1, &[("p99_us", 20.0), ("mb_per_second", 2.0)], &[]),
            run("theirs", 2, &[("p99_us", 20.0)], &[]),
            run("ours", 2, &[("p99_us", 30.0)], &[]),
        ];
        check(
            &results(&BOTH, runs),
            "commit abc, profile smoke, placement split\n\
             limit echo: 3.00\n\
             \n\
             W2  Small\n\
             \n\
             \x20 5000/s (5000)\n\
             \x20                ours D2  worst  theirs D1  worst  to theirs           range\n\
             \x20 p99_us            20.0   30.0       20.0   20.0      1.00?  0.5000 .. 1.50\n\
             \x20 mb_per_second     4.00   4.00       2.00   2.00       2.00\n\
             \x20 no claim: 2 of 5 runs that count\n",
        );
    }

    #[test]
    fn a_void_run_counts_in_nothing_and_is_shown() {
        let runs = vec![
            run("ours", 1, &[("p99_us", 10.0)], &["late"]),
            run("theirs", 1, &[("p99_us", 20.0)], &[]),
            run("ours", 2, &[("p99_us", 30.0)], &["late", "steal"]),
            run("theirs", 2, &[("p99_us", 60.0)], &[]),
        ];
        let text = text(&results(&BOTH, runs));
        let rows: Vec<&str> = text.lines().skip(7).collect();
        assert_eq!(
            rows,
            [
                "  p99_us   (20.0)              40.0   60.0",
                "  VOID: ours run 1: late",
                "  VOID: ours run 2: late",
                "  VOID: ours run 2: steal",
                "  no claim: 0 of 5 runs that count",
            ]
        );
    }

    #[test]
    fn what_is_left_out_says_why_and_asks_for_no_claim() {
        let left_out = |step: &str, reason: &str| LeftOut {
            workload: "W2".to_owned(),
            step: step.to_owned(),
            target: "theirs".to_owned(),
            reason: reason.to_owned(),
        };
        let runs = (1..=5).map(|pair| run("ours", pair, &[("p99_us", 10.0)], &[]));
        let mut results = results(&BOTH, runs.collect());
        results.left_out = vec![left_out("5000", "why")];
        let partly = text(&results);
        assert!(partly.contains("W2  Small\n  LEFT OUT: theirs at 5000: why\n"), "{partly}");
        assert!(!partly.contains("no claim"), "{partly}");
        results.left_out.push(left_out("10000", "why"));
        results.runs.clear();
        let whole = text(&results);
        assert!(whole.ends_with("\nW2  Small\n  LEFT OUT: theirs: why\n"), "{whole}");
    }

    #[test]
    fn a_curve_ends_where_a_run_is_too_slow_or_none_counts() {
        let at = |step: &str, run: Run| Run { step: step.to_owned(), ..run };
        let mut results = results(
            &BOTH,
            vec![
                at("5000", run("ours", 1, &[("p99.9_us", 900.0)], &[])),
                at("10000", run("ours", 1, &[("p99.9_us", 9_999.0)], &[])),
                at("5000", run("theirs", 1, &[("p99.9_us", 900.0)], &[])),
                at("5000", run("theirs", 2, &[("p99.9_us", 10_000.0)], &[])),
                at("10000", run("theirs", 1, &[("p99.9_us", 900.0)], &["late"])),
            ],
        );
        for (step, offered) in results.workloads[0].steps.iter_mut().zip([5_000.0, 10_000.0]) {
            step.offered = Some(offered);
            step.curve = "1KiB".to_owned();
        }
        let want = "\n  1KiB: records/s with p99.9 below 10 ms: ours 10000, theirs none\n";
        assert!(text(&results).ends_with(want), "{}", text(&results));
    }

    #[test]
    fn shares_of_two_limits_have_no_ratio() {
        let bound = |target: &str, pair, bound: &str| Run {
            bound: bound.to_owned(),
            ..run(target, pair, &[(LIMIT_PERCENT, 10.0 * f64::from(pair))], &[])
        };
        let check = |bounds: [&str; 2], row: &str, note: Option<&str>| {
            let runs = (1..=5).flat_map(|pair| {
                [bound("ours", pair, "disk"), bound("theirs", pair, bounds[usize::from(pair == 1)])]
            });
            let mut results = results(&BOTH, runs.collect());
            results.workloads[0].shown = vec![LIMIT_PERCENT.to_owned()];
            let text = text(&results);
            assert!(text.contains(&format!("{row}\n")), "{text}");
            assert_eq!(text.lines().find(|it| it.contains("of two limits")), note, "{text}");
        };
        let both =
            "  limit_percent: ours of disk, theirs of disk and network: no ratio of two limits";
        check(["disk", "disk"], "  1.00?  1.00 .. 1.00", None);
        check(["disk", "network"], "  1.00?  1.00 .. 1.00", Some(both));
        let other = "  limit_percent: ours of disk, theirs of network: no ratio of two limits";
        check(["network", "network"], "30.0   10.0", Some(other));
    }

    #[test]
    fn at_rates_of_their_own_targets_have_no_ratio_of_latencies_and_rates() {
        let numbers = [("p99_us", 10.0), ("mb_per_second", 4.0), ("goodput_percent", 50.0)];
        let runs = ["ours", "theirs"].map(|target| run(target, 1, &numbers, &[]));
        let mut results = results(&BOTH, runs.to_vec());
        let workload = &mut results.workloads[0];
        workload.shown = numbers.iter().map(|(name, _)| (*name).to_owned()).collect();
        workload.steps[0].share_of = Some("W4".to_owned());
        let text = text(&results);
        let ends = |row: &str| text.lines().any(|it| it.trim_start().starts_with(row));
        assert!(ends("goodput_percent     50.0   50.0       50.0   50.0       1.00"), "{text}");
        assert!(text.contains("p99_us              10.0   10.0       10.0   10.0\n"), "{text}");
        assert!(text.contains("mb_per_second       4.00   4.00       4.00   4.00\n"), "{text}");
        assert!(text.contains("  each target at its own rate, a share of its W4: "), "{text}");
    }

    #[test]
    fn what_was_not_finished_says_so() {
        let unfinished = Results { is_complete: false, ..results(&BOTH, Vec::new()) };
        check(
            &unfinished,
            "commit abc, profile smoke, placement split\n\
             INCOMPLETE: not all that was planned was run\n\
             limit echo: 3.00\n",
        );
    }

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let runs = vec![run("ours", 1, &[("p99_us", 10.0)], &["late"])];
        let written = serde_json::to_string(&results(&BOTH, runs)).expect("numbers and words");
        let read: Results = serde_json::from_str(&written).expect("the same form");
        assert_eq!(serde_json::to_string(&read).expect("numbers and words"), written);
    }
}
