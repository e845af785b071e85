//! `odradek quota`: how much of a broker each user, client or address may use.
//!
//! Which quotas there are, and what their values may be, is the cluster's to say.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, explain};
use crate::command::{BrokerArguments, ChangeArguments, assignment};
use crate::failure::Failure;
use crate::report::Report;
use crate::table::Table;
use crate::watch::{Answer, WatchArguments};

/// Newest version of both APIs.
const QUOTAS_LAST: i16 = 1;
/// How Kafka matches the name of an entity: exactly, or that of everybody without a quota of their own.
const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
/// Kafka's types of entities, in the order in which they are shown.
const USER: &str = "user";
const CLIENT: &str = "client-id";
const ADDRESS: &str = "ip";
const DEFAULT: &str = "(default)";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List quotas
    List(ListArguments),
    /// Set quotas of a user, a client id, both together, or an address
    Set(SetArguments),
    /// Take quotas away
    Unset(UnsetArguments),
}

/// Whose quotas. A default holds for each one that has no quota of its own.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
struct EntityArguments {
    /// Of this user
    #[arg(long, value_name = "NAME", conflicts_with = "user_default")]
    user: Option<String>,
    /// Of each user without a quota of its own
    #[arg(long)]
    user_default: bool,
    /// Of clients that say that this is their id
    #[arg(long, value_name = "NAME", conflicts_with = "client_id_default")]
    client_id: Option<String>,
    /// Of each client id without a quota of its own
    #[arg(long)]
    client_id_default: bool,
    /// Of connections from this address
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ip_default")]
    ip: Option<String>,
    /// Of each address without a quota of its own
    #[arg(long)]
    ip_default: bool,
}

/// Types with their names; `None` is the default.
type Parts = Vec<(&'static str, Option<String>)>;

impl EntityArguments {
    fn parts(&self) -> Parts {
        let all = [
            (USER, &self.user, self.user_default),
            (CLIENT, &self.client_id, self.client_id_default),
            (ADDRESS, &self.ip, self.ip_default),
        ];
        let named = |(kind, name, is_default): (_, &Option<String>, _)| {
            (name.is_some() || is_default).then(|| (kind, name.clone()))
        };
        all.into_iter().filter_map(named).collect()
    }

    /// Of an entity that is to be changed.
    fn entity(&self) -> Result<Parts, Failure> {
        let parts = self.parts();
        if parts.is_empty() {
            return Err(Failure::usage(
                "whose quota? --user, --client-id or --ip name it, --user-default, \
                 --client-id-default or --ip-default are for everybody else",
            ));
        }
        Ok(parts)
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  odradek quota list                           all of them
  odradek quota list --client-id etl           those that name this client id, also with a user
  odradek quota list --user-default
  odradek quota list --json | jq '.[].quotas'";

#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    entity: EntityArguments,
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const SET_EXAMPLES: &str = "\
Examples:
  odradek quota set --client-id etl producer_byte_rate=10485760     bytes a second
  odradek quota set --client-id-default consumer_byte_rate=5242880
  odradek quota set --user ana --client-id etl request_percentage=50     of one core
  odradek quota set --user-default controller_mutation_rate=5     partitions made and deleted a second
  odradek quota set --ip-default connection_creation_rate=20     connections a second from each address
  odradek quota set --user ana producer_byte_rate=1 --validate-only

Of all that name a client the most particular holds: a user with a client id before the user alone,
a name before a default, users before client ids.";

#[derive(Args, Debug)]
#[command(after_help = SET_EXAMPLES)]
pub(crate) struct SetArguments {
    #[command(flatten)]
    entity: EntityArguments,
    #[arg(required = true, value_name = "QUOTA=VALUE", value_parser = quota)]
    quotas: Vec<(String, f64)>,
    #[command(flatten)]
    change: ChangeArguments,
}

const UNSET_EXAMPLES: &str = "\
Examples:
  odradek quota unset --client-id etl producer_byte_rate
  odradek quota unset --user ana --client-id-default request_percentage";

#[derive(Args, Debug)]
#[command(after_help = UNSET_EXAMPLES)]
pub(crate) struct UnsetArguments {
    #[command(flatten)]
    entity: EntityArguments,
    #[arg(required = true, value_name = "QUOTA")]
    quotas: Vec<String>,
    #[command(flatten)]
    change: ChangeArguments,
}

fn quota(text: &str) -> Result<(String, f64), String> {
    let (key, value) = assignment(text)?;
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((key, number)),
        Ok(_) | Err(_) => Err(format!("{value} is no number")),
    }
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List(arguments) => {
            arguments.watch.run(&arguments.broker, |cluster| list(cluster, &arguments.entity))
        }
        Verb::Set(arguments) => set(arguments),
        Verb::Unset(arguments) => unset(arguments),
    }
}

/// The quotas of one entity, as the cluster says.
struct Entry {
    /// By type; `None` is the default.
    entity: BTreeMap<String, Option<String>>,
    quotas: BTreeMap<String, f64>,
}

fn list(cluster: &mut Cluster, entity: &EntityArguments) -> Result<Answer, Failure> {
    let mut entries = ask(cluster, &entity.parts())?;
    entries.sort_by(|a, b| a.entity.cmp(&b.entity));
    let mut table = Table::new(&["user", "client id", "ip", "quota", "value"]);
    for entry in &entries {
        let name = |kind| match entry.entity.get(kind) {
            None => "-".to_owned(),
            Some(name) => name.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        };
        for (key, value) in &entry.quotas {
            let [user, client, address] = [USER, CLIENT, ADDRESS].map(name);
            table.row(vec![user, client, address, key.clone(), value.to_string()]);
        }
    }
    Ok(Answer { page: table.to_string(), value: entries.iter().map(json_of).collect() })
}

/// A default has the name null.
fn json_of(entry: &Entry) -> Value {
    let quotas: Map<String, Value> =
        entry.quotas.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({ "entity": entry.entity, "quotas": quotas })
}

/// Those whose entities have all these parts, and maybe more.
fn ask(cluster: &mut Cluster, parts: &Parts) -> Result<Vec<Entry>, Failure> {
    let components = parts.iter().map(|(kind, name)| {
        ComponentData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_match_type(if name.is_some() { MATCH_EXACT } else { MATCH_DEFAULT })
            .with_match(name.as_deref().map(text))
    });
    let request = DescribeClientQuotasRequest::default().with_components(components.collect());
    let response = cluster.call_any(&request, QUOTAS_LAST)?;
    if response.error_code != 0 {
        let why = explain(response.error_code, response.error_message.as_ref());
        return Err(Failure::failed(format!("quotas: {why}")));
    }
    let entries = response.entries.unwrap_or_default().into_iter().map(|entry| Entry {
        entity: entry
            .entity
            .iter()
            .map(|it| {
                (it.entity_type.to_string(), it.entity_name.as_ref().map(ToString::to_string))
            })
            .collect(),
        quotas: entry.values.iter().map(|it| (it.key.to_string(), it.value)).collect(),
    });
    Ok(entries.collect())
}

fn set(arguments: &SetArguments) -> Result<(), Failure> {
    let operations = arguments
        .quotas
        .iter()
        .map(|(key, value)| OpData::default().with_key(text(key)).with_value(*value));
    let done: Vec<String> =
        arguments.quotas.iter().map(|(key, value)| format!("{key}={value}")).collect();
    change(&arguments.entity, &arguments.change, operations.collect(), &done)
}

fn unset(arguments: &UnsetArguments) -> Result<(), Failure> {
    let operations =
        arguments.quotas.iter().map(|key| OpData::default().with_key(text(key)).with_remove(true));
    let done: Vec<String> = arguments.quotas.iter().map(|key| format!("{key} is unset")).collect();
    change(&arguments.entity, &arguments.change, operations.collect(), &done)
}

fn change(
    entity: &EntityArguments,
    arguments: &ChangeArguments,
    operations: Vec<OpData>,
    done: &[String],
) -> Result<(), Failure> {
    let parts = entity.entity()?;
    let named = parts.iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_entity_name(name.as_deref().map(text))
    });
    let entry = EntryData::default().with_entity(named.collect()).with_ops(operations);
    let request = AlterClientQuotasRequest::default()
        .with_entries(vec![entry])
        .with_validate_only(arguments.validate_only);
    let response = arguments.broker.connect()?.call_controller(&request, QUOTAS_LAST)?;
    let failed = response.entries.iter().find(|it| it.error_code != 0);
    let result = match failed {
        Some(failed) => Err(explain(failed.error_code, failed.error_message.as_ref())),
        None if arguments.validate_only => Ok(format!("{} (only checked)", done.join(", "))),
        None => Ok(done.join(", ")),
    };
    let name = parts.iter().map(|(kind, name)| {
        let name = name.as_deref().unwrap_or(DEFAULT);
        format!("{kind} {name}")
    });
    let name = name.collect::<Vec<_>>().join(", ");
    Report { rows: vec![(name, result)] }.finish(&arguments.output)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::quota;

    #[test]
    fn a_quota_has_a_number() {
        assert_eq!(quota("a=1.5"), Ok(("a".to_owned(), 1.5)));
        for wrong in ["a", "a=", "a=b", "a=inf", "a=NaN"] {
            assert!(quota(wrong).is_err(), "{wrong}");
        }
    }
}
