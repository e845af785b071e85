//! How far a group has come in each partition, and how far that is from the end: in offsets, and in
//! time.
//!
//! Invariant: one row a partition, in the order of topics and partitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use engine::batch::walk_headers;
use engine::records::Records;
use net::error_code::ErrorCode;
use net::fetch::{FetchPartition, FetchRequest, FetchTopic};
use net::topic::TopicRef;

use crate::cluster::{Cluster, explain, wall_ms};
use crate::failure::Failure;
use crate::group::coordinator;
use crate::group::description::Description;
use crate::offsets::{self, At, by_leader};
use crate::table::printable;

/// A leader gives at least a batch, however little is asked for.
const FETCH_BYTES: i32 = 1;
/// A batch that unpacks to more is an attack, or needs a machine with more memory.
const UNPACKED_BYTES_MAX: usize = 1 << 30;
/// Batches without a record for readers, such as markers of transactions, that are passed over.
const PASSED_COUNT_MAX: usize = 1_000;

pub(crate) struct Progress {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The first offset that the group has not read.
    pub(crate) committed: Option<i64>,
    pub(crate) end: Option<i64>,
    /// How old the first record is that it has not read; 0 if there is none.
    pub(crate) time_lag_ms: Option<i64>,
    /// Why something is not known.
    pub(crate) trouble: Option<String>,
}

impl Progress {
    pub(crate) fn lag(&self) -> Option<i64> {
        let (committed, end) = self.committed.zip(self.end)?;
        Some(end.saturating_sub(committed).max(0))
    }

    /// Topic, partition, committed, end, lag.
    pub(crate) fn cells(&self) -> Vec<String> {
        let shown = |it: Option<i64>| it.map_or_else(|| "-".to_owned(), |it| it.to_string());
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            shown(self.committed),
            shown(self.end),
            shown(self.lag()),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let mut object = json!({
            "topic": self.topic,
            "partition": self.partition,
            "committed": self.committed,
            "end": self.end,
            "lag": self.lag(),
        });
        if let Some(trouble) = &self.trouble {
            object["error"] = json!(trouble);
        }
        object
    }
}

/// All partitions that the group has committed, and all that its members were given.
pub(crate) fn of(
    cluster: &mut Cluster,
    description: &Description,
) -> Result<Vec<Progress>, Failure> {
    let committed = coordinator::committed(cluster, &description.name)?;
    let assigned = description.members.iter().flat_map(|it| it.assigned.iter().flatten());
    let places: BTreeSet<(String, i32)> = committed.keys().chain(assigned).cloned().collect();
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        topics.entry(topic).or_default().push(partition);
    }
    let mut rows = Vec::new();
    for (topic, partitions) in topics {
        let ends = match offsets::list_each(cluster, &topic, &partitions, At::End) {
            Ok(ends) => ends,
            // Only committed offsets are left of it.
            Err(Failure::TopicMissing(_)) => BTreeMap::new(),
            Err(failure) => return Err(failure),
        };
        for partition in partitions {
            let end = ends.get(&partition).cloned();
            let end = end.unwrap_or_else(|| Err("there is no such partition now".to_owned()));
            rows.push(Progress {
                committed: committed.get(&(topic.clone(), partition)).copied(),
                trouble: end.as_ref().err().cloned(),
                end: end.ok(),
                topic: topic.clone(),
                partition,
                time_lag_ms: None,
            });
        }
    }
    Ok(rows)
}

/// Fetches the first record that is not read yet from each partition that has one.
pub(crate) fn add_times(cluster: &mut Cluster, rows: &mut [Progress]) -> Result<(), Failure> {
    for rows in rows.chunk_by_mut(|a, b| a.topic == b.topic) {
        let behind: Vec<i32> =
            rows.iter().filter(|it| it.lag() > Some(0)).map(|it| it.partition).collect();
        let leaders = if behind.is_empty() {
            BTreeMap::new()
        } else {
            by_leader(cluster, &rows[0].topic, &behind)?
        };
        for row in rows {
            let is_led = |(_, partitions): &(&i32, &Vec<i32>)| partitions.contains(&row.partition);
            let leader = leaders.iter().find(is_led).map(|(leader, _)| *leader);
            match (row.lag(), row.committed, leader) {
                (Some(0), ..) => row.time_lag_ms = Some(0),
                (Some(_), Some(committed), Some(leader)) => {
                    match unread_at(cluster, leader, row, committed)? {
                        Ok(time) => row.time_lag_ms = Some(age_ms(time)),
                        Err(why) => row.trouble = Some(why),
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// 0 for a record of the future, and for none.
fn age_ms(time: Option<i64>) -> i64 {
    time.map_or(0, |time| wall_ms().saturating_sub(time).max(0))
}

/// The timestamp of the first record from `offset` on, `None` if there is none; or why nobody says.
fn unread_at(
    cluster: &mut Cluster,
    leader: i32,
    row: &Progress,
    mut offset: i64,
) -> Result<Result<Option<i64>, String>, Failure> {
    for _ in 0..PASSED_COUNT_MAX {
        let request = fetch(&row.topic, row.partition, offset);
        let pending = cluster.broker(leader)?.send_fetch(&request)?;
        let response = cluster.broker(leader)?.receive_fetch(pending)?;
        if response.error.is_error() {
            return Ok(Err(explain(response.error.get(), None)));
        }
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(partition) = partitions.find(|it| it.index == row.partition) else {
            return Ok(Err("its leader said nothing of it".to_owned()));
        };
        if partition.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            // What was committed may be deleted by now.
            let starts = offsets::list(cluster, &row.topic, &[row.partition], At::Beginning)?;
            let start = starts.get(&row.partition).copied().unwrap_or(0);
            if offset < start {
                offset = start;
                continue;
            }
        }
        if partition.error.is_error() {
            return Ok(Err(explain(partition.error.get(), None)));
        }
        let Some(records) = &partition.records else { return Ok(Ok(None)) };
        match first_from(records.handle(), offset) {
            Ok(Found::Record(time)) => return Ok(Ok(Some(time))),
            Ok(Found::Nothing { next }) if next > offset => offset = next,
            Ok(Found::Nothing { .. }) => return Ok(Ok(None)),
            Err(why) => return Ok(Err(why.to_owned())),
        }
    }
    Ok(Err(format!("no record in {PASSED_COUNT_MAX} batches from offset {offset} on")))
}

/// What fetched bytes have for a reader.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Its timestamp.
    Record(i64),
    /// All that was fetched ends at `next`; 0 if that is nothing.
    Nothing { next: i64 },
}

fn first_from(bytes: &Bytes, offset: i64) -> Result<Found, &'static str> {
    let mut next = 0;
    for (pos, batch) in walk_headers(bytes) {
        next = batch.next_offset().map_err(|_overflow| "a batch has an impossible header")?.get();
        if batch.is_control() || next <= offset {
            continue;
        }
        if !batch.crc_holds() {
            return Err("a batch is damaged: its checksum is wrong");
        }
        let bytes = bytes.slice(pos..pos + batch.len_bytes());
        let records = Records::new(&bytes, UNPACKED_BYTES_MAX)
            .map_err(|_unknown| "a batch has a codec that this command does not know")?;
        for record in records {
            let record = record.map_err(|_damaged| "a batch's records do not unpack")?;
            if record.offset.get() >= offset {
                return Ok(Found::Record(record.timestamp.get()));
            }
        }
    }
    Ok(Found::Nothing { next })
}

fn fetch(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        index: partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: FETCH_BYTES,
    };
    let topic = TopicRef::Name(StrBytes::from_string(topic.to_owned()));
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: FETCH_BYTES,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic { topic, partitions: vec![partition] }],
        forgotten: Vec::new(),
        rack_id: StrBytes::from_static_str(""),
    }
}

/// Of all partitions whose lag is known.
pub(crate) fn total_lag(rows: &[Progress]) -> i64 {
    rows.iter().filter_map(Progress::lag).fold(0, i64::saturating_add)
}

/// The largest of those that are known.
pub(crate) fn time_lag(rows: &[Progress]) -> Option<i64> {
    rows.iter().filter_map(|row| row.time_lag_ms).max()
}

/// A line for each partition of which something is not known.
pub(crate) fn troubles(rows: &[Progress]) -> String {
    let of = |row: &Progress| {
        let (topic, partition) = (&row.topic, row.partition);
        let trouble = row.trouble.as_ref()?;
        Some(printable(&format!("{topic}[{partition}]: {trouble}")) + "\n")
    };
    rows.iter().filter_map(of).collect()
}

/// Milliseconds as people read them.
pub(crate) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{:03}s", milliseconds % 1_000),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Progress, first_from, span, time_lag, total_lag};
    use bytes::Bytes;
    use engine::id::Timestamp;
    use engine::records::builder::BatchBuilder;

    fn row(committed: Option<i64>, end: Option<i64>, time_lag_ms: Option<i64>) -> Progress {
        let topic = "t".to_owned();
        Progress { topic, partition: 0, committed, end, time_lag_ms, trouble: None }
    }

    #[test]
    fn lag_is_the_end_minus_what_is_committed_and_never_negative() {
        assert_eq!(row(Some(3), Some(10), None).lag(), Some(7));
        assert_eq!(row(Some(11), Some(10), None).lag(), Some(0));
        assert_eq!(row(None, Some(10), None).lag(), None);
        assert_eq!(row(Some(3), None, None).lag(), None);
    }

    #[test]
    fn in_all_a_group_is_behind_by_the_sum_of_offsets_and_the_longest_time() {
        let rows = [
            row(Some(0), Some(2), Some(5)),
            row(None, Some(9), None),
            row(Some(0), Some(3), Some(70)),
        ];
        assert_eq!((total_lag(&rows), time_lag(&rows)), (5, Some(70)));
        assert_eq!((total_lag(&[]), time_lag(&[])), (0, None));
    }

    #[test]
    fn the_first_record_from_an_offset_on_has_the_time() {
        let mut builder = BatchBuilder::new();
        for time in [10, 20, 30] {
            builder.push(Timestamp::new(time), None, Some(b"v"), &[]);
        }
        let batch = Bytes::from(builder.build());
        assert_eq!(first_from(&batch, 0), Ok(Found::Record(10)));
        assert_eq!(first_from(&batch, 2), Ok(Found::Record(30)));
        assert_eq!(first_from(&batch, 3), Ok(Found::Nothing { next: 3 }));
        assert_eq!(first_from(&Bytes::new(), 0), Ok(Found::Nothing { next: 0 }));
    }

    #[test]
    fn spans_are_read_by_people() {
        for (milliseconds, text) in [
            (0, "0.000s"),
            (1_250, "1.250s"),
            (200_000, "3m 20s"),
            (7_500_000, "2h 5m"),
            (356_400_000, "4d 3h"),
        ] {
            assert_eq!(span(milliseconds), text);
        }
    }
}
