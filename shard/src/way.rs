//! Side work of the device, which makes way for commits.
//!
//! The device serves what it is asked for in turn, more or less: a commit waits behind what was begun
//! before it. Whoever has such work asks for a place first; a rule of the kind of work says how many there
//! are. Knows neither work nor rule.
//! Invariant: who waits for a place waits for somebody who has one, so nobody waits for ever.

use std::cell::Cell;

use crate::signal::Bell;

/// One for each kind of side work of a shard.
#[derive(Default)]
pub struct Way {
    running: Cell<usize>,
    /// Rings with every piece of work, also with one that failed.
    ended: Bell,
}

/// Its work is over when it is dropped.
#[must_use]
pub struct Place<'a>(&'a Way);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.ended.ring();
    }
}

impl Way {
    /// A place, if fewer than `count_max` are taken. There is always a first one.
    pub fn try_enter(&self, count_max: usize) -> Option<Place<'_>> {
        if self.running.get() >= count_max.max(1) {
            return None;
        }
        self.running.set(self.running.get() + 1);
        Some(Place(self))
    }

    /// The end of the next piece of work.
    #[must_use]
    pub const fn ended(&self) -> &Bell {
        &self.ended
    }

    /// Waits for a place. `count_max` is asked again whenever a piece of work has ended.
    pub async fn enter(&self, count_max: impl Fn() -> usize) -> Place<'_> {
        loop {
            let ended = self.ended.next();
            if let Some(place) = self.try_enter(count_max()) {
                return place;
            }
            ended.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::Way;
    use crate::io::{Class, Io};
    use crate::sim::{Ended, World};

    #[test]
    fn places_are_as_many_as_the_rule_says_and_come_back() {
        let way = Way::default();
        let first = way.try_enter(0).expect("there is always one");
        assert!(way.try_enter(1).is_none());
        let second = way.try_enter(2).expect("a second one");
        assert!(way.try_enter(2).is_none());
        drop(first);
        assert!(way.try_enter(1).is_none(), "the second one is still there");
        drop(second);
        assert!(way.try_enter(1).is_some());
    }

    #[test]
    fn all_come_to_their_turn_and_never_more_at_once_than_the_rule_says() {
        let mut world = World::new(1);
        let io = world.outside();
        let way = Rc::new(Way::default());
        let (running, most, done) =
            (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..20 {
            let (task_io, way) = (io.clone(), Rc::clone(&way));
            let (running, most, done) = (Rc::clone(&running), Rc::clone(&most), Rc::clone(&done));
            io.spawn(Class::Foreground, async move {
                let place = way.enter(|| 3).await;
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                task_io.sleep(Duration::from_millis(1)).await;
                running.set(running.get() - 1);
                done.set(done.get() + 1);
                drop(place);
            });
        }
        assert_eq!(world.run(Duration::from_secs(1), || false), Ended::Idle);
        assert_eq!((most.get(), done.get()), (3, 20));
    }
}
