//! Groups of the consumer protocol (KIP-848), as their coordinator describes them: it knows whom it wants
//! to have what, and how far each member has come.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember,
};
use net::api::ApiKey;

use crate::cluster::{Cluster, explain};
use crate::failure::Failure;
use crate::group::consumer_protocol::CONSUMER;
use crate::group::coordinator::{ask, group_id};
use crate::group::description::{Description, Epochs, Member, Progressing};

const DESCRIBE_LAST: i16 = 1;
/// What a coordinator says of a group that is not there or is of another protocol, and a broker that has
/// none of this protocol.
const ELSEWHERE: [ResponseError; 3] = [
    ResponseError::GroupIdNotFound,
    ResponseError::InvalidGroupId,
    ResponseError::UnsupportedVersion,
];

/// `None` if there is no such group of this protocol.
pub(crate) fn describe(cluster: &mut Cluster, name: &str) -> Result<Option<Description>, Failure> {
    if !cluster.speaks(ApiKey::ConsumerGroupDescribe) {
        return Ok(None);
    }
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(name)]);
    let (node, response) = ask(cluster, name, &request, DESCRIBE_LAST, |response| {
        response.groups.first().map_or(0, |group| group.error_code)
    })?;
    let Some(group) = response.groups.into_iter().next() else {
        return Err(Failure::failed(format!("broker {node} said nothing of group {name}")));
    };
    match group.error_code {
        0 => Ok(Some(described(node, group))),
        code if ELSEWHERE.iter().any(|it| it.code() == code) => Ok(None),
        code => {
            let why = explain(code, group.error_message.as_ref());
            Err(Failure::failed(format!("group {name}: {why}")))
        }
    }
}

/// How many members each group of this protocol has, as one broker says.
pub(crate) fn member_counts(
    cluster: &mut Cluster,
    node: i32,
    names: &[&str],
) -> Result<BTreeMap<String, usize>, Failure> {
    if names.is_empty() || !cluster.speaks(ApiKey::ConsumerGroupDescribe) {
        return Ok(BTreeMap::new());
    }
    let ids = names.iter().map(|name| group_id(name)).collect();
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids);
    let response = cluster.broker(node)?.call(&request, DESCRIBE_LAST)?;
    let groups = response.groups.into_iter().filter(|it| it.error_code == 0);
    Ok(groups.map(|it| (it.group_id.0.to_string(), it.members.len())).collect())
}

fn described(coordinator: i32, group: DescribedGroup) -> Description {
    let mut members: Vec<Member> = group.members.into_iter().map(member).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Description {
        name: group.group_id.0.to_string(),
        coordinator,
        state: group.group_state.to_string(),
        protocol_type: CONSUMER.to_owned(),
        protocol: group.assignor_name.to_string(),
        epochs: Some(Epochs { group: group.group_epoch, target: group.assignment_epoch }),
        members,
    }
}

fn member(member: DescribedMember) -> Member {
    let topics = member.subscribed_topic_names.iter().map(|it| it.0.to_string());
    Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.map(|it| it.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        subscribed: Some(topics.collect()),
        assigned: Some(partitions(&member.assignment)),
        progressing: Some(Progressing {
            epoch: member.member_epoch,
            rack: member.rack_id.map(|it| it.to_string()),
            // A member without one says so in either way.
            expression: member
                .subscribed_topic_regex
                .filter(|it| !it.is_empty())
                .map(|it| it.to_string()),
            target: partitions(&member.target_assignment),
        }),
    }
}

/// In order.
fn partitions(assignment: &Assignment) -> Vec<(String, i32)> {
    let topics = assignment.topic_partitions.iter();
    let mut partitions: Vec<(String, i32)> = topics
        .flat_map(|it| it.partitions.iter().map(|index| (it.topic_name.0.to_string(), *index)))
        .collect();
    partitions.sort();
    partitions
}
