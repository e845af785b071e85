//! A member that speaks the consumer protocol (KIP-848): heartbeats, which say what it wants and owns, and are
//! answered with what it is to have.
//!
//! It gives partitions up before it says so, and takes others when it is told of them. An answer that does not
//! come puts it in doubt: it then says everything, and its epoch may be one that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;
use uuid::Uuid;

use crate::io::{Io, Nanos};
use crate::sim::member::{Ending, Next, REBALANCE_MS, RETRY, STALL, Who};
use crate::sim::wire::{Gone, Wire};

/// Of heartbeats that say something else than an epoch.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;

/// Who asks so often can take its time to give something up, and is in time all the same.
const DALLIES_BELOW: Duration = Duration::from_secs(1);

pub(super) struct Member {
    who: Who,
    id: String,
    /// Of a static member that was restarted: the id that it had.
    former_id: Option<String>,
    epoch: i32,
    /// The epochs that it has had since it joined.
    past_epochs: Vec<i32>,
    /// It reads these.
    owned: BTreeSet<i32>,
    /// It is to have these: what else it owns it gives up.
    told: BTreeSet<i32>,
    /// It has taken its time with what it is to give up now.
    has_dallied: bool,
    wish: Wish,
    news: News,
    /// An answer did not come, or did not say whether something was done.
    is_in_doubt: bool,
}

/// How it says which topic it wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Name,
    Regex,
}

/// What the next heartbeat says besides the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    None,
    /// What it owns.
    Owned,
    All,
}

impl Member {
    pub(super) fn new(who: Who) -> Self {
        let mut member = Self {
            who,
            id: String::new(),
            former_id: None,
            epoch: JOINS,
            past_epochs: Vec::new(),
            owned: BTreeSet::new(),
            told: BTreeSet::new(),
            has_dallied: false,
            wish: Wish::Name,
            news: News::All,
            is_in_doubt: false,
        };
        member.restart();
        member
    }

    /// Until it has done enough and the group has settled, or it comes back with the other protocol.
    pub(super) async fn run(mut self) -> (Who, Ending) {
        loop {
            let mut wire = Wire::connect(&self.who.io, self.who.node).await;
            loop {
                match self.live(&mut wire).await {
                    Ok(Next::End) => return (self.who, Ending::Over),
                    Ok(Next::Change) => return (self.who, Ending::Change),
                    Ok(Next::Wait) => {
                        (self.news, self.is_in_doubt) = (News::All, true);
                        self.who.io.sleep(RETRY).await;
                    }
                    Ok(Next::StartAnew) => self.forget_epoch(),
                    Ok(Next::Stay | Next::Rejoin) => {}
                    Err(Gone) => break,
                }
                if self.who.unsettle() {
                    return (self.who, Ending::Over);
                }
            }
            (self.news, self.is_in_doubt) = (News::All, true);
            if self.who.unsettle() {
                return (self.who, Ending::Over);
            }
        }
    }

    /// As long as nothing comes between.
    async fn live(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if !self.who.find_coordinator(wire).await? {
            return Ok(Next::Wait);
        }
        loop {
            match self.beat(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
            self.haunt(wire).await?;
            match self.look_up(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
            let is_settled = self.who.rounds_left == 0 && self.owned == self.told;
            if is_settled && self.who.roll.settle(self.who.number, self.epoch, &self.owned) {
                return Ok(Next::End);
            }
            self.who.io.sleep(self.who.ways.pause).await;
            match self.round(wire).await? {
                Next::Stay => {}
                next => return Ok(next),
            }
        }
    }

    async fn round(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        if self.who.rounds_left == 0 {
            return Ok(Next::Stay);
        }
        self.who.rounds_left -= 1;
        if self.who.chance.one_in(self.who.ways.odd_one_in) {
            return self.be_odd(wire).await;
        }
        let known = |it: &&i32| self.who.positions.contains_key(*it);
        let known: BTreeSet<i32> = self.owned.iter().filter(known).copied().collect();
        if known.is_empty() {
            return Ok(Next::Stay);
        }
        let offsets = self.who.read_on(&known);
        let failed = self.who.commit(wire, (&self.id, self.epoch), &offsets).await?;
        Ok(failed.map_or(Next::Stay, |code| self.next_after(code)))
    }

    async fn be_odd(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        match self.who.chance.below(7) {
            0 => {
                self.who.shown_at = None;
                self.stop_reading();
                let returns = self.who.ways.is_static && self.who.chance.one_in(2);
                let epoch = if returns { LEAVES_FOR_A_WHILE } else { LEAVES };
                let _left = self.send(wire, self.heartbeat(epoch)).await?;
                self.restart();
                Ok(self.who.comes_back())
            }
            1 => {
                // It dies, and somebody else takes its place, or is the same under its lasting name.
                self.stop_reading();
                self.former_id = self.who.ways.is_static.then(|| self.id.clone());
                self.restart();
                match self.who.comes_back() {
                    Next::Change => Ok(Next::Change),
                    _ => Err(Gone),
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
                self.be_wrong(wire).await?;
                Ok(Next::Stay)
            }
            5 => {
                if self.names_itself() {
                    let is_regex = self.wish == Wish::Regex;
                    self.wish = if is_regex { Wish::Name } else { Wish::Regex };
                    self.news = News::All;
                }
                Ok(Next::Stay)
            }
            // It joins again, under its id.
            _ => Ok(Next::StartAnew),
        }
    }

    /// What it says of an epoch that it does not have, and had before the one before, counts not.
    async fn be_wrong(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let past = self.past_epochs.iter().rev().nth(1).copied();
        let (what, codes) = match (self.who.chance.below(3), past) {
            (0, Some(past)) => {
                ("heartbeat of a past epoch", vec![self.send_wrong(wire, past).await?])
            }
            (1, Some(past)) => {
                let others = (0..).take(self.who.roll.partition_count());
                let others =
                    others.filter(|it| !self.owned.contains(it) && !self.told.contains(it));
                let offsets: BTreeMap<i32, i64> = others.map(|it| (it, 0)).collect();
                let answered = self.who.send_commit(wire, (&self.id, past), &offsets).await?;
                ("commit of a past epoch", answered.into_iter().map(|it| it.1).collect())
            }
            _ => {
                let epoch = self.epoch + 7;
                ("heartbeat of an epoch to come", vec![self.send_wrong(wire, epoch).await?])
            }
        };
        if codes.contains(&ErrorCode::NONE) {
            let epoch = self.epoch;
            self.who.roll.fail(format!("a {what} counts in epoch {epoch}"));
        }
        Ok(())
    }

    async fn send_wrong(&self, wire: &mut Wire, epoch: i32) -> Result<ErrorCode, Gone> {
        let answer = self.send(wire, self.heartbeat(epoch)).await?;
        Ok(ErrorCode::new(answer.error_code))
    }

    /// What a static member sends that has been replaced, and still lives, counts no more.
    async fn haunt(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let Some(former_id) = self.former_id.take() else { return Ok(()) };
        let former = self.heartbeat(self.epoch).with_member_id(StrBytes::from_string(former_id));
        let answer = self.send(wire, former).await?;
        if answer.error_code == 0 {
            let name = self.who.instance();
            self.who.roll.fail(format!("a heartbeat of who was {name:?} before counts"));
        }
        Ok(())
    }

    /// Every second member is of the version in which it makes its own id.
    const fn names_itself(&self) -> bool {
        self.who.number % 2 == 1
    }

    /// A process of its own, which knows nothing.
    fn restart(&mut self) {
        self.forget_epoch();
        self.id.clear();
        if self.names_itself() {
            let name =
                u128::from(self.who.chance.next()) << 64 | u128::from(self.who.chance.next());
            self.id = Uuid::from_u128(name).to_string();
        }
    }

    fn forget_epoch(&mut self) {
        self.stop_reading();
        self.who.shown_at = None;
        (self.epoch, self.news, self.is_in_doubt) = (JOINS, News::All, false);
        self.past_epochs.clear();
    }

    fn stop_reading(&mut self) {
        self.who.give_all_up();
        self.owned.clear();
        self.told.clear();
    }

    /// Gives up what it is not to have, unless it takes its time.
    fn reconcile(&mut self) {
        if self.owned.is_subset(&self.told) {
            return;
        }
        let may_dally = !self.has_dallied && self.who.ways.pause < DALLIES_BELOW;
        if may_dally && self.who.chance.one_in(2) {
            self.has_dallied = true;
            return;
        }
        self.has_dallied = false;
        let told = &self.told;
        self.owned.retain(|it| told.contains(it));
        self.who.positions.retain(|it, _| told.contains(it));
        self.who.roll.give_up(self.who.number, &self.owned);
        self.news = self.news.max(News::Owned);
    }

    async fn beat(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        self.reconcile();
        let (sent_at, epoch) = (self.who.io.now(), self.epoch);
        let answer = self.send(wire, self.heartbeat(epoch)).await?;
        match ErrorCode::new(answer.error_code) {
            ErrorCode::NONE => Ok(self.follow(answer, sent_at)),
            code => Ok(self.next_after(code)),
        }
    }

    /// Does what an answer says.
    fn follow(&mut self, answer: ConsumerGroupHeartbeatResponse, sent_at: Nanos) -> Next {
        let id = answer.member_id.unwrap_or_default();
        if self.id.is_empty() {
            self.who.roll.on_named(&id);
            self.id = id.to_string();
        }
        if self.epoch > answer.member_epoch || *self.id != *id {
            let (was, is) = (self.epoch, answer.member_epoch);
            self.who.roll.fail(format!("{} of epoch {was} is {id} of epoch {is}", self.id));
            return Next::End;
        }
        if self.epoch != answer.member_epoch && self.epoch != JOINS {
            self.past_epochs.push(self.epoch);
        }
        self.epoch = answer.member_epoch;
        (self.news, self.is_in_doubt) = (News::None, false);
        let Some(assignment) = answer.assignment else {
            self.who.show(sent_at);
            return Next::Stay;
        };
        let topic_id = Uuid::from_bytes(self.who.roll.topic_id());
        let own = assignment.topic_partitions.into_iter().filter(|it| it.topic_id == topic_id);
        self.told = own.flat_map(|it| it.partitions).collect();
        if !self.told.is_subset(&self.owned) {
            self.owned.extend(&self.told);
            self.news = News::Owned;
        }
        self.who.own(&self.owned, sent_at);
        Next::Stay
    }

    /// Where to read on, of what it has not read yet.
    async fn look_up(&mut self, wire: &mut Wire) -> Result<Next, Gone> {
        let is_unknown = |it: &&i32| !self.who.positions.contains_key(*it);
        let unknown: Vec<i32> = self.owned.iter().filter(is_unknown).copied().collect();
        if unknown.is_empty() {
            return Ok(Next::Stay);
        }
        let found = match self.fetch(wire, unknown).await? {
            Ok(found) => found,
            Err(code) => return Ok(self.next_after(code)),
        };
        // Who is still a member after it has read was one when it read.
        match self.beat(wire).await? {
            Next::Stay => {}
            next => return Ok(next),
        }
        for (partition, at) in found {
            self.who.roll.on_fetched(partition, at);
            if self.owned.contains(&partition) {
                self.who.positions.insert(partition, at);
            }
        }
        Ok(Next::Stay)
    }

    async fn fetch(
        &self,
        wire: &mut Wire,
        partitions: Vec<i32>,
    ) -> Result<Result<Vec<(i32, i64)>, ErrorCode>, Gone> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(self.who.topic())
            .with_partition_indexes(partitions);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(self.who.group())
            .with_member_id(Some(StrBytes::from_string(self.id.clone())))
            .with_member_epoch(self.epoch)
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let answer: OffsetFetchResponse = wire.call(ApiKey::OffsetFetch, 9, &request).await?;
        let group = answer.groups.into_iter().next().expect("an answer for each group");
        if group.error_code != 0 {
            return Ok(Err(ErrorCode::new(group.error_code)));
        }
        let found = group.topics.into_iter().flat_map(|topic| topic.partitions);
        Ok(Ok(found.map(|it| (it.partition_index, it.committed_offset)).collect()))
    }

    /// What it says now, as a member of `epoch`.
    fn heartbeat(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.who.group())
            .with_member_id(StrBytes::from_string(self.id.clone()))
            .with_member_epoch(epoch)
            .with_instance_id(self.who.instance())
            .with_rebalance_timeout_ms(-1);
        if self.news == News::None || epoch < JOINS {
            return request;
        }
        let topic = TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(self.who.roll.topic_id()))
            .with_partitions(self.owned.iter().copied().collect());
        let topics = if self.owned.is_empty() { Vec::new() } else { vec![topic] };
        let request = request.with_topic_partitions(Some(topics));
        if self.news == News::Owned {
            return request;
        }
        let request = request.with_rebalance_timeout_ms(REBALANCE_MS);
        if !self.names_itself() {
            return request.with_subscribed_topic_names(Some(vec![self.who.topic()]));
        }
        let (names, regex) = match self.wish {
            Wish::Name => (vec![self.who.topic()], StrBytes::default()),
            Wish::Regex => (Vec::new(), self.who.topic().0),
        };
        request.with_subscribed_topic_names(Some(names)).with_subscribed_topic_regex(Some(regex))
    }

    async fn send(
        &self,
        wire: &mut Wire,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Gone> {
        let version = i16::from(self.names_itself());
        wire.call(ApiKey::ConsumerGroupHeartbeat, version, &request).await
    }

    fn next_after(&self, code: ErrorCode) -> Next {
        match code {
            ErrorCode::FENCED_MEMBER_EPOCH if self.is_in_doubt => Next::StartAnew,
            ErrorCode::STALE_MEMBER_EPOCH if self.is_in_doubt => Next::Stay,
            // Its predecessor has not left: its session must end first.
            ErrorCode::UNRELEASED_INSTANCE_ID if self.epoch == JOINS && self.who.ways.is_static => {
                Next::Wait
            }
            code => self.who.next_after(&self.id, code),
        }
    }
}
