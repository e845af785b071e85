//! In which order targets take their turns: side by side in pairs, each pair in an order of its own
//! that follows from a seed.
//!
//! A workload comes after those that it needs.

use crate::failure::Failure;
use crate::payload::Random;

/// One target at one workload, once. Indices are of what was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Turn {
    pub(crate) workload: usize,
    pub(crate) target: usize,
    /// From 1.
    pub(crate) pair: u32,
}

/// All turns; `pairs` of each workload.
pub(crate) fn turns(pairs: &[u32], target_count: usize, seed: u64) -> Vec<Turn> {
    let mut random = Random::from_seed(seed);
    let mut turns = Vec::new();
    for (workload, pair_count) in pairs.iter().enumerate() {
        for pair in 1..=*pair_count {
            let targets = shuffled(target_count, &mut random);
            turns.extend(targets.into_iter().map(|target| Turn { workload, target, pair }));
        }
    }
    turns
}

/// Keys in an order in which each comes after its needs; otherwise as they were given. What is needed
/// is added.
pub(crate) fn after_needs(
    keys: &[String],
    needs: &dyn Fn(&str) -> Result<Vec<String>, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut ordered = Vec::new();
    for key in keys {
        visit(key, needs, &mut Vec::new(), &mut ordered)?;
    }
    Ok(ordered)
}

fn visit(
    key: &str,
    needs: &dyn Fn(&str) -> Result<Vec<String>, Failure>,
    path: &mut Vec<String>,
    ordered: &mut Vec<String>,
) -> Result<(), Failure> {
    if ordered.iter().any(|it| it == key) {
        return Ok(());
    }
    if path.iter().any(|it| it == key) {
        return Err(Failure::new(format!("workload {key} needs itself: {}", path.join(", "))));
    }
    path.push(key.to_owned());
    for need in needs(key)? {
        visit(&need, needs, path, ordered)?;
    }
    path.pop();
    ordered.push(key.to_owned());
    Ok(())
}

/// Fisher and Yates.
fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for end in (2..=count).rev() {
        order.swap(end - 1, random.below(end));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_every_target_once() {
        let turns = turns(&[3, 1], 2, 7);
        assert_eq!(turns.len(), 8);
        for (index, pair) in turns.chunks(2).enumerate() {
            let mut targets: Vec<usize> = pair.iter().map(|turn| turn.target).collect();
            targets.sort_unstable();
            assert_eq!(targets, [0, 1], "pair {index}");
            assert_eq!(pair[0].pair, pair[1].pair);
        }
    }

    #[test]
    fn the_order_follows_from_the_seed_and_goes_both_ways() {
        assert_eq!(turns(&[5], 2, 1), turns(&[5], 2, 1));
        let firsts = |seed| turns(&[1], 2, seed)[0].target;
        assert!((0..20).any(|seed| firsts(seed) == 0) && (0..20).any(|seed| firsts(seed) == 1));
    }

    #[test]
    fn a_workload_comes_after_what_it_needs() {
        let needs = |key: &str| {
            Ok(match key {
                "W12" => vec!["W3".to_owned()],
                "W3" => vec!["W4".to_owned()],
                _ => Vec::new(),
            })
        };
        let ordered = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|it| (*it).to_owned()).collect();
            after_needs(&keys, &needs).expect("no circle").join(" ")
        };
        assert_eq!(ordered(&["W1", "W12", "W4"]), "W1 W4 W3 W12");
        let circle = |key: &str| Ok(vec![if key == "A" { "B" } else { "A" }.to_owned()]);
        assert!(after_needs(&["A".to_owned()], &circle).is_err());
    }
}
