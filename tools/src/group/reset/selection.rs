//! A topic, or some of its partitions, as `events` or `events:0,3-5`.
//!
//! Invariant: what is named is in order, and nothing is named twice.

use std::str::FromStr;

/// As many as a topic can have; a range of more is a mistake.
const PARTITION_COUNT_MAX: usize = 1_000_000;
const EXPECTED: &str = "expected TOPIC or TOPIC:PARTITIONS, as events:0,3-5";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    topic: String,
    partitions: Option<Vec<i32>>,
}

impl Selection {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// `None`: all that there are.
    pub(crate) fn partitions(&self) -> Option<&[i32]> {
        self.partitions.as_deref()
    }
}

impl FromStr for Selection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (topic, list) = match text.split_once(':') {
            Some((topic, list)) => (topic, Some(list)),
            None => (text, None),
        };
        if topic.is_empty() {
            return Err(EXPECTED);
        }
        let partitions = list.map(partitions).transpose()?;
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

fn partitions(list: &str) -> Result<Vec<i32>, &'static str> {
    let mut partitions = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<i32>().ok().filter(|it| *it >= 0).ok_or(EXPECTED);
        let range = number(first)?..=number(last)?;
        if range.is_empty() || range.clone().count() > PARTITION_COUNT_MAX {
            return Err(EXPECTED);
        }
        partitions.extend(range);
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::Selection;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let selection: Selection = "events:3-5,0,4".parse().unwrap();
        assert_eq!(selection.topic(), "events");
        assert_eq!(selection.partitions(), Some(&[0, 3, 4, 5][..]));
        assert_eq!("events".parse::<Selection>().unwrap().partitions(), None);
    }

    #[test]
    fn what_names_no_partition_is_refused() {
        for wrong in ["", ":1", "t:", "t:a", "t:-1", "t:5-3", "t:1,,2", "t:0-2000000000"] {
            assert!(wrong.parse::<Selection>().is_err(), "{wrong}");
        }
    }
}
