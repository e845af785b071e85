//! A consumer group under a storm: members leave and others join, again and again, while others commit
//! offsets in an open loop.
//!
//! Each member is a thread with one connection, and does what a consumer's client does between its polls:
//! it fetches nothing. A member that is to leave does so when it next looks, so a rebalance takes as long as
//! the broker needs and as heartbeats are apart.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, Scope};
use std::time::Duration;

use serde::Deserialize;

use crate::broker::{Broker, Topic};
use crate::clock::{Moment, own_cpu};
use crate::failure::Failure;
use crate::groups::commits::{Commits, Committed};
use crate::groups::ledger::Ledger;
use crate::groups::member::{Event, Member, Site};
use crate::latency::Latency;
use crate::process::{Machine, Process};
use crate::report::{Report, float, float_of};
use crate::stop::{LOOK, Stop};

mod classic;
mod commits;
mod consumer;
mod ledger;
mod member;

/// A group that has not found its balance by then never will.
const SETTLE_WAIT: Duration = Duration::from_secs(180);

pub(crate) struct Plan<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) topic: Topic<'a>,
    pub(crate) protocol: Protocol,
    pub(crate) member_count: u32,
    /// So many leave at once, and as many join.
    pub(crate) storm_count: u32,
    /// Between heartbeats. `None`: 3 s, or what the broker says.
    pub(crate) heartbeat: Option<Duration>,
    /// Of all committers together. Zero: there are none.
    pub(crate) commits_per_second: u64,
    /// Storms begin until then.
    pub(crate) measured: Duration,
    pub(crate) broker: Option<Process>,
    pub(crate) stop: &'a Stop,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// `JoinGroup`, eager, the first member assigns ranges
    Classic,
    /// KIP-848, the broker assigns
    Consumer,
}

/// What one run found.
struct Outcome {
    formation: Duration,
    /// From the moment that some were told to leave and others began to join until all had their share.
    rebalances: Vec<Duration>,
    /// How long partitions had no owner.
    pauses: Latency,
    overlap_count: u64,
    committed: Committed,
}

pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut broker = Broker::connect(plan.address)?.heeding(plan.stop);
    broker.ensure_topic(&plan.topic)?;
    broker.until_served(&plan.topic)?;
    let group = format!("{}-{}", plan.topic.name, Moment::now().ns());
    broker.until_coordinated(&group)?;
    let before = (Moment::now(), own_cpu(), Machine::now()?, plan.broker.map(Process::usage));
    let outcome = play(plan, &group)?;
    let elapsed = Moment::now().since(before.0).as_secs_f64();
    let mut report = report(plan, &outcome);
    if let (Some(process), Some(usage)) = (plan.broker, before.3) {
        let cpu = process.usage()?.cpu.saturating_sub(usage?.cpu);
        report.put("broker_cpu_percent", 100.0 * cpu.as_secs_f64() / elapsed);
        report.put("broker_resident_mib", float(process.usage()?.resident_bytes) / 1_048_576.0);
    }
    let own_percent = 100.0 * (own_cpu().saturating_sub(before.1)).as_secs_f64() / elapsed;
    let steal_percent = Machine::now()?.steal_percent_since(before.2);
    report.put_disturbance("", own_percent, steal_percent);
    Ok(report)
}

fn play(plan: &Plan<'_>, group: &str) -> Result<Outcome, Failure> {
    let site = Site {
        address: plan.address,
        group,
        topic: plan.topic.name,
        partition_count: plan.topic.partition_count,
        heartbeat: plan.heartbeat,
    };
    thread::scope(|scope| {
        let commits = Commits::begin(scope, &site, plan.commits_per_second)?;
        let mut storm = Storm::new(plan, scope, &site);
        let began = Moment::now();
        (0..plan.member_count).for_each(|_| storm.admit());
        storm.settle()?;
        let formation = Moment::now().since(began);
        storm.ledger.take_pauses();
        let end = Moment::now().plus(plan.measured);
        let mut rebalances = Vec::new();
        while Moment::now() < end {
            let began = Moment::now();
            (0..plan.storm_count).for_each(|_| storm.replace_eldest());
            storm.settle()?;
            rebalances.push(Moment::now().since(began));
        }
        let committed = commits.end()?;
        let pauses = storm.ledger.take_pauses();
        Ok(Outcome { formation, rebalances, pauses, overlap_count: storm.end()?, committed })
    })
}

/// Who is there, and who tells what.
struct Storm<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    site: &'env Site<'env>,
    protocol: Protocol,
    stop: &'env Stop,
    ledger: Ledger,
    /// By age. A member leaves when its end is dropped.
    present: Vec<(u32, mpsc::Sender<()>)>,
    admitted_count: u32,
    teller: mpsc::Sender<Event>,
    told: mpsc::Receiver<Event>,
}

impl<'scope, 'env> Storm<'scope, 'env> {
    fn new(
        plan: &'env Plan<'_>,
        scope: &'scope Scope<'scope, 'env>,
        site: &'env Site<'env>,
    ) -> Self {
        let (teller, told) = mpsc::channel();
        let ledger = Ledger::new(site.partition_count);
        let (protocol, stop, present) = (plan.protocol, plan.stop, Vec::new());
        Self { scope, site, protocol, stop, ledger, present, admitted_count: 0, teller, told }
    }

    fn admit(&mut self) {
        let name = self.admitted_count;
        self.admitted_count += 1;
        let (stay, leave) = mpsc::channel();
        self.present.push((name, stay));
        let (site, protocol, teller) = (self.site, self.protocol, self.teller.clone());
        self.scope.spawn(move || {
            let lived =
                Member::begin(site, name, teller.clone(), leave).and_then(
                    |member| match protocol {
                        Protocol::Classic => classic::live(member),
                        Protocol::Consumer => consumer::live(member),
                    },
                );
            if let Err(failure) = lived {
                // Whoever is told may have ended.
                drop(teller.send(Event::Failed(failure)));
            }
        });
    }

    fn replace_eldest(&mut self) {
        if !self.present.is_empty() {
            drop(self.present.remove(0));
        }
        self.admit();
    }

    /// Returns when every partition has an owner, and each member its share. Fails if it is stopped.
    fn settle(&mut self) -> Result<(), Failure> {
        let deadline = Moment::now().plus(SETTLE_WAIT);
        while !self.ledger.is_balanced(self.present.iter().map(|it| it.0)) {
            self.stop.check()?;
            let left = deadline.since(Moment::now());
            let Ok(event) = self.told.recv_timeout(left.min(LOOK)) else {
                if Moment::now() < deadline {
                    continue;
                }
                let held = self.ledger.owned_count();
                return Err(Failure::new(format!(
                    "the group has not settled within {} s: {held} of {} partitions have an owner",
                    SETTLE_WAIT.as_secs(),
                    self.site.partition_count
                )));
            };
            hear(&mut self.ledger, event)?;
        }
        Ok(())
    }

    /// All leave. How often two members had the same partition at once.
    fn end(mut self) -> Result<u64, Failure> {
        self.present.clear();
        drop(self.teller);
        while let Ok(event) = self.told.recv() {
            hear(&mut self.ledger, event)?;
        }
        Ok(self.ledger.overlap_count())
    }
}

fn hear(ledger: &mut Ledger, event: Event) -> Result<(), Failure> {
    match event {
        Event::Took { name, partitions, at } => ledger.take(name, &partitions, at),
        Event::Gave { name, partitions, at } => ledger.give(name, &partitions, at),
        Event::Failed(failure) => return Err(failure),
    }
    Ok(())
}

fn report(plan: &Plan<'_>, outcome: &Outcome) -> Report {
    let Outcome { formation, rebalances, pauses, overlap_count, committed } = outcome;
    let protocol = format!("{:?}", plan.protocol).to_lowercase();
    let mut report = Report::new(format!(
        "group of {} members ({protocol} protocol) and {} partitions: {} leave and {} join at once",
        plan.member_count, plan.topic.partition_count, plan.storm_count, plan.storm_count
    ));
    let mut sorted: Vec<f64> = rebalances.iter().map(|it| 1e3 * it.as_secs_f64()).collect();
    sorted.sort_by(f64::total_cmp);
    report.put("formation_ms", 1e3 * formation.as_secs_f64());
    report.put("rebalance_count", float_of(sorted.len()));
    report.put("rebalance_p50_ms", sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN));
    report.put("rebalance_max_ms", sorted.last().copied().unwrap_or(f64::NAN));
    report.put("pause_count", float(pauses.count()));
    report.put_latency("pause_", pauses);
    report.put("overlap_count", float(*overlap_count));
    if plan.commits_per_second > 0 {
        report.put_latency("commit_", &committed.latency);
        report.put("commits_per_second", committed.per_second());
        report.put("commit_error_count", float(committed.error_count));
        if committed.is_late() {
            report.put_void("the committers were late: they measured themselves");
        }
    }
    if *overlap_count > 0 {
        report.put_void(format!("{overlap_count} times two members had the same partition"));
    }
    if rebalances.is_empty() {
        report.put_void("no storm came within the time");
    }
    report
}
