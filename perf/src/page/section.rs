//! One workload: its table, its curves, then each step with its distributions, its seconds and its files.

use crate::curve;
use crate::page::downloads::{self, Digits};
use crate::page::element::Element;
use crate::page::latencies::Latencies;
use crate::page::legend::legend;
use crate::page::numbers::{scrolled, table};
use crate::page::quantity::{duration, plain};
use crate::page::sampling::QUANTILES;
use crate::page::survey::{Kind, Place, Survey};
use crate::page::{load_curve, percentile_plot, runs, timeline};
use crate::report::float;
use crate::results::{LIMIT_PERCENT, Workload};

/// Parts of names of what a broker costs, whatever the phase before them.
const COSTS: [&str; 3] = ["broker_", "confined_", "device_"];
/// Of what may have disturbed a run, or says that it went wrong.
const DISTURBANCES: [&str; 10] = [
    "own_cpu",
    "own_lateness",
    "steal_percent",
    "stood_still_",
    "disk_probe_",
    "pressure_",
    "error_",
    "unanswered_count",
    "sample_count",
    "attempt_count",
];

const STEPS: &str = "Percentiles are of all runs that count, together; a curve ends where fewer than \
                     ten samples are left. Seconds are those of each target's worst run: the thin line \
                     is the longest, the thick one p99, the area p50.";

pub(crate) fn id(workload: usize) -> String {
    format!("w{workload}")
}

pub(crate) fn section(
    survey: &Survey<'_>,
    (index, workload): (usize, &Workload),
    of: &Latencies,
    digits: Digits,
) -> Element {
    let id = id(index);
    let heading = Element::new("h2")
        .with("id", format!("{id}-title"))
        .child(Element::new("span").class("key").text(&workload.key))
        .text(" ")
        .text(&workload.title);
    let mut section = Element::new("section")
        .with("id", &id)
        .with("aria-labelledby", format!("{id}-title"))
        .child(heading)
        .child(Element::new("p").class("about").text(&workload.about));
    let left_out = survey.results.left_out_of(workload);
    let is_left_out = !left_out.is_empty();
    if is_left_out {
        let items = left_out.into_iter().map(|it| Element::new("li").text(it));
        section = section
            .child(Element::new("p").text("Left out, as it makes no sense:"))
            .child(Element::new("ul").children(items));
    }
    if !survey.results.runs.iter().any(|it| it.workload == workload.key) {
        if is_left_out && survey.results.is_complete {
            return section;
        }
        let words = "Not run: the benchmark was stopped before it came to this.";
        return section.child(Element::new("p").class("notice").text(words));
    }
    section = section.child(legend(survey)).children(runs::void(survey, workload));
    section = section.children(highest(survey, workload)).children(tables(survey, workload));
    let curves = load_curve::figures(survey, workload, of);
    if !curves.is_empty() {
        section = section.child(Element::new("h3").text("Latency over load")).children(curves);
    }
    let steps: Vec<Element> =
        (0..workload.steps.len()).filter_map(|it| step(survey, workload, it, of, digits)).collect();
    if !steps.is_empty() {
        section = section
            .child(Element::new("h3").text("Step by step"))
            .child(Element::new("p").class("about").text(STEPS))
            .children(steps);
    }
    section.children(runs::every(survey, workload))
}

/// What all steps together say, a row each.
fn highest(survey: &Survey<'_>, workload: &Workload) -> Option<Element> {
    let all = curve::all(survey.results, workload);
    if all.is_empty() {
        return None;
    }
    let head = |scope: &str| Element::new("th").with("scope", scope);
    let targets = survey.names.iter().enumerate().map(|(index, name)| {
        head("col").class(format!("t{index}")).child(Element::new("span").text(name))
    });
    let title = "The highest rate";
    let heads = Element::new("tr").child(head("col").text(title)).children(targets);
    let rows = all.into_iter().map(|it| {
        let cells = it.of_targets.iter().map(|it| Element::new("td").text(it.words(plain)));
        Element::new("tr").child(head("row").text(it.title)).children(cells)
    });
    let table = Element::new("table")
        .class("percentiles")
        .child(Element::new("thead").child(heads))
        .child(Element::new("tbody").children(rows));
    Some(scrolled(title, table))
}

/// Where a ratio would compare loads.
fn own_rates(survey: &Survey<'_>, workload: &Workload) -> Option<Element> {
    let of = workload.steps.iter().find_map(|step| step.share_of.as_ref())?;
    let shares = workload.steps.iter().filter(|step| step.share_of.is_some());
    let all = workload.steps.len();
    let place = match shares.clone().count() {
        count if count == all => "Here".to_owned(),
        _ => shares.map(|step| step.title.as_str()).collect::<Vec<_>>().join(", "),
    };
    let words = format!(
        "{place}: each target at its own rate, a share of what it reached in {of}. Latencies and rates \
         have no ratio there."
    );
    (1 < survey.results.targets.len()).then(|| Element::new("p").class("about").text(words))
}

fn tables(survey: &Survey<'_>, workload: &Workload) -> Vec<Element> {
    let shown: Vec<String> = workload
        .shown
        .iter()
        .cloned()
        .chain(
            (!workload.shown.iter().any(|it| it == LIMIT_PERCENT))
                .then(|| LIMIT_PERCENT.to_owned()),
        )
        .collect();
    let others = |is_wanted: fn(&str) -> bool| -> Vec<String> {
        let runs = survey.results.runs.iter().filter(|it| it.workload == workload.key);
        let mut names: Vec<String> = runs
            .flat_map(|it| it.numbers.keys())
            .filter(|it| is_wanted(it) && !shown.contains(it))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let costs = others(|it| COSTS.iter().any(|word| it.contains(word)));
    let generator = others(|it| DISTURBANCES.iter().any(|word| it.contains(word)));
    let caption = "Median over the runs that count; least \u{2026} most, the worst run marked; \
                   \u{d7} is ours divided by theirs, median and range over pairs.";
    let mut tables: Vec<Element> = own_rates(survey, workload).into_iter().collect();
    tables.extend(table(survey, workload, &shown, caption));
    let more = [
        ("What it cost the broker", costs),
        ("The generator and the machine: what could have disturbed it", generator),
    ];
    for (title, names) in more {
        if let Some(table) = table(survey, workload, &names, title) {
            let summary = Element::new("summary").text(title);
            tables.push(Element::new("details").child(summary).child(table));
        }
    }
    tables
}

/// The first is open, so that one sees what is behind the others.
fn step(
    survey: &Survey<'_>,
    workload: &Workload,
    index: usize,
    of: &Latencies,
    digits: Digits,
) -> Option<Element> {
    let step = &workload.steps[index];
    let place = Place { workload, step };
    let kinds = of.kinds_of_step(index);
    let mut plots = Vec::new();
    for kind in kinds.iter().filter(|it| it.is_of_broker()) {
        let title = format!("{}, {}", step.title, kind.words(&kinds));
        let both = [
            percentile_plot::plot(survey, of, index, kind, &title),
            timeline::plot(survey, place, kind, &title),
        ];
        for plot in both.into_iter().flatten() {
            let caption = Element::new("figcaption").text(&plot.title);
            plots.push(Element::new("figure").child(caption).child(plot.svg()));
        }
    }
    let table = percentiles(survey, index, of, &kinds);
    let files = downloads::list(survey, place, index, of, digits);
    if plots.is_empty() && table.is_none() {
        return None;
    }
    let details =
        Element::new("details").class("step").child(Element::new("summary").text(&step.title));
    let details = if index == 0 { details.with("open", "") } else { details };
    Some(
        details
            .child(Element::new("div").class("plots").children(plots))
            .children(table)
            .children(files),
    )
}

/// All runs together: what no run had samples enough for may be told of all of them.
fn percentiles(
    survey: &Survey<'_>,
    step: usize,
    of: &Latencies,
    kinds: &[Kind],
) -> Option<Element> {
    let mut rows = Vec::new();
    for kind in kinds {
        for (target, name) in survey.names.iter().enumerate() {
            let Some(latency) = of.get(step, target, kind) else { continue };
            let all = &latency.together;
            let values = QUANTILES.map(|(_, quantile)| {
                all.at_us(quantile).map_or_else(|| "\u{2013}".to_owned(), duration)
            });
            let ends =
                [duration(all.max_us()), plain(float(all.count())), all.run_count().to_string()];
            let title = Element::new("th")
                .with("scope", "row")
                .class(format!("t{target}"))
                .child(Element::new("span").text(format!("{}, {}", kind.words(kinds), name)));
            let cells = values.into_iter().chain(ends).map(|it| Element::new("td").text(it));
            rows.push(Element::new("tr").child(title).children(cells));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let heads = ["all runs that count, together"]
        .into_iter()
        .chain(QUANTILES.map(|(name, _)| name))
        .chain(["max", "samples", "runs"])
        .map(|it| Element::new("th").with("scope", "col").text(it));
    let table = Element::new("table")
        .class("percentiles")
        .child(Element::new("thead").child(Element::new("tr").children(heads)))
        .child(Element::new("tbody").children(rows));
    Some(scrolled("percentiles", table))
}
