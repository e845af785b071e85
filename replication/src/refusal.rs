//! Why a command was refused: a closed reason for programs, and a sentence for people.
//!
//! The reasons are Kafka's, one to one, but their numbers are not known here.

use std::borrow::Cow;

/// Far below what a string of Kafka's carries.
const MESSAGE_BYTES_MAX: usize = 1_000;
const ELLIPSIS: &str = "...";

/// What the caller maps to an error code. Named after Kafka's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    InvalidTopic,
    TopicExists,
    UnknownTopic,
    UnknownTopicId,
    /// `delete.topic.enable=false`. Versions before 3 of DeleteTopics call it an invalid request.
    TopicDeletionDisabled,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    InvalidRequest,
    UnsupportedVersion,
    PolicyViolation,
    /// The client may come again when it has waited.
    ThrottlingQuotaExceeded,
    ElectionNotNeeded,
    /// None to cancel.
    NoReassignment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Empty where Kafka says nothing: on the wire an empty string, or null where the API's answer
    /// has one.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A message that quotes a stranger's long text is cut, so that every answer can carry it.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        if message.len() <= MESSAGE_BYTES_MAX {
            return Self { reason, message };
        }
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX - ELLIPSIS.len());
        let cut = message.get(..end).unwrap_or_default();
        Self { reason, message: Cow::Owned(format!("{cut}{ELLIPSIS}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, Reason, Refusal};

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = |length| Refusal::new(Reason::InvalidTopic, "\u{e4}".repeat(length)).message;
        assert_eq!(message(MESSAGE_BYTES_MAX / 2).len(), MESSAGE_BYTES_MAX);
        assert!(!message(MESSAGE_BYTES_MAX / 2).ends_with("..."));
        let cut = message(MESSAGE_BYTES_MAX);
        assert!(cut.ends_with("\u{e4}...") && cut.len() <= MESSAGE_BYTES_MAX);
    }
}
