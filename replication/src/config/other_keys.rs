//! Configs of consumer groups and of client metrics: shown with their defaults, as Kafka shows
//! those of names that it never saw. None can be set yet.

use crate::config::definition::{Check, Definition, Kind, Treatment, Update};

const NO_GROUPS: &str = "a group has no configuration of its own yet";
const NO_TELEMETRY: &str = "clients are not asked for metrics";

/// In alphabetical order.
pub static GROUP_KEYS: &[Definition] = &[
    key("consumer.assignment.interval.ms", Kind::Int, "1000", NO_GROUPS),
    key("consumer.assignor.offload.enable", Kind::Boolean, "true", NO_GROUPS),
    key("consumer.heartbeat.interval.ms", Kind::Int, "5000", NO_GROUPS),
    key("consumer.session.timeout.ms", Kind::Int, "45000", NO_GROUPS),
    key("share.assignment.interval.ms", Kind::Int, "1000", NO_GROUPS),
    key("share.auto.offset.reset", Kind::Text, "latest", NO_GROUPS),
    key("share.heartbeat.interval.ms", Kind::Int, "5000", NO_GROUPS),
    key("share.isolation.level", Kind::Text, "read_uncommitted", NO_GROUPS),
    key("share.record.lock.duration.ms", Kind::Int, "30000", NO_GROUPS),
    key("share.session.timeout.ms", Kind::Int, "45000", NO_GROUPS),
    key("streams.heartbeat.interval.ms", Kind::Int, "5000", NO_GROUPS),
    key("streams.initial.rebalance.delay.ms", Kind::Int, "3000", NO_GROUPS),
    key("streams.num.standby.replicas", Kind::Int, "0", NO_GROUPS),
    key("streams.session.timeout.ms", Kind::Int, "45000", NO_GROUPS),
];

/// In alphabetical order.
pub static CLIENT_METRICS_KEYS: &[Definition] = &[
    key("interval.ms", Kind::Int, "300000", NO_TELEMETRY),
    key("match", Kind::List, "", NO_TELEMETRY),
    key("metrics", Kind::List, "", NO_TELEMETRY),
];

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reason: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default: Some(default),
        check: Check::Any,
        treatment: Treatment::NoEffect(reason),
        update: Update::ReadOnly,
        synonyms: &[],
        text: "A config of Kafka's.",
    }
}

#[cfg(test)]
mod tests {
    use super::{CLIENT_METRICS_KEYS, GROUP_KEYS};

    #[test]
    fn keys_are_in_order_and_their_defaults_canonical() {
        for table in [GROUP_KEYS, CLIENT_METRICS_KEYS] {
            assert!(table.is_sorted_by(|a, b| a.name < b.name));
            assert!(
                table
                    .iter()
                    .all(|it| it.canonical(it.default.expect("set")).as_deref().ok() == it.default)
            );
        }
    }
}
