//! What a disk was told and has not promised yet, and what of that a power cut leaves.
//!
//! Knows no file and no kernel: bytes and a seed come in, writes go out. Writes are kept in the order in
//! which they came; what survives a cut is a part of them, so that any later one may be there without any
//! earlier one, down to sectors.

use crate::chance::Chance;

/// Bytes for a place on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub pos: u64,
    pub bytes: Vec<u8>,
}

/// What disks tear at: the sectors of old and of new ones.
pub const SECTORS: [usize; 2] = [512, 4096];

/// The volatile cache of a disk.
#[derive(Debug, Default)]
pub struct Cache {
    writes: Vec<Write>,
}

/// What a power cut did to the cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What reached the disk, to be applied in this order.
    pub kept: Vec<Write>,
    /// Every place that had been written and not flushed.
    pub touched: Vec<(u64, usize)>,
    pub whole_count: usize,
    pub torn_count: usize,
    pub lost_count: usize,
}

impl Cache {
    pub fn write(&mut self, pos: u64, bytes: &[u8]) {
        self.writes.push(Write { pos, bytes: bytes.to_vec() });
    }

    pub fn write_count(&self) -> usize {
        self.writes.len()
    }

    /// A flush: all of it is promised now, in this order.
    pub fn flush(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.writes)
    }

    /// A power cut: each write survives whole, torn, or not at all, as the seed has it.
    pub fn cut(&mut self, seed: u64) -> Cut {
        let mut chance = Chance::new(seed);
        let sector_bytes = SECTORS[chance.below(2)];
        // Of 4: from a cut that leaves nothing to one that leaves nearly all.
        let kept_share = chance.below(5);
        let torn_share = chance.below(3);
        let mut cut = Cut::default();
        for write in std::mem::take(&mut self.writes) {
            cut.touched.push((write.pos, write.bytes.len()));
            if chance.below(4) < torn_share {
                cut.torn_count += 1;
                tear(&write, sector_bytes, &mut chance, &mut cut.kept);
            } else if chance.below(4) < kept_share {
                cut.whole_count += 1;
                cut.kept.push(write);
            } else {
                cut.lost_count += 1;
            }
        }
        cut
    }
}

/// Some sectors of a write, each for itself. Sectors lie where the disk's do, not where the write's do.
pub fn tear(write: &Write, sector_bytes: usize, chance: &mut Chance, kept: &mut Vec<Write>) {
    let sector = u64::try_from(sector_bytes).expect("64 bits");
    let mut pos = write.pos;
    let mut rest = write.bytes.as_slice();
    while !rest.is_empty() {
        let to_end = usize::try_from(sector - pos % sector).expect("a sector's rest");
        let (bytes, later) = rest.split_at(to_end.min(rest.len()));
        if chance.below(2) == 0 {
            kept.push(Write { pos, bytes: bytes.to_vec() });
        }
        pos += u64::try_from(bytes.len()).expect("64 bits");
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of `bytes`, after these writes.
    fn apply(bytes: usize, writes: &[Write]) -> Vec<u8> {
        let mut disk = vec![0; bytes];
        for write in writes {
            let at = usize::try_from(write.pos).unwrap();
            disk[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
        }
        disk
    }

    fn told() -> Cache {
        let mut cache = Cache::default();
        for index in 0..8_u8 {
            cache.write(u64::from(index) * 8192, &vec![index + 1; 8192]);
        }
        cache
    }

    #[test]
    fn what_was_flushed_survives_every_cut() {
        for seed in 0..200 {
            let mut cache = told();
            let promised = cache.flush();
            assert_eq!(promised.len(), 8);
            let cut = cache.cut(seed);
            assert_eq!(cut, Cut::default(), "seed {seed}: nothing is left to lose");
        }
    }

    #[test]
    fn a_cut_leaves_only_sectors_that_were_written() {
        for seed in 0..200 {
            let cut = told().cut(seed);
            let disk = apply(8 * 8192, &cut.kept);
            for (index, sector) in disk.chunks(512).enumerate() {
                let written = u8::try_from(index / 16 + 1).unwrap();
                let is_whole = sector.iter().all(|byte| *byte == written);
                assert!(is_whole || sector.iter().all(|byte| *byte == 0), "seed {seed}");
            }
            assert_eq!(cut.whole_count + cut.torn_count + cut.lost_count, 8);
            assert_eq!(cut.touched.len(), 8, "all of it is to be read anew");
        }
    }

    #[test]
    fn cuts_keep_all_and_nothing_and_tear_and_reorder() {
        let cuts: Vec<Cut> = (0..500).map(|seed| told().cut(seed)).collect();
        assert!(cuts.iter().any(|it| it.kept.is_empty()), "one leaves nothing");
        assert!(cuts.iter().any(|it| it.whole_count == 8), "one leaves all");
        let at_512 = |it: &Cut| it.kept.iter().any(|write| write.bytes.len() == 512);
        let at_4096 = |it: &Cut| it.kept.iter().any(|write| write.bytes.len() == 4096);
        assert!(cuts.iter().any(at_512) && cuts.iter().any(at_4096), "both sectors tear");
        let last_without_first = |it: &Cut| {
            let has = |pos| it.kept.iter().any(|write| write.pos / 8192 == pos);
            has(7) && !has(0)
        };
        assert!(cuts.iter().any(last_without_first), "a later write without an earlier one");
    }

    #[test]
    fn of_two_writes_to_a_place_the_older_may_survive_the_newer_and_never_cover_it() {
        let mut results = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut cache = Cache::default();
            cache.write(0, &[1; 512]);
            cache.write(0, &[2; 512]);
            let cut = cache.cut(seed);
            let both = cut.kept.len() == 2;
            let left = apply(512, &cut.kept)[0];
            assert!(!both || left == 2, "seed {seed}: the newer lies above");
            results.insert(left);
        }
        assert_eq!(results.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_write_is_torn_where_the_disks_sectors_end() {
        let write = Write { pos: 500, bytes: vec![9; 600] };
        for seed in 0..50 {
            let mut kept = Vec::new();
            tear(&write, 512, &mut Chance::new(seed), &mut kept);
            for part in &kept {
                let place = (part.pos, part.bytes.len());
                assert!([(500, 12), (512, 512), (1024, 76)].contains(&place), "{place:?}");
            }
        }
    }

    #[test]
    fn a_seed_cuts_the_same_way_each_time() {
        for seed in 0..50 {
            assert_eq!(told().cut(seed), told().cut(seed));
        }
    }
}
