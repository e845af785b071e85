//! ApiVersions: what we speak, and to whom we say it.
//!
//! The answer follows from the request alone.

use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::api::{APIS, Api, ApiKey};
use crate::error_code::ErrorCode;

/// First version whose requests name the client's software.
const SOFTWARE_FROM: i16 = 3;

/// The feature, and its level from which on clients may use the consumer protocol (KIP-848).
pub const GROUP_FEATURE: &str = "group.version";
pub const GROUP_LEVEL: i16 = 1;

/// Everything that is spoken, or INVALID_REQUEST and nothing to a client with an odd name.
#[must_use]
pub fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if version >= SOFTWARE_FROM && !named {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.get());
    }
    ApiVersionsResponse::default()
        .with_api_keys(APIS.iter().map(advertised).collect())
        .with_supported_features(vec![
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(GROUP_FEATURE))
                .with_max_version(GROUP_LEVEL),
        ])
        .with_finalized_features_epoch(0)
        .with_finalized_features(vec![
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(GROUP_FEATURE))
                .with_min_version_level(GROUP_LEVEL)
                .with_max_version_level(GROUP_LEVEL),
        ])
}

/// The answer to a version that is not spoken: which versions of ApiVersions are.
#[must_use]
pub fn answer_unknown_version() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UNSUPPORTED_VERSION.get())
        .with_api_keys(vec![advertised(ApiKey::ApiVersions.api())])
}

fn advertised(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.code)
        .with_min_version(api.advertised_first)
        .with_max_version(api.last)
}

/// Letters and digits, with dashes and dots between them.
fn is_name(text: &str) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let bytes = text.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiVersionsRequest;
    use kafka_protocol::protocol::StrBytes;

    use super::{APIS, answer, answer_unknown_version};

    #[track_caller]
    fn check(name: &'static str, version: i16, want_error: i16, want_count: usize) {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let got = answer(&request, version);
        assert_eq!((got.error_code, got.api_keys.len()), (want_error, want_count));
    }

    #[test]
    fn odd_names_are_refused() {
        check("librdkafka", 3, 0, APIS.len());
        check("apache-kafka.java", 4, 0, APIS.len());
        check("a", 3, 0, APIS.len());
        for odd in ["", " ", "a b", "-a", "a-", "a.", "a\n", "\u{e9}"] {
            check(odd, 3, 42, 0);
            check(odd, 2, 0, APIS.len());
        }
    }

    #[test]
    fn an_unknown_version_is_told_which_to_use() {
        let got = answer_unknown_version();
        assert_eq!(got.error_code, 35);
        assert_eq!(got.api_keys.len(), 1);
        let key = &got.api_keys[0];
        assert_eq!((key.api_key, key.min_version, key.max_version), (18, 0, 4));
    }
}
