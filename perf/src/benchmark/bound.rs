//! How much of what the machine can do a run has reached: the limit that binds, and the share of it.

use std::collections::BTreeMap;

use crate::limits::requests::per_core_second;
use crate::report::float_of;
use crate::results::Durability;
use crate::workload::form::Bound;
use crate::workload::script::Request;

const ROUND_TRIP: &str = "echo_1k_p50_us";
const DURABLE_WRITE: &str = "durable_4k_p50_us";
const RING_WRITE: &str = "durable_ring_4k_p50_us";
/// Two measures of one thing each: the higher one is the limit.
const READS: [&str; 2] = ["direct_read_mb_per_second", "fio_direct_read_mb_per_second"];
const LOOPBACKS: [&str; 2] = ["sendfile_mb_per_second", "iperf3_mb_per_second"];
const STREAMS: [&str; 2] = ["stream_128k_mb_per_second", "fio_stream_128k_mb_per_second"];

/// What a run was asked to do, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) bound: Bound,
    pub(crate) durability: Durability,
    /// Of its first producers.
    pub(crate) request: Option<Request>,
    pub(crate) broker_core_count: usize,
}

/// A name of the limits, and the percentage of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reached {
    pub(crate) bound: String,
    pub(crate) percent: f64,
}

/// Of the limit that binds: the one of which most was reached. `None` if there is no limit, or it or the
/// run's number was not measured.
pub(crate) fn reached(
    asked: &Asked,
    limits: &BTreeMap<String, f64>,
    numbers: &BTreeMap<String, f64>,
) -> Option<Reached> {
    let number = |name: &str| numbers.get(name).copied();
    let written = || number("mb_per_second");
    let stream = || highest(limits, STREAMS).filter(|_| asked.durability == Durability::D2);
    let shares = match asked.bound {
        Bound::None => Vec::new(),
        Bound::Ping => vec![floor(asked.durability, limits, number("p50_us"))],
        Bound::GroupCommit => vec![
            floor(asked.durability, limits, number("p50_us")),
            requests_served(asked, limits, numbers),
        ],
        Bound::Requests => vec![
            requests_served(asked, limits, numbers),
            share(stream(), written()),
            share(highest(limits, LOOPBACKS), written()),
        ],
        Bound::Ingest => {
            vec![share(stream(), written()), share(highest(limits, LOOPBACKS), written())]
        }
        Bound::Egress => vec![share(highest(limits, LOOPBACKS), number("read_mb_per_second"))],
        Bound::ColdRead => {
            let read = number("read_mb_per_second");
            vec![share(highest(limits, READS), read), share(highest(limits, LOOPBACKS), read)]
        }
    };
    shares.into_iter().flatten().max_by(|one, other| one.percent.total_cmp(&other.percent))
}

fn requests_per_second(asked: &Asked, numbers: &BTreeMap<String, f64>) -> Option<f64> {
    let records_per_second = numbers.get("records_per_second")?;
    Some(records_per_second / f64::from(asked.request?.record_count))
}

/// Of what the broker's cores could serve if they did nothing but receive and answer.
fn requests_served(
    asked: &Asked,
    limits: &BTreeMap<String, f64>,
    numbers: &BTreeMap<String, f64>,
) -> Option<Reached> {
    let limit = |name: &str| limits.get(name).copied();
    let (name, per_core) = per_core_second(float_of(asked.request?.byte_count), limit)?;
    let all_cores = per_core * float_of(asked.broker_core_count);
    share(Some((name, all_cores)), requests_per_second(asked, numbers))
}

fn lowest(limits: &BTreeMap<String, f64>, names: [&'static str; 2]) -> Option<(&'static str, f64)> {
    let measured = names.into_iter().filter_map(|name| Some((name, *limits.get(name)?)));
    measured.min_by(|one, other| one.1.total_cmp(&other.1))
}

fn highest(
    limits: &BTreeMap<String, f64>,
    names: [&'static str; 2],
) -> Option<(&'static str, f64)> {
    let measured = names.into_iter().filter_map(|name| Some((name, *limits.get(name)?)));
    measured.max_by(|one, other| one.1.total_cmp(&other.1))
}

/// The least latency there can be, as a share of what there was; the larger part of it binds. A durable
/// write takes what it takes in the faster of two ways, when nobody else writes.
///
/// One write, also where many requests share it: none is acknowledged before a whole write that began after
/// it came. What it waits besides for the one before, which is half of one in the mean if they come evenly to
/// a disk that is always busy, depends on how they come and on how long a write is then. That is no bound.
fn floor(
    durability: Durability,
    limits: &BTreeMap<String, f64>,
    p50_us: Option<f64>,
) -> Option<Reached> {
    let round_trip_us = *limits.get(ROUND_TRIP)?;
    let (write, write_us) = match durability {
        Durability::D2 => lowest(limits, [DURABLE_WRITE, RING_WRITE])?,
        Durability::D0 | Durability::D1 | Durability::Unknown => (DURABLE_WRITE, 0.0),
    };
    let bound = if round_trip_us < write_us { write } else { ROUND_TRIP };
    let percent = 100.0 * (round_trip_us + write_us) / p50_us?.max(f64::MIN_POSITIVE);
    Some(Reached { bound: bound.to_owned(), percent })
}

/// What there was, as a share of the most that there can be.
fn share(limit: Option<(&str, f64)>, reached: Option<f64>) -> Option<Reached> {
    let (name, limit) = limit?;
    let percent = 100.0 * reached? / limit.max(f64::MIN_POSITIVE);
    Some(Reached { bound: name.to_owned(), percent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::requests::SIZES;

    fn check(
        (bound, durability): (Bound, Durability),
        numbers: &[(&str, f64)],
        want: Option<(&str, f64)>,
    ) {
        let map = |pairs: &[(&str, f64)]| -> BTreeMap<String, f64> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let limits = map(&[
            (ROUND_TRIP, 20.0),
            (DURABLE_WRITE, 90.0),
            (RING_WRITE, 80.0),
            (LOOPBACKS[0], 2_000.0),
            (STREAMS[0], 400.0),
            (STREAMS[1], 500.0),
            (SIZES[0].1, 500_000.0),
            (SIZES[1].1, 400_000.0),
            (SIZES[2].1, 100_000.0),
        ]);
        let request = Some(Request { record_count: 2, byte_count: 1_024 });
        let asked = Asked { bound, durability, request, broker_core_count: 1 };
        let found = reached(&asked, &limits, &map(numbers));
        let found = found.map(|it| (it.bound, it.percent.round()));
        assert_eq!(found, want.map(|(name, percent)| (name.to_owned(), percent)));
    }

    #[test]
    fn a_durable_ping_has_a_round_trip_and_a_write_as_its_floor() {
        let p50 = [("p50_us", 200.0)];
        check((Bound::Ping, Durability::D2), &p50, Some((RING_WRITE, 50.0)));
        check((Bound::Ping, Durability::D1), &p50, Some((ROUND_TRIP, 10.0)));
    }

    #[test]
    fn who_shares_a_write_waits_for_a_whole_one_at_any_rate() {
        let at = |rate| [("p50_us", 200.0), ("records_per_second", rate)];
        let durable = (Bound::GroupCommit, Durability::D2);
        check(durable, &at(100.0), Some((RING_WRITE, 50.0)));
        check(durable, &at(26_000.0), Some((RING_WRITE, 50.0)));
        // Nobody is faster than 20 us of the round trip and 80 us of a write.
        check(
            durable,
            &[("p50_us", 100.0), ("records_per_second", 1.0)],
            Some((RING_WRITE, 100.0)),
        );
        check((Bound::GroupCommit, Durability::D1), &at(26_000.0), Some((ROUND_TRIP, 10.0)));
    }

    #[test]
    fn what_a_core_can_answer_binds_at_high_rates() {
        let at = |rate| [("p50_us", 2_000.0), ("records_per_second", rate)];
        let durable = (Bound::GroupCommit, Durability::D2);
        check(durable, &at(200_000.0), Some((SIZES[1].1, 25.0)));
        let rates = [("records_per_second", 80_000.0), ("mb_per_second", 40.0)];
        check((Bound::Requests, Durability::D2), &rates, Some((SIZES[1].1, 10.0)));
        let rates = [("records_per_second", 80_000.0), ("mb_per_second", 400.0)];
        check((Bound::Requests, Durability::D2), &rates, Some((STREAMS[1], 80.0)));
        check((Bound::Requests, Durability::D1), &rates, Some((LOOPBACKS[0], 20.0)));
    }

    #[test]
    fn the_slowest_part_binds() {
        let rate = [("mb_per_second", 250.0)];
        check((Bound::Ingest, Durability::D2), &rate, Some((STREAMS[1], 50.0)));
        check((Bound::Ingest, Durability::D1), &rate, Some((LOOPBACKS[0], 13.0)));
    }

    #[test]
    fn what_was_not_measured_is_no_share() {
        check((Bound::Egress, Durability::D2), &[("mb_per_second", 1.0)], None);
        check((Bound::None, Durability::D2), &[("p50_us", 1.0)], None);
    }
}
