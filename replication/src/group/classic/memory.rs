//! What a classic group takes of memory, about.

use crate::group::classic::ClassicGroup;
use crate::group::classic::member::Member;
use crate::group::memory::{MEMBER_BYTES, of_bytes, of_protocols, of_texts};

impl ClassicGroup {
    pub(crate) fn bytes(&self) -> u64 {
        self.roster.bytes() + self.invited.bytes()
    }

    /// Of a member; `None` if it is not there.
    pub(crate) fn member_bytes(&self, id: &str) -> Option<u64> {
        self.roster.all().get(id).map(Member::bytes)
    }

    pub(crate) fn assignment_bytes(&self) -> u64 {
        self.roster.assignment_bytes()
    }
}

impl Member {
    pub(super) fn bytes(&self) -> u64 {
        MEMBER_BYTES
            + of_texts([&self.client_id, &self.client_host])
            + of_texts(&self.instance)
            + of_protocols(&self.protocols)
            + of_bytes(&self.assignment)
    }
}
