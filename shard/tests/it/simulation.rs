//! The broker in simulated worlds: a few of the seeds that `simulate` runs by the thousand.

use std::time::Duration;

use shard::sim::clock::Clock;
use shard::sim::damage::{Damage, How, Moment, Place};
use shard::sim::disk::Faults;
use shard::sim::net::Weather;
use shard::sim::plan::{Ending, Phase, Plan, Until};
use shard::sim::scenario::Harm;

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

/// What the first run that is harmed by such a damage comes to.
#[track_caller]
fn harm(place: Place, how: How, moment: Moment) -> Harm {
    let damage = Damage { place, how, moment, skips: 0, salt: 7 };
    let harms = (0..40).map(|seed| {
        let plan = Plan { damage: Some(damage), ..Plan::long(seed) };
        let report = plan.run(None);
        report.unwrap_or_else(|it| panic!("{it}; seed {seed} with {damage:?}")).harm
    });
    let harm = harms.into_iter().find(|harm| *harm != Harm::None);
    harm.unwrap_or_else(|| panic!("{damage:?} harms nobody"))
}

#[test]
fn a_damaged_journal_or_checkpoint_refuses_the_start_however_it_was_damaged() {
    for how in [How::Flipped, How::Misdirected, How::Stale, How::StaleOnce] {
        for place in [Place::Journal, Place::Checkpoint] {
            assert_eq!(harm(place, how, Moment::Down), Harm::Refused, "{place:?}, {how:?}");
        }
    }
}

#[test]
fn damaged_batches_refuse_reads_of_themselves_and_stop_nothing_else() {
    for how in [How::Flipped, How::Misdirected, How::Stale] {
        for moment in [Moment::Down, Moment::Running] {
            let harm = harm(Place::Segment, how, moment);
            assert_ne!(harm, Harm::None, "{how:?}, {moment:?}");
        }
    }
}

#[test]
fn a_damaged_sidecar_is_made_again_from_its_segment() {
    for how in [How::Flipped, How::Stale] {
        assert_eq!(harm(Place::Sidecar, how, Moment::Down), Harm::Unreadable(0), "{how:?}");
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
