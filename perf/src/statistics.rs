//! What many runs say together: medians, and ratios of runs that stand beside each other in time.

use crate::report::float_of;

/// Which way a number is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Better {
    Lower,
    Higher,
    Neither,
}

/// By the ends of names.
const HIGHER: [&str; 5] = [
    "records_per_second",
    "mb_per_second",
    "connects_per_second",
    "limit_percent",
    "goodput_percent",
];
const NEITHER: [&str; 6] = [
    "device_flushes_per_second",
    "partition_count",
    "sample_count",
    "intended_records_per_second",
    "resident_slope_mib_per_hour",
    "fd_slope_per_hour",
];

/// Ratios of one number, of two targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

pub(crate) fn better(name: &str) -> Better {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if ends(&NEITHER) {
        Better::Neither
    } else if ends(&HIGHER) {
        Better::Higher
    } else {
        Better::Lower
    }
}

/// `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(values[middle - 1], upper)) }
}

/// Of the straight line that lies nearest to the points, by least squares. `None` if they have no width.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = float_of(points.len());
    let mean = |values: fn(&(f64, f64)) -> f64| points.iter().map(values).sum::<f64>() / count;
    let (middle_x, middle_y) = (mean(|it| it.0), mean(|it| it.1));
    let width: f64 = points.iter().map(|(x, _)| (x - middle_x).powi(2)).sum();
    let rise: f64 = points.iter().map(|(x, y)| (x - middle_x) * (y - middle_y)).sum();
    (0.0 < width).then(|| rise / width)
}

/// `None` of nothing, and of what has no better and no worse.
pub(crate) fn worst(name: &str, values: &[f64]) -> Option<f64> {
    let values = values.iter().copied();
    match better(name) {
        Better::Lower => values.max_by(f64::total_cmp),
        Better::Higher => values.min_by(f64::total_cmp),
        Better::Neither => None,
    }
}

impl Ratios {
    /// Of pairs: one to the other. Pairs whose other is zero have no ratio.
    pub(crate) fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let with_ratio = pairs.iter().filter(|(_, other)| *other != 0.0);
        let ratios: Vec<f64> = with_ratio.map(|(one, other)| one / other).collect();
        Some(Self {
            median: median(ratios.clone())?,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count: ratios.len(),
        })
    }

    /// Whether all pairs are on one side of 1: otherwise they say nothing.
    pub(crate) fn agree(&self) -> bool {
        1.0 < self.least || self.most < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_slope_is_of_the_line_that_lies_nearest() {
        let rising = slope(&[(0.0, 1.0), (1.0, 4.0), (2.0, 3.0), (3.0, 6.0)]).expect("a line");
        assert!((rising - 1.4).abs() < 1e-9, "{rising}");
        assert_eq!(slope(&[(5.0, 1.0), (5.0, 9.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn the_worst_is_the_highest_or_the_lowest() {
        assert_eq!(worst("p99_us", &[1.0, 3.0, 2.0]), Some(3.0));
        assert_eq!(worst("mb_per_second", &[1.0, 3.0, 2.0]), Some(1.0));
        assert_eq!(worst("sample_count", &[1.0]), None);
    }

    #[test]
    fn ratios_have_a_median_and_a_range() {
        let ratios = Ratios::of(&[(1.0, 2.0), (3.0, 4.0), (1.0, 0.0)]).expect("two pairs");
        assert_eq!(ratios, Ratios { median: 0.625, least: 0.5, most: 0.75, count: 2 });
        assert!(ratios.agree());
        let split = Ratios::of(&[(1.0, 2.0), (3.0, 2.0)]).expect("two pairs");
        assert!(!split.agree());
        assert_eq!(Ratios::of(&[]), None);
    }
}
