//! What a record says of a classic group, as far as it can be so.
//!
//! Kafka's coordinator and ours write down only what fits together. But whoever says that it is Kafka's
//! admin client may write any record, and then nothing that is read may end the broker: what does not fit
//! is left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::group::record::ClassicSnapshot;

impl ClassicSnapshot {
    /// Of members that share an id, or a lasting name, the last counts. Without a protocol nobody can be a
    /// member. Some member leads.
    pub(crate) fn mended(mut self) -> Self {
        if self.protocol.is_none() {
            self.members.clear();
        }
        let (mut ids, mut instances) = (BTreeSet::new(), BTreeSet::new());
        self.members.reverse();
        self.members.retain(|member| {
            let is_last = ids.insert(Arc::clone(&member.id));
            is_last && member.instance.iter().all(|it| instances.insert(Arc::clone(it)))
        });
        self.members.reverse();
        let is_leader = |id: &Arc<str>| self.members.iter().any(|it| it.id == *id);
        if !self.leader.as_ref().is_some_and(is_leader) {
            self.leader = self.members.iter().map(|it| &it.id).min().cloned();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::id::Timestamp;

    use crate::group::record::{ClassicSnapshot, MemberSnapshot};

    fn member(id: &str, instance: Option<&str>, session_ms: i32) -> MemberSnapshot {
        MemberSnapshot {
            id: id.into(),
            instance: instance.map(Into::into),
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_ms: 1,
            session_ms,
            subscription: Bytes::new(),
            assignment: Bytes::new(),
        }
    }

    /// The sessions of those that are left, and who leads.
    #[track_caller]
    fn check(
        protocol: Option<&str>,
        leader: Option<&str>,
        members: &[(&str, Option<&str>)],
        want: (&[i32], Option<&str>),
    ) {
        let members = members.iter().zip(0..).map(|((id, instance), it)| member(id, *instance, it));
        let snapshot = ClassicSnapshot {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: protocol.map(Into::into),
            leader: leader.map(Into::into),
            since: Timestamp::NONE,
            members: members.collect(),
        };
        let mended = snapshot.mended();
        let sessions: Vec<i32> = mended.members.iter().map(|it| it.session_ms).collect();
        assert_eq!((&*sessions, mended.leader.as_deref()), want);
    }

    #[test]
    fn what_fits_together_stays_as_it_is() {
        check(Some("r"), Some("b"), &[("b", Some("i")), ("a", None)], (&[0, 1], Some("b")));
        check(None, None, &[], (&[], None));
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        check(None, Some("a"), &[("a", None)], (&[], None));
        check(Some("r"), None, &[("b", None), ("a", None)], (&[0, 1], Some("a")));
        check(Some("r"), Some("x"), &[("b", None)], (&[0], Some("b")));
        check(Some("r"), Some("x"), &[], (&[], None));
        let twice = [("a", Some("i")), ("a", Some("j")), ("b", Some("j")), ("c", Some("i"))];
        check(Some("r"), Some("a"), &twice, (&[2, 3], Some("b")));
    }
}
