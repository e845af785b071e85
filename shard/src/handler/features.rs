//! UpdateFeatures: levels of features that all nodes of a cluster agree on. Each that is there has one
//! level, at which it stays.

use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use net::api_versions::{GROUP_FEATURE, GROUP_LEVEL};
use net::error_code::ErrorCode;

use crate::handler::text;

/// The whole request fails for the first of its features that cannot be what it is asked to be.
#[must_use]
pub fn update(request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let response = UpdateFeaturesResponse::default().with_error_message(None);
    let is_so = |name: &str, level: i16| name == GROUP_FEATURE && level == GROUP_LEVEL;
    let mut updates = request.feature_updates.iter();
    let Some(odd) = updates.find(|it| !is_so(&it.feature, it.max_version_level)) else {
        return response;
    };
    let shown: String = odd.feature.chars().take(NAME_CHARS_SHOWN).collect();
    let level = odd.max_version_level;
    let message = format!("Nothing is updated: feature {shown} has no level {level} here.");
    response
        .with_error_code(ErrorCode::INVALID_UPDATE_VERSION.get())
        .with_error_message(Some(text(message)))
}

/// A stranger's name may be longer than an answer can carry.
const NAME_CHARS_SHOWN: usize = 100;
