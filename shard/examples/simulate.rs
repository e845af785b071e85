//! Runs the broker in simulated worlds, a seed each, and says which seed broke which promise.
//!
//! ```text
//! cargo run --profile sim -p shard --example simulate -- [--seeds A..B] [--minutes M]
//!     [--seed N [--step K]] [--crash-points A..B] [--bug NAME] [--bugs]
//! ```
#![expect(clippy::print_stdout, reason = "a command answers on stdout")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::bug::Bug;
use shard::sim::failure::Check;
use shard::sim::scenario::{Plan, Report};

const USAGE: &str = "\
simulate [--seeds A..B]          long random runs (default 0..200)
simulate --minutes M             long random runs, of seeds nobody has seen
simulate --crash-points A..B     short runs, crashed after each write, sync and rename in turn
simulate --seed N                replays a long run and tells its story
simulate --seed N --step K       replays a short run that is crashed at step K
simulate --bugs                  lists the bugs that a build with `--cfg zoo` has
simulate ... --bug NAME          any of the above by a broker with this bug";

enum Job {
    Seeds(Range<u64>),
    Minutes(u64),
    CrashPoints(Range<u64>),
    Replay { seed: u64, step: Option<u64> },
    ListBugs,
}

/// Sums over runs.
struct Total {
    began: Instant,
    run_count: u64,
    crash_count: u64,
    acked_count: u64,
    read_count: u64,
    simulated: Duration,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let is_bug_known = choose_bug(&mut words);
    let job = parse(&words).filter(|_| is_bug_known);
    let Some(job) = job else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut total = Total::new();
    let done = match job {
        Job::Seeds(seeds) => total.run_long(seeds, None),
        Job::Minutes(minutes) => {
            let first = u64::from(std::process::id()) << 32;
            total.run_long(first..u64::MAX, Some(Duration::from_secs(60 * minutes)))
        }
        Job::CrashPoints(seeds) => total.run_crash_points(seeds),
        Job::Replay { seed, step } => total.replay(seed, step),
        Job::ListBugs => {
            Bug::ALL.iter().for_each(|bug| println!("{bug:?}"));
            return ExitCode::SUCCESS;
        }
    };
    total.print();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Takes `--bug NAME` out of `words`. False if there is no such bug, or none in this build.
fn choose_bug(words: &mut Vec<String>) -> bool {
    let Some(at) = words.iter().position(|it| it == "--bug") else { return true };
    let end = words.len().min(at + 2);
    let name = words.drain(at..end).nth(1);
    let bug = Bug::ALL.into_iter().find(|it| Some(format!("{it:?}")) == name);
    bug.is_some_and(Bug::choose)
}

fn parse(words: &[String]) -> Option<Job> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => Some(Job::Seeds(0..200)),
        ["--seeds", range] => range_of(range).map(Job::Seeds),
        ["--minutes", minutes] => minutes.parse().ok().map(Job::Minutes),
        ["--crash-points", range] => range_of(range).map(Job::CrashPoints),
        ["--bugs"] => Some(Job::ListBugs),
        ["--seed", seed] => Some(Job::Replay { seed: seed.parse().ok()?, step: None }),
        ["--seed", seed, "--step", step] => {
            Some(Job::Replay { seed: seed.parse().ok()?, step: Some(step.parse().ok()?) })
        }
        _ => None,
    }
}

fn range_of(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

/// Says how to replay, should the broker panic.
fn announce(words: String) {
    std::panic::set_hook(Box::new(move |info| {
        let check = Check::of_panic(info.location());
        println!("{info}\nFAILED: {check:?}: a panic; replay with: simulate {words}");
    }));
}

impl Total {
    #[expect(clippy::disallowed_methods, reason = "compares simulated time with real time")]
    fn new() -> Self {
        Self {
            began: Instant::now(),
            run_count: 0,
            crash_count: 0,
            acked_count: 0,
            read_count: 0,
            simulated: Duration::ZERO,
        }
    }

    fn run_long(&mut self, seeds: Range<u64>, limit: Option<Duration>) -> Result<(), String> {
        for seed in seeds {
            if limit.is_some_and(|limit| self.began.elapsed() > limit) {
                break;
            }
            let words = format!("--seed {seed}");
            announce(words.clone());
            let report = Plan::long(seed).run(None);
            self.add(
                &report.map_err(|failure| format!("{failure}; replay with: simulate {words}"))?,
            );
        }
        Ok(())
    }

    fn run_crash_points(&mut self, seeds: Range<u64>) -> Result<(), String> {
        for seed in seeds {
            announce(format!("--seed {seed} --step 0"));
            let whole = Plan::crash_point(seed, 0).run(None);
            let whole = whole.map_err(|it| it.to_string())?;
            self.add(&whole);
            for step in 1..=whole.step_count {
                let words = format!("--seed {seed} --step {step}");
                announce(words.clone());
                let report = Plan::crash_point(seed, step).run(None);
                let report = report.map_err(|it| format!("{it}; replay with: simulate {words}"))?;
                self.add(&report);
            }
        }
        Ok(())
    }

    fn replay(&mut self, seed: u64, step: Option<u64>) -> Result<(), String> {
        let plan = step.map_or_else(|| Plan::long(seed), |step| Plan::crash_point(seed, step));
        println!("{plan:#?}");
        let report = plan.run(Some(Box::new(|line| println!("{line}"))));
        let report = report.map_err(|it| it.to_string())?;
        println!("{report:#?}");
        self.add(&report);
        Ok(())
    }

    fn add(&mut self, report: &Report) {
        self.run_count += 1;
        self.crash_count += report.tally.crash_count;
        self.acked_count += report.tally.acked_count;
        self.read_count += report.tally.read_count;
        self.simulated += report.simulated;
    }

    fn print(&self) {
        let real = self.began.elapsed();
        println!(
            "{} runs, {} crashes, {} records acknowledged, {} read; {:.1} s simulated in {:.1} s, \
             {:.0} times real time",
            self.run_count,
            self.crash_count,
            self.acked_count,
            self.read_count,
            self.simulated.as_secs_f64(),
            real.as_secs_f64(),
            self.simulated.as_secs_f64() / real.as_secs_f64(),
        );
    }
}
