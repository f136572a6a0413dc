//! The whole way of a dead slot: unlinked, durable, left by all, written anew. The real `readers.rs` and `free.rs`.
//!
//! Left out: lists but one, the graph's choice of links, the log, pages; a checkpoint is one store.

use crate::model::check;
use crate::readers::Readers;
use crate::sync::Mutex;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, RwLock};
use loom::thread;

#[path = "../../engine/src/free.rs"]
#[allow(dead_code, unreachable_pub, reason = "as in its own crate")]
mod real;

use real::FreeSlots;

/// The slot that is dead.
const DEAD: u32 = 1;
const END: u32 = u32::MAX;

#[derive(Debug)]
struct Index {
    gate: RwLock<()>,
    readers: Readers,
    free: Mutex<FreeSlots>,
    link: AtomicU32,
    /// The link as the last durable checkpoint has it.
    durable: AtomicU32,
    vector: UnsafeCell<()>,
}

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The slot may be used before the checkpoint is durable.
    NotDurable,
    /// The gate is not closed between the unlinking and the use.
    NoGate,
    /// Searches are not counted.
    NotCounted,
}

/// A search, an insert that walks past the slot, and a sweep with its checkpoint, after which a put uses the slot.
pub fn use_again(wrong: Wrong) {
    check(move || {
        let index = Arc::new(Index {
            gate: RwLock::new(()),
            readers: Readers::default(),
            free: Mutex::new(FreeSlots::below(0)),
            link: AtomicU32::new(DEAD),
            durable: AtomicU32::new(DEAD),
            vector: UnsafeCell::new(()),
        });
        let walk = |index: &Index| {
            if index.link.load(Ordering::Acquire) == DEAD {
                index.vector.with(drop);
            }
        };
        let search = {
            let index = index.clone();
            thread::spawn(move || {
                let reading = (wrong != Wrong::NotCounted).then(|| index.readers.begin());
                walk(&index);
                drop(reading);
            })
        };
        let insert = {
            let index = index.clone();
            thread::spawn(move || {
                let _gate = index.gate.read();
                walk(&index);
            })
        };
        {
            let _gate = index.gate.read();
            index.link.store(END, Ordering::Release);
            index.free.lock().unlinked([DEAD]);
        }
        if wrong == Wrong::NotDurable {
            index.free.lock().durable(1, u64::MAX);
        }
        put(&index);
        if wrong != Wrong::NoGate {
            // The checkpoint's first step.
            drop(index.gate.write());
        }
        index.durable.store(index.link.load(Ordering::Acquire), Ordering::Release);
        index.free.lock().durable(1, u64::MAX);
        put(&index);
        [search, insert].into_iter().for_each(|thread| thread.join().expect("a thread failed"));
        // With nobody left it can be used, unless it is already.
        put(&index);
        assert!(index.free.lock().ready(1, &index.readers, |_| false).is_empty(), "used");
    });
}

/// Uses the slot, if it may be.
fn put(index: &Index) {
    let _gate = index.gate.read();
    let mut free = index.free.lock();
    if let [slot] = free.ready(1, &index.readers, |_| false)[..] {
        assert_ne!(index.durable.load(Ordering::Acquire), slot, "a crash now would bring the link back");
        index.vector.with_mut(drop);
        free.take(slot);
    }
}
