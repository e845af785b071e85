//! A table of numbers: for each number a block, for each step a row, for each target a column.

use crate::page::comparison::durability;
use crate::page::element::Element;
use crate::page::quantity::{label, limit_label, times, written};
use crate::page::spread::Spread;
use crate::page::survey::{Place, Survey};
use crate::results::{LIMIT_PERCENT, Step, Workload};
use crate::statistics::{Better, better};
use crate::table::PAIRS_FOR_A_CLAIM;

/// Only targets that have runs here, only numbers that somebody has. `None` if that leaves nothing.
pub(crate) fn table(
    survey: &Survey<'_>,
    workload: &Workload,
    names: &[String],
    caption: &str,
) -> Option<Element> {
    let targets: Vec<usize> = survey
        .targets()
        .map(|(index, _)| index)
        .filter(|it| survey.has_run(workload, *it))
        .collect();
    let has = |name: &str| {
        let mut runs = survey.results.runs.iter().filter(|it| it.workload == workload.key);
        runs.any(|it| it.void.is_empty() && it.numbers.contains_key(name))
    };
    let blocks: Vec<Element> = names
        .iter()
        .filter(|it| has(it))
        .map(|name| block(survey, workload, &targets, name))
        .collect();
    if blocks.is_empty() {
        return None;
    }
    let table = Element::new("table")
        .class("numbers")
        .child(Element::new("caption").text(caption))
        .child(head(survey, &targets))
        .children(blocks);
    Some(scrolled(caption, table))
}

/// A wide table moves in its own frame, also by keys; the page does not.
pub(crate) fn scrolled(label: &str, table: Element) -> Element {
    Element::new("div")
        .class("scrolled")
        .with("role", "region")
        .with("tabindex", "0")
        .with("aria-label", label)
        .child(table)
}

fn head(survey: &Survey<'_>, targets: &[usize]) -> Element {
    let columns = targets.iter().map(|index| {
        let target = &survey.results.targets[*index];
        let beside = survey.comparisons.iter().filter(|it| it.theirs == *index);
        let fairness = beside.map(|it| {
            Element::new("small").text(format!("\u{d7} {}", it.words(&survey.results.targets)))
        });
        Element::new("th")
            .with("scope", "col")
            .class(format!("t{index}"))
            .child(Element::new("span").text(&survey.names[*index]))
            .text(" ")
            .child(Element::new("abbr").class("class").text(durability(target.durability)))
            .children(fairness)
    });
    let corner = Element::new("th").with("scope", "col").text("step");
    let row = Element::new("tr").child(corner).children(columns);
    Element::new("thead").child(row)
}

/// A workload of one step needs no row for it.
fn block(survey: &Survey<'_>, workload: &Workload, targets: &[usize], name: &str) -> Element {
    let direction = match better(name) {
        Better::Lower => " less is better",
        Better::Higher => " more is better",
        Better::Neither => "",
    };
    let title = |scope: &str| {
        Element::new("th")
            .with("scope", scope)
            .text(label(name))
            .child(Element::new("small").text(direction))
    };
    let row = |step: &Step, title: Element| {
        let place = Place { workload, step };
        let cells = targets.iter().map(|it| cell(survey, place, *it, name));
        Element::new("tr").child(title).children(cells)
    };
    let body = Element::new("tbody");
    if let [only] = workload.steps.as_slice() {
        return body.child(row(only, title("row")));
    }
    let columns = (targets.len() + 1).to_string();
    let rows = workload
        .steps
        .iter()
        .map(|step| row(step, Element::new("th").with("scope", "row").text(&step.title)));
    body.child(Element::new("tr").child(title("rowgroup").with("colspan", columns))).children(rows)
}

/// Median; least to most with the worst run marked; ours by theirs.
fn cell(survey: &Survey<'_>, place: Place<'_>, target: usize, name: &str) -> Element {
    let Some(spread) = survey.spread(place, target, name) else {
        return Element::new("td").child(Element::new("i").text(absent(survey, place, target)));
    };
    let mut cell = Element::new("td").child(Element::new("b").text(written(name, spread.median)));
    if spread.least < spread.most {
        cell = cell.child(range(name, spread));
    }
    if name == LIMIT_PERCENT {
        cell = cell.children(binding(survey, place, target));
    }
    let comparisons = || survey.comparisons.iter().filter(|it| it.theirs == target);
    let is_one = comparisons().count() == 1;
    let ratios = comparisons().filter_map(|of| {
        let ratio = survey.ratio(place, *of, name)?;
        let text = format!("{} {}", times(ratio.median), between(ratio));
        let ours = &survey.names[of.ours];
        let text = if is_one { text } else { format!("{ours}: {text}") };
        Some(Element::new("span").class(tone(name, ratio)).text(text))
    });
    cell.children(ratios)
}

fn absent(survey: &Survey<'_>, place: Place<'_>, target: usize) -> &'static str {
    let runs = survey.runs(place, target);
    if runs.is_empty() {
        "not run"
    } else if runs.iter().all(|it| !it.void.is_empty()) {
        "void"
    } else {
        "\u{2013}"
    }
}

/// The worst end is marked.
fn range(name: &str, spread: Spread) -> Element {
    let [mut least, most] = [spread.least, spread.most].map(|it| written(name, it));
    // One unit for both is enough.
    if let Some((value, unit)) = least.split_once(' ')
        && most.ends_with(&format!(" {unit}"))
    {
        least = value.to_owned();
    }
    let marked = |text: &str| Element::new("em").text(text);
    let range = Element::new("small");
    match better(name) {
        Better::Lower => range.text(least).text(" \u{2026} ").child(marked(&most)),
        Better::Higher => range.child(marked(&least)).text(" \u{2026} ").text(most),
        Better::Neither => range.text(format!("{least} \u{2026} {most}")),
    }
}

/// The range of a ratio, behind its median.
pub(crate) fn between(ratio: Spread) -> String {
    if ratio.count < 2 {
        return "(1 pair)".to_owned();
    }
    let [least, most] = [ratio.least, ratio.most].map(times);
    format!("({}\u{2026}{})", least.trim_start_matches('\u{d7}'), most.trim_start_matches('\u{d7}'))
}

/// Which limit it is.
fn binding(survey: &Survey<'_>, place: Place<'_>, target: usize) -> Option<Element> {
    let bound = survey.counting(place, target).map(|it| &it.bound).find(|it| !it.is_empty())?;
    Some(Element::new("small").text(format!("of {}", limit_label(bound))))
}

/// Whether ours is better by all pairs, worse by all, or neither; or whether there are too few to say so.
/// Words or signs say it too.
pub(crate) fn tone(name: &str, ratio: Spread) -> &'static str {
    if ratio.is_even() {
        return "ratio even";
    }
    if ratio.count < PAIRS_FOR_A_CLAIM {
        return "ratio few";
    }
    match (better(name), ratio.agrees(), ratio.median < 1.0) {
        (Better::Neither, _, _) => "ratio",
        (_, false, _) => "ratio open",
        (Better::Lower, true, true) | (Better::Higher, true, false) => "ratio good",
        (Better::Lower, true, false) | (Better::Higher, true, true) => "ratio bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::testing::{results, run};
    use crate::results::{Results, Run};

    fn html(runs: Vec<Run>) -> String {
        let results = results(runs);
        let survey = Survey::of(&results).expect("names that are there");
        let workload = &results.workloads[0];
        table(&survey, workload, &workload.shown, "numbers")
            .map_or_else(String::new, |it| it.render())
    }

    #[test]
    fn a_cell_has_median_range_worst_and_ratio() {
        let html = html(vec![
            run("odradek", 1, 100.0, &[]),
            run("kafka", 1, 400.0, &[]),
            run("odradek", 2, 300.0, &[]),
            run("kafka", 2, 600.0, &[]),
        ]);
        assert!(html.contains("<b>200 \u{b5}s</b>"), "{html}");
        assert!(html.contains("<small>100 \u{2026} <em>300 \u{b5}s</em></small>"), "{html}");
        assert!(html.contains("\u{d7}0.38 (0.25\u{2026}0.50)"), "{html}");
        assert!(html.contains("deliberately unfair: our D2 against their D1"), "{html}");
        assert!(html.contains("ratio few"), "two pairs are no claim: {html}");
    }

    #[test]
    fn what_was_not_run_and_what_is_void_say_so() {
        let html = html(vec![run("odradek", 1, 100.0, &[]), run("kafka", 1, 1.0, &["late"])]);
        assert!(html.contains("<i>void</i>") && !html.contains("ratio"), "{html}");
    }

    #[test]
    fn a_ratio_is_of_one_limit_and_of_one_load() {
        let mut results = results(vec![run("odradek", 1, 10.0, &[]), run("kafka", 1, 40.0, &[])]);
        for run in &mut results.runs {
            run.numbers.insert(LIMIT_PERCENT.to_owned(), 50.0);
            run.bound = "echo_1k_p50_us".to_owned();
        }
        let ratios = |results: &Results| {
            let survey = Survey::of(results).expect("names that are there");
            let names = [LIMIT_PERCENT, "p99_us"].map(str::to_owned);
            let table = table(&survey, &results.workloads[0], &names, "numbers");
            table.expect("there are runs").render().matches("(1 pair)").count()
        };
        assert_eq!(ratios(&results), 2);
        results.runs[0].bound = "durable_4k_p50_us".to_owned();
        assert_eq!(ratios(&results), 1);
        results.workloads[0].steps[0].share_of = Some("W4".to_owned());
        assert_eq!(ratios(&results), 0);
    }

    #[test]
    fn nothing_that_counts_is_no_table() {
        assert_eq!(html(vec![run("odradek", 1, 100.0, &["late"])]), "");
    }

    #[test]
    fn a_ratio_is_better_or_worse_if_five_pairs_agree() {
        let check = |name: &str, values: [f64; 5], want: &str| {
            assert_eq!(tone(name, Spread::of(values).expect("five")), want, "{values:?}");
        };
        check("p99_us", [0.5, 0.6, 0.5, 0.5, 0.5], "ratio good");
        check("p99_us", [0.5, 1.6, 0.5, 0.5, 0.5], "ratio open");
        check("p99_us", [1.5, 1.6, 1.5, 1.5, 1.5], "ratio bad");
        check("mb_per_second", [1.5, 1.6, 1.5, 1.5, 1.5], "ratio good");
        check("partition_count", [1.5, 1.6, 1.5, 1.5, 1.5], "ratio");
        check("p99_us", [0.999, 1.001, 1.0, 1.0, 1.0], "ratio even");
        assert_eq!(tone("p99_us", Spread::of([0.5; 4]).expect("four")), "ratio few");
    }
}
