//! `odradek log`: what the files of a broker hold, and whether that is what was stored.
//!
//! The broker must not run: it is asked nothing, and nothing is changed.

mod audit;
mod directory;
mod finding;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::command::print;
use crate::failure::Failure;
use crate::log::audit::{Audited, audit};
use crate::log::directory::Directory;
use crate::log::finding::Finding;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check every byte that a start or a reader would use
    Verify(VerifyArguments),
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

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Verify(arguments) => verify(arguments),
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
