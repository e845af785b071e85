//! The disk below a folder: how often it was flushed, and how often written.
//!
//! Its counters are of the whole disk: what others write counts too, so that they can show that a
//! claim is false, and never that it is true.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, stat};

/// Of /sys/block/DISK/stat.
const WRITES: usize = 4;
const FLUSHES: usize = 15;

#[derive(Clone, Debug)]
pub(crate) struct Device {
    folder: PathBuf,
    /// Whether a write can be durable by itself, without a flush.
    has_fua: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Counters {
    pub(crate) write_count: u64,
    pub(crate) flush_count: u64,
}

impl Device {
    /// `None` if the kernel does not say what is below, as for network and memory file systems.
    pub(crate) fn below(folder: &Path) -> Option<Self> {
        let number = stat(folder).ok()?.st_dev;
        let (major, minor) = (major(number), minor(number));
        let mut folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        // Flushes are counted for the whole disk.
        if folder.join("partition").exists() {
            folder = folder.parent()?.to_owned();
        }
        let fua = fs::read_to_string(folder.join("queue/fua")).unwrap_or_default();
        let device = Self { folder, has_fua: fua.trim() == "1" };
        device.counters().is_some().then_some(device)
    }

    pub(crate) fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn counters(&self) -> Option<Counters> {
        parse(&fs::read_to_string(self.folder.join("stat")).ok()?)
    }

    /// How often something may have become durable between two looks.
    pub(crate) const fn durable_count(&self, before: Counters, after: Counters) -> u64 {
        let flushes = after.flush_count.saturating_sub(before.flush_count);
        let writes = after.write_count.saturating_sub(before.write_count);
        if self.has_fua { flushes + writes } else { flushes }
    }
}

fn parse(stat: &str) -> Option<Counters> {
    let numbers: Vec<u64> = stat.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    Some(Counters { write_count: *numbers.get(WRITES)?, flush_count: *numbers.get(FLUSHES)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_the_sixteenth_number() {
        let stat = "  1 2 3 4 55 6 7 8 0 10 11 12 13 14 15 1666 17\n";
        assert_eq!(parse(stat), Some(Counters { write_count: 55, flush_count: 1_666 }));
        assert_eq!(parse("1 2 3 4 5 6 7 8 9 10 11"), None);
    }

    #[test]
    fn a_durable_write_counts_where_the_disk_has_them() {
        let (before, after) = (
            Counters { write_count: 10, flush_count: 5 },
            Counters { write_count: 17, flush_count: 7 },
        );
        let device = |has_fua| Device { folder: PathBuf::new(), has_fua };
        assert_eq!(device(false).durable_count(before, after), 2);
        assert_eq!(device(true).durable_count(before, after), 9);
    }
}
