//! A benchmark of brokers, ours beside others: workloads against brokers that it starts, side by
//! side, with the machine's limits in the same hour; and each measure alone.
//!
//! It blocks and prints; no shard runs in it. Numbers of one run on one machine compare; numbers of
//! two machines do not.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;

mod amqp;
mod batch;
mod benchmark;
mod beside;
mod broker;
mod clock;
mod command;
mod confinement;
mod conversation;
mod curve;
mod device;
mod disk_probe;
mod failure;
mod fetch;
mod frame;
mod groups;
mod idle;
mod latency;
mod limits;
mod machine;
mod nats;
mod page;
mod partitions;
mod payload;
mod pin;
mod placement;
mod pressure;
mod process;
mod protocol;
mod rabbit_stream;
mod report;
mod results;
mod scene;
mod schedule;
mod slate;
mod slice;
mod standstill;
mod start;
mod statistics;
mod stop;
mod table;
mod target;
mod workload;

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
