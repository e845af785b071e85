//! Numbers that follow from others of the same run: ratios of its phases, and how it went over time.
//!
//! They are told by the names of phases and streams: `drain` beside `before`, `last` beside `first`,
//! `after` beside `normal` and `overload`. A run without them gets none.

use crate::report::float_of;
use crate::results::{Measure, Run, Sample, Second, Series};
use crate::statistics::{median, slope};

const HOUR_SECONDS: f64 = 3_600.0;
/// Looks at a broker that say something of its growth.
const SAMPLES_MIN: usize = 6;
/// What is so much slower than usual is not back to normal.
const NORMAL: f64 = 2.0;

pub(super) fn add(run: &mut Run) {
    let number = |name: &str| run.numbers.get(name).copied();
    let per = |one: Option<f64>, other: Option<f64>| {
        other.filter(|it| *it != 0.0).and_then(|other| one.map(|one| one / other))
    };
    let interference = per(number("drain_small_p99.9_us"), number("before_small_p99.9_us"));
    let drift = per(number("last_mb_per_second"), number("first_mb_per_second"));
    let goodput = per(
        number("overload_flood_records_per_second"),
        number("overload_flood_intended_records_per_second"),
    );
    let found = [
        ("interference", interference),
        ("read_mb_per_second", number("drain_read_mb_per_second")),
        ("drift_percent", drift.map(|ratio| 100.0 * (1.0 - ratio))),
        ("resident_slope_mib_per_hour", per_hour(&run.samples, |it| it.resident_mib)),
        ("fd_slope_per_hour", per_hour(&run.samples, |it| it.fd_count)),
        ("goodput_percent", goodput.map(|share| 100.0 * share)),
        ("minute_p99.9_max_per_median", minutes(&run.series)),
        ("recovery_seconds", recovery(&run.series)),
    ];
    let found = found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    run.numbers.extend(found.collect::<Vec<_>>());
}

/// Publish latency of a stream in the phase that has this name.
fn published<'a>(series: &'a [Series], phase: &str, stream: &str) -> Option<&'a Series> {
    series
        .iter()
        .find(|it| it.measure == Measure::Publish && it.phase == phase && it.stream == stream)
}

fn seconds<'a>(series: &'a [Series], phase: &str, stream: &str) -> Option<&'a [Second]> {
    let seconds = published(series, phase, stream)?.seconds.as_slice();
    (!seconds.is_empty()).then_some(seconds)
}

/// The p99.9 of the slowest minute beside that of the usual one. Minutes without enough samples have none.
fn minutes(series: &[Series]) -> Option<f64> {
    let both = [published(series, "first", "small")?, published(series, "last", "small")?];
    let minutes = both.iter().flat_map(|it| &it.minutes).filter_map(|it| it.p999_us);
    let minutes: Vec<f64> = minutes.collect();
    let slowest = minutes.iter().copied().max_by(f64::total_cmp)?;
    median(minutes).filter(|usual| 0.0 < *usual).map(|usual| slowest / usual)
}

/// How fast something of the broker grows.
fn per_hour(samples: &[Sample], value: fn(&Sample) -> f64) -> Option<f64> {
    let points: Vec<(f64, f64)> = samples.iter().map(|it| (it.seconds, value(it))).collect();
    let per_second = slope(&points).filter(|_| SAMPLES_MIN <= points.len());
    per_second.map(|it| it * HOUR_SECONDS)
}

/// How many seconds after the overload latency was above normal; all of them if it stayed there.
fn recovery(series: &[Series]) -> Option<f64> {
    let normal = seconds(series, "normal", "flood")?;
    let after = seconds(series, "after", "flood")?;
    let usual = median(normal.iter().map(|second| second.p99_us).collect())?;
    let is_slow = |second: &Second| second.count == 0 || NORMAL * usual < second.p99_us;
    Some(after.iter().rposition(is_slow).map_or(0.0, |index| float_of(index + 1)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Minute;

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
            samples: Vec::new(),
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
            minutes: Vec::new(),
        }
    }

    fn minutes_of(phase: &str, p999s_us: &[Option<f64>]) -> Series {
        let minute = |p999_us: &Option<f64>| Minute { count: 1, p999_us: *p999_us, max_us: 9.0 };
        let minutes = p999s_us.iter().map(minute).collect();
        Series { minutes, ..series(phase, "small", &[1.0]) }
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
        let numbers = [("first_mb_per_second", 20.0), ("last_mb_per_second", 15.0)];
        let series = vec![
            minutes_of("first", &[Some(3.0), Some(3.0)]),
            minutes_of("last", &[Some(9.0), None]),
        ];
        let want = [("drift_percent", 25.0), ("minute_p99.9_max_per_median", 3.0)];
        check(run(&numbers, series), &want);
    }

    #[test]
    fn growth_is_told_of_a_minute_and_more() {
        let sample = |nth: u32| Sample {
            seconds: 10.0 * f64::from(nth),
            resident_mib: 100.0 + f64::from(nth),
            fd_count: 50.0,
        };
        let with =
            |count| Run { samples: (0..count).map(sample).collect(), ..run(&[], Vec::new()) };
        let want = [("resident_slope_mib_per_hour", 360.0), ("fd_slope_per_hour", 0.0)];
        check(with(6), &want);
        check(with(5), &[]);
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
