//! Two brokers side by side: each metric's median, and the ratio of runs that were made as a pair.
//!
//! Input: two files with one JSON report a line, as the other commands print them; the nth lines are
//! a pair. A run that is VOID counts in no median, and its pair in no ratio. Metrics that only one
//! side has are shown without a ratio.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::report::{VOID, number};

/// The reports of one broker, in the order of the runs.
struct Side {
    name: String,
    runs: Vec<Map<String, Value>>,
    /// Metrics in the order in which the reports have them.
    metrics: Vec<String>,
}

/// A table: metric, both medians, median ratio and its range.
pub(crate) fn table(ours: &Path, theirs: &Path) -> Result<String, Failure> {
    Ok(compare(&Side::read(ours)?, &Side::read(theirs)?))
}

impl Side {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::io(format!("read {}", path.display()), error))?;
        let name = path.file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &text)
            .ok_or_else(|| Failure::new(format!("{} has a line that is no report", path.display())))
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut side = Self { name: name.to_owned(), runs: Vec::new(), metrics: Vec::new() };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let run: Map<String, Value> = serde_json::from_str(line).ok()?;
            let mut metrics: Vec<&String> = run
                .iter()
                .filter(|(_, value)| value.is_f64() || value.is_u64())
                .map(|it| it.0)
                .collect();
            // The map has forgotten the order, the line has not.
            metrics.sort_by_key(|metric| line.find(&format!("\"{metric}\":")));
            for metric in metrics {
                if !side.metrics.contains(metric) {
                    side.metrics.push(metric.clone());
                }
            }
            side.runs.push(run);
        }
        Some(side)
    }

    fn values(&self, metric: &str) -> Vec<f64> {
        self.runs.iter().filter_map(|run| value(run, metric)).collect()
    }
}

/// Why a run does not count.
fn void(run: &Map<String, Value>) -> impl Iterator<Item = &str> {
    run.get(VOID).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// `None` if the run does not count, or has no such metric.
fn value(run: &Map<String, Value>, metric: &str) -> Option<f64> {
    let counts = void(run).next().is_none();
    run.get(metric).filter(|_| counts)?.as_f64()
}

fn compare(ours: &Side, theirs: &Side) -> String {
    let mut rows = vec![[
        "metric".to_owned(),
        ours.name.clone(),
        theirs.name.clone(),
        "ratio".to_owned(),
        "range".to_owned(),
    ]];
    let missing = theirs.metrics.iter().filter(|metric| !ours.metrics.contains(metric));
    for metric in ours.metrics.iter().chain(missing) {
        let median_of = |side: &Side| median(side.values(metric)).map(number).unwrap_or_default();
        let ratios: Vec<f64> = ours
            .runs
            .iter()
            .zip(&theirs.runs)
            .filter_map(|(one, other)| {
                let (one, other) = (value(one, metric)?, value(other, metric)?);
                (other != 0.0).then_some(one / other)
            })
            .collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = format!("{} .. {}", number(least), number(most));
        rows.push([
            metric.clone(),
            median_of(ours),
            median_of(theirs),
            median(ratios.clone()).map(number).unwrap_or_default(),
            if ratios.len() > 1 { range } else { String::new() },
        ]);
    }
    let mut text = aligned(&rows);
    for side in [ours, theirs] {
        let void_count = side.runs.iter().filter(|run| void(run).next().is_some()).count();
        if 0 < void_count {
            let (name, count) = (&side.name, side.runs.len());
            text.push_str(&format!("VOID: {void_count} of {count} runs of {name} do not count\n"));
        }
        for (index, run) in side.runs.iter().enumerate() {
            for reason in void(run) {
                text.push_str(&format!("VOID: {} run {}: {reason}\n", side.name, index + 1));
            }
        }
    }
    text
}

/// `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(values[middle - 1], upper)) }
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ours: &str, theirs: &str, want: &str) {
        let side = |name, text| Side::parse(name, text).expect("reports");
        assert_eq!(compare(&side("ours", ours), &side("theirs", theirs)), want);
    }

    #[test]
    fn ratios_are_of_pairs_and_medians_of_sides() {
        check(
            "{\"title\":\"t\",\"p99_us\":10,\"mb\":5.0,\"void\":[]}\n{\"p99_us\":30,\"mb\":5.0}\n",
            "{\"p99_us\":20,\"void\":[]}\n{\"p99_us\":40,\"threads\":7}\n",
            "metric   ours  theirs   ratio             range\n\
             p99_us   20.0    30.0  0.6250  0.5000 .. 0.7500\n\
             mb       5.00\n\
             threads          7.00\n",
        );
    }

    #[test]
    fn a_void_run_counts_in_no_median_and_its_pair_in_no_ratio() {
        check(
            "{\"us\":10}\n{\"us\":30}\n{\"us\":50}\n",
            "{\"us\":10}\n{\"us\":9,\"void\":[\"late\",\"steal\"]}\n{\"us\":25}\n",
            "metric  ours  theirs  ratio         range\n\
             us      30.0    17.5   1.50  1.00 .. 2.00\n\
             VOID: 1 of 3 runs of theirs do not count\n\
             VOID: theirs run 2: late\n\
             VOID: theirs run 2: steal\n",
        );
        check(
            "{\"us\":10,\"void\":[\"late\"]}\n",
            "{\"us\":10}\n",
            "metric  ours  theirs  ratio  range\n\
             us              10.0\n\
             VOID: 1 of 1 runs of ours do not count\n\
             VOID: ours run 1: late\n",
        );
    }

    #[test]
    fn a_line_that_is_no_report_is_refused() {
        assert!(Side::parse("x", "{\"a\":1}\nperf: no broker\n").is_none());
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
