//! A member of the consumer protocol (KIP-848): it says what it has, and the broker what it is to have.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::clock::pause;
use crate::failure::Failure;
use crate::groups::member::Member;

const LAST: i16 = 0;
const REBALANCE_MS: i32 = 300_000;
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const RETRY: Duration = Duration::from_millis(20);

/// What it knows of its membership.
struct Standing {
    epoch: i32,
    /// What it says it has: only when that has changed, and when it joins.
    owned: Option<Vec<TopicPartitions>>,
    interval: Duration,
}

const NEWCOMER: Standing =
    Standing { epoch: JOINS, owned: Some(Vec::new()), interval: Duration::ZERO };

/// Until it is told to leave.
pub(super) fn live(mut member: Member<'_>) -> Result<(), Failure> {
    let mut standing = NEWCOMER;
    loop {
        let response = beat(&mut member, &standing)?;
        match ResponseError::try_from_code(response.error_code) {
            None => follow(&mut member, &mut standing, response),
            Some(ResponseError::FencedMemberEpoch | ResponseError::UnknownMemberId) => {
                member.give_all();
                standing = NEWCOMER;
            }
            Some(error) if error.is_retriable() => pause(RETRY),
            Some(error) => {
                return Err(Failure::new(format!("a heartbeat is refused: {error:?}")));
            }
        }
        // What has changed is told at once.
        let wait = if standing.owned.is_some() { Duration::ZERO } else { standing.interval };
        if !member.stays_for(wait) {
            member.give_all();
            standing.epoch = LEAVES;
            return beat(&mut member, &standing).map(drop);
        }
    }
}

/// Gives up what it is not to have any more, and takes what it is to have from now on.
fn follow(
    member: &mut Member<'_>,
    standing: &mut Standing,
    response: ConsumerGroupHeartbeatResponse,
) {
    standing.epoch = response.member_epoch;
    standing.owned = None;
    let told = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
    let told = Duration::from_millis(told);
    standing.interval = member.site.heartbeat.unwrap_or(told);
    let Some(assignment) = response.assignment else { return };
    let target: Vec<i32> =
        assignment.topic_partitions.iter().flat_map(|it| it.partitions.iter().copied()).collect();
    let owned = member.owned().clone();
    let gone: Vec<i32> = owned.iter().copied().filter(|it| !target.contains(it)).collect();
    let come: Vec<i32> = target.iter().copied().filter(|it| !owned.contains(it)).collect();
    if gone.is_empty() && come.is_empty() {
        return;
    }
    member.give(gone);
    member.take(come);
    let part =
        |id, partitions| TopicPartitions::default().with_topic_id(id).with_partitions(partitions);
    let all = assignment.topic_partitions.into_iter().map(|it| part(it.topic_id, it.partitions));
    standing.owned = Some(all.collect());
}

fn beat(
    member: &mut Member<'_>,
    standing: &Standing,
) -> Result<ConsumerGroupHeartbeatResponse, Failure> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(member.site.group)))
        .with_member_id(text(&format!("member-{}", member.name)))
        .with_member_epoch(standing.epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(standing.owned.clone());
    if standing.epoch == JOINS {
        request = request
            .with_rebalance_timeout_ms(REBALANCE_MS)
            .with_subscribed_topic_names(Some(vec![TopicName(text(member.site.topic))]));
    }
    member.broker.call(&request, LAST)
}
