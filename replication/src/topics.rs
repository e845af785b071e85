//! What clients ask of topics: create, delete, more partitions. Each request becomes events or a
//! refusal with Kafka's reason; nothing changes here. To validate only, drop the events.
//!
//! One request's parts are judged against the image alone, so two of them may collide with each
//! other as in Kafka; only the same topic twice is refused.

use std::collections::{BTreeMap, BTreeSet};

use engine::id::TopicId;

use crate::config::alter::{too_many_configs, topic_overrides};
use crate::config::broker::Configs;
use crate::event::{Assignments, Event, METADATA_TOPIC_ID};
use crate::image::{Image, Topic, config_bytes};
use crate::limits::{
    PARTITIONS_MAX, PARTITIONS_PER_REQUEST_MAX, PARTITIONS_PER_TOPIC_MAX, REPLICAS_MAX,
};
use crate::node::NodeId;
use crate::refusal::{Reason, Refusal};
use crate::topic_name::TopicName;

/// The name of the log of these events in Kafka: no topic of a client's.
pub const METADATA_TOPIC_NAME: &str = "__cluster_metadata";

/// Where groups and their offsets are written down.
pub const OFFSETS_TOPIC_NAME: &str = "__consumer_offsets";

/// One topic of a CreateTopics request, as it came.
#[derive(Clone, Debug)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    /// -1 is the broker's default.
    pub partition_count: i32,
    /// -1 is the broker's default.
    pub replication_factor: i16,
    /// Partition and its nodes; empty to let the broker place them.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// The last of a repeated key holds.
    pub configs: Vec<(&'a str, Option<&'a str>)>,
    /// Drawn at random for this topic: nobody's yet.
    pub id: TopicId,
}

/// What becomes of one name in a CreateTopics request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    pub name: String,
    pub result: Result<NewTopicEvent, Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopicEvent {
    /// A [`Event::TopicCreated`].
    pub event: Event,
    pub id: TopicId,
    pub partition_count: usize,
    pub replication_factor: usize,
    /// For [`crate::config::describe::topic_entries`].
    pub overrides: Configs,
}

/// One topic of a DeleteTopics request: by name, or by an id that is not zero.
#[derive(Clone, Copy, Debug)]
pub struct TopicRef<'a> {
    pub name: Option<&'a str>,
    pub id: TopicId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Of a topic that was found, both are known.
    pub name: Option<String>,
    pub id: TopicId,
    pub result: Result<Event, Refusal>,
}

/// One topic of a CreatePartitions request.
#[derive(Clone, Debug)]
pub struct MorePartitions<'a> {
    pub name: &'a str,
    /// Of the topic then, not of the new ones.
    pub partition_count: i32,
    /// The nodes of each new partition.
    pub assignments: Option<Vec<Vec<i32>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    pub name: String,
    pub result: Result<Event, Refusal>,
}

/// Each name once, in the order of its first appearance.
#[must_use]
pub fn create_topics(image: &Image, topics: &[NewTopic<'_>]) -> Vec<Creation> {
    let asked = topics.iter().map(|topic| asked_partitions(image, topic)).sum::<usize>();
    let mut room = PARTITIONS_MAX.saturating_sub(image.partition_count());
    let mut config_room_bytes = image.config_room_bytes();
    let outcome = |topic: &NewTopic<'_>| {
        if PARTITIONS_PER_REQUEST_MAX < asked {
            return refuse(
                Reason::PolicyViolation,
                "Excessively large number of partitions per request.",
            );
        }
        let created = create_topic(image, topic)?;
        let Some(left) = room.checked_sub(created.partition_count) else {
            return refuse(
                Reason::PolicyViolation,
                format!("The cluster would have more than {PARTITIONS_MAX} partitions."),
            );
        };
        let Some(left_bytes) = config_room_bytes.checked_sub(config_bytes(&created.overrides))
        else {
            return Err(too_many_configs());
        };
        room = left;
        config_room_bytes = left_bytes;
        Ok(created)
    };
    once(topics, |it| it.name, outcome)
        .map(|(name, result)| Creation { name: name.to_owned(), result })
        .collect()
}

/// The topics that asking for their metadata makes, with the broker's defaults. Names that are there,
/// and repetitions, are left out; whether the broker creates topics at all is the caller's question.
#[must_use]
pub fn auto_create(
    image: &Image,
    names: &[impl AsRef<str>],
    mut draw_id: impl FnMut() -> TopicId,
) -> Vec<Creation> {
    let mut seen = BTreeSet::new();
    let missing = names.iter().map(AsRef::as_ref);
    let missing = missing.filter(|name| image.topic(name).is_none() && seen.insert(*name));
    let (internal, topics): (Vec<&str>, Vec<&str>) = missing.partition(|name| is_reserved(name));
    let topics: Vec<NewTopic<'_>> = topics
        .into_iter()
        .map(|name| NewTopic {
            name,
            partition_count: -1,
            replication_factor: -1,
            assignments: vec![],
            configs: vec![],
            id: draw_id(),
        })
        .collect();
    let mut created = create_topics(image, &topics);
    created.extend(internal.into_iter().map(|name| Creation {
        name: name.to_owned(),
        result: refuse(Reason::InvalidRequest, "Internal topics are not created by asking."),
    }));
    created
}

/// The topic that holds groups and their offsets, as the broker makes it when it is first needed.
#[must_use]
pub fn create_offsets_topic(image: &Image, id: TopicId) -> Creation {
    let rules = &image.broker_config().offsets_topic;
    let brokers = i16::try_from(image.brokers().len()).unwrap_or(i16::MAX);
    let replication_factor = i16::try_from(rules.replication_factor).unwrap_or(i16::MAX);
    let segment_bytes = rules.segment_bytes.to_string();
    let topic = NewTopic {
        name: OFFSETS_TOPIC_NAME,
        partition_count: i32::try_from(rules.partition_count).unwrap_or(i32::MAX),
        replication_factor: replication_factor.min(brokers),
        assignments: vec![],
        configs: vec![
            ("cleanup.policy", Some("compact")),
            ("compression.type", Some("producer")),
            ("segment.bytes", Some(&segment_bytes)),
        ],
        id,
    };
    let result = create_topic(image, &topic).and_then(|created| {
        let has_room = config_bytes(&created.overrides) <= image.config_room_bytes();
        if has_room { Ok(created) } else { Err(too_many_configs()) }
    });
    Creation { name: OFFSETS_TOPIC_NAME.to_owned(), result }
}

/// Whether the broker itself is to make it, when it has a use for it.
fn is_reserved(name: &str) -> bool {
    name == METADATA_TOPIC_NAME || TopicName::checked(name).is_ok_and(|it| it.is_internal())
}

/// Each topic once.
#[must_use]
pub fn delete_topics(image: &Image, topics: &[TopicRef<'_>]) -> Vec<Deletion> {
    let mut answered: BTreeSet<(Option<&str>, TopicId)> = BTreeSet::new();
    let mut times: BTreeMap<(Option<&str>, TopicId), usize> = BTreeMap::new();
    for topic in topics {
        *times.entry((topic.name, topic.id)).or_default() += 1;
    }
    // A topic that is named, and meant by its id elsewhere in the request, is deleted by id.
    let by_id: BTreeSet<TopicId> =
        topics.iter().filter(|it| it.name.is_none()).map(|it| it.id).collect();
    let outcome = |topic: &TopicRef<'_>| {
        if !image.broker_config().topics.deletable {
            return refuse(
                Reason::TopicDeletionDisabled,
                "Topic deletion is disabled (delete.topic.enable=false).",
            );
        }
        if times.get(&(topic.name, topic.id)) != Some(&1) {
            let what =
                if topic.name.is_some() { "Duplicate topic name." } else { "Duplicate topic id." };
            return refuse(Reason::InvalidRequest, what);
        }
        let found = deletable(image, topic)?;
        if topic.name.is_some() && by_id.contains(&found.id()) {
            return refuse(
                Reason::InvalidRequest,
                "The provided topic name maps to an ID that was already supplied.",
            );
        }
        Ok(found)
    };
    topics
        .iter()
        .filter(|topic| answered.insert((topic.name, topic.id)))
        .map(|topic| match outcome(topic) {
            Ok(found) => Deletion {
                name: Some(found.name().to_string()),
                id: found.id(),
                result: Ok(Event::TopicDeleted { id: found.id() }),
            },
            Err(refusal) => {
                Deletion { name: topic.name.map(str::to_owned), id: topic.id, result: Err(refusal) }
            }
        })
        .collect()
}

/// Each name once, in the order of its first appearance.
#[must_use]
pub fn create_partitions(image: &Image, topics: &[MorePartitions<'_>]) -> Vec<Growth> {
    let mut room = PARTITIONS_MAX.saturating_sub(image.partition_count());
    once(topics, |it| it.name, |topic| grow(image, topic, &mut room))
        .map(|(name, result)| Growth { name: name.to_owned(), result })
        .collect()
}

/// One outcome per name; a name that stands there twice is refused.
fn once<'a, T, R>(
    items: &'a [T],
    name: impl Fn(&'a T) -> &'a str,
    mut outcome: impl FnMut(&'a T) -> Result<R, Refusal>,
) -> impl Iterator<Item = (&'a str, Result<R, Refusal>)> {
    let mut names = BTreeSet::new();
    let repeated: BTreeSet<&str> =
        items.iter().map(&name).filter(|it| !names.insert(*it)).collect();
    let mut answered = BTreeSet::new();
    items.iter().filter_map(move |item| {
        let name = name(item);
        if !answered.insert(name) {
            return None;
        }
        let result = if repeated.contains(name) {
            refuse(Reason::InvalidRequest, "Duplicate topic name.")
        } else {
            outcome(item)
        };
        Some((name, result))
    })
}

fn refuse<T>(
    reason: Reason,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

fn asked_partitions(image: &Image, topic: &NewTopic<'_>) -> usize {
    if !topic.assignments.is_empty() {
        return topic.assignments.len();
    }
    match topic.partition_count {
        -1 => count(image.broker_config().topics.partition_count_default),
        // A topic counts even if it is refused, so that a request is bounded in topics as well.
        asked => usize::try_from(asked).unwrap_or(0).max(1),
    }
}

fn create_topic(image: &Image, topic: &NewTopic<'_>) -> Result<NewTopicEvent, Refusal> {
    if topic.name == METADATA_TOPIC_NAME {
        return refuse(
            Reason::InvalidRequest,
            "Creation of internal topic __cluster_metadata is prohibited.",
        );
    }
    let name = TopicName::checked(topic.name)
        .map_err(|fault| Refusal::new(Reason::InvalidTopic, fault.message()))?;
    if image.topic(topic.name).is_some() {
        return refuse(Reason::TopicExists, format!("Topic '{name}' already exists."));
    }
    if let Some(other) = image.colliding(&name) {
        return refuse(
            Reason::InvalidTopic,
            format!("Topic '{name}' collides with existing topic: {other}"),
        );
    }
    let overrides = topic_overrides(image, &topic.configs)?;
    let assignments =
        if topic.assignments.is_empty() { placed(image, topic)? } else { assigned(image, topic)? };
    assert!(topic.id != TopicId::ZERO);
    assert!(topic.id != METADATA_TOPIC_ID);
    assert!(image.topic_by_id(topic.id).is_none(), "ids are drawn at random");
    Ok(NewTopicEvent {
        id: topic.id,
        partition_count: assignments.len(),
        replication_factor: assignments.first().map_or(0, Vec::len),
        event: Event::TopicCreated {
            id: topic.id,
            name,
            configs: overrides.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            assignments,
        },
        overrides,
    })
}

/// Partitions where the broker wants them.
fn placed(image: &Image, topic: &NewTopic<'_>) -> Result<Assignments, Refusal> {
    let rules = &image.broker_config().topics;
    let replication_factor = match topic.replication_factor {
        -1 => count(rules.replication_factor_default),
        factor => usize::try_from(factor).ok().filter(|&it| 0 < it).ok_or_else(|| {
            Refusal::new(
                Reason::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            )
        })?,
    };
    let partition_count = match topic.partition_count {
        -1 => count(rules.partition_count_default),
        asked => usize::try_from(asked).ok().filter(|&it| 0 < it).ok_or_else(|| {
            Refusal::new(
                Reason::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            )
        })?,
    };
    spread(image, topic.id, 0..partition_count, replication_factor)
}

/// Each partition starts one broker further than the one before; the topic's id decides where the
/// first one does.
fn spread(
    image: &Image,
    id: TopicId,
    partitions: std::ops::Range<usize>,
    replication_factor: usize,
) -> Result<Assignments, Refusal> {
    let nodes: Vec<NodeId> = image.brokers().map(|it| it.id).collect();
    if nodes.len() < replication_factor || REPLICAS_MAX < replication_factor {
        return refuse(
            Reason::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {replication_factor} time(s): The target \
                 replication factor of \
                 {replication_factor} cannot be reached because only {} broker(s) are registered.",
                nodes.len()
            ),
        );
    }
    let first = id.get().iter().map(|&byte| usize::from(byte)).sum::<usize>();
    let replicas = |partition: usize| {
        let start = first + partition;
        (start..start + replication_factor)
            .filter_map(|it| nodes.get(it % nodes.len()).copied())
            .collect()
    };
    Ok(partitions.map(replicas).collect())
}

/// Partitions where the client wants them.
fn assigned(image: &Image, topic: &NewTopic<'_>) -> Result<Assignments, Refusal> {
    if topic.replication_factor != -1 {
        return refuse(
            Reason::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to \
             -1.",
        );
    }
    if topic.partition_count != -1 {
        return refuse(
            Reason::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        );
    }
    let mut sorted: Vec<&(i32, Vec<i32>)> = topic.assignments.iter().collect();
    sorted.sort_by_key(|(partition, _)| *partition);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return refuse(
            Reason::InvalidReplicaAssignment,
            format!("Found multiple manual partition assignments for partition {}", pair[0].0),
        );
    }
    if !sorted.iter().zip(0..).all(|((partition, _), index)| *partition == index) {
        return refuse(
            Reason::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        );
    }
    let first = sorted.first().map_or(0, |(_, nodes)| nodes.len());
    sorted.into_iter().map(|(_, nodes)| replicas(image, nodes, first)).collect()
}

/// The nodes of one partition, if they are brokers, each once, and as many as of the other
/// partitions.
fn replicas(
    image: &Image,
    nodes: &[i32],
    replication_factor: usize,
) -> Result<Vec<NodeId>, Refusal> {
    let found = brokers(image, nodes)?;
    if found.len() != replication_factor || REPLICAS_MAX < found.len() {
        return refuse(
            Reason::InvalidReplicaAssignment,
            format!(
                "The manual partition assignment includes a partition with {} replica(s), but this \
                 is not consistent \
                 with previous partitions, which have {replication_factor} replica(s).",
                found.len()
            ),
        );
    }
    Ok(found)
}

/// The nodes that a client wants a partition on, if they are brokers, and each once.
pub(crate) fn brokers(image: &Image, nodes: &[i32]) -> Result<Vec<NodeId>, Refusal> {
    let refuse = |message: String| refuse(Reason::InvalidReplicaAssignment, message);
    if nodes.is_empty() {
        return refuse(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    let mut found: Vec<NodeId> = vec![];
    for &raw in nodes {
        let Some(node) = NodeId::checked(raw).filter(|&it| image.broker(it).is_some()) else {
            return refuse(format!(
                "The manual partition assignment includes broker {raw}, but no such broker is \
                 registered."
            ));
        };
        if found.contains(&node) {
            return refuse(format!(
                "The manual partition assignment includes the broker {raw} more than once."
            ));
        }
        found.push(node);
    }
    Ok(found)
}

fn deletable<'a>(image: &'a Image, topic: &TopicRef<'_>) -> Result<&'a Topic, Refusal> {
    match (topic.name, topic.id) {
        (None, TopicId::ZERO) => {
            refuse(Reason::InvalidRequest, "Neither topic name nor id were specified.")
        }
        (Some(name), TopicId::ZERO) => image.topic(name).map(|it| &**it).ok_or_else(|| {
            Refusal::new(Reason::UnknownTopic, "This server does not host this topic-partition.")
        }),
        (Some(_), _) => {
            refuse(Reason::InvalidRequest, "You may not specify both topic name and topic id.")
        }
        (None, id) => image.topic_by_id(id).map(|it| &**it).ok_or_else(|| {
            Refusal::new(Reason::UnknownTopicId, "This server does not host this topic ID.")
        }),
    }
}

fn grow(image: &Image, asked: &MorePartitions<'_>, room: &mut usize) -> Result<Event, Refusal> {
    let topic = image.topic(asked.name).ok_or_else(|| {
        Refusal::new(Reason::UnknownTopic, "This server does not host this topic-partition.")
    })?;
    let present = topic.partitions().len();
    let refuse = |message: String| refuse(Reason::InvalidPartitions, message);
    let wanted = usize::try_from(asked.partition_count).unwrap_or(0);
    if wanted == present {
        return refuse(format!("Topic already has {present} partition(s)."));
    }
    if wanted < present {
        return refuse(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            asked.name, asked.partition_count
        ));
    }
    let added = wanted - present;
    if PARTITIONS_PER_REQUEST_MAX < added {
        // Kafka fails with an unknown server error here: its metadata batch is too large.
        return refuse(format!(
            "At most {PARTITIONS_PER_REQUEST_MAX} partitions can be added at once, not {added}."
        ));
    }
    if PARTITIONS_PER_TOPIC_MAX < wanted || *room < added {
        return refuse(format!(
            "A topic has at most {PARTITIONS_PER_TOPIC_MAX} partitions, and a cluster \
             {PARTITIONS_MAX}."
        ));
    }
    let replication_factor = topic.replication_factor();
    let assignments = match &asked.assignments {
        None => spread(image, topic.id(), present..wanted, replication_factor)?,
        Some(assignments) if assignments.len() != added => {
            return Err(Refusal::new(
                Reason::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {added} additional partition(s), but only {} \
                     assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        Some(assignments) => assignments
            .iter()
            .map(|nodes| replicas(image, nodes, replication_factor))
            .collect::<Result<_, _>>()?,
    };
    *room -= added;
    Ok(Event::PartitionsAdded { id: topic.id(), assignments })
}

fn count(number: u32) -> usize {
    usize::try_from(number).expect("a usize holds 32 bits here")
}
