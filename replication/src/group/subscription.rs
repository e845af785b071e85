//! Which topics a member wants: by their names, by a regular expression, or both.
//!
//! Expressions are RE2's, matched in linear time whatever they are, and against whole names (KIP-848).
//! Topic names are ASCII, so that it makes no difference that RE2's classes are ASCII and ours Unicode.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::id::TopicId;
use regex::{Regex, RegexBuilder};

use crate::image::Image;
use crate::limits::{REGEX_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX};

/// What one member wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    pub names: BTreeSet<Arc<str>>,
    /// Never empty.
    pub regex: Option<Arc<str>>,
}

/// An expression that is sound.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// `None` if it is no expression of RE2's, or needs too much memory.
    pub(crate) fn checked(text: &str) -> Option<Self> {
        if text.len() > REGEX_BYTES_MAX {
            return None;
        }
        let text = unquoted(text);
        let build = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.octal(true).size_limit(REGEX_PROGRAM_BYTES_MAX);
            builder.dfa_size_limit(REGEX_PROGRAM_BYTES_MAX).build()
        };
        // Alone first: a stray parenthesis must not close ours.
        build(&text).and_then(|_| build(&format!(r"\A(?:{text})\z"))).map(Self).ok()
    }

    /// The topics of `image` that it matches. Internal ones must be named.
    pub(crate) fn resolve(&self, image: &Image) -> BTreeSet<Arc<str>> {
        let names = image.topics().map(|it| it.name()).filter(|it| !it.is_internal());
        names.filter(|it| self.0.is_match(it.as_str())).map(|it| it.as_str().into()).collect()
    }
}

/// RE2 reads everything from `\Q` to `\E`, or to the end, as it stands.
fn unquoted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = quote(rest) {
        let (before, quoted) = rest.split_at(at);
        let quoted = quoted.trim_start_matches(r"\Q");
        let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
        out.push_str(before);
        out.push_str(&regex::escape(literal));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Where the first `\Q` is whose backslash is not itself escaped.
fn quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match (is_escaped, character) {
            (true, 'Q') => return at.checked_sub(1),
            (false, '\\') => is_escaped = true,
            _ => is_escaped = false,
        }
    }
    None
}

/// Says whether two images give a group the same topics (the idea of KIP-1101). Zero only for no topic.
///
/// FNV-1a over what an assignment depends on, of each topic that is there: name, id, and count of
/// partitions. It is compared with nothing but itself, so it need not be Kafka's.
pub(crate) fn topics_hash<'a>(image: &Image, names: impl Iterator<Item = &'a Arc<str>>) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut is_any = false;
    let mut take = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for topic in names.filter_map(|it| image.topic(it)) {
        is_any = true;
        take(topic.name().as_str().as_bytes());
        take(&topic.id().get());
        take(&topic.partitions().len().to_be_bytes());
    }
    if is_any { hash.max(1).cast_signed() } else { 0 }
}

/// The topics of these names that are there.
pub(crate) fn topic_ids<'a>(
    image: &Image,
    names: impl Iterator<Item = &'a Arc<str>>,
) -> BTreeSet<TopicId> {
    names.filter_map(|it| image.topic(it)).map(|it| it.id()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Pattern, REGEX_BYTES_MAX};

    #[track_caller]
    fn check(pattern: &str, matched: &[&str], others: &[&str]) {
        let pattern = Pattern::checked(pattern).expect("it is sound");
        for name in matched {
            assert!(pattern.0.is_match(name), "{name} matches");
        }
        for name in others {
            assert!(!pattern.0.is_match(name), "{name} does not match");
        }
    }

    #[test]
    fn an_expression_matches_whole_names() {
        check("a", &["a"], &["", "ab", "ba"]);
        check("a|ab", &["a", "ab"], &["abb"]);
        check("orders-.*", &["orders-", "orders-eu"], &["orders", "my-orders-eu"]);
        check("(?i)Orders", &["orders", "ORDERS"], &["order"]);
        check(r"^\w+\.\d{2}$", &["a.12", "_.00"], &["a.1", "a-12"]);
        check("[[:alpha:]]+", &["ab"], &["a1"]);
        check(r"\pL+", &["ab"], &["1"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn what_is_quoted_stands_for_itself() {
        check(r"\Qa.b\E.", &["a.bc"], &["axbc", "a.b"]);
        check(r"\Qa.b", &["a.b"], &["axb"]);
        check(r"x\\Q", &[r"x\Q"], &["xQ"]);
    }

    #[test]
    fn what_re2_does_not_know_is_refused() {
        for pattern in ["(?=a)", "(?!a)", "(?<=a)b", r"(a)\k", "(", ")", "a)|(b", "[", "*", r"\8"] {
            assert!(Pattern::checked(pattern).is_none(), "{pattern}");
        }
    }

    #[test]
    fn an_expression_has_a_longest_length_and_a_largest_program() {
        assert!(Pattern::checked(&"a".repeat(REGEX_BYTES_MAX)).is_some());
        assert!(Pattern::checked(&"a".repeat(REGEX_BYTES_MAX + 1)).is_none());
        assert!(Pattern::checked(r"(\w{1000}){1000}").is_none());
    }
}
