//! DescribeUserScramCredentials: there is no SASL, so no user has credentials.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;

use crate::handler::text;

/// Nobody, if everybody is asked for; of users that are named, each once, that they have none.
#[must_use]
pub fn describe(
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let mut counts: BTreeMap<StrBytes, usize> = BTreeMap::new();
    for user in request.users.unwrap_or_default() {
        *counts.entry(user.name).or_default() += 1;
    }
    let results = counts.into_iter().map(|(user, count)| {
        let (code, message) = if count == 1 {
            let message = format!("User {user} has no SCRAM credentials: there is no SASL here.");
            (ErrorCode::RESOURCE_NOT_FOUND, message)
        } else {
            (ErrorCode::DUPLICATE_RESOURCE, format!("User {user} is asked for {count} times."))
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(user)
            .with_error_code(code.get())
            .with_error_message(Some(text(message)))
    });
    DescribeUserScramCredentialsResponse::default()
        .with_error_message(None)
        .with_results(results.collect())
}
