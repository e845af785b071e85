//! The log of the cluster's metadata after any damage: each event is refused or sound, and none that
//! is sound can break the cluster that it is applied to.
//!
//! The input is a row of events, each behind its length in two bytes.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use replication::cluster::Cluster;
use replication::config::broker::Configs;
use replication::event::Event;
use replication::node::NodeId;

fuzz_target!(|input: &[u8]| {
    let node = NodeId::checked(1).expect("not negative");
    let mut cluster = Cluster::new(node, Arc::new(Configs::new()));
    let mut rest = input;
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        let Ok(event) = Event::decode(bytes) else { continue };
        let mut encoded = Vec::new();
        event.encode(&mut encoded);
        assert_eq!(Event::decode(&encoded).as_ref(), Ok(&event));
        if cluster.apply(&event).is_ok() {
            check_snapshot(node, &cluster);
        }
    }
});

/// A cluster is what its snapshot says.
fn check_snapshot(node: NodeId, cluster: &Cluster) {
    let mut copy = Cluster::new(node, Arc::new(Configs::new()));
    for event in cluster.snapshot() {
        copy.apply(&event).expect("a snapshot applies");
    }
    assert_eq!(copy.image().topics().count(), cluster.image().topics().count());
}
