//! The answer to Metadata, versions 0 to 13, by hand: it may be many megabytes, so it is written straight into
//! the chunks that are sent, a slice at a time.
//!
//! Knows no cluster. The topics are written first, as what stands before them says how many there are.
//!
//! ```text
//! answer    throttle i32 (from 3) | brokers | cluster id (nullable, from 2) | controller i32 (from 1)
//!           | topics | operations i32 (8 to 10) | error i16 (from 13)
//!   broker    id i32 | host | port i32 | rack (nullable, from 1)
//!   topic     error i16 | name (nullable from 12) | id (from 10) | internal bool (from 1) | partitions
//!             | operations i32 (from 8)
//!   partition error i16 | index i32 | leader i32 | leader epoch i32 (from 7) | replicas [i32] | in sync [i32]
//!             | offline [i32] (from 5)
//! ```

use crate::api::ApiKey;
use crate::chunks::Chunks;
use crate::error_code::ErrorCode;
use crate::header::Reply;
use crate::outgoing::{Inexpressible, Outgoing, Piece};
use crate::writer::Writer;

const INTERNAL_FROM: i16 = 1;
const RACK_FROM: i16 = 1;
const CONTROLLER_FROM: i16 = 1;
const CLUSTER_ID_FROM: i16 = 2;
const THROTTLE_FROM: i16 = 3;
const OFFLINE_FROM: i16 = 5;
const LEADER_EPOCH_FROM: i16 = 7;
const TOPIC_OPERATIONS_FROM: i16 = 8;
const TOPIC_IDS_FROM: i16 = 10;
const NULL_NAMES_FROM: i16 = 12;
const ERROR_FROM: i16 = 13;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;

/// What an answer says besides its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub throttle_ms: i32,
    pub brokers: Vec<Broker<'a>>,
    pub cluster_id: Option<&'a str>,
    pub controller_id: i32,
    /// Of the whole answer; older versions have none.
    pub error: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker<'a> {
    pub id: i32,
    pub host: &'a str,
    pub port: i32,
    pub rack: Option<&'a str>,
}

/// A topic, without its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    pub error: ErrorCode,
    /// Older versions have an empty one for none.
    pub name: Option<&'a str>,
    /// Zeros for none.
    pub id: [u8; 16],
    pub is_internal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition<R> {
    pub index: i32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: R,
    pub in_sync: R,
}

/// The topics of an answer that is being written.
#[derive(Debug)]
pub struct Topics {
    reply: Reply,
    count: usize,
    chunks: Chunks,
}

impl Topics {
    /// # Panics
    /// If it answers a request of another API.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        assert!(reply.api == ApiKey::Metadata, "an answer is of the API that was asked");
        Self { reply, count: 0, chunks: Chunks::new(reply.api.layout(reply.version)) }
    }

    /// A topic begins: exactly so many partitions follow, and its end.
    pub fn begin(&mut self, topic: &Topic<'_>, partition_count: usize) {
        let (version, writer) = (self.reply.version, self.chunks.writer());
        self.count += 1;
        writer.i16(topic.error.get());
        if version >= NULL_NAMES_FROM {
            writer.nullable_string(topic.name);
        } else {
            writer.string(topic.name.unwrap_or_default());
        }
        if version >= TOPIC_IDS_FROM {
            writer.uuid(topic.id);
        }
        if version >= INTERNAL_FROM {
            writer.bool(topic.is_internal);
        }
        writer.count(partition_count);
    }

    pub fn partition<R: ExactSizeIterator<Item = i32>>(&mut self, partition: Partition<R>) {
        let (version, writer) = (self.reply.version, self.chunks.writer());
        writer.i16(ErrorCode::NONE.get());
        writer.i32(partition.index);
        writer.i32(partition.leader);
        if version >= LEADER_EPOCH_FROM {
            writer.i32(partition.leader_epoch);
        }
        for nodes in [partition.replicas, partition.in_sync] {
            writer.count(nodes.len());
            nodes.for_each(|node| writer.i32(node));
        }
        if version >= OFFLINE_FROM {
            writer.count(0);
        }
        writer.end_struct();
    }

    pub fn end(&mut self) {
        let writer = self.chunks.writer();
        if self.reply.version >= TOPIC_OPERATIONS_FROM {
            writer.i32(NO_OPERATIONS);
        }
        writer.end_struct();
    }

    pub const fn chunks(&mut self) -> &mut Chunks {
        &mut self.chunks
    }

    /// The frame to send.
    ///
    /// # Errors
    /// If it is more than a frame can carry: close the connection.
    pub fn answer<R>(self, head: &Head<'_>) -> Result<Vec<Piece<R>>, Inexpressible> {
        let version = self.reply.version;
        let mut frame = Outgoing::response(self.reply);
        write_head(frame.writer(), version, head);
        frame.writer().count(self.count);
        self.chunks.put_into(&mut frame);
        let writer = frame.writer();
        if (8..=10).contains(&version) {
            writer.i32(NO_OPERATIONS);
        }
        if version >= ERROR_FROM {
            writer.i16(head.error.get());
        }
        writer.end_struct();
        frame.finish()
    }
}

fn write_head(writer: &mut Writer, version: i16, head: &Head<'_>) {
    if version >= THROTTLE_FROM {
        writer.i32(head.throttle_ms);
    }
    writer.count(head.brokers.len());
    for broker in &head.brokers {
        writer.i32(broker.id);
        writer.string(broker.host);
        writer.i32(broker.port);
        if version >= RACK_FROM {
            writer.nullable_string(broker.rack);
        }
        writer.end_struct();
    }
    if version >= CLUSTER_ID_FROM {
        writer.nullable_string(head.cluster_id);
    }
    if version >= CONTROLLER_FROM {
        writer.i32(head.controller_id);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{BrokerId, MetadataResponse, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use uuid::Uuid;

    use super::{Broker, Head, Partition, Topic, Topics};
    use crate::api::ApiKey;
    use crate::error_code::ErrorCode;
    use crate::header::{Reply, read_response};
    use crate::outgoing::Piece;

    const HEAD: Head<'_> = Head {
        throttle_ms: 3,
        brokers: Vec::new(),
        cluster_id: Some("cluster"),
        controller_id: 7,
        error: ErrorCode::NONE,
    };

    const fn reply(version: i16) -> Reply {
        Reply { api: ApiKey::Metadata, version, correlation_id: 5 }
    }

    /// A topic with two partitions and one that is not there, in chunks where `cuts` says so.
    fn written(version: i16, cuts: bool) -> Vec<Piece<Bytes>> {
        let mut topics = Topics::new(reply(version));
        let id = [9; 16];
        let topic = Topic { error: ErrorCode::NONE, name: Some("t"), id, is_internal: true };
        topics.begin(&topic, 2);
        for index in 0..2 {
            let (replicas, in_sync) = ([7, 8].into_iter(), [7, 8].into_iter());
            topics.partition(Partition { index, leader: 7, leader_epoch: 4, replicas, in_sync });
            if cuts {
                topics.chunks().end_chunk();
            }
        }
        topics.end();
        let error = ErrorCode::UNKNOWN_TOPIC_ID;
        topics.begin(&Topic { error, name: None, id: [0; 16], is_internal: false }, 0);
        topics.end();
        let broker = Broker { id: 7, host: "h", port: 9, rack: Some("r") };
        topics.answer(&Head { brokers: vec![broker], ..HEAD }).unwrap()
    }

    /// The same as generated code writes it.
    fn generated(version: i16) -> Vec<u8> {
        let text = StrBytes::from_static_str;
        let nodes = || vec![BrokerId(7), BrokerId(8)];
        let partition = |index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(7))
                .with_leader_epoch(if version >= 7 { 4 } else { -1 })
                .with_replica_nodes(nodes())
                .with_isr_nodes(nodes())
        };
        let there = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("t"))))
            .with_topic_id(Uuid::from_bytes([9; 16]))
            .with_is_internal(version >= 1)
            .with_partitions(vec![partition(0), partition(1)]);
        let missing = MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.get())
            .with_name((version < 12).then(|| TopicName(text(""))));
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(7))
            .with_host(text("h"))
            .with_port(9)
            .with_rack(Some(text("r")));
        let body = MetadataResponse::default()
            .with_throttle_time_ms(3)
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text("cluster")))
            .with_controller_id(BrokerId(7))
            .with_topics(vec![there, missing]);
        let mut bytes = Vec::new();
        body.encode(&mut bytes, version).unwrap();
        bytes
    }

    fn bytes(pieces: Vec<Piece<Bytes>>) -> Bytes {
        let bytes = pieces.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Records(_) => panic!("topics are no records"),
        });
        Bytes::from(bytes.collect::<Vec<_>>().concat())
    }

    #[test]
    fn every_version_is_as_generated_code_writes_it_in_chunks_or_not() {
        for version in 0..=ApiKey::Metadata.api().last {
            for cuts in [false, true] {
                let frame = bytes(written(version, cuts));
                let size = i32::from_be_bytes(*frame.first_chunk().unwrap());
                assert_eq!(usize::try_from(size).unwrap(), frame.len() - 4);
                let (id, body) =
                    read_response(&frame.slice(4..), ApiKey::Metadata, version).unwrap();
                assert_eq!((id, &*body), (5, &*generated(version)), "version {version}");
            }
        }
    }
}
