//! What shards say to each other. Every message names its answer; every message gets exactly one.
//!
//! Bytes never cross shards, references to them do: `Bytes` of the owner's chunks, or a file and a range.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::admission::Admitted;
use engine::id::{FilePos, LeaderEpoch, Offset, PartitionId, Timestamp};
use engine::journal::Generation;
use engine::journal::plan::JournalLimits;
use engine::log::Log;
use engine::producers::{ActiveProducer, SequenceError};
use engine::scrub::Mark;
use engine::segment::SegmentName;
use replication::group;
use replication::image::Image;

use crate::accounts::ledger::Use;
use crate::controller::{Command, Outcome};
use crate::door::TurnedAway;
use crate::groups::Absence;
use crate::io::{Io, Nanos};
use crate::metrics::Snapshot;
use crate::reader::checked::Loads;
use crate::room::Notice;

/// To the owner of partitions, or to shard 0 for the cluster's metadata.
pub enum Message {
    /// Answered by `Reply::Produced`, when everything in it is durable.
    Produce(Vec<ProduceItem>),
    /// Answered by `Reply::Fetched`.
    Fetch(FetchOrder),
    /// Answered by `Reply::Done` when one of the partitions has news, the time is over, or the same
    /// reader watches anew.
    Watch { reader: Reader, partitions: Vec<(PartitionId, Offset)>, wait: Duration },
    /// Answered by `Reply::Offsets`.
    ListOffsets(Vec<OffsetQuery>),
    /// Answered by `Reply::Deleted`.
    DeleteRecords(Vec<DeleteItem>),
    /// Answered by `Reply::EpochEnds`.
    EpochEnds(Vec<EpochQuery>),
    /// Answered by `Reply::Producers`.
    Producers(Vec<ProducersQuery>),
    /// Answered by `Reply::LogBytes`: every partition of this shard.
    LogBytes,
    /// Start-up: the partitions of this shard as they were recovered. Answered by `Reply::Done`
    /// when the shard's checkpoint of generation `generation` is durable.
    Adopt(Box<Adoption>),
    /// Start-up: the superblock names the new generation, so the journal may be written.
    /// Answered by `Reply::Done` when the shard listens.
    Serve,
    /// The cluster's metadata has changed. Answered by `Reply::Done` when it is in use.
    Image(Arc<Image>),
    /// To shard 0: changes the cluster's metadata. Answered by `Reply::Commanded`.
    Command(Command),
    /// To the coordinator of a group, by its partition of `__consumer_offsets`. Answered by
    /// `Reply::Group`, of some requests when other members have come or the time is over.
    Group { partition: PartitionId, request: Box<group::request::Request> },
    /// To shard 0: a connection has come from this address. Answered by `Reply::Entered`, when it may be
    /// served or must be closed.
    Enter(IpAddr),
    /// To shard 0: a connection that was let in has ended. Answered by `Reply::Done`.
    Leave(IpAddr),
    /// To shard 0: what clients of this shard used of their quotas. Answered by `Reply::Used`.
    Used { from: usize, report: Vec<Use> },
    /// Answered by `Reply::Metrics`.
    Metrics,
    /// To shard 0: a shard writes, so the room of the disk may be looked at. Answered by `Reply::Done`.
    LookAtRoom,
    /// To shard 0: a write found no room. Answered by `Reply::Done`.
    FoundNoRoom,
    /// What room the disk has. Answered by `Reply::Done`.
    Room(Notice),
    /// Clean stop: no request is taken any more, everything is flushed. Answered by `Reply::Done`.
    Stop,
    /// The thread may end. Answered by `Reply::Done`.
    End,
}

/// What a shard begins with.
pub struct Adoption {
    pub generation: Generation,
    pub logs: Vec<Log>,
    pub image: Arc<Image>,
    pub cluster_id: String,
    pub journal: JournalLimits,
}

pub enum Reply<I: Io> {
    Done,
    /// It could not be done; the text is for people.
    Failed(String),
    Produced {
        items: Vec<Produced>,
        times: ProduceTimes,
    },
    Fetched {
        logs: Vec<Fetched<I>>,
        times: FetchTimes,
    },
    Offsets(Vec<(usize, Result<FoundOffset, ReadError>)>),
    Deleted(Vec<(usize, Result<Offset, ReadError>)>),
    EpochEnds(Vec<(usize, Result<FoundEpoch, ReadError>)>),
    Producers(Vec<(usize, Result<Vec<ActiveProducer>, ReadError>)>),
    LogBytes(Vec<(PartitionId, u64)>),
    Entered(Result<(), TurnedAway>),
    Commanded(Outcome),
    Group(Result<group::answer::Answer, Absence>),
    /// What others used, of each that was told of.
    Used(Vec<u64>),
    Metrics(Box<Snapshot>),
}

/// When a produce message got on, at its owner.
#[derive(Clone, Copy, Debug)]
pub struct ProduceTimes {
    pub taken_at: Nanos,
    pub appended_at: Nanos,
    pub committed_at: Nanos,
}

/// When a fetch got on, at its owner.
#[derive(Clone, Copy, Debug)]
pub struct FetchTimes {
    pub taken_at: Nanos,
    /// When its last look began: what came before was a wait for data.
    pub looked_at: Nanos,
    pub found_at: Nanos,
}

/// One batch for one partition. `slot` is the asker's name for it.
pub struct ProduceItem {
    pub slot: usize,
    pub partition: PartitionId,
    pub admitted: Admitted,
}

pub struct Produced {
    pub slot: usize,
    /// Unknown for a partition that is not here.
    pub log_start: Option<Offset>,
    pub result: Result<Appended, ProduceError>,
}

#[derive(Clone, Copy)]
pub struct Appended {
    pub base_offset: Offset,
    /// `Timestamp::NONE` unless the broker set the records' time, or the batch is a repeat.
    pub append_time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceError {
    UnknownPartition,
    /// Its disk failed: only a restart's recovery may read its tail.
    Fenced,
    Sequence(SequenceError),
    /// The disk is full, and nothing was done.
    Full,
    /// The disk is full, and it is stored when there is room, or never.
    Stuck,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    UnknownPartition,
    OutOfRange,
    Fenced,
    /// What is stored there is not what was stored: reads of anything else go on.
    Damaged,
    /// No file could be opened for want of descriptors.
    Short,
    /// The segment was deleted, or compacted, meanwhile: never an answer, the shard looks again.
    Moved,
    /// The epoch that the client knows is older than ours.
    FencedEpoch,
    /// The epoch that the client knows is newer than ours.
    UnknownEpoch,
    UnsupportedVersion,
    Stopping,
}

/// A connection, among all of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    pub shard: usize,
    pub connection: u64,
}

/// What one fetch wants of one owner.
pub struct FetchOrder {
    pub items: Vec<FetchItem>,
    /// Answer at once if so many bytes are there.
    pub bytes_min: u64,
    /// Bytes for the whole answer, but for its first batch.
    pub bytes_max: u64,
    /// The first batch of the answer is sent whole if it has no more than this.
    pub first_bytes_max: u64,
    pub wait: Duration,
}

#[derive(Clone)]
pub struct FetchItem {
    pub slot: usize,
    pub partition: PartitionId,
    /// As the client gave it.
    pub offset: i64,
    pub leader_epoch: LeaderEpoch,
    pub bytes_max: u64,
}

pub struct Fetched<I: Io> {
    pub slot: usize,
    pub result: Result<FetchedLog<I>, ReadError>,
}

pub struct FetchedLog<I: Io> {
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// Of the first batch, if there is one.
    pub first_bytes: u64,
    /// The client would take more, and there is more, but not in one piece.
    pub is_cut: bool,
    pub parts: Vec<Part<I>>,
}

impl<I: Io> FetchedLog<I> {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }
}

/// A piece of a log, in order.
pub enum Part<I: Io> {
    Memory(Bytes),
    File(FileRange<I>),
}

/// Bytes of a sealed segment that were found sound, and are sent from the page cache.
pub struct FileRange<I: Io> {
    pub file: I::File,
    pub partition: PartitionId,
    pub segment: SegmentName,
    /// A batch begins here.
    pub start: Mark,
    /// The segment's.
    pub end: FilePos,
    pub bytes: u64,
    pub loads: Loads,
}

impl<I: Io> Part<I> {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => u64::try_from(bytes.len()).expect("usize fits"),
            Self::File(range) => range.bytes,
        }
    }
}

pub struct OffsetQuery {
    pub slot: usize,
    pub partition: PartitionId,
    pub leader_epoch: LeaderEpoch,
    pub spec: OffsetSpec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    Latest,
    MaxTimestamp,
    /// The first record at or after it.
    From(Offset),
    /// The first record at or after it.
    At(Timestamp),
    /// Tiered storage's special times: there is none.
    Nowhere,
}

/// -1 for "none", as Kafka's wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub timestamp: Timestamp,
    pub offset: Option<Offset>,
    pub leader_epoch: LeaderEpoch,
}

/// `NONE` and `None` if the epoch is unknown.
pub type FoundEpoch = (LeaderEpoch, Option<Offset>);

pub struct DeleteItem {
    pub slot: usize,
    pub partition: PartitionId,
    /// -1: up to the high watermark.
    pub to: i64,
}

pub struct EpochQuery {
    pub slot: usize,
    pub partition: PartitionId,
    pub current_epoch: LeaderEpoch,
    pub epoch: LeaderEpoch,
}

pub struct ProducersQuery {
    pub slot: usize,
    pub partition: PartitionId,
}
