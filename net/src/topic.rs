//! How a request points at a topic: by name, or by id in the versions that have ids.

use kafka_protocol::protocol::StrBytes;

use crate::codec::{DecodeError, Reader};
use crate::writer::Writer;

/// All of one message are of one kind. The name is any text: it may be no legal name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    Name(StrBytes),
    Id([u8; 16]),
}

/// Which kind a version of a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    Name,
    Id,
}

impl TopicKind {
    /// The kind in `version` of an API whose first version with topic ids is `ids_from`.
    #[must_use]
    pub const fn of(version: i16, ids_from: i16) -> Self {
        if version < ids_from { Self::Name } else { Self::Id }
    }
}

impl TopicRef {
    #[must_use]
    pub const fn kind(&self) -> TopicKind {
        match self {
            Self::Name(_) => TopicKind::Name,
            Self::Id(_) => TopicKind::Id,
        }
    }

    /// The same, with memory of its own: a reference that is kept must not keep its frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        match self {
            Self::Name(name) => Self::Name(StrBytes::from_string(name.as_str().to_owned())),
            Self::Id(id) => Self::Id(*id),
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>, kind: TopicKind) -> Result<Self, DecodeError> {
        match kind {
            TopicKind::Name => reader.string().map(Self::Name),
            TopicKind::Id => reader.uuid().map(Self::Id),
        }
    }

    /// # Panics
    /// If the message has references of the other kind.
    pub(crate) fn write(&self, writer: &mut Writer, kind: TopicKind) {
        assert!(self.kind() == kind, "the answer speaks of topics as the request does");
        match self {
            Self::Name(name) => writer.string(name),
            Self::Id(id) => writer.uuid(*id),
        }
    }
}
