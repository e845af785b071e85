//! Which kind of file system a directory lies on, from the kernel's table of mounts.
//!
//! Pure: the table comes in as text.

use std::path::Path;

/// Kinds whose files are gone after a restart of the machine.
const VOLATILE: [&str; 2] = ["tmpfs", "ramfs"];

/// The volatile kind that `directory` lies on, if it does. `table` is `/proc/self/mountinfo`, and
/// `directory` an absolute path.
pub(crate) fn volatile<'a>(table: &'a str, directory: &Path) -> Option<&'a str> {
    let mut deepest: Option<(usize, &str)> = None;
    for (point, kind) in table.lines().filter_map(mount) {
        let point = unescape(point);
        let depth = Path::new(&point).components().count();
        // Of two mounts on one point, the later one hides the earlier.
        if directory.starts_with(&point) && deepest.is_none_or(|(other, _)| other <= depth) {
            deepest = Some((depth, kind));
        }
    }
    deepest.map(|(_, kind)| kind).filter(|kind| VOLATILE.contains(kind))
}

/// Mount point and kind: `36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw`.
fn mount(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    Some((before.split(' ').nth(4)?, after.split(' ').next()?))
}

/// The table writes spaces, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::volatile;
    use std::path::Path;

    const TABLE: &str = "\
21 1 8:1 / / rw - ext4 /dev/vda rw
22 21 0:20 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw
23 22 8:2 / /tmp/disk rw - xfs /dev/vdb rw
24 21 0:30 / /with\\040space rw - tmpfs tmpfs rw
";

    #[track_caller]
    fn check(directory: &str, want: Option<&str>) {
        assert_eq!(volatile(TABLE, Path::new(directory)), want);
    }

    #[test]
    fn the_deepest_mount_decides() {
        check("/var/lib/odradek", None);
        check("/tmp/odradek-data", Some("tmpfs"));
        check("/tmp", Some("tmpfs"));
        check("/tmp/disk/data", None);
        check("/tmpfiles", None);
        check("/with space/data", Some("tmpfs"));
    }
}
