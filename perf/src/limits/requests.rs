//! What the network alone costs a broker for each request: a server that reads frames as long as
//! Kafka's, answers each with one as long as Kafka's, and does nothing else.
//!
//! 64 connections with 5 requests in flight, which come together and are answered together: the least
//! that a request can cost. What is told is how many the time of one whole core would be enough for, so
//! that it is no matter whether the client is fast enough to fill it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Moment;
use crate::failure::Failure;
use crate::limits::Plan;
use crate::pin;
use crate::report::{Report, float, float_of};

/// Of a request's frame, without its length, and what the number is called.
pub(crate) const SIZES: [(usize, &str); 3] = [
    (100, "requests_100b_per_core_second"),
    (1 << 10, "requests_1k_per_core_second"),
    (16 << 10, "requests_16k_per_core_second"),
];
/// Parts that the length of a measure is cut into.
pub(super) const PARTS: u32 = 3;

const CONNECTIONS: usize = 64;
const IN_FLIGHT: usize = 5;
/// Of one answer to Produce, for one partition of a topic with a short name.
const ANSWER_BYTES: usize = 64;
const LENGTH_BYTES: usize = 4;
const RECEIVED_BYTES: usize = 128 << 10;

pub(super) fn measure(plan: &Plan<'_>, report: &mut Report) -> Result<(), Failure> {
    let refused = |error| Failure::io("listen on 127.0.0.1", error);
    for (frame_bytes, name) in SIZES {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        // They wait in the listener's queue, so that a connection too many leaves nobody waiting.
        let mut streams = connect(address)?;
        let served = thread::scope(|scope| {
            let server = scope.spawn(|| serve(plan, &listener));
            let asked = ask(plan, &mut streams, frame_bytes);
            drop(streams);
            let served = server.join().expect("the server does not panic");
            asked.and(served)
        })?;
        report.put(name, float(served.count) / served.cpu_seconds.max(f64::MIN_POSITIVE));
    }
    Ok(())
}

struct Served {
    count: u64,
    /// Of the thread that served.
    cpu_seconds: f64,
}

/// Until all clients have gone.
fn serve(plan: &Plan<'_>, listener: &TcpListener) -> Result<Served, Failure> {
    plan.broker_core.map_or(Ok(()), pin::to_core)?;
    let lost = |error| Failure::io("serve a connection", error);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| lost(error.into()))?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for index in 0..CONNECTIONS {
        let (stream, _) = listener.accept().map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let token = u64::try_from(index).expect("a small number");
        epoll::add(&poll, &stream, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
            .map_err(|error| lost(error.into()))?;
        clients.push(Client { stream: Some(stream), received: Vec::new() });
    }
    let mut memory = vec![0; RECEIVED_BYTES];
    let mut events = Vec::with_capacity(CONNECTIONS);
    let (before, mut count, mut open_count) = (own_seconds(), 0, CONNECTIONS);
    while 0 < open_count {
        epoll::wait(&poll, spare_capacity(&mut events), None)
            .map_err(|error| lost(error.into()))?;
        for event in events.drain(..) {
            let token = event.data;
            let index = usize::try_from(token.u64()).expect("our own number");
            match clients[index].turn(&mut memory).map_err(lost)? {
                Some(answered) => count += answered,
                None => open_count -= 1,
            }
        }
    }
    Ok(Served { count, cpu_seconds: own_seconds() - before })
}

/// One connection of the server.
struct Client {
    /// `None` once it has gone.
    stream: Option<TcpStream>,
    /// The front of a frame whose rest has not come.
    received: Vec<u8>,
}

impl Client {
    /// Answers what has come; how many that were. `None` if the client has gone.
    fn turn(&mut self, memory: &mut [u8]) -> std::io::Result<Option<u64>> {
        let Some(stream) = &mut self.stream else { return Ok(Some(0)) };
        let byte_count = match stream.read(memory) {
            Ok(0) => 0,
            Ok(byte_count) => byte_count,
            // Who goes while an answer is under way resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        if byte_count == 0 {
            self.stream = None;
            return Ok(None);
        }
        self.received.extend_from_slice(&memory[..byte_count]);
        let (mut rest, mut answers) = (self.received.as_slice(), Vec::new());
        let mut count = 0;
        while let Some(frame) = take_frame(&mut rest) {
            answers.extend_from_slice(&u32_of(ANSWER_BYTES));
            // The correlation id, as clients want it back.
            answers.extend_from_slice(&frame[4..8]);
            answers.resize(answers.len() + ANSWER_BYTES - 4, 0);
            count += 1;
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
        stream.write_all(&answers)?;
        Ok(Some(count))
    }
}

fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).expect("sizes have 64 bits");
    let (frame, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(frame)
}

fn connect(address: SocketAddr) -> Result<Vec<TcpStream>, Failure> {
    let lost = |error| Failure::io(format!("connect to {address}"), error);
    let mut streams = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        streams.push(stream);
    }
    Ok(streams)
}

/// All connections in turn, each with as many requests at once as may be in flight.
fn ask(plan: &Plan<'_>, streams: &mut [TcpStream], frame_bytes: usize) -> Result<(), Failure> {
    plan.client_core.map_or(Ok(()), pin::to_core)?;
    let lost = |error| Failure::io("ask a server of this program", error);
    let mut frame = u32_of(frame_bytes).to_vec();
    frame.resize(LENGTH_BYTES + frame_bytes, 0x5a);
    let burst = frame.repeat(IN_FLIGHT);
    let mut answers = vec![0; IN_FLIGHT * (LENGTH_BYTES + ANSWER_BYTES)];
    let end = Moment::now().plus(plan.length / PARTS);
    while plan.goes_on(end) {
        for stream in streams.iter_mut() {
            stream.write_all(&burst).map_err(lost)?;
        }
        for stream in streams.iter_mut() {
            stream.read_exact(&mut answers).map_err(lost)?;
        }
    }
    Ok(())
}

fn u32_of(count: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(count).expect("a frame is short").to_be_bytes()
}

/// Of the calling thread.
fn own_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u64::try_from(time.tv_nsec).expect("a part of a second");
    let seconds = u64::try_from(time.tv_sec).expect("time that was used");
    float(seconds) + float(nanos) / 1e9
}

/// How many requests of this size the time of one core would be enough for: between the sizes that were
/// measured, and beyond the last, each byte costs the same. With the name of the nearest.
pub(crate) fn per_core_second(
    request_bytes: f64,
    limit: impl Fn(&str) -> Option<f64>,
) -> Option<(&'static str, f64)> {
    let cost =
        |(bytes, name): (usize, &'static str)| Some((float_of(bytes), name, 1.0 / limit(name)?));
    let points: Vec<(f64, &'static str, f64)> = SIZES.into_iter().filter_map(cost).collect();
    let after = points.iter().skip(1).position(|it| request_bytes <= it.0);
    let index = after.unwrap_or(points.len().checked_sub(2)?);
    let (from, to) = (points.get(index)?, points.get(index + 1)?);
    let part = ((request_bytes - from.0) / (to.0 - from.0)).max(0.0);
    let seconds = part.mul_add(to.2 - from.2, from.2);
    let name = if part < 0.5 { from.1 } else { to.1 };
    (0.0 < seconds).then(|| (name, 1.0 / seconds))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::time::Duration;

    use super::*;
    use crate::stop::Stop;

    #[test]
    fn a_core_serves_requests_of_every_size() {
        let mut report = Report::new("");
        let plan = Plan {
            folder: &env::temp_dir(),
            broker_core: None,
            client_core: None,
            length: Duration::from_millis(60),
            stop: &Stop::default(),
        };
        measure(&plan, &mut report).expect("they are measured");
        for (_, name) in SIZES {
            assert!(report.number(name).is_some_and(|it| 0.0 < it), "{name}");
        }
    }

    #[test]
    fn frames_that_came_in_pieces_are_answered_once_they_are_whole() {
        let whole = [&u32_of(8)[..], &[7; 8], &u32_of(9)[..], &[8; 9]].concat();
        for end in 0..=whole.len() {
            let mut rest = &whole[..end];
            let frames: Vec<&[u8]> = std::iter::from_fn(|| take_frame(&mut rest)).collect();
            let want = usize::from(12 <= end) + usize::from(25 <= end);
            assert_eq!(frames.len(), want, "{end}");
        }
    }

    #[test]
    fn between_the_sizes_that_were_measured_each_byte_costs_the_same() {
        // 1 us, 2 us and 10 us a request.
        let limit = |name: &str| match name {
            "requests_100b_per_core_second" => Some(1_000_000.0),
            "requests_1k_per_core_second" => Some(500_000.0),
            _ => Some(100_000.0),
        };
        let check = |bytes: f64, name: &str, per_second: f64| {
            let (found_name, found) = per_core_second(bytes, limit).expect("all were measured");
            assert_eq!(found_name, name, "{bytes} bytes");
            assert!((found - per_second).abs() < 1.0, "{bytes} bytes: {found}");
        };
        check(20.0, SIZES[0].1, 1_000_000.0);
        check(100.0, SIZES[0].1, 1_000_000.0);
        check(562.0, SIZES[1].1, 1e6 / 1.5);
        check(1_024.0, SIZES[1].1, 500_000.0);
        check(16_384.0, SIZES[2].1, 100_000.0);
        check(31_744.0, SIZES[2].1, 1e6 / 18.0);
        assert_eq!(per_core_second(1.0, |_| None), None);
    }
}
