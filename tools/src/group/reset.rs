//! `odradek group reset`: moves the offsets that a group without members goes on from.
//!
//! A plan first; it is carried out only when asked to be. Invariant: no offset of a plan is outside of
//! what its partition holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use jiff::{Span, SpanRelativeTo};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Creation, wall_ms};
use crate::command::{BrokerArguments, print, remark};
use crate::failure::Failure;
use crate::group::coordinator::{self, Offsets};
use crate::group::reset::selection::Selection;
use crate::offsets::{self, At};
use crate::report::OutputArguments;
use crate::table::{Table, printable};

mod selection;

/// The state of a group that has offsets and no members.
const EMPTY: &str = "Empty";
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  odradek group reset my-group --topic events --to-earliest             only shows it
  odradek group reset my-group --topic events --to-earliest --execute
  odradek group reset my-group --topic events:0,3-5 --to-offset 1000
  odradek group reset my-group --all-topics --to-time 2026-01-31T12:00:00Z
  odradek group reset my-group --all-topics --by-duration PT1H          an hour back from now
  odradek group reset my-group --all-topics --shift -10
  odradek group reset my-group --all-topics --shift 0 --export > offsets.csv
  odradek group reset other --from-file offsets.csv --execute

Nothing is changed without --execute. A group that has members is left alone: stop them first.
An offset outside of what a partition holds becomes its start or its end.
A file has lines of topic,partition,offset, as Kafka's own tool writes them.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("target").required(true).args([
    "to_earliest", "to_latest", "to_offset", "to_time", "by_duration", "shift", "from_file",
])))]
#[command(group(ArgGroup::new("scope").required(true).args(["topic", "all_topics", "from_file"])))]
pub(crate) struct ResetArguments {
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    scope: ScopeArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// Print the plan as lines that --from-file reads
    #[arg(long, conflicts_with_all = ["json", "execute"])]
    export: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// Which partitions.
#[derive(Args, Debug)]
struct ScopeArguments {
    /// A topic, or some of its partitions; may be repeated
    #[arg(long, value_name = "TOPIC[:P,P-P,...]")]
    topic: Vec<Selection>,
    /// All partitions that the group has committed
    #[arg(long)]
    all_topics: bool,
}

/// Where to.
#[derive(Args, Debug)]
struct TargetArguments {
    /// To the first record that is there
    #[arg(long)]
    to_earliest: bool,
    /// To the end: only what comes is read
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later: RFC 3339, or ms since 1970
    #[arg(long, value_name = "TIME", value_parser = offsets::parse_time)]
    to_time: Option<i64>,
    /// To the first record that is no older than this: PT1H30M, P7D, or 90m
    #[arg(long, value_name = "DURATION", value_parser = duration_ms)]
    by_duration: Option<i64>,
    /// So many offsets on from what is committed, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift: Option<i64>,
    /// To the offsets in a file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

/// What becomes of one partition.
struct Move {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
    /// Why it is not what was asked for.
    note: &'static str,
    /// Why the coordinator did not take it.
    refusal: Option<String>,
}

/// Partitions by topic.
type Scope = BTreeMap<String, Vec<i32>>;

fn duration_ms(text: &str) -> Result<i64, String> {
    let span = text.parse::<Span>();
    let relative = SpanRelativeTo::days_are_24_hours();
    match span.and_then(|span| span.to_duration(relative)) {
        Ok(duration) if !duration.is_negative() => {
            i64::try_from(duration.as_millis()).map_err(|_large| "it is too long".to_owned())
        }
        Ok(_) | Err(_) => Err("expected a duration, as PT1H30M, P7D or 90m".to_owned()),
    }
}

pub(crate) fn run(arguments: &ResetArguments) -> Result<(), Failure> {
    let file = arguments.target.from_file.as_deref().map(read).transpose()?;
    let mut cluster = arguments.broker.connect()?;
    let group = &arguments.group;
    if let Some(description) = coordinator::describe(&mut cluster, group)?
        && (description.state != EMPTY || !description.members.is_empty())
    {
        let (state, count) = (&description.state, description.members.len());
        return Err(Failure::failed(format!(
            "group {group} is {state} and has {count} members: stop them first; \
             its offsets can be moved when it is {EMPTY}"
        )));
    }
    let committed = coordinator::committed(&mut cluster, group)?;
    let scope = scope(&mut cluster, arguments, &committed, file.as_ref())?;
    let mut plan = plan(&mut cluster, &arguments.target, &scope, &committed, file.as_ref())?;
    if arguments.execute {
        carry_out(&mut cluster, group, &mut plan)?;
    }
    show(arguments, &plan)
}

/// The partitions to move, all of which exist.
fn scope(
    cluster: &mut Cluster,
    arguments: &ResetArguments,
    committed: &Offsets,
    file: Option<&Offsets>,
) -> Result<Scope, Failure> {
    let mut scope = Scope::new();
    let named = if arguments.scope.all_topics { Some(committed) } else { file };
    for (topic, partition) in named.into_iter().flat_map(BTreeMap::keys) {
        scope.entry(topic.clone()).or_default().push(*partition);
    }
    for selection in &arguments.scope.topic {
        let existing = existing(cluster, selection.topic())?;
        let chosen = scope.entry(selection.topic().to_owned()).or_default();
        chosen.extend(selection.partitions().map_or(existing, <[i32]>::to_vec));
        chosen.sort_unstable();
        chosen.dedup();
    }
    for (topic, partitions) in &scope {
        let existing = existing(cluster, topic)?;
        if let Some(missing) = partitions.iter().find(|it| !existing.contains(it)) {
            let count = existing.len();
            return Err(Failure::failed(format!(
                "{topic} has no partition {missing}: it has {count}, numbered from 0"
            )));
        }
    }
    if scope.is_empty() {
        let group = &arguments.group;
        return Err(Failure::failed(format!(
            "group {group} has committed no offsets; name topics with --topic"
        )));
    }
    Ok(scope)
}

fn existing(cluster: &mut Cluster, topic: &str) -> Result<Vec<i32>, Failure> {
    let topic = cluster.topic(topic, Creation::Never)?;
    let mut existing: Vec<i32> = topic.partitions.iter().map(|it| it.partition_index).collect();
    existing.sort_unstable();
    Ok(existing)
}

/// Where each partition is to go on from.
fn plan(
    cluster: &mut Cluster,
    target: &TargetArguments,
    scope: &Scope,
    committed: &Offsets,
    file: Option<&Offsets>,
) -> Result<Vec<Move>, Failure> {
    let back = target.by_duration.map(|it| wall_ms().saturating_sub(it).max(0));
    let mut plan = Vec::new();
    for (topic, partitions) in scope {
        let starts = offsets::list(cluster, topic, partitions, At::Beginning)?;
        let ends = offsets::list(cluster, topic, partitions, At::End)?;
        let timed = match target.to_time.or(back) {
            Some(time) => offsets::list(cluster, topic, partitions, At::Time(time))?,
            None => BTreeMap::new(),
        };
        for partition in partitions {
            let bounds = starts.get(partition).copied().zip(ends.get(partition).copied());
            let (start, end) = bounds.ok_or_else(|| {
                Failure::failed(format!("nobody says what {topic}[{partition}] holds"))
            })?;
            let place = (topic.clone(), *partition);
            let from = committed.get(&place).copied();
            let wanted = match (target.shift, target.to_offset, file) {
                (Some(by), ..) => from.map(|it| it.saturating_add(by)),
                (None, Some(offset), _) => Some(offset),
                (None, None, Some(file)) => file.get(&place).copied(),
                (None, None, None) if target.to_earliest => Some(start),
                (None, None, None) if target.to_latest => Some(end),
                (None, None, None) => timed.get(partition).copied(),
            };
            let Some(wanted) = wanted else {
                return Err(Failure::failed(format!(
                    "{topic}[{partition}] has no committed offset to shift"
                )));
            };
            let (to, note) = clamp(wanted, start, end);
            plan.push(Move {
                topic: topic.clone(),
                partition: *partition,
                from,
                to,
                note,
                refusal: None,
            });
        }
    }
    Ok(plan)
}

/// `wanted`, or the bound that it is past.
fn clamp(wanted: i64, start: i64, end: i64) -> (i64, &'static str) {
    if wanted < start {
        (start, "the partition begins here")
    } else if wanted > end {
        (end, "the partition ends here")
    } else {
        (wanted, "")
    }
}

fn carry_out(cluster: &mut Cluster, group: &str, plan: &mut [Move]) -> Result<(), Failure> {
    let offsets = plan.iter().map(|it| ((it.topic.clone(), it.partition), it.to)).collect();
    let mut refused = coordinator::commit(cluster, group, &offsets)?;
    for step in plan {
        step.refusal = refused.remove(&(step.topic.clone(), step.partition));
    }
    Ok(())
}

fn show(arguments: &ResetArguments, plan: &[Move]) -> Result<(), Failure> {
    let text = if arguments.output.json {
        format!("{:#}\n", json_of(arguments, plan))
    } else if arguments.export {
        plan.iter().map(|it| format!("{},{},{}\n", it.topic, it.partition, it.to)).collect()
    } else {
        table_of(plan).to_string()
    };
    print(text.as_bytes())?;
    let refusals: Vec<String> = plan
        .iter()
        .filter_map(|it| Some((it, it.refusal.as_ref()?)))
        .map(|(it, why)| printable(&format!("{}[{}]: {why}", it.topic, it.partition)))
        .collect();
    if !refusals.is_empty() {
        return Err(Failure::Failed(refusals.join("\nodradek: ")));
    }
    if !arguments.execute && !arguments.export {
        remark("nothing was changed; --execute does it");
    }
    Ok(())
}

fn table_of(plan: &[Move]) -> Table {
    let mut table = Table::new(&["topic", "partition", "from", "to", "note"]);
    for step in plan {
        let note = step.refusal.as_ref().map_or(step.note, |_| "refused");
        table.row(vec![
            step.topic.clone(),
            step.partition.to_string(),
            step.from.map_or_else(|| "-".to_owned(), |it| it.to_string()),
            step.to.to_string(),
            note.to_owned(),
        ]);
    }
    table
}

fn json_of(arguments: &ResetArguments, plan: &[Move]) -> Value {
    let partitions: Vec<Value> = plan
        .iter()
        .map(|it| {
            let mut object = json!({
                "topic": it.topic,
                "partition": it.partition,
                "from": it.from,
                "to": it.to,
            });
            if !it.note.is_empty() {
                object["note"] = json!(it.note);
            }
            if let Some(why) = &it.refusal {
                object["error"] = json!(why);
            }
            object
        })
        .collect();
    json!({ "group": arguments.group, "executed": arguments.execute, "partitions": partitions })
}

/// Lines of `topic,partition,offset`.
fn read(path: &Path) -> Result<Offsets, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot read {shown}: {error}"));
    if std::fs::metadata(path).map_err(cannot)?.len() > FILE_BYTES_MAX {
        return Err(Failure::failed(format!("{shown} is too large for a list of offsets")));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let offsets = parse(&text).map_err(|line| {
        Failure::usage(format!("{shown}: line {line}: expected topic,partition,offset"))
    })?;
    if offsets.is_empty() {
        return Err(Failure::usage(format!("{shown} names no partition")));
    }
    Ok(offsets)
}

/// The number of the first line that is no such, if there is one. A partition's last line counts.
fn parse(text: &str) -> Result<Offsets, usize> {
    let mut offsets = Offsets::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let mut fields = line.split(',').map(|field| field.trim().trim_matches('"'));
        let parsed = (|| {
            let topic = fields.next().filter(|it| !it.is_empty())?;
            let partition = fields.next()?.parse::<i32>().ok().filter(|it| *it >= 0)?;
            let offset = fields.next()?.parse::<i64>().ok().filter(|it| *it >= 0)?;
            fields.next().is_none().then(|| ((topic.to_owned(), partition), offset))
        })();
        let (place, offset) = parsed.ok_or(index + 1)?;
        offsets.insert(place, offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::{clamp, duration_ms, parse};

    #[test]
    fn a_file_has_a_partition_a_line() {
        let offsets = parse("a,0,5\n\n\"b\",1,7\r\n").unwrap();
        let want = [(("a".to_owned(), 0), 5), (("b".to_owned(), 1), 7)];
        assert!(offsets.into_iter().eq(want));
        for (text, line) in
            [("a,0", 1), ("a,0,1\nb,x,1", 2), ("a,0,-1", 1), (",0,1", 1), ("a,0,1,2", 1)]
        {
            assert_eq!(parse(text), Err(line), "{text}");
        }
    }

    #[test]
    fn an_offset_stays_within_its_partition() {
        assert_eq!(clamp(4, 5, 9), (5, "the partition begins here"));
        assert_eq!(clamp(10, 5, 9), (9, "the partition ends here"));
        assert_eq!((clamp(5, 5, 9), clamp(9, 5, 9)), ((5, ""), (9, "")));
    }

    #[test]
    fn durations_are_iso_8601_or_as_people_write_them() {
        assert_eq!(duration_ms("PT1H30M"), Ok(5_400_000));
        assert_eq!(duration_ms("P1D"), Ok(86_400_000));
        assert_eq!(duration_ms("90m"), Ok(5_400_000));
        for wrong in ["", "soon", "-PT1H", "90", "P1M"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}
