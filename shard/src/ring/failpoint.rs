//! Ends the process right before or after the nth operation of a kind, for tests of crashes.
//!
//! Built with `--cfg failpoints` only. `ODRADEK_FAILPOINT=after:write:37` arms it; all shards count together.

use std::io::{self, Write};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::request::Request;

/// On which side of an operation the process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The kernel has not been asked yet.
    Before,
    /// The kernel is done, and nobody has been told.
    After,
}

struct Armed {
    moment: Moment,
    operation: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Counts this operation, and ends the process if it is the one.
pub(super) fn pass(moment: Moment, request: &Request) {
    let Some(armed) = ARMED.get_or_init(arm) else { return };
    if armed.moment != moment || operation(request) != Some(&armed.operation) {
        return;
    }
    // Relaxed: each count is taken once, and nothing else hangs on it.
    if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let said = writeln!(io::stderr(), "failpoint: {}", armed.operation);
        said.expect("who arms a failpoint reads what it says");
        process::abort();
    }
}

fn arm() -> Option<Armed> {
    let text = std::env::var("ODRADEK_FAILPOINT").ok()?;
    let parse = || {
        let (moment, rest) = text.split_once(':')?;
        let (operation, count) = rest.split_once(':')?;
        let moment = match moment {
            "before" => Moment::Before,
            "after" => Moment::After,
            _ => return None,
        };
        let count = count.parse().ok().filter(|it| *it > 0)?;
        Some(Armed { moment, operation: operation.to_owned(), left: AtomicU64::new(count) })
    };
    Some(parse().unwrap_or_else(|| panic!("ODRADEK_FAILPOINT={text}: want MOMENT:OPERATION:COUNT")))
}

/// The name of an operation that the disk may see.
fn operation(request: &Request) -> Option<&'static str> {
    match request {
        Request::Write { .. } => Some("write"),
        Request::WriteBytes { .. } => Some("write-bytes"),
        Request::Open { .. } => Some("open"),
        Request::Rename { .. } => Some("rename"),
        Request::Unlink { .. } => Some("unlink"),
        Request::MakeDir { .. } => Some("make-dir"),
        Request::Allocate { .. } => Some("allocate"),
        Request::Truncate { .. } => Some("truncate"),
        Request::SyncData { .. } => Some("sync"),
        Request::SyncAll { .. } => Some("sync-dir"),
        _ => None,
    }
}
