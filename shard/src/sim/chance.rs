//! The only source of chance in a simulated world: SplitMix64 from one seed.
//!
//! The same seed and the same calls give the same answers, on every machine.

/// A stream of pseudo-random numbers. Two streams forked from one do not disturb each other.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A stream of its own.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Uniform in `[0, end)`.
    ///
    /// # Panics
    /// If `end` is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "nothing lies below zero");
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).expect("a product of two u64, shifted by 64, fits")
    }

    /// Uniform in `[start, end)`.
    pub fn between(&mut self, start: u64, end: u64) -> u64 {
        assert!(start < end);
        start + self.below(end - start)
    }

    /// Uniform in `[0, end)`, as an index.
    pub fn index(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a collection's length fits in 64 bits");
        usize::try_from(self.below(end)).expect("below a usize")
    }

    /// True once in `odds` times; never if `odds` is zero.
    pub fn one_in(&mut self, odds: u64) -> bool {
        odds != 0 && self.below(odds) == 0
    }

    /// Mostly near `usual`, now and then up to eight times that: how long a device takes.
    pub fn around(&mut self, usual: u64) -> u64 {
        let usual = usual.max(2);
        if self.one_in(16) {
            self.between(usual, usual * 8)
        } else {
            self.between(usual / 2, usual + usual / 2)
        }
    }
}

/// SplitMix64's finisher: spreads every bit of `raw` over the result.
#[must_use]
pub const fn mix(raw: u64) -> u64 {
    let raw = (raw ^ (raw >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let raw = (raw ^ (raw >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    raw ^ (raw >> 31)
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn one_seed_gives_one_stream() {
        let mut left = Chance::new(7);
        let mut right = Chance::new(7);
        assert!((0..100).all(|_| left.next() == right.next()));
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut chance = Chance::new(1);
        let seen: std::collections::BTreeSet<u64> =
            (0..200).map(|_| chance.between(3, 7)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
    }
}
