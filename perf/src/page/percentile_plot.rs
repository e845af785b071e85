//! The whole distribution of a latency: each further nine has as much room as the one before.

use crate::page::axis::{Axis, Scale};
use crate::page::latencies::Latencies;
use crate::page::plot::{Curve, Panel, Plot, Stroke};
use crate::page::survey::{Kind, Survey};
use crate::page::tick;

/// All runs of a target that count together. `None` if no target has enough samples for a line.
pub(crate) fn plot(
    survey: &Survey<'_>,
    of: &Latencies,
    step: usize,
    kind: &Kind,
    title: &str,
) -> Option<Plot> {
    let curves: Vec<Curve> = survey
        .names
        .iter()
        .enumerate()
        .filter_map(|(target, name)| {
            let points = of.get(step, target, kind)?.together.curve();
            (2 <= points.len()).then(|| Curve {
                target,
                name: name.clone(),
                stroke: Stroke::Line,
                points,
                reach: f64::INFINITY,
                has_marks: false,
            })
        })
        .collect();
    let all = curves.iter().flat_map(|it| &it.points);
    let most = all.clone().map(|it| it.0).fold(0.0, f64::max);
    let y = Axis::log(all.map(|it| it.1));
    (1.0 < most).then(|| Plot {
        title: format!("Percentiles of {title}"),
        description: described(&curves),
        x: Axis::exact(Scale::Log, 1.0, 10_f64.powf(most.log10().ceil())),
        x_title: "percentile".to_owned(),
        x_text: tick::percentile,
        x_kind: "percentile",
        panels: vec![Panel {
            title: "latency".to_owned(),
            height: 190.0,
            y,
            y_text: tick::time,
            y_kind: "time",
            curves,
        }],
    })
}

fn described(curves: &[Curve]) -> String {
    let ends = curves.iter().filter_map(|curve| {
        let (over, us) = curve.points.last()?;
        let (time, percentile) = (tick::time(*us), tick::percentile(*over));
        Some(format!("{} reaches {time} at percentile {percentile}.", curve.name))
    });
    ends.collect::<Vec<_>>().join(" ")
}
