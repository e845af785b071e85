//! Kafka's error codes, as far as a broker of ours may answer them.
//!
//! Which failure of ours becomes which code is decided in `shard`, not here.

use std::fmt;

/// What an answer says about its request, or about a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorCode(i16);

impl ErrorCode {
    /// Something that the server did not expect. Clients do not retry.
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    pub const NONE: Self = Self(0);
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// A batch whose CRC or size is wrong.
    pub const CORRUPT_MESSAGE: Self = Self(2);
    /// Clients refresh their metadata and retry.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const NOT_LEADER_OR_FOLLOWER: Self = Self(6);
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    pub const REPLICA_NOT_AVAILABLE: Self = Self(9);
    /// Larger than the topic's `max.message.bytes`.
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    pub const OFFSET_METADATA_TOO_LARGE: Self = Self(12);
    pub const NETWORK_EXCEPTION: Self = Self(13);
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub const NOT_COORDINATOR: Self = Self(16);
    /// A name that no topic may have, or that of an internal topic.
    pub const INVALID_TOPIC_EXCEPTION: Self = Self(17);
    /// Larger than a segment.
    pub const RECORD_LIST_TOO_LARGE: Self = Self(18);
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: Self = Self(20);
    pub const INVALID_REQUIRED_ACKS: Self = Self(21);
    pub const ILLEGAL_GENERATION: Self = Self(22);
    pub const INCONSISTENT_GROUP_PROTOCOL: Self = Self(23);
    pub const INVALID_GROUP_ID: Self = Self(24);
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    pub const INVALID_SESSION_TIMEOUT: Self = Self(26);
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    pub const INVALID_COMMIT_OFFSET_SIZE: Self = Self(28);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_TIMESTAMP: Self = Self(32);
    /// The version of the request is not spoken.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub const INVALID_PARTITIONS: Self = Self(37);
    pub const INVALID_REPLICATION_FACTOR: Self = Self(38);
    pub const INVALID_REPLICA_ASSIGNMENT: Self = Self(39);
    pub const INVALID_CONFIG: Self = Self(40);
    pub const NOT_CONTROLLER: Self = Self(41);
    pub const INVALID_REQUEST: Self = Self(42);
    pub const UNSUPPORTED_FOR_MESSAGE_FORMAT: Self = Self(43);
    pub const POLICY_VIOLATION: Self = Self(44);
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub const INVALID_TXN_STATE: Self = Self(48);
    pub const INVALID_PRODUCER_ID_MAPPING: Self = Self(49);
    pub const INVALID_TRANSACTION_TIMEOUT: Self = Self(50);
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    pub const SECURITY_DISABLED: Self = Self(54);
    /// The log cannot be read or written: the partition is fenced.
    pub const KAFKA_STORAGE_ERROR: Self = Self(56);
    pub const LOG_DIR_NOT_FOUND: Self = Self(57);
    pub const UNKNOWN_PRODUCER_ID: Self = Self(59);
    pub const NON_EMPTY_GROUP: Self = Self(68);
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    pub const INVALID_FETCH_SESSION_EPOCH: Self = Self(71);
    pub const TOPIC_DELETION_DISABLED: Self = Self(73);
    pub const FENCED_LEADER_EPOCH: Self = Self(74);
    pub const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    pub const UNSUPPORTED_COMPRESSION_TYPE: Self = Self(76);
    pub const MEMBER_ID_REQUIRED: Self = Self(79);
    pub const GROUP_MAX_SIZE_REACHED: Self = Self(81);
    pub const FENCED_INSTANCE_ID: Self = Self(82);
    pub const ELECTION_NOT_NEEDED: Self = Self(84);
    pub const NO_REASSIGNMENT_IN_PROGRESS: Self = Self(85);
    pub const GROUP_SUBSCRIBED_TO_TOPIC: Self = Self(86);
    /// A batch that breaks a rule of its format or of its topic.
    pub const INVALID_RECORD: Self = Self(87);
    pub const THROTTLING_QUOTA_EXCEEDED: Self = Self(89);
    pub const PRODUCER_FENCED: Self = Self(90);
    pub const RESOURCE_NOT_FOUND: Self = Self(91);
    pub const DUPLICATE_RESOURCE: Self = Self(92);
    pub const INVALID_UPDATE_VERSION: Self = Self(95);
    pub const UNKNOWN_TOPIC_ID: Self = Self(100);
    /// The topic of that id has another name now, or the other way round.
    pub const INCONSISTENT_TOPIC_ID: Self = Self(103);
    /// Half of a fetch session speaks of names, half of ids.
    pub const FETCH_SESSION_TOPIC_ID_ERROR: Self = Self(106);
    pub const FENCED_MEMBER_EPOCH: Self = Self(110);
    pub const UNRELEASED_INSTANCE_ID: Self = Self(111);
    pub const UNSUPPORTED_ASSIGNOR: Self = Self(112);
    pub const STALE_MEMBER_EPOCH: Self = Self(113);
    pub const MISMATCHED_ENDPOINT_TYPE: Self = Self(114);
    pub const UNSUPPORTED_ENDPOINT_TYPE: Self = Self(115);
    pub const INVALID_REGULAR_EXPRESSION: Self = Self(128);

    /// A code that another broker answered.
    #[must_use]
    pub const fn new(code: i16) -> Self {
        Self(code)
    }

    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }

    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 != Self::NONE.0
    }

    /// Kafka's name of the code, for people; `None` for a code that we do not know.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

/// One row for each constant above.
const NAMES: [(ErrorCode, &str); 81] = [
    (ErrorCode::UNKNOWN_SERVER_ERROR, "UNKNOWN_SERVER_ERROR"),
    (ErrorCode::NONE, "NONE"),
    (ErrorCode::OFFSET_OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE"),
    (ErrorCode::CORRUPT_MESSAGE, "CORRUPT_MESSAGE"),
    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "UNKNOWN_TOPIC_OR_PARTITION"),
    (ErrorCode::LEADER_NOT_AVAILABLE, "LEADER_NOT_AVAILABLE"),
    (ErrorCode::NOT_LEADER_OR_FOLLOWER, "NOT_LEADER_OR_FOLLOWER"),
    (ErrorCode::REQUEST_TIMED_OUT, "REQUEST_TIMED_OUT"),
    (ErrorCode::REPLICA_NOT_AVAILABLE, "REPLICA_NOT_AVAILABLE"),
    (ErrorCode::MESSAGE_TOO_LARGE, "MESSAGE_TOO_LARGE"),
    (ErrorCode::OFFSET_METADATA_TOO_LARGE, "OFFSET_METADATA_TOO_LARGE"),
    (ErrorCode::NETWORK_EXCEPTION, "NETWORK_EXCEPTION"),
    (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, "COORDINATOR_LOAD_IN_PROGRESS"),
    (ErrorCode::COORDINATOR_NOT_AVAILABLE, "COORDINATOR_NOT_AVAILABLE"),
    (ErrorCode::NOT_COORDINATOR, "NOT_COORDINATOR"),
    (ErrorCode::INVALID_TOPIC_EXCEPTION, "INVALID_TOPIC_EXCEPTION"),
    (ErrorCode::RECORD_LIST_TOO_LARGE, "RECORD_LIST_TOO_LARGE"),
    (ErrorCode::NOT_ENOUGH_REPLICAS, "NOT_ENOUGH_REPLICAS"),
    (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (ErrorCode::INVALID_REQUIRED_ACKS, "INVALID_REQUIRED_ACKS"),
    (ErrorCode::ILLEGAL_GENERATION, "ILLEGAL_GENERATION"),
    (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "INCONSISTENT_GROUP_PROTOCOL"),
    (ErrorCode::INVALID_GROUP_ID, "INVALID_GROUP_ID"),
    (ErrorCode::UNKNOWN_MEMBER_ID, "UNKNOWN_MEMBER_ID"),
    (ErrorCode::INVALID_SESSION_TIMEOUT, "INVALID_SESSION_TIMEOUT"),
    (ErrorCode::REBALANCE_IN_PROGRESS, "REBALANCE_IN_PROGRESS"),
    (ErrorCode::INVALID_COMMIT_OFFSET_SIZE, "INVALID_COMMIT_OFFSET_SIZE"),
    (ErrorCode::TOPIC_AUTHORIZATION_FAILED, "TOPIC_AUTHORIZATION_FAILED"),
    (ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "CLUSTER_AUTHORIZATION_FAILED"),
    (ErrorCode::INVALID_TIMESTAMP, "INVALID_TIMESTAMP"),
    (ErrorCode::UNSUPPORTED_VERSION, "UNSUPPORTED_VERSION"),
    (ErrorCode::TOPIC_ALREADY_EXISTS, "TOPIC_ALREADY_EXISTS"),
    (ErrorCode::INVALID_PARTITIONS, "INVALID_PARTITIONS"),
    (ErrorCode::INVALID_REPLICATION_FACTOR, "INVALID_REPLICATION_FACTOR"),
    (ErrorCode::INVALID_REPLICA_ASSIGNMENT, "INVALID_REPLICA_ASSIGNMENT"),
    (ErrorCode::INVALID_CONFIG, "INVALID_CONFIG"),
    (ErrorCode::NOT_CONTROLLER, "NOT_CONTROLLER"),
    (ErrorCode::INVALID_REQUEST, "INVALID_REQUEST"),
    (ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT, "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    (ErrorCode::POLICY_VIOLATION, "POLICY_VIOLATION"),
    (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (ErrorCode::DUPLICATE_SEQUENCE_NUMBER, "DUPLICATE_SEQUENCE_NUMBER"),
    (ErrorCode::INVALID_PRODUCER_EPOCH, "INVALID_PRODUCER_EPOCH"),
    (ErrorCode::INVALID_TXN_STATE, "INVALID_TXN_STATE"),
    (ErrorCode::INVALID_PRODUCER_ID_MAPPING, "INVALID_PRODUCER_ID_MAPPING"),
    (ErrorCode::INVALID_TRANSACTION_TIMEOUT, "INVALID_TRANSACTION_TIMEOUT"),
    (ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (ErrorCode::SECURITY_DISABLED, "SECURITY_DISABLED"),
    (ErrorCode::KAFKA_STORAGE_ERROR, "KAFKA_STORAGE_ERROR"),
    (ErrorCode::LOG_DIR_NOT_FOUND, "LOG_DIR_NOT_FOUND"),
    (ErrorCode::UNKNOWN_PRODUCER_ID, "UNKNOWN_PRODUCER_ID"),
    (ErrorCode::NON_EMPTY_GROUP, "NON_EMPTY_GROUP"),
    (ErrorCode::GROUP_ID_NOT_FOUND, "GROUP_ID_NOT_FOUND"),
    (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, "FETCH_SESSION_ID_NOT_FOUND"),
    (ErrorCode::INVALID_FETCH_SESSION_EPOCH, "INVALID_FETCH_SESSION_EPOCH"),
    (ErrorCode::TOPIC_DELETION_DISABLED, "TOPIC_DELETION_DISABLED"),
    (ErrorCode::FENCED_LEADER_EPOCH, "FENCED_LEADER_EPOCH"),
    (ErrorCode::UNKNOWN_LEADER_EPOCH, "UNKNOWN_LEADER_EPOCH"),
    (ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "UNSUPPORTED_COMPRESSION_TYPE"),
    (ErrorCode::MEMBER_ID_REQUIRED, "MEMBER_ID_REQUIRED"),
    (ErrorCode::GROUP_MAX_SIZE_REACHED, "GROUP_MAX_SIZE_REACHED"),
    (ErrorCode::FENCED_INSTANCE_ID, "FENCED_INSTANCE_ID"),
    (ErrorCode::ELECTION_NOT_NEEDED, "ELECTION_NOT_NEEDED"),
    (ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "NO_REASSIGNMENT_IN_PROGRESS"),
    (ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC, "GROUP_SUBSCRIBED_TO_TOPIC"),
    (ErrorCode::INVALID_RECORD, "INVALID_RECORD"),
    (ErrorCode::THROTTLING_QUOTA_EXCEEDED, "THROTTLING_QUOTA_EXCEEDED"),
    (ErrorCode::PRODUCER_FENCED, "PRODUCER_FENCED"),
    (ErrorCode::RESOURCE_NOT_FOUND, "RESOURCE_NOT_FOUND"),
    (ErrorCode::DUPLICATE_RESOURCE, "DUPLICATE_RESOURCE"),
    (ErrorCode::INVALID_UPDATE_VERSION, "INVALID_UPDATE_VERSION"),
    (ErrorCode::UNKNOWN_TOPIC_ID, "UNKNOWN_TOPIC_ID"),
    (ErrorCode::INCONSISTENT_TOPIC_ID, "INCONSISTENT_TOPIC_ID"),
    (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, "FETCH_SESSION_TOPIC_ID_ERROR"),
    (ErrorCode::FENCED_MEMBER_EPOCH, "FENCED_MEMBER_EPOCH"),
    (ErrorCode::UNRELEASED_INSTANCE_ID, "UNRELEASED_INSTANCE_ID"),
    (ErrorCode::UNSUPPORTED_ASSIGNOR, "UNSUPPORTED_ASSIGNOR"),
    (ErrorCode::STALE_MEMBER_EPOCH, "STALE_MEMBER_EPOCH"),
    (ErrorCode::MISMATCHED_ENDPOINT_TYPE, "MISMATCHED_ENDPOINT_TYPE"),
    (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "UNSUPPORTED_ENDPOINT_TYPE"),
    (ErrorCode::INVALID_REGULAR_EXPRESSION, "INVALID_REGULAR_EXPRESSION"),
];

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;

    use super::{ErrorCode, NAMES};

    #[test]
    fn codes_and_names_agree_with_kafka() {
        for (code, name) in NAMES {
            if code == ErrorCode::NONE {
                continue;
            }
            let generated = ResponseError::try_from_code(code.get()).unwrap();
            let plain = name.replace('_', "").to_lowercase();
            assert_eq!(format!("{generated:?}").to_lowercase(), plain);
            assert_eq!(code.name(), Some(name));
        }
        assert_eq!(ErrorCode::new(999).name(), None);
    }
}
