//! How far a benchmark is, on standard error: a bar with the time that remains on a terminal, a line
//! for each run elsewhere.
//!
//! A thread of its own draws, bound to no core, about once a second. Invariant: it has ended when
//! `shown` returns.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::clock::Moment;

const REDRAW: Duration = Duration::from_secs(1);
const BAR_CELLS: u64 = 24;

/// Where a benchmark says how far it is.
pub(crate) struct Progress(Sender<News>);

enum News {
    /// Something begins that will take about so long.
    Begins(String, Duration),
    /// A line for people, above the bar.
    Note(String),
}

/// What is drawn.
struct Picture {
    total: Duration,
    /// Of what has ended, as it was expected.
    done: Duration,
    label: String,
    began: Moment,
    expected: Duration,
}

impl Progress {
    /// What began before has ended.
    pub(crate) fn begins(&self, label: String, expected: Duration) {
        self.tell(News::Begins(label, expected));
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.tell(News::Note(text.into()));
    }

    fn tell(&self, news: News) {
        if self.0.send(news).is_err() {
            // Nobody draws any more: standard error is closed.
        }
    }
}

/// Draws while `body` runs.
pub(crate) fn shown<T>(total: Duration, body: impl FnOnce(&Progress) -> T) -> T {
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        scope.spawn(move || draw(total, &receiver));
        body(&Progress(sender))
    })
}

fn draw(total: Duration, news: &Receiver<News>) {
    let is_terminal = stderr().is_terminal();
    let (label, began) = (String::new(), Moment::now());
    let mut picture =
        Picture { total, done: Duration::ZERO, label, began, expected: Duration::ZERO };
    loop {
        match news.recv_timeout(REDRAW) {
            Ok(News::Begins(label, expected)) => {
                picture.next(label, expected);
                if !is_terminal {
                    say(&format!("{}\n", picture.line(Moment::now())));
                }
            }
            Ok(News::Note(text)) if is_terminal => say(&format!("\r\x1b[K{text}\n")),
            Ok(News::Note(text)) => say(&format!("{text}\n")),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if is_terminal {
                    say("\r\x1b[K");
                }
                return;
            }
        }
        if is_terminal {
            say(&format!("\r\x1b[K{} {}", picture.bar(Moment::now()), picture.line(Moment::now())));
        }
    }
}

fn say(text: &str) {
    if stderr().write_all(text.as_bytes()).is_err() {
        // Nobody looks.
    }
}

impl Picture {
    fn next(&mut self, label: String, expected: Duration) {
        self.done += self.expected;
        self.label = label;
        self.expected = expected;
        self.began = Moment::now();
    }

    /// A thing that takes longer than expected is nearly done until it is.
    fn passed(&self, now: Moment) -> Duration {
        self.done + now.since(self.began).min(self.expected)
    }

    fn percent(&self, now: Moment) -> u64 {
        let total = self.total.as_millis().max(1);
        let percent = (self.passed(now).as_millis() * 100 / total).min(100);
        u64::try_from(percent).expect("at most 100")
    }

    fn bar(&self, now: Moment) -> String {
        let cells = self.percent(now) * BAR_CELLS / 100;
        let cell = |index| if index < cells { '#' } else { '.' };
        format!("[{}]", (0..BAR_CELLS).map(cell).collect::<String>())
    }

    fn line(&self, now: Moment) -> String {
        let left = self.total.saturating_sub(self.passed(now)).as_secs();
        let (minutes, seconds) = (left / 60, left % 60);
        let left = if minutes == 0 {
            format!("{seconds} s")
        } else {
            format!("{minutes} min {seconds} s")
        };
        format!("{:3} %, {left} left: {}", self.percent(now), self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture {
            total: Duration::from_secs(200),
            done: Duration::from_secs(50),
            label: "W2 on kafka".to_owned(),
            began: Moment::BOOT,
            expected: Duration::from_secs(20),
        }
    }

    #[test]
    fn time_that_passed_is_part_of_what_was_expected() {
        let now = Moment::BOOT.plus(Duration::from_secs(10));
        assert_eq!(picture().line(now), " 30 %, 2 min 20 s left: W2 on kafka");
        assert_eq!(picture().bar(now), "[#######.................]");
    }

    #[test]
    fn what_takes_longer_than_expected_does_not_go_past_its_end() {
        let now = Moment::BOOT.plus(Duration::from_secs(1_000));
        assert_eq!(picture().line(now), " 35 %, 2 min 10 s left: W2 on kafka");
    }
}
