//! Two threads at a mailbox.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use loom::thread::JoinHandle;

use crate::mailbox::{Receiver, Sender, Slumber, channel};

/// Two forced switches of the thread find what was ever found with more, in a second.
fn model(scene: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(2);
    model.check(scene);
}

#[test]
fn every_message_arrives_once_and_in_order() {
    model(|| {
        let (mut sender, mut receiver) = channel(2);
        let pusher = thread::spawn(move || {
            for message in 0..3_usize {
                push(&mut sender, Box::new(message));
            }
        });
        for want in 0..3_usize {
            assert_eq!(*pop(&mut receiver), want);
        }
        pusher.join().expect("the pusher ends");
    });
}

#[test]
fn what_is_left_is_dropped() {
    model(|| {
        let (mut sender, mut receiver) = channel(2);
        let pusher = thread::spawn(move || {
            sender.push(Box::new(1)).expect("room");
            sender.push(Box::new(2)).expect("room");
        });
        drop(receiver.pop());
        drop(receiver);
        pusher.join().expect("the pusher ends");
    });
}

/// A lost wake-up would make the receiver spin until loom gives up.
#[test]
fn no_wake_up_is_lost() {
    model(|| {
        // The count stands for the kernel's wake-up: it orders what came before it, and none is lost.
        let shared = Arc::new((Slumber::default(), AtomicUsize::new(0)));
        let (receivers, pushers): (Vec<_>, Vec<_>) = (0..2)
            .map(|message| {
                let (sender, receiver) = channel(1);
                (receiver, spawn_pusher(sender, message, Arc::clone(&shared)))
            })
            .unzip();
        receive_two(receivers, &shared);
        for pusher in pushers {
            pusher.join().expect("the pusher ends");
        }
    });
}

fn spawn_pusher(
    mut sender: Sender<usize>,
    message: usize,
    shared: Arc<(Slumber, AtomicUsize)>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        sender.push(message).expect("room");
        if shared.0.interrupt() {
            shared.1.fetch_add(1, Ordering::Release);
        }
    })
}

fn receive_two(mut receivers: Vec<Receiver<usize>>, shared: &(Slumber, AtomicUsize)) {
    let mut got_count = 0;
    let mut woken_count = 0;
    loop {
        got_count += receivers.iter_mut().flat_map(|it| it.drain(1)).count();
        if got_count == 2 {
            return;
        }
        shared.0.begin();
        if receivers.iter_mut().all(|it| it.is_empty()) {
            while shared.1.load(Ordering::Acquire) == woken_count {
                thread::yield_now();
            }
            woken_count += 1;
        }
        shared.0.end();
    }
}

fn push<T>(sender: &mut Sender<T>, message: T) {
    let mut message = message;
    while let Err(back) = sender.push(message) {
        message = back;
        thread::yield_now();
    }
}

fn pop<T>(receiver: &mut Receiver<T>) -> T {
    loop {
        match receiver.pop() {
            Some(message) => return message,
            None => thread::yield_now(),
        }
    }
}
