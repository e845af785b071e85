//! Our broker as a target: one process, as many cores as the placement gives it.

use std::env;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::placement::Placement;
use crate::protocol::Protocol;
use crate::target::instance::{Instance, free_port};
use crate::target::{SHARED_CONFIGS, Site, first_line};

/// As it was named, or beside this program.
pub(super) fn binary(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => env::current_exe()
            .map_err(|error| Failure::io("find this program", error))?
            .with_file_name("odradek"),
    };
    if path.exists() {
        return Ok(path);
    }
    let hint = "build it with `cargo build --release`, or name it: NAME=PATH";
    Err(Failure::new(format!("there is no {}: {hint}", path.display())))
}

pub(super) fn version(binary: &Path) -> Result<String, Failure> {
    let line = first_line(Command::new(binary).arg("--version"))?;
    Ok(line.trim_start_matches("odradek").trim().to_owned())
}

/// Set otherwise than by default.
pub(super) fn configs(placement: &Placement) -> Vec<(String, String)> {
    let shared = SHARED_CONFIGS.iter().copied();
    let mut configs: Vec<(String, String)> = shared
        .chain([("odradek.http.listener", "")])
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    if let Some(count) = placement.broker_core_count() {
        configs.push(("odradek.cores".to_owned(), count.to_string()));
    }
    configs
}

pub(super) fn start(binary: &Path, site: Site<'_>) -> Result<Instance, Failure> {
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let log = site.folder.join("odradek.log");
    let failed = |error| Failure::io(format!("write {}", log.display()), error);
    let output = File::create(&log).map_err(failed)?;
    let mut command = Command::new(binary);
    command.arg("serve").args(["--set", &format!("listeners=PLAINTEXT://{address}")]);
    command.args(["--set", &format!("log.dirs={}", site.folder.join("data").display())]);
    for (key, value) in configs(site.placement) {
        command.args(["--set", &format!("{key}={value}")]);
    }
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
    // Of its own group, so that Ctrl-C on a terminal reaches us alone, and we end it.
    command.process_group(0);
    let child = command
        .spawn()
        .map_err(|error| Failure::io(format!("start {}", binary.display()), error))?;
    let mut instance = Instance::of_child(address, child, site.stop)?;
    instance.until_ready(Protocol::Kafka, &log)?;
    Ok(instance)
}
