//! Whether clients find a way to where they are sent: the most usual mistake of a first hour. A client comes
//! in, is told another address, and gets no further.
//!
//! What does not answer from here may do so from elsewhere, as a port that a container maps: so that is said,
//! and nothing follows from it. An address that is this broker's is not tried.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::serve::banner::{Listening, show};

/// How long an address is waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// Looks once, beside everything else.
pub(super) fn look(listening: Vec<Listening>) -> Result<(), Failure> {
    let look = move || {
        for it in listening {
            if let Err(error) = reach(&it) {
                tracing::warn!(
                    listener = it.name, %error,
                    "clients are sent to {}, where nothing answers from here: if it is not the way in from \
                     elsewhere, as a mapped port is, no client gets further than its first connection; \
                     advertised.listeners says where they are sent",
                    show(&it.advertised),
                );
            }
        }
    };
    let begun = thread::Builder::new().name("reach".into()).spawn(look);
    begun.map(drop).map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))
}

/// Fails if nothing takes connections there.
fn reach(Listening { bound, advertised, .. }: &Listening) -> io::Result<()> {
    let addresses: Vec<SocketAddr> = show(advertised).to_socket_addrs()?.collect();
    let is_ours = |it: &SocketAddr| it.port() == bound.port() && takes(bound.ip(), it.ip());
    if addresses.iter().any(is_ours) {
        return Ok(());
    }
    TcpStream::connect_timeout(addresses.first().ok_or(io::ErrorKind::AddrNotAvailable)?, LIMIT)
        .map(drop)
}

/// Whether who listens at `bound` takes what comes to `address`. Only addresses of this machine can be bound.
fn takes(bound: IpAddr, address: IpAddr) -> bool {
    bound == address || bound.is_unspecified() && UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use replication::config::listener::Address;

    use super::reach;
    use crate::serve::banner::Listening;

    fn is_reached(bound: &str, host: &str, port: u16) -> bool {
        let advertised = Address { host: Some(host.into()), port };
        let bound: SocketAddr = bound.parse().unwrap();
        reach(&Listening { name: "PLAINTEXT".into(), bound, advertised }).is_ok()
    }

    /// Nobody listens there.
    const DESERTED: u16 = 1;

    #[test]
    fn what_is_ours_needs_no_answer_and_all_else_does() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_reached("127.0.0.1:9", "127.0.0.1", other.local_addr().unwrap().port()));
        for (bound, is_ours) in [
            ("127.0.0.1:9", false),
            ("0.0.0.0:9", false),
            ("127.0.0.2:1", false),
            ("127.0.0.1:1", true),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
        ] {
            assert_eq!(is_reached(bound, "127.0.0.1", DESERTED), is_ours, "{bound}");
        }
        assert!(!is_reached("0.0.0.0:1", "192.0.2.1.invalid", DESERTED));
    }
}
