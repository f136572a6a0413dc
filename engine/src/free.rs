//! Slots that nothing refers to any more, and when they may hold another vector.
//!
//! A slot that was unlinked waits for two things: the checkpoint that has it unlinked must be durable, since until then
//! a crash brings the links to it back; and searches that may have come upon it before must have ended.

use crate::readers::{Gone, Readers};
use std::collections::BTreeSet;

/// Slots unlinked together.
#[derive(Debug)]
struct Waiting {
    slots: BTreeSet<u32>,
    durable: bool,
    gone: Gone,
}

/// The slots of a collection that are free, as far as they are known.
#[derive(Debug)]
pub(crate) struct FreeSlots {
    ready: BTreeSet<u32>,
    waiting: Vec<Waiting>,
    /// Those that the last checkpoint before opening knows are below this and not looked for yet from `next` on.
    next: u32,
    end: u32,
}

impl FreeSlots {
    /// Of the slots below `end`, some may be free.
    pub(crate) fn below(end: u32) -> Self {
        Self { ready: BTreeSet::new(), waiting: Vec::new(), next: 0, end }
    }

    /// Adds slots that were just unlinked.
    pub(crate) fn unlinked(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.waiting.push(Waiting { slots: slots.into_iter().collect(), durable: false, gone: Gone::default() });
    }

    /// Says that what has been unlinked so far is unlinked durably.
    pub(crate) fn durable(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.durable = true);
    }

    /// The lowest of those that may be used, up to `count`, after looking for more with `is_free` if there are fewer.
    pub(crate) fn ready(&mut self, count: usize, readers: &Readers, is_free: impl Fn(u32) -> bool) -> Vec<u32> {
        let Self { ready, waiting, next, end } = self;
        if ready.len() < count {
            waiting.retain_mut(|batch| {
                let done = batch.durable && readers.all_gone(&mut batch.gone);
                if done {
                    ready.append(&mut batch.slots);
                }
                !done
            });
        }
        while ready.len() < count && *next < *end {
            if is_free(*next) && !waiting.iter().any(|batch| batch.slots.contains(next)) {
                ready.insert(*next);
            }
            *next += 1;
        }
        ready.iter().copied().take(count).collect()
    }

    /// Takes a slot, which is in use from now on.
    pub(crate) fn take(&mut self, slot: u32) {
        self.ready.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_ready_when_it_is_durable_and_nobody_reads() {
        let (readers, mut free) = (Readers::default(), FreeSlots::below(10));
        let none = |_| false;
        free.unlinked([7, 3]);
        assert_eq!(free.ready(5, &readers, none), []);
        let reading = readers.begin();
        free.durable();
        free.unlinked([4]);
        assert_eq!(free.ready(5, &readers, none), []);
        drop(reading);
        assert_eq!(free.ready(5, &readers, none), [3, 7]);
        free.take(3);
        free.durable();
        assert_eq!(free.ready(1, &readers, none), [7]);
        assert_eq!(free.ready(2, &readers, none), [4, 7]);
    }

    #[test]
    fn those_of_before_are_looked_for_when_they_are_needed() {
        let (readers, mut free) = (Readers::default(), FreeSlots::below(100));
        let even = |slot: u32| slot.is_multiple_of(2);
        free.unlinked([2]);
        assert_eq!(free.ready(2, &readers, even), [0, 4]);
        free.take(0);
        assert_eq!(free.next, 5);
        free.durable();
        assert_eq!(free.ready(3, &readers, even), [2, 4, 6]);
        assert_eq!(free.ready(1000, &readers, even).len(), 49);
    }
}
