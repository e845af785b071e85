//! What was measured, on what, and what the machine can do without a broker.

use std::collections::BTreeMap;

use crate::page::comparison::{durability, promise};
use crate::page::element::Element;
use crate::page::numbers::scrolled;
use crate::page::quantity::{limit_label, written};
use crate::page::spread::Spread;
use crate::results::{Results, Target};

pub(crate) fn machine(results: &Results) -> Element {
    let facts = [
        ("profile", results.profile.clone()),
        ("scale", results.scale.to_string()),
        ("placement", placement(&results.placement)),
        ("commit", results.commit.clone()),
        ("began", time(results.began_unix)),
        ("ended", time(results.ended_unix)),
    ];
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    let pairs = results.machine.iter().chain(&facts).map(|(name, value)| {
        Element::new("div")
            .child(Element::new("dt").text(name))
            .child(Element::new("dd").text(value))
    });
    Element::new("dl").class("facts").children(pairs)
}

/// As a person writes it, in UTC.
pub(crate) fn time(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|it| jiff::Timestamp::from_second(it).ok())
        .map_or_else(|| unix.to_string(), |it| it.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

fn placement(word: &str) -> String {
    match word {
        "split" => "split: the broker on one core, the load on another".to_owned(),
        "shared" => "shared: nobody is bound to a core".to_owned(),
        other => other.to_owned(),
    }
}

pub(crate) fn targets(results: &Results) -> Element {
    let each = results.targets.iter().enumerate().map(|(index, it)| target(index, it));
    Element::new("div").class("targets").children(each)
}

fn target(index: usize, target: &Target) -> Element {
    let class = durability(target.durability);
    let configs = target.configs.iter().map(|(key, value)| {
        Element::new("li").child(Element::new("code").text(format!("{key}={value}")))
    });
    let title = Element::new("h3").child(Element::new("span").text(&target.title));
    let promise = Element::new("p")
        .child(Element::new("abbr").class("class").text(class))
        .text(format!(" {}", promise(target.durability)));
    let words = [target.key.as_str(), target.version.as_str()];
    let version: Vec<&str> = words.into_iter().filter(|it| !it.is_empty()).collect();
    let mut article = Element::new("article")
        .class(format!("t{index}"))
        .child(title)
        .child(Element::new("p").class("version").text(version.join(", ")))
        .child(promise);
    if !target.command.is_empty() {
        article = article.child(Element::new("pre").with("tabindex", "0").text(&target.command));
    }
    if target.configs.is_empty() {
        return article.child(Element::new("p").text("Everything else is as it comes."));
    }
    let summary = format!("Set otherwise than by default ({})", target.configs.len());
    article.child(
        Element::new("details")
            .child(Element::new("summary").text(summary))
            .child(Element::new("ul").children(configs)),
    )
}

/// `None` if they were not measured.
pub(crate) fn limits(results: &Results) -> Option<Element> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, value) in results.limits.iter().flatten() {
        values.entry(name).or_default().push(*value);
    }
    let rows: Vec<Element> = values
        .into_iter()
        .filter_map(|(name, values)| {
            let spread = Spread::of(values)?;
            let cells = [spread.median, spread.least, spread.most].map(|it| written(name, it));
            let cells = cells.into_iter().chain([spread.count.to_string()]);
            Some(
                Element::new("tr")
                    .child(Element::new("th").with("scope", "row").text(limit_label(name)))
                    .children(cells.map(|it| Element::new("td").text(it))),
            )
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let heads = ["limit", "median", "least", "most", "times measured"]
        .map(|it| Element::new("th").with("scope", "col").text(it));
    let table = Element::new("table")
        .class("limits")
        .child(Element::new("thead").child(Element::new("tr").children(heads)))
        .child(Element::new("tbody").children(rows));
    Some(scrolled("limits of the machine", table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_calendar() {
        assert_eq!(time(1_800_000_000), "2027-01-15 08:00 UTC");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }
}
