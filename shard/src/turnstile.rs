//! Lets one at a time do what others of its shard wait for.

use std::cell::Cell;

use crate::signal::Bell;

/// Who waits comes in no order. Invariant: whoever entered leaves.
#[derive(Default)]
pub struct Turnstile {
    is_taken: Cell<bool>,
    left: Bell,
}

impl Turnstile {
    pub async fn enter(&self) {
        loop {
            let left = self.left.next();
            if !self.is_taken.replace(true) {
                return;
            }
            left.wait().await;
        }
    }

    pub fn leave(&self) {
        self.is_taken.set(false);
        self.left.ring();
    }
}
