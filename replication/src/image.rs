//! The cluster's metadata at one moment. Never changes; every shard holds one, and its parts are
//! shared.
//!
//! Only [`crate::cluster::Cluster`] makes one. Lookups cost a walk down a balanced tree; a clone
//! costs a few counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::id::{LeaderEpoch, PartitionId, PartitionIndex, ProducerId, TopicId};
use rpds::RedBlackTreeMapSync;

use crate::config::broker::{BrokerConfig, Configs, Layers};
use crate::config::topic::{TopicConfig, defaults};
use crate::event::{BrokerScope, METADATA_TOPIC_ID};
use crate::group::ConsumerTiming;
use crate::limits::{CONFIG_OVERHEAD_BYTES, CONFIGS_BYTES_TOTAL_MAX};
use crate::node::{Broker, NodeId};
use crate::quota::Quotas;
use crate::topic_name::TopicName;

/// Invariant: `by_name` and `by_id` hold the same topics, `partition_count` is the sum of theirs, and
/// `config_bytes` that of the configs of topics, groups and brokers.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) node: NodeId,
    /// Events applied so far.
    pub(crate) version: u64,
    pub(crate) by_name: RedBlackTreeMapSync<TopicName, Arc<Topic>>,
    pub(crate) by_id: RedBlackTreeMapSync<TopicId, Arc<Topic>>,
    /// Names that metrics would confuse, under the one name that they share.
    pub(crate) colliding: RedBlackTreeMapSync<Arc<str>, Vec<TopicName>>,
    pub(crate) partition_count: usize,
    /// As [`config_bytes`] counts them.
    pub(crate) config_bytes: usize,
    pub(crate) brokers: Arc<BTreeMap<NodeId, Broker>>,
    /// Changed while brokers ran. No entry is empty.
    pub(crate) dynamic: Arc<BTreeMap<BrokerScope, Configs>>,
    pub(crate) settings: Arc<Settings>,
    /// All producer ids below are handed out.
    pub(crate) producer_ids_next: ProducerId,
    pub(crate) quotas: Arc<Quotas>,
    /// Groups with configs of their own. No entry is without one.
    pub(crate) groups: RedBlackTreeMapSync<Arc<str>, Arc<GroupConfig>>,
}

/// What the layers of broker configs come to, worked out once per change of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) layers: Layers,
    pub(crate) broker: BrokerConfig,
    pub(crate) topic_defaults: Configs,
    /// Of every topic without configs of its own.
    pub(crate) topic: Arc<TopicConfig>,
}

/// What was set on one group, and what it comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub(crate) overrides: Configs,
    pub(crate) timing: ConsumerTiming,
}

impl GroupConfig {
    /// In canonical form.
    #[must_use]
    pub fn overrides(&self) -> &Configs {
        &self.overrides
    }
}

/// One incarnation of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) partitions: Arc<[Partition]>,
    pub(crate) overrides: Arc<Configs>,
    pub(crate) config: Arc<TopicConfig>,
}

/// Invariant: the leader is a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub(crate) leader: NodeId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replicas: Arc<[NodeId]>,
}

impl Image {
    /// The node whose image this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Grows with every event: of two images of one cluster, the larger is the later.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.topic_by_id(id.topic)?.partition(id.index)
    }

    /// Every topic, in the order of their names.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.by_name.size()
    }

    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Bytes of configs that can be set before there are [`CONFIGS_BYTES_TOTAL_MAX`] of them.
    #[must_use]
    pub fn config_room_bytes(&self) -> usize {
        CONFIGS_BYTES_TOTAL_MAX.saturating_sub(self.config_bytes)
    }

    /// A topic whose name metrics would confuse with `name`: the same but for `.` and `_`.
    #[must_use]
    pub fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        self.colliding.get(&*name.collision_key()?)?.iter().find(|it| *it != name)
    }

    /// Every broker, in the order of their ids.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    #[must_use]
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// What holds for this node.
    #[must_use]
    pub fn broker_config(&self) -> &BrokerConfig {
        &self.settings.broker
    }

    /// Where its values come from.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.settings.layers
    }

    /// Every topic config as it holds for a topic with none of its own.
    #[must_use]
    pub fn topic_defaults(&self) -> &Configs {
        &self.settings.topic_defaults
    }

    /// What was changed for `scope` while brokers ran.
    #[must_use]
    pub fn dynamic(&self, scope: BrokerScope) -> Option<&Configs> {
        self.dynamic.get(&scope)
    }

    #[must_use]
    pub fn producer_ids_next(&self) -> ProducerId {
        self.producer_ids_next
    }

    /// What was set on this group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Arc<GroupConfig>> {
        self.groups.get(name)
    }

    /// Every group on which something was set, in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<GroupConfig>)> {
        self.groups.iter()
    }

    /// How fast this group is, if it is one of the consumer protocol.
    #[must_use]
    pub fn consumer_timing(&self, group: &str) -> ConsumerTiming {
        let by_broker = self.settings.broker.groups.consumer.timing;
        self.group(group).map_or(by_broker, |it| it.timing)
    }

    /// Another one after each change of them.
    #[must_use]
    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }
}

/// What these configs count for in [`CONFIGS_BYTES_TOTAL_MAX`].
#[must_use]
pub fn config_bytes(configs: &Configs) -> usize {
    configs.iter().map(|(key, value)| key.len() + value.len() + CONFIG_OVERHEAD_BYTES).sum()
}

impl Settings {
    pub(crate) fn resolve(layers: Layers) -> Self {
        let topic_defaults = defaults(&layers);
        Self {
            broker: BrokerConfig::resolve(&layers),
            topic: Arc::new(TopicConfig::resolve(&topic_defaults, &Configs::new())),
            topic_defaults,
            layers,
        }
    }

    /// The config of a topic with these overrides: shared, if it has none.
    pub(crate) fn topic_config(&self, overrides: &Configs) -> Arc<TopicConfig> {
        if overrides.is_empty() {
            Arc::clone(&self.topic)
        } else {
            Arc::new(TopicConfig::resolve(&self.topic_defaults, overrides))
        }
    }
}

impl Topic {
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// By index, from 0. At least one.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }

    /// What holds for it.
    #[must_use]
    pub fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// What was set on the topic itself, in canonical form.
    #[must_use]
    pub fn overrides(&self) -> &Configs {
        &self.overrides
    }

    /// Replicas of its first partition.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |it| it.replicas.len())
    }

    pub(crate) fn check(&self) {
        assert!(self.id != TopicId::ZERO);
        assert!(self.id != METADATA_TOPIC_ID);
        assert!(!self.partitions.is_empty());
        assert!(self.partitions.iter().all(|it| it.replicas.contains(&it.leader)));
    }
}

impl Partition {
    #[must_use]
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The preferred leader first.
    #[must_use]
    pub fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    /// Replicas that hold all that is committed: all of them, as no follower can lag on one node.
    #[must_use]
    pub fn in_sync(&self) -> &[NodeId] {
        &self.replicas
    }
}
