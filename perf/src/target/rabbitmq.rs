//! RabbitMQ as a target, from its package: with quorum queues over AMQP 0-9-1, or with streams over the
//! protocol of their plugin.
//!
//! A quorum queue confirms what its log has flushed (D2); a stream confirms what is in the page cache
//! (D1). All that a node usually shares with others is its own here: name, home and so its cookie, ports,
//! and the daemon that tells nodes of each other. In split placement Erlang has as many schedulers as the
//! placement has cores; those that wait for the disk stay as many as they are by default.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::{Moment, pause};
use crate::failure::Failure;
use crate::placement::Placement;
use crate::protocol::Protocol;
use crate::target::Site;
use crate::target::instance::{Companion, Instance, free_port};

/// Where packages put it: below it the programs, and the library with the version in its name. What is on
/// the path changes the user.
const HOME: &str = "/usr/lib/rabbitmq";
const LIBRARY_PREFIX: &str = "rabbitmq_server-";
const NODE: &str = "perf@localhost";
const DAEMON_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
const PORT_TRIES: usize = 100;

/// What partitions are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Queues {
    Quorum,
    Stream,
}

impl Queues {
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Quorum => Protocol::Amqp,
            Self::Stream => Protocol::RabbitStream,
        }
    }

    const fn plugins(self) -> &'static str {
        match self {
            Self::Quorum => "[].",
            Self::Stream => "[rabbitmq_stream].",
        }
    }

    /// The file of its configuration, for clients at this port.
    fn config(self, address: SocketAddr) -> String {
        match self {
            Self::Quorum => format!("listeners.tcp.1 = {address}\n"),
            Self::Stream => format!("listeners.tcp = none\nstream.listeners.tcp.1 = {address}\n"),
        }
    }
}

/// Ports of 127.0.0.1, all different.
struct Ports {
    clients: u16,
    nodes: u16,
    daemon: u16,
}

impl Ports {
    fn free() -> Result<Self, Failure> {
        let clients = free_port()?;
        let nodes = clients + 1;
        for _ in 0..PORT_TRIES {
            let daemon = free_port()?;
            if daemon != clients && daemon != nodes {
                return Ok(Self { clients, nodes, daemon });
            }
        }
        Err(Failure::new("no three ports of 127.0.0.1 are free"))
    }
}

/// Of its library.
pub(super) fn version() -> Result<String, Failure> {
    version_in(Path::new(HOME))
}

fn version_in(home: &Path) -> Result<String, Failure> {
    let entries = fs::read_dir(home.join("lib")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let versions = names.filter_map(|name| name.strip_prefix(LIBRARY_PREFIX).map(str::to_owned));
    versions.max().ok_or_else(|| {
        let home = home.display();
        Failure::new(format!("there is no {home}: install the package rabbitmq-server"))
    })
}

/// Set otherwise than by default.
pub(super) fn configs(queues: Queues, placement: &Placement) -> Vec<(String, String)> {
    let kind = match queues {
        Queues::Quorum => ("queue x-queue-type".to_owned(), "quorum".to_owned()),
        Queues::Stream => ("plugins".to_owned(), "rabbitmq_stream".to_owned()),
    };
    let schedulers = schedulers(placement).map(|it| ("erl".to_owned(), it));
    [kind].into_iter().chain(schedulers).collect()
}

fn schedulers(placement: &Placement) -> Option<String> {
    placement.broker_core_count().map(|it| format!("+S {it}:{it} +SDcpu {it}:{it}"))
}

pub(super) fn start(queues: Queues, site: Site<'_>) -> Result<Instance, Failure> {
    version()?;
    let ports = Ports::free()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.clients));
    let log = site.folder.join("rabbitmq.log");
    write(&site.folder.join("rabbitmq.conf"), &queues.config(address))?;
    write(&site.folder.join("enabled_plugins"), queues.plugins())?;
    write(&site.folder.join("rabbitmq-env.conf"), "")?;
    let daemon = start_daemon(&ports, site.folder)?;
    let failed = |error| Failure::io(format!("write {}", log.display()), error);
    let output = File::create(&log).map_err(failed)?;
    let mut command = Command::new(Path::new(HOME).join("bin/rabbitmq-server"));
    command.envs(environment(&ports, site));
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    // Of its own group, so that Ctrl-C on a terminal reaches us alone, and we end it.
    command.process_group(0);
    let child = command.spawn().map_err(|error| Failure::io("start rabbitmq-server", error))?;
    let mut instance = Instance::of_child(address, child, site.stop)?.with(daemon);
    instance.until_ready(queues.protocol(), &log)?;
    Ok(instance)
}

fn environment(ports: &Ports, site: Site<'_>) -> Vec<(&'static str, String)> {
    let path = |name: &str| site.folder.join(name).display().to_string();
    vec![
        ("HOME", site.folder.display().to_string()),
        ("ERL_EPMD_ADDRESS", Ipv4Addr::LOCALHOST.to_string()),
        ("ERL_EPMD_PORT", ports.daemon.to_string()),
        // So that its script becomes the broker instead of waiting for it.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ("RABBITMQ_NODENAME", NODE.to_owned()),
        ("RABBITMQ_DIST_PORT", ports.nodes.to_string()),
        ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("data")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", schedulers(site.placement).unwrap_or_default()),
    ]
}

/// The daemon through which nodes find each other. A node starts one that outlives it if there is none.
fn start_daemon(ports: &Ports, folder: &Path) -> Result<Companion, Failure> {
    let child = Command::new("epmd")
        .args(["-address", &Ipv4Addr::LOCALHOST.to_string()])
        .args(["-port", &ports.daemon.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::io("start epmd", error))?;
    let daemon = Companion::of(child);
    let deadline = Moment::now().plus(DAEMON_WAIT);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, ports.daemon)).is_err() {
        if deadline <= Moment::now() {
            return Err(Failure::new("epmd does not answer"));
        }
        pause(PAUSE);
    }
    Ok(daemon)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io(format!("write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_named() {
        let why = version_in(Path::new("/nowhere")).expect_err("it is not there").to_string();
        assert!(why.contains("install the package rabbitmq-server"), "{why}");
    }

    #[test]
    fn a_node_has_as_many_schedulers_as_cores() {
        let split = Placement::Split { broker: vec![0, 1], load: 2 };
        assert_eq!(schedulers(&split).as_deref(), Some("+S 2:2 +SDcpu 2:2"));
        assert_eq!(schedulers(&Placement::Shared), None);
    }
}
