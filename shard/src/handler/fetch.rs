//! Fetch: which partitions a request means (sessions included), what their owners have, and a wait
//! for more where the client wishes it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use engine::id::{LeaderEpoch, Offset, PartitionId, PartitionIndex};
use net::error_code::ErrorCode;
use net::fetch::{FetchRequest, FetchResponse, FetchedPartition};
use net::fetch_session::Target;
use net::outgoing::Records as WireRecords;
use net::topic::TopicKind;

use crate::connection::{Records, Request};
use crate::handler::{self, read_code};
use crate::io::{Io, Nanos};
use crate::limits::FETCH_WAIT_MAX;
use crate::message::{FetchItem, FetchOrder, Fetched, FetchedLog, Message, Part, Reply};
use crate::metrics::Stage;
use crate::shard::Shard;
use crate::signal::{self, Answer};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// First version whose unknown isolation levels fail the whole request.
const ISOLATION_CHECKED_FROM: i16 = 5;

/// One partition of the plan: where it is read, or why it is not.
type Planned = Result<(PartitionId, FetchItem), ErrorCode>;

pub async fn answer<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &mut Request,
    body: FetchRequest,
) -> FetchResponse<Records<I>> {
    let version = request.header.version;
    let is_isolation_known = matches!(body.isolation_level, 0 | 1);
    if !is_isolation_known && version >= ISOLATION_CHECKED_FROM {
        return FetchResponse::empty(ErrorCode::UNKNOWN_SERVER_ERROR, 0);
    }
    let kind = TopicKind::of(version, TOPIC_IDS_FROM);
    let plan = shard.sessions.borrow_mut().plan(shard.io.wall().get(), kind, &body);
    let plan = match plan {
        Ok(plan) => plan,
        Err(code) => return FetchResponse::empty(code, 0),
    };
    let planned: Vec<Planned> = plan
        .targets()
        .iter()
        .enumerate()
        .map(|(slot, target)| {
            if is_isolation_known && body.max_bytes >= 0 && target.partition.max_bytes >= 0 {
                find(shard, slot, target)
            } else {
                Err(ErrorCode::UNKNOWN_SERVER_ERROR)
            }
        })
        .collect();
    let fetched = gather(shard, request, &body, &planned).await;

    let mut response = FetchResponse::empty(ErrorCode::NONE, 0);
    let mut left = u64::try_from(body.max_bytes).unwrap_or(0).min(shard.limits().fetch_bytes_max);
    let mut is_first = true;
    for ((target, planned), fetched) in plan.targets().iter().zip(planned).zip(fetched) {
        let index = target.partition.index;
        let mut partition = match (planned, fetched) {
            (Err(code), _) => FetchedPartition::refused(index, code),
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
    }
    let (now, random) = (shard.io.wall().get(), shard.io.random());
    shard.sessions.borrow_mut().complete(now, plan, random, response)
}

fn find<I: Io>(shard: &Shard<I>, slot: usize, target: &Target) -> Planned {
    let image = shard.image();
    let topic = handler::find_topic(&image, &target.topic)?;
    let index = PartitionIndex::checked(target.partition.index)
        .filter(|index| topic.partition(*index).is_some())
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = PartitionId { topic: topic.id(), index };
    let item = FetchItem {
        slot,
        partition,
        offset: target.partition.fetch_offset,
        leader_epoch: LeaderEpoch::new(target.partition.current_leader_epoch),
        bytes_max: u64::try_from(target.partition.max_bytes).unwrap_or(0),
    };
    Ok((partition, item))
}

/// What the owners have, by slot; waits for as much as the client wants, as long as it wants.
async fn gather<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &mut Request,
    body: &FetchRequest,
    planned: &[Planned],
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
    let bytes_min = u64::try_from(body.min_bytes).unwrap_or(0);
    let deadline = shard.io.now().plus(wait);
    let is_alone = by_owner.len() == 1;
    loop {
        // The owner of all waits by itself; several are asked, and then watched.
        let owner_wait = if is_alone { deadline.since(shard.io.now()) } else { Duration::ZERO };
        let calls: Vec<_> = by_owner
            .iter()
            .map(|(owner, items)| {
                let order = FetchOrder {
                    items: items.clone(),
                    bytes_min,
                    bytes_max: u64::try_from(body.max_bytes).unwrap_or(0),
                    wait: owner_wait,
                };
                shard.call(*owner, Message::Fetch(order))
            })
            .collect();
        let mut fetched: Vec<Option<Fetched<I>>> = planned.iter().map(|_| None).collect();
        for call in calls {
            let Reply::Fetched(logs) = call.wait().await else {
                unreachable!("a fetch is answered by what was fetched");
            };
            for log in logs {
                let slot = log.slot;
                fetched[slot] = Some(log);
            }
        }
        let now = shard.io.now();
        if is_alone || now >= deadline || is_enough(&fetched, bytes_min) || shard.is_stopping() {
            if !wait.is_zero() {
                request.stages.skip(now); // The wait was the client's own wish.
            }
            request.stages.end(Stage::Hopped, now);
            return fetched;
        }
        watch(shard, &by_owner, &fetched, deadline).await;
    }
}

fn is_enough<I: Io>(fetched: &[Option<Fetched<I>>], bytes_min: u64) -> bool {
    let mut bytes = 0;
    for fetched in fetched.iter().flatten() {
        match &fetched.result {
            Ok(log) => bytes += log.bytes(),
            Err(_) => return true,
        }
    }
    bytes >= bytes_min
}

/// Until one of several owners has news, or the time is over.
async fn watch<I: Io>(
    shard: &Rc<Shard<I>>,
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
            shard.call(*owner, Message::Watch { partitions, wait })
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
            Part::File { bytes: there, .. } => *there = bytes,
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
