//! The command line: what each measure is told, and what it answers.
//!
//! `--help` of each command is its documentation.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::broker::resolve;
use crate::command::groups::GroupsArguments;
use crate::command::run::RunArguments;
use crate::failure::Failure;
use crate::frame::Acks;
use crate::payload::TIME_BYTES;
use crate::placement::Placement;
use crate::process::Process;
use crate::protocol::Protocol;
use crate::report::Report;
use crate::results::{Measure, Second};
use crate::scene::Outcome;
use crate::scene::plan::{
    Consumers, From, Pace, Partitioning, Phase, Plan, Producers, Share, Topic, Until,
};
use crate::stop::Stop;
use crate::workload::Workload;
use crate::{fetch, idle, limits, page, partitions, pin, scene, start, table};

mod groups;
mod run;

const ABOUT: &str = "\
Measures a Kafka broker. Every number is of this machine and this hour: compare within one run.
Names carry their unit last. A report that says VOID does not count, and says why.";

/// As Kafka's consumers do.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, Parser)]
#[command(name = "perf", about = "Measures a Kafka broker", long_about = ABOUT)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Verb,
    /// One line of JSON for programs, with the same names
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Workloads against brokers that it starts, side by side, with this machine's limits; a table
    Run(RunArguments),
    /// The table of a results file
    Table(TableArguments),
    /// One HTML file of a results file, to read and to publish
    Report(ReportArguments),
    /// The workloads, or the file of one
    Workloads(WorkloadsArguments),
    /// Produce in an open loop, or as fast as the broker answers
    Load(LoadArguments),
    /// Produce one record after the other on one connection, and consume it on another
    Ping(PingArguments),
    /// Read a topic from its start to its end
    Fetch(FetchArguments),
    /// What this machine's disk and loopback can do without a broker
    Limits(LimitsArguments),
    /// What a broker costs while nobody asks
    Idle(IdleArguments),
    /// Create partitions that nobody writes to, and see what they cost
    Partitions(PartitionsArguments),
    /// Time from exec to the first answer, and from kill -9 to the first acknowledgement
    Start(StartArguments),
    /// A group whose members come and go, and offsets that are committed meanwhile
    Groups(GroupsArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf table target/perf/results.json")]
struct TableArguments {
    results: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf report target/perf/results.json -o report.html")]
struct ReportArguments {
    /// Also of a benchmark that was stopped
    results: PathBuf,
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  perf workloads\n  perf workloads W2 > mine.toml")]
struct WorkloadsArguments {
    /// Prints its file, to read, or to write one's own after it
    workload: Option<String>,
}

#[derive(Args, Debug)]
struct Target {
    /// HOST:PORT of a broker that leads all partitions
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    broker: String,
    /// Its process on this host: adds what it uses
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Bind this command to one core, its own: an open loop then waits without sleep
    #[arg(long, value_name = "CORE")]
    cpu: Option<usize>,
}

const LOAD_EXAMPLES: &str = "\
Examples:
  perf load --connections 64 --record-bytes 1024 --rate 5000 --broker-pid $(pidof odradek) --cpu 1
  perf load --connections 64 --max                                       how much it can take
  perf load --connections 2 --records-per-batch 127 --in-flight 5 --max  batches of 128 KiB
  perf load --topic sealed --config segment.bytes=16777216 --max         data for perf fetch

With --rate the time of each request follows from the rate alone (an open loop); latency counts from
that time to the acknowledgement, so a broker that stalls is charged for all that had to wait.
With --max each connection keeps --in-flight requests outstanding (a closed loop); latency counts
from the sending and says little. Half of each value is random.";

#[derive(Args, Debug)]
#[command(after_help = LOAD_EXAMPLES)]
struct LoadArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    requests: RequestArguments,
    #[arg(short, long, default_value_t = 64, value_parser = positive)]
    connections: usize,
    /// Records per second over all connections
    #[arg(long, required_unless_present = "max", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// As fast as answers come
    #[arg(long, conflicts_with = "rate")]
    max: bool,
    /// Requests without an answer on one connection
    #[arg(long, default_value_t = 1, value_parser = positive)]
    in_flight: usize,
    /// Beside them, so many that each read every record as it comes: adds their latency, and whether a
    /// record is missing
    #[arg(long, default_value_t = 0)]
    consumers: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Seconds before, that do not
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(..=3_600))]
    warmup: u64,
    /// Also a line for each second
    #[arg(long, conflicts_with = "json")]
    every_second: bool,
}

/// What is sent, and where to.
#[derive(Args, Debug)]
struct RequestArguments {
    /// Created if it is missing
    #[arg(short, long, default_value = "perf")]
    topic: String,
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Topic configuration, if it is created; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    config: Vec<(String, String)>,
    /// Bytes of each record's value
    #[arg(long, default_value_t = 1_024, value_parser = value_bytes)]
    record_bytes: usize,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    records_per_batch: i32,
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// A producer id and sequences for each connection
    #[arg(long)]
    idempotent: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf ping --record-bytes 128 --seconds 10 --cpu 1")]
struct PingArguments {
    #[command(flatten)]
    target: Target,
    /// Created if it is missing, with one partition
    #[arg(short, long, default_value = "perf-ping")]
    topic: String,
    #[arg(long, default_value_t = 128, value_parser = value_bytes)]
    record_bytes: usize,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=3_600))]
    warmup: u64,
}

const FETCH_EXAMPLES: &str = "\
Example:
  perf load --topic sealed --partitions 4 --config segment.bytes=16777216 \\
    --connections 4 --records-per-batch 64 --max --seconds 5
  perf fetch --topic sealed --connections 4 --passes 3 --percent 80
Compare with sendfile_mb_per_second of `perf limits`.";

#[derive(Args, Debug)]
#[command(after_help = FETCH_EXAMPLES)]
struct FetchArguments {
    #[command(flatten)]
    target: Target,
    #[arg(short, long, default_value = "perf")]
    topic: String,
    #[arg(short, long, default_value_t = 1, value_parser = positive)]
    connections: usize,
    /// Of one answer; consumers ask for 1 MiB of a partition
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1_024..))]
    fetch_bytes: i32,
    /// How often it is read
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,
    /// Read so much of each partition from its start: its last segment is never sealed
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100))]
    percent: i64,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf limits --dir /var/lib/odradek --broker-cpu 0 --cpu 1")]
struct LimitsArguments {
    /// On the file system that the broker uses; 600 MiB for a few seconds
    #[arg(long)]
    dir: PathBuf,
    /// The core in the broker's place
    #[arg(long, value_name = "CORE")]
    broker_cpu: Option<usize>,
    /// The core in the client's place
    #[arg(long, value_name = "CORE")]
    cpu: Option<usize>,
    /// Of each measure
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf idle --broker-pid $(pidof odradek)")]
struct IdleArguments {
    #[arg(long, value_name = "PID")]
    broker_pid: u32,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  perf partitions --count 10000 --broker-pid $(pidof odradek)")]
struct PartitionsArguments {
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    broker: String,
    #[arg(long, value_name = "PID")]
    broker_pid: u32,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(i32).range(1..))]
    count: i32,
    /// Topics of 1,000 partitions have this name and a number
    #[arg(short, long, default_value = "perf-partitions")]
    topic: String,
}

const START_EXAMPLES: &str = "\
Examples:
  perf start -- odradek serve --set log.dirs=/tmp/data
  perf start --kill -- odradek serve --set log.dirs=/tmp/data
The broker that is started is killed at the end; the command must become it, not start it.";

#[derive(Args, Debug)]
#[command(after_help = START_EXAMPLES)]
struct StartArguments {
    /// Where it will listen
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    broker: String,
    /// Then produce a record to each partition, kill -9, start again, and produce once more
    #[arg(long)]
    kill: bool,
    /// For the records of --kill; created if it is missing
    #[arg(short, long, default_value = "perf-start")]
    topic: String,
    /// Of that topic
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Where the broker's output goes
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What goes to standard output.
pub(crate) fn run(command: &Command) -> Result<String, Failure> {
    let mut detail = String::new();
    let report = match &command.verb {
        Verb::Run(arguments) => return arguments.run(),
        Verb::Table(arguments) => return Ok(table::text(&table::read(&arguments.results)?)),
        Verb::Report(arguments) => return page::write(&arguments.results, &arguments.output),
        Verb::Workloads(arguments) => return arguments.text(),
        Verb::Load(arguments) => arguments.run(&mut detail)?,
        Verb::Ping(arguments) => arguments.run()?,
        Verb::Fetch(arguments) => arguments.run()?,
        Verb::Limits(arguments) => limits::run(&limits::Plan {
            folder: &arguments.dir,
            broker_core: arguments.broker_cpu,
            client_core: arguments.cpu,
            length: Duration::from_secs(arguments.seconds),
            stop: &Stop::default(),
        })?,
        Verb::Idle(arguments) => {
            let watched = Duration::from_secs(arguments.seconds);
            idle::run(Process::of(arguments.broker_pid)?, watched)?
        }
        Verb::Partitions(arguments) => {
            let process = Process::of(arguments.broker_pid)?;
            let address = resolve(&arguments.broker)?;
            partitions::run(address, &arguments.topic, arguments.count, process, &Stop::default())?
        }
        Verb::Start(arguments) => arguments.run()?,
        Verb::Groups(arguments) => arguments.run()?,
    };
    let text = if command.json { report.to_json() + "\n" } else { report.to_text() };
    Ok(text + &detail)
}

impl Target {
    /// Binds this process to its core; the broker's process, if it was given.
    fn settle(&self) -> Result<Option<Process>, Failure> {
        self.cpu.map_or(Ok(()), pin::to_core)?;
        self.broker_pid.map(Process::of).transpose()
    }
}

impl WorkloadsArguments {
    fn text(&self) -> Result<String, Failure> {
        if let Some(name) = &self.workload {
            return Workload::text(name);
        }
        let workloads = Workload::ours()?;
        let line = |it: &Workload| {
            format!("{:4} {:24} {}\n", it.form().key, it.form().title, it.form().about)
        };
        Ok(workloads.iter().map(line).collect())
    }
}

impl LoadArguments {
    fn run(&self, detail: &mut String) -> Result<Report, Failure> {
        let broker = self.target.settle()?;
        let pace =
            self.rate.map_or(Pace::Saturated, |rate| Pace::Open { records_per_second: rate });
        let producers = self.requests.producers(self.connections, self.in_flight);
        let plan = Plan {
            address: resolve(&self.target.broker)?,
            protocol: Protocol::Kafka,
            broker,
            topics: vec![self.requests.topic()],
            producers: vec![producers],
            consumers: readers(self.consumers),
            phases: phases(self.warmup, self.seconds, pace),
            spins: self.target.cpu.is_some(),
        };
        let outcome = scene::run(&plan, &Stop::default())?;
        if self.every_second {
            *detail = seconds_text(&outcome);
        }
        let how = self.rate.map_or_else(
            || format!("as fast as it answers (closed loop, {} in flight each)", self.in_flight),
            |rate| format!("{rate} records/s (open loop)"),
        );
        let title = format!("load of {} connections, {how}", self.connections);
        Ok(Report::of(title, outcome.numbers, outcome.void))
    }
}

/// Consumers of the first topic, from its end on.
fn readers(count: usize) -> Vec<Consumers> {
    let readers = Consumers {
        name: "readers".to_owned(),
        topic: 0,
        count,
        share: Share::All,
        from: From::End,
        begins_in: 0,
        partition_bytes_max: PARTITION_BYTES_MAX,
        wait_max: FETCH_WAIT,
    };
    if count == 0 { Vec::new() } else { vec![readers] }
}

fn phases(warmup: u64, seconds: u64, pace: Pace) -> Vec<Phase> {
    let phase = |name: &str, seconds, counts| Phase {
        name: name.to_owned(),
        until: Until::Passed(Duration::from_secs(seconds)),
        counts,
        paces: vec![pace],
    };
    vec![phase("warmup", warmup, false), phase("measured", seconds, true)]
}

/// Each second, for people.
fn seconds_text(outcome: &Outcome) -> String {
    let publish = outcome.series.iter().filter(|it| it.measure == Measure::Publish);
    let seconds = publish.flat_map(|it| it.seconds.iter().enumerate());
    let line = |(second, it): (usize, &Second)| {
        format!("  second {second:3}: {:8} requests, worst {:8.0} us\n", it.count, it.max_us)
    };
    seconds.map(line).collect()
}

impl RequestArguments {
    fn topic(&self) -> Topic {
        Topic {
            name: self.topic.clone(),
            partition_count: self.partitions,
            configs: self.config.clone(),
        }
    }

    fn producers(&self, count: usize, in_flight_max: usize) -> Producers {
        Producers {
            name: "producers".to_owned(),
            topic: 0,
            count,
            in_flight_max,
            record_count: self.records_per_batch,
            value_bytes: self.record_bytes,
            acks: self.acks,
            is_idempotent: self.idempotent,
            partitioning: Partitioning::Turns,
        }
    }
}

impl PingArguments {
    fn run(&self) -> Result<Report, Failure> {
        let broker = self.target.settle()?;
        let producer = Producers {
            name: "ping".to_owned(),
            topic: 0,
            count: 1,
            in_flight_max: 1,
            record_count: 1,
            value_bytes: self.record_bytes,
            acks: Acks::All,
            is_idempotent: false,
            partitioning: Partitioning::Turns,
        };
        let name = self.topic.clone();
        let plan = Plan {
            address: resolve(&self.target.broker)?,
            protocol: Protocol::Kafka,
            broker,
            topics: vec![Topic { name, partition_count: 1, configs: Vec::new() }],
            producers: vec![producer],
            consumers: readers(1),
            phases: phases(self.warmup, self.seconds, Pace::Saturated),
            spins: false,
        };
        let outcome = scene::run(&plan, &Stop::default())?;
        let title = "ping: one record after the other (closed loop), and a consumer";
        let mut report = Report::of(title, outcome.numbers, outcome.void);
        if let (Some(p99), Some(p50)) = (report.number("p99_us"), report.number("p50_us")) {
            report.put("p99_per_p50", p99 / p50.max(f64::MIN_POSITIVE));
        }
        Ok(report)
    }
}

impl FetchArguments {
    fn run(&self) -> Result<Report, Failure> {
        let broker = self.target.settle()?;
        fetch::run(&fetch::Plan {
            address: resolve(&self.target.broker)?,
            topic: &self.topic,
            connection_count: self.connections,
            fetch_bytes: self.fetch_bytes,
            pass_count: self.passes,
            read_percent: self.percent,
            broker,
        })
    }
}

impl StartArguments {
    fn run(&self) -> Result<Report, Failure> {
        let plan = start::Plan {
            command: &self.command,
            address: resolve(&self.broker)?,
            topic: &self.topic,
            partition_count: self.partitions,
            log: self.log.as_deref(),
            placement: &Placement::Shared,
            stop: &Stop::default(),
        };
        if self.kill { start::run_and_kill(&plan) } else { start::run(&plan) }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes = positive(text)?;
    let has_room = TIME_BYTES <= bytes;
    if has_room { Ok(bytes) } else { Err(format!("at least {TIME_BYTES}: each value has a time")) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }
}
