//! When a coordinator is to look at something: once for each thing, so that nobody who joins and leaves
//! makes them many.
//!
//! Knows no group. An alarm may come early: whoever is looked at sets the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::{Alarm, Moment};

/// Invariant: the two have the same alarms, and no group is without one.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    by_moment: BTreeSet<(Moment, Arc<str>, Alarm)>,
    by_group: BTreeMap<Arc<str>, BTreeMap<Alarm, Moment>>,
}

impl Alarms {
    pub(crate) fn next(&self) -> Option<Moment> {
        self.by_moment.first().map(|it| it.0)
    }

    /// Of two for the same thing the earlier one stays.
    pub(crate) fn set(&mut self, at: Moment, group: &Arc<str>, alarm: Alarm) {
        let alarms = self.by_group.entry(Arc::clone(group)).or_default();
        match alarms.get_mut(&alarm) {
            Some(present) if *present <= at => return,
            Some(present) => {
                self.by_moment.remove(&(*present, Arc::clone(group), alarm.clone()));
                *present = at;
            }
            None => {
                alarms.insert(alarm.clone(), at);
            }
        }
        self.by_moment.insert((at, Arc::clone(group), alarm));
    }

    /// The first that is due.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<(Arc<str>, Alarm)> {
        if self.next()? > now {
            return None;
        }
        let (_, group, alarm) = self.by_moment.first()?.clone();
        self.forget(&group, &alarm);
        Some((group, alarm))
    }

    pub(crate) fn forget(&mut self, group: &Arc<str>, alarm: &Alarm) {
        let Some(alarms) = self.by_group.get_mut(group) else { return };
        if let Some(at) = alarms.remove(alarm) {
            self.by_moment.remove(&(at, Arc::clone(group), alarm.clone()));
        }
        if alarms.is_empty() {
            self.by_group.remove(group);
        }
    }

    pub(crate) fn forget_group(&mut self, group: &Arc<str>) {
        for (alarm, at) in self.by_group.remove(group).into_iter().flatten() {
            self.by_moment.remove(&(at, Arc::clone(group), alarm));
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        for (at, group, alarm) in other.by_moment {
            self.set(at, &group, alarm);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Alarms;
    use crate::group::{Alarm, Moment};

    fn of(alarms: &[(u64, &str, Alarm)]) -> Alarms {
        let mut set = Alarms::default();
        for (at, group, alarm) in alarms {
            set.set(Moment::new(*at), &(*group).into(), alarm.clone());
        }
        set
    }

    #[track_caller]
    fn check(mut alarms: Alarms, now: u64, want: &[(&str, Alarm)]) {
        let due: Vec<_> = std::iter::from_fn(|| alarms.take_due(Moment::new(now))).collect();
        let want: Vec<_> =
            want.iter().map(|(group, alarm)| (Arc::from(*group), alarm.clone())).collect();
        assert_eq!(due, want);
        assert_eq!(alarms.by_moment.len(), alarms.by_group.values().map(|it| it.len()).sum());
    }

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let all = [(5, "b", Alarm::Join), (3, "a", Alarm::Sync), (9, "a", Alarm::Join)];
        check(of(&all), 2, &[]);
        check(of(&all), 5, &[("a", Alarm::Sync), ("b", Alarm::Join)]);
        check(of(&all), 9, &[("a", Alarm::Sync), ("b", Alarm::Join), ("a", Alarm::Join)]);
    }

    #[test]
    fn a_thing_has_one_alarm_the_earliest() {
        let member = || Alarm::Member("m".into());
        let earlier_last = of(&[(7, "g", member()), (4, "g", member())]);
        check(earlier_last, 4, &[("g", member())]);
        let earlier_first = of(&[(4, "g", member()), (7, "g", member())]);
        check(earlier_first, 7, &[("g", member())]);
    }

    #[test]
    fn what_is_forgotten_does_not_come() {
        let member = || Alarm::Member("m".into());
        let mut alarms = of(&[(1, "g", member()), (2, "g", Alarm::Join), (3, "h", Alarm::Join)]);
        alarms.forget(&"g".into(), &member());
        alarms.forget(&"h".into(), &member());
        alarms.forget_group(&"h".into());
        check(alarms, 9, &[("g", Alarm::Join)]);
    }
}
