//! What a scene's tallies say, as named numbers: latency, rates, costs, and whether the run counts.
//!
//! A name begins with the phase if several count, then with the stream if there are several of its
//! kind; the same names without a stream are of all of them. What consumers got begins with
//! `end_to_end_` or `read_`.

use crate::clock::duration_ns;
use crate::latency::{Latency, OWN_SHARE_MAX};
use crate::report::{Report, float, float_of, micros};
use crate::results::{Measure, Sample, Series};
use crate::scene::Outcome;
use crate::scene::course::Course;
use crate::scene::plan::{Pace, Plan};
use crate::scene::tally::{Look, Published, Received, Tally};

const MEBI: f64 = 1_048_576.0;
const MEGA: f64 = 1_000_000.0;

pub(super) fn outcome(plan: &Plan, course: &Course<'_>) -> Outcome {
    let mut account = Account { plan, report: Report::new(""), series: Vec::new() };
    let several = plan.phases.iter().filter(|it| it.counts).count() > 1;
    let mut refused_records = 0.0;
    for tally in course.tallies() {
        let name = &plan.phases[tally.phase].name;
        let prefix = if several { format!("{name}_") } else { String::new() };
        account.put_phase(&prefix, tally);
        let streams = tally.producers.iter().zip(&plan.producers);
        refused_records += streams
            .map(|(it, plan)| {
                float(it.refused_count() + it.unanswered_count) * f64::from(plan.record_count)
            })
            .sum::<f64>();
    }
    account.put_delivery(course, refused_records);
    if course.is_stopped() {
        account.report.put_void("it was stopped before its end");
    }
    let (numbers, void) = account.report.into_parts();
    Outcome { numbers, series: account.series, samples: samples(course), void }
}

fn samples(course: &Course<'_>) -> Vec<Sample> {
    let Some(first) = course.samples().first() else { return Vec::new() };
    let each = course.samples().iter().map(|it| Sample {
        seconds: it.at.since(first.at).as_secs_f64(),
        resident_mib: float(it.footprint.resident_bytes) / MEBI,
        fd_count: float(it.footprint.fd_count),
    });
    each.collect()
}

struct Account<'a> {
    plan: &'a Plan,
    report: Report,
    series: Vec<Series>,
}

/// Of all streams of a phase.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests: u64,
    errors: u64,
    unanswered: u64,
    records: f64,
    value_bytes: f64,
    read_records: f64,
    read_bytes: f64,
}

impl Account<'_> {
    fn put_phase(&mut self, prefix: &str, tally: &Tally) {
        let Some(looks) = tally.looks else { return };
        let [start, end] = looks;
        let seconds = end.at.since(start.at).as_secs_f64();
        let mut sum = Sum::default();
        let paces = &self.plan.phases[tally.phase].paces;
        for (stream, published) in tally.producers.iter().enumerate() {
            if paces[stream] != Pace::Rests {
                self.put_published(prefix, stream, published, tally, &mut sum);
            }
        }
        if self.plan.producers.len() > 1 {
            self.put_published_sum(prefix, &sum, seconds);
        }
        for (stream, received) in tally.consumers.iter().enumerate() {
            if self.plan.consumers[stream].begins_in <= tally.phase {
                self.put_received(prefix, stream, received, tally, &mut sum);
            }
        }
        if self.plan.consumers.len() > 1 {
            self.put_read_rates(prefix, sum.read_records, sum.read_bytes, seconds);
        }
        if let Some(is_drained) = tally.is_drained {
            self.report.put(format!("{prefix}seconds"), seconds);
            if !is_drained {
                let name = &self.plan.phases[tally.phase].name;
                self.report.put_void(format!("{name}: consumers did not catch up in its time"));
            }
        }
        self.put_broker(prefix, [&start, &end], &sum);
        self.put_generator(prefix, [&start, &end], &sum);
    }

    fn put_published(
        &mut self,
        phase_prefix: &str,
        stream: usize,
        published: &Published,
        tally: &Tally,
        sum: &mut Sum,
    ) {
        let plan = &self.plan.producers[stream];
        let is_one = self.plan.producers.len() == 1;
        let prefix =
            if is_one { phase_prefix.to_owned() } else { format!("{phase_prefix}{}_", plan.name) };
        let seconds = seconds_of(tally);
        let records = float(published.acknowledged_count) * f64::from(plan.record_count);
        let value_bytes = records * float_of(plan.value_bytes);
        sum.requests += published.acknowledged_count;
        sum.errors += published.refused_count();
        sum.unanswered += published.unanswered_count;
        sum.records += records;
        sum.value_bytes += value_bytes;

        let report = &mut self.report;
        report.put_latency(&prefix, &published.latency);
        let mut put = |name: &str, value| report.put(format!("{prefix}{name}"), value);
        put("stalls_over_10ms_count", float(published.latency.stall_count()));
        put("gap_longest_us", micros(published.gap_longest_ns));
        put("records_per_second", records / seconds);
        put("mb_per_second", value_bytes / MEGA / seconds);
        put("sample_count", float(published.latency.count()));
        put("acknowledged_request_count", float(published.acknowledged_count));
        put("error_count", float(published.refused_count()));
        for (code, count) in &published.errors {
            put(&format!("error_{code}_count"), float(*count));
        }
        put("unanswered_count", float(published.unanswered_count));
        if let Pace::Open { records_per_second } = self.plan.phases[tally.phase].paces[stream] {
            put("intended_records_per_second", float(records_per_second));
            report.put_latency(&format!("{prefix}own_lateness_"), &published.lateness);
            report.put_latency(&format!("{prefix}own_answer_delay_"), &published.delay);
            let latency = &published.latency;
            self.check_own(tally.phase, "requests were late", &published.lateness, latency);
            self.check_own(tally.phase, "acknowledgements waited", &published.delay, latency);
            self.put_series(tally, stream, Measure::Lateness);
        }
        self.put_series(tally, stream, Measure::Publish);
    }

    fn put_published_sum(&mut self, prefix: &str, sum: &Sum, seconds: f64) {
        let mut put = |name: &str, value| self.report.put(format!("{prefix}{name}"), value);
        put("records_per_second", sum.records / seconds);
        put("mb_per_second", sum.value_bytes / MEGA / seconds);
        put("acknowledged_request_count", float(sum.requests));
        put("error_count", float(sum.errors));
        put("unanswered_count", float(sum.unanswered));
    }

    fn put_received(
        &mut self,
        phase_prefix: &str,
        stream: usize,
        received: &Received,
        tally: &Tally,
        sum: &mut Sum,
    ) {
        let plan = &self.plan.consumers[stream];
        let is_one = self.plan.consumers.len() == 1;
        let prefix =
            if is_one { phase_prefix.to_owned() } else { format!("{phase_prefix}{}_", plan.name) };
        let (records, bytes) = (float(received.record_count), float(received.byte_count));
        sum.read_records += records;
        sum.read_bytes += bytes;

        self.report.put_latency(&format!("{prefix}end_to_end_"), &received.latency);
        self.report
            .put(format!("{prefix}end_to_end_sample_count"), float(received.latency.count()));
        if plan.count > 1
            && let Some(slowest) = received.slowest()
        {
            self.report.put_latency(&format!("{prefix}slowest_end_to_end_"), slowest);
        }
        self.put_read_rates(&prefix, records, bytes, seconds_of(tally));
        let mut put = |name: &str, value| self.report.put(format!("{prefix}{name}"), value);
        put("read_lag_record_count", float(received.behind_count));
        put("read_lag_us", micros(received.behind_ns));
        put("read_error_count", float(received.errors.values().sum()));
        for (code, count) in &received.errors {
            put(&format!("read_error_{code}_count"), float(*count));
        }
        self.report.put_latency(&format!("{prefix}own_read_delay_"), &received.delay);
        let is_open = |it: &Pace| matches!(it, Pace::Open { .. });
        if self.plan.phases[tally.phase].paces.iter().any(is_open) {
            self.check_own(tally.phase, "records waited", &received.delay, &received.latency);
        }
        self.put_series(tally, stream, Measure::EndToEnd);
    }

    fn put_read_rates(&mut self, prefix: &str, records: f64, bytes: f64, seconds: f64) {
        self.report.put(format!("{prefix}read_records_per_second"), records / seconds);
        self.report.put(format!("{prefix}read_mb_per_second"), bytes / MEGA / seconds);
    }

    fn put_series(&mut self, tally: &Tally, stream: usize, measure: Measure) {
        let published = || (&self.plan.producers[stream].name, &tally.producers[stream]);
        let (name, latency, times) = match measure {
            Measure::Publish => {
                let (name, it) = published();
                (name, &it.latency, (it.seconds.clone(), it.minutes.clone()))
            }
            Measure::Lateness => {
                let (name, it) = published();
                (name, &it.lateness, (Vec::new(), Vec::new()))
            }
            Measure::EndToEnd => {
                let it = &tally.consumers[stream];
                let times = (it.seconds.clone(), it.minutes.clone());
                (&self.plan.consumers[stream].name, &it.latency, times)
            }
        };
        let (seconds, minutes) = times;
        self.series.push(Series {
            phase: self.plan.phases[tally.phase].name.clone(),
            stream: name.clone(),
            measure,
            histogram: latency.to_base64(),
            seconds,
            minutes,
        });
    }

    fn put_broker(&mut self, prefix: &str, [start, end]: [&Look; 2], sum: &Sum) {
        let (Some(before), Some(after)) = (start.broker, end.broker) else { return };
        let cpu = after.cpu.saturating_sub(before.cpu);
        let elapsed = end.at.since(start.at);
        let written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
        let per = |value: f64, of: f64| if of > 0.0 { value / of } else { 0.0 };
        let cpu_us = micros(duration_ns(cpu));
        let mut put = |name: &str, value| self.report.put(format!("{prefix}{name}"), value);
        put("broker_cpu_percent", 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64());
        if sum.records > 0.0 {
            put("broker_cpu_us_per_record", cpu_us / sum.records);
            put("broker_cpu_ms_per_mb", per(cpu_us / 1_000.0, sum.value_bytes / MEGA));
            put("broker_written_per_value_byte", per(float(written_bytes), sum.value_bytes));
            let switches = after.switch_count.saturating_sub(before.switch_count);
            put("broker_switches_per_1000_records", 1_000.0 * float(switches) / sum.records);
        }
        if sum.read_bytes > 0.0 {
            put("broker_cpu_ms_per_mb_out", per(cpu_us / 1_000.0, sum.read_bytes / MEGA));
        }
        put("broker_resident_mib", float(after.resident_bytes) / MEBI);
        put("broker_fd_count", float(after.fd_count));
        put("broker_thread_count", float(after.thread_count));
    }

    fn put_generator(&mut self, prefix: &str, [start, end]: [&Look; 2], sum: &Sum) {
        let elapsed = end.at.since(start.at).as_secs_f64();
        let own_cpu = end.own_cpu.saturating_sub(start.own_cpu);
        let own_percent = 100.0 * own_cpu.as_secs_f64() / elapsed;
        let steal_percent = end.machine.steal_percent_since(start.machine);
        let report = &mut self.report;
        report.put_disturbance(prefix, own_percent, steal_percent);
        let handled = sum.records + sum.read_records;
        if handled > 0.0 {
            let per_record = micros(duration_ns(own_cpu)) / handled;
            report.put(format!("{prefix}own_cpu_us_per_record"), per_record);
        }
    }

    /// Whether the generator's own share of a latency is small enough.
    fn check_own(&mut self, phase: usize, what: &str, own: &Latency, latency: &Latency) {
        let p99 = |it: &Latency| it.at_percentile_ns(99.0);
        if let (Some(own_ns), Some(latency_ns)) = (p99(own), p99(latency))
            && float(own_ns) > OWN_SHARE_MAX * float(latency_ns)
        {
            let (own, of) = (own_ns / 1_000, latency_ns / 1_000);
            let name = &self.plan.phases[phase].name;
            self.report.put_void(format!(
                "the generator: {what}, {own} us at p99 in {name}, more than a tenth of the \
                 latency's {of} us"
            ));
        }
    }

    /// Whether consumers got all that there was, once and in order. What was refused, or not
    /// answered, need not be there.
    fn put_delivery(&mut self, course: &Course<'_>, refused_records: f64) {
        let Some(delivery) = course.delivery else { return };
        let (missing, repeated) = (delivery.faults.missing_count, delivery.faults.repeated_count);
        self.report.put("read_missing_count", float(missing));
        self.report.put("read_repeated_count", float(repeated));
        self.report.put("undelivered_count", float(delivery.undelivered_count));
        if float(missing) > refused_records {
            self.report.put_void(format!("consumers miss {missing} records"));
        }
        if 0 < repeated {
            self.report.put_void(format!("consumers got {repeated} records again or out of order"));
        }
        if 0 < delivery.late_consumer_count {
            let (count, records) = (delivery.late_consumer_count, delivery.undelivered_count);
            self.report.put_void(format!(
                "{count} consumers did not come to the end: {records} records behind, and what they miss is unknown"
            ));
        }
    }
}

fn seconds_of(tally: &Tally) -> f64 {
    let seconds = tally.looks.map(|[start, end]| end.at.since(start.at).as_secs_f64());
    seconds.unwrap_or(0.0).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::scene::cast::{Delivery, Seat};
    use crate::scene::continuity::Faults;
    use crate::scene::plan::Until;
    use crate::scene::producer::Acknowledged;
    use crate::scene::wire::Delivered;

    const NO_TIME: Duration = Duration::ZERO;

    fn at(ms: u64) -> Moment {
        Moment::BOOT.plus_ns(ms * 1_000_000)
    }

    /// Each phase is a second long: 20 requests of 2 records that take 3 ms, and 5 ms to a consumer.
    fn played<'a>(plan: &'a Plan, error_code: i16) -> Course<'a> {
        let mut course = Course::new(plan);
        let seat = Seat { stream: 0, nth: 0, began: at(0) };
        for phase in 0..plan.phases.len() {
            let start = 1_000 * u64::try_from(phase).unwrap();
            course.begin(at(start), NO_TIME).unwrap();
            for nth in 0..20 {
                let intended = at(start + 10 * nth);
                let answer = Acknowledged { intended, phase, error_code };
                course.on_answered(at(start + 10 * nth + 3), 0, 0, answer);
                let records = Delivered::Records { intended, count: 2 };
                course.on_delivered(at(start + 10 * nth + 5), seat, records);
                course.on_delivered(at(start + 10 * nth + 5), seat, Delivered::Bytes(200));
            }
            course.finish(at(start + 1_000), NO_TIME).unwrap();
        }
        course
    }

    fn one_phase() -> Plan {
        Plan::of_phases(&[("measured", Until::Passed(Duration::from_secs(1)), true)])
    }

    #[track_caller]
    fn check(outcome: &Outcome, want: &[(&str, f64)]) {
        for (name, want) in want {
            let found = outcome.numbers.iter().find(|it| it.0 == *name);
            let found = found.unwrap_or_else(|| panic!("no {name}: {:?}", outcome.numbers)).1;
            assert!((found - want).abs() <= want / 500.0, "{name}: {found}, not {want}");
        }
    }

    #[test]
    fn one_phase_and_one_stream_need_no_names() {
        let plan = one_phase();
        let outcome = outcome(&plan, &played(&plan, 0));
        let want = [
            ("p50_us", 3_000.0),
            ("gap_longest_us", 807_000.0),
            ("records_per_second", 40.0),
            ("mb_per_second", 0.002),
            ("acknowledged_request_count", 20.0),
            ("end_to_end_p50_us", 5_000.0),
            ("end_to_end_sample_count", 40.0),
            ("read_records_per_second", 40.0),
            ("read_mb_per_second", 0.004),
        ];
        check(&outcome, &want);
        let measures: Vec<_> = outcome.series.iter().map(|it| it.measure).collect();
        assert_eq!(measures, [Measure::Publish, Measure::EndToEnd]);
        let counts: Vec<_> = outcome.series.iter().map(|it| it.seconds[0].count).collect();
        assert_eq!(counts, [20, 40]);
    }

    #[test]
    fn several_phases_and_streams_are_told_from_each_other() {
        let second = Until::Passed(Duration::from_secs(1));
        let mut plan = Plan::of_phases(&[("calm", second, true), ("storm", second, true)]);
        plan.producers.push(plan.producers[0].clone());
        plan.producers[1].name = "bulk".to_owned();
        plan.phases[0].paces = vec![Pace::Saturated, Pace::Rests];
        plan.phases[1].paces = vec![Pace::Saturated, Pace::Saturated];
        let outcome = outcome(&plan, &played(&plan, 0));
        let want = [
            ("calm_small_p50_us", 3_000.0),
            ("storm_small_p50_us", 3_000.0),
            ("storm_bulk_records_per_second", 0.0),
            ("storm_records_per_second", 40.0),
            ("storm_end_to_end_p50_us", 5_000.0),
        ];
        check(&outcome, &want);
        assert!(outcome.numbers.iter().all(|it| !it.0.starts_with("calm_bulk")));
    }

    #[track_caller]
    fn check_void(error_code: i16, delivery: Delivery, want: Option<&str>) {
        let plan = one_phase();
        let mut course = played(&plan, error_code);
        course.delivery = Some(delivery);
        let void = outcome(&plan, &course).void;
        // Other machines may have taken this one's time while the test ran.
        let void = void.iter().find(|it| it.contains("consumers"));
        assert_eq!(void.is_some(), want.is_some(), "{void:?}");
        assert!(void.is_none_or(|it| it.contains(want.unwrap_or(""))), "{void:?}");
    }

    #[track_caller]
    fn check_own_share(sent_late_us: u64, delay_us: u64, want: Option<&str>) {
        let mut plan = one_phase();
        plan.phases[0].paces = vec![Pace::Open { records_per_second: 2_000 }];
        let mut course = Course::new(&plan);
        course.begin(at(0), NO_TIME).unwrap();
        for _ in 0..2_000 {
            let sent_at = at(0).plus_ns(sent_late_us * 1_000);
            course.on_sent(sent_at, 0, 0, Some(at(0)));
            let answer = Acknowledged { intended: at(0), phase: 0, error_code: 0 };
            course.on_answered(at(3), delay_us * 1_000, 0, answer);
        }
        course.finish(at(1_000), NO_TIME).unwrap();
        let void = outcome(&plan, &course).void;
        let void = void.iter().find(|it| it.starts_with("the generator:"));
        assert_eq!(void.is_some(), want.is_some(), "{void:?}");
        assert!(void.is_none_or(|it| it.contains(want.unwrap_or(""))), "{void:?}");
    }

    #[test]
    fn a_generator_that_measures_itself_makes_a_run_void() {
        check_own_share(290, 290, None);
        check_own_share(310, 0, Some("requests were late, 310 us"));
        check_own_share(0, 310, Some("acknowledgements waited, 310 us"));
    }

    #[test]
    fn lost_records_make_a_run_void() {
        let faults = |missing_count, repeated_count| Delivery {
            faults: Faults { missing_count, repeated_count },
            ..Delivery::default()
        };
        check_void(0, Delivery::default(), None);
        check_void(0, faults(1, 0), Some("miss 1 records"));
        check_void(0, faults(0, 2), Some("got 2 records again"));
        check_void(7, faults(40, 0), None);
        check_void(7, faults(41, 0), Some("miss 41 records"));
        let late = Delivery { undelivered_count: 9, late_consumer_count: 1, ..faults(0, 0) };
        check_void(0, late, Some("9 records behind"));
    }
}
