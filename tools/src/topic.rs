//! `odradek topic`: create, list, describe, alter and delete topics, through Kafka's admin APIs.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Args, Subcommand};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, Creation, explain, nodes, topic_name};
use crate::command::{BrokerArguments, assignment, print};
use crate::config::resource::Kind;
use crate::config::warnings::warn;
use crate::failure::Failure;
use crate::offsets::{self, Answers, At};
use crate::report::{OutputArguments, Report};
use crate::table::{Table, printable};

const TIMEOUT_MS: i32 = 30_000;
/// Kafka's number for a topic among the kinds of things that have configs.
const RESOURCE_TOPIC: i8 = 2;
/// Kafka's number for "set on this topic" among the sources of a config's value.
const SOURCE_TOPIC: i8 = 1;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
const ALREADY_EXISTS: i16 = 36;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create topics
    Create(CreateArguments),
    /// List topics
    List(ListArguments),
    /// Show partitions, offsets and configuration of topics
    Describe(DescribeArguments),
    /// Delete topics and their records
    Delete(DeleteArguments),
    /// Change a topic's configuration, or add partitions
    Alter(AlterArguments),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  odradek topic create events
  odradek topic create events -p 12 --config retention.ms=86400000
  odradek topic create cache --config write.caching=true    acknowledged from memory: fast, not crash-safe
  odradek topic create events --validate-only               says what would happen";

#[derive(Args, Debug)]
#[command(after_help = CREATE_EXAMPLES)]
pub(crate) struct CreateArguments {
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Number of partitions; the broker's num.partitions if not given
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition; the broker's default.replication.factor if not given
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// Topic configuration; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = assignment)]
    config: Vec<(String, String)>,
    /// A topic that exists is no failure
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether it could be created
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const LIST_EXAMPLES: &str = "\
Examples:
  odradek topic list
  odradek topic list --json | jq -r '.[].name'";

#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArguments {
    /// Also topics that brokers keep for themselves
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  odradek topic describe events
  odradek topic describe events --all-configs
  odradek topic describe events --json";

#[derive(Args, Debug)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub(crate) struct DescribeArguments {
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Also configs that have their default value
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  odradek topic delete events
  odradek topic delete old-1 old-2 --if-exists";

#[derive(Args, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
pub(crate) struct DeleteArguments {
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// A topic that does not exist is no failure
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const ALTER_EXAMPLES: &str = "\
Examples:
  odradek topic alter events --config retention.ms=3600000
  odradek topic alter events --delete-config retention.ms      back to the broker's default
  odradek topic alter events -p 24                             records with keys go elsewhere from then on";

#[derive(Args, Debug)]
#[command(after_help = ALTER_EXAMPLES)]
pub(crate) struct AlterArguments {
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// New number of partitions; can only grow
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Sets a config; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = assignment)]
    config: Vec<(String, String)>,
    /// Gives a config its default again; may be repeated
    #[arg(short, long, value_name = "KEY")]
    delete_config: Vec<String>,
    /// Only check whether it could be done
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(arguments) => create(arguments),
        Verb::List(arguments) => list(arguments),
        Verb::Describe(arguments) => describe(arguments),
        Verb::Delete(arguments) => delete(arguments),
        Verb::Alter(arguments) => alter(arguments),
    }
}

fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let mut cluster = arguments.broker.connect()?;
    let configs: Vec<CreatableTopicConfig> = arguments
        .config
        .iter()
        .map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        })
        .collect();
    let topics = arguments
        .topics
        .iter()
        .map(|name| {
            CreatableTopic::default()
                .with_name(topic_name(name))
                .with_num_partitions(arguments.partitions.unwrap_or(-1))
                .with_replication_factor(arguments.replication_factor.unwrap_or(-1))
                .with_configs(configs.clone())
        })
        .collect();
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(arguments.validate_only);
    let response = cluster.call_controller(&request, 7)?;
    let done = if arguments.validate_only { "can be created" } else { "created" };
    let rows = response.topics.iter().map(|topic| {
        let result = match topic.error_code {
            0 => Ok(match topic.num_partitions {
                count if count < 0 => done.to_owned(),
                1 => {
                    format!("{done}, 1 partition, replication factor {}", topic.replication_factor)
                }
                count => {
                    format!(
                        "{done}, {count} partitions, replication factor {}",
                        topic.replication_factor
                    )
                }
            }),
            ALREADY_EXISTS if arguments.if_not_exists => Ok("exists already".to_owned()),
            code => Err(explain(code, topic.error_message.as_ref())),
        };
        (topic.name.0.to_string(), result)
    });
    let report = Report { rows: rows.collect() };
    warn(&mut cluster, &report, Kind::Topic, &arguments.config)?;
    report.finish(&arguments.output)
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let mut cluster = arguments.broker.connect()?;
    let mut topics = cluster.metadata(None, Creation::Never)?.topics;
    topics.retain(|topic| topic.error_code == 0 && (arguments.internal || !topic.is_internal));
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    if arguments.output.json {
        let rows: Vec<Value> = topics
            .iter()
            .map(|topic| {
                json!({
                    "name": name_of(topic),
                    "partitions": topic.partitions.len(),
                    "replication_factor": replication_factor(topic),
                    "internal": topic.is_internal,
                })
            })
            .collect();
        return print(format!("{:#}\n", Value::Array(rows)).as_bytes());
    }
    let mut table = Table::new(&["topic", "partitions", "replicas"]);
    for topic in &topics {
        let partitions = topic.partitions.len().to_string();
        table.row(vec![name_of(topic), partitions, replication_factor(topic).to_string()]);
    }
    print(table.to_string().as_bytes())
}

fn describe(arguments: &DescribeArguments) -> Result<(), Failure> {
    let mut cluster = arguments.broker.connect()?;
    let mut configs = topic_configs(&mut cluster, &arguments.topics)?;
    let mut pages = Vec::new();
    let mut objects = Vec::new();
    for name in &arguments.topics {
        let topic = cluster.topic(name, Creation::Never)?;
        let mut configs = configs.remove(name).unwrap_or_default();
        let durability = durability(&configs);
        if !arguments.all_configs {
            configs.retain(|config| config.config_source == SOURCE_TOPIC);
        }
        let partitions: Vec<i32> = topic.partitions.iter().map(|it| it.partition_index).collect();
        let starts = offsets::list_each(&mut cluster, name, &partitions, At::Beginning)?;
        let ends = offsets::list_each(&mut cluster, name, &partitions, At::End)?;
        let described = Described {
            topic: &topic,
            configs: &configs,
            starts: &starts,
            ends: &ends,
            durability,
        };
        if arguments.output.json {
            objects.push(described.json());
        } else {
            pages.push(described.page());
        }
    }
    let text = if arguments.output.json {
        format!("{:#}\n", Value::Array(objects))
    } else {
        pages.join("\n")
    };
    print(text.as_bytes())
}

/// All that `describe` says of one topic.
struct Described<'a> {
    topic: &'a MetadataResponseTopic,
    configs: &'a [DescribeConfigsResourceResult],
    starts: &'a Answers,
    ends: &'a Answers,
    durability: &'static str,
}

/// What an acknowledgement of this topic's records means, by the one config that changes it.
fn durability(configs: &[DescribeConfigsResourceResult]) -> &'static str {
    let caching = configs.iter().find(|config| config.name.as_str() == "write.caching");
    match caching.map(|config| config.value.as_deref()) {
        Some(Some("true")) => {
            "from memory (write.caching=true): a crash can lose acknowledged records"
        }
        Some(_) => "when the records are on the device",
        None => "as its broker promises",
    }
}

impl Described<'_> {
    fn json(&self) -> Value {
        let partitions: Vec<Value> = self
            .partitions()
            .map(|partition| {
                let index = partition.partition_index;
                let (start, end) = self.bounds(index).unzip();
                let mut object = json!({
                    "partition": index,
                    "leader": partition.leader_id.0,
                    "leader_epoch": partition.leader_epoch,
                    "replicas": partition.replica_nodes.iter().map(|id| id.0).collect::<Vec<_>>(),
                    "isr": partition.isr_nodes.iter().map(|id| id.0).collect::<Vec<_>>(),
                    "start": start,
                    "end": end,
                });
                if let Some(why) = self.trouble(index) {
                    object["error"] = json!(why);
                }
                object
            })
            .collect();
        let configs: Map<String, Value> = self
            .configs
            .iter()
            .map(|config| (config.name.to_string(), json!(config.value.as_deref())))
            .collect();
        json!({
            "name": name_of(self.topic),
            "id": self.topic.topic_id.to_string(),
            "internal": self.topic.is_internal,
            "acknowledged": self.durability,
            "partitions": partitions,
            "configs": configs,
        })
    }

    fn page(&self) -> String {
        let mut page = format!("topic         {}\n", printable(&name_of(self.topic)));
        for (label, value) in [
            ("id", self.topic.topic_id.to_string()),
            ("partitions", self.topic.partitions.len().to_string()),
            ("replicas", replication_factor(self.topic).to_string()),
            ("acknowledged", self.durability.to_owned()),
        ] {
            page.push_str(&format!("{label:<14}{value}\n"));
        }
        let mut table =
            Table::new(&["partition", "leader", "replicas", "in sync", "start", "end", "records"]);
        for partition in self.partitions() {
            let index = partition.partition_index;
            let [start, end, records] = match self.bounds(index) {
                Some((start, end)) => [start, end, end - start].map(|it| it.to_string()),
                None => [(); 3].map(|()| "-".to_owned()),
            };
            table.row(vec![
                index.to_string(),
                partition.leader_id.0.to_string(),
                nodes(&partition.replica_nodes),
                nodes(&partition.isr_nodes),
                start,
                end,
                records,
            ]);
        }
        page.push_str(&format!("\n{table}"));
        for partition in self.partitions() {
            let index = partition.partition_index;
            if let Some(why) = self.trouble(index) {
                page.push_str(&format!("partition {index}: {}\n", printable(why)));
            }
        }
        if !self.configs.is_empty() {
            let mut table = Table::new(&["config", "value"]);
            for config in self.configs {
                let value = config.value.as_deref().unwrap_or("").to_owned();
                table.row(vec![config.name.to_string(), value]);
            }
            page.push_str(&format!("\n{table}"));
        }
        page
    }

    /// Start and end of a partition, if its leader says both.
    fn bounds(&self, partition: i32) -> Option<(i64, i64)> {
        let known = |offsets: &Answers| offsets.get(&partition)?.as_ref().ok().copied();
        known(self.starts).zip(known(self.ends))
    }

    /// Why it does not say them.
    fn trouble(&self, partition: i32) -> Option<&str> {
        let mut answers = [self.starts, self.ends].into_iter().filter_map(|it| it.get(&partition));
        answers.find_map(|answer| answer.as_ref().err()).map(String::as_str)
    }

    fn partitions(
        &self,
    ) -> impl Iterator<Item = &kafka_protocol::messages::metadata_response::MetadataResponsePartition>
    {
        let mut partitions: Vec<_> = self.topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        partitions.into_iter()
    }
}

/// Configs by topic; a topic that does not exist has none here.
fn topic_configs(
    cluster: &mut Cluster,
    topics: &[String],
) -> Result<BTreeMap<String, Vec<DescribeConfigsResourceResult>>, Failure> {
    let resources = topics
        .iter()
        .map(|name| {
            DescribeConfigsResource::default()
                .with_resource_type(RESOURCE_TOPIC)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        })
        .collect();
    let request = DescribeConfigsRequest::default().with_resources(resources);
    let response = cluster.call_any(&request, 4)?;
    Ok(response
        .results
        .into_iter()
        .map(|result| (result.resource_name.to_string(), result.configs))
        .collect())
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    const UNKNOWN: i16 = 3;
    let mut cluster = arguments.broker.connect()?;
    let request = DeleteTopicsRequest::default()
        .with_topic_names(arguments.topics.iter().map(|name| topic_name(name)).collect())
        .with_timeout_ms(TIMEOUT_MS);
    let response = cluster.call_controller(&request, 5)?;
    let rows = response.responses.iter().map(|topic| {
        let name = topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default();
        let result = match topic.error_code {
            0 => Ok("deleted".to_owned()),
            UNKNOWN if arguments.if_exists => Ok("does not exist".to_owned()),
            code => Err(explain(code, topic.error_message.as_ref())),
        };
        (name, result)
    });
    Report { rows: rows.collect() }.finish(&arguments.output)
}

fn alter(arguments: &AlterArguments) -> Result<(), Failure> {
    if arguments.partitions.is_none()
        && arguments.config.is_empty()
        && arguments.delete_config.is_empty()
    {
        return Err(Failure::usage(
            "nothing to change; give --config, --delete-config or --partitions",
        ));
    }
    let mut cluster = arguments.broker.connect()?;
    let mut rows = Vec::new();
    if !(arguments.config.is_empty() && arguments.delete_config.is_empty()) {
        rows.push((arguments.topic.clone(), alter_configs(&mut cluster, arguments)?));
    }
    if let Some(count) = arguments.partitions
        && rows.iter().all(|(_, result)| result.is_ok())
    {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(&arguments.topic))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS)
            .with_validate_only(arguments.validate_only);
        let response = cluster.call_controller(&request, 3)?;
        for result in &response.results {
            let outcome = match result.error_code {
                0 => Ok(format!("has {count} partitions")),
                code => Err(explain(code, result.error_message.as_ref())),
            };
            rows.push((arguments.topic.clone(), outcome));
        }
    }
    if arguments.validate_only {
        for (_, result) in &mut rows {
            if let Ok(done) = result {
                done.push_str(" (only checked)");
            }
        }
    }
    let report = Report { rows };
    warn(&mut cluster, &report, Kind::Topic, &arguments.config)?;
    report.finish(&arguments.output)
}

fn alter_configs(
    cluster: &mut Cluster,
    arguments: &AlterArguments,
) -> Result<Result<String, String>, Failure> {
    let set = arguments.config.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(OPERATION_SET)
            .with_value(Some(text(value)))
    });
    let deleted = arguments.delete_config.iter().map(|key| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(OPERATION_DELETE)
            .with_value(None)
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(&arguments.topic))
        .with_configs(set.chain(deleted).collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(arguments.validate_only);
    let response = cluster.call_controller(&request, 1)?;
    let failed = response.responses.iter().find(|it| it.error_code != 0);
    if let Some(failed) = failed {
        return Ok(Err(explain(failed.error_code, failed.error_message.as_ref())));
    }
    let mut done = String::new();
    for (key, value) in &arguments.config {
        append(&mut done, &format!("{key}={value}"));
    }
    for key in &arguments.delete_config {
        append(&mut done, &format!("{key} has its default"));
    }
    Ok(Ok(done))
}

fn append(list: &mut String, item: &str) {
    let separator = if list.is_empty() { "" } else { ", " };
    write!(list, "{separator}{item}").expect("a string takes all");
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default()
}

fn replication_factor(topic: &MetadataResponseTopic) -> usize {
    topic.partitions.iter().map(|partition| partition.replica_nodes.len()).max().unwrap_or(0)
}
