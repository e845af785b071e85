//! Every bound of the cluster's metadata, in one place. Kafka's where Kafka has one.

/// Longest topic name (Kafka's: a file name of 255 bytes, less a suffix).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions that one request may ask for (Kafka's limit of a metadata batch).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Partitions of one topic: what a thousand requests might add is still refused.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 100_000;

/// Partitions of the whole cluster.
pub const PARTITIONS_MAX: usize = 200_000;

/// Replicas of one partition.
pub const REPLICAS_MAX: usize = 16;

/// Longest value of one config.
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;

/// Longest name of a config, also of one that nobody knows.
pub const CONFIG_NAME_BYTES_MAX: usize = 255;

/// Configs of one resource.
pub const CONFIGS_MAX: usize = 1_000;

/// All keys and values of one resource together.
pub const CONFIGS_BYTES_MAX: usize = 256 << 10;

/// What a config takes in memory beside its letters: two texts and their place in a map.
pub const CONFIG_OVERHEAD_BYTES: usize = 96;

/// All configs of all topics, groups and brokers, with the overhead of each: ten of them on each of as many
/// topics as a cluster can have. Without it, 32 KiB twice on each of those would be 13 GB of memory.
pub const CONFIGS_BYTES_TOTAL_MAX: usize = 256 << 20;

/// Entities that have quotas of their own.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Longest name of a user or client with a quota of its own.
pub const QUOTA_NAME_BYTES_MAX: usize = 1_024;

/// Groups that have configs of their own.
pub const GROUPS_CONFIGURED_MAX: usize = 10_000;

/// Longest name of a group with configs of its own.
pub const GROUP_NAME_BYTES_MAX: usize = 1_024;

/// The largest event: one record of the metadata log.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Endpoints of one broker.
pub const ENDPOINTS_MAX: usize = 64;

/// Longest host name, listener name or rack.
pub const HOST_BYTES_MAX: usize = 255;

/// Producer ids handed out by one event (Kafka's block).
pub const PRODUCER_IDS_PER_BLOCK: i64 = 1_000;

/// Cores that partitions can be placed over.
pub const CORES_MAX: u16 = 1_024;

/// Topics that one member of a group may name: it can hardly read more.
pub const SUBSCRIBED_NAMES_MAX: usize = 10_000;

/// All topic names of one member together, so that a member's record is a small one.
pub const SUBSCRIBED_BYTES_MAX: usize = 512 << 10;

/// Longest regular expression of a subscription: those that people write are below a tenth of it.
pub const REGEX_BYTES_MAX: usize = 4 << 10;

/// What a regular expression may become in memory, while it is looked for.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Different regular expressions of one group: each is matched against every topic when topics change.
pub const REGEXES_PER_GROUP_MAX: usize = 64;

/// Steps of the search for a better balance, in one assignment: about a tenth of a second. What is found by
/// then is handed out.
pub const BALANCE_STEPS_MAX: u64 = 10_000_000;

const _: () = {
    assert!(PARTITIONS_PER_REQUEST_MAX <= PARTITIONS_PER_TOPIC_MAX);
    assert!(PARTITIONS_PER_TOPIC_MAX <= PARTITIONS_MAX);
    assert!(CONFIGS_BYTES_MAX + CONFIGS_MAX * CONFIG_OVERHEAD_BYTES < CONFIGS_BYTES_TOTAL_MAX);
    assert!(CONFIG_VALUE_BYTES_MAX <= 0xffff, "a text's length is written in 16 bits");
    assert!(TOPIC_NAME_BYTES_MAX <= 0xffff);
    assert!(QUOTA_NAME_BYTES_MAX <= 0xffff && GROUP_NAME_BYTES_MAX <= 0xffff);
    assert!(
        PARTITIONS_PER_REQUEST_MAX * (4 + 4 * REPLICAS_MAX)
            + CONFIGS_BYTES_MAX
            + 8 * CONFIGS_MAX
            + 1_024
            <= EVENT_BYTES_MAX,
        "a topic with all its partitions and configs is one event"
    );
};
