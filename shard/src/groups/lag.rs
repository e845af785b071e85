//! How far the groups of this shard's coordinators are behind, for whoever looks at the metrics.
//!
//! Measured when it is asked for, in the background, of a bounded number of partitions: the ends of the
//! logs are their owners', and the time of the first record that a group has not read is looked up once for
//! each committed offset. Nothing runs while nobody asks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use engine::id::{LeaderEpoch, Offset, PartitionId, PartitionIndex, Timestamp};

use crate::groups::GroupOffset;
use crate::io::{Class, Io};
use crate::limits::{LAG_QUERIES_MAX, LAG_WAIT};
use crate::message::{FoundOffset, Message, OffsetQuery, OffsetSpec, Reply};
use crate::route::ReplyTo;
use crate::shard::Shard;
use crate::signal::{self, Answer, Bell};

/// One partition of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
    /// The log's end minus the committed offset.
    pub offsets: u64,
    /// The age of the first record that the group has not read; 0 if there is none. `None`: unknown.
    pub time_ms: Option<u64>,
}

/// What was measured last.
#[derive(Clone, Debug, Default)]
pub struct Lags {
    pub rows: Vec<Lag>,
    /// Partitions of groups beyond the bound.
    pub left_out_count: u64,
}

type Times = BTreeMap<(Arc<str>, PartitionId), (Offset, Timestamp)>;

/// One per shard.
#[derive(Default)]
pub struct Measure {
    last: RefCell<Lags>,
    /// When the first unread record was written, by group and partition, with the offset it is of.
    times: RefCell<Times>,
    is_running: Cell<bool>,
    done: Bell,
}

/// A partition of a group, on its way to a row.
struct Place {
    group: Arc<str>,
    topic: Arc<str>,
    partition: PartitionId,
    committed: Offset,
    end: Option<Offset>,
}

impl Place {
    /// `None`: the end is unknown.
    fn behind(&self) -> Option<u64> {
        let end = self.end?.get();
        Some(u64::try_from(end.saturating_sub(self.committed.get())).unwrap_or(0))
    }
}

impl<I: Io> Shard<I> {
    /// Answers with what the shard has counted, and how far its groups are behind: as it is now, or if that
    /// takes long as it was when it was measured last.
    pub fn on_metrics(self: &Rc<Self>, reply_to: ReplyTo<I>) {
        if self.lag_rows_max() == 0 || self.is_stopping() {
            *self.groups.lag.last.borrow_mut() = Lags::default();
            return self.route.reply(reply_to, Reply::Metrics(Box::new(self.snapshot())));
        }
        let (shard, measured) = (Rc::clone(self), self.measure_lag());
        self.io.spawn(Class::Foreground, async move {
            let late = shard.timers.at(shard.io.now().plus(LAG_WAIT));
            signal::either(measured, late).await;
            shard.route.reply(reply_to, Reply::Metrics(Box::new(shard.snapshot())));
        });
    }

    /// As they were measured last.
    #[must_use]
    pub fn lags(&self) -> Lags {
        self.groups.lag.last.borrow().clone()
    }

    /// This shard's part of the rows that there may be.
    fn lag_rows_max(&self) -> usize {
        let all = self.image.borrow().broker_config().lag_rows_max;
        usize::try_from(all).unwrap_or(usize::MAX).div_ceil(self.shard_count())
    }

    fn measure_lag(self: &Rc<Self>) -> Answer<()> {
        let done = self.groups.lag.done.next();
        if !self.groups.lag.is_running.replace(true) {
            let shard = Rc::clone(self);
            self.io.spawn(Class::Background, async move {
                let lags = measure(&shard).await;
                *shard.groups.lag.last.borrow_mut() = lags;
                shard.groups.lag.is_running.set(false);
                shard.groups.lag.done.ring();
            });
        }
        done
    }

    /// The committed offsets of the groups here, and of how many there was no room. Of a topic that is not
    /// there any more only the offset is left.
    fn lag_places(&self) -> (Vec<Place>, u64) {
        let image = self.image();
        let (committed, count) = self.committed(self.lag_rows_max());
        let left_out_count = count - committed.len();
        let place = |it: GroupOffset| {
            let topic =
                image.topic(&it.topic).filter(|topic| topic.partition(it.partition).is_some())?;
            let partition = PartitionId { topic: topic.id(), index: it.partition };
            let committed = Offset::checked(it.offset)?;
            Some(Place { group: it.group, topic: it.topic, partition, committed, end: None })
        };
        let places = committed.into_iter().filter_map(place).collect();
        (places, u64::try_from(left_out_count).expect("usize fits"))
    }
}

async fn measure<I: Io>(shard: &Rc<Shard<I>>) -> Lags {
    let (mut places, left_out_count) = shard.lag_places();
    let all: Vec<usize> = (0..places.len()).collect();
    for (index, found) in ask(shard, &places, &all, |_| OffsetSpec::Latest).await {
        places[index].end = found.offset;
    }
    let times = shard.groups.lag.times.take();
    let key = |place: &Place| (Arc::clone(&place.group), place.partition);
    let mut kept = Times::new();
    let mut unknown = Vec::new();
    for (index, place) in places.iter().enumerate().filter(|(_, it)| it.behind() > Some(0)) {
        match times.get(&key(place)).filter(|(offset, _)| *offset == place.committed) {
            Some(known) => {
                kept.insert(key(place), *known);
            }
            None => unknown.push(index),
        }
    }
    for (index, found) in ask(shard, &places, &unknown, |it| OffsetSpec::From(it.committed)).await {
        // Records of old clients have no time.
        if found.timestamp.get() >= 0 {
            kept.insert(key(&places[index]), (places[index].committed, found.timestamp));
        }
    }
    let now = shard.io.wall().get();
    let row = |place: &Place| {
        let offsets = place.behind()?;
        let written_at = kept.get(&key(place)).map(|(_, time)| time.get());
        let age = written_at.map(|at| u64::try_from(now.saturating_sub(at)).unwrap_or(0));
        Some(Lag {
            group: Arc::clone(&place.group),
            topic: Arc::clone(&place.topic),
            partition: place.partition.index,
            offsets,
            time_ms: if offsets == 0 { Some(0) } else { age },
        })
    };
    let rows = places.iter().filter_map(row).collect();
    *shard.groups.lag.times.borrow_mut() = kept;
    Lags { rows, left_out_count }
}

/// Asks the owners of the places that `wanted` names, some at a time. What was found.
async fn ask<I: Io>(
    shard: &Rc<Shard<I>>,
    places: &[Place],
    wanted: &[usize],
    spec: impl Fn(&Place) -> OffsetSpec,
) -> Vec<(usize, FoundOffset)> {
    let mut by_owner: BTreeMap<usize, Vec<OffsetQuery>> = BTreeMap::new();
    for slot in wanted.iter().copied() {
        let (place, leader_epoch) = (&places[slot], LeaderEpoch::NONE);
        let query =
            OffsetQuery { slot, partition: place.partition, leader_epoch, spec: spec(place) };
        by_owner.entry(shard.owner(place.partition)).or_default().push(query);
    }
    let mut all = Vec::with_capacity(wanted.len());
    for (owner, mut queries) in by_owner {
        while !queries.is_empty() {
            let rest = queries.split_off(queries.len().min(LAG_QUERIES_MAX));
            let call = shard.call(owner, Message::ListOffsets(queries));
            queries = rest;
            let Reply::Offsets(found) = call.wait().await else {
                unreachable!("offsets were asked for")
            };
            all.extend(found.into_iter().filter_map(|(slot, found)| Some((slot, found.ok()?))));
            shard.io.yield_long().await;
        }
    }
    all
}
