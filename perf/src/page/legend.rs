//! Which colour, dashes and mark belong to which target, and when it acknowledges.

use crate::page::comparison::{durability, promise};
use crate::page::element::Element;
use crate::page::survey::Survey;

/// The script turns each entry into a switch.
pub(crate) fn legend(survey: &Survey<'_>) -> Element {
    let entries = survey.targets().map(|(index, target)| {
        let sample =
            Element::new("svg").with("viewBox", "0 0 30 12").with("aria-hidden", "true").child(
                Element::new("g")
                    .class(format!("curve t{index}"))
                    .child(Element::new("path").class("line").with("d", "M0 12l60 0")),
            );
        let class = Element::new("abbr")
            .class("class")
            .with("title", promise(target.durability))
            .text(durability(target.durability));
        Element::new("li")
            .class(format!("t{index}"))
            .with("data-target", index.to_string())
            .child(sample)
            .child(Element::new("span").text(&survey.names[index]))
            .text(" ")
            .child(class)
    });
    Element::new("ul").class("legend").with("aria-label", "targets").children(entries)
}
