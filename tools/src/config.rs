//! `odradek config`: the configs of a running cluster, and what a broker would make of a file of them,
//! line by line.
//!
//! A check starts nothing, and looks nothing up but the file.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use replication::config::node::{NodeConfig, Problem, Verdict, judge};
use replication::config::properties::{Property, parse_properties};

use crate::command::print;
use crate::config::resource::{GetArguments, SetArguments, UnsetArguments};
use crate::failure::Failure;
use crate::table::Table;

pub(crate) mod resource;
pub(crate) mod warnings;

const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say of each line of a server.properties what a broker would do with it
    Check(CheckArguments),
    /// Show the configs of a topic, a broker or a group
    Get(GetArguments),
    /// Set configs of a topic, a broker or a group
    Set(SetArguments),
    /// Give configs of a topic, a broker or a group their default again
    Unset(UnsetArguments),
}

const CHECK_EXAMPLES: &str = "\
Examples:
  odradek config check /etc/kafka/server.properties
  odradek config check server.properties --json | jq '.[] | select(.verdict == \"refused\")'

honoured   it does what it does in Kafka
no effect  taken, and nothing follows from it
refused    the broker would not start: exit code 1";

#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArguments {
    /// Configuration in the syntax of Kafka's server.properties
    file: PathBuf,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Check(arguments) => check(arguments),
        Verb::Get(arguments) => resource::get(arguments),
        Verb::Set(arguments) => resource::set(arguments),
        Verb::Unset(arguments) => resource::unset(arguments),
    }
}

/// What becomes of one line; line 0 is a default.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: u32,
    key: String,
    verdict: &'static str,
    why: String,
}

const HONOURED: &str = "honoured";
const NO_EFFECT: &str = "no effect";
const REFUSED: &str = "refused";

fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let rows = rows(&read(&arguments.file)?);
    if arguments.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|it| {
                json!({ "line": it.line, "key": it.key, "verdict": it.verdict, "reason": it.why })
            })
            .collect();
        print(format!("{:#}\n", Value::Array(rows)).as_bytes())?;
    } else {
        let mut table = Table::new(&["line", "key", "verdict", "reason"]);
        for Row { line, key, verdict, why } in &rows {
            table.row(vec![line.to_string(), key.clone(), (*verdict).to_owned(), why.clone()]);
        }
        print(table.to_string().as_bytes())?;
    }
    match rows.iter().filter(|it| it.verdict == REFUSED).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("a broker would not start with it: 1 line is refused")),
        count => Err(Failure::failed(format!(
            "a broker would not start with it: {count} lines are refused"
        ))),
    }
}

/// In the order of the lines.
fn rows(properties: &[Property]) -> Vec<Row> {
    let mut rows: Vec<Row> = properties.iter().map(|property| row(property, properties)).collect();
    let problems = NodeConfig::from_properties(properties, &[]).err().unwrap_or_default();
    for Problem { key, line, message } in problems {
        match rows.iter_mut().find(|it| it.line == line && it.key == key) {
            // What is wrong with it together with others.
            Some(row) if row.verdict != REFUSED => (row.verdict, row.why) = (REFUSED, message),
            Some(_) => {}
            None => rows.push(Row { line, key, verdict: REFUSED, why: message }),
        }
    }
    rows.sort_by_key(|it| it.line);
    rows
}

fn row(property: &Property, all: &[Property]) -> Row {
    let Property { key, value, line } = property;
    let later = all.iter().rfind(|it| it.key == *key).map_or(*line, |last| last.line);
    let (verdict, why) = if *line < later {
        (NO_EFFECT, format!("line {later} sets it again"))
    } else {
        match judge(key, value) {
            Verdict::Honoured => (HONOURED, String::new()),
            Verdict::NoEffect(reason) => (NO_EFFECT, reason.to_owned()),
            Verdict::Refused(why) | Verdict::Unknown(why) => (REFUSED, why),
        }
    };
    Row { line: *line, key: key.clone(), verdict, why }
}

/// The properties in a file.
#[expect(clippy::disallowed_methods, reason = "before any shard runs")]
pub(crate) fn read(path: &Path) -> Result<Vec<Property>, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot read {shown}: {error}"));
    if std::fs::metadata(path).map_err(cannot)?.len() > CONFIG_BYTES_MAX {
        return Err(Failure::failed(format!("{shown} is too large for a configuration")));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    // Kafka reads ISO 8859-1 with escapes; nobody means a byte that is no UTF-8.
    let text = String::from_utf8(bytes)
        .map_err(|_not_text| Failure::failed(format!("{shown} is not UTF-8 text")))?;
    parse_properties(&text).map_err(|error| {
        let line = error.line;
        Failure::usage(format!("{shown}: line {line}: a \\u wants four hexadecimal digits"))
    })
}

#[cfg(test)]
mod tests {
    use super::rows;
    use replication::config::properties::parse_properties;

    #[track_caller]
    fn check(text: &str, want: &[(u32, &str, &str, &str)]) {
        let rows = rows(&parse_properties(text).unwrap());
        let rows: Vec<_> =
            rows.iter().map(|it| (it.line, &*it.key, it.verdict, &*it.why)).collect();
        assert_eq!(rows, want);
    }

    #[test]
    fn every_line_has_a_verdict() {
        check("num.partitions=3\n# a comment\n", &[(1, "num.partitions", "honoured", "")]);
        let idle = "each core runs one thread that does everything";
        check("\nnum.io.threads=8\n", &[(2, "num.io.threads", "no effect", idle)]);
        let unknown = "there is no such config; did you mean log.dirs?";
        check("log.dirss=/x\n", &[(1, "log.dirss", "refused", unknown)]);
    }

    #[test]
    fn what_only_goes_wrong_together_is_refused_too() {
        let why = "it is 2, but node.id is 1: remove one of them";
        check(
            "node.id=1\nbroker.id=2\n",
            &[(1, "node.id", "honoured", ""), (2, "broker.id", "refused", why)],
        );
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        check(
            "node.id=x\nnode.id=2\n",
            &[(1, "node.id", "no effect", "line 2 sets it again"), (2, "node.id", "honoured", "")],
        );
    }
}
