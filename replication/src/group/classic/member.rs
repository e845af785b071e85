//! A member of a classic group, and what it waits for.
//!
//! Knows no other member.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::answer::{Answer, GroupError, JoinRefusal};
use crate::group::coordinator::Step;
use crate::group::record::MemberSnapshot;
use crate::group::request::Protocol;
use crate::group::{Moment, Ticket};

/// Nobody but the roster changes one that is in it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_ms: i32,
    pub(super) rebalance_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Without a sign of life until then, it is gone.
    pub(super) expires: Moment,
    /// It has been in no generation yet.
    pub(super) is_new: bool,
    /// In this generation it has asked for its assignment.
    pub(super) has_synced: bool,
    pub(super) waiting: Waiting,
}

/// What a member has asked for and not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    Join(Ticket),
    Sync(Ticket),
}

impl Member {
    pub(super) fn is_joining(&self) -> bool {
        matches!(self.waiting, Waiting::Join(_))
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let said = self.protocols.iter().find(|it| &*it.name == protocol);
        said.map(|it| it.metadata.clone()).unwrap_or_default()
    }

    pub(super) fn snapshot(&self, id: &Arc<str>, subscription: Bytes) -> MemberSnapshot {
        MemberSnapshot {
            id: Arc::clone(id),
            instance: self.instance.clone(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            rebalance_ms: self.rebalance_ms,
            session_ms: self.session_ms,
            subscription,
            assignment: self.assignment.clone(),
        }
    }

    /// It has shown that it lives.
    pub(super) fn live(&mut self, step: &Step<'_>) {
        self.expires = step.now.moment.plus_ms(self.session_ms.into());
    }

    /// Waits for an answer. One that it waited for before is given up: it has asked again.
    pub(super) fn wait(&mut self, step: &mut Step<'_>, waiting: Waiting) {
        match self.waiting {
            Waiting::Nothing => {}
            Waiting::Join(ticket) => {
                let refusal = JoinRefusal { error: GroupError::Rebalancing, member: "".into() };
                step.answer(ticket, Answer::Join(Err(refusal)));
            }
            Waiting::Sync(ticket) => {
                step.answer(ticket, Answer::Sync(Err(GroupError::Rebalancing)));
            }
        }
        self.waiting = waiting;
    }

    /// Answers what it waits for, if it waits.
    pub(super) fn refuse(&mut self, step: &mut Step<'_>, id: &str, error: GroupError) {
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Nothing => {}
            Waiting::Join(ticket) => {
                step.answer(ticket, Answer::Join(Err(JoinRefusal { error, member: id.into() })));
            }
            Waiting::Sync(ticket) => step.answer(ticket, Answer::Sync(Err(error))),
        }
    }
}
