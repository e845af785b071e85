//! What consumers of the classic protocol say to each other through their leader: the formats
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`.
//!
//! Bytes come from clients, so nothing here can panic on them.
//!
//! ```text
//! subscription  version i16 | topics [string] | user data bytes?
//!               | 1+: owned [topic string | partitions [i32]] | 2+: generation i32 | 3+: rack string?
//! assignment    version i16 | assigned [topic string | partitions [i32]] | user data bytes?
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use engine::id::PartitionIndex;

use crate::group::assignment::Assignment;
use crate::group::primitive::{Layout, Reader, RecordError, Writer};
use crate::image::Image;

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";
/// The last version of which the fields are known; later ones begin alike.
const LAST_VERSION: i16 = 3;

type ByTopic = Vec<(Arc<str>, Vec<PartitionIndex>)>;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) version: i16,
    pub(crate) topics: BTreeSet<Arc<str>>,
    pub(crate) owned: ByTopic,
    pub(crate) rack: Option<Arc<str>>,
}

impl Wishes {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let (version, topics) = begin(&mut reader)?;
        reader.nullable_bytes()?;
        let owned = if version >= 1 { read_partitions(&mut reader)? } else { Vec::new() };
        if version >= 2 {
            reader.i32()?;
        }
        let rack = if version >= 3 { reader.nullable_text()?.map(Arc::from) } else { None };
        let version = version.min(LAST_VERSION);
        Ok(Self { version, topics, owned, rack: rack.filter(|it: &Arc<str>| !it.is_empty()) })
    }
}

/// The topics of a subscription, whatever stands after them.
pub(crate) fn read_topics(bytes: &[u8]) -> Result<BTreeSet<Arc<str>>, RecordError> {
    Ok(begin(&mut Reader::new(bytes))?.1)
}

fn begin(reader: &mut Reader<'_>) -> Result<(i16, BTreeSet<Arc<str>>), RecordError> {
    let version = reader.i16()?;
    if version < 0 {
        return Err(RecordError::UnknownVersion);
    }
    let topics = reader.list(|it| it.text().map(Arc::from))?.into_iter().collect();
    Ok((version, topics))
}

/// What a leader gave to a member. Nothing, if there are no bytes.
pub(crate) fn read_assignment(bytes: &[u8], image: &Image) -> Result<Assignment, RecordError> {
    if bytes.is_empty() {
        return Ok(Assignment::default());
    }
    let mut reader = Reader::new(bytes);
    if reader.i16()? < 0 {
        return Err(RecordError::UnknownVersion);
    }
    let assigned = read_partitions(&mut reader)?;
    // An assignor that says more than this is one that cannot be replaced by ours.
    if reader.nullable_bytes()?.is_some_and(|it| !it.is_empty()) {
        return Err(RecordError::OutOfRange);
    }
    Ok(by_id(&assigned, image))
}

/// Partitions of topics that are there.
pub(crate) fn by_id(partitions: &ByTopic, image: &Image) -> Assignment {
    let known = partitions.iter().filter_map(|(name, it)| Some((image.topic(name)?, it)));
    let known = known.flat_map(|(topic, partitions)| {
        let is_there = |it: &&PartitionIndex| topic.partition(**it).is_some();
        partitions.iter().filter(is_there).map(|&it| (topic.id(), it))
    });
    known.collect()
}

pub(crate) fn write_assignment(version: i16, assigned: &Assignment, image: &Image) -> Bytes {
    let mut writer = Writer::new(version, Layout::Plain);
    let named = assigned.topics().filter_map(|(id, it)| Some((image.topic_by_id(id)?, it)));
    let named: Vec<_> = named.collect();
    writer.list(named.into_iter(), |writer, (topic, partitions)| {
        writer.text(topic.name().as_str());
        writer.list(partitions.iter(), |writer, it| writer.i32(it.wire()));
    });
    writer.i32(-1);
    writer.finish().into()
}

fn read_partitions(reader: &mut Reader<'_>) -> Result<ByTopic, RecordError> {
    reader.list(|reader| {
        let topic = reader.text()?.into();
        let partitions =
            reader.list(|it| PartitionIndex::checked(it.i32()?).ok_or(RecordError::OutOfRange))?;
        Ok((topic, partitions))
    })
}
