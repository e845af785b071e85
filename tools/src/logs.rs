//! Logs: structured events to standard error, written by a thread of their own.
//!
//! A shard that logs only puts a line into a bounded queue; if the terminal is slow, lines are
//! dropped and counted, and no shard waits.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for a slow terminal.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// Writes what is left when dropped.
#[must_use]
pub(crate) struct Logs(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

impl Logs {
    /// Once a process. `ODRADEK_LOG` chooses what is said, as `info` or `warn,shard=debug`.
    pub(crate) fn start() -> Result<Self, String> {
        let filter = EnvFilter::builder()
            .with_env_var("ODRADEK_LOG")
            .with_default_directive(tracing::Level::INFO.into())
            .from_env()
            .map_err(|error| format!("ODRADEK_LOG: {error}"))?;
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES_WAITING_MAX)
            .thread_name("logs")
            .finish(std::io::stderr());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(writer)
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
            .map_err(|error| error.to_string())?;
        Ok(Self(guard))
    }
}
