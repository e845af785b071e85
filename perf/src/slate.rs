//! A clean slate before each run: what the run before left in memory and on the disk must not be
//! found by the next one.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine;

/// What is done to the page cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Caches {
    Dropped,
    /// On a machine that others use.
    Kept,
}

/// Writes back what is dirty, tells the disk what is free, forgets what is cached; as far as this
/// process may. What was done, in words.
pub(crate) fn clean(folder: &Path, caches: Caches) -> String {
    rustix::fs::sync();
    let mut done = vec!["synced".to_owned(), trim(folder)];
    done.push(match caches {
        Caches::Kept => "page cache kept".to_owned(),
        Caches::Dropped => match fs::write("/proc/sys/vm/drop_caches", "3") {
            Ok(()) => "page cache dropped".to_owned(),
            Err(error) => format!("page cache kept ({error})"),
        },
    });
    done.join(", ")
}

fn trim(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = machine::mount(&mounts, folder).unwrap_or_default();
    if mount.split(['(', ',', ')']).any(|option| option == "discard") {
        return "trimmed as files are deleted".to_owned();
    }
    let point = folder.ancestors().find(|it| is_mount_point(&mounts, it));
    let status = point.map(|point| Command::new("fstrim").arg(point).output());
    match status {
        Some(Ok(output)) if output.status.success() => "trimmed".to_owned(),
        Some(Ok(_) | Err(_)) | None => "not trimmed".to_owned(),
    }
}

fn is_mount_point(mounts: &str, folder: &Path) -> bool {
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).any(|point| Path::new(point) == folder)
}
