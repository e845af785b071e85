//! A legal topic name. Holding one is the proof that it is safe in a path, a metric and a log line.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Cheap to clone: the text is shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    Empty,
    /// `.` or `..`: a directory's own name.
    Dots,
    TooLong,
    IllegalCharacter,
}

impl TopicName {
    /// # Errors
    /// The first rule of Kafka's that `text` breaks.
    pub fn checked(text: &str) -> Result<Self, NameFault> {
        check(text).map(|()| Self(Arc::from(text)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether clients may not write to it (Kafka's three internal topics).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(
            self.as_str(),
            "__consumer_offsets" | "__transaction_state" | "__share_group_state"
        )
    }

    /// The name under which metrics would confuse it with another: `.` and `_` are one.
    /// `None` if it has neither, so that nothing can collide with it.
    #[must_use]
    pub fn collision_key(&self) -> Option<Arc<str>> {
        self.0.contains(['.', '_']).then(|| Arc::from(self.0.replace('.', "_")))
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl NameFault {
    /// A sentence that says what a legal name is.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Empty => "Topic name is invalid: the empty string is not allowed",
            Self::Dots => "Topic name is invalid: it cannot be \".\" or \"..\"",
            Self::TooLong => "Topic name is invalid: it is longer than 249 characters",
            Self::IllegalCharacter => {
                "Topic name is invalid: it contains a character other than ASCII letters and \
                 digits, '.', '_' and '-'"
            }
        }
    }
}

fn check(text: &str) -> Result<(), NameFault> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text {
        "" => Err(NameFault::Empty),
        "." | ".." => Err(NameFault::Dots),
        _ if text.len() > TOPIC_NAME_BYTES_MAX => Err(NameFault::TooLong),
        _ if !text.bytes().all(legal) => Err(NameFault::IllegalCharacter),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{NameFault, TopicName};

    #[track_caller]
    fn check(text: &str, want: Result<(), NameFault>) {
        assert_eq!(TopicName::checked(text).map(|name| assert_eq!(name.as_str(), text)), want);
    }

    #[test]
    fn names_are_legal_as_in_kafka() {
        check("a", Ok(()));
        check("A.b_c-9", Ok(()));
        check("...", Ok(()));
        check(&"x".repeat(249), Ok(()));
        check(&"x".repeat(250), Err(NameFault::TooLong));
        check("", Err(NameFault::Empty));
        check(".", Err(NameFault::Dots));
        check("..", Err(NameFault::Dots));
        check("a b", Err(NameFault::IllegalCharacter));
        check("a/b", Err(NameFault::IllegalCharacter));
        check("\u{e4}", Err(NameFault::IllegalCharacter));
        check("a\0", Err(NameFault::IllegalCharacter));
    }

    #[test]
    fn dots_and_underscores_collide() {
        let key = |text| TopicName::checked(text).expect("legal").collision_key();
        assert_eq!(key("x.y"), key("x_y"));
        assert_ne!(key("x.y"), key("x.z"));
        assert_eq!(key("xy"), None);
    }
}
