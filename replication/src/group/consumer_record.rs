//! What is made durable of a group of the consumer protocol (KIP-848), in Kafka's own schemas.
//!
//! A key is plain, a value flexible and of version 0. Of key 4, which Kafka before 4.1 wrote, nothing is
//! needed: the hash in the value of key 3 replaces it.
//!
//! ```text
//! key 3, 6     group string                   key 5, 7, 8  group string | member string
//! key 16       group string | regex string
//! value of 3   epoch i32 | tag 0: hash of the topics i64
//! value of 5   instance string? | rack string? | client id string | client host string | names [string]
//!              | regex string? | rebalance timeout i32 | assignor string?
//!              | tag 0, of a classic member: 1 i8 | session timeout i32 | protocols [name string | bytes]
//! value of 6   epoch i32 | tag 0: made at i64
//! value of 7   topics [id 16 bytes | partitions [i32]]
//! value of 8   epoch i32 | previous epoch i32 | state i8 | assigned topics | topics to be revoked,
//!              each [id 16 bytes | partitions [i32] | tag 0: since epoch [i32]]
//! value of 16  topics [string] | version of the image i64 | resolved at i64
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use engine::id::{PartitionIndex, Timestamp, TopicId};

use crate::group::assignment::{Assignment, Tenure};
use crate::group::primitive::{Layout, Reader, RecordError, Writer};
use crate::group::request::Protocol;
use crate::group::subscription::Subscription;

const GROUP_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;
const VERSION: i16 = 0;
/// The only tag of each struct that has one.
const TAG: u32 = 0;
/// Before a struct that could be null and is not.
const PRESENT: i8 = 1;

/// One thing that is so from now on. `None` says that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    Group(Option<GroupEpoch>),
    Member { member: Arc<str>, to: Option<Profile> },
    TargetEpoch(Option<TargetEpoch>),
    Target { member: Arc<str>, to: Option<Assignment> },
    Current { member: Arc<str>, to: Option<Current> },
    Regex { regex: Arc<str>, to: Option<ResolvedRegex> },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// Of the topics that it reads; another hash is a reason to share them anew.
    pub topics_hash: i64,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub instance: Option<Arc<str>>,
    pub rack: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub subscription: Subscription,
    /// How long it may take to give partitions up.
    pub rebalance_ms: i32,
    /// The assignor that it would like.
    pub assignor: Option<Arc<str>>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicProfile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicProfile {
    pub session_ms: i32,
    pub protocols: Vec<Protocol>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// Of the group, when the target was made.
    pub epoch: i32,
    pub made_at: Timestamp,
}

/// How far a member has come on the way to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// If the answer with `epoch` got lost, the member comes with this one.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Tenure,
    /// It is asked to give these up, and owns them until it has.
    pub revoking: Tenure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    Stable,
    /// It has partitions to give up first.
    Unrevoked,
    /// It waits for partitions that others have not given up.
    Unreleased,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<Arc<str>>,
    /// Of the image that they are from.
    pub image_version: i64,
    pub at: Timestamp,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            instance: None,
            rack: None,
            client_id: "".into(),
            client_host: "".into(),
            subscription: Subscription::default(),
            rebalance_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

impl Default for Current {
    /// Of a member that has just come.
    fn default() -> Self {
        Self {
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Tenure::default(),
            revoking: Tenure::default(),
        }
    }
}

impl ConsumerRecord {
    #[must_use]
    pub fn key(&self, group: &str) -> Vec<u8> {
        let (kind, name) = match self {
            Self::Group(_) => (GROUP_KEY, None),
            Self::TargetEpoch(_) => (TARGET_EPOCH_KEY, None),
            Self::Member { member, .. } => (MEMBER_KEY, Some(member)),
            Self::Target { member, .. } => (TARGET_KEY, Some(member)),
            Self::Current { member, .. } => (CURRENT_KEY, Some(member)),
            Self::Regex { regex, .. } => (REGEX_KEY, Some(regex)),
        };
        let mut writer = Writer::new(kind, Layout::Plain);
        writer.text(group);
        if let Some(name) = name {
            writer.text(name);
        }
        writer.finish()
    }

    /// `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Group(to) => to.as_ref().map(write_group),
            Self::Member { to, .. } => to.as_ref().map(write_profile),
            Self::TargetEpoch(to) => to.as_ref().map(write_target_epoch),
            Self::Target { to, .. } => to.as_ref().map(write_target),
            Self::Current { to, .. } => to.as_ref().map(write_current),
            Self::Regex { to, .. } => to.as_ref().map(write_regex),
        }
    }

    /// The group and the record of a key of this `kind`, which `reader` has read. `Ok(None)` for another.
    pub(crate) fn decode(
        kind: i16,
        key: &mut Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<Option<(Arc<str>, Self)>, RecordError> {
        let kinds = [GROUP_KEY, MEMBER_KEY, TARGET_EPOCH_KEY, TARGET_KEY, CURRENT_KEY, REGEX_KEY];
        if !kinds.contains(&kind) {
            return Ok(None);
        }
        let group = key.text()?.into();
        let record = match kind {
            GROUP_KEY => Self::Group(value.map(read_group).transpose()?),
            TARGET_EPOCH_KEY => Self::TargetEpoch(value.map(read_target_epoch).transpose()?),
            MEMBER_KEY => {
                let member = key.text()?.into();
                Self::Member { member, to: value.map(read_profile).transpose()? }
            }
            TARGET_KEY => {
                let member = key.text()?.into();
                Self::Target { member, to: value.map(read_target).transpose()? }
            }
            CURRENT_KEY => {
                let member = key.text()?.into();
                Self::Current { member, to: value.map(read_current).transpose()? }
            }
            _ => {
                let regex = key.text()?.into();
                Self::Regex { regex, to: value.map(read_regex).transpose()? }
            }
        };
        Ok(Some((group, record)))
    }
}

// Each pair writes and reads one value.

fn write_group(group: &GroupEpoch) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.i32(group.epoch);
    if group.topics_hash == 0 {
        writer.tags([]);
    } else {
        writer.tags([(TAG, group.topics_hash.to_be_bytes().to_vec())]);
    }
    writer.finish()
}

fn read_group(value: &[u8]) -> Result<GroupEpoch, RecordError> {
    let mut reader = begin(value)?;
    let epoch = reader.i32()?;
    let topics_hash = tag(&mut reader)?.map(|mut it| it.i64()).transpose()?.unwrap_or(0);
    Ok(GroupEpoch { epoch, topics_hash })
}

fn write_profile(profile: &Profile) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.nullable_text(profile.instance.as_deref());
    writer.nullable_text(profile.rack.as_deref());
    writer.text(&profile.client_id);
    writer.text(&profile.client_host);
    writer.list(profile.subscription.names.iter(), |writer, name| writer.text(name));
    writer.nullable_text(profile.subscription.regex.as_deref());
    writer.i32(profile.rebalance_ms);
    writer.nullable_text(profile.assignor.as_deref());
    match &profile.classic {
        None => writer.tags([]),
        Some(classic) => writer.tags([(TAG, write_classic(classic))]),
    }
    writer.finish()
}

fn write_classic(classic: &ClassicProfile) -> Vec<u8> {
    let mut writer = Writer::tagged();
    writer.i8(PRESENT);
    writer.i32(classic.session_ms);
    writer.list(classic.protocols.iter(), |writer, protocol| {
        writer.text(&protocol.name);
        writer.bytes(&protocol.metadata);
        writer.tags([]);
    });
    writer.tags([]);
    writer.finish()
}

fn read_profile(value: &[u8]) -> Result<Profile, RecordError> {
    let mut reader = begin(value)?;
    Ok(Profile {
        instance: nullable(&mut reader)?,
        rack: nullable(&mut reader)?,
        client_id: reader.text()?.into(),
        client_host: reader.text()?.into(),
        subscription: Subscription {
            names: names(&mut reader)?,
            regex: nullable(&mut reader)?.filter(|it| !it.is_empty()),
        },
        rebalance_ms: reader.i32()?,
        assignor: nullable(&mut reader)?,
        classic: tag(&mut reader)?.map(read_classic).transpose()?.flatten(),
    })
}

fn read_classic(mut reader: Reader<'_>) -> Result<Option<ClassicProfile>, RecordError> {
    if reader.i8()? != PRESENT {
        return Ok(None);
    }
    let session_ms = reader.i32()?;
    let protocols = reader.list(|reader| {
        let name = reader.text()?.into();
        let metadata = Bytes::copy_from_slice(reader.bytes()?);
        reader.tags()?;
        Ok(Protocol { name, metadata })
    })?;
    Ok(Some(ClassicProfile { session_ms, protocols }))
}

fn write_target_epoch(target: &TargetEpoch) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.i32(target.epoch);
    if target.made_at.get() == 0 {
        writer.tags([]);
    } else {
        writer.tags([(TAG, target.made_at.get().to_be_bytes().to_vec())]);
    }
    writer.finish()
}

fn read_target_epoch(value: &[u8]) -> Result<TargetEpoch, RecordError> {
    let mut reader = begin(value)?;
    let epoch = reader.i32()?;
    let made_at = tag(&mut reader)?.map(|mut it| it.i64()).transpose()?.unwrap_or(0);
    Ok(TargetEpoch { epoch, made_at: Timestamp::new(made_at) })
}

fn write_target(target: &Assignment) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.list(target.topics(), |writer, (topic, partitions)| {
        writer.raw(&topic.get());
        writer.list(partitions.iter(), |writer, partition| writer.i32(partition.wire()));
        writer.tags([]);
    });
    writer.tags([]);
    writer.finish()
}

fn read_target(value: &[u8]) -> Result<Assignment, RecordError> {
    let mut reader = begin(value)?;
    let mut target = Assignment::default();
    reader.list(|reader| {
        let topic = TopicId::new(reader.array()?);
        reader.list(|it| partition(it).map(|it| target.insert(topic, it)))?;
        reader.tags().map(|_| ())
    })?;
    reader.tags()?;
    Ok(target)
}

fn write_current(current: &Current) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.i32(current.epoch);
    writer.i32(current.previous_epoch);
    writer.i8(match current.state {
        MemberState::Stable => 0,
        MemberState::Unrevoked => 1,
        MemberState::Unreleased => 2,
    });
    write_tenure(&mut writer, &current.assigned);
    write_tenure(&mut writer, &current.revoking);
    writer.tags([]);
    writer.finish()
}

fn write_tenure(writer: &mut Writer, tenure: &Tenure) {
    writer.list(tenure.topics(), |writer, (topic, partitions)| {
        writer.raw(&topic.get());
        writer.list(partitions.keys(), |writer, partition| writer.i32(partition.wire()));
        let mut epochs = Writer::tagged();
        epochs.list(partitions.values(), |writer, &epoch| writer.i32(epoch));
        writer.tags([(TAG, epochs.finish())]);
    });
}

fn read_current(value: &[u8]) -> Result<Current, RecordError> {
    let mut reader = begin(value)?;
    let epoch = reader.i32()?;
    let previous_epoch = reader.i32()?;
    let state = match reader.i8()? {
        0 => MemberState::Stable,
        1 => MemberState::Unrevoked,
        2 => MemberState::Unreleased,
        _ => return Err(RecordError::OutOfRange),
    };
    let assigned = read_tenure(&mut reader, epoch)?;
    let revoking = read_tenure(&mut reader, epoch)?;
    reader.tags()?;
    Ok(Current { epoch, previous_epoch, state, assigned, revoking })
}

/// Kafka before 4.3 says no epochs; `epoch` is the latest that they can be of.
fn read_tenure(reader: &mut Reader<'_>, epoch: i32) -> Result<Tenure, RecordError> {
    let mut tenure = Tenure::default();
    reader.list(|reader| {
        let topic = TopicId::new(reader.array()?);
        let partitions = reader.list(partition)?;
        let epochs = tag(reader)?.map(|mut it| it.list(Reader::i32)).transpose()?;
        let epochs = epochs.unwrap_or_else(|| vec![epoch; partitions.len()]);
        if epochs.len() != partitions.len() {
            return Err(RecordError::OutOfRange);
        }
        for (partition, epoch) in partitions.into_iter().zip(epochs) {
            tenure.insert(topic, partition, epoch);
        }
        Ok(())
    })?;
    Ok(tenure)
}

fn write_regex(resolved: &ResolvedRegex) -> Vec<u8> {
    let mut writer = Writer::new(VERSION, Layout::Flexible);
    writer.list(resolved.topics.iter(), |writer, topic| writer.text(topic));
    writer.i64(resolved.image_version);
    writer.i64(resolved.at.get());
    writer.tags([]);
    writer.finish()
}

fn read_regex(value: &[u8]) -> Result<ResolvedRegex, RecordError> {
    let mut reader = begin(value)?;
    let topics = names(&mut reader)?;
    let image_version = reader.i64()?;
    let at = Timestamp::new(reader.i64()?);
    reader.tags()?;
    Ok(ResolvedRegex { topics, image_version, at })
}

// Parts of values.

fn begin(value: &[u8]) -> Result<Reader<'_>, RecordError> {
    let mut reader = Reader::new(value);
    if reader.i16()? != VERSION {
        return Err(RecordError::UnknownVersion);
    }
    reader.set_layout(Layout::Flexible);
    Ok(reader)
}

/// The struct's one tag, if it is there. Tags that are not known are of later versions.
fn tag<'a>(reader: &mut Reader<'a>) -> Result<Option<Reader<'a>>, RecordError> {
    let tags = reader.tags()?;
    Ok(tags.into_iter().find(|it| it.0 == TAG).map(|(_, value)| {
        let mut reader = Reader::new(value);
        reader.set_layout(Layout::Flexible);
        reader
    }))
}

fn nullable(reader: &mut Reader<'_>) -> Result<Option<Arc<str>>, RecordError> {
    Ok(reader.nullable_text()?.map(Arc::from))
}

fn names(reader: &mut Reader<'_>) -> Result<BTreeSet<Arc<str>>, RecordError> {
    Ok(reader.list(|it| it.long_text().map(Arc::from))?.into_iter().collect())
}

fn partition(reader: &mut Reader<'_>) -> Result<PartitionIndex, RecordError> {
    PartitionIndex::checked(reader.i32()?).ok_or(RecordError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use engine::id::{PartitionIndex, Timestamp, TopicId};

    use super::{
        ClassicProfile, ConsumerRecord, Current, GroupEpoch, MemberState, Profile, ResolvedRegex,
        Subscription, TargetEpoch, Tenure,
    };
    use crate::group::record::GroupRecord;
    use crate::group::request::Protocol;

    const TOPIC: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).expect("ASCII"));
        pairs.map(|it| u8::from_str_radix(it, 16).expect("hex")).collect()
    }

    fn tenure(partitions: &[(u32, i32)]) -> Tenure {
        let mut tenure = Tenure::default();
        for &(partition, epoch) in partitions {
            tenure.insert(TopicId::new(TOPIC), PartitionIndex::new(partition), epoch);
        }
        tenure
    }

    fn names(names: &[&str]) -> Subscription {
        Subscription { names: names.iter().map(|&it| it.into()).collect(), regex: None }
    }

    fn classic() -> Profile {
        let protocol = Protocol { name: "range".into(), metadata: Bytes::from_static(&[1, 2]) };
        Profile {
            rack: Some("r".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            subscription: Subscription { regex: Some("x.*".into()), ..Subscription::default() },
            assignor: Some("range".into()),
            classic: Some(ClassicProfile { session_ms: 45_000, protocols: vec![protocol] }),
            ..Profile::default()
        }
    }

    fn member() -> Profile {
        Profile {
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            subscription: names(&["a", "b"]),
            rebalance_ms: 300_000,
            ..Profile::default()
        }
    }

    fn current() -> Current {
        Current {
            epoch: 5,
            previous_epoch: 4,
            state: MemberState::Unrevoked,
            assigned: tenure(&[(0, 3), (2, 4)]),
            revoking: tenure(&[(1, 3)]),
        }
    }

    /// The values are as the generated classes of Kafka 4.3.1 write them.
    fn golden() -> Vec<(ConsumerRecord, String)> {
        let group = |topics_hash| ConsumerRecord::Group(Some(GroupEpoch { epoch: 7, topics_hash }));
        let made_at = Timestamp::new(1_000);
        let topics = ["xa".into()].into_iter().collect();
        let regex = ResolvedRegex { topics, image_version: 9, at: made_at };
        let id = || Arc::from("m");
        let of = |to| ConsumerRecord::Member { member: id(), to: Some(to) };
        let target = tenure(&[(0, 0), (2, 0)]).to_assignment();
        let topic = "0102030405060708090a0b0c0d0e0f10";
        let protocol = "0672616e676503010200";
        vec![
            (group(-3), "000000000007010008fffffffffffffffd".into()),
            (group(0), "00000000000700".into()),
            (of(member()), "00000269000263032f68030261026200000493e00000".into()),
            (
                of(classic()),
                format!(
                    "00000002720263032f680104782e2affffffff0672616e6765010011010000afc802{protocol}00"
                ),
            ),
            (
                ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch: 4, made_at })),
                "00000000000401000800000000000003e8".into(),
            ),
            (
                ConsumerRecord::Target { member: id(), to: Some(target) },
                format!("000002{topic}0300000000000000020000"),
            ),
            (
                ConsumerRecord::Current { member: id(), to: Some(current()) },
                format!(
                    "000000000005000000040102{topic}03000000000000000201000903000000030000000402\
                     {topic}0200000001010005020000000300"
                ),
            ),
            (
                ConsumerRecord::Regex { regex: "x.*".into(), to: Some(regex) },
                "000002037861000000000000000900000000000003e800".into(),
            ),
        ]
    }

    #[test]
    fn values_are_written_as_kafka_writes_them() {
        for (record, want) in golden() {
            let hex: String =
                record.value().expect("a value").iter().map(|it| format!("{it:02x}")).collect();
            assert_eq!(hex, want, "{record:?}");
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for (record, want) in golden() {
            let key = record.key("g");
            let found = GroupRecord::decode(&key, Some(&bytes(&want)));
            let want = GroupRecord::Consumer { group: "g".into(), record };
            assert_eq!(found, Ok(Some(want.clone())));
            assert_eq!(want.key(), key);
        }
    }

    #[test]
    fn every_prefix_of_a_record_is_refused() {
        for (record, want) in golden() {
            let (key, value) = (record.key("g"), bytes(&want));
            for end in 0..value.len() {
                assert!(GroupRecord::decode(&key, Some(&value[..end])).is_err(), "{record:?}");
            }
            for end in 0..key.len() {
                assert!(GroupRecord::decode(&key[..end], Some(&value)).is_err(), "{record:?}");
            }
        }
    }

    #[test]
    fn partitions_without_epochs_are_as_old_as_their_member() {
        let topic = "0102030405060708090a0b0c0d0e0f10";
        let value =
            bytes(&format!("0000000000050000000400 02{topic}0200000000000100").replace(' ', ""));
        let key = ConsumerRecord::Current { member: "m".into(), to: None }.key("g");
        let Ok(Some(GroupRecord::Consumer { record, .. })) =
            GroupRecord::decode(&key, Some(&value))
        else {
            panic!("it is read");
        };
        let want = Current {
            epoch: 5,
            previous_epoch: 4,
            assigned: tenure(&[(0, 5)]),
            ..Current::default()
        };
        assert_eq!(record, ConsumerRecord::Current { member: "m".into(), to: Some(want) });
    }
}
