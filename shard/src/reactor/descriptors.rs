//! Descriptors of the process: how many there are, and how many of them connections may take.
//!
//! Strangers open connections, and files belong to partitions: the first must never use up the second.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::FILES_OPEN_MAX;

/// Raises what this process may have to what it is allowed to have, and says how many that is.
///
/// # Errors
/// As the operating system says.
pub fn raise() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let current = limit.current.unwrap_or(u64::MAX);
    if current < most {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(most)
}

/// How connections and files share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The descriptor from which on a connection waits, and none after it is taken. The kernel gives the
    /// lowest that is free, so that those from here on are left to files.
    pub(crate) connections_end: RawFd,
    /// Open files that each shard may keep for later use.
    pub(crate) files_max: usize,
}

impl Share {
    /// Each shard has twice as many for files as it keeps open, for what it opens in passing. Of few, half
    /// are for files.
    pub(crate) fn new(descriptor_count: u64, shard_count: usize) -> Self {
        let shard_count = u64::try_from(shard_count).expect("64 bits");
        let files_max = u64::try_from(FILES_OPEN_MAX).expect("64 bits");
        let kept = (2 * files_max * shard_count).min(descriptor_count / 2);
        let end = descriptor_count - kept;
        Self {
            connections_end: RawFd::try_from(end).unwrap_or(RawFd::MAX),
            files_max: usize::try_from(kept / (2 * shard_count)).expect("at most the limit"),
        }
    }
}

/// The same under the lowest descriptor that is free by now, if that is lower.
pub(crate) fn lower(socket: OwnedFd) -> OwnedFd {
    match socket.try_clone() {
        Ok(clone) if clone.as_raw_fd() < socket.as_raw_fd() => clone,
        _ => socket,
    }
}

/// Somebody has all descriptors for the moment, of this process or of the machine.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_some_descriptors_and_half_of_few() {
        let check = |descriptor_count, shard_count, connections_end, files_max| {
            let share = Share { connections_end, files_max };
            assert_eq!(Share::new(descriptor_count, shard_count), share, "{descriptor_count}");
        };
        check(20_000, 2, 19_744, 64);
        check(20_000, 32, 15_904, 64);
        check(1_024, 2, 768, 64);
        check(1_024, 8, 512, 32);
        check(64, 2, 32, 8);
        check(0, 1, 0, 0);
        check(u64::MAX, 1, RawFd::MAX, 64);
    }

    #[test]
    fn a_descriptor_is_lowered_and_never_raised() {
        let file =
            || OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
        let (low, high) = (file(), file());
        let before = high.as_raw_fd();
        drop(low);
        // Another test may have taken what became free.
        assert!(lower(high).as_raw_fd() <= before);
    }

    #[test]
    fn raising_the_limit_twice_changes_nothing() {
        assert_eq!(raise().expect("allowed"), raise().expect("allowed"));
    }
}
