//! How long a filled broker is away: stopped and started, and killed and started.

use crate::benchmark::turn::Started;
use crate::failure::Failure;
use crate::results::Run;
use crate::start;
use crate::workload::step::Step;

/// Of one partition, beside what was stored.
const TOPIC: &str = "restart";
const LOG_FILE: &str = "restart.log";

pub(super) fn measure(
    started: &mut Started<'_>,
    step: &Step,
    run: &mut Run,
) -> Result<(), Failure> {
    let outcome = started.scene(step)?;
    run.series.extend(outcome.series);
    let partitions = step.form.topics.iter().map(|topic| f64::from(topic.partitions)).sum();
    run.numbers.insert("partition_count".to_owned(), partitions);

    let instance = started.instance.take().expect("a restart is the last thing of its turn");
    let (address, command) = (instance.address, instance.command()?);
    if command.is_empty() {
        return Err(Failure::new("it was started elsewhere: nothing here may restart it"));
    }
    let stop_ms = instance.stop().as_secs_f64() * 1_000.0;
    run.numbers.insert("stop_ms".to_owned(), stop_ms);
    let log = started.folder.join(LOG_FILE);
    let report = start::run_and_kill(&start::Plan {
        command: &command,
        address,
        topic: TOPIC,
        log: Some(&log),
        placement: &started.plan().placement,
    })?;
    run.numbers.extend(report.rows().iter().cloned());
    run.void.extend(report.void().iter().cloned());
    Ok(())
}
