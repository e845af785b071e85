//! A disk with a volatile cache, in two files: what readers see, and what a power cut leaves.
//!
//! A write is seen at once and durable with the next flush. A cut stops everything until the disk is
//! restored: then what was not flushed is there or not, as a seed has it, and readers see what is durable.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::cache::{Cache, Write, tear};
use crate::chance::Chance;
use crate::fault::Faults;

/// Operations that are remembered for whoever asks what happened.
const STORY_MAX: usize = 20_000;

pub struct Disk {
    seen: File,
    durable: File,
    bytes: u64,
    cache: Cache,
    is_cut: bool,
    story: VecDeque<String>,
    pub faults: Faults,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub reads: u64,
    pub writes: u64,
    pub flushes: u64,
}

impl Disk {
    /// An empty one.
    pub fn new(directory: &Path, bytes: u64) -> io::Result<Self> {
        let file = |name| {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(true);
            let file = file.open(directory.join(name))?;
            file.set_len(bytes)?;
            io::Result::Ok(file)
        };
        Ok(Self {
            seen: file("seen")?,
            durable: file("durable")?,
            bytes,
            cache: Cache::default(),
            is_cut: false,
            story: VecDeque::new(),
            faults: Faults::default(),
            counts: Counts::default(),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn read(&mut self, pos: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.check()?;
        self.counts.reads += 1;
        let left = usize::try_from(self.bytes.saturating_sub(pos)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; bytes.min(left)];
        self.seen.read_exact_at(&mut buffer, pos)?;
        Ok(buffer)
    }

    pub fn write(&mut self, pos: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.counts.writes += 1;
        self.tell(format!("write {pos} {}", bytes.len()));
        self.seen.write_all_at(bytes, pos)?;
        self.cache.write(pos, bytes);
        Ok(())
    }

    /// A write that is said to have failed: some of its sectors may be there.
    pub fn write_badly(&mut self, pos: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.counts.writes += 1;
        self.tell(format!("write {pos} {} FAILS", bytes.len()));
        let mut kept = Vec::new();
        let whole = Write { pos, bytes: bytes.to_vec() };
        tear(&whole, 512, &mut Chance::new(self.counts.writes), &mut kept);
        for part in kept {
            self.seen.write_all_at(&part.bytes, part.pos)?;
            self.cache.write(part.pos, &part.bytes);
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.counts.flushes += 1;
        self.tell(format!("flush of {}", self.cache.write_count()));
        for write in self.cache.flush() {
            self.durable.write_all_at(&write.bytes, write.pos)?;
        }
        Ok(())
    }

    /// Nothing works from now on.
    pub fn cut(&mut self) {
        self.tell(format!("cut with {} writes in the cache", self.cache.write_count()));
        self.is_cut = true;
    }

    /// The power comes back. In words, what the cut did.
    pub fn restore(&mut self, seed: u64) -> io::Result<String> {
        let cut = self.cache.cut(seed);
        for write in &cut.kept {
            self.durable.write_all_at(&write.bytes, write.pos)?;
        }
        for (pos, bytes) in cut.touched {
            let mut buffer = vec![0; bytes];
            self.durable.read_exact_at(&mut buffer, pos)?;
            self.seen.write_all_at(&buffer, pos)?;
        }
        self.is_cut = false;
        self.faults.heal();
        let words =
            format!("{} whole {} torn {} lost", cut.whole_count, cut.torn_count, cut.lost_count);
        self.tell(format!("restore {seed}: {words}"));
        Ok(words)
    }

    /// The last operations, the oldest first.
    pub fn story(&self) -> impl Iterator<Item = &String> {
        self.story.iter()
    }

    fn tell(&mut self, line: String) {
        if self.story.len() == STORY_MAX {
            self.story.pop_front();
        }
        self.story.push_back(line);
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk in a directory of its own, removed at the end.
    struct Bench {
        disk: Disk,
        directory: std::path::PathBuf,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let directory =
                std::env::temp_dir().join(format!("liar-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            Self { disk: Disk::new(&directory, 64 * 1024).unwrap(), directory }
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.directory).unwrap();
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_flushed_survives_a_cut() {
        for seed in 0..50 {
            let mut bench = Bench::new(&format!("flushed-{seed}"));
            let disk = &mut bench.disk;
            disk.write(4096, &[7; 4096]).unwrap();
            disk.flush().unwrap();
            disk.write(8192, &[8; 4096]).unwrap();
            assert_eq!(disk.read(8192, 4096).unwrap(), [8; 4096]);
            disk.cut();
            disk.restore(seed).unwrap();
            assert_eq!(disk.read(4096, 4096).unwrap(), [7; 4096], "seed {seed}");
        }
    }

    #[test]
    fn readers_see_after_a_cut_what_a_second_cut_leaves_too() {
        for seed in 0..50 {
            let mut bench = Bench::new(&format!("twice-{seed}"));
            let disk = &mut bench.disk;
            disk.write(0, &[1; 16384]).unwrap();
            disk.cut();
            disk.restore(seed).unwrap();
            let once = disk.read(0, 16384).unwrap();
            disk.cut();
            disk.restore(seed + 1).unwrap();
            assert_eq!(disk.read(0, 16384).unwrap(), once, "seed {seed}");
        }
    }

    #[test]
    fn nothing_works_between_a_cut_and_the_restore() {
        let mut bench = Bench::new("between");
        let disk = &mut bench.disk;
        disk.cut();
        assert!(disk.read(0, 512).is_err());
        assert!(disk.write(0, &[1; 512]).is_err());
        assert!(disk.flush().is_err());
        disk.restore(1).unwrap();
        assert_eq!(disk.read(0, 512).unwrap(), [0; 512]);
    }

    #[test]
    fn a_read_ends_where_the_disk_does() {
        let mut bench = Bench::new("end");
        assert_eq!(bench.disk.read(64 * 1024 - 512, 4096).unwrap().len(), 512);
        assert!(bench.disk.read(1 << 20, 4096).unwrap().is_empty());
    }
}
