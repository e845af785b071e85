//! What a measure found: names with their unit last, numbers, and why the run may not count.
//!
//! One form for people and one for programs, with the same names in the same order.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::latency::{Latency, PERCENTILES};

/// The field of the JSON form with the reasons why a run does not count.
const VOID: &str = "void";

const OWN_CPU_PERCENT_MAX: f64 = 85.0;

#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    rows: Vec<(String, f64)>,
    void: Vec<String>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self::of(title, Vec::new(), Vec::new())
    }

    pub(crate) fn of(
        title: impl Into<String>,
        rows: Vec<(String, f64)>,
        void: Vec<String>,
    ) -> Self {
        Self { title: title.into(), rows, void }
    }

    pub(crate) fn put(&mut self, name: impl Into<String>, value: f64) {
        self.rows.push((name.into(), value));
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|it| it.0 == name).map(|it| it.1)
    }

    /// Percentiles that enough samples stand behind, the longest, the stalls, in microseconds.
    pub(crate) fn put_latency(&mut self, prefix: &str, latency: &Latency) {
        for (name, percentile) in PERCENTILES {
            if let Some(ns) = latency.at_percentile_ns(percentile) {
                self.put(format!("{prefix}{name}_us"), micros(ns));
            }
        }
        self.put(format!("{prefix}max_us"), micros(latency.longest_ns()));
    }

    /// What the generator used of its core, too much of which makes the run void, and other machines of this one.
    pub(crate) fn put_disturbance(&mut self, prefix: &str, own_percent: f64, steal_percent: f64) {
        self.put(format!("{prefix}own_cpu_percent"), own_percent);
        self.put(format!("{prefix}steal_percent"), steal_percent);
        if own_percent > OWN_CPU_PERCENT_MAX {
            self.put_void(format!(
                "the generator used {own_percent:.0} % of its core: it may be what binds"
            ));
        }
    }

    /// The run does not count, and why.
    pub(crate) fn put_void(&mut self, reason: impl Into<String>) {
        self.void.push(reason.into());
    }

    pub(crate) fn rows(&self) -> &[(String, f64)] {
        &self.rows
    }

    pub(crate) fn void(&self) -> &[String] {
        &self.void
    }

    /// The rows, and why the run does not count.
    pub(crate) fn into_parts(self) -> (Vec<(String, f64)>, Vec<String>) {
        (self.rows, self.void)
    }

    pub(crate) fn to_text(&self) -> String {
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.title);
        for (name, value) in &self.rows {
            writeln!(text, "  {name:width$} {:>12}", number(*value)).expect("text grows");
        }
        for reason in &self.void {
            writeln!(text, "  VOID: {reason}").expect("text grows");
        }
        text
    }

    /// One line. The order of the rows is kept.
    pub(crate) fn to_json(&self) -> String {
        let mut fields = vec![format!("\"title\":{}", json!(self.title))];
        let rows =
            self.rows.iter().map(|(name, value)| format!("{}:{}", json!(name), rounded(*value)));
        fields.extend(rows);
        fields.push(format!("\"{VOID}\":{}", json!(self.void)));
        format!("{{{}}}", fields.join(","))
    }
}

/// Exact up to 2^53.
pub(crate) fn float(value: u64) -> f64 {
    let low = u32::try_from(value & u64::from(u32::MAX)).expect("32 bits");
    let high = u32::try_from(value >> 32).expect("32 bits");
    f64::from(high).mul_add(4_294_967_296.0, f64::from(low))
}

pub(crate) fn float_of(count: usize) -> f64 {
    float(u64::try_from(count).expect("counts have at most 64 bits"))
}

/// The nearest whole number; zero of what is negative or none.
pub(crate) fn whole(value: f64) -> u64 {
    // The only conversion that neither wraps nor cuts; it is for plans, not for the path of a request.
    format!("{:.0}", value.max(0.0)).parse().unwrap_or(0)
}

pub(crate) fn micros(ns: u64) -> f64 {
    float(ns) / 1_000.0
}

/// With as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        it if it >= 1_000.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        it if it >= 1.0 || it == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// JSON has no infinity and no NaN: they become null.
fn rounded(value: f64) -> Value {
    json!((value * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_have_the_same_rows_in_order() {
        let mut report = Report::new("load \"x\"");
        report.put("p99_us", 1_234.567);
        report.put("mb_per_second", 12.3456);
        report.put_void("steal 2 %");
        assert_eq!(
            report.to_text(),
            "load \"x\"\n  p99_us                1235\n  mb_per_second         12.3\n  VOID: steal 2 %\n"
        );
        assert_eq!(
            report.to_json(),
            r#"{"title":"load \"x\"","p99_us":1234.567,"mb_per_second":12.3456,"void":["steal 2 %"]}"#
        );
    }

    #[test]
    fn floats_are_the_numbers() {
        for (value, want) in [(0, 0.0), (7, 7.0), (1 << 40, 1_099_511_627_776.0)] {
            assert!((float(value) - want).abs() < f64::EPSILON);
        }
    }
}
