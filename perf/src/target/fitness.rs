//! Which steps of workloads make no sense for a protocol, and why: they are left out, and said to be.

use crate::protocol::Protocol;
use crate::workload::form::{Form, Kind};

/// Of a topic. More streams than this are nothing that their makers advise.
const PARTITIONS_MAX: i32 = 1_000;

/// `None` if it can be done.
pub(super) fn unfit(protocol: Protocol, form: &Form) -> Option<&'static str> {
    if protocol == Protocol::Kafka {
        return None;
    }
    match form.kind {
        Kind::Groups => return Some("it has no consumer groups of Kafka's protocol"),
        Kind::Connections => {
            return Some("its idle connections and its storm ask for Kafka's versions");
        }
        Kind::Restart => return Some("its first acknowledgement is one of Kafka's protocol"),
        Kind::Scene => {}
    }
    if form.topics.iter().any(|topic| !topic.configs.is_empty()) {
        return Some("its topics have configurations that only Kafka knows");
    }
    if form.topics.iter().any(|topic| PARTITIONS_MAX < topic.partitions) {
        return Some(
            "a partition is a stream or queue of its own, and more than 1,000 are too many",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Extent, Workload};

    /// How many steps of a workload can be done, and how many not.
    fn counts(protocol: Protocol, name: &str) -> (usize, usize) {
        let workload = Workload::load(name).expect("it is ours");
        let steps = workload.steps(Extent::Full).expect("ours are sound");
        let unfit = steps.iter().filter(|it| unfit(protocol, &it.form).is_some()).count();
        (steps.len() - unfit, unfit)
    }

    #[test]
    fn kafka_can_do_everything() {
        for workload in Workload::ours().expect("ours are sound") {
            assert_eq!(counts(Protocol::Kafka, &workload.form().key).1, 0);
        }
    }

    #[test]
    fn what_a_protocol_cannot_do_is_known_before_it_is_tried() {
        for protocol in [Protocol::Nats] {
            for name in ["W1", "W2", "W3", "W4", "W5", "W14"] {
                assert_eq!(counts(protocol, name).1, 0, "{name}");
            }
            for name in ["W9", "W12", "W13", "W15"] {
                assert_eq!(counts(protocol, name).0, 0, "{name}");
            }
            let (can, cannot) = counts(protocol, "W8");
            assert!(0 < can && 0 < cannot);
        }
    }
}
