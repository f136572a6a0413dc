//! Slots that recovery put in place but has not linked yet: found by exact scan until then.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A range of slots, and which of them are linked by now.
#[derive(Debug)]
pub(crate) struct Pending {
    slots: Range<u32>,
    linked: Box<[AtomicU64]>,
    left: AtomicU32,
    /// Slots buried since, each with the first slot that came after that. Sorted.
    buried: Box<[(u32, u32)]>,
    /// Where the slots of each write end.
    writes: Box<[u32]>,
}

impl Pending {
    pub(crate) fn new(slots: Range<u32>, mut buried: Vec<(u32, u32)>, writes: Vec<u32>) -> Self {
        buried.sort_unstable();
        let count = slots.len();
        let linked = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { left: AtomicU32::new(count as u32), slots, linked, buried: buried.into(), writes: writes.into() }
    }

    pub(crate) fn slots(&self) -> Range<u32> {
        self.slots.clone()
    }

    /// Whether `other`, now dead, was still alive when `slot` came. Recovery buries before it links, and must link as
    /// if it had not, or the same writes would leave another graph after a crash.
    pub(crate) fn outlived(&self, other: u32, slot: u32) -> bool {
        self.slots.contains(&slot)
            && self.buried.binary_search_by_key(&other, |b| b.0).is_ok_and(|at| slot < self.buried[at].1)
    }

    /// Whether a slot is one of them and not linked yet.
    pub(crate) fn is_unlinked(&self, slot: u32) -> bool {
        let at = slot.wrapping_sub(self.slots.start) as usize;
        self.slots.contains(&slot) && self.linked[at / 64].load(Ordering::Acquire) & 1 << (at % 64) == 0
    }

    /// Slots not linked yet.
    pub(crate) fn left(&self) -> u32 {
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn set_linked(&self, slot: u32) {
        let at = (slot - self.slots.start) as usize;
        let bit = 1 << (at % 64);
        if self.linked[at / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The slots not linked yet, those of each write together.
    pub(crate) fn unlinked_writes(&self) -> Vec<Vec<u32>> {
        let mut writes: Vec<Vec<u32>> = Vec::new();
        let mut end = self.slots.start;
        for slot in self.unlinked() {
            match writes.last_mut() {
                Some(write) if slot < end => write.push(slot),
                _ => {
                    let at = self.writes.partition_point(|&end| end <= slot);
                    end = self.writes.get(at).copied().unwrap_or(self.slots.end);
                    writes.push(vec![slot]);
                }
            }
        }
        writes
    }

    /// The slots not linked yet.
    pub(crate) fn unlinked(&self) -> impl Iterator<Item = u32> + '_ {
        self.linked
            .iter()
            .enumerate()
            .flat_map(move |(word, bits)| {
                let mut missing = !bits.load(Ordering::Acquire);
                std::iter::from_fn(move || {
                    if missing == 0 {
                        return None;
                    }
                    let bit = missing.trailing_zeros();
                    missing &= missing - 1;
                    Some(self.slots.start + (word * 64) as u32 + bit)
                })
            })
            .take_while(|slot| *slot < self.slots.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_slot_is_no_longer_pending() {
        let pending = Pending::new(100..300, vec![(120, 130), (7, 110)], vec![101, 103, 250, 300]);
        assert_eq!(pending.unlinked_writes().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 147, 50]);
        assert_eq!(pending.unlinked().collect::<Vec<_>>(), (100..300).collect::<Vec<_>>());
        for slot in (100..300).filter(|s| s % 3 != 0) {
            pending.set_linked(slot);
            pending.set_linked(slot);
        }
        assert_eq!(pending.unlinked().collect::<Vec<_>>(), (100..300).filter(|s| s % 3 == 0).collect::<Vec<_>>());
        assert_eq!(pending.left() as usize, pending.unlinked().count());
        assert!(pending.outlived(7, 109) && pending.outlived(120, 129));
        assert!(!pending.outlived(7, 110) && !pending.outlived(8, 109) && !pending.outlived(7, 300));
    }
}
