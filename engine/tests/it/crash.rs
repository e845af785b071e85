//! A shard that crashes at any step, with any part of what was in flight on the disk, recovers to a
//! prefix of its history that holds everything acknowledged, byte for byte.

mod dice;
mod disk;
mod partition;
mod restart;
mod world;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::proptest;
use proptest::test_runner::Config as ProptestConfig;

use crate::crash::dice::Dice;
use crate::crash::world::{Step, World};

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => Just(Step::Append),
        20 => Just(Step::BeginFrame),
        20 => Just(Step::FinishFrame),
        20 => Just(Step::BeginFlush),
        20 => Just(Step::FinishFlush),
        4 => Just(Step::BeginCheckpoint),
        4 => Just(Step::FinishCheckpoint),
        6 => Just(Step::BeginSeal),
        6 => Just(Step::FinishSeal),
        4 => Just(Step::DeleteRecords),
        4 => Just(Step::Unlink),
        4 => Just(Step::RebuildIndex),
        10 => Just(Step::Read),
        1 => Just(Step::Create),
        1 => Just(Step::Remove),
        4 => Just(Step::Crash),
    ]
}

/// Crash upon crash, so that what one life leaves behind meets the next one's retries.
fn any_step_of_a_short_life() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Append),
        3 => Just(Step::BeginFrame),
        3 => Just(Step::FinishFrame),
        4 => Just(Step::BeginFlush),
        1 => Just(Step::FinishFlush),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_recovers(seed in any::<u64>(), steps in vec(any_step(), 1..400)) {
        let mut world = World::new(seed);
        for step in steps {
            world.step(step);
        }
        world.step(Step::Crash);
        world.step(Step::Crash);
    }

    #[test]
    fn many_short_lives_recover(
        seed in any::<u64>(),
        steps in vec(any_step_of_a_short_life(), 1..400),
    ) {
        let mut world = World::new(seed);
        for step in steps {
            world.step(step);
        }
        world.step(Step::Crash);
    }
}

#[test]
fn a_crash_after_each_step_of_short_histories_recovers() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let steps: Vec<Step> = (0..60).map(|_| any_of(&mut dice)).collect();
        for end in 0..steps.len() {
            let mut world = World::new(seed);
            for step in &steps[..end] {
                world.step(*step);
            }
            world.step(Step::Crash);
        }
    }
}

/// The producers of a tail that was torn send its first batches again, which then end just where
/// what is left of the others begins.
#[test]
fn a_torn_tail_never_comes_back() {
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let mut world = World::new(seed);
        let mut run = |steps: &[Step]| steps.iter().for_each(|it| world.step(*it));
        run(&[Step::Append, Step::BeginFlush, Step::BeginFrame, Step::FinishFrame]);
        for _ in 0..dice.below(6) {
            run(&[Step::Append]);
        }
        run(&[Step::BeginFlush, Step::Crash]);
        for _ in 0..4 {
            for _ in 0..=dice.below(2) {
                run(&[Step::Append]);
            }
            run(&[Step::BeginFrame, Step::FinishFrame, Step::Crash]);
        }
    }
}

fn any_of(dice: &mut Dice) -> Step {
    match dice.below(12) {
        0..4 => Step::Append,
        4 => Step::BeginFrame,
        5 => Step::FinishFrame,
        6 => Step::BeginFlush,
        7 => Step::FinishFlush,
        8 => Step::BeginCheckpoint,
        9 => Step::FinishCheckpoint,
        10 => Step::BeginSeal,
        _ => Step::FinishSeal,
    }
}
