//! What one wants to know first: for each workload ours beside each other target, over all of its steps.

use crate::curve::{self, Highest};
use crate::page::comparison::Comparison;
use crate::page::element::Element;
use crate::page::numbers::{between, tone};
use crate::page::quantity::{label, plain, times};
use crate::page::spread::Spread;
use crate::page::survey::{Place, Survey};
use crate::page::{section, strip};
use crate::results::Workload;
use crate::statistics::{Better, better};
use crate::table::PAIRS_FOR_A_CLAIM;

pub(crate) fn cards(survey: &Survey<'_>) -> Element {
    let mut cards = Vec::new();
    let mut without = Vec::new();
    for (index, workload) in survey.results.workloads.iter().enumerate() {
        match card(survey, index, workload) {
            Some(card) => cards.push(card),
            None => without.push(workload.key.as_str()),
        }
    }
    let mut all = Element::new("div").child(Element::new("div").class("cards").children(cards));
    if !without.is_empty() {
        let words = format!(
            "Nothing to compare, so no ratio: {}. What there is stands in its section.",
            without.join(", ")
        );
        all = all.child(Element::new("p").class("doubt").text(words));
    }
    all
}

/// `None` if there is nothing to say of all its steps.
fn card(survey: &Survey<'_>, index: usize, workload: &Workload) -> Option<Element> {
    let mut blocks = Vec::new();
    for name in headlines(workload) {
        let beside: Vec<Element> =
            survey.comparisons.iter().filter_map(|of| block(survey, workload, *of, name)).collect();
        if !beside.is_empty() {
            let heading = Element::new("h4").text(label(name));
            blocks.push(Element::new("div").class("headline").child(heading).children(beside));
        }
    }
    blocks.extend(curve::all(survey.results, workload).iter().map(|it| highest(survey, it)));
    let title = Element::new("h3").child(
        Element::new("a")
            .with("href", format!("#{}", section::id(index)))
            .child(Element::new("span").class("key").text(&workload.key))
            .text(" ")
            .text(&workload.title),
    );
    (!blocks.is_empty()).then(|| Element::new("article").child(title).children(blocks))
}

fn highest(survey: &Survey<'_>, of: &Highest) -> Element {
    let targets = survey.names.iter().zip(&of.of_targets).enumerate();
    let lines = targets.map(|(index, (name, found))| {
        let name = Element::new("b").text(name);
        let text = format!(" {}", found.words(plain));
        let line = Element::new("p").child(name).text(text);
        Element::new("div").class(format!("beside t{index}")).child(line)
    });
    let heading = Element::new("h4").text(&of.title);
    Element::new("div").class("headline").child(heading).children(lines)
}

/// Of the numbers of its table: what it reaches, how long that takes, and what it costs.
fn headlines(workload: &Workload) -> Vec<&str> {
    // What compares at no step is no headline.
    let compares = |it: &&str| workload.steps.iter().any(|step| step.compares(it));
    let shown = || workload.shown.iter().map(String::as_str).filter(compares);
    let first = shown().find(|it| better(it) != Better::Neither);
    let rate = first.filter(|it| better(it) == Better::Higher);
    let latency = shown().find(|it| it.ends_with("p99_us"));
    let cost = shown().find(|it| it.starts_with("broker_cpu_"));
    let main = rate.or(latency).or(first);
    main.into_iter().chain(cost.filter(|it| Some(*it) != main)).collect()
}

fn block(survey: &Survey<'_>, workload: &Workload, of: Comparison, name: &str) -> Option<Element> {
    let ratios: Vec<(&str, Spread)> = workload
        .steps
        .iter()
        .filter_map(|step| {
            let ratio = survey.ratio(Place { workload, step }, of, name)?;
            Some((step.title.as_str(), ratio))
        })
        .collect();
    let lowest = ratios.iter().min_by(|one, other| one.1.median.total_cmp(&other.1.median))?;
    let highest = ratios.iter().max_by(|one, other| one.1.median.total_cmp(&other.1.median))?;
    let targets = &survey.results.targets;
    let [ours, theirs] = [of.ours, of.theirs].map(|it| survey.names[it].as_str());
    let title = format!("{}: {ours} by {theirs}", label(name));
    let (best, worst) =
        if better(name) == Better::Higher { (highest, lowest) } else { (lowest, highest) };
    let figures = if ratios.len() == 1 {
        Element::new("p").class("figures").child(figure(name, "", worst))
    } else {
        Element::new("p").class("figures").child(figure(name, "worst step: ", worst)).child(figure(
            name,
            "best step: ",
            best,
        ))
    };
    let beside = Element::new("p")
        .child(Element::new("b").text(format!("{ours} by {theirs}")))
        .child(Element::new("small").text(of.words(targets)));
    let spreads: Vec<Spread> = ratios.iter().map(|it| it.1).collect();
    Some(
        Element::new("div")
            .class(format!("beside t{}", of.theirs))
            .child(beside)
            .child(strip::svg(&title, &spreads))
            .child(figures)
            .children(doubts(&ratios).map(|it| Element::new("p").class("doubt").text(it))),
    )
}

fn figure(name: &str, before: &str, (step, ratio): &(&str, Spread)) -> Element {
    let class = tone(name, *ratio);
    let verdict = match (better(name), ratio.median < 1.0) {
        _ if ratio.is_even() => "the same",
        _ if !ratio.agrees() => "undecided",
        (Better::Neither, _) => "",
        (Better::Lower, true) | (Better::Higher, false) => "better",
        (Better::Lower, false) | (Better::Higher, true) => "worse",
    };
    let value = Element::new("b").class(class).text(times(ratio.median));
    let text = format!(" {verdict} {}", between(*ratio));
    let place = Element::new("small").text(format!("{before}{step}"));
    Element::new("span").child(value).text(text).child(place)
}

/// What keeps it from being a claim.
fn doubts(ratios: &[(&str, Spread)]) -> Option<String> {
    let pairs = ratios.iter().map(|it| it.1.count).min()?;
    let open = ratios.iter().filter(|it| !it.1.agrees() && !it.1.is_even()).count();
    let mut doubts = Vec::new();
    if pairs < PAIRS_FOR_A_CLAIM {
        doubts.push(format!(
            "{pairs} of {PAIRS_FOR_A_CLAIM} pairs at some step: too few for a claim"
        ));
    }
    if 0 < open {
        let all = ratios.len();
        doubts.push(format!("at {open} of {all} steps the pairs disagree on who is better"));
    }
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::testing::{results, run};

    #[test]
    fn headlines_are_a_rate_or_a_latency_and_a_cost() {
        let mut results = results(Vec::new());
        let workload = &mut results.workloads[0];
        let mut check = |shown: &[&str], want: &[&str]| {
            workload.shown = shown.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(headlines(workload), want);
        };
        check(
            &["p50_us", "p99_us", "broker_cpu_us_per_record"],
            &["p99_us", "broker_cpu_us_per_record"],
        );
        check(&["mb_per_second", "p99_us"], &["mb_per_second"]);
        check(&["ready_ms", "partition_count"], &["ready_ms"]);
        check(&["partition_count"], &[]);
    }

    #[test]
    fn what_compares_at_no_step_is_no_headline() {
        let mut results = results(Vec::new());
        let workload = &mut results.workloads[0];
        workload.shown =
            ["quiet_p99_us", "mb_per_second", "goodput_percent"].map(str::to_owned).into();
        assert_eq!(headlines(workload), ["quiet_p99_us"]);
        workload.steps[0].share_of = Some("W4".to_owned());
        assert_eq!(headlines(workload), ["goodput_percent"]);
    }

    #[test]
    fn what_does_not_compare_is_named() {
        let results = results(vec![run("odradek", 1, 10.0, &[]), run("kafka", 1, 40.0, &["late"])]);
        let survey = Survey::of(&results).expect("names that are there");
        let html = cards(&survey).render();
        assert!(html.contains("so no ratio: W2."), "{html}");
    }

    #[test]
    fn a_card_names_fairness_and_doubts() {
        let runs = vec![run("odradek", 1, 10.0, &[]), run("kafka", 1, 40.0, &[])];
        let results = results(runs);
        let survey = Survey::of(&results).expect("names that are there");
        let html = cards(&survey).render();
        for part in [
            "<h4>p99</h4>",
            "<b>odradek by kafka</b>",
            "deliberately unfair: our D2 against their D1",
            "\u{d7}0.25",
            " better (1 pair)<small>5,000 records/s",
            "1 of 5 pairs at some step",
        ] {
            assert!(html.contains(part), "no {part:?} in {html}");
        }
    }
}
