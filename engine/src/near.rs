//! Asking a filter about what a walk through all nodes comes near to.

use crate::index::Index;
use crate::members::Keep;
use crate::search::Live;
use std::cell::Cell;

/// So many should have been kept before it is judged whether they are too few,
const SURE: f64 = 32.0;
/// which is less than that part of what was guessed. The guess is off by a fifth, the count by less.
const PART: f64 = 0.4;

/// The nodes that a filter keeps. Live ones that were asked about are counted, those of them that are kept too.
pub(crate) struct Near<'a> {
    index: &'a Index,
    keep: &'a Keep<'a>,
    /// Of how many a share is to be kept, at least.
    share: f64,
    /// Hops that the walk may take: none any more once it turns out that few are kept where it goes.
    pub(crate) hops: Cell<u64>,
    pub(crate) asked: Cell<u64>,
    pub(crate) kept: Cell<u64>,
    /// Asked about last, and refused.
    last: Cell<Option<u32>>,
}

impl<'a> Near<'a> {
    /// Of nodes of which about the `share` should be kept.
    pub(crate) fn new(index: &'a Index, keep: &'a Keep<'a>, hops: u64, share: f64) -> Self {
        let (hops, asked, kept) = (Cell::new(hops), Cell::new(0), Cell::new(0));
        Self { index, keep, share, hops, asked, kept, last: Cell::new(None) }
    }
}

impl Live for &Near<'_> {
    fn is_live(&self, slot: u32) -> bool {
        // The pool may ask twice in a row about one that is refused.
        if self.last.get() == Some(slot) || self.index.is_dead(slot) {
            return false;
        }
        self.asked.set(self.asked.get() + 1);
        if (self.keep)(self.index.id_of(slot).key) {
            self.kept.set(self.kept.get() + 1);
            return true;
        }
        self.last.set(Some(slot));
        let guessed = self.asked.get() as f64 * self.share;
        if guessed >= SURE && (self.kept.get() as f64) < PART * guessed {
            self.hops.set(0);
        }
        false
    }

    #[inline(always)]
    fn prefetch(&self, slot: u32) {
        self.index.prefetch_id(slot);
    }
}
