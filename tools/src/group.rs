//! `odradek group`: consumer groups as their coordinators know them, through Kafka's admin APIs.
//!
//! It is a member of no group.

use clap::{Args, Subcommand};
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::cluster::{Cluster, explain, pause};
use crate::command::BrokerArguments;
use crate::failure::Failure;
use crate::group::coordinator::{ASK_COUNT_MAX, ASK_PAUSE, is_coordinators};
use crate::group::description::Description;
use crate::group::progress::Progress;
use crate::group::reset::ResetArguments;
use crate::report::{OutputArguments, Report};
use crate::table::Table;
use crate::watch::{Answer, WatchArguments};

mod consumer_group;
mod consumer_protocol;
mod coordinator;
mod description;
mod progress;
mod reset;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List groups
    List(ListArguments),
    /// Show members, and how far they have read each partition
    Describe(DescribeArguments),
    /// Show how far groups are behind: in offsets, and in time
    Lag(LagArguments),
    /// Move a group's committed offsets; shows what would be done, and does it with --execute
    Reset(Box<ResetArguments>),
    /// Delete groups without members, and their committed offsets
    Delete(DeleteArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  odradek group list
  odradek group list --state Empty,Dead
  odradek group list --type classic --json | jq -r '.[].group'
  odradek group list --watch=5";

#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArguments {
    /// Only groups in these states, separated by commas, as Stable or Empty
    #[arg(long, value_delimiter = ',')]
    state: Vec<String>,
    /// Only groups of these types, separated by commas: classic or consumer
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    kind: Vec<String>,
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  odradek group describe my-group
  odradek group describe my-group --json | jq '.[].members[].client_id'
  odradek group describe my-group --watch

Of a group of the consumer protocol it also shows the epochs of the group and of its target assignment,
and of each member its epoch, what it has, and what it is to have.";

#[derive(Args, Debug)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub(crate) struct DescribeArguments {
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const LAG_EXAMPLES: &str = "\
Examples:
  odradek group lag my-group
  odradek group lag my-group --watch
  odradek group lag my-group --json | jq '.[].lag'

Lag is the partition's end (its high watermark) minus the committed offset, which is the first one
that the group has not read. Time lag is now minus the timestamp of the record at that offset, or of
the next one that is there: it is fetched from the partition's leader, and 'now' is this machine's
clock. With CreateTime, which is the default, the timestamp is what the producer's clock said. A
group that has read everything has a time lag of 0. A partition without a committed offset has
neither.";

#[derive(Args, Debug)]
#[command(after_help = LAG_EXAMPLES)]
pub(crate) struct LagArguments {
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    watch: WatchArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  odradek group delete my-group
  odradek group delete old-1 old-2";

#[derive(Args, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
pub(crate) struct DeleteArguments {
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::List(arguments) => {
            arguments.watch.run(&arguments.broker, |cluster| list(cluster, arguments))
        }
        Verb::Describe(arguments) => {
            arguments.watch.run(&arguments.broker, |cluster| describe(cluster, &arguments.groups))
        }
        Verb::Lag(arguments) => {
            arguments.watch.run(&arguments.broker, |cluster| lag(cluster, &arguments.groups))
        }
        Verb::Reset(arguments) => reset::run(arguments),
        Verb::Delete(arguments) => delete(arguments),
    }
}

/// One row of `list`.
struct Listed {
    name: String,
    state: String,
    kind: String,
    protocol_type: String,
    member_count: Option<usize>,
    coordinator: i32,
}

fn list(cluster: &mut Cluster, arguments: &ListArguments) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    for node in cluster.nodes() {
        rows.extend(list_of(cluster, node, arguments)?);
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table =
        Table::new(&["group", "state", "type", "protocol type", "members", "coordinator"]);
    let mut objects = Vec::new();
    for row in rows {
        objects.push(json!({
            "group": row.name,
            "state": row.state,
            "type": row.kind,
            "protocol_type": row.protocol_type,
            "members": row.member_count,
            "coordinator": row.coordinator,
        }));
        let member_count = row.member_count.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let coordinator = row.coordinator.to_string();
        let cells = [row.name, row.state, row.kind, row.protocol_type, member_count, coordinator];
        table.row(cells.to_vec());
    }
    Ok(Answer { page: table.to_string(), value: Value::Array(objects) })
}

/// The groups of one broker.
fn list_of(
    cluster: &mut Cluster,
    node: i32,
    arguments: &ListArguments,
) -> Result<Vec<Listed>, Failure> {
    let response = listing(cluster, node, &filter(arguments))?;
    // A broker of an older version leaves the filters out.
    let wanted = |list: &[String], it: &str| {
        list.is_empty() || it.is_empty() || list.iter().any(|one| one.eq_ignore_ascii_case(it))
    };
    let groups: Vec<_> = response
        .groups
        .into_iter()
        .filter(|it| {
            wanted(&arguments.state, &it.group_state) && wanted(&arguments.kind, &it.group_type)
        })
        .collect();
    let names: Vec<&str> = groups.iter().map(|it| it.group_id.0.as_str()).collect();
    let counts = coordinator::member_counts(cluster, node, &names)?;
    Ok(groups
        .iter()
        .map(|group| {
            let name = group.group_id.0.to_string();
            Listed {
                member_count: counts.get(&name).copied(),
                name,
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
                protocol_type: group.protocol_type.to_string(),
                coordinator: node,
            }
        })
        .collect())
}

fn filter(arguments: &ListArguments) -> ListGroupsRequest {
    let texts = |list: &[String]| -> Vec<StrBytes> {
        list.iter().map(|it| StrBytes::from_string(it.clone())).collect()
    };
    ListGroupsRequest::default()
        .with_states_filter(texts(&arguments.state))
        .with_types_filter(texts(&arguments.kind))
}

fn listing(
    cluster: &mut Cluster,
    node: i32,
    request: &ListGroupsRequest,
) -> Result<ListGroupsResponse, Failure> {
    // The filters cannot be said in older versions; `list_of` filters too.
    let unfiltered = ListGroupsRequest::default();
    let mut code = 0;
    for _ in 0..ASK_COUNT_MAX {
        let broker = cluster.broker(node)?;
        let request =
            if broker.version_of::<ListGroupsRequest>() >= 5 { request } else { &unfiltered };
        let response = broker.call(request, 5)?;
        code = response.error_code;
        if code == 0 {
            return Ok(response);
        }
        if !is_coordinators(code) {
            break;
        }
        pause(ASK_PAUSE);
    }
    Err(Failure::failed(format!("groups of broker {node}: {}", explain(code, None))))
}

fn describe(cluster: &mut Cluster, names: &[String]) -> Result<Answer, Failure> {
    answer(cluster, names, |cluster, description| {
        let progress = progress::of(cluster, description)?;
        Ok((description.page(&progress), description.json(&progress)))
    })
}

fn lag(cluster: &mut Cluster, names: &[String]) -> Result<Answer, Failure> {
    answer(cluster, names, |cluster, description| {
        let mut rows = progress::of(cluster, description)?;
        progress::add_times(cluster, &mut rows)?;
        Ok((lag_page(description, &rows), lag_json(description, &rows)))
    })
}

/// The pages and objects of several groups, all of which exist.
fn answer(
    cluster: &mut Cluster,
    names: &[String],
    show: impl Fn(&mut Cluster, &Description) -> Result<(String, Value), Failure>,
) -> Result<Answer, Failure> {
    let mut pages = Vec::new();
    let mut objects = Vec::new();
    for name in names {
        let description = coordinator::describe(cluster, name)?.ok_or_else(|| {
            Failure::failed(format!(
                "group {name} does not exist; `odradek group list` shows what there is"
            ))
        })?;
        let (page, object) = show(cluster, &description)?;
        pages.push(page);
        objects.push(object);
    }
    Ok(Answer { page: pages.join("\n"), value: Value::Array(objects) })
}

fn lag_page(description: &Description, rows: &[Progress]) -> String {
    let time = progress::time_lag(rows).map_or_else(|| "-".to_owned(), progress::span);
    let mut page =
        description.head(&[("lag", progress::total_lag(rows).to_string()), ("time lag", time)]);
    let mut table = Table::new(&["topic", "partition", "committed", "end", "lag", "time lag"]);
    for row in rows {
        let mut cells = row.cells();
        cells.push(row.time_lag_ms.map_or_else(|| "-".to_owned(), progress::span));
        table.row(cells);
    }
    page.push_str(&format!("\n{table}{}", progress::troubles(rows)));
    page
}

fn lag_json(description: &Description, rows: &[Progress]) -> Value {
    let partitions: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut object = row.json();
            object["time_lag_ms"] = json!(row.time_lag_ms);
            object
        })
        .collect();
    json!({
        "group": description.name,
        "state": description.state,
        "lag": progress::total_lag(rows),
        "time_lag_ms": progress::time_lag(rows),
        "partitions": partitions,
    })
}

fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let mut cluster = arguments.broker.connect()?;
    let mut rows = Vec::new();
    for name in &arguments.groups {
        let result = match coordinator::delete(&mut cluster, name)? {
            0 => Ok("deleted".to_owned()),
            code => Err(explain(code, None)),
        };
        rows.push((name.clone(), result));
    }
    Report { rows }.finish(&arguments.output)
}
