//! Reads of records that are not in memory, which make way for commits.
//!
//! Invariant: while a journal frame is on its way, no read begins beside another.

use crate::io::Io;
use crate::shard::Shard;
use crate::signal;
use crate::way::Place;

impl<I: Io> Shard<I> {
    /// Waits until a read may begin: until another one has ended, or the frame is there.
    pub async fn begin_cold_read(&self) -> Place<'_> {
        loop {
            let (ended, committed) = (self.cold_reads.ended().next(), self.commit.next_committed());
            let count_max = if self.commit.is_writing() { 1 } else { usize::MAX };
            if let Some(place) = self.cold_reads.try_enter(count_max) {
                return place;
            }
            signal::either(ended, committed).await;
        }
    }
}
