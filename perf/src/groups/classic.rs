//! A member of the classic protocol, as a consumer with the range assignor: eager, so it gives up all that it
//! has before it joins again.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::clock::pause;
use crate::failure::Failure;
use crate::groups::member::Member;

/// As the Java consumer's defaults.
const SESSION_MS: i32 = 45_000;
const REBALANCE_MS: i32 = 300_000;
const HEARTBEAT: Duration = Duration::from_secs(3);

const JOIN_LAST: i16 = 9;
const SYNC_LAST: i16 = 5;
const HEARTBEAT_LAST: i16 = 4;
const LEAVE_LAST: i16 = 5;
/// Of the consumer's own messages in the protocol's opaque fields.
const EMBEDDED_VERSION: i16 = 0;
const PROTOCOL: &str = "range";
const RETRY: Duration = Duration::from_millis(20);

/// Until it is told to leave.
pub(super) fn live(mut member: Member<'_>) -> Result<(), Failure> {
    let heartbeat = member.site.heartbeat.unwrap_or(HEARTBEAT);
    let mut id = StrBytes::default();
    loop {
        member.give_all();
        let Some(joined) = join(&mut member, &mut id)? else { continue };
        let Some(partitions) = sync(&mut member, &joined)? else { continue };
        member.take(partitions);
        loop {
            if !member.stays_for(heartbeat) {
                member.give_all();
                return leave(&mut member, &id);
            }
            match beat(&mut member, &joined)? {
                Pulse::Steady => {}
                Pulse::Rebalancing => break,
                Pulse::Unknown => {
                    id = StrBytes::default();
                    break;
                }
            }
        }
    }
}

enum Pulse {
    Steady,
    Rebalancing,
    Unknown,
}

fn group(member: &Member<'_>) -> GroupId {
    GroupId(StrBytes::from_string(member.site.group.to_owned()))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// `None`: try again.
fn join(member: &mut Member<'_>, id: &mut StrBytes) -> Result<Option<JoinGroupResponse>, Failure> {
    let subscription =
        ConsumerProtocolSubscription::default().with_topics(vec![text(member.site.topic)]);
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str(PROTOCOL))
        .with_metadata(embedded(&subscription)?);
    let request = JoinGroupRequest::default()
        .with_group_id(group(member))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_member_id(id.clone())
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let response = member.broker.call(&request, JOIN_LAST)?;
    match ResponseError::try_from_code(response.error_code) {
        None => {
            *id = response.member_id.clone();
            Ok(Some(response))
        }
        Some(ResponseError::MemberIdRequired) => {
            *id = response.member_id;
            Ok(None)
        }
        Some(ResponseError::UnknownMemberId) => {
            *id = StrBytes::default();
            Ok(None)
        }
        Some(error) if error.is_retriable() => {
            pause(RETRY);
            Ok(None)
        }
        Some(error) => Err(Failure::new(format!("a member cannot join: {error:?}"))),
    }
}

/// What it has been given. `None`: the group has begun anew.
fn sync(member: &mut Member<'_>, joined: &JoinGroupResponse) -> Result<Option<Vec<i32>>, Failure> {
    let is_leader = joined.leader == joined.member_id;
    let assignments = if is_leader { assign(member, joined)? } else { Vec::new() };
    let request = SyncGroupRequest::default()
        .with_group_id(group(member))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
        .with_protocol_name(Some(StrBytes::from_static_str(PROTOCOL)))
        .with_assignments(assignments);
    let response = member.broker.call(&request, SYNC_LAST)?;
    match ResponseError::try_from_code(response.error_code) {
        None => partitions_of(response.assignment).map(Some),
        Some(
            ResponseError::RebalanceInProgress
            | ResponseError::IllegalGeneration
            | ResponseError::UnknownMemberId,
        ) => Ok(None),
        Some(error) if error.is_retriable() => Ok(None),
        Some(error) => Err(Failure::new(format!("a member gets no assignment: {error:?}"))),
    }
}

/// Ranges of equal length, in the order of the members' ids.
fn assign(
    member: &Member<'_>,
    joined: &JoinGroupResponse,
) -> Result<Vec<SyncGroupRequestAssignment>, Failure> {
    let mut ids: Vec<&StrBytes> = joined.members.iter().map(|it| &it.member_id).collect();
    ids.sort();
    let all: Vec<i32> = (0..member.site.partition_count).collect();
    let mut rest = all.as_slice();
    let mut assignments = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let (part, others) = rest.split_at(rest.len().div_ceil(ids.len() - at));
        rest = others;
        let of_topic = TopicPartition::default()
            .with_topic(TopicName(text(member.site.topic)))
            .with_partitions(part.to_vec());
        let assignment =
            ConsumerProtocolAssignment::default().with_assigned_partitions(vec![of_topic]);
        assignments.push(
            SyncGroupRequestAssignment::default()
                .with_member_id((*id).clone())
                .with_assignment(embedded(&assignment)?),
        );
    }
    Ok(assignments)
}

fn embedded(message: &impl Encodable) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(EMBEDDED_VERSION);
    let encoded = message.encode(&mut bytes, EMBEDDED_VERSION);
    encoded.map_err(|error| Failure::new(format!("encode a consumer's message: {error}")))?;
    Ok(bytes.freeze())
}

fn partitions_of(mut assignment: Bytes) -> Result<Vec<i32>, Failure> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let version = assignment.try_get_i16().unwrap_or(-1);
    let decoded = ConsumerProtocolAssignment::decode(&mut assignment, version);
    let decoded = decoded.map_err(|error| Failure::new(format!("read an assignment: {error}")))?;
    Ok(decoded.assigned_partitions.into_iter().flat_map(|it| it.partitions).collect())
}

fn beat(member: &mut Member<'_>, joined: &JoinGroupResponse) -> Result<Pulse, Failure> {
    let request = HeartbeatRequest::default()
        .with_group_id(group(member))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    let response = member.broker.call(&request, HEARTBEAT_LAST)?;
    match ResponseError::try_from_code(response.error_code) {
        None => Ok(Pulse::Steady),
        Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => {
            Ok(Pulse::Rebalancing)
        }
        Some(ResponseError::UnknownMemberId) => Ok(Pulse::Unknown),
        Some(error) if error.is_retriable() => Ok(Pulse::Steady),
        Some(error) => Err(Failure::new(format!("a heartbeat is refused: {error:?}"))),
    }
}

fn leave(member: &mut Member<'_>, id: &StrBytes) -> Result<(), Failure> {
    let identity = MemberIdentity::default().with_member_id(id.clone());
    let request =
        LeaveGroupRequest::default().with_group_id(group(member)).with_members(vec![identity]);
    member.broker.call(&request, LEAVE_LAST).map(drop)
}
