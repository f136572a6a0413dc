//! Which slots have come to hold a record again, in the order in which it happened.
//!
//! Whoever has noted something about slots, such as which of them hold keys of some set, learns here what to look at
//! anew. Slots given out for the first time need no journal: they are those from some number on.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// The newest entries that are kept. Who comes after more than so many looks at every slot.
const KEPT: usize = 1 << 16;

/// The journal of a collection, kept as long as it is open.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Entries so far, forgotten ones included.
    count: AtomicU64,
    newest: Mutex<VecDeque<u32>>,
}

impl Journal {
    /// Notes that a slot holds another record from now on.
    pub(crate) fn note(&self, slot: u32) {
        let mut newest = self.newest.lock();
        if newest.len() == KEPT {
            newest.pop_front();
        }
        newest.push_back(slot);
        // Whoever sees the new count finds the slot as it is now.
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Entries so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The entries from number `from` up to `to`; `None` if some of them have been forgotten.
    pub(crate) fn between(&self, from: u64, to: u64) -> Option<Vec<u32>> {
        if from == to {
            return Some(Vec::new());
        }
        let newest = self.newest.lock();
        let first = self.count.load(Ordering::Acquire) - newest.len() as u64;
        let (from, to) = (from.checked_sub(first)?, to.checked_sub(first)?);
        Some(newest.range(from as usize..to as usize).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_until_they_are_forgotten() {
        let journal = Journal::default();
        assert_eq!(journal.between(0, 0), Some(vec![]));
        (0..KEPT as u32).for_each(|slot| journal.note(slot));
        assert_eq!(journal.between(3, 6), Some(vec![3, 4, 5]));
        assert_eq!(journal.between(0, journal.count()).map(|all| all.len()), Some(KEPT));
        journal.note(7);
        assert_eq!(journal.between(0, 2), None);
        assert_eq!(journal.between(KEPT as u64, journal.count()), Some(vec![7]));
        assert_eq!(journal.between(journal.count(), journal.count()), Some(vec![]));
    }
}
