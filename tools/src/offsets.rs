//! Offsets by place and by time, asked from the partitions' leaders.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use crate::cluster::{Cluster, Creation, explain, topic_name};
use crate::failure::Failure;

/// Kafka's timestamps that stand for places.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// A place in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Beginning,
    End,
    /// The first record whose timestamp is this or later, in milliseconds since 1970.
    Time(i64),
}

/// By partition: its offset, negative where there is none, or why its leader does not say.
pub(crate) type Answers = BTreeMap<i32, Result<i64, String>>;

/// The offset of `at` in each of `partitions`; the end where no record is late enough.
pub(crate) fn list(
    cluster: &mut Cluster,
    topic: &str,
    partitions: &[i32],
    at: At,
) -> Result<BTreeMap<i32, i64>, Failure> {
    let mut offsets = BTreeMap::new();
    let mut late = Vec::new();
    for (partition, answer) in list_each(cluster, topic, partitions, at)? {
        match answer {
            Ok(offset) if offset < 0 => late.push(partition),
            Ok(offset) => drop(offsets.insert(partition, offset)),
            Err(why) => {
                return Err(Failure::failed(format!("offsets of {topic}[{partition}]: {why}")));
            }
        }
    }
    if !late.is_empty() && at != At::End {
        offsets.extend(list(cluster, topic, &late, At::End)?);
    }
    Ok(offsets)
}

/// The same for each partition by itself: one that fails does not hide the others.
pub(crate) fn list_each(
    cluster: &mut Cluster,
    topic: &str,
    partitions: &[i32],
    at: At,
) -> Result<Answers, Failure> {
    let mut answers = BTreeMap::new();
    for (leader, partitions) in by_leader(cluster, topic, partitions)? {
        answers.extend(ask(cluster, topic, leader, &partitions, at)?);
    }
    Ok(answers)
}

/// The partitions of each leader.
pub(crate) fn by_leader(
    cluster: &mut Cluster,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Vec<i32>>, Failure> {
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in cluster.topic(topic, Creation::Never)?.partitions {
        if partitions.contains(&partition.partition_index) {
            leaders.entry(partition.leader_id.0).or_default().push(partition.partition_index);
        }
    }
    Ok(leaders)
}

fn ask(
    cluster: &mut Cluster,
    topic: &str,
    leader: i32,
    partitions: &[i32],
    at: At,
) -> Result<Answers, Failure> {
    let timestamp = match at {
        At::Beginning => EARLIEST,
        At::End => LATEST,
        At::Time(timestamp) => timestamp,
    };
    let asked = partitions
        .iter()
        .map(|index| {
            ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(timestamp)
        })
        .collect();
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(asked),
    ]);
    let response = cluster.broker(leader)?.call(&request, 7)?;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let answers = partitions.map(|partition| {
        let answer = match partition.error_code {
            0 => Ok(partition.offset),
            code => Err(explain(code, None)),
        };
        (partition.partition_index, answer)
    });
    Ok(answers.collect())
}

/// RFC 3339 (`2026-01-31T12:00:00Z`) or milliseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(milliseconds) = text.parse::<i64>() {
        return if milliseconds >= 0 {
            Ok(milliseconds)
        } else {
            Err("milliseconds since 1970 are not negative".to_owned())
        };
    }
    match text.parse::<Timestamp>() {
        Ok(time) if time.as_millisecond() >= 0 => Ok(time.as_millisecond()),
        Ok(_) => Err("a time before 1970 is before every record".to_owned()),
        Err(_) => Err(
            "expected RFC 3339 with an offset, as 2026-01-31T12:00:00Z, or milliseconds since 1970"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(parse_time("2023-11-14T23:13:20.5+01:00"), Ok(1_700_000_000_500));
        for wrong in
            ["", "yesterday", "-5", "2023-11-14", "1969-01-01T00:00:00Z", "2023-11-14T22:13:20"]
        {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
