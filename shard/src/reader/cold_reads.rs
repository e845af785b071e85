//! Reads of records that are not in memory, which make way for commits.
//!
//! The device serves what it is asked for in turn, more or less: a commit waits behind the reads that were
//! begun before it. Invariant: while a journal frame is on its way, no read begins beside another.

use std::cell::Cell;

use crate::io::Io;
use crate::shard::Shard;
use crate::signal::{self, Bell};

/// One per shard.
#[derive(Default)]
pub struct ColdReads {
    running: Cell<usize>,
    /// Rings with every one, also with one that failed.
    ended: Bell,
}

/// Over when it is dropped.
pub struct ColdRead<'a>(&'a ColdReads);

impl Drop for ColdRead<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.ended.ring();
    }
}

impl<I: Io> Shard<I> {
    /// Waits until a read may begin.
    pub async fn begin_cold_read(&self) -> ColdRead<'_> {
        let reads = &self.cold_reads;
        loop {
            let (ended, committed) = (reads.ended.next(), self.commit.next_committed());
            if reads.running.get() == 0 || !self.commit.is_writing() {
                break;
            }
            signal::either(ended, committed).await;
        }
        reads.running.set(reads.running.get() + 1);
        ColdRead(reads)
    }
}
