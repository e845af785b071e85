//! The headers of requests and responses. Bytes come from strangers, so nothing here can panic on
//! them.
//!
//! ```text
//! request   key i16 | version i16 | correlation id i32 | client id (nullable, plain) | tags (v2)
//! response  correlation id i32 | tags (v1)
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::api::ApiKey;
use crate::codec::{DecodeError, Layout, Reader};
use crate::writer::Writer;

/// Bytes of a client id that are kept; logs and metrics show it.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// What a request says before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: ApiKey,
    /// One that is spoken, except for ApiVersions, where any version is answered.
    pub version: i16,
    /// Chosen by the client: may repeat, may be negative.
    pub correlation_id: i32,
    /// Any text of at most `CLIENT_ID_BYTES_MAX` bytes: escape it before showing it.
    pub client_id: Option<StrBytes>,
}

impl RequestHeader {
    /// The header of a frame, and the body after it.
    pub fn decode(frame: &Bytes) -> Result<(Self, Bytes), DecodeError> {
        let mut reader = Reader::new(frame, Layout::Plain);
        let api = ApiKey::from_code(reader.i16()?)?;
        let version = reader.i16()?;
        if !api.speaks(version) && api != ApiKey::ApiVersions {
            return Err(DecodeError::UnknownVersion);
        }
        let correlation_id = reader.i32()?;
        let client_id = reader.string_slice()?.map(bounded);
        reader.set_layout(api.layout(version));
        reader.end_struct()?;
        let header = Self { api, version, correlation_id, client_id };
        Ok((header, reader.into_rest()))
    }

    /// How to answer: an unknown version of ApiVersions is answered in version 0.
    #[must_use]
    pub const fn reply(&self) -> Reply {
        let version = if self.api.speaks(self.version) { self.version } else { 0 };
        Reply { api: self.api, version, correlation_id: self.correlation_id }
    }
}

/// What the answer to a request needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
}

/// Writes the header of a request; the body follows in the layout that `writer` is left with.
pub fn write_request(writer: &mut Writer, header: &RequestHeader) {
    writer.set_layout(Layout::Plain);
    writer.i16(header.api.code());
    writer.i16(header.version);
    writer.i32(header.correlation_id);
    writer.nullable_string(header.client_id.as_deref());
    writer.set_layout(header.api.layout(header.version));
    writer.end_struct();
}

/// Writes the header of a response; the body follows in the layout that `writer` is left with.
pub fn write_response(writer: &mut Writer, reply: Reply) {
    writer.i32(reply.correlation_id);
    writer.set_layout(reply.api.response_header_layout(reply.version));
    writer.end_struct();
    writer.set_layout(reply.api.layout(reply.version));
}

/// The correlation id of a response, and the body after it.
pub fn read_response(
    frame: &Bytes,
    api: ApiKey,
    version: i16,
) -> Result<(i32, Bytes), DecodeError> {
    let mut reader = Reader::new(frame, api.response_header_layout(version));
    let correlation_id = reader.i32()?;
    reader.end_struct()?;
    Ok((correlation_id, reader.into_rest()))
}

/// A copy, so that a client id that is kept does not keep its frame.
fn bounded(raw: &[u8]) -> StrBytes {
    let kept = raw.get(..CLIENT_ID_BYTES_MAX).unwrap_or(raw);
    StrBytes::from_string(String::from_utf8_lossy(kept).into_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::protocol::StrBytes;

    use super::{
        CLIENT_ID_BYTES_MAX, Reply, RequestHeader, read_response, write_request, write_response,
    };
    use crate::api::{APIS, ApiKey};
    use crate::codec::{DecodeError, Layout};
    use crate::writer::Writer;

    type Parts = (ApiKey, i16, i32, Option<&'static str>, &'static [u8]);

    #[track_caller]
    fn check(input: &[u8], want: Result<Parts, DecodeError>) {
        let got = RequestHeader::decode(&Bytes::copy_from_slice(input));
        let want = want.map(|(api, version, correlation_id, client_id, body)| {
            let client_id = client_id.map(StrBytes::from_static_str);
            let header = RequestHeader { api, version, correlation_id, client_id };
            (header, Bytes::copy_from_slice(body))
        });
        assert_eq!(got, want);
    }

    #[test]
    fn plain_and_flexible() {
        let metadata = (ApiKey::Metadata, 1, 7, Some("hi"), &b"body"[..]);
        check(b"\0\x03\0\x01\0\0\0\x07\0\x02hibody", Ok(metadata));
        let flexible = (ApiKey::Metadata, 12, -1, None, &b"body"[..]);
        check(b"\0\x03\0\x0c\xff\xff\xff\xff\xff\xff\x01\x09\x01xbody", Ok(flexible));
        check(b"\0\x03\0\x0c\xff\xff\xff\xff\xff\xfe\0", Ok((ApiKey::Metadata, 12, -1, None, b"")));
    }

    #[test]
    fn what_we_do_not_speak() {
        check(b"\0\x04\0\0\0\0\0\0\xff\xff", Err(DecodeError::UnknownApi));
        check(b"\0\x03\0\x0e\0\0\0\0\xff\xff\0", Err(DecodeError::UnknownVersion));
        check(b"\0\0\0\x02\0\0\0\0\xff\xff", Err(DecodeError::UnknownVersion));
        check(b"\0\x12\0\x63\0\0\0\0\xff\xff\0", Ok((ApiKey::ApiVersions, 99, 0, None, b"")));
        check(b"\0\x12\xff\xff\0\0\0\0\xff\xff", Ok((ApiKey::ApiVersions, -1, 0, None, b"")));
    }

    #[test]
    fn every_prefix_is_truncated() {
        let whole = b"\0\x03\0\x0c\0\0\0\x07\0\x02hi\x01\x09\x01x";
        for end in 0..whole.len() {
            check(&whole[..end], Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn a_long_client_id_is_kept_in_part() {
        let mut frame = b"\0\x03\0\x01\0\0\0\x07\x7f\xff".to_vec();
        frame.resize(frame.len() + 32_767, b'a');
        let (header, body) = RequestHeader::decode(&Bytes::from(frame)).unwrap();
        assert_eq!(header.client_id.unwrap().len(), CLIENT_ID_BYTES_MAX);
        assert!(body.is_empty());
    }

    #[test]
    fn headers_come_back_as_written() {
        for api in APIS {
            for version in api.working_first..=api.last {
                let header = RequestHeader {
                    api: api.key,
                    version,
                    correlation_id: 9,
                    client_id: Some(StrBytes::from_static_str("me")),
                };
                let mut writer = Writer::new(Layout::Plain);
                write_request(&mut writer, &header);
                writer.raw(b"body");
                let frame = Bytes::from(writer.into_bytes());
                assert_eq!(
                    RequestHeader::decode(&frame),
                    Ok((header, Bytes::from_static(b"body")))
                );

                let mut writer = Writer::new(Layout::Plain);
                write_response(&mut writer, Reply { api: api.key, version, correlation_id: -9 });
                writer.raw(b"body");
                let frame = Bytes::from(writer.into_bytes());
                let want = Ok((-9, Bytes::from_static(b"body")));
                assert_eq!(read_response(&frame, api.key, version), want);
            }
        }
    }
}
