//! Why a command ended early, and what the shell is told of it.

use std::fmt;
use std::io;

/// What went wrong, in words that say what to do about it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments make no sense together: exit code 2.
    Usage(String),
    /// It did not work: exit code 1.
    Failed(String),
    /// The topic is not there, and waiting will not bring it: exit code 1.
    TopicMissing(String),
    /// Nobody reads our output any more: exit quietly, as `head` wishes.
    OutputClosed,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// For errors of standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("cannot write to standard output: {error}"))
        }
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) | Self::TopicMissing(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::TopicMissing(message) => {
                f.write_str(message)
            }
            Self::OutputClosed => Ok(()),
        }
    }
}
