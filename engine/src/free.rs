//! Slots that nothing refers to any more, and when they may hold another vector.
//!
//! A slot that was unlinked waits for three things: the checkpoint that has it unlinked must be durable, since until then
//! a crash brings the links to it back; searches that may have come upon it before must have ended; and no process may
//! look at an older checkpoint.

use crate::readers::{Gone, Readers};
use std::collections::BTreeSet;

/// Slots unlinked together.
#[derive(Debug)]
struct Waiting {
    slots: BTreeSet<u32>,
    /// The checkpoint that has them unlinked.
    durable: Option<u64>,
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
    /// That checkpoint, or a later one.
    known: u64,
    /// The oldest checkpoint that another process may look at.
    oldest: u64,
}

impl FreeSlots {
    /// Of the slots below `end`, some may be free.
    pub(crate) fn below(end: u32) -> Self {
        Self { ready: BTreeSet::new(), waiting: Vec::new(), next: 0, end, known: 0, oldest: u64::MAX }
    }

    /// Says that what was free at opening has been so since checkpoint `known` at the latest, and that no other process looks
    /// at a checkpoint before `oldest`.
    pub(crate) fn opened(&mut self, known: u64, oldest: u64) {
        (self.known, self.oldest) = (known, oldest);
    }

    /// Adds slots that were just unlinked.
    pub(crate) fn unlinked(&mut self, slots: impl IntoIterator<Item = u32>) {
        self.waiting.push(Waiting { slots: slots.into_iter().collect(), durable: None, gone: Gone::default() });
    }

    /// Says that what has been unlinked so far is unlinked durably, by checkpoint `number`, and that no other process looks
    /// at one before `oldest` since.
    pub(crate) fn durable(&mut self, number: u64, oldest: u64) {
        self.waiting.iter_mut().for_each(|waiting| waiting.durable = waiting.durable.or(Some(number)));
        self.oldest = oldest;
    }

    /// The lowest of those that may be used, up to `count`, after looking for more with `is_free` if there are fewer.
    pub(crate) fn ready(&mut self, count: usize, readers: &Readers, is_free: impl Fn(u32) -> bool) -> Vec<u32> {
        let Self { ready, waiting, next, end, known, oldest } = self;
        if ready.len() < count {
            waiting.retain_mut(|batch| {
                let unseen = batch.durable.is_some_and(|number| number <= *oldest);
                let done = unseen && readers.all_gone(&mut batch.gone);
                if done {
                    ready.append(&mut batch.slots);
                }
                !done
            });
        }
        while ready.len() < count && *next < *end && *known <= *oldest {
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
        free.durable(1, u64::MAX);
        free.unlinked([4]);
        assert_eq!(free.ready(5, &readers, none), []);
        drop(reading);
        assert_eq!(free.ready(5, &readers, none), [3, 7]);
        free.take(3);
        free.durable(1, u64::MAX);
        assert_eq!(free.ready(1, &readers, none), [7]);
        assert_eq!(free.ready(2, &readers, none), [4, 7]);
    }

    #[test]
    fn no_slot_is_ready_that_another_process_may_see() {
        let (readers, mut free) = (Readers::default(), FreeSlots::below(3));
        let first = |slot| slot == 0;
        free.opened(4, 3);
        free.unlinked([7]);
        free.durable(5, 3);
        free.unlinked([8]);
        free.durable(6, 3);
        assert_eq!(free.ready(5, &readers, first), []);
        free.durable(7, 5);
        assert_eq!(free.ready(5, &readers, first), [0, 7]);
        free.durable(8, u64::MAX);
        assert_eq!(free.ready(5, &readers, first), [0, 7, 8]);
    }

    #[test]
    fn those_of_before_are_looked_for_when_they_are_needed() {
        let (readers, mut free) = (Readers::default(), FreeSlots::below(100));
        let even = |slot: u32| slot.is_multiple_of(2);
        free.unlinked([2]);
        assert_eq!(free.ready(2, &readers, even), [0, 4]);
        free.take(0);
        assert_eq!(free.next, 5);
        free.durable(1, u64::MAX);
        assert_eq!(free.ready(3, &readers, even), [2, 4, 6]);
        assert_eq!(free.ready(1000, &readers, even).len(), 49);
    }
}
