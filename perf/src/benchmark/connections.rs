//! What connections cost: memory of those that do nothing, what they do to those that work, many that each
//! work a little, and a storm of clients that come, ask one thing and go.
//!
//! Half of the idle ones have asked for the versions. A broker may close those that never ask: memory
//! is looked at before it does. To a broker on loopback they come from several addresses: one has not
//! ports enough for 100,000.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::benchmark::turn::Started;
use crate::broker::Broker;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::process::Process;
use crate::report::{float, float_of, whole};
use crate::results::Run;
use crate::stop::Stop;
use crate::workload::form::Profile;
use crate::workload::step::Step;

mod storm;

/// What opening them is taken to reach, for the time that remains.
const GUESSED_PER_SECOND: f64 = 4_000.0;
/// Names of its scenes. The producers that the file has after its first are there in the last alone, in place
/// of as many idle connections.
pub(super) const SCENES: [&str; 3] = ["alone", "beside", "awake"];

/// From one address of loopback: fewer than the ports that the kernel gives by itself.
const PER_ADDRESS: u64 = 20_000;

/// Descriptors that each side of them takes.
pub(super) fn descriptors(profile: &Profile, scale: f64) -> u64 {
    whole(float_of(profile.idle_connections) * scale)
}

/// About how long it takes besides its scenes.
pub(super) fn guessed_length(profile: &Profile, scale: f64) -> Duration {
    let opening = float_of(profile.idle_connections) * scale / GUESSED_PER_SECOND;
    Duration::from_secs_f64(opening) + Duration::from_secs(profile.seconds)
}

pub(super) fn measure(started: &Started<'_>, step: &Step, run: &mut Run) -> Result<(), Failure> {
    let instance = started.instance.as_ref().expect("only a restart takes the instance");
    let (address, process) = (instance.address, instance.process()?);
    let plan = started.plan();
    let profile = started.profile();
    let scaled = |count: f64| whole(count * plan.scale).max(1);

    let [alone, beside, awake] = SCENES;
    let mut first = step.clone();
    first.form.producers.truncate(1);
    add_scene(started, &first, alone, run)?;
    let stop = started.stop();
    let count = scaled(float_of(profile.idle_connections));
    let mut idle = open(address, count, (process, stop), run)?;
    add_scene(started, &first, beside, run)?;
    idle.retain(is_open);
    run.numbers.insert("idle_left_count".to_owned(), float_of(idle.len()));
    let woken = step.form.producers.iter().skip(1).map(|it| it.connections).sum();
    let woken = whole(float_of(woken) * plan.scale);
    let woken = usize::try_from(woken).expect("connections are few");
    idle.truncate(idle.len().saturating_sub(woken));
    add_scene(started, step, awake, run)?;
    drop(idle);
    let per_second = scaled(float(profile.connects_per_second));
    let length = Duration::from_secs(profile.seconds);
    storm::run(address, (per_second, length), stop, run)?;
    let p99 = |name: &str| run.numbers.get(name).copied();
    if let (Some(alone), Some(beside)) = (p99("alone_p99_us"), p99("beside_p99_us")) {
        run.numbers.insert("beside_per_alone".to_owned(), beside / alone.max(1.0));
    }
    Ok(())
}

/// Its numbers and series under a name of their own.
fn add_scene(started: &Started<'_>, step: &Step, name: &str, run: &mut Run) -> Result<(), Failure> {
    let outcome = started.scene(step)?;
    let numbers = outcome.numbers.into_iter();
    run.numbers.extend(numbers.map(|(number, value)| (format!("{name}_{number}"), value)));
    run.void.extend(outcome.void.into_iter().map(|reason| format!("{name}: {reason}")));
    for mut series in outcome.series {
        series.phase = format!("{name} {}", series.phase);
        run.series.push(series);
    }
    Ok(())
}

/// One after the other.
fn open(
    address: SocketAddr,
    count: u64,
    (process, stop): (Option<Process>, &Stop),
    run: &mut Run,
) -> Result<Vec<TcpStream>, Failure> {
    let resident = || process.map(Process::usage).transpose();
    let before = resident()?;
    let start = Moment::now();
    let mut idle = Vec::new();
    for index in 0..count {
        stop.check()?;
        let lost = |error| Failure::io(format!("open idle connection {index}"), error);
        let stream = connect(address, source(address, index)).map_err(lost)?;
        let has_asked = index.is_multiple_of(2);
        idle.push(if has_asked { Broker::over(stream, address)?.into_stream() } else { stream });
    }
    let seconds = Moment::now().since(start).as_secs_f64();
    run.numbers.insert("connects_per_second".to_owned(), float(count) / seconds);
    if let (Some(before), Some(after)) = (before, resident()?) {
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        // The broker may have closed some already.
        let there = after.fd_count.saturating_sub(before.fd_count).max(1);
        let per_connection = float(grown) / float(there);
        run.numbers.insert("resident_bytes_per_connection".to_owned(), per_connection);
        run.numbers.insert("broker_fd_count".to_owned(), float(after.fd_count));
    }
    Ok(idle)
}

/// Where the `nth` connection comes from; `None` leaves it to the kernel, which finds a port many times faster
/// when it connects than when it binds.
fn source(to: SocketAddr, nth: u64) -> Option<SocketAddr> {
    if !to.ip().is_loopback() || !to.is_ipv4() || nth < PER_ADDRESS {
        return None;
    }
    let host = u32::try_from(nth / PER_ADDRESS).expect("connections are fewer than addresses");
    Some(SocketAddr::from((Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + host), 0)))
}

fn connect(to: SocketAddr, from: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        // Ports of connections that were closed a while ago may be taken again.
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Whether the broker has not closed it, which sends nothing that it was not asked.
fn is_open(stream: &TcpStream) -> bool {
    let is_empty = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.peek(&mut [0]).is_err_and(|it| is_empty(&it))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_stopped_connects_to_nobody() {
        let results = crate::page::testing::run("odradek", 1, 1.0, &[]);
        let (mut run, stop) = (Run { numbers: BTreeMap::new(), ..results }, Stop::default());
        stop.ask();
        // Port 9 of this machine refuses.
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let hour = Duration::from_secs(3_600);
        let failures = [
            open(to, 10_000, (None, &stop), &mut run).map(drop).expect_err("it is stopped"),
            storm::run(to, (2_000, hour), &stop, &mut run).expect_err("it is stopped"),
        ];
        assert!(failures.iter().all(|it| it.to_string() == "it was stopped"), "{failures:?}");
        assert!(run.numbers.is_empty());
    }

    #[test]
    fn loopback_has_an_address_for_every_twenty_thousand() {
        let from = |to: &str, nth| source(to.parse().expect("an address"), nth);
        let at = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(from("127.0.0.1:9092", 19_999), None);
        assert_eq!(from("127.0.0.1:9092", 20_000), at("127.0.0.2:0"));
        assert_eq!(from("127.0.0.1:9092", 99_999), at("127.0.0.5:0"));
        assert_eq!(from("192.0.2.1:9092", 99_999), None);
        assert_eq!(from("[::1]:9092", 99_999), None);
    }

    #[test]
    fn a_connection_comes_from_where_it_is_said_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("it is bound");
        let held = connect(to, source(to, 20_000)).expect("connected");
        let (_, peer) = listener.accept().expect("a connection");
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(held.local_addr().ok(), Some(peer));
    }
}
