//! A reader never meets a slot's next vector: the real `engine/src/readers.rs`.

use crate::model::check;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[path = "../../engine/src/readers.rs"]
#[allow(dead_code, unreachable_pub, reason = "as in its own crate")]
mod real;

pub(crate) use real::{Gone, Readers};

/// A link to a slot, and the slot's vector; loom complains of a write beside a read of it.
#[derive(Debug)]
struct Store {
    readers: Readers,
    link: AtomicU32,
    vector: UnsafeCell<()>,
}

/// Two readers, one of them twice, while a slot is unlinked and written anew. With `early`, what counts as gone is noted
/// before the slot is unlinked, which is wrong.
pub fn outwait(early: bool) {
    check(move || {
        let store =
            Arc::new(Store { readers: Readers::default(), link: AtomicU32::new(1), vector: UnsafeCell::new(()) });
        let reader = |times: usize| {
            let store = store.clone();
            thread::spawn(move || {
                for _ in 0..times {
                    let _reading = store.readers.begin();
                    if store.link.load(Ordering::Acquire) == 1 {
                        store.vector.with(drop);
                    }
                }
            })
        };
        let threads = [reader(2), reader(1)];
        let mut gone = Gone::default();
        if early {
            store.readers.all_gone(&mut gone);
        }
        store.link.store(0, Ordering::Release);
        // Not for as long as it takes: every answer must be right.
        if (0..2).any(|_| store.readers.all_gone(&mut gone)) {
            store.vector.with_mut(drop);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("a reader failed"));
    });
}
