//! What our own files may hold after any damage: the journal, the superblock, a checkpoint, a
//! sidecar, and the recovery of one partition from them.
//!
//! The first byte chooses the parser, and whether the checksum is made right, so that the fuzzer
//! gets past it.
#![no_main]

use engine::checkpoint::Checkpoint;
use engine::id::{LeaderEpoch, Offset, PartitionId, Timestamp};
use engine::journal::replay::Replay;
use engine::journal::{BLOCK_BYTES, Entry, Frame, Generation};
use engine::manifest::Manifest;
use engine::recovery::Recovery;
use engine::sidecar::Sidecar;
use engine::superblock::{SLOT_BYTES, Superblock};
use libfuzzer_sys::fuzz_target;

const GENERATION: Generation = Generation::new(0, 0);
const FRAME_CRC_AT: usize = 44;
const NOW: Timestamp = Timestamp::new(1_700_000_000_000);

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let bytes = if choice & 1 == 0 { bytes.to_vec() } else { sealed(*choice, bytes) };
    match choice >> 1 & 3 {
        0 => journal(&bytes),
        1 => {
            if let Ok(superblock) = Superblock::choose(&bytes) {
                let mut slot = [0; SLOT_BYTES];
                superblock.encode(&mut slot);
                assert_eq!(Superblock::choose(&slot), Ok(superblock));
            }
        }
        2 => {
            if let Ok(checkpoint) = Checkpoint::parse(&bytes) {
                assert!(checkpoint.manifests().count() <= bytes.len());
            }
        }
        _ => {
            if let Ok(sidecar) = Sidecar::decode(&bytes) {
                assert!(sidecar.base <= sidecar.end);
            }
        }
    }
});

/// The bytes with the checksum that their format wants.
fn sealed(choice: u8, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match choice >> 1 & 3 {
        0 => {
            // One frame: as many bytes of payload as there are.
            bytes.resize(bytes.len().max(FRAME_CRC_AT + 4), 0);
            let payload_bytes = bytes.len() - FRAME_CRC_AT - 4;
            bytes[..4].copy_from_slice(b"ODRJ");
            bytes[4..24]
                .copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let payload_field = u32::try_from(payload_bytes).expect("inputs are small");
            bytes[32..36].copy_from_slice(&payload_field.to_be_bytes());
            let crc = crc32c::crc32c(&bytes[..FRAME_CRC_AT]);
            let crc = crc32c::crc32c_append(crc, &bytes[FRAME_CRC_AT + 4..]);
            bytes[FRAME_CRC_AT..FRAME_CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        }
        1 => {
            bytes.resize(SLOT_BYTES - 4, 0);
            append_crc(&mut bytes);
        }
        _ => append_crc(&mut bytes),
    }
    bytes
}

fn append_crc(bytes: &mut Vec<u8>) {
    let crc = crc32c::crc32c(bytes);
    bytes.extend(crc.to_be_bytes());
}

fn journal(bytes: &[u8]) {
    let mut replay = Replay::new(GENERATION, 0);
    replay.on_file(0, bytes);
    if let Ok(replayed) = replay.finish() {
        assert!(replayed.frames.len() <= bytes.len() / BLOCK_BYTES + 1);
    }
    // Its sequence is as the fuzzer says, so that the frame alone is recovered too.
    let Ok(frame) = Frame::parse(bytes, GENERATION) else { return };
    let entries: Vec<Entry<'_>> = frame.entries().map_while(Result::ok).collect();
    let Some(id) = entries.first().map(Entry::partition) else { return };
    let of_it: Vec<Entry<'_>> = entries.into_iter().filter(|it| it.partition() == id).collect();
    recover(id, None, &of_it, bytes);
    let mut with_origin = of_it;
    let epoch = LeaderEpoch::ZERO;
    with_origin.insert(0, Entry::Created { partition: id, created_at: NOW, epoch });
    recover(id, None, &with_origin, bytes);
}

/// Every segment holds `file`.
fn recover(id: PartitionId, manifest: Option<Manifest>, entries: &[Entry<'_>], file: &[u8]) {
    let Ok(Some(mut recovery)) = Recovery::new(id, manifest, entries, NOW) else { return };
    while let Some(scan) = recovery.next_scan() {
        let from = usize::try_from(scan.from.get()).unwrap_or(usize::MAX).min(file.len());
        let end = from.saturating_add(scan.bytes).min(file.len());
        let file_bytes = u64::try_from(file.len()).expect("a length");
        if recovery.on_scanned(&file[from..end], file_bytes).is_err() {
            return;
        }
    }
    if let Ok(recovered) = recovery.finish() {
        assert!(recovered.log.log_start() <= recovered.log.log_end().offset);
        assert!(Offset::ZERO <= recovered.log.log_start());
    }
}
