//! How fast clients may connect: to the node, and from each address.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use shard::cause::Cause;
use shard::io::{Class, Io};
use shard::limits::HELD_MAX;
use shard::metrics::Waits;
use shard::sim::wire::Wire;

use crate::answers::{Client, play};
use crate::bounds::{ASK, closed, connect, end_of, known, raise, send};
use crate::quotas::{alter, entry, set};

const RATE: &str = "connection_creation_rate";
/// Two seconds' worth at once.
const WINDOWS: (&str, &str) = ("quota.window.num", "3");

/// A request on its way and back, and more.
const SOON: Duration = Duration::from_millis(100);

#[track_caller]
fn soon_after(got: Duration, want_ms: u64) {
    let want = Duration::from_millis(want_ms);
    assert!(want <= got + SOON && got <= want + SOON, "{got:?} instead of {want:?}");
}

#[test]
fn connections_past_the_rate_of_the_node_wait_for_their_turn_and_are_served() {
    play(&[("max.connection.creation.rate", "2"), WINDOWS], async |client: Client| {
        let began = client.io.now();
        let mut open = Vec::new();
        for want_ms in [0, 0, 0, 0, 500, 1_000, 1_500] {
            open.push(known(&client).await);
            soon_after(client.io.now().since(began), want_ms);
        }
        assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::Rate, 3)]));

        let mut wire = Wire::connect(&client.io, client.node).await;
        raise(&mut wire, "max.connection.creation.rate", "1000").await;
        let began = client.io.now();
        for _ in 0..100 {
            open.push(known(&client).await);
        }
        raise(&mut wire, "max.connection.creation.rate", "2147483647").await;
        for _ in 0..100 {
            open.push(known(&client).await);
        }
        assert!(client.io.now().since(began) < Duration::from_secs(3), "nobody waits");
        drop(open);
    });
}

#[test]
fn a_lower_rate_of_the_node_holds_for_who_comes_from_then_on() {
    play(&[WINDOWS], async |client: Client| {
        let mut wire = Wire::connect(&client.io, client.node).await;
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(known(&client).await);
        }
        raise(&mut wire, "max.connection.creation.rate", "1").await;
        let began = client.io.now();
        for want_ms in [0, 0, 1_000, 2_000] {
            open.push(known(&client).await);
            soon_after(client.io.now().since(began), want_ms);
        }
        drop(open);
    });
}

async fn waits(client: &Client) -> Waits {
    client.counted().await.throttled().find(|(quota, _)| quota.key() == RATE).unwrap().1
}

#[test]
fn connections_past_the_rate_of_their_address_are_held_and_closed_unanswered() {
    play(&[WINDOWS], async |client: Client| {
        set(&client, &[("ip", None)], RATE, 2.0).await;
        let began = client.io.now();
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(known(&client).await);
        }
        let hasty = connect(&client).await;
        send(&client, &hasty, ASK).await;
        end_of(&client, &hasty).await;
        soon_after(client.io.now().since(began), 500);
        assert_eq!(closed(&client.counted().await), BTreeMap::from([(Cause::AddressRate, 1)]));
        assert_eq!(waits(&client).await.count, 1);
        // It did not count, so there is room for one by now.
        open.push(known(&client).await);

        // Another rate for this address alone, and none for any.
        client.io.sleep(Duration::from_secs(2)).await;
        set(&client, &[("ip", Some("127.0.0.1"))], RATE, 1_000.0).await;
        for _ in 0..100 {
            open.push(known(&client).await);
        }
        let entries = vec![
            entry(&[("ip", Some("127.0.0.1"))], RATE, None),
            entry(&[("ip", None)], RATE, None),
        ];
        assert_eq!(alter(&client, 1, entries).await, [(0, false); 2]);
        for _ in 0..100 {
            open.push(known(&client).await);
        }
        assert_eq!(waits(&client).await.count, 1);
        drop(open);
    });
}

#[test]
fn so_many_are_held_and_more_are_closed_at_once() {
    const MORE: usize = 100;
    // A hundred at once, then one a second.
    let settings = [("quota.window.num", "1"), ("quota.window.size.seconds", "100")];
    play(&settings, async |client: Client| {
        set(&client, &[("ip", Some("127.0.0.1"))], RATE, 1.0).await;
        let began = client.io.now();
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(connect(&client).await);
        }
        let ends = Rc::new(RefCell::new(Vec::new()));
        // All of one shard would be the most that it may hold; so are more than both may.
        let count = 2 * HELD_MAX + MORE;
        for _ in 0..count {
            let (client, ends) = (client.clone(), Rc::clone(&ends));
            client.io.clone().spawn(Class::Foreground, async move {
                let socket = connect(&client).await;
                end_of(&client, &socket).await;
                ends.borrow_mut().push(client.io.now());
            });
        }
        client.io.sleep(Duration::from_secs(3)).await;
        let mut ends = ends.take();
        ends.sort();
        // One a second is served meanwhile.
        assert!((count - 3..=count).contains(&ends.len()), "{} of {count}", ends.len());
        let closed_at_once = ends.iter().filter(|it| it.since(began) < Duration::from_millis(500));
        let closed_at_once = closed_at_once.count();
        assert!((MORE - 3..MORE + HELD_MAX).contains(&closed_at_once), "{closed_at_once}");
        // The news of an end is under way for a moment.
        let counted = closed(&client.counted().await);
        let ended = u64::try_from(ends.len()).unwrap();
        assert_eq!(counted.keys().collect::<Vec<_>>(), [&Cause::AddressRate]);
        assert!((ended..=ended + 3).contains(&counted[&Cause::AddressRate]), "{counted:?}");
        drop(open);
    });
}
