//! The slow lane: of all long work of a shard one slice is done at a time, and then the next one's,
//! when nothing else is to be done or a few turns have passed, and never without a pause: a core that is never
//! idle makes the kernel's threads wait, on which every durable write hangs.
//!
//! What is short goes by. What decompresses to much more than usual would otherwise add its slice to every
//! round of the shard's tasks, as often as there are connections that send such things.
//! Knows nothing of the work. The first who waits is the first who goes on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::io::Io;
use crate::limits::{LONG_PAUSE, SHORT_SLICES};
use crate::signal::{self, Promise};

/// One per shard.
#[derive(Default)]
pub struct Lane {
    is_taken: Cell<bool>,
    waiting: RefCell<VecDeque<Promise<()>>>,
}

impl Lane {
    /// Until the lane is this one's, for a slice.
    async fn enter(&self) {
        if self.is_taken.replace(true) {
            let (promise, turn) = signal::promise();
            self.waiting.borrow_mut().push_back(promise);
            turn.wait().await;
        }
    }

    /// The slice is done: the lane is the next one's.
    fn leave(&self) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some(next) if next.offer(()) => return,
                Some(_) => {}
                None => {
                    self.is_taken.set(false);
                    return;
                }
            }
        }
    }
}

/// Work that is done in slices.
pub struct Sliced<'a, I: Io> {
    io: &'a I,
    lane: &'a Lane,
    slice_count: usize,
}

impl<'a, I: Io> Sliced<'a, I> {
    #[must_use]
    pub const fn new(io: &'a I, lane: &'a Lane) -> Self {
        Self { io, lane, slice_count: 0 }
    }

    /// Does a slice, after other tasks have run if it is not the first.
    pub async fn next<T>(&mut self, slice: impl FnOnce() -> T) -> T {
        self.slice_count += 1;
        if self.slice_count <= SHORT_SLICES {
            if self.slice_count > 1 {
                self.io.yield_now().await;
            }
            return slice();
        }
        self.lane.enter().await;
        self.io.sleep(LONG_PAUSE).await;
        self.io.yield_long().await;
        let done = slice();
        self.lane.leave();
        done
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{Lane, Sliced};
    use crate::io::{Class, Io};
    use crate::limits::SHORT_SLICES;
    use crate::sim::{Ended, World};

    #[test]
    fn long_works_take_turns_and_short_ones_go_by() {
        let mut world = World::new(1);
        let io = world.outside();
        let lane = Rc::new(Lane::default());
        let done = Rc::new(RefCell::new(vec![]));
        for (name, slice_count) in [('a', SHORT_SLICES + 9), ('b', SHORT_SLICES + 9), ('c', 2)] {
            let (task_io, lane, done) = (io.clone(), Rc::clone(&lane), Rc::clone(&done));
            io.spawn(Class::Foreground, async move {
                let mut sliced = Sliced::new(&task_io, &lane);
                for _ in 0..slice_count {
                    sliced.next(|| done.borrow_mut().push(name)).await;
                }
            });
        }
        assert_eq!(world.run(Duration::from_secs(1), || false), Ended::Idle);
        // Who waits for the lane never waits for two slices of another.
        let done = done.take();
        let (short, long) = done.split_at(done.len() - 10);
        assert_eq!(short.iter().filter(|it| **it == 'c').count(), 2);
        let (long, _last) = long.split_at(8); // One may have been first into the lane.
        assert!(long.windows(2).all(|two| two[0] != two[1]), "{long:?}");
        assert!(!lane.is_taken.get());
    }
}
