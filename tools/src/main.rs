//! The `odradek` command: the broker, and what people and scripts ask of one.
//!
//! It may block and print: no shard runs on its threads.
//! Exit codes: 0 it worked, 1 it did not, 2 the arguments make no sense.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;

mod cluster;
mod command;
mod config;
mod connection;
mod consume;
mod failure;
mod format;
mod group;
mod http;
mod log;
mod logs;
mod offsets;
mod overview;
mod partitioner;
mod produce;
mod quota;
mod report;
mod serve;
mod table;
mod topic;
mod watch;

fn main() -> ExitCode {
    let failure = match command::run(Command::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let code = ExitCode::from(failure.exit_code());
    let message = failure.to_string();
    if message.is_empty() {
        return code;
    }
    match writeln!(std::io::stderr(), "odradek: {message}") {
        // Nowhere is left to say it; the exit code does.
        Ok(()) | Err(_) => code,
    }
}
