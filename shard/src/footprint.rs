//! When memory of the heap is worth giving back to the machine: after a crowd has left, not between two
//! waves of the same traffic.
//!
//! Knows no allocator and reads no clock: it is told, look by look, what connections make the heap hold.

use crate::limits::{TRIM_BYTES_MIN, TRIM_LOOKS};

/// One per shard.
#[derive(Debug, Default)]
pub struct Footprint {
    /// What the heap has grown to, as far as it is known.
    grown_bytes: u64,
    /// The most of the looks since.
    recent_bytes: u64,
    looks: u32,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Rest,
    /// Enough has gone to look again, whether it stays away.
    Look,
    Trim,
}

impl Footprint {
    /// What was held at most since the look before, and what is held now.
    pub fn on_look(&mut self, most_bytes: u64, bytes: u64) -> Step {
        self.recent_bytes = self.recent_bytes.max(most_bytes);
        if self.recent_bytes + TRIM_BYTES_MIN > self.grown_bytes {
            self.grown_bytes = self.grown_bytes.max(self.recent_bytes);
            (self.recent_bytes, self.looks) = (bytes, 0);
            let has_gone = bytes + TRIM_BYTES_MIN <= self.grown_bytes;
            return if has_gone { Step::Look } else { Step::Rest };
        }
        self.looks += 1;
        if self.looks < TRIM_LOOKS {
            return Step::Look;
        }
        self.grown_bytes = self.recent_bytes;
        (self.recent_bytes, self.looks) = (bytes, 0);
        Step::Trim
    }
}

#[cfg(test)]
mod tests {
    use super::{Footprint, Step};
    use crate::limits::TRIM_BYTES_MIN;

    const CROWD: u64 = 10 * TRIM_BYTES_MIN;

    #[test]
    fn memory_is_given_back_once_after_a_crowd_has_left() {
        // It came and went between two looks, or was seen.
        for now in [0, CROWD] {
            let mut footprint = Footprint::default();
            let first = footprint.on_look(CROWD, now);
            assert_eq!(first, if now == 0 { Step::Look } else { Step::Rest });
            let steps: Vec<Step> = (0..100).map(|_| footprint.on_look(0, 0)).collect();
            let trims = steps.iter().filter(|it| **it == Step::Trim).count();
            assert_eq!((trims, steps.last()), (1, Some(&Step::Rest)));
        }
    }

    #[test]
    fn waves_of_traffic_keep_their_memory() {
        let mut footprint = Footprint::default();
        let wave = [0, 0, 0, CROWD].into_iter().cycle();
        assert!(wave.take(1000).all(|it| footprint.on_look(it, 0) != Step::Trim));
    }
}
