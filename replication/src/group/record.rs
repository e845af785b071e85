//! What a coordinator makes durable: the records of `__consumer_offsets`, in Kafka's own schemas, so
//! that Kafka's tools read them.
//!
//! A key is an i16 that says what it is of, and the names. A value is an i16 version and its fields; no
//! value is a tombstone. Written are the versions that Kafka writes; all that Kafka has written are read.
//!
//! ```text
//! key 0, 1  group string | topic string | partition i32
//! key 2     group string
//! value of 0, 1, version 3 (4 is flexible)
//!           offset i64 | leader epoch i32 (3+) | metadata string | committed at i64 | expires at i64 (1)
//! keys 3 to 8 and 16 are drawn in `consumer_record.rs`
//! value of 2, version 3 (4 is flexible)
//!           protocol type string | generation i32 | protocol string? | leader string?
//!           | state since i64 (2+) | members
//! member    id string | instance string? (3+) | client id string | client host string
//!           | rebalance timeout i32 (1+) | session timeout i32 | subscription bytes | assignment bytes
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use std::sync::Arc;

use bytes::Bytes;
use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};

use crate::group::consumer_record::ConsumerRecord;
use crate::group::primitive::{Layout, Reader, RecordError, Writer};

const OFFSET_KEYS: [i16; 2] = [0, 1];
const CLASSIC_KEY: i16 = 2;
const OFFSET_VERSION: i16 = 3;
/// Of an offset that the client gave an end.
const OFFSET_EXPIRING_VERSION: i16 = 1;
const CLASSIC_VERSION: i16 = 3;
const FLEXIBLE_FROM: i16 = 4;
const LAST_VERSION: i16 = 4;

/// One thing that is so from now on. `None` says that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    Offset { group: Arc<str>, topic: Arc<str>, partition: PartitionIndex, to: Option<Committed> },
    Classic { group: Arc<str>, to: Option<ClassicSnapshot> },
    Consumer { group: Arc<str>, record: ConsumerRecord },
}

/// A committed offset of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// As the client gave it: nothing is checked, as in Kafka.
    pub offset: i64,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub committed_at: Timestamp,
    /// Only clients of before 2.1 give one.
    pub expires_at: Option<Timestamp>,
}

/// A group of the classic protocol, when all its members knew their assignments, or when it was empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSnapshot {
    /// Empty for a group that only commits offsets.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// Since when it has been stable or empty.
    pub since: Timestamp,
    pub members: Vec<MemberSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSnapshot {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_ms: i32,
    pub session_ms: i32,
    /// What it said under the protocol that was chosen.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupRecord {
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Offset { group, topic, partition, .. } => {
                let mut writer = Writer::new(1, Layout::Plain);
                writer.text(group);
                writer.text(topic);
                writer.i32(partition.wire());
                writer.finish()
            }
            Self::Classic { group, .. } => {
                let mut writer = Writer::new(CLASSIC_KEY, Layout::Plain);
                writer.text(group);
                writer.finish()
            }
            Self::Consumer { group, record } => record.key(group),
        }
    }

    /// `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Offset { to, .. } => to.as_ref().map(write_committed),
            Self::Classic { to, .. } => to.as_ref().map(write_classic),
            Self::Consumer { record, .. } => record.value(),
        }
    }

    /// `Ok(None)` for a key that is of something else.
    ///
    /// # Errors
    /// If `key` or `value` is cut, or of a version that nobody has written yet.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let mut reader = Reader::new(key);
        match reader.i16()? {
            kind if OFFSET_KEYS.contains(&kind) => Ok(Some(Self::Offset {
                group: reader.text()?.into(),
                topic: reader.text()?.into(),
                partition: PartitionIndex::checked(reader.i32()?).ok_or(RecordError::OutOfRange)?,
                to: value.map(read_committed).transpose()?,
            })),
            CLASSIC_KEY => Ok(Some(Self::Classic {
                group: reader.text()?.into(),
                to: value.map(read_classic).transpose()?,
            })),
            kind => {
                let consumer = ConsumerRecord::decode(kind, &mut reader, value)?;
                Ok(consumer.map(|(group, record)| Self::Consumer { group, record }))
            }
        }
    }
}

fn write_committed(committed: &Committed) -> Vec<u8> {
    let version =
        if committed.expires_at.is_some() { OFFSET_EXPIRING_VERSION } else { OFFSET_VERSION };
    let mut writer = Writer::new(version, Layout::Plain);
    writer.i64(committed.offset);
    if version == OFFSET_VERSION {
        writer.i32(committed.leader_epoch.get());
    }
    writer.text(&committed.metadata);
    writer.i64(committed.committed_at.get());
    if let Some(expires_at) = committed.expires_at {
        writer.i64(expires_at.get());
    }
    writer.finish()
}

fn read_committed(value: &[u8]) -> Result<Committed, RecordError> {
    let mut reader = Reader::new(value);
    let version = read_version(&mut reader)?;
    Ok(Committed {
        offset: reader.i64()?,
        leader_epoch: if version >= 3 {
            LeaderEpoch::new(reader.i32()?)
        } else {
            LeaderEpoch::NONE
        },
        metadata: reader.text()?.into(),
        committed_at: Timestamp::new(reader.i64()?),
        expires_at: if version == OFFSET_EXPIRING_VERSION {
            Some(Timestamp::new(reader.i64()?)).filter(|&at| at != Timestamp::NONE)
        } else {
            None
        },
    })
}

fn write_classic(group: &ClassicSnapshot) -> Vec<u8> {
    let mut writer = Writer::new(CLASSIC_VERSION, Layout::Plain);
    writer.text(&group.protocol_type);
    writer.i32(group.generation);
    writer.nullable_text(group.protocol.as_deref());
    writer.nullable_text(group.leader.as_deref());
    writer.i64(group.since.get());
    writer.list(group.members.iter(), |writer, member| {
        writer.text(&member.id);
        writer.nullable_text(member.instance.as_deref());
        writer.text(&member.client_id);
        writer.text(&member.client_host);
        writer.i32(member.rebalance_ms);
        writer.i32(member.session_ms);
        writer.bytes(&member.subscription);
        writer.bytes(&member.assignment);
    });
    writer.finish()
}

fn read_classic(value: &[u8]) -> Result<ClassicSnapshot, RecordError> {
    let mut reader = Reader::new(value);
    let version = read_version(&mut reader)?;
    Ok(ClassicSnapshot {
        protocol_type: reader.text()?.into(),
        generation: reader.i32()?,
        protocol: reader.nullable_text()?.map(Arc::from),
        leader: reader.nullable_text()?.map(Arc::from),
        since: if version >= 2 { Timestamp::new(reader.i64()?) } else { Timestamp::NONE },
        members: reader.list(|reader| read_member(reader, version))?,
    })
}

fn read_member(reader: &mut Reader<'_>, version: i16) -> Result<MemberSnapshot, RecordError> {
    let id = reader.text()?.into();
    let instance = if version >= 3 { reader.nullable_text()?.map(Arc::from) } else { None };
    let client_id = reader.text()?.into();
    let client_host = reader.text()?.into();
    let rebalance_ms = if version >= 1 { Some(reader.i32()?) } else { None };
    let session_ms = reader.i32()?;
    let member = MemberSnapshot {
        id,
        instance,
        client_id,
        client_host,
        rebalance_ms: rebalance_ms.unwrap_or(session_ms),
        session_ms,
        subscription: Bytes::copy_from_slice(reader.bytes()?),
        assignment: Bytes::copy_from_slice(reader.bytes()?),
    };
    reader.tags()?;
    Ok(member)
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    let version = reader.i16()?;
    if !(0..=LAST_VERSION).contains(&version) {
        return Err(RecordError::UnknownVersion);
    }
    if version >= FLEXIBLE_FROM {
        reader.set_layout(Layout::Flexible);
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::id::{LeaderEpoch, PartitionIndex, Timestamp};

    use super::{ClassicSnapshot, Committed, GroupRecord, MemberSnapshot};
    use crate::group::primitive::RecordError;

    /// A field in hexadecimal is easier to compare with what Kafka writes than one in Rust.
    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .chars()
            .filter_map(|it| it.to_digit(16))
            .map(|it| u8::try_from(it).unwrap())
            .collect();
        digits.chunks(2).map(|pair| (pair[0] << 4) | pair[1]).collect()
    }

    const OFFSET_KEY: &str = "0001 0001 67 0001 74 00000003";
    const CLASSIC_KEY: &str = "0002 0001 67";

    #[track_caller]
    fn check_offset(value: &str, leader_epoch: i32, expires_at: Option<i64>) {
        let value = bytes(value);
        let committed = Committed {
            offset: 5,
            leader_epoch: LeaderEpoch::new(leader_epoch),
            metadata: "m".into(),
            committed_at: Timestamp::new(256),
            expires_at: expires_at.map(Timestamp::new),
        };
        let want = GroupRecord::Offset {
            group: "g".into(),
            topic: "t".into(),
            partition: PartitionIndex::new(3),
            to: Some(committed),
        };
        let key = bytes(OFFSET_KEY);
        assert_eq!(GroupRecord::decode(&key, Some(&value)), Ok(Some(want)));
        for end in 0..value.len() {
            let cut = GroupRecord::decode(&key, Some(&value[..end]));
            assert_eq!(cut, Err(RecordError::Truncated), "{end}");
        }
    }

    #[test]
    fn offsets_of_every_version_of_kafka_are_read() {
        check_offset("0000 0000000000000005 0001 6d 0000000000000100", -1, None);
        check_offset(
            "0001 0000000000000005 0001 6d 0000000000000100 0000000000000200",
            -1,
            Some(512),
        );
        check_offset("0001 0000000000000005 0001 6d 0000000000000100 ffffffffffffffff", -1, None);
        check_offset("0002 0000000000000005 0001 6d 0000000000000100", -1, None);
        check_offset("0003 0000000000000005 00000007 0001 6d 0000000000000100", 7, None);
        check_offset("0004 0000000000000005 00000007 02 6d 0000000000000100", 7, None);
    }

    #[track_caller]
    fn check_classic(value: &str, since: i64, rebalance_ms: i32, instance: Option<&str>) {
        let member = MemberSnapshot {
            id: "a".into(),
            instance: instance.map(Into::into),
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_ms,
            session_ms: 16,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"xy"),
        };
        let snapshot = ClassicSnapshot {
            protocol_type: "p".into(),
            generation: 2,
            protocol: Some("r".into()),
            leader: None,
            since: Timestamp::new(since),
            members: vec![member],
        };
        let want = GroupRecord::Classic { group: "g".into(), to: Some(snapshot) };
        let value = bytes(value);
        let key = bytes(CLASSIC_KEY);
        assert_eq!(GroupRecord::decode(&key, Some(&value)), Ok(Some(want)));
        for end in 0..value.len() {
            assert!(GroupRecord::decode(&key, Some(&value[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn groups_of_every_version_of_kafka_are_read() {
        let plain = "0001 70 00000002 0001 72 ffff";
        let member = |between: &str, instance: &str| {
            format!(
                "00000001 0001 61 {instance} 0001 63 0001 68 {between} 00000010 00000001 73 00000002 7879"
            )
        };
        check_classic(&format!("0000 {plain} {}", member("", "")), -1, 16, None);
        check_classic(&format!("0001 {plain} {}", member("00000020", "")), -1, 32, None);
        let since = "0000000000000100";
        check_classic(&format!("0002 {plain} {since} {}", member("00000020", "")), 256, 32, None);
        check_classic(
            &format!("0003 {plain} {since} {}", member("00000020", "ffff")),
            256,
            32,
            None,
        );
        check_classic(
            &format!("0003 {plain} {since} {}", member("00000020", "0001 69")),
            256,
            32,
            Some("i"),
        );
        let flexible = "0004 02 70 00000002 02 72 00 0000000000000100 \
                        02 02 61 02 69 02 63 02 68 00000020 00000010 02 73 03 7879 00";
        check_classic(flexible, 256, 32, Some("i"));
    }

    #[test]
    fn what_nobody_has_written_yet_is_refused_or_left_out() {
        let (key, other) = (bytes(OFFSET_KEY), bytes("0063 0001 67"));
        let decoded = GroupRecord::decode(&key, Some(&bytes("0005 00")));
        assert_eq!(decoded, Err(RecordError::UnknownVersion));
        assert_eq!(
            GroupRecord::decode(&key, Some(&bytes("ffff"))),
            Err(RecordError::UnknownVersion)
        );
        assert_eq!(GroupRecord::decode(&other, Some(b"whatever")), Ok(None));
        assert_eq!(GroupRecord::decode(b"", None), Err(RecordError::Truncated));
        let long =
            [&bytes("0003 0001 70 00000002 ffff ffff 0000000000000100")[..], &[0x7f; 4]].concat();
        let decoded = GroupRecord::decode(&bytes(CLASSIC_KEY), Some(&long));
        assert_eq!(decoded, Err(RecordError::OutOfRange), "a count is not believed");
    }
}
