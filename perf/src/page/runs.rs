//! Every run with its numbers, also those that do not count; and of those, why.

use crate::page::element::Element;
use crate::page::numbers::scrolled;
use crate::page::quantity::{label, written};
use crate::page::survey::{Place, Survey};
use crate::results::{LIMIT_PERCENT, Run, Workload};

/// A list of the runs that do not count, if there are any.
pub(crate) fn void(survey: &Survey<'_>, workload: &Workload) -> Option<Element> {
    let runs = || survey.results.runs.iter().filter(|it| it.workload == workload.key);
    let void_count = runs().filter(|it| !it.void.is_empty()).count();
    if void_count == 0 {
        return None;
    }
    let items = runs().filter(|it| !it.void.is_empty()).map(|run| {
        let Run { step, target, pair, .. } = run;
        Element::new("li")
            .child(Element::new("b").text(format!("{target}, {step}, run {pair}: ")))
            .text(run.void.join("; "))
    });
    let summary = format!("{void_count} of {} runs are void and count nowhere", runs().count());
    Some(
        Element::new("details")
            .class("void")
            .child(Element::new("summary").text(summary))
            .child(Element::new("ul").children(items)),
    )
}

/// Raw, in a compact form: step, target, pair, then the numbers of the workload's table.
pub(crate) fn every(survey: &Survey<'_>, workload: &Workload) -> Option<Element> {
    let mut names: Vec<&str> = workload.shown.iter().map(String::as_str).collect();
    if !names.contains(&LIMIT_PERCENT) {
        names.push(LIMIT_PERCENT);
    }
    let of_workload = || survey.results.runs.iter().filter(|it| it.workload == workload.key);
    names.retain(|name| of_workload().any(|it| it.numbers.contains_key(*name)));
    let rows: Vec<Element> = workload
        .steps
        .iter()
        .flat_map(|step| survey.targets().map(move |(target, _)| (step, target)))
        .flat_map(|(step, target)| survey.runs(Place { workload, step }, target))
        .map(|run| row(run, &names))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let summary = format!("Every run, in numbers ({})", rows.len());
    let heads = ["step", "target", "run"].map(str::to_owned).into_iter();
    let heads = heads.chain(names.iter().map(|it| label(it)));
    let head = heads.map(|it| Element::new("th").with("scope", "col").text(it));
    let table = Element::new("table")
        .class("runs")
        .child(Element::new("thead").child(Element::new("tr").children(head)))
        .child(Element::new("tbody").children(rows));
    Some(
        Element::new("details")
            .child(Element::new("summary").text(&summary))
            .child(scrolled(&format!("{}: {summary}", workload.key), table)),
    )
}

fn row(run: &Run, names: &[&str]) -> Element {
    let is_void = !run.void.is_empty();
    let pair = if is_void { format!("{} void", run.pair) } else { run.pair.to_string() };
    let cells = names.iter().map(|name| {
        let value = run.numbers.get(*name).map(|it| written(name, *it)).unwrap_or_default();
        Element::new("td").text(value)
    });
    let row = if is_void { Element::new("tr").class("is-void") } else { Element::new("tr") };
    row.child(Element::new("th").with("scope", "row").text(&run.step))
        .child(Element::new("td").text(&run.target))
        .child(Element::new("td").text(pair))
        .children(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::testing::{results, run};

    #[test]
    fn void_runs_are_shown_with_their_reasons() {
        let results =
            results(vec![run("odradek", 1, 1.0, &[]), run("kafka", 1, 2.0, &["late", "<stolen>"])]);
        let survey = Survey::of(&results).expect("names that are there");
        let html = void(&survey, &results.workloads[0]).expect("a void run").render();
        assert!(html.contains("1 of 2 runs are void"), "{html}");
        assert!(html.contains("late; &lt;stolen&gt;"), "{html}");
        let html = every(&survey, &results.workloads[0]).expect("runs").render();
        assert!(html.contains("1 void") && html.contains("2.00 \u{b5}s"), "{html}");
    }
}
