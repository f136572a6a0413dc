//! A sweep beside an insert: at the end no list has a link to what is free.
//!
//! One list, that of a live node X, and one node D, slot 1, which dies. Left out: replacements, levels, pages.

use crate::model::check;
use crate::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, RwLock};
use loom::thread;

#[derive(Debug, Default)]
struct Graph {
    gate: RwLock<()>,
    dead: AtomicBool,
    /// Its list says so.
    free: AtomicBool,
    condemned: RwLock<bool>,
    /// Whether X links to D, under the lock of the list.
    list: Mutex<bool>,
}

impl Graph {
    fn is_condemned(&self) -> bool {
        *self.condemned.read().expect("loom does not poison")
    }

    fn is_free(&self) -> bool {
        self.dead.load(Ordering::Acquire) && self.free.load(Ordering::Acquire)
    }

    fn sweep(&self, wrong: Wrong) {
        {
            let gate = (wrong != Wrong::NoGate).then(|| self.gate.write());
            *self.condemned.write().expect("loom does not poison") = self.dead.load(Ordering::Acquire);
            drop(gate);
        }
        if !self.is_condemned() {
            return;
        }
        {
            let _gate = self.gate.read();
            *self.list.lock() = false;
        }
        let _gate = self.gate.read();
        let cease = || *self.condemned.write().expect("loom does not poison") = false;
        if wrong == Wrong::CeasesFirst {
            cease();
        }
        self.free.store(true, Ordering::Release);
        cease();
    }
}

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// A sweep begins while others write.
    NoGate,
    /// A list gets back what it has given up, whether it is being unlinked or not.
    NotAsked,
    /// Whether it is free is asked before whether it is condemned.
    AskedInReverse,
    /// It ceases to be condemned before it is free.
    CeasesFirst,
}

/// An insert that links X to D while D is alive, and one that dies right after, beside a sweep.
pub fn begin(wrong: Wrong) {
    check(move || {
        let graph = Arc::new(Graph::default());
        let insert = {
            let graph = graph.clone();
            thread::spawn(move || {
                let _gate = graph.gate.read();
                if !graph.dead.load(Ordering::Acquire) {
                    *graph.list.lock() = true;
                }
            })
        };
        {
            let _gate = graph.gate.read();
            graph.dead.store(true, Ordering::Release);
        }
        graph.sweep(wrong);
        insert.join().expect("the insert failed");
        assert!(!(graph.is_free() && *graph.list.lock()), "a link to a free slot");
    });
}

/// An insert whose new link pushes D out of the list, and that looks afterwards whether D has lost its last link.
pub fn give_back(wrong: Wrong) {
    check(move || {
        let graph = Arc::new(Graph::default());
        graph.dead.store(true, Ordering::Release);
        *graph.list.lock() = true;
        let insert = {
            let graph = graph.clone();
            thread::spawn(move || {
                let _gate = graph.gate.read();
                let given_up = std::mem::replace(&mut *graph.list.lock(), false);
                let leaving = match wrong {
                    Wrong::NotAsked => false,
                    Wrong::AskedInReverse => graph.is_free() || graph.is_condemned(),
                    _ => graph.is_condemned() || graph.is_free(),
                };
                if given_up && !leaving {
                    *graph.list.lock() = true;
                }
            })
        };
        graph.sweep(wrong);
        insert.join().expect("the insert failed");
        assert!(!(graph.is_free() && *graph.list.lock()), "a link to a free slot");
    });
}

/// A search that spares itself looking at tombstones if there are none, beside the end of a sweep. D was removed before it
/// began. With `late` it asks whether there are any after it has read the list.
pub fn search(late: bool) {
    check(move || {
        let graph = Arc::new((AtomicBool::new(true), AtomicU32::new(1)));
        let sweep = {
            let graph = graph.clone();
            thread::spawn(move || {
                let (list, dead) = &*graph;
                list.store(false, Ordering::Release);
                dead.fetch_sub(1, Ordering::AcqRel);
            })
        };
        let (list, dead) = &*graph;
        let any_dead = || dead.load(Ordering::Acquire) != 0;
        let early = any_dead();
        let found = list.load(Ordering::Acquire);
        let looks = if late { any_dead() } else { early };
        assert!(!found || looks, "what was removed is returned");
        sweep.join().expect("the sweep failed");
    });
}
