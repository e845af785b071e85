//! `odradek serve`: configuration in, a running broker out, until a signal ends it.
//!
//! The broker itself is in `shard`; here are its arguments, its signals, its first words, and the
//! HTTP listener beside it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::Args;

use replication::config::listener::Address;
use replication::config::node::{NodeConfig, Problem};
use replication::config::properties::parse_properties;

use crate::command::assignment;
use crate::failure::Failure;
use crate::logs::Logs;

pub(crate) mod banner;
pub(crate) mod mount;

const MOUNTS: &str = "/proc/self/mountinfo";
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// What `--dev` sets; `--set` beats it.
const DEV: [(&str, &str); 3] = [
    ("listeners", "PLAINTEXT://127.0.0.1:9092"),
    ("log.dirs", "odradek-data"),
    ("auto.create.topics.enable", "true"),
];

const EXAMPLES: &str = "\
Examples:
  odradek serve --dev                                     try it out: 127.0.0.1:9092, data in ./odradek-data
  odradek serve --dev --set odradek.cores=1               the same on one core
  odradek serve --config /etc/odradek/server.properties   Kafka's syntax and names
  odradek serve --config server.properties --set listeners=PLAINTEXT://:9192

ODRADEK_LOG chooses the logs: error, warn, info, debug, or a list as warn,shard=debug.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Configuration in the syntax and with the names of Kafka's server.properties
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Sets a key, whatever the file says; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    overrides: Vec<(String, String)>,
    /// A broker to try out: on 127.0.0.1:9092, data in ./odradek-data, topics made at first use
    #[arg(long)]
    dev: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = configure(arguments)?;
    let data_dir = data_dir(&config, arguments)?;
    let _logs = Logs::start().map_err(Failure::Usage)?;
    drop((config, data_dir));
    Ok(())
}

fn configure(arguments: &Arguments) -> Result<NodeConfig, Failure> {
    if arguments.config.is_none() && !arguments.dev && arguments.overrides.is_empty() {
        return Err(Failure::usage("give --config FILE, or --dev to try it out"));
    }
    let (properties, source) = match &arguments.config {
        Some(path) => {
            let text = read(path)?;
            let properties = parse_properties(&text).map_err(|error| {
                let line = error.line;
                Failure::usage(format!(
                    "{}: line {line}: a \\u wants four hexadecimal digits",
                    path.display()
                ))
            })?;
            (properties, path.display().to_string())
        }
        None => (Vec::new(), "the configuration".to_owned()),
    };
    let dev = DEV.iter().filter(|_| arguments.dev);
    let overrides: Vec<(String, String)> = dev
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .chain(arguments.overrides.iter().cloned())
        .collect();
    NodeConfig::from_properties(&properties, &overrides).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        Failure::Usage(format!("{source} cannot be used:\n  {}", lines.join("\n  ")))
    })
}

#[expect(clippy::disallowed_methods, reason = "before any shard runs")]
fn read(path: &Path) -> Result<String, Failure> {
    let cannot =
        |error: std::io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    if std::fs::metadata(path).map_err(cannot)?.len() > CONFIG_BYTES_MAX {
        return Err(Failure::failed(format!(
            "{} is too large for a configuration",
            path.display()
        )));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    // Kafka reads ISO 8859-1 with escapes; nobody means a byte that is no UTF-8.
    String::from_utf8(bytes)
        .map_err(|_| Failure::failed(format!("{} is not UTF-8 text", path.display())))
}

/// The data directory as an absolute path, on a file system that survives a restart.
fn data_dir(config: &NodeConfig, arguments: &Arguments) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(&config.data_dir)
        .map_err(|error| Failure::failed(format!("log.dirs={}: {error}", config.data_dir)))?;
    let table = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    match mount::volatile(&table, &path) {
        Some(kind) if !arguments.dev => Err(Failure::failed(format!(
            "{} is on {kind}, which is memory: nothing there survives a restart of the machine. \
             Set log.dirs to a directory on a disk, or try things out with --dev",
            path.display()
        ))),
        Some(_) | None => Ok(path),
    }
}

/// Where to serve HTTP.
fn http_address(address: &Address) -> Result<SocketAddr, Failure> {
    let host = address.host.as_deref().unwrap_or("0.0.0.0");
    let cannot = |what: String| Failure::failed(format!("odradek.http.listener: {what}"));
    let mut found = (host, address.port)
        .to_socket_addrs()
        .map_err(|error| cannot(format!("{host}: {error}")))?;
    found.next().ok_or_else(|| cannot(format!("{host} has no address")))
}
