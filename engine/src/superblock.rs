//! The superblock: which cluster and node a data directory belongs to, and which journal counts.
//!
//! It knows bytes, not files. Two slots are written in turn, so that a torn write leaves the other.
//! All integers are big endian.
//!
//! A slot that is not whole is a write that a power cut tore, which is legal, or damage, which may hide
//! what was stored since. The slots cannot tell the two apart; the journal can. A superblock is durable
//! before the first frame of its generation is written, and that frame goes to the first byte of its
//! shard's first journal file, where only frames of the same or of later generations follow it. So:
//!
//! - Torn: no journal begins with a frame of a later generation than the whole slot names. That one
//!   counts, and nothing of its generation is gone. If there is no whole slot, as the first write of
//!   all was torn, no journal has any frame, and this is a first start.
//! - Damaged: some journal begins with a later frame. Records of that generation may be acknowledged,
//!   and the older superblock would drop them, so there is no start.
//! - Not told apart: a slot that was damaged before its generation journaled anything. Nothing of that
//!   generation was acknowledged then, but the checkpoints that the older superblock wants may be
//!   removed, which stops the start. So it is of a slot that says "clean" and is damaged: the one before
//!   it, of the same generation, replays what the checkpoints hold anyway.
//!
//! ```text
//! slot (4096 bytes; the file is slot 0, slot 1; a superblock goes to slot `sequence % 2`)
//!    0  u64  magic "ODRADEKS"
//!    8  u16  version
//!   10  u8   1 if the broker was shut down and nothing needs recovery, else 0
//!   11  u8   zero
//!   12  i32  node id
//!   16  16B  cluster id
//!   32  u64  sequence
//!   40  u64  generation number
//!   48  u64  generation salt
//!   56  u32  shard count of that generation
//!   60       zeros
//! 4092  u32  CRC-32C of bytes 0..4092
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use bytes::BufMut;

use crate::fields::{Fields, Malformed};
use crate::journal::Generation;

pub const SLOT_BYTES: usize = 4096;
pub const SLOT_COUNT: u64 = 2;

const MAGIC: u64 = 0x4f44_5241_4445_4b53;
const VERSION: u16 = 1;
const CRC_AT: usize = SLOT_BYTES - 4;

/// How the generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The checkpoints hold everything: no journal, no scan.
    Clean,
    /// It runs, or it was killed.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub sequence: u64,
    pub cluster_id: [u8; 16],
    pub node_id: i32,
    pub generation: Generation,
    pub shard_count: u32,
    pub shutdown: Shutdown,
}

/// Why no superblock can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// Not a byte was ever written: a new data directory.
    Blank,
    /// Neither slot is whole, and not for one torn write.
    Damaged,
    /// Only the slot that is written first has bytes, and they are not whole: torn, if nothing was
    /// stored.
    FirstUnfinished,
    /// Written by a later version of the broker, which alone can read it.
    VersionTooNew { version: u16 },
}

impl Superblock {
    /// Where in the file this one belongs.
    #[must_use]
    pub fn slot_pos(&self) -> u64 {
        (self.sequence % SLOT_COUNT).saturating_mul(SLOT_BYTES.try_into().unwrap_or(u64::MAX))
    }

    pub fn encode(&self, slot: &mut [u8; SLOT_BYTES]) {
        slot.fill(0);
        let (mut fields, _) = slot.split_at_mut(CRC_AT);
        fields.put_u64(MAGIC);
        fields.put_u16(VERSION);
        fields.put_u8(u8::from(self.shutdown == Shutdown::Clean));
        fields.put_u8(0);
        fields.put_i32(self.node_id);
        fields.put_slice(&self.cluster_id);
        fields.put_u64(self.sequence);
        fields.put_u64(self.generation.number());
        fields.put_u64(self.generation.salt());
        fields.put_u32(self.shard_count);
        let (covered, _) = slot.split_at(CRC_AT);
        let sum = crc32c::crc32c(covered);
        let (_, mut crc_field) = slot.split_at_mut(CRC_AT);
        crc_field.put_u32(sum);
    }

    /// The slots of the whole file, in their order. One that the file does not have is blank.
    pub fn slots(file: &[u8]) -> [Result<Self, SuperblockError>; 2] {
        let (first, second) = file.split_at_checked(SLOT_BYTES).unwrap_or((file, &[]));
        [first, second].map(|slot| {
            if slot.iter().all(|it| *it == 0) {
                return Err(SuperblockError::Blank);
            }
            slot.first_chunk().map_or(Err(SuperblockError::Damaged), Self::decode)
        })
    }

    /// The whole file in, the later of its valid superblocks out. Whether it is the last one that was
    /// written, `is_last` tells.
    pub fn choose(file: &[u8]) -> Result<Self, SuperblockError> {
        let slots = Self::slots(file);
        match slots {
            [Err(SuperblockError::Blank), Err(SuperblockError::Blank)] => {
                return Err(SuperblockError::Blank);
            }
            [Err(SuperblockError::Blank), Err(SuperblockError::Damaged)] => {
                return Err(SuperblockError::FirstUnfinished);
            }
            _ => {}
        }
        let mut chosen = Err(SuperblockError::Damaged);
        for slot in slots {
            match slot {
                Err(SuperblockError::VersionTooNew { version }) => {
                    return Err(SuperblockError::VersionTooNew { version });
                }
                Err(_) => {}
                Ok(found) => {
                    if chosen.is_err() || chosen.is_ok_and(|it: Self| it.sequence < found.sequence)
                    {
                        chosen = Ok(found);
                    }
                }
            }
        }
        chosen
    }

    /// Whether nothing was stored under a later superblock. `journaled` are the generations of the frames
    /// that the shards' first journal files begin with.
    pub fn is_last(&self, mut journaled: impl Iterator<Item = Generation>) -> bool {
        journaled.all(|it| it.number() <= self.generation.number())
    }

    fn decode(slot: &[u8; SLOT_BYTES]) -> Result<Self, SuperblockError> {
        let (covered, crc) = slot.split_at_checked(CRC_AT).ok_or(SuperblockError::Damaged)?;
        if Fields::new(crc).u32() != Ok(crc32c::crc32c(covered)) {
            return Err(SuperblockError::Damaged);
        }
        let mut fields = Fields::new(covered);
        let read = |fields: &mut Fields<'_>| -> Result<_, Malformed> {
            Ok((fields.u64()?, fields.u16()?))
        };
        let (magic, version) = read(&mut fields).or(Err(SuperblockError::Damaged))?;
        if magic != MAGIC {
            return Err(SuperblockError::Damaged);
        }
        if version > VERSION {
            return Err(SuperblockError::VersionTooNew { version });
        }
        Self::decode_fields(&mut fields).or(Err(SuperblockError::Damaged))
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let shutdown = match fields.u8()? {
            0 => Shutdown::None,
            1 => Shutdown::Clean,
            _ => return Err(Malformed::OutOfRange),
        };
        fields.u8()?;
        let node_id = fields.i32()?;
        let cluster_id = fields.array()?;
        let sequence = fields.u64()?;
        let generation = Generation::new(fields.u64()?, fields.u64()?);
        let shard_count = fields.u32()?;
        Ok(Self { sequence, cluster_id, node_id, generation, shard_count, shutdown })
    }
}

#[cfg(test)]
mod tests {
    use super::{CRC_AT, SLOT_BYTES, Shutdown, Superblock, SuperblockError};
    use crate::journal::Generation;

    fn superblock(sequence: u64) -> Superblock {
        Superblock {
            sequence,
            cluster_id: [9; 16],
            node_id: -7,
            generation: Generation::new(sequence + 40, 77),
            shard_count: 16,
            shutdown: Shutdown::Clean,
        }
    }

    fn file(sequences: &[u64]) -> Vec<u8> {
        let mut file = vec![0; 2 * SLOT_BYTES];
        for sequence in sequences {
            let mut slot = [0; SLOT_BYTES];
            let block = superblock(*sequence);
            block.encode(&mut slot);
            let at = usize::try_from(block.slot_pos()).unwrap();
            file[at..at + SLOT_BYTES].copy_from_slice(&slot);
        }
        file
    }

    #[test]
    fn the_later_one_is_chosen() {
        assert_eq!(Superblock::choose(&file(&[0])), Ok(superblock(0)));
        assert_eq!(Superblock::choose(&file(&[0, 1])), Ok(superblock(1)));
        assert_eq!(Superblock::choose(&file(&[1, 2])), Ok(superblock(2)));
    }

    #[test]
    fn a_torn_write_leaves_the_other() {
        let mut file = file(&[3, 4]);
        file[100] ^= 1;
        assert_eq!(Superblock::choose(&file), Ok(superblock(3)));
        file[SLOT_BYTES + 100] ^= 1;
        assert_eq!(Superblock::choose(&file), Err(SuperblockError::Damaged));
    }

    /// What a power cut may leave of a write of 512-byte sectors: those of `kept` are written.
    fn tear(before: &[u8], after: &[u8], kept: u8) -> Vec<u8> {
        let mut torn = before.to_vec();
        torn.resize(before.len().max(SLOT_BYTES), 0);
        for (sector, (old, new)) in torn.chunks_mut(512).zip(after.chunks(512)).enumerate() {
            if kept & (1 << sector) != 0 {
                old.copy_from_slice(new);
            }
        }
        torn
    }

    #[test]
    fn any_torn_write_of_a_slot_leaves_the_one_before_or_the_one_after() {
        for sequence in 2..6 {
            let (before, after) = (file(&[sequence - 2, sequence - 1]), file(&[sequence]));
            let at = usize::try_from(superblock(sequence).slot_pos()).unwrap();
            for kept in 0..=u8::MAX {
                let mut torn = before.clone();
                let slot = tear(&before[at..at + SLOT_BYTES], &after[at..at + SLOT_BYTES], kept);
                torn[at..at + SLOT_BYTES].copy_from_slice(&slot);
                let is_whole = kept & 0b1000_0001 == 0b1000_0001;
                let want = if is_whole { sequence } else { sequence - 1 };
                assert_eq!(Superblock::choose(&torn), Ok(superblock(want)), "{kept:08b}");
            }
        }
    }

    #[test]
    fn any_torn_write_of_the_first_slot_looks_unfinished_or_blank() {
        let after = file(&[1])[SLOT_BYTES..].to_vec();
        for kept in 0..=u8::MAX {
            let torn = [vec![0; SLOT_BYTES], tear(&[], &after, kept)].concat();
            let want = match kept & 0b1000_0001 {
                0b1000_0001 => Ok(superblock(1)),
                0 => Err(SuperblockError::Blank),
                _ => Err(SuperblockError::FirstUnfinished),
            };
            assert_eq!(Superblock::choose(&torn), want, "{kept:08b}");
            // The file may also have got only a part of its bytes.
            for sectors in 0..8 {
                let cut = &torn[..SLOT_BYTES + sectors * 512];
                let is_blank = cut.iter().all(|it| *it == 0);
                let unfinished = SuperblockError::FirstUnfinished;
                let want = if is_blank { SuperblockError::Blank } else { unfinished };
                assert_eq!(Superblock::choose(cut), Err(want), "{kept:08b} {sectors}");
            }
        }
    }

    #[test]
    fn a_later_slot_that_is_not_whole_beside_a_blank_one_is_damage() {
        let mut file = file(&[2]);
        file[100] ^= 1;
        assert_eq!(Superblock::choose(&file), Err(SuperblockError::Damaged));
    }

    #[test]
    fn a_superblock_is_not_the_last_one_if_a_later_generation_was_journaled() {
        let chosen = superblock(1);
        let number = chosen.generation.number();
        let is_last = |numbers: &[u64]| {
            chosen.is_last(numbers.iter().map(|number| Generation::new(*number, 5)))
        };
        assert!(is_last(&[]));
        assert!(is_last(&[number, 1]));
        assert!(!is_last(&[number - 1, number + 1]));
    }

    #[test]
    fn a_file_cut_short_is_damaged_and_an_unwritten_one_blank() {
        assert_eq!(Superblock::choose(&[]), Err(SuperblockError::Blank));
        assert_eq!(Superblock::choose(&[0; 2 * SLOT_BYTES]), Err(SuperblockError::Blank));
        let whole = file(&[0]);
        assert_eq!(Superblock::choose(&whole[..SLOT_BYTES - 1]), Err(SuperblockError::Damaged));
        assert_eq!(Superblock::choose(&whole[..SLOT_BYTES]), Ok(superblock(0)));
    }

    #[test]
    fn a_later_version_is_refused_though_the_other_slot_is_ours() {
        let mut file = file(&[0, 1]);
        file[9] = 2;
        let crc = crc32c::crc32c(&file[..CRC_AT]);
        file[CRC_AT..SLOT_BYTES].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Superblock::choose(&file), Err(SuperblockError::VersionTooNew { version: 2 }));
    }
}
