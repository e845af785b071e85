//! The disk as the one file of a FUSE file system, for a loop device to use.
//!
//! One thread serves the kernel. What is stalled waits on a thread of its own, so that others pass it, and
//! takes effect at the end of its wait.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    WriteFlags,
};

use crate::disk::Disk;
use crate::fault::{Operation, Verdict};

/// Its name in the mount point.
pub const FILE_NAME: &str = "disk";

const FILE: INodeNo = INodeNo(2);
/// Nothing about the file ever changes.
const STEADY: Duration = Duration::from_secs(1 << 20);

#[derive(Clone)]
pub struct SharedDisk {
    disk: Arc<Mutex<Disk>>,
}

impl SharedDisk {
    pub fn new(disk: Disk) -> Self {
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no holder panics: the process aborts")
    }

    /// Runs `work` as the faults have it: now, after a stall, or told that it is to fail.
    fn judge(&self, operation: Operation, work: impl FnOnce(&mut Disk, bool) + Send + 'static) {
        let verdict = self.lock().faults.next(operation);
        match verdict {
            Verdict::Go => work(&mut self.lock(), false),
            Verdict::Fail => work(&mut self.lock(), true),
            Verdict::Stall(time) => {
                let disk = self.clone();
                thread::spawn(move || {
                    thread::sleep(time);
                    work(&mut disk.lock(), false);
                });
            }
        }
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0),
            FILE => (FileType::RegularFile, self.lock().bytes()),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for SharedDisk {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE) {
            Some(attributes) if parent == INodeNo::ROOT && name == FILE_NAME => {
                reply.entry(&STEADY, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&STEADY, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Several requests may be under way, as with a disk, and no page cache is between.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        pos: u64,
        bytes: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.judge(Operation::Read, move |disk, is_bad| {
            match disk.read(pos, usize::try_from(bytes).expect("64 bits")) {
                Ok(bytes) if !is_bad => reply.data(&bytes),
                _ => reply.error(Errno::EIO),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        pos: u64,
        bytes: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let bytes = bytes.to_vec();
        self.judge(Operation::Write, move |disk, is_bad| {
            let done = if is_bad { disk.write_badly(pos, &bytes) } else { disk.write(pos, &bytes) };
            match done {
                Ok(()) if !is_bad => {
                    reply.written(u32::try_from(bytes.len()).expect("the kernel's own count"));
                }
                _ => reply.error(Errno::EIO),
            }
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.judge(Operation::Flush, move |disk, is_bad| {
            // A flush that failed promises nothing, and forgets nothing.
            if !is_bad && disk.flush().is_ok() {
                reply.ok();
            } else {
                reply.error(Errno::EIO);
            }
        });
    }
}
