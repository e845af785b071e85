//! The arguments of `perf run`, and what it answers.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::benchmark::earlier::{self, Earlier, Given};
use crate::benchmark::{self, Purpose, guard, order};
use crate::clock::wall_ms;
use crate::failure::Failure;
use crate::placement::{self, Cores, Placement};
use crate::slate::Caches;
use crate::table;
use crate::target::Target;
use crate::workload::{Extent, Workload};

const EXAMPLES: &str = "\
Examples:
  perf run                                      all workloads, odradek beside kafka, 8 minutes
  perf run --profile full --targets odradek,kafka,kafka-flush W2 W4
  perf run --targets odradek,broker.example:9092 --placement shared W3
  perf run --targets before=/tmp/old/odradek,after=target/release/odradek --pairs 5 --guard 5 W2 W4
  perf run --profile full --seconds 1800 --reached W3=40MB/s W12           half an hour each

Targets: odradek (the program beside this one), odradek-caching (with write.caching=true of its topics),
NAME=PATH of a build of it, kafka (Apache Kafka with its defaults), kafka-flush (it flushes each
message), rabbitmq-quorum, rabbitmq-stream, nats (JetStream), nats-sync (sync_interval: always; from
2.10), nats=PATH, nats-sync=PATH and odradek-caching=PATH of another build, HOST:PORT of any broker of
Kafka's protocol. All but the last are started and stopped here, each time with an empty data directory.
The durability class stands beside each: D0 acknowledges from memory, D1 from the page cache, D2 from
the device, D? is unknown. What makes no sense for a target is left out, and said to be.
A workload that needs the result of another brings it along, unless --reached says it. Ctrl-C leaves what was measured.
With --guard the first target is the one to beat: the exit code is 1 if the second is worse.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub(super) struct RunArguments {
    /// Of ours (`perf workloads`), or files; all of ours if none is named
    workloads: Vec<String>,
    #[arg(long, value_enum, default_value_t = Extent::Smoke)]
    profile: Extent,
    /// Multiplies rates, connections and backlogs
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Compared with the first; see below
    #[arg(long, value_delimiter = ',', default_value = "odradek,kafka", value_parser = Target::parse)]
    targets: Vec<Target>,
    /// The broker on its own core and the load on another, or nobody bound
    #[arg(long, value_enum, default_value_t = PlacementName::Split)]
    placement: PlacementName,
    /// Of the broker in split placement: 0, 0-3, 0,2
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = placement::cores)]
    broker_cores: Cores,
    /// Of the load in split placement
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    load_core: usize,
    /// For results.json, logs, and data while it runs: on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "target/perf")]
    out: PathBuf,
    /// Runs of each target, instead of the profile's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: Option<u32>,
    /// That each run measures, instead of the profile's: of W12 the whole, of others each phase
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// What a workload that others need has reached: `W3=40 MB/s`, or the results file of an earlier
    /// run of the same targets; may be repeated
    #[arg(long, value_name = "W=RATE|FILE", value_parser = earlier::parse)]
    reached: Vec<Given>,
    /// Of the order of targets in each pair; drawn and printed if it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Do not empty the page cache between runs: on a machine that others use
    #[arg(long)]
    keep_caches: bool,
    /// Count the brokers' system calls with strace, in scenes: a run that is void but for that
    #[arg(long, conflicts_with = "guard")]
    count_calls: bool,
    /// Do not measure what the machine can do: no number has a share of it then
    #[arg(long)]
    skip_limits: bool,
    /// What other machines may take of this one before a run is void, in percent: more than 1 is for a virtual
    /// machine where waking up alone takes that, and the report says it
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    steal_percent_max: u8,
    /// Fail if the second target is worse than the first by more than so many percent
    #[arg(long, value_name = "PERCENT")]
    guard: Option<f64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum PlacementName {
    Split,
    Shared,
}

impl RunArguments {
    pub(super) fn run(&self) -> Result<String, Failure> {
        let plan = self.plan()?;
        if self.guard.is_some() && plan.targets.len() != 2 {
            return Err(Failure::new("--guard compares two targets: name them with --targets"));
        }
        allow_descriptors(benchmark::descriptors(&plan))?;
        let results = benchmark::run(&plan)?;
        let text = table::text(&results);
        let Some(threshold_percent) = self.guard else {
            return if results.is_complete { Ok(text) } else { Err(stopped(&text, &plan)) };
        };
        print(&text)?;
        guard::judge(&results, threshold_percent)?;
        Ok("the second target is not worse than the first\n".to_owned())
    }

    fn plan(&self) -> Result<benchmark::Plan, Failure> {
        let keys: Vec<&str> = self.targets.iter().map(Target::key).collect();
        if let Some(twice) = keys.iter().find(|key| keys.iter().filter(|it| it == key).count() > 1)
        {
            let hint = "give each build a name of its own: before=PATH,after=PATH";
            return Err(Failure::new(format!("target {twice} is there twice: {hint}")));
        }
        let earlier = Earlier::of(&self.reached)?;
        let mut workloads = self.workloads(&earlier)?;
        if let Some(pairs) = self.pairs {
            workloads.iter_mut().for_each(|workload| workload.set_pairs(pairs));
        }
        if let Some(seconds) = self.seconds {
            workloads.iter_mut().for_each(|workload| workload.set_seconds(seconds));
        }
        Ok(benchmark::Plan {
            workloads,
            extent: self.profile,
            scale: self.scale,
            targets: self.targets.clone(),
            placement: match self.placement {
                PlacementName::Split => {
                    Placement::Split { broker: self.broker_cores.0.clone(), load: self.load_core }
                }
                PlacementName::Shared => Placement::Shared,
            },
            folder: self.out.clone(),
            seed: self.seed.unwrap_or_else(|| wall_ms().unsigned_abs()),
            measures_limits: !self.skip_limits,
            caches: if self.keep_caches { Caches::Kept } else { Caches::Dropped },
            purpose: if self.count_calls { Purpose::Calls } else { Purpose::Numbers },
            earlier,
            steal_percent_max: f64::from(self.steal_percent_max),
        })
    }

    /// Those that were named, and what they need, in an order in which each can run.
    fn workloads(&self, earlier: &Earlier) -> Result<Vec<Workload>, Failure> {
        let mut known = Workload::ours()?;
        let mut named = Vec::new();
        for name in &self.workloads {
            let workload = Workload::load(name)?;
            named.push(workload.form().key.clone());
            known.retain(|it| it.form().key != workload.form().key);
            known.push(workload);
        }
        if named.is_empty() {
            named = known.iter().map(|it| it.form().key.clone()).collect();
        }
        let find = |key: &str| {
            let found = known.iter().find(|it| it.form().key == key);
            found.ok_or_else(|| Failure::new(format!("there is no workload {key}")))
        };
        let is_known =
            |key: &String| self.targets.iter().all(|it| earlier.reached(key, it.key()).is_some());
        let needs = |key: &str| {
            let needs = find(key)?.needs(self.profile)?.into_iter();
            Ok(needs.filter(|need| !is_known(need)).collect())
        };
        let ordered = order::after_needs(&named, &needs)?;
        ordered.iter().map(|key| find(key).cloned()).collect()
    }
}

/// What was measured is printed, and is no success.
fn stopped(text: &str, plan: &benchmark::Plan) -> Failure {
    let folder = plan.folder.display();
    match print(text) {
        Ok(()) => Failure::new(format!("stopped: what was measured is in {folder}")),
        Err(failure) => failure,
    }
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::io("print the table", error))
}

/// As many as this process may have: for connections here, and for the brokers that inherit it. More than
/// that, if so many are needed, only root may have.
fn allow_descriptors(needed: u64) -> Result<(), Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = maximum.map(|it| it.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: raised, maximum: raised }).map_err(|error| {
        let limit = maximum.map_or_else(|| "any number".to_owned(), |it| it.to_string());
        let hint = "raise it (ulimit -Hn as root), run as root, or choose a smaller --scale";
        Failure::new(format!(
            "{needed} open files are needed, and the limit is {limit} ({error}): {hint}"
        ))
    })
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && 0.0 < scale => Ok(scale),
        Ok(_) | Err(_) => Err("a number above 0".to_owned()),
    }
}
