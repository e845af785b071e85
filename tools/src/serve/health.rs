//! Whether the broker lives, serves or stops, as signals and the HTTP listener share it.
//!
//! Invariant: a broker goes from starting to serving to stopping, and never back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use shard::metrics::Snapshot;
use shard::server::Remote;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;

/// How long an HTTP client waits for the shards' counts.
const METRICS_WAIT: Duration = Duration::from_secs(2);

/// What may be said of the broker from outside. Shared by our threads.
#[derive(Default)]
pub(crate) struct Health {
    /// Set once clients are served.
    remote: OnceLock<Remote>,
    is_stopping: AtomicBool,
}

impl Health {
    pub(crate) fn begin(&self, remote: Remote) {
        assert!(self.remote.set(remote).is_ok(), "a broker starts once");
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.remote.get().is_some() && !self.is_stopping()
    }

    /// A broker that starts or stops has its reasons; neither is one to kill it.
    pub(crate) fn is_live(&self) -> bool {
        match self.remote.get() {
            Some(remote) => self.is_stopping() || remote.metrics(METRICS_WAIT).is_some(),
            None => true,
        }
    }

    /// Nothing is counted while the broker recovers, and nobody answers while it stops.
    pub(crate) fn snapshots(&self) -> Option<Vec<Snapshot>> {
        match self.remote.get() {
            Some(_) if self.is_stopping() => None,
            Some(remote) => remote.metrics(METRICS_WAIT),
            None => Some(Vec::new()),
        }
    }

    // ORDERING: Relaxed here and below, as nothing else is told by it: late by a moment is fine.
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn begin_stop(&self, remote: &Remote) {
        self.is_stopping.store(true, Ordering::Relaxed);
        remote.stop();
    }
}

/// The thread that waits for signals.
#[must_use]
pub(crate) struct Stopper {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Stopper {
    /// From now on the first signal stops the broker cleanly, and a second one ends the process at
    /// once. So does the first one before clients are served: there is nothing to lose yet.
    pub(crate) fn start(health: Arc<Health>) -> Result<Self, Failure> {
        let signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::failed(format!("signals cannot be received: {error}")))?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || wait(signals, &health))
            .map_err(|error| Failure::failed(format!("no thread for signals: {error}")))?;
        Ok(Self { handle, thread })
    }

    /// The broker has ended.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.handle.close();
        self.thread.join().map_err(|_panic| Failure::failed("the thread for signals failed"))
    }
}

fn wait(mut signals: Signals, health: &Health) {
    for signal in signals.forever() {
        match health.remote.get() {
            Some(remote) if !health.is_stopping() => {
                tracing::info!("stopping; a second signal ends the process at once");
                health.begin_stop(remote);
            }
            Some(_) | None => {
                if let Err(error) = emulate_default_handler(signal) {
                    tracing::error!(%error, "the process cannot end itself");
                }
            }
        }
    }
}
