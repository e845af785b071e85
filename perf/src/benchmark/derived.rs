//! Numbers that follow from others of the same run: ratios of its phases, and how it went over time.
//!
//! They are told by the names of phases and streams: `drain` beside `before`, `last` beside `first`,
//! `after` beside `normal` and `overload`. A run without them gets none.

use crate::report::float_of;
use crate::results::{Measure, Run, Second, Series};
use crate::statistics::median;

const MINUTE_SECONDS: usize = 60;
/// What is so much slower than usual is not back to normal.
const NORMAL: f64 = 2.0;

pub(super) fn add(run: &mut Run) {
    let number = |name: &str| run.numbers.get(name).copied();
    let per = |one: Option<f64>, other: Option<f64>| {
        other.filter(|it| *it != 0.0).and_then(|other| one.map(|one| one / other))
    };
    let minus = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(it, other)| it - other);
    let interference = per(number("drain_small_p99.9_us"), number("before_small_p99.9_us"));
    let drift = per(number("last_mb_per_second"), number("first_mb_per_second"));
    let goodput = per(
        number("overload_flood_records_per_second"),
        number("overload_flood_intended_records_per_second"),
    );
    let growth =
        |name: &str| minus(number(&format!("last_{name}")), number(&format!("first_{name}")));
    let found = [
        ("interference", interference),
        ("read_mb_per_second", number("drain_read_mb_per_second")),
        ("drift_percent", drift.map(|ratio| 100.0 * (1.0 - ratio))),
        ("resident_growth_mib", growth("broker_resident_mib")),
        ("fd_growth_count", growth("broker_fd_count")),
        ("goodput_percent", goodput.map(|share| 100.0 * share)),
        ("minute_p99_max_per_median", minutes(&run.series)),
        ("recovery_seconds", recovery(&run.series)),
    ];
    let found = found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    run.numbers.extend(found.collect::<Vec<_>>());
}

/// Each second of the phases that have this name, of requests.
fn published<'a>(series: &'a [Series], phase: &str, stream: &str) -> Option<&'a [Second]> {
    let found = series
        .iter()
        .find(|it| it.measure == Measure::Publish && it.phase == phase && it.stream == stream);
    found.map(|it| it.seconds.as_slice()).filter(|seconds| !seconds.is_empty())
}

/// The slowest minute beside the usual one; a minute is as slow as its slowest second.
fn minutes(series: &[Series]) -> Option<f64> {
    let (first, last) = (published(series, "first", "small")?, published(series, "last", "small")?);
    let seconds: Vec<f64> = first.iter().chain(last).map(|second| second.p99_us).collect();
    let minutes: Vec<f64> = seconds
        .chunks(MINUTE_SECONDS)
        .filter_map(|minute| minute.iter().copied().max_by(f64::total_cmp))
        .collect();
    let slowest = minutes.iter().copied().max_by(f64::total_cmp)?;
    median(minutes).filter(|usual| 0.0 < *usual).map(|usual| slowest / usual)
}

/// How many seconds after the overload latency was above normal; all of them if it stayed there.
fn recovery(series: &[Series]) -> Option<f64> {
    let normal = published(series, "normal", "flood")?;
    let after = published(series, "after", "flood")?;
    let usual = median(normal.iter().map(|second| second.p99_us).collect())?;
    let is_slow = |second: &Second| second.count == 0 || NORMAL * usual < second.p99_us;
    Some(after.iter().rposition(is_slow).map_or(0.0, |index| float_of(index + 1)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(numbers: &[(&str, f64)], series: Vec<Series>) -> Run {
        Run {
            workload: String::new(),
            step: String::new(),
            target: String::new(),
            pair: 1,
            began_unix: 0,
            void: Vec::new(),
            numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            bound: String::new(),
            series,
        }
    }

    fn series(phase: &str, stream: &str, p99s_us: &[f64]) -> Series {
        let second = |p99_us: &f64| Second { count: 1, p50_us: 1.0, p99_us: *p99_us, max_us: 1.0 };
        Series {
            phase: phase.to_owned(),
            stream: stream.to_owned(),
            measure: Measure::Publish,
            histogram: String::new(),
            seconds: p99s_us.iter().map(second).collect(),
        }
    }

    #[track_caller]
    fn check(mut run: Run, want: &[(&str, f64)]) {
        let before = run.numbers.clone();
        add(&mut run);
        run.numbers.retain(|name, _| !before.contains_key(name));
        let want: BTreeMap<String, f64> =
            want.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(run.numbers, want);
    }

    #[test]
    fn a_drain_disturbs_by_a_ratio() {
        let numbers = [
            ("before_small_p99.9_us", 200.0),
            ("drain_small_p99.9_us", 500.0),
            ("drain_read_mb_per_second", 70.0),
        ];
        check(run(&numbers, Vec::new()), &[("interference", 2.5), ("read_mb_per_second", 70.0)]);
        check(run(&numbers[1..2], Vec::new()), &[]);
    }

    #[test]
    fn a_soak_is_its_end_beside_its_beginning() {
        let numbers = [
            ("first_mb_per_second", 20.0),
            ("last_mb_per_second", 15.0),
            ("first_broker_resident_mib", 100.0),
            ("last_broker_resident_mib", 130.0),
        ];
        let slow_minute: Vec<f64> =
            (0..60).map(|second| if second == 7 { 9.0 } else { 1.0 }).collect();
        let series = vec![
            series("first", "small", &[3.0; 120]),
            series("last", "small", &slow_minute),
            series("last", "bulk", &[99.0; 60]),
        ];
        let want = [
            ("drift_percent", 25.0),
            ("resident_growth_mib", 30.0),
            ("minute_p99_max_per_median", 3.0),
        ];
        check(run(&numbers, series), &want);
    }

    #[test]
    fn an_overload_is_over_when_latency_stays_normal() {
        let normal = series("normal", "flood", &[10.0, 12.0, 11.0]);
        let after = |p99s_us: &[f64]| vec![normal.clone(), series("after", "flood", p99s_us)];
        let recovery = |want| [("recovery_seconds", want)];
        check(run(&[], after(&[900.0, 21.0, 23.0, 20.0])), &recovery(3.0));
        check(run(&[], after(&[20.0, 21.0])), &recovery(0.0));
        check(run(&[], after(&[900.0, 900.0])), &recovery(2.0));
        check(run(&[], vec![normal.clone()]), &[]);
    }
}
