//! The data directory of a broker that does not run, for reading.
//!
//! Paths are relative to it. It is locked while it is looked at, so that no broker starts in it.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shard::server::wait_for_lock;

use crate::failure::Failure;

/// One per command.
pub(crate) struct Directory {
    root: PathBuf,
    /// `None`: a copy of a data directory may be without.
    _lock: Option<File>,
}

impl Directory {
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        let shown = root.display();
        if !root.is_dir() {
            return Err(Failure::failed(format!("{shown} is not a directory")));
        }
        let lock = match open(&root.join("lock")) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::failed(format!("{shown}/lock: {error}"))),
            Ok(file) => match wait_for_lock(&file) {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::failed(format!(
                        "a broker uses {shown}: stop it first, or look at a copy"
                    )));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Failure::failed(format!("{shown}/lock: {error}")));
                }
            },
        };
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// `None`: there is no such file.
    pub(crate) fn file_bytes(&self, path: &str) -> io::Result<Option<u64>> {
        match std::fs::metadata(self.root.join(path)) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the file has of `bytes` bytes at `pos`.
    pub(crate) fn read(&self, path: &str, pos: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let file = open(&self.root.join(path))?;
        let there = file.metadata()?.len().saturating_sub(pos).min(bytes);
        let mut read = vec![0; usize::try_from(there).map_err(io::Error::other)?];
        file.read_exact_at(&mut read, pos)?;
        Ok(read)
    }

    /// `None`: there is no such file.
    pub(crate) fn read_whole(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match self.read(path, 0, u64::MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sorted; none if there is no such directory.
    pub(crate) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error),
        };
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Every file, by its path.
    pub(crate) fn files(&self) -> io::Result<Vec<String>> {
        let (mut files, mut left) = (Vec::new(), vec![String::new()]);
        while let Some(dir) = left.pop() {
            for name in self.names(&dir)? {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                if self.root.join(&path).is_dir() {
                    left.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).open(path)
}
