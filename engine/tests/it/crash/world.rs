//! One shard on a simulated disk: what a shard does with logs, journal and checkpoints, a step at a
//! time, so that a crash can come between any two.

use std::collections::{BTreeMap, VecDeque};

use engine::checkpoint::{CheckpointHeader, CheckpointWriter};
use engine::id::{FilePos, LeaderEpoch, Offset, Timestamp};
use engine::index::Index;
use engine::journal::plan::{JournalLimits, JournalPlan};
use engine::journal::{Entry, FrameWriter, Generation};
use engine::log::{Deletion, Intent, Journaling, Rules};

use crate::crash::dice::Dice;
use crate::crash::disk::{Disk, File, WriteId};
use crate::crash::partition::{NOW, Partition, partition_id};

pub(crate) const FRAME_BYTES: usize = 16 << 10;
const JOURNAL: JournalLimits = JournalLimits { file_bytes: 32 << 10, file_count_max: 4 };
const PARTITION_COUNT_MAX: usize = 3;

/// What can happen between two crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append,
    BeginFrame,
    FinishFrame,
    BeginFlush,
    FinishFlush,
    BeginCheckpoint,
    FinishCheckpoint,
    BeginSeal,
    FinishSeal,
    DeleteRecords,
    Unlink,
    RebuildIndex,
    Read,
    Create,
    Remove,
    Crash,
}

/// An entry that waits for the next frame.
#[derive(Debug)]
pub(crate) enum Queued {
    Created(u32),
    Removed(u32),
    Intent(u32, Intent),
    Deletion(u32, Deletion),
}

#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) partition: Partition,
    pub(crate) acked: bool,
}

#[derive(Debug)]
struct Frame {
    write: WriteId,
    queued: Vec<Queued>,
    journaled: Vec<(u32, Journaling)>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) disk: Disk,
    pub(crate) generation: Generation,
    pub(crate) partitions: BTreeMap<u32, Partition>,
    /// Those that were removed, unless a crash forgot it.
    pub(crate) removed: BTreeMap<u32, Removed>,
    pub(crate) next_key: u32,
    journal: JournalPlan,
    queued: VecDeque<Queued>,
    frame: Option<Frame>,
    checkpoint_sequence: Option<u64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice::new(seed),
            disk: Disk::default(),
            generation: Generation::new(0, 0),
            partitions: BTreeMap::new(),
            removed: BTreeMap::new(),
            next_key: 0,
            journal: JournalPlan::new(JOURNAL, 0),
            queued: VecDeque::new(),
            frame: None,
            checkpoint_sequence: None,
        };
        world.write_generation(Generation::new(1, 1), &[]);
        world.create();
        world
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::BeginFrame => self.begin_frame(),
            Step::FinishFrame => self.finish_frame(),
            Step::BeginCheckpoint => self.begin_checkpoint(),
            Step::FinishCheckpoint => self.finish_checkpoint(),
            Step::Create => self.create(),
            Step::Remove => self.remove(),
            Step::Crash => self.crash(),
            Step::Append
            | Step::BeginFlush
            | Step::FinishFlush
            | Step::BeginSeal
            | Step::FinishSeal
            | Step::DeleteRecords
            | Step::Unlink
            | Step::RebuildIndex
            | Step::Read => {
                let count = u64::try_from(self.partitions.len()).unwrap();
                if count > 0 {
                    let index = usize::try_from(self.dice.below(count)).unwrap();
                    let key = *self.partitions.keys().nth(index).unwrap();
                    self.step_partition(step, key);
                }
            }
        }
    }

    /// A new life: nothing in the journal counts, and everything is in the files.
    pub(crate) fn start(&mut self, partitions: BTreeMap<u32, Partition>) {
        self.journal = JournalPlan::new(JOURNAL, self.disk.journal_file_count());
        self.partitions = partitions;
        self.removed.retain(|key, _| !self.partitions.contains_key(key));
        self.queued.clear();
        self.frame = None;
        self.checkpoint_sequence = None;
        let number = i32::try_from(self.generation.number()).unwrap();
        for partition in self.partitions.values_mut() {
            if self.dice.one_in(2) {
                partition.log.start_epoch(LeaderEpoch::new(number));
            }
        }
    }

    fn step_partition(&mut self, step: Step, key: u32) {
        let rules = Rules {
            segment_bytes_max: 10_000 + self.dice.below(4) * 5000,
            segment_ms_max: i64::MAX,
            segment_jitter_ms_max: 0,
            index_interval_bytes: self.dice.below(3) * 700,
        };
        let partition = self.partitions.get_mut(&key).unwrap();
        match step {
            Step::Append => partition.append(&mut self.dice, &rules),
            Step::BeginFlush => self.begin_flush(key),
            Step::FinishFlush => self.finish_flush(key),
            Step::BeginSeal => self.begin_seal(key),
            Step::FinishSeal => self.finish_seal(key),
            Step::DeleteRecords => self.delete_records(key),
            Step::Unlink => {
                let expired = partition.log.expired_segments().next();
                if let Some(segment) = expired {
                    self.disk.unlink(File::Segment(key, segment));
                    partition.log.on_unlinked(segment);
                }
            }
            Step::RebuildIndex => rebuild_indexes(partition),
            Step::Read => self.read(key),
            Step::BeginFrame
            | Step::FinishFrame
            | Step::BeginCheckpoint
            | Step::FinishCheckpoint
            | Step::Create
            | Step::Remove
            | Step::Crash => unreachable!("not of one partition"),
        }
    }

    fn create(&mut self) {
        if self.partitions.len() < PARTITION_COUNT_MAX {
            let key = self.next_key;
            self.next_key += 1;
            self.queued.push_back(Queued::Created(key));
            self.partitions.insert(key, Partition::new(key));
        }
    }

    fn remove(&mut self) {
        if self.partitions.len() > 1
            && let Some((key, partition)) = self.partitions.pop_first()
        {
            self.removed.insert(key, Removed { partition, acked: false });
            self.queued.push_back(Queued::Removed(key));
        }
    }

    fn begin_frame(&mut self) {
        if self.frame.is_some() {
            return;
        }
        self.make_journal();
        if self.journal.leaves_reserve(u64::try_from(FRAME_BYTES).unwrap()) {
            self.write_frame(Self::push_all);
        } else {
            self.begin_checkpoint();
            self.finish_checkpoint();
        }
    }

    fn make_journal(&mut self) {
        while let Some(file) = self.journal.next_unmade() {
            self.disk.set_bytes(File::Journal(file), JOURNAL.file_bytes);
            self.journal.on_made(file);
        }
    }

    fn write_frame(
        &mut self,
        fill: impl FnOnce(&mut Self, &mut FrameWriter<'_>) -> (Vec<Queued>, Vec<(u32, Journaling)>),
    ) {
        self.make_journal();
        let mut buffer = vec![0xee; FRAME_BYTES];
        let mut writer = FrameWriter::begin(&mut buffer);
        let (queued, journaled) = fill(self, &mut writer);
        if writer.is_empty() {
            return;
        }
        let frame_bytes = u64::try_from(writer.frame_bytes()).unwrap();
        let place = self.journal.place(frame_bytes).expect("there is room");
        let frame_bytes = writer.finish(self.generation, place.sequence);
        buffer.truncate(frame_bytes);
        let file = File::Journal(place.file);
        let write = self.disk.begin_write(file, place.pos.get(), buffer);
        self.frame = Some(Frame { write, queued, journaled });
    }

    fn push_all(&mut self, writer: &mut FrameWriter<'_>) -> (Vec<Queued>, Vec<(u32, Journaling)>) {
        let queued = self.push_queued(writer);
        let mut journaled = Vec::new();
        if self.queued.is_empty() {
            for (key, partition) in &mut self.partitions {
                journaled.extend(partition.journal(writer, &mut self.dice).map(|it| (*key, it)));
            }
        }
        (queued, journaled)
    }

    fn push_queued(&mut self, writer: &mut FrameWriter<'_>) -> Vec<Queued> {
        let mut pushed = Vec::new();
        while let Some(queued) = self.queued.pop_front() {
            let durable_end = |key| {
                self.partitions.get(key).map_or(Offset::ZERO, |it| it.log.durable_end().offset)
            };
            let epoch = LeaderEpoch::ZERO;
            let entry = match &queued {
                Queued::Created(key) => {
                    Entry::Created { partition: partition_id(*key), created_at: NOW, epoch }
                }
                Queued::Removed(key) => Entry::Removed { partition: partition_id(*key) },
                Queued::Intent(key, intent) => Entry::Intent {
                    partition: partition_id(*key),
                    segment: intent.segment(),
                    durable_end: durable_end(key),
                },
                Queued::Deletion(key, deletion) => Entry::LogStart {
                    partition: partition_id(*key),
                    log_start: deletion.log_start(),
                },
            };
            if writer.push(&entry).is_err() {
                self.queued.push_front(queued);
                break;
            }
            pushed.push(queued);
        }
        pushed
    }

    fn finish_frame(&mut self) {
        let Some(frame) = self.frame.take() else { return };
        self.disk.finish_write(&frame.write);
        for queued in frame.queued {
            match queued {
                Queued::Removed(key) => {
                    self.removed.get_mut(&key).expect("it was removed").acked = true;
                }
                Queued::Created(key) => {
                    if let Some(partition) = self.partitions.get_mut(&key) {
                        partition.created_acked = true;
                    }
                }
                Queued::Intent(key, intent) => {
                    if let Some(partition) = self.partitions.get_mut(&key) {
                        partition.log.on_intent(&intent);
                    }
                }
                Queued::Deletion(key, deletion) => {
                    if let Some(partition) = self.partitions.get_mut(&key) {
                        partition.log_start_acked = deletion.log_start();
                        partition.log.on_deleted(deletion);
                    }
                }
            }
        }
        for (key, journaling) in frame.journaled {
            if let Some(partition) = self.partitions.get_mut(&key) {
                partition.log.on_journaled(journaling);
                partition.note_durable();
            }
        }
    }

    fn begin_flush(&mut self, key: u32) {
        let partition = self.partitions.get_mut(&key).unwrap();
        if partition.flush.is_some() {
            return;
        }
        let queued = |it: &Queued| matches!(it, Queued::Intent(of, _) if *of == key);
        if let Some(intent) = partition.log.intent_needed() {
            if !self.queued.iter().any(queued) {
                self.queued.push_back(Queued::Intent(key, intent));
            }
            return;
        }
        let bytes_max = self.dice.one_in(3).then(|| self.dice.below(8000));
        let Some(flush) = partition.log.begin_flush(bytes_max) else { return };
        let file = File::Segment(key, flush.segment());
        if self.dice.one_in(2) {
            let file_bytes = u64::try_from(self.disk.read(file).len()).unwrap();
            self.disk.set_bytes(file, file_bytes.next_multiple_of(16 << 10));
        }
        let bytes = partition.flush_bytes(&flush, &mut self.dice);
        let write = self.disk.begin_write(file, flush.from().get(), bytes);
        partition.flush = Some((write, flush));
    }

    fn finish_flush(&mut self, key: u32) {
        let partition = self.partitions.get_mut(&key).unwrap();
        if let Some((write, flush)) = partition.flush.take() {
            self.disk.finish_write(&write);
            partition.log.on_flushed(flush);
            partition.note_durable();
        }
    }

    fn begin_checkpoint(&mut self) {
        if self.checkpoint_sequence.is_none() {
            self.checkpoint_sequence = Some(self.journal.next_sequence());
            for partition in self.partitions.values_mut() {
                partition.checkpointing = Some(partition.log.begin_checkpoint());
            }
        }
    }

    fn finish_checkpoint(&mut self) {
        let Some(sequence) = self.checkpoint_sequence else { return };
        for round in 0.. {
            assert!(round < 100, "a checkpoint ends");
            self.finish_frame();
            let keys: Vec<u32> = self.partitions.keys().copied().collect();
            // A checkpoint may leave out only what the journal says is removed.
            let mut flushed = self.removed.values().all(|it| it.acked);
            for key in keys {
                if !self.is_flushed_to_target(key) {
                    flushed = false;
                    self.finish_flush(key);
                    self.begin_flush(key);
                }
            }
            if flushed {
                break;
            }
            // The reserve is for this: no partition's appends, only what a flush needs.
            self.write_frame(|world, writer| (world.push_queued(writer), Vec::new()));
            if self.dice.one_in(4) {
                return;
            }
        }
        let shard = 0;
        let generation = self.generation.number();
        let mut writer = CheckpointWriter::new(&CheckpointHeader { shard, generation, sequence });
        for partition in self.partitions.values() {
            if let Some(checkpointing) = &partition.checkpointing {
                writer.push(checkpointing.manifest());
            }
        }
        self.disk.replace(File::Checkpoint(generation), writer.finish());
        self.journal.on_checkpoint(sequence);
        for partition in self.partitions.values_mut() {
            if let Some(checkpointing) = partition.checkpointing.take() {
                partition.log.on_checkpointed(checkpointing.into_checkpointed());
            }
        }
        self.checkpoint_sequence = None;
    }

    fn is_flushed_to_target(&self, key: u32) -> bool {
        let partition = &self.partitions[&key];
        let flushed = partition.log.flushed().offset;
        partition.checkpointing.as_ref().is_none_or(|it| it.target().offset <= flushed)
    }

    fn begin_seal(&mut self, key: u32) {
        let partition = self.partitions.get_mut(&key).unwrap();
        if let Some(seal) = partition.log.begin_seal() {
            partition.check_sidecar(&seal);
            partition.seal = Some(seal);
        }
    }

    fn finish_seal(&mut self, key: u32) {
        let partition = self.partitions.get_mut(&key).unwrap();
        if let Some(seal) = partition.seal.take() {
            self.disk.set_bytes(File::Segment(key, seal.segment()), seal.bytes().get());
            partition.log.on_sealed(seal);
        }
    }

    fn delete_records(&mut self, key: u32) {
        let partition = self.partitions.get_mut(&key).unwrap();
        let log = &mut partition.log;
        let room = log.durable_end().offset.get() - log.log_start().get();
        let ahead = self.dice.below(u64::try_from(room).unwrap() + 1) / (1 + self.dice.below(3));
        let to = log.log_start().plus(i64::try_from(ahead).unwrap());
        if let Some(deletion) = log.begin_delete(to).expect("it is durable") {
            partition.log_start_asked = deletion.log_start();
            self.queued.push_back(Queued::Deletion(key, deletion));
        }
    }

    /// Any offset and any time is found by walking on from where the log says.
    fn read(&mut self, key: u32) {
        let partition = &self.partitions[&key];
        let log = &partition.log;
        let (start, end) = (log.log_start(), log.log_end().offset);
        if start < end {
            let ahead = self.dice.below(u64::try_from(end.get() - start.get()).unwrap());
            let offset = start.plus(i64::try_from(ahead).unwrap());
            let located = log.locate(offset).expect("it is in the log");
            let want = partition.stored.iter().find(|it| offset < it.end).unwrap();
            let memory = &partition.memory[&located.segment.base];
            let from = usize::try_from(located.scan_from.get()).unwrap();
            let mut walk = engine::batch::walk(&memory[from..], None);
            let found = walk.find(|(_, it)| it.next_offset().is_ok_and(|next| offset < next));
            assert_eq!(found.map(|(_, it)| it.bytes()), Some(want.bytes.as_slice()));
        }
        assert_eq!(log.locate(end), None);
        let timestamp = if self.dice.one_in(2) {
            let index = self.dice.roll().to_be_bytes()[0];
            let stored = partition.stored.iter().cycle().nth(index.into());
            stored.map_or(Timestamp::new(0), |it| it.summary.max_timestamp)
        } else {
            Timestamp::new(i64::try_from(self.dice.below(1100)).unwrap())
        };
        let late = |max: Timestamp| timestamp <= max;
        let want =
            partition.stored.iter().find(|it| start < it.end && late(it.summary.max_timestamp));
        let mut from = Offset::ZERO;
        let mut found = None;
        while let Some(located) = log.locate_time(timestamp, from)
            && found.is_none()
        {
            let memory = &partition.memory[&located.segment.base];
            let at = usize::try_from(located.scan_from.get()).unwrap();
            found = engine::batch::walk(&memory[at..], None).map(|(_, it)| it).find(|it| {
                late(it.max_timestamp()) && it.next_offset().is_ok_and(|next| start < next)
            });
            from = log.segment_end(located.segment).unwrap().offset;
        }
        assert_eq!(found.map(|it| it.bytes()), want.map(|it| it.bytes.as_slice()));
    }
}

fn rebuild_indexes(partition: &mut Partition) {
    let segments: Vec<Offset> = partition.log.segments().iter().map(|it| it.base()).collect();
    for segment in segments {
        if let Some(end) = partition.log.index_missing(segment) {
            let mut index = Index::new();
            for (_, batch) in engine::batch::walk(&partition.memory[&segment], Some(segment)) {
                if index.end() < end {
                    let base = Offset::new(batch.base_offset());
                    let bytes = u64::try_from(batch.len_bytes()).unwrap();
                    index.on_batch(base, bytes, batch.max_timestamp(), 500);
                }
            }
            partition.log.on_index_rebuilt(segment, index);
        }
        assert_eq!(partition.log.index_missing(segment), None::<FilePos>);
    }
}
