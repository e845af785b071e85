//! `perf groups`: a consumer group under a storm.

use std::time::Duration;

use clap::Args;

use crate::broker::{Topic, resolve};
use crate::command::Target;
use crate::failure::Failure;
use crate::groups;
use crate::report::Report;
use crate::stop::Stop;

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  perf groups --protocol consumer --members 100 --partitions 1000 --storm 10"
)]
pub(super) struct GroupsArguments {
    #[command(flatten)]
    target: Target,
    /// Created if it is missing
    #[arg(short, long, default_value = "perf-groups")]
    topic: String,
    #[arg(short, long, default_value_t = 1_000, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    #[arg(long, value_enum, default_value_t = groups::Protocol::Consumer)]
    protocol: groups::Protocol,
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    members: u32,
    /// So many leave at once, and as many join
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    storm: u32,
    /// Between two heartbeats; without it 3,000, or what the broker says
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Offsets committed in a second, each by a group of its own, in an open loop
    #[arg(long, default_value_t = 0)]
    commits: u64,
    /// Storms begin until then
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

impl GroupsArguments {
    pub(super) fn run(&self) -> Result<Report, Failure> {
        let broker = self.target.settle()?;
        groups::run(&groups::Plan {
            address: resolve(&self.target.broker)?,
            topic: Topic { name: &self.topic, partition_count: self.partitions, configs: &[] },
            protocol: self.protocol,
            member_count: self.members,
            storm_count: self.storm,
            heartbeat: self.heartbeat_ms.map(Duration::from_millis),
            commits_per_second: self.commits,
            measured: Duration::from_secs(self.seconds),
            broker,
            stop: &Stop::default(),
        })
    }
}
