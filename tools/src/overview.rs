//! `odradek cluster`: the brokers, what they lead and hold, and how large it is.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataResponse};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Creation, explain};
use crate::command::BrokerArguments;
use crate::failure::Failure;
use crate::table::{Table, printable};
use crate::watch::{Answer, WatchArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show brokers, the controller, counts of topics and partitions, and log directories
    Describe(DescribeArguments),
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  odradek cluster describe
  odradek cluster describe --json | jq '.brokers[].log_dirs'
  odradek cluster describe --watch=10";

#[derive(Args, Debug)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub(crate) struct DescribeArguments {
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Describe(arguments) => arguments.watch.run(&arguments.broker, describe),
    }
}

/// A broker's directory of logs.
struct LogDir {
    path: String,
    /// Of all partitions in it, as their broker counts.
    log_bytes: i64,
    /// Of its disk; `None` if the broker does not say.
    total_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    trouble: Option<String>,
}

/// A broker, and what it has.
struct Broker {
    id: i32,
    address: String,
    rack: Option<String>,
    leader_count: usize,
    replica_count: usize,
    log_dirs: Vec<LogDir>,
}

fn describe(cluster: &mut Cluster) -> Result<Answer, Failure> {
    let metadata = cluster.metadata(None, Creation::Never)?;
    let mut brokers = Vec::new();
    for broker in &metadata.brokers {
        brokers.push(broker_of(cluster, &metadata, broker)?);
    }
    brokers.sort_by_key(|it| it.id);
    Ok(Answer { page: page(&metadata, &brokers), value: value(&metadata, &brokers) })
}

fn broker_of(
    cluster: &mut Cluster,
    metadata: &MetadataResponse,
    broker: &MetadataResponseBroker,
) -> Result<Broker, Failure> {
    let id = broker.node_id;
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = cluster.broker(id.0)?.call(&request, 4)?;
    if response.error_code != 0 {
        let why = explain(response.error_code, None);
        return Err(Failure::failed(format!("log directories of broker {id}: {why}", id = id.0)));
    }
    let mut log_dirs: Vec<LogDir> = response.results.iter().map(log_dir).collect();
    log_dirs.sort_by(|a, b| a.path.cmp(&b.path));
    let partitions = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(Broker {
        id: id.0,
        address: format!("{}:{}", broker.host, broker.port),
        rack: broker.rack.as_ref().map(|it| it.to_string()),
        leader_count: partitions().filter(|it| it.leader_id == id).count(),
        replica_count: partitions().filter(|it| it.replica_nodes.contains(&id)).count(),
        log_dirs,
    })
}

fn log_dir(result: &DescribeLogDirsResult) -> LogDir {
    let partitions = result.topics.iter().flat_map(|topic| &topic.partitions);
    LogDir {
        path: result.log_dir.to_string(),
        log_bytes: partitions.map(|it| it.partition_size).fold(0, i64::saturating_add),
        total_bytes: Some(result.total_bytes).filter(|it| *it >= 0),
        usable_bytes: Some(result.usable_bytes).filter(|it| *it >= 0),
        trouble: (result.error_code != 0).then(|| explain(result.error_code, None)),
    }
}

/// How many topics and partitions there are; internal ones are counted too, and also by themselves.
fn counts(metadata: &MetadataResponse) -> BTreeMap<&'static str, usize> {
    let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
    BTreeMap::from([
        ("topics", metadata.topics.len()),
        ("internal_topics", metadata.topics.iter().filter(|it| it.is_internal).count()),
        ("partitions", partitions.clone().count()),
        ("leaderless_partitions", partitions.filter(|it| it.leader_id.0 < 0).count()),
    ])
}

fn page(metadata: &MetadataResponse, brokers: &[Broker]) -> String {
    let counts = counts(metadata);
    let mut page = String::new();
    let cluster_id = metadata.cluster_id.as_deref().unwrap_or("-");
    for (label, value) in [
        ("cluster", cluster_id.to_owned()),
        ("controller", metadata.controller_id.0.to_string()),
        ("brokers", brokers.len().to_string()),
        ("topics", format!("{}, {} internal", counts["topics"], counts["internal_topics"])),
        (
            "partitions",
            format!(
                "{}, {} without a leader",
                counts["partitions"], counts["leaderless_partitions"]
            ),
        ),
    ] {
        page.push_str(&format!("{label:<14}{}\n", printable(&value)));
    }
    let mut table = Table::new(&["broker", "address", "rack", "leads", "holds"]);
    let mut dirs = Table::new(&["broker", "log directory", "logs", "free", "disk"]);
    let mut troubles = String::new();
    for broker in brokers {
        table.row(vec![
            broker.id.to_string(),
            broker.address.clone(),
            broker.rack.clone().unwrap_or_else(|| "-".to_owned()),
            broker.leader_count.to_string(),
            broker.replica_count.to_string(),
        ]);
        for dir in &broker.log_dirs {
            dirs.row(vec![
                broker.id.to_string(),
                dir.path.clone(),
                bytes(dir.log_bytes),
                dir.usable_bytes.map_or_else(|| "-".to_owned(), bytes),
                dir.total_bytes.map_or_else(|| "-".to_owned(), bytes),
            ]);
            if let Some(why) = &dir.trouble {
                troubles.push_str(&format!("{}: {}\n", printable(&dir.path), printable(why)));
            }
        }
    }
    page.push_str(&format!("\n{table}\n{dirs}{troubles}"));
    page
}

fn value(metadata: &MetadataResponse, brokers: &[Broker]) -> Value {
    let brokers: Vec<Value> = brokers
        .iter()
        .map(|broker| {
            json!({
                "id": broker.id,
                "address": broker.address,
                "rack": broker.rack,
                "leads": broker.leader_count,
                "holds": broker.replica_count,
                "log_dirs": broker.log_dirs.iter().map(dir_value).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut object = json!({
        "cluster_id": metadata.cluster_id.as_deref(),
        "controller": metadata.controller_id.0,
        "brokers": brokers,
    });
    for (name, count) in counts(metadata) {
        object[name] = json!(count);
    }
    object
}

fn dir_value(dir: &LogDir) -> Value {
    let mut object = json!({
        "path": dir.path,
        "log_bytes": dir.log_bytes,
        "usable_bytes": dir.usable_bytes,
        "total_bytes": dir.total_bytes,
    });
    if let Some(why) = &dir.trouble {
        object["error"] = json!(why);
    }
    object
}

/// In the largest unit of which there is one, with one digit after the point, rounded down.
fn bytes(count: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scale = 1_024_i64;
    let Some(mut unit) = (count >= scale).then_some(0) else { return format!("{count} B") };
    while unit + 1 < UNITS.len() && count / scale >= 1_024 {
        scale *= 1_024;
        unit += 1;
    }
    let tenths = i128::from(count) * 10 / i128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_read_by_people() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_610_612_736, "1.5 GiB"),
            (i64::MAX, "8191.9 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
