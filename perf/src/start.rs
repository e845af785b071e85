//! How long a broker takes from `exec` to its first answer, and to acknowledgements of every partition.
//!
//! A broker that ends before its first answer is started again, as a supervisor does: the kernel may
//! still hold what the killed one held. Invariant: the broker that was started here is dead when the
//! measure ends, however it ends.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::{Broker, Topic};
use crate::clock::{Moment, pause};
use crate::failure::Failure;
use crate::placement::Placement;
use crate::process::Process;
use crate::report::{Report, float};
use crate::start::probe::Round;
use crate::stop::Stop;

mod probe;

const READY_WAIT: Duration = Duration::from_secs(120);
const RETRY_PAUSE: Duration = Duration::from_micros(500);
/// A broker that still ends by itself after this time will not start.
const RESTARTS_WAIT: Duration = Duration::from_secs(5);
const MEBI: f64 = 1_048_576.0;

/// What to start, and where it will listen.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a [String],
    pub(crate) address: SocketAddr,
    /// Whose partitions are to take records.
    pub(crate) topic: &'a str,
    pub(crate) partition_count: i32,
    /// Where its output goes; nowhere if `None`.
    pub(crate) log: Option<&'a Path>,
    /// Of the broker, and of the thread that measures.
    pub(crate) placement: &'a Placement,
    pub(crate) stop: &'a Stop,
}

/// What it was that ended the broker before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Stop,
    Kill,
}

/// From `exec` to the first answer to ApiVersions and Metadata.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("start");
    let start = Moment::now();
    Running::start(plan)?.until_ready()?;
    report.put("ready_ms", millis(start));
    Ok(report)
}

/// The same, then a record for each partition, kill -9, and the times until answers and until the next
/// records.
pub(crate) fn run_and_kill(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("start, kill -9, start");
    let start = Moment::now();
    let mut running = Running::start(plan)?;
    let mut broker = running.until_ready()?;
    report.put("ready_ms", millis(start));
    let partition_count = plan.partition_count;
    broker.ensure_topic(&Topic { name: plan.topic, partition_count, configs: &[] })?;
    let mut round = Round::of(0..partition_count);
    running.until(|| round.take_all(plan.address, plan.topic))?;
    drop(running); // Kills.
    again(plan, End::Kill, &mut report)?;
    Ok(report)
}

/// Starts a broker that has run before, on what it left: the times until it answers, until the first
/// partition takes a record and until the last has, and what it has read from the disk by then.
pub(crate) fn again<'a>(
    plan: &'a Plan<'_>,
    end: End,
    report: &mut Report,
) -> Result<Running<'a>, Failure> {
    let after = match end {
        End::Stop => "after_stop",
        End::Kill => "after_kill",
    };
    let start = Moment::now();
    let mut running = Running::start(plan)?;
    running.until_ready()?;
    report.put(format!("ready_{after}_ms"), millis(start));
    report.put(format!("start_{after}_count"), f64::from(running.start_count));
    let mut round = Round::of(0..plan.partition_count);
    running.until(|| round.take_first(plan.address, plan.topic))?;
    report.put(format!("acknowledged_{after}_ms"), millis(start));
    running.until(|| round.take_all(plan.address, plan.topic))?;
    report.put(format!("all_acknowledged_{after}_ms"), millis(start));
    if let Some(bytes) = running.process()?.read_bytes() {
        report.put(format!("recovery_read_{after}_mib"), float(bytes) / MEBI);
    }
    Ok(running)
}

/// A broker that is killed when this is dropped.
pub(crate) struct Running<'a> {
    plan: &'a Plan<'a>,
    command: Command,
    child: Child,
    started: Moment,
    start_count: u32,
}

impl<'a> Running<'a> {
    fn start(plan: &'a Plan<'_>) -> Result<Self, Failure> {
        let (program, arguments) =
            plan.command.split_first().ok_or_else(|| Failure::new("give the command after --"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(path) = plan.log {
            let failed = |error| Failure::io(format!("open {}", path.display()), error);
            let log = File::options().create(true).append(true).open(path).map_err(failed)?;
            command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        }
        let started = Moment::now();
        let child = spawn(&mut command, plan.placement)?;
        Ok(Self { plan, command, child, started, start_count: 1 })
    }

    pub(crate) fn process(&self) -> Result<Process, Failure> {
        Process::of(self.child.id())
    }

    fn until_ready(&mut self) -> Result<Broker, Failure> {
        let address = self.plan.address;
        self.until(|| {
            // A refused connection is the common case: it must cost little of the broker's core.
            drop(TcpStream::connect(address).ok()?);
            let mut broker = Broker::connect(address).ok()?;
            let response = broker.metadata(None).ok()?;
            (!response.brokers.is_empty()).then_some(broker)
        })
    }

    fn until<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = Moment::now().plus(READY_WAIT);
        loop {
            if let Some(answer) = attempt() {
                return Ok(answer);
            }
            self.plan.stop.check()?;
            let ended = self.child.try_wait();
            if let Some(status) = ended.map_err(|error| Failure::io("watch the broker", error))? {
                if RESTARTS_WAIT < Moment::now().since(self.started) {
                    let why = format!("the broker ended, {status}: --log FILE says why");
                    return Err(Failure::new(why));
                }
                self.child = spawn(&mut self.command, self.plan.placement)?;
                self.start_count += 1;
            }
            if deadline <= Moment::now() {
                return Err(Failure::new("the broker does not answer: --log FILE says why"));
            }
            pause(RETRY_PAUSE);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and that was said.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            // Nobody else waits for it, so that this cannot be; there is nothing to do about it.
        }
    }
}

/// In a group of its own, so that Ctrl-C on a terminal reaches us alone, and we end it.
fn spawn(command: &mut Command, placement: &Placement) -> Result<Child, Failure> {
    let program = command.get_program().display().to_string();
    placement.enter_broker()?;
    let child = command.process_group(0).spawn();
    placement.enter_load()?;
    child.map_err(|error| Failure::io(format!("start {program}"), error))
}

fn millis(start: Moment) -> f64 {
    Moment::now().since(start).as_secs_f64() * 1_000.0
}
