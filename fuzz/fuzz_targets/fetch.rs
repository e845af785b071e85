//! Fetch as clients mean it: sessions that grow, shrink, are forged and are forgotten, each answer
//! through the wire and back.
//!
//! The input is a scene, not bytes. A model of the client knows what a session must hold.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use bytes::Bytes;
use kafka_protocol::messages::fetch_request as generated;
use kafka_protocol::protocol::{Decodable, StrBytes};
use libfuzzer_sys::fuzz_target;
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::error_code::ErrorCode;
use net::fetch::{
    self, FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition,
    ForgottenTopic, SESSIONLESS_EPOCH,
};
use net::fetch_session::FetchSessions;
use net::header::{Reply, RequestHeader};
use net::outgoing::{Outgoing, Piece, Records};
use net::topic::TopicRef;

#[derive(Arbitrary, Debug)]
struct Scene {
    version: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
struct Step {
    kind: Kind,
    /// Partitions and the offsets to read them from.
    asked: Vec<(u8, u16)>,
    forgotten: Vec<u8>,
    /// By partition: what there is to read.
    answers: [Answer; 4],
    wait_ms: u32,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Begin,
    Go,
    Leave,
    Forge { session_id: i32, epoch: i32 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Answer {
    high_watermark: u8,
    has_records: bool,
    has_error: bool,
}

/// What the client of a session knows.
#[derive(Default)]
struct Client {
    session: Option<Session>,
}

struct Session {
    id: i32,
    epoch: i32,
    asked: BTreeMap<i32, FetchPartition>,
    /// High watermarks as last answered without an error.
    told: BTreeMap<i32, i64>,
}

const SESSIONS_MAX: usize = 1_000;

fuzz_target!(|scene: Scene| {
    let version = 7 + i16::from(scene.version % 12);
    let mut sessions = FetchSessions::new(SESSIONS_MAX);
    let mut client = Client::default();
    let mut now_ms = 0;
    for (random, step) in (0..).zip(scene.steps.iter().take(64)) {
        now_ms += i64::from(step.wait_ms % 1_000_000);
        let request = through_wire(&client.request(step, version), version);
        match sessions.plan(now_ms, fetch::topic_kind(version), &request) {
            Ok(plan) => {
                let targets: Vec<FetchPartition> =
                    plan.targets().iter().map(|target| target.partition).collect();
                client.check_targets(&request, &targets, plan.is_incremental());
                let mut response = FetchResponse::empty(ErrorCode::NONE, 0);
                for target in plan.targets() {
                    let index = target.partition.index;
                    response.push(&target.topic, answer(index, step.answers, version));
                }
                let is_incremental = plan.is_incremental();
                let response = sessions.complete(now_ms, plan, random, response);
                let response = back(response, version);
                client.on_answer(&request, &targets, is_incremental, step, &response);
            }
            Err(error) => client.on_error(&request, error),
        }
        assert!(sessions.session_count() <= scene.steps.len());
    }
});

fn topic(version: i16) -> TopicRef {
    if version < 13 {
        TopicRef::Name(StrBytes::from_static_str("orders"))
    } else {
        TopicRef::Id([7; 16])
    }
}

fn answer(index: i32, answers: [Answer; 4], version: i16) -> FetchedPartition<Bytes> {
    let answer = answers[usize::try_from(index).expect("not negative") % answers.len()];
    if answer.has_error {
        return FetchedPartition::refused(index, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    let records: &[u8] = if answer.has_records { b"records" } else { b"" };
    FetchedPartition {
        high_watermark: i64::from(answer.high_watermark),
        last_stable_offset: i64::from(answer.high_watermark),
        log_start_offset: if version >= 5 { 0 } else { -1 },
        records: Some(Records::from_bytes(Bytes::from_static(records))),
        ..FetchedPartition::refused(index, ErrorCode::NONE)
    }
}

/// What the broker reads of what a client writes; the generated code reads the same.
fn through_wire(request: &FetchRequest, version: i16) -> FetchRequest {
    let client_id = StrBytes::from_static_str("fuzz");
    let sent = client::encode_fetch(&Envelope { version, correlation_id: 1, client_id }, request);
    let (_, body) = RequestHeader::decode(&sent.slice(4..)).expect("it is ours");
    let decoded = FetchRequest::decode(&body, version).expect("it is ours");
    assert_eq!(&decoded, request);
    let theirs = generated::FetchRequest::decode(&mut body.clone(), version).expect("it is sound");
    assert_eq!(
        (theirs.session_id, theirs.session_epoch),
        (request.session_id, request.session_epoch)
    );
    let theirs = theirs.topics.iter().flat_map(|it| &it.partitions);
    let ours = request.topics.iter().flat_map(|it| &it.partitions);
    assert!(
        theirs
            .map(|it| (it.partition, it.fetch_offset))
            .eq(ours.map(|it| (it.index, it.fetch_offset)))
    );
    decoded
}

/// What a client reads of what the broker writes.
fn back(response: FetchResponse<Bytes>, version: i16) -> FetchResponse<Bytes> {
    let want = response.session_id;
    let mut frame = Outgoing::response(Reply { api: ApiKey::Fetch, version, correlation_id: 1 });
    response.encode(&mut frame, version);
    let mut sent = Vec::new();
    for piece in frame.finish().expect("it is bounded") {
        match piece {
            Piece::Bytes(bytes) => sent.extend_from_slice(&bytes),
            Piece::Records(records) => sent.extend_from_slice(records.handle()),
        }
    }
    let sent = Bytes::from(sent).slice(4..);
    let (_, body) = client::split_response(ApiKey::Fetch, version, &sent).expect("it is ours");
    let decoded = client::decode_fetch(version, &body).expect("it is ours");
    assert_eq!(decoded.session_id, want);
    decoded
}

impl Client {
    fn request(&self, step: &Step, version: i16) -> FetchRequest {
        let mine = self.session.as_ref().map_or((0, 0), |it| (it.id, it.epoch));
        let (session_id, session_epoch) = match step.kind {
            Kind::Begin => (mine.0, 0),
            Kind::Go => mine,
            Kind::Leave => (mine.0, SESSIONLESS_EPOCH),
            Kind::Forge { session_id, epoch } => (session_id, epoch),
        };
        let asked = step.asked.iter().take(16).map(|(index, offset)| FetchPartition {
            index: i32::from(index % 16),
            current_leader_epoch: -1,
            fetch_offset: i64::from(*offset),
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1 << 20,
        });
        let asked: Vec<FetchPartition> = asked.collect();
        let forgotten: Vec<i32> = step.forgotten.iter().map(|it| i32::from(it % 16)).collect();
        let topic = topic(version);
        let topics =
            (!asked.is_empty()).then(|| FetchTopic { topic: topic.clone(), partitions: asked });
        let forgotten =
            (!forgotten.is_empty()).then_some(ForgottenTopic { topic, partitions: forgotten });
        FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1 << 20,
            isolation_level: 0,
            session_id,
            session_epoch,
            topics: topics.into_iter().collect(),
            forgotten: forgotten.into_iter().collect(),
            rack_id: StrBytes::new(),
        }
    }

    /// The session's partitions after `request`, each once, the last word on each.
    fn want(&self, request: &FetchRequest, is_incremental: bool) -> BTreeMap<i32, FetchPartition> {
        let mut want = match &self.session {
            Some(session) if is_incremental => session.asked.clone(),
            Some(_) | None => BTreeMap::new(),
        };
        let asked = request.topics.iter().flat_map(|topic| &topic.partitions);
        want.extend(asked.map(|partition| (partition.index, *partition)));
        if is_incremental {
            for index in request.forgotten.iter().flat_map(|topic| &topic.partitions) {
                want.remove(index);
            }
        }
        want
    }

    fn check_targets(
        &self,
        request: &FetchRequest,
        targets: &[FetchPartition],
        is_incremental: bool,
    ) {
        if is_incremental {
            let session = self.session.as_ref().expect("only a session's client goes on with it");
            assert_eq!((session.id, session.epoch), (request.session_id, request.session_epoch));
        }
        let got: BTreeMap<i32, FetchPartition> =
            targets.iter().map(|target| (target.index, *target)).collect();
        assert_eq!(got.len(), targets.len(), "each partition once");
        if is_incremental || request.session_epoch <= 0 {
            assert_eq!(got, self.want(request, is_incremental));
        } else {
            // The session was emptied, and so it ended.
            assert!(targets.is_empty());
        }
    }

    fn on_answer(
        &mut self,
        request: &FetchRequest,
        targets: &[FetchPartition],
        is_incremental: bool,
        step: &Step,
        response: &FetchResponse<Bytes>,
    ) {
        let answered = response.topics.iter().flat_map(|topic| &topic.partitions);
        let indexes: BTreeSet<i32> = answered.clone().map(|partition| partition.index).collect();
        if is_incremental {
            let asked = self.want(request, true);
            let session = self.session.as_mut().expect("checked with the targets");
            session.asked = asked;
            session.told.retain(|index, _| session.asked.contains_key(index));
            for target in targets {
                let answer = step.answers[usize::try_from(target.index).expect("small") % 4];
                let high_watermark = i64::from(answer.high_watermark);
                let is_told = session.told.get(&target.index) == Some(&high_watermark);
                if answer.has_error || answer.has_records || !is_told {
                    assert!(indexes.contains(&target.index), "news of {}", target.index);
                }
            }
            session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        } else {
            assert_eq!(indexes.len(), targets.len(), "a whole answer");
            self.session = (response.session_id != 0).then(|| Session {
                id: response.session_id,
                epoch: 1,
                asked: targets.iter().map(|target| (target.index, *target)).collect(),
                told: BTreeMap::new(),
            });
        }
        let Some(session) = &mut self.session else { return };
        for partition in answered {
            if partition.error == ErrorCode::NONE {
                session.told.insert(partition.index, partition.high_watermark);
            } else {
                session.told.remove(&partition.index);
            }
        }
    }

    /// Forged words do not harm the session that they do not name; what names it may end it.
    fn on_error(&mut self, request: &FetchRequest, error: ErrorCode) {
        let known = [
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
            ErrorCode::INVALID_FETCH_SESSION_EPOCH,
            ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
        ];
        assert!(known.contains(&error));
        let mine = self.session.as_ref().map(|it| (it.id, it.epoch));
        assert_ne!(mine, Some((request.session_id, request.session_epoch)), "it is in use");
    }
}
