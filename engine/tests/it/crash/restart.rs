//! The crash, and the broker's start after it: read everything, recover, compare with what is known.

use std::collections::{BTreeMap, BTreeSet};

use engine::checkpoint::{Checkpoint, CheckpointHeader, CheckpointWriter};
use engine::id::{FilePos, Offset, PartitionId};
use engine::journal::replay::{Part, Replay, Replayed};
use engine::journal::{BLOCK_BYTES, Entry, Generation};
use engine::manifest::Manifest;
use engine::recovery::{Behind, Cut, Recovered, Recovery};
use engine::superblock::{SLOT_BYTES, Shutdown, Superblock};

use crate::crash::disk::File;
use crate::crash::partition::{NOW, Partition, partition_id};
use crate::crash::world::{FRAME_BYTES, World};

/// Looked at behind the last frame of a journal file.
const QUIET_BYTES: u64 = 4096;

impl World {
    /// Recovers, perhaps after crashes in the middle of recovery, and checks what came back.
    pub(crate) fn crash(&mut self) {
        loop {
            self.disk.crash(&mut self.dice);
            let crashes_again = self.dice.one_in(3);
            if let Some(recovered) = self.recover(crashes_again) {
                self.start(recovered);
                return;
            }
        }
    }

    /// Checkpoint first, then the superblock that names it.
    pub(crate) fn write_generation(&mut self, generation: Generation, manifests: &[Vec<u8>]) {
        let header = CheckpointHeader { shard: 0, generation: generation.number(), sequence: 0 };
        let mut writer = CheckpointWriter::new(&header);
        for manifest in manifests {
            writer.push(manifest);
        }
        self.disk.replace(File::Checkpoint(generation.number()), writer.finish());
        if self.dice.one_in(5) && generation.number() > 1 {
            return; // A crash between the two.
        }
        let superblock = Superblock {
            sequence: generation.number(),
            cluster_id: [3; 16],
            node_id: 1,
            generation,
            shard_count: 1,
            shutdown: Shutdown::None,
        };
        let mut slot = [0; SLOT_BYTES];
        superblock.encode(&mut slot);
        let write = self.disk.begin_write(File::Superblock, superblock.slot_pos(), slot.to_vec());
        if !self.dice.one_in(5) || generation.number() == 1 {
            self.disk.finish_write(&write);
            self.generation = generation;
        }
    }

    /// `None`: it crashed again.
    fn recover(&mut self, crashes: bool) -> Option<BTreeMap<u32, Partition>> {
        let superblock = Superblock::choose(self.disk.read(File::Superblock)).expect("a slot");
        self.generation = superblock.generation;
        let number = self.generation.number();
        let checkpoint = self.disk.read(File::Checkpoint(number)).to_vec();
        let checkpoint = Checkpoint::parse(&checkpoint).expect("renamed when it was whole");
        let mut manifests: BTreeMap<PartitionId, Manifest> =
            checkpoint.manifests().map(|it| it.expect("sound")).map(|it| (it.id(), it)).collect();
        let files: Vec<Vec<u8>> = (0..self.disk.journal_file_count())
            .map(|it| self.disk.read(File::Journal(it)).to_vec())
            .collect();
        let mut replay = Replay::new(self.generation, checkpoint.header().sequence);
        for (index, file) in files.iter().enumerate() {
            replay.on_file(index, file);
        }
        let replayed = replay.finish().expect("only the last frame can be torn");
        self.check_reading_no_more_than_needed(&files, checkpoint.header().sequence, &replayed);
        let mut entries: BTreeMap<PartitionId, Vec<Entry<'_>>> = BTreeMap::new();
        for frame in &replayed.frames {
            for entry in frame.frame().entries() {
                let entry = entry.expect("written whole");
                entries.entry(entry.partition()).or_default().push(entry);
            }
        }
        let ids: BTreeSet<PartitionId> = manifests.keys().chain(entries.keys()).copied().collect();
        let mut partitions = BTreeMap::new();
        for id in &ids {
            let entries = entries.get(id).map_or(&[][..], Vec::as_slice);
            if let Some(recovered) = self.recover_partition(*id, manifests.remove(id), entries) {
                let key = id.index.get();
                let partition = self.apply(key, recovered, crashes)?;
                partitions.insert(key, partition);
            }
        }
        self.check_existence(&partitions);
        let encoded: Vec<Vec<u8>> = partitions
            .values_mut()
            .map(|it| it.log.begin_checkpoint().manifest().to_vec())
            .collect();
        let next = Generation::new(number + 1, self.dice.roll());
        self.write_generation(next, &encoded);
        (self.generation == next).then_some(partitions)
    }

    /// What `Replay::reads_on` leaves out of the files holds nothing that is needed.
    fn check_reading_no_more_than_needed(
        &self,
        files: &[Vec<u8>],
        first_sequence: u64,
        want: &Replayed,
    ) {
        let mut replay = Replay::new(self.generation, first_sequence);
        let read_part = |replay: &mut Replay, (index, file): (usize, &Vec<u8>), from: usize| {
            let end = file.len().min(from + FRAME_BYTES);
            let part = if end == file.len() { Part::Last } else { Part::More };
            let pos = FilePos::new(from.try_into().unwrap());
            from + replay.on_part(index, pos, &file[from..end], part)
        };
        let files = files.iter().enumerate();
        let begun: Vec<_> = files.map(|it| (it, read_part(&mut replay, it, 0))).collect();
        for ((index, file), mut pos) in begun {
            while replay.reads_on(index, QUIET_BYTES) && pos < file.len() {
                pos = read_part(&mut replay, (index, file), pos);
            }
        }
        let found = replay.finish().expect("the journal is whole");
        let sequences = |it: &Replayed| -> Vec<u64> {
            it.frames.iter().map(|it| it.frame().sequence()).collect()
        };
        assert_eq!(sequences(&found), sequences(want));
        assert_eq!(found.verdict, want.verdict);
    }

    fn recover_partition<'a>(
        &self,
        id: PartitionId,
        manifest: Option<Manifest>,
        entries: &[Entry<'a>],
    ) -> Option<Recovered<'a>> {
        let key = id.index.get();
        let mut recovery = Recovery::new(id, manifest, entries, NOW).expect("it has an origin")?;
        let mut scan_count = 0;
        while let Some(scan) = recovery.next_scan() {
            let file = self.disk.read(File::Segment(key, scan.segment));
            let from = usize::try_from(scan.from.get()).unwrap().min(file.len());
            let end = (from + scan.bytes).min(file.len());
            let file_bytes = u64::try_from(file.len()).unwrap();
            recovery.on_scanned(&file[from..end], file_bytes).expect("nothing is damaged");
            scan_count += 1;
            assert!(scan_count < 1000, "a recovery ends");
        }
        Some(recovery.finish().expect("nothing that was durable is lost"))
    }

    /// Does to the disk what recovery asks for, then checks the result. `None`: crashed meanwhile.
    fn apply(&mut self, key: u32, recovered: Recovered<'_>, crashes: bool) -> Option<Partition> {
        for write in &recovered.writes {
            let file = File::Segment(key, write.segment);
            let id = self.disk.begin_write(file, write.pos.get(), write.bytes.to_vec());
            if crashes && self.dice.one_in(5) {
                return None;
            }
            self.disk.finish_write(&id);
        }
        for cut in &recovered.cuts {
            if crashes && self.dice.one_in(5) {
                return None;
            }
            let file = File::Segment(key, cut.segment);
            if !ends_well(self.disk.read(file), cut) {
                self.disk.set_bytes(file, cut.bytes.get());
            }
        }
        for segment in &recovered.unlinks {
            self.disk.unlink(File::Segment(key, *segment));
        }
        let mut partition = Partition::with(key, recovered.log);
        loop {
            let expired = partition.log.expired_segments().next();
            let Some(segment) = expired else { break };
            self.disk.unlink(File::Segment(key, segment));
            partition.log.on_unlinked(segment);
        }
        let removed = || self.removed.get(&key).map(|it| &it.partition);
        let known = self.partitions.get(&key).or_else(removed).expect("it was created");
        check_recovered(known, &partition);
        partition.created_acked = true;
        let end = partition.log.log_end().offset;
        partition.stored = known.stored.iter().filter(|it| it.base < end).cloned().collect();
        let lost = known.stored.iter().filter(|it| end <= it.base);
        partition.lost = lost.map(|it| it.bytes.clone()).collect();
        for segment in partition.log.segments() {
            let bytes = self.disk.read(File::Segment(key, segment.base()));
            let inside = |it: &&_| within(segment.base(), segment.end(), it);
            let want: Vec<u8> =
                known.stored.iter().filter(inside).flat_map(|it| it.bytes.clone()).collect();
            let stored_bytes = usize::try_from(segment.end_pos().get()).unwrap();
            assert!(bytes[..stored_bytes] == want, "every stored byte is what was appended");
            partition.memory.insert(segment.base(), want);
        }
        partition.acked_end = end;
        Some(partition)
    }

    fn check_existence(&mut self, recovered: &BTreeMap<u32, Partition>) {
        for (key, known) in &self.partitions {
            assert!(recovered.contains_key(key) || !known.created_acked, "partition {key} is gone");
        }
        for (key, removed) in &self.removed {
            assert!(!(removed.acked && recovered.contains_key(key)), "partition {key} came back");
        }
    }
}

fn within(base: Offset, end: Offset, stored: &crate::crash::partition::Stored) -> bool {
    base <= stored.base && stored.base < end
}

fn check_recovered(known: &Partition, found: &Partition) {
    let end = found.log.log_end().offset;
    assert_eq!(found.id(), partition_id(known.key));
    assert!(known.acked_end <= end, "what was acknowledged is there");
    assert!(end == Offset::ZERO || known.stored.iter().any(|it| it.end == end));
    assert!(known.log_start_acked <= found.log.log_start());
    assert!(found.log.log_start() <= known.log_start_asked);
    assert_eq!(*found.log.producers(), known.producers_at(end));
    let log_start = found.log.log_start();
    assert_eq!(found.log.epochs().before(end), known.epochs_at(end, log_start));
    assert_eq!(found.log.flushed(), found.log.log_end());
}

/// Whether a file may stay as it is: behind its log there is only room, all zeros.
fn ends_well(file: &[u8], cut: &Cut) -> bool {
    let end = usize::try_from(cut.bytes.get()).unwrap();
    let is_zero = |bytes: Option<&[u8]>| bytes.is_none_or(|it| it.iter().all(|it| *it == 0));
    let block_end = end.next_multiple_of(BLOCK_BYTES);
    match cut.behind {
        Behind::Block => {
            assert!(
                is_zero(file.get(block_end..)),
                "only whole blocks of the journal's were written"
            );
            end <= file.len() && is_zero(file.get(end..block_end.min(file.len())))
        }
        Behind::Batches => file.len() == end,
    }
}
