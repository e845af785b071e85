//! What tests of all protocols do: a topic and its producers, a request, bytes for a feed, and bytes that
//! are wrong.

use crate::batch::Stamp;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::scene::continuity::Continuity;
use crate::scene::plan::{Plan, Producers, Topic};
use crate::scene::subscriber::{Feed, Sink};
use crate::scene::wire::{Delivered, Request};

/// Requests of so many values of so many bytes.
pub(super) fn writing(record_count: i32, value_bytes: usize) -> (Topic, Producers) {
    let plan = Plan::of_phases(&[]);
    let producers = Producers { record_count, value_bytes, ..plan.producers[0].clone() };
    (plan.topics[0].clone(), producers)
}

/// Meant for the time 7, with the fifth record of its partition as the first.
pub(super) const fn request(number: u64, partition: usize) -> Request {
    let stamp = Stamp { intended_ns: 7, first_nth: 5, wall_ms: 1, base_sequence: -1 };
    Request { number, partition, stamp }
}

/// All bytes are taken; how many records meant for the time 7 they deliver, and what is said to them. Or
/// a word of the failure.
#[track_caller]
pub(super) fn check_feed(feed: &mut impl Feed, bytes: &[u8], want: Result<(u64, &[u8]), &str>) {
    let mut continuity = Continuity::new(1, 2, 1, Some(0));
    let (mut delivered, mut said, mut rest) = (Vec::new(), Vec::new(), bytes);
    let mut last_intended = [Moment::BOOT; 2];
    let mut sink = Sink::new(&mut continuity, &mut delivered, &mut said, &mut last_intended);
    let decoded: Result<(), Failure> = feed.decode(&mut rest, &mut sink);
    let has_values = sink.finish();
    match want {
        Ok((count, want)) => {
            decoded.expect("bytes that make sense");
            let records = delivered.iter().filter_map(|it| match it {
                Delivered::Records { intended, count } => Some((*intended, *count)),
                Delivered::Bytes(_) | Delivered::Refused(_) => None,
            });
            let meant = Moment::BOOT.plus_ns(7);
            let records: Vec<_> = records.collect();
            assert!(records.iter().all(|it| it.0 == meant), "{records:?}");
            assert_eq!(records.iter().map(|it| it.1).sum::<u64>(), count);
            assert_eq!(has_values, 0 < count);
            assert_eq!((said.as_slice(), rest.len()), (want, 0));
        }
        Err(word) => {
            let why = decoded.expect_err("bytes that make no sense").to_string();
            assert!(why.contains(word), "{why}");
        }
    }
}

/// Decodes the bytes with each of their bits flipped, and each of their fronts. Whoever panics on one ends
/// the test.
pub(super) fn bear(bytes: &[u8], mut decode: impl FnMut(&mut &[u8]) -> Result<(), Failure>) {
    let mut outcomes = [0; 2];
    let mut note = |outcome: Result<(), Failure>| outcomes[usize::from(outcome.is_ok())] += 1;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        note(decode(&mut flipped.as_slice()));
    }
    for end in 0..bytes.len() {
        note(decode(&mut &bytes[..end]));
    }
    assert!(
        outcomes.iter().all(|count| 0 < *count),
        "both kinds of bytes were tried: {outcomes:?}"
    );
}

/// The same for a feed.
pub(super) fn bear_feed<F: Feed>(feed: impl Fn() -> F, bytes: &[u8]) {
    bear(bytes, |rest| {
        let mut continuity = Continuity::new(1, 2, 1, Some(0));
        let (mut delivered, mut said) = (Vec::new(), Vec::new());
        let mut last_intended = [Moment::BOOT; 2];
        let mut sink = Sink::new(&mut continuity, &mut delivered, &mut said, &mut last_intended);
        feed().decode(rest, &mut sink)
    });
}
