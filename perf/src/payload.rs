//! What records carry: half of the bytes random, as the OpenMessaging benchmark has it, behind a head
//! that says when the record was meant to be sent, and which one it is.
//!
//! ```text
//! intended time, ns of the monotonic clock u64 | scene u16 | producer u16 | nth u32
//! ```
//!
//! A value below 16 bytes has only the time.

/// A value has room for the time it was meant to be sent.
pub(crate) const TIME_BYTES: usize = 8;
/// Where the number of the record stands.
pub(crate) const NTH_AT: usize = 12;
pub(crate) const HEAD_BYTES: usize = 16;

/// Who made a record: a producer of a scene. Scenes are told from each other by a number that each
/// draws, so that what an earlier one left in a topic is not taken for ours. Scene 0 is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scene: u16,
    pub(crate) producer: u16,
}

/// What the front of a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) intended_ns: u64,
    /// With how many records of this producer came before in the same partition; it begins again after
    /// 2^32.
    pub(crate) origin: Option<(Origin, u32)>,
}

impl Head {
    /// `None` if the value has no room for a time.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let (time, rest) = value.split_first_chunk()?;
        let origin = rest.first_chunk().map(|[a, b, c, d, nth @ ..]: &[u8; 8]| {
            let (scene, producer) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            (Origin { scene, producer }, u32::from_be_bytes(*nth))
        });
        Some(Self { intended_ns: u64::from_be_bytes(*time), origin })
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to defeat compression, the same from the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `[0, end)`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("sizes have at most 64 bits");
        usize::try_from(self.next() % end).expect("less than a size")
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The first half random, the second half text that repeats; then the head's constant part over it, if
/// it has room.
pub(crate) fn value(random: &mut Random, byte_count: usize, origin: Origin) -> Vec<u8> {
    let mut value = half_random(random, byte_count);
    if HEAD_BYTES <= byte_count {
        value[TIME_BYTES..TIME_BYTES + 2].copy_from_slice(&origin.scene.to_be_bytes());
        value[TIME_BYTES + 2..NTH_AT].copy_from_slice(&origin.producer.to_be_bytes());
    }
    value
}

fn half_random(random: &mut Random, byte_count: usize) -> Vec<u8> {
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
    fn a_head_reads_as_it_was_written() {
        let origin = Origin { scene: 0x0102, producer: 0xfffe };
        let mut value = value(&mut Random::from_seed(1), 16, origin);
        value[..TIME_BYTES].copy_from_slice(&7_u64.to_be_bytes());
        value[NTH_AT..].copy_from_slice(&9_u32.to_be_bytes());
        let whole = Head { intended_ns: 7, origin: Some((origin, 9)) };
        assert_eq!(Head::of(&value), Some(whole));
        assert_eq!(Head::of(&value[..15]), Some(Head { origin: None, ..whole }));
        assert_eq!(Head::of(&value[..7]), None);
    }

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
