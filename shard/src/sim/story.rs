//! What happened in a world, in order: a hash that two runs of one seed must share, and the lines a
//! person reads when a seed is replayed.

use crate::io::Nanos;
use crate::sim::chance::mix;

/// Takes a line, without its end.
pub type Listener = Box<dyn FnMut(&str)>;

#[derive(Default)]
pub struct Story {
    hash: u64,
    line_count: u64,
    listener: Option<Listener>,
}

impl Story {
    pub fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// What has happened so far.
    #[must_use]
    pub const fn line_count(&self) -> u64 {
        self.line_count
    }

    /// `numbers` are what the hash sees; `line` is made only if somebody listens.
    pub fn tell(&mut self, now: Nanos, numbers: [u64; 3], line: impl FnOnce() -> String) {
        self.line_count += 1;
        for number in [now.get(), numbers[0], numbers[1], numbers[2]] {
            self.hash = mix(self.hash ^ number);
        }
        if let Some(listener) = &mut self.listener {
            let micros = now.get() / 1000;
            listener(&format!("{:>10}.{:06} {}", micros / 1_000_000, micros % 1_000_000, line()));
        }
    }
}
