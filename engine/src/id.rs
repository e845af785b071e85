//! The integers of a log, a type each, so that none is taken for another.
//!
//! Raw integers live only in codecs: they become these types as soon as they are read.

use std::fmt;

/// Index of a record in its partition, from 0. Kafka's wire type is an i64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    pub const ZERO: Self = Self(0);

    /// # Panics
    /// If `raw` is negative: strangers' integers are checked before they become offsets.
    #[must_use]
    pub const fn new(raw: i64) -> Self {
        assert!(raw >= 0, "an offset is never negative");
        Self(raw)
    }

    /// `None` for a negative integer.
    #[must_use]
    pub const fn checked(raw: i64) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }

    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self::new(self.0 + count)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Index of a byte in one segment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePos(u64);

impl FilePos {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Bytes from `earlier` to here.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        assert!(earlier.0 <= self.0);
        self.0 - earlier.0
    }
}

/// Milliseconds since 1970, as records carry them. May be negative: clients choose it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Kafka's "no timestamp".
    pub const NONE: Self = Self(-1);

    #[must_use]
    pub const fn new(raw: i64) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Counts the leaders of a partition (KIP-101). -1 is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    pub const NONE: Self = Self(-1);
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn new(raw: i32) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// Names an idempotent producer (KIP-98). Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(i64);

impl ProducerId {
    #[must_use]
    pub const fn checked(raw: i64) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }

    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Counts the incarnations of a producer. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(i16);

impl ProducerEpoch {
    #[must_use]
    pub const fn checked(raw: i16) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }

    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }
}

/// Number of a record among its producer's for one partition; wraps from `i32::MAX` to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn checked(raw: i32) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }

    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `count` records later, past the wrap if need be.
    #[must_use]
    pub fn plus(self, count: u32) -> Self {
        let sum = (i64::from(self.0) + i64::from(count)) % (i64::from(i32::MAX) + 1);
        Self(i32::try_from(sum).expect("the remainder is below 2^31"))
    }
}

/// A topic's incarnation (KIP-516): a topic deleted and created again has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

impl TopicId {
    pub const ZERO: Self = Self([0; 16]);

    #[must_use]
    pub const fn new(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    #[must_use]
    pub const fn get(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TopicId {
    /// 32 hexadecimal digits: safe in a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Index of a partition in its topic, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionIndex(u32);

impl PartitionIndex {
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// `None` for a negative integer.
    #[must_use]
    pub fn checked(raw: i32) -> Option<Self> {
        u32::try_from(raw).ok().map(Self)
    }

    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// As Kafka's wire carries it.
    #[must_use]
    pub fn wire(self) -> i32 {
        i32::try_from(self.0).expect("partition counts are limited far below 2^31")
    }
}

/// One partition of one incarnation of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    pub topic: TopicId,
    pub index: PartitionIndex,
}
