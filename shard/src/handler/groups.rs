//! The APIs of groups: who is asked, and how the coordinators' answers look on the wire.
//!
//! A request that names several groups is split, and its parts go to their coordinators at once.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use engine::id::PartitionId;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use replication::group;
use replication::group::answer::{Answer, Description, JoinRefusal, Joined, Listed};
use replication::group::request::{
    Filter, Heartbeat, Identity, Join, LeaderAgain, Leave, Protocol, Request as Asked, Sync,
    Welcome,
};
use replication::image::Image;
use replication::topics::OFFSETS_TOPIC_NAME;

use crate::connection::{Connection, Request};
use crate::groups::Absence;
use crate::handler::{Pauses, absence_code, group_code, text};
use crate::io::Io;
use crate::message::{Message, Reply};
use crate::removal;
use crate::shard::Shard;
use crate::signal;

/// The longest text that a record of a group can carry.
const TEXT_BYTES_MAX: usize = 32_767;
/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

/// The coordinator's partition of `__consumer_offsets`, if there is such a topic.
pub fn seat_of(image: &Image, group: &str) -> Option<PartitionId> {
    let topic = image.topic(OFFSETS_TOPIC_NAME)?;
    let count = u32::try_from(topic.partitions().len()).expect("partition counts are limited");
    Some(PartitionId { topic: topic.id(), index: group::partition_of(group, count) })
}

/// A question that is on its way to a coordinator.
pub enum Asking<I: Io> {
    Sent(signal::Answer<Reply<I>>),
    /// There is no such coordinator yet.
    Nowhere,
}

impl<I: Io> Asking<I> {
    pub fn send(shard: &Rc<Shard<I>>, group: &str, request: Asked) -> Self {
        let Some(partition) = seat_of(&shard.image(), group) else { return Self::Nowhere };
        Self::Sent(shard.call(shard.owner(partition), message(partition, request)))
    }

    pub async fn wait(self) -> Result<Answer, Absence> {
        let Self::Sent(call) = self else { return Err(Absence::Elsewhere) };
        match call.wait().await {
            Reply::Group(answer) => answer,
            _ => unreachable!("a coordinator's answer"),
        }
    }
}

fn message(partition: PartitionId, request: Asked) -> Message {
    Message::Group { partition, request: Box::new(request) }
}

/// A text that can be written down; else the request is refused.
pub fn short(text: &str) -> Result<Arc<str>, ErrorCode> {
    if text.len() > TEXT_BYTES_MAX { Err(ErrorCode::INVALID_REQUEST) } else { Ok(text.into()) }
}

pub fn group_name(name: &str) -> Result<Arc<str>, ErrorCode> {
    if name.is_empty() || name.len() > TEXT_BYTES_MAX {
        Err(ErrorCode::INVALID_GROUP_ID)
    } else {
        Ok(name.into())
    }
}

pub fn identity(member: &StrBytes, instance: Option<&StrBytes>) -> Result<Identity, ErrorCode> {
    Ok(Identity { member: short(member)?, instance: instance.map(|it| short(it)).transpose()? })
}

// JoinGroup.

/// First version in which a member gets an id before it joins (KIP-394).
const ID_FIRST_FROM: i16 = 4;
/// First version that can say that nothing is to be assigned (KIP-814).
const SKIPS_FROM: i16 = 9;

pub async fn join<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    body: JoinGroupRequest,
) -> JoinGroupResponse {
    let refuse = |member: StrBytes, code: ErrorCode| {
        JoinGroupResponse::default()
            .with_error_code(code.get())
            .with_generation_id(-1)
            .with_protocol_name(Some(text("")))
            .with_member_id(member)
    };
    let member = body.member_id.clone();
    let join = match asked_join(shard, connection, request, body) {
        Ok(join) => join,
        Err(code) => return refuse(member, code),
    };
    let name = Arc::clone(&join.group);
    let asking = Asking::send(shard, &name, Asked::Join(join));
    connection.release(shard, request);
    match asking.wait().await {
        Ok(Answer::Join(Ok(joined))) => present_joined(joined),
        Ok(Answer::Join(Err(JoinRefusal { error, member }))) => {
            refuse(text(&*member), group_code(error))
        }
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => refuse(member, absence_code(absence)),
    }
}

fn asked_join<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &Request,
    body: JoinGroupRequest,
) -> Result<Join, ErrorCode> {
    let version = request.header.version;
    let protocols = body.protocols.into_iter().map(|it| {
        let name = short(&it.name)?;
        Ok(Protocol { name, metadata: Bytes::copy_from_slice(&it.metadata) })
    });
    let client_id = request.header.client_id.as_deref().unwrap_or_default();
    Ok(Join {
        group: group_name(&body.group_id.0)?,
        identity: identity(&body.member_id, body.group_instance_id.as_ref())?,
        client_id: short(client_id)?,
        client_host: connection.peer_host(shard).into(),
        session_ms: body.session_timeout_ms,
        rebalance_ms: if version >= 1 {
            body.rebalance_timeout_ms
        } else {
            body.session_timeout_ms
        },
        protocol_type: short(&body.protocol_type)?,
        protocols: protocols.collect::<Result<_, ErrorCode>>()?,
        welcome: if version >= ID_FIRST_FROM { Welcome::IdFirst } else { Welcome::AtOnce },
        leader_again: if version >= SKIPS_FROM {
            LeaderAgain::Skips
        } else {
            LeaderAgain::IsNotTold
        },
        draw: (u128::from(shard.io.random()) << 64) | u128::from(shard.io.random()),
    })
}

fn present_joined(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&*member.id))
            .with_group_instance_id(member.instance.map(|it| text(&*it)))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(&*joined.protocol_type)))
        .with_protocol_name(Some(text(&*joined.protocol)))
        .with_leader(text(&*joined.leader))
        .with_skip_assignment(joined.skips_assignment)
        .with_member_id(text(&*joined.member))
        .with_members(members.collect())
}

// SyncGroup.

/// First version in which a member must say what it believes was chosen.
const PROTOCOL_SAID_FROM: i16 = 5;

pub async fn sync<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    body: SyncGroupRequest,
) -> SyncGroupResponse {
    let refuse = |code: ErrorCode| SyncGroupResponse::default().with_error_code(code.get());
    let sync = match asked_sync(body, request.header.version) {
        Ok(sync) => sync,
        Err(code) => return refuse(code),
    };
    let name = Arc::clone(&sync.group);
    let asking = Asking::send(shard, &name, Asked::Sync(sync));
    connection.release(shard, request);
    match asking.wait().await {
        Ok(Answer::Sync(Ok(synced))) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(&*synced.protocol_type)))
            .with_protocol_name(Some(text(&*synced.protocol)))
            .with_assignment(synced.assignment),
        Ok(Answer::Sync(Err(error))) => refuse(group_code(error)),
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => refuse(absence_code(absence)),
    }
}

fn asked_sync(body: SyncGroupRequest, version: i16) -> Result<Sync, ErrorCode> {
    let group = group_name(&body.group_id.0)?;
    let says_nothing = body.protocol_type.is_none() || body.protocol_name.is_none();
    if version >= PROTOCOL_SAID_FROM && says_nothing {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let assignments = body
        .assignments
        .into_iter()
        .map(|it| (it.member_id.as_str().into(), Bytes::copy_from_slice(&it.assignment)));
    Ok(Sync {
        group,
        identity: identity(&body.member_id, body.group_instance_id.as_ref())?,
        generation: body.generation_id,
        protocol_type: body.protocol_type.map(|it| it.as_str().into()),
        protocol: body.protocol_name.map(|it| it.as_str().into()),
        assignments: assignments.collect(),
    })
}

// Heartbeat and LeaveGroup.

pub async fn heartbeat<I: Io>(shard: &Rc<Shard<I>>, body: HeartbeatRequest) -> HeartbeatResponse {
    let code = match beat(shard, body).await {
        Ok(()) => ErrorCode::NONE,
        Err(code) => code,
    };
    HeartbeatResponse::default().with_error_code(code.get())
}

async fn beat<I: Io>(shard: &Rc<Shard<I>>, body: HeartbeatRequest) -> Result<(), ErrorCode> {
    let group = group_name(&body.group_id.0)?;
    let heartbeat = Heartbeat {
        group: Arc::clone(&group),
        identity: identity(&body.member_id, body.group_instance_id.as_ref())?,
        generation: body.generation_id,
    };
    match Asking::send(shard, &group, Asked::Heartbeat(heartbeat)).wait().await {
        Ok(Answer::Heartbeat(lives)) => lives.map_err(group_code),
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => Err(absence_code(absence)),
    }
}

/// First version that names several members.
const LEAVE_MANY_FROM: i16 = 3;

pub async fn leave<I: Io>(
    shard: &Rc<Shard<I>>,
    body: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let refuse = |code: ErrorCode| LeaveGroupResponse::default().with_error_code(code.get());
    let (group, members) = match asked_leave(&body, version) {
        Ok(asked) => asked,
        Err(code) => return refuse(code),
    };
    let asked = Asked::Leave(Leave { group: Arc::clone(&group), members: members.clone() });
    let left = match Asking::send(shard, &group, asked).wait().await {
        Ok(Answer::Leave(left)) => left,
        Ok(_) => unreachable!("an answer is of what was asked"),
        Err(absence) => return refuse(absence_code(absence)),
    };
    let codes = left.into_iter().map(|it| it.map_or_else(group_code, |()| ErrorCode::NONE));
    if version < LEAVE_MANY_FROM {
        return refuse(codes.into_iter().next().unwrap_or(ErrorCode::NONE));
    }
    let members = members.into_iter().zip(codes).map(|(identity, code)| {
        MemberResponse::default()
            .with_member_id(text(&*identity.member))
            .with_group_instance_id(identity.instance.map(|it| text(&*it)))
            .with_error_code(code.get())
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

fn asked_leave(
    body: &LeaveGroupRequest,
    version: i16,
) -> Result<(Arc<str>, Vec<Identity>), ErrorCode> {
    let group = group_name(&body.group_id.0)?;
    let members = if version < LEAVE_MANY_FROM {
        vec![identity(&body.member_id, None)?]
    } else {
        let members = body.members.iter();
        let members = members.map(|it| identity(&it.member_id, it.group_instance_id.as_ref()));
        members.collect::<Result<_, ErrorCode>>()?
    };
    Ok((group, members))
}

// Seen by administrators.

pub async fn list<I: Io>(shard: &Rc<Shard<I>>, body: ListGroupsRequest) -> ListGroupsResponse {
    let image = shard.image();
    let filter = Filter {
        states: body.states_filter.iter().map(|it| it.to_string()).collect(),
        types: body.types_filter.iter().map(|it| it.to_string()).collect(),
    };
    let seats = image.topic(OFFSETS_TOPIC_NAME).into_iter();
    let calls: Vec<_> = seats
        .flat_map(|topic| removal::partition_ids(topic))
        .map(|seat| shard.call(shard.owner(seat), message(seat, Asked::List(filter.clone()))))
        .collect();
    let mut groups: Vec<Listed> = Vec::new();
    let mut code = ErrorCode::NONE;
    for call in calls {
        match Asking::Sent(call).wait().await {
            Ok(Answer::List(listed)) => groups.extend(listed),
            Ok(_) => unreachable!("an answer is of what was asked"),
            // Kafka gives what it has only when it has all.
            Err(absence) => code = absence_code(absence),
        }
    }
    if code.is_error() {
        return ListGroupsResponse::default().with_error_code(code.get());
    }
    let groups = groups.into_iter().map(|it| {
        ListedGroup::default()
            .with_group_id(GroupId(text(&*it.group)))
            .with_protocol_type(text(&*it.protocol_type))
            .with_group_state(text(it.state.name()))
            .with_group_type(text(it.kind.name()))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

/// First version that says that a group is not there; below it, it is dead.
const NOT_FOUND_FROM: i16 = 6;

/// A group that is named twice is described once: an answer is no larger than all there is.
pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    body: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let ask =
        |name: &GroupId| Asking::send(shard, name, Asked::Describe { group: name.as_str().into() });
    let calls = ask_each(shard, body.groups, ask).await;
    let mut pauses = Pauses::new(&shard.io);
    let mut groups = Vec::with_capacity(calls.len());
    for (name, call) in calls {
        pauses.next().await;
        let described = match call.wait().await {
            Ok(Answer::Describe(Some(description))) => present_group(description),
            Ok(Answer::Describe(None)) => unknown_group(&name, version),
            Ok(_) => unreachable!("an answer is of what was asked"),
            Err(absence) => DescribedGroup::default().with_error_code(absence_code(absence).get()),
        };
        groups.push(described.with_group_id(name).with_authorized_operations(NO_OPERATIONS));
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

/// Asks about each of `names` once, in their order.
pub async fn ask_each<I: Io>(
    shard: &Rc<Shard<I>>,
    names: Vec<GroupId>,
    ask: impl Fn(&GroupId) -> Asking<I>,
) -> Vec<(GroupId, Asking<I>)> {
    let mut pauses = Pauses::new(&shard.io);
    let mut named = BTreeSet::new();
    let mut calls = Vec::with_capacity(names.len());
    for name in names {
        pauses.next().await;
        if named.insert(name.clone()) {
            let call = ask(&name);
            calls.push((name, call));
        }
    }
    calls
}

fn unknown_group(name: &GroupId, version: i16) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_state(text("Dead"));
    if version < NOT_FOUND_FROM {
        return group;
    }
    let message = format!("Group {} not found.", name.as_str());
    group
        .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.get())
        .with_error_message(Some(text(message)))
}

fn present_group(description: Description) -> DescribedGroup {
    let members = description.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(text(&*member.id))
            .with_group_instance_id(member.instance.map(|it| text(&*it)))
            .with_client_id(text(&*member.client_id))
            .with_client_host(text(&*member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    DescribedGroup::default()
        .with_group_state(text(description.state.name()))
        .with_protocol_type(text(&*description.protocol_type))
        .with_protocol_data(text(&*description.protocol))
        .with_members(members.collect())
}

/// Each group once.
pub async fn delete<I: Io>(
    shard: &Rc<Shard<I>>,
    body: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let ask =
        |name: &GroupId| Asking::send(shard, name, Asked::Delete { group: name.as_str().into() });
    let calls = ask_each(shard, body.groups_names, ask).await;
    let mut pauses = Pauses::new(&shard.io);
    let mut results = Vec::with_capacity(calls.len());
    for (name, call) in calls {
        pauses.next().await;
        let code = match call.wait().await {
            Ok(Answer::Delete(Ok(()))) => ErrorCode::NONE,
            Ok(Answer::Delete(Err(error))) => group_code(error),
            Ok(_) => unreachable!("an answer is of what was asked"),
            Err(absence) => absence_code(absence),
        };
        let result = DeletableGroupResult::default().with_group_id(name);
        results.push(result.with_error_code(code.get()));
    }
    DeleteGroupsResponse::default().with_results(results)
}
