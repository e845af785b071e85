//! Fetch sessions (KIP-227): a client says once which partitions it reads, and is told what changed.
//!
//! Knows no log and no clock: time and randomness are arguments. A fetch is a `plan`, which the caller
//! carries out, and `complete` makes the answer of what it found.
//!
//! Invariant: at most so many sessions as it was made for, that hold at most `PARTITIONS_MAX` partitions,
//! none of them empty but those that began so.

use std::collections::BTreeMap;

use crate::error_code::ErrorCode;
use crate::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchedPartition, SESSIONLESS_EPOCH,
};
use crate::topic::{TopicKind, TopicRef};

/// Partitions of all sessions of a shard, at about 200 bytes each.
pub const PARTITIONS_MAX: usize = 200_000;

/// A session not used for as long is given up for another one; one that is as old, for a larger one.
pub const EVICTION_MS: i64 = 120_000;

/// The epoch of a request that begins a session.
const EPOCH_INITIAL: i32 = 0;

/// What to read for one request, and what becomes of its session.
#[derive(Debug)]
#[must_use = "a plan is completed with what was read"]
pub struct FetchPlan {
    membership: Membership,
    targets: Vec<Target>,
}

/// One partition to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub topic: TopicRef,
    pub partition: FetchPartition,
}

#[derive(Debug)]
enum Membership {
    Sessionless,
    /// A session begins with the answer.
    Begins(TopicKind),
    /// `epoch` is the one that the session has from this request on.
    Resumed {
        session_id: i32,
        epoch: i32,
    },
}

impl FetchPlan {
    /// Each partition once, in the order in which to read them.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Whether only changes are answered, so that an answer may be empty.
    #[must_use]
    pub const fn is_incremental(&self) -> bool {
        matches!(self.membership, Membership::Resumed { .. })
    }
}

/// One per shard.
#[derive(Debug)]
pub struct FetchSessions {
    session_count_max: usize,
    sessions: BTreeMap<i32, Session>,
    partition_count: usize,
}

#[derive(Debug)]
struct Session {
    kind: TopicKind,
    /// The epoch that the next request must have.
    epoch: i32,
    created_at_ms: i64,
    used_at_ms: i64,
    /// In the order of reading: a partition that gave records goes to the end.
    cached: BTreeMap<u64, Cached>,
    places: BTreeMap<(TopicRef, i32), u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    target: Target,
    /// As last answered; -1 if it was not, or with an error.
    high_watermark: i64,
    /// As last answered.
    log_start_offset: i64,
}

impl FetchSessions {
    #[must_use]
    pub const fn new(session_count_max: usize) -> Self {
        Self { session_count_max, sessions: BTreeMap::new(), partition_count: 0 }
    }

    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// What to read for `request`. An error is for the whole request: answer it with no topics and
    /// session id 0.
    pub fn plan(
        &mut self,
        now_ms: i64,
        kind: TopicKind,
        request: &FetchRequest,
    ) -> Result<FetchPlan, ErrorCode> {
        match request.session_epoch {
            SESSIONLESS_EPOCH => {
                self.remove(request.session_id);
                Ok(FetchPlan { membership: Membership::Sessionless, targets: targets(request) })
            }
            EPOCH_INITIAL => {
                self.remove(request.session_id);
                Ok(FetchPlan { membership: Membership::Begins(kind), targets: targets(request) })
            }
            _ => self.resume(now_ms, kind, request),
        }
    }

    /// Makes `response`, which has an answer for each target, the one to send. `random` gives the id
    /// of a session that begins.
    #[must_use]
    pub fn complete<R>(
        &mut self,
        now_ms: i64,
        plan: FetchPlan,
        random: u64,
        mut response: FetchResponse<R>,
    ) -> FetchResponse<R> {
        match plan.membership {
            Membership::Sessionless => response.session_id = 0,
            Membership::Begins(kind) => {
                let session = Session::new(now_ms, kind, &plan.targets, &response);
                response.session_id = self.insert(now_ms, random, session);
            }
            Membership::Resumed { session_id, epoch } => {
                response.session_id = session_id;
                // It may have been evicted since: then the answer is whole, and the next request is
                // told that there is no session.
                if let Some(session) = self.sessions.get_mut(&session_id) {
                    if session.epoch != epoch {
                        let error = ErrorCode::INVALID_FETCH_SESSION_EPOCH;
                        return FetchResponse::empty(error, session_id);
                    }
                    session.keep_changes(&mut response);
                }
            }
        }
        self.check();
        response
    }

    /// The answer that has nothing, as the client is to wait (KIP-219). A session stays as it is, and one
    /// that would begin does not.
    #[must_use]
    pub fn withhold<R>(&self, plan: &FetchPlan) -> FetchResponse<R> {
        let Membership::Resumed { session_id, epoch } = plan.membership else {
            return FetchResponse::empty(ErrorCode::NONE, 0);
        };
        let session = self.sessions.get(&session_id);
        let is_overtaken = session.is_some_and(|session| session.epoch != epoch);
        let error =
            if is_overtaken { ErrorCode::INVALID_FETCH_SESSION_EPOCH } else { ErrorCode::NONE };
        FetchResponse::empty(error, session_id)
    }

    fn resume(
        &mut self,
        now_ms: i64,
        kind: TopicKind,
        request: &FetchRequest,
    ) -> Result<FetchPlan, ErrorCode> {
        let session_id = request.session_id;
        let session =
            self.sessions.get_mut(&session_id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.kind != kind {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        self.partition_count -= session.cached.len();
        session.update(request);
        self.partition_count += session.cached.len();
        if session.cached.is_empty() {
            self.remove(session_id);
            return Ok(FetchPlan { membership: Membership::Sessionless, targets: Vec::new() });
        }
        if self.partition_count > PARTITIONS_MAX {
            // Without its session, the client names all its partitions in each request.
            self.remove(session_id);
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        session.used_at_ms = now_ms;
        session.epoch = next_epoch(session.epoch);
        let membership = Membership::Resumed { session_id, epoch: session.epoch };
        let targets = session.cached.values().map(|cached| cached.target.clone()).collect();
        self.check();
        Ok(FetchPlan { membership, targets })
    }

    /// The id of the new session, or 0 if there is no room for it.
    fn insert(&mut self, now_ms: i64, random: u64, session: Session) -> i32 {
        let partition_count = session.cached.len();
        let is_full = self.sessions.len() >= self.session_count_max;
        if is_full && !self.evict(now_ms, partition_count) {
            return 0;
        }
        if self.partition_count + partition_count > PARTITIONS_MAX {
            return 0;
        }
        let mut session_id = positive(random);
        while self.sessions.contains_key(&session_id) {
            session_id = next_epoch(session_id);
        }
        self.partition_count += partition_count;
        self.sessions.insert(session_id, session);
        session_id
    }

    /// Makes room for a session of `partition_count`. Looks at all of them: only a full cache does.
    fn evict(&mut self, now_ms: i64, partition_count: usize) -> bool {
        let used = self.sessions.iter().map(|(id, session)| (session.used_at_ms, *id)).min();
        if let Some((used_at_ms, session_id)) = used
            && now_ms - used_at_ms > EVICTION_MS
        {
            self.remove(session_id);
            return true;
        }
        let old = self.sessions.iter().filter(|it| now_ms - it.1.created_at_ms > EVICTION_MS);
        match old.map(|(id, session)| (session.cached.len(), *id)).min() {
            Some((smallest, session_id)) if smallest < partition_count => {
                self.remove(session_id);
                true
            }
            Some(_) | None => false,
        }
    }

    fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.partition_count -= session.cached.len();
        }
    }

    fn check(&self) {
        assert!(self.sessions.len() <= self.session_count_max);
        assert!(self.partition_count <= PARTITIONS_MAX);
    }
}

impl Session {
    fn new<R>(
        now_ms: i64,
        kind: TopicKind,
        targets: &[Target],
        response: &FetchResponse<R>,
    ) -> Self {
        let mut session = Self {
            kind,
            epoch: next_epoch(EPOCH_INITIAL),
            created_at_ms: now_ms,
            used_at_ms: now_ms,
            cached: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        };
        let mut topic = None;
        for target in targets {
            session.set(&mut topic, &target.topic, target.partition);
        }
        for fetched in &response.topics {
            for partition in &fetched.partitions {
                let place = session.places.get(&(fetched.topic.clone(), partition.index));
                if let Some(cached) = place.and_then(|place| session.cached.get_mut(place)) {
                    cached.note(partition);
                }
            }
        }
        session
    }

    fn update(&mut self, request: &FetchRequest) {
        for asked in &request.topics {
            let mut topic = None;
            for partition in &asked.partitions {
                self.set(&mut topic, &asked.topic, *partition);
            }
        }
        for forgotten in &request.forgotten {
            for index in &forgotten.partitions {
                if let Some(place) = self.places.remove(&(forgotten.topic.clone(), *index)) {
                    self.cached.remove(&place);
                }
            }
        }
    }

    /// Adds a partition at the end, or changes what is asked of it. `kept` is the last topic that was
    /// added, so that the partitions of a topic share its name.
    fn set(&mut self, kept: &mut Option<TopicRef>, topic: &TopicRef, partition: FetchPartition) {
        let known = self.places.get(&(topic.clone(), partition.index));
        if let Some(cached) = known.and_then(|place| self.cached.get_mut(place)) {
            cached.target.partition = partition;
            return;
        }
        let topic = match kept {
            Some(kept) if kept == topic => kept.clone(),
            Some(_) | None => kept.insert(topic.detached()).clone(),
        };
        self.places.insert((topic.clone(), partition.index), self.next_place);
        let target = Target { topic, partition };
        let cached = Cached { target, high_watermark: -1, log_start_offset: -1 };
        self.cached.insert(self.next_place, cached);
        self.next_place += 1;
    }

    /// Leaves in `response` what the client does not know yet.
    fn keep_changes<R>(&mut self, response: &mut FetchResponse<R>) {
        for fetched in &mut response.topics {
            let topic = fetched.topic.clone();
            fetched.partitions.retain(|partition| self.is_news(&topic, partition));
        }
        response.topics.retain(|topic| !topic.partitions.is_empty());
    }

    fn is_news<R>(&mut self, topic: &TopicRef, partition: &FetchedPartition<R>) -> bool {
        let Some(place) = self.places.get_mut(&(topic.clone(), partition.index)) else {
            return true;
        };
        let Some(cached) = self.cached.get_mut(place) else { return true };
        let is_news = cached.note(partition);
        if partition.record_bytes() > 0
            && let Some(cached) = self.cached.remove(place)
        {
            self.cached.insert(self.next_place, cached);
            *place = self.next_place;
            self.next_place += 1;
        }
        is_news
    }
}

impl Cached {
    /// Remembers what is answered; whether it is worth answering.
    fn note<R>(&mut self, partition: &FetchedPartition<R>) -> bool {
        let is_news = partition.record_bytes() > 0
            || partition.error.is_error()
            || partition.preferred_replica >= 0
            || partition.high_watermark != self.high_watermark
            || partition.log_start_offset != self.log_start_offset;
        // After an error, the next success is news whatever it says.
        self.high_watermark =
            if partition.error.is_error() { -1 } else { partition.high_watermark };
        self.log_start_offset = partition.log_start_offset;
        is_news
    }
}

/// Every partition of the request once, where it came first, as it was said last.
fn targets(request: &FetchRequest) -> Vec<Target> {
    let mut places: BTreeMap<(&TopicRef, i32), usize> = BTreeMap::new();
    let mut targets: Vec<Target> = Vec::new();
    for asked in &request.topics {
        for partition in &asked.partitions {
            let place = *places.entry((&asked.topic, partition.index)).or_insert(targets.len());
            match targets.get_mut(place) {
                Some(target) => target.partition = *partition,
                None => targets.push(Target { topic: asked.topic.clone(), partition: *partition }),
            }
        }
    }
    targets
}

/// Epochs, and ids, after the largest begin at 1 again.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// An id that means a session: 1 and above.
fn positive(random: u64) -> i32 {
    let span = u64::from(i32::MAX.unsigned_abs());
    i32::try_from(random % span).map_or(1, |id| id + 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::protocol::StrBytes;

    use super::{EVICTION_MS, FetchSessions, PARTITIONS_MAX};

    const SESSIONS_MAX: usize = 1000;
    use crate::error_code::ErrorCode;
    use crate::fetch::{
        FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition, ForgottenTopic,
    };
    use crate::outgoing::Records;
    use crate::topic::{TopicKind, TopicRef};

    fn topic() -> TopicRef {
        TopicRef::Name(StrBytes::from_static_str("orders"))
    }

    /// A request for partitions of one topic: index and offset.
    fn request(session_id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
        let partitions = partitions.iter().map(|(index, fetch_offset)| FetchPartition {
            index: *index,
            current_leader_epoch: -1,
            fetch_offset: *fetch_offset,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1000,
        });
        FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1000,
            isolation_level: 0,
            session_id,
            session_epoch: epoch,
            topics: vec![FetchTopic { topic: topic(), partitions: partitions.collect() }],
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        }
    }

    fn forget(mut request: FetchRequest, partitions: &[i32]) -> FetchRequest {
        request.forgotten.push(ForgottenTopic { topic: topic(), partitions: partitions.to_vec() });
        request
    }

    fn found(index: i32, high_watermark: i64, records: &'static [u8]) -> FetchedPartition<Bytes> {
        FetchedPartition {
            error: ErrorCode::NONE,
            high_watermark,
            log_start_offset: 0,
            records: Some(Records::from_bytes(Bytes::from_static(records))),
            ..FetchedPartition::refused(index, ErrorCode::NONE)
        }
    }

    /// A log of ten records in each partition below 100, none in those above.
    fn read(index: i32, offset: i64) -> FetchedPartition<Bytes> {
        match (index, offset) {
            (100.., _) => FetchedPartition::refused(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            (_, 10..) => found(index, 10, b""),
            _ => found(index, 10, b"records"),
        }
    }

    struct Client {
        sessions: FetchSessions,
        now_ms: i64,
        random: u64,
    }

    /// Session id, and the indexes that were answered.
    type Answer = Result<(i32, Vec<i32>), ErrorCode>;

    impl Client {
        fn new() -> Self {
            Self { sessions: FetchSessions::new(SESSIONS_MAX), now_ms: 0, random: 40 }
        }

        fn fetch(&mut self, request: &FetchRequest) -> Answer {
            let plan = self.sessions.plan(self.now_ms, TopicKind::Name, request)?;
            let mut response = FetchResponse::empty(ErrorCode::NONE, 0);
            for target in plan.targets() {
                let partition = &target.partition;
                response.push(&target.topic, read(partition.index, partition.fetch_offset));
            }
            self.random += 1;
            let response = self.sessions.complete(self.now_ms, plan, self.random, response);
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            Ok((response.session_id, partitions.map(|partition| partition.index).collect()))
        }
    }

    #[test]
    fn only_changes_are_answered() {
        let mut client = Client::new();
        let (id, all) = client.fetch(&request(0, 0, &[(0, 0), (1, 10), (2, 0)])).unwrap();
        assert_eq!((id, all), (42, vec![0, 1, 2]));
        // Partition 0 was not fetched yet, partition 1 has nothing new; 2 is at the end now.
        assert_eq!(client.fetch(&request(id, 1, &[(2, 10)])), Ok((id, vec![0])));
        assert_eq!(client.fetch(&request(id, 2, &[(0, 10)])), Ok((id, vec![])));
        // A partition that joins is answered once, though it has no records.
        assert_eq!(client.fetch(&request(id, 3, &[(3, 10)])), Ok((id, vec![3])));
        assert_eq!(client.fetch(&request(id, 4, &[])), Ok((id, vec![])));
    }

    #[test]
    fn a_partition_that_gave_records_goes_to_the_end() {
        let mut client = Client::new();
        let (id, _) = client.fetch(&request(0, 0, &[(0, 10), (1, 0), (2, 0)])).unwrap();
        assert_eq!(client.fetch(&request(id, 1, &[])), Ok((id, vec![1, 2])));
        let plan = client.sessions.plan(0, TopicKind::Name, &request(id, 2, &[])).unwrap();
        let order: Vec<i32> = plan.targets().iter().map(|it| it.partition.index).collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(client.fetch(&request(id, 3, &[(1, 10)])), Ok((id, vec![2])));
        assert_eq!(client.fetch(&request(id, 4, &[(0, 0)])), Ok((id, vec![0, 2])));
        assert_eq!(client.fetch(&request(id, 5, &[(1, 0)])), Ok((id, vec![1, 0, 2])));
    }

    #[test]
    fn an_error_is_repeated_until_it_is_forgotten() {
        let mut client = Client::new();
        let (id, _) = client.fetch(&request(0, 0, &[(0, 10), (100, 0)])).unwrap();
        assert_eq!(client.fetch(&request(id, 1, &[])), Ok((id, vec![100])));
        assert_eq!(client.fetch(&request(id, 2, &[])), Ok((id, vec![100])));
        assert_eq!(client.fetch(&forget(request(id, 3, &[]), &[100])), Ok((id, vec![])));
    }

    #[test]
    fn a_wrong_epoch_leaves_the_session_as_it_was() {
        let mut client = Client::new();
        let (id, _) = client.fetch(&request(0, 0, &[(0, 0)])).unwrap();
        assert_eq!(client.fetch(&request(id, 1, &[])), Ok((id, vec![0])));
        for epoch in [1, 3, -2] {
            let got = client.fetch(&request(id, epoch, &[]));
            assert_eq!(got, Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        }
        assert_eq!(client.fetch(&request(id, 2, &[])), Ok((id, vec![0])));
        let got = client.fetch(&request(id + 1, 3, &[]));
        assert_eq!(got, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    }

    #[test]
    fn the_final_epoch_closes_and_is_answered_in_full() {
        let mut client = Client::new();
        let (id, _) = client.fetch(&request(0, 0, &[(0, 10)])).unwrap();
        assert_eq!(client.fetch(&request(id, -1, &[(0, 10)])), Ok((0, vec![0])));
        assert_eq!(client.sessions.session_count(), 0);
        let got = client.fetch(&request(id, 1, &[]));
        assert_eq!(got, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    }

    #[test]
    fn a_first_epoch_with_an_old_id_makes_a_new_session() {
        let mut client = Client::new();
        let (old, _) = client.fetch(&request(0, 0, &[(0, 10)])).unwrap();
        let (new, _) = client.fetch(&request(old, 0, &[(0, 10)])).unwrap();
        assert!(old != new);
        assert_eq!(client.sessions.session_count(), 1);
        assert_eq!(client.sessions.partition_count(), 1);
    }

    #[test]
    fn an_empty_full_fetch_makes_a_session_and_an_emptied_session_ends() {
        let mut client = Client::new();
        let (id, none) = client.fetch(&request(0, 0, &[])).unwrap();
        assert!(id > 0 && none.is_empty());
        assert_eq!(client.fetch(&request(id, 1, &[(0, 10)])), Ok((id, vec![0])));
        assert_eq!(client.fetch(&forget(request(id, 2, &[]), &[0])), Ok((0, vec![])));
        assert_eq!(client.sessions.session_count(), 0);
    }

    #[test]
    fn of_a_partition_named_twice_the_last_one_wins() {
        let mut client = Client::new();
        for epoch in [-1, 0] {
            let twice = request(0, epoch, &[(0, 3), (1, 1), (0, 4)]);
            let plan = client.sessions.plan(0, TopicKind::Name, &twice).unwrap();
            let got: Vec<(i32, i64)> = plan
                .targets()
                .iter()
                .map(|it| (it.partition.index, it.partition.fetch_offset))
                .collect();
            assert_eq!(got, [(0, 4), (1, 1)]);
        }
    }

    #[test]
    fn names_and_ids_do_not_mix() {
        let mut client = Client::new();
        let (id, _) = client.fetch(&request(0, 0, &[(0, 0)])).unwrap();
        let got = client.sessions.plan(0, TopicKind::Id, &request(id, 1, &[]));
        assert_eq!(got.err(), Some(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
        assert_eq!(client.fetch(&request(id, 1, &[])), Ok((id, vec![0])));
    }

    #[test]
    fn a_full_cache_gives_up_what_is_stale_then_what_is_smaller() {
        let mut client = Client::new();
        let ids: Vec<i32> = (0..SESSIONS_MAX)
            .map(|_| client.fetch(&request(0, 0, &[(0, 10), (1, 10)])).unwrap().0)
            .collect();
        assert_eq!(client.sessions.session_count(), SESSIONS_MAX);
        assert_eq!(client.fetch(&request(0, 0, &[(0, 10)])), Ok((0, vec![0])));

        // All are old, and all but one are in use: it makes room, whatever the size.
        client.now_ms = EVICTION_MS;
        for id in &ids[1..] {
            assert_eq!(client.fetch(&request(*id, 1, &[])), Ok((*id, vec![])));
        }
        client.now_ms += 1;
        assert!(client.fetch(&request(0, 0, &[(0, 10)])).unwrap().0 > 0);
        let got = client.fetch(&request(ids[0], 1, &[]));
        assert_eq!(got, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));

        // Now none is stale: only a larger one gets a place.
        assert_eq!(client.fetch(&request(0, 0, &[(0, 10), (1, 10)])), Ok((0, vec![0, 1])));
        let larger = request(0, 0, &[(0, 10), (1, 10), (2, 10)]);
        assert!(client.fetch(&larger).unwrap().0 > 0);
        assert_eq!(client.sessions.session_count(), SESSIONS_MAX);
    }

    #[test]
    fn partitions_of_all_sessions_are_bounded() {
        let mut client = Client::new();
        let half: Vec<(i32, i64)> =
            (0..i32::try_from(PARTITIONS_MAX / 2).unwrap()).map(|index| (index, 10)).collect();
        let (id, _) = client.fetch(&request(0, 0, &half)).unwrap();
        let (other, _) = client.fetch(&request(0, 0, &half)).unwrap();
        assert!(id > 0 && other > 0);
        assert_eq!(client.fetch(&request(0, 0, &[(0, 10)])), Ok((0, vec![0])));
        let more = request(id, 1, &[(i32::MAX, 10)]);
        assert_eq!(client.fetch(&more), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(client.sessions.partition_count(), half.len());
    }

    #[test]
    fn a_session_keeps_no_frame() {
        let mut client = Client::new();
        let frame = Bytes::from(b"orders and more".to_vec());
        let mut asked = request(0, 0, &[(0, 10)]);
        asked.topics[0].topic = TopicRef::Name(StrBytes::from_utf8(frame.slice(..6)).unwrap());
        client.fetch(&asked).unwrap();
        drop(asked);
        assert!(frame.is_unique());
    }
}
