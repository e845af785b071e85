//! What a coordinator answers, and why it refuses.
//!
//! Knows no version of Kafka's wire, and no number of an error.

use std::sync::Arc;

use bytes::Bytes;
use engine::id::PartitionIndex;

use crate::group::Ticket;
use crate::group::assignment::Assignment;
use crate::group::assignor::Assignor;
use crate::group::consumer_record::Profile;
use crate::group::record::{Committed, GroupRecord};

/// Why something was refused. Named after Kafka's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupError {
    FencedInstance,
    FencedMemberEpoch,
    GroupFull,
    GroupNotFound,
    IllegalGeneration,
    InconsistentProtocol,
    InvalidRegex,
    InvalidRequest,
    InvalidSession,
    /// Come again with the id.
    MemberIdRequired,
    MetadataTooLarge,
    NotEmpty,
    Rebalancing,
    StaleMemberEpoch,
    StillSubscribed,
    UnknownMember,
    UnreleasedInstance,
    UnsupportedAssignor,
}

/// By what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Join(Result<Joined, JoinRefusal>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    /// For each that was to leave, in order.
    Leave(Vec<Result<(), GroupError>>),
    /// For each offset, in order.
    Commit(Vec<Result<(), GroupError>>),
    Fetch(Result<Vec<FoundOffset>, GroupError>),
    List(Vec<Listed>),
    /// `None` if there is no such group of the classic protocol.
    Describe(Option<Description>),
    ConsumerHeartbeat(Result<Beat, GroupError>),
    /// `None` if there is no such group of the consumer protocol.
    DescribeConsumer(Option<ConsumerDescription>),
    Delete(Result<(), GroupError>),
    /// For each partition, in order.
    DeleteOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    ForgetTopics,
}

/// What a step gives. An answer leaves when all records up to then are durable.
#[derive(Debug, Default)]
pub struct Output {
    pub records: Vec<GroupRecord>,
    pub answers: Vec<(Ticket, Answer)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member: Arc<str>,
    pub generation: i32,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub leader: Arc<str>,
    /// For the leader only: everyone, and what each said under the protocol.
    pub members: Vec<JoinedMember>,
    /// KIP-814: the leader has nothing to assign.
    pub skips_assignment: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub metadata: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal {
    pub error: GroupError,
    /// With `MemberIdRequired`, the id that it is given; else the one it came with.
    pub member: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
    /// `None` if nothing was committed.
    pub committed: Option<Committed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub group: Arc<str>,
    pub protocol_type: Arc<str>,
    pub state: GroupState,
    pub kind: GroupKind,
}

/// Kafka's name of a group's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Classic,
    Consumer,
}

impl GroupKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// As Kafka shows them. The middle ones are of one protocol only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Assigning,
    Reconciling,
    Stable,
}

impl GroupState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: GroupState,
    pub protocol_type: Arc<str>,
    /// Empty unless the group is stable.
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Both are empty unless the group is stable.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// What a member of a consumer group is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub member: Arc<str>,
    pub epoch: i32,
    /// When it is to be heard of again. Zero for one that has left.
    pub heartbeat_ms: i32,
    /// All that it may read; `None` if that is what it was told before.
    pub assignment: Option<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: GroupState,
    pub epoch: i32,
    /// The epoch of the target.
    pub target_epoch: i32,
    pub assignor: Assignor,
    pub members: Vec<DescribedConsumer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    pub id: Arc<str>,
    pub epoch: i32,
    pub profile: Profile,
    pub assigned: Assignment,
    pub target: Assignment,
}
