//! A node of the cluster, as its clients see it: an id, addresses, perhaps a rack.

use std::fmt;
use std::sync::Arc;

/// Names a node. Kafka's broker id: never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(i32);

impl NodeId {
    /// `None` for a negative integer.
    #[must_use]
    pub const fn checked(raw: i32) -> Option<Self> {
        if raw >= 0 { Some(Self(raw)) } else { None }
    }

    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where clients of one listener reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// In upper case, as Kafka normalises it.
    pub listener: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: NodeId,
    pub rack: Option<Arc<str>>,
    pub endpoints: Vec<Endpoint>,
}

impl Broker {
    /// The address to advertise on `listener`.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|it| it.listener.as_ref() == listener)
    }
}
