//! `odradek log`: what the files of a broker hold, and whether that is what was stored.
//!
//! A broker is asked nothing, and nothing is changed.

mod audit;
mod directory;
mod finding;
mod inspect;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::command::print;
use crate::failure::Failure;
use crate::log::audit::{Audited, audit};
use crate::log::directory::Directory;
use crate::log::finding::Finding;
use crate::log::inspect::Depth;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check every byte that a start or a reader would use
    Verify(VerifyArguments),
    /// Show what a file holds: batches, index entries, journal entries, slots, manifests
    Inspect(InspectArguments),
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  odradek log verify /var/lib/odradek
  odradek log verify --json | jq '.findings[] | select(.severity == \"damage\")'

damage   bytes are not what was stored: exit code 1
torn     what a start cuts off: a write that a crash cut short, or damage that looks like it
note     files that a start would remove or not look at

It reads the directory of a stopped broker, whether it was stopped or killed, and changes nothing.";

#[derive(Args, Debug)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct VerifyArguments {
    /// The data directory
    #[arg(default_value = "odradek-data")]
    directory: PathBuf,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  odradek log inspect odradek-data/topics/<id>/0/00000000000000000000.log
  odradek log inspect 00000000000000000000.log --records --offset 17
  odradek log inspect odradek-data/journal/0/0.journal --json | jq 'select(.entry == \"intent\")'
  odradek log inspect odradek-data/superblock

One line for each batch, with the names that Kafka's dump-log has; so for the other files.";

#[derive(Args, Debug)]
#[command(after_help = INSPECT_EXAMPLES)]
pub(crate) struct InspectArguments {
    /// A file of a data directory
    file: PathBuf,
    /// Leave out what lies before this offset
    #[arg(long, default_value_t = 0)]
    offset: i64,
    /// Show the records in the batches
    #[arg(long)]
    records: bool,
    /// A JSON object for each line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Verify(arguments) => verify(arguments),
        Verb::Inspect(arguments) => show(arguments),
    }
}

fn verify(arguments: &VerifyArguments) -> Result<(), Failure> {
    let directory = Directory::open(&arguments.directory)?;
    let audited = audit(&directory);
    let text =
        if arguments.json { format!("{:#}\n", to_json(&audited)) } else { to_text(&audited) };
    print(text.as_bytes())?;
    match audited.findings.iter().filter(|it| it.is_damage()).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 place is damaged")),
        count => Err(Failure::failed(format!("{count} places are damaged"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "no shard runs here")]
fn show(arguments: &InspectArguments) -> Result<(), Failure> {
    let file = std::fs::read(&arguments.file).map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", arguments.file.display()))
    })?;
    let depth = if arguments.records { Depth::Records } else { Depth::Batches };
    let lines = inspect::inspect(&arguments.file, &file.into(), depth, arguments.offset)?;
    let mut text = String::new();
    for line in lines {
        let shown =
            if arguments.json { Value::Object(line).to_string() } else { inspect::to_text(&line) };
        text.push_str(&shown);
        text.push('\n');
    }
    print(text.as_bytes())
}

fn to_json(audited: &Audited) -> Value {
    let partitions: Vec<Value> = audited
        .partitions
        .iter()
        .map(|it| {
            json!({
                "topic": it.topic, "topic_id": it.id.topic.to_string(),
                "partition": it.id.index.get(), "log_start": it.log_start.get(),
                "log_end": it.log_end.get(), "segments": it.segment_count,
                "batches": it.batch_count, "bytes": it.bytes, "checksum": it.checksum,
            })
        })
        .collect();
    let findings: Vec<Value> = audited.findings.iter().map(Finding::to_json).collect();
    json!({ "partitions": partitions, "findings": findings })
}

fn to_text(audited: &Audited) -> String {
    let mut text = String::new();
    if !audited.findings.is_empty() {
        let mut table = Table::new(&["severity", "file", "from", "end", "offsets", "what"]);
        for finding in &audited.findings {
            table.row(finding.to_row());
        }
        text.push_str(&table.to_string());
    }
    let partitions = audited.partitions.iter();
    let (batch_count, bytes) = partitions
        .fold((0, 0), |(batch_count, bytes), it| (batch_count + it.batch_count, bytes + it.bytes));
    text.push_str(&format!(
        "{} partitions, {batch_count} batches, {bytes} bytes checked\n",
        audited.partitions.len()
    ));
    text
}
