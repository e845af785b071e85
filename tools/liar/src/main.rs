//! A disk that lies as disks do: it forgets what was not flushed, tears, fails and stalls.
//!
//! `liar DIR BYTES` mounts a FUSE file system at `DIR/liar` whose one file, `disk`, is for a loop device.
//! Commands come on standard input, one a line; each is answered by a line, `ok ...` or `error ...`:
//!
//! ```text
//! cut                          nothing works from now on
//! restore SEED                 the power is back; the seed chooses what of the unflushed survived
//! fail OPERATION SKIP COUNT    after SKIP of them, COUNT end with EIO (OPERATION: read, write, flush)
//! stall OPERATION SKIP COUNT MS   ... take MS milliseconds longer
//! heal                         forgets all `fail` and `stall`
//! counts                       of reads, writes, flushes, and of the faults that were applied
//! story FILE                   writes the last operations to a file
//! ```
//!
//! It ends, and unmounts, with its standard input.
#![expect(
    clippy::disallowed_types,
    reason = "the kernel's thread and the commands' share the disk"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a stall is a thread that sleeps; nothing is a shard"
)]

mod cache;
mod chance;
mod disk;
mod fault;
mod mount;

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::disk::Disk;
use crate::fault::{Operation, Rule, Verdict};
use crate::mount::{FILE_NAME, SharedDisk};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [directory, bytes] = words.as_slice() else { return fail("usage: liar DIR BYTES") };
    let Ok(bytes) = bytes.parse() else { return fail("BYTES is a number") };
    match serve(Path::new(directory), bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(words: &str) -> ExitCode {
    // Nobody is left to be told if this fails.
    drop(writeln!(io::stderr(), "liar: {words}"));
    ExitCode::FAILURE
}

fn serve(directory: &Path, bytes: u64) -> io::Result<()> {
    let point = directory.join("liar");
    std::fs::create_dir_all(&point)?;
    let disk = SharedDisk::new(Disk::new(directory, bytes)?);
    let session = fuser::spawn_mount(disk.clone(), &point, &fuser::Config::default())?;
    let mut out = io::stdout();
    writeln!(out, "ok {}", point.join(FILE_NAME).display())?;
    for line in io::stdin().lock().lines() {
        match command(&disk, &line?) {
            Ok(answer) => writeln!(out, "ok {answer}")?,
            Err(error) => writeln!(out, "error {error}")?,
        }
    }
    session.umount_and_join()
}

fn command(disk: &SharedDisk, line: &str) -> io::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut disk = disk.lock();
    match words.as_slice() {
        ["cut"] => disk.cut(),
        ["restore", seed] => return disk.restore(number(seed)?),
        ["heal"] => disk.faults.heal(),
        ["fail", rest @ ..] => disk.faults.add(rule(rest, Verdict::Fail)?),
        ["stall", rest @ .., time] => {
            let verdict = Verdict::Stall(Duration::from_millis(number(time)?));
            disk.faults.add(rule(rest, verdict)?);
        }
        ["counts"] => {
            let counts = disk.counts;
            return Ok(format!(
                "{} {} {} {}",
                counts.reads, counts.writes, counts.flushes, disk.faults.applied_count
            ));
        }
        ["story", file] => {
            let mut text = String::new();
            disk.story().for_each(|it| writeln!(text, "{it}").expect("a string takes all"));
            std::fs::write(PathBuf::from(file), text)?;
        }
        _ => return Err(io::Error::other(format!("no such command: {line}"))),
    }
    Ok(String::new())
}

fn rule(words: &[&str], verdict: Verdict) -> io::Result<Rule> {
    let [operation, skipped, count] = words else {
        return Err(io::Error::other("want OPERATION SKIP COUNT"));
    };
    let operation = Operation::parse(operation)
        .ok_or_else(|| io::Error::other(format!("no such operation: {operation}")))?;
    let count = number(count)?;
    if count == 0 {
        return Err(io::Error::other("a rule that meets nothing"));
    }
    Ok(Rule { operation, skipped: number(skipped)?, count, verdict })
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|error| io::Error::other(format!("{word}: {error}")))
}
