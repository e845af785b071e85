//! A bound on the memory of a broker, its page cache included: a control group that it is started in.
//!
//! Both versions of control groups. Invariant: the group is gone when this is dropped, if what ran in
//! it has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::id;

use crate::failure::Failure;

const MOUNT: &str = "/sys/fs/cgroup";

#[derive(Debug)]
pub(crate) struct Confinement {
    group: PathBuf,
    /// Where this process is when it is not inside.
    outside: PathBuf,
    limit_file: &'static str,
    usage_file: &'static str,
}

impl Confinement {
    pub(crate) fn of(bytes: u64) -> Result<Self, Failure> {
        let own = fs::read_to_string("/proc/self/cgroup")
            .map_err(|error| Failure::io("read /proc/self/cgroup", error))?;
        let confinement = Self::beside(&own, Path::new(MOUNT))?;
        let group = &confinement.group;
        fs::create_dir(group)
            .map_err(|error| Failure::io(format!("create {}", group.display()), error))?;
        write(&group.join(confinement.limit_file), &bytes.to_string())?;
        Ok(confinement)
    }

    /// Beside the group that this process is in, so that no process is in an inner node.
    fn beside(own: &str, mount: &Path) -> Result<Self, Failure> {
        let paths = own.lines().filter_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            Some((words.next()?, words.next()?.trim_start_matches('/')))
        });
        let paths: Vec<(&str, &str)> = paths.collect();
        let name = format!("perf-{}", id());
        let first = paths.iter().find(|(names, _)| names.split(',').any(|it| it == "memory"));
        if let Some((_, path)) = first {
            return Ok(Self {
                group: mount.join("memory").join(path).join(&name),
                outside: mount.join("memory").join(path),
                limit_file: "memory.limit_in_bytes",
                usage_file: "memory.max_usage_in_bytes",
            });
        }
        let second = paths.iter().find(|(names, _)| names.is_empty());
        let (_, path) = second.ok_or_else(|| Failure::new("this machine has no control groups"))?;
        let outside = mount.join(path);
        let parent = outside.parent().filter(|it| it.starts_with(mount)).unwrap_or(&outside);
        Ok(Self {
            group: parent.join(&name),
            outside: outside.clone(),
            limit_file: "memory.max",
            usage_file: "memory.peak",
        })
    }

    /// What the calling process starts from now on is inside.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        write(&self.group.join("cgroup.procs"), &id().to_string())
    }

    pub(crate) fn leave(&self) -> Result<(), Failure> {
        write(&self.outside.join("cgroup.procs"), &id().to_string())
    }

    /// The most that was used, if the kernel says it.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        fs::read_to_string(self.group.join(self.usage_file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Confinement {
    fn drop(&mut self) {
        if fs::remove_dir(&self.group).is_err() {
            // Something in it is still ending. An empty group costs nothing.
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io(format!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(own: &str) -> (PathBuf, &'static str) {
        let found = Confinement::beside(own, Path::new("/mount")).expect("a group");
        (found.group.parent().expect("below the mount").to_owned(), found.limit_file)
    }

    #[test]
    fn both_versions_have_a_place_for_it() {
        let first = "5:cpu,cpuacct:/a\n4:memory:/b\n0::/c\n";
        assert_eq!(group(first), (PathBuf::from("/mount/memory/b"), "memory.limit_in_bytes"));
        assert_eq!(group("4:memory:/\n"), ("/mount/memory/".into(), "memory.limit_in_bytes"));
        assert_eq!(group("0::/user/session\n"), (PathBuf::from("/mount/user"), "memory.max"));
        assert_eq!(group("0::/\n"), (PathBuf::from("/mount/"), "memory.max"));
        assert!(Confinement::beside("", Path::new("/mount")).is_err());
    }
}
