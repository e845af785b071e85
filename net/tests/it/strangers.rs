//! Bytes from strangers: never a panic, never memory for what was only announced.

use bytes::Bytes;
use net::api::ApiKey;
use net::codec::DecodeError;
use net::header::{Reply, RequestHeader};
use net::outgoing::{Outgoing, Piece};
use net::request::Request;
use net::schema;
use net::writer::Writer;
use proptest::prelude::{any, prop_assert, proptest};

use crate::message::{Random, all_versions, message};
use crate::oracle::{fetch_request, fetch_response, produce_request, produce_response};
use crate::schemas::{header, response};

/// What decoding may allocate for each byte that is there: structs are larger than their bytes.
const AMPLIFICATION_MAX: u64 = 256;

fn request_body(api: ApiKey, version: i16, random: &mut Random) -> Bytes {
    let mut writer = Writer::new(api.layout(version));
    match schema::request::schema(api) {
        Some(schema) => {
            return Bytes::from(message(schema, version, api.layout(version), random).noisy);
        }
        None if api == ApiKey::Produce => produce_request(version).encode(&mut writer, version),
        None => fetch_request(version).encode(&mut writer, version),
    }
    Bytes::from(writer.into_bytes())
}

fn response_body(api: ApiKey, version: i16, random: &mut Random) -> Bytes {
    let mut writer = Writer::new(api.layout(version));
    match schema::response::schema(api) {
        Some(schema) => {
            return Bytes::from(message(schema, version, api.layout(version), random).noisy);
        }
        None if api == ApiKey::Produce => produce_response(version).encode(&mut writer, version),
        None => {
            let mut frame = Outgoing::response(Reply { api, version, correlation_id: 0 });
            fetch_response(version).encode(&mut frame, version);
            let header_bytes = if version < 12 { 8 } else { 9 };
            let pieces = frame.finish().expect("it is small");
            let bytes = pieces.iter().flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Records(records) => records.handle(),
            });
            return bytes.skip(header_bytes).copied().collect();
        }
    }
    Bytes::from(writer.into_bytes())
}

#[test]
fn every_prefix_of_every_request_is_truncated() {
    for (api, version) in all_versions() {
        for seed in 0..8 {
            let body = request_body(api, version, &mut Random(seed));
            assert!(Request::decode(&header(api, version), &body).is_ok(), "{api:?} {version}");
            for end in 0..body.len() {
                let got = Request::decode(&header(api, version), &body.slice(..end));
                assert_eq!(got, Err(DecodeError::Truncated), "{api:?} {version}");
            }
        }
    }
}

#[test]
fn every_prefix_of_every_response_is_truncated() {
    for (api, version) in all_versions() {
        for seed in 0..8 {
            let body = response_body(api, version, &mut Random(seed));
            assert!(response(api, version, &body).is_ok(), "{api:?} {version}");
            for end in 0..body.len() {
                let got = response(api, version, &body.slice(..end));
                assert_eq!(got, Err(DecodeError::Truncated), "{api:?} {version}");
            }
        }
    }
}

/// Every four bytes in turn become the largest length there is.
#[test]
fn announced_lengths_allocate_nothing() {
    for (api, version) in all_versions() {
        let body = request_body(api, version, &mut Random(1));
        for start in 0..body.len() {
            for lie in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x07]] {
                let mut raw = body.to_vec();
                let end = (start + lie.len()).min(raw.len());
                raw[start..end].copy_from_slice(&lie[..end - start]);
                let raw = Bytes::from(raw);
                let byte_count = u64::try_from(raw.len()).unwrap();
                let used = allocation_counter::measure(|| {
                    let got = Request::decode(&header(api, version), &raw);
                    drop(got);
                });
                assert!(used.bytes_total <= 2048 + byte_count * AMPLIFICATION_MAX, "{used:?}");
            }
        }
    }
}

/// 100 MiB of announced topics in a frame of a few bytes, for each way to announce them.
#[test]
fn an_announced_array_is_refused() {
    let plain = Bytes::from_static(b"\x7f\xff\xff\xffaaaaaaaa");
    let flexible = Bytes::from_static(b"\xff\xff\xff\xff\x07aaaaaaaa");
    for (body, version) in [(plain, 1), (flexible, 12)] {
        let got = Request::decode(&header(ApiKey::Metadata, version), &body);
        assert_eq!(got, Err(DecodeError::Truncated));
    }
}

#[test]
fn a_request_of_a_million_topics_is_refused() {
    let mut writer = Writer::new(ApiKey::Metadata.layout(1));
    writer.count(1_000_000);
    (0..1_000_000).for_each(|_| writer.string(""));
    let body = Bytes::from(writer.into_bytes());
    let got = Request::decode(&header(ApiKey::Metadata, 1), &body);
    assert_eq!(got, Err(DecodeError::TooManyElements));
}

#[test]
fn null_is_refused_where_there_is_none() {
    let body = Bytes::from_static(b"\xff\xff\xff\xff\0\0\0\0\0");
    let got = Request::decode(&header(ApiKey::CreateTopics, 2), &body);
    assert_eq!(got, Err(DecodeError::UnexpectedNull));
    let got = Request::decode(&header(ApiKey::Metadata, 0), &body);
    assert_eq!(got, Err(DecodeError::UnexpectedNull));
    assert!(Request::decode(&header(ApiKey::Metadata, 1), &body).is_ok());
}

#[test]
fn versions_of_api_versions_that_are_not_spoken_are_answered() {
    for version in [-1, 5, 99] {
        let header = header(ApiKey::ApiVersions, version);
        let got = Request::decode(&header, &Bytes::from_static(b"anything"));
        assert_eq!(got, Ok(Request::UnknownApiVersions));
        assert_eq!(header.reply().version, 0);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        raw in proptest::collection::vec(any::<u8>(), 0..400),
        seed in any::<u64>(),
    ) {
        let raw = Bytes::from(raw);
        if let Ok((header, body)) = RequestHeader::decode(&raw) {
            prop_assert!(body.len() < raw.len());
            drop(Request::decode(&header, &body));
        }
        for (api, version) in all_versions() {
            drop(Request::decode(&header(api, version), &raw));
            drop(response(api, version, &raw));
        }
        // The same, behind the beginning of a sound message.
        let mut random = Random(seed);
        for (api, version) in all_versions() {
            let body = request_body(api, version, &mut random);
            let kept = random.below(body.len() + 1);
            let mixed = Bytes::from([&body[..kept], &raw[..]].concat());
            drop(Request::decode(&header(api, version), &mixed));
        }
    }
}
