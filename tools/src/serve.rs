//! `odradek serve`: configuration in, a running broker out, until a signal ends it.
//!
//! The broker itself is in `shard`; here are its arguments, its first words, and what stands beside
//! it: signals and the HTTP listener.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use engine::bug::Bug;
use replication::config::listener::Address;
use replication::config::node::{NodeConfig, Problem};
use shard::reactor::launch;
use shard::server::Server;

use crate::command::{assignment, print};
use crate::config;
use crate::failure::Failure;
use crate::http::{Listener, Probe};
use crate::logs::Logs;
use crate::serve::banner::Listening;
use crate::serve::health::{Health, Stopper};

pub(crate) mod banner;
pub(crate) mod health;
pub(crate) mod mount;
mod reach;

const MOUNTS: &str = "/proc/self/mountinfo";

/// What `--dev` sets; `--set` beats it.
const DEV: [(&str, &str); 4] = [
    ("listeners", "PLAINTEXT://127.0.0.1:9092"),
    ("log.dirs", "odradek-data"),
    ("auto.create.topics.enable", "true"),
    // The first member of a group waits for nobody.
    ("group.initial.rebalance.delay.ms", "0"),
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
    if cfg!(zoo) {
        choose_bug()?;
    }
    let mut config = configure(arguments)?;
    let data_dir = data_dir(&config, arguments)?;
    config.data_dir = data_dir.display().to_string();
    launch::prepare();
    let _logs = Logs::start().map_err(Failure::Usage)?;

    // Signals and HTTP come first: a taken port is told before anything runs, and a broker that
    // recovers can be asked for its health, and be stopped.
    let health = Arc::new(Health::default());
    let signals = Stopper::start(Arc::clone(&health))?;
    let http = config.http.as_ref().map(|address| serve_http(address, &health)).transpose()?;
    let server = Server::start(config.clone(), &data_dir)
        .map_err(|error| Failure::failed(error.to_string()))?;
    health.begin(server.remote());
    let listening = listening(&server);
    say(&config, &server, &listening, http.as_ref());
    reach::look(listening)?;

    let ended = server.join().map_err(|error| Failure::failed(error.to_string()));
    signals.end()?;
    ended
}

/// A build with bugs gets the one that `ODRADEK_BUG` names, and says so.
fn choose_bug() -> Result<(), Failure> {
    let Ok(name) = std::env::var("ODRADEK_BUG") else { return Ok(()) };
    if !Bug::named(&name).is_some_and(Bug::choose) {
        return Err(Failure::Usage(format!("there is no bug {name}")));
    }
    print(format!("This broker has the bug {name}.\n").as_bytes())
}

fn serve_http(address: &Address, health: &Arc<Health>) -> Result<Listener, Failure> {
    let [counting, waiting, living] = [(); 3].map(|()| Arc::clone(health));
    let probe = Probe {
        snapshots: Box::new(move || counting.snapshots()),
        is_ready: Box::new(move || waiting.is_ready()),
        is_live: Box::new(move || living.is_live()),
    };
    let address = http_address(address)?;
    Listener::start(address, probe).map_err(|error| {
        Failure::failed(format!(
            "cannot serve HTTP on {address}: {error}; choose another odradek.http.listener, or none \
             by leaving it empty"
        ))
    })
}

fn listening(server: &Server) -> Vec<Listening> {
    let facts = server.facts();
    let all = facts.addresses.iter().zip(&facts.advertised);
    all.map(|((name, bound), advertised)| Listening {
        name: name.clone(),
        bound: *bound,
        advertised: advertised.clone(),
    })
    .collect()
}

/// The first words. A closed terminal is no reason not to serve.
fn say(config: &NodeConfig, server: &Server, listening: &[Listening], http: Option<&Listener>) {
    let facts = server.facts();
    let report = facts.ready.report;
    let said = print(
        banner::render(
            config,
            &banner::Facts {
                listening: listening.to_vec(),
                data_dir: config.data_dir.clone(),
                cores: facts.cores.clone(),
                memory_bytes: facts.memory_bytes,
                http: http.map(|listener| listener.address().to_string()),
                cached_topics: facts.ready.cached_topics.clone(),
                recovered: report,
            },
        )
        .as_bytes(),
    );
    if let Err(failure) = said {
        tracing::debug!(%failure, "nobody reads the first words");
    }
    tracing::info!(
        journal_frames = report.journal_frames,
        journal_bytes = report.journal_bytes,
        journal_read_bytes = report.journal_read_bytes,
        journal_ms = millis(report.journal_time),
        partitions_scanned = report.partitions_scanned,
        scanned_bytes = report.scanned_bytes,
        carried_bytes = report.carried_bytes,
        total_ms = millis(report.time),
        "recovered"
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn configure(arguments: &Arguments) -> Result<NodeConfig, Failure> {
    if arguments.config.is_none() && !arguments.dev && arguments.overrides.is_empty() {
        return Err(Failure::usage("give --config FILE, or --dev to try it out"));
    }
    let (properties, source) = match &arguments.config {
        Some(path) => (config::read(path)?, path.display().to_string()),
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

/// The data directory without symbolic links, on a file system that survives a restart.
fn data_dir(config: &NodeConfig, arguments: &Arguments) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(&config.data_dir)
        .and_then(|path| resolve(&path))
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

/// Where an absolute path leads, though its end may not exist yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        match ancestor.canonicalize() {
            Ok(mut resolved) => {
                for component in missing.into_iter().rev() {
                    match component {
                        Component::ParentDir => drop(resolved.pop()),
                        other => resolved.push(other),
                    }
                }
                return Ok(resolved);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.extend(ancestor.components().next_back());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(path.to_owned())
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

#[cfg(test)]
mod tests {
    use super::resolve;
    use std::path::Path;

    #[test]
    fn links_are_followed_though_the_end_does_not_exist_yet() {
        let folder = std::env::temp_dir().join(format!("odradek-resolve-{}", std::process::id()));
        let folder = folder.as_path();
        std::fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link")).unwrap();
        let folder_resolved = folder.canonicalize().unwrap();
        for (path, want) in [
            ("link", "real"),
            ("link/data", "real/data"),
            ("link/a/b", "real/a/b"),
            ("link/a/../../b", "b"),
            ("plain/data", "plain/data"),
        ] {
            assert_eq!(resolve(&folder.join(path)).unwrap(), folder_resolved.join(want), "{path}");
        }
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
