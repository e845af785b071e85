//! Members of a consumer group that speak the classic protocol, while the group moves from one to the other
//! (KIP-848).
//!
//! To them the coordinator is the leader: JoinGroup is a heartbeat that tells what they own, their generation
//! is their epoch, SyncGroup fetches what they have, and Heartbeat says when they must join again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::Ticket;
use crate::group::answer::{Answer, GroupError, JoinRefusal, Joined, Synced};
use crate::group::classic::hyphenated;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer_record::{ClassicProfile, MemberState, Profile};
use crate::group::coordinator::Step;
use crate::group::embedded::{CONSUMER, Wishes, by_id, write_assignment};
use crate::group::member::Member;
use crate::group::request::{Heartbeat, Identity, Join, Leave, Protocol, Sync, Welcome};
use crate::group::subscription::Subscription;

/// Where a classic member that joins gets in.
enum Place {
    /// Come again with the id.
    Invited,
    Member,
    /// A static member has another id now.
    Of(Arc<str>),
}

impl ConsumerGroup {
    pub(crate) fn join(&mut self, step: &mut Step<'_>, ticket: Ticket, join: Join) {
        let mut id = Arc::clone(&join.identity.member);
        let wishes = join.protocols.first().map(|it| Wishes::read(&it.metadata));
        let admitted = match (self.place_of_classic(step, &join), wishes) {
            (Err(error), _) => Err(error),
            (_, None | Some(Err(_))) => Err(GroupError::InconsistentProtocol),
            (Ok(place), Some(Ok(wishes))) => Ok((place, wishes)),
        };
        if id.is_empty() && admitted.is_ok() {
            id = hyphenated(join.draw).into();
        }
        let (place, wishes) = match admitted {
            Ok((Place::Invited, _)) => {
                let refusal = JoinRefusal { error: GroupError::MemberIdRequired, member: id };
                return step.answer(ticket, Answer::Join(Err(refusal)));
            }
            Ok(admitted) => admitted,
            Err(error) => {
                return step.answer(ticket, Answer::Join(Err(JoinRefusal { error, member: id })));
            }
        };
        if let Place::Of(replaced) = &place {
            self.replace(step, replaced, &id);
        }
        let joined = self.join_classic(step, &id, join, wishes);
        step.answer(ticket, Answer::Join(Ok(joined)));
    }

    fn place_of_classic(&self, step: &Step<'_>, join: &Join) -> Result<Place, GroupError> {
        let id = &join.identity.member;
        let present = join.identity.instance.as_ref().map(|it| self.instances.get(it));
        let is_known = self.members.contains_key(id);
        let is_replaced = matches!(present, Some(Some(_))) && id.is_empty();
        if !is_known && !is_replaced && self.members.len() >= step.limits.consumer.members_max {
            return Err(GroupError::GroupFull);
        }
        if !self.supports(id, join) {
            return Err(GroupError::InconsistentProtocol);
        }
        match (present, id.is_empty()) {
            (None, true) if join.welcome == Welcome::IdFirst => Ok(Place::Invited),
            (None, _) | (Some(None), true) => Ok(Place::Member),
            (Some(Some(replaced)), true) => Ok(Place::Of(Arc::clone(replaced))),
            (Some(_), false) => self.check_member(&join.identity).map(|()| Place::Member),
        }
    }

    /// Whether all classic members, and this one, can do some protocol, so that the group can become a
    /// classic one.
    fn supports(&self, id: &str, join: &Join) -> bool {
        let others = self.members.iter().filter(|(it, _)| &***it != id);
        let others: Vec<_> = others.filter_map(|(_, it)| it.profile.classic.as_ref()).collect();
        let can = |it: &ClassicProfile, name: &str| it.protocols.iter().any(|it| &*it.name == name);
        let all_can = |protocol: &Protocol| others.iter().all(|it| can(it, &protocol.name));
        &*join.protocol_type == CONSUMER && join.protocols.iter().any(all_can)
    }

    fn join_classic(
        &mut self,
        step: &mut Step<'_>,
        id: &Arc<str>,
        join: Join,
        wishes: Wishes,
    ) -> Joined {
        let present = self.members.get(id).map(|it| it.profile.clone()).unwrap_or_default();
        let owned = by_id(&wishes.owned, step.image);
        let protocol = join.protocols.first().map(|it| Arc::clone(&it.name));
        let (session_ms, rebalance_ms) = (join.session_ms, join.rebalance_ms);
        let profile = Profile {
            instance: join.identity.instance.or(present.instance),
            rack: wishes.rack.or(present.rack),
            client_id: join.client_id,
            client_host: join.client_host,
            subscription: Subscription { names: wishes.topics, regex: None },
            rebalance_ms,
            assignor: present.assignor,
            classic: Some(ClassicProfile { session_ms, protocols: join.protocols }),
        };
        let wants_else = self.put(step, id, profile, None);
        self.follow_topics(step, wants_else);
        let timing = step.timing(&self.name);
        self.retarget(step, timing.assignment_interval_ms);
        self.reconcile(step, id, Some(&owned));
        let until = step.now.moment.plus_ms(rebalance_ms.into());
        let member = self.members.get_mut(id).expect("it was just put there");
        member.clocks.join = None;
        member.clocks.sync = Some(until);
        let generation = member.current.epoch;
        self.live(step, id, session_ms);
        Joined {
            member: Arc::clone(id),
            generation,
            protocol_type: CONSUMER.into(),
            protocol: protocol.unwrap_or_else(|| "".into()),
            leader: "".into(), // Nobody: there is nothing to assign for a member.
            members: Vec::new(),
            skips_assignment: false,
        }
    }

    pub(crate) fn sync(&mut self, step: &mut Step<'_>, sync: &Sync) -> Result<Synced, GroupError> {
        let (member, classic) = self.classic_member(&sync.identity)?;
        if sync.generation != member.current.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        let protocol = classic.protocols.first().ok_or(GroupError::InconsistentProtocol)?;
        let differs =
            |said: &Option<Arc<str>>, is: &str| said.as_ref().is_some_and(|it| **it != *is);
        if differs(&sync.protocol_type, CONSUMER) || differs(&sync.protocol, &protocol.name) {
            return Err(GroupError::InconsistentProtocol);
        }
        let is_behind = member.current.epoch < self.epoch.epoch;
        if is_behind && member.current.state != MemberState::Unrevoked {
            self.expect_join(step, &sync.identity.member);
            return Err(GroupError::Rebalancing);
        }
        let version = Wishes::read(&protocol.metadata).map_or(0, |it| it.version);
        let assigned = member.current.assigned.to_assignment();
        let synced = Synced {
            protocol_type: CONSUMER.into(),
            protocol: Arc::clone(&protocol.name),
            assignment: write_assignment(version, &assigned, step.image),
        };
        let session_ms = classic.session_ms;
        let id = &sync.identity.member;
        self.members.get_mut(id).expect("it was checked").clocks.sync = None;
        self.live(step, id, session_ms);
        Ok(synced)
    }

    pub(crate) fn classic_heartbeat(
        &mut self,
        step: &mut Step<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), GroupError> {
        let (member, classic) = self.classic_member(&heartbeat.identity)?;
        if heartbeat.generation != member.current.epoch {
            return Err(GroupError::IllegalGeneration);
        }
        let session_ms = classic.session_ms;
        let id = &heartbeat.identity.member;
        self.live(step, id, session_ms);
        self.follow_topics(step, false);
        let current = &self.members[id].current;
        let must_join = current.epoch < self.epoch.epoch
            || match current.state {
                MemberState::Stable => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !self.waits_for_others(id),
            };
        if !must_join {
            return Ok(());
        }
        self.expect_join(step, id);
        Err(GroupError::Rebalancing)
    }

    /// It is told to join again, and has so long for it.
    fn expect_join(&mut self, step: &mut Step<'_>, id: &Arc<str>) {
        let member = self.members.get_mut(id).expect("it was checked");
        let until = step.now.moment.plus_ms(member.profile.rebalance_ms.into());
        member.clocks.join.get_or_insert(until);
        self.watch(step, id);
    }

    /// Of LeaveGroup: classic members, and static ones that an administrator names.
    pub(crate) fn classic_leave(
        &mut self,
        step: &mut Step<'_>,
        leave: &Leave,
    ) -> Vec<Result<(), GroupError>> {
        let mut gone: BTreeMap<Arc<str>, ()> = BTreeMap::new();
        let mut results = Vec::with_capacity(leave.members.len());
        for identity in &leave.members {
            let found = self.leaving(identity).and_then(|id| {
                let is_first = gone.insert(id, ()).is_none();
                is_first.then_some(()).ok_or(GroupError::UnknownMember)
            });
            results.push(found);
        }
        let gone: Vec<_> = gone.into_keys().collect();
        if !gone.is_empty() {
            self.fence(step, &gone);
        }
        results
    }

    fn leaving(&self, identity: &Identity) -> Result<Arc<str>, GroupError> {
        match &identity.instance {
            Some(instance) if identity.member.is_empty() => {
                self.instances.get(instance).cloned().ok_or(GroupError::UnknownMember)
            }
            _ => {
                self.classic_member(identity)?;
                Ok(Arc::clone(&identity.member))
            }
        }
    }

    fn classic_member(
        &self,
        identity: &Identity,
    ) -> Result<(&Member, &ClassicProfile), GroupError> {
        self.check_member(identity)?;
        let member = self.members.get(&identity.member).ok_or(GroupError::UnknownMember)?;
        let classic = member.profile.classic.as_ref().ok_or(GroupError::UnknownMember)?;
        Ok((member, classic))
    }
}
