//! Latencies as a distribution: read from the results, added up over runs, asked for percentiles, given away.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::report::float;

/// Three digits, from 1 us to 60 s, as all of the results are.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;

/// A percentile is told if so many samples lie above it: p99.9 of 10,000, p99.99 of 100,000.
const SAMPLES_ABOVE_MIN: f64 = 10.0;

/// Those of every table: name, and parts of one.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    histogram: Histogram<u64>,
    run_count: u32,
}

impl Sampling {
    /// Of one run, from the form that the results have. `None` if it is not that.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
        Some(Self { histogram, run_count: 1 })
    }

    pub(crate) fn empty() -> Self {
        Self { histogram: with_digits(3), run_count: 0 }
    }

    /// As if all had been recorded in one. Values beyond 60 s count as that.
    pub(crate) fn add(&mut self, other: &Self) {
        self.run_count += other.run_count;
        if self.histogram.add(&other.histogram).is_err() {
            for step in other.histogram.iter_recorded() {
                let value = step.value_iterated_to();
                self.histogram.saturating_record_n(value, step.count_at_value());
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) const fn run_count(&self) -> u32 {
        self.run_count
    }

    pub(crate) fn max_us(&self) -> f64 {
        float(self.histogram.max()) / 1_000.0
    }

    /// `None` if too few samples lie above it.
    pub(crate) fn at_us(&self, quantile: f64) -> Option<f64> {
        let above = float(self.count()) * (1.0 - quantile);
        // The product of exact numbers is not exact: a thousandth of a sample is none.
        (above + 0.001 >= SAMPLES_ABOVE_MIN)
            .then(|| float(self.histogram.value_at_quantile(quantile)) / 1_000.0)
    }

    /// Points of the curve over `1 / (1 - quantile)`: as many to each decade of it, up to where it is told.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        const POINTS_PER_DECADE: u32 = 8;
        const DECADES: u32 = 7;
        (0..=POINTS_PER_DECADE * DECADES)
            .map(|point| 10_f64.powf(f64::from(point) / f64::from(POINTS_PER_DECADE)))
            .map_while(|over| Some((over, self.at_us(1.0 - 1.0 / over)?)))
            .collect()
    }

    /// The same samples with fewer digits, for less room.
    pub(crate) fn coarse(&self, digits: u8) -> Self {
        let mut histogram = with_digits(digits);
        for step in self.histogram.iter_recorded() {
            histogram.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        Self { histogram, run_count: self.run_count }
    }

    /// A file of HdrHistogram's log form, of one interval.
    pub(crate) fn log(&self, comment: &str, began_unix: u64, length: Duration) -> String {
        let mut file = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(began_unix);
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment(comment).with_start_time(start);
        let mut writer = builder
            .begin_log_with(&mut file, &mut serializer)
            .expect("a vector takes what is written");
        writer
            .write_histogram(&self.histogram, Duration::ZERO, length, None::<Tag<'_>>)
            .expect("a vector takes what is written");
        String::from_utf8(file).expect("a log is text")
    }
}

fn with_digits(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, digits)
        .expect("the bounds are far enough apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    use hdrhistogram::serialization::Serializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn of(values_us: impl Iterator<Item = u64>) -> Sampling {
        let mut sampling = Sampling::empty();
        values_us.for_each(|it| sampling.histogram.record(it * 1_000).expect("within the bounds"));
        sampling.run_count = 1;
        sampling
    }

    fn text(sampling: &Sampling) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&sampling.histogram, &mut bytes).expect("a vector");
        BASE64_STANDARD.encode(bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let sampling = of(1..=10_000);
        let read = Sampling::read(&text(&sampling)).expect("it was written so");
        assert_eq!(read.histogram, sampling.histogram);
        for wrong in ["", "=", "AAAA", &text(&sampling)[..40]] {
            assert!(Sampling::read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn runs_added_are_as_if_they_were_one() {
        let mut sum = of(1..=5_000);
        sum.add(&of(5_001..=10_000));
        assert_eq!(sum.histogram, of(1..=10_000).histogram);
        assert_eq!((sum.count(), sum.run_count()), (10_000, 2));
    }

    #[test]
    fn a_percentile_is_told_only_with_ten_samples_above_it() {
        assert!(of(1..=10_000).at_us(0.999).is_some());
        assert!(of(1..=9_900).at_us(0.999).is_none());
        assert!(of(1..=10_000).at_us(0.9999).is_none());
    }

    #[test]
    fn the_curve_rises_and_ends_where_samples_do() {
        let curve = of(1..=10_000).curve();
        let last = curve.last().expect("points").0;
        assert!((749.0..=1_000.01).contains(&last), "{last}");
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let median =
            curve.iter().find(|(over, _)| *over >= 2.0).expect("a point past the median").1;
        assert!((4_900.0..=6_000.0).contains(&median), "{median}");
    }

    #[test]
    fn a_log_has_every_sample_of_the_coarse_form() {
        let sampling = of((1..=10_000).map(|it| it * 7)).coarse(2);
        let log = sampling.log("what it is", 1_800_000_000, Duration::from_secs(15));
        let intervals: Vec<_> = IntervalLogIterator::new(log.as_bytes())
            .filter_map(|entry| match entry.expect("it was written by this") {
                LogEntry::Interval(interval) => Some(interval.encoded_histogram().to_owned()),
                LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
            })
            .collect();
        let [only] = intervals.as_slice() else { panic!("{log}") };
        let read = Sampling::read(only).expect("it was written so");
        assert_eq!(read.histogram, sampling.histogram);
        assert_eq!(read.count(), 10_000);
    }
}
