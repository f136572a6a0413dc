//! Which slots hold records that are marked as deleted, and may come back.
//!
//! A bit a slot, in memory only: the catalogue keeps the list, and hands it over when the collection is opened.

use crate::view;
use crate::windows::Windows;
use lodestore_wal::Result;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits, and how many are set.
#[derive(Debug)]
pub(crate) struct Marks {
    bits: Windows,
    count: AtomicU64,
}

/// Which slots were marked at some moment.
#[derive(Clone, Debug, Default)]
pub struct MarkedSlots(Vec<u32>);

impl MarkedSlots {
    /// Whether a slot was.
    #[inline]
    pub fn has(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 32).is_some_and(|word| word & (1 << (slot % 32)) != 0)
    }
}

impl Marks {
    pub(crate) fn new() -> Self {
        Self { bits: Windows::in_memory(4), count: AtomicU64::new(0) }
    }

    /// Makes room for so many slots.
    pub(crate) fn ensure(&self, slots: u64) -> Result<()> {
        self.bits.ensure(slots.div_ceil(32))
    }

    /// Slots marked.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.count() != 0 && view::words(&self.bits, slot / 32)[0].load(Ordering::Acquire) & (1 << (slot % 32)) != 0
    }

    /// All of the first `slots` slots that are marked.
    pub(crate) fn copy(&self, slots: u32) -> MarkedSlots {
        if self.count() == 0 {
            return MarkedSlots::default();
        }
        let word = |at| view::words(&self.bits, at)[0].load(Ordering::Acquire);
        MarkedSlots((0..slots.div_ceil(32)).map(word).collect())
    }

    /// Sets a slot's bit; says whether it was clear.
    pub(crate) fn set(&self, slot: u32) -> bool {
        // Counted first: who finds the count at zero does not look at the bits.
        self.count.fetch_add(1, Ordering::AcqRel);
        let before = view::words(&self.bits, slot / 32)[0].fetch_or(1 << (slot % 32), Ordering::AcqRel);
        let was_clear = before & (1 << (slot % 32)) == 0;
        if !was_clear {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        was_clear
    }

    /// Clears a slot's bit; says whether it was set.
    pub(crate) fn clear(&self, slot: u32) -> bool {
        let before = view::words(&self.bits, slot / 32)[0].fetch_and(!(1 << (slot % 32)), Ordering::AcqRel);
        let was_set = before & (1 << (slot % 32)) != 0;
        if was_set {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        was_set
    }
}
