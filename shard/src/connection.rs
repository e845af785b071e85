//! One client's connection: a task that reads requests, and a task that sends answers in their order.
//!
//! Produce requests may overtake each other inside the broker, never in their answers; any other
//! request waits for those before it, and is answered before the next one is parsed: a client that
//! sends Produce and ListOffsets at once sees its own records, as with Kafka. Knows no log.
//! Invariant: at most `PIPELINE_MAX` answers wait here; past it the socket is not read. Of answers that are
//! not produce's at most one does, and the request after it is not read before it is taken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use engine::bug::Bug;
use net::api::ApiKey;
use net::frame::{Assembler, PREFIX_BYTES};
use net::header::RequestHeader;
use net::outgoing::Piece;

use crate::accounts::meter::{Meter, metered};
use crate::cause::Cause;
use crate::handler::{self, Answered, Close, text};
use crate::io::{Class, Io, Nanos};
use crate::limits::{ELEMENT_BYTES, PIPELINE_MAX, SEND_SLICE_BYTES};
use crate::message::Part;
use crate::metrics::{Finished, Metric, Stage, Stages};
use crate::patience::{Outside, Patience, Verdict};
use crate::shard::Shard;
use crate::signal::{self, Bell};

/// Records that a response carries: pieces of a log.
pub type Records<I> = Vec<Part<I>>;
pub type Frame<I> = Vec<Piece<Records<I>>>;

/// What is to be sent, or done, at its turn.
enum Turn<I: Io> {
    Answer(Box<(Request, Answered<I>)>),
    Close,
}

impl<I: Io> Turn<I> {
    fn is_ready(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.1.is_ready(),
            Self::Close => true,
        }
    }
}

/// What is remembered of a request until its answer is sent.
pub struct Request {
    pub connection: u64,
    pub header: RequestHeader,
    pub bytes: u64,
    /// What is counted for it until it is answered: its bytes, once they are read its elements, and its
    /// batches that were compressed anew.
    pub held_bytes: u64,
    /// What is counted for its answer: what was promised to it, and once it is made what it holds until it
    /// is sent.
    pub answer_bytes: u64,
    pub stages: Stages,
    /// How long the client shall wait with its next request, as it is told.
    pub pause: Duration,
}

/// One per connection, on the shard that accepted it.
pub struct Connection<I: Io> {
    id: u64,
    socket: I::Socket,
    address: IpAddr,
    /// Index of the listener that it came through.
    listener: usize,
    turns: RefCell<VecDeque<Turn<I>>>,
    /// Rings when a turn was added.
    added: Bell,
    /// Rings when a turn was taken.
    taken: Bell,
    /// Rings when answers were sent.
    sent: Bell,
    /// Requests that are parsed, and whose answer is not sent to its end.
    in_hand_count: Cell<usize>,
    /// Bytes that this connection holds of the shard's request memory.
    held_bytes: Cell<u64>,
    /// Likewise, of the memory for answers.
    answer_bytes: Cell<u64>,
    patience: Patience,
    last_active: Cell<Nanos>,
    is_ending: Cell<bool>,
    /// Rings when it is ending.
    ending: Bell,
    /// Who pays for its client.
    pub(crate) meter: Meter,
}

impl<I: Io> Connection<I> {
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    #[must_use]
    pub fn listener(&self) -> usize {
        self.listener
    }

    /// Nothing more is taken from its peer, or sent to it.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// The peer's address, without its port, as Kafka shows it.
    #[must_use]
    pub fn peer_host(&self, shard: &Shard<I>) -> String {
        let peer = shard.io.peer(&self.socket);
        let host = peer.rsplit_once(':').map_or(&*peer, |(host, _port)| host);
        format!("/{}", host.trim_matches(['[', ']']))
    }

    /// Since when nothing was received, if no request is in hand.
    #[must_use]
    pub fn idle_since(&self) -> Option<Nanos> {
        (self.in_hand_count.get() == 0).then(|| self.last_active.get())
    }

    /// Bytes that it holds of requests, and of answers.
    #[must_use]
    pub fn held_bytes(&self) -> [u64; 2] {
        [self.held_bytes.get(), self.answer_bytes.get()]
    }

    /// Counts what the elements of a request take, besides its bytes, until it is answered.
    pub fn hold_decoded(&self, shard: &Shard<I>, request: &mut Request, element_count: usize) {
        self.hold_besides(shard, request, bytes_u64(element_count) * ELEMENT_BYTES);
    }

    /// Counts a batch of the request that was compressed anew, besides its bytes, until it is answered.
    pub fn hold_recompressed(&self, shard: &Shard<I>, request: &mut Request, batch_bytes: usize) {
        self.hold_besides(shard, request, bytes_u64(batch_bytes));
    }

    fn hold_besides(&self, shard: &Shard<I>, request: &mut Request, bytes: u64) {
        if self.is_ending.get() {
            return; // It may have given back all that it held, and would not do so again.
        }
        request.held_bytes += bytes;
        self.held_bytes.set(self.held_bytes.get() + bytes);
        shard.permits.take(bytes);
    }

    /// Gives back what is counted for a request before it is answered: nothing of it is held any more, and
    /// its answer may be long in coming.
    pub fn release(&self, shard: &Shard<I>, request: &mut Request) {
        // The name in the header is a part of the request's frame.
        request.header.client_id = request.header.client_id.as_ref().map(|it| text(it.as_str()));
        self.give_back(shard, request);
    }

    fn give_back(&self, shard: &Shard<I>, request: &mut Request) {
        let held = std::mem::take(&mut request.held_bytes).min(self.held_bytes.get());
        self.held_bytes.set(self.held_bytes.get() - held);
        shard.permits.give_back(held);
    }

    /// The sweep's look at what is awaited of the peer.
    pub fn look(&self, shard: &Shard<I>) -> Verdict {
        if self.is_ending.get() {
            return Verdict::Quiet;
        }
        self.patience.look(|| Outside {
            unread_bytes: shard.io.unread_bytes(&self.socket),
            taken_bytes: shard.io.taken_bytes(&self.socket),
        })
    }

    /// Ends it, whatever it does.
    pub fn end(&self, shard: &Shard<I>) {
        self.is_ending.set(true);
        self.ending.ring();
        shard.io.shutdown(&self.socket);
        shard.permits.look_again();
        shard.answers.leave(self.id);
    }

    /// As `end`, and says why.
    pub fn close(&self, shard: &Shard<I>, cause: Cause) {
        if !self.is_ending.get() {
            let [requests, answers] = self.held_bytes();
            let held = format_args!("it held {requests} bytes of requests, {answers} of answers");
            self.tell(shard, cause, held);
            self.end(shard);
        }
    }

    /// Counts why it is closed, and says so in the log unless that was said a moment ago.
    fn tell(&self, shard: &Shard<I>, cause: Cause, detail: impl Display) {
        if let Some(untold) = shard.connections.on_close(shard, cause) {
            let (peer, name) = (shard.io.peer(&self.socket), cause.name());
            tracing::info!(%peer, cause = name, %detail, untold, "connection closed: {cause}");
        }
    }

    /// Until the request in hand is the only one.
    async fn wait_for_earlier(&self) {
        while self.in_hand_count.get() > 1 && !self.is_ending.get() {
            self.sent.next().wait().await;
        }
    }

    fn push(&self, turn: Turn<I>) {
        self.turns.borrow_mut().push_back(turn);
        self.added.ring();
    }
}

/// Serves one connection, which was let in from `address`, until it ends.
pub fn start<I: Io>(shard: &Rc<Shard<I>>, socket: I::Socket, address: IpAddr, listener: usize) {
    let connection = Rc::new(Connection {
        id: shard.connections.next_id(),
        socket,
        address,
        listener,
        turns: RefCell::default(),
        added: Bell::default(),
        taken: Bell::default(),
        sent: Bell::default(),
        in_hand_count: Cell::new(0),
        held_bytes: Cell::new(0),
        answer_bytes: Cell::new(0),
        patience: Patience::default(),
        last_active: Cell::new(shard.io.now()),
        is_ending: Cell::new(false),
        ending: Bell::default(),
        meter: Meter::default(),
    });
    shard.connections.add(&connection);
    shard.recorder.borrow_mut().add(Metric::ConnectionsAccepted, 1);
    let writer = (Rc::clone(shard), Rc::clone(&connection));
    let io = shard.io.clone();
    io.spawn(Class::Foreground, async move {
        let (shard, connection) = &writer;
        let sending = pin!(send_answers(shard, connection));
        metered(&shard.io, &connection.meter, sending).await;
    });
    let shard = Rc::clone(shard);
    io.spawn(Class::Foreground, async move {
        let reading = pin!(read_requests(&shard, &connection));
        metered(&shard.io, &connection.meter, reading).await;
        connection.push(Turn::Close);
    });
}

/// Until the peer closes, breaks the protocol, or the connection fails.
async fn read_requests<I: Io>(shard: &Rc<Shard<I>>, connection: &Rc<Connection<I>>) {
    let limit = usize::try_from(shard.limits().request_bytes_max).unwrap_or(usize::MAX);
    let mut assembler = Assembler::new(limit);
    let mut frames = VecDeque::new();
    shard.connections.rouse(); // The sweep may have looked before anything was awaited of it.
    loop {
        connection.patience.begin_read();
        shard.permits.wait(connection.id, || connection.is_ending.get()).await;
        let Ok(received) = shard.io.receive(&connection.socket).await else { return };
        if received.is_empty() || connection.is_ending.get() {
            return;
        }
        let started = shard.io.now();
        connection.last_active.set(started);
        hold(shard, connection, received.len());
        let mut rest = &received[..];
        let taken = take_frames(&mut assembler, &mut rest, &mut frames);
        drop(received);
        let half_bytes = bytes_u64(assembler.arrived_bytes());
        connection.patience.on_read(bytes_u64(frames.len()), half_bytes);
        if half_bytes == 0 {
            shard.permits.retire(connection.id);
        } else {
            shard.connections.rouse();
        }
        for frame in frames.drain(..) {
            if shard.is_stopping() || on_frame(shard, connection, frame, started).await.is_err() {
                return;
            }
        }
        if let Err(error) = taken {
            connection.tell(shard, Cause::of_frame(error), error);
            return;
        }
    }
}

fn take_frames(
    assembler: &mut Assembler,
    rest: &mut &[u8],
    frames: &mut VecDeque<Bytes>,
) -> Result<(), net::frame::FrameError> {
    while assembler.announce(rest)?.is_some()
        && let Some(frame) = assembler.take(rest)
    {
        frames.push_back(frame);
    }
    Ok(())
}

fn hold<I: Io>(shard: &Shard<I>, connection: &Connection<I>, bytes: usize) {
    let bytes = bytes_u64(bytes);
    connection.held_bytes.set(connection.held_bytes.get() + bytes);
    shard.permits.take(bytes);
    shard.recorder.borrow_mut().add(Metric::BytesReceived, bytes);
}

/// The connection must be closed, with what was asked before answered.
struct Broken;

async fn on_frame<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Rc<Connection<I>>,
    frame: Bytes,
    started: Nanos,
) -> Result<(), Broken> {
    let bytes = bytes_u64(frame.len() + PREFIX_BYTES);
    let (header, body) = RequestHeader::decode(&frame).map_err(|error| {
        connection.tell(shard, Cause::Header, format_args!("{error:?}"));
        Broken
    })?;
    drop(frame);
    connection.in_hand_count.set(connection.in_hand_count.get() + 1);
    if header.api != ApiKey::Produce {
        connection.wait_for_earlier().await;
        shard.answers.wait(connection.id, || connection.is_ending.get()).await;
        if connection.is_ending.get() {
            // Whoever sends may have ended: what an answer held would not be given back.
            return Err(Broken);
        }
    }
    let stages = Stages::begin(started);
    let pause = match header.api {
        ApiKey::Produce => {
            let client = header.client_id.as_deref().unwrap_or_default();
            let by_quota = shard.charge_produce(connection, client, bytes);
            shard.room.pause(bytes, started).max(by_quota)
        }
        _ => Duration::ZERO,
    };
    let id = connection.id;
    let mut request = Request {
        connection: id,
        header,
        bytes,
        held_bytes: bytes,
        answer_bytes: 0,
        stages,
        pause,
    };
    let answered = handler::answer(shard, connection, &mut request, body).await;
    hold_answer(shard, connection, &mut request, &answered);
    let answered = answered.map_err(|Close(cause)| {
        connection.tell(shard, cause, request.header.api.name());
        Broken
    })?;
    connection.patience.on_answered();
    let pause = request.pause;
    let turn = Turn::Answer(Box::new((request, answered)));
    // Looking at all connections here would make each request cost what all the others hold open.
    let other = Bug::ReplyOnWrongConnection.is_on().then(|| shard.connections.all());
    other.iter().flatten().next().unwrap_or(connection).push(turn);
    while connection.turns.borrow().len() >= PIPELINE_MAX {
        connection.taken.next().wait().await;
    }
    if pause > Duration::ZERO {
        rest(shard, connection, pause).await;
    }
    if connection.is_ending.get() { Err(Broken) } else { Ok(()) }
}

/// Takes nothing more from the peer for so long.
async fn rest<I: Io>(shard: &Shard<I>, connection: &Connection<I>, pause: Duration) {
    let (ending, phased) = (connection.ending.next(), shard.phased.next());
    if connection.is_ending.get() || shard.is_stopping() {
        return;
    }
    let over = shard.timers.at(shard.io.now().plus(pause));
    signal::any(vec![ending, phased, over]).await;
}

/// Counts what an answer holds, instead of what was promised to it.
fn hold_answer<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &mut Request,
    answered: &Result<Answered<I>, Close>,
) {
    let bytes = match answered {
        Ok(Answered::Frame(frame)) => frame.iter().map(memory_bytes).sum(),
        Ok(Answered::Produce(_)) | Err(Close(_)) => 0,
    };
    let promised_bytes = std::mem::replace(&mut request.answer_bytes, bytes);
    connection.answer_bytes.set(connection.answer_bytes.get() + bytes);
    shard.answers.take(bytes);
    shard.answers.give_back(promised_bytes);
}

/// What a piece of an answer keeps in memory until it is sent: of a file, a slice at a time.
fn memory_bytes<I: Io>(piece: &Piece<Records<I>>) -> u64 {
    match piece {
        Piece::Bytes(bytes) => bytes_u64(bytes.len()),
        Piece::Records(records) => {
            let part = |part: &Part<I>| match part {
                Part::Memory(bytes) => bytes_u64(bytes.len()),
                Part::File(range) => range.bytes.min(SEND_SLICE_BYTES),
            };
            records.handle().iter().map(part).sum()
        }
    }
}

/// Sends answers in the order of their requests, as many at a time as are ready.
async fn send_answers<I: Io>(shard: &Rc<Shard<I>>, connection: &Rc<Connection<I>>) {
    let mut finished = Vec::new();
    let mut parts = Vec::new();
    'sending: loop {
        wait_for_turn(connection).await;
        let mut is_over = false;
        while let Some(turn) = next_turn(connection) {
            let Turn::Answer(answer) = turn else {
                is_over = true;
                break;
            };
            let (mut request, answered) = *answer;
            match handler::finish(shard, &mut request, answered) {
                Ok(frame) => {
                    finished.push(request);
                    if push_frame(shard, connection, frame, &mut parts).await.is_err() {
                        break 'sending;
                    }
                }
                Err(Close(cause)) => {
                    connection.tell(shard, cause, request.header.api.name());
                    is_over = true;
                    break;
                }
            }
        }
        if flush(shard, connection, &mut parts).await.is_err() {
            break;
        }
        on_sent(shard, connection, &mut finished);
        if is_over {
            break;
        }
    }
    on_sent(shard, connection, &mut finished);
    close(shard, connection);
}

async fn wait_for_turn<I: Io>(connection: &Connection<I>) {
    while connection.turns.borrow().is_empty() {
        connection.added.next().wait().await;
    }
    poll_fn(|context| {
        let turns = connection.turns.borrow();
        match turns.front() {
            Some(Turn::Answer(answer)) if !answer.1.poll_ready(context.waker()) => Poll::Pending,
            Some(Turn::Answer(_) | Turn::Close) | None => Poll::Ready(()),
        }
    })
    .await;
}

/// The first turn, if it can be taken now.
fn next_turn<I: Io>(connection: &Connection<I>) -> Option<Turn<I>> {
    let mut turns = connection.turns.borrow_mut();
    if Bug::AnswersOvertake.is_on() {
        turns.make_contiguous().sort_by_key(|it| !it.is_ready());
    }
    if !turns.front()?.is_ready() {
        return None;
    }
    let turn = turns.pop_front();
    drop(turns);
    connection.taken.ring();
    turn
}

/// Gathers what lies in memory; what lies in a file is sent in its place.
async fn push_frame<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    frame: Frame<I>,
    parts: &mut Vec<Bytes>,
) -> std::io::Result<()> {
    for piece in frame {
        match piece {
            Piece::Bytes(bytes) => parts.push(bytes),
            Piece::Records(records) => {
                for part in records.into_handle() {
                    match part {
                        Part::Memory(bytes) => parts.push(bytes),
                        Part::File(range) => {
                            flush(shard, connection, parts).await?;
                            begin_send(shard, connection);
                            shard.send_range(&connection.socket, &range).await?;
                            connection.patience.on_sent();
                            shard.recorder.borrow_mut().add(Metric::BytesSent, range.bytes);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn begin_send<I: Io>(shard: &Shard<I>, connection: &Connection<I>) {
    connection.patience.begin_send();
    shard.connections.rouse();
}

async fn flush<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    parts: &mut Vec<Bytes>,
) -> std::io::Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let bytes = parts.iter().map(|part| bytes_u64(part.len())).sum();
    begin_send(shard, connection);
    shard.io.send(&connection.socket, std::mem::take(parts)).await?;
    connection.patience.on_sent();
    shard.recorder.borrow_mut().add(Metric::BytesSent, bytes);
    Ok(())
}

fn on_sent<I: Io>(shard: &Rc<Shard<I>>, connection: &Connection<I>, finished: &mut Vec<Request>) {
    let (now, wall) = (shard.io.now(), shard.io.wall());
    connection.in_hand_count.set(connection.in_hand_count.get() - finished.len());
    connection.sent.ring();
    for mut request in finished.drain(..) {
        request.stages.end(Stage::Sent, now);
        let finished = Finished {
            api_key: request.header.api.code(),
            request_bytes: request.bytes,
            client: request.header.client_id.as_deref().unwrap_or_default(),
            stages: request.stages,
        };
        shard.recorder.borrow_mut().on_finished(now, wall, &finished);
        connection.give_back(shard, &mut request);
        connection.answer_bytes.set(connection.answer_bytes.get() - request.answer_bytes);
        shard.answers.give_back(request.answer_bytes);
    }
    if connection.answer_bytes.get() == 0 {
        shard.answers.retire(connection.id);
    }
    connection.last_active.set(now);
}

fn close<I: Io>(shard: &Rc<Shard<I>>, connection: &Rc<Connection<I>>) {
    connection.end(shard);
    connection.turns.borrow_mut().clear();
    connection.taken.ring();
    connection.sent.ring();
    shard.permits.retire(connection.id);
    shard.permits.give_back(connection.held_bytes.take());
    shard.answers.retire(connection.id);
    shard.answers.give_back(connection.answer_bytes.take());
    shard.connections.remove(connection.id);
    shard.leave(connection.address);
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize fits")
}
