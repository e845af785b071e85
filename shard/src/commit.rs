//! The group commit of a shard: one journal frame at a time, self-clocked.
//!
//! While a frame is on its way to the device the next one gathers; there is no timer.
//! A partition with much to commit is sent straight to its segment instead.
//! Invariant: nobody is told that a batch is stored before the frame that carries it is durable.

pub(crate) mod silence;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use engine::bug::Bug;
use engine::id::{Offset, PartitionId, PartitionIndex, Timestamp, TopicId};
use engine::journal::plan::{JournalFull, JournalLimits, JournalPlan, Place, Slack};
use engine::journal::{self, AppendHeader, Entry, FrameWriter, Generation};
use engine::log::Journaling;

use crate::buffer::Block;
use crate::io::{Class, Io, Nanos, Open, Sync};
use crate::limits::{
    BLOCK_BYTES, CHECKPOINT_DIRECT_BYTES, COMMITS_PAUSE, FRAME_BYTES_MAX, SWEEP_BYTES_MIN,
};
use crate::metrics::Metric;
use crate::parallel;
use crate::partition::{self, Condition, Partition, Pending};
use crate::room::{Shortage, StoreError};
use crate::shard::Shard;
use crate::signal::{self, Answer, Bell, Promise};
use crate::writer;
use silence::Silence;

/// A journal entry that is no batch.
#[derive(Clone, Copy)]
pub enum Note {
    Intent { partition: PartitionId, segment: Offset, durable_end: Offset },
    LogStart { partition: PartitionId, log_start: Offset },
}

impl Note {
    fn entry(self) -> Entry<'static> {
        match self {
            Self::Intent { partition, segment, durable_end } => {
                Entry::Intent { partition, segment, durable_end }
            }
            Self::LogStart { partition, log_start } => Entry::LogStart { partition, log_start },
        }
    }
}

struct Queue<I: Io> {
    partitions: VecDeque<Rc<Partition<I>>>,
    /// The last room of a journal is for these: without them there is no checkpoint that frees it.
    needed: VecDeque<(Note, Promise<bool>)>,
    other_notes: VecDeque<(Note, Promise<bool>)>,
    /// Batches of closed partitions that the journal has, and goes on to have.
    carried: VecDeque<(Rc<Partition<I>>, Pending, Promise<bool>)>,
}

impl<I: Io> Default for Queue<I> {
    fn default() -> Self {
        Self {
            partitions: VecDeque::new(),
            needed: VecDeque::new(),
            other_notes: VecDeque::new(),
            carried: VecDeque::new(),
        }
    }
}

impl<I: Io> Queue<I> {
    fn next_note(&mut self, which: Which) -> Option<(Note, Promise<bool>)> {
        self.needed.pop_front().or_else(|| match which {
            Which::All => self.other_notes.pop_front(),
            Which::Needed => None,
        })
    }
}

/// What may enter a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// What a checkpoint cannot do without.
    Needed,
}

/// What a frame carries besides bytes: who is told when it is durable.
struct Cargo<I: Io> {
    batches: Vec<(Rc<Partition<I>>, Journaling)>,
    notes: Vec<Promise<bool>>,
}

/// One per shard.
pub struct Commit<I: Io> {
    queue: RefCell<Queue<I>>,
    bell: Bell,
    plan: RefCell<JournalPlan>,
    /// Those that are made, as the plan knows them.
    files: RefCell<Vec<I::File>>,
    is_making: Cell<bool>,
    /// Rings when a journal file was made, or could not be.
    made: Bell,
    generation: Cell<Generation>,
    /// Written straight to segments since the last checkpoint.
    direct_bytes: Cell<u64>,
    /// Files wait for a checkpoint that does not need them.
    is_asked: Cell<bool>,
    /// Rings when a checkpoint should be made.
    pressed: Bell,
    /// Rings when a checkpoint has freed journal files.
    freed: Bell,
    /// Rings with every frame, also with one that failed.
    committed: Bell,
    /// A frame is on its way to the device.
    is_writing: Cell<bool>,
    silence: Silence,
    batches: Cell<Batches>,
    is_broken: Cell<bool>,
}

/// When the journal was last given batches, which somebody waits for.
#[derive(Clone, Copy, Debug, Default)]
enum Batches {
    #[default]
    Never,
    /// The frame on its way has some.
    Now,
    Until(Nanos),
}

impl<I: Io> Default for Commit<I> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            bell: Bell::default(),
            plan: RefCell::new(JournalPlan::new(JournalLimits::DEFAULT, 0)),
            files: RefCell::default(),
            is_making: Cell::new(false),
            made: Bell::default(),
            generation: Cell::new(Generation::new(0, 0)),
            direct_bytes: Cell::new(0),
            is_asked: Cell::new(false),
            pressed: Bell::default(),
            freed: Bell::default(),
            committed: Bell::default(),
            is_writing: Cell::new(false),
            silence: Silence::default(),
            batches: Cell::default(),
            is_broken: Cell::new(false),
        }
    }
}

impl<I: Io> Commit<I> {
    /// The next time that a checkpoint should be made.
    #[must_use]
    pub fn next_pressed(&self) -> Answer<()> {
        self.pressed.next()
    }

    /// Asks for a checkpoint: files can go when there is one.
    pub fn ask_checkpoint(&self) {
        self.is_asked.set(true);
        self.pressed.ring();
    }

    /// Asks for a look at whether a checkpoint is due.
    pub fn press(&self) {
        self.pressed.ring();
    }

    /// The next frame.
    #[must_use]
    pub fn next_committed(&self) -> Answer<()> {
        self.committed.next()
    }

    /// A frame is on its way to the device: it is durable, or has failed, with `next_committed`.
    #[must_use]
    pub const fn is_writing(&self) -> bool {
        self.is_writing.get()
    }

    /// Batches are on their way into the journal, or were a moment ago: more will come.
    #[must_use]
    pub fn is_steady(&self, now: Nanos) -> bool {
        match self.batches.get() {
            Batches::Never => false,
            Batches::Now => true,
            Batches::Until(end) => now.since(end) < COMMITS_PAUSE,
        }
    }

    /// The journal's room for batches, while a checkpoint runs.
    #[must_use]
    pub fn slack(&self) -> Slack {
        self.plan.borrow().slack()
    }

    /// The partition has batches to commit.
    pub fn enqueue(&self, partition: &Rc<Partition<I>>) {
        if partition.enqueue() {
            self.queue.borrow_mut().partitions.push_back(Rc::clone(partition));
            self.bell.ring();
        }
    }

    pub fn enqueue_pending(&self, partition: &Rc<Partition<I>>) {
        if partition.has_pending() {
            self.enqueue(partition);
        }
    }

    /// Journals `note`. The answer says whether it is durable.
    pub fn note(&self, note: Note) -> Answer<bool> {
        match note {
            Note::Intent { .. } => self.push_note(note, |queue| &mut queue.needed),
            Note::LogStart { .. } => self.push_note(note, |queue| &mut queue.other_notes),
        }
    }

    fn push_note(
        &self,
        note: Note,
        row: impl FnOnce(&mut Queue<I>) -> &mut VecDeque<(Note, Promise<bool>)>,
    ) -> Answer<bool> {
        let (promise, answer) = signal::promise();
        if self.is_broken.get() {
            promise.keep(false);
        } else {
            row(&mut self.queue.borrow_mut()).push_back((note, promise));
            self.bell.ring();
        }
        answer
    }

    /// Journals again what only the journal has of a closed partition, so that the frames before
    /// this can be freed. The last checkpoint's manifest goes with it. False if it cannot be done.
    pub async fn carry(&self, partition: &Rc<Partition<I>>) -> bool {
        let id = partition.id();
        let (segments, log_start, durable_end) = partition.with_log(|log| {
            let segments: Vec<Offset> = log.unsettled_segments().collect();
            (segments, log.log_start(), log.durable_end().offset)
        });
        let intent = |segment| Note::Intent { partition: id, segment, durable_end };
        let notes = segments.into_iter().map(intent);
        let notes = notes.chain([Note::LogStart { partition: id, log_start }]);
        // A checkpoint waits for all of these, also for the log start.
        let push = |note| self.push_note(note, |queue| &mut queue.needed);
        let mut answers: Vec<_> = notes.map(push).collect();
        for batch in partition.journaled_only() {
            let (promise, answer) = signal::promise();
            self.queue.borrow_mut().carried.push_back((Rc::clone(partition), batch, promise));
            answers.push(answer);
        }
        self.bell.ring();
        let mut is_done = true;
        for answer in answers {
            is_done &= answer.wait().await;
        }
        is_done
    }

    /// Starts the journal of a new generation. No frame of it was written before.
    pub fn begin_generation(&self, generation: Generation, limits: JournalLimits) {
        self.generation.set(generation);
        *self.plan.borrow_mut() = JournalPlan::new(limits, 0);
        self.files.borrow_mut().clear();
    }

    /// A file more may be made again.
    pub fn resume_growth(&self) {
        self.plan.borrow_mut().resume_growth();
        self.bell.ring();
    }

    /// Whether the journal has room for more than a checkpoint needs.
    #[must_use]
    pub fn takes_batches(&self) -> bool {
        self.which() == Which::All
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.get()
    }

    /// The sequence of the next frame: all that is committed so far lies in frames before it.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.plan.borrow().next_sequence()
    }

    /// As `next_sequence`, for a checkpoint: whoever asks for one from now on asks for another.
    pub fn begin_checkpoint(&self) -> u64 {
        self.is_asked.set(false);
        self.next_sequence()
    }

    /// A checkpoint holds everything that frames before `sequence` told.
    pub fn on_checkpoint(&self, sequence: u64) {
        self.plan.borrow_mut().on_checkpoint(sequence);
        self.direct_bytes.set(0);
        self.freed.ring();
    }

    pub fn on_direct(&self, bytes: u64) {
        self.direct_bytes.set(self.direct_bytes.get() + bytes);
        if self.direct_bytes.get() >= CHECKPOINT_DIRECT_BYTES {
            self.pressed.ring();
        }
    }

    /// Whether a checkpoint is due by what was written.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        let is_much = self.direct_bytes.get() >= CHECKPOINT_DIRECT_BYTES;
        is_much || self.is_asked.get() || self.plan.borrow().wants_checkpoint()
    }

    /// When the journal is nearly full, all but what a checkpoint needs must wait for one.
    fn which(&self) -> Which {
        let frame = u64::try_from(FRAME_BYTES_MAX).expect("a frame's bytes fit");
        if self.plan.borrow().leaves_reserve(frame) { Which::All } else { Which::Needed }
    }

    /// Whether a frame can be placed.
    fn has_room(&self) -> bool {
        let frame = u64::try_from(FRAME_BYTES_MAX).expect("a frame's bytes fit");
        self.plan.borrow().has_room(frame)
    }

    /// Something waits for a frame.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let queue = self.queue.borrow();
        let has_notes = !queue.needed.is_empty() || !queue.other_notes.is_empty();
        has_notes || !queue.partitions.is_empty() || !queue.carried.is_empty()
    }
}

/// The commit loop of a shard.
pub async fn run<I: Io>(shard: Rc<Shard<I>>) {
    let mut spare = None;
    while !shard.has_ended() {
        if !shard.commit.has_work() {
            shard.commit.bell.next().wait().await;
            continue;
        }
        if shard.commit.is_broken.get() {
            refuse(&shard);
            continue;
        }
        grow(&shard);
        let made = shard.commit.made.next();
        if shard.commit.is_making.get() && !shard.commit.has_room() {
            made.wait().await;
            continue;
        }
        let block = match spare.take() {
            Some(block) => block,
            None => shard.wait_for_block(FRAME_BYTES_MAX).await,
        };
        let which = shard.commit.which();
        match load(&shard, block, which) {
            Loaded::Frame(block, place, cargo) => {
                commit(&shard, block, place, cargo).await;
                // The frame's own memory, so that others' need never keeps the shard from committing.
                spare = shard.io.block(FRAME_BYTES_MAX);
            }
            Loaded::Nothing(block) => {
                spare = Some(block);
                if which == Which::Needed {
                    shard.commit.press();
                    let (woken, freed) = (shard.commit.bell.next(), shard.commit.freed.next());
                    signal::any(vec![woken, freed, made]).await;
                }
            }
            Loaded::NoRoom(cargo) => {
                tracing::error!("the journal has no room left for what a checkpoint needs");
                fail(&shard, cargo);
            }
        }
    }
}

enum Loaded<I: Io> {
    Frame(Block, Place, Cargo<I>),
    Nothing(Block),
    NoRoom(Cargo<I>),
}

/// A frame could not be written: none may follow it, so nothing is taken any more.
fn refuse<I: Io>(shard: &Shard<I>) {
    let refused = shard.commit.queue.take();
    let now = shard.io.now();
    refused.partitions.iter().for_each(|partition| partition.fence(now));
    let notes = refused.needed.into_iter().chain(refused.other_notes).map(|(_, promise)| promise);
    let promises = notes.chain(refused.carried.into_iter().map(|(_, _, promise)| promise));
    promises.for_each(|promise| promise.keep(false));
}

/// Fills a frame from the queue, in order, as far as it goes.
fn load<I: Io>(shard: &Rc<Shard<I>>, mut block: Block, which: Which) -> Loaded<I> {
    let commit = &shard.commit;
    let mut cargo = Cargo { batches: Vec::new(), notes: Vec::new() };
    let mut placed = None;
    block.append_with(|buffer| {
        let mut frame = FrameWriter::begin(buffer);
        while frame.room() > BLOCK_BYTES {
            let next = commit.queue.borrow_mut().next_note(which);
            let Some((note, promise)) = next else { break };
            frame.push(&note.entry()).expect("a note is far below a block");
            cargo.notes.push(promise);
        }
        while let Some((partition, batch, promise)) = next_carried(shard, frame.room()) {
            push_batch(&mut frame, &partition, &batch);
            cargo.notes.push(promise);
        }
        let count = match which {
            Which::All => commit.queue.borrow().partitions.len(),
            Which::Needed => 0,
        };
        for _ in 0..count {
            if frame.room() < BLOCK_BYTES {
                break;
            }
            let next = commit.queue.borrow_mut().partitions.pop_front();
            let partition = next.expect("counted above");
            load_partition(shard, &partition, &mut frame, &mut cargo);
        }
        if frame.is_empty() {
            return 0;
        }
        let bytes = u64::try_from(frame.frame_bytes()).expect("a frame's bytes fit");
        let place = placed.insert(commit.plan.borrow_mut().place(bytes));
        place.map_or(0, |place| frame.finish(commit.generation.get(), place.sequence))
    });
    match placed {
        Some(Ok(place)) => Loaded::Frame(block, place, cargo),
        Some(Err(JournalFull)) => Loaded::NoRoom(cargo),
        None => Loaded::Nothing(block),
    }
}

/// What a batch takes in a frame: its entry, and perhaps that of its segment.
const fn batch_entry_bytes(batch_bytes: usize) -> usize {
    let created_at = Timestamp::NONE;
    let roll = Entry::Roll { partition: NOWHERE, segment: Offset::ZERO, created_at };
    journal::append_entry_bytes(batch_bytes) + journal::entry_bytes(&roll)
}

const NOWHERE: PartitionId = PartitionId { topic: TopicId::ZERO, index: PartitionIndex::new(0) };

fn load_partition<I: Io>(
    shard: &Rc<Shard<I>>,
    partition: &Rc<Partition<I>>,
    frame: &mut FrameWriter<'_>,
    cargo: &mut Cargo<I>,
) {
    match partition.begin_commit(frame.room(), batch_entry_bytes) {
        partition::Commit::Nothing => shard.commit.enqueue_pending(partition),
        // If it is being written already, its writer puts it back into the queue.
        partition::Commit::Direct => writer::start(shard, partition),
        partition::Commit::Journal { batches, journaling } => {
            for batch in &batches {
                if batch.rolled {
                    let roll = Entry::Roll {
                        partition: partition.id(),
                        segment: batch.segment,
                        created_at: shard.io.wall(),
                    };
                    frame.push(&roll).expect("the partition was told less room than there is");
                }
                push_batch(frame, partition, batch);
            }
            shard.commit.enqueue_pending(partition);
            cargo.batches.push((Rc::clone(partition), journaling));
        }
    }
}

/// There must be room for it.
fn push_batch<I: Io>(frame: &mut FrameWriter<'_>, partition: &Partition<I>, batch: &Pending) {
    let header = AppendHeader {
        partition: partition.id(),
        segment: batch.segment,
        pos: batch.pos,
        durable_end: partition.with_log(|log| log.durable_end().offset),
    };
    let target = frame.push_append_header(&header, batch.bytes);
    partition.copy_batch(batch, target.expect("room was looked for"));
}

fn next_carried<I: Io>(
    shard: &Shard<I>,
    room: usize,
) -> Option<(Rc<Partition<I>>, Pending, Promise<bool>)> {
    let mut queue = shard.commit.queue.borrow_mut();
    loop {
        let (partition, batch, _) = queue.carried.front()?;
        let is_there = partition.condition() == Condition::Fenced;
        if is_there && room < batch_entry_bytes(batch.bytes) {
            return None;
        }
        let (partition, batch, promise) = queue.carried.pop_front()?;
        if is_there {
            return Some((partition, batch, promise));
        }
        promise.keep(true); // Its topic was deleted meanwhile, and its bytes with it.
    }
}

/// Writes a frame, then tells everyone.
async fn commit<I: Io>(shard: &Rc<Shard<I>>, block: Block, place: Place, mut cargo: Cargo<I>) {
    if Bug::AckBeforeFlush.is_on() {
        tell(shard, &mut cargo);
    }
    let (began, bytes) = (shard.io.now(), block.filled());
    let brings_batches = !cargo.batches.is_empty();
    shard.commit.is_writing.set(true);
    if brings_batches {
        shard.commit.batches.set(Batches::Now);
    }
    let written = write_at_last(shard, place, &block, &cargo).await;
    shard.commit.is_writing.set(false);
    if brings_batches {
        shard.commit.batches.set(Batches::Until(shard.io.now()));
    }
    drop(block);
    if let Err(error) = written
        && !Bug::WriteErrorIgnored.is_on()
    {
        shard.recorder.borrow_mut().add(Metric::DiskErrors, 1);
        tracing::error!(%error, "a journal write failed: every partition of this shard is fenced");
        fail(shard, cargo);
        return;
    }
    shard.recorder.borrow_mut().on_commit(shard.io.now().since(began));
    shard.recorder.borrow_mut().add(Metric::JournalFrames, 1);
    let bytes = u64::try_from(bytes).expect("usize fits");
    shard.recorder.borrow_mut().add(Metric::JournalBytes, bytes);
    tell(shard, &mut cargo);
    shard.on_stored();
    shard.commit.committed.ring();
    if shard.commit.wants_checkpoint() {
        shard.commit.press();
    }
}

/// A frame cannot be written, and so no later one.
fn fail<I: Io>(shard: &Rc<Shard<I>>, cargo: Cargo<I>) {
    shard.commit.is_broken.set(true);
    cargo.notes.into_iter().for_each(|promise| promise.keep(false));
    shard.fence_all();
    shard.commit.committed.ring();
}

/// The frame is durable.
fn tell<I: Io>(shard: &Rc<Shard<I>>, cargo: &mut Cargo<I>) {
    let now = shard.io.now();
    for promise in cargo.notes.drain(..) {
        promise.keep(true);
    }
    for (partition, journaling) in cargo.batches.drain(..) {
        partition.on_journaled(journaling, now);
        if partition.with_log(|log| log.unflushed_bytes()) >= SWEEP_BYTES_MIN {
            writer::start(shard, &partition);
        }
    }
}

/// Writes a frame until there is room for it. Its blocks have been written before, so that there is, but
/// on a file system that moves what is written again.
async fn write_at_last<I: Io>(
    shard: &Rc<Shard<I>>,
    place: Place,
    block: &Block,
    cargo: &Cargo<I>,
) -> io::Result<()> {
    let file = shard.commit.files.borrow()[place.file].clone();
    loop {
        let ranges = vec![block.disk(0..block.filled())];
        shard.commit.silence.begin(shard.io.now());
        let written = shard.io.write(&file, place.pos.get(), ranges, Sync::Durable).await;
        shard.commit.silence.end();
        let Err(error) = written else { return Ok(()) };
        let Some(shortage) = Shortage::of(&error).filter(|_| !shard.is_stopping()) else {
            return Err(error);
        };
        shard.on_shortage(shortage);
        let now = shard.io.now();
        cargo.batches.iter().for_each(|(partition, _)| partition.refuse_waiting(now));
        shard.next_try().await;
    }
}

#[must_use]
pub fn journal_dir(shard: usize) -> String {
    format!("journal/{shard}")
}

#[must_use]
pub fn journal_path(shard: usize, file: usize) -> String {
    format!("journal/{shard}/{file:03}.journal")
}

/// Makes the files without which no batch is journaled. Before the first frame.
pub async fn make_first_files<I: Io>(shard: &Rc<Shard<I>>) -> Result<(), StoreError> {
    make_files(shard, 0..JournalPlan::FILE_COUNT_MIN).await
}

/// Makes the next file in the background if one will be wanted: no frame waits for its blocks.
fn grow<I: Io>(shard: &Rc<Shard<I>>) {
    let next = shard.commit.plan.borrow().next_unmade();
    let Some(file) = next.filter(|_| !shard.commit.is_making.replace(true)) else { return };
    let shard = Rc::clone(shard);
    let io = shard.io.clone();
    io.spawn(Class::Background, async move {
        if let Err(error) = make_files(&shard, file..file + 1).await {
            shard.commit.plan.borrow_mut().stop_growth();
            on_growth_failed(&shard, file, error);
        }
        shard.commit.is_making.set(false);
        shard.commit.made.ring();
    });
}

/// The journal goes on with what it has: more checkpoints are made.
fn on_growth_failed<I: Io>(shard: &Rc<Shard<I>>, file: usize, error: StoreError) {
    match error {
        StoreError::Short(shortage, error) => {
            tracing::warn!(%error, file, "there is no room for one more journal file");
            shard.on_shortage(shortage);
        }
        StoreError::Failed(error) => {
            shard.recorder.borrow_mut().add(Metric::DiskErrors, 1);
            tracing::error!(%error, file, "one more journal file could not be made");
        }
    }
    shard.commit.press();
}

/// Makes the next journal files side by side: they share the device's flushes.
async fn make_files<I: Io>(shard: &Shard<I>, files: Range<usize>) -> Result<(), StoreError> {
    let count = files.len();
    let mut made = parallel::try_all(files.map(|file| make_file(shard, file)), count).await?;
    shard.io.sync_dir(&journal_dir(shard.index)).await.map_err(StoreError::of_sync)?;
    made.sort_unstable_by_key(|(file, _)| *file);
    for (file, opened) in made {
        shard.commit.files.borrow_mut().push(opened);
        shard.commit.plan.borrow_mut().on_made(file);
    }
    Ok(())
}

/// Makes a journal file whose every block has been written: a durable write into it moves no metadata,
/// and needs no room. Its name is yet to be made durable.
async fn make_file<I: Io>(shard: &Shard<I>, file: usize) -> Result<(usize, I::File), StoreError> {
    let path = journal_path(shard.index, file);
    let opened = shard.io.open(&path, Open::CreateDirect).await?;
    let wanted = shard.commit.plan.borrow().limits().file_bytes;
    let there = shard.io.file_bytes(&opened).await?;
    if there < wanted
        && let Err(error) = fill(shard, &opened, there, wanted).await
    {
        // What is there may be of the generation before; what is new must not take room.
        shard.io.truncate(&opened, there).await?;
        return Err(error.into());
    }
    // Also of a file that is there: a run that was killed may have made it, and not durably.
    shard.io.sync(&opened).await.map_err(StoreError::of_sync)?;
    Ok((file, opened))
}

/// Writes zeros behind what a file has.
async fn fill<I: Io>(shard: &Shard<I>, file: &I::File, there: u64, wanted: u64) -> io::Result<()> {
    let mut zeros = shard.wait_for_block(FRAME_BYTES_MAX).await;
    zeros.append_with(|buffer| {
        buffer.fill(0);
        buffer.len()
    });
    let block = u64::try_from(BLOCK_BYTES).expect("4096 fits");
    let mut pos = there.next_multiple_of(block);
    while pos < wanted {
        let bytes = zeros.filled().min(usize::try_from(wanted - pos).unwrap_or(usize::MAX));
        shard.io.write(file, pos, vec![zeros.disk(0..bytes)], Sync::Lazy).await?;
        pos += u64::try_from(bytes).expect("a block's bytes fit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Commit, NOWHERE, Note, Offset, Which};
    use crate::sim::SimIo;

    #[test]
    fn a_nearly_full_journal_takes_what_a_checkpoint_needs() {
        let commit = Commit::<SimIo>::default();
        let log_start = |raw| Note::LogStart { partition: NOWHERE, log_start: Offset::new(raw) };
        let (segment, durable_end) = (Offset::ZERO, Offset::ZERO);
        let _asked = commit.note(log_start(1));
        let _intent = commit.note(Note::Intent { partition: NOWHERE, segment, durable_end });
        // As `carry` does for a closed partition.
        let _carried = commit.push_note(log_start(2), |queue| &mut queue.needed);
        let mut queue = commit.queue.borrow_mut();
        let mut next = |which| queue.next_note(which).map(|(note, _)| note);
        assert!(matches!(next(Which::Needed), Some(Note::Intent { .. })));
        let carried = next(Which::Needed);
        assert!(matches!(carried, Some(Note::LogStart { log_start, .. }) if log_start.get() == 2));
        assert!(next(Which::Needed).is_none());
        assert!(next(Which::All).is_some());
    }
}
