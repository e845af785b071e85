//! Latency and count of each second of one run of each target, the worst one: a stall has a place in time.

use crate::page::axis::{Axis, Scale};
use crate::page::plot::{Curve, Panel, Plot, Stroke};
use crate::page::survey::{Kind, Place, Survey};
use crate::page::tick;
use crate::report::{float, float_of};
use crate::results::{Run, Second};

/// Points that there is room for: of a longer run, so many seconds together are one.
const POINTS_MAX: usize = 90;

/// The seconds of the run whose longest latency is the longest.
struct Worst<'a> {
    target: usize,
    title: &'a str,
    run: &'a Run,
    seconds: &'a [Second],
    run_count: usize,
}

pub(crate) fn plot(
    survey: &Survey<'_>,
    place: Place<'_>,
    kind: &Kind,
    title: &str,
) -> Option<Plot> {
    let worst: Vec<Worst<'_>> =
        survey.targets().filter_map(|(target, _)| worst(survey, place, kind, target)).collect();
    let seconds = worst.iter().map(|it| it.seconds.len()).max()?;
    let all = worst.iter().flat_map(|it| it.seconds).filter(|it| 0 < it.count);
    let y = Axis::log(all.flat_map(|it| [it.p50_us, it.max_us]));
    let counts = worst.iter().flat_map(|it| it.seconds).map(|it| float(it.count));
    let count_axis = Axis::linear(counts);
    let mut panels: Vec<Panel> = worst.iter().map(|it| latency_panel(it, y)).collect();
    panels.push(Panel {
        title: kind.counted().to_owned(),
        height: 46.0,
        y: count_axis,
        y_text: tick::count,
        y_kind: "count",
        curves: worst.iter().map(count_curve).collect(),
    });
    Some(Plot {
        title: match worst.iter().map(|it| width(it.seconds)).max() {
            Some(width) if 1 < width => {
                format!("Each {width} seconds of {title}, the worst of them")
            }
            _ => format!("Each second of {title}"),
        },
        description: described(&worst),
        x: Axis::exact(Scale::Linear, 0.0, float_of(seconds.max(1))),
        x_title: "seconds since the phase began".to_owned(),
        x_text: tick::count,
        x_kind: "second",
        panels,
    })
}

/// Of those that count; of the others if none does.
fn worst<'a>(
    survey: &'a Survey<'_>,
    place: Place<'_>,
    kind: &Kind,
    target: usize,
) -> Option<Worst<'a>> {
    let runs = survey.runs(place, target);
    let any_counts = runs.iter().any(|it| it.void.is_empty());
    let considered = runs.iter().filter(|it| it.void.is_empty() == any_counts);
    let with_seconds = considered.filter_map(|run| {
        let series = run.series.iter().find(|it| Kind::of(it) == *kind)?;
        (!series.seconds.is_empty()).then_some((*run, series.seconds.as_slice()))
    });
    let run_count = with_seconds.clone().count();
    let longest = |seconds: &[Second]| seconds.iter().map(|it| it.max_us).fold(0.0, f64::max);
    let (run, seconds) =
        with_seconds.max_by(|one, other| longest(one.1).total_cmp(&longest(other.1)))?;
    Some(Worst { target, title: &survey.names[target], run, seconds, run_count })
}

fn latency_panel(of: &Worst<'_>, y: Axis) -> Panel {
    let line = |name: &str, stroke: Stroke, value: fn(&Second) -> f64| Curve {
        target: of.target,
        name: name.to_owned(),
        stroke,
        points: points(of.seconds, value, |it| 0 < it.count),
        reach: reach(of.seconds),
        has_marks: false,
    };
    let note = if of.run.void.is_empty() { "" } else { ", VOID" };
    Panel {
        title: format!("{}, run {}{note}", of.title, of.run.pair),
        height: 62.0,
        y,
        y_text: tick::time,
        y_kind: "time",
        curves: vec![
            line("max", Stroke::Thin, |it| it.max_us),
            line("p99", Stroke::Line, |it| it.p99_us),
            line("p50", Stroke::Area, |it| it.p50_us),
        ],
    }
}

fn count_curve(of: &Worst<'_>) -> Curve {
    Curve {
        target: of.target,
        name: of.title.to_owned(),
        stroke: Stroke::Line,
        points: points(of.seconds, |it| float(it.count), |_| true),
        reach: reach(of.seconds),
        has_marks: false,
    }
}

/// Each second, or each few of a long run, at its middle.
fn points(
    seconds: &[Second],
    value: fn(&Second) -> f64,
    is_drawn: fn(&Second) -> bool,
) -> Vec<(f64, f64)> {
    let width = width(seconds);
    let groups = seconds.chunks(width).map(together).enumerate();
    groups
        .filter(|(_, it)| is_drawn(it))
        .map(|(index, it)| ((float_of(index) + 0.5) * float_of(width), value(&it)))
        .collect()
}

fn width(seconds: &[Second]) -> usize {
    seconds.len().div_ceil(POINTS_MAX).max(1)
}

/// From each point to the next, and not across one without answers.
fn reach(seconds: &[Second]) -> f64 {
    1.5 * float_of(width(seconds))
}

/// Nothing that took long disappears: the worst of each, and the mean count.
fn together(seconds: &[Second]) -> Second {
    let worst = |value: fn(&Second) -> f64| seconds.iter().map(value).fold(0.0, f64::max);
    let count: u64 = seconds.iter().map(|it| it.count).sum();
    Second {
        count: count / u64::try_from(seconds.len()).unwrap_or(u64::MAX).max(1),
        p50_us: worst(|it| it.p50_us),
        p99_us: worst(|it| it.p99_us),
        max_us: worst(|it| it.max_us),
    }
}

fn described(worst: &[Worst<'_>]) -> String {
    let each = worst.iter().map(|it| {
        let longest = it.seconds.iter().map(|it| it.max_us).fold(0.0, f64::max);
        let (title, run, of) = (it.title, it.run.pair, it.run_count);
        format!("{title}: run {run}, the worst of {of}; longest {}.", tick::time(longest))
    });
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u32) -> Vec<Second> {
        let each = |second: u32| Second {
            count: 10,
            p50_us: 1.0,
            p99_us: 2.0,
            max_us: if second == 500 { 1_000.0 } else { 3.0 },
        };
        (0..count).map(each).collect()
    }

    #[test]
    fn each_second_of_a_short_run_is_a_point() {
        let points = points(&seconds(60), |it| it.max_us, |_| true);
        assert_eq!(points.len(), 60);
        assert_eq!(points[0], (0.5, 3.0));
    }

    #[test]
    fn a_second_without_answers_is_a_gap() {
        let mut seconds = seconds(5);
        seconds[2].count = 0;
        let points = points(&seconds, |it| it.max_us, |it| 0 < it.count);
        let places: Vec<f64> = points.iter().map(|it| it.0).collect();
        assert_eq!(places, [0.5, 1.5, 3.5, 4.5]);
        let pieces = places.chunk_by(|one, other| other - one <= reach(&seconds));
        assert_eq!(pieces.map(<[f64]>::len).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn a_stall_in_a_long_run_is_seen() {
        let seconds = seconds(1_800);
        let points = points(&seconds, |it| it.max_us, |_| true);
        assert_eq!(points.len(), POINTS_MAX);
        assert_eq!(points.iter().filter(|it| it.1 > 999.0).count(), 1);
        assert_eq!(together(&seconds[..20]).count, 10);
    }
}
