//! The superblock: which cluster and node a data directory belongs to, and which journal counts.
//!
//! It knows bytes, not files. Two slots are written in turn, so that a torn write leaves the other.
//! All integers are big endian.
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
    /// Neither slot is whole.
    Damaged,
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

    /// The whole file in, the later of its valid superblocks out.
    pub fn choose(file: &[u8]) -> Result<Self, SuperblockError> {
        let slots = Self::slots(file);
        if slots == [Err(SuperblockError::Blank); 2] {
            return Err(SuperblockError::Blank);
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
