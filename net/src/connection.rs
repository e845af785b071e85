//! The requests of one connection that are not answered yet, and the order of their answers.
//!
//! Knows no bytes: `T` is an answer, however it will be sent. Produce requests are worked on together;
//! any other request is alone, so that it sees what those before it did. Answers leave in the order
//! of the requests.
//!
//! Invariant: at most `PIPELINE_MAX` requests in flight, and at most one if it is not a Produce.

use std::collections::VecDeque;

use crate::api::ApiKey;

/// Produce requests of one connection that are worked on at once.
pub const PIPELINE_MAX: usize = 128;

/// One request in flight. Ours, since a client may repeat its correlation ids.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "every request is answered, or passed over in silence"]
pub struct RequestId(u64);

/// One per connection, on the shard that accepted it. Holds at most `PIPELINE_MAX` answers.
#[derive(Debug)]
pub struct Connection<T> {
    in_flight: VecDeque<Slot<T>>,
    /// Id of the first of `in_flight`.
    first_id: u64,
    turn: Turn,
}

#[derive(Debug)]
enum Slot<T> {
    Waiting,
    Answered(T),
    Silent,
}

/// What those in flight are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Pipelined,
    Alone,
}

impl Turn {
    fn of(api: ApiKey) -> Self {
        if api == ApiKey::Produce { Self::Pipelined } else { Self::Alone }
    }
}

impl<T> Connection<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { in_flight: VecDeque::new(), first_id: 0, turn: Turn::Pipelined }
    }

    /// Whether any further request could begin. If not, do not read: TCP slows the client down.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.in_flight.is_empty()
            || (self.turn == Turn::Pipelined && self.in_flight.len() < PIPELINE_MAX)
    }

    /// Whether a request of `api` may begin now. If not, it waits for the answers before it.
    #[must_use]
    pub fn admits(&self, api: ApiKey) -> bool {
        match Turn::of(api) {
            Turn::Pipelined => self.wants_bytes(),
            Turn::Alone => self.in_flight.is_empty(),
        }
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// # Panics
    /// If `admits` says no.
    pub fn on_request(&mut self, api: ApiKey) -> RequestId {
        assert!(self.admits(api), "requests wait for their turn");
        let ahead = u64::try_from(self.in_flight.len()).expect("a usize has at most 64 bits");
        self.in_flight.push_back(Slot::Waiting);
        self.turn = Turn::of(api);
        self.check();
        RequestId(self.first_id + ahead)
    }

    pub fn on_response(&mut self, request: RequestId, answer: T) {
        self.settle(request, Slot::Answered(answer));
    }

    /// A Produce with acks=0 is done: nothing is sent.
    pub fn on_silence(&mut self, request: RequestId) {
        self.settle(request, Slot::Silent);
    }

    /// The next answer to send. Ask until there is none.
    pub fn poll_transmit(&mut self) -> Option<T> {
        while let Some(slot) = self.in_flight.pop_front() {
            match slot {
                Slot::Waiting => {
                    self.in_flight.push_front(Slot::Waiting);
                    return None;
                }
                Slot::Answered(answer) => {
                    self.first_id += 1;
                    return Some(answer);
                }
                Slot::Silent => self.first_id += 1,
            }
        }
        None
    }

    fn settle(&mut self, request: RequestId, settled: Slot<T>) {
        let ahead = request.0.checked_sub(self.first_id).expect("an id of this connection");
        let ahead = usize::try_from(ahead).expect("an id of this connection");
        let slot = self.in_flight.get_mut(ahead).expect("an answer is for a request in flight");
        assert!(matches!(slot, Slot::Waiting), "a request is answered once");
        *slot = settled;
    }

    fn check(&self) {
        assert!(self.in_flight.len() <= PIPELINE_MAX);
        assert!(self.turn == Turn::Pipelined || self.in_flight.len() <= 1);
    }
}

impl<T> Default for Connection<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, PIPELINE_MAX};
    use crate::api::ApiKey;

    #[test]
    fn answers_leave_in_the_order_of_requests() {
        let mut connection = Connection::new();
        let [first, second, third] = [(); 3].map(|()| connection.on_request(ApiKey::Produce));
        connection.on_response(third, "third");
        connection.on_response(second, "second");
        assert_eq!(connection.poll_transmit(), None);
        connection.on_response(first, "first");
        for want in [Some("first"), Some("second"), Some("third"), None] {
            assert_eq!(connection.poll_transmit(), want);
        }
        assert!(connection.is_idle());
    }

    #[test]
    fn a_silent_request_keeps_its_place() {
        let mut connection = Connection::new();
        let loud = connection.on_request(ApiKey::Produce);
        let silent = connection.on_request(ApiKey::Produce);
        let last = connection.on_request(ApiKey::Produce);
        connection.on_silence(silent);
        connection.on_response(last, "last");
        assert_eq!(connection.poll_transmit(), None);
        connection.on_response(loud, "loud");
        assert_eq!(connection.poll_transmit(), Some("loud"));
        assert_eq!(connection.poll_transmit(), Some("last"));
        assert_eq!(connection.poll_transmit(), None);
        let again = connection.on_request(ApiKey::Fetch);
        connection.on_response(again, "again");
        assert_eq!(connection.poll_transmit(), Some("again"));
    }

    #[test]
    fn all_but_produce_are_alone() {
        let mut connection = Connection::new();
        let produce = connection.on_request(ApiKey::Produce);
        assert!(connection.wants_bytes());
        assert!(connection.admits(ApiKey::Produce));
        assert!(!connection.admits(ApiKey::ListOffsets));
        connection.on_response(produce, ());
        assert!(!connection.admits(ApiKey::ListOffsets), "it is not sent yet");
        assert_eq!(connection.poll_transmit(), Some(()));

        let alone = connection.on_request(ApiKey::ListOffsets);
        assert!(!connection.wants_bytes());
        assert!(!connection.admits(ApiKey::Produce));
        connection.on_response(alone, ());
        assert_eq!(connection.poll_transmit(), Some(()));
        assert!(connection.admits(ApiKey::Produce));
    }

    #[test]
    fn a_full_pipeline_reads_nothing() {
        let mut connection = Connection::new();
        let mut requests = Vec::new();
        while connection.wants_bytes() {
            requests.push(connection.on_request(ApiKey::Produce));
        }
        assert_eq!(requests.len(), PIPELINE_MAX);
        assert!(!connection.admits(ApiKey::Produce));
        connection.on_response(requests.remove(0), ());
        assert_eq!(connection.poll_transmit(), Some(()));
        assert!(connection.wants_bytes());
    }
}
