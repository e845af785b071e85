//! What multishot requests brought and nobody took yet: bytes of a socket, connections of a listener.
//!
//! Knows the rules of when to ask the kernel for more, and does not ask. While there are buffers for it,
//! bytes are received ahead; else only for the task that waits.
//!
//! Invariant: at most one request of each is with the kernel.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

use super::pool::{Pools, Received, Supply};
use super::slots::Key;

/// Buffers of one socket that wait to be taken, from which the kernel is told to stop. It may add a few
/// more before it does.
const WAITING_MAX: usize = 8;

/// One per connection.
pub(crate) struct Inbox {
    pools: Pools,
    state: RefCell<Receiving>,
}

struct Receiving {
    waiting: VecDeque<Received>,
    end: Option<End>,
    request: Armed,
    /// Of the request that is with the kernel, or the next one.
    supply: Supply,
    waker: Option<Waker>,
}

/// Nothing comes after it.
#[derive(Clone, Copy)]
enum End {
    Closed,
    Failed(i32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    /// Refused for want of buffers; tried again when one has come back.
    Starved,
    Yes(Key),
    Stopping(Key),
}

/// What the task that wants bytes does next.
pub(crate) enum Next {
    Bytes(io::Result<Received>),
    /// Ask the kernel, then `on_armed`; the task is woken.
    Arm,
    Wait,
}

impl Inbox {
    pub(super) fn new(pools: Pools) -> Rc<Self> {
        let state = RefCell::new(Receiving {
            waiting: VecDeque::new(),
            end: None,
            request: Armed::No,
            supply: Supply::Ahead,
            waker: None,
        });
        Rc::new(Self { pools, state })
    }

    pub(crate) fn poll_next(&self, waker: &Waker) -> Next {
        let mut state = self.state.borrow_mut();
        if let Some(received) = state.waiting.pop_front() {
            return Next::Bytes(Ok(received));
        }
        match state.end {
            Some(End::Closed) => return Next::Bytes(Ok(Received::end())),
            Some(End::Failed(errno)) => {
                return Next::Bytes(Err(io::Error::from_raw_os_error(errno)));
            }
            None => {}
        }
        state.waker = Some(waker.clone());
        match state.request {
            Armed::No | Armed::Starved => Next::Arm,
            Armed::Yes(_) | Armed::Stopping(_) => Next::Wait,
        }
    }

    pub(super) fn on_armed(&self, key: Key) {
        let mut state = self.state.borrow_mut();
        assert!(matches!(state.request, Armed::No | Armed::Starved));
        state.request = Armed::Yes(key);
    }

    /// Of the request that is with the kernel, or the next one.
    pub(super) fn supply(&self) -> Supply {
        self.state.borrow().supply
    }

    /// Bytes that nobody took yet.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let waiting: usize = self.state.borrow().waiting.iter().map(|it| it.len()).sum();
        u64::try_from(waiting).expect("64 bits")
    }

    /// Whether a request is with the kernel.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.state.borrow().request, Armed::Yes(_) | Armed::Stopping(_))
    }

    /// The kernel filled a buffer.
    pub(super) fn on_bytes(&self, id: u16, bytes: usize) -> Option<Waker> {
        let mut state = self.state.borrow_mut();
        let received = self.pools.of(state.supply).received(id, bytes);
        if bytes > 0 {
            state.waiting.push_back(received);
        }
        state.waker.take()
    }

    /// The request that must be stopped, as nobody takes what it brings.
    pub(super) fn poll_stop(&self) -> Option<Key> {
        let mut state = self.state.borrow_mut();
        let Armed::Yes(key) = state.request else { return None };
        if state.waiting.len() < WAITING_MAX {
            return None;
        }
        state.request = Armed::Stopping(key);
        Some(key)
    }

    /// The kernel could not stop it, and it may go on.
    pub(super) fn on_stop_failed(&self) {
        let mut state = self.state.borrow_mut();
        if let Armed::Stopping(key) = state.request {
            state.request = Armed::Yes(key);
        }
    }

    /// The request is over: with the peer's end (0), or an error.
    pub(super) fn on_over(&self, result: i32) -> Option<Waker> {
        let mut state = self.state.borrow_mut();
        state.request = Armed::No;
        let supply = std::mem::replace(&mut state.supply, Supply::Ahead);
        match -result {
            libc::ECANCELED => {}
            libc::ENOBUFS => return self.on_no_buffer(&mut state, supply),
            errno if errno > 0 => state.end = Some(End::Failed(errno)),
            0 => state.end = Some(End::Closed),
            // The last of several buffers: more is asked for when this is taken.
            _ => {}
        }
        state.waker.take()
    }

    fn on_no_buffer(&self, state: &mut Receiving, supply: Supply) -> Option<Waker> {
        let pool = self.pools.of(supply);
        let waker = state.waker.take();
        // Buffers may have come back since the kernel found none.
        if pool.has_free() || pool.grow().unwrap_or(false) {
            state.supply = supply;
            return waker;
        }
        state.supply = Supply::Asked;
        if supply == Supply::Asked {
            state.request = Armed::Starved;
            if let Some(waker) = waker {
                pool.starve(waker);
            }
            return None;
        }
        waker
    }

    /// The socket is gone for its tasks: nobody is woken any more.
    pub(crate) fn close(&self) {
        let (waiting, waker) = {
            let mut state = self.state.borrow_mut();
            state.end = Some(End::Closed);
            (std::mem::take(&mut state.waiting), state.waker.take())
        };
        drop((waiting, waker));
    }
}

/// One per listener.
#[derive(Default)]
pub(crate) struct Arrivals {
    state: RefCell<Accepting>,
}

#[derive(Default)]
struct Accepting {
    arrived: Option<io::Result<OwnedFd>>,
    request: Option<Key>,
    waker: Option<Waker>,
}

/// What the task that wants a connection does next.
pub(crate) enum NextArrival {
    Socket(io::Result<OwnedFd>),
    /// Ask the kernel, then `on_armed`; the task is woken.
    Arm,
    Wait,
}

impl Arrivals {
    pub(crate) fn poll_next(&self, waker: &Waker) -> NextArrival {
        let mut state = self.state.borrow_mut();
        if let Some(arrival) = state.arrived.take() {
            return NextArrival::Socket(arrival);
        }
        state.waker = Some(waker.clone());
        if state.request.is_some() { NextArrival::Wait } else { NextArrival::Arm }
    }

    pub(super) fn on_armed(&self, key: Key) {
        let previous = self.state.borrow_mut().request.replace(key);
        assert!(previous.is_none());
    }

    pub(crate) fn armed(&self) -> Option<Key> {
        self.state.borrow().request
    }

    pub(super) fn on_arrival(&self, arrival: io::Result<OwnedFd>) -> Option<Waker> {
        let mut state = self.state.borrow_mut();
        state.arrived = Some(arrival);
        state.request = None;
        state.waker.take()
    }

    /// The listener is gone for its tasks.
    pub(crate) fn close(&self) {
        let (arrived, waker) = {
            let mut state = self.state.borrow_mut();
            (state.arrived.take(), state.waker.take())
        };
        drop((arrived, waker));
    }
}
