//! Runs a script of client quotas: one command a line, its answers below it, each after `  -> `.
//!
//! ```text
//! alter ENTITY [KEY[=VALUE] ...] [+ ...]    without a value the key is taken away
//! find USER CLIENT                          what holds, and with whom it is shared
//! from ADDRESS                              how many connections a second may come from there
//! describe [FILTER]                         strict! before it asks for exactly these parts
//! ```
//! ENTITY is parts, such as `user:NAME/client-id:NAME`; NAME `*` is the default. FILTER is the same, and
//! NAME `?` any; a number before the part is the kind of match as on the wire. `-` has no part.

use std::fmt::Write;
use std::sync::Arc;

use replication::cluster::Cluster;
use replication::config::broker::Configs;
use replication::event::Event;
use replication::node::NodeId;
use replication::quota::alter::{Alteration, alter};
use replication::quota::describe::{Component, Strictness, describe};
use replication::quota::{Entity, Name, Part, Quota};

pub(crate) fn run(script: &str) -> String {
    let node = NodeId::checked(1).expect("not negative");
    let mut cluster = Cluster::new(node, Arc::new(Configs::new()));
    let mut out = String::new();
    for line in script.lines().filter(|it| !it.starts_with("  -> ")) {
        writeln!(out, "{line}").expect("a string takes all");
        let words: Vec<&str> = line.split_whitespace().collect();
        let answers = match words.as_slice() {
            [] | ["#", ..] => vec![],
            ["alter", rest @ ..] => alter_all(&mut cluster, rest),
            ["find", user, client] => find(&cluster, user, client),
            ["from", address] => from(&cluster, address),
            ["describe", filter @ ..] => describe_some(&cluster, filter),
            other => panic!("no such command: {other:?}"),
        };
        for answer in answers {
            writeln!(out, "  -> {answer}").expect("a string takes all");
        }
    }
    out
}

fn parts(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split('/').filter(|it| *it != "-");
    parts.map(|it| it.split_once(':').unwrap_or((it, ""))).collect()
}

fn alter_all(cluster: &mut Cluster, words: &[&str]) -> Vec<String> {
    let request: Vec<Alteration<'_>> = words
        .split(|word| *word == "+")
        .map(|words| {
            let name = |name| if name == "*" { None } else { Some(name) };
            let parts = parts(words[0]).into_iter();
            let changes = words[1..].iter().map(|word| match word.split_once('=') {
                Some((key, value)) => (key, Some(value.parse().expect("a number"))),
                None => (*word, None),
            });
            let entity = parts.map(|(key, it)| (key, name(it))).collect();
            Alteration { entity, changes: changes.collect() }
        })
        .collect();
    let outcomes = alter(cluster.image().quotas(), &request);
    outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Err(refusal) => format!("{:?} \"{}\"", refusal.reason, refusal.message),
            Ok(None) => "nothing to change".to_owned(),
            Ok(Some(event)) => {
                cluster.apply(&event).expect("a command's event applies");
                shown(&event)
            }
        })
        .collect()
}

fn shown(event: &Event) -> String {
    let Event::QuotasChanged { entity, changes } = event else { panic!("{event:?}") };
    let changes = changes.iter().map(|(quota, bound)| match bound {
        Some(bound) => format!("{}={}", quota.key(), bound.get()),
        None => format!("{} taken away", quota.key()),
    });
    format!("{}: {}", name(entity), changes.collect::<Vec<_>>().join(", "))
}

fn name(entity: &Entity) -> String {
    let part =
        |(part, name): (Part, &Name)| format!("{}:{}", part.key(), name.as_option().unwrap_or("*"));
    entity.parts().map(part).collect::<Vec<_>>().join("/")
}

fn find(cluster: &Cluster, user: &str, client: &str) -> Vec<String> {
    let client = if client == "-" { "" } else { client };
    let found = |quota| cluster.image().quotas().find(quota, user, client);
    let found = Quota::ALL.into_iter().filter_map(found);
    found.map(|(payer, bound)| format!("{payer}: {}", bound.get())).collect()
}

fn from(cluster: &Cluster, address: &str) -> Vec<String> {
    let found = cluster.image().quotas().find_address(address.parse().expect("an address"));
    found.map(|bound| bound.get().to_string()).into_iter().collect()
}

fn describe_some(cluster: &Cluster, filter: &[&str]) -> Vec<String> {
    let (strictness, filter) = match filter {
        ["strict!", filter] => (Strictness::Strict, *filter),
        [filter] => (Strictness::Lax, *filter),
        _ => panic!("one filter"),
    };
    let components: Vec<Component<'_>> = parts(filter)
        .into_iter()
        .map(|(key, text)| {
            let (own, key) = match key.split_at_checked(1) {
                Some((digit, key)) if digit.parse::<i8>().is_ok() => (digit.parse().ok(), key),
                _ => (None, key),
            };
            let (match_type, name) = match text {
                "*" => (1, None),
                "?" => (2, None),
                name => (0, Some(name)),
            };
            Component { entity_type: key, match_type: own.unwrap_or(match_type), name }
        })
        .collect();
    match describe(cluster.image().quotas(), &components, strictness) {
        Err(refusal) => vec![format!("{:?} \"{}\"", refusal.reason, refusal.message)],
        Ok(found) => found
            .into_iter()
            .map(|(entity, bounds)| {
                let bounds =
                    bounds.iter().map(|(quota, bound)| format!("{}={}", quota.key(), bound.get()));
                format!("{}: {}", name(entity), bounds.collect::<Vec<_>>().join(", "))
            })
            .collect(),
    }
}
