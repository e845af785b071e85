//! A disk in memory. What is in flight at a crash may be there in any part, torn at sectors.

use std::collections::BTreeMap;

use engine::id::Offset;

use crate::crash::dice::Dice;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum File {
    Superblock,
    /// By generation.
    Checkpoint(u64),
    Journal(usize),
    /// By partition and base offset.
    Segment(u32, Offset),
}

#[derive(Clone, Debug)]
struct Write {
    file: File,
    pos: usize,
    bytes: Vec<u8>,
}

/// A write that is in flight.
#[derive(Debug)]
pub(crate) struct WriteId(u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<File, Vec<u8>>,
    in_flight: BTreeMap<u64, Write>,
    next_id: u64,
}

impl Disk {
    /// A missing file is empty.
    pub(crate) fn read(&self, file: File) -> &[u8] {
        self.files.get(&file).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn journal_file_count(&self) -> usize {
        self.files.keys().filter(|it| matches!(it, File::Journal(_))).count()
    }

    pub(crate) fn begin_write(&mut self, file: File, pos: u64, bytes: Vec<u8>) -> WriteId {
        let pos = usize::try_from(pos).unwrap();
        self.next_id += 1;
        self.in_flight.insert(self.next_id, Write { file, pos, bytes });
        WriteId(self.next_id)
    }

    pub(crate) fn finish_write(&mut self, id: &WriteId) {
        let write = self.in_flight.remove(&id.0).unwrap();
        self.apply(write.file, write.pos, &write.bytes);
    }

    /// As a rename does: the file has these bytes, or what it had before.
    pub(crate) fn replace(&mut self, file: File, bytes: Vec<u8>) {
        self.files.insert(file, bytes);
    }

    /// Cuts or grows.
    pub(crate) fn set_bytes(&mut self, file: File, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap();
        if bytes > 0 || self.files.contains_key(&file) {
            self.files.entry(file).or_default().resize(bytes, 0);
        }
    }

    pub(crate) fn unlink(&mut self, file: File) {
        self.files.remove(&file);
    }

    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        for write in std::mem::take(&mut self.in_flight).into_values() {
            let how = dice.below(4);
            for (index, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
                let kept = match how {
                    0 => false,
                    1 => true,
                    2 => dice.below(8) > 0,
                    _ => dice.below(2) == 0,
                };
                if kept {
                    self.apply(write.file, write.pos + index * SECTOR_BYTES, sector);
                }
            }
        }
    }

    fn apply(&mut self, file: File, pos: usize, bytes: &[u8]) {
        let content = self.files.entry(file).or_default();
        let end = pos + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[pos..end].copy_from_slice(bytes);
    }
}
