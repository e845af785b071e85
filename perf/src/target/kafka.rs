//! Apache Kafka as a target, from its published artifacts, through the script that the suites use.
//!
//! In split placement the JVM sees one processor: it counts those that it may run on.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::protocol::Protocol;
use crate::target::instance::{Instance, free_port};
use crate::target::{Flush, KAFKA_SCRIPT, SHARED_CONFIGS, Site, first_line};

/// Of the JVM's heap: Kafka's own default.
const HEAP: &str = "1g";

/// Set otherwise than by default; to flush each message is for every log, those of coordinators too.
fn properties(flush: Flush) -> Vec<(&'static str, &'static str)> {
    let mut properties = SHARED_CONFIGS.to_vec();
    if flush == Flush::Always {
        properties.push(("log.flush.interval.messages", "1"));
    }
    properties
}

pub(super) fn configs(flush: Flush) -> Vec<(String, String)> {
    let all = properties(flush).into_iter().chain([("heap", HEAP)]);
    all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Of the server's jar.
pub(super) fn version(repository: &Path) -> Result<String, Failure> {
    let folder = first_line(Command::new(repository.join(KAFKA_SCRIPT)).arg("libs"))?;
    let files = fs::read_dir(&folder)
        .map_err(|error| Failure::io(format!("read Kafka's libraries in {folder:?}"), error))?;
    let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
    let versions = names.filter_map(|name| {
        let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
        version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
    });
    Ok(versions.max().unwrap_or_default())
}

pub(super) fn start(repository: &Path, flush: Flush, site: Site<'_>) -> Result<Instance, Failure> {
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let output = Command::new(repository.join(KAFKA_SCRIPT))
        .arg("start")
        .arg(site.folder)
        .args(properties(flush).iter().map(|(key, value)| format!("{key}={value}")))
        .env("PORT", port.to_string())
        .env("HEAP", HEAP)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .map_err(|error| Failure::io(format!("start {KAFKA_SCRIPT}"), error))?;
    if !output.status.success() {
        let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr));
        let why = format!("{KAFKA_SCRIPT} (it needs a JDK and Maven): {status} {}", said.trim());
        return Err(Failure::new(why));
    }
    let path = site.folder.join("pid");
    let pid = fs::read_to_string(&path)
        .map_err(|error| Failure::io(format!("read {}", path.display()), error))?;
    let pid = pid.trim().parse().map_err(|_letters| Failure::new("Kafka's pid is no number"))?;
    let mut instance = Instance::of_pid(address, pid, site.stop)?;
    instance.until_ready(Protocol::Kafka, &site.folder.join("kafka.log"))?;
    Ok(instance)
}
