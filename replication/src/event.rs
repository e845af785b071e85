//! One change of the cluster's metadata, and its bytes in the metadata log. What it means is
//! `cluster`'s.
//!
//! ```text
//! event     version u8 = 1 | kind u8 | body, to the end of the record's value
//! text      length u16 | UTF-8
//! list      count u32 | items
//! 1 topic created       id [16] | name text | configs list of (key text, value text) | assignments
//! 2 topic deleted       id [16]
//! 3 partitions added    id [16] | assignments
//! 4 topic configs       id [16] | changes
//! 5 broker configs      present u8 (0 every broker, 1 one) | node i32 if 1 | changes
//! 6 producer ids        next i64
//! 7 broker registered   node i32 | present u8 | rack text if 1 | endpoints
//! 8 quotas              name (of a user) | name (of a client) | bounds
//! 9 group configs       group text | changes
//! 10 address quotas     name (of an address) | bounds
//! assignments           list of (list of node i32)
//! changes               list of (key text | present u8 | value text if 1)
//! name                  kind u8 (0 none, 1 the default, 2 exact) | text if 2
//! bounds                list of (quota u8 | present u8 | bound f64 if 1)
//! endpoints             list of (listener text | host text | port u16)
//! ```
//! Numbers are big endian. An unknown version or kind is an error: an older node must not guess.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::sync::Arc;

use engine::id::{ProducerId, TopicId};

use crate::limits::{
    CONFIG_NAME_BYTES_MAX, CONFIG_VALUE_BYTES_MAX, CONFIGS_MAX, ENDPOINTS_MAX, EVENT_BYTES_MAX,
    GROUP_NAME_BYTES_MAX, HOST_BYTES_MAX, PARTITIONS_PER_TOPIC_MAX, QUOTA_NAME_BYTES_MAX,
    REPLICAS_MAX, TOPIC_NAME_BYTES_MAX,
};
use crate::node::{Broker, Endpoint, NodeId};
use crate::quota::{Bound, Change, Entity, Name, Part, Quota, address_name};
use crate::topic_name::TopicName;

/// The topic whose only partition holds these events. Never listed, never served.
pub const METADATA_TOPIC_ID: TopicId =
    TopicId::new([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

const VERSION: u8 = 1;

/// Nodes that hold each partition, the preferred leader first.
pub type Assignments = Vec<Vec<NodeId>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    TopicCreated {
        id: TopicId,
        name: TopicName,
        /// What differs from the brokers' defaults, in canonical form.
        configs: Vec<(String, String)>,
        assignments: Assignments,
    },
    TopicDeleted {
        id: TopicId,
    },
    /// Partitions after the present last one.
    PartitionsAdded {
        id: TopicId,
        assignments: Assignments,
    },
    TopicConfigsChanged {
        id: TopicId,
        changes: Vec<ConfigChange>,
    },
    BrokerConfigsChanged {
        scope: BrokerScope,
        changes: Vec<ConfigChange>,
    },
    /// All producer ids below `next` are handed out.
    ProducerIdsAllocated {
        next: ProducerId,
    },
    /// A node is new, or its addresses changed.
    BrokerRegistered(Broker),
    QuotasChanged {
        entity: Entity,
        changes: Vec<Change>,
    },
    GroupConfigsChanged {
        group: String,
        changes: Vec<ConfigChange>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub key: String,
    /// `None` goes back to the default.
    pub value: Option<String>,
}

/// Whom a dynamic broker config is for. Kafka writes the first as the empty resource name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokerScope {
    EveryBroker,
    Broker(NodeId),
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventError {
    Truncated,
    UnknownVersion,
    UnknownKind,
    /// A length or count above its limit, a negative id, a flag that is neither 0 nor 1, a quota of nobody
    /// or without sense.
    OutOfRange,
    NotUtf8,
    IllegalName,
    /// Bytes after the body.
    Trailing,
}

impl Event {
    /// Appends the event's bytes to `out`.
    ///
    /// # Panics
    /// If a text, a list or the whole is above its limit: commands are checked before they become
    /// events.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write(out);
        assert!(out.len().saturating_sub(start) <= EVENT_BYTES_MAX);
    }

    /// # Errors
    /// If `bytes` are not exactly one event. They may be anything.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        let mut reader = Reader { rest: bytes };
        if reader.u8()? != VERSION {
            return Err(EventError::UnknownVersion);
        }
        let event = match reader.u8()? {
            1 => Self::TopicCreated {
                id: reader.topic_id()?,
                name: TopicName::checked(reader.text(TOPIC_NAME_BYTES_MAX)?)
                    .map_err(|_fault| EventError::IllegalName)?,
                configs: reader.list(CONFIGS_MAX, |it| {
                    Ok((
                        it.owned_text(CONFIG_NAME_BYTES_MAX)?,
                        it.owned_text(CONFIG_VALUE_BYTES_MAX)?,
                    ))
                })?,
                assignments: reader.assignments()?,
            },
            2 => Self::TopicDeleted { id: reader.topic_id()? },
            3 => {
                Self::PartitionsAdded { id: reader.topic_id()?, assignments: reader.assignments()? }
            }
            4 => Self::TopicConfigsChanged { id: reader.topic_id()?, changes: reader.changes()? },
            5 => Self::BrokerConfigsChanged {
                scope: reader
                    .optional(Reader::node)?
                    .map_or(BrokerScope::EveryBroker, BrokerScope::Broker),
                changes: reader.changes()?,
            },
            6 => Self::ProducerIdsAllocated {
                next: ProducerId::checked(i64::from_be_bytes(reader.array()?))
                    .ok_or(EventError::OutOfRange)?,
            },
            7 => Self::BrokerRegistered(reader.broker()?),
            8 => {
                let entity = Entity::new(reader.name()?, reader.name()?);
                reader.quotas(entity.ok_or(EventError::OutOfRange)?)?
            }
            9 => Self::GroupConfigsChanged {
                group: reader.owned_text(GROUP_NAME_BYTES_MAX)?,
                changes: reader.changes()?,
            },
            10 => {
                let entity = Entity::Address(reader.address()?);
                reader.quotas(entity)?
            }
            _ => return Err(EventError::UnknownKind),
        };
        if reader.rest.is_empty() { Ok(event) } else { Err(EventError::Trailing) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer { out };
        writer.u8(VERSION);
        writer.u8(self.kind());
        match self {
            Self::TopicCreated { id, name, configs, assignments } => {
                writer.topic_id(*id);
                writer.text(name.as_str(), TOPIC_NAME_BYTES_MAX);
                writer.count(configs.len(), CONFIGS_MAX);
                for (key, value) in configs {
                    writer.text(key, CONFIG_NAME_BYTES_MAX);
                    writer.text(value, CONFIG_VALUE_BYTES_MAX);
                }
                writer.assignments(assignments);
            }
            Self::TopicDeleted { id } => writer.topic_id(*id),
            Self::PartitionsAdded { id, assignments } => {
                writer.topic_id(*id);
                writer.assignments(assignments);
            }
            Self::TopicConfigsChanged { id, changes } => {
                writer.topic_id(*id);
                writer.changes(changes);
            }
            Self::BrokerConfigsChanged { scope, changes } => {
                match scope {
                    BrokerScope::EveryBroker => writer.u8(0),
                    BrokerScope::Broker(node) => {
                        writer.u8(1);
                        writer.node(*node);
                    }
                }
                writer.changes(changes);
            }
            Self::ProducerIdsAllocated { next } => writer.bytes(&next.get().to_be_bytes()),
            Self::BrokerRegistered(broker) => writer.broker(broker),
            Self::QuotasChanged { entity, changes } => {
                match entity {
                    Entity::Address(name) => writer.name(Some(name)),
                    Entity::User(_) | Entity::Client(_) | Entity::UserClient(..) => {
                        writer.name(entity.part(Part::User));
                        writer.name(entity.part(Part::Client));
                    }
                }
                writer.bounds(changes);
            }
            Self::GroupConfigsChanged { group, changes } => {
                writer.text(group, GROUP_NAME_BYTES_MAX);
                writer.changes(changes);
            }
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::TopicCreated { .. } => 1,
            Self::TopicDeleted { .. } => 2,
            Self::PartitionsAdded { .. } => 3,
            Self::TopicConfigsChanged { .. } => 4,
            Self::BrokerConfigsChanged { .. } => 5,
            Self::ProducerIdsAllocated { .. } => 6,
            Self::BrokerRegistered(_) => 7,
            Self::QuotasChanged { entity: Entity::Address(_), .. } => 10,
            Self::QuotasChanged { .. } => 8,
            Self::GroupConfigsChanged { .. } => 9,
        }
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    fn topic_id(&mut self, id: TopicId) {
        self.bytes(&id.get());
    }

    fn node(&mut self, node: NodeId) {
        self.bytes(&node.get().to_be_bytes());
    }

    #[expect(clippy::expect_used, reason = "the limit is below the type's, and ours to keep")]
    fn text(&mut self, text: &str, bytes_max: usize) {
        assert!(text.len() <= bytes_max);
        let length = u16::try_from(text.len()).expect("every text's limit fits in 16 bits");
        self.bytes(&length.to_be_bytes());
        self.bytes(text.as_bytes());
    }

    #[expect(clippy::expect_used, reason = "the limit is below the type's, and ours to keep")]
    fn count(&mut self, count: usize, count_max: usize) {
        assert!(count <= count_max);
        let count = u32::try_from(count).expect("every list's limit fits in 32 bits");
        self.bytes(&count.to_be_bytes());
    }

    fn assignments(&mut self, assignments: &Assignments) {
        self.count(assignments.len(), PARTITIONS_PER_TOPIC_MAX);
        for replicas in assignments {
            self.count(replicas.len(), REPLICAS_MAX);
            replicas.iter().for_each(|&node| self.node(node));
        }
    }

    fn changes(&mut self, changes: &[ConfigChange]) {
        self.count(changes.len(), CONFIGS_MAX);
        for change in changes {
            self.text(&change.key, CONFIG_NAME_BYTES_MAX);
            self.optional_text(change.value.as_deref(), CONFIG_VALUE_BYTES_MAX);
        }
    }

    fn broker(&mut self, broker: &Broker) {
        self.node(broker.id);
        self.optional_text(broker.rack.as_deref(), HOST_BYTES_MAX);
        self.count(broker.endpoints.len(), ENDPOINTS_MAX);
        for endpoint in &broker.endpoints {
            self.text(&endpoint.listener, HOST_BYTES_MAX);
            self.text(&endpoint.host, HOST_BYTES_MAX);
            self.bytes(&endpoint.port.to_be_bytes());
        }
    }

    fn name(&mut self, name: Option<&Name>) {
        match name {
            None => self.u8(0),
            Some(Name::Default) => self.u8(1),
            Some(Name::Exact(name)) => {
                self.u8(2);
                self.text(name, QUOTA_NAME_BYTES_MAX);
            }
        }
    }

    fn bounds(&mut self, changes: &[Change]) {
        self.count(changes.len(), Quota::ALL.len());
        for (quota, bound) in changes {
            self.u8(quota_code(*quota));
            self.u8(u8::from(bound.is_some()));
            if let Some(bound) = bound {
                self.bytes(&bound.get().to_be_bytes());
            }
        }
    }

    fn optional_text(&mut self, text: Option<&str>, bytes_max: usize) {
        self.u8(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text, bytes_max);
        }
    }
}

/// What a quota is in the log.
const fn quota_code(quota: Quota) -> u8 {
    match quota {
        Quota::ProducerByteRate => 1,
        Quota::ConsumerByteRate => 2,
        Quota::RequestPercentage => 3,
        Quota::ControllerMutationRate => 4,
        Quota::ConnectionCreationRate => 5,
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(EventError::Truncated)?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, EventError> {
        self.array().map(u8::from_be_bytes)
    }

    fn topic_id(&mut self) -> Result<TopicId, EventError> {
        self.array().map(TopicId::new)
    }

    fn node(&mut self) -> Result<NodeId, EventError> {
        NodeId::checked(i32::from_be_bytes(self.array()?)).ok_or(EventError::OutOfRange)
    }

    fn text(&mut self, bytes_max: usize) -> Result<&'a str, EventError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        if bytes_max < length {
            return Err(EventError::OutOfRange);
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or(EventError::Truncated)?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_fault| EventError::NotUtf8)
    }

    fn owned_text(&mut self, bytes_max: usize) -> Result<String, EventError> {
        self.text(bytes_max).map(str::to_owned)
    }

    fn shared_text(&mut self) -> Result<Arc<str>, EventError> {
        self.text(HOST_BYTES_MAX).map(Arc::from)
    }

    fn optional<T>(
        &mut self,
        item: impl FnOnce(&mut Self) -> Result<T, EventError>,
    ) -> Result<Option<T>, EventError> {
        match self.u8()? {
            0 => Ok(None),
            1 => item(self).map(Some),
            _ => Err(EventError::OutOfRange),
        }
    }

    /// Grows as items arrive: an announced count allocates nothing.
    fn list<T>(
        &mut self,
        count_max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, EventError>,
    ) -> Result<Vec<T>, EventError> {
        let count = u32::from_be_bytes(self.array()?);
        if usize::try_from(count).map_or(true, |it| count_max < it) {
            return Err(EventError::OutOfRange);
        }
        (0..count).map(|_index| item(self)).collect()
    }

    fn assignments(&mut self) -> Result<Assignments, EventError> {
        self.list(PARTITIONS_PER_TOPIC_MAX, |it| it.list(REPLICAS_MAX, Self::node))
    }

    fn changes(&mut self) -> Result<Vec<ConfigChange>, EventError> {
        self.list(CONFIGS_MAX, |it| {
            Ok(ConfigChange {
                key: it.owned_text(CONFIG_NAME_BYTES_MAX)?,
                value: it.optional(|it| it.owned_text(CONFIG_VALUE_BYTES_MAX))?,
            })
        })
    }

    fn name(&mut self) -> Result<Option<Name>, EventError> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Name::Default)),
            2 => Ok(Some(Name::Exact(Arc::from(self.text(QUOTA_NAME_BYTES_MAX)?)))),
            _ => Err(EventError::OutOfRange),
        }
    }

    fn address(&mut self) -> Result<Name, EventError> {
        let name = self.name()?.ok_or(EventError::OutOfRange)?;
        let is_canonical = match &name {
            Name::Default => true,
            Name::Exact(text) => address_name(text).as_ref() == Some(text),
        };
        if is_canonical { Ok(name) } else { Err(EventError::OutOfRange) }
    }

    fn quotas(&mut self, entity: Entity) -> Result<Event, EventError> {
        let changes = self.bounds()?;
        let is_sound = changes.iter().all(|(quota, _)| quota.is_of(&entity));
        if is_sound {
            Ok(Event::QuotasChanged { entity, changes })
        } else {
            Err(EventError::OutOfRange)
        }
    }

    fn bounds(&mut self) -> Result<Vec<Change>, EventError> {
        self.list(Quota::ALL.len(), |it| {
            let code = it.u8()?;
            let quota = Quota::ALL.into_iter().find(|it| quota_code(*it) == code);
            let bound = it.optional(|it| {
                Bound::checked(f64::from_be_bytes(it.array()?)).ok_or(EventError::OutOfRange)
            })?;
            Ok((quota.ok_or(EventError::OutOfRange)?, bound))
        })
    }

    fn broker(&mut self) -> Result<Broker, EventError> {
        Ok(Broker {
            id: self.node()?,
            rack: self.optional(Self::shared_text)?,
            endpoints: self.list(ENDPOINTS_MAX, |it| {
                Ok(Endpoint {
                    listener: it.shared_text()?,
                    host: it.shared_text()?,
                    port: u16::from_be_bytes(it.array()?),
                })
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use engine::id::{ProducerId, TopicId};
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{BrokerScope, ConfigChange, Event, EventError};
    use crate::node::{Broker, Endpoint, NodeId};
    use crate::quota::{Bound, Entity, Name, Quota};
    use crate::topic_name::TopicName;

    fn node(id: i32) -> NodeId {
        NodeId::checked(id).expect("not negative")
    }

    fn each_kind() -> Vec<Event> {
        let id = TopicId::new([7; 16]);
        let changes = vec![
            ConfigChange { key: "retention.ms".into(), value: Some("-1".into()) },
            ConfigChange { key: "segment.ms".into(), value: None },
        ];
        vec![
            Event::TopicCreated {
                id,
                name: TopicName::checked("orders").expect("legal"),
                configs: vec![("cleanup.policy".into(), String::new())],
                assignments: vec![vec![node(1), node(2)], vec![node(2)], vec![]],
            },
            Event::TopicDeleted { id },
            Event::PartitionsAdded { id, assignments: vec![vec![node(1)]] },
            Event::TopicConfigsChanged { id, changes: changes.clone() },
            Event::BrokerConfigsChanged {
                scope: BrokerScope::EveryBroker,
                changes: changes.clone(),
            },
            Event::BrokerConfigsChanged {
                scope: BrokerScope::Broker(node(0)),
                changes: changes.clone(),
            },
            Event::GroupConfigsChanged { group: "g".into(), changes },
            Event::ProducerIdsAllocated { next: ProducerId::checked(1_000).expect("positive") },
            Event::BrokerRegistered(Broker {
                id: node(i32::MAX),
                rack: Some("r1".into()),
                endpoints: vec![Endpoint {
                    listener: "PLAINTEXT".into(),
                    host: "::1".into(),
                    port: 9,
                }],
            }),
            Event::BrokerRegistered(Broker { id: node(3), rack: None, endpoints: vec![] }),
            Event::QuotasChanged {
                entity: Entity::UserClient(Name::Exact("u".into()), Name::Default),
                changes: vec![
                    (Quota::RequestPercentage, Bound::checked(0.5)),
                    (Quota::ProducerByteRate, None),
                    (Quota::ControllerMutationRate, Bound::checked(2.0)),
                ],
            },
            Event::QuotasChanged {
                entity: Entity::Address(Name::Exact("::1".into())),
                changes: vec![(Quota::ConnectionCreationRate, Bound::checked(2.0))],
            },
            Event::QuotasChanged { entity: Entity::Address(Name::Default), changes: vec![] },
        ]
    }

    fn encoded(event: &Event) -> Vec<u8> {
        let mut bytes = vec![];
        event.encode(&mut bytes);
        bytes
    }

    #[test]
    fn every_kind_comes_back_and_every_prefix_is_truncated() {
        for event in each_kind() {
            let bytes = encoded(&event);
            assert_eq!(Event::decode(&bytes), Ok(event));
            for end in 0..bytes.len() {
                assert_eq!(
                    Event::decode(&bytes[..end]),
                    Err(EventError::Truncated),
                    "{bytes:?} {end}"
                );
            }
            assert_eq!(Event::decode(&[&bytes[..], &[0]].concat()), Err(EventError::Trailing));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let check = |bytes: &[u8], want| assert_eq!(Event::decode(bytes), Err(want), "{bytes:?}");
        check(&[2, 1], EventError::UnknownVersion);
        check(&[1, 0], EventError::UnknownKind);
        check(&[1, 11], EventError::UnknownKind);
        check(&[1, 6, 255, 0, 0, 0, 0, 0, 0, 0], EventError::OutOfRange);
        check(&[1, 5, 2], EventError::OutOfRange);
        check(&[1, 8, 0, 0, 0, 0, 0, 0], EventError::OutOfRange);
        check(&[1, 8, 1, 0, 0, 0, 0, 1, 9, 0], EventError::OutOfRange);
        check(&[1, 8, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], EventError::OutOfRange);
        // A rate of connections for a user, bytes for an address, an address that is none, or not canonical.
        check(&[1, 8, 1, 0, 0, 0, 0, 1, 5, 0], EventError::OutOfRange);
        check(&[1, 10, 1, 0, 0, 0, 1, 1, 0], EventError::OutOfRange);
        check(&[1, 10, 0, 0, 0, 0, 0], EventError::OutOfRange);
        check(&[1, 10, 2, 0, 1, b'h', 0, 0, 0, 0], EventError::OutOfRange);
        check(&[1, 10, 2, 0, 4, b'0', b':', b':', b'1', 0, 0, 0, 0], EventError::OutOfRange);
        check(&[1, 5, 0, 255, 255, 255, 255], EventError::OutOfRange);
        check(&[1, 5, 0, 0, 0, 0, 1, 255, 255], EventError::OutOfRange);
        check(&[1, 5, 0, 0, 0, 0, 1, 0, 1, 255, 0], EventError::NotUtf8);
        check(&[[1, 1].as_slice(), &[0; 16], &[0, 1, b'/']].concat(), EventError::IllegalName);
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let event = Event::TopicConfigsChanged {
            id: TopicId::new([9; 16]),
            changes: vec![ConfigChange { key: "k".into(), value: Some("v".into()) }],
        };
        let want = [&[1, 4][..], &[9; 16], &[0, 0, 0, 1, 0, 1, b'k', 1, 0, 1, b'v']].concat();
        assert_eq!(encoded(&event), want);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error(kind in 0_u8..11, body in vec(any::<u8>(), 0..200)) {
            let bytes = [&[1, kind][..], &body].concat();
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(encoded(&event), bytes);
            }
        }

        #[test]
        fn a_flipped_byte_is_an_event_or_an_error(
            which in 0_usize..11, at in any::<usize>(), flip in 1_u8..=255,
        ) {
            let mut bytes = encoded(&each_kind()[which]);
            let at = at.checked_rem(bytes.len()).expect("an event has bytes");
            bytes[at] ^= flip;
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(encoded(&event), bytes);
            }
        }
    }
}
