//! How a classic group ends as one of the consumer protocol, and begins as what is left of such a one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::answer::GroupError;
use crate::group::classic::ClassicGroup;
use crate::group::coordinator::Step;
use crate::group::embedded::CONSUMER;
use crate::group::migration::Migrant;
use crate::group::record::ClassicSnapshot;

impl ClassicGroup {
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    /// Every member as the other protocol needs it. In a rebalance it has what it had before.
    pub(crate) fn migrants(&self) -> Vec<Migrant> {
        let migrants = self.roster.all().iter().map(|(id, it)| {
            let chosen = self.protocol.as_ref().or_else(|| it.protocols.first().map(|it| &it.name));
            let subscription = chosen.map(|name| it.metadata(name)).unwrap_or_default();
            Migrant { member: it.snapshot(id, subscription), protocols: it.protocols.clone() }
        });
        migrants.collect()
    }

    /// The group ends here: whoever waits is to join again.
    pub(crate) fn send_away(mut self, step: &mut Step<'_>) {
        self.roster.edit_all(|id, member| member.refuse(step, id, GroupError::Rebalancing));
    }

    /// A group of the other protocol goes on as one of this. Its members are to share anew.
    pub(crate) fn take_over(
        step: &mut Step<'_>,
        name: Arc<str>,
        generation: i32,
        migrants: Vec<Migrant>,
    ) -> Self {
        let mut members = Vec::with_capacity(migrants.len());
        let mut protocols = BTreeMap::new();
        for migrant in migrants {
            protocols.insert(Arc::clone(&migrant.member.id), migrant.protocols);
            members.push(migrant.member);
        }
        let snapshot = ClassicSnapshot {
            protocol_type: CONSUMER.into(),
            generation,
            protocol: None,
            leader: members.first().map(|it| Arc::clone(&it.id)),
            since: step.now.wall,
            members,
        };
        let mut group = Self::restore(name, snapshot);
        group.roster.edit_all(|id, member| {
            member.protocols = protocols.remove(id).unwrap_or_default();
        });
        group.protocol = Some(group.vote());
        group.begin(step);
        group.write(step);
        group.rebalance(step);
        group
    }
}
