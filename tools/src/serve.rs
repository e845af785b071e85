//! `odradek serve`: configuration in, a running broker out, until a signal ends it.
//!
//! The broker itself is in `shard`; here are its arguments, its signals, its first words, and the
//! HTTP listener beside it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use replication::config::listener::Address;
use replication::config::node::{NodeConfig, Problem};
use replication::config::properties::parse_properties;
use shard::metrics::Snapshot;
use shard::server::{Remote, Server};

use crate::command::{assignment, print};
use crate::failure::Failure;
use crate::http::{Listener, Probe};
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

/// How long an HTTP client waits for the shards' counts.
const METRICS_WAIT: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = configure(arguments)?;
    let data_dir = data_dir(&config, arguments)?;
    config.data_dir = data_dir.display().to_string();
    let _logs = Logs::start().map_err(Failure::Usage)?;
    let signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::failed(format!("signals cannot be received: {error}")))?;

    // It listens first, so that a taken port is told before anything runs, and so that health can
    // be asked for while the broker recovers.
    let health = Arc::new(Health::default());
    let http = config.http.as_ref().map(|address| serve_http(address, &health)).transpose()?;
    let server = Server::start(config.clone(), &data_dir)
        .map_err(|error| Failure::failed(error.to_string()))?;
    health.begin(server.remote());
    say(&config, &server, http.as_ref());

    let handle = signals.handle();
    let waiter = wait_for_signals(signals, Arc::clone(&health), server.remote())?;
    let ended = server.join().map_err(|error| Failure::failed(error.to_string()));
    handle.close();
    waiter.join().map_err(|_panic| Failure::failed("the thread for signals failed"))?;
    ended
}

/// What the HTTP listener may say of the broker. Shared by its threads and ours.
#[derive(Default)]
struct Health {
    /// Set once clients are served.
    remote: OnceLock<Remote>,
    is_stopping: AtomicBool,
}

impl Health {
    fn begin(&self, remote: Remote) {
        assert!(self.remote.set(remote).is_ok(), "a broker starts once");
    }

    // ORDERING: Relaxed here and below, as nothing else is told by it: late by a moment is fine.
    fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.remote.get().is_some() && !self.is_stopping.load(Ordering::Relaxed)
    }

    /// Nothing is counted while the broker recovers; that is no reason to kill it.
    fn snapshots(&self) -> Option<Vec<Snapshot>> {
        match self.remote.get() {
            Some(remote) => remote.metrics(METRICS_WAIT),
            None => Some(Vec::new()),
        }
    }
}

fn serve_http(address: &Address, health: &Arc<Health>) -> Result<Listener, Failure> {
    let (counting, waiting) = (Arc::clone(health), Arc::clone(health));
    let probe = Probe {
        snapshots: Box::new(move || counting.snapshots()),
        is_ready: Box::new(move || waiting.is_ready()),
    };
    let address = http_address(address)?;
    Listener::start(address, probe).map_err(|error| {
        Failure::failed(format!(
            "cannot serve HTTP on {address}: {error}; choose another odradek.http.listener, or none \
             by leaving it empty"
        ))
    })
}

/// The first words. A closed terminal is no reason not to serve.
fn say(config: &NodeConfig, server: &Server, http: Option<&Listener>) {
    let facts = server.facts();
    let said = print(
        banner::render(
            config,
            &banner::Facts {
                data_dir: config.data_dir.clone(),
                cores: facts.cores.clone(),
                memory_bytes: facts.memory_bytes,
                http: http.map(|listener| listener.address().to_string()),
                cached_topics: facts.ready.cached_topics.clone(),
            },
        )
        .as_bytes(),
    );
    if let Err(failure) = said {
        tracing::debug!(%failure, "nobody reads the first words");
    }
    let report = facts.ready.report;
    tracing::info!(
        journal_frames = report.journal_frames,
        partitions_scanned = report.partitions_scanned,
        carried_bytes = report.carried_bytes,
        "recovered"
    );
}

/// The first signal stops the broker cleanly; a second one ends the process at once.
fn wait_for_signals(
    mut signals: Signals,
    health: Arc<Health>,
    remote: Remote,
) -> Result<JoinHandle<()>, Failure> {
    let wait = move || {
        let mut received = signals.forever();
        if received.next().is_none() {
            return; // The broker ended by itself.
        }
        tracing::info!("stopping; a second signal ends the process at once");
        health.begin_stop();
        remote.stop();
        if let Some(signal) = received.next()
            && let Err(error) = emulate_default_handler(signal)
        {
            tracing::error!(%error, "the process cannot end itself");
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
    thread.map_err(|error| Failure::failed(format!("no thread for signals: {error}")))
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
        .map_err(|_not_text| Failure::failed(format!("{} is not UTF-8 text", path.display())))
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
