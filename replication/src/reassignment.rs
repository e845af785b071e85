//! Where replicas shall be: what a client may ask of one node, which can move nothing to another.
//!
//! A sound wish is where the replicas are already, so nothing follows from it, and no move is ever under
//! way. Reads an image, changes nothing.

use engine::id::PartitionIndex;

use crate::image::{Image, Partition};
use crate::node::NodeId;
use crate::refusal::{Reason, Refusal};
use crate::topics::brokers;

/// Whether the partition's replicas can be on `nodes`, the preferred leader first. `None` cancels a
/// move.
///
/// # Errors
/// If there is no such partition, no such broker, nothing to cancel, or it would have to be moved.
pub fn reassign(
    image: &Image,
    topic: &str,
    partition: i32,
    nodes: Option<&[i32]>,
) -> Result<(), Refusal> {
    let partition = find(image, topic, partition)?;
    let Some(nodes) = nodes else {
        return Err(Refusal::new(Reason::NoReassignment, ""));
    };
    let nodes: Vec<NodeId> = brokers(image, nodes)?;
    if nodes != partition.replicas() {
        let message = "Replicas cannot be moved to another broker yet.";
        return Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
    }
    Ok(())
}

/// Why no leader is elected: a partition is always led, by the replica that shall lead it.
#[must_use]
pub fn elect(image: &Image, topic: &str, partition: i32) -> Refusal {
    match find(image, topic, partition) {
        Err(refusal) => refusal,
        Ok(_) => Refusal::new(
            Reason::ElectionNotNeeded,
            "Leader election not needed for topic partition.",
        ),
    }
}

fn find<'a>(image: &'a Image, topic: &str, index: i32) -> Result<&'a Partition, Refusal> {
    let unknown = |what: String| Refusal::new(Reason::UnknownTopic, what);
    let found = image.topic(topic).ok_or_else(|| unknown(format!("There is no topic {topic}.")))?;
    PartitionIndex::checked(index)
        .and_then(|it| found.partition(it))
        .ok_or_else(|| unknown(format!("There is no partition {index} of topic {topic}.")))
}
