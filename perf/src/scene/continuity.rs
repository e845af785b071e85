//! Whether a consumer gets every record once and in order.
//!
//! Each producer numbers what it sends to each partition, so a number that is left out is a record that
//! is missing, and one that came before is a record that came twice, or too late. Records of an
//! earlier scene, and those without numbers, are not judged.

use crate::payload::Head;

/// One per consumer.
#[derive(Debug)]
pub(super) struct Continuity {
    scene: u16,
    producer_count: usize,
    /// By partition, then producer: the number that comes next. `None` if the consumer began in the
    /// middle and has not seen one.
    next: Vec<Option<u32>>,
    pub(super) faults: Faults,
}

/// What should not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) missing_count: u64,
    /// Twice, or behind a later one.
    pub(super) repeated_count: u64,
}

impl Continuity {
    /// `first` is the number that each producer begins with, if the consumer is there from the start.
    pub(super) fn new(
        scene: u16,
        partition_count: usize,
        producer_count: usize,
        first: Option<u32>,
    ) -> Self {
        let next = vec![first; partition_count * producer_count];
        Self { scene, producer_count, next, faults: Faults::default() }
    }

    /// A record came from the consumer's `nth` partition.
    pub(super) fn on_record(&mut self, nth_partition: usize, head: Head) {
        let Some((origin, nth)) = head.origin else { return };
        let producer = usize::from(origin.producer);
        if origin.scene != self.scene || self.producer_count <= producer {
            return;
        }
        let next = &mut self.next[nth_partition * self.producer_count + producer];
        let expected = next.unwrap_or(nth);
        if is_before(nth, expected) {
            self.faults.repeated_count += 1;
            return;
        }
        self.faults.missing_count += u64::from(nth.wrapping_sub(expected));
        *next = Some(nth.wrapping_add(1));
    }

    /// How many records of a producer are acknowledged that did not come, as far as that is known.
    pub(super) fn behind(
        &self,
        nth_partition: usize,
        producer: usize,
        acknowledged_nth: u32,
    ) -> u64 {
        let next = self.next[nth_partition * self.producer_count + producer];
        let behind = next.filter(|it| is_before(*it, acknowledged_nth));
        behind.map_or(0, |it| u64::from(acknowledged_nth.wrapping_sub(it)))
    }

    /// The log has been read to its end, which lies behind all that a producer had acknowledged.
    pub(super) fn on_end(&mut self, nth_partition: usize, producer: usize, acknowledged_nth: u32) {
        let next = &mut self.next[nth_partition * self.producer_count + producer];
        if let Some(expected) = next.filter(|it| is_before(*it, acknowledged_nth)) {
            self.faults.missing_count += u64::from(acknowledged_nth.wrapping_sub(expected));
            *next = Some(acknowledged_nth);
        }
    }
}

/// Numbers go round: the nearer way decides.
const fn is_before(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Origin;

    const SCENE: u16 = 7;

    fn head(producer: u16, nth: u32) -> Head {
        Head { intended_ns: 1, origin: Some((Origin { scene: SCENE, producer }, nth)) }
    }

    #[track_caller]
    fn check(first: Option<u32>, numbers: &[u32], missing_count: u64, repeated_count: u64) {
        let mut continuity = Continuity::new(SCENE, 2, 3, first);
        for nth in numbers {
            continuity.on_record(1, head(2, *nth));
        }
        assert_eq!(continuity.faults, Faults { missing_count, repeated_count });
    }

    #[test]
    fn each_once_and_in_order_is_no_fault() {
        check(Some(0), &[0, 1, 2], 0, 0);
        check(None, &[5, 6, 7], 0, 0);
        check(None, &[u32::MAX, 0, 1], 0, 0);
    }

    #[test]
    fn what_is_left_out_is_missing() {
        check(Some(0), &[2], 2, 0);
        check(None, &[5, 9], 3, 0);
        check(None, &[u32::MAX, 3], 3, 0);
    }

    #[test]
    fn what_comes_again_or_late_is_repeated() {
        check(Some(0), &[0, 0, 1], 0, 1);
        check(None, &[5, 7, 6], 1, 1);
    }

    #[test]
    fn partitions_and_producers_have_numbers_of_their_own() {
        let mut continuity = Continuity::new(SCENE, 2, 3, Some(0));
        for (partition, producer) in [(0, 0), (0, 1), (1, 0)] {
            continuity.on_record(partition, head(producer, 0));
        }
        assert_eq!(continuity.faults, Faults::default());
    }

    #[test]
    fn who_has_not_seen_what_was_acknowledged_is_behind() {
        let mut continuity = Continuity::new(SCENE, 1, 2, Some(u32::MAX));
        assert_eq!(continuity.behind(0, 1, 4), 5);
        continuity.on_record(0, head(1, u32::MAX));
        assert_eq!((continuity.behind(0, 1, 4), continuity.behind(0, 1, 0)), (4, 0));
        let late = Continuity::new(SCENE, 1, 2, None);
        assert_eq!(late.behind(0, 1, 4), 0);
    }

    #[test]
    fn records_of_others_are_not_judged() {
        let mut continuity = Continuity::new(SCENE, 1, 3, Some(0));
        continuity.on_record(0, head(3, 9));
        continuity.on_record(0, Head { intended_ns: 1, origin: None });
        let origin = Origin { scene: SCENE + 1, producer: 0 };
        continuity.on_record(0, Head { intended_ns: 1, origin: Some((origin, 9)) });
        assert_eq!(continuity.faults, Faults::default());
    }

    #[test]
    fn what_was_acknowledged_and_never_came_is_missing() {
        let mut continuity = Continuity::new(SCENE, 1, 1, Some(0));
        continuity.on_record(0, head(0, 0));
        continuity.on_end(0, 0, 1);
        assert_eq!(continuity.faults, Faults::default());
        continuity.on_end(0, 0, 4);
        assert_eq!(continuity.faults, Faults { missing_count: 3, repeated_count: 0 });
    }
}
