//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: the consumer protocol (KIP-848) on the wire.

use std::rc::Rc;
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};
use kafka_protocol::messages::consumer_group_describe_response as described;
use kafka_protocol::messages::consumer_group_heartbeat_response as beaten;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use replication::group::answer::{Answer, Beat, ConsumerDescription, DescribedConsumer};
use replication::group::assignment::Assignment;
use replication::group::request::{ConsumerHeartbeat, Naming, Request as Asked};
use replication::image::Image;
use uuid::Uuid;

use crate::connection::{Connection, Request};
use crate::handler::groups::{Asking, ask_each, identity, short};
use crate::handler::{Pauses, absence_code, group_code, text};
use crate::io::Io;
use crate::shard::Shard;

/// First version in which a member makes its own id.
const OWN_ID_FROM: i16 = 1;
/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;
/// Kafka's numbers of a member's protocol.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub async fn heartbeat<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &Request,
    body: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let asked = if is_offered(shard) {
        asked_heartbeat(shard, connection, request, body)
    } else {
        Err(ErrorCode::UNSUPPORTED_VERSION)
    };
    let beat = match asked {
        Ok(asked) => {
            let name = Arc::clone(&asked.group);
            match Asking::send(shard, &name, Asked::ConsumerHeartbeat(asked)).wait().await {
                Ok(Answer::ConsumerHeartbeat(beat)) => beat.map_err(group_code),
                Ok(_) => unreachable!("an answer is of what was asked"),
                Err(absence) => Err(absence_code(absence)),
            }
        }
        Err(code) => Err(code),
    };
    match beat {
        Ok(beat) => present_beat(beat),
        Err(code) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(code.get())
            .with_error_message(Some(text(code.to_string()))),
    }
}

/// `group.coordinator.rebalance.protocols`
fn is_offered<I: Io>(shard: &Shard<I>) -> bool {
    shard.image().broker_config().groups.consumer.is_offered
}

fn asked_heartbeat<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &Request,
    body: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerHeartbeat, ErrorCode> {
    let optional = |it: Option<StrBytes>| it.map(|it| short(&it)).transpose();
    let names = body
        .subscribed_topic_names
        .map(|names| names.iter().map(|it| short(&it.0)).collect::<Result<Vec<_>, ErrorCode>>());
    let owned = body.topic_partitions.map(|topics| {
        let mut owned = Assignment::default();
        for topic in topics {
            let id = TopicId::new(*topic.topic_id.as_bytes());
            let indexes = topic.partitions.into_iter().filter_map(PartitionIndex::checked);
            indexes.for_each(|index| owned.insert(id, index));
        }
        owned
    });
    let client_id = request.header.client_id.as_deref().unwrap_or_default();
    let is_own = request.header.version >= OWN_ID_FROM;
    Ok(ConsumerHeartbeat {
        group: short(&body.group_id.0)?,
        identity: identity(&body.member_id, body.instance_id.as_ref())?,
        epoch: body.member_epoch,
        rack: optional(body.rack_id)?,
        client_id: short(client_id)?,
        client_host: connection.peer_host(shard).into(),
        rebalance_ms: Some(body.rebalance_timeout_ms).filter(|&ms| ms != -1),
        names: names.transpose()?,
        regex: optional(body.subscribed_topic_regex)?,
        assignor: optional(body.server_assignor)?,
        owned,
        naming: if is_own { Naming::ByMember } else { Naming::ByBroker },
        timing: shard.image().consumer_timing(&body.group_id.0),
        draw: (u128::from(shard.io.random()) << 64) | u128::from(shard.io.random()),
    })
}

fn present_beat(beat: Beat) -> ConsumerGroupHeartbeatResponse {
    let assignment = beat.assignment.map(|assignment| {
        let topics = assignment.topics().map(|(topic, partitions)| {
            beaten::TopicPartitions::default()
                .with_topic_id(Uuid::from_bytes(topic.get()))
                .with_partitions(partitions.iter().map(|it| it.wire()).collect())
        });
        beaten::Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(&*beat.member)))
        .with_member_epoch(beat.epoch)
        .with_heartbeat_interval_ms(beat.heartbeat_ms)
        .with_assignment(assignment)
}

/// A group that is named twice is described once: an answer is no larger than all there is.
pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    body: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let ask = |name: &GroupId| {
        Asking::send(shard, name, Asked::DescribeConsumer { group: name.as_str().into() })
    };
    let calls = ask_each(shard, body.group_ids, ask).await;
    let mut pauses = Pauses::new(&shard.io);
    let mut groups = Vec::with_capacity(calls.len());
    for (name, call) in calls {
        pauses.next().await;
        let refuse = |code: ErrorCode, message: String| {
            described::DescribedGroup::default()
                .with_error_code(code.get())
                .with_error_message(Some(text(message)))
        };
        let answer = call.wait().await;
        let group = match answer {
            _ if !is_offered(shard) => {
                let code = ErrorCode::UNSUPPORTED_VERSION;
                refuse(code, code.to_string())
            }
            Ok(Answer::DescribeConsumer(Some(found))) => present_group(&shard.image(), found),
            Ok(Answer::DescribeConsumer(None)) => {
                let message = format!("Group {} not found.", name.as_str());
                refuse(ErrorCode::GROUP_ID_NOT_FOUND, message)
            }
            Ok(_) => unreachable!("an answer is of what was asked"),
            Err(absence) => {
                let code = absence_code(absence);
                refuse(code, code.to_string())
            }
        };
        groups.push(group.with_group_id(name).with_authorized_operations(NO_OPERATIONS));
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

fn present_group(image: &Image, found: ConsumerDescription) -> described::DescribedGroup {
    let members = found.members.into_iter().map(|member| present_member(image, member));
    described::DescribedGroup::default()
        .with_group_state(text(found.state.name()))
        .with_group_epoch(found.epoch)
        .with_assignment_epoch(found.target_epoch)
        .with_assignor_name(text(found.assignor.name()))
        .with_members(members.collect())
}

fn present_member(image: &Image, member: DescribedConsumer) -> described::Member {
    let profile = member.profile;
    let names = profile.subscription.names.iter().map(|it| TopicName(text(&**it)));
    let protocol = if profile.classic.is_some() { CLASSIC } else { CONSUMER };
    described::Member::default()
        .with_member_id(text(&*member.id))
        .with_instance_id(profile.instance.map(|it| text(&*it)))
        .with_rack_id(profile.rack.map(|it| text(&*it)))
        .with_member_epoch(member.epoch)
        .with_client_id(text(&*profile.client_id))
        .with_client_host(text(&*profile.client_host))
        .with_subscribed_topic_names(names.collect())
        .with_subscribed_topic_regex(profile.subscription.regex.map(|it| text(&*it)))
        .with_assignment(present_assignment(image, &member.assigned))
        .with_target_assignment(present_assignment(image, &member.target))
        .with_member_type(protocol)
}

/// Topics that are gone have no name any more, and are left out.
fn present_assignment(image: &Image, assignment: &Assignment) -> described::Assignment {
    let topics = assignment.topics().filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(id)?;
        Some(
            described::TopicPartitions::default()
                .with_topic_id(Uuid::from_bytes(id.get()))
                .with_topic_name(TopicName(text(topic.name().as_str())))
                .with_partitions(partitions.iter().map(|it| it.wire()).collect()),
        )
    });
    described::Assignment::default().with_topic_partitions(topics.collect())
}
