//! The only member of a group, as a consumer is one: it joins, gives itself partitions or is given them,
//! commits, and leaves.
//!
//! It speaks plain Kafka, one request at a time, and sends no heartbeats: its session is longer than a
//! test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest,
    LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use net::api::ApiKey;
use net::client::{Envelope, decode_response, encode_request, split_response};

const WAIT_MAX: Duration = Duration::from_secs(60);
const SESSION_MS: i32 = 300_000;
const MEMBER_ID_REQUIRED: i16 = 79;
/// The coordinator loads, is not there yet, or is elsewhere.
const COME_AGAIN: [i16; 3] = [14, 15, 16];

pub(crate) struct Member {
    stream: TcpStream,
    group: GroupId,
    id: StrBytes,
    generation: i32,
}

impl Member {
    fn connect(address: &str, group: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a broker listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("it is a duration");
        Self { stream, group: GroupId(text(group)), id: StrBytes::default(), generation: -1 }
    }

    /// Joins, and gives itself these partitions of `topic`.
    pub(crate) fn join(address: &str, group: &str, topic: &str, partitions: &[i32]) -> Self {
        let mut member = Self::connect(address, group);
        member.find_coordinator();
        member.join_as_leader(topic);
        member.give_itself(topic, partitions);
        member
    }

    /// Joins a group of the consumer protocol, and takes the partitions of `topic` that it is given.
    pub(crate) fn join_assigned(address: &str, group: &str, topic: &str) -> Self {
        let mut member = Self::connect(address, group);
        member.find_coordinator();
        member.id = StrBytes::from_static_str("assigned-member");
        let joining = member
            .beat()
            .with_rebalance_timeout_ms(SESSION_MS)
            .with_subscribed_topic_names(Some(vec![TopicName(text(topic))]));
        let joining = joining.with_topic_partitions(Some(Vec::new()));
        let joined = member.ask(&joining, 1, |response| response.error_code);
        assert_eq!(joined.error_code, 0);
        member.generation = joined.member_epoch;
        let given = joined.assignment.expect("it is the only one").topic_partitions;
        let owned = given.iter().map(|it| {
            TopicPartitions::default()
                .with_topic_id(it.topic_id)
                .with_partitions(it.partitions.clone())
        });
        let taken = member.beat().with_topic_partitions(Some(owned.collect()));
        assert_eq!(member.ask(&taken, 1, |response| response.error_code).error_code, 0);
        member
    }

    fn beat(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_member_id(self.id.clone())
            .with_member_epoch(self.generation.max(0))
    }

    /// Makes the topic of offsets, and waits for its coordinators.
    fn find_coordinator(&mut self) {
        let request = FindCoordinatorRequest::default().with_key(self.group.0.clone());
        self.ask(&request, 3, |response| response.error_code);
    }

    fn join_as_leader(&mut self, topic: &str) {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(subscription(topic));
        loop {
            let request = JoinGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_session_timeout_ms(SESSION_MS)
                .with_rebalance_timeout_ms(SESSION_MS)
                .with_member_id(self.id.clone())
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(vec![protocol.clone()]);
            let response = self.ask(&request, 5, |response| response.error_code);
            self.id = response.member_id;
            if response.error_code == MEMBER_ID_REQUIRED {
                continue;
            }
            assert_eq!(response.error_code, 0);
            self.generation = response.generation_id;
            return;
        }
    }

    fn give_itself(&mut self, topic: &str, partitions: &[i32]) {
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(self.id.clone())
            .with_assignment(assignment(topic, partitions));
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(vec![assignment]);
        let response = self.ask(&request, 3, |response| response.error_code);
        assert_eq!(response.error_code, 0);
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn commit(&mut self, topic: &str, partition: i32, offset: i64) {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(StrBytes::default()));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let response = self.ask(&request, 9, |it| it.topics[0].partitions[0].error_code);
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }

    pub(crate) fn leave(mut self) {
        let identity = MemberIdentity::default().with_member_id(self.id.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_members(vec![identity]);
        let response = self.ask(&request, 3, |response| response.error_code);
        assert_eq!(response.error_code, 0);
    }

    /// Asks until the coordinator is there.
    fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        loop {
            let response = self.call(request, version);
            if !COME_AGAIN.contains(&code_of(&response)) {
                return response;
            }
        }
    }

    fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let api = ApiKey::from_code(R::KEY).expect("it is in the table");
        let client_id = StrBytes::from_static_str("reader");
        let envelope = Envelope { version, correlation_id: 7, client_id };
        let frame = encode_request(api, &envelope, request).expect("the version has these fields");
        self.stream.write_all(&frame).expect("the request is taken");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer comes");
        let length = usize::try_from(i32::from_be_bytes(length)).expect("it is a length");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).expect("the answer is whole");
        let (_, body) = split_response(api, version, &Bytes::from(frame)).expect("it is an answer");
        decode_response(api, version, &body).expect("it is what was asked for")
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Version 0, one topic, no user data.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes, topic);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Version 0, one topic, no user data.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_topic(&mut bytes, topic);
    bytes.put_i32(i32::try_from(partitions.len()).expect("there are few"));
    partitions.iter().for_each(|it| bytes.put_i32(*it));
    bytes.put_i32(-1);
    bytes.freeze()
}

/// An array of one element, or its first field.
fn put_topic(bytes: &mut BytesMut, topic: &str) {
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).expect("a name is short"));
    bytes.put_slice(topic.as_bytes());
}
