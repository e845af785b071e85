//! The last offset of each key, in memory that is bounded when it begins.
//!
//! It holds hashes, not keys: 128 bits under a secret, so that nobody finds two keys that count as one.
//! Invariant: at most 9 in 10 slots are used.

use std::hash::{DefaultHasher, Hasher};

use crate::id::Offset;

/// Of one slot: hash and offset.
pub const SLOT_BYTES: usize = 24;

const FREE: i64 = -1;
const HASH_NONE: (u64, u64) = (0, 0);

/// A key, as far as the map knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64, u64);

/// Hashes a key that may come in pieces.
#[derive(Clone, Debug)]
pub struct KeyHasher(DefaultHasher, DefaultHasher);

impl KeyHasher {
    fn new(secret: [u64; 2]) -> Self {
        let begin = |word: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(word);
            hasher.write_u64(!word);
            hasher
        };
        Self(begin(secret[0]), begin(secret[1]))
    }

    pub fn add(&mut self, piece: &[u8]) {
        self.0.write(piece);
        self.1.write(piece);
    }

    #[must_use]
    pub fn finish(&self) -> KeyHash {
        KeyHash(self.0.finish(), self.1.finish())
    }
}

/// The map is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFull;

/// One for each pass.
#[derive(Debug)]
pub struct OffsetMap {
    secret: [u64; 2],
    hashes: Vec<(u64, u64)>,
    offsets: Vec<i64>,
    used: usize,
}

impl OffsetMap {
    /// For about so many keys, within so many bytes; for one at least.
    #[must_use]
    pub fn new(secret: [u64; 2], key_count: u64, bytes_max: u64) -> Self {
        let wanted = usize::try_from(key_count).unwrap_or(usize::MAX).saturating_mul(10) / 9;
        let slots_max = usize::try_from(bytes_max).unwrap_or(usize::MAX) / SLOT_BYTES;
        let slots = wanted.saturating_add(2).min(slots_max).max(2);
        Self { secret, hashes: vec![HASH_NONE; slots], offsets: vec![FREE; slots], used: 0 }
    }

    #[must_use]
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher::new(self.secret)
    }

    /// `offset` is the last of its key so far.
    pub fn insert(&mut self, key: KeyHash, offset: Offset) -> Result<(), MapFull> {
        let slot = self.slot(key);
        if self.offsets[slot] == FREE {
            if (self.used + 1) * 10 > self.offsets.len() * 9 && self.used > 0 {
                return Err(MapFull);
            }
            self.used += 1;
            self.hashes[slot] = (key.0, key.1);
        }
        self.offsets[slot] = self.offsets[slot].max(offset.get());
        Ok(())
    }

    #[must_use]
    pub fn last(&self, key: KeyHash) -> Option<Offset> {
        Offset::checked(self.offsets[self.slot(key)])
    }

    /// The one of the key, or the free one where it would be.
    fn slot(&self, key: KeyHash) -> usize {
        let count = u64::try_from(self.offsets.len()).expect("usize is at most 64 bits here");
        let mut slot = usize::try_from(key.0 % count).expect("below a length");
        while self.offsets[slot] != FREE && self.hashes[slot] != (key.0, key.1) {
            slot = (slot + 1) % self.offsets.len();
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyHash, MapFull, OffsetMap};
    use crate::id::Offset;

    fn hash(map: &OffsetMap, key: &str) -> KeyHash {
        let mut hasher = map.hasher();
        let (head, tail) = key.split_at(key.len() / 2);
        hasher.add(head.as_bytes());
        hasher.add(tail.as_bytes());
        hasher.finish()
    }

    #[test]
    fn the_last_offset_of_every_key_is_found() {
        let mut map = OffsetMap::new([1, 2], 1000, 1 << 20);
        for round in 0..3 {
            for key in 0..1000 {
                let hash = hash(&map, &format!("key-{key}"));
                map.insert(hash, Offset::new(round * 1000 + key)).expect("there is room");
            }
        }
        for key in 0..1000 {
            let hash = hash(&map, &format!("key-{key}"));
            assert_eq!(map.last(hash), Some(Offset::new(2000 + key)));
        }
        assert_eq!(map.last(hash(&map, "stranger")), None);
    }

    #[test]
    fn a_full_map_takes_known_keys_and_no_others() {
        let mut map = OffsetMap::new([1, 2], 1000, 240);
        let count = (0..).find(|key| {
            let hash = hash(&map, &format!("key-{key}"));
            map.insert(hash, Offset::new(*key)) == Err(MapFull)
        });
        assert_eq!(count, Some(9));
        let known = hash(&map, "key-3");
        assert_eq!(map.insert(known, Offset::new(77)), Ok(()));
        assert_eq!(map.last(known), Some(Offset::new(77)));
    }

    #[test]
    fn the_smallest_map_holds_one_key() {
        let mut map = OffsetMap::new([1, 2], 0, 0);
        assert_eq!(map.insert(hash(&map, "a"), Offset::ZERO), Ok(()));
        assert_eq!(map.insert(hash(&map, "b"), Offset::ZERO), Err(MapFull));
        assert_eq!(map.last(hash(&map, "b")), None);
    }
}
