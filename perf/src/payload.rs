//! What records carry: half of the bytes random, as the OpenMessaging benchmark has it.
//!
//! The first eight bytes of each value are left to the time it was meant to be sent.

/// SplitMix64 (Steele, Lea, Flood 2014): enough to defeat compression, the same from the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The first half random, the second half text that repeats.
pub(crate) fn half_random(random: &mut Random, byte_count: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(byte_count + 8);
    while value.len() < byte_count / 2 {
        value.extend_from_slice(&random.next().to_be_bytes());
    }
    value.truncate(byte_count / 2);
    value.extend(b"odradek ".iter().cycle().take(byte_count - byte_count / 2));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_random_and_half_repeats() {
        let mut random = Random::from_seed(1);
        let (one, other) = (half_random(&mut random, 1_025), half_random(&mut random, 1_025));
        assert_eq!((one.len(), other.len()), (1_025, 1_025));
        assert_ne!(one[..512], other[..512]);
        assert_eq!(one[512..], other[512..]);
        assert_eq!(half_random(&mut random, 0), b"");
    }
}
