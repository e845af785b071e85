//! Tells that the disk keeps a frame of the journal for long: while it does, and when it is over.
//!
//! What goes through the journal is not acknowledged meanwhile, and nothing else says why: the device may be
//! busy or broken, or the kernel's thread that ends the write is given no core. Changes nothing.
//! Looks once in `SILENCE` at most, and never while nothing is written: a write that takes twice as long is
//! seen, a shorter one may not be.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::{Io, Nanos};
use crate::limits::SILENCE;
use crate::metrics::Metric;
use crate::shard::Shard;
use crate::signal::Bell;

/// What is known of the write that is on its way.
#[derive(Default)]
pub(super) struct Silence {
    since: Cell<Option<Nanos>>,
    begun: Bell,
    ended: Bell,
}

impl Silence {
    pub(super) fn begin(&self, now: Nanos) {
        self.since.set(Some(now));
        self.begun.ring();
    }

    pub(super) fn end(&self) {
        self.since.set(None);
        self.ended.ring();
    }
}

/// One per shard.
pub(crate) async fn watch<I: Io>(shard: Rc<Shard<I>>) {
    let silence = &shard.commit.silence;
    while !shard.has_ended() {
        let Some(since) = silence.since.get() else {
            silence.begun.next().wait().await;
            continue;
        };
        shard.io.sleep(SILENCE).await;
        if silence.since.get() != Some(since) {
            continue;
        }
        shard.recorder.borrow_mut().add(Metric::JournalSilences, 1);
        tracing::warn!(
            "the disk has kept a journal write for a second: what the journal takes is acknowledged when it ends"
        );
        silence.ended.next().wait().await;
        let waited_ms = shard.io.now().since(since).as_millis();
        tracing::warn!(waited_ms, "the disk has ended the journal write");
    }
}
