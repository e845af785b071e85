//! What the policies of logs allow: which records may be gone by now, so that all others must be there.
//!
//! It knows the time, which the checker does not, and what the clients sent. What a policy allows it says
//! to the checker as if somebody had asked for it.
//! A record whose place nobody was told may be gone as soon as those around it may.

use std::collections::BTreeMap;

use engine::id::{Offset, Timestamp};

use crate::sim::history::{Event, LogId, Seen, WriterId};

/// What a log's records are kept for. `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<u64>,
    /// `Some`: only the last record of each key is kept; the markers of deleted keys for so long.
    pub tombstone_ms: Option<i64>,
}

/// A batch as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub writer: WriterId,
    pub log: LogId,
    /// The sequence of its first record.
    pub first: u64,
    pub count: u32,
    /// Of all its records.
    pub timestamp: Timestamp,
    pub bytes: u64,
}

#[derive(Default)]
struct Log {
    policy: Policy,
    /// By writer and first sequence.
    made: BTreeMap<(WriterId, u64), Made>,
    /// By base offset.
    placed: BTreeMap<Offset, Made>,
    /// Of all batches, as often as each was sent.
    sent_bytes: u64,
}

/// One per world, beside its checker.
#[derive(Default)]
pub struct Policies {
    logs: BTreeMap<LogId, Log>,
}

impl Policies {
    pub fn on_log(&mut self, log: LogId, policy: Policy) {
        if policy != Policy::default() {
            self.logs.insert(log, Log { policy, ..Log::default() });
        }
    }

    pub fn on_made(&mut self, made: Made) {
        if let Some(log) = self.logs.get_mut(&made.log) {
            log.made.insert((made.writer, made.first), made);
        }
    }

    /// `event` is about to be judged. `Some`: what must be judged before it.
    pub fn before(&mut self, event: &Event, now: Timestamp) -> Option<Event> {
        let (log, claimed) = match event {
            Event::Sent { writer, log, first, .. } => {
                let state = self.logs.get_mut(log)?;
                state.sent_bytes += state.made.get(&(*writer, *first))?.bytes;
                return None;
            }
            Event::Acked { writer, log, first, base, .. } => {
                self.logs.get_mut(log)?.place((*writer, *first), *base);
                return None;
            }
            Event::Read { log, log_start, seen, next, .. } => {
                let state = self.logs.get_mut(log)?;
                seen.iter().for_each(|seen| state.on_seen(seen));
                if let Some(tombstone_ms) = state.policy.tombstone_ms {
                    let before = state.older_than(tombstone_ms, *next, now);
                    return Some(Event::Forgetting { log: *log, before });
                }
                (*log, *log_start)
            }
            Event::FoundStart { log, log_start, .. } | Event::Cut { log, log_start } => {
                (*log, *log_start)
            }
            Event::OutOfRange { log, position, .. } => (*log, position.plus(1)),
            _ => return None,
        };
        let before = self.logs.get(&log)?.allowed(claimed, now);
        Some(Event::Cutting { log, before })
    }
}

impl Log {
    fn place(&mut self, batch: (WriterId, u64), base: Offset) {
        if let Some(made) = self.made.get(&batch) {
            self.placed.insert(base, *made);
        }
    }

    fn on_seen(&mut self, seen: &Seen) {
        let Some(value) = seen.value else { return };
        let until = (value.writer, value.sequence);
        let Some((_, made)) = self.made.range(..=until).next_back() else { return };
        let ahead = i64::try_from(value.sequence.saturating_sub(made.first)).unwrap_or(i64::MAX);
        let base = seen.offset.get().checked_sub(ahead).and_then(Offset::checked);
        if let Some(base) = base.filter(|_| made.writer == value.writer) {
            self.placed.insert(base, *made);
        }
    }

    /// How far, up to `claimed`, the log may start.
    fn allowed(&self, claimed: Offset, now: Timestamp) -> Offset {
        self.by_age(claimed, now).max(self.by_bytes(claimed))
    }

    fn by_age(&self, claimed: Offset, now: Timestamp) -> Offset {
        self.policy.retention_ms.map_or(Offset::ZERO, |it| self.older_than(it, claimed, now))
    }

    /// The end, up to `claimed`, of what is older than this.
    fn older_than(&self, age_ms_max: i64, claimed: Offset, now: Timestamp) -> Offset {
        let is_young = |made: &Made| now.get() - made.timestamp.get() <= age_ms_max;
        let first = self.placed.range(..claimed).find(|(_, made)| is_young(made));
        first.map_or(claimed, |(base, _)| *base)
    }

    /// What is left must have the bytes that the policy keeps, if all that was sent is there.
    fn by_bytes(&self, claimed: Offset) -> Offset {
        let Some(bytes_max) = self.policy.retention_bytes else { return Offset::ZERO };
        let mut left_bytes = self.sent_bytes;
        for (base, made) in self.placed.range(..claimed) {
            left_bytes = left_bytes.saturating_sub(made.bytes);
            if left_bytes < bytes_max {
                return *base;
            }
        }
        claimed
    }
}

#[cfg(test)]
mod tests {
    use engine::id::{Offset, Timestamp};

    use super::{Made, Policies, Policy};
    use crate::sim::history::{Event, LogId, ReaderId, WriterId};

    const LOG: LogId = LogId(1);

    /// Batches of two records and 100 bytes, acknowledged at these times; then the log says that it
    /// starts at 6.
    #[track_caller]
    fn check(policy: Policy, times: &[i64], now: i64, want: i64) {
        let mut policies = Policies::default();
        policies.on_log(LOG, policy);
        let writer = WriterId(2);
        for (index, time) in (0..).zip(times) {
            let first = 2 * index;
            let timestamp = Timestamp::new(*time);
            policies.on_made(Made { writer, log: LOG, first, count: 2, timestamp, bytes: 100 });
            let sent = Event::Sent { writer, log: LOG, first, count: 2 };
            assert_eq!(policies.before(&sent, timestamp), None);
            let base = Offset::new(i64::try_from(first).unwrap());
            let acked = Event::Acked { writer, log: LOG, first, count: 2, base };
            assert_eq!(policies.before(&acked, timestamp), None);
        }
        let found = Event::FoundStart { reader: ReaderId(3), log: LOG, log_start: Offset::new(6) };
        let cutting = policies.before(&found, Timestamp::new(now));
        assert_eq!(cutting, Some(Event::Cutting { log: LOG, before: Offset::new(want) }));
    }

    #[test]
    fn what_is_old_may_go_up_to_the_first_that_is_not() {
        let policy = Policy { retention_ms: Some(100), ..Policy::default() };
        check(policy, &[0, 10, 20, 30], 90, 0);
        check(policy, &[0, 10, 20, 30], 111, 4);
        check(policy, &[0, 10, 20, 30], 121, 6);
        check(policy, &[0, 90, 20, 30], 131, 2);
    }

    #[test]
    fn what_is_left_keeps_its_bytes() {
        let policy = |bytes| Policy { retention_bytes: Some(bytes), ..Policy::default() };
        check(policy(250), &[0, 0, 0, 0], 0, 2);
        check(policy(100), &[0, 0, 0, 0], 0, 6);
        check(policy(500), &[0, 0, 0, 0], 0, 0);
    }
}
