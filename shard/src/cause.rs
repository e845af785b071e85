//! Why the broker closed a connection, or let none in: each cause is counted, and told in the log, but
//! no more often than once in `TOLD_EVERY`: strangers cannot fill the log.
//!
//! Knows no connection and reads no clock.

use std::fmt;
use std::time::Duration;

use net::frame::{Foreign, FrameError};

use crate::io::Nanos;

/// Between two lines of the log for the same cause, on one shard.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    Tls,
    Http,
    Ssh,
    FrameBytes,
    Header,
    Request,
    Answer,
    Unacknowledged,
    NoRequest,
    SlowRequest,
    SlowReader,
    Idle,
    NotAccepted,
    AddressFull,
    AddressRate,
    Full,
    Rate,
}

impl Cause {
    pub const ALL: [Self; 17] = [
        Self::Tls,
        Self::Http,
        Self::Ssh,
        Self::FrameBytes,
        Self::Header,
        Self::Request,
        Self::Answer,
        Self::Unacknowledged,
        Self::NoRequest,
        Self::SlowRequest,
        Self::SlowReader,
        Self::Idle,
        Self::NotAccepted,
        Self::AddressFull,
        Self::AddressRate,
        Self::Full,
        Self::Rate,
    ];

    #[must_use]
    pub const fn of_frame(error: FrameError) -> Self {
        match error {
            FrameError::TooSmall | FrameError::TooLarge => Self::FrameBytes,
            FrameError::Foreign(Foreign::Tls) => Self::Tls,
            FrameError::Foreign(Foreign::Http) => Self::Http,
            FrameError::Foreign(Foreign::Ssh) => Self::Ssh,
        }
    }

    /// As a label of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::FrameBytes => "frame_bytes",
            Self::Header => "header",
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Unacknowledged => "unacknowledged",
            Self::NoRequest => "no_request",
            Self::SlowRequest => "slow_request",
            Self::SlowReader => "slow_reader",
            Self::Idle => "idle",
            Self::NotAccepted => "not_accepted",
            Self::AddressFull => "address_full",
            Self::AddressRate => "address_rate",
            Self::Full => "full",
            Self::Rate => "rate",
        }
    }

    pub(crate) fn index(self) -> usize {
        Self::ALL.binary_search(&self).expect("ALL lists every cause, in order")
    }
}

impl fmt::Display for Cause {
    /// For the line of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "a TLS handshake, and this listener speaks plaintext",
            Self::Http => "an HTTP request, and this listener speaks Kafka",
            Self::Ssh => "an SSH banner, and this listener speaks Kafka",
            Self::FrameBytes => "a size that no request may have",
            Self::Header => "a request header cannot be read",
            Self::Request => "a request cannot be read",
            Self::Answer => "an answer cannot be written",
            Self::Unacknowledged => "a produce request without acknowledgement has failed",
            Self::NoRequest => "no request came",
            Self::SlowRequest => "a request has begun and does not get on",
            Self::SlowReader => "answers are not taken",
            Self::Idle => "idle for connections.max.idle.ms",
            Self::NotAccepted => "it could not be accepted",
            Self::AddressFull => "its address has max.connections.per.ip already",
            Self::AddressRate => "its address makes more than its connection_creation_rate",
            Self::Full => "there are max.connections already",
            Self::Rate => "more come than max.connection.creation.rate",
        })
    }
}

/// What the log was told. One per shard.
#[derive(Debug, Default)]
pub struct Tellings {
    told_at: [Option<Nanos>; Cause::ALL.len()],
    untold: [u64; Cause::ALL.len()],
}

impl Tellings {
    /// Whether to write a line for a connection closed now: then, how many of the same cause had none.
    pub fn on_close(&mut self, now: Nanos, cause: Cause) -> Option<u64> {
        let index = cause.index();
        if self.told_at[index].is_some_and(|told_at| now.since(told_at) < TOLD_EVERY) {
            self.untold[index] += 1;
            return None;
        }
        self.told_at[index] = Some(now);
        Some(std::mem::take(&mut self.untold[index]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{Cause, Tellings};
    use crate::io::Nanos;

    #[test]
    fn causes_are_listed_in_order_and_have_names_of_their_own() {
        assert!(Cause::ALL.is_sorted());
        let names: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
    }

    #[test]
    fn a_flood_of_one_cause_has_a_line_a_second_and_hides_no_other_cause() {
        let mut tellings = Tellings::default();
        let mut lines = vec![];
        for ms in 0..2_500 {
            let now = Nanos::new(7).plus(Duration::from_millis(ms));
            lines.extend(tellings.on_close(now, Cause::Http));
        }
        assert_eq!(lines, [0, 999, 999]);
        assert_eq!(tellings.on_close(Nanos::new(8), Cause::Tls), Some(0));
    }
}
