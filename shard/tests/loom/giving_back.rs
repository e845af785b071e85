//! Threads that give memory back to one that takes it.
#![expect(unsafe_code, reason = "a node is pushed with the promise that it is nobody else's")]

use std::mem::MaybeUninit;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

use crate::returns::{Node, Returns};

/// What comes back: a place for the node, and bytes whose use loom watches.
struct Memory {
    node: Box<MaybeUninit<Node<Self>>>,
    bytes: Arc<UnsafeCell<u64>>,
}

impl Memory {
    fn new() -> Self {
        Self { node: Box::new(MaybeUninit::uninit()), bytes: Arc::new(UnsafeCell::new(0)) }
    }

    fn write(&self, value: u64) {
        // SAFETY: loom fails the test if two threads are here at once.
        self.bytes.with_mut(|bytes| unsafe { *bytes = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: as above.
        self.bytes.with(|bytes| unsafe { *bytes })
    }
}

fn give_back(returns: &Returns<Memory>, mut memory: Memory) {
    let node = memory.node.as_mut_ptr();
    // SAFETY: the node lies in memory that is moved along, and is not used by us any more.
    unsafe { returns.push(node, memory) };
}

/// What comes first, as soon as it comes.
fn take(returns: &Returns<Memory>) -> Vec<Memory> {
    loop {
        let taken: Vec<Memory> = returns.take().collect();
        if !taken.is_empty() {
            return taken;
        }
        thread::yield_now();
    }
}

fn model(scene: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(scene);
}

/// Two threads give back while a third takes, uses what came, and gives it back itself.
#[test]
fn memory_comes_back_once_and_with_its_last_use_before() {
    model(|| {
        let returns = Arc::new(Returns::new());
        let givers: Vec<_> = [1, 2]
            .map(|value| {
                let returns = Arc::clone(&returns);
                thread::spawn(move || {
                    let memory = Memory::new();
                    memory.write(value);
                    give_back(&returns, memory);
                })
            })
            .into();
        for memory in take(&returns) {
            let value = memory.read();
            memory.write(value + 10);
            give_back(&returns, memory);
        }
        let mut values = Vec::new();
        while values.len() < 2 {
            values.extend(take(&returns).iter().map(|it| it.read() % 10));
        }
        for giver in givers {
            giver.join().expect("the giver ends");
        }
        assert_eq!(returns.take().count(), 0);
        values.sort_unstable();
        assert_eq!(values, [1, 2]);
    });
}

/// The arena goes while memory comes back: whoever is later drops it, and nobody twice.
#[test]
fn memory_is_dropped_once_when_its_arena_is_gone() {
    model(|| {
        let returns = Arc::new(Returns::new());
        let bytes: Vec<_> = [1, 2]
            .map(|value| {
                let memory = Memory::new();
                memory.write(value);
                (Arc::clone(&memory.bytes), memory)
            })
            .into_iter()
            .map(|(bytes, memory)| {
                let returns = Arc::clone(&returns);
                (bytes, thread::spawn(move || give_back(&returns, memory)))
            })
            .collect();
        returns.close();
        for (bytes, giver) in bytes {
            giver.join().expect("the giver ends");
            assert_eq!(Arc::strong_count(&bytes), 1);
        }
        assert!(returns.is_closed());
        assert_eq!(returns.take().count(), 0);
    });
}
