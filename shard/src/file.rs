//! Operations on files, as requests to the ring.
//!
//! Paths are relative to the data directory. A write that the kernel cut short is continued.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::buffer::{Block, DiskRange};
use crate::io::{Open, Sync};
use crate::limits::BLOCK_BYTES;
use crate::ring::Ring;
use crate::ring::request::{PARTS_MAX, Request, Vectors};

/// An open file. Closed, on the thread that has it, with the last clone.
#[derive(Clone, Debug)]
pub struct RingFile {
    file: Arc<File>,
}

impl RingFile {
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

pub(crate) async fn open(
    ring: &Ring,
    directory: &Arc<File>,
    path: &str,
    how: Open,
) -> io::Result<RingFile> {
    let flags = match how {
        Open::Read => libc::O_RDONLY,
        Open::ReadDirect => libc::O_RDONLY | libc::O_DIRECT,
        Open::Direct => libc::O_RDWR | libc::O_DIRECT,
        Open::CreateDirect => libc::O_RDWR | libc::O_DIRECT | libc::O_CREAT,
        Open::CreateBuffered => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
    };
    let file = open_flags(ring, directory, path, flags).await?;
    Ok(RingFile { file: Arc::new(file) })
}

async fn open_flags(
    ring: &Ring,
    directory: &Arc<File>,
    path: &str,
    flags: i32,
) -> io::Result<File> {
    let request = Request::Open {
        directory: Arc::clone(directory),
        path: name(path)?,
        flags: flags | libc::O_CLOEXEC,
        opened: None,
    };
    let (result, request) = ring.start(request).await;
    result?;
    let Request::Open { opened, .. } = request else { unreachable!("the request comes back") };
    Ok(File::from(opened.expect("a file that was opened")))
}

/// Fills `block`, but for the file's end.
pub(crate) async fn read(
    ring: &Ring,
    file: &RingFile,
    pos: u64,
    mut block: Block,
) -> (io::Result<usize>, Block) {
    let mut read = 0;
    while block.room() > 0 {
        let pos = pos + bytes_u64(read);
        let request = Request::Read { file: Arc::clone(&file.file), pos, block };
        let (result, request) = ring.start(request).await;
        let Request::Read { block: back, .. } = request else {
            unreachable!("the request comes back")
        };
        block = back;
        match result {
            Ok(count) => {
                block.on_read(count);
                read += count;
                // A file ends in the middle of a disk block, or where nothing more is read.
                if !count.is_multiple_of(BLOCK_BYTES) || count == 0 {
                    break;
                }
            }
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return (Err(error), block),
        }
    }
    (Ok(read), block)
}

pub(crate) async fn write(
    ring: &Ring,
    file: &RingFile,
    mut pos: u64,
    parts: Vec<DiskRange>,
    sync: Sync,
) -> io::Result<()> {
    let is_durable = sync == Sync::Durable;
    let mut rest = VecDeque::from(parts);
    while !rest.is_empty() {
        let parts: Vec<DiskRange> = rest.drain(..rest.len().min(PARTS_MAX)).collect();
        let vectors = Vectors::new();
        let request =
            Request::Write { file: Arc::clone(&file.file), pos, parts, vectors, is_durable };
        let (result, request) = ring.start(request).await;
        let Request::Write { parts, .. } = request else { unreachable!("the request comes back") };
        let written = match result {
            Err(error) if is_interrupted(&error) => 0,
            // What was cut in the middle of a disk block is written again from its start.
            Ok(count) if count < BLOCK_BYTES => return Err(io::ErrorKind::WriteZero.into()),
            other => other? / BLOCK_BYTES * BLOCK_BYTES,
        };
        pos += bytes_u64(written);
        put_back(&mut rest, parts, written);
    }
    Ok(())
}

/// Puts before `rest` what of `parts` lies behind the first `written` bytes.
fn put_back(rest: &mut VecDeque<DiskRange>, parts: Vec<DiskRange>, mut written: usize) {
    let mut left = Vec::new();
    for mut part in parts {
        let taken = written.min(part.len());
        written -= taken;
        if taken < part.len() {
            part.advance(taken);
            left.push(part);
        }
    }
    assert_eq!(written, 0, "no more was written than was asked for");
    for part in left.into_iter().rev() {
        rest.push_front(part);
    }
}

pub(crate) async fn write_bytes(
    ring: &Ring,
    file: &RingFile,
    mut pos: u64,
    mut bytes: Bytes,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let request =
            Request::WriteBytes { file: Arc::clone(&file.file), pos, bytes: bytes.clone() };
        let written = match ring.start(request).await.0 {
            Err(error) if is_interrupted(&error) => 0,
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            other => other?,
        };
        bytes.advance(written);
        pos += bytes_u64(written);
    }
    Ok(())
}

pub(crate) async fn allocate(ring: &Ring, file: &RingFile, pos: u64, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let file = Arc::clone(&file.file);
    done(ring.start(Request::Allocate { file, pos, bytes }).await.0)
}

pub(crate) async fn truncate(ring: &Ring, file: &RingFile, bytes: u64) -> io::Result<()> {
    if !ring.abilities().truncates {
        // Before Linux 6.9 only the blocking call exists.
        return file.file.set_len(bytes);
    }
    let file = Arc::clone(&file.file);
    done(ring.start(Request::Truncate { file, bytes }).await.0)
}

pub(crate) async fn sync(ring: &Ring, file: &RingFile) -> io::Result<()> {
    done(ring.start(Request::SyncData { file: Arc::clone(&file.file) }).await.0)
}

pub(crate) async fn rename(
    ring: &Ring,
    directory: &Arc<File>,
    from: &str,
    to: &str,
) -> io::Result<()> {
    let directory = Arc::clone(directory);
    let request = Request::Rename { directory, from: name(from)?, to: name(to)? };
    done(ring.start(request).await.0)
}

pub(crate) async fn unlink(ring: &Ring, directory: &Arc<File>, path: &str) -> io::Result<()> {
    remove(ring, directory, path, 0).await
}

pub(crate) async fn remove_dir(ring: &Ring, directory: &Arc<File>, path: &str) -> io::Result<()> {
    remove(ring, directory, path, libc::AT_REMOVEDIR).await
}

async fn remove(ring: &Ring, directory: &Arc<File>, path: &str, flags: i32) -> io::Result<()> {
    let directory = Arc::clone(directory);
    let request = Request::Unlink { directory, path: name(path)?, flags };
    done(ring.start(request).await.0)
}

pub(crate) async fn make_dir(ring: &Ring, directory: &Arc<File>, path: &str) -> io::Result<()> {
    let directory = Arc::clone(directory);
    let request = Request::MakeDir { directory, path: name(path)? };
    match ring.start(request).await.0 {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => done(other),
    }
}

pub(crate) async fn sync_dir(ring: &Ring, directory: &Arc<File>, path: &str) -> io::Result<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let path = if path.is_empty() { "." } else { path };
    let file = Arc::new(open_flags(ring, directory, path, flags).await?);
    done(ring.start(Request::SyncAll { file }).await.0)
}

/// Names in a directory, sorted. Blocks.
pub(crate) fn list(directory: &File, path: &str) -> io::Result<Vec<String>> {
    // The data directory may have been given relative to a directory that is not ours any more.
    let path = format!("/proc/self/fd/{}/{path}", directory.as_raw_fd());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        names.push(name.into_string().map_err(|_name| io::ErrorKind::InvalidData)?);
    }
    names.sort_unstable();
    Ok(names)
}

fn done(result: io::Result<usize>) -> io::Result<()> {
    result.map(|_| ())
}

fn name(path: &str) -> io::Result<CString> {
    CString::new(path).map_err(io::Error::from)
}

/// The kernel began again, or could not go on without blocking.
pub(crate) fn is_interrupted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("64 bits")
}
