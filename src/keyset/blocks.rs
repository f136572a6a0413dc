//! Sets of 64-bit numbers, of which a range takes no more than a few keys do, and a complement no more than the set.
//!
//! Numbers are in blocks of 2³². A block is full or empty but for its *exceptions*, a compressed bitmap of the numbers that
//! are not as the block is; only those blocks that have some are listed. Which are full is kept as the blocks where that
//! changes. So the complement of a set has the same exceptions.

use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds, RangeInclusive};

/// Blocks there are.
const BLOCKS: u64 = 1 << 32;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blocks {
    /// None of them is empty.
    exceptions: BTreeMap<u32, RoaringBitmap>,
    /// Blocks from which on the others are full, are empty again, and so on.
    turns: Vec<u64>,
}

/// Block and number in it.
fn split(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

impl Blocks {
    pub(super) fn of_sorted(keys: impl Iterator<Item = u64>) -> Self {
        let mut all = Self::default();
        let (mut block, mut bits) = (0, RoaringBitmap::new());
        for key in keys {
            let (next, low) = split(key);
            if next != block {
                all.set(block, std::mem::take(&mut bits));
                block = next;
            }
            // In order, which is fast.
            let _ = bits.try_push(low);
        }
        all.set(block, bits);
        all
    }

    pub(super) fn of_range(range: &impl RangeBounds<u64>) -> Self {
        let Some((first, last)) = inclusive(range) else { return Self::default() };
        let ((from, low), (to, high)) = (split(first), split(last));
        let mut all = Self::default();
        let bits = |range: RangeInclusive<u32>| {
            let mut bits = RoaringBitmap::new();
            bits.insert_range(range);
            bits
        };
        if from == to && (low, high) != (0, u32::MAX) {
            all.set(from, bits(low..=high));
            return all;
        }
        all.turns = vec![u64::from(from)];
        if u64::from(to) + 1 < BLOCKS {
            all.turns.push(u64::from(to) + 1);
        }
        if let Some(before) = low.checked_sub(1) {
            all.set(from, bits(0..=before));
        }
        if let Some(after) = high.checked_add(1) {
            all.set(to, bits(after..=u32::MAX));
        }
        all
    }

    fn set(&mut self, block: u32, exceptions: RoaringBitmap) {
        if !exceptions.is_empty() {
            self.exceptions.insert(block, exceptions);
        }
    }

    /// Whether a block is full but for its exceptions.
    #[inline]
    fn is_full(&self, block: u32) -> bool {
        !self.turns.is_empty() && self.turns.partition_point(|&turn| turn <= u64::from(block)) % 2 == 1
    }

    #[inline]
    pub(super) fn contains(&self, key: u64) -> bool {
        let (block, low) = split(key);
        self.exceptions.get(&block).is_some_and(|bits| bits.contains(low)) != self.is_full(block)
    }

    /// Puts a number in or takes it out; says whether that changes something.
    pub(super) fn change(&mut self, key: u64, to: bool) -> bool {
        let (block, low) = split(key);
        if self.contains(key) == to {
            return false;
        }
        let is_full = self.is_full(block);
        let bits = self.exceptions.entry(block).or_default();
        if to == is_full {
            bits.remove(low)
        } else {
            bits.insert(low)
        };
        if bits.is_empty() {
            self.exceptions.remove(&block);
        }
        true
    }

    /// How many there are; 2⁶⁴ is given as `u64::MAX`.
    pub(super) fn len(&self) -> u64 {
        let ends = self.turns.iter().copied().chain([BLOCKS]).collect::<Vec<_>>();
        let full: u64 = ends.as_chunks::<2>().0.iter().map(|[from, to]| to - from).sum();
        let mut len = u128::from(full) << 32;
        for (&block, bits) in &self.exceptions {
            if self.is_full(block) { len -= u128::from(bits.len()) } else { len += u128::from(bits.len()) }
        }
        u64::try_from(len).unwrap_or(u64::MAX)
    }

    /// All of them, in order, if whole blocks are not among them.
    pub(super) fn listed(&self) -> Option<impl Iterator<Item = u64> + '_> {
        let keys = || {
            self.exceptions.iter().flat_map(|(&block, bits)| {
                let base = u64::from(block) << 32;
                bits.iter().map(move |low| base | u64::from(low))
            })
        };
        self.turns.is_empty().then(keys)
    }

    /// The numbers that are not in it.
    pub(super) fn complement(&self) -> Self {
        let mut turns = self.turns.clone();
        if turns.first() == Some(&0) {
            turns.remove(0);
        } else {
            turns.insert(0, 0);
        }
        Self { exceptions: self.exceptions.clone(), turns }
    }

    /// The numbers that are in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut all = Self::default();
        let mut turns: Vec<u64> = self.turns.iter().chain(&other.turns).copied().collect();
        turns.sort_unstable();
        turns.dedup();
        for turn in turns {
            let is_full = self.is_full(turn as u32) && other.is_full(turn as u32);
            if is_full != (all.turns.len() % 2 == 1) {
                all.turns.push(turn);
            }
        }
        let blocks =
            self.exceptions.keys().chain(other.exceptions.keys().filter(|block| !self.exceptions.contains_key(block)));
        let none = RoaringBitmap::new();
        for &block in blocks {
            let a = self.exceptions.get(&block).unwrap_or(&none);
            let b = other.exceptions.get(&block).unwrap_or(&none);
            let both = match (self.is_full(block), other.is_full(block)) {
                (false, false) => a & b,
                (false, true) => a - b,
                (true, false) => b - a,
                (true, true) => a | b,
            };
            all.set(block, both);
        }
        all
    }
}

/// First and last number of a range, if there is one.
fn inclusive(range: &impl RangeBounds<u64>) -> Option<(u64, u64)> {
    let first = match range.start_bound() {
        Bound::Included(&first) => first,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let last = match range.end_bound() {
        Bound::Included(&last) => last,
        Bound::Excluded(&after) => after.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (first <= last).then_some((first, last))
}
