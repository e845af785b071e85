//! Bugs that a broker could have, built in on purpose: what does not catch them proves little.
//!
//! Each is a line where a programmer could have made the mistake. They exist only in a build with
//! `--cfg zoo`, which `tools/zoo` makes; in any other `is_on` is the constant false. A process has one
//! bug or none, for as long as it runs: of `simulate` an argument says which, of a broker `ODRADEK_BUG`.

use std::sync::atomic::{AtomicU8, Ordering};

/// The number of the chosen bug; 0 is none.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A batch is acknowledged when its journal frame is sent to the disk.
    AckBeforeFlush = 1,
    /// A journal frame that could not be written counts as written.
    WriteErrorIgnored,
    /// Readers see what is appended, not what is durable.
    HighWatermarkAhead,
    /// The file of a segment is synced, its name is not.
    DirectorySyncSkipped,
    /// Replay takes the frame that a crash tore.
    FrameCrcNotChecked,
    /// Replay takes frames of an earlier life of the broker.
    GenerationNotChecked,
    /// Replay takes the frames as they lie in the files, whatever their sequence.
    FrameSequenceNotChecked,
    /// Stored batches leave unchecked.
    CrcNotChecked,
    /// Recovery writes a batch into a block as if nothing else were in it.
    BlockOverwritten,
    /// After a restart the block in which a log ends is written as if nothing were in it.
    TailNotReadBack,
    /// Recovery leaves in the file what stands behind the log's end.
    TruncationForgotten,
    /// Bytes go to a segment of which the journal does not say that it must be read.
    IntentForgotten,
    /// A checkpoint gets its name before it is on the device.
    CheckpointRenamedUnsynced,
    /// Journal files are used again when a checkpoint begins, not when it is durable.
    JournalRecycledEarly,
    /// A checkpoint has the producers as they are when it is stored, ahead of its log.
    ProducersSavedAhead,
    /// A checkpoint leaves out partitions that a disk fault has closed.
    ClosedPartitionForgotten,
    /// A sync that failed is tried again, and then believed.
    FailedSyncRetried,
    /// The superblock says "clean" before the last checkpoints are made.
    CleanFlagEarly,
    /// The index answers with the batch behind.
    IndexOffByOneBatch,
    /// The start of a log is what the checkpoint says; the journal is not asked.
    LogStartLost,
    /// A deletion of records is answered before it is durable.
    DeleteRecordsEarly,
    /// The files of deleted records go while the last checkpoint still counts on them.
    SegmentDroppedEarly,
    /// A topic gets the id of one that was deleted.
    TopicIdReused,
    /// Producer ids are given out before it is durable that they are.
    ProducerIdsReused,
    /// A producer may repeat one batch fewer than it may have in flight.
    SequenceWindowShort,
    /// A restart forgets what producers have written.
    ProducersNotRestored,
    /// Of the partitions of a fetch session one is not read any more.
    FetchSessionForgetful,
    /// An answer goes to the connection that came first.
    ReplyOnWrongConnection,
    /// An answer that is ready overtakes one that is not.
    AnswersOvertake,
    /// Of those who wait for a durable end one is told, the others with the next write.
    WaiterForgottenOnWake,
    /// Retention by bytes drops one segment too many.
    RetentionTakesOneMore,
    /// Retention by time asks when a segment began, not when its last record was written.
    RetentionBySegmentAge,
    /// What a coordinator of groups decides is answered before it is durable.
    GroupAnsweredEarly,
    /// A compaction drops the last record of a key, too.
    LastOfKeyDropped,
    /// The marker of a deleted key goes when it is first compacted.
    TombstoneDroppedEarly,
    /// The file that a compacted one replaces goes while the last checkpoint still counts on it.
    ReplacedFileDroppedEarly,
    /// A compacted segment is used before it is on the device.
    CompactedUnsynced,
    /// The reload of a coordinator forgets a group's offsets with each record of its members.
    GroupOffsetsNotRestored,
    /// The reload of a coordinator begins with the first generation of a group.
    GroupGenerationForgotten,
    /// Members that share anew because one is gone stay in their generation.
    GenerationNotRaised,
    /// A member commits for a generation that is over.
    StaleCommitTaken,
    /// A member of a generation that is over is told what it has in the present one.
    StaleSyncAnswered,
    /// All members of a client id get the same member id.
    MemberIdReused,
    /// A member that is silent for longer than its session stays.
    MemberNeverExpires,
    /// A heartbeat is answered, and does not prolong the session.
    HeartbeatNotCounted,
    /// A rebalance ends with the first who joins; the others are no members any more.
    RebalanceDoesNotWait,
    /// A static member is known by its lasting name alone: who was replaced is still it.
    StaticIdNotChecked,
    /// A member is given a partition before its owner has given it up.
    OwnerNotAwaited,
    /// A heartbeat of an epoch that a member does not have is followed.
    MemberEpochNotChecked,
    /// The reload of a coordinator begins each member of the consumer protocol with no epoch.
    MemberEpochForgotten,
}

impl Bug {
    pub const ALL: [Self; 50] = [
        Self::AckBeforeFlush,
        Self::WriteErrorIgnored,
        Self::HighWatermarkAhead,
        Self::DirectorySyncSkipped,
        Self::FrameCrcNotChecked,
        Self::GenerationNotChecked,
        Self::FrameSequenceNotChecked,
        Self::CrcNotChecked,
        Self::BlockOverwritten,
        Self::TailNotReadBack,
        Self::TruncationForgotten,
        Self::IntentForgotten,
        Self::CheckpointRenamedUnsynced,
        Self::JournalRecycledEarly,
        Self::ProducersSavedAhead,
        Self::ClosedPartitionForgotten,
        Self::FailedSyncRetried,
        Self::CleanFlagEarly,
        Self::IndexOffByOneBatch,
        Self::LogStartLost,
        Self::DeleteRecordsEarly,
        Self::SegmentDroppedEarly,
        Self::TopicIdReused,
        Self::ProducerIdsReused,
        Self::SequenceWindowShort,
        Self::ProducersNotRestored,
        Self::FetchSessionForgetful,
        Self::ReplyOnWrongConnection,
        Self::AnswersOvertake,
        Self::WaiterForgottenOnWake,
        Self::RetentionTakesOneMore,
        Self::RetentionBySegmentAge,
        Self::GroupAnsweredEarly,
        Self::LastOfKeyDropped,
        Self::TombstoneDroppedEarly,
        Self::ReplacedFileDroppedEarly,
        Self::CompactedUnsynced,
        Self::GroupOffsetsNotRestored,
        Self::GroupGenerationForgotten,
        Self::GenerationNotRaised,
        Self::StaleCommitTaken,
        Self::StaleSyncAnswered,
        Self::MemberIdReused,
        Self::MemberNeverExpires,
        Self::HeartbeatNotCounted,
        Self::RebalanceDoesNotWait,
        Self::StaticIdNotChecked,
        Self::OwnerNotAwaited,
        Self::MemberEpochNotChecked,
        Self::MemberEpochForgotten,
    ];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| format!("{it:?}") == name)
    }

    /// Whether this process has the bug.
    #[must_use]
    pub fn is_on(self) -> bool {
        // ORDERING: Relaxed; it is chosen before the first shard starts.
        cfg!(zoo) && CHOSEN.load(Ordering::Relaxed) == self as u8
    }

    /// Gives this process the bug, and takes any other. False if the build has none.
    #[must_use]
    pub fn choose(self) -> bool {
        if cfg!(zoo) {
            // ORDERING: Relaxed; as above.
            CHOSEN.store(self as u8, Ordering::Relaxed);
        }
        cfg!(zoo)
    }
}
