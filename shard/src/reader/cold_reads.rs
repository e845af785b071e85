//! Reads of records that are not in memory, which make way for commits.
//!
//! Invariant: while a journal frame is on its way, no read begins beside `COLD_READS_BESIDE_COMMIT` others.

use crate::io::Io;
use crate::limits::COLD_READS_BESIDE_COMMIT;
use crate::shard::Shard;
use crate::signal;
use crate::way::Place;

impl<I: Io> Shard<I> {
    /// Waits until a read may begin: until one of the others has ended, or the frame is there.
    pub async fn begin_cold_read(&self) -> Place<'_> {
        loop {
            let (ended, committed) = (self.cold_reads.ended().next(), self.commit.next_committed());
            let count_max =
                if self.commit.is_writing() { COLD_READS_BESIDE_COMMIT } else { usize::MAX };
            if let Some(place) = self.cold_reads.try_enter(count_max) {
                return place;
            }
            signal::either(ended, committed).await;
        }
    }
}
