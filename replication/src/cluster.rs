//! The cluster's metadata as a state machine: events in, an image out. Events come from the durable
//! log, in order.
//!
//! It decides nothing: commands (`topics`, `config::alter`) do. An event that contradicts the state
//! changes nothing.

use std::sync::Arc;

use engine::id::{LeaderEpoch, ProducerId, TopicId};
use rpds::RedBlackTreeMapSync;

use crate::config::broker::{Configs, Layers};
use crate::config::broker_keys::broker_key;
use crate::config::group::{group_key, timing};
use crate::config::topic_keys::topic_key;
use crate::event::{Assignments, BrokerScope, ConfigChange, Event, METADATA_TOPIC_ID};
use crate::image::{GroupConfig, Image, Partition, Settings, Topic, config_bytes};
use crate::limits::{PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX, PARTITIONS_PER_TOPIC_MAX};
use crate::node::NodeId;
use crate::quota::TooMany;
use crate::topic_name::TopicName;

/// One per node. Costs its image.
#[derive(Clone, Debug)]
pub struct Cluster {
    image: Arc<Image>,
}

/// An event contradicts the state: the log is not the one that this state was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    TopicExists,
    UnknownTopic,
    /// The zero id, or the metadata's own.
    ReservedTopicId,
    /// No partition, or a partition on no node.
    NoReplicas,
    TooManyPartitions,
    /// Configs of more bytes than a cluster may have.
    TooManyConfigs,
    /// A config that this version does not know, or not in this spelling.
    StrangeConfig,
    ProducerIdsMovedBack,
    TooManyQuotas,
}

impl Cluster {
    /// The state before the first event, on `node`, whose configuration file said `file`.
    #[must_use]
    pub fn new(node: NodeId, file: Arc<Configs>) -> Self {
        let layers = Layers { file, ..Layers::default() };
        Self {
            image: Arc::new(Image {
                node,
                version: 0,
                by_name: RedBlackTreeMapSync::new_sync(),
                by_id: RedBlackTreeMapSync::new_sync(),
                colliding: RedBlackTreeMapSync::new_sync(),
                partition_count: 0,
                config_bytes: 0,
                brokers: Arc::default(),
                dynamic: Arc::default(),
                settings: Arc::new(Settings::resolve(layers)),
                producer_ids_next: ProducerId::checked(0).expect("zero is not negative"),
                quotas: Arc::default(),
                groups: RedBlackTreeMapSync::new_sync(),
            }),
        }
    }

    /// The present state. Clone it to keep it: the next event makes another.
    #[must_use]
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Costs microseconds whatever the number of topics, but for a change of the brokers' configs,
    /// which visits every topic.
    ///
    /// # Errors
    /// If the event contradicts the state, which stays as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), Conflict> {
        match event {
            Event::TopicCreated { id, name, configs, assignments } => {
                self.create_topic(*id, name, configs, assignments)?;
            }
            Event::TopicDeleted { id } => {
                let topic = self.topic(*id)?;
                let image = Arc::make_mut(&mut self.image);
                image.partition_count -= topic.partitions.len();
                image.config_bytes -= config_bytes(&topic.overrides);
                image.by_name.remove_mut(&topic.name);
                image.by_id.remove_mut(id);
                image.keep_collision(topic.name.collision_key(), |it| {
                    it.retain(|name| *name != topic.name);
                });
            }
            Event::PartitionsAdded { id, assignments } => {
                let topic = self.topic(*id)?;
                let added = partitions(assignments)?;
                self.check_room(topic.partitions.len(), added.len())?;
                let image = Arc::make_mut(&mut self.image);
                image.partition_count += added.len();
                let all = topic.partitions.iter().cloned().chain(added).collect();
                image.put(Topic { partitions: all, ..Topic::clone(&topic) });
            }
            Event::TopicConfigsChanged { id, changes } => {
                let topic = self.topic(*id)?;
                let overrides = changed(&topic.overrides, changes, is_topic_config)?;
                let config_bytes = self.config_bytes_after(&topic.overrides, &overrides)?;
                let image = Arc::make_mut(&mut self.image);
                image.config_bytes = config_bytes;
                let config = image.settings.topic_config(&overrides);
                image.put(Topic { config, overrides: Arc::new(overrides), ..Topic::clone(&topic) });
            }
            Event::BrokerConfigsChanged { scope, changes } => {
                let present = self.image.dynamic(*scope).cloned().unwrap_or_default();
                let configs = changed(&present, changes, is_broker_config)?;
                let config_bytes = self.config_bytes_after(&present, &configs)?;
                let image = Arc::make_mut(&mut self.image);
                image.config_bytes = config_bytes;
                image.keep_dynamic(*scope, configs);
            }
            Event::ProducerIdsAllocated { next } => {
                if *next < self.image.producer_ids_next {
                    return Err(Conflict::ProducerIdsMovedBack);
                }
                Arc::make_mut(&mut self.image).producer_ids_next = *next;
            }
            Event::BrokerRegistered(broker) => {
                let image = Arc::make_mut(&mut self.image);
                Arc::make_mut(&mut image.brokers).insert(broker.id, broker.clone());
            }
            Event::QuotasChanged { entity, changes } => {
                let quotas = self.image.quotas.change(entity, changes);
                Arc::make_mut(&mut self.image).quotas = Arc::new(quotas?);
            }
            Event::GroupConfigsChanged { group, changes } => {
                let present = self.image.group(group).map(|it| it.overrides.clone());
                let present = present.unwrap_or_default();
                let overrides = changed(&present, changes, is_group_config)?;
                let config_bytes = self.config_bytes_after(&present, &overrides)?;
                let image = Arc::make_mut(&mut self.image);
                image.config_bytes = config_bytes;
                image.put_group(group.as_str().into(), overrides);
            }
        }
        Arc::make_mut(&mut self.image).version += 1;
        Ok(())
    }

    /// Events that make this state anew from [`Cluster::new`], so that the log before them can go.
    pub fn snapshot(&self) -> impl Iterator<Item = Event> {
        let image = &self.image;
        let brokers = image.brokers().cloned().map(Event::BrokerRegistered);
        let dynamic = image.dynamic.iter().map(|(scope, configs)| Event::BrokerConfigsChanged {
            scope: *scope,
            changes: all_set(configs),
        });
        let next = image.producer_ids_next;
        let producer_ids = std::iter::once(Event::ProducerIdsAllocated { next });
        let topics = image.topics().flat_map(|topic| topic_events(topic));
        let quotas = image.quotas.iter().map(|(entity, bounds)| Event::QuotasChanged {
            entity: entity.clone(),
            changes: bounds.iter().map(|(quota, bound)| (quota, Some(bound))).collect(),
        });
        let groups = image.groups.iter().map(|(group, config)| Event::GroupConfigsChanged {
            group: group.to_string(),
            changes: all_set(&config.overrides),
        });
        brokers.chain(dynamic).chain(producer_ids).chain(topics).chain(quotas).chain(groups)
    }

    fn create_topic(
        &mut self,
        id: TopicId,
        name: &TopicName,
        configs: &[(String, String)],
        assignments: &Assignments,
    ) -> Result<(), Conflict> {
        self.check_vacant(id, name.as_str())?;
        let partitions = partitions(assignments)?;
        self.check_room(0, partitions.len())?;
        let overrides: Configs = configs.iter().cloned().collect();
        if !overrides.iter().all(|(key, value)| is_topic_config(key, value)) {
            return Err(Conflict::StrangeConfig);
        }
        let config_bytes = self.config_bytes_after(&Configs::new(), &overrides)?;
        let image = Arc::make_mut(&mut self.image);
        image.config_bytes = config_bytes;
        image.partition_count += partitions.len();
        image.put(Topic {
            id,
            name: name.clone(),
            partitions: partitions.into(),
            config: image.settings.topic_config(&overrides),
            overrides: Arc::new(overrides),
        });
        image.keep_collision(name.collision_key(), |names| {
            names.push(name.clone());
            names.sort_unstable();
        });
        Ok(())
    }

    fn topic(&self, id: TopicId) -> Result<Arc<Topic>, Conflict> {
        self.image.topic_by_id(id).cloned().ok_or(Conflict::UnknownTopic)
    }

    fn check_vacant(&self, id: TopicId, name: &str) -> Result<(), Conflict> {
        if id == TopicId::ZERO || id == METADATA_TOPIC_ID {
            return Err(Conflict::ReservedTopicId);
        }
        if self.image.topic_by_id(id).is_some() || self.image.topic(name).is_some() {
            return Err(Conflict::TopicExists);
        }
        Ok(())
    }

    /// Of all configs, when some of them are others. What becomes smaller always goes through.
    fn config_bytes_after(&self, present: &Configs, wanted: &Configs) -> Result<usize, Conflict> {
        let (before, after) = (config_bytes(present), config_bytes(wanted));
        if self.image.config_room_bytes() < after.saturating_sub(before) {
            return Err(Conflict::TooManyConfigs);
        }
        Ok(self.image.config_bytes - before + after)
    }

    fn check_room(&self, present: usize, added: usize) -> Result<(), Conflict> {
        if PARTITIONS_PER_TOPIC_MAX < present + added
            || PARTITIONS_MAX < self.image.partition_count + added
        {
            return Err(Conflict::TooManyPartitions);
        }
        Ok(())
    }
}

impl From<TooMany> for Conflict {
    fn from(_too_many: TooMany) -> Self {
        Self::TooManyQuotas
    }
}

impl Image {
    fn put(&mut self, topic: Topic) {
        topic.check();
        let topic = Arc::new(topic);
        self.by_name.insert_mut(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert_mut(topic.id, topic);
        assert_eq!(self.by_name.size(), self.by_id.size());
    }

    fn put_group(&mut self, group: Arc<str>, overrides: Configs) {
        if overrides.is_empty() {
            self.groups.remove_mut(&group);
            return;
        }
        let by_broker = self.settings.broker.groups.consumer.timing;
        let timing = timing(&self.settings.layers, &overrides, by_broker);
        self.groups.insert_mut(group, Arc::new(GroupConfig { overrides, timing }));
    }

    fn keep_collision(&mut self, key: Option<Arc<str>>, change: impl FnOnce(&mut Vec<TopicName>)) {
        let Some(key) = key else { return };
        let mut names = self.colliding.get(&*key).cloned().unwrap_or_default();
        change(&mut names);
        if names.is_empty() {
            self.colliding.remove_mut(&*key);
        } else {
            self.colliding.insert_mut(key, names);
        }
    }

    fn keep_dynamic(&mut self, scope: BrokerScope, configs: Configs) {
        let dynamic = Arc::make_mut(&mut self.dynamic);
        if configs.is_empty() {
            dynamic.remove(&scope);
        } else {
            dynamic.insert(scope, configs);
        }
        let layer = |scope| Arc::new(dynamic.get(&scope).cloned().unwrap_or_default());
        let layers = Layers {
            node: layer(BrokerScope::Broker(self.node)),
            every_node: layer(BrokerScope::EveryBroker),
            file: Arc::clone(&self.settings.layers.file),
        };
        if layers == self.settings.layers {
            return; // Another node's.
        }
        self.settings = Arc::new(Settings::resolve(layers));
        let topics: Vec<Arc<Topic>> = self.by_name.values().cloned().collect();
        for topic in topics {
            let config = self.settings.topic_config(&topic.overrides);
            self.put(Topic { config, ..Topic::clone(&topic) });
        }
        let groups: Vec<_> =
            self.groups.iter().map(|it| (Arc::clone(it.0), Arc::clone(it.1))).collect();
        for (group, config) in groups {
            self.put_group(group, config.overrides.clone());
        }
    }
}

/// The leader of a partition that nobody led is its first replica.
fn partitions(assignments: &[Vec<NodeId>]) -> Result<Vec<Partition>, Conflict> {
    let mut found: Vec<Partition> = vec![];
    for nodes in assignments {
        let leader = *nodes.first().ok_or(Conflict::NoReplicas)?;
        let replicas = match found.last() {
            Some(last) if last.replicas[..] == nodes[..] => Arc::clone(&last.replicas),
            _ => Arc::from(&nodes[..]),
        };
        found.push(Partition { leader, leader_epoch: LeaderEpoch::ZERO, replicas });
    }
    if found.is_empty() { Err(Conflict::NoReplicas) } else { Ok(found) }
}

fn changed(
    present: &Configs,
    changes: &[ConfigChange],
    is_sound: fn(&str, &str) -> bool,
) -> Result<Configs, Conflict> {
    let mut configs = present.clone();
    for change in changes {
        match &change.value {
            Some(value) if is_sound(&change.key, value) => {
                configs.insert(change.key.clone(), value.clone());
            }
            Some(_) => return Err(Conflict::StrangeConfig),
            None => {
                configs.remove(&change.key);
            }
        }
    }
    Ok(configs)
}

fn is_topic_config(key: &str, value: &str) -> bool {
    topic_key(key).is_some_and(|it| it.canonical(value).is_ok_and(|canonical| canonical == value))
}

fn is_group_config(key: &str, value: &str) -> bool {
    group_key(key)
        .is_some_and(|it| it.definition.canonical(value).is_ok_and(|canonical| canonical == value))
}

/// Changes that make these configs from none.
fn all_set(configs: &Configs) -> Vec<ConfigChange> {
    let change = |(key, value): (&String, &String)| ConfigChange {
        key: key.clone(),
        value: Some(value.clone()),
    };
    configs.iter().map(change).collect()
}

/// A broker may carry configs that nobody knows: Kafka lets it.
fn is_broker_config(key: &str, value: &str) -> bool {
    broker_key(key).is_none_or(|it| it.canonical(value).is_ok_and(|canonical| canonical == value))
}

/// Several, if the topic has more partitions than fit one event.
fn topic_events(topic: &Topic) -> Vec<Event> {
    let mut chunks = topic
        .partitions
        .chunks(PARTITIONS_PER_REQUEST_MAX)
        .map(|chunk| chunk.iter().map(|it| it.replicas.to_vec()).collect());
    let id = topic.id;
    let created = Event::TopicCreated {
        id,
        name: topic.name.clone(),
        configs: topic.overrides.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        assignments: chunks.next().expect("a topic has a partition"),
    };
    let added = chunks.map(|assignments| Event::PartitionsAdded { id, assignments });
    std::iter::once(created).chain(added).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use engine::id::{ProducerId, TopicId};
    use proptest::collection::vec;
    use proptest::prelude::{
        Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::{Cluster, Conflict};
    use crate::config::broker::Configs;
    use crate::event::{BrokerScope, ConfigChange, Event};
    use crate::image::config_bytes;
    use crate::limits::CONFIGS_BYTES_TOTAL_MAX;
    use crate::node::{Broker, Endpoint, NodeId};
    use crate::quota::{Bound, Entity, Name, Quota};
    use crate::topic_name::TopicName;

    pub(crate) fn node(id: i32) -> NodeId {
        NodeId::checked(id).expect("not negative")
    }

    /// A registered node 1, whose file says `file`.
    pub(crate) fn one_node_with(file: &[(&str, &str)]) -> Cluster {
        let file: Configs =
            file.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let mut cluster = Cluster::new(node(1), Arc::new(file));
        cluster.apply(&registered(1)).expect("applies");
        cluster
    }

    pub(crate) fn one_node() -> Cluster {
        one_node_with(&[])
    }

    pub(crate) fn registered(id: i32) -> Event {
        let endpoint = Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9_092 };
        Event::BrokerRegistered(Broker { id: node(id), rack: None, endpoints: vec![endpoint] })
    }

    /// As if there were configs for all but `room_bytes` of what a cluster may have.
    pub(crate) fn with_config_room(mut cluster: Cluster, room_bytes: usize) -> Cluster {
        Arc::make_mut(&mut cluster.image).config_bytes = CONFIGS_BYTES_TOTAL_MAX - room_bytes;
        cluster
    }

    fn created(id: u8, name: &str, partition_count: usize) -> Event {
        Event::TopicCreated {
            id: TopicId::new([id; 16]),
            name: TopicName::checked(name).expect("legal"),
            configs: vec![],
            assignments: vec![vec![node(1)]; partition_count],
        }
    }

    fn set(key: &str, value: Option<&str>) -> Vec<ConfigChange> {
        vec![ConfigChange { key: key.into(), value: value.map(str::to_owned) }]
    }

    /// A state that differs only in how it came about has the same digest.
    fn digest(cluster: &Cluster) -> BTreeMap<String, String> {
        let image = cluster.image();
        let mut found = BTreeMap::new();
        for topic in image.topics() {
            found.insert(format!("topic {}", topic.name), format!("{topic:?}"));
            assert_eq!(image.topic_by_id(topic.id), Some(topic));
        }
        found.insert(
            "collisions".into(),
            format!("{:?}", image.colliding.iter().collect::<Vec<_>>()),
        );
        found.insert("partitions".into(), image.partition_count.to_string());
        let of_topics = image.topics().map(|it| config_bytes(&it.overrides));
        let of_groups = image.groups().map(|it| config_bytes(&it.1.overrides));
        let of_brokers = image.dynamic.values().map(config_bytes);
        assert_eq!(image.config_bytes, of_topics.chain(of_groups).chain(of_brokers).sum::<usize>());
        found.insert("brokers".into(), format!("{:?}", image.brokers));
        found.insert("dynamic".into(), format!("{:?}", image.dynamic));
        found.insert("settings".into(), format!("{:?}", image.settings));
        found.insert("producer ids".into(), format!("{:?}", image.producer_ids_next));
        found.insert("groups".into(), format!("{:?}", image.groups().collect::<Vec<_>>()));
        found.insert("quotas".into(), format!("{:?}", image.quotas.iter().collect::<Vec<_>>()));
        found
    }

    fn replayed(cluster: &Cluster) -> Cluster {
        let mut copy =
            Cluster::new(cluster.image().node(), Arc::clone(&cluster.image().layers().file));
        for event in cluster.snapshot() {
            let mut bytes = vec![];
            event.encode(&mut bytes);
            copy.apply(&Event::decode(&bytes).expect("decodes")).expect("applies");
        }
        copy
    }

    #[test]
    fn a_topic_is_found_by_name_and_id_until_it_is_deleted() {
        let mut cluster = one_node();
        cluster.apply(&created(7, "a.b", 3)).expect("applies");
        let before = Arc::clone(cluster.image());
        let topic = before.topic("a.b").expect("is there");
        assert_eq!(topic.partitions().len(), 3);
        assert_eq!(before.partition_count(), 3);
        assert_eq!(topic.partitions()[2].leader(), node(1));
        let collides =
            |name| cluster.image().colliding(&TopicName::checked(name).expect("legal")).is_some();
        assert!(collides("a_b") && !collides("a.b") && !collides("a-b"));

        cluster.apply(&Event::TopicDeleted { id: TopicId::new([7; 16]) }).expect("applies");
        assert!(cluster.image().topic("a.b").is_none());
        assert_eq!(cluster.image().partition_count(), 0);
        assert!(before.topic_by_id(TopicId::new([7; 16])).is_some(), "an image never changes");
        assert!(before.version() < cluster.image().version());
    }

    #[test]
    fn a_contradiction_changes_nothing() {
        let mut cluster = one_node();
        cluster.apply(&created(7, "a", 1)).expect("applies");
        let before = digest(&cluster);
        let id = TopicId::new([9; 16]);
        let strange = |changes| Event::TopicConfigsChanged { id: TopicId::new([7; 16]), changes };
        let cases = [
            (created(8, "a", 1), Conflict::TopicExists),
            (created(7, "b", 1), Conflict::TopicExists),
            (created(0, "b", 1), Conflict::ReservedTopicId),
            (created(8, "b", 0), Conflict::NoReplicas),
            (created(8, "b", 100_001), Conflict::TooManyPartitions),
            (Event::TopicDeleted { id }, Conflict::UnknownTopic),
            (Event::PartitionsAdded { id, assignments: vec![] }, Conflict::UnknownTopic),
            (strange(set("x", Some("1"))), Conflict::StrangeConfig),
            (strange(set("retention.ms", Some(" 1"))), Conflict::StrangeConfig),
            (strange(set("retention.ms", Some("-9"))), Conflict::StrangeConfig),
        ];
        for (event, want) in cases {
            assert_eq!(cluster.apply(&event), Err(want), "{event:?}");
        }
        let ids = |next| Event::ProducerIdsAllocated {
            next: ProducerId::checked(next).expect("positive"),
        };
        cluster.apply(&ids(0)).expect("applies");
        assert_eq!(digest(&cluster), before);
        cluster.apply(&ids(1_000)).expect("applies");
        assert_eq!(cluster.apply(&ids(999)), Err(Conflict::ProducerIdsMovedBack));
    }

    #[test]
    fn configs_have_a_bound_together() {
        // "retention.ms" and "1" with what they take besides.
        let id = TopicId::new([7; 16]);
        let change = |value| Event::TopicConfigsChanged { id, changes: set("retention.ms", value) };
        let mut cluster = one_node();
        cluster.apply(&created(7, "a", 1)).expect("applies");
        let mut full = with_config_room(cluster.clone(), 108);
        assert_eq!(full.apply(&change(Some("1"))), Err(Conflict::TooManyConfigs));
        let mut cluster = with_config_room(cluster, 109);
        cluster.apply(&change(Some("1"))).expect("there is room for it");
        assert_eq!(cluster.image().config_room_bytes(), 0);
        assert_eq!(cluster.apply(&change(Some("10"))), Err(Conflict::TooManyConfigs));
        cluster.apply(&change(Some("2"))).expect("it takes no more");
        cluster.apply(&change(None)).expect("less always goes through");
        assert_eq!(cluster.image().config_room_bytes(), 109);
    }

    #[test]
    fn a_change_of_the_brokers_reaches_topics_without_a_value_of_their_own() {
        let mut cluster = one_node_with(&[("log.retention.hours", "1")]);
        cluster.apply(&created(7, "plain", 1)).expect("applies");
        cluster.apply(&created(8, "own", 1)).expect("applies");
        let id = TopicId::new([8; 16]);
        cluster
            .apply(&Event::TopicConfigsChanged { id, changes: set("retention.ms", Some("5")) })
            .expect("applies");
        let ages = |cluster: &Cluster| {
            ["plain", "own"].map(|name| {
                cluster.image().topic(name).expect("there").config().retention.age_ms_max
            })
        };
        assert_eq!(ages(&cluster), [Some(3_600_000), Some(5)]);
        let change = |scope, value| Event::BrokerConfigsChanged {
            scope,
            changes: set("log.retention.ms", value),
        };
        cluster.apply(&change(BrokerScope::EveryBroker, Some("70"))).expect("applies");
        assert_eq!(ages(&cluster), [Some(70), Some(5)]);
        cluster.apply(&change(BrokerScope::Broker(node(1)), Some("80"))).expect("applies");
        assert_eq!(ages(&cluster), [Some(80), Some(5)]);
        cluster.apply(&change(BrokerScope::Broker(node(2)), Some("90"))).expect("applies");
        cluster.apply(&change(BrokerScope::Broker(node(1)), None)).expect("applies");
        cluster.apply(&change(BrokerScope::EveryBroker, None)).expect("applies");
        assert_eq!(ages(&cluster), [Some(3_600_000), Some(5)]);
    }

    #[test]
    fn a_topic_too_large_for_one_event_survives_a_snapshot() {
        let mut cluster = one_node();
        cluster.apply(&created(7, "wide", 10_000)).expect("applies");
        let id = TopicId::new([7; 16]);
        let assignments = vec![vec![node(1), node(2)]; 10_000];
        cluster.apply(&Event::PartitionsAdded { id, assignments }).expect("applies");
        assert_eq!(cluster.snapshot().count(), 4);
        assert_eq!(digest(&replayed(&cluster)), digest(&cluster));
    }

    fn any_quotas() -> impl Strategy<Value = Event> {
        let part = || {
            proptest::option::of(prop_oneof![Just(Name::Default), Just(Name::Exact("n".into()))])
        };
        let quota = prop_oneof![Just(Quota::ProducerByteRate), Just(Quota::RequestPercentage)];
        let bound = proptest::option::of(
            (1_u8..4).prop_map(|it| Bound::checked(it.into()).expect("legal")),
        );
        let bounded = (part(), part(), vec((quota, bound), 0..3)).prop_filter_map(
            "of somebody",
            |(user, client, changes)| {
                Some(Event::QuotasChanged { entity: Entity::new(user, client)?, changes })
            },
        );
        let address = prop_oneof![Just(Name::Default), Just(Name::Exact("::1".into()))];
        let rate = proptest::option::of(
            (1_u8..4).prop_map(|it| Bound::checked(it.into()).expect("legal")),
        );
        let paced = (address, rate).prop_map(|(address, rate)| Event::QuotasChanged {
            entity: Entity::Address(address),
            changes: vec![(Quota::ConnectionCreationRate, rate)],
        });
        prop_oneof![bounded, paced]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let id = (0_u8..6).prop_map(|it| TopicId::new([it; 16]));
        let name = prop_oneof![Just("a.b"), Just("a_b"), Just("c"), Just("d-e")];
        let assignments = || vec(vec((1_i32..4).prop_map(node), 0..3), 0..4);
        let key = prop_oneof![
            Just("retention.ms"),
            Just("log.retention.ms"),
            Just("log.roll.hours"),
            Just("strange")
        ];
        let changes = vec((key, proptest::option::of(1_i64..5)), 0..3).prop_map(|changes| {
            let change = |(key, value): (&str, Option<i64>)| ConfigChange {
                key: key.into(),
                value: value.map(|it| it.to_string()),
            };
            changes.into_iter().map(change).collect::<Vec<_>>()
        });
        let scope = prop_oneof![
            Just(BrokerScope::EveryBroker),
            (1_i32..3).prop_map(|it| BrokerScope::Broker(node(it)))
        ];
        let created = (id.clone(), name, assignments()).prop_map(|(id, name, assignments)| {
            let name = TopicName::checked(name).expect("legal");
            Event::TopicCreated { id, name, configs: vec![], assignments }
        });
        let deleted = id.clone().prop_map(|id| Event::TopicDeleted { id });
        let added = (id.clone(), assignments())
            .prop_map(|(id, assignments)| Event::PartitionsAdded { id, assignments });
        let topic_changed = (id, changes.clone())
            .prop_map(|(id, changes)| Event::TopicConfigsChanged { id, changes });
        let broker_changed = (scope, changes)
            .prop_map(|(scope, changes)| Event::BrokerConfigsChanged { scope, changes });
        let allocated = (0_i64..9_999).prop_map(|next| Event::ProducerIdsAllocated {
            next: ProducerId::checked(next).expect("positive"),
        });
        let value = proptest::option::of(46_000_u16..46_003);
        let group = (prop_oneof![Just("g"), Just("h")], value).prop_map(|(group, value)| {
            let key = "consumer.session.timeout.ms".to_owned();
            let changes = vec![ConfigChange { key, value: value.map(|it| it.to_string()) }];
            Event::GroupConfigsChanged { group: group.to_owned(), changes }
        });
        prop_oneof![
            2 => group,
            4 => any_quotas(),
            4 => created,
            1 => deleted,
            2 => added,
            2 => topic_changed,
            2 => broker_changed,
            1 => allocated,
            1 => (0_i32..4).prop_map(registered),
        ]
    }

    proptest! {
        #[test]
        fn a_snapshot_replays_to_the_same_state(events in vec(any_event(), 0..60)) {
            let mut cluster = one_node();
            for event in &events {
                let before = Arc::clone(cluster.image());
                let result = cluster.apply(event);
                let is_later = before.version() < cluster.image().version();
                prop_assert_eq!(result.is_ok(), is_later);
            }
            prop_assert_eq!(digest(&replayed(&cluster)), digest(&cluster));
        }

        #[test]
        fn any_decoded_event_applies_or_conflicts(
            kind in 1_u8..10, body in vec(any::<u8>(), 0..80),
        ) {
            if let Ok(event) = Event::decode(&[&[1, kind][..], &body].concat()) {
                let mut cluster = one_node();
                if cluster.apply(&event).is_err() {
                    prop_assert!(digest(&cluster) == digest(&one_node()));
                }
            }
        }
    }
}
