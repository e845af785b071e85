//! The page `/debug/latency`: percentiles per stage and the slowest requests of the last minute.
//!
//! Pure: snapshots go in, JSON comes out. All times are microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use shard::metrics::{Kind, Latency, Slow, Snapshot, Stage};

use crate::http::exposition::{api_name, merge};

/// Slowest requests shown.
const SLOWEST_COUNT_MAX: usize = 20;

pub(crate) fn render(shards: &[Snapshot]) -> Value {
    let Some(merged) = merge(shards) else {
        return json!({ "unit": "us", "requests": {}, "slowest": [] });
    };
    let requests: Map<String, Value> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), kind_times(merged.latency(kind))))
        .collect();
    let slowest: Vec<Value> = merged.slowest().iter().take(SLOWEST_COUNT_MAX).map(slow).collect();
    json!({
        "unit": "us",
        "requests": requests,
        "commit": percentiles(merged.commit()),
        "slowest": slowest,
    })
}

fn kind_times(latency: &Latency) -> Value {
    let mut times = Map::new();
    times.insert("total".to_owned(), percentiles(latency.total()));
    for stage in Stage::ALL {
        times.insert(stage.name().to_owned(), percentiles(latency.stage(stage)));
    }
    Value::Object(times)
}

/// Since start; `null` if there was nothing to time.
fn percentiles(times: &Histogram<u64>) -> Value {
    if times.is_empty() {
        return Value::Null;
    }
    json!({
        "count": times.len(),
        "p50": micros(times.value_at_quantile(0.5)),
        "p90": micros(times.value_at_quantile(0.9)),
        "p99": micros(times.value_at_quantile(0.99)),
        "p99.9": micros(times.value_at_quantile(0.999)),
        "max": micros(times.max()),
    })
}

fn slow(slow: &Slow) -> Value {
    let stages: Map<String, Value> = Stage::ALL
        .into_iter()
        .filter_map(|stage| {
            let spent = slow.stages.spent(stage)?;
            Some((stage.name().to_owned(), duration_micros(spent)))
        })
        .collect();
    json!({
        "api": api_name(Some(slow.api_key)),
        "client": slow.client,
        "shard": slow.shard,
        "request_bytes": slow.request_bytes,
        "finished_at_ms": slow.finished_at.get(),
        "total": duration_micros(slow.stages.total()),
        "stages": stages,
    })
}

fn duration_micros(duration: Duration) -> Value {
    micros(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Exact to the tenth of a microsecond.
fn micros(nanos: u64) -> Value {
    let tenths = u32::try_from(nanos / 100).unwrap_or(u32::MAX);
    json!(f64::from(tenths) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::render;
    use engine::id::Timestamp;
    use shard::io::Nanos;
    use shard::metrics::{Finished, Recorder, Stage, Stages};

    #[test]
    fn a_slow_request_is_shown_with_its_stages() {
        let mut recorder = Recorder::new(3);
        let mut stages = Stages::begin(Nanos::new(0));
        stages.end(Stage::Parsed, Nanos::new(1_500));
        stages.end(Stage::Committed, Nanos::new(501_500));
        let finished = Finished { api_key: 0, request_bytes: 9, client: "a\"b", stages };
        recorder.on_finished(Nanos::new(501_500), Timestamp::new(77), &finished);
        let page = render(&[recorder.snapshot(Nanos::new(501_500))]);
        let slow = &page["slowest"][0];
        assert_eq!(slow["api"], "Produce");
        assert_eq!(slow["client"], "a\"b");
        assert_eq!(slow["total"], 501.5);
        assert_eq!(slow["stages"]["parsed"], 1.5);
        assert!(slow["stages"].get("hopped").is_none());
        assert_eq!(page["requests"]["produce"]["total"]["count"], 1);
        assert!(page["requests"]["fetch"]["total"].is_null());
    }

    #[test]
    fn no_shards_are_an_empty_page() {
        assert_eq!(render(&[])["slowest"].as_array().map(Vec::len), Some(0));
    }
}
