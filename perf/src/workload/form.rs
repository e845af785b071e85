//! The form of a workload file, key by key. A key that is not here is refused by its name.
//!
//! It knows no profile's choice and no scale: what the file says, and nothing that follows from it.

use std::time::Duration;

use serde::Deserialize;

use crate::groups::Protocol;
use crate::scene::plan::Partitioning;
use crate::workload::amount::Amount;
use crate::workload::rate::Rate;

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    /// `W2`.
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) kind: Kind,
    /// Numbers that the table shows, in this order.
    pub(crate) shown: Vec<String>,
    #[serde(default)]
    pub(crate) bound: Bound,
    pub(crate) profiles: Profiles,
    #[serde(default)]
    pub(crate) topics: Vec<Topic>,
    #[serde(default)]
    pub(crate) producers: Vec<Producers>,
    #[serde(default)]
    pub(crate) consumers: Vec<Consumers>,
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
    /// A warm-up and a measured time if the file has none.
    #[serde(default = "phases")]
    pub(crate) phases: Vec<Phase>,
    /// What varies: a step for each combination, in this order.
    #[serde(default)]
    pub(crate) sweeps: Vec<Sweep>,
}

/// What is done with a fresh broker at each step.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The scene.
    #[default]
    Scene,
    /// The scene of the first producers alone, then beside `idle_connections` that do nothing, then with all
    /// producers beside the rest of those, then a storm of connects.
    Connections,
    /// Phases that last `backlog` fill it. Then those that follow are its load: in the middle of them, after
    /// the profile's `seconds`, it is stopped and started, and killed and started.
    Restart,
    /// The one group of the file forms, and then its members leave and others join, until the profile's
    /// `seconds` are over.
    Groups,
}

/// Which limit of the machine binds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    #[default]
    None,
    /// A round trip, and a durable write where the target makes one: the floor of a closed loop's median.
    Ping,
    /// The same floor, of the median of an open loop: whoever is acknowledged has waited for one whole
    /// write, however many share it. Or what the network alone costs for each request.
    GroupCommit,
    /// What the network alone costs for each request, the durable stream, or loopback.
    Requests,
    /// The durable stream, or loopback.
    Ingest,
    /// Loopback.
    Egress,
    /// The direct read, or loopback.
    ColdRead,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    pub(crate) smoke: Profile,
    pub(crate) full: Profile,
    pub(crate) lab: Profile,
}

/// How long, how often, how much.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) pairs: u32,
    /// Before each step.
    pub(crate) warm_up_seconds: u64,
    /// Before the first step after the target has started, instead: a JVM compiles meanwhile.
    first_warm_up_seconds: Option<u64>,
    pub(crate) seconds: u64,
    /// What a phase that lasts `backlog` sends.
    pub(crate) backlog: Option<Amount>,
    /// What a broker may have, its page cache included.
    pub(crate) memory: Option<Amount>,
    /// The end of a phase that lasts `drained`, if it is not drained before.
    #[serde(default)]
    pub(crate) drain_seconds_max: u64,
    #[serde(default)]
    pub(crate) idle_connections: usize,
    #[serde(default)]
    pub(crate) connects_per_second: u64,
    /// Between heartbeats of members; as their protocol has it, if there is none.
    pub(crate) heartbeat_ms: Option<u64>,
}

impl Profile {
    /// `is_first`: no step of this turn came before.
    pub(crate) fn warm_up(&self, is_first: bool) -> Duration {
        let first = self.first_warm_up_seconds.filter(|_| is_first);
        Duration::from_secs(first.unwrap_or(self.warm_up_seconds))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// `KEY=VALUE`.
    #[serde(default)]
    pub(crate) configs: Vec<String>,
    /// The scale multiplies its partitions.
    #[serde(default)]
    pub(crate) is_scaled: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Producers {
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) connections: usize,
    #[serde(default = "one")]
    pub(crate) in_flight: usize,
    #[serde(default = "kibibyte")]
    pub(crate) record_bytes: usize,
    /// As many records in each request as this has room for, one at least.
    #[serde(default)]
    pub(crate) batch_bytes: usize,
    #[serde(default)]
    pub(crate) acks: Acks,
    #[serde(default)]
    pub(crate) is_idempotent: bool,
    #[serde(default)]
    pub(crate) partitioning: Partitioning,
    /// Of all of them together, in phases that say nothing else.
    pub(crate) rate: Rate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Acks {
    #[default]
    All,
    Leader,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumers {
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) count: usize,
    #[serde(default)]
    pub(crate) share: Share,
    #[serde(default)]
    pub(crate) from: From,
    /// They begin with this phase; with the first if none is named.
    pub(crate) begins_in: Option<String>,
    #[serde(default = "mebibyte")]
    pub(crate) partition_bytes_max: i32,
    #[serde(default = "half_second")]
    pub(crate) wait_ms_max: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Share {
    /// Each reads every partition.
    #[default]
    All,
    /// Each reads its part.
    Split,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    Start,
    #[default]
    End,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// For sweeps.
    #[serde(rename = "name")]
    pub(crate) _name: String,
    pub(crate) topic: String,
    pub(crate) protocol: Protocol,
    pub(crate) members: u32,
    /// So many leave at once, and as many join.
    pub(crate) storm: u32,
    /// Of groups of their own, meanwhile.
    #[serde(default)]
    pub(crate) commits_per_second: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) lasts: Lasts,
    #[serde(default = "yes")]
    pub(crate) counts: bool,
    /// Rates of producers that differ in this phase.
    #[serde(default)]
    pub(crate) rates: std::collections::BTreeMap<String, Rate>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lasts {
    /// `warm_up_seconds` of the profile, or `first_warm_up_seconds`.
    WarmUp,
    /// `seconds` of the profile.
    Seconds,
    /// Half of them.
    Half,
    /// Twice as many.
    Double,
    /// Until the profile's `backlog` is sent.
    Backlog,
    /// Until readers are less than a second behind, or `drain_seconds_max` of the profile.
    Drained,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sweep {
    /// `NAME.KEY`: of the topic, the producers or the consumers of this name.
    pub(crate) of: String,
    pub(crate) values: Vec<toml::Value>,
    /// Those of the profile `smoke`, if they are fewer.
    pub(crate) smoke: Option<Vec<toml::Value>>,
    /// Those of the profile `lab`, if they differ.
    pub(crate) lab: Option<Vec<toml::Value>>,
}

fn phases() -> Vec<Phase> {
    let phase = |name: &str, lasts, counts| Phase {
        name: name.to_owned(),
        lasts,
        counts,
        rates: std::collections::BTreeMap::new(),
    };
    vec![phase("warm-up", Lasts::WarmUp, false), phase("measured", Lasts::Seconds, true)]
}

const fn one() -> usize {
    1
}

const fn kibibyte() -> usize {
    1 << 10
}

const fn mebibyte() -> i32 {
    1 << 20
}

const fn half_second() -> u64 {
    500
}

const fn yes() -> bool {
    true
}
