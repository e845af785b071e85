//! Judges a history, event by event, in linear time: what was promised, against what was seen.
//!
//! It knows no broker and no time, only the order of events: what was answered before a question was
//! asked binds the question's answer. What it needs from the recorder: a question is recorded before it
//! is sent, an answer after it came, and a reader asks one thing at a time.
//!
//! Of a log that is acknowledged from memory, a crash may take the newest records, and only those: the
//! loss is counted, a hole is a violation. Of damage it is told which offsets it concerns: reads of these
//! may be refused, no others.
//!
//! | what is checked | where | planted in the test |
//! |---|---|---|
//! | nothing acknowledged is lost, or moved | `Lost`, `NotInRange`, `Changed` | `an_acked_record_that_nobody_finds_is_lost`, `a_record_stands_where_it_was_acked` |
//! | one offset has one value, for ever | `Changed` | `a_record_stands_where_it_was_acked` |
//! | no duplicate | `Twice` | `a_deduplicated_record_stands_once_and_a_plain_one_as_often_as_sent` |
//! | the order of each producer | `Disordered` | `a_writers_records_keep_their_order` |
//! | no phantom, no corruption, no foreign record | `Phantom`, `Misplaced`, `Refused` | `nobodys_records_are_phantoms`, `a_refused_record_never_shows` |
//! | a poll skips nothing and goes back nowhere | `Skipped` | `a_reader_gets_the_next_record_below_the_high_watermark` |
//! | high watermark and log start never go back, all is stable | `WatermarkBack`, `Early`, `StartBack`, `StartAhead`, `Unstable` | `deleted_records_stay_deleted_and_others_stay`, `without_a_transaction_all_that_is_readable_is_stable` |
//! | what is acknowledged is seen by whoever asks afterwards | `WatermarkBack` | `what_was_acked_is_seen_by_whoever_asks_afterwards` |
//! | a crash takes what its class allows, from the end | `Changed`, `WatermarkBack` | `a_log_acknowledged_from_memory_may_lose_its_end_but_has_no_hole` |
//! | damage is refused, exactly | `NotDamaged`, `NotNoticed`, `Skipped` | `only_reads_of_what_is_damaged_are_refused_and_those_are`; in whole runs, the tests of `scenario.rs` |
//! | after the last fault all goes on; no answer takes long without a fault | `Check::Liveness`, `Check::Patience` | the tests of `scenario.rs` |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use engine::id::Offset;

use crate::sim::history::{
    Durability, Event, LogId, ReaderId, Retries, Seen, Value, WriterId, is_tombstone, key_of,
};

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The log ends before what was acknowledged, or read, at `offset`.
    Lost { log: LogId, offset: Offset },
    /// One offset with two values.
    Changed { log: LogId, offset: Offset, was: (WriterId, u64), is: (WriterId, u64) },
    /// One record at two offsets.
    Twice { log: LogId, writer: WriterId, sequence: u64, first: Offset, second: Offset },
    /// A writer's records in another order than it sent them.
    Disordered { log: LogId, writer: WriterId, offset: Offset },
    /// A record that nobody sent, or whose bytes changed.
    Phantom { log: LogId, offset: Offset },
    /// A record that was sent to another log.
    Misplaced { log: LogId, offset: Offset, home: LogId },
    /// A record that the broker had refused.
    Refused { log: LogId, offset: Offset },
    /// A record of a compacted log is gone, though it is the last of its key.
    Vanished { log: LogId, offset: Offset },
    /// A reader got another offset than the next.
    Skipped { log: LogId, want: Offset, got: Offset },
    /// A record past the high watermark.
    Early { log: LogId, offset: Offset },
    /// Records below the high watermark that do not count as stable, though there is no transaction.
    Unstable { log: LogId, last_stable: Offset, high_watermark: Offset },
    /// The high watermark is below what an earlier answer showed.
    WatermarkBack { log: LogId, was: Offset, is: Offset },
    /// The log starts below what an earlier answer showed: deleted records are back.
    StartBack { log: LogId, was: Offset, is: Offset },
    /// The log starts past what anybody asked to delete.
    StartAhead { log: LogId, asked: Offset, is: Offset },
    /// A refused read of a record that nobody damaged.
    NotDamaged { log: LogId, position: Offset },
    /// Damage that the last reads of the log did not meet.
    NotNoticed { log: LogId, offset: Offset },
    /// Nothing at an offset that lies in the log.
    NotInRange { log: LogId, position: Offset },
    /// Nobody read the log to its end at the end.
    NotRead { log: LogId },
    /// The history itself is wrong: an answer without a question, an unknown log.
    Senseless,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

type Record = (WriterId, u64);

/// What stood at an offset, as of some era: they are counted by crashes.
#[derive(Clone, Copy)]
struct Known {
    record: Record,
    era: u64,
}

struct Log {
    durability: Durability,
    is_ending: bool,
    is_final: bool,
    /// By offset: what was acknowledged or read there.
    known: Vec<Option<Known>>,
    /// What a crash took, of a log acknowledged from memory.
    lost: BTreeMap<Offset, Record>,
    bounds: Bounds,
    /// No deletion was asked beyond this.
    start_asked: Offset,
    damages: Vec<Damaged>,
    /// Of one that is compacted.
    keys: Option<Keys>,
}

/// What must stay of a compacted log.
#[derive(Default)]
struct Keys {
    /// The highest offset that is known of each key.
    last: BTreeMap<u64, Offset>,
    /// Markers of deleted keys before it may be gone.
    forgotten: Offset,
    /// Records that the last whole reading has found.
    count: usize,
}

/// Offsets whose stored bytes are not what was written.
#[derive(Clone, Copy)]
struct Damaged {
    first: Offset,
    end: Offset,
    is_lasting: bool,
    /// The last read of the whole log met it.
    is_met: bool,
}

/// What an answer has shown of a log.
#[derive(Clone, Copy, Default)]
struct Bounds {
    log_start: Offset,
    high_watermark: Offset,
}

struct Write {
    sent_count: u32,
    /// How many offsets are known to hold it.
    place_count: u32,
    place: Offset,
    /// When it was last sent.
    era: u64,
    is_acked: bool,
    is_refused: bool,
}

#[derive(Default)]
struct Writes {
    /// By sequence.
    writes: Vec<Write>,
}

struct Question {
    log: LogId,
    position: Offset,
    /// What answers before it had shown.
    bounds: Bounds,
    /// Up to here the log was known.
    known_end: Offset,
    era: u64,
}

/// How far a reader has come without a gap.
#[derive(Clone)]
struct Coverage {
    start: Offset,
    next: Offset,
    /// Of a compacted log: what it has seen.
    seen: BTreeSet<Offset>,
    /// What was known of the log before its last question.
    owed_end: Offset,
}

/// Counts, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent_count: u64,
    pub acked_count: u64,
    pub read_count: u64,
    /// Records that logs acknowledged from memory have lost.
    pub lost_count: u64,
    pub crash_count: u64,
}

pub struct Checker {
    run: u32,
    logs: BTreeMap<LogId, Log>,
    writers: BTreeMap<WriterId, Retries>,
    writes: BTreeMap<(LogId, WriterId), Writes>,
    questions: BTreeMap<ReaderId, Question>,
    coverage: BTreeMap<(ReaderId, LogId), Coverage>,
    tally: Tally,
}

impl Checker {
    #[must_use]
    pub const fn new(run: u32) -> Self {
        Self {
            run,
            logs: BTreeMap::new(),
            writers: BTreeMap::new(),
            writes: BTreeMap::new(),
            questions: BTreeMap::new(),
            coverage: BTreeMap::new(),
            tally: Tally {
                sent_count: 0,
                acked_count: 0,
                read_count: 0,
                lost_count: 0,
                crash_count: 0,
            },
        }
    }

    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Records that the last whole reading of a compacted log has found.
    #[must_use]
    pub fn count_left(&self, log: LogId) -> Option<usize> {
        Some(self.logs.get(&log)?.keys.as_ref()?.count)
    }

    /// Where what is known of a log ends.
    #[must_use]
    pub fn known_end(&self, log: LogId) -> Offset {
        self.logs.get(&log).map_or(Offset::ZERO, Log::known_end)
    }

    pub fn on(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::LogMade { log, durability } => {
                let old = self.logs.insert(*log, Log::new(*durability));
                if old.is_some() { Err(Violation::Senseless) } else { Ok(()) }
            }
            Event::LogEnding { log } => {
                self.log(*log)?.is_ending = true;
                Ok(())
            }
            Event::Compacted { log } => {
                self.log(*log)?.keys = Some(Keys::default());
                Ok(())
            }
            Event::Forgetting { log, before } => self.on_forgetting(*log, *before),
            Event::WriterMade { writer, retries } => {
                let old = self.writers.insert(*writer, *retries);
                if old.is_some() { Err(Violation::Senseless) } else { Ok(()) }
            }
            Event::Sent { writer, log, first, count } => {
                self.on_sent(*writer, *log, *first, *count)
            }
            Event::Acked { writer, log, first, count, base } => {
                self.on_acked((*writer, *first), *log, *count, *base)
            }
            Event::Refused { writer, log, first, count } => {
                for sequence in *first..*first + u64::from(*count) {
                    self.write(*log, (*writer, sequence)).ok_or(Violation::Senseless)?.is_refused =
                        true;
                }
                Ok(())
            }
            Event::Asked { reader, log, position } => self.on_asked(*reader, *log, *position),
            Event::Unanswered { reader, log } => self.answer(*reader, *log).map(|_| ()),
            Event::Read { reader, log, log_start, last_stable, high_watermark, seen, next } => {
                check_stable(*log, *last_stable, *high_watermark)?;
                let bounds = Bounds { log_start: *log_start, high_watermark: *high_watermark };
                self.on_read(*reader, *log, bounds, (seen, *next))
            }
            Event::OutOfRange { reader, log, .. } => self.on_out_of_range(*reader, *log),
            Event::FoundStart { reader, log, log_start } => {
                let before = self.answer(*reader, *log)?.bounds;
                self.log(*log)?.on_start(*log, before, *log_start)
            }
            Event::FoundEnd { reader, log, high_watermark } => {
                let before = self.answer(*reader, *log)?.bounds;
                self.on_high_watermark(*log, before, *high_watermark)
            }
            Event::Cutting { log, before } => {
                let log = self.log(*log)?;
                log.start_asked = log.start_asked.max(*before);
                Ok(())
            }
            Event::Cut { log, log_start } => {
                self.log(*log)?.on_start(*log, Bounds::default(), *log_start)
            }
            Event::Crashed => {
                self.on_crashed();
                Ok(())
            }
            Event::Damaged { log, first, end, is_lasting } => {
                let (first, end, is_lasting) = (*first, *end, *is_lasting);
                let damaged = Damaged { first, end, is_lasting, is_met: false };
                self.log(*log)?.damages.push(damaged);
                Ok(())
            }
            Event::Corrupt { reader, log } => self.on_corrupt(*reader, *log),
            Event::Final { reader, log } => self.on_final(*reader, *log),
        }
    }

    /// The history is over: every log that nobody deleted has been read whole.
    pub fn finish(&self) -> Result<(), Violation> {
        let unread = self.logs.iter().find(|(_, log)| !log.is_ending && !log.is_final);
        if let Some((log, _)) = unread {
            return Err(Violation::NotRead { log: *log });
        }
        for (log, state) in self.logs.iter().filter(|(_, state)| !state.is_ending) {
            let is_stored = |it: &&Damaged| state.bounds.log_start <= it.first && it.is_lasting;
            let mut stored = state.damages.iter().filter(is_stored);
            if let Some(damaged) = stored.find(|it| !it.is_met) {
                return Err(Violation::NotNoticed { log: *log, offset: damaged.first });
            }
        }
        self.logs.iter().try_for_each(|(id, log)| self.check_order(*id, log))
    }

    fn on_sent(
        &mut self,
        writer: WriterId,
        log: LogId,
        first: u64,
        count: u32,
    ) -> Result<(), Violation> {
        if !self.writers.contains_key(&writer) || !self.logs.contains_key(&log) {
            return Err(Violation::Senseless);
        }
        self.tally.sent_count += u64::from(count);
        let writes = &mut self.writes.entry((log, writer)).or_default().writes;
        for sequence in first..first + u64::from(count) {
            let index = usize::try_from(sequence).expect("a history fits in memory");
            if index > writes.len() {
                return Err(Violation::Senseless);
            }
            if index == writes.len() {
                writes.push(Write {
                    sent_count: 0,
                    place_count: 0,
                    place: Offset::ZERO,
                    era: 0,
                    is_acked: false,
                    is_refused: false,
                });
            }
            writes[index].sent_count += 1;
            writes[index].era = self.tally.crash_count;
        }
        Ok(())
    }

    fn on_acked(
        &mut self,
        (writer, first): Record,
        log: LogId,
        count: u32,
        base: Offset,
    ) -> Result<(), Violation> {
        self.tally.acked_count += u64::from(count);
        for index in 0..count {
            let record = (writer, first + u64::from(index));
            let write = self.write(log, record).ok_or(Violation::Senseless)?;
            write.is_acked = true;
            let era = write.era;
            self.learn(log, base.plus(i64::from(index)), Known { record, era })?;
        }
        let bounds = &mut self.log(log)?.bounds;
        bounds.high_watermark = bounds.high_watermark.max(base.plus(i64::from(count)));
        Ok(())
    }

    fn on_asked(
        &mut self,
        reader: ReaderId,
        log: LogId,
        position: Offset,
    ) -> Result<(), Violation> {
        let state = self.log(log)?;
        let (bounds, known_end) = (state.bounds, state.known_end());
        let era = self.tally.crash_count;
        let question = Question { log, position, bounds, known_end, era };
        let old = self.questions.insert(reader, question);
        if old.is_some() { Err(Violation::Senseless) } else { Ok(()) }
    }

    fn on_read(
        &mut self,
        reader: ReaderId,
        log: LogId,
        bounds: Bounds,
        (seen, end): (&[Seen], Offset),
    ) -> Result<(), Violation> {
        let question = self.answer(reader, log)?;
        self.log(log)?.on_start(log, question.bounds, bounds.log_start)?;
        self.on_high_watermark(log, question.bounds, bounds.high_watermark)?;
        let mut next = question.position;
        for Seen { offset, value } in seen {
            self.on_skipped(log, next, *offset)?;
            if *offset >= bounds.high_watermark {
                return Err(Violation::Early { log, offset: *offset });
            }
            let value = value.filter(|value| value.run == self.run);
            let Value { log: home, writer, sequence, .. } =
                value.ok_or(Violation::Phantom { log, offset: *offset })?;
            if home != log {
                return Err(Violation::Misplaced { log, offset: *offset, home });
            }
            let record = (writer, sequence);
            self.learn(log, *offset, Known { record, era: question.era })?;
            self.tally.read_count += 1;
            next = offset.plus(1);
        }
        self.on_skipped(log, next, end)?;
        self.cover(reader, &question, seen, end)
    }

    /// The reader has come from the question's position to `end`.
    fn cover(
        &mut self,
        reader: ReaderId,
        question: &Question,
        seen: &[Seen],
        end: Offset,
    ) -> Result<(), Violation> {
        let Question { log, position, known_end: owed_end, .. } = *question;
        let fresh = Coverage { start: position, next: position, seen: BTreeSet::new(), owed_end };
        let is_compacted = self.log(log)?.keys.is_some();
        let coverage = self.coverage.entry((reader, log)).or_insert_with(|| fresh.clone());
        if coverage.next != position {
            *coverage = fresh;
        }
        if is_compacted {
            coverage.seen.extend(seen.iter().map(|it| it.offset));
        }
        coverage.next = end;
        coverage.owed_end = owed_end;
        Ok(())
    }

    /// A read was refused because of damage. The reader goes on behind the one record.
    fn on_corrupt(&mut self, reader: ReaderId, log: LogId) -> Result<(), Violation> {
        let question = self.answer(reader, log)?;
        let position = question.position;
        let damages = &mut self.log(log)?.damages;
        let mut met = damages.iter_mut().filter(|it| it.first <= position && position < it.end);
        let Some(first) = met.next() else {
            return Err(Violation::NotDamaged { log, position });
        };
        for damaged in std::iter::once(first).chain(met) {
            damaged.is_met |= damaged.first == position;
        }
        self.cover(reader, &question, &[], position.plus(1))
    }

    fn on_out_of_range(&mut self, reader: ReaderId, log: LogId) -> Result<(), Violation> {
        let Question { position, bounds, .. } = self.answer(reader, log)?;
        let state = self.log(log)?;
        let may_be_cut = position < state.start_asked;
        let may_be_lost = position > bounds.high_watermark;
        if may_be_cut || may_be_lost || state.is_ending {
            Ok(())
        } else if state.durability == Durability::Memory {
            self.lose(log, position)
        } else {
            Err(Violation::NotInRange { log, position })
        }
    }

    fn on_forgetting(&mut self, log: LogId, before: Offset) -> Result<(), Violation> {
        let keys = self.log(log)?.keys.as_mut().ok_or(Violation::Senseless)?;
        keys.forgotten = keys.forgotten.max(before);
        Ok(())
    }

    fn on_high_watermark(
        &mut self,
        log: LogId,
        before: Bounds,
        is: Offset,
    ) -> Result<(), Violation> {
        let state = self.log(log)?;
        let was = before.high_watermark;
        if is >= was || state.durability == Durability::Memory {
            state.bounds.high_watermark = state.bounds.high_watermark.max(is);
            return Ok(());
        }
        Err(Violation::WatermarkBack { log, was, is })
    }

    fn on_crashed(&mut self) {
        self.tally.crash_count += 1;
        for log in self.logs.values_mut() {
            if log.durability == Durability::Memory {
                log.bounds.high_watermark = Offset::ZERO;
            }
            // Now nothing but the device has the bytes.
            log.damages.iter_mut().for_each(|damaged| damaged.is_met = false);
        }
    }

    fn on_final(&mut self, reader: ReaderId, log: LogId) -> Result<(), Violation> {
        let coverage = self.coverage.get(&(reader, log)).cloned();
        let Some(Coverage { start, next, seen, owed_end }) = coverage else {
            return Err(Violation::NotRead { log });
        };
        let state = self.log(log)?;
        if start > state.start_asked {
            return Err(Violation::NotRead { log });
        }
        state.is_final = true;
        for (offset, (writer, sequence)) in state.unseen_last(start..next, &seen) {
            if !self.has_unplaced(log, key_of(writer, sequence), is_tombstone) {
                return Err(Violation::Vanished { log, offset });
            }
        }
        let state = self.log(log)?;
        if next < owed_end {
            if state.durability == Durability::Device {
                return Err(Violation::Lost { log, offset: next });
            }
            self.lose(log, next)?;
        }
        Ok(())
    }

    /// A log acknowledged from memory ended at `end` after some crash: what was known past it before
    /// the last crash is lost.
    fn lose(&mut self, log: LogId, end: Offset) -> Result<(), Violation> {
        let now = self.tally.crash_count;
        let state = self.log(log)?;
        let mut lost = Vec::new();
        for (index, slot) in state.known.iter_mut().enumerate().skip(place(end)) {
            if let Some(Known { record, .. }) = slot.take_if(|known| known.era < now) {
                let offset = Offset::new(i64::try_from(index).expect("a history fits in memory"));
                state.lost.insert(offset, record);
                lost.push(record);
            }
        }
        while state.known.last().is_some_and(Option::is_none) {
            state.known.pop();
        }
        for record in lost {
            self.tally.lost_count += 1;
            self.write(log, record).ok_or(Violation::Senseless)?.place_count -= 1;
        }
        Ok(())
    }

    /// The record is at the offset, for ever.
    fn learn(&mut self, log: LogId, offset: Offset, known: Known) -> Result<(), Violation> {
        let Known { record, era } = known;
        let (writer, sequence) = record;
        let now = self.tally.crash_count;
        let state = self.log(log)?;
        if let Some(slot) = state.known.get_mut(place(offset)).and_then(Option::as_mut) {
            if slot.record == record {
                slot.era = slot.era.max(era);
                return Ok(());
            }
            let changed = Violation::Changed { log, offset, was: slot.record, is: record };
            match state.durability {
                // The answer is older than the crash that took it.
                Durability::Memory if era < slot.era => return Ok(()),
                Durability::Memory if slot.era < now => self.lose(log, offset)?,
                Durability::Memory | Durability::Device => return Err(changed),
            }
        }
        let state = self.log(log)?;
        if state.lost.get(&offset) == Some(&record) {
            let write = self.write(log, record).ok_or(Violation::Senseless)?;
            if write.is_acked && era == now {
                return Err(Violation::Changed { log, offset, was: record, is: record });
            }
        }
        let state = self.log(log)?;
        if state.known.len() <= place(offset) {
            state.known.resize(place(offset) + 1, None);
        }
        state.known[place(offset)] = Some(known);
        let retries = self.writers.get(&writer).copied();
        let phantom = Violation::Phantom { log, offset };
        let write = self.write(log, record).ok_or(phantom)?;
        if write.is_refused {
            return Err(Violation::Refused { log, offset });
        }
        let place_count_max = match retries.ok_or(phantom)? {
            Retries::Deduplicated => 1,
            Retries::Plain => write.sent_count,
        };
        if write.place_count == place_count_max {
            return Err(Violation::Twice {
                log,
                writer,
                sequence,
                first: write.place,
                second: offset,
            });
        }
        write.place_count += 1;
        write.place = offset;
        if let Some(keys) = &mut self.log(log)?.keys {
            let last = keys.last.entry(key_of(writer, sequence)).or_insert(offset);
            *last = offset.max(*last);
        }
        Ok(())
    }

    /// A reader that was at `from` went on at `until`, and saw nothing between them.
    fn on_skipped(&mut self, log: LogId, from: Offset, until: Offset) -> Result<(), Violation> {
        let state = self.log(log)?;
        if from == until {
            return Ok(());
        }
        if state.keys.is_none() || until < from {
            return Err(Violation::Skipped { log, want: from, got: until });
        }
        let skipped = (from.get()..until.get()).map(Offset::new);
        let vanished: Vec<(Offset, Record)> =
            skipped.filter_map(|it| state.only_of_key(it).map(|record| (it, record))).collect();
        for (offset, (writer, sequence)) in vanished {
            // One whose place nobody knows may have come after it.
            if !self.has_unplaced(log, key_of(writer, sequence), |_, _| true) {
                return Err(Violation::Vanished { log, offset });
            }
        }
        Ok(())
    }

    /// Whether a record of this key, and of this kind, may stand where nobody has seen it yet.
    fn has_unplaced(&self, log: LogId, key: u64, is_kind: impl Fn(WriterId, u64) -> bool) -> bool {
        let of_log = self.writes.range((log, WriterId(0))..=(log, WriterId(u32::MAX)));
        of_log.into_iter().any(|((_, writer), writes)| {
            let places_max = |write: &Write| match self.writers.get(writer) {
                Some(Retries::Plain) => write.sent_count,
                Some(Retries::Deduplicated) | None => 1,
            };
            let is_it = |sequence| key_of(*writer, sequence) == key && is_kind(*writer, sequence);
            let of_key = (0..).zip(&writes.writes).filter(|it| is_it(it.0));
            of_key.into_iter().any(|(_, write)| write.place_count < places_max(write))
        })
    }

    /// Each writer's records stand in the order in which they were sent.
    fn check_order(&self, id: LogId, log: &Log) -> Result<(), Violation> {
        let mut next: BTreeMap<WriterId, u64> = BTreeMap::new();
        for (index, record) in log.known.iter().enumerate() {
            let Some(Known { record: (writer, sequence), .. }) = *record else { continue };
            let next = next.entry(writer).or_default();
            let is_again = self.writers.get(&writer) == Some(&Retries::Plain);
            if sequence < *next && !is_again {
                let offset = Offset::new(i64::try_from(index).expect("a history fits in memory"));
                return Err(Violation::Disordered { log: id, writer, offset });
            }
            *next = (*next).max(sequence + 1);
        }
        Ok(())
    }

    fn answer(&mut self, reader: ReaderId, log: LogId) -> Result<Question, Violation> {
        let question = self.questions.remove(&reader).ok_or(Violation::Senseless)?;
        if question.log == log { Ok(question) } else { Err(Violation::Senseless) }
    }

    fn log(&mut self, log: LogId) -> Result<&mut Log, Violation> {
        self.logs.get_mut(&log).ok_or(Violation::Senseless)
    }

    fn write(&mut self, log: LogId, (writer, sequence): Record) -> Option<&mut Write> {
        let writes = &mut self.writes.get_mut(&(log, writer))?.writes;
        writes.get_mut(usize::try_from(sequence).ok()?)
    }
}

/// There are no transactions.
fn check_stable(log: LogId, last_stable: Offset, high_watermark: Offset) -> Result<(), Violation> {
    if last_stable == high_watermark {
        Ok(())
    } else {
        Err(Violation::Unstable { log, last_stable, high_watermark })
    }
}

impl Log {
    const fn new(durability: Durability) -> Self {
        Self {
            durability,
            is_ending: false,
            is_final: false,
            known: Vec::new(),
            lost: BTreeMap::new(),
            bounds: Bounds { log_start: Offset::ZERO, high_watermark: Offset::ZERO },
            start_asked: Offset::ZERO,
            damages: Vec::new(),
            keys: None,
        }
    }

    /// The record at `offset`, if it must be there as long as no other of its key comes.
    fn only_of_key(&self, offset: Offset) -> Option<Record> {
        let keys = self.keys.as_ref()?;
        let record = self.known.get(place(offset)).copied().flatten()?.record;
        let (writer, sequence) = record;
        let is_last = keys.last.get(&key_of(writer, sequence)) == Some(&offset);
        let is_forgotten = is_tombstone(writer, sequence) && offset < keys.forgotten;
        (is_last && !is_forgotten).then_some(record)
    }

    /// A reader has read all of `range`, and found `seen`. Gives those that it should have found, too,
    /// unless a tombstone that nobody saw came after them.
    fn unseen_last(
        &mut self,
        range: Range<Offset>,
        seen: &BTreeSet<Offset>,
    ) -> Vec<(Offset, Record)> {
        let Some(keys) = &mut self.keys else { return Vec::new() };
        keys.count = seen.len();
        let last: Vec<Offset> = keys.last.values().copied().collect();
        let missing = last.into_iter().filter(|it| range.contains(it) && !seen.contains(it));
        missing.filter_map(|it| self.only_of_key(it).map(|record| (it, record))).collect()
    }

    fn known_end(&self) -> Offset {
        Offset::new(i64::try_from(self.known.len()).expect("a history fits in memory"))
    }

    fn on_start(&mut self, log: LogId, before: Bounds, is: Offset) -> Result<(), Violation> {
        if is < before.log_start {
            return Err(Violation::StartBack { log, was: before.log_start, is });
        }
        if is > self.start_asked {
            return Err(Violation::StartAhead { log, asked: self.start_asked, is });
        }
        self.bounds.log_start = self.bounds.log_start.max(is);
        Ok(())
    }
}

fn place(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("a history fits in memory")
}

#[cfg(test)]
mod tests {
    use engine::id::Offset;

    use super::{Checker, Tally, Violation};
    use crate::sim::history::{
        Durability, Event, LogId, ReaderId, Retries, Seen, Value, WriterId, is_tombstone, key_of,
    };

    const LOG: LogId = LogId(1);
    const OTHER: LogId = LogId(2);
    const WRITER: WriterId = WriterId(1);
    const PLAIN: WriterId = WriterId(2);
    const READER: ReaderId = ReaderId(1);

    fn at(offset: i64) -> Offset {
        Offset::new(offset)
    }

    const fn sent(writer: WriterId, first: u64, count: u32) -> Event {
        Event::Sent { writer, log: LOG, first, count }
    }

    fn acked(writer: WriterId, first: u64, count: u32, base: i64) -> Event {
        Event::Acked { writer, log: LOG, first, count, base: at(base) }
    }

    fn asked(position: i64) -> Event {
        Event::Asked { reader: READER, log: LOG, position: at(position) }
    }

    fn read(first: i64, high_watermark: i64, sequences: &[u64]) -> Event {
        let values = sequences.iter().map(|sequence| Value {
            run: 9,
            log: LOG,
            writer: WRITER,
            sequence: *sequence,
        });
        let seen = (first..).map(at).zip(values);
        let seen = seen.map(|(offset, value)| Seen { offset, value: Some(value) }).collect();
        let next = at(first + i64::try_from(sequences.len()).unwrap());
        answer(high_watermark, seen, next)
    }

    fn answer(high_watermark: i64, seen: Vec<Seen>, next: Offset) -> Event {
        let (reader, log, log_start) = (READER, LOG, Offset::ZERO);
        let (last_stable, high_watermark) = (at(high_watermark), at(high_watermark));
        Event::Read { reader, log, log_start, last_stable, high_watermark, seen, next }
    }

    const FINAL: Event = Event::Final { reader: READER, log: LOG };

    /// Runs the events on two logs and two writers.
    #[track_caller]
    fn check_with(durability: Durability, events: &[Event], want: Result<Tally, Violation>) {
        let mut checker = Checker::new(9);
        let made = [
            Event::LogMade { log: LOG, durability },
            Event::LogMade { log: OTHER, durability },
            Event::LogEnding { log: OTHER },
            Event::WriterMade { writer: WRITER, retries: Retries::Deduplicated },
            Event::WriterMade { writer: PLAIN, retries: Retries::Plain },
        ];
        let judged = made.iter().chain(events).try_for_each(|event| checker.on(event));
        assert_eq!(judged.and_then(|()| checker.finish()).map(|()| checker.tally()), want);
    }

    #[track_caller]
    fn check(events: &[Event], want: Result<(u64, u64), Violation>) {
        let want = want.map(|(acked_count, read_count)| {
            let sent = events.iter().map(|event| match event {
                Event::Sent { count, .. } => u64::from(*count),
                _ => 0,
            });
            Tally { sent_count: sent.sum(), acked_count, read_count, ..Tally::default() }
        });
        check_with(Durability::Device, events, want);
    }

    #[test]
    fn what_was_acked_and_read_is_sound() {
        let events =
            [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0), asked(0), read(0, 2, &[0, 1]), FINAL];
        check(&events, Ok((2, 2)));
    }

    #[test]
    fn an_acked_record_that_nobody_finds_is_lost() {
        let events = [
            asked(0),
            sent(WRITER, 0, 2),
            acked(WRITER, 0, 2, 0),
            read(0, 1, &[]),
            asked(0),
            read(0, 1, &[]),
        ];
        check(&events, Err(Violation::WatermarkBack { log: LOG, was: at(2), is: at(1) }));
        let events = [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0)];
        check(&events, Err(Violation::NotRead { log: LOG }));
        let events =
            [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0), asked(0), read(0, 2, &[0]), FINAL];
        check(&events, Err(Violation::Lost { log: LOG, offset: at(1) }));
    }

    #[test]
    fn what_was_acked_is_seen_by_whoever_asks_afterwards() {
        let found = Event::FoundEnd { reader: READER, log: LOG, high_watermark: at(1) };
        let events = [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0), asked(0), found];
        check(&events, Err(Violation::WatermarkBack { log: LOG, was: at(2), is: at(1) }));
    }

    #[test]
    fn without_a_transaction_all_that_is_readable_is_stable() {
        let (last_stable, high_watermark) = (at(1), at(2));
        let read = Event::Read {
            reader: READER,
            log: LOG,
            log_start: at(0),
            last_stable,
            high_watermark,
            seen: Vec::new(),
            next: at(0),
        };
        let events = [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0), asked(0), read];
        check(&events, Err(Violation::Unstable { log: LOG, last_stable, high_watermark }));
    }

    #[test]
    fn only_reads_of_what_is_damaged_are_refused_and_those_are() {
        let damaged = Event::Damaged { log: LOG, first: at(1), end: at(2), is_lasting: true };
        let corrupt = Event::Corrupt { reader: READER, log: LOG };
        let read_to = |first, sequences: &[u64]| [asked(first), read(first, 3, sequences)];
        let written = [sent(WRITER, 0, 3), acked(WRITER, 0, 3, 0), damaged];
        let refused = [asked(1), corrupt.clone()];
        let around = [read_to(0, &[0]), refused, read_to(2, &[2])].concat();
        let events = [written.to_vec(), around, vec![FINAL]].concat();
        check(&events, Ok((3, 2)));
        let events = [written.to_vec(), read_to(0, &[0, 1, 2]).to_vec(), vec![FINAL]].concat();
        check(&events, Err(Violation::NotNoticed { log: LOG, offset: at(1) }));
        let events = [written.to_vec(), vec![asked(2), corrupt]].concat();
        check(&events, Err(Violation::NotDamaged { log: LOG, position: at(2) }));
        // A hole served as if nothing had been there.
        let events = [written.to_vec(), vec![asked(0), read(0, 3, &[0]), asked(1)]].concat();
        let events = [events, vec![read(2, 3, &[2])]].concat();
        check(&events, Err(Violation::Skipped { log: LOG, want: at(1), got: at(2) }));
    }

    #[test]
    fn a_record_stands_where_it_was_acked() {
        let events = [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0), asked(0), read(0, 2, &[1])];
        let (was, is) = ((WRITER, 0), (WRITER, 1));
        check(&events, Err(Violation::Changed { log: LOG, offset: at(0), was, is }));
    }

    #[test]
    fn a_deduplicated_record_stands_once_and_a_plain_one_as_often_as_sent() {
        let twice = |writer| {
            [
                sent(writer, 0, 1),
                sent(writer, 0, 1),
                acked(writer, 0, 1, 0),
                acked(writer, 0, 1, 1),
                acked(writer, 0, 1, 2),
            ]
        };
        let violation = |writer, first, second| Violation::Twice {
            log: LOG,
            writer,
            sequence: 0,
            first: at(first),
            second: at(second),
        };
        check(&twice(WRITER), Err(violation(WRITER, 0, 1)));
        check(&twice(PLAIN), Err(violation(PLAIN, 1, 2)));
    }

    #[test]
    fn a_writers_records_keep_their_order() {
        let events = [
            sent(WRITER, 0, 2),
            acked(WRITER, 1, 1, 0),
            acked(WRITER, 0, 1, 1),
            asked(0),
            read(0, 2, &[1, 0]),
            FINAL,
        ];
        check(&events, Err(Violation::Disordered { log: LOG, writer: WRITER, offset: at(1) }));
    }

    #[test]
    fn nobodys_records_are_phantoms() {
        let events = [sent(WRITER, 0, 1), asked(0), read(0, 5, &[0, 1])];
        check(&events, Err(Violation::Phantom { log: LOG, offset: at(1) }));
        let value = Some(Value { run: 9, log: OTHER, writer: WRITER, sequence: 0 });
        let read = answer(1, vec![Seen { offset: at(0), value }], at(1));
        let misplaced = Violation::Misplaced { log: LOG, offset: at(0), home: OTHER };
        check(&[asked(0), read], Err(misplaced));
    }

    #[test]
    fn a_refused_record_never_shows() {
        let refused = Event::Refused { writer: WRITER, log: LOG, first: 0, count: 1 };
        let events = [sent(WRITER, 0, 1), refused, asked(0), read(0, 1, &[0])];
        check(&events, Err(Violation::Refused { log: LOG, offset: at(0) }));
    }

    #[test]
    fn a_reader_gets_the_next_record_below_the_high_watermark() {
        let events = [sent(WRITER, 0, 3), asked(0), read(1, 3, &[1])];
        check(&events, Err(Violation::Skipped { log: LOG, want: at(0), got: at(1) }));
        let events = [sent(WRITER, 0, 3), asked(1), read(0, 3, &[0])];
        check(&events, Err(Violation::Skipped { log: LOG, want: at(1), got: at(0) }));
        let events = [sent(WRITER, 0, 3), asked(0), read(0, 1, &[0, 1])];
        check(&events, Err(Violation::Early { log: LOG, offset: at(1) }));
    }

    #[test]
    fn deleted_records_stay_deleted_and_others_stay() {
        let cutting = Event::Cutting { log: LOG, before: at(1) };
        let cut = Event::Cut { log: LOG, log_start: at(1) };
        let written = [sent(WRITER, 0, 2), acked(WRITER, 0, 2, 0)];
        let back = [cutting, cut.clone(), asked(0), read(0, 2, &[0])];
        let events = [written.to_vec(), back.to_vec()].concat();
        check(&events, Err(Violation::StartBack { log: LOG, was: at(1), is: at(0) }));
        let events = [written.to_vec(), vec![cut]].concat();
        check(&events, Err(Violation::StartAhead { log: LOG, asked: at(0), is: at(1) }));
        let position = at(1);
        let out_of_range = Event::OutOfRange { reader: READER, log: LOG, position };
        let events = [written.to_vec(), vec![asked(1), out_of_range]].concat();
        check(&events, Err(Violation::NotInRange { log: LOG, position: at(1) }));
    }

    /// The first two records of one key, as sequences; and whether the second deletes it.
    fn two_of_a_key(deletes: bool) -> (u64, u64) {
        let is_second = |(first, second): &(u64, u64)| {
            let is_same = key_of(WRITER, *first) == key_of(WRITER, *second);
            is_same && !is_tombstone(WRITER, *first) && is_tombstone(WRITER, *second) == deletes
        };
        let pairs = (0..50).flat_map(|first| (first + 1..50).map(move |second| (first, second)));
        pairs.into_iter().find(is_second).expect("keys are few")
    }

    /// A log with the records up to `last`, all acknowledged, of which a reader sees these.
    fn compacted(last: u64, seen: &[u64]) -> Vec<Event> {
        let count = u32::try_from(last + 1).unwrap();
        let value = |sequence| Value { run: 9, log: LOG, writer: WRITER, sequence };
        let offset = |sequence| at(i64::try_from(sequence).unwrap());
        let seen =
            seen.iter().map(|it| Seen { offset: offset(*it), value: Some(value(*it)) }).collect();
        let high_watermark = i64::try_from(last + 1).unwrap();
        vec![
            Event::Compacted { log: LOG },
            sent(WRITER, 0, count),
            acked(WRITER, 0, count, 0),
            asked(0),
            answer(high_watermark, seen, at(high_watermark)),
            FINAL,
        ]
    }

    #[track_caller]
    fn check_compacted(events: &[Event], want: Option<i64>) {
        let mut checker = Checker::new(9);
        let made = [
            Event::LogMade { log: LOG, durability: Durability::Device },
            Event::WriterMade { writer: WRITER, retries: Retries::Deduplicated },
        ];
        let judged = made.iter().chain(events).try_for_each(|event| checker.on(event));
        let want = want.map(|it| Violation::Vanished { log: LOG, offset: at(it) });
        assert_eq!(judged.err(), want);
    }

    #[test]
    fn a_compacted_log_may_lack_all_but_the_last_record_of_a_key() {
        let (first, second) = two_of_a_key(false);
        let all: Vec<u64> = (0..=second).collect();
        let without =
            |gone: u64| -> Vec<u64> { all.iter().copied().filter(|it| *it != gone).collect() };
        check_compacted(&compacted(second, &all), None);
        check_compacted(&compacted(second, &without(first)), None);
        let last = i64::try_from(second).unwrap();
        check_compacted(&compacted(second, &without(second)), Some(last));
    }

    #[test]
    fn a_reader_of_a_compacted_log_owes_nothing_of_what_came_after_its_question() {
        let mut events = compacted(1, &[0, 1]);
        let value = Some(Value { run: 9, log: LOG, writer: WRITER, sequence: 0 });
        let read = answer(1, vec![Seen { offset: at(0), value }], at(1));
        events.splice(2..5, [acked(WRITER, 0, 1, 0), asked(0), acked(WRITER, 1, 1, 1), read]);
        check_compacted(&events, None);
    }

    #[test]
    fn a_tombstone_may_go_when_its_time_has_passed() {
        let (_, tombstone) = two_of_a_key(true);
        let all: Vec<u64> = (0..tombstone).collect();
        let last = i64::try_from(tombstone).unwrap();
        let mut events = compacted(tombstone, &all);
        check_compacted(&events, Some(last));
        events.insert(1, Event::Forgetting { log: LOG, before: at(last) });
        check_compacted(&events, Some(last));
        events.insert(1, Event::Forgetting { log: LOG, before: at(last + 1) });
        check_compacted(&events, None);
    }

    #[test]
    fn a_log_acknowledged_from_memory_may_lose_its_end_but_has_no_hole() {
        let start = [sent(WRITER, 0, 3), acked(WRITER, 0, 3, 0), Event::Crashed];
        let lost = [start.to_vec(), vec![asked(0), read(0, 1, &[0]), FINAL]].concat();
        let tally =
            Tally { sent_count: 3, acked_count: 3, read_count: 1, lost_count: 2, crash_count: 1 };
        check_with(Durability::Memory, &lost, Ok(tally));
        let back = Violation::WatermarkBack { log: LOG, was: at(3), is: at(1) };
        check_with(Durability::Device, &lost, Err(back));
        let hole =
            [start.to_vec(), vec![sent(WRITER, 3, 1), asked(0), read(0, 3, &[0, 3, 2])]].concat();
        let changed =
            Violation::Changed { log: LOG, offset: at(2), was: (WRITER, 2), is: (WRITER, 2) };
        check_with(Durability::Memory, &hole, Err(changed));
    }
}
