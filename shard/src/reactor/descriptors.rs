//! Descriptors of the process: how many there are, and how many of them connections may take.
//!
//! Strangers open connections, and files belong to partitions: the first must never use up the second.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_KEPT;

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

/// The descriptor from which on a connection waits, and none after it is taken. The kernel gives the lowest
/// that is free, so that those from here on are left to files; of few, half.
pub(crate) fn connections_end(descriptor_count: u64) -> RawFd {
    let kept = DESCRIPTORS_KEPT.min(descriptor_count / 2);
    RawFd::try_from(descriptor_count - kept).unwrap_or(RawFd::MAX)
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
        assert_eq!(connections_end(20_000), 19_488);
        assert_eq!(connections_end(1_024), 512);
        assert_eq!(connections_end(64), 32);
        assert_eq!(connections_end(0), 0);
        assert_eq!(connections_end(u64::MAX), RawFd::MAX);
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
