//! How long a broker takes from `exec` to its first answer, and from a kill -9 to its first
//! acknowledgement.
//!
//! A broker that ends before its first answer is started again, as a supervisor does: the kernel may
//! still hold what the killed one held. Invariant: the broker that was started here is dead when the measure ends, however it ends.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use net::api::ApiKey;
use net::client;

use crate::batch::{ProducerId, Stamp};
use crate::broker::{self, Broker, Topic};
use crate::clock::{Moment, pause, wall_ms};
use crate::failure::Failure;
use crate::frame::{Acks, PRODUCE_LAST, ProduceFrame, Shape};
use crate::payload::{Origin, Random};
use crate::placement::Placement;
use crate::report::Report;

const READY_WAIT: Duration = Duration::from_secs(120);
const RETRY_PAUSE: Duration = Duration::from_micros(500);
/// A broker that still ends by itself after this time will not start.
const RESTARTS_WAIT: Duration = Duration::from_secs(5);
const VALUE_BYTES: usize = 100;

/// What to start, and where it will listen.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) command: &'a [String],
    pub(crate) address: SocketAddr,
    pub(crate) topic: &'a str,
    /// Where its output goes; nowhere if `None`.
    pub(crate) log: Option<&'a Path>,
    /// Of the broker, and of the thread that measures.
    pub(crate) placement: &'a Placement,
}

/// From `exec` to the first answer to ApiVersions and Metadata.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("start");
    let start = Moment::now();
    let mut running = Running::start(plan)?;
    running.until_ready(plan.address)?;
    report.put("ready_ms", millis(start));
    Ok(report)
}

/// The same, then one record, kill -9, and the times until answers and until the next record.
pub(crate) fn run_and_kill(plan: &Plan<'_>) -> Result<Report, Failure> {
    let mut report = Report::new("start, kill -9, start");
    let start = Moment::now();
    let mut running = Running::start(plan)?;
    let mut broker = running.until_ready(plan.address)?;
    report.put("ready_ms", millis(start));
    broker.ensure_topic(&Topic { name: plan.topic, partition_count: 1, configs: &[] })?;
    running.until_acknowledged(plan)?;
    drop(running); // Kills.

    let start = Moment::now();
    let mut running = Running::start(plan)?;
    running.until_ready(plan.address)?;
    report.put("ready_after_kill_ms", millis(start));
    report.put("restart_count", f64::from(running.restart_count));
    running.until_acknowledged(plan)?;
    report.put("acknowledged_after_kill_ms", millis(start));
    Ok(report)
}

/// A broker that is killed when this is dropped.
struct Running<'a> {
    plan: &'a Plan<'a>,
    command: Command,
    child: Child,
    started: Moment,
    restart_count: u32,
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
        Ok(Self { plan, command, child, started, restart_count: 0 })
    }

    fn until_ready(&mut self, address: SocketAddr) -> Result<Broker, Failure> {
        self.until(|| {
            // A refused connection is the common case: it must cost little of the broker's core.
            drop(TcpStream::connect(address).ok()?);
            let mut broker = Broker::connect(address).ok()?;
            let response = broker.metadata(None).ok()?;
            (!response.brokers.is_empty()).then_some(broker)
        })
    }

    fn until_acknowledged(&mut self, plan: &Plan<'_>) -> Result<(), Failure> {
        self.until(|| produce_one(plan.address, plan.topic).ok())
    }

    fn until<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = Moment::now().plus(READY_WAIT);
        loop {
            if let Some(answer) = attempt() {
                return Ok(answer);
            }
            let ended = self.child.try_wait();
            if let Some(status) = ended.map_err(|error| Failure::io("watch the broker", error))? {
                if RESTARTS_WAIT < Moment::now().since(self.started) {
                    let why = format!("the broker ended, {status}: --log FILE says why");
                    return Err(Failure::new(why));
                }
                self.child = spawn(&mut self.command, self.plan.placement)?;
                self.restart_count += 1;
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

/// On a connection of its own.
fn produce_one(address: SocketAddr, topic: &str) -> Result<(), Failure> {
    let version = Broker::connect(address)?.version(ApiKey::Produce, PRODUCE_LAST)?;
    let shape = Shape {
        version,
        topic,
        acks: Acks::All,
        record_count: 1,
        value_bytes: VALUE_BYTES,
        producer: ProducerId::NONE,
        origin: Origin::default(),
    };
    let mut frame = ProduceFrame::new(&shape, &mut Random::from_seed(1));
    let (intended_ns, wall_ms) = (Moment::now().ns(), wall_ms());
    frame.stamp(1, 0, Stamp { intended_ns, first_nth: 0, wall_ms, base_sequence: -1 });
    let lost = |error| Failure::io("produce one record", error);
    let mut stream = TcpStream::connect(address).map_err(lost)?;
    std::io::Write::write_all(&mut stream, frame.bytes()).map_err(lost)?;
    let mut answer = Vec::new();
    broker::read_frame(&mut stream, &mut answer).map_err(lost)?;
    let answer = client::split_response(ApiKey::Produce, version, &Bytes::from(answer))
        .and_then(|(_, body)| client::decode_produce(version, &body))
        .map_err(|error| Failure::new(format!("the answer makes no sense: {error:?}")))?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let mut codes = partitions.map(|partition| partition.error.get());
    if codes.next() == Some(0) { Ok(()) } else { Err(Failure::new("the record was refused")) }
}

fn millis(start: Moment) -> f64 {
    Moment::now().since(start).as_secs_f64() * 1_000.0
}
