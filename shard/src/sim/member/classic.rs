//! A member that speaks the classic protocol: it joins, assigns if it leads, and shows that it lives.
//!
//! It gives up everything before it joins again.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::io::Io;
use crate::sim::member::{Ending, Next, REBALANCE_MS, RETRY, SESSION_MS, STALL, Who, fetch};
use crate::sim::wire::{Gone, Wire};

/// Of what members say to each other.
const EMBEDDED_VERSION: i16 = 1;

/// What the broker knows of the members' words to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Opaque,
    /// All: they are consumers.
    Consumers,
}

pub(super) struct Member {
    who: Who,
    kind: Kind,
    id: String,
    /// Of a static member that was restarted: the id that it had.
    former_id: Option<String>,
    generation: i32,
    owned: BTreeSet<i32>,
}

impl Member {
    pub(super) const fn new(who: Who, kind: Kind) -> Self {
        Self {
            who,
            kind,
            id: String::new(),
            former_id: None,
            generation: -1,
            owned: BTreeSet::new(),
        }
    }

    /// Until it has done enough and the group has settled, or it comes back with the other protocol.
    pub(super) async fn run(mut self) -> (Who, Ending) {
        loop {
            let mut wire = Wire::connect(&self.who.io, self.who.node).await;
            loop {
                match self.live(&mut wire).await {
                    Ok(Next::End) => return (self.who, Ending::Over),
                    Ok(Next::Change) => return (self.who, Ending::Change),
                    Ok(Next::Wait) => self.who.io.sleep(RETRY).await,
                    Ok(Next::StartAnew) => self.forget_id(),
                    // The coordinator of consumers does not let them wait for each other.
                    Ok(Next::Rejoin) if self.kind == Kind::Consumers => {
                        self.who.io.sleep(RETRY).await;
                    }
                    Ok(Next::Stay | Next::Rejoin) => {}
                    Err(Gone) => break,
                }
                if self.who.unsettle() {
                    return (self.who, Ending::Over);
                }
            }
            if self.who.unsettle() {
                return (self.who, Ending::Over);
            }
        }
    }

    /// One generation.
    async fn live(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if !self.who.find_coordinator(wire).await? {
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
        if self.kind == Kind::Opaque {
            let owner = self.who.instance().unwrap_or_else(|| self.member_id());
            self.who.roll.on_assigned(self.generation, &owner, &self.owned);
        }
        self.haunt(wire).await?;
        let (group, topic) = self.who.names();
        match fetch(wire, &group, &topic, &self.owned).await? {
            Some(found) => self.who.positions = found,
            None => return Ok(Next::Wait),
        }
        // Who is still a member after it has read was one when it read.
        match self.beat(wire).await? {
            Next::Stay => {}
            next => return Ok(next),
        }
        let Who { roll, positions, .. } = &self.who;
        positions.iter().for_each(|(&partition, &at)| roll.on_fetched(partition, at));
        loop {
            self.who.io.sleep(self.who.ways.pause).await;
            match self.round(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
            if self.who.rounds_left == 0
                && self.who.roll.settle(self.who.number, self.generation, &self.owned)
            {
                return Ok(Next::End);
            }
        }
    }

    async fn round(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if self.who.rounds_left > 0 {
            self.who.rounds_left -= 1;
            if self.who.chance.one_in(self.who.ways.odd_one_in) {
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
        match self.who.chance.below(6) {
            0 => {
                self.who.shown_at = None;
                self.who.give_all_up();
                self.leave(wire).await?;
                Ok(self.who.comes_back())
            }
            1 => {
                // It dies, and somebody else takes its place, or is the same under its lasting name.
                self.former_id = self.who.ways.is_static.then(|| self.id.clone());
                self.forget_id();
                self.who.give_all_up();
                match self.who.comes_back() {
                    Next::StartAnew => Err(Gone),
                    next => Ok(next),
                }
            }
            2 => {
                // It dies, and nobody takes its place.
                self.who.roll.strike(self.who.number);
                Ok(Next::End)
            }
            3 => {
                self.who.io.sleep(STALL).await;
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
        let (what, codes) = match self.who.chance.below(3) {
            // A consumer may commit what it has had since then (KIP-1251).
            2 if self.kind == Kind::Consumers => return Ok(()),
            0 => {
                let id = self.member_id();
                ("heartbeat", vec![self.send_beat(wire, earlier, id).await?])
            }
            1 => {
                let answer = self.send_sync(wire, earlier, Vec::new()).await?;
                ("sync", vec![ErrorCode::new(answer.error_code)])
            }
            _ => {
                let positions = self.who.positions.iter();
                let offsets = positions.map(|(&it, &at)| (it, at.max(0))).collect();
                let answered = self.who.send_commit(wire, (&self.id, earlier), &offsets).await?;
                ("commit", answered.into_iter().map(|(_, code)| code).collect())
            }
        };
        if codes.contains(&ErrorCode::NONE) {
            let generation = self.generation;
            self.who
                .roll
                .fail(format!("a {what} of an earlier generation than {generation} counts"));
        }
        Ok(())
    }

    /// What a static member sends that has been replaced, and still lives, counts no more.
    async fn haunt(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let Some(former_id) = self.former_id.take() else { return Ok(()) };
        let former = StrBytes::from_string(former_id);
        if self.send_beat(wire, self.generation, former).await? == ErrorCode::NONE {
            self.who
                .roll
                .fail(format!("a heartbeat of who was {:?} before counts", self.who.instance()));
        }
        Ok(())
    }

    fn forget_id(&mut self) {
        self.id.clear();
        self.who.shown_at = None;
    }

    /// An id that it is given.
    fn take_id(&mut self, id: &str) {
        if self.id.is_empty() {
            self.who.roll.on_named(id);
        }
        id.clone_into(&mut self.id);
    }

    fn member_id(&self) -> StrBytes {
        StrBytes::from_string(self.id.clone())
    }

    async fn join(&mut self, wire: &mut Wire) -> Result<Result<JoinGroupResponse, Next>, Gone> {
        self.who.give_all_up();
        let (kind, metadata) = match self.kind {
            Kind::Opaque => ("sim", Bytes::from_static(b"anything")),
            Kind::Consumers => {
                let topics = vec![self.who.topic().0];
                let subscription = ConsumerProtocolSubscription::default().with_topics(topics);
                ("consumer", embedded(&subscription))
            }
        };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("sim"))
            .with_metadata(metadata);
        let request = JoinGroupRequest::default()
            .with_group_id(self.who.group())
            .with_session_timeout_ms(SESSION_MS)
            .with_rebalance_timeout_ms(if self.who.ways.version >= 1 { REBALANCE_MS } else { -1 })
            .with_member_id(self.member_id())
            .with_group_instance_id(self.who.instance())
            .with_protocol_type(StrBytes::from_static_str(kind))
            .with_protocols(vec![protocol]);
        let answer: JoinGroupResponse =
            wire.call(ApiKey::JoinGroup, self.who.ways.version, &request).await?;
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
        let sent_at = self.who.io.now();
        let answer = self.send_sync(wire, self.generation, assignments).await?;
        match ErrorCode::new(answer.error_code) {
            ErrorCode::NONE => {
                let owned = self.read_assignment(&answer.assignment);
                self.who.own(&owned, sent_at);
                Ok(Ok(owned))
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
            .with_group_id(self.who.group())
            .with_generation_id(generation)
            .with_member_id(self.member_id())
            .with_group_instance_id(self.who.instance())
            .with_assignments(assignments);
        wire.call(ApiKey::SyncGroup, self.who.ways.version.min(4), &request).await
    }

    /// Each partition to one member, in turn.
    fn assign(&self, members: Vec<StrBytes>) -> Vec<SyncGroupRequestAssignment> {
        let partition_count = self.who.roll.partition_count();
        let member_count = members.len();
        let assigned = members.into_iter().enumerate().map(|(index, member)| {
            let own = (0_i32..).take(partition_count).skip(index).step_by(member_count);
            SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(self.write_assignment(own.collect()))
        });
        assigned.collect()
    }

    fn write_assignment(&self, partitions: Vec<i32>) -> Bytes {
        match self.kind {
            Kind::Opaque => partitions.into_iter().flat_map(i32::to_be_bytes).collect(),
            Kind::Consumers => {
                let topic = TopicPartition::default()
                    .with_topic(self.who.topic())
                    .with_partitions(partitions);
                embedded(
                    &ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]),
                )
            }
        }
    }

    fn read_assignment(&self, bytes: &Bytes) -> BTreeSet<i32> {
        if self.kind == Kind::Opaque {
            let owned = bytes.chunks_exact(4);
            return owned
                .map(|it| i32::from_be_bytes(it.try_into().expect("four bytes")))
                .collect();
        }
        let Some(mut body) = bytes.get(2..) else { return BTreeSet::new() };
        let read = ConsumerProtocolAssignment::decode(&mut body, EMBEDDED_VERSION);
        let assigned = read.expect("an assignment that the broker or a leader wrote");
        let assigned = assigned.assigned_partitions.into_iter();
        let own = assigned.filter(|it| it.topic == self.who.topic());
        own.flat_map(|it| it.partitions).collect()
    }

    async fn beat(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        let (sent_at, id) = (self.who.io.now(), self.member_id());
        match self.send_beat(wire, self.generation, id).await? {
            ErrorCode::NONE => {
                self.who.show(sent_at);
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
            .with_group_id(self.who.group())
            .with_generation_id(generation)
            .with_member_id(id)
            .with_group_instance_id(self.who.instance());
        let version = self.who.ways.version.min(4);
        let answer: HeartbeatResponse = wire.call(ApiKey::Heartbeat, version, &request).await?;
        Ok(ErrorCode::new(answer.error_code))
    }

    async fn leave(&self, wire: &mut Wire) -> Result<(), Gone> {
        let request = LeaveGroupRequest::default().with_group_id(self.who.group());
        let _left: LeaveGroupResponse = if self.who.ways.version >= 3 {
            let member = MemberIdentity::default()
                .with_member_id(self.member_id())
                .with_group_instance_id(self.who.instance());
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
        let offsets = self.who.read_on(&self.owned);
        let failed = self.who.commit(wire, (&self.id, self.generation), &offsets).await?;
        Ok(failed.map_or(Next::Stay, |code| self.next_after(code)))
    }

    fn next_after(&self, code: ErrorCode) -> Next {
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => Next::Rejoin,
            // As in Kafka, its id is written down with its assignment: before, a crash of the broker forgets
            // that it has replaced another, and it must be restarted.
            ErrorCode::FENCED_INSTANCE_ID if self.who.shown_at.is_none() => Next::StartAnew,
            code => self.who.next_after(&self.id, code),
        }
    }
}

/// With its version before it.
fn embedded(message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(EMBEDDED_VERSION);
    message.encode(&mut bytes, EMBEDDED_VERSION).expect("a small message of a known version");
    bytes.freeze()
}
