//! How it was measured, and what the numbers do not say: the same in every report.

use crate::page::downloads::Digits;
use crate::page::element::Element;

const RULES: [(&str, &str); 9] = [
    (
        "Open loop",
        "When a record is to be sent follows from the rate alone. Latency counts from that moment, \
         also if the generator or the broker kept it waiting, so a broker that stalls is charged \
         for everything that had to wait. A workload that is a closed loop says so.",
    ),
    (
        "Two latencies",
        "Publish: from the moment it was meant to be sent until it was acknowledged. End-to-end: \
         from there until a consumer has it. Both are taken from one clock that never jumps, \
         carried in the payload.",
    ),
    (
        "Percentiles that samples stand behind",
        "Histograms have three digits from 1 \u{b5}s to 60 s. A percentile is shown if at least ten \
         samples lie above it: p99.9 needs 10,000, p99.99 needs 100,000. Values in tables are \
         medians over runs of the percentile of each run; curves over percentiles add the runs up.",
    ),
    (
        "Durability beside every number",
        "D0 is acknowledged from the broker's memory, D1 after a write to the page cache, D2 after \
         the device has flushed. Only targets of one class compare. Ours at D2 against another's \
         default at D1 is shown too, and is unfair to us on purpose.",
    ),
    (
        "Interleaved pairs",
        "Targets take turns, in random order, and each turn begins with an empty data directory. A \
         ratio is of two runs that stand beside each other in time. A claim needs five pairs that \
         agree; where ratios lie on both sides of one, the report says undecided.",
    ),
    (
        "The generator measures itself",
        "A run is void if the generator's own lateness at p99 is more than a tenth of the p99 that \
         it reports, if its core was more than 85 % busy, if other machines took more than 1 % \
         of this one, or if a target claims D2 and the device flushed too little for it. \
         Void runs are listed with their reasons and count nowhere.",
    ),
    (
        "The worst run, not the best",
        "Tables mark the worst run, and the seconds that are drawn are those of the run with the \
         longest latency.",
    ),
    (
        "Limits of the same hour",
        "What disk and loopback can do without a broker is measured between the runs. Percent of \
         the limit sets a run against the limit that binds it, which is named.",
    ),
    (
        "Costs",
        "CPU time, memory and written bytes are the broker's own, from the kernel's accounts. Write \
         amplification is bytes written to the device by bytes of values. A context switch is counted each \
         time that one of the broker's threads is given a core. System calls are counted in runs of their \
         own, which are void for everything else: what counts them slows the broker down.",
    ),
];

const SILENCES: [&str; 5] = [
    "Absolute numbers belong to this machine and this hour. Ratios and percents of the limit carry \
     over better, and even they are not a promise for other hardware.",
    "One broker with one copy: nothing is said of replication, failover or networks.",
    "The generator runs on the same machine. In split placement it has its own core, and the \
     loopback device is no network card.",
    "Half of each payload is random and nothing is compressed, unless a workload says otherwise.",
    "Targets run with the configuration that is printed here. Who knows one of them better may get \
     more out of it: change the configuration and run it again.",
];

pub(crate) fn method(digits: Digits) -> Element {
    let rules = RULES.iter().map(|(title, text)| {
        Element::new("div")
            .child(Element::new("dt").text(title))
            .child(Element::new("dd").text(text))
    });
    let files = format!(
        "Histograms to download hold all runs of a step that count, in nanoseconds, with {} digits. \
         Those of single runs, with three digits, are in the file of results that this report was \
         made from.",
        digits.count()
    );
    Element::new("section")
        .with("id", "method")
        .with("aria-labelledby", "method-title")
        .child(Element::new("h2").with("id", "method-title").text("How it was measured"))
        .child(Element::new("dl").class("rules").children(rules))
        .child(Element::new("p").text(files))
        .child(Element::new("h2").with("id", "silences").text("What it does not say"))
        .child(
            Element::new("ul")
                .class("silences")
                .children(SILENCES.iter().map(|it| Element::new("li").text(it))),
        )
}
