//! Which targets stand beside each other, and how fair that is: it depends on when each acknowledges.

use crate::results::{Durability, Target};

/// Targets of ours have keys that begin so.
const OURS: &str = "odradek";

/// Indexes in the targets of the results.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) ours: usize,
    pub(crate) theirs: usize,
    pub(crate) fairness: Fairness,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fairness {
    /// Both acknowledge at the same moment.
    Alike,
    /// Ours promises more, and takes the time for it.
    UnfairToUs,
    /// Ours promises less.
    UnfairToThem,
    /// Nobody knows what one of them promises.
    Unknown,
}

impl Comparison {
    fn of(targets: &[Target], ours: usize, theirs: usize) -> Self {
        let fairness = match (class(targets[ours].durability), class(targets[theirs].durability)) {
            (Some(one), Some(other)) if one == other => Fairness::Alike,
            (Some(one), Some(other)) if other < one => Fairness::UnfairToUs,
            (Some(_), Some(_)) => Fairness::UnfairToThem,
            (None, _) | (_, None) => Fairness::Unknown,
        };
        Self { ours, theirs, fairness }
    }

    /// In words that belong beside the ratio.
    pub(crate) fn words(&self, targets: &[Target]) -> String {
        let [ours, theirs] = [self.ours, self.theirs].map(|it| durability(targets[it].durability));
        match self.fairness {
            Fairness::Alike => format!("like for like: both {ours}"),
            Fairness::UnfairToUs => {
                format!("deliberately unfair: our {ours} against their {theirs}")
            }
            Fairness::UnfairToThem => format!("unfair to them: our {ours} against their {theirs}"),
            Fairness::Unknown => "durability of one is not known".to_owned(),
        }
    }
}

/// Each other target beside the first of ours; and beside another of ours that promises the same, if the
/// first does not. Without one of ours, the first target stands in its place.
pub(crate) fn comparisons(targets: &[Target]) -> Vec<Comparison> {
    let is_ours = |index: &usize| targets[*index].key.starts_with(OURS);
    let all = 0..targets.len();
    let ours: Vec<usize> = all.clone().filter(is_ours).collect();
    let Some(first) = ours.first().copied().or_else(|| all.clone().next()) else {
        return Vec::new();
    };
    let mut comparisons = Vec::new();
    for theirs in all.filter(|it| *it != first) {
        let comparison = Comparison::of(targets, first, theirs);
        comparisons.push(comparison);
        if comparison.fairness != Fairness::Alike && !is_ours(&theirs) {
            let others = ours.iter().skip(1).map(|it| Comparison::of(targets, *it, theirs));
            comparisons.extend(others.filter(|it| it.fairness == Fairness::Alike).take(1));
        }
    }
    comparisons
}

pub(crate) const fn durability(class: Durability) -> &'static str {
    match class {
        Durability::D0 => "D0",
        Durability::D1 => "D1",
        Durability::D2 => "D2",
        Durability::Unknown => "D?",
    }
}

/// In words, for a legend.
pub(crate) const fn promise(class: Durability) -> &'static str {
    match class {
        Durability::D0 => "acknowledged from memory",
        Durability::D1 => "acknowledged from the page cache",
        Durability::D2 => "acknowledged after the device has flushed",
        Durability::Unknown => "nobody said when it acknowledges",
    }
}

const fn class(durability: Durability) -> Option<u8> {
    match durability {
        Durability::D0 => Some(0),
        Durability::D1 => Some(1),
        Durability::D2 => Some(2),
        Durability::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(targets: &[(&str, Durability)], want: &[(usize, usize, Fairness)]) {
        let targets: Vec<Target> = targets
            .iter()
            .map(|(key, durability)| Target {
                key: (*key).to_owned(),
                title: String::new(),
                version: String::new(),
                durability: *durability,
                configs: Vec::new(),
                command: String::new(),
            })
            .collect();
        let found: Vec<_> =
            comparisons(&targets).iter().map(|it| (it.ours, it.theirs, it.fairness)).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn each_target_stands_beside_ours_and_the_unfair_ones_are_named() {
        check(
            &[
                ("odradek", Durability::D2),
                ("kafka", Durability::D1),
                ("kafka-flush", Durability::D2),
            ],
            &[(0, 1, Fairness::UnfairToUs), (0, 2, Fairness::Alike)],
        );
    }

    #[test]
    fn another_of_ours_stands_beside_what_promises_the_same() {
        check(
            &[
                ("odradek", Durability::D2),
                ("kafka", Durability::D1),
                ("odradek-caching", Durability::D1),
            ],
            &[(0, 1, Fairness::UnfairToUs), (2, 1, Fairness::Alike), (0, 2, Fairness::UnfairToUs)],
        );
    }

    #[test]
    fn without_ours_the_first_stands_in_its_place() {
        check(
            &[("kafka", Durability::D1), ("10.0.0.1:9092", Durability::Unknown)],
            &[(0, 1, Fairness::Unknown)],
        );
        check(&[], &[]);
        check(&[("odradek", Durability::D2)], &[]);
    }
}
