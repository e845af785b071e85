//! What a client of Kafka needs: requests as frames, responses from frames.
//!
//! Knows no connection and keeps no state: the caller sends the bytes, puts received ones together
//! with `frame::Assembler`, and matches correlation ids. It speaks to any broker, in the versions that
//! both know: `common_version`.

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsResponse, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::api::ApiKey;
use crate::codec::{DecodeError, ELEMENTS_MAX};
use crate::fetch::{FetchRequest, FetchResponse};
use crate::group_offsets::{self, TOPIC_IDS_FROM};
use crate::header::{self, RequestHeader};
use crate::outgoing::{Inexpressible, Outgoing, Piece};
use crate::produce::{ProduceRequest, ProduceResponse};
use crate::schema;

/// Who asks, in which version, and how the answer will be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: StrBytes,
}

/// A whole frame for any API with a generated struct, prefix included; OffsetCommit and OffsetFetch have
/// functions of their own for versions with topic ids.
///
/// `body` is the request of `api`, such as `kafka_protocol::messages::MetadataRequest`.
pub fn encode_request(
    api: ApiKey,
    envelope: &Envelope,
    body: &impl Encodable,
) -> Result<Bytes, Inexpressible> {
    let mut frame = begin(api, envelope);
    let version = api.generated_version(envelope.version);
    body.encode(frame.writer().buffer(), version).or(Err(Inexpressible))?;
    Ok(whole(frame))
}

#[must_use]
pub fn encode_produce(envelope: &Envelope, request: &ProduceRequest) -> Bytes {
    let mut frame = begin(ApiKey::Produce, envelope);
    request.encode(frame.writer(), envelope.version);
    whole(frame)
}

#[must_use]
pub fn encode_fetch(envelope: &Envelope, request: &FetchRequest) -> Bytes {
    let mut frame = begin(ApiKey::Fetch, envelope);
    request.encode(frame.writer(), envelope.version);
    whole(frame)
}

/// Of any version, also of those that name topics by id.
pub fn encode_offset_commit(
    envelope: &Envelope,
    request: &OffsetCommitRequest,
) -> Result<Bytes, Inexpressible> {
    if envelope.version < TOPIC_IDS_FROM {
        return encode_request(ApiKey::OffsetCommit, envelope, request);
    }
    let mut frame = begin(ApiKey::OffsetCommit, envelope);
    group_offsets::encode_commit(frame.writer(), request);
    Ok(whole(frame))
}

/// Of any version, also of those that name topics by id.
pub fn encode_offset_fetch(
    envelope: &Envelope,
    request: &OffsetFetchRequest,
) -> Result<Bytes, Inexpressible> {
    if envelope.version < TOPIC_IDS_FROM {
        return encode_request(ApiKey::OffsetFetch, envelope, request);
    }
    let mut frame = begin(ApiKey::OffsetFetch, envelope);
    group_offsets::encode_fetch(frame.writer(), request);
    Ok(whole(frame))
}

/// The correlation id of a received frame, and the body of the response.
pub fn split_response(
    api: ApiKey,
    version: i16,
    frame: &Bytes,
) -> Result<(i32, Bytes), DecodeError> {
    header::read_response(frame, api, version)
}

/// The body of a response of any API but Produce and Fetch, in a version that generated code knows.
pub fn decode_response<T: Decodable>(
    api: ApiKey,
    version: i16,
    body: &Bytes,
) -> Result<T, DecodeError> {
    let schema = schema::response::schema(api).ok_or(DecodeError::UnknownApi)?;
    let (mut sound, _) =
        schema::canonical(schema, version, api.layout(version), body, ELEMENTS_MAX)?;
    T::decode(&mut sound, api.generated_version(version)).or(Err(DecodeError::Truncated))
}

pub fn decode_produce(version: i16, body: &Bytes) -> Result<ProduceResponse, DecodeError> {
    ProduceResponse::decode(body, version)
}

pub fn decode_fetch(version: i16, body: &Bytes) -> Result<FetchResponse<Bytes>, DecodeError> {
    FetchResponse::decode(body, version)
}

/// The highest version of `api` that we and the broker speak.
#[must_use]
pub fn common_version(api: ApiKey, broker: &ApiVersionsResponse) -> Option<i16> {
    let theirs = broker.api_keys.iter().find(|theirs| theirs.api_key == api.code())?;
    let ours = api.api();
    let version = ours.last.min(theirs.max_version);
    (ours.working_first.max(theirs.min_version) <= version).then_some(version)
}

fn begin(api: ApiKey, envelope: &Envelope) -> Outgoing<Bytes> {
    Outgoing::request(&RequestHeader {
        api,
        version: envelope.version,
        correlation_id: envelope.correlation_id,
        client_id: Some(envelope.client_id.clone()),
    })
}

fn whole(frame: Outgoing<Bytes>) -> Bytes {
    let pieces = frame.finish().ok().filter(|it| it.len() == 1);
    let mut pieces = pieces.expect("a request holds its records, and its writer bounds them");
    match pieces.remove(0) {
        Piece::Bytes(bytes) => bytes,
        Piece::Records(records) => records.into_handle(),
    }
}
