//! The configs of what a running cluster has: a topic, a broker, a group.
//!
//! What a value may be is the cluster's to say.

use std::fmt;

use clap::{Args, ValueEnum};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::cluster::{Cluster, explain};
use crate::command::{BrokerArguments, ChangeArguments, assignment};
use crate::config::warnings::warn;
use crate::failure::Failure;
use crate::report::Report;
use crate::table::Table;
use crate::watch::{Answer, WatchArguments};

const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
/// Kafka's number for a default among the sources of a config's value.
const SOURCE_DEFAULT: i8 = 5;
const HIDDEN: &str = "(hidden)";

/// What has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Topic,
    Broker,
    Group,
}

impl Kind {
    /// Kafka's number.
    pub(crate) const fn id(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        })
    }
}

#[derive(Args, Debug)]
struct ResourceArguments {
    /// What it is
    #[arg(value_name = "topic|broker|group", value_enum, hide_possible_values = true)]
    kind: Kind,
    /// Its name; of a broker its id, or default for what holds for all of them
    #[arg(value_name = "NAME")]
    name: String,
}

const GET_EXAMPLES: &str = "\
Examples:
  odradek config get topic events                     what is set, and where
  odradek config get topic events retention.ms        one, set or not
  odradek config get broker 1 --all                   all, with their defaults and what they are for
  odradek config get broker default                   what was set for all brokers
  odradek config get group readers --watch            again and again
  odradek config get topic events --json | jq '.[] | select(.source != \"default\")'";

#[derive(Args, Debug)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArguments {
    #[command(flatten)]
    resource: ResourceArguments,
    /// Only these; all that are set somewhere if none is named
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Also what has its default, with documentation
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const SET_EXAMPLES: &str = "\
Examples:
  odradek config set topic events retention.ms=3600000
  odradek config set topic events max.message.bytes=2097152 segment.ms=600000
  odradek config set group readers consumer.session.timeout.ms=60000      of the consumer protocol
  odradek config set broker 1 log.retention.ms=3600000 --validate-only    says what would happen";

#[derive(Args, Debug)]
#[command(after_help = SET_EXAMPLES)]
pub(crate) struct SetArguments {
    #[command(flatten)]
    resource: ResourceArguments,
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
    configs: Vec<(String, String)>,
    #[command(flatten)]
    change: ChangeArguments,
}

const UNSET_EXAMPLES: &str = "\
Examples:
  odradek config unset topic events retention.ms
  odradek config unset broker 1 log.retention.ms";

#[derive(Args, Debug)]
#[command(after_help = UNSET_EXAMPLES)]
pub(crate) struct UnsetArguments {
    #[command(flatten)]
    resource: ResourceArguments,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    change: ChangeArguments,
}

pub(super) fn get(arguments: &GetArguments) -> Result<(), Failure> {
    arguments.watch.run(&arguments.broker, |cluster| look(cluster, arguments))
}

fn look(cluster: &mut Cluster, arguments: &GetArguments) -> Result<Answer, Failure> {
    let mut configs = ask(cluster, arguments)?;
    let is_named = |it: &str| arguments.keys.iter().any(|key| key == it);
    if let Some(missing) =
        arguments.keys.iter().find(|key| !configs.iter().any(|it| it.name.as_str() == **key))
    {
        let kind = arguments.resource.kind;
        return Err(Failure::failed(format!("a {kind} has no config {missing}")));
    }
    configs.retain(|it| {
        arguments.all || is_named(&it.name) || arguments.keys.is_empty() && !is_default(it)
    });
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = configs.iter().map(|it| json_of(it, arguments.all)).collect();
    Ok(Answer { page: page(&configs, arguments.all), value: Value::Array(rows) })
}

fn page(configs: &[DescribeConfigsResourceResult], with_documentation: bool) -> String {
    let mut header = vec!["key", "value", "source", "default", "changes"];
    if with_documentation {
        header.push("documentation");
    }
    let mut table = Table::new(&header);
    for config in configs {
        let default = default_of(config);
        let mut cells = vec![
            config.name.to_string(),
            value_of(config),
            source_of(config.config_source).to_owned(),
            default.map_or_else(|| "-".to_owned(), |it| it.to_string()),
            if config.read_only { "read-only" } else { "any time" }.to_owned(),
        ];
        if with_documentation {
            cells.push(config.documentation.as_deref().unwrap_or("").to_owned());
        }
        table.row(cells);
    }
    table.to_string()
}

fn ask(
    cluster: &mut Cluster,
    arguments: &GetArguments,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let ResourceArguments { kind, name } = &arguments.resource;
    let keys = arguments.keys.iter().map(|key| text(key)).collect::<Vec<_>>();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind.id())
        .with_resource_name(wire_name(*kind, name))
        .with_configuration_keys((!keys.is_empty()).then_some(keys));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(arguments.all);
    let response = match own_broker(*kind, name)? {
        Some(node) => cluster.broker(node)?.call(&request, 4)?,
        None => cluster.call_any(&request, 4)?,
    };
    let result = response
        .results
        .into_iter()
        .next()
        .ok_or_else(|| Failure::failed(format!("the cluster said nothing of {kind} {name}")))?;
    if result.error_code != 0 {
        let why = explain(result.error_code, result.error_message.as_ref());
        return Err(Failure::failed(format!("{kind} {name}: {why}")));
    }
    Ok(result.configs)
}

/// A broker's own configs are known to itself.
fn own_broker(kind: Kind, name: &str) -> Result<Option<i32>, Failure> {
    if kind != Kind::Broker || name == DEFAULT_BROKER {
        return Ok(None);
    }
    let id = name.parse::<i32>().ok().filter(|it| *it >= 0);
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Failure::usage(format!("{name} is no id of a broker: expected a number"))),
    }
}

/// What holds for all brokers has an empty name in Kafka.
const DEFAULT_BROKER: &str = "default";

fn wire_name(kind: Kind, name: &str) -> StrBytes {
    if kind == Kind::Broker && name == DEFAULT_BROKER { text("") } else { text(name) }
}

pub(super) fn set(arguments: &SetArguments) -> Result<(), Failure> {
    let changes = arguments.configs.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(OPERATION_SET)
            .with_value(Some(text(value)))
    });
    let mut cluster = arguments.change.broker.connect()?;
    let done: Vec<String> =
        arguments.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let report =
        change(&mut cluster, &arguments.resource, &arguments.change, changes.collect(), &done)?;
    warn(&mut cluster, &report, arguments.resource.kind, &arguments.configs)?;
    report.finish(&arguments.change.output)
}

pub(super) fn unset(arguments: &UnsetArguments) -> Result<(), Failure> {
    let changes = arguments.keys.iter().map(|key| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(OPERATION_DELETE)
            .with_value(None)
    });
    let mut cluster = arguments.change.broker.connect()?;
    let done: Vec<String> =
        arguments.keys.iter().map(|key| format!("{key} has its default")).collect();
    let report =
        change(&mut cluster, &arguments.resource, &arguments.change, changes.collect(), &done)?;
    report.finish(&arguments.change.output)
}

fn change(
    cluster: &mut Cluster,
    resource: &ResourceArguments,
    arguments: &ChangeArguments,
    changes: Vec<AlterableConfig>,
    done: &[String],
) -> Result<Report, Failure> {
    let ResourceArguments { kind, name } = resource;
    let altered = AlterConfigsResource::default()
        .with_resource_type(kind.id())
        .with_resource_name(wire_name(*kind, name))
        .with_configs(changes);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![altered])
        .with_validate_only(arguments.validate_only);
    let response = match own_broker(*kind, name)? {
        Some(node) => cluster.broker(node)?.call(&request, 1)?,
        None => cluster.call_controller(&request, 1)?,
    };
    let failed = response.responses.iter().find(|it| it.error_code != 0);
    let result = match failed {
        Some(failed) => Err(explain(failed.error_code, failed.error_message.as_ref())),
        None if arguments.validate_only => Ok(format!("{} (only checked)", done.join(", "))),
        None => Ok(done.join(", ")),
    };
    Ok(Report { rows: vec![(format!("{kind} {name}"), result)] })
}

fn is_default(config: &DescribeConfigsResourceResult) -> bool {
    config.config_source == SOURCE_DEFAULT
}

/// What it would be if nobody had set it, if the cluster says so.
fn default_of(config: &DescribeConfigsResourceResult) -> Option<&StrBytes> {
    let default = config.synonyms.iter().find(|it| it.source == SOURCE_DEFAULT);
    let own = || is_default(config).then_some(config.value.as_ref()).flatten();
    default.and_then(|it| it.value.as_ref()).or_else(own)
}

fn value_of(config: &DescribeConfigsResourceResult) -> String {
    match &config.value {
        _ if config.is_sensitive => HIDDEN.to_owned(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    }
}

fn json_of(config: &DescribeConfigsResourceResult, is_documented: bool) -> Value {
    let synonyms: Vec<Value> = config
        .synonyms
        .iter()
        .map(|it| {
            let source = source_of(it.source);
            json!({ "key": it.name.as_str(), "value": it.value.as_deref(), "source": source })
        })
        .collect();
    let mut object = json!({
        "key": config.name.as_str(),
        "value": config.value.as_deref(),
        "source": source_of(config.config_source),
        "default": default_of(config).map(|it| it.as_str()),
        "read_only": config.read_only,
        "sensitive": config.is_sensitive,
        "synonyms": synonyms,
    });
    if is_documented {
        object["documentation"] = json!(config.documentation.as_deref());
    }
    object
}

/// Where a value was set, by Kafka's number.
const fn source_of(source: i8) -> &'static str {
    match source {
        1 => "topic",
        2 => "broker",
        3 => "all brokers",
        4 => "file",
        SOURCE_DEFAULT => "default",
        6 => "broker logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
