//! The report of a load: latency, rates, costs, and whether the run counts.

use crate::clock::duration_ns;
use crate::load::meter::{Sample, Tally};
use crate::load::{Outcome, Plan};
use crate::report::{Report, float, float_of, micros};
use crate::schedule::Pace;

const MEBI: f64 = 1_048_576.0;
const MEGA: f64 = 1_000_000.0;

/// A generator later than this share of the latency it reports has measured itself.
const LATENESS_SHARE_MAX: f64 = 0.1;
const OWN_CPU_PERCENT_MAX: f64 = 85.0;
const STEAL_PERCENT_MAX: f64 = 1.0;

pub(crate) fn report(title: &str, plan: &Plan<'_>, outcome: &Outcome) -> Report {
    let Outcome { tally, samples: [start, end] } = outcome;
    let records_per_request = f64::from(plan.requests.record_count);
    let seconds = end.at.since(start.at).as_secs_f64();
    let records = float(tally.acknowledged_count) * records_per_request;
    let value_bytes = records * float_of(plan.requests.value_bytes);

    let mut report = Report::new(title);
    report.put_latency("", &tally.latency);
    report.put("stalls_over_10ms_count", float(tally.latency.stall_count()));
    report.put("gap_longest_us", micros(tally.gap_longest_ns));
    report.put("records_per_second", records / seconds);
    report.put("mb_per_second", value_bytes / MEGA / seconds);
    report.put("sample_count", float(tally.latency.count()));
    report.put("error_count", float(tally.errors.values().sum()));
    for (code, count) in &tally.errors {
        report.put(format!("error_{code}_count"), float(*count));
    }
    report.put("unanswered_count", float(tally.unanswered_count));
    put_broker(&mut report, [start, end], records, value_bytes);
    put_generator(&mut report, plan, tally, [start, end]);
    report
}

/// The same, with how far the slow ones are from the usual.
pub(crate) fn ping_report(title: &str, plan: &Plan<'_>, outcome: &Outcome) -> Report {
    let mut report = report(title, plan, outcome);
    let latency = &outcome.tally.latency;
    if let (Some(p99_ns), Some(p50_ns)) =
        (latency.at_percentile_ns(99.0), latency.at_percentile_ns(50.0))
    {
        report.put("p99_per_p50", float(p99_ns) / float(p50_ns.max(1)));
    }
    report
}

/// Each second of the window, for people.
pub(crate) fn seconds_text(tally: &Tally) -> String {
    let lines = tally.seconds.iter().enumerate().map(|(second, it)| {
        let worst_us = it.longest_ns / 1_000;
        format!(
            "  second {second:3}: {:8} requests, worst {worst_us:8} us\n",
            it.acknowledged_count
        )
    });
    lines.collect()
}

fn put_broker(report: &mut Report, [start, end]: [&Sample; 2], records: f64, value_bytes: f64) {
    let (Some(before), Some(after)) = (start.broker, end.broker) else { return };
    let cpu = after.cpu.saturating_sub(before.cpu);
    let elapsed = end.at.since(start.at);
    let written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
    report.put("broker_cpu_percent", 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64());
    report.put("broker_cpu_us_per_record", micros(duration_ns(cpu)) / records.max(1.0));
    let mega = (value_bytes / MEGA).max(f64::MIN_POSITIVE);
    report.put("broker_cpu_ms_per_mb", micros(duration_ns(cpu)) / 1_000.0 / mega);
    report.put("broker_written_per_value_byte", float(written_bytes) / value_bytes.max(1.0));
    report.put("broker_resident_mib", float(after.resident_bytes) / MEBI);
    report.put("broker_fd_count", float(after.fd_count));
    report.put("broker_thread_count", float(after.thread_count));
}

fn put_generator(report: &mut Report, plan: &Plan<'_>, tally: &Tally, [start, end]: [&Sample; 2]) {
    let elapsed = end.at.since(start.at).as_secs_f64();
    let own_cpu = end.own_cpu.saturating_sub(start.own_cpu).as_secs_f64();
    let own_percent = 100.0 * own_cpu / elapsed;
    report.put("own_cpu_percent", own_percent);
    let steal_percent = end.machine.steal_percent_since(start.machine);
    report.put("steal_percent", steal_percent);
    if steal_percent > STEAL_PERCENT_MAX {
        report.put_void(format!("other machines took {steal_percent:.1} % of this one"));
    }
    if own_percent > OWN_CPU_PERCENT_MAX {
        report.put_void(format!(
            "the generator used {own_percent:.0} % of its core: it may be what binds"
        ));
    }
    if let Pace::Open { records_per_second } = plan.pace {
        report.put_latency("own_lateness_", &tally.lateness);
        report.put("intended_records_per_second", float(records_per_second));
        let lateness = tally.lateness.at_percentile_ns(99.0);
        if let (Some(lateness_ns), Some(latency_ns)) =
            (lateness, tally.latency.at_percentile_ns(99.0))
            && float(lateness_ns) > LATENESS_SHARE_MAX * float(latency_ns)
        {
            let (late, of) = (lateness_ns / 1_000, latency_ns / 1_000);
            report.put_void(format!(
                "the generator was {late} us late at p99, more than a tenth of the latency's {of} us"
            ));
        }
    }
    if 0 < tally.unanswered_count {
        report.put_void(format!("{} requests have no answer", tally.unanswered_count));
    }
}
