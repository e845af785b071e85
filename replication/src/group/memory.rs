//! What groups take of memory, about, and by how much a request would make it more.
//!
//! A count of what is held, not of what an allocator does: each thing counts for the bytes that a stranger
//! chose, and for what it costs to hold the smallest of its kind.

use bytes::Bytes;

use crate::group::assignment::Tenure;
use crate::group::request::{ConsumerHeartbeat, Join, Protocol, Sync};
use crate::group::subscription::Subscription;

/// A group without members and offsets, its alarms included.
pub(crate) const GROUP_BYTES: u64 = 1_280;
/// A member that has said nothing, with its alarm.
pub(crate) const MEMBER_BYTES: u64 = 1_024;
/// A part of what is written down of a group, while records are replayed.
pub(crate) const PART_BYTES: u64 = 256;
/// An id that was given away.
pub(crate) const INVITED_BYTES: u64 = 512;
/// A topic of which offsets are committed: two tables, mostly with one entry.
const TOPIC_BYTES: u64 = 1_280;
pub(crate) const OFFSET_BYTES: u64 = 128;
/// A partition that a member has, in its target, as its own, and in the list of owners.
pub(crate) const ASSIGNED_BYTES: u64 = 96;
/// Any text or list, besides its bytes.
const PIECE_BYTES: u64 = 48;

pub(crate) fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("usize fits")
}

pub(crate) fn of_text(text: &str) -> u64 {
    PIECE_BYTES + len(text.len())
}

pub(crate) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a (impl AsRef<str> + 'a)>) -> u64 {
    texts.into_iter().map(|it| of_text(it.as_ref())).sum()
}

/// A topic of which offsets are committed, without them.
pub(crate) fn of_topic(topic: &str) -> u64 {
    TOPIC_BYTES + len(topic.len())
}

pub(crate) fn of_bytes(bytes: &Bytes) -> u64 {
    PIECE_BYTES + len(bytes.len())
}

/// Each name may also be one of a group's roster, which shares its text.
pub(crate) fn of_protocols(protocols: &[Protocol]) -> u64 {
    let each = protocols.iter().map(|it| of_text(&it.name) + PIECE_BYTES + of_bytes(&it.metadata));
    each.sum()
}

pub(crate) fn of_subscription(subscription: &Subscription) -> u64 {
    of_texts(&subscription.names) + of_texts(&subscription.regex)
}

pub(crate) fn of_tenure(tenure: &Tenure) -> u64 {
    tenure.topics().map(|(_, partitions)| len(partitions.len()) * ASSIGNED_BYTES).sum()
}

/// Of a member that was not there.
pub(crate) fn of_join(join: &Join) -> u64 {
    MEMBER_BYTES
        + of_texts([&join.identity.member, &join.client_id, &join.client_host, &join.protocol_type])
        + of_texts(&join.identity.instance)
        + of_protocols(&join.protocols)
}

/// Likewise.
pub(crate) fn of_beat(beat: &ConsumerHeartbeat) -> u64 {
    let said = [&beat.identity.instance, &beat.rack, &beat.assignor, &beat.regex];
    MEMBER_BYTES
        + of_texts([&beat.identity.member, &beat.client_id, &beat.client_host])
        + of_texts(said.into_iter().flatten())
        + of_texts(beat.names.iter().flatten())
}

pub(crate) fn of_assignments(sync: &Sync) -> u64 {
    sync.assignments.iter().map(|(_, it)| of_bytes(it)).sum()
}
