//! What a group's coordinator is asked. It may be loading or elsewhere by now: then it is looked for
//! again for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    OffsetCommitRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::cluster::{Cluster, explain, pause, topic_name};
use crate::failure::Failure;
use crate::group::consumer_group;
use crate::group::consumer_protocol::{CONSUMER, assigned, subscribed};
use crate::group::description::{Description, Member};

/// A coordinator that loads or moves is asked so often, so far apart.
pub(crate) const ASK_COUNT_MAX: usize = 200;
pub(crate) const ASK_PAUSE: Duration = Duration::from_millis(50);
/// The state of a group that is not there.
const DEAD: &str = "Dead";

/// By topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

/// Whether an answer is about the coordinator, not about the group: another one may come of asking
/// again.
pub(crate) fn is_coordinators(code: i16) -> bool {
    [
        ResponseError::CoordinatorLoadInProgress,
        ResponseError::CoordinatorNotAvailable,
        ResponseError::NotCoordinator,
    ]
    .iter()
    .any(|error| error.code() == code)
}

/// Of either protocol; `None` if there is no such group.
pub(crate) fn describe(cluster: &mut Cluster, name: &str) -> Result<Option<Description>, Failure> {
    match consumer_group::describe(cluster, name)? {
        Some(description) => Ok(Some(description)),
        None => describe_classic(cluster, name),
    }
}

fn describe_classic(cluster: &mut Cluster, name: &str) -> Result<Option<Description>, Failure> {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(name)]);
    let (node, response) = ask(cluster, name, &request, 6, |response| {
        response.groups.first().map_or(0, |group| group.error_code)
    })?;
    let Some(group) = response.groups.into_iter().next() else {
        return Err(Failure::failed(format!("broker {node} said nothing of group {name}")));
    };
    let is_missing = group.error_code == ResponseError::GroupIdNotFound.code();
    if is_missing || (group.error_code == 0 && group.group_state.as_str() == DEAD) {
        return Ok(None);
    }
    if group.error_code != 0 {
        let why = explain(group.error_code, group.error_message.as_ref());
        return Err(Failure::failed(format!("group {name}: {why}")));
    }
    Ok(Some(described(node, group)))
}

fn described(coordinator: i32, group: DescribedGroup) -> Description {
    let is_consumer = group.protocol_type.as_str() == CONSUMER;
    let mut members: Vec<Member> =
        group.members.into_iter().map(|it| member(it, is_consumer)).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Description {
        name: group.group_id.0.to_string(),
        coordinator,
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        epochs: None,
        members,
    }
}

fn member(member: DescribedGroupMember, is_consumer: bool) -> Member {
    Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|it| it.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        subscribed: is_consumer.then(|| subscribed(&member.member_metadata)).flatten(),
        assigned: is_consumer.then(|| assigned(&member.member_assignment)).flatten(),
        progressing: None,
    }
}

/// How many members each group has, as one broker says; without those that it says nothing of.
pub(crate) fn member_counts(
    cluster: &mut Cluster,
    node: i32,
    names: &[&str],
) -> Result<BTreeMap<String, usize>, Failure> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids = names.iter().map(|name| group_id(name)).collect();
    let request = DescribeGroupsRequest::default().with_groups(ids);
    let response = cluster.broker(node)?.call(&request, 6)?;
    let groups = response.groups.into_iter().filter(|it| it.error_code == 0);
    let mut counts: BTreeMap<String, usize> =
        groups.map(|it| (it.group_id.0.to_string(), it.members.len())).collect();
    let others: Vec<&str> = names.iter().copied().filter(|it| !counts.contains_key(*it)).collect();
    counts.extend(consumer_group::member_counts(cluster, node, &others)?);
    Ok(counts)
}

/// Everything that the group has committed.
pub(crate) fn committed(cluster: &mut Cluster, name: &str) -> Result<Offsets, Failure> {
    let request = OffsetFetchRequest::default().with_group_id(group_id(name)).with_topics(None);
    let (_, response) = ask(cluster, name, &request, 7, |response| response.error_code)?;
    if response.error_code != 0 {
        let why = explain(response.error_code, None);
        return Err(Failure::failed(format!("offsets of group {name}: {why}")));
    }
    let mut offsets = Offsets::new();
    for topic in response.topics {
        for partition in topic.partitions {
            if partition.error_code == 0 && partition.committed_offset >= 0 {
                let place = (topic.name.0.to_string(), partition.partition_index);
                offsets.insert(place, partition.committed_offset);
            }
        }
    }
    Ok(offsets)
}

/// Commits for a group that has no members. By topic and partition, why one was refused.
pub(crate) fn commit(
    cluster: &mut Cluster,
    name: &str,
    offsets: &Offsets,
) -> Result<BTreeMap<(String, i32), String>, Failure> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in offsets {
        topics.entry(topic).or_default().push(
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(StrBytes::from_static_str(""))),
        );
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect());
    let (_, response) = ask(cluster, name, &request, 8, |response| {
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|it| it.error_code).find(|code| is_coordinators(*code)).unwrap_or(0)
    })?;
    let mut refused = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions.iter().filter(|it| it.error_code != 0) {
            let place = (topic.name.0.to_string(), partition.partition_index);
            refused.insert(place, explain(partition.error_code, None));
        }
    }
    Ok(refused)
}

/// The code of the answer.
pub(crate) fn delete(cluster: &mut Cluster, name: &str) -> Result<i16, Failure> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(name)]);
    let (node, response) = ask(cluster, name, &request, 2, |response| {
        response.results.first().map_or(0, |it| it.error_code)
    })?;
    let result = response.results.first();
    result
        .map(|it| it.error_code)
        .ok_or_else(|| Failure::failed(format!("broker {node} said nothing of group {name}")))
}

/// Asks the coordinator, until what it says is about the group. Also says who it is.
pub(super) fn ask<R: Request>(
    cluster: &mut Cluster,
    name: &str,
    request: &R,
    version_last: i16,
    code_of: impl Fn(&R::Response) -> i16,
) -> Result<(i32, R::Response), Failure> {
    let mut last_code = 0;
    for _ in 0..ASK_COUNT_MAX {
        match find(cluster, name)? {
            Ok(node) => {
                let response = cluster.broker(node)?.call(request, version_last)?;
                last_code = code_of(&response);
                if !is_coordinators(last_code) {
                    return Ok((node, response));
                }
            }
            Err(code) => last_code = code,
        }
        pause(ASK_PAUSE);
    }
    Err(Failure::failed(format!("the coordinator of group {name}: {}", explain(last_code, None))))
}

/// The broker that coordinates the group, or the code of why nobody does just now.
fn find(cluster: &mut Cluster, name: &str) -> Result<Result<i32, i16>, Failure> {
    let request =
        FindCoordinatorRequest::default().with_key(StrBytes::from_string(name.to_owned()));
    let response = cluster.call_any(&request, 3)?;
    match response.error_code {
        0 => Ok(Ok(response.node_id.0)),
        code if is_coordinators(code) => Ok(Err(code)),
        code => {
            let why = explain(code, response.error_message.as_ref());
            Err(Failure::failed(format!("the coordinator of group {name}: {why}")))
        }
    }
}

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}
