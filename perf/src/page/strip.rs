//! Ratios of all steps on one line: left of the middle ours is less, right of it more.

use std::fmt::Write;

use crate::page::axis::{Axis, Scale};
use crate::page::element::Element;
use crate::page::spread::Spread;

/// As in all strips, so that they compare. What is beyond stands at the end.
const LOW: f64 = 0.01;
const HIGH: f64 = 100.0;

pub(crate) fn svg(title: &str, ratios: &[Spread]) -> Element {
    let x = Axis::exact(Scale::Log, LOW, HIGH).placed(16.0, 304.0);
    let mut grid = String::new();
    for tick in x.ticks() {
        write!(grid, "M{:.1} 8V24", x.at(tick)).expect("text grows");
    }
    let words = x.ticks().into_iter().map(|tick| {
        Element::new("text")
            .with("x", format!("{:.1}", x.at(tick)))
            .with("y", "38")
            .with("text-anchor", "middle")
            .text(format!("\u{d7}{tick}"))
    });
    let mut spreads = String::new();
    for ratio in ratios {
        write!(spreads, "M{:.1} 16H{:.1}", x.at(ratio.least), x.at(ratio.most))
            .expect("text grows");
    }
    let dots = ratios.iter().map(|ratio| {
        let class = if ratio.agrees() || ratio.is_even() { "dot" } else { "dot open" };
        Element::new("circle")
            .class(class)
            .with("cx", format!("{:.1}", x.at(ratio.median)))
            .with("cy", "16")
            .with("r", "4.5")
    });
    Element::new("svg")
        .class("strip")
        .with("viewBox", "0 0 320 42")
        .with("role", "img")
        .child(Element::new("title").text(title))
        .child(Element::new("path").class("grid").with("d", grid))
        .child(Element::new("path").class("one").with("d", format!("M{:.1} 2V28", x.at(1.0))))
        .child(Element::new("path").class("spread").with("d", spreads))
        .children(dots)
        .children(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_has_a_dot_for_each_step_and_names_the_open_ones() {
        let ratios = [[0.1, 0.2], [0.5, 2.0]].map(|it| Spread::of(it).expect("two"));
        let svg = svg("p99", &ratios).render();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("dot open").count(), 1);
        for tick in ["\u{d7}0.01", "\u{d7}1<", "\u{d7}100"] {
            assert!(svg.contains(tick), "{svg}");
        }
    }
}
