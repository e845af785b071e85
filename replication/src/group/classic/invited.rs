//! Ids that a classic group has given away, and whose members have not joined: they may be many.
//!
//! Knows no member.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::Moment;
use crate::group::memory::{INVITED_BYTES, len};

#[derive(Debug, Default)]
pub(super) struct Invited {
    /// Until when they may.
    until: BTreeMap<Arc<str>, Moment>,
    bytes: u64,
}

impl Invited {
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// What they take of memory, about.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn until(&self, id: &str) -> Option<Moment> {
        self.until.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: &Arc<str>, until: Moment) {
        if self.until.insert(Arc::clone(id), until).is_none() {
            self.bytes += of_id(id);
        }
    }

    /// Whether it was one of them.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let was_there = self.until.remove(id).is_some();
        if was_there {
            self.bytes -= of_id(id);
        }
        was_there
    }
}

fn of_id(id: &str) -> u64 {
    INVITED_BYTES + 2 * len(id.len())
}
