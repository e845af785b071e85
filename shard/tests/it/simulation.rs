//! The broker in simulated worlds: a few of the seeds that `simulate` runs by the thousand.

use std::time::Duration;

use shard::sim::clock::Clock;
use shard::sim::disk::Faults;
use shard::sim::net::Weather;
use shard::sim::scenario::{Ending, Phase, Plan, Until};

#[track_caller]
fn check(plan: &Plan, replay: &str) {
    if let Err(failure) = plan.run(None) {
        panic!("{failure}; replay with: simulate {replay}");
    }
}

#[test]
fn one_seed_gives_one_story() {
    let run = |seed| Plan::long(seed).run(None);
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).map(|it| it.story_hash), run(8).map(|it| it.story_hash));
}

#[test]
fn long_runs_with_all_faults_keep_what_was_promised() {
    for seed in 0..10 {
        check(&Plan::long(seed), &format!("--seed {seed}"));
    }
}

#[test]
fn a_stop_with_closed_partitions_ends_and_loses_nothing() {
    for seed in 0..8 {
        let mut plan = Plan::long(seed);
        plan.phases = vec![Phase {
            until: Until::Passed(Duration::from_secs(4)),
            faults: Faults { sync_fails: 6, ..Faults::none() },
            weather: Weather::fair(),
            clock: Clock::default(),
            ending: Ending::Stop,
            shard_count: 1,
        }];
        check(&plan, &format!("--seed {seed}, with the phase of this test"));
    }
}

#[test]
fn a_crash_at_any_step_keeps_what_was_promised() {
    let whole = Plan::crash_point(1, 0).run(None).expect("a run without trouble");
    for step in (1..whole.step_count).step_by(11) {
        check(&Plan::crash_point(1, step), &format!("--seed 1 --step {step}"));
    }
}
