//! The whole report: one file that asks nobody for anything, and that reads without scripts.

use crate::failure::Failure;
use crate::page::downloads::Digits;
use crate::page::element::Element;
use crate::page::latencies::Latencies;
use crate::page::legend::legend;
use crate::page::method::method;
use crate::page::survey::Survey;
use crate::page::{glossary, section, setup, summary};
use crate::results::Results;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Even if something in it wanted to: no request leaves the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

pub(crate) fn html(results: &Results) -> Result<String, Failure> {
    let survey = Survey::of(results)?;
    let latencies = results
        .workloads
        .iter()
        .map(|it| Latencies::of(&survey, it))
        .collect::<Result<Vec<_>, _>>()?;
    let digits = Digits::for_all(latencies.iter().flat_map(Latencies::all));
    let sections = results
        .workloads
        .iter()
        .enumerate()
        .zip(&latencies)
        .map(|(workload, of)| section::section(&survey, workload, of, digits));
    let main = Element::new("main")
        .with("id", "main")
        .child(glance(&survey))
        .child(what(results))
        .children(sections)
        .child(method(digits))
        .child(glossary::glossary());
    let body = Element::new("body")
        .child(Element::new("a").class("skip").with("href", "#main").text("To the report"))
        .child(header(&survey))
        .child(Element::new("div").class("columns").child(contents(results)).child(main))
        .child(footer(results))
        .child(Element::new("script").verbatim(SCRIPT));
    let root = Element::new("html").with("lang", "en").child(head(&survey)).child(body);
    Ok(format!("<!DOCTYPE html>\n{}\n", root.render()))
}

fn title(survey: &Survey<'_>) -> String {
    let titles = &survey.names;
    match titles.as_slice() {
        [first, .., last] => {
            let between = titles[1..titles.len() - 1].iter().map(|it| format!(", {it}"));
            format!("{first}{} and {last}, measured side by side", between.collect::<String>())
        }
        [only] => format!("{only}, measured"),
        [] => "A benchmark of nobody".to_owned(),
    }
}

fn head(survey: &Survey<'_>) -> Element {
    let viewport = "width=device-width, initial-scale=1";
    Element::new("head")
        .child(Element::new("meta").with("charset", "utf-8"))
        .child(
            Element::new("meta")
                .with("http-equiv", "Content-Security-Policy")
                .with("content", POLICY),
        )
        .child(Element::new("meta").with("name", "viewport").with("content", viewport))
        .child(Element::new("meta").with("name", "color-scheme").with("content", "light dark"))
        .child(Element::new("title").text(title(survey)))
        .child(Element::new("style").verbatim(STYLE))
}

fn header(survey: &Survey<'_>) -> Element {
    let results = survey.results;
    let line = format!(
        "{} \u{b7} profile {} \u{b7} scale {} \u{b7} {} placement \u{b7} commit {}",
        setup::time(results.began_unix),
        results.profile,
        results.scale,
        results.placement,
        results.commit
    );
    let header = Element::new("header")
        .child(Element::new("p").class("kind").text("Benchmark report"))
        .child(Element::new("h1").text(title(survey)))
        .child(Element::new("p").class("line").text(line));
    if results.is_complete {
        return header;
    }
    let words = "Partial: it was stopped before all was run. What is here was measured; nothing was \
                 made up for what is missing.";
    header.child(Element::new("p").class("notice").with("role", "note").text(words))
}

fn contents(results: &Results) -> Element {
    let entry = |id: &str, text: String| {
        let link = Element::new("a").with("href", format!("#{id}")).text(text);
        Element::new("li").child(link)
    };
    let workloads = results.workloads.iter().enumerate().map(|(index, workload)| {
        entry(&section::id(index), format!("{} {}", workload.key, workload.title))
    });
    let before = [("glance", "At a glance"), ("what", "Machine, targets, limits")];
    let after = [
        ("method", "How it was measured"),
        ("silences", "What it does not say"),
        (glossary::ID, glossary::TITLE),
    ];
    let list = Element::new("ol")
        .children(before.map(|(id, text)| entry(id, text.to_owned())))
        .children(workloads)
        .children(after.map(|(id, text)| entry(id, text.to_owned())));
    Element::new("nav").with("aria-label", "contents").child(list)
}

fn glance(survey: &Survey<'_>) -> Element {
    let words = "Each dot is a step of the workload: the median over pairs of ours divided by theirs; \
                 the line behind it goes from the least to the most. An open dot means that the pairs \
                 do not agree on who is better.";
    let count = survey.results.runs.len();
    let void = survey.results.runs.iter().filter(|it| !it.void.is_empty()).count();
    let counted = format!("{count} runs, {void} of them void.");
    Element::new("section")
        .with("id", "glance")
        .with("aria-labelledby", "glance-title")
        .child(Element::new("h2").with("id", "glance-title").text("At a glance"))
        .child(legend(survey))
        .child(Element::new("p").text(words).text(" ").text(counted))
        .child(summary::cards(survey))
}

fn what(results: &Results) -> Element {
    let section = Element::new("section")
        .with("id", "what")
        .with("aria-labelledby", "what-title")
        .child(Element::new("h2").with("id", "what-title").text("Machine, targets, limits"))
        .child(setup::machine(results))
        .child(setup::targets(results));
    match setup::limits(results) {
        Some(limits) => section
            .child(Element::new("h3").text("What the machine can do without a broker"))
            .child(limits),
        None => section.child(
            Element::new("p").class("notice").text("The machine's limits were not measured."),
        ),
    }
}

fn footer(results: &Results) -> Element {
    let text = format!(
        "Made from results of form {}, {} to {}, by perf of the same repository.",
        results.format,
        setup::time(results.began_unix),
        setup::time(results.ended_unix)
    );
    Element::new("footer").child(Element::new("p").text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::testing::{results, run};
    use crate::results::LeftOut;

    #[test]
    fn a_partial_report_says_so_and_what_was_not_run_is_named() {
        let mut results = results(Vec::new());
        results.is_complete = false;
        let html = html(&results).expect("nothing to read");
        assert!(html.contains("Partial: it was stopped"), "{html}");
        assert!(html.contains("Not run: the benchmark was stopped"), "{html}");
        assert!(html.contains("limits were not measured"), "{html}");
    }

    #[test]
    fn what_is_left_out_says_why() {
        let mut results = results(Vec::new());
        let left_out = |target: &str| LeftOut {
            workload: "W2".to_owned(),
            step: "5000".to_owned(),
            target: target.to_owned(),
            reason: "it has none <of> that".to_owned(),
        };
        results.left_out = vec![left_out("odradek"), left_out("kafka")];
        let html = html(&results).expect("nothing to read");
        assert!(html.contains("kafka: it has none &lt;of&gt; that"), "{html}");
        assert!(!html.contains("Not run"), "{html}");
    }

    #[test]
    fn hostile_words_stay_words() {
        const HOSTILE: &str = "\"'><script>alert(1)</script>";
        let mut results = results(vec![run("odradek", 1, 1.0, &[HOSTILE])]);
        results.profile = HOSTILE.to_owned();
        results.placement = HOSTILE.to_owned();
        results.commit = HOSTILE.to_owned();
        results.machine.push((HOSTILE.to_owned(), HOSTILE.to_owned()));
        for target in &mut results.targets {
            target.title = HOSTILE.to_owned();
            target.version = HOSTILE.to_owned();
            target.command = HOSTILE.to_owned();
            target.configs.push((HOSTILE.to_owned(), HOSTILE.to_owned()));
        }
        let workload = &mut results.workloads[0];
        workload.title = HOSTILE.to_owned();
        workload.about = HOSTILE.to_owned();
        workload.shown.push(HOSTILE.to_owned());
        workload.steps[0].title = HOSTILE.to_owned();
        workload.steps[0].curve = HOSTILE.to_owned();
        let html = html(&results).expect("nothing to read");
        assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "only ours");
        assert!(!html.contains("\"'>"), "{html}");
    }
}
