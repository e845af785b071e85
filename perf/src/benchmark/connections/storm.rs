//! A storm of clients: each comes at its time, whatever the broker does, asks for the versions and goes.
//!
//! One loop has them all, as many at once as the broker leaves unanswered.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::client::{self, Envelope};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::{Moment, duration_ns, timespec};
use crate::failure::Failure;
use crate::frame::CLIENT_ID;
use crate::latency::Latency;
use crate::report::{Report, float};
use crate::results::Run;
use crate::stop::{LOOK, Stop};

const SECOND_NS: u64 = 1_000_000_000;
/// Who would be one more comes when another goes, and is late.
const PRESENT_MAX: usize = 4_000;
/// A client that has no answer so long after the last came has none.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
const EVENTS: usize = 256;
const READ_BYTES: usize = 16 << 10;

/// So many a second, for so long. Latencies count from when a client was to come.
pub(super) fn run(
    address: SocketAddr,
    (per_second, length): (u64, Duration),
    stop: &Stop,
    run: &mut Run,
) -> Result<(), Failure> {
    let mut crowd = Crowd::new(address)?;
    let (start, count) = (Moment::now(), per_second * length.as_secs());
    let due = |nth: u64| start.plus_ns(nth * SECOND_NS / per_second);
    let deadline = due(count).plus(ANSWER_WAIT);
    let mut next = 0;
    while next < count || !crowd.present.is_empty() {
        stop.check()?;
        let now = Moment::now();
        if deadline <= now {
            let left = crowd.present.len();
            return Err(Failure::new(format!("{left} clients of the storm had no answer")));
        }
        while next < count && due(next) <= now && crowd.present.len() < PRESENT_MAX {
            crowd.admit(next, due(next))?;
            next += 1;
        }
        let wakes_at = if next < count { due(next) } else { Moment::NEVER };
        crowd.wait(wakes_at.since(Moment::now()).min(LOOK))?;
    }
    let seconds = Moment::now().since(start).as_secs_f64();
    let mut report = Report::new("storm");
    report.put("storm_connects_per_second", float(count) / seconds);
    report.put_latency("storm_first_answer_", &crowd.latency);
    report.put_latency("storm_own_lateness_", &crowd.lateness);
    run.numbers.extend(report.rows().iter().cloned());
    Ok(())
}

/// Who has come and has no answer yet.
struct Crowd {
    address: SocketAddr,
    /// What each asks.
    question: Bytes,
    epoll: OwnedFd,
    present: BTreeMap<u64, Visit>,
    latency: Latency,
    /// How late we let them come.
    lateness: Latency,
    events: Vec<epoll::Event>,
    memory: Vec<u8>,
}

impl Crowd {
    fn new(address: SocketAddr) -> Result<Self, Failure> {
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        // Every broker answers version 0.
        let envelope = Envelope { version: 0, correlation_id: 0, client_id };
        let question = ApiVersionsRequest::default();
        let question = client::encode_request(ApiKey::ApiVersions, &envelope, &question);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::io("create an epoll instance", error))?;
        Ok(Self {
            address,
            question: question.map_err(|_inexpressible| Failure::new("no such request"))?,
            epoll,
            present: BTreeMap::new(),
            latency: Latency::new(),
            lateness: Latency::new(),
            events: Vec::with_capacity(EVENTS),
            memory: vec![0; READ_BYTES],
        })
    }

    fn admit(&mut self, nth: u64, due: Moment) -> Result<(), Failure> {
        let lost = |error| Failure::io(format!("serve client {nth} of the storm"), error);
        let stream = begin_to_connect(self.address).map_err(lost)?;
        self.lateness.record_ns(Moment::now().ns_since(due));
        // Told at each edge: when it is connected, and when something has come.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(nth), flags)
            .map_err(|error| lost(error.into()))?;
        self.present.insert(nth, Visit { stream, due, sent_bytes: 0, received: Vec::new() });
        Ok(())
    }

    /// Until something happens, at most so long.
    fn wait(&mut self, longest: Duration) -> Result<(), Failure> {
        let timeout = timespec(duration_ns(longest));
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::io("wait for answers", error)),
        }
        for event in self.events.drain(..) {
            let data = event.data;
            let nth = data.u64();
            let Some(visit) = self.present.get_mut(&nth) else { continue };
            let is_over = visit.go_on(&self.question, &mut self.memory);
            if is_over
                .map_err(|error| Failure::io(format!("serve client {nth} of the storm"), error))?
            {
                self.latency.record_ns(Moment::now().ns_since(visit.due));
                self.present.remove(&nth);
            }
        }
        Ok(())
    }
}

/// One client.
struct Visit {
    stream: TcpStream,
    due: Moment,
    sent_bytes: usize,
    received: Vec<u8>,
}

impl Visit {
    /// As far as it can without waiting. Whether its answer is whole.
    fn go_on(&mut self, question: &[u8], memory: &mut [u8]) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        while let rest = &question[self.sent_bytes..]
            && !rest.is_empty()
        {
            match self.stream.write(rest) {
                Ok(byte_count) => self.sent_bytes += byte_count,
                Err(error) => return is_to_wait(error),
            }
        }
        loop {
            match self.stream.read(memory) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(byte_count) => self.received.extend_from_slice(&memory[..byte_count]),
                Err(error) => return is_to_wait(error),
            }
            if is_whole(&self.received) {
                return Ok(true);
            }
        }
    }
}

/// Not over, if the error says no more than that.
fn is_to_wait(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(false),
        _ => Err(error),
    }
}

fn is_whole(received: &[u8]) -> bool {
    received.split_first_chunk().is_some_and(|(length, frame)| {
        usize::try_from(i32::from_be_bytes(*length)).is_ok_and(|length| length <= frame.len())
    })
}

/// Connected or refused later.
fn begin_to_connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        other => other.map(|()| socket.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn nobody_waits_for_one_who_came_before() {
        const PER_SECOND: u64 = 50;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        // Nobody is answered before all have come.
        let serve = || {
            let come = (0..PER_SECOND).map(|_| listener.accept().expect("a client").0);
            let mut come: Vec<TcpStream> = come.collect();
            come.iter_mut().for_each(|it| it.write_all(&[0, 0, 0, 1, 7]).expect("it is there"));
            come
        };
        let results = crate::page::testing::run("odradek", 1, 1.0, &[]);
        let mut results = Run { numbers: BTreeMap::new(), ..results };
        thread::scope(|scope| {
            let server = scope.spawn(serve);
            let (storm, stop) = ((PER_SECOND, Duration::from_secs(1)), Stop::default());
            run(address, storm, &stop, &mut results).expect("all are answered");
            assert_eq!(server.join().expect("no panic").len(), 50);
        });
        let first = results.numbers["storm_first_answer_max_us"];
        assert!(900_000.0 < first, "the first waits for the last, a second later: {first} us");
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = [0, 0, 0, 2, 1, 1];
        assert!(is_whole(&answer));
        (0..answer.len()).for_each(|end| assert!(!is_whole(&answer[..end]), "{end}"));
    }
}
