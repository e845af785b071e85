//! A broker's numbers as Prometheus reads them (text format 0.0.4).
//!
//! Pure: snapshots of the shards go in, text comes out. Counters and gauges carry their shard;
//! times are merged over all shards.

use std::fmt::Write;

use hdrhistogram::Histogram;
use net::api::ApiKey;
use shard::groups::lag::Lag;
use shard::metrics::{Behaviour, Kind, Metric, Snapshot, Stage};

/// Upper bounds of the buckets, in nanoseconds, with the label each has in seconds.
const BUCKETS: [(u64, &str); 17] = [
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_000_000_000, "2"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
];

/// `shards` is one snapshot a shard.
pub(crate) fn render(shards: &[Snapshot]) -> String {
    let mut page = Page { text: String::with_capacity(64 * 1024) };
    page.head("build_info", "gauge", "the version of this binary");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for metric in Metric::ALL {
        let (name, behaviour, help) = metric.describe();
        page.head(name, kind_name(behaviour), help);
        for shard in shards {
            page.sample(name, &[("shard", &shard.shard().to_string())], shard.metric(metric));
        }
    }
    page.head("requests_total", "counter", "requests answered");
    for shard in shards {
        for (api_key, count) in shard.requests() {
            let labels = [("shard", &*shard.shard().to_string()), ("api", &*api_name(api_key))];
            page.sample("requests_total", &labels, count);
        }
    }
    page.head("connections_closed_total", "counter", "connections the broker closed, by cause");
    for shard in shards {
        for (cause, count) in shard.closed() {
            let labels = [("shard", &*shard.shard().to_string()), ("cause", cause.name())];
            page.sample("connections_closed_total", &labels, count);
        }
    }
    page.head("throttled_total", "counter", "times that clients were asked to wait, by quota");
    for shard in shards {
        for (quota, waits) in shard.throttled() {
            let labels = [("shard", &*shard.shard().to_string()), ("quota", quota.key())];
            page.sample("throttled_total", &labels, waits.count);
        }
    }
    let help = "how long clients were asked to wait, by quota";
    page.head("throttled_milliseconds_total", "counter", help);
    for shard in shards {
        for (quota, waits) in shard.throttled() {
            let labels = [("shard", &*shard.shard().to_string()), ("quota", quota.key())];
            page.sample("throttled_milliseconds_total", &labels, waits.millis);
        }
    }
    page.head("errors_total", "counter", "responses by the Kafka error code they carried");
    for shard in shards {
        for (code, count) in shard.errors() {
            let labels = [("shard", &*shard.shard().to_string()), ("code", &*code.to_string())];
            page.sample("errors_total", &labels, count);
        }
    }
    page.lags(shards);
    if let Some(merged) = merge(shards) {
        page.times(&merged);
    }
    page.text
}

/// All shards as one; `None` without any.
pub(crate) fn merge(shards: &[Snapshot]) -> Option<Snapshot> {
    let (first, rest) = shards.split_first()?;
    let mut merged = first.clone();
    for shard in rest {
        merged.merge(shard);
    }
    Some(merged)
}

/// Kafka's name of an API, for people.
pub(crate) fn api_name(api_key: Option<i16>) -> String {
    match api_key {
        Some(code) => {
            ApiKey::from_code(code).map_or_else(|_| code.to_string(), |api| api.name().to_owned())
        }
        None => "unknown".to_owned(),
    }
}

const fn kind_name(behaviour: Behaviour) -> &'static str {
    match behaviour {
        Behaviour::Counter => "counter",
        Behaviour::Gauge => "gauge",
    }
}

/// The text under construction. Every name gets the prefix `odradek_`.
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(&format!("# HELP odradek_{name} {help}"));
        self.line(&format!("# TYPE odradek_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.line(&format!("odradek_{name}{} {value}", Labels(labels)));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn lags(&mut self, shards: &[Snapshot]) {
        let help = "records that a group has not read, by its committed offset";
        self.lag("group_lag", help, shards, |row| Some(row.offsets));
        let help = "age of the first record that a group has not read";
        self.lag("group_time_lag_milliseconds", help, shards, |row| row.time_ms);
        let name = "group_lag_left_out";
        self.head(name, "gauge", "partitions of groups past odradek.metrics.lag.partitions.max");
        for shard in shards {
            let labels = [("shard", &*shard.shard().to_string())];
            self.sample(name, &labels, shard.lags().left_out_count);
        }
    }

    fn lag(
        &mut self,
        name: &str,
        help: &str,
        shards: &[Snapshot],
        value_of: fn(&Lag) -> Option<u64>,
    ) {
        self.head(name, "gauge", help);
        for row in shards.iter().flat_map(|it| &it.lags().rows) {
            let Some(value) = value_of(row) else { continue };
            let partition = row.partition.get().to_string();
            let labels =
                [("group", &*row.group), ("topic", &*row.topic), ("partition", &*partition)];
            self.sample(name, &labels, value);
        }
    }

    fn times(&mut self, merged: &Snapshot) {
        let name = "request_stage_seconds";
        self.head(name, "histogram", "time of a request in each stage");
        for kind in Kind::ALL {
            for stage in Stage::ALL {
                let labels = [("kind", kind.name()), ("stage", stage.name())];
                self.histogram(name, &labels, merged.latency(kind).stage(stage));
            }
        }
        let name = "request_seconds";
        self.head(name, "histogram", "time of a request, without a wait it asked for");
        for kind in Kind::ALL {
            self.histogram(name, &[("kind", kind.name())], merged.latency(kind).total());
        }
        let name = "commit_seconds";
        self.head(name, "histogram", "time of each durable write of a shard");
        self.histogram(name, &[], merged.commit());
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], times: &Histogram<u64>) {
        let mut counts = [0_u64; BUCKETS.len()];
        let mut sum_ns: u128 = 0;
        for step in times.iter_recorded() {
            let (value, count) = (step.value_iterated_to(), step.count_since_last_iteration());
            sum_ns += u128::from(value) * u128::from(count);
            let first = BUCKETS.partition_point(|(bound, _)| *bound < value);
            for bucket in counts.iter_mut().skip(first) {
                *bucket += count;
            }
        }
        let bucket_name = format!("{name}_bucket");
        for ((_, bound), count) in BUCKETS.iter().zip(counts) {
            self.sample(&bucket_name, &[labels, &[("le", *bound)]].concat(), count);
        }
        self.sample(&bucket_name, &[labels, &[("le", "+Inf")]].concat(), times.len());
        let seconds = format!("{}.{:09}", sum_ns / 1_000_000_000, sum_ns % 1_000_000_000);
        self.line(&format!("odradek_{name}_sum{} {seconds}", Labels(labels)));
        self.sample(&format!("{name}_count"), labels, times.len());
    }
}

/// `{name="value",...}` with the values escaped; nothing without labels.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl std::fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "{" } else { "," })?;
            write!(f, "{name}=\"")?;
            for character in value.chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, render};
    use engine::id::{PartitionIndex, Timestamp};
    use replication::quota::Quota;
    use shard::groups::lag::{Lag, Lags};
    use shard::io::Nanos;
    use shard::metrics::{Finished, Metric, Recorder, Stage, Stages};
    use std::time::Duration;

    #[test]
    fn label_values_are_escaped() {
        let labels = [("a", "x\"y\\z\nw"), ("b", "é")];
        assert_eq!(Labels(&labels).to_string(), r#"{a="x\"y\\z\nw",b="é"}"#);
        assert_eq!(Labels(&[]).to_string(), "");
    }

    #[test]
    fn every_line_is_a_sample_or_a_comment_and_buckets_are_cumulative() {
        let mut recorder = Recorder::new(1);
        recorder.add(Metric::Records, 5);
        recorder.on_error(3);
        recorder.on_throttled(Quota::ConsumerByteRate, Duration::from_millis(250));
        for milliseconds in [1, 3, 30] {
            let mut stages = Stages::begin(Nanos::new(0));
            stages.end(Stage::Committed, Nanos::new(0).plus(Duration::from_millis(milliseconds)));
            let finished = Finished { api_key: 0, request_bytes: 1, client: "c", stages };
            recorder.on_finished(Nanos::new(0), Timestamp::new(0), &finished);
        }
        let text =
            render(&[Recorder::new(0).snapshot(Nanos::new(0)), recorder.snapshot(Nanos::new(0))]);
        for expected in [
            "odradek_records_total{shard=\"0\"} 0\n",
            "odradek_records_total{shard=\"1\"} 5\n",
            "odradek_requests_total{shard=\"1\",api=\"Produce\"} 3\n",
            "odradek_throttled_total{shard=\"1\",quota=\"consumer_byte_rate\"} 1\n",
            "odradek_throttled_milliseconds_total{shard=\"1\",quota=\"consumer_byte_rate\"} 250\n",
            "odradek_errors_total{shard=\"1\",code=\"3\"} 1\n",
            "odradek_request_seconds_bucket{kind=\"produce\",le=\"0.005\"} 2\n",
            "odradek_request_seconds_bucket{kind=\"produce\",le=\"0.05\"} 3\n",
            "odradek_request_seconds_bucket{kind=\"produce\",le=\"+Inf\"} 3\n",
            "odradek_request_seconds_count{kind=\"produce\"} 3\n",
            "odradek_commit_seconds_count 0\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        for line in text.lines() {
            let sample = line.starts_with("odradek_") && line.split(' ').count() == 2;
            assert!(sample || line.starts_with("# "), "{line}");
        }
    }

    #[test]
    fn what_groups_are_behind_is_a_sample_for_each_partition_whose_time_is_known() {
        let row = |partition, time_ms| Lag {
            group: "g".into(),
            topic: "t".into(),
            partition: PartitionIndex::new(partition),
            offsets: 7,
            time_ms,
        };
        let lags = Lags { rows: vec![row(3, Some(90)), row(4, None)], left_out_count: 2 };
        let text = render(&[Recorder::new(1).snapshot(Nanos::new(0)).with_lags(lags)]);
        for expected in [
            "odradek_group_lag{group=\"g\",topic=\"t\",partition=\"3\"} 7\n",
            "odradek_group_lag{group=\"g\",topic=\"t\",partition=\"4\"} 7\n",
            "odradek_group_time_lag_milliseconds{group=\"g\",topic=\"t\",partition=\"3\"} 90\n",
            "odradek_group_lag_left_out{shard=\"1\"} 2\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert_eq!(text.matches("odradek_group_time_lag_milliseconds{").count(), 1);
    }

    #[test]
    fn no_shards_are_no_times() {
        assert!(!render(&[]).contains("_bucket"));
    }
}
