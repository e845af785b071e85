//! How a group that has members changes its protocol (KIP-848).
//!
//! The first member of the consumer protocol that joins a classic group of consumers makes it a consumer
//! group; when the last such member is gone, the group is a classic one again.

use std::sync::Arc;

use crate::group::answer::GroupError;
use crate::group::assignment::{Assignment, Tenure};
use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer_record::{ClassicProfile, Current, MemberState, Profile};
use crate::group::coordinator::Step;
use crate::group::embedded::{CONSUMER, Wishes, read_assignment, write_assignment};
use crate::group::member::Member;
use crate::group::record::MemberSnapshot;
use crate::group::request::Protocol;
use crate::group::subscription::Subscription;

/// A member of a classic group, with all that it can do.
#[derive(Clone, Debug)]
pub(crate) struct Migrant {
    pub(crate) member: MemberSnapshot,
    pub(crate) protocols: Vec<Protocol>,
}

/// What a classic group is as a consumer group: each member has what it had.
///
/// # Errors
/// If it may not change, or is none of consumers whose words are understood.
pub(crate) fn upgrade(
    step: &mut Step<'_>,
    name: &Arc<str>,
    classic: &ClassicGroup,
) -> Result<ConsumerGroup, GroupError> {
    let limits = &step.limits.consumer;
    let migrants = classic.migrants();
    let may = limits.migration.upgrades()
        && &**classic.protocol_type() == CONSUMER
        && migrants.len() < limits.members_max;
    if !may {
        return Err(GroupError::GroupNotFound);
    }
    let epoch = classic.generation();
    let mut group = ConsumerGroup::new(Arc::clone(name));
    for migrant in migrants {
        let id = Arc::clone(&migrant.member.id);
        let assigned = read_assignment(&migrant.member.assignment, step.image);
        let assigned = assigned.or(Err(GroupError::GroupNotFound))?;
        // A leader may have given a partition twice: the first has it.
        let is_free = |it: &(_, _)| !group.is_owned(it.0, it.1);
        let assigned: Assignment = assigned.iter().filter(is_free).collect();
        let profile = profile(migrant)?;
        let current = settled(epoch, &assigned);
        group.settle_in(step, id, assigned, Member { profile, current, ..Member::default() });
    }
    group.settle(step, epoch);
    Ok(group)
}

fn profile(Migrant { member, protocols }: Migrant) -> Result<Profile, GroupError> {
    let wishes = Wishes::read(&member.subscription).or(Err(GroupError::GroupNotFound))?;
    Ok(Profile {
        instance: member.instance,
        rack: wishes.rack,
        client_id: member.client_id,
        client_host: member.client_host,
        subscription: Subscription { names: wishes.topics, regex: None },
        rebalance_ms: member.rebalance_ms,
        assignor: None,
        classic: Some(ClassicProfile { session_ms: member.session_ms, protocols }),
    })
}

fn settled(epoch: i32, assigned: &Assignment) -> Current {
    let mut tenure = Tenure::default();
    assigned.iter().for_each(|(topic, partition)| tenure.insert(topic, partition, epoch));
    Current {
        epoch,
        previous_epoch: epoch,
        state: MemberState::Stable,
        assigned: tenure,
        revoking: Tenure::default(),
    }
}

/// Whether all members speak the classic protocol, and the group may become a classic one.
pub(crate) fn is_downgradable(step: &Step<'_>, group: &ConsumerGroup) -> bool {
    let count = group.members().count();
    step.limits.consumer.migration.downgrades()
        && (1..=step.limits.members_max).contains(&count)
        && can_all_do_one(group)
}

/// Whether all members are classic ones, with a protocol in common.
fn can_all_do_one(group: &ConsumerGroup) -> bool {
    let classic = group.members().map(|(_, it)| it.profile.classic.as_ref());
    let protocols = classic.map(|it| it.map(|it| it.protocols.as_slice()));
    let Some(all) = protocols.collect::<Option<Vec<_>>>() else { return false };
    let can = |them: &[Protocol], it: &Protocol| them.iter().any(|its| its.name == it.name);
    let first = all.first().copied().unwrap_or_default();
    first.iter().any(|it| all.iter().all(|them| can(them, it)))
}

/// The group goes on as a classic one, and its members share anew.
pub(crate) fn downgrade(
    step: &mut Step<'_>,
    name: &Arc<str>,
    group: &ConsumerGroup,
) -> ClassicGroup {
    group.tombstones().into_iter().for_each(|it| step.record(it));
    let migrants = group.members().filter_map(|(id, member)| {
        let (profile, classic) = (&member.profile, member.profile.classic.as_ref()?);
        let first = classic.protocols.first();
        let wishes = first.and_then(|it| Wishes::read(&it.metadata).ok());
        let version = wishes.map_or(0, |it| it.version);
        let assigned = member.current.assigned.to_assignment();
        let member = MemberSnapshot {
            id: Arc::clone(id),
            instance: profile.instance.clone(),
            client_id: Arc::clone(&profile.client_id),
            client_host: Arc::clone(&profile.client_host),
            rebalance_ms: profile.rebalance_ms,
            session_ms: classic.session_ms,
            subscription: first.map(|it| it.metadata.clone()).unwrap_or_default(),
            assignment: write_assignment(version, &assigned, step.image),
        };
        Some(Migrant { member, protocols: classic.protocols.clone() })
    });
    let migrants = migrants.collect();
    ClassicGroup::take_over(step, Arc::clone(name), group.epoch(), migrants)
}
