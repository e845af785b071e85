//! What the kernel works on: every request lives here from its submission to its last completion.
//!
//! Knows no kernel. A key names one request for ever: its generation tells it from later users of the slot.
//!
//! Invariant: `busy_count` slots hold a request that the kernel has.

use std::task::Waker;

use super::request::Request;

/// One request. Travels through the kernel as user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// User data from here on is never a key.
    pub(super) const RESERVED: u64 = u64::MAX << 32;

    pub(super) fn user_data(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    pub(super) fn from_user_data(user_data: u64) -> Self {
        assert!(user_data < Self::RESERVED);
        let index = u32::try_from(user_data & u64::from(u32::MAX)).expect("masked");
        let generation = u32::try_from(user_data >> 32).expect("shifted");
        Self { index, generation }
    }
}

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    busy_count: usize,
}

struct Slot {
    generation: u32,
    state: State,
}

enum State {
    Free,
    Busy {
        request: Request,
        waker: Option<Waker>,
    },
    /// The kernel has it, but nobody waits for it any more.
    Orphan {
        request: Request,
    },
    Done {
        request: Request,
        result: i32,
    },
}

impl Slots {
    /// Requests that the kernel has, or will have with the next submission.
    pub(super) fn busy_count(&self) -> usize {
        self.busy_count
    }

    pub(super) fn insert(&mut self, request: Request) -> Key {
        let state = State::Busy { request, waker: None };
        self.busy_count += 1;
        let Some(index) = self.free.pop() else {
            let index = u32::try_from(self.slots.len()).expect("far fewer requests than that");
            self.slots.push(Slot { generation: 0, state });
            return Key { index, generation: 0 };
        };
        let slot = self.slot(index);
        assert!(matches!(slot.state, State::Free));
        slot.state = state;
        Key { index, generation: slot.generation }
    }

    /// The request of a key, until its last completion.
    pub(super) fn request(&mut self, key: Key) -> &mut Request {
        match &mut self.current(key).state {
            State::Busy { request, .. } | State::Orphan { request } => request,
            State::Free | State::Done { .. } => panic!("the request has completed"),
        }
    }

    /// The kernel is done. Who waits, or the request of an orphan, to be dropped.
    pub(super) fn complete(&mut self, key: Key, result: i32) -> (Option<Waker>, Option<Request>) {
        self.busy_count -= 1;
        let slot = self.current(key);
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Busy { request, waker } => {
                slot.state = State::Done { request, result };
                (waker, None)
            }
            State::Orphan { request } => {
                self.vacate(key);
                (None, Some(request))
            }
            State::Free | State::Done { .. } => panic!("a request completes once"),
        }
    }

    /// The kernel is done with a request that nobody waits for.
    pub(super) fn remove(&mut self, key: Key) -> Request {
        self.busy_count -= 1;
        let slot = self.current(key);
        let (State::Busy { request, .. } | State::Orphan { request }) =
            std::mem::replace(&mut slot.state, State::Free)
        else {
            panic!("a request completes once")
        };
        self.vacate(key);
        request
    }

    /// The request and its result, once it is done; else remembers whom to wake.
    pub(super) fn poll(&mut self, key: Key, current: &Waker) -> Option<(Request, i32)> {
        let slot = self.current(key);
        match &mut slot.state {
            State::Busy { waker, .. } => {
                if !waker.as_ref().is_some_and(|it| it.will_wake(current)) {
                    *waker = Some(current.clone());
                }
                None
            }
            State::Done { .. } => self.take_done(key),
            State::Free | State::Orphan { .. } => panic!("somebody waits for it"),
        }
    }

    /// As `request`, or `None` if it has completed.
    pub(super) fn find(&mut self, key: Key) -> Option<&mut Request> {
        let slot = self.slot(key.index);
        match &mut slot.state {
            State::Busy { request, .. } | State::Orphan { request }
                if slot.generation == key.generation =>
            {
                Some(request)
            }
            _ => None,
        }
    }

    /// Nobody waits any more. What is not needed any more, to be dropped: the request, if the kernel
    /// does not have it, and the waker.
    pub(super) fn orphan(&mut self, key: Key) -> (Option<Request>, Option<Waker>) {
        let slot = self.current(key);
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Busy { request, waker } => {
                slot.state = State::Orphan { request };
                (None, waker)
            }
            State::Done { request, .. } => {
                self.vacate(key);
                (Some(request), None)
            }
            State::Free | State::Orphan { .. } => panic!("somebody waited for it"),
        }
    }

    /// All who wait, whom nobody will wake.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let take = |slot: &mut Slot| match &mut slot.state {
            State::Busy { waker, .. } => waker.take(),
            State::Free | State::Orphan { .. } | State::Done { .. } => None,
        };
        self.slots.iter_mut().filter_map(take).collect()
    }

    fn take_done(&mut self, key: Key) -> Option<(Request, i32)> {
        let slot = self.current(key);
        let State::Done { request, result } = std::mem::replace(&mut slot.state, State::Free)
        else {
            panic!("it is done")
        };
        self.vacate(key);
        Some((request, result))
    }

    fn vacate(&mut self, key: Key) {
        let slot = self.slot(key.index);
        slot.state = State::Free;
        // The last generation is reserved, see `Key::RESERVED`.
        slot.generation = (slot.generation + 1) % u32::MAX;
        self.free.push(key.index);
    }

    fn current(&mut self, key: Key) -> &mut Slot {
        let slot = self.slot(key.index);
        assert_eq!(slot.generation, key.generation, "the key of an earlier request");
        slot
    }

    fn slot(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[usize::try_from(index).expect("64 bits")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_under_another_key() {
        let mut slots = Slots::default();
        let first = slots.insert(Request::Nop);
        assert_eq!(Key::from_user_data(first.user_data()), first);
        assert!(slots.poll(first, Waker::noop()).is_none());
        assert!(slots.complete(first, 7).0.is_some());
        assert!(slots.poll(first, Waker::noop()).is_some_and(|(_, result)| result == 7));
        let second = slots.insert(Request::Nop);
        assert_ne!(second, first);
        assert_eq!(second.index, first.index);
        assert_eq!(slots.busy_count(), 1);
    }

    #[test]
    fn an_orphan_keeps_its_request_until_the_kernel_is_done() {
        let mut slots = Slots::default();
        let key = slots.insert(Request::Nop);
        assert!(slots.orphan(key).0.is_none());
        assert_eq!(slots.busy_count(), 1);
        assert!(matches!(slots.complete(key, 0), (None, Some(Request::Nop))));
        assert_eq!(slots.busy_count(), 0);
    }

    #[test]
    fn a_result_that_nobody_took_is_dropped_with_its_key() {
        let mut slots = Slots::default();
        let key = slots.insert(Request::Nop);
        drop(slots.complete(key, 0));
        assert!(slots.orphan(key).0.is_some());
        assert_eq!(slots.insert(Request::Nop).index, key.index);
    }
}
