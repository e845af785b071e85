//! A simulated consumer with assigned partitions: reads what follows what it has read, and nothing else.
//!
//! It hands every answer to the recorder; only the broker's errors are judged here.

use std::time::Duration;

use bytes::Bytes;
use engine::batch;
use engine::id::Offset;
use engine::records::{Record, Records};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client;
use net::error_code::ErrorCode;
use net::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition, SESSIONLESS_EPOCH,
};

use crate::io::Io;
use crate::sim::SimIo;
use crate::sim::chance::Chance;
use crate::sim::failure::Check;
use crate::sim::history::{Event, ReaderId, Seen, Value, is_tombstone, key_of};
use crate::sim::producer::reference;
use crate::sim::recorder::{Recorder, Target};
use crate::sim::session::{SESSIONS_FROM, Session};
use crate::sim::wire::{Gone, Wire};

const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
const RETRY_NANOS: u64 = 30_000_000;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Longest pause of a consumer that has found nothing for a while.
const QUIET_NANOS_MAX: u64 = 500_000_000;

/// How a consumer asks.
#[derive(Clone, Debug)]
pub struct Manners {
    /// At least 5, so that an answer says where the log starts.
    pub version: i16,
    pub max_wait_ms: i32,
    pub max_bytes: i32,
    pub isolation_level: i8,
    pub pause_nanos: u64,
}

struct Course {
    target: Target,
    reader: ReaderId,
    /// Unknown until the log start was asked for.
    position: Option<Offset>,
    /// As the last answer had it.
    high_watermark: Option<Offset>,
}

impl Course {
    fn is_read(&self) -> bool {
        self.position.zip(self.high_watermark).is_some_and(|(position, end)| position >= end)
    }
}

pub struct Consumer {
    io: SimIo,
    node: usize,
    recorder: Recorder,
    chance: Chance,
    manners: Manners,
    courses: Vec<Course>,
    session: Option<Session>,
    /// Rounds since something was read, at most 16.
    quiet_count: u32,
}

impl Consumer {
    #[must_use]
    pub fn new(
        io: &SimIo,
        node: usize,
        recorder: &Recorder,
        manners: Manners,
        targets: Vec<Target>,
    ) -> Self {
        let courses = targets.into_iter().map(|target| Course {
            target,
            reader: recorder.reader(),
            position: None,
            high_watermark: None,
        });
        Self {
            io: io.clone(),
            node,
            recorder: recorder.clone(),
            chance: Chance::new(io.random()),
            manners,
            courses: courses.collect(),
            session: None,
            quiet_count: 0,
        }
    }

    /// The same, but that it fetches in a session.
    #[must_use]
    pub fn in_session(self) -> Self {
        assert!(self.manners.version >= SESSIONS_FROM);
        Self { session: Some(Session::default()), ..self }
    }

    /// Follows the logs until the recorder closes.
    pub async fn follow(mut self) {
        while !self.recorder.is_closing() && !self.courses.is_empty() {
            let mut wire = Wire::connect(&self.io, self.node).await;
            self.session.iter_mut().for_each(Session::end);
            while let Ok(()) = self.round(&mut wire).await {
                if self.recorder.is_closing() || self.courses.is_empty() {
                    return;
                }
                let nanos = self.manners.pause_nanos;
                let patient = (nanos << self.quiet_count).min(QUIET_NANOS_MAX);
                self.pause(patient.max(nanos)).await;
            }
        }
    }

    /// Asks for the start and the end of each log.
    pub async fn bounds(mut self) -> Vec<(Target, Offset, Offset)> {
        let mut found = Vec::new();
        while let Some(course) = self.courses.first() {
            let target = course.target.clone();
            let mut wire = Wire::connect(&self.io, self.node).await;
            let start = list_offsets(&mut wire, &target, EARLIEST).await;
            let end = list_offsets(&mut wire, &target, LATEST).await;
            if let (Ok((ErrorCode::NONE, start)), Ok((ErrorCode::NONE, end))) = (start, end)
                && let Some((start, end)) = Offset::checked(start).zip(Offset::checked(end))
            {
                found.push((target, start, end));
                self.courses.remove(0);
            }
        }
        found
    }

    /// Reads the logs from their start to their end.
    pub async fn read_whole(mut self) {
        while !self.courses.is_empty() {
            let mut wire = Wire::connect(&self.io, self.node).await;
            self.session.iter_mut().for_each(Session::end);
            while let Ok(()) = self.round(&mut wire).await {
                let (read, rest) = self.courses.drain(..).partition(Course::is_read);
                self.courses = rest;
                for Course { reader, target, .. } in read {
                    self.recorder.record(&Event::Final { reader, log: target.log });
                }
                if self.courses.is_empty() || self.recorder.has_failed() {
                    return;
                }
            }
        }
    }

    async fn round(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let recorder = self.recorder.clone();
        self.courses.retain(|course| !recorder.is_ending(course.target.log));
        for index in 0..self.courses.len() {
            if self.courses[index].position.is_none() {
                self.find(wire, index, EARLIEST).await?;
            }
        }
        if self.chance.one_in(8) && !self.courses.is_empty() {
            let index = self.chance.index(self.courses.len());
            self.find(wire, index, LATEST).await?;
        }
        self.fetch(wire).await
    }

    /// Asks where the log starts or ends.
    async fn find(&mut self, wire: &mut Wire, index: usize, wanted: i64) -> Result<(), Gone> {
        let Course { target, reader, .. } = &self.courses[index];
        let (target, reader, log) = (target.clone(), *reader, target.log);
        self.recorder.record(&Event::Asked { reader, log, position: Offset::ZERO });
        let answer = list_offsets(wire, &target, wanted).await;
        let found = answer.as_ref().ok().and_then(|(_, offset)| Offset::checked(*offset));
        let error = answer.as_ref().map_or(ErrorCode::NONE, |(error, _)| *error);
        let event = match found {
            Some(log_start) if error == ErrorCode::NONE && wanted == EARLIEST => {
                self.courses[index].position = Some(log_start);
                Event::FoundStart { reader, log, log_start }
            }
            Some(high_watermark) if error == ErrorCode::NONE => {
                Event::FoundEnd { reader, log, high_watermark }
            }
            _ => {
                self.judge(&target, error);
                Event::Unanswered { reader, log }
            }
        };
        self.recorder.record(&event);
        if error != ErrorCode::NONE {
            self.pause(RETRY_NANOS).await;
        }
        answer.map(|_| ())
    }

    async fn fetch(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        self.quiet_count = (self.quiet_count + 1).min(16);
        let Some(mut request) = self.request() else { return Ok(()) };
        let may_omit = self.session.as_ref().is_some_and(Session::is_incremental);
        self.session.iter_mut().for_each(|session| session.ask(&mut request));
        let envelope = wire.envelope(self.manners.version);
        let sent = wire.send(client::encode_fetch(&envelope, &request)).await;
        let body = match sent {
            Ok(()) => wire.receive(ApiKey::Fetch, &envelope).await,
            Err(gone) => Err(gone),
        };
        let response = body.map(|body| {
            let response = client::decode_fetch(envelope.version, &body);
            response.unwrap_or_else(|error| panic!("a response to Fetch: {error:?}"))
        });
        let mut is_troubled = false;
        let response = response.map(|it| self.in_its_session(it));
        for index in 0..self.courses.len() {
            let Course { target, reader, position, .. } = &self.courses[index];
            if position.is_none() {
                continue;
            }
            let (target, reader) = (target.clone(), *reader);
            let answer = match &response {
                Ok(Some(response)) => self.answer(response, &target, may_omit),
                Ok(None) | Err(Gone) => None,
            };
            match answer {
                Some(answer) => is_troubled |= self.on_answer(index, &answer),
                None => self.recorder.record(&Event::Unanswered { reader, log: target.log }),
            }
        }
        if is_troubled {
            self.pause(RETRY_NANOS).await;
        }
        response.map(|_| ())
    }

    /// The answer, if the broker knows the session, or there was to be none.
    fn in_its_session(&mut self, response: FetchResponse<Bytes>) -> Option<FetchResponse<Bytes>> {
        let Some(session) = &mut self.session else { return Some(response) };
        match response.error {
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND | ErrorCode::INVALID_FETCH_SESSION_EPOCH => {
                session.end();
                return None;
            }
            ErrorCode::NONE => session.on_answer(response.session_id),
            _ => session.end(),
        }
        Some(response)
    }

    /// A question for all courses that have a position.
    fn request(&self) -> Option<FetchRequest> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Course { target, reader, position, .. } in &self.courses {
            let Some(position) = *position else { continue };
            self.recorder.record(&Event::Asked { reader: *reader, log: target.log, position });
            let partition = FetchPartition {
                index: target.partition,
                current_leader_epoch: -1,
                fetch_offset: position.get(),
                last_fetched_epoch: -1,
                log_start_offset: -1,
                max_bytes: self.manners.max_bytes,
            };
            let topic = reference(target, self.manners.version);
            match topics.iter_mut().find(|it| it.topic == topic) {
                Some(known) => known.partitions.push(partition),
                None => topics.push(FetchTopic { topic, partitions: vec![partition] }),
            }
        }
        (!topics.is_empty()).then(|| FetchRequest {
            replica_id: -1,
            max_wait_ms: self.manners.max_wait_ms,
            min_bytes: 1,
            max_bytes: self.manners.max_bytes,
            isolation_level: self.manners.isolation_level,
            session_id: 0,
            session_epoch: SESSIONLESS_EPOCH,
            topics,
            forgotten: Vec::new(),
            rack_id: StrBytes::new(),
        })
    }

    fn answer(
        &self,
        response: &FetchResponse<Bytes>,
        target: &Target,
        may_omit: bool,
    ) -> Option<FetchedPartition<Bytes>> {
        if response.error != ErrorCode::NONE {
            self.recorder.fail(Check::Answer, format!("a fetch got error {:?}", response.error));
        }
        let topic = reference(target, self.manners.version);
        let topic = response.topics.iter().find(|it| it.topic == topic);
        let mut partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
        let answer = partitions.find(|it| it.index == target.partition).cloned();
        if answer.is_none() && !may_omit {
            self.recorder
                .fail(Check::Answer, format!("no answer for {target:?} in a response to Fetch"));
        }
        answer
    }

    /// Whether to wait before the next question.
    fn on_answer(&mut self, index: usize, answer: &FetchedPartition<Bytes>) -> bool {
        let course = &mut self.courses[index];
        let (reader, log) = (course.reader, course.target.log);
        let bounds =
            Offset::checked(answer.log_start_offset).zip(Offset::checked(answer.high_watermark));
        let last_stable = Offset::checked(answer.last_stable_offset);
        match (answer.error, bounds.zip(last_stable), course.position) {
            (ErrorCode::NONE, Some(((log_start, high_watermark), last_stable)), Some(position)) => {
                let (seen, next) = match &answer.records {
                    Some(records) => seen(records.handle(), position),
                    None => (Vec::new(), position),
                };
                if next > position {
                    course.position = Some(next);
                    self.quiet_count = 0;
                }
                course.high_watermark = Some(high_watermark);
                let read =
                    Event::Read { reader, log, log_start, last_stable, high_watermark, seen, next };
                self.recorder.record(&read);
                false
            }
            (ErrorCode::CORRUPT_MESSAGE, _, Some(position)) => {
                course.position = Some(position.plus(1));
                self.quiet_count = 0;
                self.recorder.record(&Event::Corrupt { reader, log });
                false
            }
            (ErrorCode::OFFSET_OUT_OF_RANGE, ..) => {
                let position = course.position.take().unwrap_or(Offset::ZERO);
                self.recorder.record(&Event::OutOfRange { reader, log, position });
                false
            }
            (error, ..) => {
                let target = course.target.clone();
                self.recorder.record(&Event::Unanswered { reader, log });
                self.judge(&target, error);
                true
            }
        }
    }

    /// Errors that a healthy or a faulty broker may answer are waited out, others are failures.
    fn judge(&self, target: &Target, error: ErrorCode) {
        let is_usual = matches!(
            error,
            ErrorCode::NONE
                | ErrorCode::KAFKA_STORAGE_ERROR
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::LEADER_NOT_AVAILABLE
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        );
        if !is_usual {
            self.recorder
                .fail(Check::Answer, format!("log {}: a read got error {error:?}", target.log.0));
        }
    }

    async fn pause(&mut self, nanos_max: u64) {
        let nanos = self.chance.below(nanos_max.max(1));
        self.io.sleep(Duration::from_nanos(nanos)).await;
    }
}

async fn list_offsets(
    wire: &mut Wire,
    target: &Target,
    wanted: i64,
) -> Result<(ErrorCode, i64), Gone> {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(target.partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(wanted);
    let name = TopicName(StrBytes::from_string(target.topic.clone()));
    let topic = ListOffsetsTopic::default().with_name(name).with_partitions(vec![partition]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let response: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, 7, &request).await?;
    let partition = response.topics.first().and_then(|topic| topic.partitions.first());
    let partition = partition.expect("every partition asked for is answered");
    Ok((ErrorCode::new(partition.error_code), partition.offset))
}

/// The records from `position` on, and where the batches end that hold them, or held them. A batch that is
/// not sound is a record that is nobody's.
fn seen(records: &Bytes, position: Offset) -> (Vec<Seen>, Offset) {
    let mut seen = Vec::new();
    let mut next = position;
    for (start, batch) in batch::walk_headers(records) {
        let end = start + batch.len_bytes();
        let nobodys = Offset::checked(batch.base_offset()).unwrap_or(position);
        let decoded = match Records::new(&records.slice(start..end), DECOMPRESSED_BYTES_MAX) {
            Ok(decoded) if batch.crc_holds() => decoded,
            _ => {
                seen.push(Seen { offset: nobodys, value: None });
                continue;
            }
        };
        next = batch.next_offset().map_or(next, |it| it.max(next));
        for record in decoded {
            let Ok(record) = record else {
                seen.push(Seen { offset: nobodys, value: None });
                break;
            };
            let value = value_of(&record);
            seen.push(Seen { offset: record.offset, value });
        }
    }
    seen.retain(|it| it.offset >= position);
    (seen, next)
}

/// A record without a value has a key that it deletes, and says in a header who it is.
fn value_of(record: &Record) -> Option<Value> {
    let Some(key) = &record.key else { return Value::decode(record.value.as_deref()?) };
    let id = || record.headers.first()?.value.as_deref();
    let value = Value::decode(record.value.as_deref().or_else(id)?)?;
    let (writer, sequence) = (value.writer, value.sequence);
    let is_right = format!("key-{}", key_of(writer, sequence)).as_bytes() == &key[..]
        && is_tombstone(writer, sequence) == record.value.is_none();
    is_right.then_some(value)
}
