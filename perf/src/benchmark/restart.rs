//! How long a filled broker is away: stopped and started, and killed and started, each time while many
//! small producers are at work.
//!
//! The scene of the load ends when its connections do, with the broker: what counts comes after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::benchmark::turn::Started;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::process::Process;
use crate::report::Report;
use crate::results::Run;
use crate::scene::plan::{Plan, Until};
use crate::start::{self, End};
use crate::workload::step::Step;

const LOG_FILE: &str = "restart.log";
/// The load goes on for so long beyond the time at which the broker is ended: long enough for its end.
const BEYOND: Duration = Duration::from_secs(120);

pub(super) fn measure(
    started: &mut Started<'_>,
    step: &Step,
    run: &mut Run,
) -> Result<(), Failure> {
    let script = started.script(step)?;
    let [fill, load] = [true, false].map(|is_fill| part(&script, is_fill));
    let outcome = started.play(&fill)?;
    started.stop().check()?;
    run.series.extend(outcome.series);
    let topic = script.topics.first().expect("the file was found sound");
    run.numbers.insert("partition_count".to_owned(), f64::from(topic.partition_count));

    let instance = started.instance.take().expect("a restart is the last thing of its turn");
    let command = instance.command()?;
    if command.is_empty() {
        return Err(Failure::new("it was started elsewhere: nothing here may restart it"));
    }
    let log = started.folder.join(LOG_FILE);
    let plan = start::Plan {
        command: &command,
        address: instance.address,
        topic: &topic.name,
        partition_count: topic.partition_count,
        log: Some(&log),
        placement: &started.plan().placement,
        stop: started.stop(),
    };
    let mut report = Report::new("restart");
    let process = instance.process()?;
    let stopped = under_load(started, &load, process, || instance.stop())?;
    report.put("stop_ms", stopped.as_secs_f64() * 1_000.0);
    let running = start::again(&plan, End::Stop, &mut report)?;
    let process = Some(running.process()?);
    let killed = under_load(started, &load, process, || {
        let start = Moment::now();
        drop(running); // Kills.
        Moment::now().since(start)
    })?;
    report.put("kill_ms", killed.as_secs_f64() * 1_000.0);
    drop(start::again(&plan, End::Kill, &mut report)?);
    run.numbers.extend(report.rows().iter().cloned());
    run.void.extend(report.void().iter().cloned());
    Ok(())
}

/// The scene that fills the broker, or the one that is its load while it ends.
fn part(script: &Plan, is_fill: bool) -> Plan {
    let mut part = script.clone();
    part.phases.retain(|phase| matches!(phase.until, Until::Sent(_)) == is_fill);
    if !is_fill && let Some(last) = part.phases.last_mut() {
        last.until = Until::Passed(BEYOND);
    }
    part
}

/// Ends the broker in the middle of the load; what its end returns. Fails if it is stopped.
fn under_load<T: Send>(
    started: &Started<'_>,
    load: &Plan,
    process: Option<Process>,
    end: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let load = Plan { broker: process, ..load.clone() };
    let lasts = Duration::from_secs(started.profile().seconds);
    let is_ending = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = scope.spawn(|| -> Result<T, Failure> {
            started.stop().pause(lasts)?;
            is_ending.store(true, Ordering::Relaxed);
            Ok(end())
        });
        let played = started.play_on(&load);
        let was_asked = is_ending.load(Ordering::Relaxed);
        let ended = ending.join().expect("it ends a process and does not panic")?;
        started.stop().check()?;
        match played {
            Err(_lost) if was_asked => Ok(ended),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new("the load was over before the broker was")),
        }
    })
}
