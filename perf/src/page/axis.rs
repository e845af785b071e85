//! One direction of a plot: from values to places on the page, and the values that are marked.

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scale {
    Linear,
    /// Of values above zero.
    Log,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Where `low` is, and where `high` is.
    from: f64,
    to: f64,
}

/// Marks that a short side has room for.
const TICKS_MAX: usize = 8;

impl Axis {
    /// Round numbers just outside of the values; a decade if there are none.
    pub(crate) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values.filter(|it| *it > 0.0)).unwrap_or((1.0, 10.0));
        let (low, mut high) = (round_down(low), round_up(high));
        if high <= low {
            high = round_up(low * 1.5);
        }
        Self { scale: Scale::Log, low, high, from: 0.0, to: 1.0 }
    }

    /// From zero.
    pub(crate) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let high = range(values).map_or(1.0, |(_, high)| high).max(f64::MIN_POSITIVE);
        let step = linear_step(high);
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high: step * (high / step).ceil(),
            from: 0.0,
            to: 1.0,
        }
    }

    /// With these ends, whatever they are.
    pub(crate) const fn exact(scale: Scale, low: f64, high: f64) -> Self {
        Self { scale, low, high, from: 0.0, to: 1.0 }
    }

    pub(crate) const fn placed(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    pub(crate) const fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// What is outside is at the nearer end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        (self.to - self.from).mul_add(part.clamp(0.0, 1.0), self.from)
    }

    /// Round values from one end to the other, in order, not more than there is room for.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = linear_step(self.high);
                let within = |it: &f64| *it <= self.high * 1.000_001;
                (0..=10).map(|it| f64::from(it) * step).take_while(within).collect()
            }
            Scale::Log => {
                let all = rounds(self.low, self.high);
                if all.len() <= TICKS_MAX {
                    return all;
                }
                let decades: Vec<f64> = all.into_iter().filter(|it| is_decade(*it)).collect();
                let every = decades.len().div_ceil(TICKS_MAX);
                decades.into_iter().step_by(every).collect()
            }
        }
    }

    /// For the script: what it needs to go back from places to values.
    pub(crate) fn described(&self) -> String {
        let word = match self.scale {
            Scale::Linear => "linear",
            Scale::Log => "log",
        };
        format!("{word} {} {} {} {}", self.low, self.high, self.from, self.to)
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|it| it.is_finite()).fold(None, |range, it| {
        Some(range.map_or((it, it), |(low, high): (f64, f64)| (low.min(it), high.max(it))))
    })
}

fn power_below(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// 1, 2 or 5 times a power of ten.
fn round_down(value: f64) -> f64 {
    let power = power_below(value);
    [5.0, 2.0, 1.0]
        .map(|it| it * power)
        .into_iter()
        .find(|it| *it <= value * 1.000_001)
        .unwrap_or(power)
}

fn round_up(value: f64) -> f64 {
    let power = power_below(value);
    let rounds = [1.0, 2.0, 5.0].map(|it| it * power);
    rounds.into_iter().find(|it| value <= *it * 1.000_001).unwrap_or(power * 10.0)
}

fn rounds(low: f64, high: f64) -> Vec<f64> {
    let mut rounds = Vec::new();
    let mut power = power_below(low);
    while power <= high * 1.000_001 {
        for round in [1.0, 2.0, 5.0].map(|it| it * power) {
            if low * 0.999_999 <= round && round <= high * 1.000_001 {
                rounds.push(round);
            }
        }
        power *= 10.0;
    }
    rounds
}

fn is_decade(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// Leaves three to six of them.
fn linear_step(high: f64) -> f64 {
    round_up(high / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(axis: Axis, want: &[f64]) {
        let ticks = axis.ticks();
        let is_same = ticks.len() == want.len()
            && ticks.iter().zip(want).all(|(one, other)| (one - other).abs() <= other * 1e-6);
        assert!(is_same, "{ticks:?} instead of {want:?}");
    }

    #[test]
    fn a_log_axis_has_round_ends_and_ticks() {
        check(Axis::log([30.0, 700.0].into_iter()), &[20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]);
        check(
            Axis::log([1.0, 99_999.0].into_iter()),
            &[1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0],
        );
        check(Axis::log([0.3].into_iter()), &[0.2, 0.5]);
    }

    #[test]
    fn a_linear_axis_begins_at_zero() {
        check(Axis::linear([7.0, 93.0].into_iter()), &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        check(Axis::linear([0.5].into_iter()), &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
    }

    #[test]
    fn an_axis_of_nothing_or_of_one_value_has_a_length() {
        for axis in [
            Axis::log(std::iter::empty()),
            Axis::log([5.0, 5.0].into_iter()),
            Axis::log([0.0, f64::NAN, f64::INFINITY].into_iter()),
            Axis::linear(std::iter::empty()),
            Axis::linear([0.0].into_iter()),
        ] {
            assert!(axis.low < axis.high, "{axis:?}");
            assert!(!axis.ticks().is_empty() && axis.ticks().len() <= 11, "{axis:?}");
        }
    }

    #[test]
    fn values_have_places_and_what_is_outside_is_at_an_end() {
        let axis = Axis::exact(Scale::Log, 1.0, 100.0).placed(200.0, 0.0);
        for (value, want) in [(1.0, 200.0), (10.0, 100.0), (100.0, 0.0), (0.0, 200.0), (1e9, 0.0)] {
            assert!((axis.at(value) - want).abs() < 1e-9, "{value}");
        }
        let axis = Axis::exact(Scale::Linear, 0.0, 4.0).placed(0.0, 100.0);
        assert!((axis.at(1.0) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn ticks_of_any_range_are_few_and_within_it() {
        for exponent in -6..9 {
            for width in [1.1, 3.0, 50.0, 1e4, 1e12] {
                let low = 3.0 * 10_f64.powi(exponent);
                let axis = Axis::log([low, low * width].into_iter());
                let ticks = axis.ticks();
                assert!((2..=TICKS_MAX).contains(&ticks.len()), "{low} {width}: {ticks:?}");
                assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
            }
        }
    }
}
