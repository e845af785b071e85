//! A group of the classic protocol: members join, one of them assigns, all fetch what they got.
//!
//! Knows no offset. What it decides goes into the step that it is given.
//!
//! ```text
//! Empty -> Preparing (who takes part?) -> Completing (the leader assigns) -> Stable
//!             ^--------- joins, leaves, time-outs ---------'-------------------'
//! ```
//! Invariant: `instances` names members; only members of a group that is `Preparing` wait to have
//! joined, and none waits for an assignment that is there.

mod crossing;
mod invited;
mod member;
mod memory;
mod mend;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use engine::bug::Bug;
use engine::id::Timestamp;

use crate::group::answer::{
    Answer, DescribedMember, Description, GroupError, GroupState, JoinRefusal, Joined,
    JoinedMember, Synced,
};
use crate::group::classic::invited::Invited;
use crate::group::classic::member::{Member, Waiting};
use crate::group::classic::roster::Roster;
use crate::group::coordinator::Step;
use crate::group::embedded::{CONSUMER, read_topics};
use crate::group::record::{ClassicSnapshot, GroupRecord};
use crate::group::request::{
    Heartbeat, Identity, Join, LeaderAgain, Leave, Protocol, Sync, Welcome,
};
use crate::group::{Alarm, Moment, Ticket};

/// How long a member that joins for the first time may wait for the others, whatever its session
/// (KAFKA-7610): it sends no heartbeats yet.
const NEW_MEMBER_WAIT_MS: i64 = 5 * 60 * 1_000;

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    name: Arc<str>,
    /// Empty until the first member joins.
    protocol_type: Arc<str>,
    generation: i32,
    phase: Phase,
    /// When it became empty or stable.
    since: Timestamp,
    protocol: Option<Arc<str>>,
    leader: Option<Arc<str>>,
    roster: Roster,
    /// Static members, by their lasting names.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    invited: Invited,
}

#[derive(Debug)]
enum Phase {
    Empty,
    Preparing {
        until: Moment,
        opening: Opening,
    },
    Completing {
        sync_until: Moment,
    },
    /// Who has not asked for its assignment by then is gone.
    Stable {
        sync_until: Moment,
    },
}

/// Whether the join phase may end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// KIP-134: the first members wait for others; each that comes prolongs it, up to a limit.
    First { begun: Moment, is_joined: bool },
    /// As soon as all are there.
    Again,
}

impl ClassicGroup {
    pub(crate) fn new(name: Arc<str>, since: Timestamp) -> Self {
        Self {
            name,
            protocol_type: "".into(),
            generation: 0,
            phase: Phase::Empty,
            since,
            protocol: None,
            leader: None,
            roster: Roster::default(),
            instances: BTreeMap::new(),
            invited: Invited::default(),
        }
    }

    /// As it was written down. Its members have a session's time to show themselves.
    pub(crate) fn restore(name: Arc<str>, snapshot: ClassicSnapshot) -> Self {
        let mut group = Self::new(name, snapshot.since);
        group.protocol_type = snapshot.protocol_type;
        if !Bug::GroupGenerationForgotten.is_on() {
            group.generation = snapshot.generation;
        }
        group.leader = snapshot.leader;
        for it in snapshot.members {
            let protocols = snapshot
                .protocol
                .iter()
                .map(|name| Protocol { name: Arc::clone(name), metadata: it.subscription.clone() });
            let member = Member {
                instance: it.instance.clone(),
                client_id: it.client_id,
                client_host: it.client_host,
                session_ms: it.session_ms,
                rebalance_ms: it.rebalance_ms,
                protocols: protocols.collect(),
                assignment: it.assignment,
                expires: Moment::default(),
                is_new: false,
                has_synced: true,
                waiting: Waiting::Nothing,
            };
            if let Some(instance) = it.instance {
                group.instances.insert(instance, Arc::clone(&it.id));
            }
            group.roster.insert(it.id, member);
        }
        group.protocol = snapshot.protocol;
        if !group.roster.is_empty() {
            group.phase = Phase::Stable { sync_until: Moment::default() };
        }
        group
    }

    /// Sessions begin.
    pub(crate) fn begin(&mut self, step: &mut Step<'_>) {
        self.roster.edit_all(|id, member| {
            member.live(step);
            step.alarm(member.expires, &self.name, Alarm::Member(Arc::clone(id)));
        });
    }

    // What is seen from outside.

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.phase, Phase::Empty)
    }

    /// Nothing is known of it but offsets, if there are any.
    pub(crate) fn is_bare(&self) -> bool {
        self.is_empty() && self.generation == 0 && self.invited.is_empty()
    }

    pub(crate) fn protocol_type(&self) -> &Arc<str> {
        &self.protocol_type
    }

    pub(crate) fn state(&self) -> GroupState {
        match self.phase {
            Phase::Empty => GroupState::Empty,
            Phase::Preparing { .. } => GroupState::PreparingRebalance,
            Phase::Completing { .. } => GroupState::CompletingRebalance,
            Phase::Stable { .. } => GroupState::Stable,
        }
    }

    /// When the group became what it is.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    pub(crate) fn describe(&self) -> Description {
        let is_stable = matches!(self.phase, Phase::Stable { .. });
        let protocol = self.protocol.as_ref().filter(|_| is_stable);
        let members = self.roster.all().iter().map(|(id, member)| DescribedMember {
            id: Arc::clone(id),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: protocol.map(|it| member.metadata(it)).unwrap_or_default(),
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
        });
        Description {
            state: self.state(),
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: protocol.map_or_else(|| "".into(), Arc::clone),
            members: members.collect(),
        }
    }

    /// The topics that its members read; `None` if that cannot be known.
    pub(crate) fn subscribed(&self) -> Option<BTreeSet<String>> {
        if &*self.protocol_type != CONSUMER {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.roster.all().values() {
            let metadata = member.metadata(self.protocol.as_ref()?);
            topics.extend(read_topics(&metadata).ok()?.iter().map(|it| it.to_string()));
        }
        Some(topics)
    }

    /// Whether who commits may. Members that may show that they live by it.
    pub(crate) fn check_commit(
        &mut self,
        step: &Step<'_>,
        identity: &Identity,
        generation: i32,
    ) -> Result<(), GroupError> {
        if generation < 0 && self.is_empty() {
            return Ok(()); // Its partitions are assigned elsewhere.
        }
        let is_stranger = identity.member.is_empty() && identity.instance.is_none();
        if generation < 0 && is_stranger {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(identity)?;
        if generation != self.generation && !Bug::StaleCommitTaken.is_on() {
            return Err(GroupError::IllegalGeneration);
        }
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Completing { .. } => Err(GroupError::Rebalancing),
            Phase::Preparing { .. } | Phase::Stable { .. } => {
                self.roster.live(step, &identity.member);
                Ok(())
            }
        }
    }

    // Joining.

    pub(crate) fn join(&mut self, step: &mut Step<'_>, ticket: Ticket, join: Join) {
        let joined = if !self.has_place_for(step, &join.identity.member) {
            self.remove_member(step, &join.identity.member, GroupError::UnknownMember);
            Err(GroupError::GroupFull)
        } else if !self.supports(&join) {
            Err(GroupError::InconsistentProtocol)
        } else if join.identity.member.is_empty() {
            return self.join_anew(step, ticket, join);
        } else {
            self.join_again(step, ticket, &join)
        };
        if let Err(error) = joined {
            let refusal = JoinRefusal { error, member: join.identity.member };
            step.answer(ticket, Answer::Join(Err(refusal)));
        }
    }

    fn has_place_for(&self, step: &Step<'_>, id: &str) -> bool {
        let members_max = step.limits.members_max;
        let member = self.roster.all().get(id);
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                member.is_some_and(Member::is_joining) || self.roster.joining_count() < members_max
            }
            Phase::Completing { .. } | Phase::Stable { .. } => {
                member.is_some() || self.roster.all().len() < members_max
            }
        }
    }

    /// Whether all members, and this one, can do some protocol.
    fn supports(&self, join: &Join) -> bool {
        if self.roster.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let can_all = |it: &Protocol| self.roster.can_all(&it.name);
        self.protocol_type == join.protocol_type && join.protocols.iter().any(can_all)
    }

    /// Without an id.
    fn join_anew(&mut self, step: &mut Step<'_>, ticket: Ticket, join: Join) {
        let draw = if Bug::MemberIdReused.is_on() { 0 } else { join.draw };
        let name = join.identity.instance.as_deref().unwrap_or(&join.client_id);
        let id: Arc<str> = format!("{name}-{}", hyphenated(draw)).into();
        if let Some(instance) = &join.identity.instance {
            match self.instances.get(instance).cloned() {
                Some(replaced) => self.replace_static(step, ticket, join, &replaced, id),
                None => self.add_member(step, ticket, join, id),
            }
            return;
        }
        match join.welcome {
            Welcome::AtOnce => self.add_member(step, ticket, join, id),
            Welcome::IdFirst => {
                let until = step.now.moment.plus_ms(join.session_ms.into());
                self.invited.insert(&id, until);
                step.alarm(until, &self.name, Alarm::Member(Arc::clone(&id)));
                let refusal = JoinRefusal { error: GroupError::MemberIdRequired, member: id };
                step.answer(ticket, Answer::Join(Err(refusal)));
            }
        }
    }

    /// With an id that it says it has.
    fn join_again(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        join: &Join,
    ) -> Result<(), GroupError> {
        let id = &join.identity.member;
        if self.invited.until(id).is_some() {
            if join.identity.instance.is_some() {
                return Err(GroupError::UnknownMember); // Static members are never invited.
            }
            self.add_member(step, ticket, join.clone(), Arc::clone(id));
            return Ok(());
        }
        self.check_member(&join.identity)?;
        let has_changed = self.roster.all()[id].protocols != join.protocols;
        let is_leader = self.leader.as_ref() == Some(id);
        match self.phase {
            Phase::Empty => return Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => self.take_part(step, ticket, join),
            Phase::Completing { .. } if !has_changed => self.tell_generation(step, ticket, id),
            // A leader that joins again asks for a new assignment.
            Phase::Stable { .. } if !has_changed && !is_leader => {
                self.tell_generation(step, ticket, id);
            }
            Phase::Completing { .. } | Phase::Stable { .. } => {
                self.take_part(step, ticket, join);
            }
        }
        Ok(())
    }

    fn add_member(&mut self, step: &mut Step<'_>, ticket: Ticket, join: Join, id: Arc<str>) {
        self.invited.remove(&id);
        let expires = step.now.moment.plus_ms(NEW_MEMBER_WAIT_MS);
        step.alarm(expires, &self.name, Alarm::Member(Arc::clone(&id)));
        if self.roster.is_empty() {
            self.protocol_type = join.protocol_type;
        }
        if let Some(instance) = &join.identity.instance {
            self.instances.insert(Arc::clone(instance), Arc::clone(&id));
        }
        self.leader.get_or_insert_with(|| Arc::clone(&id));
        let member = Member {
            instance: join.identity.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session_ms: join.session_ms,
            rebalance_ms: join.rebalance_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            expires,
            is_new: true,
            has_synced: false,
            waiting: Waiting::Join(ticket),
        };
        self.roster.insert(id, member);
        if let Phase::Preparing { opening: Opening::First { is_joined, .. }, .. } = &mut self.phase
        {
            *is_joined = true;
        }
        self.rebalance(step);
    }

    /// A known member takes part in the next generation.
    fn take_part(&mut self, step: &mut Step<'_>, ticket: Ticket, join: &Join) {
        self.roster.edit(&join.identity.member, |member| {
            member.protocols.clone_from(&join.protocols);
            member.session_ms = join.session_ms;
            member.rebalance_ms = join.rebalance_ms;
            member.client_id = Arc::clone(&join.client_id);
            member.client_host = Arc::clone(&join.client_host);
            member.wait(step, Waiting::Join(ticket));
        });
        self.rebalance(step);
    }

    /// A static member was restarted, and has another id.
    fn replace_static(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        join: Join,
        replaced: &Arc<str>,
        id: Arc<str>,
    ) {
        let mut member = self.roster.remove(replaced).expect("instances name members");
        step.forget_alarm(&self.name, &Alarm::Member(Arc::clone(replaced)));
        member.refuse(step, replaced, GroupError::FencedInstance);
        let led = self.leader.clone();
        if led.as_ref() == Some(replaced) {
            self.leader = Some(Arc::clone(&id));
        }
        let instance = member.instance.clone().expect("it has one");
        self.instances.insert(instance, Arc::clone(&id));
        member.protocols = join.protocols;
        member.session_ms = join.session_ms;
        member.rebalance_ms = join.rebalance_ms;
        member.client_id = join.client_id;
        member.client_host = join.client_host;
        member.expires = step.now.moment.plus_ms(member.session_ms.into());
        step.alarm(member.expires, &self.name, Alarm::Member(Arc::clone(&id)));
        self.roster.insert(Arc::clone(&id), member);
        let is_stable = matches!(self.phase, Phase::Stable { .. });
        if is_stable && self.protocol == Some(self.vote()) {
            self.write(step);
            let mut joined = self.joined(&id);
            match join.leader_again {
                LeaderAgain::Skips => joined.skips_assignment = joined.leader == id,
                // Not its own id, so that it does not assign what nobody would be told.
                LeaderAgain::IsNotTold => {
                    joined.leader = led.unwrap_or_else(|| "".into());
                    joined.members.clear();
                }
            }
            step.answer(ticket, Answer::Join(Ok(joined)));
            return;
        }
        self.roster.edit(&id, |it| it.waiting = Waiting::Join(ticket));
        self.rebalance(step);
    }

    /// Begins a rebalance, or looks whether the one that goes on is over.
    fn rebalance(&mut self, step: &mut Step<'_>) {
        let now = step.now.moment;
        let until = match self.phase {
            Phase::Preparing { .. } => return self.try_complete(step),
            Phase::Empty => {
                let delay = step.limits.initial_delay_ms;
                let until = now.plus_ms(delay.min(self.roster.rebalance_ms()).into());
                let opening = Opening::First { begun: now, is_joined: false };
                self.phase = Phase::Preparing { until, opening };
                until
            }
            Phase::Completing { .. } | Phase::Stable { .. } => {
                self.roster.edit_all(|id, member| {
                    if matches!(member.waiting, Waiting::Sync(_)) {
                        member.refuse(step, id, GroupError::Rebalancing);
                        member.live(step);
                    }
                });
                let until = now.plus_ms(self.roster.rebalance_ms().into());
                self.phase = Phase::Preparing { until, opening: Opening::Again };
                until
            }
        };
        step.alarm(until, &self.name, Alarm::Join);
        self.try_complete(step);
    }

    fn try_complete(&mut self, step: &mut Step<'_>) {
        let Phase::Preparing { until, opening } = self.phase else { return };
        let is_over = match opening {
            Opening::First { .. } => until <= step.now.moment,
            Opening::Again => {
                let is_all = self.invited.is_empty() && self.roster.are_all_joining();
                is_all || Bug::RebalanceDoesNotWait.is_on()
            }
        };
        if is_over {
            self.complete_join(step);
        }
    }

    /// The join phase has come to its time.
    fn on_join_time(&mut self, step: &mut Step<'_>) {
        let Phase::Preparing { until, opening } = self.phase else { return };
        if step.now.moment < until {
            return step.alarm(until, &self.name, Alarm::Join);
        }
        if let Opening::First { begun, is_joined: true } = opening {
            let last = begun.plus_ms(self.roster.rebalance_ms().into());
            let later = step.now.moment.plus_ms(step.limits.initial_delay_ms.into()).min(last);
            if step.now.moment < later {
                let opening = Opening::First { begun, is_joined: false };
                self.phase = Phase::Preparing { until: later, opening };
                step.alarm(later, &self.name, Alarm::Join);
                return;
            }
        }
        self.complete_join(step);
    }

    fn complete_join(&mut self, step: &mut Step<'_>) {
        let is_late = |it: &Member| !it.is_joining() && it.instance.is_none();
        let late: Vec<_> = self.roster.all().iter().filter(|(_, it)| is_late(it)).collect();
        let late: Vec<_> = late.into_iter().map(|(id, _)| Arc::clone(id)).collect();
        for id in late {
            self.take_out(step, &id);
        }
        if self.roster.is_empty() {
            return self.become_empty(step);
        }
        let now = step.now.moment;
        let until = now.plus_ms(self.roster.rebalance_ms().into());
        if !self.elect_joined_leader() {
            // Only static members are left, and none has come: they get as much time again.
            self.phase = Phase::Preparing { until, opening: Opening::Again };
            step.alarm(until, &self.name, Alarm::Join);
            return;
        }
        let has_new = self.roster.all().values().any(|it| it.is_new);
        if has_new || !Bug::GenerationNotRaised.is_on() {
            self.generation = self.generation.checked_add(1).unwrap_or(1);
        }
        self.protocol = Some(self.vote());
        self.phase = Phase::Completing { sync_until: until };
        step.alarm(until, &self.name, Alarm::Sync);
        let ids: Vec<_> = self.roster.all().keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            self.roster.edit(&id, |member| {
                member.has_synced = false;
                if let Waiting::Join(ticket) = member.waiting {
                    member.is_new = false;
                    member.waiting = Waiting::Nothing;
                    member.live(step);
                    step.alarm(member.expires, &self.name, Alarm::Member(Arc::clone(&id)));
                    step.answer(ticket, Answer::Join(Ok(joined)));
                }
            });
        }
    }

    fn become_empty(&mut self, step: &mut Step<'_>) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.phase = Phase::Empty;
        self.protocol = None;
        self.leader = None;
        self.write(step);
    }

    /// False if nobody has joined.
    fn elect_joined_leader(&mut self) -> bool {
        let joins = |id: &Arc<str>| self.roster.all().get(id).is_some_and(Member::is_joining);
        if self.leader.as_ref().is_some_and(joins) {
            return true;
        }
        let first = self.roster.all().iter().find(|(_, it)| it.is_joining());
        let Some((id, _)) = first else { return false };
        self.leader = Some(Arc::clone(id));
        true
    }

    /// What most members like best of what all can do.
    fn vote(&self) -> Arc<str> {
        let can_all = |it: &&Arc<str>| self.roster.can_all(it);
        let mut votes = BTreeMap::<&Arc<str>, usize>::new();
        for member in self.roster.all().values() {
            if let Some(best) = member.protocols.iter().map(|it| &it.name).find(can_all) {
                *votes.entry(best).or_default() += 1;
            }
        }
        let first = self.roster.all().values().next().expect("somebody votes");
        let candidates = first.protocols.iter().map(|it| &it.name).filter(can_all);
        let elected = candidates.rev().max_by_key(|it| votes.get(it).copied());
        Arc::clone(elected.expect("a member joins only if there is a protocol that all can do"))
    }

    /// What a member is told of this generation.
    fn joined(&self, id: &Arc<str>) -> Joined {
        let protocol = self.protocol.clone().expect("a generation has a protocol");
        let leader = self.leader.clone().expect("a generation has a leader");
        let members = if leader == *id {
            let all = self.roster.all().iter().map(|(id, member)| JoinedMember {
                id: Arc::clone(id),
                instance: member.instance.clone(),
                metadata: member.metadata(&protocol),
            });
            all.collect()
        } else {
            Vec::new()
        };
        Joined {
            member: Arc::clone(id),
            generation: self.generation,
            protocol_type: Arc::clone(&self.protocol_type),
            protocol,
            leader,
            members,
            skips_assignment: false,
        }
    }

    fn tell_generation(&mut self, step: &mut Step<'_>, ticket: Ticket, id: &Arc<str>) {
        self.roster.live(step, id);
        step.answer(ticket, Answer::Join(Ok(self.joined(id))));
    }

    // Syncing.

    pub(crate) fn sync(&mut self, step: &mut Step<'_>, ticket: Ticket, sync: Sync) {
        if let Err(error) = self.check_sync(&sync) {
            return step.answer(ticket, Answer::Sync(Err(error)));
        }
        let id = &sync.identity.member;
        match self.phase {
            Phase::Completing { sync_until } => {
                self.roster.edit(id, |member| {
                    member.has_synced = true;
                    member.wait(step, Waiting::Sync(ticket));
                });
                if self.leader.as_ref() == Some(id) {
                    self.assign(step, sync.assignments, sync_until);
                }
            }
            _ => {
                let synced = self.synced(id);
                self.roster.edit(id, |member| {
                    member.has_synced = true;
                    member.live(step);
                });
                step.answer(ticket, Answer::Sync(Ok(synced)));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), GroupError> {
        self.check_member(&sync.identity)?;
        if sync.generation != self.generation && !Bug::StaleSyncAnswered.is_on() {
            return Err(GroupError::IllegalGeneration);
        }
        let differs =
            |said: &Option<Arc<str>>, is: Option<&Arc<str>>| said.is_some() && said.as_ref() != is;
        if differs(&sync.protocol_type, Some(&self.protocol_type))
            || differs(&sync.protocol, self.protocol.as_ref())
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::Rebalancing),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(()),
        }
    }

    /// The leader has decided. Whoever it forgot gets nothing.
    fn assign(
        &mut self,
        step: &mut Step<'_>,
        assignments: Vec<(Arc<str>, Bytes)>,
        sync_until: Moment,
    ) {
        self.roster.edit_all(|_, it| it.assignment = Bytes::new());
        for (id, assignment) in assignments {
            if self.roster.all().contains_key(&id) {
                self.roster.edit(&id, |it| it.assignment = assignment);
            }
        }
        self.phase = Phase::Stable { sync_until };
        self.write(step);
        let ids: Vec<_> = self.roster.all().keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            self.roster.edit(&id, |member| {
                if let Waiting::Sync(ticket) = member.waiting {
                    member.waiting = Waiting::Nothing;
                    member.live(step);
                    step.alarm(member.expires, &self.name, Alarm::Member(Arc::clone(&id)));
                    step.answer(ticket, Answer::Sync(Ok(synced)));
                }
            });
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: Arc::clone(&self.protocol_type),
            protocol: self.protocol.clone().unwrap_or_else(|| "".into()),
            assignment: self.roster.all()[id].assignment.clone(),
        }
    }

    // Staying, and leaving.

    pub(crate) fn heartbeat(
        &mut self,
        step: &Step<'_>,
        heartbeat: &Heartbeat,
    ) -> Result<(), GroupError> {
        self.check_member(&heartbeat.identity)?;
        if heartbeat.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if !Bug::HeartbeatNotCounted.is_on() {
            self.roster.live(step, &heartbeat.identity.member);
        }
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Preparing { .. } => Err(GroupError::Rebalancing),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(()),
        }
    }

    pub(crate) fn leave(
        &mut self,
        step: &mut Step<'_>,
        leave: &Leave,
    ) -> Vec<Result<(), GroupError>> {
        let mut has_left = false;
        let mut results = Vec::with_capacity(leave.members.len());
        for identity in &leave.members {
            let left = self.leave_one(step, identity);
            has_left |= left.is_ok();
            results.push(left);
        }
        if has_left {
            self.on_gone(step);
        }
        results
    }

    fn leave_one(&mut self, step: &mut Step<'_>, identity: &Identity) -> Result<(), GroupError> {
        let id = match &identity.instance {
            // An administrator removes a static member by its lasting name alone.
            Some(instance) if identity.member.is_empty() => {
                self.instances.get(instance).cloned().ok_or(GroupError::UnknownMember)?
            }
            _ => Arc::clone(&identity.member),
        };
        if self.invited.remove(&id) {
            step.forget_alarm(&self.name, &Alarm::Member(id));
            return Ok(());
        }
        let instance = identity.instance.clone();
        self.check_member(&Identity { member: Arc::clone(&id), instance })?;
        self.remove_member(step, &id, GroupError::UnknownMember);
        Ok(())
    }

    pub(crate) fn on_alarm(&mut self, step: &mut Step<'_>, alarm: &Alarm) {
        match alarm {
            Alarm::Join => self.on_join_time(step),
            Alarm::Sync => self.on_sync_time(step),
            Alarm::Member(id) => self.on_member_time(step, id),
        }
    }

    /// Who has not asked for its assignment is gone.
    fn on_sync_time(&mut self, step: &mut Step<'_>) {
        let (Phase::Completing { sync_until } | Phase::Stable { sync_until }) = self.phase else {
            return;
        };
        if step.now.moment < sync_until {
            return step.alarm(sync_until, &self.name, Alarm::Sync);
        }
        let late = self.roster.all().iter().filter(|(_, it)| !it.has_synced);
        let late: Vec<_> = late.map(|(id, _)| Arc::clone(id)).collect();
        if late.is_empty() {
            return;
        }
        for id in &late {
            self.remove_member(step, id, GroupError::UnknownMember);
        }
        self.on_gone(step);
    }

    fn on_member_time(&mut self, step: &mut Step<'_>, id: &Arc<str>) {
        let now = step.now.moment;
        if let Some(until) = self.invited.until(id) {
            if now < until {
                return step.alarm(until, &self.name, Alarm::Member(Arc::clone(id)));
            }
            self.invited.remove(id);
            return self.on_gone(step);
        }
        let Some(member) = self.roster.all().get(id) else { return };
        // Who waits for an answer cannot show that it lives, but for its first wait.
        let is_excused = member.waiting != Waiting::Nothing && !member.is_new;
        let expires =
            if is_excused { now.plus_ms(member.session_ms.into()) } else { member.expires };
        if now < expires {
            return step.alarm(expires, &self.name, Alarm::Member(Arc::clone(id)));
        }
        if Bug::MemberNeverExpires.is_on() {
            return;
        }
        self.remove_member(step, id, GroupError::UnknownMember);
        self.on_gone(step);
    }

    /// Members are gone: the others share anew.
    fn on_gone(&mut self, step: &mut Step<'_>) {
        if !self.is_empty() {
            self.rebalance(step);
        }
    }

    fn remove_member(&mut self, step: &mut Step<'_>, id: &str, error: GroupError) {
        if let Some(mut member) = self.take_out(step, id) {
            member.refuse(step, id, error);
        }
    }

    fn take_out(&mut self, step: &mut Step<'_>, id: &str) -> Option<Member> {
        let member = self.roster.remove(id)?;
        step.forget_alarm(&self.name, &Alarm::Member(id.into()));
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.roster.all().keys().next().cloned();
        }
        Some(member)
    }

    fn check_member(&self, identity: &Identity) -> Result<(), GroupError> {
        identity.check(&self.instances, self.roster.all())
    }

    /// Writes the group down as it is.
    fn write(&mut self, step: &mut Step<'_>) {
        self.since = step.now.wall;
        let protocol = self.protocol.as_ref();
        let members = self.roster.all().iter().map(|(id, member)| {
            let said = protocol.map(|it| member.metadata(it)).unwrap_or_default();
            member.snapshot(id, said)
        });
        let snapshot = ClassicSnapshot {
            protocol_type: Arc::clone(&self.protocol_type),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since: self.since,
            members: members.collect(),
        };
        let group = Arc::clone(&self.name);
        step.record(GroupRecord::Classic { group, to: Some(snapshot) });
    }
}

/// As UUIDs are written.
pub(crate) fn hyphenated(draw: u128) -> String {
    let part = |from: u32, bits: u32| (draw >> from) & ((1 << bits) - 1);
    let [first, second, third, fourth] =
        [(96, 32), (80, 16), (64, 16), (48, 16)].map(|(from, bits)| part(from, bits));
    format!("{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{:012x}", part(0, 48))
}
