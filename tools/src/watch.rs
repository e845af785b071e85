//! `--watch`: the same question again and again, its answer drawn in place of the last one.
//!
//! Ctrl-C ends it, as the shell does. Invariant: a broker that is away for a while ends it only in the
//! first round.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cluster::{Cluster, pause};
use crate::command::{BrokerArguments, print, remark};
use crate::failure::Failure;

const SECONDS_MIN: f64 = 0.05;
const SECONDS_MAX: f64 = 86_400.0;
/// Home, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Args, Debug)]
pub(crate) struct WatchArguments {
    /// Ask again every 2 seconds, or every SECONDS, until Ctrl-C
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = seconds
    )]
    watch: Option<Duration>,
    /// JSON for programs; with --watch, one line a round
    #[arg(long)]
    json: bool,
}

/// One answer, for people and for programs.
pub(crate) struct Answer {
    pub(crate) page: String,
    pub(crate) value: Value,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        Ok(_) | Err(_) => Err(format!("expected seconds, from {SECONDS_MIN} to {SECONDS_MAX}")),
    }
}

impl WatchArguments {
    /// Asks once, or until nobody reads the answers.
    pub(crate) fn run(
        &self,
        broker: &BrokerArguments,
        ask: impl Fn(&mut Cluster) -> Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        let round = || ask(&mut broker.connect()?);
        self.show(&round()?)?;
        let Some(every) = self.watch else { return Ok(()) };
        loop {
            pause(every);
            match round() {
                Ok(answer) => self.show(&answer)?,
                Err(failure) => remark(&failure.to_string()),
            }
        }
    }

    fn show(&self, answer: &Answer) -> Result<(), Failure> {
        let text = match (self.json, self.watch) {
            (true, None) => format!("{:#}\n", answer.value),
            (true, Some(_)) => format!("{}\n", answer.value),
            (false, None) => answer.page.clone(),
            (false, Some(_)) if stdout().is_terminal() => format!("{CLEAR}{}", answer.page),
            (false, Some(_)) => format!("{}\n", answer.page),
        };
        print(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;
    use std::time::Duration;

    #[test]
    fn a_round_takes_from_a_twentieth_of_a_second_to_a_day() {
        assert_eq!(seconds("2"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "1e9", "NaN", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
