//! The mailbox between two real threads.

use std::sync::Arc;

use shard::mailbox::{Receiver, Sender, Slumber, channel};

#[test]
fn a_full_queue_gives_the_message_back() {
    let (mut sender, mut receiver) = channel(3);
    for message in 0..3 {
        assert_eq!(sender.push(message), Ok(()));
    }
    assert_eq!(sender.room(), 0);
    assert_eq!(sender.push(3), Err(3));
    assert_eq!(receiver.pop(), Some(0));
    assert_eq!(sender.push(4), Ok(()));
    assert_eq!(receiver.drain(2).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(receiver.drain(2).collect::<Vec<_>>(), [4]);
    assert!(receiver.is_empty());
    assert_eq!(receiver.pop(), None);
}

#[test]
fn messages_left_in_the_queue_are_dropped_once() {
    let message = Arc::new(());
    let (mut sender, mut receiver) = channel(4);
    for _ in 0..6 {
        sender.push(Arc::clone(&message)).expect("room");
        sender.push(Arc::clone(&message)).expect("room");
        drop(receiver.pop());
        drop(receiver.pop());
    }
    sender.push(Arc::clone(&message)).expect("room");
    drop((sender, receiver));
    assert_eq!(Arc::strong_count(&message), 1);
}

#[test]
fn messages_arrive_in_order_on_another_thread() {
    const COUNT: u64 = 200_000;
    let (mut sender, mut receiver) = channel(64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for message in 0..COUNT {
                push(&mut sender, message);
            }
        });
        for want in 0..COUNT {
            assert_eq!(pop(&mut receiver), want);
        }
    });
}

#[test]
fn a_sleeping_shard_is_woken_once() {
    let slumber = Slumber::default();
    assert!(!slumber.interrupt());
    slumber.begin();
    assert!(slumber.interrupt());
    assert!(!slumber.interrupt());
    slumber.begin();
    slumber.end();
    assert!(!slumber.interrupt());
}

fn push(sender: &mut Sender<u64>, message: u64) {
    while sender.push(message).is_err() {
        std::thread::yield_now();
    }
}

fn pop(receiver: &mut Receiver<u64>) -> u64 {
    loop {
        match receiver.pop() {
            Some(message) => return message,
            None => std::thread::yield_now(),
        }
    }
}
