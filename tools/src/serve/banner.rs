//! What `serve` says at its start: one line each for all that a person wants to know.
//!
//! Pure: facts in, text out.

use replication::config::listener::Address;
use replication::config::node::NodeConfig;

use crate::table::printable;

/// What is known only once the broker runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) data_dir: String,
    pub(crate) cores: Vec<usize>,
    pub(crate) memory_bytes: u64,
    /// `None`: not served.
    pub(crate) http: Option<String>,
    /// Topics that are acknowledged from memory.
    pub(crate) cached_topics: Vec<String>,
}

pub(crate) fn render(config: &NodeConfig, facts: &Facts) -> String {
    let mut lines =
        vec![("odradek", format!("{}, node {}", env!("CARGO_PKG_VERSION"), config.node))];
    for listener in &config.listeners {
        let told = show(&listener.advertised);
        let (name, bind) = (&listener.name, show(&listener.bind));
        lines.push(("listening", format!("{bind} ({name}; clients are told {told})")));
    }
    let numbers: Vec<String> = facts.cores.iter().map(ToString::to_string).collect();
    lines.push(("cores", format!("{} ({})", facts.cores.len(), numbers.join(", "))));
    let durability = "an acknowledged record is on the device (acks=1 and acks=all)";
    lines.push(("durability", durability.to_owned()));
    lines.push(("data", facts.data_dir.clone()));
    lines.push(("memory", format!("{} for buffers", mebibytes(facts.memory_bytes))));
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

fn show(address: &Address) -> String {
    match address.host.as_deref() {
        None => format!("*:{}", address.port),
        Some(host) if host.contains(':') => format!("[{host}]:{}", address.port),
        Some(host) => format!("{host}:{}", address.port),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::{Facts, render};
    use replication::config::node::NodeConfig;
    use replication::config::properties::parse_properties;

    #[test]
    fn everything_is_said_in_a_line_of_its_own() {
        let text = "listeners=PLAINTEXT://127.0.0.1:9092\nnum.io.threads=8\n";
        let config = NodeConfig::from_properties(&parse_properties(text).unwrap(), &[]).unwrap();
        let facts = Facts {
            data_dir: "/data".to_owned(),
            cores: vec![0, 3],
            memory_bytes: 3 << 30,
            http: Some("127.0.0.1:9644".to_owned()),
            cached_topics: vec!["cache\u{7}".to_owned()],
        };
        let banner = render(&config, &facts);
        for line in [
            "listening   127.0.0.1:9092 (PLAINTEXT; clients are told 127.0.0.1:9092)\n",
            "cores       2 (0, 3)\n",
            "durability  an acknowledged record is on the device (acks=1 and acks=all)\n",
            "data        /data\n",
            "memory      3072 MiB for buffers\n",
            "http        http://127.0.0.1:9644/metrics\n",
            "no effect   num.io.threads: ",
            "warning     topic cache\\u{7}: write.caching=true, so a crash can lose acknowledged records\n",
        ] {
            assert!(banner.contains(line), "{line} in {banner}");
        }
    }
}
