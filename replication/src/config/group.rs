//! Every config of a group, and what it comes to. In alphabetical order.
//!
//! A value of its own holds for the group within the broker's bounds; else the broker's value does.

use crate::config::broker::{Configs, Layers, Setting, number};
use crate::config::definition::{BrokerSynonym, Check, Definition, Kind, Treatment, Update};
use crate::group::ConsumerTiming;

const SHARES: &str = "share groups are not served yet";
const STREAMS: &str = "groups of the streams protocol are not served yet";

/// A config of a group, and the broker's keys that bound it.
#[derive(Debug)]
pub struct GroupKey {
    pub definition: Definition,
    pub least: Option<&'static str>,
    pub most: Option<&'static str>,
}

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

pub static GROUP_KEYS: &[GroupKey] = &[
    key(ASSIGNMENT, Kind::Int, "1000", "The time between two assignments.")
        .inheriting(&[same("group.consumer.assignment.interval.ms")])
        .least("group.consumer.min.assignment.interval.ms")
        .most("group.consumer.max.assignment.interval.ms"),
    key(HEARTBEAT, Kind::Int, "5000", "How often members are to be heard of.")
        .inheriting(&[same("group.consumer.heartbeat.interval.ms")])
        .least("group.consumer.min.heartbeat.interval.ms")
        .most("group.consumer.max.heartbeat.interval.ms"),
    key(SESSION, Kind::Int, "45000", "The time after which a silent member is taken for gone.")
        .inheriting(&[same("group.consumer.session.timeout.ms")])
        .least("group.consumer.min.session.timeout.ms")
        .most("group.consumer.max.session.timeout.ms"),
    idle("share.assignment.interval.ms", Kind::Int, "1000", SHARES)
        .inheriting(&[same("group.share.assignment.interval.ms")])
        .least("group.share.min.assignment.interval.ms")
        .most("group.share.max.assignment.interval.ms"),
    idle("share.auto.offset.reset", Kind::Text, "latest", SHARES),
    idle("share.delivery.count.limit", Kind::Int, "5", SHARES)
        .inheriting(&[same("group.share.delivery.count.limit")])
        .least("group.share.min.delivery.count.limit")
        .most("group.share.max.delivery.count.limit"),
    idle("share.heartbeat.interval.ms", Kind::Int, "5000", SHARES)
        .inheriting(&[same("group.share.heartbeat.interval.ms")])
        .least("group.share.min.heartbeat.interval.ms")
        .most("group.share.max.heartbeat.interval.ms"),
    idle("share.isolation.level", Kind::Text, "read_uncommitted", SHARES)
        .checked(Check::In(&["read_committed", "read_uncommitted"])),
    idle("share.partition.max.record.locks", Kind::Int, "2000", SHARES)
        .inheriting(&[same("group.share.partition.max.record.locks")])
        .least("group.share.min.partition.max.record.locks")
        .most("group.share.max.partition.max.record.locks"),
    idle("share.record.lock.duration.ms", Kind::Int, "30000", SHARES)
        .inheriting(&[same("group.share.record.lock.duration.ms")])
        .least("group.share.min.record.lock.duration.ms")
        .most("group.share.max.record.lock.duration.ms"),
    idle("share.renew.acknowledge.enable", Kind::Boolean, "true", SHARES),
    idle("share.session.timeout.ms", Kind::Int, "45000", SHARES)
        .inheriting(&[same("group.share.session.timeout.ms")])
        .least("group.share.min.session.timeout.ms")
        .most("group.share.max.session.timeout.ms"),
    idle("streams.assignment.interval.ms", Kind::Int, "1000", STREAMS)
        .inheriting(&[same("group.streams.assignment.interval.ms")])
        .least("group.streams.min.assignment.interval.ms")
        .most("group.streams.max.assignment.interval.ms"),
    idle("streams.heartbeat.interval.ms", Kind::Int, "5000", STREAMS)
        .inheriting(&[same("group.streams.heartbeat.interval.ms")])
        .least("group.streams.min.heartbeat.interval.ms")
        .most("group.streams.max.heartbeat.interval.ms"),
    idle("streams.initial.rebalance.delay.ms", Kind::Int, "3000", STREAMS)
        .inheriting(&[same("group.streams.initial.rebalance.delay.ms")]),
    idle("streams.num.standby.replicas", Kind::Int, "0", STREAMS)
        .inheriting(&[same("group.streams.num.standby.replicas")])
        .most("group.streams.max.standby.replicas"),
    idle("streams.session.timeout.ms", Kind::Int, "45000", STREAMS)
        .inheriting(&[same("group.streams.session.timeout.ms")])
        .least("group.streams.min.session.timeout.ms")
        .most("group.streams.max.session.timeout.ms"),
];

const BY_ITSELF: &str = "a coordinator's own thread assigns";
const NO_SHARES: &str = "there are no share groups yet";
const NO_STREAMS: &str = "there are no groups of the streams protocol yet";

/// Keys of a Kafka newer than the one whose configs we show. They name what does not exist here.
pub static GROUP_KEYS_REFUSED: &[(&str, &str)] = &[
    ("consumer.assignor.offload.enable", BY_ITSELF),
    ("errors.deadletterqueue.copy.record.enable", NO_SHARES),
    ("errors.deadletterqueue.topic.name", NO_SHARES),
    ("share.assignor.offload.enable", BY_ITSELF),
    ("streams.acceptable.recovery.lag", NO_STREAMS),
    ("streams.assignor.name", NO_STREAMS),
    ("streams.assignor.offload.enable", BY_ITSELF),
    ("streams.num.warmup.replicas", NO_STREAMS),
    ("streams.rack.aware.assignment.tags", NO_STREAMS),
    ("streams.task.offset.interval.ms", NO_STREAMS),
];

/// For each protocol, the time after which a silent member is gone and how often it is to be heard of:
/// the first must be the greater one.
const PACES: [(&str, &str); 3] = [
    (SESSION, HEARTBEAT),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

/// Why a group with these values of its own could not keep its members: each of its values is within its
/// bounds, but a member would be gone before it is to be heard of.
///
/// # Errors
/// A sentence for people.
pub fn check_paces(layers: &Layers, overrides: &Configs) -> Result<(), String> {
    for (session, heartbeat) in PACES {
        let is_own = overrides.contains_key(session) || overrides.contains_key(heartbeat);
        if is_own && value(layers, overrides, session) <= value(layers, overrides, heartbeat) {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

/// The number that `name` is in a group with these values of its own. `None`: no number, or unknown.
fn value(layers: &Layers, overrides: &Configs, name: &str) -> Option<i64> {
    let key = group_key(name)?;
    match overrides.get(name).and_then(|it| it.parse().ok()) {
        Some(own) => Some(key.bounded(layers, own)),
        None => key.inherited(layers).first()?.value.parse().ok(),
    }
}

#[must_use]
pub fn group_key(name: &str) -> Option<&'static GroupKey> {
    GROUP_KEYS.iter().find(|it| it.definition.name == name)
}

impl GroupKey {
    const fn inheriting(self, synonyms: &'static [BrokerSynonym]) -> Self {
        Self { definition: Definition { synonyms, ..self.definition }, ..self }
    }

    const fn checked(self, check: Check) -> Self {
        Self { definition: self.definition.checked(check), ..self }
    }

    const fn least(self, key: &'static str) -> Self {
        Self { least: Some(key), ..self }
    }

    const fn most(self, key: &'static str) -> Self {
        Self { most: Some(key), ..self }
    }

    /// The broker's settings that it falls back to, the one that holds first.
    #[must_use]
    pub fn inherited<'a>(&self, layers: &'a Layers) -> Vec<Setting<'a>> {
        let names: Vec<_> = self.definition.synonyms.iter().map(|it| it.key).collect();
        layers.settings(&names)
    }

    /// Why a value in canonical form is out of the broker's bounds.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn check(&self, layers: &Layers, value: &str) -> Result<(), String> {
        let Ok(value) = value.parse::<i64>() else { return Ok(()) };
        let bound = |key: Option<&'static str>| Some((key?, number(layers.value(key?))));
        let name = self.definition.name;
        match (bound(self.least), bound(self.most)) {
            (Some((key, least)), _) if value < least => {
                Err(format!("{name} must be greater than or equal to {key}, which is {least}"))
            }
            (_, Some((key, most))) if most < value => {
                Err(format!("{name} must be less than or equal to {key}, which is {most}"))
            }
            _ => Ok(()),
        }
    }

    /// Within the broker's bounds, which may have become narrower since it was set.
    fn bounded(&self, layers: &Layers, value: i64) -> i64 {
        let bound = |key: Option<&'static str>| key.map(|key| number(layers.value(key)));
        let value = bound(self.most).map_or(value, |most| value.min(most));
        bound(self.least).map_or(value, |least| value.max(least))
    }
}

/// How fast a group with these values of its own is.
#[must_use]
pub fn timing(layers: &Layers, overrides: &Configs, broker: ConsumerTiming) -> ConsumerTiming {
    let own = |name: &str, by_broker: i32| {
        let value = overrides.get(name).and_then(|it| it.parse::<i64>().ok());
        let value = value.zip(group_key(name)).map(|(value, key)| key.bounded(layers, value));
        value.and_then(|it| i32::try_from(it).ok()).unwrap_or(by_broker)
    };
    ConsumerTiming {
        session_ms: own(SESSION, broker.session_ms),
        heartbeat_ms: own(HEARTBEAT, broker.heartbeat_ms),
        assignment_interval_ms: own(ASSIGNMENT, broker.assignment_interval_ms),
    }
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    text: &'static str,
) -> GroupKey {
    // What no broker's key bounds is still no time before zero.
    let check = if matches!(kind, Kind::Int) { Check::AtLeast(0) } else { Check::Any };
    let definition = Definition {
        name,
        kind,
        default: Some(default),
        check,
        treatment: Treatment::Honoured,
        update: Update::ClusterWide,
        synonyms: &[],
        text,
    };
    GroupKey { definition, least: None, most: None }
}

const fn idle(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reason: &'static str,
) -> GroupKey {
    let GroupKey { definition, least, most } = key(name, kind, default, "A config of Kafka's.");
    GroupKey { definition: definition.without_effect(reason), least, most }
}

const fn same(key: &'static str) -> BrokerSynonym {
    BrokerSynonym { key, factor: 1 }
}

#[cfg(test)]
mod tests {
    use super::{GROUP_KEYS, GROUP_KEYS_REFUSED, group_key};
    use crate::config::broker_keys::broker_key;

    #[test]
    fn there_are_kafkas_17_keys_and_those_of_a_newer_one_are_none_of_them() {
        assert_eq!(GROUP_KEYS.len(), 17);
        assert!(GROUP_KEYS_REFUSED.is_sorted());
        assert!(GROUP_KEYS_REFUSED.iter().all(|(name, _)| group_key(name).is_none()));
    }

    #[test]
    fn keys_are_in_order_and_the_broker_has_those_that_they_name() {
        assert!(GROUP_KEYS.is_sorted_by(|a, b| a.definition.name < b.definition.name));
        for key in GROUP_KEYS {
            let definition = &key.definition;
            let default = definition.default.expect("set");
            assert_eq!(definition.canonical(default).as_deref(), Ok(default));
            for synonym in definition.synonyms {
                let broker = broker_key(synonym.key).expect("the broker has it");
                assert_eq!(broker.default, Some(default), "{}", synonym.key);
            }
            for bound in key.least.iter().chain(&key.most) {
                let bound = broker_key(bound).and_then(|it| it.default).expect("it has a value");
                assert!(bound.parse::<i64>().is_ok());
            }
        }
    }
}
