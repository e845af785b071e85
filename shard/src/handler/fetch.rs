//! Fetch: which partitions a request means (sessions included), what their owners have, and a wait
//! for more where the client wishes it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use engine::bug::Bug;
use engine::id::{LeaderEpoch, Offset, PartitionId, PartitionIndex};
use net::error_code::ErrorCode;
use net::fetch::{FetchRequest, FetchResponse, FetchedPartition};
use net::fetch_session::Target;
use net::outgoing::Records as WireRecords;
use net::topic::TopicKind;

use crate::accounts::Charge;
use crate::connection::{Connection, Records, Request};
use crate::handler::{self, Pauses, read_code};
use crate::io::{Io, Nanos};
use crate::limits::FETCH_WAIT_MAX;
use crate::message::{FetchItem, FetchOrder, Fetched, FetchedLog, Message, Part, Reader, Reply};
use crate::metrics::Stage;
use crate::shard::Shard;
use crate::signal::{self, Answer};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// First version in which an error of the whole request stands alone.
const BARE_ERRORS_FROM: i16 = 13;

/// One partition of the plan: where it is read, or what it is answered without.
type Planned<I> = Result<(PartitionId, FetchItem), FetchedPartition<Records<I>>>;

pub async fn answer<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    mut body: FetchRequest,
) -> FetchResponse<Records<I>> {
    let version = request.header.version;
    if !matches!(body.isolation_level, 0 | 1) {
        return unknown_isolation(&body, version);
    }
    let kind = TopicKind::of(version, TOPIC_IDS_FROM);
    let plan = shard.sessions.borrow_mut().plan(shard.io.wall().get(), kind, &body);
    let plan = match plan {
        Ok(plan) => plan,
        Err(code) => return FetchResponse::empty(code, 0),
    };
    bound(shard, connection, request, &mut body);
    let mut targets = plan.targets();
    if Bug::FetchSessionForgetful.is_on()
        && plan.is_incremental()
        && let [others @ .., _] = targets
    {
        targets = others;
    }
    let mut pauses = Pauses::new(&shard.io);
    let mut planned = Vec::with_capacity(targets.len());
    for (slot, target) in targets.iter().enumerate() {
        planned.push(find(shard, slot, target, body.max_bytes));
        pauses.next().await;
    }
    let Some(fetched) = gather_with_room(shard, request, &body, &planned).await else {
        return FetchResponse::empty(ErrorCode::NONE, 0);
    };

    let mut response = FetchResponse::empty(ErrorCode::NONE, 0);
    let mut left = answer_bytes_max(shard, body.max_bytes);
    let mut is_first = true;
    for ((target, planned), fetched) in targets.iter().zip(planned).zip(fetched) {
        let index = target.partition.index;
        let mut partition = match (planned, fetched) {
            (Err(refused), _) => refused,
            (Ok(_), Some(Fetched { result: Err(error), .. })) => {
                FetchedPartition::refused(index, read_code(error))
            }
            (Ok(_), Some(Fetched { result: Ok(log), .. })) => {
                present(index, trimmed(log, &mut left, &mut is_first))
            }
            (Ok(_), None) => FetchedPartition::refused(index, ErrorCode::UNKNOWN_SERVER_ERROR),
        };
        if body.isolation_level == 1 && partition.error == ErrorCode::NONE {
            partition.aborted = Some(Vec::new());
        }
        response.push(&target.topic, partition);
        pauses.next().await;
    }
    if charge(shard, connection, request, &response) == Verdict::Withheld {
        return shard.sessions.borrow().withhold(&plan);
    }
    let (now, random) = (shard.io.wall().get(), shard.io.random());
    shard.sessions.borrow_mut().complete(now, plan, random, response)
}

/// Asks for no more than the client's quota allows at once.
fn bound<I: Io>(
    shard: &Shard<I>,
    connection: &Connection<I>,
    request: &Request,
    body: &mut FetchRequest,
) {
    let client = request.header.client_id.as_deref().unwrap_or_default();
    if let Some(bytes_max) = shard.fetch_bytes_max(connection, client) {
        let bytes_max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
        body.max_bytes = body.max_bytes.min(bytes_max);
        body.min_bytes = body.min_bytes.min(bytes_max);
    }
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Sent,
    /// The client is to wait first, and asks again.
    Withheld,
}

/// Lets the client pay for the answer: its records, and the work that it was.
fn charge<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    response: &FetchResponse<Records<I>>,
) -> Verdict {
    let client = request.header.client_id.as_deref().unwrap_or_default();
    let for_work = shard.charge_time(connection, client);
    request.pause = request.pause.max(for_work);
    if for_work > Duration::ZERO {
        return Verdict::Withheld;
    }
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let bytes: usize =
        partitions.filter_map(|it| it.records.as_ref()).map(WireRecords::byte_count).sum();
    let bytes = u64::try_from(bytes).expect("usize fits");
    let (verdict, wait) = match shard.charge_fetch(connection, client, bytes) {
        Charge::Paid(wait) => (Verdict::Sent, wait),
        Charge::Refused(wait) => (Verdict::Withheld, wait),
    };
    request.pause = request.pause.max(wait);
    verdict
}

/// Kafka fails the whole request. Older versions say so in every partition that it names.
fn unknown_isolation<I: Io>(body: &FetchRequest, version: i16) -> FetchResponse<Records<I>> {
    let code = ErrorCode::UNKNOWN_SERVER_ERROR;
    let mut response = FetchResponse::empty(code, body.session_id);
    if version < BARE_ERRORS_FROM {
        for topic in &body.topics {
            for partition in &topic.partitions {
                response.push(&topic.topic, unplanned(partition.index, code));
            }
        }
    }
    response
}

/// The answer for a partition that no log was asked for. As in Kafka, it says that nothing was aborted,
/// where an error of the log says nothing of it.
fn unplanned<R>(index: i32, code: ErrorCode) -> FetchedPartition<R> {
    FetchedPartition { aborted: Some(Vec::new()), ..FetchedPartition::refused(index, code) }
}

/// What a client may have of what it asked for.
fn bytes_max<I: Io>(shard: &Shard<I>, asked: i32) -> u64 {
    u64::try_from(asked).unwrap_or(0).min(shard.limits().fetch_bytes_max)
}

/// Likewise, of what is left for answers now.
fn answer_bytes_max<I: Io>(shard: &Shard<I>, asked: i32) -> u64 {
    bytes_max(shard, asked).min(shard.answers.part_bytes())
}

fn find<I: Io>(
    shard: &Shard<I>,
    slot: usize,
    target: &Target,
    bytes_max_of_all: i32,
) -> Planned<I> {
    let image = shard.image();
    let unplanned = |code| unplanned(target.partition.index, code);
    let topic = handler::find_topic(&image, &target.topic).map_err(unplanned)?;
    let index = PartitionIndex::checked(target.partition.index)
        .filter(|index| topic.partition(*index).is_some())
        .ok_or_else(|| unplanned(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
    if bytes_max_of_all < 0 || target.partition.max_bytes < 0 {
        let code = ErrorCode::UNKNOWN_SERVER_ERROR;
        return Err(FetchedPartition::refused(target.partition.index, code));
    }
    let partition = PartitionId { topic: topic.id(), index };
    let item = FetchItem {
        slot,
        partition,
        offset: target.partition.fetch_offset,
        leader_epoch: LeaderEpoch::new(target.partition.current_leader_epoch),
        bytes_max: bytes_max(shard, target.partition.max_bytes),
    };
    Ok((partition, item))
}

/// As `gather`, as soon as there is room for the first batch. Nothing of it is read or held before.
/// `None` if the connection ends.
async fn gather_with_room<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &mut Request,
    body: &FetchRequest,
    planned: &[Planned<I>],
) -> Option<Vec<Option<Fetched<I>>>> {
    let fetched = gather(shard, request, body, planned, shard.answers.first_bytes_max()).await;
    let first_bytes = match first_batch(&fetched) {
        FirstBatch::Nothing => return Some(fetched),
        // Others may have taken the room meanwhile.
        FirstBatch::There(bytes) if bytes <= shard.answers.first_bytes_max() => {
            return Some(fetched);
        }
        FirstBatch::There(bytes) | FirstBatch::Refused(bytes) => bytes,
    };
    drop(fetched);
    if !shard.answers.wait_in_line(request.connection, first_bytes).await {
        return None;
    }
    request.answer_bytes = first_bytes;
    Some(gather(shard, request, body, planned, u64::MAX).await)
}

/// The batch with which an answer begins.
enum FirstBatch {
    Nothing,
    There(u64),
    /// There was no room for so many bytes.
    Refused(u64),
}

fn first_batch<I: Io>(fetched: &[Option<Fetched<I>>]) -> FirstBatch {
    let logs = || fetched.iter().flatten().filter_map(|it| it.result.as_ref().ok());
    if let Some(log) = logs().find(|log| log.bytes() > 0) {
        return FirstBatch::There(log.first_bytes);
    }
    logs()
        .find(|log| log.is_cut)
        .map_or(FirstBatch::Nothing, |log| FirstBatch::Refused(log.first_bytes))
}

/// What the owners have, by slot; waits for as much as the client wants, as long as it wants.
async fn gather<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &mut Request,
    body: &FetchRequest,
    planned: &[Planned<I>],
    first_bytes_max: u64,
) -> Vec<Option<Fetched<I>>> {
    let mut by_owner: BTreeMap<usize, Vec<FetchItem>> = BTreeMap::new();
    for (partition, item) in planned.iter().flatten() {
        by_owner.entry(shard.owner(*partition)).or_default().push(item.clone());
    }
    let is_refused = planned.iter().any(Result::is_err);
    let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
    // Nothing to read is nothing to wait for.
    let is_idle = is_refused || by_owner.is_empty();
    let wait = if is_idle { Duration::ZERO } else { wait.min(FETCH_WAIT_MAX) };
    let bytes_max = answer_bytes_max(shard, body.max_bytes);
    let bytes_min = u64::try_from(body.min_bytes).unwrap_or(0).min(bytes_max);
    let deadline = shard.io.now().plus(wait);
    let is_alone = by_owner.len() == 1;
    let mut begun = request.stages;
    loop {
        // The owner of all waits by itself; several are asked, and then watched.
        let owner_wait = if is_alone { deadline.since(shard.io.now()) } else { Duration::ZERO };
        let calls: Vec<_> = by_owner
            .iter()
            .map(|(owner, items)| {
                let order = FetchOrder {
                    items: items.clone(),
                    bytes_min,
                    bytes_max,
                    first_bytes_max,
                    wait: owner_wait,
                };
                shard.call(*owner, Message::Fetch(order))
            })
            .collect();
        let mut fetched: Vec<Option<Fetched<I>>> = planned.iter().map(|_| None).collect();
        let mut ended = begun;
        for call in calls {
            let Reply::Fetched { logs, times } = call.wait().await else {
                unreachable!("a fetch is answered by what was fetched");
            };
            let mut stages = begun;
            stages.end(Stage::Hopped, times.taken_at);
            stages.skip(times.looked_at);
            stages.end(Stage::Appended, times.found_at);
            ended = ended.later(stages);
            for log in logs {
                let slot = log.slot;
                fetched[slot] = Some(log);
            }
        }
        let now = shard.io.now();
        if is_alone || now >= deadline || is_enough(&fetched, bytes_min) || shard.is_stopping() {
            request.stages = ended;
            return fetched;
        }
        watch(shard, request.connection, &by_owner, &fetched, deadline).await;
        begun.skip(shard.io.now()); // The wait was the client's own wish.
    }
}

fn is_enough<I: Io>(fetched: &[Option<Fetched<I>>], bytes_min: u64) -> bool {
    let mut bytes = 0;
    for fetched in fetched.iter().flatten() {
        match &fetched.result {
            Ok(log) if log.is_cut => return true,
            Ok(log) => bytes += log.bytes(),
            Err(_) => return true,
        }
    }
    bytes >= bytes_min
}

/// Until one of several owners has news, or the time is over.
async fn watch<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: u64,
    by_owner: &BTreeMap<usize, Vec<FetchItem>>,
    fetched: &[Option<Fetched<I>>],
    deadline: Nanos,
) {
    let wait = deadline.since(shard.io.now());
    let seen = |item: &FetchItem| {
        let log = fetched[item.slot].as_ref()?.result.as_ref().ok()?;
        Some((item.partition, log.high_watermark))
    };
    let calls: Vec<Answer<Reply<I>>> = by_owner
        .iter()
        .map(|(owner, items)| {
            let partitions: Vec<(PartitionId, Offset)> = items.iter().filter_map(seen).collect();
            let reader = Reader { shard: shard.index, connection };
            shard.call(*owner, Message::Watch { reader, partitions, wait })
        })
        .collect();
    signal::any(calls).await;
}

/// What of a log still fits into the answer. The first batch of an answer is sent whole; a later one
/// may be cut at the end, but is not sent if it is cut alone.
fn trimmed<I: Io>(mut log: FetchedLog<I>, left: &mut u64, is_first: &mut bool) -> FetchedLog<I> {
    let bytes = log.bytes();
    if bytes == 0 {
        return log;
    }
    let limit = if *left >= log.first_bytes {
        *left
    } else if *is_first {
        log.first_bytes
    } else {
        0
    };
    cut(&mut log.parts, limit);
    *left = left.saturating_sub(log.bytes());
    *is_first = false;
    log
}

fn cut<I: Io>(parts: &mut Vec<Part<I>>, limit: u64) {
    let mut left = limit;
    parts.retain_mut(|part| {
        let bytes = part.bytes().min(left);
        left -= bytes;
        match part {
            Part::Memory(memory) => {
                memory.truncate(usize::try_from(bytes).expect("no more than it has"));
            }
            Part::File(range) => range.bytes = bytes,
        }
        bytes > 0
    });
}

fn present<I: Io>(index: i32, log: FetchedLog<I>) -> FetchedPartition<Records<I>> {
    let bytes = usize::try_from(log.bytes()).expect("an answer fits memory");
    let mut partition = FetchedPartition::refused(index, ErrorCode::NONE);
    partition.high_watermark = log.high_watermark.get();
    partition.last_stable_offset = log.high_watermark.get();
    partition.log_start_offset = log.log_start.get();
    partition.records = Some(WireRecords::new(log.parts, bytes));
    partition
}
