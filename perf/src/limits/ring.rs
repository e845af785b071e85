//! An io_uring set up as the broker's are, with one piece of registered memory.
//!
//! It belongs to one thread and measures nothing. Invariant: the kernel has no request of it when a
//! method returns.
#![expect(unsafe_code, reason = "what the kernel is pointed to; see the SAFETY comments")]

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::{io, iter, process};

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
/// The kernel's flag of a call that waits for completions.
const GET_EVENTS: u32 = 1;

pub(super) struct Ring {
    /// Dropped before the memory that it points to.
    uring: IoUring,
    memory: Aligned,
    /// The kernel did not take what it was given: there may be something in the queue that nobody waits for.
    is_spent: bool,
}

/// How many requests are under way at once, and for how many results a call waits.
#[derive(Clone, Copy)]
struct Few {
    at_once: usize,
    awaited: usize,
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
        Ok(Self { uring, memory, is_spent: false })
    }

    /// Writes the memory to `at`, past the page cache if the file is open so; how many bytes it took,
    /// once they are on the device.
    pub(super) fn write_durably(&mut self, file: &OwnedFd, at: u64) -> io::Result<usize> {
        self.stream_durably(file, 1, iter::once(at))
    }

    /// Writes the memory to each of these places of the file, so many under way at a time, each durable by
    /// itself; how many bytes all of them took, once they are on the device. If one is refused, none is begun
    /// after it.
    pub(super) fn stream_durably(
        &mut self,
        file: &OwnedFd,
        depth: usize,
        places: impl Iterator<Item = u64>,
    ) -> io::Result<usize> {
        let (start, byte_count) = (self.memory.bytes().as_ptr(), self.memory.bytes().len());
        let byte_count = u32::try_from(byte_count).expect("a piece of memory is small");
        let flags = i32::try_from(ReadWriteFlags::DSYNC.bits()).expect("a low bit");
        let fd = Fd(file.as_raw_fd());
        let refused = Cell::new(None);
        let write = |at| {
            let write = opcode::WriteFixed::new(fd, start, byte_count, MEMORY);
            write.offset(at).rw_flags(flags).build()
        };
        let writes = places.take_while(|_| refused.get().is_none()).map(write);
        let mut taken = 0;
        let on_result = |result: i32| match usize::try_from(result) {
            Ok(byte_count) => taken += byte_count,
            Err(_negative) => refused.set(Some(-result)),
        };
        // SAFETY: memory and file live until all writes have come back.
        unsafe { self.go(Few { at_once: depth, awaited: 1 }, writes, on_result) }?;
        refused.get().map_or(Ok(taken), |code| Err(io::Error::from_raw_os_error(code)))
    }

    /// Gives the kernel so many requests that ask for nothing, and takes them back.
    pub(super) fn do_nothing(&mut self, batch: usize) -> io::Result<()> {
        let nothing = iter::repeat_with(|| opcode::Nop::new().build()).take(batch);
        // SAFETY: they point to nothing.
        unsafe { self.go(Few { at_once: batch, awaited: batch }, nothing, |_| {}) }
    }

    /// Gives requests and tells each one's result, until all have come back.
    ///
    /// # Safety
    /// What requests point to lives until this returns.
    unsafe fn go(
        &mut self,
        Few { at_once, awaited }: Few,
        requests: impl Iterator<Item = Entry>,
        mut on_result: impl FnMut(i32),
    ) -> io::Result<()> {
        assert!(0 < at_once && at_once <= BATCH_MAX && !self.is_spent);
        let mut requests = requests.fuse();
        let mut left = 0;
        loop {
            while left < at_once
                && let Some(request) = requests.next()
            {
                // SAFETY: as this function's.
                let pushed = unsafe { self.uring.submission().push(&request) };
                pushed.expect("the queue has room for as many as there may be");
                left += 1;
            }
            if left == 0 {
                return Ok(());
            }
            let waited = self.uring.submit_and_wait(awaited.min(left));
            for completion in self.uring.completion() {
                on_result(completion.result());
                left -= 1;
            }
            match waited {
                Ok(_) => {}
                // Requests that were given are waited for all the same.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.give_up(left);
                    return Err(error);
                }
            }
        }
    }

    /// Takes back what the kernel has of the requests that are left. The others are never given, and nothing
    /// is after them.
    fn give_up(&mut self, left: usize) {
        self.is_spent = true;
        let mut given = left - self.uring.submission().len();
        while 0 < given {
            // SAFETY: it has no argument that the kernel would read.
            let waited = unsafe { self.uring.submitter().enter::<()>(0, 1, GET_EVENTS, None) };
            match waited {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel may write to what the caller is about to free.
                Err(_) => process::abort(),
            }
            given -= self.uring.completion().count();
        }
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
        let path = std::env::temp_dir().join(format!("perf-ring.{}", process::id()));
        let opened = |flags| open(&path, flags, Mode::RUSR | Mode::WUSR).expect("a file");
        let mut ring = Ring::new(Aligned::of(4_096)).expect("a ring");
        let file = opened(OFlags::CREATE | OFlags::RDWR);
        assert_eq!(ring.write_durably(&file, 4_096).expect("written"), 4_096);
        let mut written = [0; 8_192];
        assert_eq!(pread(&file, &mut written, 0).ok(), Some(8_192));
        assert_eq!((written[4_095], written[4_096], written[8_191]), (0, 0x5a, 0x5a));
        ring.do_nothing(BATCH_MAX).expect("nothing is done");
        let places = (0..20).map(|nth| nth * 4_096);
        assert_eq!(ring.stream_durably(&file, 8, places).expect("written"), 20 * 4_096);
        let mut streamed = vec![0; 20 * 4_096 + 1];
        assert_eq!(pread(&file, &mut streamed, 0).ok(), Some(20 * 4_096));
        assert!(streamed[..20 * 4_096].iter().all(|it| *it == 0x5a));
        let refused = ring.write_durably(&opened(OFlags::RDONLY), 0).expect_err("read only");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
        let mut asked = 0;
        let places = (0..1_000).map(|nth| nth * 4_096).inspect(|_| asked += 1);
        let refused = ring.stream_durably(&opened(OFlags::RDONLY), 8, places);
        assert!(refused.is_err() && asked < 1_000, "{asked}");
        fs::remove_file(&path).expect("it is ours");
    }
}
