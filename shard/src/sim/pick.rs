//! What a plan is made of, each part picked by chance.

use std::time::Duration;

use engine::codec::Codec;

use crate::sim::admin::Wish;
use crate::sim::chance::Chance;
use crate::sim::clock::{Clock, Gait};
use crate::sim::consumer::Manners;
use crate::sim::disk::{Crash, Faults};
use crate::sim::history::{Durability, Retries};
use crate::sim::member::{EPOCHS_FROM, Protocol, STATIC_FROM, Ways};
use crate::sim::net::Weather;
use crate::sim::plan::{Ending, Phase, Until};
use crate::sim::policy::Policy;
use crate::sim::producer::{Habits, TOPIC_IDS_FROM};

pub fn wish(chance: &mut Chance, name: String) -> Wish {
    Wish {
        name,
        partition_count: 1 + i32::from(chance.one_in(2)) * 2,
        durability: if chance.one_in(4) { Durability::Memory } else { Durability::Device },
        segment_ms: 1 << chance.between(7, 14),
        compression: None,
        policy: Policy::default(),
    }
}

/// While much is written; half of them while a checkpoint is stored, at a start or later.
pub fn moment_in_crowd(chance: &mut Chance) -> Until {
    if chance.one_in(2) {
        Until::Checkpoint { number: chance.between(1, 12), steps: chance.between(0, 4) }
    } else {
        Until::Passed(Duration::from_nanos(chance.between(15_000_000, 120_000_000)))
    }
}

/// Before it, clients do not know zstd.
const ZSTD_FROM: i16 = 7;

pub fn habits(chance: &mut Chance, request_count: usize) -> Habits {
    let (retries, acks) = match chance.below(6) {
        0 => (Retries::Plain, 1),
        1 => (Retries::Plain, -1),
        2 => (Retries::Plain, 0),
        _ => (Retries::Deduplicated, -1),
    };
    let version =
        if chance.one_in(2) { TOPIC_IDS_FROM } else { [3, 5, 7, 8, 9, 11, 12][chance.index(7)] };
    Habits {
        retries,
        acks,
        depth: 1 + chance.index(5),
        version,
        request_count: request_count / 2 + chance.index(request_count / 2 + 1),
        value_bytes_max: [100, 2_000, 20_000, 80_000][chance.index(4)],
        batch_bytes: None,
        codec: if chance.one_in(4) { codec(chance, version) } else { Codec::None },
        pause_nanos: [1, 1_000_000, 50_000_000][chance.index(3)],
    }
}

/// That a producer of this version knows.
pub fn codec(chance: &mut Chance, version: i16) -> Codec {
    let last = if version < ZSTD_FROM { Codec::Snappy } else { Codec::Zstd };
    [Codec::Gzip, Codec::Snappy, Codec::Lz4, last][chance.index(4)]
}

/// Of a topic.
pub fn compression(chance: &mut Chance) -> &'static str {
    ["uncompressed", "gzip", "snappy", "lz4", "zstd"][chance.index(5)]
}

pub fn manners(chance: &mut Chance) -> Manners {
    Manners {
        version: i16::try_from(chance.between(5, 19)).expect("versions are few"),
        max_wait_ms: [0, 10, 500][chance.index(3)],
        max_bytes: [1, 10_000, 1 << 20][chance.index(3)],
        isolation_level: i8::from(chance.one_in(2)),
        pause_nanos: [300_000, 5_000_000, 100_000_000][chance.index(3)],
    }
}

pub fn ways(chance: &mut Chance) -> Ways {
    let version = i16::try_from(chance.below(10)).expect("versions are few");
    Ways {
        protocols: &[Protocol::Opaque],
        version,
        is_static: version >= STATIC_FROM && chance.one_in(2),
        round_count: chance.index(30),
        odd_one_in: [4, 10, 100][chance.index(3)],
        pause: Duration::from_millis([20, 300, 2_000][chance.index(3)]),
    }
}

/// Of consumers, which speak one protocol of groups, the other, or now this and now that.
pub fn consumer_ways(chance: &mut Chance) -> Ways {
    const OF_CONSUMERS: [&[Protocol]; 4] = [
        &[Protocol::Consumer],
        &[Protocol::Classic],
        &[Protocol::Consumer, Protocol::Classic],
        &[Protocol::Classic, Protocol::Consumer],
    ];
    let protocols = OF_CONSUMERS[chance.index(OF_CONSUMERS.len())];
    let is_static = chance.one_in(3);
    Ways { protocols, version: EPOCHS_FROM, is_static, ..ways(chance) }
}

pub fn phase(chance: &mut Chance) -> Phase {
    let until = if chance.one_in(2) {
        Until::Steps(chance.between(1, 400))
    } else {
        Until::Passed(Duration::from_nanos(chance.between(1_000_000, 6_000_000_000)))
    };
    let mut faults = Faults::none();
    let odds = |chance: &mut Chance| [10, 50, 400][chance.index(3)];
    match chance.below(8) {
        0 => faults.write_fails = odds(chance),
        1 => faults.sync_fails = odds(chance),
        2 => faults.read_fails = odds(chance),
        3 => faults.is_full = odds(chance),
        4 => {
            faults.stalls = odds(chance);
            faults.stall_nanos = 3_000_000_000;
        }
        5 => faults.room_bytes = [1, 100_000, 2 << 20, 30 << 20][chance.index(4)],
        _ => {}
    }
    faults.write_nanos = [10_000, 100_000, 2_000_000][chance.index(3)];
    let weather = if chance.one_in(3) {
        Weather { delay_nanos: chance.between(1_000, 3_000_000), cuts: 200, splits: 3 }
    } else {
        Weather::fair()
    };
    Phase {
        until,
        faults,
        weather,
        clock: clock(chance),
        ending: match chance.below(6) {
            0 => Ending::Stop,
            1 | 2 => Ending::Crash(Crash::Process),
            _ => Ending::Crash(Crash::Power),
        },
        shard_count: 1 + chance.index(3),
    }
}

/// One draw, as many as a clock that is only off would take.
fn clock(chance: &mut Chance) -> Clock {
    let skew = |skew_ms| Clock { skew_ms, gait: Gait::Steady };
    match chance.index(10) {
        0..=3 => Clock::default(),
        4 | 5 => skew(3_600_000),
        6 | 7 => skew(-3_600_000),
        8 => Clock { skew_ms: 0, gait: Gait::Still },
        _ => Clock::jumping(chance.clone().next()),
    }
}
