//! The simulated network: connections between clients and the shards of nodes.
//!
//! Bytes arrive in order, late, in pieces split anywhere, or not at all: a connection may be cut after
//! any byte. It knows neither tasks nor frames; who waits leaves a waker.
//!
//! Invariant: a pipe holds at most its window.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::Waker;

use bytes::Bytes;

use crate::io::Nanos;
use crate::sim::chance::Chance;

/// Largest piece that a receive gives.
const PIECE_BYTES_MAX: usize = 16 * 1024;
const BACKLOG_MAX: usize = 128;

/// How bad the network is. Odds are one in so many; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// What a piece takes, usually.
    pub delay_nanos: u64,
    /// Of sends, those in which the connection is cut, at any byte.
    pub cuts: u64,
    /// Of pieces, those that are split.
    pub splits: u64,
}

impl Weather {
    /// Fast, and never cut.
    #[must_use]
    pub const fn fair() -> Self {
        Self { delay_nanos: 20_000, cuts: 0, splits: 16 }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    connection: u64,
    /// 0: who connected. 1: who accepted.
    side: usize,
}

impl End {
    const fn peer(self) -> Self {
        Self { connection: self.connection, side: 1 - self.side }
    }

    #[must_use]
    pub const fn connection(self) -> u64 {
        self.connection
    }
}

/// What waiting for the network comes to.
pub enum Progress<T> {
    Done(T),
    /// Not before this time.
    At(Nanos),
    /// The waker will be called.
    Blocked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// What is under way arrives, nothing follows.
    Ended,
    /// Likewise, and then an error.
    Reset,
}

/// Bytes on their way to one end.
struct Pipe {
    pieces: VecDeque<(Nanos, Bytes)>,
    bytes: usize,
    /// Received at its end, of all bytes.
    taken_bytes: u64,
    window: usize,
    flow: Flow,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    const fn new(window: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            bytes: 0,
            taken_bytes: 0,
            window,
            flow: Flow::Open,
            reader: None,
            writer: None,
        }
    }

    fn end(&mut self, flow: Flow) {
        if self.flow != Flow::Reset {
            self.flow = flow;
        }
        self.wake();
    }

    /// Loses what comes after the first `count` pieces.
    fn lose(&mut self, count: usize) {
        self.pieces.truncate(count);
        self.bytes = self.pieces.iter().map(|(_, piece)| piece.len()).sum();
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

struct Connection {
    node: usize,
    /// By the side that reads it.
    pipes: [Pipe; 2],
    /// By side: it may do nothing any more.
    is_shut: [bool; 2],
    is_closed: [bool; 2],
}

#[derive(Default)]
struct Listener {
    backlog: VecDeque<End>,
    waker: Option<Waker>,
}

pub struct Net {
    chance: Chance,
    weather: Weather,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// By node and shard.
    listeners: BTreeMap<(usize, usize), Listener>,
}

impl Net {
    #[must_use]
    pub const fn new(chance: Chance) -> Self {
        Self {
            chance,
            weather: Weather::fair(),
            connections: BTreeMap::new(),
            next_connection: 0,
            listeners: BTreeMap::new(),
        }
    }

    #[must_use]
    pub const fn weather(&self) -> Weather {
        self.weather
    }

    pub const fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    pub fn listen(&mut self, node: usize, shard: usize) {
        self.listeners.insert((node, shard), Listener::default());
    }

    /// Ends a node: its listeners are gone, its connections cut. What arrived already may be read.
    pub fn crash(&mut self, now: Nanos, node: usize) {
        let gone = self.listeners.extract_if(.., |(owner, _), _| *owner == node);
        let never_accepted: Vec<End> = gone.flat_map(|(_, listener)| listener.backlog).collect();
        for connection in self.connections.values_mut().filter(|it| it.node == node) {
            connection.is_shut[1] = true;
            let [to_client, to_node] = &mut connection.pipes;
            let arrived = to_client.pieces.partition_point(|(at, _)| *at <= now);
            to_client.lose(arrived);
            to_client.end(Flow::Reset);
            to_node.end(Flow::Reset);
        }
        never_accepted.into_iter().for_each(|end| self.close(end));
    }

    /// The client's end of a new connection to some shard of the node.
    pub fn connect(&mut self, node: usize) -> io::Result<End> {
        let shards: Vec<usize> = self
            .listeners
            .keys()
            .filter(|(owner, _)| *owner == node)
            .map(|(_, shard)| *shard)
            .collect();
        if shards.is_empty() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let shard = shards[self.chance.index(shards.len())];
        let listener = self.listeners.get_mut(&(node, shard)).expect("it was found just now");
        if listener.backlog.len() == BACKLOG_MAX {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let windows =
            [self.chance.between(1 << 12, 1 << 18), self.chance.between(1 << 12, 1 << 18)];
        let pipes =
            windows.map(|bytes| Pipe::new(usize::try_from(bytes).expect("below a quarter MiB")));
        let end = End { connection: self.next_connection, side: 0 };
        self.next_connection += 1;
        let connection = Connection { node, pipes, is_shut: [false; 2], is_closed: [false; 2] };
        self.connections.insert(end.connection, connection);
        listener.backlog.push_back(end.peer());
        listener.waker.take().into_iter().for_each(Waker::wake);
        Ok(end)
    }

    pub fn accept(&mut self, node: usize, shard: usize, waker: &Waker) -> Progress<End> {
        let listener = self.listeners.get_mut(&(node, shard)).expect("the node listens");
        if let Some(end) = listener.backlog.pop_front() {
            return Progress::Done(end);
        }
        listener.waker = Some(waker.clone());
        Progress::Blocked
    }

    /// Takes from the front of `rest` what the window has room for.
    pub fn send(
        &mut self,
        now: Nanos,
        end: End,
        rest: &mut Bytes,
        waker: &Waker,
    ) -> Progress<io::Result<()>> {
        let Self { chance, weather, connections, .. } = self;
        let connection =
            connections.get_mut(&end.connection).expect("an open end has its connection");
        let pipe = &mut connection.pipes[end.peer().side];
        if connection.is_shut[end.side] || pipe.flow != Flow::Open {
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if rest.is_empty() {
            return Progress::Done(Ok(()));
        }
        let room = pipe.window - pipe.bytes;
        if room == 0 {
            pipe.writer = Some(waker.clone());
            return Progress::Blocked;
        }
        // Copied, as a kernel does: what nobody receives holds no memory of the sender's.
        let mut taken = Bytes::copy_from_slice(&rest.split_to(room.min(rest.len())));
        let is_cut = chance.one_in(weather.cuts);
        if is_cut {
            taken.truncate(chance.index(taken.len() + 1));
        }
        pipe.bytes += taken.len();
        let mut at = pipe.pieces.back().map_or(now, |(at, _)| (*at).max(now));
        while !taken.is_empty() {
            let is_split = chance.one_in(weather.splits);
            let bytes = if is_split { 1 + chance.index(taken.len()) } else { taken.len() };
            let nanos = chance.around(weather.delay_nanos);
            at = at.max(Nanos::new(now.get() + nanos));
            pipe.pieces.push_back((at, taken.split_to(bytes)));
        }
        pipe.reader.take().into_iter().for_each(Waker::wake);
        if is_cut {
            connection.cut(chance);
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if rest.is_empty() { Progress::Done(Ok(())) } else { Progress::At(now) }
    }

    pub fn receive(&mut self, now: Nanos, end: End, waker: &Waker) -> Progress<io::Result<Bytes>> {
        let connection =
            self.connections.get_mut(&end.connection).expect("an open end has its connection");
        if connection.is_shut[end.side] {
            return Progress::Done(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let pipe = &mut connection.pipes[end.side];
        let Some((at, piece)) = pipe.pieces.front_mut() else {
            return match pipe.flow {
                Flow::Ended => Progress::Done(Ok(Bytes::new())),
                Flow::Reset => Progress::Done(Err(io::ErrorKind::ConnectionReset.into())),
                Flow::Open => {
                    pipe.reader = Some(waker.clone());
                    Progress::Blocked
                }
            };
        };
        if *at > now {
            let at = *at;
            pipe.reader = Some(waker.clone());
            return Progress::At(at);
        }
        let taken = piece.split_to(piece.len().min(PIECE_BYTES_MAX));
        if piece.is_empty() {
            pipe.pieces.pop_front();
        }
        pipe.bytes -= taken.len();
        pipe.taken_bytes += u64::try_from(taken.len()).expect("64 bits");
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Progress::Done(Ok(taken))
    }

    /// What has come to this end and was not received.
    pub fn unread_bytes(&self, now: Nanos, end: End) -> u64 {
        let pipe = &self.open(end).pipes[end.side];
        let arrived = pipe.pieces.iter().filter(|(at, _)| *at <= now);
        arrived.map(|(_, piece)| u64::try_from(piece.len()).expect("64 bits")).sum()
    }

    /// What the peer has received of all that this end sent.
    pub fn taken_bytes(&self, end: End) -> u64 {
        self.open(end).pipes[end.peer().side].taken_bytes
    }

    fn open(&self, end: End) -> &Connection {
        self.connections.get(&end.connection).expect("an open end has its connection")
    }

    /// Both directions of this end stop; the peer still gets what was sent.
    pub fn shutdown(&mut self, end: End) {
        let connection =
            self.connections.get_mut(&end.connection).expect("an open end has its connection");
        connection.is_shut[end.side] = true;
        connection.pipes[end.side].lose(0);
        connection.pipes[end.side].end(Flow::Reset);
        connection.pipes[end.peer().side].end(Flow::Ended);
    }

    /// The end is not used any more.
    pub fn close(&mut self, end: End) {
        self.shutdown(end);
        let connection =
            self.connections.get_mut(&end.connection).expect("an open end has its connection");
        connection.is_closed[end.side] = true;
        if connection.is_closed == [true; 2] {
            self.connections.remove(&end.connection);
        }
    }

    /// Cuts a connection, wherever it is.
    pub fn cut(&mut self, end: End) {
        if let Some(connection) = self.connections.get_mut(&end.connection) {
            connection.cut(&mut self.chance);
        }
    }

    /// Connections that are open at one end or both.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }
}

impl Connection {
    /// Some of what is under way still arrives.
    fn cut(&mut self, chance: &mut Chance) {
        for pipe in &mut self.pipes {
            pipe.lose(chance.index(pipe.pieces.len() + 1));
            pipe.end(Flow::Reset);
        }
    }
}
