//! The log: record batches, segments, index, journal format, producer state, recovery.
//!
//! Pure: bytes and times come in as arguments, plans come out.
//! Nothing here opens a socket or a file, reads a clock, or awaits.

pub mod admission;
pub mod batch;
pub mod codec;
pub mod id;
pub mod records;
