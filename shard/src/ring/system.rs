//! The few system calls of the ring's shard that no crate here wraps.
//!
//! Each function is one call and its error; none keeps state.
#![expect(unsafe_code, reason = "system calls; see the SAFETY comments")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use crate::io::Space;

/// Pages of a range of a file that are in the page cache, and how many the range has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    pub(crate) cached_count: u64,
    pub(crate) page_count: u64,
}

/// `cachestat(2)`, since Linux 6.5.
pub(crate) fn cachestat(file: &File, pos: u64, bytes: u64) -> io::Result<Cached> {
    const SYS_CACHESTAT: libc::c_long = 451;
    const PAGE_BYTES: u64 = 4096;
    let range = [pos, bytes];
    // The kernel's `struct cachestat`: cached, dirty, under writeback, evicted, recently evicted pages.
    let mut counts = [0_u64; 5];
    // SAFETY: both arrays have the layout of the kernel's structures, and live through the call.
    let result = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let page_count = (pos + bytes).div_ceil(PAGE_BYTES) - pos / PAGE_BYTES;
    Ok(Cached { cached_count: counts[0], page_count })
}

/// `sendfile(2)`: how many bytes the socket took.
pub(crate) fn sendfile(
    socket: impl AsFd,
    file: &File,
    pos: u64,
    bytes: usize,
) -> io::Result<usize> {
    let mut offset = i64::try_from(pos).map_err(|_past_end| io::ErrorKind::InvalidInput)?;
    let (socket, file) = (socket.as_fd().as_raw_fd(), file.as_raw_fd());
    // SAFETY: `offset` lives through the call; both descriptors are open.
    let sent = unsafe { libc::sendfile(socket, file, &raw mut offset, bytes) };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// `FIONREAD`: bytes that a socket has received and nobody has read.
pub(crate) fn unread_bytes(socket: impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `bytes` lives through the call, and is of the type that the request writes.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    u64::try_from(bytes).map_err(|_negative| io::ErrorKind::InvalidData.into())
}

/// `TCP_INFO`: bytes that the peer has confirmed, of all that were sent to it.
pub(crate) fn confirmed_bytes(socket: impl AsFd) -> io::Result<u64> {
    // The kernel's `struct tcp_info`, up to and with `tcpi_bytes_acked` at byte 120, since Linux 4.1.
    let mut info = [0_u64; 16];
    let mut bytes = libc::socklen_t::try_from(size_of_val(&info)).expect("it is short");
    // SAFETY: the kernel writes at most `bytes` to `info`, and how many to `bytes`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[15])
}

/// `malloc_trim(3)`: pages of the heap without anything in them go back to the kernel. Only glibc has it.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it touches free memory only, under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }
}

/// `mallopt(3)`: from how many bytes on an allocation has pages of its own, which go back when it is freed,
/// and how many free ones at its end a heap keeps. Left alone, glibc raises both to what was freed last, up to
/// 32 and 64 MiB a thread. Only glibc has it.
pub(crate) fn bound_heap(own_pages_bytes_min: i32, kept_bytes_max: i32) {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: two numbers of the allocator's are set, and it takes any.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, own_pages_bytes_min) };
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, kept_bytes_max) };
    }
    #[cfg(not(target_env = "gnu"))]
    drop((own_pages_bytes_min, kept_bytes_max));
}

/// A counter whose write ends a pending read: wakes a shard from any thread.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What this process may lock in memory, in bytes: now, and at most after it asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLock {
    pub(crate) soft_bytes: u64,
    pub(crate) hard_bytes: u64,
}

pub(crate) fn memory_lock() -> io::Result<MemoryLock> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives through the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(MemoryLock { soft_bytes: limit.rlim_cur, hard_bytes: limit.rlim_max })
}

pub(crate) fn set_memory_lock(limit: MemoryLock) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft_bytes, rlim_max: limit.hard_bytes };
    // SAFETY: `limit` lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kind of file system that holds `file`, as people know it, or its number.
pub(crate) fn file_system(file: &File) -> io::Result<String> {
    Ok(match statfs(file)?.f_type {
        libc::TMPFS_MAGIC => "tmpfs".to_owned(),
        libc::EXT4_SUPER_MAGIC => "ext4".to_owned(),
        libc::XFS_SUPER_MAGIC => "xfs".to_owned(),
        libc::BTRFS_SUPER_MAGIC => "btrfs".to_owned(),
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs".to_owned(),
        libc::NFS_SUPER_MAGIC => "nfs".to_owned(),
        other => format!("file system type {other:#x}"),
    })
}

/// What the file system that holds `file` has room for.
pub(crate) fn space(file: &File) -> io::Result<Space> {
    let stats = statfs(file)?;
    let block_bytes = u64::try_from(stats.f_bsize).map_err(|_odd| io::ErrorKind::InvalidData)?;
    Ok(Space {
        total_bytes: stats.f_blocks.saturating_mul(block_bytes),
        usable_bytes: stats.f_bavail.saturating_mul(block_bytes),
        total_files: stats.f_files,
        usable_files: if stats.f_files == 0 { u64::MAX } else { stats.f_ffree },
    })
}

fn statfs(file: &File) -> io::Result<libc::statfs> {
    let mut stats = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `stats` lives through the call.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), stats.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros are a value of it, and the kernel filled it.
    Ok(unsafe { stats.assume_init() })
}

/// Private pages of zeros, unmapped when dropped.
pub(super) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    pub(super) fn map(bytes: usize) -> io::Result<Self> {
        assert!(bytes > 0);
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a private anonymous mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// Where the byte at `offset` lies.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.bytes);
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; whoever used the memory borrowed or owned this value.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        assert_eq!(result, 0, "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_lock_can_be_set_to_what_it_is() {
        let limit = memory_lock().unwrap();
        set_memory_lock(limit).unwrap();
        assert_eq!(memory_lock().unwrap(), limit);
    }

    #[test]
    fn a_socket_tells_what_was_taken_of_it() {
        use std::io::{Read, Write};
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let before = confirmed_bytes(&one).unwrap();
        assert_eq!(unread_bytes(&other).unwrap(), 0);
        one.write_all(&[7; 1000]).unwrap();
        // The answer says that the bytes before it have come.
        other.read_exact(&mut [0; 600]).unwrap();
        assert_eq!(unread_bytes(&other).unwrap(), 400);
        other.write_all(b"x").unwrap();
        one.read_exact(&mut [0]).unwrap();
        assert_eq!(confirmed_bytes(&one).unwrap() - before, 1000);
    }

    #[test]
    fn a_file_just_written_is_cached() {
        let path = std::env::temp_dir().join(format!("odradek-cachestat-{}", std::process::id()));
        std::fs::write(&path, [1; 10_000]).unwrap();
        let file = std::fs::OpenOptions::new().read(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match cachestat(&file, 4000, 6000) {
            Ok(cached) => assert_eq!(cached, Cached { cached_count: 3, page_count: 3 }),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOSYS)),
        }
    }
}
