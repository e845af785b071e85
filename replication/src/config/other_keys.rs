//! Configs of client metrics: shown with their defaults, as Kafka shows those of names that it never saw.
//! None can be set yet.

use crate::config::definition::{Check, Definition, Kind, Treatment, Update};

const NO_TELEMETRY: &str = "clients are not asked for metrics";

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
    use super::{CLIENT_METRICS_KEYS, Definition};

    #[test]
    fn keys_are_in_order_and_their_defaults_canonical() {
        let table = CLIENT_METRICS_KEYS;
        assert!(table.is_sorted_by(|a, b| a.name < b.name));
        let is_canonical =
            |it: &Definition| it.canonical(it.default.expect("set")).as_deref().ok() == it.default;
        assert!(table.iter().all(is_canonical));
    }
}
