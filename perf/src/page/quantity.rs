//! What a number is called and how it is written: its name in the results says its unit.

use crate::report::number;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Micros,
    Millis,
    Seconds,
    Mib,
    Bytes,
    Percent,
    Plain,
}

/// Names that say it in other words than the results do.
const LABELS: [(&str, &str); 26] = [
    ("limit_percent", "percent of the limit that binds"),
    ("mb_per_second", "throughput, MB/s"),
    ("read_mb_per_second", "read throughput, MB/s"),
    ("records_per_second", "records/s"),
    ("stalls_over_10ms_count", "stalls over 10 ms"),
    ("gap_longest_us", "longest time without an acknowledgement"),
    ("broker_cpu_us_per_record", "broker CPU per record"),
    ("broker_cpu_ms_per_mb", "broker CPU per MB in"),
    ("broker_cpu_ms_per_mb_out", "broker CPU per MB out"),
    ("broker_cpu_percent", "broker CPU, percent of a core"),
    ("broker_written_per_value_byte", "write amplification"),
    ("broker_resident_mib", "broker memory (RSS)"),
    ("broker_fd_count", "broker descriptors"),
    ("broker_calls_per_1000_records", "system calls of the broker per 1,000 records"),
    ("broker_switches_per_1000_records", "context switches of the broker per 1,000 records"),
    ("broker_thread_count", "broker threads"),
    ("own_cpu_percent", "generator CPU, percent of a core"),
    ("steal_percent", "stolen by other machines, percent"),
    ("sample_count", "samples"),
    ("interference", "p99.9 while draining / before"),
    ("goodput_percent", "goodput, percent of what is offered"),
    ("drift_percent", "drift of the throughput, percent"),
    ("beside_per_alone", "p99 beside idle connections / alone"),
    ("minute_p99.9_max_per_median", "p99.9 by minute: largest / median"),
    ("resident_slope_mib_per_hour", "growth of the broker's memory, MiB/h"),
    ("fd_slope_per_hour", "growth of the broker's descriptors, per hour"),
];

/// Words at the end of a name, their unit, and the label's own words for them.
const SUFFIXES: [(&str, Unit, &str); 8] = [
    ("_us", Unit::Micros, ""),
    ("_ms", Unit::Millis, ""),
    ("_seconds", Unit::Seconds, ""),
    ("_mib", Unit::Mib, ""),
    ("_bytes", Unit::Bytes, ""),
    ("_percent", Unit::Percent, ", percent"),
    ("_per_second", Unit::Plain, "/s"),
    ("_count", Unit::Plain, ""),
];

/// For people. Percentiles stay as they are; underscores become spaces.
pub(crate) fn label(name: &str) -> String {
    let known = |name: &str| LABELS.iter().find(|(it, _)| *it == name).map(|(_, label)| *label);
    if let Some(label) = known(name) {
        return label.to_owned();
    }
    // Behind the name of a phase or of a stream.
    let parts = name.match_indices('_').map(|(at, _)| name.split_at(at));
    let mut with_known = parts.filter_map(|(before, rest)| Some((before, known(&rest[1..])?)));
    if let Some((before, label)) = with_known.next() {
        return format!("{}: {label}", words(before));
    }
    limit_label(name)
}

/// What the machine can do has names of its own.
pub(crate) fn limit_label(name: &str) -> String {
    let (stem, suffix) = SUFFIXES
        .iter()
        .find_map(|(suffix, _, words)| Some((name.strip_suffix(suffix)?, *words)))
        .unwrap_or((name, ""));
    format!("{}{suffix}", words(stem))
}

fn words(name: &str) -> String {
    let name = name.replace("end_to_end", "end-to-end");
    let words: Vec<&str> =
        name.split('_').map(|word| if word == "mb" { "MB" } else { word }).collect();
    words.join(" ")
}

/// With its unit, in as many digits as mean something.
pub(crate) fn written(name: &str, value: f64) -> String {
    match unit(name) {
        Unit::Micros => duration(value),
        Unit::Millis => duration(value * 1_000.0),
        Unit::Seconds => duration(value * 1_000_000.0),
        Unit::Mib => format!("{} MiB", number(value)),
        Unit::Bytes => bytes(value),
        Unit::Percent => format!("{} %", plain(value)),
        Unit::Plain => plain(value),
    }
}

fn unit(name: &str) -> Unit {
    let within =
        [("_us_per_", Unit::Micros), ("_ms_per_", Unit::Millis), ("bytes_per_", Unit::Bytes)];
    let ends = SUFFIXES.iter().find(|(suffix, _, _)| name.ends_with(suffix));
    match (ends, within.iter().find(|(it, _)| name.contains(it))) {
        (_, Some((_, unit))) | (Some((_, unit, _)), None) => *unit,
        (None, None) => Unit::Plain,
    }
}

/// In the unit that leaves one to three digits before the point.
pub(crate) fn duration(us: f64) -> String {
    match us.abs() {
        0.0 => "0 \u{b5}s".to_owned(),
        it if it < 1_000.0 => format!("{} \u{b5}s", digits(us)),
        it if it < 1_000_000.0 => format!("{} ms", digits(us / 1_000.0)),
        _ => format!("{} s", digits(us / 1_000_000.0)),
    }
}

fn bytes(value: f64) -> String {
    match value.abs() {
        it if it < 1_024.0 => format!("{} B", digits(value)),
        it if it < 1_048_576.0 => format!("{} KiB", digits(value / 1_024.0)),
        it if it < 1_073_741_824.0 => format!("{} MiB", digits(value / 1_048_576.0)),
        _ => format!("{} GiB", digits(value / 1_073_741_824.0)),
    }
}

/// Three digits.
fn digits(value: f64) -> String {
    match value.abs() {
        it if it < 9.995 => format!("{value:.2}"),
        it if it < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Whole thousands have a thin space between them.
pub(crate) fn plain(value: f64) -> String {
    if value.abs() < 999.5 {
        return if value.fract() == 0.0 { format!("{value:.0}") } else { digits(value) };
    }
    let whole = format!("{value:.0}");
    let first = whole.len() % 3;
    let mut text = String::new();
    for (index, letter) in whole.chars().enumerate() {
        if index > 0 && index % 3 == first && whole.as_bytes()[index - 1].is_ascii_digit() {
            text.push('\u{202f}');
        }
        text.push(letter);
    }
    text
}

/// How many times: with two digits that mean something.
pub(crate) fn times(ratio: f64) -> String {
    match ratio {
        it if it < 0.0095 => format!("\u{d7}{it:.4}"),
        it if it < 0.095 => format!("\u{d7}{it:.3}"),
        it if it < 9.95 => format!("\u{d7}{it:.2}"),
        it => format!("\u{d7}{it:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_unit() {
        let check = |name: &str, value: f64, want: &str| assert_eq!(written(name, value), want);
        check("p99_us", 87.04, "87.0 \u{b5}s");
        check("p99.9_us", 12_345.0, "12.3 ms");
        check("ready_after_kill_ms", 1_500.0, "1.50 s");
        check("broker_cpu_us_per_record", 3.456, "3.46 \u{b5}s");
        check("broker_cpu_ms_per_mb", 0.5, "500 \u{b5}s");
        check("resident_bytes_per_partition", 2_048.0, "2.00 KiB");
        check("limit_percent", 81.25, "81.2 %");
        check("records_per_second", 1_234_567.0, "1\u{202f}234\u{202f}567");
        check("fd_count", 7.0, "7");
    }

    #[test]
    fn a_label_has_no_unit_that_the_value_has() {
        assert_eq!(label("end_to_end_p99.9_us"), "end-to-end p99.9");
        assert_eq!(label("connects_per_second"), "connects/s");
        assert_eq!(label("alone_broker_cpu_us_per_record"), "alone: broker CPU per record");
        assert_eq!(limit_label("sendfile_mb_per_second"), "sendfile MB/s");
        assert_eq!(label("storm_connects_per_second"), "storm connects/s");
        assert_eq!(label("broker_resident_mib"), "broker memory (RSS)");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(plain(999.0), "999");
        assert_eq!(plain(1_000.0), "1\u{202f}000");
        assert_eq!(plain(-12_345.0), "-12\u{202f}345");
        assert_eq!(plain(0.5), "0.50");
    }
}
