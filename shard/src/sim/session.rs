//! A client's half of a fetch session (KIP-227): it says once what it reads, and then only what changed.
//!
//! It knows no log and no answer. A partition that is left out of an answer has no news; one that the
//! broker has forgotten is left out for ever, and whoever must read it to its end does not come to one.

use net::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use net::topic::TopicRef;

/// First version with sessions.
pub const SESSIONS_FROM: i16 = 7;

/// One of a consumer, on one connection.
#[derive(Default)]
pub struct Session {
    /// 0: there is none yet, the next request asks for one.
    id: i32,
    epoch: i32,
    /// As the broker knows it.
    told: Vec<(TopicRef, FetchPartition)>,
    /// As it will know it when it has the request that is on its way.
    telling: Vec<(TopicRef, FetchPartition)>,
}

impl Session {
    /// Whether partitions without news may be left out of an answer.
    #[must_use]
    pub const fn is_incremental(&self) -> bool {
        self.id != 0
    }

    /// Makes `request`, which names everything that is to be read, one of the session.
    pub fn ask(&mut self, request: &mut FetchRequest) {
        request.session_id = self.id;
        request.session_epoch = self.epoch;
        self.telling = partitions(&request.topics);
        let is_told = |topic: &TopicRef, it: &FetchPartition| {
            self.told.iter().any(|told| told.0 == *topic && told.1 == *it)
        };
        for FetchTopic { topic, partitions } in &mut request.topics {
            partitions.retain(|it| !is_told(topic, it));
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        let is_wanted = |topic: &TopicRef, index: i32| {
            self.telling.iter().any(|wanted| wanted.0 == *topic && wanted.1.index == index)
        };
        let dropped = self.told.iter().filter(|(topic, it)| !is_wanted(topic, it.index));
        let forgotten = dropped
            .map(|(topic, it)| ForgottenTopic { topic: topic.clone(), partitions: vec![it.index] });
        request.forgotten = forgotten.collect();
    }

    /// The request was answered well, in the session `id`; 0 is none.
    pub fn on_answer(&mut self, id: i32) {
        let is_known = id != 0;
        self.told = if is_known { std::mem::take(&mut self.telling) } else { Vec::new() };
        self.epoch = if is_known { self.epoch + 1 } else { 0 };
        self.id = id;
    }

    /// The broker knows it no more, or may not.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

fn partitions(topics: &[FetchTopic]) -> Vec<(TopicRef, FetchPartition)> {
    let of = |topic: &FetchTopic| {
        let name = topic.topic.clone();
        topic.partitions.clone().into_iter().map(move |it| (name.clone(), it))
    };
    topics.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;
    use net::fetch::{FetchPartition, FetchRequest, FetchTopic};
    use net::topic::TopicRef;

    use super::Session;

    /// For partitions 0, 1, ... of a topic, at these offsets.
    fn request(offsets: &[i64]) -> FetchRequest {
        let partitions = (0..).zip(offsets).map(|(index, offset)| FetchPartition {
            index,
            current_leader_epoch: -1,
            fetch_offset: *offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 100,
        });
        let topic = TopicRef::Name(StrBytes::from_static_str("t"));
        FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 100,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: vec![FetchTopic { topic, partitions: partitions.collect() }],
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        }
    }

    /// What is asked: session, epoch, the partitions said, and those taken back.
    fn asked(session: &mut Session, offsets: &[i64]) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let mut request = request(offsets);
        session.ask(&mut request);
        let said = request.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.index);
        let forgotten = request.forgotten.iter().flat_map(|topic| &topic.partitions).copied();
        (request.session_id, request.session_epoch, said.collect(), forgotten.collect())
    }

    #[test]
    fn only_what_changed_is_said_again() {
        let mut session = Session::default();
        assert_eq!(asked(&mut session, &[5, 5, 5]), (0, 0, vec![0, 1, 2], vec![]));
        session.on_answer(9);
        assert_eq!(asked(&mut session, &[5, 6, 5]), (9, 1, vec![1], vec![]));
        session.on_answer(9);
        assert_eq!(asked(&mut session, &[5, 6]), (9, 2, vec![], vec![2]));
    }

    #[test]
    fn without_a_session_everything_is_said_again() {
        let mut session = Session::default();
        assert_eq!(asked(&mut session, &[5]), (0, 0, vec![0], vec![]));
        session.on_answer(0);
        assert_eq!(asked(&mut session, &[5]), (0, 0, vec![0], vec![]));
        session.on_answer(9);
        session.end();
        assert!(!session.is_incremental());
        assert_eq!(asked(&mut session, &[5]), (0, 0, vec![0], vec![]));
    }
}
