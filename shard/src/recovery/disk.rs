//! What recovery reads and writes of files, in memory that its jobs share.
//!
//! It knows no log. A job holds one block at a time, so that whoever waits for one gets it: a small
//! memory makes recovery slow, not impossible.

use std::cell::Cell;
use std::io;

use engine::bug::Bug;

use crate::buffer::Block;
use crate::io::{Io, Open, Sync};
use crate::limits::{BLOCK_BYTES, READ_BYTES_MAX};
use crate::signal::Bell;

/// The disk as recovery sees it.
pub(super) struct Disk<'a, I: Io> {
    io: &'a I,
    held_count: Cell<usize>,
    /// Rings when a block was given back.
    freed: Bell,
}

/// An open file, and how many bytes it has.
#[derive(Clone)]
pub(super) struct Opened<F> {
    pub file: F,
    pub bytes: u64,
    /// What is read and written next lies mostly in the block that was read or written before.
    pub known: Option<Known>,
}

impl<F> Opened<F> {
    pub(super) const fn new(file: F, bytes: u64) -> Self {
        Self { file, bytes, known: None }
    }

    /// Keeps the first block of `window`, which was read at `from`, so that it is not read again. Only
    /// a job that is alone with its file may.
    pub(super) fn keep_first(&mut self, from: u64, window: &Window<'_>) {
        let bytes = window.first_block().to_vec();
        self.known = Some(Known { pos: from - bytes_u64(skip_of(from)), bytes });
    }
}

/// The front of one block of a file, as the file has it.
#[derive(Clone)]
pub(super) struct Known {
    pos: u64,
    bytes: Vec<u8>,
}

/// Bytes of a file as they were read.
pub(super) struct Window<'a> {
    skip: usize,
    end: usize,
    block: Block,
    /// Dropped after the block.
    _held: Held<'a>,
}

impl Window<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.block.as_slice()[self.skip..self.end]
    }

    /// That of the block in which it begins: with what lies before it there.
    fn first_block(&self) -> &[u8] {
        &self.block.as_slice()[..self.end.min(BLOCK_BYTES)]
    }
}

/// A block is in use.
struct Held<'a> {
    count: &'a Cell<usize>,
    freed: &'a Bell,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.freed.ring();
    }
}

impl<'a, I: Io> Disk<'a, I> {
    pub(super) fn new(io: &'a I) -> Self {
        Self { io, held_count: Cell::new(0), freed: Bell::default() }
    }

    pub(super) const fn io(&self) -> &'a I {
        self.io
    }

    /// `None` if there is no such file.
    pub(super) async fn open(&self, path: &str, how: Open) -> io::Result<Option<Opened<I::File>>> {
        match self.io.open(path, how).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                let bytes = self.io.file_bytes(&file).await?;
                Ok(Some(Opened::new(file, bytes)))
            }
        }
    }

    /// A whole small file, from the page cache if it is there. `None` if there is no such file.
    pub(super) async fn read_small(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(opened) = self.open(path, Open::Read).await? else { return Ok(None) };
        self.read(&opened, 0, usize_of(opened.bytes)).await.map(Some)
    }

    /// Bytes of a file, which must have them.
    pub(super) async fn read(
        &self,
        opened: &Opened<I::File>,
        from: u64,
        bytes: usize,
    ) -> io::Result<Vec<u8>> {
        let mut read = Vec::with_capacity(bytes);
        while read.len() < bytes {
            let pos = from + bytes_u64(read.len());
            let room = READ_BYTES_MAX - skip_of(pos);
            let window = self.window(opened, pos, room.min(bytes - read.len())).await?;
            read.extend_from_slice(window.bytes());
        }
        Ok(read)
    }

    /// As `read`, in the memory that it was read into: at most `READ_BYTES_MAX` with what lies before
    /// it in its first block.
    pub(super) async fn window(
        &self,
        opened: &Opened<I::File>,
        from: u64,
        bytes: usize,
    ) -> io::Result<Window<'_>> {
        let skip = skip_of(from);
        let end = skip + bytes;
        let (held, block) = self.block(end).await?;
        let (read, block) = self.io.read(&opened.file, from - bytes_u64(skip), block).await;
        if read? < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Window { skip, end, block, _held: held })
    }

    /// Writes `parts` one after the other at `pos`, whatever its alignment, keeping what else is in its first and last
    /// block: a batch that only the file has may stand right behind one that only the journal had.
    /// Neither synced nor cut: the file may end with a part of a block more.
    pub(super) async fn overwrite(
        &self,
        opened: &mut Opened<I::File>,
        pos: u64,
        parts: &[&[u8]],
    ) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|it| it.len()).sum();
        let (skip, end) = (skip_of(pos), pos + bytes_u64(bytes));
        let used = skip_of(end);
        let kept = if Bug::BlockOverwritten.is_on() { 0 } else { skip };
        let mut before = self.read_block(opened, pos - bytes_u64(skip), kept).await?;
        before.resize(skip, 0);
        let mut after = Vec::new();
        if used > 0 {
            after = self.read_block(opened, end - bytes_u64(used), BLOCK_BYTES).await?;
        }
        let after = after.get(used..).unwrap_or_default();
        let mut start = pos - bytes_u64(skip);
        let mut left = skip + bytes + after.len();
        let pieces = std::iter::once(&before[..]).chain(parts.iter().copied());
        let mut pieces = pieces.chain(std::iter::once(after));
        let mut piece: &[u8] = &[];
        opened.known = None;
        while left > 0 {
            let part_bytes = left.min(READ_BYTES_MAX);
            let (_held, mut block) = self.block(part_bytes).await?;
            while block.filled() < part_bytes {
                if piece.is_empty() {
                    piece = pieces.next().expect("they are as long as counted");
                }
                let (now, later) = piece.split_at(piece.len().min(part_bytes - block.filled()));
                block.append(now);
                piece = later;
            }
            let end = part_bytes.next_multiple_of(BLOCK_BYTES);
            let mut last = block.as_slice()[end - BLOCK_BYTES..].to_vec();
            last.resize(BLOCK_BYTES, 0);
            self.io.write(&opened.file, start, vec![block.disk(0..end)], Sync::Lazy).await?;
            let pos = start + bytes_u64(end - BLOCK_BYTES);
            opened.known = Some(Known { pos, bytes: last });
            start += bytes_u64(end);
            left -= part_bytes;
        }
        opened.bytes = opened.bytes.max(start);
        Ok(())
    }

    /// Whether the file has nothing but zeros from `pos` to the end of its block.
    pub(super) async fn is_zero_behind(
        &self,
        opened: &Opened<I::File>,
        pos: u64,
    ) -> io::Result<bool> {
        let skip = skip_of(pos);
        if skip == 0 {
            return Ok(true);
        }
        let block = self.read_block(opened, pos - bytes_u64(skip), BLOCK_BYTES).await?;
        Ok(block.iter().skip(skip).all(|it| *it == 0))
    }

    /// The first `bytes` of one block of a file, or what it has of them.
    async fn read_block(
        &self,
        opened: &Opened<I::File>,
        pos: u64,
        bytes: usize,
    ) -> io::Result<Vec<u8>> {
        let there = opened.bytes.saturating_sub(pos).min(bytes_u64(bytes));
        if there == 0 {
            return Ok(Vec::new());
        }
        if let Some(known) = opened.known.as_ref().filter(|it| it.pos == pos)
            && let Some(bytes) = known.bytes.get(..usize_of(there))
        {
            return Ok(bytes.to_vec());
        }
        let window = self.window(opened, pos, usize_of(there)).await?;
        Ok(window.bytes().to_vec())
    }

    async fn block(&self, bytes: usize) -> io::Result<(Held<'_>, Block)> {
        loop {
            let freed = self.freed.next();
            if let Some(block) = self.io.block(bytes) {
                self.held_count.set(self.held_count.get() + 1);
                return Ok((Held { count: &self.held_count, freed: &self.freed }, block));
            }
            if self.held_count.get() == 0 {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            freed.wait().await;
        }
    }
}

/// What lies before `pos` in its block.
fn skip_of(pos: u64) -> usize {
    usize_of(pos % bytes_u64(BLOCK_BYTES))
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize is at most 64 bits here")
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the target has 64 bits")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;
    use std::time::Duration;

    use super::Disk;
    use crate::io::{Class, Io, Open, Sync};
    use crate::parallel;
    use crate::sim::{Ended, SimIo, World};

    const MIB: usize = 1 << 20;

    fn run<T: 'static, F: Future<Output = T> + 'static>(
        arena_bytes: usize,
        task: impl FnOnce(SimIo) -> F,
    ) -> T {
        let mut world = World::new(1);
        assert_eq!(world.node(1, arena_bytes), 0);
        let (io, done) = (world.io(0, 0), Rc::new(RefCell::new(None)));
        let (task, result) = (task(io.clone()), Rc::clone(&done));
        io.spawn(Class::Foreground, async move {
            let value = task.await;
            *result.borrow_mut() = Some(value);
        });
        assert_eq!(world.run(Duration::from_secs(60), || done.borrow().is_some()), Ended::Done);
        done.take().expect("looked at above")
    }

    fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
        (0..bytes).map(|at| u8::try_from((at / 7 + seed) % 251).expect("small")).collect()
    }

    #[test]
    fn many_reads_share_a_small_memory() {
        run(2 * MIB, |io| async move {
            let disk = Disk::new(&io);
            let bytes = 3 * MIB / 2 + 123;
            let paths: Vec<String> = (0..12).map(|it| format!("f{it}")).collect();
            for (seed, path) in paths.iter().enumerate() {
                let file = io.open(path, Open::CreateDirect).await.unwrap();
                let mut opened = super::Opened::new(file, 0);
                disk.overwrite(&mut opened, 0, &[&pattern(bytes, seed)]).await.unwrap();
                io.truncate(&file, u64::try_from(bytes).unwrap()).await.unwrap();
            }
            let disk = &disk;
            let jobs = paths.iter().enumerate().map(|(seed, path)| async move {
                let opened = disk.open(path, Open::Direct).await?.expect("made above");
                assert!(disk.read(&opened, 0, bytes).await? == pattern(bytes, seed), "file {seed}");
                Ok::<_, io::Error>(())
            });
            parallel::try_all(jobs, 12).await.unwrap();
        });
    }

    #[test]
    fn no_memory_at_all_is_an_error() {
        run(0, |io| async move {
            io.open("f", Open::CreateDirect).await.unwrap();
            let opened = Disk::new(&io).open("f", Open::Direct).await.unwrap().expect("made");
            let mut opened = opened;
            let written = Disk::new(&io).overwrite(&mut opened, 0, &[b"x"]).await;
            assert_eq!(written.map_err(|it| it.kind()), Err(io::ErrorKind::OutOfMemory));
        });
    }

    #[test]
    fn what_is_written_keeps_its_neighbours() {
        run(4 * MIB, |io| async move {
            let disk = Disk::new(&io);
            let file = io.open("f", Open::CreateDirect).await.unwrap();
            let mut opened = super::Opened::new(file, 0);
            let mut want = pattern(3 * 4096, 1);
            disk.overwrite(&mut opened, 0, &[&want]).await.unwrap();
            let writes =
                [(100, [10, 20]), (4000, [200, 4096]), (8192, [4096, 500]), (12_788, [7, 300])];
            for (from, parts) in writes {
                let new = pattern(parts.iter().sum(), 9);
                let (one, other) = new.split_at(parts[0]);
                let pos = u64::try_from(from).unwrap();
                disk.overwrite(&mut opened, pos, &[one, other]).await.unwrap();
                let end = from + new.len();
                want.resize(want.len().max(end.next_multiple_of(4096)), 0);
                want[from..end].copy_from_slice(&new);
            }
            io.sync(&opened.file).await.unwrap();
            let bytes = usize::try_from(opened.bytes).unwrap();
            assert!(disk.read(&opened, 0, bytes).await.unwrap() == want);
            let window = disk.window(&opened, 5000, 3000).await.unwrap();
            assert!(window.bytes() == &want[5000..8000]);
            drop(window);
            assert!(disk.read(&opened, opened.bytes, 1).await.is_err());
        });
    }

    #[test]
    fn a_block_that_was_kept_is_what_the_file_has() {
        run(4 * MIB, |io| async move {
            let disk = Disk::new(&io);
            let file = io.open("f", Open::CreateDirect).await.unwrap();
            let mut opened = super::Opened::new(file, 0);
            let mut want = pattern(2 * 4096, 1);
            disk.overwrite(&mut opened, 0, &[&want]).await.unwrap();
            let mut opened = disk.open("f", Open::Direct).await.unwrap().expect("made above");
            let window = disk.window(&opened, 5000, 3192).await.unwrap();
            opened.keep_first(5000, &window);
            drop(window);
            // Before it, in it, and behind it, where nothing but zeros comes after.
            for (from, bytes) in [(4000, 50), (5000, 100), (8000, 300)] {
                disk.overwrite(&mut opened, from, &[&pattern(bytes, 9)]).await.unwrap();
                let end = usize::try_from(from).unwrap() + bytes;
                want.resize(want.len().max(end), 0);
                want[end - bytes..end].copy_from_slice(&pattern(bytes, 9));
            }
            assert!(disk.read(&opened, 0, 8300).await.unwrap() == want);
            assert!(disk.is_zero_behind(&opened, 8300).await.unwrap());
            assert!(!disk.is_zero_behind(&opened, 8200).await.unwrap());
            assert!(!disk.is_zero_behind(&opened, 5000).await.unwrap());
        });
    }

    #[test]
    fn a_file_with_fewer_bytes_than_it_had_is_an_error() {
        run(MIB, |io| async move {
            let file = io.open("f", Open::CreateDirect).await.unwrap();
            let mut block = io.block(4096).expect("there is some");
            block.append(&[1; 4096]);
            io.write(&file, 0, vec![block.disk(0..4096)], Sync::Lazy).await.unwrap();
            drop(block);
            let opened = super::Opened::new(file, 8192);
            let read = Disk::new(&io).read(&opened, 0, 8192).await;
            assert_eq!(read.map_err(|it| it.kind()), Err(io::ErrorKind::UnexpectedEof));
        });
    }
}
