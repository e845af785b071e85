//! What a scene is: topics, who writes to them, who reads them, and phases of time in which they do.

use std::net::SocketAddr;
use std::time::Duration;

use crate::frame::Acks;
use crate::process::Process;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// Of the broker, if it runs on this machine: adds what it uses.
    pub(crate) broker: Option<Process>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) producers: Vec<Producers>,
    pub(crate) consumers: Vec<Consumers>,
    pub(crate) phases: Vec<Phase>,
    /// Whether the generator waits without sleep: only on a core of its own.
    pub(crate) spins: bool,
}

/// Created if it is missing.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partition_count: i32,
    pub(crate) configs: Vec<(String, String)>,
}

/// Producers that do the same.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    /// What their series are called.
    pub(crate) name: String,
    /// Index in the plan's topics.
    pub(crate) topic: usize,
    /// One connection each.
    pub(crate) count: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) record_count: i32,
    pub(crate) value_bytes: usize,
    pub(crate) acks: Acks,
    pub(crate) is_idempotent: bool,
}

/// Consumers that do the same: fetch from where the log ends when they begin, or from its start, and wait
/// at the broker for what is not there yet.
#[derive(Clone, Debug)]
pub(crate) struct Consumers {
    pub(crate) name: String,
    pub(crate) topic: usize,
    /// One connection each.
    pub(crate) count: usize,
    pub(crate) share: Share,
    pub(crate) from: From,
    /// They begin with this phase.
    pub(crate) begins_in: usize,
    /// Of one partition in one answer.
    pub(crate) partition_bytes_max: i32,
    /// How long a fetch may wait at the broker. Zero asks again at once.
    pub(crate) wait_max: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Share {
    /// Each reads every partition.
    All,
    /// Each reads its part of them, as a group's members do.
    Split,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum From {
    Start,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) until: Until,
    /// Whether it is measured; a warm-up is not.
    pub(crate) counts: bool,
    /// Of each of the plan's producers, in order.
    pub(crate) paces: Vec<Pace>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Passed(Duration),
    /// All producers have sent so many bytes of values.
    Sent(u64),
    /// All consumers are less than so far behind the log's end, or the time is over: that is a failure to
    /// drain, and is reported as such.
    Drained { lag: Duration, at_most: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// They send nothing.
    Rests,
    /// All of them together, at times that follow from the rate alone (an open loop).
    Open { records_per_second: u64 },
    /// Each keeps `in_flight_max` requests outstanding (a closed loop).
    Saturated,
}
