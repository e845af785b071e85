//! UpdateFeatures: levels of features that all nodes of a cluster agree on. There is none yet, so each
//! is refused, as a feature that is unknown to a node.

use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use net::error_code::ErrorCode;

use crate::handler::text;

/// The whole request fails for the first of its features.
#[must_use]
pub fn update(request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let response = UpdateFeaturesResponse::default().with_error_message(None);
    let Some(first) = request.feature_updates.first() else { return response };
    let shown: String = first.feature.chars().take(NAME_CHARS_SHOWN).collect();
    let level = first.max_version_level;
    let message = format!("Nothing is updated: feature {shown} has no level {level} here.");
    response
        .with_error_code(ErrorCode::INVALID_UPDATE_VERSION.get())
        .with_error_message(Some(text(message)))
}

/// A stranger's name may be longer than an answer can carry.
const NAME_CHARS_SHOWN: usize = 100;
