//! NATS with JetStream as a target: one process, with its streams in files.
//!
//! It writes a record to the page cache before it acknowledges it, and flushes every two minutes (D1).
//! From version 2.10 on it can be told to flush each time (`sync_interval: always`, D2).
//! In split placement Go's scheduler has as many processors as the placement has cores.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::placement::Placement;
use crate::protocol::Protocol;
use crate::target::instance::{Instance, free_port};
use crate::target::{Flush, Site, first_line};

const PROGRAM: &str = "nats-server";
/// The first version that can flush before it acknowledges.
const SYNC_FROM: (u32, u32) = (2, 10);

/// Of the program, which must be able to do what is asked.
pub(super) fn version(binary: Option<&Path>, flush: Flush) -> Result<String, Failure> {
    let program = binary.unwrap_or_else(|| Path::new(PROGRAM));
    let line = first_line(Command::new(program).arg("--version")).map_err(|_missing| {
        let name = program.display();
        let hint = "install the package nats-server, or name it: nats=PATH";
        Failure::new(format!("there is no {name}: {hint}"))
    })?;
    let version = line.rsplit(' ').next().unwrap_or_default().trim_start_matches('v').to_owned();
    if flush == Flush::Always && !can_flush(&version) {
        let why = format!(
            "nats-sync needs NATS 2.10 or later, and this is {version}: name one, nats-sync=PATH"
        );
        return Err(Failure::new(why));
    }
    Ok(version)
}

fn can_flush(version: &str) -> bool {
    let mut numbers = version.split('.').map(|it| it.parse::<u32>().unwrap_or(0));
    SYNC_FROM <= (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Set otherwise than by default.
pub(super) fn configs(flush: Flush, placement: &Placement) -> Vec<(String, String)> {
    let mut configs = Vec::new();
    if flush == Flush::Always {
        configs.push(("sync_interval".to_owned(), "always".to_owned()));
    }
    if let Some(count) = placement.broker_core_count() {
        configs.push(("GOMAXPROCS".to_owned(), count.to_string()));
    }
    configs
}

pub(super) fn start(
    binary: Option<&Path>,
    flush: Flush,
    site: Site<'_>,
) -> Result<Instance, Failure> {
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (log, file) = (site.folder.join("nats.log"), site.folder.join("nats.conf"));
    let failed = |path: &Path, error| Failure::io(format!("write {}", path.display()), error);
    let data = site.folder.join("data");
    let sync = if flush == Flush::Always { "\n  sync_interval: always" } else { "" };
    let text = format!(
        "listen: \"{address}\"\njetstream {{\n  store_dir: {data:?}{sync}\n}}\n",
        data = data.display().to_string(),
    );
    fs::write(&file, text).map_err(|error| failed(&file, error))?;
    let output = File::create(&log).map_err(|error| failed(&log, error))?;
    let errors = output.try_clone().map_err(|error| failed(&log, error))?;
    let mut command = Command::new(binary.unwrap_or_else(|| Path::new(PROGRAM)));
    command.arg("--config").arg(&file);
    if let Some(count) = site.placement.broker_core_count() {
        command.env("GOMAXPROCS", count.to_string());
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    // Of its own group, so that Ctrl-C on a terminal reaches us alone, and we end it.
    command.process_group(0);
    let child = command.spawn().map_err(|error| Failure::io(format!("start {PROGRAM}"), error))?;
    let mut instance = Instance::of_child(address, child, site.stop)?;
    instance.until_ready(Protocol::Nats, &log)?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_flush_is_told_by_the_version() {
        for (version, can) in [("2.9.10", false), ("2.10.0", true), ("3.0", true), ("", false)] {
            assert_eq!(can_flush(version), can, "{version}");
        }
    }

    #[test]
    fn what_is_not_installed_is_named() {
        let nowhere = Path::new("/nowhere/nats-server");
        let why = version(Some(nowhere), Flush::Never).expect_err("it is not there").to_string();
        assert!(why.contains("install the package nats-server"), "{why}");
    }
}
