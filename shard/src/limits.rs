//! Every bound of a shard, in one place, with the relations between them.

use std::time::Duration;

/// Block of the disk: direct I/O reads and writes multiples of it, at multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Uncommitted bytes of one partition from which they go straight to its segment.
pub const DIRECT_BYTES_MIN: u64 = 64 * 1024;
/// Largest journal frame.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Journaled bytes of one partition from which they are carried to its segment.
pub const SWEEP_BYTES_MIN: u64 = 512 * 1024;
/// Largest single write to a segment.
pub const SEGMENT_WRITE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes written straight to segments from which a checkpoint bounds the next recovery's scan.
pub const CHECKPOINT_DIRECT_BYTES: u64 = 64 * 1024 * 1024;
/// How often memory is looked for that comes back without a word, while somebody waits for it.
pub const MEMORY_LOOK: Duration = Duration::from_millis(10);
/// How often the room of the disk is looked at: while somebody writes, or while there is too little.
pub const ROOM_LOOK: Duration = Duration::from_secs(1);
/// After which what found no room, or no descriptor, is tried again, if nobody says so before.
pub const ROOM_RETRY: Duration = Duration::from_secs(1);
/// Longest time for which a producer is slowed down at once.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Logs of which one message asks how far groups are behind in them.
pub const LAG_QUERIES_MAX: usize = 64;
/// How long metrics wait for what groups are behind by now.
pub const LAG_WAIT: Duration = Duration::from_millis(500);
/// Longest time for which a client over its quota is asked to wait.
pub const THROTTLE_MAX: Duration = Duration::from_millis(0x7fff_ffff);
/// How often a shard whose clients have quotas tells the ledger what they used.
pub const REPORT_PAUSE: Duration = Duration::from_millis(100);
/// Reports without anything to tell after which it stops.
pub const QUIET_REPORTS_MAX: u32 = 50;
/// Accounts of a shard below which none is closed.
pub const ACCOUNTS_TIDY_FROM: usize = 64;
/// Accounts that it tells of in one message.
pub const REPORT_ACCOUNTS_MAX: usize = 256;
/// How often the ledger forgets who uses nothing any more.
pub const LEDGER_TIDY: Duration = Duration::from_secs(30);
/// Quiet time after which a shard with dirty partitions makes a checkpoint.
pub const CHECKPOINT_IDLE: Duration = Duration::from_secs(2);
/// Partitions that a checkpoint flushes at a time: when nobody commits, or the journal fills up. As many as
/// keep the device busy with small writes.
pub const CHECKPOINT_FLUSHES_MAX: usize = 32;
/// Likewise, while commits come and the journal has room for them: a commit waits in the device's queue
/// behind what is in it. Few enough that it hardly waits, and enough that a write of the next one begins
/// while the file of another one is opened and grows.
pub const CHECKPOINT_FLUSHES_MIN: usize = 4;
/// Bytes that each of them writes at a time, while they are few: all of them together take the device no
/// longer than a commit may wait.
pub const CHECKPOINT_WRITE_BYTES: u64 = 128 * 1024;
/// Commits come as long as the last frame with somebody's batches is no older: longer than the gaps of
/// producers that send some hundred requests a second, and short beside a checkpoint.
pub const COMMITS_PAUSE: Duration = Duration::from_millis(10);
/// The log tells of a write to the journal that is seen to take longer: disks stall for less now and then.
pub const SILENCE: Duration = Duration::from_secs(1);

/// Memory that a shard takes for recent records before it gives up those that are on disk already.
/// More is taken only if nothing can be given up.
pub const WARM_BYTES: usize = 256 << 20;
/// Partitions that are asked for memory before more is taken.
pub const TRIM_PARTITIONS_MAX: usize = 64;

/// Smallest and largest chunk of a partition's tail.
pub const CHUNK_BYTES_MIN: usize = 4096;
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Disk space reserved ahead of a segment's end: at least and at most.
pub const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
pub const ALLOCATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Open files that a shard keeps for later use, if the process may have enough.
pub const FILES_OPEN_MAX: usize = 64;
/// How long a file waits for a descriptor, and how often it looks: longer is a fault of the disk's.
pub const DESCRIPTOR_WAIT_MAX: Duration = Duration::from_secs(30);
pub const DESCRIPTOR_LOOK: Duration = Duration::from_millis(10);

/// Memory of a shard that sockets are received into.
pub const RECEIVE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads of cold records that the device has at a time while a journal frame is on its way. With one it rests
/// while the bytes are sent; with more than two commits wait longer, and no more bytes come.
pub const COLD_READS_BESIDE_COMMIT: usize = 2;

/// Bytes of an answer, or of a file, that are sent before other tasks run.
pub const SEND_SLICE_BYTES: u64 = 256 * 1024;
/// Topics and partitions, or offsets, that a short answer tells of. Of those that may be longer one is made at a
/// time on each shard: what they hold is counted when they are made.
pub const SHORT_ENTRIES_MAX: usize = 1024;
/// Bytes of an answer that are written before other tasks run. Past `SHORT_SLICES` of them the rest is written
/// in the slow lane.
pub const ANSWER_SLICE_BYTES: usize = 64 * 1024;
/// Bytes of answers that the kernel takes of a connection before it can send them.
pub const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// How often connections are looked at of which something is awaited.
pub const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Connections that are looked at before other tasks run, if none of them is closed.
pub const LOOKED_PER_TURN_MAX: usize = 256;
/// Connections that are closed before other tasks run: the kernel needs some 15 us to end one.
pub const CLOSED_PER_TURN_MAX: usize = 8;
/// What moves by fewer bytes from one look to later ones hardly moves: half a request, or an answer.
pub const PROGRESS_BYTES_MIN: u64 = 16 * 1024;
/// Looks for which what is awaited may hardly move.
pub const SLOW_LOOKS_MAX: u32 = 30;
/// Likewise, of a connection that has asked nothing yet: a deadline for its first request.
pub const FIRST_REQUEST_LOOKS_MAX: u32 = 5;
/// Likewise, while memory is short.
pub const SLOW_LOOKS_MAX_WHEN_SHORT: u32 = 2;
/// Answers that are not taken yet may hold one in so many of a shard's bytes for logs.
pub const ANSWER_SHARE: usize = 4;
/// Of these, small answers have one in so many for themselves.
pub const SMALL_ANSWERS_SHARE: u64 = 4;
/// An answer has one in so many of the bytes that are left for large ones, but a batch at least.
pub const ANSWER_PARTS: u64 = 8;
/// Records of an answer that is small: what a reader who keeps up with a busy partition asks for.
pub const SMALL_ANSWER_BYTES: u64 = 16 * 1024;
/// Batches that are being compressed anew may take one in so many bytes of a shard's memory for requests
/// besides it, and one batch whatever it takes.
pub const RECOMPRESSION_SHARE: u64 = 4;
/// Addresses of which a shard remembers how fast they made connections, and how often it forgets those that
/// were quiet when there are so many.
pub const PACES_MAX: usize = 32 * 1024;
pub const PACES_TIDY: Duration = Duration::from_secs(1);
/// Connections of a shard that are kept open until they are closed, as too many came from their addresses.
pub const HELD_MAX: usize = 256;
/// What an open connection takes of the heap, about.
pub const CONNECTION_BYTES: u64 = 5 * 1024;
/// Memory of requests, answers and connections that must have gone, and for how many looks, before the
/// heap is trimmed.
pub const TRIM_BYTES_MIN: u64 = 4 * 1024 * 1024;
pub const TRIM_LOOKS: u32 = 8;
/// Larger allocations are no part of the heap: they go back to the machine when they are freed. Smaller ones
/// are worth keeping: a page that nobody has touched costs more than the bytes that are copied into it.
pub const HEAP_ALLOCATION_BYTES_MAX: i32 = 1024 * 1024;
/// What the end of a core's heap keeps of memory that is free.
pub const HEAP_KEPT_BYTES_MAX: i32 = 2 * 1024 * 1024;
/// Connections that are taken in a row before all else that is ready runs, also what the kernel makes so.
pub const ACCEPTED_PER_TURN_MAX: usize = 32;

/// Produce requests of one connection that are not answered yet.
pub const PIPELINE_MAX: usize = 64;
/// Largest body of a request that is not Produce.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Elements of a request besides those that the cluster has a use for.
pub const SPARE_ELEMENTS: usize = 16 * 1024;
/// Elements of a request that creates topics or partitions.
pub const CREATING_ELEMENTS_MAX: usize = 32 * 1024;
/// Elements of a request that are worked on before other tasks run.
pub const ELEMENTS_PER_SLICE: usize = 256;
/// What one element of a request is counted for, with its part of the answer, while it is in hand.
pub const ELEMENT_BYTES: u64 = 256;
/// Slots of each mailbox lane between two shards.
pub const LANE_SLOTS: usize = 1024;
/// Messages taken from one peer in a turn.
pub const MESSAGES_PER_TURN_MAX: usize = 256;

/// Bytes read from a segment file at a time to find a batch, and for a fetch.
pub const SCAN_BYTES: usize = 64 * 1024;
pub const READ_BYTES_MAX: usize = 1024 * 1024;
/// Of these, bytes that are asked of the device at a time for a fetch: a commit waits behind them.
pub const READ_SLICE_BYTES: usize = 256 * 1024;
/// How long a read for an answer that has its place waits for memory before the client is to ask again.
pub const READ_MEMORY_WAIT: Duration = Duration::from_secs(1);

/// A start reads so much of a journal file behind its last frame, to see whether the disk has lost one that
/// others follow.
pub const JOURNAL_QUIET_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of a sealed segment that the scrubber reads at a time, and its shortest pause between reads.
pub const SCRUB_BYTES: usize = 256 * 1024;
pub const SCRUB_PAUSE_MIN: Duration = Duration::from_millis(10);
/// How often the scrubber looks whether there is anything to scrub.
pub const SCRUB_LOOK: Duration = Duration::from_secs(60);

/// Bytes of a segment that the compactor reads or writes at a time.
pub const COMPACTION_BYTES: usize = 256 * 1024;
/// While clients are served, the compactor rests for so many times as long as it worked, and for how long
/// at most.
pub const COMPACTION_REST: u32 = 9;
pub const COMPACTION_REST_MAX: Duration = Duration::from_millis(200);
/// Its shortest pause between two looks at all logs.
pub const COMPACTION_PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often memory is looked for that nobody needs more urgently.
pub const SPARE_LOOK: Duration = Duration::from_millis(50);

/// Partitions whose policy is looked at before other tasks run.
pub const CLEANED_PER_TURN_MAX: usize = 64;

/// Bytes of records checked before other tasks run.
pub const ADMISSION_SLICE_BYTES: usize = 128 * 1024;
/// Slices of one batch after which the rest is done in the slow lane.
pub const SHORT_SLICES: usize = 16;
/// Pause before each slice in the slow lane: the disk's and the network's own threads of the kernel get the core.
pub const LONG_PAUSE: Duration = Duration::from_micros(100);
/// What one batch may decompress to.
pub const DECOMPRESSED_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// What one byte that is sent may decompress to, past a size that any batch may have: more than gzip can.
pub const EXPANSION_MAX: usize = 1100;
pub const EXPANDED_BYTES_FREE: usize = 64 * 1024 * 1024;

/// Longest wait of a fetch.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(600);

/// The largest batch is one in so many of a shard's bytes for logs. A batch waits until all its memory
/// is there, and what comes after it waits too: it must not wait for what never comes.
pub const BATCH_SHARE: usize = 4;
/// Events of one command, as one batch of the metadata's log: far above what the topics of a request
/// usually come to.
pub const EVENTS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Groups of a shard, their members and offsets, may take one in so many of its bytes for logs. It is memory
/// beside them.
pub const GROUP_SHARE: usize = 8;
/// Of so many shards they may take the part at least when their records are read: it may have been more before.
pub const GROUP_REPLAY_SHARES_MIN: u64 = 4;
/// Between two lines of the log that say that there is no memory for more.
pub const GROUP_TELL_EVERY: Duration = Duration::from_secs(60);
/// Records of groups past which another batch begins.
pub const GROUP_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a coordinator's records are read once more, after a failure.
pub const GROUP_RETRY: Duration = Duration::from_secs(1);

/// How long a clean stop waits for answers that are on their way.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

const _: () = {
    assert!(
        DIRECT_BYTES_MIN < FRAME_BYTES_MAX as u64,
        "small appends of several partitions share a frame"
    );
    assert!(FRAME_BYTES_MAX.is_multiple_of(BLOCK_BYTES), "direct I/O writes whole blocks");
    assert!(CHUNK_BYTES_MIN.is_multiple_of(BLOCK_BYTES), "a chunk is whole blocks");
    assert!(SEGMENT_WRITE_BYTES_MAX > DIRECT_BYTES_MIN, "a direct write fits one write");
    assert!(SCAN_BYTES <= READ_BYTES_MAX, "a scan is a read");
    assert!(READ_SLICE_BYTES.is_multiple_of(BLOCK_BYTES), "direct I/O reads whole blocks");
    assert!(FRAME_BYTES_MAX <= READ_BYTES_MAX, "a part of the journal holds any frame");
    assert!(FRAME_BYTES_MAX as u64 <= JOURNAL_QUIET_BYTES, "a lost frame hides none behind it");
    assert!(EVENTS_BYTES_MAX < BODY_BYTES_MAX, "the largest command can be sent");
    assert!(0 < CHECKPOINT_FLUSHES_MIN, "a checkpoint goes on also while commits come");
    assert!(CHECKPOINT_FLUSHES_MIN < CHECKPOINT_FLUSHES_MAX, "making way is fewer at a time");
    assert!(SLOW_LOOKS_MAX_WHEN_SHORT < FIRST_REQUEST_LOOKS_MAX, "short is strict");
    assert!(FIRST_REQUEST_LOOKS_MAX < SLOW_LOOKS_MAX, "who is known has more time");
};
