//! How latency grows with the load that is offered: median over runs at each step, whiskers to the least and the most.

use crate::curve;
use crate::page::axis::Axis;
use crate::page::element::Element;
use crate::page::latencies::Latencies;
use crate::page::plot::{Curve, Panel, Plot, Stroke};
use crate::page::survey::{Kind, Survey};
use crate::page::tick;
use crate::results::Workload;

const SHOWN: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// Steps of one curve: its word, and of each step the index and what is offered.
struct Line<'a> {
    word: &'a str,
    steps: Vec<(usize, f64)>,
}

/// A row of plots for each curve of the workload and each latency of the broker.
pub(crate) fn figures(survey: &Survey<'_>, workload: &Workload, of: &Latencies) -> Vec<Element> {
    let kinds: Vec<Kind> = of.kinds().into_iter().filter(Kind::is_of_broker).collect();
    let mut figures = Vec::new();
    for line in lines(workload) {
        for kind in &kinds {
            let title = match curve::word(line.word) {
                None => kind.words(&kinds),
                Some(word) => format!("{word}: {}", kind.words(&kinds)),
            };
            let plots: Vec<Element> =
                row(survey, of, &line, kind, &title).iter().map(Plot::svg).collect();
            if !plots.is_empty() {
                figures.push(figure(&title, plots));
            }
        }
    }
    figures
}

fn figure(title: &str, plots: Vec<Element>) -> Element {
    let caption = Element::new("figcaption")
        .child(Element::new("b").text(title))
        .text(" over the load that is offered. Points: median over runs; strokes: least to most.");
    Element::new("figure")
        .class("load")
        .child(caption)
        .child(Element::new("div").class("plots").children(plots))
}

/// A curve needs two steps.
fn lines(workload: &Workload) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (index, step) in workload.steps.iter().enumerate() {
        let Some(offered) = step.offered.filter(|it| it.is_finite() && 0.0 < *it) else { continue };
        match lines.iter_mut().find(|it| it.word == step.curve) {
            Some(line) => line.steps.push((index, offered)),
            None => lines.push(Line { word: &step.curve, steps: vec![(index, offered)] }),
        }
    }
    for line in &mut lines {
        line.steps.sort_by(|one, other| one.1.total_cmp(&other.1));
    }
    lines.retain(|it| 2 <= it.steps.len());
    lines
}

/// The same axes in all of them.
fn row(
    survey: &Survey<'_>,
    of: &Latencies,
    line: &Line<'_>,
    kind: &Kind,
    title: &str,
) -> Vec<Plot> {
    let drawn: Vec<(&str, Vec<Curve>)> = SHOWN
        .into_iter()
        .map(|(name, quantile)| (name, curves(survey, of, line, kind, quantile)))
        .filter(|(_, curves)| curves.iter().any(is_a_line))
        .collect();
    let all = drawn.iter().flat_map(|(_, curves)| curves).flat_map(|it| &it.points);
    let x = Axis::log(all.clone().map(|it| it.0));
    let y = Axis::log(all.map(|it| it.1));
    drawn
        .into_iter()
        .map(|(name, curves)| Plot {
            title: format!("{name} of {title}"),
            description: described(&curves),
            x,
            x_title: "records/s offered".to_owned(),
            x_text: tick::count,
            x_kind: "offered",
            panels: vec![Panel {
                title: name.to_owned(),
                height: 170.0,
                y,
                y_text: tick::time,
                y_kind: "time",
                curves,
            }],
        })
        .collect()
}

fn curves(
    survey: &Survey<'_>,
    of: &Latencies,
    line: &Line<'_>,
    kind: &Kind,
    quantile: f64,
) -> Vec<Curve> {
    let mut curves = Vec::new();
    for (target, name) in survey.names.iter().enumerate() {
        let found: Vec<_> = line
            .steps
            .iter()
            .filter_map(|(step, offered)| {
                let spread = of.get(*step, target, kind)?.spread_us(quantile)?;
                Some((*offered, spread))
            })
            .collect();
        if found.is_empty() {
            continue;
        }
        let whiskers = found.iter().flat_map(|(x, it)| [(*x, it.least), (*x, it.most)]).collect();
        curves.push(Curve {
            target,
            name: String::new(),
            stroke: Stroke::Whisker,
            points: whiskers,
            reach: f64::INFINITY,
            has_marks: false,
        });
        curves.push(Curve {
            target,
            name: name.clone(),
            stroke: Stroke::Line,
            points: found.iter().map(|(x, it)| (*x, it.median)).collect(),
            reach: f64::INFINITY,
            has_marks: true,
        });
    }
    curves
}

/// One point alone says nothing of load.
fn is_a_line(curve: &Curve) -> bool {
    curve.stroke == Stroke::Line && 2 <= curve.points.len()
}

/// The ends of each line, in words.
fn described(curves: &[Curve]) -> String {
    let ends = curves.iter().filter(|it| it.stroke == Stroke::Line).filter_map(|curve| {
        let (first, last) = (curve.points.first()?, curve.points.last()?);
        let at = |point: &(f64, f64)| {
            format!("{} at {} records/s", tick::time(point.1), tick::count(point.0))
        };
        Some(format!("{}: {}, {}.", curve.name, at(first), at(last)))
    });
    ends.collect::<Vec<_>>().join(" ")
}
