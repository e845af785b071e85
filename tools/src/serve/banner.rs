//! What `serve` says at its start: one line each for all that a person wants to know.
//!
//! Pure: facts in, text out.

use std::net::SocketAddr;
use std::sync::Arc;

use replication::config::broker::Layers;
use replication::config::listener::Address;
use replication::config::node::NodeConfig;
use shard::recovery::Report;

use crate::table::printable;

/// What is known only once the broker runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) listening: Vec<Listening>,
    pub(crate) data_dir: String,
    pub(crate) cores: Vec<usize>,
    pub(crate) memory_bytes: u64,
    /// `None`: not served.
    pub(crate) http: Option<String>,
    /// Topics that are acknowledged from memory.
    pub(crate) cached_topics: Vec<String>,
    pub(crate) recovered: Report,
}

/// One listener.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) name: String,
    pub(crate) bound: SocketAddr,
    /// What Metadata answers: clients connect there.
    pub(crate) advertised: Address,
}

pub(crate) fn render(config: &NodeConfig, facts: &Facts) -> String {
    let mut lines =
        vec![("odradek", format!("{}, node {}", env!("CARGO_PKG_VERSION"), config.node))];
    for Listening { name, bound, advertised } in &facts.listening {
        let told = show(advertised);
        lines.push(("listening", format!("{bound} ({name}; clients are told {told})")));
    }
    let numbers: Vec<String> = facts.cores.iter().map(ToString::to_string).collect();
    lines.push(("cores", format!("{} ({})", facts.cores.len(), numbers.join(", "))));
    let durability = "an acknowledged record is on the device (acks=1 and acks=all)";
    lines.push(("durability", durability.to_owned()));
    lines.push(("data", facts.data_dir.clone()));
    lines.push(("memory", format!("{} for buffers", mebibytes(facts.memory_bytes))));
    let Report { journal_frames, carried_bytes, .. } = facts.recovered;
    let replayed = format!("{journal_frames} journal frames, {carried_bytes} bytes of records");
    lines.push(("replayed", replayed));
    let layers = Layers { file: Arc::clone(&config.file), ..Layers::default() };
    if layers.value("auto.create.topics.enable") == Some("true") {
        let what = "made when a client first asks for them (auto.create.topics.enable=true)";
        lines.push(("topics", what.to_owned()));
    }
    let http = facts.http.as_ref().map(|address| format!("http://{address}/metrics"));
    lines.push(("http", http.unwrap_or_else(|| "off (odradek.http.listener is empty)".to_owned())));
    for idle in &config.without_effect {
        lines.push(("no effect", format!("{}: {}", idle.key, idle.reason)));
    }
    for topic in &facts.cached_topics {
        let what = "write.caching=true, so a crash can lose acknowledged records";
        lines.push(("warning", format!("topic {topic}: {what}")));
    }
    lines.iter().map(|(label, text)| format!("{label:<11} {}\n", printable(text))).collect()
}

pub(crate) fn show(address: &Address) -> String {
    let host = address.host.as_deref().unwrap_or("localhost");
    if host.contains(':') {
        format!("[{host}]:{}", address.port)
    } else {
        format!("{host}:{}", address.port)
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::{Facts, Listening, render};
    use replication::config::listener::Address;
    use replication::config::node::NodeConfig;
    use replication::config::properties::parse_properties;
    use shard::recovery::Report;

    fn facts() -> Facts {
        Facts {
            listening: vec![Listening {
                name: "PLAINTEXT".to_owned(),
                bound: "0.0.0.0:9092".parse().unwrap(),
                advertised: Address { host: Some("here".into()), port: 9_092 },
            }],
            data_dir: "/data".to_owned(),
            cores: vec![0, 3],
            memory_bytes: 3 << 30,
            http: Some("127.0.0.1:9644".to_owned()),
            cached_topics: vec!["cache\u{7}".to_owned()],
            recovered: Report { journal_frames: 2, carried_bytes: 300, ..Report::default() },
        }
    }

    fn banner(text: &str) -> String {
        let config = NodeConfig::from_properties(&parse_properties(text).unwrap(), &[]).unwrap();
        render(&config, &facts())
    }

    #[test]
    fn everything_is_said_in_a_line_of_its_own() {
        let banner = banner("num.io.threads=8\n");
        for line in [
            "listening   0.0.0.0:9092 (PLAINTEXT; clients are told here:9092)\n",
            "cores       2 (0, 3)\n",
            "durability  an acknowledged record is on the device (acks=1 and acks=all)\n",
            "data        /data\n",
            "replayed    2 journal frames, 300 bytes of records\n",
            "memory      3072 MiB for buffers\n",
            "http        http://127.0.0.1:9644/metrics\n",
            "topics      made when a client first asks for them (auto.create.topics.enable=true)\n",
            "no effect   num.io.threads: ",
            "warning     topic cache\\u{7}: write.caching=true, so a crash can lose acknowledged records\n",
        ] {
            assert!(banner.contains(line), "{line} in {banner}");
        }
    }

    #[test]
    fn topics_that_are_not_made_by_themselves_are_not_mentioned() {
        assert!(!banner("auto.create.topics.enable=FALSE\n").contains("auto.create"));
    }
}
