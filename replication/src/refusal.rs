//! Why a command was refused: a closed reason for programs, and a sentence for people.
//!
//! The reasons are Kafka's, one to one, but their numbers are not known here.

use std::borrow::Cow;

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
    PolicyViolation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// Empty where Kafka says nothing: on the wire an empty string, or null where the API's answer has one.
    pub message: Cow<'static, str>,
}

impl Refusal {
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into() }
    }
}
