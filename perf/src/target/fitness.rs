//! Which steps of workloads make no sense for a protocol, and why: they are left out, and said to be.

use crate::protocol::Protocol;
use crate::workload::form::{Consumers, Form, Kind, Lasts, Share};

/// Of a topic. More streams than this are nothing that their makers advise.
const PARTITIONS_MAX: i32 = 1_000;

/// Of a topic, where a connection numbers its streams with a byte.
const STREAMS_MAX: i32 = 255;

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
    if protocol == Protocol::RabbitStream
        && form.topics.iter().any(|topic| STREAMS_MAX < topic.partitions)
    {
        return Some("a connection writes to 255 streams at most");
    }
    if protocol == Protocol::Amqp {
        return unfit_for_queues(form);
    }
    None
}

/// A queue gives each record to one reader, and then forgets it.
fn unfit_for_queues(form: &Form) -> Option<&'static str> {
    let is_shared = |it: &Consumers| it.share == Share::All && 1 < it.count;
    if form.consumers.iter().any(is_shared) {
        return Some("a queue gives each record to one reader, and here each wants all of them");
    }
    if form.phases.iter().any(|phase| phase.lasts == Lasts::Backlog) {
        return Some("a queue is no log: it is not made to hold a backlog of this size");
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
        for protocol in [Protocol::Nats, Protocol::Amqp, Protocol::RabbitStream] {
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

    #[test]
    fn a_queue_has_one_reader_and_no_backlog() {
        let (can, cannot) = counts(Protocol::Amqp, "W6");
        assert!(can == 1 && 0 < cannot);
        assert_eq!(counts(Protocol::Amqp, "W7").0, 0);
        for protocol in [Protocol::Nats, Protocol::RabbitStream] {
            assert_eq!((counts(protocol, "W6").1, counts(protocol, "W7").1), (0, 0));
        }
    }
}
