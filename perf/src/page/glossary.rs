//! The words of a report that not everybody knows, from A to Z. The same in every report.

use crate::page::element::Element;

pub(crate) const ID: &str = "words";
pub(crate) const TITLE: &str = "Words";

const WORDS: [(&str, &str); 18] = [
    (
        "acknowledgement",
        "The broker's answer that it has a record; what it has done by then is its durability class.",
    ),
    (
        "closed loop",
        "The next request waits for an answer: a slow broker is asked less, so such latencies leave out what a stall would have kept waiting.",
    ),
    ("cost", "What a broker used: processor time, memory, bytes written, context switches."),
    ("goodput", "The share of what was offered that was acknowledged."),
    ("interference", "The p99.9 of small requests while old data is read, by that before."),
    ("knee", "The highest rate at which p99 is at most 5 times that of the lowest rate."),
    (
        "limit that binds",
        "Of what the machine can do without a broker, the part of which this run reached the most.",
    ),
    ("MB, MiB", "1,000,000 bytes of values; 1,048,576 bytes of memory."),
    ("open loop", "Requests come at times that are fixed beforehand, whatever the broker does."),
    (
        "pair",
        "One run of each target at one workload, next to each other in time. Ratios are of pairs.",
    ),
    (
        "percentile, p99.9",
        "So many percent of all latencies are not longer; p99.9 leaves out one of a thousand.",
    ),
    ("placement", "Whether broker and generator have processor cores of their own."),
    ("run", "One step of one workload against one target, once."),
    ("stall", "A request that took longer than 10 ms."),
    ("step", "One setting of what a workload varies: a rate, a size, a number of partitions."),
    ("target", "A broker that is measured."),
    ("void", "Of a run: it did not measure what it says, so it counts nowhere."),
    ("write amplification", "Bytes that the broker had written to the disk, by bytes of values."),
];

pub(crate) fn glossary() -> Element {
    let words = WORDS.iter().map(|(word, meaning)| {
        Element::new("div")
            .child(Element::new("dt").text(word))
            .child(Element::new("dd").text(meaning))
    });
    Element::new("section")
        .with("id", ID)
        .with("aria-labelledby", format!("{ID}-title"))
        .child(Element::new("h2").with("id", format!("{ID}-title")).text(TITLE))
        .child(Element::new("dl").class("facts").children(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_order_and_none_is_there_twice() {
        let words: Vec<String> = WORDS.iter().map(|(word, _)| word.to_lowercase()).collect();
        assert!(words.is_sorted_by(|one, other| one < other), "{words:?}");
    }
}
