//! The files of a shard's partitions: their names, and the few that are open.
//!
//! No path is ever made from what a client sent: topics are named by their id.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use engine::bug::Bug;
use engine::id::{Offset, PartitionId, TopicId};
use engine::segment::SegmentName;

use crate::io::{Io, Open};
use crate::room::{Shortage, StoreError};

#[must_use]
pub fn topic_dir(topic: TopicId) -> String {
    format!("topics/{topic}")
}

#[must_use]
pub fn partition_dir(partition: PartitionId) -> String {
    format!("topics/{}/{}", partition.topic, partition.index.get())
}

#[must_use]
pub fn segment_path(partition: PartitionId, segment: impl Into<SegmentName>) -> String {
    format!("{}/{}.log", partition_dir(partition), stem(segment.into()))
}

#[must_use]
pub fn sidecar_path(partition: PartitionId, segment: impl Into<SegmentName>) -> String {
    format!("{}/{}.idx", partition_dir(partition), stem(segment.into()))
}

fn stem(SegmentName { base, revision }: SegmentName) -> String {
    match revision {
        0 => format!("{:020}", base.get()),
        revision => format!("{:020}.{revision}", base.get()),
    }
}

/// Whose file, or sidecar, or half of one, has this name. `None`: it is not one of ours.
#[must_use]
pub fn segment_of(file_name: &str) -> Option<SegmentName> {
    let whole = file_name.strip_suffix(".part").unwrap_or(file_name);
    let found = whole.strip_suffix(".log").or_else(|| whole.strip_suffix(".idx"))?;
    let (base, revision) = found.split_once('.').unwrap_or((found, "0"));
    let base = Offset::checked(base.parse().ok()?)?;
    let name = SegmentName { base, revision: revision.parse().ok()? };
    (stem(name) == found).then_some(name)
}

/// What an open segment file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// The active segment: written, and read past the page cache.
    Direct,
    /// A sealed segment: read through the page cache.
    Sealed,
}

type Key = (PartitionId, SegmentName, Use);

struct OpenFile<F> {
    file: F,
    used_at: u64,
}

/// With a clock that counts uses.
type OpenFiles<F> = (u64, BTreeMap<Key, OpenFile<F>>);

/// At most `files_max` of the seam's open files, the least recently used closed first.
pub struct Files<I: Io> {
    io: I,
    /// Partitions whose directories were made durable by this run of the broker: that a name is there
    /// does not say that it is durable, if a run before was killed.
    settled: RefCell<BTreeSet<PartitionId>>,
    open: RefCell<OpenFiles<I::File>>,
}

impl<I: Io> Files<I> {
    pub fn new(io: I) -> Self {
        Self { io, settled: RefCell::default(), open: RefCell::new((0, BTreeMap::new())) }
    }

    /// The file, opened if need be. It must exist.
    pub async fn get(
        &self,
        partition: PartitionId,
        segment: impl Into<SegmentName>,
        use_: Use,
    ) -> io::Result<I::File> {
        let segment = segment.into();
        let key = (partition, segment, use_);
        if let Some(file) = self.find(key) {
            return Ok(file);
        }
        let how = match use_ {
            Use::Direct => Open::Direct,
            Use::Sealed => Open::Read,
        };
        let file = self.open(&segment_path(partition, segment), how).await?;
        self.keep(key, file.clone());
        Ok(file)
    }

    /// As `get`, for who only reads: what lies on a file system that takes no writes any more is read on.
    pub async fn get_to_read(
        &self,
        partition: PartitionId,
        segment: impl Into<SegmentName>,
        use_: Use,
    ) -> io::Result<I::File> {
        let segment = segment.into();
        match self.get(partition, segment, use_).await {
            // Not kept: who writes must hear of it from the file system.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                self.open(&segment_path(partition, segment), Open::ReadDirect).await
            }
            other => other,
        }
    }

    /// Closes what is kept open, if there is no descriptor left for one more.
    async fn open(&self, path: &str, how: Open) -> io::Result<I::File> {
        match self.io.open(path, how).await {
            Err(error) if Shortage::of(&error) == Some(Shortage::Descriptors) => {
                self.open.borrow_mut().1.clear();
                self.io.open(path, how).await
            }
            other => other,
        }
    }

    /// The file for writing, made with its directories if it is not there; names are then durable.
    pub async fn create(
        &self,
        partition: PartitionId,
        segment: Offset,
    ) -> Result<I::File, StoreError> {
        let key = (partition, segment.into(), Use::Direct);
        let dir = partition_dir(partition);
        let path = segment_path(partition, segment);
        let is_settled = self.settled.borrow().contains(&partition);
        if !is_settled {
            let topic_dir = topic_dir(partition.topic);
            self.io.make_dir(&topic_dir).await?;
            self.io.make_dir(&dir).await?;
            self.io.sync_dir("topics").await.map_err(StoreError::of_sync)?;
            self.io.sync_dir(&topic_dir).await.map_err(StoreError::of_sync)?;
            self.settled.borrow_mut().insert(partition);
        }
        let file = self.open(&path, Open::CreateDirect).await?;
        if !Bug::DirectorySyncSkipped.is_on() {
            self.io.sync_dir(&dir).await.map_err(StoreError::of_sync)?;
        }
        self.keep(key, file.clone());
        Ok(file)
    }

    /// Closes what is open of `segment`, so that it is opened anew.
    pub fn forget(&self, partition: PartitionId, segment: impl Into<SegmentName>) {
        let segment = segment.into();
        let open = &mut self.open.borrow_mut().1;
        for use_ in [Use::Direct, Use::Sealed] {
            open.remove(&(partition, segment, use_));
        }
    }

    fn find(&self, key: Key) -> Option<I::File> {
        let (clock, open) = &mut *self.open.borrow_mut();
        *clock += 1;
        let found = open.get_mut(&key)?;
        found.used_at = *clock;
        Some(found.file.clone())
    }

    fn keep(&self, key: Key, file: I::File) {
        let (clock, open) = &mut *self.open.borrow_mut();
        *clock += 1;
        open.insert(key, OpenFile { file, used_at: *clock });
        if open.len() > self.io.files_max() {
            let oldest = open.iter().min_by_key(|entry| entry.1.used_at).map(|entry| *entry.0);
            open.remove(&oldest.expect("there are some"));
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::id::Offset;
    use engine::segment::SegmentName;

    use super::{segment_of, stem};

    #[test]
    fn the_name_of_a_file_says_whose_it_is() {
        let name = SegmentName { base: Offset::new(77), revision: 3 };
        for suffix in ["log", "idx", "idx.part"] {
            assert_eq!(segment_of(&format!("{}.{suffix}", stem(name))), Some(name));
        }
        let appended = SegmentName::from(Offset::new(77));
        assert_eq!(segment_of("00000000000000000077.log"), Some(appended));
        for strange in ["77.log", "00000000000000000077.0.log", "00000000000000000077.03.log", "x"]
        {
            assert_eq!(segment_of(strange), None, "{strange}");
        }
    }
}
