//! Reads stored bytes of a partition: from its tail, else from its segment files.
//!
//! Knows where batches begin and end, nothing of requests.
//! Nothing believed before an await is believed after it: positions stay right because the bytes of a file
//! never move. A compacted segment is another file, with another name; who still knows the old name reads
//! the old file, or is told that it has moved, and looks again.

pub mod ahead;
pub mod checked;
pub mod cold_reads;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::batch::{Batch, BatchError, HEADER_BYTES};
use engine::epochs::Epochs;
use engine::extent::{Extent, Trail};
use engine::id::{FilePos, Offset, PartitionId, Timestamp};
use engine::index::Index;
use engine::log::{Located, Point};
use engine::scrub::{Damage, Mark, Scrub, Stretch};
use engine::segment::{Segment, SegmentName};
use engine::sidecar::Sidecar;

use crate::buffer::Block;
use crate::files::{Use, segment_path, sidecar_path};
use crate::io::{Io, Open};
use crate::limits::{BLOCK_BYTES, READ_BYTES_MAX, SCAN_BYTES, SEND_SLICE_BYTES, SPARE_LOOK};
use crate::message::{FileRange, ReadError};
use crate::metrics::Metric;
use crate::partition::{Condition, Partition};
use crate::room::Shortage;
use crate::shard::Shard;
use crate::signal::Bell;

/// A stored batch, and how far its segment can be read.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub segment: SegmentName,
    pub pos: FilePos,
    pub extent: Extent,
    /// The end of what readers may see of this segment.
    pub end: FilePos,
    pub is_sealed: bool,
}

/// How a look into memory ended.
pub enum Look {
    Found(Found),
    /// It is not in memory.
    OnDisk(Located),
    /// Nothing is stored there, though the log goes on or may go on.
    Nothing,
}

/// The end of what readers may see of `segment`. `None`: it was deleted, or compacted.
fn readable_end<I: Io>(partition: &Partition<I>, segment: SegmentName) -> Option<FilePos> {
    let whole = partition.with_log(|log| log.segment_end(segment))?;
    Some(readable_part(partition.readable_end(), segment.base, whole.pos))
}

/// What lies before `end` of a segment that ends at `whole`.
fn readable_part(end: Point, segment: Offset, whole: FilePos) -> FilePos {
    match segment.cmp(&end.segment) {
        Ordering::Less => whole,
        Ordering::Equal => end.pos,
        Ordering::Greater => FilePos::ZERO,
    }
}

/// Finds the batch that holds `offset` if the tail holds it.
pub fn look<I: Io>(partition: &Partition<I>, offset: Offset) -> Look {
    if offset >= partition.readable_end().offset {
        return Look::Nothing;
    }
    let Some(located) = partition.with_log(|log| log.locate(offset)) else { return Look::Nothing };
    if located.segment.revision > 0 {
        return Look::OnDisk(located); // The tail has what was appended.
    }
    let Some(end) = readable_end(partition, located.segment) else { return Look::Nothing };
    let base = located.segment.base;
    let mut pos = located.scan_from;
    let mut header = [0; HEADER_BYTES];
    while pos < end {
        if !partition.tail_copy(base, pos, &mut header) {
            return Look::OnDisk(located);
        }
        let Ok(extent) = Extent::parse(&header) else { return Look::OnDisk(located) };
        if extent.end > offset {
            let (segment, is_sealed) = (located.segment, located.sealed);
            return Look::Found(Found { segment, pos, extent, end, is_sealed });
        }
        pos = pos.plus(len_u64(extent.len_bytes));
    }
    Look::Nothing
}

/// The segments whose indexes are being made whole.
#[derive(Default)]
pub struct Indexing {
    begun: RefCell<BTreeSet<(PartitionId, SegmentName)>>,
    /// Rings when one is over, well or not.
    ended: Bell,
}

impl Indexing {
    /// `None`: somebody is at it.
    fn begin(&self, partition: PartitionId, segment: SegmentName) -> Option<Turn<'_>> {
        let key = (partition, segment);
        let is_first = self.begun.borrow_mut().insert(key);
        is_first.then(|| Turn { indexing: self, key })
    }
}

/// Over when it is dropped.
struct Turn<'a> {
    indexing: &'a Indexing,
    key: (PartitionId, SegmentName),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.indexing.begun.borrow_mut().remove(&self.key);
        self.indexing.ended.ring();
    }
}

impl<I: Io> Shard<I> {
    /// Finds the batch that holds `offset`, wherever it is. `None` if nothing can be read there.
    pub async fn find(
        &self,
        partition: &Rc<Partition<I>>,
        offset: Offset,
    ) -> Result<Option<Found>, ReadError> {
        match look(partition, offset) {
            Look::Found(found) => Ok(Some(found)),
            Look::Nothing => Ok(None),
            Look::OnDisk(located) => {
                if let Some(found) = self.found_ahead(partition, located, offset) {
                    return Ok(Some(found));
                }
                self.index(partition, located).await?;
                let again = partition.with_log(|log| log.locate(offset)).unwrap_or(located);
                let want = |extent: &Extent| extent.end > offset;
                self.find_from(partition, again, want).await
            }
        }
    }

    /// What an earlier fetch saw of the batch that begins with `offset`, if it still lies there.
    fn found_ahead(
        &self,
        partition: &Partition<I>,
        Located { segment, sealed: is_sealed, .. }: Located,
        offset: Offset,
    ) -> Option<Found> {
        let found = self.ahead.borrow_mut().take(partition.id(), offset)?;
        let end = readable_end(partition, segment)?;
        let is_there =
            found.segment == segment && found.pos.plus(len_u64(found.extent.len_bytes)) <= end;
        is_there.then_some(Found { end, is_sealed, ..found })
    }

    /// The first batch from `located` on that `is_wanted`, in its segment.
    pub async fn find_from(
        &self,
        partition: &Rc<Partition<I>>,
        located: Located,
        is_wanted: impl Fn(&Extent) -> bool,
    ) -> Result<Option<Found>, ReadError> {
        let Located { segment, sealed: is_sealed, .. } = located;
        let source = self.source(partition, segment, is_sealed, located.scan_from);
        let end = readable_end(partition, segment).ok_or(ReadError::Moved)?;
        let mut trail = Trail::new(located.scan_from, located.base, end);
        while !trail.is_over() {
            let from = trail.pos();
            let until = FilePos::new(end.get().min(from.get() + len_u64(SCAN_BYTES)));
            let window = self.read(partition, segment, (from, until), source).await?;
            loop {
                let pos = trail.pos();
                let rest = window.get(usize_of(pos.since(from))..).unwrap_or_default();
                match trail.step(rest) {
                    Ok(extent) if is_wanted(&extent) => {
                        return Ok(Some(Found { segment, pos, extent, end, is_sealed }));
                    }
                    Ok(_) => {}
                    Err(BatchError::Truncated) if pos > from => break,
                    Err(error) => return Err(self.damaged(partition, segment, &trail, error)),
                }
            }
        }
        Ok(None)
    }

    /// How what lies at `pos` is to be read. The active segment never has pages: they would slow every write
    /// to it.
    pub fn source(
        &self,
        partition: &Partition<I>,
        segment: SegmentName,
        is_sealed: bool,
        pos: FilePos,
    ) -> Use {
        if !is_sealed {
            return Use::Direct;
        }
        self.checked.borrow_mut().source(partition.id(), segment, pos)
    }

    /// The bytes `[pos, end)` of a segment, or fewer, at most `READ_BYTES_MAX`.
    pub async fn read(
        &self,
        partition: &Rc<Partition<I>>,
        segment: SegmentName,
        (pos, end): (FilePos, FilePos),
        source: Use,
    ) -> Result<Bytes, ReadError> {
        self.read_into(partition, (segment, pos, end), source, None).await
    }

    /// As `read`; `block` holds the blocks of the file that the bytes lie in, if it is there.
    pub async fn read_into(
        &self,
        partition: &Rc<Partition<I>>,
        (segment, pos, end): (SegmentName, FilePos, FilePos),
        source: Use,
        block: Option<Block>,
    ) -> Result<Bytes, ReadError> {
        let skip = pos.get() % len_u64(BLOCK_BYTES);
        let limit = FilePos::new(pos.get() - skip + len_u64(READ_BYTES_MAX));
        let end = end.min(limit);
        if segment.revision == 0
            && let Some(parts) = partition.tail_bytes(segment.base, pos, end)
        {
            return Ok(join(parts));
        }
        // What is not in the file yet is in the tail, and is read from there next.
        let end = end.min(partition.file_end(segment));
        if end <= pos {
            return Err(gone(partition, segment));
        }
        let read = self.read_file(partition, (segment, pos, end), source, block).await;
        read.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return gone(partition, segment);
            }
            if Shortage::of(&error).is_some() {
                self.recorder.borrow_mut().add(Metric::Shortages, 1);
                return ReadError::Short;
            }
            self.recorder.borrow_mut().add(Metric::DiskErrors, 1);
            tracing::error!(
                partition = ?partition.id(), ?segment, pos = pos.get(), %error,
                "a segment cannot be read"
            );
            ReadError::Fenced
        })
    }

    /// A whole stored batch, checked.
    pub async fn read_batch(
        &self,
        partition: &Rc<Partition<I>>,
        found: &Found,
    ) -> Result<Bytes, ReadError> {
        let end = found.pos.plus(len_u64(found.extent.len_bytes));
        let source = self.source(partition, found.segment, found.is_sealed, found.pos);
        let mut bytes = Vec::new();
        let mut pos = found.pos;
        while pos < end {
            let part = self.read(partition, found.segment, (pos, end), source).await?;
            if bytes.is_empty() && part.len() == found.extent.len_bytes {
                return self.sound(partition, part, found);
            }
            pos = pos.plus(len_u64(part.len()));
            bytes.extend_from_slice(&part);
        }
        self.sound(partition, Bytes::from(bytes), found)
    }

    /// Sends a range from the page cache. What is not there any more is read and checked once more: if
    /// it is damaged, the connection ends before the answer is whole, so that no client uses it.
    pub async fn send_range(&self, socket: &I::Socket, range: &FileRange<I>) -> io::Result<()> {
        let FileRange { file, start, bytes, .. } = range;
        let sent = self.io.send_file(socket, file, start.pos.get(), *bytes).await?;
        if sent == *bytes {
            return Ok(());
        }
        range.loads.on_gone();
        let (unsent, end) = (start.pos.plus(sent), start.pos.plus(*bytes));
        let stretch =
            Stretch { start: *start, end: range.end, marks: Vec::new(), epochs: Epochs::new() };
        let mut scrub = Scrub::new(stretch);
        let mut pos = start.pos;
        while pos < end {
            let wanted = usize_of(end.since(pos).min(SEND_SLICE_BYTES));
            let block = self.wait_for_block(wanted).await;
            let (read, block) = self.io.read(file, pos.get(), block).await;
            if read? < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let window = block.bytes(0..wanted);
            scrub.feed(&window);
            if let Some(damage) = scrub.damages().first() {
                self.on_damage(range.partition, range.segment, damage);
                return Err(io::ErrorKind::InvalidData.into());
            }
            let window_end = pos.plus(len_u64(wanted));
            if unsent < window_end {
                let skip = usize_of(unsent.max(pos).since(pos));
                self.io.send(socket, vec![window.slice(skip..)]).await?;
            }
            pos = window_end;
        }
        Ok(())
    }

    /// Says once of each damage that it is there.
    pub fn on_damage(&self, partition: PartitionId, segment: SegmentName, damage: &Damage) {
        if !self.checked.borrow_mut().on_damage(partition, segment, damage.from) {
            return;
        }
        self.recorder.borrow_mut().add(Metric::DamagesFound, 1);
        let Damage { from, end, first, next, error } = *damage;
        tracing::error!(
            path = %segment_path(partition, segment), pos = from.get(), end = end.get(),
            first_offset = first.get(), next_offset = next.map(Offset::get), ?error,
            "stored records are damaged: reads of them are refused, all others go on"
        );
    }

    /// Why nothing is read where the trail stands.
    fn damaged(
        &self,
        partition: &Partition<I>,
        segment: SegmentName,
        trail: &Trail,
        error: BatchError,
    ) -> ReadError {
        let (from, first) = (trail.pos(), trail.next());
        let damage = Damage { from, end: trail.end(), first, next: None, error };
        self.on_damage(partition.id(), segment, &damage);
        ReadError::Damaged
    }

    fn sound(
        &self,
        partition: &Partition<I>,
        bytes: Bytes,
        found: &Found,
    ) -> Result<Bytes, ReadError> {
        let Extent { base: first, end: next, len_bytes, .. } = found.extent;
        let checked = Batch::parse(&bytes).and_then(|batch| batch.check_stored(first));
        if let Err(error) = checked {
            let end = found.pos.plus(len_u64(len_bytes));
            let damage = Damage { from: found.pos, end, first, next: Some(next), error };
            self.on_damage(partition.id(), found.segment, &damage);
            return Err(ReadError::Damaged);
        }
        Ok(bytes)
    }

    async fn read_file(
        &self,
        partition: &Rc<Partition<I>>,
        (segment, pos, end): (SegmentName, FilePos, FilePos),
        source: Use,
        block: Option<Block>,
    ) -> io::Result<Bytes> {
        let file = self.files.get_to_read(partition.id(), segment, source).await?;
        let skip = pos.get() % len_u64(BLOCK_BYTES);
        let wanted = skip + end.since(pos);
        let block = match block {
            Some(block) => block,
            None => self.wait_for_block(usize_of(wanted)).await,
        };
        let (read, block) = self.io.read(&file, pos.get() - skip, block).await;
        let filled = usize_of(wanted).min(read?);
        let skip = usize_of(skip);
        if filled <= skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(block.bytes(skip..filled))
    }

    /// Memory, as soon as there is some.
    pub async fn wait_for_block(&self, bytes: usize) -> Block {
        loop {
            if let Some(block) = self.block_or_trim(bytes) {
                return block;
            }
            self.next_freed().await;
        }
    }

    /// Likewise, if there is some within `wait`.
    pub async fn block_within(&self, bytes: usize, wait: Duration) -> Option<Block> {
        let until = self.io.now().plus(wait);
        loop {
            if let Some(block) = self.block_or_trim(bytes) {
                return Some(block);
            }
            if self.io.now() >= until {
                return None;
            }
            self.next_freed().await;
        }
    }

    /// Memory, if there is some, or enough recent records can be given up for it.
    fn block_or_trim(&self, bytes: usize) -> Option<Block> {
        loop {
            if let Some(block) = self.io.block(bytes) {
                return Some(block);
            }
            if self.trim(bytes) < bytes {
                return None;
            }
        }
    }

    /// Memory, when there is some without taking it from anybody. `None`: the broker stops.
    pub async fn wait_for_spare_block(&self, bytes: usize) -> Option<Block> {
        while !self.is_stopping() {
            if let Some(block) = self.io.block(bytes) {
                return Some(block);
            }
            self.pause(SPARE_LOOK).await;
        }
        None
    }

    /// Makes the index of a segment whole, on its first use after a restart. Who comes while somebody
    /// else is at it waits for that.
    async fn index(&self, partition: &Rc<Partition<I>>, located: Located) -> Result<(), ReadError> {
        let segment = located.segment;
        loop {
            let ended = self.indexing.ended.next();
            let index_missing = || partition.with_log(|log| log.index_missing(segment));
            let Some(missing) = index_missing() else { return Ok(()) };
            let Some(_turn) = self.indexing.begin(partition.id(), segment) else {
                ended.wait().await;
                continue;
            };
            let index = match self.load_index(partition, segment).await {
                Some(index) => index,
                None => self.rebuild_index(partition, located, missing).await?,
            };
            if index_missing().is_some_and(|missing| missing <= index.end()) {
                partition.change_log(|log| log.on_index_rebuilt(segment, index));
            }
        }
    }

    /// The index of a sealed segment from the file beside it. `None`: it must be rebuilt.
    async fn load_index(
        &self,
        partition: &Rc<Partition<I>>,
        segment: SegmentName,
    ) -> Option<Index> {
        let (end, is_sealed) = partition.with_log(|log| {
            let all = log.segments();
            let found = all.binary_search_by_key(&segment.base, Segment::base).ok()?;
            let found = all.get(found).filter(|it| it.name() == segment)?;
            Some(((found.end(), found.end_pos()), found.is_sealed()))
        })?;
        if !is_sealed {
            return None;
        }
        let path = sidecar_path(partition.id(), segment);
        let bytes = match self.read_small(&path).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%path, %error, "no index beside a sealed segment: rebuilding it");
                return None;
            }
        };
        match Sidecar::decode(&bytes) {
            Ok(it) if it.base == segment.base && (it.end, it.bytes) == end => {
                // It is not whole if a restart came while the segment grew.
                it.index.is_complete().then_some(it.index)
            }
            other => {
                let error = other.err();
                tracing::warn!(%path, ?error, "a damaged index beside a segment: rebuilding it");
                None
            }
        }
    }

    /// A whole file through the page cache.
    pub async fn read_small(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.io.open(path, Open::Read).await?;
        let file_bytes = usize_of(self.io.file_bytes(&file).await?);
        let mut bytes = Vec::new();
        while bytes.len() < file_bytes {
            let wanted = (file_bytes - bytes.len()).min(READ_BYTES_MAX);
            let block = self.wait_for_block(wanted).await;
            let (read, block) = self.io.read(&file, len_u64(bytes.len()), block).await;
            let read = read?.min(wanted);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&block.as_slice()[..read]);
        }
        Ok(bytes)
    }

    /// The index of a segment up to `missing`, from its headers. What is damaged is left out, and it is
    /// known where the way goes on.
    async fn rebuild_index(
        &self,
        partition: &Rc<Partition<I>>,
        located: Located,
        missing: FilePos,
    ) -> Result<Index, ReadError> {
        let segment = located.segment;
        let interval = u64::from(partition.config().segment.index_interval_bytes);
        let mut index = Index::new();
        let mut trail = Trail::new(FilePos::ZERO, segment.base, missing);
        let mut next_interval = interval;
        let mut doubted = None;
        while !trail.is_over() {
            let from = trail.pos();
            let until = missing.min(from.plus(len_u64(READ_BYTES_MAX)));
            let source = self.source(partition, segment, located.sealed, from);
            let window = self.read(partition, segment, (from, until), source).await?;
            let error = loop {
                let pos = trail.pos();
                let rest = window.get(usize_of(pos.since(from))..).unwrap_or_default();
                match trail.step(rest) {
                    Ok(extent) => {
                        let bytes = len_u64(extent.len_bytes);
                        index.on_batch(extent.base, bytes, extent.max_timestamp, next_interval);
                        next_interval = interval;
                    }
                    Err(BatchError::Truncated) if pos > from => break None,
                    Err(error) => break Some(error),
                }
            };
            let Some(error) = error else { continue };
            let pos = trail.pos();
            match self.way_around(partition, located, &trail).await? {
                Some(Mark { pos: behind, offset }) => {
                    let bytes = behind.since(pos);
                    index.on_batch(trail.next(), bytes, Timestamp::NONE, interval);
                    trail = Trail::new(behind, offset, missing);
                    next_interval = 0;
                }
                // Only the first look met it: the device gave something else than it holds.
                None if doubted != Some(pos) => doubted = Some(pos),
                None => return Err(self.damaged(partition, segment, &trail, error)),
            }
        }
        Ok(index)
    }

    /// The next sound batch behind the damage at which the trail stands, or the trail's end. `None`: a
    /// second look finds a sound batch where it stands.
    async fn way_around(
        &self,
        partition: &Rc<Partition<I>>,
        located: Located,
        trail: &Trail,
    ) -> Result<Option<Mark>, ReadError> {
        let (start, end) = (Mark { pos: trail.pos(), offset: trail.next() }, trail.end());
        let epochs = partition.with_log(|log| log.epochs().clone());
        let mut scrub = Scrub::new(Stretch { start, end, marks: Vec::new(), epochs });
        let is_sound = |scrub: &Scrub| start.pos < scrub.sound_end().pos;
        let is_passed = |scrub: &Scrub| scrub.damages().first().is_some_and(|it| it.next.is_some());
        while let Some(at) = scrub.wants().filter(|_| !is_passed(&scrub) && !is_sound(&scrub)) {
            let source = self.source(partition, located.segment, located.sealed, at);
            let part = self.read(partition, located.segment, (at, end), source).await?;
            scrub.feed(&part);
        }
        let Some(damage) = scrub.damages().first().filter(|_| !is_sound(&scrub)) else {
            return Ok(None);
        };
        self.on_damage(partition.id(), located.segment, damage);
        let next = damage.next.map(|offset| Mark { pos: damage.end, offset });
        Ok(Some(next.unwrap_or(Mark { pos: end, ..start })))
    }
}

/// Why what was to be read is not there any more.
pub fn gone<I: Io>(partition: &Partition<I>, segment: SegmentName) -> ReadError {
    let is_there = partition.with_log(|log| log.segment_end(segment).is_some());
    match partition.condition() {
        Condition::Open | Condition::Fenced if !is_there => ReadError::Moved,
        // Its topic was deleted, and its tail with it.
        Condition::Open | Condition::Fenced | Condition::Removed => ReadError::UnknownPartition,
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    Bytes::from(parts.concat())
}

fn len_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("reads are bounded far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::{FilePos, Offset, Point, readable_part};

    #[test]
    fn of_a_segment_that_is_not_durable_yet_nothing_can_be_read() {
        let pos = FilePos::new;
        let end = Point { offset: Offset::new(7), segment: Offset::new(5), pos: pos(300) };
        let check = |segment, whole, want| {
            assert_eq!(readable_part(end, Offset::new(segment), whole), want);
        };
        check(0, pos(900), pos(900));
        check(5, pos(600), pos(300));
        check(9, pos(200), pos(0));
    }
}
