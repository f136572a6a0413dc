//! Slots that recovery put in place but has not linked yet: found by exact scan until then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What recovery has put in place without linking it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The slots, in the order of the log.
    pub slots: Vec<u32>,
    /// Slots buried, each with how many of `slots` had come by then.
    pub buried: Vec<(u32, u32)>,
    /// The writes: how many of `slots` had come by the end of each, and how many slots had been given out before it.
    pub writes: Vec<(u32, u32)>,
}

/// Which of the slots are linked by now.
#[derive(Debug)]
pub(crate) struct Pending {
    /// As in [`Replayed`]; `buried` is sorted.
    replayed: Replayed,
    /// The slots with their places in the log's order, sorted.
    places: Box<[(u32, u32)]>,
    /// A bit for each place.
    linked: Box<[AtomicU64]>,
    left: AtomicU32,
}

impl Pending {
    pub(crate) fn new(mut replayed: Replayed) -> Self {
        replayed.buried.sort_unstable();
        let count = replayed.slots.len();
        let mut places: Box<[(u32, u32)]> = replayed.slots.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let linked = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { left: AtomicU32::new(count as u32), replayed, places, linked }
    }

    /// Where in the log's order a slot comes; `None` if it is none of them.
    fn place(&self, slot: u32) -> Option<u32> {
        self.places.binary_search_by_key(&slot, |p| p.0).ok().map(|at| self.places[at].1)
    }

    /// Whether `other`, now dead, was still alive when `slot` came, which is not linked yet. Recovery buries before it links, and must link as
    /// if it had not, or the same writes would leave another graph after a crash.
    pub(crate) fn outlived(&self, other: u32, slot: u32) -> bool {
        let buried = &self.replayed.buried;
        // A slot that is linked may hold another vector by now.
        self.place(slot)
            .filter(|&place| !self.is_linked(place))
            .is_some_and(|place| buried.binary_search_by_key(&other, |b| b.0).is_ok_and(|at| place < buried[at].1))
    }

    /// Whether a slot is one of them and not linked yet.
    pub(crate) fn is_unlinked(&self, slot: u32) -> bool {
        self.left() > 0 && self.place(slot).is_some_and(|place| !self.is_linked(place))
    }

    fn is_linked(&self, place: u32) -> bool {
        self.linked[place as usize / 64].load(Ordering::Acquire) & 1 << (place % 64) != 0
    }

    /// Slots not linked yet.
    pub(crate) fn left(&self) -> u32 {
        self.left.load(Ordering::Acquire)
    }

    /// Says that a slot is linked, if it is one of them.
    pub(crate) fn set_linked(&self, slot: u32) {
        let Some(place) = self.place(slot) else { return };
        let bit = 1 << (place % 64);
        if self.linked[place as usize / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The slots not linked yet, those of each write together, with the slots given out before it.
    pub(crate) fn unlinked_writes(&self) -> Vec<(Vec<u32>, u32)> {
        let mut start = 0;
        let write = |&(end, before): &(u32, u32)| {
            let places = std::mem::replace(&mut start, end)..end;
            let slots: Vec<u32> = self.unlinked_of(places).collect();
            (!slots.is_empty()).then_some((slots, before))
        };
        self.replayed.writes.iter().filter_map(write).collect()
    }

    /// The slots not linked yet.
    pub(crate) fn unlinked(&self) -> impl Iterator<Item = u32> + '_ {
        self.unlinked_of(0..self.replayed.slots.len() as u32)
    }

    fn unlinked_of(&self, places: std::ops::Range<u32>) -> impl Iterator<Item = u32> + '_ {
        places.filter(|&place| !self.is_linked(place)).map(|place| self.replayed.slots[place as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_slot_is_no_longer_pending() {
        // Some slots are used again, the others are new.
        let slots: Vec<u32> = [40, 20].into_iter().chain(100..300).collect();
        let writes = vec![(3, 100), (5, 101), (152, 103), (202, 250)];
        let buried = vec![(120, 32), (40, 12), (7, 12)];
        let pending = Pending::new(Replayed { slots: slots.clone(), buried, writes });
        let lens = |pending: &Pending| {
            pending.unlinked_writes().into_iter().map(|(slots, before)| (slots.len(), before)).collect::<Vec<_>>()
        };
        assert_eq!(lens(&pending), [(3, 100), (2, 101), (147, 103), (50, 250)]);
        assert_eq!(pending.unlinked_writes()[0].0, [40, 20, 100]);
        assert_eq!(pending.unlinked().collect::<Vec<_>>(), slots);
        for &slot in slots.iter().filter(|&s| s % 3 != 0) {
            pending.set_linked(slot);
            pending.set_linked(slot);
        }
        pending.set_linked(7);
        assert_eq!(pending.unlinked().collect::<Vec<_>>(), (100..300).filter(|s| s % 3 == 0).collect::<Vec<_>>());
        assert_eq!(pending.left() as usize, pending.unlinked().count());
        assert!(pending.is_unlinked(102) && !pending.is_unlinked(100) && !pending.is_unlinked(41));
        assert_eq!(lens(&pending), [(1, 101), (49, 103), (16, 250)]);
        let pending = Pending::new(pending.replayed);
        assert!(pending.outlived(7, 109) && pending.outlived(120, 129) && pending.outlived(40, 20));
        assert!(!pending.outlived(7, 110) && !pending.outlived(8, 109) && !pending.outlived(7, 300));
    }
}
