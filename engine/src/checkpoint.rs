//! The checkpoint file of one shard: the manifests of all its partitions, and where replay starts.
//!
//! It knows bytes, not files. It is written to a temporary name and renamed when it is durable, so it
//! is there whole or not at all; the checksum is for damage. All integers are big endian.
//! It leaves out a partition only when its Removed entry is durable, as others of it may be replayed.
//!
//! ```text
//!  0  u64  magic "ODRADEKC"
//!  8  u16  version
//! 10  u16  zero
//! 12  u32  shard
//! 16  u64  generation number
//! 24  u64  journal sequence: frames before it are not needed
//! 32  u32  manifest count
//! 36       manifests, each after its u32 length
//!  -4 u32  CRC-32C of everything before
//! ```
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use bytes::BufMut;

use crate::fields::{Fields, Malformed};
use crate::manifest::Manifest;

const MAGIC: u64 = 0x4f44_5241_4445_4b43;
const VERSION: u16 = 2;
const COUNT_AT: usize = 32;
const MANIFESTS_AT: usize = 36;
const CRC_BYTES: usize = 4;

/// Whose checkpoint it is, and of when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHeader {
    pub shard: u32,
    pub generation: u64,
    /// The first journal frame that recovery must replay.
    pub sequence: u64,
}

/// Takes manifests as they come.
#[derive(Debug)]
pub struct CheckpointWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl CheckpointWriter {
    #[must_use]
    pub fn new(header: &CheckpointHeader) -> Self {
        let mut bytes = Vec::new();
        bytes.put_u64(MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_u16(0);
        bytes.put_u32(header.shard);
        bytes.put_u64(header.generation);
        bytes.put_u64(header.sequence);
        bytes.put_u32(0);
        assert!(bytes.len() == MANIFESTS_AT);
        Self { bytes, count: 0 }
    }

    /// # Panics
    /// If the manifest is larger than the format counts.
    pub fn push(&mut self, manifest: &[u8]) {
        let Ok(manifest_bytes) = u32::try_from(manifest.len()) else {
            panic!("a manifest is limited by its segments and producers");
        };
        self.bytes.put_u32(manifest_bytes);
        self.bytes.put_slice(manifest);
        self.count = self.count.saturating_add(1);
    }

    /// The whole file.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let (_, mut count) = self.bytes.split_at_mut(COUNT_AT);
        count.put_u32(self.count);
        let crc = crc32c::crc32c(&self.bytes);
        self.bytes.put_u32(crc);
        self.bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// Shorter than its header, not a checkpoint, or its checksum differs.
    Damaged,
    /// Written by a later version of the broker, which alone can read it.
    VersionTooNew { version: u16 },
    /// A manifest says what no manifest can.
    Manifest(Malformed),
}

impl From<Malformed> for CheckpointError {
    fn from(malformed: Malformed) -> Self {
        Self::Manifest(malformed)
    }
}

/// A file whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    header: CheckpointHeader,
    manifest_count: u32,
    manifests: &'a [u8],
}

impl<'a> Checkpoint<'a> {
    pub fn parse(file: &'a [u8]) -> Result<Self, CheckpointError> {
        let crc_at = file.len().checked_sub(CRC_BYTES).ok_or(CheckpointError::Damaged)?;
        let (covered, crc) = file.split_at_checked(crc_at).ok_or(CheckpointError::Damaged)?;
        if Fields::new(crc).u32() != Ok(crc32c::crc32c(covered)) {
            return Err(CheckpointError::Damaged);
        }
        let mut fields = Fields::new(covered);
        let version = parse_version(&mut fields).or(Err(CheckpointError::Damaged))?;
        if version > VERSION {
            return Err(CheckpointError::VersionTooNew { version });
        }
        Self::parse_rest(fields).or(Err(CheckpointError::Damaged))
    }

    #[must_use]
    pub const fn header(&self) -> CheckpointHeader {
        self.header
    }

    /// After an error there is nothing more.
    pub fn manifests(&self) -> impl Iterator<Item = Result<Manifest, CheckpointError>> + use<'a> {
        let mut fields = Fields::new(self.manifests);
        let mut left = self.manifest_count;
        std::iter::from_fn(move || {
            let Some(rest) = left.checked_sub(1) else {
                let trailing = fields.end();
                fields = Fields::new(&[]);
                return trailing.err().map(|it| Err(it.into()));
            };
            let manifest = fields.blob().and_then(Manifest::decode);
            if manifest.is_ok() {
                left = rest;
            } else {
                left = 0;
                fields = Fields::new(&[]);
            }
            Some(manifest.map_err(Into::into))
        })
    }

    fn parse_rest(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        fields.u16()?;
        let shard = fields.u32()?;
        let generation = fields.u64()?;
        let sequence = fields.u64()?;
        let manifest_count = fields.u32()?;
        let header = CheckpointHeader { shard, generation, sequence };
        Ok(Self { header, manifest_count, manifests: fields.rest() })
    }
}

fn parse_version(fields: &mut Fields<'_>) -> Result<u16, Malformed> {
    if fields.u64()? == MAGIC { fields.u16() } else { Err(Malformed::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, CheckpointError, CheckpointHeader, CheckpointWriter};
    use crate::fields::Malformed;
    use crate::id::{LeaderEpoch, PartitionId, PartitionIndex, Timestamp, TopicId};
    use crate::log::Log;
    use crate::manifest::Manifest;

    const HEADER: CheckpointHeader = CheckpointHeader { shard: 3, generation: 9, sequence: 77 };

    fn manifest(index: u32) -> Vec<u8> {
        let id = PartitionId { topic: TopicId::new([1; 16]), index: PartitionIndex::new(index) };
        let mut log = Log::new(id, Timestamp::new(5), LeaderEpoch::ZERO);
        log.begin_checkpoint().manifest().to_vec()
    }

    fn file(manifests: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = CheckpointWriter::new(&HEADER);
        for manifest in manifests {
            writer.push(manifest);
        }
        writer.finish()
    }

    #[test]
    fn a_checkpoint_gives_back_its_manifests() {
        let manifests = [manifest(0), manifest(1)];
        let file = file(&manifests);
        let checkpoint = Checkpoint::parse(&file).expect("whole");
        assert_eq!(checkpoint.header(), HEADER);
        let found: Result<Vec<Manifest>, _> = checkpoint.manifests().collect();
        let want: Result<Vec<Manifest>, _> =
            manifests.iter().map(|it| Manifest::decode(it)).collect();
        assert_eq!(found, want.map_err(CheckpointError::Manifest));
    }

    #[test]
    fn every_prefix_and_every_flipped_byte_is_damage() {
        let file = file(&[manifest(0)]);
        for end in 0..file.len() {
            let found = Checkpoint::parse(&file[..end]).map(|_| ());
            assert_eq!(found, Err(CheckpointError::Damaged));
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            assert!(Checkpoint::parse(&damaged).is_err());
        }
    }

    #[test]
    fn counts_are_not_trusted() {
        let mut writer = CheckpointWriter::new(&HEADER);
        writer.push(&manifest(0));
        writer.count = u32::MAX;
        let file = writer.finish();
        let found: Vec<_> = Checkpoint::parse(&file).expect("whole").manifests().collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Err(CheckpointError::Manifest(Malformed::Truncated)));
    }

    #[test]
    fn every_prefix_of_a_manifest_is_malformed() {
        let manifest = manifest(0);
        for end in 0..manifest.len() {
            assert!(Manifest::decode(&manifest[..end]).is_err());
        }
        let mut longer = manifest;
        longer.push(0);
        assert_eq!(Manifest::decode(&longer), Err(Malformed::Trailing));
    }
}
