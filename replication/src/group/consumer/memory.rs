//! What a group of the consumer protocol takes of memory, about.

use crate::group::assignment::Assignment;
use crate::group::consumer::ConsumerGroup;
use crate::group::consumer_record::{Current, Profile, ResolvedRegex};
use crate::group::member::Member;
use crate::group::memory::{
    ASSIGNED_BYTES, MEMBER_BYTES, len, of_protocols, of_subscription, of_tenure, of_text, of_texts,
};

impl ConsumerGroup {
    pub(crate) fn bytes(&self) -> u64 {
        let members = self.members.iter().map(|(id, member)| of_text(id) + member.bytes());
        let regexes = self.resolved.iter().map(|(it, to)| of_text(it) + to.bytes());
        members.chain(regexes).sum()
    }

    /// Of a member; `None` if it is not there.
    pub(crate) fn member_bytes(&self, id: &str) -> Option<u64> {
        self.members.get(id).map(Member::bytes)
    }
}

impl Member {
    fn bytes(&self) -> u64 {
        let Self { profile, current, clocks: _ } = self;
        profile.bytes() + current.bytes()
    }
}

/// A part of what is written down of a group.
pub(super) trait Weighed {
    /// What it takes of memory, about.
    fn bytes(&self) -> u64;
}

impl Weighed for Assignment {
    fn bytes(&self) -> u64 {
        len(self.count()) * ASSIGNED_BYTES
    }
}

impl Weighed for Current {
    fn bytes(&self) -> u64 {
        of_tenure(&self.assigned) + of_tenure(&self.revoking)
    }
}

impl Weighed for ResolvedRegex {
    fn bytes(&self) -> u64 {
        of_texts(&self.topics)
    }
}

impl Weighed for Profile {
    fn bytes(&self) -> u64 {
        MEMBER_BYTES
            + of_texts([&self.client_id, &self.client_host])
            + of_texts([&self.instance, &self.rack, &self.assignor].into_iter().flatten())
            + of_subscription(&self.subscription)
            + self.classic.as_ref().map_or(0, |it| of_protocols(&it.protocols))
    }
}
