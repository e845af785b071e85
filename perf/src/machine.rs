//! What this machine is, in words, for whoever reads results that were made on it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use crate::device::Device;
use crate::report::float;

/// Processor, cores, memory, kernel, file system and disk below `folder`.
pub(crate) fn words(folder: &Path) -> Vec<(String, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cores = available_parallelism().map_or_else(|_unknown| String::new(), |it| it.to_string());
    let disk = Device::below(folder).map_or_else(|| "unknown".to_owned(), |it| it.name());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words = [
        ("processor", value(&cpu, "model name").unwrap_or_default()),
        ("cores", cores),
        ("memory", value(&memory, "MemTotal").unwrap_or_default()),
        ("kernel", said("uname", &["-r"])),
        ("file system", mount(&mounts, folder).unwrap_or_default()),
        ("disk", disk),
        ("free space", free_space(folder)),
        ("load at the start", load.split(' ').next().unwrap_or_default().to_owned()),
    ];
    words.into_iter().map(|(name, value)| (name.to_owned(), known(value))).collect()
}

/// Of the repository; `-dirty` behind it if files differ.
pub(crate) fn commit(repository: &Path) -> String {
    let folder = repository.display().to_string();
    let words = ["-C", &folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    known(said("git", &words))
}

/// What the machine does not tell is said to be unknown.
fn known(value: String) -> String {
    if value.is_empty() { "unknown".to_owned() } else { value }
}

/// Type and options of the file system that a folder is on.
pub(crate) fn mount(mounts: &str, folder: &Path) -> Option<String> {
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?, words.next()?))
    });
    let around = lines.filter(|(point, _, _)| folder.starts_with(point));
    let (_, kind, options) = around.max_by_key(|(point, _, _)| point.len())?;
    Some(format!("{kind} ({options})"))
}

fn free_space(folder: &Path) -> String {
    let Ok(space) = rustix::fs::statvfs(folder) else { return String::new() };
    format!("{} GiB", (space.f_bavail * space.f_frsize) >> 30)
}

/// Of the file system that `folder` is on, in percent of it. `None` if it does not tell.
pub(crate) fn free_percent(folder: &Path) -> Option<f64> {
    let space = rustix::fs::statvfs(folder).ok()?;
    let percent = float(space.f_bavail) * 100.0 / float(space.f_blocks);
    percent.is_finite().then_some(percent)
}

fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The first line of a program's output; nothing if it failed.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_the_nearest_mount() {
        let mounts = "/dev/a / ext4 rw,discard 0 0\n/dev/b /data xfs rw 0 0\n";
        assert_eq!(mount(mounts, Path::new("/data/x")), Some("xfs (rw)".to_owned()));
        assert_eq!(mount(mounts, Path::new("/dat")), Some("ext4 (rw,discard)".to_owned()));
    }

    #[test]
    fn what_is_free_is_a_part_of_the_whole() {
        let percent = free_percent(Path::new(".")).expect("the sources are in a file system");
        assert!((0.0..=100.0).contains(&percent), "{percent}");
        assert_eq!(free_percent(Path::new("/proc")), None, "it has no blocks");
    }
}
