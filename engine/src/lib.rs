//! The log: record batches, segments, index, journal format, producer state, recovery, retention,
//! compaction.
//!
//! Pure: bytes and times come in as arguments, plans come out.
//! Nothing here opens a socket or a file, reads a clock, or awaits.

pub mod admission;
pub mod batch;
pub mod bug;
pub mod checkpoint;
pub mod codec;
pub mod compaction;
pub mod epochs;
pub mod extent;
pub mod fields;
pub mod fullness;
pub mod id;
pub mod index;
pub mod journal;
pub mod log;
pub mod manifest;
pub mod producers;
pub mod recompression;
pub mod records;
pub mod recovery;
pub mod retention;
pub mod scrub;
pub mod segment;
pub mod sidecar;
pub mod superblock;
