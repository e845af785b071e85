//! What consumers say to each other through a coordinator, which only passes it on: which topics a
//! member wants (`ConsumerProtocolSubscription`), and which partitions it was given
//! (`ConsumerProtocolAssignment`).
//!
//! Bytes come from strangers. Versions only add fields at the end, so the first fields are enough.

use bytes::Bytes;
use net::codec::{DecodeError, Layout, Reader};

/// The protocol type of groups that speak it.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics that a member wants; `None` if it says so in no way that we know.
pub(crate) fn subscribed(metadata: &Bytes) -> Option<Vec<String>> {
    let mut reader = begin(metadata)?;
    reader.list(|it| it.string().map(|topic| topic.to_string())).ok()
}

/// Topics and partitions, in order; `None` if these bytes are no assignment. No bytes are an empty one.
pub(crate) fn assigned(assignment: &Bytes) -> Option<Vec<(String, i32)>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let mut reader = begin(assignment)?;
    let topics = reader.list(|it| {
        let topic = it.string()?.to_string();
        Ok::<_, DecodeError>((topic, it.list(Reader::i32)?))
    });
    let mut partitions: Vec<(String, i32)> = topics
        .ok()?
        .into_iter()
        .flat_map(|(topic, indexes)| indexes.into_iter().map(move |it| (topic.clone(), it)))
        .collect();
    partitions.sort();
    Some(partitions)
}

fn begin(bytes: &Bytes) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes, Layout::Plain);
    let version = reader.i16().ok()?;
    (version >= 0).then_some(reader)
}

#[cfg(test)]
mod tests {
    use super::{assigned, subscribed};
    use bytes::Bytes;

    /// Version 1, topics a with 2 and 0, b with 1, no user data.
    const ASSIGNMENT: &[u8] = &[
        0, 1, 0, 0, 0, 2, 0, 1, b'b', 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 2,
        0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
    ];

    #[test]
    fn an_assignment_is_read_in_the_order_of_topics_and_partitions() {
        let want = [("a".to_owned(), 0), ("a".to_owned(), 2), ("b".to_owned(), 1)];
        assert_eq!(assigned(&Bytes::from_static(ASSIGNMENT)).as_deref(), Some(&want[..]));
        assert_eq!(assigned(&Bytes::new()), Some(Vec::new()));
    }

    #[test]
    fn a_subscription_is_its_topics() {
        let bytes = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(subscribed(&bytes), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn what_is_cut_short_or_something_else_is_neither() {
        // The user data at the end is not looked at.
        for end in 1..ASSIGNMENT.len() - 4 {
            assert_eq!(assigned(&Bytes::from_static(&ASSIGNMENT[..end])), None, "{end}");
        }
        let many = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert_eq!((assigned(&many), subscribed(&many)), (None, None));
        let negative = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!((assigned(&negative), subscribed(&negative)), (None, None));
    }
}
