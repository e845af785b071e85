//! A simulated member of a group of the classic protocol. The roll of the group judges what it is told.
//!
//! A member joins, assigns if it leads, commits what it would have read, and now and then leaves, dies,
//! stalls, starts anew, or says what it should have said a generation ago. When it has done enough it
//! stays until the whole group has settled: every partition owned, all in one generation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::io::{Io, Nanos};
use crate::sim::SimIo;
use crate::sim::chance::Chance;
use crate::sim::roll::Roll;
use crate::sim::wire::{Gone, Wire};

const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 5_000;
/// Who has shown itself so lately is a member: neither its session nor a rebalance can have ended without it.
const SHOWN_MAX: Duration = Duration::from_secs(4);
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Of JoinGroup, and as far as others go as high, of the rest.
    pub version: i16,
    /// It has a lasting name (KIP-345).
    pub is_static: bool,
    /// Generations and heartbeats before it has done enough.
    pub round_count: usize,
    /// One round in so many ends with something odd.
    pub odd_one_in: u64,
    pub pause: Duration,
}

/// The first version of all its requests that has lasting names.
pub const STATIC_FROM: i16 = 7;

pub struct Member {
    io: SimIo,
    node: usize,
    roll: Roll,
    number: u32,
    ways: Ways,
    chance: Chance,
    id: String,
    /// Of a static member that was restarted: the id that it had.
    former_id: Option<String>,
    /// When it last sent what only a member may, and was answered.
    shown_at: Option<Nanos>,
    generation: i32,
    owned: BTreeSet<i32>,
    positions: BTreeMap<i32, i64>,
    rounds_left: usize,
}

/// What a member does next.
enum Next {
    Stay,
    Rejoin,
    /// Its id is not known any more.
    StartAnew,
    /// The coordinator is not there now.
    Wait,
    End,
}

impl Member {
    #[must_use]
    pub fn new(io: &SimIo, node: usize, roll: &Roll, ways: Ways) -> Self {
        Self {
            io: io.clone(),
            node,
            roll: roll.clone(),
            number: roll.enlist(),
            rounds_left: ways.round_count,
            ways,
            chance: Chance::new(io.random()),
            id: String::new(),
            former_id: None,
            shown_at: None,
            generation: -1,
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
        }
    }

    /// Until it has done enough and the group has settled.
    pub async fn run(mut self) {
        loop {
            let mut wire = Wire::connect(&self.io, self.node).await;
            loop {
                match self.live(&mut wire).await {
                    Ok(Next::End) => return,
                    Ok(Next::Wait) => self.io.sleep(RETRY).await,
                    Ok(Next::StartAnew) => self.forget_id(),
                    Ok(Next::Stay | Next::Rejoin) => {}
                    Err(Gone) => break,
                }
                self.roll.unsettle(self.number);
                if self.roll.is_over() {
                    return;
                }
            }
            self.roll.unsettle(self.number);
            if self.roll.is_over() {
                return;
            }
        }
    }

    /// One generation.
    async fn live(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if !self.find_coordinator(wire).await? {
            return Ok(Next::Wait);
        }
        let joined = match self.join(wire).await? {
            Ok(joined) => joined,
            Err(next) => return Ok(next),
        };
        match self.sync(wire, &joined).await? {
            Ok(owned) => self.owned = owned,
            Err(next) => return Ok(next),
        }
        let owner = self.instance().unwrap_or_else(|| self.member_id());
        self.roll.on_assigned(self.generation, &owner, &self.owned);
        self.haunt(wire).await?;
        let (group, topic) = self.names();
        match fetch(wire, &group, &topic, &self.owned).await? {
            Some(found) => self.positions = found,
            None => return Ok(Next::Wait),
        }
        // Who is still a member after it has read was one when it read.
        match self.beat(wire).await? {
            Next::Stay => {}
            next => return Ok(next),
        }
        self.positions.iter().for_each(|(&partition, &at)| self.roll.on_fetched(partition, at));
        loop {
            self.io.sleep(self.ways.pause).await;
            match self.round(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
            if self.rounds_left == 0 && self.roll.settle(self.number, self.generation, &self.owned)
            {
                return Ok(Next::End);
            }
        }
    }

    async fn round(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if self.rounds_left > 0 {
            self.rounds_left -= 1;
            if self.chance.one_in(self.ways.odd_one_in) {
                return self.be_odd(wire).await;
            }
            match self.commit(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
        }
        self.beat(wire).await
    }

    async fn be_odd(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        match self.chance.below(6) {
            0 => {
                self.shown_at = None;
                self.leave(wire).await?;
                Ok(Next::StartAnew)
            }
            1 => {
                // It dies, and somebody else takes its place, or is the same under its lasting name.
                self.former_id = self.ways.is_static.then(|| self.id.clone());
                self.forget_id();
                Err(Gone)
            }
            2 => {
                // It dies, and nobody takes its place.
                self.roll.strike(self.number);
                Ok(Next::End)
            }
            3 => {
                // Longer than its session.
                self.io.sleep(Duration::from_secs(8)).await;
                Ok(Next::Stay)
            }
            4 => {
                if self.generation > 1 {
                    self.be_late(wire).await?;
                }
                Ok(Next::Stay)
            }
            _ => Ok(Next::Rejoin),
        }
    }

    /// What it says of an earlier generation counts no more.
    async fn be_late(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let earlier = self.generation - 1;
        let (what, codes) = match self.chance.below(3) {
            0 => {
                let id = self.member_id();
                ("heartbeat", vec![self.send_beat(wire, earlier, id).await?])
            }
            1 => {
                let answer = self.send_sync(wire, earlier, Vec::new()).await?;
                ("sync", vec![ErrorCode::new(answer.error_code)])
            }
            _ => {
                let offsets = self.positions.iter().map(|(&it, &at)| (it, at.max(0))).collect();
                let answered = self.send_commit(wire, earlier, &offsets).await?;
                ("commit", answered.into_iter().map(|(_, code)| code).collect())
            }
        };
        if codes.contains(&ErrorCode::NONE) {
            let generation = self.generation;
            self.roll.fail(format!("a {what} of an earlier generation than {generation} counts"));
        }
        Ok(())
    }

    /// What a static member sends that has been replaced, and still lives, counts no more.
    async fn haunt(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let Some(former_id) = self.former_id.take() else { return Ok(()) };
        let former = StrBytes::from_string(former_id);
        if self.send_beat(wire, self.generation, former).await? == ErrorCode::NONE {
            self.roll.fail(format!("a heartbeat of who was {:?} before counts", self.instance()));
        }
        Ok(())
    }

    fn forget_id(&mut self) {
        self.id.clear();
        self.shown_at = None;
    }

    /// An id that it is given.
    fn take_id(&mut self, id: &str) {
        if self.id.is_empty() {
            self.roll.on_named(id);
        }
        id.clone_into(&mut self.id);
    }

    fn names(&self) -> (String, String) {
        self.roll.names()
    }

    fn group(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.names().0))
    }

    fn member_id(&self) -> StrBytes {
        StrBytes::from_string(self.id.clone())
    }

    fn instance(&self) -> Option<StrBytes> {
        let name = || StrBytes::from_string(format!("member {}", self.number));
        self.ways.is_static.then(name)
    }

    async fn find_coordinator(&self, wire: &mut Wire) -> Result<bool, Gone> {
        let request = FindCoordinatorRequest::default().with_key(self.group().0);
        let answer: FindCoordinatorResponse =
            wire.call(ApiKey::FindCoordinator, 3, &request).await?;
        Ok(answer.error_code == 0)
    }

    async fn join(&mut self, wire: &mut Wire) -> Result<Result<JoinGroupResponse, Next>, Gone> {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("sim"))
            .with_metadata(Bytes::from_static(b"anything"));
        let request = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(if self.ways.version >= 1 { REBALANCE_MS } else { -1 })
            .with_member_id(self.member_id())
            .with_group_instance_id(self.instance())
            .with_protocol_type(StrBytes::from_static_str("sim"))
            .with_protocols(vec![protocol]);
        let answer: JoinGroupResponse =
            wire.call(ApiKey::JoinGroup, self.ways.version, &request).await?;
        let code = ErrorCode::new(answer.error_code);
        if code == ErrorCode::NONE {
            self.take_id(&answer.member_id);
            self.generation = answer.generation_id;
            return Ok(Ok(answer));
        }
        if code == ErrorCode::MEMBER_ID_REQUIRED {
            self.take_id(&answer.member_id);
            return Ok(Err(Next::Rejoin));
        }
        Ok(Err(self.next_after(code)))
    }

    /// What it owns from now on.
    async fn sync(
        &mut self,
        wire: &mut Wire,
        joined: &JoinGroupResponse,
    ) -> Result<Result<BTreeSet<i32>, Next>, Gone> {
        let assignments = if joined.leader == joined.member_id {
            let members: Vec<StrBytes> =
                joined.members.iter().map(|it| it.member_id.clone()).collect();
            self.assign(members)
        } else {
            Vec::new()
        };
        let sent_at = self.io.now();
        let answer = self.send_sync(wire, self.generation, assignments).await?;
        match ErrorCode::new(answer.error_code) {
            ErrorCode::NONE => {
                self.shown_at = Some(sent_at);
                let owned = answer.assignment.chunks_exact(4);
                let owned = owned.map(|it| i32::from_be_bytes(it.try_into().expect("four bytes")));
                Ok(Ok(owned.collect()))
            }
            code => Ok(Err(self.next_after(code))),
        }
    }

    async fn send_sync(
        &self,
        wire: &mut Wire,
        generation: i32,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<SyncGroupResponse, Gone> {
        let request = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(generation)
            .with_member_id(self.member_id())
            .with_group_instance_id(self.instance())
            .with_assignments(assignments);
        wire.call(ApiKey::SyncGroup, self.ways.version.min(4), &request).await
    }

    /// Each partition to one member, in turn.
    fn assign(&self, members: Vec<StrBytes>) -> Vec<SyncGroupRequestAssignment> {
        let partition_count = self.roll.partition_count();
        let member_count = members.len();
        let assigned = members.into_iter().enumerate().map(|(index, member)| {
            let own = (0_i32..).take(partition_count).skip(index).step_by(member_count);
            let bytes: Vec<u8> = own.flat_map(i32::to_be_bytes).collect();
            SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(Bytes::from(bytes))
        });
        assigned.collect()
    }

    async fn beat(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        let (sent_at, id) = (self.io.now(), self.member_id());
        match self.send_beat(wire, self.generation, id).await? {
            ErrorCode::NONE => {
                self.shown_at = Some(sent_at);
                Ok(Next::Stay)
            }
            code => Ok(self.next_after(code)),
        }
    }

    async fn send_beat(
        &self,
        wire: &mut Wire,
        generation: i32,
        id: StrBytes,
    ) -> Result<ErrorCode, Gone> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(generation)
            .with_member_id(id)
            .with_group_instance_id(self.instance());
        let version = self.ways.version.min(4);
        let answer: HeartbeatResponse = wire.call(ApiKey::Heartbeat, version, &request).await?;
        Ok(ErrorCode::new(answer.error_code))
    }

    async fn leave(&self, wire: &mut Wire) -> Result<(), Gone> {
        let request = LeaveGroupRequest::default().with_group_id(self.group());
        let _left: LeaveGroupResponse = if self.ways.version >= 3 {
            let member = MemberIdentity::default()
                .with_member_id(self.member_id())
                .with_group_instance_id(self.instance());
            wire.call(ApiKey::LeaveGroup, 4, &request.with_members(vec![member])).await?
        } else {
            wire.call(ApiKey::LeaveGroup, 2, &request.with_member_id(self.member_id())).await?
        };
        Ok(())
    }

    async fn commit(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if self.owned.is_empty() {
            return Ok(Next::Stay);
        }
        let mut offsets = BTreeMap::new();
        for &partition in &self.owned {
            let step = i64::try_from(self.chance.between(1, 9)).expect("a digit");
            offsets.insert(partition, self.positions[&partition].max(0) + step);
        }
        offsets.iter().for_each(|(&partition, &offset)| self.roll.on_commit(partition, offset));
        let mut next = Next::Stay;
        for (partition, code) in self.send_commit(wire, self.generation, &offsets).await? {
            let offset = offsets[&partition];
            match code {
                ErrorCode::NONE => {
                    self.positions.insert(partition, offset);
                    self.roll.on_committed(partition, offset);
                }
                // It may have been stored.
                ErrorCode::COORDINATOR_NOT_AVAILABLE => next = self.next_after(code),
                code => {
                    self.roll.on_refused(partition, offset);
                    next = self.next_after(code);
                }
            }
        }
        Ok(next)
    }

    /// What is answered for each partition.
    async fn send_commit(
        &self,
        wire: &mut Wire,
        generation: i32,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<Vec<(i32, ErrorCode)>, Gone> {
        let partitions = offsets.iter().map(|(&partition, &offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::default()))
        });
        let (_, topic) = self.names();
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic)))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(self.member_id())
            .with_group_instance_id(self.instance())
            .with_topics(vec![topic]);
        let version = self.ways.version.clamp(2, 9);
        let answer: OffsetCommitResponse =
            wire.call(ApiKey::OffsetCommit, version, &request).await?;
        let answered = answer.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(answered.map(|it| (it.partition_index, ErrorCode::new(it.error_code))).collect())
    }

    fn was_shown_lately(&self) -> bool {
        self.shown_at.is_some_and(|at| self.io.now().since(at) < SHOWN_MAX)
    }

    fn next_after(&self, code: ErrorCode) -> Next {
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Next::Rejoin,
            ErrorCode::UNKNOWN_MEMBER_ID if self.was_shown_lately() => {
                self.roll.fail(format!("{} is not a member any more, and lives", self.id));
                Next::End
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_ID_NOT_FOUND => Next::StartAnew,
            ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode::NOT_COORDINATOR => Next::Wait,
            code => {
                self.roll.fail(format!("{code} to a member that has done nothing wrong"));
                Next::End
            }
        }
    }
}

/// What is committed; `None` if the coordinator is not there.
pub(super) async fn fetch(
    wire: &mut Wire,
    group: &str,
    topic: &str,
    partitions: &BTreeSet<i32>,
) -> Result<Option<BTreeMap<i32, i64>>, Gone> {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_indexes(partitions.iter().copied().collect());
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(Some(vec![topic]));
    let answer: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, 7, &request).await?;
    if answer.error_code != 0 {
        return Ok(None);
    }
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(Some(found.map(|it| (it.partition_index, it.committed_offset)).collect()))
}
