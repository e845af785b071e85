//! One request to the kernel, and all that it points to.
//!
//! A request stays in its slot from submission to completion, so that what it owns outlives the kernel's
//! use of it. What the kernel is pointed to lies on the heap: a request may move.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;

use super::pool::Supply;
use super::slots::Key;
use crate::buffer::{Block, DiskRange, HomeId};
use crate::ring::inbox::{Arrivals, Inbox};

/// Vectors that one request may have (`IOV_MAX`).
pub(crate) const PARTS_MAX: usize = 1024;

pub(crate) enum Request {
    #[cfg(test)]
    Nop,
    Read {
        file: Arc<File>,
        pos: u64,
        block: Block,
    },
    Write {
        file: Arc<File>,
        pos: u64,
        parts: Vec<DiskRange>,
        vectors: Vectors,
        is_durable: bool,
    },
    WriteBytes {
        file: Arc<File>,
        pos: u64,
        bytes: Bytes,
    },
    /// Has the file, once it is done.
    Open {
        directory: Arc<File>,
        path: CString,
        flags: i32,
        opened: Option<OwnedFd>,
    },
    Rename {
        directory: Arc<File>,
        from: CString,
        to: CString,
    },
    Unlink {
        directory: Arc<File>,
        path: CString,
        flags: i32,
    },
    MakeDir {
        directory: Arc<File>,
        path: CString,
    },
    Allocate {
        file: Arc<File>,
        pos: u64,
        bytes: u64,
    },
    Truncate {
        file: Arc<File>,
        bytes: u64,
    },
    SyncData {
        file: Arc<File>,
    },
    SyncAll {
        file: Arc<File>,
    },
    SendOne {
        socket: Rc<OwnedFd>,
        bytes: Bytes,
    },
    Send {
        socket: Rc<OwnedFd>,
        parts: Vec<Bytes>,
        vectors: Vectors,
    },
    PollWritable {
        socket: Rc<OwnedFd>,
    },
    /// One connection: more wait in the kernel, and take no descriptor, until it is dealt with.
    Accept {
        listener: Rc<OwnedFd>,
        arrivals: Rc<Arrivals>,
    },
    /// Completes once for every buffer, or with one buffer: as the inbox said when it began.
    Receive {
        socket: Rc<OwnedFd>,
        inbox: Rc<Inbox>,
    },
    /// Completes when another thread wrote to the counter.
    WaitWake {
        counter: Arc<File>,
        value: Box<[u8; 8]>,
    },
    Cancel {
        key: Key,
    },
    CancelAll,
}

/// Memory that a request points to by a list, and the list.
pub(crate) struct Vectors {
    vectors: Vec<libc::iovec>,
    header: Box<libc::msghdr>,
}

impl Vectors {
    /// An empty list, to be filled by `entry`.
    pub(crate) fn new() -> Self {
        let header = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Self { vectors: Vec::new(), header: Box::new(header) }
    }

    fn fill(&mut self, parts: impl Iterator<Item = (*const u8, usize)>) {
        self.vectors.clear();
        self.vectors.extend(parts.map(|(start, bytes)| libc::iovec {
            iov_base: start.cast_mut().cast(),
            iov_len: bytes,
        }));
        assert!(self.vectors.len() <= PARTS_MAX);
    }

    fn count(&self) -> u32 {
        u32::try_from(self.vectors.len()).expect("at most PARTS_MAX")
    }

    fn message(&mut self) -> *const libc::msghdr {
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        &raw const *self.header
    }
}

impl Request {
    /// The submission queue entry. It points into what the request owns.
    pub(super) fn entry(&mut self, home: HomeId) -> Entry {
        match self {
            #[cfg(test)]
            Self::Nop => opcode::Nop::new().build(),
            Self::Read { file, pos, block } => read(file, *pos, block, home),
            Self::Write { file, pos, parts, vectors, is_durable } => {
                let flags = if *is_durable { libc::RWF_DSYNC } else { 0 };
                write(fd(&**file), *pos, (parts, vectors), flags, home)
            }
            Self::WriteBytes { file, pos, bytes } => {
                opcode::Write::new(fd(&**file), bytes.as_ptr(), bytes_u32(bytes.len()))
                    .offset(*pos)
                    .build()
            }
            Self::Open { directory, path, flags, .. } => {
                opcode::OpenAt::new(fd(&**directory), path.as_ptr())
                    .flags(*flags)
                    .mode(0o644)
                    .build()
            }
            Self::Rename { directory, from, to } => {
                let directory = fd(&**directory);
                opcode::RenameAt::new(directory, from.as_ptr(), directory, to.as_ptr()).build()
            }
            Self::Unlink { directory, path, flags } => {
                opcode::UnlinkAt::new(fd(&**directory), path.as_ptr()).flags(*flags).build()
            }
            Self::MakeDir { directory, path } => {
                opcode::MkDirAt::new(fd(&**directory), path.as_ptr()).mode(0o755).build()
            }
            Self::Allocate { file, pos, bytes } => {
                opcode::Fallocate::new(fd(&**file), *bytes).offset(*pos).build()
            }
            Self::Truncate { file, bytes } => opcode::Ftruncate::new(fd(&**file), *bytes).build(),
            Self::SyncData { file } => {
                opcode::Fsync::new(fd(&**file)).flags(io_uring::types::FsyncFlags::DATASYNC).build()
            }
            Self::SyncAll { file } => opcode::Fsync::new(fd(&**file)).build(),
            Self::WaitWake { counter, value } => {
                opcode::Read::new(fd(&**counter), value.as_mut_ptr(), 8).build()
            }
            Self::Cancel { key } => opcode::AsyncCancel::new(key.user_data()).build(),
            Self::CancelAll => {
                opcode::AsyncCancel2::new(io_uring::types::CancelBuilder::any().all()).build()
            }
            Self::SendOne { .. }
            | Self::Send { .. }
            | Self::PollWritable { .. }
            | Self::Accept { .. }
            | Self::Receive { .. } => self.socket_entry(),
        }
    }

    fn socket_entry(&mut self) -> Entry {
        match self {
            Self::SendOne { socket, bytes } => {
                opcode::Send::new(fd(&**socket), bytes.as_ptr(), bytes_u32(bytes.len()))
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Self::Send { socket, parts, vectors } => {
                vectors.fill(parts.iter().map(|it| (it.as_ptr(), it.len())));
                let flags = u32::try_from(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).expect("flags");
                opcode::SendMsg::new(fd(&**socket), vectors.message()).flags(flags).build()
            }
            Self::PollWritable { socket } => {
                let events = u32::try_from(libc::POLLOUT).expect("a small flag");
                opcode::PollAdd::new(fd(&**socket), events).build()
            }
            Self::Accept { listener, .. } => {
                opcode::Accept::new(fd(&**listener), ptr::null_mut(), ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                    .build()
            }
            Self::Receive { socket, inbox } => receive(fd(&**socket), inbox.supply()),
            _ => unreachable!("only called for sockets"),
        }
    }
}

fn receive(socket: Fd, supply: Supply) -> Entry {
    let group = supply.group();
    match supply {
        Supply::Ahead => opcode::RecvMulti::new(socket, group).build(),
        Supply::Asked => opcode::Recv::new(socket, ptr::null_mut(), 0)
            .buf_group(group)
            .build()
            .flags(Flags::BUFFER_SELECT),
    }
}

fn read(file: &File, pos: u64, block: &mut Block, home: HomeId) -> Entry {
    let (start, bytes) = (block.free_ptr(), bytes_u32(block.room()));
    match block.fixed_index(home) {
        Some(index) => opcode::ReadFixed::new(fd(file), start, bytes, index).offset(pos).build(),
        None => opcode::Read::new(fd(file), start, bytes).offset(pos).build(),
    }
}

fn write(
    file: Fd,
    pos: u64,
    (parts, vectors): (&[DiskRange], &mut Vectors),
    flags: i32,
    home: HomeId,
) -> Entry {
    if let [part] = parts {
        let (start, bytes) = (part.as_ptr(), bytes_u32(part.len()));
        return match part.fixed_index(home) {
            Some(index) => opcode::WriteFixed::new(file, start, bytes, index)
                .offset(pos)
                .rw_flags(flags)
                .build(),
            None => opcode::Write::new(file, start, bytes).offset(pos).rw_flags(flags).build(),
        };
    }
    vectors.fill(parts.iter().map(|it| (it.as_ptr(), it.len())));
    opcode::Writev::new(file, vectors.vectors.as_ptr(), vectors.count())
        .offset(pos)
        .rw_flags(flags)
        .build()
}

fn fd(of: &impl AsRawFd) -> Fd {
    let raw: RawFd = of.as_raw_fd();
    Fd(raw)
}

fn bytes_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("no request is that large")
}
