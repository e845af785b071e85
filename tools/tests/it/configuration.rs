//! Configurations that `serve` must not start with.

use std::path::PathBuf;

use crate::run::{odradek, refuses};

/// A file of this test's own, removed when dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, text: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{name}-{}.properties", std::process::id()));
        std::fs::write(&path, text).expect("the folder for tests is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("it is there until now");
    }
}

#[test]
fn a_way_to_be_configured_is_needed() {
    refuses(&["serve"], 2, "--dev to try it out");
    refuses(&["serve", "--dev", "--config", "x"], 2, "cannot be used with");
    refuses(&["serve", "--set", "x"], 2, "expected key=value");
    refuses(&["serve", "--config", "/nonexistent/x"], 1, "cannot read /nonexistent/x");
}

#[test]
fn a_misspelt_key_is_refused_with_the_nearest_name_and_its_line() {
    let file = TemporaryFile::new("misspelt", "# a comment\nlog.dirz=/x\n");
    refuses(&["serve", "--config", file.path()], 2, "line 2: log.dirz");
    refuses(&["serve", "--config", file.path()], 2, "did you mean log.dir?");
    refuses(&["serve", "--dev", "--set", "num.partition=3"], 2, "did you mean num.partitions?");
}

#[test]
fn all_problems_are_named_at_once() {
    let file = TemporaryFile::new("several", "num.partitions=zero\nlisteners=nonsense\n");
    refuses(&["serve", "--config", file.path()], 2, "line 1: num.partitions");
    refuses(&["serve", "--config", file.path()], 2, "line 2: listeners");
}

#[test]
fn an_address_that_nobody_can_reach_is_not_advertised() {
    let advertised = "advertised.listeners=PLAINTEXT://0.0.0.0:9092";
    refuses(&["serve", "--dev", "--set", advertised], 2, "clients cannot connect to it");
}

#[test]
fn a_directory_in_memory_is_refused_outside_of_dev() {
    if !std::path::Path::new("/dev/shm").is_dir() {
        return;
    }
    let refused = |path: &str| {
        let setting = format!("log.dirs={path}");
        refuses(&["serve", "--set", &setting], 1, "nothing there survives a restart");
    };
    refused("/dev/shm/odradek");

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let link = folder.join(format!("memory-{}", std::process::id()));
    std::os::unix::fs::symlink("/dev/shm", &link).expect("the folder for tests is writable");
    refused(link.join("odradek").to_str().expect("UTF-8"));
    std::fs::remove_file(link).expect("it is there until now");
}

#[test]
fn a_file_is_checked_line_by_line() {
    let good = TemporaryFile::new("good", "num.partitions=3\nnum.io.threads=8\n");
    let ended = odradek(&["config", "check", good.path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("num.partitions  honoured"), "{ended:?}");
    assert!(ended.out.contains("num.io.threads  no effect"), "{ended:?}");

    let bad = TemporaryFile::new("bad", "num.partition=3\n");
    let ended = odradek(&["config", "check", bad.path(), "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("\"verdict\": \"refused\""), "{ended:?}");
    assert!(ended.error.contains("1 line is refused"), "{ended:?}");
    refuses(&["config", "check", "/nonexistent/x"], 1, "cannot read /nonexistent/x");
}
