//! Measures of a Kafka broker, ours or another: load in an open loop, and the machine's limits.
//!
//! It blocks and prints; no shard runs in it. Numbers of one run on one machine compare; numbers of
//! two machines do not.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;

mod batch;
mod broker;
mod clock;
mod command;
mod failure;
mod fetch;
mod frame;
mod groups;
mod idle;
mod latency;
mod limits;
mod partitions;
mod payload;
mod pin;
mod process;
mod ratios;
mod report;
mod results;
mod scene;
mod schedule;
mod start;

fn main() -> ExitCode {
    let answer = command::run(&Command::parse());
    let (code, written) = match answer {
        Ok(text) => (ExitCode::SUCCESS, std::io::stdout().write_all(text.as_bytes())),
        Err(failure) => (ExitCode::FAILURE, writeln!(std::io::stderr(), "perf: {failure}")),
    };
    match written {
        // Nowhere is left to say that it could not be said.
        Ok(()) | Err(_) => code,
    }
}
