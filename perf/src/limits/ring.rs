//! An io_uring set up as the broker's are, with one piece of registered memory.
//!
//! It belongs to one thread and measures nothing. Invariant: the kernel has no request of it when a
//! method returns.
#![expect(unsafe_code, reason = "what the kernel is pointed to; see the SAFETY comments")]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use rustix::fd::OwnedFd;
use rustix::io::ReadWriteFlags;

use crate::limits::aligned::Aligned;

/// Requests that are given at once, at most.
pub(super) const BATCH_MAX: usize = 32;
/// Of the only piece of memory, in the ring's table.
const MEMORY: u16 = 0;

pub(super) struct Ring {
    /// Dropped before the memory that it points to.
    uring: IoUring,
    memory: Aligned,
}

impl Ring {
    pub(super) fn new(memory: Aligned) -> io::Result<Self> {
        let entries = u32::try_from(BATCH_MAX).expect("a small number");
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(entries)?;
        let (start, byte_count) = (memory.bytes().as_ptr(), memory.bytes().len());
        let vector = libc::iovec { iov_base: start.cast_mut().cast(), iov_len: byte_count };
        // SAFETY: the memory is initialised, stays where it is, and lives longer than the ring.
        unsafe { uring.submitter().register_buffers(&[vector]) }?;
        Ok(Self { uring, memory })
    }

    /// Writes the memory to `at`, past the page cache if the file is open so; how many bytes it took,
    /// once they are on the device.
    pub(super) fn write_durably(&mut self, file: &OwnedFd, at: u64) -> io::Result<usize> {
        let bytes = self.memory.bytes();
        let byte_count = u32::try_from(bytes.len()).expect("a piece of memory is small");
        let flags = i32::try_from(ReadWriteFlags::DSYNC.bits()).expect("a low bit");
        let write =
            opcode::WriteFixed::new(Fd(file.as_raw_fd()), bytes.as_ptr(), byte_count, MEMORY);
        // SAFETY: memory and file live until the write has come back.
        let result = unsafe { self.go(&[write.offset(at).rw_flags(flags).build()]) }?;
        usize::try_from(result).map_err(|_negative| io::Error::from_raw_os_error(-result))
    }

    /// Gives the kernel so many requests that ask for nothing, and takes them back.
    pub(super) fn do_nothing(&mut self, batch: usize) -> io::Result<()> {
        let nothing =
            [const { None }; BATCH_MAX].map(|_: Option<Entry>| opcode::Nop::new().build());
        // SAFETY: they point to nothing.
        unsafe { self.go(&nothing[..batch]) }.map(drop)
    }

    /// The last request's result, once all have come back.
    ///
    /// # Safety
    /// What requests point to lives until this returns.
    unsafe fn go(&mut self, requests: &[Entry]) -> io::Result<i32> {
        // SAFETY: as this function's.
        let pushed = unsafe { self.uring.submission().push_multiple(requests) };
        pushed.expect("the queue is empty, and has room for as many as there may be");
        let (mut left, mut last) = (requests.len(), 0);
        while 0 < left {
            match self.uring.submit_and_wait(left) {
                Ok(_) => {}
                // Requests that were given are waited for all the same.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            for completion in self.uring.completion() {
                last = completion.result();
                left -= 1;
            }
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::pread;

    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_a_refusal_is_an_error() {
        let path = std::env::temp_dir().join(format!("perf-ring.{}", std::process::id()));
        let opened = |flags| open(&path, flags, Mode::RUSR | Mode::WUSR).expect("a file");
        let mut ring = Ring::new(Aligned::of(4_096)).expect("a ring");
        let file = opened(OFlags::CREATE | OFlags::RDWR);
        assert_eq!(ring.write_durably(&file, 4_096).expect("written"), 4_096);
        let mut written = [0; 8_192];
        assert_eq!(pread(&file, &mut written, 0).ok(), Some(8_192));
        assert_eq!((written[4_095], written[4_096], written[8_191]), (0, 0x5a, 0x5a));
        ring.do_nothing(BATCH_MAX).expect("nothing is done");
        let refused = ring.write_durably(&opened(OFlags::RDONLY), 0).expect_err("read only");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        fs::remove_file(&path).expect("it is ours");
    }
}
