//! Finds one record of a batch by its time: what ListOffsets asks. In slices, as a batch may
//! decompress to much more than its bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;

use crate::batch::Batch;
use crate::id::{Offset, Timestamp};
use crate::records::{Advance, Clock, RecordHead, RecordStream, RecordsError};

/// Which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first, in the order of the log, whose time is at least this.
    AtLeast(Timestamp),
    /// The first of those with the latest time.
    Latest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    pub timestamp: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done(Option<Found>),
}

pub struct Lookup {
    stream: RecordStream,
    clock: Clock,
    base_offset: Offset,
    /// Records below are gone from the log, though the batch still has them.
    offset_min: Offset,
    wanted: Wanted,
    found: Option<Found>,
}

impl Lookup {
    /// `batch` begins with a stored batch; what follows it is not looked at. Records below
    /// `offset_min` are not found.
    pub fn begin(
        batch: &Bytes,
        wanted: Wanted,
        offset_min: Offset,
        decompressed_bytes_max: usize,
    ) -> Result<Self, RecordsError> {
        let view = Batch::parse(batch).map_err(|_bad_header| RecordsError::Malformed)?;
        let base_offset = Offset::checked(view.base_offset()).ok_or(RecordsError::Malformed)?;
        Ok(Self {
            stream: RecordStream::new(batch, &view, decompressed_bytes_max)?,
            clock: Clock::of(&view),
            base_offset,
            offset_min,
            wanted,
            found: None,
        })
    }

    /// Reads about as many bytes. After `Done` or an error it must not be called again.
    pub fn step(&mut self, budget_bytes: usize) -> Result<Progress, RecordsError> {
        let mut budget_bytes = budget_bytes.max(1);
        loop {
            match self.stream.skim(&mut budget_bytes)? {
                Advance::Record(head) => {
                    self.look_at(&head)?;
                    if let (Wanted::AtLeast(_), Some(found)) = (self.wanted, self.found) {
                        return Ok(Progress::Done(Some(found)));
                    }
                }
                Advance::More => return Ok(Progress::More),
                Advance::End => return Ok(Progress::Done(self.found)),
            }
        }
    }

    fn look_at(&mut self, head: &RecordHead) -> Result<(), RecordsError> {
        let timestamp = self.clock.of_record(head);
        let is_wanted = match self.wanted {
            Wanted::AtLeast(timestamp_min) => timestamp_min <= timestamp,
            Wanted::Latest => self.found.is_none_or(|it| it.timestamp < timestamp),
        };
        let offset = self.base_offset.get().checked_add(i64::from(head.offset_delta));
        let offset = offset.and_then(Offset::checked).ok_or(RecordsError::Malformed)?;
        if is_wanted && self.offset_min <= offset {
            self.found = Some(Found { offset, timestamp });
        }
        Ok(())
    }
}
