//! What a scene is: topics, who writes to them, who reads them, and phases of time in which they do.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::frame::Acks;
use crate::process::Process;
use crate::protocol::Protocol;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
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
    pub(crate) partitioning: Partitioning,
}

/// Which partition of its topic a request goes to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Partitioning {
    /// The one after that of the request before, from another one on for each connection.
    #[default]
    Turns,
    /// Any, the same ones in every run.
    Random,
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
    Drained {
        lag: Duration,
        at_most: Duration,
    },
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

impl Plan {
    /// A plan that makes no sense is a bug of whoever made it.
    pub(crate) fn check(&self) {
        assert!(!self.phases.is_empty(), "a scene has a phase");
        for phase in &self.phases {
            assert_eq!(phase.paces.len(), self.producers.len(), "each producer has a pace");
        }
        for producers in &self.producers {
            assert!(producers.topic < self.topics.len() && 0 < producers.count);
            assert!(0 < producers.in_flight_max && 0 < producers.record_count);
        }
        for consumers in &self.consumers {
            assert!(consumers.topic < self.topics.len() && 0 < consumers.count);
            assert!(consumers.begins_in < self.phases.len(), "consumers begin with a phase");
        }
    }

    /// For tests: one producer, that sends two records of 50 bytes at a time, and one consumer.
    #[cfg(test)]
    pub(super) fn of_phases(phases: &[(&str, Until, bool)]) -> Self {
        let producers = Producers {
            name: "small".to_owned(),
            topic: 0,
            count: 1,
            in_flight_max: 1,
            record_count: 2,
            value_bytes: 50,
            acks: Acks::All,
            is_idempotent: false,
            partitioning: Partitioning::Turns,
        };
        let consumers = Consumers {
            name: "readers".to_owned(),
            topic: 0,
            count: 1,
            share: Share::All,
            from: From::End,
            begins_in: 0,
            partition_bytes_max: 1,
            wait_max: Duration::ZERO,
        };
        let phase = |(name, until, counts): &(&str, Until, bool)| Phase {
            name: (*name).to_owned(),
            until: *until,
            counts: *counts,
            paces: vec![Pace::Saturated],
        };
        let topic = Topic { name: "topic".to_owned(), partition_count: 1, configs: Vec::new() };
        Self {
            address: ([127, 0, 0, 1], 1).into(),
            protocol: Protocol::Kafka,
            broker: None,
            topics: vec![topic],
            producers: vec![producers],
            consumers: vec![consumers],
            phases: phases.iter().map(phase).collect(),
            spins: false,
        }
    }
}
