//! One partition of the simulated shard: its log, its bytes in memory, and what the test knows of it.

use std::collections::{BTreeMap, VecDeque};

use engine::batch::{Batch, Summary};
use engine::epochs::Epochs;
use engine::id::{
    LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicId,
};
use engine::journal::{Entry, FrameWriter};
use engine::log::{Append, Checkpointing, Flush, Journaling, Log, Rules, Seal};
use engine::producers::{BATCHES_REMEMBERED, Producers, SequenceError, Verdict};
use engine::records::builder::BatchBuilder;
use engine::sidecar::Sidecar;

use crate::crash::dice::Dice;
use crate::crash::disk::WriteId;

/// Time stands still, so that what recovery makes anew equals what was.
pub(crate) const NOW: Timestamp = Timestamp::new(1000);

const PRODUCER_COUNT: u64 = 3;

/// From here on a partition's bytes go straight to its segment.
const DIRECT_BYTES: u64 = 6000;

/// A batch as it was stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: Vec<u8>,
    pub(crate) summary: Summary,
    pub(crate) epoch: LeaderEpoch,
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) key: u32,
    pub(crate) log: Log,
    /// Everything ever appended and not lost, from offset 0 on.
    pub(crate) stored: Vec<Stored>,
    /// Batches that a crash lost, as they were sent: their producers send them again.
    pub(crate) lost: VecDeque<Vec<u8>>,
    /// The whole bytes of each segment.
    pub(crate) memory: BTreeMap<Offset, Vec<u8>>,
    pub(crate) uncommitted: VecDeque<Append>,
    pub(crate) flush: Option<(WriteId, Flush)>,
    pub(crate) seal: Option<Seal>,
    pub(crate) checkpointing: Option<Checkpointing>,
    /// What a client was told to be stored.
    pub(crate) acked_end: Offset,
    pub(crate) log_start_acked: Offset,
    /// Of the deletions that were begun.
    pub(crate) log_start_asked: Offset,
    pub(crate) created_acked: bool,
}

pub(crate) fn partition_id(key: u32) -> PartitionId {
    PartitionId { topic: TopicId::new([9; 16]), index: PartitionIndex::new(key) }
}

impl Partition {
    pub(crate) fn new(key: u32) -> Self {
        Self::with(key, Log::new(partition_id(key), NOW, LeaderEpoch::ZERO))
    }

    pub(crate) fn with(key: u32, log: Log) -> Self {
        Self {
            key,
            acked_end: log.log_end().offset,
            log_start_acked: log.log_start(),
            log_start_asked: log.log_start(),
            log,
            stored: Vec::new(),
            lost: VecDeque::new(),
            memory: BTreeMap::new(),
            uncommitted: VecDeque::new(),
            flush: None,
            seal: None,
            checkpointing: None,
            created_acked: false,
        }
    }

    pub(crate) fn id(&self) -> PartitionId {
        partition_id(self.key)
    }

    pub(crate) fn append(&mut self, dice: &mut Dice, rules: &Rules) {
        let again = if dice.one_in(8) { None } else { self.lost.pop_front() };
        if let Some(bytes) = again {
            self.append_bytes(&bytes, rules);
        } else {
            self.lost.clear();
            let producer = dice.below(PRODUCER_COUNT + 1);
            let bytes = build(dice, self.producer_next(producer));
            self.append_bytes(&bytes, rules);
        }
        if dice.one_in(4) {
            self.repeat(dice);
        }
    }

    fn append_bytes(&mut self, bytes: &[u8], rules: &Rules) {
        let batch = Batch::parse(bytes).unwrap();
        let summary = batch.summary().unwrap();
        assert_eq!(self.log.sequence_verdict(&summary), Ok(Verdict::Fresh));
        let append = self.log.begin_append(&summary, NOW, rules);
        let header = self.log.stamp(&append, bytes, None);
        let mut stored = header.to_vec();
        stored.extend_from_slice(&bytes[header.len()..]);
        let memory = self.memory.entry(append.segment).or_default();
        assert_eq!(u64::try_from(memory.len()).unwrap(), append.pos.get());
        memory.extend_from_slice(&stored);
        self.stored.push(Stored {
            base: append.base_offset,
            end: append.end.offset,
            bytes: stored,
            summary,
            epoch: append.leader_epoch,
        });
        self.uncommitted.push_back(append);
    }

    /// A producer sends one of its batches again: it must be recognised, and not be appended.
    fn repeat(&self, dice: &mut Dice) {
        let id = ProducerId::checked(i64::try_from(dice.below(PRODUCER_COUNT)).unwrap()).unwrap();
        let of_it = |it: &&Stored| it.summary.producer.is_some_and(|producer| producer.id == id);
        let back = usize::try_from(dice.below(7)).unwrap();
        let Some(stored) = self.stored.iter().rev().filter(of_it).nth(back) else { return };
        let want = if back < BATCHES_REMEMBERED {
            let timestamp = stored.summary.max_timestamp;
            Ok(Verdict::Duplicate { base_offset: stored.base, timestamp })
        } else {
            Err(SequenceError::OutOfOrder)
        };
        assert_eq!(self.log.sequence_verdict(&stored.summary), want);
    }

    /// Small appends go into the journal, as many as fit.
    pub(crate) fn journal(
        &mut self,
        writer: &mut FrameWriter<'_>,
        dice: &mut Dice,
    ) -> Option<Journaling> {
        let claimed = self.log.uncommitted_from();
        while self.uncommitted.pop_front_if(|it| it.base_offset < claimed).is_some() {}
        if self.log.uncommitted_bytes() >= DIRECT_BYTES && !dice.one_in(4) {
            return None;
        }
        let durable_end = self.log.durable_end().offset;
        let partition = self.id();
        let mut end = None;
        while let Some(append) = self.uncommitted.front() {
            let Append { segment, pos, rolled, .. } = *append;
            if rolled && writer.push(&Entry::Roll { partition, segment, created_at: NOW }).is_err()
            {
                break;
            }
            let from = usize::try_from(pos.get()).unwrap();
            let to = usize::try_from(append.end.pos.get()).unwrap();
            let batch = &self.memory[&segment][from..to];
            let entry = Entry::Append { partition, segment, pos, durable_end, batch };
            if writer.push(&entry).is_err() {
                break;
            }
            end = Some(append.end);
            self.uncommitted.pop_front();
        }
        end.map(|it| self.log.begin_journal(it))
    }

    /// From the block of the first byte that is not in the file, with whatever the last block holds.
    pub(crate) fn flush_bytes(&self, flush: &Flush, dice: &mut Dice) -> Vec<u8> {
        let memory = &self.memory[&flush.segment()];
        let from = usize::try_from(flush.from().get()).unwrap();
        let end = usize::try_from(flush.end().pos.get()).unwrap();
        let blocks_end = end.next_multiple_of(4096);
        let known_end = if dice.one_in(2) { memory.len().min(blocks_end) } else { end };
        let mut bytes = memory[from..known_end].to_vec();
        bytes.resize(blocks_end - from, 0);
        bytes
    }

    pub(crate) fn note_durable(&mut self) {
        let durable_end = self.log.durable_end().offset;
        assert!(self.acked_end <= durable_end, "what is durable stays so");
        self.acked_end = durable_end;
    }

    pub(crate) fn check_sidecar(&self, seal: &Seal) {
        let sidecar = Sidecar::decode(seal.sidecar()).unwrap();
        assert_eq!((sidecar.base, sidecar.bytes), (seal.segment(), seal.bytes()));
        let mut crc = 0;
        let inside = |it: &&Stored| sidecar.base <= it.base && it.base < sidecar.end;
        for stored in self.stored.iter().filter(inside) {
            crc = crc32c::crc32c_append(crc, &stored.bytes[..21]);
        }
        assert_eq!(sidecar.chain_crc, Some(crc));
        assert_eq!(sidecar.producers, self.producers_at(sidecar.end));
        for stored in self.stored.iter().filter(inside) {
            match sidecar.index.at_or_before(stored.base) {
                Some(entry) => {
                    assert!(sidecar.base <= entry.offset && entry.offset <= stored.base);
                }
                None => assert!(!sidecar.index.is_complete(), "only a restart leaves it so"),
            }
        }
    }

    pub(crate) fn producers_at(&self, end: Offset) -> Producers {
        let mut producers = Producers::new();
        for stored in self.stored.iter().filter(|it| it.base < end) {
            if let Some(producer) = &stored.summary.producer {
                producers.commit(producer, stored.base, stored.summary.max_timestamp, NOW);
            }
        }
        producers
    }

    pub(crate) fn epochs_at(&self, end: Offset, log_start: Offset) -> Epochs {
        let mut epochs = Epochs::new();
        for stored in self.stored.iter().filter(|it| it.base < end) {
            epochs.assign(stored.epoch, stored.base);
        }
        epochs.truncate_start(log_start);
        epochs.before(end)
    }

    /// What producer `index` sends next. `None`: the last one is not idempotent.
    fn producer_next(&self, index: u64) -> Option<(ProducerId, ProducerEpoch, Sequence)> {
        if index == PRODUCER_COUNT {
            return None;
        }
        let id = ProducerId::checked(i64::try_from(index).unwrap()).unwrap();
        let newest = self.stored.iter().rev().filter_map(|it| it.summary.producer);
        let last = newest.into_iter().find(|it| it.id == id);
        Some(last.map_or_else(
            || (id, ProducerEpoch::checked(0).unwrap(), Sequence::ZERO),
            |last| (id, last.epoch, last.last.plus(1)),
        ))
    }
}

fn build(dice: &mut Dice, producer: Option<(ProducerId, ProducerEpoch, Sequence)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch, first)) = producer {
        builder = builder.producer(id, epoch, first);
    }
    let value_bytes = if dice.one_in(6) { 5000 } else { 300 };
    for _ in 0..=dice.below(3) {
        let noise = dice.roll().to_be_bytes();
        let value_bytes = usize::try_from(dice.below(value_bytes)).unwrap();
        let value: Vec<u8> = noise.into_iter().cycle().take(value_bytes).collect();
        let timestamp = Timestamp::new(i64::try_from(dice.below(1000)).unwrap());
        builder.push(timestamp, None, Some(&value), &[]);
    }
    builder.build()
}
