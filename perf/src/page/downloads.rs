//! Histograms as files: HdrHistogram's log form is in the link itself; the script makes CSV of the same bytes.

use std::time::Duration;

use crate::page::comparison::durability;
use crate::page::element::Element;
use crate::page::latencies::{Latencies, Latency};
use crate::page::survey::{Kind, Place, Survey};
use crate::results::Series;

/// Bytes of all logs of a report together. More would have fewer digits.
const ROOM: usize = 512 << 10;

/// Digits of every histogram of a report: three, or two where three would not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Digits(u8);

impl Digits {
    pub(crate) fn for_all<'a>(all: impl Iterator<Item = (&'a Kind, &'a Latency)>) -> Self {
        let size = |it: &Latency| it.together.log("", 0, Duration::ZERO).len();
        let all: usize = all.filter(|it| it.0.is_of_broker()).map(|it| size(it.1)).sum();
        Self(if all <= ROOM { 3 } else { 2 })
    }

    pub(crate) const fn count(self) -> u8 {
        self.0
    }
}

/// A link for each target and latency of the broker at a step. `None` if nothing was recorded.
pub(crate) fn list(
    survey: &Survey<'_>,
    place: Place<'_>,
    step: usize,
    of: &Latencies,
    digits: Digits,
) -> Option<Element> {
    let mut items = Vec::new();
    for kind in of.kinds_of_step(step).into_iter().filter(Kind::is_of_broker) {
        for (target, named) in survey.targets() {
            let Some(latency) = of.get(step, target, &kind) else { continue };
            let name = file_name(&[
                &place.workload.key,
                &place.step.key,
                &named.key,
                &kind.phase,
                &kind.stream,
                kind.measure(),
            ]);
            let (class, runs) = (durability(named.durability), latency.together.run_count());
            let comment = format!("{name}, {class}, {runs} runs together, in nanoseconds");
            let began = survey.counting(place, target).map(|it| it.began_unix).min().unwrap_or(0);
            let sampling = latency.together.coarse(digits.0);
            let log = sampling.log(&comment, began, length(survey, place, target, &kind));
            let title =
                format!("{}, {}", survey.names[target], kind.words(&of.kinds_of_step(step)));
            items.push(Element::new("li").child(link(&name, &log, &title)));
        }
    }
    (!items.is_empty()).then(|| {
        let summary = format!("Histograms to download ({})", items.len());
        Element::new("details")
            .class("downloads")
            .child(Element::new("summary").text(summary))
            .child(Element::new("ul").children(items))
    })
}

fn link(name: &str, log: &str, title: &str) -> Element {
    Element::new("a")
        .with("download", format!("{name}.hlog"))
        .with("href", format!("data:text/plain,{}", percent_encoded(log)))
        .text(title)
}

/// Of all runs that count, one after the other.
fn length(survey: &Survey<'_>, place: Place<'_>, target: usize, kind: &Kind) -> Duration {
    let is_kind = |it: &&Series| Kind::of(it) == *kind;
    let seconds = survey
        .counting(place, target)
        .filter_map(|run| run.series.iter().find(is_kind))
        .map(|it| u64::try_from(it.seconds.len()).unwrap_or(0));
    Duration::from_secs(seconds.sum())
}

/// Of words that may hold anything: letters, digits and a few signs stay.
fn file_name(words: &[&str]) -> String {
    let safe = |word: &&str| -> String {
        let is_safe = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
        word.chars().map(|it| if is_safe(it) { it } else { '-' }).collect()
    };
    let words: Vec<String> =
        words.iter().map(safe).filter(|it| !it.trim_matches('-').is_empty()).collect();
    words.join("_")
}

/// What a URL could not hold; base64 needs nothing of it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~+/=:,;()[]!*".contains(&byte);
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_a_name_on_every_system() {
        assert_eq!(file_name(&["W2", "1 KiB/5000", "", "kafka", "<x>"]), "W2_1-KiB-5000_kafka_-x-");
        assert_eq!(file_name(&["../..", "a"]), "..-.._a");
    }

    #[test]
    fn a_url_holds_the_whole_text() {
        assert_eq!(percent_encoded("#a\n\"b\" %A+/="), "%23a%0A%22b%22%20%25A+/=");
        assert_eq!(percent_encoded("\u{e9}"), "%C3%A9");
    }
}
