//! Why a measure could not be taken, in words that say what to do about it.

use std::fmt;
use std::io;

#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// What was attempted, and what the system said.
    pub(crate) fn io(attempt: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        Self(format!("cannot {attempt}: {}", error.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
