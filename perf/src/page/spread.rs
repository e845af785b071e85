//! Several values of one thing: the median, and how far they lie apart.

use crate::statistics::median;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// `None` of nothing. What is no number does not count.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let median = median(values.clone())?;
        Some(Self { least: values[0], median, most: values[values.len() - 1], count: values.len() })
    }

    /// Whether all ratios say the same: all above one or all below.
    pub(crate) fn agrees(&self) -> bool {
        self.most < 1.0 || 1.0 < self.least
    }

    /// Whether all ratios are one, to half a percent: nobody is better.
    pub(crate) fn is_even(&self) -> bool {
        0.995 <= self.least && self.most <= 1.005
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let spread = Spread::of([4.0, 1.0, f64::NAN, 3.0, 2.0]).expect("four values");
        assert_eq!(spread, Spread { least: 1.0, median: 2.5, most: 4.0, count: 4 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_on_both_sides_of_one_do_not_agree() {
        let agrees = |values: [f64; 2]| Spread::of(values).is_some_and(|it| it.agrees());
        assert!(agrees([0.5, 0.9]) && agrees([1.1, 3.0]));
        assert!(!agrees([0.9, 1.1]) && !agrees([1.0, 1.5]));
        let is_even = |values: [f64; 2]| Spread::of(values).is_some_and(|it| it.is_even());
        assert!(is_even([0.999, 1.001]) && !is_even([0.999, 1.01]));
    }
}
