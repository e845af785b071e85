//! What one core does with bytes that are in memory: copies of them, and checksums.

use std::hint::black_box;

use crate::clock::Moment;
use crate::report::{Report, float_of};

/// Larger than caches, in blocks of a network buffer.
const COLD_BYTES: usize = 256 << 20;
const BLOCK_BYTES: usize = 64 << 10;
const CHECKED_BYTES: usize = 16 << 10;
const CHECKED_COUNT: usize = 32 << 10;
const MEGA: f64 = 1_000_000.0;

const _: () = assert!(COLD_BYTES.is_multiple_of(BLOCK_BYTES));

/// On the core that the calling thread is bound to; about half a second.
pub(super) fn measure(report: &mut Report) {
    let source = vec![0x5a_u8; COLD_BYTES];
    let mut copy = vec![0xa5_u8; COLD_BYTES];
    let start = Moment::now();
    for (to, from) in copy.chunks_mut(BLOCK_BYTES).zip(source.chunks(BLOCK_BYTES)) {
        to.copy_from_slice(from);
    }
    black_box(&copy);
    let seconds = Moment::now().since(start).as_secs_f64();
    report.put("copy_mb_per_second", float_of(COLD_BYTES) / MEGA / seconds);

    let checked = &source[..CHECKED_BYTES];
    let start = Moment::now();
    for _ in 0..CHECKED_COUNT {
        black_box(crc32c::crc32c(black_box(checked)));
    }
    let seconds = Moment::now().since(start).as_secs_f64();
    let byte_count = float_of(CHECKED_BYTES) * float_of(CHECKED_COUNT);
    report.put("crc32c_mb_per_second", byte_count / MEGA / seconds);
}
