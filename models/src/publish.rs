//! Slot written, then linked, then found; and found by a scan of tombstones when it is used again.
//!
//! Left out: windows and growth of the maps; vectors are written by `pwrite`, which the model takes for plain stores.

use crate::model::check;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;

const END: u32 = u32::MAX;

#[derive(Debug)]
struct Index {
    vector: UnsafeCell<()>,
    next_slot: AtomicU32,
    tombs: AtomicU32,
    own_list: AtomicU32,
    link: AtomicU32,
    entry: AtomicU64,
}

/// What is done in the wrong order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The slot is linked before its vector is written.
    LinkedFirst,
    /// The link is stored without release order.
    Relaxed,
    /// The own list comes after the link to the node.
    ListLast,
    /// The tombstone goes before the vector is written.
    RevivedFirst,
}

/// A put of slot 1 beside a walk and a scan.
pub fn put(wrong: Wrong) {
    check(move || {
        let index = Arc::new(Index {
            vector: UnsafeCell::new(()),
            next_slot: AtomicU32::new(2),
            tombs: AtomicU32::new(1 << 1),
            // What a former life has left.
            own_list: AtomicU32::new(7),
            link: AtomicU32::new(END),
            entry: AtomicU64::new(0),
        });
        let writer = {
            let index = index.clone();
            thread::spawn(move || {
                let revive = || index.tombs.fetch_and(!(1 << 1), Ordering::AcqRel);
                let order = if wrong == Wrong::Relaxed { Ordering::Relaxed } else { Ordering::Release };
                if wrong == Wrong::RevivedFirst {
                    revive();
                }
                if wrong == Wrong::LinkedFirst {
                    index.link.store(1, order);
                }
                index.vector.with_mut(drop);
                revive();
                if wrong == Wrong::ListLast {
                    index.link.store(1, order);
                }
                index.own_list.store(0, Ordering::Release);
                index.link.store(1, order);
                index.entry.store(1 << 32 | 1, order);
            })
        };
        let visit = |slot: u32| {
            if slot < index.next_slot.load(Ordering::Acquire) && slot == 1 {
                index.vector.with(drop);
                assert_eq!(index.own_list.load(Ordering::Acquire), 0, "an old list was read");
            }
        };
        visit(index.link.load(Ordering::Acquire));
        visit(index.entry.load(Ordering::Acquire) as u32);
        // A scan of all records looks at vectors, not at lists.
        if index.tombs.load(Ordering::Acquire) & 1 << 1 == 0 {
            index.vector.with(drop);
        }
        writer.join().expect("the writer failed");
    });
}
