//! Runs the broker in simulated worlds, a seed each, and says which seed broke which promise.
//!
//! Runs go on in processes of their own, so that a panic of the broker is a failure like another: it is
//! found, shrunk and replayed. A process runs one world at a time.
#![expect(clippy::print_stdout, reason = "a command answers on stdout")]

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine::bug::Bug;
use shard::sim::failure::Check;
use shard::sim::plan::Plan;
use shard::sim::scenario::{Harm, Report};
use shard::sim::shrink::{self, Removal};

const USAGE: &str = "\
simulate [--seeds A..B]          long random runs, some on a damaged disk (default 0..200)
simulate --minutes M             long random runs, of seeds nobody has seen
simulate --crash-points A..B     short runs, crashed after each write, sync and rename in turn
simulate --seed N                replays a long run and tells its story
simulate --seed N --step K       replays a short run that is crashed at step K
  --jobs N                       so many processes (default: one for each core)
  --without WORDS                a replay of a smaller plan, as a failure prints it
  --shrink SECONDS               how long a failing plan is made smaller (default 60)
  --bug NAME                     by a broker with this bug
simulate --bugs                  lists the bugs that a build with `--cfg zoo` has";

const SHRINK_SECONDS: u64 = 60;
const PROGRESS_PAUSE: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone)]
enum Job {
    Seeds(Range<u64>),
    Minutes(u64),
    CrashPoints(Range<u64>),
    Replay(Replay),
    ListBugs,
    /// In a process of its own: every so many seeds. A line for each run.
    Worker {
        is_long: bool,
        seeds: Range<u64>,
        stride: u64,
    },
}

/// One run.
#[derive(Clone)]
struct Replay {
    seed: u64,
    step: Option<u64>,
    removals: Vec<Removal>,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let jobs = option(&mut words, "--jobs").map(|jobs| jobs.parse().ok());
    let without = option(&mut words, "--without");
    let seconds = option(&mut words, "--shrink");
    let seconds = seconds.map_or(Some(SHRINK_SECONDS), |seconds| seconds.parse().ok());
    let is_bug_known = choose_bug(&mut words);
    let job = parse(&words, without.as_deref()).filter(|_| is_bug_known);
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = jobs.unwrap_or_else(|| Some(cores()));
    let (Some(job), Some(jobs), Some(seconds)) = (job, jobs, seconds) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let shrink_max = Duration::from_secs(seconds);
    let total = |limit| Total::new(limit, shrink_max);
    let done = match job {
        Job::Seeds(seeds) => total(None).run(jobs, "long", seeds),
        Job::CrashPoints(seeds) => total(None).run(jobs, "short", seeds),
        Job::Minutes(minutes) => {
            let first = u64::from(std::process::id()) << 32 | u64::from(fresh());
            total(Some(Duration::from_secs(60 * minutes))).run(jobs, "long", first..u64::MAX)
        }
        Job::Replay(replay) => replay.tell(),
        Job::ListBugs => {
            Bug::ALL.iter().for_each(|bug| println!("{bug:?}"));
            Ok(())
        }
        Job::Worker { is_long, seeds, stride } => work(is_long, seeds, stride),
    };
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
    let Some(name) = option(words, "--bug") else { return true };
    Bug::named(&name).is_some_and(Bug::choose)
}

/// Takes an option with its value out of the words.
fn option(words: &mut Vec<String>, name: &str) -> Option<String> {
    let at = words.iter().position(|word| word == name)?;
    let mut taken = words.drain(at..words.len().min(at + 2));
    taken.nth(1).or_else(|| Some(String::new()))
}

fn parse(words: &[String], without: Option<&str>) -> Option<Job> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let without = without.map(|list| list.split(',').map(Removal::parse).collect());
    let removals: Vec<Removal> = without.unwrap_or(Some(Vec::new()))?;
    match words[..] {
        [] => Some(Job::Seeds(0..200)),
        ["--seeds", range] => range_of(range).map(Job::Seeds),
        ["--minutes", minutes] => minutes.parse().ok().map(Job::Minutes),
        ["--crash-points", range] => range_of(range).map(Job::CrashPoints),
        ["--bugs"] => Some(Job::ListBugs),
        ["--seed", seed] => {
            Some(Job::Replay(Replay { seed: seed.parse().ok()?, step: None, removals }))
        }
        ["--seed", seed, "--step", step] => {
            let step = Some(step.parse().ok()?);
            Some(Job::Replay(Replay { seed: seed.parse().ok()?, step, removals }))
        }
        ["--worker", kind, range, stride] => Some(Job::Worker {
            is_long: kind == "long",
            seeds: range_of(range)?,
            stride: stride.parse().ok()?,
        }),
        _ => None,
    }
}

fn range_of(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

#[expect(clippy::disallowed_methods, reason = "seeds that nobody has seen differ by the time")]
fn fresh() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.subsec_nanos())
}

impl Replay {
    /// Of a failure that a run has printed.
    fn of(failure: &str) -> Option<Self> {
        let (_, words) = failure.rsplit_once("simulate ")?;
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        match parse(&words, None)? {
            Job::Replay(replay) => Some(replay),
            _ => None,
        }
    }

    fn plan(&self) -> Plan {
        let long = || Plan::long(self.seed);
        self.step.map_or_else(long, |step| Plan::crash_point(self.seed, step))
    }

    fn words(&self) -> String {
        let step = self.step.map_or_else(String::new, |step| format!(" --step {step}"));
        let list: Vec<String> = self.removals.iter().map(Removal::to_string).collect();
        let without =
            if list.is_empty() { String::new() } else { format!(" --without {}", list.join(",")) };
        format!("--seed {}{step}{without}", self.seed)
    }

    /// Runs it and tells its story.
    fn tell(&self) -> Result<(), String> {
        let mut plan = self.plan();
        if !self.removals.iter().all(|removal| removal.apply(&mut plan)) {
            return Err("the plan has not what is to be taken from it".to_owned());
        }
        announce(self.words());
        println!("{plan:#?}");
        let report = plan.run(Some(Box::new(|line| println!("{line}"))));
        let report = report.map_err(|it| it.to_string())?;
        println!("{report:#?}");
        Ok(())
    }

    /// Runs it in a process of its own. The kind of its failure, if it fails.
    fn fails(&self) -> Option<String> {
        let words = self.words();
        let mut child = spawn(&words.split_whitespace().collect::<Vec<_>>()).ok()?;
        let lines = BufReader::new(child.stdout.take()?).lines().map_while(Result::ok);
        let failed =
            lines.fold(None, |failed, line| failure_of(&line).map(shrink::kind).or(failed));
        child.wait().ok()?;
        failed
    }

    /// The smallest plan that fails as this one does.
    fn shrunk(&self, shrink_max: Duration) -> Option<Self> {
        let began = now();
        let kind = self.fails()?;
        let removals = shrink::shrink(&self.plan(), |removals| {
            let smaller = Self { removals: removals.to_vec(), ..self.clone() };
            began.elapsed() < shrink_max && smaller.fails().as_ref() == Some(&kind)
        });
        Some(Self { removals, ..self.clone() })
    }
}

fn failure_of(line: &str) -> Option<&str> {
    line.split_once("FAILED: ").map(|(_, failure)| failure)
}

fn end(child: &mut Child) {
    if let Err(error) = child.kill() {
        println!("a process did not end: {error}");
    }
}

/// Says how to replay, should the broker panic.
fn announce(words: String) {
    std::panic::set_hook(Box::new(move |info| {
        let check = Check::of_panic(info.location());
        println!("{info}\nFAILED: {check:?}: a panic; replay with: simulate {words}");
    }));
}

/// Runs this program with these words, and with the bug that it has itself.
fn spawn(words: &[&str]) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    let bug = std::env::args().skip_while(|word| word != "--bug").take(2);
    Command::new(program).args(words).args(bug).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// Runs worlds one after another, and prints a line for each.
fn work(is_long: bool, seeds: Range<u64>, stride: u64) -> Result<(), String> {
    let stride = usize::try_from(stride).expect("processes are few");
    for seed in seeds.step_by(stride) {
        if is_long {
            work_on(&Replay { seed, step: None, removals: Vec::new() })?;
            continue;
        }
        let at = |step| Replay { seed, step: Some(step), removals: Vec::new() };
        let whole = work_on(&at(0))?;
        for step in 1..=whole.step_count {
            work_on(&at(step))?;
        }
    }
    Ok(())
}

fn work_on(replay: &Replay) -> Result<Report, String> {
    announce(replay.words());
    let report = replay.plan().run(None);
    let report = report.map_err(|it| format!("{it}; replay with: simulate {}", replay.words()))?;
    let Report { tally, simulated, idle, .. } = &report;
    let nanos = [simulated.as_nanos(), idle.as_nanos()];
    let harmed = u8::from(report.harm != Harm::None);
    let [crashes, acked, read] = [tally.crash_count, tally.acked_count, tally.read_count];
    println!("ran {harmed} {crashes} {acked} {read} {} {}", nanos[0], nanos[1]);
    Ok(report)
}

/// Why the processes run no more.
#[derive(PartialEq, Eq)]
enum Stopped {
    Failed(String),
    TimeOver,
    AllDone,
}

/// Sums over runs.
struct Total {
    began: Instant,
    limit: Option<Duration>,
    shrink_max: Duration,
    run_count: u64,
    /// Runs that were damaged, crashes, records acknowledged, records read, nanoseconds simulated, of them
    /// idle.
    sums: [u64; 6],
}

#[expect(clippy::disallowed_methods, reason = "compares simulated time with real time")]
fn now() -> Instant {
    Instant::now()
}

impl Total {
    fn new(limit: Option<Duration>, shrink_max: Duration) -> Self {
        Self { began: now(), limit, shrink_max, run_count: 0, sums: [0; 6] }
    }

    /// Deals the seeds out to `jobs` processes, until one finds a failure.
    fn run(mut self, jobs: usize, kind: &str, seeds: Range<u64>) -> Result<(), String> {
        if self.limit.is_some() {
            println!("seeds from {} on", seeds.start);
        }
        let stride = jobs.max(1).to_string();
        let mut children = Vec::new();
        for first in (seeds.start..seeds.end).take(jobs.max(1)) {
            let range = format!("{first}..{}", seeds.end);
            let child = spawn(&["--worker", kind, &range, &stride]);
            children.push(child.map_err(|error| format!("no process for a job: {error}"))?);
        }
        let stopped = self.listen(&mut children);
        let is_all_done = stopped == Stopped::AllDone;
        let mut failure = match stopped {
            Stopped::Failed(failure) => Some(failure),
            Stopped::TimeOver | Stopped::AllDone => None,
        };
        for child in &mut children {
            match child.wait() {
                Ok(status) if is_all_done && !status.success() => {
                    failure.get_or_insert_with(|| format!("a process ended with {status}"));
                }
                Ok(_) => {}
                Err(error) => println!("a process did not end: {error}"),
            }
        }
        self.print();
        failure.map_or(Ok(()), |failure| Err(self.explain(&failure)))
    }

    /// Sums what the processes print, until one fails, all have ended, or the time is over.
    fn listen(&mut self, children: &mut [Child]) -> Stopped {
        let (lines, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            for child in &mut *children {
                let lines = lines.clone();
                let output = child.stdout.take().expect("its output is piped");
                scope.spawn(move || {
                    let read = BufReader::new(output).lines().map_while(Result::ok);
                    read.take_while(|line| lines.send(line.clone()).is_ok()).for_each(drop);
                });
            }
            drop(lines);
            let stopped = self.sum(&taken);
            drop(taken);
            if stopped != Stopped::AllDone {
                // So that the threads that read come to an end.
                children.iter_mut().for_each(end);
            }
            stopped
        })
    }

    fn sum(&mut self, lines: &mpsc::Receiver<String>) -> Stopped {
        let mut told = self.began;
        loop {
            match lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => match failure_of(&line) {
                    Some(failure) => return Stopped::Failed(failure.to_owned()),
                    None => self.add(&line),
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Stopped::AllDone,
            }
            if self.limit.is_some_and(|limit| self.began.elapsed() >= limit) {
                return Stopped::TimeOver;
            }
            if self.limit.is_some() && told.elapsed() >= PROGRESS_PAUSE {
                told = now();
                self.print();
            }
        }
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("ran") {
            println!("{line}"); // What a panic says.
            return;
        }
        self.run_count += 1;
        for (sum, word) in self.sums.iter_mut().zip(words) {
            *sum += word.parse::<u64>().unwrap_or(0);
        }
    }

    fn print(&self) {
        let real = self.began.elapsed();
        let [harmed_count, crash_count, acked_count, read_count, simulated, idle] = self.sums;
        let (simulated, idle) = (Duration::from_nanos(simulated), Duration::from_nanos(idle));
        let rate = simulated.as_secs_f64() / real.as_secs_f64();
        let left = self.limit.map_or_else(String::new, |limit| {
            format!("; {} s left", limit.saturating_sub(real).as_secs())
        });
        println!(
            "{} runs, {harmed_count} of them damaged, {crash_count} crashes, \
             {acked_count} records acknowledged, {read_count} read; \
             {:.1} s simulated in {:.1} s: {rate:.0} times real time, {:.1} hours a minute; \
             {:.0} % of it only timers, pauses and bytes under way{left}",
            self.run_count,
            simulated.as_secs_f64(),
            real.as_secs_f64(),
            rate / 60.0,
            100.0 * idle.as_secs_f64() / simulated.as_secs_f64().max(1e-9),
        );
    }

    /// A failure, and the smallest plan that fails in the same way.
    fn explain(&self, failure: &str) -> String {
        if self.shrink_max.is_zero() {
            return failure.to_owned();
        }
        println!("FAILED: {failure}");
        let replay = Replay::of(failure);
        let Some(smallest) = replay.and_then(|replay| replay.shrunk(self.shrink_max)) else {
            return failure.to_owned();
        };
        let mut plan = smallest.plan();
        smallest.removals.iter().for_each(|removal| assert!(removal.apply(&mut plan)));
        println!("the smallest plan that fails in the same way:\n{plan:#?}");
        format!("{}; replay with: simulate {}", shrink::kind(failure), smallest.words())
    }
}
