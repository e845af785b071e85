//! From a request to its answer: what each API asks of the shards, and how their answers look on the wire.
//!
//! Also the one table from our errors to Kafka's codes, matched exhaustively.
//! Knows no socket and no file.

pub mod admin;
pub mod configs;
pub mod consumer_groups;
pub mod features;
pub mod fetch;
pub mod group_offsets;
pub mod groups;
pub mod log_dirs;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod producers;
pub mod quorum;
pub mod quotas;
pub mod replicas;
pub mod scram;
pub mod topic_partitions;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use engine::admission::Refusal;
use engine::id::TopicId;
use engine::producers::SequenceError;
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::api_versions;
use net::error_code::ErrorCode;
use net::request::Request as Body;
use net::response::Response;
use net::topic::TopicRef;
use replication::group::answer::GroupError;
use replication::image::{Image, Topic};
use replication::refusal::Reason;

use crate::cause::Cause;
use crate::connection::{Connection, Frame, Records, Request};
use crate::groups::Absence;
use crate::io::Io;
use crate::limits::{BODY_BYTES_MAX, CREATING_ELEMENTS_MAX, ELEMENTS_PER_SLICE, SPARE_ELEMENTS};
use crate::message::{ProduceError, ReadError};
use crate::metrics::Stage;
use crate::shard::Shard;

/// The connection must be closed.
pub struct Close(pub Cause);

/// An answer, or the promise of one.
pub enum Answered<I: Io> {
    Frame(Frame<I>),
    Produce(produce::Pending<I>),
}

impl<I: Io> Answered<I> {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Frame(_) => true,
            Self::Produce(pending) => pending.is_ready(),
        }
    }

    /// As `is_ready`; if not, `waker` is woken when it is worth asking again.
    #[must_use]
    pub fn poll_ready(&self, waker: &Waker) -> bool {
        if let Self::Produce(pending) = self {
            pending.watch(waker);
        }
        self.is_ready()
    }
}

/// Begins to answer a request; any but Produce is answered when this is done.
pub async fn answer<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Rc<Connection<I>>,
    request: &mut Request,
    body: Bytes,
) -> Result<Answered<I>, Close> {
    if request.header.api == ApiKey::Produce {
        let pending = produce::begin(shard, connection, request, &body).await?;
        charge_time(shard, connection, request);
        return Ok(Answered::Produce(pending));
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(Close(Cause::Request));
    }
    let decoded = Body::decode_bounded(&request.header, &body, elements_max(shard, request));
    drop(body);
    let (decoded, element_count) = decoded.map_err(|_error| Close(Cause::Request))?;
    connection.hold_decoded(shard, request, element_count);
    request.stages.end(Stage::Parsed, shard.io.now());
    let is_long = may_be_long(&shard.image(), &decoded);
    if is_long {
        shard.answers.begin_long(connection.id(), || connection.is_ending()).await;
    }
    let frame = match decoded {
        Body::Metadata(body) => metadata::answer(shard, connection, request, body).await,
        Body::DescribeConfigs(body) => configs::describe(shard, connection, request, body).await,
        body => answer_whole(shard, connection, request, body).await,
    };
    if is_long {
        shard.answers.end_long();
    }
    request.stages.end(Stage::Appended, shard.io.now());
    frame.map(Answered::Frame)
}

/// Whether an answer may be much longer than its request.
fn may_be_long(image: &Image, body: &Body) -> bool {
    match body {
        Body::Metadata(body) => metadata::may_be_long(image, body),
        Body::OffsetFetch(body) => group_offsets::may_be_long(body),
        Body::ListGroups(_)
        | Body::DescribeGroups(_)
        | Body::ConsumerGroupDescribe(_)
        | Body::DescribeConfigs(_)
        | Body::DescribeLogDirs(_)
        | Body::DescribeProducers(_)
        | Body::DescribeClientQuotas(_)
        | Body::ListConfigResources(_) => true,
        _ => false,
    }
}

/// An answer that is a struct before it is a frame.
async fn answer_whole<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Rc<Connection<I>>,
    request: &mut Request,
    body: Body,
) -> Result<Frame<I>, Close> {
    let mut response = match body {
        Body::Fetch(body) => Response::Fetch(fetch::answer(shard, connection, request, body).await),
        // A connection that asks nothing has no room for what is seldom asked.
        body => Box::pin(respond(shard, connection, request, body)).await,
    };
    if request.header.api != ApiKey::Fetch {
        charge_time(shard, connection, request);
    }
    response.set_throttle_ms(throttle_ms(request));
    response.codes(|code| shard.recorder.borrow_mut().on_error(code.get()));
    response.encode(request.header.reply()).map_err(|_error| Close(Cause::Answer))
}

/// Lets the client pay for the work that its request was.
fn charge_time<I: Io>(shard: &Rc<Shard<I>>, connection: &Connection<I>, request: &mut Request) {
    let client = request.header.client_id.as_deref().unwrap_or_default();
    request.pause = request.pause.max(shard.charge_time(connection, client));
}

/// How long the client is told to wait, in whole milliseconds: never less.
#[must_use]
pub fn throttle_ms(request: &Request) -> i32 {
    let millis = request.pause.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis).unwrap_or(i32::MAX)
}

/// How many elements a request may have: every partition and every topic there is twice, and some that
/// are not there. Requests that create have a bound of their own.
#[must_use]
pub fn elements_max<I: Io>(shard: &Shard<I>, request: &Request) -> usize {
    match request.header.api {
        ApiKey::CreateTopics | ApiKey::CreatePartitions => CREATING_ELEMENTS_MAX,
        _ => {
            let image = shard.image.borrow();
            SPARE_ELEMENTS + 2 * (image.partition_count() + image.topic_count())
        }
    }
}

/// Lets other tasks run while a long request is worked on.
pub struct Pauses<'a, I: Io> {
    io: &'a I,
    element_count: usize,
}

impl<'a, I: Io> Pauses<'a, I> {
    #[must_use]
    pub const fn new(io: &'a I) -> Self {
        Self { io, element_count: 0 }
    }

    /// After each element.
    pub async fn next(&mut self) {
        self.element_count += 1;
        if self.element_count.is_multiple_of(ELEMENTS_PER_SLICE) {
            self.io.yield_now().await;
        }
    }
}

/// The frame of an answer that is ready.
pub fn finish<I: Io>(
    shard: &Shard<I>,
    request: &mut Request,
    answered: Answered<I>,
) -> Result<Frame<I>, Close> {
    match answered {
        Answered::Frame(frame) => Ok(frame),
        Answered::Produce(pending) => pending.finish(shard, request),
    }
}

async fn respond<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Rc<Connection<I>>,
    request: &mut Request,
    body: Body,
) -> Response<Records<I>> {
    let version = request.header.version;
    match body {
        Body::Produce(_) | Body::Fetch(_) | Body::Metadata(_) | Body::DescribeConfigs(_) => {
            unreachable!("they have their own ways")
        }
        Body::ListOffsets(body) => Response::ListOffsets(offsets::list(shard, body, version).await),
        Body::DeleteRecords(body) => {
            Response::DeleteRecords(offsets::delete_records(shard, body).await)
        }
        Body::OffsetForLeaderEpoch(body) => {
            Response::OffsetForLeaderEpoch(offsets::epoch_ends(shard, body).await)
        }
        Body::DescribeCluster(body) => {
            Response::DescribeCluster(metadata::describe_cluster(shard, connection, &body, version))
        }
        Body::InitProducerId(body) => {
            Response::InitProducerId(admin::init_producer_id(shard, &body).await)
        }
        Body::FindCoordinator(body) => Response::FindCoordinator(
            group_offsets::find_coordinator(shard, connection, body, version).await,
        ),
        Body::OffsetCommit(body) => {
            Response::OffsetCommit(group_offsets::commit(shard, body, version).await)
        }
        Body::OffsetFetch(body) => {
            Response::OffsetFetch(group_offsets::fetch(shard, body, version).await)
        }
        Body::OffsetDelete(body) => {
            Response::OffsetDelete(group_offsets::delete(shard, body).await)
        }
        Body::JoinGroup(body) => {
            Response::JoinGroup(groups::join(shard, connection, request, body).await)
        }
        Body::ConsumerGroupHeartbeat(body) => Response::ConsumerGroupHeartbeat(
            consumer_groups::heartbeat(shard, connection, request, body).await,
        ),
        Body::ConsumerGroupDescribe(body) => {
            Response::ConsumerGroupDescribe(consumer_groups::describe(shard, body).await)
        }
        Body::SyncGroup(body) => {
            Response::SyncGroup(groups::sync(shard, connection, request, body).await)
        }
        Body::Heartbeat(body) => Response::Heartbeat(groups::heartbeat(shard, body).await),
        Body::LeaveGroup(body) => Response::LeaveGroup(groups::leave(shard, body, version).await),
        Body::ListGroups(body) => Response::ListGroups(groups::list(shard, body).await),
        Body::DescribeGroups(body) => {
            Response::DescribeGroups(groups::describe(shard, body, version).await)
        }
        Body::DeleteGroups(body) => Response::DeleteGroups(groups::delete(shard, body).await),
        Body::CreateTopics(_) | Body::DeleteTopics(_) | Body::CreatePartitions(_) => {
            let client = request.header.client_id.as_deref().unwrap_or_default();
            let (response, wait) = respond_to_change(shard, client, body, version).await;
            request.pause = request.pause.max(wait);
            response
        }
        body => respond_to_admin(shard, body, version).await,
    }
}

/// For those who run the cluster: what there is, how it is configured, and changes of it.
async fn respond_to_admin<I: Io>(
    shard: &Rc<Shard<I>>,
    body: Body,
    version: i16,
) -> Response<Records<I>> {
    match body {
        Body::ApiVersions(body) => Response::ApiVersions(api_versions::answer(&body, version)),
        Body::UnknownApiVersions => Response::ApiVersions(api_versions::answer_unknown_version()),
        Body::DescribeLogDirs(body) => {
            Response::DescribeLogDirs(admin::describe_log_dirs(shard, body).await)
        }
        Body::AlterReplicaLogDirs(body) => {
            Response::AlterReplicaLogDirs(log_dirs::alter(shard, body).await)
        }
        Body::ElectLeaders(body) => Response::ElectLeaders(replicas::elect(shard, body).await),
        Body::AlterPartitionReassignments(body) => {
            Response::AlterPartitionReassignments(replicas::reassign(shard, body).await)
        }
        Body::ListPartitionReassignments(_) => {
            Response::ListPartitionReassignments(replicas::list_reassignments())
        }
        Body::DescribeQuorum(body) => Response::DescribeQuorum(quorum::describe(shard, body).await),
        Body::UpdateFeatures(body) => Response::UpdateFeatures(features::update(&body)),
        Body::DescribeProducers(body) => {
            Response::DescribeProducers(producers::describe(shard, body).await)
        }
        Body::ListConfigResources(body) => {
            Response::ListConfigResources(configs::list_resources(shard, &body, version))
        }
        Body::DescribeTopicPartitions(body) => {
            Response::DescribeTopicPartitions(topic_partitions::describe(shard, body).await)
        }
        Body::AlterConfigs(_)
        | Body::IncrementalAlterConfigs(_)
        | Body::DescribeClientQuotas(_)
        | Body::AlterClientQuotas(_)
        | Body::DescribeUserScramCredentials(_) => respond_of_configs(shard, body).await,
        Body::Produce(_)
        | Body::Fetch(_)
        | Body::CreateTopics(_)
        | Body::DeleteTopics(_)
        | Body::CreatePartitions(_)
        | Body::ConsumerGroupHeartbeat(_)
        | Body::ConsumerGroupDescribe(_)
        | Body::ListOffsets(_)
        | Body::DeleteRecords(_)
        | Body::OffsetForLeaderEpoch(_)
        | Body::Metadata(_)
        | Body::DescribeConfigs(_)
        | Body::DescribeCluster(_)
        | Body::InitProducerId(_)
        | Body::FindCoordinator(_)
        | Body::OffsetCommit(_)
        | Body::OffsetFetch(_)
        | Body::OffsetDelete(_)
        | Body::JoinGroup(_)
        | Body::SyncGroup(_)
        | Body::Heartbeat(_)
        | Body::LeaveGroup(_)
        | Body::ListGroups(_)
        | Body::DescribeGroups(_)
        | Body::DeleteGroups(_) => {
            unreachable!("it is answered before")
        }
    }
}

/// Changes of topics, and for how long their client must wait then.
async fn respond_to_change<I: Io>(
    shard: &Rc<Shard<I>>,
    client: &str,
    body: Body,
    version: i16,
) -> (Response<Records<I>>, Duration) {
    match body {
        Body::CreateTopics(body) => {
            let (response, wait) = admin::create_topics(shard, body, version, client).await;
            (Response::CreateTopics(response), wait)
        }
        Body::DeleteTopics(body) => {
            let (response, wait) = admin::delete_topics(shard, body, version, client).await;
            (Response::DeleteTopics(response), wait)
        }
        Body::CreatePartitions(body) => {
            let (response, wait) = admin::create_partitions(shard, body, version, client).await;
            (Response::CreatePartitions(response), wait)
        }
        _ => unreachable!("it changes no topic"),
    }
}

/// How the cluster is configured, and whose use of it is bounded.
async fn respond_of_configs<I: Io>(shard: &Rc<Shard<I>>, body: Body) -> Response<Records<I>> {
    match body {
        Body::AlterConfigs(body) => Response::AlterConfigs(configs::alter(shard, body).await),
        Body::DescribeClientQuotas(body) => {
            Response::DescribeClientQuotas(quotas::describe(shard, body).await)
        }
        Body::AlterClientQuotas(body) => {
            Response::AlterClientQuotas(quotas::alter(shard, body).await)
        }
        Body::DescribeUserScramCredentials(body) => {
            Response::DescribeUserScramCredentials(scram::describe(body))
        }
        Body::IncrementalAlterConfigs(body) => {
            Response::IncrementalAlterConfigs(configs::alter_incrementally(shard, body).await)
        }
        _ => unreachable!("it is of something else"),
    }
}

/// The topic that a request means, or the code for one that is not there.
pub fn find_topic<'a>(image: &'a Image, topic: &TopicRef) -> Result<&'a Arc<Topic>, ErrorCode> {
    match topic {
        TopicRef::Name(name) => image.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        TopicRef::Id(id) => image.topic_by_id(TopicId::new(*id)).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}

#[must_use]
pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

#[must_use]
pub const fn produce_code(error: ProduceError) -> ErrorCode {
    match error {
        ProduceError::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        // Clients find out that the partition is where it was, and send again.
        ProduceError::Fenced | ProduceError::Full => ErrorCode::KAFKA_STORAGE_ERROR,
        // Clients send again, and know that it may be stored already.
        ProduceError::Stuck => ErrorCode::REQUEST_TIMED_OUT,
        ProduceError::Sequence(SequenceError::OutOfOrder) => {
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        }
        ProduceError::Sequence(SequenceError::InvalidEpoch) => ErrorCode::INVALID_PRODUCER_EPOCH,
        ProduceError::Stopping => ErrorCode::NOT_LEADER_OR_FOLLOWER,
    }
}

#[must_use]
pub const fn read_code(error: ReadError) -> ErrorCode {
    match error {
        ReadError::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ReadError::OutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadError::Fenced | ReadError::Short | ReadError::Moved => ErrorCode::KAFKA_STORAGE_ERROR,
        // What Kafka answers where it meets a corrupt record: a client says so instead of trying for ever.
        ReadError::Damaged => ErrorCode::CORRUPT_MESSAGE,
        ReadError::FencedEpoch => ErrorCode::FENCED_LEADER_EPOCH,
        ReadError::UnknownEpoch => ErrorCode::UNKNOWN_LEADER_EPOCH,
        ReadError::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
        ReadError::Stopping => ErrorCode::NOT_LEADER_OR_FOLLOWER,
    }
}

#[must_use]
pub const fn refusal_code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::NoBatch
        | Refusal::OldFormat
        | Refusal::ManyBatches
        | Refusal::BadBaseOffset
        | Refusal::BadCount
        | Refusal::Control
        | Refusal::NoSequence
        | Refusal::Malformed
        | Refusal::BadOffsetDelta
        | Refusal::NullKeys(_) => ErrorCode::INVALID_RECORD,
        Refusal::BadLength { .. } | Refusal::BadMagic { .. } | Refusal::Corrupt => {
            ErrorCode::CORRUPT_MESSAGE
        }
        Refusal::Transactional => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        Refusal::ZstdTooEarly => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        Refusal::TooLarge | Refusal::DecompressedTooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        Refusal::LargerThanSegment => ErrorCode::RECORD_LIST_TOO_LARGE,
        Refusal::BadCodec | Refusal::Undecodable => ErrorCode::UNKNOWN_SERVER_ERROR,
        Refusal::BadTimestamps(_) => ErrorCode::INVALID_TIMESTAMP,
    }
}

#[must_use]
pub const fn group_code(error: GroupError) -> ErrorCode {
    match error {
        GroupError::FencedInstance => ErrorCode::FENCED_INSTANCE_ID,
        GroupError::FencedMemberEpoch => ErrorCode::FENCED_MEMBER_EPOCH,
        GroupError::GroupFull => ErrorCode::GROUP_MAX_SIZE_REACHED,
        GroupError::GroupNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        GroupError::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        GroupError::InconsistentProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        GroupError::InvalidRegex => ErrorCode::INVALID_REGULAR_EXPRESSION,
        GroupError::InvalidRequest => ErrorCode::INVALID_REQUEST,
        GroupError::InvalidSession => ErrorCode::INVALID_SESSION_TIMEOUT,
        GroupError::MemberIdRequired => ErrorCode::MEMBER_ID_REQUIRED,
        GroupError::MetadataTooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
        GroupError::NotEmpty => ErrorCode::NON_EMPTY_GROUP,
        GroupError::Rebalancing => ErrorCode::REBALANCE_IN_PROGRESS,
        GroupError::StaleMemberEpoch => ErrorCode::STALE_MEMBER_EPOCH,
        GroupError::StillSubscribed => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        GroupError::UnknownMember => ErrorCode::UNKNOWN_MEMBER_ID,
        GroupError::UnreleasedInstance => ErrorCode::UNRELEASED_INSTANCE_ID,
        GroupError::UnsupportedAssignor => ErrorCode::UNSUPPORTED_ASSIGNOR,
    }
}

/// All of them are tried again by clients, the first after they have asked where to.
#[must_use]
pub const fn absence_code(absence: Absence) -> ErrorCode {
    match absence {
        Absence::Elsewhere => ErrorCode::NOT_COORDINATOR,
        Absence::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        Absence::Unable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

#[must_use]
pub const fn reason_code(reason: Reason) -> ErrorCode {
    match reason {
        Reason::InvalidTopic => ErrorCode::INVALID_TOPIC_EXCEPTION,
        Reason::TopicExists => ErrorCode::TOPIC_ALREADY_EXISTS,
        Reason::UnknownTopic => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Reason::UnknownTopicId => ErrorCode::UNKNOWN_TOPIC_ID,
        Reason::TopicDeletionDisabled => ErrorCode::TOPIC_DELETION_DISABLED,
        Reason::InvalidPartitions => ErrorCode::INVALID_PARTITIONS,
        Reason::InvalidReplicationFactor => ErrorCode::INVALID_REPLICATION_FACTOR,
        Reason::InvalidReplicaAssignment => ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        Reason::InvalidConfig => ErrorCode::INVALID_CONFIG,
        Reason::InvalidRequest => ErrorCode::INVALID_REQUEST,
        Reason::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
        Reason::PolicyViolation => ErrorCode::POLICY_VIOLATION,
        Reason::ThrottlingQuotaExceeded => ErrorCode::THROTTLING_QUOTA_EXCEEDED,
        Reason::ElectionNotNeeded => ErrorCode::ELECTION_NOT_NEEDED,
        Reason::NoReassignment => ErrorCode::NO_REASSIGNMENT_IN_PROGRESS,
    }
}
