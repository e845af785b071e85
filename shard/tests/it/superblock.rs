//! A superblock whose write was torn leaves a directory that starts; one that was damaged since does not
//! hide what was stored.

use engine::superblock::{SLOT_BYTES, Superblock};
use shard::io::{Io, Open};
use shard::recovery;
use shard::sim::broker::{self, Started};
use shard::sim::disk::Crash;
use shard::sim::{Ended, SimIo, World};

use crate::answers::Client;
use crate::recovery::{HOUR, finish, idle, put, world};

const SHARD_COUNT: usize = 1;
const SECTOR_BYTES: usize = 512;

/// Starts the broker. The error is why it does not.
fn start(world: &mut World) -> Result<Client, String> {
    let started: Started = broker::start(world, 0, SHARD_COUNT);
    let ended = world.run(HOUR, || started.ready().is_some() || started.stopped().is_some());
    assert_eq!(ended, Ended::Done);
    match started.stopped() {
        Some(reason) => Err(reason),
        None => Ok(Client { io: world.outside(), node: 0, started }),
    }
}

async fn read(io: SimIo) -> Vec<u8> {
    let file = io.open("superblock", Open::Read).await.expect("it is there");
    let bytes = io.file_bytes(&file).await.expect("a good disk");
    let block = io.block(usize::try_from(bytes).expect("small")).expect("there is memory");
    let (read, block) = io.read(&file, 0, block).await;
    read.expect("a good disk");
    block.as_slice().to_vec()
}

fn slot_of(superblock: &Superblock) -> (usize, [u8; SLOT_BYTES]) {
    let mut slot = [0; SLOT_BYTES];
    superblock.encode(&mut slot);
    (usize::try_from(superblock.slot_pos()).expect("small"), slot)
}

/// `file` with those sectors of the superblock's slot that `kept` has a bit for.
fn tear(file: &[u8], superblock: &Superblock, kept: u8) -> Vec<u8> {
    let (at, slot) = slot_of(superblock);
    let mut torn = file.to_vec();
    torn.resize(file.len().max(at + SLOT_BYTES), 0);
    let sectors = torn[at..at + SLOT_BYTES].chunks_mut(SECTOR_BYTES);
    for (index, (old, new)) in sectors.zip(slot.chunks(SECTOR_BYTES)).enumerate() {
        if kept & (1 << index) != 0 {
            old.copy_from_slice(new);
        }
    }
    torn
}

/// Torn at each boundary of sectors, from either end, and in the midst.
fn tears() -> impl Iterator<Item = u8> {
    let ends = (0..=8).flat_map(|count| {
        let first = u8::try_from((1_u16 << count) - 1).expect("eight bits");
        [first, !first]
    });
    ends.chain([0b0111_1110, 0b1010_1010, 0b0101_0101])
}

/// Fields are in the first sector, the checksum in the last.
fn is_torn(kept: u8) -> bool {
    kept & 0b1000_0001 != 0b1000_0001
}

/// A world whose broker was killed after it stored a record, and the superblock of its next life, which
/// has written everything else.
fn interrupted(lives: usize) -> (World, Vec<u8>, Superblock) {
    let mut world = world(SHARD_COUNT);
    for life in 0..lives {
        let client = start(&mut world).expect("it starts");
        let io = client.io.clone();
        finish(&mut world, &io, async move {
            if life == 0 {
                client.create("t", 1).await;
            }
            client.append("t", 0, &[b"x"]).await;
        });
        world.crash(0, Crash::Process);
    }
    let io = world.io(0, 0);
    let (file, next) = finish(&mut world, &io.clone(), async move {
        let recovered = recovery::recover(&io, &broker::config(&[]), SHARD_COUNT).await;
        (read(io).await, recovered.expect("it is sound").superblock)
    });
    (world, file, next)
}

fn put_superblock(world: &mut World, bytes: Vec<u8>) {
    let io = world.io(0, 0);
    finish(world, &io.clone(), put(io, "superblock".to_owned(), bytes));
}

#[test]
fn a_torn_first_superblock_leaves_a_directory_that_starts() {
    for kept in tears().filter(|kept| is_torn(*kept)) {
        let mut world = world(SHARD_COUNT);
        let io = world.io(0, 0);
        let first = finish(&mut world, &io.clone(), async move {
            let recovered = recovery::recover(&io, &broker::config(&[]), SHARD_COUNT).await;
            recovered.expect("an empty directory").superblock
        });
        put_superblock(&mut world, tear(&[], &first, kept));
        let client = start(&mut world).unwrap_or_else(|reason| panic!("{kept:08b}: {reason}"));
        let io = client.io.clone();
        finish(&mut world, &io, async move {
            client.create("t", 1).await;
            client.append("t", 0, &[b"x"]).await;
        });
    }
}

#[test]
fn a_torn_later_superblock_leaves_every_record() {
    for lives in 1..=2 {
        for kept in tears().filter(|kept| is_torn(*kept)) {
            let (mut world, file, next) = interrupted(lives);
            put_superblock(&mut world, tear(&file, &next, kept));
            let client = start(&mut world).unwrap_or_else(|reason| panic!("{kept:08b}: {reason}"));
            let io = client.io.clone();
            let end = finish(&mut world, &io, async move { client.end("t").await });
            assert_eq!(end, i64::try_from(lives).expect("small"), "{kept:08b}");
        }
    }
}

#[test]
fn a_superblock_that_is_damaged_after_its_generation_stored_something_is_refused() {
    for lives in 1..=2 {
        let (mut world, file, next) = interrupted(lives);
        let last = Superblock::choose(&file).expect("it is sound");
        assert_eq!(next.sequence, last.sequence + 1);
        let (at, slot) = slot_of(&last);
        assert_eq!(file[at..at + SLOT_BYTES], slot);
        let mut damaged = file.clone();
        damaged[at + 40] ^= 1;
        put_superblock(&mut world, damaged);
        let reason = start(&mut world).err().expect("it holds records that would be lost");
        assert!(reason.contains("the superblock is damaged"), "{reason}");
        world.crash(0, Crash::Process);
        put_superblock(&mut world, file);
        assert!(start(&mut world).is_ok(), "with the superblock that was restored");
    }
}

#[test]
fn a_superblock_of_an_earlier_life_that_comes_back_is_refused() {
    let (mut world, first, _) = interrupted(1);
    assert!(start(&mut world).is_ok());
    idle(&mut world);
    let client = start_again(&mut world);
    let io = client.io.clone();
    finish(&mut world, &io, async move { client.append("t", 0, &[b"y"]).await });
    world.crash(0, Crash::Process);
    put_superblock(&mut world, first);
    let reason = start(&mut world).err().expect("it is of an earlier life");
    assert!(reason.contains("the superblock is damaged"), "{reason}");
}

fn start_again(world: &mut World) -> Client {
    world.crash(0, Crash::Process);
    start(world).expect("it starts")
}
