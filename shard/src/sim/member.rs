//! A simulated member of a group. The roll of the group judges what it is told.
//!
//! A member takes its part of the partitions, commits what it would have read, and now and then leaves, dies,
//! stalls, starts anew, or says what it should have said a generation ago. When it has done enough it
//! stays until the whole group has settled: every partition owned, all in one generation.
//!
//! How it does that is in `classic.rs` and `consumer.rs`, one for each protocol of groups.

mod classic;
mod consumer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::io::{Io, Nanos};
use crate::sim::SimIo;
use crate::sim::chance::Chance;
use crate::sim::roll::{CERTAIN, Roll};
use crate::sim::wire::{Gone, Wire};

/// Also what the simulated broker gives members of the consumer protocol.
const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 5_000;
/// Longer than a session.
const STALL: Duration = Duration::from_secs(8);
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct Ways {
    /// What it speaks. Whenever it comes back it takes the next.
    pub protocols: &'static [Protocol],
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The classic one, of members that the broker knows nothing of but their ids.
    Opaque,
    /// The classic one, of consumers: their group can go over to the other protocol, and back.
    Classic,
    /// KIP-848.
    Consumer,
}

/// The first version of all its requests that has lasting names.
pub const STATIC_FROM: i16 = 7;

/// The first version of OffsetCommit that has epochs of members.
pub const EPOCHS_FROM: i16 = 9;

/// Who a member is, whatever it speaks.
pub struct Who {
    io: SimIo,
    node: usize,
    roll: Roll,
    number: u32,
    ways: Ways,
    chance: Chance,
    rounds_left: usize,
    positions: BTreeMap<i32, i64>,
    /// When it last sent what only a member may, and was answered.
    shown_at: Option<Nanos>,
}

/// How a member's time with one protocol ends.
enum Ending {
    Over,
    /// It comes back with the next.
    Change,
}

/// What a member does next.
enum Next {
    Stay,
    Rejoin,
    /// Its id is not known any more, or its epoch.
    StartAnew,
    /// The coordinator is not there now.
    Wait,
    /// It is gone, and comes back with another protocol.
    Change,
    End,
}

impl Who {
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
            positions: BTreeMap::new(),
            shown_at: None,
        }
    }

    /// Until it has done enough and the group has settled.
    pub async fn live(mut self) {
        for protocol in self.ways.protocols.iter().cycle() {
            let (who, ending) = match protocol {
                Protocol::Opaque => classic::Member::new(self, classic::Kind::Opaque).run().await,
                Protocol::Classic => {
                    classic::Member::new(self, classic::Kind::Consumers).run().await
                }
                Protocol::Consumer => consumer::Member::new(self).run().await,
            };
            match ending {
                Ending::Over => return,
                Ending::Change => self = who,
            }
        }
    }

    /// What a member does that is gone and comes back.
    const fn comes_back(&self) -> Next {
        if self.ways.protocols.len() > 1 { Next::Change } else { Next::StartAnew }
    }

    /// It is not where the group could rest. True if everybody may end all the same.
    fn unsettle(&self) -> bool {
        self.roll.unsettle(self.number);
        self.roll.is_over()
    }

    /// What it sent at `sent_at`, as only a member may, was answered.
    fn show(&mut self, sent_at: Nanos) {
        self.shown_at = Some(sent_at);
        self.roll.show(self.number, sent_at, self.io.now());
    }

    /// It owns these now, as an answer says to what it sent at `sent_at`.
    fn own(&mut self, partitions: &BTreeSet<i32>, sent_at: Nanos) {
        self.shown_at = Some(sent_at);
        self.roll.own(self.number, partitions, sent_at, self.io.now());
    }

    /// It reads nothing any more.
    fn give_all_up(&mut self) {
        self.roll.give_up(self.number, &BTreeSet::new());
        self.positions.clear();
    }

    fn was_shown_lately(&self) -> bool {
        self.shown_at.is_some_and(|at| self.io.now().since(at) < CERTAIN)
    }

    fn names(&self) -> (String, String) {
        self.roll.names()
    }

    fn group(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.names().0))
    }

    fn topic(&self) -> TopicName {
        TopicName(StrBytes::from_string(self.names().1))
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

    /// Where it would have read to by now.
    fn read_on(&mut self, owned: &BTreeSet<i32>) -> BTreeMap<i32, i64> {
        let mut offsets = BTreeMap::new();
        for &partition in owned {
            let step = i64::try_from(self.chance.between(1, 9)).expect("a digit");
            offsets.insert(partition, self.positions[&partition].max(0) + step);
        }
        offsets
    }

    /// Commits these, and says what came of it that was no success.
    async fn commit(
        &mut self,
        wire: &mut Wire,
        (id, generation): (&str, i32),
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<Option<ErrorCode>, Gone> {
        offsets.iter().for_each(|(&partition, &offset)| self.roll.on_commit(partition, offset));
        let mut failed = None;
        for (partition, code) in self.send_commit(wire, (id, generation), offsets).await? {
            let offset = offsets[&partition];
            match code {
                ErrorCode::NONE => {
                    self.positions.insert(partition, offset);
                    self.roll.on_committed(partition, offset);
                }
                // It may have been stored.
                ErrorCode::COORDINATOR_NOT_AVAILABLE => failed = Some(code),
                code => {
                    self.roll.on_refused(partition, offset);
                    failed = Some(code);
                }
            }
        }
        Ok(failed)
    }

    /// What is answered for each partition.
    async fn send_commit(
        &self,
        wire: &mut Wire,
        (id, generation): (&str, i32),
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<Vec<(i32, ErrorCode)>, Gone> {
        let partitions = offsets.iter().map(|(&partition, &offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::default()))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(self.topic())
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(StrBytes::from_string(id.to_owned()))
            .with_group_instance_id(self.instance())
            .with_topics(vec![topic]);
        let version = self.ways.version.clamp(2, 9);
        let answer: OffsetCommitResponse =
            wire.call(ApiKey::OffsetCommit, version, &request).await?;
        let answered = answer.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(answered.map(|it| (it.partition_index, ErrorCode::new(it.error_code))).collect())
    }

    /// What a member does that is refused, in any protocol.
    fn next_after(&self, id: &str, code: ErrorCode) -> Next {
        match code {
            ErrorCode::UNKNOWN_MEMBER_ID if self.was_shown_lately() => {
                self.roll.fail(format!("{id} is not a member any more, and lives"));
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
