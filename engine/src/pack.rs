//! Packing the neighbourhoods of an index, and keeping them packed.

use crate::index::Index;
use crate::packed::{CodesOf, MAX_CODED, Packed};
use crate::search::END;
use lodestore_wal::Result;
use rayon::prelude::*;
use std::sync::atomic::Ordering;

/// Blocks that a thread makes at a time, at least.
const AT_ONCE: usize = 256;

impl Index {
    /// Packs the neighbourhoods of all nodes, by as many threads as the caller's pool has, and keeps them packed from
    /// then on. Nobody writes meanwhile. Does nothing for a collection without codes, or whose codes have more
    /// components than it pays for.
    ///
    /// # Errors
    /// Of the system, when it has no more addresses.
    pub fn pack(&self) -> Result<()> {
        let Some(codes) = self.packable() else { return Ok(()) };
        let packed = Packed::new(codes.coded, self.cap(0));
        packed.ensure(u64::from(self.limit()))?;
        (0..self.limit()).into_par_iter().with_min_len(AT_ONCE).for_each_init(Vec::new, |neighbours, slot| {
            if self.is_linked(slot) {
                neighbours.clear();
                neighbours.extend(self.neighbours(slot, 0));
                packed.store(codes, slot, neighbours);
            }
        });
        let _ = self.packed.set(packed);
        Ok(())
    }

    /// Bytes that packed neighbourhoods would take.
    pub fn packed_estimate(&self) -> u64 {
        self.packable().map_or(0, |codes| Packed::stride_of(codes.coded, self.cap(0)) as u64 * u64::from(self.limit()))
    }

    /// Bytes of the packed neighbourhoods; 0 if there are none.
    pub fn packed_bytes(&self) -> u64 {
        self.packed.get().map_or(0, |packed| u64::from(self.limit()) * packed.stride() as u64)
    }

    /// Writes a node's list, every word of it, and packs it. Who calls this holds the lock of the list, or is the only one
    /// who knows the node.
    ///
    /// # Errors
    /// [`Corrupt`](lodestore_wal::Error::Corrupt) if its page is damaged; nothing has changed then.
    pub(crate) fn store_list(&self, slot: u32, level: u8, neighbours: impl Iterator<Item = u32>) -> Result<()> {
        let Some((segment, place)) = self.list_place(slot, level) else { return Ok(()) };
        segment.touch(place)?;
        for (word, value) in segment.words(place).iter().zip(neighbours.chain(std::iter::repeat(END))) {
            word.store(value, Ordering::Release);
        }
        self.repack(slot, level);
        Ok(())
    }

    /// Packs a node's neighbours as its list has them now, of level 0. Who calls this holds the lock of the list, or is
    /// the only one who knows the node.
    pub(crate) fn repack(&self, slot: u32, level: u8) {
        if let (0, Some(packed), Some(codes)) = (level, self.packed.get(), self.packable()) {
            packed.store(codes, slot, &self.neighbours(slot, 0).collect::<Vec<_>>());
        }
    }

    /// Packs the neighbour that has come to a place of the node's list. As [`repack`](Self::repack).
    pub(crate) fn repack_one(&self, slot: u32, level: u8, place: usize) {
        if let (0, Some(packed), Some(codes)) = (level, self.packed.get(), self.packable()) {
            packed.store_one(codes, slot, place, self.list(slot, 0)[place].load(Ordering::Acquire));
        }
    }

    /// A slot whose packed neighbourhood is not what links and codes make it. Exact only while nobody writes.
    pub(crate) fn packed_wrong(&self) -> Option<u32> {
        let (packed, codes) = (self.packed.get()?, self.packable()?);
        let is_wrong = |&slot: &u32| {
            let neighbours: Vec<u32> = self.neighbours(slot, 0).collect();
            self.is_linked(slot) && !packed.is_right(codes, slot, &neighbours)
        };
        (0..self.limit()).into_par_iter().with_min_len(AT_ONCE).find_any(is_wrong)
    }

    fn is_linked(&self, slot: u32) -> bool {
        self.pending.get().is_none_or(|pending| !pending.is_unlinked(slot))
    }

    fn packable(&self) -> Option<CodesOf<'_>> {
        let codes = self.codes().filter(|_| self.geometry().coded() <= MAX_CODED)?;
        let (metric, coded) = (self.geometry().metric, self.geometry().coded());
        Some(CodesOf { coder: &codes.coder, windows: &codes.windows, metric, coded, limit: self.limit() })
    }
}
