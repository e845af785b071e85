//! Produce and Fetch, written by hand, judged by the code that is generated from Kafka's definitions.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request as fetch_in;
use kafka_protocol::messages::fetch_response as fetch_out;
use kafka_protocol::messages::produce_request as produce_in;
use kafka_protocol::messages::produce_response as produce_out;
use kafka_protocol::messages::{BrokerId, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use net::api::ApiKey;
use net::client;
use net::error_code::ErrorCode;
use net::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition,
    FetchedTopic, ForgottenTopic,
};
use net::header::Reply;
use net::outgoing::{Outgoing, Piece, Records};
use net::produce::{
    ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
    ProducedTopic, RecordError,
};
use net::topic::TopicRef;
use net::writer::Writer;
use uuid::Uuid;

const ID: [u8; 16] = [7; 16];

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic(version: i16) -> TopicRef {
    if version < 13 { TopicRef::Name(text("orders")) } else { TopicRef::Id(ID) }
}

fn name(version: i16) -> TopicName {
    if version < 13 { TopicName(text("orders")) } else { TopicName::default() }
}

fn id(version: i16) -> Uuid {
    if version < 13 { Uuid::nil() } else { Uuid::from_bytes(ID) }
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("every field is in the version");
    bytes.freeze()
}

pub(crate) fn produce_request(version: i16) -> ProduceRequest {
    ProduceRequest {
        transactional_id: Some(text("transfer")),
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic {
            topic: topic(version),
            partitions: vec![
                ProducePartition { index: 3, records: Some(Bytes::from_static(b"records")) },
                ProducePartition { index: 4, records: None },
            ],
        }],
    }
}

fn generated_produce_request(version: i16) -> produce_in::ProduceRequest {
    let partition = |index, records: Option<&'static [u8]>| {
        produce_in::PartitionProduceData::default()
            .with_index(index)
            .with_records(records.map(Bytes::from_static))
    };
    let topic = produce_in::TopicProduceData::default()
        .with_name(name(version))
        .with_topic_id(id(version))
        .with_partition_data(vec![partition(3, Some(b"records")), partition(4, None)]);
    produce_in::ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text("transfer"))))
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn produce_response(version: i16) -> ProduceResponse {
    let mut refused = ProducedPartition::refused(4, ErrorCode::INVALID_RECORD);
    if version >= 5 {
        refused.log_start_offset = 5;
    }
    if version >= 8 {
        refused.record_errors = vec![
            RecordError { record_index: 1, message: Some(text("no key")) },
            RecordError { record_index: 2, message: None },
        ];
        refused.error_message = Some(text("compacted"));
    }
    let stored =
        ProducedPartition { base_offset: 99, ..ProducedPartition::refused(3, ErrorCode::NONE) };
    ProduceResponse {
        topics: vec![ProducedTopic { topic: topic(version), partitions: vec![stored, refused] }],
        throttle_ms: 11,
    }
}

fn generated_produce_response(version: i16) -> produce_out::ProduceResponse {
    let stored = produce_out::PartitionProduceResponse::default()
        .with_index(3)
        .with_base_offset(99)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1);
    let mut refused = produce_out::PartitionProduceResponse::default()
        .with_index(4)
        .with_error_code(87)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(5);
    if version >= 8 {
        refused = refused.with_error_message(Some(text("compacted"))).with_record_errors(vec![
            produce_out::BatchIndexAndErrorMessage::default()
                .with_batch_index(1)
                .with_batch_index_error_message(Some(text("no key"))),
            produce_out::BatchIndexAndErrorMessage::default().with_batch_index(2),
        ]);
    }
    let topic = produce_out::TopicProduceResponse::default()
        .with_name(name(version))
        .with_topic_id(id(version))
        .with_partition_responses(vec![stored, refused]);
    produce_out::ProduceResponse::default().with_responses(vec![topic]).with_throttle_time_ms(11)
}

pub(crate) fn fetch_request(version: i16) -> FetchRequest {
    let since = |first: i16, value: i32| if version >= first { value } else { -1 };
    let sessions = version >= 7;
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 1,
        session_id: if sessions { 77 } else { 0 },
        session_epoch: since(7, 5),
        topics: vec![FetchTopic {
            topic: topic(version),
            partitions: vec![FetchPartition {
                index: 3,
                current_leader_epoch: since(9, 8),
                fetch_offset: 1 << 40,
                last_fetched_epoch: since(12, 7),
                log_start_offset: i64::from(since(5, 1)),
                max_bytes: 1 << 16,
            }],
        }],
        forgotten: if sessions {
            vec![ForgottenTopic { topic: topic(version), partitions: vec![1, 2] }]
        } else {
            Vec::new()
        },
        rack_id: if version >= 11 { text("rack") } else { StrBytes::new() },
    }
}

fn generated_fetch_request(version: i16) -> fetch_in::FetchRequest {
    let mut partition = fetch_in::FetchPartition::default()
        .with_partition(3)
        .with_current_leader_epoch(8)
        .with_fetch_offset(1 << 40)
        .with_log_start_offset(1)
        .with_partition_max_bytes(1 << 16);
    if version >= 12 {
        partition = partition.with_last_fetched_epoch(7);
    }
    let topic = fetch_in::FetchTopic::default()
        .with_topic(name(version))
        .with_topic_id(id(version))
        .with_partitions(vec![partition]);
    let mut request = fetch_in::FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_isolation_level(1)
        .with_rack_id(text("rack"))
        .with_topics(vec![topic]);
    if version >= 7 {
        let forgotten = fetch_in::ForgottenTopic::default()
            .with_topic(name(version))
            .with_topic_id(id(version))
            .with_partitions(vec![1, 2]);
        request = request
            .with_session_id(77)
            .with_session_epoch(5)
            .with_forgotten_topics_data(vec![forgotten]);
    }
    request
}

pub(crate) fn fetch_response(version: i16) -> FetchResponse<Bytes> {
    let read = FetchedPartition {
        index: 3,
        error: ErrorCode::NONE,
        high_watermark: 10,
        last_stable_offset: 9,
        log_start_offset: if version >= 5 { 2 } else { -1 },
        aborted: Some(vec![AbortedTransaction { producer_id: 4, first_offset: 5 }]),
        preferred_replica: -1,
        records: Some(Records::from_bytes(Bytes::from_static(b"records"))),
    };
    let refused = FetchedPartition::refused(4, ErrorCode::OFFSET_OUT_OF_RANGE);
    let (error, session_id) =
        if version >= 7 { (ErrorCode::INVALID_REQUEST, 6) } else { (ErrorCode::NONE, 0) };
    FetchResponse {
        throttle_ms: 11,
        error,
        session_id,
        topics: vec![FetchedTopic { topic: topic(version), partitions: vec![read, refused] }],
    }
}

fn generated_fetch_response(version: i16) -> fetch_out::FetchResponse {
    let aborted = fetch_out::AbortedTransaction::default()
        .with_producer_id(ProducerId(4))
        .with_first_offset(5);
    let read = fetch_out::PartitionData::default()
        .with_partition_index(3)
        .with_high_watermark(10)
        .with_last_stable_offset(9)
        .with_log_start_offset(2)
        .with_aborted_transactions(Some(vec![aborted]))
        .with_records(Some(Bytes::from_static(b"records")));
    let refused = fetch_out::PartitionData::default()
        .with_partition_index(4)
        .with_error_code(1)
        .with_high_watermark(-1)
        .with_aborted_transactions(None);
    let topic = fetch_out::FetchableTopicResponse::default()
        .with_topic(name(version))
        .with_topic_id(id(version))
        .with_partitions(vec![read, refused]);
    let mut response =
        fetch_out::FetchResponse::default().with_throttle_time_ms(11).with_responses(vec![topic]);
    if version >= 7 {
        response = response.with_error_code(42).with_session_id(6);
    }
    response
}

#[test]
fn produce_requests_agree_in_every_version() {
    for version in 3..=13 {
        let want = encoded(&generated_produce_request(version), version);
        assert_eq!(ProduceRequest::decode(&want, version), Ok(produce_request(version)));
        let mut writer = Writer::new(ApiKey::Produce.layout(version));
        produce_request(version).encode(&mut writer, version);
        assert_eq!(writer.into_bytes(), want, "version {version}");
    }
}

#[test]
fn produce_responses_agree_in_every_version() {
    for version in 3..=13 {
        let want = encoded(&generated_produce_response(version), version);
        let mut writer = Writer::new(ApiKey::Produce.layout(version));
        produce_response(version).encode(&mut writer, version);
        assert_eq!(writer.into_bytes(), want, "version {version}");
        assert_eq!(client::decode_produce(version, &want), Ok(produce_response(version)));
    }
}

#[test]
fn fetch_requests_agree_in_every_version() {
    for version in 4..=18 {
        let want = encoded(&generated_fetch_request(version), version);
        assert_eq!(FetchRequest::decode(&want, version), Ok(fetch_request(version)));
        let mut writer = Writer::new(ApiKey::Fetch.layout(version));
        fetch_request(version).encode(&mut writer, version);
        assert_eq!(writer.into_bytes(), want, "version {version}");
    }
}

#[test]
fn a_replica_names_itself_in_every_version() {
    for version in 4..=18 {
        let mut request = generated_fetch_request(version);
        if version < 15 {
            request.replica_id = BrokerId(5);
        } else {
            let state = fetch_in::ReplicaState::default();
            request.replica_state = state.with_replica_id(BrokerId(5)).with_replica_epoch(1);
            request.cluster_id = Some(text("cluster"));
        }
        let got = FetchRequest::decode(&encoded(&request, version), version).unwrap();
        assert_eq!(got, FetchRequest { replica_id: 5, ..fetch_request(version) });
    }
}

#[test]
fn fetch_responses_agree_in_every_version() {
    for version in 4..=18 {
        let want = encoded(&generated_fetch_response(version), version);
        assert_eq!(client::decode_fetch(version, &want), Ok(fetch_response(version)));

        let reply = Reply { api: ApiKey::Fetch, version, correlation_id: 1 };
        let mut frame = Outgoing::response(reply);
        fetch_response(version).encode(&mut frame, version);
        let pieces = frame.finish().expect("it is small");
        let handle = Piece::Records(Records::from_bytes(Bytes::from_static(b"records")));
        assert!(pieces.contains(&handle), "records are not copied");
        let sent: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Records(records) => records.handle(),
            })
            .copied()
            .collect();
        let sent = Bytes::from(sent);
        assert_eq!(sent[..4], u32::try_from(sent.len() - 4).unwrap().to_be_bytes());
        let (_, body) = client::split_response(ApiKey::Fetch, version, &sent.slice(4..)).unwrap();
        assert_eq!(body, want, "version {version}");
    }
}

#[test]
fn record_bytes_are_slices_of_the_frame() {
    let frame = encoded(&generated_produce_request(9), 9);
    let request = ProduceRequest::decode(&frame, 9).unwrap();
    let records = request.topics[0].partitions[0].records.as_ref().unwrap();
    assert!(frame.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn generated_code_reads_what_we_write() {
    let mut writer = Writer::new(ApiKey::Produce.layout(13));
    produce_request(13).encode(&mut writer, 13);
    let got = produce_in::ProduceRequest::decode(&mut Bytes::from(writer.into_bytes()), 13);
    assert_eq!(got.unwrap(), generated_produce_request(13));
}
