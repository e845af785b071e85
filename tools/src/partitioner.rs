//! Which partition a record goes to: as Kafka's Java producer chooses, so that the same key lands
//! in the same partition whoever writes it.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The partition of a record with this key, of `partition_count`.
pub(crate) fn of_key(key: &[u8], partition_count: u32) -> u32 {
    assert!(partition_count > 0);
    (murmur2(key) & 0x7fff_ffff) % partition_count
}

/// Murmur2 with the seed that Kafka's clients agreed on.
fn murmur2(bytes: &[u8]) -> u32 {
    let length = u32::try_from(bytes.len()).expect("keys are limited by the record");
    let mut hash = SEED ^ length;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_be_bytes(*word).swap_bytes();
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (index, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{murmur2, of_key};

    /// The values are those of Kafka's own test of its Java client.
    #[test]
    fn the_hash_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_partition_is_in_range() {
        for count in 1..50 {
            assert!(of_key(b"foobar", count) < count);
        }
        assert_eq!(of_key(b"", 1), 0);
    }
}
