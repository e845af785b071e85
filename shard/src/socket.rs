//! Operations on sockets, as requests to the ring.
//!
//! A connection is read ahead by the ring, a little. Files are sent from the page cache, without a copy,
//! and only as far as they are there, so that the thread never waits for the disk.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Buf, Bytes};
use replication::config::broker::ConnectionLimits;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::file::{RingFile, is_interrupted};
use crate::io::Io;
use crate::limits::{SEND_SLICE_BYTES, UNSENT_BYTES_MAX};
use crate::ring::Ring;
use crate::ring::inbox::{Arrivals, Inbox, Next, NextArrival};
use crate::ring::pool::Received;
use crate::ring::request::{PARTS_MAX, Request, Vectors};
use crate::ring::system;

/// A connection. Ends with the last clone.
#[derive(Clone)]
pub struct RingSocket {
    connection: Rc<Connection>,
}

struct Connection {
    ring: Ring,
    socket: Rc<OwnedFd>,
    inbox: Rc<Inbox>,
}

/// Takes connections from its creation to its end.
pub struct RingListener {
    ring: Ring,
    socket: Rc<OwnedFd>,
    arrivals: Rc<Arrivals>,
}

/// What the configuration says of the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub struct SocketRules {
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// `None`: the kernel chooses.
    pub send_buffer_bytes: Option<u32>,
    pub receive_buffer_bytes: Option<u32>,
}

impl SocketRules {
    /// For tests and tools on this machine.
    pub const PLAIN: Self =
        Self { backlog: 128, send_buffer_bytes: None, receive_buffer_bytes: None };
}

impl From<&ConnectionLimits> for SocketRules {
    fn from(limits: &ConnectionLimits) -> Self {
        Self {
            backlog: limits.backlog,
            send_buffer_bytes: limits.send_buffer_bytes,
            receive_buffer_bytes: limits.receive_buffer_bytes,
        }
    }
}

pub(crate) fn listen(
    ring: &Ring,
    address: SocketAddr,
    rules: SocketRules,
) -> io::Result<RingListener> {
    let socket = Rc::new(OwnedFd::from(listening(address, rules)?));
    Ok(RingListener { ring: ring.clone(), socket, arrivals: Rc::default() })
}

/// Its connections have its buffers.
fn listening(address: SocketAddr, rules: SocketRules) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if let Some(bytes) = rules.send_buffer_bytes {
        socket.set_send_buffer_size(buffer_bytes(bytes))?;
    }
    if let Some(bytes) = rules.receive_buffer_bytes {
        socket.set_recv_buffer_size(buffer_bytes(bytes))?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(rules.backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// The kernel has twice as many, and bounds of its own.
fn buffer_bytes(bytes: u32) -> usize {
    usize::try_from(bytes).expect("usize fits")
}

pub(crate) fn connect(ring: &Ring, address: SocketAddr) -> io::Result<RingSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.connect(&address.into())?;
    socket.set_nonblocking(true)?;
    RingSocket::new(ring, OwnedFd::from(socket))
}

impl RingListener {
    /// # Errors
    /// As the operating system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&*self.socket).local_addr()?;
        address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// A connection, which does not block.
    pub(crate) async fn accept(&self) -> io::Result<OwnedFd> {
        let accepted = poll_fn(|context| match self.arrivals.poll_next(context.waker()) {
            NextArrival::Socket(socket) => Poll::Ready(socket),
            NextArrival::Arm => {
                self.ring.accept(&self.socket, &self.arrivals);
                Poll::Pending
            }
            NextArrival::Wait => Poll::Pending,
        });
        accepted.await
    }
}

impl Drop for RingListener {
    fn drop(&mut self) {
        if let Some(key) = self.arrivals.armed() {
            self.ring.cancel(key);
        }
        self.arrivals.close();
    }
}

impl RingSocket {
    /// `socket` does not block.
    pub(crate) fn new(ring: &Ring, socket: OwnedFd) -> io::Result<Self> {
        prepare(&socket)?;
        let connection =
            Connection { ring: ring.clone(), socket: Rc::new(socket), inbox: ring.new_inbox() };
        Ok(Self { connection: Rc::new(connection) })
    }

    pub(crate) async fn receive(&self) -> io::Result<Received> {
        let Connection { ring, socket, inbox } = &*self.connection;
        poll_fn(|context| match inbox.poll_next(context.waker()) {
            Next::Bytes(bytes) => Poll::Ready(bytes),
            Next::Arm => {
                ring.receive(socket, inbox);
                Poll::Pending
            }
            Next::Wait => Poll::Pending,
        })
        .await
    }

    pub(crate) async fn send(&self, mut parts: Vec<Bytes>) -> io::Result<()> {
        parts.retain(|it| !it.is_empty());
        while !parts.is_empty() {
            let later = parts.split_off(parts.len().min(PARTS_MAX));
            let (result, sent) = self.send_some(parts).await;
            parts = sent;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => advance(&mut parts, count),
                Err(error) if is_interrupted(&error) => self.writable().await?,
                Err(error) => return Err(error),
            }
            parts.extend(later);
        }
        Ok(())
    }

    /// How many bytes of the parts were sent, and the parts.
    async fn send_some(&self, mut parts: Vec<Bytes>) -> (io::Result<usize>, Vec<Bytes>) {
        let Connection { ring, socket, .. } = &*self.connection;
        let socket = Rc::clone(socket);
        if parts.len() == 1 {
            let bytes = parts.remove(0);
            let (result, request) = ring.start(Request::SendOne { socket, bytes }).await;
            let Request::SendOne { bytes, .. } = request else {
                unreachable!("the request comes back")
            };
            parts.push(bytes);
            return (result, parts);
        }
        let request = Request::Send { socket, parts, vectors: Vectors::new() };
        let (result, request) = ring.start(request).await;
        let Request::Send { parts, .. } = request else { unreachable!("the request comes back") };
        (result, parts)
    }

    async fn writable(&self) -> io::Result<()> {
        let Connection { ring, socket, .. } = &*self.connection;
        let request = Request::PollWritable { socket: Rc::clone(socket) };
        ring.start(request).await.0.map(|_| ())
    }

    pub(crate) fn shutdown(&self) {
        self.connection.shutdown();
    }

    /// Bytes that have come and nobody took.
    pub(crate) fn unread_bytes(&self) -> u64 {
        let Connection { socket, inbox, .. } = &*self.connection;
        inbox.waiting_bytes() + system::unread_bytes(&**socket).unwrap_or(0)
    }

    /// Bytes that the peer has confirmed.
    pub(crate) fn taken_bytes(&self) -> u64 {
        system::confirmed_bytes(&*self.connection.socket).unwrap_or(0)
    }

    pub(crate) fn peer(&self) -> String {
        let address = SockRef::from(&*self.connection.socket).peer_addr();
        match address.map(|it| it.as_socket()) {
            Ok(Some(address)) => address.to_string(),
            Ok(None) | Err(_) => "unknown".to_owned(),
        }
    }
}

impl Connection {
    fn shutdown(&self) {
        if let Err(error) = SockRef::from(&*self.socket).shutdown(Shutdown::Both) {
            // The peer may have ended the connection before.
            tracing::trace!(%error, "shutdown");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.inbox.is_armed() {
            // Ends the receive, which holds the socket open.
            self.shutdown();
        }
        self.inbox.close();
    }
}

/// Small answers leave at once, and of large ones the kernel holds no more than is on its way: the memory
/// that all connections of the machine share must not fill up with what slow readers do not take.
fn prepare(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// Drops the first `count` bytes.
fn advance(parts: &mut Vec<Bytes>, mut count: usize) {
    let mut gone = 0;
    for part in parts.iter_mut() {
        let taken = count.min(part.len());
        part.advance(taken);
        count -= taken;
        if !part.is_empty() {
            break;
        }
        gone += 1;
    }
    assert_eq!(count, 0, "no more was sent than was asked for");
    parts.drain(..gone);
}

/// Sends all parts, large ones in slices between which other tasks run.
pub(crate) async fn send(
    io: &impl Io,
    socket: &RingSocket,
    mut parts: Vec<Bytes>,
) -> io::Result<()> {
    let slice_bytes = usize::try_from(SEND_SLICE_BYTES).expect("a slice is small");
    while parts.iter().map(Bytes::len).sum::<usize>() > slice_bytes {
        let later = split_off(&mut parts, slice_bytes);
        socket.send(std::mem::replace(&mut parts, later)).await?;
        io.yield_long().await;
    }
    socket.send(parts).await
}

/// Keeps the first `count` bytes, of more, and gives the rest.
fn split_off(parts: &mut Vec<Bytes>, count: usize) -> Vec<Bytes> {
    let mut left = count;
    let whole = parts.iter().take_while(|it| {
        let is_whole = it.len() <= left;
        left -= if is_whole { it.len() } else { 0 };
        is_whole
    });
    let mut rest = parts.split_off(whole.count());
    if left > 0 {
        parts.push(rest[0].split_to(left));
    }
    rest
}

/// Sends `range` of `file` up to the first slice that is not in the page cache.
pub(crate) async fn send_file(
    io: &impl Io<File = RingFile>,
    socket: &RingSocket,
    file: &RingFile,
    range: Range<u64>,
) -> io::Result<u64> {
    let mut pos = range.start;
    while pos < range.end {
        let slice = pos..range.end.min((pos / SEND_SLICE_BYTES + 1) * SEND_SLICE_BYTES);
        if !is_cached(file, &slice)? {
            break;
        }
        pos = slice.end;
        send_cached(socket, file, slice).await?;
        io.yield_now().await;
    }
    Ok(pos - range.start)
}

/// Whether all of it is in the page cache for sure.
fn is_cached(file: &RingFile, range: &Range<u64>) -> io::Result<bool> {
    match system::cachestat(file.file(), range.start, range.end - range.start) {
        Ok(found) => Ok(found.page_count <= found.cached_count),
        // The kernel is too old, or the file system keeps no pages.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn send_cached(
    socket: &RingSocket,
    file: &RingFile,
    mut range: Range<u64>,
) -> io::Result<()> {
    while !range.is_empty() {
        let bytes = usize::try_from(range.end - range.start).expect("a slice is small");
        match system::sendfile(&*socket.connection.socket, file.file(), range.start, bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(sent) => range.start += u64::try_from(sent).expect("64 bits"),
            Err(error) if is_interrupted(&error) => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use socket2::SockRef;

    use super::{SocketRules, UNSENT_BYTES_MAX, listening, prepare};

    #[test]
    fn connections_have_the_buffers_that_the_listener_was_told() {
        let any_port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let rules = SocketRules {
            send_buffer_bytes: Some(40_000),
            receive_buffer_bytes: Some(50_000),
            ..SocketRules::PLAIN
        };
        let listener = listening(any_port, rules).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _peer = TcpStream::connect(address).unwrap();
        let (connection, _) = listener.accept().unwrap();
        // The kernel keeps as much again for its own use.
        assert_eq!(connection.send_buffer_size().unwrap(), 80_000);
        assert_eq!(connection.recv_buffer_size().unwrap(), 100_000);
    }

    #[test]
    fn the_kernel_holds_little_for_who_does_not_read() {
        const PEER_BYTES: usize = 16 << 10;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        SockRef::from(&listener).set_recv_buffer_size(PEER_BYTES).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_far, _) = listener.accept().unwrap();
        let near = OwnedFd::from(near);
        prepare(&near).unwrap();
        let mut near = TcpStream::from(near);
        near.set_nonblocking(true).unwrap();
        let piece = [0; 4096];
        let mut taken_bytes = 0;
        let error = loop {
            match near.write(&piece) {
                Ok(count) => taken_bytes += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // The kernel doubles what it is asked for, and a peer's room is on its way.
        let held_bytes = taken_bytes.saturating_sub(2 * PEER_BYTES);
        assert!(
            held_bytes <= usize::try_from(UNSENT_BYTES_MAX).unwrap() + piece.len(),
            "{held_bytes}"
        );
    }
}
