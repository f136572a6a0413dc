//! The thread that keeps in memory what every search needs, where memory is short: links, codes, ids.
//!
//! It sleeps until a search has had to read a vector from the disk, and again some seconds after the last one has. In
//! between it reads what is missing and tells the system what is in use, which does not see that by itself (`Map::keep`).
//! Where there is too little memory even for that, reading it again and again would only be in the way, and it gives up
//! for a while. It looks what is in memory then, so that walks can ask for what is not.
//!
//! Where that does not fit into the store's budget it keeps nothing, and gives back what the process has mapped of it
//! when that has become too much. The system's own copies stay as long as it likes.

use crate::background::spawn;
use crate::error::Result;
use crate::shared::{Bell, Shared, Task};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// It looks this often,
const TICK: Duration = Duration::from_millis(100);
/// or, if that takes long, so many times as long as it takes later, up to this: most of it was waiting for the disk.
const REST: u32 = 20;
const LONGEST: Duration = Duration::from_millis(500);
/// A budget is looked after all the time, this often.
const IDLE: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const AT_ONCE: u64 = 64 << 20;
/// Looks without a search that met the disk, after which it sleeps.
const QUIET: u32 = 50;
/// Looks that find no less missing than the one before, after which it gives up,
const VAIN: u32 = 3;
/// and for so many looks.
const PAUSE: u32 = 300;
/// So small a part of the pages may be missing: some always are.
const FEW: u64 = 16;

impl Shared {
    /// A search has had to read from the disk.
    pub(crate) fn met_disk(&self) {
        if !self.keeping.swap(true, Ordering::Relaxed) {
            self.keeper_bell.ring(Task::Keep);
        }
    }
}

/// Starts the thread, if there can be anything for it to do. It ends when the store is closed or its last handle goes.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    if !shared.disk.is_persistent() {
        return Ok(());
    }
    let idle = shared.options.memory.map(|_| IDLE);
    let (bell, kept) = (shared.keeper_bell.clone(), HashMap::new());
    let mut keeper = Keeper { bell, shared: Arc::downgrade(shared), idle, kept };
    spawn("lodestore-keep", move || keeper.run())
}

struct Keeper {
    bell: Bell,
    /// Weak: the thread must not keep a store open that nobody uses.
    shared: Weak<Shared>,
    /// How long it sleeps if nobody wakes it.
    idle: Option<Duration>,
    /// By collection.
    kept: HashMap<u32, Kept>,
}

/// How it goes with one collection.
#[derive(Debug, Default)]
struct Kept {
    /// Looks since a search met the disk.
    quiet: u32,
    /// Pages missing at the last look; `None` before the first.
    missing: Option<u64>,
    /// Looks in a row that found no less.
    vain: u32,
    /// Looks left until it is tried again.
    pause: u32,
}

impl Kept {
    /// Whether to look; says so for each tick.
    fn is_due(&mut self, met: bool) -> bool {
        self.quiet = if met { 0 } else { self.quiet.saturating_add(1) };
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.quiet < QUIET
    }

    /// What a look has found.
    fn found(&mut self, pages: u64, missing: u64) {
        let is_many = missing > pages / FEW;
        let is_vain = is_many && self.missing.is_some_and(|before| missing >= before);
        self.vain = if is_vain { self.vain + 1 } else { 0 };
        self.missing = Some(missing);
        if self.vain >= VAIN {
            *self = Self { quiet: self.quiet, pause: PAUSE, ..Self::default() };
        }
    }
}

impl Keeper {
    fn run(&mut self) {
        let mut wait = self.idle;
        while !self.bell.wait(wait).stop {
            let Some(shared) = self.shared.upgrade() else { return };
            let begun = Instant::now();
            let awake = self.look(&shared);
            wait = if awake { Some((begun.elapsed() * REST).clamp(TICK, LONGEST)) } else { self.idle };
            if !awake {
                // In this order: who meets the disk from here on rings.
                shared.keeping.store(false, Ordering::Relaxed);
                self.kept.clear();
            }
        }
    }

    /// Says whether to look again.
    fn look(&mut self, shared: &Shared) -> bool {
        let open: Vec<_> = shared.open.read().values().cloned().collect();
        let (keeps, mut awake) = (shared.keeps_hot(), false);
        let gives_back = !keeps && shared.is_over_budget();
        for open in open {
            let index = open.index();
            let kept = self.kept.entry(open.id).or_insert_with(|| Kept { quiet: QUIET, ..Kept::default() });
            let is_due = kept.is_due(index.take_met_disk());
            if is_due && keeps {
                let (pages, missing) = index.keep_hot(AT_ONCE);
                kept.found(pages, missing);
            }
            // Inserts walk, too, and meet the disk unnoticed.
            if !keeps || (kept.quiet < QUIET && kept.pause > 0) {
                index.ask_in_walks();
            } else {
                index.stop_asking();
            }
            if gives_back {
                index.give_back();
            }
            awake |= kept.quiet < QUIET;
        }
        awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_given_up_for_a_while() {
        let mut kept = Kept { quiet: QUIET, ..Kept::default() };
        assert!(!kept.is_due(false), "nobody has met the disk");
        assert!(kept.is_due(true));
        for missing in [1000, 900, 500, 0, 10, 20, 30, 40, 50] {
            assert!(kept.is_due(true));
            kept.found(1000, missing);
        }
        assert_eq!(kept.vain, 0, "it gets less, or is little");
        for _ in 0..VAIN {
            assert!(kept.is_due(true));
            kept.found(1000, 800);
        }
        assert!((0..PAUSE).all(|_| !kept.is_due(true)));
        assert!(kept.is_due(true));
    }

    #[test]
    fn it_sleeps_when_no_search_meets_the_disk() {
        let mut kept = Kept::default();
        assert!(kept.is_due(true));
        kept.found(1000, 0);
        assert!((1..QUIET).all(|_| kept.is_due(false)));
        assert!(!kept.is_due(false) && kept.quiet >= QUIET);
        assert!(kept.is_due(true));
    }
}
