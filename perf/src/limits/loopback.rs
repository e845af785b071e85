//! The network of this host without a broker: a bare sendfile loop, checked by iperf3 where it is
//! installed, and an echo of 1 KiB.
//!
//! One thread stands for the broker, one for its client.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio, id};
use std::thread;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open, sendfile};

use crate::clock::{Moment, duration_ns, pause};
use crate::failure::Failure;
use crate::latency::Latency;
use crate::limits::Plan;
use crate::pin;
use crate::report::{Report, float, float_of};

/// A file that stays in the page cache, and what one call sends of it.
const FILE_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const ECHO_BYTES: usize = 1 << 10;
const MEGA: f64 = 1_000_000.0;
const IPERF: &str = "iperf3_mb_per_second";
/// Until its server listens.
const IPERF_TRIES: u32 = 50;
const IPERF_PAUSE: Duration = Duration::from_millis(20);

const _: () = assert!(FILE_BYTES.is_multiple_of(CHUNK_BYTES));

pub(super) fn measure(plan: &Plan<'_>, report: &mut Report) -> Result<(), Failure> {
    let file = Cached::new(plan)?;
    let (byte_count, seconds) =
        both_sides(plan, |stream| send_file(stream, &file.fd), |stream| drain(stream, plan))?;
    report.put("sendfile_mb_per_second", float_of(byte_count) / MEGA / seconds);

    match iperf(plan) {
        Some(bytes_per_second) => report.put(IPERF, bytes_per_second / MEGA),
        None => {
            let why = format!("no cross-check {IPERF}: iperf3 is not installed, or failed");
            report.put_void(why);
        }
    }

    let (latency, seconds) = both_sides(plan, echo, |stream| ask(stream, plan))?;
    report.put("echo_1k_per_second", float(latency.count()) / seconds);
    report.put_latency("echo_1k_", &latency);
    Ok(())
}

/// Runs the broker's side on a thread until the client's side has closed the connection.
/// What the client found, and the seconds it took.
fn both_sides<T>(
    plan: &Plan<'_>,
    serve: impl FnOnce(TcpStream) -> Result<(), Failure> + Send,
    ask: impl FnOnce(TcpStream) -> Result<T, Failure>,
) -> Result<(T, f64), Failure> {
    let refused = |error| Failure::io("listen on 127.0.0.1", error);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let serve = || -> Result<(), Failure> {
        plan.broker_core.map_or(Ok(()), pin::to_core)?;
        let (stream, _) = listener.accept().map_err(refused)?;
        serve(stream)
    };
    thread::scope(|scope| {
        let server = scope.spawn(serve);
        plan.client_core.map_or(Ok(()), pin::to_core)?;
        let stream = connect(address)?;
        let start = Moment::now();
        let found = ask(stream)?;
        let seconds = Moment::now().since(start).as_secs_f64();
        server.join().expect("neither side panics")?;
        Ok((found, seconds))
    })
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let lost = |error| Failure::io(format!("connect to {address}"), error);
    let stream = TcpStream::connect(address).map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    Ok(stream)
}

/// A file in the page cache that goes away with this.
struct Cached {
    path: PathBuf,
    fd: OwnedFd,
}

impl Cached {
    fn new(plan: &Plan<'_>) -> Result<Self, Failure> {
        let path = plan.folder.join(format!("perf-sendfile.{}", id()));
        let failed = |error| Failure::io(format!("write {}", path.display()), error);
        fs::write(&path, vec![0x5a; FILE_BYTES]).map_err(failed)?;
        let fd = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        Ok(Self { path, fd })
    }
}

impl Drop for Cached {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            // Who removed it before us wanted the same.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Sends the file again and again until the other side closes.
fn send_file(stream: TcpStream, file: &OwnedFd) -> Result<(), Failure> {
    let file_end = u64::try_from(FILE_BYTES).expect("sizes have at most 64 bits");
    let mut position = 0;
    loop {
        match sendfile(&stream, file, Some(&mut position), CHUNK_BYTES) {
            Ok(0) => return Err(Failure::new("the file of the sendfile loop shrank")),
            Ok(_) => {}
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(Failure::io("send a file", error)),
        }
        if file_end <= position {
            position = 0;
        }
    }
}

/// Receives for the plan's time; the bytes of it.
fn drain(mut stream: TcpStream, plan: &Plan<'_>) -> Result<usize, Failure> {
    let mut memory = vec![0; CHUNK_BYTES];
    let end = Moment::now().plus_ns(duration_ns(plan.length));
    let mut byte_count = 0;
    while plan.goes_on(end) {
        stream.read_exact(&mut memory).map_err(|error| Failure::io("receive a file", error))?;
        byte_count += CHUNK_BYTES;
    }
    Ok(byte_count)
}

/// Bytes a second from one core to the other, by copies instead of pages of a file.
fn iperf(plan: &Plan<'_>) -> Option<f64> {
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port().to_string();
    let bound = |core: Option<usize>| {
        let mut command = Command::new("iperf3");
        if let Some(core) = core {
            command.args(["-A", &core.to_string()]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null()).args(["-p", &port]);
        command
    };
    let mut server = bound(plan.client_core).args(["-s", "-1"]).spawn().ok()?;
    let mut client = bound(plan.broker_core);
    client.args(["-c", "127.0.0.1", "-J", "-l", "128K", "-t"]);
    client.arg(plan.length.as_secs().max(1).to_string());
    let mut tries = (0..IPERF_TRIES).take_while(|_| !plan.stop.is_asked());
    let found = tries.find_map(|_| {
        pause(IPERF_PAUSE);
        received(&client.stdout(Stdio::piped()).output().ok()?.stdout)
    });
    // It ends by itself after one client, and may have had none.
    let ended = server.kill().and_then(|()| server.wait());
    found.filter(|_| ended.is_ok())
}

fn received(output: &[u8]) -> Option<f64> {
    let report: serde_json::Value = serde_json::from_slice(output).ok()?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64()?;
    Some(bits / 8.0).filter(|it| *it > 0.0)
}

fn echo(mut stream: TcpStream) -> Result<(), Failure> {
    let lost = |error| Failure::io("answer an echo", error);
    stream.set_nodelay(true).map_err(lost)?;
    let mut memory = [0; ECHO_BYTES];
    loop {
        match stream.read_exact(&mut memory) {
            Ok(()) => stream.write_all(&memory).map_err(lost)?,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(lost(error)),
        }
    }
}

fn ask(mut stream: TcpStream, plan: &Plan<'_>) -> Result<Latency, Failure> {
    let lost = |error| Failure::io("wait for an echo", error);
    let mut memory = [0x5a; ECHO_BYTES];
    let mut latency = Latency::new();
    let start = Moment::now();
    let mut before = start;
    while !plan.stop.is_asked() && before.since(start) < plan.length {
        stream.write_all(&memory).map_err(lost)?;
        stream.read_exact(&mut memory).map_err(lost)?;
        let after = Moment::now();
        latency.record_ns(after.ns_since(before));
        before = after;
    }
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iperf3_received_is_in_bytes() {
        let output = br#"{"end":{"sum_received":{"bits_per_second":8e9}}}"#;
        assert_eq!(received(output), Some(1e9));
        assert_eq!(received(br#"{"error":"refused"}"#), None);
    }
}
