//! A connection's bytes, from the first one to a decoded request, and a broker's answers.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use net::api::APIS;
use net::client;
use net::codec::ELEMENTS_MAX;
use net::frame::Assembler;
use net::header::RequestHeader;
use net::request::Request;
use net::schema;

const FRAME_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    requests(data);
    one_request(&Bytes::copy_from_slice(data));
    responses(data);
});

/// As they arrive: the first byte says in how large parts.
fn requests(data: &[u8]) {
    let Some((part, stream)) = data.split_first() else { return };
    let mut assembler = Assembler::new(FRAME_BYTES_MAX);
    for mut received in stream.chunks(usize::from(*part).max(1)) {
        while let Ok(Some(announced)) = assembler.announce(&mut received) {
            assert!(announced <= FRAME_BYTES_MAX);
            let Some(frame) = assembler.take(&mut received) else { break };
            assert_eq!(frame.len(), announced);
            one_request(&frame);
        }
    }
}

fn one_request(frame: &Bytes) {
    if let Ok((header, body)) = RequestHeader::decode(frame) {
        drop(Request::decode(&header, &body));
    }
}

/// The first two bytes choose the API and its version.
fn responses(data: &[u8]) {
    let Some(([api, version], body)) = data.split_first_chunk() else { return };
    let api = APIS[usize::from(*api) % APIS.len()];
    let version = i16::from(*version % 32);
    if !api.key.speaks(version) {
        return;
    }
    let body = Bytes::copy_from_slice(body);
    drop(client::decode_produce(version, &body));
    drop(client::decode_fetch(version, &body));
    drop(client::split_response(api.key, version, &body));
    if let Some(schema) = schema::response::schema(api.key) {
        drop(schema::canonical(schema, version, api.key.layout(version), &body, ELEMENTS_MAX));
    }
}
