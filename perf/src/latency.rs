//! How long things took: a histogram with three digits, from 1 us to 60 s, and each second of it.
//!
//! It knows no clock. Values beyond the range count as its ends. Percentiles that too few samples
//! stand behind are not told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::clock::Moment;
use crate::report::micros;
use crate::results::{Minute, Second};

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_SECONDS: usize = 60;

/// Samples above each percentile before it is told: about ten.
const SAMPLES_ABOVE_MIN: f64 = 10.0;

/// A generator with a larger share of the latency that it reports has measured itself.
pub(crate) const OWN_SHARE_MAX: f64 = 0.1;

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
        self.record_many_ns(ns, 1);
    }

    /// The same so many times.
    pub(crate) fn record_many_ns(&mut self, ns: u64, count: u64) {
        self.histogram.saturating_record_n(ns, count);
        self.longest_ns = self.longest_ns.max(ns);
        if ns > STALL_NS {
            self.stall_count += count;
        }
    }

    /// All that another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.stall_count += other.stall_count;
    }

    /// The same of what has no stalls of its own.
    fn add_histogram(&mut self, histogram: &Histogram<u64>, longest_ns: u64) {
        self.histogram.add(histogram).expect("all have the same bounds");
        self.longest_ns = self.longest_ns.max(longest_ns);
    }

    fn clear(&mut self) {
        self.histogram.reset();
        (self.stall_count, self.longest_ns) = (0, 0);
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

    /// The 99th percentile, however few samples stand behind it: to find the slowest of several.
    pub(crate) fn rank_ns(&self) -> u64 {
        self.histogram.value_at_percentile(99.0)
    }

    /// HdrHistogram's V2 form, deflated, in base64: what its tools in every language read.
    pub(crate) fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&self.histogram, &mut bytes);
        written.expect("memory takes what is written");
        STANDARD.encode(bytes)
    }
}

/// Each second of a phase, and each minute, by the time at which something was counted.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Moment,
    seconds: Vec<Second>,
    minutes: Vec<Minute>,
    /// Of the second that runs.
    count: u64,
    longest_ns: u64,
    histogram: Histogram<u64>,
    /// Of the seconds of this minute that have ended.
    minute: Latency,
}

impl Timeline {
    /// With room for so many seconds.
    pub(crate) fn new(second_count: usize) -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        let histogram = histogram.expect("the bounds are far enough apart");
        let seconds = Vec::with_capacity(second_count);
        Self {
            start: Moment::BOOT,
            seconds,
            minutes: Vec::with_capacity(second_count / MINUTE_SECONDS + 1),
            count: 0,
            longest_ns: 0,
            histogram,
            minute: Latency::new(),
        }
    }

    pub(crate) const fn begin(&mut self, start: Moment) {
        self.start = start;
    }

    /// So many things took so long. Times do not go back.
    pub(crate) fn record_many_ns(&mut self, now: Moment, ns: u64, count: u64) {
        self.count(now, count);
        self.longest_ns = self.longest_ns.max(ns);
        self.histogram.saturating_record_n(ns, count);
    }

    /// So many things whose time counts nowhere.
    pub(crate) fn count(&mut self, now: Moment, count: u64) {
        let second = usize::try_from(now.ns_since(self.start) / SECOND_NS).unwrap_or(usize::MAX);
        while self.seconds.len() < second {
            self.close();
        }
        self.count += count;
    }

    /// All seconds and minutes of a phase that ended so. A remainder counts as one.
    pub(crate) fn finish(&mut self, end: Moment) -> (Vec<Second>, Vec<Minute>) {
        let second_count = end.ns_since(self.start).div_ceil(SECOND_NS);
        let second_count = usize::try_from(second_count).expect("a phase is short");
        while self.seconds.len() < second_count {
            self.close();
        }
        if self.minute.count() > 0 {
            self.close_minute();
        }
        (std::mem::take(&mut self.seconds), std::mem::take(&mut self.minutes))
    }

    fn close(&mut self) {
        let at = |percentile: f64| {
            micros(self.histogram.value_at_percentile(percentile).min(self.longest_ns))
        };
        let (p50_us, p99_us) = (at(50.0), at(99.0));
        let max_us = micros(self.longest_ns);
        self.seconds.push(Second { count: self.count, p50_us, p99_us, max_us });
        if !self.histogram.is_empty() {
            self.minute.add_histogram(&self.histogram, self.longest_ns);
            self.histogram.reset();
        }
        (self.count, self.longest_ns) = (0, 0);
        if self.seconds.len().is_multiple_of(MINUTE_SECONDS) {
            self.close_minute();
        }
    }

    fn close_minute(&mut self) {
        self.minutes.push(Minute {
            count: self.minute.count(),
            p999_us: self.minute.at_percentile_ns(99.9).map(micros),
            max_us: micros(self.minute.longest_ns()),
        });
        self.minute.clear();
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

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
    fn a_histogram_reads_back_from_its_text() {
        let latency = of(1..=10_000);
        let bytes = STANDARD.decode(latency.to_base64()).unwrap();
        let mut reader = Deserializer::new();
        let read: Histogram<u64> = reader.deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.len(), read.value_at_quantile(0.5) / 1_000), (10_000, 5_001));
    }

    #[test]
    fn a_second_without_anything_stands_between_those_with() {
        let at = |ms: u64| Moment::BOOT.plus_ns(5_000_000_000 + ms * 1_000_000);
        let mut timeline = Timeline::new(4);
        timeline.begin(at(0));
        timeline.record_many_ns(at(100), 2_000_000, 3);
        timeline.record_many_ns(at(999), 9_000_000, 1);
        timeline.count(at(2_000), 5);
        let (seconds, _) = timeline.finish(at(3_500));
        let counts: Vec<u64> = seconds.iter().map(|second| second.count).collect();
        assert_eq!(counts, [4, 0, 5, 0]);
        assert_eq!(seconds[0].max_us, 9_000.0);
        assert!((2_000.0..2_003.0).contains(&seconds[0].p50_us), "{}", seconds[0].p50_us);
        assert_eq!((seconds[2].max_us, seconds[2].p99_us), (0.0, 0.0));
    }

    #[test]
    fn a_minute_has_the_percentile_of_all_its_seconds() {
        let at = |second: u64| Moment::BOOT.plus_ns(second * SECOND_NS);
        let mut timeline = Timeline::new(90);
        timeline.begin(at(0));
        for second in 0..90 {
            // One of a thousand is slow, all of them in one second of the first minute.
            if second == 7 {
                timeline.record_many_ns(at(second), 50_000_000, 13);
            }
            timeline.record_many_ns(at(second), 1_000_000, 200);
        }
        let (seconds, minutes) = timeline.finish(at(90));
        assert_eq!((seconds.len(), minutes.len()), (90, 2));
        assert_eq!([minutes[0].count, minutes[1].count], [12_013, 6_000]);
        let p999_us = minutes[0].p999_us.expect("12,013 samples");
        assert!((50_000.0..50_100.0).contains(&p999_us), "{p999_us}");
        assert_eq!(minutes[1].p999_us, None, "6,000 samples are too few");
        assert_eq!(minutes[1].max_us, 1_000.0);
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
