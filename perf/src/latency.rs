//! How long things took: a histogram with three digits, from 1 us to 60 s, and each second's worst.
//!
//! It knows no clock. Values beyond the range count as its ends. Percentiles that too few samples
//! stand behind are not told.

use hdrhistogram::Histogram;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Samples above each percentile before it is told: about ten.
const SAMPLES_ABOVE_MIN: f64 = 10.0;

/// What took longer is a stall.
const STALL_NS: u64 = 10_000_000;

/// Percentiles of every report.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

#[derive(Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
    stall_count: u64,
    longest_ns: u64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        let histogram = histogram.expect("the bounds are far enough apart");
        Self { histogram, stall_count: 0, longest_ns: 0 }
    }

    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
        self.longest_ns = self.longest_ns.max(ns);
        if ns > STALL_NS {
            self.stall_count += 1;
        }
    }

    /// All that another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.stall_count += other.stall_count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) const fn stall_count(&self) -> u64 {
        self.stall_count
    }

    pub(crate) const fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// `None` if too few samples lie above it.
    pub(crate) fn at_percentile_ns(&self, percentile: f64) -> Option<u64> {
        let above = crate::report::float(self.count()) * (1.0 - percentile / 100.0);
        // The product of exact numbers is not exact: a thousandth of a sample is none.
        (above + 0.001 >= SAMPLES_ABOVE_MIN)
            .then(|| self.histogram.value_at_percentile(percentile).min(self.longest_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values_us: impl Iterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        values_us.for_each(|value| latency.record_ns(value * 1_000));
        latency
    }

    #[test]
    fn percentiles_have_three_digits() {
        let latency = of(1..=10_000);
        let p99_us = latency.at_percentile_ns(99.0).map(|ns| ns / 1_000);
        assert!(p99_us.is_some_and(|it| (9_890..=9_910).contains(&it)), "{p99_us:?}");
    }

    #[test]
    fn a_percentile_needs_ten_samples_above_it() {
        assert!(of(1..=10_000).at_percentile_ns(99.9).is_some());
        assert!(of(1..=9_900).at_percentile_ns(99.9).is_none());
        assert!(of(1..=1).at_percentile_ns(50.0).is_none());
    }

    #[test]
    fn values_beyond_the_range_count_as_its_end() {
        let mut latency = Latency::new();
        latency.record_ns(0);
        latency.record_ns(100 * 1_000_000_000);
        assert_eq!((latency.count(), latency.stall_count()), (2, 1));
        assert_eq!(latency.longest_ns(), 100 * 1_000_000_000);
    }
}
